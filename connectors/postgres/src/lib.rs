#![doc = include_str!("../README.md")]

mod age;
mod catalog;
mod clean;
mod client;
mod columns;
mod commit;
mod connections;
mod decode;
mod encode;
mod endpoint;
mod error;
mod filter;
mod held;
mod moving;
mod names;
mod options;
mod pgpass;
mod pin;
mod readers;
mod records;
mod scan;
mod sessions;
mod sink;
mod source;
mod splits;
mod stage;
mod staging;
mod target;
mod tls;
mod types;
mod upon;

use std::sync::Arc;

use transload_core::connector::{Capability, Connector, Endpoint};
use transload_core::{Node, Problem, Resolve, Result};

/// The `postgres` kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres;

impl Connector for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn capability(&self) -> Capability {
        Capability {
            source: true,
            sink: true,
            append: true,
            overwrite: true,
            merge: true,
            replace_partitions: false,
            partitions: false,
            discover: true,
        }
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<options::Options>()
    }

    fn parse(&self, options: &Node, resolver: Arc<dyn Resolve>) -> Result<Arc<dyn Endpoint>, Vec<Problem>> {
        let settings = options::parse(options)?;
        let access = pin::Access::new(Arc::new(settings), resolver);
        Ok(Arc::new(endpoint::PostgresEndpoint::new(access)))
    }
}
