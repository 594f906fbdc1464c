//! Delta tables: what we write others read right, what others write we read right, and a load that fails leaves nothing.
//!
//! The other program is the Python package `deltalake`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use transload_core::secret::NoReferences;
use transload_core::{Connector, Endpoint};
use transload_testkit::added_by_many;

use crate::compat::{computed, python};
use crate::harness::Bench;

/// Two splits, several folders.
const PIPELINE: &str = "version: 1\npipeline: test\nsource: { tpch: { scale: 0.08 } }\ntarget: { delta: { url: lake } }\ntables:\n  \
    - from: orders\n    key: [o_orderkey]\n    partition_by: [ { identity: o_orderstatus } ]\n  \
    - from: lineitem\n    to: deep/lineitem\n    key: [l_orderkey, l_linenumber]\n    columns: { l_comment: { drop: true } }\n";

pub(crate) fn endpoint(url: &std::path::Path) -> Arc<dyn Endpoint> {
    let options = serde_json::from_value(json!({ "url": url })).unwrap();
    transload_delta::Delta.parse(&options, Arc::new(NoReferences)).map_err(|p| format!("{p:?}")).unwrap()
}

/// The entries of a table's log, each with its actions.
pub(crate) fn log(bench: &Bench, table: &str) -> Vec<Vec<Value>> {
    let entries = bench.all_files(&format!("lake/{table}/_delta_log"));
    let entries =
        entries.iter().filter(|p| p.extension().is_some_and(|e| e == "json") && !p.ends_with("_last_checkpoint"));
    let actions = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    entries.map(actions).collect()
}

