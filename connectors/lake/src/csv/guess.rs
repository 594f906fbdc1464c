//! Guessing a column's type from some of its values.

use transload_core::LogicalType;
use transload_core::number::{FloatFit, float_fit};
use transload_core::types::Unit;

/// The narrowest of int64, float64, bool, date, timestamp(us) and text that fits all values. Numbers with
/// leading zeros are text: they are codes, and would not come back as they were. So are numbers that a float would change:
/// how many digits a decimal needs, a sample cannot tell.
pub(crate) fn guess<'a>(values: impl Iterator<Item = &'a str> + Clone) -> LogicalType {
    if values.clone().next().is_none() {
        return LogicalType::Text;
    }
    let all = |fits: fn(&str) -> bool| values.clone().all(fits);
    if all(is_int) {
        LogicalType::Int(64)
    } else if all(is_number) {
        LogicalType::Float(64)
    } else if all(|v| v.eq_ignore_ascii_case("true") || v.eq_ignore_ascii_case("false")) {
        LogicalType::Bool
    } else if all(is_date) {
        LogicalType::Date
    } else if all(is_timestamp) {
        LogicalType::Timestamp(Unit::Us, None)
    } else {
        LogicalType::Text
    }
}

fn is_int(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits == "0" || !digits.starts_with('0');
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
}
