//! The list of files that are a table.
//!
//! Each commit adds one numbered manifest, `_transload/manifest/00000000000000000001.json`, whose creation is the moment the commit
//! happens: it appears whole or not at all, and two writers cannot create the same number. Readers take
//! the highest number and read exactly its files.

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use transload_core::connector::{Partition, TableState};
use transload_core::store::Store;
use transload_core::{CommitKey, Error, LogicalType, Result};

/// The folder in a table's folder that holds everything which is not data.
pub(crate) const FOLDER: &str = "_transload";

/// Commits whose keys a manifest remembers.
const REMEMBERED: usize = 1000;

/// The content of a table after a commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Version of this format: 1.
    pub(crate) format: u32,
    /// The number of the commit, from 1.
    pub(crate) version: u64,
    /// Keys of this commit and those before it, newest first.
    pub(crate) commits: Vec<CommitKey>,
    pub(crate) columns: Vec<Column>,
    pub(crate) partition_by: Vec<Partition>,
    pub(crate) files: Vec<DataFile>,
    pub(crate) state: TableState,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) ty: LogicalType,
    pub(crate) nullable: bool,
}

/// A file of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    /// Below the table's folder.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) rows: u64,
    /// The commit that added it.
    pub(crate) commit: CommitKey,
}

/// Where the manifests of a table are.
pub(crate) fn folder(table: &Path) -> Path {
    table.clone().join(FOLDER).join("manifest")
}

/// What a manifest is called.
pub(crate) fn name(version: u64) -> String {
    format!("{version:020}.json")
}

fn path(table: &Path, version: u64) -> Path {
    folder(table).join(name(version))
}

impl Manifest {
    /// The newest manifest of a table, if it has one.
    pub(crate) async fn newest(store: &Store, table: &Path) -> Result<Option<Self>> {
        let found = store.list(&folder(table)).await?;
        match found.iter().rfind(|m| m.location.as_ref().ends_with(".json")) {
            Some(newest) => Self::read(store, table, &newest.location).await,
            None => Ok(None),
        }
    }

    /// The manifest of one commit, if there is such a commit.
    pub(crate) async fn at(store: &Store, table: &Path, version: u64) -> Result<Option<Self>> {
        Self::read(store, table, &path(table, version)).await
    }

    async fn read(store: &Store, table: &Path, at: &Path) -> Result<Option<Self>> {
        let Some(text) = store.read(at).await? else { return Ok(None) };
        let broken = |e: serde_json::Error| {
            Error::config("the manifest of a table cannot be read").with("path", at.to_string()).because(e)
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(broken)?;
        if manifest.format != 1 {
            return Err(Error::config(format!(
                "the table's manifest has format {}; this program knows 1",
                manifest.format
            ))
            .with("table", table.to_string())
            .hint("use a newer transload"));
        }
        Ok(Some(manifest))
    }

    /// Makes a manifest that is there survive a power cut.
    pub(crate) fn sync(store: &Store, table: &Path) -> Result<()> {
        store.sync(&folder(table))
    }

    /// Publishes this manifest; `false` if another commit took its number.
    pub(crate) async fn publish(&mut self, store: &Store, table: &Path) -> Result<bool> {
        self.commits.truncate(REMEMBERED);
        let text =
            serde_json::to_vec_pretty(self).map_err(|e| Error::internal("a manifest cannot be written").because(e))?;
        store.create(&path(table, self.version), Bytes::from(text)).await
    }

    /// Takes this manifest away, so that its commit is as if it had never been.
    pub(crate) async fn remove(&self, store: &Store, table: &Path) -> Result<()> {
        store.remove_and_prune(&path(table, self.version)).await
    }

    /// The files that a commit added and that are still there.
    pub(crate) fn files_of<'a>(&'a self, key: &'a CommitKey) -> impl Iterator<Item = &'a DataFile> {
        self.files.iter().filter(move |f| f.commit == *key)
    }
}
