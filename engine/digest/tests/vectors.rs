//! The golden vectors: what Rust makes of a value is what Python made of it, in every layout that Arrow has for it.
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray,
    Int32Array, IntervalMonthDayNanoArray, LargeBinaryArray, LargeListArray, LargeStringArray, ListArray, MapArray,
    PrimitiveArray, RunArray, StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field,
    Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, Schema,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type, i256,
};
use serde_json::Value;
use transload_core::LogicalType;
use transload_core::types::Unit;
use transload_digest::{Algorithm, CanonicalRows, RowEncoder, RowHasher, RowHashes, Sampler, TableDigest, hex};

static NULL: Value = Value::Null;

/// The vectors of one section, of which there are at least so many: an empty file proves nothing.
fn section(name: &str, at_least: usize) -> Vec<Value> {
    let mut file: Value = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    let Value::Array(vectors) = file[name].take() else { unreachable!("`{name}` is a list") };
    assert!(vectors.len() >= at_least, "{} vectors in `{name}`", vectors.len());
    vectors
}

struct Table {
    schema: Schema,
    columns: Vec<ArrayRef>,
    rows: usize,
}

impl Table {
    /// A table of rows of JSON values.
    fn new(types: &Value, rows: &[Value]) -> Self {
        let types: Vec<LogicalType> = types.as_array().unwrap().iter().map(logical_type).collect();
        let column = |(i, ty): (usize, &LogicalType)| array(ty, &rows.iter().map(|row| &row[i]).collect::<Vec<_>>());
        let columns = types.iter().enumerate().map(column).collect();
        let fields: Vec<Field> = types.iter().enumerate().map(|(i, ty)| ty.to_field(&format!("c{i}"), true)).collect();
        Self { schema: Schema::new(fields), columns, rows: rows.len() }
    }

    /// A table of one column.
    fn of_column(field: Field, column: ArrayRef) -> Self {
        Self { schema: Schema::new(vec![field]), rows: column.len(), columns: vec![column] }
    }

    /// The canonical bytes of the rows from `start` on.
    fn bytes_from(&self, start: usize) -> Vec<String> {
        let mut rows = CanonicalRows::default();
        let encoder = RowEncoder::new(&self.schema).unwrap();
        encoder.cells(&self.columns).encode(start..self.rows, &mut rows).unwrap();
        rows.iter().map(hex).collect()
    }

    fn hashes(&self, algorithm: Algorithm) -> RowHashes {
        RowHasher::new(&self.schema, algorithm).unwrap().hash(&self.columns, self.rows).unwrap()
    }

    fn digest(&self, algorithm: Algorithm, bits: u32) -> String {
        let mut digest = TableDigest::new(algorithm, bits);
        digest.add(&self.hashes(algorithm), None);
        digest.to_string()
    }
}

fn logical_type(text: &Value) -> LogicalType {
    text.as_str().unwrap().parse().unwrap()
}

