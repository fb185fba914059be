//! What lives in `/run/holdfast-volume`: a lock for each volume, and how each open volume was opened.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::config::Name;
use crate::error::Error;

/// The folder. It vanishes with a restart, as the open volumes do.
pub const RUN: &str = "/run/holdfast-volume";
/// How often the lock is asked for, and how long between.
const LOCK_TRIES_MAX: u32 = 600;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// How a volume was opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    /// Where the key came from: a source's name, or `recovery`.
    pub by: String,
    /// The key slot that it fitted.
    pub slot: u32,
    /// When.
    pub at: jiff::Timestamp,
    /// Why the sources that are asked before this one opened nothing.
    #[serde(default)]
    pub tried: Vec<String>,
}

/// Held while anything is done to a volume.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Waits, for a minute at most, until no other process of this program is at work on a volume.
///
/// # Errors
/// If one still is, or the folder cannot be made.
pub fn lock(volume: &Name) -> Result<Lock, Error> {
    let failed = |e: io::Error| Error::failed(format!("taking the lock in {RUN}"), e);
    folder(Path::new(RUN))?;
    let path = Path::new(RUN).join(format!("{volume}.lock"));
    let wanted = wanted(volume);
    let mut file =
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    for tried in 0..LOCK_TRIES_MAX {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => {
                if tried > 0 {
                    remove(&wanted);
                }
                return Ok(Lock { _file: held });
            }
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => file = back,
            Err((_, e)) => return Err(failed(e.into())),
        }
        File::create(&wanted).map_err(failed)?;
        std::thread::sleep(LOCK_PAUSE);
    }
    remove(&wanted);
    let by = "another holdfast-volume has been at work for a minute; try again later".to_owned();
    Err(Error::Busy { volume: volume.to_string(), by })
}

/// What is there while somebody waits for a volume's lock.
#[must_use]
pub fn wanted(volume: &Name) -> PathBuf {
    Path::new(RUN).join(format!("{volume}.wanted"))
}

/// Without the lock: waits until those who wanted it have had it, but not for one that was killed.
pub fn let_others(volume: &Name, longest: Duration) {
    let wanted = wanted(volume);
    for _ in 0..longest.as_millis() / LOCK_PAUSE.as_millis() {
        if !wanted.exists() {
            return;
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    remove(&wanted);
}

/// Makes a folder that only root reads.
///
/// # Errors
/// If it cannot be made.
pub fn folder(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Error::failed(format!("making {}", path.display()), e))
}

/// Notes how a volume was opened. Only `status` reads it, so a failure is not one of opening.
pub fn note(volume: &Name, by: &str, slot: u32, tried: Vec<String>) {
    let opened = Opened { by: by.to_owned(), slot, at: now(), tried };
    let _ = serde_json::to_vec(&opened).map(|json| fs::write(file(volume), json));
}

/// How a volume was opened.
#[must_use]
pub fn noted(volume: &Name) -> Option<Opened> {
    serde_json::from_slice(&fs::read(file(volume)).ok()?).ok()
}

/// Forgets how a volume was opened.
pub fn forget(volume: &Name) {
    remove(&file(volume));
}

/// Removes one of this program's own small files. That it is gone already is well.
pub fn remove(path: &Path) {
    #[expect(clippy::disallowed_methods, reason = "notes of this program's own, no recording")]
    let _ = fs::remove_file(path);
}

/// Wall time, for notes and receipts; nothing here is decided by it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this program has no part in the service's clock")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn file(volume: &Name) -> PathBuf {
    Path::new(RUN).join(format!("{volume}.json"))
}
