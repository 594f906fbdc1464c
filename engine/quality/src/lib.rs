//! Quality checks: rules about rows and tables, looked at while the rows move.
//!
//! A [`Check`] is plain data: [`read`] makes it from what stands in a pipeline, a plan carries it, its fingerprint says
//! which rule it is. [`Pass`] makes the checks of a table executable: those about single rows are one pass over every
//! batch and say which rows break them, those about the whole table count along. For some the load takes a second [`Look`],
//! when all rows are staged: at the same rows, or at another table. What they counted in one unit of work is a
//! [`CheckTally`](transload_core::finding::CheckTally); [`judge`] merges those of all units into findings, before
//! anything is published.
//!
//! Each kind of check is one file in [`checks`], with its code, what it checks, why, an example and its cost. [`odcs`]
//! takes checks out of data contracts, and puts them into one.

mod bounds;
mod check;
pub mod checks;
mod judge;
mod junit;
mod look;
mod message;
mod missing;
pub mod odcs;
mod pass;
mod policy;
pub mod profile;
mod scalar;
mod score;
mod shape;
mod spread;
mod tally;
mod values;

pub use check::{Before, Check, InReplay, Rule, expressions, read, schema};
pub use checks::Facts;
pub use checks::expression::evaluate;
pub use judge::{judge, not_judged, stopped};
pub use junit::junit;
pub use look::{Look, Other, Place, Seen};
pub use message::{describe, summary};
pub use missing::Missing;
pub use pass::{Aside, Compile, Pass, Reason};
pub use policy::{Amount, Percent, Policy};
pub use scalar::Scalar;
pub use score::Score;
pub use shape::shape;
pub use tally::Tally;
