//! Pins that end: plans and runs of which nobody can read any more what was pinned.
//!
//! A database lets go of a snapshot when whoever took it is gone. Here a fault says so of files, which change meanwhile: so
//! whatever is read of the old ones is seen in the rows.

use serde_json::{Value, json};
use transload_core::fault::REPIN_POINTS;

use crate::harness::{Bench, Outcome};
use crate::site::{At, Site, digest, each};

/// The first time that somebody asks, what was pinned is gone.
const GONE: &str = "pin.held=1*return(permanent)->off";

/// Whenever somebody asks, it is.
const ALWAYS_GONE: &str = "pin.held=return(permanent)";

const NOT_COMPARED: &str = "the snapshot that the run read is gone, so nothing can be compared with it";

/// A bench with customers and orders, each of which has one.
fn bench(checks: &str) -> Bench {
    let bench = Bench::new();
    bench.write("in/customers.csv", "id,country\n1,DE\n2,FR\n");
    bench.write("in/orders.csv", "id,customer\n10,1\n11,2\n");
    bench.write(
        "p.yaml",
        format!(
            "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ lake: {{ url: out }} }}\n\
             tables:\n  - {{ from: customers, key: [id] }}\n  - {{ from: orders, key: [id]{checks} }}\n"
        ),
    );
    bench
}

const FOREIGN_KEY: &str =
    ", checks: [ { foreign_key: { columns: [customer], references: { table: customers, columns: [id] } } } ]";

/// Lets there be one customer more, and an order of theirs.
fn grow(bench: &Bench) {
    bench.write("in/customers.csv", "id,country\n1,DE\n2,FR\n3,IT\n");
    bench.write("in/orders.csv", "id,customer\n10,1\n11,2\n12,3\n");
}

/// What the last line says of its two tables.
fn said(outcome: &Outcome, field: &str) -> [Value; 2] {
    let line = outcome.last_line();
    [0, 1].map(|at| line["tables"][at][field].clone())
}

fn shown(bench: &Bench, run: &str) -> Value {
    bench.run(&["show", run, "--plan", "--format", "json"]).expect(0).last_line()
}

#[test]
fn a_plan_of_which_nothing_was_read_is_pinned_anew_and_that_is_said() {
    let bench = bench(FOREIGN_KEY);
    bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
    grow(&bench);
    // Files that have changed are no snapshot that has ended.
    bench.run(&["run", "--plan", "plan.json"]).expect(3).says("make a new plan");
    let twice = "pin.held=2*return(permanent)->off";
    let done = bench.run_with_faults(&["run", "--plan", "plan.json"], twice).expect(0);
    assert_eq!((said(&done, "read"), said(&done, "verdict")), ([json!(3), json!(3)], [json!("match"), json!("match")]));
    let done = done.says("what the plan has pinned is gone (1 file, ").says("2 tables are pinned anew");
    assert_eq!(done.stderr.matches("pinned anew").count(), 1, "{}", done.stderr);
    let saved: Value = serde_json::from_slice(&std::fs::read(bench.path("plan.json")).unwrap()).unwrap();
    let kept = shown(&bench, &bench.newest_run());
    assert_ne!(kept["plan"]["fingerprint"], saved["fingerprint"]);
    assert_eq!(kept["run"]["repinned"], Value::Null, "the run has had one plan");
    bench.run(&["audit", "verify"]).expect(0);
}

#[test]
fn tables_that_checks_look_at_are_pinned_anew_too() {
    let bench = bench(FOREIGN_KEY);
    bench.run(&["plan", "p.yaml", "--table", "orders", "--save", "plan.json"]).expect(0);
    grow(&bench);
    let twice = "pin.held=2*return(permanent)->off";
    bench.run_with_faults(&["run", "--plan", "plan.json"], twice).expect(0).says("2 tables are pinned anew");
}

#[test]
fn a_table_that_has_other_columns_by_now_needs_a_new_plan() {
    let bench = bench("");
    bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
    bench.write("in/orders.csv", "id,buyer\n10,1\n");
    let refused = bench.run_with_faults(&["run", "--plan", "plan.json"], "pin.held=2*return(permanent)->off").expect(3);
    let columns = "the columns of the table are not those that were planned: `customer` was dropped, `buyer` was added";
    refused.says(columns).says("(table orders)").says("make a new plan");
    assert!(bench.all_files(".transload/runs").is_empty(), "a run has begun");
}

