//! A folder of Delta tables, and how they are opened.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{Fields, Schema, SchemaRef};
use async_trait::async_trait;
use chrono::NaiveDateTime;
use object_store::path::Path;
use transload_core::connector::{
    CleanSpec, DELETED_COLUMN, Endpoint, Orphan, ReadSpec, Sink, Source, TableInfo, Transform, WriteSpec, hidden_column,
};
use transload_core::store::{Address, Store, relative};
use transload_core::{Error, LogicalType, Problem, Resolve, Result, TableName};
use transload_lake::files;

use crate::clean;
use crate::commit::DeltaSink;
use crate::log::{Column, LOG, Log};
use crate::options::Settings;
use crate::source::{self, Moment};
use crate::types;

/// A folder of tables.
pub(crate) struct DeltaEndpoint {
    pub(crate) settings: Arc<Settings>,
    pub(crate) resolver: Arc<dyn Resolve>,
}

impl DeltaEndpoint {
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
}

/// The folder of a table and the moment at which it is meant: `orders`, `orders@v12` or `orders@20240131120000000`,
/// as Delta's own readers have it.
fn parts(table: &TableName) -> Result<(Path, Moment), String> {
    let name = table.as_str();
    let Some((name, at)) = name.rsplit_once('@') else { return Ok((folder(name)?, Moment::Now)) };
    if let Some(version) = at.strip_prefix('v').and_then(|v| v.parse().ok()) {
        return Ok((folder(name)?, Moment::Version(version)));
    }
    let time = (at.len() == 17 && at.is_ascii())
        .then(|| NaiveDateTime::parse_from_str(&format!("{}.{}", &at[..14], &at[14..]), "%Y%m%d%H%M%S%.3f"));
    match time {
        Some(Ok(time)) => Ok((folder(name)?, Moment::Time(time.and_utc()))),
        _ => Err(format!(
            "`@{at}` is neither a version, such as @v12, nor a time in UTC with milliseconds, such as @20240131120000000"
        )),
    }
}

/// The folder of a table by its name.
pub(crate) fn folder(name: &str) -> Result<Path, String> {
    let path = relative(name)?;
    let hidden = |part: &str| part.starts_with('_') || part.starts_with('.');
    match path.as_ref().split('/').find(|part| hidden(part)) {
        Some(part) => Err(format!("readers leave out folders such as `{part}`, whose names begin with `_` or `.`")),
        None => Ok(path),
    }
}

/// The folders below `prefix` that are Delta tables, sorted. A table's own folders are not looked into.
async fn tables(store: &Store, prefix: Path) -> Result<Vec<TableName>> {
    let mut found = Vec::new();
    let mut waiting = vec![prefix];
    while let Some(folder) = waiting.pop() {
        let inside = store.objects().list_with_delimiter(Some(&folder)).await?.common_prefixes;
        if inside.iter().any(|f| f.filename() == Some(LOG)) {
            if folder.is_root() {
                return Err(Error::config("the url is a table itself")
                    .hint("use the folder above, and its name as the table's"));
            }
            found.push(TableName::new(folder.to_string()));
            continue;
        }
        waiting.extend(inside.into_iter().filter(|f| f.filename().is_some_and(|n| !n.starts_with(['_', '.']))));
    }
    found.sort();
    Ok(found)
}

#[async_trait]
impl Endpoint for DeltaEndpoint {
    fn check_name(&self, table: &TableName) -> Result<(), String> {
        parts(table).map(drop)
    }

    fn check_write(&self, spec: &WriteSpec) -> Result<(), String> {
        if self.address().is_read_only() {
            return Err("http and https urls can only be read; write to a folder or a bucket".to_string());
        }
        match spec.partition_by.iter().find(|p| p.transform != Transform::Identity) {
            Some(partition) => Err(format!(
                "a Delta table is partitioned by the values of columns; derive a column from `{}` and use \
                 `identity` with that",
                partition.column
            )),
            None => Ok(()),
        }
    }

