//! The file being pushed, read by position and piece by piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::Context;
use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};

use super::error::Error;
use crate::deliver::progress::Progress;

/// How much is read at once, in bytes. A push holds a few of these for each request under way.
const PIECE_BYTES_MAX: u64 = 256 << 10;

/// How often a request that waits for the line shows that it is alive.
const SIGN_EVERY: Duration = Duration::from_secs(1);

/// The vault's file could not be read in the middle of a request.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path} on this node: {source}")]
pub(super) struct SourceError {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// A file of the vault, held open.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: Arc<File>,
    path: Arc<Path>,
    bytes: u64,
    /// The push's own, over all of its requests.
    pace: Progress,
}

/// Some bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Source {
    /// Opens a file that has `bytes` bytes, at least one.
    ///
    /// # Errors
    /// [`Error::Source`]; [`Error::SourceEmpty`]; [`Error::SourceBytes`] where it has another size.
    pub(super) async fn open(path: &Path, bytes: u64, pace: Progress) -> Result<Self, Error> {
        let path: Arc<Path> = path.into();
        let at = path.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(&at)?;
            let found = file.metadata()?.len();
            Ok::<_, io::Error>((file, found))
        });
        let failed = |source| Error::Source(SourceError { path: path.to_path_buf(), source });
        let (file, found) = joined(opened.await).map_err(failed)?;
        if found == 0 {
            return Err(Error::SourceEmpty { path: path.to_path_buf() });
        }
        if found != bytes {
            return Err(Error::SourceBytes { path: path.to_path_buf(), expected: bytes, found });
        }
        Ok(Self { file: Arc::new(file), path, bytes, pace })
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of it.
    pub(super) fn whole(&self) -> Range {
        Range { offset: 0, bytes: self.bytes }
    }

    /// The push's own progress.
    pub(super) fn pace(&self) -> &Progress {
        &self.pace
    }

    /// Takes a range, at most a piece of it, into a digest.
    pub(super) async fn digest(
        &self,
        range: Range,
        mut digest: Context,
    ) -> Result<Context, SourceError> {
        let source = self.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            digest.update(&source.read(range)?);
            Ok(digest)
        });
        let digest = joined(hashed.await).map_err(|source| self.error(source));
        self.pace.advance(1);
        digest
    }

    /// The bytes of a range; each piece counts in `progress` once the connection asks for it.
    pub(super) fn stream(
        &self,
        range: Range,
        progress: Progress,
    ) -> impl Stream<Item = Result<Bytes, SourceError>> + Send + 'static {
        let source = self.clone();
        try_unfold((source, range), move |(source, rest)| {
            let progress = progress.clone();
            async move {
                progress.advance(1);
                if rest.bytes == 0 {
                    return Ok(None);
                }
                let (piece, next) = rest.split_at(source.pace.piece_bytes(PIECE_BYTES_MAX));
                alive(source.pace.leave(piece.bytes), &progress).await;
                source.pace.moved(piece.bytes);
                progress.moved(piece.bytes);
                let reader = source.clone();
                let read = tokio::task::spawn_blocking(move || reader.read(piece));
                let bytes = joined(read.await).map_err(|error| source.error(error))?;
                Ok(Some((Bytes::from(bytes), (source, next))))
            }
        })
    }

    /// Bytes that were on their way did not arrive.
    pub(super) fn take_back(&self, bytes: u64) {
        self.pace.lost(bytes);
    }

    fn read(&self, range: Range) -> io::Result<Vec<u8>> {
        let length = usize::try_from(range.bytes).map_err(io::Error::other)?;
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, range.offset)?;
        Ok(buffer)
    }

    fn error(&self, source: io::Error) -> SourceError {
        SourceError { path: self.path.to_path_buf(), source }
    }
}

impl Range {
    /// The next piece to read, and what follows it.
    pub(super) fn split(self) -> (Self, Self) {
        self.split_at(PIECE_BYTES_MAX)
    }

    /// At most so many bytes, and what follows them.
    pub(super) fn split_at(self, bytes_max: u64) -> (Self, Self) {
        let bytes = self.bytes.min(bytes_max);
        let next = Self { offset: self.offset + bytes, bytes: self.bytes - bytes };
        (Self { offset: self.offset, bytes }, next)
    }
}

/// Waits for something that is no standstill of the request.
async fn alive(waiting: impl Future<Output = ()>, progress: &Progress) {
    let mut waiting = std::pin::pin!(waiting);
    while tokio::time::timeout(SIGN_EVERY, &mut waiting).await.is_err() {
        progress.advance(1);
    }
}

fn joined<T>(result: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    result.unwrap_or_else(|error| Err(io::Error::other(error)))
}
