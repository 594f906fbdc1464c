//! Tables that become visible in one piece, also for programs that only list files: their rows go into a single file.
//!
//! Units write their rows in pieces that nobody takes for files of a table. The commit puts the pieces together, in the
//! order of the units, into one file, and publishes that: a file appears whole or not at all, in a folder and in a bucket.
//! The rows are written twice, so this is for tables that are small beside what they belong to, such as quarantines.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use transload_core::connector::{Sink, TableState};
use transload_core::store::{Lock, Store};
use transload_core::{Committed, Error, Result, Staged, fault};

use crate::commit::LakeSink;
use crate::listing::{below, lock_of};
use crate::manifest::Manifest;
use crate::moves::{self, Moves};
use crate::settings::{WriteFormat, Writing};
use crate::stage::file_schema;
use crate::writer::unwritable;

/// A piece that has reached this size ends. Pieces are held in memory, one for each unit that writes or is read.
const PIECE_BYTES: usize = 8 << 20;
/// Rows that are read from a piece at a time.
const BATCH_ROWS: usize = 8192;
/// The unit that the one file is staged as.
const WHOLE: &str = "whole";

/// A table of which all rows, or none, are there for whoever lists its files.
pub(crate) struct WholeSink {
    inner: LakeSink,
}

/// Some rows of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    /// Where it is, below the url.
    path: String,
    rows: u64,
    bytes: u64,
}

impl Piece {
    /// The pieces of a staged unit.
    fn of(unit: Staged) -> Result<Vec<Self>> {
        serde_json::from_value(unit.detail).map_err(|e| Error::internal("a staged unit cannot be read").because(e))
    }

    fn place(&self) -> Result<Path> {
        Path::parse(&self.path).map_err(|e| Error::internal("a staged path is broken").because(e))
    }
}

impl WholeSink {
    pub(crate) fn new(inner: LakeSink) -> Self {
        // However large it gets, it is one file.
        let writing = Writing { file_bytes: u64::MAX, ..inner.writing.clone() };
        Self { inner: LakeSink { writing, ..inner } }
    }

    /// How pieces are compressed. They are Parquet, whatever the file becomes.
    fn compression(&self) -> Compression {
        match &self.inner.writing.format {
            WriteFormat::Parquet(parquet) => parquet.compression,
            WriteFormat::Csv(..) | WriteFormat::Json(_) | WriteFormat::Avro(_) => Compression::SNAPPY,
        }
    }

    /// The rows of pieces, one after the other.
    fn rows(&self, store: &Store, pieces: Vec<Piece>) -> SendableRecordBatchStream {
        let store = store.clone();
        let batches = futures::stream::iter(pieces)
            .then(move |piece| {
                let store = store.clone();
                async move { read(&store, &piece).await.map_err(DataFusionError::from) }
            })
            .map_ok(|reader| futures::stream::iter(reader).map_err(|e| DataFusionError::from(Error::from(e))))
            .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.inner.schema), batches))
    }

    /// Removes what this sink's commit has published, before anybody can have built on it. Whoever goes by the manifest
    /// sees nothing of it as soon as that is gone; the note keeps it so if this dies here.
    async fn withdraw_in_turn(&self, store: &Store, turn: &Lock) -> Result<()> {
        let (root, key) = (&self.inner.root, &self.inner.spec.commit);
        let Some(manifest) = Manifest::newest(store, root).await? else { return Ok(()) };
        if !manifest.commits.contains(key) {
            return Ok(());
        }
        if manifest.commits.len() > 1 || manifest.files.iter().any(|file| file.commit != *key) {
            return Err(Error::internal("a table to which others have added rows cannot be taken back")
                .with("table", self.inner.table.as_str()));
        }
        let files: Vec<String> = manifest.files.iter().map(|file| file.path.clone()).collect();
        Moves::of(files.clone()).write(store, root, key).await?;
        manifest.remove(store, root).await?;
        for file in &files {
            store.remove_and_prune(&below(root, file)?).await?;
        }
        store.remove_and_prune(&moves::path(root, key)).await?;
        store.remove_lock(&lock_of(root), turn).await
    }
}

