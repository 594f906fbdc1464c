//! A table being loaded: opened, and committed at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;
use transload_coerce::{Loss, Rulebook};
use transload_core::connector::{DELETED_COLUMN, Expected, ReadSpec, TableState, WriteMode, WriteSpec, hidden};
use transload_core::journal::StagedUnit;
use transload_core::value::Loss as LossCount;
use transload_core::{
    CommitKey, Committed, Counts, Endpoint, Error, ErrorKind, Finding, Receipt, Result, Sink, Source, TableName, fault,
};
use transload_digest::{Algorithm, sum_texts};
use transload_plan::{Limit, Plan, RunFacts, TablePlan, Transform};
use transload_quality::{Facts, Place};

use crate::load::Load;
use crate::nowhere::Nowhere;
use crate::second_look::{OtherTable, SecondLook};
use crate::unit::{add_losses, counts};

/// Where the rows of a table go, which have the columns `schema`.
async fn sink(load: &Load, plan: &TablePlan, schema: SchemaRef) -> Result<Arc<dyn Sink>> {
    let spec = plan.write_spec(CommitKey::new(&load.run, &plan.to));
    load.target.sink(&plan.to, schema, &spec).await
}

/// The same if no row is written any more, whatever columns the table has by now.
async fn bare_sink(load: &Load, plan: &TablePlan) -> Result<Arc<dyn Sink>> {
    let spec = plan.write_spec(CommitKey::new(&load.run, &plan.to));
    let spec = WriteSpec { partition_by: Vec::new(), expected: Expected::Anything, ..spec };
    load.target.sink(&plan.to, Arc::new(Schema::empty()), &spec).await
}

/// The same for rows that were written: the commit of them is asked for again.
async fn planned_sink(load: &Load, plan: &TablePlan) -> Result<Arc<dyn Sink>> {
    let columns: Vec<Field> = plan.columns.iter().map(|c| c.ty.to_field(&c.name, c.nullable)).collect();
    sink(load, plan, Arc::new(Schema::new(columns))).await
}

/// Where rows go that are put aside, if any can be.
async fn quarantine(load: &Load, plan: &TablePlan, schema: SchemaRef) -> Result<Option<Arc<dyn Sink>>> {
    if !plan.can_quarantine() {
        return Ok(None);
    }
    let spec = WriteSpec {
        commit: CommitKey::new(&load.run, &plan.to),
        mode: WriteMode::Append,
        partition_by: Vec::new(),
        expected: Expected::Anything,
        key: Vec::new(),
    };
    let name = TableName::new(format!("{}/{}", load.run, plan.to));
    load.quarantine.sink_whole(&name, schema, &spec).await.map(Some)
}

/// The columns of rows that are staged.
fn staged_schema(plan: &TablePlan, transform: &Transform) -> SchemaRef {
    if plan.deleted.is_none() || !transform.writes() {
        return Arc::clone(transform.schema());
    }
    let mark = Arc::new(hidden(Field::new(DELETED_COLUMN, DataType::Boolean, false)));
    Arc::new(Schema::new(transform.schema().fields().iter().cloned().chain([mark]).collect::<Vec<_>>()))
}

/// What the units of a table come to.
struct Sum {
    counts: Counts,
    losses: Vec<LossCount>,
    digest: String,
    units: u64,
    retries: u64,
}

/// What is known of a table once it is published, beside what its units come to.
struct Published {
    committed: Committed,
    quarantine: Option<Committed>,
    checks: Vec<Finding>,
    resumed_units: u64,
    started: String,
}

impl Sum {
    fn of(plan: &TablePlan, units: &[StagedUnit]) -> Result<Self> {
        let mut losses = possible_losses(plan);
        units.iter().for_each(|unit| add_losses(&mut losses, unit.losses.clone()));
        Ok(Self {
            counts: counts(units)?,
            losses,
            digest: sum_texts(plan.reconcile.hash, units.iter().map(|u| u.digest.as_str()))?.to_string(),
            units: units.len() as u64,
            retries: units.iter().map(|u| u.retries).sum(),
        })
    }

    fn receipt(self, load: &Load, plan: &TablePlan, published: Published) -> Result<Receipt> {
        let Published { committed, quarantine, checks, resumed_units, started } = published;
        if committed.rows != self.counts.written {
            return Err(Error::internal(format!(
                "{} rows were staged and {} committed",
                self.counts.written, committed.rows
            )));
        }
        Ok(Receipt {
            from: plan.from.clone(),
            to: plan.to.clone(),
            pin: plan.pin.clone(),
            counts: self.counts,
            losses: self.losses,
            checks,
            digest: self.digest,
            committed,
            quarantine,
            units: self.units,
            resumed_units,
            retries: self.retries,
            started,
            ended: load.clock.stamp(),
        })
    }
}

