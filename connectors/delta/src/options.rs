//! What can be said about a Delta connection.

use schemars::JsonSchema;
use serde::Deserialize;
use transload_core::decode::{Entries, decode};
use transload_core::store::{AzureOptions, GcsOptions, HttpOptions, S3Options, StoreOptions};
use transload_core::tree::Spanned;
use transload_core::{Node, Problem, Span, Template};
use transload_lake::{ParquetOptions, ParquetSettings, files};

/// Table properties that can be given to a new table: those that ask nothing of a writer which this one does not do.
const PROPERTIES: [&str; 6] = [
    "delta.appendOnly",
    "delta.checkpointInterval",
    "delta.dataSkippingNumIndexedCols",
    "delta.deletedFileRetentionDuration",
    "delta.enableExpiredLogCleanup",
    "delta.logRetentionDuration",
];

/// Options of a Delta connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// The folder of the tables: a path from where transload is started, or a file, s3, az, gs, http or https url.
    url: Spanned<Template>,
    /// How a bucket of S3 is reached. What is not said comes from the environment.
    #[serde(default)]
    s3: Option<Spanned<S3Options>>,
    /// How a container of Azure is reached. What is not said comes from the environment.
    #[serde(default)]
    azure: Option<Spanned<AzureOptions>>,
    /// How a bucket of Google is reached. What is not said comes from the environment.
    #[serde(default)]
    gcs: Option<Spanned<GcsOptions>>,
    /// How a web server is reached.
    #[serde(default)]
    http: Option<Spanned<HttpOptions>>,
    /// What happens when the columns of a table are not those of the rows that are written. Default: a load that adds
    /// rows stops, and one that replaces them replaces the columns too.
    #[serde(default)]
    schema: Option<Spanned<SchemaPolicy>>,
    /// Where the types of columns come from when a table is read. Default: the log.
    #[serde(default)]
    types: Option<Spanned<TypesFrom>>,
    /// Properties of tables that are made, such as `delta.appendOnly: "true"`.
    #[serde(default)]
    properties: Option<Spanned<Entries<Spanned<String>>>>,
    /// How Parquet files are read and written.
    #[serde(default)]
    parquet: Option<Spanned<ParquetOptions>>,
}

/// What happens when columns differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SchemaPolicy {
    /// New columns are added to the table; rows that are there have NULL in them.
    Evolve,
    /// The same, and columns become as wide as those of the rows, where Delta's type widening allows it.
    Widen,
    /// The load stops.
    Freeze,
}

impl SchemaPolicy {
    /// Whether columns may be added, and rows may lack columns that may be NULL.
    pub(crate) fn adds_columns(self) -> bool {
        matches!(self, Self::Evolve | Self::Widen)
    }
}

/// Where the types of columns come from when a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TypesFrom {
    /// The log. A file that holds what its types may not hold exactly is refused when it is read.
    Log,
    /// The files: each column has the smallest type that holds the values of all files exactly. Every footer is read.
    Files,
}

/// The options, checked, with defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) url: Template,
    pub(crate) store: StoreOptions,
    pub(crate) schema: Option<SchemaPolicy>,
    pub(crate) types: files::Types,
    /// Sorted by name.
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) parquet: ParquetSettings,
    /// The options that are about writing, and where they stand.
    pub(crate) writing: Vec<(&'static str, Span)>,
}

/// What a property should be, if a value is not: readers pass over values that they do not understand.
fn unfit(name: &str, value: &str) -> Option<&'static str> {
    let whole = |least: i64| value.parse::<i64>().is_ok_and(|n| n >= least);
    let words: Vec<&str> = value.split(' ').collect();
    let is_interval = matches!(words.as_slice(), ["interval", number, unit]
        if number.parse::<u32>().is_ok() && ["second", "minute", "hour", "day", "week"].contains(&unit.trim_end_matches('s')));
    let (fits, wanted) = match name {
        "delta.appendOnly" | "delta.enableExpiredLogCleanup" => (["true", "false"].contains(&value), "true or false"),
        "delta.checkpointInterval" => (whole(1), "a whole number, 1 or more"),
        "delta.dataSkippingNumIndexedCols" => (whole(-1), "a whole number, or -1 for all columns"),
        _ => (is_interval, "such as interval 30 days"),
    };
    (!fits).then_some(wanted)
}

pub(crate) fn parse(node: &Node) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let Some(options) = decode::<Options>(node, &mut problems) else { return Err(problems) };
    let store = StoreOptions { s3: options.s3, azure: options.azure, gcs: options.gcs, http: options.http };
    store.check(&options.url, &mut problems);
    let writing = [
        ("schema", options.schema.as_ref().map(|s| s.span)),
        ("properties", options.properties.as_ref().map(|p| p.span)),
    ];
    let mut properties = Vec::new();
    for (name, value) in options.properties.into_iter().flat_map(|p| p.value.0) {
        if !PROPERTIES.contains(&name.value.as_str()) {
            let message = format!("`{}` is not a property that tables can be given here", name.value);
            problems.push(Problem::new(name.span, message).hint(format!("there are {}", PROPERTIES.join(", "))));
        }
        if let Some(wanted) = unfit(&name.value, &value.value) {
            let message = format!("`{}` cannot be {}", name.value, value.value);
            problems.push(Problem::new(value.span, message).hint(format!("it is {wanted}")));
        }
        properties.push((name.value, value.value));
    }
    properties.sort();
    let parquet = files::parquet_settings(options.parquet.map(|p| p.value), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut writing: Vec<_> = writing.into_iter().filter_map(|(name, span)| Some((name, span?))).collect();
    writing.extend_from_slice(parquet.only_for_writing());
    let schema = options.schema.map(|s| s.value);
    let types = match options.types.map(|types| types.value) {
        Some(TypesFrom::Files) => files::Types::Files,
        Some(TypesFrom::Log) | None => files::Types::Log,
    };
    Ok(Settings { url: options.url.value, store, schema, types, properties, parquet, writing })
}
