//! Every exit code that can happen today, and what a program finds on standard output.

use std::io::Read;
use std::process::Stdio;

use crate::harness::{Bench, tpch_pipeline};

fn csv_pipeline(table: &str) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ lake: {{ url: out }} }}\ntables:\n{table}"
    )
}

#[test]
fn success_is_0_and_the_last_line_says_what_was_done() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: region\n    key: [r_regionkey]\n"));
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["pipeline", "run_id", "status", "exit_code", "tables"]);
    let table = line["tables"][0].as_object().unwrap();
    let keys: Vec<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(keys, ["table", "read", "written", "quarantined", "filtered", "digest", "checks", "verdict", "error"]);
    assert_eq!((table["read"].as_u64(), table["verdict"].as_str()), (Some(5), Some("match")));
}

#[test]
fn wrong_usage_is_2() {
    let bench = Bench::new();
    bench.run(&["runn"]).expect(2);
    bench.run(&["run"]).expect(2);
    bench.run(&["show", "../../etc/passwd"]).expect(2).says("is not the name of a run");
    bench.run(&["run", "p.yaml", "--memory", "1KiB"]).expect(2);
}

#[test]
fn configuration_is_3() {
    let bench = Bench::new();
    bench.run(&["check", "gone.yaml"]).expect(3).says("hint:");
    bench.write("p.yaml", tpch_pipeline("  - from: region\n    key: [nope]\n"));
    bench.run(&["plan", "p.yaml"]).expect(3).says("has no column `nope`");
    bench.write("q.yaml", "version: 1\npipeline: q\nsource: { lake: { url: '${env:TRANSLOAD_TEST_GONE}' } }\ntarget: { lake: { url: o } }\ntables: [ { from: a } ]\n");
    bench.run(&["plan", "q.yaml"]).expect(3).says("TRANSLOAD_TEST_GONE is not set");
}

#[test]
fn data_that_breaks_a_rule_is_4_and_nothing_is_published() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n\n1,10\n2,100000\n");
    bench.write("p.yaml", csv_pipeline("  - from: t.csv\n    to: t\n    columns: { n: { cast: int16 } }\n"));
    bench.run(&["run", "p.yaml"]).expect(4).says("does not fit int16");
    assert!(bench.all_files("out").is_empty());
    let mended =
        csv_pipeline("  - from: t.csv\n    to: t\n    columns: { n: { cast: int16, on_misfit: quarantine } }\n");
    bench.write("p.yaml", mended);
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!((line["tables"][0]["written"].as_u64(), line["tables"][0]["quarantined"].as_u64()), (Some(1), Some(1)));
}

#[test]
fn a_mismatch_is_5() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n");
    bench.write("p.yaml", csv_pipeline("  - from: t.csv\n    to: t\n    key: [id]\n"));
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run(&["reconcile", "p.yaml"]).expect(0);
    bench.write("in/t.csv", "id,n\n1,10\n2,21\n3,30\n");
    let line = bench.run(&["reconcile", "p.yaml"]).expect(5).last_line();
    assert_eq!(line["tables"][0]["differences"]["changed"], 1);
    assert_eq!(line["tables"][0]["differences"]["missing_in_target"], 1);
    assert_eq!(line["status"], "mismatch");
}

#[test]
fn nothing_compared_is_9() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n\n");
    bench.write("p.yaml", csv_pipeline("  - from: t.csv\n    to: t\n"));
    bench.run(&["run", "p.yaml"]).expect(9).says("both sides are empty");
    bench.run(&["reconcile", "p.yaml", "--set", "reconcile.level=none"]).expect(9);
}

#[test]
fn nothing_to_do_is_99() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n");
    bench.write("p.yaml", csv_pipeline("  - from: t.csv\n    to: t\n    mode: { incremental: { cursor: id } }\n"));
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml"]).expect(99);
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n3,30\n");
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!((line["tables"][0]["written"].as_u64(), line["tables"][0]["filtered"].as_u64()), (Some(1), Some(2)));
    bench.run(&["reconcile", "p.yaml"]).expect(0);
    bench.write("q.yaml", csv_pipeline("  - from: 'x*.csv'\n"));
    bench.run(&["plan", "q.yaml"]).expect(99);
}

#[test]
fn help_version_and_completions_are_answers() {
    let bench = Bench::new();
    assert!(bench.run(&["--help"]).expect(0).stdout.contains("Examples:"));
    assert!(bench.run(&["--version"]).expect(0).stdout.starts_with("transload "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(bench.run(&["completions", shell]).expect(0).stdout.contains("transload"));
    }
}

#[test]
fn a_reader_that_goes_away_is_fine() {
    let bench = Bench::new();
    let mut child = bench.command(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_plan_is_executed_exactly_or_refused() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n\n1,10\n");
    bench.write("p.yaml", csv_pipeline("  - from: t.csv\n    to: t\n"));
    let first = bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0).stdout;
    assert_eq!(bench.run(&["plan", "p.yaml"]).expect(0).stdout, first);
    bench.run(&["run", "--plan", "plan.json"]).expect(0);
    bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
    bench.write("in/t.csv", "id,n\n1,11\n2,22\n");
    bench.run(&["run", "--plan", "plan.json"]).expect(3).says("changed after it was pinned");
    let edited = std::fs::read_to_string(bench.path("plan.json")).unwrap().replace("\"t\"", "\"u\"");
    bench.write("plan.json", edited);
    bench.run(&["run", "--plan", "plan.json"]).expect(3).says("was changed after it was made");
}
