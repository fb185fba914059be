//! Pushing a recording's files to where they belong.
//!
//! A destination is a folder in here with the same set of files as its neighbours:
//!
//! - `mod.rs`: the destination, and how it pushes a file and reads it again;
//! - `client.rs`: how it talks to the other side;
//! - `error.rs`: its errors, each with whose fault it is and a sentence for the customer's admin.
//!
//! Beside them lies what destinations share: `names` (which names are safe to use), `progress` (a push
//! may take as long as it likes, but it must not stand still), `turns` (one push of a name at a time),
//! `bandwidth` (how fast a push may be), `source` (the file that is sent) and `memo` (what it leaves
//! for the next one), and what comes back over HTTP (`http`, `tls`).
//!
//! What is pushed when, in which order and how often is decided by the core. A push is idempotent:
//! the name at the destination follows from the recording, and a name appears there only once its
//! bytes are whole.

pub mod abandon;
mod attempt;
pub mod bandwidth;
pub mod check;
pub mod directory;
pub mod dropbox;
pub mod ftp;
pub mod gate;
mod http;
pub mod journal;
pub mod memo;
mod names;
pub mod progress;
pub mod s3;
pub mod secret;
pub mod sftp;
mod source;
mod tls;
pub mod transfers;
mod turns;
pub mod worker;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use holdfast_core::attempts::Fault;
use holdfast_core::recording::FileKind;
use jiff::civil::Date;

use crate::config;
use crate::nodekey::NodeKey;

use bandwidth::Bandwidth;
use gate::Gates;
use journal::Journal;
use memo::Memo;
use progress::Progress;
use transfers::Transfers;

/// A file to push.
#[derive(Debug, Clone)]
pub struct FileToPush {
    /// Where it lies in the vault.
    pub path: PathBuf,
    /// Its name at the destination, relative, with slashes: `{folder}/{name}.mp4`.
    pub name: String,
    /// Which kind.
    pub kind: FileKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes in hex, where it is known.
    pub sha256: Option<String>,
    /// Its media type.
    pub media_type: &'static str,
    /// The environment that the recording belongs to.
    pub env_id: String,
    /// The day on which the recording was saved, in the node's zone: the same at every attempt.
    pub saved_on: Date,
    /// What an earlier push of this file left behind.
    pub memo: Memo,
    /// Through this its bytes go.
    pub progress: Progress,
}

impl FileToPush {
    /// A file that is no recording's, to be pushed once.
    #[must_use]
    pub fn alone(path: PathBuf, name: String, bytes: u64, on: Date) -> Self {
        Self {
            path,
            name,
            kind: FileKind::Main,
            bytes,
            sha256: None,
            media_type: "video/mp4",
            env_id: "test".into(),
            saved_on: on,
            memo: Memo::in_memory(),
            progress: Progress::default(),
        }
    }
}

/// The bytes of a file at a destination, piece by piece, as they are asked for.
pub type Pieces = BoxStream<'static, Result<Bytes, PushError>>;

/// What a destination has of a file, or of the part that was asked for.
pub enum Reading {
    /// It lies on this machine, if it is still there: for the caller to open.
    Path(PathBuf),
    /// All of it.
    Whole {
        /// Its size in bytes.
        size: u64,
        /// As many bytes.
        pieces: Pieces,
    },
    /// A part of it.
    Part {
        /// Which bytes.
        part: Range<u64>,
        /// The size of the whole, in bytes.
        size: u64,
        /// The part's bytes.
        pieces: Pieces,
    },
    /// It has nothing of what was asked for.
    Beyond {
        /// The size of the whole in bytes, where the destination says it.
        size: Option<u64>,
    },
    /// It is not there any more.
    Gone,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "Path({path:?})"),
            Self::Whole { size, .. } => write!(f, "Whole({size})"),
            Self::Part { part, size, .. } => write!(f, "Part({part:?} of {size})"),
            Self::Beyond { size } => write!(f, "Beyond({size:?})"),
            Self::Gone => write!(f, "Gone"),
        }
    }
}

