//! `holdfast audit`

use std::path::PathBuf;

use clap::Subcommand;

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Write the log out, one entry a line
    Export {
        /// Only from this instant on, such as 2026-11-24T00:00:00Z
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Only before this instant
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// Into this file, which must not be there yet, instead of to standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the public key that the log is signed for
    Key,
    /// Check an export with the public key alone; needs no node
    ///
    /// What was changed, left out, put in another order, cut off or signed with another key is named,
    /// and the exit status is 1.
    Verify {
        /// The export; `-` for standard input
        file: PathBuf,
        /// File with the public key, as `audit key` prints it; several, one after the other, for a
        /// node whose key was replaced. Without it the key inside the export is believed, which shows
        /// no more than that nothing was damaged by accident
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Digest of an entry that is known from before, such as the last one of an earlier
        /// verification; the export must have it, or begin right after it
        #[arg(long, value_name = "DIGEST")]
        known: Option<String>,
    },
}
