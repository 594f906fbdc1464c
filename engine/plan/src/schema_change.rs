//! Columns of the rows that are not those of the target's table: what differs, and what a plan does about it.
//!
//! Only columns that come from the source are held against the table. Derived columns and those that the load makes are the
//! pipeline's own: whether the table takes them is for the target to say.

use std::fmt;

use arrow::datatypes::{FieldRef, Schema};
use serde::{Deserialize, Serialize};
use transload_core::LogicalType;
use transload_core::connector::{DECLARED_TYPE, WriteMode, is_hidden};
use transload_spec::file::{MetadataColumn, OnSchemaChange};

use crate::plan::{ColumnPlan, Origin};

/// A table of the target as it is.
#[derive(Debug, Clone)]
pub struct TargetTable {
    /// Its columns, in its order.
    pub columns: Vec<TargetColumn>,
    /// Whether they have exactly the types of the rows that were written to it.
    pub keeps_types: bool,
    /// Whether rows are to be written to it. If they are only compared with it, or looked at by checks, nothing is refused
    /// and no column added.
    pub is_written: bool,
}

/// A column of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetColumn {
    /// Its name.
    pub name: String,
    /// Its type; `None` if there is no word for it.
    pub ty: Option<LogicalType>,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// What is done about columns that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaChange {
    /// What the pipeline wants.
    pub policy: OnSchemaChange,
    /// Whether there is a table that the columns were held against.
    pub compared: bool,
    /// The columns that differ, those of the rows first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ColumnChange>,
}

/// A column that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnChange {
    /// Its name in the target.
    pub column: String,
    /// What is done about it.
    pub change: Change,
}

/// What is done about a column that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The table does not have it yet. It is written, and the target adds it.
    New,
    /// The table does not have it, and it is not written.
    Discarded {
        /// Its name in the source.
        from: String,
    },
    /// The rows do not have it any more. It is NULL.
    Gone,
    /// It is of another type than in the table. It is written, and the target makes of it what it can.
    Retyped {
        /// Its type in the table.
        from: LogicalType,
    },
}

/// A difference, before anything is decided about it.
enum Difference<'a> {
    New(&'a ColumnPlan, &'a str),
    Gone(&'a TargetColumn),
    Retyped(&'a ColumnPlan, LogicalType, LogicalType),
}

/// What comes of the differences under one policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) changes: Vec<ColumnChange>,
    /// What the policy forbids, one part of a sentence each.
    pub(crate) refused: Vec<String>,
}

impl TargetTable {
    /// A table with the columns of `schema`, to which nothing is to be written.
    pub fn new(schema: &Schema, keeps_types: bool) -> Self {
        let column = |field: &FieldRef| {
            let declared = field.metadata().get(DECLARED_TYPE).and_then(|t| t.parse::<LogicalType>().ok());
            TargetColumn {
                name: field.name().clone(),
                ty: declared.or_else(|| LogicalType::of(field)),
                nullable: field.is_nullable(),
            }
        };
        let columns = schema.fields().iter().filter(|f| !is_hidden(f)).map(column).collect();
        Self { columns, keeps_types, is_written: false }
    }

    /// Decides about the differences of `columns`, which come from the source. `own` are the names of those that do not.
    pub(crate) fn decide(
        &self,
        policy: OnSchemaChange,
        write: WriteMode,
        columns: &[ColumnPlan],
        own: &[&str],
    ) -> Decision {
        use OnSchemaChange as Policy;
        let mut decision = Decision::default();
        for difference in self.differences(columns, own) {
            let done = match (policy, &difference) {
                (Policy::Freeze, _) => None,
                (Policy::Evolve, Difference::New(..)) => Some(Change::New),
                (_, Difference::New(_, from)) => Some(Change::Discarded { from: (*from).to_string() }),
                (Policy::Evolve, Difference::Retyped(_, _, there)) => Some(Change::Retyped { from: there.clone() }),
                (_, Difference::Retyped(..)) => None,
                (_, Difference::Gone(column)) => {
                    // A table that is replaced need not keep what it demands of its columns.
                    let may_be_null = column.nullable || (policy == Policy::Evolve && write == WriteMode::Replace);
                    (may_be_null && column.ty.is_some()).then_some(Change::Gone)
                }
            };
            match done {
                Some(change) => {
                    decision.changes.push(ColumnChange { column: difference.column().to_string(), change });
                }
                None => decision.refused.push(difference.refused(policy)),
            }
        }
        if !self.is_written {
            decision.refused.clear();
            decision.changes.retain(|c| matches!(c.change, Change::Discarded { .. }));
        }
        decision
    }

