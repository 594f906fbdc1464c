//! One side of a comparison: its rows in the columns that are compared.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Fields, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use tokio::task::JoinSet;
use transload_coerce::{Cast, Rulebook};
use transload_core::{Error, Result, Source};
use transload_digest::{Algorithm, RowHasher, TableDigest};
use transload_plan::{Place, TablePlan, Transform};

use crate::declared::{self, reading};
use crate::left::Noted;
use crate::narrow::{self, Differing, KeyColumn};

/// One side of a comparison.
#[derive(Clone)]
pub(crate) struct Side {
    provider: Arc<dyn TableProvider>,
    /// The columns of the provider that are read.
    projection: Vec<usize>,
    scan: Arc<dyn ExecutionPlan>,
    /// Applied to the source's rows, so that they are what the target should hold.
    transform: Option<Arc<Transform>>,
    /// Which columns of the transformed rows are compared, in the order of the plan.
    columns: Vec<usize>,
    /// For each of them, the cast that reads it, if the target only declares its type.
    casts: Vec<Option<Cast>>,
    schema: SchemaRef,
    /// Which of the compared columns are the key.
    pub(crate) key: Vec<usize>,
    left_out: Arc<Mutex<LeftOut>>,
    /// Whether delete markers are among the rows.
    with_markers: bool,
    /// Where the keys of all rows are noted, those of delete markers too.
    noted: Option<Arc<Noted>>,
}

/// Rows that should not have reached the target.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LeftOut {
    pub(crate) filtered: u64,
    pub(crate) quarantined: u64,
    pub(crate) deleted: u64,
}

impl Side {
    /// The source as the plan transforms it, in the columns `names`.
    pub(crate) async fn source(
        source: &Arc<dyn Source>,
        transform: Transform,
        names: &[String],
        key: &[String],
        session: &SessionContext,
    ) -> Result<Self> {
        let projection = transform.projection().to_vec();
        let provider = source.provider()?;
        let scan = provider.scan(&session.state(), Some(&projection), transform.pushdown(), None).await?;
        let columns = positions(transform.schema(), names)?;
        let schema = Arc::new(transform.schema().project(&columns)?);
        Ok(Self {
            provider,
            projection,
            scan,
            casts: vec![None; columns.len()],
            columns,
            key: positions(&schema, key)?,
            schema,
            transform: Some(Arc::new(transform)),
            left_out: Arc::default(),
            with_markers: false,
            noted: None,
        })
    }

    /// The target as it is, in the columns `names` of the plan; text with a declared type is read as that type.
    pub(crate) async fn target(
        source: &Arc<dyn Source>,
        plan: &TablePlan,
        rulebook: &Rulebook,
        names: &[String],
        key: &[String],
        session: &SessionContext,
    ) -> Result<Self> {
        let found = source.schema();
        let projection = positions(&found, names)?;
        let cast = |at: &usize| {
            let column = plan.columns.iter().find(|c| c.name == *found.field(*at).name())?;
            reading(column, found.field(*at), rulebook)
        };
        let casts: Vec<Option<Cast>> = projection.iter().map(cast).collect();
        let field = |(at, cast): (&usize, &Option<Cast>)| match cast {
            Some(cast) => Arc::new(cast.to().to_field(found.field(*at).name(), found.field(*at).is_nullable())),
            None => Arc::clone(&found.fields()[*at]),
        };
        let schema = Arc::new(Schema::new(projection.iter().zip(&casts).map(field).collect::<Fields>()));
        let provider = source.provider()?;
        let scan = provider.scan(&session.state(), Some(&projection), &[], None).await?;
        Ok(Self {
            provider,
            projection,
            scan,
            columns: (0..names.len()).collect(),
            casts,
            key: positions(&schema, key)?,
            schema,
            transform: None,
            left_out: Arc::default(),
            with_markers: false,
            noted: None,
        })
    }

    /// The rows of the source in these columns alone, delete markers among them.
    pub(crate) fn with_markers(&self, names: &[String]) -> Result<Self> {
        let transform = self.transform.as_ref().ok_or_else(|| Error::internal("a target has no delete markers"))?;
        let columns = positions(transform.schema(), names)?;
        let schema = Arc::new(transform.schema().project(&columns)?);
        Ok(Self {
            casts: vec![None; columns.len()],
            key: (0..columns.len()).collect(),
            columns,
            schema,
            with_markers: true,
            noted: None,
            ..self.clone()
        })
    }

    /// The same rows of the source. Whoever reads them has the values in these columns noted.
    pub(crate) fn noting(&self, names: &[String], bits: u32) -> Result<(Self, Arc<Noted>)> {
        let transform = self.transform.as_ref().ok_or_else(|| Error::internal("of a target nothing is noted"))?;
        let noted = Arc::new(Noted::new(transform.schema(), positions(transform.schema(), names)?, bits)?);
        Ok((Self { noted: Some(Arc::clone(&noted)), ..self.clone() }, noted))
    }

    /// The same rows, of which the reader may leave out those whose key is in no differing bucket. Without a key, or
    /// with one that only the plan's transformation makes, they are all read.
    pub(crate) async fn narrowed(&self, differing: &Differing, session: &SessionContext) -> Result<Self> {
        let schema = self.provider.schema();
        let columns: Option<Vec<KeyColumn>> = self
            .key
            .iter()
            .map(|at| match &self.transform {
                None => Some(KeyColumn {
                    name: schema.field(self.projection[*at]).name().clone(),
                    cast: self.casts[*at].clone(),
                }),
                Some(transform) => {
                    let (name, cast) = transform.carried(self.columns[*at])?;
                    Some(KeyColumn { name: name.to_string(), cast: cast.cloned() })
                }
            })
            .collect();
        let Some(columns) = columns.filter(|c| !c.is_empty()) else { return Ok(self.clone()) };
        let filter = [narrow::predicate(differing.clone(), columns, Arc::new(self.key_schema()?))];
        let scan = self.provider.scan(&session.state(), Some(&self.projection), &filter, None).await?;
        Ok(Self { scan, ..self.clone() })
    }

