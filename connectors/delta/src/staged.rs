//! The files of a commit: those with rows, and those with the keys of delete markers.
//!
//! A file with keys is for the commit alone. It lies beside what the commit has staged, and goes with that.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::AsArray;
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalake_core::kernel::Add;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use transload_core::connector::Partition;
use transload_core::store::Store;
use transload_core::{CommitKey, Error, Result, Staged};
use transload_lake::files::{self, FileWriter};

use crate::options::Settings;
use crate::stats;

/// The property that says of how many columns a file's bounds are kept.
const INDEXED_COLUMNS: &str = "delta.dataSkippingNumIndexedCols";

/// A staged file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StagedFile {
    #[serde(flatten)]
    pub(crate) file: files::StagedFile,
    /// Of the partition columns, outermost first; `None` is NULL.
    pub(crate) values: Vec<(String, Option<String>)>,
    /// Delta's statistics, as JSON text.
    pub(crate) statistics: String,
    /// Whether it has the keys of delete markers, and no rows of the table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_keys: bool,
}

impl StagedFile {
    /// The files of a staged unit.
    pub(crate) fn of(unit: &Staged) -> Result<Vec<Self>> {
        serde_json::from_value(unit.detail.clone())
            .map_err(|e| Error::internal("a staged unit cannot be read").because(e))
    }

    /// The values of its partition by the names of their columns.
    pub(crate) fn partition(&self) -> HashMap<String, Option<String>> {
        self.values.iter().cloned().collect()
    }

    /// What makes it a part of the table.
    pub(crate) fn add(&self, now: i64) -> Add {
        Add {
            path: self.file.path.clone(),
            partition_values: self.partition(),
            size: i64::try_from(self.file.bytes).unwrap_or(i64::MAX),
            modification_time: now,
            data_change: true,
            stats: Some(self.statistics.clone()),
            ..Add::default()
        }
    }
}

/// A unit of work that has staged files.
pub(crate) fn unit(name: &str, files: &[StagedFile]) -> Result<Staged> {
    let detail =
        serde_json::to_value(files).map_err(|e| Error::internal("staged files cannot be written down").because(e))?;
    let rows = |is_keys: bool| -> u64 { files.iter().filter(|f| f.is_keys == is_keys).map(|f| f.file.rows).sum() };
    Ok(Staged {
        unit: name.to_string(),
        rows: rows(false),
        deleted: rows(true),
        bytes: files.iter().map(|f| f.file.bytes).sum(),
        detail,
    })
}

/// Where and how a commit writes its files.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) store: Store,
    /// The table's folder.
    pub(crate) root: Path,
    pub(crate) commit: CommitKey,
    pub(crate) settings: Arc<Settings>,
}

/// Some files of a commit.
pub(crate) struct Part<'a> {
    /// The unit of work that writes them.
    pub(crate) unit: &'a str,
    pub(crate) schema: SchemaRef,
    pub(crate) partition_by: &'a [Partition],
    /// Whether they have the keys of delete markers.
    pub(crate) is_keys: bool,
    /// Counts bytes that are written.
    pub(crate) written: &'a AtomicU64,
}

impl Files {
    /// Writes all rows of a stream.
    ///
    /// # Errors
    /// As the stream or the store fails, and [`Config`](transload_core::ErrorKind::Config) for a row that can be in no
    /// partition.
    pub(crate) async fn write(
        &self,
        part: Part<'_>,
        rows: SendableRecordBatchStream,
        memory: &Arc<dyn MemoryPool>,
    ) -> Result<Vec<StagedFile>> {
        let writer = FileWriter {
            store: &self.store,
            table: &self.root,
            commit: &self.commit,
            unit: part.unit,
            aside: part.is_keys,
            schema: Arc::clone(&part.schema),
            partition_by: part.partition_by,
            settings: &self.settings.parquet,
            written: part.written,
        };
        let said = self.settings.properties.iter().find(|(name, _)| name == INDEXED_COLUMNS);
        let said = said.map(|(_, number)| number.parse().unwrap_or(usize::MAX));
        let indexed = if part.is_keys { Some(usize::MAX) } else { said };
        let with_nan = Arc::new(Mutex::new(BTreeSet::new()));
        let written = writer.write(noting_nan(rows, Arc::clone(&with_nan)), memory).await?;
        let with_nan = std::mem::take(&mut *with_nan.lock().unwrap_or_else(PoisonError::into_inner));
        let mut staged: Vec<StagedFile> = Vec::with_capacity(written.len());
        for file in written {
            if let Some((column, _)) = file.values.iter().find(|(_, value)| value.as_deref() == Some("")) {
                let message = "an empty text cannot name a partition: in a Delta table it would be NULL";
                return Err(Error::config(message)
                    .with("column", column)
                    .hint("partition by another column, or derive one that is never empty"));
            }
            let statistics = stats::of(&file.metadata, &part.schema, &with_nan, indexed);
            staged.push(StagedFile { file: file.file, values: file.values, statistics, is_keys: part.is_keys });
        }
        Ok(staged)
    }
}

