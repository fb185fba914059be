//! Pushing a recording's files to where they belong.
//!
//! A destination is a folder in here with the same set of files as its neighbours:
//!
//! - `mod.rs`: the destination, and how it pushes a file;
//! - `client.rs`: how it talks to the other side;
//! - `error.rs`: its errors, each with whose fault it is and a sentence for the customer's admin.
//!
//! Beside them lies what destinations share: `names` (which names are safe to use) and `progress`
//! (a push may take as long as it likes, but it must not stand still).
//!
//! What is pushed when, in which order and how often is decided by the core. A push is idempotent:
//! the name at the destination follows from the recording, and a name appears there only once its
//! bytes are whole.

pub mod directory;
mod names;
mod progress;
pub mod s3;
pub mod worker;

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use holdfast_core::attempts::Fault;
use holdfast_core::recording::FileKind;

use crate::config;

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
}

/// Where a pushed file can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// On this machine.
    Path(PathBuf),
    /// At an address that needs no further key and holds for some minutes.
    Url(String),
}

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct PushError {
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened, at which destination, and what to do about it. Holds no secret.
    pub sentence: String,
}

/// Somewhere files are pushed to.
pub trait Destination: Send + Sync + std::fmt::Debug {
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

    /// Where a file that was pushed to `location` can be read.
    ///
    /// # Errors
    /// [`PushError`] where it cannot be told.
    fn locate(&self, location: &str) -> Result<Located, PushError>;
}

/// Builds a destination from its configuration.
///
/// # Errors
/// A sentence that names the destination and what is wrong with its settings.
pub fn build(config: &config::Destination) -> Result<Box<dyn Destination>, PushError> {
    match config {
        config::Destination::Directory(settings) => {
            Ok(Box::new(directory::Directory::new(settings)?))
        }
        config::Destination::S3(settings) => Ok(Box::new(s3::S3::new(settings)?)),
    }
}
