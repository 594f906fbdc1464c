//! Reading a table: as its source gives it, and as it is meant.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use transload_coerce::{Cast, Rulebook};
use transload_core::connector::{DECLARED_TYPE, is_hidden};
use transload_core::{Error, LogicalType, Result, Source};
use transload_digest::{Algorithm, RowHasher, TableDigest};

use crate::promise;

/// What a scan gives.
pub(crate) struct Scanned {
    pub(crate) schema: SchemaRef,
    /// The rows of each split.
    pub(crate) splits: Vec<Vec<RecordBatch>>,
}

/// A session in which a partition reads its own part only.
pub(crate) fn session() -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().execution.enable_file_stream_work_stealing = false;
    SessionContext::new_with_config(config)
}

/// The digest of rows.
pub(crate) fn digest_of<'a>(schema: &Schema, rows: impl IntoIterator<Item = &'a RecordBatch>) -> Result<TableDigest> {
    let mut hasher = RowHasher::new(schema, Algorithm::Xxh64)?;
    let mut digest = TableDigest::new(Algorithm::Xxh64, 0);
    for batch in rows {
        digest.add(&hasher.hash(batch.columns(), batch.num_rows())?, None);
    }
    Ok(digest)
}

impl Scanned {
    /// Everything that a source gives in some of its columns.
    pub(crate) async fn of(source: &Arc<dyn Source>, projection: Option<&Vec<usize>>) -> Result<Self> {
        let session = session();
        let scan = source.provider()?.scan(&session.state(), projection, &[], None).await?;
        let partitions = scan.output_partitioning().partition_count();
        promise(partitions == source.splits().len(), "a scan has one partition per split")?;
        Self::by(&scan, &session).await
    }

    /// Everything that a plan gives.
    pub(crate) async fn by(plan: &Arc<dyn ExecutionPlan>, session: &SessionContext) -> Result<Self> {
        let mut splits = Vec::new();
        for split in 0..plan.output_partitioning().partition_count() {
            let rows: Vec<RecordBatch> = plan.execute(split, session.task_ctx())?.try_collect().await?;
            splits.push(rows);
        }
        Ok(Self { schema: plan.schema(), splits })
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.splits.iter().flatten()
    }

    /// The number of rows of each split.
    pub(crate) fn counts(&self) -> Vec<u64> {
        self.splits.iter().map(|rows| rows.iter().map(|batch| batch.num_rows() as u64).sum()).collect()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.counts().iter().sum()
    }

    pub(crate) fn digest(&self) -> Result<TableDigest> {
        digest_of(&self.schema, self.batches())
    }

    /// The same rows in some of the columns.
    pub(crate) fn project(&self, columns: &[usize]) -> Result<Self> {
        let project = |batch: &RecordBatch| Ok(batch.project(columns)?);
        let splits = self.splits.iter().map(|rows| rows.iter().map(project).collect::<Result<_>>());
        Ok(Self { schema: Arc::new(self.schema.project(columns)?), splits: splits.collect::<Result<_>>()? })
    }
}

/// The rows of a table as they are meant, in the columns of `wanted`: a type that a source declares is cast to as a plan
/// does it, by the standard rulebook.
///
/// # Errors
/// A promise that is broken: the table has other columns or types, or a value does not fit the type that is declared.
pub(crate) async fn meant(source: &Arc<dyn Source>, wanted: &Schema) -> Result<Scanned> {
    let found = source.schema();
    let columns = found.fields().iter().filter(|field| !is_hidden(field)).count();
    promise(columns == wanted.fields().len(), "a table has the columns that were written")?;
    let projection: Vec<usize> =
        wanted.fields().iter().map(|field| found.index_of(field.name())).collect::<Result<_, _>>()?;
    let scanned = Scanned::of(source, Some(&projection)).await?;
    let casts: Vec<Option<Cast>> = scanned.schema.fields().iter().map(|field| cast(field)).collect::<Result<_>>()?;
    let fields = scanned.schema.fields().iter().zip(&casts).map(|(field, cast)| match cast {
        Some(cast) => Arc::new(cast.to().to_field(field.name(), true)),
        None => Arc::clone(field),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Fields>()));
    for (field, wanted) in schema.fields().iter().zip(wanted.fields()) {
        let (is, was) = (LogicalType::of(field), LogicalType::of(wanted));
        promise(is.is_some() && is == was, format!("column {} keeps its type {was:?}, and has {is:?}", field.name()))?;
    }
    let mut splits = Vec::new();
    for rows in &scanned.splits {
        splits.push(rows.iter().map(|batch| as_meant(batch, &casts, &schema)).collect::<Result<_>>()?);
    }
    Ok(Scanned { schema, splits })
}

/// The cast that a column needs, if another type is declared for it.
fn cast(field: &Field) -> Result<Option<Cast>> {
    let Some(declared) = field.metadata().get(DECLARED_TYPE) else { return Ok(None) };
    let to: LogicalType = declared.parse().map_err(Error::internal)?;
    let from = LogicalType::of(field).ok_or_else(|| Error::internal("a column has no logical type"))?;
    let cast = Cast::new(rulebook()?, &from, &to);
    cast.map(Some).ok_or_else(|| Error::internal(format!("no rule says how {from} is read as {to}")))
}

fn as_meant(batch: &RecordBatch, casts: &[Option<Cast>], schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(casts.len());
    for ((array, cast), field) in batch.columns().iter().zip(casts).zip(schema.fields()) {
        columns.push(match cast {
            Some(cast) => {
                let done = cast.apply(array)?;
                let fits = done.misfits.is_none();
                promise(fits, format!("every value of column {} is read as {}", field.name(), cast.to()))?;
                done.array
            }
            None => Arc::clone(array),
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The rulebook that is part of the program.
fn rulebook() -> Result<&'static Rulebook> {
    static STANDARD: OnceLock<Rulebook> = OnceLock::new();
    if let Some(rulebook) = STANDARD.get() {
        return Ok(rulebook);
    }
    let text = Rulebook::built_in("standard").ok_or_else(|| Error::internal("there is no standard rulebook"))?;
    let parsed = transload_spec::parse_document("standard.yaml", text);
    let (node, _) = parsed.map_err(|problems| Error::internal(problems.render(false)))?;
    let rulebook = Rulebook::read(&node).map_err(|problems| Error::internal(format!("{problems:?}")))?;
    Ok(STANDARD.get_or_init(|| rulebook))
}
