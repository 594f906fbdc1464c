//! # `not_null` (Q001)
//!
//! **What it checks.** No value of a column is NULL. Several columns are several checks.
//!
//! **Why it matters.** A key or an amount that is missing drops rows out of joins and sums without a word.
//!
//! **Example.** `not_null: [id, customer_id]`
//!
//! **Cost.** None per value: the number of NULLs of a batch is known.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use transload_core::tree::Spanned;
use transload_core::{Problem, Span};

use crate::checks::{Definition, Setting, Work, no_columns};
use crate::policy::Policy;

settings! {
    /// No value is NULL.
    pub struct NotNull {
        /// The columns.
        pub columns: Vec<Spanned<String>>,
    }
}

each_column!(NotNull);

impl Definition for NotNull {
    fn code(&self) -> &'static str {
        "Q001"
    }

    fn kind(&self) -> &'static str {
        "not_null"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        self.columns.iter().collect()
    }

    fn has_shapes(&self) -> bool {
        false
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        no_columns(&self.columns, self.kind(), place, problems);
    }

    fn expected(&self) -> String {
        "no NULL".to_string()
    }

    fn remedy(&self) -> &'static str {
        "fill the value in the source, or give it a default with `derive`"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let name = self.columns.first().map(|c| c.value.as_str()).unwrap_or_default();
        let (at, _) = setting.column(name)?;
        Ok(Work::column(at, std::sync::Arc::new(|array: &ArrayRef| Ok(nulls(array)))))
    }
}

fn nulls(array: &ArrayRef) -> Option<BooleanBuffer> {
    let nulls = array.logical_nulls().filter(|n| n.null_count() > 0)?;
    Some(!nulls.inner())
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{broken, ints, texts};

    const RULE: &str = r#"{"not_null":["c"]}"#;

    #[test]
    fn null_breaks_it_and_nothing_else_does() {
        assert_eq!(broken(RULE, ints([Some(1), None, Some(0), None])), [1, 3]);
        assert_eq!(broken(RULE, ints([Some(1), Some(2)])), []);
        assert_eq!(broken(RULE, texts([Some(""), None])), [1]);
        assert_eq!(broken(RULE, ints([None, None])), [0, 1]);
        assert_eq!(broken(RULE, ints([])), []);
    }
}
