//! A configured lake: its tables, and how they are opened.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use secrecy::ExposeSecret;
use transload_core::connector::{Endpoint, ReadSpec, Sink, Source, TableInfo, WriteSpec};
use transload_core::store::{Store, relative};
use transload_core::{Error, LogicalType, Problem, Resolve, Result, TableName};

use crate::commit::LakeSink;
use crate::listing;
use crate::options::{Format, Settings};
use crate::source::LakeSource;

/// A folder of tables.
pub(crate) struct LakeEndpoint {
    pub(crate) settings: Arc<Settings>,
    pub(crate) resolver: Arc<dyn Resolve>,
}

impl LakeEndpoint {
    fn open(&self, create: bool) -> Result<Store> {
        let url = self.settings.url.resolve(&self.resolver)?;
        Store::open_as(url.expose_secret(), self.settings.url.as_written(), create, self.resolver.as_ref())
    }
}

#[async_trait]
impl Endpoint for LakeEndpoint {
    fn check_name(&self, table: &TableName) -> Result<(), String> {
        listing::check_name(table).map(drop)
    }

    fn check_write(&self, _: &WriteSpec) -> Result<(), String> {
        match self.settings.format {
            Format::Parquet => Ok(()),
            Format::Csv => Err("CSV can only be read; write Parquet".to_string()),
        }
    }

    fn check_read(&self) -> Vec<Problem> {
        let message = "`parquet` does nothing here: it says how files are written, and a source is only read";
        let problem = |span| Problem::new(span, message).hint("move it to the target, or remove it");
        self.settings.parquet_at.map(problem).into_iter().collect()
    }

    fn known_tables(&self) -> Option<Vec<TableName>> {
        None
    }

    /// CSV files declare types, and so do folders such as `year=2024`.
    fn declares_types(&self) -> bool {
        true
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        listing::tables(&self.open(false)?, self.settings.format).await
    }

    async fn discover(&self) -> Result<Vec<TableInfo>> {
        let store = self.open(false)?;
        let mut tables = Vec::new();
        for name in listing::tables(&store, self.settings.format).await? {
            let source = self.source(&name, &ReadSpec::default()).await?;
            let format = self.settings.format.extension().to_string();
            tables.push(TableInfo { format, ..TableInfo::of(name, source.as_ref()) });
        }
        Ok(tables)
    }

    async fn source(&self, table: &TableName, spec: &ReadSpec) -> Result<Arc<dyn Source>> {
        let store = self.open(false)?;
        let source = LakeSource::open(store, &self.settings, table, spec.pin.as_ref()).await;
        Ok(Arc::new(source.map_err(|e| e.with("table", table.as_str()))?))
    }

    async fn sink(&self, table: &TableName, schema: SchemaRef, spec: &WriteSpec) -> Result<Arc<dyn Sink>> {
        self.check_write(spec).map_err(Error::config)?;
        let root = relative(table.as_str()).map_err(Error::config)?;
        for field in schema.fields() {
            if has_interval(field) {
                return Err(Error::config("Parquet has no intervals that keep months, days and nanoseconds")
                    .with("column", field.name())
                    .hint("cast the column to text"));
            }
        }
        Ok(Arc::new(LakeSink {
            url: self.settings.url.resolve(&self.resolver)?,
            shown: self.settings.url.as_written().to_string(),
            resolver: Arc::clone(&self.resolver),
            opened: OnceLock::new(),
            root,
            table: table.clone(),
            schema,
            spec: spec.clone(),
            parquet: self.settings.parquet.clone(),
        }))
    }
}

fn has_interval(field: &arrow::datatypes::Field) -> bool {
    fn inside(ty: &LogicalType) -> bool {
        match ty {
            LogicalType::Interval => true,
            LogicalType::List(item) => inside(item),
            LogicalType::Struct(fields) => fields.iter().any(|(_, ty)| inside(ty)),
            LogicalType::Map(key, value) => inside(key) || inside(value),
            _ => false,
        }
    }
    LogicalType::of(field).is_some_and(|ty| inside(&ty))
}
