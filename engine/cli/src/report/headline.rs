//! The run in one sentence, for somebody who reads nothing else.

use serde::Serialize;
use transload_core::finding::Severity;
use transload_core::value::Outcome;
use transload_ledger::{RunEnd, RunSummary};
use transload_plan::Plan;

use crate::going::CHECKS_ONLY;
use crate::report::words::{count, counted};

/// The sentence, and what else should be known at once.
#[derive(Debug, Serialize)]
pub(crate) struct Headline {
    /// `good`, `bad` or `warn`: the colour; the word beside it says the same.
    pub(crate) tone: &'static str,
    word: &'static str,
    sentence: String,
    notes: Vec<String>,
}

/// What the run comes to.
pub(crate) fn headline(summary: &RunSummary, plan: &Plan) -> Headline {
    let (tone, word, sentence) = match (&summary.end, mismatched(summary)) {
        (None, _) => ("warn", "Not finished", unfinished(summary, plan)),
        (Some(_), names) if !names.is_empty() => ("bad", "Mismatch", mismatch(&names, summary)),
        (Some(end), _) => ended(end, summary, plan),
    };
    Headline { tone, word, sentence, notes: notes(summary) }
}

fn ended(end: &RunEnd, summary: &RunSummary, plan: &Plan) -> (&'static str, &'static str, String) {
    match end.status.as_str() {
        "succeeded" | "match" => succeeded(summary, plan),
        "failed" => ("bad", "Failed", failed(summary, plan)),
        "interrupted" => {
            let said = format!("The run was interrupted; {}.", published(summary, plan));
            ("warn", "Interrupted", said)
        }
        "mismatch" => {
            let said = "The run ended with a mismatch; the newest comparison of its tables found none.";
            ("warn", "Mismatch before", said.to_string())
        }
        "not_compared" => {
            let said = "Too little could be compared to say whether everything arrived. This is not a match.";
            ("warn", "Not compared", said.to_string())
        }
        "nothing_to_do" => ("good", "Nothing new", "There was nothing new to load.".to_string()),
        other => ("warn", "Ended", format!("The run ended as `{other}`.")),
    }
}

fn succeeded(summary: &RunSummary, plan: &Plan) -> (&'static str, &'static str, String) {
    let tables = plan.tables.len();
    if summary.start.command == CHECKS_ONLY {
        let said = format!("{} read and checked; nothing was written.", were(tables as u64, "table", "tables"));
        return ("good", "Checks passed", said);
    }
    let equal = summary.verdicts.iter().filter(|v| v.outcome == Outcome::Match).count();
    let written: u64 = summary.receipts.iter().map(|r| r.counts.written).sum();
    let loaded = match summary.start.command.as_str() {
        "run" | "replay" => {
            format!("{} loaded into {}", were(written, "row", "rows"), counted(tables as u64, "table", "tables"))
        }
        _ => format!("{} compared", were(tables as u64, "table", "tables")),
    };
    if equal == tables && tables > 0 {
        let whole = if tables == 1 { "it matches its source" } else { "every one of them matches its source" };
        return ("good", "Match", format!("{loaded}; read again and compared, {whole}."));
    }
    let said = format!("{loaded}; {equal} of {} compared and matching.", counted(tables as u64, "table", "tables"));
    // Nothing compared is not a match.
    ("warn", "Not all compared", said)
}

fn were(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", counted(number, one, many), if number == 1 { "was" } else { "were" })
}

fn unfinished(summary: &RunSummary, plan: &Plan) -> String {
    format!(
        "The run has not finished: it is running, or it was killed and can be resumed; {}.",
        published(summary, plan)
    )
}

fn published(summary: &RunSummary, plan: &Plan) -> String {
    format!("{} of {} published", summary.receipts.len(), counted(plan.tables.len() as u64, "table", "tables"))
}

fn failed(summary: &RunSummary, plan: &Plan) -> String {
    let mut stopped: Vec<&str> = summary.findings.iter().filter(|f| f.stops).map(|f| f.table.as_str()).collect();
    let rules = stopped.len();
    stopped.dedup();
    if rules == 0 {
        return format!("The run failed; {}.", published(summary, plan));
    }
    let checks = if rules == 1 { "a quality check".to_string() } else { format!("{rules} quality checks") };
    let others = match summary.receipts.len() {
        0 => String::new(),
        1 => " 1 other table was published.".to_string(),
        n => format!(" {n} other tables were published."),
    };
    format!("Stopped by {checks}: nothing of {} was published.{others}", stopped.join(", "))
}

fn mismatched(summary: &RunSummary) -> Vec<&str> {
    summary.verdicts.iter().filter(|v| v.outcome == Outcome::Mismatch).map(|v| v.to.as_str()).collect()
}

fn mismatch(names: &[&str], summary: &RunSummary) -> String {
    let compared = summary.verdicts.len();
    let total: u64 = summary.verdicts.iter().map(|v| v.differences.total()).sum();
    let keys = match total {
        0 => String::new(),
        n => format!(" {} differ{}.", counted(n, "key", "keys"), if n == 1 { "s" } else { "" }),
    };
    let verb = if names.len() == 1 { "does" } else { "do" };
    let compared = counted(compared as u64, "compared table", "compared tables");
    format!("{} of {compared} {verb} not match the source: {}.{keys}", names.len(), names.join(", "))
}

/// What is easily overlooked: rows put aside, values lost, warnings, work that had to be repeated.
fn notes(summary: &RunSummary) -> Vec<String> {
    let aside: u64 = summary.receipts.iter().map(|r| r.counts.quarantined).sum();
    let losses = || summary.receipts.iter().flat_map(|r| &r.losses);
    let changed: u64 = losses().map(|l| l.changed).sum();
    let nulled: u64 = losses().map(|l| l.nulled).sum();
    let failed = |severity| {
        summary.findings.iter().filter(|f| f.is_failed() && f.severity == severity && !f.stops).count() as u64
    };
    let unjudged = summary.findings.iter().filter(|f| !f.is_judged()).count() as u64;
    let not_all = summary.verdicts.iter().filter(|v| !v.coverage.not_compared.is_empty()).count() as u64;
    let not_rows = summary.verdicts.iter().filter(|v| v.level != "row").count() as u64;
    [
        (aside, "row was put aside with the reason", "rows were put aside with their reasons"),
        (changed, "value was changed by a cast", "values were changed by casts"),
        (nulled, "value did not fit and became NULL", "values did not fit and became NULL"),
        (failed(Severity::Error), "check failed without stopping the load", "checks failed without stopping the load"),
        (failed(Severity::Warn), "check gave a warning", "checks gave warnings"),
        (unjudged, "check was not judged", "checks were not judged"),
        (not_all, "table has columns that were not compared", "tables have columns that were not compared"),
        (not_rows, "table was compared by less than its rows", "tables were compared by less than their rows"),
    ]
    .into_iter()
    .filter(|(n, ..)| *n > 0)
    .map(|(n, one, many)| format!("{} {}.", count(n), if n == 1 { one } else { many }))
    .collect()
}
