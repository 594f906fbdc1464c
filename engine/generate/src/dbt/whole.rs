//! Rules about tables as a whole: queries that give one row if the rule is broken.

use transload_core::LogicalType;
use transload_quality::checks::{Aggregate, Figure, RowCount, SameAs, Window};
use transload_quality::{Check, Rule};

use super::rule::other;
use super::{Staged, model};
use crate::dialect::Dialect::DuckDb;
use crate::quote::jinja;

/// The query of a check of a table, over the rows that it is `about`.
///
/// # Errors
/// A sentence that says why there is none.
pub(super) fn broken(
    check: &Check,
    table: &Staged<'_>,
    tables: &[Staged<'_>],
    about: Option<&str>,
) -> Result<String, String> {
    let filter = about.map_or_else(String::new, |about| format!("\nwhere {}", jinja(about)));
    let from = format!("from {}{filter}", table.reference());
    // What a check says of a column that the model does not have cannot be asked.
    let column = |name: &str| table.view.column(name).map(|_| jinja(&DuckDb.name(name)));
    match &check.rule {
        Rule::RowCount(RowCount { same_as: Some(same), .. }) => same_as(same, &from, tables),
        Rule::RowCount(rule) => {
            let limits = [
                rule.exactly.map(|n| format!("count(*) = {n}")),
                rule.min.map(|n| format!("count(*) >= {n}")),
                rule.max.map(|n| format!("count(*) <= {n}")),
            ];
            let holds: Vec<String> = limits.into_iter().flatten().collect();
            Ok(format!("select count(*) as of_rows\n{from}\nhaving not ({})", holds.join(" and ")))
        }
        Rule::Completeness(rule) => {
            let column = column(&rule.column)?;
            Ok(format!(
                "select count({column}) as present, count(*) as of_rows\n{from}\n\
                 having count({column}) * 100.0 < {} * count(*)",
                rule.min.0
            ))
        }
        Rule::Aggregate(rule) => {
            let is_float = matches!(model::type_of(table.plan, &rule.column), Some(LogicalType::Float(_)));
            Ok(aggregate(rule, &column(&rule.column)?, is_float, &from))
        }
        Rule::NoGaps(rule) => {
            let column = column(&rule.column)?;
            let every = match rule.every {
                Window::Hour => "hour",
                Window::Day => "day",
                Window::Month => "month",
                Window::Year => "year",
            };
            let there = format!("count(distinct date_trunc('{every}', {column}))");
            let all = format!("date_diff('{every}', min({column}), max({column})) + 1");
            Ok(format!("select {there} as present, {all} as of_windows\n{from}\nhaving {there} <> {all}"))
        }
        _ => Err("it is about single rows".to_string()),
    }
}

fn same_as(same: &SameAs, from: &str, tables: &[Staged<'_>]) -> Result<String, String> {
    let table = other(&same.table, same.place, tables)?;
    if table.plan.write.keeps_others() {
        return Err(format!("`{}` holds the rows of several loads", table.plan.to));
    }
    let share = same.within.map_or(0.0, |within| within.0);
    Ok(format!(
        "select mine.n as of_rows, other.n as of_other\n\
         from (select count(*) as n {from}) as mine, (select count(*) as n from {}) as other\n\
         where abs(mine.n - other.n) * 100.0 > {share} * other.n",
        table.reference()
    ))
}

fn aggregate(rule: &Aggregate, column: &str, is_float: bool, from: &str) -> String {
    let figure = match rule.of {
        Figure::Sum => format!("sum({column})"),
        Figure::Avg => format!("avg({column})"),
        Figure::Min => format!("min({column})"),
        Figure::Max => format!("max({column})"),
        // Of a single value it is 0.
        Figure::Stddev => format!("case when count({column}) = 1 then 0 else stddev_samp({column}) end"),
        Figure::CountDistinct => format!("count(distinct {column})"),
    };
    let limits = [(&rule.min, ">="), (&rule.above, ">"), (&rule.max, "<="), (&rule.below, "<")];
    let mut holds: Vec<String> = Vec::new();
    for (limit, op) in limits {
        holds.extend(limit.as_ref().map(|limit| format!("{figure} {op} {limit}")));
    }
    if is_float && rule.of != Figure::CountDistinct {
        holds.push(format!("not isnan({figure})"));
    }
    // Without any value there is no figure, and the rule is broken.
    format!("select {figure} as found\n{from}\nhaving not coalesce({}, false)", holds.join(" and "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::dbt::{Lake, dbt};
    use crate::testing::{check, plan, table};

    /// The query of a rule.
    fn query(rule: &str) -> String {
        let mut table = table();
        table.checks = vec![check(rule)];
        let project = dbt(&plan(table), &Lake { folder: None, known: &BTreeMap::new() }).unwrap();
        let file = project.files.iter().find(|f| f.path.starts_with("tests/"));
        file.unwrap_or_else(|| panic!("{rule}: {:?}", project.unsaid)).content.clone()
    }

    #[test]
    fn each_rule_becomes_a_query_that_gives_rows_if_it_is_broken() {
        for (rule, line) in [
            (r#"{"row_count":{"min":1,"max":9}}"#, "having not (count(*) >= 1 and count(*) <= 9)"),
            (r#"{"completeness":{"column":"status","min":"95%"}}"#, "having count(\"status\") * 100.0 < 95 * count(*)"),
            (
                r#"{"aggregate":{"column":"rate","of":"avg","min":0}}"#,
                "having not coalesce(avg(\"rate\") >= 0 and not isnan(avg(\"rate\")), false)",
            ),
            (
                r#"{"no_gaps":{"column":"placed","every":"month"}}"#,
                "having count(distinct date_trunc('month', \"placed\")) <> date_diff('month', min(\"placed\"), max(\"placed\")) + 1",
            ),
            (r#"{"unique":["id","status"]}"#, "qualify row_number() over (partition by \"id\", \"status\") > 1"),
            (r#"{"range":{"column":"id","min":1,"severity":"warn"}}"#, "{{ config(severity = 'warn') }}"),
            (
                r#"{"range":{"column":"id","min":1,"threshold":5}}"#,
                "{{ config(severity = 'error', error_if = '>5', warn_if = '>5') }}",
            ),
            (
                r#"{"range":{"column":"id","min":1,"threshold":"0.5%"}}"#,
                "having count(*) filter (where \"id\" < 1) * 100.0 > 0.5 * count(*)",
            ),
            (r#"{"row_count":{"min":1,"where":"id > 5"}}"#, "where \"id\" > 5"),
        ] {
            let query = query(rule);
            assert!(query.lines().any(|l| l == line), "{line} is not in:\n{query}");
        }
    }
}
