//! Columns for which a dictionary would be built and thrown away, or be of no use.
//!
//! A Parquet writer keeps the different values of a column chunk in a dictionary, and gives it up when the dictionary gets
//! too large. Until then it has looked up every value in a table that no cache holds: of a column whose values hardly ever
//! repeat that is most of the work. Of numbers that repeat only beside each other, as keys do by which rows are sorted, the
//! dictionary grows with the rows, and what compresses the pages finds such repeats better by itself. The first rows of a
//! file tell which columns those are.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use parquet::file::properties::DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT;
use parquet::schema::types::ColumnPath;
use transload_core::Result;

/// So many values tell whether numbers repeat only beside each other.
const TELLING: usize = 512;

/// The columns whose dictionary would get too large or be of no use, as far as the first rows of a file can tell.
///
/// # Behavior
/// The same rows give the same answer. Columns of nested types and of booleans, which have no dictionary of that kind, are
/// not among them, and none is if the rows are too few to tell.
///
/// # Errors
/// As hashing values of a type fails that the query engine cannot hash.
pub(crate) fn outgrown(first: &RecordBatch) -> Result<Vec<ColumnPath>> {
    let mut found = Vec::new();
    for (field, column) in first.schema_ref().fields().iter().zip(first.columns()) {
        let Some(width) = width(column) else { continue };
        let values = hashes(column)?;
        let is_number = column.data_type().primitive_width().is_some();
        if outgrows(&values, DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT as f64 / width) || (is_number && is_clustered(&values))
        {
            found.push(ColumnPath::new(vec![field.name().clone()]));
        }
    }
    Ok(found)
}

/// Bytes that a value takes in a dictionary, on the average.
fn width(column: &ArrayRef) -> Option<f64> {
    let values = column.len() - column.null_count();
    match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::BinaryView
            if values > 0 =>
        {
            let bytes: usize = lengths(column)?;
            Some(4.0 + bytes as f64 / values as f64)
        }
        DataType::Boolean => None,
        // The writer stores those of few digits as integers.
        DataType::Decimal128(digits, _) | DataType::Decimal256(digits, _) if *digits <= 9 => Some(4.0),
        DataType::Decimal128(digits, _) | DataType::Decimal256(digits, _) if *digits <= 18 => Some(8.0),
        // Parquet has no integers of fewer bytes.
        ty => ty.primitive_width().map(|bytes| bytes.max(4) as f64),
    }
}

/// Bytes of all values of a column of texts or bytes.
fn lengths(column: &ArrayRef) -> Option<usize> {
    use arrow::array::AsArray;
    let sum = |lengths: &mut dyn Iterator<Item = Option<usize>>| lengths.flatten().sum();
    Some(match column.data_type() {
        DataType::Utf8 => sum(&mut column.as_string::<i32>().iter().map(|v| v.map(str::len))),
        DataType::LargeUtf8 => sum(&mut column.as_string::<i64>().iter().map(|v| v.map(str::len))),
        DataType::Utf8View => sum(&mut column.as_string_view().iter().map(|v| v.map(str::len))),
        DataType::Binary => sum(&mut column.as_binary::<i32>().iter().map(|v| v.map(<[u8]>::len))),
        DataType::BinaryView => sum(&mut column.as_binary_view().iter().map(|v| v.map(<[u8]>::len))),
        _ => return None,
    })
}

/// A number for every value that is not NULL; the same for the same value.
fn hashes(column: &ArrayRef) -> Result<Vec<u64>> {
    let mut hashes = vec![0; column.len()];
    create_hashes([column], &RandomState::with_seed(0), &mut hashes)?;
    Ok((0..column.len()).filter(|row| column.is_valid(*row)).map(|row| hashes[row]).collect())
}

/// How many different ones there are.
fn different(values: &[u64]) -> usize {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len()
}

