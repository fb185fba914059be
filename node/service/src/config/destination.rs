//! `[[destinations]]`: where recordings can be pushed to.

use std::path::PathBuf;

use holdfast_core::storage::Region;
use serde::Deserialize;

/// `[[destinations]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Destination {
    /// `kind = "directory"`
    Directory(DirectoryDestination),
    /// `kind = "s3"`
    S3(S3Destination),
}

impl Destination {
    /// The name by which environments speak of it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Directory(directory) => &directory.name,
            Self::S3(s3) => &s3.name,
        }
    }
}

/// A directory of this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryDestination {
    /// The name by which environments speak of it.
    pub name: String,
    /// The directory; it must exist.
    pub path: PathBuf,
}

/// A bucket of Amazon S3 or a compatible store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Destination {
    /// The name by which environments speak of it.
    pub name: String,
    /// The store's address, such as `https://s3.us-west-1.amazonaws.com`.
    pub endpoint: String,
    /// Region, such as `us-west-1`.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Put before every key.
    #[serde(default)]
    pub prefix: String,
    /// `https://endpoint/bucket/key` instead of `https://bucket.endpoint/key`.
    #[serde(default)]
    pub path_style: bool,
    /// File that holds the access key's id.
    pub access_key_file: PathBuf,
    /// File that holds the secret access key.
    pub secret_key_file: PathBuf,
    /// PEM file with the authority to trust for this endpoint, beside the usual ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Files up to this size go in one request, in bytes; larger ones in parts of this size or more.
    #[serde(default = "part_bytes")]
    pub part_bytes: u64,
    /// It is our own storage in this region (rule 9): each file gets the region's storage class and
    /// encryption, and what lies there goes with the recording.
    #[serde(default)]
    pub ours: Option<Region>,
    /// Storage class for every file; the bucket's own where none is given.
    #[serde(default)]
    pub storage_class: Option<String>,
}

/// The size of parts where none is given.
pub(crate) fn part_bytes() -> u64 {
    16 << 20
}
