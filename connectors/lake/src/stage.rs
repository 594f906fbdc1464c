//! Writing files where no reader looks.
//!
//! Where the bytes of a file go until it is published, `outgoing.rs` knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::stream::FuturesOrdered;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::file::metadata::ParquetMetaData;
use serde::{Deserialize, Serialize};
use transload_core::connector::{Partition, Transform};
use transload_core::store::{Store, Upload};
use transload_core::{Error, Result, fault};

use crate::growth::Growth;
use crate::held::{HELD_BYTES, Held};
use crate::layout::Router;
use crate::listing::below;
use crate::outgoing::{Outgoing, Whole};
use crate::routing::Waiting;
use crate::settings::{WriteFormat, Writing};
use crate::staging;
use crate::writer::OpenFile;

/// Files one unit of work keeps open.
const OPEN_FILES: usize = 128;
/// Rows of one folder with which a row group is begun that goes on; fewer make one of their own, as encoding them takes
/// about as much memory as they do.
const LONG: usize = 1 << 15;
/// Files that are waited for at the same time in the end.
const FILES_AT_ONCE: usize = 8;

/// A file that was written and is not part of its table yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Where it is, or the note about its upload, below the url.
    pub(crate) staged: String,
    /// Where it belongs, below the table's folder.
    pub path: String,
    /// Number of rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// What completes it, if it is an upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<Upload>,
}

/// A staged file, with its footer if it is Parquet.
pub(crate) type Written = (StagedFile, Option<ParquetMetaData>);

/// Writes the files of one unit of work.
pub(crate) struct Stager<'a> {
    pub(crate) store: &'a Store,
    /// The table's folder.
    pub(crate) table: &'a Path,
    /// The folder for what this unit has staged.
    pub(crate) folder: Path,
    /// Whether files of a folder are written where they belong: readers go by a list and do not look for files.
    pub(crate) in_place: bool,
    /// Beginning of the files' names.
    pub(crate) prefix: String,
    pub(crate) schema: SchemaRef,
    pub(crate) partition_by: &'a [Partition],
    pub(crate) writing: &'a Writing,
    /// Counts bytes that are written.
    pub(crate) written: &'a AtomicU64,
}

/// The columns that go into files: all but those whose value is the name of a folder. Columns get field ids
/// by their place, which lets readers find them after a rename.
pub(crate) fn file_schema(schema: &SchemaRef, partition_by: &[Partition]) -> (SchemaRef, Vec<usize>) {
    let in_folder = |name: &str| partition_by.iter().any(|p| p.transform == Transform::Identity && p.column == name);
    let kept: Vec<usize> = (0..schema.fields().len()).filter(|i| !in_folder(schema.field(*i).name())).collect();
    let mut id = 0;
    let fields: Fields = kept.iter().map(|i| plain(&with_ids(&schema.fields()[*i], &mut id))).collect();
    (Arc::new(Schema::new(fields)), kept)
}

/// The layout that other readers are told of: not all of them can work with views.
fn plain(field: &FieldRef) -> FieldRef {
    let ty = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(ty))
}

fn with_ids(field: &FieldRef, id: &mut u32) -> FieldRef {
    *id += 1;
    let mut metadata = field.metadata().clone();
    metadata.insert(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string());
    let ty = match field.data_type() {
        DataType::List(item) => DataType::List(with_ids(item, id)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| with_ids(f, id)).collect()),
        DataType::Map(entries, sorted) => DataType::Map(with_ids(entries, id), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), ty, field.is_nullable()).with_metadata(metadata))
}

impl Stager<'_> {
    /// Writes every row of the stream and makes the files durable.
    pub(crate) async fn write(
        &self,
        mut rows: SendableRecordBatchStream,
        memory: &Arc<dyn MemoryPool>,
    ) -> Result<Vec<Written>> {
        let (file_schema, kept) = file_schema(&self.schema, self.partition_by);
        let reservation = MemoryConsumer::new("file writers").register(memory);
        let mut writers = Writers::new(self, file_schema, reservation);
        fault::point("stage.opened")?;
        if self.partition_by.is_empty() {
            while let Some(batch) = rows.next().await {
                fault::point("stage.batch")?;
                writers.write("", &batch?.project(&kept)?).await?;
            }
            return writers.finish().await;
        }
        let mut router = Router::new(self.partition_by, &self.schema)?;
        let mut waiting = Waiting::default();
        loop {
            let batch = rows.next().await.transpose()?;
            fault::point("stage.batch")?;
            let ended = batch.is_none();
            if let Some(batch) = batch.filter(|b| b.num_rows() > 0) {
                waiting.push(batch);
            }
            if waiting.is_full() || ended {
                for sorted in std::mem::take(&mut waiting).sorted(&mut router, &kept)? {
                    let (folder, batch) = sorted?;
                    writers.sort_in(router.name(folder), batch).await?;
                }
            }
            if ended {
                return writers.finish().await;
            }
        }
    }
}

