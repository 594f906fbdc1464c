//! The connections by which a table is written.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use transload_core::{Error, Resolve, Result};

use crate::client::{Client, Role};
use crate::error::sqlstate;
use crate::options::Settings;
use crate::sessions::Sessions;

/// Connections of one endpoint, whatever the tables, no more at the same time than the settings allow. Nobody who has one
/// waits for another.
pub(crate) struct Connections {
    settings: Arc<Settings>,
    resolver: Arc<dyn Resolve>,
    permits: Semaphore,
    sessions: Sessions,
    /// Those that nobody uses now.
    idle: Mutex<Vec<Client>>,
}

/// A connection that somebody uses. Unless it is [given back](Lease::give_back) it is closed, and with that the server
/// undoes what it was about.
pub(crate) struct Lease<'a> {
    client: Client,
    from: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

impl Connections {
    pub(crate) fn new(settings: &Arc<Settings>, resolver: &Arc<dyn Resolve>) -> Self {
        Self {
            settings: Arc::clone(settings),
            resolver: Arc::clone(resolver),
            permits: Semaphore::new(settings.connections.max(1)),
            sessions: Sessions::of(Role::Writer),
            idle: Mutex::default(),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A connection, as soon as there may be one more.
    ///
    /// # Errors
    /// As connecting fails, and [`Config`](transload_core::ErrorKind::Config) for a server that is only read.
    pub(crate) async fn take(&self) -> Result<Lease<'_>> {
        let permit = self.permits.acquire().await;
        let permit = permit.map_err(|e| Error::internal("the connections of an endpoint are closed").because(e))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let client = match idle.filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.writer().await?,
        };
        Ok(Lease { client, from: self, _permit: permit })
    }

    /// Closes those that nobody uses.
    pub(crate) fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.sessions.close_spare();
    }

    /// Connects, to write.
    async fn writer(&self) -> Result<Client> {
        let client = self.sessions.connect(&self.settings, self.resolver.as_ref()).await?;
        match client.server().in_recovery {
            true => Err(Error::config("the server takes no changes on this connection: it is a replica")
                .hint("connect to its primary")),
            false => Ok(client),
        }
    }
}

/// Whether somebody else has locked what a statement needs: a `lock_timeout` has ended it, or a deadlock.
pub(crate) fn is_in_use(error: &Error) -> bool {
    matches!(sqlstate(error), Some("55P03" | "40P01"))
}

impl Lease<'_> {
    /// Leaves the connection for others. No transaction may be open in it.
    pub(crate) fn give_back(self) {
        self.from.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.client);
    }
}

impl Deref for Lease<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
