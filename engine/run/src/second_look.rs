//! A second look at the rows of a table, for rules about keys and about other tables.
//!
//! Once all rows are staged, the source is read again at its pin, through the same transform but in no more columns than
//! it takes; so is another table that a rule looks at. Keys are sorted, on disk where memory does not suffice, so that
//! equal ones come one after the other. Those of another table are kept in memory, if there is room for them.
//! Nothing of this has to survive a crash: a resumed run looks again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, make_comparator};
use arrow::compute::{SortOptions, filter, partition};
use arrow::datatypes::SchemaRef;
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use transload_coerce::{Cast, Rulebook};
use transload_core::clock::Ticks;
use transload_core::finding::CheckTally;
use transload_core::{Error, Result, Source};
use transload_plan::{Comparable, RunFacts, TablePlan};
use transload_quality::{Check, Look, Missing, Other, Place, Seen};

use crate::keys::{Keys, Reading, table};

/// Another table that checks look at, open at its pin.
pub(crate) struct OtherTable {
    pub(crate) place: Place,
    pub(crate) plan: TablePlan,
    pub(crate) source: Arc<dyn Source>,
}

impl OtherTable {
    /// Whether it is the table that a check looks at.
    pub(crate) fn is(&self, other: &Other<'_>) -> bool {
        self.place == other.place && self.plan.to.as_str() == other.table.value
    }
}

/// What is looked at again.
pub(crate) struct SecondLook<'a> {
    pub(crate) plan: &'a TablePlan,
    pub(crate) source: &'a Arc<dyn Source>,
    /// The other tables that its checks look at.
    pub(crate) others: &'a [OtherTable],
    pub(crate) rulebook: &'a Rulebook,
    pub(crate) facts: &'a RunFacts,
    pub(crate) session: &'a SessionContext,
    /// Measures how long it takes.
    pub(crate) ticks: Ticks,
    /// Whether some of the values that break a rule may be kept.
    pub(crate) show_values: bool,
}