#[async_trait]
impl Sink for WholeSink {
    async fn state(&self) -> Result<Option<(String, TableState)>> {
        self.inner.state().await
    }

    async fn stage(
        &self,
        unit: &str,
        mut rows: SendableRecordBatchStream,
        memory: &Arc<dyn MemoryPool>,
    ) -> Result<Staged> {
        let store = self.inner.store()?;
        let folder = self.inner.staging().join(unit);
        for left in store.list(&folder).await? {
            store.remove(&left.location).await?;
        }
        let (schema, _) = file_schema(&self.inner.schema, &[]);
        let properties = WriterProperties::builder().set_compression(self.compression()).build();
        let mut writer = Writer { store, folder, schema, properties, open: None, done: Vec::new() };
        let held = MemoryConsumer::new("pieces").register(memory);
        fault::point("stage.opened")?;
        while let Some(batch) = rows.next().await.transpose()? {
            fault::point("stage.batch")?;
            writer.write(&batch)?;
            if writer.size() >= PIECE_BYTES || held.try_resize(writer.size()).is_err() {
                writer.end().await?;
                held.resize(0);
            }
        }
        writer.end().await?;
        fault::point("stage.written")?;
        let pieces = writer.done;
        let detail = serde_json::to_value(&pieces)
            .map_err(|e| Error::internal("staged pieces cannot be written down").because(e))?;
        Ok(Staged {
            unit: unit.to_string(),
            rows: pieces.iter().map(|piece| piece.rows).sum(),
            deleted: 0,
            bytes: pieces.iter().map(|piece| piece.bytes).sum(),
            detail,
        })
    }

    async fn commit(&self, staged: Vec<Staged>, state: TableState, memory: &Arc<dyn MemoryPool>) -> Result<Committed> {
        // The pieces of what was published are gone.
        if self.inner.is_committed().await? {
            return self.inner.commit(Vec::new(), state, memory).await;
        }
        let mut pieces: Vec<Piece> = Vec::new();
        for unit in staged {
            pieces.extend(Piece::of(unit)?);
        }
        let rows = self.rows(self.inner.store()?, pieces);
        let whole = self.inner.stage(WHOLE, rows, memory).await?;
        self.inner.commit(vec![whole], state, memory).await
    }

    async fn is_staged(&self, staged: &Staged) -> Result<bool> {
        let Some(store) = self.inner.existing()? else { return Ok(false) };
        for piece in Piece::of(staged.clone())? {
            let found = store.head(&piece.place()?).await?;
            if found.is_none_or(|found| found.size != piece.bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_committed(&self) -> Result<bool> {
        self.inner.is_committed().await
    }

    async fn abort(&self) -> Result<()> {
        self.inner.abort().await
    }

    async fn withdraw(&self) -> Result<()> {
        let Some(store) = self.inner.existing()? else { return Ok(()) };
        // To take the lock of a table that is not there would make its folder.
        if self.inner.is_committed().await? {
            let turn = store.lock(&lock_of(&self.inner.root)).await?;
            let withdrawn = self.withdraw_in_turn(&store, &turn).await;
            turn.release().await;
            withdrawn?;
        }
        self.inner.abort().await
    }
}

/// Writes the pieces of one unit.
struct Writer<'a> {
    store: &'a Store,
    folder: Path,
    schema: SchemaRef,
    properties: WriterProperties,
    open: Option<(ArrowWriter<Vec<u8>>, u64)>,
    done: Vec<Piece>,
}

impl Writer<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (writer, rows) = match &mut self.open {
            Some(open) => open,
            None => {
                let properties = Some(self.properties.clone());
                let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&self.schema), properties);
                let writer = writer.map_err(unwritable)?;
                self.open.insert((writer, 0))
            }
        };
        writer.write(batch).map_err(unwritable)?;
        *rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Memory that the open piece takes, in bytes.
    fn size(&self) -> usize {
        self.open.as_ref().map_or(0, |(writer, _)| writer.bytes_written() + writer.memory_size())
    }

    /// Ends the open piece, and makes it durable.
    async fn end(&mut self) -> Result<()> {
        let Some((writer, rows)) = self.open.take() else { return Ok(()) };
        let content = Bytes::from(writer.into_inner().map_err(unwritable)?);
        let path = self.folder.clone().join(format!("{}.rows", self.done.len()));
        let bytes = content.len() as u64;
        if !self.store.create(&path, content).await? {
            return Err(Error::transient("another process stages the same rows").with("path", path.to_string()));
        }
        self.done.push(Piece { path: path.to_string(), rows, bytes });
        Ok(())
    }
}

