//! Arithmetic that fails where a whole number leaves the range of its type, instead of going around.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;

/// The same expression, but failing for a row for which arithmetic would go around.
pub(crate) fn checked(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|node| match node.downcast_ref::<BinaryExpr>() {
        Some(binary) if binary.op().is_numerical_operators() => {
            Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true))))
        }
        _ => Ok(Transformed::no(node)),
    })
    .data()
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
    fn a_minus_sign_is_no_bitwise_negation() {
        for (sql, value) in [("-(4 & 6)", "-4"), ("-(a & 6)", "-4"), ("4 & -4", "4"), ("a & -a", "1"), ("a | -a", "-1")]
        {
            assert_eq!(computed(sql, &int64(5)).as_deref(), Some(value), "{sql}");
        }
    }

    #[test]
    fn constants_do_not_go_around() {
        let batch = RecordBatch::try_from_iter([("a", int64(1))]).unwrap();
        let expressions = Expressions::new(&batch.schema()).unwrap();
        for sql in ["9223372036854775807 + 1", "a + (9223372036854775807 * 2)", "1 / 0", "a < 5 and 2 = 7 % 0"] {
            assert!(expressions.logical(sql).is_err(), "{sql}");
        }
        assert_eq!(computed("a + (2 + 3) * 4", &int64(1)).as_deref(), Some("21"));
    }

    #[test]
    fn case_guards_and_floats_are_left_alone() {
        let most = int64(i64::MAX);
        assert_eq!(computed("case when a < 100 then a + 1 else 0 end", &most).as_deref(), Some("0"));
        let float: ArrayRef = Arc::new(Float64Array::from(vec![0.0]));
        assert_eq!(computed("-a", &float).as_deref(), Some("-0.0"));
    }
}
