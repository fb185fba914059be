//! Header backups that are encrypted, to be kept where a plain one should not lie.
//!
//! ```text
//! bytes
//!    16   HOLDFAST-HEADER1
//!     8   length of the backup, big end first
//!    32   salt
//!     n   the backup, encrypted with AES-256-GCM; the first 56 bytes are authenticated with it
//!    16   tag
//! ```
//!
//! The key is made by HKDF-SHA-256 (RFC 5869) of salt and *backup key*: 256 random bits that are shown once,
//! in the form of a recovery key, and made anew for each file. So no nonce is needed (it is 0). What is
//! decrypted lies in a file of memory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::backup;
use crate::error::Error;
use crate::keys::RecoveryKey;
use crate::luks::Luks;
use crate::state;

const MAGIC: &[u8; 16] = b"HOLDFAST-HEADER1";
const FRONT_BYTES: usize = MAGIC.len() + 8 + SALT_BYTES;
const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Largest header that LUKS2 has, in bytes.
const BACKUP_BYTES_MAX: u64 = 136 << 20;
/// What the key is for.
const PURPOSE: &[u8] = b"holdfast header backup";

/// Whether a file is an encrypted backup, whole or not.
#[must_use]
pub fn is_sealed(file: &Path) -> bool {
    let mut begin = [0; MAGIC.len()];
    let read = File::open(file).and_then(|mut it| it.read_exact(&mut begin));
    read.is_ok() && begin == *MAGIC
}

/// Writes an encrypted backup to a file that must not be there yet, and sees that it opens. The plain one lies
/// in `scratch` for a moment, which is to be a folder of memory.
///
/// # Errors
/// If the file is there, or cannot be written.
pub fn write(luks: &mut Luks, file: &Path, key: &RecoveryKey, scratch: &Path) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::failed(format!("writing {}", file.display()), e);
    let plain = scratch.join(format!("{}.export", std::process::id()));
    let backed_up = backup::write(luks, &plain).and_then(|()| fs::read(&plain).map_err(failed));
    state::remove(&plain);
    let sealed = seal(backed_up?, key)?;
    let mut options = OpenOptions::new();
    let mut new = options.write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    new.write_all(&sealed).and_then(|()| new.sync_all()).map_err(failed)?;
    open(file, key).map(drop)
}

/// A backup that was decrypted, in a file of memory.
#[derive(Debug)]
pub struct Opened(File);

impl Opened {
    /// Where it can be read, by this process and as long as this lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Decrypts a backup.
///
/// # Errors
/// If it is cut off, or was changed, or the key is another.
pub fn open(file: &Path, key: &RecoveryKey) -> Result<Opened, Error> {
    let failed = |e: std::io::Error| Error::failed(format!("reading {}", file.display()), e);
    let wrong = |problem: String| Error::Header { what: file.to_owned(), problem };
    let mut bytes = Vec::new();
    let most = BACKUP_BYTES_MAX + (FRONT_BYTES + TAG_BYTES) as u64;
    let mut options = OpenOptions::new();
    let open = options.read(true).custom_flags(libc::O_NONBLOCK).open(file).map_err(failed)?;
    open.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    let needed = bytes.get(MAGIC.len()..MAGIC.len() + 8).and_then(|it| it.try_into().ok());
    let needed = needed.map(u64::from_be_bytes).filter(|_| bytes.starts_with(MAGIC));
    let needed = needed.ok_or_else(|| wrong("no encrypted header backup".to_owned()))?;
    let needed = needed.saturating_add((FRONT_BYTES + TAG_BYTES) as u64);
    if needed > most || bytes.len() as u64 > needed {
        return Err(wrong("was changed: its length is not what it says".to_owned()));
    }
    if (bytes.len() as u64) < needed {
        return Err(wrong(format!("cut off: {} of {needed} bytes", bytes.len())));
    }
    let mut backup = bytes.split_off(FRONT_BYTES);
    let opened = sealing_key(&bytes, key).and_then(|it| {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        it.open_in_place(nonce, Aad::from(&bytes), &mut backup).map(|it| it.len())
    });
    let length = opened.map_err(|Unspecified| {
        wrong("this is not its backup key, or it was changed. Nothing was changed".to_owned())
    })?;
    let memory = memfd_create(c"header backup", MFdFlags::MFD_CLOEXEC);
    let mut memory = File::from(memory.map_err(|e| failed(e.into()))?);
    memory.write_all(&backup[..length]).map_err(failed)?;
    Ok(Opened(memory))
}

fn seal(mut backup: Vec<u8>, key: &RecoveryKey) -> Result<Vec<u8>, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::failed("encrypting a header backup", e);
    let mut front = MAGIC.to_vec();
    front.extend((backup.len() as u64).to_be_bytes());
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|e| failed(&e))?;
    front.extend(salt);
    let sealed = sealing_key(&front, key).and_then(|it| {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        it.seal_in_place_append_tag(nonce, Aad::from(&front), &mut backup)
    });
    sealed.map_err(|e| failed(&e))?;
    front.append(&mut backup);
    Ok(front)
}

fn sealing_key(front: &[u8], key: &RecoveryKey) -> Result<LessSafeKey, Unspecified> {
    let salt = front.get(MAGIC.len() + 8..).ok_or(Unspecified)?;
    let secret = key.passphrase();
    let made = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret.bytes());
    let made = made.expand(&[PURPOSE], &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(made)))
}
