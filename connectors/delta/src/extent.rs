//! Between which values columns lie in a file, as far as the log tells it: what need not be read for a key.
//!
//! A wrong limit would leave out a file that has the key, so what is not known for sure is unknown.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use serde::Deserialize;
use serde_json::value::RawValue;
use transload_core::LogicalType;
use transload_core::types::Unit;

use crate::log::Column;

/// Digits of decimals that every writer's statistics hold: some write them as floats.
const EXACT_DIGITS: u8 = 15;

/// Statistics hold timestamps in milliseconds, and some writers cut the rest off at both ends.
const CUT_MICROS: i128 = 999;

/// A value in a form that can be compared. All values of one column are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value {
    Number(i128),
    Text(String),
}

/// Where the values of a column in a file lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Anywhere.
    Unknown,
    /// Nowhere: all are NULL.
    Nowhere,
    /// From the one to the other, both included.
    Within(Value, Value),
}

/// What the log says about the columns of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    num_records: Option<u64>,
    #[serde(default)]
    min_values: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    max_values: BTreeMap<String, Box<RawValue>>,
}

impl Statistics {
    fn read(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// The number of rows in a file, as its statistics say.
pub(crate) fn rows(statistics: Option<&str>) -> Option<u64> {
    Statistics::read(statistics).num_records
}

/// Where the values of some columns in a file lie, whose partition has these `values`.
pub(crate) fn extents(
    columns: &[Column],
    values: &HashMap<String, Option<String>>,
    statistics: Option<&str>,
) -> Vec<Extent> {
    let statistics = Statistics::read(statistics);
    let extent = |column: &Column| match values.get(&column.name) {
        Some(value) => match value.as_deref().filter(|value| !value.is_empty()) {
            None => Extent::Nowhere,
            Some(text) => match Value::of_partition(text, &column.ty) {
                Some(value) => Extent::Within(value.clone(), value),
                None => Extent::Unknown,
            },
        },
        None => {
            let limit = |of: &BTreeMap<String, Box<RawValue>>, is_upper| {
                of.get(&column.name).and_then(|json| Value::of_statistics(json.get(), &column.ty, is_upper))
            };
            match (limit(&statistics.min_values, false), limit(&statistics.max_values, true)) {
                (Some(low), Some(high)) => Extent::Within(low, high),
                _ => Extent::Unknown,
            }
        }
    };
    columns.iter().map(extent).collect()
}

/// Whether two files can have rows with the same values in all of these columns.
pub(crate) fn meet(a: &[Extent], b: &[Extent]) -> bool {
    a.iter().zip(b).all(|(a, b)| match (a, b) {
        (Extent::Nowhere, _) | (_, Extent::Nowhere) => false,
        (Extent::Within(a, b), Extent::Within(c, d)) => a <= d && c <= b,
        _ => true,
    })
}

impl Value {
    /// The value of a partition as the log writes it, which is no NULL. `None` if it is not of the type, or of one whose
    /// values are not compared.
    pub(crate) fn of_partition(text: &str, ty: &LogicalType) -> Option<Self> {
        Some(match ty {
            LogicalType::Text => Self::Text(text.to_string()),
            LogicalType::Int(_) => Self::Number(text.parse().ok()?),
            LogicalType::Date => Self::day(text)?,
            LogicalType::Bool => Self::Number(i128::from(text.to_ascii_lowercase().parse::<bool>().ok()?)),
            _ => return None,
        })
    }

    /// The least or, with `is_upper`, the greatest value of a column in the JSON of statistics.
    fn of_statistics(json: &str, ty: &LogicalType, is_upper: bool) -> Option<Self> {
        let text = || serde_json::from_str::<String>(json).ok();
        Some(match ty {
            LogicalType::Int(_) => Self::Number(json.parse().ok()?),
            LogicalType::Decimal(digits, scale) if *digits <= EXACT_DIGITS => {
                Self::Number(unscaled(json, usize::try_from(*scale).ok()?)?)
            }
            LogicalType::Text => Self::Text(text()?),
            LogicalType::Date => Self::day(&text()?)?,
            LogicalType::Timestamp(Unit::Us, zone) => {
                let text = text()?;
                let time = match (DateTime::parse_from_rfc3339(&text), zone) {
                    (Ok(time), _) => time.naive_utc(),
                    (Err(_), None) => NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").ok()?,
                    (Err(_), Some(_)) => return None,
                };
                let micros = i128::from(time.and_utc().timestamp_micros());
                Self::Number(if is_upper { micros + CUT_MICROS } else { micros })
            }
            _ => return None,
        })
    }

    fn day(text: &str) -> Option<Self> {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(Self::Number(i128::from(day.to_epoch_days())))
    }
}

/// A decimal number without an exponent, in units of its last place.
fn unscaled(text: &str, scale: usize) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = if part.len() > scale { part.trim_end_matches('0') } else { part };
    let is_number = !whole.is_empty() && whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit());
    if !is_number || part.len() > scale {
        return None;
    }
    Some(sign * format!("{whole}{part:0<scale$}").parse::<i128>().ok()?)
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn column(name: &str, ty: &str) -> Column {
        Column { name: name.to_string(), ty: ty.parse().unwrap(), nullable: true }
    }

