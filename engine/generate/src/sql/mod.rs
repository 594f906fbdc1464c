//! Expressions of a plan in the SQL of another engine, as far as they mean the same there.
//!
//! What is written is not the text of the pipeline but what the plan makes of it: every operand has its type, and every cast
//! stands there. So it depends on no rule of the other engine which number is widened to what. Whatever is not known to mean
//! the same is refused by its name.

mod cast;
mod function;
mod literal;
pub(crate) mod regex;

use arrow::datatypes::Field;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, Like, Operator};
use transload_core::LogicalType;

use crate::dialect::Dialect;

pub(crate) use literal::{float, ticks};

/// Writes expressions over some columns.
pub(crate) struct Sql<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) schema: &'a DFSchema,
}

/// An expression in SQL.
pub(crate) struct Said {
    pub(crate) text: String,
    /// Whether it can be an operand as it is.
    atom: bool,
}

impl Said {
    fn atom(text: impl Into<String>) -> Self {
        Self { text: text.into(), atom: true }
    }

    fn compound(text: impl Into<String>) -> Self {
        Self { text: text.into(), atom: false }
    }

    /// The text, in parentheses if it needs some as an operand.
    pub(crate) fn operand(self) -> String {
        if self.atom { self.text } else { format!("({})", self.text) }
    }
}

