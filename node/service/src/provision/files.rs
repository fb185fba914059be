//! Files that are there whole or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a new file and brings it to the disk.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32, group: Option<u32>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // A name that is there already, even as a link, is not written through.
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if let Some(group) = group {
        std::os::unix::fs::fchown(&file, None, Some(group))?;
    }
    let is_set = file.set_permissions(Permissions::from_mode(mode));
    // vfat knows no modes.
    is_set.or_else(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Ok(()),
        _ => Err(error),
    })?;
    file.sync_all()
}

/// Puts a file in the place of another, durably.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32, group: Option<u32>) -> io::Result<()> {
    let new = path.with_extension("new");
    remove(&new)?;
    write(&new, bytes, mode, group)?;
    rename(&new, path)
}

/// Renames and brings the name to the disk.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "settings get their name, no recording")]
    std::fs::rename(from, to)?;
    sync_folder(to.parent().unwrap_or(Path::new("/")))
}

/// Removes a file, a link or a folder with all that it holds, where there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "what is left of a configuration, no recording")]
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Brings a folder's names to the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a folder, with this mode and group whatever the umask.
pub(super) fn make_folder(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    group.map_or(Ok(()), |group| std::os::unix::fs::chown(path, None, Some(group)))
}

/// What a file is called between its name's end and its own; hidden, so that it is no secret any more.
pub(super) const GOING: &str = ".going.";

/// Removes a file and what it holds, as far as its medium overwrites in place. It loses its name
/// first: half of it must never be taken for the whole.
pub(super) fn wipe(folder: &Path, name: &str) -> io::Result<()> {
    let going = folder.join(format!("{GOING}{name}"));
    rename(&folder.join(name), &going)?;
    wipe_going(&going)
}

/// Ends what [`wipe`] began.
pub(super) fn wipe_going(going: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
    let mut file = options.write(true).custom_flags(flags).open(going)?;
    let length = file.metadata()?.len().min(super::SECRET_BYTES_MAX);
    file.write_all(&vec![0; usize::try_from(length).unwrap_or(0)])?;
    file.sync_all()?;
    remove(going)
}
