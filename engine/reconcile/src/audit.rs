//! One table's audit, from schemas to a verdict.

use std::sync::{Arc, PoisonError};

use datafusion::prelude::SessionContext;
use transload_coerce::Rulebook;
use transload_core::connector::{Expected, ReadSpec, TableState, WriteMode, WriteSpec};
use transload_core::value::{Coverage, Differences, Outcome};
use transload_core::{CommitKey, Counts, Endpoint, Error, Pin, Result, RunId, Source, TableName, Verdict, fault};
use transload_digest::TableDigest;
use transload_plan::{Origin, RunFacts, TablePlan, Transform};
use transload_spec::ReconcileLevel;

use crate::declared::found_type;
use crate::drill::Drill;
use crate::narrow::Differing;
use crate::side::Side;

/// Rows in differing buckets, of both sides together, that are so many that a closer look is worth its time.
const MANY_ROWS: u64 = 1 << 16;

/// What one table's audit needs.
pub struct Audit<'a> {
    /// What the target should hold.
    pub plan: &'a TablePlan,
    /// The plan's rulebook.
    pub rulebook: &'a Rulebook,
    /// Where the table came from.
    pub source: Arc<dyn Endpoint>,
    /// Where it went.
    pub target: Arc<dyn Endpoint>,
    /// The point in time of the target; as it is now, if not given.
    pub target_pin: Option<Pin>,
    /// Where every differing key is written.
    pub evidence: Arc<dyn Endpoint>,
    /// Names the evidence.
    pub run: RunId,
    /// Start of the run that loaded the table, in µs since 1970 UTC: rules about the future are about that time.
    pub started_micros: i64,
    /// Memory and parallelism.
    pub session: SessionContext,
}

/// Compares source and target of one table.
///
/// # Behavior
/// Both sides are read again, each at its pin. A difference is never an error: it is in the verdict.
///
/// # Errors
/// Whatever keeps one of the sides from being read at its pin.
///
/// # Cancellation
/// Drop the future. Evidence that was staged and not committed may be left behind, where no reader looks.
pub async fn audit(audit: Audit<'_>) -> Result<Verdict> {
    fault::point("reconcile.begun")?;
    let plan = audit.plan;
    let source = audit.source.source(&plan.from, &ReadSpec { pin: Some(plan.pin.clone()) }).await?;
    let target = audit.target.source(&plan.to, &ReadSpec { pin: audit.target_pin.clone() }).await?;
    let (schema, mut coverage) = compare_schemas(plan, &target, audit.rulebook);
    let mut verdict = Verdict {
        from: plan.from.clone(),
        to: plan.to.clone(),
        level: level_name(plan.reconcile.level).to_string(),
        outcome: Outcome::NotCompared,
        summary: String::new(),
        source_pin: source.pin().clone(),
        target_pin: target.pin().clone(),
        source_rows: None,
        target_rows: None,
        counts: None,
        source_digest: None,
        target_digest: None,
        differences: Differences::default(),
        schema,
        coverage: Coverage::default(),
        evidence: None,
    };
    let not_reached = |coverage: &mut Coverage, why: &str| {
        let columns = std::mem::take(&mut coverage.columns);
        coverage.not_compared.extend(columns.into_iter().map(|c| (c, why.to_string())));
    };
    match plan.reconcile.level {
        ReconcileLevel::None => not_reached(&mut coverage, "the pipeline asks for no comparison"),
        ReconcileLevel::Schema => not_reached(&mut coverage, "the pipeline asks for schemas only"),
        ReconcileLevel::Count => {
            let names = coverage.columns.clone();
            compare_rows(&audit, &source, &target, &names[..0], &mut verdict, &mut coverage).await?;
            not_reached(&mut coverage, "the pipeline asks for row counts only");
        }
        ReconcileLevel::Row => {
            let names = coverage.columns.clone();
            compare_rows(&audit, &source, &target, &names, &mut verdict, &mut coverage).await?;
        }
    }
    verdict.coverage = coverage;
    judge(plan, &mut verdict);
    fault::point("reconcile.verdict")?;
    tracing::info!(table = %plan.to, outcome = %verdict.outcome, "compared");
    Ok(verdict)
}

