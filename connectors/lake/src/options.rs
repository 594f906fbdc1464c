//! What can be said about a lake connection.

use schemars::JsonSchema;
use serde::Deserialize;
use transload_core::decode::Entries;
use transload_core::store::{AzureOptions, GcsOptions, HttpOptions, S3Options};
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Template};

use crate::compress::Compression;
use crate::footers::Footers;
use crate::format::Format;

/// Options of a lake connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// The folder of the tables: a path from where transload is started, or a file, s3, az, gs, http or https url.
    pub(crate) url: Spanned<Template>,
    /// How a bucket of S3 is reached. What is not said comes from the environment.
    #[serde(default)]
    pub(crate) s3: Option<Spanned<S3Options>>,
    /// How a container of Azure is reached. What is not said comes from the environment.
    #[serde(default)]
    pub(crate) azure: Option<Spanned<AzureOptions>>,
    /// How a bucket of Google is reached. What is not said comes from the environment.
    #[serde(default)]
    pub(crate) gcs: Option<Spanned<GcsOptions>>,
    /// How a web server is reached.
    #[serde(default)]
    pub(crate) http: Option<Spanned<HttpOptions>>,
    /// Format of the files. Default: parquet.
    #[serde(default)]
    pub(crate) format: Option<Spanned<Format>>,
    /// How CSV files are read and written.
    #[serde(default)]
    pub(crate) csv: Option<Spanned<CsvOptions>>,
    /// How files of JSON lines are read and written.
    #[serde(default)]
    pub(crate) json: Option<Spanned<JsonOptions>>,
    /// How Avro files are written.
    #[serde(default)]
    pub(crate) avro: Option<Spanned<AvroOptions>>,
    /// How ORC files are read.
    #[serde(default)]
    pub(crate) orc: Option<Spanned<OrcOptions>>,
    /// How Parquet files are read and written.
    #[serde(default)]
    pub(crate) parquet: Option<Spanned<ParquetOptions>>,
}

/// How CSV files are read and written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CsvOptions {
    /// The character between two fields. Default: a comma.
    #[serde(default)]
    #[schemars(length(equal = 1))]
    pub(crate) delimiter: Option<Spanned<String>>,
    /// The character around fields that hold a delimiter or a line break. Default: ".
    #[serde(default)]
    #[schemars(length(equal = 1))]
    pub(crate) quote: Option<Spanned<String>>,
    /// Whether the first line names the columns; otherwise they are c1, c2, … Default: true.
    #[serde(default)]
    pub(crate) header: Option<bool>,
    /// Unquoted texts that mean NULL. Default: the empty text.
    #[serde(default)]
    pub(crate) null_values: Option<Vec<String>>,
    /// Types of columns, by name. The others are guessed from a sample.
    #[serde(default)]
    pub(crate) types: Option<Entries<LogicalType>>,
    /// Lines to guess types from; 0 leaves columns without a declared type as text. Default: 1000.
    #[serde(default)]
    pub(crate) sample_rows: Option<Spanned<usize>>,
    /// What happens to a line that cannot be read. Default: error.
    #[serde(default)]
    pub(crate) on_bad_line: Option<BadLine>,
    /// Compression of the files that are written. Default: none.
    #[serde(default)]
    pub(crate) compression: Option<Spanned<Compression>>,
    /// A file that has reached this size is closed and the next one begun. Default: 268435456 (256 MiB).
    #[serde(default)]
    #[schemars(range(min = 65536))]
    pub(crate) file_bytes: Option<Spanned<u64>>,
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

/// How files of JSON lines are read and written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonOptions {
    /// Types of columns, by name. The others are guessed from a sample.
    #[serde(default)]
    pub(crate) types: Option<Entries<LogicalType>>,
    /// Lines of each file to find columns in and to guess types from; with 0 the columns are those of `types`. Default: 1000.
    #[serde(default)]
    pub(crate) sample_rows: Option<Spanned<usize>>,
    /// What happens to a line that cannot be read, or whose values do not fit. Default: error.
    #[serde(default)]
    pub(crate) on_bad_line: Option<BadLine>,
    /// Compression of the files that are written. Default: none.
    #[serde(default)]
    pub(crate) compression: Option<Spanned<Compression>>,
    /// A file that has reached this size is closed and the next one begun. Default: 268435456 (256 MiB).
    #[serde(default)]
    #[schemars(range(min = 65536))]
    pub(crate) file_bytes: Option<Spanned<u64>>,
}

/// How Avro files are written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AvroOptions {
    /// Compression of the blocks. Default: deflate.
    #[serde(default)]
    pub(crate) compression: Option<Spanned<AvroCompression>>,
    /// A file that has reached this size is closed and the next one begun. Default: 268435456 (256 MiB).
    #[serde(default)]
    #[schemars(range(min = 65536))]
    pub(crate) file_bytes: Option<Spanned<u64>>,
}

/// Compression of the blocks of Avro files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AvroCompression {
    /// Read by everything.
    Deflate,
    /// Fast, with a checksum.
    Snappy,
    /// Small and fast.
    Zstd,
    /// Not at all.
    None,
}

/// How ORC files are read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrcOptions {
    /// What is done with dates and timestamps before 1582-10-15. Default: refuse.
    #[serde(default)]
    pub(crate) legacy_calendar: Option<LegacyCalendar>,
}

/// What is done with dates and timestamps before 1582-10-15 that may be those of the Julian calendar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LegacyCalendar {
    /// The table is refused.
    #[default]
    Refuse,
    /// They are read as they are stored, as days of the Gregorian calendar.
    AsStored,
    /// They are read as days of the Julian calendar: 1500-01-01 there becomes 1500-01-01 here.
    Rebase,
}

/// How Parquet files are read and written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetOptions {
    /// What is done with dates and timestamps before 1582-10-15 in files of old writers. Default: refuse.
    #[serde(default)]
    pub(crate) legacy_calendar: Option<LegacyCalendar>,
    /// The zone whose wall clock INT96 timestamps were taken from: UTC if they are to be read as they are stored, `writer` for the zone that the file names. Default: none, and files of writers that shift them are refused.
    #[serde(default)]
    pub(crate) int96_zone: Option<Spanned<String>>,
    /// How many footers are read for a plan: of a table with more files those of a sample, and the others when their rows are read. `all` reads every one. Default: 10000.
    #[serde(default)]
    pub(crate) footers: Option<Spanned<Footers>>,
    /// Compression. Default: zstd.
    #[serde(default)]
    pub(crate) compression: Option<Spanned<CompressionName>>,
    /// Level of zstd, 1 to 22. Default: 3.
    #[serde(default)]
    #[schemars(range(min = 1, max = 22))]
    pub(crate) zstd_level: Option<Spanned<i32>>,
    /// Rows in a row group. Default: 262144.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(crate) row_group_rows: Option<Spanned<usize>>,
    /// A file that has reached this size is closed and the next one begun. Default: 268435456 (256 MiB).
    #[serde(default)]
    #[schemars(range(min = 65536))]
    pub(crate) file_bytes: Option<Spanned<u64>>,
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
