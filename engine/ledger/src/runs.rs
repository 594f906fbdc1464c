//! What is known about runs.

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transload_core::journal::StagedUnit;
use transload_core::{Error, Finding, Journal, Receipt, Result, RunId, TableName, Verdict};

use crate::Ledger;
use crate::artifacts::hex;

/// Runs of a ledger that are looked at for those of one pipeline.
const LOOKED_AT: usize = 300;

/// What is written when a run begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStart {
    /// The run.
    pub run: RunId,
    /// The pipeline.
    pub pipeline: String,
    /// `run`, `replay` or `reconcile`.
    pub command: String,
    /// When, RFC 3339.
    pub at: String,
    /// When, in µs since 1970 UTC.
    pub at_micros: i64,
    /// The artifact that is the plan.
    pub plan: String,
    /// Version of transload.
    pub program: String,
    /// Whether some of the values that break a rule may be kept and shown.
    #[serde(default)]
    pub show_values: bool,
}

impl RunStart {
    /// Whether the run moves rows, and does not only compare them.
    pub fn is_load(&self) -> bool {
        matches!(self.command.as_str(), "run" | "replay")
    }
}

/// What is written when another run begins to read what this one put aside of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// The target table.
    pub table: TableName,
    /// The other run.
    pub by: RunId,
    /// How often somebody has begun to, this time included.
    pub attempt: u32,
}

/// What is written when a run goes on by another plan: tables of it could not be read any more as they were pinned, and were
/// pinned anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repinned {
    /// The artifact that is the plan from then on.
    pub plan: String,
    /// The tables that are read anew from the beginning, by their names in the target.
    pub tables: Vec<TableName>,
    /// Those that only checks look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looked_at: Vec<TableName>,
    /// When, RFC 3339.
    pub at: String,
}

impl std::fmt::Display for Repinned {
    /// Such as `orders, lines; looked at: customers`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |tables: &[TableName]| tables.iter().map(TableName::as_str).collect::<Vec<_>>().join(", ");
        let looked_at = match self.looked_at.is_empty() {
            true => String::new(),
            false => format!("looked at: {}", names(&self.looked_at)),
        };
        let between = if self.tables.is_empty() || looked_at.is_empty() { "" } else { "; " };
        write!(f, "{}{between}{looked_at}", names(&self.tables))
    }
}

/// What is written when a run ends; a run that is resumed can end several times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// `succeeded`, `failed`, `interrupted`, …
    pub status: String,
    /// The exit code.
    pub exit_code: u8,
    /// Whether another process may go on with it.
    pub resumable: bool,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// When, RFC 3339.
    pub at: String,
}

/// What the checks of an earlier run found.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// How it began.
    pub start: RunStart,
    /// What the checks of every table found, newest of each.
    pub findings: Vec<Finding>,
}

/// What became of an alert. It names the place it was sent to and never its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerted {
    /// Its number among the alerts of the plan, from 1.
    pub alert: usize,
    /// `webhook`, `slack` or `command`.
    pub kind: String,
    /// The host, or the program.
    pub to: String,
    /// Why it was sent: `error`, `mismatch`, …
    pub reasons: Vec<String>,
    /// The tables it was about.
    pub tables: Vec<String>,
    /// Whether it arrived.
    pub delivered: bool,
    /// How often it was tried.
    pub tries: u32,
    /// What went wrong the last time, if it did not arrive.
    pub error: Option<String>,
    /// When that was known, RFC 3339.
    pub at: String,
}

impl std::fmt::Display for Alerted {
    /// Such as `slack hooks.slack.com: delivered, 1 try`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, to, tries, .. } = self;
        let times = if *tries == 1 { "try" } else { "tries" };
        match (&self.error, self.delivered) {
            (_, true) => write!(f, "{kind} {to}: delivered, {tries} {times}"),
            (Some(error), false) => write!(f, "{kind} {to}: not delivered, {tries} {times}: {error}"),
            (None, false) => write!(f, "{kind} {to}: not delivered, {tries} {times}"),
        }
    }
}

