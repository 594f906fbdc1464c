//! Decimal numbers in a text, held against binary floats.

/// What becomes of a number in a text that is read as a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatFit {
    /// The float is exactly the number, or the number is the shortest one that reads as this float, as `0.1` is.
    Kept,
    /// The float is another number.
    Rounded,
    /// The number is too large for a float, or so small that it became zero.
    Lost,
}

/// What became of the number in `text` when it was read as `float`, which is a float of 32 or 64 `bits`.
///
/// Signs, zeros at either end and the way an exponent is written are no part of a number. Words such as `inf` and `nan` are
/// kept.
pub fn float_fit(text: &str, float: f64, bits: u8) -> FloatFit {
    let text = text.trim_ascii();
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return FloatFit::Kept;
    }
    if float == 0.0 {
        return if mantissa.bytes().any(|b| matches!(b, b'1'..=b'9')) { FloatFit::Lost } else { FloatFit::Kept };
    }
    if float.is_infinite() {
        return FloatFit::Lost;
    }
    // Numbers of so few digits all have a float of their own, as long as floats are not denormal.
    let (own, smallest) = match bits {
        32 => (f32::DIGITS, f64::from(f32::MIN_POSITIVE)),
        _ => (f64::DIGITS, f64::MIN_POSITIVE),
    };
    if digits <= own as usize && float.abs() >= smallest {
        return FloatFit::Kept;
    }
    let Some(written) = Decimal::read(text) else { return FloatFit::Rounded };
    let shortest = if bits == 32 { format!("{:e}", float as f32) } else { format!("{float:e}") };
    // What stands behind the point of a binary fraction ends with 5. No float has more than 767 digits.
    let kept = Decimal::read(&shortest).as_ref() == Some(&written)
        || ((written.last >= 0 || written.digits.ends_with('5'))
            && Decimal::read(&format!("{float:.766e}")).as_ref() == Some(&written));
    if kept { FloatFit::Kept } else { FloatFit::Rounded }
}

/// A decimal number without its sign.
#[derive(PartialEq, Eq)]
struct Decimal {
    /// Without zeros at either end.
    digits: String,
    /// The power of ten of the last digit.
    last: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{}{fraction}", whole.trim_start_matches(['+', '-']));
        let digits = all.trim_end_matches('0');
        let behind = i64::try_from(fraction.len()).ok()?;
        let zeros = i64::try_from(all.len() - digits.len()).ok()?;
        let last = exponent.checked_sub(behind)?.checked_add(zeros)?;
        Some(Self { digits: digits.trim_start_matches('0').to_string(), last })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wide(text: &str) -> FloatFit {
        float_fit(text, text.trim().parse().unwrap(), 64)
    }

    fn narrow(text: &str) -> FloatFit {
        float_fit(text, f64::from(text.trim().parse::<f32>().unwrap()), 32)
    }

    #[test]
    fn a_number_is_kept_exactly_or_in_its_shortest_form() {
        for text in [
            "0.1",
            "1e5",
            "1.50",
            " -2.5 ",
            "+.5",
            "5.",
            "1E+05",
            "007",
            "0",
            "-0.0",
            "0e999",
            "inf",
            "-Infinity",
            "nan",
        ] {
            assert_eq!((wide(text), narrow(text)), (FloatFit::Kept, FloatFit::Kept), "{text}");
        }
        for text in [
            "9007199254740992",
            "9.007199254740992e15",
            "0.30000000000000004",
            "0.300000000000000040",
            "1e23",
            "100000000000000000000000",
            "5e-324",
            "1.7976931348623157e308",
            "0.1000000000000000055511151231257827021181583404541015625",
        ] {
            assert_eq!(wide(text), FloatFit::Kept, "{text}");
        }
        for text in ["9007199254740993", "0.10000000000000001", "0.30000000000000005", "3e-324", "12345678901234567890"]
        {
            assert_eq!(wide(text), FloatFit::Rounded, "{text}");
        }
        for text in ["16777216", "0.1", "3.4028235e38", "1e-45", "0.100000001490116119384765625"] {
            assert_eq!(narrow(text), FloatFit::Kept, "{text}");
        }
        for text in ["16777217", "0.123456789", "1.5e-45"] {
            assert_eq!(narrow(text), FloatFit::Rounded, "{text}");
        }
    }

    #[test]
    fn a_number_that_no_float_comes_near_is_lost() {
        for text in ["1e999", "-1e999", "1e-400", "-0.1e-400", "1e99999999999999999999"] {
            assert_eq!((wide(text), narrow(text)), (FloatFit::Lost, FloatFit::Lost), "{text}");
        }
        for text in ["1e39", "1e-46"] {
            assert_eq!((wide(text), narrow(text)), (FloatFit::Kept, FloatFit::Lost), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_a_float_is_written_as_is_kept(bits: u64) {
            let float = f64::from_bits(bits);
            prop_assume!(float.is_finite());
            for text in [format!("{float}"), format!("{float:e}"), format!("{float:.1100}")] {
                prop_assert_eq!(wide(&text), FloatFit::Kept, "{}", text);
            }
            let float = f32::from_bits(bits as u32);
            prop_assume!(float.is_finite());
            for text in [format!("{float}"), format!("{float:e}"), format!("{float:.200}")] {
                prop_assert_eq!(narrow(&text), FloatFit::Kept, "{}", text);
            }
        }

        #[test]
        fn a_digit_more_than_a_float_has_is_rounded(float in 1e-9f64..1e9) {
            prop_assert_eq!(wide(&format!("{float:.1100}1")), FloatFit::Rounded);
        }

        #[test]
        fn whole_numbers_are_kept_as_far_as_floats_hold_them(number: i64) {
            let (text, float) = (number.to_string(), number as f64);
            let kept = float as i128 == i128::from(number) || format!("{float}") == text;
            prop_assert_eq!(wide(&text) == FloatFit::Kept, kept, "{}", text);
        }
    }
}
