//! Publishing staged files, all at once.
//!
//! A note of the files is written, and they are put into their places, where readers that go by the manifest do not see
//! them yet: renamed in a folder, their uploads completed in a bucket. Then the manifest is created, which is the commit;
//! then what it replaced is removed. Only files that a manifest or a note of this table names are ever removed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use transload_core::connector::{Expected, Sink, TableState, WriteMode, WriteSpec};
use transload_core::store::{Address, Lock, Store};
use transload_core::{
    CommitKey, Committed, Error, ErrorKind, LogicalType, Pin, PinnedFile, Result, Staged, TableName, fault,
};

use crate::listing::{LOOKS_AT_ONCE, below, is_hidden, lock_of, overlapping, pinned};
use crate::manifest::{Column, DataFile, FOLDER, FileFormat, Manifest};
use crate::moves::{self, Moves};
use crate::names;
use crate::settings::Writing;
use crate::stage::{StagedFile, Stager, write_empty};
use crate::staging;

/// Attempts to add to a table that others add to at the same time.
const ATTEMPTS: usize = 20;

/// Files that are put into their places at the same time.
const FILES_AT_ONCE: usize = 8;

/// Versions back from the newest whose replaced files a commit removes.
const CLEANED_VERSIONS: u64 = 10;

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

    /// Removes what commits that died have moved and not published, by their notes: whatever else is there is not theirs.
    /// A note of a commit that is published says that it was not cleaned up.
    async fn clear_the_way(&self, store: &Store, base: Option<&Manifest>) -> Result<()> {
        let own = moves::path(&self.root, &self.spec.commit);
        for (note, moves) in Moves::all(store, &self.root).await? {
            if note == own {
                continue;
            }
            let published = base.and_then(|m| m.commits.iter().find(|key| moves::path(&self.root, key) == note));
            match (base, published) {
                (Some(base), Some(key)) => self.leave(key, self.clean(store, base, key, &[]).await),
                _ => {
                    self.remove_moved(store, &moves, base).await?;
                    match note.parent() {
                        // Nobody can ask which uploads are complete by now, and with that removed.
                        Some(folder) if !store.is_local() => {
                            staging::discard(store, &self.root, &folder).await?;
                        }
                        _ => store.remove(&note).await?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the files of a note that `newest` does not name.
    async fn remove_moved(&self, store: &Store, moves: &Moves, newest: Option<&Manifest>) -> Result<()> {
        let published: HashSet<&str> = newest.iter().flat_map(|m| &m.files).map(|f| f.path.as_str()).collect();
        for path in moves.files.iter().filter(|path| !published.contains(path.as_str())) {
            store.remove_and_prune(&below(&self.root, path)?).await?;
        }
        Ok(())
    }

    /// Refuses to begin a table in the folder of another one, around another one, or among files that transload did not
    /// write: they could not be replaced or left in place safely.
    async fn is_free(&self, store: &Store) -> Result<()> {
        self.stands_alone(store).await?;
        let own = Moves::read(store, &moves::path(&self.root, &self.spec.commit)).await?;
        let own: HashSet<Path> =
            own.iter().flat_map(|moves| &moves.files).map(|path| below(&self.root, path)).collect::<Result<_>>()?;
        let mut there = store.walk(&self.root);
        while let Some(file) = there.try_next().await? {
            if !is_hidden(&file.location, &self.root) && !own.contains(&file.location) {
                return Err(Error::config("the target folder holds files that transload did not write")
                    .with("path", file.location.to_string())
                    .hint("use another `to`, or empty the folder"));
            }
        }
        Ok(())
    }

    /// Refuses a table whose folder would be in that of another table, or the other way round.
    async fn stands_alone(&self, store: &Store) -> Result<()> {
        let Some(other) = overlapping(store, &self.root).await? else { return Ok(()) };
        let (inner, outer) = if self.root.prefix_matches(&other) { (&self.root, &other) } else { (&other, &self.root) };
        let place = |path: &Path| if path.is_root() { "the url itself".to_string() } else { format!("`{path}`") };
        Err(Error::config(format!("a table in {} would lie inside a table in {}", place(inner), place(outer)))
            .with("table", self.table.as_str())
            .hint(format!(
                "use another `to`; if there is no table in {} any more, remove its folder `{FOLDER}`",
                place(&other)
            )))
    }

    /// The result of this commit when an earlier call did it, whatever was committed since.
    async fn done_before(&self, store: &Store, newest: &Manifest, files: &[StagedFile]) -> Result<Committed> {
        // The earlier call may have ended before it could do this.
        Manifest::sync(store, &self.root).map_err(|e| self.unclear(e))?;
        let since = newest.commits.iter().position(|key| *key == self.spec.commit).unwrap_or(0) as u64;
        let own = Manifest::at(store, &self.root, newest.version - since).await.map_err(|e| self.unclear(e))?;
        let own = own.ok_or_else(|| self.unclear(Error::config("the manifest of the commit is gone")))?;
        self.leave(&self.spec.commit, self.finish(store, newest, files).await);
        self.committed(store, &own, newest, true).await
    }

    /// Refuses to undo or repeat what another run has done since this one was planned.
    fn as_expected(&self, now: Option<&Manifest>) -> Result<()> {
        let kept = match &self.spec.expected {
            Expected::Anything => true,
            Expected::Missing => now.is_none(),
            Expected::Version(version) => now.is_some_and(|m| m.version.to_string() == *version),
        };
        if kept {
            return Ok(());
        }
        Err(Error::config("another run has published this table since this one was planned")
            .with("table", self.table.as_str())
            .hint("start a new run: `transload run`"))
    }

    /// What became visible with the manifest `own`, which may have been some commits before `newest`.
    async fn committed(
        &self,
        store: &Store,
        own: &Manifest,
        newest: &Manifest,
        already_done: bool,
    ) -> Result<Committed> {
        let still: HashSet<&str> = newest.files.iter().map(|f| f.path.as_str()).collect();
        let mut looks = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        for file in own.files_of(&self.spec.commit) {
            looks.push(self.pin_of(store, file, still.contains(file.path.as_str())));
            rows += file.rows;
            bytes += file.size;
        }
        let mut files: Vec<PinnedFile> = futures::stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Committed {
            key: self.spec.commit.clone(),
            version: own.version.to_string(),
            already_done,
            rows,
            bytes,
            parts: files.len() as u64,
            pin: Pin::Files(files),
        })
    }

    /// A file of this commit as it is now; `is_listed` if the newest version of the table has it.
    async fn pin_of(&self, store: &Store, file: &DataFile, is_listed: bool) -> Result<PinnedFile> {
        let path = below(&self.root, &file.path)?;
        match store.head(&path).await.map_err(|e| self.unclear(e))? {
            Some(meta) => Ok(pinned(&meta)),
            None if is_listed => {
                let gone = Error::config("there is no such object").with("path", path.to_string());
                Err(self.unclear(gone).hint("something else removes files in the folder of the table"))
            }
            // A later commit has replaced it: there is nothing to read any more, and readers will say so.
            None => Ok(PinnedFile { path: path.to_string(), size: file.size, modified: String::new(), etag: None }),
        }
    }

    /// The table is published, but not everything about it can be told now.
    fn unclear(&self, because: Error) -> Error {
        Error::new(ErrorKind::CommitUnknown, "the table is published, but what was published cannot be looked at")
            .with("table", self.table.as_str())
            .because(because)
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
                if base.file_format != file_format {
                    let there = base.file_format;
                    return Err(Error::config(format!(
                        "the table is {there}, and {file_format} cannot be added to it"
                    ))
                    .with("table", self.table.as_str())
                    .hint("write it as it is, or use `mode: full`, which replaces the table, or another `to`"));
                }
                if base.columns != columns || base.partition_by != self.spec.partition_by {
                    return Err(Error::config("the table's columns or layout are not those of the rows to be added")
                        .with("table", self.table.as_str())
                        .hint("use `mode: full`, which replaces the table, or another `to`"));
                }
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

    /// Does what is left to do once this commit is published.
    async fn finish(&self, store: &Store, newest: &Manifest, files: &[StagedFile]) -> Result<()> {
        fault::point("commit.published")?;
        self.clean(store, newest, &self.spec.commit, files).await?;
        fault::point("commit.cleaned")
    }

    /// Removes what a published commit replaced and what is left of its staging, its note last. Of its `files` it is known
    /// that they are complete. Safe to repeat.
    async fn clean(&self, store: &Store, newest: &Manifest, key: &CommitKey, files: &[StagedFile]) -> Result<()> {
        // Adding replaces nothing; of another commit it is not known whether it did.
        if self.spec.mode == WriteMode::Replace || *key != self.spec.commit {
            let kept: HashSet<&str> = newest.files.iter().map(|f| f.path.as_str()).collect();
            // The commits before may have been killed before they could do this for themselves.
            for version in newest.version.saturating_sub(CLEANED_VERSIONS)..newest.version {
                let Some(replaced) = Manifest::at(store, &self.root, version).await? else { continue };
                for file in replaced.files.iter().filter(|f| !kept.contains(f.path.as_str())) {
                    store.remove_and_prune(&below(&self.root, &file.path)?).await?;
                    fault::point("commit.removed")?;
                }
            }
        }
        fault::point("commit.replaced")?;
        staging::discard_all(store, &self.root, key, &files.iter().collect::<Vec<_>>()).await
    }

    /// A commit that is published stays so, however it went to clean up after it: what is left is noted, or has the name of
    /// something that was never created, and the next commit removes it.
    fn leave(&self, key: &CommitKey, cleaned: Result<()>) {
        if let Err(error) = cleaned {
            let error = error.chain().join(": ");
            tracing::warn!(table = %self.table, commit = %key, error, "not cleaned up");
        }
    }
}

/// The files of a staged unit.
fn staged_files(unit: Staged) -> Result<Vec<StagedFile>> {
    serde_json::from_value(unit.detail).map_err(|e| Error::internal("a staged unit cannot be read").because(e))
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::Mutex;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use bytes::Bytes;
    use datafusion::execution::memory_pool::UnboundedMemoryPool;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::stream::BoxStream;
    use object_store::multipart::{MultipartStore, PartId};
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
        PutMultipartOptions, PutOptions, PutPayload, PutResult,
    };
    use parquet::basic::Compression;
    use transload_core::secret::NoReferences;
    use transload_core::store::{Staging, StoreOptions};
    use transload_core::{Clock, RunId, Template};
    use transload_testkit::bucket::{Broken, Bucket, Request};

    use super::*;
    use crate::compress::Compression as Packing;
    use crate::options::AvroCompression;
    use crate::settings::{CsvDialect, ParquetWriting, WriteFormat};

    /// A bucket.
    fn bucket() -> Store {
        Store::over(Arc::new(Bucket::default()), "memory", Clock::system())
    }

    /// What goes wrong in a bucket.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Trouble {
        Nothing,
        /// A manifest is created, and nobody is told.
        AnswerLost,
        /// A manifest is not created, and nobody is told.
        RequestLost,
        /// A manifest is refused.
        Refused,
        /// No file of data can be looked at.
        Blind,
    }

    /// A bucket with trouble.
    #[derive(Debug)]
    struct Troubled {
        inner: Bucket,
        trouble: Mutex<Trouble>,
    }

    impl Troubled {
        fn bucket() -> (Arc<Self>, Store) {
            let troubled = Arc::new(Self { inner: Bucket::default(), trouble: Mutex::new(Trouble::Nothing) });
            (Arc::clone(&troubled), Store::over(troubled, "memory", Clock::system()))
        }

        fn has(&self, trouble: Trouble) -> bool {
            *self.trouble.lock().unwrap() == trouble
        }

        fn set(&self, trouble: Trouble) {
            *self.trouble.lock().unwrap() = trouble;
        }
    }

    fn no_answer() -> object_store::Error {
        object_store::Error::Generic { store: "memory", source: "no answer".into() }
    }

    impl fmt::Display for Troubled {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Troubled")
        }
    }

    #[async_trait]
    impl ObjectStore for Troubled {
        async fn put_opts(&self, at: &Path, content: PutPayload, o: PutOptions) -> object_store::Result<PutResult> {
            if !at.as_ref().contains("/manifest/") {
                return self.inner.put_opts(at, content, o).await;
            }
            if self.has(Trouble::Refused) {
                return Err(object_store::Error::PermissionDenied { path: at.to_string(), source: "no".into() });
            }
            if self.has(Trouble::RequestLost) {
                return Err(no_answer());
            }
            let done = self.inner.put_opts(at, content, o).await?;
            if self.has(Trouble::AnswerLost) { Err(no_answer()) } else { Ok(done) }
        }

        async fn put_multipart_opts(
            &self,
            at: &Path,
            o: PutMultipartOptions,
        ) -> object_store::Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(at, o).await
        }

        async fn get_opts(&self, at: &Path, o: GetOptions) -> object_store::Result<GetResult> {
            match self.has(Trouble::Blind) && at.as_ref().ends_with(".parquet") {
                true => Err(no_answer()),
                false => self.inner.get_opts(at, o).await,
            }
        }

        fn delete_stream(
            &self,
            paths: BoxStream<'static, object_store::Result<Path>>,
        ) -> BoxStream<'static, object_store::Result<Path>> {
            self.inner.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, o: CopyOptions) -> object_store::Result<()> {
            self.inner.copy_opts(from, to, o).await
        }
    }

    #[async_trait]
    impl MultipartStore for Troubled {
        async fn create_multipart(&self, at: &Path) -> object_store::Result<MultipartId> {
            self.inner.create_multipart(at).await
        }

        async fn put_part(
            &self,
            at: &Path,
            id: &MultipartId,
            number: usize,
            content: PutPayload,
        ) -> object_store::Result<PartId> {
            self.inner.put_part(at, id, number, content).await
        }

        async fn complete_multipart(
            &self,
            at: &Path,
            id: &MultipartId,
            parts: Vec<PartId>,
        ) -> object_store::Result<PutResult> {
            self.inner.complete_multipart(at, id, parts).await
        }

        async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> object_store::Result<()> {
            self.inner.abort_multipart(at, id).await
        }
    }

    /// A load into a table of it.
    fn load(store: &Store, to: &str, mode: WriteMode) -> LakeSink {
        let table = TableName::new(to);
        let commit = CommitKey::new(&RunId::new(&Clock::system()), &table);
        LakeSink {
            address: Address {
                url: Template::parse("memory").unwrap(),
                options: StoreOptions::default(),
                resolver: Arc::new(NoReferences),
            },
            opened: OnceLock::from(store.clone()),
            root: Path::from(to),
            table,
            schema: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
            spec: WriteSpec { commit, mode, partition_by: Vec::new(), expected: Expected::Anything, key: Vec::new() },
            writing: Writing {
                format: WriteFormat::Parquet(ParquetWriting {
                    compression: Compression::UNCOMPRESSED,
                    row_group_rows: 1000,
                }),
                file_bytes: 1 << 20,
            },
            written: AtomicU64::default(),
        }
    }

    fn memory() -> Arc<dyn MemoryPool> {
        Arc::new(UnboundedMemoryPool::default())
    }

    async fn commit(sink: &LakeSink) -> Result<Committed> {
        sink.commit(Vec::new(), TableState::default(), &memory()).await
    }

    async fn put(store: &Store, path: &str) {
        assert!(store.create(&Path::from(path), Bytes::from_static(b"x")).await.unwrap());
    }

    async fn files(store: &Store) -> Vec<String> {
        let all = store.list(&Path::default()).await.unwrap();
        let data = all.iter().map(|f| f.location.to_string()).filter(|f| !f.contains("/_transload/"));
        data.collect()
    }

    const LOOKS_LIKE_OURS: &str = "part-20240101T000000Z-0123abcd-01234567-000000-0.parquet";

    #[tokio::test]
    async fn a_file_that_no_commit_of_the_table_has_moved_is_never_removed() {
        let store = bucket();
        let foreign = format!("t/{LOOKS_LIKE_OURS}");
        put(&store, &foreign).await;
        let refused = load(&store, "t", WriteMode::Replace);
        let error = commit(&refused).await.unwrap_err();
        assert!(error.to_string().contains("files that transload did not write"), "{error}");
        refused.abort().await.unwrap();
        assert_eq!(files(&store).await, [foreign]);

        commit(&load(&store, "u", WriteMode::Replace)).await.unwrap();
        let beside = format!("u/x=1/{LOOKS_LIKE_OURS}");
        put(&store, &beside).await;
        for mode in [WriteMode::Replace, WriteMode::Append, WriteMode::Replace] {
            commit(&load(&store, "u", mode)).await.unwrap();
        }
        let given_up = load(&store, "u", WriteMode::Replace);
        given_up.abort().await.unwrap();
        let left = files(&store).await;
        assert!(left.contains(&beside), "{left:?}");
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[tokio::test]
    async fn what_a_commit_that_died_has_moved_is_removed_by_the_next_one() {
        for is_begun in [false, true] {
            let store = bucket();
            if is_begun {
                commit(&load(&store, "t", WriteMode::Replace)).await.unwrap();
            }
            let died = load(&store, "t", WriteMode::Append);
            let moved = format!("part-{}-000000-0.parquet", died.spec.commit);
            Moves::of(vec![moved.clone(), "never moved".to_string()])
                .write(&store, &died.root, &died.spec.commit)
                .await
                .unwrap();
            put(&store, &format!("t/{moved}")).await;
            let next = load(&store, "t", WriteMode::Append);
            commit(&next).await.unwrap();
            let left = files(&store).await;
            assert!(!left.iter().any(|f| f.ends_with(&moved)), "{left:?}");
            assert!(Moves::all(&store, &next.root).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn giving_up_removes_what_was_moved_and_nothing_that_is_published() {
        let store = bucket();
        let published = load(&store, "t", WriteMode::Append);
        let done = commit(&published).await.unwrap();
        published.abort().await.unwrap();
        assert_eq!(done.parts, 1);
        let before = files(&store).await;
        let given_up = load(&store, "t", WriteMode::Append);
        let mut moved: Vec<String> = before.iter().filter_map(|f| Some(f.strip_prefix("t/")?.to_string())).collect();
        moved.push("x=1/new.parquet".to_string());
        Moves::of(moved).write(&store, &given_up.root, &given_up.spec.commit).await.unwrap();
        put(&store, "t/x=1/new.parquet").await;
        given_up.abort().await.unwrap();
        assert_eq!(files(&store).await, before);
    }

    #[tokio::test]
    async fn no_table_lies_in_the_folder_of_another() {
        let store = bucket();
        commit(&load(&store, "bronze/nation", WriteMode::Replace)).await.unwrap();
        let before = files(&store).await;
        for to in ["bronze", "bronze/nation/x", "bronze/nation/x/y"] {
            let sink = load(&store, to, WriteMode::Replace);
            for error in [sink.state().await.unwrap_err(), commit(&sink).await.unwrap_err()] {
                assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                assert!(error.to_string().contains("would lie inside a table in"), "{error}");
            }
            sink.abort().await.unwrap();
            assert_eq!(files(&store).await, before, "{to}");
        }
        // What was refused stands in nobody's way.
        for to in ["bronze/nation", "bronze/nation_2", "bronze/region", "silver"] {
            let sink = load(&store, to, WriteMode::Replace);
            sink.state().await.unwrap();
            commit(&sink).await.unwrap();
        }
    }

    /// Stages so many units of one row.
    async fn stage(sink: &LakeSink, units: i64) -> Vec<Staged> {
        let memory = memory();
        let mut staged = Vec::new();
        for unit in 0..units {
            let ids: ArrayRef = Arc::new(Int64Array::from(vec![unit]));
            let batch = RecordBatch::try_new(Arc::clone(&sink.schema), vec![ids]).unwrap();
            let rows = futures::stream::iter([Ok(batch)]);
            let rows = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&sink.schema), rows));
            staged.push(sink.stage(&format!("{unit:06}"), rows, &memory).await.unwrap());
        }
        staged
    }

    /// A bucket that can be broken, and the same as a store.
    fn breakable() -> (Bucket, Store) {
        let bucket = Bucket::default();
        let store = Store::over(Arc::new(bucket.clone()), "bucket", Clock::system());
        (bucket.clone(), store.with_unfinished(Arc::new(bucket)))
    }

    /// Another process that goes on with the same commit.
    fn resumed(sink: &LakeSink, store: &Store) -> LakeSink {
        LakeSink { spec: sink.spec.clone(), ..load(store, sink.table.as_str(), sink.spec.mode) }
    }

    async fn left_of_staging(store: &Store) -> usize {
        store.list(&staging::folder(&Path::from("t"))).await.unwrap().len()
    }

    #[tokio::test]
    async fn in_a_bucket_nothing_is_seen_before_the_commit_and_nothing_left_behind_it() {
        let (bucket, store) = breakable();
        let sink = load(&store, "t", WriteMode::Append);
        stage(&sink, 1).await;
        // An attempt that was not finished is given up by the next one.
        let staged = stage(&sink, 3).await;
        assert!(files(&store).await.is_empty());
        assert_eq!(bucket.open_uploads().len(), 3);
        let done = sink.commit(staged, TableState::default(), &memory()).await.unwrap();
        assert_eq!((done.rows, done.parts, files(&store).await.len()), (3, 3, 3));
        assert!(bucket.open_uploads().is_empty());
        assert_eq!(left_of_staging(&store).await, 0);
    }

    /// Begins an upload of a sink's as somebody does who is killed before it is noted.
    async fn begin_and_die(sink: &LakeSink, store: &Store, path: &str) {
        let name = format!("{path}{}-7.parquet", names::prefix_of_unit(&sink.spec.commit, "000000"));
        let Staging::Uploads(uploads) = store.staging().unwrap() else { panic!("it is no bucket") };
        uploads.begin(&below(&sink.root, &name).unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn an_upload_that_nobody_has_noted_is_given_up_with_its_commit_or_by_it() {
        let (bucket, store) = breakable();
        let other = load(&store, "t", WriteMode::Append);
        begin_and_die(&other, &store, "").await;
        let of_other = bucket.open_uploads();
        let sink = load(&store, "t", WriteMode::Append);
        for path in ["", "x=1/"] {
            begin_and_die(&sink, &store, path).await;
        }
        // One that cannot be given up now is left to the next who comes, and so is the note that something is left.
        let staged = stage(&sink, 2).await;
        bucket.break_one(Request::Uploads, 0, Broken::Undone);
        sink.commit(staged.clone(), TableState::default(), &memory()).await.unwrap();
        assert_eq!((bucket.open_uploads().len(), left_of_staging(&store).await > 0), (3, true));
        let done = resumed(&sink, &store).commit(staged, TableState::default(), &memory()).await.unwrap();
        assert!(done.already_done);
        assert_eq!((bucket.open_uploads(), left_of_staging(&store).await), (of_other, 0));
        assert_eq!(files(&store).await.len(), 2);

        // Of a commit that has noted nothing at all.
        let (bucket, store) = breakable();
        let sink = load(&store, "t", WriteMode::Append);
        begin_and_die(&sink, &store, "x=1/").await;
        sink.abort().await.unwrap();
        assert!(bucket.open_uploads().is_empty() && store.list(&Path::default()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn files_of_every_format_are_staged_as_uploads() {
        let dialect = CsvDialect { delimiter: b',', quote: b'"', header: true };
        for (format, ending) in [
            (WriteFormat::Csv(dialect, Packing::None), ".csv"),
            (WriteFormat::Csv(dialect, Packing::Gzip), ".csv.gz"),
            (WriteFormat::Json(Packing::Zstd), ".json.zst"),
            (WriteFormat::Avro(AvroCompression::Deflate), ".avro"),
        ] {
            let (bucket, store) = breakable();
            let mut sink = load(&store, "t", WriteMode::Append);
            sink.writing.format = format;
            let staged = stage(&sink, 2).await;
            assert!(files(&store).await.is_empty());
            assert_eq!(bucket.open_uploads().len(), 2, "{ending}");
            assert_eq!(sink.written(), staged.iter().map(|unit| unit.bytes).sum::<u64>(), "{ending}");
            let done = sink.commit(staged, TableState::default(), &memory()).await.unwrap();
            assert_eq!((done.rows, done.parts), (2, 2));
            let there = files(&store).await;
            assert!(there.len() == 2 && there.iter().all(|file| file.ends_with(ending)), "{there:?}");
            assert!(bucket.open_uploads().is_empty());
            // A table without rows has a file, too, however small it is.
            let mut empty = load(&store, "u", WriteMode::Append);
            empty.writing.format = sink.writing.format.clone();
            assert_eq!(commit(&empty).await.unwrap().parts, 1, "{ending}");
            assert!(files(&store).await.iter().any(|file| file.starts_with("u/") && file.ends_with(ending)));
        }
    }

    #[tokio::test]
    async fn a_commit_that_breaks_among_its_files_is_gone_on_with_by_another_process() {
        for (broken, ends_well) in [(Broken::Undone, false), (Broken::Unheard, true)] {
            let (bucket, store) = breakable();
            let sink = load(&store, "t", WriteMode::Append);
            let staged = stage(&sink, 3).await;
            bucket.break_one(Request::Complete, 1, broken);
            let first = sink.commit(staged.clone(), TableState::default(), &memory()).await;
            assert_eq!(first.is_ok(), ends_well, "{first:?}");
            if let Err(error) = first {
                assert!(error.is_transient(), "{error:?}");
                assert!(Manifest::newest(&store, &sink.root).await.unwrap().is_none());
            }
            let done = resumed(&sink, &store).commit(staged, TableState::default(), &memory()).await.unwrap();
            assert_eq!((done.rows, done.parts, done.already_done), (3, 3, ends_well));
            assert_eq!(files(&store).await.len(), 3);
            assert!(bucket.open_uploads().is_empty());
            assert_eq!(left_of_staging(&store).await, 0);
        }
    }

    #[tokio::test]
    async fn what_was_put_into_place_and_removed_by_another_commit_is_not_staged_any_more() {
        let (bucket, store) = breakable();
        let died = load(&store, "t", WriteMode::Append);
        let staged = stage(&died, 2).await;
        bucket.break_one(Request::Complete, 1, Broken::Undone);
        died.commit(staged.clone(), TableState::default(), &memory()).await.unwrap_err();
        let next = load(&store, "t", WriteMode::Append);
        next.commit(stage(&next, 1).await, TableState::default(), &memory()).await.unwrap();
        assert!(bucket.open_uploads().is_empty());
        for unit in &staged {
            assert!(!died.is_staged(unit).await.unwrap());
        }
        let done = died.commit(stage(&died, 2).await, TableState::default(), &memory()).await.unwrap();
        assert_eq!((done.rows, files(&store).await.len(), left_of_staging(&store).await), (2, 3, 0));
    }

    #[tokio::test]
    async fn giving_up_leaves_no_upload_and_no_file_however_far_a_commit_has_come() {
        for complete in [0, 1] {
            let (bucket, store) = breakable();
            let sink = load(&store, "t", WriteMode::Append);
            let staged = stage(&sink, 2).await;
            bucket.break_one(Request::Complete, complete, Broken::Undone);
            sink.commit(staged, TableState::default(), &memory()).await.unwrap_err();
            // Another process, and one that is interrupted.
            bucket.break_one(Request::Abort, 0, Broken::Undone);
            let other = resumed(&sink, &store);
            assert!(other.abort().await.unwrap_err().is_transient());
            other.abort().await.unwrap();
            assert!(files(&store).await.is_empty() && bucket.open_uploads().is_empty(), "{complete}");
            assert_eq!(left_of_staging(&store).await, 0);
        }
    }

    #[tokio::test]
    async fn what_was_staged_and_is_gone_is_not_published() {
        let (_, store) = breakable();
        let late = load(&store, "t", WriteMode::Append);
        let staged = stage(&late, 1).await;
        late.abort().await.unwrap();
        let error = resumed(&late, &store).commit(staged, TableState::default(), &memory()).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "what was staged is gone"));
        assert!(Manifest::newest(&store, &late.root).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_commit_whose_answer_is_lost_is_looked_for() {
        for mode in [WriteMode::Replace, WriteMode::Append] {
            let (bucket, store) = Troubled::bucket();
            commit(&load(&store, "t", mode)).await.unwrap();
            bucket.set(Trouble::AnswerLost);
            let sink = load(&store, "t", mode);
            let done = commit(&sink).await.unwrap();
            assert_eq!((done.already_done, done.version.as_str()), (false, "2"));
            assert!(store.list(&sink.staging()).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_commit_that_may_still_arrive_is_not_known_and_can_be_gone_on_with() {
        let (bucket, store) = Troubled::bucket();
        bucket.set(Trouble::RequestLost);
        let sink = load(&store, "t", WriteMode::Replace);
        assert_eq!(commit(&sink).await.unwrap_err().kind(), ErrorKind::CommitUnknown);
        assert!(!sink.is_committed().await.unwrap());
        bucket.set(Trouble::Nothing);
        let done = commit(&sink).await.unwrap();
        assert_eq!((done.already_done, done.parts), (false, 1));
        assert_eq!(files(&store).await.len(), 1);
    }

    #[tokio::test]
    async fn a_commit_that_is_refused_is_not_published() {
        let (bucket, store) = Troubled::bucket();
        bucket.set(Trouble::Refused);
        let sink = load(&store, "t", WriteMode::Replace);
        assert_eq!(commit(&sink).await.unwrap_err().kind(), ErrorKind::Config);
        sink.abort().await.unwrap();
        assert!(files(&store).await.is_empty());
    }

    #[tokio::test]
    async fn a_table_that_is_published_and_cannot_be_looked_at_is_said_to_be_so_until_it_can() {
        let (bucket, store) = Troubled::bucket();
        bucket.set(Trouble::Blind);
        let sink = load(&store, "t", WriteMode::Replace);
        for _ in 0..2 {
            assert_eq!(commit(&sink).await.unwrap_err().kind(), ErrorKind::CommitUnknown);
            assert!(sink.is_committed().await.unwrap());
        }
        bucket.set(Trouble::Nothing);
        let done = commit(&sink).await.unwrap();
        assert_eq!((done.already_done, done.parts), (true, 1));
    }

    #[tokio::test]
    async fn a_file_that_no_later_commit_replaced_is_missed() {
        let store = bucket();
        let sink = load(&store, "t", WriteMode::Replace);
        let done = commit(&sink).await.unwrap();
        let file = files(&store).await.remove(0);
        store.remove(&Path::from(file.as_str())).await.unwrap();
        let error = commit(&sink).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommitUnknown);
        assert!(error.chain().join("\n").contains(&file), "{error:?}");
        commit(&load(&store, "t", WriteMode::Replace)).await.unwrap();
        let again = commit(&sink).await.unwrap();
        assert_eq!((again.already_done, again.version), (true, done.version));
    }

    #[tokio::test]
    async fn what_is_staged_is_there_until_somebody_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let local = Store::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
        for store in [local, bucket()] {
            let sink = load(&store, "t", WriteMode::Append);
            let unit = stage(&sink, 1).await.remove(0);
            assert!(sink.is_staged(&unit).await.unwrap(), "{store:?}");
            // A commit that died may have put it into its place.
            let mut file = staged_files(unit.clone()).unwrap().remove(0);
            staging::publish(&store, &sink.root, &file).await.unwrap();
            store.remove_all(&sink.staging()).await.unwrap();
            assert!(sink.is_staged(&unit).await.unwrap(), "{store:?}");
            file.bytes += 1;
            let other = Staged { detail: serde_json::to_value([&file]).unwrap(), ..unit.clone() };
            assert!(!sink.is_staged(&other).await.unwrap(), "a file of another size is another file");
            store.remove(&below(&sink.root, &file.path).unwrap()).await.unwrap();
            assert!(!sink.is_staged(&unit).await.unwrap(), "{store:?}");
        }
    }

    #[tokio::test]
    async fn a_lock_in_a_bucket_is_not_removed() {
        let store = bucket();
        let sink = load(&store, "t", WriteMode::Replace);
        Moves::of(Vec::new()).write(&store, &sink.root, &sink.spec.commit).await.unwrap();
        sink.abort().await.unwrap();
        let left = store.list(&Path::default()).await.unwrap();
        assert_eq!(left.iter().map(|f| f.location.as_ref()).collect::<Vec<&str>>(), ["t/_transload/lock"]);
        sink.abort().await.unwrap();
        commit(&sink).await.unwrap();
    }
}
