//! What a table holds, in figures: one pass over its rows, in a form that can be merged, and in bounded memory.
//!
//! Each part of a table has a [`Profiler`] of its own; those of all parts, merged in their order, make the [`Profile`].
//! Nulls, extremes, means, lengths and shapes are exact. Different values are counted exactly up to [`EXACT`] and
//! estimated beyond that; counts of frequent values and shapes are exact up to 2000 different ones, and have a stated
//! error beyond that. What is exact, and nothing else, leads to a [`Suggestion`].

mod column;
mod distinct;
mod frequent;
mod suggest;
mod texts;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use serde::Serialize;
use transload_core::{LogicalType, Result};

pub use self::column::{ColumnProfile, Frequency};
pub use self::distinct::{DistinctCount, EXACT};
pub use self::suggest::{ENOUGH, Suggestion};
pub use self::texts::{Lengths, Read, Reading, ReadsAs, TRIED};

use self::column::Column;
use self::suggest::{is_unique, suggest};

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Rows that could be read.
    pub rows: u64,
    /// Rows that could not, as the source marks them.
    pub unreadable: u64,
    /// Its columns.
    pub columns: Vec<ColumnProfile>,
}

/// Counts what a part of a table holds.
pub struct Profiler {
    rows: u64,
    unreadable: u64,
    columns: Vec<Column>,
    readings: Arc<[Reading]>,
}

