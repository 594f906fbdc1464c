use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array,
    Decimal64Array, Decimal128Array, Decimal256Array, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeListArray, LargeStringArray,
    ListArray, NullArray, RecordBatch, RunArray, StringArray, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, Schema, SchemaRef, i256};
use transload_core::connector::{DELETED_COLUMN, WriteMode, hidden};
use transload_core::{ErrorKind, LogicalType};

use super::*;
use crate::columns::tests::spec;
use crate::decode::Decoder;
use crate::types::{Column, Kind};

fn announced(schema: &SchemaRef) -> Columns {
    Columns::of(schema, &spec(WriteMode::Append, &[])).unwrap()
}

/// All that is sent for a batch, in chunks.
fn chunks(columns: &Columns, batch: &RecordBatch) -> Result<(Vec<Bytes>, u64, u64)> {
    let mut encoder = Encoder::new(columns);
    let mut opened = encoder.open(batch)?;
    let mut sent = Vec::new();
    while encoder.fill(&mut opened)? {
        sent.push(encoder.take());
    }
    let (last, rows, deleted) = encoder.finish();
    sent.push(last);
    Ok((sent, rows, deleted))
}

/// A batch of one column of a type.
fn batch(ty: &str, array: ArrayRef) -> RecordBatch {
    let logical: LogicalType = ty.parse().unwrap();
    let field = logical.to_field("a", true);
    let field = Field::new("a", array.data_type().clone(), true).with_metadata(field.metadata().clone());
    assert_eq!(LogicalType::of(&field), Some(logical));
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap()
}

/// What is sent for the values of an array that are of a type, without header and trailer.
fn sent(ty: &str, array: ArrayRef) -> Result<Vec<u8>> {
    let batch = batch(ty, array);
    let (chunks, rows, deleted) = chunks(&announced(&batch.schema()), &batch)?;
    assert_eq!((rows, deleted), (batch.num_rows() as u64, 0));
    let all = chunks.concat();
    let rows = all.strip_prefix(HEADER).and_then(|rows| rows.strip_suffix(&TRAILER)).unwrap();
    Ok(rows.to_vec())
}

/// The kind of the server's column for a type.
fn kind(ty: &LogicalType) -> Kind {
    match ty {
        LogicalType::Bool => Kind::Bool,
        LogicalType::Int(16) => Kind::Int2,
        LogicalType::Int(32) => Kind::Int4,
        LogicalType::Int(64) => Kind::Int8,
        LogicalType::Float(32) => Kind::Float4,
        LogicalType::Float(_) => Kind::Float8,
        LogicalType::Decimal(precision, scale) => Kind::Numeric { precision: *precision, scale: *scale },
        LogicalType::Text => Kind::Text,
        LogicalType::Json => Kind::Json,
        LogicalType::Binary => Kind::Bytea,
        LogicalType::Date => Kind::Date,
        LogicalType::Time(_) => Kind::Time,
        LogicalType::Timestamp(_, None) => Kind::Timestamp,
        LogicalType::Timestamp(_, Some(_)) => Kind::TimestampTz,
        LogicalType::Uuid => Kind::Uuid,
        LogicalType::List(item) => Kind::Array(Box::new(kind(item))),
        _ => panic!("no column has {ty}"),
    }
}

/// What is read again of what is sent.
fn back(ty: &str, array: ArrayRef) -> ArrayRef {
    let kind = kind(&ty.parse().unwrap());
    let field = kind.field("a", true);
    let column = Column {
        name: "a".to_string(),
        oid: 0,
        typmod: -1,
        nullable: true,
        kind,
        shown: String::new(),
        reason: None,
        comment: None,
    };
    let mut decoder = Decoder::new(&[column], Arc::new(Schema::new(vec![field])));
    let batch = batch(ty, array);
    for chunk in chunks(&announced(&batch.schema()), &batch).unwrap().0 {
        decoder.feed(&chunk).unwrap();
    }
    assert!(decoder.is_complete());
    Arc::clone(decoder.finish().unwrap().column(0))
}

