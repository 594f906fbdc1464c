//! Making staged files part of a table: one entry in its log.
//!
//! Files are staged where they belong, for nobody sees a file that the log does not name; in a bucket as uploads, which
//! are completed before the entry is written. The entry names them, and the commit's key as an application's transaction:
//! it is what tells a commit that was made from one that was not.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError};
use deltalake_core::kernel::{Action, Add, MetadataExt, Protocol, StructField, StructType, Transaction, new_metadata};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use futures::TryStreamExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use transload_core::connector::{Expected, Sink, TableState, WriteMode, WriteSpec};
use transload_core::store::{Address, Store};
use transload_core::{
    Clock, CommitKey, Committed, Error, ErrorKind, LogicalType, Pin, PinnedVersion, Result, RunId, Staged, TableName,
    fault,
};
use transload_lake::files::{self, FileWriter};

use crate::clean::clear_unnamed;
use crate::log::{Column, Log, Version, unreadable};
use crate::options::{SchemaPolicy, Settings};
use crate::record::{FOLDER, Record};
use crate::stats;
use crate::types::{delta, names_partitions};

/// Attempts to commit to a table that others commit to at the same time.
const ATTEMPTS: usize = 50;

/// The application that every commit of ours names, with the version it makes: what another run sees of this one.
const APPLICATION: &str = "transload";

/// The property that says of how many columns a file's bounds are kept.
const INDEXED_COLUMNS: &str = "delta.dataSkippingNumIndexedCols";

/// Length of the name of a run, with which the names of its files begin.
const RUN_NAME: usize = "20260101T000000Z-01234567".len();

/// A staged file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StagedFile {
    #[serde(flatten)]
    file: files::StagedFile,
    /// Of the partition columns, outermost first; `None` is NULL.
    values: Vec<(String, Option<String>)>,
    /// Delta's statistics, as JSON text.
    statistics: String,
}

/// A Delta table being written.
pub(crate) struct DeltaSink {
    pub(crate) address: Address,
    pub(crate) settings: Arc<Settings>,
    pub(crate) opened: OnceLock<Store>,
    pub(crate) root: Path,
    pub(crate) table: TableName,
    pub(crate) schema: SchemaRef,
    pub(crate) spec: WriteSpec,
    /// Bytes that units of work have written.
    pub(crate) written: AtomicU64,
    /// The version that was there when the commit was tried first: what others change after it is not overwritten.
    pub(crate) seen: OnceLock<u64>,
}

