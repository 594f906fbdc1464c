//! Partitioned layouts: which folder a row belongs in, and what a folder's name says.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use chrono::{DateTime, Datelike, NaiveDate};
use datafusion::common::ScalarValue;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use transload_core::connector::{Partition, Transform};
use transload_core::{Error, LogicalType, Result};
use xxhash_rust::xxh64::xxh64;

/// The name Hive gives to the folder of NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What cannot stand in the name of a folder on every store, and what would change its meaning.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'/')
    .add(b'\\')
    .add(b':')
    .add(b'=')
    .add(b'%')
    .add(b'#')
    .add(b'?')
    .add(b'*')
    .add(b'"')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'|')
    .add(b'{')
    .add(b'}')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'~')
    .add(b'`');

/// Numbers that a level remembers beside its folders.
const SEEN: usize = 1 << 12;

/// Sorts rows into the folders of a layout. Folders get small numbers, in order of appearance.
pub(crate) struct Router {
    levels: Vec<Level>,
    /// Folder numbers by the codes of their levels, if there are several.
    folders: HashMap<Vec<u32>, usize>,
    /// Folder numbers by the code of the only level.
    by_code: Vec<Option<usize>>,
    names: Vec<String>,
}

/// One level of a layout. What it remembers grows with its folders, not with the values of the column.
struct Level {
    partition: Partition,
    column: usize,
    names: Vec<String>,
    /// Codes by what all numbers of a folder have in common.
    numbers: HashMap<i128, u32>,
    /// Codes by what all texts of a folder have in common.
    texts: HashMap<String, u32>,
    null: Option<u32>,
    /// Numbers that came by lately, with their codes; the place of each is its own, and one forgets what was there.
    seen: Vec<Option<(i128, u32)>>,
}

impl Router {
    pub(crate) fn new(partition_by: &[Partition], schema: &SchemaRef) -> Result<Self> {
        let level = |p: &Partition| {
            let column = schema.index_of(&p.column)?;
            let partition = p.clone();
            Ok(Level {
                partition,
                column,
                names: Vec::new(),
                numbers: HashMap::new(),
                texts: HashMap::new(),
                null: None,
                seen: vec![None; SEEN],
            })
        };
        Ok(Self {
            levels: partition_by.iter().map(level).collect::<Result<_>>()?,
            folders: HashMap::new(),
            by_code: Vec::new(),
            names: Vec::new(),
        })
    }

    /// The folder of every row.
    pub(crate) fn route(&mut self, batch: &RecordBatch) -> Result<Vec<usize>> {
        let codes: Vec<Vec<u32>> =
            self.levels.iter_mut().map(|l| l.codes(batch.column(l.column))).collect::<Result<_>>()?;
        if let [codes] = codes.as_slice() {
            return Ok(codes.iter().map(|code| self.folder_of(*code as usize)).collect());
        }
        let mut out = Vec::with_capacity(batch.num_rows());
        let mut key = vec![0; codes.len()];
        let mut last: Option<usize> = None;
        for row in 0..batch.num_rows() {
            let same = last.is_some() && codes.iter().zip(&key).all(|(c, k)| c[row] == *k);
            let folder = match last.filter(|_| same) {
                Some(folder) => folder,
                None => {
                    codes.iter().zip(&mut key).for_each(|(c, k)| *k = c[row]);
                    match self.folders.get(&key) {
                        Some(&folder) => folder,
                        None => {
                            let name: Vec<&str> =
                                self.levels.iter().zip(&key).map(|(l, k)| l.names[*k as usize].as_str()).collect();
                            self.names.push(name.join("/"));
                            self.folders.insert(key.clone(), self.names.len() - 1);
                            self.names.len() - 1
                        }
                    }
                }
            };
            last = Some(folder);
            out.push(folder);
        }
        Ok(out)
    }

    /// The folder of a code of the only level.
    fn folder_of(&mut self, code: usize) -> usize {
        if code >= self.by_code.len() {
            self.by_code.resize(code + 1, None);
        }
        *self.by_code[code].get_or_insert_with(|| {
            self.names.push(self.levels[0].names[code].clone());
            self.names.len() - 1
        })
    }

    /// The path of a folder, such as `country=DE/day_month=2024-01`.
    pub(crate) fn name(&self, folder: usize) -> &str {
        &self.names[folder]
    }
}

