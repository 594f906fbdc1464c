//! One rule of a contract: which checks it comes to.

use serde::Deserialize;
use serde::de::IgnoredAny;
use transload_core::decode::decode;
use transload_core::finding::Severity;
use transload_core::tree::{Spanned, Value};
use transload_core::{Node, Problem, Span};

use crate::check::{Check, read};
use crate::odcs::export::{library_node, placed};
use crate::odcs::{ENGINE, OWN_WORDS, library};

/// Why a rule becomes no check.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is not what a rule of a contract must be.
    Wrong(Vec<Problem>),
    /// It is a good rule, but not one that can be executed here.
    Unsupported(Vec<Problem>),
}

impl Refused {
    pub(super) fn wrong(span: Span, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Wrong(vec![Problem::new(span, message).hint(hint)])
    }

    pub(super) fn unsupported(span: Span, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unsupported(vec![Problem::new(span, message).hint(hint)])
    }
}

/// The columns a rule can mean.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    /// The column at which it stands; none at a table.
    pub(super) column: Option<Spanned<String>>,
    /// The columns of the table by their name in the contract, with their physical names.
    pub(super) names: Vec<(String, String)>,
}

/// How a rule is meant to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Type {
    Text,
    Library,
    Sql,
    Custom,
}

/// A figure of the standard's library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Metric {
    NullValues,
    MissingValues,
    InvalidValues,
    DuplicateValues,
    RowCount,
}

/// Every key that a rule may have. What is not read as a value is looked at in the tree, or is for people and other
/// programs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "a key that is known is no mistake")]
pub(super) struct Item {
    #[serde(rename = "type")]
    pub(super) kind: Option<Spanned<Type>>,
    pub(super) metric: Option<Spanned<Metric>>,
    pub(super) rule: Option<Spanned<String>>,
    pub(super) unit: Option<Spanned<String>>,
    pub(super) severity: Option<Spanned<String>>,
    pub(super) engine: Option<Spanned<String>>,
    arguments: Option<IgnoredAny>,
    must_be: Option<IgnoredAny>,
    must_not_be: Option<IgnoredAny>,
    must_be_greater_than: Option<IgnoredAny>,
    must_be_greater_or_equal_to: Option<IgnoredAny>,
    must_be_less_than: Option<IgnoredAny>,
    must_be_less_or_equal_to: Option<IgnoredAny>,
    must_be_between: Option<IgnoredAny>,
    must_not_be_between: Option<IgnoredAny>,
    query: Option<IgnoredAny>,
    implementation: Option<IgnoredAny>,
    custom_properties: Option<IgnoredAny>,
    id: Option<IgnoredAny>,
    name: Option<IgnoredAny>,
    description: Option<IgnoredAny>,
    dimension: Option<IgnoredAny>,
    method: Option<IgnoredAny>,
    business_impact: Option<IgnoredAny>,
    schedule: Option<IgnoredAny>,
    scheduler: Option<IgnoredAny>,
    tags: Option<IgnoredAny>,
    authoritative_definitions: Option<IgnoredAny>,
}

/// The checks that a rule comes to.
///
/// # Errors
/// Why there are none.
pub(super) fn checks(node: &Node, columns: &Columns) -> Result<Vec<Check>, Refused> {
    let item = item(node)?;
    let place = item.kind.as_ref().map_or(node.span, |kind| kind.span);
    match item.kind.as_ref().map_or(Type::Library, |kind| kind.value) {
        Type::Text => {
            let hint = "write it as a check, or leave it out";
            Err(Refused::unsupported(place, "this rule is a text for people, which no program can check", hint))
        }
        Type::Sql => {
            let message = "this rule is a query in the language of a server, and there is no server to ask";
            Err(Refused::unsupported(
                place,
                message,
                "write its condition on a row as an `expression`, or leave it out",
            ))
        }
        Type::Custom => custom(node, &item),
        Type::Library => {
            let said = library::checks(node, &item, columns)?;
            match own_words(node)? {
                Some(own) => agreed(&said, own, place),
                None => Ok(said),
            }
        }
    }
}

/// The checks that a rule of the library comes to without our own words.
pub(super) fn library_checks(node: &Node, columns: &Columns) -> Result<Vec<Check>, Refused> {
    library::checks(node, &item(node)?, columns)
}

