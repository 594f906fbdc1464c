//! Intervals taken apart, for files that have none, and put together again: nothing is changed by either.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, IntervalMonthDayNanoArray, StructArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, IntervalMonthDayNano};
use transload_core::{Error, LogicalType, Result};

use super::Cast;
use crate::rulebook::Loss;

impl Cast {
    /// Makes of every interval in values of a type a struct of its months, days and nanoseconds. `None` if the type has no
    /// intervals in it.
    pub fn intervals_apart(ty: &LogicalType) -> Option<Self> {
        Some(Self::part_by_part(ty, &without_intervals(ty)?))
    }

    /// The way back: of what [`intervals_apart`](Self::intervals_apart) makes of values of `ty`, these values.
    pub fn intervals_together(ty: &LogicalType) -> Option<Self> {
        Some(Self::part_by_part(&without_intervals(ty)?, ty))
    }

    /// A cast between types with the same parts, but for intervals.
    fn part_by_part(from: &LogicalType, to: &LogicalType) -> Self {
        use LogicalType as T;
        let parts = match (from, to) {
            (T::List(f), T::List(t)) => vec![(0, Self::part_by_part(f, t))],
            (T::Map(fk, fv), T::Map(tk, tv)) => vec![(0, Self::part_by_part(fk, tk)), (1, Self::part_by_part(fv, tv))],
            (T::Struct(f), T::Struct(t)) => {
                f.iter().zip(t).enumerate().map(|(at, ((_, f), (_, t)))| (at, Self::part_by_part(f, t))).collect()
            }
            _ => Vec::new(),
        };
        Self { from: from.clone(), to: to.clone(), loss: Loss::Exact, parts }
    }
}

fn without_intervals(ty: &LogicalType) -> Option<LogicalType> {
    let part = |name: &str, bits| (name.to_string(), LogicalType::Int(bits));
    let apart = || LogicalType::Struct(vec![part("months", 32), part("days", 32), part("nanoseconds", 64)]);
    ty.with_parts(&|ty| (*ty == LogicalType::Interval).then(apart))
}

/// The parts of intervals.
pub(super) fn apart(intervals: &IntervalMonthDayNanoArray, to: &LogicalType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = to.to_arrow() else {
        return Err(Error::internal("the parts of intervals have another layout"));
    };
    let values = intervals.values();
    let months = Int32Array::from_iter_values(values.iter().map(|v| v.months));
    let days = Int32Array::from_iter_values(values.iter().map(|v| v.days));
    let nanoseconds = Int64Array::from_iter_values(values.iter().map(|v| v.nanoseconds));
    let parts: Vec<ArrayRef> = vec![Arc::new(months), Arc::new(days), Arc::new(nanoseconds)];
    Ok(Arc::new(StructArray::try_new(fields, parts, intervals.nulls().cloned())?))
}

/// Intervals of their parts.
pub(super) fn together(parts: &StructArray) -> Result<ArrayRef> {
    let [months, days, nanoseconds] = parts.columns() else {
        return Err(Error::internal("the parts of intervals have another layout"));
    };
    let lacks_part = |row| parts.is_valid(row) && parts.columns().iter().any(|part| part.is_null(row));
    if (0..parts.len()).any(lacks_part) {
        return Err(Error::config("an interval has no months, days or nanoseconds"));
    }
    let (months, days) = (months.as_primitive::<Int32Type>(), days.as_primitive::<Int32Type>());
    let nanoseconds = nanoseconds.as_primitive::<Int64Type>();
    let values: Vec<IntervalMonthDayNano> = (0..parts.len())
        .map(|row| IntervalMonthDayNano::new(months.value(row), days.value(row), nanoseconds.value(row)))
        .collect();
    Ok(Arc::new(IntervalMonthDayNanoArray::try_new(values.into(), parts.nulls().cloned())?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{IntervalYearMonthArray, ListArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::{Field, IntervalUnit};

    use super::*;

    fn intervals() -> IntervalMonthDayNanoArray {
        let value = IntervalMonthDayNano::new;
        IntervalMonthDayNanoArray::from(vec![
            Some(value(14, -3, 14_706_789_000_001)),
            None,
            Some(value(i32::MIN, i32::MAX, i64::MIN)),
            // As long as the first one to a clock, and another interval.
            Some(value(0, 0, 0)),
            Some(value(1, -30, 0)),
        ])
    }

    #[track_caller]
    fn comes_back(array: ArrayRef, ty: &str, apart: &str) {
        let ty: LogicalType = ty.parse().unwrap();
        let cast = Cast::intervals_apart(&ty).unwrap();
        assert_eq!(cast.to().to_string(), apart);
        let done = cast.apply(&array).unwrap();
        assert!(done.misfits.is_none() && done.changed.is_none());
        assert_eq!(done.array.data_type(), &cast.to().to_arrow());
        let back = Cast::intervals_together(&ty).unwrap().apply(&done.array).unwrap();
        assert!(back.misfits.is_none() && back.changed.is_none());
        assert_eq!(&back.array, &array);
    }

    #[test]
    fn intervals_come_back_as_they_were() {
        let parts = "struct<months: int32, days: int32, nanoseconds: int64>";
        comes_back(Arc::new(intervals()), "interval", parts);
        let item = Arc::new(Field::new("item", DataType::Interval(IntervalUnit::MonthDayNano), true));
        let nulls = NullBuffer::from(vec![true, false, true]);
        let lists = ListArray::new(item, OffsetBuffer::from_lengths([2, 0, 3]), Arc::new(intervals()), Some(nulls));
        let lists: ArrayRef = Arc::new(lists);
        comes_back(Arc::clone(&lists), "list<interval>", &format!("list<{parts}>"));

        let ty: LogicalType = "struct<a: text, b: list<interval>>".parse().unwrap();
        let DataType::Struct(fields) = ty.to_arrow() else { unreachable!() };
        let texts: ArrayRef = Arc::new(arrow::array::StringArray::from(vec![Some("x"), None, Some("")]));
        let structs = StructArray::new(fields, vec![texts, lists], Some(NullBuffer::from(vec![true, true, false])));
        comes_back(Arc::new(structs), &ty.to_string(), &format!("struct<a: text, b: list<{parts}>>"));
    }

    #[test]
    fn intervals_of_months_alone_come_apart_too() {
        let cast = Cast::intervals_apart(&LogicalType::Interval).unwrap();
        let done = cast.apply(&(Arc::new(IntervalYearMonthArray::from(vec![-13])) as ArrayRef)).unwrap();
        let parts = done.array.as_struct();
        assert_eq!((parts.column(0).as_primitive::<Int32Type>().value(0), parts.null_count()), (-13, 0));
        assert!(Cast::intervals_apart(&"list<text>".parse().unwrap()).is_none());
    }

    #[test]
    fn an_interval_without_a_part_is_refused() {
        let cast = Cast::intervals_together(&LogicalType::Interval).unwrap();
        let parts = Cast::intervals_apart(&LogicalType::Interval).unwrap().apply(&(Arc::new(intervals()) as ArrayRef));
        let (fields, mut columns, nulls) = parts.unwrap().array.as_struct().clone().into_parts();
        columns[1] = Arc::new(Int32Array::from(vec![Some(1), None, None, Some(1), Some(1)]));
        let broken: ArrayRef = Arc::new(StructArray::new(fields, columns, nulls));
        assert!(cast.apply(&broken).unwrap_err().to_string().contains("an interval has no months"));
    }
}
