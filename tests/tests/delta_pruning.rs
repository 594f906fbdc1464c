//! Delta tables are planned by their logs, and files that hold no fitting row are left alone, without losing one that fits.

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

fn endpoint(url: &Path) -> Arc<dyn Endpoint> {
    let options = serde_json::from_value(json!({ "url": url })).unwrap();
    transload_delta::Delta.parse(&options, Arc::new(NoReferences)).map_err(|p| format!("{p:?}")).unwrap()
}

/// A pipeline that reads `src/t` with some options, and with more about the table, such as a filter.
fn pipeline(options: &str, more: &str) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ delta: {{ url: src{options} }} }}\ntarget: {{ lake: {{ url: lake }} }}\n\
         tables: [ {{ from: t{more} }} ]\n"
    )
}

/// Twelve files, each with ten numbers of its own, a text, a day and a partition.
const TWELVE: &str = "from deltalake import DeltaTable, write_deltalake\n\
    for i in range(12):\n\
    \x20   n = range(i * 10, i * 10 + 10)\n\
    \x20   write_deltalake('src/t', pa.table({'id': pa.array(n, pa.int64()), 'word': [f'w{k:03}' for k in n], \
    'day': [dt.date(2024, 1, 1 + i)] * 10, 'kind': ['even' if i % 2 == 0 else 'odd'] * 10, \
    'price': decimals(pa.decimal128(9, 2), *[f'{k}.50' for k in n])}), mode='append', partition_by=['kind'])\n";

/// The data files of `src/t` in the order in which they were written.
fn files(bench: &Bench) -> Vec<std::path::PathBuf> {
    let said = python(
        bench,
        "adds = []\n\
         for entry in sorted(glob.glob('src/t/_delta_log/*.json')):\n\
         \x20   adds += [a['add']['path'] for a in map(json.loads, open(entry)) if 'add' in a]\n\
         print(json.dumps(adds))",
    );
    let paths: Vec<String> = serde_json::from_str(&said).unwrap();
    paths.iter().map(|path| bench.path("src/t").join(path)).collect()
}

#[test]
fn a_table_is_planned_and_listed_without_opening_its_files() {
    let bench = Bench::new();
    python(&bench, TWELVE);
    for file in files(&bench) {
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(file, vec![b'x'; bytes.len()]).unwrap();
    }
    bench.write("p.yaml", pipeline("", ""));
    bench.run(&["plan", "p.yaml"]).expect(0);
    let listed = bench.run(&["discover", "p.yaml", "--format", "json"]).expect(0);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["tables"][0]["rows"], 120);
    // What cannot be read is said by whoever reads it, with the file's name.
    bench.run(&["run", "p.yaml"]).expect(3).says("cannot be read").says(".parquet");
}

#[test]
fn files_outside_of_a_filter_are_not_opened() {
    let bench = Bench::new();
    python(&bench, TWELVE);
    let there = files(&bench);
    // The numbers below 20 are gone, and the last ten are garbage.
    std::fs::remove_file(&there[0]).unwrap();
    std::fs::write(&there[1], "").unwrap();
    let bytes = std::fs::read(&there[11]).unwrap();
    std::fs::write(&there[11], vec![0; bytes.len()]).unwrap();
    let (inside, outside) = (
        [
            ("id >= 20 and id < 110", 90),
            ("word between 'w030' and 'w0399'", 10),
            ("day = date '2024-01-05'", 10),
            ("kind = 'even' and id > 19", 50),
            ("kind = 'none'", 0),
            ("price > 20 and price < 110", 90),
            ("id in (25, 77)", 2),
            ("id is null", 0),
        ],
        [
            "id >= 19 and id < 110",
            "word < 'w005'",
            "kind = 'odd' and id > 100",
            "day > date '2024-01-10'",
            "id is not null",
        ],
    );
    for (filter, rows) in inside {
        bench.write("p.yaml", pipeline("", &format!(", filter: \"{filter}\"")));
        let line = bench.run(&["run", "p.yaml"]).expect(if rows == 0 { 9 } else { 0 }).last_line();
        assert_eq!(line["tables"][0]["written"], rows, "{filter}: {line}");
    }
    for filter in outside {
        bench.write("p.yaml", pipeline("", &format!(", filter: \"{filter}\"")));
        bench.run(&["run", "p.yaml"]).expect(3).says(".parquet");
    }
}

