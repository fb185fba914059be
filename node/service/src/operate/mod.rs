//! Looking on and stepping in: the API, health, the log, the command line and its socket.
//!
//! Nothing in here decides what becomes of a recording; it shows what is, and passes requests on.

pub mod api;
mod auth;
pub mod cli;
pub mod evidence;
pub mod files;
pub mod health;
mod idempotency;
pub mod log;
pub(crate) mod range;
pub mod selftest;
pub mod socket;
pub mod status;
pub(crate) mod support;
pub mod view;
