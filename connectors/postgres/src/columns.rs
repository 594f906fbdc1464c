//! The columns of rows that are written, and the SQL that makes and names them.

use arrow::datatypes::Schema;
use sha2::{Digest, Sha256};
use transload_core::connector::{DELETED_COLUMN, WriteMode, WriteSpec, hidden_column};
use transload_core::{Error, LogicalType, Result};

use crate::encode::Wire;
use crate::names::quote;
use crate::types::ddl;

/// The most columns of a table.
const MOST: usize = 1600;

/// The most bytes of a name.
const LONGEST: usize = 63;

/// The columns that every table has for itself.
const SYSTEM: [&str; 6] = ["ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"];

/// A column of rows that are written.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: LogicalType,
    /// Its type in SQL, where it is made.
    pub(crate) sql: String,
    /// How its values are sent.
    pub(crate) wire: Wire,
    pub(crate) nullable: bool,
}

/// All of them, as rows are staged.
#[derive(Debug)]
pub(crate) struct Columns {
    all: Vec<Column>,
    /// Where the one is that tells delete markers from other rows.
    marks: Option<usize>,
    /// The names of the key's.
    key: Vec<String>,
}

impl Columns {
    /// The columns of a schema. Those of no table at all are fine: nothing can be staged then.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a name or a type that no column of the server has, and for a key that
    /// is not among them or cannot be compared.
    pub(crate) fn of(schema: &Schema, spec: &WriteSpec) -> Result<Self> {
        let fields = schema.fields();
        if fields.len() > MOST {
            let said = format!("a table of PostgreSQL has at most {MOST} columns, and the rows have {}", fields.len());
            return Err(Error::config(said).hint("leave columns out with `drop: true`, or make two tables of them"));
        }
        let mut all = Vec::with_capacity(fields.len());
        for field in fields {
            let named = |error: Error| error.with("column", field.name());
            check_name(field.name()).map_err(named)?;
            let ty = LogicalType::of(field).ok_or_else(|| {
                let said = format!("values laid out as {} have no type", field.data_type());
                named(Error::config(said).hint("leave the column out with `drop: true`"))
            })?;
            let sql = ddl(&ty).map_err(named)?;
            let wire = Wire::of(&ty).filter(|wire| wire.is_taken_by(&sql));
            let wire = wire.ok_or_else(|| named(Error::internal(format!("{ty} cannot be sent as {sql}"))))?;
            all.push(Column { name: field.name().clone(), ty, sql, wire, nullable: field.is_nullable() });
        }
        let columns = Self { all, marks: hidden_column(schema, DELETED_COLUMN), key: spec.key.clone() };
        if spec.mode == WriteMode::Merge && !columns.is_empty() {
            columns.check_key()?;
        }
        Ok(columns)
    }

