//! What a connector promises that finds its tables. It looks at all there are, so these cases come last.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use futures::FutureExt;
use transload_core::connector::{CleanSpec, DECLARED_TYPE, is_hidden};
use transload_core::{Clock, Error, LogicalType, Pin, Result, TableName};

use crate::case::Case;
use crate::promise;
use crate::reading::Scanned;
use crate::trial::{Trial, rows, stage};

pub(crate) const CASES: &[Case] = &[
    Case::new("tables-are-listed-by-their-names", "discover", |t| listed(t).boxed()).alone(),
    Case::new("a-table-that-is-found-says-what-it-has", "discover", |t| found(t).boxed()).alone(),
    Case::new("cleaning-up-takes-no-row-away", "sink", |t| cleaned(t).boxed()).alone(),
];

async fn listed(t: Trial) -> Result<()> {
    let names = t.endpoint.list().await?;
    promise(!names.is_empty(), "tables are listed")?;
    let sorted: BTreeSet<TableName> = names.iter().cloned().collect();
    promise(names == sorted.iter().cloned().collect::<Vec<_>>(), "names are sorted, and none comes twice")?;
    promise(t.anew().endpoint.list().await? == names, "another process finds the same tables")?;
    if t.claims("sink") {
        promise(t.tables.iter().all(|table| sorted.contains(table)), "a table that was written is listed")?;
        let staged = t.table("staged");
        let sink = t.sink(&staged, t.mode()).await?;
        stage(&sink, "a", rows(0, 10)?).await?;
        promise(!t.endpoint.list().await?.contains(&staged), "a table that is only staged is not listed")?;
        sink.abort().await?;
    }
    for name in &names {
        t.endpoint.check_name(name).map_err(Error::config)?;
        t.open(name).await.map_err(|e| e.with("table", name.as_str()))?;
    }
    Ok(())
}

async fn found(t: Trial) -> Result<()> {
    for name in &t.endpoint.list().await? {
        let table = t.endpoint.describe(name).await?;
        promise(table.name == *name, "a table that is looked at is the one that was asked for")?;
        let source = t.open(name).await?;
        promise(table.format == t.format, format!("{name} is of the format {}, not {}", t.format, table.format))?;
        let schema = source.schema();
        let own = schema.fields().iter().filter(|field| !is_hidden(field));
        let columns: Vec<(String, LogicalType, bool)> = own
            .filter_map(|field| {
                let declared = field.metadata().get(DECLARED_TYPE).and_then(|ty| ty.parse::<LogicalType>().ok());
                Some((field.name().clone(), declared.or_else(|| LogicalType::of(field))?, field.is_nullable()))
            })
            .collect();
        promise(table.columns == columns, format!("{name} has the columns that it is said to have"))?;
        // The formula of a generated table gives its rows only on average.
        if let (Some(rows), false) = (table.rows, matches!(source.pin(), Pin::Formula(_))) {
            let there = Scanned::of(&source, None).await?.rows();
            promise(rows == there, format!("{name} has {there} rows, and is said to have {rows}"))?;
        }
    }
    Ok(())
}

async fn cleaned(t: Trial) -> Result<()> {
    let table = t.table("t");
    t.put(&table, t.mode(), rows(0, 20)?).await?;
    let dead = t.sink(&table, t.mode()).await?;
    stage(&dead, "a", rows(500, 900)?).await?;
    drop(dead);
    let spec = CleanSpec { before: Clock::system().now() + TimeDelta::hours(1), keep: Vec::new(), dry_run: true };
    let seen = t.endpoint.clean(&spec).await?;
    promise(t.endpoint.clean(&spec).await? == seen, "who only looks removes nothing")?;
    let removed = t.endpoint.clean(&CleanSpec { dry_run: false, ..spec.clone() }).await?;
    promise(removed == seen, "what is removed is what was said to be")?;
    let left = t.endpoint.clean(&spec).await?;
    promise(!left.iter().any(|orphan| removed.contains(orphan)), "what was removed is gone")?;
    promise(t.holds(&table, &rows(0, 20)?).await?, "cleaning up takes no row away")?;
    for table in t.tables.iter() {
        t.count(table).await.map_err(|e| e.with("table", table.as_str()))?;
    }
    t.put(&table, t.mode(), rows(20, 30)?).await.map(drop)
}
