//! Files of other programs are read right, and other programs read right what is written.
//!
//! What a table holds is decided by `tests/row_hash`, which shares no code with the product: the digest that a run
//! reports must be the one that Python computes from the source.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Bench, root, run_python, tpch_pipeline};

/// What the scripts have in common: the independent row hash, and a table with every type and its awkward values.
const COMMON: &str = r#"
import datetime as dt, glob, json, os, sys, uuid
from decimal import Decimal
from pathlib import Path

os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[2])
import duckdb, polars as pl, pyarrow as pa, pyarrow.csv, pyarrow.dataset as ds, pyarrow.parquet as pq
import row_hash


def decimals(type, *texts):
    return pa.array([t and Decimal(t) for t in texts], type)


def core():
    inf, nan, u = float("inf"), float("nan"), uuid.UUID("550e8400-e29b-41d4-a716-446655440000").bytes
    uuids = pa.array([u, bytes(16), b"\xff" * 16, None, u, u], pa.binary(16))
    columns = {
        "id": pa.array([1, 2, 3, 4, 5, 6], pa.int64()),
        "flag": [True, False, None, True, False, None],
        "f32": pa.array([0.0, -0.0, nan, inf, -inf, None], pa.float32()),
        "f64": pa.array([0.1, -0.0, nan, -inf, None, 5e-324]),
        "d9": decimals(pa.decimal128(9, 2), "1.50", "-9999999.99", "0", None, "2", "9999999.99"),
        "d18": decimals(pa.decimal128(18, 4), "1.5", "-99999999999999.9999", "0.0001", None, "2", "10"),
        "d38": decimals(pa.decimal128(38, 10), "1.5", "-" + "9" * 28 + ".9999999999", "1e-10", None, "2", "10"),
        "text": ["", "äöü 東京 🦀", "x" * 300, None, " a\tb\n", "NULL"],
        "binary": pa.array([b"", b"\0\xff", bytes(range(256)), None, b"a", b"b"]),
        "day": [dt.date(1970, 1, 1), dt.date(1969, 12, 31), dt.date(1582, 10, 4), None, dt.date.max, dt.date.min],
        "time": pa.array([0, 86399999999, 45296000000, None, 1, 3600000000], pa.int64()).cast(pa.time64("us")),
        "ts_s": pa.array([0, -1, 1709210096, None, -2208988800, 4102444800], pa.int64()).cast(pa.timestamp("s")),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), uuids),
        "numbers": pa.array([[1, 2, None], [], None, [3], [4], [5]], pa.list_(pa.int32())),
        "words": [["a", ""], [], None, [None], ["x" * 300], ["é"]],
        "pair": [{"a": 1, "b": "x"}, {"a": None, "b": None}, None, {"a": 2, "b": ""}, {"a": 3}, {"b": "z"}],
        "map": pa.array([[("a", 1), ("b", None)], [], None, [("b", 1), ("a", 2)], [("x", 0)], [("y", 1)]],
                        pa.map_(pa.string(), pa.int64())),
        "deep": [[{"a": 1, "b": ["x"]}], [None], None, [], [{"a": 2, "b": None}], [{"a": None, "b": [None]}]],
        "packed": pa.array(["x", "y", None, "x", "", "y"]).dictionary_encode(),
    }
    for bits in (8, 16, 32, 64):
        top = 2 ** (bits - 1)
        columns[f"i{bits}"] = pa.array([-top, top - 1, 0, None, -1, 5], getattr(pa, f"int{bits}")())
        columns[f"u{bits}"] = pa.array([0, 2 * top - 1, top, None, 1, 5], getattr(pa, f"uint{bits}")())
    for unit, per_second in (("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        ticks = [s * per_second + 789 for s in (0, -1, 1709210096, -2208988800, 4102444800)] + [None]
        columns[f"ts_{unit}"] = pa.array(ticks, pa.int64()).cast(pa.timestamp(unit))
        columns[f"utc_{unit}"] = pa.array(ticks, pa.int64()).cast(pa.timestamp(unit, "UTC"))
    return pa.table(columns)


def file_of(name, file="f.parquet", folder="src"):
    Path(folder, name).mkdir(parents=True, exist_ok=True)
    return f"{folder}/{name}/{file}"


def print_digests(tables=None):
    """Of tables, or of the file f.parquet of every table below src."""
    tables = tables or {Path(f).parent.name: pq.read_table(f) for f in glob.glob("src/*/f.parquet")}
    print(json.dumps({name: row_hash.table_digest(table, "xxh64") for name, table in tables.items()}))


def written(name):
    """What arrived in a table without partitions, as pyarrow reads it."""
    return pa.concat_tables(pq.read_table(f) for f in sorted(glob.glob(f"lake/{name}/*.parquet")))


def duck(sql):
    return duckdb.sql(sql).fetchall()
"#;

const PARQUET: &str = "{ lake: { url: src } }";

/// The digests of tables, by name.
pub(crate) type Digests = BTreeMap<String, String>;

/// Runs Python in the bench's folder, after [`COMMON`].
pub(crate) fn python(bench: &Bench, script: &str) -> String {
    let (here, row_hash) = (bench.path("."), root().join("tests/row_hash"));
    run_python(&format!("{COMMON}\n{script}"), &[here.to_str().unwrap(), row_hash.to_str().unwrap()])
}

/// The digests that a script prints, by table.
pub(crate) fn computed(bench: &Bench, script: &str) -> Digests {
    serde_json::from_str(&python(bench, script)).unwrap()
}

/// Writes a pipeline that copies tables into `lake`.
fn write_pipeline(bench: &Bench, source: &str, tables: &str) {
    let target = "target: { lake: { url: lake } }";
    bench.write("p.yaml", format!("version: 1\npipeline: test\nsource: {source}\n{target}\ntables: {tables}\n"));
}

/// Copies tables into `lake`. All must arrive; their digests.
fn loaded(bench: &Bench, source: &str, tables: &str) -> Digests {
    write_pipeline(bench, source, tables);
    digests(&bench.run(&["run", "p.yaml", "--format", "json"]).expect(0).last_line())
}

/// The digests of a run, by table.
pub(crate) fn digests(summary: &Value) -> Digests {
    let table = |t: &Value| {
        let digest = t["digest"].as_str().unwrap().to_string();
        let expected = if t["read"] == 0 { "not_compared" } else { "match" };
        assert_eq!(t["verdict"], expected, "{t}");
        (t["table"].as_str().unwrap().to_string(), digest)
    };
    summary["tables"].as_array().unwrap().iter().map(table).collect()
}

#[test]
fn parquet_of_pyarrow_is_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
for codec in ("none", "snappy", "zstd", "gzip", "lz4", "brotli"):
    pq.write_table(core(), file_of(codec), compression=codec, row_group_size=2)
pq.write_table(core(), file_of("no_arrow_schema"), store_schema=False)
pq.write_table(core(), file_of("old_pages"), data_page_version="1.0", data_page_size=1, write_page_index=True)
pq.write_table(core(), file_of("new_pages"), data_page_version="2.0", use_dictionary=False)
encodings = {"i32": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "binary": "DELTA_LENGTH_BYTE_ARRAY",
             "f64": "BYTE_STREAM_SPLIT"}
pq.write_table(core().select(encodings), file_of("encodings"), use_dictionary=False, column_encoding=encodings)
times = core().select(["ts_s", "ts_ms", "ts_us", "ts_ns"])
pq.write_table(times, file_of("int96"), use_deprecated_int96_timestamps=True)
pq.write_table(core().slice(0, 0), file_of("one_more").replace("f.parquet", "empty.parquet"))
pq.write_table(core(), file_of("one_more"))
large = pa.schema([f.with_type(pa.large_string() if pa.types.is_string(f.type) else f.type) for f in core().schema])
pq.write_table(core().cast(large), file_of("large"))
print_digests()
"#,
    );
    assert_eq!(source.len(), 13);
    assert_eq!(loaded(&bench, PARQUET, "[{ from: '*' }]"), source);
}

