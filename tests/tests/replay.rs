//! Quarantine and its replay: what passes now arrives once, whatever happens, and the rest is kept.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use transload_core::fault::{POINTS, REPLAY_POINTS};

use crate::harness::{Bench, Outcome, Started, root, run_python, tpch_pipeline, wait_until};

/// Two good rows; two below zero, one without a date and one without its last field are put aside.
const ORDERS: &str = "id,status,amount,placed\n1,open,10.00,2024-01-01\n2,paid,-5.00,2024-01-02\n3,open,7.50,soon\n\
                      4,open,1.00\n5,paid,-1.00,2024-01-05\n6,open,2.00,2024-01-06\n";

/// Repairs all but the order 5.
const PATCH: &str = "_split,_position,id,status,amount,placed\n0,1,,,5.00,\n0,2,,,,2024-01-03\n0,3,4,\"\",1.00,NULL\n";

fn pipeline(minimum: i32, more: &str) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv, csv: {{ null_values: [\"\"], on_bad_line: quarantine }} }} }}\n\
         target: {{ lake: {{ url: out }} }}\n{more}tables:\n  - from: orders\n    key: [id]\n\
         \x20   columns: {{ amount: {{ cast: \"decimal(8,2)\" }}, placed: {{ cast: date, on_misfit: quarantine }} }}\n\
         \x20   checks:\n      - range: {{ column: amount, min: {minimum}, action: quarantine, threshold: 75% }}\n\
         \x20     - row_count: {{ exactly: 2 }}\n"
    )
}

/// A bench on which the orders were loaded, and the run.
fn loaded() -> (Bench, String) {
    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    bench.write("p.yaml", pipeline(0, ""));
    bench.write("patch.csv", PATCH);
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [6, 2, 4, 0]);
    let run = run_of(&outcome);
    (bench, run)
}

fn run_of(outcome: &Outcome) -> String {
    outcome.last_line()["run_id"].as_str().unwrap().to_string()
}

fn counts(outcome: &Outcome) -> [u64; 4] {
    let table = &outcome.last_line()["tables"][0];
    ["read", "written", "quarantined", "filtered"].map(|name| table[name].as_u64().unwrap())
}

/// The rows of some Parquet files, read by another program.
fn rows(files: &[std::path::PathBuf]) -> Vec<Value> {
    let script = "import json, sys, pyarrow.parquet as q\n\
                  rows = [r for f in sys.argv[1:] for r in q.ParquetFile(f).read().to_pylist()]\n\
                  print(json.dumps(rows, default=str))";
    let files: Vec<&str> = files.iter().map(|p| p.to_str().unwrap()).filter(|p| p.ends_with(".parquet")).collect();
    serde_json::from_str(&run_python(script, &files)).unwrap()
}

