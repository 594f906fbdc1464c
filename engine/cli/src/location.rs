//! What a person types to say where tables are: a pipeline, a file with one connection, a url, or a folder of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use transload_coerce::Rulebook;
use transload_core::decode::{Kinded, closest, decode};
use transload_core::tree::Value;
use transload_core::{Endpoint, Error, ErrorKind, Result};
use transload_spec::Problems;

use crate::args::Overrides;
use crate::output::Failure;
use crate::pipeline::{self, resolver};
use crate::{connectors, postgres_url};

/// How a Delta location begins, before its url.
const DELTA: &str = "delta:";

/// A place with tables.
pub(crate) struct Place {
    pub(crate) endpoint: Arc<dyn Endpoint>,
    /// By which values that are read there are cast.
    pub(crate) rulebook: Rulebook,
    /// How it is reached, as it stands in a pipeline.
    pub(crate) connection: Kinded,
}

/// Whether a location is a file of ours.
pub(crate) fn is_file(location: &str) -> bool {
    Path::new(location).extension().is_some_and(|e| e == "yaml" || e == "yml")
}

/// Opens the place whose tables are to be looked at: of a pipeline its source, or its target.
pub(crate) fn open(location: &str, target: bool) -> Result<Place, Failure> {
    let alone = match is_file(location) {
        true => in_file(location)?,
        false => Some(of_text(&location.replace("${", "$${"), Some(format(Path::new(location))))?),
    };
    match alone {
        Some(_) if target => {
            let error = Error::new(ErrorKind::Usage, "`--target` is about pipelines, and this location is none");
            Err(error.hint("leave it out").into())
        }
        Some((endpoint, connection)) => Ok(Place { endpoint, rulebook: pipeline::standard_rulebook()?, connection }),
        None => {
            let checked = pipeline::check(Path::new(location), &Overrides::default())?;
            let (endpoint, connection) = match target {
                true => (checked.target, checked.spec.target),
                false => (checked.source, checked.spec.source),
            };
            Ok(Place { endpoint, rulebook: checked.rulebook, connection })
        }
    }
}

/// Where tables shall go to.
pub(crate) fn destination(location: &str) -> Result<Opened, Failure> {
    if !is_file(location) {
        return Ok(of_text(location, None)?);
    }
    in_file(location)?.ok_or_else(|| {
        Error::new(ErrorKind::Usage, "a target is one connection, and the file holds something else")
            .with("file", location)
            .hint("write it as in a pipeline, such as `lake: { url: s3://bucket/bronze }`")
            .into()
    })
}

/// The connection that a text stands for. References in it count, unless they are written with `$$`. Files are read in this
/// format, if one is given.
fn of_text(text: &str, format: Option<&str>) -> Result<(Arc<dyn Endpoint>, Kinded)> {
    let connection = if postgres_url::is_url(text) {
        connectors::connection(postgres_url::KIND, postgres_url::options(text)?)?
    } else if let Some(url) = text.strip_prefix(DELTA) {
        connectors::connection("delta", json!({ "url": url }))?
    } else {
        let options = match format {
            Some(format) => json!({ "url": text, "format": format }),
            None => json!({ "url": text }),
        };
        connectors::connection("lake", options)?
    };
    Ok((connectors::typed(&connection, &resolver())?, connection))
}

/// An endpoint with the connection that it was made of.
type Opened = (Arc<dyn Endpoint>, Kinded);

/// The connection that a file holds, if it holds nothing else.
fn in_file(path: &str) -> Result<Option<Opened>, Failure> {
    let text = pipeline::read_text(Path::new(path), pipeline::START)?;
    let (node, files) = transload_spec::parse_document(path, &text)?;
    let Value::Map(entries) = &node.value else { return Ok(None) };
    let [(key, _)] = entries.as_slice() else { return Ok(None) };
    let kinds = connectors::kinds();
    // A kind with a slip of the pen is not taken for a pipeline that lacks everything.
    if !kinds.contains(&key.value.as_str()) && closest(&key.value, &kinds).is_none() {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let connection = decode::<Kinded>(&node, &mut problems).filter(|_| problems.is_empty());
    let Some(connection) = connection else { return Err(Problems::new(files, problems).into()) };
    match connectors::endpoint(&connection.kind, &connection.options, &resolver()) {
        Ok(endpoint) => Ok(Some((endpoint, connection))),
        Err(problems) => Err(Problems::new(files, problems).into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> String {
        let (_, connection) = of_text(text, None).unwrap();
        json!(connection).to_string()
    }

    #[test]
    fn a_text_stands_for_a_connection() {
        assert_eq!(options("s3://bucket/bronze"), r#"{"lake":{"url":"s3://bucket/bronze"}}"#);
        assert_eq!(options("delta:./out"), r#"{"delta":{"url":"./out"}}"#);
        assert_eq!(options("${env:LAKE}/bronze"), r#"{"lake":{"url":"${env:LAKE}/bronze"}}"#);
    }
}
