#![doc = include_str!("../README.md")]

mod table;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::StreamExt;
use serde::Deserialize;
use transload_core::connector::{Capability, Connector, Endpoint, ReadSpec, Sink, Source, WriteSpec};
use transload_core::decode::decode;
use transload_core::tree::Spanned;
use transload_core::{Error, Node, Pin, Problem, Resolve, Result, Split, TableName};

use crate::table::Table;

/// The `tpch` kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tpch;

/// Options of a tpch connection.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Size: 1 is about 1 GB of text. More than 0, at most 10000.
    #[serde(default)]
    #[schemars(range(max = 10000), extend("exclusiveMinimum" = 0))]
    scale: Option<Spanned<f64>>,
}

impl Connector for Tpch {
    fn kind(&self) -> &'static str {
        "tpch"
    }

    fn capability(&self) -> Capability {
        Capability { source: true, discover: true, ..Capability::default() }
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Options>()
    }

    fn parse(&self, options: &Node, _: Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>, Vec<Problem>> {
        let mut problems = Vec::new();
        let parsed: Option<Options> = decode(options, &mut problems);
        let scale = parsed.and_then(|o| o.scale).unwrap_or(Spanned::nowhere(1.0));
        if !(scale.value > 0.0 && scale.value <= 10_000.0) {
            let message = format!("the scale must be more than 0 and at most 10000, not {}", scale.value);
            problems.push(Problem::new(scale.span, message).hint("0.01 is good for a try"));
        }
        if problems.is_empty() { Ok(Arc::new(Generator { scale: scale.value })) } else { Err(problems) }
    }
}

/// The tables at one scale.
struct Generator {
    scale: f64,
}

impl Generator {
    fn find(&self, name: &TableName) -> Result<Table, String> {
        Table::ALL.into_iter().find(|t| t.name() == name.as_str()).ok_or_else(|| {
            let names: Vec<&str> = Table::ALL.iter().map(|t| t.name()).collect();
            format!("tpch has no table `{name}`; it has {}", names.join(", "))
        })
    }
}

#[async_trait]
impl Endpoint for Generator {
    fn check_name(&self, table: &TableName) -> Result<(), String> {
        self.find(table).map(drop)
    }

    fn check_write(&self, _: &WriteSpec) -> Result<(), String> {
        Err("tpch can only be read".to_string())
    }

    fn check_read(&self) -> Vec<Problem> {
        Vec::new()
    }

    fn together(self: Arc<Self>) -> Arc<dyn Endpoint> {
        self
    }

    fn known_tables(&self) -> Option<Vec<TableName>> {
        let mut names: Vec<TableName> = Table::ALL.into_iter().map(|t| TableName::new(t.name())).collect();
        names.sort();
        Some(names)
    }

    fn declares_types(&self) -> bool {
        false
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        Ok(self.known_tables().unwrap_or_default())
    }

    async fn source(&self, table: &TableName, spec: &ReadSpec) -> Result<Arc<dyn Source>> {
        let found = self.find(table).map_err(Error::config)?;
        let pin = Pin::Formula(format!("tpch at scale {}", self.scale));
        if spec.pin.as_ref().is_some_and(|wanted| *wanted != pin) {
            return Err(Error::config("the source is no longer what was planned").with("table", table.as_str()));
        }
        Ok(Arc::new(Generated { table: found, scale: self.scale, pin, splits: found.splits(self.scale) }))
    }

    async fn sink(&self, table: &TableName, _: SchemaRef, _: &WriteSpec) -> Result<Arc<dyn Sink>> {
        Err(Error::config("tpch can only be read").with("table", table.as_str()))
    }
}

/// One table at one scale.
#[derive(Debug)]
struct Generated {
    table: Table,
    scale: f64,
    pin: Pin,
    splits: Vec<Split>,
}

impl Source for Generated {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn pin(&self) -> &Pin {
        &self.pin
    }

    fn splits(&self) -> &[Split] {
        &self.splits
    }

    fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        let parts = self.splits.len();
        let partition = |part| {
            let (table, scale) = (self.table, self.scale);
            Arc::new(Part { table, scale, part, parts, schema: table.schema() }) as Arc<dyn PartitionStream>
        };
        Ok(Arc::new(StreamingTable::try_new(self.schema(), (0..parts).map(partition).collect())?))
    }
}

/// One split.
#[derive(Debug)]
struct Part {
    table: Table,
    scale: f64,
    part: usize,
    parts: usize,
    schema: SchemaRef,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch_size = context.session_config().batch_size();
        let batches = self.table.generate(self.scale, self.part, self.parts, batch_size);
        let batches = futures::stream::iter(batches).map(|batch| Ok(batch?));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn count(scale: f64, table: &str) -> (usize, Arc<dyn Source>) {
        let endpoint = Generator { scale };
        let source = endpoint.source(&TableName::new(table), &ReadSpec::default()).await.unwrap();
        let context = SessionContext::new();
        let rows = context.read_table(source.provider().unwrap()).unwrap().count().await.unwrap();
        (rows, source)
    }

    #[tokio::test]
    async fn every_table_has_the_rows_it_promises() {
        for table in Table::ALL {
            let (rows, source) = count(0.01, table.name()).await;
            match table {
                Table::Lineitem => assert_eq!(rows, 60_175),
                _ => assert_eq!(rows as u64, table.rows(0.01), "{}", table.name()),
            }
            assert_eq!(*source.pin(), Pin::Formula("tpch at scale 0.01".into()));
        }
    }

    #[tokio::test]
    async fn splits_are_the_table() {
        let source = Generator { scale: 0.3 }.source(&TableName::new("orders"), &ReadSpec::default()).await.unwrap();
        assert!(source.splits().len() > 1);
        assert_eq!(source.splits().iter().map(|s| s.rows.unwrap()).sum::<u64>(), 450_000);
        assert_eq!(count(0.3, "orders").await.0, 450_000);
    }
}
