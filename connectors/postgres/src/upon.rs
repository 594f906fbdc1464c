//! What others have built upon a table, and would lose with it.

use transload_core::{Error, Result};

use crate::catalog::get;
use crate::client::Client;
use crate::target::GENERATES;

/// Whether a table is as it was made here, so that nothing is lost with it: no view, index, constraint, trigger, rule,
/// policy, comment, statistics, partition, or publication needs it or belongs to it, it has neither defaults nor settings of
/// its own, and its owner and its grants are those of the table in which rows are staged, `staging`, if that is there.
pub(crate) async fn is_as_it_was_made(client: &Client, oid: u32, staging: &str) -> Result<bool> {
    let generated = if client.server().version >= GENERATES { " OR a.attgenerated <> ''" } else { "" };
    let sql = format!(
        "SELECT c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relispartition AND NOT c.relrowsecurity \
         AND NOT c.relforcerowsecurity AND c.reloftype = 0 AND c.relreplident = 'd' AND c.reloptions IS NULL \
         AND (s.oid IS NULL OR (c.reltablespace = s.reltablespace AND c.relowner = s.relowner AND c.relam = s.relam \
           AND c.relacl::text IS NOT DISTINCT FROM s.relacl::text)) \
         AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid) \
         AND NOT EXISTS (SELECT FROM pg_description d WHERE d.classoid = 'pg_class'::regclass AND d.objoid = c.oid) \
         AND NOT EXISTS (SELECT FROM pg_seclabel d WHERE d.classoid = 'pg_class'::regclass AND d.objoid = c.oid) \
         AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = c.oid \
           AND a.attnum > 0 AND NOT a.attisdropped AND (a.attacl IS NOT NULL OR a.attoptions IS NOT NULL OR a.atthasdef \
           OR a.attidentity <> '' OR a.attcollation <> t.typcollation OR a.attstorage <> t.typstorage \
           OR coalesce(a.attstattarget, -1) <> -1{generated})) \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid \
           AND NOT (d.classid = 'pg_type'::regclass AND d.objid = c.reltype) \
           AND NOT (d.classid = 'pg_class'::regclass AND d.objid = c.reltoastrelid) \
           AND NOT (d.classid = 'pg_constraint'::regclass \
             AND EXISTS (SELECT FROM pg_constraint n WHERE n.oid = d.objid AND n.contype = 'n'))) \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype \
           AND NOT (d.classid = 'pg_type'::regclass AND d.deptype = 'i')) \
         FROM pg_class c LEFT JOIN pg_class s ON s.oid = to_regclass($2) WHERE c.oid = $1"
    );
    let rows = client.query(&sql, &[&oid, &staging]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// Refuses a table whose rows cannot go without changing those of others, or, if `own` is set, others of itself.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config), by the name of the constraint.
pub(crate) async fn refuse_cascades(client: &Client, oid: u32, own: bool) -> Result<()> {
    let sql = format!(
        "{PARTS} SELECT c.conname::text, c.conrelid::regclass::text FROM pg_constraint c \
         WHERE c.contype = 'f' AND c.confdeltype IN ('c', 'n', 'd') AND c.confrelid IN (SELECT oid FROM parts) \
         AND ($2 OR c.conrelid NOT IN (SELECT oid FROM parts)) ORDER BY 2, 1 LIMIT 1"
    );
    let rows = client.query(&sql, &[&oid, &own]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (constraint, table): (String, String) = (get(row, 0)?, get(row, 1)?);
    let said = format!("rows of {table} would go or change with those that are replaced: it refers to the table");
    Err(Error::config(said)
        .with("constraint", constraint)
        .hint("use `mode: append`, or let the constraint have no ON DELETE action"))
}

/// Whether a table can be emptied at once: nobody refers to it, and the right to do so is there.
pub(crate) async fn takes_truncate(client: &Client, oid: u32) -> Result<bool> {
    let sql = format!(
        "{PARTS} SELECT has_table_privilege($1, 'TRUNCATE') AND NOT EXISTS (SELECT FROM pg_constraint c \
         WHERE c.contype = 'f' AND c.confrelid IN (SELECT oid FROM parts) AND c.conrelid NOT IN (SELECT oid FROM parts))"
    );
    let rows = client.query(&sql, &[&oid]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// Whether something of a table may keep rows from being deleted from it without an error.
pub(crate) async fn may_keep_rows(client: &Client, oid: u32) -> Result<bool> {
    // A trigger for each row (1), before (2) it is deleted (8).
    let sql = format!(
        "{PARTS} SELECT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid IN (SELECT oid FROM parts) AND NOT g.tgisinternal \
         AND g.tgenabled <> 'D' AND g.tgtype & 11 = 11) \
         OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class IN (SELECT oid FROM parts) AND r.ev_type = '4')"
    );
    let rows = client.query(&sql, &[&oid]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// Whether rows of a table that have one of the keys that come are changed in place: other rows refer to them, so that they
/// cannot go for a moment, and an index says that there is one of each key.
pub(crate) async fn is_changed_in_place(client: &Client, oid: u32, key: &[String]) -> Result<bool> {
    let sql = format!(
        "{PARTS} SELECT has_table_privilege($1, 'UPDATE') \
         AND EXISTS (SELECT FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid IN (SELECT oid FROM parts) \
           AND NOT (c.condeferrable AND c.confdeltype = 'a')) \
         AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid \
           AND i.indpred IS NULL AND i.indexprs IS NULL \
           AND NOT EXISTS (SELECT FROM generate_subscripts(i.indcollation, 1) n \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n] \
             WHERE a.attname::text <> ALL ($2) OR a.attcollation <> i.indcollation[n])) \
         AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $1 AND a.attidentity = 'a') \
         AND EXISTS (SELECT FROM pg_class c WHERE c.oid = $1 AND (c.relkind = 'p' \
           OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid)))"
    );
    let rows = client.query(&sql, &[&oid, &key]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// A table, and those that inherit from it or are its partitions.
const PARTS: &str = "WITH RECURSIVE parts(oid) AS (SELECT $1::oid UNION \
                     SELECT i.inhrelid FROM pg_inherits i JOIN parts p ON p.oid = i.inhparent)";
