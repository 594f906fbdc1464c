//! What transload notes for itself in a schema that it writes to: which commits were made, and which units are staged.
//!
//! Each is a row in a table of its own, which is written in the transaction that it tells of. So it is there if, and only
//! if, that transaction was done.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use transload_core::connector::TableState;
use transload_core::{CommitKey, Error, Result};

use crate::catalog::get;
use crate::client::Client;
use crate::error::sqlstate;
use crate::names::quote;

/// A commit that was made.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    /// Its number among those of its table, from 1 on.
    pub(crate) version: i64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) parts: u64,
    /// The transactions that have written its rows: 64 bits, as text.
    pub(crate) xids: Vec<String>,
    pub(crate) state: TableState,
    /// The oid of the table that has the rows.
    pub(crate) relation: u32,
    /// Whether there was no such table before.
    pub(crate) made: bool,
    /// Whether all rows have stayed that were there before.
    pub(crate) only_adds: bool,
}

/// What the commits to a table have done that came after one of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Since {
    /// Whether they have taken rows away.
    pub(crate) is_changed: bool,
    /// The transactions that have written their rows.
    pub(crate) xids: Vec<String>,
}

/// A unit that is staged.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) name: String,
    /// The transaction that has written its rows.
    pub(crate) xid: String,
    pub(crate) rows: u64,
    pub(crate) deleted: u64,
    pub(crate) bytes: u64,
}

/// The tables of a schema in which both are noted, as SQL names them.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    commits: String,
    staged: String,
}

/// The columns that make a [`Commit`].
const COMMIT: &str = "version, rows, bytes, parts, xids, state::text, relation, made, only_adds";

impl Records {
    /// Those of a schema.
    pub(crate) fn of(schema: &str) -> Self {
        let table = |name: &str| format!("{}.{}", quote(schema), quote(name));
        Self { commits: table("_transload_commits"), staged: table("_transload_staged") }
    }

    /// Makes both, where they are missing. Nobody else may do so at the same time.
    pub(crate) async fn make(&self, client: &Client) -> Result<()> {
        if !is_there(client, &self.commits).await? {
            let sql = format!(
                "CREATE TABLE {} (table_name text NOT NULL, commit_key text NOT NULL, version bigint NOT NULL, \
                 rows bigint NOT NULL, bytes bigint NOT NULL, parts bigint NOT NULL, xids text[] NOT NULL, \
                 state jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now(), relation oid NOT NULL, \
                 made boolean NOT NULL, only_adds boolean NOT NULL, \
                 PRIMARY KEY (table_name, commit_key), UNIQUE (table_name, version))",
                self.commits
            );
            client.run(&sql).await?;
        }
        if !is_there(client, &self.staged).await? {
            let sql = format!(
                "CREATE TABLE {} (commit_key text NOT NULL, unit text NOT NULL, xid text NOT NULL, \
                 rows bigint NOT NULL, deleted bigint NOT NULL, bytes bigint NOT NULL, \
                 at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (commit_key, unit))",
                self.staged
            );
            client.run(&sql).await?;
        }
        Ok(())
    }

    /// Whether both are there.
    pub(crate) async fn are_there(&self, client: &Client) -> Result<bool> {
        let sql = "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL";
        let rows = client.query(sql, &[&self.commits, &self.staged]).await?;
        rows.first().map_or(Ok(false), |row| get(row, 0))
    }

    /// Refuses a user who may not do with them what a load does, as far as they are there.
    pub(crate) async fn check(&self, client: &Client) -> Result<()> {
        let sql = "SELECT coalesce(bool_and(has_table_privilege(t.oid, p.name)), true) \
                   FROM (VALUES (to_regclass($1)::oid), (to_regclass($2)::oid)) t(oid), \
                   unnest('{SELECT,INSERT,DELETE}'::text[]) p(name) WHERE t.oid IS NOT NULL";
        let rows = client.query(sql, &[&self.commits, &self.staged]).await?;
        match rows.first().map_or(Ok(true), |row| get(row, 0))? {
            true => Ok(()),
            false => Err(self.for_owner(Error::config("the user may not read and write what is noted of loads here"))),
        }
    }

