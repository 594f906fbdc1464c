//! Points in time: a transaction that exports a snapshot, and others that see the same.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use transload_core::{Error, PinnedPart, PinnedSnapshot, Resolve, Result, TableName};

use crate::catalog::{self, Relation, RelationKind};
use crate::client::{Client, Role, ServerInfo};
use crate::error::{is_lost, lost_snapshot};
use crate::names::{Name, literal};
use crate::options::Settings;
use crate::records::{Records, Since};

/// How a transaction begins that sees one state of the database, whatever others do.
pub(crate) const ONE_STATE: &str = "ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The transactions that a snapshot sees.
const SEES: &str = "pg_catalog.txid_current_snapshot()::text";

/// What every connection to one server is made of.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) settings: Arc<Settings>,
    pub(crate) resolver: Arc<dyn Resolve>,
    /// Connections that may read at the same time.
    pub(crate) permits: Arc<Semaphore>,
}

impl Access {
    pub(crate) fn new(settings: Arc<Settings>, resolver: Arc<dyn Resolve>) -> Self {
        let permits = Arc::new(Semaphore::new(settings.connections.saturating_sub(1).max(1)));
        Self { settings, resolver, permits }
    }

    pub(crate) async fn connect(&self, role: Role) -> Result<Client> {
        Client::connect(&self.settings, self.resolver.as_ref(), role).await
    }
}

/// A transaction that keeps a snapshot readable for others, until it is dropped.
pub(crate) struct Exporter {
    /// One table is looked up at a time: what fails is taken back to a savepoint.
    client: tokio::sync::Mutex<Client>,
    server: ServerInfo,
    snapshot: String,
    sees: String,
    position: String,
    taken: String,
}

impl Exporter {
    /// Takes a snapshot.
    pub(crate) async fn begin(access: &Access) -> Result<Self> {
        let client = access.connect(Role::Reader).await?;
        client.begin(ONE_STATE).await?;
        let position = match client.server().in_recovery {
            true => "pg_catalog.pg_last_wal_replay_lsn()",
            false => "pg_catalog.pg_current_wal_lsn()",
        };
        let sql = format!(
            "SELECT pg_catalog.pg_export_snapshot(), {SEES}, coalesce({position}::text, ''), \
             pg_catalog.to_char(pg_catalog.transaction_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        );
        let rows = client.query(&sql, &[]).await?;
        let row = rows.first().ok_or_else(|| Error::internal("the server exports no snapshot"))?;
        let text = |at: usize| row.try_get::<_, String>(at).map_err(crate::error::explain);
        let (snapshot, sees, position, taken) = (text(0)?, text(1)?, text(2)?, text(3)?);
        let server = client.server().clone();
        Ok(Self { client: tokio::sync::Mutex::new(client), server, snapshot, sees, position, taken })
    }

    /// Looks a table up, and keeps others from changing more than its rows until the transaction ends.
    pub(crate) async fn pin(&self, settings: &Settings, name: &Name) -> Result<(Relation, PinnedSnapshot)> {
        let relation = self.look(async |client| locked(client, settings, name).await).await?;
        let pin = PinnedSnapshot {
            server: self.server.id.clone(),
            snapshot: self.snapshot.clone(),
            sees: self.sees.clone(),
            position: self.position.clone(),
            taken: self.taken.clone(),
            parts: relation.parts.clone(),
        };
        Ok((relation, pin))
    }

    /// What was done to a table after a version of it, as far as it was done then.
    pub(crate) async fn since(&self, name: &Name, version: i64) -> Result<Since> {
        self.look(async |client| Records::of(&name.schema).since(client, &name.table, version).await).await
    }

    /// Looks at the catalogue as it was then.
    pub(crate) async fn look<T>(&self, look: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
        let client = self.client.lock().await;
        client.run("SAVEPOINT looked_up").await?;
        let found = look(&client).await;
        let end = if found.is_err() { "ROLLBACK TO SAVEPOINT looked_up" } else { "RELEASE SAVEPOINT looked_up" };
        client.run(end).await?;
        found
    }

    pub(crate) fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// Whether it has taken the snapshot of a pin.
    pub(crate) fn has_taken(&self, pin: &PinnedSnapshot) -> bool {
        (&self.server.id, &self.snapshot, &self.sees) == (&pin.server, &pin.snapshot, &pin.sees)
    }

    /// Whether its connection has ended, and the snapshot with it. One that is asked something right now has not.
    pub(crate) fn is_gone(&self) -> bool {
        self.client.try_lock().is_ok_and(|client| client.is_closed())
    }
}

/// A table with its parts, each locked against everything but changes of rows.
async fn locked(client: &Client, settings: &Settings, name: &Name) -> Result<Relation> {
    let relation = found(client, settings, name).await?;
    if matches!(relation.kind, RelationKind::Table | RelationKind::Partitioned) {
        // With all that inherit from it.
        let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", name.quoted());
        client.run(&lock).await.map_err(|e| match e.is_transient() {
            true => e.hint("somebody changes the table right now: try again, or raise `lock_timeout_secs`"),
            false => e,
        })?;
        unmoved(client, &relation).await?;
    }
    Ok(relation)
}

/// Refuses tables that were written anew after the snapshot was taken: it would see no row of them.
async fn unmoved(client: &Client, relation: &Relation) -> Result<()> {
    let ids: Vec<u32> = relation.parts.iter().map(|part| part.id).collect();
    let sql = "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY($1) \
               AND c.relfilenode <> 0 AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode";
    match client.query(sql, &[&ids]).await?.is_empty() {
        true => Ok(()),
        false => Err(Error::transient("the table was written anew while its snapshot was taken").hint("try again")),
    }
}

/// The table, which must be there.
pub(crate) async fn found(client: &Client, settings: &Settings, name: &Name) -> Result<Relation> {
    catalog::relation(client, name, settings).await?.ok_or_else(|| {
        Error::config(format!("there is no table {name} that may be read"))
            .hint("`transload discover` lists the tables; names are `schema.table`")
    })
}

/// A snapshot, and the connections that read it.
pub(crate) struct Reading {
    access: Access,
    snapshot: String,
    sees: String,
    /// Who keeps the snapshot, if it is kept here.
    exporter: Option<Arc<Exporter>>,
    /// Connections whose transaction sees the snapshot and that nobody uses.
    idle: Mutex<Vec<Client>>,
}

impl Reading {
    /// Reads a snapshot that was taken before, here or elsewhere.
    fn at(access: Access, pin: &PinnedSnapshot, exporter: Option<Arc<Exporter>>) -> Self {
        let (snapshot, sees) = (pin.snapshot.clone(), pin.sees.clone());
        Self { access, snapshot, sees, exporter, idle: Mutex::default() }
    }

