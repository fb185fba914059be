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
    /// A changed, dropped or reordered entry is found and named, and the exit status is 1.
    Verify {
        /// The export; `-` for standard input
        file: PathBuf,
        /// File with the public key, as `audit key` prints it. Without it the key inside the
        /// export is believed, which shows no more than that nothing was damaged by accident
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}
