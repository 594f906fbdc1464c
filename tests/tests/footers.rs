//! Tables of a great many Parquet files are planned by a sample of their footers. The others are read with their rows, and
//! what does not fit the plan is never lost: it ends the run.
//!
//! A small number of `footers` makes thirty files a great many.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use transload_core::connector::ReadSpec;
use transload_core::secret::NoReferences;
use transload_core::{Connector, Endpoint, TableName};
use transload_testkit::{Outcome, Subject, conditions_lose_nothing};

use crate::compat::{computed, digests, python};
use crate::harness::Bench;
use crate::place::Place;
use crate::s3::Bucket;

/// Tables of thirty files with ten rows each, all alike but for some. Of four footers those of files 0, 9, 19 and 29 are
/// read.
const THIRTY: &str = r#"
def plain(i):
    n = range(i * 10, i * 10 + 10)
    days = [dt.date(2024, 1, 1 + i)] * 10
    return pa.table({"id": pa.array(n, pa.int64()), "word": [f"w{k:03}" for k in n], "day": days})
def narrow(i):
    return plain(i).set_column(0, "id", pa.array(range(i * 10, i * 10 + 10), pa.int16()))
def required(i):
    return plain(i).cast(plain(i).schema.set(0, pa.field("id", pa.int64(), nullable=False)))
def thirty(name, usual=plain, **unusual):
    for i in range(30):
        pq.write_table(unusual.get(f"at{i}", usual)(i), file_of(name, f"{i:02}.parquet"))
"#;

