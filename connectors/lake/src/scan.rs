//! A table's files as a query-engine scan: one partition per split, each file read on its own.

use std::fmt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::TaskContext;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::metadata::ParquetMetaData;
use transload_core::Error;

use crate::closed::{ClosedFile, Known, all_of};
use crate::csv::CsvFile;
use crate::json::JsonFile;
use crate::legacy::Reading;
use crate::parquet::{ParquetFile, PinnedObject, PinnedReaders};
use crate::prune;
use crate::rows::BATCH_BYTES;
use crate::typed::TypedPart;

/// Files of a split that are opened at the same time, each with few columns of one row group in memory at most.
const OPENED_AHEAD: usize = 4;

/// A part of a file.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// Some row groups, without the rows at these places of the file.
    Parquet { file: ParquetFile, row_groups: Range<usize>, known: Arc<Known>, deleted: Option<Arc<Vec<u64>>> },
    /// The whole Parquet file, whose footer is read with its rows.
    Closed { file: ClosedFile, known: Arc<Known> },
    /// The whole file.
    Csv(Arc<CsvFile>),
    /// The whole file.
    Json(Arc<JsonFile>),
    /// The whole file, Avro or ORC.
    Typed(Arc<TypedPart>),
}

impl Piece {
    fn object(&self) -> &PinnedObject {
        match self {
            Self::Parquet { file, .. } => &file.object,
            Self::Closed { file, .. } => &file.object,
            Self::Csv(file) => &file.object,
            Self::Json(file) => &file.object,
            Self::Typed(part) => &part.file.object,
        }
    }

    /// Where its file lies.
    pub(crate) fn path(&self) -> &str {
        self.object().meta.location.as_ref()
    }

    /// Bytes of its file.
    pub(crate) fn size(&self) -> u64 {
        self.object().meta.size
    }

    /// Its rows, as its file says before it is read.
    pub(crate) fn stated_rows(&self) -> Option<u64> {
        match self {
            Self::Parquet { file, row_groups, known, deleted } => {
                let rows = |group: usize| u64::try_from(file.metadata.row_group(group).num_rows()).ok();
                let rows: u64 = row_groups.clone().map(rows).sum::<Option<u64>>()?;
                // Whoever wants to know earlier is told how many there will be.
                rows.checked_sub(deleted.as_ref().map_or(known.deleted_rows(), |deleted| deleted.len() as u64))
            }
            Self::Closed { file, known } => file.rows?.checked_sub(known.deleted_rows()),
            Self::Typed(part) => part.file.rows,
            Self::Csv(_) | Self::Json(_) => None,
        }
    }

    /// What is known of its file without opening it.
    pub(crate) fn known(&self) -> Option<&Known> {
        match self {
            Self::Parquet { known, .. } | Self::Closed { known, .. } => Some(known),
            Self::Csv(_) | Self::Json(_) | Self::Typed(_) => None,
        }
    }

    /// The same, opened. `columns` are those of the table that are in files.
    async fn opened(self, columns: SchemaRef) -> DfResult<Self> {
        match self {
            Self::Closed { file, known } => {
                let file = file.open(&columns).await?;
                let deleted = known.deleted_places(&file).await?;
                Ok(Self::Parquet { row_groups: all_of(&file), file, known, deleted })
            }
            Self::Parquet { file, row_groups, known, deleted: None } => {
                let deleted = known.deleted_places(&file).await?;
                Ok(Self::Parquet { file, row_groups, known, deleted })
            }
            open => Ok(open),
        }
    }

    /// What a person calls the format of a file that says how many rows it has; nothing for others.
    fn title(&self) -> Option<&'static str> {
        match self {
            Self::Parquet { .. } | Self::Closed { .. } => Some("Parquet"),
            Self::Typed(part) => part.file.rows.is_some().then(|| part.file.title()),
            Self::Csv(_) | Self::Json(_) => None,
        }
    }
}

/// The files of a table for the query engine.
#[derive(Debug, Clone)]
pub(crate) struct LakeTable {
    /// Columns in files first, then columns in folder names.
    pub(crate) schema: TableSchema,
    /// The pieces of every split.
    pub(crate) splits: Arc<Vec<Vec<Piece>>>,
}

