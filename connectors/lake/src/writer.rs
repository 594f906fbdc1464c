//! A file of rows in any format that is written, on its way to where `outgoing.rs` puts it.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use transload_core::{Error, Result, fault};

use crate::avro::AvroRows;
use crate::compress::{Compression, Compressor};
use crate::csv::CsvRows;
use crate::dictionary::outgrown;
use crate::json::JsonRows;
use crate::outgoing::Outgoing;
use crate::settings::{ParquetWriting, WriteFormat};

/// Rows in a page of Parquet, unless they reach its 1 MiB before. What compresses it works better with more than the
/// 20,000 that are usual.
const PAGE_ROWS: usize = 1 << 16;

/// Bytes of a row group, more or less: whoever reads it has to hold all of it, also where rows are wide.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Memory that a compressor takes, more or less.
const COMPRESSOR: usize = 1 << 20;

/// A file that is being written.
pub(crate) enum OpenFile {
    Parquet(Box<ArrowWriter<Outgoing>>),
    Rows(Box<RowWriter>),
}

/// Writes a file whose rows come one after the other.
pub(crate) struct RowWriter {
    rows: Rows,
    out: Compressor<Outgoing>,
    /// What is written next, and room for it.
    buffer: Vec<u8>,
}

enum Rows {
    Csv(CsvRows),
    Json(JsonRows),
    Avro(AvroRows),
}

