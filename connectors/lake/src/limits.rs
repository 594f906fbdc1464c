//! What the formats cannot hold: it is refused before anything is written.

use std::collections::HashSet;

use arrow::datatypes::Schema;
use transload_core::connector::{Partition, Transform};
use transload_core::types::Unit;
use transload_core::{Error, LogicalType, Result};

use crate::avro::is_name;
use crate::settings::{CsvDialect, WriteFormat};

/// Why something cannot be written, and what can be done about it.
type Refusal = (String, &'static str);

/// Refuses columns that files of a format cannot hold so that they come back as they were. Columns whose values are the
/// names of folders are in no file.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for the first one.
pub(crate) fn check(schema: &Schema, partition_by: &[Partition], format: &WriteFormat) -> Result<()> {
    let in_folder = |name: &str| partition_by.iter().any(|p| p.transform == Transform::Identity && p.column == name);
    let mut in_files = 0;
    for field in schema.fields() {
        let is_in_files = !in_folder(field.name());
        in_files += usize::from(is_in_files);
        let refused = match LogicalType::of(field) {
            Some(ty) if is_in_files => name(field.name(), format).or_else(|| ty_of(&ty, format)),
            _ => None,
        };
        if let Some((message, hint)) = refused {
            return Err(Error::config(message).with("column", field.name()).hint(hint));
        }
    }
    match (in_files, format) {
        (0, WriteFormat::Csv(..)) if !schema.fields().is_empty() => {
            Err(Error::config("every column would be the name of a folder, and a CSV file has at least one column")
                .hint("add a column, or leave out a level of `partition_by`"))
        }
        _ => Ok(()),
    }
}

/// The type that a column has to be cast to because files of a format hold no values of its own; `None` if they do, or if
/// no cast helps.
pub(crate) fn instead_of(ty: &LogicalType, format: &WriteFormat) -> Option<LogicalType> {
    ty.with_parts(&|ty| match (ty, format) {
        (LogicalType::Interval, _) => Some(LogicalType::Text),
        (LogicalType::UInt(64), WriteFormat::Avro(_)) => Some(LogicalType::Decimal(20, 0)),
        (LogicalType::Time(Unit::Ns), WriteFormat::Avro(_)) => Some(LogicalType::Time(Unit::Us)),
        _ => None,
    })
}

/// Why a column cannot have its name.
fn name(name: &str, format: &WriteFormat) -> Option<Refusal> {
    let hint = "rename the column";
    match format {
        WriteFormat::Csv(CsvDialect { header: true, .. }, _) if name.is_empty() || name.trim() != name => Some((
            "the name of a column in a CSV header cannot be empty, nor begin or end with blanks".to_string(),
            hint,
        )),
        WriteFormat::Csv(CsvDialect { header: true, .. }, _) if name.contains(char::is_control) => {
            Some(("the name of a column in a CSV header cannot hold control characters".to_string(), hint))
        }
        WriteFormat::Avro(_) if !is_name(name) => Some((no_name(name), hint)),
        WriteFormat::Parquet(_) | WriteFormat::Csv(..) | WriteFormat::Json(_) | WriteFormat::Avro(_) => None,
    }
}

fn no_name(name: &str) -> String {
    format!("`{name}` cannot be a name in Avro, which knows the letters A to Z, digits and `_`, and no digit in front")
}

/// Why a type cannot be written.
fn ty_of(ty: &LogicalType, format: &WriteFormat) -> Option<Refusal> {
    const TEXT: &str = "cast the column to text";
    const BYTES: &str = "write Parquet or Avro, or derive a text from it with `encode(…, 'base64')` and drop it";
    const NESTED: &str = "write another format, or derive columns from its parts and drop it";
    let refused = |message: &str, hint: &'static str| Some((message.to_string(), hint));
    let own = match (format, ty) {
        (WriteFormat::Parquet(_), LogicalType::Interval) => {
            refused("Parquet has no intervals that keep months, days and nanoseconds", TEXT)
        }
        (WriteFormat::Csv(..), LogicalType::Interval) => {
            refused("CSV has no intervals: a text is not read back as one", TEXT)
        }
        (WriteFormat::Csv(..), LogicalType::Binary) => refused("CSV has no bytes", BYTES),
        (WriteFormat::Csv(..), LogicalType::List(_) | LogicalType::Struct(_) | LogicalType::Map(..)) => {
            refused("a field of CSV cannot hold values that are made of others", NESTED)
        }
        (WriteFormat::Json(_), LogicalType::Interval) => {
            refused("JSON has no intervals: a text is not read back as one", TEXT)
        }
        (WriteFormat::Json(_), LogicalType::Binary) => refused("JSON has no bytes", BYTES),
        (WriteFormat::Json(_), LogicalType::Map(key, _)) if **key != LogicalType::Text => {
            refused("the keys of an object in JSON are texts", NESTED)
        }
        (WriteFormat::Avro(_), LogicalType::Interval) => refused(
            "Avro has no intervals that keep months, days and nanoseconds: its durations have no sign and end at \
             milliseconds",
            TEXT,
        ),
        (WriteFormat::Avro(_), LogicalType::UInt(64)) => {
            refused("Avro has no whole numbers above 9223372036854775807", "cast the column to decimal(20,0)")
        }
        (WriteFormat::Avro(_), LogicalType::Time(Unit::Ns)) => {
            refused("Avro has no times of day in nanoseconds", "cast the column to time(us), or to text")
        }
        (WriteFormat::Avro(_), LogicalType::Map(key, _)) if **key != LogicalType::Text => {
            refused("the keys of a map in Avro are texts", NESTED)
        }
        _ => None,
    };
    own.or_else(|| match ty {
        LogicalType::List(item) => ty_of(item, format),
        LogicalType::Map(key, value) => ty_of(key, format).or_else(|| ty_of(value, format)),
        LogicalType::Struct(fields) => {
            fields_of(fields, format).or_else(|| fields.iter().find_map(|(_, ty)| ty_of(ty, format)))
        }
        _ => None,
    })
}

/// Why the fields of a struct cannot have their names.
fn fields_of(fields: &[(String, LogicalType)], format: &WriteFormat) -> Option<Refusal> {
    let hint = "derive a column whose parts have other names, and drop it";
    let mut seen = HashSet::new();
    match format {
        WriteFormat::Json(_) | WriteFormat::Avro(_) => {
            if let Some((twice, _)) = fields.iter().find(|(name, _)| !seen.insert(name)) {
                return Some((format!("two parts of a value have the name `{twice}`"), hint));
            }
        }
        WriteFormat::Parquet(_) | WriteFormat::Csv(..) => {}
    }
    match format {
        WriteFormat::Avro(_) => fields.iter().find(|(name, _)| !is_name(name)).map(|(name, _)| (no_name(name), hint)),
        WriteFormat::Parquet(_) | WriteFormat::Csv(..) | WriteFormat::Json(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use parquet::basic::Compression as ParquetCompression;

    use super::*;
    use crate::compress::Compression;
    use crate::options::AvroCompression;
    use crate::settings::ParquetWriting;

    const CSV: WriteFormat =
        WriteFormat::Csv(CsvDialect { delimiter: b',', quote: b'"', header: true }, Compression::None);
    const JSON: WriteFormat = WriteFormat::Json(Compression::None);
    const AVRO: WriteFormat = WriteFormat::Avro(AvroCompression::Deflate);

    fn parquet() -> WriteFormat {
        WriteFormat::Parquet(ParquetWriting { compression: ParquetCompression::SNAPPY, row_group_rows: 1000 })
    }

    fn checked(name: &str, ty: &str, format: &WriteFormat) -> Result<()> {
        let ty: LogicalType = ty.parse().unwrap();
        check(&Schema::new(vec![ty.to_field(name, true)]), &[], format)
    }

    #[test]
    fn every_format_says_what_it_cannot_hold() {
        let plain = [
            "bool",
            "int8",
            "uint32",
            "float32",
            "decimal(76,0)",
            "text",
            "date",
            "time(ms)",
            "timestamp(ns, UTC)",
            "uuid",
            "json",
        ];
        let nested = ["list<int64>", "struct<a: text>", "map<text, date>"];
        for format in [parquet(), CSV, JSON, AVRO] {
            for ty in plain {
                checked("c", ty, &format).unwrap();
            }
            for ty in nested {
                assert_eq!(checked("c", ty, &format).is_ok(), !matches!(format, WriteFormat::Csv(..)), "{ty}");
            }
            let error = checked("c", "interval", &format).unwrap_err();
            assert_eq!((error.hint_text(), error.context().len()), (Some("cast the column to text"), 1), "{error}");
            assert!(checked("c", "struct<a: list<interval>>", &format).is_err());
            assert_eq!(
                checked("c", "binary", &format).is_ok(),
                !matches!(format, WriteFormat::Csv(..) | WriteFormat::Json(_))
            );
        }
        for (ty, format) in [
            ("uint64", AVRO),
            ("list<uint64>", AVRO),
            ("time(ns)", AVRO),
            ("map<int64, text>", AVRO),
            ("struct<\"a b\": text>", AVRO),
            ("map<date, text>", JSON),
            ("list<binary>", JSON),
        ] {
            let error = checked("c", ty, &format).unwrap_err();
            assert!(error.hint_text().is_some(), "{ty}: {error}");
            checked("c", ty, &parquet()).unwrap();
        }
    }

    #[test]
    fn a_cast_that_helps_is_the_one_that_is_hinted_at() {
        for format in [parquet(), CSV, JSON, AVRO] {
            for text in ["interval", "uint64", "time(ns)", "uuid", "json", "binary", "list<interval>", "list<text>"] {
                let ty: LogicalType = text.parse().unwrap();
                let hint = checked("c", text, &format).err().and_then(|e| e.hint_text().map(str::to_string));
                let cast = match instead_of(&ty, &format) {
                    Some(LogicalType::List(item)) => Some(*item),
                    cast => cast,
                };
                let hinted = hint.filter(|hint| hint.starts_with("cast the column to "));
                match (cast, hinted) {
                    (Some(cast), Some(hint)) => assert!(hint.contains(&cast.to_string()), "{text}: {hint}"),
                    // Values that are made of others are refused as a whole.
                    (Some(_), None) => assert!(text.starts_with("list<") && matches!(format, WriteFormat::Csv(..))),
                    (None, hinted) => assert_eq!(hinted, None, "{text}"),
                }
            }
        }
    }

    #[test]
    fn a_name_that_would_not_come_back_is_refused() {
        for name in ["", " a", "a\t", "a\nb"] {
            assert!(checked(name, "text", &CSV).is_err(), "{name:?}");
            checked(name, "text", &JSON).unwrap();
        }
        let plain = WriteFormat::Csv(CsvDialect { delimiter: b',', quote: b'"', header: false }, Compression::None);
        checked(" a", "text", &plain).unwrap();
        for name in ["l_tax %", "1st", "größe", ""] {
            assert!(checked(name, "text", &AVRO).is_err(), "{name}");
        }
        checked("a \"b\", c", "text", &CSV).unwrap();
    }

    #[test]
    fn what_is_the_name_of_a_folder_is_in_no_file() {
        let ty: LogicalType = "text".parse().unwrap();
        let partition = |transform| Partition { column: "a b".to_string(), transform };
        let schema = |names: &[&str]| Schema::new(names.iter().map(|name| ty.to_field(name, true)).collect::<Vec<_>>());
        check(&schema(&["a b", "c"]), &[partition(Transform::Identity)], &AVRO).unwrap();
        check(&schema(&["a b", "c"]), &[partition(Transform::Bucket(2))], &AVRO).unwrap_err();
        check(&schema(&["a b"]), &[partition(Transform::Identity)], &JSON).unwrap();
        check(&schema(&["a b"]), &[partition(Transform::Identity)], &CSV).unwrap_err();
        // Before the columns are known there are none.
        check(&Schema::empty(), &[], &CSV).unwrap();
    }
}
