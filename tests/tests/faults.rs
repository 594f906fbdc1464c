//! Faults in a table that holds rows already, in several units at once, beside quarantine and beside other writers.
//!
//! The table is four small CSV files, so four units of work, in three partitions: a load takes a fraction of a second.

use std::collections::BTreeSet;

use serde_json::Value;
use transload_core::fault::POINTS;

use crate::harness::{Bench, Outcome, Started, is_staging, run_python, wait_until};

const FILES: u64 = 4;
const ROWS: u64 = 2000;
const OLD_ROWS: u64 = 1200;

fn pipeline(name: &str, settings: &str) -> String {
    format!(
        "version: 1\npipeline: {name}\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ lake: {{ url: lake }} }}\n\
         tables:\n  - from: sales\n    key: [id]\n    partition_by: [ {{ identity: region }} ]\n{settings}"
    )
}

/// Writes the source: `files` files of `rows` rows each, ids from `first` on.
fn write_sales(bench: &Bench, first: u64, files: u64, rows: u64) {
    for file in 0..files {
        let mut text = String::from("id,region,amount\n");
        for id in first + file * rows..first + (file + 1) * rows {
            let region = ["north", "south", "west"][(id % 3) as usize];
            text.push_str(&format!("{id},{region},{}.25\n", id * 7));
        }
        bench.write(&format!("in/sales/{file}.csv"), text);
    }
}

/// A bench whose source holds the new rows; the target holds the old ones, if there shall be any.
fn sales(with_old_rows: bool) -> Bench {
    let bench = Bench::new();
    bench.write("p.yaml", pipeline("sales", ""));
    if with_old_rows {
        write_sales(&bench, 1, FILES, OLD_ROWS / FILES);
        bench.run(&["run", "p.yaml"]).expect(0);
    }
    write_sales(&bench, 50_000, FILES, ROWS / FILES);
    bench
}

fn manifest(bench: &Bench) -> Option<Value> {
    let written = bench.all_files("lake/sales/_transload/manifest");
    let newest = written.iter().rfind(|p| p.extension().is_some_and(|e| e == "json"))?;
    Some(serde_json::from_slice(&std::fs::read(newest).unwrap()).unwrap())
}

