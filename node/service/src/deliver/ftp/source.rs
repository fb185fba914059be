//! The file being pushed, read by position.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;

/// A file of the vault, held open.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: Arc<File>,
    path: PathBuf,
    pub(super) bytes: u64,
}

impl Source {
    /// Opens a file that has `bytes` bytes, at least one.
    ///
    /// # Errors
    /// [`Error::Source`]; [`Error::SourceEmpty`]; [`Error::SourceBytes`] where it has another size.
    pub(super) async fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        let at = path.to_path_buf();
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(&at)?;
            let found = file.metadata()?.len();
            Ok((file, found))
        });
        let path = path.to_path_buf();
        let (file, found) = match joined(opened.await) {
            Ok(opened) => opened,
            Err(source) => return Err(Error::Source { path, source }),
        };
        if found == 0 {
            return Err(Error::SourceEmpty { path });
        }
        if found != bytes {
            return Err(Error::SourceBytes { path, expected: bytes, found });
        }
        Ok(Self { file: Arc::new(file), path, bytes })
    }

    /// Reads `length` bytes at an offset into a buffer, which comes back with exactly these.
    pub(super) async fn read(
        &self,
        mut buffer: Vec<u8>,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, Error> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            buffer.resize(length, 0);
            file.read_exact_at(&mut buffer, offset)?;
            Ok(buffer)
        });
        joined(read.await).map_err(|source| Error::Source { path: self.path.clone(), source })
    }
}

fn joined<T>(result: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    result.unwrap_or_else(|error| Err(io::Error::other(error)))
}
