//! Rules about single rows, as conditions that rows which break them fulfil.

use datafusion::logical_expr::Expr;
use transload_core::LogicalType;
use transload_core::types::Unit;
use transload_quality::checks::{AcceptedValues, Form, Format, Length, NotInFuture, Range};
use transload_quality::{Check, Rule, Scalar};

use crate::dialect::Dialect;
use crate::sql::{Sql, float, regex, ticks};
use crate::view::View;

/// The condition that a row breaks a rule. It is NULL or false for every other row.
///
/// # Errors
/// A sentence that says why there is none.
pub(crate) fn broken(check: &Check, view: &View, dialect: Dialect) -> Result<String, String> {
    let sql = view.sql(dialect);
    match &check.rule {
        Rule::NotNull(rule) => {
            let column = Column::of(rule.columns.first().map(|c| c.value.as_str()), view, &sql)?;
            sql.text(&Expr::IsNull(Box::new(column.expr.clone())))
        }
        Rule::NotEmpty(rule) => {
            let column = Column::of(rule.columns.first().map(|c| c.value.as_str()), view, &sql)?;
            not_empty(&column, &sql)
        }
        Rule::AcceptedValues(rule) => accepted(rule, &Column::of(Some(rule.column.as_str()), view, &sql)?, &sql),
        Rule::Range(rule) => range(rule, &Column::of(Some(rule.column.as_str()), view, &sql)?, &sql),
        Rule::Length(rule) => length(rule, &Column::of(Some(rule.column.as_str()), view, &sql)?, &sql),
        Rule::Pattern(rule) => {
            let text = Column::of(Some(rule.column.as_str()), view, &sql)?.operand(&sql)?;
            Ok(format!("NOT {}", sql.found(&text, &regex::portable(&rule.regex)?).operand()))
        }
        Rule::Format(rule) => format_of(rule, &Column::of(Some(rule.column.as_str()), view, &sql)?, &sql),
        Rule::NotInFuture(rule) => {
            let column = Column::of(rule.columns.first().map(|c| c.value.as_str()), view, &sql)?;
            not_in_future(rule, &column, &sql)
        }
        Rule::Expression(rule) => Ok(format!("NOT {}", sql.operand(&view.read(&rule.sql)?)?)),
        _ => Err("it is about more than single rows".to_string()),
    }
}

/// The rows that a rule is about, if not all: the condition of its `where`.
///
/// # Errors
/// A sentence, if it cannot be said.
pub(crate) fn about(check: &Check, view: &View, dialect: Dialect) -> Result<Option<String>, String> {
    let Some(filter) = check.policy().filter else { return Ok(None) };
    view.sql(dialect).text(&view.read(&filter)?).map(Some)
}

/// A column that a rule names.
struct Column<'a> {
    expr: &'a Expr,
    name: &'a str,
    ty: LogicalType,
}

impl<'a> Column<'a> {
    fn of(name: Option<&'a str>, view: &'a View, sql: &Sql<'_>) -> Result<Self, String> {
        let name = name.unwrap_or_default();
        let expr = view.column(name)?;
        Ok(Self { expr, name, ty: sql.logical_type(expr)? })
    }

    fn operand(&self, sql: &Sql<'_>) -> Result<String, String> {
        sql.operand(self.expr)
    }

    fn unsuited(&self) -> String {
        format!("`{}` is {}", self.name, self.ty)
    }
}

fn not_empty(column: &Column<'_>, sql: &Sql<'_>) -> Result<String, String> {
    match &column.ty {
        LogicalType::Text | LogicalType::Json => {
            let found = sql.found(&column.operand(sql)?, &regex::more_than_blanks());
            Ok(format!("NOT {}", found.operand()))
        }
        LogicalType::Binary => Ok(format!("octet_length({}) = 0", column.operand(sql)?)),
        // Lists are only counted.
        LogicalType::List(_) => match (column.expr, sql.dialect) {
            (Expr::Column(c), Dialect::DuckDb) => Ok(format!("len({}) = 0", sql.dialect.name(&c.name))),
            (Expr::Column(c), Dialect::Spark) => Ok(format!("size({}) = 0", sql.dialect.name(&c.name))),
            _ => Err(column.unsuited()),
        },
        _ => Err(column.unsuited()),
    }
}

