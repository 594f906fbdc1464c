//! `transload init`

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use transload_core::decode::closest;
use transload_core::{Error, ErrorKind, Result};
use transload_spec::archetype;

use crate::args::{Init, Overrides, SchemaKind};
use crate::commands::schema;
use crate::draft::{self, Draft, Ends};
use crate::found::{self, Rows, Unread, Unreadable};
use crate::lines::{one_line, word};
use crate::output::{Failure, Output};
use crate::{location, pipeline};

const SCHEMA: &str = ".transload/pipeline.schema.json";

/// What a pipeline begins with that was drafted.
const ABOUT: &str =
    "#\n# Drafted from what was found. A line with a `#` says why something is so, or what else could be said.";

/// What is answered to programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Written {
    /// The pipeline.
    file: String,
    /// Its schema for editors.
    schema: String,
    /// What was decided and why, if the pipeline was drafted from a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<Draft>,
    /// Tables that were left out, since they cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
}

pub(crate) async fn init(args: &Init, output: &Output) -> Result<u8, Failure> {
    let name = args.name.strip_suffix(".yaml").unwrap_or(&args.name);
    let file = format!("{name}.yaml");
    let pipeline = Path::new(name).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    transload_spec::check_name(&pipeline).map_err(|rule| unusable(rule, &pipeline))?;
    if Path::new(&file).exists() {
        return Err(exists(&file).into());
    }
    if let Some(archetype) = &args.archetype {
        check_archetype(archetype)?;
    }
    let Some(location) = &args.from_connection else {
        write(&file, &sample(&pipeline))?;
        return said(&Written { file, schema: SCHEMA.to_string(), draft: None, unreadable: Vec::new() }, output);
    };
    let (draft, unread) = drafted(args, location, &pipeline, output).await?;
    if draft.tables.is_empty() {
        return found::ended(true, &args.table, unread, output);
    }
    write(&file, &format!("{ABOUT}\n{}", draft.text()))?;
    let (schema, unreadable) = (SCHEMA.to_string(), found::unreadable(&unread));
    let written = Written { file, schema, draft: Some(draft), unreadable };
    said(&written, output)?;
    // What it is drafted from may be named as no pipeline can have it.
    pipeline::check(Path::new(&written.file), &Overrides::default())?;
    found::ended(false, &args.table, unread, output)
}

/// Writes the pipeline, and its schema for editors.
fn write(file: &str, text: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(".transload")?;
    std::fs::write(SCHEMA, schema::text(SchemaKind::Pipeline)?)?;
    let text = format!("# yaml-language-server: $schema={SCHEMA}\n{text}");
    let written = std::fs::File::create_new(file).and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()));
    written.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(file).into(),
        _ => Error::from(e).with("file", file).into(),
    })
}

fn exists(file: &str) -> Error {
    Error::config(format!("{file} exists already")).hint("give another name: `transload init NAME`")
}

/// What is said of a name that no pipeline can have, before a file bears it.
fn unusable(rule: &str, name: &str) -> Error {
    let hint = "give it another one: `transload init NAME`";
    Error::new(ErrorKind::Usage, rule).with("name", one_line(name)).hint(hint)
}

/// Says what was written.
fn said(written: &Written, output: &Output) -> Result<u8, Failure> {
    if output.json() {
        output.answer(&json!(written).to_string())?;
    }
    output.say(&format!("wrote {} and {}", written.file, written.schema));
    output.say(&format!("next: transload plan {}", written.file));
    Ok(0)
}

/// Refuses an archetype that there is not, before anything is read for it.
fn check_archetype(name: &str) -> Result<()> {
    if archetype::is_path(name) || archetype::built_in(name).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = archetype::BUILT_IN.iter().map(|(name, _)| *name).collect();
    let hint = closest(name, &known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
    Err(Error::new(ErrorKind::Usage, format!("there is no archetype `{name}`")).hint(hint))
}

/// The pipeline of who has no source yet. Its name is one that a pipeline can have.
fn sample(pipeline: &str) -> String {
    let name = word(pipeline);
    format!(
        "version: 1\n\
         pipeline: {name}\n\
         archetype: table_copy\n\
         source: {{ tpch: {{ scale: 0.01 }} }}        # the tables of a benchmark, made on the fly; replace it by your source\n\
         target: {{ lake: {{ url: ./{pipeline}-lake }} }}\n\
         tables:\n  \
           - from: nation\n    \
             key: [n_nationkey]\n  \
           - from: customer\n    \
             key: [c_custkey]\n    \
             columns:\n      \
               c_phone: {{ mask: partial }}\n"
    )
}

/// A pipeline for the tables of a location, and what keeps some of them out of it.
async fn drafted(args: &Init, location: &str, pipeline: &str, output: &Output) -> Result<(Draft, Unread), Failure> {
    let place = location::open(location, false)?;
    let beside = format!("./{pipeline}-lake");
    let (endpoint, target) = location::destination(args.target.as_deref().unwrap_or(&beside))?;
    let rows = match (args.no_profile, args.sample) {
        (true, _) => Rows::None,
        (false, None) => Rows::Enough,
        (false, Some(percent)) => Rows::Percent(percent),
    };
    let (tables, mut unread) = found::find(&place, &args.table, rows, &args.resources.limits(), output).await?;
    let tables = draft::nameable(tables, &mut unread);
    let ends = Ends {
        pipeline,
        archetype: args.archetype.as_deref(),
        source: &place.connection,
        target: &target,
        endpoint: &endpoint,
        checks: true,
    };
    Ok((Draft::new(&ends, &tables)?, unread))
}
