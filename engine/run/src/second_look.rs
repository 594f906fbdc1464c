//! A second look at the rows of a table, for rules about keys and about other tables.
//!
//! Once all rows are staged, the source is read again at its pin, through the same transform but in no more columns than
//! it takes; so is another table that a rule looks at. Keys are sorted, on disk where memory does not suffice, so that
//! equal ones come one after the other. Those of another table are kept in memory, if there is room for them.
//! Nothing of this has to survive a crash: a resumed run looks again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_comparator};
use arrow::compute::{SortOptions, partition};
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
use transload_core::journal::Event;
use transload_core::memory::sorters;
use transload_core::{Error, Progress, Result, Source};
use transload_plan::{Comparable, RunFacts, TablePlan};
use transload_quality::{Check, Look, Missing, Other, Place, Seen};

use crate::keys::{Keys, Reading, Watcher, table};

/// What stands behind a key of the other table, and of the one that is checked.
const OTHER: u8 = 0;
const OWN: u8 = 1;

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
    /// Who hears how it goes.
    pub(crate) progress: &'a Arc<dyn Progress>,
    /// Rows that were read of the table.
    pub(crate) rows: u64,
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
            let Some(look) = check.look() else {
                tallies.push(CheckTally { fingerprint: check.fingerprint.clone(), ..CheckTally::default() });
                continue;
            };
            let begun = (self.ticks)();
            self.tell(check);
            let seen = match look {
                Look::Repeats => self.repeats(check).await,
                Look::Missing => self.missing(check).await,
                Look::Rows => self.rows_beside(check).await,
            };
            let mut tally = seen.map_err(|e| e.with("check", check.title()))?.tally(check);
            tally.nanos = Some((self.ticks)().saturating_sub(begun));
            tallies.push(tally);
        }
        Ok(Some(tallies))
    }

    /// Tells that a check begins to look.
    fn tell(&self, check: &Check) {
        let other = || check.other().and_then(|other| self.other(&other)?.plan.estimated_rows);
        let rows = match check.look() {
            Some(Look::Missing) => other().map(|rows| rows + self.rows),
            Some(Look::Rows) => other(),
            Some(Look::Repeats) | None => Some(self.rows),
        };
        self.progress.event(Event::LookBegun { table: self.plan.to.clone(), check: check.title(), rows });
    }

    async fn open(&self, plan: &TablePlan, source: &Arc<dyn Source>) -> Result<Reading> {
        let watcher = Watcher { table: self.plan.to.clone(), progress: Arc::clone(self.progress) };
        Reading::open(plan, source, self.rulebook, self.facts, self.session, watcher).await
    }

    fn other(&self, other: &Other<'_>) -> Option<&OtherTable> {
        self.others.iter().find(|table| table.is(other))
    }

    /// The other table of a check.
    async fn open_other(&self, check: &Check) -> Result<Reading> {
        let none = || Error::internal("a table that a check looks at is not open");
        let (other, look) = check.other().zip(check.look()).ok_or_else(none)?;
        let table = self.other(&other).ok_or_else(none)?;
        self.open(&table.plan.looked_at(look, &other.check), &table.source).await
    }

    /// How many keys there are, and how many of them repeat another.
    async fn repeats(&self, check: &Check) -> Result<Seen> {
        let keys = self.open(&self.plan.narrowed(check), self.source).await?.keys()?.sortable(None);
        let (rows, broken) = repeats_of(self.sorted(&[&keys])?).await?;
        Ok(Seen { rows, broken, ..Seen::default() })
    }

    /// How many rows another table has.
    async fn rows_beside(&self, check: &Check) -> Result<Seen> {
        let keys = self.open_other(check).await?.keys()?;
        let mut stream = execute_stream(table(&[&keys], self.workers())?, self.session.task_ctx())?;
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
                // From the beginning.
                self.tell(check);
                let own = keys(&own, &alike.own).sortable(Some(OWN));
                let other = keys(&other, &alike.other).sortable(Some(OTHER));
                let missing = Missing::new(own.columns(), self.show_values)?;
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
        let others = Arc::new(CoalescePartitionsExec::new(table(&[other], self.workers())?));
        let group = PhysicalGroupBy::new_single(group.collect());
        let different =
            AggregateExec::try_new(AggregateMode::Single, group, vec![], vec![], others, Arc::clone(&schema))?;
        let join = HashJoinExec::try_new(
            Arc::new(different),
            table(&[own], self.workers())?,
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

    fn workers(&self) -> usize {
        self.session.copied_config().target_partitions()
    }

    /// The keys of one or two tables, sorted by all of their columns.
    fn sorted(&self, keys: &[&Keys]) -> Result<SendableRecordBatchStream> {
        let sorters = sorters(self.session.runtime_env().memory_pool.as_ref(), self.workers());
        let keys = table(keys, sorters)?;
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

/// Which keys of a table another one does not have. The last byte says whose a key is; among equal ones those of the other
/// table come first.
async fn missing_of(mut sorted: SendableRecordBatchStream, mut missing: Missing) -> Result<Seen> {
    let mut rows = 0;
    let mut known: Vec<u8> = Vec::new();
    while let Some(batch) = sorted.next().await.transpose()? {
        for marked in batch.column(0).as_binary::<i32>().iter().flatten() {
            let Some((mark, key)) = marked.split_last() else { continue };
            if *mark == OTHER {
                known.clear();
                known.extend_from_slice(key);
                continue;
            }
            rows += 1;
            if known != key {
                missing.add_key(key);
            }
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
    use arrow::array::{BinaryArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::row::{RowConverter, SortField};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::executor::block_on;

    use super::*;

    fn stream(schema: Schema, batches: Vec<ArrayRef>) -> SendableRecordBatchStream {
        let schema = Arc::new(schema);
        let batch = |keys: ArrayRef| Ok(RecordBatch::try_new(Arc::clone(&schema), vec![keys]).unwrap());
        let batches: Vec<Result<RecordBatch, DataFusionError>> = batches.into_iter().map(batch).collect();
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))
    }

    fn missing(batches: &[&[(i64, u8)]]) -> (u64, u64) {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let missing = Missing::new(&schema, false).unwrap();
        let converter = RowConverter::new(vec![SortField::new(DataType::Int64)]).unwrap();
        let keys = |batch: &&[(i64, u8)]| {
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(batch.iter().map(|(key, _)| *key)));
            let rows = converter.convert_columns(&[values]).unwrap();
            let marked = rows.iter().zip(batch.iter()).map(|(row, (_, mark))| [row.data(), &[*mark]].concat());
            Arc::new(BinaryArray::from_iter_values(marked)) as ArrayRef
        };
        let marked = Schema::new(vec![Field::new("key", DataType::Binary, false)]);
        let sorted = stream(marked, batches.iter().map(keys).collect());
        let seen = block_on(missing_of(sorted, missing)).unwrap();
        (seen.rows, seen.broken)
    }

    #[test]
    fn keys_are_missing_that_only_one_table_has() {
        let (own, other) = (OWN, OTHER);
        assert_eq!(missing(&[]), (0, 0));
        assert_eq!(missing(&[&[(1, other), (2, other)]]), (0, 0));
        assert_eq!(missing(&[&[(1, own), (2, own)]]), (2, 2));
        assert_eq!(missing(&[&[(1, other), (1, own), (1, own), (2, own), (3, other)]]), (3, 1));
    }

    #[test]
    fn equal_keys_may_be_in_several_batches() {
        let (own, other) = (OWN, OTHER);
        let known: [&[(i64, u8)]; 4] = [&[(1, other)], &[(1, own), (1, own)], &[], &[(1, own), (2, own)]];
        assert_eq!(missing(&known), (4, 1));
        let unknown: [&[(i64, u8)]; 4] = [&[(1, other), (2, own)], &[(2, own)], &[(2, own), (3, other)], &[(3, own)]];
        assert_eq!(missing(&unknown), (4, 3));
    }

    #[test]
    fn repeats_are_counted_over_batches() {
        let repeats = |batches: &[&[i64]]| {
            let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
            let keys = |batch: &&[i64]| Arc::new(Int64Array::from(batch.to_vec())) as ArrayRef;
            block_on(repeats_of(stream(schema, batches.iter().map(keys).collect()))).unwrap()
        };
        assert_eq!(repeats(&[&[1, 1], &[1, 2], &[], &[2]]), (5, 3));
        assert_eq!(repeats(&[]), (0, 0));
    }
}