struct Writers<'a> {
    stager: &'a Stager<'a>,
    schema: SchemaRef,
    reservation: MemoryReservation,
    /// Rows that wait for their files.
    held: Held,
    /// By folder.
    open: BTreeMap<String, Writer>,
    /// Memory that the open files take.
    memory: usize,
    /// Number of files that were begun.
    begun: usize,
    done: Vec<Written>,
    growth: Growth<'a>,
}

struct Writer {
    file: OpenFile,
    staged: Path,
    /// Where it belongs, below the table's folder.
    path: String,
    rows: u64,
    /// Its size when somebody was told of it last.
    bytes: u64,
    /// Memory that it took then.
    memory: usize,
}

/// A file to which nothing is added any more.
struct Ended {
    out: Outgoing,
    metadata: Option<ParquetMetaData>,
    staged: Path,
    path: String,
    rows: u64,
    /// Its size when somebody was told of it last.
    told: u64,
}

impl Writer {
    /// Writes what stands at the end of a file.
    fn end(self) -> Result<Ended> {
        let Self { file, staged, path, rows, bytes, .. } = self;
        let (out, metadata) = file.finish()?;
        Ok(Ended { out, metadata, staged, path, rows, told: bytes })
    }
}

impl Ended {
    /// Waits until everything of it has arrived. Returns the size too that somebody was told of.
    async fn arrive(mut self) -> Result<(Written, u64)> {
        let Whole { bytes, upload } = self.out.finish().await?;
        let Self { metadata, staged, path, rows, told, .. } = self;
        tracing::debug!(file = %staged, rows, bytes, "staged a file");
        Ok(((StagedFile { staged: staged.to_string(), path, rows, bytes, upload }, metadata), told))
    }
}

impl<'a> Writers<'a> {
    fn new(stager: &'a Stager<'a>, schema: SchemaRef, reservation: MemoryReservation) -> Self {
        let growth = Growth::new(stager.written);
        Self {
            stager,
            schema,
            reservation,
            held: Held::default(),
            open: BTreeMap::new(),
            memory: 0,
            begun: 0,
            done: Vec::new(),
            growth,
        }
    }

    /// Writes rows into the file of a folder.
    async fn write(&mut self, folder: &str, batch: &RecordBatch) -> Result<()> {
        self.append(folder, batch).await?;
        self.fit().await
    }

    /// Takes rows of one of many folders, to write them now or together with others.
    async fn sort_in(&mut self, folder: &str, batch: RecordBatch) -> Result<()> {
        let writing = self.stager.writing;
        match &writing.format {
            WriteFormat::Parquet(parquet) => {
                let held = self.held.add(folder, batch);
                if held.rows >= parquet.row_group_rows || held.bytes as u64 >= writing.file_bytes {
                    self.encode(folder).await?;
                }
                self.fit().await
            }
            WriteFormat::Csv(..) | WriteFormat::Json(_) | WriteFormat::Avro(_) => self.write(folder, &batch).await,
        }
    }

    /// Writes the rows that are held for a folder.
    async fn encode(&mut self, folder: &str) -> Result<()> {
        for batch in self.held.release(folder) {
            self.append(folder, &batch).await?;
        }
        Ok(())
    }

    /// Writes rows, whatever memory that takes.
    async fn append(&mut self, folder: &str, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if !self.open.contains_key(folder) {
            if self.open.len() >= OPEN_FILES {
                self.close_largest().await?;
            }
            let writer = self.create(folder, Some(batch))?;
            self.open.insert(folder.to_string(), writer);
        }
        let Some(writer) = self.open.get_mut(folder) else { return Ok(()) };
        // The writer goes by its own fields, which differ from the batch's in ids and text layout only.
        writer.file.write(batch)?;
        writer.rows += batch.num_rows() as u64;
        match self.settle(folder).await? >= self.stager.writing.file_bytes {
            true => self.close(folder).await,
            false => Ok(()),
        }
    }

