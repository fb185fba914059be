//! A directory of this machine: a disk, or a share that the machine has mounted.
//!
//! - A file is copied to `.{name}.part` in its own folder, synced, checked, renamed to its name, and
//!   the folder is synced: under its name it is either whole and durable or not there.
//! - The directory itself must exist and is never made. A folder inside of a mount, rather than the
//!   mount point, is the safe choice: it vanishes with the mount, and pushes fail instead of filling
//!   the disk underneath.
//! - No symbolic link below the directory is followed.
//! - Two pushes of one name take turns, also where the first one's future has been dropped.

mod client;
mod error;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::error::Error;
use super::progress::{Progress, Stalled};
use super::turns::Turns;
use super::{Destination, FileToPush, PushError, Reading, names};
use crate::config::DirectoryDestination;

/// Longest a push may stand still, in milliseconds. A share whose server is gone hangs for ever.
const STALL_MS_MAX: u64 = 120_000;

/// A directory of this machine.
#[derive(Debug)]
pub struct Directory {
    name: String,
    root: PathBuf,
    turns: Turns,
}

impl Directory {
    /// A destination from its settings. The directory need not be there yet.
    ///
    /// # Errors
    /// [`PushError`] where the path is not absolute.
    pub fn new(settings: &DirectoryDestination) -> Result<Self, PushError> {
        let root = settings.path.clone();
        let directory = Self { name: settings.name.clone(), root, turns: Turns::default() };
        if directory.root.is_absolute() {
            Ok(directory)
        } else {
            Err(directory.failure(Error::Relative))
        }
    }

    fn failure(&self, error: Error) -> PushError {
        error.into_push_error(&self.name, &self.root)
    }

    async fn copy(&self, file: &FileToPush) -> Result<String, Error> {
        let parts = names::parts(&file.name).map_err(|problem| Error::name(&file.name, problem))?;
        let parts: Vec<String> = parts.into_iter().map(String::from).collect();
        let stalled = |Stalled| Error::Stalled { stall_ms: STALL_MS_MAX };
        let turn = self.turns.take(&file.name, STALL_MS_MAX).await.map_err(stalled)?;
        let progress = file.progress.clone();
        let stop = StopOnDrop::default();
        let job = client::Job {
            source: file.path.clone(),
            bytes: file.bytes,
            root: self.root.clone(),
            parts,
            progress: progress.clone(),
            is_stopped: stop.0.clone(),
        };
        let copying = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            job.run()
        });
        match progress.watch(STALL_MS_MAX, copying).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err(Error::Crashed),
            Err(Stalled) => return Err(stalled(Stalled)),
        }
        Ok(self.root.join(&file.name).to_string_lossy().into_owned())
    }

    fn path(&self, location: &str) -> Result<Reading, Error> {
        Ok(Reading::Path(self.root.join(self.below(location)?)))
    }

    /// What a location that this destination once answered with is called below the root.
    fn below<'a>(&self, location: &'a str) -> Result<&'a str, Error> {
        let elsewhere = || Error::Elsewhere { location: location.into() };
        let rest = Path::new(location).strip_prefix(&self.root).map_err(|_| elsewhere())?;
        let rest = rest.to_str().ok_or_else(elsewhere)?;
        names::parts(rest).map_err(|_| elsewhere())?;
        Ok(rest)
    }

    async fn remove(&self, name: &str, location: Option<&str>) -> Result<(), Error> {
        let name = location.map_or(Ok(name), |location| self.below(location))?;
        let parts = names::parts(name).map_err(|problem| Error::name(name, problem))?;
        let parts: Vec<String> = parts.into_iter().map(String::from).collect();
        let root = self.root.clone();
        let removing = tokio::task::spawn_blocking(move || client::remove(&root, &parts));
        match Progress::default().watch(STALL_MS_MAX, removing).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Crashed),
            Err(Stalled) => Err(Error::Stalled { stall_ms: STALL_MS_MAX }),
        }
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
        std::future::ready(self.path(location).map_err(|error| self.failure(error))).boxed()
    }

    fn withdraw<'a>(
        &'a self,
        name: &'a str,
        location: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), PushError>> {
        async move { self.remove(name, location).await.map_err(|error| self.failure(error)) }
            .boxed()
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
