//! Making what is staged a part of the table: one transaction, which notes the commit's key beside the rows.

use std::collections::BTreeMap;

use transload_core::connector::{Expected, TableState, WriteMode};
use transload_core::{Committed, Error, ErrorKind, Pin, PinnedVersion, Result, Staged, fault};

use crate::client::Client;
use crate::moving::Moved;
use crate::records::{Commit, Unit, is_there};
use crate::sink::PostgresSink;
use crate::stage::{StagedUnit, written_by};
use crate::staging::{EACH_ANEW, commit_turn, in_turn};
use crate::target::Target;

/// A commit that was made, by this call or by an earlier one.
struct Done {
    commit: Commit,
    already_done: bool,
}

impl PostgresSink {
    /// Publishes what is staged.
    pub(crate) async fn publish(&self, staged: &[Staged], state: TableState) -> Result<Committed> {
        fault::point("postgres.commit.begun")?;
        let client = self.connections.take().await?;
        let server = client.server().id.clone();
        let mut done = self.done_before(&client).await?;
        if done.is_none() {
            if staged.is_empty() {
                // The table has its columns all the same.
                self.staging.prepare(&client, &self.records, (&self.name, &self.spec.commit), &self.columns).await?;
            }
            let guard = client.cancel_guard();
            self.take_turn(&client).await?;
            fault::point("postgres.commit.locked")?;
            // Somebody else may have had the turn before.
            done = self.done_before(&client).await?;
            if done.is_some() {
                client.run("ROLLBACK").await?;
                guard.disarm();
            } else {
                keep_through_a_crash(&client).await?;
                let commit = self.put_in_place(&client, staged, state).await?;
                fault::point("postgres.commit.moved")?;
                guard.disarm();
                // An error from here on says nothing of how it went.
                let sent = client.run("COMMIT").await.and_then(|()| fault::point("postgres.commit.sent"));
                if let Err(error) = sent {
                    drop(client);
                    let commit = self.was_made(error).await?;
                    return Ok(self.committed(&server, Done { commit, already_done: false }));
                }
                fault::point("postgres.committed")?;
                done = Some(Done { commit, already_done: false });
            }
        }
        client.give_back();
        let done = done.ok_or_else(|| Error::internal("a commit was neither made nor found"))?;
        Ok(self.committed(&server, done))
    }

    /// Begins a transaction once no other one commits under the key, so that what it did is seen.
    pub(crate) async fn take_key(&self, client: &Client) -> Result<()> {
        client.begin(EACH_ANEW).await?;
        client.run(&in_turn(&["transload key", self.spec.commit.as_str()])).await
    }

    /// The same, in which nobody else commits to the table either.
    async fn take_turn(&self, client: &Client) -> Result<()> {
        self.take_key(client).await?;
        client.run(&in_turn(&commit_turn(&self.name))).await
    }

    /// The commit, if an earlier call did it.
    async fn done_before(&self, client: &Client) -> Result<Option<Done>> {
        let found = self.records.find(client, &self.name.table, &self.spec.commit).await?;
        Ok(found.map(|commit| Done { commit, already_done: true }))
    }

    /// Whether the transaction was done although an error was returned: the answer may have got lost.
    ///
    /// # Errors
    /// That error, if it was not; [`CommitUnknown`](ErrorKind::CommitUnknown) if nobody can tell now.
    async fn was_made(&self, error: Error) -> Result<Commit> {
        let unknown = |e: Error| {
            Error::new(ErrorKind::CommitUnknown, "whether the table was published cannot be known now")
                .hint("`transload resume` finds out; a new run may load the same rows again")
                .because(e)
        };
        // What has ended the one may have ended the others.
        self.connections.close_idle();
        let client = self.connections.take().await.map_err(unknown)?;
        self.take_key(&client).await.map_err(unknown)?;
        let found = self.records.find(&client, &self.name.table, &self.spec.commit).await.map_err(unknown)?;
        if client.run("ROLLBACK").await.is_ok() {
            client.give_back();
        }
        match found {
            Some(commit) => {
                tracing::warn!(table = %self.name, %error, "published, and the answer was lost");
                Ok(commit)
            }
            None => Err(error),
        }
    }

