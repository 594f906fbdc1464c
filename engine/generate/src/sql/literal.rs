//! Values in SQL.

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use transload_core::LogicalType;
use transload_core::types::Unit;

use crate::dialect::Dialect;

/// A value as SQL writes it.
///
/// # Errors
/// A sentence, if the dialect has no form for it.
pub(crate) fn literal(value: &ScalarValue, dialect: Dialect) -> Result<String, String> {
    use ScalarValue as S;
    if value.is_null() {
        let ty = LogicalType::of(&Field::new("", value.data_type(), true));
        return match ty.filter(|_| *value != S::Null) {
            Some(ty) => Ok(format!("CAST(NULL AS {})", dialect.type_name(&ty)?)),
            None => Ok("NULL".to_string()),
        };
    }
    let whole = |digits: String, suffix: &str| match dialect {
        Dialect::DuckDb => digits,
        Dialect::Spark => format!("{digits}{suffix}"),
    };
    Ok(match value {
        S::Boolean(Some(true)) => "TRUE".to_string(),
        S::Boolean(Some(false)) => "FALSE".to_string(),
        S::Int8(Some(v)) => whole(v.to_string(), "Y"),
        S::Int16(Some(v)) => whole(v.to_string(), "S"),
        S::Int32(Some(v)) => v.to_string(),
        S::Int64(Some(v)) => whole(v.to_string(), "L"),
        S::UInt8(Some(v)) => whole(v.to_string(), "S"),
        S::UInt16(Some(v)) => v.to_string(),
        S::UInt32(Some(v)) => whole(v.to_string(), "L"),
        S::UInt64(Some(v)) => format!("CAST({v} AS {})", dialect.type_name(&LogicalType::UInt(64))?),
        S::Float32(Some(v)) => {
            format!("CAST({} AS {})", float(f64::from(*v), dialect), dialect.type_name(&LogicalType::Float(32))?)
        }
        S::Float64(Some(v)) => float(*v, dialect),
        S::Decimal32(Some(v), p, s) => decimal(i128::from(*v), *p, *s, dialect)?,
        S::Decimal64(Some(v), p, s) => decimal(i128::from(*v), *p, *s, dialect)?,
        S::Decimal128(Some(v), p, s) => decimal(*v, *p, *s, dialect)?,
        S::Utf8(Some(v)) | S::LargeUtf8(Some(v)) | S::Utf8View(Some(v)) => dialect.text(v),
        S::Date32(Some(v)) => date(*v)?,
        S::TimestampSecond(Some(v), zone) => timestamp(*v, Unit::S, zone.is_some(), dialect)?,
        S::TimestampMillisecond(Some(v), zone) => timestamp(*v, Unit::Ms, zone.is_some(), dialect)?,
        S::TimestampMicrosecond(Some(v), zone) => timestamp(*v, Unit::Us, zone.is_some(), dialect)?,
        S::TimestampNanosecond(Some(v), zone) => timestamp(*v, Unit::Ns, zone.is_some(), dialect)?,
        other => return Err(format!("a value of type {} has no form in {}", other.data_type(), dialect.engine())),
    })
}

/// A value of a column's type that is given in its own digits or ticks, to be compared with the column.
///
/// # Errors
/// A sentence, if the dialect has no form for it.
pub(crate) fn ticks(ticks: i128, ty: &LogicalType, dialect: Dialect) -> Result<String, String> {
    let beyond = || format!("{ticks} is beyond all values of {ty}");
    match ty {
        LogicalType::Int(_) | LogicalType::UInt(_) => Ok(ticks.to_string()),
        LogicalType::Decimal(_, scale) => Ok(digits(ticks, *scale)),
        LogicalType::Date => date(i32::try_from(ticks).map_err(|_| beyond())?),
        LogicalType::Timestamp(unit, zone) => {
            timestamp(i64::try_from(ticks).map_err(|_| beyond())?, *unit, zone.is_some(), dialect)
        }
        other => Err(format!("{} cannot be compared with a limit in {}", other, dialect.engine())),
    }
}

/// A float with an exponent, which makes it one for both.
pub(crate) fn float(value: f64, dialect: Dialect) -> String {
    let (suffix, name) = match dialect {
        Dialect::DuckDb => ("", "double"),
        Dialect::Spark => ("D", "DOUBLE"),
    };
    if value.is_finite() {
        return format!("{value:e}{suffix}");
    }
    let word = match value.is_nan() {
        true => "NaN",
        false if value > 0.0 => "Infinity",
        false => "-Infinity",
    };
    format!("CAST('{word}' AS {name})")
}

fn decimal(unscaled: i128, precision: u8, scale: i8, dialect: Dialect) -> Result<String, String> {
    let ty = LogicalType::Decimal(precision, scale);
    Ok(format!("CAST({} AS {})", digits(unscaled, scale), dialect.type_name(&ty)?))
}

