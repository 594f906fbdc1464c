//! The audit chain: what happened, in order, so that a later change shows.

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use transload_core::store::is_temporary;
use transload_core::{Clock, Error, Result, RunId};

use crate::Ledger;
use crate::artifacts::hex;
use crate::runs::RunStart;

/// Attempts to append while others append too.
const ATTEMPTS: usize = 1000;

/// One record of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its number, from 1.
    pub number: u64,
    /// SHA-256 of the record before it, as it is stored; of nothing for the first.
    pub previous: String,
    /// When, RFC 3339.
    pub at: String,
    /// The run it is about.
    pub run: RunId,
    /// The pipeline it is about.
    pub pipeline: String,
    /// What happened: `planned`, `committed`, `compared`, `ended`, …
    pub event: String,
    /// The artifact that says more.
    pub artifact: Option<String>,
}

/// Appends records about one run.
#[derive(Debug, Clone)]
pub struct Audit {
    ledger: Ledger,
    clock: ShownClock,
    run: RunId,
    pipeline: String,
}

/// A clock that can be shown.
#[derive(Clone)]
struct ShownClock(Clock);

impl std::fmt::Debug for ShownClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// What a check of the chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Records that are right, from the first on.
    pub good: u64,
    /// The first one that is not, with the reason.
    pub broken: Option<(u64, String)>,
}

impl Ledger {
    /// An appender for one run.
    pub fn audit(&self, clock: Clock, run: RunId, pipeline: &str) -> Audit {
        Audit { ledger: self.clone(), clock: ShownClock(clock), run, pipeline: pipeline.to_string() }
    }

    /// Checks the whole chain, and every artifact it names.
    ///
    /// # Errors
    /// As the store fails; a broken chain is a [`Finding`].
    pub async fn verify(&self) -> Result<Finding> {
        let mut previous = String::new();
        let mut number = 0;
        let all = self.store.list(&Path::from("audit")).await?;
        // A record that was never appended may have been left on its way by somebody who died.
        for found in all.into_iter().filter(|found| !is_temporary(&found.location)) {
            number += 1;
            let broken = |reason: &str| Ok(Finding { good: number - 1, broken: Some((number, reason.to_string())) });
            if found.location != path(number) {
                return broken("the record is missing");
            }
            let content = self.store.read(&found.location).await?.unwrap_or_default();
            let Ok(record) = serde_json::from_slice::<Record>(&content) else {
                return broken("the record cannot be read");
            };
            if record.number != number {
                return broken("the record has another number than its name");
            }
            if record.previous != previous {
                return broken("the record before it was changed or taken out");
            }
            if let Some(sha) = &record.artifact
                && let Err(error) = self.artifact(sha).await
            {
                return broken(error.message());
            }
            previous = hex(&content);
        }
        Ok(Finding { good: number, broken: None })
    }

    /// The records about a run, in order. Records are read from the last one back to the run's start.
    ///
    /// # Errors
    /// As the store fails, or if a record on the way cannot be read: `transload audit verify` says more.
    pub async fn audited(&self, start: &RunStart) -> Result<Vec<Record>> {
        let (mut number, _) = self.tip(0).await?;
        let mut found = Vec::new();
        while number > 0 {
            let content = self.store.read(&path(number)).await?.unwrap_or_default();
            let record: Record = serde_json::from_slice(&content).map_err(|e| {
                Error::config(format!("the audit record {number} cannot be read")).with("ledger", self.url()).because(e)
            })?;
            // Stamps have one form and one zone, so their order is that of their texts.
            if record.at < start.at {
                break;
            }
            if record.run == start.run {
                found.push(record);
            }
            number -= 1;
        }
        found.reverse();
        Ok(found)
    }

    /// The last record's number and hash; 0 and nothing for an empty chain.
    async fn tip(&self, at_least: u64) -> Result<(u64, String)> {
        let mut number = at_least;
        if number == 0 {
            // Records are numbered without gaps, so the last one can be searched for by halving.
            let mut beyond = 1;
            while self.store.read(&path(beyond)).await?.is_some() {
                number = beyond;
                beyond *= 2;
            }
            while beyond - number > 1 {
                let middle = number + (beyond - number) / 2;
                match self.store.read(&path(middle)).await? {
                    Some(_) => number = middle,
                    None => beyond = middle,
                }
            }
        }
        while self.store.read(&path(number + 1)).await?.is_some() {
            number += 1;
        }
        match number {
            0 => Ok((0, String::new())),
            _ => Ok((number, hex(&self.store.read(&path(number)).await?.unwrap_or_default()))),
        }
    }
}

