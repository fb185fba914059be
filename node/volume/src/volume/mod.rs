//! What can be done to one volume. Each step can be repeated: after a power cut the same verb goes
//! on where it was, or begins again.

mod erase;
mod keys;
mod reencrypt;
mod rotate;

use std::path::{Path, PathBuf};

pub use erase::{Receipt, UNKNOWN};
pub use keys::MachineKey;

use crate::backup::{self, Proof};
use crate::config::{Config, Name, VolumeSettings};
use crate::device::Shown;
use crate::error::Error;
use crate::keys::{self as sources, Found, Purpose, RecoveryKey, Secret, SourceKind};
use crate::luks::{Cipher, Closing, Kdf, Luks, Treatment};
use crate::{device, erasing, filesystem, luks, mounts, state};

/// A volume that the configuration names.
#[derive(Debug)]
pub struct Volume<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The volume's part of it.
    pub settings: &'a VolumeSettings,
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

    /// The cipher that it gets when it is formatted.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        // What cannot be read says nothing.
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        self.settings.cipher.on(&cpuinfo, self.settings.integrity)
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

    /// Its block device, and what it holds, as a person is to be shown it.
    ///
    /// # Errors
    /// If there is none, or several, or it cannot be looked at.
    pub fn shown(&self) -> Result<Shown, Error> {
        Shown::of(&self.device()?)
    }

    /// Under the lock: whether the device is the one that was shown, and holds what it held.
    ///
    /// # Errors
    /// If it is not. Nothing was changed.
    fn must_be_as(&self, shown: &Shown) -> Result<(), Error> {
        let now = self.shown()?;
        if now == *shown {
            return Ok(());
        }
        let problem = format!(
            "is not the device that was shown ({}), or holds something else by now. Nothing was \
             changed; begin again",
            shown.path.display()
        );
        Err(Error::Refused { volume: self.name().to_string(), device: now.path, problem })
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
        let refused = |problem: String| Error::Refused {
            volume: self.name().to_string(),
            device: device.clone(),
            problem,
        };
        let Some(mut luks) = Luks::load(&device, self.kdf())? else {
            if let Some(problem) = self.lost_header(&device)? {
                return Err(Error::Header { what: device, problem });
            }
            return Err(refused("is not formatted as a volume".to_owned()));
        };
        let ours = luks.is_ours(self.settings.integrity);
        ours.map_err(|what| refused(format!("{what}: it is not as this program makes it")))?;
        Ok(luks)
    }

    /// What to say of a device that shows nothing, while a header backup of a volume of this name is
    /// kept: its header may have been wiped, and formatting would be the end of it.
    ///
    /// # Errors
    /// If the device cannot be looked at.
    pub fn lost_header(&self, device: &Path) -> Result<Option<String>, Error> {
        let kept = backup::uuids(self.config, self.name());
        if kept.is_empty() || !device::contents(device)?.is_empty() {
            return Ok(None);
        }
        let (name, kept) = (self.name(), kept.join(", "));
        Ok(Some(format!(
            "shows nothing, but a header backup of volume {name} is kept (UUID {kept}). If this is its \
             disk, the header was wiped, and what is on it comes back with: holdfast-volume header \
             restore {name}. If it is another disk: holdfast-volume format {name}"
        )))
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
        let found = match self.machine_key(&mut luks) {
            Err(Error::NoKey { .. }) if luks.is_cut_at_end()? => {
                self.end_reencryption(&mut luks, None)?;
                self.machine_key(&mut luks)
            }
            found => found,
        };
        let MachineKey { source, key, tried, .. } = match found {
            Err(why @ Error::NoKey { .. }) => return self.open_by_stick(why).map(Some),
            found => found?,
        };
        for why in &tried {
            eprintln!("volume {}: {why}", self.name());
        }
        self.open_with(&mut luks, &key, source.as_str(), tried)?;
        // A power cut right after the last block of a re-encryption leaves a backup that no longer fits.
        let (its, kept) = (luks.digests()?, self.kept_digests(&mut luks)?);
        let is_its = kept.is_empty() || kept.iter().any(|digest| its.contains(digest));
        if luks.reencryption()?.is_none() && its != kept && is_its {
            backup::keep(self.config, self.name(), &mut luks, Proof::OpensWith(&key))?;
        }
        Ok(Some(source.as_str().to_owned()))
    }

    /// Opens with the recovery key that a person put onto the stick, if the stick is one of the volume's sources,
    /// and gives the machine a slot again.
    fn open_by_stick(&self, why: Error) -> Result<String, Error> {
        let has_stick = self.settings.keys.contains(&SourceKind::Stick);
        let found = has_stick.then(|| sources::recovery_on_stick(self.config, self.name()));
        let recovery = match found {
            None | Some(Ok(None)) => return Err(why),
            Some(Err(e)) => {
                let (volume, why) = (self.name().to_string(), why.to_string());
                let tried = format!("{why}. On the stick {volume}.recovery: {e}");
                return Err(Error::NoKey { volume, tried });
            }
            Some(Ok(Some(recovery))) => recovery,
        };
        eprintln!("{why}");
        match self.recover(&recovery, true) {
            // It is open; what is wrong with the machine's sources is for the next time.
            Err(e @ Error::NoKey { .. }) if self.is_open() => eprintln!("{e}"),
            recovered => drop(recovered?),
        }
        Ok("the recovery key on the stick".to_owned())
    }

    fn open_with(
        &self,
        luks: &mut Luks,
        key: &Secret,
        by: &str,
        tried: Vec<String>,
    ) -> Result<(), Error> {
        let settings = self.settings;
        let treatment = Treatment { discards: settings.discards, workqueues: settings.workqueues };
        let slot = luks.open(&self.name().mapped(), key, treatment)?;
        let slot = slot.ok_or_else(|| Error::NoKey {
            volume: self.name().to_string(),
            tried: format!("Tried {by}. Nothing was changed"),
        })?;
        state::note(self.name(), by, slot, tried);
        self.mount()
    }

    fn mount(&self) -> Result<(), Error> {
        let (mapped, folder) = (self.mapped(), &self.settings.mount);
        if filesystem::mounted(&mapped, folder).is_some() {
            return Ok(());
        }
        filesystem::mount(&mapped, folder)
    }

    /// Unmounts and closes.
    ///
    /// # Errors
    /// If somebody uses it, and that matters to the way of closing.
    pub fn close(&self, how: Closing) -> Result<(), Error> {
        let (folder, mapped) = (&self.settings.mount, self.name().mapped());
        let busy = |by: String| Error::Busy { volume: self.name().to_string(), by };
        while filesystem::mounted(&self.mapped(), folder).is_some() {
            let at = || busy(format!("files at {} are open", folder.display()));
            let lazily = how != Closing::Gently;
            mounts::unmount(folder, lazily).map_err(|e| e.unwrap_or_else(at))?;
        }
        if self.is_open() {
            let at = || busy(format!("{} is mounted elsewhere, or read", self.mapped().display()));
            luks::close(&mapped, how).map_err(|e| e.unwrap_or_else(at))?;
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
        let key = self.machine_key(&mut luks)?.key;
        luks.grow(&self.name().mapped(), &key)?;
        filesystem::grow(&self.mapped())
    }

    /// Makes the volume: header, machine's slot, recovery slot, file system. The recovery key is shown
    /// first: with the header go the old slots, and the rest may take hours. What the device held
    /// is lost. It stays closed.
    ///
    /// # Errors
    /// If the device is in use or not as it was shown, no source has a key, or a step fails. It can
    /// then be repeated.
    pub fn format(
        &self,
        shown: &Shown,
        show: impl FnOnce(&RecoveryKey) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let device = self.whole_device()?;
        self.must_be_as(shown)?;
        self.must_be_unused(&device)?;
        self.must_have_source(&device)?;
        let owner = owner(self.config)?;
        let recovery = RecoveryKey::generate()?;
        show(&recovery)?;
        let settings = self.settings;
        let label = self.name().mapped();
        let begun = erasing::begun(self.config, self.name(), shown);
        let before = Luks::load(&device, self.kdf()).ok().flatten();
        let before = before.and_then(|mut luks| luks.uuid().ok());
        let key = recovery.passphrase();
        let kind = (self.cipher(), settings.integrity);
        let mut luks = Luks::format(&device, &label, kind, self.kdf(), &key)?;
        if let Some(uuid) = before {
            backup::destroy(self.config, self.name(), &uuid)?;
        }
        if let Some(uuid) = begun {
            erasing::end(self.config, self.name(), &uuid);
        }
        luks.name_slot(0, Purpose::Recovery, None)?;
        self.enrol(&mut luks, &key, "It has a recovery key only", Found::newest)?;
        let treatment = Treatment { discards: settings.discards, workqueues: settings.workqueues };
        luks.open(&label, &key, treatment)?;
        let filled = if settings.integrity { luks.fill(&self.mapped()) } else { Ok(()) };
        // ext4's label has room for 16 bytes.
        let made = filled.and_then(|()| {
            filesystem::make(&self.mapped(), self.name().as_str(), owner, settings.discards)
        });
        // Whether or not it was made, the volume does not stay open.
        self.close(Closing::Gently)?;
        made?;
        Ok(())
    }

    /// Opens with the recovery key. To enrol is to give the first source's key a slot and take the
    /// machine's old slots away, for when the old key is lost or fits no more.
    ///
    /// # Errors
    /// If the key opens nothing; or there is none to enrol, and then it is open.
    pub fn recover(&self, recovery: &RecoveryKey, enrol: bool) -> Result<Option<u32>, Error> {
        let mut luks = self.header()?;
        let passphrase = recovery.passphrase();
        let refused = || Error::NoKey {
            volume: self.name().to_string(),
            tried: "This is not its recovery key. Nothing was changed".to_owned(),
        };
        if luks.slot_of(&passphrase)?.is_none() && !self.is_open() && luks.is_cut_at_end()? {
            // What it fails at is no more than that the key is not the right one.
            let _ = self.end_reencryption(&mut luks, Some(&passphrase));
        }
        luks.slot_of(&passphrase)?.ok_or_else(refused)?;
        if self.is_open() {
            self.mount()?;
        } else {
            self.open_with(&mut luks, &passphrase, "recovery", Vec::new())?;
        }
        if !enrol {
            return Ok(None);
        }
        let otherwise =
            "It is open by its recovery key, but no source has a key that could be enrolled";
        self.enrol(&mut luks, &passphrase, otherwise, Found::newest).map(Some)
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
