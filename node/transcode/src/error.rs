//! What can go wrong, told so that a person knows what happened and where in the recording.
//!
//! Each variant is one [`FailureKind`] of the contract: the service decides by the kind whether
//! another attempt makes sense, and shows the sentence.

use holdfast_core::job::{Failure, FailureKind};

/// A failed job.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no audio and no video in it.
    #[error("{0}")]
    NoMedia(String),
    /// Damaged beyond what can be read.
    #[error("{0}")]
    Damaged(String),
    /// A film whose own streams are in order is not as long as its recording, and something speaks for
    /// damage. What was decoded in software is as it is: then it is the recording that is damaged.
    #[error("The recording is damaged: in the film {0}.")]
    Length(String),
    /// Sound that was taken over does not keep to its recording's times: packets there overlap, which a
    /// film's cannot. Converted it does.
    #[error("The finished .mp4 is wrong: {what}.")]
    Drift {
        /// What differs.
        what: String,
        /// Something speaks for a damaged recording.
        is_damage: bool,
    },
    /// A codec or container that this node cannot read.
    #[error("{0}")]
    Unsupported(String),
    /// A limit of the job was reached.
    #[error("{0}")]
    Limit(String),
    /// It stopped getting on.
    #[error("{0}")]
    Stalled(String),
    /// The disk is full or failed.
    #[error("{what}: {source}")]
    Disk {
        /// What was being done to which file.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The hardware failed; software may do better.
    #[error("{0}")]
    Hardware(String),
    /// It cannot be done while the recording comes in, or something else would come of it afterwards.
    #[error("{0}")]
    NotLive(String),
    /// Our own fault.
    #[error("{0}")]
    Internal(String),
    /// The service closed the socket: nobody waits for an answer.
    #[error("the service closed the socket")]
    Abandoned,
}

impl From<holdfast_transcode::jail::JailError> for Error {
    fn from(e: holdfast_transcode::jail::JailError) -> Self {
        Self::Internal(e.to_string())
    }
}

impl Error {
    /// For `map_err`: a disk error, or a limit where the system refused the file's size.
    pub(crate) fn disk(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| match source.raw_os_error() {
            Some(code) if code == nix::errno::Errno::EFBIG as i32 => {
                Self::Limit(format!("{what}: the file would exceed the largest size allowed"))
            }
            _ => Self::Disk { what, source },
        }
    }

    /// For `map_err`: a fault of ours, with what was being done.
    pub(crate) fn internal<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |e| Self::Internal(format!("{what}: {e}"))
    }

    /// This error in the words of the contract.
    pub(crate) fn failure(&self) -> Failure {
        let kind = match self {
            Self::NoMedia(_) => FailureKind::NoMedia,
            Self::Damaged(_) | Self::Length(_) | Self::Drift { is_damage: true, .. } => {
                FailureKind::Damaged
            }
            Self::Unsupported(_) => FailureKind::Unsupported,
            Self::Limit(_) => FailureKind::Limit,
            Self::Stalled(_) => FailureKind::Stalled,
            Self::Disk { .. } => FailureKind::Disk,
            Self::Hardware(_) => FailureKind::Hardware,
            Self::NotLive(_) => FailureKind::NotLive,
            Self::Internal(_) | Self::Drift { .. } | Self::Abandoned => FailureKind::Internal,
        };
        let mut message = self.to_string();
        if message.len() > 2000 {
            let end = (0..=2000).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
            message.truncate(end);
        }
        Failure { kind, message }
    }
}

/// A nanosecond position as people write it: `1:02:03.4`.
pub(crate) fn at(ns: i64) -> String {
    let tenths = ns.max(0) / 100_000_000;
    let (h, m, s, t) = (tenths / 36_000, tenths / 600 % 60, tenths / 10 % 60, tenths % 10);
    if h > 0 { format!("{h}:{m:02}:{s:02}.{t}") } else { format!("{m}:{s:02}.{t}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_like_a_player_shows_them() {
        assert_eq!(at(0), "0:00.0");
        assert_eq!(at(83_450_000_000), "1:23.4");
        assert_eq!(at(3_723_000_000_000), "1:02:03.0");
    }
}
