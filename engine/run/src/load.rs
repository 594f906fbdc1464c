//! A run of a whole plan.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::prelude::SessionContext;
use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use transload_coerce::Rulebook;
use transload_core::journal::{Event, StagedUnit};
use transload_core::{
    Clock, Counts, Endpoint, Error, ErrorKind, Finding, Journal, Progress, Receipt, Result, RunId, TableName, fault,
};
use transload_plan::{Plan, TablePlan};
use transload_quality::Place;

use crate::limits::Limits;
use crate::table::Table;
use crate::unit;

/// Tries of a unit or a commit that fails for a passing reason.
const TRIES: usize = 5;

/// Everything a run needs.
#[derive(Clone)]
pub struct Load {
    /// What to do.
    pub plan: Arc<Plan>,
    /// The plan's rulebook.
    pub rulebook: Arc<Rulebook>,
    /// The run's name.
    pub run: RunId,
    /// When the run began (not this process), in µs since 1970 UTC.
    pub started_micros: i64,
    /// Where tables come from.
    pub source: Arc<dyn Endpoint>,
    /// The source of the pipeline, where checks may look at other tables. A replay takes its rows from elsewhere.
    pub origin: Arc<dyn Endpoint>,
    /// Where tables go to.
    pub target: Arc<dyn Endpoint>,
    /// Where rows that are put aside go.
    pub quarantine: Arc<dyn Endpoint>,
    /// What is remembered for a later process.
    pub journal: Arc<dyn Journal>,
    /// Who hears how it goes.
    pub progress: Arc<dyn Progress>,
    /// The time.
    pub clock: Clock,
    /// How much of the machine may be used.
    pub limits: Limits,
    /// Whether checks may keep some of the values that break a rule.
    pub show_values: bool,
    /// Whether it ends when the checks are judged, and nothing is written.
    pub checks_only: bool,
    /// Asks the run to stop.
    pub cancel: CancellationToken,
}

impl Load {
    /// Where a table is read that checks look at.
    pub(crate) fn endpoint(&self, place: Place) -> &Arc<dyn Endpoint> {
        match place {
            Place::Pipeline => &self.source,
            Place::Source => &self.origin,
            Place::Target => &self.target,
        }
    }
}

/// How one table's load ended.
#[derive(Debug)]
pub struct TableOutcome {
    /// The target table.
    pub table: TableName,
    /// Its receipt, or what went wrong. A run that only judges checks gives none.
    pub result: Result<Option<Receipt>>,
    /// What its checks found, if it came to that.
    pub findings: Vec<Finding>,
    /// Its rows, if all were read.
    pub counts: Option<Counts>,
}

/// What runs at the same time.
#[derive(Clone)]
struct Slots {
    /// Tables that are open: each costs memory, files and connections, also while none of its units has its turn. They are
    /// twice as many as units, as some are being opened and others published.
    tables: Arc<Semaphore>,
    units: Arc<Semaphore>,
    /// Second looks of checks.
    looks: Arc<Semaphore>,
}

