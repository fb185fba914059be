//! What a self-test lays down beside the recordings: a file, to see that a volume takes it, and the test
//! recording with what is made of it.
//!
//! ```text
//! {volume}/selftest.tmp    written, read back and unlinked
//! {volume}/selftest/raw    the test recording
//! {volume}/selftest/work/  what is being made of it
//! ```
//!
//! None of it is a recording: the ledger never hears of it, nor does any rule of deletion. It goes with
//! the test, and what a killed node left goes when the volume is next seen.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_core::names::VolumeId;
use holdfast_core::recording::FileKind;

use super::disk::For;
use super::{Vault, VaultError, VaultFile, Volume, WORK, delete, file_name};
use crate::digest;

const FOLDER: &str = "selftest";
const FILE: &str = "selftest.tmp";

/// The test recording on a volume, and the folder for what is made of it.
#[derive(Debug)]
pub struct Trial {
    /// The volume.
    pub volume: VolumeId,
    /// What it is called.
    pub volume_name: String,
    /// The test recording, open for reading alone.
    pub raw: VaultFile,
    /// The empty folder.
    pub work: PathBuf,
}

impl Vault {
    /// Writes a file onto a volume, durably, reads it back from the disk, and unlinks it.
    ///
    /// # Errors
    /// [`VaultError`], with what could not be done.
    pub fn try_writing(&self, id: VolumeId, content: &[u8]) -> Result<(), VaultError> {
        let path = self.trial_volume(id)?.path().join(FILE);
        let tried = self.write_and_read(&path, content);
        let gone = self.unlink_if_there(&path);
        tried.and(gone)
    }

    fn write_and_read(&self, path: &Path, content: &[u8]) -> Result<(), VaultError> {
        let file = self.disk.open(path, For::Anew).map_err(VaultError::io("make", path))?;
        let written = file.write_all_at(content, 0).and_then(|()| file.sync());
        written.map_err(VaultError::io("write", path))?;
        let read = self.disk.open(path, For::Reading).and_then(|file| {
            file.forget_cached()?;
            digest::read_start(&file, content.len() as u64 + 1)
        });
        let read = read.map_err(VaultError::io("read", path))?;
        if read == content {
            return Ok(());
        }
        let said = "what was read is not what was written; have the disk replaced";
        Err(VaultError::io("read", path)(io::Error::other(said)))
    }

    /// Lays the test recording down on the volume that a new recording would go to.
    ///
    /// # Errors
    /// [`VaultError`]; what was laid down is then for [`end_trial`](Self::end_trial).
    pub fn begin_trial(&self, recording: &[u8]) -> Result<Trial, VaultError> {
        let volume = self.place(recording.len() as u64)?;
        let id = volume.id().ok_or_else(|| volume.away())?;
        let folder = volume.path().join(FOLDER);
        delete::remove_tree(&self.disk, &folder)?;
        self.disk.make_folder(&folder, false).map_err(VaultError::io("make", &folder))?;
        let path = folder.join(file_name(FileKind::Raw));
        let raw = self.disk.open(&path, For::New).map_err(VaultError::io("make", &path))?;
        let written = raw.write_all_at(recording, 0).and_then(|()| raw.sync());
        written.map_err(VaultError::io("write", &path))?;
        let raw = self.disk.open(&path, For::Reading).map_err(VaultError::io("open", &path))?;
        let work = self.trial_work(id)?;
        Ok(Trial { volume: id, volume_name: volume.name().to_owned(), raw, work })
    }

    /// Makes an empty folder for what is made of the test recording.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn trial_work(&self, id: VolumeId) -> Result<PathBuf, VaultError> {
        let work = self.trial_volume(id)?.path().join(FOLDER).join(WORK);
        delete::remove_tree(&self.disk, &work)?;
        self.disk.make_folder(&work, false).map_err(VaultError::io("make", &work))?;
        Ok(work)
    }

    /// A file that was made of the test recording.
    ///
    /// # Errors
    /// [`VaultError::Io`], also where it has more than `bytes_max` bytes.
    pub fn trial_file(
        &self,
        id: VolumeId,
        kind: FileKind,
        bytes_max: u64,
    ) -> Result<Vec<u8>, VaultError> {
        let path = self.trial_volume(id)?.path().join(FOLDER).join(WORK).join(file_name(kind));
        let read = self.disk.open(&path, For::Adopting).and_then(|file| {
            let bytes = digest::read_start(&file, bytes_max + 1)?;
            let is_whole = bytes.len() as u64 <= bytes_max;
            let too_large = || io::Error::other(format!("it has more than {bytes_max} bytes"));
            is_whole.then_some(bytes).ok_or_else(too_large)
        });
        read.map_err(VaultError::io("read", &path))
    }

    /// Removes whatever self-tests left on a volume.
    ///
    /// # Errors
    /// [`VaultError`]; repeating it goes on.
    pub fn end_trial(&self, id: VolumeId) -> Result<(), VaultError> {
        let volume = self.trial_volume(id)?;
        let folder = delete::remove_tree(&self.disk, &volume.path().join(FOLDER));
        self.unlink_if_there(&volume.path().join(FILE)).and(folder)
    }

    fn unlink_if_there(&self, path: &Path) -> Result<(), VaultError> {
        match self.disk.unlink(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VaultError::io("delete", path)(error))
            }
            _ => Ok(()),
        }
    }

    fn trial_volume(&self, id: VolumeId) -> Result<&Volume, VaultError> {
        let volume = self.there().find(|volume| volume.id() == Some(id));
        let volume = volume.ok_or_else(|| self.missing(id))?;
        volume.check(&self.disk)?;
        Ok(volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_leaves_nothing_and_clears_what_another_left() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), 0).unwrap();
        let names = || {
            let all = std::fs::read_dir(folder.path()).unwrap();
            let mut all: Vec<_> = all.map(|entry| entry.unwrap().file_name()).collect();
            all.sort();
            all
        };
        let before = names();
        let trial = vault.begin_trial(b"a recording").unwrap();
        assert_eq!(digest::read_start(&trial.raw, 99).unwrap(), b"a recording");
        std::fs::write(trial.work.join("main.mp4"), b"a film").unwrap();
        let id = trial.volume;
        assert_eq!(vault.trial_file(id, FileKind::Main, 6).unwrap(), b"a film");
        assert!(
            vault.trial_file(id, FileKind::Main, 5).unwrap_err().to_string().contains("5 bytes")
        );
        assert!(vault.homes().unwrap().is_empty(), "it is taken for a recording");
        // As if the node had been killed here.
        std::fs::write(folder.path().join(FILE), b"half").unwrap();
        let again = vault.begin_trial(b"another").unwrap();
        assert!(std::fs::read_dir(&again.work).unwrap().next().is_none());
        vault.end_trial(id).unwrap();
        assert_eq!(names(), before);
        vault.end_trial(id).unwrap();
    }

    #[test]
    fn a_volume_that_cannot_be_written_is_told_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), 0).unwrap();
        let id = vault.volumes()[0].id().unwrap();
        vault.try_writing(id, b"bytes").unwrap();
        assert!(!folder.path().join(FILE).exists());
        // Whatever stands in its place; root writes through any mode.
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        let said = vault.try_writing(id, b"bytes").unwrap_err().to_string();
        assert!(said.contains("cannot make") && said.contains(FILE), "{said}");
    }
}
