//! What a sink promises that replaces tables: old rows go and new ones come in one step, whoever looks.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use futures::FutureExt;
use tokio::task::JoinSet;
use transload_core::connector::WriteMode::Replace;
use transload_core::{Error, Result, Source};

use crate::case::{Case, Weight};
use crate::promise;
use crate::trial::{Trial, commit, is_of, is_told, rows, stage};

pub(crate) const CASES: &[Case] = &[
    Case::new("replacing-replaces", "overwrite", |t| replaces(t).boxed()),
    Case::new("the-old-rows-stay-until-the-commit", "overwrite", |t| old_rows_stay(t).boxed()),
    Case::new("a-key-is-known-for-longer-than-its-rows", "overwrite", |t| keys_outlive_rows(t).boxed()),
    Case::new("an-abort-leaves-the-rows-before", "overwrite", |t| aborts(t).boxed()),
    Case::new("no-rows-replace-all-rows", "overwrite", |t| empties(t).boxed()),
    Case::new("other-columns-replace-the-columns", "overwrite", |t| other_columns(t).boxed()),
    Case::new("a-pinned-reader-keeps-its-rows-or-is-told", "overwrite", |t| pinned_reader(t).boxed()),
    Case::new("a-reader-sees-the-old-rows-or-the-new", "overwrite", |t| reader_sees_one(t).boxed())
        .weighing(Weight::Races),
    Case::new("of-two-that-replace-at-once-one-wins", "overwrite", |t| one_of_two(t).boxed()).weighing(Weight::Races),
];

async fn replaces(t: Trial) -> Result<()> {
    let table = t.table("t");
    for (from, to) in [(0, 150), (500, 520), (0, 30)] {
        let done = t.put(&table, Replace, rows(from, to)?).await?;
        promise(t.holds(&table, &rows(from, to)?).await?, "replacing replaces")?;
        let own = t.open_at(&table, done.pin).await?;
        promise(is_of(&own, &rows(from, to)?).await?, "a commit's pin reads its own rows only")?;
    }
    Ok(())
}

async fn old_rows_stay(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, Replace, rows(0, 150)?).await?;
    let sink = t.sink(&table, Replace).await?;
    let staged = stage(&sink, "a", rows(500, 520)?).await?;
    promise(t.holds(&table, &rows(0, 150)?).await?, "the old rows stay until the commit")?;
    promise(!sink.is_committed().await?, "another key is another commit")?;
    commit(&sink, vec![staged]).await?;
    promise(t.holds(&table, &rows(500, 520)?).await?, "the new rows come with the commit")
}

async fn keys_outlive_rows(t: Trial) -> Result<()> {
    let table = t.table("t");
    let first = t.sink(&table, Replace).await?;
    let staged = vec![stage(&first, "a", rows(0, 10)?).await?];
    commit(&first, staged.clone()).await?;
    t.put(&table, Replace, rows(20, 40)?).await?;
    promise(first.is_committed().await?, "a key is known for longer than its rows")?;
    promise(commit(&first, staged).await?.already_done, "what was replaced is not committed again")?;
    promise(t.holds(&table, &rows(20, 40)?).await?, "what was replaced does not come back")
}

async fn aborts(t: Trial) -> Result<()> {
    let table = t.table("t");
    let kept = t.sink(&table, Replace).await?;
    let staged = stage(&kept, "a", rows(0, 5)?).await?;
    commit(&kept, vec![staged]).await?;
    let dropped = t.sink(&table, Replace).await?;
    stage(&dropped, "a", rows(0, 50)?).await?;
    dropped.abort().await?;
    dropped.abort().await?;
    kept.abort().await?;
    promise(t.holds(&table, &rows(0, 5)?).await?, "an abort leaves what is committed alone")
}

async fn empties(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, Replace, rows(0, 10)?).await?;
    let done = t.put(&table, Replace, rows(0, 0)?).await?;
    promise(done.rows == 0, "a commit of no rows has none")?;
    promise(t.holds(&table, &rows(0, 0)?).await?, "a table without rows is there, with its columns")
}

