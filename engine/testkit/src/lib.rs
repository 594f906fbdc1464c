//! For tests only: the conformance suite that every connector must pass, rules of every kind for property tests, a bucket
//! that breaks where it is told to, and a proxy that breaks what goes through it.
//!
//! The suite is a list of [cases]. Each is one promise, has a name that says it, and belongs to a [`Claim`]. A [`Subject`]
//! is a configured connector: it runs the cases of what it claims, and each is proven, or has failed with a sentence.
//! A new promise is one line in the list of its family and the function beside it; a new claim is one line in `claim.rs`.

pub mod bucket;
pub mod proxy;
pub mod rules;

mod append;
mod case;
mod claim;
mod conditions;
mod discover;
mod dropped;
mod filter;
mod merge;
mod partition;
mod reading;
mod replace;
mod sink;
mod size;
mod source;
mod subject;
mod trial;
mod types;
mod values;

use transload_core::{Error, Result};

pub use append::added_by_many;
pub use case::{Case, Weight, cases};
pub use claim::{CLAIMS, Claim, claims_of};
pub use conditions::conditions_lose_nothing;
pub use merge::merged_by_many;
pub use subject::{Finding, Outcome, Subject};

/// Fails with a sentence unless a promise is kept.
fn promise(kept: bool, sentence: impl Into<String>) -> Result<()> {
    if kept { Ok(()) } else { Err(Error::internal(format!("a promise is broken: {}", sentence.into()))) }
}
