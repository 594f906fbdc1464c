//! The independent audit: reads source and target a second time, each through its own reader at its recorded
//! pin, and says whether they hold the same rows.
//!
//! Nothing the load did is believed: this crate does not depend on `run`. Both sides are reduced to table
//! digests by key bucket; only buckets that differ are looked into, down to the exact keys and columns. Readers are
//! handed a predicate for them, so that of a large table little is decoded again.

mod audit;
mod declared;
mod drill;
mod left;
mod narrow;
mod side;

pub use audit::{Audit, audit};
