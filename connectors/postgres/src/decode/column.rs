//! The values of one column, as they come.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, FixedSizeBinaryArray, NullBufferBuilder, PrimitiveArray,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
    UInt32Type, i256,
};

use super::fault::Fault;
use super::nested::{Lists, Maps, Records};
use super::reader::fixed;
use super::text::{Bytes, jsonb};
use super::{numeric, time};
use crate::types::{Kind, UTC};

/// Values of one kind and which of them are NULL.
pub(crate) struct Builder {
    values: Values,
    nulls: NullBufferBuilder,
}

/// One place for each row; what is there for NULL has no meaning.
enum Values {
    Bool(BooleanBufferBuilder),
    Int2(Vec<i16>),
    Int4(Vec<i32>),
    Int8(Vec<i64>),
    Oid(Vec<u32>),
    Float4(Vec<f32>),
    Float8(Vec<f64>),
    Decimal128(Vec<i128>, u8, i8),
    Decimal256(Vec<i256>, u8, i8),
    Money(Vec<i128>, i8),
    Text(Bytes),
    Jsonb(Bytes),
    Bytea(Bytes),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp(Vec<i64>, Option<&'static str>),
    Interval(Vec<IntervalMonthDayNano>),
    Uuid(Vec<u8>),
    List(Box<Lists>),
    Map(Box<Maps>),
    Record(Records),
}

/// Bytes of a UUID.
const UUID: usize = 16;

impl Builder {
    pub(crate) fn new(kind: &Kind) -> Self {
        let values = match kind {
            Kind::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            Kind::Int2 => Values::Int2(Vec::new()),
            Kind::Int4 => Values::Int4(Vec::new()),
            Kind::Int8 => Values::Int8(Vec::new()),
            Kind::Oid => Values::Oid(Vec::new()),
            Kind::Float4 => Values::Float4(Vec::new()),
            Kind::Float8 => Values::Float8(Vec::new()),
            Kind::Numeric { precision, scale } if *precision <= 38 => {
                Values::Decimal128(Vec::new(), *precision, *scale)
            }
            Kind::Numeric { precision, scale } => Values::Decimal256(Vec::new(), *precision, *scale),
            Kind::Money { scale } => Values::Money(Vec::new(), scale.cast_signed()),
            Kind::Text | Kind::Json | Kind::Rendered | Kind::Declared(_) => Values::Text(Bytes::new()),
            Kind::Jsonb => Values::Jsonb(Bytes::new()),
            Kind::Bytea => Values::Bytea(Bytes::new()),
            Kind::Date => Values::Date(Vec::new()),
            Kind::Time => Values::Time(Vec::new()),
            Kind::Timestamp => Values::Timestamp(Vec::new(), None),
            Kind::TimestampTz => Values::Timestamp(Vec::new(), Some(UTC)),
            Kind::Interval => Values::Interval(Vec::new()),
            Kind::Uuid => Values::Uuid(Vec::new()),
            Kind::Hstore => Values::Map(Box::new(Maps::new())),
            Kind::Array(item) => Values::List(Box::new(Lists::new(item))),
            Kind::Record(parts) => Values::Record(Records::new(parts)),
        };
        Self { values, nulls: NullBufferBuilder::new(0) }
    }

    /// Adds the value that these bytes are. After a fault the builder is of no use any more.
    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) -> Result<(), Fault> {
        match &mut self.values {
            Values::Bool(values) => values.append(truth(value)?),
            Values::Int2(values) => values.push(i16::from_be_bytes(fixed(value)?)),
            Values::Int4(values) => values.push(i32::from_be_bytes(fixed(value)?)),
            Values::Int8(values) => values.push(i64::from_be_bytes(fixed(value)?)),
            Values::Oid(values) => values.push(u32::from_be_bytes(fixed(value)?)),
            Values::Float4(values) => values.push(f32::from_be_bytes(fixed(value)?)),
            Values::Float8(values) => values.push(f64::from_be_bytes(fixed(value)?)),
            Values::Decimal128(values, precision, scale) => {
                values.push(numeric::decimal128(value, *precision, *scale)?);
            }
            Values::Decimal256(values, precision, scale) => {
                values.push(numeric::decimal256(value, *precision, *scale)?);
            }
            Values::Money(values, _) => values.push(i128::from(i64::from_be_bytes(fixed(value)?))),
            Values::Text(values) | Values::Bytea(values) => values.push(value)?,
            Values::Jsonb(values) => values.push(jsonb(value)?)?,
            Values::Date(values) => values.push(time::date(value)?),
            Values::Time(values) => values.push(time::time(value)?),
            Values::Timestamp(values, _) => values.push(time::timestamp(value)?),
            Values::Interval(values) => values.push(time::interval(value)?),
            Values::Uuid(values) => values.extend_from_slice(&fixed::<UUID>(value)?),
            Values::List(values) => values.push(value)?,
            Values::Map(values) => values.push(value)?,
            Values::Record(values) => values.push(value)?,
        }
        self.nulls.append_non_null();
        Ok(())
    }

