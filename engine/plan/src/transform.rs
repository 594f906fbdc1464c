//! What happens to a row between source and target: casts, filter, derived columns, checks, masks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    UInt64Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::min_max::MaxAccumulator;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Accumulator, Expr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use transload_coerce::{Cast, Loss, MaskKind, Rulebook};
use transload_core::connector::{FAULT_COLUMN, ORIGIN_COLUMN, hidden_column, takes_hidden_name};
use transload_core::value::Loss as LossCount;
use transload_core::{Error, ErrorKind, LogicalType, Result};
use transload_quality::{Reason, Tally, evaluate};
use transload_spec::file::MetadataColumn;

use crate::build::cast_schema;
use crate::checks::{Checks, Found, View, bits_of};
use crate::expr::{Expressions, lacks_value};
use crate::plan::{OnMisfit, Origin, TablePlan};
use crate::quarantine::{self, FILTER_CODE, LINE_CODE, MISFIT_CODE};

/// What the metadata columns of a run say.
#[derive(Debug, Clone, Default)]
pub struct RunFacts {
    /// Name of the run.
    pub run_id: String,
    /// Start of the run, in µs since 1970 UTC.
    pub started_micros: i64,
    /// Kind of the source and name of the table in it.
    pub source_system: String,
}

/// Where a row stands among those of its table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of its split, from 0.
    pub split: usize,
    /// Its place among the rows read from its split, from 0.
    pub position: u64,
}

/// The executable form of a table's plan.
pub struct Transform {
    source: SchemaRef,
    cast_schema: SchemaRef,
    output: SchemaRef,
    quarantine: SchemaRef,
    /// One per source column.
    casts: Vec<SourceCast>,
    fault: Option<usize>,
    /// The column that says where a row from quarantine comes from.
    origin: Option<usize>,
    /// Identifies the rule that a line must be readable.
    line_fingerprint: String,
    filter: Option<Filter>,
    /// Whether a row is a delete marker.
    deleted: Option<Arc<dyn PhysicalExpr>>,
    checks: Option<Checks>,
    outputs: Vec<Output>,
    /// The columns of what it gives; none, if it is only there for the checks.
    written: SchemaRef,
    facts: RunFacts,
    pushdown: Vec<Expr>,
    cursor: Option<usize>,
    /// The source columns that are scanned, and where each source column stands among them.
    projection: Vec<usize>,
    positions: Vec<Option<usize>>,
    /// For each source column that is not scanned a batch of NULLs.
    absent: Vec<Option<ArrayRef>>,
}

struct SourceCast {
    /// `None` leaves the column alone.
    cast: Option<(Cast, OnMisfit, bool)>,
    /// Whether anything reads the result.
    needed: bool,
    /// What quarantine says of a value that does not fit: identity of the rule, and the rule in words.
    misfit: (String, String),
}

struct Filter {
    /// The whole of it, the cursor's part too: what stands behind an `and` may rely on what stands before it.
    condition: Arc<dyn PhysicalExpr>,
    columns: Vec<usize>,
    /// The parts that `and` joins, each with the columns it reads.
    parts: Vec<(Arc<dyn PhysicalExpr>, Vec<usize>)>,
    /// Identifies it in quarantine, if rows that it leaves out are put aside again.
    keeps: Option<String>,
}

enum Output {
    Source { column: usize, mask: Option<(Cast, MaskKind)> },
    Derived(Arc<dyn PhysicalExpr>),
    Metadata(MetadataColumn),
    Gone,
}

/// For columns with values that do not fit, or were changed, which rows they are in.
type Marks = Vec<(usize, BooleanBuffer)>;

/// Why rows of a batch are put aside.
struct Reasons<'a> {
    /// The rows that the filter lets through.
    passed: &'a BooleanBuffer,
    misfits: &'a [(usize, BooleanBuffer)],
    fault: Option<&'a ArrayRef>,
    found: Option<&'a Found>,
    seen: &'a BooleanBuffer,
}

/// Rows that were put aside: as the source gave them, each with its reasons and where it is from.
#[derive(Debug, Clone)]
pub struct Quarantined {
    /// The rows, in the layout of [`Transform::quarantine_schema`].
    pub rows: RecordBatch,
}

/// What became of a batch of source rows.
#[derive(Debug)]
pub struct Transformed {
    /// Rows for the target.
    pub rows: RecordBatch,
    /// Delete markers, in the same columns; `None` if there are none.
    pub deleted: Option<RecordBatch>,
    /// How many rows the filter left out; in a replay they are put aside.
    pub filtered: u64,
    /// How many rows were put aside.
    pub aside: u64,
    /// Rows put aside; `None` if there are none, or the transform is only there for the checks.
    pub quarantined: Option<Quarantined>,
    /// What the casts lost, for columns where they lost anything.
    pub losses: Vec<LossCount>,
    /// Highest value of the cursor among rows that were not filtered.
    pub cursor: Option<ScalarValue>,
}

