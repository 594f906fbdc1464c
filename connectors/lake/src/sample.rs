//! Tables whose plan is made of a sample of their footers: what the other files must be like, and about how many rows
//! they have.

use arrow::datatypes::{Field, FieldRef, Schema};
use object_store::path::Path;
use parquet::file::statistics::Statistics;
use transload_core::{Error, LogicalType, Result};

use crate::folders::below_root;
use crate::parquet::{ParquetFile, read_as};
use crate::twins::{self, Twins};
use crate::union::union;

/// What a person can do about a file that does not fit.
const HINT: &str =
    "set `parquet.footers: all` at the connection and plan anew: the plan is made of the footers of all files, then";

/// Rows that no file has more of, so that nothing overflows if a footer says so.
const MOST_ROWS: u64 = 1 << 40;

/// What a plan was made of, beside the columns in files that it has found.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The columns that stand in the names of folders.
    pub(crate) folders: Vec<FieldRef>,
    /// The folder below which these begin.
    pub(crate) root: Path,
}

impl Sample {
    /// Refuses a file by whose footer the plan would have been another one. `planned` are the columns in files.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) with the file and the column.
    pub(crate) async fn check(&self, file: &ParquetFile, planned: &Schema) -> Result<()> {
        fits(file, planned, &self.folders)?;
        let path = below_root(file.object.meta.location.as_ref(), &self.root);
        match Twins::of(file, path, &self.folders)? {
            Some(twins) => twins::agree(twins).await,
            None => Ok(()),
        }
    }
}

fn fits(file: &ParquetFile, planned: &Schema, folders: &[FieldRef]) -> Result<()> {
    let path = file.object.meta.location.as_ref();
    let misfit =
        |said: String, column: &Field| Error::config(said).with("column", column.name()).with("path", path).hint(HINT);
    for (at, own) in file.schema.fields().iter().enumerate() {
        if folders.iter().any(|folder| folder.name() == own.name()) {
            continue;
        }
        let Ok(column) = planned.field_with_name(own.name()) else {
            return Err(misfit("the file has a column that the plan does not know".to_string(), own));
        };
        let alone = |field: &Field| Schema::new(vec![field.clone()]);
        let both = union(&[("", &alone(column)), (path, &alone(own))], &[], read_as)?;
        if both.field(0).data_type() != column.data_type() || both.field(0).metadata() != column.metadata() {
            let [own_type, planned_type] = types(own, column);
            return Err(misfit(format!("the file holds {own_type}, and {planned_type} was planned"), own));
        }
        if own.is_nullable() && !column.is_nullable() && !has_no_null(file, at) {
            return Err(misfit("the file may hold NULL in a column that was planned to have none".to_string(), own));
        }
    }
    let lacks = |column: &&FieldRef| !column.is_nullable() && file.schema.field_with_name(column.name()).is_err();
    match planned.fields().iter().find(lacks) {
        Some(column) => Err(misfit("the file lacks a column that was planned to have no NULL".to_string(), column)),
        None => Ok(()),
    }
}

/// Two types as a person would tell them apart.
fn types(own: &Field, planned: &Field) -> [String; 2] {
    match LogicalType::of(own).zip(LogicalType::of(planned)) {
        Some((own, planned)) if own != planned => [own.to_string(), planned.to_string()],
        _ => [own.data_type().to_string(), planned.data_type().to_string()],
    }
}

/// Whether the statistics say that a column of the file has a value in every row. Those of nested columns do not tell.
fn has_no_null(file: &ParquetFile, column: usize) -> bool {
    let columns = file.metadata.file_metadata().schema_descr();
    let leaf = (0..columns.num_columns()).find(|leaf| columns.get_column_root_idx(*leaf) == column);
    let Some(leaf) = leaf.filter(|_| !file.schema.field(column).data_type().is_nested()) else { return false };
    let mut chunks = file.metadata.row_groups().iter().map(|group| group.column(leaf));
    chunks.all(|chunk| chunk.statistics().and_then(Statistics::null_count_opt) == Some(0))
}

/// About how many rows files have whose footers have not been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    /// Rows and bytes of the files whose footers have.
    rows: u128,
    bytes: u128,
}