impl OpenFile {
    /// Begins a file, whose first rows will be those of `first`. `name` is one that no other file of the table has.
    ///
    /// # Errors
    /// As the disk fails.
    pub(crate) fn new(
        out: Outgoing,
        name: &str,
        schema: &SchemaRef,
        format: &WriteFormat,
        first: Option<&RecordBatch>,
    ) -> Result<Self> {
        let (rows, compression) = match format {
            WriteFormat::Parquet(parquet) => {
                let outgrown = first.map(outgrown).transpose()?.unwrap_or_default();
                let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties(parquet, outgrown)));
                return Ok(Self::Parquet(Box::new(writer.map_err(unwritable)?)));
            }
            WriteFormat::Csv(dialect, packed) => (Rows::Csv(CsvRows::new(Arc::clone(schema), *dialect)), *packed),
            WriteFormat::Json(packed) => (Rows::Json(JsonRows::new(Arc::clone(schema))), *packed),
            // Its blocks are compressed, each by itself.
            WriteFormat::Avro(codec) => {
                (Rows::Avro(AvroRows::new(Arc::clone(schema), (*codec).into(), name)), Compression::None)
            }
        };
        let out = Compressor::new(out, compression)?;
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
            Self::Parquet(writer) => {
                let before = writer.flushed_row_groups().len();
                writer.write(batch).map_err(unwritable)?;
                match writer.flushed_row_groups().len() > before {
                    true => fault::point("stage.row_group"),
                    false => Ok(()),
                }
            }
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

    /// Ends the rows that are encoded together in Parquet, which frees the memory that this takes.
    ///
    /// # Errors
    /// As the disk fails.
    pub(crate) fn end_row_group(&mut self) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.flush().map_err(unwritable),
            Self::Rows(_) => Ok(()),
        }
    }

    /// Bytes of the file so far, more or less.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Parquet(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
            Self::Rows(writer) => writer.out.get_ref().bytes(),
        }
    }

    /// Memory that it holds, with what is on its way.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Parquet(writer) => writer.memory_size() + writer.inner().memory(),
            Self::Rows(writer) => writer.buffer.capacity() + COMPRESSOR + writer.out.get_ref().memory(),
        }
    }

    /// Waits until so little is on its way that more may be written.
    ///
    /// # Errors
    /// As sending it fails.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        let out = match self {
            Self::Parquet(writer) => writer.inner_mut(),
            Self::Rows(writer) => writer.out.get_mut(),
        };
        out.settle().await
    }

    /// Writes what stands at the end of the file, which has not arrived with that. With it comes its footer if it is
    /// Parquet.
    ///
    /// # Errors
    /// As the disk fails.
    pub(crate) fn finish(self) -> Result<(Outgoing, Option<ParquetMetaData>)> {
        match self {
            Self::Parquet(mut writer) => {
                let metadata = writer.finish().map_err(unwritable)?;
                Ok((writer.inner_mut().release(), Some(metadata)))
            }
            Self::Rows(writer) => {
                let RowWriter { out, .. } = *writer;
                Ok((out.finish()?, None))
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

fn properties(parquet: &ParquetWriting, without_dictionary: Vec<ColumnPath>) -> WriterProperties {
    let builder = WriterProperties::builder()
        .set_compression(parquet.compression)
        .set_max_row_group_row_count(Some(parquet.row_group_rows))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_created_by(concat!("transload ", env!("CARGO_PKG_VERSION")).to_string());
    let set = |builder: WriterPropertiesBuilder, column| builder.set_column_dictionary_enabled(column, false);
    without_dictionary.into_iter().fold(builder, set).build()
}

/// What it means that the Parquet writer failed.
pub(crate) fn unwritable(error: ParquetError) -> Error {
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

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use flate2::read::GzDecoder;
    use object_store::path::Path;
    use parquet::basic::Compression as ParquetCompression;
    use parquet::file::metadata::RowGroupMetaData;
    use transload_core::secret::NoReferences;
    use transload_core::store::Store;

    use super::*;
    use crate::outgoing::Whole;
    use crate::settings::CsvDialect;

    const COMMA: CsvDialect = CsvDialect { delimiter: b',', quote: b'"', header: true };

    /// What is in a file of two batches, and the size that the writer says it has before it is ended.
    async fn written(format: &WriteFormat) -> (Vec<u8>, u64) {
        let batch = |from: i64| {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 1000));
            RecordBatch::try_from_iter([("id", ids)]).unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
        let staged = Path::from("t.staged");
        let out = Outgoing::begin(&store, &staged, &Path::default(), "t").unwrap();
        let mut writer = OpenFile::new(out, "t", &batch(0).schema(), format, None).unwrap();
        writer.write(&batch(0)).unwrap();
        writer.settle().await.unwrap();
        writer.write(&batch(1000)).unwrap();
        assert!(writer.memory() > 0);
        let size = writer.size();
        let (mut out, metadata) = writer.finish().unwrap();
        assert!(metadata.is_none());
        let Whole { bytes, .. } = out.finish().await.unwrap();
        let content = store.read(&staged).await.unwrap().unwrap().to_vec();
        assert_eq!(content.len() as u64, bytes);
        (content, size)
    }

    #[tokio::test]
    async fn a_file_holds_all_rows_compressed_or_not() {
        let mut lines = "id\n".to_string();
        (0..2000).for_each(|i| lines.push_str(&format!("{i}\n")));
        let (plain, size) = written(&WriteFormat::Csv(COMMA, Compression::None)).await;
        assert_eq!((plain.len() as u64, String::from_utf8(plain).unwrap()), (size, lines.clone()));
        let (packed, _) = written(&WriteFormat::Csv(COMMA, Compression::Gzip)).await;
        let mut unpacked = String::new();
        GzDecoder::new(packed.as_slice()).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, lines);
        let (packed, _) = written(&WriteFormat::Json(Compression::Zstd)).await;
        let unpacked = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
        assert_eq!((unpacked.lines().count(), unpacked.lines().last()), (2000, Some(r#"{"id":1999}"#)));
    }

    #[test]
    fn wide_rows_make_row_groups_of_few_rows() {
        let parquet = ParquetWriting { compression: ParquetCompression::UNCOMPRESSED, row_group_rows: 1_000_000 };
        let batch = |from: u32| {
            let texts = (from..from + 10).map(|i| format!("{i:08}").repeat(1 << 17));
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
            RecordBatch::try_from_iter([("text", texts)]).unwrap()
        };
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch(0).schema(), Some(properties(&parquet, vec![]))).unwrap();
        (0..15).for_each(|i| writer.write(&batch(i * 10)).unwrap());
        let metadata = writer.finish().unwrap();
        let rows: Vec<i64> = metadata.row_groups().iter().map(RowGroupMetaData::num_rows).collect();
        assert!(rows.len() > 1 && rows.iter().all(|rows| *rows <= 80), "{rows:?}");
        assert_eq!(rows.iter().sum::<i64>(), 150);
    }

    #[tokio::test]
    async fn the_same_rows_make_the_same_file() {
        for format in [
            WriteFormat::Csv(COMMA, Compression::Gzip),
            WriteFormat::Json(Compression::Zstd),
            WriteFormat::Avro(crate::options::AvroCompression::Deflate),
        ] {
            assert!(written(&format).await == written(&format).await, "{format:?}");
        }
    }
}