/// Every cast that could lose something, with nothing lost yet: a receipt shows that nothing was, too.
fn possible_losses(plan: &TablePlan) -> Vec<LossCount> {
    let loss = |c: &transload_plan::ColumnPlan| {
        let cast = c.cast.as_ref().filter(|cast| cast.loss != Loss::Exact)?;
        let transload_plan::Origin::Source(column) = &c.origin else { return None };
        Some(LossCount {
            column: column.clone(),
            from: cast.from.to_string(),
            to: cast.to.to_string(),
            ..LossCount::default()
        })
    };
    plan.columns.iter().filter_map(loss).collect()
}

/// A table with everything that is needed to load it.
pub(crate) struct Table {
    pub(crate) plan: TablePlan,
    pub(crate) transform: Arc<Transform>,
    pub(crate) scan: Arc<dyn ExecutionPlan>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) quarantine: Option<Arc<dyn Sink>>,
    pub(crate) algorithm: Algorithm,
    /// Positions of the columns that are hashed.
    pub(crate) compared: Vec<usize>,
    /// The columns of rows that are staged: those of the target, and behind them a mark if some can be delete markers.
    pub(crate) staged_schema: SchemaRef,
    pub(crate) started: String,
    /// Bytes of the units that this process has staged.
    staged: AtomicU64,
    source: Arc<dyn Source>,
    /// The other tables that its checks look at.
    others: Vec<OtherTable>,
    facts: RunFacts,
}

/// Opens a table as it was planned.
async fn open_pinned(endpoint: &Arc<dyn Endpoint>, plan: &TablePlan) -> Result<Arc<dyn Source>> {
    let source = endpoint.source(&plan.from, &ReadSpec::at(Some(plan.pin.clone()))).await?;
    if *source.pin() != plan.pin || source.splits() != plan.splits {
        return Err(Error::config("the source is no longer what was planned")
            .with("table", plan.from.as_str())
            .hint("make a new plan"));
    }
    Ok(source)
}

/// The other tables that checks of a table look at, each once, with where it is.
pub(crate) fn looked_at<'p>(whole: &'p Plan, plan: &TablePlan) -> Result<Vec<(Place, &'p TablePlan)>> {
    let unplanned = || Error::internal("a check looks at a table without a plan");
    let mut wanted: Vec<(Place, &TablePlan)> = Vec::new();
    for check in &plan.checks {
        let mut found = Vec::new();
        if plan.looks_into_target(check) {
            found.push((Place::Target, whole.in_target(plan).ok_or_else(unplanned)?));
        }
        if let Some(other) = check.other() {
            let others = whole.others(&other);
            if others.is_empty() {
                return Err(unplanned());
            }
            found.extend(others);
        }
        for (place, read) in found {
            if !wanted.iter().any(|(known, table)| *known == place && table.to == read.to) {
                wanted.push((place, read));
            }
        }
    }
    Ok(wanted)
}

/// Opens the other tables that checks look at.
async fn open_others(load: &Load, plan: &TablePlan) -> Result<Vec<OtherTable>> {
    let mut others = Vec::new();
    for (place, read) in looked_at(&load.plan, plan)? {
        let source = open_pinned(load.endpoint(place), read).await?;
        others.push(OtherTable { place, plan: read.clone(), source });
    }
    Ok(others)
}

impl Table {
    /// Opens source and target of a table.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the source is not what was planned any more.
    pub(crate) async fn open(
        load: &Load,
        plan: &TablePlan,
        rulebook: &Rulebook,
        session: &SessionContext,
    ) -> Result<Self> {
        let source = open_pinned(&load.source, plan).await?;
        let others = open_others(load, plan).await?;
        let facts = RunFacts {
            run_id: load.run.to_string(),
            started_micros: load.started_micros,
            source_system: format!("{}:{}", load.plan.source.kind, plan.first_source()),
        };
        let make = if load.checks_only { Transform::checking } else { Transform::new };
        let transform = make(plan, &source.schema(), rulebook, facts.clone())?;
        let projection = transform.projection().to_vec();
        let state = session.state();
        let scan = source.provider()?.scan(&state, Some(&projection), transform.pushdown(), None).await?;
        if scan.output_partitioning().partition_count() != plan.splits.len() {
            return Err(
                Error::internal("a source has another number of parts than it said").with("table", plan.from.as_str())
            );
        }
        let staged_schema = staged_schema(plan, &transform);
        let (sink, quarantine): (Arc<dyn Sink>, _) = match load.checks_only {
            true => (Arc::new(Nowhere), None),
            false => (
                sink(load, plan, Arc::clone(&staged_schema)).await?,
                quarantine(load, plan, Arc::clone(transform.quarantine_schema())).await?,
            ),
        };
        Ok(Self {
            algorithm: plan.reconcile.hash,
            compared: plan.compared().map(|(i, _)| i).filter(|_| transform.writes()).collect(),
            staged_schema,
            transform: Arc::new(transform),
            plan: plan.clone(),
            scan,
            sink,
            quarantine,
            started: load.clock.stamp(),
            staged: AtomicU64::new(0),
            source,
            others,
            facts,
        })
    }

