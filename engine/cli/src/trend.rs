//! How the quality of tables goes from run to run.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value as Json, json};
use transload_core::{Finding, TableName};
use transload_ledger::RunSummary;
use transload_quality::Score;

use crate::commands::runs::status;

/// One run of a trend.
pub(crate) struct RatedRun<'a> {
    run: &'a RunSummary,
    rating: Rating,
    /// The tables whose checks were judged.
    tables: Vec<RatedTable<'a>>,
}

/// One of its tables.
struct RatedTable<'a> {
    table: &'a TableName,
    rating: Rating,
    findings: Vec<&'a Finding>,
}

/// A score, and how it compares with the one before.
struct Rating {
    score: Score,
    change: Option<Ordering>,
}

/// The last scores of a pipeline (no table) and of its tables.
type Before<'a> = BTreeMap<(&'a str, Option<&'a TableName>), Score>;

/// Rates runs, given oldest first; each is compared with the last one before it that has a score.
pub(crate) fn trend(runs: &[RunSummary]) -> Vec<RatedRun<'_>> {
    let mut before = Before::new();
    runs.iter().map(|run| rated(run, &mut before)).collect()
}

fn rated<'a>(run: &'a RunSummary, before: &mut Before<'a>) -> RatedRun<'a> {
    let pipeline = run.start.pipeline.as_str();
    let mut by_table: BTreeMap<&TableName, Vec<&Finding>> = BTreeMap::new();
    for finding in &run.findings {
        by_table.entry(&finding.table).or_default().push(finding);
    }
    let tables = by_table
        .into_iter()
        .map(|(table, findings)| {
            let score = Score::of(findings.iter().copied());
            RatedTable { table, rating: rate(score, (pipeline, Some(table)), before), findings }
        })
        .collect();
    RatedRun { run, rating: rate(Score::of(&run.findings), (pipeline, None), before), tables }
}

/// A run without a score leaves the one before for the next run to be compared with.
fn rate<'a>(score: Score, of: (&'a str, Option<&'a TableName>), before: &mut Before<'a>) -> Rating {
    let last = if score.share().is_some() { before.insert(of, score) } else { None };
    Rating { score, change: last.and_then(|last| score.against(&last)) }
}

