//! A run of a whole plan.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use datafusion::prelude::SessionContext;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use transload_coerce::Rulebook;
use transload_core::journal::{Event, StagedUnit};
use transload_core::{
    Clock, Counts, Endpoint, Error, ErrorKind, Finding, Journal, Progress, Receipt, Result, RunId, TableName, fault,
};
use transload_plan::Plan;

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
    units: Arc<Semaphore>,
    /// Second looks of checks.
    looks: Arc<Semaphore>,
}

/// Executes a plan, or what is left of it after an earlier process.
///
/// # Behavior
/// Every table ends on its own: one that fails leaves the others alone. A table that fails for good, or is
/// stopped, has nothing staged afterwards; one that fails for a passing reason keeps what is staged for a resume.
///
/// # Errors
/// Only what concerns the run as a whole; what concerns a table is in its outcome.
///
/// # Cancellation
/// Cancel [`Load::cancel`] and wait. Dropping the future leaves staged data behind.
pub async fn run(load: &Load) -> Result<Vec<TableOutcome>> {
    fault::point("run.begun")?;
    let receipts = load.journal.receipts().await?;
    let recorded = load.journal.recorded().await?;
    let session = load.limits.session()?;
    let slots =
        Slots { units: Arc::new(Semaphore::new(load.limits.parallel.max(1))), looks: Arc::new(Semaphore::new(1)) };
    let mut tables = JoinSet::new();
    let mut outcomes: Vec<(usize, TableOutcome)> = Vec::new();
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
        let staged: Vec<StagedUnit> = recorded.iter().filter(|u| u.table == plan.to).cloned().collect();
        let (load, session, slots, name) = (load.clone(), session.clone(), slots.clone(), plan.to.clone());
        tables.spawn(async move {
            let mut outcome = TableOutcome { table: name, result: Ok(None), findings: Vec::new(), counts: None };
            let result = table(load, at, staged, session, slots, &mut outcome).await;
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

/// Loads one table.
async fn table(
    load: Load,
    at: usize,
    staged: Vec<StagedUnit>,
    session: SessionContext,
    slots: Slots,
    outcome: &mut TableOutcome,
) -> Result<Option<Receipt>> {
    let plan = &load.plan.tables[at];
    let table = match Table::open(&load, plan, &load.rulebook, &session).await {
        Ok(table) => Arc::new(table),
        Err(error) => {
            // What an earlier process staged cannot be used any more.
            if !error.is_passing() && !load.checks_only {
                load.journal.forget(&plan.to).await?;
                Table::abandon(&load, plan).await?;
            }
            return Err(error);
        }
    };
    let result = async {
        let resumed = staged.len() as u64;
        let units = table.in_order(stage_units(&load, &table, staged, session.clone(), slots.units).await?)?;
        outcome.counts = Some(unit::counts(&units)?);
        judge(&load, &table, &units, &session, &slots.looks, &mut outcome.findings).await?;
        match load.checks_only {
            true => Ok(None),
            false => publish(&load, &table, units, outcome.findings.clone(), resumed).await.map(Some),
        }
    };
    let result = result.await;
    if let Err(error) = &result
        && !error.is_passing()
    {
        load.journal.forget(&plan.to).await?;
        table.abort().await?;
    }
    result
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
) -> Result<Receipt> {
    let receipt = commit_with_retries(load, table, units, findings, resumed).await?;
    // It is published, so whatever fails now must not make anybody load it again.
    let told = async {
        fault::point("run.receipt")?;
        load.journal.record_receipt(&receipt).await
    };
    told.await.map_err(|e| {
        Error::new(ErrorKind::CommitUnknown, "the table is published, but the ledger could not be told")
            .hint("`transload resume` goes on from here; a new run would load the same rows again")
            .because(e)
    })?;
    load.progress.event(Event::TableCommitted { table: table.plan.to.clone(), rows: receipt.committed.rows });
    tracing::info!(table = %table.plan.to, rows = receipt.committed.rows, "committed");
    Ok(receipt)
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "the run was stopped before this table was committed")
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
) -> Result<Receipt> {
    let mut retries = 0;
    let commit = || table.commit(load, staged.clone(), findings.clone(), resumed);
    let mut receipt = commit
        .retry(backoff())
        .when(Error::is_transient)
        .notify(|error, _| {
            retries += 1;
            load.progress.event(Event::Retrying { table: table.plan.to.clone(), error: error.message().to_string() });
        })
        .await?;
    receipt.retries += retries;
    Ok(receipt)
}