/// Numbers of the orders in the target.
fn orders(bench: &Bench) -> Vec<i64> {
    let mut ids: Vec<i64> = rows(&bench.data_files("out/orders")).iter().map(|r| r["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn aside(bench: &Bench, place: &str, run: &str) -> Vec<Value> {
    rows(&bench.all_files(&format!("{place}/{run}/orders")))
}

fn codes(row: &Value) -> Vec<&str> {
    row["_rules"].as_array().unwrap().iter().map(|rule| rule["code"].as_str().unwrap()).collect()
}

fn runs(bench: &Bench) -> Vec<Value> {
    bench.run(&["runs", "--format", "json"]).expect(0).last_line()["runs"].as_array().unwrap().clone()
}

#[test]
fn quarantine_holds_the_row_every_rule_it_breaks_and_where_it_is_from() {
    let (bench, run) = loaded();
    let found = aside(&bench, ".transload/quarantine", &run);
    assert_eq!(found.iter().map(codes).collect::<Vec<_>>(), [["Q005"], ["C001"], ["L001"], ["Q005"]]);
    assert_eq!(found.iter().map(|r| r["_position"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(found.iter().all(|r| r["_run_id"] == run.as_str() && r["_split"] == 0));
    assert_eq!((&found[1]["placed"], &found[1]["amount"]), (&json!("soon"), &json!("7.50")));
    assert_eq!((&found[2]["_transload_raw"], &found[2]["id"]), (&json!("4,open,1.00"), &Value::Null));
    for row in &found {
        let rule = &row["_rules"][0];
        assert_eq!(rule["fingerprint"].as_str().unwrap().len(), 16);
        let reason = rule["reason"].as_str().unwrap();
        assert!(!reason.contains("soon") && !reason.contains("5.00"), "a value: {reason}");
    }
    let shown = bench.run(&["show", &run, "--format", "json"]).expect(0).last_line();
    assert_eq!(shown["run"]["findings"][0]["fingerprint"], found[0]["_rules"][0]["fingerprint"]);
}

#[test]
fn quarantine_keeps_texts_as_they_were_written_and_not_what_a_cast_made_of_them() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n,word\n1, 007,NA\n2, 8,\n3,+9,\"NA\"\n4,10,NA\n");
    let text = "version: 1\npipeline: test\nsource: { lake: { url: in, format: csv, csv: { null_values: [\"\", NA] } } }\n\
                target: { lake: { url: out } }\ntables:\n  - from: t\n    key: [id]\n    columns: { n: { cast: int32 } }\n    \
                checks: [ { range: { column: n, min: 10, action: quarantine } } ]\n";
    bench.write("p.yaml", text);
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    let found = rows(&bench.all_files(&format!(".transload/quarantine/{run}/t")));
    let each = |name: &str| found.iter().map(|row| row[name].clone()).collect::<Vec<Value>>();
    assert_eq!(each("n"), [" 007", " 8", "+9"]);
    assert_eq!(each("word"), [Value::Null, Value::Null, json!("NA")]);
    // Of the NULLs, one was written as a text.
    assert_eq!(each("_transload_raw"), [json!("1, 007,NA"), Value::Null, Value::Null]);
    assert_eq!(found.iter().map(codes).collect::<Vec<_>>(), [["Q005"]; 3]);

    // What stays aside keeps it, and the target never gets it.
    bench.write("patch.csv", "_split,_position,n\n0,1,11\n");
    let replayed = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    let found = rows(&bench.all_files(&format!(".transload/quarantine/{}/t", run_of(&replayed))));
    assert_eq!((&found[0]["n"], &found[0]["_transload_raw"]), (&json!(" 007"), &json!("1, 007,NA")));
    let mut target = rows(&bench.data_files("out/t"));
    target.sort_by_key(|row| row["id"].as_i64());
    assert_eq!(target, [json!({ "id": 2, "n": 11, "word": null }), json!({ "id": 4, "n": 10, "word": null })]);
}

#[test]
fn quarantine_keeps_numbers_and_times_that_a_cast_would_round_or_cut() {
    let bench = Bench::new();
    let script = "import sys, decimal, datetime, pyarrow as a, pyarrow.parquet as q\n\
                  d, t = decimal.Decimal, datetime.datetime\n\
                  at = a.array([t(2024, 1, 1, 10, 0, 0, 123456), t(2024, 1, 2, 10, 0, 0, 654321)], a.timestamp('us'))\n\
                  amount = a.array([d('1.255'), d('2.505')], a.decimal128(10, 3))\n\
                  q.write_table(a.table({'id': a.array([1, 2]), 'amount': amount, 'at': at}), sys.argv[1])";
    std::fs::create_dir_all(bench.path("in")).unwrap();
    run_python(script, &[bench.path("in/t.parquet").to_str().unwrap()]);
    let text = "version: 1\npipeline: test\nsource: { lake: { url: in } }\ntarget: { lake: { url: out } }\ntables:\n  \
                - from: t\n    key: [id]\n    \
                columns: { amount: { cast: \"decimal(8,2)\" }, at: { cast: \"timestamp(ms)\" } }\n    \
                checks: [ { range: { column: amount, min: 2, action: quarantine } } ]\n";
    bench.write("p.yaml", text);
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [2, 1, 1, 0]);
    let found = &rows(&bench.all_files(&format!(".transload/quarantine/{}/t", run_of(&outcome))))[0];
    assert_eq!((&found["amount"], &found["at"]), (&json!("1.255"), &json!("2024-01-01 10:00:00.123456")));
    let target = &rows(&bench.data_files("out/t"))[0];
    assert_eq!(target["at"], "2024-01-02 10:00:00.654000");
    assert_ne!(target["amount"], "2.505");
    // By other rules the row arrives as the cast makes it.
    bench.write("amended.yaml", text.replace("min: 2", "min: 1"));
    let replayed = bench.run(&["replay", &run_of(&outcome), "--pipeline", "amended.yaml"]).expect(0);
    assert_eq!(replayed.last_line()["tables"][0]["verdict"], "match");
}

#[test]
fn a_replay_without_a_change_adds_nothing_and_keeps_all() {
    let (bench, run) = loaded();
    let again = bench.run(&["replay", &run]).expect(99);
    assert_eq!(counts(&again), [4, 0, 4, 0]);
    assert_eq!(orders(&bench), [1, 6]);
    let place = ".transload/quarantine";
    assert_eq!(aside(&bench, place, &run_of(&again)), aside(&bench, place, &run));
    // The next one reads what the last one kept.
    let third = bench.run(&["replay", &run]).expect(99);
    let shown = bench.run(&["show", &run_of(&third)]).expect(0).stdout;
    assert!(shown.contains(&format!("what run {} put aside of orders", run_of(&again))), "{shown}");
    assert_eq!(aside(&bench, place, &run_of(&third)), aside(&bench, place, &run));
    assert_eq!(orders(&bench), [1, 6]);
    bench.run(&["audit", "verify"]).expect(0);
}

#[test]
fn by_amended_rules_what_passes_now_is_added_and_proven() {
    let (bench, run) = loaded();
    bench.write("amended.yaml", pipeline(-3, ""));
    let replayed = bench.run(&["replay", &run, "--pipeline", "amended.yaml"]).expect(0);
    assert_eq!(counts(&replayed), [4, 1, 3, 0]);
    assert_eq!(replayed.last_line()["tables"][0]["verdict"], "match");
    assert_eq!(orders(&bench), [1, 5, 6]);
    let second = run_of(&replayed);
    let shown = bench.run(&["show", &run]).expect(0).stdout;
    assert!(shown.contains(&format!("replayed     by run {second}")), "{shown}");
    let shown = bench.run(&["show", &second, "--plan"]).expect(0).stdout;
    assert!(shown.contains(&format!("replays      what run {run} put aside of orders")), "{shown}");
    assert!(shown.contains("at least -3") && shown.contains("looks at orders of the target"), "{shown}");
    let listed = runs(&bench);
    assert_eq!((&listed[0]["command"], &listed[1]["replayed_by"]), (&json!("replay"), &json!([second])));
    let text = bench.run(&["runs"]).expect(0).stdout;
    assert!(text.contains(&format!("replayed by {second}")), "{text}");
    bench.run(&["report", &run, "--output", "-"]).expect(0);
    bench.run(&["report", &second, "--output", "-"]).expect(0);
    for run in [&run, &second] {
        bench.run(&["reconcile", "--run", run]).expect(0);
    }
    bench.run(&["replay", &run, "--pipeline", "amended.yaml"]).expect(99);
    assert_eq!(orders(&bench), [1, 5, 6]);
}

#[test]
fn a_patch_repairs_rows_and_bad_lines() {
    let (bench, run) = loaded();
    let replayed = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    assert_eq!(counts(&replayed), [4, 3, 1, 0]);
    assert_eq!(replayed.last_line()["tables"][0]["verdict"], "match");
    assert_eq!(orders(&bench), [1, 2, 3, 4, 6]);
    let mut target = rows(&bench.data_files("out/orders"));
    target.sort_by_key(|r| r["id"].as_i64());
    let values = |r: &Value| json!([r["status"], r["amount"], r["placed"]]);
    assert_eq!(values(&target[1]), json!(["paid", "5.00", "2024-01-02"]));
    assert_eq!(values(&target[2]), json!(["open", "7.50", "2024-01-03"]));
    assert_eq!(values(&target[3]), json!(["", "1.00", null]));
    let left = aside(&bench, ".transload/quarantine", &run_of(&replayed));
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0]["_position"], &left[0]["_run_id"]), (&json!(4), &json!(run)));
    bench.run(&["audit", "verify"]).expect(0);
    // A row keeps its place, so the next patch names it as the first one would have.
    bench.write("second.csv", "_split,_position,amount\n0,4,1.00\n");
    bench.run(&["replay", &run, "--patch", "second.csv"]).expect(0);
    assert_eq!(orders(&bench), [1, 2, 3, 4, 5, 6]);
    bench.run(&["replay", &run]).expect(99).says("nothing is left in quarantine");
    bench.run(&["reconcile", "--run", &run_of(&replayed)]).expect(0);
}

