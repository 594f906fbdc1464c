//! Avro files as batches of columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Fields, Schema, SchemaRef};
use datafusion::error::Result as DfResult;
use futures::StreamExt;
use futures::stream::BoxStream;
use transload_core::{Error, Result};

use super::container::{Block, Blocks, Header};
use super::decode::{Cursor, Flaw, skip, value};
use crate::columns::Column;
use crate::parquet::PinnedObject;
use crate::rows::BATCH_BYTES;

/// Reads the header of a file. With it the columns of its records.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if the file is damaged, or no column can hold its values.
pub(crate) async fn open(object: PinnedObject) -> Result<(Header, SchemaRef)> {
    let path = object.meta.location.to_string();
    let header = Header::open(object).await.map_err(|e| e.with("path", path))?;
    let fields = header.fields.iter().map(|(name, node)| node.field(name)).collect::<Fields>();
    Ok((header, Arc::new(Schema::new(fields))))
}

/// Where a file is read.
struct Place {
    blocks: Blocks,
    block: Block,
    /// Bytes of the block that have been read.
    read: usize,
}

/// The records of a file, with the columns `wanted` of those that it has, which `schema` names.
pub(crate) fn rows(
    object: PinnedObject,
    header: Arc<Header>,
    wanted: Vec<usize>,
    schema: SchemaRef,
    batch_size: usize,
) -> BoxStream<'static, DfResult<RecordBatch>> {
    // For each field of a record, the column that it goes to.
    let columns: Vec<Option<usize>> =
        (0..header.fields.len()).map(|field| wanted.iter().position(|wanted| *wanted == field)).collect();
    let first = Block { records: 0, content: Vec::new() };
    let place = Place { blocks: Blocks::new(object, Arc::clone(&header)), block: first, read: 0 };
    let columns = Arc::new(columns);
    futures::stream::try_unfold(place, move |mut place| {
        let (header, columns, schema) = (Arc::clone(&header), Arc::clone(&columns), Arc::clone(&schema));
        async move {
            let batch = batch(&mut place, &header, &columns, &schema, batch_size).await?;
            Ok(batch.map(|b| (b, place)))
        }
    })
    .boxed()
}

async fn batch(
    place: &mut Place,
    header: &Header,
    places: &[Option<usize>],
    schema: &SchemaRef,
    batch_size: usize,
) -> Result<Option<RecordBatch>> {
    let mut columns: Vec<Column> = schema.fields().iter().map(|f| Column::new(f.data_type())).collect::<Result<_>>()?;
    let (mut rows, mut bytes) = (0, 0);
    while rows < batch_size && bytes < BATCH_BYTES {
        if place.block.records == 0 {
            if place.read < place.block.content.len() {
                return Err(damaged("a block holds more than its records"));
            }
            let Some(block) = place.blocks.next().await? else { break };
            place.block = block;
            place.read = 0;
            continue;
        }
        let mut cursor = Cursor::new(place.block.content.get(place.read..).unwrap_or_default());
        record(header, places, &mut cursor, &mut columns).map_err(|flaw| match flaw {
            Flaw::Short => damaged("a block ends before its records do"),
            Flaw::Wrong(reason) => damaged(reason),
        })?;
        place.read += cursor.position();
        place.block.records -= 1;
        rows += 1;
        bytes += cursor.position();
    }
    if rows == 0 {
        return Ok(None);
    }
    let columns: Vec<ArrayRef> = columns.iter_mut().map(Column::finish).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(Some(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?))
}

fn record(
    header: &Header,
    places: &[Option<usize>],
    cursor: &mut Cursor<'_>,
    columns: &mut [Column],
) -> Result<(), Flaw> {
    for ((_, node), place) in header.fields.iter().zip(places) {
        match place.and_then(|at| columns.get_mut(at)) {
            Some(column) => value(node, cursor, column)?,
            None => skip(node, cursor)?,
        }
    }
    Ok(())
}

