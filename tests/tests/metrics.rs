//! A run as numbers: the file for Prometheus, and how the quality goes from run to run.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::Bench;

/// Rows below zero break this rule.
const RANGE: &str = "    checks:\n      - range: { column: amount, min: 0, action: ";

/// A bench with three orders, one of them below zero.
fn bench(checks: &str) -> Bench {
    let bench = Bench::new();
    bench.write("in/orders.csv", "id,amount\n1,10\n2,-5\n3,7\n");
    write_pipeline(&bench, checks);
    bench
}

fn write_pipeline(bench: &Bench, checks: &str) {
    let text = format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ lake: {{ url: out }} }}\n\
         tables:\n  - from: orders\n    key: [id]\n    columns: {{ amount: {{ cast: int64 }} }}\n{checks}"
    );
    bench.write("p.yaml", text);
}

fn range(action: &str) -> String {
    format!("{RANGE}{action} }}\n")
}

/// Every sample of the file: name, labels and value. What stands before them is held to the format.
fn samples(bench: &Bench, file: &str) -> Vec<(String, String, f64)> {
    let text = std::fs::read_to_string(bench.path(file)).unwrap();
    let (mut found, mut family): (Vec<(String, String, f64)>, String) = Default::default();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap().to_string();
            assert!(found.iter().all(|(name, ..)| *name != family), "{family} is there twice:\n{text}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind, format!("{family} gauge"));
        } else {
            let (name, rest) = line.split_once('{').unwrap();
            let (labels, value) = rest.rsplit_once("} ").unwrap();
            assert_eq!(name, family, "{text}");
            assert!(found.iter().all(|(n, l, _)| (n.as_str(), l.as_str()) != (name, labels)), "{line} is there twice");
            found.push((name.to_string(), labels.to_string(), value.parse().unwrap()));
        }
    }
    found
}

/// The value of the only sample with this name and a label that holds this text.
#[track_caller]
fn value(samples: &[(String, String, f64)], name: &str, label: &str) -> f64 {
    let fits = |(n, l, _): &&(String, String, f64)| n.strip_prefix("transload_") == Some(name) && l.contains(label);
    let found: Vec<f64> = samples.iter().filter(fits).map(|(_, _, value)| *value).collect();
    assert_eq!(found.len(), 1, "{name} {label}: {samples:?}");
    found[0]
}

#[test]
fn a_run_that_puts_rows_aside_is_told_in_numbers() {
    let bench = bench(&format!("{}      - row_count: {{ min: 1 }}\n", range("quarantine")));
    bench.run(&["run", "p.yaml", "--metrics", "m.prom"]).expect(0);
    let found = samples(&bench, "m.prom");
    for (name, expected) in [("read", 3.0), ("written", 2.0), ("quarantined", 1.0), ("filtered", 0.0)] {
        assert_eq!(value(&found, &format!("rows_{name}"), "table=\"orders\""), expected, "{name}");
    }
    for (outcome, expected) in [("match", 1.0), ("mismatch", 0.0), ("not_compared", 0.0)] {
        assert_eq!(value(&found, "verdict", &format!("outcome=\"{outcome}\"")), expected, "{outcome}");
    }
    assert_eq!(value(&found, "check_rows_evaluated", "code=\"Q005\",check=\"range\",columns=\"amount\""), 3.0);
    assert_eq!(value(&found, "check_rows_failed", "code=\"Q005\""), 1.0);
    assert_eq!(value(&found, "check_failed", "code=\"Q005\""), 1.0);
    assert_eq!(value(&found, "check_failed", "code=\"Q014\""), 0.0);
    assert!(value(&found, "check_duration_seconds", "code=\"Q005\"") > 0.0);
    assert!(value(&found, "check_duration_seconds", "code=\"Q014\"") > 0.0);
    // Two of three rows, and the two rows that were counted in the target.
    assert_eq!(value(&found, "quality_score", "table=\"orders\""), 0.8);
    assert_eq!(value(&found, "pipeline_quality_score", "pipeline=\"test\""), 0.8);
    assert_eq!(value(&found, "run_exit_code", ""), 0.0);
    assert!(value(&found, "run_duration_seconds", "") > 0.0);
    assert!(value(&found, "run_end_time_seconds", "") > 1.7e9);
    let left = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("m.prom.");
    assert!(!bench.all_files(".").iter().any(left), "{:?}", bench.all_files("."));
}

#[test]
fn a_run_that_is_stopped_is_told_too_and_one_without_checks_has_no_score() {
    let bench = bench(&range("stop"));
    bench.run(&["run", "p.yaml", "--metrics", "m.prom"]).expect(4);
    let found = samples(&bench, "m.prom");
    assert_eq!((value(&found, "run_exit_code", ""), value(&found, "rows_read", "")), (4.0, 0.0));
    assert_eq!((value(&found, "check_failed", ""), value(&found, "verdict", "\"match\"")), (1.0, 0.0));
    write_pipeline(&bench, "");
    bench.run(&["run", "p.yaml", "--metrics", "m.prom"]).expect(0);
    let found = samples(&bench, "m.prom");
    assert_eq!((value(&found, "run_exit_code", ""), value(&found, "rows_read", "")), (0.0, 3.0));
    assert!(found.iter().all(|(name, ..)| !name.contains("score") && !name.contains("check")), "{found:?}");
}

