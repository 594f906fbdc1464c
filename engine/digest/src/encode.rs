//! Canonical row bytes, made column by column.
//!
//! For a block of rows, every column first adds the length of its cells to a length per row; then
//! each row gets its place in one buffer, and every column writes its cells there. Columns are
//! looked at once per block instead of once per cell, which is what makes this fast.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, GenericBinaryArray, GenericStringArray, OffsetSizeTrait,
    PrimitiveArray, StringViewArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, Schema, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use transload_core::{Error, LogicalType, Result};

const NULL: u8 = 0x80;
const BOOL: u8 = 0x01;
const INT: u8 = 0x02;
const BIG_UINT: u8 = 0x03;
const FLOAT: u8 = 0x04;
const DECIMAL: u8 = 0x05;
const BIG_DECIMAL: u8 = 0x06;
const TEXT: u8 = 0x07;
const BINARY: u8 = 0x08;
const DATE: u8 = 0x09;
const TIME: u8 = 0x0a;
const TIMESTAMP: u8 = 0x0b;
const INSTANT: u8 = 0x0c;
const INTERVAL: u8 = 0x0d;
const UUID: u8 = 0x0e;
const JSON: u8 = 0x0f;
const LIST: u8 = 0x10;
const STRUCT: u8 = 0x11;
const MAP: u8 = 0x12;

const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;
const MS_PER_DAY: i64 = 86_400_000;

/// Encodes rows of one schema.
#[derive(Debug, Clone)]
pub struct RowEncoder {
    columns: Vec<(String, LogicalType)>,
}

/// The canonical bytes of a block of rows, and scratch space to make them in.
#[derive(Debug, Default)]
pub struct CanonicalRows {
    bytes: Vec<u8>,
    /// Before writing: each row's length. While writing: where its next cell goes. Afterwards: where it ends.
    ends: Vec<usize>,
}

impl CanonicalRows {
    /// The rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let row = &self.bytes[start..end];
            start = end;
            row
        })
    }
}

impl RowEncoder {
    /// An encoder for rows of `schema`.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if a column's type has no canonical bytes.
    pub fn new(schema: &Schema) -> Result<Self> {
        let column =
            |f: &std::sync::Arc<Field>| match LogicalType::of(f) {
                Some(ty) => Ok((f.name().clone(), ty)),
                None => Err(Error::config(format!("values of type {} cannot be hashed", f.data_type()))
                    .with("column", f.name())),
            };
        Ok(Self { columns: schema.fields().iter().map(column).collect::<Result<_>>()? })
    }

    /// Encodes the rows `start..start + len` of `columns` into `rows`, replacing what was there.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a value of 4 GiB or more, or a date with a time of day.
    pub fn encode(&self, columns: &[ArrayRef], start: usize, len: usize, rows: &mut CanonicalRows) -> Result<()> {
        rows.ends.clear();
        rows.ends.resize(len, 0);
        let slices: Vec<ArrayRef> = columns.iter().map(|c| c.slice(start, len)).collect();
        for ((_, ty), array) in self.columns.iter().zip(&slices) {
            measure(ty, array, &mut rows.ends)?;
        }
        let mut total = 0usize;
        for end in &mut rows.ends {
            let length = *end;
            *end = total;
            total += length;
        }
        rows.bytes.clear();
        rows.bytes.resize(total, 0);
        for ((name, ty), array) in self.columns.iter().zip(&slices) {
            write(ty, array, &mut rows.bytes, &mut rows.ends).map_err(|e| e.with("column", name))?;
        }
        Ok(())
    }
}

fn fixed_payload(ty: &LogicalType) -> Option<usize> {
    Some(match ty {
        LogicalType::Bool => 1,
        LogicalType::Int(_) | LogicalType::UInt(_) | LogicalType::Float(_) | LogicalType::Time(_) => 8,
        LogicalType::Decimal(p, _) if *p <= 38 => 17,
        LogicalType::Date => 4,
        LogicalType::Timestamp(..) | LogicalType::Interval | LogicalType::Uuid => 16,
        _ => return None,
    })
}

