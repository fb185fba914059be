//! LUKS2 headers: what is written, and what is accepted.
//!
//! Written: aes-xts-plain64 with 512 bits of key (and 256 more for HMAC-SHA256 with integrity), or on
//! processors without AES Adiantum with 256 ([`Cipher`]), sectors of 4096 bytes, argon2id with pinned
//! parameters ([`Kdf`]). Accepted: exactly that. A header lies on the disk in the open; one that names the null cipher or a segment in the clear
//! would open with any of our keys put into it, and have recordings written unencrypted.
//!
//! Each slot has a token that says what it is for; [`slots`] has their form.
//!
//! A `CryptDevice` is not `Send` and is made for each operation anew, which also reads the header
//! anew: reading mends the one of the two copies that is damaged.

pub mod cipher;
mod judge;
mod reencrypt;
mod said;
pub mod slots;
pub mod token;

use std::path::{Path, PathBuf};

use libcryptsetup_rs::consts::flags::{
    CryptActivate, CryptDeactivate, CryptPbkdf, CryptVolumeKey, CryptWipe,
};
use libcryptsetup_rs::consts::vals::{
    CryptKdf, CryptStatusInfo, CryptWipePattern, EncryptionFormat,
};
use libcryptsetup_rs::{
    CryptDevice, CryptInit, CryptParamsLuks2, CryptParamsLuks2Ref, CryptPbkdfType, Either,
    LibcryptErr,
};
use nix::errno::Errno;
use serde_json::Value;

use crate::children;
use crate::error::Error;
use crate::keys::Secret;

pub use cipher::{Choice, Cipher};
pub use judge::Description;
pub use reencrypt::Progress;

/// What key slots are sealed with.
const SLOTS: Cipher = Cipher::Aes;
const INTEGRITY: &str = "hmac(sha256)";
const INTEGRITY_KEY_BYTES: usize = 32;
/// Bytes of a sector.
pub const SECTOR_BYTES: u32 = 4096;
/// Bytes that are overwritten at once where integrity needs every sector written.
const WIPE_BYTES: usize = 1 << 20;
/// What each slot's key derivation costs. Pinned, because libcryptsetup would measure the machine
/// and take half of a small box's memory. It is a second wall only: every key that is put into a
/// slot has 256 bits of randomness.
#[derive(Debug, Clone, Copy)]
pub struct Kdf {
    /// Memory of argon2id, in KiB.
    pub memory_kib: u32,
}

impl Default for Kdf {
    fn default() -> Self {
        Self { memory_kib: 64 << 10 }
    }
}

/// How an opened volume treats its device.
#[derive(Debug, Clone, Copy)]
pub struct Treatment {
    /// Pass discards on.
    pub discards: bool,
    /// Use dm-crypt's work queues.
    pub workqueues: bool,
}

impl Treatment {
    fn flags(self) -> CryptActivate {
        let mut flags = CryptActivate::empty();
        flags.set(CryptActivate::ALLOW_DISCARDS, self.discards);
        let queues = CryptActivate::NO_READ_WORKQUEUE | CryptActivate::NO_WRITE_WORKQUEUE;
        flags.set(queues, !self.workqueues);
        flags
    }
}

/// The header of a device, or of a backup file.
pub struct Luks {
    crypt: CryptDevice,
    path: PathBuf,
    kdf: Kdf,
}

impl Luks {
    /// Reads a header. `None` where there is none at all, or one of LUKS1.
    ///
    /// # Errors
    /// [`Error::Header`] if there is one that makes no sense, nor does its copy.
    pub fn load(path: &Path, kdf: Kdf) -> Result<Option<Self>, Error> {
        if !judge::has_signature(path)? {
            return Ok(None);
        }
        let mut crypt = init(path)?;
        let loaded = crypt.context_handle().load::<()>(Some(EncryptionFormat::Luks2), None);
        loaded.map_err(|e| match errno(&e) {
            Some(Errno::EINVAL) => Error::Header {
                what: path.to_owned(),
                problem: format!(
                    "neither the LUKS2 header nor its copy can be read. {}\nNothing was changed. \
                     `holdfast-volume header restore` puts a backup back",
                    said::taken()
                ),
            },
            // The disk, or too little memory: nothing that a backup would mend.
            _ => failed(path, "reading the header of", e),
        })?;
        Ok(Some(Self { crypt, path: path.to_owned(), kdf }))
    }

