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
    let no = |cast: &str| {
        Err(Error::config(format!("Delta has no type that holds {ty}")).hint(format!("cast the column to {cast}")))
    };
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
        LogicalType::UInt(8) => return no("int16"),
        LogicalType::UInt(16) => return no("int32"),
        LogicalType::UInt(32) => return no("int64"),
        LogicalType::UInt(_) => return no("decimal(20,0)"),
        LogicalType::Timestamp(unit, None) if *unit != Unit::Us => return no("timestamp(us)"),
        LogicalType::Timestamp(_, Some(_)) => return no("timestamp(us, UTC)"),
        LogicalType::Decimal(..) => return no("text, or to a decimal of at most 38 digits"),
        LogicalType::Time(_) | LogicalType::Interval | LogicalType::Uuid | LogicalType::Json => return no("text"),
        other => match PRIMITIVES.iter().find(|(_, ours)| ours == other) {
            Some((theirs, _)) => DataType::Primitive(theirs.clone()),
            None => return no("text"),
        },
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
            let error = delta(&text.parse().unwrap()).unwrap_err();
            assert_eq!(error.hint_text(), Some(format!("cast the column to {cast}").as_str()), "{text}");
        }
    }
}
