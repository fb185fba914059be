//! What the vault does with keys of recordings.

use std::path::{Path, PathBuf};

use holdfast_core::RecordingId;
use holdfast_core::recording::FileKind;
use jiff::Timestamp;

use super::{ErasedKeys, Erasure, Lease, Means, Rotated};
use crate::vault::{Home, Vault, VaultError, Volume};

/// Where a file of a recording lies; it can be opened there for as long as this lives.
#[derive(Debug, Clone)]
pub struct Lent {
    /// Its path.
    pub path: PathBuf,
    /// What keeps its folder readable.
    pub lease: Lease,
}

/// How a vault's epochs stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// When the current one began.
    pub began_at: Timestamp,
    /// Whether the one before it is still to be destroyed.
    pub is_unfinished: bool,
    /// The newest epoch such that it and all before it are destroyed.
    pub destroyed: u64,
}

impl Vault {
    /// The same vault, with keys for recordings.
    ///
    /// # Errors
    /// [`VaultError::Erasure`] where keys cannot be made here, or are lost.
    pub fn with_erasure(mut self, means: &Means<'_>) -> Result<Self, VaultError> {
        self.erasure = Erasure::open(means, &self.volume_paths())?;
        Ok(self)
    }

    /// Sees to it that a recording's folder can be read and written.
    ///
    /// # Errors
    /// [`VaultError::Erasure`] where its key cannot be had; what is in its folder cannot be told then.
    pub fn lease(&self, home: impl Into<Home>) -> Result<Lease, VaultError> {
        if self.erasure.is_none() {
            return Ok(Lease::default());
        }
        let home = home.into();
        let (volume, folder) = self.find(home)?;
        self.lease_of(volume, &folder, home.id)
    }

    /// Whether a folder is encrypted with a key that this node does not have, because recordings get none
    /// here: what is in it cannot be told.
    ///
    /// # Errors
    /// [`VaultError`] where that cannot be told either.
    pub fn is_foreign(&self, home: Home) -> Result<bool, VaultError> {
        let (_, folder) = self.find(home)?;
        let open = std::fs::File::open(&folder).map_err(VaultError::io("open", &folder))?;
        match super::fscrypt::policy_of(&open) {
            Ok(policy) => Ok(policy.is_some() && self.erasure.is_none()),
            Err(error) if super::fscrypt::says_not_supported(&error) => Ok(false),
            Err(error) => Err(VaultError::io("look at", &folder)(error)),
        }
    }

    pub(in crate::vault) fn lease_of(
        &self,
        volume: &Volume,
        folder: &Path,
        id: RecordingId,
    ) -> Result<Lease, VaultError> {
        let Some(erasure) = &self.erasure else { return Ok(Lease::default()) };
        Ok(erasure.unlock(volume.path(), folder, id)?)
    }

    /// Where a file of a recording lies, whether it exists or not, for as long as it is lent.
    ///
    /// # Errors
    /// As [`lease`](Self::lease).
    pub fn lend(&self, home: impl Into<Home>, kind: FileKind) -> Result<Lent, VaultError> {
        let home = home.into();
        let lease = self.lease(home)?;
        Ok(Lent { path: self.file(home, kind)?, lease })
    }

    /// Makes the key of a recording that is about to get its folder.
    pub(in crate::vault) fn mint(&self, volume: &Path, id: RecordingId) -> Result<(), VaultError> {
        self.erasure.as_ref().map_or(Ok(()), |erasure| Ok(erasure.mint(volume, id)?))
    }

    /// Erases a recording's key; says whether it had one.
    pub(in crate::vault) fn erase_key(
        &self,
        volume: &Volume,
        folder: &Path,
        id: RecordingId,
    ) -> Result<bool, VaultError> {
        let Some(erasure) = &self.erasure else { return Ok(false) };
        Ok(erasure.erase(volume.path(), folder, id)?)
    }

    /// Keys that were erased a short while ago.
    #[must_use]
    pub fn erased_keys(&self) -> ErasedKeys {
        self.erasure.as_ref().map(|erasure| erasure.store.graves().clone()).unwrap_or_default()
    }

    /// How its epochs stand; nothing where recordings have no keys.
    #[must_use]
    pub fn epochs(&self) -> Option<Standing> {
        let store = &self.erasure.as_ref()?.store;
        let (began_at, is_unfinished) = store.standing();
        Some(Standing { began_at: began_at?, is_unfinished, destroyed: store.destroyed() })
    }

    /// Ends the current epoch and destroys it. Nothing where recordings have no keys.
    ///
    /// # Errors
    /// [`VaultError::Erasure`]; everything can still be read, and repeating it goes on.
    pub fn rotate_epoch(&self, now: Timestamp) -> Result<Option<Rotated>, VaultError> {
        self.of_store(|erasure, keys| erasure.store.rotate(keys, now))
    }

    /// Brings a rotation that was begun to its end.
    ///
    /// # Errors
    /// As [`rotate_epoch`](Self::rotate_epoch).
    pub fn finish_rotation(&self) -> Result<Option<Rotated>, VaultError> {
        self.of_store(|erasure, keys| erasure.store.finish(keys))
    }

    fn of_store(
        &self,
        act: impl FnOnce(&Erasure, &[PathBuf]) -> Result<Rotated, super::ErasureError>,
    ) -> Result<Option<Rotated>, VaultError> {
        let Some(erasure) = &self.erasure else { return Ok(None) };
        let keys =
            self.volume_paths().iter().map(|volume| volume.join(super::KEYS)).collect::<Vec<_>>();
        Ok(Some(act(erasure, &keys)?))
    }

    /// Where the volumes are that are there.
    fn volume_paths(&self) -> Vec<PathBuf> {
        self.there().map(|volume| volume.path().into()).collect()
    }
}
