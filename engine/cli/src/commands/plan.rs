//! `transload plan`

use crate::args::{Global, Plan};
use crate::earlier;
use crate::output::{Failure, Output};
use crate::pipeline::{self, Purpose};

pub(crate) async fn plan(args: &Plan, global: &Global, output: &Output) -> Result<u8, Failure> {
    let checked = pipeline::check(&args.pipeline, &args.selection.overrides)?.backfilling(args.backfill.range.as_ref());
    let pinned = pipeline::plan(&checked, &args.selection.table, Purpose::Load).await?;
    let plan = earlier::remembered(pinned.plan, global).await?;
    if let Some(path) = &args.save {
        std::fs::write(path, plan.to_json()?)
            .map_err(|e| transload_core::Error::from(e).with("file", path.display().to_string()))?;
        output.say(&format!("saved {}", path.display()));
    }
    match output.json() {
        true => output.answer(&plan.to_json()?)?,
        false => output.answer(&plan.to_string())?,
    }
    Ok(0)
}
