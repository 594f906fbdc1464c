//! How good a table is, in one figure.

use std::cmp::Ordering;

use transload_core::Finding;

/// How many rows the checks looked at, and how many of them are as they should be. A row counts once for each check.
///
/// A rule about the whole table counts no single rows: all that it looked at are as they should be, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// Rows that were looked at.
    pub evaluated: u64,
    /// Those that break no rule.
    pub passed: u64,
}

impl Score {
    /// The score of what some checks found: those of a table, or of a whole run.
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        findings.into_iter().fold(Self::default(), |sum, finding| Self {
            evaluated: sum.evaluated + finding.evaluated,
            passed: sum.passed + passed(finding),
        })
    }

    /// The score itself, from 0 to 1. `None` if no row was looked at.
    pub fn share(&self) -> Option<f64> {
        (self.evaluated > 0).then(|| self.passed as f64 / self.evaluated as f64)
    }

    /// The score for a person, rounded down so that only what is whole is `100.00 %`. `None` if no row was looked at.
    pub fn percent(&self) -> Option<String> {
        let hundredths = (u128::from(self.passed) * 10_000).checked_div(u128::from(self.evaluated))?;
        Some(format!("{}.{:02} %", hundredths / 100, hundredths % 100))
    }

    /// Whether this is more, less or the same as before, exactly. `None` if one of both has no score.
    pub fn against(&self, before: &Self) -> Option<Ordering> {
        if self.evaluated == 0 || before.evaluated == 0 {
            return None;
        }
        let this = u128::from(self.passed) * u128::from(before.evaluated);
        Some(this.cmp(&(u128::from(before.passed) * u128::from(self.evaluated))))
    }
}

/// Rows that are as a check wants them.
fn passed(finding: &Finding) -> u64 {
    match finding.failed {
        Some(failed) => finding.evaluated.saturating_sub(failed),
        None if finding.is_failed() => 0,
        None => finding.evaluated,
    }
}

#[cfg(test)]
mod tests {
    use transload_core::finding::{CheckOutcome, Severity};

    use super::*;
    use crate::message::tests::finding;

    fn of(outcome: CheckOutcome, evaluated: u64, failed: Option<u64>) -> Finding {
        Finding { evaluated, failed, ..finding(outcome, Severity::Error) }
    }

    #[test]
    fn every_row_weighs_the_same_whatever_its_check() {
        let findings = [of(CheckOutcome::Failed, 6, Some(2)), of(CheckOutcome::Passed, 4, Some(0))];
        let score = Score::of(&findings);
        assert_eq!(score, Score { evaluated: 10, passed: 8 });
        assert_eq!((score.share(), score.percent().as_deref()), (Some(0.8), Some("80.00 %")));
    }

    #[test]
    fn a_rule_about_the_table_passes_all_of_its_rows_or_none() {
        let findings = [of(CheckOutcome::Failed, 5, None), of(CheckOutcome::Passed, 5, None)];
        assert_eq!(Score::of(&findings), Score { evaluated: 10, passed: 5 });
    }

    #[test]
    fn what_a_threshold_allows_still_lowers_the_score() {
        assert_eq!(Score::of(&[of(CheckOutcome::Passed, 100, Some(1))]).percent().as_deref(), Some("99.00 %"));
    }

    #[test]
    fn nothing_looked_at_is_no_score_and_not_a_perfect_one() {
        for findings in [vec![], vec![of(CheckOutcome::Passed, 0, Some(0))]] {
            let score = Score::of(&findings);
            assert_eq!((score.share(), score.percent()), (None, None));
            assert_eq!(score.against(&Score { evaluated: 1, passed: 1 }), None);
            assert_eq!(Score { evaluated: 1, passed: 1 }.against(&score), None);
        }
    }

    #[test]
    fn a_single_row_in_a_billion_is_seen() {
        let whole = Score { evaluated: 1_000_000_000, passed: 1_000_000_000 };
        let less = Score { passed: 999_999_999, ..whole };
        assert_eq!((whole.percent().as_deref(), less.percent().as_deref()), (Some("100.00 %"), Some("99.99 %")));
        assert_eq!(less.against(&whole), Some(Ordering::Less));
        assert_eq!(whole.against(&less), Some(Ordering::Greater));
        assert_eq!(whole.against(&Score { evaluated: 3, passed: 3 }), Some(Ordering::Equal));
    }
}
