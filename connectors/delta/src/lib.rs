#![doc = include_str!("../README.md")]

mod bounds;
mod clean;
mod commit;
mod deleted;
mod endpoint;
mod exchange;
mod extent;
mod features;
mod log;
mod merge;
mod metadata;
mod objects;
mod options;
mod reader;
mod record;
mod source;
mod staged;
mod stats;
mod types;
mod widen;

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
        Capability {
            source: true,
            sink: true,
            append: true,
            overwrite: true,
            merge: true,
            replace_partitions: true,
            partitions: true,
            discover: true,
        }
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<options::Options>()
    }

    fn parse(&self, options: &Node, resolver: Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>, Vec<Problem>> {
        let settings = options::parse(options)?;
        Ok(Arc::new(endpoint::DeltaEndpoint { settings: Arc::new(settings), resolver }))
    }
}
