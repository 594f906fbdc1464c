//! From what may be wrong to the exact keys and columns.
//!
//! As long as differing buckets hold many rows that are equal, their rows are spread over new buckets and compared again.
//! What is left is sorted by key on both sides (spilling to disk when memory runs out) and the two sorted streams are
//! merged. Memory does not depend on how many rows differ.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, StringBuilder, UInt64Builder};
use arrow::compute::{BatchCoalescer, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use transload_core::memory::sorters;
use transload_core::value::Differences;
use transload_core::{Error, LogicalType, Result};
use transload_digest::{Algorithm, CanonicalRows, RowEncoder, RowHasher, RowHashes};

use crate::left::Shared;
use crate::narrow::Differing;
use crate::side::Side;

/// Rows of evidence written at a time.
const EVIDENCE_ROWS: usize = 4096;
/// Suspects collected before they are sorted.
const SUSPECT_ROWS: usize = 1024;
const KEY: &str = "_key";
const HASH: &str = "_hash";

/// What is looked for in both sides.
#[derive(Clone)]
pub(crate) struct Drill {
    pub(crate) source: Side,
    pub(crate) target: Side,
    pub(crate) algorithm: Algorithm,
    pub(crate) question: Question,
    /// The columns that identify a row in the evidence, by their places in both sides, or in the target if that alone is
    /// shown.
    pub(crate) shown: Vec<usize>,
}

/// What is asked of both sides.
#[derive(Clone)]
pub(crate) enum Question {
    /// Which rows differ? They are in these buckets.
    Differing(Differing),
    /// Which keys does the target have that the source has as well, and none should be on both sides?
    Shared(Shared),
}

/// A stream of evidence rows, and the counts that are complete once it has ended.
pub(crate) struct Found {
    pub(crate) evidence: SendableRecordBatchStream,
    pub(crate) differences: Arc<Mutex<Differences>>,
}

impl Drill {
    /// Starts to look. The evidence has the columns `schema`.
    pub(crate) fn find(&self, schema: SchemaRef, session: &SessionContext) -> Result<Found> {
        let differences = Arc::new(Mutex::new(Differences::default()));
        let context = session.task_ctx();
        let source = Cursor::new(self.sorted(&self.source, &context)?);
        let target = Cursor::new(self.sorted(&self.target, &context)?);
        let merge = Merge {
            drill: self.clone(),
            source,
            target,
            differences: Arc::clone(&differences),
            schema: Arc::clone(&schema),
        };
        let batches = futures::stream::try_unfold(merge, |mut merge| async move {
            let batch = merge.next_batch().await.map_err(DataFusionError::from)?;
            Ok::<_, DataFusionError>(batch.map(|b| (b, merge)))
        });
        Ok(Found { evidence: Box::pin(RecordBatchStreamAdapter::new(schema, batches)), differences })
    }

    /// The rows of one side that are looked at, sorted by key and hash.
    fn sorted(&self, side: &Side, context: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut fields = vec![
            Arc::new(Field::new(KEY, DataType::Binary, false)),
            Arc::new(Field::new(HASH, DataType::Binary, false)),
        ];
        // Sorting needs no nullability, and the target's may differ from the source's.
        fields.extend(side.schema().fields().iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))));
        let schema = Arc::new(Schema::new(fields));
        // As many readers as there are sorts: each goes through its share one by one.
        let sorters = sorters(context.memory_pool().as_ref(), context.session_config().target_partitions());
        let readers = sorters.clamp(1, side.partitions().max(1));
        let partitions: Vec<Arc<dyn PartitionStream>> = (0..readers)
            .map(|reader| {
                let (drill, side, schema) = (self.clone(), side.clone(), Arc::clone(&schema));
                let partitions = (reader..side.partitions()).step_by(readers).collect();
                Arc::new(Suspects { drill, side, partitions, schema }) as Arc<dyn PartitionStream>
            })
            .collect();
        let scan =
            StreamingTableExec::try_new(Arc::clone(&schema), partitions, None, Vec::<LexOrdering>::new(), false, None)?;
        let by = [
            PhysicalSortExpr::new_default(Arc::new(Column::new(KEY, 0))),
            PhysicalSortExpr::new_default(Arc::new(Column::new(HASH, 1))),
        ];
        let by = LexOrdering::new(by).ok_or_else(|| Error::internal("nothing to sort by"))?;
        let sort = SortExec::new(by.clone(), Arc::new(scan)).with_preserve_partitioning(true);
        let merged: Arc<dyn ExecutionPlan> = Arc::new(SortPreservingMergeExec::new(by, Arc::new(sort)));
        Ok(execute_stream(merged, Arc::clone(context))?)
    }

    /// Whether each row is looked at.
    fn suspects(&self, side: &Side, batch: &RecordBatch, keyed: &mut Keyed) -> Result<BooleanArray> {
        let rows = batch.num_rows();
        let hashes = match side.key.is_empty() {
            false => keyed.keys.hash(&side.key_columns(batch), rows)?.short(),
            true => keyed.rows.hash(batch.columns(), rows)?.short(),
        };
        let is_looked_at = |hash: &u64| match &self.question {
            Question::Differing(differing) => differing.holds(*hash),
            Question::Shared(shared) if side.is_source() => shared.of_others.holds(*hash),
            Question::Shared(shared) => shared.of_load.holds(*hash),
        };
        Ok(hashes.iter().map(|hash| Some(is_looked_at(hash))).collect())
    }
}

