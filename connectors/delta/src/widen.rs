//! Columns that become wider, by the rules of Delta's protocol, section Type Widening.

use deltalake_core::kernel::{
    ArrayType, DataType, DecimalType, MapType, Metadata, MetadataExt, MetadataValue, PrimitiveType, Protocol,
    StructField, StructType,
};
use serde::Deserialize;
use serde_json::{Value, json};
use transload_core::{Error, LogicalType, Result};

use crate::features::{self, WIDENING};
use crate::types::logical;

/// The property of tables whose columns may become wider.
const ENABLED: &str = "delta.enableTypeWidening";

/// Under which name a field's metadata holds the types that it has had.
const CHANGES: &str = "delta.typeChanges";

/// One of them.
#[derive(Deserialize)]
struct Change {
    #[serde(rename = "fromType")]
    from: DataType,
    #[serde(rename = "toType")]
    to: DataType,
}

/// The field with a type that is at least as wide, and the change noted where it is wider; `None` if it cannot become that.
pub(crate) fn widened(field: &StructField, to: &DataType) -> Option<StructField> {
    let mut changes = Vec::new();
    let mut field = StructField { data_type: wider(field.data_type(), to, &[], &mut changes)?, ..field.clone() };
    if changes.is_empty() {
        return Some(field);
    }
    let mut noted = match field.metadata.remove(CHANGES) {
        None => Vec::new(),
        Some(MetadataValue::Other(Value::Array(noted))) => noted,
        Some(_) => return None,
    };
    noted.extend(changes);
    field.metadata.insert(CHANGES.to_string(), MetadataValue::Other(Value::Array(noted)));
    Some(field)
}

/// The same for a type that lies on a path below its field.
fn wider(from: &DataType, to: &DataType, path: &[&str], changes: &mut Vec<Value>) -> Option<DataType> {
    let mut inside = |part, from, to| wider(from, to, &[path, &[part]].concat(), changes);
    Some(match (from, to) {
        (DataType::Array(a), DataType::Array(b)) => {
            ArrayType::new(inside("element", a.element_type(), b.element_type())?, a.contains_null()).into()
        }
        (DataType::Map(a), DataType::Map(b)) => {
            let key = inside("key", a.key_type(), b.key_type())?;
            MapType::new(key, inside("value", a.value_type(), b.value_type())?, a.value_contains_null()).into()
        }
        // The fields of a struct hold what is noted of them.
        (DataType::Struct(a), DataType::Struct(b)) if a.num_fields() == b.num_fields() => {
            let field = |(own, other): (&StructField, &StructField)| match own.name() == other.name() {
                true => widened(own, other.data_type()),
                false => None,
            };
            let fields: Vec<StructField> = a.fields().zip(b.fields()).map(field).collect::<Option<_>>()?;
            StructType::try_new(fields).ok()?.into()
        }
        (DataType::Primitive(a), DataType::Primitive(b)) if a == b => from.clone(),
        (DataType::Primitive(a), DataType::Primitive(b)) if can_widen(a, b) => {
            let mut change = json!({ "fromType": from, "toType": to });
            if !path.is_empty() {
                change["fieldPath"] = path.join(".").into();
            }
            changes.push(change);
            to.clone()
        }
        _ => return None,
    })
}

/// Whether the protocol lets a column of the first type become one of the second.
fn can_widen(from: &PrimitiveType, to: &PrimitiveType) -> bool {
    use PrimitiveType as P;
    let whole = |decimal: &DecimalType| decimal.precision() - decimal.scale();
    match (from, to) {
        (P::Byte | P::Short | P::Integer, P::Decimal(to)) => whole(to) >= 10,
        (P::Long, P::Decimal(to)) => whole(to) >= 20,
        (P::Decimal(from), P::Decimal(to)) => from != to && to.scale() >= from.scale() && whole(to) >= whole(from),
        _ => matches!(
            (from, to),
            (P::Byte, P::Short | P::Integer | P::Long)
                | (P::Short, P::Integer | P::Long)
                | (P::Integer, P::Long)
                | (P::Byte | P::Short | P::Integer | P::Float, P::Double)
                | (P::Date, P::TimestampNtz)
        ),
    }
}

