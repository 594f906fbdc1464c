//! `transload clean`

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use transload_core::connector::{CleanSpec, Orphan};
use transload_core::{Clock, Endpoint, Error, ErrorKind, Result, RunId};
use transload_ledger::{Ledger, PipelineLock};

use crate::args::{Clean, Global};
use crate::output::{Failure, Output};
use crate::pipeline::{self, resolver};
use crate::{connectors, location};

pub(crate) async fn clean(args: &Clean, global: &Global, output: &Output) -> Result<u8, Failure> {
    let ledger = Ledger::find(&global.ledger, resolver().as_ref())?;
    let places = places(args, ledger.as_ref())?;
    let before = Clock::system().now() - args.older_than;
    let look = CleanSpec { before, keep: Vec::new(), dry_run: true };
    let found = cleaned(&places, &look).await?;
    let mut guard = Guard { ledger: ledger.as_ref(), before, keep: Vec::new(), held: BTreeMap::new() };
    for run in found.iter().filter_map(|orphan| orphan.run.clone()).collect::<BTreeSet<RunId>>() {
        guard.look(run).await?;
    }
    let spec = CleanSpec { keep: guard.keep.clone(), dry_run: args.dry_run, ..look };
    let removed = cleaned(&places, &spec).await;
    guard.release().await;
    let removed = removed?;
    for run in &spec.keep {
        output.say(&format!("nothing of run {run} is touched: it may go on"));
    }
    if output.json() {
        output.answer(&as_json(args, &removed, &spec.keep))?;
    } else if !removed.is_empty() {
        output.answer(&as_text(args, &removed))?;
    }
    match removed.is_empty() {
        true => Err(Error::new(ErrorKind::NothingToDo, "there is nothing to remove").into()),
        false => Ok(0),
    }
}

/// What is cleaned: the target and the quarantine of a pipeline, with what is put aside beside its ledger; or one lake.
fn places(args: &Clean, ledger: Option<&Ledger>) -> Result<Vec<Arc<dyn Endpoint>>, Failure> {
    let resolver = resolver();
    if !location::is_file(&args.location) {
        return Ok(vec![connectors::lake(&args.location, &resolver)?]);
    }
    let checked = pipeline::check(Path::new(&args.location), &args.overrides)?;
    let mut places = vec![Arc::clone(&checked.target)];
    if let Some(quarantine) = &checked.spec.quarantine {
        // It was checked with the rest of the pipeline.
        places.extend(connectors::endpoint(&quarantine.kind, &quarantine.options, &resolver).ok());
    }
    if let Some(ledger) = ledger {
        for folder in ["quarantine", "evidence"] {
            places.push(connectors::beside(ledger.url(), folder, &resolver)?);
        }
    }
    Ok(places)
}

/// What is, or would be, removed from all places.
async fn cleaned(places: &[Arc<dyn Endpoint>], spec: &CleanSpec) -> Result<Vec<Orphan>> {
    let mut all = Vec::new();
    for place in places {
        all.extend(place.clean(spec).await?);
    }
    Ok(all)
}

/// Keeps runs from being touched that may go on, and those that may not from going on meanwhile.
struct Guard<'a> {
    ledger: Option<&'a Ledger>,
    before: DateTime<Utc>,
    keep: Vec<RunId>,
    /// By pipeline, whether its lock could be taken: nobody runs it then.
    held: BTreeMap<String, Option<PipelineLock>>,
}

impl Guard<'_> {
    /// Finds out whether a run may go on: it is not older than what is removed, or somebody runs its pipeline.
    async fn look(&mut self, run: RunId) -> Result<()> {
        let Some(ledger) = self.ledger else { return Ok(()) };
        let Some(start) = ledger.open_load(&run).await? else { return Ok(()) };
        if !self.held.contains_key(&start.pipeline) {
            let lock = match ledger.lock(&start.pipeline).await {
                Ok(lock) => Some(lock),
                Err(error) if error.is_transient() => None,
                Err(error) => return Err(error),
            };
            self.held.insert(start.pipeline.clone(), lock);
        }
        let is_idle = self.held.get(&start.pipeline).is_some_and(Option::is_some);
        if !is_idle || start.at_micros >= self.before.timestamp_micros() {
            self.keep.push(run);
        }
        Ok(())
    }

    async fn release(self) {
        for lock in self.held.into_values().flatten() {
            lock.release().await;
        }
    }
}

fn as_text(args: &Clean, removed: &[Orphan]) -> String {
    let verb = if args.dry_run { "would remove" } else { "removed" };
    let line = |orphan: &Orphan| {
        let size = orphan.bytes.map_or_else(String::new, |bytes| format!("{bytes} bytes, "));
        let modified = orphan.modified.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!("{verb} {:11} {}/{} ({size}{modified})\n", orphan.what, orphan.table, orphan.path)
    };
    removed.iter().map(line).collect()
}

fn as_json(args: &Clean, removed: &[Orphan], kept: &[RunId]) -> String {
    json!({
        "dry_run": args.dry_run,
        "older_than_secs": args.older_than.as_secs(),
        "removed": removed,
        "kept_runs": kept,
    })
    .to_string()
}
