//! Copies a file into a directory, on a thread that may block.
//!
//! Every step names its target relative to a folder that is held open, so that neither a symbolic
//! link nor a folder moved meanwhile leads out of the directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, copy_file_range, open, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::Error;
use crate::deliver::progress::Progress;

/// How much is copied between two syncs, in bytes. Synced as it goes, a large file neither crowds
/// out the page cache nor ends in one sync of many minutes that nobody can tell from a hang.
const STEP_BYTES: u64 = 16 << 20;

/// Reads and writes where the kernel cannot copy by itself, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// What to copy where.
pub(super) struct Job {
    pub(super) source: PathBuf,
    pub(super) bytes: u64,
    pub(super) root: PathBuf,
    /// The folders below the root and, last, the file's name.
    pub(super) parts: Vec<String>,
    pub(super) progress: Progress,
    pub(super) is_stopped: Arc<AtomicBool>,
}

impl Job {
    /// Does it. Afterwards the file is there, whole and durably; or it failed, and what was there
    /// under its name before is as it was.
    pub(super) fn run(&self) -> Result<(), Error> {
        let source = self.open_source()?;
        let (name, folders) = self.parts.split_last().ok_or(Error::Crashed)?;
        let mut folder = Folder::root(&self.root)?;
        for part in folders {
            folder = folder.enter(part)?;
        }
        let temporary = format!(".{name}.part");
        folder.remove(&temporary)?;
        let target = folder.create(&temporary)?;
        let result = self
            .fill(&source, &target, &folder.path.join(&temporary))
            .and_then(|()| folder.rename(&temporary, name, &target, self.bytes));
        if result.is_err() {
            // What is left over takes space and is of no use; the next attempt would remove it too.
            drop(folder.remove(&temporary));
        }
        result
    }

    fn open_source(&self) -> Result<File, Error> {
        let failed = |source| Error::Source { path: self.source.clone(), source };
        let file = File::open(&self.source).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found == 0 {
            return Err(Error::SourceEmpty { path: self.source.clone() });
        }
        if found != self.bytes {
            return Err(Error::SourceBytes {
                path: self.source.clone(),
                expected: self.bytes,
                found,
            });
        }
        Ok(file)
    }

    fn fill(&self, source: &File, target: &File, path: &Path) -> Result<(), Error> {
        let failed = |error| Error::target("write", path, error);
        let mut copier = Copier { source, target, path, job: self, buffer: Vec::new() };
        self.progress.start_at(0);
        let (mut offset, mut synced) = (0, 0);
        while offset < self.bytes {
            if self.is_stopped.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let end = self.bytes.min(offset + self.progress.piece_bytes(STEP_BYTES));
            let _ = self.progress.leave_blocking(end - offset);
            copier.copy(offset, end)?;
            if end >= synced + STEP_BYTES {
                target.sync_data().map_err(failed)?;
                synced = end;
            }
            self.progress.moved(end - offset);
            offset = end;
        }
        target.sync_all().map_err(failed)?;
        let found = target.metadata().map_err(failed)?.len();
        if found != self.bytes {
            return Err(Error::TargetBytes { path: path.into(), expected: self.bytes, found });
        }
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        Ok(())
    }
}

/// Removes a file from below a root, durably. One that is not there, or whose folder is not, is
/// removed.
pub(super) fn remove(root: &Path, parts: &[String]) -> Result<(), Error> {
    let Some((name, folders)) = parts.split_last() else { return Ok(()) };
    let mut folder = Folder::root(root)?;
    for part in folders {
        let path = folder.path.join(part);
        let Some(next) = folder.open_folder(part, &path)? else { return Ok(()) };
        folder = next;
    }
    folder.remove(name)?;
    folder.sync()
}

struct Copier<'a> {
    source: &'a File,
    target: &'a File,
    path: &'a Path,
    job: &'a Job,
    /// Empty while the kernel copies.
    buffer: Vec<u8>,
}

