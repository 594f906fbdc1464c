//! Decimals as the server's numerics: a sign, and groups of four digits.
//!
//! `numeric_send` in the server's `numeric.c` says how they are laid out: the number of groups, the weight of the first one
//! as a power of 10000, the sign, how many digits behind the point are shown, and the groups, the highest first.

use arrow::datatypes::i256;

/// Groups of a number with 76 digits, one of them not whole, and room for four at once.
const MOST_GROUPS: usize = 28;

const NEGATIVE: u16 = 0x4000;

/// Digits of a number, the lowest group first.
struct Groups {
    groups: [u16; MOST_GROUPS],
    len: usize,
}

impl Groups {
    fn new() -> Self {
        Self { groups: [0; MOST_GROUPS], len: 0 }
    }

    fn push(&mut self, group: u16) {
        if let Some(place) = self.groups.get_mut(self.len) {
            *place = group;
            self.len += 1;
        }
    }

    /// Adds all groups of a number.
    fn push_small(&mut self, mut rest: u64) {
        while rest > 0 {
            self.push((rest % 10_000) as u16);
            rest /= 10_000;
        }
    }

    /// Adds just four groups, for higher ones follow.
    fn push_four(&mut self, mut rest: u64) {
        for _ in 0..4 {
            self.push((rest % 10_000) as u16);
            rest /= 10_000;
        }
    }

    /// Adds all groups of a number. Divisions of 128 bits are dear, so there are as few as can be.
    fn push_large(&mut self, mut rest: u128) {
        const FOUR: u128 = 10_u128.pow(16);
        while rest > u128::from(u64::MAX) {
            self.push_four((rest % FOUR) as u64);
            rest /= FOUR;
        }
        self.push_small(rest as u64);
    }

    /// Writes the value with its length before it.
    fn write(&self, out: &mut Vec<u8>, is_negative: bool, scale: u32) {
        let groups = self.groups.get(..self.len).unwrap_or_default();
        let high = groups.iter().rposition(|group| *group != 0).map_or(0, |at| at + 1);
        let low = groups.iter().position(|group| *group != 0).unwrap_or(high);
        let significant = groups.get(low..high).unwrap_or_default();
        let (weight, sign) = match significant.is_empty() {
            true => (0, 0),
            false => (high as i32 - 1 - scale.div_ceil(4) as i32, if is_negative { NEGATIVE } else { 0 }),
        };
        let mut bytes = [0; 12 + 2 * MOST_GROUPS];
        let len = 8 + 2 * significant.len();
        bytes[..4].copy_from_slice(&(len as i32).to_be_bytes());
        bytes[4..6].copy_from_slice(&(significant.len() as u16).to_be_bytes());
        bytes[6..8].copy_from_slice(&(weight as i16).to_be_bytes());
        bytes[8..10].copy_from_slice(&sign.to_be_bytes());
        bytes[10..12].copy_from_slice(&(scale as u16).to_be_bytes());
        for (place, group) in bytes[12..].chunks_exact_mut(2).zip(significant.iter().rev()) {
            place.copy_from_slice(&group.to_be_bytes());
        }
        out.extend_from_slice(&bytes[..4 + len]);
    }
}

/// Writes a number of whole units, of which `scale` digits are behind the point.
pub(super) fn small(out: &mut Vec<u8>, is_negative: bool, mut magnitude: u64, scale: u32) {
    let mut groups = Groups::new();
    if let Some((unit, fill)) = part(scale) {
        groups.push((magnitude % unit * fill) as u16);
        magnitude /= unit;
    }
    groups.push_small(magnitude);
    groups.write(out, is_negative, scale);
}

/// The same for more digits.
pub(super) fn large(out: &mut Vec<u8>, value: i128, scale: u32) {
    let (is_negative, mut magnitude) = (value < 0, value.unsigned_abs());
    if let Ok(magnitude) = u64::try_from(magnitude) {
        return small(out, is_negative, magnitude, scale);
    }
    let mut groups = Groups::new();
    if let Some((unit, fill)) = part(scale) {
        groups.push(((magnitude % u128::from(unit)) as u64 * fill) as u16);
        magnitude /= u128::from(unit);
    }
    groups.push_large(magnitude);
    groups.write(out, is_negative, scale);
}

