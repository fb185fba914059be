//! The file system under the vault: what the vault asks of it, and nothing else.
//!
//! In a node it is the machine's. In the simulation it is one of memory, which forgets at a power cut
//! what was not synced.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::Encryption;
use crate::digest::ReadAt;
#[cfg(test)]
use crate::simulation::disk as simulated;

/// Most pieces that the kernel takes in one call (`IOV_MAX`).
const SLICES_MAX: usize = 1_024;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Reading.
    Reading,
    /// Reading and going on with.
    Writing,
    /// Making it: there must be none.
    New,
    /// Writing it anew, whether there is one or not.
    Anew,
    /// Taking it over from a decoder: it must be a plain file of its own, for a link could lead
    /// anywhere.
    Adopting,
}

/// What is at a place in the tree of folders.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mounted {
    /// The number of its device.
    pub(super) device: u64,
    /// Whether it is another file system than the folder above it.
    pub(super) is_mount_point: bool,
    /// Whether it can only be read.
    pub(super) is_read_only: bool,
    /// Space that is free for the node, in bytes.
    pub(super) free_bytes: u64,
}

/// The file system under the vault.
#[derive(Debug, Clone)]
pub(crate) enum Disk {
    /// The machine's.
    Machine,
    /// One of memory.
    #[cfg(test)]
    Simulated(simulated::Disk),
}

/// An open file in the vault. Its calls block.
#[derive(Debug)]
pub enum VaultFile {
    /// The machine's.
    Machine(File),
    /// One of memory.
    #[cfg(test)]
    Simulated(simulated::File),
}

impl Disk {
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        match self {
            Self::Machine => path.is_dir(),
            #[cfg(test)]
            Self::Simulated(disk) => disk.is_folder(path),
        }
    }

    /// Whether there is a folder, where it can be told.
    pub(super) fn has_folder(&self, path: &Path) -> io::Result<bool> {
        match self {
            Self::Machine => match std::fs::metadata(path) {
                Ok(data) => Ok(data.is_dir()),
                Err(error) if is_absent(&error) => Ok(false),
                Err(error) => Err(error),
            },
            #[cfg(test)]
            Self::Simulated(disk) => Ok(disk.is_folder(path)),
        }
    }

    /// What is mounted at a place.
    pub(super) fn mounted(&self, path: &Path) -> io::Result<Mounted> {
        match self {
            Self::Machine => {
                let folder = open(path, For::Reading)?;
                let device = folder.metadata()?.dev();
                let stat = fstatvfs(&folder)?;
                Ok(Mounted {
                    device,
                    is_mount_point: std::fs::metadata(path.join(".."))?.dev() != device,
                    is_read_only: stat.flags().contains(FsFlags::ST_RDONLY),
                    free_bytes: stat.blocks_available().saturating_mul(stat.fragment_size()),
                })
            }
            #[cfg(test)]
            Self::Simulated(disk) => {
                let free_bytes = disk.free_bytes()?;
                Ok(Mounted { device: 0, is_mount_point: true, is_read_only: false, free_bytes })
            }
        }
    }

    /// Whether a device is encrypted.
    pub(super) fn encryption(&self, device: u64) -> Encryption {
        match self {
            Self::Machine => Encryption::of_device(device),
            #[cfg(test)]
            Self::Simulated(_) => Encryption::None,
        }
    }

    /// Sixteen bytes that nobody can guess; always the same in a simulation.
    pub(super) fn random(&self) -> io::Result<[u8; 16]> {
        match self {
            Self::Machine => {
                let mut random = [0; 16];
                let filled = aws_lc_rs::rand::fill(&mut random);
                filled.map_err(|_| io::Error::other("the kernel gives no randomness"))?;
                Ok(random)
            }
            #[cfg(test)]
            Self::Simulated(_) => Ok([7; 16]),
        }
    }

    /// Makes a folder that only the node's user sees.
    pub(super) fn make_folder(&self, path: &Path, parents: bool) -> io::Result<()> {
        match self {
            Self::Machine => DirBuilder::new().mode(0o700).recursive(parents).create(path),
            #[cfg(test)]
            Self::Simulated(disk) => disk.make_folder(path, parents),
        }
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Machine => File::open(path).and_then(|folder| folder.sync_all()),
            #[cfg(test)]
            Self::Simulated(disk) => disk.sync_folder(path),
        }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        match self {
            Self::Machine => std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect(),
            #[cfg(test)]
            Self::Simulated(disk) => disk.list(path),
        }
    }

    pub(super) fn open(&self, path: &Path, what_for: For) -> io::Result<VaultFile> {
        match self {
            Self::Machine => open(path, what_for).map(VaultFile::Machine),
            #[cfg(test)]
            Self::Simulated(disk) => {
                let (write, make) = match what_for {
                    For::Reading | For::Adopting => (false, simulated::Make::Never),
                    For::Writing => (true, simulated::Make::Never),
                    For::New => (true, simulated::Make::Always),
                    For::Anew => (true, simulated::Make::Empty),
                };
                disk.open(path, write, make).map(VaultFile::Simulated)
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the vault")]
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Machine => std::fs::rename(from, to),
            #[cfg(test)]
            Self::Simulated(disk) => disk.rename(from, to),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the vault")]
    pub(super) fn unlink(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Machine => std::fs::remove_file(path),
            #[cfg(test)]
            Self::Simulated(disk) => disk.unlink(path),
        }
    }

    /// Removes an empty folder.
    pub(super) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Machine => std::fs::remove_dir(path),
            #[cfg(test)]
            Self::Simulated(disk) => disk.remove_folder(path),
        }
    }

    /// Removes a folder with all that is in it.
    #[expect(clippy::disallowed_methods, reason = "this is the vault")]
    pub(super) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Machine => std::fs::remove_dir_all(path),
            #[cfg(test)]
            Self::Simulated(disk) => disk.remove_tree(path),
        }
    }

    /// When a file was last written to.
    pub(super) fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        match self {
            Self::Machine => {
                let at = std::fs::metadata(path)?.modified()?;
                Timestamp::try_from(at).map_err(io::Error::other)
            }
            #[cfg(test)]
            Self::Simulated(disk) => disk.modified(path),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn open(path: &Path, what_for: For) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match what_for {
        For::Reading => options.read(true),
        For::Writing => options.read(true).write(true),
        For::New => options.read(true).write(true).create_new(true).mode(0o600),
        For::Anew => options.write(true).create(true).truncate(true).mode(0o600),
        For::Adopting => {
            let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
            options.read(true).custom_flags(flags)
        }
    };
    let file = options.open(path)?;
    if what_for == For::Adopting {
        let data = file.metadata()?;
        if !data.is_file() || data.nlink() != 1 {
            let said = "the transcoder left something that is no plain file";
            return Err(io::Error::other(said));
        }
    }
    Ok(file)
}

