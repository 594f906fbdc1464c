//! JSON lines, Avro and ORC of other programs are read right, and files that are damaged are refused.
//!
//! As in [`compat`](crate::compat), Python says what a table holds.

use serde_json::{Value, json};

use crate::compat::{Digests, computed, digests, python};
use crate::harness::Bench;

/// Writes a pipeline that copies tables from one lake to another, each by its options.
pub(crate) fn write_pipeline(bench: &Bench, source: &str, target: &str, tables: &str) {
    let connections = format!("source: {{ lake: {{ {source} }} }}\ntarget: {{ lake: {{ {target} }} }}");
    bench.write("p.yaml", format!("version: 1\npipeline: test\n{connections}\ntables: {tables}\n"));
}

/// Copies tables. All must arrive; their digests.
pub(crate) fn copied(bench: &Bench, source: &str, target: &str, tables: &str) -> Digests {
    write_pipeline(bench, source, target, tables);
    digests(&bench.run(&["run", "p.yaml", "--format", "json"]).expect(0).last_line())
}

/// Tries to copy the table `t`, which is refused with these words and a hint.
#[track_caller]
fn refused(bench: &Bench, source: &str, target: &str, words: &[&str]) {
    write_pipeline(bench, source, target, "[{ from: t }]");
    let mut outcome = bench.run(&["run", "p.yaml"]).expect(3);
    for word in words {
        outcome = outcome.says(word);
    }
    assert!(bench.data_files("lake").is_empty(), "{}", outcome.stderr);
}

/// Rows read, written, put aside and filtered by a run that has one table.
fn counts(summary: &Value) -> [&Value; 4] {
    ["read", "written", "quarantined", "filtered"].map(|name| &summary["tables"][0][name])
}

#[test]
fn json_lines_of_any_writer_are_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
rows = pa.table({
    "id": [1, 2, 3, 4, 5, 6],
    "text": ["plain", 'say "hi"', "two\nlines\\", "\u2028\x01 é 東 🦀", None, ""],
    "number": [1, -5, None, 2**62, 0, 7],
    "float": [1.5, -0.0, 0.1, 1e300, None, 5e-324],
    "price": decimals(pa.decimal128(38, 10), "1.5", "-" + "9" * 28 + ".9999999999", None, "1e-10", "2", "3"),
    "flag": [True, False, None, True, True, False],
    "at": pa.array([0, -1, None, 1709210096789012, 1000000, 1000001], pa.timestamp("us")),
    "words": [["a", ""], [], None, [None], ["x" * 300], ["é"]],
    "pair": [{"a": 1, "b": "x"}, {"a": None, "b": None}, None, {"a": 2, "b": ""}, {"a": 3, "b": "y"}, {"b": "z"}],
    "deep": [[{"n": 0.5, "l": [1]}], [None], None, [], [{"n": 2.0, "l": None}], [{"n": None, "l": [None]}]],
    "day": [None, dt.date.min, dt.date.max] + [dt.date(1970, 1, i) for i in range(1, 4)],
})
text = lambda value: format(value, "f") if isinstance(value, Decimal) else str(value)
# Without what is NULL, and with blanks between.
sparse = [{name: value for name, value in row.items() if value is not None} for row in rows.to_pylist()]
Path(file_of("sparse", "f.jsonl")).write_text("\n".join(json.dumps(row, default=text) for row in sparse))
pl.from_arrow(rows).write_ndjson(file_of("polars", "f.ndjson"))
duckdb.sql(f"copy (from rows) to '{file_of('duckdb', 'f.json')}' (format json)")
duckdb.sql(f"copy (from rows) to '{file_of('gzip', 'f.json.gz')}' (format json, compression gzip)")
duckdb.sql(f"copy (from rows) to '{file_of('zstd', 'f.json.zst')}' (format json, compression zstd)")
print_digests({name: rows for name in ("sparse", "polars", "duckdb", "gzip", "zstd")})
"#,
    );
    let options = "url: src, format: json, json: { types: { price: 'decimal(38,10)' } }";
    assert_eq!(copied(&bench, options, "url: lake", "[{ from: '*' }]"), source);
}

