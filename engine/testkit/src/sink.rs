//! What every sink promises: rows are staged where nobody sees them, and one commit makes them all visible, once.

use futures::FutureExt;
use transload_core::connector::{Expected, TableState, WriteSpec};
use transload_core::{Committed, Result, Staged};

use crate::case::Case;
use crate::claim::spec;
use crate::promise;
use crate::reading::Scanned;
use crate::trial::{Trial, as_plain_data, commit, is_of, memory, rows, stage};

pub(crate) const CASES: &[Case] = &[
    Case::new("staged-rows-are-not-visible", "sink", |t| staged_is_hidden(t).boxed()),
    Case::new("a-commit-publishes-everything-that-was-staged", "sink", |t| commit_publishes(t).boxed()),
    Case::new("an-attempt-that-did-not-end-is-replaced-by-the-next", "sink", |t| attempts_replace(t).boxed()),
    Case::new("what-was-staged-can-be-asked-for", "sink", |t| staged_is_there(t).boxed()),
    Case::new("a-watcher-is-told-of-the-bytes-that-are-written", "sink", |t| watched(t).boxed()),
    Case::new("a-commit-is-known-by-its-key", "sink", |t| known_by_key(t).boxed()),
    Case::new("committing-twice-changes-nothing", "sink", |t| commits_once(t).boxed()),
    Case::new("another-process-commits-what-was-staged", "sink", |t| other_process_commits(t).boxed()),
    Case::new("a-commit-whose-answer-was-lost-is-found", "sink", |t| lost_answer_is_found(t).boxed()),
    Case::new("staged-and-committed-values-survive-as-text", "sink", |t| values_are_plain_data(t).boxed()),
    Case::new("the-pin-of-a-commit-reads-its-rows", "sink", |t| commits_have_pins(t).boxed()),
    Case::new("the-state-is-kept", "sink", |t| state_is_kept(t).boxed()),
    Case::new("a-late-commit-undoes-nothing", "sink", |t| late_commit_fails(t).boxed()),
    Case::new("an-abort-leaves-no-table", "sink", |t| abort_leaves_nothing(t).boxed()),
    Case::new("an-abort-after-a-commit-changes-nothing", "sink", |t| abort_after_commit(t).boxed()),
    Case::new("a-table-can-be-empty", "sink", |t| empty_table(t).boxed()),
    Case::new("a-table-that-is-whole-at-once-is-whole", "sink", |t| whole_table(t).boxed()),
    Case::new("what-is-whole-at-once-is-taken-back-or-stays", "sink", |t| withdrawn(t).boxed()),
];

async fn staged_is_hidden(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    promise(sink.state().await?.is_none(), "a table that is not there has no state")?;
    stage(&sink, "a", rows(0, 10)?).await?;
    promise(t.open(&table).await.is_err(), "staged rows are not visible")?;
    promise(!sink.is_committed().await?, "what is staged is not committed")?;
    promise(sink.state().await?.is_none(), "a table of which rows are staged is not there yet")
}

async fn commit_publishes(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    let staged = vec![stage(&sink, "a", rows(0, 100)?).await?, stage(&sink, "b", rows(100, 150)?).await?];
    let done = commit(&sink, staged).await?;
    promise(!done.already_done && done.rows == 150, "a commit publishes what is staged")?;
    promise(t.holds(&table, &rows(0, 150)?).await?, "what is committed is visible")?;
    promise(t.anew().holds(&table, &rows(0, 150)?).await?, "another process sees what is committed")
}

async fn attempts_replace(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    stage(&sink, "a", rows(0, 10)?).await?;
    stage(&sink, "a", rows(500, 900)?).await?;
    let staged = vec![stage(&sink, "a", rows(0, 100)?).await?, stage(&sink, "b", rows(100, 150)?).await?];
    commit(&sink, staged).await?;
    promise(t.holds(&table, &rows(0, 150)?).await?, "of several attempts at a unit the last one counts")
}

async fn staged_is_there(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    let staged = [stage(&sink, "a", rows(0, 10)?).await?, stage(&sink, "b", rows(10, 20)?).await?];
    for unit in &staged {
        promise(sink.is_staged(unit).await?, "what is staged is there")?;
    }
    Ok(())
}

async fn watched(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    promise(sink.written() == 0, "nothing is written before the first unit")?;
    // Each is compared with what the unit says.
    for unit in ["a", "b", "a"] {
        stage(&sink, unit, rows(0, 1500)?).await?;
    }
    sink.abort().await
}