fn damaged(reason: &str) -> Error {
    Error::config(format!("the Avro file cannot be read; it is damaged: {reason}"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, Float32Array,
        Float64Array, Int8Array, Int32Array, Int64Array, StringArray, StringViewArray, StructArray, Time32SecondArray,
        Time64MicrosecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt32Array,
    };
    use arrow::datatypes::{Field, Int64Type, TimestampMillisecondType, i256};
    use futures::TryStreamExt;
    use futures::executor::block_on;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use transload_core::LogicalType;

    use super::*;
    use crate::avro::AvroRows;
    use crate::avro::codec::Codec;

    fn object(content: &[u8]) -> PinnedObject {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t.avro");
        block_on(async {
            store.put(&path, content.to_vec().into()).await.unwrap();
            PinnedObject { meta: store.head(&path).await.unwrap(), store: Arc::clone(&store) }
        })
    }

    fn written(batch: &RecordBatch, codec: Codec) -> Vec<u8> {
        let rows = AvroRows::new(batch.schema(), codec, "t");
        let mut out = Vec::new();
        rows.begin(&mut out).unwrap();
        rows.rows(batch, &mut out).unwrap();
        out
    }

    fn read(content: &[u8]) -> Result<RecordBatch> {
        let object = object(content);
        let (header, schema) = block_on(open(object.clone()))?;
        let wanted = (0..schema.fields().len()).collect();
        let stream = rows(object, Arc::new(header), wanted, Arc::clone(&schema), 1000);
        let batches: Vec<RecordBatch> = block_on(stream.try_collect()).map_err(Error::from)?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }

    fn numbers(count: i64) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter((0..count).map(|i| (i % 10 != 3).then_some(i * i))));
        let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..count).map(|i| format!("word {i}"))));
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("word", words, false)]).unwrap()
    }

    #[test]
    fn values_come_back_as_they_were() {
        let text = |texts: Vec<Option<&str>>| Arc::new(StringArray::from(texts)) as ArrayRef;
        let fields = Fields::from(vec![Field::new("x", arrow::datatypes::DataType::Int64, true)]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MIN), None]));
        let pair = StructArray::new(fields, vec![Arc::clone(&numbers)], Some(vec![true, false].into()));
        let list = arrow::array::ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None, Some(-300)]),
            None,
        ]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("long", numbers),
            ("f32", Arc::new(Float32Array::from(vec![Some(-0.0), Some(f32::NAN)]))),
            ("f64", Arc::new(Float64Array::from(vec![Some(5e-324), None]))),
            (
                "d",
                Arc::new(
                    Decimal128Array::from(vec![-1, i128::pow(10, 38) - 1]).with_precision_and_scale(38, 5).unwrap(),
                ),
            ),
            (
                "wide",
                Arc::new(
                    Decimal256Array::from(vec![i256::from_i128(i128::MAX), i256::MINUS_ONE])
                        .with_precision_and_scale(76, 0)
                        .unwrap(),
                ),
            ),
            ("text", text(vec![Some(""), Some("ä\n\0")])),
            ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None]))),
            ("day", Arc::new(Date32Array::from(vec![Some(i32::MIN), Some(i32::MAX)]))),
            ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(86_399_999_999), None]))),
            ("ns", Arc::new(TimestampNanosecondArray::from(vec![Some(i64::MIN), Some(i64::MAX)]).with_timezone("UTC"))),
            ("pair", Arc::new(pair)),
            ("list", Arc::new(list)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        for codec in [Codec::Null, Codec::Deflate, Codec::Snappy, Codec::Zstandard] {
            let found = read(&written(&batch, codec)).unwrap();
            for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
                assert_eq!(found.column_by_name(field.name()).unwrap(), column, "{} {codec:?}", field.name());
            }
        }
    }

    #[test]
    fn types_that_avro_has_not_are_written_as_wider_ones() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("i8", Arc::new(Int8Array::from(vec![Some(-128), None]))),
            ("u32", Arc::new(UInt32Array::from(vec![Some(u32::MAX), None]))),
            ("view", Arc::new(StringViewArray::from(vec![Some("a text that is too long for a view"), None]))),
            ("time", Arc::new(Time32SecondArray::from(vec![Some(86_399), None]))),
            ("at", Arc::new(TimestampSecondArray::from(vec![Some(-1), None]))),
        ];
        let found = read(&written(&RecordBatch::try_from_iter(columns).unwrap(), Codec::Deflate)).unwrap();
        let types: Vec<String> =
            found.schema().fields().iter().map(|f| LogicalType::of(f).unwrap().to_string()).collect();
        assert_eq!(types, ["int32", "int64", "text", "time(ms)", "timestamp(ms)"]);
        assert_eq!(found.column(0).as_ref(), &Int32Array::from(vec![Some(-128), None]) as &dyn Array);
        assert_eq!(found.column(1).as_primitive::<Int64Type>().value(0), i64::from(u32::MAX));
        assert_eq!(found.column(4).as_primitive::<TimestampMillisecondType>().value(0), -1000);
    }

    #[test]
    fn many_blocks_are_read_in_any_columns() {
        let batch = numbers(100_000);
        let content = written(&batch, Codec::Deflate);
        assert_eq!(read(&content).unwrap(), batch);
        let object = object(&content);
        let (header, schema) = block_on(open(object.clone())).unwrap();
        let header = Arc::new(header);
        for wanted in [vec![1], vec![0], Vec::new()] {
            let schema = Arc::new(schema.project(&wanted).unwrap());
            let stream = rows(object.clone(), Arc::clone(&header), wanted.clone(), schema, 8192);
            let batches: Vec<RecordBatch> = block_on(stream.try_collect()).unwrap();
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 100_000, "{wanted:?}");
            assert!(batches.iter().all(|b| b.num_columns() == wanted.len()));
        }
    }

    #[test]
    fn a_file_that_is_damaged_is_refused_and_nothing_of_it_is_lost_silently() {
        let batch = numbers(50_000);
        for codec in [Codec::Null, Codec::Deflate] {
            let content = written(&batch, codec);
            let header = block_on(open(object(&content))).unwrap().0;
            let first = block_on(Blocks::new(object(&content), Arc::new(header)).next()).unwrap().unwrap();
            assert!(first.records > 0 && first.records < 50_000);
            for length in [0, 3, 50, content.len() / 2, content.len() - 1, content.len() - 16, content.len() - 17] {
                let error = read(&content[..length]).unwrap_err();
                assert!(error.to_string().contains("damaged"), "{length}: {error}");
            }
            let mut changed = content.clone();
            *changed.last_mut().unwrap() ^= 1;
            assert!(read(&changed).unwrap_err().to_string().contains("marker"));
            // Bytes behind the last block are one that is cut off.
            assert!(read(&[content.as_slice(), b"more"].concat()).is_err());
        }
    }

    #[test]
    fn a_block_holds_its_records_and_no_byte_more() {
        let batch = numbers(3);
        let rows = AvroRows::new(batch.schema(), Codec::Null, "t");
        let mut content = Vec::new();
        rows.begin(&mut content).unwrap();
        let begin = content.len();
        rows.rows(&batch, &mut content).unwrap();
        assert_eq!(content[begin], 6, "three records");
        for (records, says) in [(4, "more than its records"), (8, "ends before its records do")] {
            content[begin] = records;
            let error = read(&content).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
