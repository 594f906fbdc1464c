//! Rows that a load should have taken away, and that are still there.
//!
//! After a merge no other row of the target has a key of the load, and after partitions were replaced none lies in one of
//! them. While the rows of the load are compared, the hashes of their keys are noted in a filter of fixed size. Then the
//! same columns of all other rows of the target pass by: where a hash is not noted, there is nothing left. The few others,
//! and the rows of the load with such hashes, are sorted and compared by value (`drill.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use tokio::task::JoinSet;
use transload_core::connector::{Transform, WriteMode};
use transload_core::{Error, LogicalType, Result};
use transload_digest::{Algorithm, RowHasher, bucket, mix};
use transload_plan::{Origin, TablePlan};

use crate::side::Side;

/// Bits that note one hash.
const MARKS: usize = 4;

/// Bits that a filter has for each hash, so that hardly any other is taken for one that is noted.
const BITS_EACH: u64 = 32;

/// The logarithms of how many bits a filter has at least and at most: the largest takes 16 MiB.
const FEWEST: u32 = 16;
const MOST: u32 = 27;

/// The columns of which a load has the values to itself, after a commit like this: the key of a merge, or what makes
/// partitions that are replaced. `None` if other rows may have the same.
///
/// # Errors
/// A sentence, if nobody can tell.
pub(crate) fn own_columns(plan: &TablePlan) -> Option<Result<Vec<String>, String>> {
    let columns: Vec<String> = match plan.write {
        WriteMode::Merge => plan.key.clone(),
        WriteMode::ReplacePartitions => plan.partition_by.iter().map(|p| p.column.clone()).collect(),
        WriteMode::Replace | WriteMode::Append => return None,
    };
    if plan.write == WriteMode::ReplacePartitions
        && plan.partition_by.iter().any(|p| p.transform != Transform::Identity)
    {
        return Some(Err("a partition is not the value of a column".to_string()));
    }
    let made = plan.columns.iter().find(|c| matches!(c.origin, Origin::Metadata(_)) && columns.contains(&c.name));
    Some(match made {
        Some(column) => Err(format!("{} is set by the load, not by the source", column.name)),
        None => Ok(columns),
    })
}

/// Whether equal values of two types have equal hashes.
pub(crate) fn are_hashed_alike(a: &LogicalType, b: &LogicalType) -> bool {
    use LogicalType::{Decimal, Float, Int, Timestamp};
    match (a, b) {
        (Int(_), Int(_)) | (Float(_), Float(_)) | (Decimal(..), Decimal(..)) => true,
        (Timestamp(_, a), Timestamp(_, b)) => a.is_some() == b.is_some(),
        _ => a == b,
    }
}

/// What a filter of hashes should have for so many of them: the logarithm of its bits.
pub(crate) fn bits_for(rows: Option<u64>) -> u32 {
    let bits = rows.map_or(u64::MAX, |rows| rows.saturating_mul(BITS_EACH)).max(1);
    bits.ilog2().saturating_add(1).clamp(FEWEST, MOST)
}

/// Hashes that were noted, and a few others that are taken for such.
#[derive(Debug)]
pub(crate) struct Hashes {
    bits: u32,
    words: Vec<AtomicU64>,
}

