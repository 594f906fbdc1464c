//! Columns of a target that are text and meant as another type, such as the names of folders.
//!
//! The plan casts such columns of a source; here the same is done for a target, so that `2024` in the name of a folder
//! and the number 2024 are one value.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use transload_coerce::{Cast, Rulebook};
use transload_core::connector::DECLARED_TYPE;
use transload_core::{Error, LogicalType, Result};
use transload_plan::ColumnPlan;

/// The cast that reads a target's column as the type it is declared to have. `None` leaves it as it is: it is of the
/// declared type already, the plan wants text, or the rulebook refuses the cast.
pub(crate) fn reading(column: &ColumnPlan, field: &Field, rulebook: &Rulebook) -> Option<Cast> {
    let declared: LogicalType = field.metadata().get(DECLARED_TYPE)?.parse().ok()?;
    let stored = LogicalType::of(field)?;
    if stored == declared || stored == column.ty {
        return None;
    }
    Cast::new(rulebook, &stored, &declared)
}

/// The type that a target's column has for the comparison.
pub(crate) fn found_type(column: &ColumnPlan, field: &Field, rulebook: &Rulebook) -> Option<LogicalType> {
    use LogicalType::{Int, UInt};
    match (reading(column, field, rulebook), &column.ty) {
        // A declared whole number has no width of its own, and its hash does not depend on one.
        (Some(cast), Int(_) | UInt(_)) if matches!(cast.to(), Int(_)) => Some(column.ty.clone()),
        (Some(cast), _) => Some(cast.to().clone()),
        (None, _) => LogicalType::of(field),
    }
}

/// A column's values as they are compared.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if one is not of the declared type: as NULL, or rounded, it could match.
pub(crate) fn read(array: &ArrayRef, cast: Option<&Cast>, column: &str) -> Result<ArrayRef> {
    let Some(cast) = cast else { return Ok(Arc::clone(array)) };
    let done = cast.apply(array)?;
    match (done.misfits, done.changed) {
        (None, None) => Ok(done.array),
        _ => {
            let message = format!("a value of the target is not of type {}, as its column is declared", cast.to());
            Err(Error::config(message).with("column", column))
        }
    }
}
