//! `transload schema` and `transload completions`

use clap::CommandFactory;
use transload_core::Error;

use crate::args::{Args, Completions, Schema, SchemaKind};
use crate::commands::discover::Discovered;
use crate::commands::init::Written;
use crate::connectors::CONNECTORS;
use crate::output::{Failure, Output};

/// The schema as text for a file.
pub(crate) fn text(kind: SchemaKind) -> Result<String, Failure> {
    let schema = match kind {
        SchemaKind::Pipeline => transload_spec::schema::pipeline(&CONNECTORS, transload_quality::schema),
        SchemaKind::Archetype => transload_spec::schema::archetype(transload_quality::schema),
        SchemaKind::Discover => transload_spec::schema::answer::<Discovered>("transload discover"),
        SchemaKind::Init => transload_spec::schema::answer::<Written>("transload init"),
    };
    Ok(serde_json::to_string_pretty(&schema).map_err(|e| Error::internal("a schema cannot be written").because(e))?
        + "\n")
}

pub(crate) fn schema(args: &Schema, output: &Output) -> Result<u8, Failure> {
    output.answer(&text(args.kind)?)?;
    Ok(0)
}

pub(crate) fn completions(args: &Completions, output: &Output) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "transload", &mut script);
    output.answer(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
