//! A run while it goes on: from its first fact in the ledger to its last one, and what is told of it then.

use std::sync::Arc;

use serde_json::json;
use transload_core::{Clock, Error, ErrorKind, Receipt, Result, RunId, TableName, Verdict, fault};
use transload_ledger::{Audit, Ledger, Repinned, Replayed, RunEnd, RunJournal, RunStart, RunSummary};
use transload_plan::Plan;
use transload_run::{Anew, Load, Session};
use transload_spec::ReconcileLevel;

use crate::alerts::{Desk, News};
use crate::args::{Quality, Resources};
use crate::commands::reconcile::{Comparison, Side};
use crate::connectors::{quarantine, rows_of};
use crate::metrics::{self, Measured, MeasuredTable, RunKind};
use crate::outcome::{Conclusion, Report, TableReport};
use crate::output::{Failure, Output};
use crate::pinned::{Held, Pinned};
use crate::pipeline::{planned_rulebook, resolver};
use crate::progress;
use crate::push::Gateway;
use crate::signals::Signals;

/// What the ledger calls a run that only judges checks.
pub(crate) const CHECKS_ONLY: &str = "check";

/// What was asked of a run beside its plan.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) resources: &'a Resources,
    pub(crate) quality: &'a Quality,
    pub(crate) output: &'a Output,
}

/// A new run, from its first fact to its last. The pipeline's lock is held.
pub(crate) async fn begin(command: &str, pinned: Pinned, ledger: Ledger, asked: Asked<'_>) -> Result<Ended, Failure> {
    let Pinned { plan, held } = pinned;
    let clock = Clock::system();
    let start = RunStart {
        run: RunId::new(&clock),
        pipeline: plan.pipeline.clone(),
        command: command.to_string(),
        at: clock.stamp(),
        at_micros: clock.now().timestamp_micros(),
        plan: ledger.keep(&plan.to_json()?).await?,
        program: env!("CARGO_PKG_VERSION").to_string(),
        show_values: asked.quality.show_values,
    };
    fault::point("run.planned")?;
    let journal = ledger.begin(&start).await?;
    fault::point("run.started")?;
    let audit = ledger.audit(clock.clone(), start.run.clone(), &plan.pipeline);
    audit.append("planned", Some(&start.plan)).await?;
    for patch in plan.tables.iter().filter_map(|t| t.replay.as_ref()?.patch.as_ref()) {
        audit.append("patched", Some(patch)).await?;
    }
    let what = if command == CHECKS_ONLY { "run" } else { command };
    asked.output.say(&format!("{what} {} of pipeline {}", start.run, plan.pipeline));
    let going = Going { plan: Arc::new(plan), start, ledger, journal, audit, clock, before: None };
    going.go(held, asked).await
}

/// A run that began before, from where it stopped. The pipeline's lock is held.
pub(crate) async fn go_on(summary: RunSummary, ledger: Ledger, asked: Asked<'_>) -> Result<Ended, Failure> {
    let run = summary.start.run.clone();
    let clock = Clock::system();
    let plan = Plan::from_json(&ledger.artifact(summary.plan()).await?)?;
    let held = Held::by_none(&plan)?;
    let journal = ledger.journal(&run);
    let audit = ledger.audit(clock.clone(), run.clone(), &plan.pipeline);
    audit.append("resumed", Some(summary.plan())).await?;
    let staged = summary.staged_units;
    asked.output.say(&format!("resuming run {run} of pipeline {}: {staged} units are staged", plan.pipeline));
    let (start, before) = (summary.start, Some(summary.verdicts));
    let going = Going { plan: Arc::new(plan), start, ledger, journal, audit, clock, before };
    going.go(held, asked).await
}

/// A run that has ended and is written down as such. What is left is to tell.
pub(crate) struct Ended {
    going: Going,
    signals: Signals,
    news: News,
    metrics: String,
    /// The last line.
    answer: String,
}

impl Ended {
    /// Sends alerts and metrics, then answers. The next run may begin meanwhile. What does not arrive is said, and
    /// changes nothing.
    pub(crate) async fn announce(self, gateway: Option<Gateway>, output: &Output) -> Result<u8, Failure> {
        let Self { going: Going { plan, start, ledger, audit, clock, .. }, signals, news, metrics, answer } = self;
        let desk = Desk { plan: &plan, ledger: &ledger, audit: &audit, clock: &clock, signals: &signals, output };
        let pushed = async {
            match gateway {
                Some(gateway) => {
                    let kind = RunKind::of(&start.command);
                    gateway.push(&plan.pipeline, kind, metrics, signals.exit_code().is_some()).await
                }
                None => Ok(()),
            }
        };
        let ((), pushed) = tokio::join!(desk.send(&news), pushed);
        if let Err(error) = pushed {
            output.complain(&error);
        }
        output.last_line(&answer, news.exit_code)
    }
}

