//! What the command line ends with, for scripts.

use std::fmt::{self, Display};

/// Exit status where something failed, or the node refused it.
const FAILED: u8 = 1;
/// Exit status where it was called wrongly; clap's own is the same.
const CALLED_WRONGLY: u8 = 2;
/// Exit status where there is no such thing.
const NOT_THERE: u8 = 3;
/// Exit status where no node answers at the socket.
const NO_NODE: u8 = 4;

/// A failure with an exit status of its own.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub code: u8,
    /// What went wrong and what to do.
    pub sentence: String,
}

impl Failure {
    pub(super) fn called_wrongly(sentence: impl Into<String>) -> Self {
        Self { code: CALLED_WRONGLY, sentence: sentence.into() }
    }

    pub(super) fn not_there(sentence: impl Into<String>) -> Self {
        Self { code: NOT_THERE, sentence: sentence.into() }
    }

    pub(super) fn no_node(sentence: impl Into<String>) -> Self {
        Self { code: NO_NODE, sentence: sentence.into() }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// The exit status for an error.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Failure>().map_or(FAILED, |failure| failure.code)
}
