//! A table being loaded: opened, and committed at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;
use transload_coerce::{Loss, Rulebook};
use transload_core::connector::{Expected, ReadSpec, TableState, WriteMode, WriteSpec};
use transload_core::journal::StagedUnit;
use transload_core::value::Loss as LossCount;
use transload_core::{CommitKey, Endpoint, Error, Finding, Receipt, Result, Sink, Source, TableName, fault};
use transload_digest::{Algorithm, sum_texts};
use transload_plan::{RunFacts, TablePlan, Transform};
use transload_quality::{Check, Facts, Place};

use crate::load::Load;
use crate::nowhere::Nowhere;
use crate::second_look::{OtherTable, SecondLook};
use crate::unit::{add_losses, counts};

/// Where the rows of a table go, and those that are put aside.
async fn sinks(load: &Load, plan: &TablePlan, transform: &Transform) -> Result<(Arc<dyn Sink>, Option<Arc<dyn Sink>>)> {
    let commit = CommitKey::new(&load.run, &plan.to);
    let spec = WriteSpec {
        commit: commit.clone(),
        mode: plan.write,
        partition_by: plan.partition_by.clone(),
        expected: plan.expected.clone(),
    };
    let sink = load.target.sink(&plan.to, Arc::clone(transform.schema()), &spec).await?;
    if !plan.can_quarantine() {
        return Ok((sink, None));
    }
    let spec = WriteSpec { commit, mode: WriteMode::Append, partition_by: Vec::new(), expected: Expected::Anything };
    let name = TableName::new(format!("{}/{}", load.run, plan.to));
    let quarantine = load.quarantine.sink(&name, Arc::clone(transform.quarantine_schema()), &spec).await?;
    Ok((sink, Some(quarantine)))
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
    let source = endpoint.source(&plan.from, &ReadSpec { pin: Some(plan.pin.clone()) }).await?;
    if *source.pin() != plan.pin || source.splits() != plan.splits {
        return Err(Error::config("the source is no longer what was planned")
            .with("table", plan.from.as_str())
            .hint("make a new plan"));
    }
    Ok(source)
}

/// Opens the other tables that checks look at, each once.
async fn open_others(load: &Load, checks: &[Check]) -> Result<Vec<OtherTable>> {
    let mut others: Vec<OtherTable> = Vec::new();
    for other in checks.iter().filter_map(Check::other) {
        if others.iter().any(|open| open.is(&other)) {
            continue;
        }
        let plan = load.plan.other(&other).ok_or_else(|| Error::internal("a check looks at a table without a plan"))?;
        let endpoint = match other.place {
            Place::Pipeline | Place::Source => &load.source,
            Place::Target => &load.target,
        };
        let source = open_pinned(endpoint, plan).await?;
        others.push(OtherTable { place: other.place, plan: plan.clone(), source });
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
        let others = open_others(load, &plan.checks).await?;
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
        let (sink, quarantine): (Arc<dyn Sink>, _) = match load.checks_only {
            true => (Arc::new(Nowhere), None),
            false => sinks(load, plan, &transform).await?,
        };
        Ok(Self {
            algorithm: plan.reconcile.hash,
            compared: plan.compared().map(|(i, _)| i).filter(|_| transform.writes()).collect(),
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

    /// Takes down that a unit is staged.
    pub(crate) fn count_staged(&self, unit: &StagedUnit) {
        self.staged.fetch_add(unit.staged.bytes, Ordering::Relaxed);
    }

    /// Bytes that this process has staged so far; with those of running units, if the sink can tell.
    pub(crate) fn staged_bytes(&self) -> u64 {
        self.sink.written().max(self.staged.load(Ordering::Relaxed))
    }

    /// Removes what was staged for a table that cannot be opened any more.
    pub(crate) async fn abandon(load: &Load, plan: &TablePlan) -> Result<()> {
        let spec = WriteSpec {
            commit: CommitKey::new(&load.run, &plan.to),
            mode: plan.write,
            partition_by: Vec::new(),
            expected: Expected::Anything,
        };
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        if plan.can_quarantine() {
            let name = TableName::new(format!("{}/{}", load.run, plan.to));
            load.quarantine.sink(&name, Arc::clone(&schema) as _, &spec).await?.abort().await?;
        }
        load.target.sink(&plan.to, schema, &spec).await?.abort().await
    }

    /// Puts the staged units of all splits into the order of the splits.
    pub(crate) fn in_order(&self, mut units: Vec<StagedUnit>) -> Result<Vec<StagedUnit>> {
        units.sort_by_key(|u| u.split);
        if units.iter().map(|u| u.split).ne(0..self.plan.splits.len()) {
            return Err(Error::internal("not every split is staged exactly once").with("table", self.plan.to.as_str()));
        }
        Ok(units)
    }

    /// Judges the checks by what all units counted, before anything is published.
    pub(crate) async fn judge(
        &self,
        load: &Load,
        units: &[StagedUnit],
        session: &SessionContext,
    ) -> Result<Vec<Finding>> {
        let look = SecondLook {
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
        transload_quality::judge(&self.plan.checks, &self.plan.to, &tallies, &facts)
    }

    /// Publishes the staged units of all splits, which are in order, with what their checks found.
    pub(crate) async fn commit(
        &self,
        load: &Load,
        units: Vec<StagedUnit>,
        checks: Vec<Finding>,
        resumed_units: u64,
    ) -> Result<Receipt> {
        let counts = counts(&units)?;
        let mut losses: Vec<LossCount> = self.possible_losses();
        let mut retries = 0;
        for unit in &units {
            add_losses(&mut losses, unit.losses.clone());
            retries += unit.retries;
        }
        let before = self.plan.incremental.as_ref().and_then(|i| i.above.as_deref());
        let cursors = units.iter().filter_map(|u| u.cursor.as_deref()).chain(before);
        let state = TableState { cursor: self.transform.highest_cursor(cursors)? };
        let quarantine = match &self.quarantine {
            Some(sink) if counts.quarantined > 0 => {
                let staged = units.iter().filter_map(|u| u.quarantined.clone()).collect();
                Some(sink.commit(staged, TableState::default()).await?)
            }
            _ => None,
        };
        fault::point("run.aside")?;
        let digest = sum_texts(self.algorithm, units.iter().map(|u| u.digest.as_str()))?;
        let committed = self.sink.commit(units.iter().map(|u| u.staged.clone()).collect(), state).await?;
        if committed.rows != counts.written {
            return Err(Error::internal(format!(
                "{} rows were staged and {} committed",
                counts.written, committed.rows
            )));
        }
        Ok(Receipt {
            from: self.plan.from.clone(),
            to: self.plan.to.clone(),
            pin: self.plan.pin.clone(),
            counts,
            losses,
            checks,
            digest: digest.to_string(),
            committed,
            quarantine,
            units: units.len() as u64,
            resumed_units,
            retries,
            started: self.started.clone(),
            ended: load.clock.stamp(),
        })
    }

    /// Every cast that could lose something, with nothing lost yet: a receipt shows that nothing was, too.
    fn possible_losses(&self) -> Vec<LossCount> {
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
        self.plan.columns.iter().filter_map(loss).collect()
    }

    /// Removes everything that is staged and not committed.
    pub(crate) async fn abort(&self) -> Result<()> {
        if let Some(quarantine) = &self.quarantine {
            quarantine.abort().await?;
        }
        self.sink.abort().await
    }
}
