//! Destinations that were made over the API, and how any destination is shown.

use std::path::{Component, Path, PathBuf};

use holdfast_core::attempts::Fault;
use holdfast_core::storage::Region;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::config::{self, Config, DirectoryDestination, S3Destination};
use crate::deliver::directory::Directory;
use crate::deliver::s3::{Keys, S3};
use crate::deliver::{Destination, PushError};
use crate::nodekey::{KeyError, NodeKey};

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4 << 10;

/// A destination that was made over the API, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Made {
    Directory(MadeDirectory),
    S3(MadeS3),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MadeDirectory {
    name: String,
    path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MadeS3 {
    name: String,
    endpoint: String,
    region: String,
    bucket: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    path_style: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_class: Option<String>,
    /// Sealed with the node's key for this destination's name.
    access_key: String,
    /// The same.
    secret_key: String,
}

/// A destination as the API shows it. Secrets are never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DestinationView {
    /// A directory of the node's machine.
    Directory {
        /// The name by which environments speak of it.
        name: String,
        /// The directory.
        #[schema(value_type = String)]
        path: PathBuf,
    },
    /// A bucket of Amazon S3 or a compatible store.
    S3 {
        /// The name by which environments speak of it.
        name: String,
        /// The store's address.
        endpoint: String,
        /// The bucket's region.
        region: String,
        /// The bucket.
        bucket: String,
        /// Put before every key.
        prefix: String,
        /// Whether the bucket's name is part of the path instead of the host's name.
        path_style: bool,
        /// Files up to this size go in one request, in bytes.
        part_bytes: u64,
        /// Storage class for every file, where one is set.
        storage_class: Option<String>,
        /// The region of which this is our own storage, if it is.
        #[schema(value_type = Option<String>)]
        ours: Option<Region>,
        /// Whether it has keys. They are never shown.
        has_keys: bool,
    },
}

/// A destination to be made over the API.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DestinationBody {
    /// A directory below one of the folders in `[deliver] directories`.
    Directory {
        /// The name by which environments speak of it.
        name: String,
        /// The directory, in full from `/`.
        path: String,
    },
    /// A bucket of Amazon S3 or a compatible store.
    S3 {
        /// The name by which environments speak of it.
        name: String,
        /// The store's address, such as `https://s3.us-west-1.amazonaws.com`.
        endpoint: String,
        /// The bucket's region.
        region: String,
        /// The bucket.
        bucket: String,
        /// Put before every key.
        prefix: Option<String>,
        /// Whether the bucket's name is part of the path instead of the host's name.
        path_style: Option<bool>,
        /// Files up to this size go in one request, in bytes.
        part_bytes: Option<u64>,
        /// Storage class for every file.
        storage_class: Option<String>,
        /// The access key's id. Kept sealed, never shown again.
        access_key: String,
        /// The secret access key. Kept sealed, never shown again.
        secret_key: String,
    },
}

impl DestinationView {
    /// The name by which environments speak of it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Directory { name, .. } | Self::S3 { name, .. } => name,
        }
    }

    /// Which kind: `directory` or `s3`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::S3 { .. } => "s3",
        }
    }

    /// The region of which it is our own storage, if it is.
    #[must_use]
    pub fn ours(&self) -> Option<Region> {
        match self {
            Self::Directory { .. } => None,
            Self::S3 { ours, .. } => *ours,
        }
    }

    pub(super) fn declared(settings: &config::Destination) -> Self {
        match settings {
            config::Destination::Directory(DirectoryDestination { name, path }) => {
                Self::Directory { name: name.clone(), path: path.clone() }
            }
            config::Destination::S3(s3) => Self::s3(s3),
        }
    }

    pub(super) fn made(made: &Made) -> Self {
        match made {
            Made::Directory(MadeDirectory { name, path }) => {
                Self::Directory { name: name.clone(), path: path.clone() }
            }
            Made::S3(s3) => Self::s3(&s3.settings()),
        }
    }

    fn s3(s3: &S3Destination) -> Self {
        Self::S3 {
            name: s3.name.clone(),
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            bucket: s3.bucket.clone(),
            prefix: s3.prefix.clone(),
            path_style: s3.path_style,
            part_bytes: s3.part_bytes,
            storage_class: s3.storage_class.clone(),
            ours: s3.ours,
            has_keys: true,
        }
    }
}

