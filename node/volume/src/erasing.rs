//! What says that an erasure was begun: `NAME.UUID.erasing` beside the header backups.
//!
//! In the middle of it a device shows nothing any more, and cannot be told from another, blank one in
//! its bay. The note is made while its header can still be read, and names the partition. It is
//! removed once the receipt was handed over, so that a power cut before that costs no receipt.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backup;
use crate::config::{Config, Name};
use crate::device::Shown;
use crate::error::Error;
use crate::state;

/// Ending of the notes.
const ENDING: &str = "erasing";

/// An erasure that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    /// The UUID that the header had.
    uuid: String,
    /// The UUID of the partition; empty where the disk has none.
    partition: String,
    /// Size of the device, in bytes.
    bytes: u64,
}

impl Begun {
    fn of(shown: &Shown, uuid: &str) -> Self {
        Self { uuid: uuid.to_owned(), partition: shown.partition.clone(), bytes: shown.bytes }
    }
}

fn path(config: &Config, name: &Name, uuid: &str) -> PathBuf {
    backup::path(config, name, uuid).with_extension(ENDING)
}

/// Notes that the erasure of a device begins, whose header has this UUID.
///
/// # Errors
/// If it cannot be noted durably.
pub fn begin(config: &Config, name: &Name, shown: &Shown, uuid: &str) -> Result<(), Error> {
    state::folder(&config.header_backups)?;
    let path = path(config, name, uuid);
    let failed = |e: std::io::Error| Error::failed(format!("writing {}", path.display()), e);
    let json = serde_json::to_vec(&Begun::of(shown, uuid)).map_err(|e| failed(e.into()))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let written = options.open(&path).and_then(|mut file| {
        file.write_all(&json)?;
        file.sync_all()
    });
    written.and_then(|()| backup::sync(&config.header_backups)).map_err(failed)
}

/// The UUID that a device had whose erasure was begun and not ended, if this is that device.
#[must_use]
pub fn begun(config: &Config, name: &Name, shown: &Shown) -> Option<String> {
    let uuids = backup::named(config, name, &[ENDING]).into_iter();
    uuids.map(|(_, uuid)| uuid).find(|uuid| {
        let noted = fs::read(path(config, name, uuid)).ok();
        let noted = noted.and_then(|json| serde_json::from_slice::<Begun>(&json).ok());
        noted == Some(Begun::of(shown, uuid))
    })
}

/// Forgets an erasure: its receipt is handed over, or the device is made anew.
pub fn end(config: &Config, name: &Name, uuid: &str) {
    state::remove(&path(config, name, uuid));
}
