//! What every source promises.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_plan::ExecutionPlanProperties;
use futures::future::try_join_all;
use futures::{FutureExt, StreamExt, TryStreamExt};
use transload_core::{Endpoint, Error, ErrorKind, Pin, ReadSpec, Result, TableName};
use transload_digest::TableDigest;

use crate::case::Case;
use crate::promise;
use crate::reading::{Scanned, digest_of, session};
use crate::trial::{Trial, as_plain_data};

pub(crate) const CASES: &[Case] = &[
    Case::new("the-same-pin-gives-the-same-rows", "source", |t| each(t, same_pin_same_rows).boxed()),
    Case::new("splits-and-columns-depend-on-the-pin-alone", "source", |t| each(t, pin_decides).boxed()),
    Case::new("a-pin-survives-as-text", "source", |t| each(t, pin_is_plain_data).boxed()),
    Case::new("what-an-endpoint-has-pinned-is-held-while-it-lives", "source", |t| each(t, held).boxed()),
    Case::new("a-split-has-the-rows-that-it-names", "source", |t| each(t, splits_have_their_rows).boxed()),
    Case::new("splits-may-be-read-at-the-same-time", "source", |t| each(t, splits_stand_alone).boxed()),
    Case::new("a-scan-may-be-read-again", "source", |t| each(t, scans_again).boxed()),
    Case::new("a-reader-that-stops-early-spoils-nothing", "source", |t| each(t, stops_early).boxed()),
    Case::new("a-column-alone-has-the-values-that-it-has-in-the-row", "source", |t| each(t, single_columns).boxed()),
    Case::new("columns-come-in-the-order-asked-for", "source", |t| each(t, any_order).boxed()),
    Case::new("rows-without-columns-are-rows", "source", |t| each(t, no_columns).boxed()),
    Case::new("a-missing-table-is-refused-by-a-sentence", "source", |t| missing(t).boxed()),
];

/// Checks something of every table that is there to be read.
pub(crate) async fn each<F: Future<Output = Result<()>>>(
    t: Trial,
    check: impl Fn(Trial, TableName) -> F,
) -> Result<()> {
    promise(!t.tables.is_empty(), "there is a table to be read")?;
    for table in t.tables.iter() {
        t.endpoint.check_name(table).map_err(Error::config)?;
        check(t.clone(), table.clone()).await.map_err(|e| e.with("table", table.as_str()))?;
    }
    Ok(())
}

async fn same_pin_same_rows(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let first = Scanned::of(&source, None).await?;
    let again = t.anew().open_at(&table, source.pin().clone()).await?;
    promise(again.pin() == source.pin(), "a source that is opened at a pin has it")?;
    let again = Scanned::of(&again, None).await?;
    let same = again.digest()? == first.digest()? && again.counts() == first.counts();
    promise(same, "the same pin gives the same rows")
}

async fn pin_decides(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let again = t.anew().open_at(&table, source.pin().clone()).await?;
    promise(again.splits() == source.splits(), "splits depend on the pin alone")?;
    promise(again.schema() == source.schema(), "the schema depends on the pin alone")
}

async fn pin_is_plain_data(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let pin: Pin = as_plain_data(source.pin())?;
    promise(pin == *source.pin(), "a pin is the same once it was text")?;
    promise(!pin.describe().is_empty(), "a pin can be described")?;
    for split in source.splits() {
        promise(as_plain_data(split)? == *split, "a split is the same once it was text")?;
        promise(!split.label.is_empty(), "a split has a label")?;
    }
    let rows = Scanned::of(&t.anew().open_at(&table, pin).await?, None).await?.digest()?;
    promise(rows == Scanned::of(&source, None).await?.digest()?, "a pin that was text gives the same rows")
}

async fn held(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    is_held(&t, &t.endpoint, &table, source.pin()).await?;
    drop(source);
    let together = Arc::clone(&t.endpoint).together();
    let pin = together.source(&table, &ReadSpec::default()).await?.pin().clone();
    is_held(&t, &together, &table, &pin).await
}

