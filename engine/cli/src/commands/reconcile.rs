//! `transload reconcile`, and the comparison that ends every run

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use transload_coerce::Rulebook;
use transload_core::journal::Event;
use transload_core::value::Outcome;
use transload_core::{Clock, Endpoint, Error, ErrorKind, Pin, Progress, Result, RunId, Verdict, fault};
use transload_ledger::{Audit, Ledger, RunEnd, RunStart};
use transload_plan::{Plan, TablePlan};
use transload_reconcile::audit;

use crate::alerts::{Desk, News, TableNews};
use crate::args::{Global, Reconcile};
use crate::commands::run::run_id;
use crate::connectors::{self, beside, rows_of};
use crate::output::{Failure, Output};
use crate::pinned::{Held, Pinned};
use crate::pipeline::{self, Purpose, planned_rulebook, resolver};
use crate::progress;
use crate::signals::Signals;

/// Tries of a comparison that fails for a passing reason.
const TRIES: usize = 3;

/// Which state of the target is compared.
pub(crate) enum Side {
    /// As it was committed.
    At(Pin),
    /// As it is.
    Now,
}

/// Compares tables of one plan and writes the verdicts down.
pub(crate) struct Comparison {
    pub(crate) plan: Arc<Plan>,
    pub(crate) rulebook: Arc<Rulebook>,
    /// Where the rows of the source's side are read.
    pub(crate) source: Arc<dyn Endpoint>,
    /// Keeps what is compared readable.
    pub(crate) held: Held,
    pub(crate) ledger: Ledger,
    pub(crate) audit: Audit,
    /// The run the verdicts belong to.
    pub(crate) names_run: RunId,
    /// Names the evidence, so that comparing again does not touch older evidence.
    pub(crate) names_evidence: RunId,
    /// Start of the run that loaded the tables, in µs since 1970 UTC.
    pub(crate) started_micros: i64,
    pub(crate) session: transload_run::Session,
    pub(crate) progress: Arc<dyn Progress>,
    /// Asks the comparison to stop.
    pub(crate) cancel: CancellationToken,
}

impl Comparison {
    /// Compares one table.
    ///
    /// # Errors
    /// [`NotCompared`](ErrorKind::NotCompared) if what was pinned of the source is gone.
    pub(crate) async fn compare(&self, table: &TablePlan, target: Side) -> Result<Verdict> {
        let of_table = |e: Error| e.with("table", table.to.as_str());
        if !self.source.holds(&table.pin).await.map_err(of_table)? {
            return Err(of_table(gone()));
        }
        self.progress.event(Event::Comparing { table: table.to.clone() });
        let evidence = beside(self.ledger.url(), "evidence", &resolver())?;
        let compared = || {
            audit(transload_reconcile::Audit {
                plan: table,
                rulebook: &self.rulebook,
                source: Arc::clone(&self.source),
                target: Arc::clone(&self.held.target),
                target_pin: match &target {
                    Side::At(pin) => Some(pin.clone()),
                    Side::Now => None,
                },
                evidence: Arc::clone(&evidence),
                run: self.names_evidence.clone(),
                started_micros: self.started_micros,
                session: self.session.clone(),
            })
        };
        // A snapshot ends with this process: who comes later has nothing to compare with.
        let compared = compared.retry(backoff()).when(Error::is_transient).notify(|error, _| {
            self.progress.event(Event::Retrying { table: table.to.clone(), error: error.message().to_string() });
        });
        let found = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(stopped()),
            found = compared => found,
        };
        let mut verdict = found.map_err(of_table)?;
        if let Some(evidence) = &mut verdict.evidence {
            *evidence = format!("{}/evidence/{evidence}", self.ledger.url());
        }
        self.ledger.verdict(&self.names_run, &verdict).await?;
        fault::point("reconcile.written")?;
        let text = serde_json::to_string_pretty(&verdict)
            .map_err(|e| Error::internal("a verdict cannot be written").because(e))?;
        let sha = self.ledger.keep(&text).await?;
        self.audit.append(&format!("compared {}: {}", table.to, verdict.outcome), Some(&sha)).await?;
        self.progress.event(Event::Compared { table: table.to.clone(), outcome: verdict.outcome });
        Ok(verdict)
    }
}

fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_times(TRIES - 1)
}

fn gone() -> Error {
    let said = "the snapshot that the run read is gone, so nothing can be compared with it";
    Error::new(ErrorKind::NotCompared, said)
        .hint("`transload reconcile PIPELINE` compares source and target as they are now")
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "the comparison was stopped before it knew anything of this table")
        .hint("`transload reconcile` compares again; nothing has to be loaded for it")
}