/// What is in the way of a commit.
enum Obstacle {
    /// Another commit took the version.
    Taken,
    Error(Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The key of a commit as the name of an application.
pub(crate) fn application(key: impl Display) -> String {
    format!("{APPLICATION}/{key}")
}

/// The name of the lock that commits to a table take.
pub(crate) fn lock_of(table: &Path) -> Path {
    table.clone().join(FOLDER).join("lock")
}

/// How the names of a commit's files begin.
pub(crate) fn prefix(key: &CommitKey) -> String {
    format!("part-{key}-")
}

impl DeltaSink {
    /// The store, made if it is missing.
    fn store(&self) -> Result<&Store> {
        match self.opened.get() {
            Some(store) => Ok(store),
            None => {
                let store = self.address.open(true)?;
                Ok(self.opened.get_or_init(|| store))
            }
        }
    }

    /// The store, if it is there.
    fn existing(&self) -> Result<Option<Store>> {
        match self.opened.get() {
            Some(store) => Ok(Some(store.clone())),
            None => self.address.find(),
        }
    }

    fn named(&self, error: Error) -> Error {
        error.with("table", self.table.as_str())
    }

    /// What another run has to leave as it is, in one word.
    async fn token(&self, version: &Version) -> Result<String> {
        let last = version.transaction(APPLICATION).await?;
        Ok(format!("{}:{}", version.table(), last.map_or("none".to_string(), |v| v.to_string())))
    }

    /// Refuses to undo or repeat what another run has done since this one was planned.
    async fn as_expected(&self, now: Option<&Version>) -> Result<()> {
        let kept = match (&self.spec.expected, now) {
            (Expected::Anything, _) | (Expected::Missing, None) => true,
            (Expected::Version(token), Some(version)) => self.token(version).await? == *token,
            _ => false,
        };
        match kept {
            true => Ok(()),
            false => Err(self
                .named(Error::config("another run has published this table since this one was planned"))
                .hint("start a new run: `transload run`")),
        }
    }

    /// Refuses a folder with files that belong to something else.
    async fn is_free(&self, store: &Store) -> Result<()> {
        let mut above: Vec<_> = self.root.parts().collect();
        while above.pop().is_some() {
            let outer: Path = above.iter().cloned().collect();
            if Log::of(store, &outer)?.is_there().await? {
                let said = format!("the table would lie inside the table in `{outer}`");
                return Err(self.named(Error::config(said)).hint("use another `to`"));
            }
        }
        let foreign = |path: &Path| {
            let rest = path.as_ref().strip_prefix(self.root.as_ref()).unwrap_or(path.as_ref());
            if rest.split('/').any(|part| part == "_delta_log") {
                return true;
            }
            let hidden =
                rest.split('/').any(|part| part.starts_with('.') || (part.starts_with('_') && !part.contains('=')));
            let run = path.filename().and_then(|name| name.strip_prefix("part-")?.get(..RUN_NAME));
            let own = run.is_some_and(|run| RunId::parse(run).is_some());
            !hidden && !own
        };
        match store.list(&self.root).await?.into_iter().find(|object| foreign(&object.location)) {
            Some(object) => Err(self
                .named(Error::config("the target folder holds files and no Delta table"))
                .with("path", object.location.to_string())
                .hint("use another `to`, or empty the folder")),
            None => Ok(()),
        }
    }

    /// What the table remembers of our last commit to it.
    async fn remembered(&self, store: &Store, version: &Version) -> Result<TableState> {
        let Some(last) = version.transaction(APPLICATION).await? else { return Ok(TableState::default()) };
        let last = u64::try_from(last).map_err(|_| Error::config("the table's log names a version that cannot be"))?;
        for record in Record::of_version(store, &self.root, last).await? {
            if version.transaction(&application(&record.commit)).await?.is_some() {
                return Ok(record.state);
            }
        }
        // A table that was copied comes without it. A plan does not let a load go on from a cursor that is not there.
        tracing::warn!(table = %self.table, "the table does not say any more how far an incremental load has come");
        Ok(TableState::default())
    }

    /// The result of this commit when an earlier call did it, whatever was committed since.
    async fn done_before(&self, store: &Store, now: &Version, made: i64) -> Result<Committed> {
        let lost = |e: Error| {
            Error::new(ErrorKind::CommitUnknown, "the table is published, and the record of it cannot be read")
                .because(e)
        };
        let made = u64::try_from(made).map_err(|_| lost(Error::config("the log names a version that cannot be")))?;
        let record = Record::read(store, &self.root, made, &self.spec.commit).await.map_err(lost)?;
        Ok(self.committed(&record, now.table().to_string(), true))
    }

    fn committed(&self, record: &Record, table: String, already_done: bool) -> Committed {
        let only = (self.spec.mode == WriteMode::Append).then(|| record.files.clone());
        Committed {
            key: self.spec.commit.clone(),
            version: record.version.to_string(),
            already_done,
            rows: record.rows,
            bytes: record.bytes,
            parts: record.files.len() as u64,
            pin: Pin::Version(PinnedVersion { table, version: record.version.to_string(), only }),
        }
    }

    /// The columns of the rows.
    fn columns(&self) -> Result<Vec<Column>> {
        let column = |f: &arrow::datatypes::FieldRef| {
            let ty =
                LogicalType::of(f).ok_or_else(|| Error::internal("a column without a logical type was written"))?;
            Ok(Column { name: f.name().clone(), ty, nullable: f.is_nullable() })
        };
        self.schema.fields().iter().map(column).collect()
    }

    /// Refuses columns that a Delta table cannot have.
    pub(crate) fn check_columns(&self) -> Result<()> {
        for column in self.columns()? {
            delta(&column.ty).map_err(|e| e.with("column", &column.name))?;
            let partitions = self.spec.partition_by.iter().any(|p| p.column == column.name);
            if partitions && !names_partitions(&column.ty) {
                return Err(Error::config(format!(
                    "values of type {} cannot name the partitions of a table",
                    column.ty
                ))
                .with("column", &column.name)
                .hint("derive a column of text, a date or a whole number from it, and partition by that"));
            }
        }
        Ok(())
    }

    fn partition_columns(&self) -> Vec<String> {
        self.spec.partition_by.iter().map(|p| p.column.clone()).collect()
    }

    fn delta_schema(columns: &[Column]) -> Result<StructType> {
        let field = |c: &Column| Ok(StructField::new(&c.name, delta(&c.ty)?, c.nullable));
        let fields: Vec<StructField> = columns.iter().map(field).collect::<Result<_>>()?;
        StructType::try_new(fields).map_err(|_| Error::config("the table would have two columns of one name"))
    }

    /// The same, with those fields that the table has already as they are there, with all that is said of them.
    fn grown_schema(columns: &[Column], now: &Version) -> Result<StructType> {
        let there = now.snapshot.schema();
        let field = |c: &Column| match there.field(&c.name) {
            Some(field) => Ok(field.clone()),
            None => Ok(StructField::new(&c.name, delta(&c.ty)?, c.nullable)),
        };
        let fields: Vec<StructField> = columns.iter().map(field).collect::<Result<_>>()?;
        StructType::try_new(fields).map_err(|_| Error::config("the table would have two columns of one name"))
    }

    /// The columns the table has after this commit, if they are not those it has now.
    fn new_columns(&self, now: &Version) -> Result<Option<Vec<Column>>> {
        let (theirs, ours) = (now.columns()?, self.columns()?);
        let same_layout = now.partition_columns() == self.partition_columns();
        let replaced = self.spec.mode == WriteMode::Replace;
        if theirs == ours && same_layout {
            return Ok(None);
        }
        if replaced && self.settings.schema.is_none() {
            return Ok(Some(ours));
        }
        if !same_layout {
            return Err(Error::config("the table is partitioned by other columns")
                .hint("use `mode: full` without `schema`, which replaces the table, or another `to`"));
        }
        let mut after = theirs.clone();
        for column in &ours {
            match theirs.iter().find(|c| c.name == column.name) {
                None if self.settings.schema == Some(SchemaPolicy::Evolve) => {
                    after.push(Column { nullable: true, ..column.clone() });
                }
                None => {
                    return Err(Error::config(format!("the table has no column `{}`", column.name))
                        .hint("set `schema: evolve` at the target, which adds columns, or drop the column"));
                }
                Some(there) if delta(&there.ty)? != delta(&column.ty)? => {
                    return Err(Error::config(format!(
                        "column `{}` is {} in the table and {} in the rows",
                        column.name, there.ty, column.ty
                    ))
                    .hint(format!("cast the column to {}", there.ty)));
                }
                // What a plan calls nullable need not hold a NULL, but nobody has promised that it does not.
                Some(there) if !there.nullable && column.nullable => {
                    return Err(Error::config(format!(
                        "column `{}` may not be NULL in the table, and may be in the rows",
                        column.name
                    ))
                    .hint("use another `to`, or let the table's column be NULL"));
                }
                Some(_) => {}
            }
        }
        for column in theirs.iter().filter(|c| ours.iter().all(|o| o.name != c.name)) {
            if !column.nullable || self.settings.schema != Some(SchemaPolicy::Evolve) {
                return Err(Error::config(format!("the rows have no column `{}`, which the table has", column.name))
                    .hint("derive it, or set `schema: evolve` at the target if it may be NULL"));
            }
        }
        Ok((after != theirs).then_some(after))
    }

    /// One attempt to commit, after the version that is there.
    async fn attempt(
        &self,
        store: &Store,
        log: &Log,
        base: Option<&Version>,
        files: &[StagedFile],
        state: &TableState,
    ) -> Result<Committed, Obstacle> {
        let version = base.map_or(0, |base| base.number() + 1);
        let state = match base {
            // Adding rows without a cursor does not forget how far an incremental load has come.
            Some(base) if self.spec.mode == WriteMode::Append && *state == TableState::default() => {
                self.remembered(store, base).await?
            }
            _ => state.clone(),
        };
        let record = Record {
            format: 1,
            commit: self.spec.commit.clone(),
            version,
            files: files.iter().map(|f| f.file.path.clone()).collect(),
            rows: files.iter().map(|f| f.file.rows).sum(),
            bytes: files.iter().map(|f| f.file.bytes).sum(),
            state,
        };
        fault::point("commit.manifest")?;
        record.write(store, &self.root).await?;
        let mut actions = Vec::new();
        let replaced = self.spec.mode == WriteMode::Replace;
        let table = match base {
            None => {
                let columns = self.columns()?;
                let metadata = new_metadata(
                    &Self::delta_schema(&columns)?,
                    self.partition_columns(),
                    self.settings.properties.iter().map(|(k, v)| (k, v)),
                );
                let metadata = metadata.map_err(unwritable)?;
                let table = metadata.id().to_string();
                actions.extend([Action::Protocol(protocol(&columns)?), Action::Metadata(metadata)]);
                table
            }
            Some(base) => {
                if let Some(columns) = self.new_columns(base)? {
                    let schema = match replaced && self.settings.schema.is_none() {
                        true => Self::delta_schema(&columns)?,
                        false => Self::grown_schema(&columns, base)?,
                    };
                    if needs_more(&columns, base)? {
                        return Err(Error::config("the table's protocol has no timestamps without a zone")
                            .hint("cast the column to timestamp(us, UTC), or add the feature timestampNtz to the table")
                            .into());
                    }
                    let metadata = base.snapshot.metadata().clone().with_schema(&schema).map_err(unwritable)?;
                    actions.push(Action::Metadata(match replaced {
                        true => partitioned_by(metadata, &self.partition_columns())?,
                        false => metadata,
                    }));
                }
                base.table().to_string()
            }
        };
        let now = Clock::system().now().timestamp_millis();
        if let (Some(base), true) = (base, replaced) {
            for mut remove in base.removes().await? {
                remove.deletion_timestamp = Some(now);
                actions.push(Action::Remove(remove));
            }
        }
        actions.extend(files.iter().map(|file| Action::Add(add(file, now))));
        let operation = DeltaOperation::Write {
            mode: if replaced { SaveMode::Overwrite } else { SaveMode::Append },
            partition_by: Some(self.partition_columns()).filter(|p| !p.is_empty()),
            predicate: None,
        };
        let made = i64::try_from(version).map_err(|_| Error::internal("a version is out of range"))?;
        let transaction = |name: String| Transaction::new_with_last_update(name, made, Some(now));
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_cleanup_expired_logs(Some(false))
            .with_application_transactions(vec![
                transaction(APPLICATION.to_string()),
                transaction(application(&self.spec.commit)),
            ]);
        fault::point("commit.recorded")?;
        let snapshot = base.map(|base| &base.snapshot as &dyn TableReference);
        let commit = CommitBuilder::from(properties).with_actions(actions);
        match commit.build(snapshot, Arc::clone(log.inner()), operation).await {
            Ok(_) => {}
            Err(error) if is_taken(&error) => return Err(Obstacle::Taken),
            Err(error) => self.was_made(log, unreadable(error)).await?,
        }
        fault::point("commit.published")?;
        Ok(self.committed(&record, table, false))
    }

    /// Whether a commit was made although an error was returned: what comes after the entry may fail, and an answer may
    /// get lost.
    async fn was_made(&self, log: &Log, error: Error) -> Result<()> {
        let unknown = |e: Error| {
            Error::new(ErrorKind::CommitUnknown, "whether the table was published cannot be known now")
                .hint("`transload resume` finds out")
                .because(e)
        };
        let newest = log.newest().await.map_err(unknown)?;
        let made = match &newest {
            Some(now) => now.transaction(&application(&self.spec.commit)).await.map_err(unknown)?,
            None => None,
        };
        match made {
            Some(_) => {
                tracing::warn!(table = %self.table, %error, "published, and something after that failed");
                Ok(())
            }
            // The request may still be on its way.
            None if error.is_transient() && self.existing()?.is_some_and(|store| !store.is_local()) => {
                Err(unknown(error))
            }
            None => Err(error),
        }
    }

    /// Removes what a commit that is made has noted for itself. If that fails, it stays made.
    async fn clean_up(&self, store: &Store, written: &[&files::StagedFile]) {
        let cleaned = async {
            files::discard(store, &self.root, &self.spec.commit, written).await?;
            fault::point("commit.cleaned")
        };
        if let Err(error) = cleaned.await {
            tracing::warn!(table = %self.table, %error, "published, and not cleaned up");
        }
    }

    /// Waits a little, longer from time to time and not as long as others, so that writers get out of each other's way.
    async fn step_aside(&self, attempt: usize) {
        let spread = uuid::Uuid::new_v4().as_u128() as u64 % 50;
        let millis = 10 * (attempt as u64).min(20) + spread;
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
    }
}

/// The files of a staged unit.
fn staged_files(unit: &Staged) -> Result<Vec<StagedFile>> {
    serde_json::from_value(unit.detail.clone()).map_err(|e| Error::internal("a staged unit cannot be read").because(e))
}

/// The same rows, of which it is taken down in which columns there is a NaN.
fn noting_nan(rows: SendableRecordBatchStream, with_nan: Arc<Mutex<BTreeSet<String>>>) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let noted = rows.inspect_ok(move |batch| {
        stats::note_nan(batch, &mut with_nan.lock().unwrap_or_else(PoisonError::into_inner));
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, noted))
}

/// Whether another commit has taken the version.
fn is_taken(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::MaxCommitAttempts(_) | TransactionError::VersionAlreadyExists(_)
            }
    )
}

