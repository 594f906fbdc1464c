//! The columns that rules can name, and what each of them is.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use transload_core::LogicalType;
use transload_core::connector::HIDDEN_PREFIX;
use transload_plan::{ColumnPlan, Expressions, Origin, SourceColumn, TablePlan};

use crate::dialect::Dialect;
use crate::sql::Sql;

/// The columns that rules of a table can name, each as an expression over those that are there.
pub(crate) struct View {
    /// Reads expressions over the names.
    seen: Expressions,
    /// The columns that are there.
    there: Expressions,
    columns: Vec<(String, Expr)>,
    /// Columns that cannot be named, and why.
    hidden: Vec<(String, String)>,
}

impl View {
    /// What rules see of the rows on their way: the target's columns before masks, and those of the source whose names are not
    /// taken; over the source's columns after their casts.
    ///
    /// # Errors
    /// A sentence, if a derived column cannot be read.
    pub(crate) fn of_source(table: &TablePlan) -> Result<Self, String> {
        let source = source_fields(table);
        let there = Expressions::new(&Arc::new(Schema::new(source)))?;
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for column in &table.columns {
            let (expr, ty) = match &column.origin {
                Origin::Source(name) => (named(name), cast_type(table, name)),
                Origin::Derived(sql) => (there.logical(sql)?, Some(column.ty.clone())),
                Origin::Metadata(_) | Origin::Gone => continue,
            };
            if let Some(ty) = ty {
                fields.push(ty.to_field(&column.name, true));
                columns.push((column.name.clone(), expr));
            }
        }
        for column in source_values(table) {
            let taken = table.columns.iter().any(|c| c.name == column.name);
            if let Some(ty) = cast_type(table, &column.name).filter(|_| !taken) {
                fields.push(ty.to_field(&column.name, true));
                columns.push((column.name.clone(), named(&column.name)));
            }
        }
        Ok(Self { seen: Expressions::new(&Arc::new(Schema::new(fields)))?, there, columns, hidden: Vec::new() })
    }

    /// What rules see of a table that was written: its columns, but for those that are masked or that DuckDB cannot hold.
    ///
    /// # Errors
    /// A sentence, if two columns have one name.
    pub(crate) fn of_target(table: &TablePlan) -> Result<Self, String> {
        let (mut columns, mut fields, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        let mut there = Vec::new();
        for column in &table.columns {
            let name = &column.name;
            if column.mask.is_some() {
                hidden.push((name.clone(), format!("`{name}` is masked in the target")));
            } else if let Err(reason) = Dialect::DuckDb.type_name(&column.ty) {
                hidden.push((name.clone(), format!("`{name}` is left out: {reason}")));
            } else {
                there.push(column.ty.to_field(name, true));
                columns.push((name.clone(), named(name)));
            }
            // A mask comes last: rules see what was there before.
            let ty = match &column.origin {
                Origin::Source(from) => cast_type(table, from),
                _ => None,
            };
            fields.push(ty.as_ref().unwrap_or(&column.ty).to_field(name, true));
        }
        for column in source_values(table).filter(|c| table.columns.iter().all(|t| t.name != c.name)) {
            hidden.push((column.name.clone(), format!("the target does not have `{}`", column.name)));
            fields.push(column.ty.to_field(&column.name, true));
        }
        let expressions = |fields: Vec<Field>| Expressions::new(&Arc::new(Schema::new(fields)));
        Ok(Self { seen: expressions(fields)?, there: expressions(there)?, columns, hidden })
    }

    /// Writes SQL over the columns that are there.
    pub(crate) fn sql(&self, dialect: Dialect) -> Sql<'_> {
        Sql { dialect, schema: self.there.schema() }
    }

    /// A column by the name that a rule has for it.
    ///
    /// # Errors
    /// A sentence, if it cannot be named.
    pub(crate) fn column(&self, name: &str) -> Result<&Expr, String> {
        match self.columns.iter().find(|(known, _)| known == name) {
            Some((_, expr)) => Ok(expr),
            None => Err(self.missing(name)),
        }
    }

    /// An expression of a rule, over the columns that are there.
    ///
    /// # Errors
    /// A sentence, if it cannot be read, or names a column that cannot be named.
    pub(crate) fn read(&self, sql: &str) -> Result<Expr, String> {
        let expr = self.seen.logical(sql)?;
        let is_read = |name: &str| expr.column_refs().iter().any(|column| column.name == name);
        if let Some((_, reason)) = self.hidden.iter().find(|(name, _)| is_read(name)) {
            return Err(reason.clone());
        }
        let placed = expr.transform_up(|e| {
            let there = match &e {
                Expr::Column(column) => self.columns.iter().find(|(name, _)| *name == column.name),
                _ => None,
            };
            Ok(match there {
                Some((_, there)) => Transformed::yes(there.clone()),
                None => Transformed::no(e),
            })
        });
        placed.map(|placed| placed.data).map_err(|e| e.strip_backtrace())
    }

    fn missing(&self, name: &str) -> String {
        let hidden = self.hidden.iter().find(|(hidden, _)| hidden == name);
        hidden.map_or_else(|| format!("there is no column `{name}`"), |(_, reason)| reason.clone())
    }
}

/// A column by its name, whatever characters that has.
pub(crate) fn named(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The columns of a table's source that hold values of its rows.
pub(crate) fn source_values(table: &TablePlan) -> impl Iterator<Item = &SourceColumn> {
    table.source_columns.iter().filter(|c| !c.name.starts_with(HIDDEN_PREFIX))
}

/// The source's columns after their casts: what the expressions of a table see.
pub(crate) fn source_fields(table: &TablePlan) -> Vec<Field> {
    let field = |column: &SourceColumn| {
        let ty = cast_type(table, &column.name)?;
        Some(ty.to_field(&column.name, column.nullable || cast_of(table, &column.name).is_some()))
    };
    source_values(table).filter_map(field).collect()
}

fn cast_type(table: &TablePlan, name: &str) -> Option<LogicalType> {
    let cast = cast_of(table, name).and_then(|c| c.cast.as_ref()).map(|cast| cast.to.clone());
    cast.or_else(|| table.source_columns.iter().find(|c| c.name == name).map(|c| c.ty.clone()))
}

/// The target's column that is a cast of a column of the source.
pub(crate) fn cast_of<'t>(table: &'t TablePlan, name: &str) -> Option<&'t ColumnPlan> {
    table.columns.iter().find(|c| matches!(&c.origin, Origin::Source(from) if from == name) && c.cast.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    #[test]
    fn rules_see_columns_before_masks_and_those_that_are_dropped() {
        let table = table();
        let view = View::of_source(&table).unwrap();
        let sql = view.sql(Dialect::Spark);
        let said = |text: &str| sql.text(&view.read(text).unwrap()).unwrap();
        assert!(said("balance < 5").contains("`acctbal`"));
        assert_eq!(said("phone like '1%'"), "`phone` LIKE '1%' ESCAPE '\\\\'");
        assert_eq!(said("gone is null"), "`gone` IS NULL");
        assert!(said("year > 2000").contains("date_part('year', `placed`)"));
    }

    #[test]
    fn what_a_written_table_does_not_show_has_a_reason() {
        let view = View::of_target(&table()).unwrap();
        assert!(view.read("phone like '1%'").unwrap_err().contains("is masked"));
        assert!(view.column("gone").unwrap_err().contains("does not have `gone`"));
        assert!(view.column("huge").unwrap_err().contains("decimal(50,2)"));
        assert!(view.column("balance").is_ok() && view.read("year > 2000").is_ok());
    }
}
