//! # `length` (Q006)
//!
//! **What it checks.** Every text has at least `min` and at most `max` characters (Unicode code points, not bytes).
//!
//! **Why it matters.** A code that is one character short was cut somewhere; one that is too long will be.
//!
//! **Example.** `length: { column: iban, min: 15, max: 34 }`
//!
//! **Cost.** The number of bytes decides for most values; characters are counted only where it cannot.

use std::sync::Arc;

use transload_core::tree::Spanned;
use transload_core::{Problem, Span};

use crate::checks::{Definition, Setting, Work};
use crate::policy::Policy;
use crate::values::{is_text, text, wrong_type};

settings! {
    /// Every text has a length within limits.
    pub struct Length {
        /// The column.
        pub column: Spanned<String>,
        /// Fewest characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub min: Option<u32>,
        /// Most characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub max: Option<u32>,
    }
}

impl Definition for Length {
    fn code(&self) -> &'static str {
        "Q006"
    }

    fn kind(&self) -> &'static str {
        "length"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        vec![&self.column]
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        match (self.min, self.max) {
            (None, None) => {
                let problem = Problem::new(place, "`length` has no limit");
                problems.push(problem.hint("give it `min` or `max`"));
            }
            (Some(min), Some(max)) if min > max => {
                let problem = Problem::new(place, format!("no text has at least {min} and at most {max} characters"));
                problems.push(problem.hint("swap the limits"));
            }
            _ => {}
        }
    }

    fn expected(&self) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => format!("{min} characters"),
            (Some(min), Some(max)) => format!("{min} to {max} characters"),
            (Some(min), None) => format!("at least {min} characters"),
            (None, max) => format!("at most {} characters", max.unwrap_or(u32::MAX)),
        }
    }

    fn remedy(&self) -> &'static str {
        "look for what cut or padded the value on its way; widen the limits if it is right"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let (at, _, ty) = setting.typed(&self.column)?;
        if !is_text(&ty) {
            return Err(wrong_type(self.kind(), &self.column, &ty, "text"));
        }
        let (min, max) = (self.min.unwrap_or(0) as usize, self.max.map_or(usize::MAX, |m| m as usize));
        Ok(Work::column(at, Arc::new(move |array| text(array, |value| !fits(value, min, max)))))
    }
}

/// A character has one to four bytes.
fn fits(text: &str, min: usize, max: usize) -> bool {
    let bytes = text.len();
    if bytes < min || bytes / 4 > max {
        return false;
    }
    if bytes <= max && bytes / 4 >= min {
        return true;
    }
    let characters = text.chars().count();
    (min..=max).contains(&characters)
}

#[cfg(test)]
mod tests {
    use super::fits;
    use crate::checks::testing::{broken, ints, refused, texts};

    #[test]
    fn characters_are_counted_and_not_bytes() {
        let rule = r#"{"length":{"column":"c","min":2,"max":3}}"#;
        assert_eq!(broken(rule, texts([Some("a"), Some("ab"), Some("żół"), Some("abcd"), None, Some("")])), [0, 3, 5]);
        assert_eq!(broken(rule, texts([])), []);
        assert!(refused(rule, ints([Some(1)])).contains("needs text"));
    }

    #[test]
    fn the_short_cut_agrees_with_counting() {
        for text in ["", "a", "é", "日本語", "👍🏽", "abcdefgh", "ééééé"] {
            for (min, max) in [(0, 0), (1, 1), (2, 4), (5, 8), (0, usize::MAX), (3, usize::MAX)] {
                let counted = (min..=max).contains(&text.chars().count());
                assert_eq!(fits(text, min, max), counted, "{text} {min} {max}");
            }
        }
    }
}
