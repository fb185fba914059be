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
/// How many folders are asked for a mark that was lost.
const FOLDERS_READ_MAX: usize = 100;

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

/// The mark that a volume has lost, by what its recordings say; `None` where they say none, because
/// there are none, or an older node wrote them.
///
/// # Errors
/// A sentence, where there are recordings and none can be understood.
pub(super) fn lost(disk: &Disk, recordings: &Path) -> Result<Option<VolumeId>, String> {
    let told = |error: io::Error| format!("{}: {error}", recordings.display());
    let mut without = None;
    for name in disk.list(recordings).map_err(told)?.iter().take(FOLDERS_READ_MAX) {
        match manifest::read(disk, &recordings.join(name)) {
            Ok(recording) if recording.volume.is_some() => return Ok(recording.volume),
            Ok(_) => return Ok(None),
            Err(error) => without = Some(error),
        }
    }
    without.map_or(Ok(None), |error| {
        Err(format!("it has recordings and no {NAME}; put that back from a backup ({error})"))
    })
}

/// Marks a volume: with this id, or, where no node has used it before, with a new one.
pub(super) fn make(disk: &Disk, volume: &Path, id: Option<VolumeId>) -> io::Result<VolumeId> {
    let id = id.map_or_else(|| disk.random().map(VolumeId::new), Ok)?;
    let bytes = serde_json::to_vec(&Mark { volume: id }).map_err(io::Error::other)?;
    manifest::replace(disk, volume, NAME, NEW_NAME, &bytes).map_err(|error| match error {
        super::VaultError::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    })?;
    Ok(id)
}
