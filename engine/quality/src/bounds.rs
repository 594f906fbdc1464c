//! Limits of values: read exactly, for whatever type the column has.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Decimal256Type, Field, Float32Type, Float64Type, TimeUnit, i256};
use datafusion::common::ScalarValue;
use transload_core::types::Unit;
use transload_core::{LogicalType, Problem, Result, Span};

use crate::scalar::Scalar;
use crate::values::{each_exact, for_exact_type, primitive};

/// Finds the rows of a column that break a rule.
pub(crate) type Finder = Arc<dyn Fn(&ArrayRef) -> Result<Option<BooleanBuffer>> + Send + Sync>;

/// The limits of a range; `above` and `below` are themselves outside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits<'a> {
    pub(crate) min: Option<&'a Scalar>,
    pub(crate) above: Option<&'a Scalar>,
    pub(crate) max: Option<&'a Scalar>,
    pub(crate) below: Option<&'a Scalar>,
}

impl Limits<'_> {
    /// The limits in words.
    pub(crate) fn describe(&self) -> String {
        let part = |word: &str, limit: Option<&Scalar>| limit.map(|l| format!("{word} {l}"));
        let parts = [
            part("at least", self.min),
            part("above", self.above),
            part("at most", self.max),
            part("below", self.below),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    /// Says if there are none, or if nothing can lie between them.
    pub(crate) fn validate(&self, kind: &str, place: Span, problems: &mut Vec<Problem>) {
        let Self { min, above, max, below } = self;
        if min.or(*above).or(*max).or(*below).is_none() {
            let problem = Problem::new(place, format!("`{kind}` has no limit"));
            problems.push(problem.hint("give it `min`, `above`, `max` or `below`"));
        }
        let number = |scalar: Option<&Scalar>| match scalar {
            Some(Scalar::Int(v)) => Some(*v as f64),
            Some(Scalar::Float(v)) => Some(*v),
            _ => None,
        };
        if let (Some(low), Some(high)) = (number(min.or(*above)), number(max.or(*below)))
            && low > high
        {
            let problem = Problem::new(place, format!("no value is {}", self.describe()));
            problems.push(problem.hint("swap the limits"));
        }
    }

    /// The smallest and the largest value allowed, in the column's own digits or ticks.
    ///
    /// # Errors
    /// A sentence, if a limit is no value of the column's type.
    pub(crate) fn exact(&self, field: &Field) -> Result<(Option<i128>, Option<i128>), String> {
        let limit = |scalar: Option<&Scalar>| scalar.map(|s| Exact::read(s, field)).transpose();
        let (min, above) = (limit(self.min)?, limit(self.above)?);
        let (max, below) = (limit(self.max)?, limit(self.below)?);
        let low = [min.map(|l| l.floor + i128::from(!l.whole)), above.map(|l| l.floor + 1)];
        let high = [max.map(|l| l.floor), below.map(|l| l.floor - i128::from(l.whole))];
        Ok((low.into_iter().flatten().max(), high.into_iter().flatten().min()))
    }

    /// Finds the values outside. NaN is always outside.
    ///
    /// # Errors
    /// A sentence, if the column's type has no order that a range can use, or a limit does not fit it.
    pub(crate) fn finder(&self, field: &Field) -> Result<Finder, String> {
        if let DataType::Float32 | DataType::Float64 = field.data_type() {
            return self.float_finder(field);
        }
        let (low, high) = self.exact(field)?;
        if let DataType::Decimal256(..) = field.data_type() {
            let (low, high) = (low.map(i256::from_i128), high.map(i256::from_i128));
            return Ok(outside::<Decimal256Type>(low, high));
        }
        for_exact_type!(field.data_type(), T => Ok(clamped::<T>(low, high)), else Err(unordered(field)))
    }

    fn float_finder(&self, field: &Field) -> Result<Finder, String> {
        let number = |scalar: Option<&Scalar>| scalar.map(|s| float(s, field)).transpose();
        let (min, above) = (number(self.min)?, number(self.above)?);
        let (max, below) = (number(self.max)?, number(self.below)?);
        let good = move |v: f64| {
            min.is_none_or(|l| v >= l)
                && above.is_none_or(|l| v > l)
                && max.is_none_or(|l| v <= l)
                && below.is_none_or(|l| v < l)
                && !v.is_nan()
        };
        let finder: Finder = match field.data_type() {
            DataType::Float32 => Arc::new(move |a| Ok(primitive::<Float32Type>(a, |v| !good(f64::from(v))))),
            _ => Arc::new(move |a| Ok(primitive::<Float64Type>(a, |v| !good(v)))),
        };
        Ok(finder)
    }
}

/// Finds the values above a limit that is given in the column's own digits or ticks.
///
/// # Errors
/// A sentence, if the column's type has no order that a limit can use.
pub(crate) fn at_most(field: &Field, most: i128) -> Result<Finder, String> {
    for_exact_type!(field.data_type(), T => Ok(clamped::<T>(None, Some(most))), else Err(unordered(field)))
}

fn unordered(field: &Field) -> String {
    let ty = LogicalType::of(field).map_or_else(|| field.data_type().to_string(), |t| t.to_string());
    format!("numbers, dates, times and timestamps have limits, and `{}` is {ty}", field.name())
}

/// A number as a float.
pub(crate) fn float(scalar: &Scalar, field: &Field) -> Result<f64, String> {
    let parsed = match scalar {
        Scalar::Int(v) => Some(*v as f64),
        Scalar::Float(v) => Some(*v),
        Scalar::Text(v) => v.trim().parse().ok(),
        Scalar::Bool(_) => None,
    };
    parsed.filter(|v: &f64| !v.is_nan()).ok_or_else(|| format!("`{scalar}` is not a number, as `{}` is", field.name()))
}

/// A limit in a column's digits or ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exact {
    /// Rounded down.
    pub(crate) floor: i128,
    /// Whether nothing was cut.
    pub(crate) whole: bool,
}

