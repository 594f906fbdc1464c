//! The values of a batch, cell by cell, for formats that are written row by row.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, LargeBinaryArray, LargeStringArray, ListArray, MapArray, StringArray, StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use transload_core::types::Unit;
use transload_core::{Error, LogicalType, Result};

/// The cells of a column, or of a part of one.
pub(crate) struct Cells<'a> {
    /// The column's name, or that of the part.
    pub(crate) name: &'a str,
    /// Whether a cell may be NULL.
    pub(crate) is_nullable: bool,
    nulls: Option<&'a NullBuffer>,
    pub(crate) values: Values<'a>,
}

/// Their values.
pub(crate) enum Values<'a> {
    Bool(&'a BooleanArray),
    Int(Ints<'a>),
    UInt64(&'a [u64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal128(&'a Decimal128Array),
    Decimal256(&'a Decimal256Array),
    Text(Texts<'a>),
    Bytes(Binaries<'a>),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a [i32]),
    Time32(&'a [i32], Unit),
    Time64(&'a [i64], Unit),
    /// Ticks, their unit, and whether they are points in time (UTC) rather than wall clocks.
    Timestamp(&'a [i64], Unit, bool),
    List(&'a ListArray, Box<Cells<'a>>),
    Struct(Vec<Cells<'a>>),
    /// The map, its keys and its values.
    Map(&'a MapArray, Box<Cells<'a>>, Box<Cells<'a>>),
}

/// Whole numbers that fit into 64 bits with a sign.
pub(crate) enum Ints<'a> {
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
}

impl Ints<'_> {
    pub(crate) fn at(&self, row: usize) -> i64 {
        match self {
            Self::I8(values) => values[row].into(),
            Self::I16(values) => values[row].into(),
            Self::I32(values) => values[row].into(),
            Self::I64(values) => values[row],
            Self::U8(values) => values[row].into(),
            Self::U16(values) => values[row].into(),
            Self::U32(values) => values[row].into(),
        }
    }
}

/// Texts in any layout.
pub(crate) enum Texts<'a> {
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

impl<'a> Texts<'a> {
    pub(crate) fn at(&self, row: usize) -> &'a str {
        match self {
            Self::Small(texts) => texts.value(row),
            Self::Large(texts) => texts.value(row),
            Self::View(texts) => texts.value(row),
        }
    }
}

/// Bytes in any layout.
pub(crate) enum Binaries<'a> {
    Small(&'a BinaryArray),
    Large(&'a LargeBinaryArray),
    View(&'a BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
}

impl<'a> Binaries<'a> {
    pub(crate) fn at(&self, row: usize) -> &'a [u8] {
        match self {
            Self::Small(bytes) => bytes.value(row),
            Self::Large(bytes) => bytes.value(row),
            Self::View(bytes) => bytes.value(row),
            Self::Fixed(bytes) => bytes.value(row),
        }
    }
}

impl<'a> Cells<'a> {
    /// The cells of an array, which is of this field.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) for a layout that a writer never gets.
    pub(crate) fn of(field: &'a Field, array: &'a ArrayRef) -> Result<Self> {
        let cells = Self {
            name: field.name(),
            is_nullable: field.is_nullable(),
            nulls: array.nulls(),
            values: Values::of(field, array)?,
        };
        Ok(cells)
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }
}

impl<'a> Values<'a> {
    fn of(field: &'a Field, array: &'a ArrayRef) -> Result<Self> {
        let wrong = || Error::internal(format!("values of type {} cannot be written", array.data_type()));
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int8 => Self::Int(Ints::I8(array.as_primitive::<Int8Type>().values())),
            DataType::Int16 => Self::Int(Ints::I16(array.as_primitive::<Int16Type>().values())),
            DataType::Int32 => Self::Int(Ints::I32(array.as_primitive::<Int32Type>().values())),
            DataType::Int64 => Self::Int(Ints::I64(array.as_primitive::<Int64Type>().values())),
            DataType::UInt8 => Self::Int(Ints::U8(array.as_primitive::<UInt8Type>().values())),
            DataType::UInt16 => Self::Int(Ints::U16(array.as_primitive::<UInt16Type>().values())),
            DataType::UInt32 => Self::Int(Ints::U32(array.as_primitive::<UInt32Type>().values())),
            DataType::UInt64 => Self::UInt64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float32 => Self::Float32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Self::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal128(..) => Self::Decimal128(array.as_primitive::<Decimal128Type>()),
            DataType::Decimal256(..) => Self::Decimal256(array.as_primitive::<Decimal256Type>()),
            DataType::Utf8 => Self::Text(Texts::Small(array.as_string())),
            DataType::LargeUtf8 => Self::Text(Texts::Large(array.as_string())),
            DataType::Utf8View => Self::Text(Texts::View(array.as_string_view())),
            DataType::Binary => Self::Bytes(Binaries::Small(array.as_binary())),
            DataType::LargeBinary => Self::Bytes(Binaries::Large(array.as_binary())),
            DataType::BinaryView => Self::Bytes(Binaries::View(array.as_binary_view())),
            DataType::FixedSizeBinary(_) => match LogicalType::of(field) {
                Some(LogicalType::Uuid) => Self::Uuid(array.as_fixed_size_binary()),
                _ => Self::Bytes(Binaries::Fixed(array.as_fixed_size_binary())),
            },
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().values()),
            DataType::Time32(TimeUnit::Second) => {
                Self::Time32(array.as_primitive::<Time32SecondType>().values(), Unit::S)
            }
            DataType::Time32(TimeUnit::Millisecond) => {
                Self::Time32(array.as_primitive::<Time32MillisecondType>().values(), Unit::Ms)
            }
            DataType::Time64(TimeUnit::Microsecond) => {
                Self::Time64(array.as_primitive::<Time64MicrosecondType>().values(), Unit::Us)
            }
            DataType::Time64(TimeUnit::Nanosecond) => {
                Self::Time64(array.as_primitive::<Time64NanosecondType>().values(), Unit::Ns)
            }
            DataType::Timestamp(unit, zone) => {
                let ticks: &[i64] = match unit {
                    TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values(),
                    TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
                    TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
                    TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
                };
                Self::Timestamp(ticks, (*unit).into(), zone.is_some())
            }
            DataType::List(_) => {
                let DataType::List(item) = field.data_type() else { return Err(wrong()) };
                let list = array.as_list::<i32>();
                Self::List(list, Box::new(Cells::of(item, list.values())?))
            }
            DataType::Struct(_) => {
                let DataType::Struct(fields) = field.data_type() else { return Err(wrong()) };
                let columns = array.as_struct().columns();
                Self::Struct(fields.iter().zip(columns).map(|(f, c)| Cells::of(f, c)).collect::<Result<_>>()?)
            }
            DataType::Map(..) => {
                let DataType::Map(entries, _) = field.data_type() else { return Err(wrong()) };
                let DataType::Struct(fields) = entries.data_type() else { return Err(wrong()) };
                let [key, value] = &fields[..] else { return Err(wrong()) };
                let map = array.as_map();
                let (keys, values) = (Cells::of(key, map.keys())?, Cells::of(value, map.values())?);
                Self::Map(map, Box::new(keys), Box::new(values))
            }
            _ => return Err(wrong()),
        })
    }
}

/// The items of a list, or the entries of a map, that belong to one row.
pub(crate) fn items(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let place = |at: usize| offsets.get(at).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or_default();
    place(row)..place(row + 1)
}
