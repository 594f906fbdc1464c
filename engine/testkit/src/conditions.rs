//! What every source promises about conditions that are pushed down to it.

use std::sync::Arc;

use datafusion::catalog::MemTable;
use transload_core::{Result, Source};

use crate::promise;
use crate::reading::session;

/// Checks that a source gives every row that fits, for each of these conditions in SQL, and returns how many rows fit.
///
/// # Errors
/// The condition that lost a row, or got one too many.
pub async fn conditions_lose_nothing(source: &Arc<dyn Source>, conditions: &[String]) -> Result<Vec<usize>> {
    let session = session();
    session.register_table("source", source.provider()?)?;
    let everything = session.sql("SELECT * FROM source").await?.collect().await?;
    let schema = everything.first().map_or_else(|| source.schema(), |batch| batch.schema());
    session.register_table("whole", Arc::new(MemTable::try_new(schema, vec![everything])?))?;
    let mut fitting = Vec::with_capacity(conditions.len());
    for condition in conditions {
        let [given, expected] = ["source", "whole"].map(|table| format!("SELECT * FROM {table} WHERE {condition}"));
        let given = session.sql(&given).await?.count().await?;
        let expected = session.sql(&expected).await?.count().await?;
        promise(given == expected, format!("{expected} rows fit `{condition}`, and {given} were given"))?;
        fitting.push(expected);
    }
    Ok(fitting)
}
