//! One unit of work: a split on its way from the source to the staging area.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, TryStreamExt};
use transload_core::journal::{BrokenRule, Event, StagedUnit};
use transload_core::value::Loss;
use transload_core::{Counts, Error, ErrorKind, Progress, Result, Sink, Staged, fault};
use transload_digest::{RowHasher, TableDigest};
use transload_plan::{Place, Transform};
use transload_quality::Tally as CheckTallies;

use crate::load::Load;
use crate::table::Table;

/// What is learned while rows pass by.
struct Tally {
    counts: Counts,
    losses: Vec<Loss>,
    checks: CheckTallies,
    digest: TableDigest,
    cursor: Option<ScalarValue>,
    told: Told,
}

/// What a watcher was told of a unit.
#[derive(Default)]
struct Told {
    rows: u64,
    /// Rows that break each of the checks.
    broken: Vec<u64>,
}

impl Tally {
    fn new(table: &Table, checks: CheckTallies) -> Self {
        let digest = TableDigest::new(table.algorithm, 0);
        Self { counts: Counts::default(), losses: Vec::new(), checks, digest, cursor: None, told: Told::default() }
    }

    /// Takes down that a watcher is told of so many more rows, and returns the checks that more rows break than before:
    /// their numbers, and how many more.
    fn tell(&mut self, rows: u64) -> Vec<(usize, u64)> {
        self.told.rows += rows;
        let mut more = Vec::new();
        for (number, broken) in self.checks.broken().enumerate() {
            match self.told.broken.get_mut(number) {
                Some(before) if *before < broken => more.push((number, broken - std::mem::replace(before, broken))),
                Some(_) => {}
                None => {
                    self.told.broken.push(broken);
                    if broken > 0 {
                        more.push((number, broken));
                    }
                }
            }
        }
        more
    }
}

impl Told {
    /// Takes back what was told.
    fn event(self, table: &Table) -> Event {
        let broken = self.broken.into_iter().enumerate().filter(|(_, rows)| *rows > 0);
        Event::UnitFailed { table: table.plan.to.clone(), rows: self.rows, broken: named(table, broken) }
    }
}

/// Numbers of checks with their names, each with how many rows break it.
fn named(table: &Table, broken: impl IntoIterator<Item = (usize, u64)>) -> Vec<BrokenRule> {
    let rule = |(number, rows): (usize, u64)| {
        let check = table.plan.checks.get(number)?;
        Some(BrokenRule { number, check: check.title(), rows })
    };
    broken.into_iter().filter_map(rule).collect()
}

/// Stages one split. Doing it again replaces what an earlier attempt left.
pub(crate) async fn stage(
    table: &Arc<Table>,
    split: usize,
    context: &Arc<TaskContext>,
    load: &Load,
) -> Result<StagedUnit> {
    fault::point("unit.begun")?;
    let rows = table.scan.execute(split, Arc::clone(context))?;
    let checks = table.transform.tally(load.show_values).timed(load.clock.ticks());
    let tally = Arc::new(Mutex::new(Tally::new(table, checks)));
    let (aside, put_aside) = mpsc::channel(1);
    let rows = transformed(table, split, rows, Arc::clone(&tally), aside, Arc::clone(&load.progress))?;

    let unit = format!("{split:06}");
    let memory = context.memory_pool();
    let staged =
        futures::try_join!(table.sink.stage(&unit, rows, memory), stage_aside(table, &unit, put_aside, context));
    let (staged, quarantined) = match staged {
        Ok(staged) => staged,
        Err(error) => {
            let told = std::mem::take(&mut tally.lock().unwrap_or_else(PoisonError::into_inner).told);
            load.progress.event(told.event(table));
            return Err(error);
        }
    };

    let tally = std::mem::replace(
        &mut *tally.lock().unwrap_or_else(PoisonError::into_inner),
        Tally::new(table, CheckTallies::default()),
    );
    let aside_rows = quarantined.as_ref().map_or(0, |q| q.rows);
    let kept = |rows: u64| if table.transform.writes() { rows } else { 0 };
    let sent = [tally.counts.written, kept(tally.counts.deleted), kept(tally.counts.quarantined)];
    if sent != [staged.rows, staged.deleted, aside_rows] {
        let [written, deleted, aside] = sent;
        return Err(Error::internal(format!(
            "{written} rows were sent to be written, {deleted} delete markers and {aside} rows to quarantine, but {}, {} and \
             {aside_rows} were staged",
            staged.rows, staged.deleted
        )));
    }
    tally.counts.balance()?;
    Ok(StagedUnit {
        table: table.plan.to.clone(),
        split,
        staged,
        quarantined,
        counts: tally.counts,
        losses: tally.losses,
        checks: tally.checks.finish(),
        digest: tally.digest.to_string(),
        cursor: tally.cursor.as_ref().map(Transform::cursor_text).transpose()?,
        retries: 0,
    })
}

