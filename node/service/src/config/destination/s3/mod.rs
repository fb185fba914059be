//! `kind = "s3"`

mod choices;

use std::collections::BTreeMap;
use std::path::PathBuf;

use holdfast_core::storage::Region;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::choices::{Acl, Checksum, KeySource, Preset, Sse, StorageClasses};
use super::{Deliver, Existing, Limits, Sealed, SecretMember, Settings};
use crate::deliver::s3::capabilities;

/// A bucket of Amazon S3 or a compatible store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// Whose store it is, which decides what may be asked of it; told by the endpoint where it is
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Put before every key. `{env}`, `{year}`, `{month}` and `{day}` stand for the environment and the
    /// day on which the recording was saved; with `{name}` at its end it is the whole key.
    #[serde(default)]
    pub prefix: String,
    /// `https://endpoint/bucket/key` instead of `https://bucket.endpoint/key`; as is usual with the
    /// preset where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Where the keys come from.
    #[serde(default, skip_serializing_if = "is_static")]
    pub credentials: KeySource,
    /// File that holds the access key's id. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub access_key_file: Option<PathBuf>,
    /// File that holds the secret access key. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub secret_key_file: Option<PathBuf>,
    /// The access key's id. Over the API only; kept sealed, never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub access_key: Option<Sealed>,
    /// The secret access key. Over the API only; kept sealed, never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub secret_key: Option<Sealed>,
    /// PEM file with the authority to trust for this endpoint, beside the usual ones. In the
    /// configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub ca_file: Option<PathBuf>,
    /// Files up to this size go in one request, in bytes; larger ones in parts of this size or more.
    #[serde(default = "part_bytes")]
    pub part_bytes: u64,
    /// Parts of one file that are under way at once, 1 to 32.
    #[serde(default = "parts_at_once")]
    #[schema(minimum = 1, maximum = 32)]
    pub parts_at_once: u32,
    /// What happens where another file of that name is there.
    #[serde(default)]
    pub existing: Existing,
    /// Which checksum goes with the bytes; the best that the preset takes where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// It is our own storage in this region (rule 9): each file gets the region's storage class and
    /// encryption, and what lies there goes with the recording. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, read_only)]
    pub ours: Option<Region>,
    /// Storage class for every file; the bucket's own where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Storage classes by kind of file, before `storage_class`.
    #[serde(default, skip_serializing_if = "StorageClasses::is_empty")]
    pub storage_classes: StorageClasses,
    /// How the store is to encrypt: `"s3"`, or `{"kms_key": "…"}`. The bucket's own way where nothing is
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<Sse>,
    /// Who else may do what with the files; the bucket's own way where nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
    /// Tags of every file, at most 10. Values may have the placeholders of `prefix`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// How much of the line and of the server it may have.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

/// The size of parts where none is given.
fn part_bytes() -> u64 {
    16 << 20
}

/// How many parts are under way where nothing is said.
fn parts_at_once() -> u32 {
    4
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_static(source: &KeySource) -> bool {
    *source == KeySource::Static
}

impl Settings for S3Destination {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn secrets(&mut self) -> Vec<SecretMember<'_>> {
        let is_needed = self.credentials == KeySource::Static;
        vec![
            SecretMember {
                name: "access_key",
                file_name: "access_key_file",
                file: &mut self.access_key_file,
                given: &mut self.access_key,
                is_needed,
                is_text: false,
            },
            SecretMember {
                name: "secret_key",
                file_name: "secret_key_file",
                file: &mut self.secret_key_file,
                given: &mut self.secret_key,
                is_needed,
                is_text: false,
            },
        ]
    }

    fn files(&mut self) -> Vec<(&'static str, &mut Option<PathBuf>)> {
        vec![("ca_file", &mut self.ca_file)]
    }

    fn address(&self) -> Option<String> {
        Some(self.endpoint.clone())
    }

    fn check(&self) -> Result<(), String> {
        let unused = match self.credentials {
            KeySource::Static => None,
            KeySource::Environment => Some("environment"),
            KeySource::Instance => Some("instance"),
        };
        let files = [&self.access_key_file, &self.secret_key_file];
        let given = [&self.access_key, &self.secret_key];
        if let Some(source) = unused
            && (files.iter().any(|file| file.is_some()) || given.iter().any(|key| key.is_some()))
        {
            let keys = "access_key_file: is not used";
            return Err(format!("{keys} with credentials = \"{source}\"; leave one of them out"));
        }
        capabilities::check(self)
    }

    fn check_made(&self, deliver: &Deliver) -> Result<(), String> {
        if self.credentials != KeySource::Static {
            return Err(
                "credentials: only the configuration file says to use the node's own".into()
            );
        }
        if deliver.plain_http || self.endpoint.starts_with("https://") {
            return Ok(());
        }
        Err("endpoint: must begin with https:// ([deliver] plain_http allows others)".into())
    }
}
