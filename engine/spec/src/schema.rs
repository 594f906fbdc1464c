//! JSON Schemas (draft-07) for editors.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};
use transload_core::Connector;

use crate::file::{ArchetypeFile, PipelineFile};

/// The schema of a pipeline file, with the options of every kind of connection in `connectors`.
pub fn pipeline(connectors: &[&dyn Connector]) -> Value {
    let mut generator = generator();
    let kinds: Vec<Value> = connectors
        .iter()
        .map(|c| {
            let options = c.schema(&mut generator);
            json!({
                "type": "object",
                "properties": { c.kind(): options },
                "required": [c.kind()],
                "additionalProperties": false,
            })
        })
        .collect();
    let mut schema = generator.into_root_schema_for::<PipelineFile>();
    if let Some(connection) = schema.pointer_mut("/definitions/Connection") {
        *connection = json!({ "description": "A configured system: its kind, then its options.", "oneOf": kinds });
    }
    finish(schema, "transload pipeline")
}

/// The schema of an archetype file.
pub fn archetype() -> Value {
    finish(generator().into_root_schema_for::<ArchetypeFile>(), "transload archetype")
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft07().into_generator()
}

fn finish(mut schema: Schema, title: &str) -> Value {
    schema.insert("title".to_string(), json!(title));
    schema.to_value()
}
