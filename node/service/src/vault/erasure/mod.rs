//! A key for each recording, so that deleting it makes its bytes unreadable, wherever they still lie.
//!
//! ```text
//! {volume}/recordings/{id}/   encrypted by the file system with the recording's own key
//! {volume}/keys/{id}          that key, wrapped under the current epoch's (format: wrapped.rs)
//! {volume}/keys/volume        the volume's name (known.rs)
//! {state}/erasure/epochs      the keys of epochs (epochs.rs)
//! {state}/erasure/volumes/    names of volumes that have keys
//! ```
//!
//! Deleting overwrites the wrapped key. Some time later the epoch ends: all other keys are wrapped anew
//! under the next one's, and the old one's is overwritten, away from the volumes. From then on not even
//! who has an image of the volume from before the deletion can read it. What that is worth against
//! whom: `docs/security/erasure.md`.
//!
//! Invariant: nothing is looked for in a recording's folder before its key is in the kernel; without it
//! files that are there seem not to be.

mod epochs;
mod error;
mod fscrypt;
mod ground;
mod keyring;
mod known;
mod of_vault;
mod split;
mod store;
mod wrapped;

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_core::RecordingId;
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs;

pub use error::ErasureError;
use keyring::Keyring;
pub use keyring::Lease;
pub use of_vault::{Lent, Standing};
pub use store::{ErasedKeys, Rotated};
use store::{Found, Store};

use crate::held::once_let_go;

const KEYS: &str = "keys";
const STATE: &str = "erasure";

/// How a vault's recordings are erased.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// Whether new recordings get keys. Those that have some keep them in any case.
    pub makes_keys: bool,
    /// The node's state folder.
    pub state_path: &'a Path,
    /// The time.
    pub now: Timestamp,
}

/// The keys of a vault's recordings.
#[derive(Debug)]
pub(super) struct Erasure {
    store: Store,
    keyring: Keyring,
    makes_keys: bool,
    state_path: PathBuf,
    /// Nobody else changes keys, or takes them out of the kernel, while this lives.
    _alone: Flock<File>,
}

impl Erasure {
    /// Opens the keys of these volumes; nothing where there are none and none are to be made. More
    /// volumes may come, and these may go.
    pub(super) fn open(
        means: &Means<'_>,
        volumes: &[PathBuf],
    ) -> Result<Option<Self>, ErasureError> {
        let state = means.state_path.join(STATE);
        let keys: Vec<PathBuf> = volumes.iter().map(|volume| volume.join(KEYS)).collect();
        if means.makes_keys {
            is_overwritten(means.state_path)?;
            for volume in volumes {
                is_fit(volume, means.state_path)?;
            }
        } else if !state.exists() && !keys.iter().any(|keys| keys.exists()) {
            return Ok(None);
        }
        let alone = alone(&state)?;
        let store = Store::open(Arc::new(ground::Machine), &state, &keys, means.now)?;
        let (keyring, state_path) = (Keyring::new(), means.state_path.into());
        let erasure =
            Self { store, keyring, makes_keys: means.makes_keys, state_path, _alone: alone };
        // What an earlier life of the node added counts against it, and would stay for ever.
        erasure
            .store
            .each(&keys, |keys, id| erasure.keyring.forget(&folder_of(keys, id), id).map(drop))?;
        tracing::info!(
            keys_max = erasure.keyring.held_max(),
            "recordings are encrypted, each with a key of its own"
        );
        Ok(Some(erasure))
    }

    /// Makes the key of a recording that is about to get its folder on this volume, which may be one
    /// that was never there before.
    pub(super) fn mint(&self, volume: &Path, id: RecordingId) -> Result<(), ErasureError> {
        if !self.makes_keys {
            return Ok(());
        }
        is_fit(volume, &self.state_path)?;
        self.store.mint(&volume.join(KEYS), id)
    }

    /// Sees to it that a recording's folder can be read and written for as long as the lease lives.
    pub(super) fn unlock(
        &self,
        volume: &Path,
        folder: &Path,
        id: RecordingId,
    ) -> Result<Lease, ErasureError> {
        let keys = volume.join(KEYS);
        let no_key = |problem| ErasureError::NoKey { id, path: store::path_of(&keys, id), problem };
        self.keyring.unlock(folder, id, |open| match self.store.find(&keys, id)? {
            Found::Key(key) => Ok(Some(key)),
            Found::Grave => Err(ErasureError::Erased { id }),
            Found::Unusable => Err(no_key("opens under no epoch that there is")),
            Found::Nothing => {
                let policy = fscrypt::policy_of(open);
                match policy.map_err(ErasureError::io("look at", folder)) {
                    // Made while recordings got no keys.
                    Ok(None) => Ok(None),
                    Ok(Some(_)) => Err(no_key("is not there")),
                    Err(error) => plain_or(error),
                }
            }
        })
    }

    /// Erases a recording's key, on its volume and in the kernel; says whether it had one. Repeating it
    /// is harmless.
    pub(super) fn erase(
        &self,
        volume: &Path,
        folder: &Path,
        id: RecordingId,
    ) -> Result<bool, ErasureError> {
        let had_one = self.store.erase(&volume.join(KEYS), id)?;
        Ok(self.keyring.forget(folder, id)? || had_one)
    }
}

fn alone(state: &Path) -> Result<Flock<File>, ErasureError> {
    let path = state.join("lock");
    let opened = || {
        std::fs::create_dir_all(state)?;
        File::options().create(true).append(true).open(&path)
    };
    let lock = || {
        let file = opened().map_err(ErasureError::io("open", &path))?;
        let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        locked.map_err(|_| ErasureError::InUse { path: path.clone() })
    };
    once_let_go(lock, |error| matches!(error, ErasureError::InUse { .. }))
}

/// A file system that cannot encrypt has plain folders.
fn plain_or<T>(error: ErasureError) -> Result<Option<T>, ErasureError> {
    match &error {
        ErasureError::Io { source, .. } if fscrypt::says_not_supported(source) => Ok(None),
        _ => Err(error),
    }
}

fn folder_of(keys: &Path, id: RecordingId) -> PathBuf {
    keys.with_file_name(super::RECORDINGS).join(id.to_string())
}

/// Whether a volume can encrypt, and is not where the keys of epochs lie.
fn is_fit(volume: &Path, state_path: &Path) -> Result<(), ErasureError> {
    let open = File::open(volume).map_err(ErasureError::io("open", volume))?;
    let supported = fscrypt::is_supported(&open);
    if !supported.map_err(ErasureError::io("look at", volume))? {
        return Err(ErasureError::NotSupported { path: volume.into() });
    }
    let device = |path: &Path| -> io::Result<u64> { Ok(std::fs::metadata(path)?.dev()) };
    let state = device(state_path).map_err(ErasureError::io("look at", state_path))?;
    if device(volume).map_err(ErasureError::io("look at", volume))? == state {
        return Err(ErasureError::SameDisk {
            state_path: state_path.into(),
            volume: volume.into(),
        });
    }
    Ok(())
}

/// Whether the file system of the state folder overwrites files where they are.
fn is_overwritten(state_path: &Path) -> Result<(), ErasureError> {
    let io = |error: nix::Error| ErasureError::io("look at", state_path)(error.into());
    let kind = statfs::statfs(state_path).map_err(io)?.filesystem_type();
    if [statfs::EXT4_SUPER_MAGIC, statfs::XFS_SUPER_MAGIC].contains(&kind) {
        return Ok(());
    }
    Err(ErasureError::NotOverwritten { path: state_path.into(), kind: format!("{:#x}", kind.0) })
}

#[cfg(test)]
mod tests;
