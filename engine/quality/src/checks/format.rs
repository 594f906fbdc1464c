//! # `format` (Q008)
//!
//! **What it checks.** Every text is written in a well-known form:
//!
//! | `is` | form |
//! | --- | --- |
//! | `uuid` | 32 hexadecimal digits, in groups of 8, 4, 4, 4 and 12 with hyphens or without any |
//! | `email` | one `@`, a name before it, a host name with a dot behind it; no blanks. |
//! | `ip` | an IPv4 or IPv6 address |
//! | `date` | `YYYY-MM-DD`, a day that exists |
//! | `timestamp` | a date, `T` or a blank, `HH:MM:SS` with or without a fraction, and perhaps `Z` or an offset |
//! | `json` | any JSON value |
//!
//! **Why it matters.** Text that only looks like a date fails in the cast of somebody else, later.
//!
//! **Example.** `format: { column: id, is: uuid }`
//!
//! **Cost.** One look at the characters of every value.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use transload_core::tree::Spanned;

use crate::checks::{Definition, Setting, Work};
use crate::policy::Policy;
use crate::values::{is_text, text, wrong_type};

settings! {
    /// Every text is written in a well-known form.
    pub struct Format {
        /// The column.
        pub column: Spanned<String>,
        /// The form.
        pub is: Form,
    }
}

/// A well-known form of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A UUID.
    Uuid,
    /// An address of e-mail.
    Email,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A day, as `YYYY-MM-DD`.
    Date,
    /// A day and a time of day, perhaps with an offset.
    Timestamp,
    /// Any JSON value.
    Json,
}

impl Form {
    /// Every form, those first that say more.
    pub(crate) const ALL: [Self; 6] = [Self::Uuid, Self::Email, Self::Ip, Self::Date, Self::Timestamp, Self::Json];

    /// Says whether a text has the form.
    pub(crate) fn test(self) -> fn(&str) -> bool {
        match self {
            Self::Uuid => is_uuid,
            Self::Email => is_email,
            Self::Ip => |text| text.parse::<IpAddr>().is_ok(),
            Self::Date => |text| is_date(text.as_bytes()),
            Self::Timestamp => is_timestamp,
            Self::Json => |text| serde_json::from_str::<IgnoredAny>(text).is_ok(),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Uuid => "a UUID",
            Self::Email => "an address of e-mail",
            Self::Ip => "an IPv4 or IPv6 address",
            Self::Date => "a day written YYYY-MM-DD",
            Self::Timestamp => "a timestamp such as 2024-01-31T10:00:00Z",
            Self::Json => "JSON",
        }
    }
}

impl Definition for Format {
    fn code(&self) -> &'static str {
        "Q008"
    }

    fn kind(&self) -> &'static str {
        "format"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        vec![&self.column]
    }

    fn expected(&self) -> String {
        self.is.describe().to_string()
    }

    fn remedy(&self) -> &'static str {
        "correct the value in the source; the shapes show what was met"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let (at, _, ty) = setting.typed(&self.column)?;
        if !is_text(&ty) {
            return Err(wrong_type(self.kind(), &self.column, &ty, "text"));
        }
        let test = self.is.test();
        Ok(Work::column(at, Arc::new(move |array| text(array, |value| !test(value)))))
    }
}

fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hyphen = |i: usize| matches!(i, 8 | 13 | 18 | 23);
    match bytes.len() {
        32 => bytes.iter().all(u8::is_ascii_hexdigit),
        36 => bytes.iter().enumerate().all(|(i, b)| if hyphen(i) { *b == b'-' } else { b.is_ascii_hexdigit() }),
        _ => false,
    }
}

/// The lengths are those of RFC 5321.
fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let plain =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '@' | '<' | '>' | '(' | ')' | ',' | ';');
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    (1..=64).contains(&name.len())
        && text.len() <= 254
        && name.chars().all(plain)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && host.contains('.')
        && host.split('.').all(label)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
}

