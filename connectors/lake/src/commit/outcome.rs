//! What a commit has done: the files that became visible, as they are now.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use transload_core::store::Store;
use transload_core::{Committed, Error, ErrorKind, Pin, PinnedFile, Result};

use super::LakeSink;
use crate::listing::{LOOKS_AT_ONCE, below, pinned};
use crate::manifest::{DataFile, Manifest};
use crate::stage::StagedFile;

impl LakeSink {
    /// The result of this commit when an earlier call did it, whatever was committed since.
    pub(super) async fn done_before(
        &self,
        store: &Store,
        newest: &Manifest,
        files: &[StagedFile],
    ) -> Result<Committed> {
        // The earlier call may have ended before it could do this.
        Manifest::sync(store, &self.root).map_err(|e| self.unclear(e))?;
        let since = newest.commits.iter().position(|key| *key == self.spec.commit).unwrap_or(0) as u64;
        let own = Manifest::at(store, &self.root, newest.version - since).await.map_err(|e| self.unclear(e))?;
        let own = own.ok_or_else(|| self.unclear(Error::config("the manifest of the commit is gone")))?;
        self.leave(&self.spec.commit, self.finish(store, newest, files).await);
        self.committed(store, &own, newest, true).await
    }

    /// What became visible with the manifest `own`, which may have been some commits before `newest`.
    pub(super) async fn committed(
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
    pub(super) fn unclear(&self, because: Error) -> Error {
        Error::new(ErrorKind::CommitUnknown, "the table is published, but what was published cannot be looked at")
            .with("table", self.table.as_str())
            .because(because)
    }
}
