//! Columns of a Delta table become as wide as the rows: by the protocol, with all values intact, for other readers too.

use serde_json::{Value, json};

use crate::compat::{computed, digests, python};
use crate::harness::{Bench, delta_reader, root, run_python_of};

/// Tables `src/narrow` and `src/wide` with one column for each pair of types, and `src/both`, the wide one with the narrow
/// one's rows first.
const PAIRS: &str = r#"
day, moment = dt.date, dt.datetime
pairs = {
    "i8_i16": (pa.int8(), pa.int16(), [-128, 127, None], [-129, 32767, None]),
    "i8_i64": (pa.int8(), pa.int64(), [-128, 127, None], [2**63 - 1, -(2**63), None]),
    "i16_i32": (pa.int16(), pa.int32(), [-32768, 32767, None], [32768, 2**31 - 1, None]),
    "i32_i64": (pa.int32(), pa.int64(), [-(2**31), 2**31 - 1, None], [2**31, -1, None]),
    "f32_f64": (pa.float32(), pa.float64(), [3.4, -0.0, float("nan")], [1.1, 5e-324, None]),
    "i8_f64": (pa.int8(), pa.float64(), [-128, 127, None], [0.5, 1e300, None]),
    "i32_f64": (pa.int32(), pa.float64(), [-(2**31), 2**31 - 1, None], [0.5, 1e300, None]),
    "i16_d": (pa.int16(), pa.decimal128(12, 2), [-32768, 32767, None], ["9999999999.99", "-0.01", None]),
    "i32_d": (pa.int32(), pa.decimal128(10, 0), [-(2**31), 2**31 - 1, None], ["9999999999", "-1", None]),
    "i64_d": (pa.int64(), pa.decimal128(38, 10), [-(2**63), 2**63 - 1, None], ["9" * 28 + ".9999999999", "-1e-10", None]),
    "d_p": (pa.decimal128(5, 2), pa.decimal128(9, 2), ["999.99", "-999.99", None], ["9999999.99", "0.01", None]),
    "d_s": (pa.decimal128(5, 2), pa.decimal128(38, 4), ["999.99", "-999.99", None], ["1e33", "0.0001", None]),
    "day_ts": (pa.date32(), pa.timestamp("us"), [day(1582, 10, 15), day(9999, 12, 31), None],
               [moment(2024, 9, 9, 12, 34, 56, 123456), moment(1, 1, 1), None]),
}
def column(type, values):
    return decimals(type, *values) if pa.types.is_decimal(type) else pa.array(values, type)
narrow = pa.table({"id": pa.array([1, 2, 3], pa.int64())} | {n: column(a, v) for n, (a, _, v, _) in pairs.items()})
wide = pa.table({"id": pa.array([4, 5, 6], pa.int64())} | {n: column(b, v) for n, (_, b, _, v) in pairs.items()})
def widened(table):
    exact = {n: table[n].cast(b, safe=False) for n, (_, b, _, _) in pairs.items()}
    return pa.table({"id": table["id"]} | exact)
"#;

