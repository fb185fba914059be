//! A recording that is arriving as a stream, and the set of them.
//!
//! Invariants: bytes are laid down strictly from the front, each once; one connection at a time
//! writes; the digest covers exactly the bytes received; `durable` never runs ahead of the disk.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holdfast_core::RecordingId;
use holdfast_core::names::{Container, VolumeId};
use holdfast_core::sniff;
use tokio::sync::{Notify, OwnedMutexGuard, watch};

use crate::blocking;
use crate::digest::{self, Sha256};
use crate::vault::{Home, Vault, VaultError, VaultFile};

/// A stream's standing on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Every byte before this offset is durable.
    Durable(u64),
    /// The disk refused; nothing past the last durable offset counts.
    Failed {
        /// Whether it was for want of space.
        no_space: bool,
    },
}

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Laid {
    /// It is in the file (or was before); so many bytes are received now.
    Received(u64),
    /// It begins after the end; the stream goes on at this offset.
    Gap(u64),
    /// Another connection has taken over.
    TakenOver,
    /// The first bytes are no recording's.
    NotARecording,
}

/// A recording that is arriving.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: RecordingId,
    pub(super) home: Home,
    raw: Option<Arc<VaultFile>>,
    writer: Arc<tokio::sync::Mutex<Option<Writer>>>,
    received: AtomicU64,
    dirty: AtomicBool,
    /// A job was begun to transcode it while it comes in: one is all there is.
    pub(super) had_live_job: AtomicBool,
    /// The volume's failures that this file was asked about.
    pub(super) failures_checked: AtomicU64,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) epoch: watch::Sender<u64>,
}

#[derive(Debug)]
struct Writer {
    received: u64,
    digest: Sha256,
    head: Vec<u8>,
}

impl Stream {
    /// A stream whose file is empty.
    pub(super) fn new(home: Home, raw: VaultFile) -> Arc<Self> {
        Self::at(home, raw, Writer { received: 0, digest: Sha256::new(), head: Vec::new() })
    }

    /// A stream as far as its file reaches, made durable first. Blocks.
    pub(super) fn reopen(home: Home, raw: VaultFile) -> io::Result<Arc<Self>> {
        raw.sync()?;
        let (received, digest) = digest::of_start(&raw, u64::MAX)?;
        let head = digest::read_start(&raw, sniff::HEAD_BYTES as u64)?;
        Ok(Self::at(home, raw, Writer { received, digest, head }))
    }

    /// A stream that is saved: it has its bytes, and takes no more.
    pub(super) fn saved(home: Home, bytes: u64) -> Arc<Self> {
        Self::make(home, None, None, bytes)
    }

    fn at(home: Home, raw: VaultFile, writer: Writer) -> Arc<Self> {
        let received = writer.received;
        Self::make(home, Some(Arc::new(raw)), Some(writer), received)
    }

