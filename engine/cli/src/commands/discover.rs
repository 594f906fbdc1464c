//! `transload discover`

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use transload_core::connector::{ReadSpec, TableInfo};
use transload_core::{Endpoint, Error, ErrorKind, Result, TableName};
use transload_plan::Connection;

use crate::args::Discover;
use crate::connectors::planned;
use crate::output::{Failure, Output};
use crate::pipeline::{self, resolver};

pub(crate) async fn discover(args: &Discover, output: &Output) -> Result<u8, Failure> {
    let (endpoint, connection) = open(args)?;
    let (tables, unreadable) = find(&endpoint).await?;
    if args.pipeline {
        output.answer(&draft(&tables, &connection)?)?;
    } else if output.json() {
        let shown = |(table, error): &(TableName, Error)| json!({ "table": table, "error": error.to_string() });
        let unreadable: Vec<_> = unreadable.iter().map(shown).collect();
        output.answer(&json!({ "tables": tables, "unreadable": unreadable }).to_string())?;
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

/// The tables that are there, and what keeps the others from being read. One that is broken does not hide the rest.
async fn find(endpoint: &Arc<dyn Endpoint>) -> Result<(Vec<TableInfo>, Vec<(TableName, Error)>)> {
    let (mut tables, mut unreadable) = (Vec::new(), Vec::new());
    for name in endpoint.list().await? {
        match endpoint.source(&name, &ReadSpec::default()).await {
            Ok(source) => tables.push(TableInfo::of(name, source.as_ref())),
            Err(error) => unreadable.push((name, error)),
        }
    }
    Ok((tables, unreadable))
}

/// The endpoint to list, and its connection as YAML flow text.
fn open(args: &Discover) -> Result<(Arc<dyn Endpoint>, String), Failure> {
    let path = Path::new(&args.location);
    let is_pipeline = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    if is_pipeline {
        let checked = pipeline::check(path, &crate::args::Overrides::default())?;
        let (endpoint, kinded) = match args.target {
            true => (checked.target, checked.spec.target),
            false => (checked.source, checked.spec.source),
        };
        return Ok((endpoint, serde_json::json!(kinded).to_string()));
    }
    let format = if holds_csv(path) { "csv" } else { "parquet" };
    let options = serde_json::json!({ "url": args.location.replace("${", "$${"), "format": format });
    let text = serde_json::json!({ "lake": options }).to_string();
    let options = serde_json::from_value(options).map_err(|e| Error::internal("options cannot be made").because(e))?;
    Ok((planned(&Connection { kind: "lake".to_string(), options }, &resolver())?, text))
}

/// Whether a folder has CSV files and no Parquet files in it or right below it.
fn holds_csv(folder: &Path) -> bool {
    let mut extensions = Vec::new();
    let mut look = |folder: &Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(1000);
        let paths: Vec<_> = entries.map(|e| e.path()).collect();
        extensions.extend(paths.iter().filter_map(|p| Some(p.extension()?.to_string_lossy().into_owned())));
        paths
    };
    for path in look(folder) {
        if path.is_dir() {
            look(&path);
        }
    }
    extensions.iter().any(|e| e == "csv") && !extensions.iter().any(|e| e == "parquet")
}

fn listing(tables: &[TableInfo]) -> String {
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

/// A pipeline that copies everything. JSON is YAML, so names need no quoting rules of their own.
fn draft(tables: &[TableInfo], connection: &str) -> Result<String, Failure> {
    let mut text = format!(
        "version: 1\npipeline: draft\narchetype: table_copy\nsource: {connection}\ntarget: {{ lake: {{ url: ./target }} }}\ntables:\n"
    );
    for table in tables {
        let from = serde_json::to_string(table.name.as_str())
            .map_err(|e| Error::internal("a name cannot be written").because(e))?;
        text.push_str(&format!("  - from: {from}\n"));
        let stem = Path::new(table.name.as_str()).with_extension("");
        if stem.as_os_str() != table.name.as_str() {
            let to = serde_json::to_string(&stem.to_string_lossy())
                .map_err(|e| Error::internal("a name cannot be written").because(e))?;
            text.push_str(&format!("    to: {to}\n"));
        }
        text.push_str("    # key: []\n");
    }
    Ok(text)
}
