//! What can happen to a recording, what the shell is to do, and the lanes in which it does it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{FileKind, Owned, Terms};
use crate::attempts::Failure;
use crate::job::SourceFacts;
use crate::names::Container;

/// Kinds of work, each with workers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Copying the raw file to the node that processes it.
    Copy,
    /// Transcoding.
    Process,
    /// Pushing.
    Deliver,
    /// Recovering, and carrying deletions out.
    Retain,
    /// Deciding what goes by a rule of time. Stands still while the clock is not to be trusted
    /// (rule 10).
    Expire,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 5] =
        [Self::Copy, Self::Process, Self::Deliver, Self::Retain, Self::Expire];
}

/// A file that processing made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Which one.
    pub kind: FileKind,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: Option<String>,
}

/// What can happen to a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A client connected (again).
    Attached,
    /// The client's connection ended.
    Detached,
    /// The whole recording is durable.
    Stopped {
        /// Its size in bytes.
        bytes: u64,
        /// SHA-256 of its bytes, in hex.
        sha256: String,
        /// What its first bytes say it is.
        container: Option<Container>,
    },
    /// The person, or the client for them, keeps it.
    Saved,
    /// The node closed it as far as its bytes reach, after [`Effect::Recover`].
    Recovered {
        /// Its size in bytes.
        bytes: u64,
        /// SHA-256 of its bytes, in hex.
        sha256: String,
        /// What its first bytes say it is; garbage where that is nothing.
        container: Option<Container>,
    },
    /// It is no recording, or its body never came to an end.
    Rejected,
    /// Someone deletes it. Changes nothing under a legal hold.
    DeleteRequested {
        /// Who.
        by: String,
    },
    /// Someone puts it under a legal hold, or gives another reason for the one there is.
    HoldSet {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Someone lifts the legal hold.
    HoldLifted {
        /// Who.
        by: String,
    },
    /// Someone wants the step that waits tried now, or what failed for good tried once more.
    RetryRequested {
        /// Who.
        by: String,
    },
    /// The account's expiry or the environment's lifecycle rule is another one now.
    TermsChanged(Terms),
    /// The clock was wrong since an instant, and is right now: every stamp made since then moves.
    ClockStepped {
        /// The first wrong instant.
        since: Timestamp,
        /// By how much the clock moved.
        by: SignedDuration,
    },
    /// The node that processes it has its raw file, durably.
    Copied,
    /// The copying attempt failed.
    CopyFailed(Failure),
    /// Its work in this lane is due.
    Due(Lane),
    /// The node itself ended while work in this lane ran.
    Interrupted(Lane),
    /// The transcoding attempt succeeded.
    Transcoded {
        /// What the recording turned out to be.
        media: Option<SourceFacts>,
        /// The files made.
        files: Vec<NewFile>,
        /// Sentences for people.
        remarks: Vec<String>,
    },
    /// The transcoding attempt failed.
    TranscodeFailed(Failure),
    /// The transcoding attempt was put off before it tried anything.
    TranscodePutOff {
        /// When to try again.
        until: Timestamp,
        /// Why not now, in a sentence.
        waits_for: String,
    },
    /// A destination has a file, durably.
    FilePushed {
        /// The destination's name.
        destination: String,
        /// Which file.
        kind: FileKind,
        /// Where it is there.
        location: String,
    },
    /// The push attempt has given every pending file its turn.
    PushEnded {
        /// The failure to report, if any file failed.
        failure: Option<Failure>,
    },
    /// The push attempt tried nothing that failed, and some destinations are not to be tried now.
    PushPutOff {
        /// When to try again.
        until: Timestamp,
        /// Why not now, in a sentence.
        waits_for: String,
    },
    /// Its volume is short of space: what every destination has goes before the push ends.
    SpaceNeeded,
    /// These files are unlinked and their folder is fsynced.
    FilesDeleted(Vec<FileKind>),
    /// Our own storage has this file no more.
    Withdrawn {
        /// The destination's name.
        destination: String,
        /// Which file.
        kind: FileKind,
    },
    /// Our own storage did not delete everything.
    WithdrawFailed(Failure),
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Close the raw file as far as its bytes reach, and answer with [`Event::Recovered`].
    Recover,
    /// Copy the raw file, and answer with [`Event::Copied`] or [`Event::CopyFailed`].
    Copy,
    /// Transcode, and answer with [`Event::Transcoded`] or [`Event::TranscodeFailed`].
    Transcode,
    /// Push these in this order, and answer with [`Event::PushEnded`].
    Push(Vec<(String, FileKind)>),
    /// Unlink these, and answer with [`Event::FilesDeleted`].
    Delete {
        /// Which files.
        kinds: Vec<FileKind>,
        /// Nothing stays: the recording's whole folder goes.
        folder: bool,
    },
    /// Delete these from our own storage, and answer with [`Event::Withdrawn`] for each and
    /// [`Event::WithdrawFailed`] at the first that fails.
    Withdraw(Vec<Owned>),
    /// Nothing is left of it, and has not been for long: its entry goes.
    Forget,
    /// Stop any work that runs for this recording; its outcome no longer matters.
    Cancel,
}