impl Audit {
    /// Appends a record. Writers at the same time all succeed, one after the other.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn append(&self, event: &str, artifact: Option<&str>) -> Result<()> {
        let mut known = 0;
        for _ in 0..ATTEMPTS {
            let (number, previous) = self.ledger.tip(known).await?;
            let record = Record {
                number: number + 1,
                previous,
                at: self.clock.0.stamp(),
                run: self.run.clone(),
                pipeline: self.pipeline.clone(),
                event: event.to_string(),
                artifact: artifact.map(str::to_string),
            };
            let text =
                serde_json::to_vec(&record).map_err(|e| Error::internal("a record cannot be written").because(e))?;
            if self.ledger.store.create(&path(record.number), Bytes::from(text)).await? {
                return Ok(());
            }
            known = number;
        }
        Err(Error::transient("too many others write to the audit chain"))
    }
}

fn path(number: u64) -> Path {
    Path::from(format!("audit/{number:012}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ledgers;

    fn appender(ledger: &Ledger) -> Audit {
        let clock = Clock::system();
        ledger.audit(clock.clone(), RunId::new(&clock), "p")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn concurrent_writers_all_succeed() {
        let (_dir, ledgers) = ledgers();
        for ledger in &ledgers {
            let writers = (0..24).map(|i| {
                let audit = appender(ledger);
                tokio::spawn(async move { audit.append(&format!("event {i}"), None).await })
            });
            for writer in writers.collect::<Vec<_>>() {
                writer.await.unwrap().unwrap();
            }
            assert_eq!(ledger.verify().await.unwrap(), Finding { good: 24, broken: None });
        }
    }

    #[tokio::test]
    async fn a_run_s_records_are_found_among_others() {
        let (_dir, ledgers) = ledgers();
        for ledger in &ledgers {
            let (one, other) = (appender(ledger), appender(ledger));
            let start = RunStart {
                run: one.run.clone(),
                pipeline: "p".into(),
                command: "run".into(),
                at: "2000-01-01T00:00:00.000Z".into(),
                at_micros: 0,
                plan: "0".repeat(64),
                program: "0".into(),
                show_values: false,
            };
            for audit in [&other, &one, &other, &one] {
                audit.append("event", None).await.unwrap();
            }
            let numbers = |found: Vec<Record>| found.iter().map(|r| r.number).collect::<Vec<_>>();
            assert_eq!(numbers(ledger.audited(&start).await.unwrap()), [2, 4]);
            let later = RunStart { at: "9999-01-01T00:00:00.000Z".into(), ..start };
            assert!(ledger.audited(&later).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_record_that_was_never_appended_breaks_nothing() {
        let (dir, [ledger, _]) = ledgers();
        let audit = appender(&ledger);
        audit.append("event", None).await.unwrap();
        let left = dir.path().join("audit").join(format!(".{}.tmp", "0123456789abcdef".repeat(2)));
        std::fs::write(left, "{").unwrap();
        assert_eq!(ledger.verify().await.unwrap(), Finding { good: 1, broken: None });
        audit.append("event", None).await.unwrap();
        assert_eq!(ledger.verify().await.unwrap(), Finding { good: 2, broken: None });
    }

    #[tokio::test]
    async fn every_change_shows() {
        let (dir, [ledger, _]) = ledgers();
        let audit = appender(&ledger);
        let sha = ledger.keep("{}").await.unwrap();
        for i in 0..5 {
            audit.append(&format!("e{i}"), (i == 1).then_some(sha.as_str())).await.unwrap();
        }
        let at = |n: u64| dir.path().join(path(n).as_ref());
        let text = std::fs::read_to_string(at(3)).unwrap();
        std::fs::write(at(3), text.replace("\"e2\"", "\"e9\"")).unwrap();
        assert_eq!(ledger.verify().await.unwrap().broken.unwrap().0, 4);
        std::fs::write(at(3), &text).unwrap();
        assert_eq!(ledger.verify().await.unwrap().good, 5);
        std::fs::remove_file(at(3)).unwrap();
        assert_eq!(ledger.verify().await.unwrap().broken.unwrap().0, 3);
        std::fs::write(at(3), &text).unwrap();
        std::fs::write(dir.path().join(format!("artifacts/sha256/{}/{sha}.json", &sha[..2])), "[]").unwrap();
        assert_eq!(ledger.verify().await.unwrap().broken.unwrap().0, 2);
    }
}
