//! Rows as the binary form of COPY.
//!
//! A header, then for each row the number of its columns and each value with its length before it, then a trailer: see
//! <https://www.postgresql.org/docs/current/sql-copy.html>, *Binary Format*. Values are laid out as the server's own `recv`
//! functions read them.

mod number;
mod time;
mod values;
mod wire;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use bytes::Bytes;
use transload_core::{Error, Result};

use self::values::Values;
pub(crate) use self::wire::Wire;
use crate::columns::Columns;

/// Bytes that are sent at once, about: rows are added until there are as many.
const CHUNK: usize = 256 << 10;

/// Room for a row beyond it.
const ROOM: usize = 8 << 10;

const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// What a type of the server does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A text with a zero character.
    Zero,
    /// A value of a gigabyte.
    Long,
    Day,
    Moment,
    OfDay,
}

/// Writes rows into chunks of bytes.
pub(crate) struct Encoder<'a> {
    columns: &'a Columns,
    /// Whether a delete marker keeps the value of each column.
    is_kept: Vec<bool>,
    /// The number of columns, as each row has it.
    count: [u8; 2],
    buffer: Vec<u8>,
    rows: u64,
    deleted: u64,
}

/// A batch that is being written.
pub(crate) struct Batch<'a> {
    columns: Vec<Values<'a>>,
    marks: Option<&'a BooleanArray>,
    /// Rows that are left.
    rows: std::ops::Range<usize>,
}

impl<'a> Encoder<'a> {
    /// Begins with the header.
    pub(crate) fn new(columns: &'a Columns) -> Self {
        let mut buffer = Vec::with_capacity(CHUNK + ROOM);
        buffer.extend_from_slice(HEADER);
        Self {
            columns,
            is_kept: (0..columns.all().len()).map(|at| columns.is_kept_of_markers(at)).collect(),
            // A table has at most 1600.
            count: (columns.all().len() as u16).to_be_bytes(),
            buffer,
            rows: 0,
            deleted: 0,
        }
    }

    /// Looks at the columns of a batch.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if they are not those that were announced.
    pub(crate) fn open<'b>(&self, batch: &'b RecordBatch) -> Result<Batch<'b>> {
        let all = self.columns.all();
        if batch.num_columns() != all.len() {
            return Err(Error::internal("rows have another number of columns than was announced"));
        }
        let mut columns = Vec::with_capacity(all.len());
        for (column, array) in all.iter().zip(batch.columns()) {
            let values = Values::of(array.as_ref(), column.wire).ok_or_else(|| {
                let layout = array.data_type();
                Error::internal(format!("values laid out as {layout} cannot be sent as {}", column.sql))
                    .with("column", &column.name)
            })?;
            columns.push(values);
        }
        let marks = self.columns.marks().map(|at| batch.column(at).as_boolean_opt());
        if marks.is_some_and(|marks| marks.is_none_or(|marks| marks.null_count() > 0)) {
            return Err(Error::internal("delete markers are not told from other rows"));
        }
        Ok(Batch { columns, marks: marks.flatten(), rows: 0..batch.num_rows() })
    }

    /// Adds rows, until all of the batch are written or a chunk is full. Whether it is full.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a value that the server does not hold, by the name of its column.
    pub(crate) fn fill(&mut self, batch: &mut Batch<'_>) -> Result<bool> {
        while self.buffer.len() < CHUNK {
            let Some(row) = batch.rows.next() else { return Ok(false) };
            let is_marker = batch.marks.is_some_and(|marks| marks.value(row));
            self.buffer.extend_from_slice(&self.count);
            for (at, column) in batch.columns.iter().enumerate() {
                if is_marker && !self.is_kept[at] {
                    values::null(&mut self.buffer);
                } else {
                    column.write(&mut self.buffer, row).map_err(|unfit| self.unfit(at, unfit))?;
                }
            }
            match is_marker {
                true => self.deleted += 1,
                false => self.rows += 1,
            }
        }
        Ok(true)
    }

    /// Takes what was written.
    pub(crate) fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK + ROOM)))
    }

    /// Ends with the trailer. What is left to be sent, the number of rows, and that of delete markers.
    pub(crate) fn finish(mut self) -> (Bytes, u64, u64) {
        self.buffer.extend_from_slice(&TRAILER);
        (Bytes::from(self.buffer), self.rows, self.deleted)
    }

    fn unfit(&self, at: usize, unfit: Unfit) -> Error {
        let (what, hint) = match unfit {
            Unfit::Zero => (
                "PostgreSQL cannot hold a text with a zero character",
                "derive a column without it, such as `replace(name, chr(0), '')`, or one of its bytes",
            ),
            Unfit::Long => ("PostgreSQL cannot hold a value of a gigabyte", "leave the column out, or cut its values"),
            Unfit::Day => (
                "a date is outside of those that PostgreSQL has, which are from 4714 BC to 5874897",
                "repair the source, or cast the column to text",
            ),
            Unfit::Moment => (
                "a timestamp is outside of those that PostgreSQL has, which are from 4714 BC to 294276",
                "repair the source, or cast the column to text",
            ),
            Unfit::OfDay => ("a time of day is outside of the day", "repair the source, or cast the column to text"),
        };
        let error = Error::config(what).hint(hint);
        match self.columns.all().get(at) {
            Some(column) => error.with("column", &column.name),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests;
