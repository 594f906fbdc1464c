//! Reading Parquet files exactly as they were pinned.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::{GetOptions, GetRange, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, coalesce_ranges};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use transload_core::{Error, Result};

use crate::legacy::Reading;
use crate::pages::Chunks;

/// More rows, in all row groups together, than any file has.
const MOST_ROWS: u64 = 1 << 48;

/// Reads of one object, each on the condition that the object is still the one that was pinned.
#[derive(Debug, Clone)]
pub(crate) struct PinnedObject {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) meta: ObjectMeta,
}

impl PinnedObject {
    pub(crate) async fn read(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        let options = GetOptions {
            if_match: self.meta.e_tag.clone(),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        self.store.get_opts(&self.meta.location, options).await?.bytes().await
    }
}

/// A Parquet file whose footer has been read.
#[derive(Debug, Clone)]
pub(crate) struct ParquetFile {
    pub(crate) object: PinnedObject,
    pub(crate) metadata: Arc<ParquetMetaData>,
    pub(crate) schema: SchemaRef,
    /// Whether `schema` is another one than the footer alone would give.
    pub(crate) is_adjusted: bool,
    /// How values are read that are not meant as they are stored.
    pub(crate) reading: Arc<Reading>,
}

impl ParquetFile {
    /// Reads the footer.
    pub(crate) async fn open(object: PinnedObject) -> Result<Self> {
        let name = object.meta.location.to_string();
        let unreadable = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::config("the Parquet file cannot be read; it is damaged or not Parquet").because(e)
        };
        let work = async {
            let mut reader = Reader::new(object.clone(), None);
            let metadata = reader.get_metadata(None).await.map_err(|e| match e {
                ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
                    Ok(store) => Error::from(*store),
                    Err(other) => unreadable(other),
                },
                other => unreadable(Box::new(other)),
            })?;
            counts_are_possible(&metadata, object.meta.size)?;
            let arrow = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new())
                .map_err(|e| unreadable(Box::new(e)))?;
            names_are_unique(arrow.schema())?;
            Ok(Self {
                object: object.clone(),
                metadata,
                schema: Arc::clone(arrow.schema()),
                is_adjusted: false,
                reading: Arc::default(),
            })
        };
        // Damaged footers can panic inside the reader.
        let result = std::panic::AssertUnwindSafe(work).catch_unwind().await;
        result
            .unwrap_or_else(|_| Err(Error::config("the Parquet file cannot be read; it is damaged")))
            .map_err(|e| e.with("path", name))
    }

    /// All rows of some of its columns, which are named by their places and come in their order, as they are meant.
    ///
    /// # Errors
    /// As reading fails.
    pub(crate) fn columns(
        &self,
        columns: impl IntoIterator<Item = usize>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let unreadable = |e: ParquetError| Error::from(DataFusionError::from(e));
        let options = match self.is_adjusted {
            true => ArrowReaderOptions::new().with_schema(Arc::clone(&self.schema)),
            false => ArrowReaderOptions::new(),
        };
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(&self.metadata), options).map_err(unreadable)?;
        let columns = ProjectionMask::roots(self.metadata.file_metadata().schema_descr(), columns);
        let reader = Reader::new(self.object.clone(), Some(Arc::clone(&self.metadata)));
        let rows = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata).with_projection(columns);
        let reading = Arc::clone(&self.reading);
        let meant = move |batch: parquet::errors::Result<RecordBatch>| reading.apply(&batch.map_err(unreadable)?);
        Ok(rows.build().map_err(unreadable)?.map(meant).boxed())
    }
}

/// Refuses a footer whose numbers cannot be: they are added up and used as places in the file.
fn counts_are_possible(metadata: &ParquetMetaData, size: u64) -> Result<()> {
    let row_groups = metadata.row_groups();
    let rows = row_groups.iter().map(|g| g.num_rows());
    let mut chunks = row_groups.iter().flat_map(|g| g.columns());
    let lies_inside = |chunk: &ColumnChunkMetaData| {
        let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        let end = start.checked_add(chunk.compressed_size()).and_then(|end| u64::try_from(end).ok());
        start >= 0 && chunk.compressed_size() >= 0 && end.is_some_and(|end| end <= size)
    };
    let damaged = |how: &str| Err(Error::config(format!("the Parquet file cannot be read; it is damaged: {how}")));
    let sum = rows.map(|n| u64::try_from(n).ok()).try_fold(0, |sum, n| Some(n? + sum).filter(|n| *n <= MOST_ROWS));
    let all_inside = chunks.all(lies_inside);
    match sum {
        Some(rows) if all_inside => match u64::try_from(metadata.file_metadata().num_rows()) {
            Ok(all) if all == rows => Ok(()),
            _ => damaged("its footer has another number of rows than its row groups together"),
        },
        _ => damaged("its footer holds a number that cannot be"),
    }
}