    fn make(
        home: Home,
        raw: Option<Arc<VaultFile>>,
        writer: Option<Writer>,
        received: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: home.id,
            home,
            raw,
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            received: AtomicU64::new(received),
            dirty: AtomicBool::new(false),
            had_live_job: AtomicBool::new(false),
            failures_checked: AtomicU64::new(0),
            standing: watch::Sender::new(Standing::Durable(received)),
            epoch: watch::Sender::new(0),
        })
    }

    /// How many bytes are in the file.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// Takes the stream over from whichever connection had it.
    pub(super) fn take_over(&self) -> u64 {
        let mut mine = 0;
        self.epoch.send_modify(|epoch| {
            *epoch += 1;
            mine = *epoch;
        });
        mine
    }

    /// Lays a chunk down. Trims what was there before; refuses to leave a hole.
    ///
    /// # Errors
    /// [`VaultError`] when it could not be written, or there is no room for it. What was received
    /// before stands.
    pub(super) async fn lay(
        &self,
        vault: &Arc<Vault>,
        epoch: u64,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Laid, VaultError> {
        let mut guard = self.writer.lock().await;
        if *self.epoch.borrow() != epoch {
            return Ok(Laid::TakenOver);
        }
        let received = guard.as_ref().ok_or_else(|| self.closed(vault))?.received;
        if offset > received {
            return Ok(Laid::Gap(received));
        }
        let known = usize::try_from(received - offset).unwrap_or(usize::MAX);
        if known >= bytes.len() {
            return Ok(Laid::Received(received));
        }
        let raw = Arc::clone(self.raw.as_ref().ok_or_else(|| self.closed(vault))?);
        let mut writer = guard.take().ok_or_else(|| self.closed(vault))?;
        let fresh = bytes.slice(known..);
        let (room, home) = (Arc::clone(vault), self.home);
        let written = blocking::run(move || {
            let result = match room.check_room(home) {
                Ok(()) => writer.write(&raw, &fresh).map_err(Ok),
                Err(no_room) => Err(Err(no_room)),
            };
            (writer, result)
        });
        let (writer, result) =
            written.await.map_err(|e| self.failed(vault, io::Error::other(e)))?;
        self.received.store(writer.received, Ordering::Release);
        let laid = if writer.is_surely_no_recording() {
            Laid::NotARecording
        } else {
            Laid::Received(writer.received)
        };
        *guard = Some(writer);
        match result {
            Ok(()) => Ok(laid),
            Err(Ok(source)) => {
                vault.note_trouble(self.home, &source);
                Err(self.failed(vault, source))
            }
            Err(Err(no_room)) => Err(no_room),
        }
    }

    fn closed(&self, vault: &Vault) -> VaultError {
        self.failed(vault, io::Error::other("the stream is closed; resume it"))
    }

    fn failed(&self, vault: &Vault, source: io::Error) -> VaultError {
        vault.failed("write to", self.home, source)
    }

    /// Digest and container of what was received.
    pub(super) async fn digest(&self) -> Option<(String, Option<Container>)> {
        let guard = self.writer.lock().await;
        guard.as_ref().map(|writer| (writer.digest.clone().finish(), sniff::sniff(&writer.head)))
    }

    /// Makes what was received durable; answers how far that reaches. Blocks.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.raw.as_ref().map_or(Ok(()), |raw| raw.sync_data())
    }

    /// Makes all of its volume durable. Blocks.
    pub(super) fn sync_volume(&self) -> io::Result<()> {
        self.raw.as_ref().map_or(Ok(()), |raw| raw.sync_all())
    }

    /// Cuts the file back to its durable bytes after the disk refused, and closes it.
    pub(super) async fn fail(self: &Arc<Self>, no_space: bool) {
        // Whoever writes now ends first, and nobody writes afterwards: that would leave a hole.
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let stream = Arc::clone(self);
        if let Err(error) = blocking::run(move || stream.cut_back(writer, no_space)).await {
            tracing::error!(%error, "a worker thread ended");
        }
    }

    fn cut_back(&self, mut writer: OwnedMutexGuard<Option<Writer>>, no_space: bool) {
        *writer = None;
        let durable = match *self.standing.borrow() {
            Standing::Durable(offset) => offset,
            Standing::Failed { .. } => return,
        };
        if let Some(Err(error)) = self.raw.as_ref().map(|raw| raw.set_len(durable)) {
            tracing::error!(recording = %self.id, %error, "could not cut back to the durable bytes");
        }
        self.standing.send_replace(Standing::Failed { no_space });
    }

    fn is_failed(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Failed { .. })
    }
}

impl Writer {
    fn write(&mut self, raw: &VaultFile, bytes: &[u8]) -> io::Result<()> {
        raw.write_all_at(bytes, self.received)?;
        self.digest.update(bytes);
        let wanted = sniff::HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        self.received += bytes.len() as u64;
        Ok(())
    }

    fn is_surely_no_recording(&self) -> bool {
        self.head.len() == sniff::HEAD_BYTES && sniff::sniff(&self.head).is_none()
    }
}

/// The streams that have, or lately had, a client.
#[derive(Debug, Default)]
pub struct Streams {
    open: Mutex<HashMap<RecordingId, Arc<Stream>>>,
    dirty: Mutex<Vec<Arc<Stream>>>,
    pub(super) wake: Notify,
    /// One round at a time, so that none takes another's errors or goes back behind its offsets.
    pub(super) rounds: tokio::sync::Mutex<()>,
    /// How often a sync of a whole volume failed.
    pub(super) volume_failures: AtomicU64,
}

