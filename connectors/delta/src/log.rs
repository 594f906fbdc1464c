//! A table's log: its versions, and what this program can make of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::FieldRef;
use chrono::{DateTime, Utc};
use deltalake_core::kernel::transaction::{PROTOCOL, TransactionError};
use deltalake_core::kernel::{Action, DataType, EagerSnapshot, LogicalFileView, Remove, StructField, StructTypeExt};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore, get_actions};
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use transload_core::store::Store;
use transload_core::{Error, LogicalType, Result};
use url::Url;

use crate::features::Judged;
use crate::objects::TableObjects;
use crate::types::logical;
use crate::widen;

/// Where the log library thinks a table is. It asks [`TableObjects`] for everything, and those know better.
pub(crate) const ROOT: &str = "file:///";

/// The folder in a table's folder that makes it one.
pub(crate) const LOG: &str = "_delta_log";

/// The log of a table.
#[derive(Clone)]
pub(crate) struct Log {
    log: LogStoreRef,
}

/// A version of a table.
pub(crate) struct Version {
    log: LogStoreRef,
    pub(crate) snapshot: EagerSnapshot,
    /// What applications have said of themselves last, as far as somebody has asked: to find it, the log is read again.
    transactions: Mutex<HashMap<String, Option<i64>>>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: LogicalType,
    pub(crate) nullable: bool,
}

/// What the entries of a log say.
#[derive(Default)]
pub(crate) struct Said {
    /// What applications have said of themselves, by their names and each of them last.
    pub(crate) transactions: HashMap<String, i64>,
    /// What was to be remembered of files.
    pub(crate) named: HashSet<String>,
}

impl Column {
    pub(crate) fn field(&self) -> FieldRef {
        Arc::new(self.ty.to_field(&self.name, self.nullable))
    }
}

/// Files that a commit takes out of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Taken {
    #[default]
    None,
    All,
    /// By their paths in the table.
    These(HashSet<String>),
}

impl Taken {
    fn holds(&self, file: &LogicalFileView) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(paths) => paths.contains(&file.object_store_path().to_string()),
        }
    }
}

/// Whether an action changes what another writer may have relied on: rows, columns or the protocol.
pub(crate) fn changes_table(action: &Action) -> bool {
    match action {
        Action::Add(add) => add.data_change,
        Action::Remove(remove) => remove.data_change,
        Action::Metadata(_) | Action::Protocol(_) => true,
        _ => false,
    }
}

