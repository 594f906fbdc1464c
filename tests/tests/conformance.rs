//! The conformance suite over every connector: one line each.

use std::sync::Arc;

use transload_core::secret::NoReferences;
use transload_core::{Connector, Endpoint, TableName};
use transload_testkit::{sink_keeps_its_promises, source_keeps_its_promises};

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
    for table in lake.discover().await.unwrap() {
        source_keeps_its_promises(&lake, &table.name).await.unwrap();
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