fn pipeline(from: &str, options: &str, mode: &str) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: src }} }}\n\
         target: {{ delta: {{ url: lake, properties: {{ delta.checkpointInterval: \"3\" }}{options} }} }}\n\
         tables: [ {{ from: {from}, to: t, mode: {mode} }} ]\n"
    )
}

const BACK: &str = "version: 1\npipeline: back\nsource: { delta: { url: lake } }\ntarget: { lake: { url: back } }\ntables: [ { from: t } ]\n";

/// Prints the digest of what DuckDB reads.
const DUCK: &str = r#"
import glob, os, sys
os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[2])
import duckdb, duckdb_extension_delta, row_hash
extension, = glob.glob(os.path.dirname(duckdb_extension_delta.__file__) + "/extensions/*/delta.duckdb_extension")
duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
duck.execute(f"load '{extension}'")
print(row_hash.table_digest(duck.execute("select * from delta_scan('lake/t')").to_arrow_table(), "xxh64"))
"#;

/// The actions of one kind in an entry of the log.
fn actions(bench: &Bench, version: u64, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path(&format!("lake/t/_delta_log/{version:020}.json"))).unwrap();
    let actions = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    actions.filter_map(|action| action.get(kind).cloned()).collect()
}

#[test]
fn columns_become_wider_and_no_value_changes() {
    let bench = Bench::new();
    let expected = computed(
        &bench,
        &format!(
            "{PAIRS}\npq.write_table(narrow, file_of('narrow')); pq.write_table(wide, file_of('wide'))\n\
             both = pa.concat_tables([widened(narrow), wide])\n\
             print_digests({{'both': both, 'more': pa.concat_tables([both, wide]), 'wide': wide}})"
        ),
    );
    bench.write("back.yaml", BACK);
    let read = || digests(&bench.run(&["run", "back.yaml"]).expect(0).last_line())["t"].clone();

    bench.write("p.yaml", pipeline("narrow", ", schema: widen", "append"));
    bench.run(&["run", "p.yaml"]).expect(0);
    assert!(actions(&bench, 0, "protocol")[0]["minWriterVersion"] == 2, "nothing is asked that is not needed");

    // Nothing is made wider that was not asked for.
    for options in [", schema: evolve", ", schema: freeze", ""] {
        bench.write("p.yaml", pipeline("wide", options, "append"));
        bench
            .run(&["run", "p.yaml"])
            .expect(3)
            .says("column `i8_i16` is int8 in the table and int16 in the rows")
            .says("schema: widen");
    }

    bench.write("p.yaml", pipeline("wide", ", schema: widen", "append"));
    bench.run(&["run", "p.yaml"]).expect(0);
    let protocol = &actions(&bench, 1, "protocol")[0];
    assert_eq!(protocol["readerFeatures"], json!(["typeWidening", "timestampNtz"]));
    assert_eq!(protocol["writerFeatures"], json!(["appendOnly", "invariants", "typeWidening", "timestampNtz"]));
    let metadata = &actions(&bench, 1, "metaData")[0];
    assert_eq!(metadata["configuration"]["delta.enableTypeWidening"], "true");
    let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    let fields = schema["fields"].as_array().unwrap();
    let noted = |name: &str| {
        let field = fields.iter().find(|f| f["name"] == name).unwrap();
        field["metadata"]["delta.typeChanges"].clone()
    };
    assert_eq!(noted("i8_i16"), json!([{ "fromType": "byte", "toType": "short" }]));
    assert_eq!(noted("d_s"), json!([{ "fromType": "decimal(5,2)", "toType": "decimal(38,4)" }]));
    assert_eq!(noted("day_ts"), json!([{ "fromType": "date", "toType": "timestamp_ntz" }]));
    assert_eq!(noted("id"), Value::Null);
    assert_eq!(fields.iter().filter(|f| f["metadata"] != json!({})).count(), fields.len() - 1);
    assert_eq!(read(), expected["both"]);

    let (here, row_hash) = (bench.path("."), root().join("tests/row_hash"));
    let args = [here.to_str().unwrap(), row_hash.to_str().unwrap()];
    let duck = || run_python_of(delta_reader(), DUCK, &args).trim().to_string();
    assert_eq!(duck(), expected["both"]);
    // deltalake cannot read such tables. Once it can, the README has to say so.
    let said = python(
        &bench,
        "from deltalake import DeltaTable\ntry: DeltaTable('lake/t').to_pyarrow_table(); print('read')\nexcept Exception as e: print(e)",
    );
    assert!(said.contains("typeWidening"), "{said}");

    // A table that has become wider is a table like others: added to, with a checkpoint, and narrow rows do not fit.
    bench.write("p.yaml", pipeline("narrow", ", schema: widen", "append"));
    bench.run(&["run", "p.yaml"]).expect(3).says("cast the column to int16");
    bench.write("p.yaml", pipeline("wide", "", "append"));
    bench.run(&["run", "p.yaml"]).expect(0);
    assert!(actions(&bench, 2, "protocol").is_empty() && actions(&bench, 2, "metaData").is_empty());
    let folder = bench.all_files("lake/t/_delta_log");
    assert!(folder.iter().any(|p| p.to_string_lossy().contains("checkpoint.parquet")), "{folder:?}");
    assert_eq!(read(), expected["more"]);
    assert_eq!(duck(), expected["more"]);

    bench.write("p.yaml", pipeline("wide", ", schema: widen", "full"));
    bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(read(), expected["wide"]);
}

#[test]
fn what_the_protocol_does_not_allow_is_refused() {
    let bench = Bench::new();
    python(
        &bench,
        "types = {'a': pa.int64(), 'b': pa.int32(), 'c': pa.date32(), 'd': pa.decimal128(5, 2)}\n\
         pq.write_table(pa.table({n: pa.array([None], t) for n, t in types.items()}), file_of('t'))\n\
         wider = {'a': pa.float64(), 'b': pa.decimal128(9, 0), 'c': pa.timestamp('us', 'UTC'), 'd': pa.decimal128(5, 3)}\n\
         for n, t in wider.items(): pq.write_table(pa.table({m: pa.array([None], t if m == n else u) for m, u in types.items()}), file_of(n))",
    );
    let pipeline = |from: &str, mode: &str| {
        format!(
            "version: 1\npipeline: test\nsource: {{ lake: {{ url: src }} }}\ntarget: {{ delta: {{ url: lake, schema: widen }} }}\n\
             tables: [ {{ from: {from}, to: t, mode: {mode} }} ]\n"
        )
    };
    bench.write("p.yaml", pipeline("t", "append"));
    bench.run(&["run", "p.yaml"]).expect(0);
    let hints = [("a", "int64"), ("b", "int32"), ("c", "date"), ("d", "decimal(5,2)")];
    for (mode, (table, hint)) in ["append", "full", "append", "full"].into_iter().zip(hints) {
        bench.write("p.yaml", pipeline(table, mode));
        let hint = format!("cast the column to {hint}\n");
        bench.run(&["run", "p.yaml"]).expect(3).says(&format!("column `{table}` is")).says(&hint);
    }
    assert_eq!(actions(&bench, 0, "add").len(), 1);
    assert!(!bench.path("lake/t/_delta_log/00000000000000000001.json").exists());
}
