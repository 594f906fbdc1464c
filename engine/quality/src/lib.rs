//! Quality checks: rules about rows and tables, looked at while the rows move.
//!
//! A [`Check`] is plain data: [`read`] makes it from what stands in a pipeline, a plan carries it, its fingerprint says
//! which rule it is. [`Pass`] makes the checks of a table executable: those about single rows are one pass over every
//! batch and say which rows break them, those about the whole table count along; for those about keys the load looks at
//! the rows a second time, when all are staged. What they counted in one unit of work is a
//! [`CheckTally`](transload_core::finding::CheckTally); [`judge`] merges those of all units into findings, before
//! anything is published.
//!
//! Each kind of check is one file in [`checks`], with its code, what it checks, why, an example and its cost.

mod bounds;
mod check;
pub mod checks;
mod judge;
mod junit;
mod message;
mod pass;
mod policy;
mod scalar;
mod score;
mod shape;
mod tally;
mod values;

pub use check::{Check, Rule, read, schema};
pub use checks::Facts;
pub use checks::expression::evaluate;
pub use judge::{judge, stopped};
pub use junit::junit;
pub use message::{describe, summary};
pub use pass::{Aside, Compile, Pass, Reason};
pub use policy::{Amount, Percent, Policy};
pub use scalar::Scalar;
pub use score::Score;
pub use shape::shape;
pub use tally::Tally;
