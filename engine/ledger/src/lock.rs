//! One run of a pipeline at a time.

use object_store::path::Path;
use transload_core::store::Lock;
use transload_core::{Error, Result};

use crate::Ledger;

/// Held while a pipeline runs.
///
/// In a folder the system frees it when the process ends, however it ends; in a bucket it runs out when the process
/// does not renew it any more.
#[derive(Debug)]
pub struct PipelineLock(Lock);

impl PipelineLock {
    /// Gives the lock back, so that the next run can begin at once.
    pub async fn release(self) {
        self.0.release().await;
    }
}

impl Ledger {
    /// Takes the lock of a pipeline.
    ///
    /// # Errors
    /// [`Transient`](transload_core::ErrorKind::Transient) if another process holds it.
    pub async fn lock(&self, pipeline: &str) -> Result<PipelineLock> {
        let path = Path::from(format!("locks/{pipeline}.lock"));
        if let Some(lock) = self.store.try_lock(&path).await? {
            return Ok(PipelineLock(lock));
        }
        let hint = match self.store.is_local() {
            true => "wait for it; `transload runs` lists the runs",
            false => "wait for it, or for half a minute if it was killed; `transload runs` lists the runs",
        };
        Err(Error::transient("another run of this pipeline is not finished yet").with("pipeline", pipeline).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::ledgers;

    #[tokio::test]
    async fn a_lock_is_held_once() {
        let (_dir, ledgers) = ledgers();
        for ledger in &ledgers {
            let first = ledger.lock("p").await.unwrap();
            assert!(ledger.lock("p").await.unwrap_err().is_transient());
            ledger.lock("q").await.unwrap();
            first.release().await;
            ledger.lock("p").await.unwrap();
        }
    }
}
