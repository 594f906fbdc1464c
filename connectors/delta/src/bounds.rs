//! What a table's log says about the values in a file, as bounds for scans: the other direction of `stats`.
//!
//! Whoever wrote them may have cut texts and rounded timestamps, so a bound is taken outwards, and one of which it is not
//! clear what it means is none: a bound that is too narrow loses rows silently.

use std::collections::HashMap;

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use datafusion::common::ScalarValue;
use serde::Deserialize;
use serde_json::value::RawValue;
use transload_lake::files::{Bounds, FileStatistics};

/// Digits that a number in JSON keeps in every program, also in those that read it as a float.
const FLOAT_DIGITS: u8 = 15;

/// More rows than any file has.
const MOST_ROWS: u64 = 1 << 40;

/// A file's statistics in Delta's form: JSON text.
#[derive(Debug)]
pub(crate) struct LoggedStatistics(String);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Statistics<'a> {
    #[serde(borrow)]
    min_values: Option<HashMap<String, &'a RawValue>>,
    #[serde(borrow)]
    max_values: Option<HashMap<String, &'a RawValue>>,
    #[serde(borrow)]
    null_count: Option<HashMap<String, &'a RawValue>>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(rename = "numRecords")]
    rows: Option<u64>,
}

impl LoggedStatistics {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// How many rows the file has; `None` if that is not said, or cannot be.
    pub(crate) fn rows(&self) -> Option<u64> {
        serde_json::from_str::<Counted>(&self.0).ok()?.rows.filter(|rows| *rows < MOST_ROWS)
    }
}

impl FileStatistics for LoggedStatistics {
    fn bounds(&self, columns: &[FieldRef]) -> Vec<Bounds> {
        let Statistics { min_values, max_values, null_count } = serde_json::from_str(&self.0).unwrap_or_default();
        let find = |values: &Option<HashMap<String, &RawValue>>, name: &str| -> Option<String> {
            Some(values.as_ref()?.get(name)?.get().to_string())
        };
        let bounds = |column: &FieldRef| Bounds {
            low: find(&min_values, column.name()).and_then(|text| bound(&text, column.data_type(), false)),
            high: find(&max_values, column.name()).and_then(|text| bound(&text, column.data_type(), true)),
            nulls: find(&null_count, column.name()).and_then(|text| text.parse().ok()),
        };
        columns.iter().map(bounds).collect()
    }
}

/// A bound of a column of a type from its JSON text, taken outwards.
fn bound(json: &str, ty: &DataType, upwards: bool) -> Option<ScalarValue> {
    let text = || serde_json::from_str::<String>(json).ok();
    Some(match ty {
        DataType::Boolean => ScalarValue::Boolean(Some(json.parse().ok()?)),
        DataType::Int8 => ScalarValue::Int8(Some(json.parse().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(json.parse().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(json.parse().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(json.parse().ok()?)),
        DataType::Decimal128(precision, scale) => {
            ScalarValue::Decimal128(Some(decimal(json, *precision, *scale, upwards)?), *precision, *scale)
        }
        DataType::Utf8 => ScalarValue::Utf8(Some(text()?)),
        DataType::Utf8View => ScalarValue::Utf8View(Some(text()?)),
        DataType::Date32 => ScalarValue::Date32(Some(day(&text()?)?)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let millis = match zone {
                Some(_) => instant(&text()?)?,
                None => wall_clock(&text()?)?,
            };
            // What is written has been rounded down to milliseconds.
            let micros = millis.checked_mul(1000)?.checked_add(if upwards { 999 } else { 0 })?;
            ScalarValue::TimestampMicrosecond(Some(micros), zone.clone())
        }
        _ => return None,
    })
}

/// The unscaled value of a decimal.
fn decimal(json: &str, precision: u8, scale: i8, upwards: bool) -> Option<i128> {
    let (sign, digits) = match json.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, json),
    };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let rest = rest.trim_end_matches('0');
    let missing = usize::try_from(scale).ok()?.checked_sub(rest.len())?;
    let all = format!("{whole}{rest}{}", "0".repeat(missing));
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value = sign * all.parse::<i128>().ok()?;
    if precision <= FLOAT_DIGITS {
        return Some(value);
    }
    // It may have been a float on its way here, and rounded more than once.
    let rounding = (value.abs() >> 50) + 1;
    value.checked_add(if upwards { rounding } else { -rounding })
}

fn day(text: &str) -> Option<i32> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| day.to_epoch_days())
}

/// A point in time, in milliseconds since 1970. One without an offset may be one of any zone.
fn instant(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.timestamp_micros().div_euclid(1000))
}

