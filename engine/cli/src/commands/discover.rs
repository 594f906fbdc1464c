//! `transload discover`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use transload_coerce::Rulebook;
use transload_core::connector::{ReadSpec, TableInfo};
use transload_core::{Clock, Endpoint, Error, ErrorKind, Result, TableName};
use transload_plan::Connection;
use transload_quality::profile::{ENOUGH, Profiler};
use transload_run::Limits;

use crate::args::Discover;
use crate::commands::profile::profiled;
use crate::connectors::planned;
use crate::output::{Failure, Output};
use crate::pipeline::{self, resolver};

/// What is listed or profiled.
pub(crate) struct Place {
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) rulebook: Rulebook,
    /// Its connection as YAML flow text.
    connection: String,
}

/// A table that was found, with what was counted of its rows, if they were read.
type Found = (TableInfo, Option<Profiler>);

pub(crate) async fn discover(args: &Discover, output: &Output) -> Result<u8, Failure> {
    let place = open(&args.location, args.target)?;
    let limits = args.checks.then(|| args.resources.limits());
    let (found, unreadable) = find(&place, limits.as_ref()).await?;
    let tables: Vec<&TableInfo> = found.iter().map(|(table, _)| table).collect();
    if args.pipeline || args.checks {
        output.answer(&draft(&found, &place.connection)?)?;
    } else if output.json() {
        output.answer(&json!({ "tables": tables, "unreadable": unreadable_json(&unreadable) }).to_string())?;
    } else {
        output.answer(&listing(&tables))?;
    }
    unreadable.iter().for_each(|(_, error)| output.complain(error));
    match Error::worst(unreadable.into_iter().map(|(_, error)| error)) {
        Some(worst) => Ok(worst.kind().exit_code()),
        None if tables.is_empty() => Err(Error::new(ErrorKind::NothingToDo, "no tables were found").into()),
        None => Ok(0),
    }
}

/// What keeps tables from being read, for programs.
pub(crate) fn unreadable_json(unreadable: &[(TableName, Error)]) -> Vec<Json> {
    unreadable.iter().map(|(table, error)| json!({ "table": table, "error": error.to_string() })).collect()
}

/// The tables that are there, and what keeps the others from being read. One that is broken does not hide the rest.
/// Their rows are read if there are limits for that.
async fn find(place: &Place, limits: Option<&Limits>) -> Result<(Vec<Found>, Vec<(TableName, Error)>)> {
    let (mut tables, mut unreadable) = (Vec::new(), Vec::new());
    for name in place.endpoint.list().await? {
        let found = match limits {
            None => place.endpoint.source(&name, &ReadSpec::default()).await.map(|source| (source, None)),
            Some(limits) => profiled(&place.endpoint, &name, &place.rulebook, limits)
                .await
                .map(|(source, profiler)| (source, Some(profiler))),
        };
        match found {
            Ok((source, profiler)) => tables.push((TableInfo::of(name, source.as_ref()), profiler)),
            Err(error) => unreadable.push((name, error)),
        }
    }
    Ok((tables, unreadable))
}

/// Opens what a location names: the source or the target of a pipeline, or a folder of files.
pub(crate) fn open(location: &str, target: bool) -> Result<Place, Failure> {
    let path = Path::new(location);
    let is_pipeline = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    if is_pipeline {
        let checked = pipeline::check(path, &crate::args::Overrides::default())?;
        let (endpoint, kinded) = match target {
            true => (checked.target, checked.spec.target),
            false => (checked.source, checked.spec.source),
        };
        let connection = serde_json::json!(kinded).to_string();
        return Ok(Place { endpoint, rulebook: checked.rulebook, connection });
    }
    let options = serde_json::json!({ "url": location.replace("${", "$${"), "format": format(path) });
    let connection = serde_json::json!({ "lake": options }).to_string();
    let options = serde_json::from_value(options).map_err(|e| Error::internal("options cannot be made").because(e))?;
    let endpoint = planned(&Connection { kind: "lake".to_string(), options }, &resolver())?;
    Ok(Place { endpoint, rulebook: pipeline::standard_rulebook()?, connection })
}

