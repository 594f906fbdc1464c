//! Publishing staged files, all at once.
//!
//! A note of the files is written, and they are put into their places, where readers that go by the manifest do not see
//! them yet: renamed in a folder, their uploads completed in a bucket. Then the manifest is created, which is the commit;
//! then what it replaced is removed. Only files that a manifest or a note of this table names are ever removed.
//!
//! `refusals.rs` says what a commit does not begin, `cleaning.rs` removes what commits leave, and `outcome.rs` tells what
//! one has done.

mod cleaning;
mod outcome;
mod refusals;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trouble;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use transload_core::connector::{Sink, TableState, WriteMode, WriteSpec};
use transload_core::store::{Address, Lock, Store};
use transload_core::{Committed, Error, ErrorKind, LogicalType, Result, Staged, TableName, fault};

use crate::listing::lock_of;
use crate::manifest::{Column, DataFile, FOLDER, FileFormat, Manifest};
use crate::moves::{self, Moves};
use crate::settings::Writing;
use crate::stage::{StagedFile, Stager, write_empty};
use crate::{names, staging};

/// Attempts to add to a table that others add to at the same time.
const ATTEMPTS: usize = 20;

/// Files that are put into their places at the same time.
const FILES_AT_ONCE: usize = 8;

/// A table of files being written.
pub(crate) struct LakeSink {
    pub(crate) address: Address,
    /// The store once it is open: connections to a bucket are worth keeping.
    pub(crate) opened: OnceLock<Store>,
    pub(crate) root: Path,
    pub(crate) table: TableName,
    pub(crate) schema: SchemaRef,
    pub(crate) spec: WriteSpec,
    pub(crate) writing: Writing,
    /// Bytes that units of work have written.
    pub(crate) written: AtomicU64,
}

impl LakeSink {
    /// The store, made if it is missing.
    pub(crate) fn store(&self) -> Result<&Store> {
        match self.opened.get() {
            Some(store) => Ok(store),
            None => {
                let store = self.address.open(true)?;
                Ok(self.opened.get_or_init(|| store))
            }
        }
    }

    /// The store, if it is there.
    pub(crate) fn existing(&self) -> Result<Option<Store>> {
        match self.opened.get() {
            Some(store) => Ok(Some(store.clone())),
            None => self.address.find(),
        }
    }

    /// The folder of everything that is staged under this commit's key.
    pub(crate) fn staging(&self) -> Path {
        staging::folder_of(&self.root, &self.spec.commit)
    }

    fn stager<'a>(&'a self, store: &'a Store, unit: &str) -> Stager<'a> {
        Stager {
            store,
            table: &self.root,
            folder: self.staging().join(unit),
            in_place: false,
            prefix: names::prefix_of_unit(&self.spec.commit, unit),
            schema: Arc::clone(&self.schema),
            partition_by: &self.spec.partition_by,
            writing: &self.writing,
            written: &self.written,
        }
    }

    fn columns(&self) -> Result<Vec<Column>> {
        let column = |f: &arrow::datatypes::FieldRef| {
            let ty =
                LogicalType::of(f).ok_or_else(|| Error::internal("a column without a logical type was written"))?;
            Ok(Column { name: f.name().clone(), ty, nullable: f.is_nullable() })
        };
        self.schema.fields().iter().map(column).collect()
    }

    /// Removes what an unfinished attempt has left of a unit.
    async fn clear_unit(&self, stager: &Stager<'_>) -> Result<()> {
        staging::discard(stager.store, &self.root, &stager.folder).await
    }
}

#[async_trait]
impl Sink for LakeSink {
    async fn state(&self) -> Result<Option<(String, TableState)>> {
        let Some(store) = self.existing()? else { return Ok(None) };
        let newest = Manifest::newest(&store, &self.root).await?;
        if newest.is_none() {
            self.stands_alone(&store).await?;
        }
        Ok(newest.map(|m| (m.version.to_string(), m.state)))
    }

    async fn fits(&self) -> Result<()> {
        let Some(store) = self.existing()? else { return Ok(()) };
        match Manifest::newest(&store, &self.root).await? {
            Some(base) if self.spec.mode == WriteMode::Append => self.can_be_added(&base),
            _ => Ok(()),
        }
    }

