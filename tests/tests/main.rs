//! End-to-end tests: the program as a user starts it, with its fault points armed where a test needs them.

mod bad_input;
mod compat;
mod conformance;
mod crash;
mod defects;
mod exit_codes;
mod harness;
mod house;
mod readme;
mod schemas;
mod yaml;
