//! Dates of the Julian calendar, and clocks of other zones, in files of old writers.
//!
//! Until 1582-10-04 the calendar was the Julian one; the next day was 1582-10-15. Old programs count days of the past in that
//! mixed calendar, all others by the rules of today, back for ever. Both store a number of days, and the file rarely says
//! which calendar it was counted in.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, make_array};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use chrono::{DateTime, Offset, TimeZone};
use transload_core::types::Unit;
use transload_core::{Error, Result};

/// The first day of the Gregorian calendar, 1582-10-15, in days since 1970-01-01.
pub(crate) const CUTOVER: i64 = -141_427;

/// Days from 1970-01-01 back to 0000-03-01 of the Julian calendar.
const JULIAN_EPOCH_DAYS: i64 = 719_470;
/// Days in four years of the Julian calendar.
const JULIAN_CYCLE: i64 = 1461;
/// Days from 0000-03-01 to 1970-01-01, and days in 400 years, of the Gregorian one.
const GREGORIAN_EPOCH_DAYS: i64 = 719_468;
const GREGORIAN_ERA: i64 = 146_097;

const DAY_SECONDS: i64 = 86_400;

/// The day that has the same date by the rules of today as `day` has in the Julian calendar; `None` if there is none,
/// as for 1500-02-29.
pub(crate) fn rebased(day: i64) -> Option<i64> {
    if day >= CUTOVER {
        return Some(day);
    }
    // Years begin in March here, so that the day that may be missing is the last one.
    let shifted = day.checked_add(JULIAN_EPOCH_DAYS)?;
    let (cycle, day_of_cycle) = (shifted.div_euclid(JULIAN_CYCLE), shifted.rem_euclid(JULIAN_CYCLE));
    let year_of_cycle = (day_of_cycle / 365).min(3);
    let (year, day_of_year) = (cycle * 4 + year_of_cycle, day_of_cycle - 365 * year_of_cycle);
    // The last day of such a year, 29 February, is day 365 of it; it is there if the year that follows in January has it.
    let (civil, leap_day) = (year + 1, 365);
    let is_leap = civil.rem_euclid(4) == 0 && (civil.rem_euclid(100) != 0 || civil.rem_euclid(400) == 0);
    if day_of_year == leap_day && !is_leap {
        return None;
    }
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * GREGORIAN_ERA + day_of_era - GREGORIAN_EPOCH_DAYS)
}

/// The smallest tick of a type of dates or timestamps that is not before the [`CUTOVER`]; `None` for other types.
pub(crate) fn cutover(ty: &DataType) -> Option<i64> {
    match ty {
        DataType::Date32 => Some(CUTOVER),
        DataType::Date64 => Some(CUTOVER * DAY_SECONDS * 1000),
        // Nanoseconds do not reach back so far.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(i64::MIN),
        DataType::Timestamp(unit, _) => Some(CUTOVER * DAY_SECONDS * per_second((*unit).into())),
        _ => None,
    }
}

fn per_second(unit: Unit) -> i64 {
    1_000_000_000 / unit.nanos()
}

/// What is done to an innermost part of a column; `None` for what is left as it is.
type Reading<'r> = &'r dyn Fn(&ArrayRef) -> Result<Option<ArrayRef>>;

/// The same column with each innermost part read in another way.
pub(crate) fn each_part(array: &ArrayRef, reading: Reading<'_>) -> Result<ArrayRef> {
    if let Some(done) = reading(array)? {
        return Ok(done);
    }
    let data = array.to_data();
    if data.child_data().is_empty() {
        return Ok(Arc::clone(array));
    }
    let child = |child: &arrow::array::ArrayData| Ok(each_part(&make_array(child.clone()), reading)?.to_data());
    let children = data.child_data().iter().map(child).collect::<Result<Vec<_>>>()?;
    Ok(make_array(data.into_builder().child_data(children).build()?))
}