/// Everything about one run.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// How it began.
    pub start: RunStart,
    /// How it went on by other plans, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repinned: Vec<Repinned>,
    /// How it ended, last.
    pub end: Option<RunEnd>,
    /// Tables that were committed.
    pub receipts: Vec<Receipt>,
    /// What the checks of every table found, newest of each.
    pub findings: Vec<Finding>,
    /// Tables that were compared, newest verdict of each.
    pub verdicts: Vec<Verdict>,
    /// Units that are staged.
    pub staged_units: usize,
    /// Runs that began to read what this one put aside, for each table in their order.
    pub replays: Vec<Replayed>,
    /// Alerts that were sent, in their order.
    pub alerts: Vec<Alerted>,
}

impl RunSummary {
    /// The artifact that is the plan of the run by now.
    pub fn plan(&self) -> &str {
        self.repinned.last().map_or(&self.start.plan, |repinned| &repinned.plan)
    }
}

/// The journal of one run.
#[derive(Debug, Clone)]
pub struct RunJournal {
    ledger: Ledger,
    run: RunId,
}

impl Ledger {
    /// Writes down that a run begins.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn begin(&self, start: &RunStart) -> Result<RunJournal> {
        self.fact(&start.run, "start", start).await?;
        Ok(self.journal(&start.run))
    }

    /// The journal of a run that began.
    pub fn journal(&self, run: &RunId) -> RunJournal {
        RunJournal { ledger: self.clone(), run: run.clone() }
    }

    /// Writes down that a run goes on by another plan.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn repinned(&self, run: &RunId, repinned: &Repinned) -> Result<()> {
        self.numbered_fact(run, "repinned", repinned).await
    }

    /// Writes down how a run ended.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn end(&self, run: &RunId, end: &RunEnd) -> Result<()> {
        self.numbered_fact(run, "end", end).await
    }

    /// Writes down what a comparison found.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn verdict(&self, run: &RunId, verdict: &Verdict) -> Result<()> {
        self.numbered_fact(run, &format!("verdict-{}", short(&verdict.to)), verdict).await
    }

    /// Says that another run is about to read what `run` put aside of a table, and returns which run is: the first
    /// that said so for this attempt.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn begin_replay(&self, run: &RunId, replayed: &Replayed) -> Result<RunId> {
        let name = format!("replayed-{}-{:04}", short(&replayed.table), replayed.attempt);
        if self.fact(run, &name, replayed).await? {
            return Ok(replayed.by.clone());
        }
        let first: Option<Replayed> = self.read_fact(run, &name).await?;
        first.map(|r| r.by).ok_or_else(|| Error::internal("a fact was there and is gone").with("object", name))
    }

    /// Writes down what became of an alert.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn alerted(&self, run: &RunId, alerted: &Alerted) -> Result<()> {
        self.numbered_fact(run, "alert", alerted).await
    }

    /// The runs that have begun, oldest first.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn runs(&self) -> Result<Vec<RunId>> {
        let mut runs: Vec<RunId> = Vec::new();
        // Somebody may have died on the way to a run's first fact.
        for found in self.store.list(&Path::from("runs")).await? {
            if found.location.filename() == Some("start.json") {
                let name = found.location.parts().nth(1).map(|p| p.as_ref().to_string()).unwrap_or_default();
                runs.extend(RunId::parse(&name));
            }
        }
        Ok(runs)
    }

    /// How a load of a pipeline began, and what it has published; `None` if the run is not one of these.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn published(&self, run: &RunId, pipeline: &str) -> Result<Option<(RunStart, Vec<Receipt>)>> {
        let start: Option<RunStart> = self.read_fact(run, "start").await?;
        match start.filter(|start| start.pipeline == pipeline && start.command == "run") {
            Some(start) => Ok(Some((start, self.facts(run, "receipt-").await?))),
            None => Ok(None),
        }
    }

    /// How a load began that has not ended for good, so that it may still go on. `None` for all others, and for a run
    /// that is not in this ledger.
    ///
    /// # Errors
    /// As the store fails, or if a fact cannot be read.
    pub async fn open_load(&self, run: &RunId) -> Result<Option<RunStart>> {
        let start: Option<RunStart> = self.read_fact(run, "start").await?;
        let Some(start) = start.filter(RunStart::is_load) else { return Ok(None) };
        let end: Option<RunEnd> = self.facts(run, "end-").await?.pop();
        Ok(end.is_none_or(|end| end.resumable).then_some(start))
    }

    /// Everything about a run.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if there is no such run.
    pub async fn summary(&self, run: &RunId) -> Result<RunSummary> {
        let missing = || {
            Error::config(format!("the ledger {} has no run {run}", self.url())).hint("`transload runs` lists the runs")
        };
        let start = self.read_fact(run, "start").await?.ok_or_else(missing)?;
        let mut verdicts: Vec<Verdict> = self.facts(run, "verdict-").await?;
        verdicts.reverse();
        let mut newest: Vec<Verdict> = Vec::new();
        for verdict in verdicts {
            if newest.iter().all(|v| v.to != verdict.to) {
                newest.push(verdict);
            }
        }
        newest.sort_by(|a, b| a.to.cmp(&b.to));
        Ok(RunSummary {
            start,
            repinned: self.facts(run, "repinned-").await?,
            end: self.facts(run, "end-").await?.pop(),
            receipts: self.facts(run, "receipt-").await?,
            findings: self.findings(run).await?,
            verdicts: newest,
            staged_units: self.facts::<StagedUnit>(run, "unit-").await?.len(),
            replays: self.facts(run, "replayed-").await?,
            alerts: self.facts(run, "alert-").await?,
        })
    }

    /// What the checks found in the runs of a pipeline that were not there to compare, at most of so many and up to one of
    /// them, oldest first. Only the last few hundred runs of the ledger are looked at.
    ///
    /// # Errors
    /// As the store fails, or if a fact cannot be read.
    pub async fn history(&self, until: &RunStart, most: usize) -> Result<Vec<PastRun>> {
        let mut found: Vec<PastRun> = Vec::new();
        for run in self.runs().await?.iter().rev().take(LOOKED_AT) {
            if found.len() >= most {
                break;
            }
            let Some(start) = self.read_fact::<RunStart>(run, "start").await? else { continue };
            // What a replay finds in rows that were put aside says nothing about those that come from the source.
            let judges_the_source = !matches!(start.command.as_str(), "reconcile" | "replay") || start.run == until.run;
            let is_one = start.pipeline == until.pipeline && judges_the_source && start.at_micros <= until.at_micros;
            if is_one {
                found.push(PastRun { findings: self.findings(run).await?, start });
            }
        }
        // Names tell runs of one second apart, but not their order.
        found.sort_by_key(|run| run.start.at_micros);
        Ok(found)
    }

    async fn findings(&self, run: &RunId) -> Result<Vec<Finding>> {
        let mut findings: Vec<Vec<Finding>> = Vec::new();
        for found in self.facts::<Vec<Finding>>(run, "checks-").await? {
            let table = |f: &[Finding]| f.first().map(|f| f.table.clone());
            findings.retain(|older| table(older) != table(&found));
            findings.push(found);
        }
        Ok(findings.into_iter().flatten().collect())
    }

    async fn fact<T: Serialize>(&self, run: &RunId, name: &str, value: &T) -> Result<bool> {
        let text =
            serde_json::to_vec_pretty(value).map_err(|e| Error::internal("a fact cannot be written").because(e))?;
        self.store.create(&path(run, name), Bytes::from(text)).await
    }

    /// Facts of which there can be several, in order.
    async fn numbered_fact<T: Serialize>(&self, run: &RunId, name: &str, value: &T) -> Result<()> {
        for number in 1..=9999 {
            if self.fact(run, &format!("{name}-{number:04}"), value).await? {
                return Ok(());
            }
        }
        Err(Error::internal("a run has too many facts of one kind"))
    }

    async fn read_fact<T: DeserializeOwned>(&self, run: &RunId, name: &str) -> Result<Option<T>> {
        match self.store.read(&path(run, name)).await? {
            Some(text) => Ok(Some(read(&text, name)?)),
            None => Ok(None),
        }
    }

    async fn facts<T: DeserializeOwned>(&self, run: &RunId, prefix: &str) -> Result<Vec<T>> {
        let mut out = Vec::new();
        for (path, name) in self.fact_files(run, prefix).await? {
            let text = self.store.read(&path).await?.unwrap_or_default();
            out.push(read(&text, &name)?);
        }
        Ok(out)
    }

    /// Where the facts of a run are whose names begin with `prefix`, with these names.
    async fn fact_files(&self, run: &RunId, prefix: &str) -> Result<Vec<(Path, String)>> {
        let found = self.store.list(&Path::from(format!("runs/{run}"))).await?.into_iter();
        let named = found.map(|o| (o.location.clone(), o.location.filename().unwrap_or_default().to_string()));
        Ok(named.filter(|(_, name)| name.starts_with(prefix) && name.ends_with(".json")).collect())
    }
}

