//! What a job does with one table, line by line.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::split_conjunction;
use transload_coerce::{Loss, MaskKind};
use transload_core::LogicalType;
use transload_core::connector::{Transform, WriteMode};
use transload_core::types::Unit;
use transload_plan::{ColumnPlan, Expressions, Origin, Plan, TablePlan};
use transload_quality::Check;
use transload_spec::file::MetadataColumn;

use super::python::{list, type_text};
use super::{cast, source};
use crate::dialect::Dialect::Spark;
use crate::quote::python;
use crate::rows;
use crate::sql::Sql;
use crate::view::{View, cast_of, source_fields};

/// The body of the function that loads a table.
///
/// # Errors
/// A sentence for everything that Spark cannot do as the plan means it.
pub(super) fn lines(plan: &Plan, table: &TablePlan) -> Result<Vec<String>, Vec<String>> {
    let (table, unread) = source::without_unread(plan, table);
    let mut steps = Steps { plan, table: &table, refused: Vec::new() };
    let lines = steps.lines();
    if steps.refused.is_empty() {
        return Ok(lines);
    }
    // What else is refused may read them.
    Err(steps.refused.into_iter().chain(unread).collect())
}

struct Steps<'a> {
    plan: &'a Plan,
    table: &'a TablePlan,
    refused: Vec<String>,
}