impl Copier<'_> {
    fn copy(&mut self, mut offset: u64, end: u64) -> Result<(), Error> {
        while offset < end {
            let copied = if self.buffer.is_empty() {
                self.copy_in_kernel(offset, end)
            } else {
                self.copy_by_hand(offset, end)?
            };
            offset += copied;
        }
        Ok(())
    }

    /// Lets the kernel copy: it shares blocks where the file system can, and a file server copies
    /// by itself. Whatever it refuses is done by hand, which also tells which side failed.
    fn copy_in_kernel(&mut self, offset: u64, end: u64) -> u64 {
        let (Ok(mut from), Ok(mut to)) = (i64::try_from(offset), i64::try_from(offset)) else {
            self.buffer.resize(BUFFER_BYTES, 0);
            return 0;
        };
        let length = usize::try_from(end - offset).unwrap_or(BUFFER_BYTES);
        match copy_file_range(self.source, Some(&mut from), self.target, Some(&mut to), length) {
            Err(Errno::EINTR) => 0,
            Ok(copied) if copied > 0 => copied as u64,
            _ => {
                self.buffer.resize(BUFFER_BYTES, 0);
                0
            }
        }
    }

    fn copy_by_hand(&mut self, offset: u64, end: u64) -> Result<u64, Error> {
        let length = usize::try_from(end - offset).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let path = || self.job.source.clone();
        let read = match self.source.read_at(&mut self.buffer[..length], offset) {
            Ok(0) => {
                let expected = self.job.bytes;
                return Err(Error::SourceBytes { path: path(), expected, found: offset });
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            Err(source) => return Err(Error::Source { path: path(), source }),
        };
        self.target
            .write_all_at(&self.buffer[..read], offset)
            .map_err(|error| Error::target("write", self.path, error))?;
        Ok(read as u64)
    }
}

/// A folder, held open.
struct Folder {
    handle: File,
    path: PathBuf,
}

impl Folder {
    fn root(path: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let handle = open(path, flags, Mode::empty())
            .map_err(|errno| Error::Root { source: errno.into() })?;
        Ok(Self { handle: handle.into(), path: path.into() })
    }

    /// Opens a folder in this one, and makes it first where it is missing.
    fn enter(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        match self.open_folder(name, &path)? {
            Some(folder) => Ok(folder),
            None => {
                match mkdirat(&self.handle, name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(Error::target("make", &path, errno)),
                }
                self.sync()?;
                let missing = || Error::target("open", &path, Errno::ENOENT);
                self.open_folder(name, &path)?.ok_or_else(missing)
            }
        }
    }

    fn open_folder(&self, name: &str, path: &Path) -> Result<Option<Self>, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => Ok(Some(Self { handle: handle.into(), path: path.into() })),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) if self.is_link(name) => {
                Err(Error::Link { path: path.into() })
            }
            Err(errno) => Err(Error::target("open", path, errno)),
        }
    }

    fn is_link(&self, name: &str) -> bool {
        fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|found| {
            SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK
        })
    }

    fn create(&self, name: &str) -> Result<File, Error> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.handle, name, flags, Mode::from_bits_truncate(0o644))
            .map(File::from)
            .map_err(|errno| Error::target("make", &self.path.join(name), errno))
    }

    /// Removes a file, if there is one.
    fn remove(&self, name: &str) -> Result<(), Error> {
        match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::target("replace", &self.path.join(name), errno)),
        }
    }

    /// Gives a finished file its name, durably, and checks that the name leads to it.
    fn rename(&self, from: &str, to: &str, file: &File, bytes: u64) -> Result<(), Error> {
        let path = self.path.join(to);
        renameat(&self.handle, from, &self.handle, to)
            .map_err(|errno| Error::target("replace", &path, errno))?;
        self.sync()?;
        let failed = |error| Error::target("read back", &path, error);
        let inode = file.metadata().map_err(failed)?.ino();
        let found = fstatat(&self.handle, to, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::target("read back", &path, errno))?;
        let found_bytes = u64::try_from(found.st_size).unwrap_or(0);
        if found.st_ino != inode || found_bytes != bytes {
            return Err(Error::TargetBytes { path, expected: bytes, found: found_bytes });
        }
        Ok(())
    }

    /// Some network and user-space file systems cannot sync a folder, and say so; with them the
    /// server answers for its names.
    fn sync(&self) -> Result<(), Error> {
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
