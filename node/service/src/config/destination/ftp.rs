//! `kind = "ftps"` and `kind = "ftp"`

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Deliver, Existing, Limits, Sealed, SecretMember, Settings};

/// A folder of an FTP server. Kind `ftps` protects the line with TLS (explicit, on the usual port);
/// kind `ftp` does not, and everybody on the way can read password and recordings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FtpDestination {
    /// The name by which environments speak of it.
    pub name: String,
    /// The server's host name or address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    #[serde(default = "port")]
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// File that holds the password. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub password_file: Option<PathBuf>,
    /// The password. Over the API only; kept sealed, never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub password: Option<Sealed>,
    /// Folder at the server: from `/`, or else from where the user is after logging in. It is made
    /// where it is missing.
    #[serde(default)]
    pub directory: String,
    /// What is done where another file with the same name is there already.
    #[serde(default)]
    pub existing: Existing,
    /// PEM file with the authority to trust for this server, beside the usual ones; kind `ftps`
    /// only. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub ca_file: Option<PathBuf>,
    /// How much of the line and of the server it may have.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

/// The port where none is given.
fn port() -> u16 {
    21
}

impl Settings for FtpDestination {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn secrets(&mut self) -> Vec<SecretMember<'_>> {
        vec![SecretMember {
            name: "password",
            file_name: "password_file",
            file: &mut self.password_file,
            given: &mut self.password,
            is_needed: true,
            // It may have spaces in it.
            is_text: true,
        }]
    }

    fn files(&mut self) -> Vec<(&'static str, &mut Option<PathBuf>)> {
        vec![("ca_file", &mut self.ca_file)]
    }

    fn address(&self) -> Option<String> {
        Some(format!("{}:{}", self.host, self.port))
    }

    fn check_made(&self, _deliver: &Deliver) -> Result<(), String> {
        Ok(())
    }
}
