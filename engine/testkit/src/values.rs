//! A column of every type, with the values that a careless writer or reader changes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
    MapArray, StringArray, StructArray, Time32MillisecondArray, Time32SecondArray, Time64MicrosecondArray,
    Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, i256};
use transload_core::{Error, LogicalType, Result};

/// Rows of every column.
const ROWS: usize = 8;

/// The columns. Each is named after its type, in letters, digits and `_`, and holds a NULL.
#[derive(Default)]
struct Columns(Vec<(Field, ArrayRef)>);

/// A column of every type.
pub(crate) fn columns() -> Result<Vec<(Field, ArrayRef)>> {
    let mut columns = Columns::default();
    columns.numbers()?;
    columns.decimals()?;
    columns.texts()?;
    columns.times()?;
    columns.timestamps()?;
    columns.nested()?;
    Ok(columns.0)
}

/// The lowest and the highest number of a type, and others near them.
macro_rules! whole_numbers {
    ($columns:ident, $($ty:literal $array:ident $number:ident),*) => {$(
        let (low, high) = ($number::MIN, $number::MAX);
        let values = vec![Some(low), Some(high), Some(0), None, Some(1), Some(high / 2), Some(low / 2), Some(high - 1)];
        $columns.add($ty, Arc::new($array::from(values)))?;
    )*};
}

impl Columns {
    fn add(&mut self, ty: &str, array: ArrayRef) -> Result<()> {
        let name: String =
            ty.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        let ty: LogicalType = ty.parse().map_err(Error::internal)?;
        let field = ty.to_field(name.trim_end_matches('_'), true);
        if field.data_type() != array.data_type() || array.len() != ROWS || array.null_count() == 0 {
            return Err(Error::internal(format!("the column of {ty} is not what it should be")));
        }
        self.0.push((field, array));
        Ok(())
    }