#[test]
fn parquet_of_duckdb_is_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
core = core()
for codec in ("uncompressed", "snappy", "zstd", "gzip", "lz4_raw", "brotli"):
    duckdb.sql(f"copy (from core) to '{file_of(codec)}' (codec '{codec}')")
# Where int32 values lie far apart, DuckDB packs their differences in 33 bits, which no Arrow library reads.
duckdb.sql(f"copy (select * exclude (i32, u32) from core) to '{file_of('v2')}' (parquet_version v2)")
few = core.select(["id", "text", "u64", "d38", "words", "deep"])
duckdb.sql(f"copy (from few, range(500)) to '{file_of('many')}' (row_group_size 2048)")
own = "gen_random_uuid() id, range::utinyint n, range::text::enum('0', '1') word, '[1]'::json doc"
duckdb.sql(f"copy (select {own} from range(2)) to '{file_of('own')}'")
print_digests()
"#,
    );
    assert_eq!(source.len(), 9);
    assert_eq!(loaded(&bench, PARQUET, "[{ from: '*' }]"), source);
}

#[test]
fn parquet_of_polars_is_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
frame = pl.from_arrow(core().drop(["map"]))
for codec in ("uncompressed", "snappy", "zstd", "gzip", "lz4", "brotli"):
    frame.write_parquet(file_of(codec), compression=codec, row_group_size=2)
