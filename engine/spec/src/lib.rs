//! From YAML text to a [`Spec`]: what a person wrote, checked as far as that is possible without
//! looking at any data.
//!
//! The way: `yaml` turns text into a spanned tree under tight budgets; the decoder in
//! `transload_core` turns the tree into the structs of [`mod@file`]; [`resolve`] layers archetype, pipeline,
//! environment, table and command line over each other, and `table` checks what only makes sense together.
//! Every problem found on the way is kept, and [`Problems`] shows them all with file, line and column.

pub mod alerts;
pub mod archetype;
pub mod file;
mod problems;
pub mod resolve;
pub mod schema;
mod table;
mod yaml;

pub use alerts::Alert;
pub use file::{CheckEntry, ColumnSettings, Mask, Mode, PartitionBy, ReconcileLevel, ReconcileSettings, Settings};
pub use problems::{Files, Problems};
pub use resolve::{Loaded, Outside, Overrides, Spec, TableSpec, check_name, fits, load};

/// Writes a value as a YAML document, which [`parse_document`] reads back as it was.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as YAML.
pub fn write_document<T: serde::Serialize>(value: &T) -> transload_core::Result<String> {
    yaml::write(value)
}

/// Reads any YAML document as a spanned tree, under the budgets of a pipeline.
///
/// # Errors
/// What is wrong with it, at its place.
pub fn parse_document(name: &str, text: &str) -> Result<(transload_core::Node, Files), Problems> {
    let mut files = Files::default();
    match files.parse(name, text) {
        Ok(node) => Ok((node, files)),
        Err(list) => Err(Problems::new(files, list)),
    }
}
