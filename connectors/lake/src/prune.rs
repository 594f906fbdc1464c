//! Files that hold no row which a predicate lets through, by what is known of them before they are opened.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use crate::closed::Bounds;
use crate::legacy::UTC;
use crate::scan::{LakeTable, Piece};

/// Whether bounds of files and row groups tell that no row of them fits a filter.
///
/// # Behavior
/// Those of floats leave out NaN, which the query engine takes for the greatest number. And the engine casts bounds with a
/// value that is cast, whatever that does to their order: where it may not keep it, a filter cannot be judged.
pub(crate) fn can_judge(filter: &Expr, schema: &Schema) -> bool {
    let ty = |column: &Column| schema.field_with_name(&column.name).map(Field::data_type).ok();
    let Some(types) = filter.column_refs().into_iter().map(ty).collect::<Option<Vec<&DataType>>>() else {
        return false;
    };
    let is_clock = types.iter().any(|ty| matches!(ty, DataType::Timestamp(_, Some(zone)) if !is_utc(zone)));
    let is_shuffled = |part: &Expr| {
        Ok(match part {
            Expr::Cast(cast) => !keeps_order(cast.field.data_type(), is_clock),
            Expr::TryCast(cast) => !keeps_order(cast.field.data_type(), is_clock),
            _ => false,
        })
    };
    types.iter().all(|ty| !ty.is_floating() && !ty.is_nested()) && !filter.exists(is_shuffled).unwrap_or(true)
}

/// Whether of two values the greater one is not the lesser one once they are cast to a type. Hours of a day begin anew each
/// day, and clocks are put back: `is_clock` is for points in time that are shown by one which may be.
fn keeps_order(to: &DataType, is_clock: bool) -> bool {
    match to {
        // The engine does not go by bounds where a text becomes a number, or the other way round.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, None) => !is_clock,
        DataType::Timestamp(_, Some(zone)) => !is_clock && is_utc(zone),
        other => other.is_numeric(),
    }
}

fn is_utc(zone: &str) -> bool {
    UTC.contains(&zone)
}

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

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use datafusion::logical_expr::{cast, col, lit, try_cast};

    use super::*;

    #[test]
    fn a_filter_is_judged_if_its_casts_keep_the_order() {
        let of_zone = |zone: &str| DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
        let (clock, time) = (DataType::Timestamp(TimeUnit::Microsecond, None), DataType::Time64(TimeUnit::Nanosecond));
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("s", DataType::Utf8View, true),
            Field::new("f", DataType::Float64, true),
            Field::new("at", clock.clone(), true),
            Field::new("utc", of_zone("UTC"), true),
            Field::new("there", of_zone("Europe/Berlin"), true),
        ]);
        let is_judged = |value: Expr| can_judge(&value.gt(lit(1)), &schema);
        for value in [
            col("n"),
            col("there"),
            cast(col("n"), DataType::Int8),
            try_cast(col("n"), DataType::Decimal128(20, 2)),
            cast(col("s"), DataType::Utf8),
            cast(col("at"), DataType::Date32),
            cast(col("at"), of_zone("UTC")),
            cast(col("utc"), clock.clone()),
            cast(col("there"), DataType::Int64),
        ] {
            assert!(is_judged(value.clone()), "{value}");
        }
        for value in [
            col("f"),
            col("none"),
            cast(col("at"), time.clone()),
            try_cast(col("utc"), time),
            cast(col("n"), DataType::Boolean),
            cast(col("at"), of_zone("Europe/Berlin")),
            cast(col("there"), clock.clone()),
            cast(cast(col("there"), DataType::Date32), DataType::Int32),
        ] {
            assert!(!is_judged(value.clone()), "{value}");
        }
    }
}