    fn extent(ty: &str, low: &str, high: &str) -> Extent {
        let statistics = format!(r#"{{"numRecords":3,"minValues":{{"a":{low}}},"maxValues":{{"a":{high}}}}}"#);
        assert_eq!(rows(Some(&statistics)), Some(3));
        extents(&[column("a", ty)], &HashMap::new(), Some(&statistics)).remove(0)
    }

    fn within(low: i128, high: i128) -> Extent {
        Extent::Within(Value::Number(low), Value::Number(high))
    }

    #[test]
    fn statistics_tell_where_values_lie() {
        assert_eq!(extent("int64", "-9223372036854775808", "7"), within(i128::from(i64::MIN), 7));
        assert_eq!(extent("decimal(15,2)", "-1.05", "1234567890123.4"), within(-105, 123_456_789_012_340));
        assert_eq!(extent("decimal(9,0)", "-0.0", "12"), within(0, 12));
        assert_eq!(extent("date", "\"1969-12-31\"", "\"1970-01-03\""), within(-1, 2));
        let text = |t: &str| Value::Text(t.to_string());
        assert_eq!(extent("text", "\"a\\\"b\"", "\"ä\""), Extent::Within(text("a\"b"), text("ä")));
        let (low, high) = ("\"1970-01-01T00:00:00.001Z\"", "\"1970-01-01T02:00:00.002+02:00\"");
        // What is cut off at the upper end could be a part of a millisecond.
        assert_eq!(extent("timestamp(us, UTC)", low, high), within(1_000, 2_999));
        let local = "\"1970-01-01T00:00:00.5\"";
        assert_eq!(extent("timestamp(us)", local, local), within(500_000, 500_999));
    }

    #[test]
    fn what_cannot_be_relied_on_is_unknown() {
        for (ty, low, high) in [
            // Some writers round wide decimals.
            ("decimal(16,2)", "1.00", "2.00"),
            ("decimal(9,2)", "1.005", "2.00"),
            ("decimal(9,2)", "1e3", "2e3"),
            ("int64", "1.5", "2"),
            ("date", "\"soon\"", "\"1970-01-03\""),
            ("timestamp(us, UTC)", "\"1970-01-01T00:00:00.001\"", "\"1970-01-01T00:00:00.001\""),
            ("float64", "1.5", "2.5"),
            ("bool", "false", "false"),
            ("text", "null", "\"b\""),
        ] {
            assert_eq!(extent(ty, low, high), Extent::Unknown, "{ty} {low}");
        }
        for statistics in [None, Some(""), Some("{}"), Some("[]"), Some(r#"{"minValues":{"a":1}}"#)] {
            assert_eq!(extents(&[column("a", "int64")], &HashMap::new(), statistics), [Extent::Unknown]);
        }
    }

    #[test]
    fn a_partition_has_one_value() {
        let values = [("d", Some("2024-01-31")), ("t", Some("x")), ("n", None), ("e", Some("")), ("b", Some("true"))];
        let values = values.into_iter().map(|(k, v)| (k.to_string(), v.map(str::to_string))).collect();
        let columns = [column("d", "date"), column("t", "text"), column("n", "int8"), column("e", "text")];
        let text = Value::Text("x".to_string());
        let expected = [within(19_753, 19_753), Extent::Within(text.clone(), text), Extent::Nowhere, Extent::Nowhere];
        assert_eq!(extents(&columns, &values, None), expected);
        assert_eq!(extents(&[column("b", "bool")], &values, None), [within(1, 1)]);
    }

    #[test]
    fn files_meet_where_all_columns_do() {
        let (low, high, all) = (within(0, 10), within(10, 20), Extent::Unknown);
        assert!(meet(from_ref(&low), from_ref(&high)) && meet(from_ref(&all), from_ref(&high)));
        assert!(!meet(&[within(0, 9)], from_ref(&high)) && !meet(from_ref(&high), &[within(0, 9)]));
        assert!(!meet(&[low.clone(), within(1, 2)], &[low.clone(), within(3, 4)]));
        assert!(!meet(&[all.clone(), Extent::Nowhere], &[all.clone(), all.clone()]));
        assert!(meet(&[low.clone(), all], &[low, high]));
    }
}
