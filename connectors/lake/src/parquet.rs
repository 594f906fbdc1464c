//! Reading Parquet files exactly as they were pinned.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{GetOptions, GetRange, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, coalesce_ranges};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use transload_core::{Error, Result};

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
}

impl ParquetFile {
    /// Reads the footer.
    pub(crate) async fn open(object: PinnedObject) -> Result<Self> {
        let name = object.meta.location.to_string();
        let unreadable = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::config("the Parquet file cannot be read; it is damaged or not Parquet").because(e)
        };
        let work = async {
            let mut reader = Reader { object: object.clone(), metadata: None };
            let metadata = reader.get_metadata(None).await.map_err(|e| match e {
                ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
                    Ok(store) => Error::from(*store),
                    Err(other) => unreadable(other),
                },
                other => unreadable(Box::new(other)),
            })?;
            let arrow = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new())
                .map_err(|e| unreadable(Box::new(e)))?;
            Ok(Self { object: object.clone(), metadata, schema: Arc::clone(arrow.schema()) })
        };
        // Damaged footers can panic inside the reader.
        let result = std::panic::AssertUnwindSafe(work).catch_unwind().await;
        result
            .unwrap_or_else(|_| Err(Error::config("the Parquet file cannot be read; it is damaged")))
            .map_err(|e| e.with("path", name))
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
        Ok(Box::new(Reader { object: file.object, metadata: Some(file.metadata) }))
    }
}

struct Reader {
    object: PinnedObject,
    metadata: Option<Arc<ParquetMetaData>>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.object.read(range).await.map_err(|e| ParquetError::External(Box::new(e))) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            coalesce_ranges(&ranges, |range| self.object.read(range), OBJECT_STORE_COALESCE_DEFAULT)
                .await
                .map_err(|e: object_store::Error| ParquetError::External(Box::new(e)))
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