print_digests()
"#,
    );
    assert_eq!(source.len(), 6);
    assert_eq!(loaded(&bench, PARQUET, "[{ from: '*' }]"), source);
}

#[test]
fn folders_of_partitions_are_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
sales = duckdb.sql("""
    select range::int id, (range * 1.5)::decimal(9, 2) price, 'r' || range % 3 region, range % 2 = 0 even,
        date '2024-01-01' + (range % 5)::int "day", range - 50 balance,
        if(range % 7 = 0, null, 'x y/%=' || range % 2) "Größe" from range(100)
""").to_arrow_table()
os.mkdir("src")
duckdb.sql("copy (from sales) to 'src/duckdb' (format parquet, partition_by (region, \"day\", even))")
duckdb.sql("copy (from sales) to 'src/duckdb_numbers' (format parquet, partition_by (balance))")
odd = {"format": "parquet", "partitioning": ["Größe", "even"], "partitioning_flavor": "hive"}
ds.write_dataset(sales, "src/pyarrow", **odd)
pl.from_arrow(sales).write_parquet(pl.PartitionBy("src/polars", key=["region", "day", "even"]), mkdir=True)
moved_to_the_end = lambda *names: sales.select([c for c in sales.column_names if c not in names] + list(names))
print_digests({
    "duckdb": moved_to_the_end("region", "day", "even"), "polars": moved_to_the_end("region", "day", "even"),
    "duckdb_numbers": moved_to_the_end("balance"), "pyarrow": moved_to_the_end("Größe", "even"),
})
"#,
    );
    assert_eq!(loaded(&bench, PARQUET, "[{ from: '*' }]"), source);
}

#[test]
fn columns_in_files_and_in_the_names_of_folders_must_say_the_same() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
sales = duckdb.sql("""
    select range id, range % 3 shop, date '2024-01-01' + (range % 2)::int "day", 'a b/' || range % 2 code,
        range % 5 = 0 big, if(range % 7 = 0, null, range % 2) part from range(40)""").to_arrow_table()
os.mkdir("src")
levels = "partition_by (shop, \"day\", code, big, part), write_partition_columns true"
duckdb.sql(f"copy (from sales) to 'src/sales' (format parquet, {levels})")
files = glob.glob("src/sales/**/*.parquet", recursive=True)
assert set(pq.ParquetFile(files[0]).schema_arrow.names) == set(sales.column_names)
print_digests({"sales": sales})
"#,
    );
    assert_eq!(loaded(&bench, PARQUET, "[{ from: sales }]"), source);
    for other in ["7", "two"] {
        std::fs::rename(bench.path("src/sales/shop=2"), bench.path(&format!("src/sales/shop={other}"))).unwrap();
        let refused = bench.run(&["run", "p.yaml"]).expect(3);
        let refused = refused.says("column `shop` of the file does not say the same").says(&format!("shop={other}/"));
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
        std::fs::rename(bench.path(&format!("src/sales/shop={other}")), bench.path("src/sales/shop=2")).unwrap();
    }
}