fn item(node: &Node) -> Result<Item, Refused> {
    let mut problems = Vec::new();
    match decode(node, &mut problems) {
        Some(item) if problems.is_empty() => Ok(item),
        _ => Err(Refused::Wrong(problems)),
    }
}

/// How bad it is if the rule is broken.
pub(super) fn severity(item: &Item) -> Result<Option<Severity>, Refused> {
    let Some(severity) = &item.severity else { return Ok(None) };
    match severity.to_lowercase().as_str() {
        "error" => Ok(Some(Severity::Error)),
        "warning" | "warn" => Ok(Some(Severity::Warn)),
        "info" => Ok(Some(Severity::Info)),
        _ => {
            let message = format!("`{}` is no severity that a check here has", severity.value);
            Err(Refused::unsupported(severity.span, message, "write `error`, `warning` or `info`"))
        }
    }
}

/// A rule for one engine.
fn custom(node: &Node, item: &Item) -> Result<Vec<Check>, Refused> {
    if let Some(engine) = item.engine.as_ref().filter(|engine| engine.value != ENGINE) {
        let message = format!("this rule is written for the engine `{}`", engine.value);
        return Err(Refused::unsupported(engine.span, message, "write it as a check, or leave it out"));
    }
    let mut missing = Vec::new();
    if item.engine.is_none() {
        let problem = Problem::new(node.span, "`engine` is missing");
        missing.push(problem.hint("name the program that the rule is for"));
    }
    let implementation = node.get("implementation");
    if implementation.is_none() {
        missing.push(Problem::new(node.span, "`implementation` is missing").hint("write the check below it"));
    }
    let Some(implementation) = implementation.filter(|_| missing.is_empty()) else {
        return Err(Refused::Wrong(missing));
    };
    let checks = own_check(implementation)?;
    // Who reads the contract believes what stands beside the check.
    match (severity(item)?, &item.severity) {
        (Some(severity), Some(said)) if checks.iter().any(|check| check.policy().severity() != severity) => {
            let message = "the check below has another severity";
            Err(Refused::wrong(said.span, message, "say the same in both places, or say it in the check only"))
        }
        _ => Ok(checks),
    }
}

/// A check in our own words: its kind with its settings.
fn own_check(node: &Node) -> Result<Vec<Check>, Refused> {
    let mut problems = Vec::new();
    let checks = match &node.value {
        Value::Map(entries) => match entries.as_slice() {
            [(kind, settings)] => read(kind, settings, &mut problems),
            _ => return Err(not_one_check(node)),
        },
        _ => return Err(not_one_check(node)),
    };
    if problems.is_empty() { Ok(checks) } else { Err(Refused::Wrong(problems)) }
}

fn not_one_check(node: &Node) -> Refused {
    Refused::wrong(node.span, "expected exactly one check", "write it as in a pipeline, such as `not_null: [id]`")
}

/// What stands in the custom property that is ours.
fn own_words(node: &Node) -> Result<Option<Vec<Check>>, Refused> {
    let Some(Node { value: Value::Seq(properties), .. }) = node.get("customProperties") else { return Ok(None) };
    let is_ours = |property: &&Node| match property.get("property") {
        Some(Node { value: Value::Text(name), .. }) => name == OWN_WORDS,
        _ => false,
    };
    match properties.iter().find(is_ours).and_then(|property| property.get("value")) {
        Some(value) => own_check(value).map(Some),
        None => Ok(None),
    }
}

/// Our own words add to what the library says of a check, and do not say something else: whoever changes one of the two
/// has to say which is meant.
fn agreed(said: &[Check], own: Vec<Check>, place: Span) -> Result<Vec<Check>, Refused> {
    let mut expected = Vec::new();
    for check in &own {
        if let Ok(Some(node)) = library_node(check) {
            expected.extend(library_checks(&node, &placed(check)).unwrap_or_default());
        }
    }
    if said == expected.as_slice() {
        return Ok(own);
    }
    let message = format!("this rule says something else than its custom property `{OWN_WORDS}`");
    Err(Refused::wrong(place, message, "change both, or remove the custom property"))
}
