//! SIGINT and SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use transload_core::{ErrorKind, Result};

/// Which signal came, if any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// Cancelled by the first signal.
    pub(crate) cancel: CancellationToken,
    code: Arc<AtomicU8>,
}

impl Signals {
    /// Listens from now on. The second signal ends the process at once.
    pub(crate) fn listen() -> Result<Self> {
        let signals = Self::default();
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let heard = signals.clone();
        tokio::spawn(async move {
            loop {
                let kind = tokio::select! {
                    _ = int.recv() => ErrorKind::Interrupted,
                    _ = term.recv() => ErrorKind::Terminated,
                };
                if heard.cancel.is_cancelled() {
                    std::process::exit(i32::from(kind.exit_code()));
                }
                heard.code.store(kind.exit_code(), Ordering::SeqCst);
                heard.cancel.cancel();
            }
        });
        Ok(signals)
    }

    /// The exit code of the signal that came.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        Some(self.code.load(Ordering::SeqCst)).filter(|c| *c != 0)
    }
}
