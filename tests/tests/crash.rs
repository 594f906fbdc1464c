//! Killed anywhere and resumed, a load ends as if nothing had happened.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Bench, Started, done, ended, is_staging, root, tpch_pipeline, wait_until};

/// Two splits, several folders.
const PIPELINE: &str = "version: 1\npipeline: test\nsource: { tpch: { scale: 0.08 } }\ntarget: { lake: { url: lake } }\ntables:\n  \
    - from: orders\n    key: [o_orderkey]\n    partition_by: [ { identity: o_orderstatus } ]\n  \
    - from: lineitem\n    to: deep/lineitem\n    key: [l_orderkey, l_linenumber]\n    columns: { l_comment: { drop: true } }\n";

fn digests(line: &Value) -> Vec<String> {
    line["tables"].as_array().unwrap().iter().map(|t| t["digest"].as_str().unwrap_or_default().to_string()).collect()
}

fn manifest(bench: &Bench, table: &str) -> Option<Value> {
    let found = bench.all_files(&format!("lake/{table}/_transload/manifest"));
    found.last().map(|newest| serde_json::from_slice(&std::fs::read(newest).unwrap()).unwrap())
}

/// Every visible file is in the manifest and the other way round, and nothing is left of staging.
fn assert_tidy(bench: &Bench) {
    for table in ["orders", "deep/lineitem"] {
        let manifest = manifest(bench, table).unwrap();
        let listed: BTreeSet<String> =
            manifest["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_string()).collect();
        let folder = bench.path("lake").join(table);
        let there: BTreeSet<String> = bench
            .data_files(&format!("lake/{table}"))
            .iter()
            .map(|p| p.strip_prefix(&folder).unwrap().to_str().unwrap().to_string())
            .collect();
        assert_eq!(there, listed, "{table}");
        assert!(bench.all_files(&format!("lake/{table}/_transload/staging")).is_empty(), "{table}");
    }
}

fn undisturbed() -> Vec<String> {
    let bench = Bench::new();
    bench.write("p.yaml", PIPELINE);
    let digests = digests(&bench.run(&["run", "p.yaml"]).expect(0).last_line());
    assert_tidy(&bench);
    digests
}

#[test]
fn killed_twice_is_no_worse() {
    let bench = Bench::new();
    bench.write("p.yaml", PIPELINE);
    bench.run_with_faults(&["run", "p.yaml"], "stage.written=1*off->return(kill)").expect(-1);
    let run = bench.newest_run();
    bench.run_with_faults(&["resume", &run], "commit.published=return(kill)").expect(-1);
    assert_eq!(digests(&bench.run(&["resume", &run]).expect(0).last_line()), undisturbed());
    assert_tidy(&bench);
}

#[test]
fn a_late_resume_does_not_undo_a_newer_run() {
    let bench = Bench::new();
    bench.write("p.yaml", PIPELINE);
    bench.run_with_faults(&["run", "p.yaml"], "commit.begun=return(kill)").expect(-1);
    let late = bench.newest_run();
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run(&["resume", &late]).expect(3).says("another run has published this table");
    assert_tidy(&bench);
}

#[test]
fn a_passing_error_is_tried_again_and_counted() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n"));
    bench.run_with_faults(&["run", "p.yaml"], "stage.written=2*return(transient)->off").expect(0);
    let shown = bench.run(&["show", &bench.newest_run(), "--format", "json"]).expect(0).last_line();
    assert_eq!(shown["run"]["receipts"][0]["retries"], 2);
}

#[test]
fn a_full_disk_can_be_resumed_and_a_broken_unit_leaves_nothing() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n"));
    bench.run_with_faults(&["run", "p.yaml"], "stage.written=return(full)").expect(75).says("no room left");
    bench.run(&["resume", &bench.newest_run()]).expect(0);
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n"));
    bench.run_with_faults(&["run", "p.yaml"], "stage.written=return(permanent)").expect(3);
    assert!(bench.all_files("lake").is_empty(), "{:?}", bench.all_files("lake"));
}

#[test]
fn a_signal_stops_a_run_cleanly() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let bench = Bench::new();
        bench.write("p.yaml", PIPELINE);
        bench.run(&["run", "p.yaml"]).expect(0);
        let before = manifest(&bench, "orders");
        let load = Started::new(&bench, &["run", "p.yaml"], "stage.batch=sleep(100)");
        wait_until("staging", || is_staging(&bench));
        load.signal(signal);
        load.ended().expect(code);
        assert_eq!(manifest(&bench, "orders"), before, "{signal}");
        assert_tidy(&bench);
    }
}

#[test]
fn a_signal_stops_a_comparison() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n"));
    bench.run(&["run", "p.yaml"]).expect(0);
    let comparison = Started::new(&bench, &["reconcile", "p.yaml"], "reconcile.begun=sleep(2000)");
    wait_until("comparing", || {
        bench.all_files(".transload/runs").iter().filter(|p| p.ends_with("start.json")).count() == 2
    });
    comparison.signal("INT");
    let stopped = comparison.ended().expect(130);
    assert_eq!(stopped.last_line()["status"], "interrupted");
    bench.run(&["reconcile", "p.yaml"]).expect(0);
}

#[test]
fn loads_that_are_killed_at_any_moment_end_well() {
    let into = |sink: &str| {
        let mut crash = Command::new(root().join("tests/crash"));
        crash.args(["--runs", "12", "--seed", "1", "--jobs", "1", "--sink", sink]);
        crash.args(["--bin", env!("CARGO_BIN_EXE_transload-faulty")]);
        let said = done(&mut crash);
        let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let counts = &summary["sinks"][sink];
        assert_eq!((&summary["wrong"], &counts["loads"]), (&Value::Null, &12.into()), "{said}");
        assert!(counts["killed"].as_u64().unwrap() >= 6, "{said}");
    };
    std::thread::scope(|scope| {
        ["disk", "delta"].map(|sink| scope.spawn(move || into(sink))).map(|job| job.join().unwrap())
    });
}

#[test]
fn a_crash_loop_finds_what_is_wrong() {
    let bench = Bench::new();
    // A program that says of every run that it need not be resumed.
    let program = env!("CARGO_BIN_EXE_transload-faulty");
    let script = format!("#!/bin/sh\n[ \"$1\" = resume ] && exit 99\nexec '{program}' \"$@\"\n");
    let liar = bench.write("liar", script);
    std::fs::set_permissions(&liar, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut crash = Command::new(root().join("tests/crash"));
    crash.args(["--runs", "40", "--seed", "1", "--sink", "disk", "--bin"]).arg(&liar).env("TMPDIR", bench.path(""));
    let wrong = ended(&mut crash).expect(1).says("WRONG in load").says("--seed 1");
    assert!(wrong.last_line()["wrong"]["what"].is_string(), "{wrong:?}");
}

#[test]
fn one_run_of_a_pipeline_at_a_time() {
    let bench = Bench::new();
    bench.write("p.yaml", PIPELINE);
    let first = Started::new(&bench, &["run", "p.yaml"], "stage.batch=sleep(50)");
    wait_until("staging", || is_staging(&bench));
    bench.run(&["run", "p.yaml"]).expect(75).says("another run of this pipeline");
    // This kills it.
    drop(first);
    bench.run(&["run", "p.yaml"]).expect(0);
}
