use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{Int32Type, IntervalMonthDayNano, Schema, i256};
use proptest::prelude::*;
use transload_core::{ErrorKind, LogicalType};

use super::Decoder;
use super::wire::{self, Field};
use crate::types::{Column, Kind};

fn column(name: &str, kind: Kind) -> Column {
    Column {
        name: name.to_string(),
        oid: 0,
        typmod: -1,
        nullable: true,
        kind,
        shown: String::new(),
        reason: None,
        comment: None,
    }
}

/// A decoder of columns `a`, `b` and so on.
fn decoder(kinds: &[Kind]) -> Decoder {
    let columns: Vec<Column> = ('a'..).zip(kinds).map(|(name, kind)| column(&name.to_string(), kind.clone())).collect();
    let fields: Vec<_> = columns.iter().map(|column| column.kind.field(&column.name, true)).collect();
    Decoder::new(&columns, Arc::new(Schema::new(fields)))
}

fn decode(kinds: &[Kind], rows: &[Vec<Field>]) -> transload_core::Result<RecordBatch> {
    let mut decoder = decoder(kinds);
    decoder.feed(&wire::stream(rows))?;
    assert!(decoder.is_complete());
    decoder.finish()
}

/// A column of one value and one NULL.
fn decode_one(kind: &Kind, value: Vec<u8>) -> transload_core::Result<ArrayRef> {
    let batch = decode(std::slice::from_ref(kind), &[vec![Some(value)], vec![None]])?;
    Ok(Arc::clone(batch.column(0)))
}

/// Lists of numbers.
fn int_lists(rows: &[Option<Vec<Option<i32>>>]) -> ListArray {
    ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().cloned())
}

#[test]
fn values_of_every_plain_kind_arrive() {
    let decimal = |precision, scale| Kind::Numeric { precision, scale };
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("grün"), None]));
    let json: ArrayRef = Arc::new(StringArray::from(vec![Some("{\"a\": 1}"), None]));
    let dollars = Decimal128Array::from(vec![Some(-1_234), None]).with_precision_and_scale(19, 2).unwrap();
    let decimals = Decimal128Array::from(vec![Some(-1_234), None]).with_precision_and_scale(9, 2).unwrap();
    let wide =
        Decimal256Array::from(vec![Some(i256::from_i128(-1_234)), None]).with_precision_and_scale(39, 2).unwrap();
    let uuid = [Some([7_u8; 16]), None];
    let expected: [(Kind, Vec<u8>, ArrayRef); 24] = [
        (Kind::Bool, vec![1], Arc::new(BooleanArray::from(vec![Some(true), None]))),
        (Kind::Int2, (-2_i16).to_be_bytes().to_vec(), Arc::new(Int16Array::from(vec![Some(-2), None]))),
        (Kind::Int4, i32::MIN.to_be_bytes().to_vec(), Arc::new(Int32Array::from(vec![Some(i32::MIN), None]))),
        (Kind::Int8, i64::MAX.to_be_bytes().to_vec(), Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
        (Kind::Oid, u32::MAX.to_be_bytes().to_vec(), Arc::new(UInt32Array::from(vec![Some(u32::MAX), None]))),
        (Kind::Float4, 1.5_f32.to_be_bytes().to_vec(), Arc::new(Float32Array::from(vec![Some(1.5), None]))),
        (Kind::Float8, f64::NAN.to_be_bytes().to_vec(), Arc::new(Float64Array::from(vec![Some(f64::NAN), None]))),
        (decimal(9, 2), wire::numeric("-12.34"), Arc::new(decimals)),
        (decimal(39, 2), wire::numeric("-12.34"), Arc::new(wide)),
        (Kind::Money { scale: 2 }, (-1_234_i64).to_be_bytes().to_vec(), Arc::new(dollars)),
        (Kind::Text, "grün".into(), Arc::clone(&texts)),
        (Kind::Rendered, "grün".into(), Arc::clone(&texts)),
        (Kind::Declared(LogicalType::Date), "grün".into(), texts),
        (Kind::Json, b"{\"a\": 1}".to_vec(), Arc::clone(&json)),
        (Kind::Jsonb, b"\x01{\"a\": 1}".to_vec(), json),
        (Kind::Bytea, vec![0, 255], Arc::new(BinaryArray::from(vec![Some([0, 255].as_slice()), None]))),
        (Kind::Date, 0_i32.to_be_bytes().to_vec(), Arc::new(Date32Array::from(vec![Some(10_957), None]))),
        (Kind::Time, 1_i64.to_be_bytes().to_vec(), Arc::new(Time64MicrosecondArray::from(vec![Some(1), None]))),
        (
            Kind::Timestamp,
            1_i64.to_be_bytes().to_vec(),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(946_684_800_000_001), None])),
        ),
        (
            Kind::TimestampTz,
            (-1_i64).to_be_bytes().to_vec(),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(946_684_799_999_999), None]).with_timezone("UTC")),
        ),
        (
            Kind::Interval,
            wire::hex("00000000002dc6c4 00000002 00000001"),
            Arc::new(IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(1, 2, 3_000_004_000)), None])),
        ),
        (
            Kind::Uuid,
            vec![7; 16],
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuid.into_iter(), 16).unwrap()),
        ),
        (
            Kind::Array(Box::new(Kind::Int4)),
            wire::hex("00000001 00000001 00000017 00000003 00000001 00000004 00000001 ffffffff 00000004 ffffffff"),
            Arc::new(int_lists(&[Some(vec![Some(1), None, Some(-1)]), None])),
        ),
        (
            Kind::Array(Box::new(Kind::Int4)),
            wire::hex("00000000 00000000 00000017"),
            Arc::new(int_lists(&[Some(Vec::new()), None])),
        ),
    ];
    for (kind, sent, expected) in expected {
        let array = decode_one(&kind, sent).unwrap();
        assert_eq!(array.data_type(), &kind.logical().to_arrow(), "{kind:?}");
        assert_eq!(&array, &expected, "{kind:?}");
    }
}

