//! # `freshness` (Q016)
//!
//! **What it checks.** The newest date or timestamp of a column is at most so old when the run starts.
//!
//! **Why it matters.** A source that stands still delivers rows that are all right, and old.
//!
//! **Example.** `freshness: { column: updated_at, max_age_secs: 86400 }`
//!
//! **Cost.** One comparison per value.

use arrow::array::ArrayRef;
use serde_json::{Value as Json, json};
use transload_core::tree::Spanned;
use transload_core::types::Unit;
use transload_core::{LogicalType, Result};

use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, read_state};
use crate::policy::Policy;
use crate::tally::Counter;
use crate::values::{each_exact, wrong_type};

/// A day, in µs, back from the start of the run.
const DAY_BEFORE: i128 = -86_400_000_000;

settings! {
    /// The newest value is not too old.
    pub struct Freshness {
        /// The column.
        pub column: Spanned<String>,
        /// The greatest age of the newest value, in seconds.
        pub max_age_secs: u64,
    }
}

impl Definition for Freshness {
    fn code(&self) -> &'static str {
        "Q016"
    }

    fn kind(&self) -> &'static str {
        "freshness"
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
        format!("a newest value at most {} old", age(i128::from(self.max_age_secs)))
    }

    fn remedy(&self) -> &'static str {
        "look whether the source is still being written, and whether the run reads the newest state of it"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let (_, _, ty) = setting.typed(&self.column)?;
        match scale(&ty) {
            Some(scale) => Ok(Work::count(move || Newest { scale, newest: None })),
            None => Err(wrong_type(self.kind(), &self.column, &ty, "dates or timestamps")),
        }
    }

    fn judge(&self, states: &[Json], facts: &Facts<'_>) -> Result<Ruling> {
        let mut newest: Option<i64> = None;
        for state in states {
            newest = newest.max(read_state::<Option<i64>>(state)?);
        }
        let Some(newest) = newest else {
            return Ok(Ruling { holds: false, found: "no value at all".to_string(), broken: None });
        };
        let micros = i128::from(facts.started_micros) - i128::from(newest);
        let holds = micros <= i128::from(self.max_age_secs) * 1_000_000;
        let found = match micros {
            0.. => format!("the newest value is {} old", age(micros / 1_000_000)),
            DAY_BEFORE..0 => "the newest value is of the time of the run".to_string(),
            _ => format!("the newest value lies {} after the start of the run", age(-micros / 1_000_000)),
        };
        Ok(Ruling { holds, found, broken: None })
    }
}

/// An age as a person would say it.
fn age(seconds: i128) -> String {
    let one = |amount: i128, unit: &str| format!("{amount} {unit}{}", if amount == 1 { "" } else { "s" });
    match seconds {
        0..=119 => one(seconds, "second"),
        120..=7_199 => one(seconds / 60, "minute"),
        7_200..=172_799 => one(seconds / 3_600, "hour"),
        _ => one(seconds / 86_400, "day"),
    }
}

/// How ticks become µs.
#[derive(Debug, Clone, Copy)]
struct Scale {
    times: i128,
    by: i128,
    plus: i128,
}

fn scale(ty: &LogicalType) -> Option<Scale> {
    match ty {
        // A day is as old as its last moment.
        LogicalType::Date => Some(Scale { times: -DAY_BEFORE, by: 1, plus: -DAY_BEFORE - 1 }),
        LogicalType::Timestamp(Unit::Ns, _) => Some(Scale { times: 1, by: 1_000, plus: 0 }),
        LogicalType::Timestamp(unit, _) => Some(Scale { times: i128::from(unit.nanos() / 1_000), by: 1, plus: 0 }),
        _ => None,
    }
}

struct Newest {
    scale: Scale,
    newest: Option<i128>,
}

impl Counter for Newest {
    fn update(&mut self, columns: &[ArrayRef], _: usize) -> Result<()> {
        if let Some(column) = columns.first() {
            each_exact(column, |value| self.newest = self.newest.max(Some(value)));
        }
        Ok(())
    }

    fn state(&self) -> Json {
        let Scale { times, by, plus } = self.scale;
        let newest = self.newest.map(|ticks| (ticks * times).div_euclid(by) + plus);
        json!(newest.map(|n| i64::try_from(n).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{STARTED_DAY, days, judged, refused, texts};

    const RULE: &str = r#"{"freshness":{"column":"c","max_age_secs":172800}}"#;

    #[test]
    fn the_newest_value_of_all_units_counts() {
        assert!(judged(RULE, vec![days([Some(STARTED_DAY - 9)]), days([Some(STARTED_DAY - 1), None])]).0);
        let (holds, found) = judged(RULE, vec![days([Some(STARTED_DAY - 9)])]);
        assert!(!holds && found == "the newest value is 8 days old", "{found}");
        assert_eq!(judged(RULE, vec![days([None])]), (false, "no value at all".to_string()));
        assert!(!judged(RULE, vec![]).0);
    }

    #[test]
    fn text_is_refused() {
        assert!(refused(RULE, texts([Some("x")])).contains("needs dates"));
    }
}
