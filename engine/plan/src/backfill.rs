//! Rows that are loaded again, or late: those whose cursor lies in a range, whatever the target remembers.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use datafusion::common::ScalarValue;
use serde::{Deserialize, Serialize};
use transload_coerce::{Cast, Rulebook};
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Problem};
use transload_quality::Check;

use crate::plan::Limit;
use crate::transform::Transform;

/// A range of cursor values as somebody has typed it.
#[derive(Debug, Clone)]
pub struct AskedRange {
    /// The first value.
    pub from: Spanned<String>,
    /// The first value behind it.
    pub to: Spanned<String>,
}

/// A range of cursor values, as text of the cursor's type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// The first value.
    pub from: String,
    /// The first value behind it.
    pub to: String,
    /// The rules that are not judged, as they say nothing of rows of any age.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

impl AskedRange {
    /// The range as values of the cursor, each in the one form that it has as text.
    ///
    /// # Errors
    /// Texts that are no such values, and a range without any, each at its place.
    pub(crate) fn of(&self, ty: &LogicalType, rulebook: &Rulebook) -> Result<Backfill, Vec<Problem>> {
        let (from, to) = match (value(&self.from, ty, rulebook), value(&self.to, ty, rulebook)) {
            (Ok(from), Ok(to)) => (from, to),
            (from, to) => return Err([from.err(), to.err()].into_iter().flatten().collect()),
        };
        if from.partial_cmp(&to) != Some(Ordering::Less) {
            let message = format!("no value lies from `{}` to before `{}`", self.from.value, self.to.value);
            return Err(vec![Problem::new(self.from.span, message).hint("a range ends before its second value")]);
        }
        let text = |value: &ScalarValue, asked: &Spanned<String>| {
            Transform::cursor_text(value).map_err(|e| vec![Problem::new(asked.span, e.to_string())])
        };
        Ok(Backfill { from: text(&from, &self.from)?, to: text(&to, &self.to)?, limits: Vec::new() })
    }
}

impl Backfill {
    /// Takes the rules out that a load of these rows does not judge, and keeps them with the reason.
    pub(crate) fn limit(&mut self, checks: &mut Vec<Check>) {
        let why = "a backfill loads a range of the rows, and this is about those that are new";
        let limit = |check: Check| Limit { check, in_part: false, why: why.to_string() };
        self.limits.extend(checks.extract_if(.., |check| !check.judges_backfills()).map(limit));
    }
}

/// A text as a value of the cursor. It must be exactly that value.
fn value(asked: &Spanned<String>, ty: &LogicalType, rulebook: &Rulebook) -> Result<ScalarValue, Problem> {
    let Some(cast) = Cast::new(rulebook, &LogicalType::Text, ty) else {
        let message = format!("the rulebook {} has no cast from text to {ty}, the cursor's type", rulebook.id());
        return Err(Problem::new(asked.span, message));
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec![asked.value.as_str()]));
    let read = cast.apply(&text).and_then(|done| match (done.misfits, done.changed) {
        (None, None) => Ok(Some(ScalarValue::try_from_array(&done.array, 0)?)),
        _ => Ok(None),
    });
    match read {
        Ok(Some(value)) => Ok(value),
        Ok(None) => {
            let message = format!("`{}` is no value of the cursor, which is {ty}", asked.value);
            Err(Problem::new(asked.span, message).hint("write it as text is cast to that type"))
        }
        Err(e) => Err(Problem::new(asked.span, e.to_string())),
    }
}

impl fmt::Display for Backfill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to before {}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use transload_core::Node;

    use super::*;

    fn rulebook() -> Rulebook {
        let casts = ["int64", "decimal", "date", "timestamp"];
        let text = serde_json::json!({
            "version": 1, "rulebook": "r", "on_misfit": "error", "rules": { "text": { "checked": casts } },
        });
        let node: Node = serde_json::from_value(text).unwrap();
        Rulebook::read(&node).unwrap()
    }

    fn range(from: &str, to: &str, ty: &str) -> Result<[String; 2], Vec<String>> {
        let asked = AskedRange { from: Spanned::nowhere(from.to_string()), to: Spanned::nowhere(to.to_string()) };
        match asked.of(&ty.parse().unwrap(), &rulebook()) {
            Ok(found) => Ok([found.from, found.to]),
            Err(problems) => Err(problems.into_iter().map(|p| p.message).collect()),
        }
    }

    #[test]
    fn texts_become_values_of_the_cursor() {
        for (from, to, ty, expected) in [
            ("007", "+10", "int64", ["7", "10"]),
            ("-5", "0", "int64", ["-5", "0"]),
            ("9.5", "10", "decimal(9,2)", ["9.50", "10.00"]),
            ("2024-02-29", "2024-03-01", "date", ["2024-02-29", "2024-03-01"]),
            ("2024-01-01", "2024-01-01 10:00:00", "timestamp(us)", ["2024-01-01T00:00:00", "2024-01-01T10:00:00"]),
            (
                "2024-01-01T00:00:00+01:00",
                "2024-01-01",
                "timestamp(us, UTC)",
                ["2023-12-31T23:00:00Z", "2024-01-01T00:00:00Z"],
            ),
        ] {
            assert_eq!(range(from, to, ty), Ok(expected.map(str::to_string)), "{from} {to}");
        }
    }

    #[test]
    fn what_is_no_value_is_said_of_both_ends() {
        let said = range("1.5", "soon", "int64").unwrap_err();
        let expected =
            ["`1.5` is no value of the cursor, which is int64", "`soon` is no value of the cursor, which is int64"];
        assert_eq!(said, expected);
        for (from, to, ty) in [
            ("2024-02-30", "2024-03-01", "date"),
            ("1.005", "2", "decimal(9,2)"),
            ("1", "99999999999999999999", "int64"),
        ] {
            assert_eq!(range(from, to, ty).unwrap_err().len(), 1, "{from} {to}");
        }
        assert!(range("a", "b", "uuid").unwrap_err()[0].contains("no cast from text to uuid"));
    }

    #[test]
    fn a_range_without_a_value_is_refused() {
        for (from, to, ty) in [("9", "9", "int64"), ("10", "9", "int64"), ("2024-01-02", "2024-01-01", "date")] {
            let said = range(from, to, ty).unwrap_err();
            assert_eq!(said, [format!("no value lies from `{from}` to before `{to}`")]);
        }
    }
}