/// `COPY` of `(1, 12.34, 'ä', '2000-01-01')` and a row of NULLs, as PostgreSQL 15 sends it.
#[test]
fn a_stream_of_a_server_is_read() {
    let sent = wire::hex(
        "5047434f50590aff0d0a00 00000000 00000000
         0004 00000004 00000001 0000000c 0002000000000002000c0d48 00000002 c3a4 00000008 0000000000000000
         0004 ffffffff ffffffff ffffffff ffffffff
         ffff",
    );
    let mut decoder = decoder(&[Kind::Int4, Kind::Numeric { precision: 10, scale: 2 }, Kind::Text, Kind::Timestamp]);
    decoder.feed(&sent).unwrap();
    assert!(decoder.is_complete());
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.num_rows(), 2);
    assert!(batch.columns().iter().all(|array| array.is_valid(0) && array.is_null(1)));
    assert_eq!(batch.column(2).as_string::<i32>().value(0), "ä");
}

/// `ROW(ROW(1, 2.5, NULL), '{7}')`, then the same of NULLs, as PostgreSQL 15 sends them.
#[test]
fn the_parts_of_a_record_arrive() {
    let inner = Kind::Record(vec![
        ("x".to_string(), 23, Kind::Int4),
        ("y".to_string(), 1700, Kind::Numeric { precision: 6, scale: 2 }),
        ("z".to_string(), 25, Kind::Text),
    ]);
    let list = Kind::Array(Box::new(Kind::Int4));
    let kind = Kind::Record(vec![("a".to_string(), 16804, inner), ("b".to_string(), 1007, list)]);
    let full = wire::hex(
        "00000002 000041a4 0000002c
           00000003 00000017 00000004 00000001 000006a4 0000000c 000200000000000200021388 00000019 ffffffff
         000003ef 0000001c 00000001 00000000 00000017 00000001 00000001 00000004 00000007",
    );
    let empty = wire::hex("00000002 000041a4 ffffffff 000003ef ffffffff");
    let batch =
        decode(std::slice::from_ref(&kind), &[vec![Some(full.clone())], vec![None], vec![Some(empty)]]).unwrap();
    let outer = batch.column(0).as_struct();
    assert_eq!(outer.data_type(), &kind.logical().to_arrow());
    assert_eq!((0..3).map(|row| outer.is_valid(row)).collect::<Vec<_>>(), [true, false, true]);
    let inner = outer.column(0).as_struct();
    assert_eq!((0..3).map(|row| inner.is_valid(row)).collect::<Vec<_>>(), [true, false, false]);
    let x: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None]));
    assert_eq!(inner.column(0), &x);
    assert_eq!((inner.column(1).is_valid(0), inner.column(2).is_valid(0)), (true, false));
    let lists: ArrayRef = Arc::new(int_lists(&[Some(vec![Some(7)]), None, None]));
    assert_eq!(outer.column(1), &lists);

    // A part of another type, a part too few, and bytes behind the last.
    let mut other = full.clone();
    other[7] += 1;
    let fewer = wire::record(&[(16804, None)]);
    let longer = [full.as_slice(), &[0]].concat();
    for (sent, wanted) in [(other, ErrorKind::Config), (fewer, ErrorKind::Config), (longer, ErrorKind::Internal)] {
        assert_eq!(decode_one(&kind, sent).unwrap_err().kind(), wanted);
    }
}

