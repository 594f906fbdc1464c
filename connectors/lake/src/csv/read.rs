//! CSV files as batches of text columns.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::error::Result as DfResult;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use transload_core::{Error, LogicalType, Result};

use super::record::{FieldAt, LONE_CR, TOO_LONG};
use super::records::{Record, Records};
use crate::guess::guess;
use crate::manifest::Column;
use crate::parquet::PinnedObject;
use crate::rows::{self, BATCH_BYTES, Marks, Place};
use crate::settings::{CsvDialect, CsvReading};

/// Files that types are guessed from.
const SAMPLED_FILES: usize = 3;

/// A CSV file as part of a table.
#[derive(Debug)]
pub(crate) struct CsvFile {
    pub(crate) object: PinnedObject,
    reading: CsvReading,
    /// For each of the table's columns, where this file has it.
    columns: Vec<Place>,
    /// The names of the fields in a record of this file.
    names: Vec<String>,
}

/// Reads headers and samples, and makes one schema of all files. `folders` are the columns of the table's folders.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for a header that cannot be read, and for options about columns that are
/// not there.
pub(crate) async fn open(
    objects: Vec<PinnedObject>,
    reading: &CsvReading,
    folders: &[FieldRef],
    root: &Path,
) -> Result<(SchemaRef, Vec<CsvFile>)> {
    let mut names: Vec<String> = Vec::new();
    let mut headers: Vec<Vec<String>> = Vec::new();
    let mut samples: Vec<Vec<String>> = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        let wanted = if i < SAMPLED_FILES { reading.sample_rows } else { 0 };
        let (header, rows) =
            sample(object, reading, wanted).await.map_err(|e| e.with("path", object.meta.location.to_string()))?;
        for name in &header {
            if !names.contains(name) {
                names.push(name.clone());
                samples.push(Vec::new());
            }
        }
        for row in rows {
            for (name, value) in header.iter().zip(row) {
                if let (Some(value), Some(at)) = (value, names.iter().position(|n| n == name)) {
                    samples[at].push(value);
                }
            }
        }
        not_in_folders_too(&header, folders).map_err(|e| e.with("path", object.meta.location.to_string()))?;
        headers.push(header);
    }
    for (name, _) in &reading.types {
        if !names.contains(name) {
            return Err(Error::config(format!("`csv.types` names the column `{name}`, which no file has"))
                .hint(format!("the columns are {}", names.join(", "))));
        }
    }
    let column = |(name, sample): (&String, &Vec<String>)| {
        let declared = reading.types.iter().find(|(n, _)| n == name).map(|(_, ty)| ty.clone());
        let ty = declared.unwrap_or_else(|| guess(sample.iter().map(String::as_str)));
        rows::column(name, &LogicalType::Text, &ty)
    };
    let columns = names.iter().zip(&samples).map(column).collect();
    let marks = match (reading.quarantine_bad_lines, reading.hides_texts()) {
        (true, _) => Marks::Faults,
        (false, true) => Marks::Lines,
        (false, false) => Marks::None,
    };
    let schema = rows::schema(columns, folders, marks);
    let file = |(object, names)| CsvFile::new(object, names, &schema, reading, root);
    let files = objects.into_iter().zip(headers).map(file).collect::<Result<_>>()?;
    Ok((schema, files))
}

/// The same for files that transload wrote with these `columns`, which need not be looked at for that.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if the name of a folder cannot be read.
pub(crate) fn open_written(
    objects: Vec<PinnedObject>,
    dialect: CsvDialect,
    columns: &[&Column],
    folders: &[FieldRef],
    root: &Path,
) -> Result<(SchemaRef, Vec<CsvFile>)> {
    let own = columns.iter().map(|c| rows::column(&c.name, &LogicalType::Text, &c.ty)).collect();
    let schema = rows::schema(own, folders, Marks::None);
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    let reading = CsvReading::of_written(dialect);
    let file = |object| CsvFile::new(object, names.clone(), &schema, &reading, root);
    let files = objects.into_iter().map(file).collect::<Result<_>>()?;
    Ok((schema, files))
}

/// Refuses a column that a header and the names of folders both give: one of its two values would get lost.
fn not_in_folders_too(header: &[String], folders: &[FieldRef]) -> Result<()> {
    match folders.iter().find(|f| header.contains(f.name())) {
        Some(folder) => {
            let name = folder.name();
            Err(Error::config(format!("the header names a column `{name}`, and so do the folders `{name}=…`"))
                .hint(format!("rename `{name}` in one of the two: either value could be the right one")))
        }
        None => Ok(()),
    }
}

