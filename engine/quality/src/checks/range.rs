//! # `range` (Q005)
//!
//! **What it checks.** Every value lies within limits: `min` and `max` are allowed themselves, `above` and `below` are
//! not. Numbers, decimals (exactly, whatever the scale), dates, times and timestamps have limits. NaN is always outside.
//!
//! **Why it matters.** A negative price or a birthday in 1066 is a slip of the hand, and spoils every average.
//!
//! **Example.** `range: { column: discount, min: 0, max: 0.1 }`
//!
//! **Cost.** Two comparisons per value, several at a time.

use arrow::datatypes::Field;
use transload_core::tree::Spanned;
use transload_core::{Problem, Span};

use crate::bounds::Limits;
use crate::checks::{Definition, Setting, Work};
use crate::policy::Policy;
use crate::scalar::Scalar;

settings! {
    /// Every value lies within limits.
    pub struct Range {
        /// The column.
        pub column: Spanned<String>,
        /// The smallest value allowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub min: Option<Scalar>,
        /// Values must be greater than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub above: Option<Scalar>,
        /// The greatest value allowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub max: Option<Scalar>,
        /// Values must be less than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub below: Option<Scalar>,
    }
}

impl Range {
    /// The smallest and the largest value allowed in a column of whole numbers, decimals, dates, times or timestamps, in its
    /// own digits or ticks.
    ///
    /// # Errors
    /// A sentence, if a limit is no value of the column's type, or that has no such limits.
    pub fn exact(&self, field: &Field) -> Result<(Option<i128>, Option<i128>), String> {
        self.limits().exact(field)
    }

    fn limits(&self) -> Limits<'_> {
        let Self { min, above, max, below, .. } = self;
        Limits { min: min.as_ref(), above: above.as_ref(), max: max.as_ref(), below: below.as_ref() }
    }
}

impl Definition for Range {
    fn code(&self) -> &'static str {
        "Q005"
    }

    fn kind(&self) -> &'static str {
        "range"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        vec![&self.column]
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        self.limits().validate(self.kind(), place, problems);
    }

    fn expected(&self) -> String {
        self.limits().describe()
    }

    fn remedy(&self) -> &'static str {
        "correct the value in the source, or widen the limits if it is right"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let (at, field) = setting.column(&self.column)?;
        Ok(Work::column(at, self.limits().finder(field)?))
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{broken, days, decimals, floats, ints, refused, texts};

    fn rule(limits: &str) -> String {
        format!(r#"{{"range":{{"column":"c",{limits}}}}}"#)
    }

    #[test]
    fn limits_are_inside_for_min_and_max_and_outside_for_above_and_below() {
        let values = || ints([Some(-1), Some(0), Some(5), Some(10), Some(11), None]);
        assert_eq!(broken(&rule(r#""min":0,"max":10"#), values()), [0, 4]);
        assert_eq!(broken(&rule(r#""above":0,"below":10"#), values()), [0, 1, 3, 4]);
        assert_eq!(broken(&rule(r#""min":0"#), ints([])), []);
        assert_eq!(broken(&rule(r#""min":0"#), ints([None, None])), []);
    }

    #[test]
    fn decimals_are_compared_exactly() {
        let values = || decimals([Some(-1), Some(0), Some(9), Some(10), Some(11)]);
        assert_eq!(broken(&rule(r#""min":0,"max":0.1"#), values()), [0, 4]);
        assert_eq!(broken(&rule(r#""min":"0.095","max":"0.105""#), values()), [0, 1, 2, 4]);
    }

    #[test]
    fn limits_beyond_the_type_let_everything_or_nothing_through() {
        let values = || ints([Some(i64::MIN), Some(0), Some(i64::MAX)]);
        let far = "99999999999999999999";
        assert_eq!(broken(&rule(&format!(r#""max":"{far}""#)), values()), []);
        assert_eq!(broken(&rule(&format!(r#""min":"{far}""#)), values()), [0, 1, 2]);
        assert_eq!(broken(&rule(&format!(r#""max":"-{far}""#)), values()), [0, 1, 2]);
    }

    #[test]
    fn nan_is_outside() {
        let values = floats([Some(f64::NAN), Some(f64::INFINITY), Some(1.0), Some(-0.0), None]);
        assert_eq!(broken(&rule(r#""min":0"#), values), [0]);
    }

    #[test]
    fn dates_have_limits_and_text_has_none() {
        assert_eq!(
            broken(&rule(r#""min":"1970-01-02","below":"1970-01-04""#), days([Some(0), Some(1), Some(3)])),
            [0, 2]
        );
        assert!(refused(&rule(r#""min":0"#), texts([Some("a")])).contains("`c` is text"));
        assert!(refused(&rule(r#""min":0"#), days([Some(1)])).contains("cannot be compared"));
    }
}
