//! Rows that are merged by key into Delta tables, and partitions that are replaced.
//!
//! What a table holds in the end is read by the Python package `deltalake`, and by DuckDB from the files of its log.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use transload_core::fault::{MERGE_POINTS, POINTS};
use transload_testkit::merged_by_many;

use crate::compat::python;
use crate::delta::{assert_tidy, endpoint, log};
use crate::harness::{Bench, Outcome, Started, done, wait_until};

/// A table whose rows say by `op` what has become of them.
const CHANGES: &str =
    "{ from: t, key: [id], mode: { merge: { deleted: \"op = 'D'\" } }, columns: { op: { drop: true } } }";

/// A pipeline from the JSON lines in `src/t.jsonl` into Delta tables.
pub(crate) fn pipeline(tables: &str) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: src, format: json }} }}\n\
         target: {{ delta: {{ url: lake }} }}\ntables: [ {tables} ]\n"
    )
}

pub(crate) fn bench(tables: &str) -> Bench {
    let bench = Bench::new();
    bench.write("p.yaml", pipeline(tables));
    bench
}

/// Makes these rows the source.
pub(crate) fn given(bench: &Bench, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(|row| format!("{row}\n")).collect();
    bench.write("src/t.jsonl", lines.concat());
}

/// Loads these rows, which must arrive.
#[track_caller]
pub(crate) fn load(bench: &Bench, rows: &[Value]) -> Outcome {
    given(bench, rows);
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    for table in outcome.last_line()["tables"].as_array().unwrap() {
        assert_eq!(table["verdict"], "match", "{table}");
    }
    outcome
}

/// Rows read and written, and delete markers.
pub(crate) fn counts(outcome: &Outcome) -> [u64; 3] {
    let table = &outcome.last_line()["tables"][0];
    ["read", "written", "deleted"].map(|name| table[name].as_u64().unwrap_or_default())
}

/// The rows of the table in `folder` in some columns, sorted as texts.
fn rows_in(bench: &Bench, folder: &str, columns: &str) -> Value {
    let script = "from deltalake import DeltaTable\n\
        table, names = DeltaTable('FOLDER'), 'COLUMNS'.split()\n\
        whole, files = table.to_pyarrow_table(), table.file_uris()\n\
        found = sorted(zip(*[whole[name].to_pylist() for name in names]), key=str)\n\
        sql = f\"select {', '.join(names)} from read_parquet({files}, hive_partitioning = true, union_by_name = true)\"\n\
        assert sorted(duck(sql) if files else [], key=str) == found\n\
        print(json.dumps(found, default=str))";
    serde_json::from_str(&python(bench, &script.replace("FOLDER", folder).replace("COLUMNS", columns))).unwrap()
}

/// The rows of the target's table `t`, in the same way.
pub(crate) fn rows(bench: &Bench, columns: &str) -> Value {
    rows_in(bench, "lake/t", columns)
}

/// The paths that an entry of a log adds or removes.
fn paths<'a>(entry: &'a [Value], what: &str) -> Vec<&'a str> {
    entry.iter().filter_map(|action| action[what]["path"].as_str()).collect()
}

fn entry_of(bench: &Bench, version: u64) -> PathBuf {
    bench.path(&format!("lake/t/_delta_log/{version:020}.json"))
}

/// A bench with the same files.
fn copy(of: &Bench) -> Bench {
    let bench = Bench::new();
    done(Command::new("cp").arg("-a").arg(of.path(".")).arg(bench.path(".")));
    bench
}