impl Streams {
    /// A set without streams.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn get(&self, id: RecordingId) -> Option<Arc<Stream>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&id).filter(|stream| !stream.is_failed()).cloned()
    }

    /// Enters a stream; the one that is there already stands, unless its disk failed it.
    pub(super) fn enter(&self, stream: Arc<Stream>) -> Arc<Stream> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&stream.id).is_none_or(|there| there.is_failed()) {
            open.insert(stream.id, Arc::clone(&stream));
        }
        open.get(&stream.id).cloned().unwrap_or(stream)
    }

    pub(super) fn leave(&self, id: RecordingId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// How many bytes a stream has received, if it is known here.
    #[must_use]
    pub fn received(&self, id: RecordingId) -> Option<u64> {
        self.get(id).map(|stream| stream.received())
    }

    /// Forgets a stream whose recording was deleted, and sends away who still writes to it.
    pub fn forget(&self, id: RecordingId) {
        if let Some(stream) = self.get(id) {
            stream.take_over();
        }
        self.leave(id);
    }

    /// Ends the streams on a volume that is gone, and closes their files: as long as one is open the
    /// kernel holds on to the old disk. Their clients resume once it is back.
    pub async fn leave_volume(&self, volume: VolumeId) {
        let streams: Vec<_> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let is_its = |home: Home| home.volume.is_none_or(|it| it == volume);
            open.extract_if(|_, stream| is_its(stream.home)).collect()
        };
        for (_, stream) in streams {
            stream.fail(false).await;
        }
    }

    /// Notes that a stream has bytes that are not durable yet.
    pub(super) fn touch(&self, stream: &Arc<Stream>) {
        if !stream.dirty.swap(true, Ordering::AcqRel) {
            let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
            dirty.push(Arc::clone(stream));
            self.wake.notify_one();
        }
    }

    /// The streams that have bytes to make durable, each with how many it has.
    pub(super) fn take_dirty(&self) -> Vec<(Arc<Stream>, u64)> {
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        dirty
            .into_iter()
            .map(|stream| {
                stream.dirty.store(false, Ordering::Release);
                let received = stream.received();
                (stream, received)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn stream(name: &str) -> (std::path::PathBuf, Arc<Vault>, Arc<Stream>) {
        let folder = tempfile::tempdir().unwrap().keep();
        let path = folder.join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let vault = Arc::new(Vault::open(&folder, 0).unwrap());
        (path, vault, Stream::new(RecordingId::new(1, [1; 10]).into(), file.into()))
    }

    #[tokio::test]
    async fn chunks_twice_overlapping_or_early_never_corrupt_the_file() {
        let (path, vault, stream) = stream("chunks");
        let epoch = stream.take_over();
        let lay = async |offset, bytes: &'static [u8]| {
            stream.lay(&vault, epoch, offset, Bytes::from_static(bytes)).await.unwrap()
        };
        assert_eq!(lay(0, b"abcd").await, Laid::Received(4));
        assert_eq!(lay(0, b"ZZZZ").await, Laid::Received(4));
        assert_eq!(lay(2, b"ZZef").await, Laid::Received(6));
        assert_eq!(lay(7, b"h").await, Laid::Gap(6));
        assert_eq!(lay(6, b"g").await, Laid::Received(7));
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdefg");
        assert_eq!(stream.digest().await.unwrap().0, digest::of(b"abcdefg"));
        let again = Stream::reopen(stream.home, File::open(&path).unwrap().into()).unwrap();
        assert_eq!(again.digest().await.unwrap().0, digest::of(b"abcdefg"));
        assert_eq!(again.received(), 7);
    }

    #[tokio::test]
    async fn a_disk_that_refuses_takes_the_stream_back_to_its_durable_bytes() {
        let (path, vault, stream) = stream("refused");
        let streams = Streams::new();
        streams.enter(Arc::clone(&stream));
        let epoch = stream.take_over();
        stream.lay(&vault, epoch, 0, Bytes::from_static(b"durable")).await.unwrap();
        stream.standing.send_replace(Standing::Durable(7));
        stream.lay(&vault, epoch, 7, Bytes::from_static(b" lost")).await.unwrap();
        let failing = Arc::clone(&stream);
        failing.fail(true).await;
        assert!(stream.lay(&vault, epoch, 12, Bytes::from_static(b"!")).await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"durable");
        assert!(streams.get(stream.id).is_none());
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let again = streams.enter(Stream::reopen(stream.home, file.into()).unwrap());
        assert_eq!(again.received(), 7);
    }

    #[tokio::test]
    async fn one_connection_writes() {
        let (_, vault, stream) = stream("takeover");
        let first = stream.take_over();
        let second = stream.take_over();
        let late = stream.lay(&vault, first, 0, Bytes::from_static(b"late")).await.unwrap();
        assert_eq!(late, Laid::TakenOver);
        let mine = stream.lay(&vault, second, 0, Bytes::from_static(b"mine")).await.unwrap();
        assert_eq!(mine, Laid::Received(4));
    }

    #[tokio::test]
    async fn what_is_surely_no_recording_is_said_at_once() {
        let (_, vault, stream) = stream("zeros");
        let epoch = stream.take_over();
        let zeros = Bytes::from_static(&[0; sniff::HEAD_BYTES]);
        assert_eq!(
            stream.lay(&vault, epoch, 0, zeros.slice(..100)).await.unwrap(),
            Laid::Received(100)
        );
        assert_eq!(
            stream.lay(&vault, epoch, 100, zeros.slice(100..)).await.unwrap(),
            Laid::NotARecording
        );
    }
}
