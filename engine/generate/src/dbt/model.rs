//! Staging models: what each is made of, and what is said of its columns.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use transload_core::connector::Transform;
use transload_core::{LogicalType, Result};
use transload_plan::{ColumnPlan, Origin, Plan, TablePlan};

use super::Staged;
use crate::Text;
use crate::dialect::{Dialect, cut_by_duckdb};
use crate::head::{Unsaid, comment};
use crate::quote::jinja;

/// The columns that DuckDB can hold, each with its type there.
fn columns(table: &TablePlan) -> impl Iterator<Item = (&ColumnPlan, String)> {
    table.columns.iter().filter_map(|c| Some((c, Dialect::DuckDb.type_name(&c.ty).ok()?)))
}

/// What of a table's columns its model does not have, or not whole.
pub(super) fn unsaid(table: &TablePlan) -> Vec<Unsaid> {
    let unsaid = |column: &ColumnPlan| {
        let why = match Dialect::DuckDb.type_name(&column.ty) {
            Err(reason) => format!("it is left out: {reason}"),
            Ok(_) if cut_by_duckdb(&column.ty) => {
                format!("DuckDB 1 cuts what of {} is finer than microseconds", column.ty)
            }
            Ok(_) => return None,
        };
        Some(Unsaid { table: table.to.as_str().to_string(), what: format!("column {}", column.name), why })
    };
    table.columns.iter().filter_map(unsaid).collect()
}

/// The model of a table: a query that casts every column to the type that the plan has for it.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if the plan cannot be written as JSON.
pub(super) fn staging(plan: &Plan, project: &str, table: &Staged<'_>) -> Result<Text> {
    let is_delta = plan.target.kind == "delta";
    let cast = |(column, ty): (&ColumnPlan, String)| {
        let there = if is_delta { column.name.clone() } else { name_there(table.plan, column) };
        let (read, name) = (Dialect::DuckDb.name(&there), Dialect::DuckDb.name(&column.name));
        format!("    cast({} as {}) as {}", jinja(&read), jinja(&ty), jinja(&name))
    };
    let casts: Vec<String> = columns(table.plan).map(cast).collect();
    let content = format!(
        "{}select\n{}\nfrom {{{{ source('{project}', '{}') }}}}\n",
        comment(plan, "--")?,
        casts.join(",\n"),
        table.name
    );
    Ok(Text { path: format!("models/staging/{}.sql", table.model), content })
}

/// The name under which a column is read: where it is that of a folder, DuckDB leaves it as the folder spells it.
fn name_there(table: &TablePlan, column: &ColumnPlan) -> String {
    let is_folder =
        |p: &&transload_core::connector::Partition| p.transform == Transform::Identity && p.column == column.name;
    match table.partition_by.iter().find(is_folder) {
        Some(_) => folder_name(&column.name),
        None => column.name.clone(),
    }
}

/// A name as folders have it: see the page of the lake.
pub(super) fn folder_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c.is_ascii_control() || "/\\:=%#?*\"'<>|{}[]^~`".contains(c) {
            true => out.push_str(&format!("%{:02X}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

/// What is said of a model and its columns, with the tests that are about single columns.
pub(super) fn properties(table: &Staged<'_>, tests: &BTreeMap<String, Vec<Json>>) -> Json {
    let columns: Vec<Json> = columns(table.plan)
        .map(|(column, ty)| {
            let mut said = json!({
                "name": jinja(&column.name),
                "quote": true,
                "description": jinja(&describe(table, column)),
                "data_type": jinja(&ty),
            });
            if let Some(tests) = tests.get(&column.name) {
                said["data_tests"] = json!(tests);
            }
            said
        })
        .collect();
    let mut said = json!({ "name": table.model, "description": jinja(&about(table)) });
    if !table.plan.labels.is_empty() {
        said["config"] = json!({ "meta": { "labels": labels(table.plan) } });
    }
    said["columns"] = json!(columns);
    said
}

/// The labels of a table.
pub(super) fn labels(table: &TablePlan) -> Json {
    table
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), Json::from(jinja(value))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// What a table is: what somebody has said of it in its source, and where it comes from.
pub(super) fn about(table: &Staged<'_>) -> String {
    let comment = table.catalog.and_then(|c| c.comment.as_deref());
    let from = format!("Loaded from {}.", table.plan.first_source());
    sentences([comment, Some(from.as_str())])
}

fn describe(table: &Staged<'_>, column: &ColumnPlan) -> String {
    let (from, comment) = match &column.origin {
        Origin::Source(name) => {
            let known = table.catalog.and_then(|c| c.columns.iter().find(|k| k.name == *name));
            let from = (*name != column.name).then(|| format!("{name} of the source."));
            (from, known.and_then(|k| k.comment.as_deref()))
        }
        Origin::Derived(sql) => {
            (Some(format!("Computed: {}.", sql.split_whitespace().collect::<Vec<_>>().join(" "))), None)
        }
        Origin::Metadata(_) => (Some("Set by the load.".to_string()), None),
        Origin::Gone => (Some("Not in the source any more.".to_string()), None),
    };
    let cast = column.cast.as_ref().map(|cast| format!("Cast from {} to {}.", cast.from, cast.to));
    let mask = column.mask.map(|mask| format!("Masked ({}).", format!("{mask:?}").to_lowercase()));
    sentences([comment, from.as_deref(), cast.as_deref(), mask.as_deref()])
}

fn sentences<'s>(parts: impl IntoIterator<Item = Option<&'s str>>) -> String {
    let parts = parts.into_iter().flatten().map(str::trim).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}

/// The type of a column of a table, by its name there.
pub(super) fn type_of<'t>(table: &'t TablePlan, name: &str) -> Option<&'t LogicalType> {
    table.columns.iter().find(|c| c.name == name).map(|c| &c.ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_spell_names_in_their_own_way() {
        assert_eq!(folder_name("p p\""), "p p%22");
        assert_eq!(folder_name("a/b=ä\n"), "a%2Fb%3Dä%0A");
        assert_eq!(folder_name("plain_name-1.x"), "plain_name-1.x");
    }
}
