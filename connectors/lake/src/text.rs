//! Values as texts, each in the form in which the casts of the rulebook read it back as it was.

use std::io::Write;

use transload_core::types::Unit;

use crate::cells::Values;

/// Days in 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

const DAY_SECONDS: i64 = 86_400;

/// Why a value cannot be written.
pub(crate) type Reason = &'static str;

/// Writes a value that is not NULL and not made of others.
///
/// # Errors
/// Why it cannot be written: there is no text that would be read back as this value.
pub(crate) fn write(values: &Values<'_>, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
    match values {
        Values::Bool(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
        Values::Int(values) => put(out, format_args!("{}", values.at(row))),
        Values::UInt64(values) => put(out, format_args!("{}", values[row])),
        // The shortest text that is read as this float.
        Values::Float32(values) => put(out, format_args!("{:?}", values[row])),
        Values::Float64(values) => put(out, format_args!("{:?}", values[row])),
        Values::Decimal128(values) => out.extend_from_slice(values.value_as_string(row).as_bytes()),
        Values::Decimal256(values) => out.extend_from_slice(values.value_as_string(row).as_bytes()),
        Values::Text(values) => out.extend_from_slice(values.at(row).as_bytes()),
        Values::Uuid(values) => uuid(values.value(row), out),
        Values::Date(values) => date(values[row].into(), out),
        Values::Time32(values, unit) => time(values[row].into(), *unit, out)?,
        Values::Time64(values, unit) => time(values[row], *unit, out)?,
        Values::Timestamp(values, unit, is_zoned) => timestamp(values[row], *unit, *is_zoned, out)?,
        Values::Bytes(_) | Values::List(..) | Values::Struct(_) | Values::Map(..) => {
            return Err("it has no form as a text");
        }
    }
    Ok(())
}

/// Writing into memory never fails.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn uuid(bytes: &[u8], out: &mut Vec<u8>) {
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        put(out, format_args!("{byte:02x}"));
    }
}

/// A day since 1970-01-01, in the proleptic Gregorian calendar. Years before 0 and after 9999 have a sign.
fn date(day: i64, out: &mut Vec<u8>) {
    // Years begin in March here, so that the day that may be missing is the last one.
    let shifted = day + EPOCH_DAYS;
    let (era, day_of_era) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    match year {
        0..=9999 => put(out, format_args!("{year:04}-{month:02}-{day:02}")),
        _ => put(out, format_args!("{year:+05}-{month:02}-{day:02}")),
    }
}

fn time(ticks: i64, unit: Unit, out: &mut Vec<u8>) -> Result<(), Reason> {
    let per_second = 1_000_000_000 / unit.nanos();
    let seconds = ticks.div_euclid(per_second);
    if !(0..DAY_SECONDS).contains(&seconds) {
        return Err("it is a time of day outside of the day");
    }
    clock(seconds, ticks.rem_euclid(per_second), unit, out);
    Ok(())
}

fn timestamp(ticks: i64, unit: Unit, is_zoned: bool, out: &mut Vec<u8>) -> Result<(), Reason> {
    let per_second = 1_000_000_000 / unit.nanos();
    let (seconds, fraction) = (ticks.div_euclid(per_second), ticks.rem_euclid(per_second));
    let start = out.len();
    date(seconds.div_euclid(DAY_SECONDS), out);
    if out.len() - start != "0000-00-00".len() {
        out.truncate(start);
        return Err("it lies outside of the years 0 to 9999, and a timestamp in a text has four digits for its year");
    }
    out.push(b'T');
    clock(seconds.rem_euclid(DAY_SECONDS), fraction, unit, out);
    if is_zoned {
        out.push(b'Z');
    }
    Ok(())
}