fn level_name(level: ReconcileLevel) -> &'static str {
    match level {
        ReconcileLevel::None => "none",
        ReconcileLevel::Schema => "schema",
        ReconcileLevel::Count => "count",
        ReconcileLevel::Row => "row",
    }
}

/// Differences of the columns, one sentence each, and which columns can be compared.
fn compare_schemas(plan: &TablePlan, target: &Arc<dyn Source>, rulebook: &Rulebook) -> (Vec<String>, Coverage) {
    let found = target.schema();
    let mut sentences = Vec::new();
    let mut coverage = Coverage::default();
    for column in &plan.columns {
        match found.field_with_name(&column.name).ok().map(|f| found_type(column, f, rulebook)) {
            None => {
                sentences.push(format!("column {} is missing in the target", column.name));
                coverage.not_compared.push((column.name.clone(), "missing in the target".to_string()));
                continue;
            }
            Some(Some(ty)) if ty.with_utc_named() == column.ty.with_utc_named() => {}
            Some(ty) => {
                let ty = ty.map_or_else(|| "of an unknown type".to_string(), |t| t.to_string());
                sentences.push(format!("column {} should be {} and is {ty}", column.name, column.ty));
            }
        }
        match column.origin {
            Origin::Metadata(_) => {
                coverage.not_compared.push((column.name.clone(), "set by the load, not by the source".to_string()));
            }
            _ => coverage.columns.push(column.name.clone()),
        }
        if column.mask.is_some() {
            coverage.masked.push(column.name.clone());
        }
    }
    for field in found.fields().iter().filter(|f| plan.columns.iter().all(|c| c.name != *f.name())) {
        sentences.push(format!("column {} is in the target and not in the plan", field.name()));
        coverage.not_compared.push((field.name().clone(), "not in the plan".to_string()));
    }
    (sentences, coverage)
}

/// The plan with those checks only that keep rows from the target.
fn without_gates(plan: &TablePlan) -> TablePlan {
    let mut plan = plan.clone();
    plan.checks.retain(|check| check.quarantines());
    plan
}

