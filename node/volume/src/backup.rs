//! Header backups: the 16 MiB without which a volume is noise.
//!
//! One is kept for each volume, in `header_backups`, as `NAME.UUID.luks2`, for root alone, and made anew
//! after each change of a slot, so that no kept one opens with a key that was retired. It is replaced
//! only by one that a key was seen to open: a header whose slots are damaged looks whole. The
//! header that a restored one replaced is beside it as `NAME.UUID.before`, until a key changes. It holds the
//! slots as the disk does, wrapped by their keys, and nothing in the clear: it is worth as much as
//! the disk's own first 16 MiB, and is not encrypted once more. But it opens the volume with the
//! keys of its own day: whoever exports one has to keep it as well as those keys, and destroy it
//! when they are retired.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc;

use crate::config::{Config, Name};
use crate::error::Error;
use crate::keys::Secret;
use crate::luks::{Kdf, Luks};
use crate::state;

/// Ending of the kept files.
const ENDING: &str = "luks2";
/// Ending of one that is being written.
const NEW: &str = "new";
/// Ending of a header that was replaced by a restored one.
const BEFORE: &str = "before";

/// Where the backup of a volume is kept.
#[must_use]
pub fn path(config: &Config, name: &Name, uuid: &str) -> PathBuf {
    config.header_backups.join(format!("{name}.{uuid}.{ENDING}"))
}

/// The kept backups of a volume, with the UUIDs in their names, and what is beside them of earlier
/// headers or was cut off while it was written; a volume that was made anew has
/// several until it is erased.
#[must_use]
pub fn kept(config: &Config, name: &Name) -> Vec<(PathBuf, String)> {
    named(config, name, &[ENDING, NEW, BEFORE])
}

/// The files `NAME.UUID.ENDING` beside the kept backups, with their UUIDs.
pub(crate) fn named(config: &Config, name: &Name, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let prefix = format!("{name}.");
    let entries = fs::read_dir(&config.header_backups).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            let (uuid, ending) = file.strip_prefix(&prefix)?.rsplit_once('.')?;
            endings.contains(&ending).then(|| (entry.path(), uuid.to_owned()))
        })
        .collect()
}

/// The UUIDs of the kept backups of a volume, each once.
#[must_use]
pub fn uuids(config: &Config, name: &Name) -> Vec<String> {
    let uuids: BTreeSet<_> = kept(config, name).into_iter().map(|(_, uuid)| uuid).collect();
    uuids.into_iter().collect()
}

/// How a new backup is known to be better than the one that is kept.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// This key has to open the new one.
    OpensWith(&'a Secret),
    /// A person confirmed that none may.
    Confirmed,
}

/// Makes the kept backup anew. Where none is kept yet, any is better, and is not tried.
///
/// # Errors
/// If it cannot be written, or not be opened; the old one is there still.
pub fn keep(
    config: &Config,
    name: &Name,
    luks: &mut Luks,
    proof: Proof<'_>,
) -> Result<PathBuf, Error> {
    let path = path(config, name, &luks.uuid()?);
    let new = written(config, luks, &path)?;
    if let (true, Proof::OpensWith(key)) = (path.exists(), proof) {
        let opens = check(&new, Kdf::default(), None).and_then(|mut it| it.slot_of(key));
        if !matches!(opens, Ok(Some(_))) {
            remove(config, &new)?;
            let problem = format!(
                "no key opens the header as it is now, so the kept backup stays as it was{}",
                opens.err().map_or(String::new(), |e| format!(": {e}"))
            );
            return Err(Error::Header { what: path, problem });
        }
    }
    put(config, &new, &path)?;
    Ok(path)
}

/// Makes the kept backup, from before the first block of a re-encryption, one from after the last.
///
/// # Errors
/// If the key opens none of the new slots in it, or it cannot be written; the old one is there still.
pub fn take_next(config: &Config, name: &Name, kept: &mut Luks, key: &Secret) -> Result<(), Error> {
    let path = path(config, name, &kept.uuid()?);
    let new = written(config, kept, &path)?;
    let mut luks = check(&new, Kdf::default(), None)?;
    luks.take_next(key)?;
    if luks.slot_of(key)?.is_none() {
        let problem = "the new slot does not open it".to_owned();
        return Err(Error::Header { what: new, problem });
    }
    drop(luks);
    sync(&new).map_err(|e| Error::failed(format!("writing {}", new.display()), e))?;
    put(config, &new, &path)
}