/// Rows for which NULLs are made in advance: what a source gives at once.
const BATCH_ROWS: usize = 8192;

impl Transform {
    /// Makes a table's plan executable for rows of `source`.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the plan does not fit the source's schema (any more).
    pub fn new(plan: &TablePlan, source: &SchemaRef, rulebook: &Rulebook, facts: RunFacts) -> Result<Self> {
        Self::compile(plan, source, rulebook, facts, true)
    }

    /// As [`new`](Self::new), but only for what the checks find: the rows it gives have no columns, and it reads no more
    /// than decides about rows and checks.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn checking(plan: &TablePlan, source: &SchemaRef, rulebook: &Rulebook, facts: RunFacts) -> Result<Self> {
        Self::compile(plan, source, rulebook, facts, false)
    }

    fn compile(
        plan: &TablePlan,
        source: &SchemaRef,
        rulebook: &Rulebook,
        facts: RunFacts,
        writes: bool,
    ) -> Result<Self> {
        let moved = |what: String| {
            Error::config(what).with("table", plan.from.as_str()).hint("the source has changed: make a new plan")
        };
        let planned: Vec<&str> = plan.source_columns.iter().map(|c| c.name.as_str()).collect();
        let found: Vec<&str> = source.fields().iter().map(|f| f.name().as_str()).collect();
        if planned != found {
            return Err(moved("the source's columns are not those of the plan".to_string()));
        }
        if let Some(field) = source.fields().iter().find(|f| takes_hidden_name(f)) {
            return Err(moved(format!("column {} has a name of transload's own", field.name())));
        }
        let cast_schema =
            cast_schema(source, &plan.columns).ok_or_else(|| moved("a column's type cannot be moved".to_string()))?;
        let expressions = Expressions::new(&cast_schema).map_err(Error::internal)?;
        let compile = |sql: &str| {
            let expr = expressions.logical(sql).map_err(Error::config)?;
            Ok::<_, Error>((expressions.physical(&expr).map_err(Error::config)?, expr))
        };

        let mut casts = Vec::with_capacity(source.fields().len());
        for (field, column) in source.fields().iter().zip(&plan.source_columns) {
            let from =
                LogicalType::of(field).ok_or_else(|| moved(format!("column {} has an unknown type", field.name())))?;
            if from != column.ty {
                return Err(moved(format!("column {} is {from} and was planned as {}", field.name(), column.ty)));
            }
            let planned = plan.columns.iter().find_map(|c| match (&c.origin, &c.cast) {
                (Origin::Source(name), Some(cast)) if name == field.name() => Some(cast),
                _ => None,
            });
            let cast = match planned {
                Some(p) => {
                    let cast = Cast::new(rulebook, &p.from, &p.to)
                        .ok_or_else(|| Error::internal("the rulebook of the plan refuses a cast of the plan"))?;
                    // What does not fit an exact cast are dates with a time of day, which no policy expects.
                    let policy = if p.loss == Loss::Exact { OnMisfit::Error } else { p.on_misfit };
                    Some((cast, policy, true))
                }
                None if LogicalType::plain_layout(field).as_ref() != Some(field)
                    && LogicalType::plain_layout(field).is_some_and(|f| f.data_type() != field.data_type()) =>
                {
                    Some((Cast::layout(&from), OnMisfit::Error, false))
                }
                None => None,
            };
            // A value that does not fit may stop the load or put its row aside, whoever reads the column.
            let needed = planned.is_some_and(|p| {
                p.loss != Loss::Exact && matches!(p.on_misfit, OnMisfit::Error | OnMisfit::Quarantine)
            });
            let to = cast.as_ref().map_or_else(String::new, |(cast, ..)| cast.to().to_string());
            let misfit = (
                quarantine::fingerprint(MISFIT_CODE, &[field.name(), &from.to_string(), &to]),
                format!("{} does not fit {to}", field.name()),
            );
            casts.push(SourceCast { cast, needed, misfit });
        }

        let mut outputs = Vec::with_capacity(plan.columns.len());
        let mut fields = Vec::with_capacity(plan.columns.len());
        for column in &plan.columns {
            let field = match &column.origin {
                Origin::Source(name) => {
                    let at = cast_schema.index_of(name)?;
                    let before = cast_schema.field(at);
                    casts[at].needed |= writes;
                    let mask = match column.mask {
                        Some(kind) => {
                            let ty = LogicalType::of(before).unwrap_or(LogicalType::Text);
                            let cast = match ty {
                                LogicalType::Text => Some(Cast::layout(&ty)),
                                _ => Cast::new(rulebook, &ty, &LogicalType::Text),
                            };
                            Some((cast.ok_or_else(|| Error::internal("a mask has no cast to text"))?, kind))
                        }
                        None => None,
                    };
                    let field = match mask {
                        Some(_) => Field::new(&column.name, DataType::Utf8, before.is_nullable()),
                        None => before.clone().with_name(&column.name),
                    };
                    outputs.push(Output::Source { column: at, mask });
                    field
                }
                Origin::Derived(sql) => {
                    let (physical, expr) = compile(sql)?;
                    collect_columns(&physical).iter().for_each(|c| casts[c.index()].needed |= writes);
                    outputs.push(Output::Derived(physical));
                    expressions.field(&column.name, &expr).map_err(Error::config)?
                }
                Origin::Metadata(kind) => {
                    outputs.push(Output::Metadata(*kind));
                    column.ty.to_field(&column.name, false)
                }
                Origin::Gone => {
                    outputs.push(Output::Gone);
                    column.ty.to_field(&column.name, true)
                }
            };
            fields.push(field);
        }

        let mut conjuncts = Vec::new();
        if let Some(sql) = &plan.filter {
            conjuncts.extend(split_conjunction_owned(compile(sql)?.1));
        }
        let mut cursor = None;
        if let Some(incremental) = &plan.incremental {
            conjuncts.extend(split_conjunction_owned(expressions.is_new(incremental).map_err(Error::config)?));
            let at = cast_schema.index_of(&incremental.cursor)?;
            casts[at].needed = true;
            cursor = Some(at);
        }
        let untouched = |e: &Expr| {
            e.column_refs().iter().all(|c| cast_schema.index_of(&c.name).is_ok_and(|i| casts[i].cast.is_none()))
        };
        // A source that leaves rows out itself gives none of them to be put aside.
        let kept = plan.keeps_filtered();
        let pushdown: Vec<Expr> = conjuncts.iter().filter(|e| !kept && untouched(e)).cloned().collect();
        // How many rows these keep out is to be known, so no reader leaves them out before.
        let keep_out = plan.keep_rows_out();
        conjuncts.extend(keep_out.iter().map(|column| lacks_value(column)));
        let filter = match conjuncts.iter().cloned().reduce(Expr::and) {
            None => None,
            Some(all) => {
                let part = |expr: &Expr| {
                    let condition = expressions.physical(expr).map_err(Error::config)?;
                    let columns: Vec<usize> = collect_columns(&condition).iter().map(|c| c.index()).collect();
                    Ok::<_, Error>((condition, columns))
                };
                let (condition, columns) = part(&all)?;
                columns.iter().for_each(|c| casts[*c].needed = true);
                let parts = conjuncts.iter().map(part).collect::<Result<_>>()?;
                let sql = plan.filter.as_deref().unwrap_or_default();
                let about: Vec<&str> = std::iter::once(sql).chain(keep_out.iter().copied()).collect();
                let keeps = kept.then(|| quarantine::fingerprint(FILTER_CODE, &about));
                Some(Filter { condition, columns, parts, keeps })
            }
        };

        let deleted = match &plan.deleted {
            None => None,
            Some(sql) => {
                let (condition, _) = compile(sql)?;
                collect_columns(&condition).iter().for_each(|c| casts[c.index()].needed = true);
                Some(condition)
            }
        };

        let checks = match plan.checks.is_empty() {
            true => None,
            false => {
                let view = View::new(&cast_schema, &expressions, &plan.columns).map_err(Error::config)?;
                let checks = Checks::new(view, &plan.checks, &plan.key, facts.started_micros)
                    .map_err(|e| e.with("table", plan.from.as_str()).hint("the source has changed: make a new plan"))?;
                checks.reads().for_each(|column| casts[column].needed = true);
                Some(checks)
            }
        };

        // Quarantine keeps whole rows, so then everything is read.
        let whole = writes && plan.can_quarantine();
        let fault = hidden_column(source, FAULT_COLUMN);
        let projection: Vec<usize> =
            (0..source.fields().len()).filter(|i| whole || casts[*i].needed || fault == Some(*i)).collect();
        let mut positions = vec![None; source.fields().len()];
        projection.iter().enumerate().for_each(|(at, column)| positions[*column] = Some(at));
        let cast_schema = Arc::new(Schema::new(
            cast_schema
                .fields()
                .iter()
                .zip(&positions)
                .map(
                    |(f, at)| {
                        if at.is_some() { Arc::clone(f) } else { Arc::new(f.as_ref().clone().with_nullable(true)) }
                    },
                )
                .collect::<Fields>(),
        ));

        let absent = cast_schema
            .fields()
            .iter()
            .zip(&positions)
            .map(|(f, at)| at.is_none().then(|| new_null_array(f.data_type(), BATCH_ROWS)))
            .collect();

        let output = Arc::new(Schema::new(fields));
        Ok(Self {
            source: Arc::clone(source),
            fault,
            origin: hidden_column(source, ORIGIN_COLUMN),
            line_fingerprint: quarantine::fingerprint(LINE_CODE, &[]),
            cast_schema,
            written: if writes { Arc::clone(&output) } else { Arc::new(Schema::empty()) },
            output,
            quarantine: Arc::new(quarantine::schema(source)),
            casts,
            filter,
            deleted,
            checks,
            outputs,
            facts,
            pushdown,
            cursor,
            projection,
            positions,
            absent,
        })
    }

    /// The target's columns; none, if it is only there for the checks.
    pub fn schema(&self) -> &SchemaRef {
        &self.written
    }

    /// Whether it gives rows for a target, and not only what the checks find.
    pub fn writes(&self) -> bool {
        self.written.fields().len() == self.output.fields().len()
    }

    /// The columns of quarantined rows: the source's, then the rules they break and where they are from.
    pub fn quarantine_schema(&self) -> &SchemaRef {
        &self.quarantine
    }

    /// The columns that a check names, as checks see them.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if there is no such check.
    pub fn check_schema(&self, check: usize) -> Result<SchemaRef> {
        let checks = self.checks.as_ref().ok_or_else(|| Error::internal("a table without checks is checked"))?;
        Ok(Arc::new(checks.schema().project(checks.pass.columns(check))?))
    }

    /// The part of the filter that the source may apply too.
    pub fn pushdown(&self) -> &[Expr] {
        &self.pushdown
    }

    /// The source columns that [`apply`](Self::apply) expects, by position.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// The source column behind a column of the target that is neither masked nor computed, and its cast if it has
    /// one.
    pub fn carried(&self, output: usize) -> Option<(&str, Option<&Cast>)> {
        match self.outputs.get(output)? {
            Output::Source { column, mask: None } => {
                let cast = self.casts[*column].cast.as_ref().map(|(cast, ..)| cast);
                Some((self.source.field(*column).name(), cast))
            }
            _ => None,
        }
    }

    /// How the values of a column of the target are hidden: by a cast to text, and a mask. `None` if they are not.
    pub fn hiding(&self, column: &str) -> Option<(&Cast, MaskKind)> {
        match self.outputs.get(self.output.index_of(column).ok()?)? {
            Output::Source { mask: Some((cast, mask)), .. } => Some((cast, *mask)),
            _ => None,
        }
    }

    /// A cursor's value in the form a target remembers.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if it cannot be written as text.
    pub fn cursor_text(value: &ScalarValue) -> Result<String> {
        Ok(arrow::util::display::array_value_to_string(&value.to_array()?, 0)?)
    }

    /// The highest of several remembered cursor values.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if one is not of the cursor's type.
    pub fn highest_cursor<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> Result<Option<String>> {
        let Some(column) = self.cursor else { return Ok(None) };
        let ty = self.cast_schema.field(column).data_type();
        let mut highest: Option<(ScalarValue, &str)> = None;
        for text in texts {
            let value = ScalarValue::try_from_string(text.to_string(), ty)?;
            if highest.as_ref().is_none_or(|(h, _)| value.partial_cmp(h) == Some(std::cmp::Ordering::Greater)) {
                highest = Some((value, text));
            }
        }
        Ok(highest.map(|(_, text)| text.to_string()))
    }

    /// An empty tally for one unit of work. `show_values`: whether values that break a rule may be kept.
    pub fn tally(&self, show_values: bool) -> Tally {
        self.checks.as_ref().map(|c| c.pass.tally(show_values)).unwrap_or_default()
    }

    /// Transforms a batch of the scanned columns of source rows. `place` is that of its first row, `tally` that of the
    /// split.
    ///
    /// # Errors
    /// [`Quality`](ErrorKind::Quality) if a value does not fit and its policy is to stop.
    pub fn apply(&self, batch: &RecordBatch, place: Place, tally: &mut Tally) -> Result<Transformed> {
        let rows = batch.num_rows();
        let mut losses: BTreeMap<usize, LossCount> = BTreeMap::new();
        let (columns, misfits, changed) = self.cast(batch)?;
        let fault =
            self.fault.and_then(|i| self.positions[i]).map(|at| batch.column(at)).filter(|c| c.null_count() < rows);
        let decides = self.filter.is_some() || self.deleted.is_some() || self.checks.is_some();
        if !decides && misfits.is_empty() && fault.is_none() {
            self.count_losses(&mut losses, &misfits, &changed, &BooleanBuffer::new_set(rows));
            let cursor = self.highest(&columns)?;
            let rows = self.output_batch(&columns, rows, None)?;
            return Ok(Transformed {
                rows,
                deleted: None,
                filtered: 0,
                aside: 0,
                quarantined: None,
                losses: losses.into_values().collect(),
                cursor,
            });
        }

        let cast_batch = RecordBatch::try_new_with_options(
            Arc::clone(&self.cast_schema),
            columns,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )?;
        let faulty = fault.map(|f| BooleanBuffer::collect_bool(rows, |i| f.is_valid(i)));
        let passed = self.passed(&cast_batch, &misfits, faulty.as_ref())?;
        let mut aside = faulty.clone().unwrap_or_else(|| BooleanBuffer::new_unset(rows));
        if self.filter.as_ref().is_some_and(|filter| filter.keeps.is_some()) {
            aside = &aside | &!&passed;
        }
        // Columns whose value is not known for some rows, which are put aside.
        let mut unread: Vec<(usize, &BooleanBuffer)> = Vec::new();
        for (column, all) in &misfits {
            let bad = all & &passed;
            let count = bad.count_set_bits() as u64;
            if count == 0 {
                continue;
            }
            match self.policy(*column) {
                // Counted when it is known which rows are written.
                Some(OnMisfit::NullCounted) => {}
                Some(OnMisfit::Quarantine) => {
                    self.loss(&mut losses, *column).quarantined += count;
                    aside = &aside | &bad;
                    unread.push((*column, all));
                }
                _ => return Err(self.misfit(*column, count, place.position + first(&bad))),
            }
        }
        let seen = match &faulty {
            Some(faulty) => &passed & &!faulty,
            None => passed.clone(),
        };
        let markers = match &self.deleted {
            Some(deleted) => Some(&holds("`deleted`", deleted, &cast_batch, Some(&seen))? & &seen),
            None => None,
        };
        let checked = self.check(&cast_batch, &seen, markers.as_ref(), &unread, tally)?;
        if let Some(found) = checked.as_ref().and_then(|(_, found)| found.as_ref()) {
            aside = &aside | &found.rows(&seen);
        }
        let mut keep = &passed & &!&aside;
        let markers = markers.map(|markers| &markers & &keep).filter(BooleanBuffer::has_true);
        if let Some(markers) = &markers {
            keep = &keep & &!markers;
        }
        self.count_losses(&mut losses, &misfits, &changed, &keep);
        let found = checked.as_ref().and_then(|(_, found)| found.as_ref());
        let reasons = Reasons { passed: &passed, misfits: &misfits, fault, found, seen: &seen };
        let quarantined = self.put_aside(batch, &aside, &reasons, place)?;
        let put_aside = aside.count_set_bits() as u64;
        let view = checked.as_ref().map(|(view, _)| view);
        let deleted = match &markers {
            None => None,
            Some(markers) => {
                let (rows, view) = part(&cast_batch, view, &seen, markers)?;
                if let (Some(checks), Some(view)) = (&self.checks, &view) {
                    checks.pass.markers(view, tally)?;
                }
                Some(self.output_batch(rows.columns(), rows.num_rows(), view.as_ref())?)
            }
        };
        let (kept, kept_view) = part(&cast_batch, view, &seen, &keep)?;
        if let (Some(checks), Some(view)) = (&self.checks, &kept_view) {
            checks.pass.table(view, tally)?;
        }
        let going = kept.num_rows() + deleted.as_ref().map_or(0, RecordBatch::num_rows);
        let filtered = (rows - going) as u64 - put_aside;
        let mut cursor = None;
        if self.cursor.is_some() {
            let seen = filter_record_batch(&cast_batch, &BooleanArray::new(passed, None))?;
            cursor = self.highest(seen.columns())?;
        }
        let rows = self.output_batch(kept.columns(), kept.num_rows(), kept_view.as_ref())?;
        let losses = losses.into_values().collect();
        Ok(Transformed { rows, deleted, filtered, aside: put_aside, quarantined, losses, cursor })
    }

    /// Casts the columns that are needed, and finds the values that do not fit and those that were changed.
    fn cast(&self, batch: &RecordBatch) -> Result<(Vec<ArrayRef>, Marks, Marks)> {
        let rows = batch.num_rows();
        let (mut misfits, mut changed) = (Marks::new(), Marks::new());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
        for (i, cast) in self.casts.iter().enumerate() {
            let Some(at) = self.positions[i] else {
                columns.push(match &self.absent[i] {
                    Some(nulls) if rows <= nulls.len() => nulls.slice(0, rows),
                    _ => new_null_array(self.cast_schema.field(i).data_type(), rows),
                });
                continue;
            };
            let array = batch.column(at);
            match &cast.cast {
                Some((cast, _, counts)) if cast.from() == cast.to() || self.casts[i].needed => {
                    let done = cast.apply(array).map_err(|e| e.with("column", self.source.field(i).name()))?;
                    // Whole rows are read for quarantine; what nothing reads of them may be as it is.
                    if let Some(bad) = done.misfits.filter(|_| self.casts[i].needed) {
                        misfits.push((i, bad));
                    }
                    if let Some(bits) = done.changed.filter(|_| *counts) {
                        changed.push((i, bits));
                    }
                    columns.push(done.array);
                }
                _ => columns.push(Arc::clone(array)),
            }
        }
        Ok((columns, misfits, changed))
    }

    /// Counts what the casts lost of the values of rows that are `written`.
    fn count_losses(
        &self,
        losses: &mut BTreeMap<usize, LossCount>,
        misfits: &[(usize, BooleanBuffer)],
        changed: &[(usize, BooleanBuffer)],
        written: &BooleanBuffer,
    ) {
        let count = |bits: &BooleanBuffer| (bits & written).count_set_bits() as u64;
        for (column, bits) in changed {
            match count(bits) {
                0 => {}
                changed => self.loss(losses, *column).changed += changed,
            }
        }
        for (column, bits) in misfits {
            match (self.policy(*column), count(bits)) {
                (Some(OnMisfit::NullCounted), nulled) if nulled > 0 => self.loss(losses, *column).nulled += nulled,
                _ => {}
            }
        }
    }

    /// What happens to values of a column that do not fit.
    fn policy(&self, column: usize) -> Option<OnMisfit> {
        self.casts[column].cast.as_ref().map(|(_, policy, _)| *policy)
    }

    /// Looks at the rows that are `seen`, `markers` among them: what checks see of them, and which of them are to be put
    /// aside.
    fn check(
        &self,
        batch: &RecordBatch,
        seen: &BooleanBuffer,
        markers: Option<&BooleanBuffer>,
        unread: &[(usize, &BooleanBuffer)],
        tally: &mut Tally,
    ) -> Result<Option<(RecordBatch, Option<Found>)>> {
        let Some(checks) = &self.checks else { return Ok(None) };
        let all = !seen.has_false();
        let rows = match all {
            true => batch.clone(),
            false => filter_record_batch(batch, &BooleanArray::new(seen.clone(), None))?,
        };
        let derive = |number: usize| match &self.outputs[number] {
            Output::Derived(expr) => derived(expr, &rows, self.output.field(number)),
            _ => Err(Error::internal("a column is not derived")),
        };
        let view = checks.seen(rows.columns(), rows.num_rows(), derive)?;
        let mut unread_of_seen = Vec::with_capacity(unread.len());
        for (column, bad) in unread {
            unread_of_seen.push((*column, if all { (*bad).clone() } else { bits_of(bad, seen)? }));
        }
        let unread: Vec<(usize, &BooleanBuffer)> = unread_of_seen.iter().map(|(c, bad)| (*c, bad)).collect();
        let markers = match markers {
            Some(markers) if !all => Some(bits_of(markers, seen)?),
            markers => markers.cloned(),
        };
        let aside = checks.pass.rows(&view, &|column| checks.unsure(column, &unread), markers.as_ref(), tally)?;
        Ok(Some((view, aside.map(|aside| Found::new(aside, seen)))))
    }

    /// Rows that the filter lets through. A row whose filter depends on a value that does not fit is let through too,
    /// unless the rest of the filter leaves it out: it is the misfit's policy that decides about it.
    fn passed(
        &self,
        batch: &RecordBatch,
        misfits: &[(usize, BooleanBuffer)],
        faulty: Option<&BooleanBuffer>,
    ) -> Result<BooleanBuffer> {
        let rows = batch.num_rows();
        let Some(filter) = &self.filter else { return Ok(BooleanBuffer::new_set(rows)) };
        let mut passed = holds("the filter", &filter.condition, batch, None)?;
        let bad = misfits.iter().filter(|(c, _)| filter.columns.contains(c)).map(|(_, bad)| bad.clone());
        if let Some(bad) = bad.reduce(|all, bad| &all | &bad) {
            passed = &passed | &filter.not_left_out(batch, misfits, &bad & &!&passed)?;
        }
        if let Some(faulty) = faulty {
            passed = &passed | faulty;
        }
        Ok(passed)
    }

    fn loss<'l>(&self, losses: &'l mut BTreeMap<usize, LossCount>, column: usize) -> &'l mut LossCount {
        losses.entry(column).or_insert_with(|| {
            let (from, to) = match &self.casts[column].cast {
                Some((cast, _, _)) => (cast.from().to_string(), cast.to().to_string()),
                None => (String::new(), String::new()),
            };
            LossCount { column: self.source.field(column).name().clone(), from, to, ..LossCount::default() }
        })
    }

    fn misfit(&self, column: usize, count: u64, first: u64) -> Error {
        let cast = self.casts[column].cast.as_ref().map(|(cast, _, _)| cast);
        let to = cast.map(|c| c.to().to_string()).unwrap_or_default();
        let hint = match cast.map(Cast::loss) {
            Some(Loss::Exact) => "repair the source: its dates hold a time of day, which would be cut",
            _ => "repair the source, or set `on_misfit: quarantine` (or null_counted, text, widen) for this column",
        };
        let (values, do_not) = if count == 1 { ("value", "does") } else { ("values", "do") };
        Error::new(
            ErrorKind::Quality,
            format!("{count} {values} in one batch {do_not} not fit {to}; the first is in row {first} of its split"),
        )
        .with("column", self.source.field(column).name())
        .hint(hint)
    }

    fn put_aside(
        &self,
        batch: &RecordBatch,
        aside: &BooleanBuffer,
        reasons: &Reasons<'_>,
        place: Place,
    ) -> Result<Option<Quarantined>> {
        if !aside.has_true() || !self.writes() {
            return Ok(None);
        }
        let rows: Vec<usize> = aside.set_indices().collect();
        let mask = BooleanArray::new(aside.clone(), None);
        let mut columns = Vec::with_capacity(self.quarantine.fields().len());
        for (i, array) in batch.columns().iter().enumerate() {
            if Some(i) != self.fault && Some(i) != self.origin {
                columns.push(arrow::compute::filter(array, &mask)?);
            }
        }
        let why: Vec<Vec<Reason<'_>>> = rows.iter().map(|row| self.reasons(*row, reasons)).collect();
        columns.push(quarantine::rules(&why)?);
        match self.origin {
            Some(at) => {
                let origin = arrow::compute::filter(batch.column(at), &mask)?;
                columns.extend(origin.as_struct().columns().iter().cloned());
            }
            None => {
                columns.push(repeat(&self.facts.run_id, rows.len()));
                columns.push(Arc::new(UInt64Array::from_value(place.split as u64, rows.len())));
                let positions = rows.iter().map(|row| place.position + *row as u64);
                columns.push(Arc::new(UInt64Array::from_iter_values(positions)));
            }
        }
        Ok(Some(Quarantined { rows: RecordBatch::try_new(Arc::clone(&self.quarantine), columns)? }))
    }

    /// Every reason for which a row is put aside.
    fn reasons<'r>(&'r self, row: usize, reasons: &'r Reasons<'_>) -> Vec<Reason<'r>> {
        let mut said = Vec::new();
        if let Some(fault) = reasons.fault.map(|f| f.as_string::<i32>()).filter(|f| f.is_valid(row)) {
            said.push(Reason { code: LINE_CODE, fingerprint: &self.line_fingerprint, text: fault.value(row) });
        }
        if let Some(fingerprint) =
            self.filter.as_ref().and_then(|f| f.keeps.as_ref()).filter(|_| !reasons.passed.value(row))
        {
            said.push(Reason { code: FILTER_CODE, fingerprint, text: "the filter leaves it out" });
        }
        for (column, _) in reasons.misfits.iter().filter(|(_, bad)| bad.value(row)) {
            let SourceCast { cast, misfit: (fingerprint, text), .. } = &self.casts[*column];
            if matches!(cast, Some((_, OnMisfit::Quarantine, _))) {
                said.push(Reason { code: MISFIT_CODE, fingerprint, text });
            }
        }
        if let (Some(checks), Some(found)) = (&self.checks, reasons.found.filter(|_| reasons.seen.value(row))) {
            said.extend(checks.pass.reasons(&found.aside, found.places[row]));
        }
        said
    }

    /// The rows for the target. `seen` is what checks saw of them, which holds derived columns already.
    fn output_batch(&self, columns: &[ArrayRef], rows: usize, seen: Option<&RecordBatch>) -> Result<RecordBatch> {
        let mut out: Vec<ArrayRef> = Vec::with_capacity(self.outputs.len());
        let mut for_expressions: Option<RecordBatch> = None;
        for (number, (output, field)) in self.outputs.iter().zip(self.written.fields()).enumerate() {
            out.push(match output {
                Output::Source { column, mask: None } => Arc::clone(&columns[*column]),
                Output::Source { column, mask: Some((cast, mask)) } => {
                    mask.apply(&cast.apply(&columns[*column])?.array)?
                }
                Output::Derived(expr) => {
                    match self.checks.as_ref().zip(seen).and_then(|(checks, seen)| checks.derived(seen, number)) {
                        Some(values) => values,
                        None => {
                            let batch = match &for_expressions {
                                Some(batch) => batch,
                                None => for_expressions.insert(RecordBatch::try_new_with_options(
                                    Arc::clone(&self.cast_schema),
                                    columns.to_vec(),
                                    &RecordBatchOptions::new().with_row_count(Some(rows)),
                                )?),
                            };
                            derived(expr, batch, field)?
                        }
                    }
                }
                Output::Metadata(kind) => match kind {
                    MetadataColumn::IngestedAt => Arc::new(
                        TimestampMicrosecondArray::from_value(self.facts.started_micros, rows).with_timezone("UTC"),
                    ),
                    MetadataColumn::SourceSystem => repeat(&self.facts.source_system, rows),
                    MetadataColumn::RunId => repeat(&self.facts.run_id, rows),
                },
                Output::Gone => new_null_array(field.data_type(), rows),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.written), out, &options)?)
    }

    fn highest(&self, columns: &[ArrayRef]) -> Result<Option<ScalarValue>> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut max = MaxAccumulator::try_new(columns[cursor].data_type())?;
        max.update_batch(&columns[cursor..=cursor])?;
        let highest = max.evaluate()?;
        Ok((!highest.is_null()).then_some(highest))
    }
}

