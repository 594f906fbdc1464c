//! A quarantine as the source that its rows came from.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, UInt64Type};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use transload_coerce::{Cast, Rulebook};
use transload_core::connector::{
    DECLARED_TYPE, Endpoint, FAULT_COLUMN, ORIGIN_COLUMN, ReadSpec, Sink, Source, WriteSpec, hidden,
};
use transload_core::{Error, LogicalType, Pin, Problem, Result, Split, TableName};

use crate::plan::SourceColumn;
use crate::quarantine::{AsideNames, LINE_CODE, is_kept, is_value, origin_type, rules_type};
use crate::replay::patch::{Patch, Values};

/// The quarantines that a replay reads, as one endpoint.
pub struct ReplayEndpoint {
    /// The tables.
    pub tables: Vec<ReplayTable>,
    /// By which texts of patches are read.
    pub rulebook: Arc<Rulebook>,
}

/// One of them.
pub struct ReplayTable {
    /// Its name in the quarantine.
    pub name: TableName,
    /// Where it is.
    pub quarantine: Arc<dyn Endpoint>,
    /// The columns it is read with.
    pub columns: Vec<SourceColumn>,
    /// Values that are put in.
    pub patch: Option<Patch>,
}

#[async_trait]
impl Endpoint for ReplayEndpoint {
    fn check_name(&self, table: &TableName) -> Result<(), String> {
        match self.tables.iter().any(|t| t.name == *table) {
            true => Ok(()),
            false => Err(format!("`{table}` is not replayed")),
        }
    }

    fn check_write(&self, _: &WriteSpec) -> Result<(), String> {
        Err("a quarantine can only be read".to_string())
    }

    fn check_read(&self) -> Vec<Problem> {
        Vec::new()
    }

    fn together(self: Arc<Self>) -> Arc<dyn Endpoint> {
        self
    }

    fn known_tables(&self) -> Option<Vec<TableName>> {
        let mut names: Vec<TableName> = self.tables.iter().map(|t| t.name.clone()).collect();
        names.sort();
        Some(names)
    }

    fn declares_types(&self) -> bool {
        false
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        Ok(self.known_tables().unwrap_or_default())
    }

    async fn source(&self, table: &TableName, spec: &ReadSpec) -> Result<Arc<dyn Source>> {
        let found = self.tables.iter().find(|t| t.name == *table);
        let found = found.ok_or_else(|| Error::internal("a table is read that is not replayed"))?;
        let inner = found.quarantine.source(table, spec).await.map_err(|e| match e.is_transient() {
            true => e,
            false => e.hint("what was put aside must stay as it is until it is replayed"),
        })?;
        let patch = found.patch.as_ref().map(|patch| (patch, self.rulebook.as_ref()));
        Ok(Arc::new(Restored::new(inner, &found.columns, &[], patch)?))
    }

    async fn sink(&self, _: &TableName, _: SchemaRef, _: &WriteSpec) -> Result<Arc<dyn Sink>> {
        Err(Error::internal("a quarantine that is replayed is written"))
    }
}

/// A table of quarantined rows, read as the source gave them.
pub struct Restored {
    inner: Arc<dyn Source>,
    layout: Arc<Layout>,
}

impl Restored {
    /// Reads `inner`, the quarantine, with these columns of the source. `declared` names columns that are meant as
    /// another type than they have.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the quarantine has not the columns it should have; with the line
    /// of its file, if a text of the patch cannot be read as its column's type by the rulebook, or takes a value away
    /// where there must be one.
    pub fn new(
        inner: Arc<dyn Source>,
        columns: &[SourceColumn],
        declared: &[(String, LogicalType)],
        patch: Option<(&Patch, &Rulebook)>,
    ) -> Result<Self> {
        let mut layout = Layout::new(&inner.schema(), columns, declared)?;
        layout.patch = patch.map(|(patch, rulebook)| patch.values(&layout.schema, rulebook)).transpose()?;
        Ok(Self { inner, layout: Arc::new(layout) })
    }
}

impl Source for Restored {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.layout.schema)
    }

    fn pin(&self) -> &Pin {
        self.inner.pin()
    }

    fn splits(&self) -> &[Split] {
        self.inner.splits()
    }

    fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(RestoredTable { inner: self.inner.provider()?, layout: Arc::clone(&self.layout) }))
    }
}

/// How the columns of the source are made of those of the quarantine.
#[derive(Debug)]
struct Layout {
    schema: SchemaRef,
    columns: Vec<Made>,
    rules: usize,
    run_id: usize,
    split: usize,
    position: usize,
    patch: Option<Values>,
}

/// Where a column of the source comes from.
#[derive(Debug)]
enum Made {
    Column(usize),
    /// With intervals that were taken apart.
    Intervals(usize, Cast),
    Fault,
    Origin,
}

