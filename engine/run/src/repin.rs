//! Tables that cannot be read any more as they were pinned, and are pinned anew.
//!
//! A database keeps what it has pinned for as long as whoever pinned it is connected. So a plan from a file, and a run that
//! an earlier process has begun, may have pins that nobody can read. What is published of them stays as it is; of all else
//! nobody has seen a row yet, so it may be read as it is now, from its beginning.
//!
//! Staged rows of the old pin must never get among those of the new one, wherever a process dies. Units are taken over by
//! their numbers under the plan that the ledger has; so the old ones are removed and forgotten first, and the new plan is
//! written down last. Until then the next process finds the old pin, and does all of this again.

use std::sync::Arc;

use transload_core::connector::ReadSpec;
use transload_core::{Endpoint, Error, ErrorKind, Result, TableName, fault};
use transload_plan::{Plan, Reference, TablePlan};
use transload_quality::Place;

use crate::load::Load;
use crate::table::{Table, looked_at};

/// What became of tables that were pinned anew.
#[derive(Debug, Default)]
pub struct Anew {
    /// The plan to go on by; `None` if it is the same.
    pub plan: Option<Plan>,
    /// The tables that are read anew, by their names in the target.
    pub tables: Vec<TableName>,
    /// Those that only checks look at.
    pub looked_at: Vec<TableName>,
    /// The tables that cannot be read as they were planned, with the reason.
    pub failed: Vec<(TableName, Error)>,
}

/// The plan of a table as it is now, if it cannot be read any more as it was pinned; `None` if it can.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if it has other columns by now, or is gone; otherwise as its system fails.
pub async fn pinned_anew(endpoint: &Arc<dyn Endpoint>, table: &TablePlan) -> Result<Option<TablePlan>> {
    match endpoint.holds(&table.pin).await? {
        true => Ok(None),
        false => anew(endpoint, table).await.map(Some),
    }
}

async fn anew(endpoint: &Arc<dyn Endpoint>, table: &TablePlan) -> Result<TablePlan> {
    let source = endpoint.source(&table.from, &ReadSpec::default()).await?;
    table.pinned_anew(source.as_ref())
}

/// Pins the tables of a run anew that an earlier process has not published, and that cannot be read any more as they were
/// pinned.
///
/// # Behavior
/// - What was staged of them is forgotten and removed, and what was put aside of them is taken back.
/// - So are other tables pinned that checks of tables look at which are still to be published. One of the pipeline that is
///   published itself keeps its place in the plan, and is looked at as it is now.
/// - A table stays as it is if it is published, or if nobody can tell: [`run`](crate::run) finds that out.
///
/// # Errors
/// Only what concerns the run as a whole; what concerns a table is in [`Anew::failed`].
///
/// # Cancellation
/// Dropping the future leaves the run to the next call, as does an error.
///
/// # Idempotency
/// Until somebody goes on by the new plan, a second call does the same again.
pub async fn repin(load: &Load) -> Result<Anew> {
    let receipts = load.journal.receipts().await?;
    let (mut open, mut lost) = (Vec::new(), Vec::new());
    for table in load.plan.tables.iter().filter(|table| receipts.iter().all(|r| r.to != table.to)) {
        match load.source.holds(&table.pin).await {
            Ok(true) => open.push(table),
            Ok(false) => {
                if let Ok(false) = Table::is_published(load, table).await {
                    open.push(table);
                    lost.push(table.to.clone());
                }
            }
            // Nothing can be pinned now.
            Err(_) => return Ok(Anew::default()),
        }
    }
    let mut found = Anew::default();
    let mut tables = load.plan.tables.clone();
    for table in tables.iter_mut().filter(|table| lost.contains(&table.to)) {
        fault::point("repin.begun")?;
        match renewed(load, table).await {
            Ok(Some(renewed)) => {
                found.tables.push(table.to.clone());
                *table = renewed;
            }
            Ok(None) => open.retain(|open| open.to != table.to),
            Err(error) => found.failed.push((table.to.clone(), error)),
        }
    }
    let references = references(load, &open, &mut found).await?;
    if found.tables.is_empty() && found.looked_at.is_empty() {
        return Ok(found);
    }
    fault::point("repin.pinned")?;
    found.plan = Some(Plan::clone(&load.plan).repinned(tables, references)?);
    Ok(found)
}

/// A table as it is now, once nothing is left of what was staged of it; `None` if it turns out to be published.
async fn renewed(load: &Load, table: &TablePlan) -> Result<Option<TablePlan>> {
    if !drop_staged(load, table).await? {
        return Ok(None);
    }
    anew(&load.source, table).await.map(Some).map_err(|e| match e.is_transient() {
        true => e,
        false => e.hint("start a new run, which plans it anew"),
    })
}

/// Removes what was staged of a table, and forgets it; `false` if the table turns out to be published.
async fn drop_staged(load: &Load, table: &TablePlan) -> Result<bool> {
    if !Table::abandon(load, table).await? {
        return Ok(false);
    }
    fault::point("repin.removed")?;
    load.journal.forget(&table.to).await?;
    fault::point("repin.forgotten")?;
    Ok(true)
}

/// The tables that only checks look at, with those pinned anew that checks of the `open` tables need.
async fn references(load: &Load, open: &[&TablePlan], found: &mut Anew) -> Result<Vec<Reference>> {
    let mut references = load.plan.references.clone();
    let mut done: Vec<(Place, TableName)> = Vec::new();
    let unreadable: Vec<(TableName, ErrorKind)> = found.failed.iter().map(|(to, e)| (to.clone(), e.kind())).collect();
    for table in open.iter().filter(|table| unreadable.iter().all(|(to, _)| *to != table.to)) {
        for (place, read) in looked_at(&load.plan, table)? {
            let is_loaded = place == Place::Pipeline && open.iter().any(|open| open.to == read.to);
            let anew = match unreadable.iter().find(|(to, _)| is_loaded && *to == read.to) {
                Some((_, kind)) => {
                    Err(Error::new(*kind, "a check looks at a table that cannot be read as it was planned"))
                }
                // It is pinned with the others.
                None if is_loaded || done.contains(&(place, read.to.clone())) => Ok(None),
                None => pinned_anew(load.endpoint(place), read).await,
            };
            match anew {
                Ok(None) => {}
                Ok(Some(read)) => {
                    done.push((place, read.to.clone()));
                    found.looked_at.push(read.to.clone());
                    references.retain(|r| r.place != place || r.read.to != read.to);
                    references.push(Reference { place, read });
                }
                Err(error) => {
                    if error.is_passing() || drop_staged(load, table).await? {
                        found.failed.push((table.to.clone(), error.with("table", read.from.as_str())));
                    }
                    break;
                }
            }
        }
    }
    Ok(references)
}