async fn known_by_key(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    promise(!sink.is_committed().await?, "what was not committed is not known")?;
    let staged = stage(&sink, "a", rows(0, 10)?).await?;
    promise(!sink.is_committed().await?, "what is staged is not committed")?;
    commit(&sink, vec![staged]).await?;
    promise(sink.is_committed().await?, "a commit is known by its key")?;
    let other = t.sink(&table, t.mode()).await?;
    promise(!other.is_committed().await?, "another key is another commit")
}

async fn commits_once(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    let staged = vec![stage(&sink, "a", rows(0, 100)?).await?, stage(&sink, "b", rows(100, 150)?).await?];
    let done = commit(&sink, staged.clone()).await?;
    let again = commit(&sink, staged).await?;
    promise(is_again(&again, &done), "committing again changes nothing, and gives the first result")?;
    promise(t.holds(&table, &rows(0, 150)?).await?, "committing again adds no row")
}

/// Whether a result is an earlier one, said again.
pub(crate) fn is_again(again: &Committed, done: &Committed) -> bool {
    *again == Committed { already_done: true, ..done.clone() }
}

async fn other_process_commits(t: Trial) -> Result<()> {
    let table = t.table("t");
    let spec = spec(&table, t.mode());
    let schema = rows(0, 1)?.schema();
    let sink = t.sink_of(&table, schema.clone(), &spec).await?;
    let staged = vec![stage(&sink, "a", rows(0, 100)?).await?, stage(&sink, "b", rows(100, 150)?).await?];

    let spec: WriteSpec = as_plain_data(&spec)?;
    let known: Vec<Staged> = as_plain_data(&staged)?;
    let other = t.anew().sink_of(&table, schema, &spec).await?;
    promise(!other.is_committed().await?, "another process knows what was not committed")?;
    for unit in &known {
        promise(other.is_staged(unit).await?, "another process finds what was staged")?;
    }
    let done = commit(&other, known).await?;
    promise(!done.already_done && done.rows == 150, "another process commits what was staged")?;
    promise(t.holds(&table, &rows(0, 150)?).await?, "what another process commits is visible")?;
    let again = commit(&sink, staged).await?;
    promise(is_again(&again, &done), "what another process has committed is not committed again")
}

async fn lost_answer_is_found(t: Trial) -> Result<()> {
    let table = t.table("t");
    let spec = spec(&table, t.mode());
    let schema = rows(0, 1)?.schema();
    let sink = t.sink_of(&table, schema.clone(), &spec).await?;
    let staged = stage(&sink, "a", rows(0, 50)?).await?;
    // Nobody hears how it went.
    commit(&sink, vec![staged.clone()]).await?;
    drop(sink);
    let other = t.anew().sink_of(&table, schema, &spec).await?;
    promise(other.is_committed().await?, "a commit whose answer was lost is found")?;
    // Where the unit was staged there is nothing any more.
    let again = commit(&other, vec![staged]).await?;
    promise(again.already_done && again.rows == 50, "a commit whose answer was lost is told of when it is asked for")?;
    promise(is_of(&t.open_at(&table, again.pin).await?, &rows(0, 50)?).await?, "its pin reads its rows")?;
    promise(t.holds(&table, &rows(0, 50)?).await?, "its rows are there once")
}

async fn values_are_plain_data(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    let staged = stage(&sink, "a", rows(0, 10)?).await?;
    promise(as_plain_data(&staged)? == staged, "a staged unit is the same once it was text")?;
    let done = commit(&sink, vec![staged]).await?;
    promise(as_plain_data(&done)? == done, "the result of a commit is the same once it was text")?;
    promise(as_plain_data(&done.pin)? == done.pin, "the pin of a commit is the same once it was text")
}

async fn commits_have_pins(t: Trial) -> Result<()> {
    let table = t.table("t");
    let done = t.put(&table, t.mode(), rows(0, 150)?).await?;
    let pinned = t.anew().open_at(&table, done.pin).await?;
    promise(is_of(&pinned, &rows(0, 150)?).await?, "a commit's pin reads its rows")
}

async fn state_is_kept(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    let state = TableState { cursor: Some("149".to_string()), cursor_column: Some("id".to_string()) };
    let staged = vec![stage(&sink, "a", rows(0, 150)?).await?];
    sink.commit(staged.clone(), state.clone(), &memory()).await?;
    promise(sink.state().await?.is_some_and(|(_, kept)| kept == state), "the state is kept")?;
    let other = t.anew().sink(&table, t.mode()).await?;
    promise(other.state().await?.is_some_and(|(_, kept)| kept == state), "another process finds the state")?;
    sink.commit(staged, TableState::default(), &memory()).await?;
    promise(sink.state().await?.is_some_and(|(_, kept)| kept == state), "committing again keeps the state")
}

