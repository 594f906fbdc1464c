//! `transload replay`

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;
use serde_json::json;
use transload_coerce::Rulebook;
use transload_core::connector::{Expected, FAULT_COLUMN, ORIGIN_COLUMN, ReadSpec, WriteMode};
use transload_core::{CommitKey, Endpoint, Error, ErrorKind, Pin, Resolve, Result, RunId, Source, TableName};
use transload_ledger::{Ledger, RunSummary};
use transload_plan::replay::{self, Beside, Cell, Line, Missing, Patch, Restored, quarantined};
use transload_plan::{
    Build, ColumnPlan, Connection, OtherInput, Plan, Replay, TableInput, TablePlan, TargetColumn, TargetTable, build,
};
use transload_quality::Place;
use transload_spec::{TableSpec, fits};

use crate::args;
use crate::commands::run::run_id;
use crate::connectors::{self, planned, quarantine};
use crate::going::{Asked, Ended, begin, go_on};
use crate::others::as_it_stands;
use crate::output::{Failure, Output};
use crate::pinned::{Held, Pinned};
use crate::pipeline::{self, adding, planned_rulebook, resolver};

/// Largest patch that is read, in bytes.
const MAX_PATCH: u64 = 64 << 20;

pub(crate) async fn replay(args: &args::Replay, global: &args::Global, output: &Output) -> Result<u8, Failure> {
    let gateway = args.quality.gateway()?;
    let run = run_id(&args.run)?;
    let ledger = connectors::ledger(global, false)?;
    let summary = ledger.summary(&run).await?;
    let lock = ledger.lock(&summary.start.pipeline).await?;
    // What was read before the lock was taken may be old.
    let ended = match ledger.summary(&run).await {
        Ok(summary) => Replaying { args, ledger, summary, resolver: resolver() }.replay(output).await,
        Err(error) => Err(error.into()),
    };
    lock.release().await;
    ended?.announce(gateway, output).await
}

/// A replay that is asked for. The pipeline's lock is held.
struct Replaying<'a> {
    args: &'a args::Replay,
    ledger: Ledger,
    /// The run that is named.
    summary: RunSummary,
    resolver: Arc<dyn Resolve>,
}

/// Rows of one table that are in quarantine and not replayed.
struct Left {
    /// The run that put them aside, last.
    run: RunId,
    /// What its plan says.
    plan: Plan,
    table: TablePlan,
    /// The rows.
    pin: Pin,
    attempt: u32,
    /// A run that has begun to replay them and can go on.
    open: Option<RunId>,
}

/// What a table is planned from.
struct Input {
    left: Left,
    /// The run that has read the source itself.
    first: First,
    inner: Arc<dyn Source>,
    expected: Expected,
}

/// The first of the runs that put rows of a table aside.
struct First {
    run: RunId,
    plan: Plan,
    table: TablePlan,
}