/// `-990.00`.
fn digits(unscaled: i128, scale: i8) -> String {
    let scale = usize::from(scale.unsigned_abs());
    if scale == 0 {
        return unscaled.to_string();
    }
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{fraction}", if unscaled < 0 { "-" } else { "" })
}

fn date(days: i32) -> Result<String, String> {
    Ok(format!("DATE '{}'", plain(&ScalarValue::Date32(Some(days)))?))
}

fn timestamp(ticks: i64, unit: Unit, zoned: bool, dialect: Dialect) -> Result<String, String> {
    let beyond = || "a timestamp is finer or larger than microseconds can say".to_string();
    let micros = match unit {
        Unit::Ns if ticks % 1_000 != 0 => return Err(beyond()),
        Unit::Ns => ticks / 1_000,
        unit => ticks.checked_mul(unit.nanos() / 1_000).ok_or_else(beyond)?,
    };
    let text = plain(&ScalarValue::TimestampMicrosecond(Some(micros), None))?.replace('T', " ");
    Ok(match (dialect, zoned) {
        (Dialect::DuckDb, false) => format!("TIMESTAMP '{text}'"),
        (Dialect::DuckDb, true) => format!("TIMESTAMPTZ '{text}+00:00'"),
        (Dialect::Spark, false) => format!("TIMESTAMP_NTZ '{text}'"),
        (Dialect::Spark, true) => format!("TIMESTAMP '{text}+00:00'"),
    })
}

/// A date or timestamp as text, of a year that has four digits everywhere.
fn plain(value: &ScalarValue) -> Result<String, String> {
    let array: ArrayRef = value.to_array().map_err(|e| e.strip_backtrace())?;
    let text = array_value_to_string(&array, 0).map_err(|e| e.to_string())?;
    match text.as_bytes() {
        [b'1'..=b'9', _, _, _, b'-', ..] => Ok(text),
        _ => Err(format!("{text} is not between the years 1000 and 9999")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_for_each_engine() {
        use ScalarValue as S;
        for (value, duck, spark) in [
            (S::Null, "NULL", "NULL"),
            (S::Int16(None), "CAST(NULL AS smallint)", "CAST(NULL AS SMALLINT)"),
            (S::Boolean(Some(true)), "TRUE", "TRUE"),
            (S::Int64(Some(-5)), "-5", "-5L"),
            (S::Int32(Some(5)), "5", "5"),
            (S::Float64(Some(0.1)), "1e-1", "1e-1D"),
            (S::Float64(Some(f64::NEG_INFINITY)), "CAST('-Infinity' AS double)", "CAST('-Infinity' AS DOUBLE)"),
            (S::Decimal128(Some(-150), 5, 2), "CAST(-1.50 AS decimal(5,2))", "CAST(-1.50 AS DECIMAL(5,2))"),
            (S::Utf8View(Some("it's".into())), "'it''s'", "'it\\'s'"),
            (S::Date32(Some(19_723)), "DATE '2024-01-01'", "DATE '2024-01-01'"),
            (
                S::TimestampMillisecond(Some(1_704_103_200_500), None),
                "TIMESTAMP '2024-01-01 10:00:00.500'",
                "TIMESTAMP_NTZ '2024-01-01 10:00:00.500'",
            ),
            (
                S::TimestampNanosecond(Some(1_704_103_200_000_000_000), Some("UTC".into())),
                "TIMESTAMPTZ '2024-01-01 10:00:00+00:00'",
                "TIMESTAMP '2024-01-01 10:00:00+00:00'",
            ),
        ] {
            assert_eq!(literal(&value, Dialect::DuckDb).unwrap(), duck);
            assert_eq!(literal(&value, Dialect::Spark).unwrap(), spark);
        }
        assert!(literal(&S::TimestampNanosecond(Some(1), None), Dialect::Spark).is_err());
        assert!(literal(&S::Date32(Some(-900_000)), Dialect::DuckDb).is_err());
    }

    #[test]
    fn limits_are_in_the_digits_of_the_column() {
        let said = |t: i128, ty: &str| ticks(t, &ty.parse().unwrap(), Dialect::DuckDb);
        assert_eq!(said(-99_000, "decimal(12,2)").unwrap(), "-990.00");
        assert_eq!(said(5, "decimal(5,2)").unwrap(), "0.05");
        assert_eq!(said(i128::from(u64::MAX), "uint64").unwrap(), "18446744073709551615");
        assert_eq!(said(0, "timestamp(s)").unwrap(), "TIMESTAMP '1970-01-01 00:00:00'");
        assert!(said(0, "time(us)").is_err());
    }
}
