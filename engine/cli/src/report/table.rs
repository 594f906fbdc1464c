//! One table's part of the page.

use serde::Serialize;
use transload_coerce::Loss as Risk;
use transload_core::finding::{Action, CheckOutcome, Severity};
use transload_core::value::{Loss, Outcome};
use transload_core::{Finding, Pin, Receipt, Verdict};
use transload_ledger::RunSummary;
use transload_plan::{ColumnChange, ColumnPlan, OnMisfit, Origin, TablePlan};
use transload_quality::Score;

use crate::commands::show::quarantine_place;
use crate::report::history::{Course, course};
use crate::report::sample::Sample;
use crate::report::words::{brief, count, counted, elapsed, moment, per_second, size, took};
use crate::report::{Beside, Fact};

/// Files of a pin that are listed; of the others the number is told.
const FILES: usize = 100;
/// Casts that are shown whatever they did. Where there are more, those that lost nothing are folded.
const CASTS: usize = 8;
/// Names of columns in one line. Where there are more they are folded.
const NAMES: usize = 12;

/// One table.
#[derive(Debug, Serialize)]
pub(crate) struct TablePart {
    /// Its place in the page, for links.
    number: usize,
    to: String,
    /// Its name, or both where the target's is another.
    title: String,
    /// `good`, `bad` or `warn`: the colour; the word beside it says the same.
    tone: &'static str,
    word: &'static str,
    sentence: String,
    balance: Option<Balance>,
    facts: Vec<Fact>,
    casts: Vec<Casts>,
    masks: Vec<MaskLine>,
    /// Checks that failed, the worst first.
    broken: Vec<CheckLine>,
    /// Checks that passed.
    kept: Vec<CheckLine>,
    /// All checks in one line; empty without checks.
    checks_summary: String,
    /// The score of all checks; none if no row was looked at.
    score: Option<String>,
    /// How long its load took.
    took: Option<String>,
    comparison: Option<Comparison>,
    files: Vec<FileList>,
    /// Some of the rows that were put aside.
    sample: Option<Sample>,
}

/// Law 5 for one table.
#[derive(Debug, Serialize)]
struct Balance {
    read: String,
    written: String,
    quarantined: String,
    filtered: String,
    /// Empty if there are none.
    deleted: String,
    balances: bool,
}

/// Some of the casts.
#[derive(Debug, Serialize)]
struct Casts {
    /// What stands for them where they are folded; none where they are not.
    folded: Option<String>,
    lines: Vec<CastLine>,
}

/// A cast as planned, with what it did.
#[derive(Debug, Serialize)]
struct CastLine {
    column: String,
    types: String,
    risk: &'static str,
    on_misfit: &'static str,
    changed: String,
    nulled: String,
    quarantined: String,
    /// Whether it lost something.
    #[serde(skip)]
    lost: bool,
}

#[derive(Debug, Serialize)]
struct MaskLine {
    column: String,
    kind: String,
}

/// A check with what it found.
#[derive(Debug, Serialize)]
struct CheckLine {
    title: String,
    tone: &'static str,
    word: &'static str,
    policy: String,
    /// The condition of the rows it is about; empty if it is about all.
    condition: String,
    expected: String,
    /// How many rows may break it; empty if nothing is said.
    allowance: String,
    found: String,
    shapes: Vec<String>,
    /// Only those that the ledger keeps, which it does if somebody asked for it.
    values: Vec<String>,
    /// Empty if the rule holds.
    remedy: String,
    fingerprint: String,
    /// How it went in the runs before.
    course: Option<Course>,
    /// Its score; none if no row was looked at.
    score: Option<String>,
    /// The time that it took, if it was measured.
    took: Option<String>,
}