pub(crate) async fn reconcile(args: &Reconcile, global: &Global, output: &Output) -> Result<u8, Failure> {
    let signals = Signals::listen()?;
    let clock = Clock::system();
    let started = clock.stamp();
    let ledger;
    let names_run;
    let started_micros;
    let (Pinned { plan, held }, pins): (Pinned, Option<Vec<(String, Pin)>>) = match (&args.run, &args.pipeline) {
        (Some(run), _) => {
            ledger = connectors::ledger(global, false)?;
            names_run = run_id(run)?;
            let summary = ledger.summary(&names_run).await?;
            started_micros = summary.start.at_micros;
            let plan = Plan::from_json(&ledger.artifact(summary.plan()).await?)?;
            let held = Held::by_none(&plan)?;
            let pins = summary.receipts.into_iter().map(|r| (r.to.to_string(), r.committed.pin)).collect();
            (Pinned { plan, held }, Some(pins))
        }
        (None, Some(path)) => {
            let checked = pipeline::check(path, &args.selection.overrides)?;
            let pinned = pipeline::plan(&checked, &args.selection.table, Purpose::Compare).await?;
            ledger = connectors::ledger(global, true)?;
            names_run = RunId::new(&clock);
            let start = RunStart {
                run: names_run.clone(),
                pipeline: pinned.plan.pipeline.clone(),
                command: "reconcile".to_string(),
                at: started.clone(),
                at_micros: clock.now().timestamp_micros(),
                plan: ledger.keep(&pinned.plan.to_json()?).await?,
                program: env!("CARGO_PKG_VERSION").to_string(),
                show_values: false,
            };
            ledger.begin(&start).await?;
            started_micros = start.at_micros;
            (pinned, None)
        }
        (None, None) => return Err(Error::new(ErrorKind::Usage, "a pipeline or a run is needed").into()),
    };
    let resolver = resolver();
    let rulebook = Arc::new(planned_rulebook(&plan)?);
    let comparison = Comparison {
        source: rows_of(&plan, &held.source, &rulebook, &ledger, &resolver).await?,
        held,
        rulebook,
        audit: ledger.audit(clock.clone(), names_run.clone(), &plan.pipeline),
        names_evidence: RunId::new(&clock),
        started_micros,
        session: args.resources.limits().session()?,
        progress: progress::listener(output),
        cancel: signals.cancel.clone(),
        ledger: ledger.clone(),
        names_run: names_run.clone(),
        plan: Arc::new(plan),
    };
    let mut tables = Vec::new();
    let mut news = Vec::new();
    let mut code = 0;
    let mut status = "match";
    let mut fail = |kind: ErrorKind, word: &'static str| {
        // A mismatch outweighs what could not be compared.
        if code == 0 || code == ErrorKind::NotCompared.exit_code() {
            code = kind.exit_code();
            status = word;
        }
    };
    for table in &comparison.plan.tables {
        let side = match &pins {
            None => Some(Side::Now),
            Some(pins) => pins.iter().find(|(to, _)| *to == table.to.as_str()).map(|(_, pin)| Side::At(pin.clone())),
        };
        let compared = match side {
            Some(side) => comparison.compare(table, side).await,
            None => Err(Error::new(ErrorKind::NotCompared, "the run did not commit this table")
                .with("table", table.to.as_str())),
        };
        let (verdict, error) = (compared.as_ref().ok(), compared.as_ref().err());
        news.push(TableNews::new(&comparison.plan, table.to.as_str(), None, &[], verdict, error));
        match compared {
            Ok(verdict) => {
                output.say(&format!("  {}: {} — {}", table.to, verdict.outcome, verdict.summary));
                verdict.schema.iter().for_each(|s| output.say(&format!("    {s}")));
                if let Some(evidence) = &verdict.evidence {
                    output.say(&format!("    every differing key is in {evidence}"));
                }
                match verdict.outcome {
                    Outcome::Match => {}
                    Outcome::Mismatch => fail(ErrorKind::Mismatch, "mismatch"),
                    Outcome::NotCompared => fail(ErrorKind::NotCompared, "not_compared"),
                }
                let counts = verdict.counts;
                let mut line = json!({
                    "table": table.to,
                    "read": counts.map(|c| c.read),
                    "written": counts.map(|c| c.written),
                    "quarantined": counts.map(|c| c.quarantined),
                    "filtered": counts.map(|c| c.filtered),
                    "source_rows": verdict.source_rows,
                    "target_rows": verdict.target_rows,
                    "digest": verdict.source_digest,
                    "verdict": verdict.outcome,
                    "differences": verdict.differences,
                    "schema": verdict.schema,
                    "coverage": verdict.coverage,
                    "evidence": verdict.evidence,
                });
                if let Some(deleted) = counts.map(|c| c.deleted).filter(|deleted| *deleted > 0) {
                    line["deleted"] = json!(deleted);
                }
                tables.push(line);
            }
            Err(error) => {
                output.complain(&error);
                fail(error.kind(), if error.kind() == ErrorKind::NotCompared { "not_compared" } else { "failed" });
                tables.push(json!({
                    "table": table.to,
                    "read": null,
                    "written": null,
                    "quarantined": null,
                    "filtered": null,
                    "digest": null,
                    "verdict": null,
                    "error": error.to_string(),
                }));
            }
        }
    }
    if let Some(interrupted) = signals.exit_code() {
        (code, status) = (interrupted, "interrupted");
    }
    let ended = clock.stamp();
    if pins.is_none() {
        let end =
            RunEnd { status: status.to_string(), exit_code: code, resumable: false, error: None, at: ended.clone() };
        ledger.end(&names_run, &end).await?;
    }
    let Comparison { plan, audit, source, held, .. } = comparison;
    // What is told needs nothing that is pinned.
    drop((source, held));
    let news = News {
        pipeline: plan.pipeline.clone(),
        run: names_run.clone(),
        command: "reconcile".to_string(),
        status,
        exit_code: code,
        started,
        ended,
        tables: news,
    };
    Desk { plan: &plan, ledger: &ledger, audit: &audit, clock: &clock, signals: &signals, output }.send(&news).await;
    let answer = json!({
        "pipeline": plan.pipeline,
        "run_id": names_run,
        "status": status,
        "exit_code": code,
        "tables": tables,
    });
    output.last_line(&answer.to_string(), code)
}