impl Filter {
    /// Of these `rows`, those that no part of the filter leaves out. A part that reads a misfit of a row says nothing
    /// about that row. The others decide as if they stood alone, so that it makes no difference whether a reader applied
    /// them before.
    fn not_left_out(
        &self,
        batch: &RecordBatch,
        misfits: &[(usize, BooleanBuffer)],
        mut rows: BooleanBuffer,
    ) -> Result<BooleanBuffer> {
        for (part, columns) in &self.parts {
            let mut asked = rows.clone();
            for (_, bad) in misfits.iter().filter(|(c, _)| columns.contains(c)) {
                asked = &asked & &!bad;
            }
            if asked.has_true() {
                let held = holds("the filter", part, batch, Some(&asked))?;
                rows = &rows & &!&(&asked & &!&held);
            }
        }
        Ok(rows)
    }
}

/// Some rows of a batch, and what checks see of them, of which `view` is what they see of the rows that are `seen`.
fn part(
    batch: &RecordBatch,
    view: Option<&RecordBatch>,
    seen: &BooleanBuffer,
    which: &BooleanBuffer,
) -> Result<(RecordBatch, Option<RecordBatch>)> {
    let rows = match which.has_false() {
        false => batch.clone(),
        true => filter_record_batch(batch, &BooleanArray::new(which.clone(), None))?,
    };
    let view = match view {
        Some(view) if view.num_rows() == rows.num_rows() => Some(view.clone()),
        Some(view) => Some(filter_record_batch(view, &BooleanArray::new(bits_of(which, seen)?, None))?),
        None => None,
    };
    Ok((rows, view))
}

/// Rows for which a condition is true, which `what` names in an error; where `about` says no, it may say anything.
fn holds(
    what: &str,
    condition: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    about: Option<&BooleanBuffer>,
) -> Result<BooleanBuffer> {
    let verdict = evaluate(what, condition, batch, about)?;
    let verdict = verdict.as_boolean();
    Ok(match verdict.nulls() {
        Some(nulls) => verdict.values() & nulls.inner(),
        None => verdict.values().clone(),
    })
}

/// The values of a derived column.
fn derived(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, field: &Field) -> Result<ArrayRef> {
    let values = evaluate(&format!("the expression of column {}", field.name()), expr, batch, None)?;
    Ok(match values.data_type() {
        DataType::Null => new_null_array(field.data_type(), batch.num_rows()),
        _ => values,
    })
}

fn repeat(text: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)))
}

fn first(bits: &BooleanBuffer) -> u64 {
    bits.set_indices().next().unwrap_or(0) as u64
}