/// Keeps a header that is about to be replaced. One that an earlier restoring kept stays: it is
/// older, and what this one would replace may be half of a backup.
///
/// # Errors
/// If it cannot be written.
pub fn keep_before(config: &Config, name: &Name, luks: &mut Luks) -> Result<PathBuf, Error> {
    let before = path(config, name, &luks.uuid()?).with_extension(BEFORE);
    if !before.exists() {
        let new = written(config, luks, &before)?;
        put(config, &new, &before)?;
    }
    Ok(before)
}

/// Writes a backup beside its place.
fn written(config: &Config, luks: &mut Luks, path: &Path) -> Result<PathBuf, Error> {
    state::folder(&config.header_backups)?;
    let new = path.with_extension(NEW);
    remove(config, &new)?;
    write(luks, &new)?;
    Ok(new)
}

/// Puts a new file in the place of an old one, whose blocks are overwritten before they are freed: it
/// may open with a key that is retired now. A power cut in between leaves the old one as `.new`.
fn put(config: &Config, new: &Path, path: &Path) -> Result<(), Error> {
    let failed = |e: std::io::Error| {
        Error::failed(format!("keeping the header backup {}", path.display()), e)
    };
    if path.exists() {
        renameat2(AT_FDCWD, new, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE)
            .map_err(|e| failed(e.into()))?;
        sync(&config.header_backups).map_err(failed)?;
        return remove(config, new);
    }
    #[expect(clippy::disallowed_methods, reason = "a header backup, no recording")]
    fs::rename(new, path).map_err(failed)?;
    sync(&config.header_backups).map_err(failed)
}

/// Overwrites a file and removes it, durably; nothing if it is not there.
fn remove(config: &Config, file: &Path) -> Result<(), Error> {
    let failed = |e| Error::failed(format!("destroying {}", file.display()), e);
    match overwrite(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        overwritten => overwritten.map_err(failed)?,
    }
    state::remove(file);
    sync(&config.header_backups).map_err(failed)
}

/// Writes a backup to a file that must not be there yet, and reads it back.
///
/// # Errors
/// If it is there, or cannot be written.
pub fn write(luks: &mut Luks, file: &Path) -> Result<(), Error> {
    luks.back_up(file)?;
    sync(file).map_err(|e| Error::failed(format!("writing {}", file.display()), e))?;
    check(file, Kdf::default(), Some(&luks.uuid()?)).map(drop)
}

/// Reads a backup, which has to be of this volume.
///
/// # Errors
/// If it is damaged, no backup, or another volume's.
pub fn check(file: &Path, kdf: Kdf, uuid: Option<&str>) -> Result<Luks, Error> {
    let wrong = |problem: String| Error::Header { what: file.to_owned(), problem };
    let loaded = Luks::load(file, kdf).map_err(|e| wrong(format!("no whole header backup: {e}")));
    let mut luks = loaded?.ok_or_else(|| wrong("no header backup".to_owned()))?;
    let length = file.metadata().map_or(0, |meta| meta.len());
    let needed = luks.header_bytes()?;
    if length < needed {
        return Err(wrong(format!("cut off: {length} of {needed} bytes")));
    }
    let of = luks.uuid()?;
    match uuid {
        Some(uuid) if uuid != of => {
            let other =
                format!("the backup of another volume: {of}, not {uuid}. Nothing was changed");
            Err(wrong(other))
        }
        _ => Ok(luks),
    }
}

/// Overwrites and removes the header that a restored one replaced: keys that are retired now may
/// open it.
///
/// # Errors
/// If it stays.
pub fn forget_before(config: &Config, name: &Name, uuid: &str) -> Result<(), Error> {
    remove(config, &path(config, name, uuid).with_extension(BEFORE))
}

/// Overwrites and removes the kept backup of one header, and what is beside it; how many there were. Another disk that was
/// in the same bay keeps its own.
///
/// # Errors
/// If one stays.
pub fn destroy(config: &Config, name: &Name, uuid: &str) -> Result<usize, Error> {
    let mut kept = kept(config, name);
    kept.retain(|(_, of)| uuid == of);
    for (file, _) in &kept {
        remove(config, file)?;
    }
    Ok(kept.len())
}

fn overwrite(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let mut open = options.write(true).custom_flags(libc::O_NOFOLLOW).open(file)?;
    let mut left = open.metadata()?.len();
    let zeros = vec![0; 1 << 20];
    while left > 0 {
        let n = left.min(zeros.len() as u64);
        open.write_all(&zeros[..n as usize])?;
        left -= n;
    }
    open.sync_all()
}

pub(crate) fn sync(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW).open(path).and_then(|it: File| it.sync_all())
}
