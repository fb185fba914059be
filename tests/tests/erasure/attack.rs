//! Somebody who has an image of a volume and a copy of a state folder, knows the formats, and wants a
//! recording. Nothing of the product is used: what is written down about the formats must be true.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};

const BLOCK_BYTES: usize = 4_096;
const AREA_BYTES: usize = 33 * BLOCK_BYTES;
const STRIPE_BYTES: usize = 32;
const STRIPES: usize = 4_000;

/// Gives the kernel a key, which comes from standard input, for what is mounted at the first argument.
const ADD_KEY: &str = "
import fcntl, os, struct, sys
key = sys.stdin.buffer.read()
add = bytearray(struct.pack('<II32xII32x', 2, 0, len(key), 0) + key)
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 3 << 30 | 80 << 16 | ord('f') << 8 | 23, add)
";

/// The key of a recording, from any place in an image and any epoch in a state folder.
pub(super) fn key_of(image: &Path, state: &Path, id: &str) -> Result<Option<Vec<u8>>> {
    let epochs = epochs(&fs::read(state.join("erasure/epochs"))?);
    let raw_id = id_bytes(id)?;
    let image = fs::read(image)?;
    for at in occurrences(&image, &raw_id) {
        let Some(block) = at.checked_sub(16).and_then(|start| image.get(start..start + 124)) else {
            continue;
        };
        for epoch in &epochs {
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, epoch)?);
            let nonce = Nonce::try_assume_unique_for_key(&block[32..44])?;
            let mut sealed = block[44..].to_vec();
            if let Ok(opened) = key.open_in_place(nonce, Aad::from(&block[..32]), &mut sealed) {
                return Ok(Some(opened.to_vec()));
            }
        }
    }
    Ok(None)
}

/// Gives the kernel a key for a file system.
pub(super) fn add_key(mounted: &Path, key: &[u8]) -> Result<()> {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", ADD_KEY]).arg(mounted).stdin(Stdio::piped());
    let mut child = python.spawn()?;
    child.stdin.take().context("no standard input")?.write_all(key)?;
    ensure!(child.wait()?.success(), "the kernel does not take the key");
    Ok(())
}

/// Where these bytes are. They are not all zeros, as most of an image is.
pub(super) fn occurrences(within: &[u8], bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    for number in 0..within.len().div_ceil(BLOCK_BYTES) {
        // What begins in one block may end in the next.
        let from = number * BLOCK_BYTES;
        let end = within.len().min(from + BLOCK_BYTES + bytes.len() - 1);
        let part = &within[from..end];
        if part != &vec![0; part.len()][..] {
            let starts = part.windows(bytes.len()).enumerate();
            found.extend(starts.filter(|(_, piece)| *piece == bytes).map(|(at, _)| from + at));
        }
    }
    found
}

/// Keys of epochs that are whole.
fn epochs(file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for area in file.chunks_exact(AREA_BYTES) {
        let stripes = &area[BLOCK_BYTES..BLOCK_BYTES + STRIPES * STRIPE_BYTES];
        let (random, last) = stripes.split_at((STRIPES - 1) * STRIPE_BYTES);
        let mut mixed = vec![0; STRIPE_BYTES];
        for stripe in random.chunks_exact(STRIPE_BYTES) {
            let block = [vec![0; 4], xor(&mixed, stripe)].concat();
            mixed = digest(&SHA256, &block).as_ref().to_vec();
        }
        // Whatever it says it is: a key that is none opens nothing.
        found.push(xor(&mixed, last));
    }
    found
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// The 16 bytes of an id, which is written in hex with dashes.
fn id_bytes(id: &str) -> Result<Vec<u8>> {
    let hex: String = id.chars().filter(|c| *c != '-').collect();
    let pairs = hex.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs.map(|pair| Ok(u8::from_str_radix(pair?, 16)?)).collect()
}
