//! A run as numbers for Prometheus, in its text format, version 0.0.4:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! Labels say what the numbers are about and never which run they are of: a series goes on from run to run. What a replay
//! finds in rows that were put aside goes into series of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use transload_core::value::Outcome;
use transload_core::{Counts, Error, Finding, Result, RunId};
use transload_quality::Score;

/// A run that has ended.
pub(crate) struct Measured<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) kind: RunKind,
    pub(crate) exit_code: u8,
    /// When it began, in µs since 1970 UTC; for a resumed run, when the first process did.
    pub(crate) started_micros: i64,
    /// When it ended, in µs since 1970 UTC.
    pub(crate) ended_micros: i64,
    pub(crate) tables: &'a [MeasuredTable],
}

/// What sort of run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// It loads from the source, or only checks what is there.
    Load,
    /// It reads again what a load has put aside.
    Replay,
}

impl RunKind {
    /// By the command that the ledger names.
    pub(crate) fn of(command: &str) -> Self {
        if command == "replay" { Self::Replay } else { Self::Load }
    }

    /// The label that tells its series from those of loads, which have none.
    pub(crate) fn label(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Load => None,
            Self::Replay => Some(("kind", "replay")),
        }
    }
}

impl<'a> Measured<'a> {
    /// The labels of every series, followed by these.
    fn labels<'l>(&self, more: &[(&'l str, &'l str)]) -> Vec<(&'l str, &'l str)>
    where
        'a: 'l,
    {
        std::iter::once(("pipeline", self.pipeline)).chain(self.kind.label()).chain(more.iter().copied()).collect()
    }
}

/// One of its tables.
pub(crate) struct MeasuredTable {
    pub(crate) table: String,
    /// All 0 if it was not committed.
    pub(crate) counts: Counts,
    pub(crate) findings: Vec<Finding>,
    pub(crate) verdict: Option<Outcome>,
}

/// The metrics of a run as text.
pub(crate) fn exposition(run: &Measured<'_>) -> String {
    let mut text = String::new();
    for family in of_run(run).into_iter().chain(of_tables(run)).chain(of_checks(run)) {
        family.write(&mut text);
    }
    text
}

/// Writes the metrics of a run so that a reader finds those of this run or of one before, never half of them.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if the file cannot be written; what was there is still there.
pub(crate) fn write(path: &Path, run: &RunId, text: &str) -> Result<()> {
    let failed = || {
        Error::config("the metrics cannot be written")
            .with("file", path.display().to_string())
            .hint("the run itself is not affected: its outcome and exit code are as they would be without")
    };
    // Something else, such as a device, would be replaced by a file.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(failed().because("this is not a file"));
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{run}.tmp"));
    let beside = path.with_file_name(name);
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&beside);
        failed().because(e)
    })
}

fn of_run(run: &Measured<'_>) -> Vec<Family> {
    let pipeline = run.labels(&[]);
    let mut exit_code = Family::new("run_exit_code", "Exit code of the last run.");
    exit_code.add(&pipeline, f64::from(run.exit_code));
    let mut duration = Family::new("run_duration_seconds", "Time from the start of the last run to its end.");
    duration.add(&pipeline, seconds(run.ended_micros.saturating_sub(run.started_micros)));
    let mut ended = Family::new("run_end_time_seconds", "When the last run ended, in seconds since 1970 UTC.");
    ended.add(&pipeline, seconds(run.ended_micros));
    let mut score =
        Family::new("pipeline_quality_score", "Rows that break no rule per rows looked at, over all tables.");
    if let Some(share) = Score::of(run.tables.iter().flat_map(|t| &t.findings)).share() {
        score.add(&pipeline, share);
    }
    vec![exit_code, duration, ended, score]
}

fn of_tables(run: &Measured<'_>) -> Vec<Family> {
    let mut read = Family::new("rows_read", "Rows the source delivered; 0 if the table was not committed.");
    let mut written = Family::new("rows_written", "Rows written to the target.");
    let mut quarantined = Family::new("rows_quarantined", "Rows put aside with a reason.");
    let mut filtered = Family::new("rows_filtered", "Rows the pipeline's filter left out.");
    let mut deleted = Family::new("rows_deleted", "Delete markers that were merged; none if there were none.");
    let mut verdict = Family::new("verdict", "1 for how the comparison of the table ended; all 0 if there was none.");
    let mut score = Family::new("quality_score", "Rows that break no rule per rows looked at.");
    for table in run.tables {
        let labels = run.labels(&[("table", table.table.as_str())]);
        read.add(&labels, table.counts.read as f64);
        written.add(&labels, table.counts.written as f64);
        quarantined.add(&labels, table.counts.quarantined as f64);
        filtered.add(&labels, table.counts.filtered as f64);
        if table.counts.deleted > 0 {
            deleted.add(&labels, table.counts.deleted as f64);
        }
        for outcome in [Outcome::Match, Outcome::Mismatch, Outcome::NotCompared] {
            let name = outcome.to_string();
            let labels = run.labels(&[("table", table.table.as_str()), ("outcome", name.as_str())]);
            verdict.add(&labels, truth(table.verdict == Some(outcome)));
        }
        if let Some(share) = Score::of(&table.findings).share() {
            score.add(&labels, share);
        }
    }
    vec![read, written, quarantined, filtered, deleted, verdict, score]
}

