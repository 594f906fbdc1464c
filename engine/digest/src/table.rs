//! Table digests: multisets of row hashes, by bucket.

use transload_core::{Error, Result};

use crate::hash::{Algorithm, RowHashes, lane};

/// What is known about the rows of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket<'a> {
    /// Number of rows.
    pub rows: u64,
    /// Sum per lane.
    pub sums: &'a [u128],
}

/// The digest of a table, or of a part of it. Parts merge in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDigest {
    algorithm: Algorithm,
    bits: u32,
    rows: Vec<u64>,
    /// `lanes` sums for each bucket.
    sums: Vec<u128>,
}

impl TableDigest {
    /// The most bucket bits a digest should have: 2^16 buckets keep it below 5 MiB, whatever the algorithm.
    pub const MOST_BITS: u32 = 16;

    /// An empty digest with 2^`bits` buckets.
    pub fn new(algorithm: Algorithm, bits: u32) -> Self {
        let buckets = 1usize << bits;
        Self { algorithm, bits, rows: vec![0; buckets], sums: vec![0; buckets * algorithm.lanes()] }
    }

    /// A number of bucket bits at which a table of `rows` rows has about a hundred rows in each, up to
    /// [`MOST_BITS`](Self::MOST_BITS). Few rows in a bucket keep what is read again small when some differ.
    pub fn bits_for(rows: u64) -> u32 {
        (rows / 64).max(1).ilog2().min(Self::MOST_BITS)
    }

    /// How the rows are hashed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How many bits of a key's hash say which bucket it belongs to.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Adds rows. `keys` holds the key hash of each; without it rows are placed by their own hash.
    pub fn add(&mut self, hashes: &RowHashes, keys: Option<&[u64]>) {
        let bits = self.bits;
        match hashes {
            RowHashes::Xxh64(hashes) => {
                let keys = keys.unwrap_or(hashes);
                for (&h, &k) in hashes.iter().zip(keys) {
                    let b = bucket(k, bits);
                    self.rows[b] += 1;
                    let sums = &mut self.sums[2 * b..2 * b + 2];
                    sums[0] += u128::from(h);
                    sums[1] += u128::from(mix(h));
                }
            }
            RowHashes::Sha256(hashes) => {
                for (i, h) in hashes.iter().enumerate() {
                    let b = bucket(keys.map_or_else(|| lane(h, 0), |k| k[i]), bits);
                    self.rows[b] += 1;
                    for (l, sum) in self.sums[4 * b..4 * b + 4].iter_mut().enumerate() {
                        *sum += u128::from(lane(h, l));
                    }
                }
            }
        }
    }

    /// Adds another part's rows.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the parts are of different kinds.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if (self.algorithm, self.bits) != (other.algorithm, other.bits) {
            return Err(Error::internal("two table digests of different kinds cannot be merged"));
        }
        self.rows.iter_mut().zip(&other.rows).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// Number of rows in all.
    pub fn rows(&self) -> u64 {
        self.rows.iter().sum()
    }

    /// The buckets, in order.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket<'_>> {
        self.rows.iter().zip(self.sums.chunks(self.algorithm.lanes())).map(|(&rows, sums)| Bucket { rows, sums })
    }

    /// The numbers of the buckets in which two digests of one kind differ.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        self.buckets().zip(other.buckets()).enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect()
    }
}

impl std::fmt::Display for TableDigest {
    /// The text form of `docs/row-hash.md`, which does not depend on the number of buckets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lanes = self.algorithm.lanes();
        write!(f, "{}:{}", self.algorithm, self.rows())?;
        for l in 0..lanes {
            let sum: u128 = self.sums.iter().skip(l).step_by(lanes).sum();
            write!(f, ":{sum:032x}")?;
        }
        Ok(())
    }
}

/// Adds digests up from their text form: what a journal keeps of each unit.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if a text is not a digest of `algorithm`.
pub fn sum_texts<'a>(algorithm: Algorithm, texts: impl IntoIterator<Item = &'a str>) -> Result<TableDigest> {
    let broken = || Error::internal("a recorded digest cannot be read");
    let mut total = TableDigest::new(algorithm, 0);
    for text in texts {
        let mut parts = text.split(':');
        if parts.next() != Some(algorithm.to_string().as_str()) {
            return Err(broken());
        }
        total.rows[0] += parts.next().and_then(|r| r.parse::<u64>().ok()).ok_or_else(broken)?;
        for sum in &mut total.sums {
            *sum += parts.next().and_then(|s| u128::from_str_radix(s, 16).ok()).ok_or_else(broken)?;
        }
    }
    Ok(total)
}

/// The bucket that a key's hash belongs to, of 2^`bits`.
#[inline]
pub fn bucket(hash: u64, bits: u32) -> usize {
    // Two shifts, because shifting by 64 (no bits) is not defined.
    ((hash >> 1) >> (63 - bits)) as usize
}

/// The SplitMix64 finaliser: a second, independent-looking view of the same hash. No two hashes give the same.
#[inline]
pub fn mix(h: u64) -> u64 {
    let mut z = h.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[u64], bits: u32) -> TableDigest {
        let mut d = TableDigest::new(Algorithm::Xxh64, bits);
        d.add(&RowHashes::Xxh64(rows.to_vec()), None);
        d
    }

    #[test]
    fn order_and_buckets_do_not_count_but_duplicates_do() {
        assert_eq!(digest(&[1, u64::MAX, 3], 4).to_string(), digest(&[3, 1, u64::MAX], 0).to_string());
        assert_ne!(digest(&[7, 7], 4).to_string(), digest(&[], 4).to_string());
        assert_ne!(digest(&[7, 7, 7], 4).to_string(), digest(&[7], 4).to_string());
        // Equal counts and equal plain sums: only the mixed lane tells these apart.
        assert_ne!(digest(&[1, 4], 4).to_string(), digest(&[2, 3], 4).to_string());
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut a = digest(&[1, 2], 6);
        let b = digest(&[u64::MAX, 9], 6);
        let whole = digest(&[1, 2, u64::MAX, 9], 6);
        let texts = [a.to_string(), b.to_string()];
        let summed = sum_texts(Algorithm::Xxh64, texts.iter().map(String::as_str)).unwrap();
        assert_eq!(summed.to_string(), whole.to_string());
        a.merge(&b).unwrap();
        assert_eq!(a, whole);
        assert!(sum_texts(Algorithm::Sha256, ["xxh64:1:0:0"]).is_err());
    }

    #[test]
    fn differing_buckets_are_found() {
        let a = digest(&[1 << 60, 2 << 60, 3 << 60], 4);
        let b = digest(&[1 << 60, 3 << 60], 4);
        assert_eq!(a.differing(&b), [2]);
        assert_eq!(TableDigest::bits_for(0), 0);
        assert_eq!(TableDigest::bits_for(6_000_000), 16);
    }
}
