//! Which volumes have keys of recordings: an epoch may only go once all of them were taken over.
//!
//! `{volume}/keys/volume` holds a random name, in 32 hex digits; `{state_path}/erasure/volumes/` has a file
//! of that name. A volume that is not there would otherwise come back with keys that open no more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand;

use super::error::ErasureError;
use super::ground::Ground;
use crate::digest::hex;

const NAME: &str = "volume";
const NAME_DIGITS: usize = 32;

/// The volumes that are known.
#[derive(Debug)]
pub(super) struct Known {
    ground: Arc<dyn Ground>,
    folder: PathBuf,
}

impl Known {
    pub(super) fn open(ground: Arc<dyn Ground>, state: &Path) -> Result<Self, ErasureError> {
        let folder = state.join("volumes");
        ground.make_folder(&folder).map_err(ErasureError::io("make", &folder))?;
        Ok(Self { ground, folder })
    }

    /// Gives a volume's folder of keys a name if it has none, and remembers it.
    pub(super) fn enter(&self, keys: &Path) -> Result<(), ErasureError> {
        self.ground.make_folder(keys).map_err(ErasureError::io("make", keys))?;
        let name = match self.name(keys)? {
            Some(name) => name,
            None => self.give_name(keys)?,
        };
        let path = self.folder.join(name);
        match self.ground.make(&path, b"") {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(ErasureError::io("make", &path)),
        }
    }

    /// One that is known and not among these; and what remembers it.
    pub(super) fn missing(
        &self,
        all: &[PathBuf],
    ) -> Result<Option<(String, PathBuf)>, ErasureError> {
        let mut there = Vec::new();
        for keys in all {
            there.extend(self.name(keys)?);
        }
        let listed = self.ground.list(&self.folder);
        let known = listed.map_err(ErasureError::io("list", &self.folder))?;
        let missing = known.into_iter().find(|name| !there.contains(name));
        Ok(missing.map(|name| (name.clone(), self.folder.join(name))))
    }

    fn name(&self, keys: &Path) -> Result<Option<String>, ErasureError> {
        let path = keys.join(NAME);
        match self.ground.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ErasureError::io("read", &path)(error)),
            Ok(bytes) => {
                let is_name = bytes.len() == NAME_DIGITS && bytes.iter().all(u8::is_ascii_hexdigit);
                Ok(is_name.then(|| String::from_utf8_lossy(&bytes).into_owned()))
            }
        }
    }

    fn give_name(&self, keys: &Path) -> Result<String, ErasureError> {
        let mut random = [0; NAME_DIGITS / 2];
        rand::fill(&mut random).map_err(|_| ErasureError::Cryptography("randomness"))?;
        let (name, path) = (hex(&random), keys.join(NAME));
        // What a power cut left of one that was never remembered.
        self.ground.unlink(&path).map_err(ErasureError::io("remove", &path))?;
        self.ground.make(&path, name.as_bytes()).map_err(ErasureError::io("make", &path))?;
        Ok(name)
    }
}
