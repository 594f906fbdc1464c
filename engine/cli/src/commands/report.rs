//! `transload report`

use std::path::PathBuf;

use transload_core::Error;
use transload_plan::Plan;

use crate::args::{Global, Report};
use crate::commands::run::run_id;
use crate::connectors::ledger;
use crate::output::{Failure, Output};
use crate::report::{Beside, page, render};

pub(crate) async fn report(args: &Report, global: &Global, output: &Output) -> Result<u8, Failure> {
    let run = run_id(&args.run)?;
    let ledger = ledger(global, false)?;
    let summary = ledger.summary(&run).await?;
    let plan = Plan::from_json(&ledger.artifact(summary.plan()).await?)?;
    let audit = ledger.audited(&summary.start).await?;
    let beside = Beside::of(&summary, &plan, &ledger).await?;
    let html = render(&page(&summary, &plan, &audit, ledger.url(), &beside))?;
    let file = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{run}.html")));
    let json = if file.as_os_str() == "-" {
        if !output.json() {
            output.answer(&html)?;
            return Ok(0);
        }
        serde_json::json!({ "run_id": run, "file": null, "html": html })
    } else {
        std::fs::write(&file, html).map_err(|e| Error::from(e).with("file", file.display().to_string()))?;
        serde_json::json!({ "run_id": run, "file": file.display().to_string() })
    };
    output.answer(&if output.json() { json.to_string() } else { file.display().to_string() })?;
    Ok(0)
}
