//! `transload run` and `transload resume`

use std::sync::Arc;

use serde_json::json;
use transload_core::value::Outcome;
use transload_core::{Clock, Counts, Error, ErrorKind, Finding, Receipt, Result, RunId, TableName, Verdict, fault};
use transload_ledger::{Audit, Ledger, Repinned, Replayed, RunEnd, RunJournal, RunStart, RunSummary};
use transload_plan::{Plan, TablePlan};
use transload_run::{Anew, Limits, Load, TableOutcome};
use transload_spec::ReconcileLevel;

use crate::alerts::{Desk, News, TableNews};
use crate::args::{Global, Quality, Resources, Resume, Run};
use crate::commands::reconcile::{Comparison, Side};
use crate::connectors::{self, quarantine, rows_of};
use crate::earlier;
use crate::metrics::{self, Measured, MeasuredTable, RunKind};
use crate::output::{Failure, Output};
use crate::pinned::{Held, Pinned};
use crate::pipeline::{self, Purpose, planned_rulebook, resolver};
use crate::progress;
use crate::push::Gateway;
use crate::signals::Signals;

/// What the ledger calls a run that only judges checks.
pub(crate) const CHECKS_ONLY: &str = "check";

pub(crate) async fn run(args: &Run, global: &Global, output: &Output) -> Result<u8, Failure> {
    let gateway = args.quality.gateway()?;
    let pinned = match (&args.plan, &args.pipeline) {
        (Some(path), _) => {
            let text =
                std::fs::read_to_string(path).map_err(|e| Error::from(e).with("file", path.display().to_string()))?;
            let plan = Plan::from_json(&text).map_err(|e| e.with("file", path.display().to_string()))?;
            if args.dry_run {
                return shown(&plan, output);
            }
            Pinned::before(plan, output).await?
        }
        (None, Some(path)) => {
            let checked = pipeline::check(path, &args.selection.overrides)?.backfilling(args.backfill.range.as_ref());
            let Pinned { plan, held } = pipeline::plan(&checked, &args.selection.table, Purpose::Load).await?;
            let plan = earlier::remembered(plan, global).await?;
            if args.dry_run {
                return shown(&plan, output);
            }
            Pinned { plan, held }
        }
        (None, None) => return Err(Error::new(ErrorKind::Usage, "a pipeline or a plan is needed").into()),
    };
    let ledger = connectors::ledger(global, true)?;
    let lock = ledger.lock(&pinned.plan.pipeline).await?;
    let asked = Asked { resources: &args.resources, quality: &args.quality, output };
    let command = if args.checks_only { CHECKS_ONLY } else { "run" };
    let ended = begin(command, pinned, ledger, asked).await;
    lock.release().await;
    ended?.announce(gateway, output).await
}

fn shown(plan: &Plan, output: &Output) -> Result<u8, Failure> {
    output.answer(&if output.json() { plan.to_json()? } else { plan.to_string() })?;
    Ok(0)
}

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

pub(crate) async fn resume(args: &Resume, global: &Global, output: &Output) -> Result<u8, Failure> {
    let gateway = args.quality.gateway()?;
    let run = run_id(&args.run)?;
    let ledger = connectors::ledger(global, false)?;
    let summary = ledger.summary(&run).await?;
    if !summary.start.is_load() {
        return Err(Error::config("only a load can be resumed").with("run", run.as_str()).into());
    }
    let lock = ledger.lock(&summary.start.pipeline).await?;
    let asked = Asked { resources: &args.resources, quality: &args.quality, output };
    let ended: Result<Ended, Failure> = match summary.end.as_ref().filter(|end| !end.resumable) {
        Some(end) => Err(Error::new(ErrorKind::NothingToDo, format!("this run has ended: {}", end.status))
            .with("run", run.as_str())
            .hint("start a new one with `transload run`")
            .into()),
        None => go_on(summary, ledger, asked).await,
    };
    lock.release().await;
    ended?.announce(gateway, output).await
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

/// Reads the name of a run.
pub(crate) fn run_id(text: &str) -> Result<RunId> {
    RunId::parse(text).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("`{text}` is not the name of a run"))
            .hint("`transload runs` lists the runs")
    })
}