/// Metadata that cannot be written down.
fn unwritable(error: deltalake_core::kernel::Error) -> Error {
    Error::internal("a table's metadata cannot be written down").because(error)
}

/// The least that a table with these columns asks of its readers and writers.
fn protocol(columns: &[Column]) -> Result<Protocol> {
    let json = match columns.iter().any(|c| has_local_timestamps(&c.ty)) {
        false => serde_json::json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
        true => serde_json::json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["timestampNtz"],
            "writerFeatures": ["appendOnly", "timestampNtz"],
        }),
    };
    serde_json::from_value(json).map_err(|e| Error::internal("a protocol cannot be written down").because(e))
}

/// Whether the columns ask more than the table's protocol has.
fn needs_more(columns: &[Column], now: &Version) -> Result<bool> {
    let features = serde_json::to_value(now.snapshot.protocol())
        .map_err(|e| Error::internal("a protocol cannot be written down").because(e))?;
    let has = features["writerFeatures"].as_array().is_some_and(|names| names.iter().any(|n| n == "timestampNtz"));
    Ok(!has && columns.iter().any(|c| has_local_timestamps(&c.ty)))
}

fn has_local_timestamps(ty: &LogicalType) -> bool {
    match ty {
        LogicalType::Timestamp(_, None) => true,
        LogicalType::List(item) => has_local_timestamps(item),
        LogicalType::Struct(fields) => fields.iter().any(|(_, ty)| has_local_timestamps(ty)),
        LogicalType::Map(key, value) => has_local_timestamps(key) || has_local_timestamps(value),
        _ => false,
    }
}

