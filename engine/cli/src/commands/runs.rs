//! `transload runs`

use transload_core::value::Outcome;
use transload_ledger::RunSummary;

use crate::args::{Global, Runs};
use crate::connectors::ledger;
use crate::output::{Failure, Output};

pub(crate) async fn runs(args: &Runs, global: &Global, output: &Output) -> Result<u8, Failure> {
    let ledger = ledger(global, false)?;
    let mut shown: Vec<RunSummary> = Vec::new();
    for run in ledger.runs().await?.iter().rev() {
        if shown.len() >= args.limit {
            break;
        }
        let summary = ledger.summary(run).await?;
        if args.pipeline.as_ref().is_none_or(|p| *p == summary.start.pipeline) {
            shown.push(summary);
        }
    }
    // Names tell runs of one second apart, but not their order.
    shown.sort_by_key(|s| std::cmp::Reverse(s.start.at_micros));
    if output.json() {
        let rows: Vec<_> = shown
            .iter()
            .map(|s| {
                serde_json::json!({
                    "run_id": s.start.run, "pipeline": s.start.pipeline, "command": s.start.command, "started": s.start.at,
                    "status": status(s), "exit_code": s.end.as_ref().map(|e| e.exit_code),
                    "tables": s.receipts.len(), "written": written(s),
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
            status(s)
        ));
    }
    output.answer(&text)?;
    Ok(0)
}

fn written(summary: &RunSummary) -> u64 {
    summary.receipts.iter().map(|r| r.counts.written).sum()
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
