//! What a sink promises that adds rows to a table: what is there stays, and what comes, comes once.

use std::sync::Arc;

use futures::FutureExt;
use tokio::task::JoinSet;
use transload_core::connector::WriteMode::Append;
use transload_core::connector::{TableState, Transform};
use transload_core::{Endpoint, Error, ReadSpec, Result, TableName};

use crate::case::{Case, Weight};
use crate::claim::{by, spec};
use crate::promise;
use crate::reading::Scanned;
use crate::sink::is_again;
use crate::trial::{Trial, commit, is_of, memory, rows, stage};

pub(crate) const CASES: &[Case] = &[
    Case::new("adding-adds", "append", |t| adds(t).boxed()),
    Case::new("the-pin-of-added-rows-reads-no-others", "append", |t| pins_read_own_rows(t).boxed()),
    Case::new("adding-keeps-the-state", "append", |t| keeps_state(t).boxed()),
    Case::new("what-was-added-is-not-added-again", "append", |t| adds_once(t).boxed()),
    Case::new("adding-no-rows-adds-none", "append", |t| adds_nothing(t).boxed()),
    Case::new("rows-are-added-to-partitions", "append", |t| adds_to_partitions(t).boxed())
        .needing(&["source", "partitions"]),
    Case::new("writers-that-add-at-once-lose-nothing", "append", |t| many_add(t).boxed()).weighing(Weight::Races),
];

async fn adds(t: Trial) -> Result<()> {
    let table = t.table("t");
    for (from, to) in [(0, 10), (10, 25), (25, 26)] {
        t.put(&table, Append, rows(from, to)?).await?;
        promise(t.holds(&table, &rows(0, to)?).await?, "adding adds")?;
    }
    Ok(())
}

async fn pins_read_own_rows(t: Trial) -> Result<()> {
    let table = t.table("t");
    let mut pins = Vec::new();
    for (from, to) in [(0, 10), (10, 25)] {
        let done = t.put(&table, Append, rows(from, to)?).await?;
        promise(done.rows == (to - from).unsigned_abs(), "a commit says how many rows it added")?;
        pins.push((rows(from, to)?, done.pin));
    }
    // Also once others have been added.
    for (own, pin) in pins {
        promise(is_of(&t.open_at(&table, pin).await?, &own).await?, "a commit's pin reads its own rows only")?;
    }
    Ok(())
}

async fn keeps_state(t: Trial) -> Result<()> {
    let table = t.table("t");
    let first = t.sink(&table, Append).await?;
    let state = TableState { cursor: Some("9".to_string()), cursor_column: Some("id".to_string()) };
    let staged = stage(&first, "a", rows(0, 10)?).await?;
    first.commit(vec![staged], state.clone(), &memory()).await?;
    t.put(&table, Append, rows(10, 20)?).await?;
    promise(first.state().await?.is_some_and(|(_, kept)| kept == state), "adding rows keeps the state")
}

async fn adds_once(t: Trial) -> Result<()> {
    let table = t.table("t");
    let first = t.sink(&table, Append).await?;
    let staged = vec![stage(&first, "a", rows(0, 10)?).await?];
    let done = commit(&first, staged.clone()).await?;
    t.put(&table, Append, rows(10, 30)?).await?;
    let again = commit(&first, staged).await?;
    promise(is_again(&again, &done), "what was added is not added again, and the first result is given")?;
    promise(t.holds(&table, &rows(0, 30)?).await?, "what was added is there once")
}

async fn adds_nothing(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, Append, rows(0, 10)?).await?;
    let none = t.put(&table, Append, rows(0, 0)?).await?;
    promise(none.rows == 0, "a commit of no rows has none")?;
    promise(t.holds(&table, &rows(0, 10)?).await?, "adding no rows adds none")
}

async fn adds_to_partitions(t: Trial) -> Result<()> {
    let table = t.table("t");
    for (from, to) in [(0, 20), (20, 30)] {
        t.put_by(&table, Append, rows(from, to)?, vec![by("word", Transform::Identity)]).await?;
        promise(t.holds(&table, &rows(0, to)?).await?, "rows are added to their partitions")?;
    }
    Ok(())
}

async fn many_add(t: Trial) -> Result<()> {
    let (writers, commits) = if t.is_far { (3, 2) } else { (4, 3) };
    let table = t.table("t");
    let count = added_by_many(&t.endpoint, table.as_str(), writers, commits).await?;
    let rows = rows(0, writers * commits * 10)?;
    promise(count == rows.num_rows() as u64, "writers that add at the same time lose nothing")?;
    promise(t.holds(&table, &rows).await?, "each row that was added is there once")
}

/// Adds ten rows at a time to one table, by `writers` at the same time, `commits` times each, and counts the rows of
/// the table afterwards. A passing error is tried again, as a run does.
///
/// # Errors
/// Any other error of a writer.
pub async fn added_by_many(endpoint: &Arc<dyn Endpoint>, table: &str, writers: i64, commits: i64) -> Result<u64> {
    let table = TableName::new(table);
    let mut running = JoinSet::new();
    for writer in 0..writers {
        let (endpoint, table) = (Arc::clone(endpoint), table.clone());
        running.spawn(async move {
            for number in 0..commits {
                let from = (writer * commits + number) * 10;
                let rows = rows(from, from + 10)?;
                let sink = endpoint.sink(&table, rows.schema(), &spec(&table, Append)).await?;
                let staged = stage(&sink, "a", rows).await?;
                while let Err(error) = commit(&sink, vec![staged.clone()]).await {
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
    let source = endpoint.source(&table, &ReadSpec::default()).await?;
    Ok(Scanned::of(&source, None).await?.rows())
}