    /// Waits until little of a folder's file is on its way. Takes down how large it is and what memory it takes, and
    /// returns its size.
    async fn settle(&mut self, folder: &str) -> Result<u64> {
        let Some(writer) = self.open.get_mut(folder) else { return Ok(0) };
        writer.file.settle().await?;
        let (size, memory) = (writer.file.size(), writer.file.memory());
        self.growth.grown(std::mem::replace(&mut writer.bytes, size), size);
        self.memory += memory;
        self.memory -= std::mem::replace(&mut writer.memory, memory);
        Ok(size)
    }

    /// Makes everything fit into memory: first rows that are held are encoded, then files are closed, the largest first.
    async fn fit(&mut self) -> Result<()> {
        loop {
            let memory = self.held.bytes() + self.memory;
            if self.held.bytes() <= HELD_BYTES && self.reservation.try_resize(memory).is_ok() {
                return Ok(());
            }
            if let Some((folder, rows)) = self.held.largest() {
                self.encode(&folder).await?;
                if let Some(writer) = self.open.get_mut(&folder).filter(|_| rows < LONG) {
                    writer.file.end_row_group()?;
                    self.settle(&folder).await?;
                }
            } else if self.open.len() > 1 {
                self.close_largest().await?;
            } else {
                // One open file is the least there can be.
                self.reservation.resize(memory);
                return Ok(());
            }
        }
    }

    fn create(&mut self, folder: &str, first: Option<&RecordBatch>) -> Result<Writer> {
        let number = self.begun;
        self.begun += 1;
        let name = format!("{}-{number}.{}", self.stager.prefix, self.stager.writing.ending());
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let staged = match self.stager.in_place && self.stager.store.is_local() {
            true => below(self.stager.table, &path)?,
            false => staging::place(self.stager.store, &self.stager.folder, number),
        };
        let out = Outgoing::begin(self.stager.store, &staged, self.stager.table, &path)?;
        let file = OpenFile::new(out, &path, &self.schema, &self.stager.writing.format, first)?;
        Ok(Writer { file, staged, path, rows: 0, bytes: 0, memory: 0 })
    }

