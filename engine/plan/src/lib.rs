//! Everything decided and nothing done.
//!
//! [`build`] joins a [`Spec`](transload_spec::Spec) with the schemas and pins of its sources into a [`Plan`]: plain data that
//! can be printed, compared, fingerprinted, sent elsewhere and executed. [`Transform`] is the executable
//! form of a table's casts, expressions, filter, checks and masks; the load and the audit both make it from the
//! plan, each for itself.

mod backfill;
mod build;
mod checked;
mod checks;
mod explain;
mod expr;
mod others;
mod plan;
mod quarantine;
mod repin;
pub mod replay;
mod schema_change;
mod sql;
mod transform;

pub use backfill::{AskedRange, Backfill};
pub use build::{Build, TableInput, build, idle_misfit};
pub use expr::Expressions;
pub use others::{Comparable, OtherInput};
pub use plan::{
    CastPlan, ColumnPlan, Connection, Incremental, Limit, OnMisfit, Origin, Plan, ReconcilePlan, Reference, Replay,
    SourceColumn, TablePlan,
};
pub use quarantine::{AsideNames, FILTER_CODE, LINE_CODE, MISFIT_CODE};
pub use schema_change::{Change, ColumnChange, SchemaChange, TargetColumn, TargetTable};
pub use sql::check_expression;
pub use transform::{Place, Quarantined, RunFacts, Transform, Transformed};
