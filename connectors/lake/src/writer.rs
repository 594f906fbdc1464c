//! A file of rows in any format that is written, on this machine.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use transload_core::{Error, Result};

use crate::avro::AvroRows;
use crate::compress::{Compression, Compressor};
use crate::csv::CsvRows;
use crate::json::JsonRows;
use crate::settings::{ParquetWriting, WriteFormat};

/// Bytes that are kept before they are written to the disk.
const BUFFER: usize = 1 << 18;
/// Memory that a compressor takes, more or less.
const COMPRESSOR: usize = 1 << 20;

/// A file that is being written.
pub(crate) enum OpenFile {
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    Rows(Box<RowWriter>),
}

/// Writes a file whose rows come one after the other.
pub(crate) struct RowWriter {
    rows: Rows,
    out: Compressor<Counted>,
    /// What is written next, and room for it.
    buffer: Vec<u8>,
}

enum Rows {
    Csv(CsvRows),
    Json(JsonRows),
    Avro(AvroRows),
}

/// A file that knows how much has been written to it.
struct Counted {
    file: BufWriter<File>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl OpenFile {
    /// Begins a file. `name` is one that no other file of the table has.
    ///
    /// # Errors
    /// As the disk fails.
    pub(crate) fn new(file: File, name: &str, schema: &SchemaRef, format: &WriteFormat) -> Result<Self> {
        let file = BufWriter::with_capacity(BUFFER, file);
        let (rows, compression) = match format {
            WriteFormat::Parquet(parquet) => {
                let writer = ArrowWriter::try_new(file, Arc::clone(schema), Some(properties(parquet)));
                return Ok(Self::Parquet(Box::new(writer.map_err(unwritable)?)));
            }
            WriteFormat::Csv(dialect, packed) => (Rows::Csv(CsvRows::new(Arc::clone(schema), *dialect)), *packed),
            WriteFormat::Json(packed) => (Rows::Json(JsonRows::new(Arc::clone(schema))), *packed),
            // Its blocks are compressed, each by itself.
            WriteFormat::Avro(codec) => {
                (Rows::Avro(AvroRows::new(Arc::clone(schema), (*codec).into(), name)), Compression::None)
            }
        };
        let out = Compressor::new(Counted { file, bytes: 0 }, compression)?;
        let mut writer = RowWriter { rows, out, buffer: Vec::new() };
        match &writer.rows {
            Rows::Csv(csv) => csv.begin(&mut writer.buffer),
            Rows::Json(_) => {}
            Rows::Avro(avro) => avro.begin(&mut writer.buffer)?,
        }
        writer.flush()?;
        Ok(Self::Rows(Box::new(writer)))
    }

    /// Writes the rows of a batch.
    ///
    /// # Errors
    /// As the disk fails, and [`Config`](transload_core::ErrorKind::Config) for a value that the format cannot hold.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(batch).map_err(unwritable),
            Self::Rows(writer) => {
                let writer = writer.as_mut();
                match &writer.rows {
                    Rows::Csv(csv) => csv.rows(batch, &mut writer.buffer)?,
                    Rows::Json(json) => json.rows(batch, &mut writer.buffer)?,
                    Rows::Avro(avro) => avro.rows(batch, &mut writer.buffer)?,
                }
                writer.flush()
            }
        }
    }

    /// Bytes of the file so far, more or less.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Parquet(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
            Self::Rows(writer) => writer.out.get_ref().bytes,
        }
    }

    /// Memory that it holds.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Parquet(writer) => writer.memory_size(),
            Self::Rows(writer) => writer.buffer.capacity() + BUFFER + COMPRESSOR,
        }
    }

    /// Ends the file. With it comes its footer if it is Parquet.
    ///
    /// # Errors
    /// As the disk fails.
    pub(crate) fn finish(self) -> Result<(File, Option<ParquetMetaData>)> {
        match self {
            Self::Parquet(mut writer) => {
                let metadata = writer.finish().map_err(unwritable)?;
                writer.inner_mut().flush()?;
                Ok((writer.inner().get_ref().try_clone()?, Some(metadata)))
            }
            Self::Rows(writer) => {
                let RowWriter { out, .. } = *writer;
                let file = out.finish()?.file.into_inner().map_err(|e| Error::from(e.into_error()))?;
                Ok((file, None))
            }
        }
    }
}

impl RowWriter {
    /// Writes what is in the buffer.
    fn flush(&mut self) -> Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn properties(parquet: &ParquetWriting) -> WriterProperties {
    WriterProperties::builder()
        .set_compression(parquet.compression)
        .set_max_row_group_row_count(Some(parquet.row_group_rows))
        .set_created_by(concat!("transload ", env!("CARGO_PKG_VERSION")).to_string())
        .build()
}

fn unwritable(error: ParquetError) -> Error {
    if let ParquetError::External(inner) = error {
        return match inner.downcast::<std::io::Error>() {
            Ok(io) => Error::from(*io),
            Err(other) => Error::internal("a Parquet file cannot be written").because(other),
        };
    }
    Error::internal("a Parquet file cannot be written").because(error)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use arrow::array::{ArrayRef, Int64Array};
    use flate2::read::GzDecoder;

    use super::*;
    use crate::settings::CsvDialect;

    const COMMA: CsvDialect = CsvDialect { delimiter: b',', quote: b'"', header: true };

    /// What is in a file of two batches, and the size that the writer says it has before it is ended.
    fn written(format: &WriteFormat) -> (Vec<u8>, u64) {
        let batch = |from: i64| {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 1000));
            RecordBatch::try_from_iter([("id", ids)]).unwrap()
        };
        let mut writer = OpenFile::new(tempfile::tempfile().unwrap(), "t", &batch(0).schema(), format).unwrap();
        writer.write(&batch(0)).unwrap();
        writer.write(&batch(1000)).unwrap();
        assert!(writer.memory() > 0);
        let size = writer.size();
        let (mut file, metadata) = writer.finish().unwrap();
        assert!(metadata.is_none());
        std::io::Seek::rewind(&mut file).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        (content, size)
    }

    #[test]
    fn a_file_holds_all_rows_compressed_or_not() {
        let mut lines = "id\n".to_string();
        (0..2000).for_each(|i| lines.push_str(&format!("{i}\n")));
        let (plain, size) = written(&WriteFormat::Csv(COMMA, Compression::None));
        assert_eq!((plain.len() as u64, String::from_utf8(plain).unwrap()), (size, lines.clone()));
        let (packed, _) = written(&WriteFormat::Csv(COMMA, Compression::Gzip));
        let mut unpacked = String::new();
        GzDecoder::new(packed.as_slice()).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, lines);
        let (packed, _) = written(&WriteFormat::Json(Compression::Zstd));
        let unpacked = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
        assert_eq!((unpacked.lines().count(), unpacked.lines().last()), (2000, Some(r#"{"id":1999}"#)));
    }

    #[test]
    fn the_same_rows_make_the_same_file() {
        for format in [
            WriteFormat::Csv(COMMA, Compression::Gzip),
            WriteFormat::Json(Compression::Zstd),
            WriteFormat::Avro(crate::options::AvroCompression::Deflate),
        ] {
            assert!(written(&format) == written(&format), "{format:?}");
        }
    }
}
