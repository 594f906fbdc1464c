//! How rows get from where they are staged into the table.
//!
//! | the table | all rows are replaced | rows are added | rows are merged |
//! | --- | --- | --- | --- |
//! | is missing | the staged one gets its name | the same | the same; made and filled if there are delete markers |
//! | was made here, and is as it was made | the staged one takes its place | inserted | removed by key, inserted |
//! | somebody has built upon it | emptied, inserted | inserted | removed by key, inserted |

use transload_core::connector::WriteMode;
use transload_core::{Error, Result};

use crate::catalog::get;
use crate::client::Client;
use crate::connections::is_in_use;
use crate::names::quote;
use crate::records::{Commit, Unit, own_transaction};
use crate::sink::PostgresSink;
use crate::target::Target;
use crate::upon::{is_as_it_was_made, refuse_cascades, takes_truncate};

/// How long readers are waited for, before the rows are replaced beside them. Whoever comes later waits as long.
const PATIENCE_MILLIS: u32 = 1_000;

/// Where the rows are now.
pub(crate) struct Moved {
    /// The oid of the table.
    pub(crate) relation: u32,
    /// The transactions that have written the rows.
    pub(crate) xids: Vec<String>,
    /// Whether the table in which they were staged is left.
    pub(crate) left: bool,
}

impl PostgresSink {
    /// Moves the rows of units, within a transaction. `target` is locked, `last` the last commit to it.
    pub(crate) async fn move_rows(
        &self,
        client: &Client,
        target: Option<&Target>,
        last: Option<&Commit>,
        units: &[Unit],
    ) -> Result<Moved> {
        let Some(target) = target else { return self.make(client, units).await };
        match self.spec.mode {
            WriteMode::Replace => self.replace(client, target, last, units).await,
            WriteMode::Append => self.insert(client, Some(target), units).await,
            WriteMode::Merge => {
                refuse_cascades(client, target.oid, true).await?;
                let (staging, table) = (self.staging.quoted(), self.name.quoted());
                // A plan for a table of unknown size would read the other one again and again.
                client.run(&format!("ANALYZE {staging}")).await?;
                let same = target.same_key(&self.columns);
                put_off_constraints(client).await?;
                client.run(&format!("DELETE FROM {table} AS t USING {staging} AS s WHERE {same}")).await?;
                self.insert(client, Some(target), units).await
            }
            WriteMode::ReplacePartitions => Err(Error::internal("a table is not written by partition here")),
        }
    }

    /// Makes the table of what is staged.
    async fn make(&self, client: &Client, units: &[Unit]) -> Result<Moved> {
        if self.columns.marks().is_none() {
            return self.rename(client, units, false).await;
        }
        client.run(&format!("CREATE TABLE {} ({})", self.name.quoted(), self.columns.definitions())).await?;
        self.insert(client, None, units).await
    }

