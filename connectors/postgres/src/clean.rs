//! Removing what commits have staged that will not be made any more.

use chrono::DateTime;
use transload_core::connector::{CleanSpec, Orphan, OrphanKind};
use transload_core::{CommitKey, Result, fault};

use crate::catalog::get;
use crate::client::Client;
use crate::connections::{Connections, is_in_use};
use crate::error::sqlstate;
use crate::names::Name;
use crate::records::Records;
use crate::staging::{EACH_ANEW, Note, commit_turn, in_turn};

/// How long a table is waited for that somebody still writes to.
const PATIENCE_MILLIS: u32 = 1_000;

/// A table in which a commit has staged rows.
struct Left {
    /// The table itself.
    staging: Name,
    /// The one that its rows are for.
    table: Name,
    commit: String,
    orphan: Orphan,
}

/// Finds, and removes, tables in which rows were staged, and what is noted of them.
///
/// # Behavior
/// They are looked for in the schemas whose tables are listed and in that of bare names, and known by what they say of
/// themselves. One whose commit is under way, or that somebody writes to, stays.
///
/// # Errors
/// As the server fails. What was removed until then stays removed.
pub(crate) async fn clean(connections: &Connections, spec: &CleanSpec) -> Result<Vec<Orphan>> {
    let (client, settings) = (connections.take().await?, connections.settings());
    let schemas = settings.schemas.as_ref().map(|listed| {
        let mut schemas = listed.clone();
        schemas.push(settings.schema.clone());
        schemas
    });
    let mut cleaned = Vec::new();
    for left in find(&client, schemas.as_deref()).await? {
        if spec.takes(left.orphan.run.as_ref(), left.orphan.modified) && remove(&client, &left, spec.dry_run).await? {
            cleaned.push(left.orphan);
            if !spec.dry_run {
                fault::point("clean.removed")?;
            }
        }
    }
    cleaned.sort_by(|a, b| (&a.table, &a.path).cmp(&(&b.table, &b.path)));
    Ok(cleaned)
}

/// All such tables.
async fn find(client: &Client, schemas: Option<&[String]>) -> Result<Vec<Left>> {
    let sql = "SELECT n.nspname::text, c.relname::text, obj_description(c.oid, 'pg_class'), pg_total_relation_size(c.oid) \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind = 'r' AND c.relname ~ '^_transload_[0-9a-f]{16}$' AND n.nspname !~ '^pg_' \
               AND ($1::text[] IS NULL OR n.nspname::text = ANY ($1::text[])) \
               AND pg_has_role(c.relowner, 'USAGE') ORDER BY 1, 2";
    let mut found = Vec::new();
    for row in client.query(sql, &[&schemas]).await? {
        let (schema, name): (String, String) = (get(&row, 0)?, get(&row, 1)?);
        let comment: Option<String> = get(&row, 2)?;
        let Some(note) = comment.and_then(|comment| Note::read(&comment)) else { continue };
        let staged = Records::of(&schema).last_staged(client, &note.commit).await?;
        let table = Name { schema: schema.clone(), table: note.table };
        let Some(modified) = DateTime::from_timestamp_micros(staged.unwrap_or(note.made).max(note.made)) else {
            continue;
        };
        let orphan = Orphan {
            table: table.shown(),
            path: name.clone(),
            what: OrphanKind::Staged,
            run: CommitKey::run_of(&note.commit),
            // Of a table that went meanwhile there is none.
            bytes: get::<Option<i64>>(&row, 3)?.and_then(|bytes| u64::try_from(bytes).ok()),
            modified,
        };
        found.push(Left { staging: Name { schema, table: name }, table, commit: note.commit, orphan });
    }
    Ok(found)
}

/// Removes a table and what is noted of its rows. `false` if it is in use, and stays, or is gone.
async fn remove(client: &Client, left: &Left, only_look: bool) -> Result<bool> {
    client.begin(EACH_ANEW).await?;
    let (turn, staging) = (in_turn(&commit_turn(&left.table)), left.staging.quoted());
    let locked =
        format!("SET LOCAL lock_timeout = {PATIENCE_MILLIS}; {turn}; LOCK TABLE {staging} IN ACCESS EXCLUSIVE MODE");
    match client.run(&locked).await {
        Ok(()) => {}
        // Its commit may have been made, or given up.
        Err(error) if is_in_use(&error) || sqlstate(&error) == Some("42P01") => {
            client.run("ROLLBACK").await?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    if only_look {
        client.run("ROLLBACK").await?;
        return Ok(true);
    }
    client.run(&format!("DROP TABLE {staging}")).await?;
    Records::of(&left.staging.schema).remove_units(client, &left.commit).await?;
    client.run("COMMIT").await?;
    Ok(true)
}
