//! Days and times as the server counts them: from the first day of 2000, and in microseconds.
//!
//! The bounds are those of the server's `timestamp.h`. The codes for infinity lie outside of them, so no value becomes one.

use super::Unfit;

/// From 1970-01-01 to 2000-01-01.
const DAYS: i64 = 10_957;
const MICROS: i64 = DAYS * 86_400_000_000;

/// 4713-11-24 BC, where Julian days begin, and the day after 5874897-12-31.
const FIRST_DAY: i64 = -2_451_545;
const AFTER_LAST_DAY: i64 = 2_147_483_494 - 2_451_545;

/// The same moment, and the one after the last of 294276.
const FIRST_MICRO: i64 = -211_813_488_000_000_000;
const AFTER_LAST_MICRO: i64 = 9_223_371_331_200_000_000;

const DAY_MICROS: i64 = 86_400_000_000;

/// A moment, in microseconds from 1970.
pub(super) fn moment(micros: i64) -> Result<i64, Unfit> {
    let micros = micros.checked_sub(MICROS).filter(|micros| (FIRST_MICRO..AFTER_LAST_MICRO).contains(micros));
    micros.ok_or(Unfit::Moment)
}

/// A time of day, in microseconds.
pub(super) fn of_day(micros: i64) -> Result<i64, Unfit> {
    match (0..DAY_MICROS).contains(&micros) {
        true => Ok(micros),
        false => Err(Unfit::OfDay),
    }
}

/// A day, counted from 1970.
pub(super) fn day(days: i64) -> Result<i32, Unfit> {
    let days = days.checked_sub(DAYS).filter(|days| (FIRST_DAY..AFTER_LAST_DAY).contains(days));
    days.and_then(|days| i32::try_from(days).ok()).ok_or(Unfit::Day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_2000() {
        assert_eq!(day(10_957), Ok(0));
        assert_eq!(day(0), Ok(-10_957));
        // 0001-01-01 and 9999-12-31
        assert_eq!((day(-719_162), day(2_932_896)), (Ok(-730_119), Ok(2_921_939)));
        // The first and the last day of the server's, and those beside them.
        assert_eq!((day(-2_440_588), day(-2_440_589)), (Ok(-2_451_545), Err(Unfit::Day)));
        assert_eq!((day(2_145_042_905), day(2_145_042_906)), (Ok(2_145_031_948), Err(Unfit::Day)));
        for far in [i64::from(i32::MIN), i64::from(i32::MAX), i64::MIN, i64::MAX] {
            assert_eq!(day(far), Err(Unfit::Day));
        }
    }

    #[test]
    fn moments_are_counted_from_2000_and_never_infinite() {
        assert_eq!(moment(946_684_800_000_125), Ok(125));
        assert_eq!(moment(-1), Ok(-946_684_800_000_001));
        assert_eq!(moment(-210_866_803_200_000_000), Ok(FIRST_MICRO));
        assert_eq!(moment(-210_866_803_200_000_001), Err(Unfit::Moment));
        for far in [i64::MIN, i64::MIN + 1] {
            assert_eq!(moment(far), Err(Unfit::Moment));
        }
        // The last moment of 64 bits is in the year 294247, which the server has.
        assert_eq!(moment(i64::MAX), Ok(i64::MAX - MICROS));
    }

    #[test]
    fn a_time_of_day_is_within_the_day() {
        assert_eq!((of_day(0), of_day(86_399_999_999)), (Ok(0), Ok(86_399_999_999)));
        for far in [86_400_000_000, -1, i64::MAX, i64::MIN] {
            assert_eq!(of_day(far), Err(Unfit::OfDay));
        }
    }
}
