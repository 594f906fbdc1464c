//! Columns whose values stand in the names of folders.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::ScalarValue;
use object_store::path::Path;
use transload_core::connector::{DECLARED_TYPE, Transform};
use transload_core::{Error, LogicalType, Result};

use crate::guess::guess;
use crate::layout::{typed, values_in_path};
use crate::listing::Found;
use crate::parquet::read_as;
use crate::rows;

/// Columns whose values stand in the names of folders.
#[derive(Default)]
pub(crate) struct FolderColumns {
    pub(crate) fields: Vec<FieldRef>,
    /// The types of the fields.
    types: Vec<LogicalType>,
    /// What the values are meant as, which the types are where a manifest says it.
    meant: Vec<LogicalType>,
}

impl FolderColumns {
    /// Those of a table: by the manifest where there is one, by guessing otherwise.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the files of the table are not all in such folders.
    pub(crate) fn of(found: &Found) -> Result<Self> {
        let mut out = Self::default();
        if let Some(manifest) = &found.manifest {
            for partition in manifest.partition_by.iter().filter(|p| p.transform == Transform::Identity) {
                if let Some(column) = manifest.columns.iter().find(|c| c.name == partition.column) {
                    out.fields.push(read_as(&column.ty.to_field(&column.name, column.nullable)));
                    out.types.push(column.ty.clone());
                    out.meant.push(column.ty.clone());
                }
            }
            return Ok(out);
        }
        let values = |path: &str| values_in_path(below_root(path, &found.root)).map_err(|e| e.with("path", path));
        let paths: Vec<_> = found.files.iter().map(|f| values(f.location.as_ref())).collect::<Result<_>>()?;
        // The deepest path names every level there is; it need not be the first one.
        let Some(deepest) = paths.iter().max_by_key(|p| p.len()) else { return Ok(out) };
        for (i, (name, _)) in deepest.iter().enumerate() {
            let mut values = Vec::new();
            for (path, file) in paths.iter().zip(&found.files) {
                match path.get(i) {
                    Some((other, value)) if other == name => values.extend(value.as_deref()),
                    _ => {
                        return Err(Error::config(format!("not all files of the table are in a folder `{name}=…`"))
                            .with("path", file.location.to_string())
                            .hint("give all files the same levels of folders, or read them as separate tables"));
                    }
                }
            }
            let ty = guess(values);
            let field = Field::new(name, DataType::Utf8View, true)
                .with_metadata([(DECLARED_TYPE.to_string(), ty.to_string())].into());
            out.fields.push(Arc::new(field));
            out.types.push(LogicalType::Text);
            out.meant.push(ty);
        }
        Ok(out)
    }

    /// The same columns as texts, for formats whose values are all texts.
    pub(crate) fn as_texts(&self) -> Vec<FieldRef> {
        let columns = self.fields.iter().zip(&self.meant);
        columns.map(|(field, ty)| rows::column(field.name(), &LogicalType::Text, ty)).collect()
    }

    /// Whether there is a column of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name() == name)
    }

    /// Refuses a file that has a column of its own which the names of its folders give too.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if it has.
    pub(crate) fn are_not_in(&self, schema: &Schema) -> Result<()> {
        match schema.fields().iter().find(|field| self.has(field.name())) {
            Some(twice) => {
                let name = twice.name();
                Err(Error::config(format!("the file has a column `{name}`, and so do the folders `{name}=…`"))
                    .hint(format!("rename `{name}` in one of the two: either value could be the right one")))
            }
            None => Ok(()),
        }
    }

    /// The values for a file, by its path.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if one is not of its type.
    pub(crate) fn values(&self, path: &str, found: &Found) -> Result<Vec<ScalarValue>> {
        let named = |e: Error| e.with("path", path);
        let values = values_in_path(below_root(path, &found.root)).map_err(named)?;
        let value = |(field, ty): (&FieldRef, &LogicalType)| {
            let value = values.iter().find(|(name, _)| name == field.name()).and_then(|(_, v)| v.as_deref());
            typed(value, ty, field.data_type()).map_err(named)
        };
        self.fields.iter().zip(&self.types).map(value).collect()
    }
}

/// A path below the table's folder.
pub(crate) fn below_root<'a>(path: &'a str, root: &Path) -> &'a str {
    path.strip_prefix(root.as_ref()).unwrap_or(path).trim_start_matches('/')
}