    /// Reads the snapshot of a transaction, and keeps it.
    pub(crate) fn of(access: Access, exporter: Arc<Exporter>) -> Self {
        let (snapshot, sees) = (exporter.snapshot.clone(), exporter.sees.clone());
        Self { access, snapshot, sees, exporter: Some(exporter), idle: Mutex::default() }
    }

    /// A connection whose transaction sees the snapshot.
    ///
    /// # Errors
    /// [`Transient`](transload_core::ErrorKind::Transient) if whoever took the snapshot is not connected any more.
    pub(crate) async fn client(&self) -> Result<Client> {
        self.is_kept()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle.filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => {
                let client = self.access.connect(Role::Reader).await?;
                import(&client, &self.snapshot, &self.sees).await?;
                Ok(client)
            }
        }
    }

    /// Takes a connection back whose transaction is as good as before.
    pub(crate) fn give_back(&self, client: Client) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }

    /// Refuses to go on once whoever keeps the snapshot is gone: a connection that has it sees it to its end, but nobody could
    /// read the table like this again.
    pub(crate) fn is_kept(&self) -> Result<()> {
        match &self.exporter {
            Some(exporter) if exporter.is_gone() => Err(lost_snapshot()),
            _ => Ok(()),
        }
    }

    pub(crate) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.access.permits)
    }
}

/// Begins a transaction that sees a snapshot.
async fn import(client: &Client, snapshot: &str, sees: &str) -> Result<()> {
    client.begin(ONE_STATE).await?;
    client.run(&format!("SET TRANSACTION SNAPSHOT {}", literal(snapshot))).await?;
    let rows = client.query(&format!("SELECT {SEES}"), &[]).await?;
    match rows.first().is_some_and(|row| row.try_get(0).is_ok_and(|seen: &str| seen == sees)) {
        true => Ok(()),
        // The server was started anew, and somebody else has taken a snapshot of that name.
        false => Err(lost_snapshot()),
    }
}

/// Whether a snapshot can still be read.
pub(crate) async fn is_held(access: &Access, pin: &PinnedSnapshot) -> Result<bool> {
    let client = access.connect(Role::Reader).await?;
    if client.server().id != pin.server {
        return Ok(false);
    }
    match import(&client, &pin.snapshot, &pin.sees).await {
        Ok(()) => Ok(true),
        Err(e) if is_lost(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Opens a table at a snapshot that was taken before: by `exporter`, if there is one, or elsewhere.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if the table is not what was pinned.
pub(crate) async fn reopen(
    access: &Access,
    name: &Name,
    shown: &TableName,
    pin: &PinnedSnapshot,
    exporter: Option<Arc<Exporter>>,
) -> Result<(Relation, Reading)> {
    let reading = Reading::at(access.clone(), pin, exporter);
    let client = reading.client().await?;
    let other = |why: &str| Error::config(why).with("table", shown.as_str()).hint("make a new plan");
    if client.server().id != pin.server {
        return Err(other("the plan was made for another server or database"));
    }
    let relation = found(&client, &access.settings, name).await?;
    let ids = |parts: &[PinnedPart]| parts.iter().map(|part| part.id).collect::<Vec<_>>();
    if ids(&relation.parts) != ids(&pin.parts) {
        return Err(other("the table is not the one that was pinned"));
    }
    reading.give_back(client);
    Ok((relation, reading))
}
