//! From checks to a contract.

use serde_json::{Map, Value as Json, json};
use transload_core::finding::{Action, Severity};
use transload_core::{Error, Node, Result};

use crate::check::{Check, Rule};
use crate::odcs::rule::{Columns, library_checks};
use crate::odcs::{ENGINE, OWN_WORDS, TableChecks, VERSION};
use crate::policy::{Amount, Policy};

/// Writes checks as a contract, a draft that people complete.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if a check cannot be written as JSON.
pub fn export(contract: &str, tables: &[TableChecks]) -> Result<Json> {
    let objects: Vec<Json> = tables.iter().map(object).collect::<Result<_>>()?;
    Ok(json!({
        "apiVersion": VERSION,
        "kind": "DataContract",
        "id": contract,
        "name": contract,
        "version": "1.0.0",
        "status": "draft",
        "schema": objects,
    }))
}

/// A table: what is about one column stands at the column, all else at the table.
fn object(table: &TableChecks) -> Result<Json> {
    let mut properties: Vec<(&str, Vec<Json>)> = Vec::new();
    let mut quality = Vec::new();
    for (at, check) in table.checks.iter().enumerate() {
        let columns = check.columns();
        for column in &columns {
            if !properties.iter().any(|(name, _)| *name == column.as_str()) {
                properties.push((column.as_str(), Vec::new()));
            }
        }
        let item = item(check, at + 1)?;
        let only = columns.first().filter(|_| columns.len() == 1);
        match only.and_then(|column| properties.iter_mut().find(|(name, _)| *name == column.as_str())) {
            Some((_, items)) => items.push(item),
            None => quality.push(item),
        }
    }
    let mut object = Map::new();
    object.insert("name".to_string(), json!(table.table));
    object.insert("logicalType".to_string(), json!("object"));
    let mut list = |key: &str, items: Vec<Json>| {
        if !items.is_empty() {
            object.insert(key.to_string(), Json::Array(items));
        }
    };
    list("properties", properties.into_iter().map(|(name, items)| property(name, items)).collect());
    list("quality", quality);
    Ok(Json::Object(object))
}

fn property(name: &str, quality: Vec<Json>) -> Json {
    match quality.is_empty() {
        true => json!({ "name": name }),
        false => json!({ "name": name, "quality": quality }),
    }
}

/// A rule of the contract, with what people want to read of it.
fn item(check: &Check, position: usize) -> Result<Json> {
    let mut item = Map::new();
    item.insert("id".to_string(), json!(format!("check_{position}")));
    item.insert("name".to_string(), json!(check.title()));
    item.insert("description".to_string(), json!(check.expected()));
    if let Some(dimension) = dimension(check.kind()) {
        item.insert("dimension".to_string(), json!(dimension));
    }
    let own = serde_json::to_value(&check.rule).map_err(unwritten)?;
    match library(check) {
        Some(words) => {
            let node = node(&words)?;
            let said = library_checks(&node, &placed(check)).unwrap_or_default();
            item.extend(words);
            if said.as_slice() != std::slice::from_ref(check) {
                item.insert("customProperties".to_string(), json!([{ "property": OWN_WORDS, "value": own }]));
            }
        }
        None => {
            item.extend(severity(&check.policy()));
            item.insert("type".to_string(), json!("custom"));
            item.insert("engine".to_string(), json!(ENGINE));
            item.insert("implementation".to_string(), own);
        }
    }
    Ok(Json::Object(item))
}

/// Where the rule of a check stands.
pub(super) fn placed(check: &Check) -> Columns {
    let columns = check.columns();
    let column = columns.first().filter(|_| columns.len() == 1).map(|column| (*column).clone());
    Columns { column, names: Vec::new() }
}

/// A rule in the words of the library as it would be read, if there are any.
pub(super) fn library_node(check: &Check) -> Result<Option<Node>> {
    library(check).map(|words| node(&words)).transpose()
}

fn node(words: &Map<String, Json>) -> Result<Node> {
    serde_json::from_value(Json::Object(words.clone())).map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> Error {
    Error::internal("a check cannot be written for a contract").because(error)
}

/// What a check says in the words of the library. Rules about some of the rows have none.
fn library(check: &Check) -> Option<Map<String, Json>> {
    let policy = check.policy();
    if policy.filter.is_some() {
        return None;
    }
    let none = || json!({ "mustBe": 0 });
    let words = match &check.rule {
        Rule::NotNull(rule) if rule.columns.len() == 1 => json!([{ "metric": "nullValues" }, allowed(&policy)]),
        Rule::AcceptedValues(rule) => {
            json!([{ "metric": "invalidValues", "arguments": { "validValues": rule.values } }, allowed(&policy)])
        }
        Rule::Pattern(rule) => {
            json!([{ "metric": "invalidValues", "arguments": { "pattern": rule.regex } }, allowed(&policy)])
        }
        Rule::Unique(_) if policy.threshold.is_some() => return None,
        Rule::Unique(rule) if rule.columns.len() == 1 => json!([{ "metric": "duplicateValues" }, none()]),
        Rule::Unique(rule) => {
            json!([{ "metric": "duplicateValues", "arguments": { "properties": rule.columns } }, none()])
        }
        Rule::RowCount(rule) => json!([{ "metric": "rowCount" }, rows(rule.exactly, rule.min, rule.max)?]),
        _ => return None,
    };
    let mut all = Map::new();
    all.insert("type".to_string(), json!("library"));
    for part in words.as_array()? {
        all.extend(part.as_object()?.clone());
    }
    all.extend(severity(&policy));
    Some(all)
}

fn severity(policy: &Policy) -> Option<(String, Json)> {
    let word = match policy.severity.as_ref()?.value {
        Severity::Error => "error",
        Severity::Warn => "warning",
        Severity::Info => "info",
    };
    Some(("severity".to_string(), json!(word)))
}

/// How many rows of what is published may break a rule: none of those that are put aside are there.
fn allowed(policy: &Policy) -> Json {
    match policy.threshold.as_ref().filter(|_| policy.action() != Action::Quarantine) {
        None => json!({ "mustBe": 0 }),
        Some(threshold) => match threshold.value {
            Amount::Rows(most) => json!({ "mustBeLessOrEqualTo": most, "unit": "rows" }),
            Amount::Percent(most) => json!({ "mustBeLessOrEqualTo": most.0, "unit": "percent" }),
        },
    }
}

/// A number of rows. What is between two numbers is neither of them.
fn rows(exactly: Option<u64>, min: Option<u64>, max: Option<u64>) -> Option<Json> {
    Some(match (exactly, min, max) {
        (Some(exactly), ..) => json!({ "mustBe": exactly }),
        (None, Some(min), None) => json!({ "mustBeGreaterOrEqualTo": min }),
        (None, None, Some(max)) => json!({ "mustBeLessOrEqualTo": max }),
        (None, Some(min), Some(max)) => {
            let (min, max) = (i64::try_from(min).ok()?, i64::try_from(max).ok()?);
            json!({ "mustBeBetween": [min.checked_sub(1)?, max.checked_add(1)?] })
        }
        (None, None, None) => return None,
    })
}

/// What a kind of check is about, in the standard's words.
fn dimension(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "not_null" | "not_empty" | "completeness" | "row_count" => "completeness",
        "unique" => "uniqueness",
        "accepted_values" | "length" | "pattern" | "format" | "schema" => "conformity",
        "range" | "aggregate" => "accuracy",
        "expression" | "monotonic" | "foreign_key" | "drift" => "consistency",
        "not_in_future" | "freshness" => "timeliness",
        "no_gaps" => "coverage",
        _ => return None,
    })
}