/// Every data file that is there is in the log.
pub(crate) fn assert_tidy(bench: &Bench, table: &str) {
    let named: BTreeSet<String> = log(bench, table)
        .iter()
        .flatten()
        // No two files have one name, and the log spells folders in its own way.
        .filter_map(|action| Some(action["add"]["path"].as_str()?.rsplit('/').next()?.to_string()))
        .collect();
    for file in bench.data_files(&format!("lake/{table}")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(named.contains(name), "{} is in no entry of the log of {table}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let delta = endpoint(dir.path());
    let rows = added_by_many(&delta, "busy", 16, 20).await.unwrap();
    assert_eq!(rows, 16 * 20 * 10);
    let entries = std::fs::read_dir(dir.path().join("busy/_delta_log")).unwrap();
    let entries = entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count();
    assert_eq!(entries, 16 * 20);
}

#[test]
fn a_load_that_fails_leaves_no_file_and_no_table() {
    for fault in ["stage.written=return(permanent)", "commit.manifest=return(permanent)"] {
        let bench = Bench::new();
        bench.write("p.yaml", PIPELINE);
        bench.run_with_faults(&["run", "p.yaml"], fault).expect(3);
        assert!(bench.all_files("lake").is_empty(), "{fault}: {:?}", bench.all_files("lake"));
    }
}

#[test]
fn what_is_written_is_read_right_by_deltalake() {
    let bench = Bench::new();
    python(
        &bench,
        "t = core().drop_columns(['u8', 'u16', 'u32', 'u64', 'time', 'uuid', 'ts_s', 'ts_ms', 'ts_ns', 'utc_ms', 'utc_ns', 'packed']); pq.write_table(t, file_of('core')); os.rename('src/core', 'src/t')",
    );
    let pipeline = |mode: &str| {
        format!(
            "version: 1\npipeline: test\nsource: {{ lake: {{ url: src }} }}\ntarget: {{ delta: {{ url: lake }} }}\n\
             tables:\n  - {{ from: t, to: plain, key: [id], mode: {mode} }}\n  \
             - {{ from: t, to: parts, key: [id], mode: {mode}, partition_by: [ {{ identity: flag }}, {{ identity: i8 }}, {{ identity: day }} ] }}\n"
        )
    };
    bench.write("p.yaml", pipeline("full"));
    let read = "from deltalake import DeltaTable\n\
        def table(name):\n    t = DeltaTable(f'lake/{name}').to_pyarrow_table()\n    return t.select(pq.read_schema('src/t/f.parquet').names)\n\
        print_digests({name: table(name) for name in ['plain', 'parts']})";
    for _ in 0..2 {
        let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
        let ours: Vec<&str> =
            line["tables"].as_array().unwrap().iter().map(|t| t["digest"].as_str().unwrap()).collect();
        let theirs = computed(&bench, read);
        assert_eq!(theirs["plain"], ours[0]);
        // Folders are text for them as for us, and come back as what they were.
        assert_eq!(theirs["parts"], ours[1]);
    }
    bench.write("p.yaml", pipeline("append"));
    bench.run(&["run", "p.yaml"]).expect(0);
    let rows = python(
        &bench,
        "from deltalake import DeltaTable\nfor n in ['plain', 'parts']: print(DeltaTable(f'lake/{n}').to_pyarrow_table().num_rows)",
    );
    assert_eq!(rows, "12\n12\n");
}

#[test]
fn bounds_in_the_log_leave_no_row_out() {
    let bench = Bench::new();
    python(
        &bench,
        "t = core().select(['id', 'd9', 'd38', 'text', 'day', 'ts_us', 'utc_us', 'i64', 'flag']).append_column('f64', pa.array([0.0, -0.0, 1.5, None, -7.25, 5e-324])); pq.write_table(t, file_of('t'))",
    );
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: src } }\ntarget: { delta: { url: lake } }\ntables: [ { from: t, key: [id] } ]\n",
    );
    bench.run(&["run", "p.yaml"]).expect(0);
    // Whatever a condition asks for, reading with the log's bounds gives what reading everything gives. (Columns with a
    // NaN or an infinity have no bounds, which this reader takes for bounds that nothing fits.)
    let said = python(
        &bench,
        "from deltalake import DeltaTable\nimport pyarrow.compute as pc\n\
         whole = pq.read_table('src/t/f.parquet')\n\
         data = DeltaTable('lake/t').to_pyarrow_dataset()\n\
         n = 0\n\
         for name in whole.column_names:\n\
         \x20   for value in whole[name].drop_null().unique():\n\
         \x20       for op in (lambda a, b: a == b, lambda a, b: a >= b, lambda a, b: a <= b):\n\
         \x20           condition = op(ds.field(name), value)\n\
         \x20           assert data.to_table(filter=condition).num_rows == ds.dataset('src/t/f.parquet').to_table(filter=condition).num_rows, (name, value)\n\
         \x20           n += 1\n\
         print(n)",
    );
    assert!(said.trim().parse::<u32>().unwrap() > 100, "{said}");
}

/// Tables as deltalake leaves them: appended to, overwritten, partitioned, grown, compacted, vacuumed, with a checkpoint.
const THEIRS: &str = r#"
from deltalake import DeltaTable, write_deltalake
t = core().drop_columns(['u8', 'u16', 'u32', 'u64', 'time', 'uuid', 'ts_s', 'ts_ms', 'ts_ns', 'utc_ms', 'utc_ns', 'packed', 'map', 'deep', 'pair'])
n = pa.table({'id': pa.array(range(100), pa.int64()), 'p': [None if i % 9 == 0 else f'a/{i % 3} ü=%' for i in range(100)],
              'd': [dt.date(2024, 1, 1 + i % 4) for i in range(100)], 'v': [f'v{i}' for i in range(100)]})
write_deltalake('src/core', t)
write_deltalake('src/appended', t)
write_deltalake('src/appended', t, mode='append')
write_deltalake('src/overwritten', n)
write_deltalake('src/overwritten', t, mode='overwrite', schema_mode='overwrite')
write_deltalake('src/parted', n, partition_by=['p', 'd'])
write_deltalake('src/grown', n.select(['id', 'v']))
write_deltalake('src/grown', n, mode='append', schema_mode='merge')
for i in range(12):
    write_deltalake('src/busy', n.slice(i * 8, 8), mode='append')
