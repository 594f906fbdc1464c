//! The two kinds of SQL that are written, and how each spells names, texts and types.

use transload_core::LogicalType;
use transload_core::types::Unit;

/// Whose SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// That of DuckDB, in which dbt speaks to a lake.
    DuckDb,
    /// That of Spark.
    Spark,
}

impl Dialect {
    /// How a person calls the engine.
    pub(crate) fn engine(self) -> &'static str {
        match self {
            Self::DuckDb => "DuckDB",
            Self::Spark => "Spark",
        }
    }

    /// A name of a column.
    pub(crate) fn name(self, name: &str) -> String {
        match self {
            Self::DuckDb => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::Spark => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// A text as a literal.
    pub(crate) fn text(self, text: &str) -> String {
        match self {
            Self::DuckDb => format!("'{}'", text.replace('\'', "''")),
            Self::Spark => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        }
    }

    /// The type that holds the values, for a cast.
    ///
    /// # Errors
    /// A sentence, if there is none that holds them all.
    pub(crate) fn type_name(self, ty: &LogicalType) -> Result<String, String> {
        use LogicalType as T;
        let plain = |duck: &str, spark: &str| match self {
            Self::DuckDb => duck.to_string(),
            Self::Spark => spark.to_string(),
        };
        Ok(match ty {
            T::Bool => plain("boolean", "BOOLEAN"),
            T::Int(8) => plain("tinyint", "TINYINT"),
            T::Int(16) => plain("smallint", "SMALLINT"),
            T::Int(32) => plain("integer", "INT"),
            T::Int(_) => plain("bigint", "BIGINT"),
            // Spark has no unsigned numbers, and holds them in wider ones.
            T::UInt(8) => plain("utinyint", "SMALLINT"),
            T::UInt(16) => plain("usmallint", "INT"),
            T::UInt(32) => plain("uinteger", "BIGINT"),
            T::UInt(_) => plain("ubigint", "DECIMAL(20,0)"),
            T::Float(32) => plain("float", "FLOAT"),
            T::Float(_) => plain("double", "DOUBLE"),
            T::Decimal(p, s) if *p <= 38 => plain(&format!("decimal({p},{s})"), &format!("DECIMAL({p},{s})")),
            T::Text => plain("varchar", "STRING"),
            T::Json => plain("json", "STRING"),
            T::Binary => plain("blob", "BINARY"),
            T::Date => plain("date", "DATE"),
            T::Timestamp(Unit::S | Unit::Ms | Unit::Us, None) => plain("timestamp", "TIMESTAMP_NTZ"),
            T::Timestamp(Unit::S | Unit::Ms | Unit::Us, Some(_)) => plain("timestamptz", "TIMESTAMP"),
            T::Timestamp(Unit::Ns, None) if self == Self::DuckDb => "timestamp_ns".to_string(),
            // DuckDB 1 cuts what is finer than microseconds.
            T::Timestamp(Unit::Ns, Some(_)) if self == Self::DuckDb => "timestamptz".to_string(),
            T::Time(_) if self == Self::DuckDb => "time".to_string(),
            T::Uuid if self == Self::DuckDb => "uuid".to_string(),
            T::List(item) if self == Self::DuckDb => format!("{}[]", self.type_name(item)?),
            T::Struct(fields) if self == Self::DuckDb => {
                let fields: Result<Vec<String>, String> = fields
                    .iter()
                    .map(|(name, ty)| Ok(format!("{} {}", self.name(name), self.type_name(ty)?)))
                    .collect();
                format!("struct({})", fields?.join(", "))
            }
            T::Map(key, value) if self == Self::DuckDb => {
                format!("map({}, {})", self.type_name(key)?, self.type_name(value)?)
            }
            other => return Err(format!("{} has no type that holds {other}", self.engine())),
        })
    }

    /// Whether values of this type mean the same in expressions.
    pub(crate) fn computes(self, ty: &LogicalType) -> bool {
        use LogicalType as T;
        match ty {
            T::Bool | T::Int(_) | T::UInt(_) | T::Float(_) | T::Text | T::Json | T::Binary | T::Date => true,
            T::Decimal(p, _) => *p <= 38,
            T::Timestamp(unit, zone) => *unit != Unit::Ns && zone.as_deref().is_none_or(is_utc),
            T::Uuid => self == Self::DuckDb,
            T::Time(_) | T::Interval | T::List(_) | T::Struct(_) | T::Map(..) => false,
        }
    }
}

/// Whether a zone shows points in time by the clock of UTC.
pub(crate) fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "+00:00" | "Etc/UTC" | "Z")
}

/// Whether DuckDB 1 reads such values with less than they have, and how that is said to a person.
pub(crate) fn cut_by_duckdb(ty: &LogicalType) -> bool {
    use LogicalType as T;
    match ty {
        T::Time(Unit::Ns) | T::Timestamp(Unit::Ns, Some(_)) => true,
        T::List(item) => cut_by_duckdb(item),
        T::Struct(fields) => fields.iter().any(|(_, ty)| cut_by_duckdb(ty)),
        T::Map(key, value) => cut_by_duckdb(key) || cut_by_duckdb(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted_as_each_engine_wants() {
        assert_eq!(Dialect::DuckDb.name("a\"b"), "\"a\"\"b\"");
        assert_eq!(Dialect::Spark.name("a`b.c"), "`a``b.c`");
        assert_eq!(Dialect::DuckDb.text("it's \\"), "'it''s \\'");
        assert_eq!(Dialect::Spark.text("it's \\"), "'it\\'s \\\\'");
    }

    #[test]
    fn types_have_their_names() {
        let name = |dialect: Dialect, ty: &str| dialect.type_name(&ty.parse().unwrap());
        for (ty, duck, spark) in [
            ("int32", "integer", "INT"),
            ("uint64", "ubigint", "DECIMAL(20,0)"),
            ("decimal(12,2)", "decimal(12,2)", "DECIMAL(12,2)"),
            ("timestamp(ms)", "timestamp", "TIMESTAMP_NTZ"),
            ("timestamp(us, UTC)", "timestamptz", "TIMESTAMP"),
        ] {
            assert_eq!(name(Dialect::DuckDb, ty).unwrap(), duck);
            assert_eq!(name(Dialect::Spark, ty).unwrap(), spark);
        }
        let nested = "struct<\"a b\": list<uuid>, m: map<text, int8>>";
        assert_eq!(name(Dialect::DuckDb, nested).unwrap(), "struct(\"a b\" uuid[], \"m\" map(varchar, tinyint))");
        assert!(name(Dialect::Spark, "time(us)").is_err());
        assert!(name(Dialect::DuckDb, "list<decimal(50,2)>").unwrap_err().contains("decimal(50,2)"));
    }
}
