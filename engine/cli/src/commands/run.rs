//! `transload run` and `transload resume`

use transload_core::{Error, ErrorKind, Result, RunId};
use transload_ledger::{Ledger, RunSummary};
use transload_plan::Plan;
use transload_run::Limits;

use crate::args::{Global, Resources, Resume, Run};
use crate::connectors;
use crate::earlier;
use crate::going::{Asked, CHECKS_ONLY, Ended, begin, go_on};
use crate::output::{Failure, Output};
use crate::pinned::Pinned;
use crate::pipeline::{self, Purpose};

pub(crate) async fn run(args: &Run, global: &Global, output: &Output) -> Result<u8, Failure> {
    let gateway = args.quality.gateway()?;
    let pinned = match (&args.plan, &args.pipeline) {
        (Some(path), _) => {
            let text =
                std::fs::read_to_string(path).map_err(|e| Error::from(e).with("file", path.display().to_string()))?;
            let plan = Plan::from_json(&text).map_err(|e| e.with("file", path.display().to_string()))?;
            if args.dry_run {
                return shown(&plan, output);
            }
            Pinned::before(plan, output).await?
        }
        (None, Some(path)) => {
            let checked = pipeline::check(path, &args.selection.overrides)?.backfilling(args.backfill.range.as_ref());
            let Pinned { plan, held } = pipeline::plan(&checked, &args.selection.table, Purpose::Load).await?;
            let plan = earlier::remembered(plan, global).await?;
            if args.dry_run {
                return shown(&plan, output);
            }
            Pinned { plan, held }
        }
        (None, None) => return Err(Error::new(ErrorKind::Usage, "a pipeline or a plan is needed").into()),
    };
    let ledger = connectors::ledger(global, true)?;
    let lock = ledger.lock(&pinned.plan.pipeline).await?;
    let asked = Asked { resources: &args.resources, quality: &args.quality, output };
    let command = if args.checks_only { CHECKS_ONLY } else { "run" };
    let ended = begin(command, pinned, ledger, asked).await;
    lock.release().await;
    ended?.announce(gateway, output).await
}

fn shown(plan: &Plan, output: &Output) -> Result<u8, Failure> {
    output.answer(&if output.json() { plan.to_json()? } else { plan.to_string() })?;
    Ok(0)
}

pub(crate) async fn resume(args: &Resume, global: &Global, output: &Output) -> Result<u8, Failure> {
    let gateway = args.quality.gateway()?;
    let run = run_id(&args.run)?;
    let ledger = connectors::ledger(global, false)?;
    let start = ledger.summary(&run).await?.start;
    if !start.is_load() {
        return Err(Error::config("only a load can be resumed").with("run", run.as_str()).into());
    }
    let lock = ledger.lock(&start.pipeline).await?;
    let asked = Asked { resources: &args.resources, quality: &args.quality, output };
    // What was read before the lock was taken may be old.
    let ended = match ledger.summary(&run).await {
        Ok(summary) => resumed(summary, ledger, asked).await,
        Err(error) => Err(error.into()),
    };
    lock.release().await;
    ended?.announce(gateway, output).await
}

async fn resumed(summary: RunSummary, ledger: Ledger, asked: Asked<'_>) -> Result<Ended, Failure> {
    match summary.end.as_ref().filter(|end| !end.resumable) {
        Some(end) => Err(Error::new(ErrorKind::NothingToDo, format!("this run has ended: {}", end.status))
            .with("run", summary.start.run.as_str())
            .hint("start a new one with `transload run`")
            .into()),
        None => go_on(summary, ledger, asked).await,
    }
}

/// Reads the name of a run.
pub(crate) fn run_id(text: &str) -> Result<RunId> {
    RunId::parse(text).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("`{text}` is not the name of a run"))
            .hint("`transload runs` lists the runs")
    })
}

impl Resources {
    /// The limits these options set.
    pub(crate) fn limits(&self) -> Limits {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Limits {
            memory_bytes: self.memory,
            parallel: self.parallel.map_or(cores, usize::from),
            temp_dir: self.temp_dir.clone(),
        }
    }
}