impl Replaying<'_> {
    async fn replay(self, output: &Output) -> Result<Ended, Failure> {
        let run = &self.summary.start.run;
        if !self.summary.start.is_load() {
            return Err(Error::config("only a load puts rows aside").with("run", run.as_str()).into());
        }
        if self.summary.end.as_ref().is_none_or(|end| end.resumable) {
            return Err(Error::config("the run has not finished, so what it puts aside is not known yet")
                .with("run", run.as_str())
                .hint(format!("`transload resume {run}` goes on with it"))
                .into());
        }
        let plan = self.plan_of(&self.summary).await?;
        let target = planned(&plan.target, &self.resolver)?;
        let mut left = Vec::new();
        for table in self.wanted(&plan)? {
            left.extend(self.left(table, &target).await?);
        }
        let open = left.iter().find_map(|l| l.open.clone());
        if open.is_some() {
            left.retain(|l| l.open == open);
        }
        if left.is_empty() {
            return Err(Error::new(
                ErrorKind::NothingToDo,
                "nothing is left in quarantine: there is nothing to replay",
            )
            .with("run", run.as_str())
            .into());
        }
        let asked = Asked { resources: &self.args.resources, quality: &self.args.quality, output };
        if let Some(open) = open {
            return self.go_on_with(open, left, &target, asked).await;
        }
        let pinned = self.plan(left, &target).await?;
        begin("replay", pinned, self.ledger, asked).await
    }

    /// Goes on with a replay that has begun before.
    async fn go_on_with(
        self,
        open: RunId,
        left: Vec<Left>,
        target: &Arc<dyn Endpoint>,
        asked: Asked<'_>,
    ) -> Result<Ended, Failure> {
        let summary = self.ledger.summary(&open).await?;
        if self.args.pipeline.is_some() || self.args.patch.is_some() {
            let begun = self.plan_of(&summary).await?;
            let now = self.plan(left, target).await?.plan;
            let same = |table: &TablePlan| begun.tables.iter().any(|b| b.to == table.to && replay::same(b, table));
            if !now.tables.iter().all(same) {
                return Err(Error::config("a replay of these rows by other rules or another patch has not finished")
                    .with("run", open.as_str())
                    .hint(format!("`transload resume {open}` goes on with it"))
                    .into());
            }
        }
        asked.output.say(&format!("replay {open} of these rows has not finished"));
        go_on(summary, self.ledger, asked).await
    }

    async fn plan_of(&self, summary: &RunSummary) -> Result<Plan> {
        Plan::from_json(&self.ledger.artifact(summary.plan()).await?)
    }

    /// The tables of the run that are asked for.
    fn wanted<'p>(&self, plan: &'p Plan) -> Result<Vec<&'p TablePlan>> {
        let patterns = &self.args.table;
        if let Some(unknown) = patterns.iter().find(|p| plan.tables.iter().all(|t| !fits(p, t.to.as_str()))) {
            let names: Vec<&str> = plan.tables.iter().map(|t| t.to.as_str()).collect();
            return Err(Error::config(format!("the run has no table `{unknown}`"))
                .with("run", self.summary.start.run.as_str())
                .hint(format!("its tables are {}", names.join(", "))));
        }
        let is_wanted = |t: &&TablePlan| patterns.is_empty() || patterns.iter().any(|p| fits(p, t.to.as_str()));
        Ok(plan.tables.iter().filter(is_wanted).collect())
    }

    /// What is left in quarantine of a table, where the last of its replays has put it.
    async fn left(&self, table: &TablePlan, target: &Arc<dyn Endpoint>) -> Result<Option<Left>> {
        let mut at = self.summary.clone();
        loop {
            let receipt = at.receipts.iter().find(|r| r.to == table.to);
            let Some(aside) = receipt.and_then(|r| r.quarantine.clone()) else { return Ok(None) };
            let last = at.replays.iter().rfind(|r| r.table == table.to).cloned();
            let (mut open, mut attempt) = (None, 1);
            if let Some(last) = last {
                let next = self.ledger.summary(&last.by).await?;
                let has_ended = next.end.as_ref().is_some_and(|end| !end.resumable);
                if has_ended && next.receipts.iter().any(|r| r.to == table.to) {
                    at = next;
                    continue;
                }
                // A replay that has failed for good may be tried again, unless its rows have arrived all the same.
                if !has_ended || has_committed(target, &last.by, &table.to).await? {
                    (open, attempt) = (Some(last.by), last.attempt);
                } else {
                    attempt = last.attempt + 1;
                }
            }
            let plan = self.plan_of(&at).await?;
            let table = plan.tables.iter().find(|t| t.to == table.to).cloned();
            let table = table.ok_or_else(|| Error::internal("a run has a receipt for a table that is not planned"))?;
            return Ok(Some(Left { run: at.start.run.clone(), plan, table, pin: aside.pin, attempt, open }));
        }
    }

    /// The plan of a replay of these rows.
    async fn plan(&self, left: Vec<Left>, target: &Arc<dyn Endpoint>) -> Result<Pinned, Failure> {
        let mut inputs = Vec::with_capacity(left.len());
        for left in left {
            let place = quarantine(left.plan.quarantine.as_ref(), &self.ledger, &self.resolver)?;
            let name = quarantined(&left.run, &left.table.to);
            let pin = Some(left.pin.clone());
            let inner = place.source(&name, &ReadSpec::at(pin)).await.map_err(|e| match e.is_transient() {
                true => e,
                false => e.hint("what was put aside must stay as it is until it is replayed"),
            })?;
            let first = self.first(&left).await?;
            let expected = match left.open {
                Some(_) => Expected::Anything,
                None => self.expected(&first, target).await?,
            };
            inputs.push(Input { left, first, inner, expected });
        }
        let (base, rules) = match &self.args.pipeline {
            None => recorded(&inputs)?,
            Some(path) => self.amended(path, &inputs)?,
        };
        let rulebook = planned_rulebook(&base)?;
        let patch = self.patch(&inputs, &rulebook).await?;
        let held = Held::new(planned(&base.source, &self.resolver)?, Arc::clone(target));
        let beside = self.beside(&inputs, &rules, &held, &rulebook).await?;
        let mut tables = Vec::with_capacity(inputs.len());
        for (input, rules) in inputs.iter().zip(&rules) {
            let left = &input.left;
            let rows = Restored::new(Arc::clone(&input.inner), &replay::columns(&left.table), &[], None)?;
            let replay = Replay {
                run: left.run.clone(),
                from: left.table.first_source().clone(),
                attempt: left.attempt,
                quarantine: left.plan.quarantine.clone(),
                patch: patch.clone(),
                limits: Vec::new(),
            };
            tables.push(replay::table(rules, replay, &rows, input.expected.clone(), &beside, &rulebook)?);
        }
        Ok(Pinned { plan: replay::plan(&base, tables, beside)?, held })
    }

    /// Pins the tables that rules look at beside the rows that are replayed: what the target holds by now, and tables of
    /// the source.
    async fn beside(
        &self,
        inputs: &[Input],
        rules: &[TablePlan],
        held: &Held,
        rulebook: &Rulebook,
    ) -> Result<Vec<Beside>> {
        let mut found = Vec::new();
        for (place, name) in replay::looks_at(rules)? {
            // What the target hides, only the plans that wrote it can tell.
            let masked = match place {
                Place::Source => Vec::new(),
                _ => inputs.iter().flat_map(|input| masked(&input.first.plan, &name)).collect(),
            };
            let table = as_it_stands(held.at(place), &name).await;
            found.push(Beside::new(OtherInput { place, table: name.value, found: table }, masked, rulebook)?);
        }
        Ok(found)
    }

    /// The run whose rows a replay of them began with.
    async fn first(&self, left: &Left) -> Result<First> {
        let mut first = First { run: left.run.clone(), plan: left.plan.clone(), table: left.table.clone() };
        while let Some(replay) = &first.table.replay {
            let run = replay.run.clone();
            let plan = self.plan_of(&self.ledger.summary(&run).await?).await?;
            let table = plan.tables.iter().find(|t| t.to == left.table.to).cloned();
            let table = table
                .ok_or_else(|| Error::internal("a replay reads the quarantine of a table that was not planned"))?;
            first = First { run, plan, table };
        }
        Ok(first)
    }

    /// What the target must still be when rows are added to it: rows of an older snapshot must not get into a newer one.
    async fn expected(&self, first: &First, target: &Arc<dyn Endpoint>) -> Result<Expected> {
        let First { run, table, .. } = first;
        let to = &table.to;
        let state = target.sink(to, Arc::new(Schema::empty()), &adding(to)).await?.state().await?;
        let summary = self.ledger.summary(run).await?;
        let receipt = summary.receipts.into_iter().find(|r| r.to == *to);
        let receipt = receipt.ok_or_else(|| Error::internal("rows were put aside of a table without a receipt"))?;
        let pin = Some(receipt.committed.pin);
        target.source(to, &ReadSpec::at(pin)).await.map_err(|e| match e.is_transient() {
            true => e,
            false => {
                Error::config(format!("the target no longer holds what run {run} wrote: it was replaced or changed"))
                    .with("table", to.as_str())
                    .because(e)
                    .hint(
                        "replay what the newer run put aside: rows of an older snapshot do not belong among newer ones",
                    )
            }
        })?;
        Ok(match (table.write, state) {
            (WriteMode::Append, _) | (_, None) => Expected::Anything,
            (_, Some((version, _))) => Expected::Version(version),
        })
    }

    /// The rules of an amended pipeline: its plan, and of that plan each table.
    fn amended(&self, path: &Path, inputs: &[Input]) -> Result<(Plan, Vec<TablePlan>), Failure> {
        let overrides = args::Overrides { env: self.args.env.clone(), set: self.args.set.clone() };
        let checked = pipeline::check(path, &overrides)?;
        let file = path.display().to_string();
        let mut tables = Vec::with_capacity(inputs.len());
        for Input { left, inner, .. } in inputs {
            if checked.spec.name != left.plan.pipeline {
                let message = format!("this is the pipeline `{}`, not `{}`", checked.spec.name, left.plan.pipeline);
                return Err(Error::config(message).with("file", file).into());
            }
            if json!(Connection::from(&checked.spec.target)) != json!(left.plan.target) {
                return Err(Error::config("the amended pipeline has another target than the run")
                    .with("file", file)
                    .hint("a replay adds rows to the tables that the run has written")
                    .into());
            }
            let (from, to) = (left.table.first_source(), &left.table.to);
            let fitting = |t: &TableSpec| match t.is_wildcard() {
                true => t.expand(from.as_str()).filter(|t| t.to.value == to.as_str()),
                false => (t.to.value == to.as_str()).then(|| t.clone()),
            };
            let spec = checked.spec.tables.iter().find_map(fitting).ok_or_else(|| {
                Error::config(format!("the amended pipeline has no table that goes to `{to}`"))
                    .with("file", file.clone())
            })?;
            let declared = replay::declared(&left.table);
            let source = Restored::new(Arc::clone(inner), &replay::columns(&left.table), &declared, None)?;
            let source = Arc::new(source);
            let target = Some(written(&left.table));
            tables.push(TableInput {
                spec,
                source,
                state: None,
                has_rows_without_cursor: false,
                target,
                backfill: None,
            });
        }
        let rulebook = (&checked.rulebook, &checked.rulebook_node);
        let mut plan = build(Build { spec: &checked.spec, rulebook, tables, others: None })?;
        let mut rules = Vec::with_capacity(inputs.len());
        for Input { left, .. } in inputs {
            let amended = plan.tables.iter().find(|t| t.to == left.table.to).cloned();
            let amended = amended.ok_or_else(|| Error::internal("a table was not planned"))?;
            replay::fits(&left.table, &amended).map_err(|e| e.with("file", file.clone()))?;
            rules.push(amended);
        }
        if let Some(Input { left, .. }) = inputs.first() {
            plan.source = left.plan.source.clone();
        }
        Ok((plan, rules))
    }

    /// Reads the patch, holds it against the rows that there are, and keeps it in the ledger, whose name for it is
    /// returned.
    async fn patch(&self, inputs: &[Input], rulebook: &Rulebook) -> Result<Option<String>> {
        let Some(path) = &self.args.patch else { return Ok(None) };
        let [Input { left, inner, .. }] = inputs else {
            let names: Vec<&str> = inputs.iter().map(|i| i.left.table.to.as_str()).collect();
            let message = format!("a patch is for one table, and there are rows of {}", names.join(", "));
            return Err(Error::config(message).hint("choose one of them with --table"));
        };
        let file = path.display().to_string();
        let patch = Patch::read(&file, read_lines(path)?.into_iter(), &left.table)?;
        let columns = replay::columns(&left.table);
        // This reads its values as well.
        Restored::new(Arc::clone(inner), &columns, &[], Some((&patch, rulebook)))?;
        let source: Arc<dyn Source> = Arc::new(Restored::new(Arc::clone(inner), &columns, &[], None)?);
        let session = self.args.resources.limits().session()?;
        let mut missing = Missing::new(&patch, &left.table);
        transload_run::look(&source, &[ORIGIN_COLUMN, FAULT_COLUMN], &session, |batch| missing.see(batch)).await?;
        missing.finish()?;
        let text = serde_json::to_string_pretty(&patch)
            .map_err(|e| Error::internal("a patch cannot be written").because(e))?;
        self.ledger.keep(&text).await.map(Some)
    }
}