fn files_of(manifest: &Value) -> BTreeSet<String> {
    manifest["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_string()).collect()
}

fn rows_of(manifest: &Value) -> u64 {
    manifest["files"].as_array().unwrap().iter().map(|f| f["rows"].as_u64().unwrap()).sum()
}

/// Rows of the table as the program's own reader finds it; `None` if it finds no table.
fn visible_rows(bench: &Bench) -> Option<u64> {
    if !bench.path("lake").exists() {
        return None;
    }
    let found = bench.run(&["discover", "lake", "--format", "json"]);
    assert!([0, 99].contains(&found.code), "{found:?}");
    found.last_line()["tables"].as_array().unwrap().first().map(|t| t["rows"].as_u64().unwrap())
}

/// Asserts that the table has `rows` rows, that its files are those of the manifest and no others, and that
/// nothing is left of staging.
#[track_caller]
fn assert_whole(bench: &Bench, rows: u64, note: &str) {
    let manifest = manifest(bench).unwrap_or_else(|| panic!("{note}: there is no table"));
    let folder = bench.path("lake/sales");
    let there: BTreeSet<String> = bench
        .data_files("lake/sales")
        .iter()
        .map(|p| p.strip_prefix(&folder).unwrap().to_str().unwrap().to_string())
        .collect();
    assert_eq!(there, files_of(&manifest), "{note}: files that are there, files of the manifest");
    assert_eq!(rows_of(&manifest), rows, "{note}");
    assert_eq!(visible_rows(bench), Some(rows), "{note}");
    assert!(!bench.path("lake/sales/_transload/staging").exists(), "{note}: {:?}", bench.all_files("lake"));
}

/// The only run that has not ended.
fn open_run(bench: &Bench) -> String {
    let runs = bench.run(&["runs", "--format", "json"]).expect(0).last_line();
    let open: Vec<&Value> = runs["runs"].as_array().unwrap().iter().filter(|r| r["exit_code"].is_null()).collect();
    assert_eq!(open.len(), 1, "{runs}");
    open[0]["run_id"].as_str().unwrap().to_string()
}

fn receipt(bench: &Bench, run: &str) -> Value {
    bench.run(&["show", run, "--format", "json"]).expect(0).last_line()["run"]["receipts"][0].clone()
}

fn digest(outcome: &Outcome) -> String {
    outcome.last_line()["tables"][0]["digest"].as_str().unwrap().to_string()
}

/// The place of a point on the way of a run.
fn place(point: &str) -> usize {
    POINTS.iter().position(|p| *p == point).unwrap_or_else(|| panic!("{point} is no point"))
}

/// Every point, passed for the first time; and those that units and files pass, also for the fourth time.
fn kills() -> Vec<(&'static str, String)> {
    let first = POINTS.iter().map(|point| (*point, format!("{point}=return(kill)")));
    let often =
        |point: &&&str| ["unit.", "stage."].iter().any(|head| point.starts_with(head)) || **point == "commit.renamed";
    let fourth = POINTS.iter().filter(often).map(|point| (*point, format!("{point}=3*off->return(kill)")));
    first.chain(fourth).collect()
}

/// Kills a load at every point, looks at what is visible, resumes, and compares with a load that nothing disturbed.
fn killed_anywhere(with_old_rows: bool) {
    let undisturbed = digest(&sales(with_old_rows).run(&["run", "p.yaml"]).expect(0));
    let before = with_old_rows.then_some(OLD_ROWS);
    for (point, fault) in kills() {
        let bench = sales(with_old_rows);
        let old = manifest(&bench);
        bench.run_with_faults(&["run", "p.yaml", "--parallel", "2"], &fault).expect(-1);
        let published = place(point) >= place("commit.published");
        if published {
            assert_eq!(rows_of(&manifest(&bench).unwrap()), ROWS, "{fault}");
        } else {
            assert_eq!(manifest(&bench), old, "{fault}: published too early");
            assert_eq!(visible_rows(&bench), before, "{fault}: a reader sees what is not published");
        }

        let run = open_run(&bench);
        let resumed = bench.run(&["resume", &run, "--parallel", "2"]);
        assert_eq!(resumed.code, 0, "{fault}: {resumed:?}");
        assert_eq!(digest(&resumed), undisturbed, "{fault}");
        assert_eq!(resumed.last_line()["tables"][0]["verdict"], "match", "{fault}");
        assert_whole(&bench, ROWS, &fault);

        let receipt = receipt(&bench, &run);
        if (place("commit.begun")..=place("run.receipt")).contains(&place(point)) {
            assert_eq!(receipt["resumed_units"], FILES, "{fault}: units were staged again");
            assert_eq!(receipt["committed"]["already_done"], published, "{fault}");
        }
        bench.run(&["audit", "verify"]).expect(0);
        bench.run(&["resume", &run]).expect(99).says("has ended");
        assert_whole(&bench, ROWS, &fault);
    }
}

#[test]
fn killed_anywhere_the_first_load_of_a_table_shows_nothing_or_everything() {
    killed_anywhere(false);
}

#[test]
fn killed_anywhere_a_replacing_load_shows_the_old_rows_or_the_new_ones() {
    killed_anywhere(true);
}

#[test]
fn killed_at_every_point_of_one_load_it_ends_well_all_the_same() {
    let bench = sales(true);
    bench.run_with_faults(&["run", "p.yaml"], "run.begun=return(kill)").expect(-1);
    let run = open_run(&bench);
    for point in &POINTS[1..] {
        // A point that the work taken over lets it skip does not kill; then the run may end here.
        let outcome = bench.run_with_faults(&["resume", &run], &format!("{point}=return(kill)"));
        assert!([-1, 0, 99].contains(&outcome.code), "{point}: {outcome:?}");
    }
    let last = bench.run(&["resume", &run]);
    assert!([0, 99].contains(&last.code), "{last:?}");
    assert_whole(&bench, ROWS, "the last resume");
    bench.run(&["reconcile", "p.yaml"]).expect(0);
}

#[test]
fn after_a_kill_a_new_run_is_as_good_as_a_resume() {
    for with_old_rows in [false, true] {
        for point in ["commit.renamed", "commit.manifest", "commit.published"] {
            let bench = sales(with_old_rows);
            bench.run_with_faults(&["run", "p.yaml"], &format!("{point}=return(kill)")).expect(-1);
            let late = open_run(&bench);
            write_sales(&bench, 90_000, FILES, 100);
            bench.run(&["run", "p.yaml"]).expect(0);
            // The killed run neither brings its rows back nor leaves a file.
            let resumed = bench.run(&["resume", &late]);
            assert_ne!(resumed.code, 0, "{point}: {resumed:?}");
            assert_whole(&bench, 400, point);
        }
    }
}

#[test]
fn units_that_are_tried_again_at_the_same_time_do_not_hinder_each_other() {
    for _ in 0..4 {
        let bench = sales(false);
        let faults = "stage.written=4*return(transient)->off";
        let outcome = bench.run_with_faults(&["run", "p.yaml", "--parallel", "4"], faults).expect(0);
        assert_whole(&bench, ROWS, "after retries");
        let run = outcome.last_line()["run_id"].as_str().unwrap().to_string();
        assert_eq!(receipt(&bench, &run)["retries"], 4);
    }
}

#[test]
fn units_that_clean_up_do_not_hinder_those_that_begin() {
    for _ in 0..6 {
        let bench = Bench::new();
        bench.write("p.yaml", pipeline("sales", ""));
        write_sales(&bench, 1, 16, 20);
        bench.run_with_faults(&["run", "p.yaml", "--parallel", "1"], "stage.written=return(kill)").expect(-1);
        bench.run(&["resume", &open_run(&bench), "--parallel", "2"]).expect(0);
        assert_whole(&bench, 320, "after the resume");
    }
}

#[test]
fn a_full_disk_keeps_what_is_staged_for_a_resume() {
    let bench = sales(true);
    let faults = "stage.written=2*off->return(full)";
    let full = bench.run_with_faults(&["run", "p.yaml", "--parallel", "1"], faults).expect(75);
    let run = full.last_line()["run_id"].as_str().unwrap().to_string();
    let full = full.says("no room left").says(&format!("transload resume {run}"));
    assert_eq!(full.last_line()["status"], "failed");
    assert_eq!(visible_rows(&bench), Some(OLD_ROWS));
    assert!(is_staging(&bench));
    bench.run(&["resume", &run]).expect(0);
    assert_eq!(receipt(&bench, &run)["resumed_units"], 2);
    assert_whole(&bench, ROWS, "after the resume");
}

#[test]
fn a_permanent_fault_leaves_the_old_rows_and_nothing_staged() {
    for point in ["unit.begun", "stage.batch", "stage.written", "unit.journaled", "commit.begun", "commit.manifest"] {
        let bench = sales(true);
        let old = manifest(&bench);
        bench.run_with_faults(&["run", "p.yaml"], &format!("{point}=return(permanent)")).expect(3).says(point);
        assert_eq!(manifest(&bench), old, "{point}");
        assert_whole(&bench, OLD_ROWS, point);
    }
}

#[test]
fn a_fault_after_a_table_is_published_is_left_to_the_next_commit() {
    for point in ["commit.published", "commit.replaced", "commit.cleaned"] {
        for kind in ["permanent", "transient", "full"] {
            let fault = format!("{point}=return({kind})");
            for next in ["full", "append"] {
                let bench = sales(true);
                let outcome = bench.run_with_faults(&["run", "p.yaml"], &fault).expect(0);
                let table = &outcome.last_line()["tables"][0];
                assert_eq!((&table["written"], &table["verdict"]), (&ROWS.into(), &"match".into()), "{fault}");
                assert_eq!(rows_of(&manifest(&bench).unwrap()), ROWS, "{fault}");
                assert_eq!(visible_rows(&bench), Some(ROWS), "{fault}");
                let run = outcome.last_line()["run_id"].as_str().unwrap().to_string();
                bench.run(&["resume", &run]).expect(99);
                bench.write("p.yaml", pipeline("sales", &format!("    mode: {next}\n")));
                bench.run(&["run", "p.yaml"]).expect(0);
                let rows = if next == "full" { ROWS } else { 2 * ROWS };
                assert_whole(&bench, rows, &format!("{fault}, then {next}"));
            }
        }
    }
}

#[test]
fn a_signal_removes_what_is_staged_and_keeps_the_old_rows() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let bench = sales(true);
        let old = manifest(&bench);
        // When the first of four units is written, the others still need six batches: time enough for a signal.
        let load = Started::new(&bench, &["run", "p.yaml", "--parallel", "1"], "stage.batch=sleep(150)");
        wait_until("staging", || is_staging(&bench));
        load.signal(signal);
        let outcome = load.ended().expect(code);
        assert_eq!(outcome.last_line()["status"], "interrupted", "{signal}");
        assert_eq!(manifest(&bench), old, "{signal}");
        assert_whole(&bench, OLD_ROWS, signal);
        let run = outcome.last_line()["run_id"].as_str().unwrap().to_string();
        bench.run(&["resume", &run]).expect(99).says("interrupted");
    }
}