/// Whether a column of the first schema has another type in the second one.
pub(crate) fn has_widened(before: &StructType, after: &StructType) -> bool {
    after.fields().any(|field| before.field(field.name()).is_some_and(|own| own.data_type() != field.data_type()))
}

/// What a table with columns that become wider asks of its readers and writers, if it did not do so before.
pub(crate) fn protocol(now: &Protocol, has_local_timestamps: bool) -> Result<Option<Protocol>> {
    match has_local_timestamps {
        true => features::with(now, &[WIDENING, "timestampNtz"]),
        false => features::with(now, &[WIDENING]),
    }
}

/// The metadata of a table whose columns may become wider.
pub(crate) fn enabled(metadata: Metadata) -> Result<Metadata, deltalake_core::kernel::Error> {
    metadata.add_config_key(ENABLED.to_string(), "true".to_string())
}

/// Refuses a table with a column that has had a type whose values are not known to be exactly themselves in its new one.
pub(crate) fn check_changes(schema: &StructType) -> Result<()> {
    schema.fields().try_for_each(|field| check_field(field).map_err(|e| e.with("column", field.name())))
}

fn check_field(field: &StructField) -> Result<()> {
    if let Some(noted) = field.metadata.get(CHANGES) {
        let unreadable = || Error::config("what the log says of a column's former types cannot be read");
        let MetadataValue::Other(noted) = noted else { return Err(unreadable()) };
        let changes: Vec<Change> = serde_json::from_value(noted.clone()).map_err(|_| unreadable())?;
        if let Some(Change { from, to }) = changes.iter().find(|change| !is_known(change)) {
            return Err(Error::config(format!("a column has become {to} and was {from}, which cannot be read here"))
                .hint("rewrite the table with the program that changed it"));
        }
    }
    check_parts(field.data_type())
}

fn check_parts(ty: &DataType) -> Result<()> {
    match ty {
        DataType::Struct(fields) => fields.fields().try_for_each(check_field),
        DataType::Array(array) => check_parts(array.element_type()),
        DataType::Map(map) => {
            check_parts(map.key_type())?;
            check_parts(map.value_type())
        }
        DataType::Primitive(_) | DataType::Variant(_) => Ok(()),
    }
}

