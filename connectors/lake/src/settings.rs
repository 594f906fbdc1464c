//! The options of a lake connection, checked, with defaults filled in.

use arrow::array::timezone::Tz;
use parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use serde::{Deserialize, Serialize};
use transload_core::decode::{Entries, decode};
use transload_core::store::StoreOptions;
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Node, Problem, Span, Template};

use crate::compress::Compression;
use crate::csv::Dialect;
use crate::footers::Footers;
use crate::format::Format;
use crate::options::{
    AvroCompression, BadLine, CompressionName, CsvOptions, JsonOptions, LegacyCalendar, Options, ParquetOptions,
};

/// Everything about a connection.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) url: Template,
    /// How it is reached.
    pub(crate) store: StoreOptions,
    pub(crate) format: Format,
    pub(crate) csv: CsvReading,
    pub(crate) json: JsonReading,
    pub(crate) parquet: ParquetReading,
    pub(crate) footers: Footers,
    pub(crate) orc: LegacyCalendar,
    /// How files are written; `None` for a format that can only be read.
    pub(crate) writing: Option<Writing>,
    /// The options that say nothing but how files are written, and where they stand.
    pub(crate) only_for_writing: Vec<(&'static str, Span)>,
}

/// How fields and records of CSV are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CsvDialect {
    #[serde(with = "ascii")]
    pub(crate) delimiter: u8,
    #[serde(with = "ascii")]
    pub(crate) quote: u8,
    /// Whether the first record names the columns.
    pub(crate) header: bool,
}

impl From<CsvDialect> for Dialect {
    fn from(dialect: CsvDialect) -> Self {
        Self { delimiter: dialect.delimiter, quote: dialect.quote }
    }
}

