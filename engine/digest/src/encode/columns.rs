//! Whole columns: the layouts that most data comes in, each written by a loop of its own.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, ByteView, OffsetSizeTrait};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{
    BinaryViewType, ByteArrayType, ByteViewType, DataType, Date32Type, Decimal64Type, Decimal128Type, Float32Type,
    Float64Type, GenericBinaryType, GenericStringType, Int8Type, Int16Type, Int32Type, Int64Type, StringViewType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type,
};
use transload_core::{LogicalType, Result};

use super::SLACK;
use super::cell::{BOOL, DATE, DECIMAL, FLOAT, INSTANT, INT, NULL, TIMESTAMP, code, float, push_cell};

/// Bytes of a short value, which are copied in one step: more than there are, but a number known beforehand.
const STEP: usize = SLACK;

/// The cells of one column of a batch.
pub(super) trait Cells {
    /// The length of every cell, if they all have the same.
    fn fixed(&self) -> Option<usize> {
        None
    }

    /// Adds the length of each cell of `rows` to `lengths`.
    fn measure(&self, rows: Range<usize>, lengths: &mut [usize]) -> Result<()>;

    /// Writes each cell of `rows` at its row's place in `out` and moves the place on.
    fn write(&self, rows: Range<usize>, out: &mut [u8], at: &mut [usize]) -> Result<()>;
}

/// The cells of an array that holds values of `ty`.
pub(super) fn of<'a>(ty: &'a LogicalType, array: &'a ArrayRef) -> Box<dyn Cells + 'a> {
    match (ty, array.data_type()) {
        (_, DataType::Boolean) => Box::new(Bools { values: array.as_boolean().values(), nulls: nulls(array) }),
        (_, DataType::Int8) => int::<Int8Type>(array),
        (_, DataType::Int16) => int::<Int16Type>(array),
        (_, DataType::Int32) => int::<Int32Type>(array),
        (_, DataType::Int64) => int::<Int64Type>(array),
        (_, DataType::UInt8) => int::<UInt8Type>(array),
        (_, DataType::UInt16) => int::<UInt16Type>(array),
        (_, DataType::UInt32) => int::<UInt32Type>(array),
        (_, DataType::Float32) => primitive::<Float32Type, 8>(array, FLOAT, |v| float(f64::from(v))),
        (_, DataType::Float64) => primitive::<Float64Type, 8>(array, FLOAT, float),
        (_, DataType::Date32) => primitive::<Date32Type, 4>(array, DATE, i32::to_le_bytes),
        (_, DataType::Decimal64(_, scale)) => decimals::<Decimal64Type>(ty, array, *scale as u8),
        (_, DataType::Decimal128(_, scale)) => decimals::<Decimal128Type>(ty, array, *scale as u8),
        (LogicalType::Timestamp(unit, zone), DataType::Timestamp(layout, _)) => {
            let tag = if zone.is_some() { INSTANT } else { TIMESTAMP };
            let scale = i128::from(unit.nanos());
            let nanos = move |v: i64| (i128::from(v) * scale).to_le_bytes();
            match layout {
                TimeUnit::Second => primitive::<TimestampSecondType, 16>(array, tag, nanos),
                TimeUnit::Millisecond => primitive::<TimestampMillisecondType, 16>(array, tag, nanos),
                TimeUnit::Microsecond => primitive::<TimestampMicrosecondType, 16>(array, tag, nanos),
                TimeUnit::Nanosecond => primitive::<TimestampNanosecondType, 16>(array, tag, nanos),
            }
        }
        (LogicalType::Text | LogicalType::Json, DataType::Utf8) => bytes::<GenericStringType<i32>>(ty, array),
        (LogicalType::Text | LogicalType::Json, DataType::Utf8View) => views::<StringViewType>(ty, array),
        (LogicalType::Binary, DataType::Binary) => bytes::<GenericBinaryType<i32>>(ty, array),
        (LogicalType::Binary, DataType::BinaryView) => views::<BinaryViewType>(ty, array),
        _ => Box::new(Others { ty, array }),
    }
}

fn nulls(array: &ArrayRef) -> Option<&NullBuffer> {
    array.nulls().filter(|n| n.null_count() > 0)
}

/// Values of a fixed width: the tag, then `N` bytes.
struct Primitives<'a, T, F> {
    values: &'a [T],
    nulls: Option<&'a NullBuffer>,
    tag: u8,
    bytes: F,
}

fn int<'a, T>(array: &'a ArrayRef) -> Box<dyn Cells + 'a>
where
    T: ArrowPrimitiveType,
    i64: From<T::Native>,
{
    primitive::<T, 8>(array, INT, |v| i64::from(v).to_le_bytes())
}

fn primitive<'a, T: ArrowPrimitiveType, const N: usize>(
    array: &'a ArrayRef,
    tag: u8,
    bytes: impl Fn(T::Native) -> [u8; N] + 'a,
) -> Box<dyn Cells + 'a> {
    Box::new(Primitives { values: array.as_primitive::<T>().values(), nulls: nulls(array), tag, bytes })
}

