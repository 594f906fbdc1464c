//! ORC files as batches of columns.
//!
//! Timestamps are read as seconds with nine digits behind the point, which hold every one of them, and then put into a unit
//! that holds all values of their column: the library's own way leaves out what does not fit. The values are looked at for
//! that before the file gets its schema, as those of INT96 in Parquet are.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array};
use arrow::datatypes::{
    DataType, Decimal128Type, Fields, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampNanosecondType,
};
use arrow::error::ArrowError;
use bytes::Bytes;
use datafusion::error::{DataFusionError, Result as DfResult};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt};
use orc_rust::ArrowReaderBuilder;
use orc_rust::error::OrcError;
use orc_rust::projection::ProjectionMask;
use orc_rust::reader::AsyncChunkReader;
use orc_rust::schema::DataType as OrcType;
use orc_rust::statistics::{ColumnStatistics, TypeStatistics};
use transload_core::types::Unit;
use transload_core::{Error, LogicalType, Result};

use crate::calendar::{each_part, is_before_cutover, rebase};
use crate::options::LegacyCalendar;
use crate::parquet::{PinnedObject, names_are_unique};

/// Digits behind the point of timestamps as they are read, in seconds.
const NANO_DIGITS: i8 = 9;
/// Digits of timestamps as they are read.
const DIGITS: u8 = 38;

/// Rows that are looked at at a time.
const LOOKED_AT: usize = 8192;

/// What a file says about itself.
#[derive(Debug)]
pub(crate) struct Footer {
    rows: u64,
    /// Its columns.
    schema: SchemaRef,
    calendar: LegacyCalendar,
}

impl Footer {
    /// Its columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The number of its rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

/// Reads the footer of a file, and its timestamps.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if it is damaged, or no column can hold its values.
pub(crate) async fn open(object: PinnedObject, calendar: LegacyCalendar) -> Result<Footer> {
    let path = object.meta.location.to_string();
    // Damaged files can panic inside the reader.
    let opened = AssertUnwindSafe(look(object, calendar)).catch_unwind().await;
    opened.unwrap_or_else(|_| Err(damaged())).map_err(|e| e.with("path", path))
}

fn damaged() -> Error {
    Error::config("the ORC file cannot be read; it is damaged or not ORC")
}

async fn look(object: PinnedObject, calendar: LegacyCalendar) -> Result<Footer> {
    let builder = ArrowReaderBuilder::try_new_async(Chunks(object.clone())).await.map_err(unreadable)?;
    let metadata = builder.file_metadata();
    let columns = metadata.root_data_type().children();
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let ty = logical(column.data_type()).map_err(|reason| {
            Error::config(format!("the ORC file cannot be read: {reason}")).with("column", column.name())
        })?;
        if may_be_early(column.data_type(), metadata.column_file_statistics()) {
            return Err(Error::config("the ORC file may hold timestamps before 1970, which cannot be read exactly")
                .with("column", column.name())
                .hint("let the program that wrote it write Parquet"));
        }
        fields.push(ty.to_field(column.name(), true));
    }
    let rows = builder.file_metadata().number_of_rows();
    let mut schema = Schema::new(fields);
    names_are_unique(&schema)?;
    let timed: Vec<usize> = (0..schema.fields().len()).filter(|at| has_times(schema.field(*at).data_type())).collect();
    if !timed.is_empty() {
        let mut spans = vec![Span::default(); timed.len()];
        let found = Arc::new(schema.project(&timed)?);
        let mut batches = raw(builder, &timed, &found, LOOKED_AT);
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(unreadable_arrow)?;
            for ((span, column), field) in spans.iter_mut().zip(batch.columns()).zip(found.fields()) {
                span.see(column, field.data_type());
            }
        }
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        for (at, span) in timed.into_iter().zip(spans) {
            let unit = span.unit().ok_or_else(|| {
                let message = "timestamps of one column are both finer than microseconds and outside the years 1677 to 2262: \
                               no type holds them all exactly";
                Error::config(message).with("column", fields[at].name())
            })?;
            let ty = in_unit(fields[at].data_type(), unit);
            fields[at] = Arc::new(fields[at].as_ref().clone().with_data_type(ty));
        }
        schema = Schema::new(Fields::from(fields));
    }
    Ok(Footer { rows, schema: Arc::new(schema), calendar })
}

