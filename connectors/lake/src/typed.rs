//! Files other than Parquet that say themselves what types their columns have: Avro and ORC.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Fields, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::physical_expr_adapter::BatchAdapterFactory;
use futures::StreamExt;
use futures::stream::BoxStream;
use transload_core::Result;

use crate::options::LegacyCalendar;
use crate::parquet::PinnedObject;
use crate::{avro, orc};

/// A file whose schema has been read.
#[derive(Debug)]
pub(crate) struct TypedFile {
    pub(crate) object: PinnedObject,
    /// Its own columns.
    pub(crate) schema: SchemaRef,
    /// The number of its rows, if the file says it.
    pub(crate) rows: Option<u64>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Avro(Arc<avro::Header>),
    Orc(orc::Footer),
}

/// A file as part of a table.
#[derive(Debug)]
pub(crate) struct TypedPart {
    pub(crate) file: TypedFile,
    /// The table's columns that are in files; those in folders are behind them.
    pub(crate) in_files: SchemaRef,
    /// The values of the columns in folders.
    pub(crate) folders: Vec<ScalarValue>,
}

impl TypedFile {
    /// Reads the header of an Avro file.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if it is damaged, or no column can hold its values.
    pub(crate) async fn avro(object: PinnedObject) -> Result<Self> {
        let (header, schema) = avro::open(object.clone()).await?;
        Ok(Self { object, schema, rows: None, kind: Kind::Avro(Arc::new(header)) })
    }

    /// Reads the footer of an ORC file, and its timestamps.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if it is damaged, or no column can hold its values.
    pub(crate) async fn orc(object: PinnedObject, calendar: LegacyCalendar) -> Result<Self> {
        let footer = orc::open(object.clone(), calendar).await?;
        Ok(Self { object, schema: Arc::clone(footer.schema()), rows: Some(footer.rows()), kind: Kind::Orc(footer) })
    }

    /// What a person calls its format.
    pub(crate) fn title(&self) -> &'static str {
        match self.kind {
            Kind::Avro(_) => "Avro",
            Kind::Orc(_) => "ORC",
        }
    }

    /// The rows, with the columns `wanted` of those that the file has, in its order. `schema` names them.
    fn rows(
        &self,
        wanted: Vec<usize>,
        schema: SchemaRef,
        batch_size: usize,
    ) -> BoxStream<'static, DfResult<RecordBatch>> {
        match &self.kind {
            Kind::Avro(header) => avro::rows(self.object.clone(), Arc::clone(header), wanted, schema, batch_size),
            Kind::Orc(footer) => orc::rows(self.object.clone(), footer, &wanted, schema, batch_size),
        }
    }
}

impl TypedPart {
    /// The rows in the columns of the table, projected to `schema`.
    pub(crate) fn stream(
        &self,
        projection: &[usize],
        schema: SchemaRef,
        batch_size: usize,
    ) -> DfResult<BoxStream<'static, DfResult<RecordBatch>>> {
        let files = self.in_files.fields();
        let asked: Fields = projection.iter().filter_map(|at| files.get(*at)).cloned().collect();
        let own = self.file.schema.fields().iter().enumerate();
        let wanted = own.filter(|(_, field)| asked.iter().any(|asked| asked.name() == field.name()));
        let wanted: Vec<usize> = wanted.map(|(at, _)| at).collect();
        let found = Arc::new(self.file.schema.project(&wanted)?);
        // What a file lacks is NULL, and what is narrower there than in the table is widened, as for Parquet.
        let adapter = BatchAdapterFactory::new(Arc::new(Schema::new(asked))).make_adapter(&found)?;
        let folders: Vec<Option<ScalarValue>> = projection
            .iter()
            .map(|at| at.checked_sub(files.len()).and_then(|at| self.folders.get(at)).cloned())
            .collect();
        let batches = self.file.rows(wanted, found, batch_size);
        Ok(batches
            .map(move |batch| -> DfResult<RecordBatch> {
                let batch = batch?;
                let rows = batch.num_rows();
                let adapted = adapter.adapt_batch(&batch)?;
                let mut in_files = adapted.columns().iter();
                let mut columns: Vec<ArrayRef> = Vec::with_capacity(folders.len());
                for folder in &folders {
                    match folder {
                        Some(value) => columns.push(value.to_array_of_size(rows)?),
                        None => columns.extend(in_files.next().cloned()),
                    }
                }
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
            })
            .boxed())
    }
}
