//! `kind = "s3"`

use std::path::PathBuf;

use holdfast_core::storage::Region;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Deliver, Limits, Sealed, SecretMember, Settings};

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
    /// Put before every key.
    #[serde(default)]
    pub prefix: String,
    /// `https://endpoint/bucket/key` instead of `https://bucket.endpoint/key`.
    #[serde(default)]
    pub path_style: bool,
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
    /// It is our own storage in this region (rule 9): each file gets the region's storage class and
    /// encryption, and what lies there goes with the recording. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, read_only)]
    pub ours: Option<Region>,
    /// Storage class for every file; the bucket's own where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// How much of the line and of the server it may have.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

/// The size of parts where none is given.
fn part_bytes() -> u64 {
    16 << 20
}

impl Settings for S3Destination {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn secrets(&mut self) -> Vec<SecretMember<'_>> {
        vec![
            SecretMember {
                name: "access_key",
                file_name: "access_key_file",
                file: &mut self.access_key_file,
                given: &mut self.access_key,
                is_needed: true,
                is_text: false,
            },
            SecretMember {
                name: "secret_key",
                file_name: "secret_key_file",
                file: &mut self.secret_key_file,
                given: &mut self.secret_key,
                is_needed: true,
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

    fn check_made(&self, deliver: &Deliver) -> Result<(), String> {
        if deliver.plain_http || self.endpoint.starts_with("https://") {
            return Ok(());
        }
        Err("endpoint: must begin with https:// ([deliver] plain_http allows others)".into())
    }
}
