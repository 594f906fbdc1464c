//! # `pattern` (Q007)
//!
//! **What it checks.** A regular expression is found in every text; with `^` and `$` it has to be the whole text. The
//! syntax is that of the Rust crate `regex`: no look-around and no back references, and time grows only with the
//! length of the text.
//!
//! **Why it matters.** Identifiers, phone numbers and codes have a form, and one that has not cannot be looked up.
//!
//! **Example.** `pattern: { column: tailnum, regex: "^N[0-9]{1,5}[A-Z]{0,2}$" }`
//!
//! **Cost.** Compiled once; one search per value.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use transload_core::tree::Spanned;
use transload_core::{Problem, Span};

use crate::checks::{Definition, Setting, Work};
use crate::policy::Policy;
use crate::values::{is_text, text, wrong_type};

/// Largest compiled expression, in bytes.
const MAX_SIZE: usize = 1 << 20;

settings! {
    /// Every text matches a regular expression.
    pub struct Pattern {
        /// The column.
        pub column: Spanned<String>,
        /// The regular expression.
        pub regex: Spanned<String>,
    }
}

impl Pattern {
    fn compile(&self) -> Result<Regex, String> {
        RegexBuilder::new(&self.regex).size_limit(MAX_SIZE).dfa_size_limit(4 * MAX_SIZE).build().map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let reason = last.strip_prefix("error: ").unwrap_or(last);
            format!("the regular expression cannot be read: {reason}")
        })
    }
}

impl Definition for Pattern {
    fn code(&self) -> &'static str {
        "Q007"
    }

    fn kind(&self) -> &'static str {
        "pattern"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        vec![&self.column]
    }

    fn validate(&self, _: Span, problems: &mut Vec<Problem>) {
        if let Err(reason) = self.compile() {
            let problem = Problem::new(self.regex.span, reason);
            problems.push(problem.hint("there are no look-around and no back references"));
        }
    }

    fn expected(&self) -> String {
        format!("a match of {}", self.regex.value)
    }

    fn remedy(&self) -> &'static str {
        "correct the value in the source, or let the expression allow it; the shapes show what was met"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let (at, _, ty) = setting.typed(&self.column)?;
        if !is_text(&ty) {
            return Err(wrong_type(self.kind(), &self.column, &ty, "text"));
        }
        let regex = self.compile()?;
        Ok(Work::column(at, Arc::new(move |array| text(array, |value| !regex.is_match(value)))))
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{broken, ints, refused, texts, views};

    #[test]
    fn an_expression_is_searched_and_anchors_hold_it() {
        let values = [Some("N123"), Some("xN123"), Some(""), None, Some("n123")];
        assert_eq!(broken(r#"{"pattern":{"column":"c","regex":"N[0-9]+"}}"#, texts(values)), [2, 4]);
        assert_eq!(broken(r#"{"pattern":{"column":"c","regex":"^N[0-9]+$"}}"#, views(values)), [1, 2, 4]);
        assert_eq!(broken(r#"{"pattern":{"column":"c","regex":"N"}}"#, texts([])), []);
        assert!(refused(r#"{"pattern":{"column":"c","regex":"N"}}"#, ints([Some(1)])).contains("needs text"));
    }

    #[test]
    fn an_expression_that_explodes_elsewhere_is_quick_here() {
        let long = "a".repeat(50_000);
        let rule = r#"{"pattern":{"column":"c","regex":"^(a+)+$"}}"#;
        assert_eq!(broken(rule, texts([Some(long.as_str()), Some(&format!("{long}!"))])), [1]);
    }
}
