//! Files of text with gaps.

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use transload_core::{Error, Result};

/// Fills the gaps of a template.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if it does not fit what is put in.
pub(crate) fn fill<T: Serialize>(name: &str, template: &str, with: &T) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_keep_trailing_newline(true);
    environment
        .render_named_str(name, template, with)
        .map_err(|e| Error::internal(format!("{name} cannot be made")).because(e))
}
