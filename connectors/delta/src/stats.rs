//! What a table's log says about the columns of a file, so that readers can leave the file out.
//!
//! A wrong bound loses rows silently in every reader of the table, so a column of which not everything is known has none.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use chrono::{DateTime, Datelike, NaiveDate};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use serde_json::json;
use transload_core::LogicalType;
use transload_core::types::Unit;

/// Columns that have bounds if the table does not say how many: the first ones, as Delta's own writers have it.
const INDEXED: usize = 32;

/// The statistics of a file in Delta's form, as JSON text. `schema` holds the columns in the file; of those in `with_nan`
/// some value may be NaN, which Delta's readers take for more than every number, and Parquet's bounds leave out.
pub(crate) fn of(
    metadata: &ParquetMetaData,
    schema: &SchemaRef,
    with_nan: &BTreeSet<String>,
    indexed: Option<usize>,
) -> String {
    let (mut lowest, mut highest, mut nulls) = (Members::default(), Members::default(), Members::default());
    for field in schema.fields().iter().take(indexed.unwrap_or(INDEXED)) {
        let Some(ty) = LogicalType::of(field) else { continue };
        let chunks: Option<Vec<&ColumnChunkMetaData>> = metadata
            .row_groups()
            .iter()
            .map(|group| group.columns().iter().find(|c| c.column_path().parts() == [field.name().as_str()]))
            .collect();
        let Some(chunks) = chunks else { continue };
        let null_counts: Option<Vec<u64>> = chunks.iter().map(|c| c.statistics()?.null_count_opt()).collect();
        if let Some(counts) = null_counts {
            nulls.push(field.name(), &counts.iter().sum::<u64>().to_string());
        }
        let with_values = chunks.iter().filter(|c| {
            c.statistics().and_then(Statistics::null_count_opt).is_none_or(|count| count < c.num_values() as u64)
        });
        let bounds: Option<Vec<(Bound, Bound)>> = with_values.map(|c| bounds(c.statistics()?, &ty)).collect();
        let Some(bounds) = bounds.filter(|b| !b.is_empty() && !with_nan.contains(field.name())) else { continue };
        let low = bounds.iter().map(|(low, _)| low).min_by(|a, b| a.order(b));
        let high = bounds.iter().map(|(_, high)| high).max_by(|a, b| a.order(b));
        if let Some(low) = low.and_then(|bound| bound.json(&ty, false)) {
            lowest.push(field.name(), &low);
        }
        if let Some(high) = high.and_then(|bound| bound.json(&ty, true)) {
            highest.push(field.name(), &high);
        }
    }
    format!(
        r#"{{"numRecords":{},"minValues":{{{}}},"maxValues":{{{}}},"nullCount":{{{}}}}}"#,
        metadata.file_metadata().num_rows(),
        lowest.0,
        highest.0,
        nulls.0
    )
}

/// The members of a JSON object, whose values are JSON text: numbers in it have as many digits as they need.
#[derive(Default)]
struct Members(String);

impl Members {
    fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&format!("{}:{value}", json!(name)));
    }
}

/// Takes down which columns of floats hold a NaN.
pub(crate) fn note_nan(batch: &RecordBatch, with_nan: &mut BTreeSet<String>) {
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        let some = match column.data_type() {
            DataType::Float32 => column.as_primitive::<Float32Type>().values().iter().any(|v| v.is_nan()),
            DataType::Float64 => column.as_primitive::<Float64Type>().values().iter().any(|v| v.is_nan()),
            _ => false,
        };
        if some {
            with_nan.insert(field.name().clone());
        }
    }
}

/// A bound of a column in a form that can be compared. All bounds of one column are of one kind.
#[derive(Debug)]
enum Bound {
    Number(i128),
    Float(f64),
    Text(String),
}

impl Bound {
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }
}

/// The lowest and the highest value of a chunk, or what lies below and above them.
fn bounds(statistics: &Statistics, ty: &LogicalType) -> Option<(Bound, Bound)> {
    let number = |low: i128, high: i128| Some((Bound::Number(low), Bound::Number(high)));
    match (statistics, ty) {
        (Statistics::Boolean(s), LogicalType::Bool) => number(i128::from(*s.min_opt()?), i128::from(*s.max_opt()?)),
        (Statistics::Int32(s), LogicalType::Int(_) | LogicalType::Date | LogicalType::Decimal(..)) => {
            number(i128::from(*s.min_opt()?), i128::from(*s.max_opt()?))
        }
        (Statistics::Int64(s), LogicalType::Int(_) | LogicalType::Decimal(..) | LogicalType::Timestamp(..)) => {
            number(i128::from(*s.min_opt()?), i128::from(*s.max_opt()?))
        }
        (Statistics::FixedLenByteArray(s), LogicalType::Decimal(..)) => {
            number(big_endian(s.min_opt()?)?, big_endian(s.max_opt()?)?)
        }
        (Statistics::Float(s), LogicalType::Float(_)) => floats(f64::from(*s.min_opt()?), f64::from(*s.max_opt()?)),
        (Statistics::Double(s), LogicalType::Float(_)) => floats(*s.min_opt()?, *s.max_opt()?),
        (Statistics::ByteArray(s), LogicalType::Text) => {
            let text = |bytes: &ByteArray| bytes.as_utf8().ok().map(|t| Bound::Text(t.to_string()));
            Some((text(s.min_opt()?)?, text(s.max_opt()?)?))
        }
        _ => None,
    }
}