#[test]
fn lists_of_lists_and_of_records_arrive() {
    let lists = Kind::Array(Box::new(Kind::Array(Box::new(Kind::Int4))));
    // `ARRAY['{1,2}'::ints]` with a domain over arrays, as PostgreSQL 15 sends it.
    let sent = wire::hex(
        "00000001 00000000 000041a9 00000001 00000001 00000024
         00000001 00000000 00000017 00000002 00000001 00000004 00000001 00000004 00000002",
    );
    let array = decode_one(&lists, sent).unwrap();
    assert_eq!(array.data_type(), &lists.logical().to_arrow());
    let inner: ArrayRef = Arc::new(int_lists(&[Some(vec![Some(1), Some(2)])]));
    assert_eq!(&array.as_list::<i32>().value(0), &inner);

    let record = Kind::Record(vec![("id".to_string(), 2950, Kind::Uuid), ("doc".to_string(), 3802, Kind::Jsonb)]);
    let records = Kind::Array(Box::new(record));
    let item = |doc: &str| {
        let doc = [b"\x01".as_slice(), doc.as_bytes()].concat();
        Some(wire::record(&[(2950, Some(vec![1; 16])), (3802, Some(doc))]))
    };
    let sent = wire::array(99, &[item("1"), None, item("[]")]);
    let array = decode_one(&records, sent).unwrap();
    assert_eq!(array.data_type(), &records.logical().to_arrow());
    let items = array.as_list::<i32>().value(0);
    assert_eq!((items.len(), items.is_null(1)), (3, true));
    assert_eq!(items.as_struct().column(1).as_string::<i32>().value(2), "[]");
}

#[test]
fn the_entries_of_an_hstore_arrive() {
    // `a=>1, b=>NULL`, as PostgreSQL 15 sends it.
    let sent = wire::hex("00000002 00000001 61 00000001 31 00000001 62 ffffffff");
    assert_eq!(sent, wire::hstore(&[("a", Some("1")), ("b", None)]));
    let rows = [vec![Some(sent)], vec![None], vec![Some(wire::hstore(&[]))], vec![Some(wire::hstore(&[("c", None)]))]];
    let batch = decode(&[Kind::Hstore], &rows).unwrap();
    let maps = batch.column(0).as_map();
    assert_eq!(maps.data_type(), &Kind::Hstore.logical().to_arrow());
    assert_eq!(maps.value_offsets(), [0, 2, 2, 2, 3]);
    assert!(maps.is_null(1));
    let keys: Vec<_> = maps.keys().as_string::<i32>().iter().flatten().collect();
    let values: Vec<_> = maps.values().as_string::<i32>().iter().collect();
    assert_eq!((keys, values), (vec!["a", "b", "c"], vec![Some("1"), None, None]));

    for broken in ["00000001", "ffffffff", "00000001 ffffffff ffffffff", "00000000 00", "00000001 00000001 61 fffffffe"]
    {
        assert_eq!(decode_one(&Kind::Hstore, wire::hex(broken)).unwrap_err().kind(), ErrorKind::Internal, "{broken}");
    }
}

