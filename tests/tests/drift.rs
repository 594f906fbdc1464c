//! Columns of a source that change between two loads: every policy, in tables that keep their rows and in those that are
//! replaced.

use serde_json::{Value, json};

use crate::compat::python;
use crate::delta::log;
use crate::harness::{Bench, Outcome};
use crate::merge::given;

/// A table that is loaded from JSON lines into one kind of target.
struct Case {
    target: &'static str,
    /// Its settings, each with a comma behind it.
    table: &'static str,
}

const LAKE_APPEND: Case = Case { target: "lake: { url: lake }", table: "mode: append," };
const LAKE_FULL: Case = Case { target: "lake: { url: lake }", table: "mode: full," };
const DELTA_INCREMENTAL: Case =
    Case { target: "delta: { url: lake, schema: evolve }", table: "mode: { incremental: { cursor: id } }," };
const DELTA_AS_IT_IS: Case = Case { target: "delta: { url: lake }", table: "mode: { incremental: { cursor: id } }," };

impl Case {
    /// A bench where a table of three columns was loaded, and its source has one column less and another one now.
    fn bench(&self, policy: &str) -> Bench {
        let bench = Bench::new();
        let table = format!("{{ from: t, {} on_schema_change: {policy} }}", self.table);
        write_pipeline(&bench, self.target, &table);
        given(&bench, &[json!({ "id": 1, "v": "a", "w": 10 }), json!({ "id": 2, "v": "b", "w": 20 })]);
        let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
        let said = format!("schema     on change: {policy} (first load: nothing to compare with)");
        assert!(planned.contains(&said), "{planned}");
        arrived(&bench);
        given(&bench, &[json!({ "id": 3, "w": 30, "x": "new" }), json!({ "id": 4, "w": 40, "x": null })]);
        bench
    }
}

fn write_pipeline(bench: &Bench, target: &str, table: &str) {
    bench.write(
        "p.yaml",
        format!(
            "version: 1\npipeline: test\nsource: {{ lake: {{ url: src, format: json }} }}\ntarget: {{ {target} }}\n\
             tables:\n  - {table}\n"
        ),
    );
}

/// Loads the table, which must arrive.
#[track_caller]
fn arrived(bench: &Bench) -> Outcome {
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match", "{outcome:?}");
    outcome
}

fn counts(outcome: &Outcome) -> [u64; 3] {
    let table = &outcome.last_line()["tables"][0];
    ["read", "written", "filtered"].map(|name| table[name].as_u64().unwrap())
}

/// The rows of the target as another program reads them, sorted, each without what is NULL.
fn rows(bench: &Bench) -> Value {
    let script = "if os.path.exists('lake/t/_delta_log'):\n    \
            from deltalake import DeltaTable\n    rows = DeltaTable('lake/t').to_pyarrow_table().to_pylist()\n\
        else:\n    rows = [row for file in glob.glob('lake/t/**/*.parquet', recursive=True) for row in pq.read_table(file, partitioning=None).to_pylist()]\n\
        rows = [{name: value for name, value in row.items() if value is not None} for row in rows]\n\
        print(json.dumps(sorted(rows, key=lambda row: row['id'])))";
    serde_json::from_str(&python(bench, script)).unwrap()
}

/// The columns of the target's table, in its order.
fn columns(bench: &Bench) -> Vec<String> {
    let parsed = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let columns = match bench.all_files("lake/t/_transload/manifest").last() {
        Some(newest) => parsed(&std::fs::read_to_string(newest).unwrap())["columns"].clone(),
        None => {
            let entries = log(bench, "t").concat();
            let newest = entries.iter().rev().find_map(|action| action["metaData"]["schemaString"].as_str());
            parsed(newest.unwrap())["fields"].clone()
        }
    };
    columns.as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap().to_string()).collect()
}

