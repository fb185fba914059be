//! The node: takes recordings in, has them transcoded, delivers them, deletes them by rule.
//!
//! A recording walks through the rooms in this order, and nothing walks back:
//! `ingest` ─▶ `vault` ─▶ `queue` ─▶ `transcode` ─▶ `deliver` ─▶ `retain`; `operate` looks on.

mod addresses;
pub mod audit;
pub mod blocking;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod digest;
pub mod hardware;
mod held;
pub mod ingest;
pub mod keys;
pub mod ledger;
pub mod listen;
pub mod node;
pub mod nodekey;
pub mod operate;
pub mod problem;
pub mod provision;
pub mod queue;
pub mod retain;
pub mod service;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod tls;
pub mod transcode;
pub mod vault;
pub mod volumes;
pub mod watchdog;
pub mod web;
pub mod webhooks;
