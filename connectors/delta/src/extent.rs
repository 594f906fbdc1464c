//! Between which values columns lie in a file, as far as the log tells it: what need not be read for a key.
//!
//! A wrong limit would leave out a file that has the key, so what is not known for sure is unknown.

use std::collections::HashMap;

use arrow::datatypes::FieldRef;
use chrono::NaiveDate;
use datafusion::common::ScalarValue;
use transload_core::LogicalType;
use transload_lake::files::{Bounds, FileStatistics};

use crate::bounds::LoggedStatistics;
use crate::log::Column;

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

/// Where the values of some columns in a file lie, whose partition has these `values`. Without `has_plain_times` dates and
/// timestamps in files are not read as the log has them.
pub(crate) fn extents(
    columns: &[Column],
    values: &HashMap<String, Option<String>>,
    statistics: Option<&LoggedStatistics>,
    has_plain_times: bool,
) -> Vec<Extent> {
    let fields: Vec<FieldRef> = columns.iter().map(Column::field).collect();
    let bounds = match statistics {
        Some(statistics) => statistics.bounds(&fields),
        None => vec![Bounds::default(); columns.len()],
    };
    let extent = |(column, bounds): (&Column, Bounds)| match values.get(&column.name) {
        Some(value) => match value.as_deref().filter(|value| !value.is_empty()) {
            None => Extent::Nowhere,
            Some(text) => match Value::of_partition(text, &column.ty) {
                Some(value) => Extent::Within(value.clone(), value),
                None => Extent::Unknown,
            },
        },
        None if !has_plain_times && matches!(column.ty, LogicalType::Date | LogicalType::Timestamp(..)) => {
            Extent::Unknown
        }
        None => match (bounds.low.and_then(Value::of_bound), bounds.high.and_then(Value::of_bound)) {
            (Some(low), Some(high)) => Extent::Within(low, high),
            _ => Extent::Unknown,
        },
    };
    columns.iter().zip(bounds).map(extent).collect()
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

    /// A bound of a column. `None` for one of a type whose values are not compared.
    fn of_bound(bound: ScalarValue) -> Option<Self> {
        Some(match bound {
            ScalarValue::Boolean(Some(value)) => Self::Number(i128::from(value)),
            ScalarValue::Int8(Some(number)) => Self::Number(i128::from(number)),
            ScalarValue::Int16(Some(number)) => Self::Number(i128::from(number)),
            ScalarValue::Int32(Some(number)) | ScalarValue::Date32(Some(number)) => Self::Number(i128::from(number)),
            ScalarValue::Int64(Some(number)) | ScalarValue::TimestampMicrosecond(Some(number), _) => {
                Self::Number(i128::from(number))
            }
            ScalarValue::Decimal128(Some(unscaled), ..) => Self::Number(unscaled),
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => Self::Text(text),
            _ => return None,
        })
    }

    fn day(text: &str) -> Option<Self> {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(Self::Number(i128::from(day.to_epoch_days())))
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn column(name: &str, ty: &str) -> Column {
        Column { name: name.to_string(), ty: ty.parse().unwrap(), nullable: true }
    }

    fn none() -> HashMap<String, Option<String>> {
        HashMap::new()
    }

    fn statistics(low: &str, high: &str) -> LoggedStatistics {
        LoggedStatistics::new(format!(r#"{{"numRecords":3,"minValues":{{"a":{low}}},"maxValues":{{"a":{high}}}}}"#))
    }

    fn extent(ty: &str, low: &str, high: &str) -> Extent {
        extents(&[column("a", ty)], &none(), Some(&statistics(low, high)), true).remove(0)
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
        assert_eq!(extent("bool", "false", "true"), within(0, 1));
        let text = |t: &str| Value::Text(t.to_string());
        assert_eq!(extent("text", "\"a\\\"b\"", "\"ä\""), Extent::Within(text("a\"b"), text("ä")));
        let (low, high) = ("\"1970-01-01T00:00:00.001Z\"", "\"1970-01-01T02:00:00.002+02:00\"");
        // What is cut off at the upper end could be a part of a millisecond.
        assert_eq!(extent("timestamp(us, UTC)", low, high), within(1_000, 2_999));
        let local = "\"1970-01-01T00:00:00.5\"";
        assert_eq!(extent("timestamp(us)", local, local), within(500_000, 500_999));
    }

    #[test]
    fn statistics_from_before_a_column_became_wider_tell_where_values_lie() {
        assert_eq!(extent("decimal(12,2)", "-3", "7"), within(-300, 700));
        assert_eq!(extent("decimal(15,4)", "1.05", "2.5"), within(10_500, 25_000));
        assert_eq!(extent("timestamp(us)", "\"1970-01-01\"", "\"1970-01-02\""), within(0, 86_400_000_999));
    }

    #[test]
    fn what_cannot_be_relied_on_is_unknown() {
        for (ty, low, high) in [
            ("decimal(9,2)", "1.005", "2.00"),
            ("decimal(9,2)", "1e3", "2e3"),
            ("int64", "1.5", "2"),
            ("date", "\"soon\"", "\"1970-01-03\""),
            ("timestamp(us, UTC)", "\"1970-01-01T00:00:00.001\"", "\"1970-01-01T00:00:00.001\""),
            ("float64", "1.5", "2.5"),
            ("text", "null", "\"b\""),
        ] {
            assert_eq!(extent(ty, low, high), Extent::Unknown, "{ty} {low}");
        }
        for text in ["", "{}", "[]", r#"{"minValues":{"a":1}}"#, r#"{"minValues":null,"maxValues":{"a":1}}"#] {
            let statistics = LoggedStatistics::new(text.to_string());
            assert_eq!(extents(&[column("a", "int64")], &none(), Some(&statistics), true), [Extent::Unknown], "{text}");
        }
        assert_eq!(extents(&[column("a", "int64")], &none(), None, true), [Extent::Unknown]);
        // Where dates are read as other ones than those that are stored, the log speaks of the others.
        let days = statistics("\"1500-01-01\"", "\"1500-01-02\"");
        assert_eq!(extents(&[column("a", "date")], &none(), Some(&days), false), [Extent::Unknown]);
        let numbers = statistics("1", "2");
        assert_eq!(extents(&[column("a", "int8")], &none(), Some(&numbers), false), [within(1, 2)]);
    }

    #[test]
    fn a_partition_has_one_value() {
        let values = [("d", Some("2024-01-31")), ("t", Some("x")), ("n", None), ("e", Some("")), ("b", Some("true"))];
        let values = values.into_iter().map(|(k, v)| (k.to_string(), v.map(str::to_string))).collect();
        let columns = [column("d", "date"), column("t", "text"), column("n", "int8"), column("e", "text")];
        let text = Value::Text("x".to_string());
        let expected = [within(19_753, 19_753), Extent::Within(text.clone(), text), Extent::Nowhere, Extent::Nowhere];
        assert_eq!(extents(&columns, &values, None, false), expected);
        assert_eq!(extents(&[column("b", "bool")], &values, None, true), [within(1, 1)]);
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
