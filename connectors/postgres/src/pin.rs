//! Points in time: a transaction that exports a snapshot, and others that see the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use transload_core::{Error, PinnedPart, PinnedSnapshot, Resolve, Result, TableName};

use crate::age::{is_young, refuse_old};
use crate::catalog::{self, Relation};
use crate::client::{Client, Role, ServerInfo};
use crate::error::{is_lost, lost_snapshot};
use crate::held::{hold, is_unmoved};
use crate::names::{Name, literal};
use crate::options::Settings;
use crate::readers::{Idle, Readers, Snapshot};
use crate::records::{Records, Since};
use crate::sessions::Sessions;

/// How a transaction begins that sees one state of the database, whatever others do.
pub(crate) const ONE_STATE: &str = "ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The transactions that a snapshot sees.
const SEES: &str = "pg_catalog.txid_current_snapshot()::text";

/// What every connection to one server is made of.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) settings: Arc<Settings>,
    pub(crate) resolver: Arc<dyn Resolve>,
    /// The connections that read.
    readers: Arc<Readers>,
    sessions: Arc<Sessions>,
}

impl Access {
    pub(crate) fn new(settings: Arc<Settings>, resolver: Arc<dyn Resolve>) -> Self {
        // One more keeps the snapshot.
        let readers = Arc::new(Readers::new(settings.connections.saturating_sub(1)));
        Self { settings, resolver, readers, sessions: Arc::new(Sessions::of(Role::Reader)) }
    }

    pub(crate) async fn connect(&self) -> Result<Client> {
        self.sessions.connect(&self.settings, self.resolver.as_ref()).await
    }

    /// A connection whose transaction sees a snapshot, and holds no other table than this, for whoever has a permit.
    async fn reader(&self, snapshot: &Snapshot, table: u32) -> Result<Client> {
        while let Some(Idle { client, table: held, .. }) = self.readers.take(snapshot, table) {
            // A server has no room for locks of all tables by all who read.
            if !client.is_closed() && (held == table || client.run(LET_GO).await.is_ok()) {
                return Ok(client);
            }
        }
        self.new_reader(snapshot).await?.ok_or_else(|| {
            Error::config("the snapshot was taken on another server, or in another database")
                .hint("make a new plan; if `host` leads to several servers, write the name of one")
        })
    }

    /// The same, made now; `None` if this is not the server that the snapshot was taken on.
    async fn new_reader(&self, snapshot: &Snapshot) -> Result<Option<Client>> {
        self.readers.make_room();
        let client = self.connect().await?;
        if client.server().id != snapshot.server {
            return Ok(None);
        }
        import(&client, snapshot).await?;
        Ok(Some(client))
    }
}

/// A transaction that keeps a snapshot readable for others, until it is dropped.
pub(crate) struct Exporter {
    looking: tokio::sync::Mutex<Looking>,
    server: ServerInfo,
    snapshot: Snapshot,
    position: String,
    /// The tables that it has pinned. They stay as they are until it is dropped.
    pinned: Mutex<BTreeMap<Name, Relation>>,
    readers: Arc<Readers>,
}

/// The exporting transaction, in which one table is looked up at a time, behind a savepoint.
struct Looking {
    client: Client,
    /// Whether somebody looks, or was stopped in the middle.
    is_begun: bool,
}

/// Gives up the locks of a transaction that was [imported](import).
const LET_GO: &str = "ROLLBACK TO SAVEPOINT unread";

const SAVEPOINT: &str = "SAVEPOINT looked_up";
const KEEP: &str = "RELEASE SAVEPOINT looked_up; SAVEPOINT looked_up";
const TAKE_BACK: &str = "ROLLBACK TO SAVEPOINT looked_up";

impl Exporter {
    /// Takes a snapshot.
    pub(crate) async fn begin(access: &Access) -> Result<Self> {
        let client = access.connect().await?;
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
        let text = |at: usize| catalog::get::<String>(row, at);
        let (server, position) = (client.server().id.clone(), text(2)?);
        let snapshot = Snapshot { server, name: text(0)?, sees: text(1)?, taken: text(3)? };
        client.run(SAVEPOINT).await?;
        Ok(Self {
            server: client.server().clone(),
            looking: tokio::sync::Mutex::new(Looking { client, is_begun: false }),
            snapshot,
            position,
            pinned: Mutex::default(),
            readers: Arc::clone(&access.readers),
        })
    }