#[test]
fn a_row_takes_the_place_of_those_with_its_key() {
    let bench = bench(CHANGES);
    // A table that is missing is made. A condition that is NULL is not true, and a key may be nowhere.
    let made = [
        json!({ "id": 1, "v": "a", "op": null }),
        json!({ "id": 2, "v": "b", "op": "I" }),
        json!({ "id": 3, "v": "c", "op": "I" }),
        json!({ "id": 9, "v": "z", "op": "D" }),
    ];
    assert_eq!(counts(&load(&bench, &made)), [4, 3, 1]);
    assert_eq!(rows(&bench, "id v"), json!([[1, "a"], [2, "b"], [3, "c"]]));

    let changed = [
        json!({ "id": 2, "v": "B", "op": "U" }),
        json!({ "id": 3, "v": null, "op": "D" }),
        json!({ "id": 4, "v": "d", "op": "I" }),
    ];
    let merged = load(&bench, &changed);
    assert_eq!(counts(&merged), [3, 2, 1]);
    let merged =
        merged.says("3 rows read, 2 written, 1 deleted").says("nothing is left that they should have taken away");
    let after = json!([[1, "a"], [2, "B"], [4, "d"]]);
    assert_eq!(rows(&bench, "id v"), after);
    let entries = log(&bench, "t");
    let said: Vec<&str> =
        entries.iter().flatten().filter_map(|action| action["commitInfo"]["operation"].as_str()).collect();
    assert_eq!(said, ["WRITE", "MERGE"]);
    let run = merged.last_line()["run_id"].as_str().unwrap().to_string();
    let shown = bench.run(&["show", &run, "--format", "json"]).expect(0).last_line();
    let expected = json!({ "read": 3, "written": 2, "quarantined": 0, "filtered": 0, "deleted": 1 });
    assert_eq!(shown["run"]["receipts"][0]["counts"], expected);
    let shown = bench.run(&["show", &run]).expect(0);
    assert!(shown.stdout.contains("0 filtered + 1 deleted"), "{}", shown.stdout);
    bench.run(&["reconcile", "--run", &run]).expect(0);

    // The same again changes nothing.
    load(&bench, &changed);
    assert_eq!(rows(&bench, "id v"), after);
    assert_tidy(&bench, "t");
    assert!(bench.all_files("lake/t/_transload/staging").is_empty());

    // Nothing but delete markers.
    let gone = [1, 2, 4, 5].map(|id| json!({ "id": id, "v": "", "op": "D" }));
    assert_eq!(counts(&load(&bench, &gone)), [4, 0, 4]);
    assert_eq!(rows(&bench, "id v"), json!([]));
}

#[test]
fn a_key_can_be_of_several_columns_and_types() {
    let table = |to: &str, layout: &str| {
        format!(
            "{{ from: t, to: {to}, key: [name, amount, at, day], mode: merge, columns: {{ amount: {{ cast: \"decimal(9,2)\" }}, \
             at: {{ cast: \"timestamp(us, UTC)\" }}, day: {{ cast: date }} }}{layout} }}"
        )
    };
    let parts = table("parts", ", partition_by: [ { identity: day }, { identity: name } ]");
    let bench = bench(&format!("{}, {parts}", table("plain", "")));
    let row = |name: &str, amount: &str, micros: u64, day: u64, v: i64| {
        let at = format!("2024-01-01T10:00:00.{micros:06}Z");
        json!({ "name": name, "amount": amount, "at": at, "day": format!("2024-01-{day:02}"), "v": v })
    };
    let first = [
        row("ä", "1.50", 1, 1, 10),
        row("ä", "1.51", 1, 1, 20),
        row("ä", "1.50", 2, 1, 30),
        row("A", "1.50", 1, 1, 40),
        row("ä", "1.50", 1, 2, 50),
        row("ä", "-1.50", 1, 1, 60),
    ];
    load(&bench, &first);
    let second =
        [row("ä", "1.5", 1, 1, 11), row("ä", "1.50", 2, 1, 31), row("ä", "1.50", 1, 2, 51), row("a", "1.50", 1, 1, 70)];
    load(&bench, &second);
    let expected = json!([[11], [20], [31], [40], [51], [60], [70]]);
    for to in ["plain", "parts"] {
        assert_eq!(rows_in(&bench, &format!("lake/{to}"), "v"), expected, "{to}");
        assert_tidy(&bench, to);
    }
}

#[test]
fn a_row_can_move_to_another_partition() {
    let bench = bench("{ from: t, key: [id], mode: merge, partition_by: [ { identity: part } ] }");
    let row = |id: i64, part: Option<&str>| json!({ "id": id, "part": part });
    load(&bench, &[row(1, Some("a")), row(2, Some("a")), row(3, Some("b")), row(4, None)]);
    load(&bench, &[row(2, Some("b")), row(4, Some("a"))]);
    assert_eq!(rows(&bench, "id part"), json!([[1, "a"], [2, "b"], [3, "b"], [4, "a"]]));
    let entry = &log(&bench, "t")[1];
    // Two new files, and what is left of one that held a row with another key.
    assert_eq!((paths(entry, "remove").len(), paths(entry, "add").len()), (2, 3), "{entry:?}");
    assert!(paths(entry, "remove").iter().all(|path| !path.starts_with("part=b")), "{entry:?}");
    assert_tidy(&bench, "t");
}

