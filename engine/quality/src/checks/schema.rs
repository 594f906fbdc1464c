//! # `schema` (Q018)
//!
//! **What it checks.** The target has these columns with these types, and no others; with `ordered: true` in this
//! order. `others: true` lets others be there too. Columns that the load itself adds do not count.
//!
//! **Why it matters.** A column that appears, goes or changes its type at the source breaks whoever reads the target.
//!
//! **Example.** `schema: { columns: { id: int64, amount: "decimal(12,2)" } }`
//!
//! **Cost.** None: no row is looked at.

use serde_json::Value as Json;
use transload_core::decode::Entries;
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Problem, Result, Span};

use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work};
use crate::policy::Policy;

settings! {
    /// The columns are these.
    pub struct TableSchema {
        /// Names and types.
        pub columns: Entries<LogicalType>,
        /// Whether they have to be in this order. Default: false.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ordered: Option<bool>,
        /// Whether there may be others. Default: false.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub others: Option<bool>,
    }
}

impl TableSchema {
    /// How the columns differ, one sentence each.
    fn differences(&self, found: &[(&str, &LogicalType)]) -> Vec<String> {
        let mut said = Vec::new();
        for (name, ty) in &self.columns.0 {
            match found.iter().find(|(n, _)| *n == name.value) {
                None => said.push(format!("`{}` is missing", name.value)),
                Some((_, is)) if *is != ty => said.push(format!("`{}` is {is}", name.value)),
                Some(_) => {}
            }
        }
        if self.others != Some(true) {
            let others = found.iter().filter(|(n, _)| self.columns.get(n).is_none());
            said.extend(others.map(|(name, _)| format!("`{name}` is there too")));
        }
        if said.is_empty() && self.ordered == Some(true) {
            let is = found.iter().map(|(n, _)| *n).filter(|n| self.columns.get(n).is_some());
            if is.ne(self.columns.0.iter().map(|(n, _)| n.value.as_str())) {
                said.push("they are in another order".to_string());
            }
        }
        said
    }
}

impl Definition for TableSchema {
    fn code(&self) -> &'static str {
        "Q018"
    }

    fn kind(&self) -> &'static str {
        "schema"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        Vec::new()
    }

    fn scope(&self) -> Scope {
        Scope::Table
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        if self.columns.0.is_empty() {
            problems.push(Problem::new(place, "`schema` names no columns").hint("name them, each with its type"));
        }
        if let Some(filter) = &self.filter {
            let problem = Problem::new(filter.span, "`schema` looks at no rows, so `where` does nothing");
            problems.push(problem.hint("remove it"));
        }
    }

    fn expected(&self) -> String {
        let columns: Vec<String> = self.columns.0.iter().map(|(name, ty)| format!("{} {ty}", name.value)).collect();
        let order = if self.ordered == Some(true) { ", in this order" } else { "" };
        let others = if self.others == Some(true) { ", and perhaps others" } else { "" };
        format!("the columns {}{order}{others}", columns.join(", "))
    }

    fn remedy(&self) -> &'static str {
        "agree on the change with whoever reads the target, or undo it with `cast`, `rename` and `drop`"
    }

    fn work(&self, _: &Setting<'_>) -> Result<Work, String> {
        Ok(Work::Nothing)
    }

    fn judge(&self, _: &[Json], facts: &Facts<'_>) -> Result<Ruling> {
        let said = self.differences(&facts.columns);
        let found = match said.is_empty() {
            true => format!("{} columns", facts.columns.len()),
            false => said.join(", "),
        };
        Ok(Ruling { holds: said.is_empty(), found, broken: None })
    }
}

#[cfg(test)]
mod tests {
    use transload_core::LogicalType;

    use crate::check::{Check, Rule};

    fn said(rule: &str, found: &[(&str, &str)]) -> Vec<String> {
        let Rule::Schema(rule) = serde_json::from_str(rule).unwrap() else { panic!("{rule}") };
        assert_eq!(Check::new(Rule::Schema(rule.clone())).unwrap().code, "Q018");
        let types: Vec<LogicalType> = found.iter().map(|(_, t)| t.parse().unwrap()).collect();
        let found: Vec<(&str, &LogicalType)> = found.iter().map(|(n, _)| *n).zip(&types).collect();
        rule.differences(&found)
    }

    #[test]
    fn columns_types_and_order_are_compared() {
        let rule = r#"{"schema":{"columns":{"a":"int64","b":"text"}}}"#;
        let none: Vec<String> = Vec::new();
        assert_eq!(said(rule, &[("b", "text"), ("a", "int64")]), none);
        assert_eq!(said(rule, &[("a", "int32")]), ["`a` is int32", "`b` is missing"]);
        assert_eq!(said(rule, &[("a", "int64"), ("b", "text"), ("c", "text")]), ["`c` is there too"]);
        let ordered = r#"{"schema":{"columns":{"a":"int64","b":"text"},"ordered":true,"others":true}}"#;
        assert_eq!(said(ordered, &[("c", "text"), ("a", "int64"), ("b", "text")]), none);
        assert_eq!(said(ordered, &[("b", "text"), ("a", "int64")]), ["they are in another order"]);
    }
}
