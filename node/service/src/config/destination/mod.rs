//! `[[destinations]]`: where recordings can be pushed to. The same shapes are what the API takes,
//! what it shows and what the ledger keeps.
//!
//! A secret has two members: `x_file`, which only the configuration file may have, and `x`, which only
//! the API may. Whoever has a key to the API must not be able to read the node's files, and nobody
//! is to write a secret into the configuration.

mod directory;
mod dropbox;
mod existing;
mod ftp;
mod limits;
mod s3;
mod sftp;

use std::fmt;
use std::path::PathBuf;

use holdfast_core::storage::Region;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Deliver;

pub use directory::DirectoryDestination;
pub use dropbox::DropboxDestination;
pub use existing::Existing;
pub use ftp::FtpDestination;
pub use limits::Limits;
pub use s3::{Acl, Checksum, KeySource, Preset, S3Destination, Sse, StorageClasses};
pub use sftp::{SftpDestination, Verify};

/// `[[destinations]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Destination {
    /// `kind = "directory"`
    Directory(DirectoryDestination),
    /// `kind = "s3"`
    S3(Box<S3Destination>),
    /// `kind = "ftps"`
    Ftps(Box<FtpDestination>),
    /// `kind = "ftp"`: without any protection
    Ftp(Box<FtpDestination>),
    /// `kind = "sftp"`
    Sftp(Box<SftpDestination>),
    /// `kind = "dropbox"`
    Dropbox(Box<DropboxDestination>),
}

/// A secret that was given over the API. It is kept sealed with the node's key, and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Sealed(pub(crate) String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

/// The two members that can hold a secret.
#[derive(Debug)]
pub(crate) struct SecretMember<'a> {
    /// The member that the API has.
    pub(crate) name: &'static str,
    /// The member that the configuration file has.
    pub(crate) file_name: &'static str,
    /// The file.
    pub(crate) file: &'a mut Option<PathBuf>,
    /// What the API was given.
    pub(crate) given: &'a mut Option<Sealed>,
    /// Whether there is no destination without it.
    pub(crate) is_needed: bool,
    /// Whether it may have several lines, as a private key has.
    pub(crate) is_text: bool,
}

/// What every kind of destination says of its settings.
pub(crate) trait Settings {
    /// The name by which environments speak of it.
    fn name(&self) -> &str;

    /// How much of the line and of the server it may have.
    fn limits(&self) -> &Limits;

    /// Its secrets.
    fn secrets(&mut self) -> Vec<SecretMember<'_>> {
        Vec::new()
    }

    /// More members that name files of the node, which the API may not have.
    fn files(&mut self) -> Vec<(&'static str, &mut Option<PathBuf>)> {
        Vec::new()
    }

    /// Where its secrets are sent. With another address they must be given anew.
    fn address(&self) -> Option<String> {
        None
    }

    /// What is wrong with it wherever it comes from.
    ///
    /// # Errors
    /// The member, and what to do.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// What else whoever has a key to the API may not do with it.
    ///
    /// # Errors
    /// The member, and what to do.
    fn check_made(&self, _deliver: &Deliver) -> Result<(), String> {
        Ok(())
    }
}

impl Destination {
    /// The name by which environments speak of it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.settings().name()
    }

    /// Which kind: `directory`, `s3`, `ftps`, `ftp`, `sftp` or `dropbox`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::S3(_) => "s3",
            Self::Ftps(_) => "ftps",
            Self::Ftp(_) => "ftp",
            Self::Sftp(_) => "sftp",
            Self::Dropbox(_) => "dropbox",
        }
    }

    /// The region of which it is our own storage, if it is.
    #[must_use]
    pub fn ours(&self) -> Option<Region> {
        match self {
            Self::S3(s3) => s3.ours,
            Self::Directory(_)
            | Self::Ftps(_)
            | Self::Ftp(_)
            | Self::Sftp(_)
            | Self::Dropbox(_) => None,
        }
    }

    /// What whoever uses it should know, if there is something.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Ftp(_) => Some(
                "plain FTP: everybody on the way can read the password and the recordings; use kind \
                 ftps",
            ),
            Self::S3(s3) if s3.acl.is_some_and(Acl::is_public) => {
                Some("acl: strangers can read every recording that is pushed there")
            }
            Self::Directory(_) | Self::S3(_) | Self::Ftps(_) | Self::Sftp(_) | Self::Dropbox(_) => {
                None
            }
        }
    }

    /// How much of the line and of the server it may have.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.settings().limits()
    }

    pub(crate) fn settings(&self) -> &dyn Settings {
        match self {
            Self::Directory(directory) => directory,
            Self::S3(s3) => &**s3,
            Self::Ftps(ftp) | Self::Ftp(ftp) => &**ftp,
            Self::Sftp(sftp) => &**sftp,
            Self::Dropbox(dropbox) => &**dropbox,
        }
    }

    pub(crate) fn settings_mut(&mut self) -> &mut dyn Settings {
        match self {
            Self::Directory(directory) => directory,
            Self::S3(s3) => &mut **s3,
            Self::Ftps(ftp) | Self::Ftp(ftp) => &mut **ftp,
            Self::Sftp(sftp) => &mut **sftp,
            Self::Dropbox(dropbox) => &mut **dropbox,
        }
    }

    /// As it may be shown: without secrets and without the node's paths to them.
    #[must_use]
    pub fn shown(&self) -> Self {
        let mut shown = self.clone();
        for secret in shown.settings_mut().secrets() {
            (*secret.file, *secret.given) = (None, None);
        }
        for (_, file) in shown.settings_mut().files() {
            *file = None;
        }
        shown
    }

    /// Checks one that the configuration file declares.
    pub(super) fn check_declared(&self) -> Result<(), String> {
        let named = |problem| format!("destination {:?}: {problem}", self.name());
        self.limits().check().map_err(&named)?;
        self.settings().check().map_err(named)?;
        let mut of = self.clone();
        for secret in of.settings_mut().secrets() {
            let (name, file_name) = (secret.name, secret.file_name);
            if secret.given.is_some() {
                return Err(format!(
                    "destination {:?}: {name}: secrets do not stand in here; put it into a file and \
                     name that in {file_name}",
                    self.name()
                ));
            }
            if secret.is_needed && secret.file.is_none() {
                return Err(format!("destination {:?}: {file_name}: is missing", self.name()));
            }
        }
        Ok(())
    }

    /// Checks one that was made over the API.
    ///
    /// # Errors
    /// The member, and what to do.
    pub(crate) fn check_made(&self, deliver: &Deliver) -> Result<(), String> {
        let mut of = self.clone();
        let only = "only the configuration file may name files of the node";
        if self.ours().is_some() {
            return Err("ours: only the configuration file says which storage is ours".into());
        }
        if let Some((name, _)) = of.settings_mut().files().iter().find(|(_, file)| file.is_some()) {
            return Err(format!("{name}: {only}"));
        }
        for secret in of.settings_mut().secrets() {
            let (name, file_name) = (secret.name, secret.file_name);
            if secret.file.is_some() {
                return Err(format!("{file_name}: {only}; give {name}"));
            }
            if secret.is_needed && secret.given.is_none() {
                return Err(format!("{name}: is missing"));
            }
        }
        self.limits().check()?;
        self.settings().check_made(deliver)?;
        self.settings().check()
    }
}
