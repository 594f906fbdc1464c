//! Parquet files as a table whose list of files stands elsewhere: what table formats read and write with.
//!
//! A table format keeps a log of its own. It says which files are the table, with which values of the columns that
//! are not in them, and makes new ones part of it. How files are read exactly and written durably is said here once.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::datatypes::{FieldRef, Fields, Schema, SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;
use parquet::file::metadata::ParquetMetaData;
use transload_core::connector::{CleanSpec, Orphan, Partition, Source};
use transload_core::store::Store;
use transload_core::{CommitKey, Error, LogicalType, Pin, Problem, Result, fault};

use crate::layout::{typed, values_in_path};
use crate::options::ParquetOptions;
use crate::parquet::{PinnedObject, read_as};
use crate::settings::{self, ParquetSettings};
use crate::source::{LakeSource, open_files, schema_of};
use crate::stage::{Stager, Written};
use crate::staging;

pub use crate::stage::StagedFile;

/// Files that are published at the same time.
const FILES_AT_ONCE: usize = 8;

/// A file of a table, as the table's log has it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableFile {
    /// Where it lies in the store.
    pub path: Path,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: DateTime<Utc>,
    /// Its values for the columns that are not in it, in their order and as text; `None` is NULL.
    pub values: Vec<Option<String>>,
}

/// Opens files as one table.
///
/// `columns` are the columns in files and `beside` those that are not, with the table's types. A column that no file
/// has is NULL in all rows, or is left out with `only_present`. A column whose values have another type in the files keeps
/// that type: whoever plans a load sees it, and nothing is cast here. `settings` say what is made of old dates and
/// timestamps.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for a file that is gone, damaged, or of another size than the log says,
/// and for a value that is not of its column's type.
pub async fn open(
    store: &Store,
    files: Vec<TableFile>,
    columns: &[FieldRef],
    beside: &[FieldRef],
    only_present: bool,
    pin: Pin,
    settings: &ParquetSettings,
) -> Result<Arc<dyn Source>> {
    let in_log = |file: &TableFile| ObjectMeta {
        location: file.path.clone(),
        last_modified: file.modified,
        size: file.size,
        e_tag: None,
        version: None,
    };
    let objects = files.iter().map(|f| PinnedObject { store: Arc::clone(store.objects()), meta: in_log(f) }).collect();
    let opened = open_files(objects, settings.reading).await?;
    let beside: Vec<FieldRef> = beside.iter().map(|field| read_as(field)).collect();
    let values = files.iter().map(|file| values_of(file, &beside)).collect::<Result<_>>()?;
    let found = schema_of(&opened, &beside)?;
    let present = |field: &&FieldRef| !only_present || opened.is_empty() || found.index_of(field.name()).is_ok();
    let column = |field: &FieldRef| match found.field_with_name(field.name()) {
        // The table may promise what single files do not.
        Ok(in_files) => Arc::new(in_files.clone().with_nullable(in_files.is_nullable() && field.is_nullable())),
        Err(_) => Arc::new(read_as(field).as_ref().clone().with_nullable(field.is_nullable() || !opened.is_empty())),
    };
    let in_files: SchemaRef = Arc::new(Schema::new(columns.iter().filter(present).map(column).collect::<Fields>()));
    Ok(Arc::new(LakeSource::assemble(opened, values, in_files, Fields::from(beside), pin)))
}

fn values_of(file: &TableFile, beside: &[FieldRef]) -> Result<Vec<ScalarValue>> {
    let value = |(field, value): (&FieldRef, &Option<String>)| {
        let ty = LogicalType::of(field).ok_or_else(|| Error::internal("a partition column has no logical type"))?;
        typed(value.as_deref(), &ty, field.data_type())
            .map_err(|e| e.with("column", field.name()).with("path", file.path.to_string()))
    };
    beside.iter().zip(&file.values).map(value).collect()
}

