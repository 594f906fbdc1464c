//! What a sink promises that claims to merge rows by key, or to replace single partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema};
use datafusion::physical_plan::ExecutionPlanProperties;
use futures::{FutureExt, StreamExt};
use transload_core::connector::{
    DELETED_COLUMN, Expected, Partition, ReadSpec, TableState, Transform, WriteMode, WriteSpec, hidden,
};
use transload_core::{Clock, CommitKey, Committed, Endpoint, Error, Pin, Result, RunId, Sink, TableName};

use crate::case::{Case, Weight};
use crate::promise;
use crate::reading::session;
use crate::trial::{Trial, memory, stream};

/// Rows by their key and part: what else they hold, and how often they are there.
type Rows = BTreeMap<(i64, String), Vec<i64>>;

/// A row for a merge: key, part, value, and whether it is a delete marker.
type Row = (i64, &'static str, i64, bool);

pub(crate) const CASES: &[Case] = &[
    Case::new("a-merge-replaces-takes-away-and-adds", "merge", |t| merges(t).boxed()),
    Case::new("of-merges-at-once-none-is-lost-or-doubled", "merge", |t| merge_at_once(t).boxed())
        .weighing(Weight::Races),
    Case::new("partitions-with-new-rows-are-replaced-and-no-others", "replace_partitions", |t| {
        replaces_partitions(t).boxed()
    }),
];

/// Merges rows into one table, by `writers` at the same time, `commits` times each: keys of their own, and one that is
/// everybody's. Returns how many keys are there in the end, and fails if one is there twice. A passing error is tried
/// again, as a run does.
///
/// # Errors
/// Any other error of a writer.
pub async fn merged_by_many(endpoint: &Arc<dyn Endpoint>, table: &str, writers: i64, commits: i64) -> Result<u64> {
    let table = TableName::new(table);
    commit(endpoint, &table, WriteMode::Merge, &[(0, "a", -1, false)]).await?;
    let mut running = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (endpoint, table) = (Arc::clone(endpoint), table.clone());
        running.spawn(async move {
            for round in 0..commits {
                // Each row of its own is merged twice: the second time it takes the place of the first.
                let own = 1 + writer * commits + round - round % 2;
                commit(&endpoint, &table, WriteMode::Merge, &[(0, "a", own, false), (own, "b", round, false)]).await?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|e| Error::internal("a writer died").because(e))??;
    }
    let found = read(endpoint, &table, None).await?;
    promise(found.values().all(|values| values.len() == 1), "a key is there once, whoever merges at the same time")?;
    Ok(found.len() as u64)
}

fn spec(table: &TableName, mode: WriteMode) -> WriteSpec {
    let by = Partition { column: "part".to_string(), transform: Transform::Identity };
    WriteSpec {
        commit: CommitKey::new(&RunId::new(&Clock::system()), table),
        mode,
        partition_by: vec![by],
        expected: Expected::Anything,
        key: if mode == WriteMode::Merge { vec!["id".to_string()] } else { Vec::new() },
    }
}

/// The rows as they are staged for a mode.
fn batch(rows: &[Row], mode: WriteMode) -> Result<RecordBatch> {
    let column = |name: &str, ty: DataType, values: ArrayRef| -> (FieldRef, ArrayRef) {
        (Arc::new(Field::new(name, ty, false)), values)
    };
    let parts: StringArray = rows.iter().map(|r| Some(r.1)).collect();
    let mut columns = vec![
        column("id", DataType::Int64, Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)))),
        column("part", DataType::Utf8, Arc::new(parts)),
        column("value", DataType::Int64, Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2)))),
    ];
    if mode == WriteMode::Merge {
        let marks: BooleanArray = rows.iter().map(|r| Some(r.3)).collect();
        let mark = hidden(Field::new(DELETED_COLUMN, DataType::Boolean, false));
        columns.push((Arc::new(mark), Arc::new(marks)));
    }
    let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = columns.into_iter().unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// Loads rows in two units, and commits them.
async fn commit(endpoint: &Arc<dyn Endpoint>, table: &TableName, mode: WriteMode, rows: &[Row]) -> Result<Committed> {
    let (sink, staged) = stage(endpoint, table, mode, rows).await?;
    loop {
        match sink.commit(staged.clone(), TableState::default(), &memory()).await {
            Err(error) if error.is_passing() => {}
            done => return done,
        }
    }
}

async fn stage(
    endpoint: &Arc<dyn Endpoint>,
    table: &TableName,
    mode: WriteMode,
    rows: &[Row],
) -> Result<(Arc<dyn Sink>, Vec<transload_core::Staged>)> {
    let sink = endpoint.sink(table, batch(&[], mode)?.schema(), &spec(table, mode)).await?;
    let (first, second) = rows.split_at(rows.len() / 2);
    let mut staged = Vec::new();
    for (unit, rows) in [("000000", first), ("000001", second)] {
        let unit = sink.stage(unit, stream(batch(rows, mode)?), &memory()).await?;
        let markers = rows.iter().filter(|row| row.3).count() as u64;
        let kept = (rows.len() as u64 - markers, markers);
        promise((unit.rows, unit.deleted) == kept, "a staged unit says how many rows and delete markers it has")?;
        staged.push(unit);
    }
    Ok((sink, staged))
}

