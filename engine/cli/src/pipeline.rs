//! From a pipeline file to a plan: the part of the way that touches the systems.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use transload_coerce::{BUILT_IN, Rulebook};
use transload_core::connector::{Expected, ReadSpec, WriteMode, WriteSpec};
use transload_core::decode::Kinded;
use transload_core::tree::{Spanned, Value};
use transload_core::{
    Clock, CommitKey, Endpoint, Error, ErrorKind, Node, Problem, Resolve, Result, RunId, Sink, Span, TableName,
};
use transload_plan::{
    AskedRange, Build, Change, ColumnChange, Plan, TableInput, TablePlan, TargetTable, build, check_expression,
    idle_misfit,
};
use transload_spec::{
    CheckEntry, ColumnSettings, Files, Loaded, Mode, Outside, Overrides, Problems, Spec, TableSpec, fits,
};

use crate::args;
use crate::connectors::endpoint;
use crate::environment::Environment;
use crate::output::Failure;
use crate::pinned::{Held, Pinned};
use crate::{others, targets};

/// A pipeline that is right as far as can be told offline.
pub(crate) struct Checked {
    pub(crate) spec: Spec,
    pub(crate) rulebook: Rulebook,
    pub(crate) rulebook_node: Node,
    /// What pins the tables that are read.
    pub(crate) held: Held,
    /// The target, which nothing is pinned of: it is about to change.
    pub(crate) target: Arc<dyn Endpoint>,
    /// The rows that are loaded instead of those that are new.
    backfill: Option<AskedRange>,
}

impl Checked {
    /// The same pipeline, of which only rows are loaded whose cursor lies in a range, if one is asked for.
    pub(crate) fn backfilling(mut self, range: Option<&args::Range>) -> Self {
        self.backfill = range.map(|args::Range { from, to }| {
            let file = self.spec.files.add("--backfill", format!("{from}..{to}"));
            let behind = |text: &str, before: u32, start: u32| Spanned {
                value: text.to_string(),
                span: Span { file, line: 1, column: before + 1, start, len: text.len() as u32 },
            };
            let (characters, bytes) = (from.chars().count() as u32 + 2, from.len() as u32 + 2);
            AskedRange { from: behind(from, 0, 0), to: behind(to, characters, bytes) }
        });
        self
    }
}

/// What to do without a file.
pub(crate) const START: &str = "`transload init` writes a pipeline to start from";

/// Resolves references from the process's environment.
pub(crate) fn resolver() -> Arc<dyn Resolve> {
    Arc::new(Environment)
}

/// Reads and checks a pipeline without touching any data.
pub(crate) fn check(path: &Path, overrides: &args::Overrides) -> Result<Checked, Failure> {
    let name = path.display().to_string();
    let text = read_text(path, START)?;
    let overrides = Overrides { environment: overrides.env.clone(), settings: overrides.set.clone() };
    let outside = Outside { read: &|own| std::fs::read_to_string(own), check: &check_rule };
    let Loaded { mut spec, mut problems } = transload_spec::load(&name, &text, &overrides, outside)?;
    let is_whole = problems.is_empty();
    let mut found = Vec::new();
    let rulebook = rulebook(&mut spec, &mut found);
    let resolver = resolver();
    let source = open_source(&spec.source, &spec, &resolver, &mut found);
    let target = open(&spec.target, &resolver, &mut found);
    for other in &spec.other_sources {
        open_source(other, &spec, &resolver, &mut found);
    }
    for other in &spec.other_targets {
        open(other, &resolver, &mut found);
    }
    for quarantine in spec.quarantine.iter().chain(&spec.other_quarantines) {
        check_quarantine(quarantine, &resolver, &mut found);
    }
    for table in &spec.tables {
        found.extend(check_table(table, source.as_deref(), target.as_deref(), &spec));
        // What was said of a cast may be what is wrong.
        if let Some(source) = source.as_deref().filter(|_| is_whole) {
            found.extend(check_misfits(table, source));
        }
    }
    if let Some(target) = target.as_deref() {
        found.extend(targets::check_twins(spec.tables.iter().filter(|table| !table.is_wildcard()), target));
    }
    // What is said of a place that is wrong already only follows from it.
    let wrong: BTreeSet<Span> = problems.iter().map(|problem| problem.span).collect();
    problems.extend(found.into_iter().filter(|problem| !wrong.contains(&problem.span)));
    match (rulebook, source, target) {
        (Some((rulebook, rulebook_node)), Some(source), Some(target)) if problems.is_empty() => {
            let held = Held::new(source, Arc::clone(&target));
            Ok(Checked { spec, rulebook, rulebook_node, held, target, backfill: None })
        }
        _ => Err(Problems::new(spec.files, problems).into()),
    }
}

