//! Apache Avro: object container files, by the specification 1.12.
//!
//! Written here because what the known library does is not strict enough: it drops a last block that is cut off, compares
//! no sync marker, does not notice bytes behind the last record of a block, lets a decimal have more digits than its type
//! and wraps the parts of a duration; and when it writes, it renames columns and cuts nanoseconds.

mod codec;
mod container;
mod decode;
mod encode;
mod read;
mod types;

pub(crate) use container::Header;
pub(crate) use encode::AvroRows;
pub(crate) use read::{open, rows};
pub(crate) use types::is_name;
