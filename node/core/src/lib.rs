//! The rules a recording lives by.
//!
//! Nothing in here reads a clock, a disk or a network: the same inputs give the same outputs.

pub mod job;
