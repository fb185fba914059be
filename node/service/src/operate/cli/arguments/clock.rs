//! `holdfast clock`

use clap::Subcommand;

use super::Sure;

/// What to do with the clock.
#[derive(Debug, Subcommand)]
pub enum Clock {
    /// Vouch for a clock that stands before what the node has recorded
    ///
    /// For a clock that ran ahead, and is right now. Until someone says so the node deletes nothing by
    /// a rule of time. Stamps that lie in the clock's future move back by as much as it did.
    Accept {
        /// How sure one is
        #[command(flatten)]
        sure: Sure,
    },
}