/// The rules that the runs recorded: a plan with all that tables share, and each table's rules.
fn recorded(inputs: &[Input]) -> Result<(Plan, Vec<TablePlan>)> {
    let first = inputs.first().ok_or_else(|| Error::internal("nothing is replayed"))?;
    let base = first.left.plan.clone();
    if let Some(other) = inputs.iter().find(|i| json!(i.left.plan.rulebook) != json!(base.rulebook)) {
        let message = "these tables were replayed before by different rulebooks";
        return Err(Error::config(message)
            .with("table", other.left.table.to.as_str())
            .hint("replay them one after the other, each with --table"));
    }
    Ok((base, inputs.iter().map(|i| i.left.table.clone()).collect()))
}

/// The table as a run has written it, whatever has become of it since.
fn written(plan: &TablePlan) -> TargetTable {
    let column = |c: &ColumnPlan| TargetColumn { name: c.name.clone(), ty: Some(c.ty.clone()), nullable: c.nullable };
    TargetTable { columns: plan.columns.iter().map(column).collect(), keeps_types: true, is_written: true }
}

/// The columns of a table of the target that a plan has masked.
fn masked(plan: &Plan, table: &str) -> Vec<String> {
    let planned = plan.tables.iter().chain(plan.references.iter().map(|r| &r.read)).filter(|t| t.to.as_str() == table);
    planned.flat_map(|t| t.columns.iter().filter(|c| c.mask.is_some()).map(|c| c.name.clone())).collect()
}

