//! What every sink promises.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use transload_core::connector::{Expected, Partition, ReadSpec, TableState, Transform, WriteMode, WriteSpec};
use transload_core::{Clock, CommitKey, Endpoint, Error, Result, RunId, Sink, Staged, TableName};

use crate::promise;
use crate::source::digest_of;

/// Checks every promise of [`Sink`] on tables `{prefix}_…` of an endpoint that can be read and written.
///
/// # Errors
/// The promise that is broken.
pub async fn sink_keeps_its_promises(endpoint: &Arc<dyn Endpoint>, prefix: &str) -> Result<()> {
    publishes_once(endpoint, &TableName::new(format!("{prefix}_once"))).await?;
    appends(endpoint, &TableName::new(format!("{prefix}_append"))).await?;
    aborts(endpoint, &TableName::new(format!("{prefix}_abort"))).await?;
    holds_no_rows(endpoint, &TableName::new(format!("{prefix}_empty"))).await?;
    is_whole(endpoint, &TableName::new(format!("{prefix}_whole"))).await?;
    partitions(endpoint, &TableName::new(format!("{prefix}_parts"))).await
}

/// Adds ten rows at a time to one table, by `writers` at the same time, `commits` times each, and counts the rows of
/// the table afterwards. A passing error is tried again, as a run does.
///
/// # Errors
/// Any other error of a writer.
pub async fn added_by_many(endpoint: &Arc<dyn Endpoint>, table: &str, writers: i64, commits: i64) -> Result<u64> {
    let table = TableName::new(table);
    let mut running = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (endpoint, table) = (Arc::clone(endpoint), table.clone());
        running.spawn(async move {
            for commit in 0..commits {
                let sink = sink(&endpoint, &table, WriteMode::Append, Vec::new()).await?;
                let from = (writer * commits + commit) * 10;
                let staged = stage(&sink, "a", from, from + 10).await?;
                while let Err(error) = sink.commit(vec![staged.clone()], TableState::default(), &memory()).await {
                    if !error.is_passing() {
                        return Err(error);
                    }
                }
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|e| Error::internal("a writer died").because(e))??;
    }
    count(endpoint, &table).await
}

fn memory() -> Arc<dyn MemoryPool> {
    Arc::new(UnboundedMemoryPool::default())
}

fn rows(from: i64, to: i64) -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let words = (from..to).map(|i| (i % 7 != 0).then(|| format!("word {}", i % 5)));
    let words: ArrayRef = Arc::new(words.collect::<StringArray>());
    Ok(RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("word", words, true)])?)
}

fn stream(batch: RecordBatch) -> SendableRecordBatchStream {
    let schema = batch.schema();
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)])))
}

fn plain(commit: CommitKey, mode: WriteMode) -> WriteSpec {
    WriteSpec { commit, mode, partition_by: Vec::new(), expected: Expected::Anything, key: Vec::new() }
}

async fn sink(
    endpoint: &Arc<dyn Endpoint>,
    table: &TableName,
    mode: WriteMode,
    by: Vec<Partition>,
) -> Result<Arc<dyn Sink>> {
    let commit = CommitKey::new(&RunId::new(&Clock::system()), table);
    let spec = WriteSpec { partition_by: by, ..plain(commit, mode) };
    endpoint.check_write(&spec).map_err(Error::config)?;
    endpoint.sink(table, rows(0, 1)?.schema(), &spec).await
}

async fn stage(sink: &Arc<dyn Sink>, unit: &str, from: i64, to: i64) -> Result<Staged> {
    let before = sink.written();
    let staged = sink.stage(unit, stream(rows(from, to)?), &memory()).await?;
    promise(staged.rows == (to - from) as u64, "a staged unit says how many rows it has")?;
    let more = sink.written() - before;
    promise(more == 0 || more == staged.bytes, "a watcher is told of no other bytes than those of the unit")?;
    Ok(staged)
}

