//! A table to generate from.

use serde_json::{Value as Json, json};
use transload_plan::{Plan, TablePlan};
use transload_quality::{Check, Rule};

/// A check of a rule, as it stands in a pipeline.
pub(crate) fn check(rule: &str) -> Check {
    let mut json: Json = serde_json::from_str(rule).unwrap();
    // A list of columns is short for settings.
    for settings in json.as_object_mut().unwrap().values_mut() {
        if settings.is_array() {
            *settings = json!({ "columns": settings });
        }
    }
    Check::new(serde_json::from_str::<Rule>(&json.to_string()).unwrap()).unwrap()
}

/// A table with a column of every origin.
pub(crate) fn table() -> TablePlan {
    serde_json::from_str(&table_json().to_string()).unwrap()
}

fn table_json() -> Json {
    let source = |name: &str, ty: &str| json!({ "name": name, "type": ty, "nullable": true });
    let target = |name: &str, ty: &str, from: &str| json!({ "name": name, "type": ty, "nullable": true, "origin": { "source": from }, "cast": null, "mask": null });
    let mut balance = target("balance", "decimal(12,2)", "acctbal");
    balance["cast"] = json!({ "from": "text", "to": "decimal(12,2)", "loss": "checked", "on_misfit": "null_counted" });
    let mut phone = target("phone", "text", "phone");
    phone["mask"] = json!("partial");
    let mut year = target("year", "int32", "");
    year["origin"] = json!({ "derived": "date_part('year', placed)" });
    let mut ingested = target("_ingested_at", "timestamp(us, UTC)", "");
    ingested["origin"] = json!({ "metadata": "_ingested_at" });
    json!({
        "from": "in/orders",
        "to": "shop/orders",
        "pin": { "formula": "x" },
        "splits": [],
        "source_columns": [
            source("id", "int64"), source("acctbal", "text"), source("phone", "text"), source("status", "text"),
            source("rate", "float64"), source("placed", "date"), source("huge", "decimal(50,2)"), source("gone", "text"),
        ],
        "columns": [
            target("id", "int64", "id"), balance, phone, target("status", "text", "status"),
            target("rate", "float64", "rate"), target("placed", "date", "placed"),
            target("huge", "decimal(50,2)", "huge"), year, ingested,
        ],
        "filter": null,
        "incremental": null,
        "write": "replace",
        "expected": "missing",
        "partition_by": [],
        "key": ["id"],
        "reconcile": { "level": "row", "hash": "xxh64" },
        "estimated_rows": null,
    })
}

/// A plan with this one table, from one folder into another.
pub(crate) fn plan(table: TablePlan) -> Plan {
    let plan = json!({
        "version": 1,
        "fingerprint": "0".repeat(64),
        "pipeline": "shop-nightly",
        "archetype": "table_copy",
        "rulebook": {},
        "source": { "kind": "lake", "options": { "url": "./in" } },
        "target": { "kind": "lake", "options": { "url": "./lake" } },
        "tables": [],
    });
    let plan: Plan = serde_json::from_str(&plan.to_string()).unwrap();
    Plan { tables: vec![table], ..plan }
}
