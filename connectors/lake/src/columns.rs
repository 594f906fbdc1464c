//! Columns that are built value by value, nested ones too.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Decimal128Builder, Decimal256Builder, FixedSizeBinaryBuilder,
    Float32Builder, Float64Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListArray, MapArray,
    StringBuilder, StructArray, make_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields, IntervalUnit};
use transload_core::{Error, Result};

/// A column that is being built. Values of 32 and 64 bits are whole numbers here, whatever they stand for.
#[derive(Debug)]
pub(crate) enum Column {
    Bool(BooleanBuilder),
    Int32(Int32Builder, DataType),
    Int64(Int64Builder, DataType),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, DataType),
    Decimal256(Decimal256Builder, DataType),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List(List),
    Struct(Struct),
    Map(Map),
}

/// Lists that are being built.
#[derive(Debug)]
pub(crate) struct List {
    field: FieldRef,
    pub(crate) items: Box<Column>,
    rows: Rows,
}

/// Structs that are being built.
#[derive(Debug)]
pub(crate) struct Struct {
    fields: Fields,
    pub(crate) columns: Vec<Column>,
    valid: Vec<bool>,
}

/// Maps that are being built.
#[derive(Debug)]
pub(crate) struct Map {
    field: FieldRef,
    fields: Fields,
    pub(crate) keys: Box<Column>,
    pub(crate) values: Box<Column>,
    rows: Rows,
}

/// How many values each row has, and whether it is there at all.
#[derive(Debug, Default)]
struct Rows {
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Rows {
    fn end(&mut self, length: usize) {
        self.lengths.push(length);
        self.valid.push(true);
    }

    fn end_null(&mut self) {
        self.lengths.push(0);
        self.valid.push(false);
    }

    fn finish(&mut self) -> Result<(OffsetBuffer<i32>, Option<NullBuffer>)> {
        let lengths = std::mem::take(&mut self.lengths);
        // The number of values is limited by the bytes that they were read from.
        if i32::try_from(lengths.iter().sum::<usize>()).is_err() {
            return Err(Error::config("the lists of a few rows hold more values than can be handled at a time"));
        }
        Ok((OffsetBuffer::from_lengths(lengths), nulls(&mut self.valid)))
    }
}

fn nulls(valid: &mut Vec<bool>) -> Option<NullBuffer> {
    let valid = std::mem::take(valid);
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

impl List {
    /// Ends a list of this many items, which have been added.
    pub(crate) fn end(&mut self, length: usize) {
        self.rows.end(length);
    }
}

impl Struct {
    /// Ends a struct each of whose fields has been added.
    pub(crate) fn end(&mut self) {
        self.valid.push(true);
    }
}

impl Map {
    /// Ends a map of this many entries, whose keys and values have been added.
    pub(crate) fn end(&mut self, length: usize) {
        self.rows.end(length);
    }
}

impl Column {
    /// An empty column of a type, in the layout that [`to_arrow`](transload_core::LogicalType::to_arrow) names.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) for any other layout.
    pub(crate) fn new(ty: &DataType) -> Result<Self> {
        let wrong = || Error::internal(format!("a column of type {ty} cannot be built"));
        Ok(match ty {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Self::Int32(Int32Builder::new(), ty.clone()),
            DataType::Int64 | DataType::Time64(_) | DataType::Timestamp(..) => {
                Self::Int64(Int64Builder::new(), ty.clone())
            }
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Decimal128(..) => Self::Decimal128(Decimal128Builder::new(), ty.clone()),
            DataType::Decimal256(..) => Self::Decimal256(Decimal256Builder::new(), ty.clone()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::FixedSizeBinary(width) => Self::Fixed(FixedSizeBinaryBuilder::new(*width)),
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval(IntervalMonthDayNanoBuilder::new()),
            DataType::List(field) => Self::List(List {
                field: Arc::clone(field),
                items: Box::new(Self::new(field.data_type())?),
                rows: Rows::default(),
            }),
            DataType::Struct(fields) => Self::Struct(Struct {
                fields: fields.clone(),
                columns: fields.iter().map(|field| Self::new(field.data_type())).collect::<Result<_>>()?,
                valid: Vec::new(),
            }),
            DataType::Map(field, false) => {
                let DataType::Struct(fields) = field.data_type() else { return Err(wrong()) };
                let [key, value] = &fields[..] else { return Err(wrong()) };
                Self::Map(Map {
                    field: Arc::clone(field),
                    fields: fields.clone(),
                    keys: Box::new(Self::new(key.data_type())?),
                    values: Box::new(Self::new(value.data_type())?),
                    rows: Rows::default(),
                })
            }
            _ => return Err(wrong()),
        })
    }

    /// Adds a NULL.
    pub(crate) fn append_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int32(builder, _) => builder.append_null(),
            Self::Int64(builder, _) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal128(builder, _) => builder.append_null(),
            Self::Decimal256(builder, _) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Fixed(builder) => builder.append_null(),
            Self::Interval(builder) => builder.append_null(),
            Self::List(list) => list.rows.end_null(),
            Self::Struct(parts) => {
                parts.columns.iter_mut().for_each(Self::append_null);
                parts.valid.push(false);
            }
            Self::Map(map) => map.rows.end_null(),
        }
    }

    /// The column, and an empty one in its place.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if it was built in a wrong way.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int32(builder, ty) => retyped(&builder.finish(), ty)?,
            Self::Int64(builder, ty) => retyped(&builder.finish(), ty)?,
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal128(builder, ty) => retyped(&builder.finish(), ty)?,
            Self::Decimal256(builder, ty) => retyped(&builder.finish(), ty)?,
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::Fixed(builder) => Arc::new(builder.finish()),
            Self::Interval(builder) => Arc::new(builder.finish()),
            Self::List(list) => {
                let (offsets, nulls) = list.rows.finish()?;
                Arc::new(ListArray::try_new(Arc::clone(&list.field), offsets, list.items.finish()?, nulls)?)
            }
            Self::Struct(parts) => {
                let rows = parts.valid.len();
                let columns = parts.columns.iter_mut().map(Self::finish).collect::<Result<Vec<_>>>()?;
                let nulls = nulls(&mut parts.valid);
                Arc::new(StructArray::try_new_with_length(parts.fields.clone(), columns, nulls, rows)?)
            }
            Self::Map(map) => {
                let (offsets, nulls) = map.rows.finish()?;
                let parts = vec![map.keys.finish()?, map.values.finish()?];
                let entries = StructArray::try_new(map.fields.clone(), parts, None)?;
                Arc::new(MapArray::try_new(Arc::clone(&map.field), offsets, entries, nulls, false)?)
            }
        })
    }
}