/// Executes a plan, or what is left of it after an earlier process. Tables that could not be
/// [pinned anew](fn@crate::repin) are `unreadable`, and fail with the reason.
///
/// # Behavior
/// Every table ends on its own: one that fails leaves the others alone, even if it panics. A table that fails for good,
/// or is stopped, has nothing staged afterwards; one that fails for a passing reason keeps what is staged for a resume.
/// One that an earlier process has published does not fail any more: it gets the receipt that was not written.
///
/// # Errors
/// Only what concerns the run as a whole; what concerns a table is in its outcome.
///
/// # Cancellation
/// Cancel [`Load::cancel`] and wait. Dropping the future leaves staged data behind.
pub async fn run(load: &Load, unreadable: Vec<(TableName, Error)>) -> Result<Vec<TableOutcome>> {
    fault::point("run.begun")?;
    let receipts = load.journal.receipts().await?;
    let recorded = load.journal.recorded().await?;
    let session = load.limits.session()?;
    let parallel = load.limits.parallel.max(1);
    let slots = Slots {
        tables: Arc::new(Semaphore::new(2 * parallel)),
        units: Arc::new(Semaphore::new(parallel)),
        looks: Arc::new(Semaphore::new(1)),
    };
    let mut tables = JoinSet::new();
    let mut outcomes: Vec<(usize, TableOutcome)> = Vec::new();
    let mut unreadable: BTreeMap<TableName, Error> = unreadable.into_iter().collect();
    for (at, plan) in load.plan.tables.iter().enumerate() {
        if let Some(receipt) = receipts.iter().find(|r| r.to == plan.to) {
            let outcome = TableOutcome {
                table: plan.to.clone(),
                findings: receipt.checks.clone(),
                counts: Some(receipt.counts),
                result: Ok(Some(receipt.clone())),
            };
            outcomes.push((at, outcome));
            continue;
        }
        if let Some(error) = unreadable.remove(&plan.to) {
            let result = Err(error.with("table", plan.to.as_str()));
            let outcome = TableOutcome { table: plan.to.clone(), result, findings: Vec::new(), counts: None };
            outcomes.push((at, outcome));
            continue;
        }
        let staged: Vec<StagedUnit> = recorded.iter().filter(|u| u.table == plan.to).cloned().collect();
        let (load, session, slots, name) = (load.clone(), session.clone(), slots.clone(), plan.to.clone());
        tables.spawn(async move {
            let mut outcome = TableOutcome { table: name, result: Ok(None), findings: Vec::new(), counts: None };
            let result = caught(table(load, at, staged, session, slots, &mut outcome)).await;
            outcome.result = result.map_err(|e| e.with("table", outcome.table.as_str()));
            (at, outcome)
        });
    }
    while let Some(done) = tables.join_next().await {
        outcomes.push(done.map_err(|e| Error::internal("a table's task died").because(e))?);
    }
    outcomes.sort_by_key(|(at, _)| *at);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Makes an error of a panic.
async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|_| Err(Error::internal("the work for a table died")))
}

/// Loads one table, or ends what an earlier process has begun.
async fn table(
    load: Load,
    at: usize,
    staged: Vec<StagedUnit>,
    session: SessionContext,
    slots: Slots,
    outcome: &mut TableOutcome,
) -> Result<Option<Receipt>> {
    let plan = &load.plan.tables[at];
    let is_resumed = !staged.is_empty();
    let _open = Arc::clone(&slots.tables).acquire_owned().await.map_err(|e| Error::internal("no slot").because(e))?;
    let held = caught(load.source.holds(&plan.pin)).await;
    let is_gone = matches!(held, Ok(false));
    let result = match held {
        Ok(true) => caught(attempt(&load, plan, staged, &session, slots, outcome)).await,
        Ok(false) => Err(gone()),
        Err(error) => Err(error),
    };
    let error = match result {
        Err(error) if !load.checks_only && (is_gone || !error.is_passing()) => error,
        ended => return ended,
    };
    let receipt = give_up(&load, plan, is_resumed, error).await?;
    outcome.findings.clone_from(&receipt.checks);
    outcome.counts = Some(receipt.counts);
    Ok(Some(receipt))
}

/// Loads one table, as far as it comes.
async fn attempt(
    load: &Load,
    plan: &TablePlan,
    staged: Vec<StagedUnit>,
    session: &SessionContext,
    slots: Slots,
    outcome: &mut TableOutcome,
) -> Result<Option<Receipt>> {
    if load.cancel.is_cancelled() {
        return Err(stopped());
    }
    let table = Arc::new(Table::open(load, plan, &load.rulebook, session).await?);
    let staged = table.still_staged(load, staged).await?;
    let resumed = staged.len() as u64;
    let units = table.in_order(stage_units(load, &table, staged, session.clone(), slots.units).await?)?;
    outcome.counts = Some(unit::counts(&units)?);
    judge(load, &table, &units, session, &slots.looks, &mut outcome.findings).await?;
    match load.checks_only {
        true => Ok(None),
        false => {
            let memory = Arc::clone(&session.runtime_env().memory_pool);
            publish(load, &table, units, outcome.findings.clone(), resumed, &memory).await.map(Some)
        }
    }
}

