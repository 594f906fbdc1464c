//! The connectors of this build: one line each.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use transload_coerce::Rulebook;
use transload_core::decode::{Kinded, closest};
use transload_core::tree::{Spanned, Value};
use transload_core::{Connector, Endpoint, Error, Node, Problem, Resolve, Result, Span};
use transload_ledger::Ledger;
use transload_plan::Plan;
use transload_plan::replay::{Patch, ReplayEndpoint, ReplayTable};

use crate::args::Global;
use crate::pipeline::resolver;

/// Every kind of connection there is.
pub(crate) const CONNECTORS: [&dyn Connector; 4] =
    [&transload_delta::Delta, &transload_lake::Lake, &transload_postgres::Postgres, &transload_tpch::Tpch];

/// The words for these kinds.
pub(crate) fn kinds() -> Vec<&'static str> {
    CONNECTORS.iter().map(|c| c.kind()).collect()
}

/// Makes an endpoint of a connection's options.
pub(crate) fn endpoint(
    kind: &Spanned<String>,
    options: &Node,
    resolver: &Arc<dyn Resolve>,
) -> Result<Arc<dyn Endpoint>, Vec<Problem>> {
    match CONNECTORS.iter().find(|c| c.kind() == kind.value) {
        Some(connector) => connector.parse(options, Arc::clone(resolver)),
        None => {
            let kinds = kinds();
            let hint = closest(kind, &kinds).unwrap_or_else(|| format!("there are {}", kinds.join(", ")));
            Err(vec![Problem::new(kind.span, format!("`{}` is not a kind of connection", kind.value)).hint(hint)])
        }
    }
}

/// The same from a plan, whose options were checked when it was made.
pub(crate) fn planned(
    connection: &transload_plan::Connection,
    resolver: &Arc<dyn Resolve>,
) -> Result<Arc<dyn Endpoint>> {
    endpoint(&Spanned::nowhere(connection.kind.clone()), &connection.options, resolver).map_err(|problems| {
        let first = problems.first().map(|p| p.message.clone()).unwrap_or_default();
        Error::config(format!("the plan's connection cannot be used: {first}"))
    })
}

/// The same from what was typed on the command line, which stands in no file.
pub(crate) fn typed(connection: &Kinded, resolver: &Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>> {
    endpoint(&connection.kind, &connection.options, resolver).map_err(|problems| {
        let Problem { message, hint, .. } =
            problems.into_iter().next().unwrap_or_else(|| Problem::new(Span::default(), "nobody says why"));
        let error = Error::config(format!("the location cannot be used: {message}"));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// The ledger of this start, made if it is missing and `create` is set.
pub(crate) fn ledger(global: &Global, create: bool) -> Result<Ledger> {
    Ledger::open(&global.ledger, create, resolver().as_ref())
}

/// Where rows are read from: the source, or what earlier runs put aside of it.
pub(crate) async fn rows_of(
    plan: &Plan,
    source: &Arc<dyn Endpoint>,
    rulebook: &Arc<Rulebook>,
    ledger: &Ledger,
    resolver: &Arc<dyn Resolve>,
) -> Result<Arc<dyn Endpoint>> {
    if plan.tables.iter().all(|t| t.replay.is_none()) {
        return Ok(Arc::clone(source));
    }
    let mut tables = Vec::with_capacity(plan.tables.len());
    for table in &plan.tables {
        let replay = table.replay.as_ref();
        let replay = replay.ok_or_else(|| Error::internal("a plan reads both a source and a quarantine"))?;
        let patch = match &replay.patch {
            None => None,
            Some(sha) => {
                let patch = serde_json::from_str::<Patch>(&ledger.artifact(sha).await?);
                Some(patch.map_err(|e| Error::config(format!("the artifact {sha} is no patch")).because(e))?)
            }
        };
        tables.push(ReplayTable {
            name: table.from.clone(),
            quarantine: quarantine(replay.quarantine.as_ref(), ledger, resolver)?,
            columns: table.source_columns.clone(),
            patch,
        });
    }
    Ok(Arc::new(ReplayEndpoint { tables, rulebook: Arc::clone(rulebook) }))
}

/// Where rows are put aside: where the pipeline says, or beside the ledger.
pub(crate) fn quarantine(
    stated: Option<&transload_plan::Connection>,
    ledger: &Ledger,
    resolver: &Arc<dyn Resolve>,
) -> Result<Arc<dyn Endpoint>> {
    match stated {
        Some(connection) => planned(connection, resolver),
        None => beside(ledger.url(), "quarantine", resolver),
    }
}

/// The same in words: references to secrets are not resolved.
pub(crate) fn quarantine_url(stated: Option<&transload_plan::Connection>, ledger: &str) -> String {
    let url = stated.and_then(|connection| connection.options.get("url"));
    match url.map(|url| &url.value) {
        Some(Value::Text(url)) => url.trim_end_matches('/').to_string(),
        _ => format!("{ledger}/quarantine"),
    }
}

/// A lake in a folder of the ledger, for rows and evidence that are put aside.
pub(crate) fn beside(ledger: &str, folder: &str, resolver: &Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>> {
    lake(&format!("{}/{folder}", ledger.trim_end_matches('/')), resolver)
}

/// A lake at a url that a person has typed; how it is reached says the environment.
pub(crate) fn lake(url: &str, resolver: &Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>> {
    typed(&connection("lake", json!({ "url": url.replace("${", "$${") }))?, resolver)
}

/// A connection as it would stand in a file.
pub(crate) fn connection(kind: &str, options: Json) -> Result<Kinded> {
    let options = serde_json::from_value(options).map_err(|e| Error::internal("options cannot be made").because(e))?;
    Ok(Kinded { kind: Spanned::nowhere(kind.to_string()), options })
}