fn floats(low: f64, high: f64) -> Option<(Bound, Bound)> {
    // A zero may be of either sign.
    let low = if low == 0.0 { -0.0 } else { low };
    let high = if high == 0.0 { 0.0 } else { high };
    (low.is_finite() && high.is_finite()).then_some((Bound::Float(low), Bound::Float(high)))
}

fn big_endian(bytes: &FixedLenByteArray) -> Option<i128> {
    let bytes = bytes.data();
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide.get_mut(16usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

impl Bound {
    /// The bound as Delta writes it, in JSON; one that cannot be written exactly moves outwards, or there is none.
    fn json(&self, ty: &LogicalType, upwards: bool) -> Option<String> {
        Some(match (self, ty) {
            (Self::Number(days), LogicalType::Date) => {
                let day = NaiveDate::from_epoch_days(i32::try_from(*days).ok()?)?;
                (1..=9999).contains(&day.year()).then(|| json!(day.to_string()))?.to_string()
            }
            (Self::Number(ticks), LogicalType::Timestamp(Unit::Us, zone)) => {
                let millis = ticks.div_euclid(1000) + i128::from(upwards && ticks.rem_euclid(1000) != 0);
                let time = DateTime::from_timestamp_millis(i64::try_from(millis).ok()?)?.naive_utc();
                let zone = if zone.is_some() { "Z" } else { "" };
                (1..=9999).contains(&time.year()).then_some(())?;
                json!(format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.3f"))).to_string()
            }
            (Self::Number(unscaled), LogicalType::Decimal(_, scale)) => {
                decimal_text(*unscaled, u32::from(scale.unsigned_abs()))
            }
            (Self::Number(n), LogicalType::Int(_)) => n.to_string(),
            (Self::Number(n), LogicalType::Bool) => (*n == 1).to_string(),
            (Self::Float(f), _) => json!(f).to_string(),
            (Self::Text(text), _) => json!(text).to_string(),
            _ => return None,
        })
    }
}

fn decimal_text(unscaled: i128, scale: u32) -> String {
    let one = 10i128.pow(scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    let (whole, rest) = (unscaled.unsigned_abs() / one.unsigned_abs(), unscaled.unsigned_abs() % one.unsigned_abs());
    match scale {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{rest:0width$}", width = scale as usize),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use parquet::arrow::ArrowWriter;
    use serde_json::Value as Json;

    use super::*;

    fn stats(columns: Vec<(&str, ArrayRef)>) -> Json {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let metadata = writer.finish().unwrap();
        let mut with_nan = BTreeSet::new();
        note_nan(&batch, &mut with_nan);
        serde_json::from_str(&of(&metadata, &batch.schema(), &with_nan, None)).unwrap()
    }

    #[test]
    fn bounds_hold_every_value() {
        let stats = stats(vec![
            ("i", Arc::new(Int64Array::from(vec![Some(3), None, Some(-1)]))),
            ("d", Arc::new(Date32Array::from(vec![0, 19_000, -1]))),
            ("m", Arc::new(Decimal128Array::from(vec![-105, 7, 12_345]).with_precision_and_scale(15, 2).unwrap())),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![1, 1_000_001, 5]).with_timezone("UTC"))),
            ("s", Arc::new(StringArray::from(vec!["b", "a", "ä"]))),
            ("f", Arc::new(Float64Array::from(vec![0.0, 1.5, 1.0]))),
            ("g", Arc::new(Float64Array::from(vec![0.0, 1.5, f64::NAN]))),
            ("h", Arc::new(Float64Array::from(vec![0.0, 1.5, f64::INFINITY]))),
            ("n", Arc::new(Int64Array::from(vec![None, None, None]))),
        ]);
        assert_eq!(stats["numRecords"], 3);
        assert_eq!(
            stats["minValues"],
            json!({"i": -1, "d": "1969-12-31", "m": -1.05, "t": "1970-01-01T00:00:00.000Z", "s": "a", "f": -0.0})
        );
        assert_eq!(
            stats["maxValues"],
            json!({"i": 3, "d": "2022-01-08", "m": 123.45, "t": "1970-01-01T00:00:01.001Z", "s": "ä", "f": 1.5})
        );
        assert_eq!(stats["nullCount"], json!({"i": 1, "d": 0, "m": 0, "t": 0, "s": 0, "f": 0, "g": 0, "h": 0, "n": 3}));
    }

    #[test]
    fn a_decimal_keeps_its_digits() {
        let wide = Decimal128Array::from(vec![-10i128.pow(37) - 1, 5]).with_precision_and_scale(38, 2).unwrap();
        let batch = RecordBatch::try_from_iter([("m", Arc::new(wide) as ArrayRef)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let text = of(&writer.finish().unwrap(), &batch.schema(), &BTreeSet::new(), None);
        assert!(
            text.contains(r#""minValues":{"m":-100000000000000000000000000000000000.01},"maxValues":{"m":0.05}"#),
            "{text}"
        );
    }

    #[test]
    fn long_text_is_cut_outwards() {
        let long = "x".repeat(500);
        let stats = stats(vec![("s", Arc::new(StringArray::from(vec![long.as_str()])))]);
        let bound = |which: &str| stats[which]["s"].as_str().unwrap().to_string();
        assert!(bound("minValues").as_str() <= long.as_str() && bound("maxValues").as_str() >= long.as_str());
        assert!(bound("maxValues").len() < 100);
    }
}
