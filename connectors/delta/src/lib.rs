#![doc = include_str!("../README.md")]

mod clean;
mod commit;
mod endpoint;
mod log;
mod objects;
mod options;
mod record;
mod source;
mod stats;
mod types;

use std::sync::Arc;

use transload_core::connector::{Capability, Connector, Endpoint};
use transload_core::{Node, Problem, Resolve, Result};

/// The `delta` kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delta;

impl Connector for Delta {
    fn kind(&self) -> &'static str {
        "delta"
    }

    fn capability(&self) -> Capability {
        Capability { source: true, sink: true, append: true, overwrite: true, partitions: true, discover: true }
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<options::Options>()
    }

    fn parse(&self, options: &Node, resolver: Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>, Vec<Problem>> {
        let settings = options::parse(options)?;
        Ok(Arc::new(endpoint::DeltaEndpoint { settings: Arc::new(settings), resolver }))
    }
}
