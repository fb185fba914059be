//! What the tests of destinations share.

#![allow(dead_code, reason = "not every kind of destination needs all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

pub(crate) mod line;

use std::path::Path;

use futures_util::TryStreamExt;
use holdfast::deliver::{FileToPush, Pieces, PushError};

pub(crate) const MIB: usize = 1 << 20;

/// A port that is free, below those that the kernel gives to whoever asks for any: those may be taken
/// by a connection before a server is up, or while one is started again.
pub(crate) fn free_port() -> u16 {
    for _ in 0..1_000 {
        let mut random = [0; 2];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let port = 10_000 + u16::from_le_bytes(random) % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// Bytes that no part of repeats.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ length as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

/// A file of the vault, to be pushed under a name.
pub(crate) fn file(dir: &Path, name: &str, bytes: &[u8]) -> FileToPush {
    let path = dir.join(format!("file of {} bytes", bytes.len()));
    std::fs::write(&path, bytes).unwrap();
    FileToPush::alone(path, name.into(), bytes.len() as u64, jiff::civil::date(2026, 3, 2))
}

/// All that is read.
pub(crate) async fn all(pieces: Pieces) -> Result<Vec<u8>, PushError> {
    Ok(pieces.try_collect::<Vec<_>>().await?.concat())
}
