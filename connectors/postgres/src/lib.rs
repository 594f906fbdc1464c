#![doc = include_str!("../README.md")]

mod decode;
mod names;
mod types;