#[test]
fn files_without_a_key_of_the_load_are_neither_read_nor_written() {
    let bench = bench("{ from: t, key: [id], mode: append }");
    let ids = |ids: &[i64]| ids.iter().map(|id| json!({ "id": id, "v": "old" })).collect::<Vec<Value>>();
    for of in [[1, 2, 3], [11, 12, 13], [21, 22, 23]] {
        load(&bench, &ids(&of));
    }
    let file = |version: usize| {
        let entry = &log(&bench, "t")[version];
        assert_eq!(paths(entry, "add").len(), 1);
        bench.path("lake/t").join(paths(entry, "add")[0])
    };
    let untouched = [file(0), file(2)].map(|path| (std::fs::read(&path).unwrap(), path));
    for (_, path) in &untouched {
        std::fs::write(path, "nobody can read this").unwrap();
    }
    bench.write("p.yaml", pipeline("{ from: t, key: [id], mode: merge, reconcile: { level: none } }"));
    given(&bench, &[json!({ "id": 12, "v": "new" }), json!({ "id": 15, "v": "new" })]);
    bench.run(&["run", "p.yaml"]).expect(0);
    for (content, path) in &untouched {
        std::fs::write(path, content).unwrap();
    }
    let entries = log(&bench, "t");
    assert_eq!(paths(&entries[3], "remove"), paths(&entries[1], "add"));
    assert_eq!(paths(&entries[3], "add").len(), 2);
    let found = rows(&bench, "id v").as_array().unwrap().clone();
    let news: Vec<&Value> = found.iter().filter(|row| row[1] == "new").map(|row| &row[0]).collect();
    assert_eq!((found.len(), news), (10, vec![&json!(12), &json!(15)]));
}

/// Changes every action of an entry.
fn edit(bench: &Bench, version: u64, change: impl Fn(&mut Value)) {
    let text = std::fs::read_to_string(entry_of(bench, version)).unwrap();
    let changed = text.lines().map(|line| {
        let mut action: Value = serde_json::from_str(line).unwrap();
        change(&mut action);
        format!("{action}\n")
    });
    std::fs::write(entry_of(bench, version), changed.collect::<String>()).unwrap();
}

/// The rows of the target's table `t` as transload reads them, sorted as texts: `deltalake` does not read every table.
fn rows_back(bench: &Bench, columns: &str) -> Value {
    bench.write(
        "back.yaml",
        "version: 1\npipeline: back\nsource: { delta: { url: lake } }\ntarget: { lake: { url: back } }\ntables: [ { from: t } ]\n",
    );
    bench.run(&["run", "back.yaml"]).expect(0);
    let script = "table = pq.read_table('back/t')\n\
        print(json.dumps(sorted(zip(*[table[name].to_pylist() for name in 'COLUMNS'.split()]), key=str)))";
    serde_json::from_str(&python(bench, &script.replace("COLUMNS", columns))).unwrap()
}