impl Steps<'_> {
    /// What was said, or nothing: then it is noted why.
    fn or_refused<T: Default>(&mut self, said: Result<T, String>) -> T {
        said.unwrap_or_else(|reason| {
            self.refused.push(reason);
            T::default()
        })
    }

    fn lines(&mut self) -> Vec<String> {
        let columns = source::columns(self.table).unwrap_or_else(|reasons| {
            self.refused.extend(reasons);
            Vec::new()
        });
        let mut lines = list("columns", &columns);
        let read = self.or_refused(source::read(self.plan, self.table));
        lines.push(format!("rows = {read}"));
        let mut with = vec![format!("hash={}", python(&self.table.reconcile.hash.to_string()))];
        let mode = self.mode();
        with.push(format!("mode={}", python(&mode)));

        let casts = self.casts();
        if !casts.is_empty() {
            lines.extend(list("casts", &casts));
            lines.push("rows = job.cast(rows, casts)".to_string());
            with.push("casts=casts".to_string());
        }
        if let Some(incremental) = &self.table.incremental {
            let (to, cursor) = (python(self.table.to.as_str()), python(&incremental.cursor));
            lines.push(format!("rows = job.only_new(rows, {to}, {cursor})"));
            with.push(format!("cursor={cursor}"));
        }
        match Expressions::new(&Arc::new(Schema::new(source_fields(self.table)))) {
            Ok(expressions) => {
                if let Some(filter) = &self.table.filter {
                    let said = filter_text(self.table, &expressions, filter).map_err(|e| format!("the filter: {e}"));
                    let said = self.or_refused(said);
                    lines.push(format!("rows = rows.where({})", python(&said)));
                }
                let values = self.values(&expressions);
                lines.extend(list("values", &values));
            }
            Err(reason) => self.refused.push(reason),
        }
        let aside = self.aside();
        if !aside.is_empty() {
            lines.extend(list("aside", &aside));
            with.push("aside=aside".to_string());
        }
        let partitions = self.partitions();
        if !partitions.is_empty() {
            lines.extend(list("partitions", &partitions));
            with.push("partition_by=partitions".to_string());
        }
        let to = python(self.table.to.as_str());
        lines.push(format!("job.write({to}, rows, values, {})", with.join(", ")));
        lines
    }

    fn mode(&mut self) -> String {
        let table = self.table;
        if table.replay.is_some() {
            self.refused.push("a replay is no job: generate it from the pipeline".to_string());
        }
        if !table.keep_rows_out().is_empty() {
            let reason = "rows are kept out because the target lacks their columns: a job has no target to look at";
            self.refused.push(reason.to_string());
        }
        match table.write {
            WriteMode::Replace => "overwrite",
            WriteMode::Append => "append",
            WriteMode::ReplacePartitions => "replace_partitions",
            WriteMode::Merge => {
                let reason = "it merges rows by their key, and files of Parquet cannot be merged";
                self.refused.push(reason.to_string());
                ""
            }
        }
        .to_string()
    }

    fn casts(&mut self) -> Vec<String> {
        let table = self.table;
        let mut casts = Vec::new();
        for column in &table.columns {
            let (Origin::Source(name), Some(planned)) = (&column.origin, &column.cast) else { continue };
            let said = cast::check(&planned.from, &planned.to)
                .and_then(|()| Ok((type_text(&planned.from)?, type_text(&planned.to)?)))
                .map_err(|reason| format!("`{name}`: {reason}"));
            let (from, to) = self.or_refused(said);
            // What does not fit an exact cast is no value of its source.
            let policy = match planned.loss {
                Loss::Exact => "error",
                _ => policy(planned.on_misfit),
            };
            casts.push(format!("({}, {from}, {to}, {})", python(name), python(policy)));
        }
        casts
    }

    /// The columns of the target: name, type and value.
    fn values(&mut self, expressions: &Expressions) -> Vec<String> {
        let table = self.table;
        let mut values = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let said = self.value(column, expressions).and_then(|value| Ok((type_text(&column.ty)?, value)));
            let (ty, value) = self.or_refused(said.map_err(|reason| format!("`{}`: {reason}", column.name)));
            values.push(format!("({}, {ty}, {value})", python(&column.name)));
        }
        values
    }

    fn value(&self, column: &ColumnPlan, expressions: &Expressions) -> Result<String, String> {
        let system = format!("{}:{}", self.plan.source.kind, self.table.first_source());
        Ok(match &column.origin {
            Origin::Source(name) => {
                let value = format!("column({})", python(name));
                match column.mask {
                    None => value,
                    Some(mask) => masked(mask, &value, &before_mask(self.table, name)?)?,
                }
            }
            Origin::Derived(sql) => {
                let expr = expressions.logical(sql)?;
                // A value that Spark cannot hold cannot be computed by it either.
                Spark.type_name(&column.ty)?;
                let said = Sql { dialect: Spark, schema: expressions.schema() }.text(&expr)?;
                format!("F.expr({})", python(&said))
            }
            Origin::Metadata(MetadataColumn::IngestedAt) => "F.lit(job.started)".to_string(),
            Origin::Metadata(MetadataColumn::SourceSystem) => format!("F.lit({})", python(&system)),
            Origin::Metadata(MetadataColumn::RunId) => "F.lit(job.run_id)".to_string(),
            Origin::Gone => "F.lit(None)".to_string(),
        })
    }

    /// The rules that put rows aside.
    fn aside(&mut self) -> Vec<String> {
        let table = self.table;
        let checks: Vec<&Check> = table.checks.iter().filter(|c| c.quarantines()).collect();
        if checks.is_empty() {
            return Vec::new();
        }
        let view = match View::of_source(table) {
            Ok(view) => view,
            Err(reason) => {
                self.refused.push(reason);
                return Vec::new();
            }
        };
        let mut aside = Vec::with_capacity(checks.len());
        for check in checks {
            let said = rows::about(check, &view, Spark).and_then(|about| {
                let broken = rows::broken(check, &view, Spark)?;
                Ok(about.map_or_else(|| broken.clone(), |about| format!("({about}) AND ({broken})")))
            });
            let said = self.or_refused(said.map_err(|reason| format!("{}: {reason}", check.title())));
            aside.push(format!("({}, F.expr({}))", python(&check.title()), python(&said)));
        }
        aside
    }

    fn partitions(&mut self) -> Vec<String> {
        let table = self.table;
        let mut partitions = Vec::with_capacity(table.partition_by.len());
        for partition in &table.partition_by {
            let name = partition.name();
            let ty = table.columns.iter().find(|c| c.name == partition.column).map(|c| &c.ty);
            let said = folder(partition.transform, &partition.column, ty);
            let value = self.or_refused(said.map_err(|reason| format!("`{name}`: {reason}")));
            partitions.push(format!("({}, {value})", python(&name)));
        }
        partitions
    }
}

