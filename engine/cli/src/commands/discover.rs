//! `transload discover`

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use transload_core::connector::TableInfo;

use crate::args::Discover;
use crate::draft::{Draft, Ends};
use crate::found::{self, Rows, Unreadable};
use crate::listing::listing;
use crate::location;
use crate::output::{Failure, Output};

/// Where the tables of a draft go to that is only shown.
const TARGET: &str = "./target";

/// What is answered to programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Discovered {
    /// The tables that are there, sorted by name.
    tables: Vec<TableInfo>,
    /// Those that cannot be read.
    unreadable: Vec<Unreadable>,
}

pub(crate) async fn discover(args: &Discover, output: &Output) -> Result<u8, Failure> {
    let place = location::open(&args.location, args.target)?;
    let rows = match (args.checks, args.sample) {
        (false, _) => Rows::None,
        (true, None) => Rows::All,
        (true, Some(percent)) => Rows::Percent(percent),
    };
    let (tables, unread) = found::find(&place, &args.table, rows, &args.resources.limits(), output).await?;
    let is_empty = tables.is_empty();
    if args.pipeline || args.checks {
        let (endpoint, target) = location::destination(TARGET)?;
        let ends = Ends {
            pipeline: "draft",
            archetype: None,
            source: &place.connection,
            target: &target,
            endpoint: &endpoint,
            checks: args.checks,
        };
        output.answer(&Draft::new(&ends, &tables)?.text())?;
    } else if output.json() {
        let tables = tables.into_iter().map(|table| table.info).collect();
        let found = Discovered { tables, unreadable: found::unreadable(&unread) };
        output.answer(&json!(found).to_string())?;
    } else {
        let tables: Vec<&TableInfo> = tables.iter().map(|table| &table.info).collect();
        output.answer(&listing(&tables, args.brief))?;
    }
    found::ended(is_empty, &args.table, unread, output)
}