/// The type of a column; or why it has none.
fn logical(ty: &OrcType) -> Result<LogicalType, String> {
    use LogicalType as T;
    Ok(match ty {
        OrcType::Boolean { .. } => T::Bool,
        OrcType::Byte { .. } => T::Int(8),
        OrcType::Short { .. } => T::Int(16),
        OrcType::Int { .. } => T::Int(32),
        OrcType::Long { .. } => T::Int(64),
        OrcType::Float { .. } => T::Float(32),
        OrcType::Double { .. } => T::Float(64),
        OrcType::String { .. } | OrcType::Varchar { .. } | OrcType::Char { .. } => T::Text,
        OrcType::Binary { .. } => T::Binary,
        OrcType::Decimal { precision, scale, .. } => {
            let precision = u8::try_from(*precision).ok().filter(|p| (1..=38).contains(p));
            let scale = i8::try_from(*scale).ok();
            match precision.zip(scale).filter(|(p, s)| s.unsigned_abs() <= *p) {
                Some((precision, scale)) => T::Decimal(precision, scale),
                None => return Err("a decimal has no precision from 1 to 38, or a scale above it".to_string()),
            }
        }
        OrcType::Timestamp { .. } => T::Timestamp(Unit::Us, None),
        OrcType::TimestampWithLocalTimezone { .. } => T::Timestamp(Unit::Us, Some("UTC".to_string())),
        OrcType::Date { .. } => T::Date,
        OrcType::Struct { children, .. } => {
            let field = |c: &orc_rust::schema::NamedColumn| Ok((c.name().to_string(), logical(c.data_type())?));
            T::Struct(children.iter().map(field).collect::<Result<_, String>>()?)
        }
        OrcType::List { child, .. } => T::List(Box::new(logical(child)?)),
        OrcType::Map { key, value, .. } => T::Map(Box::new(logical(key)?), Box::new(logical(value)?)),
        OrcType::Union { .. } => return Err("a union of several types is no type of a column".to_string()),
    })
}

/// Whether there may be a timestamp before 1970 in a column. Some programs write their fractions of seconds with a sign,
/// which the library takes for something else, and says nothing.
fn may_be_early(ty: &OrcType, statistics: &[ColumnStatistics]) -> bool {
    let early = |column: usize| match statistics.get(column) {
        Some(known) if known.number_of_values() == 0 => false,
        Some(known) => match known.type_statistics() {
            Some(TypeStatistics::Timestamp { min, min_utc, .. }) => (*min).min(*min_utc) < 0,
            _ => true,
        },
        None => true,
    };
    match ty {
        OrcType::Timestamp { column_index } | OrcType::TimestampWithLocalTimezone { column_index } => {
            early(*column_index)
        }
        OrcType::Struct { children, .. } => children.iter().any(|c| may_be_early(c.data_type(), statistics)),
        OrcType::List { child, .. } => may_be_early(child, statistics),
        OrcType::Map { key, value, .. } => may_be_early(key, statistics) || may_be_early(value, statistics),
        _ => false,
    }
}

fn has_times(ty: &DataType) -> bool {
    match ty {
        DataType::Timestamp(..) => true,
        DataType::List(part) | DataType::Map(part, _) => has_times(part.data_type()),
        DataType::Struct(parts) => parts.iter().any(|part| has_times(part.data_type())),
        _ => false,
    }
}

/// The same type with every timestamp in another one.
fn with_times(ty: &DataType, other: &dyn Fn(&DataType) -> DataType) -> DataType {
    let part = |field: &Arc<arrow::datatypes::Field>| {
        Arc::new(field.as_ref().clone().with_data_type(with_times(field.data_type(), other)))
    };
    match ty {
        DataType::Timestamp(..) => other(ty),
        DataType::List(item) => DataType::List(part(item)),
        DataType::Map(entries, sorted) => DataType::Map(part(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(part).collect()),
        plain => plain.clone(),
    }
}

fn in_unit(ty: &DataType, unit: TimeUnit) -> DataType {
    with_times(ty, &|time| match time {
        DataType::Timestamp(_, zone) => DataType::Timestamp(unit, zone.clone()),
        other => other.clone(),
    })
}

/// The parts of a type that is made of others, one for each child of its arrays.
fn parts(ty: &DataType) -> Vec<&DataType> {
    match ty {
        DataType::List(part) | DataType::Map(part, _) => vec![part.data_type()],
        DataType::Struct(parts) => parts.iter().map(|part| part.data_type()).collect(),
        _ => Vec::new(),
    }
}

/// What is known of the timestamps of a column, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    /// The earliest and the latest one.
    range: Option<(i128, i128)>,
    /// Whether some of them are no whole microseconds.
    is_fine: bool,
}