#[async_trait]
impl Journal for RunJournal {
    async fn record(&self, unit: &StagedUnit) -> Result<()> {
        let name = format!("unit-{}-{:06}", short(&unit.table), unit.split);
        self.ledger.fact(&self.run, &name, unit).await.map(drop)
    }

    async fn forget(&self, table: &TableName) -> Result<()> {
        for (path, _) in self.ledger.fact_files(&self.run, &format!("unit-{}-", short(table))).await? {
            self.ledger.store.remove(&path).await?;
        }
        Ok(())
    }

    async fn recorded(&self) -> Result<Vec<StagedUnit>> {
        self.ledger.facts(&self.run, "unit-").await
    }

    async fn record_receipt(&self, receipt: &Receipt) -> Result<()> {
        self.ledger.fact(&self.run, &format!("receipt-{}", short(&receipt.to)), receipt).await.map(drop)
    }

    async fn receipts(&self) -> Result<Vec<Receipt>> {
        self.ledger.facts(&self.run, "receipt-").await
    }

    async fn record_findings(&self, table: &TableName, findings: &[Finding]) -> Result<()> {
        self.ledger.numbered_fact(&self.run, &format!("checks-{}", short(table)), &findings).await
    }

    async fn findings(&self, table: &TableName) -> Result<Vec<Finding>> {
        let mut found: Vec<Vec<Finding>> = self.ledger.facts(&self.run, &format!("checks-{}-", short(table))).await?;
        Ok(found.pop().unwrap_or_default())
    }
}

