//! What quality checks see of a row: the columns of the target before masks, under their names there, then those of the
//! source (after casts) whose name is not taken.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::physical_expr::utils::collect_columns;
use transload_core::{Error, Result};
use transload_quality::{Aside, Check, Pass};

use crate::expr::Expressions;
use crate::plan::{ColumnPlan, Origin};
use crate::quarantine::is_value;

/// The columns that checks see.
pub(crate) struct View {
    pub(crate) schema: SchemaRef,
    columns: Vec<Seen>,
}

/// Where a column that checks see comes from.
struct Seen {
    /// The source's columns that it is made of.
    reads: Vec<usize>,
    /// For a derived column its number among the target's.
    derived: Option<usize>,
}

impl View {
    /// What checks see of a table whose source has the columns `cast` after its casts, which `expressions` reads.
    ///
    /// # Errors
    /// A sentence, if a derived column cannot be read.
    pub(crate) fn new(cast: &SchemaRef, expressions: &Expressions, columns: &[ColumnPlan]) -> Result<Self, String> {
        let mut fields: Vec<FieldRef> = Vec::new();
        let mut seen = Vec::new();
        for (number, column) in columns.iter().enumerate() {
            match &column.origin {
                Origin::Source(name) => {
                    let at = cast.index_of(name).map_err(|_| format!("there is no column `{name}`"))?;
                    fields.push(nullable(cast.field(at).clone().with_name(&column.name)));
                    seen.push(Seen { reads: vec![at], derived: None });
                }
                Origin::Derived(sql) => {
                    let expr = expressions.logical(sql)?;
                    let physical = expressions.physical(&expr)?;
                    let reads = collect_columns(&physical).iter().map(|c| c.index()).collect();
                    fields.push(nullable(expressions.field(&column.name, &expr)?));
                    seen.push(Seen { reads, derived: Some(number) });
                }
                // Checks are about what the source has.
                Origin::Metadata(_) | Origin::Gone => {}
            }
        }
        for (at, field) in cast.fields().iter().enumerate() {
            let name = field.name();
            let taken = fields.iter().any(|f| f.name() == name) || columns.iter().any(|c| c.name == *name);
            if !taken && is_value(name) {
                fields.push(nullable(field.as_ref().clone()));
                seen.push(Seen { reads: vec![at], derived: None });
            }
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)), columns: seen })
    }

    /// The names of the columns.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.schema.fields().iter().map(|f| f.name().as_str()).collect()
    }

    /// Whether an SQL expression can be read.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub(crate) fn reads_sql(&self, sql: &str) -> Result<(), String> {
        let expressions = Expressions::new(&self.schema)?;
        expressions.logical(sql).and_then(|expr| expressions.physical(&expr)).map(drop)
    }

    /// The names of the columns that an SQL expression reads, sorted.
    ///
    /// # Errors
    /// A sentence, if it cannot be read.
    pub(crate) fn read_by(&self, sql: &str) -> Result<Vec<String>, String> {
        let expr = Expressions::new(&self.schema)?.logical(sql)?;
        let mut names: Vec<String> = expr.column_refs().into_iter().map(|column| column.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// Makes checks executable for what is seen.
    ///
    /// # Errors
    /// For each check that does not fit its number and a sentence.
    pub(crate) fn pass(&self, checks: &[Check], started_micros: i64) -> Result<Pass, Vec<(usize, String)>> {
        let expressions = Expressions::new(&self.schema).map_err(|reason| vec![(0, reason)])?;
        let compile = |sql: &str| expressions.logical(sql).and_then(|expr| expressions.physical(&expr));
        Pass::new(checks, &self.schema, started_micros, &compile)
    }
}

fn nullable(field: Field) -> FieldRef {
    Arc::new(field.with_nullable(true))
}

/// The checks of a table, ready for its rows.
pub(crate) struct Checks {
    view: View,
    pub(crate) pass: Pass,
}

impl Checks {
    /// The checks of a table whose rows have this key.
    pub(crate) fn new(view: View, checks: &[Check], key: &[String], started_micros: i64) -> Result<Self> {
        let refused = |wrong: Vec<(usize, String)>| {
            let reasons: Vec<String> = wrong.into_iter().map(|(_, reason)| reason).collect();
            Error::config(format!("the checks do not fit the columns: {}", reasons.join("; ")))
        };
        let pass = view.pass(checks, started_micros).map_err(refused)?.merging(checks, key);
        Ok(Self { view, pass })
    }

    /// The columns that checks see.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.view.schema
    }

    /// The source's columns that checks read.
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> {
        self.pass.reads().into_iter().flat_map(move |seen| self.view.columns[seen].reads.clone())
    }

    /// What checks see of rows with these columns of the source, after casts. `derive` gives a derived column.
    pub(crate) fn seen(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        mut derive: impl FnMut(usize) -> Result<ArrayRef>,
    ) -> Result<RecordBatch> {
        let arrays = self.view.columns.iter().map(|seen| match (seen.derived, seen.reads.first()) {
            (Some(number), _) => derive(number),
            (None, Some(at)) => Ok(Arc::clone(&columns[*at])),
            (None, None) => Err(Error::internal("a column comes from nowhere")),
        });
        let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.view.schema), arrays, &options)?)
    }

    /// A derived column among those that checks see, by its number among the target's.
    pub(crate) fn derived(&self, seen: &RecordBatch, number: usize) -> Option<ArrayRef> {
        let at = self.view.columns.iter().position(|c| c.derived == Some(number))?;
        Some(Arc::clone(seen.column(at)))
    }

    /// Rows of which a column that checks see could not be read, as values it is made of did not fit.
    pub(crate) fn unsure(&self, column: usize, misfits: &[(usize, &BooleanBuffer)]) -> Option<BooleanBuffer> {
        let reads = &self.view.columns[column].reads;
        let bad = misfits.iter().filter(|(at, _)| reads.contains(at)).map(|(_, bad)| (*bad).clone());
        bad.reduce(|all, bad| &all | &bad)
    }
}

/// What checks found of a batch, of which they saw some rows.
pub(crate) struct Found {
    /// Rows to put aside, among those that were seen.
    pub(crate) aside: Aside,
    /// For each row of the batch its place among those that were seen.
    pub(crate) places: Vec<usize>,
}

impl Found {
    pub(crate) fn new(aside: Aside, seen: &BooleanBuffer) -> Self {
        let mut next = 0;
        let place = |is_seen: bool| {
            let place = next;
            next += usize::from(is_seen);
            place
        };
        Self { aside, places: seen.iter().map(place).collect() }
    }

    /// Rows of the batch to put aside.
    pub(crate) fn rows(&self, seen: &BooleanBuffer) -> BooleanBuffer {
        BooleanBuffer::collect_bool(seen.len(), |row| seen.value(row) && self.aside.rows.value(self.places[row]))
    }
}

/// The bits of some rows.
pub(crate) fn bits_of(bits: &BooleanBuffer, rows: &BooleanBuffer) -> Result<BooleanBuffer> {
    let bits = BooleanArray::new(bits.clone(), None);
    let chosen = filter(&bits, &BooleanArray::new(rows.clone(), None))?;
    Ok(arrow::array::AsArray::as_boolean(&chosen).values().clone())
}