/// Refuses a file with two columns of one name: readers that go by names would lose one of them.
pub(crate) fn names_are_unique(schema: &Schema) -> Result<()> {
    let mut seen = HashSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name())) {
        Some(twice) => Err(Error::config(format!("the file has two columns named `{}`", twice.name()))
            .hint("rename one of them in the source")),
        None => Ok(()),
    }
}

/// Hands a file's footer to the query engine along with the file.
#[derive(Debug)]
pub(crate) struct PinnedReaders;

impl ParquetFileReaderFactory for PinnedReaders {
    fn create_reader(
        &self,
        _: usize,
        file: PartitionedFile,
        _: Option<usize>,
        _: &ExecutionPlanMetricsSet,
    ) -> datafusion::error::Result<Box<dyn AsyncFileReader + Send>> {
        let file = file
            .extension::<ParquetFile>()
            .ok_or_else(|| Error::internal("a file reached the scan without its footer"))?
            .clone();
        Ok(Box::new(Reader::new(file.object, Some(file.metadata))))
    }
}

struct Reader {
    object: PinnedObject,
    metadata: Option<Arc<ParquetMetaData>>,
    /// What the metadata says of places, once it is asked.
    chunks: Option<Chunks>,
}

impl Reader {
    fn new(object: PinnedObject, metadata: Option<Arc<ParquetMetaData>>) -> Self {
        Self { object, metadata, chunks: None }
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.object.read(range).await.map_err(|e| ParquetError::External(Box::new(e))) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            let read = coalesce_ranges(&ranges, |range| self.object.read(range), OBJECT_STORE_COALESCE_DEFAULT)
                .await
                .map_err(|e: object_store::Error| ParquetError::External(Box::new(e)))?;
            if let Some(metadata) = &self.metadata {
                let chunks = self.chunks.get_or_insert_with(|| Chunks::of(metadata));
                for (range, bytes) in ranges.iter().zip(&read) {
                    chunks.check(metadata, range, bytes).map_err(|e| ParquetError::External(Box::new(e)))?;
                }
            }
            Ok(read)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            if let Some(metadata) = &self.metadata {
                return Ok(Arc::clone(metadata));
            }
            let size = self.object.meta.size;
            let metadata = ParquetMetaDataReader::new()
                .with_page_index_policy(PageIndexPolicy::Skip)
                .with_prefetch_hint(Some(64 << 10))
                .load_and_finish(self, size)
                .await?;
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}

/// Text and bytes are read as views, which need no copy.
pub(crate) fn read_as(field: &Field) -> FieldRef {
    let ty = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| key.starts_with("ARROW:extension"));
    Arc::new(Field::new(field.name(), ty, field.is_nullable()).with_metadata(metadata))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStoreExt, PutPayload};
    use parquet::arrow::ArrowWriter;

    use super::*;

    /// A file with two columns of these names.
    async fn file(names: [&str; 2]) -> Result<ParquetFile> {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch =
            RecordBatch::try_new(Arc::new(Schema::new(names.map(field).to_vec())), vec![Arc::clone(&column), column]);
        let batch = batch.unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t.parquet");
        store.put(&path, PutPayload::from(writer.into_inner().unwrap())).await.unwrap();
        let meta = store.head(&path).await.unwrap();
        ParquetFile::open(PinnedObject { store, meta }).await
    }

    #[tokio::test]
    async fn a_file_with_two_columns_of_one_name_is_refused() {
        file(["a", "A"]).await.unwrap();
        let error = file(["a", "a"]).await.unwrap_err();
        assert_eq!(error.to_string(), "the file has two columns named `a` (path t.parquet)");
    }

    #[tokio::test]
    async fn a_footer_with_a_number_that_cannot_be_is_refused() {
        let file = file(["a", "b"]).await.unwrap();
        let (good, size) = (file.metadata.as_ref(), file.object.meta.size);
        counts_are_possible(good, size).unwrap();
        counts_are_possible(good, 10).unwrap_err();
        for rows in [-1, i64::MIN, i64::MAX, 1 << 49] {
            let group = good.row_group(0).clone().into_builder().set_num_rows(rows).build().unwrap();
            let bad = good.clone().into_builder().set_row_groups(vec![group]).build();
            counts_are_possible(&bad, size).unwrap_err();
        }
        for rows in [0, 2, 4] {
            let group = good.row_group(0).clone().into_builder().set_num_rows(rows).build().unwrap();
            let bad = good.clone().into_builder().set_row_groups(vec![group]).build();
            let error = counts_are_possible(&bad, size).unwrap_err();
            assert!(error.to_string().contains("another number of rows than its row groups"), "{rows}: {error}");
        }
        for bytes in [-1, i64::MIN, i64::MAX] {
            let chunk = good.row_group(0).column(0).clone().into_builder();
            let chunk = chunk.set_total_compressed_size(bytes).build().unwrap();
            let columns = vec![chunk, good.row_group(0).column(1).clone()];
            let group = good.row_group(0).clone().into_builder().set_column_metadata(columns).build().unwrap();
            let bad = good.clone().into_builder().set_row_groups(vec![group]).build();
            counts_are_possible(&bad, size).unwrap_err();
        }
    }
}
