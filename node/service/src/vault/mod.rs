//! Where recordings lie: a folder for each, with its files and a manifest.
//!
//! ```text
//! {volume}/volume.json                     which volume it is
//! {volume}/recordings/{id}/manifest.json   everything the ledger knows of it (contract 2)
//!                          raw             the bytes as they came
//!                          main.mp4  snapshot.jpg  filmstrip.jpg  filmstrip.vtt
//!                          work/           what a transcoding attempt is making; worthless otherwise
//! {volume}/keys/{id}                       the folder's key, where recordings have keys (erasure/)
//! {volume}/selftest/                       what a self-test is making; worthless otherwise (trial.rs)
//! ```
//!
//! Invariants: a file that has its name is whole and durable; a name is made by renaming a synced
//! file and then syncing the folder; deleting unlinks, then syncs the folder, and repeating it is
//! harmless (contract 3). Nothing outside this room unlinks or renames in here. A recording stays on
//! the volume where it began; while that one is away its files are neither read nor taken for gone.

mod delete;
mod disk;
pub mod erasure;
mod home;
mod manifest;
mod mapped;
mod mark;
mod recordings;
mod trial;
mod volume;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use holdfast_core::RecordingId;
use holdfast_core::job;
use holdfast_core::names::VolumeId;
use holdfast_core::recording::{FileKind, Recording};

use nix::errno::Errno;

pub use delete::Deletion;
pub(crate) use disk::Disk;
use disk::For;
pub use disk::VaultFile;
use erasure::{Erasure, ErasureError};
pub use home::Home;
pub use mapped::Encryption;
pub use trial::Trial;
pub use volume::{Demands, Standing, Volume, VolumeState};

use crate::config::{self, Profile};
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
    /// The volume is not there now, or not as it has to be.
    #[error("the volume {volume} is away: {why}")]
    Away {
        /// Which volume.
        volume: String,
        /// Why.
        why: String,
    },
    /// A manifest is not what was written.
    #[error("the manifest {path} is damaged: {reason}")]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// A key of a recording is wanting, or cannot be made.
    #[error(transparent)]
    Erasure(#[from] ErasureError),
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
            Self::Io { source, .. } | Self::Erasure(ErasureError::Io { source, .. }) => {
                is_no_space(source)
            }
            Self::Manifest { .. } | Self::Away { .. } | Self::Erasure(_) => false,
        }
    }

    /// Whether it is for a volume that is away, and may come back.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

/// Whether an I/O error says that the disk, or a quota, is full.
#[must_use]
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an I/O error says that a disk is failing, and not that somebody asked for the wrong thing.
fn is_trouble(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::EIO
                | Errno::EROFS
                | Errno::ENODEV
                | Errno::ENXIO
                | Errno::ENOMEDIUM
                | Errno::EREMOTEIO
                | Errno::ESHUTDOWN
        )
    )
}

/// A folder in the vault, and what its manifest says.
pub type Manifest = (RecordingId, Result<Recording, VaultError>);

/// The volumes of this node, and what lies on them. Calls block; keep them off the async threads.
#[derive(Debug)]
pub struct Vault {
    disk: Disk,
    volumes: Vec<Volume>,
    looking: Mutex<()>,
    /// The volumes that this node has used.
    known: RwLock<HashMap<VolumeId, KnownVolume>>,
    erasure: Option<Erasure>,
}

#[derive(Debug)]
struct KnownVolume {
    name: String,
    behind: bool,
}

/// How a volume was, and is.
struct Seen<'a> {
    volume: &'a Volume,
    before: Standing,
    now: Standing,
    /// Why it is not to be used all the same.
    refused: Option<String>,
}

impl Vault {
    /// Opens the vault that a configuration means. Volumes of their own may be away.
    ///
    /// # Errors
    /// [`VaultError`] where a plain folder cannot be made or used.
    pub fn of(config: &config::Vault, profile: Profile) -> Result<Self, VaultError> {
        if let Some(path) = &config.path {
            make_folders(&Disk::Machine, path)?;
        }
        let vault = Self::assemble(Disk::Machine, config.demands(profile));
        if config.path.is_some() {
            vault.check_all()?;
        }
        Ok(vault)
    }

    /// Opens a vault that is a plain folder; makes it where it is missing.
    ///
    /// # Errors
    /// [`VaultError`] where the path is no folder that can be written.
    pub fn open(path: &Path, free_bytes_min: u64) -> Result<Self, VaultError> {
        Self::open_on(Disk::Machine, path, free_bytes_min)
    }

