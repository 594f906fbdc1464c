//! What commits leave: what was moved and not published, what was replaced, what is left of staging.

use std::collections::HashSet;

use transload_core::connector::WriteMode;
use transload_core::store::Store;
use transload_core::{CommitKey, Result, fault};

use super::LakeSink;
use crate::listing::below;
use crate::manifest::Manifest;
use crate::moves::{self, Moves};
use crate::stage::StagedFile;
use crate::staging;

/// Versions back from the newest whose replaced files a commit removes.
const CLEANED_VERSIONS: u64 = 10;

impl LakeSink {
    /// Removes what commits that died have moved and not published, by their notes: whatever else is there is not theirs.
    /// A note of a commit that is published says that it was not cleaned up.
    pub(super) async fn clear_the_way(&self, store: &Store, base: Option<&Manifest>) -> Result<()> {
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
    pub(super) async fn remove_moved(&self, store: &Store, moves: &Moves, newest: Option<&Manifest>) -> Result<()> {
        let published: HashSet<&str> = newest.iter().flat_map(|m| &m.files).map(|f| f.path.as_str()).collect();
        for path in moves.files.iter().filter(|path| !published.contains(path.as_str())) {
            store.remove_and_prune(&below(&self.root, path)?).await?;
        }
        Ok(())
    }

    /// Does what is left to do once this commit is published.
    pub(super) async fn finish(&self, store: &Store, newest: &Manifest, files: &[StagedFile]) -> Result<()> {
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
    pub(super) fn leave(&self, key: &CommitKey, cleaned: Result<()>) {
        if let Err(error) = cleaned {
            let error = error.chain().join(": ");
            tracing::warn!(table = %self.table, commit = %key, error, "not cleaned up");
        }
    }
}
