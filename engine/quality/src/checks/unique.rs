//! # `unique` (Q003)
//!
//! **What it checks.** No two rows that go to the target have the same values in these columns, all taken together. Rows
//! with NULL in one of them are passed over, as in SQL. It is exact.
//!
//! **Why it matters.** A key that is there twice doubles every row that is joined to it.
//!
//! **Example.** `unique: [order_id, line_no]`
//!
//! **Cost.** A second look: once all rows are staged, the columns are read again at the pin and sorted, on disk where
//! memory does not suffice.
//!
//! **In a replay.** The rows that it adds are held against those in the target, too. Of the latter only columns are read, and
//! what is kept in memory are the keys of the former.

use serde_json::Value as Json;
use transload_core::tree::Spanned;
use transload_core::{Problem, Result, Span};

use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, broken_in_all, no_columns, no_repeats};
use crate::look::Look;
use crate::policy::Policy;

settings! {
    /// No two rows have the same values in these columns, taken together.
    pub struct Unique {
        /// The columns.
        pub columns: Vec<Spanned<String>>,
    }
}

impl Definition for Unique {
    fn code(&self) -> &'static str {
        "Q003"
    }

    fn kind(&self) -> &'static str {
        "unique"
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
        Some(Look::Repeats)
    }

    fn has_shapes(&self) -> bool {
        false
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        no_columns(&self.columns, self.kind(), place, problems);
        no_repeats(&self.columns, self.kind(), problems);
    }

    fn expected(&self) -> String {
        "no two rows alike".to_string()
    }

    fn remedy(&self) -> &'static str {
        "look whether the source was read or written twice, or whether the key needs another column"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        setting.keys(&self.columns, self.kind())?;
        Ok(Work::Keys)
    }

    fn judge(&self, states: &[Json], _: &Facts<'_>) -> Result<Ruling> {
        broken_in_all(states)
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{floats, ints, kept_keys, looked, refused, texts};
    use crate::look::Seen;

    #[test]
    fn keys_without_null_are_kept_for_the_second_look() {
        let rule = r#"{"unique":["c"]}"#;
        assert_eq!(kept_keys(rule, ints([Some(3), None, Some(3)])), ["3", "3"]);
        assert_eq!(kept_keys(rule, texts([None, Some("")])), [""]);
        assert!(kept_keys(rule, ints([])).is_empty() && kept_keys(rule, ints([None])).is_empty());
    }

    #[test]
    fn floats_are_no_keys() {
        assert!(refused(r#"{"unique":["c"]}"#, floats([Some(1.0)])).contains("no floats"));
    }

    #[test]
    fn rows_that_repeat_others_break_it() {
        let rule = r#"{"unique":["c"]}"#;
        let found = looked(rule, vec![ints([Some(3), Some(3)])], Seen { rows: 2, broken: 1, ..Seen::default() });
        assert_eq!((found.stops, found.found.as_str()), (true, "1 of 2 rows breaks it (50.00 %)"));
        assert!(!looked(rule, vec![], Seen::default()).is_failed());
    }
}