/// Removes what is left of a table that has failed for good, and returns why; of one that only a resume can read, nothing.
/// But if this run has published it before, it has not failed: then this is its receipt.
async fn give_up(load: &Load, plan: &TablePlan, is_resumed: bool, error: Error) -> Result<Receipt> {
    match published_before(load, plan, is_resumed, &error).await? {
        Some(receipt) => return Ok(receipt),
        None if error.is_passing() => return Err(error),
        None => {}
    }
    match Table::abandon(load, plan).await? {
        true => {
            load.journal.forget(&plan.to).await?;
            Err(error)
        }
        // It was on its way.
        false => published_before(load, plan, true, &error).await?.ok_or(error),
    }
}

/// The receipt of a table that failed with `error` now, if this run has published it before.
async fn published_before(load: &Load, plan: &TablePlan, is_resumed: bool, error: &Error) -> Result<Option<Receipt>> {
    match Table::published(load, plan).await {
        Ok(Some(receipt)) => {
            tracing::info!(table = %plan.to, %error, "published before this");
            remember(load, receipt).await.map(Some)
        }
        Ok(None) => Ok(None),
        Err(unclear) if unclear.is_passing() || unclear.kind() == ErrorKind::Internal => Err(unclear),
        Err(unclear) if is_resumed => Err(not_known(unclear)),
        // No process before this one had anything to publish, and this one would know.
        Err(_) => Ok(None),
    }
}

/// Stages what is not staged yet.
async fn stage_units(
    load: &Load,
    table: &Arc<Table>,
    mut staged: Vec<StagedUnit>,
    session: SessionContext,
    slots: Arc<Semaphore>,
) -> Result<Vec<StagedUnit>> {
    let units = table.plan.splits.len();
    let read: u64 = staged.iter().map(|unit| unit.counts.read).sum();
    let rows = table.plan.estimated_rows.map(|rows| rows.saturating_sub(read));
    load.progress.event(Event::TableBegun { table: table.plan.to.clone(), rows, units });
    let mut running = JoinSet::new();
    for split in (0..units).filter(|split| staged.iter().all(|u| u.split != *split)) {
        let (load, table, session, slots) = (load.clone(), Arc::clone(table), session.clone(), Arc::clone(&slots));
        running.spawn(async move {
            let _slot = slots.acquire_owned().await.map_err(|e| Error::internal("no slot").because(e))?;
            tokio::select! {
                biased;
                () = load.cancel.cancelled() => Err(stopped()),
                done = unit_with_retries(&load, &table, split, &session) => done,
            }
        });
    }
    let mut first: Option<Error> = None;
    while let Some(done) = running.join_next().await {
        let done = match done {
            Ok(done) => done,
            Err(died) if died.is_cancelled() => continue,
            Err(died) => Err(Error::internal("a unit of work died").because(died)),
        };
        match done {
            Ok(unit) => staged.push(unit),
            Err(error) if first.is_none() => {
                // The table has failed: what else runs for it is of no use.
                running.abort_all();
                first = Some(error);
            }
            Err(_) => {}
        }
    }
    if let Some(error) = first {
        return Err(error);
    }
    if load.cancel.is_cancelled() {
        return Err(stopped());
    }
    Ok(staged)
}

/// Judges the checks; an error, if one of them demands that nothing is published.
async fn judge(
    load: &Load,
    table: &Table,
    units: &[StagedUnit],
    session: &SessionContext,
    looks: &Semaphore,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    // One after the other, as each may take all memory there is.
    let _look = match table.plan.checks.iter().any(|check| check.look().is_some()) {
        true => Some(looks.acquire().await.map_err(|e| Error::internal("no slot").because(e))?),
        false => None,
    };
    *findings = tokio::select! {
        biased;
        () = load.cancel.cancelled() => Err(stopped()),
        found = table.judge(load, units, session) => found,
    }?;
    if !findings.is_empty() {
        load.journal.record_findings(&table.plan.to, findings).await?;
        fault::point("run.checked")?;
    }
    for finding in findings.iter().filter(|f| f.is_failed()) {
        load.progress.event(Event::CheckFailed { table: table.plan.to.clone(), check: finding.title() });
    }
    transload_quality::stopped(findings).map_or(Ok(()), Err)
}

