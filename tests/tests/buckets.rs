//! Ledgers and tables in buckets of a real S3 server, and in containers of Microsoft's emulator of Azure.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::azure::Container;
use crate::harness::{Bench, Outcome, Started, wait_until};
use crate::place::Place;
use crate::s3::Bucket;

/// Tests a bucket and a container of this name, at the same time.
fn on_each_server(name: &'static str, test: impl Fn(&dyn Place) + Sync) {
    std::thread::scope(|scope| {
        scope.spawn(|| test(&Bucket::new(name)));
        scope.spawn(|| test(&Container::new(name)));
    });
}

/// Two tables, one of them in folders.
const TABLES: &str = "  - from: nation\n    key: [n_nationkey]\n  \
    - from: customer\n    key: [c_custkey]\n    columns: { c_phone: { mask: partial } }\n    \
      partition_by: [ { identity: c_mktsegment } ]\n";

fn tpch_into(url: &str) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ tpch: {{ scale: 0.01 }} }}\ntarget: {{ lake: {{ url: '{url}' }} }}\ntables:\n{TABLES}"
    )
}

fn csv_into(name: &str, source: &str, target: &str, settings: &str) -> String {
    format!(
        "version: 1\npipeline: {name}\nsource: {{ lake: {{ url: '{source}', format: csv }} }}\ntarget: {{ lake: {{ url: '{target}' }} }}\n\
         tables:\n  - from: t.csv\n    to: t\n    key: [id]\n{settings}"
    )
}

/// Asserts that no upload below a path waits for being completed.
#[track_caller]
fn assert_no_upload(bucket: &dyn Place, path: &str) {
    if bucket.forgets_uploads() {
        assert_eq!(bucket.unfinished(path), [""; 0]);
    }
}

fn digests(outcome: &Outcome) -> Vec<String> {
    let line = outcome.last_line();
    line["tables"].as_array().unwrap().iter().map(|t| t["digest"].as_str().unwrap_or_default().to_string()).collect()
}

/// Asserts that a table's files are those of its newest manifest and no others, and that nothing is left of staging.
#[track_caller]
pub(crate) fn assert_tidy(bucket: &dyn Place, table: &str) {
    let (hidden, there): (Vec<String>, Vec<String>) =
        bucket.files(table).into_iter().partition(|f| f.contains("/_transload/"));
    assert!(!hidden.iter().any(|f| f.contains("/staging/")), "{hidden:?}");
    let manifests = bucket.texts(&format!("{table}/_transload/manifest"));
    let newest: Value = serde_json::from_str(manifests.values().next_back().unwrap().as_str().unwrap()).unwrap();
    let listed: BTreeSet<String> = newest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| format!("{table}/{}", f["path"].as_str().unwrap()))
        .collect();
    assert_eq!(there.into_iter().collect::<BTreeSet<_>>(), listed);
}

#[test]
fn a_ledger_in_a_bucket_holds_everything_about_a_run() {
    on_each_server("whole-run", a_ledger_holds_everything_about_a_run);
}

fn a_ledger_holds_everything_about_a_run(bucket: &dyn Place) {
    let bench = Bench::with(bucket.variables());
    bench.write("p.yaml", tpch_into("lake"));
    let ledger = bucket.url("team/ledger");
    let verb = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--ledger", ledger.as_str()]);
        bench.run(&all)
    };

    let ran = verb(&["run", "p.yaml"]).expect(0).last_line();
    let run = ran["run_id"].as_str().unwrap();
    let shown = verb(&["show", run, "--plan"]).expect(0).stdout;
    assert!(shown.contains("succeeded, 2 of 2 tables match"), "{shown}");
    verb(&["reconcile", "--run", run]).expect(0);
    verb(&["run", "p.yaml"]).expect(0);
    let runs = verb(&["runs", "--format", "json"]).expect(0).last_line();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
    assert_eq!(runs["runs"][1]["run_id"], run);
    assert!(verb(&["audit", "verify"]).expect(0).stdout.contains("the audit chain is whole"));

    assert!(!bench.path(".transload").exists());
    let kept = bucket.files("");
    assert!(kept.iter().all(|f| f.starts_with("team/ledger/")), "{kept:?}");
    let start = format!("team/ledger/runs/{run}/start.json");
    for name in ["team/ledger/audit/000000000001.json", "team/ledger/locks/test.lock", start.as_str()] {
        assert!(kept.iter().any(|f| f == name), "{name}: {kept:?}");
    }

    bucket.put("team/ledger/audit/000000000002.json", "{}");
    verb(&["audit", "verify"]).expect(3).says("broken at record 2");
}

