//! Disks of memory whose power goes, and which fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::vault::erasure::ground::Ground;

const SECTOR: usize = 512;

/// What the write in whose middle the power goes leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tear {
    Nothing,
    Everything,
    FirstSectors,
    LastSectors,
    EverySecondSector,
    Rubbish,
}

pub(super) const TEARS: [Tear; 6] = [
    Tear::Nothing,
    Tear::Everything,
    Tear::FirstSectors,
    Tear::LastSectors,
    Tear::EverySecondSector,
    Tear::Rubbish,
];

pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Debug, Default)]
struct Inside {
    /// What reading shows.
    now: Files,
    /// What is left when the power goes.
    durable: Files,
    folders: BTreeSet<PathBuf>,
    /// Changes until the power goes.
    left: Option<(usize, Option<Tear>)>,
    /// Overwriting fails once after so many more: what was to be written can be read, and is lost.
    fails_in: Option<usize>,
    is_off: bool,
    changes: usize,
}

/// Disks whose power goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Disks(Arc<Mutex<Inside>>);

fn off() -> io::Error {
    io::Error::other("the power is off")
}

fn torn(old: &[u8], new: &[u8], tear: Tear) -> Vec<u8> {
    let mut left = old.to_vec();
    let sectors = new.len().div_ceil(SECTOR);
    for at in 0..sectors {
        let range = at * SECTOR..((at + 1) * SECTOR).min(new.len());
        match tear {
            Tear::Nothing => {}
            Tear::Rubbish => left[range].fill(0xee),
            Tear::FirstSectors if at >= sectors / 2 => {}
            Tear::LastSectors if at < sectors / 2 => {}
            Tear::EverySecondSector if at % 2 == 0 => {}
            _ => left[range.clone()].copy_from_slice(&new[range]),
        }
    }
    left
}

impl Disks {
    pub(super) fn ground(&self) -> Arc<dyn Ground> {
        Arc::new(self.clone())
    }

    pub(super) fn cut_power_after(&self, changes: usize, tear: Tear) {
        self.0.lock().unwrap().left = Some((changes, Some(tear)));
    }

    pub(super) fn fail_after(&self, overwrites: usize) {
        self.0.lock().unwrap().fails_in = Some(overwrites);
    }

    pub(super) fn is_off(&self) -> bool {
        self.0.lock().unwrap().is_off
    }

    /// Whether the failure that was to come has come; it does not come any more.
    pub(super) fn has_failed(&self) -> bool {
        self.0.lock().unwrap().fails_in.take().is_none()
    }

    /// What reading shows of a file, to be changed.
    pub(super) fn change<T>(&self, act: impl FnOnce(&mut Files) -> T) -> T {
        act(&mut self.0.lock().unwrap().now)
    }

    /// The power comes again.
    pub(super) fn restart(&self) {
        let mut inside = self.0.lock().unwrap();
        inside.now = inside.durable.clone();
        (inside.left, inside.fails_in, inside.is_off) = (None, None, false);
    }

    pub(super) fn changes(&self) -> usize {
        self.0.lock().unwrap().changes
    }

    pub(super) fn image(&self, of: &str) -> Files {
        let files = self.0.lock().unwrap().durable.clone();
        files.into_iter().filter(|(path, _)| path.starts_with(of)).collect()
    }

    /// A machine with these disks.
    pub(super) fn of(images: [Files; 2]) -> Self {
        let disks = Self::default();
        let mut inside = disks.0.lock().unwrap();
        for (path, bytes) in images.into_iter().flatten() {
            inside.durable.insert(path.clone(), bytes.clone());
            inside.now.insert(path, bytes);
        }
        drop(inside);
        disks
    }
}

impl Inside {
    /// Makes a change; its tear, if the power goes in it.
    fn change(&mut self) -> io::Result<Option<Tear>> {
        if self.is_off {
            return Err(off());
        }
        self.changes += 1;
        match &mut self.left {
            Some((0, tear)) => {
                self.is_off = true;
                Ok(tear.take())
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn outcome(&self) -> io::Result<()> {
        if self.is_off { Err(off()) } else { Ok(()) }
    }
}

impl Ground for Disks {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inside = self.0.lock().unwrap();
        inside.outcome()?;
        inside.now.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        if inside.now.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let left = match inside.change()? {
            None => Some(bytes.to_vec()),
            Some(Tear::Nothing) => None,
            Some(tear) => Some(torn(&vec![0; bytes.len()], bytes, tear)),
        };
        if let Some(left) = left {
            inside.now.insert(path.into(), left.clone());
            inside.durable.insert(path.into(), left);
        }
        inside.outcome()
    }

    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        let tear = inside.change()?.unwrap_or(Tear::Everything);
        let fails = match &mut inside.fails_in {
            Some(0) => {
                inside.fails_in = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let at = usize::try_from(offset).unwrap();
        let now = &mut inside.now.get_mut(path).unwrap()[at..at + bytes.len()];
        now.copy_from_slice(bytes);
        if fails {
            return Err(io::Error::other("the disk failed"));
        }
        let old = &mut inside.durable.get_mut(path).unwrap()[at..at + bytes.len()];
        let left = torn(old, bytes, tear);
        old.copy_from_slice(&left);
        inside.outcome()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let inside = self.0.lock().unwrap();
        inside.outcome()?;
        if !inside.folders.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let within = inside.now.keys().filter(|path| path.parent() == Some(folder));
        Ok(within.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        if !inside.now.contains_key(path) {
            return inside.outcome();
        }
        if inside.change()? != Some(Tear::Nothing) {
            inside.now.remove(path);
            inside.durable.remove(path);
        }
        inside.outcome()
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.outcome()?;
        inside.folders.insert(path.into());
        Ok(())
    }
}
