//! What happens to a row between source and target: casts, filter, derived columns, checks, masks.

mod aside;
mod casts;
mod compile;
mod filter;
mod output;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::min_max::MaxAccumulator;
use datafusion::logical_expr::{Accumulator, Expr};
use datafusion::physical_expr::PhysicalExpr;
use transload_coerce::{Cast, MaskKind, Rulebook};
use transload_core::value::Loss as LossCount;
use transload_core::{Error, Result};
use transload_quality::Tally;

use self::aside::Reasons;
use self::casts::SourceCast;
use self::filter::{Filter, holds};
use self::output::{Output, derived};
use crate::checks::{Checks, Found, bits_of};
use crate::plan::{OnMisfit, TablePlan};

/// What the metadata columns of a run say.
#[derive(Debug, Clone, Default)]
pub struct RunFacts {
    /// Name of the run.
    pub run_id: String,
    /// Start of the run, in µs since 1970 UTC.
    pub started_micros: i64,
    /// Kind of the source and name of the table in it.
    pub source_system: String,
}

/// Where a row stands among those of its table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of its split, from 0.
    pub split: usize,
    /// Its place among the rows read from its split, from 0.
    pub position: u64,
}

/// The executable form of a table's plan.
pub struct Transform {
    source: SchemaRef,
    cast_schema: SchemaRef,
    output: SchemaRef,
    quarantine: SchemaRef,
    /// One per source column.
    casts: Vec<SourceCast>,
    fault: Option<usize>,
    /// The column that says where a row from quarantine comes from.
    origin: Option<usize>,
    /// Identifies the rule that a line must be readable.
    line_fingerprint: String,
    filter: Option<Filter>,
    /// Whether a row is a delete marker.
    deleted: Option<Arc<dyn PhysicalExpr>>,
    checks: Option<Checks>,
    outputs: Vec<Output>,
    /// The columns of what it gives; none, if it is only there for the checks.
    written: SchemaRef,
    facts: RunFacts,
    pushdown: Vec<Expr>,
    cursor: Option<usize>,
    /// The source columns that are scanned, and where each source column stands among them.
    projection: Vec<usize>,
    positions: Vec<Option<usize>>,
    /// For each source column that is not scanned a batch of NULLs.
    absent: Vec<Option<ArrayRef>>,
}

/// Rows that were put aside: as the source gave them, each with its reasons and where it is from.
#[derive(Debug, Clone)]
pub struct Quarantined {
    /// The rows, in the layout of [`Transform::quarantine_schema`].
    pub rows: RecordBatch,
}

/// What became of a batch of source rows.
#[derive(Debug)]
pub struct Transformed {
    /// Rows for the target.
    pub rows: RecordBatch,
    /// Delete markers, in the same columns; `None` if there are none.
    pub deleted: Option<RecordBatch>,
    /// How many rows the filter left out; in a replay they are put aside.
    pub filtered: u64,
    /// How many rows were put aside.
    pub aside: u64,
    /// Rows put aside; `None` if there are none, or the transform is only there for the checks.
    pub quarantined: Option<Quarantined>,
    /// What the casts lost, for columns where they lost anything.
    pub losses: Vec<LossCount>,
    /// Highest value of the cursor among rows that were not filtered.
    pub cursor: Option<ScalarValue>,
}

impl Transform {
    /// Makes a table's plan executable for rows of `source`.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the plan does not fit the source's schema (any more).
    pub fn new(plan: &TablePlan, source: &SchemaRef, rulebook: &Rulebook, facts: RunFacts) -> Result<Self> {
        Self::compile(plan, source, rulebook, facts, true)
    }

