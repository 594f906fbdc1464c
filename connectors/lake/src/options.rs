//! What can be said about a lake connection.

use schemars::JsonSchema;
use serde::Deserialize;
use transload_core::decode::{Entries, decode};
use transload_core::store::{AzureOptions, GcsOptions, HttpOptions, S3Options, StoreOptions};
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Node, Problem, Span, Template};

/// Options of a lake connection.
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
    /// Format of the files. Default: parquet.
    #[serde(default)]
    format: Option<Spanned<Format>>,
    /// How CSV files are read.
    #[serde(default)]
    csv: Option<Spanned<CsvOptions>>,
    /// How Parquet files are written.
    #[serde(default)]
    parquet: Option<Spanned<ParquetOptions>>,
}

/// Format of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Apache Parquet; can be read and written.
    Parquet,
    /// Comma-separated values; can be read.
    Csv,
}

impl Format {
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }
}

/// How CSV files are read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CsvOptions {
    /// The character between two fields. Default: a comma.
    #[serde(default)]
    #[schemars(length(equal = 1))]
    delimiter: Option<Spanned<String>>,
    /// The character around fields that hold a delimiter or a line break. Default: ".
    #[serde(default)]
    #[schemars(length(equal = 1))]
    quote: Option<Spanned<String>>,
    /// Whether the first line names the columns; otherwise they are c1, c2, … Default: true.
    #[serde(default)]
    header: Option<bool>,
    /// Unquoted texts that mean NULL. Default: the empty text.
    #[serde(default)]
    null_values: Option<Vec<String>>,
    /// Types of columns, by name. The others are guessed from a sample.
    #[serde(default)]
    types: Option<Entries<LogicalType>>,
    /// Lines to guess types from; 0 leaves columns without a declared type as text. Default: 1000.
    #[serde(default)]
    sample_rows: Option<Spanned<usize>>,
    /// What happens to a line that cannot be read. Default: error.
    #[serde(default)]
    on_bad_line: Option<BadLine>,
}

/// What happens to a line that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BadLine {
    /// The load stops and names the line.
    Error,
    /// The line is put aside with the reason.
    Quarantine,
}

/// How Parquet files are written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetOptions {
    /// Compression. Default: zstd.
    #[serde(default)]
    compression: Option<CompressionName>,
    /// Level of zstd, 1 to 22. Default: 3.
    #[serde(default)]
    #[schemars(range(min = 1, max = 22))]
    zstd_level: Option<Spanned<i32>>,
    /// Rows in a row group. Default: 262144.
    #[serde(default)]
    #[schemars(range(min = 1))]
    row_group_rows: Option<Spanned<usize>>,
    /// A file that has reached this size is closed and the next one begun. Default: 268435456 (256 MiB).
    #[serde(default)]
    #[schemars(range(min = 65536))]
    file_bytes: Option<Spanned<u64>>,
}

/// Compression of Parquet files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CompressionName {
    /// Small and fast.
    Zstd,
    /// Less small, read by everything.
    Snappy,
    /// Not at all.
    None,
}

/// The options, checked, with defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) url: Template,
    /// How it is reached.
    pub(crate) store: StoreOptions,
    pub(crate) format: Format,
    pub(crate) csv: CsvSettings,
    pub(crate) parquet: ParquetSettings,
    /// Where `parquet` is written, if it is.
    pub(crate) parquet_at: Option<Span>,
}

#[derive(Debug, Clone)]
pub(crate) struct CsvSettings {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    pub(crate) header: bool,
    pub(crate) null_values: Vec<String>,
    pub(crate) types: Vec<(String, LogicalType)>,
    pub(crate) sample_rows: usize,
    pub(crate) quarantine_bad_lines: bool,
}

impl CsvSettings {
    /// Whether a text that says something may be read as NULL, so that the file can no longer be told from the row.
    pub(crate) fn hides_texts(&self) -> bool {
        self.null_values.iter().any(|text| !text.is_empty())
    }
}

/// How Parquet files are written, with all defaults filled in.
#[derive(Debug, Clone)]
pub struct ParquetSettings {
    pub(crate) compression: parquet::basic::Compression,
    pub(crate) row_group_rows: usize,
    pub(crate) file_bytes: u64,
}