fn shared(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

#[test]
fn a_stream_is_a_header_rows_and_a_trailer() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(258), None]));
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("ä"), Some("")]));
    let rows = RecordBatch::try_from_iter([("id", ids), ("word", words)]).unwrap();
    let (sent, count, deleted) = chunks(&announced(&rows.schema()), &rows).unwrap();
    let mut expected = HEADER.to_vec();
    expected.extend([0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 2, 0xc3, 0xa4]);
    expected.extend([0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    expected.extend([0xff, 0xff]);
    assert_eq!((sent, count, deleted), (vec![Bytes::from(expected)], 2, 0));
}

#[test]
fn each_type_has_its_own_bytes() {
    let one = |array: ArrayRef, ty: &str, value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap();
        let expected = [&[0, 1, 0, 0, 0, length][..], value].concat();
        assert_eq!(sent(ty, array).unwrap(), expected, "{ty}");
    };
    one(shared(BooleanArray::from(vec![true])), "bool", &[1]);
    one(shared(Int16Array::from(vec![258])), "int16", &[1, 2]);
    one(shared(Float32Array::from(vec![1.5])), "float32", &[0x3f, 0xc0, 0, 0]);
    one(shared(Date32Array::from(vec![10_958])), "date", &[0, 0, 0, 1]);
    let moment = TimestampMicrosecondArray::from(vec![946_684_801_000_000]);
    one(shared(moment), "timestamp(us)", &[0, 0, 0, 0, 0, 0x0f, 0x42, 0x40]);
    one(shared(Time64MicrosecondArray::from(vec![1_000])), "time(us)", &[0, 0, 0, 0, 0, 0, 3, 0xe8]);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(7), None])]);
    let items = [
        &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1][..],
        &[0, 0, 0, 4, 0, 0, 0, 7, 255, 255, 255, 255],
    ];
    one(shared(list), "list<int32>", &items.concat());
    let none = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(Vec::<Option<i32>>::new())]);
    one(shared(none), "list<int32>", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]);
}

