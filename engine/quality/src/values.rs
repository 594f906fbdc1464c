//! Looking at all values of a column at once. Every function answers with the rows whose value is bad, or `None` if
//! there is none, which is the common case and costs no bitmap where that can be helped. NULL is never bad here.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, StringArrayType};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::DataType;
use transload_core::{Error, LogicalType, Result};

/// Rows of a column of numbers, dates or times whose value is `bad`.
pub(crate) fn primitive<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    bad: impl Fn(T::Native) -> bool,
) -> Option<BooleanBuffer> {
    let array = array.as_primitive_opt::<T>()?;
    let values: &[T::Native] = array.values();
    if !values.iter().fold(false, |any, v| any | bad(*v)) {
        return None;
    }
    valid_only(BooleanBuffer::collect_bool(values.len(), |i| bad(values[i])), array.nulls())
}

/// Rows of a text column whose value is `bad`.
pub(crate) fn text(array: &ArrayRef, bad: impl Fn(&str) -> bool) -> Result<Option<BooleanBuffer>> {
    Ok(match array.data_type() {
        DataType::Utf8 => strings(array.as_string::<i32>(), bad),
        DataType::LargeUtf8 => strings(array.as_string::<i64>(), bad),
        DataType::Utf8View => strings(array.as_string_view(), bad),
        DataType::Null => None,
        other => return Err(Error::internal(format!("a text check met a column of {other}"))),
    })
}

fn strings<'a, S: StringArrayType<'a>>(array: S, bad: impl Fn(&str) -> bool) -> Option<BooleanBuffer> {
    let len = array.len();
    let found = match array.nulls().filter(|n| n.null_count() > 0) {
        None => BooleanBuffer::collect_bool(len, |i| bad(array.value(i))),
        Some(nulls) => BooleanBuffer::collect_bool(len, |i| nulls.is_valid(i) && bad(array.value(i))),
    };
    some(found)
}

/// `bits` without rows that are NULL.
pub(crate) fn valid_only(bits: BooleanBuffer, nulls: Option<&NullBuffer>) -> Option<BooleanBuffer> {
    match nulls.filter(|n| n.null_count() > 0) {
        Some(nulls) => some(&bits & nulls.inner()),
        None => some(bits),
    }
}

/// `None` for no bits.
pub(crate) fn some(bits: BooleanBuffer) -> Option<BooleanBuffer> {
    bits.has_true().then_some(bits)
}

/// Whether a column can be read as text.
pub(crate) fn is_text(ty: &LogicalType) -> bool {
    matches!(ty, LogicalType::Text | LogicalType::Json)
}

/// What is said about a column whose type a check cannot look at.
pub(crate) fn wrong_type(kind: &str, column: &str, ty: &LogicalType, needs: &str) -> String {
    format!("`{kind}` needs {needs}, and `{column}` is {ty}")
}

/// Runs `$body` with the Arrow type of a column of whole numbers, decimals, dates, times or timestamps as `$T`.
macro_rules! for_exact_type {
    ($data_type:expr, $T:ident => $body:expr, else $other:expr) => {{
        use arrow::datatypes as t;
        match $data_type {
            t::DataType::Int8 => {
                type $T = t::Int8Type;
                $body
            }
            t::DataType::Int16 => {
                type $T = t::Int16Type;
                $body
            }
            t::DataType::Int32 => {
                type $T = t::Int32Type;
                $body
            }
            t::DataType::Int64 => {
                type $T = t::Int64Type;
                $body
            }
            t::DataType::UInt8 => {
                type $T = t::UInt8Type;
                $body
            }
            t::DataType::UInt16 => {
                type $T = t::UInt16Type;
                $body
            }
            t::DataType::UInt32 => {
                type $T = t::UInt32Type;
                $body
            }
            t::DataType::UInt64 => {
                type $T = t::UInt64Type;
                $body
            }
            t::DataType::Decimal32(..) => {
                type $T = t::Decimal32Type;
                $body
            }
            t::DataType::Decimal64(..) => {
                type $T = t::Decimal64Type;
                $body
            }
            t::DataType::Decimal128(..) => {
                type $T = t::Decimal128Type;
                $body
            }
            t::DataType::Date32 => {
                type $T = t::Date32Type;
                $body
            }
            t::DataType::Time32(t::TimeUnit::Second) => {
                type $T = t::Time32SecondType;
                $body
            }
            t::DataType::Time32(_) => {
                type $T = t::Time32MillisecondType;
                $body
            }
            t::DataType::Time64(t::TimeUnit::Microsecond) => {
                type $T = t::Time64MicrosecondType;
                $body
            }
            t::DataType::Time64(_) => {
                type $T = t::Time64NanosecondType;
                $body
            }
            t::DataType::Timestamp(t::TimeUnit::Second, _) => {
                type $T = t::TimestampSecondType;
                $body
            }
            t::DataType::Timestamp(t::TimeUnit::Millisecond, _) => {
                type $T = t::TimestampMillisecondType;
                $body
            }
            t::DataType::Timestamp(t::TimeUnit::Microsecond, _) => {
                type $T = t::TimestampMicrosecondType;
                $body
            }
            t::DataType::Timestamp(t::TimeUnit::Nanosecond, _) => {
                type $T = t::TimestampNanosecondType;
                $body
            }
            _ => $other,
        }
    }};
}

pub(crate) use for_exact_type;

/// Shows every value of a column of whole numbers, decimals (as their digits), dates, times or timestamps (as their
/// ticks) that is not NULL to `see`, in order. False if the column holds something else.
pub(crate) fn each_exact(array: &ArrayRef, mut see: impl FnMut(i128)) -> bool {
    for_exact_type!(array.data_type(), T => {
        let array = array.as_primitive::<T>();
        #[allow(clippy::useless_conversion, reason = "one of the types is i128 itself")]
        match array.null_count() {
            0 => array.values().iter().for_each(|v| see(i128::from(*v))),
            _ => array.iter().flatten().for_each(|v| see(i128::from(v))),
        }
        true
    }, else false)
}

/// The same for floats.
pub(crate) fn each_float(array: &ArrayRef, mut see: impl FnMut(f64)) -> bool {
    use arrow::datatypes::{Float32Type, Float64Type};
    if let Some(array) = array.as_primitive_opt::<Float64Type>() {
        array.iter().flatten().for_each(see);
    } else if let Some(array) = array.as_primitive_opt::<Float32Type>() {
        array.iter().flatten().for_each(|v| see(f64::from(v)));
    } else {
        return false;
    }
    true
}

/// The same for text.
pub(crate) fn each_text(array: &ArrayRef, see: impl FnMut(&str)) -> bool {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().flatten().for_each(see),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().flatten().for_each(see),
        DataType::Utf8View => array.as_string_view().iter().flatten().for_each(see),
        _ => return false,
    }
    true
}