    /// As [`new`](Self::new), but only for what the checks find: the rows it gives have no columns, and it reads no more
    /// than decides about rows and checks.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn checking(plan: &TablePlan, source: &SchemaRef, rulebook: &Rulebook, facts: RunFacts) -> Result<Self> {
        Self::compile(plan, source, rulebook, facts, false)
    }

    /// The target's columns; none, if it is only there for the checks.
    pub fn schema(&self) -> &SchemaRef {
        &self.written
    }

    /// Whether it gives rows for a target, and not only what the checks find.
    pub fn writes(&self) -> bool {
        self.written.fields().len() == self.output.fields().len()
    }

    /// The columns of quarantined rows: the source's, then the rules they break and where they are from.
    pub fn quarantine_schema(&self) -> &SchemaRef {
        &self.quarantine
    }

    /// The columns that a check names, as checks see them.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if there is no such check.
    pub fn check_schema(&self, check: usize) -> Result<SchemaRef> {
        let checks = self.checks.as_ref().ok_or_else(|| Error::internal("a table without checks is checked"))?;
        Ok(Arc::new(checks.schema().project(checks.pass.columns(check))?))
    }

    /// The part of the filter that the source may apply too.
    pub fn pushdown(&self) -> &[Expr] {
        &self.pushdown
    }

    /// The source columns that [`apply`](Self::apply) expects, by position.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// The source column behind a column of the target that is neither masked nor computed, and its cast if it has
    /// one.
    pub fn carried(&self, output: usize) -> Option<(&str, Option<&Cast>)> {
        match self.outputs.get(output)? {
            Output::Source { column, mask: None } => {
                let cast = self.casts[*column].cast.as_ref().map(|(cast, ..)| cast);
                Some((self.source.field(*column).name(), cast))
            }
            _ => None,
        }
    }

    /// How the values of a column of the target are hidden: by a cast to text, and a mask. `None` if they are not.
    pub fn hiding(&self, column: &str) -> Option<(&Cast, MaskKind)> {
        match self.outputs.get(self.output.index_of(column).ok()?)? {
            Output::Source { mask: Some((cast, mask)), .. } => Some((cast, *mask)),
            _ => None,
        }
    }

    /// A cursor's value in the form a target remembers.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as text.
    pub fn cursor_text(value: &ScalarValue) -> Result<String> {
        Ok(arrow::util::display::array_value_to_string(&value.to_array()?, 0)?)
    }

    /// The highest of several remembered cursor values.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if one is not of the cursor's type.
    pub fn highest_cursor<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> Result<Option<String>> {
        let Some(column) = self.cursor else { return Ok(None) };
        let ty = self.cast_schema.field(column).data_type();
        let mut highest: Option<(ScalarValue, &str)> = None;
        for text in texts {
            let value = ScalarValue::try_from_string(text.to_string(), ty)?;
            if highest.as_ref().is_none_or(|(h, _)| value.partial_cmp(h) == Some(std::cmp::Ordering::Greater)) {
                highest = Some((value, text));
            }
        }
        Ok(highest.map(|(_, text)| text.to_string()))
    }

    /// An empty tally for one unit of work. `show_values`: whether values that break a rule may be kept.
    pub fn tally(&self, show_values: bool) -> Tally {
        self.checks.as_ref().map(|c| c.pass.tally(show_values)).unwrap_or_default()
    }

    /// Transforms a batch of the scanned columns of source rows. `place` is that of its first row, `tally` that of the
    /// split.
    ///
    /// # Errors
    /// [`Quality`](transload_core::ErrorKind::Quality) if a value does not fit and its policy is to stop.
    pub fn apply(&self, batch: &RecordBatch, place: Place, tally: &mut Tally) -> Result<Transformed> {
        let rows = batch.num_rows();
        let mut losses: BTreeMap<usize, LossCount> = BTreeMap::new();
        let (columns, misfits, changed) = self.cast(batch)?;
        let fault =
            self.fault.and_then(|i| self.positions[i]).map(|at| batch.column(at)).filter(|c| c.null_count() < rows);
        let decides = self.filter.is_some() || self.deleted.is_some() || self.checks.is_some();
        if !decides && misfits.is_empty() && fault.is_none() {
            self.count_losses(&mut losses, &misfits, &changed, &BooleanBuffer::new_set(rows));
            let cursor = self.highest(&columns)?;
            let rows = self.output_batch(&columns, rows, None)?;
            return Ok(Transformed {
                rows,
                deleted: None,
                filtered: 0,
                aside: 0,
                quarantined: None,
                losses: losses.into_values().collect(),
                cursor,
            });
        }

        let cast_batch = RecordBatch::try_new_with_options(
            Arc::clone(&self.cast_schema),
            columns,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )?;
        let faulty = fault.map(|f| BooleanBuffer::collect_bool(rows, |i| f.is_valid(i)));
        let passed = self.passed(&cast_batch, &misfits, faulty.as_ref())?;
        let mut aside = faulty.clone().unwrap_or_else(|| BooleanBuffer::new_unset(rows));
        if self.filter.as_ref().is_some_and(|filter| filter.keeps.is_some()) {
            aside = &aside | &!&passed;
        }
        // Columns whose value is not known for some rows, which are put aside.
        let mut unread: Vec<(usize, &BooleanBuffer)> = Vec::new();
        for (column, all) in &misfits {
            let bad = all & &passed;
            let count = bad.count_set_bits() as u64;
            if count == 0 {
                continue;
            }
            match self.policy(*column) {
                // Counted when it is known which rows are written.
                Some(OnMisfit::NullCounted) => {}
                Some(OnMisfit::Quarantine) => {
                    self.loss(&mut losses, *column).quarantined += count;
                    aside = &aside | &bad;
                    unread.push((*column, all));
                }
                _ => return Err(self.misfit(*column, count, place.position + first(&bad))),
            }
        }
        let seen = match &faulty {
            Some(faulty) => &passed & &!faulty,
            None => passed.clone(),
        };
        let markers = match &self.deleted {
            Some(deleted) => Some(&holds("`deleted`", deleted, &cast_batch, Some(&seen))? & &seen),
            None => None,
        };
        let checked = self.check(&cast_batch, &seen, markers.as_ref(), &unread, tally)?;
        if let Some(found) = checked.as_ref().and_then(|(_, found)| found.as_ref()) {
            aside = &aside | &found.rows(&seen);
        }
        let mut keep = &passed & &!&aside;
        let markers = markers.map(|markers| &markers & &keep).filter(BooleanBuffer::has_true);
        if let Some(markers) = &markers {
            keep = &keep & &!markers;
        }
        self.count_losses(&mut losses, &misfits, &changed, &keep);
        let found = checked.as_ref().and_then(|(_, found)| found.as_ref());
        let reasons = Reasons { passed: &passed, misfits: &misfits, fault, found, seen: &seen };
        let quarantined = self.put_aside(batch, &aside, &reasons, place)?;
        let put_aside = aside.count_set_bits() as u64;
        let view = checked.as_ref().map(|(view, _)| view);
        let deleted = match &markers {
            None => None,
            Some(markers) => {
                let (rows, view) = part(&cast_batch, view, &seen, markers)?;
                if let (Some(checks), Some(view)) = (&self.checks, &view) {
                    checks.pass.markers(view, tally)?;
                }
                Some(self.output_batch(rows.columns(), rows.num_rows(), view.as_ref())?)
            }
        };
        let (kept, kept_view) = part(&cast_batch, view, &seen, &keep)?;
        if let (Some(checks), Some(view)) = (&self.checks, &kept_view) {
            checks.pass.table(view, tally)?;
        }
        let going = kept.num_rows() + deleted.as_ref().map_or(0, RecordBatch::num_rows);
        let filtered = (rows - going) as u64 - put_aside;
        let mut cursor = None;
        if self.cursor.is_some() {
            let seen = filter_record_batch(&cast_batch, &BooleanArray::new(passed, None))?;
            cursor = self.highest(seen.columns())?;
        }
        let rows = self.output_batch(kept.columns(), kept.num_rows(), kept_view.as_ref())?;
        let losses = losses.into_values().collect();
        Ok(Transformed { rows, deleted, filtered, aside: put_aside, quarantined, losses, cursor })
    }

    /// Looks at the rows that are `seen`, `markers` among them: what checks see of them, and which of them are to be put
    /// aside.
    fn check(
        &self,
        batch: &RecordBatch,
        seen: &BooleanBuffer,
        markers: Option<&BooleanBuffer>,
        unread: &[(usize, &BooleanBuffer)],
        tally: &mut Tally,
    ) -> Result<Option<(RecordBatch, Option<Found>)>> {
        let Some(checks) = &self.checks else { return Ok(None) };
        let all = !seen.has_false();
        let rows = match all {
            true => batch.clone(),
            false => filter_record_batch(batch, &BooleanArray::new(seen.clone(), None))?,
        };
        let derive = |number: usize| match &self.outputs[number] {
            Output::Derived(expr) => derived(expr, &rows, self.output.field(number)),
            _ => Err(Error::internal("a column is not derived")),
        };
        let view = checks.seen(rows.columns(), rows.num_rows(), derive)?;
        let mut unread_of_seen = Vec::with_capacity(unread.len());
        for (column, bad) in unread {
            unread_of_seen.push((*column, if all { (*bad).clone() } else { bits_of(bad, seen)? }));
        }
        let unread: Vec<(usize, &BooleanBuffer)> = unread_of_seen.iter().map(|(c, bad)| (*c, bad)).collect();
        let markers = match markers {
            Some(markers) if !all => Some(bits_of(markers, seen)?),
            markers => markers.cloned(),
        };
        let aside = checks.pass.rows(&view, &|column| checks.unsure(column, &unread), markers.as_ref(), tally)?;
        Ok(Some((view, aside.map(|aside| Found::new(aside, seen)))))
    }

    fn highest(&self, columns: &[ArrayRef]) -> Result<Option<ScalarValue>> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut max = MaxAccumulator::try_new(columns[cursor].data_type())?;
        max.update_batch(&columns[cursor..=cursor])?;
        let highest = max.evaluate()?;
        Ok((!highest.is_null()).then_some(highest))
    }
}

/// Some rows of a batch, and what checks see of them, of which `view` is what they see of the rows that are `seen`.
fn part(
    batch: &RecordBatch,
    view: Option<&RecordBatch>,
    seen: &BooleanBuffer,
    which: &BooleanBuffer,
) -> Result<(RecordBatch, Option<RecordBatch>)> {
    let rows = match which.has_false() {
        false => batch.clone(),
        true => filter_record_batch(batch, &BooleanArray::new(which.clone(), None))?,
    };
    let view = match view {
        Some(view) if view.num_rows() == rows.num_rows() => Some(view.clone()),
        Some(view) => Some(filter_record_batch(view, &BooleanArray::new(bits_of(which, seen)?, None))?),
        None => None,
    };
    Ok((rows, view))
}

fn first(bits: &BooleanBuffer) -> u64 {
    bits.set_indices().next().unwrap_or(0) as u64
}
