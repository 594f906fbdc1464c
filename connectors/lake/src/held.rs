//! Rows that wait for their files.
//!
//! A Parquet file takes memory for each of its columns from its first row on: for a dictionary, for what is not a page yet,
//! and for a compressor as soon as there is one. With a file for each of many folders that is more than the rows take. So
//! they wait as they are, and are encoded when there are many for one file, or when too much is held.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

/// Bytes that one unit of work holds. It does not depend on the other units, so that the same rows make the same files.
pub(crate) const HELD_BYTES: usize = 96 << 20;

/// Rows that wait, by folder.
#[derive(Default)]
pub(crate) struct Held {
    folders: BTreeMap<String, Rows>,
    bytes: usize,
}

/// The rows of a folder that wait.
#[derive(Default)]
pub(crate) struct Rows {
    batches: Vec<RecordBatch>,
    /// How many there are.
    pub(crate) rows: usize,
    /// Bytes of memory that they take.
    pub(crate) bytes: usize,
}

impl Held {
    /// Keeps more rows of a folder, which share no memory with others. Returns all that wait for it.
    pub(crate) fn add(&mut self, folder: &str, batch: RecordBatch) -> &Rows {
        let bytes = batch.get_array_memory_size();
        self.bytes += bytes;
        let held = self.folders.entry(folder.to_string()).or_default();
        held.rows += batch.num_rows();
        held.bytes += bytes;
        held.batches.push(batch);
        held
    }

    /// Hands out what waits for a folder.
    pub(crate) fn release(&mut self, folder: &str) -> Vec<RecordBatch> {
        let held = self.folders.remove(folder).unwrap_or_default();
        self.bytes -= held.bytes;
        held.batches
    }

    /// Bytes of memory that all rows take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first folder for which rows wait.
    pub(crate) fn first(&self) -> Option<&str> {
        self.folders.keys().next().map(String::as_str)
    }

    /// The folder whose rows take most memory, and how many there are.
    pub(crate) fn largest(&self) -> Option<(String, usize)> {
        let largest = self.folders.iter().max_by_key(|(_, held)| held.bytes);
        largest.map(|(folder, held)| (folder.clone(), held.rows))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("c", column)]).unwrap()
    }

    #[test]
    fn what_is_handed_out_is_not_held_any_more() {
        let mut held = Held::default();
        assert_eq!((held.first(), held.largest(), held.bytes()), (None, None, 0));
        held.add("b", batch(100));
        held.add("a", batch(10));
        let rows = held.add("b", batch(1000));
        assert!(rows.rows == 1100 && rows.bytes >= 8800);
        assert_eq!((held.first(), held.largest()), (Some("a"), Some(("b".to_string(), 1100))));
        let rows: Vec<usize> = held.release("b").iter().map(RecordBatch::num_rows).collect();
        assert_eq!((rows, held.largest()), (vec![100, 1000], Some(("a".to_string(), 10))));
        assert_eq!((held.release("a").len(), held.release("b").len(), held.bytes()), (1, 0, 0));
    }
}