/// A trend for people.
pub(crate) fn text(runs: &[RatedRun<'_>]) -> String {
    let mut text = format!("{:25}  {:20}  {:>10}  {}\n", "RUN, TABLES", "PIPELINE", "SCORE", "STATUS, CHECKS");
    for RatedRun { run, rating, tables } in runs {
        let start = &run.start;
        let none = if tables.is_empty() { "; no check was judged" } else { "" };
        let _ = writeln!(
            text,
            "{:25}  {:20}  {:>10}  {}{none}",
            start.run.as_str(),
            start.pipeline,
            rating.text(),
            status(run)
        );
        for RatedTable { table, rating, findings } in tables {
            let _ = writeln!(text, "  {:45}  {:>10}  {}", table.as_str(), rating.text(), checks(findings));
        }
    }
    text
}

/// A trend for programs.
pub(crate) fn json(runs: &[RatedRun<'_>]) -> Json {
    let runs: Vec<Json> = runs
        .iter()
        .map(|RatedRun { run, rating, tables }| {
            let tables: Vec<Json> = tables.iter().map(table_json).collect();
            json!({
                "run_id": run.start.run, "pipeline": run.start.pipeline, "started": run.start.at, "status": status(run),
                "exit_code": run.end.as_ref().map(|e| e.exit_code), "score": rating.score.share(),
                "change": rating.word(), "evaluated": rating.score.evaluated, "passed": rating.score.passed,
                "tables": tables,
            })
        })
        .collect();
    json!({ "runs": runs })
}

fn table_json(table: &RatedTable<'_>) -> Json {
    let RatedTable { table, rating, findings } = table;
    let checks: Vec<Json> = findings.iter().map(|f| check_json(f)).collect();
    json!({
        "table": table, "score": rating.score.share(), "change": rating.word(), "evaluated": rating.score.evaluated,
        "passed": rating.score.passed, "checks": checks,
    })
}

/// Rows that passed and failed are null for rules that count none, and so is a duration that nobody measured.
fn check_json(finding: &Finding) -> Json {
    json!({
        "code": finding.code, "check": finding.check, "columns": finding.columns, "fingerprint": finding.fingerprint,
        "severity": finding.severity, "outcome": finding.outcome, "evaluated": finding.evaluated,
        "passed": finding.failed.map(|failed| finding.evaluated.saturating_sub(failed)), "failed": finding.failed,
        "duration_micros": finding.duration_micros,
    })
}

/// How many checks passed, and which did not.
fn checks(findings: &[&Finding]) -> String {
    let failed: Vec<&Finding> = findings.iter().copied().filter(|f| f.is_failed()).collect();
    let passed = findings.iter().filter(|f| f.is_passed()).count();
    let passed = format!("{passed} of {} checks passed", findings.len());
    if failed.is_empty() {
        return passed;
    }
    let one = |finding: &&Finding| match finding.failed {
        Some(rows) => format!("{} {rows} of {}", finding.title(), finding.evaluated),
        None => finding.title(),
    };
    format!("{passed}; failed: {}", failed.iter().map(one).collect::<Vec<_>>().join("; "))
}

impl Rating {
    fn text(&self) -> String {
        let sign = match self.change {
            Some(Ordering::Greater) => '↑',
            Some(Ordering::Less) => '↓',
            Some(Ordering::Equal) => '=',
            None => ' ',
        };
        format!("{} {sign}", self.score.percent().unwrap_or_else(|| "–".to_string()))
    }

    fn word(&self) -> Option<&'static str> {
        self.change.map(|change| match change {
            Ordering::Greater => "up",
            Ordering::Less => "down",
            Ordering::Equal => "same",
        })
    }
}

#[cfg(test)]
mod tests {
    use transload_core::finding::{Action, CheckOutcome, Severity};
    use transload_core::{Clock, RunId};
    use transload_ledger::RunStart;

    use super::*;

    fn finding(table: &str, failed: Option<u64>, outcome: CheckOutcome) -> Finding {
        Finding {
            code: "Q005".to_string(),
            check: "range".to_string(),
            fingerprint: "0f".to_string(),
            table: TableName::new(table),
            columns: vec!["amount".to_string()],
            filter: None,
            severity: Severity::Error,
            action: Action::Stop,
            threshold: Json::Null,
            outcome,
            stops: false,
            expected: String::new(),
            found: String::new(),
            evaluated: 10,
            failed,
            shapes: Vec::new(),
            values: Vec::new(),
            figures: serde_json::Value::Null,
            remedy: String::new(),
            duration_micros: None,
        }
    }

    fn run(findings: Vec<Finding>) -> RunSummary {
        let start = RunStart {
            run: RunId::new(&Clock::system()),
            pipeline: "p".to_string(),
            command: "run".to_string(),
            at: String::new(),
            at_micros: 0,
            plan: String::new(),
            program: String::new(),
            show_values: false,
        };
        let (receipts, verdicts) = (Vec::new(), Vec::new());
        let (repinned, replays, alerts) = (Vec::new(), Vec::new(), Vec::new());
        RunSummary { start, repinned, end: None, receipts, findings, verdicts, staged_units: 0, replays, alerts }
    }

    #[test]
    fn a_run_is_compared_with_the_last_one_that_has_a_score() {
        let good = || finding("a", Some(0), CheckOutcome::Passed);
        let bad = || finding("a", Some(1), CheckOutcome::Failed);
        let runs = [run(vec![bad()]), run(vec![good()]), run(Vec::new()), run(vec![good()]), run(vec![bad()])];
        let rated = trend(&runs);
        let scores: Vec<String> = rated.iter().map(|r| r.rating.text()).collect();
        assert_eq!(scores, ["90.00 %  ", "100.00 % ↑", "–  ", "100.00 % =", "90.00 % ↓"]);
        let text = text(&rated);
        assert!(text.contains("0 of 1 checks passed; failed: Q005 range (amount) 1 of 10"), "{text}");
        assert!(text.contains("; no check was judged"), "{text}");
    }

    #[test]
    fn each_table_has_its_own_trend() {
        let of =
            |a, b| run(vec![finding("a", Some(a), CheckOutcome::Passed), finding("b", Some(b), CheckOutcome::Passed)]);
        let runs = [of(1, 2), of(2, 1)];
        let answer = json(&trend(&runs));
        let last = &answer["runs"][1];
        assert_eq!((&last["change"], last["score"].as_f64()), (&Json::from("same"), Some(0.85)));
        assert_eq!(
            (&last["tables"][0]["change"], &last["tables"][1]["change"]),
            (&Json::from("down"), &Json::from("up"))
        );
        assert_eq!((&last["tables"][0]["checks"][0]["passed"], &last["passed"]), (&Json::from(8), &Json::from(17)));
    }

    #[test]
    fn a_rule_that_counts_no_rows_says_neither_how_many_passed_nor_failed() {
        let runs = [run(vec![finding("a", None, CheckOutcome::Failed)])];
        let answer = json(&trend(&runs));
        let check = &answer["runs"][0]["tables"][0]["checks"][0];
        assert!(check["passed"].is_null() && check["failed"].is_null(), "{check}");
        assert_eq!(answer["runs"][0]["score"].as_f64(), Some(0.0));
    }
}
