#![doc = include_str!("../README.md")]

mod client;
mod error;
mod names;
mod options;
mod pgpass;
mod tls;
