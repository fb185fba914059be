//! Deleting: unlink, sync the folder; what is gone already is no error.

use std::io;
use std::path::Path;

use holdfast_core::push_order;
use holdfast_core::recording::FileKind;

use super::disk::Disk;
use super::{VaultError, file_name, manifest};

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Something was there, and is gone now.
    Deleted,
    /// There was nothing.
    AlreadyGone,
}

pub(super) fn delete(
    disk: &Disk,
    folder: &Path,
    kinds: &[FileKind],
    whole: bool,
) -> Result<Deletion, VaultError> {
    if !disk.has_folder(folder).map_err(VaultError::io("look at", folder))? {
        return Ok(Deletion::AlreadyGone);
    }
    let mut outcome = Deletion::AlreadyGone;
    // A whole folder goes with whatever an attempt left in it that the ledger never heard of.
    let kinds = if whole { &push_order::ORDER[..] } else { kinds };
    for kind in kinds {
        if unlink(disk, &folder.join(file_name(*kind)))? {
            outcome = Deletion::Deleted;
        }
    }
    if whole {
        // The manifest goes last: as long as it is there, the folder can be understood.
        remove_tree(disk, &folder.join(super::WORK))?;
        unlink(disk, &folder.join(manifest::NEW_NAME))?;
        sync_folder(disk, folder)?;
        unlink(disk, &folder.join(manifest::NAME))?;
        remove_folder(disk, folder)?;
        if let Some(parent) = folder.parent() {
            sync_folder(disk, parent)?;
        }
        return Ok(Deletion::Deleted);
    }
    sync_folder(disk, folder)?;
    Ok(outcome)
}

/// Removes a whole folder whose key was erased: nothing in it has a name any more that means something.
pub(super) fn delete_erased(disk: &Disk, folder: &Path) -> Result<Deletion, VaultError> {
    if !disk.has_folder(folder).map_err(VaultError::io("look at", folder))? {
        return Ok(Deletion::AlreadyGone);
    }
    remove_tree(disk, folder)?;
    if let Some(parent) = folder.parent() {
        sync_folder(disk, parent)?;
    }
    Ok(Deletion::Deleted)
}

fn sync_folder(disk: &Disk, path: &Path) -> Result<(), VaultError> {
    disk.sync_folder(path).map_err(VaultError::io("sync", path))
}

fn unlink(disk: &Disk, path: &Path) -> Result<bool, VaultError> {
    match disk.unlink(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(VaultError::io("delete", path)(error)),
    }
}

fn remove_folder(disk: &Disk, path: &Path) -> Result<(), VaultError> {
    match disk.remove_folder(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(VaultError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

pub(super) fn remove_tree(disk: &Disk, path: &Path) -> Result<(), VaultError> {
    match disk.remove_tree(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(VaultError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}
