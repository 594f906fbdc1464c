//! Types of the server in the binary form in which rows are sent.

use transload_core::LogicalType;
use transload_core::types::Unit;

/// A type whose binary form is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Json,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Uuid,
}

/// Such a type, or an array of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) item: Scalar,
    pub(crate) is_list: bool,
}

impl Wire {
    /// How values of a type of ours are sent; `None` for those that the server has no column for.
    pub(crate) fn of(ty: &LogicalType) -> Option<Self> {
        match ty {
            LogicalType::List(item) => Some(Self { item: scalar(item)?, is_list: true }),
            other => Some(Self { item: scalar(other)?, is_list: false }),
        }
    }

    /// Whether a column of this type, in SQL, takes what is sent.
    pub(crate) fn is_taken_by(self, sql: &str) -> bool {
        let (item, is_list) = match sql.strip_suffix("[]") {
            Some(item) => (item, true),
            None => (sql, false),
        };
        let name = item.split('(').next().unwrap_or(item);
        is_list == self.is_list && self.item.names().contains(&name)
    }
}

/// How values of a type are sent that has no parts.
fn scalar(ty: &LogicalType) -> Option<Scalar> {
    Some(match ty {
        LogicalType::Bool => Scalar::Bool,
        LogicalType::Int(16) => Scalar::Int2,
        LogicalType::Int(32) => Scalar::Int4,
        LogicalType::Int(64) => Scalar::Int8,
        LogicalType::Decimal(..) => Scalar::Numeric,
        LogicalType::Float(32) => Scalar::Float4,
        LogicalType::Float(_) => Scalar::Float8,
        LogicalType::Text => Scalar::Text,
        LogicalType::Json => Scalar::Json,
        LogicalType::Binary => Scalar::Bytea,
        LogicalType::Date => Scalar::Date,
        LogicalType::Time(Unit::Us) => Scalar::Time,
        LogicalType::Timestamp(Unit::Us, None) => Scalar::Timestamp,
        LogicalType::Timestamp(Unit::Us, Some(_)) => Scalar::TimestampTz,
        LogicalType::Uuid => Scalar::Uuid,
        _ => return None,
    })
}

impl Scalar {
    /// The type's number in every server (`pg_type.dat`), which arrays name.
    pub(crate) fn oid(self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Text => 25,
            Self::Json => 114,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::Date => 1082,
            Self::Time => 1083,
            Self::Timestamp => 1114,
            Self::TimestampTz => 1184,
            Self::Numeric => 1700,
            Self::Uuid => 2950,
        }
    }

    /// What SQL calls it, in short and at length.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Bool => ["boolean", "bool"],
            Self::Bytea => ["bytea", "bytea"],
            Self::Int8 => ["bigint", "int8"],
            Self::Int2 => ["smallint", "int2"],
            Self::Int4 => ["integer", "int4"],
            Self::Text => ["text", "text"],
            Self::Json => ["json", "json"],
            Self::Float4 => ["real", "float4"],
            Self::Float8 => ["double precision", "float8"],
            Self::Date => ["date", "date"],
            Self::Time => ["time", "time without time zone"],
            Self::Timestamp => ["timestamp", "timestamp without time zone"],
            Self::TimestampTz => ["timestamptz", "timestamp with time zone"],
            Self::Numeric => ["numeric", "decimal"],
            Self::Uuid => ["uuid", "uuid"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ddl;

    #[test]
    fn what_is_sent_is_what_the_column_is_made_for() {
        for text in [
            "bool",
            "int16",
            "int32",
            "int64",
            "float32",
            "float64",
            "decimal(38,10)",
            "decimal(76,0)",
            "text",
            "binary",
            "date",
            "time(us)",
            "timestamp(us)",
            "timestamp(us, UTC)",
            "uuid",
            "json",
            "list<int32>",
            "list<decimal(10,2)>",
            "list<timestamp(us, UTC)>",
            "list<json>",
        ] {
            let ty: LogicalType = text.parse().unwrap();
            let sql = ddl(&ty).unwrap();
            assert!(Wire::of(&ty).unwrap().is_taken_by(&sql), "{text} as {sql}");
        }
        for text in ["int8", "uint64", "time(ms)", "timestamp(ns)", "interval", "list<list<text>>", "struct<a: text>"] {
            assert_eq!(Wire::of(&text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn another_column_does_not_take_it() {
        let wire = |text: &str| Wire::of(&text.parse().unwrap()).unwrap();
        assert!(wire("int64").is_taken_by("int8") && !wire("int64").is_taken_by("integer"));
        assert!(!wire("list<int64>").is_taken_by("bigint") && !wire("int64").is_taken_by("bigint[]"));
        assert!(wire("timestamp(us)").is_taken_by("timestamp without time zone"));
        assert!(!wire("timestamp(us)").is_taken_by("timestamptz") && !wire("json").is_taken_by("jsonb"));
    }
}
