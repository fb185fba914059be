//! A `.tar.gz` of small files: POSIX ustar, one member after the other, in gzip.
//!
//! Headers are written here, because they are 512 bytes of fixed fields and names are short and our
//! own: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>, "ustar Interchange
//! Format". The last member is `SHA256SUMS`, as sha256sum(1) writes it, over all others.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::digest;

/// A header's size, and what a member's bytes are filled up to.
const BLOCK: usize = 512;
/// Two blocks of zeros end an archive.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its name, at most 60 bytes of ASCII.
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// Packs files into one folder of this name.
pub(super) fn pack(folder: &str, files: &[File], at: Timestamp) -> io::Result<Vec<u8>> {
    let sums: String =
        files.iter().map(|file| format!("{}  {}\n", digest::of(&file.bytes), file.name)).collect();
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    for file in files {
        member(&mut packed, folder, file, at)?;
    }
    member(&mut packed, folder, &File { name: "SHA256SUMS", bytes: sums.into() }, at)?;
    packed.write_all(&END)?;
    packed.finish()
}

fn member(to: &mut impl Write, folder: &str, file: &File, at: Timestamp) -> io::Result<()> {
    to.write_all(&header(&format!("{folder}/{}", file.name), file.bytes.len(), at))?;
    to.write_all(&file.bytes)?;
    let rest = file.bytes.len().next_multiple_of(BLOCK) - file.bytes.len();
    to.write_all(&[0; BLOCK][..rest])
}

fn header(name: &str, bytes: usize, at: Timestamp) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    // A name has 100 bytes at most, with a zero behind it where it is shorter.
    put(0, name.get(..100).unwrap_or(name));
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{bytes:011o}"));
    put(136, &format!("{:011o}", at.as_second().max(0)));
    // The sum is of the header with eight spaces in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_and_sha256sum_read_what_was_packed() {
        let dir = tempfile::tempdir().unwrap();
        let at: Timestamp = "2026-11-29T10:00:00Z".parse().unwrap();
        let files = [
            File { name: "README.txt", bytes: b"read me\n".into() },
            File { name: "empty.json", bytes: Vec::new() },
            File { name: "block.bin", bytes: vec![7; BLOCK] },
            File { name: "large.txt", bytes: vec![b'x'; 100_001] },
        ];
        let packed = pack("support-x", &files, at).unwrap();
        let path = dir.path().join("a.tar.gz");
        std::fs::write(&path, packed).unwrap();
        let run = |command: &mut Command| {
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert!(output.stderr.is_empty(), "{output:?}");
        };
        run(Command::new("tar").arg("-xzf").arg(&path).arg("-C").arg(dir.path()));
        let folder = dir.path().join("support-x");
        for file in &files {
            assert_eq!(std::fs::read(folder.join(file.name)).unwrap(), file.bytes);
        }
        run(Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&folder));
    }
}
