//! `transload clean`: what dead runs have left is removed, and nothing else.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::azure::Container;
use crate::buckets::assert_tidy;
use crate::harness::{Bench, Started, is_staging, tpch_pipeline, wait_until};
use crate::place::Place;
use crate::s3::Bucket;

/// Tables of one file each, named after the point at which a load of them is killed.
const TABLES: [(&str, &str); 3] =
    [("staged", "stage.written"), ("published", "commit.published"), ("renamed", "commit.renamed")];

fn pipeline(url: &str) -> String {
    let table = |(name, _): (&str, &str)| format!("  - from: nation\n    to: {name}\n    key: [n_nationkey]\n");
    let tables: String = TABLES.into_iter().map(table).collect();
    tpch_pipeline(&tables).replace("url: lake", &format!("url: '{url}'"))
}

/// Loads every table, and then once more, killed on the way.
fn kill_a_load_of_each(bench: &Bench, url: &str) {
    bench.write("p.yaml", pipeline(url));
    bench.run(&["run", "p.yaml"]).expect(0);
    for (table, point) in TABLES {
        bench.run_with_faults(&["run", "p.yaml", "--table", table], &format!("{point}=return(kill)")).expect(-1);
    }
}

/// What was removed, by table and kind.
fn kinds(answer: &Value) -> BTreeSet<(String, String)> {
    let text = |orphan: &Value, name: &str| orphan[name].as_str().unwrap().to_string();
    answer["removed"].as_array().unwrap().iter().map(|o| (text(o, "table"), text(o, "what"))).collect()
}

