//! Guessing a column's type from some of its values.

use transload_core::LogicalType;
use transload_core::number::{FloatFit, float_fit};
use transload_core::types::Unit;

/// What all values of a column that were looked at can be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guess {
    is_empty: bool,
    is_int: bool,
    is_number: bool,
    is_bool: bool,
    is_date: bool,
    is_timestamp: bool,
}

impl Default for Guess {
    /// That of a column none of whose values was looked at.
    fn default() -> Self {
        Self { is_empty: true, is_int: true, is_number: true, is_bool: true, is_date: true, is_timestamp: true }
    }
}

impl Guess {
    /// Looks at one more value.
    pub(crate) fn see(&mut self, text: &str) {
        self.is_empty = false;
        self.is_int = self.is_int && is_int(text);
        self.is_number = self.is_number && is_number(text);
        self.is_bool = self.is_bool && (text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"));
        self.is_date = self.is_date && is_date(text);
        self.is_timestamp = self.is_timestamp && is_timestamp(text);
    }

    /// The guess from the values of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            is_empty: self.is_empty && other.is_empty,
            is_int: self.is_int && other.is_int,
            is_number: self.is_number && other.is_number,
            is_bool: self.is_bool && other.is_bool,
            is_date: self.is_date && other.is_date,
            is_timestamp: self.is_timestamp && other.is_timestamp,
        }
    }

    /// The narrowest of int64, float64, bool, date, timestamp(us) and text that fits all values. Numbers with leading
    /// zeros are text: they are codes, and would not come back as they were. So are numbers that a float would change:
    /// how many digits a decimal needs, a sample cannot tell.
    pub(crate) fn ty(self) -> LogicalType {
        match self {
            Self { is_empty: true, .. } => LogicalType::Text,
            Self { is_int: true, .. } => LogicalType::Int(64),
            Self { is_number: true, .. } => LogicalType::Float(64),
            Self { is_bool: true, .. } => LogicalType::Bool,
            Self { is_date: true, .. } => LogicalType::Date,
            Self { is_timestamp: true, .. } => LogicalType::Timestamp(Unit::Us, None),
            _ => LogicalType::Text,
        }
    }
}

/// The [`Guess`] from all values.
pub(crate) fn guess<'a>(values: impl IntoIterator<Item = &'a str>) -> LogicalType {
    let mut guess = Guess::default();
    values.into_iter().for_each(|value| guess.see(value));
    guess.ty()
}

fn is_int(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // An integer has no zero with a sign.
    let plain = text == "0" || !digits.starts_with('0');
    plain && digits.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let code = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    let kept = |float: f64| float_fit(text, float, 64) == FloatFit::Kept;
    !code && plain && !is_long_int(digits) && text.parse::<f64>().is_ok_and(kept)
}

/// A float would round others of their kind.
fn is_long_int(digits: &str) -> bool {
    digits.len() > 15 && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn is_timestamp(text: &str) -> bool {
    let ok = |format| chrono::NaiveDateTime::parse_from_str(text, format).is_ok();
    let short = text.split_once('.').is_none_or(|(_, f)| f.len() <= 6);
    let leap = text.contains(":60");
    short && !leap && (ok("%Y-%m-%dT%H:%M:%S%.f") || ok("%Y-%m-%d %H:%M:%S%.f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_careful() {
        let g = |values: &[&str]| guess(values.iter().copied()).to_string();
        assert_eq!(g(&["1", "-20", "0"]), "int64");
        assert_eq!(g(&["1", "02134"]), "text");
        assert_eq!(g(&["1", "-0"]), "float64");
        assert_eq!(g(&["1", "2.5", "-1e3"]), "float64");
        assert_eq!(g(&["1", "99999999999999999999"]), "text");
        assert_eq!(g(&["0.30000000000000004", "5e-324", "1e23"]), "float64");
        assert_eq!(g(&["0.5", "0.12345678901234567890"]), "text");
        assert_eq!(g(&["1", "1e400"]), "text");
        assert_eq!(g(&["1", "1e-400"]), "text");
        assert_eq!(g(&["true", "FALSE"]), "bool");
        assert_eq!(g(&["2024-01-01", "2024-02-29"]), "date");
        assert_eq!(g(&["2024-01-01 10:00:00", "2024-01-01T10:00:00.123"]), "timestamp(us)");
        assert_eq!(g(&["2016-12-31 23:59:59", "2016-12-31 23:59:60"]), "text");
        assert_eq!(g(&["nan", "1"]), "text");
        assert_eq!(g(&[]), "text");
    }

    #[test]
    fn guesses_of_parts_are_the_guess_of_the_whole() {
        let part = |values: &[&str]| {
            let mut guess = Guess::default();
            values.iter().for_each(|v| guess.see(v));
            guess
        };
        let pairs: [(&[&str], &[&str]); 4] = [(&["1"], &["2.5"]), (&[], &["1"]), (&["2024-01-01"], &["x"]), (&[], &[])];
        for (a, b) in pairs {
            assert_eq!(part(a).and(part(b)), part(&[a, b].concat()), "{a:?} {b:?}");
        }
    }
}