impl Span {
    /// Looks at an array as it was read, whose values are meant to be of a type.
    fn see(&mut self, array: &ArrayRef, ty: &DataType) {
        if let (DataType::Timestamp(..), Some(values)) = (ty, array.as_primitive_opt::<Decimal128Type>()) {
            for value in values.iter().flatten() {
                self.is_fine |= value % 1000 != 0;
                let (least, most) = self.range.unwrap_or((value, value));
                self.range = Some((least.min(value), most.max(value)));
            }
        }
        for (child, ty) in array.to_data().child_data().iter().zip(parts(ty)) {
            self.see(&make_array(child.clone()), ty);
        }
    }

    /// Microseconds, or nanoseconds if some value is finer; `None` if that does not reach far enough.
    fn unit(&self) -> Option<TimeUnit> {
        let (unit, tick) = if self.is_fine { (TimeUnit::Nanosecond, 1) } else { (TimeUnit::Microsecond, 1000) };
        let fits = |value: i128| i64::try_from(value.div_euclid(tick)).is_ok();
        self.range.is_none_or(|(least, most)| fits(least) && fits(most)).then_some(unit)
    }
}

/// The rows of a file with the columns `wanted`, in the file's order, of which `schema` has the types. Timestamps are
/// decimals in them.
fn raw(
    builder: ArrowReaderBuilder<Chunks>,
    wanted: &[usize],
    schema: &Schema,
    batch_size: usize,
) -> BoxStream<'static, Result<RecordBatch, ArrowError>> {
    let decimals = |_: &DataType| DataType::Decimal128(DIGITS, NANO_DIGITS);
    let raw = |field: &arrow::datatypes::FieldRef| {
        field.as_ref().clone().with_data_type(with_times(field.data_type(), &decimals))
    };
    let fields: Vec<_> = schema.fields().iter().map(raw).collect();
    let root = builder.file_metadata().root_data_type();
    let chosen =
        wanted.iter().filter_map(|at| root.children().get(*at)).map(|column| column.data_type().column_index());
    let mask = ProjectionMask::roots(root, chosen.collect::<Vec<_>>());
    builder
        .with_projection(mask)
        .with_schema(Arc::new(Schema::new(fields)))
        .with_batch_size(batch_size)
        .build_async()
        .boxed()
}

/// The rows of a file, with the columns `wanted`, in the file's order, which `schema` names.
pub(crate) fn rows(
    object: PinnedObject,
    footer: &Footer,
    wanted: &[usize],
    schema: SchemaRef,
    batch_size: usize,
) -> BoxStream<'static, DfResult<RecordBatch>> {
    let (wanted, calendar) = (wanted.to_vec(), footer.calendar);
    let opened = async move {
        let builder = ArrowReaderBuilder::try_new_async(Chunks(object)).await.map_err(unreadable)?;
        let batches = raw(builder, &wanted, &schema, batch_size).map(move |batch| {
            let batch = batch.map_err(unreadable_arrow)?;
            Ok::<_, DataFusionError>(meant(&batch, &schema, calendar)?)
        });
        Ok::<_, DataFusionError>(batches)
    };
    opened.try_flatten_stream().boxed()
}