impl Resources {
    /// The limits these options set.
    pub(crate) fn limits(&self) -> Limits {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Limits {
            memory_bytes: self.memory,
            parallel: self.parallel.map_or(cores, usize::from),
            temp_dir: self.temp_dir.clone(),
        }
    }
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
        let Asked { resources, quality, output } = asked;
        let resolver = resolver();
        let progress = progress::listener(output);
        let rulebook = Arc::new(planned_rulebook(&self.plan)?);
        let mut load = Load {
            plan: Arc::clone(&self.plan),
            rulebook: Arc::clone(&rulebook),
            run: self.start.run.clone(),
            started_micros: self.start.at_micros,
            source: rows_of(&self.plan, &held.source, &rulebook, &self.ledger, &resolver).await?,
            origin: Arc::clone(&held.source),
            target: Arc::clone(&held.target),
            quarantine: quarantine(self.plan.quarantine.as_ref(), &self.ledger, &resolver)?,
            journal: Arc::new(self.journal.clone()),
            progress: Arc::clone(&progress),
            clock: self.clock.clone(),
            limits: resources.limits(),
            show_values: quality.show_values,
            checks_only: self.start.command == CHECKS_ONLY,
            cancel: signals.cancel.clone(),
        };
        // What could fail as a whole fails before anything is published.
        let session = load.limits.session()?;
        let unreadable = match self.before {
            Some(_) => self.repin(&mut load, output).await?,
            None => Vec::new(),
        };
        let outcomes = transload_run::run(&load, unreadable).await?;
        let mut report = Report { tables: Vec::new() };
        for outcome in outcomes {
            let TableOutcome { table, result, findings, counts } = outcome;
            let (receipt, mut error) = match result {
                Ok(receipt) => (receipt, None),
                Err(error) => (None, Some(error)),
            };
            if let Some(receipt) = &receipt {
                error = self.vouch(receipt).await.err();
            }
            let counts = match &receipt {
                Some(receipt) => receipt.counts,
                None if load.checks_only => Counts { written: 0, ..counts.unwrap_or_default() },
                None => Counts::default(),
            };
            let table = table.to_string();
            report.tables.push(TableReport {
                table,
                receipt,
                counts,
                findings,
                verdict: None,
                error,
                nothing_new: false,
            });
        }
        let comparison = Comparison {
            plan: Arc::clone(&self.plan),
            rulebook,
            source: Arc::clone(&load.source),
            held: held.clone(),
            ledger: self.ledger.clone(),
            audit: self.audit.clone(),
            names_run: self.start.run.clone(),
            names_evidence: RunId::new(&self.clock),
            started_micros: self.start.at_micros,
            session,
            progress,
            cancel: signals.cancel.clone(),
        };
        for table in &mut report.tables {
            let Some(receipt) = &table.receipt else { continue };
            let Some(plan) = self.plan.tables.iter().find(|t| t.to == receipt.to) else { continue };
            let counts = &receipt.counts;
            table.nothing_new = match &plan.replay {
                Some(_) => counts.written == 0,
                None => plan.incremental.is_some() && counts.written + counts.quarantined + counts.deleted == 0,
            };
            if plan.reconcile.level == ReconcileLevel::None || table.nothing_new || signals.cancel.is_cancelled() {
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
        report.say(output);
        if let Some(path) = &quality.junit {
            let findings: Vec<Finding> = report.tables.iter().flat_map(|t| t.findings.iter().cloned()).collect();
            if let Err(error) = std::fs::write(path, transload_quality::junit(&self.plan.pipeline, &findings)) {
                // The run is as it is.
                let complaint = Error::config("the JUnit report cannot be written")
                    .with("file", path.display().to_string())
                    .hint("the run itself is not affected: its outcome and exit code are as they would be without");
                output.complain(&complaint.because(error));
            }
        }
        Ok(report)
    }
}

/// Puts every line of a text further in.
pub(crate) fn indented(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{by}{line}")).collect::<Vec<_>>().join("\n")
}

/// The checks of a table in the last line: how many passed, and those that failed or were not judged in full. None
/// without checks.
fn checks(findings: &[Finding]) -> serde_json::Value {
    if findings.is_empty() {
        return serde_json::Value::Null;
    }
    let failed: Vec<&Finding> = findings.iter().filter(|f| f.is_failed()).collect();
    let not_judged: Vec<&Finding> = findings.iter().filter(|f| !f.is_judged()).collect();
    json!({ "passed": findings.len() - failed.len() - not_judged.len(), "failed": failed, "not_judged": not_judged })
}

/// How a run ends.
struct Conclusion {
    code: u8,
    status: &'static str,
    /// What kind of failure the worst one is, if there is one.
    failure: Option<ErrorKind>,
    /// Whether some table can be gone on with.
    resumable: bool,
    /// Whether some table is published.
    is_published: bool,
    /// What went wrong first, for the ledger.
    error: Option<String>,
    /// The tables of the last line.
    tables: Vec<serde_json::Value>,
    /// The tables as numbers.
    measured: Vec<MeasuredTable>,
    /// The tables for those who want to know.
    news: Vec<TableNews>,
}

impl Conclusion {
    /// What a run comes to that failed as a whole: so did every table of it. One that was resumed can be resumed again: an
    /// earlier process may have published tables, and of these nothing was learned.
    fn without_tables(plan: &Plan, error: &Error, is_resumed: bool) -> Self {
        let news = |table: &TablePlan| TableNews::new(plan, table.to.as_str(), None, &[], None, Some(error));
        Self {
            code: error.kind().exit_code(),
            status: "failed",
            failure: Some(error.kind()),
            resumable: error.is_passing() || is_resumed,
            is_published: false,
            error: Some(error.chain().join(": ")),
            tables: Vec::new(),
            measured: Vec::new(),
            news: plan.tables.iter().map(news).collect(),
        }
    }