fn accepted(rule: &AcceptedValues, column: &Column<'_>, sql: &Sql<'_>) -> Result<String, String> {
    let values: Vec<String> = match &column.ty {
        LogicalType::Text | LogicalType::Json => rule.values.iter().map(|v| sql.dialect.text(&v.to_string())).collect(),
        LogicalType::Bool => rule.values.iter().map(|v| v.to_string().to_uppercase()).collect(),
        ty => {
            let exact = rule.exact(&ty.to_field(column.name, true))?;
            exact.into_iter().map(|v| ticks(v, ty, sql.dialect)).collect::<Result<_, _>>()?
        }
    };
    let operand = column.operand(sql)?;
    Ok(match values.is_empty() {
        true => format!("{operand} IS NOT NULL"),
        false => format!("{operand} NOT IN ({})", values.join(", ")),
    })
}

fn range(rule: &Range, column: &Column<'_>, sql: &Sql<'_>) -> Result<String, String> {
    let operand = column.operand(sql)?;
    if let LogicalType::Float(_) = column.ty {
        let Range { min, above, max, below, .. } = rule;
        let mut outside = vec![format!("isnan({operand})")];
        for (limit, op) in [(min, "<"), (above, "<="), (max, ">"), (below, ">=")] {
            if let Some(limit) = limit {
                let limit = number(limit).ok_or_else(|| format!("`{limit}` is no number"))?;
                outside.push(format!("{operand} {op} {}", float(limit, sql.dialect)));
            }
        }
        return Ok(outside.join(" OR "));
    }
    let (low, high) = rule.exact(&column.ty.to_field(column.name, true))?;
    let limit = |limit: Option<i128>, op: &str| -> Result<Option<String>, String> {
        let Some(limit) = limit else { return Ok(None) };
        Ok(Some(format!("{operand} {op} {}", ticks(limit, &column.ty, sql.dialect)?)))
    };
    let outside: Vec<String> = [limit(low, "<")?, limit(high, ">")?].into_iter().flatten().collect();
    Ok(outside.join(" OR "))
}

fn number(limit: &Scalar) -> Option<f64> {
    match limit {
        Scalar::Int(v) => Some(*v as f64),
        Scalar::Float(v) => Some(*v),
        Scalar::Text(v) => v.trim().parse().ok(),
        Scalar::Bool(_) => None,
    }
}

fn length(rule: &Length, column: &Column<'_>, sql: &Sql<'_>) -> Result<String, String> {
    let count = match sql.dialect {
        Dialect::DuckDb => format!("length({})", column.operand(sql)?),
        Dialect::Spark => format!("char_length({})", column.operand(sql)?),
    };
    let few = rule.min.map(|min| format!("{count} < {min}"));
    let many = rule.max.map(|max| format!("{count} > {max}"));
    Ok([few, many].into_iter().flatten().collect::<Vec<_>>().join(" OR "))
}