/// What a table holds.
async fn read(endpoint: &Arc<dyn Endpoint>, table: &TableName, pin: Option<Pin>) -> Result<Rows> {
    let source = endpoint.source(table, &ReadSpec::at(pin)).await?;
    let (session, schema) = (session(), source.schema());
    let columns = ["id", "part", "value"].map(|name| schema.index_of(name));
    let columns: Vec<usize> = columns.into_iter().collect::<Result<_, _>>()?;
    let scan = source.provider()?.scan(&session.state(), Some(&columns), &[], None).await?;
    let mut found = Rows::new();
    for split in 0..scan.output_partitioning().partition_count() {
        let mut batches = scan.execute(split, session.task_ctx())?;
        while let Some(batch) = batches.next().await.transpose()? {
            let (ids, values) =
                (batch.column(0).as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let part = arrow::util::display::array_value_to_string(batch.column(1), row)?;
                found.entry((ids.value(row), part)).or_default().push(values.value(row));
            }
        }
    }
    Ok(found)
}

fn held(rows: &[(i64, &str, i64)]) -> Rows {
    rows.iter().map(|(id, part, value)| ((*id, part.to_string()), vec![*value])).collect()
}

async fn merge_at_once(t: Trial) -> Result<()> {
    let table = t.table("t");
    let keys = merged_by_many(&t.endpoint, table.as_str(), 2, 2).await?;
    promise(keys == 3, "everybody's key and one of each writer are there")
}

async fn merges(t: Trial) -> Result<()> {
    let (endpoint, table) = (&t.endpoint, &t.table("t"));
    // A table that is not there is made; a delete marker finds nothing to take away.
    let first = [(1, "a", 10, false), (2, "a", 20, false), (3, "b", 30, false), (4, "b", 40, false), (9, "a", 0, true)];
    let done = commit(endpoint, table, WriteMode::Merge, &first).await?;
    promise(done.rows == 4, "delete markers are no rows")?;
    let before = held(&[(1, "a", 10), (2, "a", 20), (3, "b", 30), (4, "b", 40)]);
    promise(read(endpoint, table, None).await? == before, "a merge makes a table that is missing")?;

    // One stays, one moves to another part, one goes, one comes.
    let second = [(2, "b", 21, false), (3, "b", 0, true), (5, "c", 50, false), (4, "b", 41, false)];
    let (sink, staged) = stage(endpoint, table, WriteMode::Merge, &second).await?;
    promise(read(endpoint, table, None).await? == before, "staged rows take nothing away")?;
    for unit in &staged {
        promise(sink.is_staged(unit).await?, "what is staged is there, delete markers too")?;
    }
    let done = sink.commit(staged.clone(), TableState::default(), &memory()).await?;
    let after = held(&[(1, "a", 10), (2, "b", 21), (4, "b", 41), (5, "c", 50)]);
    promise(read(endpoint, table, None).await? == after, "a merge replaces, takes away, adds, and leaves alone")?;
    let own = held(&[(2, "b", 21), (4, "b", 41), (5, "c", 50)]);
    promise(read(endpoint, table, Some(done.pin.clone())).await? == own, "a merge's pin reads its own rows")?;
    if let Some(others) = done.pin.others() {
        let others = read(endpoint, table, Some(others)).await?;
        promise(others == held(&[(1, "a", 10)]), "the others of a merge are all rows but its own")?;
    }
    let again = sink.commit(staged, TableState::default(), &memory()).await?;
    promise(again.already_done && again.pin == done.pin, "merging again changes nothing")?;
    promise(read(endpoint, table, None).await? == after, "merging again changes no row")?;

    // Nothing but delete markers, and nothing at all.
    let done = commit(endpoint, table, WriteMode::Merge, &[(1, "x", 0, true), (7, "x", 0, true)]).await?;
    promise(done.rows == 0, "a merge can have no rows")?;
    commit(endpoint, table, WriteMode::Merge, &[]).await?;
    let after = held(&[(2, "b", 21), (4, "b", 41), (5, "c", 50)]);
    promise(read(endpoint, table, None).await? == after, "delete markers take rows away")?;

    let (given_up, _) = stage(endpoint, table, WriteMode::Merge, &[(2, "b", 0, true), (8, "b", 80, false)]).await?;
    given_up.abort().await?;
    promise(read(endpoint, table, None).await? == after, "a merge that is given up takes nothing away")
}

async fn replaces_partitions(t: Trial) -> Result<()> {
    let (endpoint, table) = (&t.endpoint, &t.table("t"));
    let mode = WriteMode::ReplacePartitions;
    let first = [(1, "a", 10, false), (2, "a", 20, false), (3, "b", 30, false)];
    commit(endpoint, table, mode, &first).await?;
    promise(read(endpoint, table, None).await?.len() == 3, "replacing partitions makes a table that is missing")?;
    let done = commit(endpoint, table, mode, &[(7, "a", 70, false), (8, "c", 80, false)]).await?;
    let after = held(&[(7, "a", 70), (3, "b", 30), (8, "c", 80)]);
    promise(read(endpoint, table, None).await? == after, "those partitions are replaced that have new rows")?;
    let own = held(&[(7, "a", 70), (8, "c", 80)]);
    promise(read(endpoint, table, Some(done.pin)).await? == own, "such a commit's pin reads its own rows")?;
    commit(endpoint, table, mode, &[]).await?;
    promise(read(endpoint, table, None).await? == after, "without rows no partition is replaced")
}
