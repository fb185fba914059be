//! Where the clusters of a Matroska file begin, found while it grows.
//!
//! A cluster can be read without those before it, so that a few pictures of a long recording cost a few
//! clusters. Only headers are read, and none that is not there yet. Sizes are untrusted: every step moves
//! forward.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use crate::truncation::element;

/// Most clusters of a file: recorders begin one every few seconds, or with each key frame.
const CLUSTERS_MAX: usize = 1 << 20;
/// Longest header of an element.
const HEADER_BYTES: usize = 12;

const SEGMENT: u64 = 0x1853_8067;
const CLUSTER: u64 = 0x1f43_b675;

/// The clusters found so far.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    next: u64,
    starts: Vec<u64>,
    lost: bool,
}

impl Clusters {
    /// Walks on through what may be read: the file's first `until` bytes.
    pub(crate) fn walk(&mut self, file: &File, until: u64) {
        while !self.lost && self.next < until {
            let mut head = [0; HEADER_BYTES];
            let there = usize::try_from(until - self.next).unwrap_or(usize::MAX).min(head.len());
            let Ok(n) = file.read_at(&mut head[..there], self.next) else { return };
            let Some((id, size, len)) = element(&head[..n]) else {
                // The rest of a header comes later; what is none now will not become one.
                self.lost = n == HEADER_BYTES;
                return;
            };
            if id == Some(CLUSTER) {
                self.starts.push(self.next);
            }
            let inside = self.next + len as u64;
            // As in `truncation`: what has no size of its own ends where its last child does.
            let skipped = if matches!(id, Some(SEGMENT | CLUSTER)) { 0 } else { size.unwrap_or(0) };
            match inside.checked_add(skipped) {
                Some(next) if self.starts.len() <= CLUSTERS_MAX => self.next = next,
                _ => self.lost = true,
            }
        }
    }

    /// Whether a file of so many bytes ends where an element does.
    pub(crate) fn ends_at(&self, bytes: u64) -> bool {
        !self.lost && self.next == bytes
    }

    /// The first cluster that begins behind a place.
    pub(crate) fn after(&self, at: u64) -> Option<u64> {
        self.starts.get(self.starts.partition_point(|&start| start <= at)).copied()
    }

    /// The last cluster that begins at a place or before it, and so many earlier; the first where there
    /// are not so many. 0 before the first.
    fn before(&self, at: u64, earlier: usize) -> u64 {
        let found = self.starts.partition_point(|&start| start <= at);
        let Some(number) = found.checked_sub(1) else { return 0 };
        self.starts[number.saturating_sub(earlier)]
    }

    /// The last cluster that begins at a place or before it; 0 before the first.
    pub(crate) fn at(&self, at: u64) -> u64 {
        self.before(at, 0)
    }

    /// What to read of a file of `bytes` bytes for what lies in these clusters: its head with the first
    /// cluster, and each pair from a cluster to the end of another. A parser may have held a frame back
    /// when its place was noted, so the cluster before is read too.
    pub(crate) fn parts(&self, pairs: &[(u64, u64)], bytes: u64) -> Vec<Range<u64>> {
        let end = |at| self.after(at).unwrap_or(bytes);
        let head = 0..end(self.starts.first().copied().unwrap_or(0));
        let mut parts: Vec<Range<u64>> = vec![head];
        let mut wanted: Vec<_> =
            pairs.iter().map(|&(from, to)| self.before(from, 1)..end(to)).collect();
        wanted.sort_unstable_by_key(|part| part.start);
        for part in wanted {
            match parts.last_mut() {
                Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
                _ => parts.push(part),
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A segment with three clusters of a block each: of unknown size, of known size, of unknown size.
    fn file() -> (File, Vec<u8>) {
        let unknown = b"\x01\xff\xff\xff\xff\xff\xff\xff";
        let block = b"\xa3\x85\x81\0\0\x80x";
        let bytes = [
            b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67".as_slice(),
            unknown,
            b"\x1f\x43\xb6\x75",
            unknown,
            block,
            b"\x1f\x43\xb6\x75\x87",
            block,
            b"\x1f\x43\xb6\x75",
            unknown,
            block,
        ]
        .concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[test]
    fn clusters_are_found_however_the_file_grows() {
        let (file, bytes) = file();
        let mut at_once = Clusters::default();
        at_once.walk(&file, bytes.len() as u64);
        assert_eq!(at_once.starts, [18, 37, 49]);
        assert!(at_once.ends_at(bytes.len() as u64) && !at_once.ends_at(60));
        let mut slowly = Clusters::default();
        for until in 0..=bytes.len() as u64 {
            slowly.walk(&file, until);
            assert!(slowly.starts.iter().all(|&start| start < until.max(1)));
        }
        assert_eq!(slowly.starts, at_once.starts);
    }

    #[test]
    fn parts_are_whole_clusters_and_do_not_overlap() {
        let clusters = Clusters { next: 100, starts: vec![10, 20, 30, 40, 50], lost: false };
        assert_eq!((clusters.at(9), clusters.at(10), clusters.after(10)), (0, 10, Some(20)));
        let parts = |pairs| {
            let parts = clusters.parts(pairs, 100);
            parts.iter().map(|part| (part.start, part.end)).collect::<Vec<_>>()
        };
        assert_eq!(parts(&[]), [(0, 20)]);
        assert_eq!(parts(&[(40, 50), (10, 10)]), [(0, 20), (30, 100)]);
        assert_eq!(parts(&[(40, 40), (30, 30)]), [(0, 50)]);
        // All of it.
        assert_eq!(parts(&[(0, 100)]), [(0, 100)]);
    }

    #[test]
    fn what_is_no_matroska_is_not_walked() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 64]).unwrap();
        let mut clusters = Clusters::default();
        clusters.walk(&file, 64);
        assert!(clusters.lost && !clusters.ends_at(64));
    }
}