impl Profiler {
    /// One that has seen nothing yet of a table with this schema. Texts are tried to be read as `readings`, the most
    /// telling first.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if a column has a type that cannot be moved.
    pub fn new(schema: &Schema, readings: Arc<[Reading]>) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| Column::new(field, &readings)).collect::<Result<_>>()?;
        Ok(Self { rows: 0, unreadable: 0, columns, readings })
    }

    /// Takes in more rows. `misfits` has for each column how many of its NULLs are texts that could not be read as what
    /// the source says they are.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the rows are not those of the schema.
    pub fn update(&mut self, batch: &RecordBatch, misfits: &[u64]) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        for ((column, array), misfits) in self.columns.iter_mut().zip(batch.columns()).zip(misfits) {
            column.update(array, *misfits, &self.readings)?;
        }
        Ok(())
    }

    /// Takes in rows that the source could not read.
    pub fn unreadable(&mut self, rows: u64) {
        self.unreadable += rows;
    }

    /// Takes in what another one has counted of the rows that come next in the same table.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.unreadable += other.unreadable;
        self.columns.iter_mut().zip(other.columns).for_each(|(column, more)| column.merge(more));
    }

    /// Bytes that it may hold.
    pub fn size(&self) -> usize {
        self.columns.iter().map(Column::size).sum()
    }

    /// What was counted. Values themselves are only in it if they are to be shown.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if a value cannot be shown.
    pub fn profile(&self, show_values: bool) -> Result<Profile> {
        let columns = self.columns.iter().map(|c| c.profile(show_values)).collect::<Result<_>>()?;
        Ok(Profile { rows: self.rows, unreadable: self.unreadable, columns })
    }

    /// Rules that all of the rows keep; none if there are fewer than [`ENOUGH`]. `started_micros` is now, in µs since
    /// 1970 UTC.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if a value cannot be shown.
    pub fn suggest(&self, started_micros: i64) -> Result<Vec<Suggestion>> {
        let each = self.columns.iter().map(|column| suggest(column, self.rows, started_micros));
        Ok(each.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// The first column that has a value in every row, all of them different.
    pub fn key(&self) -> Option<&str> {
        let column = self.columns.iter().find(|c| c.values == self.rows && is_unique(c))?;
        Some(column.field.name())
    }

    /// Columns of text of which all can be read as another type, with the first such type.
    pub fn readable(&self) -> Vec<(&str, LogicalType)> {
        let first = |column: &Column| column.texts.as_ref()?.reads_as().into_iter().find(|r| r.all).map(|r| r.ty);
        self.columns.iter().filter_map(|c| Some((c.field.name().as_str(), first(c)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray, StringArray,
        StringViewArray,
    };
    use arrow::datatypes::{Field, Int64Type};
    use proptest::prelude::*;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect())
            .unwrap()
    }

    fn profiled(batches: &[RecordBatch]) -> Profiler {
        let mut profiler = Profiler::new(&batches[0].schema(), Arc::from(Vec::new())).unwrap();
        for batch in batches {
            profiler.update(batch, &vec![0; batch.num_columns()]).unwrap();
        }
        profiler
    }

    fn one(array: impl Array + 'static, show_values: bool) -> ColumnProfile {
        profiled(&[batch(vec![("c", Arc::new(array) as ArrayRef)])]).profile(show_values).unwrap().columns.remove(0)
    }

    #[test]
    fn numbers_have_figures() {
        let found = one(Int64Array::from(vec![Some(1), None, Some(2), Some(9), Some(2)]), false);
        assert_eq!((found.nulls, found.distinct.count, found.distinct.exact), (1, 3, true));
        assert_eq!((found.min.as_deref(), found.max.as_deref()), (Some("1"), Some("9")));
        assert_eq!(found.mean, Some(3.5));
        assert!((found.stddev.unwrap() - 3.696_845_502_136_472).abs() < 1e-12);
        assert_eq!((found.length, found.blank, found.patterns.len()), (None, None, 0));
        let top = Frequency { shape: "9".to_string(), value: None, count: 2, share: 0.5 };
        assert_eq!((found.top, found.top_error), (vec![top], 0));
        let money = Decimal128Array::from(vec![-150, 250]).with_precision_and_scale(9, 2).unwrap();
        let found = one(money, false);
        assert_eq!((found.min.as_deref(), found.max.as_deref(), found.mean), (Some("-1.50"), Some("2.50"), Some(0.5)));
        let found = one(Float64Array::from(vec![f64::NAN, 2.0, -1.0]), false);
        assert_eq!((found.nan, found.min.as_deref(), found.max.as_deref()), (1, Some("-1.0"), Some("2.0")));
        assert_eq!(found.mean, Some(0.5));
        let found = one(Date32Array::from(vec![1, 0]), false);
        assert_eq!((found.min.as_deref(), found.max.as_deref()), (Some("1970-01-01"), Some("1970-01-02")));
    }

    #[test]
    fn texts_have_lengths_and_patterns_and_show_no_value() {
        let values = || StringViewArray::from(vec![Some("DE-1"), Some("AT-22"), None, Some("DE-1"), Some("")]);
        let found = one(values(), false);
        assert_eq!((found.min, found.max), (None, None));
        assert_eq!(found.length, Some(Lengths { min: 0, max: 5, avg: 3.25 }));
        assert_eq!(found.blank, Some(1));
        let patterns: Vec<(&str, u64)> = found.patterns.iter().map(|p| (p.shape.as_str(), p.count)).collect();
        assert_eq!(patterns, [("AA-9", 2), ("(empty)", 1), ("AA-99", 1)]);
        assert_eq!(found.top, [Frequency { shape: "AA-9".to_string(), value: None, count: 2, share: 0.5 }]);
        let found = one(values(), true);
        assert_eq!((found.min.as_deref(), found.max.as_deref()), (Some(""), Some("DE-1")));
        assert_eq!(found.top[0].value.as_deref(), Some("DE-1"));
    }

    #[test]
    fn without_values_there_are_no_figures() {
        for array in [Int64Array::from(Vec::<i64>::new()), Int64Array::from(vec![None, None])] {
            let found = one(array, true);
            assert_eq!((found.distinct.count, found.min, found.mean, found.stddev), (0, None, None, None));
            assert!(found.top.is_empty());
        }
        let found = one(StringArray::from(vec![None::<&str>]), true);
        assert_eq!((found.nulls, found.length, found.blank, found.min), (1, None, Some(0), None));
    }

    #[test]
    fn nested_columns_are_counted() {
        let lists = vec![Some(vec![Some(1)]), None, Some(vec![Some(1)]), Some(vec![])];
        let found = one(ListArray::from_iter_primitive::<Int64Type, _, _>(lists), false);
        assert_eq!((found.nulls, found.distinct.count, found.min), (1, 2, None));
        assert_eq!(found.top[0].count, 2);
    }

    #[test]
    fn a_key_has_a_different_value_in_every_row() {
        let keys = |with_null: bool| -> ArrayRef {
            Arc::new(Int64Array::from_iter((0..30).map(|i| (i > 0 || !with_null).then_some(i))))
        };
        let same: ArrayRef = Arc::new(Int64Array::from(vec![1; 30]));
        let found = profiled(&[batch(vec![("a", same), ("b", keys(true)), ("c", keys(false))])]);
        assert_eq!(found.key(), Some("c"));
        assert!(found.readable().is_empty() && found.size() > 0);
    }

    proptest! {
        #[test]
        fn profiles_of_parts_merge_to_that_of_the_whole(
            rows in prop::collection::vec((any::<Option<i8>>(), "[a-c]{0,2}", prop::option::of(-5.0..5.0f64)), 0..200),
            cut in 0usize..200,
        ) {
            let table = |rows: &[(Option<i8>, String, Option<f64>)]| {
                let ints: Int64Array = rows.iter().map(|r| r.0.map(i64::from)).collect();
                let texts: StringArray = rows.iter().map(|r| Some(r.1.as_str())).collect();
                let floats: Float64Array = rows.iter().map(|r| r.2).collect();
                let columns: [ArrayRef; 3] = [Arc::new(ints), Arc::new(texts), Arc::new(floats)];
                batch(["i", "t", "f"].into_iter().zip(columns).collect())
            };
            let (head, tail) = rows.split_at(cut.min(rows.len()));
            let whole = profiled(&[table(&rows)]);
            let mut merged = profiled(&[table(head)]);
            merged.merge(profiled(&[table(tail)]));
            let (mut a, mut b) = (whole.profile(true).unwrap(), merged.profile(true).unwrap());
            for (a, b) in a.columns.iter_mut().zip(&mut b.columns) {
                for (a, b) in [(a.mean.take(), b.mean.take()), (a.stddev.take(), b.stddev.take())] {
                    prop_assert_eq!(a.is_some(), b.is_some());
                    prop_assert!((a.unwrap_or(0.0) - b.unwrap_or(0.0)).abs() < 1e-9);
                }
            }
            prop_assert_eq!(a, b);
            prop_assert_eq!(whole.suggest(0).unwrap(), merged.suggest(0).unwrap());
        }
    }
}
