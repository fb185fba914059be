//! The mark on a volume: `{volume}/volume.json`, `{"volume":"…"}`, which says which volume it is,
//! whatever it is called and wherever it is mounted. It is written once and never changed.

use std::io;
use std::path::Path;

use holdfast_core::names::VolumeId;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, For};
use super::manifest;
use crate::digest;

pub(super) const NAME: &str = "volume.json";
const NEW_NAME: &str = "volume.json.new";
const BYTES_MAX: u64 = 4 << 10;

#[derive(Serialize, Deserialize)]
struct Mark {
    volume: VolumeId,
}

/// What a volume is marked as, from the disk itself, not from what the kernel remembers of it. `None`
/// where it has no mark.
pub(super) fn read(disk: &Disk, volume: &Path) -> io::Result<Option<VolumeId>> {
    let read = disk.open(&volume.join(NAME), For::Reading).and_then(|file| {
        file.forget_cached()?;
        digest::read_start(&file, BYTES_MAX)
    });
    match read {
        Ok(bytes) => {
            let mark: Mark = serde_json::from_slice(&bytes).map_err(|error| {
                let said = format!("{NAME} is damaged ({error}); put it back from a backup");
                io::Error::other(said)
            })?;
            Ok(Some(mark.volume))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Marks a volume that no node has used before.
pub(super) fn make(disk: &Disk, volume: &Path) -> io::Result<VolumeId> {
    let id = VolumeId::new(disk.random()?);
    let bytes = serde_json::to_vec(&Mark { volume: id }).map_err(io::Error::other)?;
    manifest::replace(disk, volume, NAME, NEW_NAME, &bytes).map_err(|error| match error {
        super::VaultError::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    })?;
    Ok(id)
}