/// A bench whose source has three rows in each file, one of which is put aside.
fn sales_with_misfits() -> Bench {
    let bench = Bench::new();
    bench.write("p.yaml", pipeline("sales", "    columns: { amount: { cast: int64, on_misfit: quarantine } }\n"));
    for file in 0..FILES {
        bench.write(
            &format!("in/sales/{file}.csv"),
            format!("id,region,amount\n{file}1,north,5\n{file}2,west,much\n{file}3,south,7\n"),
        );
    }
    bench
}

/// Rows in quarantine, as the program's own reader finds them, and as one does that lists Parquet files. `None` if there
/// are no tables, or no files.
fn aside(bench: &Bench) -> [Option<u64>; 2] {
    let place = ".transload/quarantine";
    let found = bench.path(place).exists().then(|| bench.run(&["discover", place, "--format", "json"]));
    let tables = found.map(|outcome| {
        assert!([0, 99].contains(&outcome.code), "{outcome:?}");
        outcome.last_line()["tables"].as_array().unwrap().clone()
    });
    let discovered = tables.and_then(|tables| tables.iter().map(|table| table["rows"].as_u64()).sum::<Option<u64>>());
    let listed: Vec<String> = bench.all_files(place).iter().map(|p| p.to_str().unwrap().to_string()).collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).filter(|p| p.ends_with(".parquet")).collect();
    let script =
        "import sys, pyarrow.parquet as q\nprint(sum(q.ParquetFile(f).metadata.num_rows for f in sys.argv[1:]))";
    let listed = (!listed.is_empty()).then(|| run_python(script, &listed).trim().parse().unwrap());
    [discovered.filter(|rows| *rows > 0), listed]
}

