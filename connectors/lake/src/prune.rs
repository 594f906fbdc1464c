//! Files that hold no row which a predicate lets through, by what is known of them before they are opened.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::FieldRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use crate::closed::Bounds;
use crate::scan::{LakeTable, Piece};

/// The pieces of every split, without those in which no row fits. What cannot be judged stays.
pub(crate) fn fitting(table: &LakeTable, predicate: &Arc<dyn PhysicalExpr>) -> Arc<Vec<Vec<Piece>>> {
    let everything = || Arc::clone(&table.splits);
    let facts = Facts::of(table, predicate);
    if facts.is_empty() {
        return everything();
    }
    let schema = Arc::clone(table.schema.table_schema());
    let pruning = PruningPredicateBuilder::new().with_file_schema(schema).build(Arc::clone(predicate));
    let Some(kept) = pruning.and_then(|pruning| pruning.prune(&facts).ok()) else { return everything() };
    let mut kept = kept.into_iter();
    let mut fits = |piece: &Piece| kept.next().unwrap_or(true).then(|| piece.clone());
    Arc::new(table.splits.iter().map(|split| split.iter().filter_map(&mut fits).collect()).collect())
}

/// What is known of the pieces of a table, in their order, about the columns that a predicate reads.
struct Facts {
    columns: Vec<FieldRef>,
    /// For each piece what is known of each column.
    bounds: Vec<Vec<Bounds>>,
    rows: Vec<Option<u64>>,
}

impl Facts {
    fn of(table: &LakeTable, predicate: &Arc<dyn PhysicalExpr>) -> Self {
        let read: HashSet<String> = collect_columns(predicate).iter().map(|c| c.name().to_string()).collect();
        let fields = table.schema.table_schema().fields().iter();
        let columns: Vec<FieldRef> = fields.filter(|f| read.contains(f.name())).cloned().collect();
        let beside = table.schema.table_partition_cols();
        let known = || table.splits.iter().flatten().map(Piece::known);
        let nothing = || vec![Bounds::default(); columns.len()];
        let bounds = known().map(|known| known.map_or_else(nothing, |known| known.bounds(&columns, beside)));
        let bounds = bounds.collect();
        Self { bounds, rows: known().map(|known| known.and_then(|known| known.rows)).collect(), columns }
    }

    /// Whether nothing is known.
    fn is_empty(&self) -> bool {
        self.bounds.iter().flatten().all(|bounds| *bounds == Bounds::default())
    }

    /// One side of the bounds of a column.
    fn values(&self, column: &Column, side: impl Fn(&Bounds) -> Option<&ScalarValue>) -> Option<ArrayRef> {
        let at = self.columns.iter().position(|field| *field.name() == column.name)?;
        let ty = self.columns[at].data_type();
        let unknown = ScalarValue::try_from(ty).ok()?;
        let value = |bounds: &Vec<Bounds>| {
            let known = bounds.get(at).and_then(&side).filter(|value| value.data_type() == *ty);
            known.unwrap_or(&unknown).clone()
        };
        ScalarValue::iter_to_array(self.bounds.iter().map(value)).ok()
    }
}

impl PruningStatistics for Facts {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.low.as_ref())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.high.as_ref())
    }

    fn num_containers(&self) -> usize {
        self.bounds.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let at = self.columns.iter().position(|field| *field.name() == column.name)?;
        let nulls = self.bounds.iter().map(|bounds| bounds.get(at).and_then(|b| b.nulls));
        Some(Arc::new(nulls.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.rows.iter().copied().collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
