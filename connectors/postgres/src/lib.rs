#![doc = include_str!("../README.md")]

mod catalog;
mod filter;
mod names;
mod splits;