/// The metadata with another layout, which the log library has no word for.
fn partitioned_by(
    metadata: deltalake_core::kernel::Metadata,
    columns: &[String],
) -> Result<deltalake_core::kernel::Metadata> {
    let broken = |e: serde_json::Error| Error::internal("a table's metadata cannot be written down").because(e);
    let mut json = serde_json::to_value(&metadata).map_err(broken)?;
    json["partitionColumns"] = serde_json::json!(columns);
    serde_json::from_value(json).map_err(broken)
}

fn add(file: &StagedFile, now: i64) -> Add {
    Add {
        path: file.file.path.clone(),
        partition_values: file.values.iter().cloned().collect::<HashMap<_, _>>(),
        size: i64::try_from(file.file.bytes).unwrap_or(i64::MAX),
        modification_time: now,
        data_change: true,
        stats: Some(file.statistics.clone()),
        ..Add::default()
    }
}

#[async_trait]
impl Sink for DeltaSink {
    async fn state(&self) -> Result<Option<(String, TableState)>> {
        let Some(store) = self.existing()? else { return Ok(None) };
        let Some(version) = Log::of(&store, &self.root)?.newest().await.map_err(|e| self.named(e))? else {
            self.is_free(&store).await?;
            return Ok(None);
        };
        version.can_be_written().map_err(|e| self.named(e))?;
        let state = self.remembered(&store, &version).await.map_err(|e| self.named(e))?;
        Ok(Some((self.token(&version).await?, state)))
    }

