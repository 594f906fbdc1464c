//! What becomes of a run: of each of its tables, and as a whole.

use std::path::Path;

use serde_json::json;
use transload_core::value::Outcome;
use transload_core::{Counts, Error, ErrorKind, Finding, Receipt, Result, Verdict};
use transload_plan::{Plan, TablePlan};
use transload_run::TableOutcome;

use crate::alerts::TableNews;
use crate::lines::indented;
use crate::metrics::MeasuredTable;
use crate::output::Output;
use crate::signals::Signals;

/// What became of every table.
pub(crate) struct Report {
    pub(crate) tables: Vec<TableReport>,
}

/// What became of one.
pub(crate) struct TableReport {
    table: String,
    pub(crate) receipt: Option<Receipt>,
    /// Its rows: of its receipt, or those that only the checks looked at.
    counts: Counts,
    findings: Vec<Finding>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) error: Option<Error>,
    /// Whether an incremental load found nothing new, or a replay nothing that passes now.
    pub(crate) nothing_new: bool,
}

impl TableReport {
    /// What a load comes to; `unvouched` is why the audit chain could not be told of it, if it could not. If it was only there
    /// for the checks, nothing is written.
    pub(crate) fn new(outcome: TableOutcome, unvouched: Option<Error>, checks_only: bool) -> Self {
        let TableOutcome { table, result, findings, counts } = outcome;
        let (receipt, error) = match result {
            Ok(receipt) => (receipt, unvouched),
            Err(error) => (None, Some(error)),
        };
        let counts = match &receipt {
            Some(receipt) => receipt.counts,
            None if checks_only => Counts { written: 0, ..counts.unwrap_or_default() },
            None => Counts::default(),
        };
        Self { table: table.to_string(), receipt, counts, findings, verdict: None, error, nothing_new: false }
    }

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
    /// Tells people.
    pub(crate) fn say(&self, output: &Output) {
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

    /// Writes what the checks found as JUnit XML.
    ///
    /// # Errors
    /// As the file system fails.
    pub(crate) fn write_junit(&self, path: &Path, pipeline: &str) -> Result<()> {
        let findings: Vec<Finding> = self.tables.iter().flat_map(|t| t.findings.iter().cloned()).collect();
        std::fs::write(path, transload_quality::junit(pipeline, &findings)).map_err(|e| {
            Error::config("the JUnit report cannot be written")
                .with("file", path.display().to_string())
                .hint("the run itself is not affected: its outcome and exit code are as they would be without")
                .because(e)
        })
    }

    /// What the run as a whole comes to.
    pub(crate) fn conclude(self, plan: &Plan, signals: &Signals) -> Conclusion {
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

/// How a run ends.
pub(crate) struct Conclusion {
    pub(crate) code: u8,
    pub(crate) status: &'static str,
    /// What kind of failure the worst one is, if there is one.
    failure: Option<ErrorKind>,
    /// Whether some table can be gone on with.
    pub(crate) resumable: bool,
    /// Whether some table is published.
    is_published: bool,
    /// What went wrong first, for the ledger.
    pub(crate) error: Option<String>,
    /// The tables of the last line.
    pub(crate) tables: Vec<serde_json::Value>,
    /// The tables as numbers.
    pub(crate) measured: Vec<MeasuredTable>,
    /// The tables for those who want to know.
    pub(crate) news: Vec<TableNews>,
}

impl Conclusion {
    /// What a run comes to that failed as a whole: so did every table of it. One that was resumed can be resumed again: an
    /// earlier process may have published tables, and of these nothing was learned.
    pub(crate) fn without_tables(plan: &Plan, error: &Error, is_resumed: bool) -> Self {
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
    pub(crate) fn untold(&mut self, because: Error) -> Error {
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
