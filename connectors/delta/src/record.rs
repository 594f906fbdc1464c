//! What a commit leaves beside the log: its files and what the next load needs to know.
//!
//! A record is written before its commit is, under the version that the commit is about to make. Whether it counts, the
//! log says: it names the commit's key or it does not. So record and commit become true in one step.

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use transload_core::connector::TableState;
use transload_core::store::Store;
use transload_core::{CommitKey, Error, Result};

/// The folder in a table's folder that holds the records. Readers of Delta tables leave it alone.
pub(crate) const FOLDER: &str = "_transload";

/// A record of one commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of this format: 1.
    pub(crate) format: u32,
    pub(crate) commit: CommitKey,
    /// The table's version that it makes.
    pub(crate) version: u64,
    /// The files that it adds, by their paths in the table.
    pub(crate) files: Vec<String>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) state: TableState,
}

/// The folder in that one with a record for each commit.
pub(crate) const COMMITS: &str = "commits";

fn path(table: &Path, version: u64, key: &str) -> Path {
    table.clone().join(FOLDER).join(COMMITS).join(format!("{version:020}-{key}.json"))
}

/// The version and the text of the key in the name of a record.
pub(crate) fn parse(name: &str) -> Option<(u64, &str)> {
    let (version, key) = name.strip_suffix(".json")?.split_once('-')?;
    let is_number = version.len() == 20 && version.bytes().all(|byte| byte.is_ascii_digit());
    let version = version.parse().ok().filter(|_| is_number)?;
    CommitKey::run_of(key).map(|_| (version, key))
}

impl Record {
    /// Writes the record, in the place of one that an earlier attempt at the same version has left.
    pub(crate) async fn write(&self, store: &Store, table: &Path) -> Result<()> {
        let at = path(table, self.version, self.commit.as_str());
        let text = serde_json::to_vec(self).map_err(|e| Error::internal("a record cannot be written").because(e))?;
        let text = Bytes::from(text);
        if store.create(&at, text.clone()).await? {
            return Ok(());
        }
        store.remove(&at).await?;
        match store.create(&at, text).await? {
            true => Ok(()),
            false => {
                Err(Error::transient("the record of a commit comes back all the time").with("path", at.to_string()))
            }
        }
    }

    /// The record of a commit that made this version.
    pub(crate) async fn read(store: &Store, table: &Path, version: u64, key: &CommitKey) -> Result<Self> {
        Self::at(store, &path(table, version, key.as_str())).await
    }

    /// The same by the text of its key, or `None` if there is none.
    pub(crate) async fn find(store: &Store, table: &Path, version: u64, key: &str) -> Result<Option<Self>> {
        let at = path(table, version, key);
        match store.read(&at).await? {
            Some(text) => Self::parse(&text, &at).map(Some),
            None => Ok(None),
        }
    }

    /// The records of all attempts to make this version: for a log that does not say any more which one did. All records
    /// are listed.
    pub(crate) async fn of_version(store: &Store, table: &Path, version: u64) -> Result<Vec<Self>> {
        let folder = table.clone().join(FOLDER).join(COMMITS);
        let begins = format!("{version:020}-");
        let mut found = Vec::new();
        for object in store.list(&folder).await? {
            if object.location.filename().is_some_and(|name| name.starts_with(&begins)) {
                found.push(Self::at(store, &object.location).await?);
            }
        }
        Ok(found)
    }

    async fn at(store: &Store, at: &Path) -> Result<Self> {
        match store.read(at).await? {
            Some(text) => Self::parse(&text, at),
            None => Err(broken(at).hint("the folder `_transload` of the table was changed by hand")),
        }
    }

    fn parse(text: &[u8], at: &Path) -> Result<Self> {
        let record: Self = serde_json::from_slice(text).map_err(|e| broken(at).because(e))?;
        match record.format {
            1 => Ok(record),
            _ => Err(broken(at).hint("use a newer transload")),
        }
    }
}

fn broken(at: &Path) -> Error {
    Error::config("the record of a commit cannot be read").with("path", at.to_string())
}
