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
//! memory does not suffice. It is the only check that costs a reading of its own.

use serde_json::Value as Json;
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Problem, Result, Span};

use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, no_columns, read_state};
use crate::policy::Policy;
use crate::values::wrong_type;

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

    fn has_shapes(&self) -> bool {
        false
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        no_columns(&self.columns, self.kind(), place, problems);
        for (at, column) in self.columns.iter().enumerate() {
            if self.columns[..at].contains(column) {
                let problem = Problem::new(column.span, format!("`unique` names `{}` twice", column.value));
                problems.push(problem.hint("keep one of them"));
            }
        }
    }

    fn expected(&self) -> String {
        "no two rows alike".to_string()
    }

    fn remedy(&self) -> &'static str {
        "look whether the source was read or written twice, or whether the key needs another column"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        for column in &self.columns {
            use LogicalType as T;
            let (_, _, ty) = setting.typed(column)?;
            if matches!(ty, T::Float(_) | T::Interval | T::Json | T::List(_) | T::Struct(_) | T::Map(..)) {
                let needs = "numbers (but no floats), text, binary values, dates or timestamps";
                return Err(wrong_type(self.kind(), column, &ty, needs));
            }
        }
        Ok(Work::Keys)
    }

    fn judge(&self, states: &[Json], _: &Facts<'_>) -> Result<Ruling> {
        let mut repeated = 0u64;
        for state in states {
            repeated += read_state::<u64>(state)?;
        }
        Ok(Ruling { holds: repeated == 0, found: String::new(), broken: Some(repeated) })
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{floats, ints, kept_keys, refused, texts};

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
}