/// Why a push or a reading failed.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct PushError {
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened, at which destination, and what to do about it. Holds no secret.
    pub sentence: String,
}

/// What a node knows of its pushes.
#[derive(Debug)]
pub struct Pushing {
    /// How fast they may be.
    pub bandwidth: Bandwidth,
    /// To which destinations they may go now.
    pub gates: Gates,
    /// What was tried.
    pub journal: Journal,
    /// What is under way.
    pub transfers: Transfers,
}

impl Pushing {
    /// Nothing is under way yet.
    #[must_use]
    pub fn new(bandwidth: Bandwidth) -> Self {
        Self {
            bandwidth,
            gates: Gates::default(),
            journal: Journal::default(),
            transfers: Transfers::default(),
        }
    }
}

/// Somewhere files are pushed to.
pub trait Destination: Send + Sync + fmt::Debug {
    /// The name by which environments speak of it.
    fn name(&self) -> &str;

    /// Pushes a file. When it returns, the destination has it, whole and durably.
    ///
    /// Answers where it is there. Dropping the future stops the push; the next one starts over or
    /// goes on, and never leaves a half file under the final name.
    ///
    /// # Errors
    /// [`PushError`], classified by the destination.
    fn push<'a>(&'a self, file: &'a FileToPush) -> BoxFuture<'a, Result<String, PushError>>;

    /// Opens a file that was pushed to `location`, to hand it on.
    ///
    /// `range` is one range as in HTTP's `Range`; a destination may leave it out of account and
    /// answer with the whole.
    ///
    /// # Errors
    /// [`PushError`], classified by the destination.
    fn read<'a>(
        &'a self,
        location: &'a str,
        range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Reading, PushError>>;

    /// Deletes a file that lies there under this name, or at this location where one was noted. One
    /// that is not there is deleted.
    ///
    /// Asked of our own storage, and of others only for files that the node wrote to try them: no
    /// recording is ever deleted from a customer's.
    ///
    /// # Errors
    /// [`PushError`], classified by the destination.
    fn withdraw<'a>(
        &'a self,
        name: &'a str,
        location: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), PushError>>;

    /// Takes back what a push left half-done, as its memo says; no push will come back for it.
    ///
    /// # Errors
    /// [`PushError`], classified by the destination; it is then asked again later.
    fn abandon<'a>(&'a self, _memo: &'a [u8]) -> BoxFuture<'a, Result<(), PushError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// Builds a destination from its settings; opens the secrets in them. What it has to remember, such
/// as the key of a server, it keeps in the state folder.
///
/// # Errors
/// A sentence that names the destination and what is wrong with its settings.
pub fn build(
    settings: &config::Destination,
    key: &NodeKey,
    state_path: &Path,
) -> Result<Box<dyn Destination>, PushError> {
    let secrets = secret::open(settings, key).map_err(|error| PushError {
        fault: Fault::Ours,
        sentence: format!("destination {:?}: {error}", settings.name()),
    })?;
    if let Some(warning) = settings.warning() {
        tracing::warn!(destination = settings.name(), "{warning}");
    }
    match settings {
        config::Destination::Directory(settings) => {
            Ok(Box::new(directory::Directory::new(settings)?))
        }
        config::Destination::S3(settings) => Ok(Box::new(s3::S3::with_secrets(settings, secrets)?)),
        config::Destination::Ftps(settings) => {
            Ok(Box::new(ftp::Ftp::new(settings, ftp::Protection::Tls)?.with_secrets(secrets)))
        }
        config::Destination::Ftp(settings) => {
            Ok(Box::new(ftp::Ftp::new(settings, ftp::Protection::None)?.with_secrets(secrets)))
        }
        config::Destination::Sftp(settings) => {
            Ok(Box::new(sftp::Sftp::new(settings, state_path)?.with_secrets(secrets)))
        }
        config::Destination::Dropbox(settings) => {
            Ok(Box::new(dropbox::Dropbox::new(settings)?.with_secrets(secrets)))
        }
        #[cfg(test)]
        config::Destination::Simulated(store) => Ok(Box::new(store.clone())),
    }
}
