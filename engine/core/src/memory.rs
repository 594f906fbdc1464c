//! The memory of a run.
//!
//! A sort holds rows, which it can put on disk, and merges what it holds, which takes more than as much memory again where
//! it sorts by all columns, and cannot. In one pool for both the rows of several sorts take everything, and then none of them can go on; and of several
//! merges the first takes what the next one needs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// Memory that a sort needs to be done in a few passes, in bytes.
const SORT_BYTES: usize = 256 << 20;

/// How many sorts of a table may run at the same time, one for each of `workers` if memory allows it: a sort that gets
/// too little cannot merge what it has put on disk.
pub fn sorters(memory: &dyn MemoryPool, workers: usize) -> usize {
    match memory.memory_limit() {
        MemoryLimit::Finite(bytes) => (bytes / SORT_BYTES).clamp(1, workers.max(1)),
        _ => workers.max(1),
    }
}

/// Memory in three parts: one for what can be put on disk and one for the merges of sorts, each shared fairly, and the rest
/// for everything else.
#[derive(Debug)]
pub struct SortingPool {
    rows: FairSpillPool,
    merges: Mutex<Merges>,
    rest: GreedyMemoryPool,
    bytes: usize,
}

/// What each merge has taken, by the number of its consumer.
type Merges = BTreeMap<usize, usize>;

impl SortingPool {
    /// So much memory in all.
    pub fn new(bytes: usize) -> Self {
        let quarter = bytes / 4;
        Self {
            rows: FairSpillPool::new(quarter),
            merges: Mutex::default(),
            rest: GreedyMemoryPool::new(quarter),
            bytes,
        }
    }

    /// How much of so much memory is for the merges of sorts.
    pub fn for_merging(bytes: usize) -> usize {
        bytes / 2
    }

    fn pool(&self, consumer: &MemoryConsumer) -> &dyn MemoryPool {
        if consumer.can_spill() { &self.rows } else { &self.rest }
    }

    fn merges(&self) -> MutexGuard<'_, Merges> {
        self.merges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is the part of a sort that merges.
fn is_merge(consumer: &MemoryConsumer) -> bool {
    consumer.name().starts_with("ExternalSorterMerge")
}

impl fmt::Display for SortingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, merges and {}", self.rows, self.rest)
    }
}

impl MemoryPool for SortingPool {
    fn name(&self) -> &'static str {
        "sorting"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        match is_merge(consumer) {
            true => drop(self.merges().insert(consumer.id(), 0)),
            false => self.pool(consumer).register(consumer),
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        match is_merge(consumer) {
            true => drop(self.merges().remove(&consumer.id())),
            false => self.pool(consumer).unregister(consumer),
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let consumer = reservation.consumer();
        match is_merge(consumer) {
            true => *self.merges().entry(consumer.id()).or_default() += additional,
            false => self.pool(consumer).grow(reservation, additional),
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let consumer = reservation.consumer();
        if !is_merge(consumer) {
            return self.pool(consumer).shrink(reservation, shrink);
        }
        if let Some(taken) = self.merges().get_mut(&consumer.id()) {
            *taken = taken.saturating_sub(shrink);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer = reservation.consumer();
        if !is_merge(consumer) {
            return self.pool(consumer).try_grow(reservation, additional);
        }
        let mut merges = self.merges();
        let share = Self::for_merging(self.bytes) / merges.len().max(1);
        let taken = merges.entry(consumer.id()).or_default();
        if *taken + additional > share {
            let said = format!("{} has {taken} of {share} bytes and wants {additional} more", consumer.name());
            return Err(DataFusionError::ResourcesExhausted(said));
        }
        *taken += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.rows.reserved() + self.merges().values().sum::<usize>() + self.rest.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_one_takes_another_does_not_lack() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SortingPool::new(800));
        let rows = MemoryConsumer::new("ExternalSorter[0]").with_can_spill(true).register(&pool);
        let merges = [0, 1].map(|n| MemoryConsumer::new(format!("ExternalSorterMerge[{n}]")).register(&pool));
        let other = MemoryConsumer::new("writer").register(&pool);
        assert!(rows.try_grow(201).is_err());
        rows.try_grow(200).unwrap();
        assert!(merges[0].try_grow(201).is_err());
        merges[0].try_grow(150).unwrap();
        let more = merges[0].new_empty();
        assert!(more.try_grow(51).is_err());
        more.try_grow(50).unwrap();
        merges[1].try_grow(200).unwrap();
        assert!(other.try_grow(201).is_err());
        other.try_grow(200).unwrap();
        assert_eq!(pool.reserved(), 800);
        drop(more);
        merges[0].try_grow(50).unwrap();
        drop((rows, merges, other));
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn little_memory_is_for_one_sort() {
        let sorts = |bytes| sorters(&SortingPool::new(bytes), 4);
        assert_eq!([64 << 20, 512 << 20, 1 << 30, 1 << 40].map(sorts), [1, 2, 4, 4]);
    }
}
