//! Checks as tests of dbt: one of dbt's own where it means the same, and else a query that gives the rows that break the rule.

use serde_json::{Value as Json, json};
use transload_core::LogicalType;
use transload_core::connector::WriteMode;
use transload_core::finding::Action;
use transload_quality::checks::{AcceptedValues, ForeignKey, Unique};
use transload_quality::{Amount, Check, Place, Rule, Scalar};

use super::{Staged, model, source, whole};
use crate::dialect::Dialect::DuckDb;
use crate::quote::jinja;
use crate::rows;

/// How a check is tested.
pub(super) enum Test {
    /// By a test of dbt's own, of a column.
    OfColumn(String, Json),
    /// By a query.
    Alone(String),
    /// By the freshness of the source.
    OfSource,
}

/// Whether rows that break a check do not get into the target.
pub(super) fn is_severe(check: &Check) -> bool {
    check.policy().action() != Action::Log
}

/// How many rows may break a check. Of rows that are put aside none is in the target.
fn allowed(check: &Check) -> Option<Amount> {
    let policy = check.policy();
    policy.threshold.as_ref().map(|t| t.value).filter(|_| policy.action() != Action::Quarantine)
}

/// The test of a check that stands in `table`.
///
/// # Errors
/// A sentence that says why there is none.
pub(super) fn test(check: &Check, name: &str, table: &Staged<'_>, tables: &[Staged<'_>]) -> Result<Test, String> {
    let about = rows::about(check, &table.view, DuckDb)?;
    let test = Asked { check, name, table, about };
    match &check.rule {
        Rule::Monotonic(_) => Err("a table has no order of its own".to_string()),
        Rule::Drift(_) => Err("it compares with an earlier run, of which the ledger knows".to_string()),
        Rule::Schema(_) => {
            Err("staging models cast every column: they fail if one is missing or of another type".to_string())
        }
        Rule::Freshness(_) if source::says(table, check) => Ok(Test::OfSource),
        Rule::Freshness(_) => Err("dbt knows one age of a table, by a column that its model has".to_string()),
        Rule::RowCount(_) | Rule::Aggregate(_) | Rule::Completeness(_) | Rule::NoGaps(_) => {
            if table.plan.write.keeps_others() {
                return Err("it is about the rows of one load, and the table holds those of several".to_string());
            }
            Ok(Test::Alone(test.with_config(&whole::broken(check, table, tables, test.about.as_deref())?)))
        }
        Rule::Unique(rule) => test.unique(rule),
        Rule::ForeignKey(rule) => test.foreign_key(rule, tables),
        Rule::AcceptedValues(rule) => match test.accepted_values(rule) {
            Some(test) => Ok(test),
            None => test.rows(),
        },
        Rule::NotNull(rule) => match rule.columns.first().filter(|column| test.is_generic(column)) {
            Some(column) if table.view.column(column).is_ok() => Ok(test.generic(column, "not_null", None)),
            _ => test.rows(),
        },
        _ => test.rows(),
    }
}

/// A check that a test is made for.
struct Asked<'a> {
    check: &'a Check,
    name: &'a str,
    table: &'a Staged<'a>,
    /// The condition of the rows that it is about.
    about: Option<String>,
}

