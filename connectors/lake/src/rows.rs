//! What CSV and JSON lines have in common: rows that stand in lines, of which some cannot be read.
//!
//! No value is interpreted. Whatever type a column has, its values are texts here, and the type, declared or guessed,
//! travels as field metadata; the planner casts from text under the rulebook, where a value that does not fit has a policy
//! and a count.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use object_store::path::Path;
use transload_core::connector::{DECLARED_TYPE, FAULT_COLUMN, RAW_COLUMN, hidden, is_hidden};
use transload_core::{Error, LogicalType, Result};

use crate::csv::MAX_RECORD;
use crate::layout::values_in_path;
use crate::parquet::PinnedObject;

/// Bytes of the file after which a batch ends, however few its rows are.
pub(crate) const BATCH_BYTES: usize = 16 << 20;

/// Where a file has a column of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its own rows, at this place.
    Own(usize),
    /// In the name of a folder.
    Folder(Option<String>),
    Nowhere,
    Fault,
    Raw,
}

/// A column whose values are `stored` in one way and meant as another type.
pub(crate) fn column(name: &str, stored: &LogicalType, ty: &LogicalType) -> FieldRef {
    let field = stored.to_field(name, true);
    if stored == ty {
        return Arc::new(field);
    }
    let mut metadata = field.metadata().clone();
    metadata.insert(DECLARED_TYPE.to_string(), ty.to_string());
    Arc::new(field.with_metadata(metadata))
}

/// What is said about the lines that rows stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// Nothing.
    None,
    /// The lines themselves, where the rows do not tell all that stands in them.
    Lines,
    /// The lines themselves, and what is wrong with bad ones.
    Faults,
}

/// The columns of a table: those of its rows, those of its folders, which are text, and those that say something about
/// lines.
pub(crate) fn schema(mut own: Vec<FieldRef>, folders: &[FieldRef], marks: Marks) -> SchemaRef {
    own.extend(folders.iter().cloned());
    if marks != Marks::None {
        own.push(Arc::new(hidden(Field::new(RAW_COLUMN, DataType::Utf8, true))));
    }
    if marks == Marks::Faults {
        own.push(Arc::new(hidden(Field::new(FAULT_COLUMN, DataType::Utf8, true))));
    }
    Arc::new(Schema::new(own))
}

/// Where a file has each of the table's columns. `own` are the names in its rows, `root` is the table's folder.
pub(crate) fn places(schema: &Schema, own: &[String], object: &PinnedObject, root: &Path) -> Result<Vec<Place>> {
    let location = object.meta.location.as_ref();
    let values = values_in_path(location.strip_prefix(root.as_ref()).unwrap_or(location))
        .map_err(|e| e.with("path", location))?;
    let place = |field: &FieldRef| match (field.name().as_str(), is_hidden(field)) {
        (FAULT_COLUMN, true) => Place::Fault,
        (_, true) => Place::Raw,
        (name, false) => match (own.iter().position(|n| n == name), values.iter().find(|(n, _)| n == name)) {
            (Some(at), _) => Place::Own(at),
            (None, Some((_, value))) => Place::Folder(value.clone()),
            (None, None) => Place::Nowhere,
        },
    };
    Ok(schema.fields().iter().map(place).collect())
}

/// What the quarantine says about a line.
pub(crate) fn fault(line: u64, reason: &str) -> String {
    format!("line {line}: {reason}")
}

/// Refuses to write a row that would be too long to be read.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if it is.
pub(crate) fn can_be_read(length: usize, title: &str) -> Result<()> {
    match length < MAX_RECORD {
        true => Ok(()),
        false => {
            Err(Error::config(format!("a row takes {length} bytes as {title}, and {MAX_RECORD} would not be read"))
                .hint("write Parquet or Avro"))
        }
    }
}

/// A line that stops the load. `format` is the word of the options that could put it aside.
pub(crate) fn unreadable(line: u64, reason: &str, format: &str) -> Error {
    Error::config(format!("a line cannot be read: {reason}"))
        .with("line", line.to_string())
        .hint(format!("repair the file, or set `{format}.on_bad_line: quarantine`"))
}
