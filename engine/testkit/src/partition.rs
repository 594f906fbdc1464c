//! What a sink promises that lays tables out by partition: where a row lies changes nothing about it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray};
use futures::FutureExt;
use transload_core::Result;
use transload_core::connector::{Partition, Transform, WriteSpec};

use crate::case::Case;
use crate::claim::{by, spec};
use crate::promise;
use crate::trial::{Trial, rows};

pub(crate) const CASES: &[Case] = &[
    Case::new("a-layout-changes-no-row", "partitions", |t| changes_no_row(t).boxed()),
    Case::new("partitions-have-any-text", "partitions", |t| any_text(t).boxed()),
    Case::new("partitions-have-dates-numbers-and-flags", "partitions", |t| other_types(t).boxed()),
    Case::new("an-empty-table-may-have-a-layout", "partitions", |t| empty_table(t).boxed()),
    Case::new("a-layout-may-have-levels", "partitions", |t| levels(t).boxed()),
];

async fn written(t: &Trial, rows: &RecordBatch, layout: Vec<Partition>, sentence: &str) -> Result<()> {
    let table = t.table("t");
    t.put_by(&table, t.mode(), rows.clone(), layout).await?;
    promise(t.holds(&table, rows).await?, sentence)
}

async fn changes_no_row(t: Trial) -> Result<()> {
    let count = if t.is_far { 200 } else { 1000 };
    let mut layout = vec![by("word", Transform::Identity), by("id", Transform::Truncate(100))];
    let asked = WriteSpec { partition_by: layout.clone(), ..spec(&t.table("t"), t.mode()) };
    // Not everyone can cut values.
    if t.endpoint.check_write(&asked).is_err() {
        layout.truncate(1);
    }
    written(&t, &rows(0, count)?, layout, "a layout changes no row").await
}

/// Rows whose words are these.
fn worded(words: &[Option<&str>]) -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..words.len() as i64));
    let words: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
    Ok(RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("word", words, true)])?)
}

async fn any_text(t: Trial) -> Result<()> {
    let words = [
        Some("plain"),
        None,
        Some("a/b"),
        Some("x=y"),
        Some("50%"),
        Some("x y%2F"),
        Some("NULL"),
        Some("__HIVE_DEFAULT_PARTITION__"),
        Some("äöü 東京 🦀"),
        Some("plain"),
    ];
    let layout = vec![by("word", Transform::Identity)];
    written(&t, &worded(&words)?, layout, "partitions of any text come back as they were").await
}

async fn other_types(t: Trial) -> Result<()> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..6));
    let days: ArrayRef =
        Arc::new(Date32Array::from(vec![Some(0), Some(-1), None, Some(2_932_896), Some(-719_162), Some(0)]));
    let numbers: ArrayRef =
        Arc::new(Int32Array::from(vec![Some(0), Some(-1), None, Some(i32::MAX), Some(i32::MIN), Some(0)]));
    let flags: ArrayRef =
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true), None, Some(true)]));
    for (name, column) in [("day", days), ("number", numbers), ("flag", flags)] {
        let rows = RecordBatch::try_from_iter_with_nullable([("id", Arc::clone(&ids), false), (name, column, true)])?;
        let table = t.table(name);
        t.put_by(&table, t.mode(), rows.clone(), vec![by(name, Transform::Identity)]).await?;
        promise(t.holds(&table, &rows).await?, format!("partitions by {name} come back as they were"))?;
    }
    Ok(())
}

async fn empty_table(t: Trial) -> Result<()> {
    let layout = vec![by("word", Transform::Identity)];
    written(&t, &rows(0, 0)?, layout, "an empty table with a layout has its columns").await
}

async fn levels(t: Trial) -> Result<()> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..40));
    let words = (0..40).map(|i| (i % 5 != 0).then(|| format!("w{}", i % 3)));
    let words: ArrayRef = Arc::new(words.collect::<StringArray>());
    let days = (0..40_i32).map(|i| (i % 4 != 0).then_some(20_000 + i % 2));
    let days: ArrayRef = Arc::new(days.collect::<Date32Array>());
    let columns = [("id", ids, false), ("word", words, true), ("day", days, true)];
    let rows = RecordBatch::try_from_iter_with_nullable(columns)?;
    let layout = vec![by("day", Transform::Identity), by("word", Transform::Identity)];
    written(&t, &rows, layout, "rows of partitions within partitions come back as they were").await
}