#[test]
fn hours_of_several_days_are_not_looked_for_between_the_bounds() {
    let bench = Bench::new();
    python(
        &bench,
        "from deltalake import write_deltalake\n\
         hours = [dt.datetime(2024, 1, 1, 21), dt.datetime(2024, 1, 1, 23), dt.datetime(2024, 1, 2, 1)]\n\
         write_deltalake('src/t', pa.table({'at': pa.array(hours, pa.timestamp('us', 'UTC'))}))",
    );
    bench.write("p.yaml", pipeline("", ", filter: \"cast(at as time) > time '22:00:00'\""));
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!((&line["tables"][0]["read"], &line["tables"][0]["written"]), (&json!(3), &json!(1)));
}

#[test]
fn files_without_statistics_are_always_read() {
    let bench = Bench::new();
    python(
        &bench,
        &format!(
            "{TWELVE}\n\
             for entry in glob.glob('src/t/_delta_log/*.json'):\n\
             \x20   actions = [json.loads(line) for line in open(entry)]\n\
             \x20   for a in actions: a.get('add', {{}}).pop('stats', None)\n\
             \x20   Path(entry).write_text('\\n'.join(map(json.dumps, actions)))"
        ),
    );
    bench.write("p.yaml", pipeline("", ", filter: \"id = 115\""));
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!((&line["tables"][0]["written"], &line["tables"][0]["verdict"]), (&json!(1), &json!("match")));
    std::fs::remove_file(&files(&bench)[0]).unwrap();
    bench.run(&["run", "p.yaml"]).expect(3).says(".parquet");
    // The values of partitions are known all the same, and how many rows a file has is not, so it is opened by the plan.
    bench.write("p.yaml", pipeline("", ", filter: \"kind = 'odd'\""));
    bench.run(&["plan", "p.yaml"]).expect(3).says(".parquet");
}

/// Files with awkward values and the bounds that Spark would write for them: texts cut at 32 letters, times at
/// milliseconds. Prints conditions.
const AWKWARD: &str = r#"
from deltalake import DeltaTable, write_deltalake
utc = dt.timezone.utc
def moments(*texts): return [t and dt.datetime.fromisoformat(t) for t in texts]
texts = ["", "a", "x" * 31, "x" * 40, "x" * 40 + "y", "ä" * 40, "🦀" * 40, "z\U0010ffff", None]
days = [dt.date(1582, 10, 15), dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(9999, 12, 31), None]
times = ["1969-12-31T23:59:59.999999", "1970-01-01T00:00:00", "2024-02-29T12:34:56.000001", "2024-02-29T12:34:56.000999",
         "2024-02-29T12:34:56.001", None]
