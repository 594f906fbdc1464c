//! CSV, JSON lines and Avro are written so that they come back as they were, and other programs read them.

use crate::compat::{computed, python};
use crate::formats::{copied, write_pipeline};
use crate::harness::Bench;

/// What the scripts about written tables have in common: the source, and how its values look as Python's.
const WRITTEN: &str = r#"
source = pq.read_table("src/t/f.parquet")
def plain(value):
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return str(value) if isinstance(value, uuid.UUID) else value
# Python has no nanoseconds.
columns = [name for name in source.column_names if not name.endswith("_ns")]
expected = {row["id"]: {name: plain(row[name]) for name in columns} for row in source.select(columns).to_pylist()}
"#;

/// Copies the table of all types, without some of its columns, into the folder `out` and back into `lake` as Parquet. It
/// must have the same rows and types everywhere.
fn there_and_back(bench: &Bench, without: &str, target: &str) {
    let make = format!("pq.write_table(core().drop({without}), file_of('t')); print_digests()");
    let source = computed(bench, &make);
    assert_eq!(copied(bench, "url: src", &format!("url: out, {target}"), "[{ from: t }]"), source, "{target}");
    // The manifest says what the files are, whatever the connection would expect.
    assert_eq!(copied(bench, "url: out", "url: lake", "[{ from: t }]"), source, "{target}");
    python(
        bench,
        r#"
types = "select column_name, column_type from (describe from '{}')"
assert duck(types.format("src/t/f.parquet")) == duck(types.format(glob.glob("lake/t/*.parquet")[0]))
"#,
    );
}

#[test]
fn csv_that_is_written_comes_back_and_is_read_elsewhere() {
    let without = "['numbers', 'words', 'pair', 'map', 'deep', 'binary', 'packed']";
    for options in ["", "csv: { delimiter: \"\\t\", quote: \"'\", header: false }", "csv: { compression: gzip }"] {
        there_and_back(&Bench::new(), without, &format!("format: csv, {options}"));
    }
    let bench = Bench::new();
    there_and_back(&bench, without, "format: csv");
    python(
        &bench,
        r#"
(file,) = glob.glob("out/t/*.csv")
source = pq.read_table("src/t/f.parquet")
types = dict(duck("select column_name, column_type from (describe from 'src/t/f.parquet')"))
dialect = """delim = ',', quote = '"', escape = '"', header = true, allow_quoted_nulls = false"""
csv = f"read_csv('{file}', columns = {types}, {dialect})"
for one, other in ((csv, "'src/t/f.parquet'"), ("'src/t/f.parquet'", csv)):
    assert duck(f"from {one} except all from {other}") == [], (one, other)

names = [name for name in source.column_names if name != "uuid"]
options = {
    "parse_options": pa.csv.ParseOptions(newlines_in_values=True),
    "convert_options": pa.csv.ConvertOptions(
        column_types={name: source.schema.field(name).type for name in names}, include_columns=names,
        null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False),
}
found = pa.csv.read_csv(file, **options)
for name in names:
    # NaN is not NaN.
    same = found[name].equals(source[name]) or str(found[name]) == str(source[name])
    assert same, name
assert pl.read_csv(file, infer_schema=False)["text"].to_list() == source["text"].to_pylist()
"#,
    );
}

#[test]
fn json_lines_that_are_written_come_back_and_are_read_elsewhere() {
    let without = "['binary', 'packed']";
    for options in ["json: { compression: gzip }", "json: { compression: zstd, file_bytes: 65536 }"] {
        there_and_back(&Bench::new(), without, &format!("format: json, {options}"));
    }
    let bench = Bench::new();
    there_and_back(&bench, without, "format: json");
    let script = r#"
(file,) = glob.glob("out/t/*.json")
special = {"Infinity": float("inf"), "-Infinity": float("-inf")}
def as_stored(name, value):
    return special.get(value, value) if name in ("f32", "f64") and isinstance(value, str) else value
for line in open(file):
    row = json.loads(line, parse_float=Decimal)
    assert list(row) == source.column_names
    for name in columns:
        wanted, found = expected[row["id"]][name], as_stored(name, row[name])
        if name == "map" and wanted is not None:
            wanted = dict(wanted)
        if isinstance(wanted, str) and name[:2] in ("ts", "ut"):
            # As many digits as there are, or three or six.
            wanted, found = (text.rstrip("Z0") for text in (wanted, found))
        if isinstance(wanted, float):
            wanted, found = float(str(wanted)), float(found)
        assert found == wanted, (name, found, wanted)
types = dict(duck("select column_name, column_type from (describe from 'src/t/f.parquet')"))
json_lines = f"read_json('{file}', format = 'newline_delimited', columns = {types})"
# DuckDB reads decimals by way of floats, and needs another package for zones in Python.
names = ", ".join(name for name in source.column_names if name not in ("d18", "d38"))
for one, other in ((json_lines, "'src/t/f.parquet'"), ("'src/t/f.parquet'", json_lines)):
    assert duck(f"select count(*) from (select {names} from {one} except all select {names} from {other})") == [(0,)]
frame = pl.read_ndjson(file, infer_schema_length=None)
for name in ("text", "words", "numbers", "deep", "pair", "i64"):
    assert frame[name].to_list() == pl.from_arrow(source.select([name]))[name].to_list(), name
"#;
    python(&bench, &format!("{WRITTEN}\n{script}"));
}

