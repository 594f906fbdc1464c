//! Who is held to the promises, and how it goes.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use transload_core::connector::Transform;
use transload_core::{Capability, Endpoint, Result, TableName};

use crate::case::{Case, Weight, cases};
use crate::claim::{by, claims_of};
use crate::trial::{Connect, Trial, commit, rows, stage};
use crate::types;

/// The longest a case may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A configured connector that is held to what it claims.
#[derive(Clone)]
pub struct Subject {
    connect: Connect,
    /// What it calls the format of its tables.
    format: &'static str,
    claims: Vec<&'static str>,
    tables: Vec<TableName>,
    left_out: Vec<Weight>,
    is_far: bool,
    /// How the names of its tables begin.
    schema: &'static str,
}

/// What was found of one promise.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The promise.
    pub case: &'static Case,
    /// What was found.
    pub outcome: Outcome,
}

/// What can be found of a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept.
    Proven,
    /// It is broken: how, in one sentence.
    Failed(String),
    /// It is not made.
    NotClaimed,
    /// It was not asked about.
    LeftOut,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Proven => write!(f, "{}: proven", self.case.name),
            Outcome::Failed(sentence) => write!(f, "{}: failed: {sentence}", self.case.name),
            Outcome::NotClaimed => write!(f, "{}: not claimed", self.case.name),
            Outcome::LeftOut => write!(f, "{}: left out", self.case.name),
        }
    }
}

impl Subject {
    /// An endpoint of a connector with this capability. `connect` makes it, again and again, from plain data; no two
    /// subjects write to the same place. `format` is what it calls the format of its tables.
    pub fn new(
        capability: Capability,
        format: &'static str,
        connect: impl Fn() -> Arc<dyn Endpoint> + Send + Sync + 'static,
    ) -> Self {
        let claims = claims_of(&capability, connect().as_ref()).into_iter().map(|claim| claim.name).collect();
        let connect: Connect = Arc::new(connect);
        Self { connect, format, claims, tables: Vec::new(), left_out: Vec::new(), is_far: false, schema: "" }
    }

    /// The same for tables that are there. They are read, and nothing is written.
    #[must_use]
    pub fn reading(mut self, tables: impl IntoIterator<Item = TableName>) -> Self {
        let writes = |name: &&str| crate::CLAIMS.iter().any(|claim| claim.name == *name && claim.is_about_writing());
        self.claims.retain(|name| !writes(name));
        self.tables = tables.into_iter().collect();
        self
    }

    /// The same without the cases of some weights.
    #[must_use]
    pub fn without(mut self, weights: &[Weight]) -> Self {
        self.left_out.extend_from_slice(weights);
        self
    }

    /// The same at a server: what is asked of it is smaller.
    #[must_use]
    pub fn far(mut self) -> Self {
        self.is_far = true;
        self
    }

    /// The same where the names of tables begin with a schema, such as `public.`.
    #[must_use]
    pub fn in_schema(mut self, schema: &'static str) -> Self {
        self.schema = schema;
        self
    }

    /// What it claims, by the names of the claims.
    pub fn claims(&self) -> &[&'static str] {
        &self.claims
    }

    /// The cases that are to be proven.
    pub fn due(&self) -> Vec<&'static Case> {
        cases().into_iter().filter(|case| self.excuse(case).is_none()).collect()
    }

    /// Why a case is not to be proven.
    fn excuse(&self, case: &Case) -> Option<Outcome> {
        match (case.is_claimed(&self.claims), self.left_out.contains(&case.weight)) {
            (false, _) => Some(Outcome::NotClaimed),
            (true, true) => Some(Outcome::LeftOut),
            (true, false) => None,
        }
    }

    /// Runs every case that is due, as many at the same time as have a turn, and says of each case what was found.
    /// What looks at all tables comes last.
    pub async fn run(&self, turns: &Arc<Semaphore>) -> Vec<Finding> {
        let mut found: Vec<Finding> =
            cases().into_iter().filter_map(|case| self.excuse(case).map(|outcome| Finding { case, outcome })).collect();
        let tables: Arc<[TableName]> = match self.tables_to_read().await {
            Ok(tables) => tables.into(),
            Err(error) => {
                let outcome = Outcome::Failed(format!("the tables that are to be read cannot be written: {error:?}"));
                found.extend(self.due().into_iter().map(|case| Finding { case, outcome: outcome.clone() }));
                return found;
            }
        };
        let (alone, together): (Vec<&Case>, Vec<&Case>) = self.due().into_iter().partition(|case| case.is_alone);
        let mut running = JoinSet::new();
        for case in together {
            let (trial, turns) = (self.trial(case.name, &tables), Arc::clone(turns));
            running.spawn(async move {
                let _turn = turns.acquire_owned().await;
                Finding { case, outcome: outcome(case, trial).await }
            });
        }
        // A case that panics is a finding, so none of them is lost.
        found.extend(running.join_all().await);
        for case in alone {
            let outcome = outcome(case, self.trial(case.name, &tables)).await;
            found.push(Finding { case, outcome });
        }
        found
    }

    fn trial(&self, name: &str, tables: &Arc<[TableName]>) -> Trial {
        Trial {
            endpoint: (self.connect)(),
            connect: Arc::clone(&self.connect),
            claims: self.claims.as_slice().into(),
            name: format!("{}t_{}", self.schema, name.replace('-', "_")),
            tables: Arc::clone(tables),
            format: self.format,
            is_far: self.is_far,
        }
    }

    /// The tables that are there, or some that are written to be read: of two units, in folders, without rows, of all
    /// types.
    async fn tables_to_read(&self) -> Result<Vec<TableName>> {
        if !self.claims.contains(&"sink") || !self.claims.contains(&"source") {
            return Ok(self.tables.clone());
        }
        let trial = self.trial("read", &Arc::default());
        let plain = trial.table("plain");
        let (one, other) = if self.is_far { (40, 60) } else { (1200, 2000) };
        let sink = trial.sink(&plain, trial.mode()).await?;
        let staged = vec![stage(&sink, "a", rows(0, one)?).await?, stage(&sink, "b", rows(one, other)?).await?];
        commit(&sink, staged).await?;
        let mut tables = vec![plain];
        if trial.claims("partitions") {
            let parts = trial.table("parts");
            let layout = vec![by("word", Transform::Identity)];
            trial.put_by(&parts, trial.mode(), rows(0, one)?, layout).await?;
            tables.push(parts);
        }
        let none = trial.table("none");
        trial.put(&none, trial.mode(), rows(0, 0)?).await?;
        tables.push(none);
        if !self.is_far {
            let all = trial.table("types");
            let rows = types::taken(&trial, &all).await?;
            trial.put(&all, trial.mode(), rows).await?;
            tables.push(all);
        }
        Ok(tables)
    }
}

/// Runs a case.
async fn outcome(case: &'static Case, trial: Trial) -> Outcome {
    let checked = AssertUnwindSafe((case.check)(trial)).catch_unwind();
    match tokio::time::timeout(PATIENCE, checked).await {
        Ok(Ok(Ok(()))) => Outcome::Proven,
        Ok(Ok(Err(error))) => Outcome::Failed(format!("{error:?}")),
        Ok(Err(_)) => Outcome::Failed("it panicked".to_string()),
        Err(_) => Outcome::Failed(format!("it did not end within {} seconds", PATIENCE.as_secs())),
    }
}
