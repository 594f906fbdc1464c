//! Statements that are stopped at the server when nobody needs them any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::{CancelToken, NoTls};

use super::{End, Way};
use crate::error::explain;
use crate::tls::{Encryption, connector};

/// The longest that the server may take to hear of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the server to stop what a connection does, if it is dropped while it is armed, as it is from the beginning.
///
/// # Behavior
/// The server is asked on a connection of its own, which is as secure as the other one, and whoever drops this waits until
/// it has heard of it, or two seconds: a program that ends leaves nothing running behind. The server may stop the next
/// thing that the connection asks for instead: a connection of which a guard was dropped while armed is good for nothing
/// more. Nothing happens if the connection is gone.
#[must_use = "it stops the statement when it is dropped"]
pub(crate) struct CancelGuard {
    token: CancelToken,
    way: Way,
    end: Arc<End>,
    is_armed: AtomicBool,
}

impl CancelGuard {
    pub(super) fn new(token: CancelToken, way: Way, end: Arc<End>) -> Self {
        Self { token, way, end, is_armed: AtomicBool::new(true) }
    }

    /// The statement has ended: there is nothing to stop.
    pub(crate) fn disarm(&self) {
        self.is_armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if !self.is_armed.load(Ordering::Relaxed) || self.end.get().is_some() {
            return;
        }
        let (token, way) = (self.token.clone(), self.way.clone());
        // The runtime of whoever drops this may be about to end.
        let asking = std::thread::Builder::new().spawn(move || -> io::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(token, way));
            Ok(())
        });
        // A machine that has no room for a thread must not take this one down, too.
        let asked = asking.and_then(|asking| asking.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
        if let Err(error) = asked {
            tracing::debug!("the server cannot be asked to stop a statement: {error}");
        }
    }
}

async fn ask(token: CancelToken, mut way: Way) {
    let asked = async {
        let socket = way.address.connect().await?;
        let asked = match way.encryption {
            Encryption::Plain => token.cancel_query_raw(socket, NoTls).await,
            Encryption::Tls(tls) => token.cancel_query_raw(socket, connector(&tls, &way.address.host)?).await,
        };
        asked.map_err(explain)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("the server could not be asked to stop a statement: {error}"),
        Err(_) => tracing::debug!("the server could not be asked to stop a statement in time"),
    }
}
