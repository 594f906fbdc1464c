//! Rows whose values another table does not have: counted, with the shapes of some.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, SortField};
use transload_core::Result;

use crate::look::Seen;
use crate::shape::shape;
use crate::tally::{LOOKED_AT, Shown, VALUES, add_shape};

/// Counts rows whose values another table does not have. Which of them are looked at more closely does not depend on
/// the order they come in: it is those with the smallest values.
pub struct Missing {
    converter: RowConverter,
    /// The smallest values, in a form that sorts as they do, each with the number of its rows.
    kept: BTreeMap<Vec<u8>, u64>,
    rows: u64,
    show_values: bool,
}

impl Missing {
    /// For values in these columns. `show_values`: whether some may be kept.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the columns have no order.
    pub fn new(schema: &Schema, show_values: bool) -> Result<Self> {
        let fields = schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        Ok(Self { converter: RowConverter::new(fields)?, kept: BTreeMap::new(), rows: 0, show_values })
    }

    /// Takes in rows whose values are missing, as their columns.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if these are other columns.
    pub fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let rows = self.converter.convert_columns(columns)?;
        for row in &rows {
            self.rows += 1;
            let key = row.data();
            if let Some(count) = self.kept.get_mut(key) {
                *count += 1;
                continue;
            }
            if self.kept.len() >= LOOKED_AT {
                let is_smaller = self.kept.last_key_value().is_some_and(|(last, _)| key < last.as_slice());
                if !is_smaller {
                    continue;
                }
                self.kept.pop_last();
            }
            self.kept.insert(key.to_vec(), 1);
        }
        Ok(())
    }

    /// What was seen, of so many rows.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the values cannot be shown.
    pub fn seen(self, rows: u64) -> Result<Seen> {
        let mut seen = Seen { rows, broken: self.rows, ..Seen::default() };
        if self.kept.is_empty() {
            return Ok(seen);
        }
        let parser = self.converter.parser();
        let columns = self.converter.convert_rows(self.kept.keys().map(|key| parser.parse(key)))?;
        let shown = Shown::new(columns.iter())?;
        for (row, count) in self.kept.values().enumerate() {
            add_shape(&mut seen.shapes, shown.text(row, shape), *count);
            if self.show_values && row < VALUES {
                seen.values.push(shown.text(row, str::to_string));
            }
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn of(batches: &[Vec<i64>], show_values: bool) -> Seen {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let mut missing = Missing::new(&schema, show_values).unwrap();
        for batch in batches {
            missing.add(&[Arc::new(Int64Array::from(batch.clone())) as ArrayRef]).unwrap();
        }
        missing.seen(10_000).unwrap()
    }

    #[test]
    fn nothing_missing_is_nothing_seen() {
        assert_eq!(of(&[], true), Seen { rows: 10_000, ..Seen::default() });
    }

    #[test]
    fn rows_are_counted_and_the_smallest_values_shown() {
        let seen = of(&[vec![70, 5], vec![70, -1]], true);
        assert_eq!((seen.rows, seen.broken), (10_000, 4));
        assert_eq!(seen.shapes, [("-9".to_string(), 1), ("9".to_string(), 1), ("99".to_string(), 2)]);
        assert_eq!(seen.values, ["-1", "5", "70"]);
        assert!(of(&[vec![1]], false).values.is_empty());
    }

    #[test]
    fn what_is_seen_does_not_depend_on_the_order() {
        let rising: Vec<i64> = (0..2_000).chain(0..2_000).collect();
        let falling: Vec<i64> = rising.iter().rev().copied().collect();
        let seen = of(&[rising], true);
        assert_eq!(seen.broken, 4_000);
        assert_eq!(seen.shapes.iter().map(|(_, count)| count).sum::<u64>(), 2 * LOOKED_AT as u64);
        assert_eq!(seen, of(&falling.chunks(17).map(<[i64]>::to_vec).collect::<Vec<_>>(), true));
    }

    #[test]
    fn several_columns_are_seen_together() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]);
        let mut missing = Missing::new(&schema, true).unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["b", "a"]));
        missing.add(&[numbers, texts]).unwrap();
        assert_eq!(missing.seen(2).unwrap().values, ["1, a", "1, b"]);
    }
}