async fn is_held(t: &Trial, own: &Arc<dyn Endpoint>, table: &TableName, pin: &Pin) -> Result<()> {
    promise(own.holds(pin).await?, "what is pinned is held")?;
    promise(t.anew().endpoint.holds(pin).await?, "others find that it is held")?;
    t.anew().open_at(table, pin.clone()).await.map(drop)
}

async fn splits_have_their_rows(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let counts = Scanned::of(&source, None).await?.counts();
    for (split, count) in source.splits().iter().zip(&counts) {
        // The formula of a generated table gives its rows only on average.
        let exact = !matches!(source.pin(), Pin::Formula(_));
        promise(!exact || split.rows.is_none_or(|r| r == *count), format!("{} has the rows it names", split.label))?;
    }
    Ok(())
}

async fn splits_stand_alone(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let session = session();
    let scan = source.provider()?.scan(&session.state(), None, &[], None).await?;
    // The last one first, and all before any has ended.
    let splits = (0..scan.output_partitioning().partition_count()).rev();
    let streams = splits.map(|split| scan.execute(split, session.task_ctx())).collect::<Result<Vec<_>, _>>()?;
    let read = try_join_all(streams.into_iter().map(|rows| rows.try_collect::<Vec<RecordBatch>>())).await?;
    let read = digest_of(&scan.schema(), read.iter().flatten())?;
    promise(read == whole(&t, &table).await?, "splits that are read at the same time are the table")
}

async fn scans_again(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let session = session();
    let scan = source.provider()?.scan(&session.state(), None, &[], None).await?;
    let (one, other) = (Scanned::by(&scan, &session).await?, Scanned::by(&scan, &session).await?);
    promise(one.digest()? == other.digest()?, "a scan that is read again gives the same rows")?;
    promise(one.digest()? == whole(&t, &table).await?, "a scan gives the rows of the table")
}

async fn stops_early(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let before = Scanned::of(&source, None).await?.digest()?;
    let session = session();
    let scan = source.provider()?.scan(&session.state(), None, &[], None).await?;
    for split in 0..scan.output_partitioning().partition_count() {
        let mut rows = scan.execute(split, session.task_ctx())?;
        rows.next().await.transpose()?;
    }
    drop(scan);
    promise(Scanned::of(&source, None).await?.digest()? == before, "a reader that stopped early changes nothing")
}

async fn single_columns(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let all = Scanned::of(&source, None).await?;
    for column in 0..source.schema().fields().len() {
        let alone = Scanned::of(&source, Some(&vec![column])).await?;
        promise(alone.rows() == all.rows(), "a projection keeps every row")?;
        let name = source.schema().field(column).name().clone();
        let same = alone.digest()? == all.project(&[column])?.digest()?;
        promise(same, format!("column {name} has the same values alone"))?;
    }
    Ok(())
}

async fn any_order(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let all = Scanned::of(&source, None).await?;
    let columns = source.schema().fields().len();
    let reversed: Vec<usize> = (0..columns).rev().collect();
    let every_other: Vec<usize> = (0..columns).rev().step_by(2).collect();
    for order in [reversed, every_other] {
        let found = Scanned::of(&source, Some(&order)).await?;
        promise(found.schema == all.project(&order)?.schema, "columns come in the order asked for")?;
        promise(found.digest()? == all.project(&order)?.digest()?, "columns in another order have their own values")?;
    }
    Ok(())
}

async fn no_columns(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let none = Scanned::of(&source, Some(&Vec::new())).await?;
    let all = Scanned::of(&source, None).await?;
    promise(none.counts() == all.counts(), "rows without columns are rows")
}

async fn missing(t: Trial) -> Result<()> {
    match t.open(&TableName::new("there_is_no_such_table")).await {
        Ok(_) => promise(false, "a missing table is an error"),
        Err(error) => {
            promise(error.kind() == ErrorKind::Config, "a missing table is a mistake of the configuration")?;
            promise(!error.message().is_empty(), "a missing table is refused by a sentence")
        }
    }
}

/// The digest of all rows of a table.
async fn whole(t: &Trial, table: &TableName) -> Result<TableDigest> {
    let source = t.open(table).await?;
    Scanned::of(&source, None).await?.digest()
}
