//! Notes of the files that commits are about to put into their places.
//!
//! A file that a commit has renamed, or whose upload it has completed, is in a folder where other programs look, and not
//! in a manifest yet. If the commit dies there, only its note tells this file from those of others. The note is written
//! before the first file is moved, and removed after they are all published, or gone.

use std::collections::HashSet;

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use transload_core::store::Store;
use transload_core::{CommitKey, Error, Result};

use crate::staging;

/// The note's name in the folder of what its commit has staged.
pub(crate) const NAME: &str = "moves.json";

/// What a commit is about to move.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Moves {
    /// Version of this format: 1.
    format: u32,
    /// Where the files belong, below the table's folder.
    pub(crate) files: Vec<String>,
}

/// Where the note of a commit lies.
pub(crate) fn path(table: &Path, key: &CommitKey) -> Path {
    staging::folder_of(table, key).join(NAME)
}

impl Moves {
    pub(crate) fn of(files: Vec<String>) -> Self {
        Self { format: 1, files }
    }

    /// Writes the note of a commit, in the place of one that an earlier attempt has left.
    pub(crate) async fn write(&self, store: &Store, table: &Path, key: &CommitKey) -> Result<()> {
        let at = path(table, key);
        let text = serde_json::to_vec(self).map_err(|e| Error::internal("a note cannot be written").because(e))?;
        let text = Bytes::from(text);
        if store.create(&at, text.clone()).await? {
            return Ok(());
        }
        store.remove(&at).await?;
        match store.create(&at, text).await? {
            true => Ok(()),
            false => Err(Error::transient("the note of a commit comes back all the time").with("path", at.to_string())),
        }
    }

    /// The note that lies at a path, if it is there.
    pub(crate) async fn read(store: &Store, at: &Path) -> Result<Option<Self>> {
        let Some(text) = store.read(at).await? else { return Ok(None) };
        let broken = || Error::config("the note of a commit cannot be read").with("path", at.to_string());
        let moves: Self = serde_json::from_slice(&text).map_err(|e| broken().because(e))?;
        match moves.format {
            1 => Ok(Some(moves)),
            _ => Err(broken().hint("use a newer transload")),
        }
    }

    /// The notes of a table's commits, each with its path.
    pub(crate) async fn all(store: &Store, table: &Path) -> Result<Vec<(Path, Self)>> {
        let mut found = Vec::new();
        for file in store.list(&staging::folder(table)).await? {
            if file.location.filename() == Some(NAME)
                && let Some(moves) = Self::read(store, &file.location).await?
            {
                found.push((file.location, moves));
            }
        }
        Ok(found)
    }

    /// The files, below the table's folder, that commits of a table without a manifest have moved or may move.
    pub(crate) async fn unpublished(store: &Store, table: &Path) -> Result<HashSet<String>> {
        Ok(Self::all(store, table).await?.into_iter().flat_map(|(_, moves)| moves.files).collect())
    }
}
