//! A volume: a file system that recordings lie on.

use std::path::{Path, PathBuf};

use super::VaultError;
use super::disk::{Disk, For, VaultFile};

/// Whether what lies on a volume is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// It is not: whoever has the disk has the recordings.
    None,
}

impl Encryption {
    /// In words, for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::None => "unencrypted (plain directory)",
        }
    }
}

/// A file system that recordings lie on.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    folder: VaultFile,
}

impl Volume {
    pub(super) fn open(disk: &Disk, path: &Path) -> Result<Self, VaultError> {
        let folder = disk.open(path, For::Reading).map_err(VaultError::io("open", path))?;
        Ok(Self { path: path.into(), folder })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is encrypted.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        Encryption::None
    }

    /// Space that is free for the node, in bytes.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn free_bytes(&self) -> Result<u64, VaultError> {
        self.folder.free_bytes().map_err(VaultError::io("measure", &self.path))
    }

    /// Makes everything written to it so far durable.
    ///
    /// # Errors
    /// [`VaultError::Io`] where anything since the last call could not be written.
    pub fn sync(&self) -> Result<(), VaultError> {
        self.folder.sync_all().map_err(VaultError::io("sync", &self.path))
    }
}
