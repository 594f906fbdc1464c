#![doc = include_str!("../README.md")]

mod names;
mod types;
