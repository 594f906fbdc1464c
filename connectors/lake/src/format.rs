//! The formats of files, and how their files are named.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::compress::Compression;

/// Format of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Apache Parquet; can be read and written.
    Parquet,
    /// Comma-separated values; can be read and written.
    Csv,
    /// JSON lines, one object in each; can be read and written.
    Json,
    /// Apache Avro; can be read and written.
    Avro,
    /// Apache ORC; can be read.
    Orc,
}

impl Format {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Parquet, Self::Csv, Self::Json, Self::Avro, Self::Orc];

    /// Its word in a pipeline, which is also the ending of the files that are written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Avro => "avro",
            Self::Orc => "orc",
        }
    }

    /// What a person calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Csv => "CSV",
            Self::Json => "JSON lines",
            Self::Avro => "Avro",
            Self::Orc => "ORC",
        }
    }

    /// Everything that the name of one of its files can end with, without the first dot.
    fn endings(self) -> impl Iterator<Item = String> + 'static {
        let plain: &'static [&'static str] = match self {
            Self::Json => &["json", "jsonl", "ndjson"],
            Self::Parquet => &["parquet"],
            Self::Csv => &["csv"],
            Self::Avro => &["avro"],
            Self::Orc => &["orc"],
        };
        let packed: &'static [Compression] = match self {
            Self::Csv | Self::Json => &Compression::ALL,
            Self::Parquet | Self::Avro | Self::Orc => &[Compression::None],
        };
        packed.iter().flat_map(move |packed| plain.iter().map(move |plain| format!("{plain}{}", packed.ending())))
    }

    /// Whether a path is that of one of its files.
    pub(crate) fn fits(self, path: &str) -> bool {
        self.endings().any(|ending| path.strip_suffix(&ending).is_some_and(|rest| rest.ends_with('.')))
    }

    /// The files that a name without an ending can stand for, most likely ones first.
    pub(crate) fn candidates(self, name: &str) -> Vec<String> {
        self.endings().map(|ending| format!("{name}.{ending}")).collect()
    }
}

/// The word of the format, such as `csv`, that files of this name are of: `orders.csv.gz`, `orders.parquet`.
pub fn format_of_name(name: &str) -> Option<&'static str> {
    Format::ALL.into_iter().find(|format| format.fits(name)).map(Format::word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_endings() {
        for (name, format) in [
            ("a.parquet", Some("parquet")),
            ("x/a.csv", Some("csv")),
            ("a.csv.gz", Some("csv")),
            ("a.json", Some("json")),
            ("a.jsonl.zst", Some("json")),
            ("a.ndjson", Some("json")),
            ("a.avro", Some("avro")),
            ("part-0.snappy.orc", Some("orc")),
            ("a.parquet.gz", None),
            ("a.avro.zst", None),
            ("csv", None),
            ("acsv", None),
            ("a.gz", None),
        ] {
            assert_eq!(format_of_name(name), format, "{name}");
        }
        assert_eq!(Format::Csv.candidates("t"), ["t.csv", "t.csv.gz", "t.csv.zst"]);
        assert_eq!(Format::Parquet.candidates("t"), ["t.parquet"]);
    }
}
