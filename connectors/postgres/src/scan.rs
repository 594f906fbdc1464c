//! A pinned table as a query-engine scan: one partition per split, each read by a `COPY` of its own.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OwnedSemaphorePermit;
use transload_core::{Error, PinnedPart, Result};

use crate::client::{CancelGuard, Client, Copied};
use crate::decode::Decoder;
use crate::error::sqlstate;
use crate::filter;
use crate::names::quote;
use crate::pin::Reading;
use crate::splits::{Pages, from_item};
use crate::types::Column;

/// About how many bytes a batch may have: rows can be wide.
const BATCH_BYTES: usize = 8 << 20;

/// So many columns take the server more memory for each row than its allocator keeps from one to the next.
const MANY_COLUMNS: usize = 100;

/// Makes the allocator of the server's process keep it: glibc gives pieces back to the system, at each row, up to the size of
/// the largest that was ever given back. Rows of 300 columns come five times as fast.
const KEEP_MEMORY: &str = "SELECT pg_catalog.octet_length(pg_catalog.repeat('x', 16777216))";

/// Which rows of the parts are read.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// All.
    All,
    /// Those that one of these transactions has written, or those that none of them has.
    Of { transactions: Vec<u32>, are_wanted: bool },
    /// About so many of a hundred: those of some pages.
    Sample(u8),
}

/// What one split reads.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) part: PinnedPart,
    pub(crate) pages: Pages,
}

/// A pinned table for the query engine.
#[derive(Clone)]
pub(crate) struct PinnedTable {
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Arc<[Column]>,
    /// One for each split.
    pub(crate) ranges: Arc<[Range]>,
    pub(crate) rows: Rows,
    pub(crate) reading: Arc<Reading>,
}

impl fmt::Debug for PinnedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedTable").field("ranges", &self.ranges).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl PinnedTable {
    /// What of a filter the server applies. A database that does not have every character refuses some texts.
    fn said(&self, filter: &Expr) -> Option<String> {
        filter::sql(filter, &self.columns).filter(|sql| self.reading.is_utf8() || sql.is_ascii())
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let judged = |filter: &&Expr| match self.said(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(judged).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.columns.len()).collect());
        let conditions = filters.iter().filter_map(|filter| self.said(filter)).collect();
        Ok(Arc::new(CopyScan::new(self.clone(), &projection, conditions)?))
    }
}

/// Reads one split per partition.
#[derive(Debug)]
struct CopyScan {
    table: PinnedTable,
    /// Those that are read, in their order.
    columns: Arc<[Column]>,
    conditions: Vec<String>,
    properties: Arc<PlanProperties>,
}