    /// The rows of a statement about them.
    async fn query(&self, client: &Client, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        client.query(sql, params).await.map_err(|error| {
            let is_refused = sqlstate(&error) == Some("42501");
            if is_refused { self.for_owner(error) } else { error }
        })
    }

    fn for_owner(&self, error: Error) -> Error {
        let (commits, staged) = (&self.commits, &self.staged);
        error.hint(format!("whoever owns them says: GRANT SELECT, INSERT, DELETE ON {commits}, {staged} TO the user"))
    }

    /// The commit of this key to a table, if it was made.
    pub(crate) async fn find(&self, client: &Client, table: &str, key: &CommitKey) -> Result<Option<Commit>> {
        if !is_there(client, &self.commits).await? {
            return Ok(None);
        }
        let sql = format!("SELECT {COMMIT} FROM {} WHERE table_name = $1 AND commit_key = $2", self.commits);
        let rows = self.query(client, &sql, &[&table, &key.as_str()]).await?;
        rows.first().map(commit).transpose()
    }

    /// The last commit to a table.
    pub(crate) async fn last(&self, client: &Client, table: &str) -> Result<Option<Commit>> {
        if !is_there(client, &self.commits).await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT {COMMIT} FROM {} WHERE table_name = $1 ORDER BY table_name DESC, version DESC LIMIT 1",
            self.commits
        );
        let rows = self.query(client, &sql, &[&table]).await?;
        rows.first().map(commit).transpose()
    }

    /// What was done to a table after a version of it. Who may not read these notes learns of nothing.
    pub(crate) async fn since(&self, client: &Client, table: &str, version: i64) -> Result<Since> {
        let readable = "SELECT coalesce(has_table_privilege(to_regclass($1), 'SELECT'), false)";
        let rows = client.query(readable, &[&self.commits]).await?;
        if !rows.first().map_or(Ok(false), |row| get(row, 0))? {
            return Ok(Since::default());
        }
        let sql = format!("SELECT only_adds, xids FROM {} WHERE table_name = $1 AND version > $2", self.commits);
        let mut since = Since::default();
        for row in client.query(&sql, &[&table, &version]).await? {
            since.is_changed |= !get::<bool>(&row, 0)?;
            since.xids.extend(get::<Vec<String>>(&row, 1)?);
        }
        Ok(since)
    }

    /// Notes a commit.
    pub(crate) async fn add(&self, client: &Client, table: &str, key: &CommitKey, commit: &Commit) -> Result<()> {
        let state = serde_json::to_string(&commit.state)
            .map_err(|e| Error::internal("the state of a table cannot be written down").because(e))?;
        let sql = format!(
            "INSERT INTO {} (table_name, commit_key, version, rows, bytes, parts, xids, state, relation, made, \
             only_adds) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8::pg_catalog.text::pg_catalog.jsonb, $9, $10, $11)",
            self.commits
        );
        let [rows, bytes, parts] = [commit.rows, commit.bytes, commit.parts].map(signed);
        let Commit { version, xids, relation, made, only_adds, .. } = commit;
        let key = key.as_str();
        let params: [&(dyn ToSql + Sync); 11] =
            [&table, &key, version, &rows, &bytes, &parts, xids, &state, relation, made, only_adds];
        self.query(client, &sql, &params).await.map(drop)
    }

    /// Forgets a commit.
    pub(crate) async fn remove(&self, client: &Client, table: &str, key: &CommitKey) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE table_name = $1 AND commit_key = $2", self.commits);
        self.query(client, &sql, &[&table, &key.as_str()]).await.map(drop)
    }

    /// The units that are staged under a key.
    pub(crate) async fn units(&self, client: &Client, key: &str) -> Result<Vec<Unit>> {
        let sql = format!("SELECT unit, xid, rows, deleted, bytes FROM {} WHERE commit_key = $1", self.staged);
        self.query(client, &sql, &[&key]).await?.iter().map(unit).collect()
    }

    /// One of them.
    pub(crate) async fn unit(&self, client: &Client, key: &CommitKey, name: &str) -> Result<Option<Unit>> {
        let sql =
            format!("SELECT unit, xid, rows, deleted, bytes FROM {} WHERE commit_key = $1 AND unit = $2", self.staged);
        let rows = self.query(client, &sql, &[&key.as_str(), &name]).await?;
        rows.first().map(unit).transpose()
    }

    /// Notes a unit.
    pub(crate) async fn add_unit(&self, client: &Client, key: &CommitKey, unit: &Unit) -> Result<()> {
        let sql = format!(
            "INSERT INTO {} (commit_key, unit, xid, rows, deleted, bytes) VALUES ($1, $2, $3, $4, $5, $6)",
            self.staged
        );
        let [rows, deleted, bytes] = [unit.rows, unit.deleted, unit.bytes].map(signed);
        self.query(client, &sql, &[&key.as_str(), &unit.name, &unit.xid, &rows, &deleted, &bytes]).await.map(drop)
    }

    /// Forgets a unit.
    pub(crate) async fn remove_unit(&self, client: &Client, key: &CommitKey, name: &str) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE commit_key = $1 AND unit = $2", self.staged);
        self.query(client, &sql, &[&key.as_str(), &name]).await.map(drop)
    }

    /// Forgets all units of a key.
    pub(crate) async fn remove_units(&self, client: &Client, key: &str) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE commit_key = $1", self.staged);
        self.query(client, &sql, &[&key]).await.map(drop)
    }

    /// When the last unit of a key was staged, in microseconds since 1970.
    pub(crate) async fn last_staged(&self, client: &Client, key: &str) -> Result<Option<i64>> {
        if !is_there(client, &self.staged).await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT (extract(epoch FROM max(at)) * 1000000)::bigint FROM {} WHERE commit_key = $1",
            self.staged
        );
        let rows = self.query(client, &sql, &[&key]).await?;
        rows.first().map_or(Ok(None), |row| get(row, 0))
    }
}