impl SecondLook<'_> {
    /// What the checks that need it find, as one more tally in the order of the plan; `None` if none needs it.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if a source is no longer what was pinned.
    pub(crate) async fn tally(&self) -> Result<Option<Vec<CheckTally>>> {
        let checks = &self.plan.checks;
        if checks.iter().all(|check| check.look().is_none()) {
            return Ok(None);
        }
        let mut tallies = Vec::with_capacity(checks.len());
        for check in checks {
            let begun = (self.ticks)();
            let seen = match check.look() {
                None => {
                    tallies.push(CheckTally { fingerprint: check.fingerprint.clone(), ..CheckTally::default() });
                    continue;
                }
                Some(Look::Repeats) => self.repeats(check).await,
                Some(Look::Missing) => self.missing(check).await,
                Some(Look::Rows) => self.rows(check).await,
            };
            let mut tally = seen.map_err(|e| e.with("check", check.title()))?.tally(check);
            tally.nanos = Some((self.ticks)().saturating_sub(begun));
            tallies.push(tally);
        }
        Ok(Some(tallies))
    }

    async fn open(&self, plan: &TablePlan, source: &Arc<dyn Source>) -> Result<Reading> {
        Reading::open(plan, source, self.rulebook, self.facts, self.session).await
    }

    /// The other table of a check.
    async fn open_other(&self, check: &Check) -> Result<Reading> {
        let none = || Error::internal("a table that a check looks at is not open");
        let (other, look) = check.other().zip(check.look()).ok_or_else(none)?;
        let table = self.others.iter().find(|table| table.is(&other)).ok_or_else(none)?;
        self.open(&table.plan.looked_at(look, &other.check), &table.source).await
    }

    /// How many keys there are, and how many of them repeat another.
    async fn repeats(&self, check: &Check) -> Result<Seen> {
        let keys = self.open(&self.plan.narrowed(check), self.source).await?.keys()?;
        let (rows, broken) = repeats_of(self.sorted(&[&keys])?).await?;
        Ok(Seen { rows, broken, ..Seen::default() })
    }

    /// How many rows another table has.
    async fn rows(&self, check: &Check) -> Result<Seen> {
        let keys = self.open_other(check).await?.keys()?;
        let mut stream = execute_stream(table(&[&keys], self.session)?, self.session.task_ctx())?;
        while stream.next().await.transpose()?.is_some() {}
        Ok(Seen { rows: keys.rows(), ..Seen::default() })
    }

    /// Which keys another table does not have.
    async fn missing(&self, check: &Check) -> Result<Seen> {
        let own = self.open(&self.plan.narrowed(check), self.source).await?;
        let other = self.open_other(check).await?;
        let alike = Comparable::new(&*own.schema()?, &*other.schema()?, self.rulebook)
            .map_err(|reason| Error::config(reason).hint("a source has changed: make a new plan"))?;
        let keys =
            |reading: &Reading, casts: &[Option<Cast>]| reading.keys_as(Arc::clone(&alike.schema), casts.to_vec());
        match self.joined(&keys(&own, &alike.own), &keys(&other, &alike.other)).await {
            Err(error) if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) => {
                let title = check.title();
                tracing::info!(table = %self.plan.to, check = %title, "keys do not fit into memory: sorting them");
                let (own, other) = (keys(&own, &alike.own).marked(true), keys(&other, &alike.other).marked(false));
                let missing = Missing::new(&alike.schema, self.show_values)?;
                missing_of(self.sorted(&[&own, &other])?, missing).await
            }
            joined => Ok(joined?),
        }
    }

    /// Looks up all keys among the different ones of another table, which are kept in memory.
    async fn joined(&self, own: &Keys, other: &Keys) -> Result<Seen, DataFusionError> {
        let schema = Arc::clone(own.schema());
        let mut missing = Missing::new(&schema, self.show_values)?;
        let group = columns(&schema).zip(schema.fields()).map(|(column, field)| (column, field.name().clone()));
        let others = Arc::new(CoalescePartitionsExec::new(table(&[other], self.session)?));
        let group = PhysicalGroupBy::new_single(group.collect());
        let different =
            AggregateExec::try_new(AggregateMode::Single, group, vec![], vec![], others, Arc::clone(&schema))?;
        let join = HashJoinExec::try_new(
            Arc::new(different),
            table(&[own], self.session)?,
            columns(&schema).zip(columns(&schema)).collect(),
            None,
            &JoinType::RightAnti,
            None,
            PartitionMode::CollectLeft,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        let mut stream = execute_stream(Arc::new(join), self.session.task_ctx())?;
        while let Some(batch) = stream.next().await.transpose()? {
            missing.add(batch.columns())?;
        }
        Ok(missing.seen(own.rows())?)
    }

    /// The keys of one or two tables, sorted by all of their columns.
    fn sorted(&self, keys: &[&Keys]) -> Result<SendableRecordBatchStream> {
        let keys = table(keys, self.session)?;
        let by = LexOrdering::new(columns(&keys.schema()).map(PhysicalSortExpr::new_default))
            .ok_or_else(|| Error::internal("nothing to sort by"))?;
        let sort = SortExec::new(by.clone(), keys).with_preserve_partitioning(true);
        let merged: Arc<dyn ExecutionPlan> = Arc::new(SortPreservingMergeExec::new(by, Arc::new(sort)));
        Ok(execute_stream(merged, self.session.task_ctx())?)
    }
}

/// The columns of a schema for the query engine.
fn columns(schema: &SchemaRef) -> impl Iterator<Item = Arc<dyn PhysicalExpr>> {
    let column = |(at, name): (usize, String)| Arc::new(Column::new(&name, at)) as Arc<dyn PhysicalExpr>;
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    names.into_iter().enumerate().map(column)
}

/// How many rows there are, and how many of them repeat the one before.
async fn repeats_of(mut sorted: SendableRecordBatchStream) -> Result<(u64, u64)> {
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
        before = Some(last(batch.columns()));
    }
    Ok((rows, repeated))
}

