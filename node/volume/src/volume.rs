//! What can be done to one volume. Each step can be repeated: after a power cut the same verb goes
//! on where it was, or begins again.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Config, Name, VolumeSettings};
use crate::error::Error;
use crate::keys::{Asked, Found, Purpose, RecoveryKey, Secret, SourceKind};
use crate::luks::slots::Slot;
use crate::luks::{Kdf, Luks, Treatment};
use crate::{backup, children, device, filesystem, luks, state};

/// A volume that the configuration names.
#[derive(Debug)]
pub struct Volume<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The volume's part of it.
    pub settings: &'a VolumeSettings,
}

/// Proof of an erasure, as far as this program can give it.
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// The volume's name.
    pub volume: Name,
    /// The UUID its header had.
    pub uuid: String,
    /// The device it was on.
    pub device: PathBuf,
    /// When its last key slot was gone.
    pub erased_at: jiff::Timestamp,
    /// The slots that were destroyed.
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

/// The uid and gid that volumes belong to.
///
/// # Errors
/// If the configured user does not exist.
pub fn owner(config: &Config) -> Result<(u32, u32), Error> {
    let name = &config.service_user;
    match nix::unistd::User::from_name(name) {
        Ok(Some(user)) => Ok((user.uid.as_raw(), user.gid.as_raw())),
        _ => Err(Error::Config(format!("service_user: there is no user {name:?}"))),
    }
}

impl<'a> Volume<'a> {
    /// A volume of a configuration.
    #[must_use]
    pub const fn new(config: &'a Config, settings: &'a VolumeSettings) -> Self {
        Self { config, settings }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.settings.name
    }

    /// The key derivation of new slots.
    #[must_use]
    pub fn kdf(&self) -> Kdf {
        let testing = self.config.testing;
        testing.map_or_else(Kdf::default, |it| Kdf { memory_kib: it.kdf_memory_kib })
    }

    /// Where it appears when it is open.
    #[must_use]
    pub fn mapped(&self) -> PathBuf {
        Path::new("/dev/mapper").join(self.name().mapped())
    }

    /// Whether it is open, mounted or not.
    #[must_use]
    pub fn is_open(&self) -> bool {
        luks::is_open(&self.name().mapped())
    }

    /// Its block device.
    ///
    /// # Errors
    /// If there is none, or several.
    pub fn device(&self) -> Result<PathBuf, Error> {
        let problem = |problem| Error::Device { volume: self.name().to_string(), problem };
        self.settings.device.find().map_err(problem)
    }

    /// Its block device, if it has a size that dm-crypt can map.
    fn whole_device(&self) -> Result<PathBuf, Error> {
        let device = self.device()?;
        let problem = match device::bytes(&device) {
            Ok(bytes) if bytes % u64::from(luks::SECTOR_BYTES) == 0 => return Ok(device),
            Ok(bytes) => format!(
                "{} has {bytes} bytes, no multiple of {}: its partition has to end a little earlier",
                device.display(),
                luks::SECTOR_BYTES
            ),
            Err(e) => format!("{}: {e}", device.display()),
        };
        Err(Error::Device { volume: self.name().to_string(), problem })
    }

    /// Its header, which has to be one of ours.
    ///
    /// # Errors
    /// If there is none, or another, or it cannot be read.
    pub fn header(&self) -> Result<Luks, Error> {
        let device = self.whole_device()?;
        let refused = |problem| Error::Refused {
            volume: self.name().to_string(),
            device: device.clone(),
            problem,
        };
        let Some(mut luks) = Luks::load(&device, self.kdf())? else {
            return Err(refused("is not formatted as a volume".to_owned()));
        };
        let ours = luks.is_ours(self.settings.integrity);
        ours.map_err(|what| refused(format!("{what}: it is not as this program makes it")))?;
        Ok(luks)
    }

    /// The keys of the sources, in their order; and why others have none.
    pub fn keys(&self, tokens: &[serde_json::Value]) -> (Vec<(SourceKind, Found)>, Vec<String>) {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        let asked = Asked { volume: self.name(), tokens };
        for kind in &self.settings.keys {
            match kind.of(self.config).fetch(&asked) {
                Ok(keys) => found.push((*kind, keys)),
                Err(why) => missing.push(format!("{}: {why}", kind.as_str())),
            }
        }
        (found, missing)
    }