impl Level {
    fn codes(&mut self, array: &ArrayRef) -> Result<Vec<u32>> {
        macro_rules! numbers {
            ($t:ty) => {
                self.number_codes(array.as_primitive::<$t>().iter().map(|v| v.map(i128::from)))
            };
        }
        macro_rules! ticks {
            ($t:ty) => {
                self.number_codes(array.as_primitive::<$t>().iter().map(|v| v.map(|v| i128::from(v) * nanos::<$t>())))
            };
        }
        if let Transform::Bucket(n) = self.partition.transform {
            let formatter = arrow::util::display::ArrayFormatter::try_new(array, &Default::default())?;
            let bucket = |i| i128::from(xxh64(formatter.value(i).to_string().as_bytes(), 0) % u64::from(n));
            return Ok(self.number_codes((0..array.len()).map(|i| array.is_valid(i).then(|| bucket(i)))));
        }
        let codes: Vec<u32> = match array.data_type() {
            DataType::Int8 => numbers!(Int8Type),
            DataType::Int16 => numbers!(Int16Type),
            DataType::Int32 => numbers!(Int32Type),
            DataType::Int64 => numbers!(Int64Type),
            DataType::UInt8 => numbers!(UInt8Type),
            DataType::UInt16 => numbers!(UInt16Type),
            DataType::UInt32 => numbers!(UInt32Type),
            DataType::UInt64 => numbers!(UInt64Type),
            DataType::Date32 if self.partition.transform == Transform::Identity => {
                let name = |level: &mut Self, v: i128| match day(v) {
                    Some(day) => level.text_code(Some(&day.to_string())),
                    None => u32::MAX,
                };
                self.codes_of(array.as_primitive::<Date32Type>().iter().map(|v| v.map(i128::from)), name)
            }
            DataType::Date32 => {
                let days = array.as_primitive::<Date32Type>().iter();
                self.number_codes(days.map(|v| v.map(|v| i128::from(v) * 86_400_000_000_000)))
            }
            DataType::Boolean => {
                let words = array.as_boolean().iter().map(|v| v.map(|v| if v { "true" } else { "false" }));
                words.map(|v| self.text_code(v)).collect()
            }
            DataType::Timestamp(TimeUnit::Second, _) => ticks!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => ticks!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => ticks!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => ticks!(TimestampNanosecondType),
            DataType::Utf8 => array.as_string::<i32>().iter().map(|v| self.text_code(v)).collect(),
            DataType::Utf8View => array.as_string_view().iter().map(|v| self.text_code(v)).collect(),
            other => return Err(Error::internal(format!("a layout cannot use values of type {other}"))),
        };
        match codes.iter().all(|c| (*c as usize) < self.names.len()) {
            true => Ok(codes),
            false => {
                Err(Error::config("a value is out of the range of its partition")
                    .with("column", &self.partition.column))
            }
        }
    }

    fn number_codes(&mut self, values: impl Iterator<Item = Option<i128>>) -> Vec<u32> {
        self.codes_of(values, Self::number_code)
    }

    /// The codes of numbers. `find` finds that of one that did not come by lately.
    fn codes_of(
        &mut self,
        values: impl Iterator<Item = Option<i128>>,
        find: impl Fn(&mut Self, i128) -> u32,
    ) -> Vec<u32> {
        let mut codes = Vec::with_capacity(values.size_hint().0);
        for value in values {
            codes.push(match value {
                Some(value) => self.code_of(value, &find),
                None => self.null_code(),
            });
        }
        codes
    }

    fn code_of(&mut self, value: i128, find: &impl Fn(&mut Self, i128) -> u32) -> u32 {
        let place = place(value);
        let seen = self.seen[place];
        match seen.filter(|(number, _)| *number == value) {
            Some((_, code)) => code,
            None => {
                let code = find(self, value);
                self.seen[place] = Some((value, code));
                code
            }
        }
    }

    fn number_code(&mut self, value: i128) -> u32 {
        let transform = &self.partition.transform;
        let Some(common) = common_number(transform, value) else { return u32::MAX };
        if let Some(code) = self.numbers.get(&common) {
            return *code;
        }
        let Some(name) = number_name(transform, value) else { return u32::MAX };
        let code = self.new_code(&name);
        self.numbers.insert(common, code);
        code
    }

    fn text_code(&mut self, value: Option<&str>) -> u32 {
        let Some(value) = value else { return self.null_code() };
        let common = match self.partition.transform {
            Transform::Truncate(n) => value.char_indices().nth(n as usize).map_or(value, |(end, _)| &value[..end]),
            _ => value,
        };
        if let Some(code) = self.texts.get(common) {
            return *code;
        }
        let code = self.new_code(&escape(common));
        self.texts.insert(common.to_string(), code);
        code
    }

    fn null_code(&mut self) -> u32 {
        match self.null {
            Some(code) => code,
            None => {
                let code = self.new_code(NULL);
                self.null = Some(code);
                code
            }
        }
    }

    /// The code of a folder that has none yet.
    fn new_code(&mut self, value: &str) -> u32 {
        self.names.push(format!("{}={value}", escape(&self.partition.name())));
        (self.names.len() - 1) as u32
    }
}

