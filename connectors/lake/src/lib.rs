#![doc = include_str!("../README.md")]

mod avro;
mod calendar;
mod cells;
mod clean;
mod closed;
mod columns;
mod commit;
mod compress;
mod contents;
mod csv;
mod dictionary;
mod endpoint;
pub mod files;
mod fit;
mod folders;
mod footers;
mod format;
mod growth;
mod guess;
mod held;
mod int96;
mod json;
mod layout;
mod legacy;
mod limits;
mod listing;
mod manifest;
mod moves;
mod names;
mod options;
mod orc;
mod outgoing;
mod pages;
mod parquet;
mod prune;
mod routing;
mod rows;
mod sample;
mod scan;
mod settings;
mod source;
mod splits;
mod stage;
mod staging;
mod text;
mod twins;
mod typed;
mod union;
mod whole;
mod writer;

use std::sync::Arc;

use transload_core::connector::{Capability, Connector, Endpoint};
use transload_core::{Node, Problem, Resolve, Result};

pub use crate::csv::{CsvRecord, csv_records};
pub use crate::format::format_of_name;
pub use crate::options::ParquetOptions;
pub use crate::settings::ParquetSettings;

/// The `lake` kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lake;

impl Connector for Lake {
    fn kind(&self) -> &'static str {
        "lake"
    }

    fn capability(&self) -> Capability {
        Capability {
            source: true,
            sink: true,
            append: true,
            overwrite: true,
            partitions: true,
            discover: true,
            ..Capability::default()
        }
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<options::Options>()
    }

    fn parse(&self, options: &Node, resolver: Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>, Vec<Problem>> {
        let settings = settings::parse(options)?;
        Ok(Arc::new(endpoint::LakeEndpoint { settings: Arc::new(settings), resolver }))
    }
}