impl Sql<'_> {
    /// An expression.
    ///
    /// # Errors
    /// A sentence that names what cannot be said.
    pub(crate) fn expression(&self, expr: &Expr) -> Result<Said, String> {
        Ok(match expr {
            Expr::Column(column) => {
                let ty = self.logical_type(expr)?;
                if !self.dialect.computes(&ty) {
                    return Err(format!(
                        "`{}` is {ty}, with which {} does not compute as transload does",
                        column.name,
                        self.dialect.engine()
                    ));
                }
                Said::atom(self.dialect.name(&column.name))
            }
            Expr::Literal(value, _) => {
                let text = literal::literal(value, self.dialect)?;
                if text.starts_with('-') { Said::compound(text) } else { Said::atom(text) }
            }
            Expr::Alias(alias) => self.expression(&alias.expr)?,
            Expr::Not(inner) => Said::compound(format!("NOT {}", self.operand(inner)?)),
            Expr::IsNull(inner) => Said::compound(format!("{} IS NULL", self.presence(inner)?)),
            Expr::IsNotNull(inner) => Said::compound(format!("{} IS NOT NULL", self.presence(inner)?)),
            Expr::IsTrue(inner) => Said::compound(format!("{} IS TRUE", self.operand(inner)?)),
            Expr::IsFalse(inner) => Said::compound(format!("{} IS FALSE", self.operand(inner)?)),
            Expr::IsUnknown(inner) => Said::compound(format!("{} IS NULL", self.operand(inner)?)),
            Expr::IsNotTrue(inner) => Said::compound(format!("{} IS NOT TRUE", self.operand(inner)?)),
            Expr::IsNotFalse(inner) => Said::compound(format!("{} IS NOT FALSE", self.operand(inner)?)),
            Expr::IsNotUnknown(inner) => Said::compound(format!("{} IS NOT NULL", self.operand(inner)?)),
            Expr::Negative(inner) => Said::compound(format!("- {}", self.operand(inner)?)),
            Expr::Between(between) => {
                let not = if between.negated { "NOT " } else { "" };
                let (value, low) = (self.operand(&between.expr)?, self.operand(&between.low)?);
                Said::compound(format!("{value} {not}BETWEEN {low} AND {}", self.operand(&between.high)?))
            }
            Expr::InList(list) => {
                let values: Vec<String> = list.list.iter().map(|v| self.text(v)).collect::<Result<_, _>>()?;
                let not = if list.negated { "NOT " } else { "" };
                Said::compound(format!("{} {not}IN ({})", self.operand(&list.expr)?, values.join(", ")))
            }
            Expr::Like(like) => self.like(like)?,
            Expr::Case(case) => self.case(case)?,
            Expr::BinaryExpr(binary) => self.binary(binary, expr)?,
            Expr::Cast(cast) => self.cast(&cast.expr, cast.field.data_type(), "CAST")?,
            Expr::TryCast(cast) => self.cast(&cast.expr, cast.field.data_type(), "TRY_CAST")?,
            Expr::ScalarFunction(function) => self.function(function.name(), &function.args)?,
            other => return Err(format!("`{other}` cannot be said in {}", self.dialect.engine())),
        })
    }

    /// The text of an expression that stands where no operator is around it.
    ///
    /// # Errors
    /// A sentence that names what cannot be said.
    pub(crate) fn text(&self, expr: &Expr) -> Result<String, String> {
        Ok(self.expression(expr)?.text)
    }

    /// The text of an expression as an operand.
    ///
    /// # Errors
    /// A sentence that names what cannot be said.
    pub(crate) fn operand(&self, expr: &Expr) -> Result<String, String> {
        Ok(self.expression(expr)?.operand())
    }

    /// The type of an expression's values.
    ///
    /// # Errors
    /// A sentence, if there is no word for it.
    pub(crate) fn logical_type(&self, expr: &Expr) -> Result<LogicalType, String> {
        let ty = match expr {
            // What is more than a layout, as in a uuid, only the column itself says.
            Expr::Column(column) => {
                let field = self.schema.field_with_unqualified_name(&column.name);
                LogicalType::of(field.map_err(|e| e.strip_backtrace())?)
            }
            other => {
                let ty = other.get_type(self.schema).map_err(|e| e.strip_backtrace())?;
                LogicalType::of(&Field::new("", ty, true))
            }
        };
        ty.ok_or_else(|| format!("there is no word for the type of `{expr}`"))
    }

    /// An operand of which it only matters whether it is there: every type can be asked that.
    fn presence(&self, expr: &Expr) -> Result<String, String> {
        match expr {
            Expr::Column(column) => Ok(self.dialect.name(&column.name)),
            other => self.operand(other),
        }
    }

    fn like(&self, like: &Like) -> Result<Said, String> {
        let word = if like.case_insensitive { "ILIKE" } else { "LIKE" };
        let not = if like.negated { "NOT " } else { "" };
        let escape = self.dialect.text(&like.escape_char.unwrap_or('\\').to_string());
        let (value, pattern) = (self.operand(&like.expr)?, self.operand(&like.pattern)?);
        Ok(Said::compound(format!("{value} {not}{word} {pattern} ESCAPE {escape}")))
    }

    fn case(&self, case: &Case) -> Result<Said, String> {
        let mut text = "CASE".to_string();
        if let Some(value) = &case.expr {
            text.push_str(&format!(" {}", self.operand(value)?));
        }
        for (when, then) in &case.when_then_expr {
            text.push_str(&format!(" WHEN {} THEN {}", self.text(when)?, self.text(then)?));
        }
        if let Some(otherwise) = &case.else_expr {
            text.push_str(&format!(" ELSE {}", self.text(otherwise)?));
        }
        Ok(Said::atom(format!("{text} END")))
    }

    fn binary(&self, binary: &BinaryExpr, whole: &Expr) -> Result<Said, String> {
        let BinaryExpr { left, op, right } = binary;
        let between = |word: &str| -> Result<Said, String> {
            Ok(Said::compound(format!("{} {word} {}", self.operand(left)?, self.operand(right)?)))
        };
        match op {
            Operator::And => self.chain(op, "AND", left, right),
            Operator::Or => self.chain(op, "OR", left, right),
            Operator::Eq => between("="),
            Operator::NotEq => between("<>"),
            Operator::Lt => between("<"),
            Operator::LtEq => between("<="),
            Operator::Gt => between(">"),
            Operator::GtEq => between(">="),
            Operator::IsDistinctFrom => between("IS DISTINCT FROM"),
            Operator::IsNotDistinctFrom => between("IS NOT DISTINCT FROM"),
            Operator::StringConcat => between("||"),
            Operator::RegexMatch => self.matches(left, right),
            Operator::RegexNotMatch => Ok(Said::compound(format!("NOT {}", self.matches(left, right)?.operand()))),
            Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                self.arithmetic(binary, whole)
            }
            other => Err(format!("the operator `{other}` is not known to mean the same in {}", self.dialect.engine())),
        }
    }

    /// Conditions that one word joins.
    fn chain(&self, op: &Operator, word: &str, left: &Expr, right: &Expr) -> Result<Said, String> {
        let part = |expr: &Expr| match expr {
            Expr::BinaryExpr(inner) if inner.op == *op => self.text(expr),
            other => self.operand(other),
        };
        Ok(Said::compound(format!("{} {word} {}", part(left)?, part(right)?)))
    }

    fn arithmetic(&self, binary: &BinaryExpr, whole: &Expr) -> Result<Said, String> {
        let BinaryExpr { left, op, right } = binary;
        let ty = self.logical_type(whole)?;
        let (a, b) = (self.operand(left)?, self.operand(right)?);
        let engine = self.dialect.engine();
        match (&ty, op) {
            (LogicalType::Int(_), Operator::Divide) => Ok(match self.dialect {
                Dialect::DuckDb => Said::compound(format!("{a} // {b}")),
                Dialect::Spark => Said::atom(format!("CAST({a} DIV {b} AS {})", self.dialect.type_name(&ty)?)),
            }),
            (LogicalType::Int(_) | LogicalType::Float(_), op) => Ok(Said::compound(format!("{a} {op} {b}"))),
            (LogicalType::UInt(_), Operator::Plus | Operator::Minus | Operator::Multiply)
                if self.dialect == Dialect::DuckDb =>
            {
                Ok(Said::compound(format!("{a} {op} {b}")))
            }
            (LogicalType::UInt(_), op) => {
                Err(format!("`{op}` of unsigned numbers has other limits in {engine}: cast one side to bigint"))
            }
            (LogicalType::Decimal(_, scale), Operator::Plus | Operator::Minus | Operator::Multiply) => {
                self.keeps_scale(left, *op, right, *scale)?;
                Ok(Said::compound(format!("{a} {op} {b}")))
            }
            (LogicalType::Decimal(..), op) => {
                Err(format!("`{op}` of decimals rounds in another way in {engine}: cast one side to double"))
            }
            (ty, op) => Err(format!("`{op}` that gives {ty} is not known to mean the same in {engine}")),
        }
    }

    /// Whether the result has the digits after the point that the plan says, also where it needs more than 38 digits.
    fn keeps_scale(&self, left: &Expr, op: Operator, right: &Expr, scale: i8) -> Result<(), String> {
        let (LogicalType::Decimal(p, s), LogicalType::Decimal(q, t)) =
            (self.logical_type(left)?, self.logical_type(right)?)
        else {
            return Err("decimals are computed with decimals alone".to_string());
        };
        let digits = match op {
            Operator::Multiply => i16::from(p) + i16::from(q) + 1,
            _ => i16::from(s.max(t)) + (i16::from(p) - i16::from(s)).max(i16::from(q) - i16::from(t)) + 1,
        };
        // Spark gives up digits after the point, down to six, for those before it.
        match self.dialect {
            Dialect::Spark if digits > 38 && scale > 6 => {
                Err(format!("`{op}` of decimals with {digits} digits loses some in Spark: cast them to fewer"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a text matches a regular expression that is written there.
    fn matches(&self, text: &Expr, pattern: &Expr) -> Result<Said, String> {
        let (Expr::Literal(ScalarValue::Utf8(Some(regex)), _)
        | Expr::Literal(ScalarValue::LargeUtf8(Some(regex)), _)
        | Expr::Literal(ScalarValue::Utf8View(Some(regex)), _)) = pattern
        else {
            return Err("a regular expression that a column holds cannot be said".to_string());
        };
        Ok(self.found(&self.operand(text)?, regex::portable(regex)?.as_str()))
    }

    /// Whether a regular expression that all engines read alike is found in a text.
    pub(crate) fn found(&self, text: &str, regex: &str) -> Said {
        let regex = self.dialect.text(regex);
        match self.dialect {
            Dialect::DuckDb => Said::atom(format!("regexp_matches({text}, {regex})")),
            Dialect::Spark => Said::compound(format!("{text} RLIKE {regex}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Schema, SchemaRef};
    use transload_plan::Expressions;

    use super::*;

    fn columns() -> SchemaRef {
        let columns = [
            ("a", "int32"),
            ("b", "int64"),
            ("u", "uint16"),
            ("f", "float64"),
            ("d", "decimal(15,2)"),
            ("wide", "decimal(38,10)"),
            ("t", "text"),
            ("day", "date"),
            ("ts", "timestamp(us)"),
            ("id", "uuid"),
            ("other", "uuid"),
            ("clock", "time(us)"),
            ("odd \"name`", "text"),
            ("yes", "bool"),
        ];
        let field = |(name, ty): (&str, &str)| ty.parse::<LogicalType>().unwrap().to_field(name, true);
        Arc::new(Schema::new(columns.map(field).to_vec()))
    }

    fn said(dialect: Dialect, sql: &str) -> Result<String, String> {
        let expressions = Expressions::new(&columns()).unwrap();
        let expr = expressions.logical(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        Sql { dialect, schema: expressions.schema() }.text(&expr)
    }

    #[test]
    fn expressions_are_said_in_both() {
        for (sql, duck, spark) in [
            ("b = 5 and t <> 'it''s'", "(\"b\" = 5) AND (\"t\" <> 'it''s')", "(`b` = 5L) AND (`t` <> 'it\\'s')"),
            ("yes", "\"yes\"", "`yes`"),
            ("f > 0.5", "\"f\" > 5e-1", "`f` > 5e-1D"),
            ("b / 3", "\"b\" // 3", "CAST(`b` DIV 3L AS BIGINT)"),
            ("b % 3", "\"b\" % 3", "`b` % 3L"),
            ("t || 'x'", "\"t\" || 'x'", "`t` || 'x'"),
            ("t like 'a%'", "\"t\" LIKE 'a%' ESCAPE '\\'", "`t` LIKE 'a%' ESCAPE '\\\\'"),
            ("day >= date '2024-01-01'", "\"day\" >= DATE '2024-01-01'", "`day` >= DATE '2024-01-01'"),
            ("clock is null", "\"clock\" IS NULL", "`clock` IS NULL"),
            ("\"odd \"\"name`\" is not null", "\"odd \"\"name`\" IS NOT NULL", "`odd \"name``` IS NOT NULL"),
            (
                "case when b > 1 then 'x' else t end",
                "CASE WHEN \"b\" > 1 THEN 'x' ELSE \"t\" END",
                "CASE WHEN `b` > 1L THEN 'x' ELSE `t` END",
            ),
        ] {
            assert_eq!(said(Dialect::DuckDb, sql).as_deref(), Ok(duck), "{sql}");
            assert_eq!(said(Dialect::Spark, sql).as_deref(), Ok(spark), "{sql}");
        }
    }

    #[test]
    fn operands_are_in_parentheses_where_they_need_some() {
        let spark = |sql: &str| said(Dialect::Spark, sql).unwrap();
        assert_eq!(spark("(b + 1) * b"), "(`b` + 1L) * `b`");
        assert_eq!(spark("not yes"), "NOT `yes`");
        assert_eq!(
            spark("(b = 1 or t = 'x' or yes) and f > 1"),
            "((`b` = 1L) OR (`t` = 'x') OR `yes`) AND (`f` > 1e0D)"
        );
    }

    #[test]
    fn decimals_keep_their_digits_or_are_refused() {
        let spark = said(Dialect::Spark, "d * (1 - d)").unwrap();
        assert!(spark.starts_with("`d` * (CAST(1 AS DECIMAL(") && spark.ends_with(" - `d`)"), "{spark}");
        assert!(said(Dialect::Spark, "wide * wide").unwrap_err().contains("loses some"));
        assert!(said(Dialect::Spark, "d / wide").unwrap_err().contains("rounds in another way"));
    }

    #[test]
    fn what_is_not_known_to_mean_the_same_is_refused_by_name() {
        for (sql, what) in [
            ("a & 1", "the operator `&`"),
            ("round(f)", "`round`"),
            ("reverse(t)", "`reverse`"),
            ("id = other", "is uuid"),
            ("clock > '10:00:00'", "`clock` is time(us)"),
            ("cast(t as int)", "text"),
            ("ts + interval '1 day' > timestamp '2024-01-01 00:00:00'", "Interval"),
            ("u + u", "unsigned"),
            ("t ~ '\\w'", "`\\w`"),
        ] {
            let refused = said(Dialect::Spark, sql).unwrap_err();
            assert!(refused.contains(what), "{sql}: {refused}");
        }
    }
}
