//! What tables are called in the target.

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
        let reason = check_name(target, &TableName::new(table.to.value.as_str())).err()?;
        let hint = format!("leave `{}` out with `except`, and give it an entry with another `to`", table.from.value);
        Some(Problem::new(table.to.span, reason).hint(hint))
    };
    tables.iter().filter_map(problem).collect()
}