    /// The first of the machine's keys that opens the volume.
    ///
    /// # Errors
    /// If none does, with what was tried.
    pub fn machine_key(&self, luks: &mut Luks) -> Result<(SourceKind, Secret, u32), Error> {
        let (found, mut tried) = self.keys(&luks.tokens()?);
        for (kind, keys) in found {
            for key in keys.each() {
                if let Some(slot) = luks.slot_of(key)? {
                    return Ok((kind, key.clone(), slot));
                }
            }
            tried.push(format!("{}: its key fits no slot", kind.as_str()));
        }
        let tried = format!(
            "Tried {}. A person can open it: holdfast-volume recover {}",
            tried.join("; "),
            self.name()
        );
        Err(Error::NoKey { volume: self.name().to_string(), tried })
    }

    /// Opens and mounts. Says how it was opened; `None` if it was open and mounted before.
    ///
    /// # Errors
    /// If the device, its header or the key are not right, or it cannot be mounted.
    pub fn open(&self) -> Result<Option<String>, Error> {
        if self.is_open() {
            return self.mount().map(|()| None);
        }
        let mut luks = self.header()?;
        let (kind, key, _) = self.machine_key(&mut luks)?;
        self.open_with(&mut luks, &key, kind.as_str())?;
        Ok(Some(kind.as_str().to_owned()))
    }

    fn open_with(&self, luks: &mut Luks, key: &Secret, by: &str) -> Result<(), Error> {
        let settings = self.settings;
        let treatment = Treatment { discards: settings.discards, workqueues: settings.workqueues };
        let slot = luks.open(&self.name().mapped(), key, treatment)?;
        let slot = slot.ok_or_else(|| Error::NoKey {
            volume: self.name().to_string(),
            tried: format!("Tried {by}. Nothing was changed"),
        })?;
        state::note(self.name(), by, slot);
        self.mount()
    }

    fn mount(&self) -> Result<(), Error> {
        let (mapped, folder) = (self.mapped(), &self.settings.mount);
        if filesystem::mounted(&mapped, folder).is_some() {
            return Ok(());
        }
        filesystem::mount(&mapped, folder)
    }

    /// Unmounts and closes. By force it is gone from its folder at once, for a disk that vanished.
    ///
    /// # Errors
    /// If somebody uses it.
    pub fn close(&self, by_force: bool) -> Result<(), Error> {
        let folder = &self.settings.mount;
        let busy = |by: String| Error::Busy { volume: self.name().to_string(), by };
        while filesystem::mounted(&self.mapped(), folder).is_some() {
            let at = || busy(format!("files at {} are open", folder.display()));
            filesystem::unmount(folder, by_force).map_err(|e| e.unwrap_or_else(at))?;
        }
        if self.is_open() {
            let at = || busy(format!("{} is mounted elsewhere, or read", self.mapped().display()));
            luks::close(&self.name().mapped(), by_force).map_err(|e| e.unwrap_or_else(at))?;
        }
        state::forget(self.name());
        Ok(())
    }

    /// Grows an open volume, and the file system on it, to the end of its device.
    ///
    /// # Errors
    /// If it is not open, or the machine has no key.
    pub fn grow(&self) -> Result<(), Error> {
        let mut luks = self.header()?;
        if !self.is_open() {
            let by = "nobody: it is closed, and is grown when it is open".to_owned();
            return Err(Error::Busy { volume: self.name().to_string(), by });
        }
        let (_, key, _) = self.machine_key(&mut luks)?;
        luks.grow(&self.name().mapped(), &key)?;
        filesystem::grow(&self.mapped())
    }

