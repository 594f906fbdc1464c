//! Making staged files part of a table: one entry in its log.
//!
//! Files are staged where they belong, for nobody sees a file that the log does not name; in a bucket as uploads, which
//! are completed before the entry is written. The entry names them, and the commit's key as an application's transaction:
//! it is what tells a commit that was made from one that was not.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError};
use deltalake_core::kernel::{Action, Transaction};
use deltalake_core::protocol::{DeltaOperation, MergePredicate, SaveMode};
use object_store::path::Path;
use transload_core::connector::{Expected, Sink, TableState, WriteMode, WriteSpec};
use transload_core::store::{Address, Lock, Store};
use transload_core::{
    Clock, CommitKey, Committed, Error, ErrorKind, LogicalType, Pin, PinnedVersion, Result, Staged, TableName, fault,
};
use transload_lake::files;

use crate::clean::clear_unnamed;
use crate::exchange::{self, Exchanging};
use crate::features::Judged;
use crate::log::{Column, Log, Version, unreadable};
use crate::merge::Rewritten;
use crate::metadata;
use crate::options::{SchemaPolicy, Settings};
use crate::record::{FOLDER, Record};
use crate::staged::{self, Files, Part, StagedFile};
use crate::types::{delta, names_partitions};
use crate::widen;

/// Attempts to commit to a table that others commit to at the same time.
const ATTEMPTS: usize = 50;

/// The application that every commit of ours names, with the version it makes: what another run sees of this one.
const APPLICATION: &str = "transload";

/// A Delta table being written.
pub(crate) struct DeltaSink {
    pub(crate) address: Address,
    pub(crate) settings: Arc<Settings>,
    pub(crate) opened: OnceLock<Store>,
    pub(crate) root: Path,
    pub(crate) table: TableName,
    /// The columns of the rows, without the one that marks delete markers.
    pub(crate) schema: SchemaRef,
    /// Where that one is among those that are staged.
    pub(crate) marks: Option<usize>,
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