/// Repeats a command until the lock of a process that was killed has run out.
fn when_the_lock_has_run_out(bench: &Bench, args: &[&str]) -> Outcome {
    let begun = Instant::now();
    loop {
        let outcome = bench.run(args);
        if outcome.code != 75 || begun.elapsed() > Duration::from_secs(120) {
            return outcome;
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

#[test]
fn of_two_runs_with_one_ledger_in_a_bucket_the_second_is_told_to_come_back() {
    on_each_server("twice", of_two_runs_the_second_is_told_to_come_back);
}

fn of_two_runs_the_second_is_told_to_come_back(bucket: &dyn Place) {
    let bench = Bench::with(bucket.variables_with_ledger("ledger"));
    bench.write("p.yaml", tpch_into("lake"));
    let first = Started::new(&bench, &["run", "p.yaml"], "unit.begun=sleep(8000)");
    wait_until("the first has begun", || bucket.files("ledger/runs").iter().any(|f| f.ends_with("/start.json")));
    let second = bench.run(&["run", "p.yaml"]).expect(75).says("another run of this pipeline is not finished yet");
    assert_eq!(second.stdout, "");
    first.ended().expect(0);
    // A lock that was given back need not run out.
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn evidence_and_quarantine_are_beside_a_ledger_in_a_bucket() {
    on_each_server("evidence", evidence_and_quarantine_are_beside_the_ledger);
}

fn evidence_and_quarantine_are_beside_the_ledger(bucket: &dyn Place) {
    let bench = Bench::with(bucket.variables_with_ledger("ledger"));
    let settings = "    columns: { n: { cast: int16, on_misfit: quarantine } }\n";
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n4,100000\n");
    bench.write("p.yaml", csv_into("test", "in", "out", settings));
    let ran = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!(ran["tables"][0]["quarantined"], 1);
    let run = ran["run_id"].as_str().unwrap();
    let aside = bucket.rows(&format!("ledger/quarantine/{run}/t"));
    assert_eq!(aside.len(), 1);
    assert_eq!(aside[0]["n"], "100000");
    let found = bench.run(&["discover", &bucket.url("ledger/quarantine"), "--format", "json"]).expect(0).last_line();
    assert_eq!((&found["tables"][0]["name"], &found["tables"][0]["rows"]), (&json!(format!("{run}/t")), &json!(1)));

    bench.write("in/t.csv", "id,n\n1,10\n2,21\n3,30\n4,100000\n");
    let compared = bench.run(&["reconcile", "p.yaml"]).expect(5).last_line();
    let evidence = compared["tables"][0]["evidence"].as_str().unwrap();
    let path = evidence.strip_prefix(&bucket.url("")).unwrap_or_else(|| panic!("{evidence}"));
    assert!(path.starts_with("ledger/evidence/") && path.ends_with("/t"), "{path}");
    let mut rows: Vec<(String, i64)> = bucket
        .rows(path)
        .iter()
        .map(|r| (r["_difference"].as_str().unwrap().to_string(), r["id"].as_i64().unwrap()))
        .collect();
    rows.sort();
    assert_eq!(rows, [("changed".to_string(), 2), ("missing_in_target".to_string(), 3)]);
}

#[test]
fn a_stated_quarantine_in_a_bucket_is_whole_or_not_there_and_is_replayed() {
    let bucket = Bucket::new("aside");
    let killed_at = |point: &str, seen: [usize; 2]| {
        let bench = Bench::with(bucket.variables());
        let place = format!("{}/rows", point.replace('.', "-"));
        let text = format!(
            "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ lake: {{ url: out }} }}\n\
             quarantine: {{ url: '{}' }}\ntables:\n  - from: t\n    key: [id]\n    \
             columns: {{ n: {{ cast: int16, on_misfit: quarantine }} }}\n",
            bucket.url(&place)
        );
        bench.write("p.yaml", text);
        for (file, id) in [("a", 1), ("b", 3)] {
            bench.write(&format!("in/t/{file}.csv"), format!("id,n\n{id},10\n{},much\n", id + 1));
        }
        // Rows there, as a program finds them that lists files, and as ours does by the manifest.
        let there = || {
            let found = bench.run(&["discover", &bucket.url(&place), "--format", "json"]);
            assert!([0, 99].contains(&found.code), "{point}: {found:?}");
            let tables = found.last_line()["tables"].as_array().unwrap().clone();
            let listed = tables.iter().map(|t| t["rows"].as_u64().unwrap() as usize).sum::<usize>();
            [bucket.rows(&place).len(), listed]
        };
        bench.run_with_faults(&["run", "p.yaml"], &format!("{point}=return(kill)")).expect(-1);
        assert_eq!(there(), seen, "{point}");

        let run = bench.newest_run();
        let resumed = when_the_lock_has_run_out(&bench, &["resume", &run]);
        assert_eq!(resumed.code, 0, "{point}: {}{}", resumed.stdout, resumed.stderr);
        assert_eq!(resumed.last_line()["tables"][0]["quarantined"], 2, "{point}");
        assert_eq!(there(), [2, 2], "{point}");
        assert_tidy(&bucket, &format!("{place}/{run}/t"));

        bench.write("patch.csv", "_split,_position,n\n1,1,20\n");
        let replayed = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0).last_line();
        let table = &replayed["tables"][0];
        assert_eq!((&table["written"], &table["verdict"]), (&json!(1), &json!("match")), "{point}");
        let left = bucket.rows(&format!("{place}/{}/t", replayed["run_id"].as_str().unwrap()));
        assert_eq!(left.iter().map(|row| (&row["id"], &row["n"])).collect::<Vec<_>>(), [(&json!("2"), &json!("much"))]);
        assert!(!bench.path(".transload/quarantine").exists());
    };
    // Each waits for locks to run out: all wait at the same time.
    std::thread::scope(|scope| {
        for (point, seen) in [
            ("stage.written", [0, 0]),
            ("commit.begun", [0, 0]),
            ("commit.renamed", [2, 0]),
            ("commit.published", [2, 2]),
            ("run.aside", [2, 2]),
        ] {
            scope.spawn(move || killed_at(point, seen));
        }
    });
}

#[test]
fn tables_are_written_to_buckets_and_read_from_them() {
    on_each_server("tables", tables_are_written_and_read);
}

fn tables_are_written_and_read(bucket: &dyn Place) {
    let bench = Bench::with(bucket.variables());
    let bronze = bucket.url("deep/bronze");
    bench.write("in.yaml", tpch_into(&bronze));
    let first = digests(&bench.run(&["run", "in.yaml"]).expect(0));
    let files = bucket.files("deep/bronze/customer");
    assert!(files.iter().any(|f| f.contains("/c_mktsegment=")), "{files:?}");
    // Replacing leaves nothing of what was there.
    assert_eq!(digests(&bench.run(&["run", "in.yaml"]).expect(0)), first);
    for table in ["nation", "customer"] {
        assert_tidy(bucket, &format!("deep/bronze/{table}"));
    }
    bench.run(&["reconcile", "in.yaml"]).expect(0);

    let found = bench.run(&["discover", &bronze, "--format", "json"]).expect(0).last_line();
    let names: Vec<&str> = found["tables"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["customer", "nation"]);
    bench.write(
        "out.yaml",
        format!(
            "version: 1\npipeline: out\nsource: {{ lake: {{ url: '{bronze}' }} }}\ntarget: {{ lake: {{ url: silver }} }}\ntables:\n  \
             - from: nation\n    key: [n_nationkey]\n  - from: customer\n    key: [c_custkey]\n"
        ),
    );
    let read = bench.run(&["run", "out.yaml"]).expect(0);
    assert_eq!(digests(&read)[0], first[0]);

    bucket.put("landing/t.csv", "id,n\n1,10\n2,20\n");
    bench.write("csv.yaml", csv_into("csv", &bucket.url("landing"), &bucket.url("silver"), ""));
    bench.run(&["run", "csv.yaml"]).expect(0);
    bench.run(&["plan", "csv.yaml", "--save", "plan.json"]).expect(0);
    bucket.put("landing/t.csv", "id,n\n1,10\n2,21\n");
    bench.run(&["run", "--plan", "plan.json"]).expect(3).says("changed after it was pinned");
}

#[test]
fn two_pipelines_may_add_to_a_table_in_a_bucket_at_the_same_time() {
    on_each_server("adding", several_pipelines_may_add_to_a_table_at_the_same_time);
}

fn several_pipelines_may_add_to_a_table_at_the_same_time(bucket: &dyn Place) {
    let bench = Bench::with(bucket.variables());
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n");
    for name in ["one", "two", "three"] {
        bench.write(&format!("{name}.yaml"), csv_into(name, "in", &bucket.url("lake"), "    mode: append\n"));
    }
    let slow = "commit.manifest=1*sleep(1500)->off";
    let started = ["one.yaml", "two.yaml", "three.yaml"].map(|file| Started::new(&bench, &["run", file], slow));
    for load in started {
        load.ended().expect(0);
    }
    assert_tidy(bucket, "lake/t");
    assert_no_upload(bucket, "lake/t");
    assert_eq!(bucket.rows("lake/t").len(), 6);
}

#[test]
fn killed_and_resumed_a_merge_into_a_delta_table_in_a_bucket_leaves_nothing() {
    on_each_server("merge", |bucket| {
        let bench = Bench::with(bucket.variables());
        for point in ["merge.rewritten", "commit.manifest", "commit.published"] {
            let pipeline = |more: &str| {
                format!(
                    "version: 1\npipeline: test\nsource: {{ tpch: {{ scale: 0.01 }} }}\ntarget: {{ delta: {{ url: '{}' }} }}\n\
                     tables: [ {{ from: nation, key: [n_nationkey], mode: merge{more} }} ]\n",
                    bucket.url(point)
                )
            };
            bench.write("p.yaml", pipeline(""));
            bench.run(&["run", "p.yaml"]).expect(0);
            bench.write("p.yaml", pipeline(", filter: n_nationkey < 5"));
            bench.run_with_faults(&["run", "p.yaml"], &format!("{point}=return(kill)")).expect(-1);
            let resumed = bench.run(&["resume", &bench.newest_run()]).expect(0).last_line();
            assert_eq!(
                (&resumed["tables"][0]["written"], &resumed["tables"][0]["verdict"]),
                (&json!(5), &json!("match"))
            );
            assert_no_upload(bucket, point);
            let files = bucket.files(point);
            assert!(!files.iter().any(|path| path.contains("/staging/")), "{point}: {files:?}");
            // The first file, what is left of it, and the one with the rows that were merged.
            let data = files.iter().filter(|path| path.ends_with(".parquet"));
            assert_eq!(data.count(), 3, "{point}: {files:?}");
        }
    });
}

#[test]
fn credentials_are_neither_printed_nor_kept() {
    on_each_server("secrets", its_credentials_are_neither_printed_nor_kept);
}

fn its_credentials_are_neither_printed_nor_kept(bucket: &dyn Place) {
    let bench = Bench::with(bucket.variables_with_ledger("ledger"));
    bench.write("p.yaml", tpch_into(&bucket.url("lake")));
    let silent = |outcome: &Outcome| {
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(bucket.secret()), "{text}");
        }
    };
    let ran = bench.run(&["run", "p.yaml", "--log", "debug"]).expect(0);
    silent(&ran);
    let run = ran.last_line()["run_id"].as_str().unwrap().to_string();
    let verbs: [&[&str]; 5] = [
        &["plan", "p.yaml", "--format", "json"],
        &["reconcile", "p.yaml", "--log", "debug"],
        &["show", &run, "--plan", "--format", "json"],
        &["runs"],
        &["audit", "verify"],
    ];
    for verb in verbs {
        silent(&bench.run(verb).expect(0));
    }
    for (name, text) in bucket.texts("ledger") {
        assert!(!text.as_str().unwrap().contains(bucket.secret()), "{name}");
    }
    let url = format!("s3://id:{}@secrets/ledger", bucket.secret());
    let refused = bench.run(&["runs", "--ledger", &url]).expect(3).says("must not hold credentials");
    silent(&refused);
}

#[test]
fn nothing_is_seen_of_a_load_into_a_bucket_before_its_commit() {
    on_each_server("unseen", |bucket| {
        for kind in ["lake", "delta"] {
            nothing_is_seen_before_the_commit(bucket, kind);
        }
    });
}

fn nothing_is_seen_before_the_commit(bucket: &dyn Place, kind: &str) {
    let bench = Bench::with(bucket.variables());
    bench.write("p.yaml", tpch_into(&bucket.url(kind)).replace("target: { lake:", &format!("target: {{ {kind}:")));
    let visible =
        || -> Vec<String> { bucket.files(kind).into_iter().filter(|f| !f.contains("/_transload/")).collect() };
    for fault in ["stage.written=return(transient)", "commit.begun=return(transient)"] {
        bench.run_with_faults(&["run", "p.yaml"], fault).expect(75);
        assert!(visible().is_empty(), "{fault}: {:?}", visible());
        assert!(!bucket.unfinished(kind).is_empty(), "{kind}: {fault}");
    }
    // What was staged is of no use to a new run, and stands in nobody's way.
    bench.run(&["run", "p.yaml"]).expect(0);
    let before = visible();
    bench.run_with_faults(&["run", "p.yaml"], "commit.begun=return(transient)").expect(75);
    assert_eq!(visible(), before);
    // Whoever gives up leaves nothing.
    bench.run_with_faults(&["run", "p.yaml"], "commit.manifest=return(permanent)").expect(3);
    assert_eq!(visible(), before);
}

#[test]
fn files_of_many_parts_and_many_files_arrive() {
    on_each_server("large", |bucket| {
        let bench = Bench::with(bucket.variables());
        // One file of several parts, and one of several files of one part each.
        let pipeline = |compression: &str, file_bytes: u64, table: &str| {
            format!(
                "version: 1\npipeline: large\nsource: {{ tpch: {{ scale: 0.08 }} }}\ntarget: {{ lake: {{ url: '{}', \
                 parquet: {{ compression: {compression}, row_group_rows: 50000, file_bytes: {file_bytes} }} }} }}\n\
                 tables: [ {{ from: lineitem, to: {table}, key: [l_orderkey, l_linenumber] }} ]\n",
                bucket.url("lake")
            )
        };
        bench.write("one.yaml", pipeline("none", 1 << 30, "one"));
        bench.write("many.yaml", pipeline("zstd", 1 << 20, "many"));
        let ran = ["one.yaml", "many.yaml"].map(|file| digests(&bench.run(&["run", file]).expect(0)));
        assert_eq!(ran[0], ran[1]);
        for table in ["one", "many"] {
            assert_tidy(bucket, &format!("lake/{table}"));
        }
        assert_no_upload(bucket, "lake/");
        assert!(bucket.files("lake/many/part-").len() > 10);
    });
}

#[test]
fn objects_may_have_names_with_spaces_percent_signs_and_letters_of_all_scripts() {
    on_each_server("names", |bucket| {
        let bench = Bench::with(bucket.variables());
        let names =
            ["sp ace/a b.csv", "100%/x%20y.csv", "\u{fc}/\u{df}\u{4e2d}.csv", "a+b&c=d/e=f g.csv", "~(tilde)'s.csv"];
        for (number, name) in names.iter().enumerate() {
            bucket.put(&format!("in/{name}"), &format!("id,n\n{number},1\n"));
        }
        let table = |(number, name): (usize, &&str)| {
            let from = name.replace('\'', "''");
            format!("  - from: '{from}'\n    to: \"t {number}% \u{fc}\"\n    key: [id]\n")
        };
        let tables: String = names.iter().enumerate().map(table).collect();
        bench.write(
            "p.yaml",
            format!(
                "version: 1\npipeline: names\nsource: {{ lake: {{ url: '{}', format: csv }} }}\ntarget: {{ lake: {{ url: '{}' }} }}\ntables:\n{tables}",
                bucket.url("in"),
                bucket.url("out of/\u{e4}%41"),
            ),
        );
        bench.run(&["check", "p.yaml"]).expect(0);
        let ran = bench.run(&["run", "p.yaml"]).expect(0).last_line();
        let verdicts: Vec<&Value> = ran["tables"].as_array().unwrap().iter().map(|t| &t["verdict"]).collect();
        assert_eq!(verdicts, [&json!("match"); 5]);
        let found = bench.run(&["discover", &bucket.url("in"), "--format", "json"]);
        assert!([0, 99].contains(&found.code), "{found:?}");
        bench.run(&["run", "p.yaml"]).expect(0);
        for number in 0..names.len() {
            assert_tidy(bucket, &format!("out of/\u{e4}%41/t {number}% \u{fc}"));
        }
        bench.write(
            "leaves.yaml",
            csv_into("leaves", &bucket.url("in"), "out", "").replace("from: t.csv", "from: ../t.csv"),
        );
        bench.run(&["check", "leaves.yaml"]).expect(3).says("leaves its connection's url");
    });
}

#[test]
fn a_listing_of_many_objects_is_quick_and_small() {
    let bucket = Bucket::new("many");
    let bench = Bench::with(bucket.variables());
    bench.write("p.yaml", tpch_into(&bucket.url("lake")));
    bench.run(&["run", "p.yaml"]).expect(0);
    bucket.does("fill", "lake/other/", &["5000"]);
    let listed = bench.run(&["discover", &bucket.url("lake"), "--format", "json"]).expect(0).last_line();
    let names: Vec<&str> = listed["tables"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["customer", "nation"]);
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn a_bucket_that_cannot_be_used_is_refused_with_a_sentence() {
    let bucket = Bucket::new("refused");
    let with = |changed: &'static str, value: Option<&str>| {
        let mut variables = bucket.variables_with_ledger("ledger");
        variables.retain(|(name, _)| *name != changed);
        variables.extend(value.map(|value| (changed, value.to_string())));
        let bench = Bench::with(variables);
        bench.write("p.yaml", tpch_into("lake"));
        bench
    };
    let wrong = with("AWS_SECRET_ACCESS_KEY", Some("wr0ng")).run(&["run", "p.yaml"]).expect(3);
    assert!(!wrong.stderr.contains("wr0ng"), "{}", wrong.stderr);
    wrong.says("access was refused").says("SignatureDoesNotMatch").says("check the credentials");
    with("AWS_SECRET_ACCESS_KEY", None).run(&["run", "p.yaml"]).expect(3).says("they come from AWS_ACCESS_KEY_ID");
    with("AWS_ALLOW_HTTP", None).run(&["run", "p.yaml"]).expect(3).says("set AWS_ALLOW_HTTP=true");
    let bench = with("nothing", None);
    bench.run(&["run", "p.yaml", "--ledger", "s3://no-such-bucket/x"]).expect(3).says("there is no such bucket");
    bench.run(&["runs", "--ledger", "s3://no-such-bucket/x"]).expect(3).says("NoSuchBucket");
    let unknown = with("AWS_ACCESS_KEY_ID", Some("NOBODY")).run(&["run", "p.yaml"]).expect(3);
    unknown.says("the server does not know the access key").says("InvalidAccessKeyId");
}

#[test]
fn a_container_that_cannot_be_used_is_refused_with_a_sentence() {
    let container = Container::new("refused");
    let with = |changed: &'static str, value: Option<&str>| {
        let mut variables = container.variables_with_ledger("ledger");
        variables.retain(|(name, _)| *name != changed);
        variables.extend(value.map(|value| (changed, value.to_string())));
        let bench = Bench::with(variables);
        bench.write("p.yaml", tpch_into("lake"));
        bench
    };
    // `wr0ng`, as keys are written there.
    let wrong = with("AZURE_STORAGE_KEY", Some("d3IwbmcK")).run(&["run", "p.yaml"]).expect(3);
    assert!(!wrong.stderr.contains("d3IwbmcK"), "{}", wrong.stderr);
    wrong.says("access was refused").says("AuthorizationFailure").says("check the credentials");
    with("AZURE_STORAGE_ACCOUNT", None).run(&["run", "p.yaml"]).expect(3).says("they come from AZURE_STORAGE_ACCOUNT");
    with("AZURE_ALLOW_HTTP", None).run(&["run", "p.yaml"]).expect(3).says("set AZURE_ALLOW_HTTP=true");
    let bench = with("nothing", None);
    bench.run(&["run", "p.yaml", "--ledger", "az://no-such-box/x"]).expect(3).says("there is no such bucket");
    bench.run(&["runs", "--ledger", "az://no-such-box/x"]).expect(3).says("ContainerNotFound");
}

#[test]
fn a_signature_that_has_run_out_is_refused_and_not_shown() {
    let container = Container::new("signed");
    let signed = |hours: i32| {
        let mut variables = container.variables();
        variables.retain(|(name, _)| *name != "AZURE_STORAGE_KEY");
        let signature = container.signature(hours);
        let secret = signature.split("sig=").nth(1).unwrap().split('&').next().unwrap().to_string();
        variables.push(("AZURE_STORAGE_SAS_TOKEN", signature));
        let bench = Bench::with(variables);
        bench.write("p.yaml", tpch_into(&container.url("lake")));
        (bench, secret)
    };
    let (bench, secret) = signed(1);
    for args in [["run", "p.yaml", "--log", "debug"], ["run", "p.yaml", "--log", "debug"]] {
        let ran = bench.run(&args).expect(0);
        assert!(!ran.stderr.contains(&secret) && !ran.stdout.contains(&secret), "{}", ran.stderr);
    }
    let (bench, secret) = signed(-1);
    let refused = bench.run(&["run", "p.yaml"]).expect(3).says("access was refused");
    assert!(!refused.stderr.contains(&secret), "{}", refused.stderr);
}