impl Exact {
    /// Reads a limit for a column.
    ///
    /// # Errors
    /// A sentence, if it is no value of the column's type.
    pub(crate) fn read(scalar: &Scalar, field: &Field) -> Result<Self, String> {
        let ty = LogicalType::of(field);
        let found = match &ty {
            Some(LogicalType::Int(_) | LogicalType::UInt(_)) => Self::number(&scalar.to_string(), 0),
            Some(LogicalType::Decimal(_, scale)) => Self::number(&scalar.to_string(), u32::from(scale.unsigned_abs())),
            Some(LogicalType::Date | LogicalType::Time(_) | LogicalType::Timestamp(..)) => Self::time(scalar, field),
            _ => return Err(unordered(field)),
        };
        let needs = ty.map(|t| t.to_string()).unwrap_or_default();
        found.ok_or_else(|| format!("`{scalar}` cannot be compared with `{}`, which is {needs}", field.name()))
    }

    /// Reads `-12.345` as digits of a scale.
    pub(crate) fn number(text: &str, scale: u32) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        let all: i128 = format!("{whole}{fraction}").parse().ok()?;
        let all = if negative { -all } else { all };
        let places = u32::try_from(fraction.len()).ok()?;
        Some(match scale.checked_sub(places) {
            Some(missing) => Self { floor: all.checked_mul(10i128.checked_pow(missing)?)?, whole: true },
            None => {
                let unit = 10i128.checked_pow(places - scale)?;
                Self { floor: all.div_euclid(unit), whole: all.rem_euclid(unit) == 0 }
            }
        })
    }

    fn time(scalar: &Scalar, field: &Field) -> Option<Self> {
        let Scalar::Text(text) = scalar else { return None };
        // A library reads more forms than a person means.
        let dated = text.len() >= 10 && text.as_bytes()[4] == b'-';
        let plain = match field.data_type() {
            DataType::Date32 => dated && text.len() == 10,
            DataType::Timestamp(..) => dated,
            _ => text.contains(':'),
        };
        if !plain {
            return None;
        }
        let floor = ticks(text, field.data_type())?;
        let DataType::Timestamp(unit, zone) = field.data_type() else { return Some(Self { floor, whole: true }) };
        // Digits finer than the column's unit are cut by the library without a word.
        let finest = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
        let cut = ticks(text, &finest).is_some_and(|nanos| nanos != floor * i128::from(Unit::from(*unit).nanos()));
        Some(Self { floor, whole: !cut })
    }
}

