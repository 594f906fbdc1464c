//! The four contracts a system has to keep to be moved from or to.

mod info;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::fault;
use crate::name::{CommitKey, RunId, TableName};
use crate::secret::Resolve;
use crate::tree::{Node, Problem};
use crate::types::LogicalType;
use crate::value::{Committed, Pin, Split, Staged};

pub use self::info::{CatalogInfo, ColumnInfo, ForeignKeyInfo, IndexInfo, TableInfo};

/// Field metadata of a column whose values are meant as another type than they are stored in, such as all those of CSV: the
/// text form of that type. The planner casts such a column; a connector never does.
pub const DECLARED_TYPE: &str = "transload:declared";

/// Name of a hidden text column with which a source marks a row it could not read, and why. NULL for good rows.
pub const FAULT_COLUMN: &str = "_transload_fault";

/// Name of the hidden text column that holds such a row as it was found, and other rows whose columns do not tell all that
/// was written. NULL for those that do.
pub const RAW_COLUMN: &str = "_transload_raw";

/// Name of the hidden column of a row that is read from quarantine: the run that put it aside first, its split and its
/// position there. A struct, never NULL.
pub const ORIGIN_COLUMN: &str = "_transload_origin";

/// Name of the hidden column of true and false in rows that are merged into a table: it is true for delete markers.
pub const DELETED_COLUMN: &str = "_transload_deleted";

/// How the names of hidden columns begin, and no others.
pub const HIDDEN_PREFIX: &str = "_transload";

/// Field metadata of a hidden column. No connector takes it over from a file or a server.
const HIDDEN: &str = "transload:hidden";

/// Marks a column as hidden: with it a source says something about its rows, and its values are not theirs.
#[must_use]
pub fn hidden(field: Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(HIDDEN.to_string(), String::new());
    field.with_metadata(metadata)
}

/// Whether a column is [`hidden`].
#[must_use]
pub fn is_hidden(field: &Field) -> bool {
    field.metadata().contains_key(HIDDEN)
}

/// The place of the hidden column of this name.
#[must_use]
pub fn hidden_column(schema: &Schema, name: &str) -> Option<usize> {
    schema.fields().iter().position(|f| f.name() == name && is_hidden(f))
}

/// Whether a column of data has a name that only hidden columns have. No plan takes it: its values would get lost.
#[must_use]
pub fn takes_hidden_name(field: &Field) -> bool {
    field.name().starts_with(HIDDEN_PREFIX) && !is_hidden(field)
}

/// What a connector claims to be able to do. The conformance suite tests every claim, promise by promise: see
/// `docs/conformance.md`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// Can be read.
    pub source: bool,
    /// Can be written.
    pub sink: bool,
    /// Can add rows to a table.
    pub append: bool,
    /// Can replace a table's content in one step.
    pub overwrite: bool,
    /// Can merge rows into a table by key.
    pub merge: bool,
    /// Can replace single partitions of a table.
    pub replace_partitions: bool,
    /// Can lay a table out by partition.
    pub partitions: bool,
    /// Can list its tables.
    pub discover: bool,
}

/// A kind of system: the word before the colon in `lake: { … }`.
pub trait Connector: Send + Sync {
    /// The word.
    fn kind(&self) -> &'static str;

    /// What it claims.
    fn capability(&self) -> Capability;

    /// The JSON Schema of its options.
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema;

    /// Checks the options and makes an endpoint of them. Pure: nothing is opened, read or resolved.
    ///
    /// # Errors
    /// Every problem with the options, each at its place.
    fn parse(&self, options: &Node, resolver: Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>, Vec<Problem>>;
}

/// One configured system.
#[async_trait]
pub trait Endpoint: Send + Sync {
    /// Whether `table` can be a name here. Pure.
    ///
    /// # Errors
    /// A sentence that says why not.
    fn check_name(&self, table: &TableName) -> Result<(), String>;

    /// The one name that stands for all by which `table` can be called here: two of them mean one table. Pure.
    fn common_name(&self, table: &TableName) -> TableName {
        table.clone()
    }

    /// Whether tables can be written with `spec`. Pure.
    ///
    /// # Errors
    /// A sentence that says why not.
    fn check_write(&self, spec: &WriteSpec) -> Result<(), String>;

    /// The options that do nothing when tables are only read. Pure.
    fn check_read(&self) -> Vec<Problem>;

    /// The names of all tables there can be, sorted, if that is known without looking. Pure.
    fn known_tables(&self) -> Option<Vec<TableName>>;

    /// Whether a column may be meant as another type than it has ([`DECLARED_TYPE`]). Pure.
    fn declares_types(&self) -> bool;

