//! A second look at the rows of a table, for rules about keys and about other tables.
//!
//! Once all rows are staged, the source is read again at its pin, through the same transform but in no more columns than
//! it takes; so is another table that a rule looks at. Keys are sorted, on disk where memory does not suffice, so that
//! equal ones come one after the other. Those of another table are kept in memory, if there is room for them; in a replay
//! its own few keys are, and those of the target's table pass by.
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
use transload_plan::{Comparable, Plan, RunFacts, TablePlan};
use transload_quality::{Check, Look, Missing, Place, Seen};

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
    /// Whether it is the table that is read like this.
    pub(crate) fn is(&self, place: Place, read: &TablePlan) -> bool {
        self.place == place && self.plan.to == read.to
    }
}

/// What is looked at again.
pub(crate) struct SecondLook<'a> {
    /// The plan that the table is in.
    pub(crate) whole: &'a Plan,
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
        let others = || -> Option<u64> {
            let other = check.other()?;
            self.whole.others(&other).into_iter().map(|(_, read)| read.estimated_rows).sum()
        };
        let rows = match check.look() {
            Some(Look::Missing) => others().map(|rows| rows + self.rows),
            Some(Look::Rows) => others(),
            Some(Look::Repeats) | None => Some(self.rows),
        };
        self.progress.event(Event::LookBegun { table: self.plan.to.clone(), check: check.title(), rows });
    }

    async fn open(&self, plan: &TablePlan, source: &Arc<dyn Source>) -> Result<Reading> {
        let watcher = Watcher { table: self.plan.to.clone(), progress: Arc::clone(self.progress) };
        Reading::open(plan, source, self.rulebook, self.facts, self.session, watcher).await
    }

    /// A table that a check looks at beside its own; `check` is that one from the side of this table.
    async fn open_beside(&self, place: Place, read: &TablePlan, look: Look, check: &Check) -> Result<Reading> {
        let table = self.others.iter().find(|table| table.is(place, read)).ok_or_else(not_open)?;
        self.open(&table.plan.looked_at(look, check), &table.source).await
    }

    /// The other table of a check, in all its parts.
    async fn open_others(&self, check: &Check) -> Result<Vec<Reading>> {
        let (other, look) = check.other().zip(check.look()).ok_or_else(not_open)?;
        let mut open = Vec::new();
        for (place, read) in self.whole.others(&other) {
            open.push(self.open_beside(place, read, look, &other.check).await?);
        }
        Ok(open)
    }

    /// How many keys there are, and how many of them repeat another; in a replay also one that the target has already.
    async fn repeats(&self, check: &Check) -> Result<Seen> {
        let own = self.open(&self.plan.narrowed(check), self.source).await?;
        if self.plan.looks_into_target(check) {
            let kept = self.whole.in_target(self.plan).ok_or_else(not_open)?;
            let kept = self.open_beside(Place::Target, kept, Look::Repeats, check).await?;
            return self.repeats_beside(check, &own.into_target_terms()?, &kept).await;
        }
        let (rows, broken) = repeats_of(self.sorted(&[&own.keys()?.sortable(None)])?).await?;
        Ok(Seen { rows, broken, ..Seen::default() })
    }

    /// How many keys there are, and how many of them repeat another one or are `kept` already.
    async fn repeats_beside(&self, check: &Check, own: &Reading, kept: &Reading) -> Result<Seen> {
        let alike = self.comparable(own, std::slice::from_ref(kept))?;
        let own = |mark| keys(own, &alike, &alike.own, mark);
        let kept = |mark| -> Vec<Keys> { alike.others.iter().map(|casts| keys(kept, &alike, casts, mark)).collect() };
        let (rows, fresh) = match self.looked_up(&own(None), &kept(None)).await {
            Err(error) if no_memory(&error) => {
                self.say_sorting(check);
                let (own, kept) = (own(Some(OWN)), kept(Some(OTHER)));
                fresh_of(self.sorted(&all(&own, &kept))?).await?
            }
            found => found?,
        };
        Ok(Seen { rows, broken: rows.saturating_sub(fresh), ..Seen::default() })
    }

    /// How many rows another table has.
    async fn rows_beside(&self, check: &Check) -> Result<Seen> {
        let mut rows = 0;
        for other in self.open_others(check).await? {
            let keys = other.keys()?;
            let mut stream = execute_stream(table(&[&keys], self.workers())?, self.session.task_ctx())?;
            while stream.next().await.transpose()?.is_some() {}
            rows += keys.rows();
        }
        Ok(Seen { rows, ..Seen::default() })
    }

    /// Which keys another table does not have.
    async fn missing(&self, check: &Check) -> Result<Seen> {
        let own = self.open(&self.plan.narrowed(check), self.source).await?;
        let others = self.open_others(check).await?;
        let alike = self.comparable(&own, &others)?;
        let own = |mark| keys(&own, &alike, &alike.own, mark);
        let others = |mark| -> Vec<Keys> {
            others.iter().zip(&alike.others).map(|(other, casts)| keys(other, &alike, casts, mark)).collect()
        };
        match self.joined(&own(None), &others(None)).await {
            Err(error) if no_memory(&error) => {
                self.say_sorting(check);
                let (own, others) = (own(Some(OWN)), others(Some(OTHER)));
                let missing = Missing::new(own.columns(), self.show_values)?;
                missing_of(self.sorted(&all(&own, &others))?, missing).await
            }
            joined => Ok(joined?),
        }
    }

    /// What makes keys of one table and others comparable.
    fn comparable(&self, own: &Reading, others: &[Reading]) -> Result<Comparable> {
        let others: Vec<SchemaRef> = others.iter().map(Reading::schema).collect::<Result<_>>()?;
        Comparable::new(own.schema()?.as_ref(), &others, self.rulebook)
            .map_err(|reason| Error::config(reason).hint("a source has changed: make a new plan"))
    }

    fn say_sorting(&self, check: &Check) {
        let title = check.title();
        tracing::info!(table = %self.plan.to, check = %title, "keys do not fit into memory: sorting them");
    }

    /// Looks up all keys among the different ones of other tables, which are kept in memory.
    async fn joined(&self, own: &Keys, others: &[Keys]) -> Result<Seen, DataFusionError> {
        let schema = Arc::clone(own.schema());
        let mut missing = Missing::new(&schema, self.show_values)?;
        let different = self.different(&others.iter().collect::<Vec<_>>())?;
        let join = self.join(different, &[own], JoinType::RightAnti)?;
        let mut stream = execute_stream(join, self.session.task_ctx())?;
        while let Some(batch) = stream.next().await.transpose()? {
            missing.add(batch.columns())?;
        }
        Ok(missing.seen(own.rows())?)
    }

    /// How many keys there are, and how many different ones of them no other table has. They are kept in memory, and looked
    /// up by the keys of the others.
    async fn looked_up(&self, own: &Keys, others: &[Keys]) -> Result<(u64, u64), DataFusionError> {
        let different = self.different(&[own])?;
        let join = self.join(different, &others.iter().collect::<Vec<_>>(), JoinType::LeftAnti)?;
        let mut stream = execute_stream(join, self.session.task_ctx())?;
        let mut fresh = 0;
        while let Some(batch) = stream.next().await.transpose()? {
            fresh += batch.num_rows() as u64;
        }
        Ok((own.rows(), fresh))
    }

    /// The different ones among some keys.
    fn different(&self, keys: &[&Keys]) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let every = Arc::new(CoalescePartitionsExec::new(table(keys, self.workers())?));
        let schema = every.schema();
        let group = columns(&schema).zip(schema.fields()).map(|(column, field)| (column, field.name().clone()));
        let group = PhysicalGroupBy::new_single(group.collect());
        let different = AggregateExec::try_new(AggregateMode::Single, group, vec![], vec![], every, schema)?;
        Ok(Arc::new(different))
    }

    /// Joins keys that are kept in memory with others.
    fn join(
        &self,
        kept: Arc<dyn ExecutionPlan>,
        keys: &[&Keys],
        how: JoinType,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = kept.schema();
        let join = HashJoinExec::try_new(
            kept,
            table(keys, self.workers())?,
            columns(&schema).zip(columns(&schema)).collect(),
            None,
            &how,
            None,
            PartitionMode::CollectLeft,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok(Arc::new(join))
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

fn not_open() -> Error {
    Error::internal("a table that a check looks at is not open")
}

fn no_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// The keys of a table after these casts, so that they can be compared with others. With a mark they are in a form for
/// sorting, with it behind each of them.
fn keys(reading: &Reading, alike: &Comparable, casts: &[Option<Cast>], mark: Option<u8>) -> Keys {
    let keys = reading.keys_as(Arc::clone(&alike.schema), casts.to_vec());
    if mark.is_some() { keys.sortable(mark) } else { keys }
}

fn all<'k>(own: &'k Keys, others: &'k [Keys]) -> Vec<&'k Keys> {
    std::iter::once(own).chain(others).collect()
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

/// How many keys of a table there are, and how many different ones of them no other table has. They come as in
/// [`missing_of`].
async fn fresh_of(mut sorted: SendableRecordBatchStream) -> Result<(u64, u64)> {
    let (mut rows, mut fresh) = (0, 0);
    let mut known: Vec<u8> = Vec::new();
    while let Some(batch) = sorted.next().await.transpose()? {
        for marked in batch.column(0).as_binary::<i32>().iter().flatten() {
            let Some((mark, key)) = marked.split_last() else { continue };
            let is_new = known != key;
            if *mark == OWN {
                rows += 1;
                fresh += u64::from(is_new);
            }
            if is_new {
                known.clear();
                known.extend_from_slice(key);
            }
        }
    }
    Ok((rows, fresh))
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

    /// Keys of two tables, sorted.
    fn marked(batches: &[&[(i64, u8)]]) -> SendableRecordBatchStream {
        let converter = RowConverter::new(vec![SortField::new(DataType::Int64)]).unwrap();
        let keys = |batch: &&[(i64, u8)]| {
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(batch.iter().map(|(key, _)| *key)));
            let rows = converter.convert_columns(&[values]).unwrap();
            let marked = rows.iter().zip(batch.iter()).map(|(row, (_, mark))| [row.data(), &[*mark]].concat());
            Arc::new(BinaryArray::from_iter_values(marked)) as ArrayRef
        };
        let schema = Schema::new(vec![Field::new("key", DataType::Binary, false)]);
        stream(schema, batches.iter().map(keys).collect())
    }

    fn missing(batches: &[&[(i64, u8)]]) -> (u64, u64) {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let missing = Missing::new(&schema, false).unwrap();
        let seen = block_on(missing_of(marked(batches), missing)).unwrap();
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
    fn keys_are_fresh_that_no_other_table_has_each_once() {
        let (own, other) = (OWN, OTHER);
        let fresh = |batches: &[&[(i64, u8)]]| block_on(fresh_of(marked(batches))).unwrap();
        assert_eq!(fresh(&[]), (0, 0));
        assert_eq!(fresh(&[&[(1, other), (2, other)]]), (0, 0));
        assert_eq!(fresh(&[&[(1, own), (2, own)]]), (2, 2));
        assert_eq!(fresh(&[&[(1, own), (1, own), (2, own)]]), (3, 2));
        assert_eq!(fresh(&[&[(1, other), (1, own)], &[(1, own), (2, own)], &[], &[(2, own), (3, other)]]), (4, 1));
        assert_eq!(fresh(&[&[(1, other), (1, other), (1, own), (2, own)]]), (2, 1));
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
