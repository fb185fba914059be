//! `holdfast recordings`

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::Sure;

/// The states of a recording, as the API calls them; a test holds them to the core's.
pub const RECORDING_STATES: [&str; 12] = [
    "receiving",
    "stopped",
    "saved",
    "copying",
    "processing",
    "delivering",
    "stored",
    "delivered",
    "failed",
    "unknown",
    "garbage",
    "deleted",
];

/// Which recordings to list.
#[derive(Debug, Clone, Args)]
pub struct ListFilter {
    /// Only those in this state
    #[arg(long, value_parser = PossibleValuesParser::new(RECORDING_STATES))]
    pub state: Option<String>,
    /// Only those of this environment
    #[arg(long, value_name = "ID")]
    pub env: Option<String>,
    /// Only those of this account
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// Only those that began at or after this instant, such as 2026-11-24T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only those that began before this instant
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

/// What to do with recordings.
#[derive(Debug, Subcommand)]
pub enum Recordings {
    /// List recordings, newest first
    List {
        /// Which
        #[command(flatten)]
        filter: ListFilter,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Show everything about a recording
    Show {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
    },
    /// Say which rule holds each file of a recording, what happens next, and when each file goes
    Explain {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
    },
    /// List what was tried for a recording at each destination, oldest first
    Attempts {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
    },
    /// Delete what this node holds of a recording. There is no way back
    Delete {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
    /// Put a recording under legal hold: nothing deletes it, by any rule, until that is lifted
    Hold {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
        /// Why; it is kept with the recording, and not in the audit log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Lift the legal hold from a recording. What its rules have put off is deleted then
    Lift {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
    /// Make the next attempt now, without waiting for its time
    Retry {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
    },
    /// Push again, by hand, what failed and is still here
    Push {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
    },
    /// Fetch a file of a recording, and check it against its digest
    Get {
        /// The recording
        #[arg(value_parser = recording_id)]
        id: String,
        /// Which file
        #[arg(long, value_name = "KIND", default_value = "main", value_parser = ["main", "raw", "snapshot", "filmstrip", "filmstrip_vtt"])]
        kind: String,
        /// Where to; a file that must not be there yet, or `-` for standard output. Without it, a
        /// file of the recording's name in this folder
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

/// The one spelling that an id has: 36 characters, lower-case hex with four dashes.
fn recording_id(text: &str) -> Result<String, String> {
    let is_id = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    if is_id { Ok(text.into()) } else { Err("not a recording id".into()) }
}
