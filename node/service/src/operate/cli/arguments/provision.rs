//! `holdfast provision`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do about a box that has no configuration yet.
#[derive(Debug, Clone, Subcommand)]
pub enum Provision {
    /// Take a configuration from the first folder that has one; root does this. Ends with 0 where
    /// there is a configuration, 3 where none was found, 4 where what was found cannot be used
    Take(TakeFrom),
    /// Serve the page that takes a configuration from a browser, until it has one
    Page(SetupPage),
}

/// Where to look, and where what is taken goes.
#[derive(Debug, Clone, Args)]
pub struct TakeFrom {
    /// A folder with holdfast.toml, provision.toml and secrets/; the first that has a holdfast.toml
    /// decides
    #[arg(long, value_name = "DIR", required = true)]
    pub from: Vec<PathBuf>,
    /// Inbox of `provision page`: looked into before the others, and emptied
    #[arg(long, value_name = "DIR")]
    pub inbox: Option<PathBuf>,
    /// Folder for what is taken
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Write the outcome here too, for people: the ESP
    #[arg(long, value_name = "DIR")]
    pub esp: Option<PathBuf>,
    /// Write the outcome here too, for the page; and provision.env for units
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Remove secrets from the ESP once they are safe in the folder for what is taken
    #[arg(long, requires = "esp")]
    pub remove_secrets: bool,
    /// Group that may read the configuration, beside root
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
}

/// What the page needs.
#[derive(Debug, Clone, Args)]
pub struct SetupPage {
    /// The device's label, which has the digest of the code that is printed on it
    #[arg(long, value_name = "FILE")]
    pub code_sha256_from: PathBuf,
    /// The page's certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub certificate: PathBuf,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:443")]
    pub listen: SocketAddr,
    /// Folder for what is handed in
    #[arg(long, value_name = "DIR")]
    pub inbox: PathBuf,
    /// outcome.json of `provision take`; may not be there yet
    #[arg(long, value_name = "FILE")]
    pub outcome: PathBuf,
}