fn of_checks(run: &Measured<'_>) -> Vec<Family> {
    let mut failed = Family::new("check_failed", "1 if the check failed, 0 if it passed.");
    let mut evaluated = Family::new("check_rows_evaluated", "Rows the check looked at.");
    let mut broken = Family::new("check_rows_failed", "Rows that break the rule, for rules that count rows.");
    let mut duration = Family::new("check_duration_seconds", "Time spent on the check, added up over parallel work.");
    let found = run.tables.iter().flat_map(|t| t.findings.iter().map(move |f| (t.table.as_str(), f)));
    for (table, finding) in found.filter(|(_, finding)| finding.is_judged()) {
        let (columns, severity) = (finding.columns.join(","), finding.severity.to_string());
        let labels = run.labels(&[
            ("table", table),
            ("code", finding.code.as_str()),
            ("check", finding.check.as_str()),
            ("columns", columns.as_str()),
            ("severity", severity.as_str()),
            ("fingerprint", finding.fingerprint.as_str()),
        ]);
        failed.add(&labels, truth(finding.is_failed()));
        evaluated.add(&labels, finding.evaluated as f64);
        if let Some(rows) = finding.failed {
            broken.add(&labels, rows as f64);
        }
        if let Some(micros) = finding.duration_micros {
            duration.add(&labels, micros as f64 / 1e6);
        }
    }
    vec![failed, evaluated, broken, duration]
}

/// All samples of one name.
struct Family {
    name: &'static str,
    help: &'static str,
    /// By their labels as they are written, which must differ.
    samples: BTreeMap<String, f64>,
}

impl Family {
    fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, samples: BTreeMap::new() }
    }

    /// Adds a sample. One rule can be there twice, with two thresholds: the worse counts.
    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(name, of)| format!("{name}=\"{}\"", escape(of))).collect();
        let sample = self.samples.entry(labels.join(",")).or_insert(value);
        *sample = sample.max(value);
    }

    fn write(&self, text: &mut String) {
        if self.samples.is_empty() {
            return;
        }
        let Self { name, help, samples } = self;
        let _ = writeln!(text, "# HELP transload_{name} {help}\n# TYPE transload_{name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "transload_{name}{{{labels}}} {value}");
        }
    }
}

fn seconds(micros: i64) -> f64 {
    micros.max(0) as f64 / 1e6
}

