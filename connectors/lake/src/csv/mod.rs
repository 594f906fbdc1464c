//! Reading CSV: strictly, with line numbers, and as text.
//!
//! No value is interpreted here. A column's type, declared or guessed, travels as field metadata; the planner
//! casts from text under the rulebook, where a value that does not fit has a policy and a count.

mod guess;
mod read;
mod record;
mod records;
mod text;

pub(crate) use guess::guess;
pub(crate) use read::{CsvFile, open};
pub use text::{CsvRecord, csv_records};
