//! What commits have staged, and how it is published, found again and given up.
//!
//! A commit's folder, `_transload/staging/KEY/`, holds a folder for each of its units: with the files themselves where
//! they are staged under other names, with a note about each upload where they are staged as uploads. Beside them is the
//! note of what the commit moves (`moves.rs`).
//!
//! An upload is begun before it can be noted. Whoever is killed in between leaves one that only the server knows: it is
//! found by the name of its file, which begins with the commit's key (`names.rs`), or by its folder, if it is one that the
//! commit keeps for itself.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use transload_core::store::{Begun, Staging, Store};
use transload_core::{CommitKey, Error, Result};

use crate::listing::{below, is_hidden, table_of};
use crate::manifest::FOLDER;
use crate::names;
use crate::stage::StagedFile;

/// Uploads that are given up at the same time.
const AT_ONCE: usize = 8;

/// The ending of notes about uploads.
const UPLOAD: &str = "upload";

/// A note about an upload, by which others than its writer can give it up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UploadNote {
    /// Version of this format: 1.
    format: u32,
    /// Where the file belongs, below the table's folder.
    pub(crate) path: String,
    /// The name of the upload.
    pub(crate) upload: String,
}

/// Where everything lies that commits of a table have staged.
pub(crate) fn folder(table: &Path) -> Path {
    table.clone().join(FOLDER).join("staging")
}

/// Where everything lies that one commit has staged.
pub(crate) fn folder_of(table: &Path, key: &CommitKey) -> Path {
    folder(table).join(key.as_str())
}

/// Where everything lies that one unit of a commit has staged, below the table's folder.
pub(crate) fn unit_folder(key: &CommitKey, unit: &str) -> String {
    format!("{FOLDER}/staging/{key}/{unit}")
}

impl UploadNote {
    pub(crate) fn new(path: &str, upload: &str) -> Self {
        Self { format: 1, path: path.to_string(), upload: upload.to_string() }
    }

    /// Writes the note where there is none.
    pub(crate) async fn write(&self, store: &Store, at: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::internal("a note cannot be written").because(e))?;
        match store.create(at, Bytes::from(text)).await? {
            true => Ok(()),
            false => Err(Error::transient("another process stages the same files").with("path", at.to_string())),
        }
    }

    /// The note that lies at a path, if it is there.
    pub(crate) async fn read(store: &Store, at: &Path) -> Result<Option<Self>> {
        let Some(text) = store.read(at).await? else { return Ok(None) };
        let broken = || Error::config("the note about an upload cannot be read").with("path", at.to_string());
        let note: Self = serde_json::from_slice(&text).map_err(|e| broken().because(e))?;
        match note.format {
            1 => Ok(Some(note)),
            _ => Err(broken().hint("use a newer transload")),
        }
    }

    /// Gives the upload up.
    pub(crate) async fn abort(&self, store: &Store, table: &Path) -> Result<()> {
        abort(store, &below(table, &self.path)?, &self.upload).await
    }
}

/// Where a unit's file of this number is staged: the file itself, or the note about its upload.
pub(crate) fn place(store: &Store, unit: &Path, number: usize) -> Path {
    let ending = if store.is_local() { "staged" } else { UPLOAD };
    unit.clone().join(format!("{number}.{ending}"))
}

/// Whether something that a commit has staged is a note about an upload.
pub(crate) fn is_upload_note(at: &Path) -> bool {
    at.extension() == Some(UPLOAD)
}

/// Puts a staged file where it belongs, for everybody to see. Can be repeated.
pub(crate) async fn publish(store: &Store, table: &Path, file: &StagedFile) -> Result<()> {
    let place = below(table, &file.path)?;
    match (store.staging()?, &file.upload) {
        (Staging::Names(local), None) => local.rename(&staged_path(file)?, &place).await.map(drop),
        (Staging::Uploads(uploads), Some(upload)) => uploads.complete(&place, upload, file.bytes).await,
        _ => Err(Error::config("what was staged cannot be published here")
            .with("path", &file.path)
            .hint("it was staged in another place, or by another version: start a new run")),
    }
}

