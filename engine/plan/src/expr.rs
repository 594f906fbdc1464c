//! SQL expressions of a pipeline, made executable over one schema.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use transload_core::Span;
use transload_core::types::has_wide_dates;

use crate::plan::Incremental;
use crate::sql::{check_expression, context};

/// Reads expressions over one schema.
pub struct Expressions {
    context: SessionContext,
    schema: DFSchema,
}

fn sentence(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    format!("the expression cannot be used: {}", text.lines().next().unwrap_or_default())
}

impl Expressions {
    /// Reads expressions over these columns.
    ///
    /// # Errors
    /// A sentence, if two of them have one name.
    pub fn new(schema: &SchemaRef) -> Result<Self, String> {
        let schema = DFSchema::try_from(Arc::clone(schema)).map_err(|e| e.strip_backtrace())?;
        Ok(Self { context: context(), schema })
    }

    /// The columns.
    pub fn schema(&self) -> &DFSchema {
        &self.schema
    }

    /// Reads an expression and gives its operands the types they need.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    pub fn logical(&self, sql: &str) -> Result<Expr, String> {
        if let Some(problem) = check_expression(sql, Span::default()).into_iter().next() {
            return Err(problem.message);
        }
        let expr = self.context.parse_sql_expr(sql, &self.schema).map_err(|e| sentence(&e))?;
        // A function that is called by its second name comes with a name of its own.
        self.coerced(expr.unalias())
    }

    /// The condition that a row is new by its cursor: above the highest value before, or just present. With a lookback it
    /// may also be that far behind. In a backfill it is in the range, new or not.
    pub(crate) fn is_new(&self, incremental: &Incremental) -> Result<Expr, String> {
        let column = Expr::Column(Column::new_unqualified(&incremental.cursor));
        let ty = column.get_type(&self.schema).map_err(|e| e.strip_backtrace())?;
        if let Some(range) = &incremental.backfill {
            let end = |text: &String| match ScalarValue::try_from_string(text.clone(), &ty) {
                Ok(value) => Ok(Expr::Literal(value, None)),
                Err(_) => Err("the range of the backfill is of another type".to_string()),
            };
            return self.coerced(column.clone().gt_eq(end(&range.from)?).and(column.lt(end(&range.to)?)));
        }
        let Some(value) = &incremental.above else { return Ok(column.is_not_null()) };
        // The engine's own text would show the value.
        let highest = ScalarValue::try_from_string(value.clone(), &ty)
            .map_err(|_| "what the target remembers of it is of another type".to_string())?;
        let Some(secs) = incremental.lookback_secs else {
            return self.coerced(column.gt(Expr::Literal(highest, None)));
        };
        match behind(highest, secs) {
            Some(from) => self.coerced(column.gt_eq(Expr::Literal(from, None))),
            // It is farther than there are values.
            None => Ok(column.is_not_null()),
        }
    }

    fn coerced(&self, expr: Expr) -> Result<Expr, String> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(self.schema.clone()))
            .with_query_execution_start_time(None)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let coerced =
            simplifier.coerce(expr, &self.schema).and_then(|e| self.subtracted(e)).map_err(|e| sentence(&e))?;
        self.compute_constants(&coerced)?;
        simplifier.simplify(coerced).map_err(|e| sentence(&e))
    }

    /// The expression with `0 - x` for `-x` of whole numbers: the simplifier takes a minus sign beside `&` and `|` for
    /// bitwise negation.
    fn subtracted(&self, expr: Expr) -> Result<Expr, DataFusionError> {
        let rewritten = expr.transform_up(|e| match e {
            Expr::Negative(inner) => {
                let ty = inner.get_type(&self.schema)?;
                if !ty.is_signed_integer() {
                    return Ok(Transformed::no(Expr::Negative(inner)));
                }
                let zero = Expr::Literal(ScalarValue::new_zero(&ty)?, None);
                Ok(Transformed::yes(zero - *inner))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.data)
    }

    /// Computes arithmetic without columns once, so that it fails where the simplifier would go around at the end of a
    /// type's range.
    fn compute_constants(&self, expr: &Expr) -> Result<(), String> {
        let none = RecordBatch::new_empty(Arc::new(self.schema.as_arrow().clone()));
        let computed = expr.apply(|e| match e {
            Expr::BinaryExpr(b) if b.op.is_numerical_operators() && e.column_refs().is_empty() => {
                let physical = self.physical(e).map_err(DataFusionError::Plan)?;
                physical.evaluate(&none)?;
                Ok(TreeNodeRecursion::Jump)
            }
            _ => Ok(TreeNodeRecursion::Continue),
        });
        computed.map(drop).map_err(|e| sentence(&e))
    }

    /// Type and nullability of its values.
    pub(crate) fn field(&self, name: &str, expr: &Expr) -> Result<Field, String> {
        let (_, field) = expr.to_field(&self.schema).map_err(|e| sentence(&e))?;
        if has_wide_dates(field.data_type()) {
            let ty = field.data_type();
            return Err(format!("the expression gives {ty}, whose dates may hold a time of day: cast it to date"));
        }
        let ty = if *field.data_type() == DataType::Null { DataType::Utf8 } else { field.data_type().clone() };
        Ok(Field::new(name, ty, field.is_nullable()))
    }

    pub(crate) fn physical(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>, String> {
        create_physical_expr(expr, &self.schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
            .and_then(crate::checked::checked)
            .map_err(|e| sentence(&e))
    }
}

/// The condition that a column has no value.
pub(crate) fn lacks_value(column: &str) -> Expr {
    Expr::Column(Column::new_unqualified(column)).is_null()
}

/// A date or time so many seconds before another one; a day counts whole. `None` if there is none.
fn behind(value: ScalarValue, secs: u64) -> Option<ScalarValue> {
    use ScalarValue as S;
    let earlier = |ticks: i64, a_second: i64| ticks.checked_sub(i64::try_from(secs).ok()?.checked_mul(a_second)?);
    Some(match value {
        S::TimestampSecond(Some(t), zone) => S::TimestampSecond(Some(earlier(t, 1)?), zone),
        S::TimestampMillisecond(Some(t), zone) => S::TimestampMillisecond(Some(earlier(t, 1_000)?), zone),
        S::TimestampMicrosecond(Some(t), zone) => S::TimestampMicrosecond(Some(earlier(t, 1_000_000)?), zone),
        S::TimestampNanosecond(Some(t), zone) => S::TimestampNanosecond(Some(earlier(t, 1_000_000_000)?), zone),
        S::Date32(Some(day)) => S::Date32(Some(day.checked_sub(i32::try_from(secs.div_ceil(86_400)).ok()?)?)),
        other if secs == 0 => other,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;

    #[test]
    fn a_lookback_goes_back_as_far_as_it_says_and_not_beyond_all_values() {
        let ms = |t: i64| ScalarValue::TimestampMillisecond(Some(t), Some("UTC".into()));
        assert_eq!(behind(ms(5_000), 3), Some(ms(2_000)));
        assert_eq!(behind(ms(i64::MIN + 1), 3), None);
        assert_eq!(behind(ms(0), u64::MAX), None);
        let day = |d: i32| ScalarValue::Date32(Some(d));
        assert_eq!([0, 1, 86_400, 86_401].map(|secs| behind(day(10), secs)), [10, 9, 9, 8].map(|d| Some(day(d))));
        let number = ScalarValue::Int64(Some(7));
        assert_eq!((behind(number.clone(), 0), behind(number.clone(), 1)), (Some(number), None));
    }

    #[test]
    fn dates_in_milliseconds_are_not_made() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Date32, true)]));
        let expressions = Expressions::new(&schema).unwrap();
        let field = |sql: &str| expressions.field("b", &expressions.logical(sql).unwrap());
        assert_eq!(field("a").unwrap().data_type(), &DataType::Date32);
        assert!(field("arrow_cast(a, 'Date64')").unwrap_err().contains("may hold a time of day"));
    }
}
