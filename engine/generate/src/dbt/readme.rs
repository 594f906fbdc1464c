//! The page of a project: how it is run, and what it does not say.

use serde::Serialize;
use transload_core::Result;
use transload_plan::Plan;

use super::Staged;
use super::place::Place;
use crate::Text;
use crate::head::{Unsaid, origin};
use crate::quote::cell;
use crate::template::fill;

const TEMPLATE: &str = include_str!("../../templates/dbt/README.md");

/// What the page's template is filled with.
#[derive(Serialize)]
struct Page {
    origin: String,
    pipeline: String,
    project: String,
    tables: Vec<Line>,
    variable: Option<String>,
    needed: Vec<Line>,
    unsaid: Vec<Line>,
}

/// A line of one of its tables.
#[derive(Serialize)]
struct Line {
    a: String,
    b: String,
    c: String,
}

impl Line {
    fn new(a: &str, b: &str, c: &str) -> Self {
        Self { a: cell(a), b: cell(b), c: cell(c) }
    }
}

/// The page.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be made.
pub(super) fn readme(
    plan: &Plan,
    project: &str,
    place: &Place,
    tables: &[Staged<'_>],
    unsaid: &[Unsaid],
) -> Result<Text> {
    let page = Page {
        origin: origin(plan)?,
        pipeline: plan.pipeline.clone(),
        project: project.to_string(),
        tables: tables.iter().map(|t| Line::new(t.plan.to.as_str(), &t.name, &t.model)).collect(),
        variable: place.variable.clone(),
        needed: place.needed.iter().map(|(name, what)| Line::new(name, what, "")).collect(),
        unsaid: unsaid.iter().map(|u| Line::new(&u.table, &u.what, &u.why)).collect(),
    };
    Ok(Text { path: "README.md".to_string(), content: fill("the page of the project", TEMPLATE, &page)? })
}
