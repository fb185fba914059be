//! Another volume key for a volume that is in use: libcryptsetup's online re-encryption.
//!
//! The new key gets its slots first, beside those of the old one and bound to no data yet
//! ([`Luks::add_next`]); a backup of that header knows both. Then each block is read with the old key
//! and written with the new, with checksums of what is under way in the header, so that a power cut
//! harms nothing: the next opening mends it, with a passphrase that opens both keys. With the last
//! block libcryptsetup destroys the old key's slots.

use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;

use libcryptsetup_rs::consts::flags::{CryptReencrypt, CryptVolumeKey};
use libcryptsetup_rs::consts::vals::{CryptReencryptDirectionInfo, CryptReencryptModeInfo};
use libcryptsetup_rs::{CryptParamsLuks2, CryptParamsReencrypt, Either, TokenInput};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Luks, SECTOR_BYTES, failed};
use crate::device;
use crate::error::Error;
use crate::keys::Secret;

/// What a header in the middle of it requires of who opens the volume. Older forms are not
/// authenticated: somebody could have put one there.
pub(super) const REQUIREMENT: &str = "online-reencrypt-v2";

/// Most that is under way at once: as long as it is, those who read or write it wait, and it lies in memory.
const HOTZONE_BYTES_MAX: u64 = 8 << 20;

/// When this is there, somebody waits for the volume.
static WANTED: OnceLock<PathBuf> = OnceLock::new();

/// How far a re-encryption is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Bytes that have the new key.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

impl Luks {
    /// How far a re-encryption is; `None` if there is none under way.
    ///
    /// # Errors
    /// If the header or device cannot be read.
    pub fn reencryption(&mut self) -> Result<Option<Progress>, Error> {
        let json = self.json()?;
        let requires = json["config"]["requirements"]["mandatory"].as_array();
        if !requires.is_some_and(|all| all.iter().any(|it| it == REQUIREMENT)) {
            return Ok(None);
        }
        let number = |it: &Value| it.as_str().and_then(|it| it.parse::<u64>().ok());
        let segments = json["segments"].as_object().into_iter().flat_map(|it| it.values());
        // The last one, with the old key, has the size "dynamic"; one that is being written, and
        // copies of what was and will be, have flags.
        let done = segments.filter(|it| it["flags"].is_null());
        let bytes_done = done.filter_map(|it| number(&it["size"])).sum();
        let begin = number(&json["segments"]["0"]["offset"]).unwrap_or_default();
        let bytes = device::bytes(&self.path).map_err(|e| Error::failed("asking for a size", e))?;
        let bytes_total = bytes.saturating_sub(begin);
        let bytes_done = if self.is_cut_at_end()? { bytes_total } else { bytes_done };
        Ok(Some(Progress { bytes_done, bytes_total }))
    }

    /// Gives a key a slot that holds the next volume key, and the purpose of the slot that it has.
    ///
    /// # Errors
    /// If there is no slot left, or the header cannot be written.
    pub fn add_next(
        &mut self,
        next: &Secret,
        key: &Secret,
        like: u32,
        is_first: bool,
    ) -> Result<u32, Error> {
        self.pin_slots()?;
        let mut flags = CryptVolumeKey::NO_SEGMENT;
        flags.set(CryptVolumeKey::DIGEST_REUSE, !is_first);
        let next = Some(Either::Left(next.bytes()));
        let added = self.crypt.keyslot_handle().add_by_key(None, next, key.bytes(), flags);
        let number = added.map_err(|e| failed(&self.path, "adding a key slot to", e))?;
        let like = json!([like.to_string()]);
        for (_, mut token) in self.tokens()?.into_iter().filter(|(_, it)| it["keyslots"] == like) {
            token["keyslots"] = json!([number.to_string()]);
            let set = self.crypt.token_handle().json_set(TokenInput::AddToken(&token));
            set.map_err(|e| failed(&self.path, "naming a key slot of", e))?;
        }
        Ok(number)
    }

    /// A new volume key, as long as the one that there is.
    ///
    /// # Errors
    /// If the kernel has no random numbers, or the header cannot be read.
    pub fn next_key(&mut self) -> Result<Secret, Error> {
        let mut bytes = self.room_for_key()?;
        getrandom::fill(&mut bytes).map_err(|e| Error::failed("asking for random numbers", e))?;
        Ok(Secret::copied(&bytes))
    }