impl<T: Copy, const N: usize, F: Fn(T) -> [u8; N]> Cells for Primitives<'_, T, F> {
    fn fixed(&self) -> Option<usize> {
        self.nulls.is_none().then_some(1 + N)
    }

    fn measure(&self, rows: Range<usize>, lengths: &mut [usize]) -> Result<()> {
        add_lengths(self.nulls, rows, lengths, 1 + N);
        Ok(())
    }

    fn write(&self, rows: Range<usize>, out: &mut [u8], at: &mut [usize]) -> Result<()> {
        match self.nulls {
            None => {
                for (&value, at) in self.values[rows].iter().zip(at) {
                    put(out, at, self.tag, (self.bytes)(value));
                }
            }
            Some(nulls) => {
                for ((row, &value), at) in rows.clone().zip(&self.values[rows]).zip(at) {
                    match nulls.is_valid(row) {
                        true => put(out, at, self.tag, (self.bytes)(value)),
                        false => put(out, at, self.tag | NULL, []),
                    }
                }
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn put<const N: usize>(out: &mut [u8], at: &mut usize, tag: u8, payload: [u8; N]) {
    let cell = &mut out[*at..][..1 + N];
    cell[0] = tag;
    cell[1..].copy_from_slice(&payload);
    *at += 1 + N;
}

#[inline(always)]
fn is_valid(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_none_or(|n| n.is_valid(row))
}

/// Adds up cells that all have the same length, but for NULLs.
fn add_lengths(nulls: Option<&NullBuffer>, rows: Range<usize>, lengths: &mut [usize], valid: usize) {
    for (row, length) in rows.zip(lengths) {
        *length += if is_valid(nulls, row) { valid } else { 1 };
    }
}

struct Bools<'a> {
    values: &'a BooleanBuffer,
    nulls: Option<&'a NullBuffer>,
}

impl Cells for Bools<'_> {
    fn fixed(&self) -> Option<usize> {
        self.nulls.is_none().then_some(2)
    }

    fn measure(&self, rows: Range<usize>, lengths: &mut [usize]) -> Result<()> {
        add_lengths(self.nulls, rows, lengths, 2);
        Ok(())
    }

    fn write(&self, rows: Range<usize>, out: &mut [u8], at: &mut [usize]) -> Result<()> {
        for (row, at) in rows.zip(at) {
            match is_valid(self.nulls, row) {
                true => put(out, at, BOOL, [u8::from(self.values.value(row))]),
                false => put(out, at, BOOL | NULL, []),
            }
        }
        Ok(())
    }
}

/// Decimals that are at most 64 bits wide, as most are.
struct SmallDecimals<'a, T> {
    values: &'a [T],
    scale: u8,
    nulls: Option<&'a NullBuffer>,
}

fn decimals<'a, T>(ty: &'a LogicalType, array: &'a ArrayRef, scale: u8) -> Box<dyn Cells + 'a>
where
    T: ArrowPrimitiveType,
    i128: From<T::Native>,
{
    let values = array.as_primitive::<T>().values();
    // Without an early exit, which would keep the processor from looking at several at a time.
    match values.iter().fold(true, |all, v| all & i64::try_from(i128::from(*v)).is_ok()) {
        true => Box::new(SmallDecimals { values, scale, nulls: nulls(array) }),
        false => Box::new(Others { ty, array }),
    }
}

impl<T: Copy> Cells for SmallDecimals<'_, T>
where
    i128: From<T>,
{
    fn fixed(&self) -> Option<usize> {
        self.nulls.is_none().then_some(10)
    }

    fn measure(&self, rows: Range<usize>, lengths: &mut [usize]) -> Result<()> {
        add_lengths(self.nulls, rows, lengths, 10);
        Ok(())
    }

    fn write(&self, rows: Range<usize>, out: &mut [u8], at: &mut [usize]) -> Result<()> {
        for ((row, &value), at) in rows.clone().zip(&self.values[rows]).zip(at) {
            if !is_valid(self.nulls, row) {
                put(out, at, DECIMAL | NULL, []);
                continue;
            }
            let (value, scale) = normalised(i128::from(value) as i64, self.scale);
            let cell = &mut out[*at..][..10];
            cell[0] = DECIMAL;
            cell[1] = scale;
            cell[2..].copy_from_slice(&value.to_le_bytes());
            *at += 10;
        }
        Ok(())
    }
}

/// The value without trailing zeros after the point.
#[inline(always)]
fn normalised(mut value: i64, mut scale: u8) -> (i64, u8) {
    if scale == 2 {
        // Money: without a branch on the digits, which nobody can predict.
        let hundreds = value / 100;
        let rest = value - hundreds * 100;
        let tens = rest / 10;
        let (no_cents, no_units) = (rest == 0, rest == tens * 10);
        let shorter = if no_units { hundreds * 10 + tens } else { value };
        return (if no_cents { hundreds } else { shorter }, 2 - u8::from(no_units) - u8::from(no_cents));
    }
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    (value, scale)
}