    /// Whether its rows are those of the source.
    pub(crate) fn is_source(&self) -> bool {
        self.transform.is_some()
    }

    /// The compared columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn key_schema(&self) -> Result<Schema> {
        Ok(self.schema.project(&self.key)?)
    }

    pub(crate) fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.key.iter().map(|i| Arc::clone(batch.column(*i))).collect()
    }

    pub(crate) fn partitions(&self) -> usize {
        self.scan.output_partitioning().partition_count()
    }

    /// Rows that should not have reached the target, as far as streams have come to them.
    pub(crate) fn left_out(&self) -> LeftOut {
        *self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of one partition.
    pub(crate) fn rows(&self, partition: usize, context: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.scan.execute(partition, Arc::clone(context))?;
        let (transform, left_out) = (self.transform.clone(), Arc::clone(&self.left_out));
        let (columns, casts) = (self.columns.clone(), self.casts.clone());
        let (with_markers, noted) = (self.with_markers, self.noted.clone());
        let schema = Arc::clone(&self.schema);
        let compared = Arc::clone(&self.schema);
        let mut position = 0;
        let mut tally = transform.as_ref().map(|t| t.tally(false)).unwrap_or_default();
        let batches = rows.map(move |batch| {
            let batch = batch?;
            let read = batch.num_rows() as u64;
            let batch = match &transform {
                None => batch,
                Some(transform) => {
                    let done = transform.apply(&batch, Place { split: partition, position }, &mut tally)?;
                    let mut left_out = left_out.lock().unwrap_or_else(PoisonError::into_inner);
                    left_out.filtered += done.filtered;
                    left_out.quarantined += done.aside;
                    left_out.deleted += done.deleted.as_ref().map_or(0, |markers| markers.num_rows() as u64);
                    if let Some(noted) = &noted {
                        [Some(&done.rows), done.deleted.as_ref()]
                            .into_iter()
                            .flatten()
                            .try_for_each(|rows| noted.note(rows))?;
                    }
                    match done.deleted.filter(|_| with_markers) {
                        Some(markers) => concat_batches(transform.schema(), [&done.rows, &markers])?,
                        None => done.rows,
                    }
                }
            };
            position += read;
            let columns = columns
                .iter()
                .zip(&casts)
                .zip(compared.fields())
                .map(|((at, cast), field)| declared::read(batch.column(*at), cast.as_ref(), field.name()))
                .collect::<Result<Vec<ArrayRef>>>()?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&compared), columns, &options).map_err(DataFusionError::from)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    /// The digest of all rows, or of those `within` differing buckets, partitions in parallel.
    pub(crate) async fn digest(
        &self,
        algorithm: Algorithm,
        bits: u32,
        within: Option<&Differing>,
        session: &SessionContext,
    ) -> Result<TableDigest> {
        *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = LeftOut::default();
        let mut total = TableDigest::new(algorithm, bits);
        let workers = session.copied_config().target_partitions();
        let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for _ in 0..workers.min(self.partitions()) {
            let (side, context, next) = (self.clone(), session.task_ctx(), Arc::clone(&next));
            let within = within.cloned();
            running.spawn(async move {
                let mut digest = TableDigest::new(algorithm, bits);
                loop {
                    let partition = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if partition >= side.partitions() {
                        return Ok::<_, Error>(digest);
                    }
                    side.digest_partition(partition, &mut digest, within.as_ref(), &context).await?;
                }
            });
        }
        while let Some(part) = running.join_next().await {
            total.merge(&part.map_err(|e| Error::internal("a reader died").because(e))??)?;
        }
        Ok(total)
    }

    async fn digest_partition(
        &self,
        partition: usize,
        digest: &mut TableDigest,
        within: Option<&Differing>,
        context: &Arc<TaskContext>,
    ) -> Result<()> {
        let mut hasher = RowHasher::new(&self.schema, digest.algorithm())?;
        let mut key_hasher = RowHasher::new(&self.key_schema()?, Algorithm::Xxh64)?;
        let mut rows = self.rows(partition, context)?;
        while let Some(batch) = rows.next().await {
            let mut batch = batch?;
            tokio::task::yield_now().await;
            let mut keys = match self.key.is_empty() {
                true => None,
                false => Some(key_hasher.hash(&self.key_columns(&batch), batch.num_rows())?.short()),
            };
            if let Some(within) = within {
                let hashes = match keys {
                    Some(keys) => keys,
                    None => hasher.hash(batch.columns(), batch.num_rows())?.short(),
                };
                let places: Vec<Option<u64>> = hashes.iter().map(|hash| within.place(*hash)).collect();
                let held = places.iter().map(|place| Some(place.is_some())).collect();
                batch = filter_record_batch(&batch, &held)?;
                keys = Some(places.into_iter().flatten().collect());
            }
            let hashes = hasher.hash(batch.columns(), batch.num_rows())?;
            digest.add(&hashes, keys.as_deref());
        }
        Ok(())
    }
}

fn positions(schema: &SchemaRef, names: &[String]) -> Result<Vec<usize>> {
    Ok(names.iter().map(|n| schema.index_of(n)).collect::<Result<_, _>>()?)
}
