//! The old timestamps of Parquet, INT96: a Julian day, and the nanoseconds in it.
//!
//! Arrow has no such type. Its reader multiplies, and does not notice when the result leaves 64 bits: as nanoseconds,
//! what lies before 1677 or after 2262 becomes another time, and as anything coarser, what is finer is cut. Statistics
//! do not help, since writers leave them out or get them wrong. So the values are looked at before a file gets its
//! schema, and the schema gets a unit in which every one of them is exactly itself.

use std::slice::Iter;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields, Schema, TimeUnit};
use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::arrow::ARROW_SCHEMA_META_KEY;
use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{DataType as PhysicalType, Int96, Int96Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use transload_core::types::Unit;
use transload_core::{Error, Result};

use crate::parquet::ParquetFile;

/// Values looked at at a time.
const BATCH: usize = 8192;
const DAY_NANOS: i128 = 86_400_000_000_000;
/// The Julian day of 1970-01-01.
const EPOCH: i128 = 2_440_588;
const UNITS: [Unit; 4] = [Unit::S, Unit::Ms, Unit::Us, Unit::Ns];

/// The same file, with a schema whose timestamps hold the values of its INT96 columns exactly: the unit that the file's
/// writer has noted, else microseconds, else nanoseconds. With it what was found of each of the file's columns, or
/// nothing if none of them is INT96.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if no unit holds all values of a column, or the file is damaged.
pub(crate) async fn exact(file: ParquetFile) -> Result<(ParquetFile, Vec<Option<Leaf>>)> {
    let columns = file.metadata.file_metadata().schema_descr_ptr();
    if columns.columns().iter().all(|column| column.physical_type() != Type::INT96) {
        return Ok((file, Vec::new()));
    }
    let mut leaves = Vec::with_capacity(columns.num_columns());
    for (i, column) in columns.columns().iter().enumerate() {
        leaves.push(match column.physical_type() {
            Type::INT96 => Some(Leaf::of(&file, i, column.path().string()).await?),
            _ => None,
        });
    }
    let noted = file.metadata.file_metadata().key_value_metadata();
    let is_noted = noted.is_some_and(|pairs| pairs.iter().any(|pair| pair.key == ARROW_SCHEMA_META_KEY));
    let mut left = leaves.iter();
    let fields = file.schema.fields().iter().map(|field| adjusted(field, &mut left, is_noted));
    let fields = fields.collect::<Result<Fields>>()?;
    if left.next().is_some() {
        return Err(misfit());
    }
    let schema = Schema::new_with_metadata(fields, file.schema.metadata().clone());
    Ok((ParquetFile { schema: Arc::new(schema), is_adjusted: true, ..file }, leaves))
}

/// An INT96 column.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// Its path.
    column: String,
    /// For each of [`UNITS`], whether it holds every value exactly.
    fits: [bool; 4],
    /// The earliest value, in nanoseconds since 1970; `None` if there is none.
    pub(crate) earliest: Option<i128>,
}

impl Leaf {
    /// Looks at all values of a column.
    async fn of(file: &ParquetFile, at: usize, column: String) -> Result<Self> {
        let mut leaf = Self { column, fits: [true; 4], earliest: None };
        for group in file.metadata.row_groups() {
            each_value::<Int96Type>(file, group, at, |value| leaf.see(value)).await?;
        }
        Ok(leaf)
    }

    fn see(&mut self, value: &Int96) {
        for (fits, unit) in self.fits.iter_mut().zip(UNITS) {
            *fits = *fits && holds(unit, value);
        }
        let nanos = nanos(value);
        self.earliest = Some(self.earliest.map_or(nanos, |earliest| earliest.min(nanos)));
    }
}

fn damaged() -> Error {
    Error::config("the Parquet file cannot be read; it is damaged")
}

/// A file whose columns are not those that its schema has.
pub(crate) fn misfit() -> Error {
    Error::internal("a Parquet file has other columns than its schema")
}

/// Looks at all values of one column in a row group.
///
/// # Errors
/// As the store fails, and [`Config`](transload_core::ErrorKind::Config) if the file is damaged; it can panic then, too.
pub(crate) async fn each_value<T: PhysicalType>(
    file: &ParquetFile,
    group: &RowGroupMetaData,
    column: usize,
    see: impl FnMut(&T::T) + Send,
) -> Result<()> {
    let chunk = group.column(column);
    let (start, length) = chunk.byte_range();
    if length == 0 {
        return Ok(());
    }
    let content = Content { start, bytes: file.object.read(start..start + length).await? };
    let rows = usize::try_from(group.num_rows()).map_err(|_| damaged())?;
    read_all::<T>(group, column, content, rows, see).map_err(|e| damaged().because(e))
}

