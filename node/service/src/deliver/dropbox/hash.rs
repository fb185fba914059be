//! Dropbox's `content_hash`: the SHA-256 of the SHA-256s of the blocks of 4 MiB that some bytes have,
//! the last of which may be shorter.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use crate::deliver::source::{Range, Source, SourceError};
use crate::digest::hex;

/// How many bytes one hash is of.
pub(super) const BLOCK_BYTES: u64 = 4 << 20;

/// SHA-256 of a block.
type Block = [u8; 32];

/// A file, and the hashes of its blocks as far as they are known: 32 bytes for each 4 MiB.
pub(super) struct Hashes<'a> {
    source: &'a Source,
    known: Mutex<Vec<Option<Block>>>,
}

impl<'a> Hashes<'a> {
    pub(super) fn of(source: &'a Source) -> Self {
        let count = usize::try_from(source.bytes().div_ceil(BLOCK_BYTES)).unwrap_or_default();
        Self { source, known: Mutex::new(vec![None; count]) }
    }

    /// The content hash of some of its bytes. Reads what is not known yet of them.
    pub(super) async fn content_hash(&self, range: Range) -> Result<String, SourceError> {
        let mut whole = Context::new(&SHA256);
        let mut rest = range;
        while rest.bytes > 0 {
            let (block, next) = rest.split_at(BLOCK_BYTES);
            whole.update(&self.block(block).await?);
            rest = next;
        }
        Ok(hex(whole.finish().as_ref()))
    }

    async fn block(&self, range: Range) -> Result<Block, SourceError> {
        let end = range.offset + range.bytes;
        let is_whole = range.bytes == BLOCK_BYTES || end == self.source.bytes();
        let index = usize::try_from(range.offset / BLOCK_BYTES).ok();
        let index = index.filter(|_| is_whole && range.offset.is_multiple_of(BLOCK_BYTES));
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = index.and_then(|index| *lock().get(index)?) {
            return Ok(known);
        }
        let taking = self.source.fold(range, Context::new(&SHA256), Context::update);
        let sha256 = taking.await?;
        let mut hash = Block::default();
        hash.copy_from_slice(sha256.finish().as_ref());
        if let Some(known) = index.and_then(|index| lock().get_mut(index).map(|_| index)) {
            lock()[known] = Some(hash);
        }
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::progress::Progress;

    async fn of(content: &[u8], range: Range) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, content).unwrap();
        let source = Source::open(&path, content.len() as u64, Progress::default()).await.unwrap();
        let hashes = Hashes::of(&source);
        // Whatever was asked for before makes no difference.
        for bytes in [1, content.len() as u64] {
            hashes.content_hash(Range { offset: 0, bytes }).await.unwrap();
        }
        hashes.content_hash(range).await.unwrap()
    }

    fn expected(content: &[u8]) -> String {
        let one = |bytes: &[u8]| aws_lc_rs::digest::digest(&SHA256, bytes);
        let blocks: Vec<_> = content.chunks(4 << 20).map(one).collect();
        hex(one(&blocks.iter().flat_map(|hash| hash.as_ref().to_vec()).collect::<Vec<_>>())
            .as_ref())
    }

    #[tokio::test]
    async fn it_is_the_hash_of_the_hashes_of_blocks() {
        let content: Vec<u8> = (0..9_000_001_u32).map(|n| (n % 251) as u8).collect();
        for (offset, bytes) in [
            (0, 9_000_001),
            (0, 5),
            (0, 4 << 20),
            (4 << 20, 4 << 20),
            (8 << 20, 9_000_001 - (8 << 20)),
            (3, 8 << 20),
            (4 << 20, 100),
        ] {
            let part = &content[offset..offset + bytes];
            let range = Range { offset: offset as u64, bytes: bytes as u64 };
            assert_eq!(of(&content, range).await, expected(part), "{range:?}");
        }
        let known = "bf5d3affb73efd2ec6c36ad3112dd933efed63c4e1cbffcfa88e2759c144f2d8";
        assert_eq!(of(b"a", Range { offset: 0, bytes: 1 }).await, known);
    }
}
