//! How much of the machine a run may use.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use transload_core::Result;
use transload_core::memory::{SortingPool, sorters};

/// Rows in a batch.
const BATCH_ROWS: usize = 8192;

/// How much of the machine a run may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Memory for everything that grows with the data, in bytes.
    pub memory_bytes: usize,
    /// Units that run at the same time.
    pub parallel: usize,
    /// Where to put what does not fit into memory; the system's place for temporary files, if not given.
    pub temp_dir: Option<PathBuf>,
}

impl Limits {
    /// A query-engine session under these limits.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the folder for temporary files cannot be used.
    pub fn session(&self) -> Result<SessionContext> {
        // To merge what a sort holds takes as much again. Two tables may be sorted at the same time.
        let pool = SortingPool::new(self.memory_bytes);
        let merging = SortingPool::for_merging(self.memory_bytes) / (2 * sorters(&pool, self.parallel));
        let top = NonZeroUsize::MIN.saturating_add(4);
        let mode = match &self.temp_dir {
            Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, top)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()?;
        let mut config = SessionConfig::new()
            .with_batch_size(BATCH_ROWS)
            .with_target_partitions(self.parallel)
            .with_sort_spill_reservation_bytes(merging);
        // A partition must read its own files, or a unit would not be the same twice.
        config.options_mut().execution.enable_file_stream_work_stealing = false;
        Ok(SessionContext::new_with_config_rt(config, runtime))
    }
}
