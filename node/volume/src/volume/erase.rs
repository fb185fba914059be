//! Making a volume unreadable for ever, and proving it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Volume;
use crate::config::Name;
use crate::device::Shown;
use crate::error::Error;
use crate::keys::{Found, SourceKind};
use crate::luks::slots::Slot;
use crate::luks::{Closing, Luks};
use crate::receipts::{self, Erased};
use crate::{backup, children, device, erasing, state};

/// What has to be said for the UUID of a header that cannot be read.
pub const UNKNOWN: &str = "unknown";
/// Bytes at the front of a volume that `Luks::format` gives to header and slots.
const HEADER_BYTES: u64 = 16 << 20;

/// Proof of an erasure, as far as this program can give it.
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// The volume's name.
    pub volume: Name,
    /// The UUID that was read from its header, now or when the erasure was begun.
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
    /// The header that is to be erased, if it can be read, and its UUID: read from this device, now or
    /// when its erasure was begun. No backup tells it, for that may be another disk's.
    ///
    /// # Errors
    /// If there is nothing to erase, or a backup has to be restored first.
    pub fn to_erase(&self, shown: &Shown) -> Result<(Option<Luks>, String), Error> {
        let begun = erasing::begun(self.config, self.name(), shown);
        let loaded = Luks::load(&shown.path, self.kdf());
        if let (Ok(None), Some(uuid), []) = (&loaded, &begun, shown.contents().as_slice()) {
            return Ok((None, uuid.clone()));
        }
        match (loaded, begun) {
            (Ok(Some(mut luks)), _) => {
                let uuid = luks.uuid()?;
                Ok((Some(luks), uuid))
            }
            (Err(Error::Header { .. }), Some(uuid)) => Ok((None, uuid)),
            (Err(Error::Header { what, problem }), None) => {
                let kept = backup::uuids(self.config, self.name()).join(", ");
                if kept.is_empty() {
                    // Slots that nobody finds can still be put together with an exported backup.
                    return Ok((None, UNKNOWN.to_owned()));
                }
                let problem = format!(
                    "{problem}. With that backup ({kept}) and its key the disk could be read even after \
                     an erasure: restore it, then erase"
                );
                Err(Error::Header { what, problem })
            }
            (Ok(None), _) => {
                if let Some(problem) = self.lost_header(&shown.path)? {
                    return Err(Error::Header { what: shown.path.clone(), problem });
                }
                Err(Error::Refused {
                    volume: self.name().to_string(),
                    device: shown.path.clone(),
                    problem: "has no LUKS2 header; there is nothing to erase".to_owned(),
                })
            }
            (Err(e), _) => Err(e),
        }
    }

    /// Destroys every key slot, proves it, overwrites the header, discards the device, destroys the
    /// kept header backups. Some seconds, however large the disk is. A volume that is open is
    /// closed at once: what is on it is lost either way. It can be repeated until
    /// [`erasing::end`] is told that the receipt is handed over.
    ///
    /// # Errors
    /// If the UUID is not the header's, the device not as it was shown, or something is left.
    pub fn erase(&self, uuid: &str, shown: &Shown) -> Result<Receipt, Error> {
        self.must_be_as(shown)?;
        let device = shown.path.clone();
        let (luks, has) = self.to_erase(shown)?;
        if has != uuid {
            return Err(Error::Refused {
                volume: self.name().to_string(),
                device,
                problem: format!("has the UUID {has}, not {uuid}. Nothing was changed"),
            });
        }
        if luks.is_some() {
            erasing::begin(self.config, self.name(), shown, uuid)?;
        }
        // Whatever cannot be done, the rest is: what is left is told at the end, without a receipt.
        let mut left = Vec::new();
        if let Err(e) = self.close(Closing::AtOnce) {
            left.push(e.to_string());
        }
        if !device::becomes_unused(&device) {
            left.push(format!("something still has {} mounted or mapped", device.display()));
        }
        let mut overwritten_bytes = HEADER_BYTES;
        let (mut slots_destroyed, mut keys_refused) = (Vec::new(), Vec::new());
        if let Some(mut luks) = luks {
            overwritten_bytes = luks.header_bytes()?;
            slots_destroyed = luks.slots()?;
            let sources = self.settings.keys.iter();
            let keys: Vec<_> =
                sources.filter_map(|it| Some((*it, self.fetch(*it, &mut luks).ok()?))).collect();
            for slot in luks.numbers_in_use()? {
                left.extend(luks.remove_slot(slot).err().map(|e| e.to_string()));
            }
            drop(luks);
            match self.must_have_no_key(&device, &keys) {
                Ok(refused) => keys_refused = refused,
                Err(e) => left.push(e.to_string()),
            }
        }
        let header_backups_destroyed = backup::destroy(self.config, self.name(), &has)
            .unwrap_or_else(|e| {
                left.push(e.to_string());
                0
            });
        left.extend(device::overwrite(&device, overwritten_bytes).err().map(|e| e.to_string()));
        match Luks::load(&device, self.kdf()) {
            Ok(None) => {}
            Ok(Some(_)) => left.push("a header is left".to_owned()),
            Err(e) => left.push(e.to_string()),
        }
        let erased_at = state::now();
        let discarded = children::run("blkdiscard", ["-f".as_ref(), device.as_os_str()]);
        if !left.is_empty() {
            let left = left.join("; ");
            return Err(Error::Left { volume: self.name().to_string(), left });
        }
        let receipt = Receipt {
            volume: self.name().clone(),
            uuid: has,
            erased_at,
            slots_destroyed,
            slots_left: 0,
            keys_refused,
            overwritten_bytes,
            header_backups_destroyed,
            discarded: discarded.map(drop).map_err(|e| e.to_string()),
            device,
        };
        // The volume is gone all the same, and whoever asked gets the receipt.
        if let Err(e) = receipts::keep(self.config, self.name(), &Erased::from(&receipt)) {
            eprintln!("volume {}: its receipt is not kept: {e}", self.name());
        }
        Ok(receipt)
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
        let slots = luks.numbers_in_use()?;
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