#[test]
fn replaying_twice_adds_once() {
    let (bench, run) = loaded();
    bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    // Its rows are not there any more.
    bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(3).says("patch.csv:2");
    bench.run(&["replay", &run]).expect(99);
    assert_eq!(orders(&bench), [1, 2, 3, 4, 6]);
}

#[test]
fn of_two_replays_at_once_one_is_told_to_come_back() {
    let (bench, run) = loaded();
    let args = ["replay", &run, "--patch", "patch.csv"];
    let first = Started::new(&bench, &args, "replay.claimed=sleep(1500)");
    let claimed = || bench.all_files(".transload/runs").iter().any(|p| p.to_string_lossy().contains("/replayed-"));
    wait_until("the first has begun", claimed);
    bench.run(&args).expect(75).says("another run of this pipeline");
    first.ended().expect(0);
    assert_eq!(orders(&bench), [1, 2, 3, 4, 6]);
}

#[test]
fn killed_anywhere_and_started_again_a_replay_adds_once() {
    let mut faults: Vec<String> =
        REPLAY_POINTS.iter().chain(&POINTS).map(|point| format!("{point}=return(kill)")).collect();
    // The first commit is the quarantine's, the second the target's.
    let second = ["begun", "renamed", "manifest", "published", "cleaned"];
    faults.extend(second.map(|point| format!("commit.{point}=1*off->return(kill)")));
    for fault in faults {
        let (bench, run) = loaded();
        let args = ["replay", &run, "--patch", "patch.csv"];
        bench.run_with_faults(&args, &fault).expect(-1);
        let killed = runs(&bench)[0]["run_id"].as_str().unwrap().to_string();
        let again = bench.run(&args).expect(0);
        assert_eq!(counts(&again), [4, 3, 1, 0], "{fault}");
        assert_eq!(again.last_line()["tables"][0]["verdict"], "match", "{fault}");
        if ["run.started", "replay.begun"].iter().any(|early| fault.starts_with(early)) {
            // Nobody knew that it would read these rows, so another has.
            bench.run(&["resume", &killed]).expect(3).says("has begun to replay these rows before");
        } else {
            assert_eq!(run_of(&again), killed, "{fault}");
            assert!(again.stderr.contains("has not finished"), "{fault}: {}", again.stderr);
        }
        bench.run(&["replay", &run]).expect(99);
        assert_eq!(orders(&bench), [1, 2, 3, 4, 6], "{fault}");
        bench.run(&["audit", "verify"]).expect(0);
    }
}

#[test]
fn a_replay_that_failed_may_be_tried_again_unless_its_rows_have_arrived() {
    for (point, code, first) in [("unit.begun", 3, false), ("run.aside", 3, false), ("run.receipt", 8, true)] {
        let (bench, run) = loaded();
        let args = ["replay", &run, "--patch", "patch.csv"];
        let failed = bench.run_with_faults(&args, &format!("{point}=return(permanent)")).expect(code);
        let again = bench.run(&args).expect(0);
        assert_eq!(run_of(&again) == run_of(&failed), first, "{point}");
        assert_eq!(orders(&bench), [1, 2, 3, 4, 6], "{point}");
        bench.run(&["replay", &run]).expect(99);
        assert_eq!(orders(&bench), [1, 2, 3, 4, 6], "{point}");
    }
}

#[test]
fn a_replay_that_is_not_finished_does_not_change_its_rules() {
    let (bench, run) = loaded();
    bench.write("other.csv", "_split,_position,amount\n0,4,1.00\n");
    bench.run_with_faults(&["replay", &run, "--patch", "patch.csv"], "unit.journaled=return(kill)").expect(-1);
    let open = bench.newest_run();
    bench.run(&["replay", &run, "--patch", "other.csv"]).expect(3).says("has not finished").says(&open);
    let done = bench.run(&["replay", &run]).expect(0).says("has not finished");
    assert_eq!((run_of(&done), orders(&bench)), (open, vec![1, 2, 3, 4, 6]));
}

#[test]
fn rows_of_an_older_snapshot_do_not_enter_a_newer_one() {
    let (bench, run) = loaded();
    bench.run(&["replay", &run]).expect(99);
    bench.run(&["run", "p.yaml"]).expect(0);
    let newest = bench.newest_run();
    for args in [vec!["replay", &run], vec!["replay", &run, "--patch", "patch.csv"]] {
        bench.run(&args).expect(3).says("no longer holds what run").says(&run);
    }
    assert_eq!(orders(&bench), [1, 6]);
    bench.run(&["replay", &newest, "--patch", "patch.csv"]).expect(0);
    assert_eq!(orders(&bench), [1, 2, 3, 4, 6]);
}

#[test]
fn a_table_that_rows_are_added_to_takes_replays_of_every_run() {
    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    bench.write("patch.csv", PATCH);
    bench.write("p.yaml", pipeline(0, "").replace("key: [id]", "mode: append"));
    let first = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    let second = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    for run in [&second, &first] {
        bench.run(&["replay", run, "--patch", "patch.csv"]).expect(0);
    }
    assert_eq!(orders(&bench), [1, 1, 2, 2, 3, 3, 4, 4, 6, 6]);
}

