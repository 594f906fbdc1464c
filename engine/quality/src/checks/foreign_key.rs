//! # `foreign_key` (Q012)
//!
//! **What it checks.** The values in these columns, all taken together, are those of some row of another table: one of the
//! pipeline (its rows as they go to the target, however many of them are new), or one that is `in: source` or
//! `in: target`. Rows with NULL in one of the columns are passed over, as in SQL. It is exact: both sides have the same
//! types, or types that a rulebook casts exactly into one that holds both.
//!
//! **Why it matters.** An order without its customer is lost in every join, and nobody misses it.
//!
//! **Example.** `foreign_key: { columns: [customer_id], references: { table: customers, columns: [id] } }`
//!
//! **Cost.** A second look: once all rows are staged, the columns are read again at the pin, and those of the other table
//! at its own. The other table's values are kept in memory; where that does not suffice, both sides are sorted on disk.
//!
//! **In a replay.** A table of the pipeline is looked at in the target, together with the rows that the same replay adds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use transload_core::tree::Spanned;
use transload_core::{Problem, Result, Span};

use crate::check::Rule;
use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, broken_in_all, no_columns, no_repeats};
use crate::look::{Beside, Look, Place, named};
use crate::policy::Policy;

settings! {
    /// The values in these columns, taken together, are those of some row of another table.
    pub struct ForeignKey {
        /// The columns.
        pub columns: Vec<Spanned<String>>,
        /// Where their values have to be.
        pub references: References,
    }
}

/// Columns of another table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct References {
    /// The table: one of the pipeline by its name in the target, unless `in` says otherwise.
    pub table: Spanned<String>,
    /// Its columns, in the order of those that refer to them.
    pub columns: Vec<Spanned<String>>,
    /// Where the table is. Default: pipeline.
    #[serde(default, rename = "in", skip_serializing_if = "Place::is_default")]
    pub place: Place,
}

impl Definition for ForeignKey {
    fn code(&self) -> &'static str {
        "Q012"
    }

    fn kind(&self) -> &'static str {
        "foreign_key"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        self.columns.iter().collect()
    }

    fn scope(&self) -> Scope {
        Scope::Keys
    }

    fn look(&self) -> Option<Look> {
        Some(Look::Missing)
    }

    fn beside(&self) -> Option<Beside<'_>> {
        let References { table, columns, place } = &self.references;
        let (severity, action, threshold, filter) = (None, None, None, None);
        let references = self.references.clone();
        let rule = Self { columns: columns.clone(), references, severity, action, threshold, filter };
        Some(Beside { place: *place, table, rule: Rule::ForeignKey(rule) })
    }

    fn has_shapes(&self) -> bool {
        false
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        let References { table, columns, .. } = &self.references;
        no_columns(&self.columns, self.kind(), place, problems);
        no_repeats(&self.columns, self.kind(), problems);
        no_repeats(columns, self.kind(), problems);
        for name in columns.iter().chain([table]).filter(|name| name.trim().is_empty()) {
            problems.push(Problem::new(name.span, "a name is empty").hint("write the name of the table or the column"));
        }
        if columns.len() != self.columns.len() {
            let message = format!("{} cannot be compared with {}", counted(&self.columns), counted(columns));
            problems
                .push(Problem::new(table.span, message).hint("name one column of the other table for each of these"));
        }
    }

    fn expected(&self) -> String {
        let References { table, columns, place } = &self.references;
        let columns: Vec<&str> = columns.iter().map(|c| c.value.as_str()).collect();
        format!("values that are in {} ({})", named(table, *place), columns.join(", "))
    }

    fn remedy(&self) -> &'static str {
        "look whether the other table is complete, and whether it writes these values in another way"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        setting.keys(&self.columns, self.kind())?;
        Ok(Work::Keys)
    }

    fn judge(&self, states: &[Json], _: &Facts<'_>) -> Result<Ruling> {
        broken_in_all(states)
    }
}

fn counted(columns: &[Spanned<String>]) -> String {
    match columns.len() {
        0 => "no column".to_string(),
        1 => "one column".to_string(),
        n => format!("{n} columns"),
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{floats, ints, kept_keys, looked, refused, structs, texts};
    use crate::look::Seen;

    const RULE: &str = r#"{"foreign_key":{"columns":["c"],"references":{"table":"t","columns":["id"]}}}"#;

    #[test]
    fn values_without_null_are_kept_for_the_second_look() {
        assert_eq!(kept_keys(RULE, ints([Some(3), None, Some(3)])), ["3", "3"]);
        assert_eq!(kept_keys(RULE, texts([None, Some("")])), [""]);
        assert!(kept_keys(RULE, ints([])).is_empty() && kept_keys(RULE, ints([None])).is_empty());
    }

    #[test]
    fn what_has_no_exact_equality_is_refused() {
        assert!(refused(RULE, floats([Some(1.0)])).starts_with("`foreign_key` needs numbers (but no floats)"));
        assert!(refused(RULE, structs([Some(1)])).contains("and `c` is struct<"));
    }

    #[test]
    fn rows_that_are_missing_break_it() {
        let units = || vec![ints([Some(1), None, Some(2)]), ints([Some(9)])];
        let none = looked(RULE, units(), Seen { rows: 3, ..Seen::default() });
        assert_eq!((none.is_failed(), none.found.as_str()), (false, "none of 3 rows breaks it"));
        let shapes = vec![("9".to_string(), 2)];
        let some = looked(RULE, units(), Seen { rows: 3, broken: 2, shapes: shapes.clone(), ..Seen::default() });
        assert_eq!((some.stops, some.found.as_str()), (true, "2 of 3 rows break it (66.67 %)"));
        assert_eq!((some.failed, some.evaluated, some.shapes), (Some(2), 3, shapes));
        assert_eq!(some.expected, "values that are in t (id)");
        let rule = RULE.replace(r#""columns":["c"]"#, r#""columns":["c"],"threshold":"70%""#);
        assert!(!looked(&rule, units(), Seen { rows: 3, broken: 2, ..Seen::default() }).is_failed());
        assert!(!looked(RULE, vec![], Seen::default()).is_failed());
    }
}