    /// Whether this run has published a table. The source is not needed for it.
    pub(crate) async fn is_published(load: &Load, plan: &TablePlan) -> Result<bool> {
        bare_sink(load, plan).await?.is_committed().await
    }

    /// The receipt of a table that this run has published, by what the journal says of its units; `None` if it is not
    /// published. The source is not needed any more.
    ///
    /// # Errors
    /// [`CommitUnknown`](ErrorKind::CommitUnknown) if it is published and too little of it was written down.
    pub(crate) async fn published(load: &Load, plan: &TablePlan) -> Result<Option<Receipt>> {
        if !Self::is_published(load, plan).await? {
            return Ok(None);
        }
        let sink = planned_sink(load, plan).await?;
        let lost = || Error::new(ErrorKind::CommitUnknown, "the table is published, and what was done for it is lost");
        let mut units = load.journal.recorded().await?;
        units.retain(|u| u.table == plan.to);
        let units = in_order(plan, units).map_err(|e| lost().because(e))?;
        let sum = Sum::of(plan, &units)?;
        let memory = Arc::clone(&load.limits.session()?.runtime_env().memory_pool);
        // It was published before the table was, so these change nothing.
        let quarantine = match quarantine(load, plan, Arc::new(Schema::empty())).await? {
            Some(sink) if sum.counts.quarantined > 0 => {
                if !sink.is_committed().await? {
                    return Err(lost().because("what was put aside is not published"));
                }
                let staged = units.iter().filter_map(|u| u.quarantined.clone()).collect();
                Some(sink.commit(staged, TableState::default(), &memory).await?)
            }
            _ => None,
        };
        let staged = units.iter().map(|u| u.staged.clone()).collect();
        let committed = sink.commit(staged, TableState::default(), &memory).await?;
        let checks = load.journal.findings(&plan.to).await?;
        let (resumed_units, started) = (sum.units, load.clock.stamp());
        sum.receipt(load, plan, Published { committed, quarantine, checks, resumed_units, started }).map(Some)
    }

    /// Takes down that a unit is staged.
    pub(crate) fn count_staged(&self, unit: &StagedUnit) {
        self.staged.fetch_add(unit.staged.bytes, Ordering::Relaxed);
    }

    /// Bytes that this process has staged so far; with those of running units, if the sink can tell.
    pub(crate) fn staged_bytes(&self) -> u64 {
        self.sink.written().max(self.staged.load(Ordering::Relaxed))
    }

    /// Removes what was staged for a table that cannot be opened any more as it was planned. `false` if it turns out to be
    /// published: the commit of a process that has died may still have been on its way.
    pub(crate) async fn abandon(load: &Load, plan: &TablePlan) -> Result<bool> {
        let quarantine = quarantine(load, plan, Arc::new(Schema::empty())).await?;
        let sink = bare_sink(load, plan).await?;
        // Where a commit is under way, this waits for it. So it is known now how it went.
        sink.abort().await?;
        let is_published = sink.is_committed().await?;
        if let Some(quarantine) = quarantine {
            // What was put aside of a table that is not published is of no use either, published or not: a later run reads
            // the same rows again.
            match is_published {
                true => quarantine.abort().await?,
                false => quarantine.withdraw().await?,
            }
        }
        Ok(!is_published)
    }

