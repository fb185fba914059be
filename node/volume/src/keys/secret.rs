//! Bytes that nobody may see.

use std::ffi::c_void;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::ptr::NonNull;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap, munmap};
use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

use super::{KEY_BYTES_MAX, KEY_BYTES_MIN};

/// A key. It is zeroised when it is dropped, never grows (growing would leave copies behind), and
/// shows nothing of itself. The pages it lies on are locked with all others (`harden`).
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Copies bytes, which stay the caller's to wipe.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a whole regular file, without following a link. `None` where there is none.
    ///
    /// # Errors
    /// If it cannot be read or has no length that a key may have, in words.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let wrong = |why: String| format!("{}: {why}", path.display());
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| wrong(e.to_string()))?,
        };
        if !file.metadata().is_ok_and(|meta| meta.is_file()) {
            return Err(wrong("is no file".to_owned()));
        }
        Self::read_from(&mut file).map(Some).map_err(wrong)
    }

    /// Reads to the end, without a buffer that keeps a copy.
    ///
    /// # Errors
    /// If it cannot be read or has no length that a key may have, in words.
    pub fn read_from(from: &mut impl Read) -> Result<Self, String> {
        let mut buffer = Zeroizing::new([0_u8; KEY_BYTES_MAX + 1]);
        let mut length = 0;
        while length < buffer.len() {
            match from.read(&mut buffer[length..]) {
                Ok(0) => break,
                Ok(n) => length += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&length) {
            let range = format!("{KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes");
            return Err(format!("a key is {range} of random, not {length}"));
        }
        Ok(Self::copied(&buffer[..length]))
    }

    /// Reads one line from a descriptor, byte by byte, so that no buffer keeps a copy.
    ///
    /// # Errors
    /// If it cannot be read, or is longer than a key.
    pub fn read_line(from: impl std::os::fd::AsFd) -> Result<Self, String> {
        let mut buffer = Zeroizing::new([0_u8; KEY_BYTES_MAX]);
        let mut length = 0;
        loop {
            let Some(place) = buffer.get_mut(length..=length) else {
                return Err(format!("longer than {KEY_BYTES_MAX} bytes"));
            };
            match nix::unistd::read(&from, place) {
                Ok(0) => break,
                Ok(_) if place == b"\n" => break,
                Ok(_) => length += 1,
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(Self::copied(&buffer[..length]))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A key as a file, for programs that read theirs from one: of memory, which stays locked, and is zeroed
/// when this is dropped.
#[derive(Debug)]
pub struct KeyFile {
    file: File,
    /// What keeps its one page from being swapped out.
    mapped: NonNull<c_void>,
    length: NonZeroUsize,
}

impl KeyFile {
    /// Makes one of a key.
    ///
    /// # Errors
    /// If the kernel has no memory for it.
    #[expect(unsafe_code, reason = "a file of memory is locked by mapping it")]
    pub fn new(key: &Secret) -> io::Result<Self> {
        let length = NonZeroUsize::new(key.bytes().len()).ok_or(ErrorKind::InvalidInput)?;
        let file = File::from(memfd_create(c"key", MFdFlags::MFD_CLOEXEC)?);
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(length.get() as u64)?;
        let readable = ProtFlags::PROT_READ;
        // SAFETY: the mapping is at no place that is in use, nothing reads through it, and nothing
        // makes the file shorter.
        let mapped = unsafe { mmap(None, length, readable, MapFlags::MAP_SHARED, &file, 0) }?;
        let this = Self { file, mapped, length };
        if nix::unistd::geteuid().is_root() {
            // SAFETY: these are the bytes that were just mapped.
            unsafe { mlock(mapped, length.get()) }?;
        }
        this.file.write_all_at(key.bytes(), 0)?;
        Ok(this)
    }

    /// The file, for a child's standard input.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn opened(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for KeyFile {
    #[expect(unsafe_code, reason = "what was mapped is unmapped")]
    fn drop(&mut self) {
        let _ = self.file.write_all_at(&vec![0; self.length.get()], 0);
        // SAFETY: mapped in `new` with this length, and nothing points into it.
        let _ = unsafe { munmap(self.mapped, self.length.get()) };
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Visitor)
    }
}

struct Visitor;

/// Takes a text that is borrowed from the message, and only that: an owned one (because of an
/// escape in it) would have been copied to memory that nobody wipes.
impl<'de> de::Visitor<'de> for Visitor {
    type Value = Secret;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key, without escapes")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Secret, E> {
        if text.len() > KEY_BYTES_MAX {
            return Err(E::custom("a key that is too long"));
        }
        Ok(Secret::copied(text.as_bytes()))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
        // The message must not show what was there.
        Err(E::custom("a key has no escapes"))
    }
}
