//! # `expression` (Q011)
//!
//! **What it checks.** An SQL condition over the columns of a row is not false. As with a CHECK constraint in SQL, a
//! condition that is NULL is not broken: add `is not null` where it should be.
//!
//! **Why it matters.** Rules of the business join several columns: an order is not shipped before it was placed.
//!
//! **Example.** `expression: { sql: "shipped_on >= ordered_on" }`
//!
//! **Cost.** That of the expression. It is looked at only for rows that `where` selects.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use transload_core::tree::Spanned;
use transload_core::{Error, ErrorKind, Problem, Result, Span};

use crate::checks::{Definition, RowTest, Setting, Work};
use crate::policy::Policy;
use crate::values::some;

settings! {
    /// An SQL condition holds for every row.
    pub struct Expression {
        /// The condition, over the columns of one row.
        pub sql: Spanned<String>,
    }
}

impl Definition for Expression {
    fn code(&self) -> &'static str {
        "Q011"
    }

    fn kind(&self) -> &'static str {
        "expression"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        Vec::new()
    }

    fn sql(&self) -> Option<Spanned<String>> {
        Some(self.sql.clone())
    }

    fn has_shapes(&self) -> bool {
        false
    }

    fn validate(&self, _: Span, problems: &mut Vec<Problem>) {
        if self.sql.trim().is_empty() {
            let problem = Problem::new(self.sql.span, "the condition is empty");
            problems.push(problem.hint("write an SQL condition, such as `a <= b`"));
        }
    }

    fn expected(&self) -> String {
        self.sql.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn remedy(&self) -> &'static str {
        "find out which of the columns is wrong in the source"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        Ok(Work::Rows(Box::new(Condition { condition: condition(setting, &self.sql)? })))
    }
}

/// Reads an SQL condition.
///
/// # Errors
/// A sentence, if it cannot be read or is neither true nor false.
pub(crate) fn condition(setting: &Setting<'_>, sql: &str) -> Result<Arc<dyn PhysicalExpr>, String> {
    let condition = (setting.compile)(sql)?;
    match condition.data_type(setting.schema) {
        Ok(DataType::Boolean) => Ok(condition),
        Ok(other) => Err(format!("a condition must be true or false, and this is {other}")),
        Err(error) => Err(format!("the condition cannot be read: {}", error.strip_backtrace())),
    }
}

/// The values of a condition, for the rows it is asked about.
pub(crate) fn values(
    condition: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    about: Option<&BooleanBuffer>,
) -> Result<ArrayRef> {
    evaluate("the condition of a check", condition, batch, about)
}

/// The values of an expression in every row of a batch; where `about` says no, any value. `what` names it in an error.
///
/// # Errors
/// [`Quality`](ErrorKind::Quality) if it fails for a row.
pub fn evaluate(
    what: &str,
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    about: Option<&BooleanBuffer>,
) -> Result<ArrayRef> {
    // Some functions panic for some values, such as a text that is to be padded to a length beyond all memory.
    let values = catch_unwind(AssertUnwindSafe(|| {
        let values = match about {
            None => expr.evaluate(batch),
            Some(about) => expr.evaluate_selection(batch, &BooleanArray::new(about.clone(), None)),
        };
        values.and_then(|values| values.into_array(batch.num_rows()))
    }));
    // The engine's own text would show the value it failed on.
    values.ok().and_then(std::result::Result::ok).ok_or_else(|| {
        Error::new(ErrorKind::Quality, format!("{what} fails for a row, as in a division by zero or a CAST of text"))
            .hint("guard it, for example with NULLIF, TRY_CAST or CASE")
    })
}

struct Condition {
    condition: Arc<dyn PhysicalExpr>,
}

impl RowTest for Condition {
    fn broken(&self, batch: &RecordBatch, about: Option<&BooleanBuffer>) -> Result<Option<BooleanBuffer>> {
        let values = values(&self.condition, batch, about)?;
        let values = values.as_boolean();
        let is_false = !values.values();
        Ok(match values.nulls() {
            Some(nulls) => some(&is_false & nulls.inner()),
            None => some(is_false),
        })
    }
}
