//! JSON lines: one object in each line. Read strictly, with line numbers and without taking numbers for floats; written so
//! that they are read back as they were.

mod lines;
mod read;
mod seen;
mod shape;
mod syntax;
mod write;

pub(crate) use read::{JsonFile, open, open_written};
pub(crate) use write::JsonRows;
