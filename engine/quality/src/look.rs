//! What rules need beyond the rows that pass by: a second look at them once all are staged, or a look at another table.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transload_core::finding::CheckTally;
use transload_core::tree::Spanned;

use crate::check::{Check, Rule};

/// What a rule needs to see once all rows are staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// How many rows have the same values in its columns as another one.
    Repeats,
    /// Which rows have values in its columns that no row of another table has.
    Missing,
    /// How many rows another table has.
    Rows,
}

/// Where another table is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Among the tables of the pipeline: its rows as they go to the target.
    #[default]
    Pipeline,
    /// In the source.
    Source,
    /// In the target, as it is before the load.
    Target,
}

impl Place {
    /// Whether it need not be said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipeline => "pipeline",
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Names a table for a person: those of the pipeline by their name alone.
pub(crate) fn named(table: &str, place: Place) -> String {
    match place {
        Place::Pipeline => table.to_string(),
        Place::Source | Place::Target => format!("{table} of the {place}"),
    }
}

/// What a rule says about another table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Beside<'a> {
    pub(crate) place: Place,
    pub(crate) table: &'a Spanned<String>,
    /// The rule from the other table's side, with the columns there.
    pub(crate) rule: Rule,
}

/// The other table that a check looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Other<'a> {
    /// Where it is.
    pub place: Place,
    /// Its name there.
    pub table: &'a Spanned<String>,
    /// The check from its side: it names the columns there, and is about all rows.
    pub check: Check,
}

/// What a second look saw for one check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Rows that have values in the columns of the check; for [`Look::Rows`] all of the other table.
    pub rows: u64,
    /// How many of them repeat another one, or have values that the other table does not have.
    pub broken: u64,
    /// How values that are missing are built, each with the number of rows.
    pub shapes: Vec<(String, u64)>,
    /// Some of the values themselves.
    pub values: Vec<String>,
}

/// What remains of a second look in a tally, for the rule to judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Looked {
    pub(crate) rows: u64,
    pub(crate) broken: u64,
}

impl Seen {
    /// The same as the tally of a check, to be judged beside those of the units.
    pub fn tally(self, check: &Check) -> CheckTally {
        let state = serde_json::json!(Looked { rows: self.rows, broken: self.broken });
        CheckTally {
            nanos: None,
            fingerprint: check.fingerprint.clone(),
            evaluated: if check.look() == Some(Look::Rows) { 0 } else { self.rows },
            failed: 0,
            shapes: self.shapes,
            values: self.values,
            state,
        }
    }
}