    /// The type that a column has to be cast to before it is written here, because tables here have none that holds it.
    /// `None` if they have one, or nothing can be done. Pure.
    fn instead_of(&self, _ty: &LogicalType) -> Option<LogicalType> {
        None
    }

    /// The names of the tables that are there, sorted, without opening any.
    async fn list(&self) -> Result<Vec<TableName>>;

    /// What is known of a table without reading its rows.
    ///
    /// # Behavior
    /// A database asks its catalogue and pins nothing. Any other system opens the table as [`source`](Self::source) does.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if there is no such table, or it cannot be read.
    async fn describe(&self, table: &TableName) -> Result<TableInfo> {
        let source = self.source(table, &ReadSpec::default()).await?;
        Ok(TableInfo::of(table.clone(), source.as_ref()))
    }

    /// Pins a table and opens it for reading.
    ///
    /// # Behavior
    /// With [`ReadSpec::pin`] the source is that point in time or an error, never a later one.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if there is no such table or it is not what was pinned any more;
    /// [`Transient`](crate::ErrorKind::Transient) if the pin is not [held](Self::holds), so that the table can be pinned anew.
    async fn source(&self, table: &TableName, spec: &ReadSpec) -> Result<Arc<dyn Source>>;

    /// The same system, whose tables are all pinned at one point in time, the first one's, for as long as it lives; where
    /// a system cannot do so, each at its own. What it has pinned can be read elsewhere until it is dropped.
    fn together(self: Arc<Self>) -> Arc<dyn Endpoint>;

    /// Whether what was pinned can still be read as it was. Most systems keep it; a database keeps it for as long as whoever
    /// pinned it is connected.
    ///
    /// # Behavior
    /// - What was pinned is held while its source lives, or the endpoint if it pins tables [together](Self::together), unless
    ///   the system ends that before. Other endpoints, also those of other processes, read it meanwhile.
    /// - What is not held any more is never held again.
    ///
    /// # Errors
    /// As the system fails.
    async fn holds(&self, _pin: &Pin) -> Result<bool> {
        // Tests let go of what was pinned here.
        Ok(fault::point("pin.held").is_ok())
    }

    /// The columns of a table that is there, as rows have to come that are added to it as it is: in this order, with these
    /// types, and NULL only where that is allowed.
    ///
    /// # Errors
    /// Those of [`source`](Self::source).
    async fn columns(&self, table: &TableName) -> Result<SchemaRef> {
        Ok(self.source(table, &ReadSpec::default()).await?.schema())
    }

    /// Whether the columns of tables that are made here have exactly the types of the rows, and not others that hold the same
    /// values. Pure.
    fn keeps_types(&self) -> bool {
        false
    }

    /// Prepares a table for writing. Nothing is changed until the first stage.
    async fn sink(&self, table: &TableName, schema: SchemaRef, spec: &WriteSpec) -> Result<Arc<dyn Sink>>;

    /// The same for a table that programs shall find whole or not at all, also those that know nothing of commits and only
    /// list files. It may be dearer, so it is for tables that are small.
    ///
    /// # Errors
    /// Those of [`sink`](Self::sink).
    async fn sink_whole(&self, table: &TableName, schema: SchemaRef, spec: &WriteSpec) -> Result<Arc<dyn Sink>> {
        self.sink(table, schema, spec).await
    }

    /// Finds, and removes, what writers have left that died and will not come back.
    ///
    /// # Behavior
    /// - Only what transload wrote, what no table shows, and what was last changed before [`CleanSpec::before`]: rows that
    ///   were staged, files that were put in their places and never published, files that a commit has replaced.
    /// - Nothing of a run in [`CleanSpec::keep`], which may go on; nothing while a commit of the same table is under way.
    /// - Returns what was removed, sorted by table and path; with [`CleanSpec::dry_run`] what would be.
    ///
    /// # Errors
    /// As the system fails. What was removed until then stays removed.
    ///
    /// # Cancellation
    /// Dropping the future leaves a part of it for the next time, and every table as it is.
    ///
    /// # Idempotency
    /// A second call finds nothing of what the first one has removed.
    async fn clean(&self, _: &CleanSpec) -> Result<Vec<Orphan>> {
        Ok(Vec::new())
    }
}

/// What may be removed of what writers have left.
#[derive(Debug, Clone)]
pub struct CleanSpec {
    /// Only what was last changed before.
    pub before: DateTime<Utc>,
    /// Runs that may go on.
    pub keep: Vec<RunId>,
    /// Look, and leave everything where it is.
    pub dry_run: bool,
}

impl CleanSpec {
    /// Whether something of a run that was last changed then is to be removed.
    pub fn takes(&self, run: Option<&RunId>, modified: DateTime<Utc>) -> bool {
        modified < self.before && run.is_none_or(|run| !self.keep.contains(run))
    }
}

/// Something that a writer has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// The table it was meant for.
    pub table: TableName,
    /// Where it is, below the table.
    pub path: String,
    /// What it is.
    pub what: OrphanKind,
    /// The run that has left it, if that is known.
    pub run: Option<RunId>,
    /// Its size in bytes, if that is known.
    pub bytes: Option<u64>,
    /// When it was last changed.
    pub modified: DateTime<Utc>,
}