#[test]
fn what_cannot_be_replayed_gets_a_sentence() {
    let (bench, run) = loaded();
    bench.run(&["replay", "20200101T000000Z-00000000"]).expect(3).says("has no run 20200101T000000Z-00000000");
    bench.run(&["replay", "yesterday"]).expect(2).says("is not the name of a run");
    bench.run(&["replay", &run, "--table", "ordres"]).expect(3).says("has no table `ordres`").says("orders");
    bench.run(&["replay", &run, "--env", "prod"]).expect(2);
    bench.run(&["replay", &run, "--pipeline", "gone.yaml"]).expect(3);
    bench.write("other.yaml", pipeline(0, "").replace("pipeline: test", "pipeline: other"));
    bench.run(&["replay", &run, "--pipeline", "other.yaml"]).expect(3).says("this is the pipeline `other`");
    bench.write("target.yaml", pipeline(0, "").replace("url: out", "url: elsewhere"));
    bench.run(&["replay", &run, "--pipeline", "target.yaml"]).expect(3).says("another target");
    bench.write("columns.yaml", pipeline(0, "").replace("columns: {", "columns: { status: { mask: redact },"));
    bench.run(&["replay", &run, "--pipeline", "columns.yaml"]).expect(3).says("masks of the amended table");
    assert_eq!(runs(&bench).len(), 1, "something was begun");
    bench.run(&["reconcile", "p.yaml"]).expect(0);
    bench.run(&["replay", &bench.newest_run()]).expect(3).says("only a load puts rows aside");
    let clean = Bench::new();
    clean.write("p.yaml", tpch_pipeline("  - from: nation\n"));
    let run = run_of(&clean.run(&["run", "p.yaml"]).expect(0));
    clean.run(&["replay", &run]).expect(99).says("nothing is left in quarantine");
    clean.run_with_faults(&["run", "p.yaml"], "unit.journaled=return(kill)").expect(-1);
    clean.run(&["replay", &clean.newest_run()]).expect(3).says("has not finished").says("transload resume");
}

#[test]
fn a_bad_patch_is_refused_with_its_line_before_anything_begins() {
    let (bench, run) = loaded();
    for (patch, line, said) in [
        ("", 1, "the patch is empty"),
        ("_split,_position\n0,1\n", 1, "names no column to be changed"),
        ("_split,amount\n0,1\n", 1, "must name the columns `_split` and `_position`"),
        ("_split,_position,amuont\n0,1,5\n", 1, "has no column `amuont`"),
        ("_split,_position,amuont\n0,1,5\n", 1, "did you mean `amount`?"),
        ("_split,_position,_transload_raw\n0,1,5\n", 1, "has no column `_transload_raw`"),
        ("_split,_position,amount,amount\n0,1,5,5\n", 1, "names `amount` twice"),
        ("_split,_position,amount\n", 1, "a header and no rows"),
        ("_split,_position,amount\n0,1\n", 2, "2 fields where 3 are expected"),
        ("_split,_position,amount\n0,one,5\n", 2, "the position is no whole number"),
        ("_split,_position,amount\n0,1,\n", 2, "changes nothing"),
        ("_split,_position,amount\n0,1,5\n0,2,5\n0,1,6\n", 4, "the row is on line 2 too"),
        ("_split,_position,amount\n0,1,5\n0,0,5\n", 3, "no row at position 0 of split 0"),
        ("_split,_position,amount\n7,1,5\n", 2, "no row at position 1 of split 7"),
        ("_split,_position,id,status,amount,placed\n0,3,4,open,1.00,\n", 2, "`placed` is not given"),
        ("_split,_position,amount\n0,1,\"5\n", 2, "a quote is not closed"),
    ] {
        bench.write("bad.csv", patch);
        let outcome = bench.run(&["replay", &run, "--patch", "bad.csv"]).expect(3).says(said);
        assert!(outcome.stderr.contains(&format!("bad.csv:{line}")), "{patch}: {}", outcome.stderr);
    }
    bench.write("bad.csv", b"_split,_position,amount\n0,1,\xff\n");
    bench.run(&["replay", &run, "--patch", "bad.csv"]).expect(3).says("not UTF-8");
    bench.run(&["replay", &run, "--patch", "gone.csv"]).expect(3).says("gone.csv");
    assert_eq!(runs(&bench).len(), 1, "something was begun");
}

#[test]
fn a_patch_is_read_by_the_types_of_the_source() {
    let bench = Bench::new();
    let table = "  - from: nation\n    key: [n_nationkey]\n    checks:\n      - range: { column: n_regionkey, min: 1, action: quarantine }\n";
    bench.write("p.yaml", tpch_pipeline(table));
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    let patch = |value: &str| format!("_split,_position,n_regionkey\n0,0,{value}\n");
    for (value, said) in [("one", "cannot be read as int64"), ("NULL", "must have a value, and NULL is none")] {
        bench.write("patch.csv", patch(value));
        let refused = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(3).says(said).says("patch.csv:2");
        assert!(!refused.stderr.contains("`one`"), "a value: {}", refused.stderr);
    }
    bench.write("patch.csv", patch("4"));
    let replayed = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    assert_eq!(counts(&replayed), [5, 1, 4, 0]);
    assert_eq!(replayed.last_line()["tables"][0]["verdict"], "match");
    assert_eq!(rows(&bench.data_files("lake/nation")).len(), 21);
}

#[test]
fn only_the_tables_that_are_named_are_replayed() {
    let bench = Bench::new();
    let table = |name: &str| {
        format!(
            "  - from: {name}\n    checks:\n      - range: {{ column: {}_regionkey, min: 1, action: quarantine }}\n",
            &name[..1]
        )
    };
    bench.write("p.yaml", tpch_pipeline(&format!("{}{}", table("nation"), table("region"))));
    let amended = bench.path("p.yaml");
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    let text = std::fs::read_to_string(amended).unwrap();
    bench.write("amended.yaml", text.replace("min: 1", "min: 0"));
    bench.write("patch.csv", "_split,_position,r_regionkey\n0,0,1\n");
    bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(3).says("a patch is for one table");
    let replayed = bench.run(&["replay", &run, "--pipeline", "amended.yaml", "--table", "nat*"]).expect(0);
    let tables = replayed.last_line()["tables"].as_array().unwrap().clone();
    assert_eq!(tables.len(), 1);
    assert_eq!((&tables[0]["table"], &tables[0]["written"]), (&json!("nation"), &json!(5)));
    assert_eq!(rows(&bench.data_files("lake/region")).len(), 4);
    let rest = bench.run(&["replay", &run, "--pipeline", "amended.yaml"]).expect(0);
    assert_eq!(rest.last_line()["tables"][0]["table"], "region");
    assert_eq!((rows(&bench.data_files("lake/region")).len(), rows(&bench.data_files("lake/nation")).len()), (5, 25));
}

