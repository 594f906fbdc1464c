//! A table at one version, open for reading.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use chrono::{DateTime, Utc};
use deltalake_core::kernel::LogicalFileView;
use object_store::path::Path;
use transload_core::connector::Source;
use transload_core::store::Store;
use transload_core::{Error, Pin, PinnedVersion, Result};
use transload_lake::files::{self, DeletedRows, FileStatistics, LoggedTable, TableFile};

use crate::bounds::LoggedStatistics;
use crate::deleted::DeletionVector;
use crate::log::{Column, Log, Version};
use crate::options::Settings;

/// Which version of a table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The newest.
    Now,
    /// The one with this number.
    Version(u64),
    /// The one that the table had then.
    Time(DateTime<Utc>),
}

/// Columns of files of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Those that are in the files.
    pub(crate) in_files: Vec<FieldRef>,
    /// Those whose values the log has.
    pub(crate) beside: Vec<FieldRef>,
}

impl Layout {
    /// These columns, of which `partitions` are not in files. Columns of partitions are all there, in their order.
    pub(crate) fn new(columns: &[Column], partitions: &[String], all: &[Column]) -> Result<Self> {
        let beside = |name: &String| {
            let column = all.iter().find(|c| c.name == *name);
            column.map(Column::field).ok_or_else(|| Error::config("a partition column is not a column of the table"))
        };
        Ok(Self {
            in_files: columns.iter().filter(|c| !partitions.contains(&c.name)).map(Column::field).collect(),
            beside: partitions.iter().map(beside).collect::<Result<_>>()?,
        })
    }
}

/// Opens the table in a folder, at a moment or at a pin.
pub(crate) async fn open(
    store: &Store,
    table: &Path,
    moment: Moment,
    pin: Option<&Pin>,
    settings: &Settings,
) -> Result<Arc<dyn Source>> {
    let log = Log::of(store, table)?;
    let missing = || Error::config("there is no Delta table").with("path", table.to_string());
    // Whoever asks for the newest version is told whether there is one.
    let is_newest = pin.is_none() && moment == Moment::Now;
    if !is_newest && !log.is_there().await? {
        return Err(missing());
    }
    let (version, only, except) = match pin {
        None => match moment {
            Moment::Now => (log.newest().await?.ok_or_else(missing)?, None, None),
            Moment::Version(number) => (log.at(number).await?, None, None),
            Moment::Time(time) => (log.as_of(time).await?, None, None),
        },
        Some(Pin::Version(pin)) => (pinned(&log, pin).await?, pin.only.clone(), pin.except.clone()),
        Some(_) => return Err(Error::config("the plan's pin is not a version of a table")),
    };
    let pin = Pin::Version(PinnedVersion {
        table: version.table().to_string(),
        version: version.number().to_string(),
        only: only.clone(),
        except: except.clone(),
    });
    let partitions = version.partition_columns().to_vec();
    let set = |paths: &Option<Vec<String>>| paths.clone().map(HashSet::<String>::from_iter);
    let (wanted, unwanted) = (set(&only), set(&except));
    let files = version.files().await?;
    let is_wanted = |file: &&LogicalFileView| {
        let path = file.object_store_path().to_string();
        wanted.as_ref().is_none_or(|wanted| wanted.contains(&path))
            && unwanted.as_ref().is_none_or(|unwanted| !unwanted.contains(&path))
    };
    let mut found: Vec<TableFile> =
        files.iter().filter(is_wanted).map(|file| table_file(table, file, &version)).collect::<Result<_>>()?;
    let is_part = only.is_some();
    if let Some(only) = only {
        let mut by_path: HashMap<Path, TableFile> = found.into_iter().map(|file| (file.path.clone(), file)).collect();
        let own = |path: &String| {
            let whole = below(table, path)?;
            by_path.remove(&whole).ok_or_else(|| {
                Error::config("a file of the pinned rows is not in the version any more")
                    .with("path", whole.to_string())
            })
        };
        found = only.iter().map(own).collect::<Result<_>>()?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let columns = version.columns()?;
    let Layout { in_files, beside } = Layout::new(&columns, &partitions, &columns)?;
    let table = LoggedTable {
        files: found,
        columns: &in_files,
        beside: &beside,
        // The rows of one commit have the columns that it wrote, whatever others the table has.
        only_present: is_part,
        types: settings.types,
        pin,
    };
    files::open(store, table, &settings.parquet).await
}

/// The version of a pin, if the table is still the one that was pinned.
async fn pinned(log: &Log, pin: &PinnedVersion) -> Result<Version> {
    let number = pin.version.parse().map_err(|_| Error::config("the plan's pin is not a version of a Delta table"))?;
    let version = log.at(number).await.map_err(|e| e.hint("the version may have been vacuumed: make a new plan"))?;
    if version.table() != pin.table {
        return Err(Error::config("the table was removed and made anew since it was pinned")
            .hint("make a new plan: the old one is about another table"));
    }
    Ok(version)
}

/// A file of the log, as a reader needs it.
pub(crate) fn table_file(table: &Path, file: &LogicalFileView, version: &Version) -> Result<TableFile> {
    let path = file.path();
    if path.contains("://") || path.starts_with('/') {
        return Err(Error::config("the table has files outside of its folder, as shallow clones have")
            .hint("make a deep clone of it"));
    }
    let whole = below(table, file.object_store_path().as_ref())?;
    let named = |e: Error| e.with("path", whole.to_string());
    let deleted = DeletionVector::of(file, version.log()).map_err(named)?;
    let mut values = file.partition_values_map();
    let partitions = version.partition_columns().iter();
    let statistics = file.stats().map(LoggedStatistics::new);
    Ok(TableFile {
        rows: statistics.as_ref().and_then(LoggedStatistics::rows),
        statistics: statistics.map(|statistics| Arc::new(statistics) as Arc<dyn FileStatistics>),
        deleted: deleted.map(|deleted| Arc::new(deleted) as Arc<dyn DeletedRows>),
        size: u64::try_from(file.size()).map_err(|_| named(Error::config("the log holds a size that cannot be")))?,
        modified: DateTime::<Utc>::from_timestamp_millis(file.modification_time()).unwrap_or_default(),
        // The protocol has no other word for NULL than the empty text.
        values: partitions.map(|name| values.remove(name).flatten().filter(|v| !v.is_empty())).collect(),
        path: whole,
    })
}

/// A path below the table's folder as one in the store.
pub(crate) fn below(table: &Path, path: &str) -> Result<Path> {
    let whole = if table.as_ref().is_empty() { path.to_string() } else { format!("{table}/{path}") };
    Path::parse(whole).map_err(|e| Error::config("a path cannot be used").because(e))
}
