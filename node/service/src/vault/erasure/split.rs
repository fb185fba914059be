//! A key spread over many blocks, so that losing any one of them loses it.
//!
//! This is LUKS's anti-forensic splitter with SHA-256: all stripes but the last are random, and the
//! last is the key mixed with what all the others diffuse to. Whoever overwrites a key cannot be sure
//! that the disk really wrote each block where it was; it is enough that it did so with one.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::error::ErasureError;

/// A key, in bytes: as long as the digest, so that a stripe is diffused in one step.
pub(super) const KEY_BYTES: usize = 32;
/// Stripes of a key. LUKS has as many.
const STRIPES: usize = 4_000;
/// A spread key, in bytes.
pub(super) const SPREAD_BYTES: usize = KEY_BYTES * STRIPES;

/// A key of an epoch. Wiped when it goes.
pub(super) type Key = Zeroizing<[u8; KEY_BYTES]>;

/// Spreads a key.
pub(super) fn spread(key: &Key) -> Result<Zeroizing<Vec<u8>>, ErasureError> {
    let mut stripes = Zeroizing::new(vec![0; SPREAD_BYTES]);
    let (random, last) = stripes.split_at_mut(SPREAD_BYTES - KEY_BYTES);
    rand::fill(random).map_err(|_| ErasureError::Cryptography("randomness"))?;
    let mixed = mix(random);
    for (byte, (mixed, key)) in last.iter_mut().zip(mixed.iter().zip(key.iter())) {
        *byte = mixed ^ key;
    }
    Ok(stripes)
}

/// The key that these stripes are. Any other bytes give some other key.
pub(super) fn gather(stripes: &[u8]) -> Option<Key> {
    if stripes.len() != SPREAD_BYTES {
        return None;
    }
    let (random, last) = stripes.split_at(SPREAD_BYTES - KEY_BYTES);
    let mut key = mix(random);
    for (key, last) in key.iter_mut().zip(last) {
        *key ^= last;
    }
    Some(key)
}

/// What stripes diffuse to.
fn mix(stripes: &[u8]) -> Key {
    let mut mixed = Key::default();
    // The number of the block within the stripe, of which there is one, comes first.
    let mut block = Zeroizing::new([0; 4 + KEY_BYTES]);
    for stripe in stripes.chunks_exact(KEY_BYTES) {
        for (byte, (mixed, stripe)) in block[4..].iter_mut().zip(mixed.iter().zip(stripe)) {
            *byte = mixed ^ stripe;
        }
        mixed.copy_from_slice(digest(&SHA256, block.as_slice()).as_ref());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_gathered_again_and_lost_with_any_block() {
        let key = Key::new(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let stripes = spread(&key).unwrap();
        assert_eq!(gather(&stripes).unwrap(), key);
        assert!(!stripes.windows(8).any(|bytes| bytes == &key[..8]));
        for lost in (0..SPREAD_BYTES).step_by(512) {
            let mut rest = stripes.to_vec();
            rest[lost..(lost + 512).min(SPREAD_BYTES)].fill(0);
            assert_ne!(gather(&rest).unwrap(), key, "without the block at {lost}");
        }
        assert_ne!(spread(&key).unwrap(), stripes, "each time differently");
    }

    /// Made with the splitter of cryptsetup's specification, written down in Python.
    #[test]
    fn it_diffuses_as_luks_does() {
        let mut stripes = vec![0x5a; SPREAD_BYTES];
        stripes[SPREAD_BYTES - KEY_BYTES..].fill(0);
        let known = include_str!("split.known").trim();
        assert_eq!(crate::digest::hex(gather(&stripes).unwrap().as_slice()), known);
    }
}
