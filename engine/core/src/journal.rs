//! What a running load remembers, and what it tells.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::finding::{CheckTally, Finding};
use crate::name::TableName;
use crate::value::{Counts, Loss, Receipt, Staged};

/// A unit of work that is staged and need not be done again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagedUnit {
    /// The target table.
    pub table: TableName,
    /// The number of the split.
    pub split: usize,
    /// What was staged for the target.
    pub staged: Staged,
    /// What was staged for quarantine.
    pub quarantined: Option<Staged>,
    /// The rows.
    pub counts: Counts,
    /// What the casts lost.
    pub losses: Vec<Loss>,
    /// What the checks counted, in the order of the plan.
    #[serde(default)]
    pub checks: Vec<CheckTally>,
    /// The digest of what was staged, in its mergeable form.
    pub digest: String,
    /// Highest value of an incremental table's cursor column, as text.
    pub cursor: Option<String>,
    /// How often a transient error was tried again.
    pub retries: u64,
}

/// Remembers staged units of one run.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Remembers a unit, durably, before it returns.
    async fn record(&self, unit: &StagedUnit) -> Result<()>;
    /// Forgets the units of a table, before what they staged is removed.
    async fn forget(&self, table: &TableName) -> Result<()>;
    /// Every unit remembered so far.
    async fn recorded(&self) -> Result<Vec<StagedUnit>>;
    /// Remembers the receipt of a committed table.
    async fn record_receipt(&self, receipt: &Receipt) -> Result<()>;
    /// Every receipt remembered so far.
    async fn receipts(&self) -> Result<Vec<Receipt>>;
    /// Remembers what the checks of a table found, whether it is published or not.
    async fn record_findings(&self, table: &TableName, findings: &[Finding]) -> Result<()>;
    /// What the checks of a table found last; nothing, if that was not remembered.
    async fn findings(&self, table: &TableName) -> Result<Vec<Finding>>;
}

/// A rule that some rows break. Whether there are too many of them is judged when all units are staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenRule {
    /// The number of the check in the plan of its table.
    pub number: usize,
    /// The rule in a few words: `Q005 range (distance)`.
    pub check: String,
    /// How many rows break it.
    pub rows: u64,
}

/// Something a watcher may want to know.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A table's load begins.
    TableBegun {
        /// The target table.
        table: TableName,
        /// Rows that are expected to be read, if known; without those of units that an earlier process staged.
        rows: Option<u64>,
        /// Units of work.
        units: usize,
    },
    /// Rows were read.
    RowsRead {
        /// The target table.
        table: TableName,
        /// How many more.
        rows: u64,
        /// Bytes that this process has staged of the table so far, as far as its sink can tell.
        bytes: u64,
        /// The rules about single rows that some of them break.
        broken: Vec<BrokenRule>,
    },
    /// A unit of work failed: what was told of its rows does not count.
    UnitFailed {
        /// The target table.
        table: TableName,
        /// How many rows that are.
        rows: u64,
        /// The rules that some of them break.
        broken: Vec<BrokenRule>,
    },
    /// A transient error is about to be tried again.
    Retrying {
        /// The target table.
        table: TableName,
        /// What failed.
        error: String,
    },
    /// A unit of work is staged.
    UnitStaged {
        /// The target table.
        table: TableName,
        /// Bytes that this process has staged of the table so far.
        bytes: u64,
    },
    /// A check begins to look at rows a second time, or at another table.
    LookBegun {
        /// The target table.
        table: TableName,
        /// The rule in a few words: `Q003 unique (id)`.
        check: String,
        /// Rows that it will look at, if known.
        rows: Option<u64>,
    },
    /// Rows were looked at for the check that did so last.
    RowsLookedAt {
        /// The target table.
        table: TableName,
        /// How many more.
        rows: u64,
    },
    /// A check was judged and failed.
    CheckFailed {
        /// The target table.
        table: TableName,
        /// The rule in a few words: `Q005 range (distance)`.
        check: String,
    },
    /// A table is published.
    TableCommitted {
        /// The target table.
        table: TableName,
        /// Rows written.
        rows: u64,
    },
    /// A table is being compared.
    Comparing {
        /// The target table.
        table: TableName,
    },
    /// A table was compared.
    Compared {
        /// The target table.
        table: TableName,
        /// The result.
        outcome: crate::value::Outcome,
    },
}

/// Hears events. Must not block.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}
