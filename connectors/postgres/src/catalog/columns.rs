//! A table and its columns.

use transload_core::Result;

use super::{RelationKind, get};
use crate::client::Client;
use crate::names::Name;

/// A table that was found by its name.
pub(super) struct Found {
    pub(super) oid: u32,
    pub(super) kind: RelationKind,
    pub(super) columns: Vec<FoundColumn>,
}

/// A column as the catalogue has it.
pub(super) struct FoundColumn {
    pub(super) name: String,
    /// Its type.
    pub(super) oid: u32,
    pub(super) typmod: i32,
    pub(super) nullable: bool,
    /// Its type in words.
    pub(super) shown: String,
    pub(super) comment: Option<String>,
}

/// A column is never NULL if that is so of every table that holds rows of it. Partitions keep the promise of their table,
/// but other tables that inherit need not, a foreign table's is kept by nobody, and since 18 one can be there that was not
/// checked yet. Of a view nothing is known, and a domain's promise ends at an outer join.
const COLUMNS: &str = "
    WITH RECURSIVE root AS (
        SELECT c.oid, c.relkind
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1::pg_catalog.name AND c.relname = $2::pg_catalog.name
            AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ), tree(oid) AS (
        SELECT oid FROM root
        UNION SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
    ), judge AS (
        SELECT c.oid, c.relkind FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid
        WHERE c.relkind = 'f' OR NOT c.relispartition OR c.oid = (SELECT oid FROM root)
    )
    SELECT root.oid, root.relkind::pg_catalog.text, a.attname::pg_catalog.text, a.atttypid, a.atttypmod,
        EXISTS (
            SELECT 1 FROM judge LEFT JOIN pg_catalog.pg_attribute own
                ON own.attrelid = judge.oid AND own.attname = a.attname
            WHERE judge.relkind = 'f' OR own.attnotnull IS DISTINCT FROM true OR EXISTS (
                SELECT 1 FROM pg_catalog.pg_constraint n
                WHERE n.conrelid = judge.oid AND n.contype = 'n' AND NOT n.convalidated AND own.attnum = ANY (n.conkey)
            )
        ),
        pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.col_description(root.oid, a.attnum)
    FROM root LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = root.oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

/// Finds a table; `None` if there is none.
pub(super) async fn find(client: &Client, name: &Name) -> Result<Option<Found>> {
    let rows = client.query(COLUMNS, &[&name.schema, &name.table]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let Some(kind) = RelationKind::of(get(first, 1)?) else { return Ok(None) };
    let mut columns = Vec::with_capacity(rows.len());
    for row in &rows {
        // A table without columns is one row without any.
        let Some(name) = get::<Option<String>>(row, 2)? else { continue };
        columns.push(FoundColumn {
            name,
            oid: get(row, 3)?,
            typmod: get(row, 4)?,
            nullable: get(row, 5)?,
            shown: get::<Option<String>>(row, 6)?.unwrap_or_default(),
            comment: get(row, 7)?,
        });
    }
    Ok(Some(Found { oid: get(first, 0)?, kind, columns }))
}