    /// Everything that a commit does, within its transaction.
    async fn put_in_place(&self, client: &Client, staged: &[Staged], state: TableState) -> Result<Commit> {
        let units = self.noted(client, staged).await?;
        let target = self.locked(client).await?;
        let last = self.records.last(client, &self.name.table).await?;
        self.as_expected(target.as_ref(), last.as_ref())?;
        let rows = units.iter().map(|unit| unit.rows).sum();
        let moved = self.move_rows(client, target.as_ref(), last.as_ref(), &units).await?;
        // Adding rows without a cursor does not forget how far an incremental load has come.
        let kept = last.as_ref().filter(|last| target.as_ref().is_some_and(|target| target.oid == last.relation));
        let state = match kept {
            Some(last) if self.spec.mode.keeps_others() && state == TableState::default() => last.state.clone(),
            _ => state,
        };
        let Moved { relation, xids, left } = moved;
        let commit = Commit {
            version: last.map_or(0, |last| last.version) + 1,
            rows,
            bytes: units.iter().map(|unit| unit.bytes).sum(),
            parts: units.len() as u64,
            xids,
            state,
            relation,
            made: target.is_none(),
            only_adds: self.spec.mode == WriteMode::Append,
        };
        self.records.add(client, &self.name.table, &self.spec.commit, &commit).await?;
        self.records.remove_units(client, self.spec.commit.as_str()).await?;
        if left {
            client.run(&format!("DROP TABLE {}", self.staging.quoted())).await?;
        }
        Ok(commit)
    }

    /// What is noted of the units that are to be published. What else was staged under the key goes.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if one of them is not there any more, or was staged again since.
    async fn noted(&self, client: &Client, staged: &[Staged]) -> Result<Vec<Unit>> {
        let gone = |unit: &Staged| {
            Error::config("what was staged is gone")
                .with("unit", unit.unit.as_str())
                .hint("`transload resume` stages it again")
        };
        let staging = self.staging.quoted();
        if let Some(first) = staged.first()
            && !(self.records.are_there(client).await? && is_there(client, &staging).await?)
        {
            return Err(gone(first));
        }
        // Nobody comes in between who stages under the key, such as an attempt that was given up and has not ended yet.
        client.run(&format!("LOCK TABLE {staging} IN ACCESS EXCLUSIVE MODE")).await?;
        let noted = self.records.units(client, self.spec.commit.as_str()).await?;
        let mut noted: BTreeMap<String, Unit> = noted.into_iter().map(|unit| (unit.name.clone(), unit)).collect();
        let mut units = Vec::with_capacity(staged.len());
        for unit in staged {
            let known = StagedUnit::of(unit)?;
            let there = noted.remove(&unit.unit).filter(|there| known.is(there) && there.rows == unit.rows);
            units.push(there.ok_or_else(|| gone(unit))?);
        }
        let others: Vec<Unit> = noted.into_values().collect();
        if !others.is_empty() {
            self.remove_rows(client, &others).await?;
        }
        Ok(units)
    }

    /// The table, if there is one, which nobody else writes to until the transaction ends. Others may read it.
    async fn locked(&self, client: &Client) -> Result<Option<Target>> {
        if Target::find(client, &self.name).await?.is_none() {
            return Ok(None);
        }
        // Who may only add rows may have no other lock.
        let mode = if self.spec.mode == WriteMode::Append { "ROW EXCLUSIVE" } else { "EXCLUSIVE" };
        client.run(&format!("LOCK TABLE {} IN {mode} MODE", self.name.quoted())).await?;
        // It may have been another one before.
        Target::find(client, &self.name).await
    }