/// The columns of the evidence: what kind of difference, in which columns, how often on each side, the row hashes, and of
/// these columns of the source the values, which identify a row.
pub(crate) fn evidence_schema(source: &SchemaRef, shown: &[usize], targets: &[&SchemaRef]) -> SchemaRef {
    let mut fields: Vec<FieldRef> = [
        ("_difference", DataType::Utf8, false),
        ("_columns", DataType::Utf8, true),
        ("_source_rows", DataType::UInt64, false),
        ("_target_rows", DataType::UInt64, false),
        ("_source_hash", DataType::Utf8, true),
        ("_target_hash", DataType::Utf8, true),
    ]
    .into_iter()
    .map(|(name, ty, nullable)| Arc::new(Field::new(name, ty, nullable)))
    .collect();
    fields.extend(shown.iter().map(|at| {
        let field = source.field(*at).clone().with_nullable(true);
        // A key that has another type on one side is shown as text.
        let is_same = |target: &&SchemaRef| {
            target.field_with_name(field.name()).is_ok_and(|f| LogicalType::of(f) == LogicalType::of(&field))
        };
        let same = targets.iter().all(is_same);
        Arc::new(if same { field } else { Field::new(field.name(), DataType::Utf8, true) })
    }));
    Arc::new(Schema::new(fields))
}

/// The rows with their key and hash before them.
fn keyed_rows(side: &Side, batch: &RecordBatch, schema: &SchemaRef, keyed: &mut Keyed) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let hashes = keyed.rows.hash(batch.columns(), rows)?;
    let hash_bytes = |i: usize| match &hashes {
        RowHashes::Xxh64(h) => h[i].to_be_bytes().to_vec(),
        RowHashes::Sha256(h) => h[i].to_vec(),
    };
    let hash_column: BinaryArray = (0..rows).map(|i| Some(hash_bytes(i))).collect();
    let key_column = if side.key.is_empty() {
        hash_column.clone()
    } else {
        let mut canonical = CanonicalRows::default();
        keyed.encoder.cells(&side.key_columns(batch)).encode(0..rows, &mut canonical)?;
        canonical.iter().map(Some).collect()
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::new(key_column), Arc::new(hash_column)];
    columns.extend(batch.columns().iter().cloned());
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Hashers of one partition.
struct Keyed {
    keys: RowHasher,
    rows: RowHasher,
    encoder: RowEncoder,
}

impl Keyed {
    fn new(drill: &Drill, side: &Side) -> Result<Self> {
        Ok(Self {
            keys: RowHasher::new(&side.key_schema()?, Algorithm::Xxh64)?,
            rows: RowHasher::new(side.schema(), drill.algorithm)?,
            encoder: RowEncoder::new(&side.key_schema()?)?,
        })
    }
}

/// The rows of some partitions that are looked at.
struct Suspects {
    drill: Drill,
    side: Side,
    partitions: Vec<usize>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Suspects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Suspects({:?})", self.partitions)
    }
}

impl PartitionStream for Suspects {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (drill, side, schema) = (self.drill.clone(), self.side.clone(), Arc::clone(&self.schema));
        let batches = futures::stream::iter(self.partitions.clone())
            .map(move |partition| {
                let share = Share {
                    keyed: Keyed::new(&drill, &side)?,
                    rows: Some(side.rows(partition, &context)?),
                    collected: BatchCoalescer::new(Arc::clone(side.schema()), SUSPECT_ROWS),
                    drill: drill.clone(),
                    side: side.clone(),
                };
                let schema = Arc::clone(&schema);
                Ok::<_, DataFusionError>(futures::stream::try_unfold(share, move |mut share| {
                    let schema = Arc::clone(&schema);
                    async move { Ok(share.next_batch(&schema).await?.map(|batch| (batch, share))) }
                }))
            })
            .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// The suspects of one partition: few of each batch that is read, so they are collected before they are sorted.
struct Share {
    drill: Drill,
    side: Side,
    keyed: Keyed,
    /// `None` when all is read.
    rows: Option<SendableRecordBatchStream>,
    collected: BatchCoalescer,
}

impl Share {
    async fn next_batch(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.collected.next_completed_batch() {
                return keyed_rows(&self.side, &batch, schema, &mut self.keyed).map(Some);
            }
            let Some(rows) = &mut self.rows else { return Ok(None) };
            match rows.next().await.transpose()? {
                Some(batch) => {
                    let suspects = self.drill.suspects(&self.side, &batch, &mut self.keyed)?;
                    self.collected.push_batch_with_filter(batch, &suspects)?;
                }
                None => {
                    self.collected.finish_buffered_batch()?;
                    self.rows = None;
                }
            }
        }
    }
}

