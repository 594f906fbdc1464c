//! How many rows the pages of a Parquet column hold, by what they say themselves.
//!
//! A scan under a predicate gives fewer rows than a file has, so their number does not tell whether pages have lost some.
//! Where a column of a row group is read from its first page to its last, the headers of its pages do.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::page::PageReader;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use transload_core::{Error, Result};

/// The columns of all row groups of a file, by their places in it.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// Row group and column, by first byte and number of bytes.
    by_place: HashMap<(u64, u64), (usize, usize)>,
}

impl Chunks {
    /// Those of a file whose footer has numbers that can be.
    pub(crate) fn of(metadata: &ParquetMetaData) -> Self {
        let groups = metadata.row_groups().iter().enumerate();
        let places = groups.flat_map(|(group, meta)| {
            meta.columns().iter().enumerate().map(move |(column, chunk)| (chunk.byte_range(), (group, column)))
        });
        Self { by_place: places.collect() }
    }

    /// Refuses bytes that are a whole column of a row group, if its pages hold another number of rows than that. Pages
    /// that cannot be counted are left to whoever reads them.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config): the file is damaged.
    pub(crate) fn check(&self, metadata: &ParquetMetaData, range: &Range<u64>, bytes: &Bytes) -> Result<()> {
        let place = (range.start, range.end.saturating_sub(range.start));
        let Some((group, column)) = self.by_place.get(&place) else { return Ok(()) };
        let group = metadata.row_group(*group);
        // Damaged headers can panic inside the reader.
        let rows = catch_unwind(AssertUnwindSafe(|| rows_of(group.column(*column), bytes))).ok().flatten();
        match rows {
            Some(rows) if u64::try_from(group.num_rows()) != Ok(rows) => Err(Error::config(
                "the Parquet file cannot be read; it is damaged: its pages hold another number of rows than its footer",
            )),
            _ => Ok(()),
        }
    }
}

/// The rows that all pages of a column hold, as far as their headers tell. Pages of lists tell in their second version
/// only: before, they count the items.
fn rows_of(column: &ColumnChunkMetaData, bytes: &Bytes) -> Option<u64> {
    let is_flat = column.column_descr().max_rep_level() == 0;
    // Nothing is decompressed.
    let pages = ColumnChunkMetaData::builder(column.column_descr_ptr());
    let pages = pages.set_total_compressed_size(i64::try_from(bytes.len()).ok()?).build().ok()?;
    let mut pages = SerializedPageReader::new(Arc::new(bytes.clone()), &pages, 0, None).ok()?;
    let mut rows: u64 = 0;
    while let Some(page) = pages.peek_next_page().ok()? {
        if !page.is_dict {
            let more = if is_flat { page.num_levels } else { page.num_rows };
            rows = rows.checked_add(u64::try_from(more?).ok()?)?;
        }
        pages.skip_next_page().ok()?;
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::metadata::ParquetMetaDataReader;
    use parquet::file::properties::{WriterProperties, WriterVersion};

    use super::*;

    const ROWS: i64 = 1000;

    /// A file of many pages in two row groups: numbers, some words with NULLs, which have a dictionary, and lists.
    fn file(version: WriterVersion) -> (Bytes, ParquetMetaData) {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
        let words: ArrayRef =
            Arc::new(StringArray::from_iter((0..ROWS).map(|n| [None, Some("a"), Some("b")][n as usize % 3])));
        let lists = (0..ROWS).map(|n| (n % 4 > 0).then(|| (0..n % 4).map(Some).collect::<Vec<_>>()));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        let columns = [("numbers", numbers, true), ("words", words, true), ("lists", lists, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let properties = WriterProperties::builder()
            .set_writer_version(version)
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(600))
            .set_write_batch_size(10)
            .set_data_page_row_count_limit(50)
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let content = Bytes::from(writer.into_inner().unwrap());
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&content).unwrap();
        (content, metadata)
    }

    /// What is said of every column of the first row group.
    fn said(content: &Bytes, metadata: &ParquetMetaData) -> Vec<bool> {
        let chunks = Chunks::of(metadata);
        let is_good = |chunk: &ColumnChunkMetaData| {
            let (start, length) = chunk.byte_range();
            let bytes = content.slice(start as usize..(start + length) as usize);
            chunks.check(metadata, &(start..start + length), &bytes).is_ok()
        };
        metadata.row_group(0).columns().iter().map(is_good).collect()
    }

    #[test]
    fn pages_of_flat_columns_and_of_the_second_version_are_counted() {
        for (version, rows_of_lists) in [(WriterVersion::PARQUET_1_0, None), (WriterVersion::PARQUET_2_0, Some(600))] {
            let (content, metadata) = file(version);
            assert_eq!((metadata.num_row_groups(), metadata.row_group(0).num_rows()), (2, 600));
            let counted = |chunk: &ColumnChunkMetaData| {
                let (start, length) = chunk.byte_range();
                rows_of(chunk, &content.slice(start as usize..(start + length) as usize))
            };
            let rows: Vec<_> = metadata.row_group(0).columns().iter().map(counted).collect();
            assert_eq!(rows, [Some(600), Some(600), rows_of_lists]);
            assert_eq!(said(&content, &metadata), [true, true, true]);
        }
    }

    #[test]
    fn pages_that_hold_another_number_of_rows_than_their_group_are_refused() {
        let (content, good) = file(WriterVersion::PARQUET_2_0);
        for rows in [599, 601] {
            let mut groups = good.row_groups().to_vec();
            groups[0] = groups[0].clone().into_builder().set_num_rows(rows).build().unwrap();
            let bad = good.clone().into_builder().set_row_groups(groups).build();
            assert_eq!(said(&content, &bad), [false, false, false]);
        }
    }

    #[test]
    fn what_is_no_whole_column_or_cannot_be_counted_is_left_alone() {
        let (content, metadata) = file(WriterVersion::PARQUET_1_0);
        let chunk = metadata.row_group(0).column(0);
        let (start, length) = chunk.byte_range();
        let bytes = content.slice(start as usize..(start + length) as usize);
        let chunks = Chunks::of(&metadata);
        chunks.check(&metadata, &(start..start + length - 1), &bytes.slice(..bytes.len() - 1)).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] = !damaged[at];
            // Whatever it says, it ends.
            let _ = chunks.check(&metadata, &(start..start + length), &Bytes::from(damaged));
        }
        assert_eq!(rows_of(chunk, &bytes.slice(..bytes.len() - 1)), None);
    }
}
