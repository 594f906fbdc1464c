//! Work that is dropped halfway, as by a timeout or a signal: the table is as it was or as it was to become, and the same
//! work can be done again.

use futures::FutureExt;
use futures::future::try_join_all;
use transload_core::connector::WriteMode::{Append, Replace};
use transload_core::{Result, TableName};

use crate::case::{Case, Weight};
use crate::claim::spec;
use crate::promise;
use crate::trial::{Trial, at_last, commit, cut_short, rows, stage_beside};

pub(crate) const CASES: &[Case] = &[
    Case::new("a-unit-that-is-dropped-is-staged-again", "sink", |t| at_each_poll(t, dropped_unit).boxed())
        .weighing(Weight::Races),
    Case::new("a-commit-that-is-dropped-leaves-old-rows-or-new", "overwrite", |t| {
        at_each_poll(t, dropped_replacement).boxed()
    })
    .weighing(Weight::Races),
    Case::new("a-commit-that-is-dropped-is-made-again", "append", |t| at_each_poll(t, dropped_addition).boxed())
        .weighing(Weight::Races),
];

/// Checks what happens when work is dropped after so many polls, each with a table of its own and all at the same time:
/// at a server the lock of whoever was dropped may have to run out first.
async fn at_each_poll<F: Future<Output = Result<()>>>(
    t: Trial,
    check: impl Fn(Trial, TableName, usize) -> F,
) -> Result<()> {
    let polls: &[usize] = if t.is_far { &[1, 3, 8, 20, 50] } else { &[1, 2, 3, 4, 6, 9, 13, 20] };
    let checked = polls.iter().copied().map(|polls| {
        let done = check(t.clone(), t.table(&polls.to_string()), polls);
        async move { done.await.map_err(|e| e.with("polls", polls.to_string())) }
    });
    try_join_all(checked).await.map(drop)
}

async fn dropped_unit(t: Trial, table: TableName, polls: usize) -> Result<()> {
    let spec = spec(&table, t.mode());
    let schema = rows(0, 1)?.schema();
    let sink = t.sink_of(&table, schema.clone(), &spec).await?;
    let many = rows(5000, 10_000)?;
    cut_short(stage_beside(&sink, "a", many), polls).await.transpose()?;
    promise(t.open(&table).await.is_err(), "a unit that was dropped is not visible")?;
    drop(sink);
    let again = t.anew().sink_of(&table, schema, &spec).await?;
    let staged = at_last(|| async { stage_beside(&again, "a", rows(0, 100)?).await }).await?;
    at_last(|| commit(&again, vec![staged.clone()])).await?;
    promise(t.holds(&table, &rows(0, 100)?).await?, "a unit that was dropped is staged again")
}

async fn dropped_replacement(t: Trial, table: TableName, polls: usize) -> Result<()> {
    t.put(&table, Replace, rows(0, 10)?).await?;
    let sink = t.sink(&table, Replace).await?;
    let staged =
        vec![stage_beside(&sink, "a", rows(100, 110)?).await?, stage_beside(&sink, "b", rows(110, 120)?).await?];
    let done = cut_short(commit(&sink, staged), polls).await.transpose()?;
    let is_new = t.holds(&table, &rows(100, 120)?).await?;
    promise(is_new || done.is_none(), "a commit that ended is visible")?;
    // It may have become new between the two looks.
    let is_old = !is_new && t.holds(&table, &rows(0, 10)?).await?;
    let is_one = is_new || is_old || t.holds(&table, &rows(100, 120)?).await?;
    promise(is_one, "a commit that was dropped leaves the old rows or the new ones")?;
    drop(sink);
    let next = t.anew();
    let sink = next.sink(&table, Replace).await?;
    let staged = at_last(|| async { stage_beside(&sink, "a", rows(200, 230)?).await }).await?;
    at_last(|| commit(&sink, vec![staged.clone()])).await?;
    promise(t.holds(&table, &rows(200, 230)?).await?, "after a commit that was dropped another one can be made")
}

async fn dropped_addition(t: Trial, table: TableName, polls: usize) -> Result<()> {
    t.put(&table, Append, rows(0, 10)?).await?;
    let spec = spec(&table, Append);
    let schema = rows(0, 1)?.schema();
    let sink = t.sink_of(&table, schema.clone(), &spec).await?;
    let staged = vec![stage_beside(&sink, "a", rows(10, 20)?).await?, stage_beside(&sink, "b", rows(20, 25)?).await?];
    cut_short(commit(&sink, staged.clone()), polls).await.transpose()?;
    drop(sink);
    let again = t.anew().sink_of(&table, schema, &spec).await?;
    let done = at_last(|| commit(&again, staged.clone())).await?;
    promise(done.rows == 15, "a commit that was dropped is made again with all its rows")?;
    promise(t.holds(&table, &rows(0, 25)?).await?, "a commit that was dropped and made again adds its rows once")?;
    let once_more = commit(&again, staged).await?;
    promise(once_more.already_done, "a commit that was made again is known")
}