/// The same bits as another type.
fn retyped(array: &dyn Array, ty: &DataType) -> Result<ArrayRef> {
    Ok(make_array(array.to_data().into_builder().data_type(ty.clone()).build()?))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use transload_core::LogicalType;

    use super::*;

    #[test]
    fn a_column_has_the_layout_that_was_asked_for() {
        for ty in [
            "bool",
            "int32",
            "int64",
            "float32",
            "float64",
            "decimal(9,2)",
            "decimal(50,3)",
            "text",
            "binary",
            "date",
            "time(ms)",
            "time(us)",
            "timestamp(ns)",
            "timestamp(ms, UTC)",
            "interval",
            "uuid",
            "json",
            "list<list<date>>",
            "struct<a: list<uuid>, b: timestamp(us, UTC)>",
            "map<text, struct<a: decimal(3,1)>>",
        ] {
            let layout = ty.parse::<LogicalType>().unwrap().to_arrow();
            let mut column = Column::new(&layout).unwrap();
            column.append_null();
            column.append_null();
            let array = column.finish().unwrap();
            assert_eq!((array.data_type(), array.len(), array.null_count()), (&layout, 2, 2), "{ty}");
            assert_eq!(column.finish().unwrap().len(), 0, "{ty}");
        }
    }

    #[test]
    fn nested_values_lie_where_they_were_put() {
        let layout = "list<struct<a: text>>".parse::<LogicalType>().unwrap().to_arrow();
        let mut column = Column::new(&layout).unwrap();
        for length in [2, 0] {
            let Column::List(list) = &mut column else { panic!("{column:?}") };
            for i in 0..length {
                let Column::Struct(parts) = list.items.as_mut() else { panic!("{list:?}") };
                let Column::Text(text) = &mut parts.columns[0] else { panic!("{parts:?}") };
                text.append_value(format!("{i}"));
                parts.end();
            }
            list.end(length);
        }
        column.append_null();
        let array = column.finish().unwrap();
        let list = array.as_list::<i32>();
        assert_eq!((list.len(), list.null_count(), list.value_length(0), list.value_length(1)), (3, 1, 2, 0));
        assert_eq!(list.value(0).as_struct().column(0).as_string::<i32>().value(1), "1");
    }
}