/// The text as a value of the type.
fn ticks(text: &str, ty: &DataType) -> Option<i128> {
    let array = ScalarValue::try_from_string(text.to_string(), ty).ok()?.to_array().ok()?;
    let mut found = None;
    each_exact(&array, |v| found = Some(v));
    found
}

/// Limits beyond what the type can hold let everything or nothing through.
fn clamped<T: ArrowPrimitiveType>(low: Option<i128>, high: Option<i128>) -> Finder
where
    T::Native: TryFrom<i128> + PartialOrd,
{
    let none: Finder = Arc::new(|a| Ok(primitive::<T>(a, |_| true)));
    let low = match low.map(|l| (l, T::Native::try_from(l).ok())) {
        Some((l, None)) if l > 0 => return none,
        other => other.and_then(|(_, native)| native),
    };
    let high = match high.map(|h| (h, T::Native::try_from(h).ok())) {
        Some((h, None)) if h < 0 => return none,
        other => other.and_then(|(_, native)| native),
    };
    outside::<T>(low, high)
}

fn outside<T: ArrowPrimitiveType>(low: Option<T::Native>, high: Option<T::Native>) -> Finder
where
    T::Native: PartialOrd,
{
    match (low, high) {
        (Some(low), Some(high)) => Arc::new(move |a| Ok(primitive::<T>(a, |v| (v < low) | (v > high)))),
        (Some(low), None) => Arc::new(move |a| Ok(primitive::<T>(a, |v| v < low))),
        (None, Some(high)) => Arc::new(move |a| Ok(primitive::<T>(a, |v| v > high))),
        (None, None) => Arc::new(|_| Ok(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_exactly_whatever_the_scale() {
        let exact = |floor, whole| Some(Exact { floor, whole });
        assert_eq!(Exact::number("0.05", 2), exact(5, true));
        assert_eq!(Exact::number("0.055", 2), exact(5, false));
        assert_eq!(Exact::number("-0.055", 2), exact(-6, false));
        assert_eq!(Exact::number("7", 2), exact(700, true));
        assert_eq!(Exact::number("1.500", 0), exact(1, false));
        assert_eq!(Exact::number("+3.0", 0), exact(3, true));
        for bad in ["", "-", "x", "1e3", "0x1", ".5", "inf", &"9".repeat(50)] {
            assert_eq!(Exact::number(bad, 0), None, "{bad}");
        }
    }

    #[test]
    fn a_limit_between_two_values_excludes_neither() {
        let field = Field::new("n", DataType::Int32, true);
        let half = Scalar::Float(0.5);
        let limits = Limits { min: Some(&half), ..Limits::default() };
        assert_eq!(limits.exact(&field), Ok((Some(1), None)));
        let limits = Limits { above: Some(&half), below: Some(&half), ..Limits::default() };
        assert_eq!(limits.exact(&field), Ok((Some(1), Some(0))));
    }

    #[test]
    fn dates_and_timestamps_are_read_only_as_they_are_written() {
        let day = Field::new("d", DataType::Date32, true);
        let read = |text: &str, field: &Field| Exact::read(&Scalar::Text(text.into()), field).map(|e| e.floor);
        assert_eq!(read("1970-01-11", &day), Ok(10));
        for bad in ["1970-01-11T10:00:00", "11.01.1970", "10", "1970-13-01"] {
            assert!(read(bad, &day).is_err(), "{bad}");
        }
        let time = Field::new("t", DataType::Timestamp(TimeUnit::Second, None), true);
        assert_eq!(read("1970-01-01T00:01:00", &time), Ok(60));
        let cut = Exact::read(&Scalar::Text("1970-01-01T00:01:00.5".into()), &time);
        assert_eq!(cut, Ok(Exact { floor: 60, whole: false }));
        assert!(Exact::read(&Scalar::Int(5), &day).is_err());
        assert!(Exact::read(&Scalar::Int(5), &Field::new("s", DataType::Utf8, true)).is_err());
    }
}