    /// Looks a table up, and keeps others from changing more than its rows until the transaction ends.
    pub(crate) async fn pin(&self, settings: &Settings, name: &Name) -> Result<(Relation, PinnedSnapshot)> {
        let relation = self.look(async |client| locked(client, settings, name).await).await?;
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), relation.clone());
        let pin = PinnedSnapshot {
            server: self.snapshot.server.clone(),
            snapshot: self.snapshot.name.clone(),
            sees: self.snapshot.sees.clone(),
            position: self.position.clone(),
            taken: self.snapshot.taken.clone(),
            parts: relation.parts.clone(),
        };
        Ok((relation, pin))
    }

    /// A table that it has pinned.
    async fn relation(&self, settings: &Settings, name: &Name) -> Result<Relation> {
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        match pinned {
            Some(relation) => Ok(relation),
            None => self.look(async |client| found(client, settings, name).await).await,
        }
    }

    /// What was done to a table after a version of it, as far as it was done then.
    pub(crate) async fn since(&self, name: &Name, version: i64) -> Result<Since> {
        self.look(async |client| Records::of(&name.schema).since(client, &name.table, version).await).await
    }

    /// Looks at the catalogue as it was then.
    ///
    /// # Errors
    /// As `look` fails. What it has done is taken back then.
    ///
    /// # Cancellation
    /// What it has done is taken back by whoever looks next.
    pub(crate) async fn look<T>(&self, look: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
        let mut looking = self.looking.lock().await;
        if std::mem::replace(&mut looking.is_begun, true) {
            looking.client.run(TAKE_BACK).await?;
        }
        let found = look(&looking.client).await;
        let ended = looking.client.run(if found.is_ok() { KEEP } else { TAKE_BACK }).await;
        looking.is_begun = ended.is_err();
        // Why nothing was found says more than why it cannot be taken back.
        found.and_then(|found| ended.map(|()| found))
    }

    pub(crate) fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// Whether it has taken the snapshot of a pin.
    pub(crate) fn has_taken(&self, pin: &PinnedSnapshot) -> bool {
        self.snapshot == Snapshot::of(pin)
    }

    /// Whether the snapshot can still be read: its connection has not ended, and the server keeps what it sees.
    ///
    /// # Errors
    /// As the server fails.
    pub(crate) async fn is_readable(&self) -> Result<bool> {
        let keeps_all = self.server.keeps_minutes.is_none();
        Ok(!self.is_gone()
            && (keeps_all || self.look(async |client| is_young(client, &self.snapshot.taken).await).await?))
    }

    /// Whether its connection has ended, and the snapshot with it. One that is asked something right now has not.
    pub(crate) fn is_gone(&self) -> bool {
        self.looking.try_lock().is_ok_and(|looking| looking.client.is_closed())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.readers.close(&self.snapshot);
    }
}

/// A table that nobody can change any more but in its rows.
async fn locked(client: &Client, settings: &Settings, name: &Name) -> Result<Relation> {
    let relation = found(client, settings, name).await?;
    hold(client, &relation).await?;
    Ok(relation)
}

/// The table, which must be there.
pub(crate) async fn found(client: &Client, settings: &Settings, name: &Name) -> Result<Relation> {
    catalog::relation(client, name, settings).await?.ok_or_else(|| {
        Error::config(format!("there is no table {name} that may be read"))
            .hint("`transload discover` lists the tables; names are `schema.table`")
    })
}

/// A table that can be read in a snapshot.
pub(crate) struct Reading {
    access: Access,
    snapshot: Snapshot,
    /// Who keeps the snapshot, if it is kept here.
    exporter: Option<Arc<Exporter>>,
    /// The number of the table that is read.
    table: u32,
    is_utf8: bool,
}

impl Reading {
    /// Reads a table in the snapshot of a transaction, and keeps it.
    pub(crate) fn of(access: Access, exporter: Arc<Exporter>, table: u32) -> Self {
        let (snapshot, is_utf8) = (exporter.snapshot.clone(), exporter.server.is_utf8);
        Self { access, snapshot, exporter: Some(exporter), table, is_utf8 }
    }