/// Cleans after three killed loads into `url`, of which `look` lists everything but locks.
fn cleans_after_killed_loads(bench: &Bench, url: &str, is_bucket: bool, look: &dyn Fn() -> Vec<String>) {
    kill_a_load_of_each(bench, url);
    let before = look();
    // They could still be resumed.
    bench.run(&["clean", "p.yaml"]).expect(99).says("there is nothing to remove");
    let would = bench.run(&["clean", url, "--older-than", "0s", "--dry-run"]).expect(0);
    assert!(would.stdout.lines().all(|line| line.starts_with("would remove ")), "{}", would.stdout);
    assert_eq!(look(), before);

    let cleaned = bench.run(&["clean", "p.yaml", "--older-than", "0s", "--format", "json"]).expect(0).last_line();
    let staged = if is_bucket { "upload" } else { "staged" };
    let mut expected = vec![
        ("staged", staged),
        ("published", "replaced"),
        ("published", "note"),
        ("renamed", "unpublished"),
        ("renamed", "note"),
    ];
    if is_bucket {
        expected.extend([("published", "upload"), ("renamed", "upload")]);
    }
    let expected: BTreeSet<(String, String)> =
        expected.into_iter().map(|(table, what)| (table.to_string(), what.to_string())).collect();
    assert_eq!(kinds(&cleaned), expected, "{cleaned}");
    assert_eq!((&cleaned["dry_run"], &cleaned["older_than_secs"]), (&Value::from(false), &Value::from(0)));
    let found = bench.run(&["discover", url, "--format", "json"]).expect(0).last_line();
    let rows: Vec<&Value> = found["tables"].as_array().unwrap().iter().map(|table| &table["rows"]).collect();
    assert_eq!(rows, [25, 25, 25]);
    bench.run(&["clean", "p.yaml", "--older-than", "0s"]).expect(99);
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn what_killed_loads_have_left_in_a_folder_is_removed() {
    let bench = Bench::new();
    bench.write("lake/other/foreign.txt", "not ours");
    let look = || -> Vec<String> {
        let all = bench.all_files("lake").into_iter().map(|path| path.display().to_string());
        all.filter(|path| !path.ends_with("/_transload/lock")).collect()
    };
    cleans_after_killed_loads(&bench, "lake", false, &look);
    let hidden: Vec<String> = look().into_iter().filter(|path| path.contains("/staging")).collect();
    assert_eq!(hidden, [""; 0]);
    assert_eq!(bench.data_files("lake").len(), 4);
}

#[test]
fn what_killed_loads_have_left_in_a_bucket_is_removed() {
    let bucket = Bucket::new("cleaned");
    cleans_in(&bucket);
    assert_eq!(bucket.unfinished("lake"), [""; 0]);
}

#[test]
fn what_killed_loads_have_left_in_a_container_is_removed() {
    // Blocks that nobody commits stay for a week: nothing can give them up.
    cleans_in(&Container::new("cleaned"));
}

#[test]
fn an_upload_that_was_begun_and_not_noted_is_found_and_given_up() {
    let bucket = Bucket::new("unnoted");
    for kind in ["lake", "delta"] {
        let bench = Bench::with(bucket.variables());
        let table = "  - from: customer\n    key: [c_custkey]\n    partition_by: [ { identity: c_mktsegment } ]\n";
        let target = format!("target: {{ {kind}: {{ url: '{}' }} }}", bucket.url(kind));
        bench.write("p.yaml", tpch_pipeline(table).replace("target: { lake: { url: lake } }", &target));
        bench.run_with_faults(&["run", "p.yaml"], "upload.begun=return(kill)").expect(-1);
        // There is nothing else of the table.
        assert_eq!(bucket.files(kind), [""; 0]);
        let begun = bucket.unfinished(kind);
        assert!(!begun.is_empty() && begun.iter().all(|path| path.contains("/c_mktsegment=")), "{begun:?}");
        bench.run(&["clean", "p.yaml"]).expect(99);
        let would = bench.run(&["clean", "p.yaml", "--older-than", "0s", "--dry-run"]).expect(0);
        assert!(would.stdout.lines().all(|line| line.starts_with("would remove upload")), "{}", would.stdout);
        assert_eq!(bucket.unfinished(kind), begun);

        let cleaned = bench.run(&["clean", "p.yaml", "--older-than", "0s", "--format", "json"]).expect(0).last_line();
        assert_eq!(cleaned["removed"].as_array().unwrap().len(), begun.len(), "{cleaned}");
        assert_eq!(kinds(&cleaned), BTreeSet::from([("customer".to_string(), "upload".to_string())]));
        assert_eq!(bucket.unfinished(kind), [""; 0]);
        bench.run(&["clean", "p.yaml", "--older-than", "0s"]).expect(99);
        // Whoever resumes it all the same does the work again.
        bench.run(&["resume", &bench.newest_run()]).expect(0);
        assert_eq!(bucket.unfinished(kind), [""; 0]);
    }
}

fn cleans_in(bucket: &dyn Place) {
    let bench = Bench::with(bucket.variables());
    bucket.put("lake/other/foreign.txt", "not ours");
    let look = || -> Vec<String> { bucket.files("lake").into_iter().filter(|path| !path.ends_with("/lock")).collect() };
    cleans_after_killed_loads(&bench, &bucket.url("lake"), true, &look);
    for (table, _) in TABLES {
        assert_tidy(bucket, &format!("lake/{table}"));
    }
    assert!(bucket.files("lake").contains(&"lake/other/foreign.txt".to_string()));
}

/// A pipeline with one table.
fn one_table(bench: &Bench) {
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n    key: [n_nationkey]\n"));
}

#[test]
fn a_run_that_may_go_on_keeps_what_it_has_staged_however_old_that_is() {
    let bench = Bench::new();
    one_table(&bench);
    bench.run_with_faults(&["run", "p.yaml"], "unit.journaled=return(kill)").expect(-1);
    let long_ago = SystemTime::from(transload_core::Clock::system().now()) - Duration::from_secs(10 * 24 * 60 * 60);
    for file in bench.all_files("lake") {
        File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
    }
    let run = bench.newest_run();
    for location in ["p.yaml", "lake"] {
        let kept = bench.run(&["clean", location]).expect(99).says(&format!("nothing of run {run} is touched"));
        assert_eq!(kept.stdout, "");
        bench.run(&["clean", location, "--dry-run"]).expect(99);
    }
    bench.run(&["resume", &run]).expect(0);

    // One that is as old as what is to be removed is given up.
    bench.run_with_faults(&["run", "p.yaml"], "unit.journaled=return(kill)").expect(-1);
    let removed = bench.run(&["clean", "p.yaml", "--older-than", "0s"]).expect(0);
    assert!(removed.stdout.starts_with("removed staged"), "{}", removed.stdout);
    // Whoever resumes it all the same does the work again.
    bench.run(&["resume", &bench.newest_run()]).expect(0);
}

#[test]
fn a_load_that_is_under_way_is_not_disturbed() {
    let bench = Bench::new();
    one_table(&bench);
    let load = Started::new(&bench, &["run", "p.yaml"], "commit.begun=sleep(5000)");
    wait_until("it has staged something", || is_staging(&bench));
    for location in ["p.yaml", "lake"] {
        bench.run(&["clean", location, "--older-than", "0s"]).expect(99).says("is touched: it may go on");
    }
    load.ended().expect(0);
}

#[test]
fn a_clean_that_is_killed_can_be_repeated() {
    let bench = Bench::new();
    one_table(&bench);
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run_with_faults(&["run", "p.yaml"], "commit.published=return(kill)").expect(-1);
    let clean = ["clean", "p.yaml", "--older-than", "0s"];
    bench.run_with_faults(&clean, "clean.removed=return(kill)").expect(-1);
    bench.run(&clean).expect(0);
    bench.run(&clean).expect(99);
    assert_eq!(bench.data_files("lake").len(), 1);
}

#[test]
fn what_was_being_put_aside_is_cleaned_with_the_rest() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n\n1,10\n2,100000\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: aside\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: lake } }\n\
         tables:\n  - from: t\n    key: [id]\n    columns: { n: { cast: int16, on_misfit: quarantine } }\n",
    );
    // What is put aside is published first.
    bench.run_with_faults(&["run", "p.yaml"], "commit.renamed=return(kill)").expect(-1);
    let run = bench.newest_run();
    let cleaned = bench.run(&["clean", "p.yaml", "--older-than", "0s", "--format", "json"]).expect(0).last_line();
    let kinds = kinds(&cleaned);
    for (table, what) in
        [(format!("{run}/t"), "unpublished"), (format!("{run}/t"), "note"), ("t".to_string(), "staged")]
    {
        assert!(kinds.contains(&(table, what.to_string())), "{kinds:?}");
    }
    for folder in ["lake", ".transload/quarantine"] {
        assert!(bench.all_files(folder).is_empty(), "{:?}", bench.all_files(folder));
    }
}

#[test]
fn what_is_not_there_has_nothing_to_be_removed_and_what_is_not_understood_is_said() {
    let bench = Bench::new();
    bench.run(&["clean", "nowhere"]).expect(99);
    bench.run(&["clean", "nowhere", "--older-than", "7 days"]).expect(2);
    bench.run(&["clean", "nowhere.yaml"]).expect(3);
    assert!(bench.all_files(".").is_empty());
}
