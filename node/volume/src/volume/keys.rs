//! Which of the machine's keys opens a volume.

use std::path::Path;

use super::Volume;
use crate::backup;
use crate::error::Error;
use crate::keys::{Asked, Found, Secret, SourceKind};
use crate::luks::Luks;

/// A key of the machine's that opens the volume.
#[derive(Debug)]
pub struct MachineKey {
    /// Where it came from.
    pub source: SourceKind,
    /// The key.
    pub key: Secret,
    /// The slot that it opens.
    pub slot: u32,
    /// Why the sources before it opened nothing.
    pub tried: Vec<String>,
}

impl Volume<'_> {
    /// The keys that a source has for a header.
    ///
    /// # Errors
    /// Why it has none, in words.
    pub(super) fn fetch(&self, kind: SourceKind, luks: &mut Luks) -> Result<Found, String> {
        let source = kind.of(self.config);
        let tokens = luks.tokens().map_err(|e| e.to_string())?;
        let found =
            source.fetch(&Asked { volume: self.name(), header: luks.path(), tokens: &tokens });
        // Whoever has the box can seal keys to it, and write headers for them.
        if source.is_in_header() && found.is_ok() {
            self.is_known(luks)?;
        }
        found
    }

    /// What the kept backup of a header knows of volume keys; nothing if there is none.
    pub(super) fn kept_digests(&self, luks: &mut Luks) -> Result<Vec<String>, Error> {
        let kept = backup::path(self.config, self.name(), &luks.uuid()?);
        let known = Luks::load(&kept, self.kdf()).ok().flatten();
        Ok(known.and_then(|mut it| it.digests().ok()).unwrap_or_default())
    }

    /// Whether the volume key of a header is the one of the kept backup, which is not on the disk.
    fn is_known(&self, luks: &mut Luks) -> Result<(), String> {
        let said = |e: Error| e.to_string();
        let known = self.kept_digests(luks).map_err(said)?;
        let its = luks.digests().map_err(said)?;
        if !its.is_empty() && its.iter().all(|digest| known.contains(digest)) {
            return Ok(());
        }
        let name = self.name();
        Err(format!(
            "opens the volume, but the kept header backup does not have it: somebody else may have \
             written this header. If nobody did: holdfast-volume header backup {name}"
        ))
    }

    /// The first of the machine's keys that opens the volume.
    ///
    /// # Errors
    /// If none does, with what was tried.
    pub fn machine_key(&self, luks: &mut Luks) -> Result<MachineKey, Error> {
        let mut tried = Vec::new();
        for source in &self.settings.keys {
            let found = match self.fetch(*source, luks) {
                Ok(found) => found,
                Err(why) => {
                    tried.push(format!("{}: {why}", source.as_str()));
                    continue;
                }
            };
            for key in found.each() {
                if let Some(slot) = luks.slot_of(key)? {
                    return Ok(MachineKey { source: *source, key: key.clone(), slot, tried });
                }
            }
            tried.push(format!("{}: its key fits no slot", source.as_str()));
        }
        let tried = format!(
            "Tried {}. A person can open it: holdfast-volume recover {}",
            tried.join("; "),
            self.name()
        );
        Err(Error::NoKey { volume: self.name().to_string(), tried })
    }

    /// # Errors
    /// If no source has a key for a new volume, or could make one.
    pub(super) fn must_have_source(&self, device: &Path) -> Result<(), Error> {
        let mut missing = Vec::new();
        for kind in self.settings.machine_keys() {
            let source = kind.of(self.config);
            let asked = Asked { volume: self.name(), header: device, tokens: &[] };
            let has = if source.seals() {
                source.seal(device, None)
            } else {
                source.fetch(&asked).map(drop)
            };
            match has {
                Ok(()) => return Ok(()),
                Err(why) => missing.push(format!("{}: {why}", kind.as_str())),
            }
        }
        Err(Error::NoKey {
            volume: self.name().to_string(),
            tried: format!("Nothing was changed. No source has one: {}", missing.join("; ")),
        })
    }
}
