//! A database, and how its tables are found and opened.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};
use transload_core::connector::{
    CatalogInfo, CleanSpec, Endpoint, Orphan, ReadSpec, Sink, Source, TableInfo, WriteMode, WriteSpec,
};
use transload_core::{Error, LogicalType, Pin, Problem, Result, TableName};

use crate::catalog::{self, Relation};
use crate::client::Client;
use crate::connections::Connections;
use crate::names::Name;
use crate::pin::{Access, Exporter, ONE_STATE, found, is_held};
use crate::scan::schema_of;
use crate::source;
use crate::types::{self, Kind};
use crate::{clean, sink};

/// One database.
pub(crate) struct PostgresEndpoint {
    access: Access,
    /// Who pins all tables at the same time, if they are; made with the first one.
    together: Option<OnceCell<Arc<Exporter>>>,
    /// Who looks at tables without pinning them.
    looking: Mutex<Option<Client>>,
    /// By which tables are written.
    connections: Arc<Connections>,
}

impl PostgresEndpoint {
    pub(crate) fn new(access: Access) -> Self {
        let connections = Arc::new(Connections::new(&access.settings, &access.resolver));
        Self { access, together: None, looking: Mutex::default(), connections }
    }

    fn name(&self, table: &TableName) -> Result<Name, String> {
        Name::parse(table, &self.access.settings.schema)
    }

    /// The one that pins all tables at the same time.
    async fn exporter(&self) -> Result<Option<Arc<Exporter>>> {
        let Some(cell) = &self.together else { return Ok(None) };
        cell.get_or_try_init(async || Exporter::begin(&self.access).await.map(Arc::new)).await.cloned().map(Some)
    }

    /// A table as it is now, and the connection whose transaction looks at it: one table is looked at after the other, by
    /// one connection.
    async fn look(&self, client: Option<Client>, table: &TableName) -> Result<(Client, Relation)> {
        let name = self.name(table).map_err(Error::config)?;
        let client = match client.filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.access.connect().await?,
        };
        client.begin(ONE_STATE).await?;
        let relation = found(&client, &self.access.settings, &name).await?;
        Ok((client, relation))
    }

    async fn info(&self, client: &Client, relation: &Relation) -> Result<TableInfo> {
        Ok(TableInfo {
            name: relation.name.shown(),
            format: "postgres".to_string(),
            columns: relation.columns.iter().map(|c| (c.name.clone(), meant(&c.kind), c.nullable)).collect(),
            rows: None,
            estimated_rows: None,
            bytes: relation.bytes,
            files: None,
            catalog: Some(CatalogInfo { estimated_rows: relation.rows, ..catalog::info(client, relation).await? }),
        })
    }
}

/// What values of a column are, whatever they are read as.
fn meant(kind: &Kind) -> LogicalType {
    match kind {
        Kind::Declared(ty) => ty.clone(),
        other => other.logical(),
    }
}

#[async_trait]
impl Endpoint for PostgresEndpoint {
    fn check_name(&self, table: &TableName) -> Result<(), String> {
        self.name(table).map(drop)
    }

    fn common_name(&self, table: &TableName) -> TableName {
        self.name(table).map_or_else(|_| table.clone(), |name| name.shown())
    }

    fn check_write(&self, spec: &WriteSpec) -> Result<(), String> {
        if spec.mode == WriteMode::ReplacePartitions {
            return Err("a table of Postgres is written as a whole, not by its partitions".to_string());
        }
        match spec.partition_by.is_empty() {
            true => Ok(()),
            false => Err("a table of Postgres is not laid out by partition here".to_string()),
        }
    }

    fn check_read(&self) -> Vec<Problem> {
        Vec::new()
    }

    fn known_tables(&self) -> Option<Vec<TableName>> {
        None
    }

    fn declares_types(&self) -> bool {
        self.access.settings.special_values == crate::options::SpecialValues::Cast
    }

    fn instead_of(&self, ty: &LogicalType) -> Option<LogicalType> {
        types::instead_of(ty)
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        let client = self.access.connect().await?;
        let names = catalog::names(&client, self.access.settings.schemas.as_deref()).await?;
        let mut names: Vec<TableName> = names.iter().map(Name::shown).collect();
        names.sort();
        Ok(names)
    }

    async fn describe(&self, table: &TableName) -> Result<TableInfo> {
        let mut looking = self.looking.lock().await;
        let (client, relation) = self.look(looking.take(), table).await?;
        let info = self.info(&client, &relation).await?;
        client.run("COMMIT").await?;
        *looking = Some(client);
        Ok(info)
    }

    /// What the catalogue says: nothing is pinned for it.
    async fn columns(&self, table: &TableName) -> Result<SchemaRef> {
        let mut looking = self.looking.lock().await;
        let (client, relation) = self.look(looking.take(), table).await.map_err(|e| e.with("table", table.as_str()))?;
        client.run("COMMIT").await?;
        *looking = Some(client);
        Ok(schema_of(&relation.columns))
    }

    async fn source(&self, table: &TableName, spec: &ReadSpec) -> Result<Arc<dyn Source>> {
        // Whoever looks at tables would be one connection too many beside those that read.
        if let Ok(mut looking) = self.looking.try_lock() {
            *looking = None;
        }
        let together = match &spec.pin {
            None => self.exporter().await?,
            Some(_) => self.together.as_ref().and_then(OnceCell::get).cloned(),
        };
        let source = source::open(&self.access, table, spec, together).await;
        Ok(Arc::new(source.map_err(|e| e.with("table", table.as_str()))?))
    }

    fn together(self: Arc<Self>) -> Arc<dyn Endpoint> {
        Arc::new(Self {
            access: self.access.clone(),
            together: Some(OnceCell::new()),
            looking: Mutex::default(),
            connections: Arc::clone(&self.connections),
        })
    }

    async fn holds(&self, pin: &Pin) -> Result<bool> {
        match pin {
            Pin::Snapshot(pin) => match self.together.as_ref().and_then(OnceCell::get) {
                Some(own) if own.has_taken(pin) => own.is_readable().await,
                _ => is_held(&self.access, pin).await,
            },
            Pin::Formula(_) | Pin::Files(_) | Pin::Version(_) => Ok(true),
        }
    }

    async fn sink(&self, table: &TableName, schema: SchemaRef, spec: &WriteSpec) -> Result<Arc<dyn Sink>> {
        let name = self.name(table).map_err(Error::config)?;
        sink::open(&self.connections, name, table.clone(), &schema, spec)
    }

    async fn clean(&self, spec: &CleanSpec) -> Result<Vec<Orphan>> {
        clean::clean(&self.connections, spec).await
    }
}
