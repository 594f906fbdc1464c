//! How many different values there are: exactly while they are few, else estimated.

use std::collections::HashSet;

use serde::Serialize;

/// So many different values are counted exactly, by their 64-bit hashes; beyond that the number is estimated.
pub const EXACT: usize = 100_000;

/// Bits of a hash that choose a register of the sketch.
const BITS: u32 = 14;
const REGISTERS: usize = 1 << BITS;

/// A number of different values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DistinctCount {
    /// The number.
    pub count: u64,
    /// Whether it is counted; else it is an estimate, with a standard error of 0.8 %.
    pub exact: bool,
}

/// The different values of a column, by their hashes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Distinct {
    /// All of them.
    Exact(HashSet<u64>),
    /// The registers of a HyperLogLog sketch (Flajolet, Fusy, Gandouet and Meunier 2007).
    Sketch(Vec<u8>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Exact(HashSet::new())
    }
}

impl Distinct {
    pub(crate) fn add(&mut self, hash: u64) {
        match self {
            Self::Exact(hashes) => {
                hashes.insert(hash);
                if hashes.len() > EXACT {
                    *self = Self::Sketch(sketch(hashes));
                }
            }
            Self::Sketch(registers) => note(registers, hash),
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Sketch(registers), Self::Sketch(more)) => {
                registers.iter_mut().zip(more).for_each(|(register, other)| *register = other.max(*register));
            }
            (this, Self::Exact(hashes)) => hashes.into_iter().for_each(|hash| this.add(hash)),
            (this, Self::Sketch(mut registers)) => {
                if let Self::Exact(hashes) = this {
                    hashes.iter().for_each(|hash| note(&mut registers, *hash));
                }
                *this = Self::Sketch(registers);
            }
        }
    }

    pub(crate) fn count(&self) -> DistinctCount {
        match self {
            Self::Exact(hashes) => DistinctCount { count: hashes.len() as u64, exact: true },
            Self::Sketch(registers) => DistinctCount { count: estimate(registers), exact: false },
        }
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Exact(hashes) => hashes.capacity() * (size_of::<u64>() + 1),
            Self::Sketch(registers) => registers.len(),
        }
    }
}

fn sketch(hashes: &HashSet<u64>) -> Vec<u8> {
    let mut registers = vec![0; REGISTERS];
    hashes.iter().for_each(|hash| note(&mut registers, *hash));
    registers
}

/// A register keeps the longest run of zeros that any of its hashes has behind the bits that chose it, and one more.
fn note(registers: &mut [u8], hash: u64) {
    let register = (hash >> (u64::BITS - BITS)) as usize;
    // The bit that is set ends the longest run there can be.
    let run = ((hash << BITS) | (1 << (BITS - 1))).leading_zeros() as u8 + 1;
    if let Some(longest) = registers.get_mut(register) {
        *longest = run.max(*longest);
    }
}

/// The plain estimate: a sketch holds more than [`EXACT`] values, which is beyond the five values per register up to
/// which it has a bias, and hashes of 64 bits do not run out.
fn estimate(registers: &[u8]) -> u64 {
    let m = registers.len() as f64;
    let alpha = 0.7213 / (1.0 + 1.079 / m);
    let sum: f64 = registers.iter().map(|longest| 0.5f64.powi(i32::from(*longest))).sum();
    (alpha * m * m / sum).round() as u64
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh64::xxh64;

    use super::*;

    fn of(keys: std::ops::Range<u64>) -> Distinct {
        let mut distinct = Distinct::default();
        keys.for_each(|key| distinct.add(xxh64(&key.to_le_bytes(), 0)));
        distinct
    }

    #[test]
    fn few_values_are_counted() {
        let exact = |count| DistinctCount { count, exact: true };
        assert_eq!(of(0..0).count(), exact(0));
        assert_eq!(of(0..EXACT as u64).count(), exact(EXACT as u64));
        let mut merged = of(0..700);
        merged.merge(of(500..1000));
        assert_eq!(merged.count(), exact(1000));
    }

    #[test]
    fn many_values_are_estimated_within_three_standard_errors() {
        for keys in [100_001, 150_000, 400_000, 1_000_000] {
            let found = of(0..keys).count();
            let error = (found.count as f64 - keys as f64).abs() / keys as f64;
            assert!(!found.exact && error < 3.0 * 0.00813, "{found:?} of {keys}");
        }
    }

    #[test]
    fn parts_merge_to_the_whole_whatever_they_are() {
        let whole = of(0..250_000);
        for cut in [10, 60_000, 130_000, 249_000] {
            let mut merged = of(0..cut);
            merged.merge(of(cut..250_000));
            assert!(merged == whole, "{cut}");
        }
        let mut merged = of(0..80_000);
        merged.merge(of(70_000..EXACT as u64));
        assert!(merged == of(0..EXACT as u64));
    }
}
