//! What can go wrong with a store, whose fault it is and what to do about it.

mod refusal;
mod transport;

use std::path::PathBuf;

use holdfast_core::attempts::Fault;

pub(super) use self::refusal::{READ, Refusal};
pub(super) use self::transport::{Transport, innermost};
use super::credentials::MetadataError;
use crate::config::S3Destination;
use crate::deliver::PushError;
use crate::deliver::secret::SecretError;
use crate::deliver::source::SourceError;

/// Why a file did not get into the bucket, or out of it. Never holds a key, a signature or an address with one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The configuration makes no sense.
    #[error("{0}")]
    Settings(String),
    /// A file with an authority cannot be used.
    #[error("cannot use {path}, named by {setting}: {problem}")]
    KeyFile { setting: &'static str, path: PathBuf, problem: String },
    /// A key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The environment has no key.
    #[error("{name} is not in the node's environment; set it in the service's unit")]
    Environment { name: &'static str },
    /// The machine has no key.
    #[error("the machine's keys cannot be had: {0}")]
    Metadata(#[from] MetadataError),
    /// The key cannot be used.
    #[error("cannot use the key {key:?}: {problem}")]
    Key { key: String, problem: String },
    /// The vault's file is not what it should be.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No answer came.
    #[error("cannot {what}: {transport}")]
    Transport { what: &'static str, transport: Transport },
    /// Nothing moved for too long.
    #[error("cannot {what}: nothing moved for {stall_ms} ms; check the line and the store")]
    Stalled { what: &'static str, stall_ms: u64 },
    /// The store said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The store's answer makes no sense.
    #[error("cannot {what}: the answer is not S3's; check that endpoint is a store's address")]
    Unreadable { what: &'static str },
    /// The store has something else than what was sent.
    #[error(
        "cannot {what}: the store has other bytes than those sent; the line or the store alters \
         them, or something else writes the same key"
    )]
    Altered { what: &'static str },
    /// Another file is there.
    #[error("another file is called {key:?} already, and existing = {existing}; move it away")]
    Exists { key: String, existing: &'static str },
    /// Where the upload stands could not be noted.
    #[error("{0}")]
    Unnoted(String),
    /// The location belongs to another bucket.
    #[error("{location:?} does not lie in it; has the destination's bucket been changed?")]
    Elsewhere { location: String },
}

impl Error {
    /// Judges why a request got no answer.
    pub(super) fn from_transport(what: &'static str, error: reqwest::Error) -> Self {
        match Transport::judge(error) {
            Ok(transport) => Self::Transport { what, transport },
            Err(source) => Self::Source(source),
        }
    }

    /// Whether the same request may well succeed in a second.
    pub(super) fn is_hiccup(&self) -> bool {
        match self {
            Self::Transport { transport, .. } => matches!(transport, Transport::Broken(_)),
            Self::Refused(refusal) => refusal.is_hiccup(),
            _ => false,
        }
    }

    /// Whether a part or the whole upload has vanished at the store.
    pub(super) fn is_about_upload(&self) -> bool {
        let Self::Refused(refusal) = self else { return false };
        refusal.is_no_upload() || refusal.is_about_parts()
    }

    /// Whether nothing good can come of the same upload any more.
    pub(super) fn spoils_upload(&self) -> bool {
        matches!(self, Self::Altered { .. }) || self.is_taken()
    }

    /// Whether something is there already that was not to be replaced.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_taken())
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Settings(_)
            | Self::Secret(_)
            | Self::KeyFile { .. }
            | Self::Elsewhere { .. }
            | Self::Exists { .. }
            | Self::Environment { .. } => Fault::Customers,
            Self::Metadata(error) => error.fault(),
            Self::Unnoted(_) | Self::Key { .. } | Self::Source(_) => Fault::Ours,
            Self::Transport { transport, .. } => transport.fault(),
            Self::Stalled { .. } | Self::Altered { .. } => Fault::Networks,
            Self::Unreadable { .. } => Fault::Customers,
            Self::Refused(refusal) => refusal.judge().0,
        }
    }

    /// What the customer's admin can do, beyond what the error says.
    fn advice(&self, settings: &S3Destination) -> String {
        match self {
            Self::Transport { transport, .. } => transport.advice(settings),
            Self::Metadata(_) => {
                "give the machine a role that may write there, or set credentials = \"static\""
                    .into()
            }
            Self::Refused(refusal) => refusal.advice(settings),
            _ => String::new(),
        }
    }

    /// Says it to the customer's admin.
    pub(super) fn into_push_error(self, settings: &S3Destination) -> PushError {
        let (name, bucket) = (&settings.name, &settings.bucket);
        let host = host(&settings.endpoint);
        let advice = self.advice(settings);
        let semicolon = if advice.is_empty() { "" } else { "; " };
        let sentence = format!(
            "destination {name:?} (bucket {bucket:?} at {host}): {self}{semicolon}{advice}"
        );
        // Nothing about our own storage is a customer's to mend.
        let fault = match self.fault() {
            Fault::Customers if settings.ours.is_some() => Fault::Ours,
            fault => fault,
        };
        PushError { fault, sentence }
    }
}

/// Host and port, without whatever else somebody wrote into the endpoint.
fn host(endpoint: &str) -> String {
    let Ok(url) = endpoint.parse::<reqwest::Url>() else { return "an unknown endpoint".into() };
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.into(),
        _ => "an unknown endpoint".into(),
    }
}
