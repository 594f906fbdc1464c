//! Rules that the rows of tables keep.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value as Json, json};
use transload_core::connector::{CatalogInfo, ForeignKeyInfo};
use transload_core::{Clock, LogicalType, Result, TableName};

use crate::draft::Known;
use crate::draft::columns::{ColumnDraft, arrives_as};

/// A rule that the rows keep.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CheckDraft {
    /// An entry of `checks`: its kind with its settings.
    pub(crate) check: Json,
    /// What leads to it.
    pub(crate) reason: String,
    /// Whether the pipeline says so.
    pub(crate) applied: bool,
}

/// All tables of a draft: some of their rules are about each other.
pub(super) struct Tables<'a> {
    pub(super) known: &'a [Known<'a>],
    /// Their names in the target.
    pub(super) to: &'a [TableName],
    pub(super) columns: &'a [Vec<ColumnDraft>],
}

/// Rules about columns of any type. Others say something of the type that a column has before it is cast.
const OF_ANY_TYPE: [&str; 3] = ["not_null", "completeness", "unique"];

impl Tables<'_> {
    /// What the database keeps, and what all rows that were looked at do.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if a value cannot be shown.
    pub(super) fn decide(&self, at: usize) -> Result<Vec<CheckDraft>> {
        let table = &self.known[at];
        let mut checks = Vec::new();
        if let Some(catalog) = &table.info.catalog {
            let filled = filled(table);
            if !filled.is_empty() {
                let check = json!({ "not_null": { "columns": filled } });
                checks.push(CheckDraft { check, reason: "the source keeps NULL out".to_string(), applied: true });
            }
            checks.extend(catalog.foreign_keys.iter().filter_map(|key| self.foreign_key(at, key)));
        }
        checks.extend(self.suggested(at)?);
        Ok(checks)
    }

    /// A foreign key, as a rule within the load if the other table is loaded, too.
    fn foreign_key(&self, at: usize, key: &ForeignKeyInfo) -> Option<CheckDraft> {
        let name = &key.name;
        let rule = |references: Json| json!({ "foreign_key": { "columns": key.columns, "references": references } });
        let Some(other) = self.known.iter().position(|table| table.info.name == key.to) else {
            let check = rule(json!({ "table": key.to, "columns": key.to_columns, "in": "source" }));
            let reason = format!("the foreign key {name} leads to a table that is not in this pipeline");
            return Some(CheckDraft { check, reason, applied: false });
        };
        let (own, theirs) = (self.arrive(at, &key.columns)?, self.arrive(other, &key.to_columns)?);
        let fits = own.len() == theirs.len() && own.iter().zip(&theirs).all(|(own, theirs)| is_comparable(own, theirs));
        let check = rule(json!({ "table": self.to[other], "columns": key.to_columns }));
        fits.then(|| CheckDraft { check, reason: format!("the foreign key {name} of the source"), applied: true })
    }

    /// The types that columns of a table arrive as; none if it lacks one.
    fn arrive(&self, at: usize, columns: &[String]) -> Option<Vec<&LogicalType>> {
        let of = |name: &String| {
            let (_, ty, _) = self.known[at].info.columns.iter().find(|(column, ..)| column == name)?;
            Some(arrives_as(&self.columns[at], name, ty))
        };
        columns.iter().map(of).collect()
    }

    /// What all rows do that were looked at. A sample shows what may be a rule; breaking it is worth a word, and no more.
    fn suggested(&self, at: usize) -> Result<Vec<CheckDraft>> {
        let table = &self.known[at];
        let Some(seen) = &table.seen else { return Ok(Vec::new()) };
        let mut checks = Vec::new();
        for suggestion in seen.profiler.suggest(Clock::system().now().timestamp_micros())? {
            let (kind, mut settings) = suggestion.entry()?;
            if is_kept(table, &kind, &settings) || !self.survives(at, &kind, &settings) {
                continue;
            }
            let mut reason = suggestion.why;
            if let (Some(_), Some(settings)) = (seen.sampled, settings.as_object_mut()) {
                settings.insert("severity".to_string(), json!("warn"));
                reason.push_str(", in a sample");
            }
            checks.push(CheckDraft { check: json!({ kind: settings }), reason, applied: true });
        }
        Ok(checks)
    }

    /// Whether a rule still says the same once its columns are cast.
    fn survives(&self, at: usize, kind: &str, settings: &Json) -> bool {
        let is_cast = |name: &str| {
            let column = self.columns[at].iter().find(|column| column.name == name);
            column.and_then(|column| column.cast.as_ref()).is_some_and(|cast| cast.applied)
        };
        OF_ANY_TYPE.contains(&kind) || !named(settings).into_iter().any(is_cast)
    }
}

/// The columns that the database lets have no NULL.
fn filled<'a>(table: &Known<'a>) -> Vec<&'a str> {
    table.info.columns.iter().filter(|(_, _, nullable)| !nullable).map(|(name, ..)| name.as_str()).collect()
}

/// Whether the database keeps a rule itself.
fn is_kept(table: &Known<'_>, kind: &str, settings: &Json) -> bool {
    let Some(catalog) = &table.info.catalog else { return false };
    let columns = named(settings);
    match kind {
        "not_null" => columns.iter().all(|column| filled(table).contains(column)),
        "unique" => is_unique(catalog, &columns),
        _ => false,
    }
}

