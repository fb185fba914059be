//! What `holdfast-volume` is made of: LUKS2 volumes that a box opens by itself.
//!
//! The one part of Holdfast with root's powers, so it is small, synchronous and has no network. It
//! acts on nothing but the volumes that its configuration names, takes no path from whoever asks
//! over the socket, does one thing at a time to a volume (a lock that all its processes share), and ends when
//! that is done: no process of it stays behind with a key in its memory.
//!
//! Invariants:
//! - Keys are in locked memory that is zeroised ([`keys::Secret`]); never in an argument, a
//!   variable, a log, or a core dump ([`harden`]).
//! - A volume is opened only if its header says what [`luks`] writes: a header that somebody put
//!   there, say with the null cipher, is refused.
//! - What destroys says what would be lost, and waits for that to be typed ([`confirm`]).

pub mod backup;
pub mod children;
pub mod cli;
pub mod config;
pub mod confirm;
pub mod device;
pub mod erasing;
pub mod error;
pub mod filesystem;
pub mod harden;
pub mod keys;
pub mod luks;
pub mod mounts;
pub mod protocol;
pub mod receipts;
pub mod sealed;
pub mod state;
pub mod status;
pub mod volume;

pub use config::Config;
pub use error::Error;
pub use volume::Volume;
