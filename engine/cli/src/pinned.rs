//! Plans, and who holds what they have pinned.
//!
//! A file, or a version of a table, can be read at its pin for as long as it is there. A snapshot of a database ends with the
//! connection that took it. So the endpoints by which a plan was pinned are kept until its tables are read and compared.

use std::sync::Arc;

use transload_core::{Endpoint, Result};
use transload_plan::Plan;
use transload_quality::Place;

use crate::connectors::planned;
use crate::output::Output;
use crate::pipeline::resolver;

/// The endpoints of a plan. What they have pinned can be read while this lives, by them and by others: each pins its tables
/// together, the target those that checks look at.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) source: Arc<dyn Endpoint>,
    pub(crate) target: Arc<dyn Endpoint>,
}

impl Held {
    /// The same two, which have pinned nothing yet.
    pub(crate) fn new(source: Arc<dyn Endpoint>, target: Arc<dyn Endpoint>) -> Self {
        Self { source: source.together(), target: target.together() }
    }

    /// Those of a plan that was pinned before, by others.
    pub(crate) fn by_none(plan: &Plan) -> Result<Self> {
        let resolver = resolver();
        Ok(Self::new(planned(&plan.source, &resolver)?, planned(&plan.target, &resolver)?))
    }

    /// Where a table is that checks look at.
    pub(crate) fn at(&self, place: Place) -> &Arc<dyn Endpoint> {
        match place {
            Place::Pipeline | Place::Source => &self.source,
            Place::Target => &self.target,
        }
    }
}

/// A plan whose tables can be read.
pub(crate) struct Pinned {
    pub(crate) plan: Plan,
    /// Goes last: with it the pins may end.
    pub(crate) held: Held,
}

impl Pinned {
    /// A plan that was pinned before, and of which nothing has been read. If some of its tables cannot be read any more as
    /// they were pinned, they are pinned anew, and that is said.
    pub(crate) async fn before(plan: Plan, output: &Output) -> Result<Self> {
        let held = Held::by_none(&plan)?;
        let (mut tables, mut references) = (plan.tables.clone(), plan.references.clone());
        let mut gone = Vec::new();
        // What was put aside is no snapshot.
        let loaded = tables.iter_mut().filter(|table| table.replay.is_none()).map(|table| (&held.source, table));
        let looked_at = references.iter_mut().map(|reference| (held.at(reference.place), &mut reference.read));
        for (endpoint, table) in loaded.chain(looked_at) {
            let anew = transload_run::pinned_anew(endpoint, table).await;
            if let Some(anew) = anew.map_err(|e| e.with("table", table.from.as_str()))? {
                gone.push(std::mem::replace(table, anew).pin);
            }
        }
        let Some(first) = gone.first() else { return Ok(Self { plan, held }) };
        let tables_are = if gone.len() == 1 { "1 table is".to_string() } else { format!("{} tables are", gone.len()) };
        output.say(&format!("what the plan has pinned is gone ({}): {tables_are} pinned anew", first.describe()));
        Ok(Self { plan: plan.repinned(tables, references)?, held })
    }
}
