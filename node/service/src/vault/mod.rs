//! Where recordings lie: a folder for each, with its files and a manifest.
//!
//! ```text
//! {volume}/recordings/{id}/manifest.json   everything the ledger knows of it (contract 2)
//!                          raw             the bytes as they came
//!                          main.mp4  snapshot.jpg  filmstrip.jpg
//!                          work/           what a transcoding attempt is making; worthless otherwise
//! ```
//!
//! Invariants: a file that has its name is whole and durable; a name is made by renaming a synced
//! file and then syncing the folder; deleting unlinks, then syncs the folder, and repeating it is
//! harmless (contract 3). Nothing outside this room unlinks or renames in here.

mod delete;
mod disk;
mod manifest;
mod volume;

use std::io;
use std::path::{Path, PathBuf};

use holdfast_core::RecordingId;
use holdfast_core::job;
use holdfast_core::recording::{FileKind, NewFile, Recording, State};

use jiff::Timestamp;

pub use delete::Deletion;
pub(crate) use disk::Disk;
use disk::For;
pub use disk::VaultFile;
pub use volume::{Encryption, Volume};

use crate::digest;

const RECORDINGS: &str = "recordings";
const WORK: &str = "work";

/// What can go wrong in the vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A file or folder could not be used.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no room for more.
    #[error("the vault {path} has {free_bytes} bytes free, and {free_bytes_min} are to stay free")]
    NoRoom {
        /// Which volume.
        path: PathBuf,
        /// What is free, in bytes.
        free_bytes: u64,
        /// What is to stay free, in bytes.
        free_bytes_min: u64,
    },
    /// A manifest is not what was written.
    #[error("the manifest {path} is damaged: {reason}")]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// How.
        reason: String,
    },
}

impl VaultError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoRoom { .. } => true,
            Self::Io { source, .. } => is_no_space(source),
            Self::Manifest { .. } => false,
        }
    }
}

/// Whether an I/O error says that the disk, or a quota, is full.
#[must_use]
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A folder in the vault, and what its manifest says.
pub type Manifest = (RecordingId, Result<Recording, VaultError>);

/// The volumes of this node, and what lies on them. Calls block; keep them off the async threads.
#[derive(Debug)]
pub struct Vault {
    disk: Disk,
    volumes: Vec<Volume>,
    free_bytes_min: u64,
}

impl Vault {
    /// Opens the vault; makes its folder of recordings where it is missing.
    ///
    /// # Errors
    /// [`VaultError::Io`] where the path is no folder that can be written.
    pub fn open(path: &Path, free_bytes_min: u64) -> Result<Self, VaultError> {
        Self::open_on(Disk::Machine, path, free_bytes_min)
    }

    /// The same, on a disk of the caller's.
    pub(crate) fn open_on(
        disk: Disk,
        path: &Path,
        free_bytes_min: u64,
    ) -> Result<Self, VaultError> {
        let recordings = path.join(RECORDINGS);
        let new: Vec<&Path> =
            recordings.ancestors().take_while(|folder| !disk.is_folder(folder)).collect();
        if !new.is_empty() {
            disk.make_folder(&recordings, true).map_err(VaultError::io("make", &recordings))?;
        }
        // Each new name, from the top: a power cut must not take the vault itself away.
        for parent in new.iter().rev().filter_map(|folder| folder.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            disk.sync_folder(parent).map_err(VaultError::io("sync", parent))?;
        }
        Ok(Self { volumes: vec![Volume::open(&disk, path)?], disk, free_bytes_min })
    }

    /// The volumes.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// The volume that a new recording of up to `bytes` bytes goes to: the one with most room.
    ///
    /// # Errors
    /// [`VaultError::NoRoom`] where none would keep its free space.
    pub fn place(&self, bytes: u64) -> Result<&Volume, VaultError> {
        let mut best: Option<(&Volume, u64)> = None;
        for volume in &self.volumes {
            let free = volume.free_bytes()?;
            if best.is_none_or(|(_, most)| free > most) {
                best = Some((volume, free));
            }
        }
        let Some((volume, free_bytes)) = best else {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(VaultError::Io {
                action: "find a volume in",
                path: PathBuf::new(),
                source,
            });
        };
        if free_bytes < self.free_bytes_min.saturating_add(bytes) {
            let path = volume.path().into();
            return Err(VaultError::NoRoom {
                path,
                free_bytes,
                free_bytes_min: self.free_bytes_min,
            });
        }
        Ok(volume)
    }

