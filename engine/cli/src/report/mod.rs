//! One run as a page for a browser: a single file without scripts, built from the ledger alone, quarantine included.
//!
//! [`page`] makes plain data of what the ledger holds, [`render`] puts it into `page.html`. The template decides
//! nothing and escapes everything it is given.

mod headline;
mod history;
mod sample;
mod table;
mod words;

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use transload_core::value::Outcome;
use transload_core::{Error, Result};
use transload_ledger::{Ledger, PastRun, Record, RunSummary};
use transload_plan::Plan;
use transload_quality::Score;

use crate::commands::runs::status;
use crate::commands::show::connection;
use crate::connectors::quarantine_url;
use crate::report::headline::{Headline, headline};
use crate::report::sample::{Sample, samples};
use crate::report::table::{TablePart, table};
use crate::report::words::{count, counted, elapsed, moment, took};

/// The template's name ends with `.html`: that is what turns escaping on.
const TEMPLATE: &str = "page.html";

/// Everything the page shows.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    run: String,
    pipeline: String,
    headline: Headline,
    /// What went wrong, as the run wrote it down.
    error: Option<String>,
    figures: Vec<Fact>,
    facts: Vec<Fact>,
    tables: Vec<TablePart>,
    /// The plan as `transload plan` prints it.
    plan: String,
    audit: Vec<AuditLine>,
    ledger: String,
}

/// A word and what it stands for.
#[derive(Debug, Serialize)]
pub(crate) struct Fact {
    name: &'static str,
    value: String,
    /// Whether the value is a hash, a path or a name, to be set in a fixed width.
    code: bool,
}

/// A record of the audit chain that is about this run.
#[derive(Debug, Serialize)]
struct AuditLine {
    number: u64,
    at: String,
    event: String,
    artifact: String,
}

impl Fact {
    fn plain(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), code: false }
    }

    fn code(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), code: true }
    }
}

/// What the page shows of a run beside its own facts.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// What checks found in runs before, and in this one.
    history: Vec<PastRun>,
    /// Rows that were put aside.
    samples: Vec<Sample>,
}

impl Beside {
    /// Looks it up in the ledger.
    ///
    /// # Errors
    /// As the ledger fails. A quarantine that cannot be read is told on the page.
    pub(crate) async fn of(summary: &RunSummary, plan: &Plan, ledger: &Ledger) -> Result<Self> {
        let history = match summary.findings.is_empty() {
            true => Vec::new(),
            false => ledger.history(&summary.start, history::RUNS).await?,
        };
        Ok(Self { history, samples: samples(summary, plan, ledger).await })
    }
}

/// What the page shows of a run.
pub(crate) fn page(summary: &RunSummary, plan: &Plan, audit: &[Record], ledger: &str, beside: &Beside) -> Page {
    let quarantine = quarantine_url(plan.quarantine.as_ref(), ledger);
    Page {
        run: summary.start.run.to_string(),
        pipeline: summary.start.pipeline.clone(),
        headline: headline(summary, plan),
        error: summary.end.as_ref().and_then(|end| end.error.clone()),
        figures: figures(summary, plan),
        facts: facts(summary, plan),
        tables: plan.tables.iter().enumerate().map(|(i, t)| table(i + 1, t, summary, &quarantine, beside)).collect(),
        plan: plan.to_string(),
        audit: audit.iter().map(audit_line).collect(),
        ledger: ledger.to_string(),
    }
}

/// The page as HTML.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if the template does not fit the page.
pub(crate) fn render(page: &Page) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment
        .render_named_str(TEMPLATE, include_str!("page.html"), page)
        .map_err(|e| Error::internal("the report cannot be made").because(e))
}