#[test]
fn a_place_of_its_own_is_used_everywhere_and_its_secret_is_nowhere() {
    let bench = Bench::with(vec![("ASIDE", "hush-hush".to_string())]);
    bench.write("in/orders.csv", ORDERS);
    bench.write("patch.csv", PATCH);
    bench.write("p.yaml", pipeline(0, "quarantine: { url: \"${env:ASIDE}/rows/\" }\n"));
    bench.run_with_faults(&["run", "p.yaml"], "run.aside=return(kill)").expect(-1);
    let run = bench.newest_run();
    bench.run(&["resume", &run]).expect(0);
    assert_eq!(aside(&bench, "hush-hush/rows", &run).len(), 4);
    let shown = bench.run(&["show", &run, "--plan"]).expect(0).stdout;
    assert!(shown.contains(&format!("quarantine   ${{env:ASIDE}}/rows/{run}/orders")), "{shown}");
    assert!(shown.contains("put aside in ${env:ASIDE}/rows/"), "{shown}");
    let replayed = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    assert_eq!(aside(&bench, "hush-hush/rows", &run_of(&replayed)).len(), 1);
    let page = bench.run(&["report", &run, "--output", "-"]).expect(0).stdout;
    bench.run(&["reconcile", "--run", &run_of(&replayed)]).expect(0);
    let kept = bench.all_files(".transload").into_iter().map(|p| std::fs::read(p).unwrap());
    let kept = kept.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    for text in kept.chain([shown, page, replayed.stdout, replayed.stderr]) {
        assert!(!text.contains("hush-hush"), "{text}");
    }
    assert!(!bench.path(".transload/quarantine").exists());
}

#[test]
fn beside_the_target_quarantine_is_found_by_replays_and_not_by_who_reads_the_target() {
    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    bench.write("patch.csv", PATCH);
    bench.write("p.yaml", pipeline(0, "quarantine: target\n"));
    let first = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    // Replacing the table leaves what was put aside of it before.
    for run in [&first, &run] {
        assert_eq!(aside(&bench, "out/_quarantine", run).len(), 4);
    }
    let shown = bench.run(&["show", &run, "--plan"]).expect(0).stdout;
    assert!(shown.contains("put aside in out/_quarantine\n"), "{shown}");
    assert!(shown.contains(&format!("quarantine   out/_quarantine/{run}/orders\n")), "{shown}");

    let listed = |folder: &str| {
        let tables = bench.run(&["discover", folder, "--format", "json"]).expect(0).last_line()["tables"].clone();
        let name = |t: &Value| format!("{}: {}", t["name"].as_str().unwrap(), t["rows"]);
        tables.as_array().unwrap().iter().map(name).collect::<BTreeSet<String>>()
    };
    assert_eq!(listed("out"), BTreeSet::from(["orders: 2".to_string()]));
    let both = [&first, &run].map(|run| format!("{run}/orders: 4"));
    assert_eq!(listed("out/_quarantine"), BTreeSet::from(both));
    let copy = "version: 1\npipeline: copy\nsource: { lake: { url: out } }\ntarget: { lake: { url: copy } }\ntables: [ { from: '**/*.parquet', to: all } ]\n";
    bench.write("copy.yaml", copy);
    assert_eq!(counts(&bench.run(&["run", "copy.yaml"]).expect(0)), [2, 2, 0, 0]);

    // The place is the run's, whatever the pipeline says by now.
    bench.write("p.yaml", pipeline(0, ""));
    let replayed = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    assert_eq!(replayed.last_line()["tables"][0]["verdict"], "match");
    assert_eq!(orders(&bench), [1, 2, 3, 4, 6]);
    assert_eq!(aside(&bench, "out/_quarantine", &run_of(&replayed)).len(), 1);
    assert!(!bench.path(".transload/quarantine").exists());
    bench.run(&["reconcile", "--run", &run_of(&replayed)]).expect(0);
}

#[test]
fn names_that_the_source_has_are_left_to_it() {
    let bench = Bench::new();
    bench.write("in/orders.csv", "id,_split,_run_id\n1,a,x\n-2,b,y\n");
    let table = "    key: [id]\n    checks:\n      - range: { column: id, min: 0, action: quarantine }\n";
    let text = "version: 1\npipeline: test\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\ntables:\n  - from: orders\n";
    bench.write("p.yaml", format!("{text}{table}"));
    let plan = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    assert!(plan.contains("with own columns named __run_id, __split"), "{plan}");
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    let found = &aside(&bench, ".transload/quarantine", &run)[0];
    assert_eq!(
        json!([found["_split"], found["__split"], found["_run_id"], found["__run_id"]]),
        json!(["b", 0, "y", run])
    );
    bench.write("patch.csv", "__split,_position,id,_split\n0,1,2,c\n");
    bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    assert_eq!(orders(&bench), [1, 2]);
}

#[test]
fn a_patched_value_that_still_does_not_fit_stays_aside() {
    let (bench, run) = loaded();
    bench.write("worse.csv", "_split,_position,amount,placed\n0,1,many,\n0,2,,2024-02-30\n0,4,1.00,\n");
    let replayed = bench.run(&["replay", &run, "--patch", "worse.csv"]).expect(0);
    assert_eq!(counts(&replayed), [4, 1, 3, 0]);
    assert!(!replayed.stderr.contains("many"), "a value: {}", replayed.stderr);
    let left = aside(&bench, ".transload/quarantine", &run_of(&replayed));
    assert_eq!(left.iter().map(codes).collect::<Vec<_>>(), [["C001"], ["C001"], ["L001"]]);
    assert_eq!(left[0]["amount"], "many");
    assert_eq!(orders(&bench), [1, 5, 6]);
}

/// The findings of the first table in the last line that have this outcome, each with its title and what was found.
fn findings(outcome: &Outcome, list: &str) -> Vec<(String, String)> {
    let checks = &outcome.last_line()["tables"][0]["checks"];
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_string();
    let one = |f: &Value| (format!("{} {}", text(f, "code"), text(f, "check")), text(f, "found"));
    checks[list].as_array().unwrap().iter().map(one).collect()
}

