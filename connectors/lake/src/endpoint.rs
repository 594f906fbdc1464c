//! A configured lake: its tables, and how they are opened.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use secrecy::ExposeSecret;
use transload_core::connector::{Endpoint, ReadSpec, Sink, Source, TableInfo, WriteSpec};
use transload_core::store::{Store, relative};
use transload_core::{Error, Pin, Problem, Resolve, Result, Span, TableName};

use crate::commit::LakeSink;
use crate::format::format_of_name;
use crate::settings::{Settings, Writing};
use crate::source::LakeSource;
use crate::{limits, listing};

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

    fn writing(&self) -> Result<&Writing, String> {
        let format = self.settings.format.title();
        let writing = self.settings.writing.as_ref();
        writing.ok_or_else(|| format!("{format} can only be read; write Parquet, CSV, JSON lines or Avro"))
    }
}

#[async_trait]
impl Endpoint for LakeEndpoint {
    fn check_name(&self, table: &TableName) -> Result<(), String> {
        listing::check_name(table).map(drop)
    }

    fn check_write(&self, _: &WriteSpec) -> Result<(), String> {
        self.writing().map(drop)
    }

    fn check_read(&self) -> Vec<Problem> {
        let problem = |(name, span): &(&'static str, Span)| {
            let message =
                format!("`{name}` does nothing here: it says how files are written, and a source is only read");
            Problem::new(*span, message).hint("move it to the target, or remove it")
        };
        self.settings.only_for_writing.iter().map(problem).collect()
    }

    fn known_tables(&self) -> Option<Vec<TableName>> {
        None
    }

    /// Formats of text declare types, and so do folders such as `year=2024`.
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
            let own = match source.pin() {
                Pin::Files(files) => files.first().and_then(|file| format_of_name(&file.path)),
                _ => None,
            };
            let format = own.unwrap_or(self.settings.format.word()).to_string();
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
        let writing = self.writing().map_err(Error::config)?;
        let root = relative(table.as_str()).map_err(Error::config)?;
        limits::check(&schema, &spec.partition_by, &writing.format)?;
        Ok(Arc::new(LakeSink {
            url: self.settings.url.resolve(&self.resolver)?,
            shown: self.settings.url.as_written().to_string(),
            resolver: Arc::clone(&self.resolver),
            opened: OnceLock::new(),
            root,
            table: table.clone(),
            schema,
            spec: spec.clone(),
            writing: writing.clone(),
        }))
    }
}
