//! The keys of epochs, in a file that is overwritten in place.
//!
//! `{state_path}/erasure/epochs` has four areas of 33 blocks of 4,096 bytes: one of an even epoch, one
//! of an odd one, and each of these once more. An area is a head of one block, and the epoch's key
//! [spread](super::split) over the rest:
//!
//! | head's bytes | |
//! | --- | --- |
//! | 0–7 | `hf.epoch` |
//! | 8–15 | number of the epoch, little-endian |
//! | 16–23 | when it began, in ms since 1970, little-endian |
//! | 24–55 | SHA-256 of `holdfast epoch 1`, the two numbers and the key |
//!
//! Invariants: at most two epochs are alive, the older only while keys of recordings are being taken
//! over from it. Each lies there twice, since losing a block loses a copy. One that was destroyed is
//! overwritten with random bytes, in both copies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::error::ErasureError;
use super::ground::Ground;
use super::split::{self, Key, SPREAD_BYTES};

const BLOCK_BYTES: usize = 4_096;
const AREA_BYTES: usize = 33 * BLOCK_BYTES;
const AREAS: usize = 4;
const MAGIC: &[u8; 8] = b"hf.epoch";

/// An epoch that is alive.
#[derive(Clone)]
pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) began_at: Timestamp,
    pub(super) key: Key,
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Epoch({})", self.number)
    }
}

/// The epochs that are alive, the newest last, and their file.
#[derive(Debug)]
pub(super) struct Epochs {
    ground: Arc<dyn Ground>,
    path: PathBuf,
    alive: Vec<Epoch>,
}

