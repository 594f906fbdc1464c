//! The table in which a commit stages its rows. It says itself whose it is, in its comment.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use transload_core::{CommitKey, Error, Result};

use crate::catalog::get;
use crate::client::Client;
use crate::columns::{Columns, hex};
use crate::names::{Name, OWN, literal, quote};
use crate::records::Records;

/// What a transaction begins with, whatever the server is set to: each statement sees what was committed before it.
pub(crate) const EACH_ANEW: &str = "ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Such a table.
#[derive(Debug, Clone)]
pub(crate) struct Staging {
    name: Name,
}

/// What its comment says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The key of the commit.
    pub(crate) commit: String,
    /// The table that the rows are for, which is in the same schema.
    pub(crate) table: String,
    /// What its columns come to, in short.
    columns: String,
    /// When it was made by the server's clock, in microseconds since 1970.
    pub(crate) made: i64,
}

impl Staging {
    /// That of a commit to a table.
    pub(crate) fn of(table: &Name, commit: &CommitKey) -> Self {
        let staging = format!("{OWN}_{}", hex(commit.as_str()));
        Self { name: Name { schema: table.schema.clone(), table: staging } }
    }

    /// Its name, as SQL wants it.
    pub(crate) fn quoted(&self) -> String {
        self.name.quoted()
    }

    /// Its name in its schema.
    pub(crate) fn table(&self) -> &str {
        &self.name.table
    }

    /// What it says of itself, if it is there.
    async fn note(&self, client: &Client) -> Result<Option<Note>> {
        let rows = client.query("SELECT obj_description(to_regclass($1), 'pg_class')", &[&self.quoted()]).await?;
        let comment: Option<String> = rows.first().map_or(Ok(None), |row| get(row, 0))?;
        Ok(comment.and_then(|comment| Note::read(&comment)))
    }

    /// Makes it and the tables for records, where they are missing. No transaction may be open.
    ///
    /// # Behavior
    /// One that has other columns is of a plan that was made anew under the same key: it goes, and what was staged in it.
    ///
    /// # Errors
    /// As the server fails, and [`Config`](transload_core::ErrorKind::Config) if there is no such schema.
    pub(crate) async fn prepare(
        &self,
        client: &Client,
        records: &Records,
        (table, commit): (&Name, &CommitKey),
        columns: &Columns,
    ) -> Result<()> {
        let signature = columns.signature();
        let is_ours = |note: &Note| note.commit == commit.as_str() && note.columns == signature;
        if self.note(client).await?.as_ref().is_some_and(is_ours) && records.are_there(client).await? {
            return Ok(());
        }
        check_schema(client, &table.schema).await?;
        // Two that make the same table at the same time get in each other's way.
        client.begin(EACH_ANEW).await?;
        client.run(&in_turn(&["transload make", &table.schema])).await?;
        records.make(client).await?;
        if !self.note(client).await?.as_ref().is_some_and(is_ours) {
            let rows = client.query("SELECT (extract(epoch FROM now()) * 1000000)::bigint", &[]).await?;
            let made: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
            let note =
                Note { commit: commit.to_string(), table: table.table.clone(), columns: signature.clone(), made };
            let note = serde_json::to_string(&note)
                .map_err(|e| Error::internal("a note of a table cannot be written").because(e))?;
            records.remove_units(client, commit.as_str()).await?;
            let quoted = self.quoted();
            // Nobody reads it before the commit, so its statistics and its dead rows are of no interest until then.
            let sql = format!(
                "DROP TABLE IF EXISTS {quoted}; CREATE TABLE {quoted} ({}) WITH (autovacuum_enabled = false); \
                 COMMENT ON TABLE {quoted} IS {}",
                columns.staged_definitions(),
                literal(&note)
            );
            client.run(&sql).await?;
        }
        client.run("COMMIT").await
    }
}

impl Note {
    /// Reads a comment; `None` if it is none of these.
    pub(crate) fn read(comment: &str) -> Option<Self> {
        serde_json::from_str(comment).ok()
    }
}

/// Refuses a schema in which no table can be made.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) that says why, and as the server fails.
pub(crate) async fn check_schema(client: &Client, schema: &str) -> Result<()> {
    let sql = "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1";
    let rows = client.query(sql, &[&schema]).await?;
    let quoted = quote(schema);
    match rows.first() {
        None => Err(Error::config("there is no such schema")
            .with("schema", schema)
            .hint(format!("make it: CREATE SCHEMA {quoted}"))),
        Some(row) if !get::<bool>(row, 0)? => Err(Error::config("the user may not make tables in the schema")
            .with("schema", schema)
            .hint(format!("rows are staged there: GRANT CREATE, USAGE ON SCHEMA {quoted} TO the user"))),
        Some(_) => Ok(()),
    }
}

/// Waits until nobody else has the turn that is called so, and keeps it until the transaction ends: as SQL. What others have
/// done in their turns is seen then. The parts of the name have no zero byte.
pub(crate) fn in_turn(name: &[&str]) -> String {
    format!("SELECT pg_advisory_xact_lock({}); {CATCH_UP}", turn(name))
}

/// Makes the server's process hear which tables others have made and removed since the transaction began. That it has waited
/// for a lock like this does not, and `to_regclass` goes by what was heard; whoever removes a table hears first
/// (`RemoveRelations`), also if there is none.
const CATCH_UP: &str = "DROP TABLE IF EXISTS pg_temp.transload_none";

/// The number of a turn.
fn turn(name: &[&str]) -> i64 {
    let digest = Sha256::digest(name.join("\0").as_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | i64::from(*byte))
}

/// The name of the turn to commit to a table.
pub(crate) fn commit_turn(table: &Name) -> [&str; 3] {
    ["transload commit", &table.schema, &table.table]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_has_a_number_of_its_own() {
        assert_eq!(turn(&["a", "b"]), turn(&["a", "b"]));
        assert_ne!(turn(&["a", "b"]), turn(&["ab"]));
        assert_ne!(turn(&["a", "b"]), turn(&["b", "a"]));
    }

    #[test]
    fn another_comment_is_no_note() {
        let note = Note { commit: "c".to_string(), table: "t".to_string(), columns: "0".to_string(), made: 7 };
        assert_eq!(Note::read(&serde_json::to_string(&note).unwrap()), Some(note));
        assert_eq!((Note::read("orders of last year"), Note::read("{}")), (None, None));
    }
}
