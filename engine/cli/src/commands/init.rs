//! `transload init`

use std::path::Path;

use transload_core::Error;

use crate::args::{Init, SchemaKind};
use crate::commands::schema;
use crate::output::{Failure, Output};

const SCHEMA: &str = ".transload/pipeline.schema.json";

pub(crate) fn init(args: &Init, output: &Output) -> Result<u8, Failure> {
    let name = args.name.strip_suffix(".yaml").unwrap_or(&args.name);
    let file = format!("{name}.yaml");
    let pipeline = Path::new(name).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = format!(
        "# yaml-language-server: $schema={SCHEMA}\n\
         version: 1\n\
         pipeline: {pipeline}\n\
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
    );
    std::fs::create_dir_all(".transload")?;
    std::fs::write(SCHEMA, schema::text(SchemaKind::Pipeline)?)?;
    let written = std::fs::File::create_new(&file).and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()));
    written.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::config(format!("{file} exists already")).hint("give another name: `transload init NAME`")
        }
        _ => Error::from(e).with("file", file.clone()),
    })?;
    if output.json() {
        output.answer(&serde_json::json!({ "file": file, "schema": SCHEMA }).to_string())?;
    }
    output.say(&format!("wrote {file} and {SCHEMA}"));
    output.say(&format!("next: transload plan {file}"));
    Ok(0)
}