#[test]
fn no_digit_of_a_json_number_is_lost() {
    let bench = Bench::new();
    bench.write("src/t.json", "{\"n\":12345678901234567890,\"d\":0.1234567890123456789}\n{\"n\":-1,\"d\":1e400}\n");
    let plan = |types: &str| {
        write_pipeline(
            &bench,
            &format!("url: src, format: json, json: {{ types: {types} }}"),
            "url: lake",
            "[{ from: t }]",
        );
        bench.run(&["plan", "p.yaml"]).expect(0).stdout
    };
    // Neither a whole number nor a float holds them all.
    let guessed = plan("{}");
    assert!(guessed.contains("n  text") && guessed.contains("d  text"), "{guessed}");
    plan("{ n: int64 }");
    bench.run(&["run", "p.yaml"]).expect(4).says("column n");
    plan("{ n: 'decimal(20,0)', d: 'decimal(38,30)' }");
    bench.run(&["run", "p.yaml"]).expect(4).says("column d");
    plan("{ n: 'decimal(20,0)', d: text }");
    bench.run(&["run", "p.yaml"]).expect(0);
    let found = python(&bench, "print(written('t').to_pylist())");
    assert_eq!(
        found.trim(),
        "[{'n': Decimal('12345678901234567890'), 'd': '0.1234567890123456789'}, {'n': Decimal('-1'), 'd': '1e400'}]"
    );
}

#[test]
fn a_json_line_that_is_no_row_is_named_or_put_aside() {
    let bench = Bench::new();
    let lines = [
        "{\"id\":1,\"n\":1}",
        "{\"id\":2,",
        "{\"id\":3,\"n\":\"x\"}",
        "{\"id\":4,\"id\":5}",
        "{\"id\":6,\"m\":0}",
        "7",
    ];
    bench.write("src/t.json", lines.join("\n"));
    let words = ["a line cannot be read: it is no JSON", "line 2", "path t.json", "json.on_bad_line: quarantine"];
    refused(&bench, "url: src, format: json", "url: lake", &words);
    let options = "url: src, format: json, json: { sample_rows: 1, on_bad_line: quarantine }";
    write_pipeline(&bench, options, "url: lake", "[{ from: t, key: [id] }]");
    let summary = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!(counts(&summary), [&json!(6), &json!(1), &json!(5), &json!(0)]);
    assert_eq!(summary["tables"][0]["verdict"], "match");
    let found = python(
        &bench,
        r#"
for file in glob.glob(".transload/quarantine/**/*.parquet", recursive=True):
    for row in pq.read_table(file).to_pylist():
        print(row["_rules"][0]["reason"].split(":")[0], row["_transload_raw"])
"#,
    );
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    let expected: Vec<String> = (2..=6).map(|i| format!("line {i} {}", lines[i - 1])).collect();
    assert_eq!(found, expected);
}

#[test]
fn avro_of_fastavro_is_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
import fastavro

logical = lambda type, name, **more: {"type": type, "logicalType": name, **more}
fixed = lambda name, size, **more: {"type": "fixed", "name": name, "size": size, **more}
point = {"type": "record", "name": "point", "fields": [
    {"name": "x", "type": ["null", "int"]}, {"name": "tags", "type": {"type": "array", "items": ["string", "null"]}}]}
columns = {
    "id": "long", "flag": ["null", "boolean"], "i": "int", "f": "float", "d": ["double"], "text": ["string", "null"],
    "bytes": ["null", "bytes"], "four": fixed("four", 4),
    "kind": ["null", {"type": "enum", "name": "kind", "symbols": ["NEW", "OLD"]}],
    "day": ["null", logical("int", "date")],
    "t_ms": logical("int", "time-millis"), "t_us": ["null", logical("long", "time-micros")],
    "at_ms": logical("long", "timestamp-millis"), "at_us": ["null", logical("long", "timestamp-micros")],
    "local_ms": logical("long", "local-timestamp-millis"), "local_us": logical("long", "local-timestamp-micros"),
    "at_ns": logical("long", "timestamp-nanos"), "local_ns": ["null", logical("long", "local-timestamp-nanos")],
    "dec": ["null", logical("bytes", "decimal", precision=38, scale=10)],
    "dec_fixed": fixed("dec_fixed", 9, logicalType="decimal", precision=20, scale=2),
    "uuid": logical("string", "uuid"), "other": logical("string", "made-up"),
    "list": {"type": "array", "items": "long"}, "map": ["null", {"type": "map", "values": ["null", "double"]}],
    "point": ["null", point], "points": {"type": "array", "items": "point"}, "nothing": "null",
}
schema = {"type": "record", "name": "row", "namespace": "n.s",
          "fields": [{"name": name, "type": type} for name, type in columns.items()]}