#[test]
fn rows_are_merged_into_a_table_that_becomes_wider_and_has_keys_that_are_null() {
    let bench = Bench::new();
    python(
        &bench,
        "def write(name, ids, ty, nullable):\n    schema = pa.schema([pa.field('id', ty, nullable), pa.field('v', ty)])\n    \
         columns = [pa.array(ids, ty), pa.array([i and 10 * i for i in ids], ty)]\n    \
         pq.write_table(pa.table(columns, schema=schema), file_of(name))\n\
         write('old', [1, 2, None], pa.int32(), True)\n\
         write('older', [5], pa.int32(), True)\n\
         write('new', [2, 2**40], pa.int64(), False)",
    );
    let run = |from: &str, mode: &str| {
        let tables = format!("{{ from: {from}, to: t, key: [id], mode: {mode} }}");
        let target = "{ delta: { url: lake, schema: widen, types: files } }";
        bench.write(
            "p.yaml",
            format!(
                "version: 1\npipeline: test\nsource: {{ lake: {{ url: src }} }}\ntarget: {target}\ntables: [ {tables} ]\n"
            ),
        );
        bench.run(&["run", "p.yaml"])
    };
    run("older", "append").expect(0);
    run("old", "append").expect(0);
    // Of these files nobody knows what is in them, nor how much.
    for version in 0..2 {
        edit(&bench, version, |action| {
            if let Some(add) = action.get_mut("add").and_then(Value::as_object_mut) {
                add.remove("stats");
            }
        });
    }
    let far = 1u64 << 40;
    let expected = json!([[1, 10], [far, 10 * far], [2, 20], [5, 50], [null, null]]);
    // The second time the table is wider already, and one of its files is not.
    for version in 2..4 {
        let merged = run("new", "merge").expect(0);
        assert_eq!(merged.last_line()["tables"][0]["verdict"], "match", "{version}");
        assert_eq!(rows_back(&bench, "id v"), expected);
    }
    let entries = log(&bench, "t");
    assert_eq!(paths(&entries[2], "remove"), paths(&entries[1], "add"));
    let added: Vec<String> = paths(&entries[2], "add").iter().map(|path| format!("lake/t/{path}")).collect();
    assert_eq!(added.len(), 2);
    let types = format!("print({{str(pq.read_schema(f).types) for f in {added:?}}})");
    assert_eq!(python(&bench, &types), "{'[DataType(int64), DataType(int64)]'}\n");
    assert_tidy(&bench, "t");
}

#[test]
fn rows_are_merged_into_a_file_with_a_deletion_vector() {
    let bench = bench("{ from: t, key: [id], mode: append }");
    let row = |id: i64, v: &str| json!({ "id": id, "v": v });
    load(&bench, &[row(1, "old"), row(2, "old"), row(3, "old"), row(4, "old")]);
    // It takes out the rows at the places 0 and 2.
    let vector = json!({
        "storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000315c8Xg00062", "sizeInBytes": 36,
        "cardinality": 2,
    });
    edit(&bench, 0, |action| {
        if action.get("protocol").is_some() {
            let features = json!(["deletionVectors"]);
            *action = json!({ "protocol": {
                "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features,
            } });
        } else if let Some(add) = action.get_mut("add") {
            add["deletionVector"] = vector.clone();
        }
    });
    assert_eq!(rows_back(&bench, "id v"), json!([[2, "old"], [4, "old"]]));
    bench.write("p.yaml", pipeline("{ from: t, key: [id], mode: merge }"));
    load(&bench, &[row(2, "new"), row(3, "new")]).says("nothing is left that they should have taken away");
    assert_eq!(rows_back(&bench, "id v"), json!([[2, "new"], [3, "new"], [4, "old"]]));
    let entry = &log(&bench, "t")[1];
    let removes: Vec<&Value> = entry.iter().filter_map(|action| action.get("remove")).collect();
    assert_eq!(removes.len(), 1);
    for name in ["storageType", "pathOrInlineDv", "sizeInBytes", "cardinality"] {
        assert_eq!(removes[0]["deletionVector"][name], vector[name], "{name}");
    }
    assert!(entry.iter().all(|action| action["add"]["deletionVector"].is_null()));
    assert_tidy(&bench, "t");
}

#[test]
fn a_key_that_comes_twice_or_is_null_stops_the_load() {
    let bench = bench(CHANGES);
    let row = |id: Option<i64>, v: &str, op: &str| json!({ "id": id, "v": v, "op": op });
    load(&bench, &[row(Some(1), "a", "I")]);
    let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    for (check, rows) in [
        ("unique", [row(Some(1), "b", "U"), row(Some(1), "c", "U")]),
        ("unique", [row(Some(1), "b", "U"), row(Some(1), "b", "D")]),
        ("not_null", [row(Some(1), "b", "U"), row(None, "c", "I")]),
        ("not_null", [row(Some(1), "b", "U"), row(None, "c", "D")]),
    ] {
        assert_eq!(planned.matches(check).count(), 1, "{planned}");
        given(&bench, &rows);
        bench.run(&["run", "p.yaml"]).expect(4).says(check);
        assert_eq!(log(&bench, "t").len(), 1, "{rows:?}");
        assert_tidy(&bench, "t");
        assert!(bench.all_files("lake/t/_transload/staging").is_empty(), "{rows:?}");
    }
    assert_eq!(rows(&bench, "id v"), json!([[1, "a"]]));
}

