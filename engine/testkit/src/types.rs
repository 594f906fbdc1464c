//! What a sink promises of types and values: what it takes comes back as it was, and what it does not take it refuses
//! before anything is written, by the name of the column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryViewArray, RecordBatch, StringViewArray, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use futures::FutureExt;
use transload_core::{Error, ErrorKind, Result, TableName};

use crate::case::Case;
use crate::claim::spec;
use crate::promise;
use crate::reading::{digest_of, meant};
use crate::trial::Trial;
use crate::values::columns;

pub(crate) const CASES: &[Case] = &[
    Case::new("every-type-that-is-taken-comes-back-as-it-was", "sink", |t| types_come_back(t).boxed()),
    Case::new("nulls-of-every-type-come-back", "sink", |t| nulls_come_back(t).boxed()),
    Case::new("texts-and-bytes-in-views-come-back", "sink", |t| views_come_back(t).boxed()),
    Case::new("a-type-that-is-not-taken-is-refused-by-its-column", "sink", |t| others_are_refused(t).boxed()),
];

/// Whether a sink takes a column.
async fn takes(t: &Trial, table: &TableName, field: &Field) -> Result<()> {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    t.sink_of(table, schema, &spec(table, t.mode())).await.map(drop)
}

/// The columns that a sink takes, of `all`.
async fn those_taken(t: &Trial, table: &TableName, all: Vec<(Field, ArrayRef)>) -> Result<RecordBatch> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (field, array) in all {
        if takes(t, table, &field).await.is_ok() {
            fields.push(field);
            arrays.push(array);
        }
    }
    promise(!fields.is_empty(), "there is a type that is taken")?;
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// A table with a column of every type that a sink takes.
pub(crate) async fn taken(t: &Trial, table: &TableName) -> Result<RecordBatch> {
    those_taken(t, table, columns()?).await
}

/// Writes rows, which must come back as they were; otherwise it is said in which columns they do not.
async fn come_back(t: &Trial, table: &TableName, rows: &RecordBatch, sentence: &str) -> Result<()> {
    t.put(table, t.mode(), rows.clone()).await?;
    let schema = rows.schema();
    let found = meant(&t.open(table).await?, &schema).await?;
    let mut changed = Vec::new();
    for (at, field) in schema.fields().iter().enumerate() {
        let was = rows.project(&[at])?;
        if found.project(&[at])?.digest()? != digest_of(&was.schema(), [&was])? {
            changed.push(field.name().as_str());
        }
    }
    promise(changed.is_empty(), format!("{sentence}, but for {}", changed.join(", ")))?;
    promise(found.digest()? == digest_of(&schema, [rows])?, "values stay in their rows")
}

async fn types_come_back(t: Trial) -> Result<()> {
    let table = t.table("t");
    come_back(&t, &table, &taken(&t, &table).await?, "every type that is taken comes back as it was").await
}

async fn nulls_come_back(t: Trial) -> Result<()> {
    let table = t.table("t");
    let rows = taken(&t, &table).await?;
    let nulls = rows.columns().iter().map(|array| new_null_array(array.data_type(), 3)).collect();
    let nulls = RecordBatch::try_new(rows.schema(), nulls)?;
    come_back(&t, &table, &nulls, "NULL of every type comes back").await
}

async fn views_come_back(t: Trial) -> Result<()> {
    let table = t.table("t");
    let long = "a text that is too long to stand in a view";
    let words = StringViewArray::from(vec![Some("a"), Some(""), None, Some(long), Some("NULL")]);
    let bytes: [Option<&[u8]>; 5] = [Some(b"a"), Some(b""), None, Some(long.as_bytes()), Some(b"\xff")];
    let all: Vec<(Field, ArrayRef)> = vec![
        (Field::new("words", DataType::Utf8View, true), Arc::new(words)),
        (Field::new("bytes", DataType::BinaryView, true), Arc::new(BinaryViewArray::from(bytes.to_vec()))),
    ];
    let rows = those_taken(&t, &table, all).await?;
    come_back(&t, &table, &rows, "texts and bytes in views come back").await
}

async fn others_are_refused(t: Trial) -> Result<()> {
    let table = t.table("t");
    for (field, _) in columns()? {
        let Err(error) = takes(&t, &table, &field).await else { continue };
        let name = field.name();
        let names_it = error.context().iter().any(|(what, which)| *what == "column" && which == name);
        promise(names_it, format!("a refusal names the column {name}"))?;
        promise(
            error.kind() == ErrorKind::Config,
            format!("a type that is not taken is a mistake of the plan: {name}"),
        )?;
        promise(error.hint_text().is_some(), format!("a refusal says what to do about {name}"))?;
        // A column that can be written does not help the one that cannot.
        let fields = Fields::from(vec![Field::new("id", DataType::Int64, false), field.clone()]);
        let spec = spec(&table, t.mode());
        let both = t.sink_of(&table, Arc::new(Schema::new(fields)), &spec).await;
        promise(both.is_err_and(|e: Error| e.kind() == ErrorKind::Config), format!("{name} is refused among others"))?;
    }
    promise(t.open(&table).await.is_err(), "what is refused leaves no table")
}
