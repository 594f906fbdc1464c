//! # `completeness` (Q013)
//!
//! **What it checks.** At least a share of the rows that go to the target have a value in a column.
//!
//! **Why it matters.** Some values may be missing; that suddenly half of them are is an outage at the source.
//!
//! **Example.** `completeness: { column: phone, min: 95% }`
//!
//! **Cost.** None per value: the number of NULLs of a batch is known.

use arrow::array::{Array, ArrayRef};
use serde_json::{Value as Json, json};
use transload_core::Result;
use transload_core::tree::Spanned;

use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, read_state};
use crate::policy::{Percent, Policy};
use crate::tally::Counter;

settings! {
    /// Enough values are there.
    pub struct Completeness {
        /// The column.
        pub column: Spanned<String>,
        /// The least share of values that are not NULL.
        pub min: Percent,
    }
}

impl Definition for Completeness {
    fn code(&self) -> &'static str {
        "Q013"
    }

    fn kind(&self) -> &'static str {
        "completeness"
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
        format!("at least {} not NULL", self.min)
    }

    fn remedy(&self) -> &'static str {
        "find out since when the source delivers fewer values; lower `min` if that is right"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        setting.column(&self.column)?;
        Ok(Work::count(Filled::default))
    }

    fn judge(&self, states: &[Json], _: &Facts<'_>) -> Result<Ruling> {
        let (mut rows, mut filled) = (0u64, 0u64);
        for state in states {
            let (r, f): (u64, u64) = read_state(state)?;
            rows += r;
            filled += f;
        }
        let share = if rows == 0 { 100.0 } else { filled as f64 * 100.0 / rows as f64 };
        let holds = rows == 0 || filled as f64 * 100.0 >= self.min.0 * rows as f64;
        let found = format!("{filled} of {rows} rows have a value ({share:.2} %)");
        Ok(Ruling { holds, found, broken: None })
    }
}

#[derive(Default)]
struct Filled {
    rows: u64,
    filled: u64,
}

impl Counter for Filled {
    fn update(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        let nulls = columns.first().map_or(0, |c| c.logical_null_count());
        self.rows += rows as u64;
        self.filled += (rows - nulls) as u64;
        Ok(())
    }

    fn state(&self) -> Json {
        json!([self.rows, self.filled])
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{ints, judged};

    #[test]
    fn the_share_is_of_all_rows_of_all_units() {
        let rule = r#"{"completeness":{"column":"c","min":"50%"}}"#;
        let units = || vec![ints([Some(1), None]), ints([None, Some(2)])];
        assert_eq!(judged(rule, units()), (true, "2 of 4 rows have a value (50.00 %)".to_string()));
        assert!(!judged(rule, vec![ints([Some(1), None]), ints([None])]).0);
        assert!(judged(rule, vec![]).0 && judged(rule, vec![ints([])]).0);
        assert!(!judged(rule, vec![ints([None])]).0);
    }
}
