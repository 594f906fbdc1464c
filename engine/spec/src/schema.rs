//! JSON Schemas (draft-07) for editors, and for programs that read answers.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};
use transload_core::Connector;

use crate::file::{ArchetypeFile, BESIDE_TARGET, PipelineFile, QUARANTINE_KIND};

/// Gives the schema of one entry of a list of checks.
pub type Checks = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a pipeline file, with the options of every kind of connection in `connectors`.
pub fn pipeline(connectors: &[&dyn Connector], checks: Checks) -> Value {
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
    let lake = connectors.iter().find(|c| c.kind() == QUARANTINE_KIND).map(|c| c.schema(&mut generator));
    let checks = checks(&mut generator);
    let mut schema = generator.into_root_schema_for::<PipelineFile>();
    if let Some(connection) = schema.pointer_mut("/definitions/Connection") {
        *connection = json!({ "description": "A configured system: its kind, then its options.", "oneOf": kinds });
    }
    if let (Some(quarantine), Some(lake)) = (schema.pointer_mut("/definitions/Quarantine"), lake) {
        *quarantine = json!({
            "description": "A lake, by its options; or `target`: a hidden folder beside the tables of a target that is a lake.",
            "anyOf": [lake, { "type": "string", "enum": [BESIDE_TARGET] }],
        });
    }
    finish(schema, checks, "transload pipeline")
}

/// The schema of an archetype file.
pub fn archetype(checks: Checks) -> Value {
    let mut generator = generator();
    let checks = checks(&mut generator);
    finish(generator.into_root_schema_for::<ArchetypeFile>(), checks, "transload archetype")
}

/// The schema of what a command answers to programs.
pub fn answer<T: JsonSchema>(title: &str) -> Value {
    let mut schema = SchemaSettings::draft07().for_serialize().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_string(), json!(title));
    schema.to_value()
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft07().into_generator()
}

fn finish(mut schema: Schema, checks: Schema, title: &str) -> Value {
    if let Some(check) = schema.pointer_mut("/definitions/Check") {
        *check = checks.to_value();
        check["description"] = json!("A quality check: its kind, then its settings.");
    }
    schema.insert("title".to_string(), json!(title));
    schema.to_value()
}
