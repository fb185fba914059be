//! `kind = "dropbox"`

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Deliver, Existing, Limits, Sealed, SecretMember, Settings};

/// A folder of somebody's Dropbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DropboxDestination {
    /// The name by which environments speak of it.
    pub name: String,
    /// The app's key, from its page at Dropbox. It is no secret.
    pub app_key: String,
    /// File that holds the app's secret, for apps that were connected without PKCE. In the
    /// configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub app_secret_file: Option<PathBuf>,
    /// The app's secret, for apps that were connected without PKCE. Over the API only; kept sealed,
    /// never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub app_secret: Option<Sealed>,
    /// File that holds the refresh token. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub refresh_token_file: Option<PathBuf>,
    /// The refresh token that Dropbox gave when the app was connected with offline access. Over the
    /// API only; kept sealed, never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub refresh_token: Option<Sealed>,
    /// Folder that files go into, below the app's own; it is made where it is missing.
    #[serde(default)]
    pub directory: String,
    /// What is done where another file with the same name is there already.
    #[serde(default)]
    pub existing: Existing,
    /// Whether people's Dropbox clients say nothing of new files.
    #[serde(default)]
    pub mute: bool,
    /// Id of the namespace that the folder lies in, such as a team's space; the user's own where none
    /// is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_root: Option<String>,
    /// Where the API is, if it is not at Dropbox: for tests. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub api_url: Option<String>,
    /// The same for the part of the API that takes files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub content_url: Option<String>,
    /// PEM file with the authority to trust beside the usual ones, such as that of a proxy which
    /// looks into TLS. In the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub ca_file: Option<PathBuf>,
    /// How much of the line and of the server it may have.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

impl DropboxDestination {
    /// Where the API is.
    pub(crate) fn api_url(&self) -> &str {
        self.api_url.as_deref().unwrap_or("https://api.dropboxapi.com")
    }

    /// Where the part of the API is that takes files.
    pub(crate) fn content_url(&self) -> &str {
        self.content_url.as_deref().unwrap_or("https://content.dropboxapi.com")
    }
}

impl Settings for DropboxDestination {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn secrets(&mut self) -> Vec<SecretMember<'_>> {
        vec![
            SecretMember {
                name: "app_secret",
                file_name: "app_secret_file",
                file: &mut self.app_secret_file,
                given: &mut self.app_secret,
                is_needed: false,
                is_text: false,
            },
            SecretMember {
                name: "refresh_token",
                file_name: "refresh_token_file",
                file: &mut self.refresh_token_file,
                given: &mut self.refresh_token,
                is_needed: true,
                is_text: false,
            },
        ]
    }

    fn files(&mut self) -> Vec<(&'static str, &mut Option<PathBuf>)> {
        vec![("ca_file", &mut self.ca_file)]
    }

    fn address(&self) -> Option<String> {
        Some(format!("{} {}", self.api_url(), self.content_url()))
    }

    fn check_made(&self, _deliver: &Deliver) -> Result<(), String> {
        for (name, url) in [("api_url", &self.api_url), ("content_url", &self.content_url)] {
            if url.is_some() {
                return Err(format!(
                    "{name}: only the configuration file may name other addresses than Dropbox's"
                ));
            }
        }
        Ok(())
    }
}
