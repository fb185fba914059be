//! The manifest in a recording's folder: its ledger entry as JSON, replaced as a whole.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use holdfast_core::Recording;

use super::{VaultError, rename, sync_folder};

pub(super) const NAME: &str = "manifest.json";
pub(super) const NEW_NAME: &str = "manifest.json.new";
const BYTES_MAX: u64 = 256 << 10;

pub(super) fn write(folder: &Path, recording: &Recording) -> Result<(), VaultError> {
    let path = folder.join(NAME);
    let new = folder.join(NEW_NAME);
    let bytes = serde_json::to_vec(recording)
        .map_err(|error| VaultError::Manifest { path: path.clone(), reason: error.to_string() })?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(VaultError::io("make", &new))?;
    file.write_all(&bytes).map_err(VaultError::io("write", &new))?;
    file.sync_all().map_err(VaultError::io("sync", &new))?;
    rename(&new, &path)?;
    sync_folder(folder)
}

pub(super) fn read(folder: &Path) -> Result<Recording, VaultError> {
    let path = folder.join(NAME);
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes))
        .map_err(VaultError::io("read", &path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| VaultError::Manifest { path, reason: error.to_string() })
}