fn read_all<T: PhysicalType>(
    group: &RowGroupMetaData,
    column: usize,
    content: Content,
    rows: usize,
    mut see: impl FnMut(&T::T),
) -> parquet::errors::Result<()> {
    let chunk = group.column(column);
    let pages = SerializedPageReader::new(Arc::new(content), chunk, rows, None)?;
    let mut reader = ColumnReaderImpl::<T>::new(chunk.column_descr_ptr(), Box::new(pages));
    let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let (_, _, levels) = reader.read_records(BATCH, Some(&mut defined), Some(&mut repeated), &mut values)?;
        if levels == 0 {
            return Ok(());
        }
        values.iter().for_each(&mut see);
        defined.clear();
        repeated.clear();
        values.clear();
    }
}

/// A value in nanoseconds since 1970.
fn nanos(value: &Int96) -> i128 {
    let [low, high, day] = [0_usize, 1, 2].map(|i| value.data().get(i).copied().unwrap_or_default());
    let of_day = (i64::from(high) << 32) + i64::from(low);
    (i128::from(day.cast_signed()) - EPOCH) * DAY_NANOS + i128::from(of_day)
}

/// Whether a value is a whole number of a unit, in 64 bits.
fn holds(unit: Unit, value: &Int96) -> bool {
    let (total, tick) = (nanos(value), i128::from(unit.nanos()));
    let (least, most) = (i128::from(i64::MIN) * tick, i128::from(i64::MAX) * tick);
    total % tick == 0 && (least..=most).contains(&total)
}

/// A field with the units that the INT96 columns below it need. `leaves` has the columns of the file, in order.
fn adjusted(field: &FieldRef, leaves: &mut Iter<'_, Option<Leaf>>, is_noted: bool) -> Result<FieldRef> {
    let mut inside = |field: &FieldRef| adjusted(field, leaves, is_noted);
    let ty = match field.data_type() {
        DataType::List(item) => DataType::List(inside(item)?),
        DataType::LargeList(item) => DataType::LargeList(inside(item)?),
        DataType::ListView(item) => DataType::ListView(inside(item)?),
        DataType::LargeListView(item) => DataType::LargeListView(inside(item)?),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(inside(item)?, *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect::<Result<_>>()?),
        DataType::Map(entries, sorted) => DataType::Map(inside(entries)?, *sorted),
        plain => match leaves.next().ok_or_else(misfit)? {
            Some(leaf) => in_unit(plain, leaf, is_noted)?,
            None => return Ok(Arc::clone(field)),
        },
    };
    Ok(Arc::new(field.as_ref().clone().with_data_type(ty)))
}

/// The type that an INT96 column is read as.
fn in_unit(ty: &DataType, leaf: &Leaf, is_noted: bool) -> Result<DataType> {
    match ty {
        DataType::Timestamp(unit, zone) => {
            let noted = is_noted.then_some(*unit);
            let mut wanted = noted.into_iter().chain([TimeUnit::Microsecond, TimeUnit::Nanosecond]);
            let fits =
                |unit: &TimeUnit| UNITS.iter().zip(leaf.fits).any(|(known, fits)| fits && known.to_arrow() == *unit);
            match wanted.find(fits) {
                Some(unit) => Ok(DataType::Timestamp(unit, zone.clone())),
                None => {
                    let message = "INT96 timestamps of one column are both finer than microseconds and outside the years \
                                   1677 to 2262: no type holds them all exactly";
                    let hint = "write the source again with timestamps in microseconds";
                    Err(Error::config(message).with("column", &leaf.column).hint(hint))
                }
            }
        }
        DataType::Dictionary(keys, values) => {
            Ok(DataType::Dictionary(keys.clone(), Box::new(in_unit(values, leaf, is_noted)?)))
        }
        other => Ok(other.clone()),
    }
}

/// A part of a file that has been read.
struct Content {
    /// Where it begins in the file.
    start: u64,
    bytes: Bytes,
}

impl Content {
    /// What has been read from a place of the file on.
    fn rest(&self, place: u64) -> parquet::errors::Result<Bytes> {
        let at = place.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        match at.filter(|at| *at <= self.bytes.len()) {
            Some(at) => Ok(self.bytes.slice(at..)),
            None => Err(ParquetError::EOF("a page lies outside its column".to_string())),
        }
    }
}