/// Adds the length of every cell of `array` to `lengths`.
fn measure(ty: &LogicalType, array: &ArrayRef, lengths: &mut [usize]) -> Result<()> {
    if let Some(payload) = fixed_payload(ty) {
        if *array.data_type() == DataType::Null {
            lengths.iter_mut().for_each(|l| *l += 1);
            return Ok(());
        }
        match array.logical_nulls().filter(|n| n.null_count() > 0) {
            None => lengths.iter_mut().for_each(|l| *l += 1 + payload),
            Some(nulls) => {
                for (l, valid) in lengths.iter_mut().zip(nulls.iter()) {
                    *l += if valid { 1 + payload } else { 1 };
                }
            }
        }
        return Ok(());
    }
    match array.data_type() {
        DataType::Utf8 => add_lengths(lengths, array, array.as_string::<i32>().offsets().lengths()),
        DataType::LargeUtf8 => add_lengths(lengths, array, array.as_string::<i64>().offsets().lengths()),
        DataType::Binary => add_lengths(lengths, array, array.as_binary::<i32>().offsets().lengths()),
        DataType::LargeBinary => add_lengths(lengths, array, array.as_binary::<i64>().offsets().lengths()),
        DataType::Utf8View => {
            add_lengths(lengths, array, array.as_string_view().views().iter().map(|v| *v as u32 as usize))
        }
        DataType::BinaryView => {
            add_lengths(lengths, array, array.as_binary_view().views().iter().map(|v| *v as u32 as usize));
        }
        DataType::FixedSizeBinary(size) => add_lengths(lengths, array, std::iter::repeat(*size as usize)),
        DataType::Null => lengths.iter_mut().for_each(|l| *l += 1),
        _ => {
            // Nested values, wide decimals and packed layouts: write each cell once to learn its length.
            let mut cell = Vec::new();
            for (row, length) in lengths.iter_mut().enumerate() {
                cell.clear();
                push_cell(ty, array, row, &mut cell)?;
                *length += cell.len();
            }
        }
    }
    Ok(())
}

fn add_lengths(lengths: &mut [usize], array: &ArrayRef, values: impl Iterator<Item = usize>) {
    match array.nulls().filter(|n| n.null_count() > 0) {
        None => lengths.iter_mut().zip(values).for_each(|(l, v)| *l += 5 + v),
        Some(nulls) => {
            for ((l, v), valid) in lengths.iter_mut().zip(values).zip(nulls.iter()) {
                *l += if valid { 5 + v } else { 1 };
            }
        }
    }
}