/// Replays by a patch that must be refused by a rule about keys, and adds nothing.
#[track_caller]
fn refused(bench: &Bench, run: &str, patch: &str, found: &str) {
    let before = orders(bench);
    bench.write("bad.csv", patch);
    let outcome = bench.run(&["replay", run, "--patch", "bad.csv"]).expect(4).says("nothing of the table is published");
    let mut failed = findings(&outcome, "failed");
    failed.retain(|(rule, _)| rule.starts_with("Q003"));
    assert_eq!(failed, [("Q003 unique".to_string(), found.to_string())], "{patch}");
    assert_eq!(outcome.last_line()["tables"][0]["verdict"], Value::Null);
    assert_eq!(orders(bench), before, "{patch}");
}

#[test]
fn a_key_that_the_target_has_already_is_not_added_a_second_time() {
    let (bench, run) = loaded();
    refused(&bench, &run, "_split,_position,id,amount\n0,1,6,5.00\n", "1 of 1 rows breaks it (100.00 %)");
    refused(&bench, &run, "_split,_position,id,amount\n0,1,9,5.00\n0,4,9,5.00\n", "1 of 2 rows breaks it (50.00 %)");
    refused(&bench, &run, "_split,_position,id,amount\n0,1,1,5.00\n0,4,1,5.00\n", "2 of 2 rows break it (100.00 %)");
    bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    // What an earlier replay has added counts too.
    refused(&bench, &run, "_split,_position,id,amount\n0,4,3,5.00\n", "1 of 1 rows breaks it (100.00 %)");
    bench.write("good.csv", "_split,_position,amount\n0,4,5.00\n");
    let good = bench.run(&["replay", &run, "--patch", "good.csv"]).expect(0);
    assert_eq!(good.last_line()["tables"][0]["verdict"], "match");
    assert_eq!(orders(&bench), [1, 2, 3, 4, 5, 6]);
    bench.run(&["reconcile", "--run", &run_of(&good)]).expect(0);
}

#[test]
fn who_declares_no_key_may_have_rows_twice() {
    let (bench, run) = loaded();
    bench.write("double.csv", "_split,_position,id,amount\n0,1,6,5.00\n");
    let args = ["replay", &run, "--patch", "double.csv"];
    bench.run(&args).expect(4);
    bench.write("keyless.yaml", pipeline(0, "").replace("    key: [id]\n", ""));
    bench.run(&[&args[..], &["--pipeline", "keyless.yaml"]].concat()).expect(0);
    assert_eq!(orders(&bench), [1, 6, 6]);
}

#[test]
fn unique_columns_are_held_against_the_target_under_their_condition() {
    let rule = "      - unique: { columns: [amount], where: \"status = 'open'\" }\n";
    for mode in ["    key: [id]\n", "    mode: append\n"] {
        let bench = Bench::new();
        bench.write("in/orders.csv", ORDERS);
        bench.write("p.yaml", pipeline(0, "").replace("    key: [id]\n", mode) + rule);
        let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
        // There is an open order over 10.00.
        refused(&bench, &run, "_split,_position,status,amount\n0,1,open,10.00\n", "1 of 1 rows breaks it (100.00 %)");
        bench.write("good.csv", "_split,_position,amount\n0,1,10.00\n");
        bench.run(&["replay", &run, "--patch", "good.csv"]).expect(0);
        assert_eq!(orders(&bench), [1, 2, 6], "{mode}");
    }
}

#[test]
fn a_key_of_several_columns_is_looked_up_among_many_rows() {
    let bench = Bench::new();
    let table = "  - from: lineitem\n    key: [l_orderkey, l_linenumber]\n    checks:\n      \
                 - expression: { sql: \"l_orderkey % 100 <> 0\", action: quarantine }\n";
    let text = tpch_pipeline(table);
    bench.write("p.yaml", &text);
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    bench.write("amended.yaml", text.replace("l_orderkey % 100 <> 0", "l_orderkey > 0"));
    let aside = rows(&bench.all_files(&format!(".transload/quarantine/{run}/lineitem")));
    let (one, other) = (&aside[0], &aside[aside.len() - 1]);
    let place = |row: &Value| format!("{},{}", row["_split"], row["_position"]);
    // The first line of the first order is in the target, the other row only gets a number that is free.
    bench.write(
        "patch.csv",
        format!(
            "_split,_position,l_orderkey,l_linenumber\n{},1,1\n{},{},99\n",
            place(one),
            place(other),
            other["l_orderkey"]
        ),
    );
    let args = ["replay", &run, "--pipeline", "amended.yaml", "--memory", "64MiB"];
    let stopped = bench.run(&[&args[..], &["--patch", "patch.csv"]].concat()).expect(4);
    let found = &stopped.last_line()["tables"][0]["checks"]["failed"][0];
    assert_eq!((found["failed"].as_u64(), found["evaluated"].as_u64()), (Some(1), Some(aside.len() as u64)), "{found}");
    bench.run(&args).expect(0);
    assert_eq!(bench.run(&["reconcile", "p.yaml"]).expect(5).last_line()["tables"][0]["differences"]["changed"], 0);
}

#[test]
fn a_hashed_key_is_looked_up_as_it_is_hidden_and_one_that_the_target_lacks_among_the_rows_alone() {
    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    bench.write("p.yaml", pipeline(0, "").replace("columns: {", "columns: { id: { mask: hash },"));
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    bench.write("bad.csv", "_split,_position,id,amount\n0,1,6,5.00\n");
    let stopped = bench.run(&["replay", &run, "--patch", "bad.csv"]).expect(4);
    assert!(findings(&stopped, "failed").iter().any(|(rule, _)| rule == "Q003 unique"), "{stopped:?}");
    bench.write("good.csv", "_split,_position,amount\n0,1,5.00\n");
    bench.run(&["replay", &run, "--patch", "good.csv"]).expect(0);
    assert_eq!(rows(&bench.data_files("out/orders")).len(), 3);

    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    let text = pipeline(0, "").replace("columns: {", "columns: { status: { drop: true },");
    bench.write("p.yaml", text + "      - unique: { columns: [status, id], severity: warn }\n");
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    bench.write("two.csv", "_split,_position,id,status,amount\n0,1,7,paid,5.00\n0,4,8,paid,5.00\n");
    let replayed = bench.run(&["replay", &run, "--patch", "two.csv"]).expect(0);
    let shown = bench.run(&["show", &run_of(&replayed), "--plan"]).expect(0).stdout;
    let why = "among the rows of the replay alone, as the target does not hold `status`";
    assert!(shown.contains(&format!("found     none of 2 rows breaks it; {why}")), "{shown}");
    assert!(shown.contains(&format!("in part    Q003 unique (status, id): {why}")), "{shown}");
}