impl Length for Content {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Content {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.rest(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let rest = self.rest(start)?;
        match length <= rest.len() {
            true => Ok(rest.slice(..length)),
            false => Err(ParquetError::EOF("a page ends outside its column".to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::parquet::PinnedObject;

    /// A value of so many nanoseconds since 1970.
    fn at(nanos: i128) -> Int96 {
        let (day, rest) = (nanos.div_euclid(DAY_NANOS) + EPOCH, nanos.rem_euclid(DAY_NANOS));
        let mut value = Int96::new();
        value.set_data(rest as u32, (rest >> 32) as u32, day as i32 as u32);
        value
    }

    /// A file with the columns `id`, `at` and `times.list.element`, each of the last two with these values.
    async fn file(row_groups: &[&[i128]]) -> ParquetFile {
        let message = "message t { required int64 id; optional int96 at; \
            optional group times (LIST) { repeated group list { required int96 element; } } }";
        let schema = Arc::new(parse_message_type(message).unwrap());
        let mut writer =
            SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::builder().build())).unwrap();
        for values in row_groups {
            let values: Vec<Int96> = values.iter().map(|v| at(*v)).collect();
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let ids: Vec<i64> = (0..=values.len() as i64).collect();
            column.typed::<parquet::data_type::Int64Type>().write_batch(&ids, None, None).unwrap();
            column.close().unwrap();
            // The last row is NULL.
            let defined = |most: i16| -> Vec<i16> { values.iter().map(|_| most).chain([0]).collect() };
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int96Type>().write_batch(&values, Some(&defined(1)), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let repeated = vec![0; values.len() + 1];
            column.typed::<Int96Type>().write_batch(&values, Some(&defined(2)), Some(&repeated)).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        let content = writer.into_inner().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t.parquet");
        store.put(&path, PutPayload::from(content)).await.unwrap();
        let meta = store.head(&path).await.unwrap();
        ParquetFile::open(PinnedObject { store, meta }).await.unwrap()
    }

    /// The types that `at` and the items of `times` get.
    async fn types(row_groups: &[&[i128]]) -> Result<[DataType; 2]> {
        let (file, leaves) = exact(file(row_groups).await).await?;
        assert!(file.is_adjusted && leaves.iter().map(Option::is_some).eq([false, true, true]));
        assert_eq!(*file.schema.field(0).data_type(), DataType::Int64);
        let DataType::List(item) = file.schema.field(2).data_type() else { panic!("{}", file.schema) };
        Ok([file.schema.field(1).data_type().clone(), item.data_type().clone()])
    }

    fn timestamps(unit: TimeUnit) -> [DataType; 2] {
        [DataType::Timestamp(unit, None), DataType::Timestamp(unit, None)]
    }

    const MICRO: i128 = 1_000;
    /// 9999-12-31T23:59:59.999999
    const FOR_EVER: i128 = 253_402_300_799_999_999 * MICRO;
    /// 0001-01-01
    const LONG_AGO: i128 = -62_135_596_800_000_000 * MICRO;

    #[tokio::test]
    async fn a_column_gets_the_unit_that_holds_its_values() {
        let micros = timestamps(TimeUnit::Microsecond);
        assert_eq!(types(&[]).await.unwrap(), micros);
        assert_eq!(types(&[&[]]).await.unwrap(), micros);
        assert_eq!(types(&[&[0, -MICRO, 86_400_000_000 * MICRO]]).await.unwrap(), micros);
        assert_eq!(types(&[&[0], &[FOR_EVER, LONG_AGO]]).await.unwrap(), micros);
        let nanos = timestamps(TimeUnit::Nanosecond);
        assert_eq!(types(&[&[0], &[1]]).await.unwrap(), nanos);
        assert_eq!(types(&[&[i128::from(i64::MAX), i128::from(i64::MIN)]]).await.unwrap(), nanos);
    }

    #[tokio::test]
    async fn a_column_that_no_unit_holds_is_refused() {
        for broken in [&[FOR_EVER, 1][..], &[i128::from(i64::MAX) + 1], &[i128::from(i64::MIN) - 1]] {
            let error = types(&[broken]).await.unwrap_err();
            assert_eq!(error.kind(), transload_core::ErrorKind::Config);
            assert!(error.to_string().contains("(column at)"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_earliest_value_is_known() {
        let (_, leaves) = exact(file(&[&[5 * MICRO, FOR_EVER], &[LONG_AGO, 7 * MICRO]]).await).await.unwrap();
        let earliest: Vec<Option<i128>> = leaves.into_iter().flatten().map(|leaf| leaf.earliest).collect();
        assert_eq!(earliest, [Some(LONG_AGO); 2]);
        let (_, leaves) = exact(file(&[&[]]).await).await.unwrap();
        assert!(leaves.into_iter().flatten().all(|leaf| leaf.earliest.is_none()));
    }

    #[test]
    fn a_value_is_whole_or_is_not() {
        let fits = |nanos: i128| UNITS.map(|unit| holds(unit, &at(nanos)));
        assert_eq!(fits(0), [true; 4]);
        assert_eq!(fits(1_000_000_000), [true; 4]);
        assert_eq!(fits(-1_000_000), [false, true, true, true]);
        assert_eq!(fits(1_001_000), [false, false, true, true]);
        assert_eq!(fits(1), [false, false, false, true]);
        assert_eq!(fits(FOR_EVER), [false, false, true, false]);
    }
}