    /// The same, on a disk of the caller's.
    pub(crate) fn open_on(
        disk: Disk,
        path: &Path,
        free_bytes_min: u64,
    ) -> Result<Self, VaultError> {
        make_folders(&disk, path)?;
        let demands = Demands {
            name: config::PLAIN_VOLUME.to_owned(),
            path: path.into(),
            is_mount_point: false,
            is_encrypted: false,
            free_bytes_min,
            free_bytes_again: free_bytes_min,
        };
        let vault = Self::assemble(disk, vec![demands]);
        vault.check_all()?;
        Ok(vault)
    }

    fn assemble(disk: Disk, demands: Vec<Demands>) -> Self {
        let volumes = demands.into_iter().map(Volume::new).collect();
        let (looking, known) = (Mutex::default(), RwLock::default());
        let vault = Self { disk, volumes, looking, known, erasure: None };
        vault.look();
        vault
    }

    fn check_all(&self) -> Result<(), VaultError> {
        let away = self.volumes.iter().find(|volume| !volume.state().is_there());
        away.map_or(Ok(()), |volume| Err(volume.away()))
    }

    /// The volumes.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    fn there(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter().filter(|volume| volume.state().is_there())
    }

    /// Looks at each volume: whether it is there, which it is, how it does.
    pub fn look(&self) {
        let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen: Vec<Seen<'_>> = Vec::new();
        for volume in &self.volumes {
            let (before, now) = volume.look(&self.disk);
            seen.push(Seen { volume, before, now, refused: None });
        }
        refuse_copies(&mut seen);
        for Seen { volume, now, .. } in seen {
            volume.set(now);
        }
    }

    /// Space that is free on a volume for the node, in bytes.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn free_bytes(&self, volume: &Volume) -> Result<u64, VaultError> {
        volume.free_bytes(&self.disk)
    }

    /// The volume that a new recording of up to `bytes` bytes goes to: of those that are well the one
    /// with most room, then of those that had errors.
    ///
    /// # Errors
    /// [`VaultError::NoRoom`] where none would keep its free space, [`VaultError::Away`] where none can
    /// be written.
    pub fn place(&self, bytes: u64) -> Result<&Volume, VaultError> {
        let mut refused = None;
        for wanted in [VolumeState::Ready, VolumeState::Failing] {
            let mut best: Option<(&Volume, u64)> = None;
            for volume in self.volumes.iter().filter(|volume| volume.state() == wanted) {
                match volume.free_bytes(&self.disk) {
                    Ok(free) if best.is_none_or(|(_, most)| free > most) => {
                        best = Some((volume, free));
                    }
                    Ok(_) => {}
                    Err(error) => refused = Some(error),
                }
            }
            match best.map(|(volume, _)| volume.check_room(&self.disk, bytes).map(|()| volume)) {
                Some(Ok(volume)) => return Ok(volume),
                Some(Err(error)) => refused = Some(error),
                None => {}
            }
        }
        let full = self.volumes.iter().find(|volume| volume.state() == VolumeState::Full);
        match (refused, full) {
            (Some(no_room @ VaultError::NoRoom { .. }), _) => Err(no_room),
            (_, Some(full)) => Err(full.full(&self.disk)),
            (Some(error), None) => Err(error),
            (None, None) => Err(self.none_is_there()),
        }
    }

    fn none_is_there(&self) -> VaultError {
        let unusable = self.volumes.iter().find(|volume| volume.state() != VolumeState::Ready);
        unusable.map_or_else(
            || VaultError::Away { volume: "?".into(), why: "the vault has no volume".into() },
            Volume::away,
        )
    }

    /// Whether the volume of a recording that arrives has room for more.
    ///
    /// # Errors
    /// [`VaultError::NoRoom`] or [`VaultError::Away`].
    pub fn check_room(&self, home: Home) -> Result<(), VaultError> {
        self.find(home)?.0.check_room(&self.disk, 0)
    }

    /// What to say of an error with the file of a recording, which is held open elsewhere.
    #[must_use]
    pub fn failed(&self, action: &'static str, home: Home, source: io::Error) -> VaultError {
        match self.folder(home) {
            Ok(path) => VaultError::Io { action, path, source },
            Err(away) => away,
        }
    }

    /// Something failed with the file of a recording, which is held open elsewhere.
    pub fn note_trouble(&self, home: Home, error: &io::Error) {
        if is_trouble(error)
            && let Ok((volume, _)) = self.find(home)
        {
            volume.note_trouble(error);
        }
    }

    /// Something failed in here.
    pub fn note_failure(&self, error: &VaultError) {
        if let VaultError::Io { path, source, .. } = error
            && is_trouble(source)
            && let Some(volume) = self.volumes.iter().find(|it| path.starts_with(it.path()))
        {
            volume.note_trouble(source);
        }
    }

    /// The volume and folder of a recording, whether that folder exists or not.
    fn find(&self, home: Home) -> Result<(&Volume, PathBuf), VaultError> {
        let on = |volume: &'_ Volume| volume.recordings().join(home.id.to_string());
        if let Some(id) = home.volume {
            let volume = self.there().find(|volume| volume.id() == Some(id));
            let Some(volume) = volume else { return Err(self.missing(id)) };
            volume.check(&self.disk)?;
            return Ok((volume, on(volume)));
        }
        for volume in self.there() {
            let folder = on(volume);
            if self.disk.has_folder(&folder).map_err(VaultError::io("look at", &folder))? {
                return Ok((volume, folder));
            }
        }
        // What is on none of those that are there may be on one that is not.
        self.volumes.iter().try_for_each(|volume| volume.check(&self.disk))?;
        let first = self.volumes.first().ok_or_else(|| self.none_is_there())?;
        Ok((first, on(first)))
    }

    /// What a volume is called, or was.
    #[must_use]
    pub fn name_of(&self, id: VolumeId) -> String {
        let there = self.volumes.iter().find(|volume| volume.id() == Some(id));
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match (there, known.get(&id)) {
            (Some(volume), _) => volume.name().to_owned(),
            (None, Some(known)) => format!("{} ({id})", known.name),
            (None, None) => id.to_string(),
        }
    }

    /// Notes what the ledger knows of a volume: what it is called, and whether its folders do not know
    /// everything. Of such a volume what cannot be written is left out.
    pub fn set_known(&self, id: VolumeId, name: &str, behind: bool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, KnownVolume { name: name.to_owned(), behind });
    }

    /// Why a volume cannot be used now.
    fn missing(&self, id: VolumeId) -> VaultError {
        let known = self.volumes.iter().find(|volume| volume.id() == Some(id));
        known.map_or_else(
            || VaultError::Away {
                volume: self.name_of(id),
                why: "no such volume is there; put its disk back, and see `holdfast status`".into(),
            },
            Volume::away,
        )
    }

    /// The folder of a recording, whether it exists or not.
    ///
    /// # Errors
    /// [`VaultError::Away`].
    pub fn folder(&self, home: impl Into<Home>) -> Result<PathBuf, VaultError> {
        self.find(home.into()).map(|(_, folder)| folder)
    }

    /// Where a file of a recording lies, whether it exists or not.
    ///
    /// # Errors
    /// [`VaultError::Away`].
    pub fn file(&self, home: impl Into<Home>, kind: FileKind) -> Result<PathBuf, VaultError> {
        Ok(self.folder(home)?.join(file_name(kind)))
    }

    /// Keeps a copy of something beside the recordings, on every volume, durably.
    ///
    /// # Errors
    /// [`VaultError::Io`]; an older copy is then still there.
    pub fn keep_copy(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let new_name = format!("{name}.new");
        self.there().filter(|volume| volume.takes_notes()).try_for_each(|volume| {
            manifest::replace(&self.disk, volume.path(), name, &new_name, bytes)
        })
    }

    /// The copy of something that is kept beside the recordings, if there is one.
    ///
    /// # Errors
    /// [`VaultError::Io`] where it cannot be read, or has more than `bytes_max` bytes.
    pub fn copy(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, VaultError> {
        for volume in self.there() {
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

/// Of two volumes that have one mark the one in use stays; of others nobody knows which is the copy.
fn refuse_copies(seen: &mut [Seen<'_>]) {
    for at in 0..seen.len() {
        let (before, now) = (&seen[at].before, &seen[at].now);
        let is_same = |other: &Seen<'_>| other.now.state.is_there() && other.now.id == now.id;
        if !now.state.is_there() || before.is_still(now) {
            continue;
        }
        let others = seen.iter().enumerate();
        let other = others.filter(|(other, _)| *other != at).find(|(_, other)| is_same(other));
        if let Some((_, other)) = other {
            let why = format!(
                "it has the mark of the volume {}: one is a copy of the other; remove the copy",
                other.volume.name()
            );
            // The others are judged by what they are, so its own id stays.
            seen[at].refused = Some(why);
        }
    }
    for each in seen {
        if let Some(why) = each.refused.take() {
            (each.now.state, each.now.why) = (VolumeState::Refused, Some(why));
        }
    }
}

/// Makes a vault's folders where they are missing.
fn make_folders(disk: &Disk, path: &Path) -> Result<(), VaultError> {
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
    Ok(())
}

/// The name of a file within a recording's folder.
#[must_use]
pub fn file_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Raw => "raw",
        FileKind::Main => job::MAIN_NAME,
        FileKind::Snapshot => job::SNAPSHOT_NAME,
        FileKind::Filmstrip => job::FILMSTRIP_NAME,
        FileKind::FilmstripVtt => job::FILMSTRIP_VTT_NAME,
    }
}

#[cfg(test)]
mod tests;
