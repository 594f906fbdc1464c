//! Numbers in base 10000 to decimals.
//!
//! `numeric_send` in the server's `numeric.c`: the number of groups, the weight of the first one, the sign, the scale to show,
//! then the groups, each from 0 to 9999. Groups of zero at either end are left out. Nothing is rounded here: a number that
//! needs more digits than the type has is a fault.

use arrow::datatypes::{Decimal256Type, DecimalType, i256};

use super::fault::Fault;

/// Decimal digits in a group.
const GROUP: i32 = 4;
const BASE: u16 = 10_000;

const MORE_DIGITS: Fault = Fault::Special("a number of more digits");

/// 10 to the power of 0 to 38.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// `(head · keep + last) · 10^places`, where `head` is what its groups say together.
struct Number<'a> {
    negative: bool,
    head: &'a [[u8; 2]],
    keep: u16,
    last: u16,
    places: usize,
}

/// A number with at most 38 digits, in units of `10^-scale`.
///
/// # Errors
/// [`Fault::Special`] for what is no number or has digits that the type does not have.
#[inline]
pub(crate) fn decimal128(value: &[u8], precision: u8, scale: i8) -> Result<i128, Fault> {
    let Some(number) = Number::read(value, scale)? else { return Ok(0) };
    let units = match (number.head.len(), number.places) {
        // Sixteen digits and up to three zeros, as nearly all numbers are.
        (..=3, places @ ..=3) => {
            let digits = joined(number.head)? * u64::from(number.keep) + u64::from(number.last);
            i128::from(digits * [1, 10, 100, 1_000][places])
        }
        _ => number.units()?,
    };
    match POWERS.get(usize::from(precision)) {
        Some(limit) if units < *limit => Ok(if number.negative { -units } else { units }),
        _ => Err(MORE_DIGITS),
    }
}

/// A number with at most 76 digits, in units of `10^-scale`.
///
/// # Errors
/// [`Fault::Special`] for what is no number or has digits that the type does not have.
pub(crate) fn decimal256(value: &[u8], precision: u8, scale: i8) -> Result<i256, Fault> {
    let Some(number) = Number::read(value, scale)? else { return Ok(i256::ZERO) };
    if number.places > usize::from(precision) {
        return Err(MORE_DIGITS);
    }
    let mut units = i256::ZERO;
    for part in number.head.chunks(4) {
        units = wider(units, POWERS[part.len() * 4], i128::from(joined(part)?))?;
    }
    units = wider(units, i128::from(number.keep), i128::from(number.last))?;
    let mut places = number.places;
    while places > 0 {
        let step = places.min(POWERS.len() - 1);
        units = wider(units, POWERS[step], 0)?;
        places -= step;
    }
    match Decimal256Type::is_valid_decimal_precision(units, precision) {
        true => Ok(if number.negative { units.wrapping_neg() } else { units }),
        false => Err(MORE_DIGITS),
    }
}

impl<'a> Number<'a> {
    /// The parts of a number in units of `10^-scale`; `None` for zero.
    #[inline]
    fn read(value: &'a [u8], scale: i8) -> Result<Option<Self>, Fault> {
        let (head, groups) = value.split_first_chunk::<8>().ok_or(Fault::Broken)?;
        let [n, m, w, v, s, t, _, _] = *head;
        let (mut groups, rest) = groups.as_chunks::<2>();
        if !rest.is_empty() || groups.len() != usize::from(u16::from_be_bytes([n, m])) {
            return Err(Fault::Broken);
        }
        let negative = match u16::from_be_bytes([s, t]) {
            0x0000 => false,
            0x4000 => true,
            0xC000 => return Err(Fault::Special("NaN")),
            0xD000 | 0xF000 => return Err(Fault::Special("an infinite number")),
            _ => return Err(Fault::Broken),
        };
        while let Some(([0, 0], before)) = groups.split_last() {
            groups = before;
        }
        let Some((last, head)) = groups.split_last() else { return Ok(None) };
        let last = group(last)?;
        // The power of ten of the last digit there is. Digits behind the last one of the type must be zeros.
        let weight = i32::from(i16::from_be_bytes([w, v]));
        let behind = i32::try_from(head.len()).map_err(|_| Fault::Broken)?;
        let power = GROUP * (weight - behind) + i32::from(scale);
        let (keep, last, places) = match power {
            0.. => (BASE, last, power.unsigned_abs() as usize),
            -1 if last % 10 == 0 => (1_000, last / 10, 0),
            -2 if last % 100 == 0 => (100, last / 100, 0),
            -3 if last % 1_000 == 0 => (10, last / 1_000, 0),
            _ => return Err(MORE_DIGITS),
        };
        Ok(Some(Self { negative, head, keep, last, places }))
    }