/// What the run as a whole moved, in large figures.
fn figures(summary: &RunSummary, plan: &Plan) -> Vec<Fact> {
    let sum = |of: fn(&transload_core::Receipt) -> u64| count(summary.receipts.iter().map(of).sum());
    let tables = count(plan.tables.len() as u64);
    let mut figures = vec![if summary.verdicts.is_empty() {
        Fact::plain("Tables", tables)
    } else {
        let equal = summary.verdicts.iter().filter(|v| v.outcome == Outcome::Match).count();
        Fact::plain("Tables that match", format!("{} of {tables}", count(equal as u64)))
    }];
    if summary.start.is_load() {
        figures.push(Fact::plain("Rows read", sum(|r| r.counts.read)));
        figures.push(Fact::plain("Rows written", sum(|r| r.counts.written)));
        figures.push(Fact::plain("Put aside", sum(|r| r.counts.quarantined)));
        if summary.receipts.iter().any(|r| r.counts.filtered > 0) {
            figures.push(Fact::plain("Filtered out", sum(|r| r.counts.filtered)));
        }
        if summary.receipts.iter().any(|r| r.counts.deleted > 0) {
            figures.push(Fact::plain("Delete markers", sum(|r| r.counts.deleted)));
        }
    }
    if !summary.findings.is_empty() {
        let passed = summary.findings.iter().filter(|f| f.is_passed()).count();
        figures.push(Fact::plain("Checks passed", format!("{passed} of {}", summary.findings.len())));
        figures.extend(Score::of(&summary.findings).percent().map(|score| Fact::plain("Quality score", score)));
    }
    if !summary.verdicts.is_empty() {
        let differences: u64 = summary.verdicts.iter().map(|v| v.differences.total()).sum();
        figures.push(Fact::plain("Differing keys", count(differences)));
    }
    figures.extend(time_taken(summary).map(|time| Fact::plain("Time taken", time)));
    figures
}

/// How long the run took, if it has ended and the clock was not turned back meanwhile.
fn time_taken(summary: &RunSummary) -> Option<String> {
    elapsed(&summary.start.at, &summary.end.as_ref()?.at).map(took)
}

/// What identifies the run.
fn facts(summary: &RunSummary, plan: &Plan) -> Vec<Fact> {
    let start = &summary.start;
    let ended = match &summary.end {
        None => status(summary),
        Some(end) => format!("{}, exit code {}", end.status, end.exit_code),
    };
    let mut facts = vec![
        Fact::plain("Status", ended),
        Fact::code("From", connection(&plan.source)),
        Fact::code("To", connection(&plan.target)),
        Fact::plain("Started", moment(&start.at)),
    ];
    if let Some(end) = &summary.end {
        facts.push(Fact::plain("Ended", moment(&end.at)));
        facts.push(Fact::plain("Took", time_taken(summary).unwrap_or_else(|| "unknown".to_string())));
    }
    facts.extend([
        Fact::plain("Command", start.command.clone()),
        Fact::plain("Pipeline", format!("{} (archetype {})", start.pipeline, plan.archetype)),
        Fact::plain("Program", format!("transload {}", start.program)),
        Fact::code("Run", start.run.to_string()),
        Fact::code("Plan fingerprint", plan.fingerprint.clone()),
    ]);
    for repinned in &summary.repinned {
        facts.push(Fact::plain("Pinned anew", format!("{}: {repinned}", moment(&repinned.at))));
    }
    for replayed in &summary.replays {
        facts.push(Fact::code("Replayed by", format!("{} ({})", replayed.by, replayed.table)));
    }
    if start.is_load() && summary.end.is_none() {
        facts.push(Fact::plain("Staged", counted(summary.staged_units as u64, "unit of work", "units of work")));
    }
    facts.extend(summary.alerts.iter().map(|alerted| Fact::plain("Alert", alerted.to_string())));
    facts
}

