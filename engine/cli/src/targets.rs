//! What tables are called in the target: names that it can have, and of each table one.

use std::collections::BTreeMap;

use transload_core::{Endpoint, Problem, TableName};
use transload_spec::TableSpec;

/// Whether a target can have a table of this name: it is one name, as patterns are for reading.
///
/// # Errors
/// A sentence that says why not.
pub(crate) fn check_name(target: &dyn Endpoint, name: &TableName) -> Result<(), String> {
    if name.is_pattern() {
        return Err(format!("`{name}` is a pattern, and a target needs a name"));
    }
    target.check_name(name)
}

/// What is wrong with the names that a `*` stands for, which are known only once the source has said what it has.
pub(crate) fn check_found(tables: &[TableSpec], target: &dyn Endpoint) -> Vec<Problem> {
    let problem = |table: &TableSpec| {
        let reason = check_name(target, &name(table)).err()?;
        let hint = format!("leave `{}` out with `except`, and give it an entry with another `to`", table.from.value);
        Some(Problem::new(table.to.span, reason).hint(hint))
    };
    tables.iter().filter_map(problem).chain(check_twins(tables.iter(), target)).collect()
}

/// Tables that go to one table of the target by different names: of two loads, one would be lost. Those with the same name
/// are told of elsewhere.
pub(crate) fn check_twins<'t>(tables: impl Iterator<Item = &'t TableSpec>, target: &dyn Endpoint) -> Vec<Problem> {
    let mut seen: BTreeMap<TableName, &TableSpec> = BTreeMap::new();
    let mut problems = Vec::new();
    for table in tables {
        let common = target.common_name(&name(table));
        if let Some(twin) = seen.get(&common).filter(|twin| twin.to.value != table.to.value) {
            let message = format!("two tables go to `{common}`");
            let (line, other) = (twin.to.span.line, &twin.to.value);
            let hint = format!("the other one is on line {line}, as `{other}`; give one of them another `to`");
            problems.push(Problem::new(table.to.span, message).hint(hint));
        }
        seen.entry(common).or_insert(table);
    }
    problems
}

fn name(table: &TableSpec) -> TableName {
    TableName::new(table.to.value.as_str())
}