    fn numbers(&mut self) -> Result<()> {
        let flags = vec![Some(true), Some(false), None, Some(true), None, Some(false), Some(false), Some(true)];
        self.add("bool", Arc::new(BooleanArray::from(flags)))?;
        whole_numbers!(self, "int8" Int8Array i8, "int16" Int16Array i16, "int32" Int32Array i32, "int64" Int64Array i64);
        whole_numbers!(
            self, "uint8" UInt8Array u8, "uint16" UInt16Array u16, "uint32" UInt32Array u32, "uint64" UInt64Array u64
        );
        let small = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.1];
        let values = small.into_iter().map(Some).chain([None]).collect::<Vec<_>>();
        self.add("float32", Arc::new(Float32Array::from(values)))?;
        let large = [0.1, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN, 5e-324];
        let values = large.into_iter().map(Some).chain([None]).collect::<Vec<_>>();
        self.add("float64", Arc::new(Float64Array::from(values)))
    }

    fn decimals(&mut self) -> Result<()> {
        let mut add = |ty: &str, precision: u8, scale: i8, largest: i128| {
            let values =
                vec![Some(0), Some(largest), Some(-largest), None, Some(1), Some(-1), Some(150), Some(largest / 7)];
            let array = Decimal128Array::from(values).with_precision_and_scale(precision, scale)?;
            self.add(ty, Arc::new(array))
        };
        add("decimal(4,1)", 4, 1, 9_999)?;
        add("decimal(9,2)", 9, 2, 999_999_999)?;
        add("decimal(18,0)", 18, 0, 999_999_999_999_999_999)?;
        add("decimal(38,10)", 38, 10, 99_999_999_999_999_999_999_999_999_999_999_999_999)?;
        let wide = |text: &str| i256::from_string(text).ok_or_else(|| Error::internal("a wide number is none"));
        let largest = wide(&"9".repeat(50))?;
        let values = vec![
            Some(i256::ZERO),
            Some(largest),
            Some(-largest),
            None,
            Some(i256::ONE),
            Some(i256::MINUS_ONE),
            Some(wide(&format!("1{}", "0".repeat(40)))?),
            Some(wide("12345")?),
        ];
        let array = Decimal256Array::from(values).with_precision_and_scale(50, 5)?;
        self.add("decimal(50,5)", Arc::new(array))
    }

    fn texts(&mut self) -> Result<()> {
        let words = vec![
            Some(""),
            Some("äöü 東京 🦀"),
            Some("NULL"),
            None,
            Some(" a\tb\r\n\"c\",;|'\\N "),
            Some("null"),
            Some("__HIVE_DEFAULT_PARTITION__"),
            Some("\u{feff}nan\u{1}"),
        ];
        self.add("text", Arc::new(StringArray::from(words)))?;
        let all: Vec<u8> = (0..=255).collect();
        let bytes: [Option<&[u8]>; ROWS] = [
            Some(b""),
            Some(b"\x00\xff"),
            Some(&all),
            None,
            Some(b"a"),
            Some(b"NULL"),
            Some(b"\"\n,"),
            Some(b"\xc3\x28"),
        ];
        self.add("binary", Arc::new(BinaryArray::from(bytes.to_vec())))?;
        let id = *b"\x55\x0e\x84\x00\xe2\x9b\x41\xd4\xa7\x16\x44\x66\x55\x44\x00\x00";
        let ids = [Some(id), Some([0; 16]), Some([255; 16]), None, Some(id), Some(id), Some([1; 16]), Some(id)];
        self.add("uuid", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids.into_iter(), 16)?))?;
        let documents = vec![
            Some("{}"),
            Some(r#"{"b": [1, null], "a": "x\ty"}"#),
            Some("[1.50, 2]"),
            None,
            Some("null"),
            Some("\"NULL\""),
            Some("true"),
            Some("{ \"a\" : 1 }"),
        ];
        self.add("json", Arc::new(StringArray::from(documents)))
    }

    fn times(&mut self) -> Result<()> {
        const DAY: i64 = 86_400;
        let days =
            vec![Some(0), Some(-1), Some(-141_438), None, Some(2_932_896), Some(-719_162), Some(19_782), Some(-25_567)];
        self.add("date", Arc::new(Date32Array::from(days)))?;
        let seconds = [Some(0), Some(DAY - 1), Some(45_296), None, Some(1), Some(3_600), Some(60), Some(43_200)];
        let ticks = |per_second: i64| seconds.map(|second| second.map(|second| second * per_second + per_second / 8));
        let small = |per_second: i64| ticks(per_second).map(|ticks| ticks.and_then(|ticks| i32::try_from(ticks).ok()));
        self.add("time(s)", Arc::new(Time32SecondArray::from(small(1).to_vec())))?;
        self.add("time(ms)", Arc::new(Time32MillisecondArray::from(small(1_000).to_vec())))?;
        self.add("time(us)", Arc::new(Time64MicrosecondArray::from(ticks(1_000_000).to_vec())))?;
        self.add("time(ns)", Arc::new(Time64NanosecondArray::from(ticks(1_000_000_000).to_vec())))?;
        let spans = [(0, 0, 0), (1, -2, 3), (-14, 40, -1), (0, 1, 0), (0, 0, i64::MAX), (12, 0, 0), (0, -31, 7)];
        let spans = spans.map(|(months, days, nanos)| Some(IntervalMonthDayNano::new(months, days, nanos)));
        let spans: Vec<_> = spans.into_iter().chain([None]).collect();
        self.add("interval", Arc::new(IntervalMonthDayNanoArray::from(spans)))
    }

    fn timestamps(&mut self) -> Result<()> {
        // From the first second of year 1 to the last one of year 9999.
        let seconds: [Option<i64>; ROWS] = [
            Some(0),
            Some(-1),
            Some(1_709_210_096),
            None,
            Some(-62_135_596_800),
            Some(253_402_300_799),
            Some(-2_208_988_800),
            Some(4_102_444_800),
        ];
        let ticks =
            |per_second: i64| seconds.map(|second| second.map(|second| second * per_second + per_second / 8)).to_vec();
        // 64 bits of nanoseconds reach less far.
        let nanos = seconds
            .map(|second| second.map(|second| second.clamp(-9_000_000_000, 9_000_000_000) * 1_000_000_000 + 789));
        self.add("timestamp(s)", Arc::new(TimestampSecondArray::from(ticks(1))))?;
        self.add("timestamp(ms)", Arc::new(TimestampMillisecondArray::from(ticks(1_000))))?;
        self.add("timestamp(us)", Arc::new(TimestampMicrosecondArray::from(ticks(1_000_000))))?;
        self.add("timestamp(ns)", Arc::new(TimestampNanosecondArray::from(nanos.to_vec())))?;
        let zoned = TimestampSecondArray::from(ticks(1)).with_timezone("UTC");
        self.add("timestamp(s, UTC)", Arc::new(zoned))?;
        let zoned = TimestampMillisecondArray::from(ticks(1_000)).with_timezone("UTC");
        self.add("timestamp(ms, UTC)", Arc::new(zoned))?;
        let zoned = TimestampMicrosecondArray::from(ticks(1_000_000)).with_timezone("UTC");
        self.add("timestamp(us, UTC)", Arc::new(zoned))?;
        let zoned = TimestampNanosecondArray::from(nanos.to_vec()).with_timezone("UTC");
        self.add("timestamp(ns, UTC)", Arc::new(zoned))?;
        let zoned = TimestampMicrosecondArray::from(ticks(1_000_000)).with_timezone("Europe/Berlin");
        self.add("timestamp(us, Europe/Berlin)", Arc::new(zoned))
    }

    fn nested(&mut self) -> Result<()> {
        let lengths = [Some(2), Some(0), None, Some(1), Some(3), Some(1), Some(0), Some(1)];
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![
            Some(1),
            None,
            Some(i32::MIN),
            Some(4),
            Some(5),
            Some(6),
            None,
            Some(i32::MAX),
        ]));
        let words = vec![Some("a"), Some(""), None, Some("NULL"), Some("é, \""), Some("x"), Some("y"), Some("[]")];
        let words: ArrayRef = Arc::new(StringArray::from(words));
        self.add("list<int32>", list("int32", Arc::clone(&numbers), lengths)?)?;
        self.add("list<text>", list("text", Arc::clone(&words), lengths)?)?;

        let pair = "struct<a: int32, b: text>";
        let present = [true, true, false, true, true, true, true, false];
        let pairs = structs(pair, vec![Arc::clone(&numbers), Arc::clone(&words)], &present)?;
        self.add(pair, Arc::clone(&pairs))?;
        self.add("list<struct<a: int32, b: text>>", list(pair, pairs, lengths)?)?;
        let lists = list("text", Arc::clone(&words), lengths)?;
        self.add("struct<c: list<text>>", structs("struct<c: list<text>>", vec![lists], &present)?)?;

        // Within a row the keys differ.
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "", "b", "NULL", "c", "d", "é", "a"]));
        self.add("map<text, int32>", map("map<text, int32>", vec![keys, Arc::clone(&numbers)], lengths)?)?;
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![1, -1, 2, 3, 4, 5, 6, i64::MIN]));
        self.add("map<int64, text>", map("map<int64, text>", vec![keys, words], lengths)?)
    }
}