    /// Of the units that an earlier process has recorded, those whose rows are still where it has staged them. Another
    /// commit may have removed them, and a unit can be recorded so late that its table was given up before. What is
    /// not there is forgotten, and staged again.
    pub(crate) async fn still_staged(&self, load: &Load, recorded: Vec<StagedUnit>) -> Result<Vec<StagedUnit>> {
        if recorded.is_empty() || self.sink.is_committed().await? {
            return Ok(recorded);
        }
        let aside = match &self.quarantine {
            Some(sink) => (!sink.is_committed().await?).then_some(sink),
            None => None,
        };
        let mut kept = Vec::with_capacity(recorded.len());
        for unit in &recorded {
            let has_rows_aside = match (aside, &unit.quarantined) {
                (Some(sink), Some(staged)) => sink.is_staged(staged).await?,
                _ => true,
            };
            if has_rows_aside && self.sink.is_staged(&unit.staged).await? {
                kept.push(unit.clone());
            }
        }
        if kept.len() < recorded.len() {
            let (table, units) = (&self.plan.to, recorded.len() - kept.len());
            tracing::warn!(table = %table, units, "staged units are gone: they are staged again");
            load.journal.forget(table).await?;
            for unit in &kept {
                load.journal.record(unit).await?;
            }
        }
        Ok(kept)
    }

    /// Puts the staged units of all splits into the order of the splits.
    pub(crate) fn in_order(&self, units: Vec<StagedUnit>) -> Result<Vec<StagedUnit>> {
        in_order(&self.plan, units)
    }

    /// Judges the checks by what all units counted, before anything is published.
    pub(crate) async fn judge(
        &self,
        load: &Load,
        units: &[StagedUnit],
        session: &SessionContext,
    ) -> Result<Vec<Finding>> {
        let look = SecondLook {
            whole: &load.plan,
            plan: &self.plan,
            source: &self.source,
            others: &self.others,
            rulebook: &load.rulebook,
            facts: &self.facts,
            session,
            show_values: load.show_values,
            ticks: load.clock.ticks(),
            progress: &load.progress,
            rows: units.iter().map(|unit| unit.counts.read).sum(),
        };
        let again = look.tally().await?;
        let tallies: Vec<_> = units.iter().map(|u| u.checks.as_slice()).chain(again.as_deref()).collect();
        let columns = self.plan.compared().map(|(_, c)| (c.name.as_str(), &c.ty)).collect();
        let facts = Facts { started_micros: self.facts.started_micros, columns };
        let mut findings = transload_quality::judge(&self.plan.checks, &self.plan.to, &tallies, &facts)?;
        for Limit { check, in_part, why } in self.plan.limits() {
            if *in_part {
                let of_rule = findings.iter_mut().filter(|finding| finding.fingerprint == check.fingerprint);
                of_rule.for_each(|f| f.found.push_str(&format!("; among the rows of the replay alone, as {why}")));
            } else {
                findings.push(transload_quality::not_judged(check, &self.plan.to, why));
            }
        }
        Ok(findings)
    }

    /// Publishes the staged units of all splits, which are in order, with what their checks found.
    pub(crate) async fn commit(
        &self,
        load: &Load,
        units: Vec<StagedUnit>,
        checks: Vec<Finding>,
        resumed_units: u64,
        memory: &Arc<dyn MemoryPool>,
    ) -> Result<Receipt> {
        let sum = Sum::of(&self.plan, &units)?;
        let incremental = self.plan.incremental.as_ref();
        let before = incremental.and_then(|i| i.above.as_deref());
        // A backfill says nothing of what lies between its range and the cursor.
        let is_backfill = incremental.is_some_and(|i| i.backfill.is_some());
        let cursors = units.iter().filter_map(|u| u.cursor.as_deref()).filter(|_| !is_backfill).chain(before);
        let cursor = self.transform.highest_cursor(cursors)?;
        let cursor_column = incremental.filter(|_| cursor.is_some()).map(|i| i.cursor.clone());
        let state = TableState { cursor, cursor_column };
        let quarantine = match &self.quarantine {
            Some(sink) if sum.counts.quarantined > 0 => {
                let staged = units.iter().filter_map(|u| u.quarantined.clone()).collect();
                Some(sink.commit(staged, TableState::default(), memory).await?)
            }
            _ => None,
        };
        fault::point("run.aside")?;
        let staged = units.iter().map(|u| u.staged.clone()).collect();
        let committed = self.sink.commit(staged, state, memory).await?;
        let started = self.started.clone();
        sum.receipt(load, &self.plan, Published { committed, quarantine, checks, resumed_units, started })
    }
}

/// Puts the staged units of all splits of a table into the order of the splits.
fn in_order(plan: &TablePlan, mut units: Vec<StagedUnit>) -> Result<Vec<StagedUnit>> {
    units.sort_by_key(|u| u.split);
    if units.iter().map(|u| u.split).ne(0..plan.splits.len()) {
        return Err(Error::internal("not every split is staged exactly once").with("table", plan.to.as_str()));
    }
    Ok(units)
}
