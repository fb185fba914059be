//! The manifest in a recording's folder: its ledger entry as JSON, replaced as a whole.

use std::path::Path;

use holdfast_core::Recording;

use super::VaultError;
use super::disk::{Disk, For};
use crate::digest;

pub(super) const NAME: &str = "manifest.json";
pub(super) const NEW_NAME: &str = "manifest.json.new";
const BYTES_MAX: u64 = 256 << 10;

pub(super) fn write(disk: &Disk, folder: &Path, recording: &Recording) -> Result<(), VaultError> {
    let path = folder.join(NAME);
    let bytes = recording
        .to_json()
        .map_err(|error| VaultError::Manifest { path: path.clone(), reason: error.to_string() })?;
    replace(disk, folder, NAME, NEW_NAME, &bytes)
}

/// Writes a file beside the one it is to replace, then gives it its name, durably.
pub(super) fn replace(
    disk: &Disk,
    folder: &Path,
    name: &str,
    new_name: &str,
    bytes: &[u8],
) -> Result<(), VaultError> {
    let (path, new) = (folder.join(name), folder.join(new_name));
    let file = disk.open(&new, For::Anew).map_err(VaultError::io("make", &new))?;
    file.write_all_at(bytes, 0).map_err(VaultError::io("write", &new))?;
    file.sync().map_err(VaultError::io("sync", &new))?;
    disk.rename(&new, &path).map_err(VaultError::io("rename", &new))?;
    disk.sync_folder(folder).map_err(VaultError::io("sync", folder))
}

pub(super) fn read(disk: &Disk, folder: &Path) -> Result<Recording, VaultError> {
    let path = folder.join(NAME);
    let bytes = disk
        .open(&path, For::Reading)
        .and_then(|file| digest::read_start(&file, BYTES_MAX))
        .map_err(VaultError::io("read", &path))?;
    Recording::from_json(&bytes)
        .map_err(|error| VaultError::Manifest { path, reason: error.to_string() })
}
