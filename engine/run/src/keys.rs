//! The values of a check's columns in all rows of a table, as the query engine reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use transload_coerce::{Cast, MaskKind, Rulebook, relayout};
use transload_core::journal::Event;
use transload_core::{Error, Progress, Result, Source, TableName};
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
    /// For each column of the check how its values are hidden before they are compared; nothing at all hides none.
    hiding: Vec<Hiding>,
    watcher: Watcher,
}

/// Who hears how many rows are read for the checks of a table.
#[derive(Clone)]
pub(crate) struct Watcher {
    /// The target table.
    pub(crate) table: TableName,
    pub(crate) progress: Arc<dyn Progress>,
}

/// How the values of a column are hidden, if they are: by a cast to text, and a mask.
type Hiding = Option<(Cast, MaskKind)>;

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
        watcher: Watcher,
    ) -> Result<Self> {
        let transform = Arc::new(Transform::checking(plan, &source.schema(), rulebook, facts.clone())?);
        let projection = transform.projection().to_vec();
        let state = session.state();
        let scan = source.provider()?.scan(&state, Some(&projection), transform.pushdown(), None).await?;
        let check = plan.checks.len().checked_sub(1).ok_or_else(|| Error::internal("there is nothing to look for"))?;
        Ok(Self { table: plan.from.to_string(), scan, transform, check, hiding: Vec::new(), watcher })
    }

    /// The same with values as the target holds them: masked, where they are masked there.
    pub(crate) fn into_target_terms(self) -> Result<Self> {
        let columns = self.transform.check_schema(self.check)?;
        let hiding = |field: &FieldRef| self.transform.hiding(field.name()).map(|(cast, mask)| (cast.clone(), mask));
        let hiding = columns.fields().iter().map(hiding).collect();
        Ok(Self { hiding, ..self })
    }

    /// The columns of the check.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        let seen = self.transform.check_schema(self.check)?;
        if self.hiding.iter().all(Option::is_none) {
            return Ok(seen);
        }
        let hidden = |(field, hiding): (&FieldRef, &Hiding)| match hiding {
            Some(_) => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
            None => Arc::clone(field),
        };
        Ok(Arc::new(Schema::new(seen.fields().iter().zip(&self.hiding).map(hidden).collect::<Fields>())))
    }

    /// Their values.
    pub(crate) fn keys(&self) -> Result<Keys> {
        let schema = self.schema()?;
        let casts = vec![None; schema.fields().len()];
        Ok(self.keys_as(schema, casts))
    }

    /// Their values as columns of another schema, after these casts.
    pub(crate) fn keys_as(&self, schema: SchemaRef, casts: Vec<Option<Cast>>) -> Keys {
        Keys {
            reading: self.clone(),
            columns: Arc::clone(&schema),
            casts,
            form: Form::Columns,
            schema,
            rows: Arc::default(),
            splits: Vec::new(),
        }
    }
}

/// The values of a check's columns in the rows of a table that go to the target, without those where one is NULL. For a
/// check without columns it is the rows themselves, without columns.
#[derive(Clone)]
pub(crate) struct Keys {
    reading: Reading,
    /// The columns after the casts.
    columns: SchemaRef,
    casts: Vec<Option<Cast>>,
    form: Form,
    /// The columns in this form.
    schema: SchemaRef,
    /// How many were read.
    rows: Arc<AtomicU64>,
    /// The splits that one stream reads.
    splits: Vec<usize>,
}

/// In which form keys are read.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Columns,
    /// One column of bytes, which sort as the values do; behind them, if it is given, another byte.
    Bytes(Option<u8>),
}

impl Keys {
    /// The same in a form for sorting. Several columns are made one of bytes, which needs no other form to be compared;
    /// so are keys that get a `mark` behind them.
    pub(crate) fn sortable(self, mark: Option<u8>) -> Self {
        // Parts of a batch of views would keep all of it in memory.
        let owned = |field: &FieldRef| match field.data_type() {
            DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
            DataType::BinaryView => Arc::new(field.as_ref().clone().with_data_type(DataType::Binary)),
            _ => Arc::clone(field),
        };
        let columns = Arc::new(Schema::new(self.columns.fields().iter().map(owned).collect::<Fields>()));
        if mark.is_none() && columns.fields().len() == 1 {
            return Self { columns: Arc::clone(&columns), schema: columns, ..self };
        }
        let schema = Arc::new(Schema::new(vec![Field::new("key", DataType::Binary, false)]));
        Self { columns, schema, form: Form::Bytes(mark), ..self }
    }

    /// The columns, whatever form they are in.
    pub(crate) fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many have been read so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// At most so many streams, and at least one. Each reads its splits one after the other.
    fn streams(&self, most: usize) -> impl Iterator<Item = Arc<dyn PartitionStream>> {
        let splits = self.reading.scan.output_partitioning().partition_count();
        let streams = splits.min(most).max(1);
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
        let Watcher { table, progress } = &self.reading.watcher;
        progress.event(Event::RowsLookedAt { table: table.clone(), rows: batch.num_rows() as u64 });
        if self.schema.fields().is_empty() {
            let rows = done.rows.num_rows();
            return Ok(vec![self.batch(Vec::new(), rows)?]);
        }
        let keys = tally.take_keys(self.reading.check).into_iter();
        keys.map(|columns| self.cast(columns)).collect()
    }

    fn cast(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let mut cast = Vec::with_capacity(columns.len());
        for (at, ((column, rule), field)) in columns.into_iter().zip(&self.casts).zip(self.columns.fields()).enumerate()
        {
            let column = match self.reading.hiding.get(at) {
                Some(Some((text, mask))) => mask.apply(&text.apply(&column)?.array)?,
                _ => column,
            };
            let done = match rule {
                None => column,
                Some(rule) => rule.apply(&column)?.array,
            };
            cast.push(if done.data_type() == field.data_type() { done } else { relayout(&done, field)? });
        }
        let rows = cast.first().map_or(0, |column| column.len());
        if let Form::Bytes(mark) = self.form {
            let fields = self.columns.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
            let keys = RowConverter::new(fields)?.convert_columns(&cast)?;
            let marked = keys.iter().map(|key| key.data().iter().copied().chain(mark).collect::<Vec<u8>>());
            cast = vec![Arc::new(BinaryArray::from_iter_values(marked))];
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

/// The keys of one or several tables, which have the same columns, for the query engine: of each in at most so many
/// streams.
pub(crate) fn table(keys: &[&Keys], most: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let first = keys.first().ok_or_else(|| Error::internal("there are no keys to read"))?;
    let streams: Vec<Arc<dyn PartitionStream>> = keys.iter().flat_map(|keys| keys.streams(most)).collect();
    let schema = Arc::clone(&first.schema);
    Ok(Arc::new(StreamingTableExec::try_new(schema, streams, None, Vec::<LexOrdering>::new(), false, None)?))
}
