//! Replacing keys, and headers. A new key is in its slot and proven before an old one goes.

use std::path::{Path, PathBuf};

use super::{MachineKey, Volume};
use crate::backup::{self, Proof};
use crate::config::DeviceName;
use crate::device::Shown;
use crate::error::Error;
use crate::keys::{Asked, Found, Purpose, RecoveryKey, Secret, SourceKind};
use crate::luks::slots::Slot;
use crate::luks::{self, Luks};

impl Volume<'_> {
    /// In the middle of a re-encryption each key has two slots, and both are needed; and a header of that
    /// time says what is true of the data for that moment only.
    fn must_be_settled(&self, luks: &mut Luks) -> Result<(), Error> {
        if luks.reencryption()?.is_none() {
            return Ok(());
        }
        let by = format!(
            "it is being re-encrypted; let holdfast-volume reencrypt {} come to its end first. Nothing \
             was changed",
            self.name()
        );
        Err(Error::Busy { volume: self.name().to_string(), by })
    }

    /// Gives the machine a slot, with the first source that has a key which is taken or makes one
    /// itself, and takes the machine's other slots away. Also if it has one already: what an
    /// interrupted rotation left goes too.
    pub(super) fn enrol(
        &self,
        luks: &mut Luks,
        by: &Secret,
        otherwise: &str,
        takes: fn(Found) -> Option<Secret>,
    ) -> Result<u32, Error> {
        self.must_be_settled(luks)?;
        let mut missing = Vec::new();
        for kind in self.settings.machine_keys() {
            let source = kind.of(self.config);
            let why = if source.seals() {
                luks.set_tpm2_aside(true)?;
                match source.seal(luks.path(), Some(by)) {
                    Ok(()) => return self.sealed(luks, *kind),
                    Err(why) => {
                        luks.reload()?;
                        luks.set_tpm2_aside(false)?;
                        why
                    }
                }
            } else {
                match self.fetch(*kind, luks).map(takes) {
                    Ok(Some(key)) => {
                        return self.replace(luks, by, &key, Purpose::Machine, Some(*kind));
                    }
                    Ok(None) => "has no new key".to_owned(),
                    Err(why) => why,
                }
            };
            missing.push(format!("{}: {why}", kind.as_str()));
        }
        let tried = format!("{otherwise}: {}", missing.join("; "));
        Err(Error::NoKey { volume: self.name().to_string(), tried })
    }

    /// What follows once a source has added its slot: it has to open before the others go.
    fn sealed(&self, luks: &mut Luks, kind: SourceKind) -> Result<u32, Error> {
        let before: Vec<u32> = luks.slots()?.iter().map(|slot| slot.number).collect();
        luks.reload()?;
        let is_new = |slot: &Slot| !before.contains(&slot.number) && slot.source == Some(kind);
        let new = luks.slots()?.into_iter().find(is_new).map(|slot| slot.number);
        let mut tokens = luks.tokens()?;
        tokens.retain(|(_, it)| it["keyslots"][0].as_str().and_then(|it| it.parse().ok()) == new);
        let asked = Asked { volume: self.name(), header: luks.path(), tokens: &tokens };
        let key = kind.of(self.config).fetch(&asked).map(|found| found.current);
        let doing = || format!("volume {}: the new slot of {}", self.name(), kind.as_str());
        let key = key.map_err(|why| Error::failed(doing(), why))?;
        match (key, new) {
            (Some(key), Some(new)) if luks.slot_of(&key)? == Some(new) => {
                self.retire_others(luks, new, Purpose::Machine, &key)?;
                Ok(new)
            }
            _ => Err(Error::failed(doing(), "does not open it")),
        }
    }

    /// Puts a new key in the place of the machine's: one that is sealed anew, or `KEY.new` of the first
    /// source that has one.
    ///
    /// # Errors
    /// If there is no new key, or the old one opens nothing.
    pub fn rotate_machine(&self) -> Result<u32, Error> {
        let mut luks = self.header()?;
        let by = self.machine_key(&mut luks)?.key;
        let otherwise =
            "Nothing was changed: no source has a new key beside the old, with the ending .new";
        self.enrol(&mut luks, &by, otherwise, |found| found.next)
    }

    /// Makes a new recovery key in the place of the old, which is destroyed only once the new one was
    /// shown. A power cut before that leaves both, and the next rotation takes them away.
    ///
    /// # Errors
    /// If the machine has no key to do it with, or the new one cannot be shown.
    pub fn rotate_recovery(
        &self,
        show: impl FnOnce(&RecoveryKey) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut luks = self.header()?;
        self.must_be_settled(&mut luks)?;
        let by = self.machine_key(&mut luks)?.key;
        self.replace_recovery(&mut luks, &by, show).map(drop)
    }

    /// The new recovery key, and its slot.
    pub(super) fn replace_recovery(
        &self,
        luks: &mut Luks,
        by: &Secret,
        show: impl FnOnce(&RecoveryKey) -> Result<(), Error>,
    ) -> Result<(RecoveryKey, u32), Error> {
        let recovery = RecoveryKey::generate()?;
        let number = luks.add_slot(by, &recovery.passphrase(), Purpose::Recovery, None)?;
        show(&recovery)?;
        self.retire_others(luks, number, Purpose::Recovery, by)?;
        Ok((recovery, number))
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
            Some(number) => {
                // A rotation that was cut off after it had added the slot, perhaps before naming it.
                let is_it = |slot: &Slot| slot.number == number && slot.purpose == purpose;
                if !luks.slots()?.iter().any(is_it) {
                    luks.name_slot(number, purpose, source)?;
                }
                number
            }
            None => luks.add_slot(by, key, purpose, source)?,
        };
        self.retire_others(luks, number, purpose, key)?;
        Ok(number)
    }

    /// Takes away the other slots of a purpose. Then the backups have to forget them.
    fn retire_others(
        &self,
        luks: &mut Luks,
        number: u32,
        purpose: Purpose,
        opens: &Secret,
    ) -> Result<(), Error> {
        for old in luks.slots()? {
            if old.purpose == purpose && old.number != number {
                luks.remove_slot(old.number)?;
            }
        }
        backup::keep(self.config, self.name(), luks, Proof::OpensWith(opens))?;
        backup::forget_before(self.config, self.name(), &luks.uuid()?)
    }

    /// Destroys one slot. Never the last by which the machine opens the volume: without it neither the
    /// header nor its backup could be proven any more.
    ///
    /// # Errors
    /// If it is not in use, or the last.
    pub fn remove_slot(&self, number: u32) -> Result<(), Error> {
        let mut luks = self.header()?;
        self.must_be_settled(&mut luks)?;
        let slots = luks.slots()?;
        let problem = if !slots.iter().any(|slot| slot.number == number) {
            "is not in use"
        } else if slots.len() == 1 {
            "is the last: without it nothing opens the volume"
        } else {
            let MachineKey { key, slot: by, .. } = self.machine_key(&mut luks)?;
            if by != number {
                luks.remove_slot(number)?;
                let proof = Proof::OpensWith(&key);
                backup::keep(self.config, self.name(), &mut luks, proof)?;
                return backup::forget_before(self.config, self.name(), &luks.uuid()?);
            }
            "is the one that the machine's key opens; replace that key with rotate machine, or with \
             recover --enrol"
        };
        Err(Error::failed(format!("volume {}: key slot {number}", self.name()), problem))
    }

    /// Makes the kept header backup anew. Unless it is confirmed, one of the machine's keys has to open
    /// it, if it replaces another.
    ///
    /// # Errors
    /// If no key opens it, or it cannot be written.
    pub fn keep_backup(&self, is_confirmed: bool) -> Result<PathBuf, Error> {
        let mut luks = self.header()?;
        self.must_be_settled(&mut luks)?;
        let has_none = !backup::path(self.config, self.name(), &luks.uuid()?).exists();
        if is_confirmed || has_none {
            return backup::keep(self.config, self.name(), &mut luks, Proof::Confirmed);
        }
        let key = self.machine_key(&mut luks)?.key;
        backup::keep(self.config, self.name(), &mut luks, Proof::OpensWith(&key))
    }

    /// Puts a header backup back, and makes the kept one anew from it. A header that can be read is
    /// kept first, under another name. `None` if the kept backup stayed as it was, because no key of
    /// the machine's opens what was put back.
    ///
    /// # Errors
    /// If the backup is damaged or another volume's, or the volume is open, or not as it was shown.
    pub fn restore(&self, file: &Path, shown: &Shown) -> Result<Option<PathBuf>, Error> {
        let device = self.device()?;
        self.must_be_as(shown)?;
        self.must_be_unused(&device)?;
        backup::check(file, self.kdf(), self.known_uuid()?.as_deref())?;
        if let Ok(Some(mut luks)) = Luks::load(&device, self.kdf()) {
            if luks.reencryption()?.is_some() {
                let problem = "is in the middle of a re-encryption, and its header is whole: any \
                               backup would lose what has the new volume key. Nothing was changed"
                    .to_owned();
                return Err(Error::Refused { volume: self.name().to_string(), device, problem });
            }
            backup::keep_before(self.config, self.name(), &mut luks)?;
        }
        luks::restore(&device, file)?;
        match self.keep_backup(false) {
            Err(Error::NoKey { .. }) => Ok(None),
            kept => kept.map(Some),
        }
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
        if let DeviceName::Uuid(uuid) = &self.settings.device {
            return Ok(Some(uuid.to_lowercase()));
        }
        let kept = backup::uuids(self.config, self.name());
        Ok(if let [uuid] = kept.as_slice() { Some(uuid.clone()) } else { None })
    }
}
