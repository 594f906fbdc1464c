//! One cell at a time: every type and layout, nested ones included.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalUnit, IntervalYearMonthType, RunEndIndexType, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use transload_core::{Error, LogicalType, Result};

// The tags of `docs/row-hash.md`.
pub(super) const NULL: u8 = 0x80;
pub(super) const BOOL: u8 = 0x01;
pub(super) const INT: u8 = 0x02;
pub(super) const BIG_UINT: u8 = 0x03;
pub(super) const FLOAT: u8 = 0x04;
pub(super) const DECIMAL: u8 = 0x05;
pub(super) const BIG_DECIMAL: u8 = 0x06;
pub(super) const TEXT: u8 = 0x07;
pub(super) const BINARY: u8 = 0x08;
pub(super) const DATE: u8 = 0x09;
pub(super) const TIME: u8 = 0x0a;
pub(super) const TIMESTAMP: u8 = 0x0b;
pub(super) const INSTANT: u8 = 0x0c;
pub(super) const INTERVAL: u8 = 0x0d;
pub(super) const UUID: u8 = 0x0e;
pub(super) const JSON: u8 = 0x0f;
pub(super) const LIST: u8 = 0x10;
pub(super) const STRUCT: u8 = 0x11;
pub(super) const MAP: u8 = 0x12;

const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;
const MS_PER_DAY: i64 = 86_400_000;

#[inline(always)]
pub(super) fn float(value: f64) -> [u8; 8] {
    let bits = if value.is_nan() { CANONICAL_NAN } else { value.to_bits() };
    bits.to_le_bytes()
}

fn length(len: usize) -> Result<[u8; 4]> {
    u32::try_from(len).map(u32::to_le_bytes).map_err(|_| Error::config("a value of 4 GiB or more cannot be hashed"))
}

/// The type code that a NULL of `ty` carries.
pub(super) fn code(ty: &LogicalType) -> u8 {
    match ty {
        LogicalType::Bool => BOOL,
        LogicalType::Int(_) | LogicalType::UInt(_) => INT,
        LogicalType::Float(_) => FLOAT,
        LogicalType::Decimal(..) => DECIMAL,
        LogicalType::Text => TEXT,
        LogicalType::Binary => BINARY,
        LogicalType::Date => DATE,
        LogicalType::Time(_) => TIME,
        LogicalType::Timestamp(_, None) => TIMESTAMP,
        LogicalType::Timestamp(_, Some(_)) => INSTANT,
        LogicalType::Interval => INTERVAL,
        LogicalType::Uuid => UUID,
        LogicalType::Json => JSON,
        LogicalType::List(_) => LIST,
        LogicalType::Struct(_) => STRUCT,
        LogicalType::Map(..) => MAP,
    }
}

