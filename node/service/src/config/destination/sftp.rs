//! `kind = "sftp"`

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Existing, Limits, Sealed, SecretMember, Settings};

/// A folder of a server that speaks SFTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SftpDestination {
    /// The name by which environments speak of it.
    pub name: String,
    /// The server's name or IP address.
    pub host: String,
    /// Its port.
    #[serde(default = "port")]
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The folder, which must exist: from `/`, or relative to where a login begins.
    #[serde(default = "path")]
    pub path: String,
    /// Fingerprints of the server's keys, as `SHA256:…`, separated by spaces. Without any the first
    /// key that the server shows is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// File that holds the password. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub password_file: Option<PathBuf>,
    /// The password. Over the API only; kept sealed, never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub password: Option<Sealed>,
    /// File that holds the private key. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub private_key_file: Option<PathBuf>,
    /// The private key, as `ssh-keygen` writes it. Over the API only; kept sealed, never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub private_key: Option<Sealed>,
    /// File that holds the private key's passphrase. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub passphrase_file: Option<PathBuf>,
    /// The private key's passphrase. Over the API only; kept sealed, never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub passphrase: Option<Sealed>,
    /// What happens where another file of that name is there.
    #[serde(default)]
    pub existing: Existing,
    /// How it is checked that the file arrived.
    #[serde(default)]
    pub verify: Verify,
    /// Mode of files, in octal such as `0640`; what the server makes of 0644 where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<String>,
    /// Mode of folders that the node makes, in octal such as `0750`; what the server makes of 0755
    /// where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder_mode: Option<String>,
    /// How much of the line and of the server it may have.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

/// How it is checked that a file arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// By its size, and by reading its beginning and its end again.
    #[default]
    ReadBack,
    /// By its size alone, for users that may not read: a push that was cut short then begins anew.
    Size,
}

fn port() -> u16 {
    22
}

fn path() -> String {
    ".".into()
}

impl Settings for SftpDestination {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn secrets(&mut self) -> Vec<SecretMember<'_>> {
        vec![
            SecretMember {
                name: "password",
                file_name: "password_file",
                file: &mut self.password_file,
                given: &mut self.password,
                is_needed: false,
                is_text: true,
            },
            SecretMember {
                name: "private_key",
                file_name: "private_key_file",
                file: &mut self.private_key_file,
                given: &mut self.private_key,
                is_needed: false,
                is_text: true,
            },
            SecretMember {
                name: "passphrase",
                file_name: "passphrase_file",
                file: &mut self.passphrase_file,
                given: &mut self.passphrase,
                is_needed: false,
                is_text: true,
            },
        ]
    }

    fn address(&self) -> Option<String> {
        Some(format!("sftp://{}:{}", self.host, self.port))
    }
}
