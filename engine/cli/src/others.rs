//! Tables that checks look at beside their own: whether they can be there, and where they are pinned.

use std::sync::Arc;

use transload_core::connector::ReadSpec;
use transload_core::decode::closest;
use transload_core::tree::Spanned;
use transload_core::{Endpoint, Error, ErrorKind, Problem, Result, TableName};
use transload_plan::{OtherInput, TableInput};
use transload_quality::{Check, Place};
use transload_spec::{Spec, TableSpec, fits};

use crate::pipeline::{Checked, Purpose, input};

const LOADED_TOO: &str = "is a table of this pipeline, so it changes with the load";
const LEAVE_OUT_IN: &str = "leave out `in` to look at the rows that go there";

/// The checks of a table, each of which has been found right.
fn checks(table: &TableSpec) -> Vec<Check> {
    let entries = table.settings.checks.iter().flat_map(|c| &c.value).map(|entry| &entry.value.0);
    entries.flat_map(|entry| transload_quality::read(&entry.kind, &entry.options, &mut Vec::new())).collect()
}

/// Whether the tables can be there that checks of a table look at beside it.
pub(crate) fn check(
    table: &TableSpec,
    source: Option<&dyn Endpoint>,
    target: Option<&dyn Endpoint>,
    spec: &Spec,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for check in checks(table) {
        let Some(other) = check.other() else { continue };
        let (name, span) = (other.table.value.as_str(), other.table.span);
        let mut say = |message: String, hint: String| problems.push(Problem::new(span, message).hint(hint));
        let can_be = |endpoint: Option<&dyn Endpoint>| {
            endpoint.map_or(Ok(()), |endpoint| endpoint.check_name(&TableName::new(name)))
        };
        let can_be = match other.place {
            Place::Pipeline if !spec.has_all_tables || spec.tables.iter().any(|t| fits(&t.to.value, name)) => Ok(()),
            Place::Pipeline => {
                let known: Vec<&str> = spec.tables.iter().map(|t| t.to.value.as_str()).collect();
                let hint = closest(name, &known).unwrap_or_else(|| {
                    format!("it has {}; `in: source` and `in: target` look elsewhere", known.join(", "))
                });
                say(format!("the pipeline has no table `{name}`"), hint);
                Ok(())
            }
            Place::Target if spec.tables.iter().any(|t| !t.is_wildcard() && t.to.value == name) => {
                say(format!("`{name}` {LOADED_TOO}"), LEAVE_OUT_IN.to_string());
                Ok(())
            }
            Place::Source => can_be(source),
            Place::Target => can_be(target),
        };
        if let Err(reason) = can_be {
            problems.push(Problem::new(span, reason));
        } else if other.place != Place::Pipeline && TableSpec::plain(other.table).is_wildcard() {
            let problem = Problem::new(span, format!("`{name}` stands for several tables"));
            problems.push(problem.hint("name one table"));
        }
    }
    problems
}

/// Pins the tables that checks of the `wanted` ones look at and that are not wanted themselves.
pub(crate) async fn find(
    checked: &Checked,
    all: &[TableSpec],
    wanted: &[TableSpec],
    purpose: Purpose,
) -> Result<Vec<OtherInput>> {
    let mut found: Vec<OtherInput> = Vec::new();
    for check in wanted.iter().flat_map(checks) {
        let Some(other) = check.other() else { continue };
        let named = |tables: &[TableSpec]| tables.iter().find(|t| t.to.value == other.table.value).cloned();
        if found.iter().any(|known| known.is(&other)) || (other.place == Place::Pipeline && named(wanted).is_some()) {
            continue;
        }
        let table = match (other.place, named(all)) {
            (Place::Pipeline, None) => continue,
            (Place::Pipeline, Some(spec)) => input(checked, spec, purpose).await,
            (Place::Source, _) | (Place::Target, None) => as_it_stands(checked.held.at(other.place), other.table).await,
            (Place::Target, Some(_)) => Err(Error::config(format!("it {LOADED_TOO}")).hint(LEAVE_OUT_IN)),
        };
        // What only a person can change is said where the check stands, if the check is about the table at all.
        let table = match table {
            Err(error) if error.kind() != ErrorKind::Config => return Err(error),
            table => table,
        };
        found.push(OtherInput { place: other.place, table: other.table.value.clone(), found: table });
    }
    Ok(found)
}

/// Pins a table as it is, whatever a pipeline says of it.
pub(crate) async fn as_it_stands(endpoint: &Arc<dyn Endpoint>, name: &Spanned<String>) -> Result<TableInput> {
    let source = endpoint.source(&TableName::new(name.value.clone()), &ReadSpec::default()).await?;
    let spec = TableSpec::plain(name);
    Ok(TableInput { spec, source, state: None, has_rows_without_cursor: false, target: None, backfill: None })
}