/// Writes every cell of `array` at its row's place and moves the places on.
fn write(ty: &LogicalType, array: &ArrayRef, out: &mut [u8], at: &mut [usize]) -> Result<()> {
    match (ty, array.data_type()) {
        (LogicalType::Bool, DataType::Boolean) => write_bool(array.as_boolean(), out, at),
        (_, DataType::Int8) => write_int::<Int8Type>(array, out, at),
        (_, DataType::Int16) => write_int::<Int16Type>(array, out, at),
        (_, DataType::Int32) => write_int::<Int32Type>(array, out, at),
        (_, DataType::Int64) => write_int::<Int64Type>(array, out, at),
        (_, DataType::UInt8) => write_int::<UInt8Type>(array, out, at),
        (_, DataType::UInt16) => write_int::<UInt16Type>(array, out, at),
        (_, DataType::UInt32) => write_int::<UInt32Type>(array, out, at),
        (_, DataType::Float32) => fixed(array.as_primitive::<Float32Type>(), FLOAT, out, at, |v| float(f64::from(v))),
        (_, DataType::Float64) => fixed(array.as_primitive::<Float64Type>(), FLOAT, out, at, float),
        (_, DataType::Decimal64(_, s)) => {
            let s = *s as u8;
            fixed(array.as_primitive::<Decimal64Type>(), DECIMAL, out, at, |v| decimal(i128::from(v), s));
        }
        (_, DataType::Decimal128(_, s)) => {
            let s = *s as u8;
            fixed(array.as_primitive::<Decimal128Type>(), DECIMAL, out, at, |v| decimal(v, s));
        }
        (_, DataType::Date32) => fixed(array.as_primitive::<Date32Type>(), DATE, out, at, i32::to_le_bytes),
        (LogicalType::Timestamp(unit, zone), DataType::Timestamp(arrow_unit, _)) => {
            let tag = if zone.is_some() { INSTANT } else { TIMESTAMP };
            let scale = i128::from(unit.nanos());
            let bytes = |v: i64| (i128::from(v) * scale).to_le_bytes();
            match arrow_unit {
                TimeUnit::Second => fixed(array.as_primitive::<TimestampSecondType>(), tag, out, at, bytes),
                TimeUnit::Millisecond => fixed(array.as_primitive::<TimestampMillisecondType>(), tag, out, at, bytes),
                TimeUnit::Microsecond => fixed(array.as_primitive::<TimestampMicrosecondType>(), tag, out, at, bytes),
                TimeUnit::Nanosecond => fixed(array.as_primitive::<TimestampNanosecondType>(), tag, out, at, bytes),
            }
        }
        (LogicalType::Text, DataType::Utf8) => write_text(array.as_string::<i32>(), TEXT, out, at),
        (LogicalType::Text, DataType::Utf8View) => write_text_view(array.as_string_view(), TEXT, out, at),
        (LogicalType::Json, DataType::Utf8) => write_text(array.as_string::<i32>(), JSON, out, at),
        (LogicalType::Json, DataType::Utf8View) => write_text_view(array.as_string_view(), JSON, out, at),
        (LogicalType::Binary, DataType::Binary) => write_binary(array.as_binary::<i32>(), out, at),
        (LogicalType::Binary, DataType::BinaryView) => write_binary_view(array.as_binary_view(), out, at),
        _ => {
            let mut cell = Vec::new();
            for (row, at) in at.iter_mut().enumerate() {
                cell.clear();
                push_cell(ty, array, row, &mut cell)?;
                put(out, at, &cell);
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn put(out: &mut [u8], at: &mut usize, bytes: &[u8]) {
    out[*at..*at + bytes.len()].copy_from_slice(bytes);
    *at += bytes.len();
}

/// Values of a fixed width: the tag, then `N` bytes.
#[inline(always)]
fn fixed<T: ArrowPrimitiveType, const N: usize>(
    array: &PrimitiveArray<T>,
    tag: u8,
    out: &mut [u8],
    at: &mut [usize],
    bytes: impl Fn(T::Native) -> [u8; N],
) {
    match array.nulls().filter(|n| n.null_count() > 0) {
        None => {
            for (&v, at) in array.values().iter().zip(at) {
                let cell = &mut out[*at..*at + 1 + N];
                cell[0] = tag;
                cell[1..].copy_from_slice(&bytes(v));
                *at += 1 + N;
            }
        }
        Some(nulls) => {
            for ((&v, valid), at) in array.values().iter().zip(nulls.iter()).zip(at) {
                if valid {
                    out[*at] = tag;
                    out[*at + 1..*at + 1 + N].copy_from_slice(&bytes(v));
                    *at += 1 + N;
                } else {
                    out[*at] = tag | NULL;
                    *at += 1;
                }
            }
        }
    }
}

fn write_int<T>(array: &ArrayRef, out: &mut [u8], at: &mut [usize])
where
    T: ArrowPrimitiveType,
    i64: From<T::Native>,
{
    fixed(array.as_primitive::<T>(), INT, out, at, |v| i64::from(v).to_le_bytes());
}

fn write_bool(array: &BooleanArray, out: &mut [u8], at: &mut [usize]) {
    for (value, at) in array.iter().zip(at) {
        match value {
            Some(v) => put(out, at, &[BOOL, u8::from(v)]),
            None => put(out, at, &[BOOL | NULL]),
        }
    }
}

fn write_text<O: OffsetSizeTrait>(array: &GenericStringArray<O>, tag: u8, out: &mut [u8], at: &mut [usize]) {
    for (value, at) in array.iter().zip(at) {
        put_bytes(out, at, tag, value.map(str::as_bytes));
    }
}

fn write_text_view(array: &StringViewArray, tag: u8, out: &mut [u8], at: &mut [usize]) {
    for (value, at) in array.iter().zip(at) {
        put_bytes(out, at, tag, value.map(str::as_bytes));
    }
}

fn write_binary<O: OffsetSizeTrait>(array: &GenericBinaryArray<O>, out: &mut [u8], at: &mut [usize]) {
    for (value, at) in array.iter().zip(at) {
        put_bytes(out, at, BINARY, value);
    }
}

fn write_binary_view(array: &BinaryViewArray, out: &mut [u8], at: &mut [usize]) {
    for (value, at) in array.iter().zip(at) {
        put_bytes(out, at, BINARY, value);
    }
}

/// A variable-length cell. Arrow's own 32-bit view and offset lengths keep these below 4 GiB; longer ones
/// only exist in large-offset layouts, where [`push_cell`] checks them.
#[inline(always)]
fn put_bytes(out: &mut [u8], at: &mut usize, tag: u8, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            let head = &mut out[*at..*at + 5];
            head[0] = tag;
            head[1..].copy_from_slice(&(value.len() as u32).to_le_bytes());
            out[*at + 5..*at + 5 + value.len()].copy_from_slice(value);
            *at += 5 + value.len();
        }
        None => {
            out[*at] = tag | NULL;
            *at += 1;
        }
    }
}

#[inline(always)]
fn float(value: f64) -> [u8; 8] {
    let bits = if value.is_nan() { CANONICAL_NAN } else { value.to_bits() };
    bits.to_le_bytes()
}

/// Scale, then the integer, with trailing zeros after the point removed.
#[inline(always)]
fn decimal(value: i128, scale: u8) -> [u8; 17] {
    let mut scale = scale;
    let mut out = [0u8; 17];
    let value = match i64::try_from(value) {
        Ok(mut small) => {
            while scale > 0 && small % 10 == 0 {
                small /= 10;
                scale -= 1;
            }
            i128::from(small)
        }
        Err(_) => {
            let mut wide = value;
            while scale > 0 && wide % 10 == 0 {
                wide /= 10;
                scale -= 1;
            }
            wide
        }
    };
    out[0] = scale;
    out[1..].copy_from_slice(&value.to_le_bytes());
    out
}

fn length(len: usize) -> Result<[u8; 4]> {
    u32::try_from(len).map(u32::to_le_bytes).map_err(|_| Error::config("a value of 4 GiB or more cannot be hashed"))
}

/// The type code that a NULL of `ty` carries.
fn code(ty: &LogicalType) -> u8 {
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

/// Appends one cell. Correct for every type and layout; the slow path of [`write`], and its oracle in tests.
fn push_cell(ty: &LogicalType, array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<()> {
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
        DataType::Decimal32(_, s) => tagged!(DECIMAL, decimal(i128::from(value!(Decimal32Type)), *s as u8)),
        DataType::Decimal64(_, s) => tagged!(DECIMAL, decimal(i128::from(value!(Decimal64Type)), *s as u8)),
        DataType::Decimal128(_, s) => tagged!(DECIMAL, decimal(value!(Decimal128Type), *s as u8)),
        DataType::Decimal256(_, s) => {
            let (value, scale) = normalised(value!(Decimal256Type), *s as u8);
            match value.to_i128() {
                Some(small) => tagged!(DECIMAL, decimal(small, scale)),
                None => {
                    out.extend_from_slice(&[BIG_DECIMAL, scale]);
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
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

fn run<R: arrow::datatypes::RunEndIndexType>(array: &ArrayRef, row: usize) -> Option<(ArrayRef, usize)> {
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

fn normalised(mut value: i256, mut scale: u8) -> (i256, u8) {
    let ten = i256::from_i128(10);
    while scale > 0 && value.wrapping_rem(ten) == i256::ZERO {
        value = value.wrapping_div(ten);
        scale -= 1;
    }
    (value, scale)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    fn bytes_of(columns: Vec<(&str, ArrayRef)>) -> Vec<Vec<u8>> {
        let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
        let encoder = RowEncoder::new(&batch.schema()).unwrap();
        let mut rows = CanonicalRows::default();
        encoder.encode(batch.columns(), 0, batch.num_rows(), &mut rows).unwrap();
        rows.iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn values_that_other_tools_confuse_stay_apart() {
        let text = |a: Option<&str>, b: Option<&str>| {
            bytes_of(vec![("a", Arc::new(StringArray::from(vec![a]))), ("b", Arc::new(StringArray::from(vec![b])))])
        };
        let all = [
            text(Some("ab"), Some("c")),
            text(Some("a"), Some("bc")),
            text(None, Some("abc")),
            text(Some("NULL"), Some("abc")),
            text(Some(""), Some("abc")),
            text(Some("abc"), None),
            text(Some("abc "), None),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a, b);
            }
        }
        let floats = bytes_of(vec![("f", Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN])))]);
        assert_ne!(floats[0], floats[1]);
        assert_eq!(floats[2], floats[3]);
    }

    #[test]
    fn layout_and_width_do_not_count() {
        let a = bytes_of(vec![
            ("i", Arc::new(Int32Array::from(vec![Some(5), None]))),
            ("t", Arc::new(StringArray::from(vec![Some("a long text, not inlined"), None]))),
        ]);
        let b = bytes_of(vec![
            ("i", Arc::new(Int64Array::from(vec![Some(5), None]))),
            ("t", Arc::new(StringViewArray::from(vec![Some("a long text, not inlined"), None]))),
        ]);
        assert_eq!(a, b);
        let d = |v, s| {
            let array = Decimal128Array::from(vec![v]).with_precision_and_scale(20, s).unwrap();
            bytes_of(vec![("d", Arc::new(array))])
        };
        assert_eq!(d(150, 2), d(15, 1));
        assert_eq!(d(200, 2), d(2, 0));
        assert_ne!(d(20, 0), d(2, 0));
        assert_eq!(d(0, 2), d(0, 0));
    }

    #[test]
    fn a_slice_encodes_like_the_rows_it_shows() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("ccc"), Some("dd")]));
        let whole = bytes_of(vec![("t", text.clone())]);
        assert_eq!(bytes_of(vec![("t", text.slice(1, 2))]), whole[1..3]);
    }
}
