//! What is done with the folder of one recording.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use holdfast_core::names::VolumeId;
use holdfast_core::recording::{FileKind, NewFile, Recording, State};
use jiff::Timestamp;

use super::disk::For;
use super::{
    Deletion, Home, Manifest, Vault, VaultError, VaultFile, Volume, WORK, delete, file_name,
    manifest,
};
use crate::digest;

impl Vault {
    /// Makes the folder, manifest and empty raw file of a new recording, durably, on its volume.
    ///
    /// # Errors
    /// [`VaultError`]; what was made is then left for a later deletion.
    pub fn create(&self, recording: &Recording, bytes: u64) -> Result<VaultFile, VaultError> {
        let volume = match recording.volume {
            Some(_) => self.find(recording.into())?.0,
            None => self.place(bytes)?,
        };
        volume.check_room(&self.disk, bytes)?;
        let parent = volume.recordings();
        let folder = parent.join(recording.id.to_string());
        // Its key comes first: a folder without one is taken for one that never had any.
        self.mint(volume.path(), recording.id)?;
        self.disk.make_folder(&folder, false).map_err(VaultError::io("make", &folder))?;
        let _lease = self.lease_of(volume, &folder, recording.id)?;
        let path = folder.join(file_name(FileKind::Raw));
        let raw = self.disk.open(&path, For::New).map_err(VaultError::io("make", &path))?;
        manifest::write(&self.disk, &folder, recording)?;
        self.sync_folder(&parent)?;
        Ok(raw)
    }

