//! `transload show`

use std::fmt::Write;

use transload_core::{Finding, Receipt, Verdict};
use transload_plan::{ColumnChange, Plan};

use crate::args::{Global, Show};
use crate::commands::run::run_id;
use crate::commands::runs::status;
use crate::connectors::{ledger, quarantine_url};
use crate::lines::indented;
use crate::output::{Failure, Output};

pub(crate) async fn show(args: &Show, global: &Global, output: &Output) -> Result<u8, Failure> {
    let run = run_id(&args.run)?;
    let ledger = ledger(global, false)?;
    let summary = ledger.summary(&run).await?;
    let plan = Plan::from_json(&ledger.artifact(summary.plan()).await?)?;
    if output.json() {
        let plan = if args.plan { serde_json::json!(plan) } else { serde_json::Value::Null };
        output.answer(&serde_json::json!({ "run": summary, "plan": plan }).to_string())?;
        return Ok(0);
    }
    let mut text = String::new();
    let start = &summary.start;
    let _ = writeln!(text, "run          {} ({})", start.run, start.command);
    let _ =
        writeln!(text, "pipeline     {} (archetype {}), transload {}", start.pipeline, plan.archetype, start.program);
    let _ = writeln!(text, "from → to    {} → {}", connection(&plan.source), connection(&plan.target));
    let _ = writeln!(text, "plan         {}", plan.fingerprint);
    for repinned in &summary.repinned {
        let _ = writeln!(text, "pinned anew  {}: {repinned}", repinned.at);
    }
    let _ = writeln!(text, "started      {}", start.at);
    if let Some(end) = &summary.end {
        let _ = writeln!(text, "ended        {}", end.at);
    }
    let _ = writeln!(text, "status       {}", status(&summary));
    if let Some(end) = &summary.end {
        let _ = writeln!(text, "exit code    {}", end.exit_code);
    }
    if let Some(error) = summary.end.as_ref().and_then(|e| e.error.as_ref()) {
        let _ = writeln!(text, "error        {error}");
    }
    for alerted in &summary.alerts {
        let _ = writeln!(text, "alert        {alerted}");
    }
    let quarantine = quarantine_url(plan.quarantine.as_ref(), ledger.url());
    for table in &plan.tables {
        let _ = writeln!(text, "\n{} → {}", table.from, table.to);
        if let Some(replay) = &table.replay {
            let _ = writeln!(text, "  replays      what run {} put aside of {}", replay.run, replay.from);
        }
        if let Some((cursor, range)) = table.backfilled() {
            let _ = writeln!(text, "  backfill     {cursor} {range}");
        }
        for ColumnChange { column, change } in table.schema_change.iter().flat_map(|schema| &schema.changes) {
            let _ = writeln!(text, "  schema       {column}: {change}");
        }
        match summary.receipts.iter().find(|r| r.to == table.to) {
            Some(receipt) => describe_receipt(&mut text, receipt, &quarantine),
            None if start.is_load() => {
                let _ = writeln!(text, "  not committed");
            }
            None => {}
        }
        if let Some(replayed) = summary.replays.iter().rfind(|r| r.table == table.to) {
            let _ = writeln!(text, "  replayed     by run {}", replayed.by);
        }
        let findings: Vec<Finding> = summary.findings.iter().filter(|f| f.table == table.to).cloned().collect();
        if let Some(line) = transload_quality::summary(&findings) {
            let _ = writeln!(text, "  quality      {line}");
        }
        for finding in &findings {
            let _ = writeln!(text, "{}", indented(&transload_quality::describe(finding), "    "));
        }
        if let Some(verdict) = summary.verdicts.iter().find(|v| v.to == table.to) {
            describe_verdict(&mut text, verdict);
        }
    }
    if args.plan {
        let _ = write!(text, "\n{plan}");
    }
    output.answer(&text)?;
    Ok(0)
}

