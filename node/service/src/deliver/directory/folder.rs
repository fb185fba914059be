//! A folder that is held open.
//!
//! Every step names its target relative to one, so that neither a symbolic link nor a folder moved
//! meanwhile leads out of the directory.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, open, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::error::Error;

/// A folder, held open.
pub(super) struct Folder {
    handle: File,
    pub(super) path: PathBuf,
}

/// What has a name.
pub(super) enum Found {
    Nothing,
    /// A file of this size, in bytes.
    File(u64),
    /// A link, a folder, a device.
    Other,
}

impl Folder {
    /// The destination's own. With a mount point it must lie in what is mounted there, and not in
    /// the file system underneath.
    pub(super) fn root(path: &Path, mount_point: Option<&Path>) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let handle = open(path, flags, Mode::empty())
            .map_err(|errno| Error::Root { source: errno.into() })?;
        let folder = Self { handle: handle.into(), path: path.into() };
        if let Some(mount_point) = mount_point {
            folder.must_be_mounted(mount_point)?;
        }
        Ok(folder)
    }

    /// Asks the folder that is open, so that nothing can be unmounted between this and a write.
    fn must_be_mounted(&self, mount_point: &Path) -> Result<(), Error> {
        let failed = |source| Error::Root { source };
        let here = self.handle.metadata().map_err(failed)?.dev();
        let beside = mount_point.parent().unwrap_or(mount_point);
        let underneath = beside.metadata().map_err(failed)?.dev();
        if here == underneath {
            return Err(Error::NotMounted { mount_point: mount_point.into() });
        }
        Ok(())
    }

    /// Opens a folder in this one, and makes it first where it is missing.
    pub(super) fn enter(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        match self.open_folder(name)? {
            Some(folder) => Ok(folder),
            None => {
                match mkdirat(&self.handle, name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(Error::target("make", &path, errno)),
                }
                self.sync()?;
                let missing = || Error::target("open", &path, Errno::ENOENT);
                self.open_folder(name)?.ok_or_else(missing)
            }
        }
    }

    /// Opens a folder in this one, if there is one.
    pub(super) fn open_folder(&self, name: &str) -> Result<Option<Self>, Error> {
        let path = self.path.join(name);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => Ok(Some(Self { handle: handle.into(), path })),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) if self.is_link(name) => Err(Error::Link { path }),
            Err(errno) => Err(Error::target("open", &path, errno)),
        }
    }

    fn is_link(&self, name: &str) -> bool {
        self.status(name).is_ok_and(|found| kind(&found) == SFlag::S_IFLNK)
    }

    /// Looks what has a name; links are not followed.
    pub(super) fn look(&self, name: &str) -> Result<Found, Error> {
        match self.status(name) {
            Ok(found) if kind(&found) == SFlag::S_IFREG => {
                Ok(Found::File(u64::try_from(found.st_size).unwrap_or(0)))
            }
            Ok(_) => Ok(Found::Other),
            Err(Errno::ENOENT) => Ok(Found::Nothing),
            Err(errno) => Err(Error::target("look at", &self.path.join(name), errno)),
        }
    }

    fn status(&self, name: &str) -> Result<FileStat, Errno> {
        fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Opens a file that is there, to read it.
    pub(super) fn open(&self, name: &str) -> Result<File, Error> {
        self.file(name, OFlag::O_RDONLY, "read")
    }

    /// Opens a file that is there, to go on with it.
    pub(super) fn reopen(&self, name: &str) -> Result<File, Error> {
        self.file(name, OFlag::O_RDWR, "go on with")
    }

    /// Makes a file that is not there.
    pub(super) fn create(&self, name: &str) -> Result<File, Error> {
        self.file(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL, "make")
    }

    fn file(&self, name: &str, flags: OFlag, verb: &'static str) -> Result<File, Error> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&self.handle, name, flags, Mode::from_bits_truncate(0o644))
            .map(File::from)
            .map_err(|errno| Error::target(verb, &self.path.join(name), errno))
    }

    /// Removes a file, if there is one.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::target("replace", &self.path.join(name), errno)),
        }
    }

    /// Gives a finished file its name, durably, and checks that the name leads to it. Answers
    /// `false` where another file has the name and is not to be replaced.
    pub(super) fn rename(
        &self,
        from: &str,
        to: &str,
        file: &File,
        replaces: bool,
    ) -> Result<bool, Error> {
        let path = self.path.join(to);
        let renamed = if replaces {
            renameat(&self.handle, from, &self.handle, to)
        } else {
            match renameat2(&self.handle, from, &self.handle, to, RenameFlags::RENAME_NOREPLACE) {
                Err(Errno::EEXIST) => return Ok(false),
                // Not every network file system can.
                Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                    match self.rename_by_link(from, to)? {
                        true => Ok(()),
                        false => return Ok(false),
                    }
                }
                renamed => renamed,
            }
        };
        renamed.map_err(|errno| Error::target("replace", &path, errno))?;
        self.sync()?;
        let failed = |error| Error::target("read back", &path, error);
        let wanted = file.metadata().map_err(failed)?;
        let found = self.status(to).map_err(|errno| Error::target("read back", &path, errno))?;
        let found_bytes = u64::try_from(found.st_size).unwrap_or(0);
        if found.st_ino != wanted.ino() || found_bytes != wanted.len() {
            return Err(Error::TargetBytes { path, expected: wanted.len(), found: found_bytes });
        }
        Ok(true)
    }

    /// Gives a file another name that nobody has, by a second name for a moment: that is refused where
    /// the name is taken, also by file servers. Where there are no links, it is looked just before.
    fn rename_by_link(&self, from: &str, to: &str) -> Result<bool, Error> {
        let failed = |errno| Error::target("replace", &self.path.join(to), errno);
        match linkat(&self.handle, from, &self.handle, to, AtFlags::empty()) {
            Ok(()) => self.remove(from).map(|()| true),
            Err(Errno::EEXIST) => Ok(false),
            Err(_) if !matches!(self.look(to)?, Found::Nothing) => Ok(false),
            Err(_) => {
                let renamed = renameat(&self.handle, from, &self.handle, to);
                renamed.map(|()| true).map_err(failed)
            }
        }
    }

    /// Some network and user-space file systems cannot sync a folder, and say so; with them the
    /// server answers for its names.
    pub(super) fn sync(&self) -> Result<(), Error> {
        match self.handle.sync_all() {
            Err(error)
                if matches!(
                    Errno::from_raw(error.raw_os_error().unwrap_or(0)),
                    Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EBADF
                ) =>
            {
                Ok(())
            }
            result => result.map_err(|error| Error::target("sync", &self.path, error)),
        }
    }
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_that_is_taken_is_not_given_where_only_links_tell() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::root(dir.path(), None).unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("part"), "ours").unwrap();
        fs::write(path("taken"), "theirs").unwrap();
        assert!(!folder.rename_by_link("part", "taken").unwrap());
        assert_eq!(fs::read(path("taken")).unwrap(), b"theirs");
        assert!(folder.rename_by_link("part", "free").unwrap());
        assert_eq!(fs::read(path("free")).unwrap(), b"ours");
        assert!(!path("part").exists());
    }
}
