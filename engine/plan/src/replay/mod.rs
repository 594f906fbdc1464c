//! Replays: rows that a run put aside are read again instead of the source, and what passes now is added to the target.
//!
//! A replay is a run like any other. Its plan says for each table whose quarantine is read ([`Replay`]); a [`Patch`]
//! holds values that are put in first; [`ReplayEndpoint`] makes of the quarantine a source that looks like the one the
//! rows came from, for the load and for the audit.

mod beside;
mod patch;
mod source;

pub use beside::{Beside, looks_at};
pub use patch::{Cell, Line, Missing, Patch};
pub use source::{ReplayEndpoint, ReplayTable, Restored};

use transload_coerce::Rulebook;
use transload_core::connector::{Expected, ORIGIN_COLUMN, WriteMode};
use transload_core::{Error, LogicalType, Result, RunId, Source, TableName};

use crate::plan::{ColumnPlan, OnMisfit, Origin, Plan, Replay, SourceColumn, TablePlan};
use crate::quarantine::origin_type;
use crate::replay::beside::{is_needed, judged};

/// The name of the quarantine of one table of one run.
pub fn quarantined(run: &RunId, table: &TableName) -> TableName {
    TableName::new(format!("{run}/{table}"))
}

/// The columns of a quarantine as a replay reads it: those of the source, and where each row is from.
pub fn columns(table: &TablePlan) -> Vec<SourceColumn> {
    let mut columns = table.source_columns.clone();
    if columns.iter().all(|c| c.name != ORIGIN_COLUMN) {
        columns.push(SourceColumn { name: ORIGIN_COLUMN.to_string(), ty: origin_type(), nullable: false });
    }
    columns
}

/// For each column of the source that the table's plan casts, the type it is cast to: what it is meant as, wherever
/// nothing else is said.
pub fn declared(table: &TablePlan) -> Vec<(String, LogicalType)> {
    let meant = |c: &ColumnPlan| match (&c.origin, &c.cast) {
        (Origin::Source(name), Some(cast)) => Some((name.clone(), cast.to.clone())),
        _ => None,
    };
    table.columns.iter().filter_map(meant).collect()
}

/// What a replay does with one table whose rows are in `source`, by the rules of `rules`, with `beside` it the tables that
/// [`looks_at`] names.
///
/// Rules about single rows put rows aside instead of stopping, and so do values that do not fit and the filter: what passes
/// is added, the rest is kept. Rules about keys, the table's own among them, stop what breaks them: they look at the rows
/// in the target, too. What cannot be judged so is in the plan with the reason. A cursor is left where it is.
///
/// Rows of a merge are added as well: whether one is newer than a row that the target has by then, nobody can tell.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if a rule does not fit the table that it looks at, or some of the rows may
/// be delete markers.
pub fn table(
    rules: &TablePlan,
    mut replay: Replay,
    source: &dyn Source,
    expected: Expected,
    beside: &[Beside],
    rulebook: &Rulebook,
) -> Result<TablePlan> {
    if rules.deleted.is_some() {
        return Err(Error::config(
            "what is put aside of a merge with `deleted` is not replayed: delete markers add nothing",
        )
        .with("table", rules.to.as_str())
        .hint("repair the rows in the source, and load them again"));
    }
    let mut columns_of_target = rules.columns.clone();
    for cast in columns_of_target.iter_mut().filter_map(|c| c.cast.as_mut()) {
        if cast.on_misfit == OnMisfit::Error {
            cast.on_misfit = OnMisfit::Quarantine;
        }
    }
    let (checks, limits) = judged(rules, &source.schema(), beside, rulebook)?;
    replay.limits = limits;
    Ok(TablePlan {
        from: quarantined(&replay.run, &rules.to),
        pin: source.pin().clone(),
        splits: source.splits().to_vec(),
        source_columns: columns(rules),
        columns: columns_of_target,
        incremental: None,
        write: WriteMode::Append,
        expected,
        checks,
        estimated_rows: source.splits().iter().map(|s| s.rows).sum(),
        assumed: source.assumed(),
        replay: Some(replay),
        ..rules.clone()
    })
}

/// A plan for these tables, and all else as in `base`.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as JSON.
pub fn plan(base: &Plan, tables: Vec<TablePlan>, beside: Vec<Beside>) -> Result<Plan> {
    let mut references: Vec<_> = beside.into_iter().map(Beside::into_reference).collect();
    references.retain(|reference| is_needed(reference, &tables));
    Plan { tables, references, ..base.clone() }.seal()
}

/// Whether rows that `amended` makes can be added to those that `rules` made.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if columns or layout of the target would be others.
pub fn fits(rules: &TablePlan, amended: &TablePlan) -> Result<()> {
    let shape = |t: &TablePlan| -> Vec<(String, LogicalType, bool)> {
        t.columns.iter().map(|c| (c.name.clone(), c.ty.clone(), c.nullable)).collect()
    };
    let masks = |t: &TablePlan| -> Vec<_> { t.columns.iter().map(|c| c.mask).collect() };
    let what = if shape(rules) != shape(amended) {
        "the columns"
    } else if masks(rules) != masks(amended) {
        "the masks"
    } else if rules.partition_by != amended.partition_by {
        "the partitions"
    } else {
        return Ok(());
    };
    Err(Error::config(format!("{what} of the amended table are not those that the run has written"))
        .with("table", rules.to.as_str())
        .hint("a replay adds rows to the table as it is: amend checks, filter, expressions, key and `on_misfit` only"))
}

/// Whether two plans do the same with the same rows, whatever the target was when they were made.
pub fn same(one: &TablePlan, other: &TablePlan) -> bool {
    let rules = |t: &TablePlan| {
        let replay = t.replay.as_ref().map(|r| (r.run.clone(), r.patch.clone()));
        (serde_json::json!([t.columns, t.filter, t.checks, t.schema_change]), replay)
    };
    rules(one) == rules(other)
}