/// Where a number is remembered: numbers at equal distances lie far from each other.
fn place(value: i128) -> usize {
    ((value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SEEN.ilog2())) as usize
}

fn nanos<T: ArrowPrimitiveType>() -> i128 {
    match T::DATA_TYPE {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1,
    }
}

/// What all numbers have in common that belong into one folder, and no others; dates and timestamps come as nanoseconds
/// since 1970, buckets as they are. `None` if out of range.
fn common_number(transform: &Transform, value: i128) -> Option<i128> {
    const HOUR: i128 = 3_600_000_000_000;
    Some(match transform {
        Transform::Identity | Transform::Bucket(_) => value,
        Transform::Truncate(n) => value - value.rem_euclid(i128::from(*n)),
        Transform::Year => instant(value)?.year().into(),
        Transform::Month => {
            let at = instant(value)?;
            i128::from(at.year()) * 12 + i128::from(at.month0())
        }
        Transform::Day => value.div_euclid(24 * HOUR),
        Transform::Hour => value.div_euclid(HOUR),
    })
}

/// The folder name of a number. `None` if out of range.
fn number_name(transform: &Transform, value: i128) -> Option<String> {
    Some(match transform {
        Transform::Identity | Transform::Truncate(_) | Transform::Bucket(_) => {
            common_number(transform, value)?.to_string()
        }
        Transform::Year => format!("{:04}", instant(value)?.year()),
        Transform::Month => instant(value)?.format("%Y-%m").to_string(),
        Transform::Day => instant(value)?.format("%Y-%m-%d").to_string(),
        Transform::Hour => instant(value)?.format("%Y-%m-%d-%H").to_string(),
    })
}

fn day(value: i128) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(i32::try_from(value).ok()?)
}

fn instant(value: i128) -> Option<chrono::NaiveDateTime> {
    let seconds = i64::try_from(value.div_euclid(1_000_000_000)).ok()?;
    let nanos = value.rem_euclid(1_000_000_000) as u32;
    DateTime::from_timestamp(seconds, nanos).map(|t| t.naive_utc())
}

fn escape(text: &str) -> String {
    // Other readers do not decode the names of columns, so letters of any script stay as they are.
    let escaped: String = text
        .chars()
        .map(|c| match c.is_ascii() {
            true => utf8_percent_encode(c.encode_utf8(&mut [0; 4]), ESCAPED).to_string(),
            false => c.to_string(),
        })
        .collect();
    // A name of the NULL folder that is really a text, and names that stores hide or refuse.
    match escaped.as_str() {
        NULL | "." | ".." => format!("%{:02X}{}", escaped.as_bytes()[0], &escaped[1..]),
        _ => escaped,
    }
}

/// The partition values in a path: `a=1/b=x/file` gives `[("a", Some("1")), ("b", Some("x"))]`.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if one is not UTF-8.
pub(crate) fn values_in_path(path: &str) -> Result<Vec<(String, Option<String>)>> {
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Error::config("the name of a folder is not UTF-8 once its percent signs are decoded")
            .hint("rename the folder: a percent sign that is meant as it is is written %25")),
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    parts
        .into_iter()
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| match value {
            NULL => Ok((decode(name)?, None)),
            _ => Ok((decode(name)?, Some(decode(value)?))),
        })
        .collect()
}