#[test]
fn avro_that_is_written_comes_back_and_is_read_elsewhere() {
    for codec in ["snappy", "zstd", "none"] {
        there_and_back(&Bench::new(), "['u64', 'packed']", &format!("format: avro, avro: {{ compression: {codec} }}"));
    }
    let bench = Bench::new();
    // Polars gives up where there is a map.
    there_and_back(&bench, "['u64', 'packed', 'map']", "format: avro");
    let script = r#"
import fastavro
(file,) = glob.glob("out/t/*.avro")
found = list(fastavro.reader(open(file, "rb")))
assert len(found) == len(expected)
for row in found:
    for name in columns:
        assert plain(row[name]) == expected[row["id"]][name], (name, row[name])
assert [row["utc_ns"] for row in found] == source["utc_ns"].cast(pa.int64()).to_pylist()
frame = pl.read_avro(file)
for name in columns:
    if name not in ("uuid", "f32", "f64"):
        assert frame[name].to_list() == pl.from_arrow(source.select([name]))[name].to_list(), name
assert frame.schema["d38"] == pl.Decimal(38, 10) and frame.schema["utc_us"] == pl.Datetime("us", "UTC")
"#;
    python(&bench, &format!("{WRITTEN}\n{script}"));
}

#[test]
fn null_and_the_empty_text_stay_apart_in_a_csv_of_one_column() {
    let bench = Bench::new();
    let make = "pq.write_table(pa.table({'c': ['', None, 'a', None, ' ', '\"']}), file_of('t')); print_digests()";
    let source = computed(&bench, make);
    assert_eq!(copied(&bench, "url: src", "url: out, format: csv", "[{ from: t }]"), source);
    assert_eq!(copied(&bench, "url: out", "url: lake", "[{ from: t }]"), source);
    let file = bench.data_files("out").remove(0);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "c\n\"\"\n\na\n\n\" \"\n\"\"\"\"\n");
}

#[test]
fn a_layout_changes_no_row_in_any_format() {
    let bench = Bench::new();
    let make = r#"
rows = pa.table({
    "id": range(2000), "shop": [None if i % 7 == 0 else i % 3 for i in range(2000)],
    "word": [["", "a/b", "x=y", None, "ä"][i % 5] for i in range(2000)],
    "day": [dt.date(2024, 1, 1 + i % 28) for i in range(2000)],
})
pq.write_table(rows, file_of("t"))
moved = rows.select(["id", "day", "shop", "word"])
print_digests({"t": rows, "moved": moved})
"#;
    let source = computed(&bench, make);
    for format in ["csv", "json", "avro"] {
        let by = "partition_by: [ { identity: shop }, { identity: word }, { month: day } ]";
        let tables = format!("[{{ from: t, to: {format}, {by} }}]");
        let target = format!("url: out, format: {format}, {format}: {{ file_bytes: 65536 }}");
        assert_eq!(copied(&bench, "url: src", &target, &tables)[format], source["t"], "{format}");
        // Columns of folders come last.
        let back = copied(&bench, "url: out", "url: lake", &format!("[{{ from: {format} }}]"));
        assert_eq!(back[format], source["moved"], "{format}");
    }
}

#[test]
fn what_a_format_cannot_hold_is_refused_in_the_plan() {
    let bench = Bench::new();
    python(&bench, "pq.write_table(core(), file_of('t'))");
    for (format, columns, words) in [
        ("csv", "{}", "CSV has no bytes"),
        ("csv", "{ binary: { drop: true } }", "made of others"),
        ("json", "{}", "JSON has no bytes"),
        ("avro", "{}", "above 9223372036854775807"),
        ("avro", "{ day: { rename: the day } }", "`the day` cannot be a name in Avro"),
    ] {
        let target = format!("url: lake, format: {format}");
        write_pipeline(&bench, "url: src", &target, &format!("[{{ from: t, columns: {columns} }}]"));
        for command in ["plan", "run"] {
            bench.run(&[command, "p.yaml"]).expect(3).says(words).says("table t").says("hint: ");
        }
    }
    assert!(bench.data_files("lake").is_empty());
}

#[test]
fn rows_of_another_format_are_not_added_to_a_table() {
    let bench = Bench::new();
    bench.write("src/t.csv", "id\n1\n");
    let append = "[{ from: t, mode: append }]";
    copied(&bench, "url: src, format: csv", "url: lake, format: json", append);
    copied(&bench, "url: src, format: csv", "url: lake, format: json, json: { compression: gzip }", append);
    write_pipeline(&bench, "url: src, format: csv", "url: lake, format: csv", append);
    let outcome = bench.run(&["run", "p.yaml"]).expect(3);
    outcome.says("the table is JSON lines, and CSV with ',' between fields").says("mode: full");
    let found = copied(&bench, "url: lake", "url: copy", "[{ from: t }]");
    assert!(found["t"].starts_with("xxh64:2:"), "{found:?}");
    copied(&bench, "url: src, format: csv", "url: lake, format: csv", "[{ from: t }]");
    let files: Vec<_> = bench.data_files("lake");
    assert!(files.len() == 1 && files[0].extension().is_some_and(|e| e == "csv"), "{files:?}");
}
