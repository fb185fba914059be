//! What can go wrong with Dropbox, whose fault it is and what to do about it.

mod refusal;
mod transport;

use std::path::PathBuf;

use holdfast_core::attempts::Fault;

pub(super) use self::refusal::{Meaning, Refusal};
pub(super) use self::transport::{Transport, innermost};
use crate::config::DropboxDestination;
use crate::deliver::PushError;
use crate::deliver::secret::SecretError;
use crate::deliver::source::SourceError;

/// Why a file did not get into the Dropbox, or out of it. Never holds a token or a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The configuration makes no sense.
    #[error("{0}")]
    Settings(String),
    /// The file with an authority cannot be used.
    #[error("cannot use {path}, named by ca_file: {problem}")]
    Authorities { path: PathBuf, problem: String },
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The file's name cannot be used.
    #[error("cannot use the name {name:?}: {problem}")]
    Name { name: String, problem: String },
    /// The vault's file is not what it should be.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Where the push is could not be noted.
    #[error("{0}")]
    Memo(String),
    /// No answer came.
    #[error("cannot {what}: {transport}")]
    Transport { what: &'static str, transport: Transport },
    /// Nothing moved for too long.
    #[error("cannot {what}: nothing moved for {stall_ms} ms; check the line")]
    Stalled { what: &'static str, stall_ms: u64 },
    /// Dropbox said no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Dropbox wants us to wait for longer than a push waits.
    #[error(
        "cannot {what}: Dropbox takes no more requests from this app or user for now, and asks for \
         {wait_s} s of patience; if this goes on, let fewer files go at once (limits.files_max)"
    )]
    Busy { what: &'static str, wait_s: u64 },
    /// The answer makes no sense.
    #[error("cannot {what}: the answer is not Dropbox's; check proxies and name servers between")]
    Unreadable { what: &'static str },
    /// Dropbox has something else than what was sent.
    #[error(
        "Dropbox has other bytes as {path:?} than those sent; something alters them on the way, or \
         something else writes there"
    )]
    Altered { path: String },
    /// The upload session is not there any more, and neither is the file.
    #[error("Dropbox lost the upload that was under way ({said}); the next attempt starts over")]
    Lost { said: String },
    /// Another file has the name, and it may not be replaced.
    #[error(
        "there is another file {path:?}, and existing = \"refuse\"; move it away, or choose \
         otherwise in existing"
    )]
    Exists { path: String },
    /// The location belongs to another folder.
    #[error("{location:?} does not lie in it; has the destination's directory been changed?")]
    Elsewhere { location: String },
    /// What is to be deleted is no file.
    #[error("{path:?} is no file, so it is not deleted; look at it at dropbox.com")]
    NoFile { path: String },
}

impl Error {
    /// Judges why a request got no answer.
    pub(super) fn from_transport(what: &'static str, error: reqwest::Error) -> Self {
        match Transport::judge(error) {
            Ok(transport) => Self::Transport { what, transport },
            Err(source) => Self::Source(source),
        }
    }

    /// What Dropbox said, if it said no.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// What a refusal means, if it is one.
    pub(super) fn meaning(&self) -> Option<Meaning> {
        self.refusal().map(Refusal::meaning)
    }

    /// Whether the same request may well succeed in a second.
    pub(super) fn is_hiccup(&self) -> bool {
        match self {
            Self::Transport { transport, .. } => matches!(transport, Transport::Broken(_)),
            Self::Refused(refusal) => refusal.is_hiccup(),
            _ => false,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Settings(_)
            | Self::Authorities { .. }
            | Self::Secret(_)
            | Self::Exists { .. }
            | Self::NoFile { .. }
            | Self::Elsewhere { .. } => Fault::Customers,
            Self::Name { .. } | Self::Source(_) | Self::Memo(_) => Fault::Ours,
            Self::Transport { transport, .. } => transport.fault(),
            Self::Stalled { .. }
            | Self::Busy { .. }
            | Self::Unreadable { .. }
            | Self::Altered { .. }
            | Self::Lost { .. } => Fault::Networks,
            Self::Refused(refusal) => refusal.fault(),
        }
    }

    /// What the customer's admin can do, beyond what the error says.
    fn advice(&self, settings: &DropboxDestination) -> String {
        match self {
            Self::Transport { transport, .. } => transport.advice(settings),
            Self::Refused(refusal) => refusal.advice(settings),
            _ => String::new(),
        }
    }

    /// Says it to the customer's admin.
    pub(super) fn into_push_error(self, settings: &DropboxDestination) -> PushError {
        let name = &settings.name;
        let advice = self.advice(settings);
        let semicolon = if advice.is_empty() { "" } else { "; " };
        let sentence = format!("destination {name:?} (dropbox): {self}{semicolon}{advice}");
        PushError { fault: self.fault(), sentence }
    }
}
