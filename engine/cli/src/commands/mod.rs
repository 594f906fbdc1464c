//! The verbs, one file each.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod clean;
pub(crate) mod contract;
pub(crate) mod discover;
pub(crate) mod generate;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod reconcile;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod show;
