//! A disk of memory, which forgets at a power cut what was not synced.
//!
//! What is durable: a file's bytes up to its last sync; a folder's names up to its last sync. At a
//! power cut each file keeps what is durable and any part of what was written after it, from the
//! front; each folder keeps what is durable and any number of the changes after it, in order. Folders
//! do not wait for each other: a file renamed from one into another may be in both, or in neither.
//!
//! The ledger lies on it too, as one file of blocks: of what was written since its last sync, any
//! part may be lost.

mod file;
mod ledger;
mod tree;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::chance::Chance;
use crate::clock::Clock;
#[allow(unreachable_pub, reason = "the vault's files hold one, and are public")]
pub use file::File;
use ledger::Blocks;
pub(crate) use ledger::LedgerFile;
use tree::{Bytes, Entry, Folder, crash, sync_all};

/// What a full disk has left, in bytes.
const FREE_BYTES: u64 = 1 << 40;

/// A disk, with the power supply that it hangs on. Clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    power: Mutex<Power>,
    root: Arc<Folder>,
    removed: Mutex<Vec<Removed>>,
    ledger: Mutex<Blocks>,
}

#[derive(Debug)]
struct Power {
    is_off: bool,
    /// The power goes after so many operations more.
    operations_left: Option<u64>,
    is_full: bool,
    /// So many syncs of files or folders fail.
    syncs_fail: u64,
    /// So many syncs of the ledger fail.
    ledger_syncs_fail: u64,
    chance: Chance,
}

/// Something that was unlinked.
#[derive(Debug, Clone)]
pub(super) struct Removed {
    pub(super) path: PathBuf,
    pub(super) at: Timestamp,
}

/// Whether opening a file makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    /// There must be one.
    Never,
    /// There must be none.
    Always,
    /// There may be one; it is emptied.
    Empty,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn broken() -> io::Error {
    io::Error::other("input/output error")
}

impl Disk {
    pub(super) fn new(clock: Clock, chance: Chance) -> Self {
        let power = Power {
            is_off: false,
            operations_left: None,
            is_full: false,
            syncs_fail: 0,
            ledger_syncs_fail: 0,
            chance,
        };
        Self(Arc::new(Shared {
            clock,
            power: Mutex::new(power),
            root: Arc::default(),
            removed: Mutex::default(),
            ledger: Mutex::default(),
        }))
    }

    /// The power goes after so many operations more.
    pub(super) fn cut_power_after(&self, operations: u64) {
        lock(&self.0.power).operations_left = Some(operations);
    }

    pub(super) fn is_off(&self) -> bool {
        lock(&self.0.power).is_off
    }

    pub(super) fn set_full(&self, is_full: bool) {
        lock(&self.0.power).is_full = is_full;
    }

    pub(super) fn fail_syncs(&self, of_files: u64, of_the_ledger: u64) {
        let mut power = lock(&self.0.power);
        (power.syncs_fail, power.ledger_syncs_fail) = (of_files, of_the_ledger);
    }

    /// Whether any fault lies ahead.
    pub(super) fn is_well(&self) -> bool {
        let power = lock(&self.0.power);
        !power.is_full && power.syncs_fail == 0 && power.ledger_syncs_fail == 0
    }

    /// What was unlinked since it was last asked.
    pub(super) fn take_removed(&self) -> Vec<Removed> {
        std::mem::take(&mut *lock(&self.0.removed))
    }

    /// The power goes, and comes again. What was not durable is gone, or some of it.
    pub(super) fn restart(&self) {
        let mut power = lock(&self.0.power);
        crash(&self.0.root, &mut power.chance);
        lock(&self.0.ledger).crash(&mut power.chance);
        power.is_off = false;
        power.operations_left = None;
    }

    /// The node ends in good order: whatever was written stays, synced or not.
    pub(super) fn rest(&self) {
        lock(&self.0.power).operations_left = None;
    }

    /// Where the ledger lies.
    pub(super) fn ledger(&self) -> LedgerFile {
        LedgerFile(self.clone())
    }