    fn room_for_key(&mut self) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
        let bytes = usize::try_from(self.crypt.status_handle().get_volume_key_size());
        let bytes = bytes.map_err(|e| Error::failed(self.path.display().to_string(), e))?;
        Ok(zeroize::Zeroizing::new(vec![0; bytes]))
    }

    /// Whether all data has the new key, but the header does not say yet that it is over. What is left
    /// to do then is to destroy the old key's slots; libcryptsetup (2.6 as 2.8) does that before it says so,
    /// and a power cut in between leaves a header that no passphrase opens any more.
    ///
    /// # Errors
    /// If the header cannot be read.
    pub fn is_cut_at_end(&mut self) -> Result<bool, Error> {
        let json = self.json()?;
        let segments = json["segments"].as_object().into_iter().flatten();
        let flagged = |flag: &str| {
            let mut all = segments.clone();
            let is_it =
                |it: &Value| it["flags"].as_array().is_some_and(|it| it.contains(&json!(flag)));
            all.find(|(_, it)| is_it(it)).map(|(number, _)| json!(number))
        };
        let plain = segments.clone().filter(|(_, it)| it["flags"].is_null()).count();
        let Some(last) = flagged("backup-final").filter(|_| plain == 1) else { return Ok(false) };
        let mut digests = json["digests"].as_object().into_iter().flat_map(|it| it.values());
        let has = |it: &Value, segment: &Value| {
            it["segments"].as_array().is_some_and(|all| all.contains(segment))
        };
        let is_in_flight = flagged("in-reencryption").is_some();
        Ok(!is_in_flight && digests.any(|it| has(it, &json!("0")) && has(it, &last)))
    }

    /// What the volume key of the data is known by.
    ///
    /// # Errors
    /// If the header cannot be read.
    pub fn digest_of_data(&mut self) -> Result<Option<String>, Error> {
        let json = self.json()?;
        let mut digests = json["digests"].as_object().into_iter().flat_map(|it| it.values());
        let is_its =
            |it: &&Value| it["segments"].as_array().is_some_and(|all| all.contains(&json!("0")));
        Ok(digests.find(is_its).and_then(|it| it["digest"].as_str().map(str::to_owned)))
    }

    /// Of a header from before the first block: makes the next volume key the one of the data, and
    /// destroys the slots of the old one.
    ///
    /// # Errors
    /// If the key opens no next one, or the header cannot be written.
    pub fn take_next(&mut self, key: &Secret) -> Result<(), Error> {
        let slots = self.next_slots()?;
        let mut next = self.room_for_key()?;
        let mut handle = self.crypt.volume_key_handle();
        let opens = slots
            .into_iter()
            .find(|slot| handle.get(Some(*slot), &mut next, Some(key.bytes())).is_ok());
        let doing = || format!("ending the re-encryption of {}", self.path.display());
        opens.ok_or_else(|| Error::failed(doing(), "the key opens no next volume key"))?;
        self.pin_slots()?;
        let flags = CryptVolumeKey::SET | CryptVolumeKey::DIGEST_REUSE;
        let next = Some(Either::Left(&next[..]));
        let added = self.crypt.keyslot_handle().add_by_key(None, next, key.bytes(), flags);
        let more = added.map_err(|e| failed(&self.path, "taking the next volume key of", e))?;
        // What is bound to no data now is the old one. The slot that was just added is one too many.
        self.forget_next()?;
        self.remove_slot(more)
    }

    /// Removes the slots of next keys that nothing came of.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn forget_next(&mut self) -> Result<(), Error> {
        self.next_slots()?.into_iter().try_for_each(|slot| self.remove_slot(slot))
    }

    /// The slots with a volume key that no data has.
    fn next_slots(&mut self) -> Result<Vec<u32>, Error> {
        let json = self.json()?;
        let digests = json["digests"].as_object().into_iter().flat_map(|it| it.values());
        let unbound = digests.filter(|it| it["segments"].as_array().is_some_and(Vec::is_empty));
        let slots = unbound.flat_map(|it| it["keyslots"].as_array().into_iter().flatten());
        Ok(slots.filter_map(|it| it.as_str()?.parse().ok()).collect())
    }

    /// Begins to re-encrypt an open volume, from one slot's volume key to another's; the key has to open
    /// both. Nothing is written to the data yet.
    ///
    /// # Errors
    /// If libcryptsetup refuses.
    pub fn begin_reencryption(
        &mut self,
        mapped: &str,
        key: &Secret,
        from: u32,
        to: u32,
    ) -> Result<(), Error> {
        let sectors = CryptParamsLuks2 {
            pbkdf: None,
            integrity: None,
            integrity_params: None,
            data_alignment: 0,
            data_device: None,
            sector_size: SECTOR_BYTES,
            label: None,
            subsystem: None,
        };
        let params = params(Some(sectors), CryptReencrypt::INITIALIZE_ONLY);
        let cipher = self.cipher();
        let cipher = cipher.map_err(|e| Error::failed(self.path.display().to_string(), e))?;
        let mut handle = self.crypt.reencrypt_handle();
        let (name, cipher) = (Some(mapped), Some(cipher.parts()));
        let (from, to) = (Some(from), Some(to));
        let begun =
            handle.reencrypt_init_by_passphrase(name, key.bytes(), from, to, cipher, params);
        begun.map(drop).map_err(|e| failed(&self.path, "beginning to re-encrypt", e))
    }

    /// Goes on with it to the end, or until `wanted` is there.
    ///
    /// # Errors
    /// If libcryptsetup, the kernel or the disk fails.
    pub fn reencrypt(&mut self, mapped: &str, key: &Secret, wanted: PathBuf) -> Result<(), Error> {
        let _ = WANTED.set(wanted);
        let params = params(None, CryptReencrypt::RESUME_ONLY);
        let mut handle = self.crypt.reencrypt_handle();
        let ready = handle.reencrypt_init_by_passphrase(
            Some(mapped),
            key.bytes(),
            None,
            None,
            None,
            params,
        );
        ready
            .and_then(|_| handle.reencrypt2::<()>(Some(step), None))
            .map_err(|e| failed(&self.path, "re-encrypting", e))
    }
}

fn params(luks2: Option<CryptParamsLuks2>, flags: CryptReencrypt) -> CryptParamsReencrypt {
    CryptParamsReencrypt {
        mode: CryptReencryptModeInfo::Reencrypt,
        direction: CryptReencryptDirectionInfo::Forward,
        resilience: "checksum".to_owned(),
        hash: "sha256".to_owned(),
        data_shift: 0,
        max_hotzone_size: HOTZONE_BYTES_MAX / 512,
        device_size: 0,
        luks2,
        flags,
    }
}

/// Between two pieces. What is not 0 stops it there.
extern "C" fn step(_size: u64, _offset: u64, _: *mut c_void) -> c_int {
    c_int::from(WANTED.get().is_some_and(|it| it.exists()))
}