pub(crate) fn parse(node: &Node) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let Some(options) = decode::<Options>(node, &mut problems) else { return Err(problems) };
    let format = options.format.as_ref().map_or(Format::Parquet, |f| f.value);
    let store = StoreOptions { s3: options.s3, azure: options.azure, gcs: options.gcs, http: options.http };
    store.check(&options.url, &mut problems);
    if let (Some(csv), Format::Parquet) = (&options.csv, format) {
        problems.push(Problem::new(csv.span, "`csv` does nothing: the format is parquet").hint("set `format: csv`"));
    }
    if let (Some(parquet), Format::Csv) = (&options.parquet, format) {
        problems.push(Problem::new(parquet.span, "`parquet` does nothing: the format is csv").hint("remove it"));
    }
    let csv = options.csv.map(|c| c.value).unwrap_or_default();
    let delimiter = character(&csv.delimiter, b',', "delimiter", &mut problems);
    let quote = character(&csv.quote, b'"', "quote", &mut problems);
    if delimiter == quote {
        let span = csv.delimiter.as_ref().or(csv.quote.as_ref()).map(|d| d.span).unwrap_or_default();
        problems
            .push(Problem::new(span, "the delimiter and the quote are the same character").hint("change one of them"));
    }
    let parquet_at = options.parquet.as_ref().map(|p| p.span);
    let parquet = parquet_settings(options.parquet.map(|p| p.value).unwrap_or_default(), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Settings {
        url: options.url.value,
        store,
        format,
        csv: CsvSettings {
            delimiter,
            quote,
            header: csv.header.unwrap_or(true),
            null_values: csv.null_values.unwrap_or_else(|| vec![String::new()]),
            types: csv.types.map(|t| t.0.into_iter().map(|(k, v)| (k.value, v)).collect()).unwrap_or_default(),
            sample_rows: csv.sample_rows.map_or(1000, |s| s.value),
            quarantine_bad_lines: csv.on_bad_line == Some(BadLine::Quarantine),
        },
        parquet,
        parquet_at,
    })
}

/// Checks how Parquet is to be written, and fills in the defaults.
pub(crate) fn parquet_settings(options: ParquetOptions, problems: &mut Vec<Problem>) -> ParquetSettings {
    ParquetSettings {
        compression: compression(&options, problems),
        row_group_rows: at_least(&options.row_group_rows, 262_144, 1, "row_group_rows", problems),
        file_bytes: at_least(&options.file_bytes, 256 << 20, 1 << 16, "file_bytes", problems),
    }
}

fn compression(options: &ParquetOptions, problems: &mut Vec<Problem>) -> parquet::basic::Compression {
    use parquet::basic::{Compression, ZstdLevel};
    let name = options.compression.unwrap_or(CompressionName::Zstd);
    if let (Some(level), CompressionName::Snappy | CompressionName::None) = (&options.zstd_level, name) {
        problems
            .push(Problem::new(level.span, "`zstd_level` does nothing: the compression is not zstd").hint("remove it"));
    }
    match name {
        CompressionName::Snappy => Compression::SNAPPY,
        CompressionName::None => Compression::UNCOMPRESSED,
        CompressionName::Zstd => {
            let level = options.zstd_level.as_ref().map_or(3, |l| l.value);
            match ZstdLevel::try_new(level) {
                Ok(level) => Compression::ZSTD(level),
                Err(_) => {
                    let span = options.zstd_level.as_ref().map(|l| l.span).unwrap_or_default();
                    problems.push(Problem::new(span, format!("zstd has levels 1 to 22, not {level}")));
                    Compression::UNCOMPRESSED
                }
            }
        }
    }
}

fn character(option: &Option<Spanned<String>>, default: u8, name: &str, problems: &mut Vec<Problem>) -> u8 {
    let Some(option) = option else { return default };
    match option.as_bytes() {
        [c] if *c != b'\n' && *c != b'\r' && c.is_ascii() => *c,
        _ => {
            let message = format!("the {name} must be one ASCII character that is not a line break");
            problems.push(Problem::new(option.span, message).hint("a tab is written \"\\t\""));
            default
        }
    }
}

fn at_least<N: PartialOrd + Copy + std::fmt::Display>(
    option: &Option<Spanned<N>>,
    default: N,
    least: N,
    name: &str,
    problems: &mut Vec<Problem>,
) -> N {
    match option {
        Some(n) if n.value < least => {
            problems.push(Problem::new(n.span, format!("`{name}` must be at least {least}")));
            default
        }
        Some(n) => n.value,
        None => default,
    }
}