/// Whether a staged file is still there, or where it belongs: a commit that died may have put it there.
pub(crate) async fn is_there(store: &Store, table: &Path, file: &StagedFile) -> Result<bool> {
    let staged = staged_path(file)?;
    let found = match &file.upload {
        Some(upload) => match UploadNote::read(store, &staged).await? {
            Some(note) if note.upload == upload.id => return Ok(true),
            _ => None,
        },
        None => store.head(&staged).await?,
    };
    let found = match found {
        Some(found) => Some(found),
        None => store.head(&below(table, &file.path)?).await?,
    };
    Ok(found.is_some_and(|found| found.size == file.bytes))
}

fn staged_path(file: &StagedFile) -> Result<Path> {
    Path::parse(&file.staged).map_err(|e| Error::internal("a staged path is broken").because(e))
}

/// The commit that something staged is of, noted or not: the key that its folder has, or the name of its file where that
/// lies outside of what is kept beside the rows.
pub(crate) fn commit_of(staged: &Path) -> Option<String> {
    let key = match table_of(staged) {
        Some(table) => staged.prefix_match(&folder(&table))?.next()?.as_ref().to_string(),
        None => names::commit_of(staged.filename()?)?.0.to_string(),
    };
    CommitKey::run_of(&key).map(|_| key)
}

/// The uploads below a folder that the server says to be open, of files that are some commit's.
pub(crate) async fn begun(store: &Store, folder: &Path) -> Result<Vec<Begun>> {
    let Ok(Staging::Uploads(uploads)) = store.staging() else { return Ok(Vec::new()) };
    let mut begun = uploads.unfinished(folder).await?;
    begun.retain(|upload| {
        let table = table_of(&upload.path);
        !is_hidden(table.as_ref().unwrap_or(&upload.path), folder) && commit_of(&upload.path).is_some()
    });
    Ok(begun)
}

/// Removes everything that a commit has staged. The uploads of `published` are complete, and the others are given up,
/// also those that nobody has noted.
pub(crate) async fn discard_all(store: &Store, table: &Path, key: &CommitKey, published: &[&StagedFile]) -> Result<()> {
    let published: HashSet<&str> = published.iter().map(|file| file.staged.as_str()).collect();
    let is_complete = |note: &Path| {
        let note: &str = note.as_ref();
        published.contains(note)
    };
    let folder = folder_of(table, key);
    give_up_noted(store, table, &folder, &is_complete).await?;
    // As long as there is something left, there are notes that say so.
    give_up_begun(store, table, key).await?;
    store.remove_all(&folder).await
}

/// Removes everything that is staged below a folder. Uploads that are noted there are given up.
pub(crate) async fn discard(store: &Store, table: &Path, folder: &Path) -> Result<()> {
    give_up_noted(store, table, folder, &|_| false).await?;
    store.remove_all(folder).await
}

/// Gives up the uploads that are noted below a folder, but for those that `is_complete` knows by their notes.
async fn give_up_noted(
    store: &Store,
    table: &Path,
    folder: &Path,
    is_complete: &(dyn Fn(&Path) -> bool + Sync),
) -> Result<()> {
    let left = store.list(folder).await?.into_iter().map(|meta| meta.location);
    let open: Vec<Path> = left.filter(|at| is_upload_note(at) && !is_complete(at)).collect();
    let given_up = futures::stream::iter(open).map(|at| async move {
        match UploadNote::read(store, &at).await? {
            Some(note) => note.abort(store, table).await,
            None => Ok(()),
        }
    });
    given_up.buffer_unordered(AT_ONCE).try_collect::<()>().await
}

/// Gives up every upload of a commit that the server says to be open, noted or not. Nothing of it may be staged any more
/// that is wanted.
pub(crate) async fn give_up_begun(store: &Store, table: &Path, key: &CommitKey) -> Result<()> {
    let mut open = begun(store, table).await?;
    open.retain(|upload| commit_of(&upload.path).as_deref() == Some(key.as_str()));
    let given_up =
        futures::stream::iter(open).map(|upload| async move { abort(store, &upload.path, &upload.id).await });
    given_up.buffer_unordered(AT_ONCE).try_collect::<()>().await
}

/// Gives the upload of this name up.
pub(crate) async fn abort(store: &Store, place: &Path, id: &str) -> Result<()> {
    match store.staging()? {
        Staging::Uploads(uploads) => uploads.abort(place, id).await,
        Staging::Names(_) => Ok(()),
    }
}
