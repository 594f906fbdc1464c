//! From a spec and the schemas of its sources to a plan.

mod columns;
mod cursor;
mod layout;
mod rules;

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use transload_coerce::Rulebook;
use transload_core::connector::{Expected, TableState, WriteMode};
use transload_core::decode::closest;
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Node, Problem, Source, Span, TableName};
use transload_digest::Algorithm;
use transload_spec::file::RowHash;
use transload_spec::{Mode, Problems, ReconcileLevel, Spec, TableSpec};

pub use self::columns::idle_misfit;
use self::columns::made;
use crate::backfill::AskedRange;
use crate::expr::Expressions;
use crate::others::{OtherInput, Others};
use crate::plan::{ColumnPlan, Connection, Origin, Plan, ReconcilePlan, TablePlan};
use crate::quarantine::is_value;
use crate::schema_change::TargetTable;

/// What a plan is made from.
pub struct Build<'a> {
    /// The pipeline.
    pub spec: &'a Spec,
    /// The rulebook, and its tree for the plan.
    pub rulebook: (&'a Rulebook, &'a Node),
    /// The tables, wildcards expanded.
    pub tables: Vec<TableInput>,
    /// Tables that checks of those look at and that are not loaded themselves. `None` if somebody else sees to what checks
    /// look at.
    pub others: Option<Vec<OtherInput>>,
}

/// One table with what its source says about it.
pub struct TableInput {
    /// What the pipeline says.
    pub spec: TableSpec,
    /// The source, pinned.
    pub source: Arc<dyn Source>,
    /// The target's version and what it remembers of the last load.
    pub state: Option<(String, TableState)>,
    /// Whether the load is incremental, and the target has rows and remembers no cursor.
    pub has_rows_without_cursor: bool,
    /// The target's table, if there is one and the pipeline says what happens when its columns are others.
    pub target: Option<TargetTable>,
    /// The rows that are loaded instead of those that are new.
    pub backfill: Option<AskedRange>,
}

/// Decides everything a run needs to know.
///
/// # Errors
/// Everything that does not fit together, at its place in the files.
pub fn build(input: Build<'_>) -> Result<Plan, Problems> {
    let mut problems = Vec::new();
    let mut planned: Vec<(&TableInput, TablePlan)> = Vec::new();
    for table in &input.tables {
        if let Some(plan) = plan_table(table, input.rulebook.0, &mut problems) {
            if let Some((_, twin)) = planned.iter().find(|(_, t)| t.to == plan.to) {
                let message = format!("`{}` and `{}` both go to `{}`", twin.from, plan.from, plan.to);
                problems.push(Problem::new(table.spec.to.span, message).hint("give one of them another `to`"));
            }
            // Names that a wildcard stands for are known only now.
            let around = |t: &&TablePlan| t.to.is_inside(&plan.to) || plan.to.is_inside(&t.to);
            if let Some(other) = planned.iter().map(|(_, t)| t).find(around) {
                let (inner, outer) = if plan.to.is_inside(&other.to) { (&plan, other) } else { (other, &plan) };
                let message = format!("the table `{}` would lie inside the table `{}`", inner.to, outer.to);
                problems.push(Problem::new(table.spec.to.span, message).hint("give one of them another `to`"));
            }
            planned.push((table, plan));
        }
    }
    let references = match &input.others {
        Some(others) => Others::new(&input.tables, &planned, others, input.rulebook.0, &mut problems).plan(),
        None => Vec::new(),
    };
    if !problems.is_empty() {
        return Err(Problems::new(input.spec.files.clone(), problems));
    }
    let plan = Plan {
        version: 0,
        fingerprint: String::new(),
        pipeline: input.spec.name.clone(),
        archetype: input.spec.archetype.clone(),
        rulebook: input.rulebook.1.clone(),
        source: Connection::from(&input.spec.source),
        target: Connection::from(&input.spec.target),
        quarantine: input.spec.quarantine.as_ref().map(Connection::from),
        alerts: input.spec.alerts.clone(),
        tables: planned.into_iter().map(|(_, plan)| plan).collect(),
        references,
    };
    plan.seal().map_err(|e| Problems::new(input.spec.files.clone(), vec![Problem::new(Span::default(), e.to_string())]))
}

