//! Filters and limits that a source is told of: it may leave out rows that do not fit, and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::prelude::SessionContext;
use futures::FutureExt;
use transload_core::connector::is_hidden;
use transload_core::{Result, TableName};
use transload_digest::{Algorithm, RowHasher};

use crate::case::Case;
use crate::promise;
use crate::reading::{Scanned, session};
use crate::source::each;
use crate::trial::Trial;

pub(crate) const CASES: &[Case] = &[
    Case::new("a-filter-loses-no-row-that-fits", "source", |t| each(t, no_row_is_lost).boxed()),
    Case::new("a-filter-while-decoding-loses-no-row-that-fits", "source", |t| each(t, none_while_decoding).boxed()),
    Case::new("a-limit-gives-as-many-rows-as-there-are", "source", |t| each(t, limits).boxed()),
];

/// With more columns than these, each is asked about in one way only.
const FEW_COLUMNS: usize = 4;

async fn no_row_is_lost(t: Trial, table: TableName) -> Result<()> {
    compare(t, table, &session(), |_| true).await
}

/// The same with readers that filter while they decode. A text need not have the layout then that its schema says, so only
/// filters are told that take any.
async fn none_while_decoding(t: Trial, table: TableName) -> Result<()> {
    let mut config = session().copied_config();
    config.options_mut().execution.parquet.pushdown_filters = true;
    let takes = |field: &Field| !matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView);
    compare(t, table, &SessionContext::new_with_config(config), takes).await
}

/// What is left of a scan that knows a filter must be what is left of the whole table.
async fn compare(t: Trial, table: TableName, session: &SessionContext, takes: impl Fn(&Field) -> bool) -> Result<()> {
    let source = t.open(&table).await?;
    let all = Scanned::of(&source, None).await?;
    let provider = source.provider()?;
    let schema = DFSchema::try_from(Arc::clone(&all.schema))?;
    for filter in filters(&all, takes)? {
        let condition = session.create_physical_expr(filter.clone(), &schema)?;
        let scan = provider.scan(&session.state(), None, std::slice::from_ref(&filter), None).await?;
        let plan: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(Arc::clone(&condition), scan)?);
        let found = Scanned::by(&plan, session).await?;
        let expected = kept(&all, &condition)?;
        let rows = (found.rows(), expected.rows());
        // A value of a row must not stand in a sentence, so the filter does not.
        let columns: Vec<&str> = filter.column_refs().into_iter().map(Column::name).collect();
        let sentence = format!("a filter of {} keeps the rows that fit: {} of {}", columns.join(", "), rows.0, rows.1);
        promise(found.digest()? == expected.digest()?, sentence)?;
    }
    Ok(())
}

/// The rows that fit, as memory has it.
fn kept(all: &Scanned, condition: &Arc<dyn PhysicalExpr>) -> Result<Scanned> {
    let keep = |batch: &RecordBatch| -> Result<RecordBatch> {
        let fits = condition.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(filter_record_batch(batch, fits.as_boolean())?)
    };
    let splits = all.splits.iter().map(|rows| rows.iter().map(keep).collect::<Result<Vec<_>>>());
    Ok(Scanned { schema: Arc::clone(&all.schema), splits: splits.collect::<Result<_>>()? })
}

/// Filters of each column, with values that are in the table.
fn filters(all: &Scanned, takes: impl Fn(&Field) -> bool) -> Result<Vec<Expr>> {
    let columns = all.schema.fields().len();
    let mut found = Vec::new();
    for (at, field) in all.schema.fields().iter().enumerate().filter(|(_, field)| !is_hidden(field)) {
        let column = || Expr::Column(Column::new_unqualified(field.name()));
        let mut own = vec![column().is_null(), column().is_not_null()];
        if takes(field) && !field.data_type().is_nested() {
            let values = some_values(all, at)?;
            if let [low, .., high] = values.as_slice() {
                let (low, high) = (|| lit(low.clone()), || lit(high.clone()));
                own.push(column().eq(high()));
                own.push(column().gt_eq(low()).and(column().lt(high())));
                own.push(column().in_list(vec![low(), high()], false));
                own.push(column().in_list(vec![high()], true));
            }
        }
        match columns > FEW_COLUMNS {
            true => found.push(own.swap_remove(at % own.len())),
            false => found.append(&mut own),
        }
    }
    Ok(found)
}

/// Values of a column that are in the table, the first and the last one that differ from each other among them.
fn some_values(all: &Scanned, column: usize) -> Result<Vec<ScalarValue>> {
    let mut values: Vec<ScalarValue> = Vec::new();
    for batch in all.batches() {
        let array = batch.column(column);
        let rows = [0, array.len() / 2, array.len().saturating_sub(1)];
        for row in rows.into_iter().filter(|row| *row < array.len() && array.is_valid(*row)) {
            let value = ScalarValue::try_from_array(array, row)?;
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }
    Ok(values)
}

async fn limits(t: Trial, table: TableName) -> Result<()> {
    let source = t.open(&table).await?;
    let all = Scanned::of(&source, None).await?;
    let session = session();
    for limit in [0, 1, 3, 100_000] {
        let scan = source.provider()?.scan(&session.state(), None, &[], Some(limit)).await?;
        let found = Scanned::by(&scan, &session).await?;
        let wanted = all.rows().min(limit as u64);
        promise(found.rows() >= wanted, format!("a limit of {limit} gives {wanted} rows, and {} came", found.rows()))?;
        let there = counted(&all)?;
        let within = counted(&found)?.iter().all(|(row, count)| there.get(row).is_some_and(|most| count <= most));
        promise(within, "the rows within a limit are rows of the table")?;
    }
    Ok(())
}

/// How often each row is there, by its hash.
fn counted(rows: &Scanned) -> Result<BTreeMap<u64, u64>> {
    let mut hasher = RowHasher::new(&rows.schema, Algorithm::Xxh64)?;
    let mut found = BTreeMap::new();
    for batch in rows.batches() {
        for hash in hasher.hash(batch.columns(), batch.num_rows())?.short() {
            *found.entry(hash).or_default() += 1;
        }
    }
    Ok(found)
}
