//! Rows as CSV, by RFC 4180.
//!
//! NULL is an empty field without quotes. Every text that could be taken for something else is quoted, the empty one too,
//! so that both come back as they were.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use transload_core::{Error, Result};

use crate::cells::{Cells, Values};
use crate::rows::can_be_read;
use crate::settings::CsvDialect;
use crate::text;

/// Writes rows of one schema.
pub(crate) struct CsvRows {
    schema: SchemaRef,
    dialect: CsvDialect,
}

impl CsvRows {
    pub(crate) fn new(schema: SchemaRef, dialect: CsvDialect) -> Self {
        Self { schema, dialect }
    }

    /// What stands before the first row.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) {
        if self.dialect.header {
            for (at, field) in self.schema.fields().iter().enumerate() {
                self.separate(at, out);
                self.put_text(field.name().as_bytes(), out);
            }
            out.push(b'\n');
        }
    }

    /// The rows of a batch.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for a value that would not be read back as it is.
    pub(crate) fn rows(&self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = self.schema.fields().iter().zip(batch.columns()).map(|(f, array)| Cells::of(f, array));
        let columns: Vec<Cells<'_>> = columns.collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            let start = out.len();
            for (at, column) in columns.iter().enumerate() {
                self.separate(at, out);
                self.cell(column, row, out)?;
            }
            out.push(b'\n');
            can_be_read(out.len() - start, "CSV")?;
        }
        Ok(())
    }

    fn separate(&self, at: usize, out: &mut Vec<u8>) {
        if at > 0 {
            out.push(self.dialect.delimiter);
        }
    }

    fn cell(&self, column: &Cells<'_>, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if column.is_null(row) {
            return Ok(());
        }
        if let Values::Text(texts) = &column.values {
            self.put_text(texts.at(row).as_bytes(), out);
            return Ok(());
        }
        let start = out.len();
        text::write(&column.values, row, out).map_err(|reason| {
            Error::config(format!("a value cannot be written as CSV: {reason}")).with("column", column.name)
        })?;
        // A delimiter can be anything, such as a digit or the colon of a time.
        if self.needs_quotes(&out[start..]) {
            let plain = out.split_off(start);
            self.put_quoted(&plain, out);
        }
        Ok(())
    }

    fn put_text(&self, text: &[u8], out: &mut Vec<u8>) {
        match self.needs_quotes(text) {
            true => self.put_quoted(text, out),
            false => out.extend_from_slice(text),
        }
    }

    fn needs_quotes(&self, text: &[u8]) -> bool {
        let CsvDialect { delimiter, quote, .. } = self.dialect;
        let special = |c: &u8| *c == delimiter || *c == quote || matches!(c, b'\n' | b'\r');
        // Some readers take blanks at the ends away, and all of them a mark at the beginning of the file.
        let blank = |c: Option<&u8>| c.is_none_or(|c| matches!(c, b' ' | b'\t'));
        blank(text.first()) || blank(text.last()) || text.starts_with(b"\xef\xbb\xbf") || text.iter().any(special)
    }

    fn put_quoted(&self, text: &[u8], out: &mut Vec<u8>) {
        let quote = self.dialect.quote;
        out.push(quote);
        for c in text {
            if *c == quote {
                out.push(quote);
            }
            out.push(*c);
        }
        out.push(quote);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray, Time32SecondArray};

    use super::*;
    use crate::csv::csv_records;

    const COMMA: CsvDialect = CsvDialect { delimiter: b',', quote: b'"', header: true };

    fn written(dialect: CsvDialect, columns: Vec<(&str, ArrayRef)>) -> String {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let rows = CsvRows::new(batch.schema(), dialect);
        let mut out = Vec::new();
        rows.begin(&mut out);
        rows.rows(&batch, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn null_and_the_empty_text_stay_apart() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("NULL"), Some("a b")]));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(-7), Some(0), None]));
        let csv = written(COMMA, vec![("t", texts), ("n", numbers)]);
        assert_eq!(csv, "t,n\n\"\",\n,-7\nNULL,0\na b,\n");
    }

    #[test]
    fn what_is_quoted_is_read_as_it_was() {
        let odd = ["a,b", "say \"hi\"", "two\nlines", "a\rb", " a", "a\t", "plain", "\"", "\u{feff}x", "ä"];
        let texts: ArrayRef = Arc::new(StringArray::from(odd.to_vec()));
        let csv = written(COMMA, vec![("t", texts)]);
        let records = csv_records(&csv).unwrap();
        let read: Vec<&str> = records[1..].iter().map(|r| r.fields[0].0.as_str()).collect();
        assert_eq!(read, odd);
    }

    #[test]
    fn any_delimiter_can_be_in_a_value() {
        let times: ArrayRef = Arc::new(Time32SecondArray::from(vec![Some(3661), None]));
        let dialect = CsvDialect { delimiter: b':', quote: b'\'', header: false };
        assert_eq!(written(dialect, vec![("t", Arc::clone(&times)), ("u", times)]), "'01:01:01':'01:01:01'\n:\n");
    }
}
