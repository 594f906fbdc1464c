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

use crate::closed::{ClosedFile, HeldTo, Known, Part};
use crate::fit;
use crate::layout::{typed, values_in_path};
use crate::names;
use crate::options::ParquetOptions;
use crate::parquet::{ParquetFile, PinnedObject, read_as};
use crate::settings::{self, ParquetSettings};
use crate::source::{LakeSource, open_those, schema_of};
use crate::splits::{Divided, is_divided, rows_of, split_rows};
use crate::stage::{Stager, Written};
use crate::staging;

pub use crate::closed::{Bounds, DeletedRows, FileStatistics};
pub use crate::names::{commit_of, prefix};
pub use crate::stage::StagedFile;

/// Files that are published at the same time.
const FILES_AT_ONCE: usize = 8;

/// A file of a table, as the table's log has it.
#[derive(Debug, Clone)]
pub struct TableFile {
    /// Where it lies in the store.
    pub path: Path,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: DateTime<Utc>,
    /// Its values for the columns that are not in it, in their order and as text; `None` is NULL.
    pub values: Vec<Option<String>>,
    /// How many rows it has, deleted ones too, if the log says so.
    pub rows: Option<u64>,
    /// What the log says of its values.
    pub statistics: Option<Arc<dyn FileStatistics>>,
    /// Which of its rows are not in the table.
    pub deleted: Option<Arc<dyn DeletedRows>>,
}

/// Where the types of columns come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Types {
    /// From the log; a file that holds what they may not hold exactly is refused when it is read.
    #[default]
    Log,
    /// From the files: each column has the smallest type that holds the values of all of them exactly.
    Files,
}

/// A table as its log has it.
#[derive(Debug)]
pub struct LoggedTable<'a> {
    /// Its files.
    pub files: Vec<TableFile>,
    /// The columns in files, with the log's types. A column that a file lacks is NULL there.
    pub columns: &'a [FieldRef],
    /// The columns that are not in files, with the log's types.
    pub beside: &'a [FieldRef],
    /// Whether a column that no file has is left out.
    pub only_present: bool,
    /// Where the types of the columns in files come from.
    pub types: Types,
    /// The point in time at which the log was read.
    pub pin: Pin,
}

/// Opens files as one table. `settings` say what is made of old dates and timestamps.
///
/// # Behavior
/// What a plan needs of a table comes from the log, and no file is opened then, but for these: files of which the log does
/// not say how many rows they have; files with more rows than a split, which are divided by their row groups; and all
/// files, if the types of the columns or the columns themselves come from files. The others are opened when their rows
/// are read. Nothing is cast here that a type may not hold exactly.
///
/// A scan leaves out files that hold no fitting row by their values beside and by their statistics, and does not open
/// them.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for a file that is opened and is gone, damaged, or not what the log says,
/// and for a value that is not of its column's type.
pub async fn open(store: &Store, table: LoggedTable<'_>, settings: &ParquetSettings) -> Result<Arc<dyn Source>> {
    let LoggedTable { files, columns, beside, only_present, types, pin } = table;
    let reading = settings.reading;
    let in_log = |file: &TableFile| ObjectMeta {
        location: file.path.clone(),
        last_modified: file.modified,
        size: file.size,
        e_tag: None,
        version: None,
    };
    let closed = |file: &TableFile| {
        let object = PinnedObject { store: Arc::clone(store.objects()), meta: in_log(file) };
        Part::Closed(ClosedFile { object, rows: file.rows, weight: 0, reading, held_to: HeldTo::Log })
    };
    let mut parts: Vec<Part> = files.iter().map(closed).collect();
    let needs_all = only_present || types == Types::Files;
    open_those(&mut parts, reading, |_, file| needs_all || file.rows.is_none()).await?;
    let beside: Vec<FieldRef> = beside.iter().map(|field| read_as(field)).collect();
    let known = |(part, file): (&Part, &TableFile)| {
        Ok(Known {
            values: values_of(file, &beside)?,
            rows: part.rows(),
            statistics: file.statistics.clone(),
            deleted: file.deleted.clone(),
            has_plain_times: reading.is_plain(),
        })
    };
    let known: Vec<Known> = parts.iter().zip(&files).map(known).collect::<Result<_>>()?;
    let rows: Vec<u64> = parts.iter().zip(&known).map(|(part, known)| rows_of(part, known)).collect();
    let most = split_rows(rows.iter().sum());
    open_those(&mut parts, reading, |at, _| is_divided(&known[at], Divided::Large, rows[at], most)).await?;
    let opened: Vec<&ParquetFile> = parts.iter().filter_map(Part::opened).collect();
    let is_present = |field: &&FieldRef| {
        !only_present || opened.is_empty() || opened.iter().any(|file| file.schema.index_of(field.name()).is_ok())
    };
    let columns: Vec<FieldRef> = columns.iter().filter(is_present).map(|field| read_as(field)).collect();
    let in_files = match types {
        Types::Log => Fields::from(columns),
        Types::Files => as_in_files(&columns, schema_of(opened.iter().copied(), &beside)?.as_ref(), opened.is_empty()),
    };
    let in_files: SchemaRef = Arc::new(Schema::new(in_files));
    if types == Types::Log {
        opened.iter().try_for_each(|file| fit::check(file, &in_files))?;
    }
    let files = parts.into_iter().zip(known).collect();
    Ok(Arc::new(LakeSource::assemble(files, Divided::Large, in_files, Fields::from(beside), pin)))
}

