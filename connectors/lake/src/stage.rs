//! Writing Parquet files where no reader looks.
//!
//! Where the bytes of a file go until it is published, `outgoing.rs` knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use transload_core::connector::{Partition, Transform};
use transload_core::store::{Store, Upload};
use transload_core::{Error, Result, fault};

use crate::layout::Router;
use crate::options::ParquetSettings;
use crate::outgoing::{Outgoing, Whole};
use crate::staging;

/// Rows that are sorted into folders at a time.
const ROUTED_ROWS: usize = 1 << 16;
/// Bytes of memory that rows for this may take, however few they are.
const ROUTED_BYTES: usize = 64 << 20;
/// Files one unit of work keeps open.
const OPEN_FILES: usize = 128;
/// Files that are waited for at the same time in the end.
const FILES_AT_ONCE: usize = 8;

/// A staged file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagedFile {
    /// Where it is, or the note about its upload, below the url.
    pub(crate) staged: String,
    /// Where it belongs, below the table's folder.
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// What completes it, if it is an upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<Upload>,
}

/// Writes the files of one unit of work.
pub(crate) struct Stager<'a> {
    pub(crate) store: &'a Store,
    /// The table's folder.
    pub(crate) table: &'a Path,
    /// The folder for this unit's staged files.
    pub(crate) folder: Path,
    /// Beginning of the files' names.
    pub(crate) prefix: String,
    pub(crate) schema: SchemaRef,
    pub(crate) partition_by: &'a [Partition],
    pub(crate) settings: &'a ParquetSettings,
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
    ) -> Result<Vec<StagedFile>> {
        let (file_schema, kept) = file_schema(&self.schema, self.partition_by);
        let reservation = MemoryConsumer::new("parquet writers").register(memory);
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

    fn properties(&self) -> WriterProperties {
        WriterProperties::builder()
            .set_compression(self.settings.compression)
            .set_max_row_group_row_count(Some(self.settings.row_group_rows))
            .set_created_by(concat!("transload ", env!("CARGO_PKG_VERSION")).to_string())
            .build()
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
    done: Vec<StagedFile>,
}

struct Writer {
    parquet: ArrowWriter<Outgoing>,
    staged: Path,
    /// Where it belongs, below the table's folder.
    path: String,
    rows: u64,
}

/// A file to which nothing is added any more.
struct Ended {
    out: Outgoing,
    staged: Path,
    path: String,
    rows: u64,
}

impl Writer {
    fn memory(&self) -> usize {
        self.parquet.memory_size() + self.parquet.inner().memory()
    }

    /// Writes what stands at the end of a file.
    fn end(self) -> Result<Ended> {
        let Self { mut parquet, staged, path, rows } = self;
        parquet.finish().map_err(unwritable)?;
        Ok(Ended { out: parquet.inner_mut().release(), staged, path, rows })
    }
}

impl Ended {
    /// Waits until everything of it has arrived.
    async fn arrive(mut self) -> Result<StagedFile> {
        let Whole { bytes, upload } = self.out.finish().await?;
        let Self { staged, path, rows, .. } = self;
        tracing::debug!(file = %staged, rows, bytes, "staged a file");
        Ok(StagedFile { staged: staged.to_string(), path, rows, bytes, upload })
    }
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
        writer.parquet.write(batch).map_err(unwritable)?;
        writer.rows += batch.num_rows() as u64;
        writer.parquet.inner_mut().settle().await?;
        let size = writer.parquet.bytes_written() + writer.parquet.in_progress_size();
        if size as u64 >= self.stager.settings.file_bytes {
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
        self.open.values().map(Writer::memory).sum()
    }

    fn create(&self, folder: &str) -> Result<Writer> {
        let number = self.done.len() + self.open.len();
        let name = format!("{}-{number}.parquet", self.stager.prefix);
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let staged = staging::place(self.stager.store, &self.stager.folder, number);
        let file = Outgoing::begin(self.stager.store, &staged, self.stager.table, &path)?;
        let properties = Some(self.stager.properties());
        let parquet = ArrowWriter::try_new(file, Arc::clone(&self.schema), properties).map_err(unwritable)?;
        Ok(Writer { parquet, staged, path, rows: 0 })
    }

    async fn close_largest(&mut self) -> Result<()> {
        let largest = self.open.iter().max_by_key(|(_, w)| w.memory()).map(|(folder, _)| folder.clone());
        match largest {
            Some(folder) => self.close(&folder).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self, folder: &str) -> Result<()> {
        let Some(writer) = self.open.remove(folder) else { return Ok(()) };
        self.done.push(writer.end()?.arrive().await?);
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<StagedFile>> {
        let ended: Vec<Ended> = std::mem::take(&mut self.open).into_values().map(Writer::end).collect::<Result<_>>()?;
        let arriving = futures::stream::iter(ended.into_iter().map(Ended::arrive)).buffered(FILES_AT_ONCE);
        self.done.extend(arriving.try_collect::<Vec<StagedFile>>().await?);
        if !self.done.is_empty() {
            self.stager.store.sync(&self.stager.folder)?;
        }
        fault::point("stage.written")?;
        Ok(self.done)
    }
}

/// Writes one file without rows, so that other readers find the columns.
pub(crate) async fn write_empty(stager: &Stager<'_>) -> Result<StagedFile> {
    let (schema, _) = file_schema(&stager.schema, &[]);
    let reservation = MemoryConsumer::new("empty file").register(
        &(Arc::new(datafusion::execution::memory_pool::UnboundedMemoryPool::default()) as Arc<dyn MemoryPool>),
    );
    let mut writers = Writers { stager, schema, reservation, open: BTreeMap::new(), done: Vec::new() };
    let writer = writers.create("")?;
    writers.open.insert(String::new(), writer);
    let mut files = writers.finish().await?;
    files.pop().ok_or_else(|| Error::internal("an empty file was not written"))
}

fn unwritable(error: parquet::errors::ParquetError) -> Error {
    if let parquet::errors::ParquetError::External(inner) = error {
        return match inner.downcast::<std::io::Error>() {
            Ok(io) => Error::from(*io),
            Err(other) => Error::internal("a Parquet file cannot be written").because(other),
        };
    }
    Error::internal("a Parquet file cannot be written").because(error)
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