/// The header of a file, and the rows among the first records behind it.
async fn sample(
    object: &PinnedObject,
    reading: &CsvReading,
    records: usize,
) -> Result<(Vec<String>, Vec<Vec<Option<String>>>)> {
    let mut reader = Records::new(object.clone(), reading.dialect.into())?;
    let Some(first) = reader.next().await? else {
        return Err(Error::config("the CSV file is empty").hint("a file without rows still needs a header"));
    };
    refuse_wide_text(reader.raw())?;
    let first = first.map_err(|(line, reason)| unreadable_header(line, reason))?;
    let (header, mut first) = match reading.dialect.header {
        true => (checked_header(&reader, &first)?, None),
        false => ((1..=first.len()).map(|i| format!("c{i}")).collect(), Some(Ok(first))),
    };
    let mut rows = Vec::new();
    for _ in 0..records {
        let record = match first.take() {
            Some(record) => record,
            None => match reader.next().await? {
                Some(record) => record,
                None => break,
            },
        };
        // Empty and bad lines say nothing about types.
        let Some(Ok(fields)) = reader.as_row(record, header.len()) else { continue };
        let values = fields.iter().map(|f| reader.value(f, &reading.null_values));
        let values = values.map(|value| value.map(|text| text.map(Cow::into_owned)));
        rows.push(values.collect::<Result<_, _>>().map_err(Error::internal)?);
    }
    Ok((header, rows))
}

fn unreadable_header(line: u64, reason: &str) -> Error {
    let error = Error::config(format!("the header cannot be read: {reason}")).with("line", line.to_string());
    match [LONE_CR, TOO_LONG].contains(&reason) {
        true => error.hint("lines end with LF or CRLF; if these end with CR alone, convert them: tr '\\r' '\\n'"),
        false => error,
    }
}

/// Refuses a file whose first record shows that its characters have two or four bytes each.
fn refuse_wide_text(first: &[u8]) -> Result<()> {
    if first.contains(&0) {
        let message = "the first record holds NUL characters: the file is UTF-16 or UTF-32 without a byte order mark, \
                       or not text, and UTF-8 is needed";
        return Err(Error::config(message).hint("convert it: iconv -f UTF-16LE -t UTF-8"));
    }
    Ok(())
}

fn checked_header(reader: &Records, record: &[FieldAt]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(record.len());
    for field in record {
        let name = reader.value(field, &[]).map_err(Error::config)?.unwrap_or_default().trim().to_string();
        if name.is_empty() {
            return Err(Error::config(format!("column {} has no name in the header", names.len() + 1))
                .hint("name it, or set `csv.header: false`"));
        }
        if name.contains(char::is_control) {
            let message = format!("the name of column {} in the header holds a control character", names.len() + 1);
            return Err(Error::config(message).hint("rename it, without line breaks, tabs and their like"));
        }
        if names.contains(&name) {
            return Err(Error::config(format!("the header names `{name}` twice")).hint("rename one of them"));
        }
        names.push(name);
    }
    Ok(names)
}

impl CsvFile {
    fn new(
        object: PinnedObject,
        names: Vec<String>,
        schema: &SchemaRef,
        reading: &CsvReading,
        root: &Path,
    ) -> Result<Self> {
        let columns = rows::places(schema, &names, &object, root)?;
        Ok(Self { object, reading: reading.clone(), columns, names })
    }