async fn late_commit_fails(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, t.mode(), rows(0, 10)?).await?;
    let seen = t.sink(&table, t.mode()).await?.state().await?.map(|(version, _)| version).unwrap_or_default();
    let schema = rows(0, 1)?.schema();
    // One was planned before there was a table, the other before it was published again.
    let early = WriteSpec { expected: Expected::Missing, ..spec(&table, t.mode()) };
    let late = WriteSpec { expected: Expected::Version(seen), ..spec(&table, t.mode()) };
    let held = if t.claims("overwrite") { rows(20, 40)? } else { rows(0, 40)? };
    let more = if t.claims("overwrite") { held.clone() } else { rows(10, 40)? };
    t.put(&table, t.mode(), more).await?;
    for spec in [early, late] {
        let sink = t.sink_of(&table, schema.clone(), &spec).await?;
        let staged = stage(&sink, "a", rows(500, 503)?).await?;
        promise(commit(&sink, vec![staged]).await.is_err(), "a late commit is refused")?;
        promise(!sink.is_committed().await?, "a commit that was refused was not made")?;
        sink.abort().await?;
    }
    promise(t.holds(&table, &held).await?, "a late commit undoes nothing")
}

async fn abort_leaves_nothing(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    stage(&sink, "a", rows(0, 50)?).await?;
    sink.abort().await?;
    sink.abort().await?;
    promise(t.open(&table).await.is_err(), "what was staged and given up is no table")?;
    promise(!sink.is_committed().await?, "what was given up is not committed")?;
    t.put(&table, t.mode(), rows(0, 5)?).await?;
    promise(t.holds(&table, &rows(0, 5)?).await?, "a table can be written where another attempt was given up")
}

async fn abort_after_commit(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.sink(&table, t.mode()).await?;
    let staged = stage(&sink, "a", rows(0, 5)?).await?;
    commit(&sink, vec![staged.clone()]).await?;
    sink.abort().await?;
    promise(t.holds(&table, &rows(0, 5)?).await?, "an abort leaves what is committed alone")?;
    promise(sink.is_committed().await?, "an abort does not forget a commit")?;
    let again = commit(&sink, vec![staged]).await?;
    promise(again.already_done, "an abort does not make a commit undone")
}

async fn empty_table(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, t.mode(), rows(0, 0)?).await?;
    let source = t.open(&table).await?;
    promise(Scanned::of(&source, None).await?.rows() == 0, "a table can be empty")?;
    promise(source.schema().fields().len() == 2, "an empty table has its columns")?;
    promise(is_of(&source, &rows(0, 0)?).await?, "an empty table has columns of their types")
}

async fn whole_table(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.endpoint.sink_whole(&table, rows(0, 1)?.schema(), &spec(&table, t.mode())).await?;
    stage(&sink, "a", rows(0, 10)?).await?;
    let staged = vec![stage(&sink, "a", rows(0, 100)?).await?, stage(&sink, "b", rows(100, 150)?).await?];
    promise(t.open(&table).await.is_err(), "what is staged for a whole table is not visible")?;
    let done = commit(&sink, staged.clone()).await?;
    promise(!done.already_done && done.rows == 150, "a whole table has the rows of all units")?;
    promise(t.holds(&table, &rows(0, 150)?).await?, "a whole table is visible")?;
    let again = commit(&sink, staged).await?;
    promise(again.already_done && again.pin == done.pin, "committing a whole table again changes nothing")
}

async fn withdrawn(t: Trial) -> Result<()> {
    let table = t.table("t");
    let sink = t.endpoint.sink_whole(&table, rows(0, 1)?.schema(), &spec(&table, t.mode())).await?;
    let staged = stage(&sink, "a", rows(0, 50)?).await?;
    commit(&sink, vec![staged]).await?;
    if sink.withdraw().await.is_err() {
        return promise(t.holds(&table, &rows(0, 50)?).await?, "what cannot be taken back stays as it is");
    }
    sink.withdraw().await?;
    promise(t.open(&table).await.is_err(), "what was taken back is not there")?;
    promise(!sink.is_committed().await?, "what was taken back is not committed")
}