    /// The folder of a recording, on the volume that has it.
    #[must_use]
    pub fn folder(&self, id: RecordingId) -> PathBuf {
        let on = |volume: &Volume| volume.path().join(RECORDINGS).join(id.to_string());
        let found = self.volumes.iter().map(on).find(|folder| self.disk.is_folder(folder));
        found.or_else(|| self.volumes.first().map(on)).unwrap_or_default()
    }

    /// Where a file of a recording lies, whether it exists or not.
    #[must_use]
    pub fn file(&self, id: RecordingId, kind: FileKind) -> PathBuf {
        self.folder(id).join(file_name(kind))
    }

    /// Makes the folder, manifest and empty raw file of a new recording, durably.
    ///
    /// # Errors
    /// [`VaultError`]; what was made is then left for a later deletion.
    pub fn create(&self, recording: &Recording, bytes: u64) -> Result<VaultFile, VaultError> {
        let parent = self.place(bytes)?.path().join(RECORDINGS);
        let folder = parent.join(recording.id.to_string());
        self.disk.make_folder(&folder, false).map_err(VaultError::io("make", &folder))?;
        let path = folder.join(file_name(FileKind::Raw));
        let raw = self.disk.open(&path, For::New).map_err(VaultError::io("make", &path))?;
        manifest::write(&self.disk, &folder, recording)?;
        self.sync_folder(&parent)?;
        Ok(raw)
    }

