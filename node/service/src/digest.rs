//! SHA-256, as it is written down everywhere: in lower-case hex.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use aws_lc_rs::digest::{Context, SHA256};

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 64 << 10;

/// A digest in the making.
#[derive(Clone)]
pub struct Sha256(Context);

impl Sha256 {
    /// Of nothing so far.
    #[must_use]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far, in hex.
    #[must_use]
    pub fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

/// The digest of some bytes, in hex.
#[must_use]
pub fn of(bytes: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(bytes);
    digest.finish()
}

/// What can be read anywhere in it: a file.
pub trait ReadAt {
    /// Reads at an offset; answers how many bytes, none at the end.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

/// Size and digest of a whole file. Blocks.
///
/// # Errors
/// Whatever reading the file answers.
pub fn of_file(file: &impl ReadAt) -> io::Result<(u64, String)> {
    let (bytes, digest) = of_start(file, u64::MAX)?;
    Ok((bytes, digest.finish()))
}

/// Takes in a file's first bytes, at most `limit`; answers how many there were. Blocks.
///
/// # Errors
/// Whatever reading the file answers.
pub fn of_start(file: &impl ReadAt, limit: u64) -> io::Result<(u64, Sha256)> {
    let mut digest = Sha256::new();
    let bytes = pass(file, limit, |piece| digest.update(piece))?;
    Ok((bytes, digest))
}

/// A file's first bytes, at most `limit`. Blocks.
///
/// # Errors
/// Whatever reading the file answers.
pub fn read_start(file: &impl ReadAt, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pass(file, limit, |piece| bytes.extend_from_slice(piece))?;
    Ok(bytes)
}

/// Hands a file's first bytes on, piece by piece; answers how many there were.
fn pass(file: &impl ReadAt, limit: u64, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0_u64;
    while at < limit {
        let want = usize::try_from(limit - at).unwrap_or(READ_BYTES).min(READ_BYTES);
        let read = file.read_at(&mut buffer[..want], at)?;
        if read == 0 {
            break;
        }
        take(&buffer[..read]);
        at += read as u64;
    }
    Ok(at)
}

/// Bytes in lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(super::of(b""), known);
    }
}
