//! Whether the values of a file can be read as the types that the table's log gives to its columns.

use arrow::datatypes::Schema;
use transload_core::types::has_wide_dates;
use transload_core::{Error, LogicalType, Result};

use crate::legacy::UTC;
use crate::parquet::ParquetFile;

/// Refuses a file with a column in which a value may not be what it is in the file once it is read as the table's column.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for the first one, and for a column that the file lacks and that may not
/// be NULL.
pub(crate) fn check(file: &ParquetFile, columns: &Schema) -> Result<()> {
    let named = |e: Error, column: &str| e.with("column", column).with("path", file.object.meta.location.to_string());
    for column in columns.fields() {
        let Ok(own) = file.schema.field_with_name(column.name()) else {
            match column.is_nullable() {
                true => continue,
                false => {
                    return Err(named(Error::config("the file lacks a column that may not be NULL"), column.name()));
                }
            }
        };
        let types = LogicalType::of(own).zip(LogicalType::of(column));
        let is_clock = file.reading.is_shifted(own.name());
        let fits = match &types {
            Some((own, table)) => fits(own, table, is_clock),
            None => false,
        };
        if (fits && !has_wide_dates(own.data_type())) || own.data_type() == column.data_type() {
            continue;
        }
        let [own, table] = match types {
            Some((own, table)) => [own.to_string(), table.to_string()],
            None => [own.data_type().to_string(), column.data_type().to_string()],
        };
        let said = format!("the file holds {own} where the table's log says {table}, which may not hold it exactly");
        return Err(named(Error::config(said), column.name())
            .hint("set `types: files` at the connection: columns have the types that the files have, then"));
    }
    Ok(())
}

/// Whether every value of the first type is exactly itself in the second one. `is_clock` is for timestamps without a zone
/// that show the wall clock of another one than UTC.
fn fits(own: &LogicalType, table: &LogicalType, is_clock: bool) -> bool {
    use LogicalType as T;
    let is_utc = |zone: &str| UTC.contains(&zone);
    match (own, table) {
        _ if own == table => true,
        // INT96 and old writers do not note the zone. What the log calls a point in time is stored in UTC.
        (T::Timestamp(a, None), T::Timestamp(b, Some(zone))) => a <= b && is_utc(zone) && !is_clock,
        (T::Timestamp(a, Some(x)), T::Timestamp(b, Some(y))) => a <= b && is_utc(x) && is_utc(y),
        (T::Date, T::Timestamp(_, None)) => true,
        (T::List(a), T::List(b)) => fits(a, b, is_clock),
        // Parts go by their names; one that is missing is NULL.
        (T::Struct(a), T::Struct(b)) => {
            let part = |(name, ty): &(String, T)| b.iter().any(|(n, t)| n == name && fits(ty, t, is_clock));
            !a.is_empty() && a.iter().all(part)
        }
        (T::Map(a, x), T::Map(b, y)) => [(a, b), (x, y)]
            .iter()
            .all(|(own, table)| own == table || (!is_nested(own) && !is_nested(table) && fits(own, table, is_clock))),
        _ if is_nested(own) || is_nested(table) => false,
        _ => own.supertype(table).as_ref() == Some(table),
    }
}

fn is_nested(ty: &LogicalType) -> bool {
    matches!(ty, LogicalType::List(_) | LogicalType::Struct(_) | LogicalType::Map(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(own: &str, table: &str) -> bool {
        fits(&own.parse().unwrap(), &table.parse().unwrap(), false)
    }

    #[test]
    fn what_a_wider_type_holds_fits() {
        for (own, table) in [
            ("int8", "int64"),
            ("int32", "float64"),
            ("float32", "float64"),
            ("int8", "decimal(4,1)"),
            ("int64", "decimal(20,0)"),
            ("decimal(10,2)", "decimal(20,5)"),
            ("uint8", "int16"),
            ("date", "timestamp(us)"),
            ("timestamp(ms)", "timestamp(us)"),
            ("timestamp(us)", "timestamp(us, UTC)"),
            ("timestamp(ms, +00:00)", "timestamp(us, UTC)"),
            ("list<int32>", "list<int64>"),
            ("struct<b: int32, a: text>", "struct<a: text, b: int64, c: date>"),
            ("map<text, int32>", "map<text, int64>"),
        ] {
            assert!(fit(own, table), "{own} {table}");
        }
    }

    #[test]
    fn what_may_be_cut_does_not_fit() {
        for (own, table) in [
            ("int64", "int32"),
            ("int64", "float64"),
            ("float64", "float32"),
            ("decimal(10,2)", "decimal(10,3)"),
            ("uint64", "int64"),
            ("timestamp(ns)", "timestamp(us)"),
            ("timestamp(ns)", "timestamp(us, UTC)"),
            ("timestamp(us, UTC)", "timestamp(us)"),
            ("timestamp(us, Europe/Berlin)", "timestamp(us, UTC)"),
            ("date", "timestamp(us, UTC)"),
            ("timestamp(us)", "date"),
            ("text", "int64"),
            ("list<int64>", "list<int32>"),
            ("struct<a: text, d: text>", "struct<a: text, b: text>"),
            ("map<text, struct<a: text>>", "map<text, struct<a: text, b: text>>"),
            ("text", "list<text>"),
        ] {
            assert!(!fit(own, table), "{own} {table}");
        }
        let [clock, utc] = ["timestamp(us)", "timestamp(us, UTC)"].map(|ty| ty.parse::<LogicalType>().unwrap());
        assert!(!fits(&clock, &utc, true), "a clock of another zone");
    }
}