/// A second of a day and the ticks in it.
fn clock(second: i64, fraction: i64, unit: Unit, out: &mut Vec<u8>) {
    put(out, format_args!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60));
    if fraction != 0 {
        match unit {
            Unit::S => {}
            Unit::Ms => put(out, format_args!(".{fraction:03}")),
            Unit::Us => put(out, format_args!(".{fraction:06}")),
            Unit::Ns => put(out, format_args!(".{fraction:09}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate, NaiveTime, Timelike};

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let dated = |day: i64| text(|out| date(day, out));
        assert_eq!(dated(0), "1970-01-01");
        assert_eq!(dated(-1), "1969-12-31");
        assert_eq!(dated(-719_528), "0000-01-01");
        assert_eq!(dated(-719_529), "-0001-12-31");
        assert_eq!(dated(2_932_896), "9999-12-31");
        assert_eq!(dated(2_932_897), "+10000-01-01");
        assert_eq!(dated(i32::MAX.into()), "+5881580-07-11");
        assert_eq!(dated(i32::MIN.into()), "-5877641-06-23");
        for day in (-200_000..200_000).step_by(37) {
            let known = NaiveDate::from_epoch_days(day).unwrap();
            assert_eq!(dated(day.into()), format!("{:04}-{:02}-{:02}", known.year(), known.month(), known.day()));
        }
    }

    #[test]
    fn times_are_those_of_the_clock() {
        let timed = |ticks: i64, unit: Unit| {
            let mut out = Vec::new();
            time(ticks, unit, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(timed(0, Unit::S).unwrap(), "00:00:00");
        assert_eq!(timed(86_399, Unit::S).unwrap(), "23:59:59");
        assert_eq!(timed(86_399_999, Unit::Ms).unwrap(), "23:59:59.999");
        assert_eq!(timed(1, Unit::Us).unwrap(), "00:00:00.000001");
        assert_eq!(timed(3_600_000_000_001, Unit::Ns).unwrap(), "01:00:00.000000001");
        for (ticks, unit) in [(-1, Unit::Us), (86_400, Unit::S), (86_400_000_000, Unit::Us), (i64::MAX, Unit::Ns)] {
            timed(ticks, unit).unwrap_err();
        }
        let known = NaiveTime::from_num_seconds_from_midnight_opt(45_296, 789_000_000).unwrap();
        let ticks = i64::from(known.num_seconds_from_midnight()) * 1000 + 789;
        assert_eq!(timed(ticks, Unit::Ms).unwrap(), known.to_string());
    }

    #[test]
    fn timestamps_have_four_digits_for_their_year() {
        let at = |ticks: i64, unit: Unit, is_zoned: bool| {
            let mut out = Vec::new();
            timestamp(ticks, unit, is_zoned, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(at(0, Unit::S, false).unwrap(), "1970-01-01T00:00:00");
        assert_eq!(at(-1, Unit::Us, true).unwrap(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(at(253_402_300_799_999, Unit::Ms, false).unwrap(), "9999-12-31T23:59:59.999");
        assert_eq!(at(i64::MAX, Unit::Ns, true).unwrap(), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(at(i64::MIN, Unit::Ns, true).unwrap(), "1677-09-21T00:12:43.145224192Z");
        for (ticks, unit) in [(253_402_300_800, Unit::S), (i64::MAX, Unit::Us), (i64::MIN, Unit::S)] {
            at(ticks, unit, false).unwrap_err();
        }
    }

    #[test]
    fn floats_and_identifiers_are_short() {
        let floats = [0.1, -0.0, 1.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324];
        let written = |row| text(|out| write(&Values::Float64(&floats), row, out).unwrap());
        let all: Vec<String> = (0..floats.len()).map(written).collect();
        assert_eq!(all, ["0.1", "-0.0", "1.0", "1e300", "NaN", "inf", "-inf", "5e-324"]);
        let id = [0x55, 0x0e, 0x84, 0x00, 0xe2, 0x9b, 0x41, 0xd4, 0xa7, 0x16, 0x44, 0x66, 0x55, 0x44, 0x00, 0x00];
        assert_eq!(text(|out| uuid(&id, out)), "550e8400-e29b-41d4-a716-446655440000");
    }
}
