//! What else the catalogue knows of a table.

use transload_core::Result;
use transload_core::connector::{CatalogInfo, ColumnInfo, ForeignKeyInfo, IndexInfo};

use super::{Relation, RelationKind, get};
use crate::client::Client;
use crate::names::Name;

/// What the catalogue knows of a table beside its columns: for whoever looks for tables.
///
/// # Behavior
/// Three queries for a table, one for a view or a foreign table. What is dropped meanwhile is left out.
///
/// # Errors
/// As the server fails.
pub(crate) async fn info(client: &Client, relation: &Relation) -> Result<CatalogInfo> {
    let mut info = CatalogInfo {
        kind: relation.kind.shown().to_string(),
        columns: columns(relation),
        ..described(client, relation).await?
    };
    if !matches!(relation.kind, RelationKind::View | RelationKind::Foreign) {
        add_indexes(client, relation, &mut info).await?;
        info.foreign_keys = foreign_keys(client, relation.oid).await?;
    }
    Ok(info)
}

fn columns(relation: &Relation) -> Vec<ColumnInfo> {
    let columns = relation.columns.iter().map(|column| ColumnInfo {
        name: column.name.clone(),
        ty: column.shown.clone(),
        reason: column.reason.map(str::to_string),
        comment: column.comment.clone(),
    });
    columns.collect()
}

const DESCRIBED: &str = "
    SELECT pg_catalog.obj_description($1::pg_catalog.oid, 'pg_class'),
        pg_catalog.pg_get_partkeydef($1::pg_catalog.oid),
        pg_catalog.array_agg(n.nspname::pg_catalog.text), pg_catalog.array_agg(c.relname::pg_catalog.text)
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE i.inhparent = $1::pg_catalog.oid";

/// Its comment, and how it is divided.
async fn described(client: &Client, relation: &Relation) -> Result<CatalogInfo> {
    let rows = client.query(DESCRIBED, &[&relation.oid]).await?;
    let Some(row) = rows.first() else { return Ok(CatalogInfo::default()) };
    let schemas = get::<Option<Vec<String>>>(row, 2)?.unwrap_or_default();
    let tables = get::<Option<Vec<String>>>(row, 3)?.unwrap_or_default();
    let names = schemas.into_iter().zip(tables).map(|(schema, table)| Name { schema, table });
    let mut partitions: Vec<String> = names.map(|name| name.to_string()).collect();
    partitions.sort();
    Ok(CatalogInfo { comment: get(row, 0)?, partition_key: get(row, 1)?, partitions, ..CatalogInfo::default() })
}

/// A unique index tells rows apart if it is about all rows, and about columns themselves. That of a table which others
/// inherit from says nothing of their rows.
fn indexes_sql(version: u32) -> String {
    // Since 11 an index can have more columns than those that it is sorted by.
    let keys = if version >= 110_000 { "i.indnkeyatts" } else { "i.indnatts" };
    format!(
        "
    SELECT c.relname::pg_catalog.text, pg_catalog.pg_get_indexdef(i.indexrelid), i.indisprimary,
        i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class t ON t.oid = h.inhparent
            WHERE h.inhparent = i.indrelid AND t.relkind <> 'p'
        ),
        i.indimmediate,
        (
            SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.at)
            FROM pg_catalog.generate_series(0, {keys} - 1) k(at)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.at]
        )
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = $1::pg_catalog.oid"
    )
}

/// Its indexes, and the columns that tell its rows apart.
async fn add_indexes(client: &Client, relation: &Relation, info: &mut CatalogInfo) -> Result<()> {
    let is_set = |name: &String| relation.columns.iter().any(|c| c.name == *name && !c.nullable);
    for row in client.query(&indexes_sql(client.server().version), &[&relation.oid]).await? {
        let row = &row;
        let Some(definition) = get::<Option<String>>(row, 1)? else { continue };
        info.indexes.push(IndexInfo { name: get(row, 0)?, definition });
        let columns = get::<Option<Vec<String>>>(row, 5)?.unwrap_or_default();
        let (is_primary, is_key, is_immediate): (bool, bool, bool) = (get(row, 2)?, get(row, 3)?, get(row, 4)?);
        if !is_key || columns.is_empty() || !columns.iter().all(is_set) {
            continue;
        }
        match is_primary {
            true => info.primary_key = columns,
            false if is_immediate => info.unique.push(columns),
            false => {}
        }
    }
    info.indexes.sort_by(|a, b| a.name.cmp(&b.name));
    info.unique.retain(|columns| *columns != info.primary_key);
    info.unique.sort();
    info.unique.dedup();
    Ok(())
}

/// A key of a partitioned table is there once more for each partition, and so is one that points to such a table.
fn foreign_keys_sql(version: u32) -> String {
    // Before 11 partitioned tables had none.
    let own = match version >= 110_000 {
        true => {
            "AND NOT EXISTS (
                SELECT 1 FROM pg_catalog.pg_constraint p WHERE p.oid = f.conparentid AND p.conrelid = f.conrelid
            )"
        }
        false => "",
    };
    let names = |columns: &str, table: &str| {
        format!(
            "(
            SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.at)
            FROM pg_catalog.unnest({columns}) WITH ORDINALITY k(attnum, at)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = {table} AND a.attnum = k.attnum
        )"
        )
    };
    let (from, to) = (names("f.conkey", "f.conrelid"), names("f.confkey", "f.confrelid"));
    format!(
        "
    SELECT f.conname::pg_catalog.text, n.nspname::pg_catalog.text, t.relname::pg_catalog.text, {from}, {to}
    FROM pg_catalog.pg_constraint f JOIN pg_catalog.pg_class t ON t.oid = f.confrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    WHERE f.conrelid = $1::pg_catalog.oid AND f.contype = 'f' {own}"
    )
}

async fn foreign_keys(client: &Client, table: u32) -> Result<Vec<ForeignKeyInfo>> {
    let rows = client.query(&foreign_keys_sql(client.server().version), &[&table]).await?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        keys.push(ForeignKeyInfo {
            name: get(row, 0)?,
            to: Name { schema: get(row, 1)?, table: get(row, 2)? }.shown(),
            columns: get::<Option<Vec<String>>>(row, 3)?.unwrap_or_default(),
            to_columns: get::<Option<Vec<String>>>(row, 4)?.unwrap_or_default(),
        });
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(keys)
}
