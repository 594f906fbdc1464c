//! One file for each kind of check: what it checks, why it matters, an example, what it costs.
//!
//! | family | checks |
//! | --- | --- |
//! | schema | schema, not_null, not_empty, length, format, completeness |
//! | business | accepted_values, range, pattern, expression, row_count, aggregate, drift |
//! | referential | unique, foreign_key; row_count beside another table |
//! | temporal | not_in_future, monotonic, freshness, no_gaps |
//!
//! NULL breaks no rule but `not_null` and `completeness`: whether a value may be missing is a question of its own.

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Field, Schema};
use serde_json::Value as Json;
use transload_core::tree::Spanned;
use transload_core::{Error, LogicalType, Problem, Result, Span};

use crate::bounds::Finder;
use crate::check::Before;
use crate::look::{Beside, Look, Looked};
use crate::pass::Compile;
use crate::policy::Policy;
use crate::tally::Counter;
use crate::values::wrong_type;

/// Defines the settings of a check: its own, and those that every check has.
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
            /// How bad it is if the rule is broken. Default: error.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub severity: Option<transload_core::tree::Spanned<transload_core::finding::Severity>>,
            /// What happens then. Default: `stop` for errors, `log` for anything less.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub action: Option<transload_core::tree::Spanned<transload_core::finding::Action>>,
            /// How many rows may break the rule, as a number or a percentage. Default: none.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub threshold: Option<transload_core::tree::Spanned<$crate::policy::Amount>>,
            /// An SQL condition; the rule is about rows for which it is true. Default: all rows.
            #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
            pub filter: Option<transload_core::tree::Spanned<String>>,
        }

        impl $name {
            fn said(&self) -> $crate::policy::Policy {
                $crate::policy::Policy {
                    severity: self.severity.clone(),
                    action: self.action.clone(),
                    threshold: self.threshold.clone(),
                    filter: self.filter.clone(),
                }
            }
        }
    };
}

/// Adds to the settings that name several columns how they become one check for each.
macro_rules! each_column {
    ($name:ident) => {
        impl $name {
            pub(crate) fn each_column(self) -> impl Iterator<Item = Self> {
                let rest = Self { columns: Vec::new(), ..self };
                self.columns.into_iter().map(move |column| Self { columns: vec![column], ..rest.clone() })
            }
        }
    };
}

mod accepted_values;
mod aggregate;
mod completeness;
mod drift;
pub(crate) mod expression;
mod foreign_key;
mod format;
mod freshness;
mod length;
mod monotonic;
mod no_gaps;
mod not_empty;
mod not_in_future;
mod not_null;
mod pattern;
mod range;
mod row_count;
mod schema;
mod unique;

pub use accepted_values::AcceptedValues;
pub use aggregate::{Aggregate, Figure};
pub use completeness::Completeness;
pub use drift::{Drift, Measure};
pub use expression::Expression;
pub use foreign_key::{ForeignKey, References};
pub use format::{Form, Format};
pub use freshness::Freshness;
pub use length::Length;
pub use monotonic::{Direction, Monotonic};
pub use no_gaps::{NoGaps, Window};
pub use not_empty::NotEmpty;
pub use not_in_future::NotInFuture;
pub use not_null::NotNull;
pub use pattern::Pattern;
pub use range::Range;
pub use row_count::{RowCount, SameAs};
pub use schema::TableSchema;
pub use unique::Unique;

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every row by itself.
    Rows,
    /// Rows and those before them.
    Order,
    /// Rows and all others; needs a second look.
    Keys,
    /// The table as a whole.
    Table,
}

/// What every kind of check can say about itself.
pub(crate) trait Definition {
    /// Its stable code.
    fn code(&self) -> &'static str;

    /// The word for it in a pipeline.
    fn kind(&self) -> &'static str;

    fn policy(&self) -> Policy;

    /// The columns it names, in their order.
    fn columns(&self) -> Vec<&Spanned<String>>;

    /// The SQL it holds beside `where`.
    fn sql(&self) -> Option<Spanned<String>> {
        None
    }

    fn scope(&self) -> Scope {
        Scope::Rows
    }

    /// What it needs to see once all rows are staged.
    fn look(&self) -> Option<Look> {
        None
    }

    /// The other table that it looks at.
    fn beside(&self) -> Option<Beside<'_>> {
        None
    }

    /// Whether the way in which values break it is worth showing.
    fn has_shapes(&self) -> bool {
        true
    }

    /// What makes no sense, as far as can be told without the columns. `place` is where the kind stands.
    fn validate(&self, _place: Span, _problems: &mut Vec<Problem>) {}

    /// What it expects, in words.
    fn expected(&self) -> String;

    /// What a person can do if it is broken.
    fn remedy(&self) -> &'static str;

    /// Its executable form for columns of these types.
    ///
    /// # Errors
    /// A sentence that says why it cannot be checked on them.
    fn work(&self, setting: &Setting<'_>) -> Result<Work, String>;

    /// What the states of all units come to; only for rules whose work is to count.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if a state cannot be read.
    fn judge(&self, _states: &[Json], _facts: &Facts<'_>) -> Result<Ruling> {
        Ok(Ruling { holds: true, found: String::new(), broken: None })
    }

    /// The same for a rule that compares what was counted with what the last published run measured, if there is one.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if a state or the earlier figures cannot be read.
    fn judge_against(&self, states: &[Json], facts: &Facts<'_>, _: Option<&Before>) -> Result<Ruling> {
        self.judge(states, facts)
    }

    /// What a later run may compare itself with; null for rules that compare nothing.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if a state cannot be read.
    fn figures(&self, _: &[Json]) -> Result<Json> {
        Ok(Json::Null)
    }
}