fn is_unique(catalog: &CatalogInfo, columns: &[&str]) -> bool {
    let is = |key: &Vec<String>| key.iter().map(String::as_str).eq(columns.iter().copied());
    is(&catalog.primary_key) || catalog.unique.iter().any(is)
}

/// The columns that the settings of a rule name.
fn named(settings: &Json) -> Vec<&str> {
    let several = settings["columns"].as_array().into_iter().flatten();
    several.chain([&settings["column"]]).filter_map(Json::as_str).collect()
}

/// Whether keys of two types can be held against each other, exactly.
fn is_comparable(a: &LogicalType, b: &LogicalType) -> bool {
    use LogicalType as T;
    let has_no_order = matches!(a, T::Float(_) | T::Interval | T::Json | T::List(_) | T::Struct(_) | T::Map(..));
    (a == b && !has_no_order) || matches!((a, b), (T::Int(_), T::Int(_)))
}

#[cfg(test)]
mod tests {
    use transload_core::connector::TableInfo;

    use super::*;
    use crate::draft::columns;
    use crate::draft::testing::{Drafted, described, found, known, table};
    use crate::found::Found;

    /// The checks of the first of some tables: as they stand in the pipeline, those as comments with a `#`.
    fn checks(target: &str, tables: &[Found]) -> Vec<String> {
        let drafted = Drafted::new("tpch", target);
        let known: Vec<Known<'_>> = tables.iter().map(known).collect();
        let columns: Vec<Vec<ColumnDraft>> = known.iter().map(|t| columns::decide(t, &drafted.ends())).collect();
        let to: Vec<TableName> = known.iter().map(|t| TableName::new(t.info.name.as_str().replace('.', "/"))).collect();
        let all = Tables { known: &known, to: &to, columns: &columns };
        let shown = |c: CheckDraft| format!("{}{}", if c.applied { "" } else { "# " }, c.check);
        all.decide(0).unwrap().into_iter().map(shown).collect()
    }

    fn referring(to: &str, column: &str) -> TableInfo {
        let mut info = table("public.orders");
        info.columns.push((column.to_string(), LogicalType::Int(32), true));
        info.catalog.as_mut().unwrap().foreign_keys = vec![ForeignKeyInfo {
            name: "orders_fk".to_string(),
            columns: vec![column.to_string()],
            to: TableName::new(to),
            to_columns: vec!["id".to_string()],
        }];
        info
    }

    #[test]
    fn what_the_database_keeps_is_checked_on_the_way() {
        let customers = || found(table("public.customers"), None);
        let orders = found(referring("public.customers", "customer_id"), None);
        assert_eq!(
            checks("lake", &[orders, customers()]),
            [
                r#"{"not_null":{"columns":["id"]}}"#,
                r#"{"foreign_key":{"columns":["customer_id"],"references":{"table":"public/customers","columns":["id"]}}}"#,
            ]
        );
        let orders = found(referring("sales.gone", "customer_id"), None);
        assert_eq!(
            checks("lake", &[orders, customers()])[1],
            r##"# {"foreign_key":{"columns":["customer_id"],"references":{"table":"sales.gone","columns":["id"],"in":"source"}}}"##
        );
        // What nobody can compare is no rule.
        let mut texts = table("public.customers");
        texts.columns[0].1 = LogicalType::Text;
        let orders = found(referring("public.customers", "customer_id"), None);
        assert_eq!(checks("lake", &[orders, found(texts, None)]).len(), 1);
    }

    #[test]
    fn what_the_database_keeps_is_not_concluded_again_and_a_sample_only_warns() {
        let keyed = || {
            let mut info = table("public.t");
            info.columns.push(("due".to_string(), LogicalType::Date, true));
            info.catalog.as_mut().unwrap().primary_key = vec!["id".to_string()];
            info
        };
        assert_eq!(
            checks("lake", &[found(keyed(), Some(None))]),
            [
                r#"{"not_null":{"columns":["id"]}}"#,
                r#"{"not_null":{"columns":["due"]}}"#,
                r#"{"unique":{"columns":["due"]}}"#,
                r#"{"not_in_future":{"columns":["due"]}}"#,
            ]
        );
        let sampled = checks("lake", &[found(keyed(), Some(Some(5)))]);
        assert_eq!(sampled[0], r#"{"not_null":{"columns":["id"]}}"#);
        assert!(sampled[1..].iter().all(|check| check.contains(r#""severity":"warn""#)), "{sampled:?}");
        assert_eq!(sampled.len(), 4);
    }

    #[test]
    fn a_rule_about_texts_is_none_about_the_numbers_that_they_become() {
        let with = |source_type: &str| {
            let mut info = table("public.t");
            described(&mut info, "amount", "text", source_type, None);
            checks("lake", &[found(info, Some(None))])
        };
        let kinds =
            |checks: &[String]| checks.iter().map(|c| c.split('"').nth(1).unwrap().to_string()).collect::<Vec<_>>();
        assert_eq!(kinds(&with("text")), ["not_null", "unique", "not_null", "unique", "length"]);
        assert_eq!(kinds(&with("numeric")), ["not_null", "unique", "not_null", "unique"]);
    }
}
