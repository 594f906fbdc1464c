//! Rows on their way into the folders of a layout.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use transload_core::Result;

use crate::layout::Router;

/// Rows that are sorted into folders at a time.
const ROUTED_ROWS: usize = 1 << 16;
/// Bytes of memory that rows for this may take, however few they are.
const ROUTED_BYTES: usize = 64 << 20;

/// Rows that wait to be sorted into folders.
#[derive(Default)]
pub(crate) struct Waiting {
    batches: Vec<RecordBatch>,
    rows: usize,
    memory: RecordBatchMemoryCounter,
}

impl Waiting {
    pub(crate) fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.memory.count_batch(&batch);
        self.batches.push(batch);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows >= ROUTED_ROWS || self.memory.memory_usage() >= ROUTED_BYTES
    }

    /// The rows of each folder, in their order, by the number of the folder; those of one are copied when they are asked
    /// for. Of the columns there are those at `kept`.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub(crate) fn sorted(
        self,
        router: &mut Router,
        kept: &[usize],
    ) -> Result<impl Iterator<Item = Result<(usize, RecordBatch)>> + use<>> {
        let mut folders: Vec<Vec<u64>> = Vec::new();
        let mut batches = Vec::with_capacity(self.batches.len());
        let mut row = 0;
        for batch in self.batches {
            for folder in router.route(&batch)? {
                if folder >= folders.len() {
                    folders.resize_with(folder + 1, Vec::new);
                }
                folders[folder].push(row);
                row += 1;
            }
            batches.push(batch.project(kept)?);
        }
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let all = concat_batches(&schema, &batches)?;
        let with_rows = folders.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        Ok(with_rows.map(move |(folder, rows)| taken(&all, &UInt64Array::from(rows)).map(|batch| (folder, batch))))
    }
}

/// Some rows of a batch, with texts and bytes of their own: a view of one value keeps all in memory that lies beside it.
fn taken(all: &RecordBatch, rows: &UInt64Array) -> Result<RecordBatch> {
    let own = |column: &ArrayRef| -> Result<ArrayRef> {
        let taken = take(column.as_ref(), rows, None)?;
        let own: ArrayRef = match taken.data_type() {
            DataType::Utf8View => Arc::new(taken.as_string_view().gc()),
            DataType::BinaryView => Arc::new(taken.as_binary_view().gc()),
            _ => taken,
        };
        Ok(own)
    };
    let columns = all.columns().iter().map(own).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(all.schema(), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, StringViewArray};
    use transload_core::connector::{Partition, Transform};

    use super::*;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("c", column)]).unwrap()
    }

    #[test]
    fn few_rows_wait_if_they_are_wide() {
        let mut narrow = Waiting::default();
        narrow.push(batch(Arc::new(Int64Array::from_iter_values(0..ROUTED_ROWS as i64 - 1))));
        assert!(!narrow.is_full());
        narrow.push(batch(Arc::new(Int64Array::from(vec![1]))));
        assert!(narrow.is_full());

        let text = "x".repeat(ROUTED_BYTES / 2);
        let mut wide = Waiting::default();
        let half = batch(Arc::new(StringArray::from(vec![text.as_str()])));
        wide.push(half.clone());
        wide.push(half);
        // The same memory twice is no more memory.
        assert!(!wide.is_full());
        wide.push(batch(Arc::new(StringArray::from(vec![text.as_str()]))));
        assert!(wide.is_full());
        assert_eq!((wide.rows, wide.batches.len()), (3, 3));
    }

    #[test]
    fn rows_come_by_folder_in_their_order_and_hold_no_more_than_their_own() {
        let long = |n: i64| format!("{n} is a text that does not fit into a view: {}", "x".repeat(1000));
        let rows = |numbers: &[i64]| {
            let texts = numbers.iter().map(|n| (n % 5 != 0).then(|| long(*n)));
            let columns: [(&str, ArrayRef); 3] = [
                ("n", Arc::new(Int64Array::from(numbers.to_vec()))),
                ("folder", Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| n % 3)))),
                ("text", Arc::new(texts.collect::<StringViewArray>())),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let (one, other) = (rows(&[1, 2, 4, 5, 7, 8]), rows(&[10, 11, 3, 13, 14]));
        let layout = [Partition { column: "folder".to_string(), transform: Transform::Identity }];
        let mut router = Router::new(&layout, &one.schema()).unwrap();
        let mut waiting = Waiting::default();
        [one, other].into_iter().for_each(|batch| waiting.push(batch));
        let sorted = waiting.sorted(&mut router, &[0, 2]).unwrap();
        let found: Vec<(&str, RecordBatch)> =
            sorted.map(Result::unwrap).map(|(folder, batch)| (router.name(folder), batch)).collect();
        let expected =
            [("folder=1", vec![1, 4, 7, 10, 13]), ("folder=2", vec![2, 5, 8, 11, 14]), ("folder=0", vec![3])];
        assert_eq!(found.len(), expected.len());
        for ((folder, batch), (name, numbers)) in found.iter().zip(&expected) {
            assert_eq!(folder, name);
            let whole = rows(numbers);
            assert_eq!((batch.num_columns(), batch.column(0), batch.column(1)), (2, whole.column(0), whole.column(2)));
            let text = batch.column(1).as_string_view();
            assert_eq!(text.data_buffers().iter().map(|b| b.len()).sum::<usize>(), text.total_buffer_bytes_used());
        }
        assert!(Waiting::default().sorted(&mut router, &[0]).unwrap().next().is_none());
    }
}
