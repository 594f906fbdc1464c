//! From a table's plan to its executable form.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use transload_coerce::{Cast, Loss, Rulebook};
use transload_core::connector::{FAULT_COLUMN, ORIGIN_COLUMN, hidden_column, takes_hidden_name};
use transload_core::{Error, LogicalType, Result};

use crate::build::cast_schema;
use crate::checks::{Checks, View};
use crate::expr::{Expressions, lacks_value};
use crate::plan::{ColumnPlan, OnMisfit, Origin, TablePlan};
use crate::quarantine::{self, FILTER_CODE, LINE_CODE, MISFIT_CODE};
use crate::transform::casts::SourceCast;
use crate::transform::filter::Filter;
use crate::transform::output::Output;
use crate::transform::{RunFacts, Transform};

/// Rows for which NULLs are made in advance: what a source gives at once.
const BATCH_ROWS: usize = 8192;

/// What is known of a table while it is made executable.
struct Compiler<'a> {
    plan: &'a TablePlan,
    rulebook: &'a Rulebook,
    /// Whether rows are written, and not only looked at by checks.
    writes: bool,
    cast_schema: SchemaRef,
    expressions: Expressions,
    casts: Vec<SourceCast>,
}

/// What keeps rows out.
struct Conditions {
    filter: Option<Filter>,
    /// The part of it that the source may apply too.
    pushdown: Vec<Expr>,
    cursor: Option<usize>,
}

