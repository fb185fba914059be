//! What was taken: sets, of which one link makes one current. See the module's format.

use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::folder::{self, Bundle, Found};
use super::{CONFIG, ProvisionError, SECRETS, SETTINGS, failed, files};

const CURRENT: &str = "current";
const SETS: &str = "sets";
const TAKEN: &str = "taken.json";
const TAKEN_BYTES_MAX: u64 = 64 << 10;
/// Characters of a digest that name a set.
const NAME_LEN: usize = 32;

/// What is noted beside a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Of the set, to see damage.
    pub digest: String,
    /// The folder it came from.
    pub source: PathBuf,
    /// Digests of what lay in other folders and was passed over for this one: a stick that is gone
    /// again must not bring back what the ESP had before.
    pub passed_over: Vec<String>,
}

/// The set that is current.
#[derive(Debug)]
pub(super) struct Current {
    pub bundle: Bundle,
    pub taken: Taken,
}

/// The folder with what was taken.
#[derive(Debug)]
pub(super) struct Store {
    to: PathBuf,
    group: Option<u32>,
}

impl Store {
    /// Makes the folder where there is none.
    pub(super) fn open(to: &Path, group: Option<u32>) -> Result<Self, ProvisionError> {
        files::make_folder(to, 0o750, group).map_err(failed("make the folder", to))?;
        let sets = to.join(SETS);
        files::make_folder(&sets, 0o750, group).map_err(failed("make the folder", &sets))?;
        for name in [CONFIG, SETTINGS, SECRETS] {
            let (link, target) = (to.join(name), Path::new(CURRENT).join(name));
            if std::fs::read_link(&link).is_ok_and(|is| is == target) {
                continue;
            }
            files::remove(&link)
                .and_then(|()| std::os::unix::fs::symlink(&target, &link))
                .map_err(failed("make the link", &link))?;
        }
        Ok(Self { to: to.to_path_buf(), group })
    }

    /// The set that was taken last.
    ///
    /// # Errors
    /// Why it cannot be used, where there is one.
    pub(super) fn current(&self) -> Result<Option<Current>, String> {
        let Ok(target) = std::fs::read_link(self.to.join(CURRENT)) else { return Ok(None) };
        let set = self.to.join(target);
        let damaged = |why: &str| Err(format!("what was taken earlier is damaged: {why}"));
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let Ok(folder) = open(&set, flags, Mode::empty()) else { return damaged("it is gone") };
        let taken = match folder::bytes(&folder, TAKEN, TAKEN, TAKEN_BYTES_MAX) {
            Ok(Some(bytes)) => serde_json::from_slice::<Taken>(&bytes),
            Ok(None) => return damaged("its note is gone"),
            Err(why) => return damaged(&why),
        };
        let Ok(taken) = taken else { return damaged("its note cannot be understood") };
        match folder::read(&set) {
            Found::Bundle(bundle) if bundle.digest() == taken.digest => {
                Ok(Some(Current { bundle, taken }))
            }
            Found::Bundle(_) => damaged("it is not what was written"),
            Found::Nothing(_) => damaged("its configuration is gone"),
            Found::Broken(why) => damaged(&why.join("; ")),
        }
    }

    /// Makes a set the current one. It is durable when this returns.
    pub(super) fn commit(&self, bundle: &Bundle, taken: &Taken) -> Result<(), ProvisionError> {
        let sets = self.to.join(SETS);
        let new = sets.join("new");
        self.write_set(&new, bundle, taken).map_err(failed("write", &new))?;
        let name = &taken.digest[..NAME_LEN.min(taken.digest.len())];
        let set = sets.join(name);
        files::remove(&set)
            .and_then(|()| files::rename(&new, &set))
            .map_err(failed("write", &set))?;
        let (current, next) = (self.to.join(CURRENT), self.to.join("current.new"));
        files::remove(&next)
            .and_then(|()| std::os::unix::fs::symlink(Path::new(SETS).join(name), &next))
            .and_then(|()| files::rename(&next, &current))
            .map_err(failed("replace", &current))
    }

    fn write_set(&self, new: &Path, bundle: &Bundle, taken: &Taken) -> io::Result<()> {
        files::remove(new)?;
        files::make_folder(new, 0o750, self.group)?;
        files::write(&new.join(CONFIG), bundle.config.as_bytes(), 0o640, self.group)?;
        if let Some(settings) = &bundle.settings {
            files::write(&new.join(SETTINGS), settings.as_bytes(), 0o640, self.group)?;
        }
        let secrets = new.join(SECRETS);
        files::make_folder(&secrets, 0o700, None)?;
        for (name, secret) in &bundle.secrets {
            files::write(&secrets.join(name), secret, 0o600, None)?;
        }
        files::sync_folder(&secrets)?;
        files::write(&new.join(TAKEN), &serde_json::to_vec(taken)?, 0o600, None)?;
        files::sync_folder(new)
    }

    /// Notes anew what was passed over for the current set.
    pub(super) fn note(&self, taken: &Taken) -> Result<(), ProvisionError> {
        let path = self.to.join(CURRENT).join(TAKEN);
        let write = || files::replace(&path, &serde_json::to_vec(taken)?, 0o600, None);
        write().map_err(failed("write", &path))
    }

    /// Removes sets that are not current: their secrets are not wanted any more, and half a set is
    /// none.
    pub(super) fn tidy(&self) -> Result<(), ProvisionError> {
        let sets = self.to.join(SETS);
        let current = std::fs::read_link(self.to.join(CURRENT)).ok();
        let name = current.as_deref().and_then(Path::file_name);
        let entries = std::fs::read_dir(&sets).map_err(failed("read", &sets))?;
        for entry in entries.flatten() {
            if Some(entry.file_name().as_os_str()) != name {
                files::remove(&entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        files::sync_folder(&sets).map_err(failed("sync", &sets))
    }
}
