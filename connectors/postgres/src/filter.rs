//! What of a filter the server applies before it sends rows. All of it is applied again to what arrives.

use chrono::{DateTime, Datelike, Utc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use crate::names::{literal, quote};
use crate::types::{Column, Kind};

/// What is nested deeper is not said: the server has a stack too.
const DEEPEST: usize = 100;

const TEXT: u32 = 25;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
/// Types that somebody made have this number or a higher one.
const FIRST_MADE: u32 = 16_384;

/// A condition that is true for at least the rows for which the filter is, if there is one in SQL.
///
/// # Behavior
/// - Said are comparisons of a column with values of its own type, where both sides order such values alike: whole numbers,
///   decimals, dates, timestamps, truth and identifiers. Not floats: the query engine takes NaN for the greatest number and
///   tells −0.0 from 0.0.
/// - Of text and JSON only equality is said. The server orders texts as a collation says, and may take texts for equal that
///   are not.
/// - What is read as the server's text, and what has parts, may be asked for NULL only.
/// - A value that has no place in its type is no error if its row is left out.
pub(crate) fn sql(filter: &Expr, columns: &[Column]) -> Option<String> {
    said(filter, columns, DEEPEST).map(|said| said.sql)
}

/// A condition in SQL.
struct Said {
    sql: String,
    /// Whether it is true, false and unknown for the rows for which the filter is. If not, it is at least true for those for
    /// which the filter is, and nothing can be said of its opposite.
    is_exact: bool,
}

impl Said {
    fn exact(sql: String) -> Self {
        Self { sql, is_exact: true }
    }
}

fn said(filter: &Expr, columns: &[Column], depth: usize) -> Option<Said> {
    let depth = depth.checked_sub(1)?;
    let said = |inner: &Expr| said(inner, columns, depth);
    let exact = |inner: &Expr| said(inner).filter(|inner| inner.is_exact);
    let judged = |inner: &Expr, verdict: &str| Some(Said::exact(format!("({} IS {verdict})", exact(inner)?.sql)));
    match filter {
        Expr::Alias(alias) => said(&alias.expr),
        Expr::Literal(ScalarValue::Boolean(Some(value)), _) => Some(Said::exact(value.to_string())),
        Expr::Column(_) => {
            let column = column_of(filter, columns).filter(|column| column.kind == Kind::Bool)?;
            Some(Said::exact(quote(&column.name)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => match (said(left), said(right)) {
            (Some(left), Some(right)) => Some(joined(left, "AND", right)),
            // Both are needed, so each alone leaves enough rows.
            (Some(one), None) | (None, Some(one)) => Some(Said { is_exact: false, ..one }),
            (None, None) => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => Some(joined(said(left)?, "OR", said(right)?)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (column, Expr::Literal(value, _)) => compared(column_of(column, columns)?, *op, value),
            (Expr::Literal(value, _), column) => compared(column_of(column, columns)?, op.swap()?, value),
            _ => None,
        },
        Expr::Between(Between { expr, negated, low, high }) => {
            let operand = Operand::of(column_of(expr, columns)?).filter(|operand| operand.is_exact)?;
            let (low, high) = (operand.value(low)?, operand.value(high)?);
            Some(Said::exact(format!("({} {}BETWEEN {low} AND {high})", operand.sql, not(*negated))))
        }
        Expr::InList(InList { expr, list, negated }) if !list.is_empty() => {
            let operand = Operand::of(column_of(expr, columns)?).filter(|operand| operand.is_exact || !negated)?;
            let values: Vec<String> = list.iter().map(|value| operand.value(value)).collect::<Option<_>>()?;
            let sql = format!("({} {}IN ({}))", operand.sql, not(*negated), values.join(", "));
            Some(Said { sql, is_exact: operand.is_exact })
        }
        Expr::Not(inner) => Some(Said::exact(format!("(NOT {})", exact(inner)?.sql))),
        // `IS NULL` is true of a row all of whose parts are NULL, and `IS NOT NULL` only of one none of whose are.
        Expr::IsNull(inner) => {
            Some(Said::exact(format!("({} IS NOT DISTINCT FROM NULL)", quote(&column_of(inner, columns)?.name))))
        }
        Expr::IsNotNull(inner) => {
            Some(Said::exact(format!("({} IS DISTINCT FROM NULL)", quote(&column_of(inner, columns)?.name))))
        }
        Expr::IsTrue(inner) => judged(inner, "TRUE"),
        Expr::IsFalse(inner) => judged(inner, "FALSE"),
        Expr::IsUnknown(inner) => judged(inner, "UNKNOWN"),
        Expr::IsNotTrue(inner) => judged(inner, "NOT TRUE"),
        Expr::IsNotFalse(inner) => judged(inner, "NOT FALSE"),
        Expr::IsNotUnknown(inner) => judged(inner, "NOT UNKNOWN"),
        _ => None,
    }
}

fn joined(left: Said, word: &str, right: Said) -> Said {
    Said { sql: format!("({} {word} {})", left.sql, right.sql), is_exact: left.is_exact && right.is_exact }
}

fn compared(column: &Column, op: Operator, value: &ScalarValue) -> Option<Said> {
    let operand = Operand::of(column).filter(|operand| operand.is_exact || op == Operator::Eq)?;
    let sign = match op {
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        _ => return None,
    };
    let sql = format!("({} {sign} {})", operand.sql, operand.scalar(value)?);
    Some(Said { sql, is_exact: operand.is_exact })
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

fn column_of<'c>(expr: &Expr, columns: &'c [Column]) -> Option<&'c Column> {
    match expr {
        Expr::Column(named) => columns.iter().find(|column| column.name == named.name),
        _ => None,
    }
}

/// A column as it is compared with values.
struct Operand<'c> {
    kind: &'c Kind,
    sql: String,
    /// The type that values have to be of.
    ty: &'static str,
    /// Whether blanks at the end make no difference.
    is_trimmed: bool,
    /// Whether both sides take the same values for equal, and order them alike.
    is_exact: bool,
}

impl<'c> Operand<'c> {
    fn of(column: &'c Column) -> Option<Self> {
        let (kind, name) = (&column.kind, quote(&column.name));
        let exact = |ty| Some(Self { kind, sql: name.clone(), ty, is_trimmed: false, is_exact: true });
        let text = |sql, ty, is_trimmed| Some(Self { kind, sql, ty, is_trimmed, is_exact: false });
        let as_text = format!("{name}::pg_catalog.text");
        match (kind, column.oid) {
            (Kind::Bool, _) => exact("bool"),
            (Kind::Int2, _) => exact("int2"),
            (Kind::Int4, _) => exact("int4"),
            (Kind::Int8, _) => exact("int8"),
            (Kind::Oid, _) => exact("oid"),
            (Kind::Numeric { .. }, _) => exact("numeric"),
            (Kind::Date, _) => exact("date"),
            (Kind::Timestamp, _) => exact("timestamp"),
            (Kind::TimestampTz, _) => exact("timestamptz"),
            (Kind::Uuid, _) => exact("uuid"),
            (Kind::Text, TEXT | VARCHAR) => text(name, "text", false),
            (Kind::Text, BPCHAR) => text(name, "bpchar", true),
            // An enum, a domain: only as a text can they be compared with every value, and as such a char(n) lacks its blanks.
            (Kind::Text, FIRST_MADE..) => text(format!("pg_catalog.rtrim({as_text})"), "text", true),
            (Kind::Json | Kind::Jsonb, _) => text(as_text, "text", false),
            _ => None,
        }
    }

    /// A literal in SQL, if it is one that the column can be compared with.
    fn value(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Literal(value, _) => self.scalar(value),
            _ => None,
        }
    }

    fn scalar(&self, value: &ScalarValue) -> Option<String> {
        use ScalarValue as S;
        let text = match (self.kind, value) {
            (Kind::Bool, S::Boolean(Some(value))) => value.to_string(),
            (Kind::Int2, S::Int16(Some(value))) => value.to_string(),
            (Kind::Int4, S::Int32(Some(value))) => value.to_string(),
            (Kind::Int8, S::Int64(Some(value))) => value.to_string(),
            (Kind::Oid, S::UInt32(Some(value))) => value.to_string(),
            (Kind::Numeric { .. }, S::Decimal128(Some(value), _, scale)) => decimal(&value.to_string(), *scale)?,
            (Kind::Numeric { .. }, S::Decimal256(Some(value), _, scale)) => decimal(&value.to_string(), *scale)?,
            (Kind::Date, S::Date32(Some(days))) => {
                time(DateTime::from_timestamp_secs(i64::from(*days) * 86_400)?, "%Y-%m-%d")?
            }
            (Kind::Timestamp, S::TimestampMicrosecond(Some(micros), None)) => {
                time(DateTime::from_timestamp_micros(*micros)?, "%Y-%m-%d %H:%M:%S%.6f")?
            }
            (Kind::TimestampTz, S::TimestampMicrosecond(Some(micros), Some(_))) => {
                time(DateTime::from_timestamp_micros(*micros)?, "%Y-%m-%d %H:%M:%S%.6f+00")?
            }
            (Kind::Uuid, S::FixedSizeBinary(16, Some(bytes))) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
            (Kind::Text | Kind::Json | Kind::Jsonb, value) => {
                let text = value.try_as_str()??;
                if self.is_trimmed { text.trim_end_matches(' ').to_string() } else { text.to_string() }
            }
            _ => return None,
        };
        // SQL ends at a zero byte.
        (!text.contains('\0')).then(|| format!("{}::pg_catalog.{}", literal(&text), self.ty))
    }
}

/// A decimal whose digits are written without their point.
fn decimal(digits: &str, scale: i8) -> Option<String> {
    let scale = usize::try_from(scale).ok()?;
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// A time, if its year has the four digits that need no explanation.
fn time(time: DateTime<Utc>, format: &str) -> Option<String> {
    (1..=9999).contains(&time.year()).then(|| time.format(format).to_string())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, i256};
    use datafusion::common::Column as Named;
    use datafusion::logical_expr::{cast, lit};

    use super::*;

    fn column(name: &str, oid: u32, kind: Kind) -> Column {
        let (name, shown) = (name.to_string(), String::new());
        Column { name, oid, typmod: -1, nullable: true, kind, shown, reason: None, comment: None }
    }

    fn columns() -> Vec<Column> {
        vec![
            column("b", 16, Kind::Bool),
            column("i2", 21, Kind::Int2),
            column("i4", 23, Kind::Int4),
            column("i8", 20, Kind::Int8),
            column("o", 26, Kind::Oid),
            column("n", 1700, Kind::Numeric { precision: 9, scale: 2 }),
            column("d", 1082, Kind::Date),
            column("ts", 1114, Kind::Timestamp),
            column("tz", 1184, Kind::TimestampTz),
            column("u", 2950, Kind::Uuid),
            column("t", TEXT, Kind::Text),
            column("v", VARCHAR, Kind::Text),
            column("c", BPCHAR, Kind::Text),
            column("e", 20_000, Kind::Text),
            column("j", 3802, Kind::Jsonb),
            column("f", 701, Kind::Float8),
            column("name", 19, Kind::Text),
            column("raw", 1700, Kind::Rendered),
            column("r", 20_001, Kind::Record(vec![("a".to_string(), 23, Kind::Int4)])),
            column("odd \" name", 23, Kind::Int4),
        ]
    }

    fn col(name: &str) -> Expr {
        Expr::Column(Named::new_unqualified(name))
    }

    fn told(filter: &Expr) -> Option<String> {
        sql(filter, &columns())
    }

    #[track_caller]
    fn tells(filter: Expr, sql: &str) {
        assert_eq!(told(&filter).as_deref(), Some(sql), "{filter}");
    }

    #[track_caller]
    fn says_nothing(filter: Expr) {
        assert_eq!(told(&filter), None, "{filter}");
    }

    fn micros(value: i64, zone: Option<&str>) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(value), zone.map(Into::into)))
    }

    #[test]
    fn values_of_every_type_that_orders_alike_are_compared() {
        tells(col("b").eq(lit(true)), "(\"b\" = 'true'::pg_catalog.bool)");
        tells(col("i2").lt(lit(-5i16)), "(\"i2\" < '-5'::pg_catalog.int2)");
        tells(col("i4").not_eq(lit(5i32)), "(\"i4\" <> '5'::pg_catalog.int4)");
        tells(col("i8").gt_eq(lit(i64::MIN)), "(\"i8\" >= '-9223372036854775808'::pg_catalog.int8)");
        tells(col("o").lt_eq(lit(u32::MAX)), "(\"o\" <= '4294967295'::pg_catalog.oid)");
        tells(col("odd \" name").gt(lit(5i32)), "(\"odd \"\" name\" > '5'::pg_catalog.int4)");
        let uuid = lit(ScalarValue::FixedSizeBinary(16, Some((0..16).collect())));
        tells(col("u").eq(uuid), "(\"u\" = '000102030405060708090a0b0c0d0e0f'::pg_catalog.uuid)");
    }

    #[test]
    fn decimals_are_written_with_all_their_digits() {
        let of = |value, scale| lit(ScalarValue::Decimal128(Some(value), 38, scale));
        tells(col("n").eq(of(-1250, 2)), "(\"n\" = '-12.50'::pg_catalog.numeric)");
        tells(col("n").eq(of(-5, 2)), "(\"n\" = '-0.05'::pg_catalog.numeric)");
        tells(col("n").eq(of(0, 2)), "(\"n\" = '0.00'::pg_catalog.numeric)");
        tells(col("n").eq(of(7, 0)), "(\"n\" = '7'::pg_catalog.numeric)");
        let wide = lit(ScalarValue::Decimal256(Some(i256::from_i128(-1)), 76, 3));
        tells(col("n").gt(wide), "(\"n\" > '-0.001'::pg_catalog.numeric)");
        says_nothing(col("n").eq(of(7, -2)));
    }

    #[test]
    fn times_are_written_to_the_microsecond() {
        let day = |days| lit(ScalarValue::Date32(Some(days)));
        tells(col("d").gt(day(19_782)), "(\"d\" > '2024-02-29'::pg_catalog.date)");
        tells(col("d").gt(day(-1)), "(\"d\" > '1969-12-31'::pg_catalog.date)");
        let at = 1_704_067_200_000_001;
        tells(col("ts").lt(micros(at, None)), "(\"ts\" < '2024-01-01 00:00:00.000001'::pg_catalog.timestamp)");
        tells(col("ts").lt(micros(-1, None)), "(\"ts\" < '1969-12-31 23:59:59.999999'::pg_catalog.timestamp)");
        let utc = "(\"tz\" < '2024-01-01 00:00:00.000001+00'::pg_catalog.timestamptz)";
        tells(col("tz").lt(micros(at, Some("UTC"))), utc);
        // The zone says how it is shown only.
        tells(col("tz").lt(micros(at, Some("+05:00"))), utc);
        tells(col("d").gt(day(-719_162)), "(\"d\" > '0001-01-01'::pg_catalog.date)");
        tells(col("d").lt(day(2_932_896)), "(\"d\" < '9999-12-31'::pg_catalog.date)");
        for far in [-719_163, 2_932_897, i32::MAX, i32::MIN] {
            says_nothing(col("d").gt(day(far)));
        }
        for far in [i64::MIN, i64::MAX] {
            says_nothing(col("ts").gt(micros(far, None)));
        }
        says_nothing(col("ts").gt(micros(at, Some("UTC"))));
        says_nothing(col("tz").gt(micros(at, None)));
        says_nothing(col("ts").gt(lit(ScalarValue::TimestampMillisecond(Some(1), None))));
    }

    #[test]
    fn texts_are_only_told_to_be_equal() {
        tells(col("t").eq(lit("it's")), "(\"t\" = 'it''s'::pg_catalog.text)");
        tells(col("v").eq(lit("a\\b")), "(\"v\" =  E'a\\\\b'::pg_catalog.text)");
        tells(col("t").eq(lit("a ")), "(\"t\" = 'a '::pg_catalog.text)");
        tells(col("c").eq(lit("a  ")), "(\"c\" = 'a'::pg_catalog.bpchar)");
        tells(col("e").eq(lit("a ")), "(pg_catalog.rtrim(\"e\"::pg_catalog.text) = 'a'::pg_catalog.text)");
        tells(col("j").eq(lit("{}")), "(\"j\"::pg_catalog.text = '{}'::pg_catalog.text)");
        let view = lit(ScalarValue::Utf8View(Some("a".to_string())));
        tells(col("t").eq(view), "(\"t\" = 'a'::pg_catalog.text)");
        let both = vec![lit("a"), lit("b")];
        tells(col("t").in_list(both.clone(), false), "(\"t\" IN ('a'::pg_catalog.text, 'b'::pg_catalog.text))");
        for name in ["t", "v", "c", "e", "j"] {
            says_nothing(col(name).not_eq(lit("a")));
            says_nothing(col(name).lt(lit("a")));
            says_nothing(col(name).gt_eq(lit("a")));
            says_nothing(col(name).between(lit("a"), lit("b")));
            says_nothing(col(name).in_list(both.clone(), true));
            says_nothing(Expr::Not(Box::new(col(name).eq(lit("a")))));
            says_nothing(col(name).eq(lit("a\0")));
            says_nothing(col(name).eq(lit(ScalarValue::Utf8(None))));
        }
    }

    #[test]
    fn values_on_the_left_are_compared_the_other_way_round() {
        tells(lit(5i32).lt(col("i4")), "(\"i4\" > '5'::pg_catalog.int4)");
        tells(lit(5i32).gt_eq(col("i4")), "(\"i4\" <= '5'::pg_catalog.int4)");
        tells(lit(5i32).eq(col("i4")), "(\"i4\" = '5'::pg_catalog.int4)");
    }

    #[test]
    fn every_column_may_be_asked_for_null() {
        for column in columns() {
            let name = quote(&column.name);
            tells(col(&column.name).is_null(), &format!("({name} IS NOT DISTINCT FROM NULL)"));
            tells(col(&column.name).is_not_null(), &format!("({name} IS DISTINCT FROM NULL)"));
        }
        says_nothing(col("i4").eq(lit(1i32)).is_null());
    }

    #[test]
    fn conditions_are_joined_as_far_as_they_can_be_said() {
        let (known, other) = (|| col("i4").gt(lit(1i32)), || col("i2").lt(lit(2i16)));
        let unknown = || col("f").gt(lit(1.0));
        let one = "(\"i4\" > '1'::pg_catalog.int4)";
        let two = "(\"i2\" < '2'::pg_catalog.int2)";
        tells(known().and(other()), &format!("({one} AND {two})"));
        tells(known().or(other()), &format!("({one} OR {two})"));
        tells(known().and(unknown()), one);
        tells(unknown().and(known()), one);
        says_nothing(unknown().and(unknown()));
        says_nothing(known().or(unknown()));
        says_nothing(unknown().or(known()));
        tells(known().and(unknown()).or(other()), &format!("({one} OR {two})"));
        tells(
            col("i4").between(lit(1i32), lit(2i32)),
            "(\"i4\" BETWEEN '1'::pg_catalog.int4 AND '2'::pg_catalog.int4)",
        );
        let outside = "(\"i4\" NOT BETWEEN '1'::pg_catalog.int4 AND '2'::pg_catalog.int4)";
        tells(col("i4").not_between(lit(1i32), lit(2i32)), outside);
        let none = "(\"i4\" NOT IN ('1'::pg_catalog.int4, '2'::pg_catalog.int4))";
        tells(col("i4").in_list(vec![lit(1i32), lit(2i32)], true), none);
        says_nothing(col("i4").in_list(vec![lit(1i32), col("i2")], false));
        says_nothing(col("i4").in_list(Vec::new(), false));
    }

    #[test]
    fn only_what_is_said_exactly_has_an_opposite() {
        let not = |filter: Expr| Expr::Not(Box::new(filter));
        tells(not(col("i4").eq(lit(1i32))), "(NOT (\"i4\" = '1'::pg_catalog.int4))");
        tells(not(col("i4").is_null()), "(NOT (\"i4\" IS NOT DISTINCT FROM NULL))");
        let half = col("i4").eq(lit(1i32)).and(col("f").gt(lit(1.0)));
        assert!(told(&half).is_some());
        says_nothing(not(half.clone()));
        says_nothing(not(half.clone().or(col("b"))));
        says_nothing(Expr::IsNotTrue(Box::new(half)));
        says_nothing(not(not(col("t").eq(lit("a")))));
    }

    #[test]
    fn truth_is_a_condition_itself() {
        tells(col("b"), "\"b\"");
        tells(Expr::Not(Box::new(col("b"))), "(NOT \"b\")");
        tells(Expr::IsTrue(Box::new(col("b"))), "(\"b\" IS TRUE)");
        tells(Expr::IsNotFalse(Box::new(col("b"))), "(\"b\" IS NOT FALSE)");
        tells(Expr::IsUnknown(Box::new(col("b"))), "(\"b\" IS UNKNOWN)");
        tells(lit(false), "false");
        tells(col("b").alias("c"), "\"b\"");
        says_nothing(col("i4"));
        says_nothing(lit(ScalarValue::Boolean(None)));
    }

    #[test]
    fn what_the_server_may_see_otherwise_is_not_said() {
        says_nothing(col("f").eq(lit(1.0)));
        says_nothing(col("name").eq(lit("a")));
        says_nothing(col("raw").eq(lit("1")));
        says_nothing(col("r").eq(lit(1i32)));
        says_nothing(col("i4").eq(col("i4")));
        says_nothing(col("i4").eq(lit(1i64)));
        says_nothing(col("i4").eq(lit(ScalarValue::Int32(None))));
        says_nothing(cast(col("i4"), DataType::Int64).eq(lit(1i64)));
        says_nothing(col("i4").eq(cast(lit(1i64), DataType::Int32)));
        says_nothing(col("none").is_null());
        says_nothing((col("i4") + lit(1i32)).eq(lit(2i32)));
        says_nothing(col("t").like(lit("a%")));
    }

    #[test]
    fn what_is_nested_too_deep_is_not_said() {
        let nested = |depth: usize| (0..depth).fold(col("b"), |inner, _| Expr::Not(Box::new(inner)));
        assert!(told(&nested(DEEPEST - 1)).is_some());
        assert!(told(&nested(DEEPEST)).is_none());
    }
}