impl Estimate {
    /// An estimate by these files.
    pub(crate) fn by<'a>(files: impl IntoIterator<Item = &'a ParquetFile>) -> Self {
        let (mut rows, mut bytes) = (0, 0);
        for file in files {
            rows += u128::try_from(file.metadata.file_metadata().num_rows()).unwrap_or_default();
            bytes += u128::from(file.object.meta.size);
        }
        Self { rows, bytes: bytes.max(1) }
    }

    /// About how many rows are in so many bytes.
    pub(crate) fn rows(self, bytes: u64) -> u64 {
        u64::try_from(u128::from(bytes).saturating_mul(self.rows) / self.bytes).unwrap_or(u64::MAX)
    }

    /// For how many rows a file of so many bytes counts where splits are made, one of so many `files`. It takes time to open
    /// one, too: however small they are, they do not make a single split.
    pub(crate) fn weight(self, bytes: u64, files: usize) -> u64 {
        let each = (1_u64 << 20).div_ceil(u64::try_from(files).unwrap_or(u64::MAX).max(1));
        self.rows(bytes).min(MOST_ROWS) + each
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::parquet::PinnedObject;

    type Columns<'a> = &'a [(&'a str, &'a str, bool)];

    fn schema(columns: Columns<'_>) -> Schema {
        let field =
            |(name, ty, nullable): &(&str, &str, bool)| ty.parse::<LogicalType>().unwrap().to_field(name, *nullable);
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    }

    /// A file in the folder of `p`, which is 1.
    async fn written(batch: &RecordBatch) -> ParquetFile {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t/p=1/f.parquet");
        store.put(&path, PutPayload::from(writer.into_inner().unwrap())).await.unwrap();
        let meta = store.head(&path).await.unwrap();
        ParquetFile::open(PinnedObject { store, meta }).await.unwrap()
    }

    async fn checked(planned: Columns<'_>, batch: &RecordBatch) -> Result<()> {
        let planned = Schema::new(schema(planned).fields().iter().map(|field| read_as(field)).collect::<Vec<_>>());
        let folders = vec![read_as(&LogicalType::Text.to_field("p", true))];
        let sample = Sample { folders, root: Path::from("t") };
        sample.check(&written(batch).await, &planned).await
    }

    async fn empty(planned: Columns<'_>, own: Columns<'_>) -> Result<()> {
        checked(planned, &RecordBatch::new_empty(Arc::new(schema(own)))).await
    }

    #[tokio::test]
    async fn a_file_fits_if_it_would_have_changed_nothing_in_the_plan() {
        let planned =
            [("a", "int64", true), ("b", "decimal(9,4)", true), ("c", "text", false), ("l", "list<int64>", true)];
        for own in [
            vec![("a", "int64", true), ("b", "decimal(9,4)", true), ("c", "text", false), ("l", "list<int64>", true)],
            vec![("c", "text", true), ("a", "int8", false), ("l", "list<int32>", true), ("b", "decimal(5,2)", true)],
            vec![("c", "text", false)],
        ] {
            empty(&planned, &own).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_file_that_does_not_fit_is_refused_with_its_column() {
        for (planned, own, said) in [
            (
                vec![("a", "int32", true)],
                vec![("x", "text", true)],
                "the file has a column that the plan does not know",
            ),
            (vec![("a", "int32", true)], vec![("a", "int64", true)], "the file holds int64, and int32 was planned"),
            (
                vec![("a", "timestamp(us)", true)],
                vec![("a", "timestamp(ns)", true)],
                "the file holds timestamp(ns), and",
            ),
            (vec![("a", "decimal(9,2)", true)], vec![("a", "decimal(9,3)", true)], "the file holds decimal(9,3), and"),
            (
                vec![("a", "int64", false), ("b", "text", true)],
                vec![("b", "text", true)],
                "the file lacks a column that was planned to have no NULL",
            ),
            (vec![("a", "int64", true)], vec![("a", "text", true)], "column `a` is"),
            (vec![("a", "timestamp(us, UTC)", true)], vec![("a", "timestamp(us)", true)], "column `a` is"),
        ] {
            let error = empty(&planned, &own).await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(said) && text.contains("path t/p=1/f.parquet"), "{text}");
            assert!(error.hint_text().is_some(), "{text}");
            assert!(text.starts_with("column `a` is") || text.contains("(column "), "{text}");
        }
    }

    #[tokio::test]
    async fn a_null_that_was_not_planned_is_refused() {
        let batch = |values: Vec<Option<i64>>| {
            let column: ArrayRef = Arc::new(Int64Array::from(values));
            RecordBatch::try_from_iter_with_nullable([("a", column, true)]).unwrap()
        };
        let (full, with_null) = (batch(vec![Some(1), Some(2)]), batch(vec![Some(1), None]));
        checked(&[("a", "int64", false)], &full).await.unwrap();
        checked(&[("a", "int64", true)], &with_null).await.unwrap();
        let error = checked(&[("a", "int64", false)], &with_null).await.unwrap_err();
        assert!(error.to_string().contains("may hold NULL in a column that was planned to have none"), "{error}");
    }

    #[tokio::test]
    async fn a_column_that_folders_have_too_says_the_same() {
        let batch = |value: i64| {
            let column = || Arc::new(Int64Array::from(vec![value])) as ArrayRef;
            RecordBatch::try_from_iter([("a", column()), ("p", column())]).unwrap()
        };
        checked(&[("a", "int64", true)], &batch(1)).await.unwrap();
        let error = checked(&[("a", "int64", true)], &batch(2)).await.unwrap_err();
        assert!(error.to_string().contains("does not say the same as the name of the folder `p=…`"), "{error}");
    }

    #[test]
    fn rows_are_estimated_by_bytes() {
        let estimate = Estimate { rows: 50, bytes: 1000 };
        assert_eq!([0, 1000, 2010, u64::MAX].map(|bytes| estimate.rows(bytes)), [0, 50, 100, u64::MAX / 20]);
        assert_eq!(estimate.weight(2000, 1 << 10), 100 + (1 << 10));
        assert_eq!(Estimate { rows: u128::MAX, bytes: 1 }.weight(u64::MAX, 1), MOST_ROWS + (1 << 20));
        assert_eq!(Estimate::by([]).weight(5, usize::MAX), 1, "what is empty counts too");
    }
}
