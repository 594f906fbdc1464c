//! The architecture: which crate may use which, and what only one of them may do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use transload_core::fault::{
    CLEAN_POINTS, DELTA_POINTS, EDGE_POINTS, FILE_POINTS, MERGE_POINTS, POINTS, POSTGRES_POINTS, REPIN_POINTS,
    REPLAY_POINTS, SOME_POINTS, UPLOAD_POINTS,
};

use crate::harness::root;

/// What each crate may use in its program. Tests may use more.
fn allowed(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "core" => &[],
        "spec" | "coerce" | "quality" | "digest" | "ledger" | "tpch" | "lake" | "postgres" => &["core"],
        // Table formats write the files that lakes are made of.
        "delta" => &["core", "lake"],
        "plan" => &["core", "spec", "coerce", "quality", "digest"],
        // The auditor does not trust the executor.
        "run" | "reconcile" => &["core", "spec", "coerce", "quality", "digest", "plan"],
        "generate" => &["core", "spec", "coerce", "quality", "plan"],
        "cli" => &[
            "core",
            "spec",
            "coerce",
            "quality",
            "digest",
            "plan",
            "run",
            "reconcile",
            "generate",
            "ledger",
            "tpch",
            "lake",
            "delta",
            "postgres",
        ],
        // The suite reads a value as a plan does, by the rulebook.
        "testkit" => &["core", "spec", "coerce", "digest"],
        "tests" | "benches" => &["core", "digest", "cli", "lake", "delta", "postgres"],
        _ => return None,
    })
}

fn crates() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for folder in ["engine", "connectors"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            found.insert(path.file_name().unwrap().to_str().unwrap().to_string(), path);
        }
    }
    found.insert("tests".to_string(), root().join("tests"));
    found.insert("benches".to_string(), root().join("benches"));
    found
}

/// What a manifest's `[dependencies]` name.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim();
        } else if section == "[dependencies]" && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            found.push(line.split(['.', ' ']).next().unwrap().to_string());
        }
    }
    found
}

fn manifest(of: &Path) -> String {
    std::fs::read_to_string(of.join("Cargo.toml")).unwrap()
}

#[test]
fn crates_use_only_what_they_may() {
    let crates = crates();
    assert!(crates.len() >= 14, "{crates:?}");
    for (name, path) in crates {
        let allowed = allowed(&name).unwrap_or_else(|| panic!("{name} has no place in the house yet"));
        for used in dependencies(&manifest(&path)) {
            let is_allowed = used.strip_prefix("transload-").is_none_or(|used| allowed.contains(&used));
            assert!(is_allowed, "{name} may not use {used}");
        }
    }
}

/// What only tests use is a dependency of tests.
#[test]
fn crates_name_only_what_their_programs_use() {
    for (name, path) in crates() {
        let mut found = Vec::new();
        sources(&path.join("src"), &mut found);
        let programs = found.iter().filter_map(|(_, text)| text.split("#[cfg(test)]").next());
        let program: String = programs.collect();
        for named in dependencies(&manifest(&path)) {
            assert!(program.contains(&named.replace('-', "_")), "{name} names {named} and does not use it");
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["engine", "connectors", "benches"] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50);
    found
}

#[test]
fn one_crate_casts_and_one_prints() {
    for (name, text) in all_sources() {
        if !name.starts_with("engine/coerce/") {
            assert!(!text.contains("compute::cast"), "{name} casts");
        }
        if !name.starts_with("engine/cli/") && !name.starts_with("benches/") {
            for word in ["println!", "eprintln!", "env::var("] {
                assert!(!text.contains(word), "{name} has {word}");
            }
        }
        for word in ["todo!", "unimplemented!", "#[ignore"] {
            assert!(!text.contains(word), "{name} has {word}");
        }
    }
}

/// A source without its tests, which stand at its end.
fn program(name: &str, text: &str) -> String {
    let Some((program, tests)) = text.split_once("#[cfg(test)]") else { return text.to_string() };
    let module = tests.trim_start().trim_start_matches("pub(crate) ");
    if module.trim_end() != "mod testing;" {
        assert!(module.starts_with("mod tests {"), "{name} has something else for tests than one module");
        assert!(!tests.contains("\n}\n\n") && tests.ends_with("\n}\n"), "{name} has something behind its tests");
    }
    program.to_string()
}

#[test]
fn what_decides_does_no_io_and_asks_no_clock() {
    const DECIDING: [&str; 6] = [
        "engine/spec/src/",
        "engine/coerce/src/",
        "engine/quality/src/",
        "engine/digest/src/",
        "engine/plan/src/",
        "engine/generate/src/",
    ];
    const WORDS: [&str; 17] = [
        "std::fs",
        "tokio::fs",
        "fs::",
        "File::",
        "OpenOptions",
        "object_store",
        "std::env",
        "env::",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "ToSocketAddrs",
        "tokio::net",
        "std::process",
        "SystemTime",
        "Instant",
        "Clock",
    ];
    let mut seen = 0;
    for (name, text) in all_sources() {
        if DECIDING.iter().any(|folder| name.starts_with(folder)) {
            seen += 1;
            let program = program(&name, &text);
            for word in WORDS {
                assert!(!program.contains(word), "{name} has {word}");
            }
            // A list of modules would hide some of these words.
            assert!(!program.contains("use std::{"), "{name} imports several modules of std in one line");
        }
    }
    assert!(seen > 15, "{seen} files");
}

#[test]
fn the_list_of_fault_points_is_the_code_s() {
    let mut passed: Vec<String> = Vec::new();
    for (_, text) in all_sources() {
        passed
            .extend(text.split("fault::point(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_string())));
    }
    passed.sort();
    passed.dedup();
    assert_eq!(passed, points());
}

/// All fault points, sorted.
fn points() -> Vec<String> {
    let on_the_way: [&[&str]; 6] = [&POINTS, &EDGE_POINTS, &SOME_POINTS, &FILE_POINTS, &UPLOAD_POINTS, &DELTA_POINTS];
    let mut all: Vec<String> = on_the_way.concat().into_iter().map(str::to_string).collect();
    let beside: [&[&str]; 5] = [&REPLAY_POINTS, &MERGE_POINTS, &POSTGRES_POINTS, &CLEAN_POINTS, &REPIN_POINTS];
    all.extend(beside.concat().into_iter().map(str::to_string));
    all.sort();
    all
}

#[test]
fn the_page_about_crashes_tells_when_each_fault_point_is_passed() {
    let page = std::fs::read_to_string(root().join("docs/crashes.md")).unwrap();
    let (_, table) = page.split_once("| point | when |\n| --- | --- |\n").unwrap();
    let mut told: Vec<String> = Vec::new();
    for row in table.lines().take_while(|line| line.starts_with("| `")) {
        let (point, when) = row.strip_prefix("| `").unwrap().split_once("` | ").unwrap();
        assert!(when.trim_end_matches(" |").len() > 10, "{row}");
        told.push(point.to_string());
    }
    told.sort();
    assert_eq!(told, points());
}

#[test]
fn the_top_level_holds_what_it_should() {
    const NAMES: [&str; 14] = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "CHANGELOG.md",
        "README.md",
        "archetypes",
        "benches",
        "clippy.toml",
        "connectors",
        "docs",
        "engine",
        "pipelines",
        "rustfmt.toml",
        "tests",
    ];
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_str().unwrap().to_string();
        let made = ["target", "quickstart-lake"].contains(&name.as_str());
        assert!(name.starts_with('.') || made || NAMES.contains(&name.as_str()), "{name}");
    }
}
