//! Whether a recording ends in the middle, and where its last element was meant to end.
//!
//! Recordings recovered after a power cut end anywhere. Demuxers pass over this in silence, or
//! (qtdemux) leave out a whole fragment because its last byte is missing. Only headers are read
//! here; sizes are untrusted, so every step moves forward and counts.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::container::Container;

const STEPS_MAX: usize = 4_000_000;

/// What the outermost structure says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Where the element that the file's end cuts through was meant to end.
    pub(crate) meant_end: Option<u64>,
    /// That element holds frames, whose places are known from elsewhere (an `mdat`).
    pub(crate) cut_in_media: bool,
    /// The container can hold no frame: it has a header only.
    pub(crate) header_only: bool,
}

/// Walks a file of `bytes` bytes.
pub(crate) fn shape(file: &File, bytes: u64, container: Container) -> Shape {
    match container {
        Container::Quicktime => boxes(file, bytes),
        Container::Matroska => elements(file, bytes),
        _ => Shape::default(),
    }
}

fn read<const N: usize>(file: &File, at: u64) -> Option<([u8; N], usize)> {
    let mut head = [0; N];
    let n = file.read_at(&mut head, at).ok()?;
    Some((head, n))
}

fn boxes(file: &File, bytes: u64) -> Shape {
    let (mut at, mut media) = (0u64, false);
    for _ in 0..STEPS_MAX {
        if at >= bytes {
            break;
        }
        let Some((head, n)) = read::<16>(file, at) else { break };
        if n < 8 {
            return Shape { meant_end: Some(at + 8), header_only: !media, ..Shape::default() };
        }
        let word = |i: usize| {
            u64::from(u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]))
        };
        let size = match word(0) {
            0 => bytes - at,
            1 if n == 16 => word(8) << 32 | word(12),
            size => size,
        };
        media |= matches!(&head[4..8], b"mdat" | b"moof");
        if size < 8 {
            break;
        }
        let Some(end) = at.checked_add(size).filter(|&e| e < u64::MAX / 4) else { break };
        if end > bytes {
            let cut_in_media = &head[4..8] == b"mdat";
            return Shape { meant_end: Some(end), cut_in_media, header_only: !media };
        }
        at = end;
    }
    Shape { header_only: !media, ..Shape::default() }
}

/// A variable-length number of EBML (RFC 8794, 4): its value with or without the length marker,
/// and its length. `None` as value: unknown.
fn number(bytes: &[u8], keep_marker: bool) -> Option<(Option<u64>, usize)> {
    let first = *bytes.first()?;
    let len = first.leading_zeros() as usize + 1;
    if len > 8 || bytes.len() < len {
        return None;
    }
    let mask = if keep_marker { 0xff } else { (0xffu16 >> len) as u8 };
    let value = bytes[1..len].iter().fold(u64::from(first & mask), |v, &b| v << 8 | u64::from(b));
    let unknown = !keep_marker && value == (1 << (7 * len)) - 1;
    Some(((!unknown).then_some(value), len))
}

/// An element's name, its size where it is known, and the length of both as they are written; `None`
/// where there are too few bytes, or others.
pub(crate) fn element(head: &[u8]) -> Option<(Option<u64>, Option<u64>, usize)> {
    let (id, a) = number(head, true)?;
    let (size, b) = number(head.get(a..)?, false)?;
    Some((id, size, a + b))
}

fn elements(file: &File, bytes: u64) -> Shape {
    const SEGMENT: u64 = 0x1853_8067;
    const CLUSTER: u64 = 0x1f43_b675;
    const SIMPLE_BLOCK: u64 = 0xa3;
    const BLOCK_GROUP: u64 = 0xa0;
    let (mut at, mut media) = (0u64, false);
    for _ in 0..STEPS_MAX {
        if at >= bytes {
            break;
        }
        let Some((head, n)) = read::<16>(file, at) else { break };
        let Some((id, size, len)) = element(&head[..n]) else {
            // Too few bytes for a header: cut. Enough of them: not EBML, no judgement.
            let meant_end = (n < 12).then_some(bytes + 1);
            return Shape { meant_end, header_only: !media, ..Shape::default() };
        };
        let inside = at + len as u64;
        media |= matches!(id, Some(SIMPLE_BLOCK | BLOCK_GROUP));
        if matches!(id, Some(SEGMENT | CLUSTER)) || size.is_none() {
            at = inside;
            continue;
        }
        let Some(end) = inside.checked_add(size.unwrap_or(0)) else { break };
        if end > bytes {
            return Shape { meant_end: Some(end), header_only: !media, ..Shape::default() };
        }
        at = end;
    }
    Shape { header_only: !media, ..Shape::default() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> (File, u64) {
        let mut f = tempfile::tempfile().unwrap();
        f.write_all(bytes).unwrap();
        (f, bytes.len() as u64)
    }

    #[test]
    fn an_mp4_cut_in_its_data() {
        let (f, n) = file(b"\0\0\0\x0cftypisom\0\0\0\x20mdatxx");
        let s = shape(&f, n, Container::Quicktime);
        assert_eq!(s, Shape { meant_end: Some(44), cut_in_media: true, header_only: false });
        let (f, n) = file(b"\0\0\0\x0cftypisom");
        let s = shape(&f, n, Container::Quicktime);
        assert_eq!(s, Shape { header_only: true, ..Shape::default() });
    }

    #[test]
    fn a_webm_cut_in_a_block() {
        let head = b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff\
            \x1f\x43\xb6\x75\x01\xff\xff\xff\xff\xff\xff\xff\xe7\x81\0";
        let whole = [head.as_slice(), b"\xa3\x85\x81\0\0\x80x"].concat();
        let (f, n) = file(&whole);
        let s = shape(&f, n, Container::Matroska);
        assert_eq!(s, Shape::default());
        let (f, n) = file(&whole[..whole.len() - 1]);
        assert_eq!(shape(&f, n, Container::Matroska).meant_end, Some(n + 1));
        let (f, n) = file(head);
        assert!(shape(&f, n, Container::Matroska).header_only);
    }
}
