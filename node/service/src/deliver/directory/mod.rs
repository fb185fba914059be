//! A directory of this machine: a disk, or a share that the machine has mounted.
//!
//! - A file is copied to `.{name}.part` in its own folder, synced, checked, renamed to its name, and
//!   the folder is synced: under its name it is either whole and durable or not there.
//! - A copy that was cut short is gone on with (see `client`). That it is of this very file is noted in
//!   the push's memo before the copy is begun.
//! - The directory itself must exist and is never made. Either it lies inside of a mount and vanishes
//!   with it, or the mount point is named in the settings and looked for: pushes fail instead of
//!   filling the disk underneath.
//! - Every call may hang for ever. It does so on a thread that can be left behind (see `threads`), but
//!   for those that read a file which was opened well a moment before.
//! - No symbolic link below the directory is followed.
//! - Two pushes of one name take turns, also where the first one's future has been dropped.

mod client;
mod copy;
mod error;
mod folder;
#[cfg(test)]
mod tests;
mod threads;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};

use self::client::Root;
use self::error::Error;
use self::threads::Threads;
use super::progress::{Progress, Stalled};
use super::turns::{Turn, Turns};
use super::{Destination, FileToPush, PushError, Reading, names};
use crate::config::{DirectoryDestination, Existing};

/// Most files that are opened at once to be read.
const READINGS_MAX: usize = 8;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest wait for the directory and the file's folder to be opened, in milliseconds.
    pub open_ms_max: u64,
    /// Longest that a push may stand still, in milliseconds. A share whose server is gone hangs for
    /// ever.
    pub stall_ms_max: u64,
    /// Most calls that hang and were given up, before nothing new is begun.
    pub left_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { open_ms_max: 30_000, stall_ms_max: 120_000, left_max: 4 }
    }
}

/// A directory of this machine.
#[derive(Debug)]
pub struct Directory {
    name: String,
    root: Root,
    existing: Existing,
    turns: Turns,
    threads: Threads,
    /// Held by those that open a file to be read, hanging ones too.
    readings: Arc<Semaphore>,
    limits: Limits,
}

/// Of which file the bytes under a temporary name are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    /// Its name below the directory.
    name: String,
    bytes: u64,
    sha256: Option<String>,
}

impl Directory {
    /// A destination from its settings. The directory need not be there yet.
    ///
    /// # Errors
    /// [`PushError`] where the path is not absolute, or does not lie below the mount point.
    pub fn new(settings: &DirectoryDestination) -> Result<Self, PushError> {
        Self::with_limits(settings, Limits::default())
    }

    /// The same with other limits, for tests.
    ///
    /// # Errors
    /// The same.
    pub fn with_limits(settings: &DirectoryDestination, limits: Limits) -> Result<Self, PushError> {
        let DirectoryDestination { name, path, mount_point, existing, .. } = settings.clone();
        let directory = Self {
            name,
            root: Root { path, mount_point },
            existing,
            turns: Turns::default(),
            threads: Threads::default(),
            readings: Arc::new(Semaphore::new(READINGS_MAX)),
            limits,
        };
        let Root { path, mount_point } = &directory.root;
        if !path.is_absolute() {
            return Err(directory.failure(Error::Relative));
        }
        if let Some(mount_point) = mount_point
            && (mount_point.parent().is_none() || !path.starts_with(mount_point))
        {
            let mount_point = mount_point.clone();
            return Err(directory.failure(Error::MountPoint { mount_point }));
        }
        Ok(directory)
    }

    fn failure(&self, error: Error) -> PushError {
        error.into_push_error(&self.name, &self.root.path)
    }

    async fn copy(&self, file: &FileToPush) -> Result<String, Error> {
        let parts = parts(&file.name)?;
        let turn = self.turn(&file.name).await?;
        let progress = file.progress.clone();
        let stop = StopOnDrop::default();
        let job = client::Job {
            source: file.path.clone(),
            bytes: file.bytes,
            root: self.root.clone(),
            parts,
            existing: self.existing,
            goes_on: self.goes_on(file).await?,
            progress: progress.clone(),
            is_stopped: stop.0.clone(),
        };
        let below = self.call(&progress, turn, move |is_open| job.run(is_open)).await?;
        Ok(self.root.path.join(below).to_string_lossy().into_owned())
    }

    /// Whether what lies under the temporary name is this file's. Notes that it is from now on.
    async fn goes_on(&self, file: &FileToPush) -> Result<bool, Error> {
        if file.bytes < client::RESUMED_BYTES_MIN {
            return Ok(false);
        }
        let FileToPush { name, bytes, sha256, .. } = file;
        let begun = Begun { name: name.clone(), bytes: *bytes, sha256: sha256.clone() };
        if file.memo.read().as_ref() == Some(&begun) {
            return Ok(true);
        }
        file.memo.write(&begun).await.map_err(Error::Memo)?;
        Ok(false)
    }

