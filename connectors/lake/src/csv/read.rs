//! CSV files as batches of text columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::error::Result as DfResult;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use transload_core::connector::{DECLARED_TYPE, FAULT_COLUMN, RAW_COLUMN, hidden, is_hidden};
use transload_core::{Error, Result};

use super::guess::guess;
use super::record::{Dialect, FieldAt, Step, step};
use crate::layout::values_in_path;
use crate::options::CsvSettings;
use crate::parquet::PinnedObject;

/// Bytes read from the store at a time.
const CHUNK: u64 = 1 << 20;
/// Files that types are guessed from.
const SAMPLED_FILES: usize = 3;

/// A CSV file as part of a table.
#[derive(Debug)]
pub(crate) struct CsvFile {
    pub(crate) object: PinnedObject,
    /// The table's columns: all text.
    pub(crate) schema: SchemaRef,
    settings: CsvSettings,
    /// For each of the table's columns, where this file has it.
    columns: Vec<Place>,
    /// Number of fields in a record of this file.
    width: usize,
}

/// Where a file has a column.
#[derive(Debug, Clone)]
enum Place {
    Field(usize),
    Folder(Option<String>),
    Nowhere,
    Fault,
    Raw,
}

/// Reads headers and samples, and makes one schema of all files.
pub(crate) async fn open(
    objects: Vec<PinnedObject>,
    settings: &CsvSettings,
    folders: &[FieldRef],
    root: &Path,
) -> Result<Vec<CsvFile>> {
    let mut names: Vec<String> = Vec::new();
    let mut headers: Vec<Vec<String>> = Vec::new();
    let mut samples: Vec<Vec<String>> = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        let wanted = if i < SAMPLED_FILES { settings.sample_rows } else { 0 };
        let (header, rows) =
            sample(object, settings, wanted).await.map_err(|e| e.with("path", object.meta.location.to_string()))?;
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
    for (name, _) in &settings.types {
        if !names.contains(name) {
            return Err(Error::config(format!("`csv.types` names the column `{name}`, which no file has"))
                .hint(format!("the columns are {}", names.join(", "))));
        }
    }
    let mut fields: Vec<FieldRef> = names
        .iter()
        .zip(&samples)
        .map(|(name, sample)| {
            let declared = settings.types.iter().find(|(n, _)| n == name).map(|(_, ty)| ty.clone());
            let ty = declared.unwrap_or_else(|| guess(sample.iter().map(String::as_str)));
            let metadata = [(DECLARED_TYPE.to_string(), ty.to_string())];
            Arc::new(Field::new(name, DataType::Utf8, true).with_metadata(metadata.into()))
        })
        .collect();
    fields.extend(folders.iter().map(|f| Arc::new(f.as_ref().clone().with_data_type(DataType::Utf8))));
    if settings.quarantine_bad_lines {
        fields.push(Arc::new(hidden(Field::new(RAW_COLUMN, DataType::Utf8, true))));
        fields.push(Arc::new(hidden(Field::new(FAULT_COLUMN, DataType::Utf8, true))));
    }
    let schema = Arc::new(Schema::new(fields));
    let file = |(object, header): (PinnedObject, Vec<String>)| -> Result<CsvFile> {
        let location = object.meta.location.as_ref();
        let values = values_in_path(location.strip_prefix(root.as_ref()).unwrap_or(location))
            .map_err(|e| e.with("path", location))?;
        let place = |f: &FieldRef| match (f.name().as_str(), is_hidden(f)) {
            (FAULT_COLUMN, true) => Place::Fault,
            (_, true) => Place::Raw,
            (name, false) => match (header.iter().position(|h| h == name), values.iter().find(|(n, _)| n == name)) {
                (Some(at), _) => Place::Field(at),
                (None, Some((_, value))) => Place::Folder(value.clone()),
                (None, None) => Place::Nowhere,
            },
        };
        Ok(CsvFile {
            columns: schema.fields().iter().map(place).collect(),
            schema: Arc::clone(&schema),
            settings: settings.clone(),
            width: header.len(),
            object,
        })
    };
    objects.into_iter().zip(headers).map(file).collect()
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

/// The header of a file and its first rows.
async fn sample(
    object: &PinnedObject,
    settings: &CsvSettings,
    rows: usize,
) -> Result<(Vec<String>, Vec<Vec<Option<String>>>)> {
    let mut reader = Records::new(object.clone(), settings);
    let mut header: Option<Vec<String>> = None;
    let mut out = Vec::new();
    while let Some(record) = reader.next().await? {
        if header.is_none() {
            refuse_wide_text(reader.raw())?;
        }
        let record = match (record, &header) {
            (Ok(record), _) => record,
            (Err((line, reason)), None) => {
                return Err(
                    Error::config(format!("the header cannot be read: {reason}")).with("line", line.to_string())
                );
            }
            (Err(_), Some(_)) => continue,
        };
        match &header {
            None if settings.header => header = Some(checked_header(&reader, &record)?),
            None => header = Some((1..=record.len()).map(|i| format!("c{i}")).collect()),
            Some(_) => {}
        }
        let first_of_headerless = !settings.header && out.is_empty();
        let is_header = settings.header && reader.records == 1;
        if !is_header && (out.len() < rows || first_of_headerless) && rows > 0 {
            let value = |f: &FieldAt| reader.value(f, &settings.null_values).ok().flatten().map(|v| v.into_owned());
            out.push(record.iter().map(value).collect());
        }
        if header.is_some() && out.len() >= rows {
            break;
        }
    }
    match header {
        Some(header) => Ok((header, out)),
        None => Err(Error::config("the CSV file is empty").hint("a file without rows still needs a header")),
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
        if names.contains(&name) {
            return Err(Error::config(format!("the header names `{name}` twice")).hint("rename one of them"));
        }
        names.push(name);
    }
    Ok(names)
}

impl CsvFile {
    /// The rows, projected, as batches.
    pub(crate) fn stream(
        file: Arc<Self>,
        projection: Vec<usize>,
        schema: SchemaRef,
        batch_size: usize,
    ) -> BoxStream<'static, DfResult<RecordBatch>> {
        let reader = Records::new(file.object.clone(), &file.settings);
        futures::stream::try_unfold((reader, file.settings.header), move |(mut reader, mut header)| {
            let (file, projection, schema) = (Arc::clone(&file), projection.clone(), Arc::clone(&schema));
            async move {
                let batch = file.batch(&mut reader, &mut header, &projection, &schema, batch_size).await?;
                Ok(batch.map(|b| (b, (reader, header))))
            }
        })
        .boxed()
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
        let mut rows = 0;
        while rows < batch_size {
            let Some(record) = reader.next().await? else { break };
            if std::mem::take(header) {
                continue;
            }
            let fault = match record {
                Ok(fields) if fields.len() == self.width => {
                    match self.append(reader, &fields, projection, &mut builders) {
                        Ok(()) => None,
                        Err(reason) => Some((reader.line, reason)),
                    }
                }
                Ok(fields) if fields.len() == 1 && fields[0].start == fields[0].end && !fields[0].quoted => continue,
                Ok(fields) => Some((reader.line, format!("{} fields where {} are expected", fields.len(), self.width))),
                Err((line, reason)) => Some((line, reason.to_string())),
            };
            if let Some((line, reason)) = fault {
                if !self.settings.quarantine_bad_lines {
                    return Err(Error::config(format!("a line cannot be read: {reason}"))
                        .with("line", line.to_string())
                        .hint("repair the file, or set `csv.on_bad_line: quarantine`"));
                }
                self.append_fault(reader, line, &reason, projection, &mut builders);
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = builders.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?))
    }

    /// Appends a good record. On an error nothing was appended.
    fn append(
        &self,
        reader: &Records,
        fields: &[FieldAt],
        projection: &[usize],
        builders: &mut [StringBuilder],
    ) -> Result<(), String> {
        for field in fields {
            reader.text(field)?;
        }
        for (builder, column) in builders.iter_mut().zip(projection) {
            match &self.columns[*column] {
                Place::Field(at) => builder.append_option(reader.value(&fields[*at], &self.settings.null_values)?),
                Place::Folder(value) => builder.append_option(value.as_deref()),
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
                Place::Fault => builder.append_value(format!("line {line}: {reason}")),
                Place::Raw => builder.append_value(String::from_utf8_lossy(reader.raw())),
                _ => builder.append_null(),
            }
        }
    }
}