/// Which keys of a table another one does not have. The last column says whose a key is; among equal ones those of the
/// other table come first.
async fn missing_of(mut sorted: SendableRecordBatchStream, mut missing: Missing) -> Result<Seen> {
    let mut rows = 0;
    // The last key so far, and whether the other table has it.
    let mut before: Option<(Vec<ArrayRef>, bool)> = None;
    while let Some(batch) = sorted.next().await.transpose()? {
        let Some((own, keys)) = batch.columns().split_last().filter(|_| batch.num_rows() > 0) else { continue };
        let own = own.as_boolean();
        rows += own.true_count() as u64;
        let mut of_none = BooleanBufferBuilder::new(batch.num_rows());
        let mut known = false;
        for range in partition(keys)?.ranges() {
            let had = match &before {
                Some((key, had)) if range.start == 0 && *had => same(key, keys)?,
                _ => false,
            };
            known = had || !own.value(range.start);
            of_none.append_n(range.len(), !known);
        }
        before = Some((last(keys), known));
        let of_none = BooleanArray::new(of_none.finish(), None);
        if of_none.has_true() {
            let keys: Vec<ArrayRef> = keys.iter().map(|key| filter(key, &of_none)).collect::<Result<_, _>>()?;
            missing.add(&keys)?;
        }
    }
    missing.seen(rows)
}

/// The last row of some columns.
fn last(columns: &[ArrayRef]) -> Vec<ArrayRef> {
    columns.iter().map(|column| column.slice(column.len().saturating_sub(1), 1)).collect()
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

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::executor::block_on;

    use super::*;

    /// Keys in their order, each with whether it is of the table that is checked.
    fn sorted(batches: &[&[(i64, bool)]]) -> SendableRecordBatchStream {
        let fields = vec![Field::new("a", DataType::Int64, true), Field::new("own", DataType::Boolean, false)];
        let schema = Arc::new(Schema::new(fields));
        let batch = |rows: &&[(i64, bool)]| {
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| *key)));
            let own: ArrayRef = Arc::new(BooleanArray::from(rows.iter().map(|(_, own)| *own).collect::<Vec<bool>>()));
            Ok(RecordBatch::try_new(Arc::clone(&schema), vec![keys, own]).unwrap())
        };
        let batches: Vec<Result<RecordBatch, DataFusionError>> = batches.iter().map(batch).collect();
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))
    }

    fn missing(batches: &[&[(i64, bool)]]) -> (u64, u64) {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let missing = Missing::new(&schema, false).unwrap();
        let seen = block_on(missing_of(sorted(batches), missing)).unwrap();
        (seen.rows, seen.broken)
    }

    #[test]
    fn keys_are_missing_that_only_one_table_has() {
        let (own, other) = (true, false);
        assert_eq!(missing(&[]), (0, 0));
        assert_eq!(missing(&[&[(1, other), (2, other)]]), (0, 0));
        assert_eq!(missing(&[&[(1, own), (2, own)]]), (2, 2));
        assert_eq!(missing(&[&[(1, other), (1, own), (1, own), (2, own), (3, other)]]), (3, 1));
    }

    #[test]
    fn equal_keys_may_be_in_several_batches() {
        let (own, other) = (true, false);
        let known: [&[(i64, bool)]; 4] = [&[(1, other)], &[(1, own), (1, own)], &[], &[(1, own), (2, own)]];
        assert_eq!(missing(&known), (4, 1));
        let unknown: [&[(i64, bool)]; 4] = [&[(1, other), (2, own)], &[(2, own)], &[(2, own), (3, other)], &[(3, own)]];
        assert_eq!(missing(&unknown), (4, 3));
    }

    #[test]
    fn repeats_are_counted_over_batches() {
        let batches: [&[(i64, bool)]; 4] = [&[(1, true), (1, true)], &[(1, true), (2, true)], &[], &[(2, true)]];
        assert_eq!(block_on(repeats_of(sorted(&batches))).unwrap(), (5, 3));
        assert_eq!(block_on(repeats_of(sorted(&[]))).unwrap(), (0, 0));
    }
}