/// The value a folder's name stands for.
pub(crate) fn typed(value: Option<&str>, ty: &LogicalType, arrow: &DataType) -> Result<ScalarValue> {
    let Some(value) = value else { return Ok(ScalarValue::try_from(arrow)?) };
    let broken = || Error::config(format!("a folder's name is not a value of type {ty}"));
    match ty {
        LogicalType::Text => Ok(match arrow {
            DataType::Utf8View => ScalarValue::Utf8View(Some(value.to_string())),
            _ => ScalarValue::Utf8(Some(value.to_string())),
        }),
        LogicalType::Bool => match value {
            v if v.eq_ignore_ascii_case("true") => Ok(ScalarValue::Boolean(Some(true))),
            v if v.eq_ignore_ascii_case("false") => Ok(ScalarValue::Boolean(Some(false))),
            _ => Err(broken()),
        },
        _ => ScalarValue::try_from_string(value.to_string(), arrow).map_err(|_| broken()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn folders(partitions: &[(&str, Transform)], columns: Vec<(&str, ArrayRef)>) -> Vec<String> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let partitions: Vec<Partition> =
            partitions.iter().map(|(c, t)| Partition { column: c.to_string(), transform: *t }).collect();
        let mut router = Router::new(&partitions, &batch.schema()).unwrap();
        let rows = router.route(&batch).unwrap();
        rows.iter().map(|f| router.name(*f).to_string()).collect()
    }

    #[test]
    fn rows_find_their_folders() {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), Some(31), None, Some(-1), Some(30)]));
        assert_eq!(
            folders(&[("d", Transform::Month)], vec![("d", days.clone())]),
            [
                "d_month=1970-01",
                "d_month=1970-02",
                "d_month=__HIVE_DEFAULT_PARTITION__",
                "d_month=1969-12",
                "d_month=1970-01"
            ]
        );
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![-1, 3_600_000_000]));
        assert_eq!(
            folders(&[("t", Transform::Hour)], vec![("t", at)]),
            ["t_hour=1969-12-31-23", "t_hour=1970-01-01-01"]
        );
        let n: ArrayRef = Arc::new(Int64Array::from(vec![-1, 10, 19]));
        assert_eq!(
            folders(&[("n", Transform::Truncate(10))], vec![("n", n)]),
            ["n_trunc=-10", "n_trunc=10", "n_trunc=10"]
        );
    }

    #[test]
    fn a_day_that_no_calendar_has_is_not_null() {
        let partitions = [Partition { column: "d".to_string(), transform: Transform::Identity }];
        for beyond in [i32::MAX, i32::MIN] {
            let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), None, Some(beyond)]));
            let batch = RecordBatch::try_from_iter([("d", days)]).unwrap();
            let error = Router::new(&partitions, &batch.schema()).unwrap().route(&batch).unwrap_err();
            assert!(error.to_string().contains("out of the range of its partition (column d)"), "{error}");
        }
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), None]));
        assert_eq!(
            folders(&[("d", Transform::Identity)], vec![("d", days)]),
            ["d=1970-01-01", "d=__HIVE_DEFAULT_PARTITION__"]
        );
    }

    #[test]
    fn numbers_that_share_a_place_keep_their_folders() {
        let other = (1..).find(|n| place(*n) == place(0)).unwrap();
        let n: ArrayRef = Arc::new(Int64Array::from(vec![0, other as i64, 0, other as i64, 1]));
        let (first, second) = ("n=0".to_string(), format!("n={other}"));
        let one = folders(&[("n", Transform::Identity)], vec![("n", Arc::clone(&n))]);
        assert_eq!(one, [&*first, &*second, &*first, &*second, "n=1"]);
        let two = folders(&[("n", Transform::Identity), ("n", Transform::Truncate(1))], vec![("n", n)]);
        assert_eq!(two[3], format!("{second}/n_trunc={other}"));
    }

    #[test]
    fn names_come_back_as_they_were() {
        let odd = ["", "a/b", "x=y", "%", "100%", NULL, "..", "ä ö", "a\u{0}b", "plain"];
        let texts: ArrayRef = Arc::new(StringArray::from(odd.to_vec()));
        let names = folders(&[("t", Transform::Identity)], vec![("t", texts)]);
        for (name, odd) in names.iter().zip(odd) {
            assert_eq!(name.matches('/').count(), 0, "{name}");
            let values = values_in_path(&format!("{name}/f.parquet")).unwrap();
            assert_eq!(values, [("t".to_string(), Some(odd.to_string()))]);
        }
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_refused() {
        for path in ["t=%FF/f", "a=1/%FE=1/f", "t=%C3/f"] {
            let error = values_in_path(path).unwrap_err();
            assert_eq!(error.kind(), transload_core::ErrorKind::Config, "{path}: {error}");
        }
        assert_eq!(values_in_path("%FF/t=%C3%A4/%FF").unwrap(), [("t".to_string(), Some("ä".to_string()))]);
    }

    #[test]
    fn what_is_remembered_does_not_grow_with_the_values() {
        const ROWS: i64 = 10_000;
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values((0..ROWS).map(|i| i * 1_000_003)));
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
        let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| format!("{:05}", ROWS + i))));
        let transforms = [
            (Transform::Year, "at", 1),
            (Transform::Month, "at", 1),
            (Transform::Day, "at", 1),
            (Transform::Hour, "at", 3),
            (Transform::Bucket(4), "at", 4),
            (Transform::Bucket(4), "text", 4),
            (Transform::Truncate(5_000), "n", 2),
            (Transform::Truncate(2), "text", 10),
        ];
        let batch = RecordBatch::try_from_iter([("at", at), ("n", n), ("text", text)]).unwrap();
        for (transform, column, folders) in transforms {
            let partitions = [Partition { column: column.to_string(), transform }];
            let mut router = Router::new(&partitions, &batch.schema()).unwrap();
            router.route(&batch).unwrap();
            let level = &router.levels[0];
            assert_eq!(level.numbers.len() + level.texts.len(), folders, "{transform:?} of {column}");
            assert_eq!((level.names.len(), router.names.len()), (folders, folders), "{transform:?} of {column}");
        }
    }
}
