//! Reads a Parquet file through the lake connector, with or without hashing its rows.
//!
//!     cargo run --release -p transload-benches --bin digest_file -- FOLDER TABLE read|xxh64|sha256

#![allow(clippy::print_stdout)]

use std::sync::Arc;

use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use transload_core::connector::ReadSpec;
use transload_core::secret::NoReferences;
use transload_core::{Connector, Error, Result, TableName};
use transload_digest::{Algorithm, RowHasher, TableDigest};
use transload_lake::Lake;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, table, how] = args.as_slice() else { return Err(Error::config("FOLDER TABLE read|xxh64|sha256")) };
    let algorithm: Option<Algorithm> = match how.as_str() {
        "read" => None,
        name => Some(name.parse().map_err(Error::config)?),
    };
    let options =
        serde_json::from_value(serde_json::json!({ "url": folder })).map_err(|e| Error::config(e.to_string()))?;
    let lake = Lake.parse(&options, Arc::new(NoReferences)).map_err(|p| Error::config(format!("{p:?}")))?;
    let source = lake.source(&TableName::new(table.clone()), &ReadSpec::default()).await?;
    let threads = std::thread::available_parallelism()?.get();
    let session = SessionContext::new_with_config(SessionConfig::new().with_batch_size(8192));
    let scan = source.provider()?.scan(&session.state(), None, &[], None).await?;
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let splits = source.splits().len();
    let bits = TableDigest::bits_for(source.splits().iter().filter_map(|split| split.rows).sum());
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..threads {
        let (scan, context, next) = (Arc::clone(&scan), session.task_ctx(), Arc::clone(&next));
        running.spawn(async move {
            let mut digest = TableDigest::new(algorithm.unwrap_or_default(), bits);
            let mut rows = 0;
            loop {
                let split = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if split >= splits {
                    return Ok::<_, Error>((digest, rows));
                }
                let mut batches = scan.execute(split, Arc::clone(&context))?;
                let mut hasher = RowHasher::new(&batches.schema(), algorithm.unwrap_or_default())?;
                while let Some(batch) = batches.next().await {
                    let batch = batch?;
                    rows += batch.num_rows();
                    if algorithm.is_some() {
                        digest.add(&hasher.hash(batch.columns(), batch.num_rows())?, None);
                    }
                }
            }
        });
    }
    let mut total = TableDigest::new(algorithm.unwrap_or_default(), bits);
    let mut rows = 0;
    while let Some(part) = running.join_next().await {
        let (digest, count) = part.map_err(|e| Error::internal("a task died").because(e))??;
        total.merge(&digest)?;
        rows += count;
    }
    println!("{rows} rows {}", if algorithm.is_some() { total.to_string() } else { String::new() });
    Ok(())
}
