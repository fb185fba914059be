//! Keys of recordings, wrapped under the current epoch's; and how one epoch follows another.
//!
//! Invariants: every key opens under an epoch that is alive, at every instant; an epoch is destroyed only
//! after each key on every volume that is known was durably taken over from it; what a grave
//! took the place of is never written again.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use holdfast_core::RecordingId;
use jiff::Timestamp;

use super::epochs::{Epoch, Epochs};
use super::error::ErasureError;
use super::fscrypt::{MASTER_KEY_BYTES, MasterKey};
use super::ground::Ground;
use super::known::Known;
use super::wrapped::{self, Block};

/// Recordings whose keys were erased a short while ago, and under which epoch they were wrapped.
#[derive(Debug, Clone, Default)]
pub struct ErasedKeys(Arc<Mutex<HashMap<RecordingId, u64>>>);

impl ErasedKeys {
    /// The epoch under which the key of a deleted recording was wrapped.
    #[must_use]
    pub fn epoch_of(&self, id: RecordingId) -> Option<u64> {
        lock(&self.0).get(&id).copied()
    }
}

/// What became of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// The epoch under which keys are wrapped now.
    pub epoch: u64,
    /// The newest epoch such that it and all before it are destroyed.
    pub destroyed: u64,
    /// Keys of living recordings, all wrapped under the current epoch now.
    pub keys: u64,
}

/// A recording's key, or what is in its place.
pub(super) enum Found {
    Key(MasterKey),
    Grave,
    /// There is no file of it.
    Nothing,
    /// There is one that opens under no epoch that is alive.
    Unusable,
}

/// The keys of recordings.
#[derive(Debug)]
pub(super) struct Store {
    ground: Arc<dyn Ground>,
    epochs: Mutex<Epochs>,
    rotating: Mutex<()>,
    known: Known,
    graves: ErasedKeys,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the keys on the volumes that are there (their folders of keys), with the epochs in the folder `state`.
    pub(super) fn open(
        ground: Arc<dyn Ground>,
        state: &Path,
        all: &[PathBuf],
        now: Timestamp,
    ) -> Result<Self, ErasureError> {
        ground.make_folder(state).map_err(ErasureError::io("make", state))?;
        let known = Known::open(Arc::clone(&ground), state)?;
        let path = state.join("epochs");
        let mut epochs = Epochs::open(Arc::clone(&ground), &path)?;
        if epochs.current().is_none() {
            if has_keys(&*ground, all)? || known.missing(all)?.is_some() {
                return Err(ErasureError::NoEpoch { path });
            }
            epochs.begin(now)?;
        }
        for keys in all {
            known.enter(keys)?;
        }
        let epochs = Mutex::new(epochs);
        let store = Self {
            ground,
            epochs,
            rotating: Mutex::default(),
            known,
            graves: ErasedKeys::default(),
        };
        store.each(all, |keys, id| {
            if let Some(epoch) = grave_of(store.blocks(keys, id)?) {
                lock(&store.graves.0).insert(id, epoch);
            }
            Ok(())
        })?;
        Ok(store)
    }

    pub(super) fn graves(&self) -> &ErasedKeys {
        &self.graves
    }

    /// When the current epoch began, and whether the one before it is still to be destroyed.
    pub(super) fn standing(&self) -> (Option<Timestamp>, bool) {
        let epochs = lock(&self.epochs);
        (epochs.current().map(|epoch| epoch.began_at), epochs.older().is_some())
    }

    /// The newest epoch such that it and all before it are destroyed.
    pub(super) fn destroyed(&self) -> u64 {
        lock(&self.epochs).destroyed()
    }

    /// Makes a recording's key, durably.
    pub(super) fn mint(&self, keys: &Path, id: RecordingId) -> Result<(), ErasureError> {
        let mut key = MasterKey::new([0; MASTER_KEY_BYTES]);
        rand::fill(key.as_mut_slice()).map_err(|_| ErasureError::Cryptography("randomness"))?;
        let epochs = lock(&self.epochs);
        // Under the lock: of two first recordings on a volume both would give it a name.
        self.known.enter(keys)?;
        let mut file = wrapped::wrap(current(&epochs)?, id, &key)?;
        file.resize(wrapped::FILE_BYTES, 0);
        let path = path_of(keys, id);
        self.ground.make(&path, &file).map_err(ErasureError::io("make", &path))
    }

