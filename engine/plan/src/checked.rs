//! Arithmetic that fails where a whole number leaves the range of its type, instead of going around.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal, NegativeExpr};

/// The same expression over rows of `schema`, but failing for a row for which arithmetic would go around.
pub(crate) fn checked(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|node| {
        if let Some(binary) = node.downcast_ref::<BinaryExpr>()
            && is_arithmetic(*binary.op())
        {
            return Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true))));
        }
        if let Some(negative) = node.downcast_ref::<NegativeExpr>() {
            let ty = negative.arg().data_type(schema)?;
            if ty.is_signed_integer() {
                // A negation cannot be told to fail, a difference can.
                let zero = Arc::new(Literal::new(ScalarValue::new_zero(&ty)?));
                let difference = BinaryExpr::new(zero, Operator::Minus, Arc::clone(negative.arg()));
                return Ok(Transformed::yes(Arc::new(difference.with_fail_on_overflow(true))));
            }
        }
        Ok(Transformed::no(node))
    })
    .data()
}

fn is_arithmetic(operator: Operator) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(operator, Plus | Minus | Multiply | Divide | Modulo)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Float64Array, Int8Array, Int64Array, RecordBatch, UInt8Array};
    use arrow::util::display::array_value_to_string;

    use super::*;
    use crate::expr::Expressions;

    /// The value of an expression over one row with the column `a`; `None` if it fails.
    fn computed(sql: &str, a: &ArrayRef) -> Option<String> {
        let batch = RecordBatch::try_from_iter([("a", Arc::clone(a))]).unwrap();
        let expressions = Expressions::new(&batch.schema()).unwrap();
        let expr = expressions.physical(&expressions.logical(sql).unwrap()).unwrap();
        let value = expr.evaluate(&batch).ok()?.into_array(1).unwrap();
        Some(array_value_to_string(&value, 0).unwrap())
    }

    fn int64(value: i64) -> ArrayRef {
        Arc::new(Int64Array::from(vec![value]))
    }

    #[test]
    fn arithmetic_gives_the_value_or_fails() {
        let (least, most) = (int64(i64::MIN), int64(i64::MAX));
        for (sql, small, beyond) in [
            ("a + 1", "6", &most),
            ("1 + a", "6", &most),
            ("a - 1", "4", &least),
            ("a * 2", "10", &most),
            ("a * -1", "-5", &least),
            ("-a", "-5", &least),
            ("-(a + 1)", "-6", &most),
            ("abs(a)", "5", &least),
            ("a / -1", "-5", &least),
            ("a / (a - a)", "", &least),
            ("a % (a - a)", "", &least),
            ("case when a <> 0 then a + a else 0 end", "10", &most),
            ("coalesce(a + 1, 0)", "6", &most),
            ("greatest(a + 1, 0)", "6", &most),
            ("a + 1 > 0", "true", &most),
            ("a + 1 in (6, 7)", "true", &most),
            ("a between 0 and a + 1", "true", &most),
        ] {
            assert_eq!(computed(sql, &int64(5)), (!small.is_empty()).then(|| small.to_string()), "{sql}");
            assert_eq!(computed(sql, beyond), None, "{sql}");
        }
    }

    #[test]
    fn the_range_is_that_of_the_type() {
        let (tiny, unsigned): (ArrayRef, ArrayRef) =
            (Arc::new(Int8Array::from(vec![100])), Arc::new(UInt8Array::from(vec![1])));
        assert_eq!(computed("a + a", &tiny), None);
        assert_eq!(computed("a + 100", &tiny).as_deref(), Some("200"));
        assert_eq!(computed("a - a", &unsigned).as_deref(), Some("0"));
        assert_eq!(computed("a - a - a", &unsigned), None);
    }

    #[test]
    fn case_guards_and_floats_are_left_alone() {
        let most = int64(i64::MAX);
        assert_eq!(computed("case when a < 100 then a + 1 else 0 end", &most).as_deref(), Some("0"));
        let float: ArrayRef = Arc::new(Float64Array::from(vec![0.0]));
        assert_eq!(computed("-a", &float).as_deref(), Some("-0.0"));
    }
}