    async fn stage(&self, unit: &str, rows: SendableRecordBatchStream, memory: &Arc<dyn MemoryPool>) -> Result<Staged> {
        let store = self.store()?;
        let writer = FileWriter {
            store,
            table: &self.root,
            commit: &self.spec.commit,
            unit,
            schema: Arc::clone(&self.schema),
            partition_by: &self.spec.partition_by,
            settings: &self.settings.parquet,
            written: &self.written,
        };
        let indexed = self.settings.properties.iter().find(|(name, _)| name == INDEXED_COLUMNS);
        let indexed = indexed.map(|(_, number)| number.parse().unwrap_or(usize::MAX));
        let with_nan = Arc::new(Mutex::new(BTreeSet::new()));
        let rows = noting_nan(rows, Arc::clone(&with_nan));
        let written = writer.write(rows, memory).await.map_err(|e| self.named(e))?;
        let with_nan = std::mem::take(&mut *with_nan.lock().unwrap_or_else(PoisonError::into_inner));
        let mut files: Vec<StagedFile> = Vec::new();
        for file in written {
            if let Some((column, _)) = file.values.iter().find(|(_, value)| value.as_deref() == Some("")) {
                return Err(self
                    .named(Error::config("an empty text cannot name a partition: in a Delta table it would be NULL"))
                    .with("column", column)
                    .hint("partition by another column, or derive one that is never empty"));
            }
            let statistics = stats::of(&file.metadata, &self.schema, &with_nan, indexed);
            files.push(StagedFile { file: file.file, values: file.values, statistics });
        }
        let detail = serde_json::to_value(&files)
            .map_err(|e| Error::internal("staged files cannot be written down").because(e))?;
        Ok(Staged {
            unit: unit.to_string(),
            rows: files.iter().map(|f| f.file.rows).sum(),
            bytes: files.iter().map(|f| f.file.bytes).sum(),
            detail,
        })
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    async fn commit(&self, staged: Vec<Staged>, state: TableState) -> Result<Committed> {
        let store = self.store()?;
        let mut files: Vec<StagedFile> = Vec::new();
        for unit in &staged {
            files.extend(staged_files(unit)?);
        }
        fault::point("commit.begun")?;
        // Others than transload do not ask for a turn, so an attempt can fail all the same.
        let turn = store.lock(&lock_of(&self.root)).await?;
        let committed = self.commit_in_turn(store, &files, &state).await;
        turn.release().await;
        committed
    }

    async fn is_staged(&self, staged: &Staged) -> Result<bool> {
        let Some(store) = self.existing()? else { return Ok(false) };
        for staged in staged_files(staged)? {
            if !files::is_there(&store, &self.root, &staged.file).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_committed(&self) -> Result<bool> {
        let Some(store) = self.existing()? else { return Ok(false) };
        match Log::of(&store, &self.root)?.newest().await? {
            Some(now) => Ok(now.transaction(&application(&self.spec.commit)).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn abort(&self) -> Result<()> {
        let Some(store) = self.existing()? else { return Ok(()) };
        if self.is_committed().await? {
            return Ok(());
        }
        files::discard(&store, &self.root, &self.spec.commit, &[]).await?;
        let begins = prefix(&self.spec.commit);
        let records = self.root.clone().join(FOLDER);
        let ends = format!("-{}.json", self.spec.commit);
        for object in store.list(&self.root).await? {
            let name = object.location.filename().unwrap_or_default();
            let record = object.location.prefix_matches(&records) && name.ends_with(&ends);
            if name.starts_with(&begins) || record {
                store.remove_and_prune(&object.location).await?;
            }
        }
        if store.has(&records).await? && !Log::of(&store, &self.root)?.is_there().await? {
            let turn = store.lock(&lock_of(&self.root)).await?;
            store.remove_lock(&lock_of(&self.root), &turn).await?;
            turn.release().await;
        }
        Ok(())
    }
}

impl DeltaSink {
    async fn commit_in_turn(&self, store: &Store, files: &[StagedFile], state: &TableState) -> Result<Committed> {
        fault::point("commit.locked")?;
        if let Err(error) = clear_unnamed(store, &self.root).await {
            tracing::warn!(table = %self.table, %error, "not cleaned up");
        }
        let written: Vec<&files::StagedFile> = files.iter().map(|f| &f.file).collect();
        let log = Log::of(store, &self.root)?;
        let mut is_published = false;
        for attempt in 0..ATTEMPTS {
            let base = log.newest().await.map_err(|e| self.named(e))?;
            if let Some(base) = &base {
                if let Some(made) = base.transaction(&application(&self.spec.commit)).await? {
                    self.clean_up(store, &written).await;
                    return self.done_before(store, base, made).await.map_err(|e| self.named(e));
                }
                base.can_be_written().map_err(|e| self.named(e))?;
                if self.spec.mode == WriteMode::Replace && base.only_grows() {
                    return Err(self
                        .named(Error::config("the table only takes added rows: its property delta.appendOnly says so"))
                        .hint("use `mode: append`, or unset the property"));
                }
                let seen = *self.seen.get_or_init(|| base.number());
                if self.spec.mode == WriteMode::Replace && log.changed_between(seen, base.number()).await? {
                    break;
                }
            }
            self.as_expected(base.as_ref()).await?;
            if !is_published {
                files::publish(store, &self.root, &written).await.map_err(|e| self.named(e))?;
                is_published = true;
            }
            match self.attempt(store, &log, base.as_ref(), files, state).await {
                Ok(committed) => {
                    self.clean_up(store, &written).await;
                    return Ok(committed);
                }
                Err(Obstacle::Taken) => self.step_aside(attempt).await,
                Err(Obstacle::Error(error)) => return Err(self.named(error)),
            }
        }
        Err(self.named(Error::transient("other writers changed the table at the same time; nothing was published")))
    }
}