#[test]
fn a_value_without_a_place_in_its_type_names_the_column_and_not_the_value() {
    let list = Kind::Array(Box::new(Kind::Int4));
    let decimal = Kind::Numeric { precision: 9, scale: 2 };
    let numbers = Kind::Array(Box::new(decimal.clone()));
    for (kind, sent, says) in [
        (decimal.clone(), wire::hex("00000000c0000000"), "a value is NaN, for which decimal(9,2) has no place"),
        (numbers, wire::array(1700, &[None, Some(wire::hex("00000000c0000000"))]), "a value is NaN"),
        (decimal, wire::numeric("1234567890.1"), "a value is a number of more digits"),
        (Kind::Date, wire::hex("7fffffff"), "a value is an infinite date"),
        (Kind::TimestampTz, wire::hex("8000000000000000"), "a value is an infinite timestamp"),
        (Kind::Time, wire::hex("000000141dd76000"), "a value is the end of a day (24:00)"),
        (
            Kind::Interval,
            wire::hex("0020c49bd3600000 00000000 00000000"),
            "a value is an interval of more than 292 years",
        ),
        // `[0:1]={1,2}` and `{{1,2},{3,4}}`, as PostgreSQL 15 sends them.
        (
            list.clone(),
            wire::hex("00000001 00000000 00000017 00000002 00000000 00000004 00000001 00000004 00000002"),
            "a value is an array that is not counted from 1",
        ),
        (
            list,
            wire::hex(
                "00000002 00000000 00000017 00000002 00000001 00000002 00000001
                 00000004 00000001 00000004 00000002 00000004 00000003 00000004 00000004",
            ),
            "a value is an array of several dimensions",
        ),
    ] {
        let error = decode(&[Kind::Bool, kind], &[vec![None, Some(sent)]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().starts_with(says), "{error}");
        assert_eq!(error.context(), [("column", "b".to_string())]);
        assert!(error.hint_text().unwrap().contains("special_values: cast"));
    }
}

#[test]
fn bytes_of_another_length_or_shape_are_refused() {
    for (kind, sent) in [
        (Kind::Bool, "02"),
        (Kind::Bool, ""),
        (Kind::Int2, "000000"),
        (Kind::Int4, "0000"),
        (Kind::Int8, "00000000"),
        (Kind::Oid, ""),
        (Kind::Float4, "0000000000000000"),
        (Kind::Float8, "00000000"),
        (Kind::Money { scale: 2 }, "00"),
        (Kind::Uuid, "0000000000000000"),
        (Kind::Jsonb, "027b7d"),
        (Kind::Timestamp, "00"),
        // No element where there must be one, one too many, and as many dimensions as no array has.
        (Kind::Array(Box::new(Kind::Int4)), "00000001 00000000 00000017 00000001 00000001"),
        (Kind::Array(Box::new(Kind::Int4)), "00000001 00000000 00000017 7fffffff 00000001 ffffffff"),
        (Kind::Array(Box::new(Kind::Int4)), "00000000 00000000 00000017 ffffffff"),
        (Kind::Array(Box::new(Kind::Int4)), "00000007 00000000 00000017"),
        (Kind::Array(Box::new(Kind::Int4)), "ffffffff 00000000 00000017"),
        (Kind::Array(Box::new(Kind::Int4)), "00000001 00000000 00000017 ffffffff 00000001"),
    ] {
        let error = decode_one(&kind, wire::hex(sent)).unwrap_err();
        assert_eq!((error.kind(), error.context().len()), (ErrorKind::Internal, 1), "{kind:?} {sent}");
    }
}

#[test]
fn a_text_that_is_not_utf8_is_found_when_the_batch_ends() {
    let rows = [vec![Some(b"ok".to_vec()), Some(b"\xff".to_vec())]];
    for kind in [Kind::Text, Kind::Json, Kind::Rendered] {
        let error = decode(&[Kind::Text, kind], &rows).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "a text is not valid UTF-8"));
        assert_eq!(error.context(), [("column", "b".to_string())]);
    }
    let inside = Kind::Array(Box::new(Kind::Text));
    let error = decode_one(&inside, wire::array(25, &[Some(b"\xc3".to_vec()), Some(b"\xa4".to_vec())])).unwrap_err();
    assert_eq!((error.kind(), error.context().len()), (ErrorKind::Config, 1));
}

