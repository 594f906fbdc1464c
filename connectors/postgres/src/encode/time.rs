//! Days, times and spans of time as the server counts them: from the first day of 2000, and in microseconds.
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

/// How ticks become microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ticks {
    /// One tick is so many of them.
    Times(i64),
    /// A thousand ticks are one.
    Nanos,
}

impl Ticks {
    fn micros(self, ticks: i64) -> Result<i64, Unfit> {
        match self {
            Self::Times(micros) => ticks.checked_mul(micros).ok_or(Unfit::Moment),
            Self::Nanos if ticks % 1_000 == 0 => Ok(ticks / 1_000),
            Self::Nanos => Err(Unfit::Fine),
        }
    }

    /// A moment, counted from 1970.
    pub(super) fn moment(self, ticks: i64) -> Result<i64, Unfit> {
        let micros = self.micros(ticks)?.checked_sub(MICROS).ok_or(Unfit::Moment)?;
        match (FIRST_MICRO..AFTER_LAST_MICRO).contains(&micros) {
            true => Ok(micros),
            false => Err(Unfit::Moment),
        }
    }

    /// A time of day.
    pub(super) fn of_day(self, ticks: i64) -> Result<i64, Unfit> {
        let micros = self.micros(ticks).map_err(|unfit| if unfit == Unfit::Moment { Unfit::OfDay } else { unfit })?;
        match (0..DAY_MICROS).contains(&micros) {
            true => Ok(micros),
            false => Err(Unfit::OfDay),
        }
    }

    /// A span of time.
    pub(super) fn span(self, ticks: i64) -> Result<i64, Unfit> {
        self.micros(ticks)
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
        let seconds = Ticks::Times(1_000_000);
        assert_eq!(seconds.moment(946_684_800), Ok(0));
        assert_eq!(Ticks::Times(1_000).moment(946_684_800_125), Ok(125_000));
        assert_eq!(Ticks::Times(1).moment(-1), Ok(-946_684_800_000_001));
        assert_eq!(Ticks::Nanos.moment(946_684_800_000_007_000), Ok(7));
        assert_eq!(Ticks::Nanos.moment(1), Err(Unfit::Fine));
        for far in [i64::MIN, i64::MAX, i64::MIN + 1, i64::MAX - 1] {
            assert_eq!(seconds.moment(far), Err(Unfit::Moment));
        }
        assert_eq!(seconds.moment(-210_866_803_200), Ok(FIRST_MICRO));
        assert_eq!(seconds.moment(-210_866_803_201), Err(Unfit::Moment));
        // In microseconds the last moment of 64 bits is in the year 294247, which the server has.
        assert_eq!(Ticks::Times(1).moment(i64::MAX), Ok(i64::MAX - MICROS));
        assert_eq!(Ticks::Times(1).moment(i64::MIN), Err(Unfit::Moment));
    }

    #[test]
    fn a_time_of_day_is_within_the_day() {
        assert_eq!(Ticks::Times(1_000_000).of_day(86_399), Ok(86_399_000_000));
        assert_eq!(Ticks::Times(1).of_day(0), Ok(0));
        for (ticks, far) in
            [(Ticks::Times(1), 86_400_000_000), (Ticks::Times(1_000), -1), (Ticks::Times(1_000), i64::MAX)]
        {
            assert_eq!(ticks.of_day(far), Err(Unfit::OfDay));
        }
    }
}