/// Formats that a folder can be read in, most likely ones first.
const FORMATS: [&str; 5] = ["parquet", "csv", "json", "avro", "orc"];

/// The most likely format of the files in a folder or right below it.
fn format(folder: &Path) -> &'static str {
    let mut found: Vec<&str> = Vec::new();
    let mut look = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(1000);
        let paths: Vec<_> = entries.map(|e| e.path()).collect();
        found.extend(paths.iter().filter_map(|path| transload_lake::format_of_name(&path.to_string_lossy())));
        paths
    };
    for path in look(folder) {
        if path.is_dir() {
            look(&path);
        }
    }
    FORMATS.into_iter().find(|format| found.contains(format)).unwrap_or("parquet")
}

/// The name of a table without what its file ends with: `in/orders` for `in/orders.csv.gz`.
fn stem(name: &str) -> PathBuf {
    let unpacked = [".gz", ".zst"].into_iter().find_map(|packed| name.strip_suffix(packed));
    Path::new(unpacked.unwrap_or(name)).with_extension("")
}

fn listing(tables: &[&TableInfo]) -> String {
    let mut text = String::new();
    for table in tables {
        let rows = table.rows.map_or_else(|| "rows unknown".to_string(), |r| format!("{r} rows"));
        let size = table.bytes.map_or_else(String::new, |b| format!(", {b} bytes"));
        let files = table.files.map_or_else(String::new, |f| format!(", {f} file{}", if f == 1 { "" } else { "s" }));
        text.push_str(&format!("{}  ({}, {rows}{size}{files})\n", table.name, table.format));
        let width = table.columns.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        for (name, ty, nullable) in &table.columns {
            text.push_str(&format!("  {name:width$}  {ty}{}\n", if *nullable { "" } else { " not null" }));
        }
    }
    text
}

/// A pipeline that copies everything, with checks of tables whose rows were read. JSON is YAML, so names need no quoting
/// rules of their own.
fn draft(tables: &[Found], connection: &str) -> Result<String, Failure> {
    let mut text = format!(
        "version: 1\npipeline: draft\narchetype: table_copy\nsource: {connection}\ntarget: {{ lake: {{ url: ./target }} }}\ntables:\n"
    );
    for (table, profiler) in tables {
        let from = serde_json::to_string(table.name.as_str())
            .map_err(|e| Error::internal("a name cannot be written").because(e))?;
        text.push_str(&format!("  - from: {from}\n"));
        let stem = stem(table.name.as_str());
        if stem.as_os_str() != table.name.as_str() {
            let to = serde_json::to_string(&stem.to_string_lossy())
                .map_err(|e| Error::internal("a name cannot be written").because(e))?;
            text.push_str(&format!("    to: {to}\n"));
        }
        match profiler {
            None => text.push_str("    # key: []\n"),
            Some(profiler) => text.push_str(&draft_checks(profiler)?),
        }
    }
    Ok(text)
}

/// The key and the checks of a table, as what its rows have shown.
fn draft_checks(profiler: &Profiler) -> Result<String> {
    let mut text = String::new();
    match profiler.key() {
        None => text.push_str("    # key: []\n"),
        Some(key) => text.push_str(&format!("    key: {}\n", json!([key]))),
    }
    let casts: serde_json::Map<String, Json> =
        profiler.readable().into_iter().map(|(column, ty)| (column.to_string(), json!({ "cast": ty }))).collect();
    if !casts.is_empty() {
        let casts = Json::Object(casts);
        text.push_str(&format!("    # all texts can be read as these types:\n    # columns: {casts}\n"));
    }
    let suggestions = profiler.suggest(Clock::system().now().timestamp_micros())?;
    if suggestions.is_empty() {
        text.push_str(&format!("    # checks: []  # nothing is concluded from fewer than {ENOUGH} rows or values\n"));
        return Ok(text);
    }
    text.push_str("    checks:\n");
    for suggestion in suggestions {
        text.push_str(&format!("      # {}\n      - {}\n", suggestion.why, suggestion.line()?));
    }
    Ok(text)
}