/// What a writer has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrphanKind {
    /// Rows that were staged.
    Staged,
    /// An upload that was not completed.
    Upload,
    /// A file in its place that was never published.
    Unpublished,
    /// A file that a commit has replaced.
    Replaced,
    /// What a writer has noted for itself.
    Note,
}

impl std::fmt::Display for OrphanKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Staged => "staged",
            Self::Upload => "upload",
            Self::Unpublished => "unpublished",
            Self::Replaced => "replaced",
            Self::Note => "note",
        })
    }
}

/// How to read a table: plain data, so that a source can be made again elsewhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReadSpec {
    /// The point in time to read; `None` pins now.
    pub pin: Option<Pin>,
    /// About how many of a hundred rows are read, chosen by the system at random: for a first look, where it can do that.
    /// All, if nothing is said; a load reads all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_percent: Option<u8>,
}

impl ReadSpec {
    /// All rows at a point in time, or now.
    pub fn at(pin: Option<Pin>) -> Self {
        Self { pin, sample_percent: None }
    }
}

/// How to write a table: plain data, so that a sink can be made again elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WriteSpec {
    /// The key of the commit to come.
    pub commit: CommitKey,
    /// Replace the content, or add to it.
    pub mode: WriteMode,
    /// Layout by partition.
    pub partition_by: Vec<Partition>,
    /// What the table must still be when it is committed.
    pub expected: Expected,
    /// The columns of the key, for [`WriteMode::Merge`].
    #[serde(default)]
    pub key: Vec<String>,
}

/// What a table must still be when it is committed, so that a late commit does not undo or repeat another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Anything: the rows are right whatever else is there.
    #[default]
    Anything,
    /// Not there.
    Missing,
    /// At this version.
    Version(String),
}

/// What a commit does with the rows that were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// They go, in the same step.
    Replace,
    /// They stay.
    Append,
    /// Every one goes whose [`key`](WriteSpec::key) is that of a staged row, in the same step, and the others stay as they
    /// are. A staged row whose [`DELETED_COLUMN`] is true is a delete marker: it takes rows away and is not written itself.
    /// Staged rows have a key without NULL, and no two have the same: whoever stages them has seen to that.
    Merge,
    /// Those go that lie in a partition in which a staged row lies, in the same step. The others stay as they are.
    ReplacePartitions,
}

impl WriteMode {
    /// Whether rows can stay beside those of the commit.
    pub fn keeps_others(self) -> bool {
        self != Self::Replace
    }
}

/// One level of a partitioned layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The column, by its name in the target.
    pub column: String,
    /// What is done to its value.
    pub transform: Transform,
}

/// What a partition does to a column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// The value itself.
    Identity,
    /// `2024`
    Year,
    /// `2024-01`
    Month,
    /// `2024-01-31`
    Day,
    /// `2024-01-31-23`
    Hour,
    /// Hash of the value, modulo this number.
    Bucket(u32),
    /// Whole numbers rounded down to a multiple; text cut to a number of characters.
    Truncate(u32),
}

impl Partition {
    /// The name of the level in a layout: the column's for identity, `column_month` and so on otherwise.
    pub fn name(&self) -> String {
        let suffix = match self.transform {
            Transform::Identity => return self.column.clone(),
            Transform::Year => "year",
            Transform::Month => "month",
            Transform::Day => "day",
            Transform::Hour => "hour",
            Transform::Bucket(_) => "bucket",
            Transform::Truncate(_) => "trunc",
        };
        format!("{}_{suffix}", self.column)
    }
}

/// A pinned table, open for reading.
pub trait Source: Send + Sync {
    /// Its columns. Field metadata may hold [`DECLARED_TYPE`]; the last may be [`hidden`], such as [`FAULT_COLUMN`].
    fn schema(&self) -> SchemaRef;

    /// The point in time it is fixed at.
    fn pin(&self) -> &Pin;

    /// Its parts. Deterministic for one pin.
    fn splits(&self) -> &[Split];

    /// About how many rows it has, if that is known without reading: those that its splits name, unless the system has
    /// only an estimate.
    fn estimated_rows(&self) -> Option<u64> {
        self.splits().iter().map(|s| s.rows).sum()
    }

