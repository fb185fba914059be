//! The file being pushed, read by position and piece by piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};

use super::progress::Progress;

/// How much is read at once, in bytes. A push holds a few of these for each request under way.
const PIECE_BYTES_MAX: u64 = 256 << 10;

/// How often a request that waits for the line shows that it is alive.
const SIGN_EVERY: Duration = Duration::from_secs(1);

/// How much is read on a thread before others have their turn, in bytes.
const FOLDED_BYTES_MAX: u64 = 16 << 20;

/// The vault's file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// It cannot be read.
    #[error("cannot read {path} on this node: {source}")]
    Unread { path: PathBuf, source: io::Error },
    /// It is not what the ledger says.
    #[error("{path} on this node has {found} bytes instead of {expected}")]
    Bytes { path: PathBuf, expected: u64, found: u64 },
    /// It is empty, so it is none of a recording's.
    #[error("{path} on this node is empty")]
    Empty { path: PathBuf },
}

impl SourceError {
    /// The same again: what caused the error of a request comes by reference only.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Unread { path, source } => {
                let source = io::Error::new(source.kind(), source.to_string());
                Self::Unread { path: path.clone(), source }
            }
            Self::Bytes { path, expected, found } => {
                Self::Bytes { path: path.clone(), expected: *expected, found: *found }
            }
            Self::Empty { path } => Self::Empty { path: path.clone() },
        }
    }
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
    /// [`SourceError`].
    pub(super) async fn open(path: &Path, bytes: u64, pace: Progress) -> Result<Self, SourceError> {
        let path: Arc<Path> = path.into();
        let at = path.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(&at)?;
            let found = file.metadata()?.len();
            Ok::<_, io::Error>((file, found))
        });
        let failed = |source| SourceError::Unread { path: path.to_path_buf(), source };
        let (file, found) = joined(opened.await).map_err(failed)?;
        if found == 0 {
            return Err(SourceError::Empty { path: path.to_path_buf() });
        }
        if found != bytes {
            return Err(SourceError::Bytes { path: path.to_path_buf(), expected: bytes, found });
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

    /// The push's progress.
    pub(super) fn pace(&self) -> &Progress {
        &self.pace
    }

    /// Hands the bytes of a range to something that takes them in, such as a checksum.
    pub(super) async fn fold<T: Send + 'static>(
        &self,
        range: Range,
        mut all: T,
        take: impl Fn(&mut T, &[u8]) + Copy + Send + 'static,
    ) -> Result<T, SourceError> {
        let mut rest = range;
        while rest.bytes > 0 {
            let source = self.clone();
            let (now, next) = rest.split_at(FOLDED_BYTES_MAX);
            let folded = tokio::task::spawn_blocking(move || {
                let mut rest = now;
                while rest.bytes > 0 {
                    let (piece, next) = rest.split_at(PIECE_BYTES_MAX);
                    take(&mut all, &source.read(piece)?);
                    rest = next;
                }
                Ok(all)
            });
            all = joined(folded.await).map_err(|source| self.error(source))?;
            self.pace.advance(1);
            rest = next;
        }
        Ok(all)
    }

    /// The bytes of a range; each piece counts as progress once the connection asks for more.
    pub(super) fn stream(
        &self,
        range: Range,
        progress: Progress,
        sent: &Sent,
    ) -> impl Stream<Item = Result<Bytes, SourceError>> + Send + 'static {
        let (source, sent) = (self.clone(), sent.0.clone());
        try_unfold((source, range), move |(source, rest)| {
            let (progress, sent) = (progress.clone(), sent.clone());
            async move {
                progress.advance(1);
                if rest.bytes == 0 {
                    return Ok(None);
                }
                let (piece, next) = rest.split_at(source.pace.piece_bytes(PIECE_BYTES_MAX));
                let waiting = source.pace.leave(piece.bytes);
                alive(waiting, &progress).await;
                sent.count(piece.bytes);
                let reader = source.clone();
                let read = tokio::task::spawn_blocking(move || reader.read(piece));
                let bytes = joined(read.await).map_err(|error| source.error(error))?;
                Ok(Some((Bytes::from(bytes), (source, next))))
            }
        })
    }

    fn read(&self, range: Range) -> io::Result<Vec<u8>> {
        let length = usize::try_from(range.bytes).map_err(io::Error::other)?;
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, range.offset)?;
        Ok(buffer)
    }

    fn error(&self, source: io::Error) -> SourceError {
        SourceError::Unread { path: self.path.to_path_buf(), source }
    }
}

impl Range {
    /// At most so many bytes, and what follows them.
    pub(super) fn split_at(self, bytes_max: u64) -> (Self, Self) {
        let bytes = self.bytes.min(bytes_max);
        let next = Self { offset: self.offset + bytes, bytes: self.bytes - bytes };
        (Self { offset: self.offset, bytes }, next)
    }
}

/// Bytes of one request, counted in the push's progress. If it is dropped before they were `kept`,
/// they did not arrive, and count no more.
pub(super) struct Sent(Arc<Count>);

struct Count {
    pace: Progress,
    /// Nothing once the request is over.
    bytes: Mutex<Option<u64>>,
}

impl Sent {
    /// Of a request that sends bytes of this file.
    pub(super) fn of(source: &Source) -> Self {
        Self(Arc::new(Count { pace: source.pace.clone(), bytes: Mutex::new(Some(0)) }))
    }

    /// They have arrived.
    pub(super) fn kept(&self) {
        self.0.end();
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(bytes) = self.0.end() {
            self.0.pace.lost(bytes);
        }
    }
}

impl Count {
    fn count(&self, more: u64) {
        if let Some(bytes) = &mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) {
            *bytes += more;
            self.pace.moved(more);
        }
    }

    fn end(&self) -> Option<u64> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).take()
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
