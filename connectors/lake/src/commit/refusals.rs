//! What a commit refuses before anything is put into its place.

use std::collections::HashSet;

use futures::TryStreamExt;
use object_store::path::Path;
use transload_core::connector::Expected;
use transload_core::store::Store;
use transload_core::{Error, Result};

use super::LakeSink;
use crate::listing::{below, is_hidden, overlapping};
use crate::manifest::{FOLDER, FileFormat, Manifest};
use crate::moves::{self, Moves};

impl LakeSink {
    /// Refuses to undo or repeat what another run has done since this one was planned.
    pub(super) fn as_expected(&self, now: Option<&Manifest>) -> Result<()> {
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

    /// Refuses to add rows to a table of another format, or with other columns or another layout than theirs.
    pub(super) fn can_be_added(&self, base: &Manifest) -> Result<()> {
        let (there, file_format) = (base.file_format, FileFormat::from(&self.writing.format));
        if there != file_format {
            return Err(Error::config(format!("the table is {there}, and {file_format} cannot be added to it"))
                .with("table", self.table.as_str())
                .hint("write it as it is, or use `mode: full`, which replaces the table, or another `to`"));
        }
        if base.columns != self.columns()? || base.partition_by != self.spec.partition_by {
            return Err(Error::config("the table's columns or layout are not those of the rows to be added")
                .with("table", self.table.as_str())
                .hint("use `mode: full`, which replaces the table, or another `to`"));
        }
        Ok(())
    }

    /// Refuses to begin a table in the folder of another one, around another one, or among files that transload did not
    /// write: they could not be replaced or left in place safely.
    pub(super) async fn is_free(&self, store: &Store) -> Result<()> {
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
    pub(super) async fn stands_alone(&self, store: &Store) -> Result<()> {
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
}