#[test]
fn killed_anywhere_a_quarantine_is_whole_or_not_there_for_whoever_looks() {
    let mut faults: Vec<String> = kills().into_iter().map(|(_, fault)| fault).collect();
    // The first commit is the quarantine's, the second the target's.
    let commits = ["begun", "renamed", "manifest", "published", "cleaned"];
    faults.extend(commits.map(|point| format!("commit.{point}=1*off->return(kill)")));
    // Each unit has files of both, and then the quarantine is made one.
    faults.extend(["opened", "written"].map(|point| format!("stage.{point}={}*off->return(kill)", 2 * FILES)));
    let mut seen = BTreeSet::new();
    for fault in faults {
        let bench = sales_with_misfits();
        bench.run_with_faults(&["run", "p.yaml", "--parallel", "2"], &fault).expect(-1);
        let found = aside(&bench);
        assert!(found.iter().all(|rows| [None, Some(FILES)].contains(rows)), "{fault}: {found:?}");
        seen.insert(found);
        bench.run(&["resume", &open_run(&bench)]).expect(0);
        assert_eq!(aside(&bench), [Some(FILES); 2], "{fault}");
    }
    // Before it is there, when its file is and the manifest is not, and afterwards.
    assert_eq!(seen, BTreeSet::from([[None; 2], [None, Some(FILES)], [Some(FILES); 2]]));
}

