//! Another volume key, while the volume is in use.

use std::time::Duration;

use super::{MachineKey, Volume};
use crate::backup::{self, Proof};
use crate::error::Error;
use crate::keys::{RecoveryKey, Secret};
use crate::luks::Luks;
use crate::state;

/// Longest that is left to one who waits for the volume.
const POLITE: Duration = Duration::from_secs(60);

impl Volume<'_> {
    /// Re-encrypts an open volume with a new volume key, or goes on with that. Takes the volume's lock
    /// itself, and lets others in between: it may take hours, and an erasure must not wait.
    ///
    /// A new recovery key is shown first, as the old one is known to nobody here and gets no slot.
    ///
    /// # Errors
    /// If it is not open or has integrity, if no key of the machine's opens it, or a step fails. It can
    /// be repeated, and goes on where it was.
    pub fn reencrypt(
        &self,
        show: impl FnOnce(&RecoveryKey) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut lock = state::lock(self.name())?;
        let mut luks = self.header()?;
        self.can_reencrypt()?;
        if luks.reencryption()?.is_none() {
            self.begin_reencryption(&mut luks, show)?;
        }
        loop {
            luks.reload()?;
            let key = self.machine_key(&mut luks)?.key;
            luks.reencrypt(&self.name().mapped(), &key, state::wanted(self.name()))?;
            luks.reload()?;
            if luks.reencryption()?.is_none() {
                backup::keep(self.config, self.name(), &mut luks, Proof::OpensWith(&key))?;
                return backup::forget_before(self.config, self.name(), &luks.uuid()?);
            }
            drop(lock);
            state::let_others(self.name(), POLITE);
            lock = state::lock(self.name())?;
            self.can_reencrypt()?;
            luks = self.header()?;
        }
    }

    fn can_reencrypt(&self) -> Result<(), Error> {
        let name = self.name();
        if self.settings.integrity {
            let doing = format!("re-encrypting volume {name}");
            return Err(Error::failed(doing, "libcryptsetup cannot with integrity"));
        }
        if !self.is_open() {
            let by = "nobody: it is closed, and is re-encrypted when it is open".to_owned();
            return Err(Error::Busy { volume: name.to_string(), by });
        }
        Ok(())
    }

    /// Gives a volume whose re-encryption was cut off at its very end a header again: the kept
    /// backup has all slots of the new volume key. `key` is one that a person gave.
    ///
    /// # Errors
    /// If there is no such backup, or no key opens it.
    pub(super) fn end_reencryption(
        &self,
        luks: &mut Luks,
        key: Option<&Secret>,
    ) -> Result<(), Error> {
        let uuid = luks.uuid()?;
        let path = backup::path(self.config, self.name(), &uuid);
        let mut kept = backup::check(&path, self.kdf(), Some(&uuid))?;
        if kept.reencryption()?.is_some() {
            let problem =
                "was made in the middle of a re-encryption, and would garble what came after \
                           it; put back one from before, or from the re-encryption's beginning"
                    .to_owned();
            return Err(Error::Header { what: path, problem });
        }
        if kept.digest_of_data()? != luks.digest_of_data()? {
            match key {
                Some(key) => backup::take_next(self.config, self.name(), &mut kept, key)?,
                None => {
                    let key = self.machine_key(&mut kept)?.key;
                    backup::take_next(self.config, self.name(), &mut kept, &key)?;
                }
            }
        }
        crate::luks::restore(luks.path(), &path)?;
        luks.reload()
    }

    /// Everything up to where data is written: slots of the new volume key for the machine and a new
    /// recovery key, and a backup that has them.
    fn begin_reencryption(
        &self,
        luks: &mut Luks,
        show: impl FnOnce(&RecoveryKey) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let MachineKey { key, slot, .. } = self.machine_key(luks)?;
        luks.forget_next()?;
        let recovery = self.replace_recovery(luks, &key, show)?;
        let (recovery, old) = (&recovery.0.passphrase(), recovery.1);
        let next = luks.next_key()?;
        let to = luks.add_next(&next, &key, slot, true)?;
        luks.add_next(&next, recovery, old, false)?;
        backup::keep(self.config, self.name(), luks, Proof::OpensWith(&key))?;
        luks.begin_reencryption(&self.name().mapped(), &key, slot, to)
    }
}
