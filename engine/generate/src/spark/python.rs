//! Types and lists as Python.

use transload_core::LogicalType;
use transload_core::types::Unit;

use crate::quote::python;

/// A type, by the names that the job has for them.
///
/// # Errors
/// A sentence, if a job cannot hold such values.
pub(super) fn type_text(ty: &LogicalType) -> Result<String, String> {
    use LogicalType as T;
    Ok(match ty {
        T::Decimal(precision, scale) => format!("decimal({precision}, {scale})"),
        T::Time(unit) => format!("time({})", python(unit_text(*unit))),
        T::Timestamp(unit, None) => format!("timestamp({})", python(unit_text(*unit))),
        T::Timestamp(unit, Some(zone)) => format!("timestamp({}, {})", python(unit_text(*unit)), python(zone)),
        T::List(item) => format!("list_of({})", type_text(item)?),
        T::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, ty)| Ok(format!("({}, {})", python(name), type_text(ty)?)))
                .collect::<Result<_, String>>()?;
            format!("struct_of({})", fields.join(", "))
        }
        T::Map(key, value) => format!("map_of({}, {})", type_text(key)?, type_text(value)?),
        T::Interval => return Err("Parquet has no intervals".to_string()),
        plain => python(plain.family()),
    })
}

fn unit_text(unit: Unit) -> &'static str {
    match unit {
        Unit::S => "s",
        Unit::Ms => "ms",
        Unit::Us => "us",
        Unit::Ns => "ns",
    }
}

/// A name that is given to a list.
pub(super) fn list(name: &str, items: &[String]) -> Vec<String> {
    let mut lines = vec![format!("{name} = [")];
    lines.extend(items.iter().map(|item| format!("    {item},")));
    lines.push("]".to_string());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_the_job_names_them() {
        for (ty, text) in [
            ("int32", "\"int32\""),
            ("decimal(12,2)", "decimal(12, 2)"),
            ("timestamp(ns)", "timestamp(\"ns\")"),
            ("timestamp(us, UTC)", "timestamp(\"us\", \"UTC\")"),
            ("list<struct<a: int8>>", "list_of(struct_of((\"a\", \"int8\")))"),
            ("map<text, time(ms)>", "map_of(\"text\", time(\"ms\"))"),
        ] {
            assert_eq!(type_text(&ty.parse().unwrap()).as_deref(), Ok(text));
        }
        assert!(type_text(&LogicalType::Interval).is_err());
    }
}