async fn compare_rows(
    audit: &Audit<'_>,
    source: &Arc<dyn Source>,
    target: &Arc<dyn Source>,
    names: &[String],
    verdict: &mut Verdict,
    coverage: &mut Coverage,
) -> Result<()> {
    let plan = audit.plan;
    let session = &audit.session;
    // Without all of its columns a key is none.
    let key: &[String] = if plan.key.iter().all(|k| names.contains(k)) { &plan.key } else { &[] };
    let facts = RunFacts { started_micros: audit.started_micros, ..RunFacts::default() };
    let transform = Transform::new(&without_gates(plan), &source.schema(), audit.rulebook, facts)?;
    let from = Side::source(source, transform, names, key, session).await?;
    let to = Side::target(target, plan, audit.rulebook, names, key, session).await?;

    let expected = target.splits().iter().map(|s| s.rows).sum::<Option<u64>>().or(plan.estimated_rows);
    let bits = TableDigest::bits_for(expected.unwrap_or(1 << 24));
    let algorithm = plan.reconcile.hash;
    let ours = from.digest(algorithm, bits, None, session).await?;
    let left_out = from.left_out();
    let theirs = to.digest(algorithm, bits, None, session).await?;

    verdict.source_rows = Some(ours.rows());
    verdict.target_rows = Some(theirs.rows());
    verdict.counts = Some(Counts {
        read: ours.rows() + left_out.quarantined + left_out.filtered,
        written: ours.rows(),
        quarantined: left_out.quarantined,
        filtered: left_out.filtered,
    });
    for (rows, why) in [(left_out.filtered, "left out by the filter"), (left_out.quarantined, "put into quarantine")] {
        if rows > 0 {
            coverage.rows_left_out.push((rows, why.to_string()));
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    verdict.source_digest = Some(ours.to_string());
    verdict.target_digest = Some(theirs.to_string());
    let Some(differing) = Differing::between(&ours, &theirs, None) else { return Ok(()) };
    let session = &filtering(session);
    let drill = closer(Drill { source: from, target: to, algorithm, differing }, session).await?;
    tracing::info!(table = %plan.to, rows = drill.differing.rows(), "looking into differing buckets");
    let found = drill.find(session)?;
    let name = TableName::new(format!("{}/{}", audit.run, plan.to));
    let spec = WriteSpec {
        commit: CommitKey::new(&audit.run, &plan.to),
        mode: WriteMode::Replace,
        partition_by: Vec::new(),
        expected: Expected::Anything,
    };
    let sink = audit.evidence.sink(&name, drill.evidence_schema(), &spec).await?;
    let memory = session.runtime_env().memory_pool.clone();
    let staged = sink.stage("000000", found.evidence, &memory).await?;
    sink.commit(vec![staged], TableState::default()).await?;
    verdict.evidence = Some(name.to_string());
    let mut differences = found.differences.lock().unwrap_or_else(PoisonError::into_inner).clone();
    differences.columns.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    if differences.total() == 0 {
        return Err(Error::internal("the digests differ and no row does").with("table", plan.to.as_str()));
    }
    verdict.differences = differences;
    Ok(())
}

/// The same look into no more rows than need be: as long as there are many rows in differing buckets, and it helps, they
/// are spread over new buckets.
async fn closer(drill: Drill, session: &SessionContext) -> Result<Drill> {
    let narrowed = async |differing: Differing| {
        let source = drill.source.narrowed(&differing, session).await?;
        let target = drill.target.narrowed(&differing, session).await?;
        Ok::<_, Error>(Drill { source, target, algorithm: drill.algorithm, differing })
    };
    let mut look = narrowed(drill.differing.clone()).await?;
    while look.differing.rows() > MANY_ROWS {
        let (bits, within) = (TableDigest::MOST_BITS, Some(&look.differing));
        let ours = look.source.digest(look.algorithm, bits, within, session).await?;
        let theirs = look.target.digest(look.algorithm, bits, within, session).await?;
        match Differing::between(&ours, &theirs, within) {
            Some(finer) if finer.rows() <= look.differing.rows() / 2 => look = narrowed(finer).await?,
            _ => break,
        }
    }
    Ok(look)
}

/// The session with readers that filter while they decode.
fn filtering(session: &SessionContext) -> SessionContext {
    let mut config = session.copied_config();
    config.options_mut().execution.parquet.pushdown_filters = true;
    SessionContext::new_with_config_rt(config, session.runtime_env())
}

/// The outcome and its sentence.
fn judge(plan: &TablePlan, verdict: &mut Verdict) {
    let level = plan.reconcile.level;
    let rows = (verdict.source_rows, verdict.target_rows);
    let nothing_compared = match level {
        ReconcileLevel::None => true,
        ReconcileLevel::Schema => false,
        ReconcileLevel::Count => rows == (Some(0), Some(0)),
        ReconcileLevel::Row => rows == (Some(0), Some(0)) || verdict.coverage.columns.is_empty(),
    };
    let counts_differ = rows.0 != rows.1;
    let d = &verdict.differences;
    (verdict.outcome, verdict.summary) = if !verdict.schema.is_empty() || counts_differ || d.total() > 0 {
        let mut parts = Vec::new();
        if !verdict.schema.is_empty() {
            parts.push(format!("{} differences of the columns", verdict.schema.len()));
        }
        if let ((Some(s), Some(t)), true) = (rows, counts_differ) {
            parts.push(format!("{s} rows expected and {t} found"));
        }
        for (count, what) in [
            (d.missing_in_target, "missing"),
            (d.extra_in_target, "extra"),
            (d.changed, "changed"),
            (d.multiplicity, "with another multiplicity"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        (Outcome::Mismatch, parts.join(", "))
    } else if nothing_compared {
        let why = match level {
            ReconcileLevel::None => "no comparison was asked for",
            _ if verdict.coverage.columns.is_empty() && level == ReconcileLevel::Row => "no column could be compared",
            _ => "both sides are empty, so nothing was compared",
        };
        (Outcome::NotCompared, why.to_string())
    } else {
        let what = match level {
            ReconcileLevel::Schema => "the columns are equal; rows were not compared".to_string(),
            ReconcileLevel::Count => format!("{} rows on both sides; values were not compared", rows.0.unwrap_or(0)),
            _ => format!("{} rows are equal in {} columns", rows.0.unwrap_or(0), verdict.coverage.columns.len()),
        };
        (Outcome::Match, what)
    };
}