/// The rows for the target, counted and hashed on the way, and delete markers, each batch marked as what it is; rows that
/// are put aside go into the channel.
fn transformed(
    table: &Arc<Table>,
    split: usize,
    rows: SendableRecordBatchStream,
    tally: Arc<Mutex<Tally>>,
    aside: mpsc::Sender<RecordBatch>,
    progress: Arc<dyn Progress>,
) -> Result<SendableRecordBatchStream> {
    let table = Arc::clone(table);
    let transform = Arc::clone(&table.transform);
    let compared = table.compared.clone();
    let hasher = RowHasher::new(&transform.schema().project(&compared)?, table.algorithm)?;
    let schema = Arc::clone(&table.staged_schema);
    let batches =
        futures::stream::try_unfold((rows, aside, hasher, 0u64), move |(mut rows, mut aside, mut hasher, position)| {
            let (transform, tally, progress) = (Arc::clone(&transform), Arc::clone(&tally), Arc::clone(&progress));
            let (compared, table) = (compared.clone(), Arc::clone(&table));
            async move {
                // A source that always has rows ready would keep a signal from being noticed.
                tokio::task::yield_now().await;
                let Some(batch) = rows.next().await.transpose()? else { return Ok(None) };
                let read = batch.num_rows() as u64;
                let done = {
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    transform.apply(&batch, Place { split, position }, &mut tally.checks)?
                };
                let columns: Vec<_> = compared.iter().map(|i| Arc::clone(done.rows.column(*i))).collect();
                let hashes = transform.writes().then(|| hasher.hash(&columns, done.rows.num_rows())).transpose()?;
                let broken = {
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    hashes.iter().for_each(|hashes| tally.digest.add(hashes, None));
                    tally.counts.add(&Counts {
                        read,
                        written: done.rows.num_rows() as u64,
                        quarantined: done.aside,
                        filtered: done.filtered,
                        deleted: done.deleted.as_ref().map_or(0, |deleted| deleted.num_rows() as u64),
                    });
                    add_losses(&mut tally.losses, done.losses);
                    if done.cursor.partial_cmp(&tally.cursor) == Some(std::cmp::Ordering::Greater) {
                        tally.cursor = done.cursor;
                    }
                    tally.tell(read)
                };
                progress.event(Event::RowsRead {
                    table: table.plan.to.clone(),
                    rows: read,
                    bytes: table.staged_bytes(),
                    broken: named(&table, broken),
                });
                if let Some(quarantined) = done.quarantined {
                    aside.send(quarantined.rows).await.map_err(|_| Error::internal("quarantine stopped early"))?;
                }
                let mut staged = vec![Ok::<_, DataFusionError>(marked(done.rows, &table.staged_schema, false)?)];
                if let Some(deleted) = done.deleted.filter(|_| transform.writes()) {
                    staged.push(Ok(marked(deleted, &table.staged_schema, true)?));
                }
                Ok::<_, DataFusionError>(Some((futures::stream::iter(staged), (rows, aside, hasher, position + read))))
            }
        });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.try_flatten())))
}

/// Rows as they are staged: marked, if some of their table can be delete markers.
fn marked(rows: RecordBatch, schema: &SchemaRef, is_deleted: bool) -> Result<RecordBatch> {
    if rows.num_columns() == schema.fields().len() {
        return Ok(rows);
    }
    let mark: ArrayRef = Arc::new(BooleanArray::from(vec![is_deleted; rows.num_rows()]));
    let columns = rows.columns().iter().cloned().chain([mark]).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Stages rows that were put aside, if there are any.
async fn stage_aside(
    table: &Table,
    unit: &str,
    mut rows: mpsc::Receiver<RecordBatch>,
    context: &Arc<TaskContext>,
) -> Result<Option<Staged>> {
    let Some(first) = rows.next().await else { return Ok(None) };
    let sink: &Arc<dyn Sink> = table
        .quarantine
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a row was put aside where nothing can be"))?;
    let all = futures::stream::iter([first]).chain(rows).map(Ok);
    let schema = Arc::clone(table.transform.quarantine_schema());
    let all = Box::pin(RecordBatchStreamAdapter::new(schema, all));
    sink.stage(unit, all, context.memory_pool()).await.map(Some)
}

/// The rows of all units.
pub(crate) fn counts(units: &[StagedUnit]) -> Result<Counts> {
    let mut counts = Counts::default();
    units.iter().for_each(|unit| counts.add(&unit.counts));
    counts.balance()?;
    Ok(counts)
}

/// Adds up losses by column.
pub(crate) fn add_losses(total: &mut Vec<Loss>, more: Vec<Loss>) {
    for loss in more {
        match total.iter_mut().find(|l| l.column == loss.column) {
            Some(sum) => {
                sum.changed += loss.changed;
                sum.nulled += loss.nulled;
                sum.quarantined += loss.quarantined;
            }
            None => total.push(loss),
        }
    }
}