/// A run that has begun.
struct Going {
    plan: Arc<Plan>,
    start: RunStart,
    ledger: Ledger,
    journal: RunJournal,
    audit: Audit,
    clock: Clock,
    /// If an earlier process has begun it: the verdicts that there are.
    before: Option<Vec<Verdict>>,
}

impl Going {
    async fn go(mut self, held: Held, asked: Asked<'_>) -> Result<Ended, Failure> {
        let Asked { quality, output, .. } = asked;
        let signals = Signals::listen()?;
        let (result, is_resumed) = match self.begin_replays().await {
            Ok(()) => (self.load_and_compare(&held, asked, &signals).await, self.before.is_some()),
            Err(error) => (Err(error), false),
        };
        // Everything is read and compared, and what is told needs nothing that is pinned.
        drop(held);
        let mut conclusion = match result {
            Ok(report) => report.conclude(&self.plan, &signals),
            Err(error) => {
                output.complain(&error);
                Conclusion::without_tables(&self.plan, &error, is_resumed)
            }
        };
        let end = RunEnd {
            status: conclusion.status.to_string(),
            exit_code: conclusion.code,
            resumable: conclusion.resumable && self.start.command != CHECKS_ONLY,
            error: conclusion.error.take(),
            at: self.clock.stamp(),
        };
        if let Err(error) = self.write_down(&end).await {
            output.complain(&conclusion.untold(error));
        }
        let Conclusion { code, status, resumable, tables, measured, news, .. } = conclusion;
        let metrics = self.measure(code, &measured);
        if let Some(path) = &quality.metrics
            && let Err(error) = metrics::write(path, &self.start.run, &metrics)
        {
            // The run is as it is.
            output.complain(&error);
        }
        if resumable && self.start.command != CHECKS_ONLY {
            output.say(&format!("`transload resume {}` goes on from here", self.start.run));
        }
        let answer = json!({
            "pipeline": self.plan.pipeline,
            "run_id": self.start.run,
            "status": status,
            "exit_code": code,
            "tables": tables,
        });
        let news = News {
            pipeline: self.plan.pipeline.clone(),
            run: self.start.run.clone(),
            command: self.start.command.clone(),
            status,
            exit_code: code,
            started: self.start.at.clone(),
            ended: end.at,
            tables: news,
        };
        Ok(Ended { going: self, signals, news, metrics, answer: answer.to_string() })
    }

    /// Writes down how the run has ended. The ledger knows it last: until then the run can be gone on with.
    async fn write_down(&self, end: &RunEnd) -> Result<()> {
        fault::point("run.compared")?;
        self.audit.append(&format!("ended: {}", end.status), None).await?;
        fault::point("run.closed")?;
        self.ledger.end(&self.start.run, end).await?;
        fault::point("run.ended")
    }

    /// The metrics of a run that has ended.
    fn measure(&self, exit_code: u8, tables: &[MeasuredTable]) -> String {
        metrics::exposition(&Measured {
            pipeline: &self.plan.pipeline,
            kind: RunKind::of(&self.start.command),
            exit_code,
            started_micros: self.start.at_micros,
            ended_micros: self.clock.now().timestamp_micros(),
            tables,
        })
    }

    /// Says that this run reads what others have put aside, so that no other does.
    async fn begin_replays(&self) -> Result<()> {
        for table in &self.plan.tables {
            let Some(replay) = &table.replay else { continue };
            fault::point("replay.begun")?;
            let by = self.start.run.clone();
            let replayed = Replayed { table: table.to.clone(), by, attempt: replay.attempt };
            let first = self.ledger.begin_replay(&replay.run, &replayed).await?;
            if first != self.start.run {
                return Err(Error::config(format!("run {first} has begun to replay these rows before"))
                    .with("table", table.to.as_str())
                    .hint(format!("`transload replay {}` goes on from there", replay.run)));
            }
            fault::point("replay.claimed")?;
        }
        Ok(())
    }

    /// Keeps a receipt where the audit chain vouches for it. The table is published and the receipt written, so what
    /// fails here is about this table alone, and a resume can make up for it.
    async fn vouch(&self, receipt: &Receipt) -> Result<()> {
        let kept = async {
            let text = serde_json::to_string_pretty(receipt)
                .map_err(|e| Error::internal("a receipt cannot be written").because(e))?;
            let sha = self.ledger.keep(&text).await?;
            self.audit.append(&format!("committed {}", receipt.to), Some(&sha)).await?;
            fault::point("run.vouched")
        };
        kept.await.map_err(|e| {
            Error::new(ErrorKind::CommitUnknown, "the table is published, but the audit chain could not be told")
                .with("table", receipt.to.as_str())
                .hint("`transload resume` goes on from here; a new run would load the same rows again")
                .because(e)
        })
    }