#[test]
fn killed_at_any_point_a_resumed_merge_ends_like_an_undisturbed_one() {
    let base = bench(
        "{ from: t, key: [id], mode: { merge: { deleted: \"op = 'D'\" } }, partition_by: [ { identity: part } ] }",
    );
    let row = |id: i64, part: &str, op: &str| json!({ "id": id, "part": part, "op": op });
    load(&base, &[row(1, "a", "I"), row(2, "a", "I"), row(3, "b", "I"), row(4, "b", "I"), row(5, "c", "I")]);
    given(&base, &[row(2, "b", "U"), row(3, "b", "D"), row(5, "c", "D"), row(6, "c", "I")]);
    let undisturbed = copy(&base);
    let line = undisturbed.run(&["run", "p.yaml"]).expect(0).last_line();
    let expected = json!([[1, "a", "I"], [2, "b", "U"], [4, "b", "I"], [6, "c", "I"]]);
    assert_eq!(rows(&undisturbed, "id part op"), expected);

    let begins = ["run.", "unit.", "stage.", "commit.begun", "commit.manifest", "commit.published"];
    let points = POINTS.iter().filter(|point| begins.iter().any(|b| point.starts_with(b)) && **point != "run.aside");
    let mut deaths: Vec<Vec<&str>> = points.chain(&MERGE_POINTS).map(|point| vec![*point]).collect();
    assert!(deaths.len() >= 11, "{deaths:?}");
    // What one process has begun, the next one begins anew, and dies as well.
    deaths.push(vec!["commit.manifest", "merge.rewritten", "commit.published"]);
    let mut benches = vec![undisturbed];
    for points in deaths {
        let bench = copy(&base);
        for (number, point) in points.iter().enumerate() {
            let run = bench.newest_run();
            let args = if number == 0 { ["run", "p.yaml"] } else { ["resume", run.as_str()] };
            bench.run_with_faults(&args, &format!("{point}=return(kill)")).expect(-1);
            let place = |point: &str| POINTS.iter().position(|p| *p == point);
            let published = place(point) >= place("commit.published");
            assert_eq!(log(&bench, "t").len(), if published { 2 } else { 1 }, "{points:?}");
        }
        let resumed = bench.run(&["resume", &bench.newest_run()]).expect(0).last_line();
        for key in ["read", "written", "deleted", "digest", "verdict"] {
            assert_eq!(resumed["tables"][0][key], line["tables"][0][key], "{key} after {points:?}");
        }
        assert_eq!(log(&bench, "t").len(), 2, "{points:?}");
        assert_tidy(&bench, "t");
        assert!(bench.all_files("lake/t/_transload/staging").is_empty(), "{points:?}");
        benches.push(bench);
    }
    let tables: Vec<PathBuf> = benches.iter().map(|bench| bench.path("lake/t")).collect();
    let script = "from deltalake import DeltaTable\n\
        print(len({str(sorted(map(str, DeltaTable(t).to_pyarrow_table().to_pylist()))) for t in TABLES}))";
    assert_eq!(python(&benches[0], &script.replace("TABLES", &format!("{tables:?}"))), "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_at_the_same_time_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (writers, commits) = (4, 6);
    // Everybody's key is there once, and each writer's own.
    let keys = merged_by_many(&endpoint(dir.path()), "busy", writers, commits).await.unwrap();
    assert_eq!(keys, 1 + 4 * 6 / 2);
    let entries = std::fs::read_dir(dir.path().join("busy/_delta_log")).unwrap();
    let entries = entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count();
    assert_eq!(entries, 1 + 4 * 6);
}

/// A table of two partitions with a file each.
fn two_files() -> Bench {
    let bench = bench("{ from: t, key: [id], mode: merge, partition_by: [ { identity: part } ] }");
    let row = |id: i64, part: &str| json!({ "id": id, "v": "old", "part": part });
    load(&bench, &[row(1, "a"), row(2, "a"), row(11, "b"), row(12, "b")]);
    bench
}

/// Loads what is given, and before its entry is written, somebody else writes `action`.
fn beside(bench: &Bench, faults: &str, action: &Value) -> Outcome {
    let load = Started::new(bench, &["run", "p.yaml"], &format!("commit.recorded=1*sleep(3000)->off{faults}"));
    wait_until("about to commit", || bench.all_files("lake/t/_transload/commits").len() == 2);
    std::fs::write(entry_of(bench, 1), format!("{action}\n")).unwrap();
    load.ended()
}

/// What adds the same rows again that lie in a partition of the first version, or takes them out.
fn action_of(bench: &Bench, what: &str, part: &str) -> Value {
    let entry = &log(bench, "t")[0];
    let mut add = entry.iter().find(|a| a["add"]["partitionValues"]["part"] == part).unwrap()["add"].clone();
    if what == "remove" {
        return json!({ "remove": {
            "path": add["path"], "deletionTimestamp": 1, "dataChange": true, "extendedFileMetadata": true,
            "partitionValues": add["partitionValues"], "size": add["size"],
        } });
    }
    let (path, again) = (add["path"].as_str().unwrap().to_string(), format!("part={part}/again.parquet"));
    std::fs::copy(bench.path("lake/t").join(path), bench.path("lake/t").join(&again)).unwrap();
    add["path"] = json!(again);
    json!({ "add": add })
}

#[test]
fn what_another_writer_does_during_a_merge_is_not_lost() {
    let base = two_files();
    given(&base, &[json!({ "id": 2, "v": "new", "part": "a" })]);
    let (one, two) = (json!([1, "old"]), json!([2, "new"]));
    let (eleven, twelve) = (json!([11, "old"]), json!([12, "old"]));
    for (what, part, faults, expected) in [
        // What was written anew is right still, and not written once more.
        ("add", "b", ";merge.found=1*off->return(permanent)", json!([one, eleven, eleven, twelve, twelve, two])),
        ("add", "a", "", json!([one, one, eleven, twelve, two])),
        ("remove", "a", "", json!([eleven, twelve, two])),
    ] {
        let bench = copy(&base);
        let ended = beside(&bench, faults, &action_of(&bench, what, part)).expect(0);
        assert_eq!(ended.last_line()["tables"][0]["verdict"], "match");
        assert_eq!(rows(&bench, "id v"), expected, "{what} {part}");
        assert_eq!(log(&bench, "t").len(), 3);
        assert_tidy(&bench, "t");
        assert!(bench.all_files("lake/t/_transload/staging").is_empty());
    }
}

#[test]
fn a_partition_that_another_writer_changes_is_not_replaced() {
    let base = two_files();
    base.write(
        "p.yaml",
        pipeline("{ from: t, key: [id], mode: replace_partitions, partition_by: [ { identity: part } ] }"),
    );
    given(&base, &[json!({ "id": 5, "v": "new", "part": "a" })]);
    let bench = copy(&base);
    beside(&bench, "", &action_of(&bench, "add", "b")).expect(0);
    let expected = json!([[11, "old"], [11, "old"], [12, "old"], [12, "old"], [5, "new"]]);
    assert_eq!(rows(&bench, "id v"), expected);
    let bench = copy(&base);
    beside(&bench, "", &action_of(&bench, "add", "a")).expect(75).says("other writers changed the table");
    assert_eq!(log(&bench, "t").len(), 2);
}

#[test]
fn only_those_partitions_are_replaced_that_have_rows() {
    let bench = bench(
        "{ from: t, mode: replace_partitions, partition_by: [ { identity: day }, { identity: part } ], \
         columns: { day: { cast: date } } }",
    );
    let row =
        |id: i64, day: u64, part: Option<&str>| json!({ "id": id, "day": format!("2024-01-{day:02}"), "part": part });
    let (a, b) = (Some("a"), Some("b"));
    // A table that is missing is made.
    load(&bench, &[row(1, 1, a), row(2, 1, b), row(3, 2, a), row(4, 2, a), row(5, 2, None), row(6, 3, None)]);
    let replaced = load(&bench, &[row(7, 2, a), row(8, 2, None), row(9, 4, a)]);
    let found = rows(&bench, "id");
    assert_eq!(found, json!([[1], [2], [6], [7], [8], [9]]));
    let entry = &log(&bench, "t")[1];
    assert_eq!((paths(entry, "remove").len(), paths(entry, "add").len()), (2, 3), "{entry:?}");
    replaced.says("nothing is left that they should have taken away");
    // Without rows no partition is replaced, and nothing is compared.
    given(&bench, &[json!({ "id": 1, "day": "2024-01-01", "part": "a" })]);
    bench.run(&["run", "p.yaml", "--set", "filter=id > 1"]).expect(9);
    assert_eq!(rows(&bench, "id"), found);
    assert_tidy(&bench, "t");
}

#[test]
fn rows_that_came_late_are_read_again_and_merged() {
    let bench = bench(
        "{ from: t, key: [id], mode: { incremental: { cursor: at, lookback_secs: 3600, deleted: \"gone = 'true'\" } }, \
         columns: { at: { cast: \"timestamp(us, UTC)\" }, gone: { drop: true } } }",
    );
    let row = |id: i64, at: &str, v: &str, gone: bool| json!({ "id": id, "at": format!("2024-01-01T{at}:00Z"), "v": v, "gone": gone });
    load(&bench, &[row(1, "09:00", "a", false), row(2, "11:00", "b", false), row(3, "11:00", "c", false)]);
    let later = [
        // Not looked at any more.
        row(1, "09:59", "A", false),
        row(2, "11:00", "B", false),
        row(3, "10:00", "c", true),
        row(4, "10:30", "d", false),
        row(5, "12:00", "e", false),
    ];
    given(&bench, &later);
    let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    assert!(planned.contains("from 3600 seconds before 2024-01-01"), "{planned}");
    let [_, written, deleted] = counts(&load(&bench, &later));
    assert_eq!((written, deleted), (3, 1));
    let expected = json!([[1, "a"], [2, "B"], [4, "d"], [5, "e"]]);
    assert_eq!(rows(&bench, "id v"), expected);
    // What is read again changes nothing.
    let [_, written, deleted] = counts(&load(&bench, &later));
    assert_eq!((written, deleted), (2, 0));
    assert_eq!(rows(&bench, "id v"), expected);
}

/// As if a commit had not taken out of the table what it should have.
fn without_removes(bench: &Bench, version: u64) {
    let text = std::fs::read_to_string(entry_of(bench, version)).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("{\"remove\"")).collect();
    assert!(kept.len() < text.lines().count(), "{text}");
    std::fs::write(entry_of(bench, version), kept.join("\n")).unwrap();
}