/// Makes the endpoint of a connection, if there is one.
fn open(connection: &Kinded, resolver: &Arc<dyn Resolve>, problems: &mut Vec<Problem>) -> Option<Arc<dyn Endpoint>> {
    if connection.kind.is_placeholder() {
        return None;
    }
    endpoint(&connection.kind, &connection.options, resolver).map_err(|found| problems.extend(found)).ok()
}

/// Whether rows can be put aside there.
fn check_quarantine(connection: &Kinded, resolver: &Arc<dyn Resolve>, problems: &mut Vec<Problem>) {
    let Some(quarantine) = open(connection, resolver, problems) else { return };
    if let Err(reason) = quarantine.check_write(&adding(&TableName::new(""))) {
        problems.push(Problem::new(connection.kind.span, reason));
    }
    // Beside the values as the source gave them, lists of reasons are put aside: not every format holds them.
    let format = connection.options.get("format");
    if let Some(format) = format.filter(|format| format.value != Value::Text("parquet".to_string())) {
        let message = "rows are put aside as Parquet files";
        problems.push(Problem::new(format.span, message).hint("remove `format`"));
    }
}

/// How rows are added to a table by a run that there is not yet.
pub(crate) fn adding(table: &TableName) -> WriteSpec {
    WriteSpec {
        commit: CommitKey::new(&RunId::new(&Clock::system()), table),
        mode: WriteMode::Append,
        partition_by: Vec::new(),
        expected: Expected::Anything,
        key: Vec::new(),
    }
}

fn open_source(
    connection: &Kinded,
    spec: &Spec,
    resolver: &Arc<dyn Resolve>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<dyn Endpoint>> {
    let source = open(connection, resolver, problems)?;
    // Without a target nobody knows.
    if !spec.target.kind.is_placeholder() && !spec.is_target_too(connection) {
        problems.extend(source.check_read());
    }
    Some(source)
}

/// The text of a file. Where to get one is said if there is none.
pub(crate) fn read_text(path: &Path, otherwise: &str) -> Result<String, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|e| Error::from(e).with("file", name.clone()).hint(format!("check the path; {otherwise}")))?;
    String::from_utf8(bytes).map_err(|broken| {
        let good = String::from_utf8_lossy(&broken.as_bytes()[..broken.utf8_error().valid_up_to()]).into_owned();
        let line = good.matches('\n').count() as u32 + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
        let mut files = Files::default();
        let span = Span { file: files.add(name, good.as_str()), line, column, start: good.len() as u32, len: 0 };
        let problem = Problem::new(span, "the file is not UTF-8 text").hint("save it as UTF-8");
        Problems::new(files, vec![problem]).into()
    })
}

fn rulebook(spec: &mut Spec, problems: &mut Vec<Problem>) -> Option<(Rulebook, Node)> {
    let said = &spec.rulebook;
    if said.is_placeholder() {
        return None;
    }
    let (name, text) = match Rulebook::built_in(said) {
        Some(text) => (format!("rulebooks/{}.yaml", said.value), text.to_string()),
        None => match std::fs::read_to_string(&said.value) {
            Ok(text) => (said.value.clone(), text),
            Err(e) => {
                let problem = Problem::new(said.span, format!("there is no rulebook `{}`: {e}", said.value));
                let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                let hint = format!("built in are {}; your own is given by its path", known.join(", "));
                problems.push(problem.hint(hint));
                return None;
            }
        },
    };
    let node = spec.files.parse(name, &text).map_err(|found| problems.extend(found)).ok()?;
    let rulebook = Rulebook::read(&node).map_err(|found| problems.extend(found)).ok()?;
    Some((rulebook, node))
}

/// What is wrong with a quality check, as far as that can be told without knowing the columns.
fn check_rule(entry: &CheckEntry) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Kinded { kind, options } = &entry.0;
    transload_quality::read(kind, options, &mut problems);
    for sql in transload_quality::expressions(kind, options) {
        problems.extend(check_expression(&sql, sql.span));
    }
    problems
}