/// Every kind of rule that is about more than single rows and keys. The load keeps all of them.
const ABOUT_THE_TABLE: &str = "      - aggregate: { column: amount, of: sum, min: 1 }\n      - completeness: { column: id, min: 50% }\n\
                               \x20     - freshness: { column: placed, max_age_secs: 1000000000 }\n\
                               \x20     - no_gaps: { column: placed, every: month }\n      - monotonic: { column: id }\n\
                               \x20     - drift: { max: 50%, severity: warn }\n      - not_null: [id]\n\
                               \x20     - schema: { columns: { id: int64 }, others: true }\n";

#[test]
fn what_a_replay_does_not_judge_is_listed_wherever_findings_are() {
    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    bench.write("p.yaml", pipeline(0, "") + ABOUT_THE_TABLE);
    bench.write("patch.csv", PATCH);
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    let unjudged = ["Q014 row_count", "Q015 aggregate", "Q013 completeness", "Q016 freshness", "Q017 no_gaps"];
    let unjudged: Vec<&str> = unjudged.into_iter().chain(["Q010 monotonic", "Q019 drift"]).collect();
    // The next replay reads what this one keeps, and has the same rules.
    for patch in [PATCH, "_split,_position,amount\n0,4,1.00\n"] {
        bench.write("patch.csv", patch);
        let replayed = bench.run(&["replay", &run, "--patch", "patch.csv", "--junit", "found.xml"]).expect(0);
        let listed = findings(&replayed, "not_judged");
        assert_eq!(listed.iter().map(|(rule, _)| rule.as_str()).collect::<Vec<_>>(), unjudged);
        assert!(listed.iter().all(|(_, why)| why.starts_with("a replay adds a part of the rows")), "{listed:?}");
        // The range, the column that must not be NULL, the columns, and the key.
        let judged = replayed.last_line()["tables"][0]["checks"].clone();
        assert_eq!(
            judged["passed"].as_u64().unwrap() + judged["failed"].as_array().unwrap().len() as u64,
            4,
            "{judged}"
        );
        assert!(replayed.stderr.contains("7 not judged"), "{}", replayed.stderr);
        let shown = bench.run(&["show", &run_of(&replayed), "--plan"]).expect(0).stdout;
        let page = bench.run(&["report", &run_of(&replayed), "--output", "-"]).expect(0).stdout;
        let junit = std::fs::read_to_string(bench.path("found.xml")).unwrap();
        for rule in &unjudged {
            assert!(replayed.stderr.contains(&format!("    {rule}")), "{rule}: {}", replayed.stderr);
            assert!(
                shown.contains(&format!("│  ├─ not judged {rule}")) && shown.contains(&format!("    {rule}")),
                "{shown}"
            );
            assert!(page.contains(rule) && junit.contains(rule), "{rule}");
        }
        assert_eq!((page.matches(">Not judged</span>").count(), junit.matches("<skipped ").count()), (7, 7));
    }
    assert_eq!(orders(&bench), [1, 2, 3, 4, 5, 6]);
}

const CUSTOMERS: &str = "id,country\n1,DE\n2,FR\n3,XX\n";
const ORDERS_OF: &str = "id,customer_id,amount\n10,1,5\n11,2,-1\n12,3,-1\n";

/// Customers and their orders. The customer 3 is put aside, and so are the orders 11 and 12. `references` is where the
/// customers of orders are.
fn shop(countries: &str, minimum: i32, references: &str) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ lake: {{ url: out }} }}\n\
         defaults: {{ key: [id] }}\ntables:\n  - from: customers\n    checks:\n\
         \x20     - accepted_values: {{ column: country, values: [{countries}], action: quarantine }}\n  - from: orders\n    checks:\n\
         \x20     - range: {{ column: amount, min: {minimum}, action: quarantine }}\n\
         \x20     - foreign_key: {{ columns: [customer_id], references: {{ table: customers, columns: [id]{references} }} }}\n"
    )
}

/// A bench on which the shop was loaded, and the run.
fn loaded_shop(references: &str) -> (Bench, String) {
    let bench = Bench::new();
    bench.write("in/customers.csv", CUSTOMERS);
    bench.write("in/orders.csv", ORDERS_OF);
    bench.write("p.yaml", shop("DE, FR", 0, references));
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    assert_eq!(orders(&bench), [10]);
    (bench, run)
}

#[test]
fn a_row_whose_counterpart_is_not_in_the_target_is_not_added() {
    let (bench, run) = loaded_shop("");
    let args = ["replay", &run, "--table", "orders", "--patch", "patch.csv"];
    bench.write("patch.csv", "_split,_position,customer_id,amount\n0,1,9,5\n");
    let stopped = bench.run(&args).expect(4).says("Q012 foreign_key (customer_id) failed");
    let broken = ("Q012 foreign_key".to_string(), "1 of 1 rows breaks it (100.00 %)".to_string());
    assert!(findings(&stopped, "failed").contains(&broken), "{stopped:?}");
    assert_eq!(orders(&bench), [10]);
    // What was put aside of the customers is not in the target, though it is in the source.
    bench.write("patch.csv", "_split,_position,customer_id,amount\n0,1,3,5\n");
    bench.run(&args).expect(4);
    bench.write("patch.csv", "_split,_position,amount\n0,1,5\n");
    let replayed = bench.run(&args).expect(0);
    assert_eq!(orders(&bench), [10, 11]);
    let shown = bench.run(&["show", &run_of(&replayed), "--plan", "--format", "json"]).expect(0).last_line();
    let looked_at = shown["plan"]["references"].as_array().unwrap();
    let named = |r: &Value| (r["place"].as_str().unwrap().to_string(), r["read"]["to"].as_str().unwrap().to_string());
    let named: Vec<(String, String)> = looked_at.iter().map(named).collect();
    let target = |table: &str| ("target".to_string(), table.to_string());
    assert_eq!(named, [target("customers"), target("orders")]);
    assert!(looked_at.iter().all(|r| r["read"]["pin"]["files"].as_array().is_some_and(|f| !f.is_empty())), "{shown}");
}

