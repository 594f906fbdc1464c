//! SQL expressions of a pipeline: read, checked and made executable.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::config::Dialect;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Volatility};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::prelude::SessionConfig;

/// Longest expression that is read.
const MAX_LENGTH: usize = 16 * 1024;

/// Reads expressions over one schema.
pub(crate) struct Expressions {
    context: SessionContext,
    schema: DFSchema,
}

fn context() -> SessionContext {
    let mut config = SessionConfig::new();
    // Names mean what they say: `Id` is not `id`.
    config.options_mut().sql_parser.enable_ident_normalization = false;
    SessionContext::new_with_config(config)
}

/// Checks as much of an expression as is possible without knowing the columns.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check_syntax(sql: &str) -> Result<(), String> {
    thread_local! {
        static STATE: datafusion::execution::SessionState = context().state();
    }
    length(sql)?;
    STATE.with(|s| s.sql_to_expr(sql, &Dialect::Generic)).map(drop).map_err(|e| sentence(&e))
}

fn length(sql: &str) -> Result<(), String> {
    if sql.len() > MAX_LENGTH {
        return Err(format!("an expression has at most {MAX_LENGTH} bytes"));
    }
    Ok(())
}

fn sentence(error: &datafusion::error::DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.rsplit("ParserError(").next().unwrap_or(&text).trim_end_matches(')').trim_matches('"');
    let text = text.lines().next().unwrap_or_default();
    format!("the expression cannot be read: {text}")
}

impl Expressions {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, String> {
        let schema = DFSchema::try_from(Arc::clone(schema)).map_err(|e| e.strip_backtrace())?;
        Ok(Self { context: context(), schema })
    }

    /// Reads an expression, gives its operands the types they need and refuses what would not be repeatable.
    pub(crate) fn logical(&self, sql: &str) -> Result<Expr, String> {
        length(sql)?;
        let expr = self.context.parse_sql_expr(sql, &self.schema).map_err(|e| sentence(&e))?;
        if matches!(expr, Expr::Alias(_)) {
            return Err("the expression has a name of its own (`AS …`), which would be ignored".to_string());
        }
        let unrepeatable = expr
            .exists(|e| {
                Ok(match e {
                    Expr::ScalarFunction(f) => f.func.signature().volatility != Volatility::Immutable,
                    Expr::HigherOrderFunction(f) => f.func.signature().volatility != Volatility::Immutable,
                    _ => false,
                })
            })
            .unwrap_or(true);
        if unrepeatable {
            return Err(
                "the expression would give another value each time; for the time of the load use the metadata \
                        column `_ingested_at`"
                    .to_string(),
            );
        }
        let beyond_a_row = expr
            .exists(|e| {
                Ok(matches!(
                    e,
                    Expr::AggregateFunction(_)
                        | Expr::WindowFunction(_)
                        | Expr::ScalarSubquery(_)
                        | Expr::Exists(_)
                        | Expr::InSubquery(_)
                        | Expr::SetComparison(_)
                        | Expr::ScalarVariable(..)
                        | Expr::Placeholder(_)
                        | Expr::OuterReferenceColumn(..)
                ))
            })
            .unwrap_or(true);
        if beyond_a_row {
            return Err(
                "the expression must be about one row: no aggregates, windows, subqueries or placeholders".to_string()
            );
        }
        self.coerced(expr)
    }

    /// The condition that a cursor is above a value, or just present.
    pub(crate) fn above(&self, cursor: &str, value: Option<&str>) -> Result<Expr, String> {
        use datafusion::common::{Column, ScalarValue};
        let column = Expr::Column(Column::new_unqualified(cursor));
        let Some(value) = value else { return Ok(column.is_not_null()) };
        let ty = column.get_type(&self.schema).map_err(|e| e.strip_backtrace())?;
        let literal = ScalarValue::try_from_string(value.to_string(), &ty).map_err(|e| e.strip_backtrace())?;
        self.coerced(column.gt(Expr::Literal(literal, None)))
    }

    fn coerced(&self, expr: Expr) -> Result<Expr, String> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(self.schema.clone()))
            .with_query_execution_start_time(None)
            .build();
        let simplifier = ExprSimplifier::new(context);
        simplifier.coerce(expr, &self.schema).and_then(|e| simplifier.simplify(e)).map_err(|e| sentence(&e))
    }

    /// Type and nullability of its values.
    pub(crate) fn field(&self, name: &str, expr: &Expr) -> Result<Field, String> {
        let (_, field) = expr.to_field(&self.schema).map_err(|e| sentence(&e))?;
        let ty = if *field.data_type() == DataType::Null { DataType::Utf8 } else { field.data_type().clone() };
        Ok(Field::new(name, ty, field.is_nullable()))
    }

    pub(crate) fn physical(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>, String> {
        create_physical_expr(expr, &self.schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
            .and_then(|e| crate::checked::checked(e, self.schema.as_arrow()))
            .map_err(|e| sentence(&e))
    }
}