/// Walks over a sorted stream, one row at a time.
struct Cursor {
    rows: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
    row: usize,
}

/// A row at which a cursor stands.
struct Row {
    key: Vec<u8>,
    hash: Vec<u8>,
    values: RecordBatch,
}

impl Cursor {
    fn new(rows: SendableRecordBatchStream) -> Self {
        Self { rows, batch: None, row: 0 }
    }

    /// Key and hash of the row it stands at; `None` at the end.
    async fn peek(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        while self.batch.as_ref().is_none_or(|b| self.row >= b.num_rows()) {
            match self.rows.next().await.transpose()? {
                Some(batch) => {
                    self.batch = Some(batch);
                    self.row = 0;
                }
                None => return Ok(None),
            }
        }
        let row = self.row;
        Ok(self.batch.as_ref().map(|b| (binary(b, 0, row), binary(b, 1, row))))
    }

    /// The row it stands at, and one step further.
    fn take(&mut self) -> Result<Row> {
        let batch = self.batch.as_ref().ok_or_else(|| Error::internal("no row to take"))?;
        let row = Row {
            key: binary(batch, 0, self.row).to_vec(),
            hash: binary(batch, 1, self.row).to_vec(),
            values: batch.slice(self.row, 1),
        };
        self.row += 1;
        Ok(row)
    }
}

fn binary(batch: &RecordBatch, column: usize, row: usize) -> &[u8] {
    batch.column(column).as_binary::<i32>().value(row)
}

/// Everything about one key that both sides were asked for.
#[derive(Default)]
struct Group {
    source_rows: u64,
    target_rows: u64,
    /// Rows without a twin on the other side: how many, and the first of them.
    source_only: u64,
    target_only: u64,
    source: Option<Row>,
    target: Option<Row>,
}

struct Merge {
    drill: Drill,
    source: Cursor,
    target: Cursor,
    differences: Arc<Mutex<Differences>>,
    schema: SchemaRef,
}

impl Merge {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut evidence = Evidence::new(&self.drill);
        while evidence.len() < EVIDENCE_ROWS {
            let Some(group) = self.next_group().await? else { break };
            self.judge(&group, &mut evidence)?;
        }
        if evidence.len() == 0 { Ok(None) } else { evidence.finish(&self.schema).map(Some) }
    }

    /// Both sides' rows of the smallest key that is left.
    async fn next_group(&mut self) -> Result<Option<Group>> {
        let key = match (self.source.peek().await?, self.target.peek().await?) {
            (None, None) => return Ok(None),
            (Some((k, _)), None) | (None, Some((k, _))) => k.to_vec(),
            (Some((a, _)), Some((b, _))) => a.min(b).to_vec(),
        };
        let mut group = Group::default();
        loop {
            let source = self.source.peek().await?.filter(|(k, _)| *k == key).map(|(_, h)| h.to_vec());
            let target = self.target.peek().await?.filter(|(k, _)| *k == key).map(|(_, h)| h.to_vec());
            let order = match (&source, &target) {
                (None, None) => return Ok(Some(group)),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => a.cmp(b),
            };
            // Where no key should be on both sides, rows have no twins.
            let no_twins = matches!(self.drill.question, Question::Shared(_));
            if order.is_le() {
                let row = self.source.take()?;
                group.source_rows += 1;
                if order.is_lt() && !no_twins {
                    group.source_only += 1;
                    group.source.get_or_insert(row);
                }
            }
            if order.is_ge() {
                let row = self.target.take()?;
                group.target_rows += 1;
                if order.is_gt() || no_twins {
                    group.target_only += 1;
                    group.target.get_or_insert(row);
                }
            }
        }
    }

    fn judge(&self, group: &Group, evidence: &mut Evidence) -> Result<()> {
        if group.source_only == 0 && group.target_only == 0 {
            return Ok(());
        }
        let mut found = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        if let Question::Shared(_) = self.drill.question {
            if group.source_rows == 0 {
                return Ok(());
            }
            found.extra_in_target += 1;
            found.left_in_target += 1;
            drop(found);
            return evidence.push("left_in_target", &[], group);
        }
        let mut columns = Vec::new();
        let kind = match (group.source_rows, group.target_rows) {
            (_, 0) => {
                found.missing_in_target += 1;
                "missing_in_target"
            }
            (0, _) => {
                found.extra_in_target += 1;
                "extra_in_target"
            }
            (s, t) if s != t => {
                found.multiplicity += 1;
                "multiplicity"
            }
            _ => {
                found.changed += 1;
                "changed"
            }
        };
        if let (Some(source), Some(target)) = (&group.source, &group.target) {
            columns = self.changed_columns(source, target)?;
            for column in &columns {
                match found.columns.iter_mut().find(|(name, _)| name == column) {
                    Some((_, count)) => *count += 1,
                    None => found.columns.push((column.clone(), 1)),
                }
            }
        }
        drop(found);
        evidence.push(kind, &columns, group)
    }

    fn changed_columns(&self, source: &Row, target: &Row) -> Result<Vec<String>> {
        let (a, b) = (self.drill.source.schema(), self.drill.target.schema());
        let mut changed = Vec::new();
        for (i, field) in a.fields().iter().enumerate() {
            let cell = |schema: &SchemaRef, row: &Row| {
                let mut rows = CanonicalRows::default();
                let value = [Arc::clone(row.values.column(i + 2))];
                RowEncoder::new(&schema.project(&[i])?)?.cells(&value).encode(0..1, &mut rows)?;
                Ok::<_, Error>(rows.iter().next().map(<[u8]>::to_vec))
            };
            if cell(a, source)? != cell(b, target)? {
                changed.push(field.name().clone());
            }
        }
        Ok(changed)
    }
}

