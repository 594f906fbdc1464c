//! Writing files where no reader looks.
//!
//! Where the bytes of a file go until it is published, `outgoing.rs` knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::file::metadata::ParquetMetaData;
use serde::{Deserialize, Serialize};
use transload_core::connector::{Partition, Transform};
use transload_core::store::{Store, Upload};
use transload_core::{Error, Result, fault};

use crate::layout::Router;
use crate::listing::below;
use crate::outgoing::{Outgoing, Whole};
use crate::settings::{WriteFormat, Writing};
use crate::staging;
use crate::writer::OpenFile;

/// Rows that are sorted into folders at a time.
const ROUTED_ROWS: usize = 1 << 16;
/// Bytes of memory that rows for this may take, however few they are.
const ROUTED_BYTES: usize = 64 << 20;
/// Files one unit of work keeps open.
const OPEN_FILES: usize = 128;
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

/// Bytes that one unit of work has written, as far as a watcher is told. What is not kept is taken back.
struct Growth<'a> {
    written: &'a AtomicU64,
    bytes: u64,
}

impl Growth<'_> {
    /// A file had this size and now has that one. It may be smaller, as pages are compressed late.
    fn grown(&mut self, from: u64, to: u64) {
        let more = to.wrapping_sub(from);
        self.bytes = self.bytes.wrapping_add(more);
        self.written.fetch_add(more, Ordering::Relaxed);
    }

    fn keep(&mut self) {
        self.bytes = 0;
    }
}

impl Drop for Growth<'_> {
    fn drop(&mut self) {
        self.written.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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
            if waiting.is_full() || (ended && waiting.rows > 0) {
                let waiting = std::mem::take(&mut waiting).batches;
                let mut folders: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
                for (b, batch) in waiting.iter().enumerate() {
                    for (row, folder) in router.route(batch)?.into_iter().enumerate() {
                        folders.entry(folder).or_default().push((b, row));
                    }
                }
                let projected: Vec<RecordBatch> = waiting.iter().map(|b| b.project(&kept)).collect::<Result<_, _>>()?;
                let projected: Vec<&RecordBatch> = projected.iter().collect();
                for (folder, places) in folders {
                    let batch = interleave_record_batch(&projected, &places)?;
                    writers.write(router.name(folder), &batch).await?;
                }
            }
            if ended {
                return writers.finish().await;
            }
        }
    }
}

/// Rows that wait to be sorted into folders.
#[derive(Default)]
struct Waiting {
    batches: Vec<RecordBatch>,
    rows: usize,
    memory: RecordBatchMemoryCounter,
}

impl Waiting {
    fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.memory.count_batch(&batch);
        self.batches.push(batch);
    }

    fn is_full(&self) -> bool {
        self.rows >= ROUTED_ROWS || self.memory.memory_usage() >= ROUTED_BYTES
    }
}

struct Writers<'a> {
    stager: &'a Stager<'a>,
    schema: SchemaRef,
    reservation: MemoryReservation,
    /// By folder.
    open: BTreeMap<String, Writer>,
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
        let Self { file, staged, path, rows, bytes } = self;
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
        let growth = Growth { written: stager.written, bytes: 0 };
        Self { stager, schema, reservation, open: BTreeMap::new(), done: Vec::new(), growth }
    }

    async fn write(&mut self, folder: &str, batch: &RecordBatch) -> Result<()> {
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
        writer.file.settle().await?;
        let size = writer.file.size();
        self.growth.grown(std::mem::replace(&mut writer.bytes, size), size);
        if size >= self.stager.writing.file_bytes {
            self.close(folder).await?;
        }
        while self.reservation.try_resize(self.memory()).is_err() {
            if self.open.len() <= 1 {
                // One open file is the least there can be.
                self.reservation.resize(self.memory());
                break;
            }
            self.close_largest().await?;
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        self.open.values().map(|w| w.file.memory()).sum()
    }

    fn create(&self, folder: &str, first: Option<&RecordBatch>) -> Result<Writer> {
        let number = self.done.len() + self.open.len();
        let name = format!("{}-{number}.{}", self.stager.prefix, self.stager.writing.ending());
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let staged = match self.stager.in_place && self.stager.store.is_local() {
            true => below(self.stager.table, &path)?,
            false => staging::place(self.stager.store, &self.stager.folder, number),
        };
        let out = Outgoing::begin(self.stager.store, &staged, self.stager.table, &path)?;
        let file = OpenFile::new(out, &path, &self.schema, &self.stager.writing.format, first)?;
        Ok(Writer { file, staged, path, rows: 0, bytes: 0 })
    }

    async fn close_largest(&mut self) -> Result<()> {
        let largest = self.open.iter().max_by_key(|(_, w)| w.file.memory()).map(|(folder, _)| folder.clone());
        match largest {
            Some(folder) => self.close(&folder).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self, folder: &str) -> Result<()> {
        let Some(writer) = self.open.remove(folder) else { return Ok(()) };
        let (written, told) = writer.end()?.arrive().await?;
        self.arrived(written, told);
        Ok(())
    }

    fn arrived(&mut self, written: Written, told: u64) {
        self.growth.grown(told, written.0.bytes);
        self.done.push(written);
    }

    async fn finish(mut self) -> Result<Vec<Written>> {
        let ended: Vec<Ended> = std::mem::take(&mut self.open).into_values().map(Writer::end).collect::<Result<_>>()?;
        let mut arriving = futures::stream::iter(ended.into_iter().map(Ended::arrive)).buffered(FILES_AT_ONCE);
        while let Some((written, told)) = arriving.try_next().await? {
            self.arrived(written, told);
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
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("c", column)]).unwrap()
    }

    #[test]
    fn what_is_not_kept_is_taken_back() {
        let written = AtomicU64::new(7);
        let growth = || Growth { written: &written, bytes: 0 };
        let (mut kept, mut lost) = (growth(), growth());
        kept.grown(0, 100);
        lost.grown(0, 1000);
        assert_eq!(written.load(Ordering::Relaxed), 1107);
        kept.grown(100, 60);
        lost.grown(1000, 20);
        assert_eq!(written.load(Ordering::Relaxed), 87);
        kept.keep();
        drop((kept, lost));
        assert_eq!(written.load(Ordering::Relaxed), 67);
    }

    #[test]
    fn few_rows_wait_if_they_are_wide() {
        let mut narrow = Waiting::default();
        narrow.push(batch(Arc::new(Int64Array::from_iter_values(0..ROUTED_ROWS as i64 - 1))));
        assert!(!narrow.is_full());
        narrow.push(batch(Arc::new(Int64Array::from(vec![1]))));
        assert!(narrow.is_full());

        let text = "x".repeat(ROUTED_BYTES / 2);
        let mut wide = Waiting::default();
        let half = batch(Arc::new(StringArray::from(vec![text.as_str()])));
        wide.push(half.clone());
        wide.push(half);
        // The same memory twice is no more memory.
        assert!(!wide.is_full());
        wide.push(batch(Arc::new(StringArray::from(vec![text.as_str()]))));
        assert!(wide.is_full());
        assert_eq!((wide.rows, wide.batches.len()), (3, 3));
    }
}
