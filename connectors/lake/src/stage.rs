//! Writing files where no reader looks.
//!
//! A file is written on this machine. In a local lake that is its place already; for a bucket it is a temporary file,
//! which is sent when it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::StreamExt;
use object_store::path::Path;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::file::metadata::ParquetMetaData;
use serde::{Deserialize, Serialize};
use transload_core::connector::{Partition, Transform};
use transload_core::store::Store;
use transload_core::{Error, Result, fault};

use crate::layout::Router;
use crate::listing::below;
use crate::settings::{WriteFormat, Writing};
use crate::writer::OpenFile;

/// Rows that are sorted into folders at a time.
const ROUTED_ROWS: usize = 1 << 16;
/// Bytes of memory that rows for this may take, however few they are.
const ROUTED_BYTES: usize = 64 << 20;
/// Files one unit of work keeps open.
const OPEN_FILES: usize = 128;

/// A staged file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagedFile {
    /// Where it is, below the url.
    pub(crate) staged: String,
    /// Where it belongs, below the table's folder.
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// A staged file, with its footer if it is Parquet.
pub(crate) type WrittenFile = (StagedFile, Option<ParquetMetaData>);

/// Where a unit's files are written.
pub(crate) enum Place {
    /// In a folder of their own, to be moved.
    Aside(Path),
    /// Where they belong, below the table's folder: readers go by a list and do not look for files.
    Final(Path),
}

/// Writes the files of one unit of work.
pub(crate) struct Stager<'a> {
    pub(crate) store: &'a Store,
    pub(crate) place: Place,
    /// Beginning of the files' names.
    pub(crate) prefix: String,
    pub(crate) schema: SchemaRef,
    pub(crate) partition_by: &'a [Partition],
    pub(crate) writing: &'a Writing,
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
    ) -> Result<Vec<WrittenFile>> {
        let (file_schema, kept) = file_schema(&self.schema, self.partition_by);
        let reservation = MemoryConsumer::new("file writers").register(memory);
        let mut writers =
            Writers { stager: self, schema: file_schema, reservation, open: BTreeMap::new(), done: Vec::new() };
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
    done: Vec<WrittenFile>,
}

struct Writer {
    file: OpenFile,
    staged: Path,
    /// Where it belongs, below the table's folder.
    path: String,
    rows: u64,
}

impl Writers<'_> {
    async fn write(&mut self, folder: &str, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if !self.open.contains_key(folder) {
            if self.open.len() >= OPEN_FILES {
                self.close_largest().await?;
            }
            let writer = self.create(folder)?;
            self.open.insert(folder.to_string(), writer);
        }
        let Some(writer) = self.open.get_mut(folder) else { return Ok(()) };
        // The writer goes by its own fields, which differ from the batch's in ids and text layout only.
        writer.file.write(batch)?;
        writer.rows += batch.num_rows() as u64;
        if writer.file.size() >= self.stager.writing.file_bytes {
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

    fn create(&self, folder: &str) -> Result<Writer> {
        let number = self.done.len() + self.open.len();
        let name = format!("{}-{number}.{}", self.stager.prefix, self.stager.writing.ending());
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let staged = match &self.stager.place {
            Place::Aside(aside) => aside.clone().join(format!("{number}.staged")),
            Place::Final(table) => below(table, &path)?,
        };
        let file = self.stager.store.begin_file(&staged)?;
        let file = OpenFile::new(file, &path, &self.schema, &self.stager.writing.format)?;
        Ok(Writer { file, staged, path, rows: 0 })
    }

    async fn close_largest(&mut self) -> Result<()> {
        let largest = self.open.iter().max_by_key(|(_, w)| w.file.memory()).map(|(folder, _)| folder.clone());
        match largest {
            Some(folder) => self.close(&folder).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self, folder: &str) -> Result<()> {
        let Some(Writer { file, staged, path, rows }) = self.open.remove(folder) else { return Ok(()) };
        let (file, metadata) = file.finish()?;
        let bytes = self.stager.store.finish_file(&staged, file).await?;
        tracing::debug!(file = %staged, rows, bytes, "staged a file");
        self.done.push((StagedFile { staged: staged.to_string(), path, rows, bytes }, metadata));
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<WrittenFile>> {
        let folders: Vec<String> = self.open.keys().cloned().collect();
        for folder in folders {
            self.close(&folder).await?;
        }
        self.sync()?;
        fault::point("stage.written")?;
        Ok(self.done)
    }
}

impl Writers<'_> {
    /// Makes the names of the files survive a power cut.
    fn sync(&self) -> Result<()> {
        match &self.stager.place {
            Place::Aside(folder) if !self.done.is_empty() => self.stager.store.sync(folder),
            Place::Aside(_) => Ok(()),
            Place::Final(table) => {
                let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_string();
                let folders: BTreeSet<String> = self.done.iter().map(|(file, _)| folder(&file.path)).collect();
                folders.iter().try_for_each(|folder| self.stager.store.sync(&below(table, folder)?))
            }
        }
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
    let mut writers = Writers { stager, schema, reservation, open: BTreeMap::new(), done: Vec::new() };
    let writer = writers.create("")?;
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
