//! A table's log: its versions, and what this program can make of them.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use deltalake_core::kernel::transaction::{PROTOCOL, TransactionError};
use deltalake_core::kernel::{Action, EagerSnapshot, LogicalFileView, StructField, StructTypeExt};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore, get_actions};
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use object_store::path::Path;
use transload_core::store::Store;
use transload_core::{Error, LogicalType, Result};
use url::Url;

use crate::objects::TableObjects;
use crate::types::logical;

/// Where the log library thinks a table is. It asks [`TableObjects`] for everything, and those know better.
const ROOT: &str = "file:///";

/// The log of a table.
#[derive(Clone)]
pub(crate) struct Log {
    log: LogStoreRef,
}

/// A version of a table.
pub(crate) struct Version {
    log: LogStoreRef,
    pub(crate) snapshot: EagerSnapshot,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: LogicalType,
    pub(crate) nullable: bool,
}

impl Log {
    /// The log of the table in a folder of the store. Nothing is read yet.
    pub(crate) fn of(store: &Store, table: &Path) -> Result<Self> {
        let root = Url::parse(ROOT).map_err(|e| Error::internal("a fixed url is broken").because(e))?;
        let objects: Arc<TableObjects> = Arc::new(TableObjects::new(store, table));
        Ok(Self { log: default_logstore(objects.clone(), objects, &root, &StorageConfig::default()) })
    }

    pub(crate) fn inner(&self) -> &LogStoreRef {
        &self.log
    }

    /// Whether there is a table.
    pub(crate) async fn is_there(&self) -> Result<bool> {
        self.log.is_delta_table_location().await.map_err(unreadable)
    }

    /// The newest version, if there is a table.
    pub(crate) async fn newest(&self) -> Result<Option<Version>> {
        match self.is_there().await? {
            true => self.open(None).await.map(Some),
            false => Ok(None),
        }
    }

    /// One version of the table.
    pub(crate) async fn at(&self, version: u64) -> Result<Version> {
        self.open(Some(version)).await.map_err(|e| e.with("version", version.to_string()))
    }

    /// The version that the table had at a point in time.
    pub(crate) async fn as_of(&self, time: DateTime<Utc>) -> Result<Version> {
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        table.load_with_datetime(time).await.map_err(unreadable)?;
        let version = table.version().ok_or_else(|| Error::internal("a table was opened at no version"))?;
        self.at(version).await
    }

    async fn open(&self, version: Option<u64>) -> Result<Version> {
        let snapshot = EagerSnapshot::try_new(self.log.as_ref(), version).await.map_err(unreadable)?;
        if let Some(wanted) = version.filter(|v| *v != snapshot.version()) {
            return Err(Error::config(format!("the table has no version {wanted}")));
        }
        PROTOCOL.can_read_from_protocol(snapshot.protocol()).map_err(unsupported)?;
        Ok(Version { log: Arc::clone(&self.log), snapshot })
    }