    /// Refuses to undo or repeat what another run has done since this one was planned.
    fn as_expected(&self, target: Option<&Target>, last: Option<&Commit>) -> Result<()> {
        let version = target.map(|_| last.map_or(0, |last| last.version).to_string());
        let kept = match (&self.spec.expected, version) {
            (Expected::Anything, _) | (Expected::Missing, None) => true,
            (Expected::Version(expected), Some(version)) => *expected == version,
            _ => false,
        };
        match kept {
            true => Ok(()),
            false => Err(Error::config("another run has published this table since this one was planned")
                .hint("start a new run: `transload run`")),
        }
    }

    fn committed(&self, server: &str, Done { commit, already_done }: Done) -> Committed {
        let version = commit.version.to_string();
        let table = format!("{server}/{}", commit.relation);
        // Rows that nobody has committed beside those of a whole table do not belong there.
        let only = self.spec.mode.keeps_others().then_some(commit.xids);
        Committed {
            key: self.spec.commit.clone(),
            version: version.clone(),
            already_done,
            rows: commit.rows,
            bytes: commit.bytes,
            parts: commit.parts,
            pin: Pin::Version(PinnedVersion { table, version, only, except: None }),
        }
    }

    /// Removes what is staged under the key, unless it was committed.
    pub(crate) async fn give_up(&self) -> Result<()> {
        let client = self.connections.take().await?;
        self.take_turn(&client).await?;
        if self.done_before(&client).await?.is_none() {
            self.clear(&client).await?;
        }
        client.run("COMMIT").await?;
        client.give_back();
        Ok(())
    }

    async fn clear(&self, client: &Client) -> Result<()> {
        client.run(&format!("DROP TABLE IF EXISTS {}", self.staging.quoted())).await?;
        match self.records.are_there(client).await? {
            true => self.records.remove_units(client, self.spec.commit.as_str()).await,
            false => Ok(()),
        }
    }

    /// Takes back a commit that made the table, or added rows to it, if it is the last one.
    pub(crate) async fn take_back(&self) -> Result<()> {
        let client = self.connections.take().await?;
        self.take_turn(&client).await?;
        self.clear(&client).await?;
        if let Some(Done { commit, .. }) = self.done_before(&client).await? {
            let last = self.records.last(&client, &self.name.table).await?;
            if last.is_some_and(|last| last.version != commit.version) {
                return Err(no_way_back("others have committed to the table since"));
            }
            let target = Target::find(&client, &self.name).await?;
            if target.is_some_and(|target| target.oid == commit.relation) {
                self.take_rows_away(&client, &commit).await?;
            }
            self.records.remove(&client, &self.name.table, &self.spec.commit).await?;
        }
        client.run("COMMIT").await?;
        client.give_back();
        Ok(())
    }

    async fn take_rows_away(&self, client: &Client, commit: &Commit) -> Result<()> {
        let (table, own) = (self.name.quoted(), written_by(commit.xids.iter()));
        match self.spec.mode {
            _ if commit.made => {
                client.run(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
                if !client.query(&format!("SELECT 1 FROM {table} WHERE NOT {own} LIMIT 1"), &[]).await?.is_empty() {
                    return Err(no_way_back("others have written to the table since"));
                }
                client.run(&format!("DROP TABLE {table}")).await
            }
            WriteMode::Append => {
                let removed = client.execute(&format!("DELETE FROM {table} WHERE {own}"), &[]).await?;
                match removed == commit.rows {
                    true => Ok(()),
                    false => Err(no_way_back("others have changed the rows since")),
                }
            }
            _ => Err(no_way_back("the rows that were there before are gone")),
        }
    }
}

fn no_way_back(why: &str) -> Error {
    Error::internal(format!("what is published cannot be taken back: {why}"))
}

/// Waits for the server's disk when the transaction ends, also where the server is set not to.
async fn keep_through_a_crash(client: &Client) -> Result<()> {
    let sql = "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";
    client.query(sql, &[]).await.map(drop)
}
