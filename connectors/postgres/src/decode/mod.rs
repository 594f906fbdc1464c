//! What a binary `COPY … TO STDOUT` sends, as Arrow batches.
//!
//! One pass over the bytes as they come from the connection: each field is put where it stays. Nothing is allocated for a
//! value, and nothing is copied but the values themselves, unless the stream is cut inside of a row.

mod column;
mod fault;
mod nested;
mod numeric;
mod reader;
#[cfg(test)]
mod tests;
mod text;
mod time;
#[cfg(test)]
mod wire;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use transload_core::{Error, LogicalType, Result};

use column::Builder;
use fault::Fault;

use crate::types::Column;

/// How a stream begins.
const SIGNATURE: [u8; 11] = *b"PGCOPY\n\xff\r\n\0";
/// The signature, flags, and the length of what a later version may add to the header.
const HEADER: usize = SIGNATURE.len() + 8;
/// Flags that must not be passed over. None is used since PostgreSQL 12; before, the lowest told of oids.
const CRITICAL_FLAGS: i32 = 0xffff << 16;
/// The count of fields that ends a stream.
const TRAILER: i16 = -1;
/// Memory for rows that came in parts is given back when it is more than this.
const CARRY_BYTES: usize = 1 << 20;

/// Rows of one stream, made into batches.
pub(crate) struct Decoder {
    schema: SchemaRef,
    columns: Vec<Builder>,
    /// Which columns count with the length of their values in `payload`: all bits set, or none.
    counted: Vec<usize>,
    state: State,
    /// The beginning of a row whose end has not come yet.
    carry: Vec<u8>,
    /// How much of it there must be before it is worth another look.
    wanted: usize,
    rows: usize,
    /// Bytes of a row whatever is in it.
    width: usize,
    /// Bytes of values of any length in the batch so far.
    payload: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Complete,
    Failed,
}

/// What became of the bytes that were looked at.
enum Step {
    /// So many of them are done with.
    Used(usize),
    /// There must be so many of them before anything can be done.
    Wants(usize),
}

impl Decoder {
    /// A decoder for a stream of these columns, whose fields the schema has in the same order.
    pub(crate) fn new(columns: &[Column], schema: SchemaRef) -> Self {
        let columns: Vec<Builder> = columns.iter().map(|column| Builder::new(&column.kind)).collect();
        Self {
            schema,
            counted: columns.iter().map(|column| if column.is_of_any_length() { usize::MAX } else { 0 }).collect(),
            width: columns.iter().map(Builder::width).sum(),
            columns,
            state: State::Header,
            carry: Vec::new(),
            wanted: HEADER,
            rows: 0,
            payload: 0,
        }
    }

