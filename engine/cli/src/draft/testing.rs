//! Tables to draft from.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::Schema;
use serde_json::json;
use transload_coerce::Cast;
use transload_core::connector::{CatalogInfo, ColumnInfo, TableInfo};
use transload_core::decode::Kinded;
use transload_core::{Endpoint, LogicalType, TableName};
use transload_quality::profile::{Profiler, Reading};

use super::{Ends, Known};
use crate::connectors;
use crate::found::{Found, Looked};
use crate::pipeline::{resolver, standard_rulebook};

/// Rows of each table.
const ROWS: i32 = 40;

/// The ends of a draft.
pub(super) struct Drafted {
    source: Kinded,
    target: Kinded,
    endpoint: Arc<dyn Endpoint>,
}

impl Drafted {
    pub(super) fn new(source: &str, target: &str) -> Self {
        let source = connectors::connection(source, json!({})).unwrap();
        let target = connectors::connection(target, json!({ "url": "./out" })).unwrap();
        let endpoint = connectors::typed(&target, &resolver()).unwrap();
        Self { source, target, endpoint }
    }

    pub(super) fn ends(&self) -> Ends<'_> {
        Ends {
            pipeline: "p",
            archetype: None,
            source: &self.source,
            target: &self.target,
            endpoint: &self.endpoint,
            checks: true,
        }
    }
}

/// A table of a database with one column, `id`, which is never NULL.
pub(super) fn table(name: &str) -> TableInfo {
    TableInfo {
        name: TableName::new(name),
        format: "table".to_string(),
        columns: vec![("id".to_string(), LogicalType::Int(64), false)],
        rows: None,
        estimated_rows: None,
        bytes: None,
        files: None,
        catalog: Some(CatalogInfo { kind: "table".to_string(), ..CatalogInfo::default() }),
    }
}

/// Adds a column of which the database says something.
pub(super) fn described(table: &mut TableInfo, name: &str, ty: &str, source_type: &str, reason: Option<&str>) {
    table.columns.push((name.to_string(), ty.parse().unwrap(), true));
    table.catalog.as_mut().unwrap().columns.push(ColumnInfo {
        name: name.to_string(),
        ty: source_type.to_string(),
        reason: reason.map(str::to_string),
        comment: None,
    });
}

/// A table with its rows looked at, or not: whole numbers that count up, numbers as texts, days in a row; other columns have
/// no values.
pub(super) fn found(info: TableInfo, sampled: Option<Option<u8>>) -> Found {
    let looked = sampled.map(|sampled| {
        let fields: Vec<_> = info.columns.iter().map(|(name, ty, _)| ty.to_field(name, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let arrays: Vec<ArrayRef> = info.columns.iter().map(|(_, ty, _)| values(ty)).collect();
        let cast = Cast::new(&standard_rulebook().unwrap(), &LogicalType::Text, &LogicalType::Decimal(38, 18)).unwrap();
        let ty = LogicalType::Decimal(38, 18);
        let reading = Reading { ty, read: Box::new(move |texts: &ArrayRef| Ok(cast.apply(texts)?.array)) };
        let mut profiler = Profiler::new(&schema, Arc::from(vec![reading])).unwrap();
        let misfits = vec![0; arrays.len()];
        profiler.update(&RecordBatch::try_new(schema, arrays).unwrap(), &misfits).unwrap();
        Looked { profiler, sampled }
    });
    Found { info, looked }
}

/// The same as decisions are made from.
pub(super) fn known(found: &Found) -> Known<'_> {
    super::known(found).unwrap()
}

fn values(ty: &LogicalType) -> ArrayRef {
    match ty {
        LogicalType::Int(64) => Arc::new(Int64Array::from_iter_values(0..i64::from(ROWS))),
        LogicalType::Text => Arc::new(StringArray::from_iter_values((0..ROWS).map(|n| format!("{n}.25")))),
        LogicalType::Date => Arc::new(Date32Array::from_iter_values((0..ROWS).map(|n| 18_000 + n))),
        other => new_null_array(&other.to_arrow(), usize::try_from(ROWS).unwrap()),
    }
}