    /// A recording's key.
    pub(super) fn find(&self, keys: &Path, id: RecordingId) -> Result<Found, ErasureError> {
        let epochs = lock(&self.epochs);
        let Some(file) = self.read(keys, id)? else { return Ok(Found::Nothing) };
        let blocks = wrapped::read(&file, id);
        if grave_of(blocks).is_some() {
            return Ok(Found::Grave);
        }
        Ok(open(&epochs, id, &file, blocks).map_or(Found::Unusable, Found::Key))
    }

    /// Overwrites a recording's key, if there is one, with a grave, durably; says whether there is one.
    pub(super) fn erase(&self, keys: &Path, id: RecordingId) -> Result<bool, ErasureError> {
        let epochs = lock(&self.epochs);
        let Some(file) = self.read(keys, id)? else { return Ok(false) };
        let blocks = wrapped::read(&file, id);
        let wrapped_under = |block: &Block| match block {
            Block::Key(epoch) | Block::Grave(epoch) => Some(*epoch),
            Block::Nothing => None,
        };
        // During a rotation it lies there under both; it is gone with the newer.
        let newest = blocks.iter().filter_map(wrapped_under).max();
        let epoch = newest.unwrap_or(current(&epochs)?.number);
        self.bury(keys, id, epoch)?;
        lock(&self.graves.0).insert(id, epoch);
        Ok(true)
    }

    /// Ends the current epoch: takes all keys over into the next one, then destroys the old one.
    /// Where that was begun before, it is brought to its end first.
    pub(super) fn rotate(&self, all: &[PathBuf], now: Timestamp) -> Result<Rotated, ErasureError> {
        let _rotating = lock(&self.rotating);
        self.bring_to_end(all)?;
        self.check_all_there(all)?;
        lock(&self.epochs).begin(now)?;
        self.bring_to_end(all)
    }

    /// Brings a rotation that was begun to its end.
    pub(super) fn finish(&self, all: &[PathBuf]) -> Result<Rotated, ErasureError> {
        let _rotating = lock(&self.rotating);
        self.bring_to_end(all)
    }

    fn bring_to_end(&self, all: &[PathBuf]) -> Result<Rotated, ErasureError> {
        let mut taken_over = 0;
        if lock(&self.epochs).older().is_some() {
            self.check_all_there(all)?;
            self.each(all, |keys, id| {
                taken_over += u64::from(self.take_over(keys, id)?);
                Ok(())
            })?;
            // One that went meanwhile may have looked empty.
            self.check_all_there(all)?;
            let destroyed = lock(&self.epochs).destroy_older()?;
            self.remove_graves(all, destroyed.unwrap_or(0))?;
        }
        let epochs = lock(&self.epochs);
        let (epoch, destroyed) = (current(&epochs)?.number, epochs.destroyed());
        Ok(Rotated { epoch, destroyed, keys: taken_over })
    }

    fn check_all_there(&self, all: &[PathBuf]) -> Result<(), ErasureError> {
        let epoch = lock(&self.epochs).destroyed() + 1;
        let missing = self.known.missing(all)?;
        missing.map_or(Ok(()), |(id, path)| Err(ErasureError::VolumeMissing { id, epoch, path }))
    }

