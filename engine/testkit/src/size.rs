//! Tables that are large in one way: a value, the number of units, the number of columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::{FutureExt, StreamExt, TryStreamExt};
use transload_core::{Result, Staged};

use crate::case::{Case, Weight};
use crate::promise;
use crate::trial::{Trial, commit, rows, stage_beside};

pub(crate) const CASES: &[Case] = &[
    Case::new("a-huge-value-comes-back-among-small-ones", "sink", |t| huge_value(t).boxed()).weighing(Weight::Sizes),
    Case::new("many-units-of-one-row-are-one-table", "sink", |t| many_units(t).boxed()).weighing(Weight::Sizes),
    Case::new("many-columns-come-back", "sink", |t| many_columns(t).boxed()).weighing(Weight::Sizes),
];

/// Bytes of a huge text, more or less. No row of CSV or JSON may have 16 MiB.
const HUGE: usize = 9 << 20;

/// Units that are staged at the same time.
const AT_ONCE: usize = 8;

async fn huge_value(t: Trial) -> Result<()> {
    let table = t.table("t");
    let some: String = (0..4096).map(|i| format!("{i:x} \u{e9}, ")).collect();
    let huge = format!("\"\n{}", some.repeat(HUGE / some.len()));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some(huge.as_str()), None, Some(""), Some("b")]));
    let rows = RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("word", words, true)])?;
    t.put(&table, t.mode(), rows.clone()).await?;
    promise(t.holds(&table, &rows).await?, "a huge value and the small ones beside it come back")
}

async fn many_units(t: Trial) -> Result<()> {
    let table = t.table("t");
    let units: i64 = if t.is_far { 24 } else { 200 };
    let sink = t.sink(&table, t.mode()).await?;
    let staged = futures::stream::iter(0..units).map(|unit| {
        let sink = &sink;
        async move { stage_beside(sink, &format!("{unit:06}"), rows(unit, unit + 1)?).await }
    });
    let staged: Vec<Staged> = staged.buffered(AT_ONCE).try_collect().await?;
    let done = commit(&sink, staged).await?;
    promise(done.rows == units.unsigned_abs(), "many units are one commit")?;
    promise(t.holds(&table, &rows(0, units)?).await?, "many units are one table")
}

async fn many_columns(t: Trial) -> Result<()> {
    let table = t.table("t");
    let columns: i64 = if t.is_far { 120 } else { 300 };
    let column = |number: i64| -> (String, ArrayRef, bool) {
        let array: ArrayRef = match number % 2 {
            0 => Arc::new((0..10).map(|row| (row != number % 10).then_some(row * number)).collect::<Int64Array>()),
            _ => Arc::new((0..10).map(|row| (row != 3).then(|| format!("{row} of {number}"))).collect::<StringArray>()),
        };
        (format!("c{number:03}"), array, true)
    };
    let rows = RecordBatch::try_from_iter_with_nullable((0..columns).map(column))?;
    t.put(&table, t.mode(), rows.clone()).await?;
    promise(t.holds(&table, &rows).await?, "many columns come back, each with its own values")
}