    /// Opens the raw file of a recording for reading alone: for whoever must not change it.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn read_raw(&self, home: impl Into<Home>) -> Result<VaultFile, VaultError> {
        self.open_file(home.into(), For::Reading)
    }

    /// Opens the raw file of a recording for reading and going on with.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open_raw(&self, home: impl Into<Home>) -> Result<VaultFile, VaultError> {
        self.open_file(home.into(), For::Writing)
    }

    /// The same, cut back to so many bytes: those that are known to be durable. What a file has behind
    /// them after a power cut, or after a sync that failed, may be anything.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open_raw_at(&self, home: impl Into<Home>, bytes: u64) -> Result<VaultFile, VaultError> {
        let home = home.into();
        let raw = self.open_raw(home)?;
        let cut_back = || if raw.bytes()? > bytes { raw.set_len(bytes) } else { Ok(()) };
        let path = self.file(home, FileKind::Raw)?;
        cut_back().and_then(|()| raw.sync()).map_err(VaultError::io("cut back", &path))?;
        Ok(raw)
    }

    /// A recording that is arriving, with as many bytes as its file has: for one that nothing but its
    /// manifest tells of, which does not know.
    ///
    /// # Errors
    /// [`VaultError`] where what is there cannot be made durable.
    pub fn with_length(&self, mut recording: Recording) -> Result<Recording, VaultError> {
        let _lease = self.lease(&recording)?;
        if recording.state == State::Receiving && self.has_folder(&self.folder(&recording)?)? {
            let path = self.file(&recording, FileKind::Raw)?;
            let raw = self.open_raw(&recording)?;
            let bytes = raw.sync().and_then(|()| raw.bytes());
            recording.bytes = bytes.map_err(VaultError::io("measure", &path))?;
        }
        Ok(recording)
    }

    fn open_file(&self, home: Home, what_for: For) -> Result<VaultFile, VaultError> {
        let _lease = self.lease(home)?;
        let path = self.file(home, FileKind::Raw)?;
        self.disk.open(&path, what_for).map_err(VaultError::io("open", &path))
    }

    /// When the raw file of a recording was last written to.
    ///
    /// # Errors
    /// [`VaultError`], where there is none for one.
    pub fn raw_modified(&self, home: impl Into<Home>) -> Result<Timestamp, VaultError> {
        let home = home.into();
        let _lease = self.lease(home)?;
        let path = self.file(home, FileKind::Raw)?;
        self.disk.modified(&path).map_err(VaultError::io("look at", &path))
    }

    /// Notes in its folder what the ledger knows of a recording, durably, if it still has one. On a
    /// volume that cannot be written it is left out, once the ledger has noted that it is to be made
    /// up for.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn note(&self, recording: &Recording) -> Result<(), VaultError> {
        let home = Home::from(recording);
        let folder = match self.find(home) {
            Ok((volume, _)) if !volume.takes_notes() && self.is_behind(volume.id()) => {
                return Ok(());
            }
            Ok((_, folder)) => folder,
            Err(VaultError::Away { .. }) if self.may_be_left_out(home) => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.has_folder(&folder)? {
            let _lease = self.lease(home)?;
            manifest::write(&self.disk, &folder, recording)
        } else {
            Ok(())
        }
    }

    /// Whether the ledger has noted that the volume of a recording, which is away, is behind; of one
    /// whose volume is not known, that all are which are away.
    fn may_be_left_out(&self, home: Home) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_there = |id: &VolumeId| self.there().any(|volume| volume.id() == Some(*id));
        match home.volume {
            Some(id) => known.get(&id).is_some_and(|known| known.behind),
            None => known.iter().all(|(id, known)| known.behind || is_there(id)),
        }
    }

    /// Whether the ledger has noted that folders on a volume do not know everything.
    fn is_behind(&self, id: Option<VolumeId>) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        id.and_then(|id| known.get(&id)).is_some_and(|known| known.behind)
    }

    fn has_folder(&self, folder: &Path) -> Result<bool, VaultError> {
        self.disk.has_folder(folder).map_err(VaultError::io("look at", folder))
    }

    /// Whether a recording has a folder.
    ///
    /// # Errors
    /// [`VaultError`] where that cannot be told.
    pub fn is_here(&self, home: impl Into<Home>) -> Result<bool, VaultError> {
        let (volume, folder) = self.find(home.into())?;
        let is_here = self.has_folder(&folder)?;
        volume.confirm(&self.disk)?;
        Ok(is_here)
    }

    /// Whether the volume of a recording is there, by the disk's own word.
    ///
    /// # Errors
    /// [`VaultError::Away`].
    pub fn confirm(&self, home: impl Into<Home>) -> Result<(), VaultError> {
        self.find(home.into())?.0.confirm(&self.disk)
    }

    /// What the manifest in a recording's folder says.
    ///
    /// # Errors
    /// [`VaultError`] where it cannot be read.
    pub fn manifest(&self, home: impl Into<Home>) -> Result<Recording, VaultError> {
        let home = home.into();
        let _lease = self.lease(home)?;
        manifest::read(&self.disk, &self.folder(home)?)
    }

    /// Every recording that has a folder here, by its manifest.
    ///
    /// # Errors
    /// [`VaultError`] where the folders cannot be listed, or a volume is away. A folder whose manifest
    /// is missing or damaged is in the list as an error of its own.
    pub fn manifests(&self) -> Result<Vec<Manifest>, VaultError> {
        self.check_all()?;
        let mut found = Vec::new();
        for home in self.homes()? {
            // What is there says where it is: an older node noted no volume.
            let manifest = self.manifest(home).map(|mut recording| {
                recording.volume = home.volume;
                recording
            });
            found.push((home.id, manifest));
        }
        Ok(found)
    }

    /// Every recording that has a folder on a volume that is there.
    ///
    /// # Errors
    /// [`VaultError::Io`] where the folders cannot be listed.
    pub fn homes(&self) -> Result<Vec<Home>, VaultError> {
        let mut homes = Vec::new();
        for volume in self.there() {
            homes.extend(self.homes_on(volume)?);
        }
        Ok(homes)
    }

    /// Every recording that has a folder on this volume.
    ///
    /// # Errors
    /// [`VaultError`] where the folders cannot be listed.
    pub fn homes_on(&self, volume: &Volume) -> Result<Vec<Home>, VaultError> {
        volume.check(&self.disk)?;
        let path = volume.recordings();
        let mut homes = Vec::new();
        for name in self.disk.list(&path).map_err(VaultError::io("list", &path))? {
            match name.to_str().map(str::parse) {
                Some(Ok(id)) => homes.push(Home { id, volume: volume.id() }),
                _ => tracing::warn!(?name, "not a recording's folder; left alone"),
            }
        }
        Ok(homes)
    }

    /// Makes an empty folder for a transcoding attempt.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn work_folder(&self, home: impl Into<Home>) -> Result<PathBuf, VaultError> {
        let home = home.into();
        let _lease = self.lease(home)?;
        let work = self.folder(home)?.join(WORK);
        delete::remove_tree(&self.disk, &work)?;
        self.disk.make_folder(&work, false).map_err(VaultError::io("make", &work))?;
        Ok(work)
    }

    /// Removes the folder of a transcoding attempt that nobody wants any more, and what is in it.
    ///
    /// # Errors
    /// [`VaultError`]; the next attempt then removes it.
    pub fn clear_work(&self, home: impl Into<Home>) -> Result<(), VaultError> {
        let home = home.into();
        let _lease = self.lease(home)?;
        delete::remove_tree(&self.disk, &self.folder(home)?.join(WORK))
    }

    /// Gives the files that a transcoding attempt made their names, durably.
    ///
    /// # Errors
    /// [`VaultError::Io`]; the next attempt then starts over.
    pub fn adopt(
        &self,
        home: impl Into<Home>,
        kinds: &[FileKind],
    ) -> Result<Vec<NewFile>, VaultError> {
        let home = home.into();
        let _lease = self.lease(home)?;
        let folder = self.folder(home)?;
        let work = folder.join(WORK);
        let mut files = Vec::new();
        for kind in kinds {
            let made = work.join(file_name(*kind));
            let file =
                self.disk.open(&made, For::Adopting).map_err(VaultError::io("open", &made))?;
            file.sync().map_err(VaultError::io("sync", &made))?;
            let (bytes, sha256) = digest::of_file(&file).map_err(VaultError::io("read", &made))?;
            let named = folder.join(file_name(*kind));
            self.disk.rename(&made, &named).map_err(VaultError::io("rename", &made))?;
            files.push(NewFile { kind: *kind, bytes, sha256: Some(sha256) });
        }
        delete::remove_tree(&self.disk, &work)?;
        self.sync_folder(&folder)?;
        Ok(files)
    }

    /// Unlinks files of a recording, durably; with `folder`, its whole folder, after its key was erased.
    ///
    /// # Errors
    /// [`VaultError::Io`]; repeating it goes on.
    pub fn delete(
        &self,
        home: impl Into<Home>,
        kinds: &[FileKind],
        folder: bool,
    ) -> Result<Deletion, VaultError> {
        let home = home.into();
        let (volume, path) = self.find(home)?;
        let deletion = if folder && self.erase_key(volume, &path, home.id)? {
            delete::delete_erased(&self.disk, &path)?
        } else {
            let _lease = self.lease_of(volume, &path, home.id)?;
            delete::delete(&self.disk, &path, kinds, folder)?
        };
        // What was not found may lie on a disk that was pulled at this moment.
        volume.confirm(&self.disk)?;
        Ok(deletion)
    }
}
