//! `transload runs`

use transload_core::value::Outcome;
use transload_ledger::{Ledger, RunSummary};

use crate::args::{Global, Runs};
use crate::connectors::ledger;
use crate::going::CHECKS_ONLY;
use crate::output::{Failure, Output};
use crate::trend;

pub(crate) async fn runs(args: &Runs, global: &Global, output: &Output) -> Result<u8, Failure> {
    let shown = newest(args, &ledger(global, false)?).await?;
    if args.quality {
        let oldest_first: Vec<RunSummary> = shown.into_iter().rev().collect();
        let rated = trend::trend(&oldest_first);
        output.answer(&if output.json() { trend::json(&rated).to_string() } else { trend::text(&rated) })?;
        return Ok(0);
    }
    if output.json() {
        let rows: Vec<_> = shown
            .iter()
            .map(|s| {
                serde_json::json!({
                    "run_id": s.start.run, "pipeline": s.start.pipeline, "command": s.start.command, "started": s.start.at,
                    "status": status(s), "exit_code": s.end.as_ref().map(|e| e.exit_code),
                    "tables": s.receipts.len(), "written": written(s), "replayed_by": replayed_by(s),
                })
            })
            .collect();
        output.answer(&serde_json::json!({ "runs": rows }).to_string())?;
        return Ok(0);
    }
    let mut text = format!(
        "{:25}  {:9}  {:20}  {:>6}  {:>14}  {}\n",
        "RUN", "COMMAND", "PIPELINE", "TABLES", "ROWS WRITTEN", "STATUS"
    );
    for s in &shown {
        let tables = s.receipts.len().max(s.verdicts.len());
        text.push_str(&format!(
            "{:25}  {:9}  {:20}  {tables:>6}  {:>14}  {}\n",
            s.start.run.as_str(),
            s.start.command,
            s.start.pipeline,
            written(s),
            with_replays(s)
        ));
    }
    output.answer(&text)?;
    Ok(0)
}

/// The runs that are asked for, newest first. Only loads, and runs that only check, have checks.
async fn newest(args: &Runs, ledger: &Ledger) -> Result<Vec<RunSummary>, Failure> {
    let mut found: Vec<RunSummary> = Vec::new();
    for run in ledger.runs().await?.iter().rev() {
        if found.len() >= args.limit {
            break;
        }
        let summary = ledger.summary(run).await?;
        let has_name = args.pipeline.as_ref().is_none_or(|p| *p == summary.start.pipeline);
        let judged = matches!(summary.start.command.as_str(), "run" | CHECKS_ONLY);
        if has_name && (!args.quality || judged) {
            found.push(summary);
        }
    }
    // Names tell runs of one second apart, but not their order.
    found.sort_by_key(|s| std::cmp::Reverse(s.start.at_micros));
    Ok(found)
}

fn written(summary: &RunSummary) -> u64 {
    summary.receipts.iter().map(|r| r.counts.written).sum()
}

/// The runs that began to read what this one put aside.
fn replayed_by(summary: &RunSummary) -> Vec<&str> {
    let mut runs: Vec<&str> = summary.replays.iter().map(|r| r.by.as_str()).collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

/// How the run ended, and what came of its quarantine.
fn with_replays(summary: &RunSummary) -> String {
    match replayed_by(summary).as_slice() {
        [] => status(summary),
        runs => format!("{}; replayed by {}", status(summary), runs.join(", ")),
    }
}

/// How the run ended, in one word or two.
pub(crate) fn status(summary: &RunSummary) -> String {
    match &summary.end {
        None => "not finished (running, or killed: resume it)".to_string(),
        Some(end) => {
            let compared = summary.verdicts.iter().filter(|v| v.outcome == Outcome::Match).count();
            match compared {
                0 => end.status.clone(),
                n => format!(
                    "{}, {n} of {} tables match",
                    end.status,
                    summary.receipts.len().max(summary.verdicts.len())
                ),
            }
        }
    }
}
