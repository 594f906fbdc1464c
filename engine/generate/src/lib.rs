//! Code that goes on where a plan ends: a dbt project over the lake that it writes, and the Spark job that does the same.
//!
//! [`dbt()`] and [`spark()`] are pure: a [`Plan`](transload_plan::Plan) goes in, and texts of files come out, the same ones for
//! the same plan. What the other system cannot say as transload means it is never said in another way: of a dbt project it is
//! listed with the reason, and a Spark job is refused.
//!
//! Expressions and rules are translated from the engine's own form of them, in which every operand has its type.
//! What belongs to all jobs of Spark, its casts and the digest of a table among it, is in `templates/spark/runtime.py`.

mod dbt;
mod dialect;
mod head;
mod names;
mod quote;
mod rows;
mod spark;
mod sql;
mod template;
mod view;

pub use dbt::{Lake, Project, dbt};
pub use head::Unsaid;
pub use spark::spark;

/// A file that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its path below the folder of all of them, with `/` between its parts.
    pub path: String,
    /// What is in it.
    pub content: String,
}

#[cfg(test)]
pub(crate) mod testing;