    /// Takes one key over into the current epoch; says whether there was one.
    ///
    /// What lies there under the current epoch already is written once more all the same: after a disk
    /// failed to write it, or a power cut, nobody knows whether it is durable.
    fn take_over(&self, keys: &Path, id: RecordingId) -> Result<bool, ErasureError> {
        let epochs = lock(&self.epochs);
        let path = path_of(keys, id);
        // It was just there, and nobody else removes any: its volume went.
        let file = self.ground.read(&path).map_err(ErasureError::io("read", &path))?;
        let blocks = wrapped::read(&file, id);
        if let Some(epoch) = grave_of(blocks) {
            if blocks != [Block::Grave(epoch); 2] {
                self.bury(keys, id, epoch)?;
            }
            return Ok(false);
        }
        let Some(key) = open(&epochs, id, &file, blocks) else {
            tracing::error!(recording = %id, "its key is damaged: it cannot be read any more, by anybody");
            return Ok(false);
        };
        let opens_old = |place: usize| {
            let older = epochs.older().filter(|older| blocks[place] == Block::Key(older.number));
            older.is_some_and(|older| wrapped::unwrap(older, id, &file, place).is_some())
        };
        let place = match (opens_old(0), opens_old(1)) {
            (true, _) => 1,
            (false, true) => 0,
            // It was made in the current epoch.
            (false, false) => return Ok(true),
        };
        let block = wrapped::wrap(current(&epochs)?, id, &key)?;
        let offset = (place * wrapped::BLOCK_BYTES) as u64;
        let written = self.ground.overwrite(&path, offset, &block);
        written.map_err(ErasureError::io("overwrite", &path))?;
        Ok(true)
    }

    fn bury(&self, keys: &Path, id: RecordingId, epoch: u64) -> Result<(), ErasureError> {
        let path = path_of(keys, id);
        let buried = self.ground.overwrite(&path, 0, &wrapped::grave(epoch, id));
        buried.map_err(ErasureError::io("overwrite", &path))
    }

    /// Graves stay for an epoch longer than what is under them, so that a deletion which a power cut
    /// interrupted finds out what it erased.
    fn remove_graves(&self, all: &[PathBuf], destroyed: u64) -> Result<(), ErasureError> {
        self.each(all, |keys, id| {
            if grave_of(self.blocks(keys, id)?).is_some_and(|epoch| epoch < destroyed) {
                let path = path_of(keys, id);
                self.ground.unlink(&path).map_err(ErasureError::io("remove", &path))?;
                lock(&self.graves.0).remove(&id);
            }
            Ok(())
        })
    }

    /// Every recording that has a key or a grave on these volumes.
    pub(super) fn each(
        &self,
        all: &[PathBuf],
        mut act: impl FnMut(&Path, RecordingId) -> Result<(), ErasureError>,
    ) -> Result<(), ErasureError> {
        for keys in all {
            for id in ids(&*self.ground, keys)? {
                act(keys, id)?;
            }
        }
        Ok(())
    }

    fn blocks(&self, keys: &Path, id: RecordingId) -> Result<[Block; 2], ErasureError> {
        Ok(self.read(keys, id)?.map_or([Block::Nothing; 2], |file| wrapped::read(&file, id)))
    }

    fn read(&self, keys: &Path, id: RecordingId) -> Result<Option<Vec<u8>>, ErasureError> {
        let path = path_of(keys, id);
        match self.ground.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(ErasureError::io("read", &path)),
        }
    }
}

/// Where a recording's key lies.
pub(super) fn path_of(keys: &Path, id: RecordingId) -> PathBuf {
    keys.join(id.to_string())
}

fn current(epochs: &Epochs) -> Result<&Epoch, ErasureError> {
    epochs.current().ok_or(ErasureError::Cryptography("there is no epoch"))
}

fn grave_of(blocks: [Block; 2]) -> Option<u64> {
    let grave = |block| if let Block::Grave(epoch) = block { Some(epoch) } else { None };
    blocks.into_iter().find_map(grave)
}

/// The key, from whichever block opens.
fn open(epochs: &Epochs, id: RecordingId, file: &[u8], blocks: [Block; 2]) -> Option<MasterKey> {
    blocks.into_iter().enumerate().find_map(|(place, block)| {
        let Block::Key(number) = block else { return None };
        wrapped::unwrap(epochs.get(number)?, id, file, place)
    })
}

fn has_keys(ground: &dyn Ground, all: &[PathBuf]) -> Result<bool, ErasureError> {
    for keys in all {
        let found = match ids(ground, keys) {
            Err(ErasureError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            found => found?,
        };
        for id in found {
            let path = path_of(keys, id);
            let file = ground.read(&path).map_err(ErasureError::io("read", &path))?;
            if grave_of(wrapped::read(&file, id)).is_none() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn ids(ground: &dyn Ground, keys: &Path) -> Result<Vec<RecordingId>, ErasureError> {
    let names = ground.list(keys).map_err(ErasureError::io("list", keys))?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}