    /// Makes the volume: header, machine's slot, recovery slot, file system. What the device held
    /// is lost. It stays closed.
    ///
    /// # Errors
    /// If the device is in use, no source has a key, or a step fails. It can then be repeated.
    pub fn format(&self) -> Result<RecoveryKey, Error> {
        let device = self.whole_device()?;
        self.must_be_unused(&device)?;
        let (found, missing) = self.keys(&[]);
        let first = found.iter().find_map(|(kind, keys)| Some((*kind, keys.current.clone()?)));
        let (kind, key) = first.ok_or_else(|| Error::NoKey {
            volume: self.name().to_string(),
            tried: format!("Nothing was changed. No source has one: {}", missing.join("; ")),
        })?;
        let owner = owner(self.config)?;
        let recovery = RecoveryKey::generate()?;
        let settings = self.settings;
        let label = self.name().mapped();
        let mut luks = Luks::format(&device, &label, settings.integrity, self.kdf(), &key)?;
        luks.name_slot(0, Purpose::Machine, Some(kind))?;
        luks.add_slot(&key, &recovery.passphrase(), Purpose::Recovery, None)?;
        let treatment = Treatment { discards: settings.discards, workqueues: settings.workqueues };
        luks.open(&label, &key, treatment)?;
        let filled = if settings.integrity { luks.fill(&self.mapped()) } else { Ok(()) };
        // ext4's label has room for 16 bytes.
        let made = filled.and_then(|()| {
            filesystem::make(&self.mapped(), self.name().as_str(), owner, settings.discards)
        });
        // Whether or not it was made, the volume does not stay open.
        self.close(false)?;
        made?;
        backup::keep(self.config, self.name(), &mut luks)?;
        Ok(recovery)
    }

    /// Opens with the recovery key. To enrol is to give the first source's key a slot and take the
    /// machine's old slots away, for when the old key is lost or fits no more.
    ///
    /// # Errors
    /// If the key opens nothing.
    pub fn recover(&self, recovery: &RecoveryKey, enrol: bool) -> Result<Option<u32>, Error> {
        let mut luks = self.header()?;
        let passphrase = recovery.passphrase();
        let refused = || Error::NoKey {
            volume: self.name().to_string(),
            tried: "This is not its recovery key. Nothing was changed".to_owned(),
        };
        luks.slot_of(&passphrase)?.ok_or_else(refused)?;
        if self.is_open() {
            self.mount()?;
        } else {
            self.open_with(&mut luks, &passphrase, "recovery")?;
        }
        if !enrol {
            return Ok(None);
        }
        self.enrol(&mut luks, &passphrase)
    }

    fn enrol(&self, luks: &mut Luks, by: &Secret) -> Result<Option<u32>, Error> {
        let (found, _) = self.keys(&luks.tokens()?);
        let first = found.iter().find_map(|(kind, keys)| Some((*kind, keys.each().last()?)));
        let Some((kind, key)) = first else { return Ok(None) };
        if luks.slot_of(key)?.is_some() {
            return Ok(None);
        }
        self.replace(luks, by, key, Purpose::Machine, Some(kind)).map(Some)
    }

    /// Puts `KEY.new` of the first source that has one in the place of the machine's old key.
    ///
    /// # Errors
    /// If there is no new key, or the old one opens nothing.
    pub fn rotate_machine(&self) -> Result<u32, Error> {
        let mut luks = self.header()?;
        let (_, by, _) = self.machine_key(&mut luks)?;
        let (found, _) = self.keys(&luks.tokens()?);
        let next = found.iter().find_map(|(kind, keys)| Some((*kind, keys.next.as_ref()?)));
        let (kind, next) = next.ok_or_else(|| Error::NoKey {
            volume: self.name().to_string(),
            tried: "Nothing was changed: no source has a new key beside the old, with the ending \
                    .new"
                .to_owned(),
        })?;
        self.replace(&mut luks, &by, next, Purpose::Machine, Some(kind))
    }

    /// Makes a new recovery key in the place of the old.
    ///
    /// # Errors
    /// If the machine has no key to do it with.
    pub fn rotate_recovery(&self) -> Result<RecoveryKey, Error> {
        let mut luks = self.header()?;
        let (_, by, _) = self.machine_key(&mut luks)?;
        let recovery = RecoveryKey::generate()?;
        self.replace(&mut luks, &by, &recovery.passphrase(), Purpose::Recovery, None)?;
        Ok(recovery)
    }