/// A path of the log, as files are named here.
pub(crate) fn path_of(path: &str) -> String {
    Path::parse(path).unwrap_or_else(|_| Path::from(path)).to_string()
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
        let found = self.at(version).await?;
        if found.snapshot.table_properties().enable_in_commit_timestamps == Some(true) {
            return Err(Error::config("the table keeps the times of its versions in a way that cannot be read here")
                .hint("name a version, such as @v12"));
        }
        // Where the log does not reach back so far, the library gives the oldest version there is.
        let entry = Path::from(format!("{LOG}/{version:020}.json"));
        let made = self.log.object_store(None).head(&entry).await.map_err(|e| unreadable(e.into()))?.last_modified;
        match made.timestamp_millis() <= time.timestamp_millis() {
            true => Ok(found),
            false => Err(Error::config("the table's log does not reach back to that time")),
        }
    }

    async fn open(&self, version: Option<u64>) -> Result<Version> {
        let opened = EagerSnapshot::try_new(self.log.as_ref(), version).await;
        let snapshot = match (opened, version) {
            (Ok(snapshot), _) => snapshot,
            (Err(error), None) => return Err(unreadable(error)),
            // The library does not say that there is none.
            (Err(error), Some(wanted)) => {
                let newest = EagerSnapshot::try_new(self.log.as_ref(), None).await.map_err(unreadable)?;
                return Err(match wanted > newest.version() {
                    true => Error::config(format!(
                        "the table has no version {wanted} yet; the newest is {}",
                        newest.version()
                    )),
                    false => unreadable(error),
                });
            }
        };
        PROTOCOL.can_read_from(&Judged::reading(&snapshot)?).map_err(unsupported)?;
        widen::check_changes(&snapshot.schema())?;
        Ok(Version { log: Arc::clone(&self.log), snapshot, transactions: Mutex::default() })
    }

    /// Whether a version between these two, without the first, has done something that `matters` to another writer. One
    /// that cannot be read any more has.
    pub(crate) async fn changed_between(
        &self,
        before: u64,
        now: u64,
        matters: impl Fn(&Action) -> bool,
    ) -> Result<bool> {
        for version in before + 1..=now {
            match self.actions(version).await? {
                Some(actions) if !actions.iter().any(&matters) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// What a version has done to the one before; `None` if that is not kept any more.
    pub(crate) async fn actions(&self, version: u64) -> Result<Option<Vec<Action>>> {
        match self.log.read_commit_entry(version).await.map_err(unreadable)? {
            Some(entry) => get_actions(version, &entry).map(Some).map_err(unreadable),
            None => Ok(None),
        }
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

    /// Where the log is.
    pub(crate) fn log(&self) -> &LogStoreRef {
        &self.log
    }

    /// The files, in the log's order.
    pub(crate) async fn files(&self) -> Result<Vec<LogicalFileView>> {
        self.snapshot.file_views(self.log.as_ref(), None).try_collect().await.map_err(unreadable)
    }

    /// What an application has said of itself last.
    pub(crate) async fn transaction(&self, application: &str) -> Result<Option<i64>> {
        if self.snapshot.table_properties().set_transaction_retention_duration.is_some() {
            return Err(Error::config("the table forgets what was committed to it, so no commit could be found again")
                .hint("unset its property delta.setTransactionRetentionDuration"));
        }
        let known = self.transactions.lock().unwrap_or_else(PoisonError::into_inner).get(application).copied();
        if let Some(last) = known {
            return Ok(last);
        }
        let last = self.snapshot.transaction_version(self.log.as_ref(), application).await.map_err(unreadable)?;
        let mut known = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(application.to_string(), last);
        Ok(last)
    }

    /// The name of the application, of those that begin so, of which the entry that made a version says that it made it;
    /// `None` if it names none, or is not there any more.
    pub(crate) async fn named_in(&self, version: u64, begins: &str) -> Result<Option<String>> {
        let Some(entry) = self.log.read_commit_entry(version).await.map_err(unreadable)? else { return Ok(None) };
        let actions = get_actions(version, &entry).map_err(unreadable)?;
        Ok(actions.into_iter().find_map(|action| match action {
            Action::Txn(made) if made.app_id.starts_with(begins) => Some(made.app_id),
            _ => None,
        }))
    }

    /// What the entries say that are still there, and the newest version. Of the path of each file they name `of_path` says
    /// what is to be remembered.
    pub(crate) async fn said(&self, of_path: impl Fn(&str) -> Option<String>) -> Result<Said> {
        let named = self.files().await?.iter().filter_map(|file| of_path(&file.path())).collect();
        let mut said = Said { transactions: HashMap::new(), named };
        let mut number = Some(self.number());
        while let Some(version) = number {
            let Some(entry) = self.log.read_commit_entry(version).await.map_err(unreadable)? else { break };
            for action in get_actions(version, &entry).map_err(unreadable)? {
                match action {
                    Action::Txn(transaction) => {
                        said.transactions.entry(transaction.app_id).or_insert(transaction.version);
                    }
                    Action::Add(add) => said.named.extend(of_path(&add.path)),
                    Action::Remove(remove) => said.named.extend(of_path(&remove.path)),
                    _ => {}
                }
            }
            number = version.checked_sub(1);
        }
        Ok(said)
    }

    /// Whether the table only takes added rows.
    pub(crate) fn only_grows(&self) -> bool {
        self.snapshot.table_properties().append_only == Some(true)
    }

    /// Whether the table's readers can ask which rows a version has changed.
    pub(crate) fn feeds_changes(&self) -> bool {
        self.snapshot.table_properties().enable_change_data_feed == Some(true)
    }

    /// What takes files out of the table.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a path that the log spells as the library would not: a reader
    /// compares spellings, and the file would stay.
    pub(crate) async fn removes(&self, taken: &Taken) -> Result<Vec<Remove>> {
        let mut removes = Vec::new();
        let mut unusual = HashSet::new();
        for file in self.files().await?.into_iter().filter(|file| taken.holds(file)) {
            let remove = file.remove_action(true);
            let json = serde_json::to_value(&remove)
                .map_err(|e| Error::internal("an entry of a log cannot be written down").because(e))?;
            let path = json["path"].as_str().unwrap_or_default();
            if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=".contains(&b)) {
                unusual.insert(path.to_string());
            }
            removes.push(remove);
        }
        // Of other paths there is more than one spelling.
        let mut number = self.number();
        while !unusual.is_empty() {
            let Some(entry) = self.log.read_commit_entry(number).await.map_err(unreadable)? else { break };
            for line in entry.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let action: serde_json::Value = serde_json::from_slice(line)
                    .map_err(|_| Error::config("an entry of the table's log cannot be read"))?;
                if let Some(path) = action["add"]["path"].as_str() {
                    unusual.remove(path);
                }
            }
            match number.checked_sub(1) {
                Some(before) => number = before,
                None => break,
            }
        }
        match unusual.is_empty() {
            true => Ok(removes),
            false => Err(Error::config("the log spells a file's path in a way that cannot be repeated here").hint(
                "the file could not be taken out: rewrite the table with the program that made it, or use another `to`",
            )),
        }
    }

    /// Refuses a table that asks more of a writer than this one does.
    pub(crate) fn can_be_written(&self) -> Result<()> {
        PROTOCOL.can_write_to(&Judged::writing(&self.snapshot)?).map_err(unsupported)?;
        if let Some(field) = self.snapshot.schema().fields().find(|field| is_strict(field.data_type())) {
            return Err(Error::config("a part of a column may not be NULL, which cannot be checked here")
                .with("column", field.name()));
        }
        match self.snapshot.schema().get_invariants() {
            Ok(none) if none.is_empty() => Ok(()),
            Ok(some) => Err(Error::config("the table has conditions on its columns, which cannot be checked here")
                .with("column", some[0].field_name.clone())),
            Err(_) => Err(Error::config("the table's conditions on its columns cannot be read")),
        }
    }
}

/// Whether some part of a type may not be NULL.
fn is_strict(ty: &DataType) -> bool {
    match ty {
        DataType::Array(array) => !array.contains_null() || is_strict(array.element_type()),
        DataType::Map(map) => !map.value_contains_null() || is_strict(map.key_type()) || is_strict(map.value_type()),
        DataType::Struct(fields) => fields.fields().any(|f| !f.is_nullable() || is_strict(f.data_type())),
        _ => false,
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
        DeltaTableError::ObjectStore { source } => store_error(&source).unwrap_or_else(|| Error::from(source)),
        DeltaTableError::Io { source } => Error::from(source),
        DeltaTableError::NotATable(_) => Error::config("there is no Delta table"),
        DeltaTableError::InvalidVersion(version) => Error::config(format!("the table has no version {version}")),
        DeltaTableError::Transaction { source } => match source {
            TransactionError::ObjectStore { source } => Error::from(source),
            other => match store_error(&other) {
                Some(error) => error,
                None => unsupported(other),
            },
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
pub(crate) fn store_error(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(Error::new(own.kind(), own.message()));
        }
        // It does not say that the store's error is its reason.
        if let Some(delta_kernel::Error::ObjectStore(store)) = error.downcast_ref::<delta_kernel::Error>() {
            return store_error(store);
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
        // The library does not call it the cause of its own.
        cause = match error.downcast_ref::<delta_kernel::Error>() {
            Some(delta_kernel::Error::ObjectStore(store)) => Some(store),
            _ => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use transload_core::ErrorKind;

    use super::*;

    #[test]
    fn a_store_that_fails_is_told_from_a_log_that_is_damaged() {
        let kernel = |error: object_store::Error| unreadable(DeltaTableError::KernelError(error.into()));
        let silent = || object_store::Error::Generic { store: "S3", source: "no answer".into() };
        assert!(kernel(silent()).is_transient());
        let refused = object_store::Error::PermissionDenied { path: "x".to_string(), source: "no".into() };
        assert_eq!(kernel(refused).message(), "access was refused");
        let gone = object_store::Error::NotFound { path: "x".to_string(), source: "no".into() };
        let error = kernel(gone);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().starts_with("the table's log cannot be read"), "{error}");
        let source = Box::new(silent());
        let unlogged = TransactionError::LogStoreError { msg: "no".to_string(), source };
        assert!(unreadable(DeltaTableError::Transaction { source: unlogged }).is_transient());
    }

    #[test]
    fn what_a_store_says_is_not_taken_for_a_damaged_log() {
        let read = |error: object_store::Error| unreadable(DeltaTableError::KernelError(error.into()));
        let unheard =
            "Error performing GET http://h/t/_delta_log/0.json?sig=s3cr3t in 1s - HTTP error: connection reset";
        let busy = "Server returned non-2xx status code: 503 Slow Down: <Error><Code>SlowDown</Code></Error>";
        for said in [unheard, busy] {
            let error = read(object_store::Error::Generic { store: "S3", source: said.into() });
            assert!(error.is_transient() && !format!("{error:?}").contains("s3cr3t"), "{error:?}");
        }
        let denied = "Server returned non-2xx status code: 403 Forbidden: <Error><Code>AccessDenied</Code></Error>";
        let denied = object_store::Error::PermissionDenied { path: "t".to_string(), source: denied.into() };
        assert_eq!(read(denied).message(), "access was refused");
        let damaged = unreadable(DeltaTableError::Generic("x".to_string()));
        assert!(damaged.message().starts_with("the table's log cannot be read"), "{damaged:?}");
    }
}