#[test]
fn what_was_put_aside_of_a_table_that_cannot_be_published_is_taken_back() {
    for fault in [
        "run.aside=return(permanent)",
        "commit.begun=1*off->return(permanent)",
        "commit.renamed=1*off->return(permanent)",
        "commit.manifest=1*off->return(permanent)",
    ] {
        let bench = sales_with_misfits();
        bench.run_with_faults(&["run", "p.yaml"], fault).expect(3).says("a fault was injected");
        assert_eq!((aside(&bench), visible_rows(&bench)), ([None; 2], None), "{fault}");
        assert!(bench.all_files(".transload/quarantine").is_empty(), "{fault}");
        bench.run(&["replay", &bench.newest_run()]).expect(99).says("nothing is left in quarantine");
        bench.run(&["run", "p.yaml"]).expect(0);
        assert_eq!(aside(&bench), [Some(FILES); 2], "{fault}");
    }
    // A table that arrived, whatever went wrong afterwards, keeps what belongs to it.
    let bench = sales_with_misfits();
    bench.run_with_faults(&["run", "p.yaml"], "commit.published=1*off->return(permanent)").expect(0);
    assert_eq!((aside(&bench), visible_rows(&bench)), ([Some(FILES); 2], Some(2 * FILES)));
}

#[test]
fn a_signal_leaves_a_commit_that_nobody_knows_of_to_a_resume() {
    let bench = sales(false);
    let other = "    mode: append\n  - from: sales\n    to: other\n    mode: append\n";
    bench.write("p.yaml", pipeline("sales", other));
    // Of two tables that are published one waits for the signal, and the ledger is not told of the other.
    let load = Started::new(&bench, &["run", "p.yaml"], "run.receipt=1*sleep(3000)->return(permanent)");
    let is_published = |table: &&str| {
        let manifests = bench.all_files(&format!("lake/{table}/_transload/manifest"));
        manifests.iter().any(|p| p.extension().is_some_and(|e| e == "json"))
    };
    wait_until("both tables", || ["sales", "other"].iter().all(&is_published));
    load.signal("INT");
    let stopped = load.ended().expect(130).says("transload resume");
    let line = stopped.last_line();
    assert_eq!(line["status"], "interrupted");
    let unknown = line["tables"].as_array().unwrap().iter().filter(|t| t["error"].is_string()).count();
    assert_eq!(unknown, 1, "{line}");
    bench.run(&["resume", line["run_id"].as_str().unwrap()]).expect(0);
    assert_whole(&bench, ROWS, "after the resume");
}

#[test]
fn rows_go_into_quarantine_once_however_often_a_load_is_killed() {
    let counts = |outcome: &Outcome| {
        let table = &outcome.last_line()["tables"][0];
        ["read", "written", "quarantined"].map(|name| table[name].as_u64().unwrap())
    };
    // The first commit is the quarantine's, the second the target's.
    for fault in [
        "stage.written=return(kill)",
        "commit.renamed=return(kill)",
        "commit.published=return(kill)",
        "run.aside=return(kill)",
        "commit.begun=1*off->return(kill)",
        "commit.published=1*off->return(kill)",
        "run.receipt=return(kill)",
    ] {
        let bench = sales_with_misfits();
        bench.run_with_faults(&["run", "p.yaml"], fault).expect(-1);
        let run = open_run(&bench);
        let resumed = bench.run(&["resume", &run]).expect(0);
        assert_eq!(counts(&resumed), [12, 8, 4], "{fault}");
        assert_whole(&bench, 8, fault);
        let found = bench.run(&["discover", ".transload/quarantine", "--format", "json"]).expect(0).last_line();
        assert_eq!(found["tables"].as_array().unwrap().len(), 1, "{fault}");
        assert_eq!(found["tables"][0]["name"], format!("{run}/sales"), "{fault}");
        assert_eq!(found["tables"][0]["rows"], 4, "{fault}");
        let manifests = bench.all_files(&format!(".transload/quarantine/{run}/sales/_transload/manifest"));
        assert_eq!(manifests.len(), 1, "{fault}: the quarantine was committed more than once");
    }
}