/// Where and how the files of a table are written.
pub struct FileWriter<'a> {
    /// The store.
    pub store: &'a Store,
    /// The table's folder.
    pub table: &'a Path,
    /// The commit that will make the files part of the table. Their names begin with `part-`, its key and the unit.
    pub commit: &'a CommitKey,
    /// The unit of work that writes them.
    pub unit: &'a str,
    /// The rows' columns.
    pub schema: SchemaRef,
    /// The layout.
    pub partition_by: &'a [Partition],
    /// How Parquet is written.
    pub settings: &'a ParquetSettings,
    /// Counts bytes that are written.
    pub written: &'a AtomicU64,
}

/// A file that was written.
#[derive(Debug)]
pub struct WrittenFile {
    /// The file, as it is to be remembered until it is published.
    pub file: StagedFile,
    /// The values that the names of its folders stand for, outermost first; `None` is NULL.
    pub values: Vec<(String, Option<String>)>,
    /// What the footer says about its columns.
    pub metadata: ParquetMetaData,
}

impl FileWriter<'_> {
    /// Writes every row of the stream into files, and makes them durable. A file that has rows of one partition lies in
    /// the folder of it. In a folder of this machine the files are in their final places then; in a bucket nobody sees them
    /// until they are [published](publish). What an earlier attempt at the same unit has left is replaced.
    ///
    /// # Errors
    /// As the stream or the store fails.
    ///
    /// # Cancellation
    /// Dropping the future leaves files behind that no log names, and uploads that [`discard`] gives up.
    pub async fn write(
        &self,
        rows: SendableRecordBatchStream,
        memory: &Arc<dyn MemoryPool>,
    ) -> Result<Vec<WrittenFile>> {
        let stager = Stager {
            store: self.store,
            table: self.table,
            folder: staging::folder_of(self.table, self.commit).join(self.unit),
            in_place: true,
            prefix: format!("part-{}-{}", self.commit, self.unit),
            schema: Arc::clone(&self.schema),
            partition_by: self.partition_by,
            writing: &self.settings.writing,
            written: self.written,
        };
        staging::discard(self.store, self.table, &stager.folder, &|_| false).await?;
        let written = stager.write(rows, memory).await?;
        let file = |(file, metadata): Written| {
            let values = values_in_path(&file.path)?;
            let metadata = metadata.ok_or_else(|| Error::internal("a Parquet file was written without a footer"))?;
            Ok(WrittenFile { file, values, metadata })
        };
        written.into_iter().map(file).collect()
    }
}

/// Puts files that were written where everybody can open them. Can be repeated.
///
/// # Errors
/// As the store fails, and [`Config`](transload_core::ErrorKind::Config) for one that is gone.
pub async fn publish(store: &Store, table: &Path, files: &[&StagedFile]) -> Result<()> {
    // In a folder they are there.
    let uploads = files.iter().filter(|file| file.upload.is_some());
    let published = uploads.map(|file| async move {
        staging::publish(store, table, file).await?;
        fault::point("commit.renamed")
    });
    let published: Vec<_> = published.collect();
    futures::stream::iter(published).buffer_unordered(FILES_AT_ONCE).try_collect().await
}

/// Whether a file that was written is still there, published or not.
///
/// # Errors
/// As the store fails.
pub async fn is_there(store: &Store, table: &Path, file: &StagedFile) -> Result<bool> {
    staging::is_there(store, table, file).await
}

/// Removes what a commit has noted about its uploads, and gives them up, but for those of the files that are `published`.
/// Can be repeated.
///
/// # Errors
/// As the store fails.
pub async fn discard(store: &Store, table: &Path, commit: &CommitKey, published: &[&StagedFile]) -> Result<()> {
    staging::discard_all(store, table, commit, published).await
}

/// Finds, and removes, what commits have left that died, as far as it is noted: uploads. See
/// [`Endpoint::clean`](transload_core::connector::Endpoint::clean).
///
/// # Errors
/// As the store fails. What was removed until then stays removed.
pub async fn clean(store: &Store, spec: &CleanSpec) -> Result<Vec<Orphan>> {
    crate::clean::clean(store, spec).await
}

/// Checks the options of Parquet, and fills in the defaults.
pub fn parquet_settings(options: Option<ParquetOptions>, problems: &mut Vec<Problem>) -> ParquetSettings {
    settings::parquet_settings(options.unwrap_or_default(), problems)
}
