//! What earlier runs measured, for checks that compare themselves with them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use transload_core::{Result, RunId, TableName};
use transload_plan::Plan;
use transload_quality::{Before, Check};

use crate::args::Global;
use crate::connectors;

/// The plan, in which such checks have the figures of the last run of the pipeline that published the table by the same
/// rule.
pub(crate) async fn remembered(plan: Plan, global: &Global) -> Result<Plan> {
    let compares = |t: &transload_plan::TablePlan| t.checks.iter().filter(|c| c.compares()).count();
    let wanted: usize = plan.tables.iter().map(compares).sum();
    if wanted == 0 || is_missing(&global.ledger) {
        return Ok(plan);
    }
    let ledger = connectors::ledger(global, false)?;
    let asked: Vec<(&TableName, &str)> = plan
        .tables
        .iter()
        .flat_map(|t| t.checks.iter().filter(|c| c.compares()).map(move |c| (&t.to, c.fingerprint.as_str())))
        .collect();
    let mut known: BTreeMap<(TableName, String), Before> = BTreeMap::new();
    let runs = ledger.runs().await?;
    // Names tell runs of one second apart, but not their order.
    for of_one_second in runs.chunk_by(|a, b| second(a) == second(b)).rev() {
        let mut published = Vec::new();
        for run in of_one_second {
            published.extend(ledger.published(run, &plan.pipeline).await?);
        }
        published.sort_by_key(|(start, _)| Reverse(start.at_micros));
        for (start, receipts) in published {
            for (table, finding) in receipts.iter().flat_map(|r| r.checks.iter().map(move |f| (&r.to, f))) {
                if !finding.figures.is_null() && asked.contains(&(table, finding.fingerprint.as_str())) {
                    let before = Before { run: start.run.clone(), figures: finding.figures.clone() };
                    known.entry((table.clone(), finding.fingerprint.clone())).or_insert(before);
                }
            }
        }
        if asked.iter().all(|(table, rule)| known.contains_key(&((*table).clone(), (*rule).to_string()))) {
            break;
        }
    }
    plan.against(|table: &TableName, check: &Check| known.get(&(table.clone(), check.fingerprint.clone())).cloned())
}

/// Whether a ledger is a folder that is not there yet: nothing has run before.
fn is_missing(ledger: &str) -> bool {
    let path = ledger.strip_prefix("file://").unwrap_or(ledger);
    !path.contains("://") && !Path::new(path).exists()
}

/// The second in which a run began.
fn second(run: &RunId) -> &str {
    run.as_str().split('-').next().unwrap_or_default()
}