/// A table's name as part of a file's name.
fn short(table: &TableName) -> String {
    hex(table.as_str().as_bytes())[..12].to_string()
}

fn path(run: &RunId, name: &str) -> Path {
    Path::from(format!("runs/{run}/{name}.json"))
}

fn read<T: DeserializeOwned>(text: &[u8], name: &str) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|e| Error::config("a fact in the ledger cannot be read").with("object", name).because(e))
}

#[cfg(test)]
mod tests {
    use transload_core::Clock;

    use super::*;
    use crate::tests::ledgers;

    #[tokio::test]
    async fn a_run_without_its_first_fact_has_not_begun() {
        let (dir, [ledger, _]) = ledgers();
        let folder = dir.path().join("runs").join(RunId::new(&Clock::system()).as_str());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!(".{}.tmp", "0123456789abcdef".repeat(2))), "{").unwrap();
        assert!(ledger.runs().await.unwrap().is_empty());
    }

    fn begun(run: &RunId) -> RunStart {
        RunStart {
            run: run.clone(),
            pipeline: "p".into(),
            command: "run".into(),
            at: "t".into(),
            at_micros: 0,
            plan: "0".repeat(64),
            program: "0".into(),
            show_values: false,
        }
    }

    #[tokio::test]
    async fn the_newest_plan_of_a_run_is_the_one_it_goes_on_by() {
        let (_dir, ledgers) = ledgers();
        for ledger in &ledgers {
            let run = RunId::new(&Clock::system());
            let start = begun(&run);
            ledger.begin(&start).await.unwrap();
            let names = |names: &[&str]| names.iter().map(|name| TableName::new(*name)).collect::<Vec<_>>();
            for (sha, tables, looked_at, said) in [
                ("1", names(&["a", "b"]), names(&["c"]), "a, b; looked at: c"),
                ("2", names(&[]), names(&["c"]), "looked at: c"),
                ("3", names(&["b"]), names(&[]), "b"),
            ] {
                let repinned = Repinned { plan: sha.repeat(64), tables, looked_at, at: "t".into() };
                assert_eq!(repinned.to_string(), said);
                ledger.repinned(&run, &repinned).await.unwrap();
                let summary = ledger.summary(&run).await.unwrap();
                assert_eq!((summary.plan(), summary.repinned.last()), (sha.repeat(64).as_str(), Some(&repinned)));
                assert_eq!(summary.start, start);
            }
        }
    }

    #[tokio::test]
    async fn a_run_is_remembered() {
        let (_dir, ledgers) = ledgers();
        for ledger in &ledgers {
            let run = RunId::new(&Clock::system());
            let start = begun(&run);
            ledger.begin(&start).await.unwrap();
            assert_eq!(ledger.open_load(&run).await.unwrap(), Some(start.clone()));
            for (status, resumable) in [("interrupted", true), ("succeeded", false)] {
                let end = RunEnd { status: status.into(), exit_code: 0, resumable, error: None, at: "t".into() };
                ledger.end(&run, &end).await.unwrap();
                assert_eq!(ledger.open_load(&run).await.unwrap(), resumable.then(|| start.clone()));
            }
            assert_eq!(ledger.open_load(&RunId::new(&Clock::system())).await.unwrap(), None);
            let table = TableName::new("t");
            let others = [1, 1, 2].map(|attempt| (attempt, RunId::new(&Clock::system())));
            let mut first = Vec::new();
            for (attempt, by) in &others {
                let replayed = Replayed { table: table.clone(), by: by.clone(), attempt: *attempt };
                first.push(ledger.begin_replay(&run, &replayed).await.unwrap());
            }
            let [(_, one), _, (_, three)] = &others;
            assert_eq!(first, [one.clone(), one.clone(), three.clone()], "the second came too late");
            let said = ledger.summary(&run).await.unwrap().replays;
            assert_eq!(said.into_iter().map(|r| r.by).collect::<Vec<_>>(), [one.clone(), three.clone()]);
            let alerted = Alerted {
                alert: 1,
                kind: "slack".into(),
                to: "hooks.slack.com".into(),
                reasons: vec!["error".into()],
                tables: vec!["t".into()],
                delivered: true,
                tries: 1,
                error: None,
                at: "t".into(),
            };
            ledger.alerted(&run, &alerted).await.unwrap();
            assert_eq!(ledger.runs().await.unwrap(), std::slice::from_ref(&run));
            let (began, receipts) = ledger.published(&run, "p").await.unwrap().unwrap();
            assert_eq!((began, receipts.len()), (start.clone(), 0));
            assert!(ledger.published(&run, "q").await.unwrap().is_none());
            let summary = ledger.summary(&run).await.unwrap();
            assert_eq!(summary.alerts, [alerted]);
            assert_eq!(summary.alerts[0].to_string(), "slack hooks.slack.com: delivered, 1 try");
            assert_eq!((summary.plan(), summary.repinned.len()), (start.plan.as_str(), 0));
            assert_eq!(summary.end.unwrap().status, "succeeded");
            assert!(ledger.summary(&RunId::new(&Clock::system())).await.is_err());
            let other = RunStart { run: RunId::new(&Clock::system()), at_micros: 5, ..start.clone() };
            ledger.begin(&other).await.unwrap();
            let history = |until: &RunStart, most| {
                let (ledger, until) = (ledger.clone(), until.clone());
                async move {
                    ledger.history(&until, most).await.unwrap().into_iter().map(|p| p.start.run).collect::<Vec<_>>()
                }
            };
            assert_eq!(history(&start, 9).await, std::slice::from_ref(&run));
            assert_eq!(history(&other, 9).await, [run.clone(), other.run.clone()]);
            let stranger = RunStart { pipeline: "q".into(), ..other };
            assert!(history(&stranger, 9).await.is_empty());
        }
    }
}