#[test]
fn what_is_left_where_it_should_be_gone_is_found() {
    let row = |id: i64, op: &str| json!({ "id": id, "v": "x", "op": op });
    let merged = ([row(1, "I"), row(2, "I"), row(3, "I")], [row(2, "U"), row(3, "D"), row(4, "I")]);
    let replaced = ([row(1, "I"), row(2, "U"), row(3, "D")], [row(5, "U"), row(6, "U"), row(7, "U")]);
    let by_op = "{ from: t, key: [id], mode: replace_partitions, partition_by: [ { identity: op } ] }";
    for (table, (before, after), left) in [(CHANGES, merged, vec![2, 3]), (by_op, replaced, vec![2])] {
        let bench = bench(table);
        load(&bench, &before);
        let run = load(&bench, &after).last_line()["run_id"].as_str().unwrap().to_string();
        let compared = bench.run(&["reconcile", "--run", &run]).expect(0).last_line();
        assert_eq!(compared["tables"][0]["coverage"]["held_against_others"], 3);
        without_removes(&bench, 1);
        let count = left.len();
        let said = format!("{count} left that the load should have taken away");
        let compared = bench.run(&["reconcile", "--run", &run]).expect(5).says(&said).last_line();
        let found = &compared["tables"][0];
        assert_eq!((&found["read"], &found["verdict"]), (&json!(3), &json!("mismatch")));
        let expected = json!({
            "missing_in_target": 0, "extra_in_target": count, "left_in_target": count, "changed": 0, "multiplicity": 0,
            "columns": [],
        });
        assert_eq!(found["differences"], expected);
        let script = "for row in sorted(pq.read_table('FOLDER').to_pylist(), key=lambda row: row['id']): \
                      print(row['_difference'], row['id'], row['_source_rows'], row['_target_rows'])";
        let evidence = python(&bench, &script.replace("FOLDER", found["evidence"].as_str().unwrap()));
        let expected: Vec<String> = left.iter().map(|id| format!("left_in_target {id} 1 1\n")).collect();
        // In the partition that was to be replaced there are all rows of the load.
        let expected = if table == by_op { expected.concat().replace(" 1 1", " 3 1") } else { expected.concat() };
        assert_eq!(evidence, expected);
    }
}

