//! Publishing staged files, all at once.
//!
//! The files are first moved to their places, where readers that go by the manifest do not see them yet; then
//! the manifest is created, which is the commit; then what it replaced is removed.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use object_store::path::Path;
use secrecy::{ExposeSecret, SecretString};
use transload_core::connector::{Expected, Sink, TableState, WriteMode, WriteSpec};
use transload_core::store::{Lock, Store};
use transload_core::{
    Committed, Error, LogicalType, Pin, PinnedFile, Resolve, Result, RunId, Staged, TableName, fault,
};

use crate::listing::{below, is_hidden, pinned};
use crate::manifest::{Column, DataFile, FOLDER, Manifest};
use crate::options::ParquetSettings;
use crate::stage::{StagedFile, Stager, write_empty};

/// Attempts to add to a table that others add to at the same time.
const ATTEMPTS: usize = 20;

/// Versions back from the newest whose replaced files a commit removes.
const CLEANED_VERSIONS: u64 = 10;

/// A table of Parquet files being written.
pub(crate) struct LakeSink {
    pub(crate) url: SecretString,
    /// The url as it was written, for messages.
    pub(crate) shown: String,
    pub(crate) resolver: Arc<dyn Resolve>,
    /// The store once it is open: connections to a bucket are worth keeping.
    pub(crate) opened: OnceLock<Store>,
    pub(crate) root: Path,
    pub(crate) table: TableName,
    pub(crate) schema: SchemaRef,
    pub(crate) spec: WriteSpec,
    pub(crate) parquet: ParquetSettings,
}

impl LakeSink {
    /// The store, made if it is missing.
    fn store(&self) -> Result<&Store> {
        match self.opened.get() {
            Some(store) => Ok(store),
            None => {
                let store = self.open(true)?;
                Ok(self.opened.get_or_init(|| store))
            }
        }
    }

    /// The store, if it is there.
    fn existing(&self) -> Option<Store> {
        self.opened.get().cloned().or_else(|| self.open(false).ok())
    }

    fn open(&self, create: bool) -> Result<Store> {
        Store::open_as(self.url.expose_secret(), &self.shown, create, self.resolver.as_ref())
    }

    fn lock(&self) -> Path {
        self.root.clone().join(FOLDER).join("lock")
    }

    fn staging(&self) -> Path {
        self.root.clone().join(FOLDER).join("staging").join(self.spec.commit.as_str())
    }

