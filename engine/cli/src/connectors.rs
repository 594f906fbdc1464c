//! The connectors of this build: one line each.

use std::sync::Arc;

use transload_core::decode::closest;
use transload_core::tree::Spanned;
use transload_core::{Connector, Endpoint, Error, Node, Problem, Resolve, Result};
use transload_ledger::Ledger;

use crate::args::Global;
use crate::pipeline::resolver;

/// Every kind of connection there is.
pub(crate) const CONNECTORS: [&dyn Connector; 2] = [&transload_lake::Lake, &transload_tpch::Tpch];

/// Makes an endpoint of a connection's options.
pub(crate) fn endpoint(
    kind: &Spanned<String>,
    options: &Node,
    resolver: &Arc<dyn Resolve>,
) -> Result<Arc<dyn Endpoint>, Vec<Problem>> {
    match CONNECTORS.iter().find(|c| c.kind() == kind.value) {
        Some(connector) => connector.parse(options, Arc::clone(resolver)),
        None => {
            let kinds: Vec<&str> = CONNECTORS.iter().map(|c| c.kind()).collect();
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

/// The ledger of this start, made if it is missing and `create` is set.
pub(crate) fn ledger(global: &Global, create: bool) -> Result<Ledger> {
    Ledger::open(&global.ledger, create, resolver().as_ref())
}

/// A lake in a folder of the ledger, for rows and evidence that are put aside.
pub(crate) fn beside(ledger: &str, folder: &str, resolver: &Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>> {
    let url = format!("{}/{folder}", ledger.trim_end_matches('/')).replace("${", "$${");
    let options = serde_json::json!({ "url": url });
    let options: Node =
        serde_json::from_value(options).map_err(|e| Error::internal("options cannot be made").because(e))?;
    planned(&transload_plan::Connection { kind: "lake".to_string(), options }, resolver)
}