/// Decides what a run needs to know of one table. `None` if it cannot: what is wrong is added to `problems`.
pub(crate) fn plan_table(input: &TableInput, rulebook: &Rulebook, problems: &mut Vec<Problem>) -> Option<TablePlan> {
    Table { input, rulebook, problems, discarded: Vec::new() }.plan()
}

/// The source's schema after casts: what expressions see. Shared with the transform, so that both agree.
pub(crate) fn cast_schema(source: &SchemaRef, columns: &[ColumnPlan]) -> Option<SchemaRef> {
    let field = |f: &FieldRef| {
        let cast = columns.iter().find_map(|c| match (&c.origin, &c.cast) {
            (Origin::Source(name), Some(cast)) if name == f.name() => Some(cast),
            _ => None,
        });
        match cast {
            Some(cast) => Some(Arc::new(cast.to.to_field(f.name(), true))),
            None => {
                let plain = LogicalType::plain_layout(f)?;
                let mut metadata = plain.metadata().clone();
                metadata.retain(|key, _| key == transload_core::types::EXTENSION_NAME);
                Some(Arc::new(plain.as_ref().clone().with_metadata(metadata)))
            }
        }
    };
    let fields: Option<Vec<FieldRef>> = source.fields().iter().map(field).collect();
    Some(Arc::new(Schema::new(fields?)))
}

struct Table<'a> {
    input: &'a TableInput,
    rulebook: &'a Rulebook,
    problems: &'a mut Vec<Problem>,
    /// Names of columns that are left out because the target does not have them: those in the source, and in the target.
    discarded: Vec<String>,
}