/// The columns that the plan of the next load has something to say about.
fn changes(bench: &Bench) -> Value {
    let plan: Value =
        serde_json::from_str(&bench.run(&["plan", "p.yaml", "--format", "json"]).expect(0).stdout).unwrap();
    plan["tables"][0]["schema_change"].clone()
}

#[test]
fn a_frozen_table_takes_no_other_columns() {
    for case in [LAKE_APPEND, LAKE_FULL, DELTA_INCREMENTAL] {
        let bench = case.bench("freeze");
        for command in ["plan", "run"] {
            let said = bench.run(&[command, "p.yaml"]).expect(3).says("`x` is new, `v` is gone").says("p.yaml:6:");
            said.says("freeze }").says("hint: ");
        }
        let before = rows(&bench);
        assert_eq!(before, json!([{ "id": 1, "v": "a", "w": 10 }, { "id": 2, "v": "b", "w": 20 }]));
        given(&bench, &[json!({ "id": 3, "v": "c", "w": "many" })]);
        bench.run(&["run", "p.yaml"]).expect(3).says("`w` is text and was int64");
        // The order of columns is none of them.
        given(&bench, &[json!({ "w": 30, "id": 3, "v": "c" })]);
        arrived(&bench);
        assert_eq!(columns(&bench), ["id", "v", "w"]);
    }
}

#[test]
fn a_table_evolves_as_far_as_its_target_does() {
    // Delta adds columns, if it may.
    let bench = DELTA_INCREMENTAL.bench("evolve");
    let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    for said in ["on change: evolve\n", "x   text  new column", "v   text  gone from the source: NULL"] {
        assert!(planned.contains(said), "`{said}` is not in:\n{planned}");
    }
    let expected = json!([{ "column": "x", "change": "new" }, { "column": "v", "change": "gone" }]);
    assert_eq!(changes(&bench), json!({ "policy": "evolve", "compared": true, "changes": expected }));
    let run = arrived(&bench);
    assert_eq!(counts(&run), [2, 2, 0]);
    let old = [json!({ "id": 1, "v": "a", "w": 10 }), json!({ "id": 2, "v": "b", "w": 20 })];
    let new = [json!({ "id": 3, "w": 30, "x": "new" }), json!({ "id": 4, "w": 40 })];
    assert_eq!(rows(&bench), json!([&old[..], &new[..]].concat()));
    let run = run.last_line()["run_id"].as_str().unwrap().to_string();
    let shown = bench.run(&["show", &run]).expect(0).stdout;
    assert!(shown.contains("schema       x: new column") && shown.contains("v: gone from the source"), "{shown}");
    // By then they are no change any more, but for the one that is gone.
    assert_eq!(changes(&bench)["changes"], json!([{ "column": "v", "change": "gone" }]));

    let refused = DELTA_AS_IT_IS.bench("evolve");
    let said = refused.run(&["plan", "p.yaml"]).expect(3).says("does not take the rows, with `x` changed");
    said.says("the table has no column `x`").says("`schema: evolve` at the target").says("p.yaml:6:");

    // A lake that keeps its rows takes no new columns, and fills those that are gone.
    let lake = LAKE_APPEND.bench("evolve");
    lake.run(&["run", "p.yaml"]).expect(3).says("does not take the rows, with `x` changed").says("p.yaml:6:");
    given(&lake, &[json!({ "id": 3, "w": 30 })]);
    arrived(&lake);
    assert_eq!(rows(&lake), json!([old[0], old[1], { "id": 3, "w": 30 }]));

    let replaced = LAKE_FULL.bench("evolve");
    arrived(&replaced);
    assert_eq!(rows(&replaced), json!(new));
    assert_eq!(columns(&replaced), ["id", "v", "w", "x"]);
}

