//! Row hashes.

use std::fmt;
use std::str::FromStr;

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use transload_core::Result;
use xxhash_rust::xxh64::xxh64;

use crate::encode::{CanonicalRows, RowEncoder};

/// Rows encoded at a time: few enough that their canonical bytes stay in the nearest caches.
const BLOCK: usize = 256;
const SEED: u64 = 0;

/// How rows are hashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// XXH64 with seed 0: fast, against accidents.
    #[default]
    Xxh64,
    /// SHA-256: slower, against intent.
    Sha256,
}

impl Algorithm {
    /// Sums kept per bucket.
    pub fn lanes(self) -> usize {
        match self {
            Self::Xxh64 => 2,
            Self::Sha256 => 4,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xxh64 => "xxh64",
            Self::Sha256 => "sha256",
        })
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "xxh64" => Ok(Self::Xxh64),
            "sha256" => Ok(Self::Sha256),
            other => Err(format!("`{other}` is not a row hash; there are xxh64 and sha256")),
        }
    }
}

/// Hashes of consecutive rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowHashes {
    /// One 64-bit integer per row.
    Xxh64(Vec<u64>),
    /// 32 bytes per row.
    Sha256(Vec<[u8; 32]>),
}

impl RowHashes {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Xxh64(h) => h.len(),
            Self::Sha256(h) => h.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The hash of one row in the text form of `docs/row-hash.md`.
    pub fn hex(&self, row: usize) -> String {
        match self {
            Self::Xxh64(h) => format!("{:016x}", h[row]),
            Self::Sha256(h) => hex(&h[row]),
        }
    }

    /// 64 bits of each row's hash, which place a row without a key in a bucket.
    pub fn short(&self) -> Vec<u64> {
        match self {
            Self::Xxh64(h) => h.clone(),
            Self::Sha256(h) => h.iter().map(|h| lane(h, 0)).collect(),
        }
    }
}

/// The `i`th of the four little-endian integers in a SHA-256.
#[inline]
pub(crate) fn lane(hash: &[u8; 32], i: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[8 * i..8 * i + 8]);
    u64::from_le_bytes(bytes)
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Hashes rows of one schema.
#[derive(Debug)]
pub struct RowHasher {
    encoder: RowEncoder,
    algorithm: Algorithm,
    rows: CanonicalRows,
}

impl RowHasher {
    /// A hasher for rows of `schema`.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if a column's type has no canonical bytes.
    pub fn new(schema: &Schema, algorithm: Algorithm) -> Result<Self> {
        Ok(Self { encoder: RowEncoder::new(schema)?, algorithm, rows: CanonicalRows::default() })
    }

    /// The hash of every row of `columns`, which must be of the hasher's schema.
    ///
    /// # Errors
    /// See [`BatchCells::encode`](crate::BatchCells::encode).
    pub fn hash(&mut self, columns: &[ArrayRef], len: usize) -> Result<RowHashes> {
        Ok(match self.algorithm {
            Algorithm::Xxh64 => RowHashes::Xxh64(self.map(columns, len, |row| xxh64(row, SEED))?),
            Algorithm::Sha256 => RowHashes::Sha256(self.map(columns, len, |row| Sha256::digest(row).into())?),
        })
    }

    fn map<H>(&mut self, columns: &[ArrayRef], len: usize, hash: impl Fn(&[u8]) -> H) -> Result<Vec<H>> {
        let cells = self.encoder.cells(columns);
        let mut out = Vec::with_capacity(len);
        for start in (0..len).step_by(BLOCK) {
            cells.encode(start..len.min(start + BLOCK), &mut self.rows)?;
            out.extend(self.rows.iter().map(&hash));
        }
        Ok(out)
    }
}