/// Appends one cell. Correct for every type and layout, and slow.
pub(super) fn push_cell(ty: &LogicalType, array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<()> {
    let packed = match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            match dictionary.is_null(row) {
                true => None,
                false => Some((dictionary.values().clone(), dictionary.normalized_keys()[row])),
            }
        }
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => run::<Int16Type>(array, row),
            DataType::Int64 => run::<Int64Type>(array, row),
            _ => run::<Int32Type>(array, row),
        },
        _ => Some((array.clone(), row)),
    };
    let Some((array, row)) = packed.filter(|(a, i)| *a.data_type() != DataType::Null && a.is_valid(*i)) else {
        out.push(code(ty) | NULL);
        return Ok(());
    };
    let array = &array;
    macro_rules! value {
        ($t:ty) => {
            array.as_primitive::<$t>().value(row)
        };
    }
    macro_rules! tagged {
        ($tag:expr, $bytes:expr) => {{
            out.push($tag);
            out.extend_from_slice(&$bytes);
        }};
    }
    match array.data_type() {
        DataType::Boolean => tagged!(BOOL, [u8::from(array.as_boolean().value(row))]),
        DataType::Int8 => tagged!(INT, i64::from(value!(Int8Type)).to_le_bytes()),
        DataType::Int16 => tagged!(INT, i64::from(value!(Int16Type)).to_le_bytes()),
        DataType::Int32 => tagged!(INT, i64::from(value!(Int32Type)).to_le_bytes()),
        DataType::Int64 => tagged!(INT, value!(Int64Type).to_le_bytes()),
        DataType::UInt8 => tagged!(INT, i64::from(value!(UInt8Type)).to_le_bytes()),
        DataType::UInt16 => tagged!(INT, i64::from(value!(UInt16Type)).to_le_bytes()),
        DataType::UInt32 => tagged!(INT, i64::from(value!(UInt32Type)).to_le_bytes()),
        DataType::UInt64 => {
            let v = value!(UInt64Type);
            tagged!(if i64::try_from(v).is_ok() { INT } else { BIG_UINT }, v.to_le_bytes());
        }
        DataType::Float16 => tagged!(FLOAT, float(value!(Float16Type).to_f64())),
        DataType::Float32 => tagged!(FLOAT, float(f64::from(value!(Float32Type)))),
        DataType::Float64 => tagged!(FLOAT, float(value!(Float64Type))),
        DataType::Decimal32(_, s) => push_decimal(i256::from(value!(Decimal32Type)), *s as u8, out),
        DataType::Decimal64(_, s) => push_decimal(i256::from(value!(Decimal64Type)), *s as u8, out),
        DataType::Decimal128(_, s) => push_decimal(i256::from_i128(value!(Decimal128Type)), *s as u8, out),
        DataType::Decimal256(_, s) => push_decimal(value!(Decimal256Type), *s as u8, out),
        DataType::Date32 => tagged!(DATE, value!(Date32Type).to_le_bytes()),
        DataType::Date64 => {
            let ms = value!(Date64Type);
            if ms % MS_PER_DAY != 0 {
                return Err(Error::config("a date holds a time of day"));
            }
            let days = i32::try_from(ms / MS_PER_DAY).map_err(|_| Error::config("a date is out of range"))?;
            tagged!(DATE, days.to_le_bytes());
        }
        DataType::Time32(TimeUnit::Second) => {
            tagged!(TIME, (i64::from(value!(Time32SecondType)) * 1_000_000_000).to_le_bytes())
        }
        DataType::Time32(_) => tagged!(TIME, (i64::from(value!(Time32MillisecondType)) * 1_000_000).to_le_bytes()),
        DataType::Time64(TimeUnit::Microsecond) => {
            let nanos = value!(Time64MicrosecondType).checked_mul(1_000);
            tagged!(TIME, nanos.ok_or_else(|| Error::config("a time is out of range"))?.to_le_bytes());
        }
        DataType::Time64(_) => tagged!(TIME, value!(Time64NanosecondType).to_le_bytes()),
        DataType::Timestamp(unit, _) => {
            let ticks = match unit {
                TimeUnit::Second => i128::from(value!(TimestampSecondType)) * 1_000_000_000,
                TimeUnit::Millisecond => i128::from(value!(TimestampMillisecondType)) * 1_000_000,
                TimeUnit::Microsecond => i128::from(value!(TimestampMicrosecondType)) * 1_000,
                TimeUnit::Nanosecond => i128::from(value!(TimestampNanosecondType)),
            };
            tagged!(code(ty), ticks.to_le_bytes());
        }
        DataType::Interval(unit) => {
            let (months, days, nanos) = match unit {
                IntervalUnit::YearMonth => (value!(IntervalYearMonthType), 0, 0),
                IntervalUnit::DayTime => {
                    let v = value!(IntervalDayTimeType);
                    (0, v.days, i64::from(v.milliseconds) * 1_000_000)
                }
                IntervalUnit::MonthDayNano => {
                    let v = value!(IntervalMonthDayNanoType);
                    (v.months, v.days, v.nanoseconds)
                }
            };
            out.push(INTERVAL);
            out.extend_from_slice(&months.to_le_bytes());
            out.extend_from_slice(&days.to_le_bytes());
            out.extend_from_slice(&nanos.to_le_bytes());
        }
        DataType::Utf8 => push_bytes(code(ty), array.as_string::<i32>().value(row).as_bytes(), out)?,
        DataType::LargeUtf8 => push_bytes(code(ty), array.as_string::<i64>().value(row).as_bytes(), out)?,
        DataType::Utf8View => push_bytes(code(ty), array.as_string_view().value(row).as_bytes(), out)?,
        DataType::Binary => push_bytes(code(ty), array.as_binary::<i32>().value(row), out)?,
        DataType::LargeBinary => push_bytes(code(ty), array.as_binary::<i64>().value(row), out)?,
        DataType::BinaryView => push_bytes(code(ty), array.as_binary_view().value(row), out)?,
        DataType::FixedSizeBinary(_) => {
            let value = array.as_fixed_size_binary().value(row);
            match ty {
                LogicalType::Uuid => tagged!(UUID, value),
                _ => push_bytes(BINARY, value, out)?,
            }
        }
        DataType::List(_) => push_list(ty, &array.as_list::<i32>().value(row), out)?,
        DataType::LargeList(_) => push_list(ty, &array.as_list::<i64>().value(row), out)?,
        DataType::FixedSizeList(..) => push_list(ty, &array.as_fixed_size_list().value(row), out)?,
        DataType::Struct(_) => {
            let LogicalType::Struct(fields) = ty else { return Err(unencodable(array)) };
            out.push(STRUCT);
            out.extend_from_slice(&length(fields.len())?);
            for ((_, ty), column) in fields.iter().zip(array.as_struct().columns()) {
                push_cell(ty, column, row, out)?;
            }
        }
        DataType::Map(..) => {
            let LogicalType::Map(key, value) = ty else { return Err(unencodable(array)) };
            let entries = array.as_map().value(row);
            let mut cells = Vec::with_capacity(entries.len());
            for i in 0..entries.len() {
                let mut cell = Vec::new();
                push_cell(key, entries.column(0), i, &mut cell)?;
                push_cell(value, entries.column(1), i, &mut cell)?;
                cells.push(cell);
            }
            cells.sort_unstable();
            out.push(MAP);
            out.extend_from_slice(&length(cells.len())?);
            cells.iter().for_each(|cell| out.extend_from_slice(cell));
        }
        _ => return Err(unencodable(array)),
    }
    Ok(())
}

