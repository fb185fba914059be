//! What keys lie on: files of a fixed size that are overwritten where they are, and never moved.
//!
//! Everything that changes a file is durable once it has returned. What a power cut in the middle of
//! it leaves, of the bytes that it writes and of no others, may be anything.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use crate::digest;

/// Largest file of keys, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where keys lie.
pub(super) trait Ground: Debug + Send + Sync {
    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Makes a file that must not exist.
    fn make(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites bytes of a file in place, within the size that it has.
    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Names in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Removes a file, if there is one.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder in one that exists, if there is none.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
}

/// The machine's file systems.
#[derive(Debug)]
pub(super) struct Machine;

impl Ground for Machine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        digest::read_start(&File::open(path)?, FILE_BYTES_MAX)
    }

    fn make(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        sync_parent(path)
    }

    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(bytes, offset)?;
        file.sync_data()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        std::fs::read_dir(folder)?.map(name).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the vault; what goes is a key's grave")]
    fn unlink(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_parent(path),
        }
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        sync_parent(path)
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