/// Commits and remembers that it is done.
async fn publish(
    load: &Load,
    table: &Arc<Table>,
    units: Vec<StagedUnit>,
    findings: Vec<Finding>,
    resumed: u64,
    memory: &Arc<dyn MemoryPool>,
) -> Result<Receipt> {
    let receipt = commit_with_retries(load, table, units, findings, resumed, memory).await?;
    remember(load, receipt).await
}

/// Writes down that a table is published.
async fn remember(load: &Load, receipt: Receipt) -> Result<Receipt> {
    // It is published, so whatever fails now must not make anybody load it again.
    let told = async {
        fault::point("run.receipt")?;
        load.journal.record_receipt(&receipt).await?;
        fault::point("run.remembered")
    };
    told.await.map_err(|e| {
        Error::new(ErrorKind::CommitUnknown, "the table is published, but the ledger could not be told")
            .hint("`transload resume` goes on from here; a new run would load the same rows again")
            .because(e)
    })?;
    load.progress.event(Event::TableCommitted { table: receipt.to.clone(), rows: receipt.committed.rows });
    tracing::info!(table = %receipt.to, rows = receipt.committed.rows, "committed");
    Ok(receipt)
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "the run was stopped before this table was committed")
}

fn gone() -> Error {
    Error::transient("what was pinned of the table is gone: its snapshot ended with the connection that took it")
        .hint("`transload resume` pins the table anew, and so does a new run")
}

fn not_known(because: Error) -> Error {
    Error::new(ErrorKind::CommitUnknown, "whether the table was published is not known")
        .hint("`transload resume` finds out; a new run may load the same rows again")
        .because(because)
}

fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(TRIES - 1)
}

async fn unit_with_retries(
    load: &Load,
    table: &Arc<Table>,
    split: usize,
    session: &SessionContext,
) -> Result<StagedUnit> {
    let mut retries = 0;
    let context = session.task_ctx();
    let stage = || unit::stage(table, split, &context, load);
    let mut unit = stage
        .retry(backoff())
        .when(Error::is_transient)
        .notify(|error, _| {
            retries += 1;
            load.progress.event(Event::Retrying { table: table.plan.to.clone(), error: error.message().to_string() });
        })
        .await
        .map_err(|e| e.with("split", table.plan.splits[split].label.clone()))?;
    unit.retries = retries;
    load.journal.record(&unit).await?;
    table.count_staged(&unit);
    load.progress.event(Event::UnitStaged { table: table.plan.to.clone(), bytes: table.staged_bytes() });
    fault::point("unit.journaled")?;
    Ok(unit)
}

async fn commit_with_retries(
    load: &Load,
    table: &Arc<Table>,
    staged: Vec<StagedUnit>,
    findings: Vec<Finding>,
    resumed: u64,
    memory: &Arc<dyn MemoryPool>,
) -> Result<Receipt> {
    let mut retries = 0;
    let mut is_unclear = false;
    let commit = || table.commit(load, staged.clone(), findings.clone(), resumed, memory);
    let done = commit
        .retry(backoff())
        // The same key never commits twice, so trying again is how to find out.
        .when(Error::is_passing)
        .notify(|error, _| {
            retries += 1;
            is_unclear |= error.kind() == ErrorKind::CommitUnknown;
            load.progress.event(Event::Retrying { table: table.plan.to.clone(), error: error.message().to_string() });
        })
        .await;
    let mut receipt = done.map_err(|e| match is_unclear && e.kind() != ErrorKind::CommitUnknown {
        true => not_known(e),
        false => e,
    })?;
    receipt.retries += retries;
    Ok(receipt)
}
