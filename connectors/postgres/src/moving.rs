//! How rows get from where they are staged into the table.
//!
//! | the table | all rows are replaced | rows are added | rows are merged |
//! | --- | --- | --- | --- |
//! | is missing | the staged one gets its name | the same | the same; made and filled if there are delete markers |
//! | was made here, and is as it was made | the staged one takes its place | inserted | removed by key, inserted |
//! | somebody has built upon it | emptied, inserted | inserted | removed by key, inserted |
//! | others refer to its rows | emptied, inserted | inserted | updated by key, inserted |

use transload_core::connector::WriteMode;
use transload_core::{Error, Result};

use crate::catalog::get;
use crate::client::Client;
use crate::connections::is_in_use;
use crate::names::quote;
use crate::records::{Commit, Unit, own_transaction};
use crate::sink::PostgresSink;
use crate::target::Target;
use crate::upon::{is_as_it_was_made, is_changed_in_place, may_keep_rows, refuse_cascades, takes_truncate};

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

/// How rows get into a table that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The staged one takes its place.
    Swapped,
    /// Its rows go first.
    Emptied,
    /// Its rows stay.
    Added,
    /// Rows of it go first that have one of the keys.
    Merged,
    /// Rows of it that have one of the keys are changed.
    Changed,
}

impl PostgresSink {
    /// How rows get into a table that is there; `last` is the last commit to it. Nothing is changed.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if it does not take them, or rows of others would go with its own.
    pub(crate) async fn way(&self, client: &Client, target: &Target, last: Option<&Commit>) -> Result<Way> {
        let (mode, is_last) = (self.spec.mode, last.is_some_and(|last| last.relation == target.oid));
        if mode == WriteMode::Replace
            && is_last
            && is_as_it_was_made(client, target.oid, &self.staging.quoted()).await?
        {
            return Ok(Way::Swapped);
        }
        target.check(&self.columns, mode)?;
        match mode {
            WriteMode::Append => Ok(Way::Added),
            WriteMode::Replace => {
                refuse_cascades(client, target.oid, false).await?;
                Ok(Way::Emptied)
            }
            WriteMode::Merge => {
                let is_changed = is_changed_in_place(client, target.oid, self.columns.key()).await?;
                if !is_changed || self.columns.is_marker().is_some() {
                    refuse_cascades(client, target.oid, true).await?;
                }
                Ok(if is_changed { Way::Changed } else { Way::Merged })
            }
            WriteMode::ReplacePartitions => Err(Error::internal("a table is not written by partition here")),
        }
    }