#[test]
fn new_columns_are_left_out() {
    for case in [LAKE_APPEND, LAKE_FULL, DELTA_INCREMENTAL, DELTA_AS_IT_IS] {
        let bench = case.bench("discard_column");
        let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
        assert!(planned.contains("x   dropped: not in the target\n"), "{planned}");
        let expected =
            json!([{ "column": "x", "change": { "discarded": { "from": "x" } } }, { "column": "v", "change": "gone" }]);
        assert_eq!(changes(&bench)["changes"], expected);
        assert_eq!(counts(&arrived(&bench)), [2, 2, 0]);
        let found = rows(&bench);
        let found = found.as_array().unwrap();
        assert_eq!(found[found.len() - 2..], [json!({ "id": 3, "w": 30 }), json!({ "id": 4, "w": 40 })]);
        assert_eq!(columns(&bench), ["id", "v", "w"]);
    }
}

#[test]
fn rows_with_a_value_in_a_new_column_are_left_out_and_counted() {
    for case in [LAKE_APPEND, LAKE_FULL, DELTA_INCREMENTAL] {
        let bench = case.bench("discard_row");
        let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
        let said = "x   dropped: not in the target, and neither are rows with a value in it\n";
        assert!(planned.contains(said), "{planned}");
        let outcome = arrived(&bench);
        assert_eq!(counts(&outcome), [2, 1, 1]);
        let found = rows(&bench);
        let found = found.as_array().unwrap();
        assert_eq!(found[found.len() - 1], json!({ "id": 4, "w": 40 }));
        assert!(found.iter().all(|row| row["id"] != 3), "{found:?}");
        let run = outcome.last_line()["run_id"].as_str().unwrap().to_string();
        let shown = bench.run(&["show", &run]).expect(0).stdout;
        for said in ["+ 1 filtered", "for a value in x, which the target does not have"] {
            assert!(shown.contains(said), "`{said}` is not in:\n{shown}");
        }
        bench.run(&["reconcile", "--run", &run]).expect(0);
    }
    // Beside a filter.
    let bench = LAKE_FULL.bench("discard_row");
    given(&bench, &[json!({ "id": 3, "w": 1, "x": 5 }), json!({ "id": 4, "w": 2 }), json!({ "id": 5, "w": 3 })]);
    let filtered = bench.run(&["run", "p.yaml", "--set", "filter=w > 2"]).expect(0);
    assert_eq!(counts(&filtered), [3, 1, 2]);
    assert_eq!(rows(&bench), json!([{ "id": 5, "w": 3 }]));
}

#[test]
fn a_second_load_of_the_same_rows_is_no_change_in_any_format() {
    const TYPES: &str = "id: int64, b: bool, m: 'decimal(9,2)', day: date, at: 'timestamp(us)', utc: 'timestamp(us, UTC)', \
        f: float64, i: int8";
    const MORE: &str = ", clock: 'time(us)', u: uint16, ident: uuid, doc: json, ms: 'timestamp(ms)'";
    const ROW: &str = "1,a,true,1.50,2024-01-31,2024-01-31T10:00:00.5,2024-01-31T10:00:00Z,0.1,5,10:30:00,7,\
        550e8400-e29b-41d4-a716-446655440000,5,2024-01-31T10:00:00";
    let rows = format!("id,text,b,m,day,at,utc,f,i,clock,u,ident,doc,ms\n{ROW}\n2,b{}\n", ",".repeat(12));
    let lake = |options: &str| format!("lake: {{ url: lake, {options} }}");
    let parts = "partition_by: [ { identity: text }, { identity: day } ],";
    let drop = "columns: { clock: { drop: true }, u: { drop: true }, ident: { drop: true }, doc: { drop: true }, \
        ms: { drop: true } },";
    let both = format!("{drop} {parts}");
    for (target, table) in [
        (lake("format: parquet"), ""),
        (lake("format: parquet"), parts),
        (lake("format: csv"), ""),
        (lake("format: csv, csv: { header: false }"), parts),
        (lake("format: json"), ""),
        (lake("format: avro"), ""),
        ("delta: { url: lake }".to_string(), drop),
        ("delta: { url: lake, schema: freeze }".to_string(), both.as_str()),
    ] {
        let bench = Bench::new();
        bench.write("src/t.csv", &rows);
        let source = format!("{{ lake: {{ url: src, format: csv, csv: {{ types: {{ {TYPES}{MORE} }} }} }} }}");
        bench.write(
            "p.yaml",
            format!(
                "version: 1\npipeline: test\nsource: {source}\ntarget: {{ {target} }}\n\
                 tables: [ {{ from: t, mode: append, {table} on_schema_change: freeze }} ]\n"
            ),
        );
        arrived(&bench);
        let changes = changes(&bench);
        assert_eq!(changes, json!({ "policy": "freeze", "compared": true }), "{target}: {changes}");
        arrived(&bench);
    }
}

