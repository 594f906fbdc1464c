//! Canonical row bytes, made column by column.
//!
//! For a block of rows, every column first adds the length of its cells to a length per row; then each row gets its
//! place in one buffer, and every column writes its cells there. Columns are looked at once per batch instead of once
//! per cell, and a block stays in the processor's cache, which is what makes this fast.

mod cell;
mod columns;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use transload_core::{Error, LogicalType, Result};

use columns::Cells;

/// Bytes behind every row that a cell may write over before the next cell does: short values are copied in steps of a
/// fixed size, which is faster than copying their exact length.
const SLACK: usize = 48;

/// Encodes rows of one schema.
#[derive(Debug, Clone)]
pub struct RowEncoder {
    columns: Vec<(String, LogicalType)>,
}

/// The canonical bytes of a block of rows, and scratch space to make them in.
#[derive(Debug, Default)]
pub struct CanonicalRows {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    /// Before writing: each row's length. While writing: where its next cell goes. Afterwards: where it ends.
    ends: Vec<usize>,
}

impl CanonicalRows {
    /// The rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().zip(&self.ends).map(|(&start, &end)| &self.bytes[start..end])
    }
}

/// A batch of rows that is about to be encoded, block by block.
pub struct BatchCells<'a> {
    columns: Vec<(&'a str, Box<dyn Cells + 'a>)>,
}

impl RowEncoder {
    /// An encoder for rows of `schema`.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if a column's type has no canonical bytes.
    pub fn new(schema: &Schema) -> Result<Self> {
        let column =
            |f: &Arc<Field>| match LogicalType::of(f) {
                Some(ty) => Ok((f.name().clone(), ty)),
                None => Err(Error::config(format!("values of type {} cannot be hashed", f.data_type()))
                    .with("column", f.name())),
            };
        Ok(Self { columns: schema.fields().iter().map(column).collect::<Result<_>>()? })
    }

    /// Looks at the columns of a batch, which must be of the encoder's schema.
    pub fn cells<'a>(&'a self, columns: &'a [ArrayRef]) -> BatchCells<'a> {
        let cells = self.columns.iter().zip(columns).map(|((name, ty), array)| (name.as_str(), columns::of(ty, array)));
        BatchCells { columns: cells.collect() }
    }
}

impl BatchCells<'_> {
    /// Encodes some of the rows into `out`, replacing what was there.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a value of 4 GiB or more, or a date with a time of day.
    pub fn encode(&self, rows: Range<usize>, out: &mut CanonicalRows) -> Result<()> {
        let fixed: usize = self.columns.iter().filter_map(|(_, cells)| cells.fixed()).sum();
        out.ends.clear();
        out.ends.resize(rows.len(), fixed);
        for (name, cells) in self.columns.iter().filter(|(_, cells)| cells.fixed().is_none()) {
            cells.measure(rows.clone(), &mut out.ends).map_err(|e| e.with("column", *name))?;
        }
        let mut next = 0;
        for end in &mut out.ends {
            let length = *end;
            *end = next;
            next += length + SLACK;
        }
        out.starts.clone_from(&out.ends);
        if out.bytes.len() < next {
            out.bytes.resize(next, 0);
        }
        for (name, cells) in &self.columns {
            cells.write(rows.clone(), &mut out.bytes, &mut out.ends).map_err(|e| e.with("column", *name))?;
        }
        Ok(())
    }
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
        encoder.cells(batch.columns()).encode(0..batch.num_rows(), &mut rows).unwrap();
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
