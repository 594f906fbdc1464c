//! Rows that are put aside, with the reasons.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::buffer::BooleanBuffer;
use transload_core::Result;
use transload_quality::Reason;

use crate::checks::Found;
use crate::plan::OnMisfit;
use crate::quarantine::{self, FILTER_CODE, LINE_CODE, MISFIT_CODE};
use crate::transform::casts::SourceCast;
use crate::transform::output::repeat;
use crate::transform::{Place, Quarantined, Transform};

/// Why rows of a batch are put aside.
pub(super) struct Reasons<'a> {
    /// The rows that the filter lets through.
    pub(super) passed: &'a BooleanBuffer,
    pub(super) misfits: &'a [(usize, BooleanBuffer)],
    pub(super) fault: Option<&'a ArrayRef>,
    pub(super) found: Option<&'a Found>,
    pub(super) seen: &'a BooleanBuffer,
}

impl Transform {
    pub(super) fn put_aside(
        &self,
        batch: &RecordBatch,
        aside: &BooleanBuffer,
        reasons: &Reasons<'_>,
        place: Place,
    ) -> Result<Option<Quarantined>> {
        if !aside.has_true() || !self.writes() {
            return Ok(None);
        }
        let rows: Vec<usize> = aside.set_indices().collect();
        let mask = BooleanArray::new(aside.clone(), None);
        let mut columns = Vec::with_capacity(self.quarantine.fields().len());
        for (i, array) in batch.columns().iter().enumerate() {
            if Some(i) != self.fault && Some(i) != self.origin {
                let values = arrow::compute::filter(array, &mask)?;
                columns.push(quarantine::kept(values, self.source.field(i))?);
            }
        }
        let why: Vec<Vec<Reason<'_>>> = rows.iter().map(|row| self.reasons(*row, reasons)).collect();
        columns.push(quarantine::rules(&why)?);
        match self.origin {
            Some(at) => {
                let origin = arrow::compute::filter(batch.column(at), &mask)?;
                columns.extend(origin.as_struct().columns().iter().cloned());
            }
            None => {
                columns.push(repeat(&self.facts.run_id, rows.len()));
                columns.push(Arc::new(UInt64Array::from_value(place.split as u64, rows.len())));
                let positions = rows.iter().map(|row| place.position + *row as u64);
                columns.push(Arc::new(UInt64Array::from_iter_values(positions)));
            }
        }
        Ok(Some(Quarantined { rows: RecordBatch::try_new(Arc::clone(&self.quarantine), columns)? }))
    }

    /// Every reason for which a row is put aside.
    fn reasons<'r>(&'r self, row: usize, reasons: &'r Reasons<'_>) -> Vec<Reason<'r>> {
        let mut said = Vec::new();
        if let Some(fault) = reasons.fault.map(|f| f.as_string::<i32>()).filter(|f| f.is_valid(row)) {
            said.push(Reason { code: LINE_CODE, fingerprint: &self.line_fingerprint, text: fault.value(row) });
        }
        if let Some(fingerprint) =
            self.filter.as_ref().and_then(|f| f.keeps.as_ref()).filter(|_| !reasons.passed.value(row))
        {
            said.push(Reason { code: FILTER_CODE, fingerprint, text: "the filter leaves it out" });
        }
        for (column, _) in reasons.misfits.iter().filter(|(_, bad)| bad.value(row)) {
            let SourceCast { cast, misfit: (fingerprint, text), .. } = &self.casts[*column];
            if matches!(cast, Some((_, OnMisfit::Quarantine, _))) {
                said.push(Reason { code: MISFIT_CODE, fingerprint, text });
            }
        }
        if let (Some(checks), Some(found)) = (&self.checks, reasons.found.filter(|_| reasons.seen.value(row))) {
            said.extend(checks.pass.reasons(&found.aside, found.places[row]));
        }
        said
    }
}
