//! Where plans, receipts, verdicts and the audit chain are kept.
//!
//! Three kinds of things, all in one folder or below one prefix of a bucket:
//! - `artifacts/`: content-addressed by SHA-256, never overwritten;
//! - `runs/RUN/`: what one run staged, promised and found, each fact in an object of its own;
//! - `audit/`: a chain of records, each holding the hash of the one before.
//!
//! Everything is written by creating objects that must not exist yet, so any store that can do that can hold a ledger.
//! Only the locks in `locks/` change.

mod artifacts;
mod audit;
mod lock;
mod runs;

use transload_core::store::Store;
use transload_core::{Resolve, Result};

pub use audit::{Audit, Finding, Record};
pub use lock::PipelineLock;
pub use runs::{Alerted, PastRun, Repinned, Replayed, RunEnd, RunJournal, RunStart, RunSummary};

/// A ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
}

impl Ledger {
    /// Opens a ledger, making its folder if `create` is set. How to reach a bucket is asked of `resolver`.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the folder is missing or cannot be made, or the location cannot
    /// be used.
    pub fn open(location: &str, create: bool, resolver: &dyn Resolve) -> Result<Self> {
        let store = Store::open(location, create, resolver).map_err(|e| match location.contains("://") {
            true => e,
            false => e.hint("the ledger is `.transload` in the folder you start from; --ledger names another one"),
        })?;
        Ok(Self::over(store))
    }

    /// Opens a ledger, or `None` if it is a folder that is not there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn find(location: &str, resolver: &dyn Resolve) -> Result<Option<Self>> {
        Ok(Store::find(location, resolver)?.map(Self::over))
    }

    /// A ledger in a store that is open already.
    pub fn over(store: Store) -> Self {
        Self { store }
    }

    /// The location as it was given.
    pub fn url(&self) -> &str {
        self.store.url()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use transload_core::Clock;
    use transload_core::secret::NoReferences;

    use super::*;

    /// A ledger in a folder and one that is reached as a bucket is; and what has to live as long as they do.
    pub(crate) fn ledgers() -> (tempfile::TempDir, [Ledger; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let local = Ledger::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
        let remote = Ledger::over(Store::over(Arc::new(InMemory::new()), "memory", Clock::system()));
        (dir, [local, remote])
    }
}
