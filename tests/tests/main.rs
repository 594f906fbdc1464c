//! End-to-end tests: the program as a user starts it, with its fault points armed where a test needs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails should say so at once")]

mod agreement;
mod alerts;
mod answers;
mod bad_input;
mod buckets;
mod checks;
mod compat;
mod conformance;
mod contract;
mod crash;
mod defects;
mod dirty;
mod exit_codes;
mod faults;
mod formats;
mod harness;
mod house;
mod lake;
mod metrics;
mod old_parquet;
mod profile;
mod quality;
mod readme;
mod references;
mod replay;
mod report;
mod s3;
mod schemas;
mod server;
mod written_formats;
mod yaml;