/// A key's value as the evidence shows it.
fn shown_as(value: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let of = |ty: &DataType| LogicalType::of(&Field::new("", ty.clone(), true));
    if *field.data_type() == DataType::Utf8 && of(value.data_type()) != of(field.data_type()) {
        let texts = (0..value.len())
            .map(|i| Ok(value.is_valid(i).then_some(arrow::util::display::array_value_to_string(value, i)?)));
        return Ok(Arc::new(texts.collect::<Result<arrow::array::StringArray>>()?));
    }
    transload_coerce::relayout(value, field)
}

/// Evidence rows being written.
struct Evidence {
    shown: Vec<usize>,
    kinds: StringBuilder,
    columns: StringBuilder,
    source_rows: UInt64Builder,
    target_rows: UInt64Builder,
    source_hashes: StringBuilder,
    target_hashes: StringBuilder,
    /// One row each, in the columns that identify it.
    keys: Vec<RecordBatch>,
}

impl Evidence {
    fn new(drill: &Drill) -> Self {
        Self {
            shown: drill.shown.clone(),
            kinds: StringBuilder::new(),
            columns: StringBuilder::new(),
            source_rows: UInt64Builder::new(),
            target_rows: UInt64Builder::new(),
            source_hashes: StringBuilder::new(),
            target_hashes: StringBuilder::new(),
            keys: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn push(&mut self, kind: &str, columns: &[String], group: &Group) -> Result<()> {
        let row =
            group.source.as_ref().or(group.target.as_ref()).ok_or_else(|| Error::internal("evidence without a row"))?;
        debug_assert!(!row.key.is_empty() || self.shown.is_empty());
        self.kinds.append_value(kind);
        self.columns.append_option((!columns.is_empty()).then(|| columns.join(",")));
        self.source_rows.append_value(group.source_rows);
        self.target_rows.append_value(group.target_rows);
        self.source_hashes.append_option(group.source.as_ref().map(|r| transload_digest::hex(&r.hash)));
        self.target_hashes.append_option(group.target.as_ref().map(|r| transload_digest::hex(&r.hash)));
        let places: Vec<usize> = self.shown.iter().map(|i| i + 2).collect();
        let one = take_record_batch(&row.values.project(&places)?, &arrow::array::UInt32Array::from(vec![0]))?;
        self.keys.push(one);
        Ok(())
    }

    fn finish(mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.kinds.finish()),
            Arc::new(self.columns.finish()),
            Arc::new(self.source_rows.finish()),
            Arc::new(self.target_rows.finish()),
            Arc::new(self.source_hashes.finish()),
            Arc::new(self.target_hashes.finish()),
        ];
        for (at, field) in schema.fields().iter().skip(columns.len()).enumerate() {
            // The target's layout of a key may be another than the source's.
            let parts: Vec<ArrayRef> =
                self.keys.iter().map(|k| shown_as(k.column(at), field)).collect::<Result<_>>()?;
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            columns.push(arrow::compute::concat(&parts)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}