fn format_of(rule: &Format, column: &Column<'_>, sql: &Sql<'_>) -> Result<String, String> {
    const UUID: &str = "^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$";
    const DATE: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$";
    const TIMESTAMP: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?\
                             ([Zz]|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?$";
    let text = column.operand(sql)?;
    let is = |regex: &str| -> Result<String, String> { Ok(sql.found(&text, &regex::portable(regex)?).operand()) };
    let day = |text: &str| format!("TRY_CAST({text} AS date) IS NULL");
    match rule.is {
        Form::Uuid => Ok(format!("NOT {}", is(UUID)?)),
        Form::Date => Ok(format!("NOT {} OR ({text} IS NOT NULL AND {})", is(DATE)?, day(&text))),
        Form::Timestamp => {
            let head = format!("left({text}, 10)");
            Ok(format!("NOT {} OR ({text} IS NOT NULL AND {})", is(TIMESTAMP)?, day(&head)))
        }
        Form::Json if sql.dialect == Dialect::DuckDb => Ok(format!("NOT json_valid({text})")),
        Form::Json => Err("Spark has no test for JSON that is as strict".to_string()),
        Form::Email => Err("no expression is as strict about addresses of e-mail".to_string()),
        Form::Ip => Err("no expression is as strict about addresses of hosts".to_string()),
    }
}

fn not_in_future(rule: &NotInFuture, column: &Column<'_>, sql: &Sql<'_>) -> Result<String, String> {
    let operand = column.operand(sql)?;
    let secs = rule.slack_secs.unwrap_or(0);
    let now = match sql.dialect {
        Dialect::DuckDb => format!("now() + to_seconds({secs})"),
        Dialect::Spark => format!("current_timestamp() + make_interval(0, 0, 0, 0, 0, 0, {secs})"),
    };
    let now = match &column.ty {
        LogicalType::Date => format!("CAST({now} AS {})", sql.dialect.type_name(&LogicalType::Date)?),
        LogicalType::Timestamp(_, None) => {
            format!("CAST({now} AS {})", sql.dialect.type_name(&LogicalType::Timestamp(Unit::Us, None))?)
        }
        LogicalType::Timestamp(_, Some(_)) => now,
        _ => return Err(column.unsuited()),
    };
    Ok(format!("{operand} > {now}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, table};

    fn said(dialect: Dialect, rule: &str) -> Result<String, String> {
        broken(&check(rule), &View::of_source(&table()).unwrap(), dialect)
    }

    #[test]
    fn each_rule_about_rows_becomes_a_condition() {
        for (rule, duck, spark) in [
            (r#"{"not_null":["id"]}"#, "\"id\" IS NULL", "`id` IS NULL"),
            (
                r#"{"accepted_values":{"column":"status","values":["open","it's"]}}"#,
                "\"status\" NOT IN ('open', 'it''s')",
                "`status` NOT IN ('open', 'it\\'s')",
            ),
            (r#"{"accepted_values":{"column":"id","values":[1,2.5]}}"#, "\"id\" NOT IN (1)", "`id` NOT IN (1)"),
            (
                r#"{"range":{"column":"balance","min":-990,"below":"9.999"}}"#,
                "\"acctbal\" < -990.00 OR \"acctbal\" > 9.99",
                "`acctbal` < -990.00 OR `acctbal` > 9.99",
            ),
            (
                r#"{"range":{"column":"rate","above":0}}"#,
                "isnan(\"rate\") OR \"rate\" <= 0e0",
                "isnan(`rate`) OR `rate` <= 0e0D",
            ),
            (
                r#"{"range":{"column":"placed","min":"2024-01-01"}}"#,
                "\"placed\" < DATE '2024-01-01'",
                "`placed` < DATE '2024-01-01'",
            ),
            (
                r#"{"length":{"column":"status","min":2,"max":5}}"#,
                "length(\"status\") < 2 OR length(\"status\") > 5",
                "char_length(`status`) < 2 OR char_length(`status`) > 5",
            ),
            (
                r#"{"pattern":{"column":"status","regex":"^[a-z]+$"}}"#,
                "NOT regexp_matches(\"status\", '^[a-z]+\\z')",
                "NOT (`status` RLIKE '^[a-z]+\\\\z')",
            ),
            (
                r#"{"not_in_future":["placed"]}"#,
                "\"placed\" > CAST(now() + to_seconds(0) AS date)",
                "`placed` > CAST(current_timestamp() + make_interval(0, 0, 0, 0, 0, 0, 0) AS DATE)",
            ),
            (r#"{"expression":{"sql":"status = 'open'"}}"#, "NOT (\"status\" = 'open')", "NOT (`status` = 'open')"),
        ] {
            assert_eq!(said(Dialect::DuckDb, rule).as_deref(), Ok(duck), "{rule}");
            assert_eq!(said(Dialect::Spark, rule).as_deref(), Ok(spark), "{rule}");
        }
    }

    #[test]
    fn what_cannot_be_said_has_a_reason() {
        for (rule, reason) in [
            (r#"{"format":{"column":"status","is":"email"}}"#, "e-mail"),
            (r#"{"pattern":{"column":"status","regex":"^\\w+$"}}"#, "`\\w`"),
            (r#"{"row_count":{"min":1}}"#, "more than single rows"),
        ] {
            assert!(said(Dialect::DuckDb, rule).unwrap_err().contains(reason), "{rule}");
        }
        assert!(said(Dialect::Spark, r#"{"format":{"column":"status","is":"json"}}"#).is_err());
    }

    #[test]
    fn a_rule_may_be_about_some_rows() {
        let view = View::of_source(&table()).unwrap();
        let rule = check(r#"{"not_null":{"columns":["id"],"where":"status = 'open'"}}"#);
        assert_eq!(about(&rule, &view, Dialect::DuckDb).unwrap().as_deref(), Some("\"status\" = 'open'"));
        assert_eq!(about(&check(r#"{"not_null":["id"]}"#), &view, Dialect::DuckDb), Ok(None));
    }
}