    /// What the number is without its sign.
    fn units(&self) -> Result<i128, Fault> {
        let mut units = 0;
        for part in self.head.chunks(4) {
            units = longer(units, POWERS[part.len() * 4], i128::from(joined(part)?))?;
        }
        units = longer(units, i128::from(self.keep), i128::from(self.last))?;
        longer(units, *POWERS.get(self.places).ok_or(MORE_DIGITS)?, 0)
    }
}

/// What at most four groups say together.
#[inline]
fn joined(groups: &[[u8; 2]]) -> Result<u64, Fault> {
    let mut sum: u64 = 0;
    for digits in groups {
        sum = sum * u64::from(BASE) + u64::from(group(digits)?);
    }
    Ok(sum)
}

#[inline]
fn group(digits: &[u8; 2]) -> Result<u16, Fault> {
    let digits = u16::from_be_bytes(*digits);
    if digits < BASE { Ok(digits) } else { Err(Fault::Broken) }
}

/// `units · by + more`
fn longer(units: i128, by: i128, more: i128) -> Result<i128, Fault> {
    units.checked_mul(by).and_then(|units| units.checked_add(more)).ok_or(MORE_DIGITS)
}

/// `units · by + more`
fn wider(units: i256, by: i128, more: i128) -> Result<i256, Fault> {
    let product = units.checked_mul(i256::from_i128(by));
    product.and_then(|units| units.checked_add(i256::from_i128(more))).ok_or(MORE_DIGITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::{hex, numeric};
    use super::*;

    /// As PostgreSQL 15 sends them.
    #[test]
    fn numbers_are_exact() {
        for (sent, precision, scale, units) in [
            ("0000000000000000", 9, 2, 0),
            ("0000000000000002", 9, 2, 0),
            ("00010000000000000001", 9, 2, 100),
            ("00010000400000000001", 9, 0, -1),
            ("00010000000000020011", 15, 2, 1_700),
            // 0.0001, 9999.9999, 10000 and 100000000
            ("0001ffff000000040001", 4, 4, 1),
            ("0002000000000004270f270f", 8, 4, 99_999_999),
            ("00010001000000000001", 5, 0, 10_000),
            ("00010002000000000001", 9, 0, 100_000_000),
            // 1.10, 12.34, 33078.94, -0.5 and 0.00000001
            ("0002000000000002000103e8", 3, 2, 110),
            ("0002000000000002000c0d48", 4, 2, 1_234),
            ("000300010000000200030c0624b8", 15, 2, 3_307_894),
            ("0001ffff400000011388", 1, 1, -5),
            ("0001fffe000000080001", 8, 8, 1),
            // 12345 in numeric(5,-2) and 0.00123 in numeric(2,4)
            ("0002000100000000000108fc", 7, 0, 12_300),
            ("0001ffff00000004000c", 4, 4, 12),
        ] {
            assert_eq!(decimal128(&hex(sent), precision, scale), Ok(units), "{sent}");
            assert_eq!(decimal256(&hex(sent), precision, scale), Ok(i256::from_i128(units)), "{sent}");
        }
        let long = hex("000b00090000000304d2162e23340d801ed204d2162e23340d801ed204ce");
        let units = i256::from_string("1234567890123456789012345678901234567890123");
        assert_eq!(decimal256(&long, 43, 3).ok(), units);
        assert_eq!(decimal256(&long, 76, 3).ok(), units);
        assert_eq!(decimal256(&long, 42, 3), Err(MORE_DIGITS));
        assert_eq!(decimal128(&long, 38, 3), Err(MORE_DIGITS));
    }

    #[test]
    fn gaps_and_zeros_count() {
        for (text, scale, units) in [
            ("1000000000000.0001", 4, 10_000_000_000_000_001),
            ("100000000", 2, 10_000_000_000),
            ("-10000000000000000000000000000000000.01", 2, -1_000_000_000_000_000_000_000_000_000_000_000_001),
            ("99999999999999999999999999999999999999", 0, POWERS[38] - 1),
            ("0.00000000000000000000000000000000000001", 38, 1),
        ] {
            assert_eq!(decimal128(&numeric(text), 38, scale), Ok(units), "{text}");
            assert_eq!(decimal256(&numeric(text), 76, scale), Ok(i256::from_i128(units)), "{text}");
        }
        // Groups of zero that a server leaves out.
        assert_eq!(decimal128(&hex("00040001000000000000000100000000"), 5, 2), Ok(100));
        let largest = "9".repeat(76);
        assert_eq!(decimal256(&numeric(&largest), 76, 0).ok(), i256::from_string(&largest));
    }

    #[test]
    fn nothing_is_rounded_and_nothing_is_cut() {
        let refused = |sent: &[u8], precision, scale| {
            assert_eq!(decimal128(sent, precision, scale), Err(MORE_DIGITS), "{sent:?}");
            assert_eq!(decimal256(sent, precision, scale), Err(MORE_DIGITS), "{sent:?}");
        };
        for (text, precision, scale) in
            [("1.234", 9, 2), ("0.00001", 9, 4), ("1234.5", 4, 1), ("10000", 4, 0), ("0.1", 9, 0)]
        {
            refused(&numeric(text), precision, scale);
        }
        // 10 to the power of 131068, the largest that a numeric may be.
        refused(&hex("00017fff000000000001"), 38, 0);
    }

    #[test]
    fn what_is_no_number_is_special() {
        for (sent, what) in [
            ("00000000c0000000", "NaN"),
            ("00000000d0000020", "an infinite number"),
            ("00000000f0000020", "an infinite number"),
        ] {
            assert_eq!(decimal128(&hex(sent), 9, 2), Err(Fault::Special(what)));
            assert_eq!(decimal256(&hex(sent), 50, 2), Err(Fault::Special(what)));
        }
    }

    #[test]
    fn broken_bytes_are_refused() {
        // Too short, a group too few, half a group, a group of 10000 at either end, and a sign that is none.
        for sent in [
            "",
            "00000000000000",
            "0001000000000000",
            "000100000000000000",
            "00010000000000002710",
            "000200010000000027100001",
            "00010000800000000001",
        ] {
            assert_eq!(decimal128(&hex(sent), 9, 2), Err(Fault::Broken), "{sent}");
            assert_eq!(decimal256(&hex(sent), 50, 2), Err(Fault::Broken), "{sent}");
        }
    }

    /// `units · 10^-scale`
    fn written(digits: &str, scale: usize) -> String {
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }

    proptest! {
        #[test]
        fn every_decimal_comes_back(number: i128, precision in 1_u8..=38, scale in 0_u8..=38) {
            let (units, scale) = (number % POWERS[usize::from(precision)], scale.min(precision));
            let sent = numeric(&written(&units.to_string(), usize::from(scale)));
            prop_assert_eq!(decimal128(&sent, precision, scale.cast_signed()), Ok(units));
            if scale > 0 {
                let fewer = if units % 10 == 0 { Ok(units / 10) } else { Err(MORE_DIGITS) };
                prop_assert_eq!(decimal128(&sent, precision, scale.cast_signed() - 1), fewer);
            }
        }

        #[test]
        fn every_wide_decimal_comes_back(number: i128, zeros in 0_usize..=37, scale in 0_u8..=76) {
            let digits = format!("{number}{}", "0".repeat(zeros));
            let sent = numeric(&written(&digits, usize::from(scale)));
            prop_assert_eq!(decimal256(&sent, 76, scale.cast_signed()).ok(), i256::from_string(&digits));
        }

        #[test]
        fn any_bytes_have_an_answer_within_the_precision(
            weight: i16,
            groups in proptest::collection::vec(0_u16..10_001, 0..24),
            precision in 1_u8..=76,
            scale in 0_i8..=76,
        ) {
            let mut sent = u16::try_from(groups.len()).unwrap().to_be_bytes().to_vec();
            sent.extend((weight % 30).to_be_bytes());
            sent.extend([0; 4]);
            sent.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
            let wide = decimal256(&sent, precision, scale);
            if let Ok(units) = wide {
                prop_assert!(Decimal256Type::is_valid_decimal_precision(units, precision));
            }
            if precision <= 38 {
                prop_assert_eq!(decimal128(&sent, precision, scale).ok().map(i256::from_i128), wide.ok());
            }
        }
    }
}
