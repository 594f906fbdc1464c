//! Columns that stand in Parquet files and in the names of their folders too, as `WRITE_PARTITION_COLUMNS` of DuckDB
//! leaves them.
//!
//! What is read is the folder's value, which must be that of every row of the file. Nobody promises this, and a value
//! that was replaced would be missed by nobody, so the file's values are looked at before the table is read.

use std::panic::AssertUnwindSafe;

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp::eq;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use futures::{FutureExt, TryStreamExt};
use transload_core::{Error, Result};

use crate::layout::values_in_path;
use crate::parquet::ParquetFile;

/// A file with such columns.
pub(crate) struct Twins {
    file: ParquetFile,
    /// The places of the columns in the file, each with the value of its folder; none for NULL.
    columns: Vec<(usize, Option<String>)>,
}

impl Twins {
    /// The columns of a file that `folders` have too; none, if there is no such column. `path` is that of the file below
    /// the table's folder.
    pub(crate) fn of(file: &ParquetFile, path: &str, folders: &[FieldRef]) -> Result<Option<Self>> {
        if folders.iter().all(|folder| file.schema.index_of(folder.name()).is_err()) {
            return Ok(None);
        }
        let values = values_in_path(path).map_err(|e| e.with("path", file.object.meta.location.to_string()))?;
        let mut columns = Vec::new();
        for (at, field) in file.schema.fields().iter().enumerate() {
            if folders.iter().any(|folder| folder.name() == field.name())
                && let Some((_, value)) = values.iter().find(|(name, _)| name == field.name())
            {
                columns.push((at, value.clone()));
            }
        }
        Ok(Some(Self { file: file.clone(), columns }))
    }

    async fn look(&self) -> Result<()> {
        let field = |at: usize| self.file.schema.field(at);
        let mut expected = Vec::with_capacity(self.columns.len());
        for (at, text) in &self.columns {
            expected.push(match text {
                Some(text) => Some(value(field(*at), text).ok_or_else(|| differs(field(*at)))?),
                None => None,
            });
        }
        let mut batches = self.file.columns(self.columns.iter().map(|(at, _)| *at))?;
        while let Some(batch) = batches.try_next().await? {
            for ((array, expected), (at, _)) in batch.columns().iter().zip(&expected).zip(&self.columns) {
                if !is_everywhere(array, expected.as_ref())? {
                    return Err(differs(field(*at)));
                }
            }
        }
        Ok(())
    }
}

/// Refuses a file if a value of such a column is another one than that of its folder.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if it is, or if nobody can tell, and if the file is damaged.
pub(crate) async fn agree(twins: Twins) -> Result<()> {
    // Damaged pages can panic inside the reader.
    let result = AssertUnwindSafe(twins.look()).catch_unwind().await;
    let damaged = || Error::config("the Parquet file cannot be read; it is damaged");
    let name = twins.file.object.meta.location.to_string();
    result.unwrap_or_else(|_| Err(damaged())).map_err(|e| e.with("path", name))
}

fn differs(field: &Field) -> Error {
    let name = field.name();
    Error::config(format!("column `{name}` of the file does not say the same as the name of the folder `{name}=…`"))
        .hint(format!("rename or remove `{name}` in one of the two: either value could be the right one"))
}

/// The value of a column that a folder's name stands for; `None` if it stands for none, or that cannot be told.
fn value(field: &Field, text: &str) -> Option<ScalarValue> {
    let ty = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        plain => plain,
    };
    let text = text.to_string();
    let digits_behind = |text: &str| text.rsplit_once('.').map_or(0, |(_, digits)| digits.len());
    let value = match ty {
        DataType::Utf8 => Some(ScalarValue::Utf8(Some(text))),
        DataType::LargeUtf8 => Some(ScalarValue::LargeUtf8(Some(text))),
        DataType::Utf8View => Some(ScalarValue::Utf8View(Some(text))),
        DataType::Boolean => match text.as_str() {
            "true" => Some(ScalarValue::Boolean(Some(true))),
            "false" => Some(ScalarValue::Boolean(Some(false))),
            _ => None,
        },
        // More digits would be rounded.
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale)
            if usize::try_from(*scale).is_ok_and(|scale| digits_behind(&text) <= scale) =>
        {
            ScalarValue::try_from_string(text, ty).ok()
        }
        DataType::Float32 | DataType::Float64 | DataType::Date32 | DataType::Timestamp(..) => {
            ScalarValue::try_from_string(text, ty).ok()
        }
        number if number.is_integer() => ScalarValue::try_from_string(text, ty).ok(),
        _ => None,
    };
    value.filter(|value| !value.is_null())
}

/// Whether a value, or NULL, stands in every row.
fn is_everywhere(array: &ArrayRef, value: Option<&ScalarValue>) -> Result<bool> {
    let Some(value) = value else { return Ok(array.logical_null_count() == array.len()) };
    let equal = eq(array, &value.to_scalar()?)?;
    Ok(equal.null_count() == 0 && !equal.values().has_false())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Decimal128Array, Int32Array, StringArray};

    use super::*;

    /// Whether every row of a column says the same as a folder with this value.
    fn agrees(array: ArrayRef, text: Option<&str>) -> bool {
        let field = Field::new("c", array.data_type().clone(), true);
        match text.map(|text| value(&field, text)) {
            Some(None) => false,
            Some(value) => is_everywhere(&array, value.as_ref()).unwrap(),
            None => is_everywhere(&array, None).unwrap(),
        }
    }

    #[test]
    fn a_folder_says_the_same_as_every_row_or_it_does_not() {
        let numbers = |values: &[Option<i32>]| -> ArrayRef { Arc::new(Int32Array::from(values.to_vec())) };
        assert!(agrees(numbers(&[Some(1), Some(1)]), Some("1")));
        assert!(agrees(numbers(&[Some(1)]), Some("01")));
        assert!(agrees(numbers(&[None, None]), None));
        assert!(agrees(numbers(&[]), Some("1")));
        assert!(!agrees(numbers(&[Some(1), Some(2)]), Some("1")));
        assert!(!agrees(numbers(&[Some(1), None]), Some("1")));
        assert!(!agrees(numbers(&[Some(1), None]), None));
        assert!(!agrees(numbers(&[Some(1)]), Some("one")));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["01", "01"]));
        assert!(agrees(Arc::clone(&texts), Some("01")));
        assert!(!agrees(texts, Some("1")));
        let days: ArrayRef = Arc::new(Date32Array::from(vec![0]));
        assert!(agrees(Arc::clone(&days), Some("1970-01-01")));
        assert!(!agrees(days, Some("1970-01-02")));
        let cents: ArrayRef = Arc::new(Decimal128Array::from(vec![101]).with_precision_and_scale(9, 2).unwrap());
        assert!(agrees(Arc::clone(&cents), Some("1.01")));
        assert!(!agrees(cents, Some("1.005")), "it is not rounded to the same");
    }
}
