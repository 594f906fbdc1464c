//! JSON lines as batches of columns whose innermost parts are texts.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::error::Result as DfResult;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use transload_core::{Error, Result};

use super::lines::Lines;
use super::seen::SeenFields;
use super::shape::{Fields, Shape, Value};
use crate::columns::Column;
use crate::manifest;
use crate::parquet::PinnedObject;
use crate::rows::{self, BATCH_BYTES, Marks, Place};
use crate::settings::JsonReading;

/// Files that are sampled at the same time.
const CONCURRENT_SAMPLES: usize = 8;

/// A file of JSON lines as part of a table.
#[derive(Debug)]
pub(crate) struct JsonFile {
    pub(crate) object: PinnedObject,
    /// The names that its lines may have.
    names: Arc<Fields>,
    /// For each of the table's columns, where this file has it.
    columns: Vec<Place>,
    quarantine_bad_lines: bool,
}

/// Looks at a sample of every file, and makes one schema of all. `folders` are the columns of the table's folders.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if no column is found, or a file does not hold JSON lines.
pub(crate) async fn open(
    objects: Vec<PinnedObject>,
    reading: &JsonReading,
    folders: &[FieldRef],
    root: &Path,
) -> Result<(SchemaRef, Vec<JsonFile>)> {
    let count = reading.sample_rows;
    let samples = futures::stream::iter(objects.clone()).map(move |object| sample(object, count));
    let samples: Vec<SeenFields> = samples.buffered(CONCURRENT_SAMPLES).try_collect().await?;
    let mut seen = SeenFields::default();
    samples.into_iter().for_each(|sample| seen.add(sample));
    let names = seen.shapes(&reading.types);
    if names.all.is_empty() {
        return Err(Error::config("no line of the table's files has a name")
            .hint("name the columns in `json.types`; an object with names stands in each line"));
    }
    if let Some(folder) = folders.iter().find(|folder| names.all.iter().any(|(name, _)| name == folder.name())) {
        let name = folder.name();
        return Err(Error::config(format!("lines have the name `{name}`, and so do the folders `{name}=…`"))
            .hint(format!("rename `{name}` in one of the two: either value could be the right one")));
    }
    files(objects, names, folders, root, reading.quarantine_bad_lines)
}

/// The same for files that transload wrote with these `columns`, which need not be looked at for that.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if the name of a folder cannot be read.
pub(crate) fn open_written(
    objects: Vec<PinnedObject>,
    columns: &[&manifest::Column],
    folders: &[FieldRef],
    root: &Path,
) -> Result<(SchemaRef, Vec<JsonFile>)> {
    let names = columns.iter().map(|c| (c.name.clone(), Shape::of(&c.ty, true))).collect();
    files(objects, Fields::new(names), folders, root, false)
}

fn files(
    objects: Vec<PinnedObject>,
    names: Fields,
    folders: &[FieldRef],
    root: &Path,
    quarantine_bad_lines: bool,
) -> Result<(SchemaRef, Vec<JsonFile>)> {
    let own = names.all.iter().map(|(name, shape)| rows::column(name, &shape.stored(), &shape.ty())).collect();
    let marks = if quarantine_bad_lines { Marks::Faults } else { Marks::None };
    let schema = rows::schema(own, folders, marks);
    let own: Vec<String> = names.all.iter().map(|(name, _)| name.clone()).collect();
    let names = Arc::new(names);
    let file = |object: PinnedObject| {
        Ok(JsonFile {
            columns: rows::places(&schema, &own, &object, root)?,
            names: Arc::clone(&names),
            object,
            quarantine_bad_lines,
        })
    };
    let files = objects.into_iter().map(file).collect::<Result<_>>()?;
    Ok((schema, files))
}

/// What the first lines of a file say about its columns.
async fn sample(object: PinnedObject, count: usize) -> Result<SeenFields> {
    let path = object.meta.location.to_string();
    look(object, count).await.map_err(|e| e.with("path", path))
}

async fn look(object: PinnedObject, count: usize) -> Result<SeenFields> {
    let mut lines = Lines::new(object)?;
    let mut seen = SeenFields::default();
    // With nothing to sample, the first line is looked at nevertheless: it tells whether these are JSON lines.
    for at in 0..count.max(1) {
        let Some(line) = lines.next().await? else { break };
        // Bad lines say nothing about types.
        let Ok(text) = std::str::from_utf8(lines.raw()) else { continue };
        if at == 0 {
            refuse_other_json(text)?;
        }
        if line.is_ok() && count > 0 {
            seen.see(text);
        }
    }
    Ok(seen)
}

/// Refuses a file whose first line shows that its values do not stand in one line each.
fn refuse_other_json(first: &str) -> Result<()> {
    let first = first.trim();
    if first.starts_with('[') {
        return Err(
            Error::config("the file holds a list; one object in each line is needed").hint("convert it: jq -c '.[]'")
        );
    }
    if first == "{" {
        return Err(Error::config("the first object has more than one line; one object in each line is needed")
            .hint("convert it: jq -c ."));
    }
    Ok(())
}