    /// Takes the next bytes of the stream, wherever they are cut.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a value that its column's type has no place for,
    /// [`Internal`](transload_core::ErrorKind::Internal) for bytes that are no such stream. The decoder is of no use then.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let fed = self.take(bytes);
        if fed.is_err() {
            self.state = State::Failed;
        }
        fed
    }

    /// Rows in the batch so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// About how many bytes of memory the batch takes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.rows * self.width + self.payload
    }

    /// Whether the stream has ended as it should. One that ends otherwise was cut.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// The rows so far as a batch, which may have none. The next batch begins.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a text that is not UTF-8,
    /// [`Internal`](transload_core::ErrorKind::Internal) for values that are not of the schema.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        if self.state == State::Failed {
            return Err(failed());
        }
        let batch = self.batch();
        if batch.is_err() {
            self.state = State::Failed;
        }
        batch
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter_mut().enumerate() {
            arrays.push(column.finish().map_err(|fault| explain(&self.schema, at, fault))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.payload) = (0, 0);
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|e| Error::internal("the server's rows are not of the columns that were asked for").because(e))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if self.carry.is_empty() {
            let used = self.read(bytes)?;
            self.carry.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(bytes);
        if carry.len() >= self.wanted {
            let used = self.read(&carry)?;
            carry.drain(..used);
            carry.shrink_to(CARRY_BYTES);
        }
        self.carry = carry;
        Ok(())
    }

    /// Reads as far as there is something whole, and says how far that was.
    fn read(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let step = match self.state {
                State::Header => self.header(rest)?,
                State::Rows => self.row(rest)?,
                State::Complete if rest.is_empty() => return Ok(used),
                State::Complete => return Err(Error::internal("the server sent rows after the end of a table")),
                State::Failed => return Err(failed()),
            };
            match step {
                Step::Used(more) => used += more,
                Step::Wants(wanted) => {
                    self.wanted = wanted;
                    return Ok(used);
                }
            }
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Step> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(Step::Wants(HEADER)) };
        let [.., f0, f1, f2, f3, e0, e1, e2, e3] = *header;
        let flags = i32::from_be_bytes([f0, f1, f2, f3]);
        if !header.starts_with(&SIGNATURE) || flags & CRITICAL_FLAGS != 0 {
            return Err(Error::internal("the server did not send a table in the binary format that is known"));
        }
        let extension = usize::try_from(i32::from_be_bytes([e0, e1, e2, e3])).map_err(|_| not_a_row())?;
        if rest.len() < extension {
            return Ok(Step::Wants(HEADER + extension));
        }
        self.state = State::Rows;
        Ok(Step::Used(HEADER + extension))
    }

    /// Reads one row. If its end is not there yet, what there is of it is taken back.
    #[inline]
    fn row(&mut self, bytes: &[u8]) -> Result<Step> {
        let Some((count, mut rest)) = bytes.split_first_chunk::<2>() else { return Ok(Step::Wants(2)) };
        let count = i16::from_be_bytes(*count);
        if usize::try_from(count) != Ok(self.columns.len()) {
            return self.ended(count);
        }
        let mut payload = 0;
        for (at, (column, counted)) in self.columns.iter_mut().zip(&self.counted).enumerate() {
            let Some((length, after)) = rest.split_first_chunk::<4>() else {
                return Ok(self.incomplete(at, bytes.len() - rest.len() + 4));
            };
            let length = i32::from_be_bytes(*length);
            let Ok(length) = usize::try_from(length) else {
                if length != -1 {
                    return Err(not_a_row());
                }
                column.push_null();
                rest = after;
                continue;
            };
            let Some((value, after)) = after.split_at_checked(length) else {
                return Ok(self.incomplete(at, bytes.len() - after.len() + length));
            };
            if let Err(fault) = column.push(value) {
                return Err(explain(&self.schema, at, fault));
            }
            payload += length & counted;
            rest = after;
        }
        self.rows += 1;
        self.payload += payload;
        Ok(Step::Used(bytes.len() - rest.len()))
    }

    #[cold]
    fn ended(&mut self, count: i16) -> Result<Step> {
        if count != TRAILER {
            let columns = self.columns.len();
            let message = format!("the server sent a row of {count} columns where {columns} were asked for");
            return Err(Error::internal(message));
        }
        self.state = State::Complete;
        Ok(Step::Used(2))
    }

    /// Takes back the first `columns` values of a row that goes on after `bytes`.
    #[cold]
    fn incomplete(&mut self, columns: usize, bytes: usize) -> Step {
        for column in &mut self.columns[..columns] {
            column.truncate(self.rows);
        }
        Step::Wants(bytes)
    }
}

#[cold]
fn explain(schema: &Schema, at: usize, fault: Fault) -> Error {
    match schema.fields().get(at) {
        Some(field) => fault.explain(field.name(), &LogicalType::of(field).unwrap_or(LogicalType::Text)),
        None => Error::internal("a stream has more columns than its schema"),
    }
}

#[cold]
fn not_a_row() -> Error {
    Error::internal("the server sent bytes that are no rows of a table")
}

#[cold]
fn failed() -> Error {
    Error::internal("a stream of rows was read on after it had failed")
}