/// The columns with the types that they have in files. One that no file has keeps its own.
fn as_in_files(columns: &[FieldRef], found: &Schema, is_empty: bool) -> Fields {
    let column = |field: &FieldRef| match found.field_with_name(field.name()) {
        // The table may promise what single files do not.
        Ok(in_files) => Arc::new(in_files.clone().with_nullable(in_files.is_nullable() && field.is_nullable())),
        Err(_) => Arc::new(field.as_ref().clone().with_nullable(field.is_nullable() || !is_empty)),
    };
    columns.iter().map(column).collect()
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
    /// Whether they are for the commit alone and no part of the table: then they lie, published or not, beside what it has
    /// staged, and go with that.
    pub aside: bool,
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
        let prefix = match self.aside {
            true => format!("{}/rows", staging::unit_folder(self.commit, self.unit)),
            false => names::prefix_of_unit(self.commit, self.unit),
        };
        let stager = Stager {
            store: self.store,
            table: self.table,
            folder: staging::folder_of(self.table, self.commit).join(self.unit),
            in_place: true,
            prefix,
            schema: Arc::clone(&self.schema),
            partition_by: self.partition_by,
            writing: &self.settings.writing,
            written: self.written,
        };
        staging::discard(self.store, self.table, &stager.folder).await?;
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

/// Where a commit can keep a note for itself until it is made or given up: it goes with everything else that is staged.
pub fn note_of(table: &Path, commit: &CommitKey, name: &str) -> Path {
    staging::folder_of(table, commit).join(name)
}

/// Removes what a commit has noted about its uploads, and gives them up, but for those of the files that are `published`.
/// Those that nobody has noted are given up, too. Can be repeated.
///
/// # Errors
/// As the store fails.
pub async fn discard(store: &Store, table: &Path, commit: &CommitKey, published: &[&StagedFile]) -> Result<()> {
    staging::discard_all(store, table, commit, published).await
}

/// Finds, and removes, what commits have left that died, as far as it is noted or the server tells: uploads. See
/// [`Endpoint::clean`](transload_core::connector::Endpoint::clean).
///
/// # Errors
/// As the store fails. What was removed until then stays removed.
pub async fn clean(store: &Store, spec: &CleanSpec) -> Result<Vec<Orphan>> {
    crate::clean::clean(store, spec).await
}

/// Checks the options of Parquet, and fills in the defaults.
pub fn parquet_settings(options: Option<ParquetOptions>, problems: &mut Vec<Problem>) -> ParquetSettings {
    let options = options.unwrap_or_default();
    if let Some(footers) = &options.footers {
        let message = "`footers` does nothing here: what a plan needs of the files, the table's log says";
        problems.push(Problem::new(footers.span, message).hint("remove it"));
    }
    settings::parquet_settings(options, problems)
}