impl Layout {
    fn new(found: &SchemaRef, columns: &[SourceColumn], declared: &[(String, LogicalType)]) -> Result<Self> {
        let kept: Vec<&str> = columns.iter().map(|c| c.name.as_str()).filter(|name| is_kept(name)).collect();
        let names = AsideNames::beside(&kept);
        let place = |name: &str| {
            found.index_of(name).map_err(|_| {
                Error::config(format!("the quarantine has no column `{name}`"))
                    .hint("it was changed, or written by an older transload")
            })
        };
        let mut fields: Vec<FieldRef> = Vec::with_capacity(columns.len());
        let mut from = Vec::with_capacity(columns.len());
        for column in columns {
            match column.name.as_str() {
                FAULT_COLUMN => {
                    fields.push(Arc::new(hidden(Field::new(FAULT_COLUMN, DataType::Utf8, true))));
                    from.push(Made::Fault);
                }
                ORIGIN_COLUMN => {
                    fields.push(Arc::new(hidden(origin_type().to_field(ORIGIN_COLUMN, false))));
                    from.push(Made::Origin);
                }
                name => {
                    let at = place(name)?;
                    let together = Cast::intervals_together(&column.ty);
                    let kept = match &together {
                        Some(_) => column.ty.to_field(name, true),
                        None => found.field(at).clone(),
                    };
                    let mut metadata = kept.metadata().clone();
                    if let Some((_, ty)) = declared.iter().find(|(column, _)| column == name) {
                        metadata.insert(DECLARED_TYPE.to_string(), ty.to_string());
                    }
                    let field = Field::new(name, kept.data_type().clone(), column.nullable);
                    let field = field.with_metadata(metadata);
                    fields.push(Arc::new(if is_value(name) { field } else { hidden(field) }));
                    from.push(together.map_or(Made::Column(at), |cast| Made::Intervals(at, cast)));
                }
            }
        }
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            columns: from,
            rules: place(&names.rules)?,
            run_id: place(&names.run_id)?,
            split: place(&names.split)?,
            position: place(&names.position)?,
            patch: None,
        })
    }

    /// The rows as the source gave them, patched.
    fn restore(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let plain = |at: usize, ty: LogicalType| Ok::<_, Error>(Cast::layout(&ty).apply(batch.column(at))?.array);
        let split = plain(self.split, LogicalType::UInt(64))?;
        let position = plain(self.position, LogicalType::UInt(64))?;
        let about: Vec<Option<usize>> = match &self.patch {
            None => vec![None; batch.num_rows()],
            Some(patch) => {
                let splits = split.as_primitive::<UInt64Type>().values();
                let positions = position.as_primitive::<UInt64Type>().values();
                splits.iter().zip(positions.iter()).map(|(split, position)| patch.about(*split, *position)).collect()
            }
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for from in &self.columns {
            columns.push(match from {
                Made::Column(at) => Arc::clone(batch.column(*at)),
                Made::Intervals(at, cast) => cast.apply(batch.column(*at))?.array,
                Made::Fault => faults(plain(self.rules, rules_type())?.as_list::<i32>(), &about)?,
                Made::Origin => {
                    let DataType::Struct(fields) = origin_type().to_arrow() else {
                        return Err(Error::internal("an origin has another layout"));
                    };
                    let run = plain(self.run_id, LogicalType::Text)?;
                    let parts = vec![run, Arc::clone(&split), Arc::clone(&position)];
                    Arc::new(StructArray::try_new(fields, parts, None)?)
                }
            });
        }
        if let Some(patch) = &self.patch {
            patch.put_in(&mut columns, &about)?;
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// For each row why it could not be read; NULL for rows that could, or that a patch is about: it gives every column.
fn faults(rules: &ListArray, about: &[Option<usize>]) -> Result<ArrayRef> {
    let [codes, _, reasons] = rules.values().as_struct().columns() else {
        return Err(Error::internal("a list of rules has another layout"));
    };
    let (codes, reasons) = (codes.as_string::<i32>(), reasons.as_string::<i32>());
    let fault = |(row, about): (usize, &Option<usize>)| {
        let range = rules.value_offsets()[row] as usize..rules.value_offsets()[row + 1] as usize;
        let of_line = range.into_iter().find(|i| codes.value(*i) == LINE_CODE);
        of_line.filter(|_| about.is_none()).map(|i| reasons.value(i))
    };
    Ok(Arc::new(about.iter().enumerate().map(fault).collect::<StringArray>()))
}

/// The same for the query engine. Nothing is filtered here: a patch may change any value.
#[derive(Debug)]
struct RestoredTable {
    inner: Arc<dyn TableProvider>,
    layout: Arc<Layout>,
}

#[async_trait]
impl TableProvider for RestoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.layout.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let scan = self.inner.scan(state, None, &[], None).await?;
        let rows = |partition| {
            let (scan, layout) = (Arc::clone(&scan), Arc::clone(&self.layout));
            Arc::new(RestoredRows { scan, layout, partition }) as Arc<dyn PartitionStream>
        };
        let partitions = (0..scan.output_partitioning().partition_count()).map(rows).collect();
        let ordering = Vec::<LexOrdering>::new();
        Ok(Arc::new(StreamingTableExec::try_new(self.schema(), partitions, projection, ordering, false, None)?))
    }
}

/// The rows of one split.
struct RestoredRows {
    scan: Arc<dyn ExecutionPlan>,
    layout: Arc<Layout>,
    partition: usize,
}

impl fmt::Debug for RestoredRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RestoredRows({})", self.partition)
    }
}

impl PartitionStream for RestoredRows {
    fn schema(&self) -> &SchemaRef {
        &self.layout.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let layout = Arc::clone(&self.layout);
        let batches = match self.scan.execute(self.partition, context) {
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
            Ok(rows) => rows.map(move |batch| layout.restore(&batch?).map_err(DataFusionError::from)).boxed(),
        };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.layout.schema), batches))
    }
}
