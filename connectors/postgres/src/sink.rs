//! A table being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::Schema;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use transload_core::connector::{Sink, TableState, WriteMode, WriteSpec};
use transload_core::{Committed, Error, Result, Staged, TableName};

use crate::columns::Columns;
use crate::connections::Connections;
use crate::names::Name;
use crate::records::{Records, is_there};
use crate::stage::StagedUnit;
use crate::staging::{Staging, check_schema};
use crate::target::Target;

/// The version of a table that nothing was committed to.
const UNKNOWN: i64 = 0;

/// A table that is written.
pub(crate) struct PostgresSink {
    pub(crate) name: Name,
    /// Its name as the pipeline has it.
    shown: TableName,
    pub(crate) columns: Columns,
    pub(crate) spec: WriteSpec,
    pub(crate) records: Records,
    pub(crate) staging: Staging,
    pub(crate) connections: Arc<Connections>,
    /// Bytes that were sent, without those of attempts that failed.
    pub(crate) written: AtomicU64,
}

/// Prepares a table for writing. Nobody is connected to.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for columns that no table of the server has.
pub(crate) fn open(
    connections: &Arc<Connections>,
    name: Name,
    shown: TableName,
    schema: &Schema,
    spec: &WriteSpec,
) -> Result<Arc<dyn Sink>> {
    let named = |error: Error| error.with("table", shown.as_str());
    if spec.mode == WriteMode::ReplacePartitions {
        let said = "tables of PostgreSQL are not replaced by partition";
        return Err(named(Error::config(said).hint("use `mode: full` or `merge`")));
    }
    Ok(Arc::new(PostgresSink {
        columns: Columns::of(schema, spec).map_err(named)?,
        records: Records::of(&name.schema),
        staging: Staging::of(&name, &spec.commit),
        connections: Arc::clone(connections),
        spec: spec.clone(),
        written: AtomicU64::default(),
        shown,
        name,
    }))
}

impl PostgresSink {
    /// Refuses rows that cannot go into the table that is there, or into any in its schema.
    async fn check(&self) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let client = self.connections.take().await?;
        check_schema(&client, &self.name.schema).await?;
        self.records.check(&client).await?;
        if let Some(target) = Target::find(&client, &self.name).await? {
            let last = self.records.last(&client, &self.name.table).await?;
            self.way(&client, &target, last.as_ref()).await?;
        }
        client.give_back();
        Ok(())
    }

    pub(crate) fn named(&self, error: Error) -> Error {
        error.with("table", self.shown.as_str())
    }

    async fn remembered(&self) -> Result<Option<(String, TableState)>> {
        let client = self.connections.take().await?;
        let target = Target::find(&client, &self.name).await?;
        let last = self.records.last(&client, &self.name.table).await?;
        client.give_back();
        let Some(target) = target else { return Ok(None) };
        let version = last.as_ref().map_or(UNKNOWN, |last| last.version);
        // A table that somebody made anew under the name need not hold what was loaded into the other one.
        let state = last.filter(|last| last.relation == target.oid).map(|last| last.state).unwrap_or_default();
        Ok(Some((version.to_string(), state)))
    }

    async fn has_staged(&self, staged: &Staged) -> Result<bool> {
        let unit = StagedUnit::of(staged)?;
        let client = self.connections.take().await?;
        let mut has = self.records.are_there(&client).await? && is_there(&client, &self.staging.quoted()).await?;
        if has {
            let noted = self.records.unit(&client, &self.spec.commit, &staged.unit).await?;
            has = noted.is_some_and(|noted| unit.is(&noted));
        }
        client.give_back();
        Ok(has)
    }

    async fn has_committed(&self) -> Result<bool> {
        let client = self.connections.take().await?;
        let mut found = self.records.find(&client, &self.name.table, &self.spec.commit).await?;
        if found.is_none() {
            // Whoever died while he committed may not have ended at the server yet.
            self.take_key(&client).await?;
            found = self.records.find(&client, &self.name.table, &self.spec.commit).await?;
            client.run("ROLLBACK").await?;
        }
        client.give_back();
        Ok(found.is_some())
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn state(&self) -> Result<Option<(String, TableState)>> {
        self.remembered().await.map_err(|e| self.named(e))
    }

    async fn fits(&self) -> Result<()> {
        self.check().await.map_err(|e| self.named(e))
    }

    async fn stage(&self, unit: &str, rows: SendableRecordBatchStream, memory: &Arc<dyn MemoryPool>) -> Result<Staged> {
        self.stage_unit(unit, rows, memory).await.map_err(|e| self.named(e))
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    async fn commit(&self, staged: Vec<Staged>, state: TableState, _: &Arc<dyn MemoryPool>) -> Result<Committed> {
        self.publish(&staged, state).await.map_err(|e| self.named(e))
    }

    async fn is_staged(&self, staged: &Staged) -> Result<bool> {
        self.has_staged(staged).await.map_err(|e| self.named(e))
    }

    async fn is_committed(&self) -> Result<bool> {
        self.has_committed().await.map_err(|e| self.named(e))
    }

    async fn abort(&self) -> Result<()> {
        self.give_up().await.map_err(|e| self.named(e))
    }

    async fn withdraw(&self) -> Result<()> {
        self.take_back().await.map_err(|e| self.named(e))
    }
}