impl CopyScan {
    fn new(table: PinnedTable, projection: &[usize], conditions: Vec<String>) -> DfResult<Self> {
        let schema: SchemaRef = Arc::new(table.schema.project(projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(table.ranges.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let columns = projection.iter().filter_map(|at| table.columns.get(*at).cloned()).collect();
        Ok(Self { table, columns, conditions, properties: Arc::new(properties) })
    }

    /// What the server is asked for.
    fn sql(&self, range: &Range) -> String {
        let values: Vec<String> = self.columns.iter().map(|c| c.kind.select(&quote(&c.name))).collect();
        let (sample, own) = match &self.table.rows {
            Rows::All => (String::new(), None),
            Rows::Of { transactions, are_wanted } => (String::new(), Some(written_by(transactions, *are_wanted))),
            Rows::Sample(percent) => (format!(" TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)"), None),
        };
        let conditions: Vec<String> = range
            .pages
            .condition()
            .into_iter()
            .chain(own)
            .chain(self.conditions.iter().map(|c| format!("({c})")))
            .collect();
        let filter = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let (values, from) = (values.join(", "), from_item(&range.part));
        format!("COPY (SELECT {values} FROM {from}{sample}{filter}) TO STDOUT (FORMAT binary)")
    }
}

/// The condition that a row was written by one of these transactions, or by none of them.
fn written_by(transactions: &[u32], are_wanted: bool) -> String {
    let list: Vec<String> = transactions.iter().map(|xid| format!("'{xid}'::pg_catalog.xid")).collect();
    match (list.is_empty(), are_wanted) {
        (true, wanted) => (!wanted).to_string(),
        (false, true) => format!("xmin = ANY (ARRAY[{}])", list.join(", ")),
        (false, false) => format!("NOT xmin = ANY (ARRAY[{}])", list.join(", ")),
    }
}

impl DisplayAs for CopyScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyScan: {} splits", self.table.ranges.len())
    }
}

impl ExecutionPlan for CopyScan {
    fn name(&self) -> &'static str {
        "CopyScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let range = self.table.ranges.get(partition);
        let range = range.ok_or_else(|| DataFusionError::Internal("there is no such split".to_string()))?;
        let copy = Copy {
            sql: self.sql(range),
            part: range.part.clone(),
            columns: Arc::clone(&self.columns),
            schema: self.schema(),
            batch_rows: context.session_config().batch_size(),
            reading: Arc::clone(&self.table.reading),
        };
        let batches = futures::stream::try_unfold(State::New(copy), State::next).map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// What one split asks for.
struct Copy {
    sql: String,
    part: PinnedPart,
    columns: Arc<[Column]>,
    schema: SchemaRef,
    batch_rows: usize,
    reading: Arc<Reading>,
}

/// How far one split is.
enum State {
    New(Copy),
    Open(Box<Open>),
    End,
}

/// A split that is being read. What is dropped before its end is called off at the server; what the server has ended itself
/// is not.
struct Open {
    guard: CancelGuard,
    rows: Copied,
    decoder: Decoder,
    batch_rows: usize,
    part: PinnedPart,
    client: Client,
    reading: Arc<Reading>,
    _permit: OwnedSemaphorePermit,
}

impl Copy {
    async fn open(self) -> Result<Open> {
        let permit = self.reading.permit().await?;
        let client = self.reading.client().await?;
        let guard = client.cancel_guard();
        if self.columns.len() >= MANY_COLUMNS {
            client.query(KEEP_MEMORY, &[]).await?;
        }
        let rows = match client.copy_out(&self.sql).await {
            Ok(rows) => rows,
            Err(error) => {
                if sqlstate(&error).is_some() {
                    guard.disarm();
                }
                return Err(error);
            }
        };
        let decoder = Decoder::new(&self.columns, Arc::clone(&self.schema));
        let (batch_rows, part, reading) = (self.batch_rows.max(1), self.part, self.reading);
        Ok(Open { guard, rows, decoder, batch_rows, part, client, reading, _permit: permit })
    }
}

impl Open {
    fn is_full(&self) -> bool {
        self.decoder.rows() >= self.batch_rows || self.decoder.bytes() >= BATCH_BYTES
    }
}

impl State {
    async fn next(self) -> Result<Option<(RecordBatch, Self)>> {
        let mut open = match self {
            Self::New(copy) => Box::new(copy.open().await?),
            Self::Open(open) => open,
            Self::End => return Ok(None),
        };
        while !open.is_full() {
            match open.rows.next().await {
                Some(Ok(bytes)) => open.decoder.feed(&bytes)?,
                Some(Err(error)) => {
                    if error.as_db_error().is_some() {
                        open.guard.disarm();
                    }
                    return Err(open.client.explain(error));
                }
                None if open.decoder.is_complete() => {
                    open.guard.disarm();
                    let batch = (open.decoder.rows() > 0).then(|| open.decoder.finish()).transpose()?;
                    let Open { client, reading, rows, part, _permit, .. } = *open;
                    drop(rows);
                    reading.confirm(&client, &part).await?;
                    reading.give_back(client);
                    return Ok(batch.map(|batch| (batch, Self::End)));
                }
                None => return Err(Error::transient("the rows ended before their end was said")),
            }
        }
        let batch = open.decoder.finish()?;
        Ok(Some((batch, Self::Open(open))))
    }
}

/// The schema of columns.
pub(crate) fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|c| c.kind.field(&c.name, c.nullable)).collect::<Vec<_>>()))
}
