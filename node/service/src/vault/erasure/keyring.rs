//! The keys that the kernel has: added when a recording is used, removed when it is deleted or when
//! others need their places.
//!
//! A user may add so many keys only (`kernel.keys.maxkeys`). So the least recently used goes when
//! there are more than half of them; never one that is lent, since without its key nothing new can be
//! opened in a recording's folder. What is open already goes on without.
//!
//! Without its key, names in a folder are others than they were: a file that is there seems not to be.
//! So nothing may be looked for in a folder before [`Keyring::unlock`] has answered.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_core::RecordingId;

use super::error::ErasureError;
use super::fscrypt::{self, Identifier, MasterKey, Removal};

/// Fewest and most keys that are held.
const HELD_MIN: usize = 16;
const HELD_MAX: usize = 16_384;
/// Least memory of the quota that one of them takes, in bytes: its description.
const QUOTA_BYTES: usize = 64;

/// Keeps a recording's key in the kernel for as long as it lives.
#[derive(Debug, Clone, Default)]
pub struct Lease(#[expect(dead_code, reason = "it is counted")] Option<Arc<()>>);

/// The keys that the kernel has from this node.
#[derive(Debug)]
pub(super) struct Keyring {
    held: Mutex<Held>,
    /// Adding and removing, one at a time: removing waits for the disk.
    changing: Mutex<()>,
    held_max: usize,
}

#[derive(Debug, Default)]
struct Held {
    keys: HashMap<RecordingId, Added>,
    uses: u64,
}

#[derive(Debug)]
struct Added {
    identifier: Identifier,
    /// The folder that is encrypted with it.
    folder: PathBuf,
    used: u64,
    lent: Arc<()>,
}

impl Keyring {
    pub(super) fn new() -> Self {
        Self::with_most(held_max())
    }

    fn with_most(held_max: usize) -> Self {
        Self { held: Mutex::default(), changing: Mutex::default(), held_max }
    }

    pub(super) fn held_max(&self) -> usize {
        self.held_max
    }

    /// Sees to it that the kernel has the key of a recording's folder, which `key` knows if it does not.
    pub(super) fn unlock(
        &self,
        folder: &Path,
        id: RecordingId,
        key: impl FnOnce(&File) -> Result<Option<MasterKey>, ErasureError>,
    ) -> Result<Lease, ErasureError> {
        let open = match File::open(folder) {
            // Whoever wants something in it will be told.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lease::default()),
            open => open.map_err(ErasureError::io("open", folder))?,
        };
        if let Some(lease) = self.held(&open, folder, id)? {
            return Ok(lease);
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = self.held(&open, folder, id)? {
            return Ok(lease);
        }
        let Some(key) = key(&open)? else { return Ok(Lease::default()) };
        while self.lock().keys.len() >= self.held_max && self.remove_least_used()? {}
        let identifier = self.add(&open, folder, &key)?;
        let policy = |source| ErasureError::Policy { path: folder.into(), source };
        fscrypt::set_policy(&open, identifier).map_err(policy)?;
        let lent = Arc::new(());
        let mut held = self.lock();
        held.uses += 1;
        let (folder, used) = (folder.into(), held.uses);
        held.keys.insert(id, Added { identifier, folder, used, lent: Arc::clone(&lent) });
        Ok(Lease(Some(lent)))
    }

    /// Takes a recording's key from the kernel, also one that an earlier life of the node added; says
    /// whether its folder is encrypted.
    pub(super) fn forget(&self, folder: &Path, id: RecordingId) -> Result<bool, ErasureError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let added = self.lock().keys.remove(&id).map(|added| added.identifier);
        let identifier = match File::open(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => added,
            open => {
                let open = open.map_err(ErasureError::io("open", folder))?;
                match fscrypt::policy_of(&open) {
                    Err(error) if fscrypt::says_not_supported(&error) => None,
                    policy => policy.map_err(ErasureError::io("look at", folder))?.or(added),
                }
            }
        };
        let Some(identifier) = identifier else { return Ok(false) };
        match remove(folder, identifier)? {
            Removal::Gone | Removal::Absent => {}
            Removal::FilesBusy => {
                tracing::info!(recording = %id, "its key is gone; what is open can be read until it is closed");
            }
            Removal::OtherUsers => {
                tracing::warn!(recording = %id, "another user has given the kernel its key: it stays in memory until the volume is closed");
            }
        }
        Ok(true)
    }

    /// A key that is held, and that the kernel has indeed: it forgets them when a volume is closed.
    fn held(
        &self,
        open: &File,
        folder: &Path,
        id: RecordingId,
    ) -> Result<Option<Lease>, ErasureError> {
        let found = {
            let mut held = self.lock();
            held.uses += 1;
            let used = held.uses;
            held.keys.get_mut(&id).map(|added| {
                added.used = used;
                (added.identifier, Arc::clone(&added.lent))
            })
        };
        let Some((identifier, lent)) = found else { return Ok(None) };
        let has = fscrypt::has_key(open, identifier);
        Ok(has.map_err(ErasureError::io("look at", folder))?.then_some(Lease(Some(lent))))
    }

    fn add(&self, open: &File, folder: &Path, key: &MasterKey) -> Result<Identifier, ErasureError> {
        loop {
            match fscrypt::add_key(open, key) {
                Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                    if !self.remove_least_used()? {
                        return Err(ErasureError::Quota { held: self.lock().keys.len() });
                    }
                }
                added => {
                    return added.map_err(ErasureError::io("give the kernel the key of", folder));
                }
            }
        }
    }

    /// Removes the key that was not used for longest, if there is one that is not lent.
    fn remove_least_used(&self) -> Result<bool, ErasureError> {
        let mut held = self.lock();
        let free = held.keys.iter().filter(|(_, added)| Arc::strong_count(&added.lent) == 1);
        let Some(id) = free.min_by_key(|(_, added)| added.used).map(|(id, _)| *id) else {
            return Ok(false);
        };
        let Some(Added { identifier, folder, .. }) = held.keys.remove(&id) else {
            return Ok(false);
        };
        drop(held);
        remove(&folder, identifier)?;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        // A command that ends must not leave keys behind that only its user can remove.
        while matches!(self.remove_least_used(), Ok(true)) {}
    }
}

/// Has the kernel forget the key of a folder. The folder may be gone: the one above it does as well.
fn remove(folder: &Path, identifier: Identifier) -> Result<Removal, ErasureError> {
    let above = folder.parent().unwrap_or(folder);
    let failed = ErasureError::io("take the key from the kernel of", folder);
    match File::open(above) {
        // With its volume the kernel has forgotten it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removal::Absent),
        open => open.and_then(|open| fscrypt::remove_key(&open, identifier)).map_err(failed),
    }
}

/// Half of what this user may add; the rest is for others.
fn held_max() -> usize {
    let root = if nix::unistd::geteuid().is_root() { "root_" } else { "" };
    let limit = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/keys/{root}{name}")).ok()?;
        text.trim().parse::<usize>().ok()
    };
    let keys = limit("maxkeys").unwrap_or(0).min(limit("maxbytes").unwrap_or(0) / QUOTA_BYTES);
    (keys / 2).clamp(HELD_MIN, HELD_MAX)
}
