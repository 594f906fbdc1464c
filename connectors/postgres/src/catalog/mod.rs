//! What the server's catalogue says of tables. Every name is said with its schema, and what a person wrote is bound.

mod columns;
mod info;
mod parts;
mod types;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use transload_core::{PinnedPart, Result};

use crate::client::Client;
use crate::error::explain;
use crate::names::{Name, OWN};
use crate::options::Settings;
use crate::types::Column;

pub(crate) use info::info;

/// A table, or what is read like one.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) name: Name,
    /// Its number in the catalogue.
    pub(crate) oid: u32,
    pub(crate) kind: RelationKind,
    /// Its columns, in their order.
    pub(crate) columns: Vec<Column>,
    /// What its rows are read from: what holds them, or itself.
    pub(crate) parts: Vec<PinnedPart>,
    /// The numbers of the tables that hold its rows.
    pub(crate) holders: Vec<u32>,
    /// About how many rows it has, as the server's planner estimates it; `None` if it was never analysed.
    pub(crate) rows: Option<u64>,
    /// Its size without its indexes, if it is stored here.
    pub(crate) bytes: Option<u64>,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelationKind {
    Table,
    Partitioned,
    View,
    MaterializedView,
    Foreign,
}

impl RelationKind {
    /// That of a `relkind`; `None` if no rows are read from such a relation.
    fn of(relkind: &str) -> Option<Self> {
        Some(match relkind {
            "r" => Self::Table,
            "p" => Self::Partitioned,
            "v" => Self::View,
            "m" => Self::MaterializedView,
            "f" => Self::Foreign,
            _ => return None,
        })
    }

    /// For a person.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Partitioned => "partitioned table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Foreign => "foreign table",
        }
    }
}

/// Looks a table up, in the transaction that the client is in; `None` if there is none.
///
/// # Behavior
/// Three queries; one more if a column is money. Sizes are taken after the transaction's snapshot was: a part without pages
/// has no rows in it. A partition can be looked up like any table.
///
/// # Errors
/// As the server fails, and [`Transient`](transload_core::ErrorKind::Transient) if something that holds rows of the table was
/// dropped after the snapshot was taken. Of a table that was dropped itself nothing is found.
pub(crate) async fn relation(client: &Client, name: &Name, settings: &Settings) -> Result<Option<Relation>> {
    let Some(found) = columns::find(client, name).await? else { return Ok(None) };
    let types = types::load(client, found.oid).await?;
    let Some(parts) = parts::find(client, found.oid).await? else { return Ok(None) };
    let columns = found.columns.into_iter().map(|column| {
        let (kind, reason) = types.kind(column.oid, column.typmod, settings.special_values);
        Column {
            name: column.name,
            oid: column.oid,
            typmod: column.typmod,
            nullable: column.nullable,
            kind,
            shown: column.shown,
            reason,
            comment: column.comment,
        }
    });
    Ok(Some(Relation {
        name: name.clone(),
        oid: found.oid,
        kind: found.kind,
        columns: columns.collect(),
        parts: parts.parts,
        holders: parts.holders,
        rows: parts.rows,
        bytes: parts.bytes,
    }))
}

/// The names of the tables that may be read, in these schemas or in all but the system's, sorted as they are shown.
///
/// # Behavior
/// One query. Not among them are partitions, whose rows are those of their table; transload's own tables; tables of other
/// sessions; what the server could not read: materialized views without data, and unlogged tables on a replica.
///
/// # Errors
/// As the server fails.
pub(crate) async fn names(client: &Client, schemas: Option<&[String]>) -> Result<Vec<Name>> {
    let rows = client.query(NAMES, &[&schemas, &OWN]).await?;
    let mut names: Vec<Name> =
        rows.iter().map(|row| Ok(Name { schema: get(row, 0)?, table: get(row, 1)? })).collect::<Result<_>>()?;
    names.sort_by_cached_key(Name::shown);
    Ok(names)
}

const NAMES: &str = "
    SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relispopulated
        AND c.relpersistence <> 't' AND (c.relpersistence <> 'u' OR NOT pg_catalog.pg_is_in_recovery())
        AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND ($1::pg_catalog.text[] IS NULL OR n.nspname::pg_catalog.text = ANY ($1::pg_catalog.text[]))
        AND pg_catalog.left(c.relname::pg_catalog.text, pg_catalog.length($2::pg_catalog.text)) <> $2::pg_catalog.text
        AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')";

/// A value of a row.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T> {
    row.try_get(at).map_err(explain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_rows_is_a_table() {
        let shown: Vec<&str> =
            ["r", "p", "v", "m", "f"].iter().map(|kind| RelationKind::of(kind).unwrap().shown()).collect();
        assert_eq!(shown, ["table", "partitioned table", "view", "materialized view", "foreign table"]);
        // An index, a sequence, a type, a toast table.
        assert!(["i", "I", "S", "c", "t", ""].iter().all(|kind| RelationKind::of(kind).is_none()));
    }
}