    /// Waits until one more connection may read.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        self.access.readers.permit().await
    }

    /// A connection whose transaction sees the snapshot, for whoever has a permit.
    ///
    /// # Errors
    /// [`Transient`](transload_core::ErrorKind::Transient) if whoever took the snapshot is not connected any more.
    pub(crate) async fn client(&self) -> Result<Client> {
        self.is_kept()?;
        self.access.reader(&self.snapshot, self.table).await
    }

    /// Takes a connection back whose transaction is as good as before, from whoever has its permit still.
    pub(crate) fn give_back(&self, client: Client) {
        self.access.readers.give_back(Idle { client, snapshot: self.snapshot.clone(), table: self.table });
    }

    /// Refuses what was read of a part by a connection, if it need not be what the snapshot sees: since another part has its
    /// name by now, or whoever kept the snapshot and the part as they were is gone, or the server may have removed some of its
    /// rows. A connection that has the snapshot sees it to its end, but nobody could read the table like this again.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the part is another one;
    /// [`Transient`](transload_core::ErrorKind::Transient) if nobody keeps the snapshot, or the server does not.
    pub(crate) async fn confirm(&self, client: &Client, part: &PinnedPart) -> Result<()> {
        self.is_kept()?;
        match is_unmoved(client, std::slice::from_ref(part), &[part.id]).await? {
            true => refuse_old(client, &self.snapshot.taken).await,
            false => {
                Err(Error::config("the table was replaced or made anew after it was pinned").hint("make a new plan"))
            }
        }
    }

    fn is_kept(&self) -> Result<()> {
        match &self.exporter {
            Some(exporter) if exporter.is_gone() => Err(lost_snapshot()),
            _ => Ok(()),
        }
    }

    /// Whether the server has every text that a filter may ask for.
    pub(crate) fn is_utf8(&self) -> bool {
        self.is_utf8
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // With the exporter it would go later.
        if self.exporter.is_none() {
            self.access.readers.close(&self.snapshot);
        }
    }
}

/// The number that no table has.
const NO_TABLE: u32 = 0;

/// Begins a transaction that sees a snapshot, and can let go of what it has locked.
async fn import(client: &Client, snapshot: &Snapshot) -> Result<()> {
    client.begin(ONE_STATE).await?;
    client.run(&format!("SET TRANSACTION SNAPSHOT {}; SAVEPOINT unread", literal(&snapshot.name))).await?;
    let rows = client.query(&format!("SELECT {SEES}"), &[]).await?;
    match rows.first().is_some_and(|row| row.try_get(0).is_ok_and(|sees: &str| sees == snapshot.sees)) {
        true => refuse_old(client, &snapshot.taken).await,
        // The server was started anew, and somebody else has taken a snapshot of that name.
        false => Err(lost_snapshot()),
    }
}

/// Whether a snapshot can still be read.
pub(crate) async fn is_held(access: &Access, pin: &PinnedSnapshot) -> Result<bool> {
    let _permit = access.readers.permit().await?;
    // One that has it already proves nothing: it has it to its own end.
    match access.new_reader(&Snapshot::of(pin)).await {
        Ok(client) => Ok(client.is_some()),
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
    let (relation, reading) = match exporter {
        Some(exporter) => {
            if exporter.is_gone() {
                return Err(lost_snapshot());
            }
            let relation = exporter.relation(&access.settings, name).await?;
            let table = relation.oid;
            (relation, Reading::of(access.clone(), exporter, table))
        }
        None => {
            let (_permit, snapshot) = (access.readers.permit().await?, Snapshot::of(pin));
            let client = access.reader(&snapshot, NO_TABLE).await?;
            let relation = found(&client, &access.settings, name).await?;
            let (table, is_utf8) = (relation.oid, client.server().is_utf8);
            let reading = Reading { access: access.clone(), snapshot, exporter: None, table, is_utf8 };
            reading.give_back(client);
            (relation, reading)
        }
    };
    let ids = |parts: &[PinnedPart]| parts.iter().map(|part| part.id).collect::<Vec<_>>();
    match ids(&relation.parts) == ids(&pin.parts) {
        true => Ok((relation, reading)),
        false => Err(Error::config("the table is not the one that was pinned")
            .with("table", shown.as_str())
            .hint("make a new plan")),
    }
}