/// Dates and timestamps, of which those before the cutover are read as dates of the Julian calendar.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for a day that only the Julian calendar has.
pub(crate) fn rebase(array: &ArrayRef) -> Result<Option<ArrayRef>> {
    let day = |day: i64| {
        rebased(day).ok_or_else(|| {
            Error::config("a date is a leap day that only the Julian calendar has, such as 1500-02-29")
                .hint("repair the file, or read it with `legacy_calendar: as_stored`")
        })
    };
    // The time of the day stays.
    let ticks = |ticks: i64, per_day: i64| {
        let out_of_range = || Error::config("a timestamp in the Julian calendar is out of range in today's");
        let moved = day(ticks.div_euclid(per_day))?.checked_mul(per_day);
        moved.and_then(|start| start.checked_add(ticks.rem_euclid(per_day))).ok_or_else(out_of_range)
    };
    match array.data_type() {
        DataType::Date32 => {
            let days = |days: i32| i32::try_from(day(days.into())?).map_err(|e| Error::internal("a day").because(e));
            mapped::<Date32Type>(array, days)
        }
        DataType::Date64 => mapped::<Date64Type>(array, |v| ticks(v, DAY_SECONDS * 1000)),
        DataType::Timestamp(unit, _) => {
            let per_day = DAY_SECONDS * per_second((*unit).into());
            timestamps(array, *unit, |v| ticks(v, per_day))
        }
        _ => Ok(None),
    }
}

/// Whether a column holds a date or a timestamp before the cutover.
pub(crate) fn is_before_cutover(array: &ArrayRef) -> bool {
    let found = std::cell::Cell::new(false);
    let look = |array: &ArrayRef| {
        let Some(first) = cutover(array.data_type()) else { return Ok(None) };
        let before = |v: i64| -> Result<i64> {
            found.set(found.get() || v < first);
            Ok(v)
        };
        match array.data_type() {
            DataType::Date32 => mapped::<Date32Type>(array, |v| before(v.into()).map(|_| v)),
            DataType::Date64 => mapped::<Date64Type>(array, before),
            DataType::Timestamp(unit, _) => timestamps(array, *unit, before),
            _ => Ok(None),
        }
    };
    // Looking changes nothing, and cannot fail.
    let _ = each_part(array, &look);
    found.get()
}

/// Timestamps that were stored as points in time, as the wall clocks of a zone at those times.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for one that is out of range.
pub(crate) fn to_wall_clock(array: &ArrayRef, zone: Tz) -> Result<Option<ArrayRef>> {
    let DataType::Timestamp(unit, None) = array.data_type() else { return Ok(None) };
    let per_second = per_second((*unit).into());
    timestamps(array, *unit, |ticks| {
        let out_of_range = || Error::config("a timestamp is out of the range that zones are known for");
        let instant = DateTime::from_timestamp(ticks.div_euclid(per_second), 0).ok_or_else(out_of_range)?;
        let offset = i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc());
        ticks.checked_add(offset * per_second).ok_or_else(out_of_range)
    })
}

fn timestamps(array: &ArrayRef, unit: TimeUnit, tick: impl Fn(i64) -> Result<i64>) -> Result<Option<ArrayRef>> {
    match unit {
        TimeUnit::Second => mapped::<TimestampSecondType>(array, tick),
        TimeUnit::Millisecond => mapped::<TimestampMillisecondType>(array, tick),
        TimeUnit::Microsecond => mapped::<TimestampMicrosecondType>(array, tick),
        TimeUnit::Nanosecond => mapped::<TimestampNanosecondType>(array, tick),
    }
}