async fn count(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<u64> {
    let source = endpoint.source(table, &ReadSpec::default()).await?;
    Ok(digest_of(&source, None).await?.0.rows())
}

async fn publishes_once(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<()> {
    let first = sink(endpoint, table, WriteMode::Replace, Vec::new()).await?;
    stage(&first, "a", 0, 10).await?;
    // An attempt that was not finished is replaced by the next one.
    let a = stage(&first, "a", 0, 100).await?;
    let b = stage(&first, "b", 100, 150).await?;
    promise(count(endpoint, table).await.is_err(), "staged rows are not visible")?;
    let state = TableState { cursor: Some("149".to_string()), cursor_column: Some("id".to_string()) };
    promise(!first.is_committed().await?, "what is staged is not committed")?;
    promise(first.is_staged(&a).await? && first.is_staged(&b).await?, "what is staged is there")?;
    let done = first.commit(vec![a.clone(), b.clone()], state.clone(), &memory()).await?;
    promise(first.is_committed().await?, "a commit is known by its key")?;
    promise(!done.already_done && done.rows == 150, "a commit publishes what is staged")?;
    promise(count(endpoint, table).await? == 150, "what is committed is visible")?;
    promise(first.state().await?.is_some_and(|(_, kept)| kept == state), "the state is kept")?;
    let again = first.commit(vec![a, b], state, &memory()).await?;
    promise(again.already_done && again.pin == done.pin, "committing again changes nothing")?;
    let pinned = endpoint.source(table, &ReadSpec { pin: Some(done.pin) }).await?;
    promise(digest_of(&pinned, None).await?.0.rows() == 150, "a commit's pin reads its rows")?;

    let commit = CommitKey::new(&RunId::new(&Clock::system()), table);
    let late = WriteSpec { expected: Expected::Missing, ..plain(commit, WriteMode::Replace) };
    let late = endpoint.sink(table, rows(0, 1)?.schema(), &late).await?;
    let staged = stage(&late, "a", 0, 3).await?;
    promise(
        late.commit(vec![staged], TableState::default(), &memory()).await.is_err(),
        "a late commit undoes nothing",
    )?;
    late.abort().await?;

    let second = sink(endpoint, table, WriteMode::Replace, Vec::new()).await?;
    let c = stage(&second, "a", 500, 520).await?;
    promise(count(endpoint, table).await? == 150, "the old rows stay until the commit")?;
    promise(!second.is_committed().await?, "another key is another commit")?;
    second.commit(vec![c], TableState::default(), &memory()).await?;
    promise(first.is_committed().await? && second.is_committed().await?, "a key is known for longer than its rows")?;
    promise(count(endpoint, table).await? == 20, "replacing replaces")
}

async fn appends(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<()> {
    for (from, to) in [(0, 10), (10, 25)] {
        let sink = sink(endpoint, table, WriteMode::Append, Vec::new()).await?;
        let staged = stage(&sink, "a", from, to).await?;
        let done = sink.commit(vec![staged], TableState::default(), &memory()).await?;
        let own = endpoint.source(table, &ReadSpec { pin: Some(done.pin) }).await?;
        promise(digest_of(&own, None).await?.0.rows() == (to - from) as u64, "a commit's pin reads its own rows only")?;
    }
    promise(count(endpoint, table).await? == 25, "appending adds")
}

async fn aborts(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<()> {
    let kept = sink(endpoint, table, WriteMode::Replace, Vec::new()).await?;
    let staged = stage(&kept, "a", 0, 5).await?;
    kept.commit(vec![staged], TableState::default(), &memory()).await?;
    let dropped = sink(endpoint, table, WriteMode::Replace, Vec::new()).await?;
    stage(&dropped, "a", 0, 50).await?;
    dropped.abort().await?;
    dropped.abort().await?;
    kept.abort().await?;
    promise(count(endpoint, table).await? == 5, "an abort leaves what is committed alone")
}

async fn holds_no_rows(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<()> {
    let sink = sink(endpoint, table, WriteMode::Replace, Vec::new()).await?;
    let staged = stage(&sink, "a", 0, 0).await?;
    sink.commit(vec![staged], TableState::default(), &memory()).await?;
    let source = endpoint.source(table, &ReadSpec::default()).await?;
    promise(digest_of(&source, None).await?.0.rows() == 0, "a table can be empty")?;
    promise(source.schema().fields().len() == 2, "an empty table has its columns")
}

async fn is_whole(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<()> {
    let commit = CommitKey::new(&RunId::new(&Clock::system()), table);
    let spec = plain(commit, WriteMode::Append);
    let sink = endpoint.sink_whole(table, rows(0, 1)?.schema(), &spec).await?;
    stage(&sink, "a", 0, 10).await?;
    let staged = vec![stage(&sink, "a", 0, 100).await?, stage(&sink, "b", 100, 150).await?];
    promise(count(endpoint, table).await.is_err(), "what is staged for a whole table is not visible")?;
    let done = sink.commit(staged.clone(), TableState::default(), &memory()).await?;
    promise(!done.already_done && done.rows == 150, "a whole table has the rows of all units")?;
    promise(count(endpoint, table).await? == 150, "a whole table is visible")?;
    let again = sink.commit(staged, TableState::default(), &memory()).await?;
    promise(again.already_done && again.pin == done.pin, "committing a whole table again changes nothing")
}

async fn partitions(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<()> {
    let plain = sink(endpoint, &TableName::new(format!("{table}_plain")), WriteMode::Replace, Vec::new()).await?;
    let partition = |column: &str, transform| Partition { column: column.to_string(), transform };
    let mut by = vec![partition("word", Transform::Identity), partition("id", Transform::Truncate(100))];
    let commit = CommitKey::new(&RunId::new(&Clock::system()), table);
    let mut spec = WriteSpec { partition_by: by.clone(), ..plain(commit, WriteMode::Replace) };
    if endpoint.check_write(&spec).is_err() {
        // Not everyone can cut values.
        by.truncate(1);
        spec.partition_by = by.clone();
        endpoint.check_write(&spec).map_err(Error::config)?;
    }
    let parted = sink(endpoint, table, WriteMode::Replace, by).await?;
    for sink in [&plain, &parted] {
        let staged = stage(sink, "a", 0, 1000).await?;
        sink.commit(vec![staged], TableState::default(), &memory()).await?;
    }
    let open = async |name: String| endpoint.source(&TableName::new(name), &ReadSpec::default()).await;
    let (a, b) = (open(format!("{table}_plain")).await?, open(table.to_string()).await?);
    let order = |source: &Arc<dyn transload_core::Source>| -> Result<Vec<usize>> {
        Ok(["id", "word"].iter().map(|n| source.schema().index_of(n)).collect::<Result<_, _>>()?)
    };
    let (a_rows, _) = digest_of(&a, Some(&order(&a)?)).await?;
    let (b_rows, _) = digest_of(&b, Some(&order(&b)?)).await?;
    promise(a_rows == b_rows, "a layout changes no row")
}