    /// Of how many of a hundred rows it was made, if somebody asked for a sample and the system can take one.
    fn sampled_percent(&self) -> Option<u8> {
        None
    }

    /// What is taken for granted of rows that nobody has looked at, if something is, as half a sentence for the plan. Reading
    /// fails where it is not so.
    fn assumed(&self) -> Option<String> {
        None
    }

    /// The table for the query engine.
    ///
    /// # Behavior
    /// A scan has exactly one partition per split, in their order. Filters and projections may be
    /// pushed down; filters need not be applied exactly.
    ///
    /// # Errors
    /// Reading fails with [`Config`](crate::ErrorKind::Config) if the source is no longer what was pinned.
    fn provider(&self) -> Result<Arc<dyn TableProvider>>;
}

/// A table being written, in two phases: stage where nobody sees it, then commit.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The table's version and what the target keeps from its last commit; `None` if there is no such table yet.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if there can be none beside the tables that are there.
    async fn state(&self) -> Result<Option<(String, TableState)>>;

    /// Whether the table takes rows of these columns as it is now. A sink that cannot tell before it commits takes all.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) with what a commit would say of the columns. Nothing is changed.
    async fn fits(&self) -> Result<()> {
        Ok(())
    }

    /// Writes the rows of one unit of work where no reader sees them.
    ///
    /// # Behavior
    /// - Staging a unit again replaces what an earlier, unfinished attempt left. Units may be staged at the same time.
    /// - Of delete markers ([`DELETED_COLUMN`]) only the key is kept, for the commit.
    ///
    /// # Cancellation
    /// Dropping the future leaves only staged data, which [`abort`](Sink::abort) or the next attempt removes.
    async fn stage(&self, unit: &str, rows: SendableRecordBatchStream, memory: &Arc<dyn MemoryPool>) -> Result<Staged>;

    /// Bytes that calls of [`stage`](Sink::stage) have written so far, those that are still running included and those that
    /// failed left out: for a watcher, who wants to see a long unit grow. 0 if the sink cannot tell.
    fn written(&self) -> u64 {
        0
    }

    /// Publishes everything in `staged`, exactly once. What has to be held for it comes out of `memory`.
    ///
    /// # Behavior
    /// - The rows become visible together, or not at all; so does what their [`WriteMode`] takes away.
    /// - Calling again with the same key changes nothing and returns the first result with
    ///   `already_done = true`, also from another process and after a crash.
    ///
    /// # Errors
    /// [`Transient`](crate::ErrorKind::Transient) if another writer moved the table; nothing was published.
    /// [`CommitUnknown`](crate::ErrorKind::CommitUnknown) if the outcome cannot be known: call again with the same key.
    /// Once the rows are visible there is no other error, and none at all for work that can be left to a later commit.
    ///
    /// # Cancellation
    /// Dropping the future leaves the table either unchanged or fully published, never between.
    async fn commit(&self, staged: Vec<Staged>, state: TableState, memory: &Arc<dyn MemoryPool>) -> Result<Committed>;

    /// Whether everything of a unit that was staged and not committed is still there. Where nobody else can remove it,
    /// it is.
    async fn is_staged(&self, _: &Staged) -> Result<bool> {
        Ok(true)
    }

    /// Whether this sink's key is among what was committed to the table, by whomever. Nothing is changed.
    async fn is_committed(&self) -> Result<bool>;

    /// Removes everything that was staged under this sink's key and not committed. Idempotent.
    async fn abort(&self) -> Result<()>;

    /// Takes back what this sink has committed, as if it had never been, and removes what it has staged: for rows that
    /// belong to others which did not arrive.
    ///
    /// # Behavior
    /// Programs find the rows whole or not at all, whenever they look.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) if others have committed to the table too, or there is no way back: nothing
    /// was changed.
    ///
    /// # Cancellation
    /// Dropping the future leaves the table as it was, or empty. Call it again.
    ///
    /// # Idempotency
    /// A second call changes nothing.
    async fn withdraw(&self) -> Result<()> {
        Err(crate::Error::internal("what is published here cannot be taken back"))
    }
}

/// What a target remembers about a table beside its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The cursor column's highest value that was written, as text.
    pub cursor: Option<String>,
    /// The column that this is a value of, by its name in the source. States of older versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor_column: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_does_not_name_its_cursor_is_read() {
        let old: TableState = serde_json::from_str(r#"{"cursor":"5"}"#).unwrap();
        assert_eq!(old, TableState { cursor: Some("5".to_string()), cursor_column: None });
        assert_eq!(serde_json::to_string(&TableState::default()).unwrap(), r#"{"cursor":null}"#);
    }
}