impl Transform {
    pub(super) fn compile(
        plan: &TablePlan,
        source: &SchemaRef,
        rulebook: &Rulebook,
        facts: RunFacts,
        writes: bool,
    ) -> Result<Self> {
        refuse_other_columns(plan, source)?;
        let cast_schema =
            cast_schema(source, &plan.columns).ok_or_else(|| moved(plan, "a column's type cannot be moved"))?;
        let expressions = Expressions::new(&cast_schema).map_err(Error::internal)?;
        let casts = casts(plan, source, rulebook)?;
        let mut compiler = Compiler { plan, rulebook, writes, cast_schema, expressions, casts };
        let mut outputs = Vec::with_capacity(plan.columns.len());
        let mut fields = Vec::with_capacity(plan.columns.len());
        for column in &plan.columns {
            let (output, field) = compiler.output(column)?;
            outputs.push(output);
            fields.push(field);
        }
        let Conditions { filter, pushdown, cursor } = compiler.conditions()?;
        let deleted = match &plan.deleted {
            Some(sql) => {
                let (condition, _) = compiler.compiled(sql)?;
                compiler.needs(&condition, true);
                Some(condition)
            }
            None => None,
        };
        let checks = compiler.checks(&facts)?;
        let Compiler { cast_schema, casts, .. } = compiler;

        // Quarantine keeps whole rows, so then everything is read.
        let whole = writes && plan.can_quarantine();
        let fault = hidden_column(source, FAULT_COLUMN);
        let projection: Vec<usize> =
            (0..source.fields().len()).filter(|i| whole || casts[*i].needed || fault == Some(*i)).collect();
        let mut positions = vec![None; source.fields().len()];
        projection.iter().enumerate().for_each(|(at, column)| positions[*column] = Some(at));
        let scanned = cast_schema.fields().iter().zip(&positions).map(|(field, at)| match at {
            Some(_) => Arc::clone(field),
            None => Arc::new(field.as_ref().clone().with_nullable(true)),
        });
        let cast_schema = Arc::new(Schema::new(scanned.collect::<Fields>()));
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
}

fn moved(plan: &TablePlan, what: impl Into<String>) -> Error {
    Error::config(what).with("table", plan.from.as_str()).hint("the source has changed: make a new plan")
}

/// Refuses a source that has other columns than the plan says.
fn refuse_other_columns(plan: &TablePlan, source: &SchemaRef) -> Result<()> {
    let planned: Vec<&str> = plan.source_columns.iter().map(|c| c.name.as_str()).collect();
    let found: Vec<&str> = source.fields().iter().map(|f| f.name().as_str()).collect();
    if planned != found {
        return Err(moved(plan, "the source's columns are not those of the plan"));
    }
    match source.fields().iter().find(|f| takes_hidden_name(f)) {
        Some(field) => Err(moved(plan, format!("column {} has a name of transload's own", field.name()))),
        None => Ok(()),
    }
}

/// What is done to the values of each column of the source.
fn casts(plan: &TablePlan, source: &SchemaRef, rulebook: &Rulebook) -> Result<Vec<SourceCast>> {
    let mut casts = Vec::with_capacity(source.fields().len());
    for (field, column) in source.fields().iter().zip(&plan.source_columns) {
        let from = LogicalType::of(field)
            .ok_or_else(|| moved(plan, format!("column {} has an unknown type", field.name())))?;
        if from != column.ty {
            return Err(moved(plan, format!("column {} is {from} and was planned as {}", field.name(), column.ty)));
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
        let needed = planned
            .is_some_and(|p| p.loss != Loss::Exact && matches!(p.on_misfit, OnMisfit::Error | OnMisfit::Quarantine));
        let to = cast.as_ref().map_or_else(String::new, |(cast, ..)| cast.to().to_string());
        let misfit = (
            quarantine::fingerprint(MISFIT_CODE, &[field.name(), &from.to_string(), &to]),
            format!("{} does not fit {to}", field.name()),
        );
        casts.push(SourceCast { cast, needed, misfit });
    }
    Ok(casts)
}

impl Compiler<'_> {
    /// An expression over the source's columns after casts.
    fn compiled(&self, sql: &str) -> Result<(Arc<dyn PhysicalExpr>, Expr)> {
        let expr = self.expressions.logical(sql).map_err(Error::config)?;
        Ok((self.expressions.physical(&expr).map_err(Error::config)?, expr))
    }

    /// Notes that the columns of an expression are needed, if it is.
    fn needs(&mut self, expression: &Arc<dyn PhysicalExpr>, is_needed: bool) {
        collect_columns(expression).iter().for_each(|c| self.casts[c.index()].needed |= is_needed);
    }

    /// Where the values of a column of the target come from, and what they are.
    fn output(&mut self, column: &ColumnPlan) -> Result<(Output, Field)> {
        Ok(match &column.origin {
            Origin::Source(name) => {
                let at = self.cast_schema.index_of(name)?;
                self.casts[at].needed |= self.writes;
                let before = self.cast_schema.field(at);
                let mask = match column.mask {
                    Some(kind) => {
                        let ty = LogicalType::of(before).unwrap_or(LogicalType::Text);
                        let cast = match ty {
                            LogicalType::Text => Some(Cast::layout(&ty)),
                            _ => Cast::new(self.rulebook, &ty, &LogicalType::Text),
                        };
                        Some((cast.ok_or_else(|| Error::internal("a mask has no cast to text"))?, kind))
                    }
                    None => None,
                };
                let field = match mask {
                    Some(_) => Field::new(&column.name, DataType::Utf8, before.is_nullable()),
                    None => before.clone().with_name(&column.name),
                };
                (Output::Source { column: at, mask }, field)
            }
            Origin::Derived(sql) => {
                let (physical, expr) = self.compiled(sql)?;
                self.needs(&physical, self.writes);
                let field = self.expressions.field(&column.name, &expr).map_err(Error::config)?;
                (Output::Derived(physical), field)
            }
            Origin::Metadata(kind) => (Output::Metadata(*kind), column.ty.to_field(&column.name, false)),
            Origin::Gone => (Output::Gone, column.ty.to_field(&column.name, true)),
        })
    }

    /// The filter, with the cursor's part and that of columns that keep rows out.
    fn conditions(&mut self) -> Result<Conditions> {
        let plan = self.plan;
        let mut conjuncts = Vec::new();
        if let Some(sql) = &plan.filter {
            conjuncts.extend(split_conjunction_owned(self.compiled(sql)?.1));
        }
        let mut cursor = None;
        if let Some(incremental) = &plan.incremental {
            conjuncts.extend(split_conjunction_owned(self.expressions.is_new(incremental).map_err(Error::config)?));
            let at = self.cast_schema.index_of(&incremental.cursor)?;
            self.casts[at].needed = true;
            cursor = Some(at);
        }
        let untouched = |e: &Expr| {
            let is_untouched = |name: &str| self.cast_schema.index_of(name).is_ok_and(|i| self.casts[i].cast.is_none());
            e.column_refs().iter().all(|c| is_untouched(&c.name))
        };
        // A source that leaves rows out itself gives none of them to be put aside.
        let kept = plan.keeps_filtered();
        let pushdown: Vec<Expr> = conjuncts.iter().filter(|e| !kept && untouched(e)).cloned().collect();
        // How many rows these keep out is to be known, so no reader leaves them out before.
        let keep_out = plan.keep_rows_out();
        conjuncts.extend(keep_out.iter().map(|column| lacks_value(column)));
        let Some(all) = conjuncts.iter().cloned().reduce(Expr::and) else {
            return Ok(Conditions { filter: None, pushdown, cursor });
        };
        let part = |expr: &Expr| {
            let condition = self.expressions.physical(expr).map_err(Error::config)?;
            let columns: Vec<usize> = collect_columns(&condition).iter().map(|c| c.index()).collect();
            Ok::<_, Error>((condition, columns))
        };
        let (condition, columns) = part(&all)?;
        let parts = conjuncts.iter().map(part).collect::<Result<_>>()?;
        self.needs(&condition, true);
        let sql = plan.filter.as_deref().unwrap_or_default();
        let about: Vec<&str> = std::iter::once(sql).chain(keep_out.iter().copied()).collect();
        let keeps = kept.then(|| quarantine::fingerprint(FILTER_CODE, &about));
        Ok(Conditions { filter: Some(Filter { condition, columns, parts, keeps }), pushdown, cursor })
    }

    fn checks(&mut self, facts: &RunFacts) -> Result<Option<Checks>> {
        let plan = self.plan;
        if plan.checks.is_empty() {
            return Ok(None);
        }
        let view = View::new(&self.cast_schema, &self.expressions, &plan.columns).map_err(Error::config)?;
        let checks = Checks::new(view, &plan.checks, &plan.key, facts.started_micros)
            .map_err(|e| e.with("table", plan.from.as_str()).hint("the source has changed: make a new plan"))?;
        checks.reads().for_each(|column| self.casts[column].needed = true);
        Ok(Some(checks))
    }
}
