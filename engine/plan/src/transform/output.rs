//! The columns of rows that go to the target.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field};
use datafusion::physical_expr::PhysicalExpr;
use transload_coerce::{Cast, MaskKind};
use transload_core::Result;
use transload_quality::evaluate;
use transload_spec::file::MetadataColumn;

use crate::transform::Transform;

/// Where the values of a column come from.
pub(super) enum Output {
    Source { column: usize, mask: Option<(Cast, MaskKind)> },
    Derived(Arc<dyn PhysicalExpr>),
    Metadata(MetadataColumn),
    Gone,
}

impl Transform {
    /// The rows for the target. `seen` is what checks saw of them, which holds derived columns already.
    pub(super) fn output_batch(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        seen: Option<&RecordBatch>,
    ) -> Result<RecordBatch> {
        let mut out: Vec<ArrayRef> = Vec::with_capacity(self.outputs.len());
        let mut for_expressions: Option<RecordBatch> = None;
        for (number, (output, field)) in self.outputs.iter().zip(self.written.fields()).enumerate() {
            out.push(match output {
                Output::Source { column, mask: None } => Arc::clone(&columns[*column]),
                Output::Source { column, mask: Some((cast, mask)) } => {
                    mask.apply(&cast.apply(&columns[*column])?.array)?
                }
                Output::Derived(expr) => {
                    match self.checks.as_ref().zip(seen).and_then(|(checks, seen)| checks.derived(seen, number)) {
                        Some(values) => values,
                        None => {
                            let batch = match &for_expressions {
                                Some(batch) => batch,
                                None => for_expressions.insert(RecordBatch::try_new_with_options(
                                    Arc::clone(&self.cast_schema),
                                    columns.to_vec(),
                                    &RecordBatchOptions::new().with_row_count(Some(rows)),
                                )?),
                            };
                            derived(expr, batch, field)?
                        }
                    }
                }
                Output::Metadata(kind) => match kind {
                    MetadataColumn::IngestedAt => Arc::new(
                        TimestampMicrosecondArray::from_value(self.facts.started_micros, rows).with_timezone("UTC"),
                    ),
                    MetadataColumn::SourceSystem => repeat(&self.facts.source_system, rows),
                    MetadataColumn::RunId => repeat(&self.facts.run_id, rows),
                },
                Output::Gone => new_null_array(field.data_type(), rows),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.written), out, &options)?)
    }
}

/// The values of a derived column.
pub(super) fn derived(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, field: &Field) -> Result<ArrayRef> {
    let values = evaluate(&format!("the expression of column {}", field.name()), expr, batch, None)?;
    Ok(match values.data_type() {
        DataType::Null => new_null_array(field.data_type(), batch.num_rows()),
        _ => values,
    })
}

pub(super) fn repeat(text: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)))
}