impl Table<'_> {
    fn say(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(span, message).hint(hint));
    }

    fn plan(&mut self) -> Option<TablePlan> {
        let before = self.problems.len();
        let input = self.input;
        let (spec, source) = (&input.spec, &input.source);
        let settings = &spec.settings;
        let schema = source.schema();
        let source_columns = self.source_columns(&schema)?;
        self.named_columns_exist(&source_columns);

        let mut columns = Vec::new();
        for (column, field) in source_columns.iter().zip(schema.fields()) {
            if is_value(&column.name) {
                columns.extend(self.column(column, field));
            }
        }
        let schema_change = self.schema_change(&mut columns);
        let seen_by_sql = cast_schema(&schema, &columns)?;
        let expressions = match Expressions::new(&seen_by_sql) {
            Ok(expressions) => expressions,
            Err(reason) => {
                self.problems.push(Problem::new(spec.from.span, reason));
                return None;
            }
        };
        for (name, sql) in settings.derive.iter().flat_map(|d| &d.0) {
            columns.extend(self.derived(&expressions, name, sql));
        }
        columns.extend(settings.metadata_columns.iter().flat_map(|m| &m.value).map(|column| made(column.value)));
        self.masks(&mut columns);
        if let (Some(target), Some(change)) = (&input.target, &schema_change) {
            target.arrange(change, &mut columns);
        }
        self.names(&columns);
        if columns.is_empty() && self.problems.len() == before {
            self.say(spec.from.span, format!("no column of `{}` is left", spec.from.value), "drop fewer columns");
        }
        if let Some(filter) = &settings.filter {
            self.condition(&expressions, "a filter", filter);
        }
        if let Some(deleted) = settings.deleted() {
            self.condition(&expressions, "`deleted`", deleted);
        }
        let mut incremental = self.incremental(&expressions, &source_columns, &columns);
        let mut checks = self.checks(&seen_by_sql, &expressions, &columns);
        if let Some(range) = incremental.as_mut().and_then(|incremental| incremental.backfill.as_mut()) {
            range.limit(&mut checks);
        }
        let key = self.key(&columns);
        if settings.write() == WriteMode::Merge {
            self.guard_key(&seen_by_sql, &expressions, &columns, &key, &mut checks);
        }
        let partition_by = self.partition_by(&columns);
        let reconcile = settings.reconcile.clone().unwrap_or_default();
        let estimated_rows = source.estimated_rows();
        (self.problems.len() == before).then(|| TablePlan {
            from: TableName::new(spec.from.value.clone()),
            to: TableName::new(spec.to.value.clone()),
            pin: source.pin().clone(),
            splits: source.splits().to_vec(),
            source_columns,
            columns,
            schema_change,
            filter: settings.filter.as_ref().map(|f| f.value.clone()),
            deleted: settings.deleted().map(|sql| sql.value.clone()),
            write: settings.write(),
            // Adding all rows is right whatever else is there; everything else depends on what is there.
            expected: match (settings.mode.as_ref().map(|m| &m.value), &input.state) {
                (Some(Mode::Append), _) => Expected::Anything,
                (_, None) => Expected::Missing,
                (_, Some((version, _))) => Expected::Version(version.clone()),
            },
            incremental,
            partition_by,
            key,
            checks,
            reconcile: ReconcilePlan {
                level: reconcile.level.unwrap_or(ReconcileLevel::Row),
                hash: match reconcile.hash.as_ref().map(|h| h.value) {
                    Some(RowHash::Sha256) => Algorithm::Sha256,
                    None | Some(RowHash::Xxh64) => Algorithm::Xxh64,
                },
            },
            estimated_rows,
            assumed: source.assumed(),
            replay: None,
            labels: settings
                .labels
                .iter()
                .flat_map(|labels| &labels.0)
                .map(|(name, value)| (name.value.clone(), value.value.clone()))
                .collect(),
        })
    }

    fn no_such_column(&mut self, name: &str, span: Span, known: &[&str]) {
        let message = format!("`{}` has no column `{name}`", self.input.spec.from.value);
        let hint = closest(name, known).unwrap_or_else(|| format!("the columns are {}", shorten(known)));
        self.say(span, message, hint);
    }

    /// A column by its name in the target or, failing that, in the source.
    fn find<'c>(&mut self, columns: &'c [ColumnPlan], name: &str, span: Span) -> Option<&'c ColumnPlan> {
        let by_source = |c: &&ColumnPlan| matches!(&c.origin, Origin::Source(s) if s == name);
        let there = |c: &&ColumnPlan| c.name == name && c.origin != Origin::Gone;
        let found = columns.iter().find(there).or_else(|| columns.iter().find(by_source));
        if found.is_none() && self.discarded.iter().any(|discarded| discarded == name) {
            let message = format!("`{name}` is not in the target yet, so `on_schema_change` leaves it out");
            self.say(span, message, "use `on_schema_change: evolve`, or do without it");
        } else if found.is_none() {
            let known: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            self.no_such_column(name, span, &known);
        }
        found
    }

    /// A condition about single rows, which is called `what`.
    fn condition(&mut self, expressions: &Expressions, what: &str, sql: &Spanned<String>) {
        let found = expressions.logical(sql).and_then(|e| {
            expressions.physical(&e)?;
            expressions.field("condition", &e)
        });
        match found {
            Ok(field) if *field.data_type() == DataType::Boolean => {}
            Ok(field) => {
                let message = format!("{what} must be true or false, and this is {}", field.data_type());
                self.say(sql.span, message, "compare it with something");
            }
            Err(reason) => self.problems.push(Problem::new(sql.span, reason)),
        }
    }
}

pub(crate) fn shorten(names: &[&str]) -> String {
    const MOST: usize = 12;
    let mut text = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}
