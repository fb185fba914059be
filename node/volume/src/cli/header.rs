//! Header backups, for technicians.

use std::path::PathBuf;

use super::HeaderAction;
use crate::confirm::Confirmation;
use crate::error::Error;
use crate::volume::Volume;
use crate::{backup, state};

pub(super) fn header(
    volume: &Volume<'_>,
    action: HeaderAction,
    file: Option<PathBuf>,
    how: &Confirmation,
) -> Result<(), Error> {
    let uuid = volume.known_uuid()?;
    let kept = backup::path(volume.config, volume.name(), uuid.as_deref().unwrap_or_default());
    match (action, file) {
        (HeaderAction::Backup, Some(file)) => backup::write(&mut volume.header()?, &file),
        (HeaderAction::Backup, None) => {
            println!("{}", back_up(volume, how)?.display());
            Ok(())
        }
        (HeaderAction::Check, file) => {
            let file = file.unwrap_or(kept);
            let mut luks = backup::check(&file, volume.kdf(), uuid.as_deref())?;
            let key = volume.machine_key(&mut luks)?;
            println!("{} opens by {}, slot {}", file.display(), key.source.as_str(), key.slot);
            Ok(())
        }
        (HeaderAction::Restore, file) => {
            let file = file.unwrap_or(kept);
            let mut luks = backup::check(&file, volume.kdf(), uuid.as_deref())?;
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
                match volume.restore(&file, &shown)? {
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
