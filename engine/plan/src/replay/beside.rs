//! What the rules of a replay look at beside the rows that are read again: the rows that are in the target already, and
//! other tables. And the rules of which these rows are too few to say anything.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use transload_coerce::{MaskKind, Rulebook};
use transload_core::connector::WriteMode;
use transload_core::tree::Spanned;
use transload_core::{Error, ErrorKind, Result};
use transload_quality::{Check, InReplay, Look, Other, Place};

use crate::build::plan_table;
use crate::checks::View;
use crate::others::{Comparable, OtherInput, by_now, named_columns, view};
use crate::plan::{Limit, Origin, Reference, TablePlan};

/// A table that rules of a replay look at, as it is now.
pub struct Beside {
    reference: Reference,
    /// Its columns as they are read.
    schema: SchemaRef,
    /// Those that hold masked values.
    masked: Vec<String>,
}

impl Beside {
    /// Plans how a table is read that [`looks_at`] names. `masked` are its columns that hold masked values.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if it is not there or cannot be read.
    pub fn new(input: OtherInput, masked: Vec<String>, rulebook: &Rulebook) -> Result<Self> {
        let OtherInput { place, table, found } = input;
        let refused = |why: String| {
            let hint = "a replay looks for tables of the pipeline in the target: load it first, or amend the rule";
            Error::config(format!("`{table}` cannot be looked at: {why}")).hint(hint)
        };
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::Config => refused(error.chain().join(": ")),
            _ => error,
        })?;
        let mut problems = Vec::new();
        let Some(read) = plan_table(&found, rulebook, &mut problems) else {
            return Err(refused(problems.into_iter().map(|p| p.message).collect::<Vec<_>>().join("; ")));
        };
        Ok(Self { reference: Reference { place, read }, schema: found.source.schema(), masked })
    }

    pub(super) fn into_reference(self) -> Reference {
        self.reference
    }
}

/// The tables that a replay by these rules looks at, each once: for keys the target's own, and those that checks name.
///
/// # Errors
/// [`Internal`](ErrorKind::Internal) if a rule cannot be written as JSON.
pub fn looks_at(rules: &[TablePlan]) -> Result<Vec<(Place, Spanned<String>)>> {
    let mut found: Vec<(Place, Spanned<String>)> = Vec::new();
    for table in rules {
        for check in carried(table)?.0 {
            let own = (check.look() == Some(Look::Repeats))
                .then(|| (Place::Target, Spanned::nowhere(table.to.as_str().to_string())));
            let other = check.other().map(|other| (by_now(other.place), other.table.clone()));
            for wanted in own.into_iter().chain(other) {
                if !found.contains(&wanted) {
                    found.push(wanted);
                }
            }
        }
    }
    Ok(found)
}

/// Whether a check of these tables looks at a table.
pub(super) fn is_needed(reference: &Reference, tables: &[TablePlan]) -> bool {
    let by = |table: &TablePlan, check: &Check| {
        let own = table.looks_into_target(check) && reference.stands_for(Place::Target, table.to.as_str());
        own || check.other().is_some_and(|o| reference.stands_for(by_now(o.place), &o.table.value))
    };
    tables.iter().any(|table| table.checks.iter().any(|check| by(table, check)))
}

/// The rules of a table in the form in which a replay judges them, and those that it cannot judge, whatever is beside it.
fn carried(rules: &TablePlan) -> Result<(Vec<Check>, Vec<Limit>)> {
    let (mut checks, mut limits) = (Vec::new(), Vec::new());
    // What the run could not judge counts as well, if it was a replay or a backfill itself.
    let before = rules.limits().filter(|l| !l.in_part).map(|l| &l.check);
    for check in rules.checks.iter().chain(before) {
        match check.in_replay()? {
            InReplay::Judged(check) => checks.push(*check),
            InReplay::NotJudged(why) => limits.push(Limit { check: check.clone(), in_part: false, why }),
        }
    }
    // A table to which all rows are added each time may hold a key as often: only a rule of its own keeps them apart.
    let is_held_once = rules.write != WriteMode::Append || rules.incremental.is_some();
    if is_held_once && !rules.key.is_empty() && !checks.iter().any(|check| check.is_of_key(&rules.key)) {
        checks.push(Check::of_key(&rules.key)?);
    }
    Ok((checks, limits))
}

