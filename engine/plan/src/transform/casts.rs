//! Casts of a batch, and what they lose.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use transload_coerce::{Cast, Loss};
use transload_core::value::Loss as LossCount;
use transload_core::{Error, ErrorKind, Result};

use crate::plan::OnMisfit;
use crate::transform::Transform;

/// What is done to the values of a column of the source.
pub(super) struct SourceCast {
    /// `None` leaves the column alone.
    pub(super) cast: Option<(Cast, OnMisfit, bool)>,
    /// Whether anything reads the result.
    pub(super) needed: bool,
    /// What quarantine says of a value that does not fit: identity of the rule, and the rule in words.
    pub(super) misfit: (String, String),
}

/// For columns with values that do not fit, or were changed, which rows they are in.
type Marks = Vec<(usize, BooleanBuffer)>;

impl Transform {
    /// Casts the columns that are needed, and finds the values that do not fit and those that were changed.
    pub(super) fn cast(&self, batch: &RecordBatch) -> Result<(Vec<ArrayRef>, Marks, Marks)> {
        let rows = batch.num_rows();
        let (mut misfits, mut changed) = (Marks::new(), Marks::new());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
        for (i, cast) in self.casts.iter().enumerate() {
            let Some(at) = self.positions[i] else {
                columns.push(match &self.absent[i] {
                    Some(nulls) if rows <= nulls.len() => nulls.slice(0, rows),
                    _ => new_null_array(self.cast_schema.field(i).data_type(), rows),
                });
                continue;
            };
            let array = batch.column(at);
            match &cast.cast {
                Some((cast, _, counts)) if cast.from() == cast.to() || self.casts[i].needed => {
                    let done = cast.apply(array).map_err(|e| e.with("column", self.source.field(i).name()))?;
                    // Whole rows are read for quarantine; what nothing reads of them may be as it is.
                    if let Some(bad) = done.misfits.filter(|_| self.casts[i].needed) {
                        misfits.push((i, bad));
                    }
                    if let Some(bits) = done.changed.filter(|_| *counts) {
                        changed.push((i, bits));
                    }
                    columns.push(done.array);
                }
                _ => columns.push(Arc::clone(array)),
            }
        }
        Ok((columns, misfits, changed))
    }

    /// Counts what the casts lost of the values of rows that are `written`.
    pub(super) fn count_losses(
        &self,
        losses: &mut BTreeMap<usize, LossCount>,
        misfits: &[(usize, BooleanBuffer)],
        changed: &[(usize, BooleanBuffer)],
        written: &BooleanBuffer,
    ) {
        let count = |bits: &BooleanBuffer| (bits & written).count_set_bits() as u64;
        for (column, bits) in changed {
            match count(bits) {
                0 => {}
                changed => self.loss(losses, *column).changed += changed,
            }
        }
        for (column, bits) in misfits {
            match (self.policy(*column), count(bits)) {
                (Some(OnMisfit::NullCounted), nulled) if nulled > 0 => self.loss(losses, *column).nulled += nulled,
                _ => {}
            }
        }
    }

    /// What happens to values of a column that do not fit.
    pub(super) fn policy(&self, column: usize) -> Option<OnMisfit> {
        self.casts[column].cast.as_ref().map(|(_, policy, _)| *policy)
    }

    pub(super) fn loss<'l>(&self, losses: &'l mut BTreeMap<usize, LossCount>, column: usize) -> &'l mut LossCount {
        losses.entry(column).or_insert_with(|| {
            let (from, to) = match &self.casts[column].cast {
                Some((cast, _, _)) => (cast.from().to_string(), cast.to().to_string()),
                None => (String::new(), String::new()),
            };
            LossCount { column: self.source.field(column).name().clone(), from, to, ..LossCount::default() }
        })
    }

    pub(super) fn misfit(&self, column: usize, count: u64, first: u64) -> Error {
        let cast = self.casts[column].cast.as_ref().map(|(cast, _, _)| cast);
        let to = cast.map(|c| c.to().to_string()).unwrap_or_default();
        let hint = match cast.map(Cast::loss) {
            Some(Loss::Exact) => "repair the source: its dates hold a time of day, which would be cut",
            _ => "repair the source, or set `on_misfit: quarantine` (or null_counted, text, widen) for this column",
        };
        let (values, do_not) = if count == 1 { ("value", "does") } else { ("values", "do") };
        Error::new(
            ErrorKind::Quality,
            format!("{count} {values} in one batch {do_not} not fit {to}; the first is in row {first} of its split"),
        )
        .with("column", self.source.field(column).name())
        .hint(hint)
    }
}