#[test]
fn what_the_pipeline_makes_itself_is_no_change_of_the_source() {
    let bench = Bench::new();
    let table = |more: &str| {
        format!("{{ from: t, columns: {{ v: {{ rename: word, mask: hash }} }}, on_schema_change: freeze, {more} }}")
    };
    let lake = LAKE_FULL.target;
    given(&bench, &[json!({ "id": 1, "v": "a", "w": 10 })]);
    write_pipeline(&bench, lake, &table("derive: { twice: w * 2 }, metadata_columns: [_run_id]"));
    arrived(&bench);
    arrived(&bench);
    write_pipeline(&bench, lake, &table("derive: { twice: w / 2, half: w / 2 }, metadata_columns: [_ingested_at]"));
    arrived(&bench);
    assert_eq!(columns(&bench), ["id", "word", "w", "twice", "half", "_ingested_at"]);
    // Under another name it is another column.
    write_pipeline(&bench, lake, &table("derive: { twice: w, half: w }").replace("rename: word", "rename: term"));
    bench.run(&["run", "p.yaml"]).expect(3).says("`term` is new, `word` is gone");
}

#[test]
fn a_column_that_is_gone_and_may_not_be_null_is_refused() {
    let bench = Bench::new();
    let pipeline = |more: &str| {
        format!(
            "version: 1\npipeline: test\nsource: {{ tpch: {{ scale: 0.01 }} }}\ntarget: {{ lake: {{ url: lake }} }}\n\
             tables: [ {{ from: region, to: t, {more} }} ]\n"
        )
    };
    bench.write("p.yaml", pipeline("mode: append"));
    arrived(&bench);
    let less = "columns: { r_comment: { drop: true } }";
    for policy in ["evolve", "discard_column", "discard_row"] {
        bench.write("p.yaml", pipeline(&format!("mode: append, {less}, on_schema_change: {policy}")));
        let said = bench.run(&["run", "p.yaml"]).expect(3);
        said.says("`r_comment` is gone and may not be NULL in the target").says("`derive`");
    }
    // A table that is replaced may change what it demands.
    bench.write("p.yaml", pipeline(&format!("mode: full, {less}, on_schema_change: evolve")));
    arrived(&bench);
    assert_eq!(columns(&bench), ["r_regionkey", "r_name", "r_comment"]);
}

#[test]
fn a_column_that_is_gone_stands_where_it_was_beside_partitions() {
    let bench = Bench::new();
    let table = "{ from: t, mode: append, partition_by: [ { identity: part } ], on_schema_change: discard_column }";
    write_pipeline(&bench, LAKE_APPEND.target, table);
    given(&bench, &[json!({ "id": 1, "part": "a", "v": "x", "w": 10 })]);
    arrived(&bench);
    given(&bench, &[json!({ "id": 2, "part": "a", "w": 20 })]);
    arrived(&bench);
    assert_eq!(rows(&bench), json!([{ "id": 1, "v": "x", "w": 10 }, { "id": 2, "w": 20 }]));
    // Without what makes partitions there is no row.
    given(&bench, &[json!({ "id": 3, "w": 30 })]);
    bench.run(&["run", "p.yaml"]).expect(3).says("`t` has no column `part`");
}