    /// Whether a version between these two, without the first, has changed what another writer may have relied on:
    /// rows, columns or the protocol.
    pub(crate) async fn changed_between(&self, before: u64, now: u64) -> Result<bool> {
        for version in before + 1..=now {
            let Some(entry) = self.log.read_commit_entry(version).await.map_err(unreadable)? else { return Ok(true) };
            let actions = get_actions(version, &entry).map_err(unreadable)?;
            let changes = |action: &Action| match action {
                Action::Add(add) => add.data_change,
                Action::Remove(remove) => remove.data_change,
                Action::Metadata(_) | Action::Protocol(_) => true,
                _ => false,
            };
            if actions.iter().any(changes) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Version {
    pub(crate) fn number(&self) -> u64 {
        self.snapshot.version()
    }

    /// The table's own identifier.
    pub(crate) fn table(&self) -> &str {
        self.snapshot.metadata().id()
    }

    pub(crate) fn partition_columns(&self) -> &[String] {
        self.snapshot.metadata().partition_columns()
    }

    /// The columns, in the table's order.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a column of a type that there is no word for.
    pub(crate) fn columns(&self) -> Result<Vec<Column>> {
        let schema = self.snapshot.schema();
        let column = |field: &StructField| match logical(field.data_type()) {
            Some(ty) => Ok(Column { name: field.name().clone(), ty, nullable: field.is_nullable() }),
            None => Err(Error::config(format!("the Delta type {} cannot be read", field.data_type()))
                .with("column", field.name())),
        };
        schema.fields().map(column).collect()
    }

    /// The files, in the log's order.
    pub(crate) async fn files(&self) -> Result<Vec<LogicalFileView>> {
        self.snapshot.file_views(self.log.as_ref(), None).try_collect().await.map_err(unreadable)
    }

    /// What an application has said of itself last.
    pub(crate) async fn transaction(&self, application: &str) -> Result<Option<i64>> {
        self.snapshot.transaction_version(self.log.as_ref(), application).await.map_err(unreadable)
    }

    /// Refuses a table that asks more of a writer than this one does.
    pub(crate) fn can_be_written(&self) -> Result<()> {
        PROTOCOL.can_write_to(&self.snapshot).map_err(unsupported)?;
        match self.snapshot.schema().get_invariants() {
            Ok(none) if none.is_empty() => Ok(()),
            Ok(some) => Err(Error::config("the table has conditions on its columns, which cannot be checked here")
                .with("column", some[0].field_name.clone())),
            Err(_) => Err(Error::config("the table's conditions on its columns cannot be read")),
        }
    }
}

/// A table that needs what this program does not do.
fn unsupported(error: TransactionError) -> Error {
    match error {
        TransactionError::UnsupportedTableFeatures(features) => {
            let mut names: Vec<String> = features.iter().map(ToString::to_string).collect();
            names.sort();
            Error::config(format!("the table needs what cannot be done here yet: {}", names.join(", ")))
                .hint("Delta calls these table features; they can be dropped by the system that added them")
        }
        _ => Error::config("the table's protocol cannot be followed").because(error),
    }
}

/// What the log library says of a log. Its entries hold values of rows (the smallest and largest of each file), so
/// causes that may quote one are left out.
pub(crate) fn unreadable(error: DeltaTableError) -> Error {
    let broken = || {
        Error::config("the table's log cannot be read: it is damaged, incomplete, or not a Delta log")
            .hint("the log is the folder `_delta_log`; another Delta reader can tell more about it")
    };
    match error {
        DeltaTableError::ObjectStore { source } => Error::from(source),
        DeltaTableError::Io { source } => Error::from(source),
        DeltaTableError::NotATable(_) => Error::config("there is no Delta table"),
        DeltaTableError::InvalidVersion(version) => Error::config(format!("the table has no version {version}")),
        DeltaTableError::Transaction { source } => match source {
            TransactionError::ObjectStore { source } => Error::from(source),
            other => unsupported(other),
        },
        other => match (store_error(&other), other.to_string()) {
            (Some(error), _) => error,
            // It speaks of the table's protocol, and not of what is in the table.
            (None, text) if text.contains("nsupported") && !text.contains('{') => {
                Error::config("the table needs what cannot be done here yet").because(text)
            }
            _ => broken(),
        },
    }
}

/// The error of a store that is the reason for another one: whether it is passing, only the store knows.
fn store_error(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(Error::new(own.kind(), own.message()));
        }
        if let Some(store) = error.downcast_ref::<object_store::Error>() {
            return match store {
                object_store::Error::NotFound { .. } => None,
                object_store::Error::Generic { source, .. } => {
                    store_error(source.as_ref()).or_else(|| Some(Error::of_store(store)))
                }
                _ => Some(Error::of_store(store)),
            };
        }
        cause = error.source();
    }
    None
}
