//! What a case is given to work with, and the rows it writes.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use transload_core::connector::{Partition, ReadSpec, TableState, WriteMode, WriteSpec};
use transload_core::{Committed, Endpoint, Error, ErrorKind, Pin, Result, Sink, Source, Staged, TableName};

use crate::claim::spec;
use crate::promise;
use crate::reading::{Scanned, digest_of, meant};

/// Makes the same endpoint anew, from plain data.
pub(crate) type Connect = Arc<dyn Fn() -> Arc<dyn Endpoint> + Send + Sync>;

/// How often something is tried again whose error passes, and how long after.
const TRIES: usize = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// An endpoint, and names for tables that no other case has.
#[derive(Clone)]
pub(crate) struct Trial {
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) connect: Connect,
    /// What the endpoint claims.
    pub(crate) claims: Arc<[&'static str]>,
    /// How the names of its tables begin.
    pub(crate) name: String,
    /// Tables that are there to be read.
    pub(crate) tables: Arc<[TableName]>,
    /// What the endpoint calls the format of its tables.
    pub(crate) format: &'static str,
    /// Whether every request goes to a server.
    pub(crate) is_far: bool,
}

impl Trial {
    /// The name of a table of its own.
    pub(crate) fn table(&self, suffix: &str) -> TableName {
        TableName::new(format!("{}_{suffix}", self.name))
    }

    /// The same in another process, which knows plain data alone.
    pub(crate) fn anew(&self) -> Self {
        Self { endpoint: (self.connect)(), ..self.clone() }
    }

    pub(crate) fn claims(&self, claim: &str) -> bool {
        self.claims.contains(&claim)
    }

    /// How a table is written that is not there yet.
    pub(crate) fn mode(&self) -> WriteMode {
        if self.claims("overwrite") { WriteMode::Replace } else { WriteMode::Append }
    }

    /// A sink for rows of any columns.
    pub(crate) async fn sink_of(
        &self,
        table: &TableName,
        schema: SchemaRef,
        spec: &WriteSpec,
    ) -> Result<Arc<dyn Sink>> {
        self.endpoint.check_name(table).map_err(Error::config)?;
        self.endpoint.check_write(spec).map_err(Error::config)?;
        self.endpoint.sink(table, schema, spec).await
    }

    /// A sink for [`rows`].
    pub(crate) async fn sink(&self, table: &TableName, mode: WriteMode) -> Result<Arc<dyn Sink>> {
        self.sink_of(table, rows(0, 1)?.schema(), &spec(table, mode)).await
    }

    /// Writes a table in one unit and one commit.
    pub(crate) async fn put(&self, table: &TableName, mode: WriteMode, rows: RecordBatch) -> Result<Committed> {
        self.put_by(table, mode, rows, Vec::new()).await
    }

    /// The same in a layout.
    pub(crate) async fn put_by(
        &self,
        table: &TableName,
        mode: WriteMode,
        rows: RecordBatch,
        partition_by: Vec<Partition>,
    ) -> Result<Committed> {
        let spec = WriteSpec { partition_by, ..spec(table, mode) };
        let sink = self.sink_of(table, rows.schema(), &spec).await?;
        let staged = stage(&sink, "a", rows).await?;
        commit(&sink, vec![staged]).await
    }

    /// Opens a table as it is now.
    pub(crate) async fn open(&self, table: &TableName) -> Result<Arc<dyn Source>> {
        self.endpoint.source(table, &ReadSpec::default()).await
    }

    /// Opens a table at a pin.
    pub(crate) async fn open_at(&self, table: &TableName, pin: Pin) -> Result<Arc<dyn Source>> {
        self.endpoint.source(table, &ReadSpec::at(Some(pin))).await
    }

    pub(crate) async fn count(&self, table: &TableName) -> Result<u64> {
        Ok(Scanned::of(&self.open(table).await?, None).await?.rows())
    }

    /// Whether a table holds just these rows.
    pub(crate) async fn holds(&self, table: &TableName, rows: &RecordBatch) -> Result<bool> {
        is_of(&self.open(table).await?, rows).await
    }
}

/// Whether a source gives just these rows.
pub(crate) async fn is_of(source: &Arc<dyn Source>, rows: &RecordBatch) -> Result<bool> {
    let schema = rows.schema();
    Ok(meant(source, &schema).await?.digest()? == digest_of(&schema, [rows])?)
}

/// Rows with the numbers `from..to`, and a word beside each, or NULL.
pub(crate) fn rows(from: i64, to: i64) -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let words = (from..to).map(|i| (i % 7 != 0).then(|| format!("word {}", i % 5)));
    let words: ArrayRef = Arc::new(words.collect::<StringArray>());
    Ok(RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("word", words, true)])?)
}

/// A batch in parts, between which others have their turn.
pub(crate) fn stream(batch: RecordBatch) -> SendableRecordBatchStream {
    const ROWS: usize = 512;
    let schema = batch.schema();
    let starts = (0..batch.num_rows().max(1)).step_by(ROWS);
    let parts: Vec<RecordBatch> = starts.map(|at| batch.slice(at, ROWS.min(batch.num_rows() - at))).collect();
    let parts = futures::stream::iter(parts).then(|part| async move {
        tokio::task::yield_now().await;
        Ok::<_, DataFusionError>(part)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, parts))
}

/// Memory without a limit.
pub(crate) fn memory() -> Arc<dyn MemoryPool> {
    Arc::new(UnboundedMemoryPool::default())
}

/// Stages a unit, while nothing else is staged at the same sink.
pub(crate) async fn stage(sink: &Arc<dyn Sink>, unit: &str, rows: RecordBatch) -> Result<Staged> {
    let before = sink.written();
    let staged = stage_beside(sink, unit, rows).await?;
    let more = sink.written() - before;
    promise(more == 0 || more == staged.bytes, "a watcher is told of no other bytes than those of the unit")?;
    Ok(staged)
}

/// Stages a unit.
pub(crate) async fn stage_beside(sink: &Arc<dyn Sink>, unit: &str, rows: RecordBatch) -> Result<Staged> {
    let count = rows.num_rows() as u64;
    let staged = sink.stage(unit, stream(rows), &memory()).await?;
    promise(staged.unit == unit && staged.rows == count, "a staged unit says which it is, and how many rows it has")?;
    Ok(staged)
}

/// Commits units without a state.
pub(crate) async fn commit(sink: &Arc<dyn Sink>, staged: Vec<Staged>) -> Result<Committed> {
    sink.commit(staged, TableState::default(), &memory()).await
}

/// Does something again for as long as its error passes by itself, as a run does.
pub(crate) async fn at_last<T, F: Future<Output = Result<T>>>(does: impl Fn() -> F) -> Result<T> {
    for _ in 1..TRIES {
        match does().await {
            Err(error) if error.is_passing() => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
    does().await
}

/// Polls a future so many times at most, and drops it where it stands then. What it came to, if it ended.
pub(crate) async fn cut_short<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        left = left.saturating_sub(1);
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Whether an error is one that a reader may meet whose table is replaced: it says so, or that it passes.
pub(crate) fn is_told(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Transient)
}

/// A value as another process gets it: as text.
pub(crate) fn as_plain_data<T: Serialize + DeserializeOwned>(value: &T) -> Result<T> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|e| Error::internal("a value cannot be written as text").because(e))?;
    serde_json::from_str(&text).map_err(|e| Error::internal("a value cannot be read from its text").because(e))
}