impl JsonFile {
    /// The rows, projected, as batches.
    pub(crate) fn stream(
        file: Arc<Self>,
        projection: Vec<usize>,
        schema: SchemaRef,
        batch_size: usize,
    ) -> DfResult<BoxStream<'static, DfResult<RecordBatch>>> {
        let lines = Lines::new(file.object.clone())?;
        Ok(futures::stream::try_unfold(lines, move |mut lines| {
            let (file, projection, schema) = (Arc::clone(&file), projection.clone(), Arc::clone(&schema));
            async move {
                let batch = file.batch(&mut lines, &projection, &schema, batch_size).await?;
                Ok(batch.map(|b| (b, lines)))
            }
        })
        .boxed())
    }

    async fn batch(
        &self,
        lines: &mut Lines,
        projection: &[usize],
        schema: &SchemaRef,
        batch_size: usize,
    ) -> Result<Option<RecordBatch>> {
        let mut columns: Vec<Column> =
            schema.fields().iter().map(|f| Column::new(f.data_type())).collect::<Result<_>>()?;
        let (mut rows, mut bytes) = (0, 0);
        while rows < batch_size && bytes < BATCH_BYTES {
            let Some(line) = lines.next().await? else { break };
            match self.row(lines, line) {
                Ok(None) => continue,
                Ok(Some(values)) => self.append(&values, projection, &mut columns)?,
                Err(reason) if self.quarantine_bad_lines => {
                    self.append_fault(lines, &reason, projection, &mut columns)?;
                }
                Err(reason) => return Err(rows::unreadable(lines.number(), &reason, "json")),
            }
            rows += 1;
            bytes += lines.size();
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = columns.iter_mut().map(Column::finish).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?))
    }

    /// The values of a line, or why it is no row; `None` for an empty one. All of them are read, also those that nobody
    /// asks for, so that it does not depend on the question which lines are bad.
    fn row<'l>(&self, lines: &'l Lines, line: Result<(), &'static str>) -> Result<Option<Vec<Value<'l>>>, String> {
        line?;
        let text = std::str::from_utf8(lines.raw()).map_err(|_| "the text is not UTF-8".to_string())?;
        let text = text.trim_matches([' ', '\t', '\r']);
        if text.is_empty() {
            return Ok(None);
        }
        if !text.starts_with('{') {
            return Err("it is no object".to_string());
        }
        self.names.read(text).map(Some).map_err(|misshapen| misshapen.sentence())
    }

    /// Appends a good row.
    fn append(&self, values: &[Value<'_>], projection: &[usize], columns: &mut [Column]) -> Result<()> {
        for (column, at) in columns.iter_mut().zip(projection) {
            match &self.columns[*at] {
                Place::Own(at) => append(column, &values[*at])?,
                Place::Folder(Some(value)) => append(column, &Value::Text(value.into()))?,
                Place::Folder(None) | Place::Nowhere | Place::Fault | Place::Raw => column.append_null(),
            }
        }
        Ok(())
    }

    fn append_fault(&self, lines: &Lines, reason: &str, projection: &[usize], columns: &mut [Column]) -> Result<()> {
        for (column, at) in columns.iter_mut().zip(projection) {
            match &self.columns[*at] {
                Place::Fault => append(column, &Value::Text(rows::fault(lines.number(), reason).into()))?,
                Place::Raw => append(column, &Value::Text(String::from_utf8_lossy(lines.raw())))?,
                _ => column.append_null(),
            }
        }
        Ok(())
    }
}