impl LakeTable {
    fn can_judge(&self, filter: &Expr) -> bool {
        prune::can_judge(filter, self.schema.table_schema())
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let judged = |filter: &&Expr| match self.can_judge(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(judged).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let predicate = match conjunction(filters.iter().filter(|filter| self.can_judge(filter)).cloned()) {
            Some(all) => {
                let schema = DFSchema::try_from(self.schema())?;
                Some(state.create_physical_expr(all, &schema)?)
            }
            None => None,
        };
        let splits = match &predicate {
            Some(predicate) => prune::fitting(self, predicate),
            None => Arc::clone(&self.splits),
        };
        let table = Self { schema: self.schema.clone(), splits };
        Ok(Arc::new(LakeScan::new(table, projection.cloned(), predicate)?))
    }
}

/// Reads one split per partition, one file after the other.
#[derive(Debug)]
struct LakeScan {
    table: LakeTable,
    projection: Vec<usize>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
}

impl LakeScan {
    fn new(
        table: LakeTable,
        projection: Option<Vec<usize>>,
        predicate: Option<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Self> {
        let schema = table.schema();
        let projection = projection.unwrap_or_else(|| (0..schema.fields().len()).collect());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(schema.project(&projection)?)),
            Partitioning::UnknownPartitioning(table.splits.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { table, projection, predicate, properties: Arc::new(properties) })
    }

    fn open(&self, piece: &Piece, context: &Arc<TaskContext>) -> DfResult<BoxStream<'static, DfResult<RecordBatch>>> {
        let batch_size = context.session_config().batch_size();
        let (projection, schema) = (&self.projection, self.schema());
        match piece {
            Piece::Csv(file) => CsvFile::stream(Arc::clone(file), projection.clone(), schema, batch_size),
            Piece::Json(file) => JsonFile::stream(Arc::clone(file), projection.clone(), schema, batch_size),
            Piece::Typed(part) => part.stream(projection, schema, batch_size),
            Piece::Closed { .. } => Err(Error::internal("a file was read before it was opened").into()),
            // No row group, no row.
            Piece::Parquet { row_groups, .. } if row_groups.is_empty() => Ok(futures::stream::empty().boxed()),
            Piece::Parquet { file, row_groups, known, deleted } => {
                let mut access = ParquetAccessPlan::new_none(file.metadata.num_row_groups());
                row_groups.clone().for_each(|i| access.scan(i));
                if let Some(deleted) = deleted {
                    without(&mut access, file, deleted);
                }
                let mut part = PartitionedFile::new_from_meta(file.object.meta.clone())
                    .with_partition_values(known.values.clone())
                    .with_extension(file.clone())
                    .with_extension(access);
                if file.is_adjusted {
                    part = part.with_arrow_schema(Arc::clone(&file.schema));
                }
                let reading = file.reading.within(self.table.schema.file_schema());
                // What a predicate says is about values as they are meant, and pages hold them as they are stored.
                let predicate = self.predicate.as_ref().filter(|_| reading.is_as_stored());
                let while_decoding =
                    predicate.is_some() && context.session_config().options().execution.parquet.pushdown_filters;
                let columns = if while_decoding { copied(&self.table.schema) } else { self.table.schema.clone() };
                let mut source = ParquetSource::new(columns).with_parquet_file_reader_factory(Arc::new(PinnedReaders));
                if let Some(predicate) = predicate {
                    source = source.with_predicate(Arc::clone(predicate)).with_pushdown_filters(while_decoding);
                }
                let judged = predicate.map(collect_columns).unwrap_or_default();
                let is_read = |column: &str| {
                    schema.column_with_name(column).is_some() || judged.iter().any(|judged| judged.name() == column)
                };
                // The store behind this url is never asked: the reader factory has its own.
                let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
                    .with_file_groups(vec![FileGroup::new(vec![part])])
                    .with_projection_indices(Some(projection.clone()))?
                    .with_batch_size(Some(batch_rows(&file.metadata, row_groups, &is_read, batch_size)))
                    .with_preserve_order(true)
                    .build();
                let stream = DataSourceExec::from_data_source(config).execute(0, Arc::clone(context))?;
                Ok(match (reading.is_as_stored(), while_decoding) {
                    (false, _) => stream.map(move |b| meant(b, &reading)).boxed(),
                    (true, true) => stream.map(move |b| as_views(&b?, &schema)).boxed(),
                    (true, false) => stream.boxed(),
                })
            }
        }
    }
}

