//! `holdfast volumes`

use clap::Subcommand;

/// What to do with volumes.
#[derive(Debug, Subcommand)]
pub enum Volumes {
    /// Say how each volume is
    List,
    /// Open a volume with the machine's key, and mount it
    Open {
        /// What it is called
        name: String,
    },
    /// Open a volume with its recovery key, read from the terminal or standard input, and give the
    /// machine a key slot again
    Recover {
        /// What it is called
        name: String,
    },
    /// End the epoch of recordings' keys now: keys of what was deleted before cease to exist
    EndEpoch,
}