d = DeltaTable('src/busy'); d.create_checkpoint(); d.optimize.compact(); d.vacuum(0, dry_run=False, enforce_retention_duration=False)
d.delete('id < 10')
write_deltalake('src/deep/table', n)
expected = {name: DeltaTable(f'src/{name}').to_pyarrow_table() for name in ['core', 'appended', 'overwritten', 'grown', 'busy', 'deep/table']}
p = DeltaTable('src/parted').to_pyarrow_table()
expected['parted'] = p.select(['id', 'v', 'p', 'd'])
expected['appended@v0'] = t
print_digests(expected)
"#;

#[test]
fn what_deltalake_writes_is_read_right() {
    let bench = Bench::new();
    let theirs = computed(&bench, THEIRS);
    let tables: Vec<String> = theirs
        .keys()
        .map(|name| format!("{{ from: \"{name}\", to: {}, reconcile: {{ level: row }} }}", name.replace('@', "_")))
        .collect();
    bench.write(
        "p.yaml",
        format!(
            "version: 1\npipeline: test\nsource: {{ delta: {{ url: src }} }}\ntarget: {{ lake: {{ url: lake }} }}\ntables: [{}]\n",
            tables.join(", ")
        ),
    );
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    for (table, (name, digest)) in line["tables"].as_array().unwrap().iter().zip(&theirs) {
        assert_eq!(table["digest"].as_str().unwrap(), digest, "{name}");
        assert_eq!(table["verdict"], "match", "{name}");
    }
    let listed = bench.run(&["discover", "p.yaml", "--format", "json"]).expect(0);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let names: Vec<&str> = listed["tables"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["appended", "busy", "core", "deep/table", "grown", "overwritten", "parted"]);
}

#[test]
fn a_plan_reads_the_version_it_was_made_of() {
    let bench = Bench::new();
    python(&bench, "from deltalake import write_deltalake\nwrite_deltalake('src/t', pa.table({'id': [1, 2, 3]}))");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { delta: { url: src } }\ntarget: { lake: { url: lake } }\ntables: [ { from: t, key: [id] } ]\n",
    );
    bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
    python(
        &bench,
        "from deltalake import write_deltalake\nwrite_deltalake('src/t', pa.table({'id': [4]}), mode='append')",
    );
    let line = bench.run(&["run", "--plan", "plan.json"]).expect(0).last_line();
    assert_eq!((&line["tables"][0]["read"], &line["tables"][0]["verdict"]), (&json!(3), &json!("match")));
    // Another table under the same name is another table.
    python(
        &bench,
        "import shutil\nfrom deltalake import write_deltalake\nshutil.rmtree('src/t')\nwrite_deltalake('src/t', pa.table({'id': [1, 2, 3]}))",
    );
    bench.run(&["run", "--plan", "plan.json"]).expect(3).says("removed and made anew");
}

#[test]
fn columns_that_differ_are_refused_or_added_as_the_target_says() {
    let bench = Bench::new();
    let pipeline = |derive: &str, options: &str, mode: &str| {
        format!(
            "version: 1\npipeline: test\nsource: {{ tpch: {{ scale: 0.01 }} }}\ntarget: {{ delta: {{ url: lake{options} }} }}\n\
             tables: [ {{ from: nation, mode: {mode}{derive} }} ]\n"
        )
    };
    let grown = ", derive: { twice: \"n_nationkey * 2\" }";
    bench.write("p.yaml", pipeline("", "", "append"));
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("p.yaml", pipeline(grown, "", "append"));
    bench.run(&["run", "p.yaml"]).expect(3).says("the table has no column `twice`").says("schema: evolve");
    bench.write("p.yaml", pipeline(grown, ", schema: freeze", "full"));
    bench.run(&["run", "p.yaml"]).expect(3).says("the table has no column `twice`");
    bench.write("p.yaml", pipeline(grown, ", schema: evolve", "append"));
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("p.yaml", pipeline("", ", schema: evolve", "append"));
    bench.run(&["run", "p.yaml"]).expect(0);
    let said = python(
        &bench,
        "from deltalake import DeltaTable\nt = DeltaTable('lake/nation').to_pyarrow_table()\nprint(t.num_rows, t['twice'].null_count)",
    );
    assert_eq!(said, "75 50\n");
    bench.write("p.yaml", pipeline("", "", "full"));
    bench.run(&["run", "p.yaml"]).expect(0);
    let said = python(
        &bench,
        "from deltalake import DeltaTable\nprint(DeltaTable('lake/nation').to_pyarrow_table().column_names)",
    );
    assert!(!said.contains("twice"), "{said}");
}

