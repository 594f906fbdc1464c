//! A look at all rows of a table, to learn what it holds.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, is_null};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use transload_coerce::{Cast, Rulebook, relayout};
use transload_core::connector::{DECLARED_TYPE, FAULT_COLUMN, hidden_column, is_hidden};
use transload_core::types::Unit;
use transload_core::{Error, LogicalType, Result, Source};
use transload_quality::profile::{Profiler, Reading};

use crate::limits::Limits;

/// Reads a table once, its splits in parallel, and counts what it holds. Texts that the source says to be of another
/// type are cast to it, as a load would do.
///
/// # Behavior
/// The same pin gives the same profile, whatever the limits are: splits are merged in their order.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if the source cannot be read, has a column whose type cannot be moved,
/// or needs more memory than the limits allow.
///
/// # Cancellation
/// Drop the future. What runs for a split ends with it or soon after; nothing is left behind.
pub async fn profile(source: &Arc<dyn Source>, rulebook: &Rulebook, limits: &Limits) -> Result<Profiler> {
    let session = limits.session()?;
    let found = source.schema();
    let mut projection = Vec::new();
    let (mut casts, mut fields) = (Vec::new(), Vec::new());
    for (at, field) in found.fields().iter().enumerate() {
        if !is_hidden(field) {
            let (cast, field) = seen(field, rulebook)?;
            projection.push(at);
            casts.push(cast);
            fields.push(field.with_nullable(true));
        }
    }
    let fault = hidden_column(&found, FAULT_COLUMN);
    projection.extend(fault);
    let look = Arc::new(Look {
        scan: source.provider()?.scan(&session.state(), Some(&projection), &[], None).await?,
        casts,
        schema: Arc::new(Schema::new(fields)),
        marks_faults: fault.is_some(),
        readings: readings(rulebook),
    });
    let context = session.task_ctx();
    let memory = MemoryConsumer::new("profile").register(context.memory_pool());
    let parts = (0..look.scan.output_partitioning().partition_count()).map(|part| {
        let (look, context) = (Arc::clone(&look), Arc::clone(&context));
        async move {
            let counted = tokio::spawn(async move { look.part(part, context).await });
            counted.await.map_err(|e| Error::internal("a reader died").because(e))?
        }
    });
    let mut whole = look.profiler()?;
    // They come in their order, so that what is approximate does not depend on which of them was faster.
    let mut parts = futures::stream::iter(parts).buffered(limits.parallel.max(1));
    while let Some(part) = parts.next().await {
        let (part, _held) = part?;
        whole.merge(part);
        memory.try_resize(whole.size())?;
    }
    Ok(whole)
}

/// How a column is seen: by the cast to the type that the source says it has, if there is one.
fn seen(field: &FieldRef, rulebook: &Rulebook) -> Result<(Option<Cast>, Field)> {
    let plain = LogicalType::of(field).zip(LogicalType::plain_layout(field)).ok_or_else(|| {
        Error::config(format!("the type {} cannot be moved", field.data_type()))
            .with("column", field.name().as_str())
            .hint("leave the column out in the source, or ask for its type")
    });
    let (stored, plain) = plain?;
    let declared = field.metadata().get(DECLARED_TYPE).and_then(|ty| ty.parse::<LogicalType>().ok());
    let cast = declared.filter(|ty| *ty != stored).and_then(|ty| Cast::new(rulebook, &stored, &ty));
    let field = match &cast {
        Some(cast) => cast.to().to_field(field.name(), true),
        None => plain.as_ref().clone(),
    };
    Ok((cast, field))
}

/// The types that texts are tried to be read as, the most telling first.
fn readings(rulebook: &Rulebook) -> Arc<[Reading]> {
    use LogicalType as T;
    let utc = Some("UTC".to_string());
    let types = [
        T::Int(64),
        T::Decimal(38, 18),
        T::Date,
        T::Timestamp(Unit::Us, None),
        T::Timestamp(Unit::Us, utc),
        T::Uuid,
        T::Bool,
        T::Json,
    ];
    let reading = |ty: T| {
        let cast = Cast::new(rulebook, &T::Text, &ty)?;
        Some(Reading { ty, read: Box::new(move |texts: &ArrayRef| Ok(cast.apply(texts)?.array)) })
    };
    types.into_iter().filter_map(reading).collect()
}

/// What is looked at, and how.
struct Look {
    scan: Arc<dyn ExecutionPlan>,
    /// For each column, the cast that reads it.
    casts: Vec<Option<Cast>>,
    schema: SchemaRef,
    /// Whether the last column that is scanned marks rows that could not be read.
    marks_faults: bool,
    readings: Arc<[Reading]>,
}

impl Look {
    fn profiler(&self) -> Result<Profiler> {
        Profiler::new(&self.schema, Arc::clone(&self.readings))
    }

    /// Counts one split, and holds the memory that it takes.
    async fn part(&self, part: usize, context: Arc<TaskContext>) -> Result<(Profiler, MemoryReservation)> {
        let memory = MemoryConsumer::new("profile of a split").register(context.memory_pool());
        let mut profiler = self.profiler()?;
        let mut rows = self.scan.execute(part, context)?;
        while let Some(batch) = rows.next().await {
            self.take(batch?, &mut profiler)?;
            memory.try_resize(profiler.size())?;
        }
        Ok((profiler, memory))
    }

    fn take(&self, mut batch: RecordBatch, profiler: &mut Profiler) -> Result<()> {
        if self.marks_faults
            && let Some(fault) = batch.columns().last()
        {
            let good = is_null(fault.as_ref())?;
            profiler.unreadable((batch.num_rows() - good.true_count()) as u64);
            batch = filter_record_batch(&batch, &good)?;
        }
        let mut columns = Vec::with_capacity(self.casts.len());
        let mut misfits = Vec::with_capacity(self.casts.len());
        for ((array, cast), field) in batch.columns().iter().zip(&self.casts).zip(self.schema.fields()) {
            match cast {
                None => {
                    columns.push(relayout(array, field)?);
                    misfits.push(0);
                }
                Some(cast) => {
                    let done = cast.apply(array)?;
                    misfits.push(done.misfits.map_or(0, |bad| bad.count_set_bits() as u64));
                    columns.push(done.array);
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        profiler.update(&batch, &misfits)
    }
}
