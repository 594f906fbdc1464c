//! # `row_count` (Q014)
//!
//! **What it checks.** The number of rows that go to the target is `exactly` so many, or from `min` to `max`. With
//! `where` it is about those for which the condition is true.
//!
//! **Why it matters.** A feed that is empty, or twice as long as ever, is the commonest failure there is.
//!
//! **Example.** `row_count: { min: 1 }`
//!
//! **Cost.** None.

use arrow::array::ArrayRef;
use serde_json::{Value as Json, json};
use transload_core::tree::Spanned;
use transload_core::{Problem, Result, Span};

use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, read_state};
use crate::policy::Policy;
use crate::tally::Counter;

settings! {
    /// The number of rows lies within limits.
    pub struct RowCount {
        /// So many, no more and no fewer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub exactly: Option<u64>,
        /// Fewest rows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub min: Option<u64>,
        /// Most rows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub max: Option<u64>,
    }
}

impl Definition for RowCount {
    fn code(&self) -> &'static str {
        "Q014"
    }

    fn kind(&self) -> &'static str {
        "row_count"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        Vec::new()
    }

    fn scope(&self) -> Scope {
        Scope::Table
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        let (message, hint) = match (self.exactly, self.min, self.max) {
            (None, None, None) => ("`row_count` has no limit", "give it `exactly`, `min` or `max`"),
            (Some(_), None, None) => return,
            (Some(_), ..) => ("`exactly` leaves nothing to `min` and `max`", "remove one or the other"),
            (None, Some(min), Some(max)) if min > max => ("`min` is more than `max`", "swap the limits"),
            _ => return,
        };
        problems.push(Problem::new(place, message).hint(hint));
    }

    fn expected(&self) -> String {
        match (self.exactly, self.min, self.max) {
            (Some(exactly), ..) => format!("exactly {exactly} rows"),
            (None, Some(min), Some(max)) => format!("{min} to {max} rows"),
            (None, Some(min), None) => format!("at least {min} rows"),
            (None, None, max) => format!("at most {} rows", max.unwrap_or(u64::MAX)),
        }
    }

    fn remedy(&self) -> &'static str {
        "look whether the source was complete when it was pinned, and what the filter leaves out"
    }

    fn work(&self, _: &Setting<'_>) -> Result<Work, String> {
        Ok(Work::count(Rows::default))
    }

    fn judge(&self, states: &[Json], _: &Facts<'_>) -> Result<Ruling> {
        let mut rows = 0u64;
        for state in states {
            rows += read_state::<u64>(state)?;
        }
        let holds = self.exactly.is_none_or(|n| rows == n)
            && self.min.is_none_or(|n| rows >= n)
            && self.max.is_none_or(|n| rows <= n);
        Ok(Ruling { holds, found: format!("{rows} rows"), broken: None })
    }
}

#[derive(Default)]
struct Rows(u64);

impl Counter for Rows {
    fn update(&mut self, _: &[ArrayRef], rows: usize) -> Result<()> {
        self.0 += rows as u64;
        Ok(())
    }

    fn state(&self) -> Json {
        json!(self.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{ints, judged};

    #[test]
    fn rows_of_all_units_are_counted() {
        let units = || vec![ints([Some(1), None]), ints([Some(3)])];
        for (limits, holds) in [
            (r#""exactly":3"#, true),
            (r#""exactly":2"#, false),
            (r#""min":3,"max":3"#, true),
            (r#""min":4"#, false),
            (r#""max":2"#, false),
        ] {
            let rule = format!(r#"{{"row_count":{{{limits}}}}}"#);
            assert_eq!(judged(&rule, units()), (holds, "3 rows".to_string()), "{limits}");
        }
        assert!(!judged(r#"{"row_count":{"min":1}}"#, vec![]).0);
        assert!(judged(r#"{"row_count":{"exactly":0}}"#, vec![]).0);
    }
}
