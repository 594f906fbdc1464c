//! Canonical row bytes, row hashes and table digests, as `docs/row-hash.md` defines them.
//!
//! [`RowHasher`] turns columns into row hashes; [`TableDigest`] adds row hashes up, by key bucket,
//! so that two tables can be compared without looking at their order, and a difference leads to a few buckets.

mod encode;
mod hash;
mod sample;
mod table;

pub use encode::{BatchCells, CanonicalRows, RowEncoder};
pub use hash::{Algorithm, RowHasher, RowHashes, hex};
pub use sample::Sampler;
pub use table::{Bucket, TableDigest, bucket, mix, sum_texts};