/// Thirty files in ten folders. Of twelve footers those of files 21, 22 and 23, in the folder of `h`, are not read.
const FOLDERS: &str = r#"
def in_folders(name, make):
    for i in range(30):
        pq.write_table(make(i, "abcdefghij"[i // 3]), file_of(f"{name}/k={'abcdefghij'[i // 3]}", f"{i:02}.parquet"))
in_folders("p", lambda i, k: plain(i))
"#;

/// A pipeline that reads a table of `src` with so many footers.
fn write_pipeline(bench: &Bench, footers: &str, table: &str) {
    let source = format!("source: {{ lake: {{ url: src, parquet: {{ footers: {footers} }} }} }}");
    let target = "target: { lake: { url: lake } }";
    bench.write("p.yaml", format!("version: 1\npipeline: test\n{source}\n{target}\ntables: [ {{ {table} }} ]\n"));
}

fn endpoint(url: &Path, footers: u64) -> Arc<dyn Endpoint> {
    let options = json!({ "url": url, "parquet": { "footers": footers } });
    let options = serde_json::from_value(options).unwrap();
    transload_lake::Lake.parse(&options, Arc::new(NoReferences)).map_err(|p| format!("{p:?}")).unwrap()
}

#[test]
fn a_sample_of_the_footers_gives_the_same_rows() {
    let bench = Bench::new();
    // Two files that nobody looks at are not as the others, and fit all the same.
    let source = computed(
        &bench,
        &format!(
            "{THIRTY}\n\
             thirty('t', at13=narrow, at14=lambda i: plain(i).drop_columns(['word']))\n\
             files = [pq.read_table(f'src/t/{{i:02}}.parquet') for i in range(30)]\n\
             print_digests({{'t': pa.concat_tables(files, promote_options='permissive')}})"
        ),
    );
    for footers in ["all", "30", "4"] {
        write_pipeline(&bench, footers, "from: t");
        let listed = bench.run(&["discover", "p.yaml", "--format", "json"]).expect(0);
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        let (rows, about) = (&listed["tables"][0]["rows"], &listed["tables"][0]["estimated_rows"]);
        let plan = bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0).stdout;
        if footers == "4" {
            assert!(rows.is_null() && (270..=300).contains(&about.as_u64().unwrap()), "{listed}");
            assert!(plan.contains("assumed    4 of 30 footers were read; a file that does not fit"), "{plan}");
        } else {
            assert_eq!((rows, about), (&json!(300), &Value::Null));
            assert!(!plan.contains("assumed") && plan.contains("about 300 rows"), "{plan}");
        }
        let ran = bench.run(&["run", "--plan", "plan.json"]).expect(0).last_line();
        assert_eq!((digests(&ran), &ran["tables"][0]["read"]), (source.clone(), &json!(300)), "{footers}");
        bench.run(&["reconcile", "--run", ran["run_id"].as_str().unwrap()]).expect(0);
    }
}

#[test]
fn a_footer_outside_of_the_sample_is_read_with_its_rows() {
    let bench = Bench::new();
    python(&bench, &format!("{THIRTY}\nthirty('t')\nPath('src/t/13.parquet').write_bytes(b'x' * 1000)"));
    write_pipeline(&bench, "all", "from: t");
    bench.run(&["plan", "p.yaml"]).expect(3).says("cannot be read").says("t/13.parquet");
    write_pipeline(&bench, "4", "from: t");
    bench.run(&["plan", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml"]).expect(3).says("cannot be read").says("t/13.parquet");
    assert!(bench.data_files("lake").is_empty());
}

#[test]
fn a_file_that_does_not_fit_the_plan_ends_the_run() {
    let bench = Bench::new();
    let script = r#"
thirty("extra", at13=lambda i: plain(i).append_column("more", [["x"] * 10]))
thirty("wider", narrow, at13=plain)
thirty("lacks", required, at13=lambda i: plain(i).drop_columns(["id"]))
thirty("nulls", required, at13=lambda i: plain(i).set_column(0, "id", pa.array([None] * 10, pa.int64())))
thirty("other", at13=lambda i: plain(i).set_column(0, "id", pa.array([str(i)] * 10)))
old = lambda i: plain(i).set_column(2, "day", pa.array([dt.date(1500, 1, 1)] * 10))
thirty("old", at13=lambda i: old(i).replace_schema_metadata({"org.apache.spark.version": "2.4.8"}))
"#;
    python(&bench, &format!("{THIRTY}\n{script}"));
    let every = "set `parquet.footers: all`";
    for (table, said, hint) in [
        ("extra", "the file has a column that the plan does not know (column more, path extra/13.parquet", every),
        ("wider", "the file holds int64, and int16 was planned (column id, path wider/13.parquet", every),
        ("lacks", "the file lacks a column that was planned to have no NULL (column id, path lacks/13.parquet", every),
        ("nulls", "the file may hold NULL in a column that was planned to have none (column id, path nulls/13", every),
        (
            "other",
            "column `id` is Utf8View here and Int64 in another file of the table (path other/13.parquet",
            "separate",
        ),
        (
            "old",
            "counted them in the Julian calendar (column day, path old/13.parquet",
            "set `parquet.legacy_calendar`",
        ),
    ] {
        write_pipeline(&bench, "4", &format!("from: {table}"));
        bench.run(&["plan", "p.yaml"]).expect(0);
        bench.run(&["run", "p.yaml"]).expect(3).says(said).says("hint: ").says(hint);
        assert!(bench.data_files("lake").is_empty(), "{table}");
        // Nothing else would have been found by all footers.
        write_pipeline(&bench, "all", &format!("from: {table}"));
        let planned = bench.run(&["plan", "p.yaml"]);
        assert_eq!(planned.code, if hint == every { 0 } else { 3 }, "{table}: {}", planned.stderr);
    }
    for table in ["extra", "wider", "lacks", "nulls"] {
        write_pipeline(&bench, "all", &format!("from: {table}"));
        digests(&bench.run(&["run", "p.yaml"]).expect(0).last_line());
    }
}

#[test]
fn files_that_a_folder_rules_out_are_not_opened() {
    let bench = Bench::new();
    python(&bench, &format!("{THIRTY}\n{FOLDERS}\nPath('src/p/k=h/22.parquet').write_bytes(b'x' * 1000)"));
    for (filter, rows) in [("k = 'c'", 30), ("k in ('a', 'j') and id < 25", 25), ("k <> 'h'", 270)] {
        write_pipeline(&bench, "12", &format!("from: p, filter: \"{filter}\""));
        let ran = bench.run(&["run", "p.yaml"]).expect(0).last_line();
        assert_eq!(ran["tables"][0]["written"], rows, "{filter}: {ran}");
        digests(&ran);
    }
    write_pipeline(&bench, "12", "from: p, filter: \"k > 'g'\"");
    bench.run(&["run", "p.yaml"]).expect(3).says("p/k=h/22.parquet");
}

#[test]
fn what_folders_and_files_both_say_is_looked_at_in_every_file() {
    let bench = Bench::new();
    let script = r#"
in_folders("same", lambda i, k: plain(i).append_column("k", [[k] * 10]))
in_folders("twice", lambda i, k: plain(i).append_column("k", [["x" if i == 22 else k] * 10]))
in_folders("once", lambda i, k: plain(i).append_column("k", [["x"] * 10]) if i == 22 else plain(i))
"#;
    python(&bench, &format!("{THIRTY}\n{FOLDERS}\n{script}"));
    let differs = "column `k` of the file does not say the same as the name of the folder `k=…`";
    write_pipeline(&bench, "12", "from: same");
    digests(&bench.run(&["run", "p.yaml"]).expect(0).last_line());
    write_pipeline(&bench, "12", "from: twice, to: t");
    bench.run(&["plan", "p.yaml"]).expect(3).says(differs).says("twice/k=h/22.parquet");
    write_pipeline(&bench, "12", "from: once, to: t");
    bench.run(&["plan", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml"]).expect(3).says(differs).says("once/k=h/22.parquet");
    assert!(bench.data_files("lake/t").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_table_keeps_what_every_source_promises() {
    let bench = Bench::new();
    python(&bench, &format!("{THIRTY}\n{FOLDERS}\nthirty('t', at13=narrow)"));
    let folder = bench.path("src");
    let lake = endpoint(&folder, 12);
    let conditions = [
        "k = 'c'",
        "k <> 'c'",
        "k is null",
        "k in ('a', 'h') and id > 5",
        "id < 55 or k = 'h'",
        "id >= 250 and k = 'i'",
        "word like 'w21%'",
        "day = date '2024-01-23'",
    ];
    let source = lake.source(&TableName::new("p"), &ReadSpec::default()).await.unwrap();
    assert!(source.assumed().unwrap().starts_with("11 of 30 footers"), "{:?}", source.assumed());
    let fitting = conditions_lose_nothing(&source, &conditions.map(str::to_string)).await.unwrap();
    assert_eq!(fitting, [30, 270, 0, 54, 85, 20, 10, 10]);

    let subject = Subject::new(transload_lake::Lake.capability(), "parquet", move || endpoint(&folder, 4))
        .reading(["t", "p"].map(TableName::new));
    let found = subject.run(&Arc::new(Semaphore::new(2))).await;
    assert!(found.iter().any(|f| f.outcome == Outcome::Proven));
    assert!(!found.iter().any(|f| matches!(f.outcome, Outcome::Failed(_))), "{found:?}");
}

#[test]
fn a_table_in_a_bucket_is_sampled_too() {
    let bucket = Bucket::new("footers");
    let bench = Bench::with(bucket.variables());
    let source = computed(
        &bench,
        &format!(
            "{THIRTY}\nthirty('t', at13=narrow)\n\
             files = [pq.read_table(f'src/t/{{i:02}}.parquet') for i in range(30)]\n\
             print_digests({{'t': pa.concat_tables(files, promote_options='permissive')}})"
        ),
    );
    bucket.send("src/t", &bench.path("src/t"));
    write_pipeline(&bench, "4", "from: t");
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.write("p.yaml", text.replace("url: src", &format!("url: '{}'", bucket.url("src"))));
    assert!(bench.run(&["plan", "p.yaml"]).expect(0).stdout.contains("4 of 30 footers were read"));
    assert_eq!(digests(&bench.run(&["run", "p.yaml"]).expect(0).last_line()), source);
}

#[test]
fn footers_are_of_no_account_where_a_log_says_it() {
    let bench = Bench::new();
    let source = "source: { delta: { url: src, parquet: { footers: all } } }";
    let rest = "target: { lake: { url: lake } }\ntables: [ { from: t } ]";
    bench.write("p.yaml", format!("version: 1\npipeline: test\n{source}\n{rest}\n"));
    bench.run(&["check", "p.yaml"]).expect(3).says("`footers` does nothing here").says("p.yaml:3:");
}
