//! A volume: a file system that recordings lie on. It may come and go while the node runs.
//!
//! Invariants: a volume is used only while what its configuration asks for holds: something is mounted
//! there, encrypted where that is wanted, and marked. Which one it is says its mark ([`super::mark`]),
//! not its place. No file of it is held open between calls, so that it can be unmounted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use holdfast_core::names::VolumeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::disk::{Disk, For, VaultFile};
use super::{Encryption, RECORDINGS, VaultError, mark};

/// How many looks at it a volume that had an error is kept out of the way.
const TROUBLE_LOOKS: u32 = 60;

/// How a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// It takes recordings.
    Ready,
    /// Too little is free: it takes nothing new until more is.
    Full,
    /// Its file system can only be read.
    ReadOnly,
    /// It had errors lately: it takes something new only where no other volume can.
    Failing,
    /// It is not there.
    Away,
    /// What is there in its place is not used, because it is not as it has to be.
    Refused,
}

impl Standing {
    /// Whether the volume that was there is there still.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        let is_there = self.state.is_there() && now.state.is_there();
        is_there && self.id == now.id && self.device == now.device
    }
}

impl VolumeState {
    /// Whether what lies on it can be read.
    #[must_use]
    pub fn is_there(self) -> bool {
        !matches!(self, Self::Away | Self::Refused)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Failing => "failing",
            Self::Away => "away",
            Self::Refused => "refused",
        }
    }
}

/// What is asked of a volume.
#[derive(Debug, Clone)]
pub struct Demands {
    /// What people call it.
    pub name: String,
    /// Where it is, or is to be.
    pub path: PathBuf,
    /// Whether something has to be mounted there.
    pub is_mount_point: bool,
    /// Whether it has to be encrypted.
    pub is_encrypted: bool,
    /// Space that is kept free, in bytes. Below it the volume is full.
    pub free_bytes_min: u64,
    /// Space that has to be free again until it is full no more, in bytes.
    pub free_bytes_again: u64,
}

/// How a volume was when it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In one word.
    pub state: VolumeState,
    /// Why, and what to do, where it is not ready.
    pub why: Option<String>,
    /// Which volume is there, or was last.
    pub id: Option<VolumeId>,
    /// Whether it is encrypted.
    pub encryption: Encryption,
    /// The number of its device.
    device: u64,
}

/// A file system that recordings lie on.
#[derive(Debug)]
pub struct Volume {
    demands: Demands,
    standing: RwLock<Standing>,
    trouble: AtomicU32,
}

impl Volume {
    pub(super) fn new(demands: Demands) -> Self {
        let standing = Standing {
            state: VolumeState::Away,
            why: Some("it was not looked at yet".to_owned()),
            id: None,
            encryption: Encryption::None,
            device: 0,
        };
        Self { demands, standing: RwLock::new(standing), trouble: AtomicU32::new(0) }
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.demands.name
    }

