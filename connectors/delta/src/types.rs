//! The types of Delta tables and ours: one table, both directions.

use deltalake_core::kernel::{ArrayType, DataType, MapType, PrimitiveType, StructField, StructType};
use transload_core::types::Unit;
use transload_core::{Error, LogicalType, Result};

/// The zone of Delta's timestamps.
const UTC: &str = "UTC";

/// The table.
const PRIMITIVES: [(PrimitiveType, LogicalType); 11] = [
    (PrimitiveType::Boolean, LogicalType::Bool),
    (PrimitiveType::Byte, LogicalType::Int(8)),
    (PrimitiveType::Short, LogicalType::Int(16)),
    (PrimitiveType::Integer, LogicalType::Int(32)),
    (PrimitiveType::Long, LogicalType::Int(64)),
    (PrimitiveType::Float, LogicalType::Float(32)),
    (PrimitiveType::Double, LogicalType::Float(64)),
    (PrimitiveType::String, LogicalType::Text),
    (PrimitiveType::Binary, LogicalType::Binary),
    (PrimitiveType::Date, LogicalType::Date),
    (PrimitiveType::TimestampNtz, LogicalType::Timestamp(Unit::Us, None)),
];

/// Our type for one of Delta's; `None` where there is none.
pub(crate) fn logical(ty: &DataType) -> Option<LogicalType> {
    Some(match ty {
        DataType::Primitive(PrimitiveType::Timestamp) => LogicalType::Timestamp(Unit::Us, Some(UTC.to_string())),
        DataType::Primitive(PrimitiveType::Decimal(d)) => {
            LogicalType::Decimal(d.precision(), i8::try_from(d.scale()).ok()?)
        }
        DataType::Primitive(primitive) => PRIMITIVES.iter().find(|(theirs, _)| theirs == primitive)?.1.clone(),
        DataType::Array(array) => LogicalType::List(Box::new(logical(array.element_type())?)),
        DataType::Struct(fields) => {
            let field = |f: &StructField| Some((f.name().clone(), logical(f.data_type())?));
            LogicalType::Struct(fields.fields().map(field).collect::<Option<_>>()?)
        }
        DataType::Map(map) => {
            LogicalType::Map(Box::new(logical(map.key_type())?), Box::new(logical(map.value_type())?))
        }
        DataType::Variant(_) => return None,
    })
}

/// Delta's type for one of ours.
///
/// # Errors
/// A cast that makes a type of it which Delta has, as a hint; nothing is changed without being asked for.
pub(crate) fn delta(ty: &LogicalType) -> Result<DataType> {
    Ok(match ty {
        LogicalType::Timestamp(Unit::Us, Some(zone)) if zone == UTC || zone == "+00:00" => DataType::TIMESTAMP,
        LogicalType::Decimal(precision, scale) if *precision <= 38 => {
            DataType::decimal(*precision, scale.unsigned_abs()).map_err(|_| Error::internal("a decimal is broken"))?
        }
        LogicalType::List(item) => ArrayType::new(delta(item)?, true).into(),
        LogicalType::Struct(fields) => {
            let field = |(name, ty): &(String, LogicalType)| Ok(StructField::nullable(name, delta(ty)?));
            let fields: Vec<StructField> = fields.iter().map(field).collect::<Result<_>>()?;
            StructType::try_new(fields).map_err(|_| Error::config("a struct has two fields of one name"))?.into()
        }
        LogicalType::Map(key, value) => MapType::new(delta(key)?, delta(value)?, true).into(),
        other => match PRIMITIVES.iter().find(|(_, ours)| ours == other) {
            Some((theirs, _)) => DataType::Primitive(theirs.clone()),
            None => {
                let cast = match plain_instead_of(other) {
                    Some(LogicalType::Text) if matches!(other, LogicalType::Decimal(..)) => {
                        "text, or to a decimal of at most 38 digits".to_string()
                    }
                    cast => cast.unwrap_or(LogicalType::Text).to_string(),
                };
                return Err(Error::config(format!("Delta has no type that holds {other}"))
                    .hint(format!("cast the column to {cast}")));
            }
        },
    })
}

/// The type of ours that holds every value of one that Delta lacks, and that Delta has; `None` for one that it has.
pub(crate) fn instead_of(ty: &LogicalType) -> Option<LogicalType> {
    ty.with_parts(&plain_instead_of)
}

fn plain_instead_of(ty: &LogicalType) -> Option<LogicalType> {
    use LogicalType as T;
    Some(match ty {
        T::UInt(8) => T::Int(16),
        T::UInt(16) => T::Int(32),
        T::UInt(32) => T::Int(64),
        T::UInt(_) => T::Decimal(20, 0),
        T::Timestamp(Unit::Us, None) => return None,
        T::Timestamp(_, None) => T::Timestamp(Unit::Us, None),
        T::Timestamp(Unit::Us, Some(zone)) if zone == UTC || zone == "+00:00" => return None,
        T::Timestamp(_, Some(_)) => T::Timestamp(Unit::Us, Some(UTC.to_string())),
        T::Decimal(precision, _) if *precision > 38 => T::Text,
        T::Time(_) | T::Interval | T::Uuid | T::Json => T::Text,
        _ => return None,
    })
}

/// Whether columns of two of our types are columns of the same type in a table.
pub(crate) fn alike(a: &LogicalType, b: &LogicalType) -> bool {
    match (delta(a), delta(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Whether values of the type can name a partition and come back as they were.
pub(crate) fn names_partitions(ty: &LogicalType) -> bool {
    matches!(ty, LogicalType::Bool | LogicalType::Int(_) | LogicalType::Text | LogicalType::Date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_delta_has_comes_back() {
        for text in [
            "bool",
            "int8",
            "int16",
            "int32",
            "int64",
            "float32",
            "float64",
            "decimal(38,10)",
            "decimal(1,0)",
            "text",
            "binary",
            "date",
            "timestamp(us)",
            "timestamp(us, UTC)",
            "list<int32>",
            "struct<a: text, b: list<decimal(5,2)>>",
            "map<text, struct<x: date>>",
        ] {
            let ty: LogicalType = text.parse().unwrap();
            assert_eq!(logical(&delta(&ty).unwrap()), Some(ty), "{text}");
        }
    }

    #[test]
    fn a_type_that_delta_lacks_is_refused_with_a_cast_that_helps() {
        for (text, cast) in [
            ("uint8", "int16"),
            ("uint64", "decimal(20,0)"),
            ("timestamp(ns)", "timestamp(us)"),
            ("timestamp(us, Europe/Berlin)", "timestamp(us, UTC)"),
            ("time(us)", "text"),
            ("uuid", "text"),
            ("list<uint16>", "int32"),
            ("decimal(39,0)", "text, or to a decimal of at most 38 digits"),
        ] {
            let ty: LogicalType = text.parse().unwrap();
            let error = delta(&ty).unwrap_err();
            assert_eq!(error.hint_text(), Some(format!("cast the column to {cast}").as_str()), "{text}");
            delta(&instead_of(&ty).unwrap()).unwrap();
        }
        for has in ["int8", "decimal(38,2)", "timestamp(us, +00:00)", "list<struct<a: text>>"] {
            assert_eq!(instead_of(&has.parse().unwrap()), None, "{has}");
        }
    }
}
