//! SQL expressions of a pipeline, made executable over one schema.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use transload_core::Span;
use transload_core::types::has_wide_dates;

use crate::sql::{check_expression, context};

/// Reads expressions over one schema.
pub(crate) struct Expressions {
    context: SessionContext,
    schema: DFSchema,
}

fn sentence(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    format!("the expression cannot be used: {}", text.lines().next().unwrap_or_default())
}

impl Expressions {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, String> {
        let schema = DFSchema::try_from(Arc::clone(schema)).map_err(|e| e.strip_backtrace())?;
        Ok(Self { context: context(), schema })
    }

    /// Reads an expression and gives its operands the types they need.
    pub(crate) fn logical(&self, sql: &str) -> Result<Expr, String> {
        if let Some(problem) = check_expression(sql, Span::default()).into_iter().next() {
            return Err(problem.message);
        }
        let expr = self.context.parse_sql_expr(sql, &self.schema).map_err(|e| sentence(&e))?;
        // A function that is called by its second name comes with a name of its own.
        self.coerced(expr.unalias())
    }

    /// The condition that a cursor is above a value, or just present.
    pub(crate) fn above(&self, cursor: &str, value: Option<&str>) -> Result<Expr, String> {
        use datafusion::common::Column;
        let column = Expr::Column(Column::new_unqualified(cursor));
        let Some(value) = value else { return Ok(column.is_not_null()) };
        let ty = column.get_type(&self.schema).map_err(|e| e.strip_backtrace())?;
        // The engine's own text would show the value.
        let literal = ScalarValue::try_from_string(value.to_string(), &ty)
            .map_err(|_| "what the target remembers of it is of another type".to_string())?;
        self.coerced(column.gt(Expr::Literal(literal, None)))
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;

    #[test]
    fn dates_in_milliseconds_are_not_made() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Date32, true)]));
        let expressions = Expressions::new(&schema).unwrap();
        let field = |sql: &str| expressions.field("b", &expressions.logical(sql).unwrap());
        assert_eq!(field("a").unwrap().data_type(), &DataType::Date32);
        assert!(field("arrow_cast(a, 'Date64')").unwrap_err().contains("may hold a time of day"));
    }
}