async fn other_columns(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, Replace, rows(0, 10)?).await?;
    let old = rows(0, 20)?;
    let more: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20));
    let mut fields: Vec<_> = old.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("more", DataType::Int64, true)));
    let schema = Arc::new(Schema::new(Fields::from(fields)));
    let columns = old.columns().iter().cloned().chain([more]).collect();
    let new = RecordBatch::try_new(schema, columns)?;
    t.put(&table, Replace, new.clone()).await?;
    promise(t.holds(&table, &new).await?, "rows with other columns replace rows and columns")
}

async fn pinned_reader(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, Replace, rows(0, 150)?).await?;
    let open = t.open(&table).await?;
    let pin = open.pin().clone();
    t.put(&table, Replace, rows(500, 520)?).await?;
    keeps_or_tells(is_of(&open, &rows(0, 150)?).await)?;
    keeps_or_tells(match t.anew().open_at(&table, pin).await {
        Ok(again) => is_of(&again, &rows(0, 150)?).await,
        Err(error) => Err(error),
    })
}

/// Who has pinned a table reads what it was then, or an error that says that this cannot be done any more.
fn keeps_or_tells(read: Result<bool>) -> Result<()> {
    match read {
        Ok(is_old) => promise(is_old, "a pinned reader reads what was pinned"),
        Err(error) if is_told(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn reader_sees_one(t: Trial) -> Result<()> {
    let table = t.table("t");
    let versions: i64 = if t.is_far { 2 } else { 4 };
    let version = |number: i64| rows(number * 1000, number * 1000 + 10 * (number + 1));
    let all: Vec<RecordBatch> = (0..=versions).map(version).collect::<Result<_>>()?;
    t.put(&table, Replace, version(0)?).await?;
    let writer = tokio::spawn({
        let (t, table) = (t.anew(), table.clone());
        async move {
            for number in 1..=versions {
                t.put(&table, Replace, version(number)?).await?;
            }
            Ok::<_, Error>(())
        }
    });
    loop {
        let is_last_look = writer.is_finished();
        match t.open(&table).await {
            Ok(source) => sees_one(&source, &all).await?,
            Err(error) if is_told(&error) => {}
            Err(error) => return Err(error),
        }
        if is_last_look {
            break;
        }
    }
    writer.await.map_err(|e| Error::internal("a writer died").because(e))??;
    promise(t.holds(&table, &version(versions)?).await?, "in the end the newest rows are there")
}

/// What a reader sees is one of the versions, or an error that says that it is gone.
async fn sees_one(source: &Arc<dyn Source>, versions: &[RecordBatch]) -> Result<()> {
    for version in versions {
        match is_of(source, version).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if is_told(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    promise(false, "a reader sees the old rows or the new ones")
}

async fn one_of_two(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, Replace, rows(0, 10)?).await?;
    let mut running = JoinSet::new();
    for from in [1000, 2000] {
        let (t, table) = (t.anew(), table.clone());
        running.spawn(async move {
            let own = rows(from, from + 20)?;
            let sink = t.sink(&table, Replace).await?;
            let staged = stage(&sink, "a", own.clone()).await?;
            match commit(&sink, vec![staged]).await {
                Ok(_) => Ok(Some(own)),
                Err(error) if error.is_passing() => Ok(None),
                Err(error) => Err(error),
            }
        });
    }
    let mut won = Vec::new();
    while let Some(done) = running.join_next().await {
        won.extend(done.map_err(|e| Error::internal("a writer died").because(e))??);
    }
    promise(!won.is_empty(), "of two that replace a table at the same time one wins")?;
    for own in &won {
        if t.holds(&table, own).await? {
            return Ok(());
        }
    }
    promise(false, "a table that two have replaced at the same time holds the rows of one of them")
}