    /// Takes in that the ledger could not be told how the run has ended, and returns what to say about it. The run counts
    /// as not finished then.
    fn untold(&mut self, because: Error) -> Error {
        let said = "the run has ended and tables are published, but the ledger could not be told";
        let error = match self.is_published {
            true => Error::new(ErrorKind::CommitUnknown, said)
                .hint("`transload resume` goes on from here; a new run would load the same rows again")
                .because(because),
            false => because,
        };
        let is_worse = match self.status {
            "interrupted" => false,
            _ => self.failure.is_none_or(|failure| error.kind().rank() < failure.rank()),
        };
        if is_worse {
            (self.code, self.status) = (error.kind().exit_code(), "failed");
        }
        self.resumable = true;
        error
    }
}

/// What became of every table.
struct Report {
    tables: Vec<TableReport>,
}

struct TableReport {
    table: String,
    receipt: Option<Receipt>,
    /// Its rows: of its receipt, or those that only the checks looked at.
    counts: Counts,
    findings: Vec<Finding>,
    verdict: Option<Verdict>,
    error: Option<Error>,
    /// Whether an incremental load found nothing new, or a replay nothing that passes now.
    nothing_new: bool,
}

impl TableReport {
    fn news(&self, plan: &Plan) -> TableNews {
        let (receipt, verdict) = (self.receipt.as_ref(), self.verdict.as_ref());
        TableNews::new(plan, &self.table, receipt, &self.findings, verdict, self.error.as_ref())
    }

    fn measured(&self) -> MeasuredTable {
        MeasuredTable {
            table: self.table.clone(),
            counts: self.counts,
            findings: self.findings.clone(),
            verdict: self.verdict.as_ref().map(|v| v.outcome),
        }
    }
}

impl Report {
    fn say(&self, output: &Output) {
        for t in &self.tables {
            let counts = &t.counts;
            if t.receipt.is_some() || counts.read > 0 {
                let aside = match counts.quarantined {
                    0 => String::new(),
                    n => format!(", {n} put aside"),
                };
                let filtered = match counts.filtered {
                    0 => String::new(),
                    n => format!(", {n} filtered"),
                };
                let deleted = match counts.deleted {
                    0 => String::new(),
                    n => format!(", {n} deleted"),
                };
                output.say(&format!(
                    "  {}: {} rows read, {} written{deleted}{filtered}{aside}",
                    t.table, counts.read, counts.written
                ));
            }
            if let Some(summary) = transload_quality::summary(&t.findings) {
                output.say(&format!("  {}: {summary}", t.table));
            }
            for finding in t.findings.iter().filter(|f| !f.is_passed()) {
                output.say(&indented(&transload_quality::describe(finding), "    "));
            }
            if let Some(v) = &t.verdict {
                output.say(&format!("  {}: {} — {}", t.table, v.outcome, v.summary));
            }
            if let Some(e) = &t.error {
                output.complain(e);
            }
        }
    }