fn truth(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

/// The value of a label as the format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use transload_core::finding::{Action, CheckOutcome, Severity};
    use transload_core::{Clock, TableName};

    use super::*;

    fn finding(failed: Option<u64>, outcome: CheckOutcome) -> Finding {
        Finding {
            code: "Q005".to_string(),
            check: "range".to_string(),
            fingerprint: "0f".to_string(),
            table: TableName::new("orders"),
            columns: vec!["a".to_string(), "b".to_string()],
            filter: None,
            severity: Severity::Warn,
            action: Action::Log,
            threshold: serde_json::Value::Null,
            outcome,
            stops: false,
            expected: String::new(),
            found: String::new(),
            evaluated: 8,
            failed,
            shapes: Vec::new(),
            values: Vec::new(),
            figures: serde_json::Value::Null,
            remedy: String::new(),
            duration_micros: Some(2_500_000),
        }
    }

    fn table(findings: Vec<Finding>, verdict: Option<Outcome>) -> MeasuredTable {
        let counts = Counts { read: 8, written: 5, quarantined: 2, filtered: 1, deleted: 0 };
        MeasuredTable { table: "orders".to_string(), counts, findings, verdict }
    }

    fn text(pipeline: &str, tables: &[MeasuredTable]) -> String {
        let (started_micros, ended_micros) = (1_700_000_000_000_000, 1_700_000_002_500_000);
        let kind = RunKind::Load;
        exposition(&Measured { pipeline, kind, exit_code: 5, started_micros, ended_micros, tables })
    }

    #[test]
    fn a_run_is_written_as_the_format_wants_it() {
        let tables = [table(vec![finding(Some(2), CheckOutcome::Failed)], Some(Outcome::Mismatch))];
        let text = text("p", &tables);
        let check = "pipeline=\"p\",table=\"orders\",code=\"Q005\",check=\"range\",columns=\"a,b\",severity=\"warn\",\
                     fingerprint=\"0f\"";
        for line in [
            "# HELP transload_run_exit_code Exit code of the last run.",
            "# TYPE transload_run_exit_code gauge",
            "transload_run_exit_code{pipeline=\"p\"} 5",
            "transload_run_duration_seconds{pipeline=\"p\"} 2.5",
            "transload_run_end_time_seconds{pipeline=\"p\"} 1700000002.5",
            "transload_pipeline_quality_score{pipeline=\"p\"} 0.75",
            "transload_rows_read{pipeline=\"p\",table=\"orders\"} 8",
            "transload_rows_written{pipeline=\"p\",table=\"orders\"} 5",
            "transload_rows_quarantined{pipeline=\"p\",table=\"orders\"} 2",
            "transload_rows_filtered{pipeline=\"p\",table=\"orders\"} 1",
            "transload_verdict{pipeline=\"p\",table=\"orders\",outcome=\"match\"} 0",
            "transload_verdict{pipeline=\"p\",table=\"orders\",outcome=\"mismatch\"} 1",
            "transload_verdict{pipeline=\"p\",table=\"orders\",outcome=\"not_compared\"} 0",
            "transload_quality_score{pipeline=\"p\",table=\"orders\"} 0.75",
            format!("transload_check_failed{{{check}}} 1").as_str(),
            format!("transload_check_rows_evaluated{{{check}}} 8").as_str(),
            format!("transload_check_rows_failed{{{check}}} 2").as_str(),
            format!("transload_check_duration_seconds{{{check}}} 2.5").as_str(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with('\n'));
        let families = text.lines().filter(|l| l.starts_with("# TYPE ")).count();
        assert_eq!(families, text.lines().filter(|l| l.starts_with("# HELP ")).count());
        assert_eq!(text.lines().filter(|l| !l.starts_with('#')).count(), 4 + 4 + 3 + 1 + 4);
    }

    #[test]
    fn every_series_of_a_replay_says_so_and_none_of_a_load_does() {
        let tables = [table(vec![finding(Some(2), CheckOutcome::Failed)], Some(Outcome::Match))];
        let of = |command: &str| {
            let kind = RunKind::of(command);
            exposition(&Measured {
                pipeline: "p",
                kind,
                exit_code: 0,
                started_micros: 0,
                ended_micros: 1,
                tables: &tables,
            })
        };
        let (load, replay) = (of("run"), of("replay"));
        assert_eq!((load.clone(), of("check")), (text_of_load(&replay), load));
        let samples: Vec<&str> = replay.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples.len(), 4 + 4 + 3 + 1 + 4);
        assert!(samples.iter().all(|line| line.contains("{pipeline=\"p\",kind=\"replay\"")), "{replay}");
    }

    /// The metrics of a replay as they would be of a load.
    fn text_of_load(replay: &str) -> String {
        replay.replace(",kind=\"replay\"", "")
    }

    #[test]
    fn without_checks_there_is_no_score_and_without_a_verdict_no_outcome() {
        let text = text("p", &[table(Vec::new(), None)]);
        assert!(!text.contains("score") && !text.contains("check"), "{text}");
        assert_eq!(text.lines().filter(|l| l.starts_with("transload_verdict") && l.ends_with(" 0")).count(), 3);
    }

    #[test]
    fn labels_are_escaped() {
        let text = text("a\\b\"c\nd", &[]);
        assert!(text.contains("transload_run_exit_code{pipeline=\"a\\\\b\\\"c\\nd\"} 5\n"), "{text}");
    }

    #[test]
    fn one_rule_with_two_thresholds_is_one_series() {
        let twice = vec![finding(Some(2), CheckOutcome::Failed), finding(Some(2), CheckOutcome::Passed)];
        let text = text("p", &[table(twice, None)]);
        let failed: Vec<&str> = text.lines().filter(|l| l.starts_with("transload_check_failed")).collect();
        assert_eq!(failed.len(), 1, "{text}");
        assert!(failed[0].ends_with(" 1"), "{text}");
    }

    #[test]
    fn a_rule_that_counts_no_rows_says_only_whether_it_failed() {
        let text = text("p", &[table(vec![finding(None, CheckOutcome::Passed)], None)]);
        assert!(text.contains("transload_check_failed{") && !text.contains("transload_check_rows_failed{"), "{text}");
    }

    #[test]
    fn a_rule_that_was_not_judged_has_no_series() {
        let text = text("p", &[table(vec![finding(None, CheckOutcome::NotJudged)], None)]);
        assert!(!text.contains("transload_check_"), "{text}");
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is() {
        let folder = std::env::temp_dir().join(format!("transload-metrics-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run = RunId::new(&Clock::system());
        let file = folder.join("m.prom");
        for text in ["one\n", "two\n"] {
            write(&file, &run, text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        assert!(write(&folder, &run, "x").is_err());
        assert!(write(&folder.join("gone/m.prom"), &run, "x").is_err());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
