//! A configured lake: its tables, and how they are opened.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{Fields, Schema, SchemaRef};
use async_trait::async_trait;
use transload_core::connector::{CleanSpec, Endpoint, Orphan, ReadSpec, Sink, Source, TableInfo, WriteMode, WriteSpec};
use transload_core::store::{Address, Store, relative};
use transload_core::{Error, LogicalType, Pin, Problem, Resolve, Result, Span, TableName};

use crate::clean::clean;
use crate::commit::LakeSink;
use crate::format::format_of_name;
use crate::manifest::Manifest;
use crate::settings::{Settings, Writing};
use crate::source::LakeSource;
use crate::whole::WholeSink;
use crate::{limits, listing};

/// A folder of tables.
pub(crate) struct LakeEndpoint {
    pub(crate) settings: Arc<Settings>,
    pub(crate) resolver: Arc<dyn Resolve>,
}

impl LakeEndpoint {
    fn address(&self) -> Address {
        Address {
            url: self.settings.url.clone(),
            options: self.settings.store.clone(),
            resolver: Arc::clone(&self.resolver),
        }
    }

    fn open(&self) -> Result<Store> {
        self.address().open(false)
    }

    fn lake_sink(&self, table: &TableName, schema: SchemaRef, spec: &WriteSpec) -> Result<LakeSink> {
        self.check_write(spec).map_err(Error::config)?;
        let root = listing::written(table)?;
        let address = self.address();
        address.check_writable()?;
        let writing = self.writing().map_err(Error::config)?;
        limits::check(&schema, &spec.partition_by, &writing.format)?;
        Ok(LakeSink {
            address,
            opened: OnceLock::new(),
            root,
            table: table.clone(),
            schema,
            spec: spec.clone(),
            writing: writing.clone(),
            written: AtomicU64::default(),
        })
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

    fn check_write(&self, spec: &WriteSpec) -> Result<(), String> {
        if self.address().is_read_only() {
            return Err("http and https urls can only be read; write to a folder or a bucket".to_string());
        }
        self.writing()?;
        let what = match spec.mode {
            WriteMode::Replace | WriteMode::Append => return Ok(()),
            WriteMode::Merge => "rows are not merged by key",
            WriteMode::ReplacePartitions => "single partitions are not replaced",
        };
        Err(format!("in a lake of files {what}; a Delta table can do it, or use `mode: full`"))
    }

    fn check_read(&self) -> Vec<Problem> {
        let problem = |(name, span): &(&'static str, Span)| {
            let message =
                format!("`{name}` does nothing here: it says how files are written, and a source is only read");
            Problem::new(*span, message).hint("move it to the target, or remove it")
        };
        self.settings.only_for_writing.iter().map(problem).collect()
    }

    fn together(self: Arc<Self>) -> Arc<dyn Endpoint> {
        self
    }

    fn known_tables(&self) -> Option<Vec<TableName>> {
        None
    }

    /// Formats of text declare types, and so do folders such as `year=2024`.
    fn declares_types(&self) -> bool {
        true
    }

    fn instead_of(&self, ty: &LogicalType) -> Option<LogicalType> {
        limits::instead_of(ty, &self.settings.writing.as_ref()?.format)
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        listing::tables(&self.open()?, self.settings.format).await
    }

    async fn describe(&self, table: &TableName) -> Result<TableInfo> {
        let source = self.source(table, &ReadSpec::default()).await?;
        let own = match source.pin() {
            Pin::Files(files) => files.first().and_then(|file| format_of_name(&file.path)),
            _ => None,
        };
        let format = own.unwrap_or(self.settings.format.word()).to_string();
        Ok(TableInfo { format, ..TableInfo::of(table.clone(), source.as_ref()) })
    }

    async fn source(&self, table: &TableName, spec: &ReadSpec) -> Result<Arc<dyn Source>> {
        let store = self.open()?;
        let source = LakeSource::open(store, &self.settings, table, spec.pin.as_ref()).await;
        Ok(Arc::new(source.map_err(|e| e.with("table", table.as_str()))?))
    }

    /// What the manifest says: files may hold columns as other types, and folders hold some.
    async fn columns(&self, table: &TableName) -> Result<SchemaRef> {
        let root = relative(table.as_str()).map_err(Error::config)?;
        match Manifest::newest(&self.open()?, &root).await? {
            Some(manifest) => {
                let columns = manifest.columns.iter().map(|c| c.ty.to_field(&c.name, c.nullable));
                Ok(Arc::new(Schema::new(columns.collect::<Fields>())))
            }
            None => Ok(self.source(table, &ReadSpec::default()).await?.schema()),
        }
    }

    fn keeps_types(&self) -> bool {
        true
    }

    async fn sink(&self, table: &TableName, schema: SchemaRef, spec: &WriteSpec) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(self.lake_sink(table, schema, spec)?))
    }

    async fn sink_whole(&self, table: &TableName, schema: SchemaRef, spec: &WriteSpec) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(WholeSink::new(self.lake_sink(table, schema, spec)?)))
    }

    async fn clean(&self, spec: &CleanSpec) -> Result<Vec<Orphan>> {
        match self.address().find()? {
            Some(store) if store.staging().is_ok() => clean(&store, spec).await,
            _ => Ok(Vec::new()),
        }
    }
}
