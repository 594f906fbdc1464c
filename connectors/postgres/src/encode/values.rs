//! Columns of a batch, looked at once, so that each value of a row is written without asking again what it is.

use arrow::array::{Array, AsArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, StringViewArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    Float16Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, RunEndIndexType, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType, i256,
};

use super::wire::{Scalar, Wire};
use super::{Unfit, number, time};

/// The most bytes of a value, about: the server's own limit for all of a row.
const LONGEST: usize = (1 << 30) - (1 << 20);

/// What stands for NULL, in place of a length.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// A column of a batch.
pub(super) struct Values<'a> {
    nulls: Option<&'a NullBuffer>,
    kind: Kind<'a>,
}

/// How its values are stored, and with that how they are sent.
enum Kind<'a> {
    /// All of them are NULL.
    Null,
    Bool(&'a BooleanArray),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float16(&'a [<Float16Type as ArrowPrimitiveType>::Native]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal32(&'a [i32], u32),
    Decimal64(&'a [i64], u32),
    Decimal128(&'a [i128], u32),
    Decimal256(&'a [i256], u32),
    Bytes(Bytes<'a, i32>),
    LargeBytes(Bytes<'a, i64>),
    TextView(&'a StringViewArray),
    BytesView(&'a BinaryViewArray),
    FixedBytes(&'a FixedSizeBinaryArray),
    Days(&'a [i32]),
    Milliseconds(&'a [i64]),
    Times(&'a [i64]),
    Moments(&'a [i64]),
    List {
        ends: Ends<'a>,
        items: Box<Values<'a>>,
        oid: u32,
    },
    /// Values of a dictionary, or of runs, and which of them each row has.
    Picked {
        at: Vec<usize>,
        values: Box<Values<'a>>,
    },
}

/// Bytes of all rows, one after the other.
struct Bytes<'a, O> {
    offsets: &'a [O],
    data: &'a [u8],
    /// Whether they are text in which there is a zero character somewhere, or between the rows.
    may_have_zeros: bool,
}

/// Where the items of a row's list are.
enum Ends<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
    Fixed(usize),
}

impl Ends<'_> {
    fn of(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Self::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Fixed(len) => row * len..(row + 1) * len,
        }
    }
}

impl<'a, O: Copy> Bytes<'a, O> {
    fn new(offsets: &'a [O], data: &'a [u8], is_text: bool, place: impl Fn(O) -> usize) -> Self {
        let used = match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => data.get(place(*first)..place(*last)).unwrap_or(data),
            _ => data,
        };
        Self { offsets, data, may_have_zeros: is_text && used.contains(&0) }
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>, from: usize, to: usize) -> Result<(), Unfit> {
        let value = &self.data[from..to];
        if self.may_have_zeros && value.contains(&0) {
            return Err(Unfit::Zero);
        }
        bytes(out, value)
    }
}

impl<'a> Values<'a> {
    /// The values of an array, to be sent as a type; `None` if they cannot be.
    pub(super) fn of(array: &'a dyn Array, wire: Wire) -> Option<Self> {
        let kind = match (array.data_type(), wire.is_list) {
            (DataType::Null, _) => Kind::Null,
            (DataType::Dictionary(..), _) => {
                let dictionary = array.as_any_dictionary();
                match dictionary.values().is_empty() {
                    true => Kind::Null,
                    false => Kind::Picked {
                        at: dictionary.normalized_keys(),
                        values: Box::new(Self::of(dictionary.values().as_ref(), wire)?),
                    },
                }
            }
            (DataType::RunEndEncoded(ends, _), _) => match ends.data_type() {
                DataType::Int16 => Self::of_runs::<Int16Type>(array, wire)?,
                DataType::Int32 => Self::of_runs::<Int32Type>(array, wire)?,
                DataType::Int64 => Self::of_runs::<Int64Type>(array, wire)?,
                _ => return None,
            },
            (_, true) => Self::of_lists(array, wire.item)?,
            (_, false) => scalars(array, wire.item)?,
        };
        Some(Self { nulls: array.nulls(), kind })
    }

    fn of_runs<R: RunEndIndexType>(array: &'a dyn Array, wire: Wire) -> Option<Kind<'a>> {
        let runs = array.as_run_opt::<R>()?;
        Some(Kind::Picked {
            at: (0..array.len()).map(|row| runs.get_physical_index(row)).collect(),
            values: Box::new(Self::of(runs.values().as_ref(), wire)?),
        })
    }

    fn of_lists(array: &'a dyn Array, item: Scalar) -> Option<Kind<'a>> {
        let (ends, items) = match array.data_type() {
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                (Ends::Small(lists.value_offsets()), lists.values())
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                (Ends::Large(lists.value_offsets()), lists.values())
            }
            DataType::FixedSizeList(_, len) => {
                (Ends::Fixed(usize::try_from(*len).ok()?), array.as_fixed_size_list().values())
            }
            _ => return None,
        };
        let items = Self::of(items.as_ref(), Wire { item, is_list: false })?;
        Some(Kind::List { ends, items: Box::new(items), oid: item.oid() })
    }

    /// Writes the value of a row, with its length before it.
    ///
    /// # Errors
    /// A value that the type does not hold. What was written of it before is of no use.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, row: usize) -> Result<(), Unfit> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            null(out);
            return Ok(());
        }
        match &self.kind {
            Kind::Null => null(out),
            Kind::Bool(values) => out.extend_from_slice(&[0, 0, 0, 1, u8::from(values.value(row))]),
            Kind::Int16(values) => two(out, values[row]),
            Kind::Int32(values) => four(out, values[row].to_be_bytes()),
            Kind::Int64(values) => eight(out, values[row].to_be_bytes()),
            Kind::Float16(values) => four(out, values[row].to_f32().to_be_bytes()),
            Kind::Float32(values) => four(out, values[row].to_be_bytes()),
            Kind::Float64(values) => eight(out, values[row].to_be_bytes()),
            Kind::Decimal32(values, scale) => whole(out, i64::from(values[row]), *scale),
            Kind::Decimal64(values, scale) => whole(out, values[row], *scale),
            Kind::Decimal128(values, scale) => number::large(out, values[row], *scale),
            Kind::Decimal256(values, scale) => number::huge(out, values[row], *scale),
            Kind::Bytes(values) => {
                values.write(out, values.offsets[row] as usize, values.offsets[row + 1] as usize)?;
            }
            Kind::LargeBytes(values) => {
                values.write(out, values.offsets[row] as usize, values.offsets[row + 1] as usize)?;
            }
            Kind::TextView(values) => {
                let value = values.value(row).as_bytes();
                if value.contains(&0) {
                    return Err(Unfit::Zero);
                }
                bytes(out, value)?;
            }
            Kind::BytesView(values) => bytes(out, values.value(row))?,
            Kind::FixedBytes(values) => bytes(out, values.value(row))?,
            Kind::Days(values) => four(out, time::day(i64::from(values[row]))?.to_be_bytes()),
            Kind::Milliseconds(values) => four(out, time::day(values[row].div_euclid(86_400_000))?.to_be_bytes()),
            Kind::Times(values) => eight(out, time::of_day(values[row])?.to_be_bytes()),
            Kind::Moments(values) => eight(out, time::moment(values[row])?.to_be_bytes()),
            Kind::List { ends, items, oid } => return list(out, ends.of(row), items, *oid),
            Kind::Picked { at, values } => return values.write(out, at[row]),
        }
        Ok(())
    }

    fn is_null(&self, row: usize) -> bool {
        match &self.kind {
            Kind::Null => true,
            _ if self.nulls.is_some_and(|nulls| nulls.is_null(row)) => true,
            Kind::Picked { at, values } => values.is_null(at[row]),
            _ => false,
        }
    }
}

/// The values of an array that have no parts.
fn scalars(array: &dyn Array, scalar: Scalar) -> Option<Kind<'_>> {
    let scale = |scale: i8| u32::try_from(scale).ok();
    let is_text = matches!(scalar, Scalar::Text | Scalar::Json);
    Some(match (array.data_type(), scalar) {
        (DataType::Boolean, Scalar::Bool) => Kind::Bool(array.as_boolean()),
        (DataType::Int16, Scalar::Int2) => Kind::Int16(array.as_primitive::<Int16Type>().values()),
        (DataType::Int32, Scalar::Int4) => Kind::Int32(array.as_primitive::<Int32Type>().values()),
        (DataType::Int64, Scalar::Int8) => Kind::Int64(array.as_primitive::<Int64Type>().values()),
        (DataType::Float16, Scalar::Float4) => Kind::Float16(array.as_primitive::<Float16Type>().values()),
        (DataType::Float32, Scalar::Float4) => Kind::Float32(array.as_primitive::<Float32Type>().values()),
        (DataType::Float64, Scalar::Float8) => Kind::Float64(array.as_primitive::<Float64Type>().values()),
        (DataType::Decimal32(_, s), Scalar::Numeric) => {
            Kind::Decimal32(array.as_primitive::<Decimal32Type>().values(), scale(*s)?)
        }
        (DataType::Decimal64(_, s), Scalar::Numeric) => {
            Kind::Decimal64(array.as_primitive::<Decimal64Type>().values(), scale(*s)?)
        }
        (DataType::Decimal128(_, s), Scalar::Numeric) => {
            Kind::Decimal128(array.as_primitive::<Decimal128Type>().values(), scale(*s)?)
        }
        (DataType::Decimal256(_, s), Scalar::Numeric) => {
            Kind::Decimal256(array.as_primitive::<Decimal256Type>().values(), scale(*s)?)
        }
        (DataType::Utf8, _) if is_text => {
            let values = array.as_string::<i32>();
            Kind::Bytes(Bytes::new(values.value_offsets(), values.value_data(), true, |at| at as usize))
        }
        (DataType::LargeUtf8, _) if is_text => {
            let values = array.as_string::<i64>();
            Kind::LargeBytes(Bytes::new(values.value_offsets(), values.value_data(), true, |at| at as usize))
        }
        (DataType::Utf8View, _) if is_text => Kind::TextView(array.as_string_view()),
        (DataType::Binary, Scalar::Bytea) => {
            let values = array.as_binary::<i32>();
            Kind::Bytes(Bytes::new(values.value_offsets(), values.value_data(), false, |at| at as usize))
        }
        (DataType::LargeBinary, Scalar::Bytea) => {
            let values = array.as_binary::<i64>();
            Kind::LargeBytes(Bytes::new(values.value_offsets(), values.value_data(), false, |at| at as usize))
        }
        (DataType::BinaryView, Scalar::Bytea) => Kind::BytesView(array.as_binary_view()),
        (DataType::FixedSizeBinary(_), Scalar::Bytea) | (DataType::FixedSizeBinary(16), Scalar::Uuid) => {
            Kind::FixedBytes(array.as_fixed_size_binary())
        }
        (DataType::Date32, Scalar::Date) => Kind::Days(array.as_primitive::<Date32Type>().values()),
        (DataType::Date64, Scalar::Date) => Kind::Milliseconds(array.as_primitive::<Date64Type>().values()),
        (DataType::Time64(TimeUnit::Microsecond), Scalar::Time) => {
            Kind::Times(array.as_primitive::<Time64MicrosecondType>().values())
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), Scalar::Timestamp | Scalar::TimestampTz) => {
            Kind::Moments(array.as_primitive::<TimestampMicrosecondType>().values())
        }
        _ => return None,
    })
}

pub(super) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&NULL);
}

#[inline]
fn two(out: &mut Vec<u8>, value: i16) {
    let [high, low] = value.to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 2, high, low]);
}

#[inline]
fn four(out: &mut Vec<u8>, value: [u8; 4]) {
    let [a, b, c, d] = value;
    out.extend_from_slice(&[0, 0, 0, 4, a, b, c, d]);
}

#[inline]
fn eight(out: &mut Vec<u8>, value: [u8; 8]) {
    let mut sized = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    sized[4..].copy_from_slice(&value);
    out.extend_from_slice(&sized);
}

#[inline]
fn whole(out: &mut Vec<u8>, value: i64, scale: u32) {
    number::small(out, value < 0, value.unsigned_abs(), scale);
}

#[inline]
fn bytes(out: &mut Vec<u8>, value: &[u8]) -> Result<(), Unfit> {
    if value.len() > LONGEST {
        return Err(Unfit::Long);
    }
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// An array of one dimension that is counted from 1, or one without any.
fn list(out: &mut Vec<u8>, rows: std::ops::Range<usize>, items: &Values<'_>, oid: u32) -> Result<(), Unfit> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let dimensions = u32::from(!rows.is_empty());
    let has_nulls = u32::from(rows.clone().any(|row| items.is_null(row)));
    for part in [dimensions, has_nulls, oid] {
        out.extend_from_slice(&part.to_be_bytes());
    }
    if !rows.is_empty() {
        let len = i32::try_from(rows.len()).map_err(|_| Unfit::Long)?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    for row in rows {
        items.write(out, row)?;
    }
    let len = out.len() - start - 4;
    if len > LONGEST {
        return Err(Unfit::Long);
    }
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&(len as u32).to_be_bytes());
    }
    Ok(())
}
