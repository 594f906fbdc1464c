//! Plain values that cross the contracts: what was pinned, staged, committed, promised and found.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{CommitKey, TableName};

/// A source fixed at one readable point in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    /// The source is a formula; its parameters say everything.
    Formula(String),
    /// The source is these files, each as it was then.
    Files(Vec<PinnedFile>),
    /// The source is a version that the table itself keeps.
    Version(PinnedVersion),
    /// The source is a table as a transaction of its server sees it, for as long as whoever began it is connected.
    Snapshot(PinnedSnapshot),
}

impl Pin {
    /// A short text for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::Formula(text) => text.clone(),
            Self::Files(files) => {
                let bytes: u64 = files.iter().map(|f| f.size).sum();
                format!("{} file{}, {bytes} bytes", files.len(), if files.len() == 1 { "" } else { "s" })
            }
            Self::Version(PinnedVersion { version, only, except, .. }) => match (only, except) {
                (Some(files), _) => format!("{} of the files of version {version}", files.len()),
                (None, Some(files)) => format!("version {version} without {} of its files", files.len()),
                (None, None) => format!("version {version}"),
            },
            Self::Snapshot(pin) => format!("snapshot {} at {}, {}", pin.snapshot, pin.position, pin.taken),
        }
    }

    /// What the table holds beside these rows at the same point in time; `None` if they are all of it, or nobody can tell.
    pub fn others(&self) -> Option<Self> {
        match self {
            Self::Version(pin) => {
                let except = Some(pin.only.clone()?);
                Some(Self::Version(PinnedVersion { only: None, except, ..pin.clone() }))
            }
            Self::Formula(_) | Self::Files(_) | Self::Snapshot(_) => None,
        }
    }
}

/// One file as it was when it was pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedFile {
    /// Path below the connection's url.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Last change, RFC 3339.
    pub modified: String,
    /// The store's version mark. For local files it holds inode, time in µs and size.
    pub etag: Option<String>,
}

/// One version of a table that keeps its versions, such as a Delta table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedVersion {
    /// The table's own identifier: a table that was made anew under the same name has another one.
    pub table: String,
    /// The version, as the table names it.
    pub version: String,
    /// The files that count, by their paths in the table; all of the version's, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
    /// The files that do not count, by their paths in the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<Vec<String>>,
}

/// A table as a transaction of its server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedSnapshot {
    /// The server's own identifier and that of the database in it: the same snapshot of another one is another.
    pub server: String,
    /// The snapshot, as the server names it.
    pub snapshot: String,
    /// The transactions that it sees, as the server says them: names of snapshots come again once a server was started anew.
    pub sees: String,
    /// How far the server's log was.
    pub position: String,
    /// When it was taken by the server's clock, RFC 3339.
    pub taken: String,
    /// The tables that hold the rows, with their sizes when they were pinned: splits are made of them.
    pub parts: Vec<PinnedPart>,
}

/// A table that holds rows of a pinned one: itself, or a partition of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedPart {
    /// Its number in the server's catalogue.
    pub id: u32,
    /// Its name, quoted as SQL wants it.
    pub name: String,
    /// Its size in pages, if rows can be read by their place in pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u64>,
}

/// A part of a pinned table that one task reads. Splits of one source are disjoint and together are the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// For a person: `orders.parquet rows 0–122880`.
    pub label: String,
    /// Number of rows, if known.
    pub rows: Option<u64>,
    /// Size in the source, in bytes, if known.
    pub bytes: Option<u64>,
    /// What the connector needs to read it again.
    pub detail: Json,
}

/// Rows that were written where no reader sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// The unit of work that wrote them.
    pub unit: String,
    /// Number of rows; delete markers are not among them.
    pub rows: u64,
    /// Number of delete markers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// What the connector needs to commit or remove them.
    pub detail: Json,
}

/// Rows that became visible, all at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// The key they were committed under.
    pub key: CommitKey,
    /// The target's own name for the new state.
    pub version: String,
    /// Whether an earlier call had done it.
    pub already_done: bool,
    /// Number of rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Number of files or parts.
    pub parts: u64,
    /// Reads exactly the rows of this commit, and no others.
    pub pin: Pin,
}

/// What happened to every row that was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows the source delivered.
    pub read: u64,
    /// Rows written to the target.
    pub written: u64,
    /// Rows put aside with a reason.
    pub quarantined: u64,
    /// Rows the pipeline's filter left out.
    pub filtered: u64,
    /// Delete markers of a merge: rows that only take others away.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
}

/// Whether a count that most tables do not have can be left out.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Adds another part's counts.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.written += other.written;
        self.quarantined += other.quarantined;
        self.filtered += other.filtered;
        self.deleted += other.deleted;
    }

    /// Law 5: read = written + quarantined + filtered + deleted.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal), with the five counts.
    pub fn balance(&self) -> Result<()> {
        if self.read == self.written + self.quarantined + self.filtered + self.deleted {
            return Ok(());
        }
        Err(Error::internal(format!(
            "the counts do not balance: read {} ≠ written {} + quarantined {} + filtered {} + deleted {}",
            self.read, self.written, self.quarantined, self.filtered, self.deleted
        )))
    }
}

/// What a cast did to the values of one column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The column, by its name in the source.
    pub column: String,
    /// Source type.
    pub from: String,
    /// Target type.
    pub to: String,
    /// Values of written rows that were changed (rounded, cut) as the rulebook allows.
    pub changed: u64,
    /// Values of written rows that did not fit and became NULL.
    pub nulled: u64,
    /// Values that did not fit and sent their row to quarantine.
    pub quarantined: u64,
}

