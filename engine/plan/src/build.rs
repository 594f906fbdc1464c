//! From a spec and the schemas of its sources to a plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use transload_coerce::{Cast, Loss, MaskKind, Rulebook};
use transload_core::connector::{
    DECLARED_TYPE, Expected, FAULT_COLUMN, ORIGIN_COLUMN, Partition, TableState, Transform as PartitionTransform,
    WriteMode, takes_hidden_name,
};
use transload_core::decode::closest;
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Node, Problem, Source, Span, TableName};
use transload_digest::Algorithm;
use transload_quality::Check;
use transload_spec::file::{Misfit, OnSchemaChange, RowHash};
use transload_spec::{Mask, Mode, Problems, ReconcileLevel, Spec, TableSpec};

use crate::backfill::{AskedRange, Backfill};
use crate::checks::View;
use crate::expr::Expressions;
use crate::others::{OtherInput, Others};
use crate::plan::{
    CastPlan, ColumnPlan, Connection, Incremental, OnMisfit, Origin, Plan, ReconcilePlan, SourceColumn, TablePlan,
};
use crate::quarantine::is_value;
use crate::schema_change::{Decision, SchemaChange, TargetTable};

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

/// What is wrong with `on_misfit` for a column that is not cast.
pub fn idle_misfit(column: &str, misfit: &Spanned<Misfit>) -> Option<Problem> {
    // These two choose a type, whatever it comes to.
    if matches!(misfit.value, Misfit::Widen | Misfit::Text) {
        return None;
    }
    let message = format!("`on_misfit` does nothing: `{column}` is not cast");
    Some(Problem::new(misfit.span, message).hint("remove it, or add `cast`"))
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
        for column in settings.metadata_columns.iter().flat_map(|m| &m.value) {
            use transload_core::types::Unit;
            let ty = match column.value {
                transload_spec::file::MetadataColumn::IngestedAt => {
                    LogicalType::Timestamp(Unit::Us, Some("UTC".into()))
                }
                _ => LogicalType::Text,
            };
            let name = column.value.name().to_string();
            columns.push(ColumnPlan {
                name,
                ty,
                nullable: false,
                origin: Origin::Metadata(column.value),
                cast: None,
                mask: None,
            });
        }
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
            replay: None,
            labels: settings
                .labels
                .iter()
                .flat_map(|labels| &labels.0)
                .map(|(name, value)| (name.value.clone(), value.value.clone()))
                .collect(),
        })
    }

    fn source_columns(&mut self, schema: &Schema) -> Option<Vec<SourceColumn>> {
        let mut out = Vec::with_capacity(schema.fields().len());
        let mut seen = BTreeSet::new();
        for field in schema.fields() {
            if !seen.insert(field.name()) {
                let message = format!("`{}` has two columns named `{}`", self.input.spec.from.value, field.name());
                self.say(self.input.spec.from.span, message, "rename one of them in the source");
                return None;
            }
            if takes_hidden_name(field) {
                let message = format!(
                    "column `{}` of `{}` has a name of transload's own",
                    field.name(),
                    self.input.spec.from.value
                );
                self.say(self.input.spec.from.span, message, "rename it in the source");
                return None;
            }
            match LogicalType::of(field) {
                Some(ty) => out.push(SourceColumn { name: field.name().clone(), ty, nullable: field.is_nullable() }),
                None => {
                    let message =
                        format!("column `{}` has a type that cannot be moved: {}", field.name(), field.data_type());
                    self.say(self.input.spec.from.span, message, "leave it out in the source, or ask for its type");
                    return None;
                }
            }
        }
        Some(out)
    }

    fn no_such_column(&mut self, name: &str, span: Span, known: &[&str]) {
        let message = format!("`{}` has no column `{name}`", self.input.spec.from.value);
        let hint = closest(name, known).unwrap_or_else(|| format!("the columns are {}", shorten(known)));
        self.say(span, message, hint);
    }

    fn named_columns_exist(&mut self, columns: &[SourceColumn]) {
        let known: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        for name in &self.input.spec.own_columns {
            if !known.contains(&name.as_str()) {
                self.no_such_column(name, name.span, &known);
            }
        }
    }

    /// A source column on its way to the target; `None` if it is dropped or wrong.
    fn column(&mut self, column: &SourceColumn, field: &Field) -> Option<ColumnPlan> {
        let settings =
            self.input.spec.settings.columns.as_ref().and_then(|c| c.get(&column.name)).cloned().unwrap_or_default();
        if settings.drop.as_ref().is_some_and(|d| d.value) {
            return None;
        }
        let declared = field.metadata().get(DECLARED_TYPE).and_then(|t| t.parse::<LogicalType>().ok());
        let span = settings.cast.as_ref().map_or(self.input.spec.from.span, |c| c.span);
        let wanted = settings.cast.as_ref().map(|c| c.value.clone()).or(declared).unwrap_or_else(|| column.ty.clone());
        let misfit = match &settings.on_misfit {
            Some(misfit) => misfit.value,
            None => match self.rulebook.on_misfit() {
                "null_counted" => Misfit::NullCounted,
                "quarantine" => Misfit::Quarantine,
                "text" => Misfit::Text,
                "widen" => Misfit::Widen,
                _ => Misfit::Error,
            },
        };
        let (to, on_misfit) = match misfit {
            Misfit::Error => (wanted, OnMisfit::Error),
            Misfit::NullCounted => (wanted, OnMisfit::NullCounted),
            Misfit::Quarantine => (wanted, OnMisfit::Quarantine),
            // Every value fits these by construction.
            Misfit::Text if self.rulebook.rule(&column.ty, &wanted) == Some(Loss::Exact) => (wanted, OnMisfit::Error),
            Misfit::Text => (LogicalType::Text, OnMisfit::Error),
            Misfit::Widen => (column.ty.supertype(&wanted).unwrap_or_else(|| column.ty.clone()), OnMisfit::Error),
        };
        let cast = if to == column.ty {
            None
        } else {
            match Cast::new(self.rulebook, &column.ty, &to) {
                Some(cast) => Some(CastPlan { from: column.ty.clone(), to: to.clone(), loss: cast.loss(), on_misfit }),
                None => {
                    let message = format!("the rulebook has no cast of `{}` from {} to {to}", column.name, column.ty);
                    self.say(span, message, format!("see rulebook {}, or use `derive`", self.rulebook.id()));
                    None
                }
            }
        };
        if let (None, Some(misfit)) = (&cast, &settings.on_misfit)
            && to == column.ty
        {
            self.problems.extend(idle_misfit(&column.name, misfit));
        }
        Some(ColumnPlan {
            name: settings.rename.as_ref().map_or(&column.name, |r| &r.value).clone(),
            ty: to,
            nullable: column.nullable || cast.is_some(),
            origin: Origin::Source(column.name.clone()),
            cast,
            mask: settings.mask.map(|m| match m.value {
                Mask::Redact => MaskKind::Redact,
                Mask::Hash => MaskKind::Hash,
                Mask::Partial => MaskKind::Partial,
            }),
        })
    }

    /// Holds the source's columns against those that the target has, if the pipeline says what shall come of it. Those that are
    /// left out go.
    fn schema_change(&mut self, columns: &mut Vec<ColumnPlan>) -> Option<SchemaChange> {
        let input = self.input;
        let settings = &input.spec.settings;
        let setting = settings.on_schema_change.as_ref()?;
        let policy = setting.value;
        let Some(target) = &input.target else {
            return Some(SchemaChange { policy, compared: false, changes: Vec::new() });
        };
        let derived = settings.derive.iter().flat_map(|d| &d.0).map(|(name, _)| name.value.as_str());
        let made = settings.metadata_columns.iter().flat_map(|m| &m.value).map(|c| c.value.name());
        let own: Vec<&str> = derived.chain(made).collect();
        let Decision { changes, refused } = target.decide(policy, settings.write(), columns, &own);
        if !refused.is_empty() {
            let (from, to) = (&input.spec.from.value, &input.spec.to.value);
            let message =
                format!("the columns of `{from}` are not those of `{to}` in the target: {}", refused.join(", "));
            let hint = match policy {
                OnSchemaChange::Freeze => "repair the source, or say what shall happen: `evolve` or `discard_column`",
                _ => "give a column back its type with `cast`, and one that is gone values with `derive`",
            };
            self.say(setting.span, message, hint);
        }
        let change = SchemaChange { policy, compared: true, changes };
        for (from, to) in change.discarded() {
            columns.retain(|c| c.name != to);
            self.discarded.extend([from.to_string(), to.to_string()]);
        }
        Some(change)
    }

    fn derived(
        &mut self,
        expressions: &Expressions,
        name: &Spanned<String>,
        sql: &Spanned<String>,
    ) -> Option<ColumnPlan> {
        let field = expressions.logical(sql).and_then(|e| {
            expressions.physical(&e)?;
            expressions.field(name, &e)
        });
        match field {
            Ok(field) => match LogicalType::of(&field) {
                Some(ty) => Some(ColumnPlan {
                    name: name.value.clone(),
                    ty,
                    nullable: field.is_nullable(),
                    origin: Origin::Derived(sql.value.clone()),
                    cast: None,
                    mask: None,
                }),
                None => {
                    let message =
                        format!("the expression gives values of type {}, which cannot be moved", field.data_type());
                    self.say(sql.span, message, "wrap it in a CAST");
                    None
                }
            },
            Err(reason) => {
                self.problems.push(Problem::new(sql.span, reason));
                None
            }
        }
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

    /// The checks that are about columns of this table. One that only a default makes waits for tables that have its
    /// columns.
    fn checks(&mut self, cast: &SchemaRef, expressions: &Expressions, columns: &[ColumnPlan]) -> Vec<Check> {
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
    fn guard_key(
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

    /// Masked columns become text in the target.
    fn masks(&mut self, columns: &mut [ColumnPlan]) {
        let input = self.input;
        let key: Vec<&str> = input.spec.settings.key.iter().flat_map(|k| &k.value).map(|k| k.value.as_str()).collect();
        for column in columns {
            let Some(mask) = column.mask else { continue };
            let Origin::Source(source) = &column.origin else { continue };
            let span = input
                .spec
                .settings
                .columns
                .as_ref()
                .and_then(|c| c.get(source)?.mask.as_ref().map(|m| m.span))
                .unwrap_or_default();
            if Cast::new(self.rulebook, &column.ty, &LogicalType::Text).is_none() {
                self.say(span, format!("values of type {} cannot be masked", column.ty), "drop the column instead");
            }
            let is_key = key.contains(&source.as_str()) || key.contains(&column.name.as_str());
            if is_key && mask != MaskKind::Hash {
                self.say(
                    span,
                    format!("this mask makes the keys in `{source}` alike"),
                    "use `hash`, which keeps them apart",
                );
            }
            column.ty = LogicalType::Text;
        }
    }

    fn names(&mut self, columns: &[ColumnPlan]) {
        let mut seen = BTreeSet::new();
        for column in columns {
            if !seen.insert(column.name.as_str()) {
                let message = format!("two columns of `{}` would be named `{}`", self.input.spec.to.value, column.name);
                self.say(self.input.spec.from.span, message, "rename or drop one of them");
            }
        }
    }

    fn incremental(
        &mut self,
        expressions: &Expressions,
        columns: &[SourceColumn],
        planned: &[ColumnPlan],
    ) -> Option<Incremental> {
        let input = self.input;
        let (mode, cursor, lookback_secs) = match &input.spec.settings.mode {
            Some(mode @ Spanned { value: Mode::Incremental { cursor, lookback_secs, .. }, .. }) => {
                (mode, cursor, lookback_secs)
            }
            other => {
                if input.backfill.is_some() {
                    let from = &input.spec.from;
                    self.say(
                        other.as_ref().map_or(from.span, |mode| mode.span),
                        format!(
                            "`{}` is not incremental, so it has no cursor by which a range could be loaded",
                            from.value
                        ),
                        "choose incremental tables with `--table`",
                    );
                }
                return None;
            }
        };
        let Some(column) = columns.iter().find(|c| c.name == *cursor) else {
            let known: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            self.no_such_column(cursor, mode.span, &known);
            return None;
        };
        // The cursor is compared as it is after its cast.
        let cast = planned.iter().find_map(|c| match (&c.origin, &c.cast) {
            (Origin::Source(name), Some(cast)) if name == cursor => Some(cast),
            _ => None,
        });
        let skips = |cast: &&CastPlan| matches!(cast.on_misfit, OnMisfit::NullCounted | OnMisfit::Quarantine);
        if let Some(cast) = cast.filter(|cast| cast.loss != Loss::Exact).filter(skips) {
            let policy = cast.on_misfit.word();
            self.say(
                mode.span,
                format!("`on_misfit: {policy}` of the cursor `{cursor}` would take the same rows again in every run"),
                "without a cursor nobody can tell whether a row is new: use `on_misfit: error`",
            );
        }
        let ty = cast.map_or(&column.ty, |cast| &cast.to);
        let grows = matches!(
            ty,
            LogicalType::Int(_)
                | LogicalType::UInt(_)
                | LogicalType::Decimal(..)
                | LogicalType::Date
                | LogicalType::Timestamp(..)
        );
        if !grows {
            self.say(mode.span, format!("`{cursor}` is {ty}, which does not grow"), "use a number, date or timestamp");
        }
        let is_time = matches!(ty, LogicalType::Date | LogicalType::Timestamp(..));
        if grows && !is_time && lookback_secs.is_some_and(|secs| secs > 0) {
            self.say(
                mode.span,
                format!("`lookback_secs` goes back in time, and the cursor `{cursor}` is {ty}"),
                "use a cursor that is a date or a timestamp, or `lookback_secs: 0`",
            );
        }
        let is_read = |name: &str| columns.iter().any(|c| c.name == name);
        // What a replay reads is new, whenever it was put aside.
        if is_read(FAULT_COLUMN) && !is_read(ORIGIN_COLUMN) {
            self.say(
                mode.span,
                "`on_bad_line: quarantine` of the source would take the same bad lines again in every run",
                "nobody can tell whether a line that cannot be read is new: use `on_bad_line: error`",
            );
        }
        let before = input.state.as_ref().and_then(|(_, state)| state.cursor_column.as_ref());
        if let Some(before) = before.filter(|before| *before != cursor) {
            self.say(
                mode.span,
                format!(
                    "the rows in `{}` came by the cursor `{before}`, so how far they go says nothing of `{cursor}`",
                    input.spec.to.value
                ),
                format!("go on with `{before}`, use `mode: full`, or another `to`"),
            );
        }
        if input.has_rows_without_cursor {
            self.say(
                mode.span,
                format!(
                    "`{}` has rows that came without a cursor, and an incremental load would bring them again",
                    input.spec.to.value
                ),
                "use another `to`, or remove the table: the first incremental load brings all rows",
            );
        }
        let above = input.state.as_ref().and_then(|(_, s)| s.cursor.clone());
        let backfill = match &input.backfill {
            Some(asked) => self.backfill(asked, ty, mode.span),
            None => None,
        };
        let incremental = Incremental { cursor: cursor.clone(), above, lookback_secs: *lookback_secs, backfill };
        if let Err(reason) = expressions.is_new(&incremental) {
            self.problems.push(Problem::new(mode.span, format!("the cursor cannot be used: {reason}")));
        }
        Some(incremental)
    }

    /// The range of the cursor, whose type is `ty`, that is loaded again.
    fn backfill(&mut self, asked: &AskedRange, ty: &LogicalType, mode: Span) -> Option<Backfill> {
        if self.input.spec.settings.write() != WriteMode::Merge {
            self.say(
                mode,
                format!("a range of `{}` that is loaded again would have its rows twice", self.input.spec.from.value),
                "add `lookback_secs`, which may be 0, and a `key`: rows are merged then, if the target can do that",
            );
        }
        asked.of(ty, self.rulebook).map_err(|problems| self.problems.extend(problems)).ok()
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

    fn key(&mut self, columns: &[ColumnPlan]) -> Vec<String> {
        let input = self.input;
        let names: Vec<_> = input.spec.settings.key.iter().flat_map(|k| &k.value).collect();
        let mut key = Vec::with_capacity(names.len());
        for name in names {
            if let Some(column) = self.find(columns, name, name.span) {
                if matches!(column.origin, Origin::Metadata(_)) {
                    self.say(
                        name.span,
                        format!("`{}` is made by the load and cannot be a key", name.value),
                        "use the source's key",
                    );
                }
                if key.contains(&column.name) {
                    self.say(name.span, format!("the key has the column `{}` twice", column.name), "keep one of them");
                }
                key.push(column.name.clone());
            }
        }
        key
    }

    fn partition_by(&mut self, columns: &[ColumnPlan]) -> Vec<Partition> {
        let input = self.input;
        let mut out: Vec<Partition> = Vec::new();
        for level in input.spec.settings.partition_by.iter().flat_map(|p| &p.value) {
            let transform = level.value.transform();
            let Some(column) = self.find(columns, level.value.column(), level.span) else { continue };
            use LogicalType as T;
            let (fits, needs) = match transform {
                PartitionTransform::Identity => (
                    matches!(column.ty, T::Bool | T::Int(_) | T::UInt(_) | T::Text | T::Date),
                    "true/false, whole numbers, text or dates",
                ),
                PartitionTransform::Year | PartitionTransform::Month | PartitionTransform::Day => {
                    (matches!(column.ty, T::Date | T::Timestamp(..)), "dates or timestamps")
                }
                PartitionTransform::Hour => (matches!(column.ty, T::Timestamp(..)), "timestamps"),
                PartitionTransform::Bucket(_) => (true, ""),
                PartitionTransform::Truncate(_) => {
                    (matches!(column.ty, T::Int(_) | T::UInt(_) | T::Text), "whole numbers or text")
                }
            };
            if !fits {
                let message = format!("`{}` is {} and cannot be partitioned like this", column.name, column.ty);
                self.say(level.span, message, format!("this needs {needs}"));
            }
            let partition = Partition { column: column.name.clone(), transform };
            let clash = out.iter().any(|p| p.name() == partition.name())
                || (transform != PartitionTransform::Identity && columns.iter().any(|c| c.name == partition.name()));
            if clash {
                self.say(level.span, format!("the name `{}` is taken", partition.name()), "remove one of the two");
            }
            out.push(partition);
        }
        if !out.is_empty()
            && out.iter().filter(|p| p.transform == PartitionTransform::Identity).count() == columns.len()
        {
            let span = input.spec.settings.partition_by.as_ref().map_or_else(Span::default, |p| p.span);
            self.say(span, "every column is a partition, so the files would be empty", "partition by fewer columns");
        }
        out
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
