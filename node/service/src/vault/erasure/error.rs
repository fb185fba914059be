//! What can go wrong with keys of recordings, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_core::RecordingId;

/// What can go wrong with keys of recordings.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
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
    /// The file system cannot encrypt folders.
    #[error(
        "vault.erasure = \"keys\" needs a file system that encrypts folders, and {path} is on none: \
         for ext4, unmount it and run `tune2fs -O encrypt DEVICE` (the kernel needs \
         CONFIG_FS_ENCRYPTION), or set vault.erasure = \"unlink\""
    )]
    NotSupported {
        /// Where the volume is mounted.
        path: PathBuf,
    },
    /// The state folder lies where nothing is overwritten in place.
    #[error(
        "vault.erasure = \"keys\" needs keys that can be overwritten where they are, which the file \
         system of {path} ({kind}) does not do: put node.state_path on ext4 or XFS, or set \
         vault.erasure = \"unlink\""
    )]
    NotOverwritten {
        /// The state folder.
        path: PathBuf,
        /// Its file system's type, in hex.
        kind: String,
    },
    /// Keys and recordings would lie on one disk.
    #[error(
        "vault.erasure = \"keys\" keeps keys apart from recordings, but {state_path} is on the file \
         system of {volume}: whoever has an image of it would have both. Put node.state_path on \
         another file system, or set vault.erasure = \"unlink\""
    )]
    SameDisk {
        /// The state folder.
        state_path: PathBuf,
        /// The volume.
        volume: PathBuf,
    },
    /// The epochs' keys are lost, and recordings that need them are not.
    #[error(
        "{path} has no key that is whole, but recordings are encrypted under keys of it: put the \
         state folder back as it was when the node last ran; without it those recordings cannot be \
         read by anybody"
    )]
    NoEpoch {
        /// The file.
        path: PathBuf,
    },
    /// Another process uses the keys.
    #[error(
        "another process uses the keys of recordings ({path} is locked); stop the running node first"
    )]
    InUse {
        /// The lock.
        path: PathBuf,
    },
    /// A key of a recording is not where it should be, or opens with no key that there is.
    #[error(
        "recording {id} is encrypted, and its key {path} {problem}; it is left alone until that is \
         mended"
    )]
    NoKey {
        /// Which recording.
        id: RecordingId,
        /// Its key's file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The recording was deleted: its key is gone.
    #[error("recording {id} was deleted: its key was erased")]
    Erased {
        /// Which recording.
        id: RecordingId,
    },
    /// The kernel takes no more keys.
    #[error(
        "the kernel takes no more keys of this user: raise kernel.keys.maxkeys and \
         kernel.keys.maxbytes (see docs/security/erasure.md); {held} keys are in use by work that \
         runs"
    )]
    Quota {
        /// Keys that are in use.
        held: usize,
    },
    /// A volume that has keys is not there, so an old epoch has to stay.
    #[error(
        "volume {id} has keys of recordings and is not there, so epoch {epoch} is not destroyed yet: \
         bring the volume back, or, if it is gone for good, remove {path}"
    )]
    VolumeMissing {
        /// Which volume.
        id: String,
        /// Which epoch has to stay.
        epoch: u64,
        /// What remembers the volume.
        path: PathBuf,
    },
    /// A recording's folder is encrypted with another key, or has files without encryption.
    #[error("the folder {path} cannot be encrypted with its recording's key: {source}")]
    Policy {
        /// Which folder.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The machine has no randomness, or the library refuses.
    #[error("this machine's cryptography fails: {0}")]
    Cryptography(&'static str),
}

impl ErasureError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }
}