/// An array of JSON values, which are written as `tests/row_hash/vectors.py` says.
fn array(ty: &LogicalType, values: &[&Value]) -> ArrayRef {
    use LogicalType as T;
    let texts = || values.iter().map(|v| v.as_str().map(str::to_string)).collect::<Vec<_>>();
    let bytes = || values.iter().map(|v| v.as_str().map(unhex));
    let lists = || values.iter().filter_map(|v| v.as_array());
    let offsets = || OffsetBuffer::<i32>::from_lengths(values.iter().map(|v| v.as_array().map_or(0, Vec::len)));
    let nulls = || Some(values.iter().map(|v| !v.is_null()).collect::<NullBuffer>());
    match ty {
        T::Bool => Arc::new(values.iter().map(|v| v.as_bool()).collect::<BooleanArray>()),
        T::Int(8) => parsed::<Int8Type>(ty, texts()),
        T::Int(16) => parsed::<Int16Type>(ty, texts()),
        T::Int(32) => parsed::<Int32Type>(ty, texts()),
        T::Int(_) => parsed::<Int64Type>(ty, texts()),
        T::UInt(8) => parsed::<UInt8Type>(ty, texts()),
        T::UInt(16) => parsed::<UInt16Type>(ty, texts()),
        T::UInt(32) => parsed::<UInt32Type>(ty, texts()),
        T::UInt(_) => parsed::<UInt64Type>(ty, texts()),
        T::Float(32) => parsed::<Float32Type>(ty, texts()),
        T::Float(_) => parsed::<Float64Type>(ty, texts()),
        T::Decimal(precision, scale) => {
            let integers = texts().into_iter().map(|t| t.map(|t| unscaled(&t, *scale as usize))).collect();
            match precision {
                ..=38 => parsed::<Decimal128Type>(ty, integers),
                _ => parsed::<Decimal256Type>(ty, integers),
            }
        }
        T::Date => parsed::<Date32Type>(ty, texts()),
        T::Time(Unit::S) => parsed::<Time32SecondType>(ty, texts()),
        T::Time(Unit::Ms) => parsed::<Time32MillisecondType>(ty, texts()),
        T::Time(Unit::Us) => parsed::<Time64MicrosecondType>(ty, texts()),
        T::Time(Unit::Ns) => parsed::<Time64NanosecondType>(ty, texts()),
        T::Timestamp(Unit::S, _) => parsed::<TimestampSecondType>(ty, texts()),
        T::Timestamp(Unit::Ms, _) => parsed::<TimestampMillisecondType>(ty, texts()),
        T::Timestamp(Unit::Us, _) => parsed::<TimestampMicrosecondType>(ty, texts()),
        T::Timestamp(Unit::Ns, _) => parsed::<TimestampNanosecondType>(ty, texts()),
        T::Text | T::Json => Arc::new(StringArray::from(texts())),
        T::Binary => Arc::new(bytes().collect::<BinaryArray>()),
        T::Uuid => Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes(), 16).unwrap()),
        T::Interval => {
            let number = |v: &Value| v.as_i64().unwrap() as i32;
            let interval = |v: &Vec<Value>| {
                let nanoseconds = v[2].as_str().unwrap().parse().unwrap();
                IntervalMonthDayNanoType::make_value(number(&v[0]), number(&v[1]), nanoseconds)
            };
            let intervals = values.iter().map(|v| v.as_array().map(interval));
            Arc::new(intervals.collect::<IntervalMonthDayNanoArray>())
        }
        T::List(item) => {
            let items: Vec<&Value> = lists().flatten().collect();
            let field = Arc::new(item.to_field("item", true));
            Arc::new(ListArray::new(field, offsets(), array(item, &items), nulls()))
        }
        T::Struct(fields) => {
            let part =
                |i: usize| values.iter().map(|v| v.as_array().map_or(&NULL, |parts| &parts[i])).collect::<Vec<_>>();
            let columns = fields.iter().enumerate().map(|(i, (_, ty))| array(ty, &part(i))).collect();
            let fields: Fields = fields.iter().map(|(name, ty)| ty.to_field(name, true)).collect();
            Arc::new(StructArray::new(fields, columns, nulls()))
        }
        T::Map(key, value) => {
            let (keys, items): (Vec<&Value>, Vec<&Value>) = lists().flatten().map(|pair| (&pair[0], &pair[1])).unzip();
            let fields = Fields::from(vec![key.to_field("key", false), value.to_field("value", true)]);
            let entries = StructArray::new(fields, vec![array(key, &keys), array(value, &items)], None);
            let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
            Arc::new(MapArray::new(field, offsets(), entries, nulls(), false))
        }
    }
}

fn parsed<T>(ty: &LogicalType, texts: Vec<Option<String>>) -> ArrayRef
where
    T: ArrowPrimitiveType,
    T::Native: FromStr<Err: Debug>,
{
    let values = texts.iter().map(|t| t.as_ref().map(|t| t.parse::<T::Native>().unwrap()));
    Arc::new(values.collect::<PrimitiveArray<T>>().with_data_type(ty.to_arrow()))
}