wide = ["-9999999999999999999999999999.9999999999", "12345678901234567.8901234567", "12345678901234568.8901234567", "0", None]
# Each file has two values of every column.
def of(values, k): return values[(k // 6 + (k % 6 == 5)) % len(values)]
rows = [{
    "i": of([-128, 127, 0, None], k), "l": of([-(2**63), 2**63 - 1, 2**53 + 1, None], k), "s": of(texts, k),
    "d": of(days, k), "t": of(times, k), "n": of(times[::-1], k), "m": of(["-0.01", "99999.99", None], k), "w": of(wide, k),
    "f": of([1.5, float("nan"), -0.0, float("-inf"), None], k), "b": of([True, False, None], k),
    "p": ["x", None, "y=/ %"][k // 12 % 3], "q": [None, -7, 7][k // 6 % 3], "r": [dt.date(2024, 1, 1), None][k // 24 % 2],
} for k in range(108)]
def table(rows):
    column = lambda name: [row[name] for row in rows]
    return pa.table({
        "i": pa.array(column("i"), pa.int8()), "l": pa.array(column("l"), pa.int64()), "s": pa.array(column("s"), pa.string()),
        "d": pa.array(column("d"), pa.date32()), "t": pa.array(moments(*column("t")), pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
        "n": pa.array(moments(*column("n")), pa.timestamp("us")), "m": decimals(pa.decimal128(7, 2), *column("m")),
        "w": decimals(pa.decimal128(38, 10), *column("w")), "f": pa.array(column("f"), pa.float64()),
        "b": pa.array(column("b"), pa.bool_()), "p": pa.array(column("p"), pa.string()),
        "q": pa.array(column("q"), pa.int32()), "r": pa.array(column("r"), pa.date32())})
for k in range(0, 108, 6):
    write_deltalake("src/t", table(rows[k:k + 6]), mode="append", partition_by=["p", "q", "r"])

def cut(values, upwards):
    if len(values.get("s", "")) > 32: values["s"] = values["s"][:32] + ("\U0010ffff" if upwards else "")
    for name in "tn":
        if name in values: values[name] = values[name].rstrip("Z")[:19] + "." + (values[name].rstrip("Z")[20:] + "000")[:3] + ("Z" if name == "t" else "")
    if "w" in values: values["w"] = f"@{float(values['w']):.1f}@"
    return values
for at, entry in enumerate(sorted(glob.glob("src/t/_delta_log/*.json"))):
    actions = [json.loads(line) for line in open(entry)]
    for action in actions:
        if "add" in action:
            stats = json.loads(action["add"]["stats"])
            stats["minValues"], stats["maxValues"] = cut(stats["minValues"], False), cut(stats["maxValues"], True)
            action["add"]["stats"] = json.dumps(stats).replace('"@', "").replace('@"', "")
    if at % 9 != 8: Path(entry).write_text("\n".join(map(json.dumps, actions)))

def quoted(text): return "'" + text.replace("'", "''") + "'"
literals = {
    "i": ["-128", "0", "127", "300"], "l": [str(-(2**63)), "0", str(2**53), str(2**53 + 1), str(2**63 - 1)],
    "s": [quoted(t) for t in texts if t is not None] + [quoted("x" * 32), quoted("x" * 33), quoted("y")],
    "d": [f"date '{d}'" for d in days if d] + ["date '2000-01-01'"],
    "t": [f"arrow_cast('{t}', 'Timestamp(Microsecond, Some(\"UTC\"))')" for t in times if t],
    "n": [f"arrow_cast('{t}', 'Timestamp(Microsecond, None)')" for t in times if t],
    "m": [f"cast('{m}' as decimal(7,2))" for m in ["-0.01", "0", "99999.99"]] + ["0.5", "7"],
    "w": [f"cast('{w}' as decimal(38,10))" for w in wide if w] + ["1"],
    "f": ["1.5", "0", "cast('NaN' as double)", "1e300", "-1e300"], "b": ["true", "false"],
    "p": ["'x'", "'y=/ %'", "'z'"], "q": ["-7", "7", "0"], "r": ["date '2024-01-01'", "date '2024-01-02'"],
}
conditions = [f"{n} {op} {v}" for n, vs in literals.items() for v in vs for op in ["=", "<", ">"]]
conditions += [f"{n} {what}" for n in literals for what in ["is null", "is not null"]]
conditions += [f"{n} {op} {vs[0]}" for n, vs in literals.items() for op in ["<>", "<=", ">="]]
conditions += [f"not ({n} = {vs[0]})" for n, vs in literals.items()]
conditions += [f"{n} in ({', '.join(vs)})" for n, vs in literals.items()] + [f"{n} not in ({vs[0]}, {vs[1]})" for n, vs in literals.items()]
conditions += ["s like 'x%'", "s not like 'x%'", "s like 'ä%'", "i > 5 or q = 7", "i is null and p is null", "l + 1 > 5", "abs(q) = 7",
               "cast(d as varchar) = '2024-02-29'", "cast(i as bigint) = 127", "q = i + 7", "coalesce(s, 'none') = 'none'"]
print(json.dumps(conditions))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_a_log_leave_out_no_row_that_fits() {
    let bench = Bench::new();
    let conditions: Vec<String> = serde_json::from_str(&python(&bench, AWKWARD)).unwrap();
    let delta = endpoint(&bench.path("src"));
    let source = delta.source(&TableName::new("t"), &ReadSpec::default()).await.unwrap();
    let fitting = conditions_lose_nothing(&source, &conditions).await.unwrap();
    let some = fitting.iter().filter(|rows| **rows > 0).count();
    assert!(some > 150 && fitting.len() - some > 20, "{some} of {}", fitting.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_divided_and_small_ones_are_not() {
    let bench = Bench::new();
    python(
        &bench,
        &format!(
            "{TWELVE}\n\
             from deltalake import WriterProperties\n\
             small = dict(writer_properties=WriterProperties(max_row_group_size=50_000), mode='append')\n\
             n = pa.table({{'id': pa.array(range(300_000), pa.int64())}})\n\
             write_deltalake('src/large', n, **small)\n\
             for size in (200_000, 50_000, 0): write_deltalake('src/mixed', n.slice(0, size), **small)"
        ),
    );
    let folder = bench.path("src");
    let delta = endpoint(&folder);
    let subject = Subject::new(transload_delta::Delta.capability(), "delta", move || endpoint(&folder))
        .reading(["t", "large", "mixed"].map(TableName::new));
    let found = subject.run(&Arc::new(Semaphore::new(2))).await;
    assert!(found.iter().any(|f| f.outcome == Outcome::Proven));
    assert!(!found.iter().any(|f| matches!(f.outcome, Outcome::Failed(_))), "{found:?}");
    let rows = async |table: &str| {
        let source = delta.source(&TableName::new(table), &ReadSpec::default()).await.unwrap();
        source.splits().iter().map(|split| split.rows.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(rows("t").await, [120]);
    let large = rows("large").await;
    assert_eq!((large.len() > 1, large.iter().sum::<u64>()), (true, 300_000));
    assert_eq!(rows("mixed").await.iter().sum::<u64>(), 250_000);
}

#[test]
fn a_file_that_is_not_what_the_log_says_is_refused() {
    let bench = Bench::new();
    python(&bench, TWELVE);
    let there = files(&bench);
    let entry = bench.path("src/t/_delta_log/00000000000000000003.json");
    let text = std::fs::read_to_string(&entry).unwrap();
    let lied = text.replace(r#"\"numRecords\":10"#, r#"\"numRecords\":9"#);
    assert_ne!(text, lied);
    std::fs::write(&entry, lied).unwrap();
    bench.write("p.yaml", pipeline("", ""));
    let name = there[3].file_name().unwrap().to_str().unwrap();
    bench.run(&["run", "p.yaml"]).expect(3).says("another number of rows than the table's log says").says(name);
}

/// Tables whose files do not hold what their logs say: narrower and finer values. Prints digests.
const UNLIKE: &str = r#"
def logged(name, types, table, **options):
    path = file_of(name)
    pq.write_table(table, path, **options)
    fields = [{"name": n, "type": t, "nullable": True, "metadata": {}} for n, t in types.items()]
    features = ["timestampNtz"]
    actions = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}},
        {"metaData": {"id": str(uuid.uuid4()), "format": {"provider": "parquet", "options": {}}, "partitionColumns": [],
                      "schemaString": json.dumps({"type": "struct", "fields": fields}), "configuration": {}, "createdTime": 0}},
        {"add": {"path": "f.parquet", "partitionValues": {}, "size": os.path.getsize(path), "modificationTime": 0,
                 "dataChange": True, "stats": json.dumps({"numRecords": table.num_rows})}},
    ]
    Path(f"src/{name}/_delta_log").mkdir()
    Path(f"src/{name}/_delta_log/{0:020}.json").write_text("\n".join(map(json.dumps, actions)))
narrow = pa.table({"l": pa.array([1, None, -128], pa.int8()), "f": pa.array([0.5, None, 3.4], pa.float32()),
                   "u": pa.array([255, 0, None], pa.uint8()), "m": decimals(pa.decimal128(3, 1), "1.5", None, "-9.9"),
                   "a": pa.array([[1], None, []], pa.list_(pa.int16())), "t": pa.array([0, 1, None], pa.timestamp("ms", "UTC"))})
wide = narrow.cast(pa.schema({"l": pa.int64(), "f": pa.float64(), "u": pa.int16(), "m": pa.decimal128(20, 2), "a": pa.list_(pa.int64()),
                              "t": pa.timestamp("us", "UTC")}))
logged("narrow", {"l": "long", "f": "double", "u": "short", "m": "decimal(20,2)", "t": "timestamp",
                  "a": {"type": "array", "elementType": "long", "containsNull": True}}, narrow)
old = pa.table({"t": pa.array([0, 951782400123456, None], pa.timestamp("us", "UTC"))})
logged("old", {"t": "timestamp"}, old.cast(pa.schema({"t": pa.timestamp("us")})), use_deprecated_int96_timestamps=True)
logged("lacking", {"l": "long", "more": "string"}, narrow.select(["l"]))
fine = pa.table({"t": pa.array([1, 999, None], pa.timestamp("ns"))})
logged("fine", {"t": "timestamp_ntz"}, fine)
logged("coarse", {"l": "integer"}, wide.select(["l"]))
print_digests({
    "narrow": wide.select(["l", "f", "u", "m", "t", "a"]), "old": old, "fine": fine, "coarse": wide.select(["l"]),
    "lacking": wide.select(["l"]).append_column("more", pa.array([None] * 3, pa.string()))})
"#;

#[test]
fn columns_have_the_types_of_the_log_and_nothing_is_cut() {
    let bench = Bench::new();
    let mut expected = computed(&bench, UNLIKE);
    let pipeline = |options: &str, tables: &[&str]| {
        let tables: Vec<String> = tables.iter().map(|table| format!("{{ from: {table} }}")).collect();
        format!(
            "version: 1\npipeline: test\nsource: {{ delta: {{ url: src{options} }} }}\ntarget: {{ lake: {{ url: lake }} }}\n\
             tables: [{}]\n",
            tables.join(", ")
        )
    };
    for (table, said) in [
        ("fine", "the file holds timestamp(ns) where the table's log says timestamp(us)"),
        ("coarse", "the file holds int64 where the table's log says int32"),
    ] {
        bench.write("p.yaml", pipeline("", &[table]));
        bench.run(&["run", "p.yaml"]).expect(3).says(said).says("f.parquet").says("types: files");
    }
    bench.write("p.yaml", pipeline(", types: files", &["fine", "coarse"]));
    let as_in_files = digests(&bench.run(&["run", "p.yaml"]).expect(0).last_line());
    assert_eq!(as_in_files["fine"], expected.remove("fine").unwrap());
    assert_eq!(as_in_files["coarse"], expected.remove("coarse").unwrap());
    bench.write("p.yaml", pipeline("", &["lacking", "narrow", "old"]));
    assert_eq!(digests(&bench.run(&["run", "p.yaml"]).expect(0).last_line()), expected);
}

#[test]
fn a_point_in_time_may_be_written_under_another_name_of_utc() {
    let bench = Bench::new();
    python(
        &bench,
        "pq.write_table(pa.table({'id': [1, 2], 'at': pa.array([0, None], pa.timestamp('us', '+00:00'))}), file_of('t'))",
    );
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: src } }\ntarget: { delta: { url: lake } }\n\
         tables: [ { from: t, key: [id] } ]\n",
    );
    assert_eq!(bench.run(&["run", "p.yaml"]).expect(0).last_line()["tables"][0]["verdict"], "match");
}
