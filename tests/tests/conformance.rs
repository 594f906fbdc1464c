//! The conformance suite over every connector: one line each.

use std::sync::Arc;

use transload_core::secret::NoReferences;
use transload_core::{Connector, Endpoint, TableName};
use transload_testkit::{claims_are_kept, sink_keeps_its_promises, source_keeps_its_promises};

use crate::harness::run_python;

fn endpoint(connector: &dyn Connector, options: serde_json::Value) -> Arc<dyn Endpoint> {
    connector
        .parse(&serde_json::from_value(options).unwrap(), Arc::new(NoReferences))
        .map_err(|p| format!("{p:?}"))
        .unwrap()
}

#[tokio::test]
async fn tpch_keeps_its_promises() {
    let tpch = endpoint(&transload_tpch::Tpch, serde_json::json!({ "scale": 0.01 }));
    for table in tpch.discover().await.unwrap() {
        source_keeps_its_promises(&tpch, &table.name).await.unwrap();
    }
}

#[tokio::test]
async fn lake_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    let lake = endpoint(&transload_lake::Lake, serde_json::json!({ "url": dir.path() }));
    sink_keeps_its_promises(&lake, "t").await.unwrap();
    claims_are_kept(&lake, transload_lake::Lake.capability(), "claimed").await.unwrap();
    for table in lake.discover().await.unwrap() {
        source_keeps_its_promises(&lake, &table.name).await.unwrap();
    }
}

#[tokio::test]
async fn lakes_of_other_formats_keep_their_promises() {
    for (format, options) in [
        ("csv", serde_json::json!({ "file_bytes": 65536 })),
        ("csv", serde_json::json!({ "delimiter": "\t", "header": false, "compression": "zstd" })),
        ("json", serde_json::json!({})),
        ("json", serde_json::json!({ "compression": "gzip" })),
        ("avro", serde_json::json!({})),
        ("avro", serde_json::json!({ "compression": "snappy" })),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let lake = endpoint(
            &transload_lake::Lake,
            serde_json::json!({ "url": dir.path(), "format": format, format: options }),
        );
        sink_keeps_its_promises(&lake, "t").await.unwrap();
        for table in lake.discover().await.unwrap() {
            assert_eq!(table.format, format);
            source_keeps_its_promises(&lake, &table.name).await.unwrap();
        }
    }
}

#[tokio::test]
async fn json_avro_and_orc_keep_their_promises() {
    let dir = tempfile::tempdir().unwrap();
    for day in ["2024-01-01", "2024-01-02"] {
        std::fs::create_dir_all(dir.path().join(format!("days/day={day}"))).unwrap();
    }
    std::fs::write(dir.path().join("plain.jsonl"), "{\"id\":1,\"a\":{\"b\":[1,null]}}\n\n{\"id\":2}\n").unwrap();
    std::fs::write(dir.path().join("days/day=2024-01-01/a.json"), "{\"id\":1}\n").unwrap();
    std::fs::write(dir.path().join("days/day=2024-01-02/b.ndjson"), "{\"more\":\"x\",\"id\":2.5}").unwrap();
    let script = "import sys, polars as pl, pyarrow.orc as po\n\
                  frame = pl.DataFrame({'id': range(10_000), 'word': ['a', None] * 5_000, 'list': [[1], []] * 5_000})\n\
                  for folder in ('.', 'days/day=2024-01-01', 'days/day=2024-01-02'):\n\
                  \tpo.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), f'{sys.argv[1]}/{folder}/o.orc')\n\
                  \tframe.write_avro(f'{sys.argv[1]}/{folder}/v.avro')";
    run_python(script, &[dir.path().to_str().unwrap()]);
    for (format, tables) in [
        ("json", ["plain.jsonl", "plain", "days", "days/**/*json"]),
        ("avro", ["v.avro", "v", "days", "days/**/*.avro"]),
        ("orc", ["o.orc", "o", "days", "days/**/*.orc"]),
    ] {
        let lake = endpoint(&transload_lake::Lake, serde_json::json!({ "url": dir.path(), "format": format }));
        for table in tables {
            source_keeps_its_promises(&lake, &TableName::new(table)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn csv_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("days/day=2024-01-01")).unwrap();
    std::fs::create_dir_all(dir.path().join("days/day=2024-01-02")).unwrap();
    std::fs::write(dir.path().join("plain.csv"), "id,word\n1,a\n2,\n3,\"x\ny\"\n").unwrap();
    std::fs::write(dir.path().join("days/day=2024-01-01/a.csv"), "id\n1\n").unwrap();
    std::fs::write(dir.path().join("days/day=2024-01-02/b.csv"), "id,more\n2,x\n").unwrap();
    let csv = endpoint(&transload_lake::Lake, serde_json::json!({ "url": dir.path(), "format": "csv" }));
    for table in ["plain.csv", "plain", "days", "days/**/*.csv"] {
        source_keeps_its_promises(&csv, &TableName::new(table)).await.unwrap();
    }
}