    async fn replace(&self, client: &Client, target: &Target, last: Option<&Commit>, units: &[Unit]) -> Result<Moved> {
        let is_ours = last.is_some_and(|last| last.relation == target.oid)
            && is_as_it_was_made(client, target.oid, &self.staging.quoted()).await?;
        if is_ours {
            if self.readers_are_out(client).await? {
                return self.rename(client, units, true).await;
            }
            if !target.is_as_made(&self.columns) {
                // Other columns need a table that nobody reads.
                client.run(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.name.quoted())).await?;
                return self.rename(client, units, true).await;
            }
        }
        target.check(&self.columns, WriteMode::Replace)?;
        refuse_cascades(client, target.oid, false).await?;
        put_off_constraints(client).await?;
        let table = self.name.quoted();
        let at_once = !is_ours && takes_truncate(client, target.oid).await? && self.readers_are_out(client).await?;
        let empty = if at_once { format!("TRUNCATE {table}") } else { format!("DELETE FROM {table}") };
        client.run(&empty).await?;
        self.insert(client, Some(target), units).await
    }

    /// Waits a little until nobody reads the table, and keeps readers out then. If somebody reads it for longer, he is not
    /// disturbed, and others do not queue up behind this.
    async fn readers_are_out(&self, client: &Client) -> Result<bool> {
        client.run(&format!("SAVEPOINT readers; SET LOCAL lock_timeout = {PATIENCE_MILLIS}")).await?;
        let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.name.quoted());
        match client.run(&lock).await {
            Ok(()) => {
                let usual = self.connections.settings().lock_timeout.as_millis();
                client.run(&format!("SET LOCAL lock_timeout = {usual}; RELEASE SAVEPOINT readers")).await?;
                Ok(true)
            }
            Err(error) if is_in_use(&error) => {
                client.run("ROLLBACK TO SAVEPOINT readers; RELEASE SAVEPOINT readers").await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the table in which the rows are staged the name of the one that they are for.
    async fn rename(&self, client: &Client, units: &[Unit], is_there: bool) -> Result<Moved> {
        let (staging, table) = (self.staging.quoted(), self.name.quoted());
        let rows = client.query("SELECT to_regclass($1)::oid", &[&staging]).await?;
        let relation: Option<u32> = rows.first().map_or(Ok(None), |row| get(row, 0))?;
        let relation = relation.ok_or_else(|| Error::internal("the table in which rows are staged is gone"))?;
        let drop = if is_there { format!("DROP TABLE {table}; ") } else { String::new() };
        let sql = format!(
            "{drop}ALTER TABLE {staging} RESET (autovacuum_enabled); COMMENT ON TABLE {staging} IS NULL; \
             ALTER TABLE {staging} RENAME TO {}",
            quote(&self.name.table)
        );
        client.run(&sql).await?;
        Ok(Moved { relation, xids: units.iter().map(|unit| unit.xid.clone()).collect(), left: false })
    }

    /// Adds the rows to the table; `target` is what it was before, if it was there.
    async fn insert(&self, client: &Client, target: Option<&Target>, units: &[Unit]) -> Result<Moved> {
        let (staging, table, names) = (self.staging.quoted(), self.name.quoted(), self.columns.names());
        if let Some(target) = target {
            self.refuse_long_texts(client, target).await?;
        }
        let kept = self.columns.kept();
        // Numbers that the table would give by itself are those of the rows.
        let sql = format!("INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {staging}{kept}");
        let (inserted, rows) = (client.execute(&sql, &[]).await?, units.iter().map(|unit| unit.rows).sum::<u64>());
        if inserted != rows {
            return Err(Error::config(format!(
                "{rows} rows were staged, and {inserted} came into the table: a trigger or a rule of it leaves rows out"
            ))
            .hint("switch it off for the load, or use another `to`"));
        }
        let relation = match target {
            Some(target) => target.oid,
            None => {
                let made = Target::find(client, &self.name).await?;
                made.ok_or_else(|| Error::internal("a table that was made is not there"))?.oid
            }
        };
        Ok(Moved { relation, xids: vec![own_transaction(client).await?], left: true })
    }

    /// Refuses texts that are longer than the table's columns: blanks at their ends would be cut off in silence.
    async fn refuse_long_texts(&self, client: &Client, target: &Target) -> Result<()> {
        let bounded = target.bounded(&self.columns);
        if bounded.is_empty() {
            return Ok(());
        }
        let is_long = |(name, most): &(&str, u32)| format!("bool_or(char_length({}) > {most})", quote(name));
        let looks = bounded.iter().map(is_long).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {looks} FROM {}{}", self.staging.quoted(), self.columns.kept());
        let rows = client.query(&sql, &[]).await?;
        for row in &rows {
            for (at, (name, most)) in bounded.iter().enumerate() {
                if get::<Option<bool>>(row, at)?.unwrap_or_default() {
                    let said = format!("a text is longer than the {most} characters that the table's column has");
                    return Err(Error::config(said)
                        .with("column", *name)
                        .hint("make the column wider, or cut the texts"));
                }
            }
        }
        Ok(())
    }
}

/// Lets foreign keys and other constraints that can be checked later be checked at the end of the transaction.
async fn put_off_constraints(client: &Client) -> Result<()> {
    client.run("SET CONSTRAINTS ALL DEFERRED").await
}