    /// What the run as a whole comes to.
    fn conclude(self, plan: &Plan, signals: &Signals) -> Conclusion {
        let tables = self
            .tables
            .iter()
            .map(|t| {
                let counts = t.counts;
                let mut line = json!({
                    "table": t.table,
                    "read": counts.read,
                    "written": counts.written,
                    "quarantined": counts.quarantined,
                    "filtered": counts.filtered,
                    "digest": t.receipt.as_ref().map(|r| r.digest.clone()),
                    "checks": checks(&t.findings),
                    "verdict": t.verdict.as_ref().map(|v| v.outcome),
                    "error": t.error.as_ref().map(ToString::to_string),
                });
                if counts.deleted > 0 {
                    line["deleted"] = json!(counts.deleted);
                }
                line
            })
            .collect();
        let measured = self.tables.iter().map(TableReport::measured).collect();
        let news = self.tables.iter().map(|t| t.news(plan)).collect();
        let outcome = |wanted| self.tables.iter().any(|t| t.verdict.as_ref().is_some_and(|v| v.outcome == wanted));
        let mismatch = outcome(Outcome::Mismatch);
        let not_compared = outcome(Outcome::NotCompared);
        let nothing_new = self.tables.iter().all(|t| t.nothing_new);
        let resumable = self.tables.iter().filter_map(|t| t.error.as_ref()).any(Error::is_passing);
        let is_published = self.tables.iter().any(|t| t.receipt.is_some());
        // What could not be compared is no failure of the load, and outweighs none.
        let is_left = |error: &Error| error.kind() == ErrorKind::NotCompared;
        let (left, failed): (Vec<_>, Vec<_>) = self.tables.into_iter().filter_map(|t| t.error).partition(is_left);
        let not_compared = not_compared || !left.is_empty();
        let worst = Error::worst(failed);
        let (code, status) = match (&worst, signals.exit_code()) {
            (_, Some(code)) => (code, "interrupted"),
            (Some(error), _) => (error.kind().exit_code(), "failed"),
            _ if mismatch => (ErrorKind::Mismatch.exit_code(), "mismatch"),
            _ if not_compared => (ErrorKind::NotCompared.exit_code(), "not_compared"),
            _ if nothing_new => (ErrorKind::NothingToDo.exit_code(), "nothing_to_do"),
            _ => (0, "succeeded"),
        };
        let failure = worst.as_ref().map(Error::kind);
        let error = worst.or_else(|| left.into_iter().next()).map(|e| e.chain().join(": "));
        Conclusion { code, status, failure, resumable, is_published, error, tables, measured, news }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of a run that came to this, once nobody could be told.
    fn untold(code: u8, status: &'static str, failure: Option<ErrorKind>, published: bool, because: ErrorKind) -> u8 {
        let mut conclusion = Conclusion {
            code,
            status,
            failure,
            resumable: false,
            is_published: published,
            error: None,
            tables: Vec::new(),
            measured: Vec::new(),
            news: Vec::new(),
        };
        let _ = conclusion.untold(Error::new(because, "the ledger could not be told"));
        assert!(conclusion.resumable);
        let expected = if conclusion.code == code { status } else { "failed" };
        assert_eq!(conclusion.status, expected);
        conclusion.code
    }

    #[test]
    fn an_end_that_is_not_written_down_hides_nothing_that_is_worse() {
        use ErrorKind as K;
        let failed = |kind: K, published, because| untold(kind.exit_code(), "failed", Some(kind), published, because);
        assert_eq!(untold(0, "succeeded", None, true, K::Transient), 8);
        assert_eq!(untold(5, "mismatch", None, true, K::Config), 8);
        assert_eq!(untold(99, "nothing_to_do", None, false, K::Transient), 75);
        assert_eq!(untold(130, "interrupted", Some(K::Quality), true, K::Transient), 130);
        assert_eq!(failed(K::Quality, true, K::Transient), 8);
        assert_eq!(failed(K::Internal, true, K::Transient), 1);
        assert_eq!(failed(K::Quality, false, K::Transient), 4);
        assert_eq!(failed(K::Transient, false, K::Config), 3);
        assert_eq!(failed(K::CommitUnknown, false, K::Config), 8);
    }
}
