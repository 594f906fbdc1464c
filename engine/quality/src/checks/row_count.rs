//! # `row_count` (Q014)
//!
//! **What it checks.** The number of rows that go to the target is `exactly` so many, or from `min` to `max`, or the
//! `same_as` that of another table: one of the pipeline (its rows that go to the target), or one that is `in: source` or
//! `in: target`. `within` allows it to differ by a share of the other's rows. With `where` it is about those rows of its
//! own table for which the condition is true.
//!
//! **Why it matters.** A feed that is empty, or twice as long as ever, is the commonest failure there is.
//!
//! **Example.** `row_count: { min: 1 }`
//!
//! **Cost.** None; with `same_as`, the rows of the other table are read once more to be counted.

use arrow::array::ArrayRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use transload_core::tree::Spanned;
use transload_core::{Error, Problem, Result, Span};

use crate::check::Rule;
use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, read_state};
use crate::look::{Beside, Look, Looked, Place, named};
use crate::policy::{Percent, Policy};
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
        /// As many rows as another table.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub same_as: Option<SameAs>,
    }
}

/// Another table, for its number of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SameAs {
    /// The table: one of the pipeline by its name in the target, unless `in` says otherwise.
    pub table: Spanned<String>,
    /// Where the table is. Default: pipeline.
    #[serde(default, rename = "in", skip_serializing_if = "Place::is_default")]
    pub place: Place,
    /// How far the number of rows may be from that of the other table, as a share of it. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Percent>,
}

impl SameAs {
    fn allows(&self, rows: u64, other: u64) -> bool {
        let share = self.within.map_or(0.0, |within| within.0);
        rows.abs_diff(other) as f64 * 100.0 <= share * other as f64
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

    fn look(&self) -> Option<Look> {
        self.same_as.as_ref().map(|_| Look::Rows)
    }

    fn beside(&self) -> Option<Beside<'_>> {
        let SameAs { table, place, .. } = self.same_as.as_ref()?;
        let (severity, action, threshold, filter) = (None, None, None, None);
        let rule = Rule::RowCount(Self { severity, action, threshold, filter, ..self.clone() });
        Some(Beside { place: *place, table, rule })
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        if let Some(name) = self.same_as.as_ref().map(|same| &same.table).filter(|name| name.trim().is_empty()) {
            problems.push(Problem::new(name.span, "a name is empty").hint("write the name of the table"));
        }
        let (message, hint) = match (self.exactly, self.min, self.max, &self.same_as) {
            (None, None, None, None) => ("`row_count` has no limit", "give it `exactly`, `min`, `max` or `same_as`"),
            (Some(_), None, None, None) | (None, None, None, Some(_)) => return,
            (_, _, _, Some(_)) => ("`same_as` leaves nothing to other limits", "make two checks of it"),
            (Some(_), ..) => ("`exactly` leaves nothing to `min` and `max`", "remove one or the other"),
            (None, Some(min), Some(max), None) if min > max => ("`min` is more than `max`", "swap the limits"),
            _ => return,
        };
        problems.push(Problem::new(place, message).hint(hint));
    }

    fn expected(&self) -> String {
        if let Some(SameAs { table, place, within }) = &self.same_as {
            let within = within.map_or_else(String::new, |share| format!(", give or take {share}"));
            return format!("as many rows as {}{within}", named(table, *place));
        }
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
        let (mut rows, mut other) = (0u64, None);
        for state in states {
            match state.as_u64() {
                Some(unit) => rows += unit,
                None => other = Some(read_state::<Looked>(state)?.rows),
            }
        }
        if let Some(same) = &self.same_as {
            let other = other.ok_or_else(|| Error::internal("the rows of another table were not counted"))?;
            let found = format!("{rows} rows, and {other} in {}", named(&same.table, same.place));
            return Ok(Ruling { holds: same.allows(rows, other), found, broken: None });
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
    use crate::checks::testing::{ints, judged, looked};
    use crate::look::Seen;

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

    #[test]
    fn rows_are_as_many_as_those_of_another_table() {
        let units = || vec![ints([Some(1), None]), ints([Some(3)])];
        for (within, other, holds) in [
            ("", 3, true),
            ("", 4, false),
            ("", 0, false),
            (r#","within":"25%""#, 4, true),
            (r#","within":"24.9%""#, 4, false),
            (r#","within":"50%""#, 2, true),
        ] {
            let rule = format!(r#"{{"row_count":{{"same_as":{{"table":"t","in":"source"{within}}}}}}}"#);
            let found = looked(&rule, units(), Seen { rows: other, ..Seen::default() });
            assert_eq!((!found.is_failed(), found.failed, found.evaluated), (holds, None, 3), "{rule} {other}");
            assert_eq!(found.found, format!("3 rows, and {other} in t of the source"));
        }
        let empty = looked(r#"{"row_count":{"same_as":{"table":"t"}}}"#, vec![], Seen::default());
        assert_eq!((empty.is_failed(), empty.expected.as_str()), (false, "as many rows as t"));
    }
}