    fn check_read(&self) -> Vec<Problem> {
        let problem = |(name, span): &(&'static str, transload_core::Span)| {
            let message = format!("`{name}` does nothing here: it is about writing, and a source is only read");
            Problem::new(*span, message).hint("move it to the target, or remove it")
        };
        self.settings.writing.iter().map(problem).collect()
    }

    fn together(self: Arc<Self>) -> Arc<dyn Endpoint> {
        self
    }

    fn known_tables(&self) -> Option<Vec<TableName>> {
        None
    }

    fn declares_types(&self) -> bool {
        false
    }

    fn instead_of(&self, ty: &LogicalType) -> Option<LogicalType> {
        types::instead_of(ty)
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        tables(&self.open()?, Path::default()).await
    }

    async fn describe(&self, table: &TableName) -> Result<TableInfo> {
        let source = self.source(table, &ReadSpec::default()).await?;
        Ok(TableInfo { format: "delta".to_string(), ..TableInfo::of(table.clone(), source.as_ref()) })
    }

    async fn source(&self, table: &TableName, spec: &ReadSpec) -> Result<Arc<dyn Source>> {
        let (folder, moment) = parts(table).map_err(Error::config)?;
        let opened = source::open(&self.open()?, &folder, moment, spec.pin.as_ref(), &self.settings).await;
        opened.map_err(|e| e.with("table", table.as_str()))
    }

    /// What the log says: files may have other types, and lack columns.
    async fn columns(&self, table: &TableName) -> Result<SchemaRef> {
        let (folder, _) = parts(table).map_err(Error::config)?;
        let columns = async {
            let newest = Log::of(&self.open()?, &folder)?.newest().await?;
            newest.ok_or_else(|| Error::config("there is no Delta table"))?.columns()
        };
        let columns = columns.await.map_err(|e| e.with("table", table.as_str()))?;
        Ok(Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Fields>())))
    }

    fn keeps_types(&self) -> bool {
        true
    }

    async fn sink(&self, table: &TableName, schema: SchemaRef, spec: &WriteSpec) -> Result<Arc<dyn Sink>> {
        self.check_write(spec).map_err(Error::config)?;
        let (root, moment) = parts(table).map_err(Error::config)?;
        if moment != Moment::Now {
            return Err(Error::config("an older version of a table cannot be written").with("table", table.as_str()));
        }
        let address = self.address();
        address.check_writable()?;
        let marks = hidden_column(&schema, DELETED_COLUMN);
        let others: Vec<usize> = (0..schema.fields().len()).filter(|at| Some(*at) != marks).collect();
        let sink = DeltaSink {
            address,
            settings: Arc::clone(&self.settings),
            opened: OnceLock::new(),
            root,
            table: table.clone(),
            schema: Arc::new(schema.project(&others)?),
            marks,
            spec: spec.clone(),
            written: AtomicU64::default(),
            seen: OnceLock::new(),
        };
        sink.check_columns()?;
        Ok(Arc::new(sink))
    }

    async fn clean(&self, spec: &CleanSpec) -> Result<Vec<Orphan>> {
        match self.address().find()? {
            Some(store) if store.staging().is_ok() => {
                let mut left = files::clean(&store, spec).await?;
                left.extend(clean::clean(&store, spec).await?);
                left.sort_by(|a, b| (&a.table, &a.path).cmp(&(&b.table, &b.path)));
                Ok(left)
            }
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when() {
        let at = |name: &str| parts(&TableName::new(name));
        assert_eq!(at("a/orders").unwrap(), (Path::from("a/orders"), Moment::Now));
        assert_eq!(at("orders@v12").unwrap().1, Moment::Version(12));
        let time = "2024-01-31T12:00:00.500Z".parse().unwrap();
        assert_eq!(at("orders@20240131120000500").unwrap(), (Path::from("orders"), Moment::Time(time)));
        for bad in [
            "orders@1234567890123é12",
            "orders@",
            "orders@12",
            "orders@v",
            "orders@20241331120000000",
            "_delta_log",
            "a/../b",
        ] {
            at(bad).unwrap_err();
        }
    }
}
