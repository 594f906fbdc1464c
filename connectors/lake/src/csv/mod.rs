//! CSV: read strictly, with line numbers, and as text; written so that it is read back as it was.

mod read;
mod record;
mod records;
mod text;
mod write;

pub(crate) use read::{CsvFile, open, open_written};
pub(crate) use record::{Dialect, MAX_RECORD};
pub use text::{CsvRecord, csv_records};
pub(crate) use write::CsvRows;