#[test]
fn what_is_gone_before_it_is_read_is_there_for_a_resume() {
    let bench = bench("");
    let gone = "what was pinned of the table is gone";
    bench.run_with_faults(&["run", "p.yaml", "--checks-only"], ALWAYS_GONE).expect(75).says(gone);
    let failed = bench.run_with_faults(&["run", "p.yaml"], ALWAYS_GONE).expect(75);
    failed.says(gone).says("(table orders)").says("transload resume");
    let resumed =
        bench.run_with_faults(&["resume", &bench.newest_run()], "pin.held=2*return(permanent)->off").expect(0);
    assert_eq!(said(&resumed, "verdict"), [json!("match"), json!("match")]);
}

/// A load that holds the first version of the rows and was killed at a point, and its run. The source has the second.
fn killed(fault: &str) -> (Site, String) {
    let site = Site::new("lake", "full", At::Folder);
    site.write_source(1);
    site.load(fault).expect(-1);
    site.write_source(2);
    let run = site.runs().remove(0);
    (site, run)
}

/// The digest of a load of one version of the rows that nothing disturbs, and what readers find then.
fn undisturbed(version: u64) -> (String, String) {
    let site = Site::new("lake", "full", At::Folder);
    site.write_source(version);
    (digest(&site.load("").expect(0)), site.seen())
}

fn resume(site: &Site, run: &str, faults: &str) -> Outcome {
    site.bench.run_with_faults(&["resume", run, "--parallel", "1"], faults)
}

/// Asserts that a run has ended as one that nothing disturbs, and that nothing else is left of it.
fn has_ended(site: &Site, run: &str, done: &Outcome, expected: &(String, String), note: &str) {
    assert_eq!((digest(done), site.seen()), *expected, "{note}");
    for place in ["lake", ".transload/quarantine"] {
        assert_eq!(site.inventory(place).strangers(), [""; 0], "{note}: {place}");
    }
    site.bench.run(&["audit", "verify"]).expect(0);
    site.bench.run(&["resume", run]).expect(99).says("has ended");
}

#[test]
fn a_run_reads_what_it_has_not_published_anew() {
    // All is staged, and what is put aside is published.
    let (site, run) = killed("run.aside=return(kill)");
    let before = shown(&site.bench, &run);
    let done = resume(&site, &run, GONE).expect(0);
    let done = done.says("table sales is read anew: its snapshot ended with the process that took it");
    assert_eq!(done.last_line()["tables"][0]["verdict"], "match");
    has_ended(&site, &run, &done, &undisturbed(2), "resumed");
    let after = shown(&site.bench, &run);
    assert_ne!(after["plan"]["fingerprint"], before["plan"]["fingerprint"]);
    let (run_before, run_after) = (&before["run"], &after["run"]);
    assert_eq!(run_after["start"], run_before["start"]);
    assert_eq!(run_after["repinned"][0]["tables"], json!(["sales"]));
    assert_eq!(run_after["receipts"][0]["resumed_units"], 0);
    assert_eq!(run_after["receipts"][0]["pin"], after["plan"]["tables"][0]["pin"]);
    let bench = &site.bench;
    let text = bench.run(&["show", &run]).expect(0).stdout;
    assert!(text.contains("\npinned anew  20") && text.contains(": sales\n"), "{text}");
    let page = bench.run(&["report", &run, "--output", "-"]).expect(0).stdout;
    assert!(page.contains("Pinned anew"), "{page}");
    bench.run(&["reconcile", "--run", &run]).expect(0);
}

#[test]
fn killed_anywhere_while_it_is_pinned_anew_no_row_of_before_is_taken_over() {
    let (base, run) = killed("run.aside=return(kill)");
    let points = REPIN_POINTS.iter().chain(&["unit.journaled", "run.checked", "run.aside"]);
    let points: Vec<&str> = points.copied().collect();
    assert_eq!(points.len(), 10);
    let expected = undisturbed(3);
    each(3, points, |point| {
        let site = base.copy();
        let faults = match point {
            "pin.held" => "pin.held=return(kill)".to_string(),
            point => format!("{GONE};{point}=return(kill)"),
        };
        resume(&site, &run, &faults).expect(-1);
        site.write_source(3);
        let done = resume(&site, &run, GONE).expect(0);
        assert_eq!(done.last_line()["tables"][0]["verdict"], "match", "{point}");
        has_ended(&site, &run, &done, &expected, point);
    });
}