    /// Where and how files of the commit are written.
    fn files(&self, store: &Store) -> Files {
        Files {
            store: store.clone(),
            root: self.root.clone(),
            commit: self.spec.commit.clone(),
            settings: Arc::clone(&self.settings),
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
            let own = path.filename().and_then(files::commit_of).is_some();
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
        if let Some(made) = version.named_in(last, &format!("{APPLICATION}/")).await?
            && let Some(record) = self.record_of(store, last, &made).await?
        {
            return Ok(record.state);
        }
        // A log that was cleaned does not say any more which of several attempts it was.
        for record in Record::of_version(store, &self.root, last).await? {
            if version.transaction(&application(&record.commit)).await?.is_some() {
                return Ok(record.state);
            }
        }
        // A table that was copied comes without it. A plan does not let a load go on from a cursor that is not there.
        tracing::warn!(table = %self.table, "the table does not say any more how far an incremental load has come");
        Ok(TableState::default())
    }

    /// The record of the commit that made a version, by its name in the log.
    async fn record_of(&self, store: &Store, version: u64, application: &str) -> Result<Option<Record>> {
        match application.split_once('/') {
            Some((_, key)) if CommitKey::run_of(key).is_some() => Record::find(store, &self.root, version, key).await,
            _ => Ok(None),
        }
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
        let only = self.spec.mode.keeps_others().then(|| record.files.clone());
        Committed {
            key: self.spec.commit.clone(),
            version: record.version.to_string(),
            already_done,
            rows: record.rows,
            bytes: record.bytes,
            parts: record.files.len() as u64,
            pin: Pin::Version(PinnedVersion { table, version: record.version.to_string(), only, except: None }),
        }
    }

    /// The columns of the rows.
    pub(crate) fn columns(&self) -> Result<Vec<Column>> {
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

    pub(crate) fn partition_columns(&self) -> Vec<String> {
        self.spec.partition_by.iter().map(|p| p.column.clone()).collect()
    }

    /// The columns the table has after this commit, if they are not those it has now.
    pub(crate) fn new_columns(&self, now: &Version) -> Result<Option<Vec<Column>>> {
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
        let adds = self.settings.schema.is_some_and(SchemaPolicy::adds_columns);
        let schema = now.snapshot.schema();
        let mut after = theirs.clone();
        for column in &ours {
            match theirs.iter().find(|c| c.name == column.name) {
                None if adds => {
                    after.push(Column { nullable: true, ..column.clone() });
                }
                None => {
                    return Err(Error::config(format!("the table has no column `{}`", column.name))
                        .hint("set `schema: evolve` at the target, which adds columns, or drop the column"));
                }
                Some(there) => {
                    let ty = delta(&column.ty)?;
                    if delta(&there.ty)? != ty {
                        let is_wider = schema.field(&column.name).and_then(|f| widen::widened(f, &ty)).is_some();
                        if !is_wider || self.settings.schema != Some(SchemaPolicy::Widen) {
                            return Err(other_type(there, column, is_wider));
                        }
                        after.iter_mut().filter(|c| c.name == column.name).for_each(|c| c.ty = column.ty.clone());
                    }
                    // What a plan calls nullable need not hold a NULL, but nobody has promised that it does not.
                    if !there.nullable && column.nullable {
                        return Err(Error::config(format!(
                            "column `{}` may not be NULL in the table, and may be in the rows",
                            column.name
                        ))
                        .hint("use another `to`, or let the table's column be NULL"));
                    }
                }
            }
        }
        for column in theirs.iter().filter(|c| ours.iter().all(|o| o.name != c.name)) {
            if !column.nullable || !adds {
                return Err(Error::config(format!("the rows have no column `{}`, which the table has", column.name))
                    .hint("derive it, or set `schema: evolve` at the target if it may be NULL"));
            }
        }
        Ok((after != theirs).then_some(after))
    }

    async fn commit_in_turn(
        &self,
        (store, turn): (&Store, &Lock),
        staged: &[StagedFile],
        state: &TableState,
        memory: &Arc<dyn MemoryPool>,
    ) -> Result<Committed> {
        fault::point("commit.locked")?;
        if let Err(error) = clear_unnamed(store, &self.root).await {
            tracing::warn!(table = %self.table, %error, "not cleaned up");
        }
        let (log, place) = (Log::of(store, &self.root)?, self.files(store));
        let mut exchanging = Exchanging::new(self, &place, staged, memory)?;
        let rows: Vec<StagedFile> = staged.iter().filter(|file| !file.is_keys).cloned().collect();
        let mut is_published = false;
        for attempt in 0..ATTEMPTS {
            let base = log.newest().await?;
            if let Some(base) = &base {
                if let Some(made) = base.transaction(&application(&self.spec.commit)).await? {
                    self.clean_up(store, &log, made, &exchanging.published()).await;
                    return self.done_before(store, base, made).await;
                }
                self.can_take(base)?;
            }
            self.as_expected(base.as_ref()).await?;
            if !is_published {
                files::publish(store, &self.root, &exchanging.published()).await?;
                is_published = true;
            }
            let Some(exchange) = exchanging.with(&log, base.as_ref()).await? else { break };
            match self.attempt((store, &log, turn), base.as_ref(), &rows, exchange, state).await {
                Ok(committed) => {
                    let made = committed.version.parse().unwrap_or_default();
                    self.clean_up(store, &log, made, &exchanging.published()).await;
                    return Ok(committed);
                }
                Err(Obstacle::Taken) => self.step_aside(attempt).await,
                Err(Obstacle::Error(error)) => return Err(error),
            }
        }
        Err(Error::transient("other writers changed the table at the same time; nothing was published"))
    }

    /// Refuses a table that does not take a commit of this kind.
    fn can_take(&self, base: &Version) -> Result<()> {
        base.can_be_written()?;
        if self.spec.mode != WriteMode::Append && base.only_grows() {
            return Err(Error::config("the table only takes added rows: its property delta.appendOnly says so")
                .hint("use `mode: append`, or unset the property"));
        }
        if self.spec.mode == WriteMode::Merge && base.feeds_changes() {
            let message = "the table says which rows were changed, by its property delta.enableChangeDataFeed, and \
                           that is not written here";
            return Err(Error::config(message).hint("use another mode, or unset the property"));
        }
        if self.spec.mode.keeps_others() {
            self.new_columns(base)?;
        }
        Ok(())
    }

    /// One attempt to commit, after the version that is there. `files` are those with the load's rows, and `exchange` what
    /// goes and comes beside them. It is not tried for longer than this commit has its `turn`: `clean` takes the files of one
    /// that has not, and is old enough, for those of a dead one.
    async fn attempt(
        &self,
        (store, log, turn): (&Store, &Log, &Lock),
        base: Option<&Version>,
        files: &[StagedFile],
        exchange: &Rewritten,
        state: &TableState,
    ) -> Result<Committed, Obstacle> {
        let version = base.map_or(0, |base| base.number() + 1);
        let state = match base {
            // Adding rows without a cursor does not forget how far an incremental load has come.
            Some(base) if self.spec.mode.keeps_others() && *state == TableState::default() => {
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
                let (table, made) =
                    metadata::created(&self.columns()?, self.partition_columns(), &self.settings.properties)?;
                actions.extend(made);
                table
            }
            Some(base) => {
                if let Some(columns) = self.new_columns(base)? {
                    let anew = replaced && self.settings.schema.is_none();
                    let layout = replaced.then(|| self.partition_columns());
                    let widens = self.settings.schema == Some(SchemaPolicy::Widen);
                    actions.extend(metadata::changed(base, &columns, anew, widens, layout.as_deref())?);
                }
                base.table().to_string()
            }
        };
        let now = Clock::system().now().timestamp_millis();
        if let Some(base) = base {
            for mut remove in base.removes(&exchange.taken).await? {
                remove.deletion_timestamp = Some(now);
                actions.push(Action::Remove(remove));
            }
        }
        actions.extend(files.iter().chain(&exchange.files).map(|file| Action::Add(file.add(now))));
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
        turn.check()?;
        let judged = base.map(|base| Judged::writing(&base.snapshot)).transpose()?;
        let snapshot = judged.as_ref().map(|table| table as &dyn TableReference);
        let commit = CommitBuilder::from(properties).with_actions(actions);
        let commit = commit.build(snapshot, Arc::clone(log.inner()), self.operation(base.is_some()));
        match turn.while_held(async { Ok(commit.await) }).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if is_taken(&error) => return Err(Obstacle::Taken),
            Ok(Err(error)) => self.was_made(log, unreadable(error)).await?,
            Err(error) => self.was_made(log, error).await?,
        }
        fault::point("commit.published")?;
        Ok(self.committed(&record, table, false))
    }

    /// What the log says was done.
    fn operation(&self, is_there: bool) -> DeltaOperation {
        let action = |word: &str| MergePredicate { action_type: word.to_string(), predicate: None };
        let same = |column: &String| format!("target.`{column}` = source.`{column}`");
        match self.spec.mode {
            WriteMode::Merge if is_there => DeltaOperation::Merge {
                predicate: None,
                merge_predicate: Some(self.spec.key.iter().map(same).collect::<Vec<_>>().join(" AND ")),
                matched_predicates: match self.marks {
                    Some(_) => vec![action("update"), action("delete")],
                    None => vec![action("update")],
                },
                not_matched_predicates: vec![action("insert")],
                not_matched_by_source_predicates: Vec::new(),
            },
            mode => DeltaOperation::Write {
                mode: match mode {
                    WriteMode::Append | WriteMode::Merge => SaveMode::Append,
                    WriteMode::Replace | WriteMode::ReplacePartitions => SaveMode::Overwrite,
                },
                partition_by: Some(self.partition_columns()).filter(|p| !p.is_empty()),
                predicate: None,
            },
        }
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

    /// Removes what a commit that made this version has noted for itself. If that fails, it stays made.
    async fn clean_up(&self, store: &Store, log: &Log, made: i64, written: &[&files::StagedFile]) {
        let cleaned = async {
            if self.spec.mode == WriteMode::Merge {
                exchange::clear(store, &self.root, &self.spec.commit, log, made).await?;
            }
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

/// A column that has another type in the table than in the rows. It may be that the table's could become theirs.
fn other_type(there: &Column, column: &Column, is_wider: bool) -> Error {
    let said = format!("column `{}` is {} in the table and {} in the rows", column.name, there.ty, column.ty);
    let cast = format!("cast the column to {}", there.ty);
    Error::config(said).hint(match is_wider {
        true => format!("{cast}, or set `schema: widen` at the target, which makes the table's column wider"),
        false => cast,
    })
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

    async fn fits(&self) -> Result<()> {
        let Some(store) = self.existing()? else { return Ok(()) };
        let fits = match Log::of(&store, &self.root)?.newest().await {
            Ok(Some(now)) => self.new_columns(&now).map(drop),
            newest => newest.map(drop),
        };
        fits.map_err(|e| self.named(e))
    }

    async fn stage(&self, unit: &str, rows: SendableRecordBatchStream, memory: &Arc<dyn MemoryPool>) -> Result<Staged> {
        let files = self.files(self.store()?);
        let part = |unit, schema: &SchemaRef, is_keys: bool| Part {
            unit,
            schema: Arc::clone(schema),
            partition_by: if is_keys { &[] } else { &self.spec.partition_by },
            is_keys,
            written: &self.written,
        };
        let staged = match self.marks {
            None => files.write(part(unit, &self.schema, false), rows, memory).await,
            Some(marks) => {
                let all = rows.schema();
                let key = self.spec.key.iter().map(|column| all.index_of(column)).collect::<Result<_, _>>()?;
                let (rows, keys) = staged::split(rows, marks, key)?;
                let (of_keys, of_markers) = (keys.schema(), format!("{unit}-deleted"));
                let both = futures::try_join!(
                    files.write(part(unit, &self.schema, false), rows, memory),
                    files.write(part(of_markers.as_str(), &of_keys, true), keys, memory)
                );
                both.map(|(rows, keys)| rows.into_iter().chain(keys).collect())
            }
        };
        staged::unit(unit, &staged.map_err(|e| self.named(e))?)
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    async fn commit(&self, staged: Vec<Staged>, state: TableState, memory: &Arc<dyn MemoryPool>) -> Result<Committed> {
        let store = self.store()?;
        let mut files: Vec<StagedFile> = Vec::new();
        for unit in &staged {
            files.extend(StagedFile::of(unit)?);
        }
        fault::point("commit.begun")?;
        // Others than transload do not ask for a turn, so an attempt can fail all the same.
        let turn = store.lock(&lock_of(&self.root)).await?;
        let committed = self.commit_in_turn((store, &turn), &files, &state, memory).await.map_err(|e| self.named(e));
        turn.release().await;
        committed
    }

    async fn is_staged(&self, staged: &Staged) -> Result<bool> {
        let Some(store) = self.existing()? else { return Ok(false) };
        for staged in StagedFile::of(staged)? {
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
        let begins = files::prefix(&self.spec.commit);
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
