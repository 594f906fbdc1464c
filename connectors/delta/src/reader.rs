//! Reading single files while a commit is made: those of the table, and those that the commit has staged.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use chrono::DateTime;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use transload_core::connector::Source;
use transload_core::store::Store;
use transload_core::{Error, LogicalType, Pin, Result};
use transload_lake::files::{self, LoggedTable, TableFile, Types};

use crate::log::Column;
use crate::options::Settings;
use crate::source::{Layout, below};
use crate::staged::StagedFile;

/// The columns of keys, batch by batch.
pub(crate) type KeyColumns = BoxStream<'static, Result<Vec<ArrayRef>>>;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 8192;

/// Reads files one by one.
#[derive(Clone)]
pub(crate) struct Reader {
    store: Store,
    settings: Arc<Settings>,
    session: SessionContext,
}

impl Reader {
    /// A reader that takes what it holds out of `memory`.
    pub(crate) fn new(store: &Store, settings: &Arc<Settings>, memory: &Arc<dyn MemoryPool>) -> Result<Self> {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::clone(memory)).build_arc()?;
        let mut config = SessionConfig::new().with_batch_size(BATCH_ROWS);
        config.options_mut().execution.enable_file_stream_work_stealing = false;
        let session = SessionContext::new_with_config_rt(config, runtime);
        Ok(Self { store: store.clone(), settings: Arc::clone(settings), session })
    }

    /// A file, open in the columns of a layout. A column that it does not have is NULL.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if one holds what the table's type may not hold; it may be that reading
    /// the rows tells so.
    pub(crate) async fn open(&self, file: TableFile, layout: &Layout) -> Result<Arc<dyn Source>> {
        // Nobody reads it a second time.
        let pin = Pin::Files(Vec::new());
        let table = LoggedTable {
            files: vec![file],
            columns: &layout.in_files,
            beside: &layout.beside,
            only_present: false,
            // The new file is the table's, so its columns have the table's types.
            types: Types::Log,
            pin,
        };
        files::open(&self.store, table, &self.settings.parquet).await
    }

    /// All rows of a file in some of its columns, in the order of the file.
    pub(crate) async fn rows(
        &self,
        source: &Arc<dyn Source>,
        columns: Vec<usize>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let scan = source.provider()?.scan(&self.session.state(), Some(&columns), &[], None).await?;
        let context = self.session.task_ctx();
        let parts = futures::stream::iter(0..scan.output_partitioning().partition_count());
        let rows = parts.map(move |part| scan.execute(part, Arc::clone(&context))).try_flatten();
        Ok(rows.map_err(Error::from).boxed())
    }

    /// The keys of all rows of a file, in the order of the file.
    pub(crate) async fn keys(&self, file: TableFile, layout: &Layout, key: &[Column]) -> Result<KeyColumns> {
        let path = file.path.to_string();
        let source = self.open(file, layout).await?;
        let schema = source.schema();
        let columns: Vec<usize> = key.iter().map(|c| schema.index_of(&c.name)).collect::<Result<_, _>>()?;
        let forms: Vec<DataType> = key.iter().map(|column| compared_as(&column.ty)).collect();
        let rows = self.rows(&source, columns).await?;
        let keys = rows.map(move |batch| {
            let batch = batch?;
            let columns = batch.columns().iter().zip(&forms).map(|(array, form)| in_form(array, form));
            columns.collect::<Option<Vec<ArrayRef>>>().ok_or_else(|| {
                Error::config("a file holds a column of the key in a form that cannot be compared")
                    .with("path", &path)
                    .hint("rewrite the table with the program that made it, or use `mode: full`")
            })
        });
        Ok(keys.boxed())
    }
}

/// A staged file as one of the table's.
pub(crate) fn staged_file(root: &Path, staged: &StagedFile) -> Result<TableFile> {
    Ok(TableFile {
        path: below(root, &staged.file.path)?,
        size: staged.file.bytes,
        modified: DateTime::default(),
        values: staged.values.iter().map(|(_, value)| value.clone()).collect(),
        rows: Some(staged.file.rows),
        statistics: None,
        deleted: None,
    })
}

/// The layout in which values of a key are compared: the one in which they are read.
fn compared_as(ty: &LogicalType) -> DataType {
    match ty {
        LogicalType::Text => DataType::Utf8View,
        LogicalType::Binary => DataType::BinaryView,
        other => other.to_arrow(),
    }
}

/// Values of a key in that layout, if nothing of them changes.
fn in_form(array: &ArrayRef, form: &DataType) -> Option<ArrayRef> {
    use DataType::Timestamp;
    match (array.data_type(), form) {
        (found, form) if found == form => Some(Arc::clone(array)),
        // UTC has several names.
        (Timestamp(TimeUnit::Microsecond, Some(_)), Timestamp(TimeUnit::Microsecond, Some(zone))) => {
            let times = array.as_primitive::<TimestampMicrosecondType>().clone();
            Some(Arc::new(times.with_timezone(Arc::clone(zone))))
        }
        _ => None,
    }
}

/// Makes bytes of keys: the same of equal ones, and of no others.
pub(crate) fn key_bytes(key: &[Column]) -> Result<RowConverter> {
    Ok(RowConverter::new(key.iter().map(|column| SortField::new(compared_as(&column.ty))).collect())?)
}