fn check_table(
    table: &TableSpec,
    source: Option<&dyn Endpoint>,
    target: Option<&dyn Endpoint>,
    spec: &Spec,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(source) = source {
        problems.extend(check_from(table, source, spec));
    }
    if let Some(target) = target {
        problems.extend(check_to(table, target, spec));
    }
    problems.extend(others::check(table, source, target, spec));
    let derived = table.settings.derive.iter().flat_map(|d| &d.0).map(|(_, sql)| sql);
    for sql in derived.chain(&table.settings.filter).chain(table.settings.deleted()) {
        problems.extend(check_expression(sql, sql.span));
    }
    problems
}

/// Whether the source can have the table, or any table that fits the name.
fn check_from(table: &TableSpec, source: &dyn Endpoint, spec: &Spec) -> Option<Problem> {
    let from = &table.from;
    if !table.is_wildcard() {
        let reason = source.check_name(&TableName::new(from.value.clone())).err()?;
        return Some(Problem::new(from.span, reason));
    }
    let known = source.known_tables()?;
    if known.iter().any(|name| table.expand(name.as_str()).is_some()) {
        return None;
    }
    let names: Vec<&str> = known.iter().map(TableName::as_str).collect();
    let message = format!("no table of {} fits `{}`", spec.source.kind.value, from.value);
    Some(Problem::new(from.span, message).hint(format!("it has {}", names.join(", "))))
}

/// Where a source declares no types, a column is cast only if the pipeline says so. Columns that only `defaults` name
/// may wait for other tables.
fn check_misfits(table: &TableSpec, source: &dyn Endpoint) -> Vec<Problem> {
    if source.declares_types() {
        return Vec::new();
    }
    let idle = |name: &Spanned<String>| match table.settings.columns.as_ref()?.get(name)? {
        ColumnSettings { cast: None, on_misfit: Some(misfit), .. } => idle_misfit(name, misfit),
        _ => None,
    };
    table.own_columns.iter().filter_map(idle).collect()
}

/// Whether the target can take the table.
fn check_to(table: &TableSpec, target: &dyn Endpoint, spec: &Spec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let plain = adding(&TableName::new(""));
    let write = WriteSpec { mode: table.settings.write(), ..plain.clone() };
    // What a target cannot do whatever the mode is said of the target.
    let mode = table.settings.mode.as_ref().filter(|_| target.check_write(&plain).is_ok());
    if let Err(reason) = target.check_write(&write) {
        problems.push(Problem::new(mode.map_or(spec.target.kind.span, |mode| mode.span), reason));
    }
    // What a `*` stands for is known later.
    if !table.is_wildcard()
        && let Err(reason) = targets::check_name(target, &TableName::new(table.to.value.as_str()))
    {
        problems.push(Problem::new(table.to.span, reason));
    }
    problems
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Loading what is new.
    Load,
    /// Comparing everything.
    Compare,
}

/// Pins every source and decides what a run would do.
pub(crate) async fn plan(checked: &Checked, tables: &[String], purpose: Purpose) -> Result<Pinned, Failure> {
    let mut wanted: Vec<TableSpec> = Vec::new();
    for table in &checked.spec.tables {
        if !table.is_wildcard() {
            wanted.push(table.clone());
            continue;
        }
        for found in checked.held.source.list().await? {
            wanted.extend(table.expand(found.as_str()));
        }
    }
    let all = wanted.clone();
    if !tables.is_empty() {
        wanted.retain(|t| tables.iter().any(|pattern| fits(pattern, &t.to.value)));
    }
    if wanted.is_empty() {
        return Err(Error::new(ErrorKind::NothingToDo, "no table fits")
            .hint("`transload discover` lists the tables")
            .into());
    }
    let misnamed = targets::check_found(&wanted, checked.target.as_ref());
    if !misnamed.is_empty() {
        return Err(Problems::new(checked.spec.files.clone(), misnamed).into());
    }
    let others = others::find(checked, &all, &wanted, purpose).await?;
    let settings: Vec<Option<Span>> =
        wanted.iter().map(|t| t.settings.on_schema_change.as_ref().map(|setting| setting.span)).collect();
    let mut inputs = Vec::with_capacity(wanted.len());
    for spec in wanted {
        let mut input = input(checked, spec, purpose).await?;
        if purpose == Purpose::Load {
            input.backfill = checked.backfill.clone();
            input.target.iter_mut().for_each(|table| table.is_written = true);
        }
        inputs.push(input);
    }
    let rulebook = (&checked.rulebook, &checked.rulebook_node);
    let plan = build(Build { spec: &checked.spec, rulebook, tables: inputs, others: Some(others) })?;
    let mut problems = Vec::new();
    if purpose == Purpose::Load {
        for (table, setting) in plan.tables.iter().zip(settings) {
            let named = |e: Error| e.with("table", table.to.as_str());
            let sink = sink(table, &checked.target).await.map_err(named)?;
            match (sink.fits().await, setting) {
                (Err(error), Some(setting)) if error.kind() == ErrorKind::Config => {
                    problems.push(unfit(table, setting, &error));
                }
                (fits, _) => fits.map_err(named)?,
            }
        }
    }
    if !problems.is_empty() {
        return Err(Problems::new(checked.spec.files.clone(), problems).into());
    }
    Ok(Pinned { plan, held: checked.held.clone() })
}

