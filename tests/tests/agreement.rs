//! Checks find what SQL written by hand finds: DuckDB reads the same files, dirty ones and random ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::harness::{Bench, root, run_python};

/// What has to be among the rules: the commonest kinds of checks, those that look at another table, and those that look at
/// the order of rows and at time.
const KINDS: [&str; 19] = [
    "foreign_key",
    "not_null",
    "not_empty",
    "unique",
    "accepted_values",
    "range",
    "length",
    "pattern",
    "format",
    "not_in_future",
    "expression",
    "completeness",
    "row_count",
    "row_count same_as",
    "aggregate",
    "aggregate count_distinct",
    "monotonic",
    "freshness",
    "no_gaps",
];

fn script(name: &str, bench: &Bench, folder: &str) -> String {
    let script = std::fs::read_to_string(root().join("tests").join(name)).unwrap();
    run_python(&script, &[bench.path(folder).to_str().unwrap()])
}

/// A check that only says what it finds, so that all are evaluated on all rows.
fn warning(check: &Value) -> Value {
    let mut check = check.clone();
    for settings in check.as_object_mut().unwrap().values_mut() {
        settings["severity"] = "warn".into();
    }
    check
}

fn check(rule: &Value) -> (&str, &Value) {
    let (kind, settings) = rule["check"].as_object().unwrap().iter().next().unwrap();
    (kind.as_str(), settings)
}

/// The kind of a rule, and how it looks where there are several ways.
fn kind(rule: &Value) -> String {
    match check(rule) {
        (kind, settings) if settings.get("same_as").is_some() => format!("{kind} same_as"),
        (kind, settings) if settings["of"] == "count_distinct" => format!("{kind} count_distinct"),
        (kind, _) => kind.to_string(),
    }
}

/// What a finding says of its rule, in the form in which `duck.py` does.
fn answer(rule: &Value, finding: &Value) -> Value {
    match rule.get("holds") {
        Some(_) => json!({ "holds": finding["outcome"] == "passed", "found": finding["found"] }),
        None => json!({ "evaluated": finding["evaluated"], "failed": finding["failed"] }),
    }
}

#[test]
fn checks_find_what_sql_finds_in_the_same_files() {
    let bench = Bench::new();
    script("dirty/data.py", &bench, "in");
    script("agreement/edges.py", &bench, "in");
    let rules = std::fs::read_to_string(root().join("tests/agreement/rules.yaml")).unwrap();
    let tables: Value = serde_saphyr::from_str(&rules).unwrap();
    bench.write("rules.json", tables.to_string());
    let mut runs = BTreeMap::new();
    for (table, of) in tables.as_object().unwrap() {
        let rules = of["rules"].as_array().unwrap();
        let checks: Vec<Value> = rules.iter().map(|rule| warning(&rule["check"])).collect();
        let pipeline = json!({
            "version": 1,
            "pipeline": table,
            "source": { "lake": of["source"] },
            "target": { "lake": { "url": "out" } },
            "tables": [
                { "from": table, "reconcile": { "level": "none" }, "columns": of["columns"], "checks": checks },
            ],
        });
        bench.write("p.yaml", pipeline.to_string());
        bench.run(&["run", "p.yaml"]).expect(0);
        let shown = bench.run(&["show", &bench.newest_run(), "--format", "json"]).expect(0).last_line();
        runs.insert(table.as_str(), shown["run"].clone());
    }
    // How old something is depends on when the run began.
    let started: Map<String, Value> =
        runs.iter().map(|(table, run)| (table.to_string(), run["start"]["at_micros"].clone())).collect();
    bench.write("started.json", Value::Object(started).to_string());
    let sql: Value = serde_json::from_str(&script("agreement/duck.py", &bench, ".")).unwrap();
    let (mut tried, mut broken) = (BTreeSet::new(), BTreeSet::new());
    for (table, run) in &runs {
        let rules = tables[*table]["rules"].as_array().unwrap();
        let findings = run["findings"].as_array().unwrap();
        let answers = sql[*table].as_array().unwrap();
        assert_eq!((findings.len(), answers.len()), (rules.len(), rules.len()), "{table}");
        for ((rule, finding), answer_of_sql) in rules.iter().zip(findings).zip(answers) {
            assert_eq!(finding["check"], check(rule).0, "{table}");
            assert_eq!(&answer(rule, finding), answer_of_sql, "{table}: {rule}");
            tried.insert(kind(rule));
            if finding["outcome"] == "failed" {
                broken.insert(kind(rule));
            }
        }
    }
    // Where nothing is broken, little is proven.
    for kind in KINDS {
        assert!(tried.contains(kind) && broken.contains(kind), "{kind} was not tried, or never broken");
    }
}