impl Hashes {
    fn new(bits: u32) -> Self {
        Self { bits, words: (0..(1usize << bits).div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The places of a hash: a word, and a bit in it.
    fn places(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let hashes = std::iter::successors(Some(hash), |hash| Some(mix(*hash))).take(MARKS);
        hashes.map(move |hash| {
            let place = bucket(hash, self.bits);
            (&self.words[place / 64], 1u64 << (place % 64))
        })
    }

    fn note(&self, hash: u64) {
        for (word, bit) in self.places(hash) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether a hash may have been noted; if not, it was not.
    pub(crate) fn holds(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

/// The keys of a load, noted by their hashes.
#[derive(Debug)]
pub(crate) struct Noted {
    /// Where they are in rows as the plan's transformation gives them.
    columns: Vec<usize>,
    schema: Schema,
    hashes: Arc<Hashes>,
}

impl Noted {
    pub(crate) fn new(rows: &SchemaRef, columns: Vec<usize>, bits: u32) -> Result<Self> {
        Ok(Self { schema: rows.project(&columns)?, columns, hashes: Arc::new(Hashes::new(bits)) })
    }

    /// Notes the keys of some rows.
    pub(crate) fn note(&self, rows: &RecordBatch) -> Result<()> {
        let keys = rows.project(&self.columns)?;
        let hashes = RowHasher::new(&self.schema, Algorithm::Xxh64)?.hash(keys.columns(), keys.num_rows())?;
        hashes.short().into_iter().for_each(|hash| self.hashes.note(hash));
        Ok(())
    }
}

/// Hashes of keys that the load has, and other rows of the target may have too.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// Those of the load: an other row without one of them is none that is left.
    pub(crate) of_load: Arc<Hashes>,
    /// Those of other rows that the load has noted.
    pub(crate) of_others: Arc<Hashes>,
}

/// Looks through the keys of the target's other rows for those that the load has noted. `None` if there are none.
pub(crate) async fn shared(noted: &Noted, others: &Side, session: &SessionContext) -> Result<Option<Shared>> {
    let shared = Shared { of_load: Arc::clone(&noted.hashes), of_others: Arc::new(Hashes::new(noted.hashes.bits)) };
    let found = Arc::new(AtomicU64::new(0));
    let next = Arc::new(AtomicUsize::new(0));
    let workers = session.copied_config().target_partitions().min(others.partitions());
    let mut running = JoinSet::new();
    for _ in 0..workers {
        let (others, shared, context) = (others.clone(), shared.clone(), session.task_ctx());
        let (found, next) = (Arc::clone(&found), Arc::clone(&next));
        running.spawn(async move {
            let mut hasher = RowHasher::new(&others.key_schema()?, Algorithm::Xxh64)?;
            loop {
                let partition = next.fetch_add(1, Ordering::Relaxed);
                if partition >= others.partitions() {
                    return Ok::<_, Error>(());
                }
                let mut rows = others.rows(partition, &context)?;
                while let Some(batch) = rows.next().await.transpose()? {
                    tokio::task::yield_now().await;
                    let hashes = hasher.hash(&others.key_columns(&batch), batch.num_rows())?.short();
                    for hash in hashes.into_iter().filter(|hash| shared.of_load.holds(*hash)) {
                        shared.of_others.note(hash);
                        found.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|e| Error::internal("a reader died").because(e))??;
    }
    let found = found.load(Ordering::Relaxed);
    tracing::debug!(rows = found, "other rows whose keys may be of the load");
    Ok((found > 0).then_some(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_held_and_hardly_anything_else() {
        let hashes = Hashes::new(bits_for(Some(10_000)));
        let noted = |i: u64| mix(i);
        (0..10_000).for_each(|i| hashes.note(noted(i)));
        assert!((0..10_000).all(|i| hashes.holds(noted(i))));
        let others = (10_000..1_010_000).filter(|i| hashes.holds(noted(*i))).count();
        assert!(others < 1_000, "{others} of a million others");
    }

    #[test]
    fn equal_values_of_some_types_have_other_hashes() {
        let alike = |a: &str, b: &str| are_hashed_alike(&a.parse().unwrap(), &b.parse().unwrap());
        for (a, b) in [
            ("int8", "int64"),
            ("float32", "float64"),
            ("decimal(5,2)", "decimal(38,4)"),
            ("timestamp(ns, UTC)", "timestamp(us, +00:00)"),
            ("text", "text"),
        ] {
            assert!(alike(a, b) && alike(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("int32", "decimal(10,0)"),
            ("int32", "float64"),
            ("date", "timestamp(us)"),
            ("timestamp(us)", "timestamp(us, UTC)"),
            ("text", "int64"),
        ] {
            assert!(!alike(a, b) && !alike(b, a), "{a} {b}");
        }
    }

    #[test]
    fn a_filter_is_as_large_as_its_load_within_limits() {
        assert_eq!([0, 1, 1 << 12, 1 << 20, u64::MAX].map(|rows| bits_for(Some(rows))), [16, 16, 18, 26, 27]);
        assert_eq!(bits_for(None), 27);
    }
}