    async fn stage(&self, unit: &str, rows: SendableRecordBatchStream, memory: &Arc<dyn MemoryPool>) -> Result<Staged> {
        let store = self.store()?;
        let stager = self.stager(store, unit);
        self.clear_unit(&stager).await?;
        let files = stager.write(rows, memory).await.map_err(|e| e.with("table", self.table.as_str()))?;
        let files: Vec<StagedFile> = files.into_iter().map(|(file, _)| file).collect();
        let detail = serde_json::to_value(&files)
            .map_err(|e| Error::internal("staged files cannot be written down").because(e))?;
        Ok(Staged {
            unit: unit.to_string(),
            rows: files.iter().map(|f| f.rows).sum(),
            deleted: 0,
            bytes: files.iter().map(|f| f.bytes).sum(),
            detail,
        })
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    async fn commit(&self, staged: Vec<Staged>, state: TableState, _: &Arc<dyn MemoryPool>) -> Result<Committed> {
        let store = self.store()?;
        let mut files: Vec<StagedFile> = Vec::new();
        for unit in staged {
            files.extend(staged_files(unit)?);
        }
        fault::point("commit.begun")?;
        // Commits of one table come one after the other, so whatever is moved and not published is of a dead one.
        let turn = store.lock(&lock_of(&self.root)).await?;
        let committed = self.commit_in_turn(store, &turn, files, state).await;
        turn.release().await;
        committed
    }

    async fn is_staged(&self, staged: &Staged) -> Result<bool> {
        let Some(store) = self.existing()? else { return Ok(false) };
        for file in staged_files(staged.clone())? {
            if !staging::is_there(&store, &self.root, &file).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_committed(&self) -> Result<bool> {
        let Some(store) = self.existing()? else { return Ok(false) };
        let newest = Manifest::newest(&store, &self.root).await?;
        Ok(newest.is_some_and(|m| m.commits.contains(&self.spec.commit)))
    }

    async fn abort(&self) -> Result<()> {
        let Some(store) = self.existing()? else { return Ok(()) };
        if !store.has(&self.root.clone().join(FOLDER)).await? {
            // Nothing is noted, but an upload may have begun.
            return staging::give_up_begun(&store, &self.root, &self.spec.commit).await;
        }
        let turn = store.lock(&lock_of(&self.root)).await?;
        let aborted = self.abort_in_turn(&store, &turn).await;
        turn.release().await;
        aborted
    }
}

impl LakeSink {
    async fn commit_in_turn(
        &self,
        store: &Store,
        turn: &Lock,
        mut files: Vec<StagedFile>,
        state: TableState,
    ) -> Result<Committed> {
        fault::point("commit.locked")?;
        self.leave(&self.spec.commit, Manifest::clear_unnamed(store, &self.root).await);
        for _ in 0..ATTEMPTS {
            let base = Manifest::newest(store, &self.root).await?;
            if let Some(done) = base.as_ref().filter(|m| m.commits.contains(&self.spec.commit)) {
                return self.done_before(store, done, &files).await;
            }
            self.as_expected(base.as_ref())?;
            self.clear_the_way(store, base.as_ref()).await?;
            if base.is_none() {
                self.is_free(store).await?;
            }
            let mut manifest = self.next(base.as_ref(), state.clone())?;
            if files.is_empty() && manifest.files.is_empty() {
                let stager = self.stager(store, "empty");
                self.clear_unit(&stager).await?;
                files.push(write_empty(&stager).await?);
            }
            let moves = Moves::of(files.iter().map(|f| f.path.clone()).collect());
            moves.write(store, &self.root, &self.spec.commit).await?;
            fault::point("commit.noted")?;
            self.put_in_place(store, turn, &files).await?;
            manifest.files.extend(files.iter().map(|f| DataFile {
                path: f.path.clone(),
                size: f.bytes,
                rows: f.rows,
                commit: self.spec.commit.clone(),
            }));
            fault::point("commit.manifest")?;
            self.in_turn(turn)?;
            if self.publish(store, turn, &mut manifest).await? {
                self.leave(&self.spec.commit, self.finish(store, &manifest, &files).await);
                return self.committed(store, &manifest, &manifest, false).await;
            }
            if self.spec.mode == WriteMode::Replace {
                break;
            }
        }
        Err(Error::transient("another writer changed the table at the same time; nothing was published")
            .with("table", self.table.as_str()))
    }

    /// Publishes the manifest; `false` if another commit took its number. The answer to the request may have been lost,
    /// so after an error it is looked for. It is not tried for longer than this commit has its turn: the next one removes
    /// the files that the manifest names.
    ///
    /// # Errors
    /// [`CommitUnknown`](ErrorKind::CommitUnknown) if it is not found and may still arrive.
    async fn publish(&self, store: &Store, turn: &Lock, manifest: &mut Manifest) -> Result<bool> {
        let error = match turn.while_held(manifest.publish(store, &self.root)).await {
            Ok(is_published) => return Ok(is_published),
            Err(error) => error,
        };
        match Manifest::at(store, &self.root, manifest.version).await {
            Ok(Some(there)) if there.commits.first() == Some(&self.spec.commit) => {
                Manifest::sync(store, &self.root).map(|()| true).map_err(|e| self.unclear(e))
            }
            Ok(Some(_)) => Ok(false),
            // What a folder did not do, or a server has refused, does not happen later.
            Ok(None) if store.is_local() || !error.is_transient() => Err(error),
            _ => Err(Error::new(ErrorKind::CommitUnknown, "whether the table was published is not known")
                .with("table", self.table.as_str())
                .hint("`transload resume` finds out; a new run may load the same rows again")
                .because(error)),
        }
    }

    async fn abort_in_turn(&self, store: &Store, turn: &Lock) -> Result<()> {
        let manifest = Manifest::newest(store, &self.root).await?;
        if manifest.as_ref().is_none_or(|m| !m.commits.contains(&self.spec.commit))
            && let Some(moves) = Moves::read(store, &moves::path(&self.root, &self.spec.commit)).await?
        {
            self.remove_moved(store, &moves, manifest.as_ref()).await?;
        }
        staging::discard_all(store, &self.root, &self.spec.commit, &[]).await?;
        match manifest {
            Some(_) => Ok(()),
            None => store.remove_lock(&lock_of(&self.root), turn).await,
        }
    }

    /// Makes sure that no other commit has the turn: it would take the moved files for those of a dead one.
    fn in_turn(&self, turn: &Lock) -> Result<()> {
        turn.check().map_err(|e| e.with("table", self.table.as_str()))
    }

    /// Puts all files into their places. After a failure no more are begun, and those that are under way are waited for:
    /// none appears when somebody has already given up.
    async fn put_in_place(&self, store: &Store, turn: &Lock, files: &[StagedFile]) -> Result<()> {
        let mut waiting = files.iter();
        let mut under_way = FuturesUnordered::new();
        for file in waiting.by_ref().take(FILES_AT_ONCE) {
            under_way.push(self.put_one_in_place(store, turn, file));
        }
        let mut failed = None;
        while let Some(done) = under_way.next().await {
            failed = failed.or(done.err());
            if failed.is_none()
                && let Some(file) = waiting.next()
            {
                under_way.push(self.put_one_in_place(store, turn, file));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn put_one_in_place(&self, store: &Store, turn: &Lock, file: &StagedFile) -> Result<()> {
        self.in_turn(turn)?;
        staging::publish(store, &self.root, file).await?;
        fault::point("commit.renamed")
    }

    /// The manifest after `base`, without the new files.
    fn next(&self, base: Option<&Manifest>, state: TableState) -> Result<Manifest> {
        let columns = self.columns()?;
        let file_format = FileFormat::from(&self.writing.format);
        let kept = match (base, self.spec.mode) {
            (Some(base), WriteMode::Append) => {
                self.can_be_added(base)?;
                base.files.clone()
            }
            _ => Vec::new(),
        };
        // Adding rows without a cursor does not forget how far an incremental load has come.
        let state = match (base, self.spec.mode) {
            (Some(base), WriteMode::Append) if state == TableState::default() => base.state.clone(),
            _ => state,
        };
        let mut commits = vec![self.spec.commit.clone()];
        commits.extend(base.iter().flat_map(|m| m.commits.iter().cloned()));
        Ok(Manifest {
            format: file_format.version(),
            file_format,
            version: base.map_or(1, |m| m.version + 1),
            commits,
            columns,
            partition_by: self.spec.partition_by.clone(),
            files: kept,
            state,
        })
    }
}

/// The files of a staged unit.
fn staged_files(unit: Staged) -> Result<Vec<StagedFile>> {
    serde_json::from_value(unit.detail).map_err(|e| Error::internal("a staged unit cannot be read").because(e))
}