/// Whether a run has committed a table, whatever it wrote down of it.
async fn has_committed(target: &Arc<dyn Endpoint>, run: &RunId, table: &TableName) -> Result<bool> {
    let mut spec = adding(table);
    spec.commit = CommitKey::new(run, table);
    target.sink(table, Arc::new(Schema::empty()), &spec).await?.is_committed().await
}

/// The lines of a patch file.
fn read_lines(path: &Path) -> Result<Vec<Line>> {
    let file = path.display().to_string();
    let named = |e: std::io::Error| Error::from(e).with("file", file.clone());
    if std::fs::metadata(path).map_err(named)?.len() > MAX_PATCH {
        return Err(Error::config(format!("a patch has at most {MAX_PATCH} bytes")).with("file", file));
    }
    let bytes = std::fs::read(path).map_err(named)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::config("the patch is not UTF-8 text").with("file", file.clone()).hint("save it as UTF-8")
    })?;
    let records = transload_lake::csv_records(&text).map_err(|(line, reason)| {
        Error::config(format!("a line cannot be read: {reason}")).with("file", format!("{file}:{line}"))
    })?;
    let cell = |(text, quoted): (String, bool)| Cell { text, quoted };
    let line = |r: transload_lake::CsvRecord| Line { number: r.line, cells: r.fields.into_iter().map(cell).collect() };
    Ok(records.into_iter().map(line).collect())
}
