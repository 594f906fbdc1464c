//! Dates, times, timestamps and intervals.
//!
//! The server counts from 2000-01-01, Arrow from 1970-01-01; both in the proleptic Gregorian calendar.

use arrow::datatypes::IntervalMonthDayNano;

use super::fault::Fault;
use super::reader::{Reader, fixed};

/// From 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY_MICROS;

/// Days since 1970-01-01.
#[inline]
pub(crate) fn date(value: &[u8]) -> Result<i32, Fault> {
    match i32::from_be_bytes(fixed(value)?) {
        i32::MIN | i32::MAX => Err(Fault::Special("an infinite date")),
        days => days.checked_add(EPOCH_DAYS).ok_or(Fault::Special("a date too far away")),
    }
}

/// Microseconds since midnight. The server has a time of day that Arrow has not: the end of the day.
#[inline]
pub(crate) fn time(value: &[u8]) -> Result<i64, Fault> {
    match i64::from_be_bytes(fixed(value)?) {
        micros @ 0..DAY_MICROS => Ok(micros),
        DAY_MICROS => Err(Fault::Special("the end of a day (24:00)")),
        _ => Err(Fault::Broken),
    }
}

/// Microseconds since 1970-01-01 00:00.
#[inline]
pub(crate) fn timestamp(value: &[u8]) -> Result<i64, Fault> {
    match i64::from_be_bytes(fixed(value)?) {
        i64::MIN | i64::MAX => Err(Fault::Special("an infinite timestamp")),
        micros => micros.checked_add(EPOCH_MICROS).ok_or(Fault::Special("a timestamp too far away")),
    }
}

/// Months, days and the rest, as they are kept.
///
/// # Errors
/// [`Fault::Special`] where the microseconds have no place in 64 bits of nanoseconds (292 years), as in an infinite interval.
pub(crate) fn interval(value: &[u8]) -> Result<IntervalMonthDayNano, Fault> {
    let (micros, rest) = value.split_first_chunk::<8>().ok_or(Fault::Broken)?;
    let mut rest = Reader::new(rest);
    let (days, months) = (rest.int()?, rest.int()?);
    rest.end()?;
    let micros = i64::from_be_bytes(*micros);
    match (micros, days, months) {
        (i64::MIN, i32::MIN, i32::MIN) | (i64::MAX, i32::MAX, i32::MAX) => Err(Fault::Special("an infinite interval")),
        _ => {
            let nanos =
                micros.checked_mul(1_000).ok_or(Fault::Special("an interval of more than 292 years of time"))?;
            Ok(IntervalMonthDayNano::new(months, days, nanos))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL 15 sends them.
    #[test]
    fn dates_of_every_age_are_exact() {
        for (sent, days) in [
            (0x0000_0000_u32, 10_957),
            (0xffff_d533, 0),
            // 4713-01-01 BC, 44-03-15 BC and 5874897-12-31
            (0xffda_97cd, -2_440_550),
            (0xfff4_9d7b, -735_160),
            (0x7fda_970c, 2_145_042_905),
        ] {
            assert_eq!(date(&sent.to_be_bytes()), Ok(days));
        }
        assert_eq!(date(&[0; 3]), Err(Fault::Broken));
    }

    #[test]
    fn timestamps_of_every_age_are_exact() {
        for (sent, micros) in [
            (0x0000_0000_0000_0000_u64, 946_684_800_000_000),
            (0xfffc_a2fe_c4c8_2000, 0),
            // 4713-01-01 BC, 0001-01-01 and the last one that 64 bits hold: 294247-01-10 04:00:54.775807
            (0xfd0f_7fbd_af17_e000, -210_863_520_000_000_000),
            (0xff1f_e2ff_c59c_6000, -62_135_596_800_000_000),
            (0x7ffc_a2fe_c4c8_1fff, i64::MAX),
        ] {
            assert_eq!(timestamp(&sent.to_be_bytes()), Ok(micros));
        }
    }

    #[test]
    fn what_is_infinite_or_too_far_away_is_special() {
        for sent in [i32::MIN, i32::MAX, i32::MAX - 1] {
            assert!(matches!(date(&sent.to_be_bytes()), Err(Fault::Special(_))), "{sent}");
        }
        // The last two are a microsecond too far, and 294276-12-31 23:59:59.999999.
        for sent in [i64::MIN, i64::MAX, 0x7ffc_a2fe_c4c8_2000, 0x7fff_ff5b_b3b2_9fff] {
            assert!(matches!(timestamp(&sent.to_be_bytes()), Err(Fault::Special(_))), "{sent}");
        }
    }

    #[test]
    fn a_time_of_day_ends_before_midnight() {
        assert_eq!(time(&0_i64.to_be_bytes()), Ok(0));
        assert_eq!(time(&0x14_1dd7_5fff_i64.to_be_bytes()), Ok(86_399_999_999));
        assert!(matches!(time(&0x14_1dd7_6000_i64.to_be_bytes()), Err(Fault::Special(_))));
        for sent in [-1, 0x14_1dd7_6001, i64::MAX] {
            assert_eq!(time(&sent.to_be_bytes()), Err(Fault::Broken), "{sent}");
        }
    }

    fn sent(micros: i64, days: i32, months: i32) -> Vec<u8> {
        [micros.to_be_bytes().as_slice(), &days.to_be_bytes(), &months.to_be_bytes()].concat()
    }

    #[test]
    fn the_parts_of_an_interval_stay_apart() {
        // 1 year 2 months -3 days 04:05:06.789
        let value = sent(0x3_6c97_ca88, -3, 14);
        assert_eq!(interval(&value), Ok(IntervalMonthDayNano::new(14, -3, 14_706_789_000_000)));
        let longest = i64::MAX / 1_000;
        assert_eq!(interval(&sent(longest, 0, 0)), Ok(IntervalMonthDayNano::new(0, 0, longest * 1_000)));
        assert_eq!(interval(&sent(-longest, 0, 0)), Ok(IntervalMonthDayNano::new(0, 0, longest * -1_000)));
    }

    #[test]
    fn an_interval_beyond_64_bits_of_nanoseconds_is_special() {
        for (micros, days, months) in [
            (i64::MAX / 1_000 + 1, 0, 0),
            (i64::MIN, i32::MIN, i32::MIN),
            (i64::MAX, i32::MAX, i32::MAX),
            (i64::MIN, 0, 0),
        ] {
            assert!(matches!(interval(&sent(micros, days, months)), Err(Fault::Special(_))), "{micros}");
        }
        let short = sent(1, 2, 3);
        assert_eq!(interval(&short[..15]), Err(Fault::Broken));
        assert_eq!(interval(&[short.as_slice(), &[0]].concat()), Err(Fault::Broken));
    }
}
