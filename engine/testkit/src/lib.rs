//! For tests only: the conformance suite that every connector must pass, chosen by what it claims, rules of every kind
//! for property tests, and a bucket that breaks where it is told to.
//!
//! A failed check is an `Err` with a sentence, so that a test shows which promise was broken.

pub mod bucket;
mod merge;
pub mod rules;
mod sink;
mod source;

pub use merge::{claims_are_kept, merged_by_many};
pub use sink::{added_by_many, sink_keeps_its_promises};
pub use source::{digest_of, source_keeps_its_promises};

use transload_core::{Error, Result};

/// Fails with a sentence unless a promise is kept.
fn promise(kept: bool, sentence: impl Into<String>) -> Result<()> {
    if kept { Ok(()) } else { Err(Error::internal(format!("a promise is broken: {}", sentence.into()))) }
}