/// What a committed run says it did with one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The source table.
    pub from: TableName,
    /// The target table.
    pub to: TableName,
    /// The point in time that was read.
    pub pin: Pin,
    /// The rows.
    pub counts: Counts,
    /// The casts that could lose something, with what they did lose.
    pub losses: Vec<Loss>,
    /// What the quality checks found.
    #[serde(default)]
    pub checks: Vec<Finding>,
    /// The table digest of what was written; see `docs/row-hash.md`.
    pub digest: String,
    /// What became visible.
    pub committed: Committed,
    /// Rows put aside, and where.
    pub quarantine: Option<Committed>,
    /// Units of work, and how many of them an earlier process had staged.
    pub units: u64,
    /// Units taken over from the journal.
    pub resumed_units: u64,
    /// How often a transient error was tried again.
    pub retries: u64,
    /// Start, RFC 3339.
    pub started: String,
    /// End, RFC 3339.
    pub ended: String,
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was to be compared was, and is equal.
    Match,
    /// Differences were found.
    Mismatch,
    /// Too little could be compared to say so.
    NotCompared,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Match => "match",
            Self::Mismatch => "mismatch",
            Self::NotCompared => "not_compared",
        })
    }
}

/// What an independent second reading of source and target found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The source table.
    pub from: TableName,
    /// The target table.
    pub to: TableName,
    /// `schema`, `count` or `row`.
    pub level: String,
    /// The result.
    pub outcome: Outcome,
    /// One sentence for a person.
    pub summary: String,
    /// Where source and target were read.
    pub source_pin: Pin,
    /// Where source and target were read.
    pub target_pin: Pin,
    /// Rows that the source should have led to.
    pub source_rows: Option<u64>,
    /// Rows found in the target.
    pub target_rows: Option<u64>,
    /// What the plan makes of the rows that the source gave this time: `written` are those that belong in the target.
    #[serde(default)]
    pub counts: Option<Counts>,
    /// Table digest of the source side, casts applied.
    pub source_digest: Option<String>,
    /// Table digest of the target side.
    pub target_digest: Option<String>,
    /// Differences, by kind.
    pub differences: Differences,
    /// Differences of the schemas, one sentence each.
    pub schema: Vec<String>,
    /// What was compared and what was not.
    pub coverage: Coverage,
    /// Where every differing key is written, if there are any.
    pub evidence: Option<String>,
}

/// How many keys differ, by kind. The kinds are disjoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// Keys the source has and the target has not.
    pub missing_in_target: u64,
    /// Keys the target has and the source has not, and those that are left.
    pub extra_in_target: u64,
    /// Of them, those that are left where the load should have taken their rows away: keys that were merged, or partitions
    /// that were replaced.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_in_target: u64,
    /// Keys on both sides whose rows differ.
    pub changed: u64,
    /// Keys that occur a different number of times.
    pub multiplicity: u64,
    /// Changed values per column.
    pub columns: Vec<(String, u64)>,
}

impl Differences {
    /// Adds what another look has found.
    pub fn add(&mut self, other: &Self) {
        self.missing_in_target += other.missing_in_target;
        self.extra_in_target += other.extra_in_target;
        self.left_in_target += other.left_in_target;
        self.changed += other.changed;
        self.multiplicity += other.multiplicity;
        self.columns.extend(other.columns.iter().cloned());
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.missing_in_target + self.extra_in_target + self.changed + self.multiplicity
    }
}

/// What a comparison looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Columns whose values were compared.
    pub columns: Vec<String>,
    /// Columns whose values were not, each with the reason.
    pub not_compared: Vec<(String, String)>,
    /// Rows left out on the source side, each with the reason.
    pub rows_left_out: Vec<(u64, String)>,
    /// Columns that match only because masking was applied to the source side first.
    pub masked: Vec<String>,
    /// For rows that were merged, or have replaced partitions: how many of them, delete markers included, were held against
    /// all other rows of the target. `None` if that was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_against_others: Option<u64>,
    /// What else was not looked at, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_looked_at: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_older_versions_are_read_and_those_without_deletes_written_as_before() {
        let text = r#"{"read":4,"written":2,"quarantined":1,"filtered":1}"#;
        let counts: Counts = serde_json::from_str(text).unwrap();
        counts.balance().unwrap();
        assert_eq!(serde_json::to_string(&counts).unwrap(), text);
        let merged = Counts { read: 5, deleted: 1, ..counts };
        merged.balance().unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&serde_json::to_string(&merged).unwrap()).unwrap(), merged);
        Counts { deleted: 2, ..merged }.balance().unwrap_err();
    }

    #[test]
    fn the_others_of_a_commit_are_all_files_but_its_own() {
        let own = PinnedVersion { table: "t".into(), version: "3".into(), only: Some(vec!["a".into()]), except: None };
        let others = Pin::Version(own.clone()).others().unwrap();
        assert_eq!(others.describe(), "version 3 without 1 of its files");
        assert!(others.others().is_none() && Pin::Formula(String::new()).others().is_none());
        let text = r#"{"version":{"table":"t","version":"3","only":["a"]}}"#;
        assert_eq!(serde_json::from_str::<Pin>(text).unwrap(), Pin::Version(own.clone()));
        assert_eq!(serde_json::to_string(&Pin::Version(own)).unwrap(), text);
    }
}
