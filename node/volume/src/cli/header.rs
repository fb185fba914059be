//! Header backups, for technicians.

use std::path::{Path, PathBuf};

use super::{HeaderAction, show_key, typed_secret};
use crate::confirm::Confirmation;
use crate::error::Error;
use crate::keys::RecoveryKey;
use crate::sealed::{self, Opened};
use crate::volume::Volume;
use crate::{backup, state};

/// A file that was named, and whether a backup that is written there is to be encrypted.
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) encrypt: bool,
}

pub(super) fn header(
    volume: &Volume<'_>,
    action: HeaderAction,
    file: Option<Named>,
    how: &Confirmation,
) -> Result<(), Error> {
    let uuid = volume.known_uuid()?;
    let kept = backup::path(volume.config, volume.name(), uuid.as_deref().unwrap_or_default());
    match (action, file) {
        (HeaderAction::Backup, Some(Named { path, encrypt: false })) => {
            backup::write(&mut volume.header()?, &path)
        }
        (HeaderAction::Backup, Some(Named { path, encrypt: true })) => export(volume, &path),
        (HeaderAction::Backup, None) => {
            println!("{}", back_up(volume, how)?.display());
            Ok(())
        }
        (HeaderAction::Check, file) => {
            let file = file.map_or(kept, |it| it.path);
            let opened = decrypted(&file)?;
            let plain = opened.as_ref().map_or_else(|| file.clone(), Opened::path);
            let checked = backup::check(&plain, volume.kdf(), uuid.as_deref());
            let mut luks = checked.map_err(|e| e.of_header(&file))?;
            let key = volume.machine_key(&mut luks)?;
            println!("{} opens by {}, slot {}", file.display(), key.source.as_str(), key.slot);
            Ok(())
        }
        (HeaderAction::Restore, file) => {
            let file = file.map_or(kept, |it| it.path);
            let opened = decrypted(&file)?;
            let plain = opened.as_ref().map_or_else(|| file.clone(), Opened::path);
            let checked = backup::check(&plain, volume.kdf(), uuid.as_deref());
            let mut luks = checked.map_err(|e| e.of_header(&file))?;
            let (of, opens) = (luks.uuid()?, volume.machine_key(&mut luks).is_ok());
            let shown = volume.shown()?;
            let lost = shown.contents_beside(&of).join(", ");
            let (lost, and) = if lost.is_empty() {
                (String::new(), String::new())
            } else {
                (format!(" It holds {lost}, which would be lost."), format!(" and lose {lost}"))
            };
            let would = format!(
                "The header of {} would be replaced by {}.{lost} The machine's key opens that backup: \
                 {}. Keys that were retired since it was made would open the volume again.",
                shown.path.display(),
                file.display(),
                if opens { "yes" } else { "NO" },
            );
            if how.asks(&would, &format!("restore {} {of}{and}", volume.name()))? {
                let _lock = state::lock(volume.name())?;
                match volume.restore(&plain, &shown)? {
                    Some(path) => println!("the kept backup is made anew: {}", path.display()),
                    None => {
                        println!("no key of the machine's opens it; the kept backup is the old");
                    }
                }
            }
            Ok(())
        }
    }
}

/// Writes an encrypted backup. Its key is shown before there is anything that it opens.
fn export(volume: &Volume<'_>, file: &Path) -> Result<(), Error> {
    let mut luks = volume.header()?;
    let key = RecoveryKey::generate()?;
    let shown = show_key("Backup key of this one file", "Keep it away from the file", &key)?;
    shown.map_err(|e| Error::failed("showing the backup key; no backup was written", e))?;
    state::folder(Path::new(state::RUN))?;
    sealed::write(&mut luks, file, &key, Path::new(state::RUN))
}

/// Asks for the key of a backup that is encrypted, and decrypts it; nothing of one that is not.
fn decrypted(file: &Path) -> Result<Option<Opened>, Error> {
    if !sealed::is_sealed(file) {
        return Ok(None);
    }
    let typed = typed_secret("Backup key: ")?;
    let key = RecoveryKey::parse(typed.bytes()).map_err(|e| Error::Header {
        what: file.to_owned(),
        problem: format!("the backup key: {e}"),
    })?;
    sealed::open(file, &key).map(Some)
}

/// Makes the kept backup anew; one that no key of the machine's opens replaces another only if a
/// person says so.
fn back_up(volume: &Volume<'_>, how: &Confirmation) -> Result<PathBuf, Error> {
    let lock = state::lock(volume.name())?;
    let refused = match volume.keep_backup(false) {
        Err(e @ (Error::NoKey { .. } | Error::Header { .. })) => e,
        kept => return kept,
    };
    drop(lock);
    let would = format!("{refused}\nThe kept backup would be replaced by one that may be damaged.");
    if how.asks(&would, &format!("back up {} unproven", volume.name()))? {
        let _lock = state::lock(volume.name())?;
        return volume.keep_backup(true);
    }
    Err(refused)
}
