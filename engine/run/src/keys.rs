//! The values of a check's columns in all rows of a table, as the query engine reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use transload_coerce::{Cast, Rulebook};
use transload_core::{Error, Result, Source};
use transload_plan::{RunFacts, TablePlan, Transform};
use transload_quality::Tally;

/// A table that is read for one check, which is the last of its plan.
#[derive(Clone)]
pub(crate) struct Reading {
    table: String,
    scan: Arc<dyn ExecutionPlan>,
    transform: Arc<Transform>,
    /// The number of the check.
    check: usize,
}

impl Reading {
    /// Opens a table whose plan is narrowed to a check.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the plan does not fit the source any more.
    pub(crate) async fn open(
        plan: &TablePlan,
        source: &Arc<dyn Source>,
        rulebook: &Rulebook,
        facts: &RunFacts,
        session: &SessionContext,
    ) -> Result<Self> {
        let transform = Arc::new(Transform::checking(plan, &source.schema(), rulebook, facts.clone())?);
        let projection = transform.projection().to_vec();
        let state = session.state();
        let scan = source.provider()?.scan(&state, Some(&projection), transform.pushdown(), None).await?;
        let check = plan.checks.len().checked_sub(1).ok_or_else(|| Error::internal("there is nothing to look for"))?;
        Ok(Self { table: plan.from.to_string(), scan, transform, check })
    }

    /// The columns of the check.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        self.transform.check_schema(self.check)
    }

    /// Their values.
    pub(crate) fn keys(&self) -> Result<Keys> {
        let schema = self.schema()?;
        let casts = vec![None; schema.fields().len()];
        Ok(self.keys_as(schema, casts))
    }

    /// Their values as columns of another schema, after these casts.
    pub(crate) fn keys_as(&self, schema: SchemaRef, casts: Vec<Option<Cast>>) -> Keys {
        Keys { reading: self.clone(), schema, casts, mark: None, rows: Arc::default(), splits: Vec::new() }
    }
}

/// The values of a check's columns in the rows of a table that go to the target, without those where one is NULL. For a
/// check without columns it is the rows themselves, without columns.
#[derive(Clone)]
pub(crate) struct Keys {
    reading: Reading,
    schema: SchemaRef,
    casts: Vec<Option<Cast>>,
    /// What a last column says of each row.
    mark: Option<bool>,
    /// How many were read.
    rows: Arc<AtomicU64>,
    /// The splits that one stream reads.
    splits: Vec<usize>,
}

impl Keys {
    /// The same with one more column, which says of each row whether it is of the table that is checked.
    pub(crate) fn marked(self, own: bool) -> Self {
        let mark = Arc::new(Field::new("_transload_own", DataType::Boolean, false));
        let fields = self.schema.fields().iter().cloned().chain([mark]);
        Self { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), mark: Some(own), ..self }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many have been read so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// As many streams as may run at the same time, and at least one. Each reads its splits one after the other.
    fn streams(&self, session: &SessionContext) -> impl Iterator<Item = Arc<dyn PartitionStream>> {
        let splits = self.reading.scan.output_partitioning().partition_count();
        let streams = splits.min(session.copied_config().target_partitions()).max(1);
        let keys = self.clone();
        (0..streams).map(move |first| {
            let splits = (first..splits).step_by(streams).collect();
            Arc::new(Self { splits, ..keys.clone() }) as Arc<dyn PartitionStream>
        })
    }

    fn read(&self, batch: &RecordBatch, tally: &mut Tally) -> Result<Vec<RecordBatch>> {
        // Where a row stands does not matter here.
        let done = self
            .reading
            .transform
            .apply(batch, transload_plan::Place::default(), tally)
            .map_err(|e| e.with("table", &self.reading.table))?;
        if self.schema.fields().is_empty() {
            let rows = done.rows.num_rows();
            return Ok(vec![self.batch(Vec::new(), rows)?]);
        }
        let keys = tally.take_keys(self.reading.check).into_iter();
        keys.map(|columns| self.cast(columns)).collect()
    }

    fn cast(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let mut cast = Vec::with_capacity(columns.len() + 1);
        for (column, rule) in columns.into_iter().zip(&self.casts) {
            let done = match rule {
                None => column,
                Some(rule) => rule.apply(&column)?.array,
            };
            cast.push(done);
        }
        let rows = cast.first().map_or(0, |column| column.len());
        if let Some(own) = self.mark {
            let marks = if own { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) };
            cast.push(Arc::new(BooleanArray::new(marks, None)));
        }
        self.batch(cast, rows)
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({}, splits {:?})", self.reading.table, self.splits)
    }
}

impl PartitionStream for Keys {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let keys = self.clone();
        let scan = Arc::clone(&self.reading.scan);
        let mut tally = self.reading.transform.tally(false);
        tally.take_keys(self.reading.check);
        let splits = futures::stream::iter(self.splits.clone());
        let rows = splits.map(move |split| scan.execute(split, Arc::clone(&context))).try_flatten();
        let batches = rows
            .map(move |batch: Result<RecordBatch, DataFusionError>| {
                let batches = keys.read(&batch?, &mut tally)?;
                Ok::<_, DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok::<_, DataFusionError>)))
            })
            .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// The keys of one or several tables, which have the same columns, for the query engine.
pub(crate) fn table(keys: &[&Keys], session: &SessionContext) -> Result<Arc<dyn ExecutionPlan>> {
    let first = keys.first().ok_or_else(|| Error::internal("there are no keys to read"))?;
    let streams: Vec<Arc<dyn PartitionStream>> = keys.iter().flat_map(|keys| keys.streams(session)).collect();
    let schema = Arc::clone(&first.schema);
    Ok(Arc::new(StreamingTableExec::try_new(schema, streams, None, Vec::<LexOrdering>::new(), false, None)?))
}
