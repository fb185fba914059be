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
mod manifest;
mod volume;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use holdfast_core::RecordingId;
use holdfast_core::job;
use holdfast_core::recording::{FileKind, NewFile, Recording};

use nix::fcntl::OFlag;

pub use delete::Deletion;
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
    volumes: Vec<Volume>,
    free_bytes_min: u64,
}

impl Vault {
    /// Opens the vault; makes its folder of recordings where it is missing.
    ///
    /// # Errors
    /// [`VaultError::Io`] where the path is no folder that can be written.
    pub fn open(path: &Path, free_bytes_min: u64) -> Result<Self, VaultError> {
        let recordings = path.join(RECORDINGS);
        if !recordings.is_dir() {
            make_folder(&recordings, true)?;
            sync_folder(path)?;
        }
        Ok(Self { volumes: vec![Volume::open(path)?], free_bytes_min })
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
        let found = self.volumes.iter().map(on).find(|folder| folder.is_dir());
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
    pub fn create(&self, recording: &Recording, bytes: u64) -> Result<File, VaultError> {
        let parent = self.place(bytes)?.path().join(RECORDINGS);
        let folder = parent.join(recording.id.to_string());
        make_folder(&folder, false)?;
        let path = folder.join(file_name(FileKind::Raw));
        let raw = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(VaultError::io("make", &path))?;
        manifest::write(&folder, recording)?;
        sync_folder(&parent)?;
        Ok(raw)
    }

    /// Opens the raw file of a recording for reading alone: for whoever must not change it.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn read_raw(&self, id: RecordingId) -> Result<File, VaultError> {
        let path = self.file(id, FileKind::Raw);
        File::open(&path).map_err(VaultError::io("open", &path))
    }

    /// Opens the raw file of a recording for reading and going on with.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn open_raw(&self, id: RecordingId) -> Result<File, VaultError> {
        let path = self.file(id, FileKind::Raw);
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(&path).map_err(VaultError::io("open", &path))
    }

    /// Notes in its folder what the ledger knows of a recording, durably, if it still has one.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn note(&self, recording: &Recording) -> Result<(), VaultError> {
        let folder = self.folder(recording.id);
        if folder.is_dir() { manifest::write(&folder, recording) } else { Ok(()) }
    }

    /// What the manifest in a recording's folder says.
    ///
    /// # Errors
    /// [`VaultError::Io`] or [`VaultError::Manifest`] where it cannot be read.
    pub fn manifest(&self, id: RecordingId) -> Result<Recording, VaultError> {
        manifest::read(&self.folder(id))
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
            for entry in std::fs::read_dir(&path).map_err(VaultError::io("list", &path))? {
                let name = entry.map_err(VaultError::io("list", &path))?.file_name();
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
        delete::remove_tree(&work)?;
        make_folder(&work, false)?;
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
            let file = open_made(&made).map_err(VaultError::io("open", &made))?;
            file.sync_all().map_err(VaultError::io("sync", &made))?;
            let (bytes, sha256) = digest::of_file(&file).map_err(VaultError::io("read", &made))?;
            rename(&made, &folder.join(file_name(*kind)))?;
            files.push(NewFile { kind: *kind, bytes, sha256: Some(sha256) });
        }
        delete::remove_tree(&work)?;
        sync_folder(&folder)?;
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
        delete::delete(&self.folder(id), kinds, folder)
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

/// What a decoder left is taken only if it is a plain file of its own: a link could lead anywhere.
fn open_made(path: &Path) -> io::Result<File> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let data = file.metadata()?;
    if data.is_file() && data.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::other("the transcoder left something that is no plain file"))
    }
}

fn make_folder(path: &Path, parents: bool) -> Result<(), VaultError> {
    let made = DirBuilder::new().mode(0o700).recursive(parents).create(path);
    made.map_err(VaultError::io("make", path))
}

fn sync_folder(path: &Path) -> Result<(), VaultError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(VaultError::io("sync", path))
}

#[expect(clippy::disallowed_methods, reason = "this is the vault")]
fn rename(from: &Path, to: &Path) -> Result<(), VaultError> {
    std::fs::rename(from, to).map_err(VaultError::io("rename", from))
}

#[cfg(test)]
mod tests;
