//! One run of a pipeline at a time.

use std::fs::{File, TryLockError};

use object_store::path::Path;
use transload_core::store::make_folder;
use transload_core::{Error, Result};

use crate::Ledger;

/// Held while a pipeline runs. The system frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct PipelineLock(#[expect(dead_code, reason = "held, not read")] File);

impl Ledger {
    /// Takes the lock of a pipeline.
    ///
    /// # Errors
    /// [`Transient`](transload_core::ErrorKind::Transient) if another process holds it.
    pub fn lock(&self, pipeline: &str) -> Result<PipelineLock> {
        let path = self.store.local_path(&Path::from(format!("locks/{pipeline}.lock")));
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(PipelineLock(file)),
            Err(TryLockError::WouldBlock) => Err(Error::transient("another run of this pipeline is not finished yet")
                .with("pipeline", pipeline)
                .hint("wait for it; `transload runs` lists the runs")),
            Err(TryLockError::Error(e)) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().to_str().unwrap(), true).unwrap();
        let first = ledger.lock("p").unwrap();
        assert!(ledger.lock("p").unwrap_err().is_transient());
        ledger.lock("q").unwrap();
        drop(first);
        ledger.lock("p").unwrap();
    }
}
