//! The checks of a table.

use arrow::datatypes::SchemaRef;
use transload_core::{Problem, Span};
use transload_quality::Check;

use crate::build::Table;
use crate::checks::View;
use crate::expr::Expressions;
use crate::plan::ColumnPlan;

impl Table<'_> {
    /// The checks that are about columns of this table. One that only a default makes waits for tables that have its
    /// columns.
    pub(super) fn checks(&mut self, cast: &SchemaRef, expressions: &Expressions, columns: &[ColumnPlan]) -> Vec<Check> {
        let input = self.input;
        if input.spec.settings.checks.is_none() {
            return Vec::new();
        }
        // What is wrong with a derived column has been said.
        let Ok(view) = View::new(cast, expressions, columns) else { return Vec::new() };
        let mut checks = Vec::new();
        for entry in input.spec.settings.checks.iter().flat_map(|c| &c.value) {
            let own = input.spec.own_checks.contains(&entry.span);
            for check in transload_quality::read(&entry.value.0.kind, &entry.value.0.options, self.problems) {
                let names = view.names();
                let missing: Vec<_> = check.columns().into_iter().filter(|c| !names.contains(&c.as_str())).collect();
                for column in missing.iter().filter(|_| own) {
                    self.no_such_column(column, column.span, &names);
                }
                if missing.is_empty() && self.check_fits(&view, &check, entry.span) {
                    checks.push(check);
                }
            }
        }
        checks
    }

    /// Adds the rules that a merge by a key cannot do without, as far as others do not say the same.
    pub(super) fn guard_key(
        &mut self,
        cast: &SchemaRef,
        expressions: &Expressions,
        columns: &[ColumnPlan],
        key: &[String],
        checks: &mut Vec<Check>,
    ) {
        let span = self.input.spec.settings.key.as_ref().map_or(self.input.spec.from.span, |key| key.span);
        // What is wrong with a derived column or the key itself has been said.
        let Ok(view) = View::new(cast, expressions, columns) else { return };
        let names = view.names();
        if key.is_empty() || !key.iter().all(|column| names.contains(&column.as_str())) {
            return;
        }
        match Check::guards(key) {
            Err(error) => self.problems.push(Problem::new(span, error.to_string())),
            Ok(guards) => {
                for guard in guards {
                    if checks.iter().any(|check| check.does_for(&guard, key)) {
                        continue;
                    }
                    match view.pass(std::slice::from_ref(&guard), 0) {
                        Ok(_) => checks.push(guard),
                        Err(wrong) => {
                            self.problems.extend(wrong.into_iter().map(|(_, reason)| Problem::new(span, reason)));
                        }
                    }
                }
            }
        }
    }

    fn check_fits(&mut self, view: &View, check: &Check, place: Span) -> bool {
        let before = self.problems.len();
        for sql in check.expressions() {
            if let Err(reason) = view.reads_sql(&sql) {
                self.problems.push(Problem::new(sql.span, reason));
            }
        }
        if self.problems.len() > before {
            return false;
        }
        let Err(wrong) = view.pass(std::slice::from_ref(check), 0) else { return true };
        let column = check.columns().first().map(|c| c.span);
        let expression = check.expressions().first().map(|sql| sql.span);
        let span = column.or(expression).unwrap_or(place);
        self.problems.extend(wrong.into_iter().map(|(_, reason)| Problem::new(span, reason)));
        false
    }
}
