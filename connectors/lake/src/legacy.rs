//! Parquet of the era of Hive: what its writers did with old dates and with clocks, and what a file says about it.
//!
//! The facts are those of the writers' own readers. Spark notes its version, and since 3.0 whether dates are those of the
//! mixed calendar (`DataSourceUtils.datetimeRebaseSpec`, `int96RebaseSpec`); before, all were. Hive takes INT96 timestamps
//! from the clock of its zone and stores them in UTC; newer versions note the zone and the calendar (`writer.time.zone`,
//! `writer.date.proleptic`, HIVE-21290 and HIVE-22589). Impala and everything that is not written in Java count as today.
//! Whatever else the Java library wrote may be of Hive.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use futures::FutureExt;
use parquet::basic::Type;
use parquet::data_type::{Int32Type, Int64Type};
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData};
use parquet::file::statistics::Statistics;
use transload_core::{Error, Result};

use crate::calendar::{CUTOVER, cutover, each_part, rebase, to_wall_clock};
use crate::int96::{self, Leaf};
use crate::options::LegacyCalendar;
use crate::parquet::ParquetFile;
use crate::settings::{Int96Zone, ParquetReading};

const DAY_NANOS: i128 = 86_400_000_000_000;

/// Names of the zone in which a wall clock shows what is stored.
pub(crate) const UTC: [&str; 6] = ["UTC", "Z", "+00:00", "GMT", "Etc/UTC", "Etc/GMT"];

/// How values of a file are read that are not meant as they are stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// Columns whose dates before the cutover are those of the Julian calendar.
    rebased: Vec<String>,
    /// Columns whose timestamps were taken from the clock of this zone.
    shifted: Option<(Tz, Vec<String>)>,
}

impl Reading {
    /// Whether every value is meant as it is stored.
    pub(crate) fn is_as_stored(&self) -> bool {
        self.rebased.is_empty() && self.shifted.is_none()
    }

    /// Whether timestamps of a column are turned back to the clock of a zone.
    pub(crate) fn is_shifted(&self, column: &str) -> bool {
        self.shifted.as_ref().is_some_and(|(_, names)| names.iter().any(|name| name == column))
    }

    /// The same for the columns of a schema alone.
    pub(crate) fn within(&self, schema: &Schema) -> Self {
        let own = |names: &[String]| -> Vec<String> {
            names.iter().filter(|name| schema.index_of(name).is_ok()).cloned().collect()
        };
        let shifted = self.shifted.as_ref().map(|(zone, names)| (*zone, own(names)));
        Self { rebased: own(&self.rebased), shifted: shifted.filter(|(_, names)| !names.is_empty()) }
    }

    /// The rows as they are meant.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a value that means nothing.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = batch.schema();
        let mut columns = batch.columns().to_vec();
        for (column, field) in columns.iter_mut().zip(schema.fields()) {
            let named = |e: Error| e.with("column", field.name());
            if self.rebased.contains(field.name()) {
                *column = each_part(column, &rebase).map_err(named)?;
            }
            if let Some((zone, names)) = &self.shifted
                && names.contains(field.name())
            {
                *column = each_part(column, &|part| to_wall_clock(part, *zone)).map_err(named)?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

/// The calendar in which a writer counted days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calendar {
    /// Today's, back for ever.
    Gregorian,
    /// The Julian one before the cutover.
    Mixed,
    Unknown,
}

/// Where a writer took INT96 timestamps from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Clock {
    /// They are stored as they were.
    AsStored,
    /// From the wall clock of this zone, stored in UTC.
    Zone(String),
    Unknown,
}

/// What a footer says about the program that wrote the file.
#[derive(Debug, PartialEq, Eq)]
struct Writer {
    calendar: Calendar,
    int96_calendar: Calendar,
    clock: Clock,
    /// The zone in which it counted timestamps of the mixed calendar, if that is known.
    zone: Option<String>,
}

impl Writer {
    fn of(footer: &FileMetaData) -> Self {
        let pairs: Vec<(&str, &str)> = footer
            .key_value_metadata()
            .into_iter()
            .flatten()
            .map(|pair| (pair.key.as_str(), pair.value.as_deref().unwrap_or_default()))
            .collect();
        Self::from_notes(footer.created_by(), &pairs)
    }

