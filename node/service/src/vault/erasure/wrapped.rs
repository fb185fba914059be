//! A recording's key as it lies on its volume: wrapped, in a file of two blocks.
//!
//! `{volume}/keys/{id}` has two blocks of 4,096 bytes. Each holds the recording's key, wrapped under an
//! epoch's, or nothing that makes sense. Taking it over into the next epoch overwrites the block
//! that does not hold the epoch before: a power cut leaves one that opens.
//!
//! | block's bytes | |
//! | --- | --- |
//! | 0–7 | `hf.key.1`, or `hf.gone1` for a grave: the recording was deleted |
//! | 8–15 | number of the epoch, little-endian |
//! | 16–31 | the recording's id |
//! | 32–43 | nonce |
//! | 44–123 | AES-256-GCM of the key (64 bytes) with its tag (16); bytes 0–31 are authenticated |
//!
//! A grave is zeros from byte 32 on, in both blocks. One grave is enough: the deletion was begun.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use holdfast_core::RecordingId;
use zeroize::Zeroizing;

use super::epochs::Epoch;
use super::error::ErasureError;
use super::fscrypt::{MASTER_KEY_BYTES, MasterKey};

pub(super) const BLOCK_BYTES: usize = 4_096;
pub(super) const FILE_BYTES: usize = 2 * BLOCK_BYTES;

const KEY_MAGIC: &[u8; 8] = b"hf.key.1";
const GRAVE_MAGIC: &[u8; 8] = b"hf.gone1";
const HEAD_BYTES: usize = 32;
const SEALED_AT: usize = HEAD_BYTES + NONCE_LEN;
const SEALED_BYTES: usize = MASTER_KEY_BYTES + 16;

/// What a block of a recording's file says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// A key, wrapped under this epoch's.
    Key(u64),
    /// A grave; the key was wrapped under this epoch's.
    Grave(u64),
    /// Nothing that makes sense for this recording.
    Nothing,
}

/// What the two blocks of a recording's file say.
pub(super) fn read(file: &[u8], id: RecordingId) -> [Block; 2] {
    [0, 1].map(|place| block(file, place).map_or(Block::Nothing, |block| read_block(block, id)))
}

fn block(file: &[u8], place: usize) -> Option<&[u8]> {
    file.get(place * BLOCK_BYTES..(place + 1) * BLOCK_BYTES)
}

fn read_block(block: &[u8], id: RecordingId) -> Block {
    let mut epoch = [0; 8];
    epoch.copy_from_slice(&block[8..16]);
    let epoch = u64::from_le_bytes(epoch);
    if block[16..HEAD_BYTES] != id.to_bytes() {
        return Block::Nothing;
    }
    match &block[..8] {
        magic if magic == KEY_MAGIC => Block::Key(epoch),
        magic if magic == GRAVE_MAGIC => Block::Grave(epoch),
        _ => Block::Nothing,
    }
}

fn head(magic: &[u8; 8], epoch: u64, id: RecordingId) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(magic);
    head[8..16].copy_from_slice(&epoch.to_le_bytes());
    head[16..].copy_from_slice(&id.to_bytes());
    head
}

fn sealing(epoch: &Epoch) -> Result<RandomizedNonceKey, ErasureError> {
    RandomizedNonceKey::new(&AES_256_GCM, epoch.key.as_slice())
        .map_err(|_| ErasureError::Cryptography("AES-256-GCM"))
}

/// The block that holds a key, wrapped under an epoch's.
pub(super) fn wrap(
    epoch: &Epoch,
    id: RecordingId,
    key: &MasterKey,
) -> Result<Vec<u8>, ErasureError> {
    let head = head(KEY_MAGIC, epoch.number, id);
    let mut sealed = Zeroizing::new(Vec::with_capacity(SEALED_BYTES));
    sealed.extend_from_slice(key.as_slice());
    let nonce = sealing(epoch)?
        .seal_in_place_append_tag(Aad::from(head), &mut *sealed)
        .map_err(|_| ErasureError::Cryptography("sealing"))?;
    let mut block = vec![0; BLOCK_BYTES];
    block[..HEAD_BYTES].copy_from_slice(&head);
    block[HEAD_BYTES..SEALED_AT].copy_from_slice(nonce.as_ref());
    block[SEALED_AT..SEALED_AT + SEALED_BYTES].copy_from_slice(&sealed);
    Ok(block)
}

/// The key in one of a file's blocks, if it opens with this epoch's.
pub(super) fn unwrap(
    epoch: &Epoch,
    id: RecordingId,
    file: &[u8],
    place: usize,
) -> Option<MasterKey> {
    let block = block(file, place)?;
    let nonce = Nonce::try_assume_unique_for_key(&block[HEAD_BYTES..SEALED_AT]).ok()?;
    let mut opened = Zeroizing::new(block[SEALED_AT..SEALED_AT + SEALED_BYTES].to_vec());
    let head = head(KEY_MAGIC, epoch.number, id);
    let plain = sealing(epoch).ok()?.open_in_place(nonce, Aad::from(head), &mut opened).ok()?;
    let mut key = MasterKey::new([0; MASTER_KEY_BYTES]);
    key.copy_from_slice(plain.get(..MASTER_KEY_BYTES)?);
    Some(key)
}

/// A whole file that is a grave.
pub(super) fn grave(epoch: u64, id: RecordingId) -> Vec<u8> {
    let mut file = vec![0; FILE_BYTES];
    for block in file.chunks_exact_mut(BLOCK_BYTES) {
        block[..HEAD_BYTES].copy_from_slice(&head(GRAVE_MAGIC, epoch, id));
    }
    file
}
