//! # `not_empty` (Q002)
//!
//! **What it checks.** No text is empty or made of blanks only, no binary value and no list is empty. NULL is the
//! business of `not_null`. Several columns are several checks.
//!
//! **Why it matters.** An empty text passes for a value: it is counted, grouped and joined as one.
//!
//! **Example.** `not_empty: [name]`
//!
//! **Cost.** A look at the first characters of every value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Problem, Span};

use crate::checks::{Definition, Setting, Work, no_columns};
use crate::policy::Policy;
use crate::values::{is_text, text, valid_only, wrong_type};

settings! {
    /// No text is empty or blank, and no list is empty.
    pub struct NotEmpty {
        /// The columns.
        pub columns: Vec<Spanned<String>>,
    }
}

each_column!(NotEmpty);

impl Definition for NotEmpty {
    fn code(&self) -> &'static str {
        "Q002"
    }

    fn kind(&self) -> &'static str {
        "not_empty"
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
        "more than blanks".to_string()
    }

    fn remedy(&self) -> &'static str {
        "fill the value in the source, or let empty text be NULL (for CSV: `null_values`)"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let name = self.columns.first().map(|c| c.value.as_str()).unwrap_or_default();
        let (at, _, ty) = setting.typed(name)?;
        match ty {
            ty if is_text(&ty) => Ok(Work::column(at, Arc::new(|a| text(a, |v| v.trim_start().is_empty())))),
            LogicalType::Binary | LogicalType::List(_) => Ok(Work::column(at, Arc::new(|a| Ok(empty(a))))),
            ty => Err(wrong_type(self.kind(), name, &ty, "text, binary values or lists")),
        }
    }
}

fn empty(array: &ArrayRef) -> Option<BooleanBuffer> {
    let rows = array.len();
    let bits = match array.data_type() {
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            BooleanBuffer::collect_bool(rows, |i| array.value_length(i) == 0)
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            BooleanBuffer::collect_bool(rows, |i| array.value(i).is_empty())
        }
        DataType::List(_) => {
            let array = array.as_list::<i32>();
            BooleanBuffer::collect_bool(rows, |i| array.value_length(i) == 0)
        }
        _ => return None,
    };
    valid_only(bits, array.nulls())
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{broken, ints, refused, texts};

    const RULE: &str = r#"{"not_empty":["c"]}"#;

    #[test]
    fn blanks_break_it_and_null_does_not() {
        assert_eq!(broken(RULE, texts([Some("a"), Some(""), Some("  \t"), None, Some(" x")])), [1, 2]);
        assert_eq!(broken(RULE, texts([])), []);
        assert_eq!(broken(RULE, texts([None])), []);
    }

    #[test]
    fn numbers_are_refused() {
        assert!(refused(RULE, ints([Some(1)])).contains("needs text"));
    }
}