    /// Lets the run go on by a plan in which tables are pinned anew whose snapshots have ended with the process that took
    /// them. Returns the tables that cannot be read as they were planned.
    async fn repin(&mut self, load: &mut Load, output: &Output) -> Result<Vec<(TableName, Error)>> {
        let Anew { plan, tables, looked_at, failed } = transload_run::repin(load).await?;
        let Some(plan) = plan else { return Ok(failed) };
        let sha = self.ledger.keep(&plan.to_json()?).await?;
        self.audit.append("pinned anew", Some(&sha)).await?;
        fault::point("repin.kept")?;
        let repinned = Repinned { plan: sha, tables, looked_at, at: self.clock.stamp() };
        self.ledger.repinned(&self.start.run, &repinned).await?;
        fault::point("repin.written")?;
        let read = repinned.tables.iter().map(|table| (table, "read"));
        for (table, how) in read.chain(repinned.looked_at.iter().map(|table| (table, "looked at"))) {
            output.say(&format!("table {table} is {how} anew: its snapshot ended with the process that took it"));
        }
        self.plan = Arc::new(plan);
        load.plan = Arc::clone(&self.plan);
        Ok(failed)
    }

    /// What an earlier process has found of a table, if its rows cannot be compared any more.
    fn compared_before(&self, receipt: &Receipt) -> Option<Verdict> {
        let pins = (&receipt.pin, &receipt.committed.pin);
        let found = self.before.iter().flatten().find(|v| v.to == receipt.to && (&v.source_pin, &v.target_pin) == pins);
        found.cloned()
    }

    async fn load_and_compare(&mut self, held: &Held, asked: Asked<'_>, signals: &Signals) -> Result<Report> {
        let Asked { quality, output, .. } = asked;
        let mut load = self.load(held, asked, signals).await?;
        // What could fail as a whole fails before anything is published.
        let session = load.limits.session()?;
        let unreadable = match self.before {
            Some(_) => self.repin(&mut load, output).await?,
            None => Vec::new(),
        };
        let mut report = Report { tables: Vec::new() };
        for outcome in transload_run::run(&load, unreadable).await? {
            let unvouched = match &outcome.result {
                Ok(Some(receipt)) => self.vouch(receipt).await.err(),
                Ok(None) | Err(_) => None,
            };
            report.tables.push(TableReport::new(outcome, unvouched, load.checks_only));
        }
        self.compare(&mut report, &load, held, session).await;
        report.say(output);
        if let Some(path) = &quality.junit
            && let Err(error) = report.write_junit(path, &self.plan.pipeline)
        {
            // The run is as it is.
            output.complain(&error);
        }
        Ok(report)
    }

    /// Everything that loading the tables takes.
    async fn load(&self, held: &Held, asked: Asked<'_>, signals: &Signals) -> Result<Load> {
        let Asked { resources, quality, output } = asked;
        let resolver = resolver();
        let rulebook = Arc::new(planned_rulebook(&self.plan)?);
        Ok(Load {
            plan: Arc::clone(&self.plan),
            run: self.start.run.clone(),
            started_micros: self.start.at_micros,
            source: rows_of(&self.plan, &held.source, &rulebook, &self.ledger, &resolver).await?,
            origin: Arc::clone(&held.source),
            target: Arc::clone(&held.target),
            quarantine: quarantine(self.plan.quarantine.as_ref(), &self.ledger, &resolver)?,
            rulebook,
            journal: Arc::new(self.journal.clone()),
            progress: progress::listener(output),
            clock: self.clock.clone(),
            limits: resources.limits(),
            show_values: quality.show_values,
            checks_only: self.start.command == CHECKS_ONLY,
            cancel: signals.cancel.clone(),
        })
    }

    /// Compares what is published with what was read.
    async fn compare(&self, report: &mut Report, load: &Load, held: &Held, session: Session) {
        let comparison = Comparison {
            plan: Arc::clone(&self.plan),
            rulebook: Arc::clone(&load.rulebook),
            source: Arc::clone(&load.source),
            held: held.clone(),
            ledger: self.ledger.clone(),
            audit: self.audit.clone(),
            names_run: self.start.run.clone(),
            names_evidence: RunId::new(&self.clock),
            started_micros: self.start.at_micros,
            session,
            progress: Arc::clone(&load.progress),
            cancel: load.cancel.clone(),
        };
        for table in &mut report.tables {
            let Some(receipt) = &table.receipt else { continue };
            let Some(plan) = self.plan.tables.iter().find(|t| t.to == receipt.to) else { continue };
            let counts = &receipt.counts;
            table.nothing_new = match &plan.replay {
                Some(_) => counts.written == 0,
                None => plan.incremental.is_some() && counts.written + counts.quarantined + counts.deleted == 0,
            };
            if plan.reconcile.level == ReconcileLevel::None || table.nothing_new || load.cancel.is_cancelled() {
                continue;
            }
            let side = Side::At(receipt.committed.pin.clone());
            let compared = match comparison.compare(plan, side).await {
                Err(error) if error.kind() == ErrorKind::NotCompared => self.compared_before(receipt).ok_or(error),
                compared => compared,
            };
            match compared {
                Ok(verdict) => table.verdict = Some(verdict),
                Err(error) => table.error = Error::worst(table.error.take().into_iter().chain([error])),
            }
        }
    }
}