/// A connection in a few words: its kind and where it is.
pub(crate) fn connection(connection: &transload_plan::Connection) -> String {
    match connection.options.get("url").map(|u| &u.value) {
        Some(transload_core::tree::Value::Text(url)) => format!("{} {url}", connection.kind),
        _ => connection.kind.clone(),
    }
}

/// Where rows of a table were put aside, below the url of all quarantines.
pub(crate) fn quarantine_place(receipt: &Receipt, quarantine: &str) -> String {
    format!("{quarantine}/{}", quarantine_name(receipt))
}

/// The name of a table's quarantine among those of the ledger.
pub(crate) fn quarantine_name(receipt: &Receipt) -> String {
    let run = receipt.committed.key.as_str().rsplit_once('-').map_or("", |(run, _)| run);
    format!("{run}/{}", receipt.to)
}

fn describe_receipt(text: &mut String, receipt: &Receipt, quarantine: &str) {
    let c = &receipt.counts;
    let _ = writeln!(text, "  source       {}", receipt.pin.describe());
    let deleted = if c.deleted > 0 { format!(" + {} deleted", c.deleted) } else { String::new() };
    let _ = writeln!(
        text,
        "  rows         {} read = {} written + {} quarantined + {} filtered{deleted}",
        c.read, c.written, c.quarantined, c.filtered
    );
    let _ = writeln!(
        text,
        "  committed    version {}, {} file{}, {} bytes{}",
        receipt.committed.version,
        receipt.committed.parts,
        if receipt.committed.parts == 1 { "" } else { "s" },
        receipt.committed.bytes,
        if receipt.committed.already_done { " (by an earlier attempt)" } else { "" }
    );
    let _ = writeln!(
        text,
        "  work         {} units, {} taken over from an earlier process, {} retries, {} to {}",
        receipt.units, receipt.resumed_units, receipt.retries, receipt.started, receipt.ended
    );
    let _ = writeln!(text, "  digest       {}", receipt.digest);
    for loss in &receipt.losses {
        let _ = writeln!(
            text,
            "  cast         {} {} → {}: {} changed, {} became NULL, {} quarantined",
            loss.column, loss.from, loss.to, loss.changed, loss.nulled, loss.quarantined
        );
    }
    if receipt.quarantine.is_some() {
        let _ = writeln!(text, "  quarantine   {}", quarantine_place(receipt, quarantine));
    }
}

fn describe_verdict(text: &mut String, verdict: &Verdict) {
    let _ = writeln!(text, "  verdict      {} at level {}: {}", verdict.outcome, verdict.level, verdict.summary);
    let _ = writeln!(
        text,
        "  compared     source {} with target {}",
        verdict.source_pin.describe(),
        verdict.target_pin.describe()
    );
    let coverage = &verdict.coverage;
    if !coverage.columns.is_empty() {
        let _ = writeln!(text, "  columns      {}", coverage.columns.join(", "));
    }
    for (what, why) in coverage.not_compared.iter().chain(&coverage.not_looked_at) {
        let _ = writeln!(text, "  not compared {what}: {why}");
    }
    for (rows, why) in &coverage.rows_left_out {
        let _ = writeln!(text, "  left out     {rows} source rows {why}");
    }
    if !coverage.masked.is_empty() {
        let _ = writeln!(text, "  masked       {} (compared as masked)", coverage.masked.join(", "));
    }
    for sentence in &verdict.schema {
        let _ = writeln!(text, "  difference   {sentence}");
    }
    let d = &verdict.differences;
    if d.total() > 0 {
        let _ = writeln!(
            text,
            "  differences  {} missing in target, {} extra in target, {} changed, {} with another multiplicity",
            d.missing_in_target, d.extra_in_target, d.changed, d.multiplicity
        );
        for (column, count) in &d.columns {
            let _ = writeln!(text, "               {column}: {count} values");
        }
    }
    if let Some(evidence) = &verdict.evidence {
        let _ = writeln!(text, "  evidence     {evidence}");
    }
}