/// An ASCII character as the text that it is.
mod ascii {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(character: &u8, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_char(char::from(*character))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        u8::try_from(char::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// How CSV is read.
#[derive(Debug, Clone)]
pub(crate) struct CsvReading {
    pub(crate) dialect: CsvDialect,
    pub(crate) null_values: Vec<String>,
    pub(crate) types: Vec<(String, LogicalType)>,
    pub(crate) sample_rows: usize,
    pub(crate) quarantine_bad_lines: bool,
}

impl CsvReading {
    /// Whether a text that says something may be read as NULL, so that the file can no longer be told from the row.
    pub(crate) fn hides_texts(&self) -> bool {
        self.null_values.iter().any(|text| !text.is_empty())
    }

    /// How that is read which transload has written.
    pub(crate) fn of_written(dialect: CsvDialect) -> Self {
        Self {
            dialect,
            null_values: vec![String::new()],
            types: Vec::new(),
            sample_rows: 0,
            quarantine_bad_lines: false,
        }
    }
}

/// How JSON lines are read.
#[derive(Debug, Clone)]
pub(crate) struct JsonReading {
    pub(crate) types: Vec<(String, LogicalType)>,
    pub(crate) sample_rows: usize,
    pub(crate) quarantine_bad_lines: bool,
}

/// How Parquet files are read and written, with all defaults filled in.
#[derive(Debug, Clone)]
pub struct ParquetSettings {
    pub(crate) reading: ParquetReading,
    pub(crate) footers: Footers,
    pub(crate) writing: Writing,
    only_for_writing: Vec<(&'static str, Span)>,
}

impl ParquetSettings {
    /// The options that say nothing but how files are written, and where they stand.
    pub fn only_for_writing(&self) -> &[(&'static str, Span)] {
        &self.only_for_writing
    }

    /// Whether every date and timestamp that is not refused is read as it is stored. If not, what a log says of them may
    /// not be what is read.
    pub fn has_plain_times(&self) -> bool {
        self.reading.is_plain()
    }
}

/// How Parquet is read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ParquetReading {
    pub(crate) legacy_calendar: LegacyCalendar,
    pub(crate) int96_zone: Option<Int96Zone>,
}

impl ParquetReading {
    /// Whether every date and timestamp that is not refused is read as it is stored, with no option that says otherwise.
    pub(crate) fn is_plain(self) -> bool {
        self.legacy_calendar == LegacyCalendar::Refuse && self.int96_zone.is_none()
    }
}

/// The zone whose wall clock INT96 timestamps were taken from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Int96Zone {
    /// The one that the file names.
    Writer,
    /// This one.
    Zone(Tz),
}

/// How files are written.
#[derive(Debug, Clone)]
pub(crate) struct Writing {
    pub(crate) format: WriteFormat,
    /// A file that has reached this size is closed.
    pub(crate) file_bytes: u64,
}

/// In what format, and how.
#[derive(Debug, Clone)]
pub(crate) enum WriteFormat {
    Parquet(ParquetWriting),
    Csv(CsvDialect, Compression),
    Json(Compression),
    Avro(AvroCompression),
}

/// How Parquet is written.
#[derive(Debug, Clone)]
pub(crate) struct ParquetWriting {
    pub(crate) compression: ParquetCompression,
    pub(crate) row_group_rows: usize,
}

impl Writing {
    /// The format that the files are of.
    pub(crate) fn format(&self) -> Format {
        match self.format {
            WriteFormat::Parquet(_) => Format::Parquet,
            WriteFormat::Csv(..) => Format::Csv,
            WriteFormat::Json(_) => Format::Json,
            WriteFormat::Avro(_) => Format::Avro,
        }
    }

    /// What the names of the files end with, without the first dot.
    pub(crate) fn ending(&self) -> String {
        let packed = match self.format {
            WriteFormat::Csv(_, compression) | WriteFormat::Json(compression) => compression,
            WriteFormat::Parquet(_) | WriteFormat::Avro(_) => Compression::None,
        };
        format!("{}{}", self.format().word(), packed.ending())
    }
}

/// Decodes and checks the options of a connection.
///
/// # Errors
/// Every problem with them, each at its place.
pub(crate) fn parse(node: &Node) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let Some(options) = decode::<Options>(node, &mut problems) else { return Err(problems) };
    let format = options.format.as_ref().map_or(Format::Parquet, |f| f.value);
    refuse_idle_sections(&options, format, &mut problems);
    let store = StoreOptions { s3: options.s3, azure: options.azure, gcs: options.gcs, http: options.http };
    store.check(&options.url, &mut problems);
    let csv = options.csv.map(|c| c.value).unwrap_or_default();
    let json = options.json.map(|j| j.value).unwrap_or_default();
    let avro = options.avro.map(|a| a.value).unwrap_or_default();
    let parquet = parquet_settings(options.parquet.map(|p| p.value).unwrap_or_default(), &mut problems);
    let mut only_for_writing = spans([
        ("csv.compression", at(&csv.compression)),
        ("csv.file_bytes", at(&csv.file_bytes)),
        ("json.compression", at(&json.compression)),
        ("json.file_bytes", at(&json.file_bytes)),
        ("avro.compression", at(&avro.compression)),
        ("avro.file_bytes", at(&avro.file_bytes)),
    ]);
    only_for_writing.extend_from_slice(&parquet.only_for_writing);

    let dialect = dialect(&csv, &mut problems);
    let json_reading = json_reading(&json, &mut problems);
    let packed = |option: &Option<Spanned<Compression>>| option.as_ref().map_or(Compression::None, |c| c.value);
    let (write_format, size) = match format {
        Format::Parquet => (Some(parquet.writing.format), None),
        Format::Csv => (Some(WriteFormat::Csv(dialect, packed(&csv.compression))), Some(&csv.file_bytes)),
        Format::Json => (Some(WriteFormat::Json(packed(&json.compression))), Some(&json.file_bytes)),
        Format::Avro => {
            let codec = avro.compression.as_ref().map_or(AvroCompression::Deflate, |c| c.value);
            (Some(WriteFormat::Avro(codec)), Some(&avro.file_bytes))
        }
        Format::Orc => (None, None),
    };
    let file_bytes = size.map_or(parquet.writing.file_bytes, |size| file_bytes(size, &mut problems));
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Settings {
        url: options.url.value,
        store,
        format,
        csv: CsvReading {
            dialect,
            null_values: csv.null_values.unwrap_or_else(|| vec![String::new()]),
            types: types(csv.types),
            sample_rows: csv.sample_rows.map_or(1000, |s| s.value),
            quarantine_bad_lines: csv.on_bad_line == Some(BadLine::Quarantine),
        },
        json: json_reading,
        parquet: parquet.reading,
        footers: parquet.footers,
        orc: options.orc.and_then(|orc| orc.value.legacy_calendar).unwrap_or_default(),
        writing: write_format.map(|format| Writing { format, file_bytes }),
        only_for_writing,
    })
}

/// Checks how Parquet is to be read and written, and fills in the defaults.
pub(crate) fn parquet_settings(options: ParquetOptions, problems: &mut Vec<Problem>) -> ParquetSettings {
    let reading = ParquetReading {
        legacy_calendar: options.legacy_calendar.unwrap_or_default(),
        int96_zone: int96_zone(&options.int96_zone, problems),
    };
    let format = ParquetWriting {
        compression: parquet_compression(&options, problems),
        row_group_rows: at_least(&options.row_group_rows, 262_144, 1, "row_group_rows", problems),
    };
    ParquetSettings {
        reading,
        footers: footers(&options.footers, problems),
        writing: Writing {
            format: WriteFormat::Parquet(format),
            file_bytes: file_bytes(&options.file_bytes, problems),
        },
        only_for_writing: spans([
            ("parquet.compression", at(&options.compression)),
            ("parquet.zstd_level", at(&options.zstd_level)),
            ("parquet.row_group_rows", at(&options.row_group_rows)),
            ("parquet.file_bytes", at(&options.file_bytes)),
        ]),
    }
}

fn file_bytes(option: &Option<Spanned<u64>>, problems: &mut Vec<Problem>) -> u64 {
    at_least(option, 256 << 20, 1 << 16, "file_bytes", problems)
}

fn at<T>(option: &Option<Spanned<T>>) -> Option<Span> {
    option.as_ref().map(|option| option.span)
}

/// The options that are there.
fn spans<const N: usize>(options: [(&'static str, Option<Span>); N]) -> Vec<(&'static str, Span)> {
    options.into_iter().filter_map(|(name, span)| Some((name, span?))).collect()
}

/// Refuses options of a format that is not that of the files.
fn refuse_idle_sections(options: &Options, format: Format, problems: &mut Vec<Problem>) {
    let sections = [
        (Format::Csv, options.csv.as_ref().map(|s| s.span)),
        (Format::Json, options.json.as_ref().map(|s| s.span)),
        (Format::Avro, options.avro.as_ref().map(|s| s.span)),
        (Format::Orc, options.orc.as_ref().map(|s| s.span)),
        (Format::Parquet, options.parquet.as_ref().map(|s| s.span)),
    ];
    for (section, span) in sections {
        let Some(span) = span.filter(|_| section != format) else { continue };
        let word = section.word();
        let message = format!("`{word}` does nothing: the format is {}", format.word());
        let hint = match format {
            Format::Parquet => format!("set `format: {word}`"),
            _ => "remove it".to_string(),
        };
        problems.push(Problem::new(span, message).hint(hint));
    }
}

fn dialect(csv: &CsvOptions, problems: &mut Vec<Problem>) -> CsvDialect {
    let delimiter = character(&csv.delimiter, b',', "delimiter", problems);
    let quote = character(&csv.quote, b'"', "quote", problems);
    if delimiter == quote {
        let span = csv.delimiter.as_ref().or(csv.quote.as_ref()).map(|d| d.span).unwrap_or_default();
        problems
            .push(Problem::new(span, "the delimiter and the quote are the same character").hint("change one of them"));
    }
    CsvDialect { delimiter, quote, header: csv.header.unwrap_or(true) }
}

fn types(entries: Option<Entries<LogicalType>>) -> Vec<(String, LogicalType)> {
    entries.map(|t| t.0.into_iter().map(|(k, v)| (k.value, v)).collect()).unwrap_or_default()
}

fn json_reading(json: &JsonOptions, problems: &mut Vec<Problem>) -> JsonReading {
    let types = types(json.types.clone());
    if let Some(rows) = json.sample_rows.as_ref().filter(|rows| rows.value == 0 && types.is_empty()) {
        let message = "without a sample the columns are those of `types`, and there are none";
        problems.push(Problem::new(rows.span, message).hint("name the columns in `types`, or remove `sample_rows`"));
    }
    JsonReading {
        types,
        sample_rows: json.sample_rows.as_ref().map_or(1000, |s| s.value),
        quarantine_bad_lines: json.on_bad_line == Some(BadLine::Quarantine),
    }
}

fn int96_zone(option: &Option<Spanned<String>>, problems: &mut Vec<Problem>) -> Option<Int96Zone> {
    let option = option.as_ref()?;
    if option.value == "writer" {
        return Some(Int96Zone::Writer);
    }
    match option.value.parse::<Tz>() {
        Ok(zone) => Some(Int96Zone::Zone(zone)),
        Err(_) => {
            let hint = "use UTC, an offset such as +02:00, a name such as Europe/Berlin, or `writer` for the zone that \
                        the file names";
            problems.push(Problem::new(option.span, format!("`{}` is not a time zone", option.value)).hint(hint));
            None
        }
    }
}

fn footers(option: &Option<Spanned<Footers>>, problems: &mut Vec<Problem>) -> Footers {
    match option {
        Some(Spanned { value: Footers::Most(0 | 1), span }) => {
            let message = "`footers` must be at least 2";
            problems.push(Problem::new(*span, message).hint("the first file and the last are always among them"));
            Footers::default()
        }
        Some(footers) => footers.value,
        None => Footers::default(),
    }
}

fn parquet_compression(options: &ParquetOptions, problems: &mut Vec<Problem>) -> ParquetCompression {
    let name = options.compression.as_ref().map_or(CompressionName::Zstd, |c| c.value);
    if let (Some(level), CompressionName::Snappy | CompressionName::None) = (&options.zstd_level, name) {
        problems
            .push(Problem::new(level.span, "`zstd_level` does nothing: the compression is not zstd").hint("remove it"));
    }
    match name {
        CompressionName::Snappy => ParquetCompression::SNAPPY,
        CompressionName::None => ParquetCompression::UNCOMPRESSED,
        CompressionName::Zstd => {
            let level = options.zstd_level.as_ref().map_or(3, |l| l.value);
            match ZstdLevel::try_new(level) {
                Ok(level) => ParquetCompression::ZSTD(level),
                Err(_) => {
                    let span = options.zstd_level.as_ref().map(|l| l.span).unwrap_or_default();
                    problems.push(Problem::new(span, format!("zstd has levels 1 to 22, not {level}")));
                    ParquetCompression::UNCOMPRESSED
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(options: serde_json::Value) -> Vec<String> {
        match parse(&serde_json::from_value(options).unwrap()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|p| p.message).collect(),
        }
    }

    #[test]
    fn options_of_another_format_do_nothing() {
        for (format, section) in [("parquet", "json"), ("json", "csv"), ("orc", "avro"), ("avro", "parquet")] {
            let found = problems(serde_json::json!({ "url": "x", "format": format, section: {} }));
            assert_eq!(found, [format!("`{section}` does nothing: the format is {format}")]);
            assert_eq!(problems(serde_json::json!({ "url": "x", "format": format, format: {} })), Vec::<String>::new());
        }
    }

    #[test]
    fn a_missing_url_hides_nothing_and_is_not_blamed_twice() {
        let options = serde_json::json!({ "format": "csv", "csv": { "delimiter": "::" }, "s3": { "regoin": "x" } });
        let said = [
            "unknown key `regoin`",
            "`url` is missing",
            "the delimiter must be one ASCII character that is not a line break",
        ];
        assert_eq!(problems(options), said);
    }

    #[test]
    fn a_zone_is_known_or_refused() {
        let zone = |zone: &str| problems(serde_json::json!({ "url": "x", "parquet": { "int96_zone": zone } }));
        for known in ["UTC", "+02:00", "America/Los_Angeles", "writer"] {
            assert_eq!(zone(known), Vec::<String>::new(), "{known}");
        }
        assert_eq!(zone("Mars"), ["`Mars` is not a time zone"]);
    }

    #[test]
    fn footers_are_a_number_or_all_of_them() {
        let parsed = |footers: serde_json::Value| {
            let options = serde_json::json!({ "url": "x", "parquet": { "footers": footers } });
            parse(&serde_json::from_value(options).unwrap())
        };
        let read = |footers: serde_json::Value| parsed(footers).unwrap().footers;
        assert_eq!(read(serde_json::json!("all")), Footers::All);
        assert_eq!(read(serde_json::json!(2)), Footers::Most(2));
        let said = |footers: serde_json::Value| parsed(footers).err().unwrap().remove(0).message;
        assert_eq!(said(serde_json::json!(1)), "`footers` must be at least 2");
        for wrong in [serde_json::json!("some"), serde_json::json!(-5), serde_json::json!(2.5), serde_json::json!([])] {
            assert!(said(wrong.clone()).starts_with("expected a number of files or `all`"), "{wrong}");
        }
        let default = parse(&serde_json::from_value(serde_json::json!({ "url": "x" })).unwrap()).unwrap();
        assert_eq!(default.footers, Footers::Most(10_000));
    }

    #[test]
    fn files_are_named_after_their_format_and_compression() {
        for (options, ending) in [
            (serde_json::json!({ "url": "x" }), "parquet"),
            (serde_json::json!({ "url": "x", "format": "csv", "csv": { "compression": "gzip" } }), "csv.gz"),
            (serde_json::json!({ "url": "x", "format": "json", "json": { "compression": "zstd" } }), "json.zst"),
            (serde_json::json!({ "url": "x", "format": "avro", "avro": { "compression": "snappy" } }), "avro"),
        ] {
            let settings = parse(&serde_json::from_value(options).unwrap()).unwrap();
            assert_eq!(settings.writing.unwrap().ending(), ending);
        }
    }

    #[test]
    fn a_dialect_is_written_down_as_text() {
        let dialect = CsvDialect { delimiter: b'\t', quote: b'"', header: true };
        let text = serde_json::to_string(&dialect).unwrap();
        assert_eq!(text, r#"{"delimiter":"\t","quote":"\"","header":true}"#);
        assert_eq!(serde_json::from_str::<CsvDialect>(&text).unwrap(), dialect);
    }
}