/// The digits of a decimal at a scale: `1.5` at 2 is `150`.
fn unscaled(text: &str, scale: usize) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<scale$}")
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// The same values in other layouts.
fn layouts(ty: &LogicalType, array: &ArrayRef) -> Vec<ArrayRef> {
    let count = array.len() as i32;
    let places = Int32Array::from_iter_values(0..count);
    let ends = Int32Array::from_iter_values(1..=count);
    let mut out: Vec<ArrayRef> = vec![
        Arc::new(DictionaryArray::<Int32Type>::try_new(places, Arc::clone(array)).unwrap()),
        Arc::new(RunArray::<Int32Type>::try_new(&ends, array.as_ref()).unwrap()),
    ];
    match ty {
        LogicalType::Text | LogicalType::Json => {
            let texts = array.as_string::<i32>();
            out.push(Arc::new(texts.iter().collect::<StringViewArray>()));
            out.push(Arc::new(texts.iter().collect::<LargeStringArray>()));
        }
        LogicalType::Binary => {
            let values = array.as_binary::<i32>();
            out.push(Arc::new(values.iter().collect::<BinaryViewArray>()));
            out.push(Arc::new(values.iter().collect::<LargeBinaryArray>()));
        }
        LogicalType::Decimal(p @ ..=38, s) => {
            let values = array.as_primitive::<Decimal128Type>();
            let wide = values.unary::<_, Decimal256Type>(i256::from_i128);
            out.push(Arc::new(wide.with_precision_and_scale(*p, *s).unwrap()));
            if *p <= 18 {
                let narrow = values.unary::<_, Decimal64Type>(|v| v as i64);
                out.push(Arc::new(narrow.with_precision_and_scale(*p, *s).unwrap()));
            }
            if *p <= 9 {
                let narrow = values.unary::<_, Decimal32Type>(|v| v as i32);
                out.push(Arc::new(narrow.with_precision_and_scale(*p, *s).unwrap()));
            }
        }
        LogicalType::Date => {
            let days = array.as_primitive::<Date32Type>();
            out.push(Arc::new(days.unary::<_, Date64Type>(|d| i64::from(d) * 86_400_000)));
        }
        LogicalType::List(item) => {
            let lists = array.as_list::<i32>();
            let offsets = OffsetBuffer::<i64>::from_lengths(lists.offsets().lengths());
            let field = Arc::new(item.to_field("item", true));
            let (values, nulls) = (Arc::clone(lists.values()), lists.nulls().cloned());
            out.push(Arc::new(LargeListArray::new(field, offsets, values, nulls)));
        }
        _ => {}
    }
    out
}

#[test]
fn every_cell_has_its_bytes_in_every_layout() {
    let mut by_type: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for vector in section("cells", 280) {
        by_type.entry(vector["type"].as_str().unwrap().to_string()).or_default().push(vector);
    }
    for (name, vectors) in &by_type {
        let ty: LogicalType = name.parse().unwrap();
        let column = array(&ty, &vectors.iter().map(|v| &v["value"]).collect::<Vec<_>>());
        let bytes: Vec<&str> = vectors.iter().map(|v| v["bytes"].as_str().unwrap()).collect();
        let hashes: Vec<&str> = vectors.iter().map(|v| v["xxh64"].as_str().unwrap()).collect();
        for column in layouts(&ty, &column).into_iter().chain([column]) {
            let layout = format!("{name} as {}", column.data_type());
            let field = ty.to_field("c", true).with_data_type(column.data_type().clone());
            let table = Table::of_column(field, column);
            assert_eq!(table.bytes_from(0), bytes, "{layout}");
            assert_eq!(table.bytes_from(1), bytes[1..], "{layout}, without its first row");
            let found = table.hashes(Algorithm::Xxh64);
            let found: Vec<String> = (0..found.len()).map(|i| found.hex(i)).collect();
            assert_eq!(found, hashes, "{layout}");
        }
    }
}

#[test]
fn every_row_has_its_bytes_and_hashes() {
    for vector in section("rows", 22) {
        let table = Table::new(&vector["types"], &[vector["values"].clone()]);
        assert_eq!(table.bytes_from(0)[0], vector["bytes"], "{}", vector["name"]);
        for algorithm in [Algorithm::Xxh64, Algorithm::Sha256] {
            let hash = table.hashes(algorithm).hex(0);
            assert_eq!(hash, vector[algorithm.to_string()], "{algorithm} of {}", vector["name"]);
        }
    }
}

#[test]
fn every_table_has_its_digests() {
    for vector in section("tables", 14) {
        let table = Table::new(&vector["types"], vector["rows"].as_array().unwrap());
        for algorithm in [Algorithm::Xxh64, Algorithm::Sha256] {
            let wanted = &vector[format!("{algorithm}_digest")];
            for bits in [0, 5] {
                assert_eq!(table.digest(algorithm, bits), *wanted, "{}, 2^{bits} buckets", vector["name"]);
            }
        }
    }
}

#[test]
fn every_sample_has_its_rows() {
    for vector in section("samples", 12) {
        let table = Table::new(&vector["types"], vector["rows"].as_array().unwrap());
        let number = |name: &str| vector[name].as_u64().unwrap();
        let sampler = Sampler::new(&table.schema, number("keep"), number("of")).unwrap();
        let chosen = sampler.choose(&table.columns, table.rows).unwrap();
        assert_eq!(Value::from(chosen), vector["chosen"], "{}", vector["name"]);
    }
}
