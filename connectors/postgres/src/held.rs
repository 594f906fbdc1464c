//! Tables that stay what they are while they are read.
//!
//! What the server's catalogue says to a transaction is as old as its snapshot, and so are rows. But names are looked up, and
//! files of tables opened, as they are now: under an old snapshot a table that took the place of another, or that was
//! truncated, has no rows, and a column that was made anew has values that were never there. So a table is locked first, and
//! then it is asked whether it is still the one that the snapshot sees.

use transload_core::{Error, PinnedPart, Result};

use crate::catalog::{Relation, RelationKind, get};
use crate::client::Client;
use crate::connections::is_in_use;
use crate::error::sqlstate;
use crate::names::{Name, quote};

/// Keeps others from changing more of a table than its rows, until the transaction ends.
///
/// # Errors
/// [`Transient`](transload_core::ErrorKind::Transient) if somebody else has locked it, or has changed it since the snapshot
/// was taken.
pub(crate) async fn hold(client: &Client, relation: &Relation) -> Result<()> {
    client.run(&lock(&relation.name, relation.kind)).await.map_err(|e| match is_in_use(&e) {
        true => e.hint("somebody changes the table right now: try again, or raise `lock_timeout_secs`"),
        false => e,
    })?;
    let is_same =
        is_unmoved(client, &relation.parts, &relation.holders).await? && has_its_types(client, relation).await?;
    match is_same {
        true => Ok(()),
        false => {
            Err(Error::transient("the table was changed, or made anew, after its snapshot was taken").hint("try again"))
        }
    }
}

/// What locks a table in the mode of those who only read.
fn lock(name: &Name, kind: RelationKind) -> String {
    let name = name.quoted();
    match kind {
        // With all that inherit from it.
        RelationKind::Table | RelationKind::Partitioned => format!("LOCK TABLE {name} IN ACCESS SHARE MODE"),
        // Others cannot be locked by name. Whoever plans to read locks all that would be read, and reads nothing.
        RelationKind::View | RelationKind::MaterializedView | RelationKind::Foreign => {
            format!("EXPLAIN SELECT FROM {name}")
        }
    }
}

/// Whether all that this transaction has locked has the files that its snapshot sees, the parts still have their names, and
/// the holders of rows are among what is locked.
const IS_UNMOVED: &str = "
    WITH locked AS (
        SELECT l.relation AS oid FROM pg_catalog.pg_locks l
        WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()
    )
    SELECT NOT EXISTS (
            SELECT 1 FROM locked JOIN pg_catalog.pg_class c ON c.oid = locked.oid
            WHERE c.oid >= 16384 AND c.relkind IN ('r', 'm')
                AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode
        ) AND NOT EXISTS (
            SELECT 1 FROM unnest($1::pg_catalog.oid[], $2::pg_catalog.text[]) part(oid, name)
            WHERE pg_catalog.to_regclass(part.name)::pg_catalog.oid IS DISTINCT FROM part.oid
        ) AND NOT EXISTS (
            SELECT 1 FROM unnest($3::pg_catalog.oid[]) holder(oid)
            WHERE holder.oid NOT IN (SELECT locked.oid FROM locked)
        )";

/// Whether parts are still what they were when the snapshot of this transaction was taken, and `holders` are locked by it.
pub(crate) async fn is_unmoved(client: &Client, parts: &[PinnedPart], holders: &[u32]) -> Result<bool> {
    let oids: Vec<u32> = parts.iter().map(|part| part.id).collect();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let rows = client.query(IS_UNMOVED, &[&oids, &names, &holders]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// Whether the columns have the types that the snapshot sees.
async fn has_its_types(client: &Client, relation: &Relation) -> Result<bool> {
    let seen: Vec<String> = relation.columns.iter().map(|column| column.oid.to_string()).collect();
    match client.value(&types(relation)).await {
        Ok(now) => Ok(now.unwrap_or_default() == seen.join(" ")),
        // There is no such column.
        Err(error) if sqlstate(&error) == Some("42703") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks for the types of the columns, and reads no row. Even so it locks the indexes, which nobody needs: it lets go of them.
fn types(relation: &Relation) -> String {
    let of = |name: &str| format!("pg_catalog.pg_typeof(own.{})::pg_catalog.oid", quote(name));
    let types: Vec<String> = relation.columns.iter().map(|column| of(&column.name)).collect();
    let only = match relation.kind {
        RelationKind::Table | RelationKind::Partitioned => "ONLY ",
        RelationKind::View | RelationKind::MaterializedView | RelationKind::Foreign => "",
    };
    let name = relation.name.quoted();
    let types = types.join(", ");
    format!(
        "SAVEPOINT asked; SELECT pg_catalog.array_to_string(ARRAY[{types}]::pg_catalog.oid[], ' ') \
         FROM (SELECT 1) one LEFT JOIN {only}{name} own ON false; \
         ROLLBACK TO SAVEPOINT asked; RELEASE SAVEPOINT asked"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Column, Kind};

    fn relation(kind: RelationKind) -> Relation {
        let column = |name: &str, oid| Column {
            name: name.to_string(),
            oid,
            typmod: -1,
            nullable: true,
            kind: Kind::Int4,
            shown: String::new(),
            reason: None,
            comment: None,
        };
        Relation {
            name: Name { schema: "s".to_string(), table: "t".to_string() },
            oid: 1,
            kind,
            columns: vec![column("a", 23), column("b\"c", 25)],
            parts: Vec::new(),
            holders: Vec::new(),
            rows: None,
            bytes: None,
        }
    }

    #[test]
    fn what_cannot_be_locked_by_name_is_locked_by_a_plan_to_read_it() {
        let of = |kind| lock(&relation(kind).name, kind);
        assert_eq!(of(RelationKind::Partitioned), "LOCK TABLE \"s\".\"t\" IN ACCESS SHARE MODE");
        for kind in [RelationKind::View, RelationKind::MaterializedView, RelationKind::Foreign] {
            assert_eq!(of(kind), "EXPLAIN SELECT FROM \"s\".\"t\"");
        }
    }

    #[test]
    fn types_are_asked_of_every_column_and_of_no_row() {
        let asked = "SELECT pg_catalog.array_to_string(ARRAY[pg_catalog.pg_typeof(own.\"a\")::pg_catalog.oid, \
             pg_catalog.pg_typeof(own.\"b\"\"c\")::pg_catalog.oid]::pg_catalog.oid[], ' ') \
             FROM (SELECT 1) one LEFT JOIN ONLY \"s\".\"t\" own ON false;";
        assert!(types(&relation(RelationKind::Table)).contains(asked), "{}", types(&relation(RelationKind::Table)));
        assert!(!types(&relation(RelationKind::View)).contains("ONLY"));
    }
}
