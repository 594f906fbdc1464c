//! # `accepted_values` (Q004)
//!
//! **What it checks.** Every value is one of a list, exactly: text by its bytes, numbers by their value.
//!
//! **Why it matters.** A new status or a misspelt country falls out of every report that knows the old ones.
//!
//! **Example.** `accepted_values: { column: status, values: [open, paid, cancelled] }`
//!
//! **Cost.** Up to twelve bytes of text are compared as one number; longer text and long lists go through a hash table.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, StringArrayType, make_view};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field};
use transload_core::tree::Spanned;
use transload_core::{Error, LogicalType, Problem, Span};

use crate::bounds::{Exact, Finder};
use crate::checks::{Definition, Setting, Work};
use crate::policy::Policy;
use crate::scalar::Scalar;
use crate::values::{for_exact_type, is_text, primitive, some, valid_only, wrong_type};

/// A list as long as this is searched one by one.
const SHORT_LIST: usize = 12;
/// Text as long as this is held in its view.
const SHORT_TEXT: usize = 12;

settings! {
    /// Every value is one of a list.
    pub struct AcceptedValues {
        /// The column.
        pub column: Spanned<String>,
        /// The values.
        #[schemars(length(min = 1))]
        pub values: Vec<Scalar>,
    }
}

impl AcceptedValues {
    /// The values that a column of whole numbers, decimals or dates can have, in its own digits or ticks. What it cannot hold
    /// is equal to none of its values.
    ///
    /// # Errors
    /// A sentence, if one is no value of the column's type.
    pub fn exact(&self, field: &Field) -> Result<Vec<i128>, String> {
        let read: Vec<Exact> = self.values.iter().map(|v| Exact::read(v, field)).collect::<Result<_, _>>()?;
        Ok(read.iter().filter(|e| e.whole).map(|e| e.floor).collect())
    }
}

impl Definition for AcceptedValues {
    fn code(&self) -> &'static str {
        "Q004"
    }

    fn kind(&self) -> &'static str {
        "accepted_values"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        vec![&self.column]
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        if self.values.is_empty() {
            let problem = Problem::new(place, "`accepted_values` has no values, so nothing would be accepted");
            problems.push(problem.hint("name the values, or remove the check"));
        }
    }

    fn expected(&self) -> String {
        const SHOWN: usize = 8;
        let mut values: Vec<String> = self.values.iter().take(SHOWN).map(ToString::to_string).collect();
        if self.values.len() > SHOWN {
            values.push(format!("… ({} in all)", self.values.len()));
        }
        format!("one of {}", values.join(", "))
    }

    fn remedy(&self) -> &'static str {
        "correct the value in the source, or add it to `values` if it is right"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let (at, field, ty) = setting.typed(&self.column)?;
        let finder = match &ty {
            ty if is_text(ty) => Arc::new(Words::new(&self.values)).finder(),
            LogicalType::Bool => truths(&self.values)?,
            LogicalType::Int(_) | LogicalType::UInt(_) | LogicalType::Decimal(..) | LogicalType::Date => {
                numbers(&self.exact(field)?, field)?
            }
            ty => return Err(wrong_type(self.kind(), &self.column, ty, "text, numbers, dates or true and false")),
        };
        Ok(Work::column(at, finder))
    }
}

fn truths(values: &[Scalar]) -> Result<Finder, String> {
    let (mut yes, mut no) = (false, false);
    for value in values {
        match value {
            Scalar::Bool(true) => yes = true,
            Scalar::Bool(false) => no = true,
            other => return Err(format!("`{other}` is neither true nor false")),
        }
    }
    Ok(Arc::new(move |array| {
        let array = array.as_boolean();
        let bad = BooleanBuffer::collect_bool(array.len(), |i| if array.value(i) { !yes } else { !no });
        Ok(valid_only(bad, array.nulls()))
    }))
}

fn numbers(all: &[i128], field: &Field) -> Result<Finder, String> {
    for_exact_type!(field.data_type(), T => {
        #[allow(clippy::useless_conversion, reason = "one of the types is i128 itself")]
        let list: Vec<<T as ArrowPrimitiveType>::Native> = all.iter().filter_map(|v| (*v).try_into().ok()).collect();
        let known: HashSet<_> = list.iter().copied().collect();
        let finder: Finder = match list.len() {
            0..=SHORT_LIST => Arc::new(move |a| Ok(primitive::<T>(a, |v| !list.contains(&v)))),
            _ => Arc::new(move |a| Ok(primitive::<T>(a, |v| !known.contains(&v)))),
        };
        Ok(finder)
    }, else Err(format!("`{}` is stored in a way that cannot be compared", field.name())))
}

/// Texts that are accepted.
struct Words {
    /// Those short enough to be one number: length and bytes.
    short: Vec<u128>,
    short_set: HashSet<u128>,
    long: HashSet<String>,
}

