//! Where plans, receipts, verdicts and the audit chain are kept.
//!
//! Three kinds of things, all in one folder:
//! - `artifacts/`: content-addressed by SHA-256, never overwritten;
//! - `runs/RUN/`: what one run staged, promised and found, each fact in an object of its own;
//! - `audit/`: a chain of records, each holding the hash of the one before.
//!
//! Everything is written by creating objects that must not exist yet, so any store that can do that can hold a ledger.

mod artifacts;
mod audit;
mod lock;
mod runs;

use transload_core::Result;
use transload_core::store::Store;

pub use audit::{Audit, Finding, Record};
pub use lock::PipelineLock;
pub use runs::{RunEnd, RunJournal, RunStart, RunSummary};

/// A ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
}

impl Ledger {
    /// Opens a ledger, making its folder if `create` is set.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the folder is missing or cannot be made.
    pub fn open(location: &str, create: bool) -> Result<Self> {
        let store = Store::open(location, create).map_err(|e| {
            e.hint("the ledger is `.transload` in the folder you start from; --ledger names another one")
        })?;
        Ok(Self { store })
    }

    /// The location as it was given.
    pub fn url(&self) -> &str {
        self.store.url()
    }
}