#[test]
fn a_null_in_a_column_without_nulls_is_refused() {
    let columns = [Column { nullable: false, ..column("a", Kind::Int4) }];
    let schema = Schema::new(vec![Kind::Int4.field("a", false)]);
    let mut decoder = Decoder::new(&columns, Arc::new(schema));
    decoder.feed(&wire::stream(&[vec![None]])).unwrap();
    assert_eq!(decoder.finish().unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn a_stream_that_is_none_is_refused() {
    let good = wire::stream(&[vec![None]]);
    let mut signature = good.clone();
    signature[3] ^= 1;
    // A stream with oids, as servers before version 12 sent them.
    let mut oids = good.clone();
    oids[12] |= 1;
    let mut extension = good.clone();
    extension[15] = 0xff;
    let two = wire::stream(&[vec![None, None]]);
    let none = wire::stream(&[vec![]]);
    let after = [good.as_slice(), b"\0"].concat();
    let length = [wire::header().as_slice(), &[0, 1], &(-2_i32).to_be_bytes()].concat();
    let count = [wire::header().as_slice(), &(-2_i16).to_be_bytes()].concat();
    for broken in [signature, oids, extension, two, none, after, length, count] {
        let mut decoder = decoder(&[Kind::Int4]);
        assert_eq!(decoder.feed(&broken).unwrap_err().kind(), ErrorKind::Internal, "{broken:?}");
        // And stays so.
        assert!(decoder.feed(&[]).is_err() && decoder.finish().is_err() && !decoder.is_complete());
    }
}

#[test]
fn what_a_header_may_hold_more_is_passed_over() {
    let mut sent = wire::header();
    sent[18] = 5;
    sent.extend(b"later");
    sent.extend(&wire::stream(&[vec![Some(vec![1])]])[19..]);
    for cut in 0..sent.len() {
        let mut decoder = decoder(&[Kind::Bool]);
        decoder.feed(&sent[..cut]).unwrap();
        decoder.feed(&sent[cut..]).unwrap();
        assert_eq!((decoder.rows(), decoder.is_complete()), (1, true), "{cut}");
    }
}

#[test]
fn a_table_without_columns_has_rows() {
    let batch = decode(&[], &[vec![], vec![], vec![]]).unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (3, 0));
}

/// One of each that is built in another way, and what they hold.
fn mixed() -> (Vec<Kind>, Vec<Vec<Field>>) {
    let record = Kind::Record(vec![("x".to_string(), 23, Kind::Int4), ("y".to_string(), 25, Kind::Text)]);
    let kinds = vec![
        Kind::Bool,
        Kind::Int8,
        Kind::Numeric { precision: 12, scale: 2 },
        Kind::Numeric { precision: 50, scale: 4 },
        Kind::Text,
        Kind::Jsonb,
        Kind::Uuid,
        Kind::Interval,
        Kind::Array(Box::new(Kind::Text)),
        Kind::Hstore,
        record,
        Kind::Date,
    ];
    let row = |at: i32| {
        let text = format!("grün {at}");
        let part = Some(text.clone().into_bytes());
        vec![
            Some(vec![u8::from(at % 2 == 0)]),
            Some(i64::from(at).to_be_bytes().to_vec()),
            Some(wire::numeric(&format!("{at}.5"))),
            Some(wire::numeric(&format!("-{at}00000000000000000000000000000000000000.0001"))),
            part.clone(),
            Some([b"\x01".as_slice(), text.as_bytes()].concat()),
            Some(vec![7; 16]),
            Some(vec![0; 16]),
            Some(wire::array(25, &[part.clone(), None])),
            Some(wire::hstore(&[("k", Some(text.as_str())), ("n", None)])),
            Some(wire::record(&[(23, Some(at.to_be_bytes().to_vec())), (25, part)])),
            Some(at.to_be_bytes().to_vec()),
        ]
    };
    let nulls = vec![None; kinds.len()];
    let half = row(4).into_iter().enumerate().map(|(at, value)| value.filter(|_| at % 2 == 0)).collect();
    (kinds, vec![row(1), nulls, row(3), half])
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let (kinds, rows) = mixed();
    let sent = wire::stream(&rows);
    let whole = decode(&kinds, &rows).unwrap();
    assert_eq!(whole.num_rows(), 4);
    for cut in 0..=sent.len() {
        let mut decoder = decoder(&kinds);
        decoder.feed(&sent[..cut]).unwrap();
        assert_eq!(decoder.is_complete(), cut == sent.len());
        decoder.feed(&sent[cut..]).unwrap();
        assert!(decoder.is_complete());
        assert_eq!(decoder.finish().unwrap(), whole, "{cut}");
    }
    for size in [1, 2, 3, 7, 64] {
        let mut decoder = decoder(&kinds);
        for part in sent.chunks(size) {
            decoder.feed(part).unwrap();
        }
        assert!(decoder.is_complete());
        assert_eq!(decoder.finish().unwrap(), whole, "{size}");
    }
}

#[test]
fn a_batch_may_end_anywhere_also_inside_of_a_row() {
    let (kinds, rows) = mixed();
    let sent = wire::stream(&rows);
    let whole = decode(&kinds, &rows).unwrap();
    for size in [1, 50, 111] {
        let (mut decoder, mut done) = (decoder(&kinds), 0);
        for part in sent.chunks(size) {
            decoder.feed(part).unwrap();
            let rows = decoder.rows();
            let batch = decoder.finish().unwrap();
            assert_eq!((batch.num_rows(), decoder.rows(), decoder.bytes()), (rows, 0, 0));
            assert_eq!(batch, whole.slice(done, rows), "{size}");
            done += rows;
        }
        assert_eq!((done, decoder.is_complete()), (4, true));
    }
}

#[test]
fn the_memory_of_a_batch_is_about_what_it_takes() {
    let kinds = [Kind::Int8, Kind::Numeric { precision: 12, scale: 2 }, Kind::Text];
    let mut decoder = decoder(&kinds);
    decoder.feed(&wire::header()).unwrap();
    assert_eq!(decoder.bytes(), 0);
    let text = "x".repeat(100);
    let row = wire::row(&[Some(vec![0; 8]), Some(wire::numeric("1.5")), Some(text.into_bytes())]);
    for _ in 0..1_000 {
        decoder.feed(&row).unwrap();
    }
    let nulls = wire::row(&[None, None, None]);
    for _ in 0..1_000 {
        decoder.feed(&nulls).unwrap();
    }
    let said = decoder.bytes();
    let batch = decoder.finish().unwrap();
    let buffers = batch.columns().iter().map(|array| array.to_data().get_slice_memory_size().unwrap()).sum::<usize>();
    assert!(said.abs_diff(buffers) < buffers / 20, "{said} {buffers}");
}

/// Every kind, some of them in each other.
fn all_kinds() -> Vec<Kind> {
    let (mut kinds, _) = mixed();
    kinds.extend([Kind::Int2, Kind::Int4, Kind::Oid, Kind::Float4, Kind::Float8, Kind::Money { scale: 2 }]);
    kinds.extend([Kind::Bytea, Kind::Time, Kind::Timestamp, Kind::TimestampTz, Kind::Json, Kind::Rendered]);
    let lists: Vec<Kind> = kinds.iter().map(|kind| Kind::Array(Box::new(kind.clone()))).collect();
    kinds.extend(lists);
    kinds
}

/// Whatever it is, it is rows or an error.
fn survives(kinds: &[Kind], sent: &[u8], size: usize) {
    let mut decoder = decoder(kinds);
    let fed = sent.chunks(size.max(1)).try_for_each(|part| decoder.feed(part));
    assert!(!(decoder.is_complete() && fed.is_err()));
    if let Ok(batch) = decoder.finish() {
        assert!(fed.is_ok());
        for array in batch.columns() {
            array.to_data().validate_full().unwrap();
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_rows_or_an_error(bytes: Vec<u8>, size in 1_usize..200) {
        survives(&[Kind::Int4], &bytes, size);
        survives(&mixed().0, &[wire::header(), bytes].concat(), size);
    }

    #[test]
    fn any_value_of_any_kind_is_a_value_or_an_error(bytes: Vec<u8>) {
        for kind in all_kinds() {
            survives(&[kind], &wire::stream(&[vec![None], vec![Some(bytes.clone())]]), 1_000);
        }
    }

    #[test]
    fn a_good_stream_with_wrong_bytes_is_rows_or_an_error(
        wrong in proptest::collection::vec((0_usize..4_096, any::<u8>()), 1..4),
        cut in 0_usize..4_096,
        size in 1_usize..2_000,
    ) {
        let (kinds, rows) = mixed();
        let mut sent = wire::stream(&rows);
        for (at, byte) in wrong {
            let at = at % sent.len();
            sent[at] = byte;
        }
        sent.truncate(sent.len() - cut % 64);
        survives(&kinds, &sent, size);
    }
}