/// Leaves out rows by their places in the file.
fn without(access: &mut ParquetAccessPlan, file: &ParquetFile, deleted: &[u64]) {
    let mut first = 0;
    for (at, group) in file.metadata.row_groups().iter().enumerate() {
        let rows = usize::try_from(group.num_rows()).unwrap_or_default();
        let end = first + rows as u64;
        let own =
            &deleted[deleted.partition_point(|place| *place < first)..deleted.partition_point(|place| *place < end)];
        match own.len() {
            0 => {}
            all if all == rows => access.skip(at),
            _ => access.scan_selection(at, kept(own.iter().map(|place| (place - first) as usize), rows)),
        }
        first = end;
    }
}

/// All of so many rows but some, which come in order.
fn kept(deleted: impl Iterator<Item = usize>, rows: usize) -> RowSelection {
    let mut next = 0;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for place in deleted {
        ranges.push(next..place);
        next = place + 1;
    }
    ranges.push(next..rows);
    RowSelection::from_consecutive_ranges(ranges.into_iter(), rows)
}

/// The rows of a batch as they are meant.
fn meant(batch: DfResult<RecordBatch>, reading: &Reading) -> DfResult<RecordBatch> {
    Ok(reading.apply(&batch?)?)
}

/// The same columns, with text and bytes copied out of the pages they are in. A batch that is filtered while it is
/// decoded can come from a great many pages, and a view of a single value would keep a whole page in memory.
fn copied(schema: &TableSchema) -> TableSchema {
    let plain = |field: &FieldRef| {
        let ty = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            other => other.clone(),
        };
        Arc::new(field.as_ref().clone().with_data_type(ty))
    };
    let in_files = Schema::new(schema.file_schema().fields().iter().map(plain).collect::<Fields>());
    let in_folders = schema.table_partition_cols().iter().cloned().collect::<Fields>();
    TableSchema::builder(Arc::new(in_files)).with_table_partition_cols(in_folders).build()
}

/// The batch in the layout that the scan has promised.
fn as_views(batch: &RecordBatch, schema: &SchemaRef) -> DfResult<RecordBatch> {
    let column = |(array, field): (&ArrayRef, &FieldRef)| -> ArrayRef {
        match (array.data_type(), field.data_type()) {
            (DataType::Utf8, DataType::Utf8View) => Arc::new(StringViewArray::from(array.as_string::<i32>())),
            (DataType::Binary, DataType::BinaryView) => Arc::new(BinaryViewArray::from(array.as_binary::<i32>())),
            _ => Arc::clone(array),
        }
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

impl DisplayAs for LakeScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LakeScan: splits={}", self.table.splits.len())
    }
}

