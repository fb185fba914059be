//! The node: takes recordings in, has them transcoded, delivers them, deletes them by rule.
//!
//! A recording walks through the rooms in this order, and nothing walks back:
//! `ingest` ─▶ `vault` ─▶ `queue` ─▶ `transcode` ─▶ `deliver` ─▶ `retain`; `operate` looks on.

pub mod config;
pub mod deliver;