    async fn turn(&self, name: &str) -> Result<Turn, Error> {
        let Limits { open_ms_max, left_max, .. } = self.limits;
        self.threads.room(left_max, open_ms_max).await?;
        // Whoever has it may hang.
        self.turns.take(name, open_ms_max).await.map_err(|Stalled| Error::Waits)
    }

    /// Makes calls on a thread that may block, and gives up when they hang. They say when they have
    /// opened what they need.
    async fn call<T: Send + 'static>(
        &self,
        progress: &Progress,
        turn: Turn,
        act: impl FnOnce(Opened) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Limits { open_ms_max, stall_ms_max, left_max } = self.limits;
        self.threads.room(left_max, open_ms_max).await?;
        let (opened, is_open) = oneshot::channel();
        let mut running = self.threads.start(move || {
            let _until_it_ends = turn;
            act(Opened(opened))
        })?;
        tokio::select! {
            biased;
            done = &mut running => return done?,
            opened = tokio::time::timeout(Duration::from_millis(open_ms_max), is_open) => {
                opened.map_err(|_| Error::Unanswered { wait_ms: open_ms_max })
            }
        }?
        // Whoever ended without telling has an answer.
        .ok();
        match progress.watch(stall_ms_max, running).await {
            Ok(done) => done?,
            Err(Stalled) => Err(Error::Stalled { stall_ms: stall_ms_max }),
        }
    }

    async fn open(&self, location: &str) -> Result<Reading, Error> {
        let below = self.below(location)?;
        let (root, parts) = (self.root.clone(), parts(below)?);
        let wait_ms = self.limits.open_ms_max;
        let place = Arc::clone(&self.readings).acquire_owned();
        let place = tokio::time::timeout(Duration::from_millis(wait_ms), place).await;
        let place = place.map_err(|_| Error::Unanswered { wait_ms })?;
        let touch = move |_: Opened| {
            let _until_it_ends = place;
            root.touch(&parts)
        };
        self.call(&Progress::default(), Turn::of_nobody(), touch).await?;
        Ok(Reading::Path(self.root.path.join(below)))
    }

    /// What a location that this destination once answered with is called below the root.
    fn below<'a>(&self, location: &'a str) -> Result<&'a str, Error> {
        let elsewhere = || Error::Elsewhere { location: location.into() };
        let rest = Path::new(location).strip_prefix(&self.root.path).map_err(|_| elsewhere())?;
        let rest = rest.to_str().ok_or_else(elsewhere)?;
        names::parts(rest).map_err(|_| elsewhere())?;
        Ok(rest)
    }

    async fn remove(&self, name: &str, location: Option<&str>) -> Result<(), Error> {
        let name = location.map_or(Ok(name), |location| self.below(location))?;
        let (root, parts) = (self.root.clone(), parts(name)?);
        let turn = self.turn(name).await?;
        self.call(&Progress::default(), turn, move |_| root.remove(&parts)).await
    }

    async fn remove_part(&self, memo: &[u8]) -> Result<(), Error> {
        let Ok(begun) = serde_json::from_slice::<Begun>(memo) else { return Ok(()) };
        let (root, parts) = (self.root.clone(), parts(&begun.name)?);
        let turn = self.turn(&begun.name).await?;
        self.call(&Progress::default(), turn, move |_| root.remove_part(&parts)).await
    }
}

fn parts(name: &str) -> Result<Vec<String>, Error> {
    let parts = names::parts(name).map_err(|problem| Error::name(name, problem))?;
    Ok(parts.into_iter().map(String::from).collect())
}

/// By this a thread says that what it needs is open.
struct Opened(oneshot::Sender<()>);

impl Opened {
    fn tell(self) {
        // Nobody waits for it any more where the call was given up.
        let _ = self.0.send(());
    }
}

impl Destination for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn push<'a>(&'a self, file: &'a FileToPush) -> BoxFuture<'a, Result<String, PushError>> {
        async move { self.copy(file).await.map_err(|error| self.failure(error)) }.boxed()
    }

    fn read<'a>(
        &'a self,
        location: &'a str,
        _range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Reading, PushError>> {
        async move { self.open(location).await.map_err(|error| self.failure(error)) }.boxed()
    }

    fn withdraw<'a>(
        &'a self,
        name: &'a str,
        location: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), PushError>> {
        async move { self.remove(name, location).await.map_err(|error| self.failure(error)) }
            .boxed()
    }

    fn abandon<'a>(&'a self, memo: &'a [u8]) -> BoxFuture<'a, Result<(), PushError>> {
        async move { self.remove_part(memo).await.map_err(|error| self.failure(error)) }.boxed()
    }
}

/// Tells the copying thread to stop when the push is dropped.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