/// The same rows, of which it is taken down in which columns there is a NaN.
fn noting_nan(rows: SendableRecordBatchStream, with_nan: Arc<Mutex<BTreeSet<String>>>) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let noted = rows.inspect_ok(move |batch| {
        stats::note_nan(batch, &mut with_nan.lock().unwrap_or_else(PoisonError::into_inner));
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, noted))
}

/// Rows, and of the delete markers among them the keys, which are these columns. `marks` is the column that tells them
/// apart. Both streams have to be read at the same time.
pub(crate) fn split(
    rows: SendableRecordBatchStream,
    marks: usize,
    key: Vec<usize>,
) -> Result<(SendableRecordBatchStream, SendableRecordBatchStream)> {
    let all = rows.schema();
    let others: Vec<usize> = (0..all.fields().len()).filter(|at| *at != marks).collect();
    let (of_rows, of_keys) = (Arc::new(all.project(&others)?), Arc::new(all.project(&key)?));
    let (keys, found) = mpsc::channel(1);
    let kept = futures::stream::try_unfold((rows, keys), move |(mut rows, mut keys)| {
        let (others, key) = (others.clone(), key.clone());
        async move {
            let Some(batch) = rows.next().await.transpose()? else { return Ok(None) };
            let is_marker = batch.column(marks).as_boolean();
            if is_marker.has_true() {
                let markers = filter_record_batch(&batch.project(&key)?, is_marker)?;
                let closed = |_| Error::internal("the keys of delete markers are not written");
                keys.send(Ok::<_, DataFusionError>(markers)).await.map_err(closed)?;
            }
            let kept = filter_record_batch(&batch.project(&others)?, &not(is_marker)?)?;
            Ok::<_, DataFusionError>(Some((kept, (rows, keys))))
        }
    });
    Ok((
        Box::pin(RecordBatchStreamAdapter::new(of_rows, kept)),
        Box::pin(RecordBatchStreamAdapter::new(of_keys, found)),
    ))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn values(batches: Vec<RecordBatch>, column: usize) -> Vec<i64> {
        batches.iter().flat_map(|b| b.column(column).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[tokio::test]
    async fn delete_markers_go_their_own_way_with_nothing_but_their_keys() {
        let numbers = |of: [i64; 3]| Arc::new(Int64Array::from(of.to_vec())) as ArrayRef;
        let batch = |ids: [i64; 3], marks: [bool; 3]| {
            let marks: ArrayRef = Arc::new(BooleanArray::from(marks.to_vec()));
            let columns = [("v", numbers(ids.map(|id| 10 * id))), ("id", numbers(ids)), ("m", marks)];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let batches =
            [batch([1, 2, 3], [false, true, false]), batch([4, 5, 6], [true; 3]), batch([7, 8, 9], [false; 3])];
        let schema = batches[0].schema();
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches.map(Ok))));
        let (rows, keys) = split(rows, 2, vec![1]).unwrap();
        let names =
            |s: &SendableRecordBatchStream| s.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        assert_eq!((names(&rows), names(&keys)), (vec!["v".to_string(), "id".to_string()], vec!["id".to_string()]));
        let (rows, keys) = futures::try_join!(rows.try_collect::<Vec<_>>(), keys.try_collect::<Vec<_>>()).unwrap();
        assert_eq!(values(rows.clone(), 1), [1, 3, 7, 8, 9]);
        assert_eq!(values(rows, 0), [10, 30, 70, 80, 90]);
        assert_eq!(values(keys, 0), [2, 4, 5, 6]);
    }

    #[test]
    fn what_older_versions_have_staged_is_read() {
        let old = r#"[{"staged":"t/a","path":"a","rows":3,"bytes":9,"values":[["p",null]],"statistics":"{}"}]"#;
        let staged = |detail: &str| Staged {
            unit: "0".to_string(),
            rows: 3,
            deleted: 0,
            bytes: 9,
            detail: serde_json::from_str(detail).unwrap(),
        };
        let mut files = StagedFile::of(&staged(old)).unwrap();
        assert!(!files[0].is_keys);
        assert_eq!(serde_json::to_string(&unit("0", &files).unwrap().detail).unwrap(), old);
        files.push(StagedFile { is_keys: true, ..files[0].clone() });
        let unit = unit("0", &files).unwrap();
        assert_eq!((unit.rows, unit.deleted, unit.bytes), (3, 3, 18));
        assert_eq!(StagedFile::of(&unit).unwrap(), files);
    }
}
