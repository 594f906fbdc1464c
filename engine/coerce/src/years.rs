//! Timestamps of years with a sign, as ISO 8601 has it before the year 0 and after 9999: `-0043-03-15 12:00:00`,
//! `+10000-01-01T00:00:00Z`. The kernel library reads years of four digits, though its values reach much further.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use transload_core::{LogicalType, Result};

use crate::cast::convert;
use crate::text::parse;

const DAY_NANOS: i128 = 86_400_000_000_000;

/// The day on which a clock is read that is the same on every day.
const STAND_IN: &str = "1970-01-01";

/// Reads the texts whose years have a sign as values of `to`; NULL where that cannot be done. What others are is in `values`.
pub(crate) fn timestamps(texts: &StringArray, values: ArrayRef, to: &LogicalType) -> Result<ArrayRef> {
    let LogicalType::Timestamp(unit, zone) = to else { return Ok(values) };
    if !texts.iter().flatten().any(is_signed) {
        return Ok(values);
    }
    let signed: Vec<Option<(&str, String)>> = texts.iter().map(|text| parts(text?, zone.as_deref())).collect();
    let days: StringArray = signed.iter().map(|parts| parts.as_ref().map(|(day, _)| *day)).collect();
    let clocks: StringArray = signed.iter().map(|parts| parts.as_ref().map(|(_, clock)| clock.as_str())).collect();
    let (Some(days), Some(clocks)) = (parse(&days, &LogicalType::Date)?, parse(&clocks, to)?) else {
        return Ok(values);
    };
    let (clocks, near) = (convert(&clocks, &DataType::Int64)?, convert(&values, &DataType::Int64)?);
    let (days, clocks, near) =
        (days.as_primitive::<Date32Type>(), clocks.as_primitive::<Int64Type>(), near.as_primitive::<Int64Type>());
    let ticks_of_a_day = DAY_NANOS / i128::from(unit.nanos());
    let far = |row: usize| {
        let ticks = i128::from(days.value(row)) * ticks_of_a_day + i128::from(clocks.value(row));
        i64::try_from(ticks).ok().filter(|_| days.is_valid(row) && clocks.is_valid(row))
    };
    let ticks: Int64Array = (0..texts.len())
        .map(|row| match signed[row] {
            Some(_) => far(row),
            None => near.is_valid(row).then(|| near.value(row)),
        })
        .collect();
    let ticks: ArrayRef = Arc::new(ticks);
    convert(&ticks, &to.to_arrow())
}

fn is_signed(text: &str) -> bool {
    text.starts_with(['+', '-'])
}

/// The day of a text whose year has a sign, and its clock behind another day. `None` for other texts, and for a clock that
/// depends on the day: it would have to be known how far from UTC a zone is in a year far away.
fn parts<'t>(text: &'t str, zone: Option<&str>) -> Option<(&'t str, String)> {
    if !is_signed(text) {
        return None;
    }
    let (day, clock) = text.split_at(text.find(['T', 't', ' ']).unwrap_or(text.len()));
    let is_day = day.bytes().skip(1).all(|b| b.is_ascii_digit() || b == b'-');
    let names_zone = clock.chars().skip(1).any(|c| c.is_alphabetic() && !matches!(c, 'Z' | 'z'));
    let is_steady =
        clock.contains(['Z', 'z', '+', '-']) || zone.is_none_or(|zone| zone == "UTC" || zone.starts_with(['+', '-']));
    (is_day && !names_zone && is_steady).then(|| (day, format!("{STAND_IN}{clock}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text is, in units since 1970.
    fn read(text: &str, to: &str) -> Option<i64> {
        let texts = StringArray::from(vec![None, Some("1970-01-02"), Some(text)]);
        let values = parse(&texts, &to.parse().unwrap()).unwrap().unwrap();
        let values = convert(&values, &DataType::Int64).unwrap();
        let values = values.as_primitive::<Int64Type>();
        assert!(values.is_null(0) && values.is_valid(1) && values.value(1) > 0, "{text}");
        values.is_valid(2).then(|| values.value(2))
    }

    #[test]
    fn years_with_a_sign_are_exact() {
        const DAY: i64 = 86_400_000_000;
        for (text, micros) in [
            // The Ides of March.
            ("-0043-03-15 12:34:56.789", -735_160 * DAY + 45_296_789_000),
            ("-4712-01-01T00:00:00", -210_863_520_000_000_000),
            ("-0000-12-31 23:59:59.999999", -62_135_596_800_000_001),
            ("-0001-01-01", -719_893 * DAY),
            ("+0001-01-01", -62_135_596_800_000_000),
            ("+10000-01-01", 253_402_300_800_000_000),
            // As far as 64 bits reach.
            ("+294247-01-10 04:00:54.775807", i64::MAX),
            ("-290308-12-21 19:59:05.224192", i64::MIN),
        ] {
            assert_eq!(read(text, "timestamp(us)"), Some(micros), "{text}");
        }
        assert_eq!(read("+10000-01-01 00:00:01", "timestamp(s)"), Some(253_402_300_801));
        assert_eq!(read("+2000-01-01 00:00:00.000000001", "timestamp(ns)"), Some(946_684_800_000_000_001));
    }

    #[test]
    fn what_would_get_lost_does_not_fit() {
        for text in [
            "+294247-01-10 04:00:54.775808",
            "-290308-12-21 19:59:05.224191",
            "+10000-01-01 00:00:00.1234567",
            "+10000-01-01 00:00:00Z",
            "+10000-01-01 23:59:60",
            "+10000-01-01 24:00:00",
            "+10000-02-30",
            "+10000-+1-01",
            "-043-03-15",
            "+10000-01-01x",
            "+10000-01-01 ",
            "0044-03-15 BC",
            "+",
            "-",
        ] {
            assert_eq!(read(text, "timestamp(us)"), None, "{text}");
        }
        assert_eq!(read("+10000-01-01", "timestamp(ns)"), None);
    }

    #[test]
    fn a_clock_counts_if_it_is_the_same_on_every_day() {
        const MIDNIGHT: i64 = 253_402_300_800_000_000;
        for (text, to, micros) in [
            ("+10000-01-01 00:00:00+00", "timestamp(us, UTC)", Some(MIDNIGHT)),
            ("+10000-01-01 00:00:00", "timestamp(us, UTC)", Some(MIDNIGHT)),
            ("+10000-01-01T02:00:00+02:00", "timestamp(us, UTC)", Some(MIDNIGHT)),
            ("+10000-01-01 02:00:00", "timestamp(us, +02:00)", Some(MIDNIGHT)),
            ("+10000-01-01T00:00:00Z", "timestamp(us, Europe/Berlin)", Some(MIDNIGHT)),
            ("+10000-01-01 00:00:00", "timestamp(us, Europe/Berlin)", None),
            ("+10000-01-01 00:00:00 Europe/Berlin", "timestamp(us, UTC)", None),
            ("+10000-01-01 00:00:00 CET", "timestamp(us, UTC)", None),
        ] {
            assert_eq!(read(text, to), micros, "{text} {to}");
        }
    }
}