impl Asked<'_> {
    fn severity(&self) -> &'static str {
        if is_severe(self.check) { "error" } else { "warn" }
    }

    /// Whether a test of dbt's own, of this column, can say the rest of the check. dbt puts names in quotes as they are.
    fn is_generic(&self, column: &str) -> bool {
        let is_plain = |text: &str| jinja(text) == text;
        allowed(self.check).is_none()
            && !column.contains('"')
            && is_plain(column)
            && self.about.as_deref().is_none_or(is_plain)
    }

    /// A test of dbt's own.
    fn generic(&self, column: &str, kind: &str, arguments: Option<Json>) -> Test {
        let mut config = json!({ "severity": self.severity() });
        if let Some(about) = &self.about {
            config["where"] = json!(about);
        }
        let description = format!("{}: {}", self.check.title(), self.check.expected());
        let mut test = json!({ "name": self.name, "description": jinja(&description), "config": config });
        if let Some(arguments) = arguments {
            test["arguments"] = arguments;
        }
        Test::OfColumn(column.to_string(), json!({ kind: test }))
    }

    /// The query with what dbt has to know of it.
    fn with_config(&self, sql: &str) -> String {
        let limit = match allowed(self.check) {
            Some(Amount::Rows(rows)) => format!(", error_if = '>{rows}', warn_if = '>{rows}'"),
            _ => String::new(),
        };
        format!("{{{{ config(severity = '{}'{limit}) }}}}\n{}", self.severity(), sql)
    }

    /// The rows of a table, or of those that a check is about.
    fn from(&self, and: Option<&str>) -> String {
        let conditions: Vec<String> =
            self.about.as_deref().into_iter().chain(and).map(|c| format!("({})", jinja(c))).collect();
        let filter =
            if conditions.is_empty() { String::new() } else { format!("\nwhere {}", conditions.join(" and ")) };
        format!("from {}{filter}", self.table.reference())
    }

    /// A rule about single rows.
    fn rows(&self) -> Result<Test, String> {
        let broken = rows::broken(self.check, &self.table.view, DuckDb)?;
        let sql = match allowed(self.check) {
            Some(Amount::Percent(share)) => {
                let count = format!("count(*) filter (where {})", jinja(&broken));
                let all = self.from(None);
                format!(
                    "select {count} as broken, count(*) as of_rows\n{all}\nhaving {count} * 100.0 > {} * count(*)",
                    share.0
                )
            }
            _ => format!("select *\n{}", self.from(Some(&broken))),
        };
        Ok(Test::Alone(self.with_config(&sql)))
    }

    fn unique(&self, rule: &Unique) -> Result<Test, String> {
        if self.table.plan.write == WriteMode::Append && self.table.plan.incremental.is_none() {
            return Err("loads that add rows may add the same ones again".to_string());
        }
        let mut names = Vec::with_capacity(rule.columns.len());
        for column in &rule.columns {
            self.table.view.column(column)?;
            names.push(DuckDb.name(column));
        }
        if let [column] = rule.columns.as_slice()
            && self.is_generic(column)
        {
            return Ok(self.generic(column, "unique", None));
        }
        let present: Vec<String> = names.iter().map(|name| format!("{name} is not null")).collect();
        let from = self.from(Some(&present.join(" and ")));
        let repeats = format!("row_number() over (partition by {})", jinja(&names.join(", ")));
        let sql = match allowed(self.check) {
            Some(Amount::Percent(share)) => format!(
                "select count(*) filter (where number > 1) as broken, count(*) as of_rows\n\
                 from (select {repeats} as number {from})\n\
                 having count(*) filter (where number > 1) * 100.0 > {} * count(*)",
                share.0
            ),
            _ => format!("select *\n{from}\nqualify {repeats} > 1"),
        };
        Ok(Test::Alone(self.with_config(&sql)))
    }

    /// A list of dbt's own, if it can write the values.
    fn accepted_values(&self, rule: &AcceptedValues) -> Option<Test> {
        self.table.view.column(&rule.column).ok().filter(|_| self.is_generic(&rule.column))?;
        let ty = model::type_of(self.table.plan, &rule.column)?;
        let plain = |text: &str| !text.contains(['\'', '\\']) && jinja(text) == text;
        let arguments = match ty {
            LogicalType::Text if rule.values.iter().all(|v| plain(&v.to_string())) => {
                json!({ "values": rule.values.iter().map(ToString::to_string).collect::<Vec<_>>() })
            }
            LogicalType::Int(_) if rule.values.iter().all(|v| matches!(v, Scalar::Int(_))) => {
                json!({ "values": rule.values, "quote": false })
            }
            _ => return None,
        };
        Some(self.generic(&rule.column, "accepted_values", Some(arguments)))
    }

    fn foreign_key(&self, rule: &ForeignKey, tables: &[Staged<'_>]) -> Result<Test, String> {
        let parent = other(&rule.references.table, rule.references.place, tables)?;
        let mut pairs = Vec::with_capacity(rule.columns.len());
        for (column, of) in rule.columns.iter().zip(&rule.references.columns) {
            self.table.view.column(column)?;
            parent.view.column(of)?;
            pairs.push((DuckDb.name(column), DuckDb.name(of)));
        }
        if let ([column], [(_, field)]) = (rule.columns.as_slice(), pairs.as_slice())
            && self.is_generic(column)
            && jinja(field) == *field
        {
            let arguments = json!({ "to": format!("ref('{}')", parent.model), "field": field });
            return Ok(self.generic(column, "relationships", Some(arguments)));
        }
        let present: Vec<String> = pairs.iter().map(|(column, _)| format!("{column} is not null")).collect();
        let same: Vec<String> = pairs.iter().map(|(a, b)| format!("parent.{b} = child.{a}")).collect();
        let found =
            format!("exists (select 1 from {} as parent where {})", parent.reference(), jinja(&same.join(" and ")));
        let child = format!("(select * {}) as child", self.from(Some(&present.join(" and "))));
        let sql = match allowed(self.check) {
            Some(Amount::Percent(share)) => format!(
                "select count(*) filter (where not found) as broken, count(*) as of_rows\n\
                 from (select {found} as found from {child})\n\
                 having count(*) filter (where not found) * 100.0 > {} * count(*)",
                share.0
            ),
            _ => format!("select *\nfrom {child}\nwhere not {found}"),
        };
        Ok(Test::Alone(self.with_config(&sql)))
    }
}

/// The other table that a check looks at, if the project has a model of it.
///
/// # Errors
/// A sentence, if it has none.
pub(super) fn other<'t>(name: &str, place: Place, tables: &'t [Staged<'t>]) -> Result<&'t Staged<'t>, String> {
    match place {
        Place::Pipeline => {
            let found = tables.iter().find(|t| t.plan.to.as_str() == name);
            found.ok_or_else(|| format!("the project has no model of `{name}`"))
        }
        Place::Source => Err(format!("`{name}` is in the source, which dbt does not see")),
        Place::Target => Err(format!("`{name}` is loaded by somebody else, so the project has no model of it")),
    }
}