impl ExecutionPlan for LakeScan {
    fn name(&self) -> &str {
        "LakeScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        match &self.predicate {
            Some(predicate) => f(predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let scan = Self::new(self.table.clone(), Some(self.projection.clone()), self.predicate.clone())?;
        let pieces = self.table.splits[partition].clone();
        let columns = Arc::clone(self.table.schema.file_schema());
        // What a predicate rules out is not read, so then nobody knows how many rows there should be.
        let reads_all = self.predicate.is_none();
        let batches = futures::stream::iter(pieces)
            .map(move |piece| piece.opened(Arc::clone(&columns)))
            .buffered(OPENED_AHEAD)
            .map(move |piece| {
                let piece = piece?;
                let batches = scan.open(&piece, &context)?;
                let rows = piece.stated_rows().filter(|_| reads_all);
                Ok::<_, DataFusionError>(guarded(batches, piece, rows))
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// The file boundary: errors get the file's name, a panic inside a reader becomes an error, and so does an end before all
/// `rows` were there, if it is known how many there are.
fn guarded(
    batches: BoxStream<'static, DfResult<RecordBatch>>,
    piece: Piece,
    rows: Option<u64>,
) -> BoxStream<'static, DfResult<RecordBatch>> {
    futures::stream::try_unfold((batches, 0u64), move |(mut batches, seen)| {
        let piece = piece.clone();
        async move {
            let next = AssertUnwindSafe(batches.next()).catch_unwind().await;
            let named = |e: Error| DataFusionError::from(e.with("path", piece.path()));
            match next {
                Ok(Some(Ok(batch))) => {
                    let seen = seen + batch.num_rows() as u64;
                    Ok(Some((batch, (batches, seen))))
                }
                Ok(None) if rows.is_some_and(|rows| rows != seen) => {
                    let title = piece.title().unwrap_or_default();
                    Err(named(Error::config(format!(
                        "the {title} file cannot be read; it is damaged: its pages hold another number of rows than its \
                         footer"
                    ))))
                }
                Ok(None) => Ok(None),
                Ok(Some(Err(error))) => Err(named(readable(error, &piece))),
                Err(_) => Err(named(Error::config("the file is damaged: its reader gave up"))),
            }
        }
    })
    .boxed()
}

/// What the engine says about a file's bytes is about the file, not about the engine.
fn readable(error: DataFusionError, piece: &Piece) -> Error {
    if is_misfit(&error) {
        // The cause names the value.
        return Error::config("the file holds a value that the common type of the table's files does not")
            .hint("read the files as separate tables");
    }
    let own = Error::from(error);
    match (own.kind(), piece.title()) {
        (transload_core::ErrorKind::Internal, Some(title)) => {
            Error::config(format!("the {title} file cannot be read; it is damaged")).because(own)
        }
        _ => own,
    }
}

/// Whether a value of one file did not fit the type that it shares with the others.
fn is_misfit(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::Execution(text) => text.starts_with("Cannot cast "),
        DataFusionError::ArrowError(inner, _) => {
            matches!(**inner, ArrowError::CastError(_) | ArrowError::ArithmeticOverflow(_))
        }
        _ => false,
    }
}

/// How many rows a batch of these row groups may have, `most` at most: what is read of a row can be wide.
fn batch_rows(
    metadata: &ParquetMetaData,
    row_groups: &Range<usize>,
    is_read: &dyn Fn(&str) -> bool,
    most: usize,
) -> usize {
    let widths = metadata.row_groups().get(row_groups.clone()).unwrap_or_default().iter().map(|group| {
        let read = group.columns().iter().filter(|c| c.column_path().parts().first().is_some_and(|name| is_read(name)));
        let bytes: u64 = read.map(|c| c.uncompressed_size().unsigned_abs()).sum();
        usize::try_from(bytes / group.num_rows().unsigned_abs().max(1)).unwrap_or(usize::MAX)
    });
    (BATCH_BYTES / widths.max().unwrap_or_default().max(1)).clamp(1, most.max(1))
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::RowSelector;

    use super::*;

    #[test]
    fn a_batch_of_wide_rows_has_few_of_them() {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..6).map(|i| i.to_string().repeat(3 << 20))));
        let narrow: ArrayRef = Arc::new(StringArray::from(vec!["x"; 6]));
        let batch = RecordBatch::try_from_iter([("text", texts), ("narrow", narrow)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let metadata = writer.finish().unwrap();
        assert_eq!([8192, 2].map(|most| batch_rows(&metadata, &(0..1), &|_| true, most)), [5, 2]);
        assert_eq!(batch_rows(&metadata, &(0..1), &|column| column == "narrow", 8192), 8192);
        assert_eq!(batch_rows(&metadata, &(0..0), &|_| true, 8192), 8192);
    }

    #[test]
    fn rows_that_are_deleted_are_left_out() {
        let (keep, leave) = (RowSelector::select, RowSelector::skip);
        for (deleted, rows, expected) in [
            (vec![0, 1, 5], 6, vec![leave(2), keep(3), leave(1)]),
            (vec![2], 4, vec![keep(2), leave(1), keep(1)]),
            (vec![0, 1], 2, vec![leave(2)]),
            (vec![], 3, vec![keep(3)]),
        ] {
            assert_eq!(kept(deleted.clone().into_iter(), rows), RowSelection::from(expected), "{deleted:?}");
        }
    }
}