    /// Writes a new header with a new volume key, and the first slot.
    ///
    /// # Errors
    /// If libcryptsetup refuses. What was on the device is lost then too.
    pub fn format(
        path: &Path,
        label: &str,
        (cipher, integrity): (Cipher, bool),
        kdf: Kdf,
        key: &Secret,
    ) -> Result<Self, Error> {
        let mut crypt = init(path)?;
        let params = CryptParamsLuks2 {
            pbkdf: Some(pbkdf(kdf)),
            integrity: integrity.then(|| INTEGRITY.to_owned()),
            integrity_params: None,
            data_alignment: 0,
            data_device: None,
            sector_size: SECTOR_BYTES,
            label: Some(label.to_owned()),
            subsystem: Some("holdfast".to_owned()),
        };
        let failed = |e| failed(path, "formatting", e);
        let mut params: CryptParamsLuks2Ref<'_> = (&params).try_into().map_err(failed)?;
        let bytes = cipher.key_bytes() + if integrity { INTEGRITY_KEY_BYTES } else { 0 };
        let mut context = crypt.context_handle();
        context
            .format(
                EncryptionFormat::Luks2,
                cipher.parts(),
                None,
                Either::Right(bytes),
                Some(&mut params),
            )
            .map_err(failed)?;
        let mut luks = Self { crypt, path: path.to_owned(), kdf };
        luks.pin_slots()?;
        let added = luks.crypt.keyslot_handle().add_by_key(
            None,
            None,
            key.bytes(),
            CryptVolumeKey::empty(),
        );
        added.map_err(failed)?;
        Ok(luks)
    }

    /// The device or file that it is on.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the header anew, after another program wrote it.
    ///
    /// # Errors
    /// If it cannot be read any more.
    pub fn reload(&mut self) -> Result<(), Error> {
        let vanished = || Error::failed(self.path.display().to_string(), "its header vanished");
        *self = Self::load(&self.path, self.kdf)?.ok_or_else(vanished)?;
        Ok(())
    }

    /// The header's JSON, as `cryptsetup luksDump --dump-json-metadata` shows it.
    ///
    /// # Errors
    /// If libcryptsetup refuses.
    pub fn json(&mut self) -> Result<Value, Error> {
        self.crypt.status_handle().dump_json().map_err(|e| failed(&self.path, "reading", e))
    }

    /// The header's UUID.
    ///
    /// # Errors
    /// If it has none.
    pub fn uuid(&mut self) -> Result<String, Error> {
        let uuid = self.crypt.status_handle().get_uuid();
        uuid.map(|it| it.to_string()).map_err(|e| failed(&self.path, "reading", e))
    }

    /// The slot that a key opens; the device is not opened.
    ///
    /// # Errors
    /// If libcryptsetup fails at anything but the key.
    pub fn slot_of(&mut self, key: &Secret) -> Result<Option<u32>, Error> {
        self.activate(None, key)
    }

    /// Opens the volume under this name, and says by which slot. `None` if the key opens none.
    ///
    /// # Errors
    /// If libcryptsetup fails at anything but the key.
    pub fn open(
        &mut self,
        mapped: &str,
        key: &Secret,
        treatment: Treatment,
    ) -> Result<Option<u32>, Error> {
        // What the header keeps of it is for other programs that open the volume.
        let mut handle = self.crypt.luks2_flag_handle::<CryptActivate>();
        let kept = handle.persistent_flags_get();
        let wanted = treatment.flags();
        if kept.is_ok_and(|kept| kept.bits() != wanted.bits()) {
            handle.persistent_flags_set(wanted).map_err(|e| failed(&self.path, "noting", e))?;
        }
        self.activate(Some(mapped), key)
    }

    fn activate(&mut self, mapped: Option<&str>, key: &Secret) -> Result<Option<u32>, Error> {
        // Two volumes that open at once must not need twice the memory.
        let flags = CryptActivate::SERIALIZE_MEMORY_HARD_PBKDF;
        let mut handle = self.crypt.activate_handle();
        match handle.activate_by_passphrase(mapped, None, key.bytes(), flags) {
            Ok(slot) => Ok(Some(slot)),
            Err(e) if matches!(errno(&e), Some(Errno::EPERM | Errno::ENOENT)) => {
                drop(said::taken());
                Ok(None)
            }
            Err(e) => Err(failed(&self.path, "opening", e)),
        }
    }

