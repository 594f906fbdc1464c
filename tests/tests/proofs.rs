//! What the conformance suite has proven last: a file that says it, with which every run is compared, and which README
//! goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use transload_testkit::{Finding, Outcome, cases};

use crate::conformance::{LINES, Store};
use crate::harness::{root, updates_golden};

/// The proofs: by store and line the names of the cases that were proven.
pub(crate) type Proofs = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

const FILE: &str = "tests/conformance/proofs.json";

/// The proofs that the file holds.
pub(crate) fn read() -> Proofs {
    serde_json::from_slice(&std::fs::read(root().join(FILE)).unwrap()).unwrap()
}

/// Compares what was found in a store with what the file holds of it; `UPDATE_GOLDEN=1` writes what was proven into the
/// file. A case that failed is a broken promise in any case.
#[track_caller]
pub(crate) fn compare(store: &str, found: &BTreeMap<String, Vec<Finding>>) {
    let mut failed = String::new();
    let mut proven: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (line, findings) in found {
        let own = proven.entry(line.clone()).or_default();
        for finding in findings {
            match finding.outcome {
                Outcome::Proven => {
                    own.insert(finding.case.name.to_string());
                }
                Outcome::Failed(_) => failed.push_str(&format!("{line}: {finding}\n")),
                Outcome::NotClaimed | Outcome::LeftOut => {}
            }
        }
    }
    if updates_golden() {
        update(store, proven.clone());
    }
    assert!(failed.is_empty(), "in {store}:\n{failed}");
    let known = read().remove(store).unwrap_or_default();
    let mut differences = String::new();
    let lines: BTreeSet<&String> = known.keys().chain(proven.keys()).collect();
    let none = BTreeSet::new();
    for line in lines {
        let (before, now) = (known.get(line).unwrap_or(&none), proven.get(line).unwrap_or(&none));
        let only = |some: &BTreeSet<String>, others: &BTreeSet<String>| {
            some.difference(others).cloned().collect::<Vec<_>>().join(", ")
        };
        let (gone, new) = (only(before, now), only(now, before));
        if !gone.is_empty() || !new.is_empty() {
            differences.push_str(&format!("{line}: no more [{gone}], now too [{new}]\n"));
        }
    }
    assert!(differences.is_empty(), "UPDATE_GOLDEN=1 writes {FILE} anew, which differs in {store}:\n{differences}");
}

/// Writes what was proven in a store into the file, and leaves the other stores as they are.
fn update(store: &str, proven: BTreeMap<String, BTreeSet<String>>) {
    // Tests of other stores, in this process or another, may do the same.
    let lock = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("proofs.lock")).unwrap();
    lock.lock().unwrap();
    let mut proofs = read();
    proofs.insert(store.to_string(), proven);
    let text = serde_json::to_string_pretty(&proofs).unwrap();
    // Whoever reads it meanwhile finds all of it.
    let (file, new) = (root().join(FILE), root().join(format!("{FILE}.new")));
    std::fs::write(&new, format!("{text}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn what_was_proven_is_what_is_held_to_its_promises() {
    let known: BTreeSet<&str> = cases().iter().map(|case| case.name).collect();
    for (store, lines) in read() {
        let there = Store::ALL.into_iter().find(|known| known.name() == store);
        let there = there.unwrap_or_else(|| panic!("there is no store {store}: remove it from {FILE}"));
        for (line, proven) in lines {
            let is_held = LINES.iter().any(|known| known.name() == line && known.stores.contains(&there));
            assert!(is_held, "nothing is called {line} in {store} any more: remove it from {FILE}");
            for case in proven {
                assert!(known.contains(case.as_str()), "there is no case {case} any more: remove it from {FILE}");
            }
        }
    }
}
