//! Numbers, sizes and times as people read them.

use chrono::{DateTime, TimeDelta};

/// A number with its thousands set apart: `6,001,215`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 file`, `2 files`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A size in the largest unit that leaves a whole number before the point.
pub(crate) fn size(bytes: f64) -> String {
    let mut value = bytes;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{value:.0} B"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// The time between two stamps of the ledger; none if one of them is not a stamp or the second is the earlier one.
pub(crate) fn elapsed(from: &str, to: &str) -> Option<TimeDelta> {
    let from = DateTime::parse_from_rfc3339(from).ok()?;
    let to = DateTime::parse_from_rfc3339(to).ok()?;
    Some(to - from).filter(|time| *time >= TimeDelta::zero())
}

/// A span of time: `0.42 s`, `12.3 s`, `4 min 5 s`, `2 h 3 min`.
pub(crate) fn took(time: TimeDelta) -> String {
    let seconds = seconds(time);
    match time.num_seconds() {
        0 => format!("{seconds:.2} s"),
        1..=59 => format!("{seconds:.1} s"),
        whole @ 60..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        whole => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A stamp of the ledger for a person: `2026-11-21 05:15:00 UTC`. What is no stamp stays as it is.
pub(crate) fn moment(stamp: &str) -> String {
    match DateTime::parse_from_rfc3339(stamp) {
        Ok(at) => at.to_utc().format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => stamp.to_string(),
    }
}

/// A short span of time: `0.24 ms`, `7.0 ms`, `149 ms`, and from a second on as [`took`] says it.
pub(crate) fn brief(micros: u64) -> String {
    let millis = micros as f64 / 1000.0;
    match micros {
        0..10 => "under 0.01 ms".to_string(),
        10..1000 => format!("{millis:.2} ms"),
        1000..100_000 => format!("{millis:.1} ms"),
        100_000..999_500 => format!("{millis:.0} ms"),
        _ => took(TimeDelta::microseconds(i64::try_from(micros).unwrap_or(i64::MAX))),
    }
}

/// How much of something there was in a second; none if there was no time.
pub(crate) fn per_second(amount: u64, time: TimeDelta) -> Option<f64> {
    let seconds = seconds(time);
    (seconds > 0.0).then(|| amount as f64 / seconds)
}

fn seconds(time: TimeDelta) -> f64 {
    time.num_milliseconds() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_set_in_groups() {
        let said = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(said, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "file", "files"), counted(2, "file", "files")], ["1 file", "2 files"]);
        assert_eq!([size(999.0), size(1500.0), size(21_414_919.0)], ["999 B", "1.5 kB", "21.4 MB"]);
    }

    #[test]
    fn times_are_told_between_stamps() {
        let said = |to| elapsed("2026-11-21T05:15:00.000Z", to).map(took);
        assert_eq!(said("2026-11-21T05:15:00.420Z").unwrap(), "0.42 s");
        assert_eq!(said("2026-11-21T05:15:12.340Z").unwrap(), "12.3 s");
        assert_eq!(said("2026-11-21T05:19:05.000Z").unwrap(), "4 min 5 s");
        assert_eq!(said("2026-11-21T07:18:00.000Z").unwrap(), "2 h 3 min");
        assert_eq!(said("2026-11-21T05:14:00.000Z"), None);
        assert_eq!(said("t"), None);
        assert_eq!(per_second(10, TimeDelta::zero()), None);
        assert_eq!(per_second(10, TimeDelta::milliseconds(500)), Some(20.0));
        assert_eq!(moment("2026-11-21T05:15:00.420Z"), "2026-11-21 05:15:00 UTC");
        assert_eq!(moment("2026-11-21T07:15:00+02:00"), "2026-11-21 05:15:00 UTC");
        assert_eq!(moment("yesterday"), "yesterday");
    }

    #[test]
    fn short_times_have_as_many_decimals_as_they_need() {
        let said = [0, 9, 10, 242, 7018, 99_940, 149_000, 999_499, 999_500, 61_000_000].map(brief);
        let wanted = [
            "under 0.01 ms",
            "under 0.01 ms",
            "0.01 ms",
            "0.24 ms",
            "7.0 ms",
            "99.9 ms",
            "149 ms",
            "999 ms",
            "1.00 s",
            "1 min 1 s",
        ];
        assert_eq!(said, wanted);
    }
}