/// The rows as they are meant: timestamps in their unit, and dates in their calendar.
fn meant(batch: &RecordBatch, schema: &SchemaRef, calendar: LegacyCalendar) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        let named = |e: Error| e.with("column", field.name());
        let timed = times(column, field.data_type())?;
        columns.push(match calendar {
            LegacyCalendar::AsStored => timed,
            LegacyCalendar::Rebase => each_part(&timed, &rebase).map_err(named)?,
            LegacyCalendar::Refuse if is_before_cutover(&timed) => {
                let message = "there are dates before 1582-10-15, and the file's writer may have counted them in the Julian \
                               calendar";
                return Err(Error::config(message).with("column", field.name()).hint(
                    "set `orc.legacy_calendar`: `rebase` reads them as dates of the Julian calendar, `as_stored` as days of \
                     today's",
                ));
            }
            LegacyCalendar::Refuse => timed,
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A column as it was read, in the type that it has, which differs from it in timestamps.
fn times(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, _) = ty else {
        if !has_times(ty) {
            return Ok(Arc::clone(array));
        }
        let data = array.to_data();
        let children = data.child_data().iter().zip(parts(ty));
        let children = children.map(|(child, ty)| Ok(times(&make_array(child.clone()), ty)?.to_data()));
        let children = children.collect::<Result<Vec<_>>>()?;
        return Ok(make_array(data.into_builder().data_type(ty.clone()).child_data(children).build()?));
    };
    let values =
        array.as_primitive_opt::<Decimal128Type>().ok_or_else(|| Error::internal("a timestamp is no number"))?;
    let tick: i128 = if *unit == TimeUnit::Nanosecond { 1 } else { 1000 };
    // The unit was chosen so that it holds every value of the file.
    let wrong = || Error::config("the file changed after it was pinned: a timestamp does not fit its column");
    let ticks = values.try_unary::<_, Int64Type, Error>(|value| match value % tick {
        0 => i64::try_from(value / tick).map_err(|_| wrong()),
        _ => Err(wrong()),
    })?;
    let timestamps: ArrayRef = match unit {
        TimeUnit::Nanosecond => {
            Arc::new(ticks.reinterpret_cast::<TimestampNanosecondType>().with_data_type(ty.clone()))
        }
        _ => Arc::new(ticks.reinterpret_cast::<TimestampMicrosecondType>().with_data_type(ty.clone())),
    };
    Ok(timestamps)
}

/// Reads of a pinned file.
struct Chunks(PinnedObject);

impl AsyncChunkReader for Chunks {
    fn len(&mut self) -> BoxFuture<'_, io::Result<u64>> {
        let size = self.0.meta.size;
        async move { Ok(size) }.boxed()
    }

    fn get_bytes(&mut self, start: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        async move {
            let end = start.checked_add(length).filter(|end| *end <= self.0.meta.size);
            let end = end.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            if start == end {
                return Ok(Bytes::new());
            }
            self.0.read(start..end).await.map_err(io::Error::other)
        }
        .boxed()
    }
}

/// What the library says: about the store, or about the file.
fn unreadable(error: OrcError) -> Error {
    match error {
        OrcError::IoError { source, .. } => {
            match source.into_inner().map(|inner| inner.downcast::<object_store::Error>()) {
                Some(Ok(store)) => Error::from(*store),
                Some(Err(other)) => damaged().because(other),
                None => damaged(),
            }
        }
        other => damaged().because(other),
    }
}

