//! Making a volume unreadable for ever, and proving it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Volume;
use crate::config::Name;
use crate::error::Error;
use crate::keys::{Found, SourceKind};
use crate::luks::slots::Slot;
use crate::luks::{Closing, Luks};
use crate::{backup, children, device, state};

/// What has to be said for the UUID of a header that cannot be read, and that no backup tells.
pub const UNKNOWN: &str = "unknown";
/// Bytes at the front of a volume that `Luks::format` gives to header and slots.
const HEADER_BYTES: u64 = 16 << 20;

/// Proof of an erasure, as far as this program can give it.
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// The volume's name.
    pub volume: Name,
    /// The UUID its header had.
    pub uuid: String,
    /// The device it was on.
    pub device: PathBuf,
    /// When its key slots and header were gone.
    pub erased_at: jiff::Timestamp,
    /// The slots that were destroyed; none where the header could not be read any more.
    pub slots_destroyed: Vec<Slot>,
    /// Slots found in use afterwards: always 0, or there is no receipt.
    pub slots_left: usize,
    /// Keys that were tried afterwards and opened nothing, by where they came from.
    pub keys_refused: Vec<String>,
    /// Bytes at the front that were overwritten.
    pub overwritten_bytes: u64,
    /// Kept header backups that were overwritten and removed.
    pub header_backups_destroyed: usize,
    /// Whether the device took a discard of all its blocks; if not, why.
    pub discarded: Result<(), String>,
}

impl Volume<'_> {
    /// Destroys every key slot, proves it, overwrites the header, discards the device, destroys the
    /// kept header backups. Some seconds, however large the disk is. A volume that is open is
    /// closed at once: what is on it is lost either way.
    ///
    /// # Errors
    /// If the UUID is not the header's, or something is left.
    pub fn erase(&self, uuid: &str) -> Result<Receipt, Error> {
        let device = self.device()?;
        let refused = |problem: String| Error::Refused {
            volume: self.name().to_string(),
            device: device.clone(),
            problem,
        };
        let known = self.known_uuid()?;
        let luks = match Luks::load(&device, self.kdf()) {
            // Slots that nobody finds can still be put together with a header backup.
            Err(Error::Header { .. }) => None,
            Ok(None) if known.is_some() && device::contents(&device)?.is_empty() => None,
            Ok(None) => {
                return Err(refused("has no LUKS2 header; there is nothing to erase".to_owned()));
            }
            other => other?,
        };
        let has = known.unwrap_or_else(|| UNKNOWN.to_owned());
        if has != uuid {
            return Err(refused(format!("has the UUID {has}, not {uuid}. Nothing was changed")));
        }
        self.close(Closing::AtOnce)?;
        let mut overwritten_bytes = HEADER_BYTES;
        let (mut slots_destroyed, mut keys_refused) = (Vec::new(), Vec::new());
        if let Some(mut luks) = luks {
            overwritten_bytes = luks.header_bytes()?;
            slots_destroyed = luks.slots()?;
            let (keys, _) = self.keys(&luks.tokens()?);
            for slot in luks.numbers_in_use() {
                luks.remove_slot(slot)?;
            }
            drop(luks);
            keys_refused = self.must_have_no_key(&device, &keys)?;
        }
        let of = Some(has.as_str()).filter(|it| *it != UNKNOWN);
        let header_backups_destroyed = backup::destroy(self.config, self.name(), of)?;
        device::overwrite(&device, overwritten_bytes)?;
        if !matches!(Luks::load(&device, self.kdf()), Ok(None)) {
            let left = "a header is left".to_owned();
            return Err(Error::Left { volume: self.name().to_string(), left });
        }
        let erased_at = state::now();
        Ok(Receipt {
            volume: self.name().clone(),
            uuid: has,
            erased_at,
            slots_destroyed,
            slots_left: 0,
            keys_refused,
            overwritten_bytes,
            header_backups_destroyed,
            discarded: children::run("blkdiscard", ["-f".as_ref(), device.as_os_str()])
                .map(drop)
                .map_err(|e| e.to_string()),
            device,
        })
    }

    /// Reads the header anew: no slot is left, and what opened it opens it no more.
    fn must_have_no_key(
        &self,
        device: &Path,
        keys: &[(SourceKind, Found)],
    ) -> Result<Vec<String>, Error> {
        let left = |left: String| Error::Left { volume: self.name().to_string(), left };
        let luks = Luks::load(device, self.kdf())?;
        let mut luks = luks.ok_or_else(|| left("its header vanished".to_owned()))?;
        let slots = luks.numbers_in_use();
        if !slots.is_empty() {
            return Err(left(format!("key slots {slots:?}")));
        }
        let mut refused = Vec::new();
        for (kind, found) in keys {
            for key in found.each() {
                if luks.slot_of(key)?.is_some() {
                    return Err(left(format!("the key of {} opens it", kind.as_str())));
                }
                refused.push(kind.as_str().to_owned());
            }
        }
        Ok(refused)
    }
}
