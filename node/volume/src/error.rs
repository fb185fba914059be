//! What can go wrong, and the exit codes that scripts go by.

use std::path::PathBuf;

/// What can go wrong. Each says what, with which volume, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used, or does not name what was asked for.
    #[error("{0}")]
    Config(String),
    /// What was to be destroyed was not confirmed.
    #[error("nothing was changed. {would}\nTo do it, repeat with --confirm '{phrase}'")]
    NotConfirmed {
        /// What would be lost.
        would: String,
        /// What has to be typed.
        phrase: String,
    },
    /// The device is not there, or there are several that could be meant.
    #[error("volume {volume}: {problem}")]
    Device {
        /// Which volume.
        volume: String,
        /// What was looked for and found.
        problem: String,
    },
    /// The device holds something else than a volume of ours.
    #[error("volume {volume}: {device} {problem}")]
    Refused {
        /// Which volume.
        volume: String,
        /// Its device.
        device: PathBuf,
        /// What it holds.
        problem: String,
    },
    /// No key opens the volume.
    #[error("volume {volume}: no key opens it. {tried}")]
    NoKey {
        /// Which volume.
        volume: String,
        /// What was tried, and what to do.
        tried: String,
    },
    /// Somebody uses it.
    #[error("volume {volume} is in use: {by}")]
    Busy {
        /// Which volume.
        volume: String,
        /// By what.
        by: String,
    },
    /// Neither of the two headers can be read, or the backup is of no use.
    #[error("{what}: {problem}")]
    Header {
        /// Which device or file.
        what: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Something is left that should be gone.
    #[error("volume {volume} is not proven to be erased: {left}")]
    Left {
        /// Which volume.
        volume: String,
        /// What is left.
        left: String,
    },
    /// Whoever asks at the socket may not, or asked in no way that is known.
    #[error("refused: {0}")]
    Request(String),
    /// libcryptsetup, the kernel or a program refused.
    #[error("{doing}: {why}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What it said.
        why: String,
    },
}

impl Error {
    /// What a step of the system's refused.
    pub fn failed(doing: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Failed { doing: doing.into(), why: why.to_string() }
    }

    /// The same of a header backup, by the name that a person gave.
    #[must_use]
    pub fn of_header(self, file: &std::path::Path) -> Self {
        match self {
            Self::Header { problem, .. } => Self::Header { what: file.to_owned(), problem },
            other => other,
        }
    }

    /// The exit code, as `docs/volumes.md` lists them. 2 is the command line's own.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Request(_) => 2,
            Self::Config(_) => 3,
            Self::NotConfirmed { .. } => 4,
            Self::Device { .. } => 5,
            Self::Refused { .. } => 6,
            Self::NoKey { .. } => 7,
            Self::Busy { .. } => 8,
            Self::Header { .. } => 9,
            Self::Left { .. } => 10,
        }
    }
}