fn audit_line(record: &Record) -> AuditLine {
    AuditLine {
        number: record.number,
        at: record.at.clone(),
        event: record.event.clone(),
        artifact: record.artifact.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use transload_core::RunId;
    use transload_ledger::{RunEnd, RunStart};

    use super::*;

    const BAD: &str = "<script>alert('x')</script>";

    fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    /// A plan of one table with one column, a cast and a mask.
    fn plan(name: &str) -> Plan {
        from(json!({
            "version": 1, "fingerprint": "f".repeat(64), "pipeline": "p", "archetype": "table_copy", "rulebook": {},
            "source": { "kind": "lake", "options": { "url": "in" } },
            "target": { "kind": "lake", "options": { "url": "out" } },
            "tables": [{
                "from": name, "to": name, "pin": { "formula": "a formula" }, "splits": [],
                "source_columns": [{ "name": name, "type": "int64", "nullable": true }],
                "columns": [{
                    "name": name, "type": "int32", "nullable": true, "origin": { "source": name },
                    "cast": { "from": "int64", "to": "int32", "loss": "checked", "on_misfit": "null_counted" },
                    "mask": "partial",
                }],
                "filter": null, "incremental": null, "write": "replace", "expected": { "version": "1" },
                "partition_by": [], "key": [], "reconcile": { "level": "row", "hash": "xxh64" }, "estimated_rows": null,
            }],
        }))
    }

    fn summary(status: &str, exit_code: u8) -> RunSummary {
        RunSummary {
            start: RunStart {
                run: RunId::parse("20261121T051500Z-7f3a9c12").unwrap(),
                pipeline: "p".to_string(),
                command: "run".to_string(),
                at: "2026-11-21T05:15:00.000Z".to_string(),
                at_micros: 0,
                plan: "0".repeat(64),
                program: "0.1.0".to_string(),
                show_values: false,
            },
            repinned: Vec::new(),
            end: Some(RunEnd {
                status: status.to_string(),
                exit_code,
                resumable: false,
                error: None,
                at: "2026-11-21T05:15:02.500Z".to_string(),
            }),
            receipts: Vec::new(),
            findings: Vec::new(),
            verdicts: Vec::new(),
            staged_units: 0,
            replays: Vec::new(),
            alerts: Vec::new(),
        }
    }

    fn receipt(name: &str) -> transload_core::Receipt {
        from(json!({
            "from": name, "to": name, "pin": { "formula": "a formula" },
            "counts": { "read": 12345, "written": 12340, "quarantined": 3, "filtered": 2 },
            "losses": [{ "column": name, "from": "int64", "to": "int32", "changed": 0, "nulled": 7, "quarantined": 0 }],
            "digest": "xxh64:1:2:3",
            "committed": {
                "key": "20261121T051500Z-7f3a9c12-00000000", "version": "17", "already_done": false, "rows": 12340,
                "bytes": 2048, "parts": 1,
                "pin": { "files": [{ "path": name, "size": 2048, "modified": "m", "etag": null }] },
            },
            "quarantine": null, "units": 2, "resumed_units": 1, "retries": 0,
            "started": "2026-11-21T05:15:00.000Z", "ended": "2026-11-21T05:15:01.000Z",
        }))
    }

    fn verdict(name: &str, outcome: &str) -> transload_core::Verdict {
        from(json!({
            "from": name, "to": name, "level": "row", "outcome": outcome, "summary": "a sentence",
            "source_pin": { "formula": "a formula" }, "target_pin": { "files": [] }, "source_rows": 5, "target_rows": 5,
            "source_digest": "xxh64:1:2:3", "target_digest": "xxh64:1:2:4",
            "differences": {
                "missing_in_target": 1, "extra_in_target": 0, "changed": 1, "multiplicity": 0, "columns": [[name, 1]],
            },
            "schema": [name],
            "coverage": {
                "columns": [name], "not_compared": [["c", "it was dropped"]], "rows_left_out": [[2, "filtered"]],
                "masked": [name],
            },
            "evidence": name,
        }))
    }

    fn finding(name: &str, stops: bool) -> transload_core::Finding {
        from(json!({
            "code": "Q005", "check": "range", "fingerprint": "0123456789abcdef", "table": name, "columns": [name],
            "severity": "error", "action": "stop", "outcome": "failed", "stops": stops, "expected": name,
            "found": "2 of 6 rows", "evaluated": 6, "failed": 2, "shapes": [[name, 2]], "remedy": "widen the limits",
            "where": format!("{name} > 0"), "threshold": "0.5%",
        }))
    }

    fn html(summary: &RunSummary, name: &str) -> String {
        render(&page(summary, &plan(name), &[], "ledger", &Beside::default())).unwrap()
    }

    #[test]
    fn nothing_that_comes_from_data_is_markup() {
        let mut summary = summary("mismatch", 5);
        summary.end.as_mut().unwrap().error = Some(BAD.to_string());
        summary.receipts.push(receipt(BAD));
        summary.findings.push(finding(BAD, false));
        summary.verdicts.push(verdict(BAD, "mismatch"));
        let html = html(&summary, BAD);
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert"), "{html}");
    }

    #[test]
    fn a_run_that_matches_says_so_with_its_figures() {
        let mut summary = summary("succeeded", 0);
        summary.receipts.push(receipt("t"));
        let mut equal = verdict("t", "match");
        equal.differences = transload_core::value::Differences::default();
        summary.verdicts.push(equal);
        let page = page(&summary, &plan("t"), &[], "ledger", &Beside::default());
        assert_eq!(page.headline.tone, "good");
        let html = render(&page).unwrap();
        let said = ["1 of 1", "12,345", "12,340", "2.5 s", "int64 → int32", "partial", "it was dropped", "version 17"];
        for said in said.into_iter().chain(["2026-11-21 05:15:02 UTC", "succeeded, exit code 0", "12,345 rows&#x2f;s"])
        {
            assert!(html.contains(said), "{said}: {html}");
        }
    }

    #[test]
    fn a_stopped_run_names_the_rule_and_what_to_do() {
        let mut summary = summary("failed", 4);
        summary.findings.push(finding("t", true));
        let html = html(&summary, "t");
        for said in ["Stopped by a quality check", "Q005", "2 of 6 rows", "widen the limits", "Not published"] {
            assert!(html.contains(said), "{said}: {html}");
        }
        for said in ["<dt>Where</dt><dd><code>t &gt; 0</code></dd>", "<dt>Threshold</dt><dd>0.5%</dd>"] {
            assert!(html.contains(said), "{said}: {html}");
        }
    }

    #[test]
    fn a_check_that_was_not_judged_is_neither_good_nor_bad() {
        let mut summary = summary("succeeded", 0);
        let mut unjudged = finding("t", false);
        unjudged.outcome = transload_core::finding::CheckOutcome::NotJudged;
        unjudged.found = "these rows are a part of the table".to_string();
        summary.findings.push(unjudged);
        let html = html(&summary, "t");
        let badge = "<span class=\"badge warn\">Not judged</span>";
        for said in [badge, "these rows are a part of the table", "0 of 1", "1 check was not judged."] {
            assert!(html.contains(said), "{said}: {html}");
        }
        assert!(!html.contains("<dt>Remedy</dt>"), "{html}");
    }

    #[test]
    fn other_tables_of_a_stopped_run_are_not_forgotten() {
        let mut summary = summary("failed", 4);
        summary.findings.push(finding("t", true));
        summary.receipts.push(receipt("u"));
        let html = html(&summary, "t");
        assert!(html.contains("nothing of t was published. 1 other table was published."), "{html}");
    }

    #[test]
    fn checks_that_failed_come_first_and_the_score_is_that_of_all() {
        let mut summary = summary("failed", 4);
        let passed = transload_core::Finding {
            outcome: transload_core::finding::CheckOutcome::Passed,
            failed: Some(0),
            expected: "kept".to_string(),
            duration_micros: Some(7018),
            ..finding("t", false)
        };
        summary.findings.extend([passed, finding("t", true)]);
        let html = html(&summary, "t");
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text}: {html}"));
        assert!(at("widen the limits") < at("7.0 ms"), "{html}");
        // Ten of twelve rows, in the figures and at the table.
        assert!(html.contains("<dt>Quality score</dt><dd>83.33 %</dd>"), "{html}");
        assert!(html.contains("2 checks: 1 passed, 1 failed. Score 83.33 %."), "{html}");
    }

    #[test]
    fn a_run_without_an_end_has_a_page() {
        let mut open = summary("succeeded", 0);
        open.end = None;
        assert!(html(&open, "t").contains("has not finished"));
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let page = include_str!("page.html");
        for word in ["http://", "https://", "<script", " src=", "@import", "|safe", "| safe"] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
