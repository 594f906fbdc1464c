//! Casts of the rulebook that the job's `cast` does in the same way.

use transload_core::LogicalType;
use transload_core::types::Unit;

use crate::dialect::is_utc;

/// Whether a job casts values just as transload does.
///
/// # Errors
/// A sentence, if it does not.
pub(super) fn check(from: &LogicalType, to: &LogicalType) -> Result<(), String> {
    use LogicalType as T;
    let whole = |ty: &T| matches!(ty, T::Int(_) | T::UInt(_));
    let short = |ty: &T| !matches!(ty, T::Decimal(p, _) if *p > 38);
    let clock = |ty: &T| match ty {
        T::Timestamp(unit, zone) => *unit != Unit::Ns && zone.as_deref().is_none_or(is_utc),
        _ => false,
    };
    let can = match (from, to) {
        (from, to) if from == to => true,
        (T::List(from), T::List(to)) => return check(from, to),
        (T::Struct(from), T::Struct(to)) => {
            for (name, ty) in to {
                if let Some((_, from)) = from.iter().find(|(known, _)| known == name) {
                    check(from, ty)?;
                }
            }
            true
        }
        (T::Text, T::Bool | T::Float(_) | T::Date | T::Uuid | T::Binary) => true,
        (T::Text, to) if whole(to) || clock(to) => true,
        (T::Text, to @ T::Decimal(..)) => short(to),
        (from, T::Bool | T::Float(_) | T::Text) if whole(from) => true,
        (from, to @ T::Decimal(..)) if whole(from) => short(to),
        (from, to) if whole(from) && whole(to) => true,
        (T::Bool, T::Text) => true,
        (T::Bool, to) if whole(to) => true,
        (T::Decimal(p, _), T::Float(64)) => *p <= 15,
        (T::Decimal(..), T::Decimal(..)) => short(from) && short(to),
        (T::Decimal(..), T::Text) => short(from),
        (T::Decimal(..), to) if whole(to) => short(from),
        (T::Float(_), T::Float(_)) => true,
        // Spark goes by the decimal digits of a float.
        (T::Float(_), to) if whole(to) => *to != T::UInt(64),
        (T::Date, T::Text) => true,
        (T::Date, to) => clock(to),
        (from, T::Date) => clock(from),
        (from @ T::Timestamp(..), to @ T::Timestamp(..)) => clock(from) && clock(to),
        (T::Binary, T::Text | T::Uuid) | (T::Uuid, T::Text | T::Binary) | (T::Json, T::Text) => true,
        _ => false,
    };
    if can { Ok(()) } else { Err(format!("Spark has no cast from {from} to {to} that gives the same values")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_are_done_alike_or_refused() {
        let check = |from: &str, to: &str| check(&from.parse().unwrap(), &to.parse().unwrap());
        for (from, to) in [
            ("text", "decimal(12,2)"),
            ("text", "timestamp(us, UTC)"),
            ("int64", "uint8"),
            ("uint64", "text"),
            ("decimal(15,2)", "float64"),
            ("date", "timestamp(ms)"),
            ("timestamp(us)", "timestamp(s, UTC)"),
            ("list<text>", "list<int64>"),
            ("struct<a: text, b: text>", "struct<a: date, b: text>"),
        ] {
            assert_eq!(check(from, to), Ok(()), "{from} to {to}");
        }
        for (from, to) in [
            ("text", "decimal(50,2)"),
            ("text", "time(us)"),
            ("text", "timestamp(ns)"),
            ("text", "timestamp(us, Europe/Berlin)"),
            ("float64", "text"),
            ("float64", "uint64"),
            ("float64", "decimal(9,2)"),
            ("decimal(30,2)", "float64"),
            ("timestamp(us)", "text"),
            ("list<text>", "list<json>"),
            ("map<text, text>", "map<text, int8>"),
        ] {
            assert!(check(from, to).unwrap_err().contains("no cast"), "{from} to {to}");
        }
    }
}
