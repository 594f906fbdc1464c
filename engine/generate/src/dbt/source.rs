//! The tables of the lake as sources of dbt, with how old they may be.

use serde_json::{Value as Json, json};
use transload_core::LogicalType;
use transload_plan::{Origin, Plan, TablePlan};
use transload_quality::{Check, Rule};
use transload_spec::file::MetadataColumn;

use super::place::Place;
use super::{Staged, model};
use crate::dialect::Dialect;
use crate::quote::jinja;

/// All sources.
pub(super) fn sources(plan: &Plan, project: &str, place: &Place, tables: &[Staged<'_>]) -> Json {
    let table = |table: &Staged<'_>| {
        let mut meta = json!({ "external_location": place.location(table.plan) });
        if !table.plan.labels.is_empty() {
            meta["labels"] = model::labels(table.plan);
        }
        let mut config = json!({ "meta": meta });
        if let Some((loaded_at, freshness)) = freshness(table) {
            config["loaded_at_field"] = json!(jinja(&loaded_at));
            config["freshness"] = freshness;
        }
        json!({ "name": table.name, "description": jinja(&model::about(table)), "config": config })
    };
    let tables: Vec<Json> = tables.iter().map(table).collect();
    let description = format!("The tables that the pipeline {} writes.", plan.pipeline);
    json!({ "version": 2, "sources": [{ "name": project, "description": description, "tables": tables }] })
}

/// By which expression a table's age is known, and how old it may be: as the first of its checks about that says, or else a
/// day, by the time of the load or the cursor.
fn freshness(table: &Staged<'_>) -> Option<(String, Json)> {
    if let Some((check, column, secs)) = stated(table) {
        let word = if super::rule::is_severe(check) { "error_after" } else { "warn_after" };
        return Some((moment(table.plan, column)?, json!({ word: period(secs) })));
    }
    let loaded = table.plan.columns.iter().find(|c| c.origin == Origin::Metadata(MetadataColumn::IngestedAt));
    let cursor = table.plan.incremental.as_ref().and_then(|incremental| {
        let is_cursor = |origin: &Origin| matches!(origin, Origin::Source(name) if *name == incremental.cursor);
        table.plan.columns.iter().find(|c| is_cursor(&c.origin) && c.mask.is_none())
    });
    let column = loaded.or(cursor)?;
    Some((moment(table.plan, &column.name)?, json!({ "warn_after": period(86_400) })))
}

/// The check that says how old a table may be, with its column and the age in seconds.
fn stated<'t>(table: &'t Staged<'_>) -> Option<(&'t Check, &'t str, u64)> {
    table.plan.checks.iter().find_map(|check| match &check.rule {
        Rule::Freshness(rule) if rule.filter.is_none() && table.view.column(&rule.column).is_ok() => {
            Some((check, rule.column.as_str(), rule.max_age_secs))
        }
        _ => None,
    })
}

/// Whether it is this check that the sources say.
pub(super) fn says(table: &Staged<'_>, check: &Check) -> bool {
    stated(table).is_some_and(|(said, ..)| said.fingerprint == check.fingerprint)
}

/// A column as a point in time.
fn moment(table: &TablePlan, column: &str) -> Option<String> {
    let name = Dialect::DuckDb.name(column);
    match model::type_of(table, column)? {
        LogicalType::Date => Some(format!("cast({name} as timestamp)")),
        LogicalType::Timestamp(..) => Some(name),
        _ => None,
    }
}

/// So many seconds in the units of dbt, rounded up.
fn period(secs: u64) -> Json {
    let (count, period) = match secs {
        secs if secs > 0 && secs % 86_400 == 0 => (secs / 86_400, "day"),
        secs if secs > 0 && secs % 3_600 == 0 => (secs / 3_600, "hour"),
        secs => (secs.div_ceil(60), "minute"),
    };
    json!({ "count": count, "period": period })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_the_units_of_dbt() {
        assert_eq!(period(86_400), json!({ "count": 1, "period": "day" }));
        assert_eq!(period(7_200), json!({ "count": 2, "period": "hour" }));
        assert_eq!(period(61), json!({ "count": 2, "period": "minute" }));
    }
}