impl VaultFile {
    /// Writes all of these bytes at an offset.
    ///
    /// # Errors
    /// Whatever the disk answers; some of them may be written then.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Machine(file) => file.write_all_at(bytes, offset),
            #[cfg(test)]
            Self::Simulated(file) => file.write_at(bytes, offset),
        }
    }

    /// Writes these pieces one after the other at an offset, as far as one system call takes them;
    /// answers how many bytes that were.
    ///
    /// # Errors
    /// Whatever the disk answers.
    pub fn write_pieces_at(&self, pieces: &[Bytes], offset: u64) -> io::Result<usize> {
        match self {
            Self::Machine(file) => {
                let pieces = &pieces[..pieces.len().min(SLICES_MAX)];
                let slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
                let offset = i64::try_from(offset).map_err(io::Error::other)?;
                Ok(nix::sys::uio::pwritev(file, &slices, offset)?)
            }
            // As if the kernel took only the first.
            #[cfg(test)]
            Self::Simulated(file) => match pieces.first() {
                Some(piece) => file.write_at(piece, offset).map(|()| piece.len()),
                None => Ok(0),
            },
        }
    }

    /// Makes its bytes durable, and how many they are.
    ///
    /// # Errors
    /// Where they may not have become durable.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::Machine(file) => file.sync_all(),
            #[cfg(test)]
            Self::Simulated(file) => file.sync(),
        }
    }

    /// Like [`sync`](Self::sync), without its times.
    ///
    /// # Errors
    /// The same.
    pub fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Machine(file) => file.sync_data(),
            #[cfg(test)]
            Self::Simulated(file) => file.sync(),
        }
    }

    /// Cuts it off, or makes it longer with zeros.
    ///
    /// # Errors
    /// Whatever the disk answers.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Machine(file) => file.set_len(bytes),
            #[cfg(test)]
            Self::Simulated(file) => file.set_len(bytes),
        }
    }

    /// The number of the device that it lies on.
    pub(super) fn device(&self) -> io::Result<u64> {
        match self {
            Self::Machine(file) => Ok(file.metadata()?.dev()),
            #[cfg(test)]
            Self::Simulated(_) => Ok(0),
        }
    }

    /// Has the kernel forget what it has read of it, so that the next reading asks the disk.
    pub(super) fn forget_cached(&self) -> io::Result<()> {
        match self {
            Self::Machine(file) => {
                Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
            }
            #[cfg(test)]
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Space that is free for the node on the file system of this folder, in bytes.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        match self {
            Self::Machine(folder) => {
                let stat = fstatvfs(folder)?;
                Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
            }
            #[cfg(test)]
            Self::Simulated(folder) => folder.disk().free_bytes(),
        }
    }

    /// Makes everything written to the file system of this folder durable.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::Machine(folder) => Ok(nix::unistd::syncfs(folder)?),
            #[cfg(test)]
            Self::Simulated(folder) => folder.disk().sync(),
        }
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// Whatever the disk answers.
    pub fn bytes(&self) -> io::Result<u64> {
        match self {
            Self::Machine(file) => Ok(file.metadata()?.len()),
            #[cfg(test)]
            Self::Simulated(file) => file.bytes(),
        }
    }
}

impl From<File> for VaultFile {
    fn from(file: File) -> Self {
        Self::Machine(file)
    }
}

impl ReadAt for VaultFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Machine(file) => FileExt::read_at(file, buffer, offset),
            #[cfg(test)]
            Self::Simulated(file) => file.read_at(buffer, offset),
        }
    }
}
