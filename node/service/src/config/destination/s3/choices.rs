//! What an S3 destination can be told beyond where it is.

use holdfast_core::recording::FileKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whose store it is. It decides what may be asked of it: `deliver/s3/capabilities.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = S3Preset)]
pub enum Preset {
    /// Amazon S3.
    Aws,
    /// Google Cloud Storage.
    Gcs,
    /// DigitalOcean Spaces.
    Spaces,
    /// Scaleway Object Storage.
    Scaleway,
    /// Cloudflare R2.
    R2,
    /// Wasabi.
    Wasabi,
    /// MinIO.
    Minio,
    /// Ceph's object gateway.
    Ceph,
    /// Any other: only what all stores take.
    Other,
}

/// Which checksum goes with the bytes, for the store to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = S3Checksum)]
pub enum Checksum {
    /// `Content-MD5`.
    Md5,
    /// CRC32C, of each part and of the whole.
    Crc32c,
    /// SHA-256, of each part; the whole's is made of them.
    Sha256,
}

/// Where the keys come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = S3Credentials)]
pub enum KeySource {
    /// `access_key` and `secret_key`.
    #[default]
    Static,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` of the node's
    /// environment. In the configuration file only.
    Environment,
    /// The role of the machine or container, from its metadata service. In the configuration file
    /// only.
    Instance,
}

/// How the store is to encrypt what lies there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = S3Sse)]
pub enum Sse {
    /// With keys that the store manages (SSE-S3).
    S3,
    /// With this key of the provider's key management (SSE-KMS): its id, ARN or alias.
    KmsKey(String),
}

/// Who else may do what with what lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = S3Acl)]
pub enum Acl {
    /// Nobody but the owner.
    Private,
    /// Everybody may read.
    PublicRead,
    /// Everybody may read and write.
    PublicReadWrite,
    /// Everybody with an account at the provider may read.
    AuthenticatedRead,
    /// Amazon EC2 may read.
    AwsExecRead,
    /// The bucket's owner may read.
    BucketOwnerRead,
    /// The bucket's owner may do everything.
    BucketOwnerFullControl,
}

/// Storage classes by kind of file. A kind without one has that of `storage_class`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = S3StorageClasses)]
pub struct StorageClasses {
    /// Of main files (.mp4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<String>,
    /// Of raw files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Of snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Of filmstrips and their WebVTT files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filmstrip: Option<String>,
}

impl Acl {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
            Self::AuthenticatedRead => "authenticated-read",
            Self::AwsExecRead => "aws-exec-read",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
        }
    }

    /// Whether strangers may read what lies there.
    #[must_use]
    pub fn is_public(self) -> bool {
        matches!(self, Self::PublicRead | Self::PublicReadWrite | Self::AuthenticatedRead)
    }
}

impl Checksum {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Crc32c => "crc32c",
            Self::Sha256 => "sha256",
        }
    }
}

impl StorageClasses {
    /// Whether none is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// That of a kind of file.
    #[must_use]
    pub fn of(&self, kind: FileKind) -> Option<&String> {
        match kind {
            FileKind::Main => self.main.as_ref(),
            FileKind::Raw => self.raw.as_ref(),
            FileKind::Snapshot => self.snapshot.as_ref(),
            FileKind::Filmstrip | FileKind::FilmstripVtt => self.filmstrip.as_ref(),
        }
    }

    /// Each that is given, with its setting.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &String)> {
        [
            ("storage_classes.main", &self.main),
            ("storage_classes.raw", &self.raw),
            ("storage_classes.snapshot", &self.snapshot),
            ("storage_classes.filmstrip", &self.filmstrip),
        ]
        .into_iter()
        .filter_map(|(setting, class)| Some((setting, class.as_ref()?)))
    }
}