#[test]
fn a_table_that_asks_too_much_is_refused_by_the_name_of_what_it_asks() {
    let bench = Bench::new();
    python(
        &bench,
        "from deltalake import write_deltalake\nfor n in 'abcde': write_deltalake(f'src/{n}', pa.table({'id': [1, 2, 3]}))",
    );
    let entry = |table: &str| bench.path(&format!("src/{table}/_delta_log/00000000000000000000.json"));
    let change = |table: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(entry(table)).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(entry(table), text.replace(from, to)).unwrap();
    };
    let protocol = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
    change(
        "a",
        protocol,
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["columnMapping","timeTravelToTheFuture"],"writerFeatures":["columnMapping","timeTravelToTheFuture"]}}"#,
    );
    change("b", protocol, r#"{"protocol":{"minReaderVersion":99,"minWriterVersion":99}}"#);
    std::fs::write(entry("c"), "{\"protocol\":{\"minReader").unwrap();
    std::fs::write(entry("d"), "").unwrap();
    for file in bench.data_files("src/e") {
        std::fs::remove_file(file).unwrap();
    }
    for (table, said) in [
        ("a", "timeTravelToTheFuture"),
        ("b", "99"),
        ("c", "log cannot be read"),
        ("d", "log cannot be read"),
        ("e", "no such"),
    ] {
        bench.write(
            "p.yaml",
            format!("version: 1\npipeline: test\nsource: {{ delta: {{ url: src }} }}\ntarget: {{ lake: {{ url: lake }} }}\ntables: [ {{ from: {table} }} ]\n"),
        );
        let refused = bench.run(&["run", "p.yaml"]).expect(3);
        assert!(refused.stderr.contains(said) && !refused.stderr.contains("panicked"), "{table}: {}", refused.stderr);
    }
}

#[test]
fn a_table_that_only_asks_too_much_of_writers_is_not_written() {
    let bench = Bench::new();
    python(
        &bench,
        "from deltalake import DeltaTable, write_deltalake\nwrite_deltalake('lake/nation', pa.table({'n_nationkey': pa.array([1], pa.int64())}))\n\
         DeltaTable('lake/nation').alter.add_constraint({'positive': 'n_nationkey >= 0'})",
    );
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { tpch: { scale: 0.01 } }\ntarget: { delta: { url: lake } }\ntables: [ { from: nation } ]\n",
    );
    bench.run(&["plan", "p.yaml"]).expect(3).says("checkConstraints");
}

#[test]
fn a_log_can_be_read_without_the_entries_before_a_checkpoint_and_not_without_both() {
    let bench = Bench::new();
    python(
        &bench,
        "from deltalake import DeltaTable, write_deltalake\nfor i in range(5): write_deltalake('src/t', pa.table({'id': [i]}), mode='append')\n\
         DeltaTable('src/t').create_checkpoint()\nfor i in range(4): os.remove(f'src/t/_delta_log/{i:020}.json')",
    );
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { delta: { url: src } }\ntarget: { lake: { url: lake } }\ntables: [ { from: t, key: [id] } ]\n",
    );
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!((&line["tables"][0]["read"], &line["tables"][0]["verdict"]), (&json!(5), &json!("match")));
    for file in bench.all_files("src/t/_delta_log") {
        if file.to_string_lossy().contains("checkpoint") {
            std::fs::remove_file(file).unwrap();
        }
    }
    bench.run(&["run", "p.yaml"]).expect(3).says("log cannot be read");
}