/// The same for the most digits.
pub(super) fn huge(out: &mut Vec<u8>, value: i256, scale: u32) {
    if let Some(value) = value.to_i128() {
        return large(out, value, scale);
    }
    let mut magnitude = value.wrapping_abs();
    let mut groups = Groups::new();
    // What is left over fits 64 bits, since the divisors do.
    let low = |value: i256, divisor: i256| value.wrapping_rem(divisor).as_i128() as u64;
    if let Some((unit, fill)) = part(scale) {
        let unit = i256::from_i128(i128::from(unit));
        groups.push((low(magnitude, unit) * fill) as u16);
        magnitude = magnitude.wrapping_div(unit);
    }
    let four = i256::from_i128(10_i128.pow(16));
    while magnitude.to_i128().is_none() {
        groups.push_four(low(magnitude, four));
        magnitude = magnitude.wrapping_div(four);
    }
    groups.push_large(magnitude.as_i128().unsigned_abs());
    groups.write(out, value.is_negative(), scale);
}

/// The lowest digits that are no whole group: they are below the first number, and become one by the second.
fn part(scale: u32) -> Option<(u64, u64)> {
    match scale % 4 {
        1 => Some((10, 1_000)),
        2 => Some((100, 100)),
        3 => Some((1_000, 10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number that the server reads, as text.
    fn read(bytes: &[u8]) -> String {
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        assert_eq!(i32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len() - 4);
        let (count, weight, sign, scale) = (number(4), number(6) as i16, number(8), number(10) as usize);
        assert_eq!(bytes.len(), 12 + 2 * count as usize);
        let groups: Vec<u16> = (0..count as usize).map(|at| number(12 + 2 * at)).collect();
        assert!(groups.iter().all(|group| *group < 10_000));
        // Neither the first nor the last group is zero, as in a value of the server's own.
        assert!(groups.first() != Some(&0) && groups.last() != Some(&0));
        let at = |weight_of: i32| {
            let index = i32::from(weight) - weight_of;
            usize::try_from(index).ok().and_then(|index| groups.get(index)).copied().unwrap_or(0)
        };
        let whole: String = (0..=i32::from(weight).max(0)).rev().map(|w| format!("{:04}", at(w))).collect();
        let behind: String = (1..=20).map(|w| format!("{:04}", at(-w))).collect();
        let whole = whole.trim_start_matches('0');
        let sign = if sign == NEGATIVE { "-" } else { "" };
        format!("{sign}{}.{}", if whole.is_empty() { "0" } else { whole }, &behind[..scale])
    }

    /// The same number written by hand.
    fn written(value: i256, scale: usize) -> String {
        let digits = value.wrapping_abs().to_string();
        let digits = format!("{}{digits}", "0".repeat((scale + 1).saturating_sub(digits.len())));
        let (whole, behind) = digits.split_at(digits.len() - scale);
        format!("{}{whole}.{behind}", if value.is_negative() { "-" } else { "" })
    }

    fn sent(value: i256, scale: u32) -> Vec<u8> {
        let mut out = Vec::new();
        huge(&mut out, value, scale);
        out
    }

    #[test]
    fn numbers_are_laid_out_as_the_server_does_it() {
        let small = |value: i128, scale: u32| sent(i256::from_i128(value), scale);
        // SELECT numeric_send(0.00), numeric_send(-12345.678), numeric_send(0.0005), numeric_send(100000000)
        assert_eq!(small(0, 2), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2]);
        let negative = [0, 0, 0, 14, 0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c];
        assert_eq!(small(-12_345_678, 3), negative);
        assert_eq!(small(5, 4), [0, 0, 0, 10, 0, 1, 0xff, 0xff, 0, 0, 0, 4, 0, 5]);
        assert_eq!(small(100_000_000, 0), [0, 0, 0, 10, 0, 1, 0, 2, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn the_largest_numbers_arrive() {
        for digits in [1, 16, 17, 18, 19, 20, 37, 38, 39, 40, 75, 76] {
            let nines = i256::from_string(&"9".repeat(digits)).unwrap();
            let one = i256::from_string(&format!("1{}", "0".repeat(digits - 1))).unwrap();
            for scale in 0..=digits as u32 {
                for value in [nines, nines.wrapping_neg(), one] {
                    assert_eq!(read(&sent(value, scale)), written(value, scale as usize), "{digits}, {scale}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_number_arrives(high in any::<i64>(), low in any::<u128>(), shift in 0_u32..128, scale in 0_u32..=76) {
            let value = i256::from_parts(low >> shift, i128::from(high) >> shift.min(64));
            prop_assert_eq!(read(&sent(value, scale)), written(value, scale as usize));
        }
    }
}