/// Whether there are more than `most` different values, if these are drawn at random: then fewer of them repeat than would
/// of so many. If not even one of those would, there are too few to tell.
fn outgrows(values: &[u64], most: f64) -> bool {
    let drawn = values.len() as f64;
    let expected = drawn - most * (1.0 - (-drawn / most).exp());
    expected >= 1.0 && ((values.len() - different(values)) as f64) < expected
}

/// Whether values repeat, but only near each other: among the later ones there are as many new ones as among the earlier.
/// If they repeat often, a dictionary of them stays small nevertheless.
fn is_clustered(values: &[u64]) -> bool {
    if values.len() < TELLING {
        return false;
    }
    let earlier = values.len() / 2;
    let first = different(&values[..earlier]);
    let new = different(values) - first;
    first <= earlier / 4 * 3 && first >= earlier / 16 && new >= first / 10 * 9
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Decimal128Array, Int64Array, StringViewArray};

    use super::*;

    /// A number for each row that has nothing to do with those of the others.
    fn scattered(row: u64) -> u64 {
        let z = (row ^ (row >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn names(rows: u64, different: u64) -> Vec<String> {
        let numbers = || (1..=rows).map(move |row| scattered(row) % different);
        let optional = numbers().map(|n| (n % 3 != 0).then_some(n as i64));
        let columns: [(&str, ArrayRef); 5] = [
            ("number", Arc::new(Int64Array::from_iter_values(numbers().map(|n| n as i64)))),
            ("optional", Arc::new(optional.collect::<Int64Array>())),
            ("text", Arc::new(StringViewArray::from_iter_values(numbers().map(|n| format!("a text with {n:>20}"))))),
            ("truth", Arc::new(numbers().map(|n| Some(n % 2 == 0)).collect::<BooleanArray>())),
            ("nothing", Arc::new(Int64Array::from(vec![None; rows as usize]))),
        ];
        let found = outgrown(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        found.iter().map(|path| path.parts().join("/")).collect()
    }

    #[test]
    fn a_column_whose_values_hardly_repeat_is_found() {
        assert_eq!(names(8192, u64::MAX / 2), ["number", "optional", "text"]);
        // As many values of 36 bytes do not fit, and of 8 bytes do.
        assert_eq!(names(8192, 60_000), ["text"]);
        assert_eq!(names(8192, 20_000), [""; 0]);
        assert_eq!(names(8192, 10), [""; 0]);
    }

    #[test]
    fn decimals_are_as_wide_as_they_are_stored() {
        let found = |digits: u8| {
            let numbers = (1..=8192).map(|row| i128::from(scattered(row) % 100_000));
            let column = Decimal128Array::from_iter_values(numbers).with_precision_and_scale(digits, 2).unwrap();
            let batch = RecordBatch::try_from_iter([("d", Arc::new(column) as ArrayRef)]).unwrap();
            outgrown(&batch).unwrap().len()
        };
        // As many values of 16 bytes do not fit, and of 4 or 8 bytes do.
        assert_eq!([9, 18, 38].map(found), [0, 0, 1]);
    }

    #[test]
    fn numbers_that_repeat_beside_each_other_alone_are_found() {
        let found = |value: fn(i64) -> i64| {
            let values = || (0..8192).map(value);
            let columns: [(&str, ArrayRef); 2] = [
                ("number", Arc::new(Int64Array::from_iter_values(values()))),
                ("text", Arc::new(StringViewArray::from_iter_values(values().map(|n| n.to_string())))),
            ];
            outgrown(&RecordBatch::try_from_iter(columns).unwrap()).unwrap()
        };
        // Four rows of an order; many rows of a day; numbers that come back, at last or at once.
        assert_eq!(found(|row| row / 4), [ColumnPath::from("number")]);
        let worth_it: [fn(i64) -> i64; 3] = [|row| row / 1000, |row| row % 2000, |row| row / 4 % 300];
        assert!(worth_it.into_iter().all(|value| found(value).is_empty()));
    }

    #[test]
    fn few_rows_do_not_tell() {
        assert_eq!(names(100, u64::MAX / 2), [""; 0]);
        assert_eq!(names(0, 1), [""; 0]);
    }
}
