//! Rows as JSON lines.
//!
//! Numbers have all their digits, whatever a reader makes of them. Everything that JSON has no form of its own for is a
//! string: dates, times, identifiers, JSON texts, and the floats that are no numbers.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use transload_core::{Error, Result};

use crate::cells::{Cells, Values, items};
use crate::rows::can_be_read;
use crate::text::{self, Reason};

/// Writes rows of one schema.
pub(crate) struct JsonRows {
    schema: SchemaRef,
}

impl JsonRows {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }

    /// The rows of a batch. Every row names every column.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a value that would not be read back as it is.
    pub(crate) fn rows(&self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = self.schema.fields().iter().zip(batch.columns()).map(|(f, array)| Cells::of(f, array));
        let columns: Vec<Cells<'_>> = columns.collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            let start = out.len();
            object(&columns, row, out).map_err(|(column, reason)| {
                Error::config(format!("a value cannot be written as JSON: {reason}")).with("column", column)
            })?;
            out.push(b'\n');
            can_be_read(out.len() - start, "JSON")?;
        }
        Ok(())
    }
}

/// An object of these columns; or the column that cannot be written, and why.
fn object<'c>(columns: &'c [Cells<'_>], row: usize, out: &mut Vec<u8>) -> Result<(), (&'c str, Reason)> {
    out.push(b'{');
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(column.name, out);
        out.push(b':');
        value(column, row, out).map_err(|reason| (column.name, reason))?;
    }
    out.push(b'}');
    Ok(())
}

fn value(cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
    if cells.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match &cells.values {
        Values::Float32(values) if !values[row].is_finite() => string(special(values[row].into()), out),
        Values::Float64(values) if !values[row].is_finite() => string(special(values[row]), out),
        Values::Bool(_)
        | Values::Int(_)
        | Values::UInt64(_)
        | Values::Float32(_)
        | Values::Float64(_)
        | Values::Decimal128(_)
        | Values::Decimal256(_) => text::write(&cells.values, row, out)?,
        Values::Text(texts) => string(texts.at(row), out),
        Values::List(list, item) => {
            out.push(b'[');
            for (at, i) in items(list.value_offsets(), row).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                value(item, i, out)?;
            }
            out.push(b']');
        }
        Values::Struct(fields) => object(fields, row, out).map_err(|(_, reason)| reason)?,
        Values::Map(map, keys, values) => {
            let Values::Text(keys) = &keys.values else { return Err("the keys of a map are no texts") };
            let entries = items(map.value_offsets(), row);
            let mut seen: Vec<&str> = entries.clone().map(|i| keys.at(i)).collect();
            seen.sort_unstable();
            if seen.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err("a map holds a key twice");
            }
            out.push(b'{');
            for (at, i) in entries.enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                string(keys.at(i), out);
                out.push(b':');
                value(values, i, out)?;
            }
            out.push(b'}');
        }
        // Characters that a string would need to escape are in none of these.
        Values::Uuid(_) | Values::Date(_) | Values::Time32(..) | Values::Time64(..) | Values::Timestamp(..) => {
            out.push(b'"');
            text::write(&cells.values, row, out)?;
            out.push(b'"');
        }
        Values::Bytes(_) => return Err("JSON has no bytes"),
    }
    Ok(())
}

/// The names that the JSON form of Protocol Buffers gives to floats that are no numbers.
fn special(float: f64) -> &'static str {
    match float {
        f if f.is_nan() => "NaN",
        f if f > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    // Writing into memory never fails, and a text can always be written.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, Decimal128Array, Float64Array, Int64Array, ListArray, MapBuilder, StringArray, StringBuilder,
        StructArray, TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::datatypes::{Field, Fields, Int64Type};

    use super::*;

    fn written(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<String>> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut out = Vec::new();
        JsonRows::new(batch.schema()).rows(&batch, &mut out)?;
        Ok(String::from_utf8(out).unwrap().lines().map(str::to_string).collect())
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        let wide: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        let money: ArrayRef = Arc::new(Decimal128Array::from(vec![-150]).with_precision_and_scale(38, 2).unwrap());
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::NEG_INFINITY]));
        let lines = written(vec![("w", wide), ("m", money), ("i", ids), ("f", floats)]).unwrap();
        assert_eq!(lines, [r#"{"w":18446744073709551615,"m":-1.50,"i":-9223372036854775808,"f":"-Infinity"}"#]);
    }

    #[test]
    fn nested_values_and_strange_names_are_written() {
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(Vec::new()),
        ]));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a\"\n\u{1}ä"), None, Some("")]));
        let fields = Fields::from(vec![Field::new("x", text.data_type().clone(), true)]);
        let pair: ArrayRef = Arc::new(StructArray::new(fields, vec![text], Some(vec![true, true, false].into())));
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None, None]).with_timezone("UTC"));
        let lines = written(vec![("l", list), ("a \"b\"", pair), ("at", at)]).unwrap();
        assert_eq!(lines[0], r#"{"l":[1,null],"a \"b\"":{"x":"a\"\n\u0001ä"},"at":"1970-01-01T00:00:00Z"}"#);
        assert_eq!(lines[1], r#"{"l":null,"a \"b\"":{"x":null},"at":null}"#);
        assert_eq!(lines[2], r#"{"l":[],"a \"b\"":null,"at":null}"#);
    }

    #[test]
    fn a_row_that_would_be_too_long_to_read_is_refused() {
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(16 << 20)]));
        let error = written(vec![("t", long)]).unwrap_err();
        assert_eq!(error.to_string(), "a row takes 16777225 bytes as JSON, and 16777216 would not be read");
    }

    #[test]
    fn a_map_with_a_key_twice_is_refused() {
        let map = |keys: [&str; 2]| -> ArrayRef {
            let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
            for key in keys {
                builder.keys().append_value(key);
                builder.values().append_value("v");
            }
            builder.append(true).unwrap();
            Arc::new(builder.finish())
        };
        assert_eq!(written(vec![("m", map(["b", "a"]))]).unwrap(), [r#"{"m":{"b":"v","a":"v"}}"#]);
        let error = written(vec![("m", map(["a", "a"]))]).unwrap_err();
        assert_eq!(error.to_string(), "a value cannot be written as JSON: a map holds a key twice (column m)");
    }
}