#[test]
fn what_was_not_looked_at_is_said() {
    let bench = bench(CHANGES);
    load(&bench, &[json!({ "id": 1, "v": "a", "op": "I" })]);
    let ran = bench.run(&["run", "p.yaml", "--set", "reconcile.level=count"]).expect(0).last_line();
    let run = ran["run_id"].as_str().unwrap();
    let coverage = &bench.run(&["reconcile", "--run", run]).expect(0).last_line()["tables"][0]["coverage"];
    let expected = json!([["what the load should have taken away", "the pipeline asks for the level count only"]]);
    assert_eq!(coverage["not_looked_at"], expected);
    assert!(coverage["held_against_others"].is_null());
    let shown = bench.run(&["show", run]).expect(0).stdout;
    assert!(shown.contains("not compared what the load should have taken away"), "{shown}");
}

#[test]
fn what_is_put_aside_of_a_merge_is_added_later() {
    let columns = "n: { cast: int64, on_misfit: quarantine }";
    let bench = bench(&format!("{{ from: t, key: [id], mode: merge, columns: {{ {columns} }} }}"));
    let row = |id: i64, n: &str| json!({ "id": id, "n": n, "op": "I" });
    let aside = load(&bench, &[row(1, "10"), row(2, "much"), row(3, "more")]);
    assert_eq!((counts(&aside), &aside.last_line()["tables"][0]["quarantined"]), ([3, 1, 0], &json!(2)));
    bench.write("patch.csv", "_split,_position,n\n0,1,20\n");
    let run = aside.last_line()["run_id"].as_str().unwrap().to_string();
    let replayed = bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0).last_line();
    assert_eq!(replayed["tables"][0]["verdict"], "match");
    load(&bench, &[row(1, "11")]);
    assert_eq!(rows(&bench, "id n"), json!([[1, 11], [2, 20]]));

    // A marker could only be merged.
    bench.write(
        "p.yaml",
        pipeline(&format!(
            "{{ from: t, key: [id], mode: {{ merge: {{ deleted: \"op = 'D'\" }} }}, columns: {{ {columns} }} }}"
        )),
    );
    let aside = load(&bench, &[row(1, "11"), row(4, "much")]);
    let run = aside.last_line()["run_id"].as_str().unwrap().to_string();
    bench.run(&["replay", &run]).expect(3).says("is not replayed");
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let bench = bench(CHANGES);
    load(&bench, &[json!({ "id": 1, "v": "a", "op": "I" })]);
    let no_condition = pipeline(&CHANGES.replace("op = 'D'", "id + 1"));
    let column = no_condition.lines().nth(4).unwrap().find("\"id + 1\"").unwrap() + 1;
    bench.write("p.yaml", no_condition);
    let said = bench.run(&["plan", "p.yaml"]).expect(3).says("`deleted` must be true or false, and this is Int64");
    said.says(&format!("p.yaml:5:{column}"));

    let evolving = |table: &str| pipeline(table).replace("url: lake }", "url: lake, schema: evolve }");
    bench.write("p.yaml", evolving("{ from: t, key: [id, op], mode: merge }"));
    bench.run(&["run", "p.yaml"]).expect(3).says("the table has no column `op`, which is of the key");

    let made = |property: &str| {
        let script = "from deltalake import write_deltalake\nimport shutil\nshutil.rmtree('lake/t')\n\
            table = pa.table({'id': pa.array([1], pa.int64()), 'v': ['a']})\n\
            write_deltalake('lake/t', table, configuration={'PROPERTY': 'true'})";
        python(&bench, &script.replace("PROPERTY", property));
        bench.write("p.yaml", pipeline(CHANGES));
    };
    made("delta.appendOnly");
    bench.run(&["run", "p.yaml"]).expect(3).says("the table only takes added rows");
    made("delta.enableChangeDataFeed");
    bench.run(&["run", "p.yaml"]).expect(3).says("hangeDataFeed");
}
