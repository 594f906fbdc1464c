//! The vocabulary of transload: the words every other crate speaks.
//!
//! Nothing here moves a row. This crate names things: errors and their exit codes, logical types,
//! the spanned option tree that YAML becomes, secret references, the clock, and the four
//! connector contracts ([`Connector`], [`Endpoint`], [`Source`], [`Sink`]) with the plain values
//! that cross them ([`Pin`], [`Split`], [`Staged`], [`Committed`], [`Receipt`], [`Verdict`]).
//! Those values are serde data, so that a journal can resume from them, evidence can quote them
//! and a remote worker can be sent them.
//!
//! One thing is done here and not only named: [`store`] is the way to folders and buckets, for whoever
//! keeps things in them.

pub mod clock;
pub mod connector;
pub mod decode;
pub mod error;
pub mod fault;
pub mod finding;
pub mod journal;
pub mod memory;
pub mod name;
pub mod number;
pub mod secret;
pub mod store;
pub mod tree;
pub mod types;
pub mod value;

pub use clock::Clock;
pub use connector::{Capability, Connector, Endpoint, ReadSpec, Sink, Source, TableInfo, WriteSpec};
pub use error::{Error, ErrorKind, Result};
pub use finding::Finding;
pub use journal::{Event, Journal, Progress};
pub use name::{CommitKey, RunId, TableName};
pub use secret::{Resolve, Template};
pub use tree::{Node, Problem, Span};
pub use types::LogicalType;
pub use value::{
    Committed, Counts, Pin, PinnedFile, PinnedPart, PinnedSnapshot, PinnedVersion, Receipt, Split, Staged, Verdict,
};
