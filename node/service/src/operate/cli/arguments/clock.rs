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
    /// Write down whether the kernel's clock is synchronised, until ended; for a unit beside the node
    ///
    /// A node that may not ask the kernel itself reads it there. What is older than ten seconds counts as a clock
    /// that is not synchronised.
    Witness {
        /// Where
        #[arg(long, value_name = "FILE", default_value = "/run/holdfast-clock/synchronised")]
        to: std::path::PathBuf,
    },
}