/// The records of one file, one after the other.
struct Records {
    object: PinnedObject,
    dialect: Dialect,
    buffer: Vec<u8>,
    /// Where the current record begins in the buffer, and where the next one does.
    current: usize,
    next: usize,
    /// Bytes of the file that are in the buffer or before it.
    read: u64,
    /// Line of the current record, from 1, and of the next one.
    line: u64,
    next_line: u64,
    records: u64,
    fields: Vec<FieldAt>,
}

type Record = Result<Vec<FieldAt>, (u64, &'static str)>;

impl Records {
    fn new(object: PinnedObject, settings: &CsvSettings) -> Self {
        Self {
            object,
            dialect: Dialect { delimiter: settings.delimiter, quote: settings.quote },
            buffer: Vec::new(),
            current: 0,
            next: 0,
            read: 0,
            line: 0,
            next_line: 1,
            records: 0,
            fields: Vec::new(),
        }
    }

    /// The next record, or what is wrong with it; `None` at the end of the file.
    async fn next(&mut self) -> Result<Option<Record>> {
        loop {
            let last = self.read >= self.object.meta.size;
            let rest = &self.buffer[self.next..];
            if rest.is_empty() && last {
                return Ok(None);
            }
            let found = if rest.is_empty() { Step::More } else { step(rest, last, self.dialect, &mut self.fields) };
            let (next, lines, record) = match found {
                Step::More => {
                    self.fill().await?;
                    continue;
                }
                Step::Record { next, lines } => (next, lines, None),
                Step::Fault { next, lines, reason } => (next, lines, Some(reason)),
            };
            self.current = self.next;
            self.next += next;
            self.line = self.next_line;
            self.next_line += lines;
            self.records += 1;
            return Ok(Some(match record {
                None => Ok(std::mem::take(&mut self.fields)),
                Some(reason) => Err((self.line, reason)),
            }));
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.next);
        self.next = 0;
        self.current = 0;
        let end = (self.read + CHUNK).min(self.object.meta.size);
        let chunk = self.object.read(self.read..end).await?;
        if chunk.is_empty() {
            return Err(Error::config("the file is shorter than when it was pinned"));
        }
        let start = if self.read == 0 { skip_mark(&chunk)? } else { 0 };
        self.read += chunk.len() as u64;
        self.buffer.extend_from_slice(&chunk[start..]);
        Ok(())
    }

    /// The current record as it stands in the file, without the line break.
    fn raw(&self) -> &[u8] {
        self.buffer[self.current..self.next].trim_ascii_end()
    }

    fn text(&self, field: &FieldAt) -> Result<&str, String> {
        let bytes = &self.buffer[self.current + field.start..self.current + field.end];
        std::str::from_utf8(bytes).map_err(|_| "the text is not UTF-8".to_string())
    }

    /// A field's text without its quotes; `None` if it stands for NULL. Quoted text never does.
    fn value(&self, field: &FieldAt, nulls: &[String]) -> Result<Option<std::borrow::Cow<'_, str>>, String> {
        let text = self.text(field)?;
        if !field.quoted && nulls.iter().any(|n| n == text) {
            return Ok(None);
        }
        Ok(Some(match field.doubled {
            false => text.into(),
            true => {
                let quote = char::from(self.dialect.quote).to_string();
                text.replace(&quote.repeat(2), &quote).into()
            }
        }))
    }
}

/// Skips a UTF-8 byte order mark; refuses UTF-16 and UTF-32.
fn skip_mark(chunk: &[u8]) -> Result<usize> {
    match chunk {
        [0xef, 0xbb, 0xbf, ..] => Ok(3),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Err(Error::config("the file is UTF-16, and UTF-8 is needed").hint("convert it: iconv -f UTF-16 -t UTF-8"))
        }
        _ => Ok(0),
    }
}