#[test]
fn types_change_as_far_as_the_target_lets_them() {
    let bench = Bench::new();
    let table = |ty: &str, policy: &str| {
        format!("{{ from: t, mode: append, columns: {{ w: {{ cast: {ty} }} }}, on_schema_change: {policy} }}")
    };
    let delta = "delta: { url: lake, schema: widen }";
    given(&bench, &[json!({ "id": 1, "w": 10 })]);
    write_pipeline(&bench, delta, &table("int32", "evolve"));
    arrived(&bench);
    for policy in ["freeze", "discard_column", "discard_row"] {
        write_pipeline(&bench, delta, &table("int64", policy));
        bench.run(&["run", "p.yaml"]).expect(3).says("`w` is int64 and was int32");
    }
    write_pipeline(&bench, delta, &table("int64", "evolve"));
    let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    assert!(planned.contains("  int32 in the target\n"), "{planned}");
    arrived(&bench);
    assert_eq!(changes(&bench), json!({ "policy": "evolve", "compared": true }));
    write_pipeline(&bench, delta, &table("text", "evolve"));
    let said = bench.run(&["run", "p.yaml"]).expect(3).says("does not take the rows, with `w` changed");
    said.says("is int64 in the table and text in the rows");
}

#[test]
fn a_column_that_is_left_out_cannot_be_a_key() {
    let bench = LAKE_APPEND.bench("discard_column");
    let said = bench.run(&["run", "p.yaml", "--set", "key=[x]"]).expect(3);
    said.says("`x` is not in the target yet").says("--set:1:");
    // Whoever only compares is told what differs, and is refused nothing.
    bench.run(&["reconcile", "p.yaml"]).expect(5).says("v is in the target and not in the plan");
    bench
        .run(&["reconcile", "p.yaml", "--set", "on_schema_change=freeze"])
        .expect(5)
        .says("x is missing in the target");
    let full = LAKE_FULL.bench("discard_column");
    given(&full, &[json!({ "id": 1, "v": "a", "w": 10, "x": 5 }), json!({ "id": 2, "v": "b", "w": 20, "x": 5 })]);
    full.run(&["reconcile", "p.yaml"]).expect(0);
}

#[test]
fn rows_put_aside_beside_a_column_that_is_left_out_are_replayed() {
    let bench = Bench::new();
    let table = "{ from: t, mode: append, columns: { n: { cast: int64, on_misfit: quarantine } }, on_schema_change: discard_row }";
    write_pipeline(&bench, LAKE_APPEND.target, table);
    given(&bench, &[json!({ "id": 1, "n": "10", "v": "a" })]);
    arrived(&bench);
    given(
        &bench,
        &[json!({ "id": 2, "n": "20", "x": 5 }), json!({ "id": 3, "n": "much" }), json!({ "id": 4, "n": "40" })],
    );
    let outcome = arrived(&bench);
    assert_eq!((counts(&outcome), &outcome.last_line()["tables"][0]["quarantined"]), ([3, 1, 1], &json!(1)));
    let run = outcome.last_line()["run_id"].as_str().unwrap().to_string();
    bench.write("patch.csv", "_split,_position,n\n0,1,30\n");
    // By the rules of the file as by those of the run.
    let replayed = bench.run(&["replay", &run, "--pipeline", "p.yaml", "--patch", "patch.csv"]).expect(0).last_line();
    assert_eq!((&replayed["tables"][0]["written"], &replayed["tables"][0]["verdict"]), (&json!(1), &json!("match")));
    assert_eq!(rows(&bench), json!([{ "id": 1, "n": 10, "v": "a" }, { "id": 3, "n": 30 }, { "id": 4, "n": 40 }]));
}