#[test]
fn a_reader_never_sees_a_mixture_of_old_and_new_rows() {
    let bench = sales(true);
    let mut load = Started::new(&bench, &["run", "p.yaml"], "commit.renamed=sleep(30)");
    let mut seen = BTreeSet::new();
    while load.is_running() {
        let now = manifest(&bench).unwrap();
        let rows = rows_of(&now);
        assert!([OLD_ROWS, ROWS].contains(&rows), "{rows} rows");
        let missing = files_of(&now).iter().any(|f| !bench.path("lake/sales").join(f).exists());
        // What the old manifest names may go once there is a newer one.
        assert!(!missing || manifest(&bench).unwrap()["version"] != now["version"], "a file of the table is not there");
        seen.insert(rows);
    }
    load.ended().expect(0);
    assert!(seen.contains(&OLD_ROWS), "{seen:?}");
    assert_whole(&bench, ROWS, "after the load");
}

#[test]
fn adding_twice_doubles_the_rows_and_a_resumed_commit_adds_once() {
    let bench = Bench::new();
    bench.write("p.yaml", pipeline("sales", "    mode: append\n"));
    write_sales(&bench, 1, FILES, 100);
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml"]).expect(0);
    assert_whole(&bench, 800, "added twice");
    bench.run_with_faults(&["run", "p.yaml"], "commit.published=return(kill)").expect(-1);
    let run = open_run(&bench);
    bench.run_with_faults(&["resume", &run], "run.receipt=return(kill)").expect(-1);
    bench.run(&["resume", &run]).expect(0);
    assert_whole(&bench, 1200, "added a third time");
    assert_eq!(receipt(&bench, &run)["committed"]["already_done"], true);
    assert_eq!(receipt(&bench, &run)["committed"]["rows"], 400);
}

#[test]
fn two_pipelines_may_add_to_a_table_at_the_same_time() {
    for with_old_rows in [true, false] {
        let bench = Bench::new();
        write_sales(&bench, 1, FILES, 100);
        for name in ["one", "two", "three"] {
            bench.write(&format!("{name}.yaml"), pipeline(name, "    mode: append\n"));
        }
        if with_old_rows {
            bench.run(&["run", "three.yaml"]).expect(0);
        }
        // Both wait with their files in place, so that one of them finds its number taken.
        let slow = "commit.manifest=1*sleep(400)->off";
        let started = ["one.yaml", "two.yaml"].map(|file| Started::new(&bench, &["run", file], slow));
        for load in started {
            load.ended().expect(0);
        }
        assert_whole(&bench, if with_old_rows { 1200 } else { 800 }, "both added");
    }
}