#[test]
fn what_is_sent_is_read_back() {
    let decimal = |precision, scale, values: Vec<Option<i128>>| {
        shared(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let nines = i256::from_string(&"9".repeat(50)).unwrap();
    let wide = Decimal256Array::from(vec![Some(nines), None, Some(-nines), Some(i256::ONE)]);
    let words = vec![Some("äöü 東京 🦀"), None, Some(""), Some("NULL")];
    let bytes: [Option<&[u8]>; 4] = [Some(b"\x00\xff"), None, Some(b""), Some(b"a")];
    let ids = [Some([7_u8; 16]), None, Some([0; 16])];
    let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids.into_iter(), 16).unwrap();
    let moments = vec![Some(0), None, Some(-62_135_596_800_000_000), Some(253_402_300_799_999_999)];
    let lists = [Some(vec![Some(1), None, Some(i32::MIN)]), Some(Vec::new()), None, Some(vec![None])];
    for (ty, array) in [
        ("bool", shared(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("int16", shared(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]))),
        ("int32", shared(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)]))),
        ("int64", shared(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
        ("float32", shared(Float32Array::from(vec![Some(-0.0), None, Some(f32::NAN), Some(f32::INFINITY)]))),
        ("float64", shared(Float64Array::from(vec![Some(5e-324), None, Some(f64::NAN), Some(f64::NEG_INFINITY)]))),
        ("decimal(4,1)", decimal(4, 1, vec![Some(-9_999), None, Some(0), Some(150)])),
        ("decimal(38,10)", decimal(38, 10, vec![Some(10_i128.pow(38) - 1), None, Some(1), Some(-1)])),
        ("decimal(38,37)", decimal(38, 37, vec![Some(10_i128.pow(38) - 1), None, Some(1 - 10_i128.pow(38))])),
        ("decimal(50,5)", shared(wide.with_precision_and_scale(50, 5).unwrap())),
        ("text", shared(StringArray::from(words))),
        ("json", shared(StringArray::from(vec![Some("{ \"a\" : 1 }"), None, Some("null")]))),
        ("binary", shared(BinaryArray::from(bytes.to_vec()))),
        ("uuid", shared(ids)),
        ("date", shared(Date32Array::from(vec![Some(-719_162), None, Some(2_932_896), Some(-2_440_588)]))),
        ("time(us)", shared(Time64MicrosecondArray::from(vec![Some(0), None, Some(86_399_999_999)]))),
        ("timestamp(us)", shared(TimestampMicrosecondArray::from(moments.clone()))),
        ("timestamp(us, UTC)", shared(TimestampMicrosecondArray::from(moments).with_timezone("UTC"))),
        ("list<int32>", shared(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
    ] {
        let read = back(ty, Arc::clone(&array));
        assert_eq!(read.to_data(), array.to_data(), "{ty}");
        // A part of an array is sent as that part, and no rows as none.
        for (from, len) in [(1, 2), (0, 0)] {
            assert_eq!(back(ty, array.slice(from, len)).as_ref(), array.slice(from, len).as_ref(), "{ty}");
        }
    }
}

#[test]
fn another_layout_of_the_same_values_is_sent_as_they_are() {
    let words = [Some("a text that is too long to stand in a view"), None, Some(""), Some("a")];
    let plain = shared(StringArray::from(words.to_vec()));
    let picked: DictionaryArray<Int8Type> = words.into_iter().collect();
    let runs: RunArray<Int32Type> = words.into_iter().collect();
    for layout in [
        shared(LargeStringArray::from(words.to_vec())),
        shared(StringViewArray::from(words.to_vec())),
        shared(picked),
        shared(runs),
    ] {
        let note = layout.data_type().to_string();
        assert_eq!(back("text", Arc::clone(&layout)).as_ref(), plain.as_ref(), "{note}");
        assert_eq!(back("text", layout.slice(1, 2)).as_ref(), plain.slice(1, 2).as_ref(), "{note}");
    }
    let nothing = StringArray::from(vec![None::<&str>; 3]);
    assert_eq!(back("text", shared(NullArray::new(3))).as_ref(), &nothing as &dyn Array);
    let empty = DictionaryArray::<Int8Type>::new(Int8Array::from(vec![None; 3]), shared(StringArray::new_null(0)));
    assert_eq!(back("text", shared(empty)).as_ref(), &nothing as &dyn Array);

    let bytes: [Option<&[u8]>; 3] = [Some(b"\x00"), None, Some(b"long enough for a buffer")];
    let view = shared(BinaryViewArray::from(bytes.to_vec()));
    assert_eq!(back("binary", view).as_ref(), &BinaryArray::from(bytes.to_vec()) as &dyn Array);

    let days = shared(Date64Array::from(vec![Some(86_400_000 * 3), None, Some(-1)]));
    assert_eq!(back("date", days).as_ref(), &Date32Array::from(vec![Some(3), None, Some(-1)]) as &dyn Array);

    let cents = Decimal128Array::from(vec![Some(-1_234), None]).with_precision_and_scale(9, 2).unwrap();
    let small = Decimal32Array::from(vec![Some(-1_234), None]).with_precision_and_scale(9, 2).unwrap();
    let middle = Decimal64Array::from(vec![Some(-1_234), None]).with_precision_and_scale(9, 2).unwrap();
    for layout in [shared(small), shared(middle)] {
        assert_eq!(back("decimal(9,2)", layout).as_ref(), &cents as &dyn Array);
    }

    let lists = [Some(vec![Some(1), None]), None, Some(vec![Some(3), Some(4)])];
    let plain = shared(ListArray::from_iter_primitive::<Int32Type, _, _>(lists.clone()));
    for layout in [
        shared(LargeListArray::from_iter_primitive::<Int32Type, _, _>(lists.clone())),
        shared(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(lists, 2)),
    ] {
        assert_eq!(back("list<int32>", Arc::clone(&layout)).as_ref(), plain.as_ref());
        assert_eq!(back("list<int32>", layout.slice(1, 2)).as_ref(), plain.slice(1, 2).as_ref());
    }
}

#[test]
fn a_value_that_the_server_lacks_names_its_column() {
    for (ty, array, said) in [
        ("text", shared(StringArray::from(vec!["a", "b\0c"])), "zero character"),
        ("text", shared(StringViewArray::from(vec!["a", "b\0c"])), "zero character"),
        ("json", shared(LargeStringArray::from(vec!["\0"])), "zero character"),
        (
            "list<text>",
            shared(ListArray::new(
                Arc::new(Field::new("item", DataType::Utf8, true)),
                arrow::buffer::OffsetBuffer::from_lengths([1]),
                shared(StringArray::from(vec!["\0"])),
                None,
            )),
            "zero character",
        ),
        ("date", shared(Date32Array::from(vec![i32::MAX])), "date is outside"),
        ("timestamp(us)", shared(TimestampMicrosecondArray::from(vec![i64::MIN])), "timestamp is outside"),
        ("time(us)", shared(Time64MicrosecondArray::from(vec![86_400_000_000])), "outside of the day"),
    ] {
        let error = sent(ty, array).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{ty}");
        assert!(error.message().contains(said) && error.hint_text().is_some(), "{ty}: {error:?}");
        assert_eq!(error.context(), [("column", "a".to_string())]);
    }
    // Between the rows, or where a row is NULL, there may be anything.
    let zeros = StringArray::from(vec!["\0", "a", "\0"]).slice(1, 1);
    assert_eq!(sent("text", shared(zeros)).unwrap(), [0, 1, 0, 0, 0, 1, b'a']);
}

#[test]
fn many_rows_are_sent_in_chunks() {
    let long = "x".repeat(100_000);
    let words: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(); 10]));
    let rows = batch("text", words);
    let (sent, count, _) = chunks(&announced(&rows.schema()), &rows).unwrap();
    assert_eq!((sent.len(), count), (4, 10));
    assert!(sent.iter().all(|chunk| chunk.len() < CHUNK + 110_000));
    let bytes = HEADER.len() + 10 * (2 + 4 + long.len()) + TRAILER.len();
    assert_eq!(sent.iter().map(Bytes::len).sum::<usize>(), bytes);
}

