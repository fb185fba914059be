//! Checksums, as they go to a store and as it answers them.
//!
//! | kind | of a request's body | of a file in parts |
//! | --- | --- | --- |
//! | MD5 | `Content-MD5`; the ETag is its hex | the ETag is the MD5 of the parts' MD5s, and `-{parts}` |
//! | CRC32C | `x-amz-checksum-crc32c` | the same of the whole (`FULL_OBJECT`), made from the parts' |
//! | SHA-256 | `x-amz-checksum-sha256` | SHA-256 of the parts' digests, and `-{parts}` (`COMPOSITE`) |

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use md5::{Digest, Md5};

use super::client::Header;
use crate::config::Checksum;
use crate::deliver::source::{Range, Source, SourceError};

const CRC32C: CrcAlgorithm = CrcAlgorithm::Crc32Iscsi;

/// The checksum of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    Md5([u8; 16]),
    Crc32c(u32),
    Sha256([u8; 32]),
}

/// The checksum of a part of a file.
pub(super) async fn of(source: &Source, range: Range, kind: Checksum) -> Result<Sum, SourceError> {
    Ok(source.fold(range, Summing::new(kind), Summing::update).await?.finish())
}

/// A checksum in the making.
pub(super) enum Summing {
    Md5(Md5),
    Crc32c(Box<crc_fast::Digest>),
    Sha256(Context),
}

impl Summing {
    pub(super) fn new(kind: Checksum) -> Self {
        match kind {
            Checksum::Md5 => Self::Md5(Md5::new()),
            Checksum::Crc32c => Self::Crc32c(Box::new(crc_fast::Digest::new(CRC32C))),
            Checksum::Sha256 => Self::Sha256(Context::new(&SHA256)),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(md5) => md5.update(bytes),
            Self::Crc32c(crc) => crc.update(bytes),
            Self::Sha256(sha) => sha.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Sum {
        match self {
            Self::Md5(md5) => Sum::Md5(md5.finalize().into()),
            Self::Crc32c(crc) => Sum::Crc32c(low(crc.finalize())),
            Self::Sha256(sha) => Sum::Sha256(array(sha.finish().as_ref())),
        }
    }
}

impl Sum {
    /// The header that has the store check a body.
    pub(super) fn header(&self) -> Header {
        match self {
            Self::Md5(_) => ("content-md5", self.base64()),
            Self::Crc32c(_) => (CRC32C_HEADER, self.base64()),
            Self::Sha256(_) => (SHA256_HEADER, self.base64()),
        }
    }

    /// As headers and answers have it.
    pub(super) fn base64(&self) -> String {
        match self {
            Self::Md5(md5) => BASE64_STANDARD.encode(md5),
            Self::Crc32c(crc) => BASE64_STANDARD.encode(crc.to_be_bytes()),
            Self::Sha256(sha) => BASE64_STANDARD.encode(sha),
        }
    }

    /// The ETag that a store with plain ETags gives to a body with this checksum.
    pub(super) fn etag(&self) -> Option<String> {
        match self {
            Self::Md5(md5) => Some(hex(md5)),
            _ => None,
        }
    }
}

pub(super) const CRC32C_HEADER: &str = "x-amz-checksum-crc32c";
pub(super) const SHA256_HEADER: &str = "x-amz-checksum-sha256";

/// The header in which a store answers a checksum, and the element in XML; MD5 has only the ETag.
pub(super) fn answered_in(kind: Checksum) -> Option<(&'static str, &'static str)> {
    match kind {
        Checksum::Md5 => None,
        Checksum::Crc32c => Some((CRC32C_HEADER, "ChecksumCRC32C")),
        Checksum::Sha256 => Some((SHA256_HEADER, "ChecksumSHA256")),
    }
}

/// What a store says of a whole that was made of parts: its ETag with MD5, else its checksum.
pub(super) fn whole(parts: &[(Sum, u64)]) -> String {
    let (mut raw, mut crc) = (Vec::new(), None);
    for (sum, bytes) in parts {
        match sum {
            Sum::Md5(md5) => raw.extend_from_slice(md5),
            Sum::Sha256(sha) => raw.extend_from_slice(sha),
            Sum::Crc32c(next) => {
                crc = Some(crc.map_or(*next, |before: u32| {
                    low(checksum_combine(CRC32C, u64::from(before), u64::from(*next), *bytes))
                }));
            }
        }
    }
    let count = parts.len();
    match (crc, parts.first()) {
        (Some(crc), _) => Sum::Crc32c(crc).base64(),
        (None, Some((Sum::Sha256(_), _))) => {
            format!("{}-{count}", BASE64_STANDARD.encode(digest(&SHA256, &raw)))
        }
        _ => format!("{}-{count}", hex(&Md5::digest(&raw))),
    }
}

/// In hex, as ETags have it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A CRC of 32 bits comes in 64.
#[expect(clippy::cast_possible_truncation, reason = "the upper half is empty")]
fn low(crc: u64) -> u32 {
    crc as u32
}

fn array(digest: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(digest);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(kind: Checksum, bytes: &[u8]) -> Sum {
        let mut summing = Summing::new(kind);
        for piece in bytes.chunks(4) {
            summing.update(piece);
        }
        summing.finish()
    }

    #[test]
    fn known_checksums_come_out() {
        let check = b"123456789";
        assert_eq!(sum(Checksum::Crc32c, check), Sum::Crc32c(0xe306_9283));
        assert_eq!(sum(Checksum::Crc32c, check).header().1, "4waSgw==");
        assert_eq!(sum(Checksum::Md5, check).etag().unwrap(), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(sum(Checksum::Md5, b"").base64(), "1B2M2Y8AsgTpgAmY7PhCfg==");
        let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(sum(Checksum::Sha256, b"").header(), (SHA256_HEADER, empty.to_owned()));
    }

    #[test]
    fn a_whole_is_made_of_its_parts() {
        let all = b"the quick brown fox jumps over the lazy dog";
        let (a, rest) = all.split_at(10);
        let (b, c) = rest.split_at(20);
        let parts = |kind| [a, b, c].map(|part| (sum(kind, part), part.len() as u64));
        assert_eq!(whole(&parts(Checksum::Crc32c)), sum(Checksum::Crc32c, all).base64());
        let md5s: Vec<u8> = [a, b, c].iter().flat_map(Md5::digest).collect();
        assert_eq!(whole(&parts(Checksum::Md5)), format!("{}-3", hex(&Md5::digest(&md5s))));
        assert!(whole(&parts(Checksum::Sha256)).ends_with("=-3"));
    }
}