    /// Where it is, or is to be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.demands.path
    }

    /// Whether it may be a plain folder.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.demands.is_mount_point
    }

    /// How it was when it was last looked at.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its state alone.
    #[must_use]
    pub fn state(&self) -> VolumeState {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).state
    }

    /// Which volume is there, or was last.
    #[must_use]
    pub fn id(&self) -> Option<VolumeId> {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).id
    }

    pub(super) fn recordings(&self) -> PathBuf {
        self.path().join(RECORDINGS)
    }

    /// Whether notes can be written on it.
    pub(super) fn takes_notes(&self) -> bool {
        self.state().is_there() && self.state() != VolumeState::ReadOnly
    }

    /// Notes that the disk failed at something.
    pub(super) fn note_trouble(&self, error: &io::Error) {
        tracing::warn!(volume_name = self.name(), %error, "its disk failed at something");
        self.trouble.store(TROUBLE_LOOKS, Ordering::Release);
        let mut standing = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        if standing.state == VolumeState::Ready {
            standing.state = VolumeState::Failing;
            standing.why = Some(failing());
        }
    }

    /// Looks at it; answers how it was before, and is now. One at a time.
    pub(super) fn look(&self, disk: &Disk) -> (Standing, Standing) {
        let before = self.standing();
        let now = self.find(disk, &before).unwrap_or_else(|(state, why)| Standing {
            state,
            why: Some(why),
            encryption: Encryption::None,
            ..before.clone()
        });
        (before, now)
    }

    /// That is how it is from now on.
    pub(super) fn set(&self, standing: Standing) {
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    fn find(&self, disk: &Disk, before: &Standing) -> Result<Standing, (VolumeState, String)> {
        let Demands { path, is_mount_point, is_encrypted, .. } = &self.demands;
        let away = |error: io::Error| (VolumeState::Away, format!("{}: {error}", path.display()));
        let mounted = disk.mounted(path).map_err(away)?;
        if *is_mount_point && !mounted.is_mount_point {
            let said = format!("nothing is mounted at {}", path.display());
            return Err((VolumeState::Away, said));
        }
        let encryption = disk.encryption(mounted.device);
        if *is_encrypted && !encryption.is_encrypted() {
            let said = format!(
                "what is mounted at {} is not encrypted, and an appliance uses no other; make and open \
                 it with holdfast-volume",
                path.display()
            );
            return Err((VolumeState::Refused, said));
        }
        let id = self.id_of(disk, mounted.is_read_only)?;
        let looks = self.trouble.load(Ordering::Acquire);
        self.trouble.store(looks.saturating_sub(1), Ordering::Release);
        let free_bytes_wanted = match before.state {
            VolumeState::Full => self.demands.free_bytes_again,
            _ => self.demands.free_bytes_min,
        };
        let (state, why) = if mounted.is_read_only {
            let said = "its file system can only be read: after an error, see the journal; close and open \
                        the volume, which checks it";
            (VolumeState::ReadOnly, Some(said.to_owned()))
        } else if mounted.free_bytes < free_bytes_wanted {
            let free = mounted.free_bytes;
            let said = format!("{free} bytes are free, and {free_bytes_wanted} are wanted");
            (VolumeState::Full, Some(said))
        } else if looks > 0 {
            (VolumeState::Failing, Some(failing()))
        } else {
            (VolumeState::Ready, None)
        };
        Ok(Standing { state, why, id: Some(id), encryption, device: mounted.device })
    }

    /// Which volume is there. One without a mark is marked, and gets its folder of recordings.
    fn id_of(&self, disk: &Disk, is_read_only: bool) -> Result<VolumeId, (VolumeState, String)> {
        let path = self.path();
        let failed = |error: io::Error| {
            let state = match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::Other => VolumeState::Refused,
                _ => VolumeState::Away,
            };
            (state, format!("{}: {error}", path.display()))
        };
        let known = mark::read(disk, path).map_err(failed)?;
        let recordings = self.recordings();
        if known.is_none() && is_read_only {
            let said = format!("{} is read-only, and no node has used it before", path.display());
            return Err((VolumeState::Refused, said));
        }
        if !disk.is_folder(&recordings) && !is_read_only {
            let made = disk.make_folder(&recordings, false);
            made.and_then(|()| disk.sync_folder(path)).map_err(failed)?;
        }
        if let Some(known) = known {
            return Ok(known);
        }
        let id = mark::lost(disk, &recordings).map_err(|why| (VolumeState::Refused, why))?;
        mark::make(disk, path, id).map_err(failed)
    }

    /// Its folder, open, if what is there is still what was looked at.
    fn folder(&self, disk: &Disk) -> Result<VaultFile, VaultError> {
        let standing = self.standing();
        let folder = disk.open(self.path(), For::Reading);
        let folder = folder.map_err(VaultError::io("open", self.path()))?;
        let device = folder.device().map_err(VaultError::io("look at", self.path()))?;
        if standing.state.is_there() && device == standing.device {
            return Ok(folder);
        }
        Err(self.away())
    }

    /// Whether what is there is still what was looked at.
    ///
    /// # Errors
    /// [`VaultError::Away`].
    pub(super) fn check(&self, disk: &Disk) -> Result<(), VaultError> {
        self.folder(disk).map(drop).map_err(|_| self.away())
    }

    /// The same by the disk's own word: its mark is read anew, past what the kernel remembers.
    ///
    /// # Errors
    /// [`VaultError::Away`].
    pub(super) fn confirm(&self, disk: &Disk) -> Result<(), VaultError> {
        self.check(disk)?;
        match mark::read(disk, self.path()) {
            Ok(Some(id)) if Some(id) == self.id() => Ok(()),
            Ok(_) => Err(self.away()),
            Err(error) => {
                let why = format!("its disk does not answer: {error}");
                Err(VaultError::Away { volume: self.name().to_owned(), why })
            }
        }
    }

    pub(super) fn away(&self) -> VaultError {
        let why = self.standing().why.unwrap_or_else(|| "it has just gone".to_owned());
        VaultError::Away { volume: self.name().to_owned(), why }
    }

    /// Space that is free for the node, in bytes.
    ///
    /// # Errors
    /// [`VaultError::Io`] or [`VaultError::Away`].
    pub(super) fn free_bytes(&self, disk: &Disk) -> Result<u64, VaultError> {
        self.folder(disk)?.free_bytes().map_err(VaultError::io("measure", self.path()))
    }

    /// That it takes nothing new.
    pub(super) fn full(&self, disk: &Disk) -> VaultError {
        let free_bytes_min = self.demands.free_bytes_again;
        match self.free_bytes(disk) {
            Ok(free_bytes) => {
                VaultError::NoRoom { path: self.path().into(), free_bytes, free_bytes_min }
            }
            Err(error) => error,
        }
    }

    /// Whether so many bytes more leave it its free space.
    pub(super) fn check_room(&self, disk: &Disk, bytes: u64) -> Result<(), VaultError> {
        let free_bytes_min = self.demands.free_bytes_min;
        let free_bytes = self.free_bytes(disk)?;
        if free_bytes < free_bytes_min.saturating_add(bytes) {
            return Err(VaultError::NoRoom {
                path: self.path().into(),
                free_bytes,
                free_bytes_min,
            });
        }
        Ok(())
    }
}

fn failing() -> String {
    "its disk had errors in the last minute; see the journal, and have the disk replaced".to_owned()
}