impl Words {
    fn new(values: &[Scalar]) -> Self {
        let texts = values.iter().map(ToString::to_string);
        let (short, long): (Vec<String>, Vec<String>) = texts.partition(|t| t.len() <= SHORT_TEXT);
        let short: Vec<u128> = short.iter().map(|t| make_view(t.as_bytes(), 0, 0)).collect();
        Self { short_set: short.iter().copied().collect(), short, long: long.into_iter().collect() }
    }

    fn has_short(&self, view: u128) -> bool {
        match self.short.len() {
            0..=SHORT_LIST => self.short.iter().fold(false, |any, known| any | (*known == view)),
            _ => self.short_set.contains(&view),
        }
    }

    fn has(&self, text: &str) -> bool {
        match text.len() {
            0..=SHORT_TEXT => self.has_short(make_view(text.as_bytes(), 0, 0)),
            _ => self.long.contains(text),
        }
    }

    fn finder(self: Arc<Self>) -> Finder {
        Arc::new(move |array: &ArrayRef| match array.data_type() {
            DataType::Utf8 => Ok(self.others(array.as_string::<i32>())),
            DataType::LargeUtf8 => Ok(self.others(array.as_string::<i64>())),
            DataType::Utf8View => Ok(self.other_views(array)),
            other => Err(Error::internal(format!("a text check met a column of {other}"))),
        })
    }

    fn others<'a, S: StringArrayType<'a>>(&self, array: S) -> Option<BooleanBuffer> {
        let bad = BooleanBuffer::collect_bool(array.len(), |i| !self.has(array.value(i)));
        valid_only(bad, array.nulls())
    }

    /// Short text is in the view itself, so that no byte of it has to be fetched.
    fn other_views(&self, array: &ArrayRef) -> Option<BooleanBuffer> {
        let array = array.as_string_view();
        let views: &[u128] = array.views();
        let is_short = |view: u128| (view as u32) as usize <= SHORT_TEXT;
        let good = |i: usize| match is_short(views[i]) {
            true => self.has_short(views[i]),
            false => self.long.contains(array.value(i)),
        };
        match array.nulls().filter(|n| n.null_count() > 0) {
            None => some(BooleanBuffer::collect_bool(views.len(), |i| !good(i))),
            Some(nulls) => some(BooleanBuffer::collect_bool(views.len(), |i| nulls.is_valid(i) && !good(i))),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{bools, broken, days, decimals, floats, ints, refused, texts, views};

    const WORDS: &str = r#"{"accepted_values":{"column":"c","values":["A","NONE","TAKE BACK RETURN","1"]}}"#;

    #[test]
    fn text_is_compared_exactly_in_every_layout() {
        let values =
            [Some("A"), Some("a"), Some("A "), None, Some("TAKE BACK RETURN"), Some("TAKE BACK RETURX"), Some("")];
        assert_eq!(broken(WORDS, texts(values)), [1, 2, 5, 6]);
        assert_eq!(broken(WORDS, views(values)), [1, 2, 5, 6]);
        assert_eq!(broken(WORDS, texts([None, None])), []);
        assert_eq!(broken(WORDS, texts([])), []);
    }

    #[test]
    fn long_lists_are_the_same_rule() {
        let values: Vec<String> = (0..40).map(|i| format!("\"v{i}\"")).collect();
        let rule = format!(r#"{{"accepted_values":{{"column":"c","values":[{}]}}}}"#, values.join(","));
        assert_eq!(broken(&rule, views([Some("v0"), Some("v39"), Some("v40")])), [2]);
        let rule = format!(
            r#"{{"accepted_values":{{"column":"c","values":[{}]}}}}"#,
            (0..40).map(|i| i.to_string()).collect::<Vec<_>>().join(",")
        );
        assert_eq!(broken(&rule, ints([Some(0), Some(39), Some(40), None])), [2]);
    }

    #[test]
    fn numbers_dates_and_truths_are_compared_by_value() {
        let numbers = r#"{"accepted_values":{"column":"c","values":[1,"2.50",3.0]}}"#;
        assert_eq!(broken(numbers, ints([Some(1), Some(2), Some(3), None])), [1]);
        assert_eq!(broken(numbers, decimals([Some(100), Some(250), Some(251)])), [2]);
        let dates = r#"{"accepted_values":{"column":"c","values":["1970-01-02"]}}"#;
        assert_eq!(broken(dates, days([Some(1), Some(2)])), [1]);
        let yes = r#"{"accepted_values":{"column":"c","values":[true]}}"#;
        assert_eq!(broken(yes, bools([Some(true), Some(false), None])), [1]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert!(refused(WORDS, ints([Some(1)])).contains("cannot be compared"));
        assert!(refused(WORDS, floats([Some(1.0)])).contains("needs text"));
        assert!(refused(WORDS, bools([Some(true)])).contains("neither true nor false"));
    }
}