id, utc = uuid.UUID("550e8400-e29b-41d4-a716-446655440000"), dt.timezone.utc
rows = [
    {"id": 2**62, "flag": True, "i": -2**31, "f": -0.0, "d": 5e-324, "text": "", "bytes": b"\0\xff", "four": b"1234",
     "kind": "OLD", "day": dt.date.min, "t_ms": dt.time(0), "t_us": dt.time.max, "at_ns": 1, "local_ns": -1,
     "dec": Decimal("9" * 28 + ".9999999999"), "dec_fixed": Decimal("-0.01"), "list": [1, -2**63],
     "map": {"a": 1.5, "b": None}, "point": {"x": None, "tags": ["a", None]}, "points": []},
    {"id": -1, "flag": False, "i": 2**31 - 1, "f": float("inf"), "d": -1.5, "text": "ä\n🦀", "bytes": b"", "four": bytes(4),
     "kind": "NEW", "day": dt.date.max, "t_ms": dt.time(12, 34, 56, 789000), "t_us": dt.time(0, 0, 0, 1), "at_ns": 2**62,
     "local_ns": 0, "dec": Decimal("-1e-10"), "dec_fixed": Decimal("123456789012345678.90"), "list": [], "map": {},
     "point": {"x": -5, "tags": []}, "points": [{"x": 1, "tags": ["b"]}, {"x": None, "tags": []}]},
    {"id": 0, "flag": None, "i": 0, "f": 0.5, "d": 0.0, "text": None, "bytes": None, "four": b"\xff" * 4, "kind": None,
     "day": None, "t_ms": dt.time(23), "t_us": None, "at_ns": 0, "local_ns": None, "dec": None, "dec_fixed": Decimal(0),
     "list": [7], "map": None, "point": None, "points": []},
]
for row, at in zip(rows, [dt.datetime(1970, 1, 1), dt.datetime(2024, 2, 29, 12, 34, 56, 789000), dt.datetime(1900, 1, 1)]):
    row.update({name: at.replace(tzinfo=utc) for name in ("at_ms", "at_us")}, local_ms=at, local_us=at, nothing=None)
    row.update(uuid=id, other="x")

struct = pa.struct({"x": pa.int32(), "tags": pa.list_(pa.string())})
types = {
    "id": pa.int64(), "flag": pa.bool_(), "i": pa.int32(), "f": pa.float32(), "d": pa.float64(), "day": pa.date32(),
    "bytes": pa.binary(), "four": pa.binary(), "t_ms": pa.time32("ms"), "t_us": pa.time64("us"),
    "dec": pa.decimal128(38, 10), "dec_fixed": pa.decimal128(20, 2), "list": pa.list_(pa.int64()),
    "map": pa.map_(pa.string(), pa.float64()), "point": struct, "points": pa.list_(struct),
    **{f"at_{unit}": pa.timestamp(unit, "UTC") for unit in ("ms", "us", "ns")},
    **{f"local_{unit}": pa.timestamp(unit) for unit in ("ms", "us", "ns")},
}
def column(name):
    values, type = [row[name] for row in rows], types.get(name, pa.string())
    if name == "uuid":
        return pa.ExtensionArray.from_storage(pa.uuid(), pa.array([value.bytes for value in values], pa.binary(16)))
    if name == "map":
        values = [value if value is None else list(value.items()) for value in values]
    return pa.array(values, pa.int64()).cast(type) if name.endswith("_ns") else pa.array(values, type)
wanted = pa.table({name: column(name) for name in columns})
digests = {}
for codec in ("null", "deflate", "snappy", "zstandard", "bzip2", "xz"):
    with open(file_of(codec, "f.avro"), "wb") as out:
        fastavro.writer(out, fastavro.parse_schema(schema), rows, codec=codec, sync_interval=1)
    digests[codec] = wanted