#[test]
fn folders_of_partitions_are_compared_by_their_values() {
    let bench = Bench::new();
    python(
        &bench,
        r#"
sales = duckdb.sql("""
    select range id, (range % 3)::int shop, date '2024-01-01' + (range % 2)::int "day", (range % 4)::text code,
        range % 5 = 0 big, if(range % 7 = 0, null, range % 2)::smallint part from range(20)""").to_arrow_table()
pq.write_table(sales, file_of("sales"))
os.mkdir("lake")
duckdb.sql("copy (from sales) to 'lake/sales' (format parquet, partition_by (shop, \"day\", code, big, part))")
"#,
    );
    let compared = |key: &str, code: i32| {
        write_pipeline(&bench, PARQUET, &format!("[{{ from: sales, key: [{key}] }}]"));
        bench.run(&["reconcile", "p.yaml"]).expect(code).last_line()["tables"][0].clone()
    };
    for key in ["id", "shop, id", "part, day, id"] {
        assert_eq!(compared(key, 0)["verdict"], "match", "{key}");
    }

    // A number that the plan's type could not even hold is a difference like any other.
    let folder = |shop: &str| bench.path(&format!("lake/sales/shop={shop}"));
    std::fs::rename(folder("2"), folder("3000000000")).unwrap();
    let table = compared("id", 5);
    assert_eq!(table["schema"], serde_json::json!([]), "{table}");
    assert_eq!(table["differences"]["changed"], 6, "{table}");
    assert_eq!(table["differences"]["columns"], serde_json::json!([["shop", 6]]), "{table}");

    std::fs::rename(folder("3000000000"), folder("two")).unwrap();
    let table = compared("id", 5);
    assert_eq!(table["schema"], serde_json::json!(["column shop should be int32 and is text"]), "{table}");
}

#[test]
fn timestamps_of_every_age_are_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
# From the year 1 to the value that stands for ever in many a warehouse.
ages = pa.array([0, 253402300799999999, -62135596800000000, -1, None], pa.timestamp("us"))
ages = pa.table({"id": range(5), "at": ages, "all": pa.array([[a] for a in ages.to_pylist()], pa.list_(pa.timestamp("us")))})
fine = pa.table({"id": range(3), "at": pa.array([1, -1, None], pa.timestamp("ns"))})
near = ages.slice(0, 1)
old = {"use_deprecated_int96_timestamps": True, "store_schema": False}
pq.write_table(ages, file_of("ages"), row_group_size=2, **old)
pq.write_table(fine, file_of("fine"), **old)
pq.write_table(near, file_of("grown", "1.parquet"), **old)
pq.write_table(ages, file_of("grown", "2.parquet"), **old)
pq.write_table(near.select(["id", "at"]), file_of("modern", "1.parquet"), **old)
pq.write_table(ages.select(["id", "at"]), file_of("modern", "2.parquet"))
pq.write_table(fine, file_of("apart", "1.parquet", "apart"))
pq.write_table(ages.select(["id", "at"]), file_of("apart", "2.parquet", "apart"))
both = pa.concat_tables([near, ages])
print_digests({"ages": ages, "fine": fine, "grown": both, "modern": both.select(["id", "at"])})
"#,
    );
    assert_eq!(loaded(&bench, PARQUET, "[{ from: '*' }]"), source);
    python(
        &bench,
        r#"
types = {name: written(name).schema.field("at").type for name in ("ages", "fine", "grown", "modern")}
micros = pa.timestamp("us")
assert types == {"ages": micros, "fine": pa.timestamp("ns"), "grown": micros, "modern": micros}, types
"#,
    );
    // No unit holds every value of both files, and the value is nobody's business.
    write_pipeline(&bench, "{ lake: { url: apart } }", "[{ from: apart }]");
    let refused = bench.run(&["run", "p.yaml"]).expect(3).says("apart/2.parquet").says("common type");
    assert!(!refused.stderr.contains("253402300799"), "{}", refused.stderr);
}

#[test]
fn files_that_grew_apart_are_one_table() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
pq.write_table(pa.table({"id": pa.array([1, 2], pa.int32()), "name": ["a", None]}), file_of("t", "1.parquet"))
new = {"name": ["c"], "id": [2**40], "price": pa.array([Decimal("1.50")], pa.decimal128(5, 2))}
pq.write_table(pa.table(new), file_of("t", "2.parquet"))
more = {"price": pa.array([Decimal("99999999.5")], pa.decimal128(9, 1)), "id": pa.array([7], pa.uint16())}
pq.write_table(pa.table(more), file_of("t", "3.parquet"))
print_digests({"t": pa.table({
    "id": [1, 2, 2**40, 7], "name": ["a", None, "c", None],
    "price": pa.array([None, None, Decimal("1.50"), Decimal("99999999.50")], pa.decimal128(10, 2)),
})})
"#,
    );
    assert_eq!(loaded(&bench, PARQUET, "[{ from: t }]"), source);
    python(&bench, "assert written('t').schema.types[::2] == [pa.int64(), pa.decimal128(10, 2)]");
}