#[test]
fn of_two_runs_of_one_pipeline_the_second_is_told_to_come_back() {
    let bench = sales(false);
    let first = Started::new(&bench, &["run", "p.yaml"], "stage.batch=sleep(100)");
    wait_until("staging", || is_staging(&bench));
    let second = bench.run(&["run", "p.yaml"]).expect(75).says("another run of this pipeline is not finished");
    assert_eq!(second.stdout, "");
    first.ended().expect(0);
    assert_whole(&bench, ROWS, "after the first");
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn a_published_table_that_the_ledger_was_not_told_of_is_not_loaded_twice() {
    let bench = sales(true);
    bench.write("p.yaml", pipeline("sales", "    mode: append\n"));
    let failed = bench.run_with_faults(&["run", "p.yaml"], "run.receipt=return(permanent)").expect(8);
    let run = failed.says("is published").last_line()["run_id"].as_str().unwrap().to_string();
    assert_eq!(visible_rows(&bench), Some(OLD_ROWS + ROWS));
    bench.run(&["resume", &run]).expect(0);
    assert_eq!(visible_rows(&bench), Some(OLD_ROWS + ROWS));
}

#[test]
fn an_end_that_cannot_be_written_down_hides_nothing_and_can_be_made_up_for() {
    for (faults, code) in [
        // Whoever only tried again would add the rows twice.
        ("run.closed=return(transient)", 8),
        ("run.compared=return(permanent)", 8),
        ("run.receipt=return(permanent);run.closed=return(transient)", 8),
        ("run.receipt=return(transient);run.compared=return(permanent)", 8),
        ("unit.begun=return(permanent);run.closed=return(transient)", 3),
    ] {
        let bench = sales(true);
        bench.write("p.yaml", pipeline("sales", "    mode: append\n"));
        let failed = bench.run_with_faults(&["run", "p.yaml"], faults).expect(code);
        let line = failed.last_line();
        assert_eq!((&line["status"], &line["exit_code"]), (&"failed".into(), &code.into()), "{faults}");
        let run = open_run(&bench);
        assert_eq!(line["run_id"], run, "{faults}");
        failed.says(&format!("`transload resume {run}` goes on from here"));
        bench.run(&["resume", &run]).expect(0);
        assert_whole(&bench, OLD_ROWS + ROWS, faults);
        bench.run(&["audit", "verify"]).expect(0);
        bench.run(&["resume", &run]).expect(99).says("has ended: succeeded");
    }
}

#[test]
fn a_resume_that_learns_nothing_is_not_the_last_one() {
    let bench = sales(true);
    bench.write("p.yaml", pipeline("sales", "    mode: append\n"));
    bench.run_with_faults(&["run", "p.yaml"], "commit.published=return(kill)").expect(-1);
    let run = open_run(&bench);
    let failed = bench.run_with_faults(&["resume", &run], "run.begun=return(permanent)").expect(3);
    failed.says(&format!("`transload resume {run}` goes on from here"));
    bench.run(&["resume", &run]).expect(0);
    assert_whole(&bench, OLD_ROWS + ROWS, "after the last resume");
    // One that has just begun has nothing to lose.
    let failed = bench.run_with_faults(&["run", "p.yaml"], "run.begun=return(permanent)").expect(3);
    let run = failed.last_line()["run_id"].as_str().unwrap().to_string();
    bench.run(&["resume", &run]).expect(99);
}

#[test]
fn a_published_table_that_the_audit_chain_was_not_told_of_is_told_of_by_a_resume() {
    let bench = sales(false);
    let load = Started::new(&bench, &["run", "p.yaml"], "run.receipt=sleep(1500)");
    wait_until("a table", || manifest(&bench).is_some());
    let (artifacts, away) = (bench.path(".transload/artifacts"), bench.path(".transload/away"));
    std::fs::rename(&artifacts, &away).unwrap();
    std::fs::write(&artifacts, "a file").unwrap();
    let failed = load.ended().expect(8).says("the audit chain could not be told").says("transload resume");
    let line = failed.last_line();
    assert_eq!((&line["status"], &line["tables"][0]["written"]), (&"failed".into(), &ROWS.into()), "{line}");
    std::fs::remove_file(&artifacts).unwrap();
    std::fs::rename(&away, &artifacts).unwrap();
    bench.run(&["resume", line["run_id"].as_str().unwrap()]).expect(0);
    bench.run(&["audit", "verify"]).expect(0);
    assert_whole(&bench, ROWS, "after the resume");
}

#[test]
fn a_published_table_gets_its_receipt_even_if_its_source_has_moved_since() {
    for point in ["commit.published", "commit.replaced", "commit.cleaned", "run.receipt"] {
        let bench = sales(true);
        bench.run_with_faults(&["run", "p.yaml"], &format!("{point}=return(kill)")).expect(-1);
        let run = open_run(&bench);
        write_sales(&bench, 90_000, FILES, 100);
        // It cannot be compared any more.
        let resumed = bench.run(&["resume", &run]).expect(3).says("changed after it was pinned");
        let table = &resumed.last_line()["tables"][0];
        assert_eq!((&table["written"], &table["verdict"]), (&ROWS.into(), &Value::Null), "{point}");
        assert_eq!(receipt(&bench, &run)["committed"]["rows"], ROWS, "{point}");
        assert_whole(&bench, ROWS, point);
        bench.run(&["audit", "verify"]).expect(0);
        bench.run(&["resume", &run]).expect(99).says("has ended");
    }
}

#[test]
fn such_a_receipt_tells_of_quarantine_and_checks_too() {
    let settings =
        "    columns: { amount: { cast: int64, on_misfit: quarantine } }\n    checks: [ { unique: [id] } ]\n";
    let bench = Bench::new();
    bench.write("p.yaml", pipeline("sales", settings));
    let file = |more: &str| format!("id,region,amount\n1{more},north,5\n2{more},west,much\n3{more},south,7\n");
    for number in 0..FILES {
        bench.write(&format!("in/sales/{number}.csv"), file(&number.to_string()));
    }
    // The second commit is the target's.
    bench.run_with_faults(&["run", "p.yaml"], "commit.published=1*off->return(kill)").expect(-1);
    let run = open_run(&bench);
    bench.write("in/sales/0.csv", file("00"));
    bench.run(&["resume", &run]).expect(3).says("changed after it was pinned");
    let receipt = receipt(&bench, &run);
    let counts = ["read", "written", "quarantined"].map(|name| receipt["counts"][name].as_u64().unwrap());
    assert_eq!(counts, [12, 8, 4], "{receipt}");
    assert_eq!((&receipt["quarantine"]["rows"], &receipt["resumed_units"]), (&4.into(), &FILES.into()), "{receipt}");
    assert_eq!(receipt["checks"][0]["check"], "unique", "{receipt}");
}

#[test]
fn staged_rows_that_are_gone_are_staged_again() {
    for kept in [0, FILES - 1] {
        let bench = sales(true);
        bench.run_with_faults(&["run", "p.yaml"], "commit.begun=return(kill)").expect(-1);
        let run = open_run(&bench);
        let mut staged = std::fs::read_dir(bench.path("lake/sales/_transload/staging")).unwrap();
        let commit = staged.next().unwrap().unwrap().path();
        std::fs::remove_dir_all(if kept == 0 { commit } else { commit.join("000002") }).unwrap();
        bench.run(&["resume", &run]).expect(0);
        assert_eq!(receipt(&bench, &run)["resumed_units"], kept);
        assert_whole(&bench, ROWS, "staged again");
    }
}

#[test]
fn rows_that_another_commit_has_taken_for_those_of_a_dead_one_are_staged_again() {
    let bench = Bench::new();
    write_sales(&bench, 1, FILES, 100);
    for name in ["one", "two"] {
        bench.write(&format!("{name}.yaml"), pipeline(name, "    mode: append\n"));
    }
    bench.run(&["run", "two.yaml"]).expect(0);
    bench.run_with_faults(&["run", "one.yaml"], "commit.manifest=return(kill)").expect(-1);
    let run = open_run(&bench);
    bench.run(&["run", "two.yaml"]).expect(0);
    assert_eq!(visible_rows(&bench), Some(800));
    bench.run(&["resume", &run]).expect(0);
    assert_whole(&bench, 1200, "added a third time");
}

#[test]
fn a_panic_in_the_work_for_one_table_leaves_the_others_alone() {
    let bench = sales(false);
    bench.write("p.yaml", pipeline("sales", "  - from: sales\n    to: other\n    key: [id]\n"));
    let failed = bench.run_with_faults(&["run", "p.yaml"], "commit.begun=1*panic->off").expect(1);
    let line = failed.says("the work for a table died").last_line();
    let tables = line["tables"].as_array().unwrap();
    let (arrived, died): (Vec<&Value>, Vec<&Value>) = tables.iter().partition(|t| t["error"].is_null());
    assert_eq!((arrived.len(), died.len()), (1, 1), "{line}");
    assert_eq!((&arrived[0]["written"], &arrived[0]["verdict"]), (&ROWS.into(), &"match".into()), "{line}");
    let left = bench.all_files(&format!("lake/{}", died[0]["table"].as_str().unwrap()));
    assert!(left.iter().all(|p| p.ends_with("_transload/lock")), "{left:?}");
}

#[test]
fn a_table_that_fails_for_good_does_not_keep_another_from_being_resumed() {
    let bench = sales(false);
    let other = "  - from: sales\n    to: gated\n    checks: [ { row_count: { max: 1 } } ]\n";
    bench.write("p.yaml", pipeline("sales", other));
    let faults = "commit.begun=5*return(transient)->off";
    let failed = bench.run_with_faults(&["run", "p.yaml"], faults).expect(4).says("transload resume");
    assert!(failed.last_line()["tables"][0]["error"].is_string(), "{failed:?}");
    let run = failed.last_line()["run_id"].as_str().unwrap().to_string();
    bench.run(&["resume", &run]).expect(4);
    assert_whole(&bench, ROWS, "after the resume");
    assert!(bench.all_files("lake/gated").iter().all(|p| p.ends_with("_transload/lock")));
    bench.run(&["resume", &run]).expect(99);
}