#[test]
fn rows_that_the_same_replay_adds_are_counterparts_and_the_source_is_not_needed() {
    let (bench, run) = loaded_shop("");
    std::fs::remove_dir_all(bench.path("in")).unwrap();
    bench.write("amended.yaml", shop("DE, FR, XX", -5, ""));
    let orders_alone = ["replay", &run, "--table", "orders", "--pipeline", "amended.yaml"];
    bench.run(&orders_alone).expect(4).says("Q012 foreign_key (customer_id) failed");
    let replayed = bench.run(&["replay", &run, "--pipeline", "amended.yaml"]).expect(0);
    let verdicts: Vec<Value> =
        replayed.last_line()["tables"].as_array().unwrap().iter().map(|t| t["verdict"].clone()).collect();
    assert_eq!(verdicts, [json!("match"), json!("match")]);
    assert_eq!(orders(&bench), [10, 11, 12]);
}

#[test]
fn a_table_of_the_source_is_pinned_anew_and_one_that_is_not_there_is_refused() {
    let (bench, run) = loaded_shop(", in: source");
    bench.write("patch.csv", "_split,_position,customer_id,amount\n0,1,9,5\n");
    let args = ["replay", &run, "--table", "orders", "--patch", "patch.csv"];
    bench.run(&args).expect(4);
    bench.write("in/customers.csv", format!("{CUSTOMERS}9,DE\n"));
    bench.run(&args).expect(0);
    assert_eq!(orders(&bench), [10, 11]);
    std::fs::remove_file(bench.path("in/customers.csv")).unwrap();
    bench.write("patch.csv", "_split,_position,amount\n0,2,5\n");
    bench.run(&args).expect(3).says("`customers` cannot be looked at");
    assert_eq!(orders(&bench), [10, 11]);
}

#[test]
fn a_counterpart_that_the_target_hides_is_not_judged_and_says_so() {
    let bench = Bench::new();
    bench.write("in/customers.csv", CUSTOMERS);
    bench.write("in/orders.csv", ORDERS_OF);
    let text = shop("DE, FR", 0, "")
        .replace("customers\n    checks", "customers\n    columns: { id: { mask: hash } }\n    checks");
    bench.write("p.yaml", text);
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    bench.write("patch.csv", "_split,_position,customer_id,amount\n0,1,9,5\n");
    let replayed = bench.run(&["replay", &run, "--table", "orders", "--patch", "patch.csv"]).expect(0);
    let why = "the target holds `id` of `customers` masked".to_string();
    assert_eq!(findings(&replayed, "not_judged"), [("Q012 foreign_key".to_string(), why)]);
    assert_eq!(orders(&bench), [10, 11]);
}

#[test]
fn rows_that_the_filter_of_a_replay_leaves_out_stay_aside() {
    let (bench, run) = loaded();
    bench.write("filtered.yaml", pipeline(-10, "").replace("    key:", "    filter: \"status <> 'paid'\"\n    key:"));
    let replayed = bench.run(&["replay", &run, "--pipeline", "filtered.yaml"]).expect(99);
    assert_eq!(counts(&replayed), [4, 0, 4, 0]);
    let left = aside(&bench, ".transload/quarantine", &run_of(&replayed));
    assert_eq!(left.iter().map(codes).collect::<Vec<_>>(), [["F001"], ["C001"], ["L001"], ["F001"]]);
    assert_eq!(left[0]["_rules"][0]["reason"], "the filter leaves it out");
    assert_eq!(left.iter().map(|r| r["_position"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    // Another filter, or none, lets them through.
    bench.write("amended.yaml", pipeline(-10, ""));
    let replayed = bench.run(&["replay", &run, "--pipeline", "amended.yaml"]).expect(0);
    assert_eq!(counts(&replayed), [4, 2, 2, 0]);
    assert_eq!(replayed.last_line()["tables"][0]["verdict"], "match");
    assert_eq!(orders(&bench), [1, 2, 5, 6]);
}

#[test]
fn a_patched_row_that_the_filter_of_the_load_leaves_out_stays_aside() {
    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    bench.write("p.yaml", pipeline(0, "").replace("    key:", "    filter: \"status <> 'void'\"\n    key:"));
    bench.write("patch.csv", "_split,_position,status,amount\n0,1,void,5.00\n0,4,,1.00\n");
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0));
    let replayed = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    assert_eq!(counts(&replayed), [4, 1, 3, 0]);
    assert_eq!(orders(&bench), [1, 5, 6]);
    let left = aside(&bench, ".transload/quarantine", &run_of(&replayed));
    assert_eq!((left.len(), codes(&left[0]), &left[0]["status"]), (3, vec!["F001"], &json!("void")));
    bench.run(&["reconcile", "--run", &run_of(&replayed)]).expect(0);
}

/// As README shows it.
#[test]
fn the_quickstart_puts_rows_aside_and_replays_them() {
    let bench = Bench::new();
    let path = |name: &str| root().join("pipelines").join(name).to_str().unwrap().to_string();
    let run = bench.run(&["run", &path("quickstart.yaml"), "--table", "customer"]).expect(0);
    assert_eq!(counts(&run), [15_000, 14_986, 14, 0]);
    assert_eq!(run.last_line()["tables"][0]["verdict"], "match");
    let replayed = bench.run(&["replay", &run_of(&run), "--pipeline", &path("quickstart-amended.yaml")]).expect(0);
    assert_eq!(counts(&replayed), [14, 8, 6, 0]);
    assert_eq!(replayed.last_line()["tables"][0]["verdict"], "match");
    assert_eq!(rows(&bench.data_files("quickstart-lake/customer")).len(), 14_986 + 8);
}