impl Epochs {
    /// Reads the file, makes it where there is none, and mends what a power cut or a bad block left.
    ///
    /// Without any epoch alive nothing in the file is touched.
    pub(super) fn open(ground: Arc<dyn Ground>, path: &Path) -> Result<Self, ErasureError> {
        let bytes = match ground.read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => Zeroizing::new(read.map_err(ErasureError::io("read", path))?).to_vec(),
        };
        let bytes = Zeroizing::new(bytes);
        let areas: Vec<Option<Epoch>> =
            (0..AREAS).map(|area| bytes.get(area * AREA_BYTES..).and_then(read_area)).collect();
        let mut alive: Vec<Epoch> = Vec::new();
        for epoch in areas.iter().flatten() {
            if !alive.iter().any(|other| other.number == epoch.number) {
                alive.push(epoch.clone());
            }
        }
        alive.sort_unstable_by_key(|epoch| epoch.number);
        // What stands beside the last two was destroyed before the last began, and was not lost on the
        // disk; it lies where the last one is to lie.
        let newest = alive.last().map_or(0, |epoch| epoch.number);
        alive.retain(|epoch| epoch.number + 1 >= newest);
        let areas: Vec<Option<Epoch>> = areas
            .into_iter()
            .map(|area| area.filter(|found| alive.iter().any(|it| it.number == found.number)))
            .collect();
        let epochs = Self { ground, path: path.into(), alive };
        if let Some(current) = epochs.current() {
            // Nobody knows whether what a rotation wrote that was cut short is durable.
            let is_sure = epochs.older().is_none();
            for (area, found) in areas.iter().enumerate() {
                let is_current = areas_of(current.number).contains(&area);
                match found {
                    Some(_) if is_current && !is_sure => epochs.write(area, current)?,
                    Some(_) => {}
                    None if is_current => {
                        tracing::warn!(path = %path.display(), area, "a copy of the epoch's key was damaged; made anew");
                        epochs.write(area, current)?;
                    }
                    // The other copy is enough until its keys are taken over.
                    None if alive_in(&epochs.alive, area) => {}
                    // It may be half destroyed.
                    None => epochs.wipe(area)?,
                }
            }
        }
        Ok(epochs)
    }

    /// The epoch under which keys are wrapped now.
    pub(super) fn current(&self) -> Option<&Epoch> {
        self.alive.last()
    }

    /// The epoch before it, while it is alive.
    pub(super) fn older(&self) -> Option<&Epoch> {
        self.alive.len().checked_sub(2).and_then(|at| self.alive.get(at))
    }

    /// An epoch that is alive.
    pub(super) fn get(&self, number: u64) -> Option<&Epoch> {
        self.alive.iter().find(|epoch| epoch.number == number)
    }

    /// The newest epoch such that it and all before it are gone.
    pub(super) fn destroyed(&self) -> u64 {
        self.alive.first().map_or(0, |epoch| epoch.number.saturating_sub(1))
    }

    /// Begins the next epoch. The one before it must be the only one alive, or none.
    pub(super) fn begin(&mut self, now: Timestamp) -> Result<(), ErasureError> {
        debug_assert!(self.older().is_none(), "an epoch would be lost");
        let mut key = Key::default();
        rand::fill(key.as_mut_slice()).map_err(|_| ErasureError::Cryptography("randomness"))?;
        let number = self.current().map_or(1, |epoch| epoch.number + 1);
        // As it is read again.
        let began_at = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let epoch = Epoch { number, began_at, key };
        if self.alive.is_empty() {
            self.lay_out()?;
        }
        for area in areas_of(number) {
            self.write(area, &epoch)?;
        }
        self.alive.push(epoch);
        Ok(())
    }

    /// Destroys the older epoch, if there is one; answers its number.
    pub(super) fn destroy_older(&mut self) -> Result<Option<u64>, ErasureError> {
        let Some(number) = self.older().map(|epoch| epoch.number) else { return Ok(None) };
        for area in areas_of(number) {
            self.wipe(area)?;
        }
        self.alive.retain(|epoch| epoch.number != number);
        Ok(Some(number))
    }

    /// Takes up all the room that the file will ever have.
    fn lay_out(&self) -> Result<(), ErasureError> {
        let mut random = vec![0; AREA_BYTES * AREAS];
        rand::fill(&mut random).map_err(|_| ErasureError::Cryptography("randomness"))?;
        // One that a power cut left half made has no epoch in it.
        self.ground.unlink(&self.path).map_err(ErasureError::io("remove", &self.path))?;
        self.ground.make(&self.path, &random).map_err(ErasureError::io("make", &self.path))
    }

    fn write(&self, area: usize, epoch: &Epoch) -> Result<(), ErasureError> {
        let mut bytes = Zeroizing::new(vec![0; AREA_BYTES]);
        let mut at = 0;
        let mut put = |what: &[u8]| {
            bytes[at..at + what.len()].copy_from_slice(what);
            at += what.len();
        };
        put(MAGIC);
        put(&epoch.number.to_le_bytes());
        put(&epoch.began_at.as_millisecond().to_le_bytes());
        put(&check(epoch));
        let stripes = split::spread(&epoch.key)?;
        bytes[BLOCK_BYTES..BLOCK_BYTES + SPREAD_BYTES].copy_from_slice(&stripes);
        self.overwrite(area, &bytes)
    }

    fn wipe(&self, area: usize) -> Result<(), ErasureError> {
        let mut random = vec![0; AREA_BYTES];
        rand::fill(&mut random).map_err(|_| ErasureError::Cryptography("randomness"))?;
        self.overwrite(area, &random)
    }

    fn overwrite(&self, area: usize, bytes: &[u8]) -> Result<(), ErasureError> {
        let offset = (area * AREA_BYTES) as u64;
        let written = self.ground.overwrite(&self.path, offset, bytes);
        written.map_err(ErasureError::io("overwrite", &self.path))
    }
}

/// The two areas of an epoch, far from each other.
fn areas_of(number: u64) -> [usize; 2] {
    if number.is_multiple_of(2) { [0, 2] } else { [1, 3] }
}

fn alive_in(alive: &[Epoch], area: usize) -> bool {
    alive.iter().any(|epoch| areas_of(epoch.number).contains(&area))
}

fn read_area(bytes: &[u8]) -> Option<Epoch> {
    let bytes = bytes.get(..AREA_BYTES)?;
    let number = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    let began_ms = i64::from_le_bytes(bytes[16..24].try_into().ok()?);
    if &bytes[..8] != MAGIC {
        return None;
    }
    let began_at = Timestamp::from_millisecond(began_ms).ok()?;
    let key = split::gather(bytes.get(BLOCK_BYTES..BLOCK_BYTES + SPREAD_BYTES)?)?;
    let epoch = Epoch { number, began_at, key };
    (check(&epoch) == bytes[24..56]).then_some(epoch)
}

fn check(epoch: &Epoch) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    digest.update(b"holdfast epoch 1");
    digest.update(&epoch.number.to_le_bytes());
    digest.update(&epoch.began_at.as_millisecond().to_le_bytes());
    digest.update(epoch.key.as_slice());
    let mut check = [0; 32];
    check.copy_from_slice(digest.finish().as_ref());
    check
}