/// The rules of a table as a replay judges them, and those that it cannot judge or not in full. `source` has the columns of
/// the rows that are read again.
pub(super) fn judged(
    rules: &TablePlan,
    source: &SchemaRef,
    beside: &[Beside],
    rulebook: &Rulebook,
) -> Result<(Vec<Check>, Vec<Limit>)> {
    let (candidates, mut limits) = carried(rules)?;
    let own = view(rules, source).ok_or_else(|| Error::internal("the columns of a quarantine cannot be seen"))?;
    let rows = Rows { rules, own: &own, rulebook };
    let find = |place: Place, table: &str| {
        let found = beside.iter().find(|b| b.reference.stands_for(place, table));
        found.ok_or_else(|| Error::internal("a table that a rule looks at was not looked for"))
    };
    let mut checks = Vec::with_capacity(candidates.len());
    for check in candidates {
        if let Some(other) = check.other() {
            let found = find(by_now(other.place), &other.table.value)?;
            if let Err(why) = rows.fit(&check, &other, found) {
                // The columns of a table of the pipeline need not be in the target, nor be there as they were.
                if other.place != Place::Pipeline {
                    return Err(Error::config(why).with("check", check.title()).with("table", rules.to.as_str()));
                }
                limits.push(Limit { check: check.clone(), in_part: false, why });
                continue;
            }
        } else if check.look() == Some(Look::Repeats) {
            if let Err(why) = named_columns(&own, &check) {
                limits.push(Limit { check, in_part: false, why });
                continue;
            }
            let found = find(Place::Target, rules.to.as_str())?;
            if let Err(why) = rows.meet(&check, found) {
                limits.push(Limit { check: check.clone(), in_part: true, why });
            }
        }
        checks.push(check);
    }
    Ok((checks, limits))
}

/// The rows that are read again, as checks see them.
struct Rows<'a> {
    rules: &'a TablePlan,
    own: &'a View,
    rulebook: &'a Rulebook,
}

impl Rows<'_> {
    /// Whether a rule can be held against another table.
    ///
    /// # Errors
    /// A sentence that says why not.
    fn fit(&self, check: &Check, other: &Other<'_>, found: &Beside) -> Result<(), String> {
        let table = other.table.value.as_str();
        let theirs = view(&found.reference.read, &found.schema).ok_or("its columns cannot be seen")?;
        let names = theirs.names();
        for column in other.check.columns() {
            if !names.contains(&column.as_str()) {
                return Err(format!("`{table}` has no column `{}` in the {}", column.value, found.reference.place));
            }
            if found.masked.contains(&column.value) {
                return Err(format!("the target holds `{}` of `{table}` masked", column.value));
            }
        }
        let own = named_columns(self.own, check)?;
        let theirs = named_columns(&theirs, &other.check)?;
        Comparable::new(&own, &[Arc::new(theirs)], self.rulebook).map(drop)
    }

    /// Whether a rule about keys can be held against the rows that are in the target.
    ///
    /// # Errors
    /// A sentence that says why not.
    fn meet(&self, check: &Check, target: &Beside) -> Result<(), String> {
        let kept = |name: &str| {
            let column = self.rules.columns.iter().find(|c| c.name == name);
            let column = column.filter(|c| !matches!(c.origin, Origin::Metadata(_)));
            column.map(|c| c.mask).ok_or_else(|| format!("the target does not hold `{name}`"))
        };
        let masked = |name: &str| Err(format!("the target holds `{name}` masked"));
        for column in check.columns() {
            // Other masks make values alike.
            if !matches!(kept(column)?, None | Some(MaskKind::Hash)) {
                return masked(column);
            }
        }
        if let Some(condition) = &check.policy().filter {
            for name in self.own.read_by(condition)? {
                if kept(&name)?.is_some() {
                    return masked(&name);
                }
            }
        }
        let theirs = view(&target.reference.read, &target.schema).ok_or("the target's columns cannot be seen")?;
        let hidden = |field: &Arc<Field>| match kept(field.name()) {
            Ok(Some(_)) => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
            _ => Arc::clone(field),
        };
        let own = named_columns(self.own, check)?;
        let own = Schema::new(own.fields().iter().map(hidden).collect::<Fields>());
        let theirs = named_columns(&theirs, check)?;
        Comparable::new(&own, &[Arc::new(theirs)], self.rulebook).map(drop)
    }
}