/// What the second reading found.
#[derive(Debug, Serialize)]
struct Comparison {
    facts: Vec<Fact>,
    /// Columns whose values were compared, if they are too many for a line.
    folded_columns: Vec<String>,
    not_compared: Vec<(String, String)>,
    left_out: Vec<(String, String)>,
    not_looked_at: Vec<(String, String)>,
    schema: Vec<String>,
    /// Kinds of differences with the number of keys; none if there are no differences.
    kinds: Vec<(&'static str, String)>,
    columns: Vec<(String, String)>,
    /// Where every differing key is written; empty if there is none.
    evidence: String,
}

#[derive(Debug, Serialize)]
struct FileList {
    title: &'static str,
    files: Vec<(String, String, String)>,
    more: usize,
}

/// What the page shows of a table.
pub(crate) fn table(
    number: usize,
    plan: &TablePlan,
    summary: &RunSummary,
    quarantine: &str,
    beside: &Beside,
) -> TablePart {
    let receipt = summary.receipts.iter().find(|r| r.to == plan.to);
    let verdict = summary.verdicts.iter().find(|v| v.to == plan.to);
    let findings: Vec<Finding> = summary.findings.iter().filter(|f| f.table == plan.to).cloned().collect();
    let (tone, word, sentence) = state(plan, summary, receipt, verdict, &findings);
    let (broken, kept): (Vec<Finding>, Vec<Finding>) = findings.iter().cloned().partition(Finding::is_failed);
    TablePart {
        number,
        to: plan.to.to_string(),
        title: match plan.from == plan.to {
            true => plan.to.to_string(),
            false => format!("{} → {}", plan.from, plan.to),
        },
        tone,
        word,
        sentence,
        balance: receipt.map(balance),
        facts: facts(plan, receipt, quarantine),
        casts: casts(plan, receipt),
        masks: plan.columns.iter().filter_map(mask).collect(),
        broken: worst_first(broken).iter().map(|f| check(f, beside)).collect(),
        kept: kept.iter().map(|f| check(f, beside)).collect(),
        checks_summary: transload_quality::summary(&findings).unwrap_or_default(),
        score: Score::of(&findings).percent(),
        took: receipt.and_then(|r| elapsed(&r.started, &r.ended)).map(took),
        comparison: verdict.map(comparison),
        files: files(receipt, verdict),
        sample: beside.samples.iter().find(|s| *s.table() == plan.to).cloned(),
    }
}

/// What became of the table, in a word and a sentence.
fn state(
    plan: &TablePlan,
    summary: &RunSummary,
    receipt: Option<&Receipt>,
    verdict: Option<&Verdict>,
    findings: &[Finding],
) -> (&'static str, &'static str, String) {
    if let Some(verdict) = verdict {
        let summary = &verdict.summary;
        let said = match verdict.level.as_str() {
            "row" => format!("Read again and compared row by row: {summary}."),
            "count" => format!("Compared by the number of rows alone: {summary}."),
            "schema" => format!("Compared by its columns alone: {summary}."),
            level => format!("Compared at level {level}: {summary}."),
        };
        return match verdict.outcome {
            Outcome::Match => ("good", "Match", said),
            Outcome::Mismatch => ("bad", "Mismatch", said),
            Outcome::NotCompared => ("warn", "Not compared", format!("This is not a match: {summary}.")),
        };
    }
    if receipt.is_some() {
        let why = match plan.incremental.is_some() && receipt.is_some_and(|r| r.committed.rows == 0) {
            true => "There was nothing new to compare.",
            false => "It was published and not compared with its source.",
        };
        return ("warn", "Not compared", why.to_string());
    }
    match (summary.start.command.as_str(), findings.iter().any(|f| f.stops)) {
        ("run" | "replay", true) => {
            ("bad", "Not published", "A check stopped it: nothing of the table is visible.".to_string())
        }
        ("run" | "replay", false) if summary.end.is_none() => {
            ("warn", "Not published", "It is not published yet.".to_string())
        }
        ("run" | "replay", false) => ("bad", "Not published", "Nothing of the table is visible.".to_string()),
        _ => ("warn", "Not compared", "The comparison did not come to a verdict.".to_string()),
    }
}

fn balance(receipt: &Receipt) -> Balance {
    let c = &receipt.counts;
    Balance {
        read: count(c.read),
        written: count(c.written),
        quarantined: count(c.quarantined),
        filtered: count(c.filtered),
        deleted: if c.deleted > 0 { count(c.deleted) } else { String::new() },
        balances: c.balance().is_ok(),
    }
}

fn facts(plan: &TablePlan, receipt: Option<&Receipt>, quarantine: &str) -> Vec<Fact> {
    let mut facts = receipt.map_or_else(|| planned_facts(plan), |r| receipt_facts(r, quarantine));
    facts.extend(plan.backfilled().map(|(cursor, range)| Fact::plain("Backfill", format!("{cursor} {range}"))));
    for ColumnChange { column, change } in plan.schema_change.iter().flat_map(|schema| &schema.changes) {
        facts.push(Fact::plain("Column", format!("{column}: {change}")));
    }
    facts
}

fn planned_facts(plan: &TablePlan) -> Vec<Fact> {
    let mut facts = vec![Fact::plain("Source pinned at", plan.pin.describe())];
    facts.extend(plan.estimated_rows.map(|rows| Fact::plain("Rows expected", count(rows))));
    facts
}

fn receipt_facts(receipt: &Receipt, quarantine: &str) -> Vec<Fact> {
    let committed = &receipt.committed;
    let earlier = if committed.already_done { ", by an earlier attempt" } else { "" };
    let files = counted(committed.parts, "file", "files");
    let mut facts = vec![
        Fact::plain("Source pinned at", receipt.pin.describe()),
        Fact::plain("Target", format!("version {}{earlier}", committed.version)),
        Fact::plain("Written", format!("{files}, {}", size(committed.bytes as f64))),
    ];
    if let Some(time) = elapsed(&receipt.started, &receipt.ended) {
        facts.push(Fact::plain("Took", format!("{}, first unit to commit", took(time))));
        if let (Some(rows), Some(bytes)) = (per_second(receipt.counts.read, time), per_second(committed.bytes, time)) {
            let rows = count(rows.round() as u64);
            facts.push(Fact::plain("Throughput", format!("{rows} rows/s read, {}/s written", size(bytes))));
        }
    }
    facts.push(Fact::plain("Work", work(receipt)));
    facts.push(Fact::code("Digest of what was written", receipt.digest.clone()));
    if receipt.quarantine.is_some() {
        facts.push(Fact::code("Quarantine", quarantine_place(receipt, quarantine)));
    }
    facts
}

fn work(receipt: &Receipt) -> String {
    let units = counted(receipt.units, "unit", "units");
    let retries = counted(receipt.retries, "retry", "retries");
    format!("{units}, {} taken over from an earlier process, {retries}", count(receipt.resumed_units))
}

/// All casts, or those that lost something and, folded, the others.
fn casts(plan: &TablePlan, receipt: Option<&Receipt>) -> Vec<Casts> {
    let lines = cast_lines(plan, receipt);
    if lines.len() <= CASTS {
        return if lines.is_empty() { Vec::new() } else { vec![Casts { folded: None, lines }] };
    }
    let (lost, quiet): (Vec<CastLine>, Vec<CastLine>) = lines.into_iter().partition(|line| line.lost);
    let more = if lost.is_empty() { "" } else { "more " };
    let what = counted(quiet.len() as u64, &format!("{more}cast"), &format!("{more}casts"));
    let folded = if receipt.is_some() { format!("{what} that lost nothing") } else { what };
    let parts = [Casts { folded: None, lines: lost }, Casts { folded: Some(folded), lines: quiet }];
    parts.into_iter().filter(|part| !part.lines.is_empty()).collect()
}

/// The planned casts with what they did, and what was counted beside them.
fn cast_lines(plan: &TablePlan, receipt: Option<&Receipt>) -> Vec<CastLine> {
    let losses: &[Loss] = receipt.map(|r| r.losses.as_slice()).unwrap_or_default();
    let planned = plan.columns.iter().filter_map(|column| planned_cast(column, receipt, losses));
    let is_planned = |loss: &&Loss| plan.columns.iter().any(|c| c.cast.is_some() && source(c) == Some(&loss.column));
    planned.chain(losses.iter().filter(|loss| !is_planned(loss)).map(counted_cast)).collect()
}

fn source(column: &ColumnPlan) -> Option<&String> {
    match &column.origin {
        Origin::Source(name) => Some(name),
        Origin::Derived(_) | Origin::Metadata(_) | Origin::Gone => None,
    }
}

fn planned_cast(column: &ColumnPlan, receipt: Option<&Receipt>, losses: &[Loss]) -> Option<CastLine> {
    let cast = column.cast.as_ref()?;
    let loss = losses.iter().find(|loss| source(column) == Some(&loss.column));
    // Of a table that was committed, a cast without counts is one that could lose nothing.
    let number = |of: fn(&Loss) -> u64| match (receipt, loss) {
        (None, _) => "–".to_string(),
        (Some(_), loss) => count(loss.map_or(0, of)),
    };
    Some(CastLine {
        column: column.name.clone(),
        types: format!("{} → {}", cast.from, cast.to),
        risk: match cast.loss {
            Risk::Exact => "exact",
            Risk::Checked => "checked",
            Risk::Lossy => "lossy",
        },
        on_misfit: match (cast.loss, cast.on_misfit) {
            (Risk::Exact, _) => "–",
            (_, OnMisfit::Error) => "the load stops",
            (_, OnMisfit::NullCounted) => "NULL, counted",
            (_, OnMisfit::Quarantine) => "quarantine",
        },
        changed: number(|l| l.changed),
        nulled: number(|l| l.nulled),
        quarantined: number(|l| l.quarantined),
        lost: loss.is_some_and(lost),
    })
}

fn lost(loss: &Loss) -> bool {
    loss.changed + loss.nulled + loss.quarantined > 0
}

/// A cast of a column that does not arrive as such, such as one that only a filter reads.
fn counted_cast(loss: &Loss) -> CastLine {
    CastLine {
        column: format!("{} (source)", loss.column),
        types: format!("{} → {}", loss.from, loss.to),
        risk: "–",
        on_misfit: "–",
        changed: count(loss.changed),
        nulled: count(loss.nulled),
        quarantined: count(loss.quarantined),
        lost: lost(loss),
    }
}

fn mask(column: &ColumnPlan) -> Option<MaskLine> {
    let kind = format!("{:?}", column.mask?).to_lowercase();
    Some(MaskLine { column: column.name.clone(), kind })
}

/// Findings of checks that failed: what stopped the load first, then errors, warnings, notes.
fn worst_first(mut broken: Vec<Finding>) -> Vec<Finding> {
    broken.sort_by_key(|finding| (!finding.stops, finding.severity));
    broken
}

/// What happens if a rule is broken.
fn policy(finding: &Finding) -> String {
    let then = match finding.action {
        Action::Stop => "nothing is published",
        Action::Quarantine => "rows are put aside",
        Action::Log => "it is only noted",
    };
    format!("{}: {then}", finding.severity)
}

fn check(finding: &Finding, beside: &Beside) -> CheckLine {
    let (tone, word) = match (finding.outcome, finding.severity) {
        (CheckOutcome::Passed, _) => ("good", "Passed"),
        (CheckOutcome::NotJudged, _) => ("warn", "Not judged"),
        (CheckOutcome::Failed, Severity::Error) => ("bad", "Failed"),
        (CheckOutcome::Failed, Severity::Warn) => ("warn", "Warning"),
        (CheckOutcome::Failed, Severity::Info) => ("warn", "Note"),
    };
    CheckLine {
        title: finding.title(),
        tone,
        word,
        policy: policy(finding),
        condition: finding.condition().unwrap_or_default(),
        expected: finding.expected.clone(),
        allowance: finding.allowance().unwrap_or_default(),
        found: finding.found.clone(),
        shapes: finding.shapes.iter().map(|(shape, n)| format!("{shape} ×{}", count(*n))).collect(),
        values: finding.values.iter().map(|v| v.escape_debug().to_string()).collect(),
        remedy: if finding.is_failed() { finding.remedy.clone() } else { String::new() },
        fingerprint: finding.fingerprint.clone(),
        course: course(finding, &beside.history).filter(|_| finding.is_judged()),
        score: Score::of([finding]).percent(),
        took: finding.duration_micros.map(brief),
    }
}

fn comparison(verdict: &Verdict) -> Comparison {
    let coverage = &verdict.coverage;
    let differences = &verdict.differences;
    let kinds = [
        ("Missing in the target", differences.missing_in_target),
        ("Extra in the target", differences.extra_in_target),
        ("Changed", differences.changed),
        ("With another multiplicity", differences.multiplicity),
    ];
    Comparison {
        facts: comparison_facts(verdict),
        folded_columns: if coverage.columns.len() > NAMES { coverage.columns.clone() } else { Vec::new() },
        not_compared: coverage.not_compared.clone(),
        left_out: coverage.rows_left_out.iter().map(|(rows, why)| (count(*rows), why.clone())).collect(),
        not_looked_at: coverage.not_looked_at.clone(),
        schema: verdict.schema.clone(),
        kinds: match differences.total() {
            0 => Vec::new(),
            _ => kinds.map(|(kind, keys)| (kind, count(keys))).to_vec(),
        },
        columns: differences.columns.iter().map(|(column, values)| (column.clone(), count(*values))).collect(),
        evidence: verdict.evidence.clone().unwrap_or_default(),
    }
}

fn comparison_facts(verdict: &Verdict) -> Vec<Fact> {
    let rows = |rows: Option<u64>| rows.map_or_else(|| "not counted".to_string(), count);
    let digest = |digest: &Option<String>| digest.clone().unwrap_or_else(|| "not computed".to_string());
    let coverage = &verdict.coverage;
    let mut facts = vec![
        Fact::plain("Level", verdict.level.clone()),
        Fact::plain("Source read at", verdict.source_pin.describe()),
        Fact::plain("Target read at", verdict.target_pin.describe()),
        Fact::plain("Rows expected", rows(verdict.source_rows)),
        Fact::plain("Rows found", rows(verdict.target_rows)),
        Fact::code("Digest of the source", digest(&verdict.source_digest)),
        Fact::code("Digest of the target", digest(&verdict.target_digest)),
    ];
    let columns = match coverage.columns.len() {
        0 => "none".to_string(),
        1..=NAMES => format!("{}: {}", counted_columns(coverage.columns.len()), coverage.columns.join(", ")),
        many => counted_columns(many),
    };
    facts.push(Fact::plain("Values compared in", columns));
    if let Some(rows) = coverage.held_against_others {
        facts.push(Fact::plain("Held against all other rows", counted(rows, "row of the load", "rows of the load")));
    }
    if !coverage.masked.is_empty() {
        facts.push(Fact::plain("Compared as masked", coverage.masked.join(", ")));
    }
    facts
}

fn counted_columns(number: usize) -> String {
    counted(number as u64, "column", "columns")
}

/// The files behind the pins: those that were read, and those that were written or, without a load, compared.
fn files(receipt: Option<&Receipt>, verdict: Option<&Verdict>) -> Vec<FileList> {
    let source = receipt.map(|r| &r.pin).or(verdict.map(|v| &v.source_pin));
    let target = receipt.map(|r| &r.committed.pin).or(verdict.map(|v| &v.target_pin));
    [("Files of the source", source), ("Files of the target", target)]
        .into_iter()
        .filter_map(|(title, pin)| match pin? {
            Pin::Files(files) if !files.is_empty() => Some(FileList {
                title,
                files: files
                    .iter()
                    .take(FILES)
                    .map(|f| (f.path.clone(), size(f.size as f64), moment(&f.modified)))
                    .collect(),
                more: files.len().saturating_sub(FILES),
            }),
            Pin::Files(_) | Pin::Formula(_) | Pin::Version(_) | Pin::Snapshot(_) => None,
        })
        .collect()
}