#[test]
fn dates_in_milliseconds_are_days_for_checks_and_beside_other_dates() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
days = pa.table({"id": [1, 2, 3], "day": [dt.date(2024, 1, 1), dt.date(1969, 12, 31), None]})
wide = days.set_column(1, "day", days["day"].cast(pa.date64()))
pq.write_table(wide, file_of("wide"))
pq.write_table(days, file_of("both", "1.parquet"))
pq.write_table(wide, file_of("both", "2.parquet"))
print_digests({"wide": wide, "both": pa.concat_tables([days, days])})
"#,
    );
    let check = "checks: [{ not_in_future: { columns: [day] } }]";
    let tables = format!("[{{ from: wide, {check} }}, {{ from: both, {check} }}]");
    assert_eq!(loaded(&bench, PARQUET, &tables), source);
    python(&bench, "assert {written(t).schema.field('day').type for t in ('wide', 'both')} == {pa.date32()}");
}

#[test]
fn a_file_is_a_table() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
table = pa.table({"id": [1, 2], "name": ["a", "b"]})
pq.write_table(table, file_of("", "t.parquet"))
pa.csv.write_csv(table, file_of("", "t.csv"))
print_digests({name: table for name in ("short", "parquet", "csv")})
"#,
    );
    let mut found = loaded(&bench, PARQUET, "[{ from: t, to: short }, { from: t.parquet, to: parquet }]");
    found.extend(loaded(&bench, "{ lake: { url: src, format: csv } }", "[{ from: t.csv, to: csv }]"));
    assert_eq!(found, source);
}