#[test]
fn metrics_that_cannot_be_written_are_said_and_change_nothing() {
    let bench = bench(&range("stop"));
    for file in ["gone/m.prom", "in"] {
        let failed = bench.run(&["run", "p.yaml", "--metrics", file]).expect(4);
        assert_eq!(failed.last_line()["exit_code"], 4);
        failed.says("the metrics cannot be written");
    }
    write_pipeline(&bench, "");
    let good = bench.run(&["run", "p.yaml", "-q", "--metrics", "gone/m.prom"]).expect(0);
    assert_eq!(good.last_line()["status"], "succeeded");
    good.says("the metrics cannot be written");
    let runs = bench.run(&["runs", "--format", "json"]).expect(0).last_line();
    assert_eq!(runs["runs"][0]["exit_code"], 0, "{runs}");
}

#[test]
fn a_resumed_run_is_told_when_it_ends() {
    let bench = bench(&range("quarantine"));
    bench.run_with_faults(&["run", "p.yaml", "--metrics", "m.prom"], "unit.journaled=return(kill)").expect(-1);
    assert!(!bench.path("m.prom").exists());
    bench.run(&["resume", &bench.newest_run(), "--metrics", "m.prom"]).expect(0);
    let found = samples(&bench, "m.prom");
    assert_eq!((value(&found, "rows_read", ""), value(&found, "check_rows_failed", "")), (3.0, 1.0));
}

#[test]
fn a_replay_has_series_of_its_own_and_those_of_the_load_stay_as_they_were() {
    let bench = bench(&range("quarantine"));
    bench.run(&["run", "p.yaml", "--metrics", "load.prom"]).expect(0);
    let load = samples(&bench, "load.prom");
    let run = bench.newest_run();
    bench.write("patch.csv", "_split,_position,amount\n0,1,5\n");
    bench.run_with_faults(&["replay", &run, "--patch", "patch.csv"], "unit.journaled=return(kill)").expect(-1);
    // A replay that is resumed is one all the same.
    bench.run(&["resume", &bench.newest_run(), "--metrics", "replay.prom"]).expect(0);
    let replayed = samples(&bench, "replay.prom");
    assert!(load.iter().all(|(_, labels, _)| !labels.contains("kind=")), "{load:?}");
    assert!(replayed.iter().all(|(_, labels, _)| labels.contains("pipeline=\"test\",kind=\"replay\"")), "{replayed:?}");
    assert_eq!((value(&replayed, "rows_read", ""), value(&replayed, "rows_written", "")), (1.0, 1.0));
    assert_eq!(value(&replayed, "pipeline_quality_score", ""), 1.0);
    assert_eq!(value(&load, "pipeline_quality_score", ""), 2.0 / 3.0);
    // Nothing that the one says can be taken for what the other says.
    let series = |of: &[(String, String, f64)]| -> Vec<(String, String)> {
        of.iter().map(|(name, labels, _)| (name.clone(), labels.clone())).collect()
    };
    let (load, replayed) = (series(&load), series(&replayed));
    assert!(load.iter().all(|series| !replayed.contains(series)), "{load:?} {replayed:?}");
}

/// One field of every run of a trend.
fn each(trend: &Value, field: &str) -> Vec<Value> {
    trend["runs"].as_array().unwrap().iter().map(|run| run[field].clone()).collect()
}

#[test]
fn a_trend_goes_from_the_oldest_run_to_the_newest() {
    let bench = bench("");
    bench.run(&["run", "p.yaml"]).expect(0);
    write_pipeline(&bench, &range("stop"));
    bench.run(&["run", "p.yaml"]).expect(4);
    for amounts in ["10,5,7", "10,5,7", "-1,-5,7"] {
        let rows: Vec<String> = amounts.split(',').enumerate().map(|(id, amount)| format!("{id},{amount}\n")).collect();
        bench.write("in/orders.csv", format!("id,amount\n{}", rows.concat()));
        bench.run(&["run", "p.yaml"]);
    }
    write_pipeline(&bench, "");
    bench.run(&["reconcile", "p.yaml"]);

    let trend = bench.run(&["runs", "--quality", "--format", "json"]).expect(0).last_line();
    assert_eq!(each(&trend, "exit_code"), [0, 4, 0, 0, 4].map(Value::from), "{trend}");
    let changes = [Value::Null, Value::Null, "up".into(), "same".into(), "down".into()];
    assert_eq!(each(&trend, "change"), changes, "{trend}");
    assert!(trend["runs"][0]["score"].is_null() && trend["runs"][0]["tables"] == Value::Array(Vec::new()), "{trend}");
    let table = &trend["runs"][1]["tables"][0];
    assert_eq!((&table["table"], table["evaluated"].as_u64()), (&Value::from("orders"), Some(3)));
    let check = &table["checks"][0];
    assert_eq!((&check["code"], &check["outcome"]), (&Value::from("Q005"), &Value::from("failed")));
    let counts = ["evaluated", "passed", "failed"].map(|name| check[name].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 1]);
    assert!(check["duration_micros"].as_u64().is_some_and(|micros| micros > 0), "{check}");
    // A check that passed keeps its counts.
    let check = &trend["runs"][2]["tables"][0]["checks"][0];
    assert_eq!((check["passed"].as_u64(), check["failed"].as_u64()), (Some(3), Some(0)), "{trend}");

    let text = bench.run(&["runs", "--quality"]).expect(0).stdout;
    for said in [
        "; no check was judged",
        "66.66 %  ",
        "100.00 % ↑  1 of 1 checks passed",
        "100.00 % =",
        "33.33 % ↓  0 of 1 checks passed; failed: Q005 range (amount) 2 of 3",
    ] {
        assert!(text.contains(said), "{said} is not in:\n{text}");
    }
    let last = bench.run(&["runs", "--quality", "--limit", "1", "--format", "json"]).expect(0).last_line();
    // One run is shown, so there is none before it.
    assert_eq!(each(&last, "change"), [Value::Null], "{last}");
}