/// Appends a value of the column's shape.
fn append(column: &mut Column, value: &Value<'_>) -> Result<()> {
    match (column, value) {
        (column, Value::Null) => column.append_null(),
        (Column::Text(texts), Value::Text(text)) => texts.append_value(text),
        (Column::List(list), Value::List(items)) => {
            for item in items {
                append(&mut list.items, item)?;
            }
            list.end(items.len());
        }
        (Column::Struct(parts), Value::Struct(values)) => {
            for (column, value) in parts.columns.iter_mut().zip(values) {
                append(column, value)?;
            }
            parts.end();
        }
        (Column::Map(map), Value::Map(entries)) => {
            for (key, value) in entries {
                append(&mut map.keys, &Value::Text(key.clone()))?;
                append(&mut map.values, value)?;
            }
            map.end(entries.len());
        }
        _ => return Err(Error::internal("a value has another shape than its column")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use futures::executor::block_on;
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};
    use transload_core::LogicalType;
    use transload_core::connector::{DECLARED_TYPE, FAULT_COLUMN, RAW_COLUMN};

    use super::*;

    fn reading(types: &[(&str, &str)]) -> JsonReading {
        let types = types.iter().map(|(name, ty)| (name.to_string(), ty.parse::<LogicalType>().unwrap())).collect();
        JsonReading { types, sample_rows: 100, quarantine_bad_lines: true }
    }

    /// The files of a table, by their paths, and its schema.
    fn opened(files: &[(&str, &str)], reading: &JsonReading) -> Result<(SchemaRef, Vec<JsonFile>)> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        block_on(async {
            let mut objects = Vec::new();
            for (path, content) in files {
                let path = Path::from(*path);
                store.put(&path, content.as_bytes().to_vec().into()).await.unwrap();
                objects.push(PinnedObject { meta: store.head(&path).await.unwrap(), store: Arc::clone(&store) });
            }
            open(objects, reading, &[], &Path::default()).await
        })
    }

    /// The rows of the last file.
    fn batch((schema, mut files): (SchemaRef, Vec<JsonFile>)) -> RecordBatch {
        let columns = (0..schema.fields().len()).collect();
        let file = Arc::new(files.pop().unwrap());
        let stream = JsonFile::stream(file, columns, Arc::clone(&schema), 8192).unwrap();
        let batches: Vec<RecordBatch> = block_on(stream.try_collect()).unwrap();
        arrow::compute::concat_batches(&schema, &batches).unwrap()
    }

    fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
        batch.column_by_name(name).unwrap().as_string::<i32>().iter().map(|t| t.map(str::to_string)).collect()
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|t| (*t != "~").then(|| t.to_string())).collect()
    }

    #[test]
    fn no_digit_of_a_number_is_lost() {
        let lines = "{\"n\":12345678901234567890,\"d\":0.10000000000000000555}\n{\"n\":-1,\"d\":1E400}\n";
        let batch = batch(opened(&[("t.json", lines)], &reading(&[("d", "decimal(38,20)")])).unwrap());
        assert_eq!(texts(&batch, "n"), some(&["12345678901234567890", "-1"]));
        assert_eq!(texts(&batch, "d"), some(&["0.10000000000000000555", "1E400"]));
        let declared = |name| batch.schema().field_with_name(name).unwrap().metadata().get(DECLARED_TYPE).cloned();
        assert_eq!((declared("n"), declared("d").as_deref()), (None, Some("decimal(38,20)")));
    }

    #[test]
    fn a_line_that_is_no_row_is_put_aside_with_the_reason() {
        let lines = "{\"id\":1}\n\n{\"id\":2\n{\"id\":\"x\"}\n[1]\n{\"id\":3,\"new\":1}\n{\"id\":4}\r\n";
        let mut reading = reading(&[]);
        reading.sample_rows = 1;
        let batch = batch(opened(&[("t.json", lines)], &reading).unwrap());
        assert_eq!(texts(&batch, "id"), some(&["1", "~", "~", "~", "~", "4"]));
        let faults: Vec<String> = texts(&batch, FAULT_COLUMN).into_iter().flatten().collect();
        assert!(faults[0].starts_with("line 3: it is no JSON: "), "{}", faults[0]);
        assert_eq!(faults[1], "line 4: `id` is a text where a number is expected");
        assert_eq!(faults[2], "line 5: it is no object");
        assert!(faults[3].starts_with("line 6: `new` is not among the names that are known"), "{}", faults[3]);
        assert_eq!(texts(&batch, RAW_COLUMN)[2], Some("{\"id\":\"x\"}".to_string()));
    }

    #[test]
    fn nested_values_have_the_types_of_all_files() {
        let files = [
            ("t/1.json", "{\"a\":{\"x\":1},\"l\":[1]}\n"),
            ("t/2.jsonl", "{\"l\":[2.5,null],\"a\":{\"y\":\"s\"},\"more\":true}\n"),
        ];
        let (schema, files) = opened(&files, &reading(&[])).unwrap();
        let declared = schema.fields().iter().filter_map(|f| f.metadata().get(DECLARED_TYPE));
        let declared: Vec<&str> = declared.map(String::as_str).collect();
        assert_eq!(declared, ["struct<x: int64, y: text>", "list<float64>", "bool"]);
        let second = batch((Arc::clone(&schema), files));
        let a = second.column_by_name("a").unwrap().as_struct();
        assert!(a.column(0).is_null(0) && a.column(1).as_string::<i32>().value(0) == "s");
        let list = second.column_by_name("l").unwrap().as_list::<i32>().value(0);
        assert_eq!((list.len(), list.null_count(), list.as_string::<i32>().value(0)), (2, 1, "2.5"));
    }

    #[test]
    fn what_is_json_and_no_lines_is_refused() {
        for (content, hint) in [("[\n{\"id\":1}\n]\n", "jq -c '.[]'"), ("{\n \"id\": 1\n}\n", "jq -c .")] {
            let error = opened(&[("t.json", content)], &reading(&[])).unwrap_err();
            assert_eq!(error.hint_text().unwrap(), format!("convert it: {hint}"));
            assert!(error.to_string().contains("path t.json"), "{error}");
        }
        opened(&[("t.json", "\n\n")], &reading(&[])).unwrap_err();
        assert!(batch_is_empty(&opened(&[("t.json", "")], &reading(&[("id", "int64")])).unwrap().1[0]));
    }

    fn batch_is_empty(file: &JsonFile) -> bool {
        let mut lines = Lines::new(file.object.clone()).unwrap();
        block_on(file.batch(&mut lines, &[], &Arc::new(arrow::datatypes::Schema::empty()), 10)).unwrap().is_none()
    }
}