fn is_date(bytes: &[u8]) -> bool {
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (number(&bytes[..4]), number(&bytes[5..7]), number(&bytes[8..])) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=last).contains(&day)
}

fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || !is_date(&bytes[..10]) || !matches!(bytes[10], b'T' | b't' | b' ') {
        return false;
    }
    if !is_time(&bytes[11..19]) {
        return false;
    }
    let mut rest = &bytes[19..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    match rest {
        [] | [b'Z' | b'z'] => true,
        [b'+' | b'-', hours @ ..] => is_offset(hours),
        _ => false,
    }
}

fn is_time(bytes: &[u8]) -> bool {
    let part = |at: usize, most: u32| number(&bytes[at..at + 2]).is_some_and(|n| n <= most);
    bytes[2] == b':' && bytes[5] == b':' && part(0, 23) && part(3, 59) && part(6, 59)
}

fn is_offset(bytes: &[u8]) -> bool {
    let (hours, minutes) = match bytes.len() {
        2 => (&bytes[..2], &b"00"[..]),
        4 => (&bytes[..2], &bytes[2..]),
        5 if bytes[2] == b':' => (&bytes[..2], &bytes[3..]),
        _ => return false,
    };
    number(hours).is_some_and(|h| h <= 14) && number(minutes).is_some_and(|m| m <= 59)
}

#[cfg(test)]
mod tests {
    use super::Form;
    use crate::checks::testing::{broken, ints, refused, texts};

    #[track_caller]
    fn agrees(form: Form, good: &[&str], bad: &[&str]) {
        let test = form.test();
        good.iter().for_each(|text| assert!(test(text), "{text}"));
        bad.iter().chain(&["", " ", "x", "\0"]).for_each(|text| assert!(!test(text), "{text}"));
    }

    #[test]
    fn uuids() {
        let good = ["123e4567-e89b-12d3-a456-426614174000", "123E4567E89B12D3A456426614174000"];
        agrees(Form::Uuid, &good, &["123e4567-e89b-12d3-a456-42661417400", "123e4567e-89b-12d3-a456-426614174000"]);
    }

    #[test]
    fn addresses() {
        agrees(
            Form::Email,
            &["a@b.co", "first.last+tag@sub.example.org", "ü@müller.de"],
            &["a@b", "@b.co", "a@", "a b@c.de", "a@b..de", "a@-b.de", ".a@b.de", "a..b@c.de", "a@b@c.de", "<a@b.de>"],
        );
        agrees(Form::Ip, &["10.0.0.1", "::1", "2001:db8::ff00:42:8329"], &["256.1.1.1", "1.2.3", "01.2.3.4", "::g"]);
    }

    #[test]
    fn days_and_times() {
        agrees(
            Form::Date,
            &["2024-02-29", "0001-01-01"],
            &["2023-02-29", "2024-13-01", "2024-1-1", "24-01-01", "2024-01-01T"],
        );
        agrees(
            Form::Timestamp,
            &[
                "2024-01-31T10:00:00Z",
                "2024-01-31 10:00:00.123456",
                "2024-01-31T10:00:00+02:00",
                "2024-01-31T10:00:00-0330",
            ],
            &[
                "2024-01-31",
                "2024-01-31T24:00:00",
                "2024-01-31T10:00",
                "2024-01-31T10:00:00.",
                "2024-01-31T10:00:00+99:00",
            ],
        );
    }

    #[test]
    fn json() {
        agrees(Form::Json, &["{}", "[1,2]", "null", "\"a\"", " 1 "], &["{a:1}", "{", "'a'"]);
    }

    #[test]
    fn null_is_fine_and_numbers_are_refused() {
        let rule = r#"{"format":{"column":"c","is":"date"}}"#;
        assert_eq!(broken(rule, texts([Some("2024-01-01"), None, Some("01.01.2024")])), [2]);
        assert!(refused(rule, ints([Some(1)])).contains("needs text"));
    }
}