fn unencodable(array: &ArrayRef) -> Error {
    Error::internal(format!("values of type {} reached the row encoder", array.data_type()))
}

fn run<R: RunEndIndexType>(array: &ArrayRef, row: usize) -> Option<(ArrayRef, usize)> {
    let runs = array.as_run::<R>();
    Some((runs.values().clone(), runs.get_physical_index(row)))
}

fn push_bytes(tag: u8, value: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.push(tag);
    out.extend_from_slice(&length(value.len())?);
    out.extend_from_slice(value);
    Ok(())
}

fn push_list(ty: &LogicalType, items: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    let LogicalType::List(item) = ty else { return Err(unencodable(items)) };
    out.push(LIST);
    out.extend_from_slice(&length(items.len())?);
    for i in 0..items.len() {
        push_cell(item, items, i, out)?;
    }
    Ok(())
}

/// Whether the last decimal digit is zero: by halves, as 2^64 leaves 6 behind.
fn ends_in_zero(value: i128) -> bool {
    let magnitude = value.unsigned_abs();
    let (high, low) = ((magnitude >> 64) as u64, magnitude as u64);
    (high % 10 * 6 + low % 10).is_multiple_of(10)
}

/// Scale, then the integer, with trailing zeros after the point removed.
fn push_decimal(mut value: i256, mut scale: u8, out: &mut Vec<u8>) {
    let ten = i256::from_i128(10);
    // Most values are small, and a division of 256 bits is slow.
    while scale > 0 && value.to_i128().is_none() && value.wrapping_rem(ten) == i256::ZERO {
        value = value.wrapping_div(ten);
        scale -= 1;
    }
    if let Some(mut small) = value.to_i128() {
        while scale > 0 && ends_in_zero(small) {
            small /= 10;
            scale -= 1;
        }
        value = i256::from_i128(small);
    }
    match value.to_i128().and_then(|v| i64::try_from(v).ok()) {
        Some(small) => {
            out.extend_from_slice(&[DECIMAL, scale]);
            out.extend_from_slice(&small.to_le_bytes());
        }
        None => {
            out.extend_from_slice(&[BIG_DECIMAL, scale]);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, a digit after the other by the widest numbers.
    fn plainly(mut value: i256, mut scale: u8) -> Vec<u8> {
        let ten = i256::from_i128(10);
        while scale > 0 && value.wrapping_rem(ten) == i256::ZERO {
            value = value.wrapping_div(ten);
            scale -= 1;
        }
        match value.to_i128().and_then(|v| i64::try_from(v).ok()) {
            Some(small) => [&[DECIMAL, scale][..], &small.to_le_bytes()].concat(),
            None => [&[BIG_DECIMAL, scale][..], &value.to_le_bytes()].concat(),
        }
    }

    #[test]
    fn zeros_behind_the_point_go_whatever_the_width() {
        let mut values = vec![0, 1, -1, 10, i128::from(i64::MAX), i128::MAX, i128::MIN, 1 << 64, 10 << 64, -(5 << 65)];
        values.extend((0..38).flat_map(|n| [10i128.pow(n), -3 * 10i128.pow(n), 10i128.pow(n) + 1]));
        let widest = i256::MAX.wrapping_div(i256::from_i128(10)).wrapping_mul(i256::from_i128(10));
        let wide = [i256::MAX, i256::MIN, widest, i256::from_i128(i128::MAX).wrapping_mul(i256::from_i128(1_000_000))];
        for value in values.into_iter().map(i256::from_i128).chain(wide) {
            for scale in [0, 1, 2, 10, 38, 76] {
                let mut out = Vec::new();
                push_decimal(value, scale, &mut out);
                assert_eq!(out, plainly(value, scale), "{value} by {scale}");
            }
        }
    }
}