#[test]
fn what_was_published_before_stays_as_it_is() {
    let expected = undisturbed(1);
    for fault in ["commit.published=1*off->return(kill)", "run.receipt=return(kill)", "run.remembered=return(kill)"] {
        let (site, run) = killed(fault);
        let done = resume(&site, &run, ALWAYS_GONE).expect(9).says(NOT_COMPARED).says("`transload reconcile PIPELINE`");
        assert!(!done.stderr.contains("read anew"), "{fault}: {}", done.stderr);
        let line = done.last_line();
        assert_eq!((&line["status"], &line["tables"][0]["verdict"]), (&json!("not_compared"), &Value::Null), "{fault}");
        has_ended(&site, &run, &done, &expected, fault);
        let run = shown(&site.bench, &run)["run"].clone();
        assert_eq!((&run["repinned"], &run["end"]["exit_code"]), (&Value::Null, &json!(9)), "{fault}");
    }
}

#[test]
fn a_table_that_is_published_keeps_its_verdict_and_is_looked_at_as_it_is_now() {
    let bench = bench(FOREIGN_KEY);
    // Only the orders have a check.
    let failed = bench.run_with_faults(&["run", "p.yaml"], "run.checked=return(transient)").expect(75);
    assert_eq!(said(&failed, "verdict"), [json!("match"), Value::Null]);
    grow(&bench);
    let run = bench.newest_run();
    // Asked are, in this order: the orders, the customers that they look at; the orders; the customers, the orders.
    let faults = "pin.held=2*return(permanent)->1*off->1*return(permanent)->off";
    let done = bench.run_with_faults(&["resume", &run], faults).expect(0);
    assert_eq!(said(&done, "read"), [json!(2), json!(3)]);
    assert_eq!(said(&done, "verdict"), [json!("match"), json!("match")]);
    done.says("table orders is read anew").says("table customers is looked at anew");
    let repinned = &shown(&bench, &run)["run"]["repinned"];
    assert_eq!((&repinned[0]["tables"], &repinned[0]["looked_at"]), (&json!(["orders"]), &json!(["customers"])));

    let compared = bench.run_with_faults(&["reconcile", "--run", &run], GONE).expect(9).says(NOT_COMPARED);
    assert_eq!(compared.last_line()["status"], "not_compared");
    assert_eq!(said(&compared, "verdict"), [Value::Null, json!("match")]);
}

#[test]
fn a_table_that_was_altered_fails_alone() {
    let bench = bench("");
    bench.run_with_faults(&["run", "p.yaml", "--parallel", "1"], "unit.journaled=return(kill)").expect(-1);
    bench.write("in/orders.csv", "id,customer,more\n10,1,x\n");
    let run = bench.newest_run();
    let failed = bench.run_with_faults(&["resume", &run], "pin.held=2*return(permanent)->off").expect(3);
    let failed = failed.says("`more` was added").says("start a new run").says("table customers is read anew");
    assert_eq!(said(&failed, "verdict"), [json!("match"), Value::Null]);
    assert!(!failed.stderr.contains("orders is read anew"), "{}", failed.stderr);
    assert!(bench.all_files("out/orders").is_empty(), "{:?}", bench.all_files("out/orders"));
    bench.run(&["resume", &run]).expect(99);
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn a_replay_looks_into_the_target_as_it_is_when_it_is_resumed() {
    let bench = Bench::new();
    bench.write("in/orders.csv", "id,amount\n1,5\n2,much\n");
    bench.write("patch.csv", "_split,_position,amount\n0,1,7\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\ntables:\n  \
         - from: orders\n    key: [id]\n    columns: { amount: { cast: int64, on_misfit: quarantine } }\n",
    );
    bench.run(&["run", "p.yaml"]).expect(0);
    let loaded = bench.newest_run();
    bench.run_with_faults(&["replay", &loaded, "--patch", "patch.csv"], "unit.journaled=return(kill)").expect(-1);
    // What was put aside is there.
    let faults = "pin.held=1*off->1*return(permanent)->off";
    let done = bench.run_with_faults(&["resume", &bench.newest_run()], faults).expect(0);
    let done = done.says("table orders is looked at anew");
    assert_eq!((&done.last_line()["tables"][0]["written"], done.stderr.contains("read anew")), (&json!(1), false));
    bench.run(&["replay", &loaded]).expect(99);
}
