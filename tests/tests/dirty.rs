//! Data sets as they come: every fault that was put into them is found at its place and for its reason, and nothing else.

use serde_json::{Map, Value};

use crate::harness::{Bench, root, run_python};

/// Positions and reasons of the rows that were put aside of a table.
const ASIDE: &str = "
import glob, json, sys
import pyarrow.parquet as pq
rows = [row for file in glob.glob(sys.argv[1] + '/*.parquet') for row in pq.read_table(file).to_pylist()]
says = lambda rule: ('' if rule['code'] in ('C001', 'L001') else rule['code'] + ' ') + rule['reason']
aside = {str(row['_position']): sorted(map(says, row['_rules'])) for row in rows}
assert len(aside) == len(rows)
print(json.dumps(aside))
";

/// What `tests/dirty/data.py` writes, loaded by the pipeline of the same name.
#[track_caller]
fn is_caught_exactly(name: &str) {
    let bench = Bench::new();
    let script = std::fs::read_to_string(root().join("tests/dirty/data.py")).unwrap();
    run_python(&script, &[bench.path("in").to_str().unwrap()]);
    let faults = std::fs::read_to_string(bench.path("in/faults.json")).unwrap();
    let faults: Value = serde_json::from_str(&faults).unwrap();
    bench.write("p.yaml", std::fs::read(root().join(format!("tests/dirty/{name}.yaml"))).unwrap());
    let summary = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    let run = bench.newest_run();
    let shown = bench.run(&["show", &run, "--format", "json"]).expect(0).last_line();
    for (table, known) in faults[name].as_object().unwrap() {
        let folder = bench.path(".transload/quarantine").join(&run).join(table);
        let aside: Value = serde_json::from_str(&run_python(ASIDE, &[folder.to_str().unwrap()])).unwrap();
        assert_same(aside.as_object().unwrap(), known["aside"].as_object().unwrap(), table);
        let findings = shown["run"]["findings"].as_array().unwrap().iter().filter(|f| f["table"] == table.as_str());
        let broken: Map<String, Value> = findings.filter_map(broken).collect();
        assert_same(&broken, known["broken"].as_object().unwrap(), table);
        let tables = summary["tables"].as_array().unwrap();
        let loaded = tables.iter().find(|loaded| loaded["table"] == table.as_str()).unwrap();
        let count = |name: &str| loaded[name].as_u64().unwrap();
        assert_eq!(count("read"), known["rows"].as_u64().unwrap(), "{table}");
        assert_eq!(count("written"), count("read") - aside.as_object().unwrap().len() as u64, "{table}");
        // All others have arrived.
        assert_eq!(loaded["verdict"], "match", "{table}");
    }
}

/// The rule of a finding as quarantine names it, with what broke it: rows, or in words.
fn broken(finding: &Value) -> Option<(String, Value)> {
    let text = |name: &str| finding[name].as_str().unwrap();
    let columns: Vec<&str> = finding["columns"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    let about = if columns.is_empty() { String::new() } else { format!("{}: ", columns.join(", ")) };
    let rule = format!("{} {}: {about}expected {}", text("code"), text("check"), text("expected"));
    match finding["failed"].as_u64() {
        Some(0) => None,
        Some(rows) => Some((rule, rows.into())),
        None => (finding["outcome"] == "failed").then(|| (rule, finding["found"].clone())),
    }
}

#[track_caller]
fn assert_same(found: &Map<String, Value>, known: &Map<String, Value>, table: &str) {
    for (what, of) in known {
        assert_eq!(found.get(what), Some(of), "{table}: {what} was put there");
    }
    for (what, of) in found {
        assert_eq!(known.get(what), Some(of), "{table}: {what} was not put there");
    }
    assert!(known.len() >= 8, "{table}: {known:?}");
}

#[test]
fn the_faults_of_a_hospital_are_caught_exactly() {
    is_caught_exactly("hospital");
}

#[test]
fn the_faults_of_sensors_are_caught_exactly() {
    is_caught_exactly("sensors");
}

#[test]
fn the_faults_of_a_shop_are_caught_exactly() {
    is_caught_exactly("shop");
}