/// Where the rows of a table would go. Refuses columns that the target cannot hold: better now than when the first rows are
/// there.
async fn sink(table: &TablePlan, target: &Arc<dyn Endpoint>) -> Result<Arc<dyn Sink>> {
    let columns: Vec<Field> = table.columns.iter().map(|c| c.ty.to_field(&c.name, c.nullable)).collect();
    let spec = table.write_spec(adding(&table.to).commit);
    target.sink(&table.to, Arc::new(Schema::new(columns)), &spec).await
}

/// Says that the target's table does not take the rows as `on_schema_change`, which stands at `setting`, has them.
fn unfit(table: &TablePlan, setting: Span, error: &Error) -> Problem {
    let is_new = |c: &&ColumnChange| matches!(c.change, Change::New | Change::Retyped { .. });
    let changes = table.schema_change.iter().flat_map(|s| &s.changes).filter(is_new);
    let changed: Vec<String> = changes.map(|c| format!("`{}`", c.column)).collect();
    let changed = if changed.is_empty() { String::new() } else { format!(", with {} changed", changed.join(", ")) };
    let message = format!("`{}` in the target does not take the rows{changed}: {}", table.to, error.chain().join(": "));
    Problem { hint: error.hint_text().map(str::to_string), ..Problem::new(setting, message) }
}

/// Pins a table of the pipeline, and asks the target what it remembers of it.
pub(crate) async fn input(checked: &Checked, spec: TableSpec, purpose: Purpose) -> Result<TableInput> {
    let source = checked.held.source.source(&TableName::new(spec.from.value.clone()), &ReadSpec::default()).await?;
    let to = TableName::new(spec.to.value.clone());
    let state = match purpose {
        Purpose::Compare => None,
        Purpose::Load => checked.target.sink(&to, Arc::new(Schema::empty()), &adding(&to)).await?.state().await?,
    };
    // Rows that a merge brings again take the place of those that are there.
    let is_incremental = matches!(spec.settings.mode.as_ref().map(|m| &m.value), Some(Mode::Incremental { .. }))
        && spec.settings.write() != WriteMode::Merge;
    let has_rows_without_cursor = match &state {
        Some((_, state)) if is_incremental && state.cursor.is_none() => has_rows(&checked.target, &to).await?,
        _ => false,
    };
    let target = match (&spec.settings.on_schema_change, purpose) {
        (None, _) => None,
        (Some(_), Purpose::Load) if state.is_none() => None,
        (Some(_), Purpose::Load) => Some(checked.target.columns(&to).await?),
        // Whether there is a table says the comparison.
        (Some(_), Purpose::Compare) => match checked.target.columns(&to).await {
            Err(error) if error.kind() == ErrorKind::Config => None,
            columns => Some(columns?),
        },
    };
    let target = target.map(|columns| TargetTable::new(&columns, checked.target.keeps_types()));
    Ok(TableInput { spec, source, state, has_rows_without_cursor, target, backfill: None })
}

/// Whether a table has rows, or may have.
async fn has_rows(endpoint: &Arc<dyn Endpoint>, table: &TableName) -> Result<bool> {
    let source = endpoint.source(table, &ReadSpec::default()).await?;
    let rows: Option<u64> = source.splits().iter().map(|s| s.rows).sum();
    Ok(rows != Some(0))
}

/// The rulebook that a plan carries.
pub(crate) fn planned_rulebook(plan: &Plan) -> Result<Rulebook> {
    Rulebook::read(&plan.rulebook).map_err(|_| {
        Error::config("the plan's rulebook cannot be read").hint("another version made it: make a new plan")
    })
}

/// The rulebook of who names none.
pub(crate) fn standard_rulebook() -> Result<Rulebook, Failure> {
    let text = Rulebook::built_in("standard").ok_or_else(|| Error::internal("there is no standard rulebook"))?;
    let (node, files) = transload_spec::parse_document("rulebooks/standard.yaml", text)?;
    Rulebook::read(&node).map_err(|problems| Problems::new(files, problems).into())
}
