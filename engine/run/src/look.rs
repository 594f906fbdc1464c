//! Reading rows for somebody who only looks at them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use transload_core::{Result, Source};

/// Shows every row of a pinned table to `see`, batch by batch, in those of its columns that have one of these names.
///
/// # Errors
/// As reading fails, or `see` does.
pub async fn look(
    source: &Arc<dyn Source>,
    names: &[&str],
    session: &SessionContext,
    mut see: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let schema = source.schema();
    let projection: Vec<usize> = names.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    let state = session.state();
    let scan = source.provider()?.scan(&state, Some(&projection), &[], None).await?;
    for partition in 0..scan.output_partitioning().partition_count() {
        let mut rows = scan.execute(partition, session.task_ctx())?;
        while let Some(batch) = rows.next().await.transpose()? {
            see(&batch)?;
        }
    }
    Ok(())
}