    fn check_key(&self) -> Result<()> {
        if self.key.is_empty() {
            return Err(Error::config("rows cannot be merged without a key").hint("name its columns in `key`"));
        }
        for name in &self.key {
            match self.rows().find(|column| column.name == *name) {
                None => return Err(Error::config("the key has a column that the rows lack").with("column", name)),
                Some(Column { ty: LogicalType::Json, .. }) => {
                    return Err(Error::config("PostgreSQL does not compare values of json, so they can be no key")
                        .with("column", name)
                        .hint("cast the column to text"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// As they are staged.
    pub(crate) fn all(&self) -> &[Column] {
        &self.all
    }

    /// As the table has them.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Column> {
        self.all.iter().enumerate().filter(|(at, _)| Some(*at) != self.marks).map(|(_, column)| column)
    }

    /// Where the column is that tells delete markers from other rows.
    pub(crate) fn marks(&self) -> Option<usize> {
        self.marks
    }

    /// The names of the key's columns.
    pub(crate) fn key(&self) -> &[String] {
        &self.key
    }

    /// Whether the value of a column is kept of a delete marker.
    pub(crate) fn is_kept_of_markers(&self, at: usize) -> bool {
        Some(at) == self.marks || self.all.get(at).is_some_and(|column| self.key.contains(&column.name))
    }

    /// How the table is made.
    pub(crate) fn definitions(&self) -> String {
        join(self.rows().map(|column| definition(column, column.nullable)))
    }

    /// How the table is made in which rows are staged.
    pub(crate) fn staged_definitions(&self) -> String {
        let marked = self.marks.is_some();
        join(
            self.all
                .iter()
                .enumerate()
                .map(|(at, column)| definition(column, column.nullable || (marked && !self.is_kept_of_markers(at)))),
        )
    }

    /// The names of the table's columns.
    pub(crate) fn names(&self) -> String {
        join(self.rows().map(|column| quote(&column.name)))
    }

    /// The names of the columns that are staged.
    pub(crate) fn staged_names(&self) -> String {
        join(self.all.iter().map(|column| quote(&column.name)))
    }

    /// Whether a row that is staged, `s`, is a delete marker, as SQL; `None` if there are none.
    pub(crate) fn is_marker(&self) -> Option<String> {
        self.marks.and_then(|at| self.all.get(at)).map(|marks| format!("s.{}", quote(&marks.name)))
    }

    /// Whether it belongs into the table, as SQL.
    pub(crate) fn is_kept(&self) -> String {
        self.is_marker().map_or_else(|| "true".to_string(), |is_marker| format!("NOT {is_marker}"))
    }

    /// A short text that is another one for other columns.
    pub(crate) fn signature(&self) -> String {
        hex(&self.staged_definitions())
    }
}

fn definition(column: &Column, nullable: bool) -> String {
    let not_null = if nullable { "" } else { " NOT NULL" };
    format!("{} {}{not_null}", quote(&column.name), column.sql)
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Sixteen hexadecimal digits that stand for a text.
pub(crate) fn hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn check_name(name: &str) -> Result<()> {
    let wrong = match name {
        "" => "it is empty".to_string(),
        name if name.contains('\0') => "it has a zero byte".to_string(),
        name if name.len() > LONGEST => format!("it has {} bytes, and names have at most {LONGEST}", name.len()),
        name if SYSTEM.contains(&name) => "every table has such a column for itself".to_string(),
        _ => return Ok(()),
    };
    Err(Error::config(format!("the name cannot be that of a column in PostgreSQL: {wrong}"))
        .hint("give the column another name with `rename`"))
}

#[cfg(test)]
pub(crate) mod tests {
    use arrow::datatypes::{DataType, Field};
    use transload_core::connector::{Expected, hidden};
    use transload_core::{Clock, CommitKey, RunId, TableName};

    use super::*;

    /// How rows of a key are written.
    pub(crate) fn spec(mode: WriteMode, key: &[&str]) -> WriteSpec {
        WriteSpec {
            commit: CommitKey::new(&RunId::new(&Clock::system()), &TableName::new("t")),
            mode,
            partition_by: Vec::new(),
            expected: Expected::Anything,
            key: key.iter().map(ToString::to_string).collect(),
        }
    }

    fn id() -> Field {
        Field::new("id", DataType::Int64, false)
    }

    fn refused(field: Field) -> Error {
        let schema = Schema::new(vec![id(), field]);
        Columns::of(&schema, &spec(WriteMode::Replace, &[])).unwrap_err()
    }

    #[test]
    fn a_table_is_made_of_quoted_names_and_types() {
        let odd = Field::new("a \"b\"", DataType::Utf8View, true);
        let columns = Columns::of(&Schema::new(vec![id(), odd]), &spec(WriteMode::Append, &[])).unwrap();
        assert_eq!(columns.definitions(), r#""id" bigint NOT NULL, "a ""b""" text"#);
        assert_eq!((columns.staged_definitions(), columns.is_marker()), (columns.definitions(), None));
        assert_eq!(columns.is_kept(), "true");
        assert_eq!(columns.names(), r#""id", "a ""b""""#);
    }

    #[test]
    fn of_delete_markers_the_key_is_staged_and_no_other_value() {
        let value = Field::new("value", DataType::Float64, false);
        let mark = hidden(Field::new(DELETED_COLUMN, DataType::Boolean, false));
        let columns = Columns::of(&Schema::new(vec![id(), value, mark]), &spec(WriteMode::Merge, &["id"])).unwrap();
        assert_eq!(columns.definitions(), r#""id" bigint NOT NULL, "value" double precision NOT NULL"#);
        let staged = r#""id" bigint NOT NULL, "value" double precision, "_transload_deleted" boolean NOT NULL"#;
        assert_eq!(columns.staged_definitions(), staged);
        assert_eq!(columns.is_kept(), r#"NOT s."_transload_deleted""#);
        assert_eq!((0..3).map(|at| columns.is_kept_of_markers(at)).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn a_column_that_cannot_be_is_refused_by_its_name() {
        for name in ["", "a\0b", "ctid", "ä".repeat(32).as_str()] {
            let error = refused(Field::new(name, DataType::Int32, true));
            assert!(error.hint_text().is_some());
            assert_eq!(error.context(), [("column", name.to_string())]);
        }
        let pair = DataType::Struct(vec![Field::new("a", DataType::Int32, true)].into());
        assert_eq!(refused(Field::new("pair", pair, true)).context(), [("column", "pair".to_string())]);
        let many = (0..=MOST).map(|at| Field::new(format!("c{at}"), DataType::Int32, true)).collect::<Vec<_>>();
        let error = Columns::of(&Schema::new(many), &spec(WriteMode::Append, &[])).unwrap_err();
        assert!(error.message().contains("1600"), "{error}");
    }

    #[test]
    fn a_key_has_to_be_there_and_to_compare() {
        let merged = |fields: Vec<Field>, key: &[&str]| Columns::of(&Schema::new(fields), &spec(WriteMode::Merge, key));
        merged(vec![id()], &["id"]).unwrap();
        // Nothing is staged here.
        merged(Vec::new(), &["id"]).unwrap();
        merged(vec![id()], &[]).unwrap_err();
        merged(vec![id()], &["other"]).unwrap_err();
        let json = LogicalType::Json.to_field("doc", false);
        merged(vec![id(), json], &["id", "doc"]).unwrap_err();
    }
}