#[test]
fn of_a_delete_marker_only_the_key_is_sent() {
    let fields = vec![
        Field::new("id", DataType::Int16, false),
        Field::new("word", DataType::Utf8, false),
        hidden(Field::new(DELETED_COLUMN, DataType::Boolean, false)),
    ];
    let schema = Arc::new(Schema::new(fields));
    let columns = Columns::of(&schema, &spec(WriteMode::Merge, &["id"])).unwrap();
    let ids = shared(Int16Array::from(vec![1, 2]));
    let words = shared(StringArray::from(vec!["a", "secret\0"]));
    let marks = shared(BooleanArray::from(vec![false, true]));
    let rows = RecordBatch::try_new(schema, vec![ids, words, marks]).unwrap();
    let (sent, rows, deleted) = chunks(&columns, &rows).unwrap();
    assert_eq!((rows, deleted), (1, 1));
    let mut expected = HEADER.to_vec();
    expected.extend([0, 3, 0, 0, 0, 2, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 1, 0]);
    expected.extend([0, 3, 0, 0, 0, 2, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1]);
    expected.extend(TRAILER);
    assert_eq!(sent.concat(), expected);
}

#[test]
fn rows_that_were_not_announced_are_refused() {
    let numbers = batch("int64", shared(Int64Array::from(vec![1])));
    let words = batch("text", shared(StringArray::from(vec!["a"])));
    let error = chunks(&announced(&numbers.schema()), &words).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    let two = RecordBatch::try_from_iter([("a", Arc::clone(numbers.column(0))), ("b", Arc::clone(words.column(0)))]);
    chunks(&announced(&numbers.schema()), &two.unwrap()).unwrap_err();
}
