//! Executes a plan: pin → scan → transform → digest → stage, unit by unit, then judge and commit, table by table.
//!
//! A unit of work is one split of one table. Units run in parallel; each staged unit is written to the
//! journal, so that a later process can go on where this one ended. Once all units of a table are staged, its checks
//! are judged; if none demands to stop, it is committed, and its receipt says what was done. Whether that is true is
//! for `reconcile` to find out. A run that is only there for the checks stops when they are judged.

mod keys;
mod limits;
mod load;
mod look;
mod nowhere;
mod profile;
mod repin;
mod second_look;
mod table;
mod unit;

pub use datafusion::prelude::SessionContext as Session;
pub use limits::Limits;
pub use load::{Load, TableOutcome, run};
pub use look::look;
pub use profile::profile;
pub use repin::{Anew, pinned_anew, repin};