    /// Opens the raw file of a recording for reading alone: for whoever must not change it.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn read_raw(&self, id: RecordingId) -> Result<VaultFile, VaultError> {
        self.open_file(id, For::Reading)
    }

    /// Opens the raw file of a recording for reading and going on with.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn open_raw(&self, id: RecordingId) -> Result<VaultFile, VaultError> {
        self.open_file(id, For::Writing)
    }

    /// The same, cut back to so many bytes: those that are known to be durable. What a file has behind
    /// them after a power cut, or after a sync that failed, may be anything.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn open_raw_at(&self, id: RecordingId, bytes: u64) -> Result<VaultFile, VaultError> {
        let raw = self.open_raw(id)?;
        let cut_back = || if raw.bytes()? > bytes { raw.set_len(bytes) } else { Ok(()) };
        let path = self.file(id, FileKind::Raw);
        cut_back().and_then(|()| raw.sync()).map_err(VaultError::io("cut back", &path))?;
        Ok(raw)
    }

    /// A recording that is arriving, with as many bytes as its file has: for one that nothing but its
    /// manifest tells of, which does not know.
    ///
    /// # Errors
    /// [`VaultError::Io`] where what is there cannot be made durable.
    pub fn with_length(&self, mut recording: Recording) -> Result<Recording, VaultError> {
        if recording.state == State::Receiving && self.disk.is_folder(&self.folder(recording.id)) {
            let path = self.file(recording.id, FileKind::Raw);
            let raw = self.open_raw(recording.id)?;
            let bytes = raw.sync().and_then(|()| raw.bytes());
            recording.bytes = bytes.map_err(VaultError::io("measure", &path))?;
        }
        Ok(recording)
    }

    fn open_file(&self, id: RecordingId, what_for: For) -> Result<VaultFile, VaultError> {
        let path = self.file(id, FileKind::Raw);
        self.disk.open(&path, what_for).map_err(VaultError::io("open", &path))
    }

    /// When the raw file of a recording was last written to.
    ///
    /// # Errors
    /// [`VaultError::Io`], where there is none for one.
    pub fn raw_modified(&self, id: RecordingId) -> Result<Timestamp, VaultError> {
        let path = self.file(id, FileKind::Raw);
        self.disk.modified(&path).map_err(VaultError::io("look at", &path))
    }

    /// Notes in its folder what the ledger knows of a recording, durably, if it still has one.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn note(&self, recording: &Recording) -> Result<(), VaultError> {
        let folder = self.folder(recording.id);
        if self.disk.is_folder(&folder) {
            manifest::write(&self.disk, &folder, recording)
        } else {
            Ok(())
        }
    }

    /// What the manifest in a recording's folder says.
    ///
    /// # Errors
    /// [`VaultError::Io`] or [`VaultError::Manifest`] where it cannot be read.
    pub fn manifest(&self, id: RecordingId) -> Result<Recording, VaultError> {
        manifest::read(&self.disk, &self.folder(id))
    }

    /// Every recording that has a folder here, by its manifest.
    ///
    /// # Errors
    /// [`VaultError::Io`] where the folders cannot be listed. A folder whose manifest is missing or
    /// damaged is in the list as an error of its own.
    pub fn manifests(&self) -> Result<Vec<Manifest>, VaultError> {
        let mut found = Vec::new();
        for id in self.ids()? {
            found.push((id, self.manifest(id)));
        }
        Ok(found)
    }

    /// Every recording that has a folder here.
    ///
    /// # Errors
    /// [`VaultError::Io`] where the folders cannot be listed.
    pub fn ids(&self) -> Result<Vec<RecordingId>, VaultError> {
        let mut ids = Vec::new();
        for volume in &self.volumes {
            let path = volume.path().join(RECORDINGS);
            for name in self.disk.list(&path).map_err(VaultError::io("list", &path))? {
                match name.to_str().map(str::parse) {
                    Some(Ok(id)) => ids.push(id),
                    _ => tracing::warn!(?name, "not a recording's folder; left alone"),
                }
            }
        }
        Ok(ids)
    }

    /// Makes an empty folder for a transcoding attempt.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn work_folder(&self, id: RecordingId) -> Result<PathBuf, VaultError> {
        let work = self.folder(id).join(WORK);
        delete::remove_tree(&self.disk, &work)?;
        self.disk.make_folder(&work, false).map_err(VaultError::io("make", &work))?;
        Ok(work)
    }

    /// Gives the files that a transcoding attempt made their names, durably.
    ///
    /// # Errors
    /// [`VaultError::Io`]; the next attempt then starts over.
    pub fn adopt(&self, id: RecordingId, kinds: &[FileKind]) -> Result<Vec<NewFile>, VaultError> {
        let folder = self.folder(id);
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

    /// Unlinks files of a recording, durably; with `folder`, its whole folder.
    ///
    /// # Errors
    /// [`VaultError::Io`]; repeating it goes on.
    pub fn delete(
        &self,
        id: RecordingId,
        kinds: &[FileKind],
        folder: bool,
    ) -> Result<Deletion, VaultError> {
        delete::delete(&self.disk, &self.folder(id), kinds, folder)
    }

    /// Keeps a copy of something beside the recordings, on every volume, durably.
    ///
    /// # Errors
    /// [`VaultError::Io`]; an older copy is then still there.
    pub fn keep_copy(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let new_name = format!("{name}.new");
        self.volumes.iter().try_for_each(|volume| {
            manifest::replace(&self.disk, volume.path(), name, &new_name, bytes)
        })
    }

    /// The copy of something that is kept beside the recordings, if there is one.
    ///
    /// # Errors
    /// [`VaultError::Io`] where it cannot be read, or has more than `bytes_max` bytes.
    pub fn copy(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, VaultError> {
        for volume in &self.volumes {
            let path = volume.path().join(name);
            let read = self.disk.open(&path, For::Reading).and_then(|file| {
                if file.bytes()? > bytes_max {
                    return Err(io::Error::other("it is too large to be one"));
                }
                digest::read_start(&file, bytes_max)
            });
            match read {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(VaultError::io("read", &path)(error)),
            }
        }
        Ok(None)
    }

    fn sync_folder(&self, path: &Path) -> Result<(), VaultError> {
        self.disk.sync_folder(path).map_err(VaultError::io("sync", path))
    }
}

/// The name of a file within a recording's folder.
#[must_use]
pub fn file_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Raw => "raw",
        FileKind::Main => job::MAIN_NAME,
        FileKind::Snapshot => job::SNAPSHOT_NAME,
        FileKind::Filmstrip => job::FILMSTRIP_NAME,
    }
}

#[cfg(test)]
mod tests;
