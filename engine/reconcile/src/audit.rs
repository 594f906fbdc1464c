//! One table's audit, from schemas to a verdict.

use std::sync::{Arc, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionContext;
use transload_coerce::Rulebook;
use transload_core::connector::{Expected, ReadSpec, TableState, WriteMode, WriteSpec};
use transload_core::value::{Coverage, Differences, Outcome};
use transload_core::{CommitKey, Counts, Endpoint, Error, Pin, Result, RunId, Source, TableName, Verdict, fault};
use transload_digest::{Algorithm, TableDigest};
use transload_plan::{Origin, RunFacts, SchemaChange, TablePlan, Transform};
use transload_spec::ReconcileLevel;

use crate::declared::found_type;
use crate::drill::{Drill, Question, evidence_schema};
use crate::left::{are_hashed_alike, bits_for, own_columns, shared};
use crate::narrow::Differing;
use crate::side::Side;

/// Rows in differing buckets, of both sides together, that are so many that a closer look is worth its time.
const MANY_ROWS: u64 = 1 << 16;

/// What is looked at after a merge, and after partitions were replaced, beside the rows of the load.
const OTHER_ROWS: &str = "what the load should have taken away";

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
    let source = audit.source.source(&plan.from, &ReadSpec::at(Some(plan.pin.clone()))).await?;
    let target = audit.target.source(&plan.to, &ReadSpec::at(audit.target_pin.clone())).await?;
    let own = own_columns(plan).filter(|_| audit.target_pin.is_some() && plan.replay.is_none());
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
            compare_rows(&audit, &source, &target, (&[], None), &mut verdict, &mut coverage).await?;
            not_reached(&mut coverage, "the pipeline asks for row counts only");
        }
        ReconcileLevel::Row => {
            let names = coverage.columns.clone();
            let others = match &own {
                Some(own) => others(&audit, own, &names, &mut coverage).await?,
                None => None,
            };
            compare_rows(&audit, &source, &target, (&names, others), &mut verdict, &mut coverage).await?;
        }
    }
    if own.is_some() && plan.reconcile.level < ReconcileLevel::Row {
        let why = format!("the pipeline asks for the level {} only", verdict.level);
        coverage.not_looked_at.push((OTHER_ROWS.to_string(), why));
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
    for (from, to) in plan.schema_change.iter().flat_map(SchemaChange::discarded) {
        if found.field_with_name(to).is_err() {
            coverage.not_compared.push((from.to_string(), "left out, as the target does not have it".to_string()));
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

/// What else the target holds beside the rows of a load.
struct Others {
    source: Arc<dyn Source>,
    /// The columns of which the load should have its values to itself.
    own: Vec<String>,
}

/// Opens what the target held beside the rows of a load when it was committed. If it cannot be told whether something is
/// left among it, coverage says so.
async fn others(
    audit: &Audit<'_>,
    own: &Result<Vec<String>, String>,
    names: &[String],
    coverage: &mut Coverage,
) -> Result<Option<Others>> {
    let mut cannot = |why: String| {
        coverage.not_looked_at.push((OTHER_ROWS.to_string(), why));
        Ok(None)
    };
    let own = match own {
        Ok(own) => own.clone(),
        Err(why) => return cannot(why.clone()),
    };
    if let Some(missing) = own.iter().find(|column| !names.contains(column)) {
        return cannot(format!("{missing} could not be compared"));
    }
    match audit.target_pin.as_ref().and_then(Pin::others) {
        Some(pin) => {
            let source = audit.target.source(&audit.plan.to, &ReadSpec::at(Some(pin))).await?;
            let found = source.schema();
            // Where types come from files, these may have others than those of the load.
            let is_alike = |column: &&String| {
                let planned = audit.plan.columns.iter().find(|c| c.name == **column)?;
                let found = found_type(planned, found.field_with_name(column).ok()?, audit.rulebook)?;
                Some(are_hashed_alike(&planned.ty, &found))
            };
            match own.iter().find(|column| is_alike(column) != Some(true)) {
                Some(column) => cannot(format!("{column} is of another type in other rows of the target")),
                None => Ok(Some(Others { source, own })),
            }
        }
        None => cannot("the target does not tell rows of a load from others".to_string()),
    }
}

/// Compares rows in the columns `names`, and looks for rows among `others` that the load should have taken away.
async fn compare_rows(
    audit: &Audit<'_>,
    source: &Arc<dyn Source>,
    target: &Arc<dyn Source>,
    (names, others): (&[String], Option<Others>),
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
    // Delete markers are counted when they have passed by.
    let noting = others.as_ref().map(|others| from.noting(&others.own, bits_for(plan.estimated_rows.max(expected))));
    let (ours, noted) = match noting.transpose()? {
        Some((noting, noted)) => (noting.digest(algorithm, bits, None, session).await?, Some(noted)),
        None => (from.digest(algorithm, bits, None, session).await?, None),
    };
    let left_out = from.left_out();
    let theirs = to.digest(algorithm, bits, None, session).await?;

    verdict.source_rows = Some(ours.rows());
    verdict.target_rows = Some(theirs.rows());
    verdict.counts = Some(Counts {
        read: ours.rows() + left_out.quarantined + left_out.filtered + left_out.deleted,
        written: ours.rows(),
        quarantined: left_out.quarantined,
        filtered: left_out.filtered,
        deleted: left_out.deleted,
    });
    for (rows, why) in [
        (left_out.filtered, filtered(plan)),
        (left_out.quarantined, "put into quarantine".to_string()),
        (left_out.deleted, "are delete markers".to_string()),
    ] {
        if rows > 0 {
            coverage.rows_left_out.push((rows, why));
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    verdict.source_digest = Some(ours.to_string());
    verdict.target_digest = Some(theirs.to_string());
    let names_shown: &[String] = if key.is_empty() { names } else { key };
    let positions = |side: &Side| -> Result<Vec<usize>> {
        Ok(names_shown.iter().map(|name| side.schema().index_of(name)).collect::<Result<_, _>>()?)
    };
    let (shown, source_schema) = (positions(&from)?, Arc::clone(from.schema()));
    let mut looks: Vec<Drill> = Vec::new();
    if let (Some(others), Some(noted)) = (&others, &noted) {
        coverage.held_against_others = Some(ours.rows() + left_out.deleted);
        let (source, own) = (&others.source, &others.own);
        let keys = Side::target(source, plan, audit.rulebook, own, own, session).await?;
        if let Some(shared) = shared(noted, &keys, session).await? {
            let read: Vec<String> =
                names.iter().filter(|n| own.contains(n) || names_shown.contains(n)).cloned().collect();
            let target = Side::target(source, plan, audit.rulebook, &read, own, session).await?;
            let (source, shown) = (from.with_markers(own)?, positions(&target)?);
            looks.push(Drill { source, target, algorithm, question: Question::Shared(shared), shown });
        }
    }
    let session = &filtering(session);
    if let Some(differing) = Differing::between(&ours, &theirs, None) {
        let (source, target, differing) = closer((from, to), algorithm, differing, session).await?;
        tracing::info!(table = %plan.to, rows = differing.rows(), "looking into differing buckets");
        looks.insert(
            0,
            Drill { source, target, algorithm, question: Question::Differing(differing), shown: shown.clone() },
        );
    }
    if looks.is_empty() {
        return Ok(());
    }
    let differs = matches!(looks.first(), Some(Drill { question: Question::Differing(_), .. }));
    let targets: Vec<&SchemaRef> = looks.iter().map(|look| look.target.schema()).collect();
    let schema = evidence_schema(&source_schema, &shown, &targets);
    let differences = evidence(audit, &looks, schema, verdict, session).await?;
    if differs && differences.total() == differences.left_in_target {
        return Err(Error::internal("the digests differ and no row does").with("table", plan.to.as_str()));
    }
    verdict.differences = differences;
    Ok(())
}

/// Why rows of the source are filtered.
fn filtered(plan: &TablePlan) -> String {
    let columns = plan.keep_rows_out();
    if columns.is_empty() {
        return "left out by the filter".to_string();
    }
    let for_a_value = format!("for a value in {}, which the target does not have", columns.join(", "));
    match plan.filter.is_some() || plan.incremental.is_some() {
        true => format!("left out by the filter, or {for_a_value}"),
        false => format!("left out {for_a_value}"),
    }
}

/// Writes down what is found, and counts it. If nothing is, nothing is written.
async fn evidence(
    audit: &Audit<'_>,
    looks: &[Drill],
    schema: SchemaRef,
    verdict: &mut Verdict,
    session: &SessionContext,
) -> Result<Differences> {
    let plan = audit.plan;
    let name = TableName::new(format!("{}/{}", audit.run, plan.to));
    let spec = WriteSpec {
        commit: CommitKey::new(&audit.run, &plan.to),
        mode: WriteMode::Replace,
        partition_by: Vec::new(),
        expected: Expected::Anything,
        key: Vec::new(),
    };
    let sink = audit.evidence.sink(&name, Arc::clone(&schema), &spec).await?;
    let memory = session.runtime_env().memory_pool.clone();
    let mut all = Differences::default();
    let mut staged = Vec::with_capacity(looks.len());
    for (number, look) in looks.iter().enumerate() {
        let found = look.find(Arc::clone(&schema), session)?;
        staged.push(sink.stage(&format!("{number:06}"), found.evidence, &memory).await?);
        all.add(&found.differences.lock().unwrap_or_else(PoisonError::into_inner));
    }
    match all.total() {
        // Keys whose hashes are alike may still be different.
        0 => sink.abort().await?,
        _ => {
            sink.commit(staged, TableState::default(), &memory).await?;
            verdict.evidence = Some(name.to_string());
        }
    }
    all.columns.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    Ok(all)
}

/// The same sides with no more rows than need be: as long as there are many rows in differing buckets, and it helps, they
/// are spread over new buckets.
async fn closer(
    (source, target): (Side, Side),
    algorithm: Algorithm,
    differing: Differing,
    session: &SessionContext,
) -> Result<(Side, Side, Differing)> {
    let narrowed = async |differing: Differing| {
        let source = source.narrowed(&differing, session).await?;
        let target = target.narrowed(&differing, session).await?;
        Ok::<_, Error>((source, target, differing))
    };
    let mut look = narrowed(differing).await?;
    while look.2.rows() > MANY_ROWS {
        let (source, target, differing) = &look;
        let (bits, within) = (TableDigest::MOST_BITS, Some(differing));
        let ours = source.digest(algorithm, bits, within, session).await?;
        let theirs = target.digest(algorithm, bits, within, session).await?;
        match Differing::between(&ours, &theirs, within) {
            Some(finer) if finer.rows() <= differing.rows() / 2 => look = narrowed(finer).await?,
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
        ReconcileLevel::Row => {
            let held = verdict.coverage.held_against_others.unwrap_or(0);
            (rows == (Some(0), Some(0)) && held == 0) || verdict.coverage.columns.is_empty()
        }
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
            (d.extra_in_target - d.left_in_target, "extra"),
            (d.left_in_target, "left that the load should have taken away"),
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
            _ => {
                let (rows, columns) = (rows.0.unwrap_or(0), verdict.coverage.columns.len());
                let taken = match verdict.coverage.held_against_others {
                    Some(_) => ", and nothing is left that they should have taken away",
                    None => "",
                };
                format!("{rows} rows are equal in {columns} columns{taken}")
            }
        };
        (Outcome::Match, what)
    };
}