    async fn close_largest(&mut self) -> Result<()> {
        let largest = self.open.iter().max_by_key(|(_, w)| w.memory).map(|(folder, _)| folder.clone());
        match largest {
            Some(folder) => self.close(&folder).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self, folder: &str) -> Result<()> {
        let Some(writer) = self.remove(folder) else { return Ok(()) };
        let arrived = writer.end()?.arrive().await?;
        self.arrived(arrived);
        Ok(())
    }

    fn remove(&mut self, folder: &str) -> Option<Writer> {
        let writer = self.open.remove(folder)?;
        self.memory -= writer.memory;
        Some(writer)
    }

    fn arrived(&mut self, (written, told): (Written, u64)) {
        self.growth.grown(told, written.0.bytes);
        self.done.push(written);
    }

    /// The first folder that has a file or rows that wait for one.
    fn first(&self) -> Option<String> {
        let open = self.open.keys().next().map(String::as_str);
        self.held.first().into_iter().chain(open).min().map(str::to_string)
    }

    async fn finish(mut self) -> Result<Vec<Written>> {
        // While one is encoded, those before it are on their way to the disk.
        let mut arriving = FuturesOrdered::new();
        while let Some(folder) = self.first() {
            self.encode(&folder).await?;
            if let Some(writer) = self.remove(&folder) {
                arriving.push_back(writer.end()?.arrive());
            }
            if arriving.len() >= FILES_AT_ONCE
                && let Some(arrived) = arriving.try_next().await?
            {
                self.arrived(arrived);
            }
        }
        while let Some(arrived) = arriving.try_next().await? {
            self.arrived(arrived);
        }
        self.sync()?;
        fault::point("stage.written")?;
        self.growth.keep();
        Ok(self.done)
    }

    /// Makes the names of the files survive a power cut.
    fn sync(&self) -> Result<()> {
        let folder = |file: &StagedFile| file.staged.rsplit_once('/').map_or("", |(folder, _)| folder).to_string();
        let folders: BTreeSet<String> = self.done.iter().map(|(file, _)| folder(file)).collect();
        folders.into_iter().try_for_each(|folder| {
            let folder = Path::parse(folder).map_err(|e| Error::internal("a staged path is broken").because(e))?;
            self.stager.store.sync(&folder)
        })
    }
}

/// Writes one file without rows, so that other readers find the columns. Of Parquet they find those of folders too, since
/// there is no folder; what is read by the manifest alone has the columns that every file has.
pub(crate) async fn write_empty(stager: &Stager<'_>) -> Result<StagedFile> {
    let beside: &[Partition] = match stager.writing.format {
        WriteFormat::Parquet(_) => &[],
        WriteFormat::Csv(..) | WriteFormat::Json(_) | WriteFormat::Avro(_) => stager.partition_by,
    };
    let (schema, _) = file_schema(&stager.schema, beside);
    let reservation = MemoryConsumer::new("empty file").register(
        &(Arc::new(datafusion::execution::memory_pool::UnboundedMemoryPool::default()) as Arc<dyn MemoryPool>),
    );
    let mut writers = Writers::new(stager, schema, reservation);
    let writer = writers.create("", None)?;
    writers.open.insert(String::new(), writer);
    let mut files = writers.finish().await?;
    files.pop().map(|(file, _)| file).ok_or_else(|| Error::internal("an empty file was not written"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::error::DataFusionError;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use parquet::basic::Compression;
    use transload_core::secret::NoReferences;

    use super::*;
    use crate::settings::ParquetWriting;

    const ROWS: i64 = 70_000;
    /// More than files may be open.
    const FOLDERS: i64 = 140;

    /// The files of rows that belong into many folders by turns.
    async fn staged(folders: i64, row_group_rows: usize, memory: usize) -> Vec<Written> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
        let batch = |batch: i64| {
            let rows = 1000 * batch..1000 * (batch + 1);
            let columns: [(&str, ArrayRef); 2] = [
                ("n", Arc::new(Int64Array::from_iter_values(rows.clone()))),
                ("folder", Arc::new(Int64Array::from_iter_values(rows.map(|n| n % folders)))),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let batches: Vec<RecordBatch> = (0..ROWS / 1000).map(batch).collect();
        let schema = batches[0].schema();
        let rows = futures::stream::iter(batches.into_iter().map(Ok::<_, DataFusionError>));
        let rows = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), rows));
        let format = ParquetWriting { compression: Compression::UNCOMPRESSED, row_group_rows };
        let (table, written) = (Path::from("t"), AtomicU64::new(0));
        let stager = Stager {
            store: &store,
            table: &table,
            folder: Path::from("t/_transload/staging/k/u"),
            in_place: false,
            prefix: "part".to_string(),
            schema,
            partition_by: &[Partition { column: "folder".to_string(), transform: Transform::Identity }],
            writing: &Writing { format: WriteFormat::Parquet(format), file_bytes: 1 << 20 },
            written: &written,
        };
        let memory: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(memory));
        let files = stager.write(rows, &memory).await.unwrap();
        let (rows, bytes) = files.iter().fold((0, 0), |(rows, bytes), (f, _)| (rows + f.rows, bytes + f.bytes));
        assert_eq!((rows, bytes), (ROWS as u64, written.load(Ordering::Relaxed)));
        assert_eq!(memory.reserved(), 0);
        files
    }

    fn row_groups((_, metadata): &Written) -> Vec<i64> {
        metadata.as_ref().unwrap().row_groups().iter().map(|group| group.num_rows()).collect()
    }

    #[tokio::test]
    async fn a_folder_gets_one_file_with_as_large_row_groups_as_there_may_be() {
        for (folders, most, expected) in [(FOLDERS, 1 << 18, vec![500]), (100, 100, vec![100; 7])] {
            let files = staged(folders, most, 1 << 30).await;
            let found: BTreeSet<&str> = files.iter().filter_map(|(f, _)| Some(f.path.split_once('/')?.0)).collect();
            assert_eq!((files.len(), found.len()), (folders as usize, folders as usize));
            assert!(files.iter().all(|file| row_groups(file) == expected), "{:?}", row_groups(&files[0]));
        }
    }

    #[tokio::test]
    async fn without_memory_there_are_more_files_and_no_fewer_rows() {
        let files = staged(FOLDERS, 1 << 18, 1 << 10).await;
        let paths: BTreeSet<&str> = files.iter().map(|(f, _)| f.path.as_str()).collect();
        assert!(files.len() > FOLDERS as usize && paths.len() == files.len(), "{}", files.len());
    }

    #[tokio::test]
    async fn the_same_rows_make_the_same_files() {
        let files = async || staged(FOLDERS, 100, 1 << 30).await.into_iter().map(|(file, _)| file).collect::<Vec<_>>();
        assert_eq!(files().await, files().await);
    }
}
