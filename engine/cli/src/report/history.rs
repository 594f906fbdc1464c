//! How a check went from run to run: a line for the eye, and the same in words.

use serde::Serialize;
use transload_core::Finding;
use transload_ledger::PastRun;
use transload_quality::Score;

/// Runs that are shown, the page's own included.
pub(crate) const RUNS: usize = 20;
/// The drawing, in units of its own, and the room around the line.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;
const ROOM: f64 = 3.0;

/// The scores of one check in several runs, oldest first.
#[derive(Debug, Serialize)]
pub(crate) struct Course {
    /// The corners of the line.
    line: String,
    /// The last of them.
    x: String,
    y: String,
    words: String,
}

/// The course of a check up to this finding; none if it was never judged before.
pub(crate) fn course(finding: &Finding, past: &[PastRun]) -> Option<Course> {
    let same =
        |f: &&Finding| f.table == finding.table && f.code == finding.code && f.fingerprint == finding.fingerprint;
    let scores: Vec<Score> = past
        .iter()
        .filter_map(|run| run.findings.iter().find(same))
        .map(|found| Score::of([found]))
        .filter(|score| score.share().is_some())
        .collect();
    let [first, .., last] = scores.as_slice() else { return None };
    let shares: Vec<f64> = scores.iter().filter_map(Score::share).collect();
    let corners = corners(&shares);
    let line: Vec<String> = corners.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let (x, y) = corners.last()?;
    let lowest = scores.iter().min_by(|a, b| a.against(b).unwrap_or(std::cmp::Ordering::Equal))?;
    let words =
        format!("{} → {} over {} runs, lowest {}", first.percent()?, last.percent()?, scores.len(), lowest.percent()?);
    Some(Course { line: line.join(" "), x: format!("{x:.1}"), y: format!("{y:.1}"), words })
}

/// The line fills the drawing: its top is a perfect score, its bottom the lowest.
fn corners(shares: &[f64]) -> Vec<(f64, f64)> {
    let lowest = shares.iter().copied().fold(1.0, f64::min);
    let step = (WIDTH - 2.0 * ROOM) / (shares.len().max(2) - 1) as f64;
    let depth = |share: f64| if lowest < 1.0 { (1.0 - share) / (1.0 - lowest) } else { 0.0 };
    let corner = |(at, share): (usize, &f64)| (ROOM + step * at as f64, ROOM + depth(*share) * (HEIGHT - 2.0 * ROOM));
    shares.iter().enumerate().map(corner).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use transload_core::RunId;
    use transload_ledger::RunStart;

    use super::*;

    fn finding(fingerprint: &str, evaluated: u64, failed: u64) -> Finding {
        serde_json::from_value(json!({
            "code": "Q005", "check": "range", "fingerprint": fingerprint, "table": "t", "columns": ["a"],
            "severity": "error", "action": "log", "outcome": "failed", "stops": false, "expected": "", "found": "",
            "evaluated": evaluated, "failed": failed, "shapes": [], "remedy": "",
        }))
        .unwrap()
    }

    fn past(findings: Vec<Finding>) -> PastRun {
        let start = RunStart {
            run: RunId::parse("20261121T051500Z-7f3a9c12").unwrap(),
            pipeline: "p".to_string(),
            command: "run".to_string(),
            at: String::new(),
            at_micros: 0,
            plan: String::new(),
            program: String::new(),
            show_values: false,
        };
        PastRun { start, findings }
    }

    #[test]
    fn a_course_goes_from_the_oldest_run_to_the_newest() {
        let runs = [
            past(vec![finding("a", 10, 1), finding("b", 10, 10)]),
            past(Vec::new()),
            past(vec![finding("a", 10, 2)]),
            past(vec![finding("a", 0, 0)]),
            past(vec![finding("a", 10, 0)]),
        ];
        let course = course(&finding("a", 10, 0), &runs).unwrap();
        assert_eq!(course.words, "90.00 % → 100.00 % over 3 runs, lowest 80.00 %");
        assert_eq!(course.line, "3.0,12.0 60.0,21.0 117.0,3.0");
        assert_eq!((course.x.as_str(), course.y.as_str()), ("117.0", "3.0"));
    }

    #[test]
    fn one_run_is_no_course_and_perfect_ones_are_a_line_at_the_top() {
        let one = [past(vec![finding("a", 10, 1)])];
        assert!(course(&finding("a", 10, 1), &one).is_none());
        let good = || past(vec![finding("a", 10, 0)]);
        assert_eq!(course(&finding("a", 10, 0), &[good(), good()]).unwrap().line, "3.0,3.0 117.0,3.0");
    }
}
