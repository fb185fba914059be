//! Deleting: unlink, sync the folder; what is gone already is no error.

use std::io;
use std::path::Path;

use holdfast_core::push_order;
use holdfast_core::recording::FileKind;

use super::{VaultError, file_name, manifest, sync_folder};

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Something was there, and is gone now.
    Deleted,
    /// There was nothing.
    AlreadyGone,
}

pub(super) fn delete(
    folder: &Path,
    kinds: &[FileKind],
    whole: bool,
) -> Result<Deletion, VaultError> {
    if !folder.is_dir() {
        return Ok(Deletion::AlreadyGone);
    }
    let mut outcome = Deletion::AlreadyGone;
    // A whole folder goes with whatever an attempt left in it that the ledger never heard of.
    let kinds = if whole { &push_order::ORDER[..] } else { kinds };
    for kind in kinds {
        if unlink(&folder.join(file_name(*kind)))? {
            outcome = Deletion::Deleted;
        }
    }
    if whole {
        // The manifest goes last: as long as it is there, the folder can be understood.
        remove_tree(&folder.join(super::WORK))?;
        unlink(&folder.join(manifest::NEW_NAME))?;
        sync_folder(folder)?;
        unlink(&folder.join(manifest::NAME))?;
        remove_folder(folder)?;
        if let Some(parent) = folder.parent() {
            sync_folder(parent)?;
        }
        return Ok(Deletion::Deleted);
    }
    sync_folder(folder)?;
    Ok(outcome)
}

#[expect(clippy::disallowed_methods, reason = "this is the vault")]
fn unlink(path: &Path) -> Result<bool, VaultError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(VaultError::io("delete", path)(error)),
    }
}

fn remove_folder(path: &Path) -> Result<(), VaultError> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(VaultError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the vault")]
pub(super) fn remove_tree(path: &Path) -> Result<(), VaultError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(VaultError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}