/// The values that are not NULL, each made another one of the same type.
fn mapped<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    value: impl Fn(T::Native) -> Result<T::Native>,
) -> Result<Option<ArrayRef>> {
    let done: PrimitiveArray<T> = array.as_primitive::<T>().try_unary(value)?;
    Ok(Some(Arc::new(done.with_data_type(array.data_type().clone()))))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, ListArray, TimestampMicrosecondArray, TimestampSecondArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;
    use chrono::NaiveDate;

    use super::*;

    fn day(year: i32, month: u32, day: u32) -> i64 {
        i64::from(NaiveDate::from_ymd_opt(year, month, day).unwrap().to_epoch_days())
    }

    #[test]
    fn dates_keep_their_names() {
        // Ten days were left out in 1582; before each century that is no leap year today there is one day less.
        assert_eq!(rebased(CUTOVER), Some(day(1582, 10, 15)));
        assert_eq!(rebased(CUTOVER - 1), Some(day(1582, 10, 4)));
        assert_eq!(rebased(CUTOVER - 2), Some(day(1582, 10, 3)));
        assert_eq!(rebased(day(1500, 3, 11)), Some(day(1500, 3, 1)));
        assert_eq!(rebased(day(1500, 3, 10)), None);
        assert_eq!(rebased(day(1500, 3, 9)), Some(day(1500, 2, 28)));
        // What other programs store for 0001-01-01 and 1001-01-01.
        assert_eq!(rebased(-719_164), Some(day(1, 1, 1)));
        assert_eq!(rebased(day(1001, 1, 7)), Some(day(1001, 1, 1)));
        for today in [0, -1, day(1600, 2, 29), day(1582, 10, 16)] {
            assert_eq!(rebased(today), Some(today));
        }
    }

    #[test]
    fn every_julian_day_has_a_date_of_its_own() {
        let days: Vec<i64> = (-800_000..CUTOVER).filter_map(rebased).collect();
        assert!(days.windows(2).all(|pair| pair[1] == pair[0] + 1));
        let gone = (-719_164..CUTOVER).filter(|day| rebased(*day).is_none()).count();
        // 100, 200, 300, 500, 600, 700, 900, 1000, 1100, 1300, 1400, 1500.
        assert_eq!(gone, 12);
    }

    #[test]
    fn columns_are_read_in_the_other_calendar_with_their_parts() {
        let julian = i32::try_from(CUTOVER - 1).unwrap();
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), None, Some(julian)]));
        assert!(is_before_cutover(&days) && !is_before_cutover(&days.slice(0, 2)));
        let item = Arc::new(Field::new("item", DataType::Date32, true));
        let lists: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1, 2]), days, None));
        assert!(is_before_cutover(&lists));
        let read = each_part(&lists, &rebase).unwrap();
        let values = read.as_list::<i32>().values().as_primitive::<Date32Type>().clone();
        assert_eq!((values.value(0), values.is_null(1), i64::from(values.value(2))), (0, true, day(1582, 10, 4)));

        let noon = (CUTOVER - 1) * DAY_SECONDS + 43_200;
        let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![noon]).with_timezone("UTC"));
        let read = rebase(&times).unwrap().unwrap();
        assert_eq!(read.data_type(), times.data_type());
        let moved = read.as_primitive::<TimestampSecondType>().value(0);
        assert_eq!(moved, day(1582, 10, 4) * DAY_SECONDS + 43_200);
    }

    #[test]
    fn clocks_are_those_of_their_zone() {
        let hours = |hour: i64| hour * 3_600_000_000;
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(hours(8)), None]));
        let zone: Tz = "America/Los_Angeles".parse().unwrap();
        let read = to_wall_clock(&times, zone).unwrap().unwrap();
        let read = read.as_primitive::<TimestampMicrosecondType>();
        assert_eq!((read.value(0), read.is_null(1)), (0, true));
        let summer: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![day(2024, 7, 1) * 86_400_000_000]));
        let read = to_wall_clock(&summer, zone).unwrap().unwrap();
        assert_eq!(
            read.as_primitive::<TimestampMicrosecondType>().value(0),
            day(2024, 7, 1) * 86_400_000_000 - hours(7)
        );
    }
}
