//! The rules a recording lives by.
//!
//! Nothing in here reads a clock, a disk or a network: the same inputs give the same outputs, so
//! a month of ten thousand recordings can be lived through in a test. The heart is
//! [`recording::step`]; every rule it applies stands in a module named after the rule.
//!
//! Section numbers (`rule 3.1`) are those of the business rules of the product.

pub mod account;
pub mod admission;
pub mod attempts;
pub mod entry;
pub mod explain;
pub mod happening;
pub mod hardware;
pub mod job;
pub mod names;
pub mod push_order;
pub mod recording;
pub mod retention;
pub mod sniff;
pub mod storage;
pub mod transform;

pub use names::RecordingId;
pub use recording::{Effect, Event, Lane, Recording, due, next_deadline, step};
