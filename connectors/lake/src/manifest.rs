//! The list of files that are a table.
//!
//! Each commit adds one numbered manifest, `_transload/manifest/00000000000000000001.json`, whose creation is the moment the commit
//! happens: it appears whole or not at all, and two writers cannot create the same number. Readers take
//! the highest number and read exactly its files.

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use transload_core::connector::{Partition, TableState};
use transload_core::store::{Store, is_temporary};
use transload_core::{CommitKey, Error, LogicalType, Result};

use crate::settings::{CsvDialect, WriteFormat};

/// The folder in a table's folder that holds everything which is not data.
pub(crate) const FOLDER: &str = "_transload";

/// Commits whose keys a manifest remembers.
const REMEMBERED: usize = 1000;

/// The newest version of a manifest's format.
const NEWEST: u32 = 2;

/// The content of a table after a commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Version of this format: 1 for a table of Parquet files, and 2 for others, of which 1 knows nothing.
    pub(crate) format: u32,
    /// What the files are.
    #[serde(default, skip_serializing_if = "FileFormat::is_parquet")]
    pub(crate) file_format: FileFormat,
    /// The number of the commit, from 1.
    pub(crate) version: u64,
    /// Keys of this commit and those before it, newest first.
    pub(crate) commits: Vec<CommitKey>,
    pub(crate) columns: Vec<Column>,
    pub(crate) partition_by: Vec<Partition>,
    pub(crate) files: Vec<DataFile>,
    pub(crate) state: TableState,
}

/// What the files of a table are, as far as their names do not say it. How they are compressed, they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileFormat {
    #[default]
    Parquet,
    Csv(CsvDialect),
    Json,
    Avro,
}

impl FileFormat {
    /// The version of the manifest's format that can say this.
    pub(crate) fn version(self) -> u32 {
        if self == Self::Parquet { 1 } else { NEWEST }
    }

    fn is_parquet(&self) -> bool {
        *self == Self::Parquet
    }
}

impl From<&WriteFormat> for FileFormat {
    fn from(format: &WriteFormat) -> Self {
        match format {
            WriteFormat::Parquet(_) => Self::Parquet,
            WriteFormat::Csv(dialect, _) => Self::Csv(*dialect),
            WriteFormat::Json(_) => Self::Json,
            WriteFormat::Avro(_) => Self::Avro,
        }
    }
}

impl std::fmt::Display for FileFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Parquet => f.write_str("Parquet"),
            Self::Csv(dialect) => {
                let (delimiter, quote) = (char::from(dialect.delimiter), char::from(dialect.quote));
                let header = if dialect.header { "a" } else { "no" };
                write!(f, "CSV with {delimiter:?} between fields, {quote:?} around them and {header} header")
            }
            Self::Json => f.write_str("JSON lines"),
            Self::Avro => f.write_str("Avro"),
        }
    }
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
        if !(1..=NEWEST).contains(&manifest.format) {
            return Err(Error::config(format!(
                "the table's manifest has format {}; this program knows 1 to {NEWEST}",
                manifest.format
            ))
            .with("table", table.to_string())
            .hint("use a newer transload"));
        }
        Ok(Some(manifest))
    }

    /// Removes what is left of manifests that somebody was about to create who died. It is for whoever has the turn to
    /// commit. In a bucket there is nothing of an object before it is there.
    pub(crate) async fn clear_unnamed(store: &Store, table: &Path) -> Result<()> {
        if !store.is_local() {
            return Ok(());
        }
        for left in store.list(&folder(table)).await?.iter().filter(|file| is_temporary(&file.location)) {
            store.remove(&left.location).await?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(file_format: FileFormat) -> Manifest {
        Manifest {
            format: file_format.version(),
            file_format,
            version: 1,
            commits: Vec::new(),
            columns: Vec::new(),
            partition_by: Vec::new(),
            files: Vec::new(),
            state: TableState::default(),
        }
    }

    #[test]
    fn what_the_files_are_is_written_down_if_they_are_not_parquet() {
        let dialect = CsvDialect { delimiter: b';', quote: b'"', header: false };
        let csv = serde_json::json!({ "csv": { "delimiter": ";", "quote": "\"", "header": false } });
        for (file_format, format, word) in [
            (FileFormat::Parquet, 1, None),
            (FileFormat::Json, 2, Some("json".into())),
            (FileFormat::Avro, 2, Some("avro".into())),
            (FileFormat::Csv(dialect), 2, Some(csv)),
        ] {
            let written = serde_json::to_value(manifest(file_format)).unwrap();
            assert_eq!((written["format"].as_u64(), written.get("file_format")), (Some(format), word.as_ref()));
            let read: Manifest = serde_json::from_value(written).unwrap();
            assert_eq!(read.file_format, file_format);
        }
    }

    #[tokio::test]
    async fn a_manifest_of_the_future_is_not_guessed_at() {
        let memory = std::sync::Arc::new(object_store::memory::InMemory::new());
        let store = Store::over(memory, "memory", transload_core::Clock::system());
        let text = serde_json::to_vec(&Manifest { format: 3, ..manifest(FileFormat::Parquet) }).unwrap();
        assert!(store.create(&path(&Path::from("t"), 1), Bytes::from(text)).await.unwrap());
        let error = Manifest::newest(&store, &Path::from("t")).await.unwrap_err();
        assert_eq!(error.message(), "the table's manifest has format 3; this program knows 1 to 2");
    }
}
