//! First boot with nobody there: taking a configuration from a stick, the ESP or the setup page.
//!
//! `holdfast provision take` runs as root without network. The first folder that has a
//! `holdfast.toml` decides; what it holds is checked whole before anything is written. What was taken
//! is one set that becomes the current one by one rename, so a power cut leaves the old or the new:
//!
//! ```text
//! TO/holdfast.toml  -> current/holdfast.toml      the paths that others name
//! TO/provision.toml -> current/provision.toml
//! TO/secrets        -> current/secrets
//! TO/current        -> sets/DIGEST                replaced last
//! TO/sets/DIGEST/{holdfast.toml,provision.toml,secrets/NAME,taken.json}
//! TO/outcome.json, TO/outcome.txt                 what came of it, in every case
//! ```
//!
//! `holdfast provision page` faces the network without privilege. It checks with the same parser and
//! leaves what it was handed in `INBOX/set`, which `take` reads as distrustfully as a stick.

mod attempts;
mod check;
mod code;
mod files;
mod folder;
mod outcome;
pub mod page;
mod store;
mod take;

pub use outcome::{Outcome, Seen, State};
pub use take::{Order, take};

/// The node's configuration, in every folder and in what was taken.
pub const CONFIG: &str = "holdfast.toml";
/// How to provision; may be left out.
pub const SETTINGS: &str = "provision.toml";
/// The folder of files that the configuration refers to.
pub const SECRETS: &str = "secrets";
/// In the report's folder while the configuration in use has `node.http3`: the condition of
/// `holdfast-http3.socket`.
pub const HTTP3: &str = "http3";
/// What the page leaves in its inbox.
pub const HANDED_IN: &str = "set";
/// Where the service finds a secret that the configuration names.
pub const CREDENTIALS: &str = "/run/credentials/holdfast.service/";

/// Largest `holdfast.toml`, in bytes; the same as the parser's.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Largest `provision.toml`, in bytes.
pub const SETTINGS_BYTES_MAX: u64 = 16 << 10;
/// Largest secret, in bytes.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Most secrets.
pub const SECRETS_MAX: usize = 64;

/// What stands in the way of taking a configuration: of this machine, not of what was found.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A file or folder cannot be used.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such group.
    #[error("there is no group {0:?}; make it, or leave --group out")]
    Group(String),
    /// The label of the device cannot be understood.
    #[error("{path}: {problem}")]
    Label {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong.
        problem: String,
    },
}

fn failed(
    what: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> ProvisionError {
    let path = path.to_path_buf();
    move |source| ProvisionError::File { what, path, source }
}