/// Lists of so many items each, or NULL.
fn list(item: &str, items: ArrayRef, lengths: [Option<usize>; ROWS]) -> Result<ArrayRef> {
    let item: LogicalType = item.parse().map_err(Error::internal)?;
    let (offsets, nulls) = rows_of(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::new(item.to_field("item", true)), offsets, items, Some(nulls))?))
}

fn structs(ty: &str, parts: Vec<ArrayRef>, present: &[bool]) -> Result<ArrayRef> {
    let DataType::Struct(fields) = layout(ty)? else { return Err(Error::internal("a struct is none")) };
    Ok(Arc::new(StructArray::try_new(fields, parts, Some(NullBuffer::from(present)))?))
}

fn map(ty: &str, entries: Vec<ArrayRef>, lengths: [Option<usize>; ROWS]) -> Result<ArrayRef> {
    let wrong = || Error::internal("a map is none");
    let DataType::Map(field, sorted) = layout(ty)? else { return Err(wrong()) };
    let DataType::Struct(fields) = field.data_type() else { return Err(wrong()) };
    let entries = StructArray::try_new(fields.clone(), entries, None)?;
    let (offsets, nulls) = rows_of(lengths);
    Ok(Arc::new(MapArray::try_new(field, offsets, entries, Some(nulls), sorted)?))
}

fn layout(ty: &str) -> Result<DataType> {
    Ok(ty.parse::<LogicalType>().map_err(Error::internal)?.to_arrow())
}

fn rows_of(lengths: [Option<usize>; ROWS]) -> (OffsetBuffer<i32>, NullBuffer) {
    let present: Vec<bool> = lengths.iter().map(Option::is_some).collect();
    (OffsetBuffer::from_lengths(lengths.map(Option::unwrap_or_default)), NullBuffer::from(present))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use transload_core::types::FAMILIES;

    use super::*;

    #[test]
    fn every_type_has_a_column_of_its_own() {
        let columns = columns().unwrap();
        let families: BTreeSet<&str> =
            columns.iter().map(|(field, _)| LogicalType::of(field).unwrap().family()).collect();
        assert_eq!(families, FAMILIES.into_iter().collect());
        let names: BTreeSet<&str> = columns.iter().map(|(field, _)| field.name().as_str()).collect();
        assert_eq!(names.len(), columns.len());
    }
}