    #[inline]
    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Bool(values) => values.append(false),
            Values::Int2(values) => values.push(0),
            Values::Int4(values) | Values::Date(values) => values.push(0),
            Values::Int8(values) | Values::Time(values) | Values::Timestamp(values, _) => values.push(0),
            Values::Oid(values) => values.push(0),
            Values::Float4(values) => values.push(0.0),
            Values::Float8(values) => values.push(0.0),
            Values::Decimal128(values, ..) | Values::Money(values, _) => values.push(0),
            Values::Decimal256(values, ..) => values.push(i256::ZERO),
            Values::Text(values) | Values::Jsonb(values) | Values::Bytea(values) => values.push_empty(),
            Values::Interval(values) => values.push(IntervalMonthDayNano::ZERO),
            Values::Uuid(values) => values.extend_from_slice(&[0; UUID]),
            Values::List(values) => values.push_empty(),
            Values::Map(values) => values.push_empty(),
            Values::Record(values) => values.push_null(),
        }
        self.nulls.append_null();
    }

    /// Adds a value, or NULL.
    pub(crate) fn push_value(&mut self, value: Option<&[u8]>) -> Result<(), Fault> {
        match value {
            Some(value) => self.push(value),
            None => {
                self.push_null();
                Ok(())
            }
        }
    }

    /// How many values there are, NULLs among them.
    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Keeps the first `rows` values.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows),
            Values::Int2(values) => values.truncate(rows),
            Values::Int4(values) | Values::Date(values) => values.truncate(rows),
            Values::Int8(values) | Values::Time(values) | Values::Timestamp(values, _) => values.truncate(rows),
            Values::Oid(values) => values.truncate(rows),
            Values::Float4(values) => values.truncate(rows),
            Values::Float8(values) => values.truncate(rows),
            Values::Decimal128(values, ..) | Values::Money(values, _) => values.truncate(rows),
            Values::Decimal256(values, ..) => values.truncate(rows),
            Values::Text(values) | Values::Jsonb(values) | Values::Bytea(values) => values.truncate(rows),
            Values::Interval(values) => values.truncate(rows),
            Values::Uuid(values) => values.truncate(rows * UUID),
            Values::List(values) => values.truncate(rows),
            Values::Map(values) => values.truncate(rows),
            Values::Record(values) => values.truncate(rows),
        }
        self.nulls.truncate(rows);
    }

    /// About how many bytes a row takes, without values of any length.
    pub(crate) fn width(&self) -> usize {
        match &self.values {
            Values::Bool(_) => 1,
            Values::Int2(_) => 2,
            Values::Int4(_) | Values::Oid(_) | Values::Float4(_) | Values::Date(_) => 4,
            Values::Int8(_) | Values::Float8(_) | Values::Time(_) | Values::Timestamp(..) => 8,
            Values::Decimal128(..) | Values::Money(..) | Values::Interval(_) | Values::Uuid(_) => 16,
            Values::Decimal256(..) => 32,
            Values::Text(_) | Values::Jsonb(_) | Values::Bytea(_) | Values::List(_) | Values::Map(_) => 4,
            Values::Record(values) => values.width(),
        }
    }

    /// Whether a value may take more than the width of a row.
    pub(crate) fn is_of_any_length(&self) -> bool {
        matches!(
            self.values,
            Values::Text(_)
                | Values::Jsonb(_)
                | Values::Bytea(_)
                | Values::List(_)
                | Values::Map(_)
                | Values::Record(_)
        )
    }

    /// The values so far, in the layout of their kind. The builder begins anew, with room for as many.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, Fault> {
        let nulls = self.nulls.finish();
        let array: ArrayRef = match &mut self.values {
            Values::Bool(values) => {
                let next = BooleanBufferBuilder::new(values.len());
                Arc::new(BooleanArray::new(std::mem::replace(values, next).build(), nulls))
            }
            Values::Int2(values) => Arc::new(primitive::<Int16Type>(values, nulls)?),
            Values::Int4(values) => Arc::new(primitive::<Int32Type>(values, nulls)?),
            Values::Int8(values) => Arc::new(primitive::<Int64Type>(values, nulls)?),
            Values::Oid(values) => Arc::new(primitive::<UInt32Type>(values, nulls)?),
            Values::Float4(values) => Arc::new(primitive::<Float32Type>(values, nulls)?),
            Values::Float8(values) => Arc::new(primitive::<Float64Type>(values, nulls)?),
            Values::Decimal128(values, precision, scale) => {
                let array = primitive::<Decimal128Type>(values, nulls)?;
                Arc::new(array.with_precision_and_scale(*precision, *scale).map_err(|_| Fault::Broken)?)
            }
            Values::Decimal256(values, precision, scale) => {
                let array = primitive::<Decimal256Type>(values, nulls)?;
                Arc::new(array.with_precision_and_scale(*precision, *scale).map_err(|_| Fault::Broken)?)
            }
            Values::Money(values, scale) => {
                let array = primitive::<Decimal128Type>(values, nulls)?;
                Arc::new(array.with_precision_and_scale(19, *scale).map_err(|_| Fault::Broken)?)
            }
            Values::Text(values) | Values::Jsonb(values) => values.texts(nulls)?,
            Values::Bytea(values) => values.binary(nulls)?,
            Values::Date(values) => Arc::new(primitive::<Date32Type>(values, nulls)?),
            Values::Time(values) => Arc::new(primitive::<Time64MicrosecondType>(values, nulls)?),
            Values::Timestamp(values, zone) => {
                Arc::new(primitive::<TimestampMicrosecondType>(values, nulls)?.with_timezone_opt(*zone))
            }
            Values::Interval(values) => Arc::new(primitive::<IntervalMonthDayNanoType>(values, nulls)?),
            Values::Uuid(values) => {
                let bytes = Buffer::from_vec(taken(values));
                Arc::new(FixedSizeBinaryArray::try_new(16, bytes, nulls).map_err(|_| Fault::Broken)?)
            }
            Values::List(values) => values.finish(nulls)?,
            Values::Map(values) => values.finish(nulls)?,
            Values::Record(values) => values.finish(nulls)?,
        };
        Ok(array)
    }
}

#[inline]
fn truth(value: &[u8]) -> Result<bool, Fault> {
    match value {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Fault::Broken),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> Result<PrimitiveArray<T>, Fault> {
    PrimitiveArray::try_new(taken(values).into(), nulls).map_err(|_| Fault::Broken)
}

/// The values, and room for as many in their place.
fn taken<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}