    /// Adds a slot, and only once it is proven to open takes away the others of its purpose.
    fn replace(
        &self,
        luks: &mut Luks,
        by: &Secret,
        key: &Secret,
        purpose: Purpose,
        source: Option<SourceKind>,
    ) -> Result<u32, Error> {
        let number = match luks.slot_of(key)? {
            // A rotation that was cut off after it had added the slot.
            Some(number) => number,
            None => luks.add_slot(by, key, purpose, source)?,
        };
        for old in luks.slots()? {
            if old.purpose == purpose && old.number != number {
                luks.remove_slot(old.number)?;
            }
        }
        backup::keep(self.config, self.name(), luks)?;
        Ok(number)
    }

    /// Destroys one slot. Never the last by which the volume can be opened.
    ///
    /// # Errors
    /// If it is not in use, or the last.
    pub fn remove_slot(&self, number: u32) -> Result<(), Error> {
        let mut luks = self.header()?;
        let slots = luks.slots()?;
        let problem = if !slots.iter().any(|slot| slot.number == number) {
            "is not in use"
        } else if slots.len() == 1 {
            "is the last: without it nothing opens the volume"
        } else {
            luks.remove_slot(number)?;
            return backup::keep(self.config, self.name(), &mut luks).map(drop);
        };
        Err(Error::failed(format!("volume {}: key slot {number}", self.name()), problem))
    }

    /// Destroys every key slot, proves it, overwrites the header, discards the device, destroys the
    /// kept header backups. Some seconds, however large the disk is. A volume that is open is
    /// closed by force: what is on it is lost either way.
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
        let Some(mut luks) = Luks::load(&device, self.kdf())? else {
            return Err(refused("has no LUKS2 header; there is nothing to erase".to_owned()));
        };
        let has = luks.uuid()?;
        if has != uuid {
            return Err(refused(format!("has the UUID {has}, not {uuid}. Nothing was changed")));
        }
        let (keys, _) = self.keys(&luks.tokens()?);
        let overwritten_bytes = luks.header_bytes()?;
        let slots_destroyed = luks.slots()?;
        self.close(true)?;
        for slot in luks.numbers_in_use() {
            luks.remove_slot(slot)?;
        }
        drop(luks);
        let keys_refused = self.must_be_erased(&device, &keys)?;
        let erased_at = state::now();
        let header_backups_destroyed = backup::destroy(self.config, self.name())?;
        device::overwrite(&device, overwritten_bytes)?;
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
    fn must_be_erased(
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

    /// Puts a header backup back. A header that can be read is kept beside the backups first.
    ///
    /// # Errors
    /// If the backup is damaged or another volume's, or the volume is open.
    pub fn restore(&self, file: &Path) -> Result<(), Error> {
        let device = self.device()?;
        self.must_be_unused(&device)?;
        backup::check(file, self.kdf(), self.known_uuid()?.as_deref())?;
        if let Ok(Some(mut luks)) = Luks::load(&device, self.kdf()) {
            backup::keep(self.config, self.name(), &mut luks)?;
        }
        luks::restore(&device, file)
    }

    /// The UUID that the volume's header has or should have: the header's own, else the
    /// configuration's, else that of the one kept backup.
    ///
    /// # Errors
    /// If the device is missing.
    pub fn known_uuid(&self) -> Result<Option<String>, Error> {
        if let Ok(Some(mut luks)) = Luks::load(&self.device()?, self.kdf()) {
            return luks.uuid().map(Some);
        }
        if let crate::config::DeviceName::Uuid(uuid) = &self.settings.device {
            return Ok(Some(uuid.to_lowercase()));
        }
        let kept = backup::kept(self.config, self.name());
        Ok(if let [(_, uuid)] = kept.as_slice() { Some(uuid.clone()) } else { None })
    }

    /// # Errors
    /// If it is open, or something else has the device.
    fn must_be_unused(&self, device: &Path) -> Result<(), Error> {
        let by = if self.is_open() {
            "it is open; close it first".to_owned()
        } else if !device::is_unused(device) {
            format!("something has {} mounted or mapped", device.display())
        } else {
            return Ok(());
        };
        Err(Error::Busy { volume: self.name().to_string(), by })
    }
}