    fn differences<'a>(&'a self, columns: &'a [ColumnPlan], own: &[&str]) -> Vec<Difference<'a>> {
        let mut found = Vec::new();
        for column in columns {
            let Origin::Source(from) = &column.origin else { continue };
            match self.column(&column.name) {
                None => found.push(Difference::New(column, from)),
                Some(TargetColumn { ty: Some(there), .. }) => {
                    // A mask makes text of everything.
                    let here = if column.mask.is_some() { &LogicalType::Text } else { &column.ty };
                    if !self.is_same(here, there) {
                        found.push(Difference::Retyped(column, here.clone(), there.clone()));
                    }
                }
                Some(_) => {}
            }
        }
        let is_there = |name: &str| columns.iter().any(|c| c.name == name) || own.contains(&name);
        let is_made = |name: &str| MetadataColumn::ALL.iter().any(|made| made.name() == name);
        let gone = self.columns.iter().filter(|c| !is_there(&c.name) && !is_made(&c.name));
        found.extend(gone.map(Difference::Gone));
        found
    }

    fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Whether a column of the first type in the rows is one of the second in the table. A target that has not all types makes
    /// others of some: those that hold every value, and text.
    fn is_same(&self, here: &LogicalType, there: &LogicalType) -> bool {
        use LogicalType as T;
        let (here, there) = (here.with_utc_named(), there.with_utc_named());
        if here == there {
            return true;
        }
        let is_rare =
            matches!(here, T::Uuid | T::Json | T::Interval | T::Time(_) | T::List(_) | T::Struct(_) | T::Map(..));
        !self.keeps_types
            && (here.supertype(&there).as_ref() == Some(&there) || (is_rare && matches!(there, T::Text | T::Json)))
    }

    /// Adds columns that are gone, and puts all into the order of the table, so that it finds them as they were. New ones come
    /// last.
    pub(crate) fn arrange(&self, change: &SchemaChange, columns: &mut Vec<ColumnPlan>) {
        if !self.is_written {
            return;
        }
        for gone in change.changes.iter().filter(|c| c.change == Change::Gone) {
            if let Some(ty) = self.column(&gone.column).and_then(|c| c.ty.clone()) {
                columns.push(ColumnPlan {
                    name: gone.column.clone(),
                    ty,
                    nullable: true,
                    origin: Origin::Gone,
                    cast: None,
                    mask: None,
                });
            }
        }
        let place = |column: &ColumnPlan| self.columns.iter().position(|c| c.name == column.name).unwrap_or(usize::MAX);
        columns.sort_by_cached_key(place);
    }
}

impl Difference<'_> {
    fn column(&self) -> &str {
        match self {
            Self::New(column, _) | Self::Retyped(column, ..) => &column.name,
            Self::Gone(column) => &column.name,
        }
    }

    fn refused(&self, policy: OnSchemaChange) -> String {
        match self {
            Self::New(column, _) => format!("`{}` is new", column.name),
            Self::Gone(column) if policy == OnSchemaChange::Freeze => format!("`{}` is gone", column.name),
            Self::Gone(column) => format!("`{}` is gone and may not be NULL in the target", column.name),
            Self::Retyped(column, here, there) => format!("`{}` is {here} and was {there}", column.name),
        }
    }
}

impl SchemaChange {
    /// The source's columns that are left out, each with its name in the target.
    pub fn discarded(&self) -> impl Iterator<Item = (&str, &str)> {
        self.changes.iter().filter_map(|c| match &c.change {
            Change::Discarded { from } => Some((from.as_str(), c.column.as_str())),
            Change::New | Change::Gone | Change::Retyped { .. } => None,
        })
    }

