//! Which rows the filter lets through.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use datafusion::physical_expr::PhysicalExpr;
use transload_core::Result;
use transload_quality::evaluate;

use crate::transform::Transform;

/// A condition that rows keep.
pub(super) struct Filter {
    /// The whole of it, the cursor's part too: what stands behind an `and` may rely on what stands before it.
    pub(super) condition: Arc<dyn PhysicalExpr>,
    pub(super) columns: Vec<usize>,
    /// The parts that `and` joins, each with the columns it reads.
    pub(super) parts: Vec<(Arc<dyn PhysicalExpr>, Vec<usize>)>,
    /// Identifies it in quarantine, if rows that it leaves out are put aside again.
    pub(super) keeps: Option<String>,
}

impl Transform {
    /// Rows that the filter lets through. A row whose filter depends on a value that does not fit is let through too,
    /// unless the rest of the filter leaves it out: it is the misfit's policy that decides about it.
    pub(super) fn passed(
        &self,
        batch: &RecordBatch,
        misfits: &[(usize, BooleanBuffer)],
        faulty: Option<&BooleanBuffer>,
    ) -> Result<BooleanBuffer> {
        let rows = batch.num_rows();
        let Some(filter) = &self.filter else { return Ok(BooleanBuffer::new_set(rows)) };
        let mut passed = holds("the filter", &filter.condition, batch, None)?;
        let bad = misfits.iter().filter(|(c, _)| filter.columns.contains(c)).map(|(_, bad)| bad.clone());
        if let Some(bad) = bad.reduce(|all, bad| &all | &bad) {
            passed = &passed | &filter.not_left_out(batch, misfits, &bad & &!&passed)?;
        }
        if let Some(faulty) = faulty {
            passed = &passed | faulty;
        }
        Ok(passed)
    }
}

impl Filter {
    /// Of these `rows`, those that no part of the filter leaves out. A part that reads a misfit of a row says nothing
    /// about that row. The others decide as if they stood alone, so that it makes no difference whether a reader applied
    /// them before.
    fn not_left_out(
        &self,
        batch: &RecordBatch,
        misfits: &[(usize, BooleanBuffer)],
        mut rows: BooleanBuffer,
    ) -> Result<BooleanBuffer> {
        for (part, columns) in &self.parts {
            let mut asked = rows.clone();
            for (_, bad) in misfits.iter().filter(|(c, _)| columns.contains(c)) {
                asked = &asked & &!bad;
            }
            if asked.has_true() {
                let held = holds("the filter", part, batch, Some(&asked))?;
                rows = &rows & &!&(&asked & &!&held);
            }
        }
        Ok(rows)
    }
}

/// Rows for which a condition is true, which `what` names in an error; where `about` says no, it may say anything.
pub(super) fn holds(
    what: &str,
    condition: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    about: Option<&BooleanBuffer>,
) -> Result<BooleanBuffer> {
    let verdict = evaluate(what, condition, batch, about)?;
    let verdict = verdict.as_boolean();
    Ok(match verdict.nulls() {
        Some(nulls) => verdict.values() & nulls.inner(),
        None => verdict.values().clone(),
    })
}
