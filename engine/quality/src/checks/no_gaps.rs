//! # `no_gaps` (Q017)
//!
//! **What it checks.** Every hour, day, month or year (in UTC) between the first and the last value of a column has at
//! least one row.
//!
//! **Why it matters.** A day that is missing in the middle is not seen by any check of single rows, nor by freshness.
//!
//! **Example.** `no_gaps: { column: sold_on, every: day }`
//!
//! **Cost.** One division per value, and memory for the windows that were met: at most a million of them apart.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use transload_core::tree::Spanned;
use transload_core::types::Unit;
use transload_core::{Error, ErrorKind, LogicalType, Result};

use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, read_state};
use crate::policy::Policy;
use crate::tally::Counter;
use crate::values::{each_exact, wrong_type};

/// Windows apart from each other that are remembered.
const MOST: usize = 1_000_000;

settings! {
    /// Every day, hour or other window of time has rows.
    pub struct NoGaps {
        /// The column.
        pub column: Spanned<String>,
        /// The window.
        pub every: Window,
    }
}

/// A window of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// An hour.
    Hour,
    /// A day.
    #[default]
    Day,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Window {
    fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The number of the window in which a time lies, in seconds since 1970.
    fn number(self, seconds: i128) -> i64 {
        let days = seconds.div_euclid(86_400);
        let number = match self {
            Self::Hour => seconds.div_euclid(3_600),
            Self::Day => days,
            Self::Month => months(days),
            Self::Year => months(days).div_euclid(12),
        };
        i64::try_from(number).unwrap_or(i64::MAX)
    }
}

/// Months since January of the year 0, by the algorithm of Howard Hinnant (`civil_from_days`).
fn months(days: i128) -> i128 {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day = shifted.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    // The year begins in March.
    (era * 400 + year) * 12 + month + 2
}

impl Definition for NoGaps {
    fn code(&self) -> &'static str {
        "Q017"
    }

    fn kind(&self) -> &'static str {
        "no_gaps"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        vec![&self.column]
    }

    fn scope(&self) -> Scope {
        Scope::Table
    }

    fn expected(&self) -> String {
        format!("a row for every {} between the first and the last", self.every.word())
    }

    fn remedy(&self) -> &'static str {
        "load what is missing at the source again, or look whether the filter leaves it out"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let (_, _, ty) = setting.typed(&self.column)?;
        let seconds = match (&ty, self.every) {
            (LogicalType::Date, Window::Hour) => None,
            (LogicalType::Date, _) => Some((86_400, 1)),
            (LogicalType::Timestamp(Unit::S, _), _) => Some((1, 1)),
            (LogicalType::Timestamp(unit, _), _) => Some((1, 1_000_000_000 / i128::from(unit.nanos()))),
            _ => None,
        };
        let every = self.every;
        match seconds {
            Some(seconds) => Ok(Work::count(move || Met { every, seconds, ..Met::default() })),
            None => Err(wrong_type(self.kind(), &self.column, &ty, "timestamps (or dates, for days and more)")),
        }
    }

    fn judge(&self, states: &[Json], _: &Facts<'_>) -> Result<Ruling> {
        let mut met = Runs::default();
        for state in states {
            for (from, to) in read_state::<Vec<(i64, i64)>>(state)? {
                met.add(from, to)?;
            }
        }
        let ends = met.0.first_key_value().zip(met.0.last_key_value());
        let all = ends.map_or(0, |((first, _), (_, last))| i128::from(*last) - i128::from(*first) + 1);
        let there: i128 = met.0.iter().map(|(from, to)| i128::from(*to) - i128::from(*from) + 1).sum();
        let found = format!("{there} of {all} {}s have rows, with {} gaps", self.every.word(), met.0.len().max(1) - 1);
        Ok(Ruling { holds: there == all, found, broken: None })
    }
}

/// Numbers that were met, as runs without a gap: from, to.
#[derive(Debug, Default)]
struct Runs(BTreeMap<i64, i64>);

impl Runs {
    fn add(&mut self, from: i64, to: i64) -> Result<()> {
        let (mut from, mut to) = (from, to);
        // Runs that touch or overlap become one.
        while let Some((start, end)) = self.0.range(..=to.saturating_add(1)).next_back().map(|(s, e)| (*s, *e)) {
            if end < from.saturating_sub(1) {
                break;
            }
            self.0.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        self.0.insert(from, to);
        if self.0.len() > MOST {
            let what = format!("`no_gaps` met more than {MOST} windows apart from each other");
            return Err(
                Error::new(ErrorKind::Quality, what).hint("use a longer window, or leave outliers out with `where`")
            );
        }
        Ok(())
    }

    fn has(&self, number: i64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, to)| *to >= number)
    }
}

#[derive(Default)]
struct Met {
    every: Window,
    /// Seconds in a tick of the column, and ticks in a second for what is finer.
    seconds: (i128, i128),
    runs: Runs,
    last: Option<i64>,
}

impl Counter for Met {
    fn update(&mut self, columns: &[ArrayRef], _: usize) -> Result<()> {
        let Some(column) = columns.first() else { return Ok(()) };
        let (seconds, finer) = self.seconds;
        let mut result = Ok(());
        each_exact(column, |ticks| {
            let number = self.every.number((ticks * seconds).div_euclid(finer));
            if self.last != Some(number) && result.is_ok() {
                self.last = Some(number);
                if !self.runs.has(number) {
                    result = self.runs.add(number, number);
                }
            }
        });
        result
    }

    fn state(&self) -> Json {
        json!(self.runs.0.iter().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::{Window, months};
    use crate::checks::testing::{days, judged, refused, texts};

    #[test]
    fn a_day_without_rows_between_two_with_rows_is_a_gap() {
        let rule = r#"{"no_gaps":{"column":"c","every":"day"}}"#;
        assert!(judged(rule, vec![days([Some(3), Some(1), None]), days([Some(2), Some(2)])]).0);
        let (holds, found) = judged(rule, vec![days([Some(5), Some(1)]), days([Some(2)])]);
        assert_eq!((holds, found.as_str()), (false, "3 of 5 days have rows, with 1 gaps"));
        assert!(judged(rule, vec![]).0 && judged(rule, vec![days([None])]).0);
    }

    #[test]
    fn months_and_years_follow_the_calendar() {
        assert_eq!(months(0), 1970 * 12);
        assert_eq!((months(30), months(31), months(-1)), (1970 * 12, 1970 * 12 + 1, 1970 * 12 - 1));
        assert_eq!(months(11_016), 2000 * 12 + 1, "2000-02-29");
        assert_eq!(Window::Year.number(-1), 1969);
        assert_eq!(Window::Hour.number(3_600), 1);
    }

    #[test]
    fn types_without_the_window_are_refused() {
        assert!(refused(r#"{"no_gaps":{"column":"c","every":"hour"}}"#, days([Some(1)])).contains("needs timestamps"));
        assert!(
            refused(r#"{"no_gaps":{"column":"c","every":"day"}}"#, texts([Some("x")])).contains("needs timestamps")
        );
    }
}