fn commit(row: &Row) -> Result<Commit> {
    let state: String = get(row, 5)?;
    Ok(Commit {
        version: get(row, 0)?,
        rows: unsigned(row, 1)?,
        bytes: unsigned(row, 2)?,
        parts: unsigned(row, 3)?,
        xids: get(row, 4)?,
        state: serde_json::from_str(&state)
            .map_err(|e| Error::config("the state of a table cannot be read").because(e))?,
        relation: get(row, 6)?,
        made: get(row, 7)?,
        only_adds: get(row, 8)?,
    })
}

fn unit(row: &Row) -> Result<Unit> {
    Ok(Unit {
        name: get(row, 0)?,
        xid: get(row, 1)?,
        rows: unsigned(row, 2)?,
        deleted: unsigned(row, 3)?,
        bytes: unsigned(row, 4)?,
    })
}

/// Whether there is a relation of this name, which is quoted.
pub(crate) async fn is_there(client: &Client, quoted: &str) -> Result<bool> {
    let rows = client.query("SELECT to_regclass($1) IS NOT NULL", &[&quoted]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// The number of the newest transaction that the open one may see, with the upper half that rows do not keep.
pub(crate) async fn newest_transaction(client: &Client) -> Result<u64> {
    let rows = client.query("SELECT txid_snapshot_xmax(txid_current_snapshot())", &[]).await?;
    rows.first().map_or(Ok(0), |row| unsigned(row, 0))
}

/// The number of the transaction that is open: 64 bits, as text.
pub(crate) async fn own_transaction(client: &Client) -> Result<String> {
    let rows = client.query("SELECT pg_catalog.txid_current()::pg_catalog.text", &[]).await?;
    rows.first().map_or_else(|| Err(Error::internal("a transaction has no number")), |row| get(row, 0))
}

fn unsigned(row: &Row, at: usize) -> Result<u64> {
    Ok(u64::try_from(get::<i64>(row, at)?).unwrap_or_default())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