fn policy(on_misfit: transload_plan::OnMisfit) -> &'static str {
    use transload_plan::OnMisfit;
    match on_misfit {
        OnMisfit::Error => "error",
        OnMisfit::NullCounted => "null_counted",
        OnMisfit::Quarantine => "quarantine",
    }
}

/// The type of a column before its mask.
fn before_mask(table: &TablePlan, name: &str) -> Result<LogicalType, String> {
    let fields = source_fields(table);
    let field = fields.iter().find(|f| f.name() == name);
    field.and_then(LogicalType::of).ok_or_else(|| format!("there is no column `{name}`"))
}

fn masked(mask: MaskKind, value: &str, ty: &LogicalType) -> Result<String, String> {
    let text = match ty {
        LogicalType::Text => value.to_string(),
        ty => {
            cast::check(ty, &LogicalType::Text)?;
            format!("cast({value}, {}, \"text\")", type_text(ty)?)
        }
    };
    let word = match mask {
        MaskKind::Redact => "redacted",
        MaskKind::Hash => "hashed",
        MaskKind::Partial => "last_four",
    };
    Ok(format!("{word}({text})"))
}

/// The condition of rows that the filter lets through. A row whose filter depends on a value that does not fit is let through
/// too, unless the rest of the filter leaves it out: it is the misfit's policy that decides about it.
fn filter_text(table: &TablePlan, expressions: &Expressions, filter: &str) -> Result<String, String> {
    let expr = expressions.logical(filter)?;
    let sql = Sql { dialect: Spark, schema: expressions.schema() };
    let whole = sql.text(&expr)?;
    let unsure = misfits(table, &expr);
    if unsure.is_empty() {
        return Ok(whole);
    }
    let mut parts = Vec::new();
    for part in split_conjunction(&expr) {
        let mut either = misfits(table, part);
        either.push(sql.operand(part)?);
        parts.push(format!("({})", either.join(" OR ")));
    }
    Ok(format!("({whole}) OR (({}) AND {})", unsure.join(" OR "), parts.join(" AND ")))
}

/// The marks of values that may not fit and that an expression reads.
fn misfits(table: &TablePlan, expr: &Expr) -> Vec<String> {
    let reads = expr.column_refs();
    let may_not_fit = |name: &str| {
        let cast = cast_of(table, name).and_then(|c| c.cast.as_ref());
        cast.is_some_and(|cast| cast.loss != Loss::Exact)
    };
    let mut names: Vec<&str> = reads.iter().map(|c| c.name.as_str()).filter(|name| may_not_fit(name)).collect();
    names.sort_unstable();
    names.into_iter().map(|name| Spark.name(&format!("_transload_misfit {name}"))).collect()
}

/// The value in the name of a folder, if it is not the column's own.
fn folder(transform: Transform, column: &str, ty: Option<&LogicalType>) -> Result<String, String> {
    let value = format!("column({})", python(column));
    let moment = |format: &str| match ty {
        Some(LogicalType::Timestamp(Unit::Ns, _)) => Err("Spark holds nanoseconds as numbers".to_string()),
        _ => Ok(format!("F.date_format({value}, {})", python(format))),
    };
    match transform {
        Transform::Identity => Ok("None".to_string()),
        Transform::Year => moment("yyyy"),
        Transform::Month => moment("yyyy-MM"),
        Transform::Day => moment("yyyy-MM-dd"),
        Transform::Hour => moment("yyyy-MM-dd-HH"),
        Transform::Truncate(width) => Ok(match ty {
            Some(LogicalType::Text) => format!("F.substring({value}, 1, {width})"),
            _ => format!("{value} - F.pmod({value}, F.lit({width}))"),
        }),
        Transform::Bucket(_) => Err("Spark cannot make the same buckets".to_string()),
    }
}
