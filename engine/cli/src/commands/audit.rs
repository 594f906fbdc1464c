//! `transload audit verify`

use transload_core::Error;

use crate::args::{Audit, AuditCommand, Global};
use crate::connectors::ledger;
use crate::output::{Failure, Output};

pub(crate) async fn audit(args: &Audit, global: &Global, output: &Output) -> Result<u8, Failure> {
    let AuditCommand::Verify = args.command;
    let ledger = ledger(global, false)?;
    let finding = ledger.verify().await?;
    if output.json() {
        output.answer(&serde_json::json!(finding).to_string())?;
    } else if finding.broken.is_none() {
        output.answer(&format!("the audit chain is whole: {} records", finding.good))?;
    }
    match finding.broken {
        None => Ok(0),
        Some((number, reason)) => Err(Error::config(format!("the audit chain is broken at record {number}: {reason}"))
            .with("ledger", ledger.url())
            .hint(format!("the {} records before it are right", finding.good))
            .into()),
    }
}