/// Whether what was written before a change can be read after it. Programs have made some that the protocol does not list.
fn is_known(change: &Change) -> bool {
    match (logical(&change.from), logical(&change.to)) {
        (Some(LogicalType::Date), Some(LogicalType::Timestamp(_, None))) => true,
        (Some(from), Some(to)) => from.supertype(&to) == Some(to),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::delta;

    fn ty(text: &str) -> DataType {
        delta(&text.parse().unwrap()).unwrap()
    }

    fn column(text: &str) -> StructField {
        StructField::nullable("c", ty(text))
    }

    /// What is noted of a column that becomes wider.
    fn noted(from: &str, to: &str) -> Option<Value> {
        let field = widened(&column(from), &ty(to))?;
        assert_eq!(*field.data_type(), ty(to));
        Some(field.metadata.get(CHANGES).map_or(Value::Null, |noted| serde_json::to_value(noted).unwrap()))
    }

    #[test]
    fn what_the_protocol_allows_is_done_and_noted() {
        for (from, to, theirs) in [
            ("int8", "int16", ["byte", "short"]),
            ("int8", "int64", ["byte", "long"]),
            ("int16", "int32", ["short", "integer"]),
            ("int32", "int64", ["integer", "long"]),
            ("float32", "float64", ["float", "double"]),
            ("int32", "float64", ["integer", "double"]),
            ("date", "timestamp(us)", ["date", "timestamp_ntz"]),
            ("int8", "decimal(10,0)", ["byte", "decimal(10,0)"]),
            ("int32", "decimal(12,2)", ["integer", "decimal(12,2)"]),
            ("int64", "decimal(20,0)", ["long", "decimal(20,0)"]),
            ("decimal(5,2)", "decimal(6,2)", ["decimal(5,2)", "decimal(6,2)"]),
            ("decimal(5,2)", "decimal(8,4)", ["decimal(5,2)", "decimal(8,4)"]),
        ] {
            let [before, after] = theirs;
            let expected = json!([{ "fromType": before, "toType": after }]);
            assert_eq!(noted(from, to), Some(expected), "{from} {to}");
            assert_eq!(noted(to, from), None, "{to} {from}");
            assert_eq!(noted(to, to), Some(Value::Null), "{to}");
        }
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_not_done() {
        for (from, to) in [
            ("int64", "float64"),
            ("int32", "decimal(9,0)"),
            ("int64", "decimal(19,0)"),
            ("int32", "decimal(11,2)"),
            ("decimal(5,2)", "decimal(5,3)"),
            ("decimal(5,2)", "float64"),
            ("float32", "decimal(38,10)"),
            ("date", "timestamp(us, UTC)"),
            ("timestamp(us)", "timestamp(us, UTC)"),
            ("int32", "text"),
            ("bool", "int8"),
            ("text", "list<text>"),
            ("struct<a: int8>", "struct<a: int8, b: text>"),
            ("struct<a: int8, b: text>", "struct<b: text, a: int8>"),
        ] {
            assert_eq!(noted(from, to), None, "{from} {to}");
        }
    }

    #[test]
    fn parts_of_a_column_become_wider_where_they_are() {
        let list = json!([{ "fromType": "integer", "toType": "long", "fieldPath": "element" }]);
        assert_eq!(noted("list<int32>", "list<int64>"), Some(list));
        let map = json!([
            { "fromType": "byte", "toType": "short", "fieldPath": "key" },
            { "fromType": "float", "toType": "double", "fieldPath": "value.element" },
        ]);
        assert_eq!(noted("map<int8, list<float32>>", "map<int16, list<float64>>"), Some(map));
        let field = widened(&column("struct<a: int8, b: text>"), &ty("struct<a: int64, b: text>")).unwrap();
        assert!(field.metadata.is_empty());
        let DataType::Struct(parts) = field.data_type() else { panic!("{field:?}") };
        assert!(parts.field("a").unwrap().metadata.contains_key(CHANGES));
        check_changes(&StructType::try_new([field]).unwrap()).unwrap();
    }

    #[test]
    fn changes_are_noted_in_the_order_in_which_they_were_made() {
        let field = widened(&column("int8"), &ty("int32")).unwrap();
        let field = widened(&field, &ty("decimal(12,2)")).unwrap();
        let expected = json!([
            { "fromType": "byte", "toType": "integer" },
            { "fromType": "integer", "toType": "decimal(12,2)" },
        ]);
        assert_eq!(serde_json::to_value(&field.metadata[CHANGES]).unwrap(), expected);
        let schema = StructType::try_new([field]).unwrap();
        assert!(has_widened(&StructType::try_new([column("int8")]).unwrap(), &schema));
        assert!(!has_widened(&schema, &schema));
    }

    #[test]
    fn a_change_that_is_not_known_is_refused() {
        let changed = |from: &str, to: &str| {
            let noted = json!([{ "fromType": from, "toType": to, "tableVersion": 2 }]);
            let field = column("text").with_metadata([(CHANGES, MetadataValue::Other(noted))]);
            check_changes(&StructType::try_new([field]).unwrap())
        };
        changed("byte", "decimal(4,1)").unwrap();
        changed("date", "timestamp_ntz").unwrap();
        let error = changed("integer", "string").unwrap_err();
        assert!(error.to_string().contains("has become string and was integer"), "{error}");
        assert!(changed("integer", "interval").is_err());
    }
}