#[test]
fn csv_of_any_writer_is_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
rows = pa.table({
    "id": [1, 2, 3, 4, 5, 6, 7, 8],
    "text": ["plain", 'say "hi"', "two\nlines", "a,b;c|d\te", None, "", "more\r\nlines", " spaced "],
    "other": [None, "NULL", "é 東 🦀", "\t", '"', "x" * 300, "'", "a\\b"],
    "number": [1, -5, None, 2**62, 0, 7, 8, 9],
    "float": [1.5, -0.0, 0.1, 1e300, None, 5e-324, 2.0, 3.25],
    "price": decimals(pa.decimal128(9, 2), "1.50", "-9999999.99", None, "0.01", "2", "3", "0", "7.77"),
    "flag": [True, False, None, True, True, False, False, True],
    "day": [None, dt.date.min, dt.date.max] + [dt.date(1970, 1, i) for i in range(1, 6)],
    "at": pa.array([0, -1, None, 1709210096789012, 1000000, 1000001, 2000000, 3000000], pa.timestamp("us")),
})
frame = pl.from_arrow(rows)
pa.csv.write_csv(rows, file_of("pyarrow", "f.csv"))
duckdb.sql(f"copy (from rows) to '{file_of('duckdb', 'f.csv')}' (header)")
frame.write_csv(file_of("polars", "f.csv"))
frame.write_csv(file_of("crlf", "f.csv"), line_terminator="\r\n", include_bom=True)
frame.write_csv(file_of("quoted", "f.csv"), quote_style="non_numeric")
duckdb.sql(f"copy (from rows) to '{file_of('pipe', 'f.csv', 'pipes')}' (delimiter '|', nullstr '\\N', force_quote *)")
frame.write_csv(file_of("semicolon", "f.csv", "semicolons"), separator=";", quote_char="'", null_value="NA")
pq.write_table(rows, file_of("wanted", "f.parquet", "."))
names = ("pyarrow", "duckdb", "polars", "crlf", "quoted", "pipe", "semicolon")
print_digests({name: rows for name in names})
"#,
    );
    let mut found = BTreeMap::new();
    for (url, options) in [
        ("src", ""),
        ("pipes", r#"delimiter: "|", null_values: ['\N']"#),
        ("semicolons", r#"delimiter: ";", quote: "'", null_values: [NA]"#),
    ] {
        let csv = format!("csv: {{ types: {{ price: 'decimal(9,2)' }}, {options} }}");
        found.extend(loaded(&bench, &format!("{{ lake: {{ url: {url}, format: csv, {csv} }} }}"), "[{ from: '*' }]"));
    }
    assert_eq!(found, source);
    python(
        &bench,
        r#"
for folder in glob.glob("lake/*"):
    assert duck(f"from '{folder}/*.parquet' order by id") == duck("from 'wanted/f.parquet' order by id"), folder
"#,
    );
}

#[test]
fn what_is_written_is_read_right_elsewhere() {
    let bench = Bench::new();
    let source = computed(&bench, "pq.write_table(core(), file_of('core'), row_group_size=4); print_digests()");
    assert_eq!(loaded(&bench, PARQUET, "[{ from: core }]"), source);
    let digest = python(&bench, "print(row_hash.table_digest(written('core'), 'xxh64'))");
    assert_eq!(digest.trim(), source["core"]);
    python(
        &bench,
        r#"
source, (target,) = "src/core/f.parquet", glob.glob("lake/core/*.parquet")
types = "select column_name, column_type from (describe from '{}')"
assert duck(types.format(source)) == duck(types.format(target))
for one, other in ((source, target), (target, source)):
    assert duck(f"from '{one}' except all from '{other}'") == []

plain = lambda file: pl.read_parquet(file, columns=[c for c in core().column_names if c not in ("map", "packed")])
assert plain(source).equals(plain(target))
assert plain(source).schema == plain(target).schema

# Text must not come in a layout that pyarrow cannot work with.
found = ds.dataset(target).to_table(filter=ds.field("text") == "NULL")
assert found["id"].to_pylist() == [6]
assert ds.dataset(target).to_table().sort_by("text")["id"].to_pylist()[0] == 1
"#,
    );
}

#[test]
fn partitions_are_read_right_elsewhere() {
    let bench = Bench::new();
    python(
        &bench,
        r##"
texts = ["", None, "a/b", "x=y", "100%", "%20", "ä ö 東", "a:b", "+", "..", "'", '"', "007", "1.50", "#", "?", "&", " "]
count = len(texts)
every = lambda *values: [values[i % len(values)] for i in range(count)]
table = pa.table({
    "id": range(count), "text": texts, "Größe": texts, "flag": every(True, False, None),
    "number": every(-5, 0, None, 2**40), "day": every(dt.date(2024, 2, 29), dt.date(1969, 12, 31), None),
})
for name in table.column_names[1:]:
    pq.write_table(table.select(["id", name]), file_of(name))
"##,
    );
    let level = |c: &str| format!("{{ from: {c}, partition_by: [{{ identity: {c} }}] }}");
    let tables: Vec<String> = ["text", "Größe", "flag", "number", "day"].map(level).into();
    loaded(&bench, PARQUET, &format!("[{}]", tables.join(", ")));
    python(
        &bench,
        r#"
polars = {"flag": pl.Boolean, "number": pl.Int64, "day": pl.Date}
duckdbs = {"flag": "boolean", "number": "bigint", "day": "date"}
wrong = []
for name in ("text", "Größe", "flag", "number", "day"):
    files, source = f"lake/{name}/**/*.parquet", pq.read_table(f"src/{name}/f.parquet")
    wanted = dict(zip(*source.to_pydict().values()))
    flavor = ds.partitioning(pa.schema([source.schema.field(name)]), flavor="hive")
    hive = {"hive_partitioning": True, "hive_schema": {name: polars.get(name, pl.String)}}
    readers = {
        "duckdb": lambda: duck(f"""
            select id, "{name}" from read_parquet('{files}', hive_partitioning = true, hive_types_autocast = false,
                hive_types = {{'{name}': {duckdbs.get(name, 'varchar')}}})"""),
        "pyarrow": lambda: zip(*ds.dataset(f"lake/{name}", partitioning=flavor).to_table().to_pydict().values()),
        "polars": lambda: pl.scan_parquet(files, **hive).select("id", name).collect().rows(),
    }
    for reader, read in readers.items():
        try:
            found = dict(read())
            wrong += [(reader, name, v, found.get(i)) for i, v in wanted.items() if found.get(i, "?") != v]
        except Exception as error:
            wrong.append((reader, name, str(error)[:200]))
assert not wrong, wrong
"#,
    );
}

#[test]
fn tpch_is_read_elsewhere_with_its_known_answers() {
    let bench = Bench::new();
    let tables = "
  - from: '*'
    except: [orders, customer, lineitem]
  - from: orders
    partition_by: [{ identity: o_orderstatus }, { year: o_orderdate }]
  - from: customer
    partition_by: [{ bucket: { column: c_custkey, buckets: 4 } }]
  - from: lineitem
    partition_by: [{ identity: l_shipmode }]
";
    bench.write("p.yaml", tpch_pipeline(tables));
    let found = digests(&bench.run(&["run", "p.yaml", "--format", "json"]).expect(0).last_line());
    assert_eq!(found.len(), 8);
    python(
        &bench,
        r#"
# Rows, and the sum of a column: by the formulas of the specification, and as others have published it.
known = {
    "region": (5, "r_regionkey", 10), "nation": (25, "n_nationkey", 300), "supplier": (100, "s_suppkey", 5050),
    "customer": (1500, "c_custkey", 1125750), "partsupp": (8000, "ps_partkey", 8004000),
    "part": (2000, "p_retailprice", Decimal(sum(90000 + k // 10 + k % 1000 * 100 for k in range(1, 2001))) / 100),
    "orders": (15000, "o_totalprice", Decimal("2127396830.02")),
    "lineitem": (60175, "l_quantity", Decimal("1536127.00")),
}
for name, (rows, column, total) in known.items():
    files = f"lake/{name}/**/*.parquet"
    sql = f"select count(*), sum({column}) from read_parquet('{files}', hive_partitioning = true)"
    assert duck(sql) == [(rows, total)], name
    table = ds.dataset(f"lake/{name}", partitioning="hive").to_table(columns=[column])
    assert (table.num_rows, pa.compute.sum(table[column]).as_py()) == (rows, total), name
    frame = pl.scan_parquet(files, hive_partitioning=True).select(pl.len(), pl.col(column).sum()).collect()
    assert frame.row(0) == (rows, total), name

    meta = pq.ParquetFile(glob.glob(files, recursive=True)[0])
    ids = [int(field.metadata[b"PARQUET:field_id"]) for field in meta.schema_arrow]
    assert ids == list(range(1, len(ids) + 1)), name
    for i in range(meta.metadata.num_columns):
        chunk = meta.metadata.row_group(0).column(i)
        assert chunk.compression == "ZSTD" and chunk.is_stats_set, name
        assert chunk.has_column_index and chunk.has_offset_index, name

# The first query of the benchmark, which has published answers for this scale.
prices = "sum(l_extendedprice), sum(l_extendedprice * (1 - l_discount)), count(*)"
lineitem = "read_parquet('lake/lineitem/**/*.parquet', hive_partitioning = true)"
flags = "l_returnflag <> 'N' group by all order by all"
assert duck(f"select l_returnflag, l_linestatus, {prices} from {lineitem} where {flags}") == [
    ("A", "F", Decimal("532348211.65"), Decimal("505822441.4861"), 14876),
    ("R", "F", Decimal("534594445.35"), Decimal("507996454.4067"), 14902),
]
modes = [m for (m,) in duck(f"select distinct l_shipmode from {lineitem} order by 1")]
assert modes == ["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"]
orders = "read_parquet('lake/orders/**/*.parquet', hive_partitioning = true)"
assert duck(f"select count(*) from {orders} where o_orderdate_year <> year(o_orderdate)") == [(0,)]
"#,
    );
}

#[test]
fn random_tables_get_the_digest_that_python_computes() {
    let (bench, seed) = (Bench::new(), "7");
    let make = r#"
import random_tables
sys.argv[1:] = ["src", "--tables", "25", "--seed", "SEED"]
random_tables.main()
made = {Path(f).stem: json.load(open(f)) for f in glob.glob("src/*.json")}
print(json.dumps({a: {name: table[a]["digest"] for name, table in made.items()} for a in ("xxh64", "sha256")}))
"#;
    let printed = python(&bench, &make.replace("SEED", seed));
    let source: BTreeMap<String, Digests> = serde_json::from_str(&printed).unwrap();
    let names: Vec<&str> = source["xxh64"].keys().map(String::as_str).collect();
    let tables: String = names.iter().map(|name| format!("  - from: {name}\n")).collect();
    write_pipeline(&bench, PARQUET, &format!("\n{tables}"));
    for (algorithm, source) in source {
        // Of tables without rows nothing can be compared.
        let code = if source.values().any(|d| d.starts_with(&format!("{algorithm}:0:"))) { 9 } else { 0 };
        let hash = format!("reconcile.hash={algorithm}");
        let run = bench.run(&["run", "p.yaml", "--format", "json", "--set", hash.as_str()]).expect(code);
        assert_eq!(digests(&run.last_line()), source, "random tables with the seed {seed}");
    }
}