many = pl.DataFrame({"id": range(50_000), "word": [f"word {i % 100}" if i % 7 else None for i in range(50_000)]})
for codec in ("uncompressed", "snappy", "deflate"):
    many.write_avro(file_of(f"polars_{codec}", "f.avro"), compression=codec)
    digests[f"polars_{codec}"] = many.to_arrow()
print_digests(digests)
"#,
    );
    assert_eq!(source.len(), 9);
    assert_eq!(copied(&bench, "url: src, format: avro", "url: lake", "[{ from: '*' }]"), source);
    // A file that is cut off anywhere is damaged, and not one with fewer rows.
    let whole = std::fs::read(bench.path("src/polars_deflate/f.avro")).unwrap();
    for length in [whole.len() - 1, whole.len() - 16, whole.len() - 17, whole.len() / 2, 20, 1] {
        let bench = Bench::new();
        bench.write("src/t.avro", &whole[..length]);
        refused(&bench, "url: src, format: avro", "url: lake", &["the Avro file cannot be read", "path t.avro"]);
    }
}

#[test]
fn avro_that_is_no_table_is_refused() {
    for (ty, words) in [
        (r#"["null", "int", "string"]"#, "a union of several types"),
        (r#"["null", "row"]"#, "holds itself"),
        (r#"{"type": "bytes", "logicalType": "decimal", "precision": 90, "scale": 0}"#, "no precision from 1 to 76"),
    ] {
        let bench = Bench::new();
        let script = r#"
import fastavro
schema = {"type": "record", "name": "row", "fields": [{"name": "c", "type": json.loads('TYPE')}]}
fastavro.writer(open(file_of("t", "f.avro"), "wb"), schema, [])
"#;
        python(&bench, &script.replace("TYPE", ty));
        refused(&bench, "url: src, format: avro", "url: lake", &[words, "path t/f.avro"]);
    }
}

#[test]
fn orc_of_pyarrow_is_read_right() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
import pyarrow.orc as po
whole = core().drop(["time", "uuid", "packed", "u8", "u16", "u32", "u64"])
table = whole.drop([name for name in whole.column_names if name.startswith(("ts_", "utc_"))])
for unit, per_second in (("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
    ticks = pa.array([s * per_second + 789 for s in (0, 1, 1709210096, 2208988800, 4102444800)] + [None], pa.int64())
    table = table.append_column(f"ts_{unit}", ticks.cast(pa.timestamp(unit)))
    table = table.append_column(f"utc_{unit}", ticks.cast(pa.timestamp(unit, "UTC")))
po.write_table(whole.select(["id", "ts_us"]), "early.orc")
digests = {}
for codec in ("uncompressed", "snappy", "zlib", "zstd"):
    po.write_table(table, file_of(codec, "f.orc"), compression=codec)
    digests[codec] = table
many = pa.table({"id": range(300_000), "word": [f"word {i % 100}" if i % 7 else None for i in range(300_000)]})
po.write_table(many, file_of("many", "f.orc"), stripe_size=100_000, dictionary_key_size_threshold=0.9)
few = many.slice(0, 1000)
po.write_table(few, file_of("lz4", "f.orc"), compression="lz4")
print_digests({**digests, "many": many, "lz4": few})
"#,
    );
    let as_stored = "url: src, format: orc, orc: { legacy_calendar: as_stored }";
    assert_eq!(copied(&bench, as_stored, "url: lake", "[{ from: '*' }]"), source);
    python(
        &bench,
        r#"
types = written("zstd").schema
assert types.field("ts_us").type == pa.timestamp("us") and types.field("utc_us").type == pa.timestamp("us", "UTC")
assert types.field("ts_ns").type == pa.timestamp("ns"), types
"#,
    );
    // Of these the fractions cannot be told from others.
    std::fs::create_dir(bench.path("src/early")).unwrap();
    std::fs::rename(bench.path("early.orc"), bench.path("src/early/f.orc")).unwrap();
    write_pipeline(&bench, "url: src, format: orc", "url: other", "[{ from: early }]");
    bench.run(&["plan", "p.yaml"]).expect(3).says("may hold timestamps before 1970").says("column ts_us");
    // Nobody says in which calendar these were counted.
    std::fs::remove_dir_all(bench.path("lake")).unwrap();
    std::fs::rename(bench.path("src/zstd"), bench.path("src/t")).unwrap();
    write_pipeline(&bench, "url: src, format: orc", "url: lake", "[{ from: t }]");
    let outcome = bench.run(&["run", "p.yaml"]).expect(3);
    outcome.says("there are dates before 1582-10-15").says("column day").says("orc.legacy_calendar");
    assert!(bench.data_files("lake").is_empty());
}

#[test]
fn files_that_grew_apart_are_one_table_in_every_format() {
    let bench = Bench::new();
    let source = computed(
        &bench,
        r#"
import fastavro, pyarrow.orc as po
tables = [
    pa.table({"id": pa.array([1, 2], pa.int32()), "name": ["a", None]}),
    pa.table({"name": ["c"], "id": [2**40], "price": decimals(pa.decimal128(5, 2), "1.50")}),
    pa.table({"price": decimals(pa.decimal128(9, 1), "99999999.5"), "id": pa.array([7], pa.int32())}),
]
def avro(type):
    if pa.types.is_decimal(type):
        return {"type": "bytes", "logicalType": "decimal", "precision": type.precision, "scale": type.scale}
    return {pa.int32(): "int", pa.int64(): "long", pa.string(): "string"}[type]
for i, table in enumerate(tables):
    po.write_table(table, file_of("orc", f"{i}.orc"))
    fields = [{"name": field.name, "type": ["null", avro(field.type)]} for field in table.schema]
    with open(file_of("avro", f"{i}.avro"), "wb") as out:
        fastavro.writer(out, {"type": "record", "name": f"r{i}", "fields": fields}, table.to_pylist())
    rows = [json.dumps(row, default=float) for row in table.to_pylist()]
    Path(file_of("json", f"{i}.json")).write_text("\n".join(rows))
whole = pa.table({
    "id": [1, 2, 2**40, 7], "name": ["a", None, "c", None],
    "price": decimals(pa.decimal128(10, 2), None, None, "1.50", "99999999.50"),
})
print_digests({name: whole for name in ("avro", "json", "orc")})
"#,
    );
    for (format, more) in [("avro", ""), ("json", ", json: { types: { price: 'decimal(10,2)' } }"), ("orc", "")] {
        let options = format!("url: src, format: {format}{more}");
        let found = copied(&bench, &options, "url: lake", &format!("[{{ from: {format} }}]"));
        assert_eq!(found[format], source[format], "{format}");
        let script = "assert written('FORMAT').schema.types == [pa.int64(), pa.string(), pa.decimal128(10, 2)]";
        python(&bench, &script.replace("FORMAT", format));
    }
}

#[test]
fn a_compressed_file_that_is_cut_off_or_damaged_is_refused() {
    let make = r#"
import gzip
os.mkdir("src")
lines = "".join(f"{i},word {i}\n" for i in range(20_000))
Path("src/t.csv.gz").write_bytes(gzip.compress(f"id,word\n{lines}".encode()))
words = "select range id, 'word ' || range word from range(20_000)"
duckdb.sql(f"copy ({words}) to 'src/t.json.zst' (format json, compression zstd)")
print_digests({"t": pa.table({"id": range(20_000), "word": [f"word {i}" for i in range(20_000)]})})
"#;
    for (format, name) in [("csv", "t.csv.gz"), ("json", "t.json.zst")] {
        let bench = Bench::new();
        let source = computed(&bench, make);
        let options = format!("url: src, format: {format}");
        assert_eq!(copied(&bench, &options, "url: lake", "[{ from: t }]"), source);
        std::fs::remove_dir_all(bench.path("lake")).unwrap();
        let path = bench.path("src").join(name);
        let whole = std::fs::read(&path).unwrap();
        for length in [whole.len() - 1, whole.len() - 9, whole.len() / 2, 5, 0] {
            std::fs::write(&path, &whole[..length]).unwrap();
            refused(&bench, &options, "url: lake", &["the compressed", name]);
        }
        let mut damaged = whole.clone();
        damaged[0] ^= 0x55;
        std::fs::write(&path, damaged).unwrap();
        refused(&bench, &options, "url: lake", &["the compressed data is damaged", name]);
    }
}