impl Made {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Directory(directory) => &directory.name,
            Self::S3(s3) => &s3.name,
        }
    }

    /// The address that its keys were given for, where it has keys.
    pub(super) fn address(&self) -> Option<&str> {
        match self {
            Self::Directory(_) => None,
            Self::S3(s3) => Some(&s3.endpoint),
        }
    }

    /// Reads what the API was given; secrets in it are sealed at once. Members that are not there
    /// are those of `before`.
    ///
    /// # Errors
    /// What is wrong with which member.
    pub(super) fn from_given(
        mut given: Map<String, Value>,
        key: &NodeKey,
        config: &Config,
    ) -> Result<Self, String> {
        let name = given.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        for secret in ["access_key", "secret_key"] {
            let Some(value) = given.get_mut(secret) else { continue };
            let plain = Zeroizing::new(match std::mem::take(value) {
                Value::String(plain) => plain,
                // A sealed one that a change leaves as it is.
                Value::Object(sealed) => {
                    *value = sealed.get("sealed").cloned().unwrap_or_default();
                    continue;
                }
                _ => return Err(format!("{secret}: must be a text")),
            });
            let plain = plain.trim();
            if plain.is_empty()
                || plain.len() > SECRET_BYTES_MAX
                || plain.contains(|c: char| c.is_whitespace() || c.is_control())
            {
                return Err(format!("{secret}: must be one word of 1 to {SECRET_BYTES_MAX} bytes"));
            }
            let sealed = key.seal(&context(&name, secret), plain.as_bytes());
            *value = Value::String(sealed.map_err(|error| error.to_string())?);
        }
        let made: Self =
            serde_json::from_value(Value::Object(given)).map_err(|error| error.to_string())?;
        made.check(config)?;
        made.build(key).map_err(|error| error.sentence)?;
        Ok(made)
    }

    /// As it was given, for a change: secrets stay sealed, marked as such.
    pub(super) fn to_given(&self) -> Result<Map<String, Value>, String> {
        let Ok(Value::Object(mut given)) = serde_json::to_value(self) else {
            return Err("the destination cannot be read".into());
        };
        for secret in ["access_key", "secret_key"] {
            if let Some(value) = given.get_mut(secret) {
                *value = serde_json::json!({ "sealed": std::mem::take(value) });
            }
        }
        Ok(given)
    }

    fn check(&self, config: &Config) -> Result<(), String> {
        match self {
            Self::Directory(directory) => check_directory(&directory.path, config),
            Self::S3(s3) if !config.deliver.plain_http && !s3.endpoint.starts_with("https://") => {
                Err("endpoint: must begin with https:// ([deliver] plain_http allows others)"
                    .into())
            }
            Self::S3(_) => Ok(()),
        }
    }

    /// What pushes to it.
    ///
    /// # Errors
    /// Why it cannot be pushed to.
    pub(super) fn build(&self, key: &NodeKey) -> Result<Box<dyn Destination>, PushError> {
        match self {
            Self::Directory(MadeDirectory { name, path }) => {
                let settings = DirectoryDestination { name: name.clone(), path: path.clone() };
                Ok(Box::new(Directory::new(&settings)?))
            }
            Self::S3(s3) => {
                let open = |secret: &str, sealed: &str| {
                    let opened = key.open(&context(&s3.name, secret), sealed);
                    opened.and_then(|bytes| {
                        String::from_utf8(bytes.to_vec())
                            .map(Zeroizing::new)
                            .map_err(|_| KeyError::Sealed { context: context(&s3.name, secret) })
                    })
                };
                let ours = |error: KeyError| PushError {
                    fault: Fault::Ours,
                    sentence: format!("destination {:?}: {error}", s3.name),
                };
                let id = open("access_key", &s3.access_key).map_err(ours)?;
                let secret = open("secret_key", &s3.secret_key).map_err(ours)?;
                Ok(Box::new(S3::new(&s3.settings())?.with_keys(Keys::Given { id, secret })))
            }
        }
    }
}

impl MadeS3 {
    fn settings(&self) -> S3Destination {
        S3Destination {
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            path_style: self.path_style,
            access_key_file: PathBuf::new(),
            secret_key_file: PathBuf::new(),
            ca_file: None,
            part_bytes: self.part_bytes.unwrap_or_else(config::part_bytes),
            ours: None,
            storage_class: self.storage_class.clone(),
        }
    }
}

fn context(name: &str, secret: &str) -> String {
    format!("destination {name}: {secret}")
}

/// Whoever has a key to the API must not be able to write anywhere on the node.
fn check_directory(path: &Path, config: &Config) -> Result<(), String> {
    let is_plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let allowed = &config.deliver.directories;
    if path.is_absolute() && is_plain && allowed.iter().any(|root| path.starts_with(root)) {
        return Ok(());
    }
    Err(if allowed.is_empty() {
        "path: this node takes no directories over the API; declare it in the configuration file, \
         or name the folders it may lie below in [deliver] directories"
            .into()
    } else {
        let roots: Vec<_> = allowed.iter().map(|root| root.display().to_string()).collect();
        format!("path: must lie below {}", roots.join(" or "))
    })
}