/// What a rule about more than single rows comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ruling {
    pub(crate) holds: bool,
    /// What was found, in words.
    pub(crate) found: String,
    /// Rows that break it, for rules that count them.
    pub(crate) broken: Option<u64>,
}

/// What is known of a table when its checks are judged.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Start of the run, in µs since 1970 UTC.
    pub started_micros: i64,
    /// The columns of the target with their types, in order, without those the load itself adds.
    pub columns: Vec<(&'a str, &'a LogicalType)>,
}

/// What a check is made executable with.
pub(crate) struct Setting<'a> {
    /// The columns that checks see.
    pub(crate) schema: &'a Schema,
    /// Start of the run, in µs since 1970 UTC.
    pub(crate) started_micros: i64,
    /// Reads an SQL condition over the columns.
    pub(crate) compile: &'a Compile<'a>,
}

impl Setting<'_> {
    /// Position and field of a column.
    pub(crate) fn column(&self, name: &str) -> Result<(usize, &Field), String> {
        let at = self.schema.index_of(name).map_err(|_| format!("there is no column `{name}`"))?;
        Ok((at, self.schema.field(at)))
    }

    /// Position, field and logical type of a column.
    pub(crate) fn typed(&self, name: &str) -> Result<(usize, &Field, LogicalType), String> {
        let (at, field) = self.column(name)?;
        let ty = LogicalType::of(field).ok_or_else(|| format!("`{name}` is of a type that cannot be checked"))?;
        Ok((at, field, ty))
    }

    /// Makes sure that values of some columns can be told apart exactly.
    pub(crate) fn keys(&self, columns: &[Spanned<String>], kind: &str) -> Result<(), String> {
        for column in columns {
            use LogicalType as T;
            let (_, _, ty) = self.typed(column)?;
            if matches!(ty, T::Float(_) | T::Interval | T::Json | T::List(_) | T::Struct(_) | T::Map(..)) {
                let needs = "numbers (but no floats), text, binary values, dates or timestamps";
                return Err(wrong_type(kind, column, &ty, needs));
            }
        }
        Ok(())
    }
}

/// The executable form of a rule.
pub(crate) enum Work {
    /// Says which rows break it.
    Rows(Box<dyn RowTest>),
    /// Counts along in every unit.
    Count(Box<dyn Fn() -> Box<dyn Counter> + Send + Sync>),
    /// Wants the values of its columns in a second look at all rows.
    Keys,
    /// Needs no rows.
    Nothing,
}

impl Work {
    /// Looks at one column.
    pub(crate) fn column(at: usize, finder: Finder) -> Self {
        Self::Rows(Box::new(OneColumn { at, finder }))
    }

    /// Counts with what `counter` makes.
    pub(crate) fn count<C: Counter + 'static>(counter: impl Fn() -> C + Send + Sync + 'static) -> Self {
        Self::Count(Box::new(move || Box::new(counter())))
    }
}

/// Says which rows of a batch break a rule; `None` if none does.
pub(crate) trait RowTest: Send + Sync {
    /// `about` are the rows the rule is about; what is said of others does not count.
    fn broken(&self, batch: &RecordBatch, about: Option<&BooleanBuffer>) -> Result<Option<BooleanBuffer>>;
}

struct OneColumn {
    at: usize,
    finder: Finder,
}

impl RowTest for OneColumn {
    fn broken(&self, batch: &RecordBatch, _: Option<&BooleanBuffer>) -> Result<Option<BooleanBuffer>> {
        (self.finder)(batch.column(self.at))
    }
}

/// What a counter left of one unit.
fn read_state<T: serde::de::DeserializeOwned>(state: &Json) -> Result<T> {
    <T as serde::Deserialize>::deserialize(state)
        .map_err(|e| Error::internal("what a check counted cannot be read").because(e))
}

/// What a rule comes to whose second look counts the rows that break it.
fn broken_in_all(states: &[Json]) -> Result<Ruling> {
    let mut broken = 0;
    for state in states {
        broken += read_state::<Looked>(state)?.broken;
    }
    Ok(Ruling { holds: broken == 0, found: String::new(), broken: Some(broken) })
}

/// Says that a rule names a column twice.
fn no_repeats(columns: &[Spanned<String>], kind: &str, problems: &mut Vec<Problem>) {
    for (at, column) in columns.iter().enumerate() {
        if columns[..at].contains(column) {
            let problem = Problem::new(column.span, format!("`{kind}` names `{}` twice", column.value));
            problems.push(problem.hint("keep one of them"));
        }
    }
}

/// Says that a rule names no columns.
fn no_columns(columns: &[Spanned<String>], kind: &str, place: Span, problems: &mut Vec<Problem>) {
    if columns.is_empty() {
        let problem = Problem::new(place, format!("`{kind}` names no columns"));
        problems.push(problem.hint(format!("write `{kind}: [COLUMN]`")));
    }
}

#[cfg(test)]
pub(crate) mod testing;