/// The rows of a piece.
async fn read(store: &Store, piece: &Piece) -> Result<ParquetRecordBatchReader> {
    let content = store.read(&piece.place()?).await?.ok_or_else(|| {
        Error::config("what was staged is gone").with("path", piece.path.as_str()).hint("start a new run")
    })?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(content).and_then(|b| b.with_batch_size(BATCH_ROWS).build());
    reader.map_err(|e| Error::config("what was staged cannot be read").with("path", piece.path.as_str()).because(e))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::execution::memory_pool::UnboundedMemoryPool;
    use transload_core::connector::{Expected, WriteMode, WriteSpec};
    use transload_core::secret::NoReferences;
    use transload_core::store::{Address, StoreOptions};
    use transload_core::{Clock, CommitKey, ErrorKind, RunId, TableName, Template};
    use transload_testkit::bucket::Bucket;

    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::settings::ParquetWriting;

    fn sink(store: &Store, commit: &CommitKey) -> WholeSink {
        let fields = vec![Field::new("id", DataType::Int64, true), Field::new("word", DataType::Utf8, true)];
        WholeSink::new(LakeSink {
            address: Address {
                url: Template::parse("memory").unwrap(),
                options: StoreOptions::default(),
                resolver: Arc::new(NoReferences),
            },
            opened: OnceLock::from(store.clone()),
            root: Path::from("t"),
            table: TableName::new("t"),
            schema: Arc::new(Schema::new(fields)),
            spec: WriteSpec {
                commit: commit.clone(),
                mode: WriteMode::Append,
                partition_by: Vec::new(),
                expected: Expected::Anything,
                key: Vec::new(),
            },
            writing: Writing {
                format: WriteFormat::Parquet(ParquetWriting {
                    compression: Compression::UNCOMPRESSED,
                    row_group_rows: 1000,
                }),
                file_bytes: 1 << 16,
            },
            written: AtomicU64::default(),
        })
    }

    fn memory() -> Arc<dyn MemoryPool> {
        Arc::new(UnboundedMemoryPool::default())
    }

    fn bucket() -> Store {
        Store::over(Arc::new(Bucket::default()), "memory", Clock::system())
    }

    fn key() -> CommitKey {
        CommitKey::new(&RunId::new(&Clock::system()), &TableName::new("t"))
    }

    /// Stages rows with ids from `from` on, in batches of a thousand.
    async fn stage(sink: &WholeSink, unit: &str, from: i64, rows: i64, word: &str) -> Staged {
        let batch = |at: i64| {
            let last = (at + 1000).min(from + rows);
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(at..last));
            // No two alike, so that nothing is saved by a dictionary.
            let words = (at..last).map(|id| format!("{id}{word}"));
            let words: ArrayRef = Arc::new(StringArray::from_iter_values(words));
            Ok(RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("word", words, true)]).unwrap())
        };
        let batches = futures::stream::iter((from..from + rows).step_by(1000).map(batch).collect::<Vec<_>>());
        let rows = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&sink.inner.schema), batches));
        sink.stage(unit, rows, &memory()).await.unwrap()
    }

    async fn names(store: &Store) -> Vec<String> {
        store.list(&Path::default()).await.unwrap().iter().map(|f| f.location.to_string()).collect()
    }

    fn data(names: &[String]) -> Vec<&String> {
        names.iter().filter(|name| name.ends_with(".parquet")).collect()
    }

    #[tokio::test]
    async fn however_many_units_and_pieces_there_are_the_table_is_one_file() {
        let (store, key) = (bucket(), key());
        let sink = sink(&store, &key);
        // A unit of several pieces, one of none, and one that is staged twice.
        let first = stage(&sink, "000000", 0, 12_000, &"x".repeat(1000)).await;
        assert!(first.detail.as_array().unwrap().len() > 1, "{}", first.detail);
        let none = stage(&sink, "000001", 0, 0, "").await;
        stage(&sink, "000002", 90_000, 3000, "a").await;
        let last = stage(&sink, "000002", 20_000, 1500, "b").await;
        let staged = names(&store).await;
        assert!(data(&staged).is_empty() && staged.iter().all(|name| name.ends_with(".rows")), "{staged:?}");

        let done = sink.commit(vec![first.clone(), none, last], TableState::default(), &memory()).await.unwrap();
        assert_eq!((done.rows, done.parts, done.already_done), (13_500, 1, false));
        let there = names(&store).await;
        assert_eq!(data(&there).len(), 1, "{there:?}");
        assert!(!there.iter().any(|name| name.contains("/staging/")), "{there:?}");
        let file = store.read(&Path::from(data(&there)[0].as_str())).await.unwrap().unwrap();
        let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let ids = batches.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec());
        assert!(ids.eq((0..12_000).chain(20_000..21_500)));

        // Nothing is there to be put together again, and nothing has to.
        let again = sink.commit(vec![first], TableState::default(), &memory()).await.unwrap();
        assert!(again.already_done && again.pin == done.pin);
    }

    #[tokio::test]
    async fn a_piece_that_somebody_has_removed_is_noticed() {
        let (store, key) = (bucket(), key());
        let sink = sink(&store, &key);
        let staged = stage(&sink, "000000", 0, 12_000, &"x".repeat(1000)).await;
        assert!(sink.is_staged(&staged).await.unwrap());
        let last = names(&store).await.pop().unwrap();
        store.remove(&Path::from(last)).await.unwrap();
        assert!(!sink.is_staged(&staged).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_withdrawn_is_gone_and_can_be_committed_anew() {
        let (store, key) = (bucket(), key());
        let sink = sink(&store, &key);
        sink.withdraw().await.unwrap();
        assert!(names(&store).await.is_empty());
        for _ in 0..2 {
            let staged = stage(&sink, "000000", 0, 10, "").await;
            sink.commit(vec![staged], TableState::default(), &memory()).await.unwrap();
            assert_eq!(data(&names(&store).await).len(), 1);
            sink.withdraw().await.unwrap();
            sink.withdraw().await.unwrap();
            // In a bucket the lock stays.
            assert_eq!(names(&store).await, ["t/_transload/lock"]);
            assert!(!sink.is_committed().await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_others_have_added_to_is_not_withdrawn() {
        let store = bucket();
        let (first, second) = (sink(&store, &key()), sink(&store, &key()));
        for sink in [&first, &second] {
            let staged = stage(sink, "000000", 0, 10, "").await;
            sink.commit(vec![staged], TableState::default(), &memory()).await.unwrap();
        }
        for sink in [&first, &second] {
            assert_eq!(sink.withdraw().await.unwrap_err().kind(), ErrorKind::Internal);
        }
        assert_eq!(data(&names(&store).await).len(), 2);
    }
}