/// Text and bytes between offsets: the tag, the length, the bytes. Lengths of 32-bit offsets always fit.
struct Bytes<'a, O> {
    offsets: &'a [O],
    data: &'a [u8],
    nulls: Option<&'a NullBuffer>,
    tag: u8,
}

fn bytes<'a, T: ByteArrayType<Offset = i32>>(ty: &LogicalType, array: &'a ArrayRef) -> Box<dyn Cells + 'a> {
    let values = array.as_bytes::<T>();
    Box::new(Bytes { offsets: values.value_offsets(), data: values.value_data(), nulls: nulls(array), tag: code(ty) })
}

impl<O: OffsetSizeTrait> Cells for Bytes<'_, O> {
    fn measure(&self, rows: Range<usize>, lengths: &mut [usize]) -> Result<()> {
        for (row, length) in rows.zip(lengths) {
            let len = self.offsets[row + 1].as_usize() - self.offsets[row].as_usize();
            *length += if is_valid(self.nulls, row) { 5 + len } else { 1 };
        }
        Ok(())
    }

    fn write(&self, rows: Range<usize>, out: &mut [u8], at: &mut [usize]) -> Result<()> {
        for (row, at) in rows.zip(at) {
            if !is_valid(self.nulls, row) {
                put(out, at, self.tag | NULL, []);
                continue;
            }
            let (start, end) = (self.offsets[row].as_usize(), self.offsets[row + 1].as_usize());
            put_bytes(out, at, self.tag, &self.data[start..], end - start);
        }
        Ok(())
    }
}

/// Text and bytes as views.
struct Views<'a> {
    views: &'a [u128],
    buffers: &'a [Buffer],
    nulls: Option<&'a NullBuffer>,
    tag: u8,
}

fn views<'a, T: ByteViewType>(ty: &LogicalType, array: &'a ArrayRef) -> Box<dyn Cells + 'a> {
    let values = array.as_byte_view::<T>();
    Box::new(Views { views: values.views(), buffers: values.data_buffers(), nulls: nulls(array), tag: code(ty) })
}

impl Cells for Views<'_> {
    fn measure(&self, rows: Range<usize>, lengths: &mut [usize]) -> Result<()> {
        let views = &self.views[rows.clone()];
        match self.nulls {
            None => views.iter().zip(lengths).for_each(|(&view, length)| *length += 5 + view as u32 as usize),
            Some(nulls) => {
                for ((row, &view), length) in rows.zip(views).zip(lengths) {
                    *length += if nulls.is_valid(row) { 5 + view as u32 as usize } else { 1 };
                }
            }
        }
        Ok(())
    }

    fn write(&self, rows: Range<usize>, out: &mut [u8], at: &mut [usize]) -> Result<()> {
        for ((row, &view), at) in rows.clone().zip(&self.views[rows]).zip(at) {
            if !is_valid(self.nulls, row) {
                put(out, at, self.tag | NULL, []);
                continue;
            }
            let len = view as u32 as usize;
            if len <= 12 {
                // A short view is what a cell is: the length, then the bytes.
                let cell = &mut out[*at..][..17];
                cell[0] = self.tag;
                cell[1..].copy_from_slice(&view.to_le_bytes());
                *at += 5 + len;
            } else {
                let view = ByteView::from(view);
                let data = &self.buffers[view.buffer_index as usize].as_slice()[view.offset as usize..];
                put_bytes(out, at, self.tag, data, len);
            }
        }
        Ok(())
    }
}

/// The cell of the first `len` bytes of `data`.
#[inline(always)]
fn put_bytes(out: &mut [u8], at: &mut usize, tag: u8, data: &[u8], len: usize) {
    put(out, at, tag, (len as u32).to_le_bytes());
    let out = &mut out[*at..];
    match (data.first_chunk::<STEP>(), out.first_chunk_mut::<STEP>()) {
        (Some(from), Some(to)) if len <= STEP => *to = *from,
        _ => out[..len].copy_from_slice(&data[..len]),
    }
    *at += len;
}

/// Everything else: nested values, wide decimals and packed layouts, written cell by cell.
struct Others<'a> {
    ty: &'a LogicalType,
    array: &'a ArrayRef,
}

impl Cells for Others<'_> {
    fn measure(&self, rows: Range<usize>, lengths: &mut [usize]) -> Result<()> {
        let mut cell = Vec::new();
        for (row, length) in rows.zip(lengths) {
            cell.clear();
            push_cell(self.ty, self.array, row, &mut cell)?;
            *length += cell.len();
        }
        Ok(())
    }

    fn write(&self, rows: Range<usize>, out: &mut [u8], at: &mut [usize]) -> Result<()> {
        let mut cell = Vec::new();
        for (row, at) in rows.zip(at) {
            cell.clear();
            push_cell(self.ty, self.array, row, &mut cell)?;
            out[*at..][..cell.len()].copy_from_slice(&cell);
            *at += cell.len();
        }
        Ok(())
    }
}
