//! Casts within expressions. They follow the rules of SQL, not those of the rulebook.

use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::Expr;
use transload_core::LogicalType;

use super::{Said, Sql};
use crate::dialect::{Dialect, is_utc};

impl Sql<'_> {
    /// A cast that gives the same values, or fails for the same ones.
    pub(super) fn cast(&self, inner: &Expr, to: &DataType, word: &str) -> Result<Said, String> {
        use LogicalType as T;
        let from = self.logical_type(inner)?;
        let to =
            LogicalType::of(&Field::new("", to.clone(), true)).ok_or_else(|| format!("there is a cast to {to}"))?;
        let said = self.expression(inner)?;
        if from == to || is_layout(&from, &to) {
            return Ok(said);
        }
        let cuts = match (&from, &to) {
            (T::Int(_) | T::UInt(_), T::Int(_) | T::UInt(_) | T::Float(_) | T::Decimal(..) | T::Bool | T::Text)
            | (T::Bool, T::Int(_) | T::UInt(_) | T::Text)
            | (T::Float(_), T::Float(_))
            | (T::Decimal(..), T::Decimal(..) | T::Text)
            | (T::Date, T::Text) => false,
            // More digits than a float has are not rounded alike.
            (T::Decimal(p, _), T::Float(64)) if *p <= 15 => false,
            (T::Float(_) | T::Decimal(..), T::Int(_) | T::UInt(_)) => true,
            (T::Date, T::Timestamp(_, zone)) if zone.as_deref().is_none_or(is_utc) => false,
            (T::Text, to) => {
                return Err(format!(
                    "a cast of text to {to} reads other texts in {}: let `columns` cast the column, by the rulebook",
                    self.dialect.engine()
                ));
            }
            (from, to) => {
                return Err(format!(
                    "a cast of {from} to {to} is not known to mean the same in {}",
                    self.dialect.engine()
                ));
            }
        };
        // A date has no more than microseconds as a timestamp, whatever its unit.
        let to = match to {
            T::Timestamp(_, zone) => T::Timestamp(transload_core::types::Unit::Us, zone),
            to => to,
        };
        let name = self.dialect.type_name(&to)?;
        // DuckDB rounds where the others cut.
        Ok(Said::atom(match self.dialect {
            Dialect::DuckDb if cuts => format!("{word}(trunc({}) AS {name})", said.text),
            _ => format!("{word}({} AS {name})", said.text),
        }))
    }
}

/// Whether only the form in which values are held changes.
fn is_layout(from: &LogicalType, to: &LogicalType) -> bool {
    use LogicalType as T;
    match (from, to) {
        (T::Json, T::Text) => true,
        // Both engines hold microseconds, whatever the unit.
        (T::Timestamp(a, x), T::Timestamp(b, y)) => a <= b && x == y,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use transload_plan::Expressions;

    use super::*;

    fn said(dialect: Dialect, sql: &str) -> Result<String, String> {
        let columns = [
            ("a", "int32"),
            ("f", "float64"),
            ("d", "decimal(12,2)"),
            ("t", "text"),
            ("day", "date"),
            ("ms", "timestamp(ms)"),
        ];
        let field = |(name, ty): (&str, &str)| ty.parse::<LogicalType>().unwrap().to_field(name, true);
        let expressions = Expressions::new(&Arc::new(Schema::new(columns.map(field).to_vec()))).unwrap();
        let expr = expressions.logical(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        Sql { dialect, schema: expressions.schema() }.text(&expr)
    }

    #[test]
    fn casts_cut_and_round_alike() {
        for (sql, duck, spark) in [
            ("cast(a as bigint)", "CAST(\"a\" AS bigint)", "CAST(`a` AS BIGINT)"),
            ("cast(f as int)", "CAST(trunc(\"f\") AS integer)", "CAST(`f` AS INT)"),
            ("try_cast(d as smallint)", "TRY_CAST(trunc(\"d\") AS smallint)", "TRY_CAST(`d` AS SMALLINT)"),
            ("cast(d as decimal(9,1))", "CAST(\"d\" AS decimal(9,1))", "CAST(`d` AS DECIMAL(9,1))"),
            ("cast(day as timestamp)", "CAST(\"day\" AS timestamp)", "CAST(`day` AS TIMESTAMP_NTZ)"),
            ("cast(a as varchar)", "CAST(\"a\" AS varchar)", "CAST(`a` AS STRING)"),
        ] {
            assert_eq!(said(Dialect::DuckDb, sql).as_deref(), Ok(duck), "{sql}");
            assert_eq!(said(Dialect::Spark, sql).as_deref(), Ok(spark), "{sql}");
        }
    }

    #[test]
    fn casts_that_differ_are_refused() {
        for sql in [
            "cast(t as int)",
            "cast(t as date)",
            "cast(f as decimal(9,2))",
            "cast(f as varchar)",
            "cast(ms as varchar)",
        ] {
            assert!(said(Dialect::Spark, sql).is_err(), "{sql}");
            assert!(said(Dialect::DuckDb, sql).is_err(), "{sql}");
        }
    }
}