    fn from_notes(created_by: Option<&str>, notes: &[(&str, &str)]) -> Self {
        let note = |key: &str| notes.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        let mixed_if = |is: bool| if is { Calendar::Mixed } else { Calendar::Gregorian };
        let spark = note("org.apache.spark.version");
        if spark.is_some() || note("org.apache.spark.sql.parquet.row.metadata").is_some() {
            let version = spark.map_or((0, 0), version);
            return Self {
                calendar: mixed_if(version < (3, 0) || note("org.apache.spark.legacyDateTime").is_some()),
                int96_calendar: mixed_if(version < (3, 1) || note("org.apache.spark.legacyINT96").is_some()),
                clock: Clock::AsStored,
                zone: note("org.apache.spark.timeZone").map(str::to_string),
            };
        }
        // Who does not name itself may be an old one.
        let is_java = created_by.is_none_or(|by| by.starts_with("parquet-mr")) && note("iceberg.schema").is_none();
        let calendar = match note("writer.date.proleptic") {
            Some(proleptic) => mixed_if(!proleptic.eq_ignore_ascii_case("true")),
            None if is_java => Calendar::Unknown,
            None => Calendar::Gregorian,
        };
        let clock = match note("writer.time.zone") {
            Some(zone) if UTC.contains(&zone) => Clock::AsStored,
            Some(zone) => Clock::Zone(zone.to_string()),
            None if is_java => Clock::Unknown,
            None => Clock::AsStored,
        };
        Self { calendar, int96_calendar: calendar, clock, zone: None }
    }
}

/// The first two numbers of a version; zeros where there are none.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// The same file, with the schema and the reading by which its timestamps and dates are what they are meant to be.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if that cannot be told, and the options do not tell it either.
pub(crate) async fn as_it_is_meant(file: ParquetFile, options: ParquetReading) -> Result<ParquetFile> {
    let path = file.object.meta.location.to_string();
    // Damaged pages can panic inside the reader.
    let result = AssertUnwindSafe(settled(file, options)).catch_unwind().await;
    let damaged = || Error::config("the Parquet file cannot be read; it is damaged");
    result.unwrap_or_else(|_| Err(damaged())).map_err(|e| e.with("path", path))
}

async fn settled(file: ParquetFile, options: ParquetReading) -> Result<ParquetFile> {
    let writer = Writer::of(file.metadata.file_metadata());
    let (file, int96) = int96::exact(file).await?;
    let mut reading = Reading::default();
    if int96.iter().any(Option::is_some)
        && let Some(zone) = zone(&writer.clock, options.int96_zone)?
    {
        reading.shifted = Some((zone, Vec::new()));
    }
    let mut at = 0;
    for field in file.schema.fields() {
        let mut parts = Vec::new();
        flatten(field.data_type(), &mut parts);
        let leaves = at..at + parts.len();
        at = leaves.end;
        if int96.get(leaves.clone()).is_some_and(|leaves| leaves.iter().any(Option::is_some))
            && let Some((_, names)) = &mut reading.shifted
        {
            names.push(field.name().clone());
        }
        for (leaf, part) in leaves.zip(&parts) {
            let known = int96.get(leaf).and_then(Option::as_ref);
            let calendar = if known.is_some() { writer.int96_calendar } else { writer.calendar };
            if calendar == Calendar::Gregorian || !is_old(&file, leaf, part, known).await? {
                continue;
            }
            if is_rebased(&writer, calendar, field, part, options.legacy_calendar)?
                && !reading.rebased.contains(field.name())
            {
                reading.rebased.push(field.name().clone());
            }
        }
    }
    match at == file.metadata.file_metadata().schema_descr().num_columns() {
        true => Ok(ParquetFile { reading: Arc::new(reading), ..file }),
        false => Err(int96::misfit()),
    }
}

/// The zone to whose clock INT96 timestamps are turned back; `None` if they are read as they are stored.
fn zone(clock: &Clock, option: Option<Int96Zone>) -> Result<Option<Tz>> {
    let known = |zone: &str| match zone.parse::<Tz>() {
        Ok(zone) => Ok(Some(zone)),
        Err(_) => Err(Error::config(format!("the file names the zone `{zone}`, which is not known here"))
            .hint("set `parquet.int96_zone` to a name or an offset that is")),
    };
    match (option, clock) {
        (Some(Int96Zone::Zone(zone)), _) => Ok(Some(zone).filter(|zone| !UTC.contains(&zone.to_string().as_str()))),
        (_, Clock::AsStored) => Ok(None),
        (Some(Int96Zone::Writer), Clock::Zone(zone)) => known(zone),
        (Some(Int96Zone::Writer), Clock::Unknown) => {
            Err(Error::config("the file does not name the zone from whose clock its INT96 timestamps were taken")
                .hint("set `parquet.int96_zone` to that zone"))
        }
        (None, Clock::Zone(zone)) => {
            let message = format!("INT96 timestamps were taken from the clock of {zone} and stored in UTC");
            Err(Error::config(message).hint(
                "set `parquet.int96_zone`: `writer` reads them as that clock showed them, `UTC` as they are stored",
            ))
        }
        (None, Clock::Unknown) => {
            let message = "INT96 timestamps may have been taken from the clock of a zone that the file does not name, and \
                           stored in UTC, as Hive does";
            Err(Error::config(message)
                .hint("set `parquet.int96_zone` to the zone of the writer, or to UTC to read them as they are stored"))
        }
    }
}

/// The innermost parts of a type, one for each column of the file.
fn flatten(ty: &DataType, parts: &mut Vec<DataType>) {
    match ty {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => flatten(item.data_type(), parts),
        DataType::Struct(fields) => fields.iter().for_each(|field| flatten(field.data_type(), parts)),
        DataType::Dictionary(_, values) => flatten(values, parts),
        plain => parts.push(plain.clone()),
    }
}

/// Whether a column holds a date or a timestamp before the cutover: by its statistics, and where there are none, by its
/// values.
async fn is_old(file: &ParquetFile, column: usize, ty: &DataType, int96: Option<&Leaf>) -> Result<bool> {
    let Some(first) = cutover(ty) else { return Ok(false) };
    if let Some(leaf) = int96 {
        return Ok(leaf.earliest.is_some_and(|earliest| earliest < i128::from(CUTOVER) * DAY_NANOS));
    }
    for group in file.metadata.row_groups() {
        let chunk = group.column(column);
        let least = match (least(chunk), chunk.column_type()) {
            (Some(least), _) => least,
            (None, Type::INT32) => {
                let mut least = i64::MAX;
                int96::each_value::<Int32Type>(file, group, column, |v| least = least.min(i64::from(*v))).await?;
                least
            }
            (None, Type::INT64) => {
                let mut least = i64::MAX;
                int96::each_value::<Int64Type>(file, group, column, |v| least = least.min(*v)).await?;
                least
            }
            (None, _) => i64::MAX,
        };
        if least < first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The least value of a part of a column by its statistics, or more than any if all are NULL.
fn least(chunk: &ColumnChunkMetaData) -> Option<i64> {
    let statistics = chunk.statistics()?;
    match statistics {
        Statistics::Int32(values) if values.min_opt().is_some() => values.min_opt().map(|v| i64::from(*v)),
        Statistics::Int64(values) if values.min_opt().is_some() => values.min_opt().copied(),
        other => {
            let all = u64::try_from(chunk.num_values()).ok()?;
            (other.null_count_opt() == Some(all)).then_some(i64::MAX)
        }
    }
}

/// Whether old dates of a column are read as those of the Julian calendar.
fn is_rebased(
    writer: &Writer,
    calendar: Calendar,
    field: &Field,
    ty: &DataType,
    option: LegacyCalendar,
) -> Result<bool> {
    match option {
        LegacyCalendar::AsStored => Ok(false),
        LegacyCalendar::Refuse => {
            let who = match calendar {
                Calendar::Unknown => "the file's writer may have",
                _ => "the file's writer has",
            };
            let message = format!("there are dates before 1582-10-15, and {who} counted them in the Julian calendar");
            Err(Error::config(message).with("column", field.name()).hint(
                "set `parquet.legacy_calendar`: `rebase` reads them as dates of the Julian calendar, `as_stored` as days of \
                 today's",
            ))
        }
        LegacyCalendar::Rebase => match (&writer.zone, ty) {
            (Some(zone), DataType::Timestamp(..)) if !UTC.contains(&zone.as_str()) => {
                let message = format!("timestamps of the Julian calendar were counted in {zone}, and here only UTC is");
                Err(Error::config(message)
                    .with("column", field.name())
                    .hint("write the file again with the program that wrote it, in UTC"))
            }
            _ => Ok(true),
        },
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
    use arrow::datatypes::Date32Type;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::{EnabledStatistics, WriterProperties};

    use super::*;
    use crate::parquet::PinnedObject;

    const MR: Option<&str> = Some("parquet-mr version 1.10.1 (build a89df8f9932b6ef6633d06069e50c9b7970bebd1)");

    fn writer(created_by: Option<&str>, notes: &[(&str, &str)]) -> (Calendar, Calendar, Clock) {
        let writer = Writer::from_notes(created_by, notes);
        (writer.calendar, writer.int96_calendar, writer.clock)
    }

    #[test]
    fn writers_are_known_by_what_they_note() {
        use Calendar::{Gregorian, Mixed, Unknown};
        let spark = |version| ("org.apache.spark.version", version);
        let stored = Clock::AsStored;
        let modern = (Gregorian, Gregorian, stored.clone());
        assert_eq!(writer(Some("parquet-cpp-arrow version 20.0.0"), &[]), modern);
        assert_eq!(writer(Some("impala version 2.9.0"), &[]), modern);
        assert_eq!(writer(MR, &[spark("3.5.1")]), modern);
        assert_eq!(writer(MR, &[spark("3.0.1")]), (Gregorian, Mixed, stored.clone()));
        assert_eq!(writer(MR, &[spark("2.4.8")]), (Mixed, Mixed, stored.clone()));
        assert_eq!(writer(MR, &[("org.apache.spark.sql.parquet.row.metadata", "{}")]), (Mixed, Mixed, stored.clone()));
        let legacy = ("org.apache.spark.legacyDateTime", "");
        assert_eq!(writer(MR, &[spark("3.2.0"), legacy]), (Mixed, Gregorian, stored.clone()));
        let legacy = ("org.apache.spark.legacyINT96", "");
        assert_eq!(writer(MR, &[spark("3.2.0"), legacy]), (Gregorian, Mixed, stored.clone()));
        assert_eq!(writer(MR, &[]), (Unknown, Unknown, Clock::Unknown));
        assert_eq!(writer(None, &[]), (Unknown, Unknown, Clock::Unknown));
        assert_eq!(writer(MR, &[("iceberg.schema", "{}")]), modern);
        let hive = |proleptic, zone| [("writer.date.proleptic", proleptic), ("writer.time.zone", zone)];
        let paris = Clock::Zone("Europe/Paris".to_string());
        assert_eq!(writer(MR, &hive("true", "Europe/Paris")), (Gregorian, Gregorian, paris));
        assert_eq!(writer(MR, &hive("false", "UTC")), (Mixed, Mixed, stored));
    }

    #[test]
    fn a_clock_is_turned_back_only_if_that_is_asked_for() {
        let paris = Clock::Zone("Europe/Paris".to_string());
        let asked = |zone: &str| Some(Int96Zone::Zone(zone.parse().unwrap()));
        let turned = |clock: &Clock, option| zone(clock, option).map(|zone| zone.map(|zone| zone.to_string()));
        assert_eq!(turned(&Clock::AsStored, None).unwrap(), None);
        assert_eq!(turned(&paris, Some(Int96Zone::Writer)).unwrap().as_deref(), Some("Europe/Paris"));
        assert_eq!(turned(&paris, asked("UTC")).unwrap(), None);
        assert_eq!(turned(&Clock::Unknown, asked("Asia/Tokyo")).unwrap().as_deref(), Some("Asia/Tokyo"));
        for (clock, option) in [(&paris, None), (&Clock::Unknown, None), (&Clock::Unknown, Some(Int96Zone::Writer))] {
            let error = zone(clock, option).unwrap_err();
            assert!(error.to_string().contains("INT96") && error.hint_text().is_some(), "{error}");
        }
        zone(&Clock::Zone("Nowhere".to_string()), Some(Int96Zone::Writer)).unwrap_err();
    }

    /// A file with these days and with the times of two of them, of a writer that leaves these notes.
    async fn file(days: Vec<Option<i32>>, notes: &[(&str, &str)], statistics: EnabledStatistics) -> ParquetFile {
        let times = days.iter().map(|d| d.map(|d| i64::from(d) * 86_400_000_000 + 1)).collect::<Vec<_>>();
        let days: ArrayRef = Arc::new(Date32Array::from(days));
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
        let batch = RecordBatch::try_from_iter([("day", days), ("at", times)]).unwrap();
        let notes = notes.iter().map(|(k, v)| KeyValue::new(k.to_string(), v.to_string())).collect();
        let properties = WriterProperties::builder()
            .set_created_by(MR.unwrap().to_string())
            .set_statistics_enabled(statistics)
            .set_key_value_metadata(Some(notes))
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t.parquet");
        store.put(&path, writer.into_inner().unwrap().into()).await.unwrap();
        let meta = store.head(&path).await.unwrap();
        ParquetFile::open(PinnedObject { store, meta }).await.unwrap()
    }

    fn reading(legacy_calendar: LegacyCalendar) -> ParquetReading {
        ParquetReading { legacy_calendar, int96_zone: None }
    }

    #[tokio::test]
    async fn old_dates_are_noticed_with_and_without_statistics() {
        let old = i32::try_from(CUTOVER).unwrap() - 1;
        for statistics in [EnabledStatistics::Chunk, EnabledStatistics::None] {
            let open = async |days, notes: &[(&str, &str)], calendar| {
                as_it_is_meant(file(days, notes, statistics).await, reading(calendar)).await
            };
            let error = open(vec![Some(0), Some(old)], &[], LegacyCalendar::Refuse).await.unwrap_err();
            let said = error.to_string();
            assert!(said.contains("may have counted them") && said.contains("column day, path t.parquet"), "{said}");
            let spark = [("org.apache.spark.version", "2.4.0")];
            let error = open(vec![Some(old)], &spark, LegacyCalendar::Refuse).await.unwrap_err();
            assert!(error.to_string().contains("the file's writer has counted them"), "{error}");

            let recent = open(vec![Some(0), None, Some(old + 1)], &[], LegacyCalendar::Refuse).await.unwrap();
            assert!(recent.reading.is_as_stored());
            assert!(open(vec![None], &[], LegacyCalendar::Refuse).await.unwrap().reading.is_as_stored());
            let modern = [("org.apache.spark.version", "3.5.0")];
            assert!(open(vec![Some(old)], &modern, LegacyCalendar::Rebase).await.unwrap().reading.is_as_stored());
            assert!(open(vec![Some(old)], &[], LegacyCalendar::AsStored).await.unwrap().reading.is_as_stored());

            let rebased = open(vec![Some(old)], &[], LegacyCalendar::Rebase).await.unwrap().reading;
            assert_eq!(rebased.rebased, ["day", "at"]);
            let elsewhere = [("org.apache.spark.version", "2.4.0"), ("org.apache.spark.timeZone", "America/New_York")];
            let error = open(vec![Some(old)], &elsewhere, LegacyCalendar::Rebase).await.unwrap_err();
            assert!(error.to_string().contains("counted in America/New_York"), "{error}");
        }
    }

    #[test]
    fn rows_are_read_as_they_are_meant() {
        let old = i32::try_from(CUTOVER).unwrap() - 1;
        let column = || Arc::new(Date32Array::from(vec![Some(old), None])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("a", column()), ("b", column())]).unwrap();
        let reading = Reading { rebased: vec!["b".to_string()], shifted: None };
        let read = reading.apply(&batch).unwrap();
        let days = |at: usize| read.column(at).as_primitive::<Date32Type>().clone();
        assert_eq!((days(0).value(0), days(1).value(0), days(1).is_null(1)), (old, old - 10, true));
    }
}
