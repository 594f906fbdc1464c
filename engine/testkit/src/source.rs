//! What every source promises.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use transload_core::connector::ReadSpec;
use transload_core::{Endpoint, Result, Source, TableName};
use transload_digest::{Algorithm, RowHasher, TableDigest};

use crate::promise;

/// A session in which a partition reads its own part only.
pub(crate) fn session() -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().execution.enable_file_stream_work_stealing = false;
    SessionContext::new_with_config(config)
}

/// The digest of everything a source gives, and the number of rows of each split.
///
/// # Errors
/// As reading fails.
pub async fn digest_of(source: &Arc<dyn Source>, projection: Option<&Vec<usize>>) -> Result<(TableDigest, Vec<u64>)> {
    let session = session();
    let scan = source.provider()?.scan(&session.state(), projection, &[], None).await?;
    promise(scan.output_partitioning().partition_count() == source.splits().len(), "one partition per split")?;
    let mut digest = TableDigest::new(Algorithm::Xxh64, 0);
    let mut counts = Vec::new();
    for split in 0..source.splits().len() {
        let mut rows = scan.execute(split, session.task_ctx())?;
        let mut hasher = RowHasher::new(&rows.schema(), Algorithm::Xxh64)?;
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            count += batch.num_rows() as u64;
            digest.add(&hasher.hash(batch.columns(), batch.num_rows())?, None);
        }
        counts.push(count);
    }
    Ok((digest, counts))
}

/// Checks every promise of [`Source`] on one table.
///
/// # Errors
/// The promise that is broken.
pub async fn source_keeps_its_promises(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<()> {
    endpoint.check_name(table).map_err(transload_core::Error::config)?;
    let source = endpoint.source(table, &ReadSpec::default()).await?;
    let (whole, counts) = digest_of(&source, None).await?;

    for (split, count) in source.splits().iter().zip(&counts) {
        // Lineitem's formula gives its rows only on average, so a split's number is no promise there.
        let exact = !matches!(source.pin(), transload_core::Pin::Formula(_));
        promise(!exact || split.rows.is_none_or(|r| r == *count), format!("{} has the rows it names", split.label))?;
    }
    let again = endpoint.source(table, &ReadSpec { pin: Some(source.pin().clone()) }).await?;
    promise(again.splits() == source.splits(), "splits depend on the pin alone")?;
    promise(again.schema() == source.schema(), "the schema depends on the pin alone")?;
    promise(digest_of(&again, None).await? == (whole.clone(), counts), "the same pin gives the same rows")?;

    let columns = source.schema().fields().len();
    for column in 0..columns {
        let (one, _) = digest_of(&source, Some(&vec![column])).await?;
        promise(one.rows() == whole.rows(), "a projection keeps every row")?;
    }
    let reversed: Vec<usize> = (0..columns).rev().collect();
    promise(
        digest_of(&source, Some(&reversed)).await?.0.rows() == whole.rows(),
        "columns come in the order asked for",
    )?;
    promise(digest_of(&source, Some(&Vec::new())).await?.0.rows() == whole.rows(), "rows without columns are rows")?;
    let missing = TableName::new("there_is_no_such_table");
    promise(endpoint.source(&missing, &ReadSpec::default()).await.is_err(), "a missing table is an error")
}