    /// The source's columns that keep a row out if it has a value there.
    pub(crate) fn keep_rows_out(&self) -> Vec<&str> {
        match self.policy {
            OnSchemaChange::DiscardRow => self.discarded().map(|(from, _)| from).collect(),
            OnSchemaChange::Evolve | OnSchemaChange::Freeze | OnSchemaChange::DiscardColumn => Vec::new(),
        }
    }

    /// What is done about a column that is written, if it differs.
    pub(crate) fn of(&self, column: &str) -> Option<&Change> {
        let is_written = |c: &&ColumnChange| !matches!(c.change, Change::Discarded { .. });
        self.changes.iter().filter(is_written).find(|c| c.column == column).map(|c| &c.change)
    }
}

impl fmt::Display for Change {
    /// What is said of the column in a plan.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new column"),
            Self::Discarded { .. } => f.write_str("dropped: not in the target"),
            Self::Gone => f.write_str("gone from the source: NULL"),
            Self::Retyped { from } => write!(f, "{from} in the target"),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use transload_coerce::MaskKind;

    use super::*;

    fn column(name: &str, ty: &str) -> ColumnPlan {
        ColumnPlan {
            name: name.to_string(),
            ty: ty.parse().unwrap(),
            nullable: true,
            origin: Origin::Source(format!("s_{name}")),
            cast: None,
            mask: None,
        }
    }

    /// A table that rows are written to; a `!` behind a type says that the column may not be NULL.
    fn table(columns: &[(&str, &str)]) -> TargetTable {
        let column = |(name, ty): &(&str, &str)| TargetColumn {
            name: name.to_string(),
            ty: ty.trim_end_matches('!').parse().ok(),
            nullable: !ty.ends_with('!'),
        };
        TargetTable { columns: columns.iter().map(column).collect(), keeps_types: true, is_written: true }
    }

    fn changed(column: &str, change: Change) -> ColumnChange {
        ColumnChange { column: column.to_string(), change }
    }

    const POLICIES: [OnSchemaChange; 4] =
        [OnSchemaChange::Evolve, OnSchemaChange::Freeze, OnSchemaChange::DiscardColumn, OnSchemaChange::DiscardRow];

    #[test]
    fn columns_that_are_as_they_were_are_no_change_under_any_policy() {
        let target = table(&[("b", "timestamp(us, +00:00)"), ("a", "int64!"), ("_run_id", "text!"), ("d", "date")]);
        let columns = [column("a", "int64"), column("b", "timestamp(us, UTC)")];
        for policy in POLICIES {
            let decision = target.decide(policy, WriteMode::Append, &columns, &["d", "_ingested_at"]);
            assert_eq!(decision, Decision::default(), "{}", policy.word());
        }
    }

    #[test]
    fn every_policy_decides_about_every_difference() {
        let target = table(&[("a", "int32"), ("old", "text"), ("must", "text!")]);
        let columns = [column("a", "int64"), column("x", "text")];
        let decide = |policy| target.decide(policy, WriteMode::Append, &columns, &[]);
        let evolved = decide(OnSchemaChange::Evolve);
        let retyped = Change::Retyped { from: LogicalType::Int(32) };
        let gone = changed("old", Change::Gone);
        assert_eq!(evolved.changes, [changed("a", retyped), changed("x", Change::New), gone.clone()]);
        assert_eq!(evolved.refused, ["`must` is gone and may not be NULL in the target"]);
        let frozen = decide(OnSchemaChange::Freeze);
        assert!(frozen.changes.is_empty());
        let all = ["`a` is int64 and was int32", "`x` is new", "`old` is gone", "`must` is gone"];
        assert_eq!(frozen.refused, all);
        for policy in [OnSchemaChange::DiscardColumn, OnSchemaChange::DiscardRow] {
            let discarded = decide(policy);
            let left_out = changed("x", Change::Discarded { from: "s_x".to_string() });
            assert_eq!(discarded.changes, [left_out, gone.clone()]);
            assert_eq!(
                discarded.refused,
                ["`a` is int64 and was int32", "`must` is gone and may not be NULL in the target"]
            );
        }
        // What a table demands that is replaced goes with it.
        let replaced = target.decide(OnSchemaChange::Evolve, WriteMode::Replace, &columns, &[]);
        assert!(replaced.refused.is_empty() && replaced.changes.contains(&changed("must", Change::Gone)));
    }

