#![doc = include_str!("../README.md")]

mod commit;
mod csv;
mod endpoint;
pub mod files;
mod int96;
mod layout;
mod listing;
mod manifest;
mod moves;
mod options;
mod parquet;
mod scan;
mod source;
mod stage;
mod twins;

use std::sync::Arc;

use transload_core::connector::{Capability, Connector, Endpoint};
use transload_core::{Node, Problem, Resolve, Result};

pub use crate::csv::{CsvRecord, csv_records};
pub use crate::options::{ParquetOptions, ParquetSettings};

/// The `lake` kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lake;

impl Connector for Lake {
    fn kind(&self) -> &'static str {
        "lake"
    }

    fn capability(&self) -> Capability {
        Capability { source: true, sink: true, append: true, overwrite: true, partitions: true, discover: true }
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<options::Options>()
    }

    fn parse(&self, options: &Node, resolver: Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>, Vec<Problem>> {
        let settings = options::parse(options)?;
        Ok(Arc::new(endpoint::LakeEndpoint { settings: Arc::new(settings), resolver }))
    }
}