    /// Writes every sector once, as integrity needs it before anything can be read.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fill(&mut self, mapped: &Path) -> Result<(), Error> {
        let (zero, flags) = (CryptWipePattern::Zero, CryptWipe::empty());
        let mut handle = self.crypt.wipe_handle();
        let wiped = handle.wipe::<()>(mapped, zero, 0, 0, WIPE_BYTES, flags, None, None);
        wiped.map_err(|e| failed(&self.path, "writing every sector of", e))
    }

    /// Makes an open volume as large as its device is now. A key has to be had for it.
    ///
    /// # Errors
    /// If the key opens nothing, or the kernel refuses.
    pub fn grow(&mut self, mapped: &str, key: &Secret) -> Result<(), Error> {
        let mut handle = self.crypt.activate_handle();
        // Puts the volume key into the kernel's keyring, where the larger table finds it.
        handle
            .activate_by_passphrase(None, None, key.bytes(), CryptActivate::KEYRING_KEY)
            .map_err(|e| failed(&self.path, "growing", e))?;
        let grown = self.crypt.context_handle().resize(mapped, 0);
        grown.map_err(|e| failed(&self.path, "growing", e))
    }

    /// Puts the header into a new file.
    ///
    /// # Errors
    /// If the file is there already or cannot be written.
    pub fn back_up(&mut self, file: &Path) -> Result<(), Error> {
        let done = self.crypt.backup_handle().header_backup(Some(EncryptionFormat::Luks2), file);
        done.map_err(|e| failed(&self.path, "backing up the header of", e))
    }

    /// Has the next slot sealed with argon2id at its pinned cost and with AES, whatever the data has. With AES there,
    /// and with integrity, libcryptsetup takes it by itself, and takes no other word for it with integrity.
    fn pin_slots(&mut self) -> Result<(), Error> {
        let pinned = self.crypt.settings_handle().set_pbkdf_type(&pbkdf(self.kdf));
        pinned.map_err(|e| failed(&self.path, "setting up argon2id for", e))?;
        if self.cipher().is_ok_and(|cipher| cipher == SLOTS) {
            return Ok(());
        }
        let mut handle = self.crypt.keyslot_handle();
        let pinned = handle.set_encryption(SLOTS.as_str(), SLOTS.key_bytes());
        pinned.map_err(|e| failed(&self.path, "setting up AES for key slots of", e))
    }
}

/// Puts a backup's header onto a device, whatever is there.
///
/// # Errors
/// If libcryptsetup refuses.
pub fn restore(device: &Path, file: &Path) -> Result<(), Error> {
    let mut crypt = init(device)?;
    let done = crypt.backup_handle().header_restore(Some(EncryptionFormat::Luks2), file);
    done.map_err(|e| failed(device, "restoring the header of", e))
}

/// How an open volume is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Only if nobody uses it.
    Gently,
    /// Out of its folder at once, closed once nobody uses it any more: for a disk that vanished.
    Later,
    /// Every read and write fails from now on, what was not synced is lost: before erasing.
    AtOnce,
}

/// Closes an opened volume.
///
/// # Errors
/// `None` if it is in use; else why not.
pub fn close(mapped: &str, how: Closing) -> Result<(), Option<Error>> {
    let flags = match how {
        Closing::Gently => CryptDeactivate::empty(),
        Closing::Later | Closing::AtOnce => CryptDeactivate::DEFERRED,
    };
    if how == Closing::AtOnce {
        // Puts the error target in the place of the table, and with it the key out of the kernel.
        // libcryptsetup's own way of forcing stops at a mounted file system.
        children::run("dmsetup", ["wipe_table", "--nolockfs", "--noudevsync", mapped])?;
    }
    let path = Path::new("/dev/mapper").join(mapped);
    let name = CryptInit::init_by_name_and_header(mapped, None);
    let closed = name.and_then(|mut it| it.activate_handle().deactivate(mapped, flags));
    closed.map_err(|e| match errno(&e) {
        Some(Errno::EBUSY) => {
            drop(said::taken());
            None
        }
        _ => Some(failed(&path, "closing", e)),
    })?;
    // dm-integrity's device below it. With the table went what said that the volume lies on it.
    let integrity = format!("{mapped}_dif");
    if how == Closing::AtOnce && is_mapped(&integrity) {
        children::run("dmsetup", ["wipe_table", "--nolockfs", "--noudevsync", &integrity])?;
        children::run("dmsetup", ["remove", "--deferred", "--noudevsync", &integrity])?;
    }
    Ok(())
}

/// Whether the device mapper has a device of this name.
fn is_mapped(mapped: &str) -> bool {
    children::output("dmsetup", ["info", mapped]).is_ok_and(|it| it.status.success())
}

/// Whether a volume of this name is open.
#[must_use]
pub fn is_open(mapped: &str) -> bool {
    said::listen();
    let status = libcryptsetup_rs::status(None, mapped);
    matches!(status, Ok(CryptStatusInfo::Active | CryptStatusInfo::Busy))
}

fn init(path: &Path) -> Result<CryptDevice, Error> {
    said::listen();
    CryptInit::init(path).map_err(|e| failed(path, "reading", e))
}

fn pbkdf(kdf: Kdf) -> CryptPbkdfType {
    CryptPbkdfType {
        type_: CryptKdf::Argon2Id,
        hash: Some("sha256".to_owned()),
        time_ms: 0,
        iterations: 4,
        max_memory_kb: kdf.memory_kib,
        parallel_threads: 1,
        flags: CryptPbkdf::NO_BENCHMARK,
    }
}

fn errno(error: &LibcryptErr) -> Option<Errno> {
    match error {
        LibcryptErr::IOError(e) => e.raw_os_error().map(Errno::from_raw),
        _ => None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "every caller has it from a map_err")]
fn failed(path: &Path, doing: &str, error: LibcryptErr) -> Error {
    let said = said::taken();
    let why = if said.is_empty() { error.to_string() } else { format!("{said} ({error})") };
    Error::failed(format!("{doing} {}", path.display()), why)
}
