//! The deterministic sample.

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use sha2::{Digest, Sha256};
use transload_core::{Error, Result};

use crate::encode::{CanonicalRows, RowEncoder};

/// Chooses rows by their key alone: the same ones in every run and on both sides.
#[derive(Debug)]
pub struct Sampler {
    encoder: RowEncoder,
    keep: u64,
    of: u64,
}

impl Sampler {
    /// Chooses `keep` in `of` rows by the key columns in `schema`.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if `of` is 0, `keep` exceeds it, or there is no key.
    pub fn new(key: &Schema, keep: u64, of: u64) -> Result<Self> {
        if of == 0 || keep > of {
            return Err(Error::config(format!("a sample of {keep} in {of} is not possible")));
        }
        if key.fields().is_empty() {
            return Err(Error::config("a sample needs a key").hint("set `key` for this table"));
        }
        Ok(Self { encoder: RowEncoder::new(key)?, keep, of })
    }

    /// For every row of the key columns, whether it is in the sample.
    ///
    /// # Errors
    /// See [`BatchCells::encode`](crate::BatchCells::encode).
    pub fn choose(&self, key: &[ArrayRef], len: usize) -> Result<Vec<bool>> {
        let mut rows = CanonicalRows::default();
        self.encoder.cells(key).encode(0..len, &mut rows)?;
        Ok(rows.iter().map(|row| modulo(&Sha256::digest(row).into(), self.of) < self.keep).collect())
    }
}

/// A big-endian 256-bit integer modulo a 64-bit one.
fn modulo(hash: &[u8; 32], of: u64) -> u64 {
    hash.iter().fold(0u128, |rest, &byte| (rest * 256 + u128::from(byte)) % u128::from(of)) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, StringArray};

    use super::*;

    #[test]
    fn the_rate_is_right_and_the_choice_stable() {
        let n = 200_000i64;
        let batch = RecordBatch::try_from_iter([
            ("a", Arc::new(Int64Array::from_iter_values(0..n)) as ArrayRef),
            ("b", Arc::new(StringArray::from_iter_values((0..n).map(|i| format!("k{}", i % 7)))) as ArrayRef),
        ])
        .unwrap();
        let sampler = Sampler::new(&batch.schema(), 10, 100).unwrap();
        let first = sampler.choose(batch.columns(), batch.num_rows()).unwrap();
        let rate = first.iter().filter(|x| **x).count() as f64 / n as f64;
        assert!((rate - 0.1).abs() < 0.01, "{rate}");
        let half = batch.slice(100_000, 100_000);
        assert_eq!(sampler.choose(half.columns(), 100_000).unwrap(), first[100_000..]);
        assert!(Sampler::new(&batch.schema(), 2, 1).is_err());
    }
}