    /// Moves the rows of units, within a transaction. `target` is locked, `last` the last commit to it.
    pub(crate) async fn move_rows(
        &self,
        client: &Client,
        target: Option<&Target>,
        last: Option<&Commit>,
        units: &[Unit],
    ) -> Result<Moved> {
        let Some(target) = target else { return self.make(client, units).await };
        let way = self.way(client, target, last).await?;
        if way == Way::Swapped {
            if self.readers_are_out(client).await? {
                return self.rename(client, units, true).await;
            }
            if !target.is_as_made(&self.columns) {
                // Other columns need a table that nobody reads.
                client.run(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.name.quoted())).await?;
                return self.rename(client, units, true).await;
            }
        }
        self.refuse_long_texts(client, target).await?;
        let changed = self.make_room(client, target, way).await?;
        self.insert(client, Some(target), units, changed).await
    }

    /// Makes the table of what is staged.
    async fn make(&self, client: &Client, units: &[Unit]) -> Result<Moved> {
        if self.columns.marks().is_none() {
            return self.rename(client, units, false).await;
        }
        client.run(&format!("CREATE TABLE {} ({})", self.name.quoted(), self.columns.definitions())).await?;
        self.insert(client, None, units, None).await
    }

    /// Takes out of the table what goes, or changes it in place: how many rows were changed so, if that is the way.
    async fn make_room(&self, client: &Client, target: &Target, way: Way) -> Result<Option<u64>> {
        let at_once =
            way == Way::Emptied && takes_truncate(client, target.oid).await? && self.readers_are_out(client).await?;
        let may_stay = way != Way::Added && !at_once && may_keep_rows(client, target.oid).await?;
        if matches!(way, Way::Merged | Way::Changed) {
            // A plan for a table of unknown size would read the other one again and again.
            client.run(&format!("ANALYZE {}", self.staging.quoted())).await?;
        }
        if way != Way::Added {
            put_off_constraints(client).await?;
        }
        as_for_others(client).await?;
        let same = target.same_key(&self.columns);
        match way {
            Way::Added => {}
            Way::Swapped | Way::Emptied if at_once => client.run(&format!("TRUNCATE {}", self.name.quoted())).await?,
            Way::Swapped | Way::Emptied => self.remove(client, None, may_stay).await?,
            Way::Merged => self.remove(client, Some(&same), may_stay).await?,
            Way::Changed => {
                if let Some(is_marker) = self.columns.is_marker() {
                    self.remove(client, Some(&format!("{same} AND {is_marker}")), may_stay).await?;
                }
                return self.change(client, &same).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Deletes rows of the table, `t`: all, or those that a condition finds for some that are staged, `s`.
    async fn remove(&self, client: &Client, condition: Option<&str>, may_stay: bool) -> Result<()> {
        let (table, staging) = (self.name.quoted(), self.staging.quoted());
        let (delete, look) = match condition {
            None => (format!("DELETE FROM {table}"), format!("SELECT 1 FROM {table} LIMIT 1")),
            Some(condition) => (
                format!("DELETE FROM {table} AS t USING {staging} AS s WHERE {condition}"),
                format!("SELECT 1 FROM {table} AS t, {staging} AS s WHERE {condition} LIMIT 1"),
            ),
        };
        client.run(&delete).await?;
        match may_stay && !client.query(&look, &[]).await?.is_empty() {
            true => Err(Error::config(
                "rows that were to be deleted are still in the table: a trigger or a rule of it keeps them there",
            )
            .hint("switch it off for the load, or use another `to`")),
            false => Ok(()),
        }
    }

    /// Gives rows of the table the values of those that are staged with the `same` key. How many there were.
    async fn change(&self, client: &Client, same: &str) -> Result<u64> {
        let names = self.columns.rows().map(|column| quote(&column.name));
        let set = names.map(|name| format!("{name} = s.{name}")).collect::<Vec<_>>().join(", ");
        let (table, staging, is_kept) = (self.name.quoted(), self.staging.quoted(), self.columns.is_kept());
        let sql = format!("UPDATE {table} AS t SET {set} FROM {staging} AS s WHERE {same} AND {is_kept}");
        client.execute(&sql, &[]).await
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

    /// Adds the rows to the table; `target` is what it was before, if it was there. If rows were `changed` in place, so many,
    /// those are added whose keys are not there.
    async fn insert(
        &self,
        client: &Client,
        target: Option<&Target>,
        units: &[Unit],
        changed: Option<u64>,
    ) -> Result<Moved> {
        let (staging, table, names) = (self.staging.quoted(), self.name.quoted(), self.columns.names());
        let is_new = match target.filter(|_| changed.is_some()) {
            Some(target) => {
                format!(" AND NOT EXISTS (SELECT FROM {table} AS t WHERE {})", target.same_key(&self.columns))
            }
            None => String::new(),
        };
        // Numbers that the table would give by itself are those of the rows.
        let sql = format!(
            "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE \
             SELECT {names} FROM {staging} AS s WHERE {}{is_new}",
            self.columns.is_kept()
        );
        let come = changed.unwrap_or(0) + client.execute(&sql, &[]).await?;
        let rows = units.iter().map(|unit| unit.rows).sum::<u64>();
        if come != rows {
            return Err(Error::config(format!(
                "{rows} rows were staged, and {come} came into the table: a trigger or a rule of it leaves rows out"
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
        let sql = format!("SELECT {looks} FROM {} AS s WHERE {}", self.staging.quoted(), self.columns.is_kept());
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

/// Lets triggers of the table, and functions in its rules, constraints and indexes, find what they name as they do when
/// others write to it: until the transaction ends, for some of them come with its end.
async fn as_for_others(client: &Client) -> Result<()> {
    client.run("SET LOCAL search_path TO DEFAULT").await
}