    /// The rows, projected, as batches.
    pub(crate) fn stream(
        file: Arc<Self>,
        projection: Vec<usize>,
        schema: SchemaRef,
        batch_size: usize,
    ) -> DfResult<BoxStream<'static, DfResult<RecordBatch>>> {
        let reader = Records::new(file.object.clone(), file.reading.dialect.into())?;
        let begin = (reader, file.reading.dialect.header);
        Ok(futures::stream::try_unfold(begin, move |(mut reader, mut header)| {
            let (file, projection, schema) = (Arc::clone(&file), projection.clone(), Arc::clone(&schema));
            async move {
                let batch = file.batch(&mut reader, &mut header, &projection, &schema, batch_size).await?;
                Ok(batch.map(|b| (b, (reader, header))))
            }
        })
        .boxed())
    }

    async fn batch(
        &self,
        reader: &mut Records,
        header: &mut bool,
        projection: &[usize],
        schema: &SchemaRef,
        batch_size: usize,
    ) -> Result<Option<RecordBatch>> {
        let mut builders: Vec<StringBuilder> = projection.iter().map(|_| StringBuilder::new()).collect();
        let keeps_lines = projection.iter().any(|column| matches!(self.columns[*column], Place::Raw));
        let (mut rows, mut bytes) = (0, 0);
        while rows < batch_size && bytes < BATCH_BYTES {
            let Some(record) = reader.next().await? else { break };
            if std::mem::take(header) {
                self.is_header(reader, record)?;
                continue;
            }
            match reader.as_row(record, self.names.len()) {
                None => continue,
                Some(Ok(fields)) => {
                    let hides = keeps_lines && self.reading.hides_texts();
                    let hides =
                        hides && reader.hides_text(&fields, &self.reading.null_values).map_err(Error::internal)?;
                    self.append(reader, &fields, hides, projection, &mut builders).map_err(Error::internal)?;
                }
                Some(Err((line, reason))) if self.reading.quarantine_bad_lines => {
                    self.append_fault(reader, line, &reason, projection, &mut builders);
                }
                Some(Err((line, reason))) => return Err(rows::unreadable(line, &reason, "csv")),
            }
            rows += 1;
            bytes += reader.size();
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = builders.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?))
    }

    /// Makes sure that the first record names the columns that the file is known to have.
    fn is_header(&self, reader: &Records, record: Record) -> Result<()> {
        let fields = record.map_err(|(line, reason)| unreadable_header(line, reason))?;
        let name = |field: &FieldAt| reader.value(field, &[]).map(|name| name.unwrap_or_default().trim().to_string());
        let names: Result<Vec<String>, String> = fields.iter().map(name).collect();
        match names {
            Ok(names) if names == self.names => Ok(()),
            _ => Err(Error::config("the header is not that of the table").hint("somebody changed the file by hand")),
        }
    }

    /// Appends a good record. `hides`: whether a text of it is read as NULL, so that the line is kept too.
    fn append(
        &self,
        reader: &Records,
        fields: &[FieldAt],
        hides: bool,
        projection: &[usize],
        builders: &mut [StringBuilder],
    ) -> Result<(), String> {
        for (builder, column) in builders.iter_mut().zip(projection) {
            match &self.columns[*column] {
                Place::Own(at) => builder.append_option(reader.value(&fields[*at], &self.reading.null_values)?),
                Place::Folder(value) => builder.append_option(value.as_deref()),
                Place::Raw if hides => builder.append_value(String::from_utf8_lossy(reader.raw())),
                Place::Nowhere | Place::Fault | Place::Raw => builder.append_null(),
            }
        }
        Ok(())
    }

    fn append_fault(
        &self,
        reader: &Records,
        line: u64,
        reason: &str,
        projection: &[usize],
        builders: &mut [StringBuilder],
    ) {
        for (builder, column) in builders.iter_mut().zip(projection) {
            match &self.columns[*column] {
                Place::Fault => builder.append_value(rows::fault(line, reason)),
                Place::Raw => builder.append_value(String::from_utf8_lossy(reader.raw())),
                _ => builder.append_null(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use futures::TryStreamExt;
    use futures::executor::block_on;
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};
    use transload_core::connector::{DECLARED_TYPE, FAULT_COLUMN, RAW_COLUMN};

    use super::*;
    use crate::csv::record::MAX_RECORD;

    fn reading(null_value: &str) -> CsvReading {
        CsvReading {
            dialect: CsvDialect { delimiter: b',', quote: b'"', header: true },
            null_values: vec![null_value.to_string()],
            types: Vec::new(),
            sample_rows: 10,
            quarantine_bad_lines: true,
        }
    }

    fn open_text(content: Vec<u8>, null_value: &str) -> (SchemaRef, CsvFile) {
        open_with(content, &reading(null_value))
    }

    fn open_with(content: Vec<u8>, reading: &CsvReading) -> (SchemaRef, CsvFile) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t.csv");
        block_on(async {
            store.put(&path, content.into()).await.unwrap();
            let object = PinnedObject { meta: store.head(&path).await.unwrap(), store: Arc::clone(&store) };
            let (schema, mut files) = open(vec![object], reading, &[], &Path::default()).await.unwrap();
            (schema, files.remove(0))
        })
    }

    fn batches(content: Vec<u8>) -> Vec<RecordBatch> {
        let (schema, file) = open_text(content, "");
        let columns = (0..schema.fields().len()).collect();
        block_on(CsvFile::stream(Arc::new(file), columns, schema, 8192).unwrap().try_collect()).unwrap()
    }

    /// The values of one column in all batches.
    fn column(batches: &[RecordBatch], name: &str) -> Vec<Option<String>> {
        let columns = batches.iter().map(|b| b.column_by_name(name).unwrap().as_string::<i32>());
        columns.flat_map(|c| c.iter().map(|v| v.map(str::to_string)).collect::<Vec<_>>()).collect()
    }

    fn texts(texts: &[Option<&str>]) -> Vec<Option<String>> {
        texts.iter().map(|t| t.map(str::to_string)).collect()
    }

    #[test]
    fn a_record_of_which_a_text_is_read_as_null_is_kept_as_it_stands() {
        let (schema, file) = open_text(b"a,b\n1,NA\n2,\nNA,\"NA\"\r\n\"N\"\"A\",4\n".to_vec(), "NA");
        let file = Arc::new(file);
        let read = |columns: Vec<usize>| -> Vec<RecordBatch> {
            let schema = Arc::new(schema.project(&columns).unwrap());
            block_on(CsvFile::stream(Arc::clone(&file), columns, schema, 8192).unwrap().try_collect()).unwrap()
        };
        let raw = schema.index_of(RAW_COLUMN).unwrap();
        let lines = texts(&[Some("1,NA"), None, Some("NA,\"NA\""), None]);
        // Whatever else is read.
        for columns in [(0..schema.fields().len()).collect(), vec![raw], vec![raw, 0]] {
            assert_eq!(column(&read(columns), RAW_COLUMN), lines);
        }
        assert_eq!(column(&read(vec![1]), "b"), texts(&[None, Some(""), Some("NA"), Some("4")]));
    }

    #[test]
    fn lines_are_not_kept_where_only_empty_fields_are_null() {
        for (null_value, quarantines, keeps) in [("", false, false), ("", true, true), ("NA", false, true)] {
            let reading = CsvReading { quarantine_bad_lines: quarantines, ..reading(null_value) };
            let (schema, _) = open_with(b"a,b\n1,NA\n2,\n".to_vec(), &reading);
            let has = |name| transload_core::connector::hidden_column(&schema, name).is_some();
            assert_eq!((has(RAW_COLUMN), has(FAULT_COLUMN)), (keeps, quarantines), "{null_value:?}");
        }
        let lines = column(&batches(b"a,b\n1,NA\n2,\n".to_vec()), RAW_COLUMN);
        assert_eq!(lines, texts(&[None, None]));
    }

    #[test]
    fn a_batch_of_wide_rows_ends_early() {
        let row = format!("1,{}\n", "x".repeat(1 << 20));
        let batches = batches(format!("a,b\n{}", row.repeat(40)).into_bytes());
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [16, 16, 8]);
    }

    #[test]
    fn the_end_of_a_line_that_is_too_long_is_no_record() {
        let long = "x".repeat(MAX_RECORD + (2 << 20));
        let batches = batches(format!("a,b\n1,2\n{long},5\n3,4\n\"{long}\",\"\n{long},6\n\"\n9\n").into_bytes());
        assert_eq!(column(&batches, "a"), texts(&[Some("1"), None, Some("3"), None, None, None, None]));
        let faults = column(&batches, FAULT_COLUMN);
        assert_eq!(faults[1].as_deref(), Some("line 3: the line is too long"));
        assert_eq!(faults[3].as_deref(), Some("line 5: a quote is not closed"));
        // Nobody knows where the open quote ends, so everything behind it is put aside.
        assert!(faults[4..].iter().all(|f| f.as_deref().unwrap().ends_with("may belong to the bad record before it")));
        assert!(faults[6].as_deref().unwrap().starts_with("line 8: "), "{:?}", faults[6]);
    }

    #[test]
    fn a_quote_that_stays_open_puts_all_lines_behind_it_aside() {
        let line = format!("7,{}\n", "x".repeat(1000));
        let batches = batches(format!("a,b\n1,2\n\"open\n{}8,8", line.repeat(20 << 10)).into_bytes());
        let good = column(&batches, "a").into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(good, ["1"]);
        let raw = column(&batches, RAW_COLUMN);
        assert_eq!(raw.len(), 3 + (20 << 10));
        assert_eq!((raw[1].as_deref(), raw[raw.len() - 1].as_deref()), (Some("\"open"), Some("8,8")));
    }

    #[test]
    fn no_line_of_a_broken_record_becomes_a_row() {
        let batches = batches(b"a,b\n1,\"line one \n9,9\r\nend\" oops\n2,2\n\"open\n8,8\n".to_vec());
        assert_eq!(column(&batches, "a"), texts(&[None, None, None, Some("2"), None, None]));
        let raw = ["1,\"line one ", "9,9", "end\" oops", "\"open", "8,8"].map(Some);
        assert_eq!(column(&batches, RAW_COLUMN), texts(&[raw[0], raw[1], raw[2], None, raw[3], raw[4]]));
        let behind = "the line may belong to the bad record before it";
        let faults: Vec<String> = column(&batches, FAULT_COLUMN).into_iter().flatten().collect();
        let expected = [
            "line 2: text follows a closing quote".to_string(),
            format!("line 3: {behind}"),
            format!("line 4: {behind}"),
            "line 6: a quote is not closed".to_string(),
            format!("line 7: {behind}"),
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn empty_and_bad_lines_say_nothing_about_types() {
        let (schema, _) = open_text(b"a,b\n1,2\n\nx\nx,\xff\n5\" x,6\n3,NA\n\n".to_vec(), "NA");
        let declared = |at: usize| schema.field(at).metadata()[DECLARED_TYPE].as_str();
        assert_eq!([declared(0), declared(1)], ["int64", "int64"]);
    }
}
