//! Rows as blocks of records.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use transload_core::types::Unit;
use transload_core::{Error, Result};
use xxhash_rust::xxh64::xxh64;

use super::codec::Codec;
use super::{container, types};
use crate::cells::{Cells, Values, items};
use crate::text::{self, Reason};

/// Bytes after which a block ends.
const BLOCK_BYTES: usize = 1 << 18;

/// Writes rows of one schema.
pub(crate) struct AvroRows {
    schema: SchemaRef,
    codec: Codec,
    sync: [u8; 16],
}

impl AvroRows {
    /// `name` is that of the file: its blocks are marked after it, so that the same rows make the same file.
    pub(crate) fn new(schema: SchemaRef, codec: Codec, name: &str) -> Self {
        let mut sync = [0; 16];
        let (first, second) = sync.split_at_mut(8);
        first.copy_from_slice(&xxh64(name.as_bytes(), 0).to_le_bytes());
        second.copy_from_slice(&xxh64(name.as_bytes(), 1).to_le_bytes());
        Self { schema, codec, sync }
    }

    /// What stands before the first row.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) -> Result<()> {
        container::header(&types::written(&self.schema)?.to_string(), self.codec, self.sync, out);
        Ok(())
    }

    /// The rows of a batch.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a value that would not be read back as it is.
    pub(crate) fn rows(&self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = self.schema.fields().iter().zip(batch.columns()).map(|(f, array)| Cells::of(f, array));
        let columns: Vec<Cells<'_>> = columns.collect::<Result<_>>()?;
        let (mut records, mut content) = (0, Vec::new());
        for row in 0..batch.num_rows() {
            for column in &columns {
                cell(column, row, &mut content).map_err(|reason| {
                    Error::config(format!("a value cannot be written as Avro: {reason}")).with("column", column.name)
                })?;
            }
            records += 1;
            if content.len() >= BLOCK_BYTES || row + 1 == batch.num_rows() {
                container::block(records, &content, self.codec, self.sync, out)?;
                records = 0;
                content.clear();
            }
        }
        Ok(())
    }
}

/// A whole number: seven bits in each byte, the lowest first, the sign in the lowest bit.
pub(super) fn long(number: i64, out: &mut Vec<u8>) {
    let mut bits = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while bits >= 0x80 {
        out.push((bits & 0x7f) as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

/// Bytes with their length in front.
pub(super) fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // No slice is longer than this.
    long(i64::try_from(bytes.len()).unwrap_or(i64::MAX), out);
    out.extend_from_slice(bytes);
}

fn count(number: usize, out: &mut Vec<u8>) {
    long(i64::try_from(number).unwrap_or(i64::MAX), out);
}

fn cell(cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
    match (cells.is_nullable, cells.is_null(row)) {
        (true, true) => {
            long(0, out);
            return Ok(());
        }
        (true, false) => long(1, out),
        (false, false) => {}
        (false, true) => return Err("it is NULL, and its column has none"),
    }
    match &cells.values {
        Values::Bool(values) => out.push(values.value(row).into()),
        Values::Int(values) => long(values.at(row), out),
        Values::Float32(values) => out.extend_from_slice(&values[row].to_le_bytes()),
        Values::Float64(values) => out.extend_from_slice(&values[row].to_le_bytes()),
        Values::Decimal128(values) => bytes(shortest(&values.value(row).to_be_bytes()), out),
        Values::Decimal256(values) => bytes(shortest(&values.value(row).to_be_bytes()), out),
        Values::Text(values) => bytes(values.at(row).as_bytes(), out),
        Values::Bytes(values) => bytes(values.at(row), out),
        Values::Uuid(_) => {
            let mut text = Vec::with_capacity(36);
            text::write(&cells.values, row, &mut text)?;
            bytes(&text, out);
        }
        Values::Date(values) => long(values[row].into(), out),
        Values::Time32(values, unit) => long(millis(values[row].into(), *unit)?, out),
        Values::Time64(values, Unit::Us) => long(values[row], out),
        Values::Timestamp(values, unit @ (Unit::S | Unit::Ms), _) => long(millis(values[row], *unit)?, out),
        Values::Timestamp(values, ..) => long(values[row], out),
        Values::List(list, item) => {
            let items = items(list.value_offsets(), row);
            if !items.is_empty() {
                count(items.len(), out);
                items.into_iter().try_for_each(|i| cell(item, i, out))?;
            }
            long(0, out);
        }
        Values::Struct(fields) => fields.iter().try_for_each(|field| cell(field, row, out))?,
        Values::Map(map, keys, values) => {
            let Values::Text(keys) = &keys.values else { return Err("the keys of a map are no texts") };
            let entries = items(map.value_offsets(), row);
            if !entries.is_empty() {
                count(entries.len(), out);
                for i in entries {
                    bytes(keys.at(i).as_bytes(), out);
                    cell(values, i, out)?;
                }
            }
            long(0, out);
        }
        Values::UInt64(_) | Values::Time64(..) => return Err("Avro has no such type"),
    }
    Ok(())
}

/// Seconds as milliseconds, which Avro has in their place.
fn millis(ticks: i64, unit: Unit) -> Result<i64, Reason> {
    match unit {
        Unit::S => ticks.checked_mul(1000).ok_or("it is out of the range of milliseconds"),
        _ => Ok(ticks),
    }
}

/// A number in two's complement, the highest byte first, without bytes that say nothing.
fn shortest(bytes: &[u8]) -> &[u8] {
    let says_nothing =
        |pair: &[u8]| matches!(pair, [0, next] if next & 0x80 == 0) || matches!(pair, [0xff, next] if next & 0x80 != 0);
    let first = bytes.windows(2).position(|pair| !says_nothing(pair)).unwrap_or(bytes.len().saturating_sub(1));
    bytes.get(first..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_few_bytes() {
        let cases: [(i64, &[u8]); 6] = [
            (0, &[0]),
            (-1, &[1]),
            (1, &[2]),
            (64, &[0x80, 1]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (number, bytes) in cases {
            let mut out = Vec::new();
            long(number, &mut out);
            assert_eq!(out, bytes, "{number}");
        }
    }

    #[test]
    fn decimals_have_no_byte_too_many() {
        let cases: [(i128, &[u8]); 7] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-1, &[0xff]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (256, &[1, 0]),
        ];
        for (number, bytes) in cases {
            assert_eq!(shortest(&number.to_be_bytes()), bytes, "{number}");
        }
    }
}