#[test]
fn a_folder_with_other_files_is_not_made_a_table() {
    let bench = Bench::new();
    bench.write("lake/nation/somebody.parquet", "x");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { tpch: { scale: 0.01 } }\ntarget: { delta: { url: lake } }\ntables: [ { from: nation } ]\n",
    );
    bench.run(&["plan", "p.yaml"]).expect(3).says("holds files and no Delta table");
    assert_eq!(bench.all_files("lake").len(), 1);
}

#[test]
fn a_table_is_not_made_inside_or_around_another_one() {
    let bench = Bench::new();
    let pipeline = |to: &str| {
        format!(
            "version: 1\npipeline: test\nsource: {{ tpch: {{ scale: 0.01 }} }}\ntarget: {{ delta: {{ url: lake }} }}\ntables: [ {{ from: nation, to: {to} }} ]\n"
        )
    };
    bench.write("p.yaml", pipeline("sales/nation"));
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("p.yaml", pipeline("sales"));
    bench.run(&["plan", "p.yaml"]).expect(3).says("holds files and no Delta table").says("sales/nation");
    bench.write("p.yaml", pipeline("sales/nation/more"));
    bench.run(&["plan", "p.yaml"]).expect(3).says("would lie inside the table in `sales/nation`");
}

#[test]
fn a_version_or_a_time_that_the_log_does_not_have_is_refused() {
    let bench = Bench::new();
    python(&bench, "from deltalake import write_deltalake\nwrite_deltalake('src/t', pa.table({'id': [1, 2, 3]}))");
    for (at, said) in
        [("v999", "no version 999"), ("19700101000000000", "does not reach back"), ("soon", "neither a version")]
    {
        bench.write(
            "p.yaml",
            format!("version: 1\npipeline: test\nsource: {{ delta: {{ url: src }} }}\ntarget: {{ lake: {{ url: lake }} }}\ntables: [ {{ from: \"t@{at}\", to: t }} ]\n"),
        );
        bench.run(&["plan", "p.yaml"]).expect(3).says(said);
    }
}

#[test]
fn a_table_that_only_takes_added_rows_is_not_replaced() {
    let bench = Bench::new();
    let pipeline = |property: &str, mode: &str| {
        format!(
            "version: 1\npipeline: test\nsource: {{ tpch: {{ scale: 0.01 }} }}\ntarget: {{ delta: {{ url: lake, properties: {{ {property} }} }} }}\ntables: [ {{ from: nation, mode: {mode} }} ]\n"
        )
    };
    bench.write("p.yaml", pipeline("delta.appendOnly: \"True\"", "full"));
    bench.run(&["check", "p.yaml"]).expect(3).says("`delta.appendOnly` cannot be True");
    bench.write("p.yaml", pipeline("delta.appendOnly: \"true\"", "full"));
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml"]).expect(3).says("the table only takes added rows");
    bench.write("p.yaml", pipeline("delta.appendOnly: \"true\"", "append"));
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn a_file_that_could_not_be_taken_out_keeps_a_table_from_being_replaced() {
    let bench = Bench::new();
    // As Spark spells it: in other programs' logs the letter is encoded.
    python(
        &bench,
        "from deltalake import write_deltalake\nfrom urllib.parse import quote\n\
         write_deltalake('lake/nation', pa.table({'p': ['München'], 'n_nationkey': pa.array([1], pa.int64())}), partition_by=['p'])\n\
         log = Path('lake/nation/_delta_log/00000000000000000000.json')\n\
         text = log.read_text()\nadd = [json.loads(l) for l in text.splitlines() if '\"add\"' in l][0]['add']['path']\n\
         from urllib.parse import unquote\nwhile unquote(add) != add: text = text.replace(add, unquote(add)); add = unquote(add)\n\
         log.write_text(text)\n\
         file = next(Path('lake/nation').glob('*/*.parquet')); to = Path('lake/nation') / add; to.parent.mkdir(exist_ok=True); file.rename(to)",
    );
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { tpch: { scale: 0.01 } }\ntarget: { delta: { url: lake } }\ntables: [ { from: nation } ]\n",
    );
    bench.run(&["run", "p.yaml"]).expect(3).says("spells a file's path in a way that cannot be repeated");
}