    fn stager<'a>(&'a self, store: &'a Store, unit: &str) -> Stager<'a> {
        Stager {
            store,
            folder: self.staging().join(unit),
            prefix: format!("part-{}-{unit}", self.spec.commit),
            schema: Arc::clone(&self.schema),
            partition_by: &self.spec.partition_by,
            settings: &self.parquet,
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

    async fn remove_staged(&self, store: &Store) -> Result<()> {
        store.remove_all(&self.staging()).await
    }

    /// Removes what a commit that died has moved and not published, and refuses files that transload did not write:
    /// they could not be replaced or left in place safely.
    async fn clear_the_way(&self, store: &Store, base: Option<&Manifest>) -> Result<()> {
        let listed: HashSet<&str> = base.iter().flat_map(|m| &m.files).map(|f| f.path.as_str()).collect();
        let own = format!("part-{}-", self.spec.commit);
        let prefix = format!("{}/", self.root);
        for file in store.list(&self.root).await? {
            let path = file.location.as_ref().strip_prefix(&prefix).unwrap_or_default();
            let name = file.location.filename().unwrap_or_default();
            if is_hidden(&file.location, &self.root) || listed.contains(path) || name.starts_with(&own) {
                continue;
            }
            let ours = name.strip_prefix("part-").and_then(|rest| RunId::parse(rest.get(..25)?)).is_some();
            if ours {
                store.remove_and_prune(&file.location).await?;
            } else if base.is_none() {
                return Err(Error::config("the target folder holds files that transload did not write")
                    .with("path", file.location.to_string())
                    .hint("use another `to`, or empty the folder"));
            }
        }
        Ok(())
    }

    /// The result of this commit when an earlier call did it, whatever was committed since.
    async fn done_before(&self, store: &Store, newest: &Manifest) -> Result<Committed> {
        let since = newest.commits.iter().position(|key| *key == self.spec.commit).unwrap_or(0) as u64;
        let own = Manifest::at(store, &self.root, newest.version - since).await?;
        let own = own.ok_or_else(|| Error::internal("the manifest of a commit is gone"))?;
        if since == 0 {
            self.finish(store, &own).await?;
        } else {
            self.remove_staged(store).await?;
        }
        self.committed(store, &own, true).await
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

    async fn committed(&self, store: &Store, manifest: &Manifest, already_done: bool) -> Result<Committed> {
        let mut files = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        for file in manifest.files_of(&self.spec.commit) {
            let path = below(&self.root, &file.path)?;
            files.push(match store.head(&path).await? {
                Some(meta) => pinned(&meta),
                // A later commit has replaced it: there is nothing to read any more, and readers will say so.
                None => PinnedFile { path: path.to_string(), size: file.size, modified: String::new(), etag: None },
            });
            rows += file.rows;
            bytes += file.size;
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Committed {
            key: self.spec.commit.clone(),
            version: manifest.version.to_string(),
            already_done,
            rows,
            bytes,
            parts: files.len() as u64,
            pin: Pin::Files(files),
        })
    }
}

#[async_trait]
impl Sink for LakeSink {
    async fn state(&self) -> Result<Option<(String, TableState)>> {
        let Some(store) = self.existing() else { return Ok(None) };
        Ok(Manifest::newest(&store, &self.root).await?.map(|m| (m.version.to_string(), m.state)))
    }

    async fn stage(&self, unit: &str, rows: SendableRecordBatchStream, memory: &Arc<dyn MemoryPool>) -> Result<Staged> {
        let store = self.store()?;
        let stager = self.stager(store, unit);
        for left in store.list(&stager.folder).await? {
            store.remove(&left.location).await?;
        }
        let files = stager.write(rows, memory).await.map_err(|e| e.with("table", self.table.as_str()))?;
        let detail = serde_json::to_value(&files)
            .map_err(|e| Error::internal("staged files cannot be written down").because(e))?;
        Ok(Staged {
            unit: unit.to_string(),
            rows: files.iter().map(|f| f.rows).sum(),
            bytes: files.iter().map(|f| f.bytes).sum(),
            detail,
        })
    }

    async fn commit(&self, staged: Vec<Staged>, state: TableState) -> Result<Committed> {
        let store = self.store()?;
        let mut files: Vec<StagedFile> = Vec::new();
        for unit in staged {
            let part: Vec<StagedFile> = serde_json::from_value(unit.detail)
                .map_err(|e| Error::internal("a staged unit cannot be read").because(e))?;
            files.extend(part);
        }
        fault::point("commit.begun")?;
        // Commits of one table come one after the other, so whatever is moved and not published is of a dead one.
        let turn = store.lock(&self.lock()).await?;
        let committed = self.commit_in_turn(store, &turn, files, state).await;
        turn.release().await;
        committed
    }

    async fn is_committed(&self) -> Result<bool> {
        let Some(store) = self.existing() else { return Ok(false) };
        let newest = Manifest::newest(&store, &self.root).await?;
        Ok(newest.is_some_and(|m| m.commits.contains(&self.spec.commit)))
    }

    async fn abort(&self) -> Result<()> {
        let Some(store) = self.existing() else { return Ok(()) };
        if !store.has(&self.root.clone().join(FOLDER)).await? {
            return Ok(());
        }
        let turn = store.lock(&self.lock()).await?;
        let aborted = self.abort_in_turn(&store).await;
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
        for _ in 0..ATTEMPTS {
            let base = Manifest::newest(store, &self.root).await?;
            if let Some(done) = base.as_ref().filter(|m| m.commits.contains(&self.spec.commit)) {
                return self.done_before(store, done).await;
            }
            self.as_expected(base.as_ref())?;
            self.clear_the_way(store, base.as_ref()).await?;
            let mut manifest = self.next(base.as_ref(), state.clone())?;
            if files.is_empty() && manifest.files.is_empty() {
                files.push(write_empty(&self.stager(store, "empty")).await?);
            }
            for file in &files {
                let from =
                    Path::parse(&file.staged).map_err(|e| Error::internal("a staged path is broken").because(e))?;
                store.rename(&from, &below(&self.root, &file.path)?).await?;
                fault::point("commit.renamed")?;
            }
            manifest.files.extend(files.iter().map(|f| DataFile {
                path: f.path.clone(),
                size: f.bytes,
                rows: f.rows,
                commit: self.spec.commit.clone(),
            }));
            fault::point("commit.manifest")?;
            // Whoever has the turn by now has taken the moved files for those of a dead commit.
            turn.check().map_err(|e| e.with("table", self.table.as_str()))?;
            if manifest.publish(store, &self.root).await? {
                fault::point("commit.published")?;
                self.finish(store, &manifest).await?;
                return self.committed(store, &manifest, false).await;
            }
            if self.spec.mode == WriteMode::Replace {
                break;
            }
        }
        Err(Error::transient("another writer changed the table at the same time; nothing was published")
            .with("table", self.table.as_str()))
    }

    async fn abort_in_turn(&self, store: &Store) -> Result<()> {
        let manifest = Manifest::newest(store, &self.root).await?;
        if manifest.as_ref().is_none_or(|m| !m.commits.contains(&self.spec.commit)) {
            let own = format!("part-{}-", self.spec.commit);
            for file in store.list(&self.root).await? {
                if file.location.filename().unwrap_or_default().starts_with(&own) {
                    store.remove_and_prune(&file.location).await?;
                }
            }
        }
        self.remove_staged(store).await?;
        match manifest {
            Some(_) => Ok(()),
            None => store.remove_and_prune(&self.lock()).await,
        }
    }

    /// The manifest after `base`, without the new files.
    fn next(&self, base: Option<&Manifest>, state: TableState) -> Result<Manifest> {
        let columns = self.columns()?;
        let kept = match (base, self.spec.mode) {
            (Some(base), WriteMode::Append) => {
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
            format: 1,
            version: base.map_or(1, |m| m.version + 1),
            commits,
            columns,
            partition_by: self.spec.partition_by.clone(),
            files: kept,
            state,
        })
    }

    /// Removes what a commit replaced and what is left of its staging. Safe to repeat.
    async fn finish(&self, store: &Store, manifest: &Manifest) -> Result<()> {
        if self.spec.mode == WriteMode::Replace {
            let kept: HashSet<&str> = manifest.files.iter().map(|f| f.path.as_str()).collect();
            // The commits before may have been killed before they could do this for themselves.
            for version in manifest.version.saturating_sub(CLEANED_VERSIONS)..manifest.version {
                let Some(replaced) = Manifest::at(store, &self.root, version).await? else { continue };
                for file in replaced.files.iter().filter(|f| !kept.contains(f.path.as_str())) {
                    store.remove_and_prune(&below(&self.root, &file.path)?).await?;
                }
            }
        }
        self.remove_staged(store).await?;
        fault::point("commit.cleaned")
    }
}