fn unreadable_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast::<OrcError>() {
            Ok(orc) => unreadable(*orc),
            Err(other) => damaged().because(other),
        },
        other => damaged().because(other),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Decimal128Array, Int64Array, StringArray, TimestampSecondArray};
    use arrow::datatypes::{Date32Type, Field};
    use futures::TryStreamExt;
    use futures::executor::block_on;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use orc_rust::ArrowWriterBuilder;

    use super::*;
    use crate::calendar::CUTOVER;

    fn object(content: Vec<u8>) -> PinnedObject {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t.orc");
        block_on(async {
            store.put(&path, content.into()).await.unwrap();
            PinnedObject { meta: store.head(&path).await.unwrap(), store: Arc::clone(&store) }
        })
    }

    fn written(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut out = Vec::new();
        let mut writer = ArrowWriterBuilder::new(&mut out, batch.schema()).try_build().unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        out
    }

    fn read(content: Vec<u8>, calendar: LegacyCalendar) -> Result<RecordBatch> {
        let object = object(content);
        let footer = block_on(open(object.clone(), calendar))?;
        let schema = Arc::clone(footer.schema());
        let wanted: Vec<usize> = (0..schema.fields().len()).collect();
        let stream = rows(object, &footer, &wanted, Arc::clone(&schema), 1000);
        let batches: Vec<RecordBatch> = block_on(stream.try_collect()).map_err(Error::from)?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }

    #[test]
    fn the_library_reads_what_it_writes_and_so_do_we() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter((0..5000).map(|i| (i % 7 != 0).then_some(i - 2500))));
        let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..5000).map(|i| format!("word {i}"))));
        let batch = read(written(vec![("id", Arc::clone(&ids)), ("word", Arc::clone(&words))]), LegacyCalendar::Refuse);
        let batch = batch.unwrap();
        assert_eq!((batch.column(0), batch.column(1)), (&ids, &words));
    }

    #[test]
    fn a_span_has_the_unit_that_holds_it() {
        let span = |values: &[i128]| {
            let mut span = Span::default();
            let array: ArrayRef =
                Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(DIGITS, NANO_DIGITS).unwrap());
            span.see(&array, &DataType::Timestamp(TimeUnit::Microsecond, None));
            span.unit()
        };
        let for_ever = 253_402_300_799_999_999_000;
        assert_eq!(span(&[]), Some(TimeUnit::Microsecond));
        assert_eq!(span(&[0, -1000, for_ever]), Some(TimeUnit::Microsecond));
        assert_eq!(span(&[0, 1]), Some(TimeUnit::Nanosecond));
        assert_eq!(span(&[for_ever, 1]), None);
    }

    #[test]
    fn times_are_put_into_their_unit_wherever_they_are() {
        let raw: ArrayRef = Arc::new(
            Decimal128Array::from(vec![Some(1_000), None, Some(-2_000)])
                .with_precision_and_scale(DIGITS, NANO_DIGITS)
                .unwrap(),
        );
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times_of = |ty: &DataType| times(&raw, ty).unwrap();
        let found = times_of(&micros);
        assert_eq!(found.data_type(), &micros);
        assert_eq!((found.as_primitive::<TimestampMicrosecondType>().value(2), found.null_count()), (-2, 1));
        let odd: ArrayRef =
            Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(DIGITS, NANO_DIGITS).unwrap());
        times(&odd, &micros).unwrap_err();

        let fields = Fields::from(vec![Field::new("at", raw.data_type().clone(), true)]);
        let nested: ArrayRef = Arc::new(arrow::array::StructArray::new(fields, vec![Arc::clone(&raw)], None));
        let ty = DataType::Struct(vec![Field::new("at", micros.clone(), true)].into());
        assert_eq!(times(&nested, &ty).unwrap().data_type(), &ty);
    }

    #[test]
    fn old_dates_are_read_as_is_asked_for() {
        let old = i32::try_from(CUTOVER).unwrap() - 1;
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("day", DataType::Date32, true)]));
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), Some(old)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![days]).unwrap();
        let error = meant(&batch, &schema, LegacyCalendar::Refuse).unwrap_err();
        assert!(error.to_string().contains("before 1582-10-15") && error.to_string().contains("column day"), "{error}");
        for (calendar, day) in [(LegacyCalendar::AsStored, old), (LegacyCalendar::Rebase, old - 10)] {
            let read = meant(&batch, &schema, calendar).unwrap();
            assert_eq!(read.column(0).as_primitive::<Date32Type>().value(1), day);
        }
        meant(&batch.slice(0, 1), &schema, LegacyCalendar::Refuse).unwrap();
    }

    #[test]
    fn a_file_that_is_damaged_is_refused() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let good = written(vec![("id", ids)]);
        for content in [Vec::new(), b"ORC".to_vec(), good[..good.len() / 2].to_vec(), vec![0; 100], vec![0xff; 100]] {
            let error = read(content, LegacyCalendar::Refuse).unwrap_err();
            assert!(error.to_string().contains("damaged") && error.to_string().contains("t.orc"), "{error}");
        }
    }

    #[test]
    fn times_of_which_the_footer_says_too_little_are_refused() {
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![Some(0), None, Some(1_700_000_000)]));
        // The library's own writer keeps no statistics of them.
        let error = read(written(vec![("s", seconds)]), LegacyCalendar::Refuse).unwrap_err();
        assert!(error.to_string().contains("may hold timestamps before 1970"), "{error}");
    }
}
