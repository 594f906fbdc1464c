//! Where the rows of a run go that only judges checks.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use futures::StreamExt;
use transload_core::connector::TableState;
use transload_core::{Committed, Error, Result, Sink, Staged};

/// Takes rows and keeps none.
pub(crate) struct Nowhere;

#[async_trait]
impl Sink for Nowhere {
    async fn state(&self) -> Result<Option<(String, TableState)>> {
        Ok(None)
    }

    async fn stage(&self, unit: &str, mut rows: SendableRecordBatchStream, _: &Arc<dyn MemoryPool>) -> Result<Staged> {
        let mut staged =
            Staged { unit: unit.to_string(), rows: 0, deleted: 0, bytes: 0, detail: serde_json::Value::Null };
        while let Some(batch) = rows.next().await.transpose()? {
            staged.rows += batch.num_rows() as u64;
        }
        Ok(staged)
    }

    async fn commit(&self, _: Vec<Staged>, _: TableState, _: &Arc<dyn MemoryPool>) -> Result<Committed> {
        Err(Error::internal("there is nothing to publish"))
    }

    async fn is_committed(&self) -> Result<bool> {
        Ok(false)
    }

    async fn abort(&self) -> Result<()> {
        Ok(())
    }
}