    #[test]
    fn a_table_that_is_not_written_to_refuses_nothing_and_gets_no_column() {
        let target = TargetTable { is_written: false, ..table(&[("a", "int32"), ("old", "text")]) };
        let columns = [column("a", "int64"), column("x", "text")];
        for policy in POLICIES {
            let decision = target.decide(policy, WriteMode::Append, &columns, &[]);
            assert!(decision.refused.is_empty());
            let discards = matches!(policy, OnSchemaChange::DiscardColumn | OnSchemaChange::DiscardRow);
            assert_eq!(decision.changes.len(), usize::from(discards), "{}", policy.word());
            let change = SchemaChange { policy, compared: true, changes: decision.changes };
            let mut kept = columns.to_vec();
            target.arrange(&change, &mut kept);
            assert_eq!(kept.len(), 2);
        }
    }

    #[test]
    fn columns_come_in_the_order_of_the_table() {
        let target = table(&[("c", "text"), ("gone", "date"), ("a", "text")]);
        let mut columns = vec![column("a", "text"), column("x", "text"), column("b", "text"), column("c", "text")];
        let decision = target.decide(OnSchemaChange::Evolve, WriteMode::Append, &columns, &[]);
        let change = SchemaChange { policy: OnSchemaChange::Evolve, compared: true, changes: decision.changes };
        target.arrange(&change, &mut columns);
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["c", "gone", "a", "x", "b"]);
        assert!(columns[1].origin == Origin::Gone && columns[1].nullable && columns[1].ty == LogicalType::Date);
    }

    #[test]
    fn a_mask_makes_text() {
        let masked = ColumnPlan { mask: Some(MaskKind::Hash), ..column("a", "int64") };
        let decide = |ty| {
            table(&[("a", ty)]).decide(OnSchemaChange::Freeze, WriteMode::Append, std::slice::from_ref(&masked), &[])
        };
        assert!(decide("text").refused.is_empty());
        assert_eq!(decide("int64").refused, ["`a` is text and was int64"]);
    }

    #[test]
    fn a_target_that_has_not_all_types_may_have_others_that_hold_the_values() {
        let is_same = |keeps_types, here: &str, there: &str| {
            let target = TargetTable { keeps_types, ..table(&[]) };
            target.is_same(&here.parse().unwrap(), &there.parse().unwrap())
        };
        for (here, there) in [
            ("uint8", "int16"),
            ("uint64", "decimal(20,0)"),
            ("timestamp(ms)", "timestamp(us)"),
            ("uuid", "text"),
            ("list<int32>", "json"),
        ] {
            assert!(is_same(false, here, there) && !is_same(true, here, there), "{here} {there}");
        }
        for (here, there) in
            [("int64", "int32"), ("int64", "text"), ("text", "int64"), ("timestamp(ns)", "timestamp(us)")]
        {
            assert!(!is_same(false, here, there) && !is_same(true, here, there), "{here} {there}");
        }
    }

    #[test]
    fn a_table_has_the_types_that_are_declared() {
        let declared = |ty: &str| [(DECLARED_TYPE.to_string(), ty.to_string())].into();
        let schema = Schema::new(vec![
            Field::new("n", DataType::Utf8, true).with_metadata(declared("int64")),
            Field::new("t", DataType::Utf8, false),
            transload_core::connector::hidden(Field::new("_transload_raw", DataType::Utf8, true)),
        ]);
        let found = TargetTable::new(&schema, true);
        let column = |name: &str, ty, nullable| TargetColumn { name: name.to_string(), ty: Some(ty), nullable };
        assert_eq!(found.columns, [column("n", LogicalType::Int(64), true), column("t", LogicalType::Text, false)]);
        assert!(!found.is_written);
    }

    #[test]
    fn decisions_are_read_back() {
        let changes = vec![
            changed("a", Change::Retyped { from: LogicalType::Int(32) }),
            changed("b", Change::Discarded { from: "s_b".to_string() }),
            changed("c", Change::New),
            changed("d", Change::Gone),
        ];
        let change = SchemaChange { policy: OnSchemaChange::DiscardRow, compared: true, changes };
        let text = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<SchemaChange>(&text).unwrap(), change, "{text}");
        assert_eq!(change.keep_rows_out(), ["s_b"]);
    }
}