    /// One operation, if there is power for it.
    fn spend(&self) -> io::Result<()> {
        let mut power = lock(&self.0.power);
        if let Some(left) = &mut power.operations_left {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => power.is_off = true,
            }
        }
        if power.is_off { Err(broken()) } else { Ok(()) }
    }

    /// One operation that takes room.
    fn spend_room(&self) -> io::Result<()> {
        self.spend()?;
        let is_full = lock(&self.0.power).is_full;
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn spend_sync(&self) -> io::Result<()> {
        self.spend()?;
        let mut power = lock(&self.0.power);
        match power.syncs_fail.checked_sub(1) {
            Some(less) => {
                power.syncs_fail = less;
                Err(broken())
            }
            None => Ok(()),
        }
    }

    fn is_powered(&self) -> io::Result<()> {
        if self.is_off() { Err(broken()) } else { Ok(()) }
    }

    fn folder(&self, path: &Path) -> io::Result<Arc<Folder>> {
        let mut folder = Arc::clone(&self.0.root);
        for part in path.strip_prefix("/").unwrap_or(path) {
            let next = match lock(&folder.0).now.get(part) {
                Some(Entry::Folder(next)) => Arc::clone(next),
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(missing()),
            };
            folder = next;
        }
        Ok(folder)
    }

    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Arc<Folder>, &'a OsStr)> {
        let name = path.file_name().ok_or_else(missing)?;
        Ok((self.folder(path.parent().ok_or_else(missing)?)?, name))
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        let (folder, name) = self.parent(path)?;
        let entry = lock(&folder.0).now.get(name).cloned();
        entry.ok_or_else(missing)
    }

    pub(crate) fn is_folder(&self, path: &Path) -> bool {
        self.folder(path).is_ok()
    }

    pub(crate) fn make_folder(&self, path: &Path, parents: bool) -> io::Result<()> {
        if parents
            && let Some(parent) = path.parent()
            && !self.is_folder(parent)
        {
            self.make_folder(parent, true)?;
        }
        self.spend_room()?;
        let (folder, name) = self.parent(path)?;
        let mut names = lock(&folder.0);
        if names.now.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        names.set(name, Some(Entry::Folder(Arc::default())));
        Ok(())
    }

    pub(crate) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.spend_sync()?;
        lock(&self.folder(path)?.0).sync();
        Ok(())
    }

    /// Everything on it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let synced = self.spend_sync();
        sync_all(&self.0.root, synced.is_ok());
        synced
    }

    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        self.is_powered()?;
        Ok(if lock(&self.0.power).is_full { 0 } else { FREE_BYTES })
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.is_powered()?;
        Ok(lock(&self.folder(path)?.0).now.keys().cloned().collect())
    }

    pub(crate) fn open(&self, path: &Path, writes: bool, make: Make) -> io::Result<File> {
        self.is_powered()?;
        let found = self.entry(path);
        let bytes = match (found, make) {
            (Ok(_), Make::Always) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(Entry::File(bytes)), Make::Never) => bytes,
            // Volumes are opened to be measured.
            (Ok(Entry::Folder(_)), Make::Never) if !writes => Arc::default(),
            (Ok(Entry::File(bytes)), Make::Empty) => {
                self.spend_room()?;
                lock(&bytes).now.clear();
                bytes
            }
            (Err(error), Make::Never) => return Err(error),
            (Ok(Entry::Folder(_)), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Err(_), Make::Always | Make::Empty) => {
                self.spend_room()?;
                let bytes = Arc::new(Mutex::new(Bytes {
                    modified: self.0.clock.now(),
                    ..Bytes::default()
                }));
                let (folder, name) = self.parent(path)?;
                lock(&folder.0).set(name, Some(Entry::File(Arc::clone(&bytes))));
                bytes
            }
        };
        Ok(File { disk: self.clone(), bytes, writes })
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend()?;
        let entry = self.entry(from)?;
        let (folder, name) = self.parent(to)?;
        lock(&folder.0).set(name, Some(entry));
        let (folder, name) = self.parent(from)?;
        lock(&folder.0).set(name, None);
        Ok(())
    }

    pub(crate) fn unlink(&self, path: &Path) -> io::Result<()> {
        self.is_powered()?;
        if !matches!(self.entry(path)?, Entry::File(_)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.spend()?;
        let (folder, name) = self.parent(path)?;
        lock(&folder.0).set(name, None);
        lock(&self.0.removed).push(Removed { path: path.into(), at: self.0.clock.now() });
        Ok(())
    }

    pub(crate) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        if !lock(&self.folder(path)?.0).now.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (folder, name) = self.parent(path)?;
        lock(&folder.0).set(name, None);
        Ok(())
    }

    pub(crate) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.is_powered()?;
        for name in self.list(path)? {
            let inner = path.join(name);
            if self.is_folder(&inner) { self.remove_tree(&inner)? } else { self.unlink(&inner)? }
        }
        self.remove_folder(path)
    }

    pub(crate) fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        match self.entry(path)? {
            Entry::File(bytes) => Ok(lock(&bytes).modified),
            Entry::Folder(_) => Ok(self.0.clock.now()),
        }
    }

    /// A file's bytes, read from outside.
    pub(super) fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        match self.entry(path) {
            Ok(Entry::File(bytes)) => Some(lock(&bytes).now.clone()),
            _ => None,
        }
    }

    /// Writes a whole file, as a program beside the node does.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.open(path, true, Make::Empty)?.write_at(bytes, 0)
    }

    /// Names in a folder, read from outside; nothing where there is no such folder.
    pub(super) fn names(&self, path: &Path) -> Vec<String> {
        let Ok(folder) = self.folder(path) else { return Vec::new() };
        let names = lock(&folder.0);
        names.now.keys().map(|name| name.to_string_lossy().into_owned()).collect()
    }
}
