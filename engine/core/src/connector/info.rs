//! What is known of a table that was found.

use arrow::datatypes::FieldRef;
use schemars::JsonSchema;
use serde::Serialize;

use super::{DECLARED_TYPE, Source, is_hidden};
use crate::name::TableName;
use crate::types::LogicalType;
use crate::value::Pin;

/// A table that was found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TableInfo {
    /// Its name.
    pub name: TableName,
    /// Its format, where that means something.
    pub format: String,
    /// Column names, types and whether NULL is possible.
    pub columns: Vec<(String, LogicalType, bool)>,
    /// Number of rows, if known without reading.
    pub rows: Option<u64>,
    /// About how many rows it has, if only some of its files were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// Size in bytes, if known.
    pub bytes: Option<u64>,
    /// Number of files, if it has any.
    pub files: Option<u64>,
    /// What else its system knows of it, if that is a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<CatalogInfo>,
}

/// What a database knows of a table beside its columns and its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CatalogInfo {
    /// Such as `table`, `view`, `partitioned table`.
    pub kind: String,
    /// What somebody has said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// About how many rows it has, as the database last counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// The columns that have a comment, a default or a type that means more than the one they are read as.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnInfo>,
    /// The columns of the primary key, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// Other columns that identify a row, and are never NULL: those of unique indexes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<Vec<String>>,
    /// Indexes, sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<IndexInfo>,
    /// Foreign keys, sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<ForeignKeyInfo>,
    /// What its partitions are made by, as the database says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Its partitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<String>,
}

/// What a database knows of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type, in the words of the database.
    #[serde(rename = "type")]
    pub ty: String,
    /// Why it is read as the type that it is read as, if that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What somebody has said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// An index of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IndexInfo {
    /// Its name.
    pub name: String,
    /// How it is made, as the database says it.
    pub definition: String,
}

/// Columns whose values are keys of another table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ForeignKeyInfo {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The other table.
    pub to: TableName,
    /// The columns there.
    pub to_columns: Vec<String>,
}

impl TableInfo {
    /// About how many rows it has, if that is known without reading: as counted, or else by some of its files, or as its
    /// database estimates.
    pub fn about_rows(&self) -> Option<u64> {
        self.rows.or(self.estimated_rows).or_else(|| self.catalog.as_ref()?.estimated_rows)
    }

    /// What an open table says about itself.
    pub fn of(name: TableName, source: &dyn Source) -> Self {
        let (format, bytes, files) = match source.pin() {
            Pin::Formula(_) => ("generated", None, None),
            Pin::Version(_) | Pin::Snapshot(_) => ("versions", source.splits().iter().map(|s| s.bytes).sum(), None),
            Pin::Files(files) => {
                let path = files.first().map_or("", |f| f.path.as_str());
                let unpacked = [".gz", ".zst"].into_iter().find_map(|packed| path.strip_suffix(packed));
                let ending = unpacked.unwrap_or(path).rsplit_once('.').map_or("", |(_, ending)| ending);
                (ending, Some(files.iter().map(|f| f.size).sum::<u64>()), Some(files.len() as u64))
            }
        };
        let ty = |f: &FieldRef| {
            let declared = f.metadata().get(DECLARED_TYPE).and_then(|t| t.parse::<LogicalType>().ok());
            declared.or_else(|| LogicalType::of(f))
        };
        let rows: Option<u64> = source.splits().iter().map(|s| s.rows).sum();
        Self {
            name,
            format: format.to_string(),
            columns: source
                .schema()
                .fields()
                .iter()
                .filter(|f| !is_hidden(f))
                .filter_map(|f| Some((f.name().clone(), ty(f)?, f.is_nullable())))
                .collect(),
            rows,
            estimated_rows: source.estimated_rows().filter(|_| rows.is_none()),
            bytes,
            files,
            catalog: None,
        }
    }
}
