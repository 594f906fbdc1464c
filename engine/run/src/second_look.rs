//! A second look at the rows of a table, for rules about keys.
//!
//! Once all rows are staged, the source is read again at its pin, through the same transform but in no more columns than
//! it takes. The keys are sorted, on disk where memory does not suffice, so that equal ones come one after the other.
//! Nothing of this has to survive a crash: a resumed run looks again.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, make_comparator};
use arrow::compute::{SortOptions, partition};
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, execute_stream};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use transload_coerce::Rulebook;
use transload_core::clock::Ticks;
use transload_core::finding::CheckTally;
use transload_core::{Error, Result, Source};
use transload_plan::{Place, RunFacts, TablePlan, Transform};
use transload_quality::Check;

/// What is looked at again.
pub(crate) struct SecondLook<'a> {
    pub(crate) plan: &'a TablePlan,
    pub(crate) source: &'a Arc<dyn Source>,
    pub(crate) rulebook: &'a Rulebook,
    pub(crate) facts: &'a RunFacts,
    pub(crate) session: &'a SessionContext,
    /// Measures how long it takes.
    pub(crate) ticks: Ticks,
}

impl SecondLook<'_> {
    /// What the checks that need it find, as one more tally in the order of the plan; `None` if none needs it.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the source is no longer what was pinned.
    pub(crate) async fn tally(&self) -> Result<Option<Vec<CheckTally>>> {
        let checks = &self.plan.checks;
        if !checks.iter().any(Check::is_about_keys) {
            return Ok(None);
        }
        let mut tallies = Vec::with_capacity(checks.len());
        for check in checks {
            let mut tally = CheckTally { fingerprint: check.fingerprint.clone(), ..CheckTally::default() };
            if check.is_about_keys() {
                let begun = (self.ticks)();
                let (rows, repeated) = count(self.sorted_keys(check).await?).await?;
                tally.nanos = Some((self.ticks)().saturating_sub(begun));
                tally.evaluated = rows;
                tally.state = repeated.into();
            }
            tallies.push(tally);
        }
        Ok(Some(tallies))
    }

    /// The values of a check's columns in all rows that go to the target, sorted.
    async fn sorted_keys(&self, check: &Check) -> Result<SendableRecordBatchStream> {
        let plan = self.plan.narrowed(check);
        let number = plan.checks.len() - 1;
        let transform = Arc::new(Transform::new(&plan, &self.source.schema(), self.rulebook, self.facts.clone())?);
        let projection = transform.projection().to_vec();
        let state = self.session.state();
        let scan = self.source.provider()?.scan(&state, Some(&projection), transform.pushdown(), None).await?;
        let schema = transform.check_schema(number)?;
        let keys = |partition| {
            let (scan, transform, schema) = (Arc::clone(&scan), Arc::clone(&transform), Arc::clone(&schema));
            Arc::new(Keys { scan, transform, schema, number, partition }) as Arc<dyn PartitionStream>
        };
        let partitions = (0..scan.output_partitioning().partition_count()).map(keys).collect();
        let by = schema.fields().iter().enumerate().map(|(i, f)| Arc::new(Column::new(f.name(), i)));
        let by = LexOrdering::new(by.map(|column| PhysicalSortExpr::new_default(column)))
            .ok_or_else(|| Error::internal("nothing to sort by"))?;
        let keys = StreamingTableExec::try_new(schema, partitions, None, Vec::<LexOrdering>::new(), false, None)?;
        let sort = SortExec::new(by.clone(), Arc::new(keys)).with_preserve_partitioning(true);
        let merged: Arc<dyn ExecutionPlan> = Arc::new(SortPreservingMergeExec::new(by, Arc::new(sort)));
        Ok(execute_stream(merged, self.session.task_ctx())?)
    }
}

/// How many rows there are, and how many of them repeat the one before.
async fn count(mut sorted: SendableRecordBatchStream) -> Result<(u64, u64)> {
    let (mut rows, mut repeated) = (0u64, 0u64);
    let mut before: Option<Vec<ArrayRef>> = None;
    while let Some(batch) = sorted.next().await.transpose()? {
        if batch.num_rows() == 0 {
            continue;
        }
        let different = partition(batch.columns())?.len() as u64;
        rows += batch.num_rows() as u64;
        repeated += batch.num_rows() as u64 - different;
        if let Some(before) = &before {
            repeated += u64::from(same(before, batch.columns())?);
        }
        before = Some(batch.slice(batch.num_rows() - 1, 1).columns().to_vec());
    }
    Ok((rows, repeated))
}

/// Whether the only row of `before` is the first one of `after`.
fn same(before: &[ArrayRef], after: &[ArrayRef]) -> Result<bool> {
    for (before, after) in before.iter().zip(after) {
        if make_comparator(before, after, SortOptions::default())?(0, 0).is_ne() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The keys of one split.
struct Keys {
    scan: Arc<dyn ExecutionPlan>,
    transform: Arc<Transform>,
    schema: SchemaRef,
    /// The number of the check in the narrowed plan.
    number: usize,
    partition: usize,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.partition)
    }
}

impl PartitionStream for Keys {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (transform, schema, number) = (Arc::clone(&self.transform), Arc::clone(&self.schema), self.number);
        let mut tally = transform.tally(false);
        tally.take_keys(number);
        let keys_of = move |batch: RecordBatch| {
            // Where a row stands does not matter here.
            transform.apply(&batch, Place::default(), &mut tally)?;
            let keys = tally.take_keys(number).into_iter();
            let keys: Result<Vec<RecordBatch>> =
                keys.map(|columns| Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)).collect();
            Ok::<_, DataFusionError>(futures::stream::iter(keys?.into_iter().map(Ok::<_, DataFusionError>)))
        };
        let batches = match self.scan.execute(self.partition, context) {
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
            Ok(rows) => {
                let mut keys_of = keys_of;
                rows.map(move |batch| keys_of(batch?)).try_flatten().boxed()
            }
        };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