/// What a wall clock shows, in milliseconds since it showed 1970. A column that became wider has bounds that are dates.
fn wall_clock(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text).replacen('T', " ", 1);
    let text = text.as_str();
    let time = match NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f") {
        Ok(time) => time,
        Err(_) => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?,
    };
    Some(time.and_utc().timestamp_micros().div_euclid(1000))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;

    const STATISTICS: &str = r#"{"numRecords":7,"tightBounds":true,
        "minValues":{"i":-3,"s":"a\u00e4","d":"1969-12-31","t":"2024-01-01T00:00:00.000+02:00","n":"2024-09-09",
            "m":-1.5,"w":12345678901234567.89,"f":1.5,"x":{"y":1}},
        "maxValues":{"i":300,"s":"b","d":"soon","t":"2024-01-01 00:00:00","n":"2024-09-09T12:34:56.123",
            "m":10,"w":1e22,"f":2.5,"x":{"y":2}},
        "nullCount":{"i":0,"s":7,"x":{"y":0}}}"#;

    fn of(name: &str, ty: DataType) -> Bounds {
        let statistics = LoggedStatistics::new(STATISTICS.to_string());
        assert_eq!(statistics.rows(), Some(7));
        let columns: [FieldRef; 1] = [Arc::new(Field::new(name, ty, true))];
        statistics.bounds(&columns).remove(0)
    }

    #[test]
    fn bounds_are_what_is_written_or_lie_outwards() {
        let i = of("i", DataType::Int16);
        assert_eq!(
            i,
            Bounds {
                low: Some(ScalarValue::Int16(Some(-3))),
                high: Some(ScalarValue::Int16(Some(300))),
                nulls: Some(0)
            }
        );
        let s = of("s", DataType::Utf8View);
        assert_eq!((s.low, s.nulls), (Some(ScalarValue::Utf8View(Some("aä".to_string()))), Some(7)));
        assert_eq!(of("d", DataType::Date32).low, Some(ScalarValue::Date32(Some(-1))));
        let utc: Arc<str> = Arc::from("UTC");
        let t = of("t", DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(&utc))));
        let instant = 1_704_060_000_000_000;
        assert_eq!(t.low, Some(ScalarValue::TimestampMicrosecond(Some(instant), Some(utc))));
        let n = of("n", DataType::Timestamp(TimeUnit::Microsecond, None));
        let midnight = 1_725_840_000_000_000;
        assert_eq!(n.low, Some(ScalarValue::TimestampMicrosecond(Some(midnight), None)));
        let noon = midnight + ((12 * 60 + 34) * 60 + 56) * 1_000_000 + 123_999;
        assert_eq!(n.high, Some(ScalarValue::TimestampMicrosecond(Some(noon), None)));
        let m = of("m", DataType::Decimal128(9, 2));
        assert_eq!(m.low, Some(ScalarValue::Decimal128(Some(-150), 9, 2)));
        assert_eq!(m.high, Some(ScalarValue::Decimal128(Some(1000), 9, 2)));
        let Some(ScalarValue::Decimal128(Some(w), ..)) = of("w", DataType::Decimal128(38, 2)).low else {
            panic!("a decimal has a bound")
        };
        assert!((1_234_567_890_123_455_000..1_234_567_890_123_456_789).contains(&w), "{w}");
    }

    #[test]
    fn what_is_not_clear_is_no_bound() {
        assert_eq!(of("i", DataType::Int8).high, None, "300 is no value of int8");
        assert_eq!(of("d", DataType::Date32).high, None);
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(of("t", utc).high, None, "nobody knows the zone");
        assert_eq!(of("m", DataType::Decimal128(9, 0)).low, None, "the digits are not all there");
        assert_eq!(of("w", DataType::Decimal128(38, 2)).high, None);
        assert_eq!(of("s", DataType::Int32).low, None);
        for (name, ty) in [("x", DataType::Int64), ("f", DataType::Float64), ("none", DataType::Utf8)] {
            assert_eq!(of(name, ty), Bounds::default(), "{name}");
        }
        let huge = LoggedStatistics::new(format!("{{\"numRecords\":{}}}", u64::MAX));
        let broken = LoggedStatistics::new("{\"numRecords\":-1".to_string());
        assert_eq!((huge.rows(), broken.rows()), (None, None));
        let columns: [FieldRef; 1] = [Arc::new(Field::new("i", DataType::Int64, true))];
        assert_eq!(broken.bounds(&columns), [Bounds::default()]);
    }
}
