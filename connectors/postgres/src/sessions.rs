//! How the connections of an endpoint are made, and that each has a session of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;
use transload_core::{Resolve, Result};

use crate::client::{Client, Role};
use crate::error::{is_pooled, pooled};
use crate::options::Settings;

/// Makes the connections of one endpoint in one role.
///
/// A pooler of transactions that has nothing else to do gives all of them the same session. Nobody who asks one connection
/// alone can see that, and the settings of the session would stay for whoever is given it next. So another is made with the
/// first one, while nobody uses that: it is for whoever connects next.
pub(crate) struct Sessions {
    role: Role,
    are_own: OnceCell<()>,
    spare: Mutex<Option<Client>>,
}

impl Sessions {
    pub(crate) fn of(role: Role) -> Self {
        Self { role, are_own: OnceCell::new(), spare: Mutex::default() }
    }

    /// A connection that nobody else uses.
    ///
    /// # Errors
    /// As [`Client::connect`] fails.
    pub(crate) async fn connect(&self, settings: &Settings, resolver: &dyn Resolve) -> Result<Client> {
        let spare = self.spare().take();
        if let Some(client) = spare.filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        let client = Client::connect(settings, resolver, self.role).await?;
        self.are_own.get_or_try_init(|| self.look(&client, settings, resolver)).await?;
        Ok(client)
    }

    /// Closes the connection that nobody has used yet.
    pub(crate) fn close_spare(&self) {
        *self.spare() = None;
    }

    /// Makes another connection beside one that nobody uses yet. Who cannot have two is not refused for it: each transaction
    /// looks for its session, too.
    async fn look(&self, client: &Client, settings: &Settings, resolver: &dyn Resolve) -> Result<()> {
        match Client::connect(settings, resolver, self.role).await {
            Ok(other) if other.has_session_of(client) => {
                // Others get the session after this.
                let _ = other.run("RESET ALL").await;
                Err(pooled())
            }
            Ok(other) => {
                *self.spare() = Some(other);
                Ok(())
            }
            Err(error) if is_pooled(&error) => Err(error),
            Err(_) => Ok(()),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Option<Client>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
