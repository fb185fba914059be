//! How deep the boxes of an .mp4 lie in each other.
//!
//! qtdemux of GStreamer 1.22 goes down into them by recursion and has no limit: a few hundred
//! kilobytes of boxes within boxes end it, and the process with it. So they are counted before.
//! What is a box is taken widely (anything that looks like one where a demuxer would look), which
//! real tables and settings do not: none of them is a box in a box in a box, thirty times over.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::error::Error;

/// Real files have some ten.
const DEPTH_MAX: usize = 32;
const STEPS_MAX: usize = 4_000_000;
const WINDOW_BYTES: usize = 64 * 1024;
/// Where in a box another may begin: boxes with a version, tables of sample entries, sound and
/// picture entries, and QuickTime's older ones of sound.
const CHILDREN_AT: [u64; 7] = [8, 12, 16, 36, 52, 72, 86];

/// Part of a file, kept for the next look.
struct Window<'a> {
    file: &'a File,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Size and name at a place, where there are any.
    fn head(&mut self, at: u64) -> Option<(u64, [u8; 4])> {
        let inside = |w: &Self| {
            let from = usize::try_from(at.checked_sub(w.start)?).ok()?;
            let head: [u8; 8] = w.bytes.get(from..from + 8)?.try_into().ok()?;
            let [a, b, c, d, name @ ..] = head;
            Some((u64::from(u32::from_be_bytes([a, b, c, d])), name))
        };
        inside(self).or_else(|| {
            self.bytes.resize(WINDOW_BYTES, 0);
            let read = self.file.read_at(&mut self.bytes, at).unwrap_or(0);
            self.bytes.truncate(read);
            self.start = at;
            inside(self)
        })
    }

    /// The end of the box at a place, if it is one that ends by `end`.
    fn box_end(&mut self, at: u64, end: u64) -> Option<(u64, [u8; 4])> {
        let (size, name) = self.head(at)?;
        let is_name = name.iter().all(|&c| (0x20..0x7f).contains(&c) || c == 0xa9);
        let ends = at + size;
        (is_name && size >= 8 && ends <= end).then_some((ends, name))
    }
}

/// Refuses an .mp4 whose boxes lie too deep in each other.
pub(crate) fn check(file: &File, bytes: u64) -> Result<(), Error> {
    let mut window = Window { file, start: 0, bytes: Vec::new() };
    let mut ends = vec![bytes];
    let mut at = 0;
    for _ in 0..STEPS_MAX {
        let Some(&end) = ends.last() else { break };
        let Some((box_end, name)) = window.box_end(at, end).filter(|_| at < end) else {
            // No further box in here.
            ends.pop();
            at = end;
            continue;
        };
        let leaf = matches!(&name, b"mdat" | b"free" | b"skip" | b"wide");
        let mut starts = CHILDREN_AT.iter().map(|offset| at + offset);
        let child = starts.find(|&s| !leaf && window.box_end(s, box_end).is_some());
        let Some(child) = child else {
            at = box_end;
            continue;
        };
        if ends.len() > DEPTH_MAX {
            return Err(Error::Damaged(format!(
                "The recording's boxes lie more than {DEPTH_MAX} deep in each other, at byte {at}."
            )));
        }
        ends.push(box_end);
        at = child;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn of(bytes: &[u8]) -> Result<(), Error> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        check(&file, bytes.len() as u64)
    }

    fn nested(depth: u32, extra: &[u8]) -> Vec<u8> {
        (0..depth).fold(Vec::new(), |inner, _| {
            let size = (8 + extra.len() + inner.len()) as u32;
            [&size.to_be_bytes()[..], b"meta", extra, &inner].concat()
        })
    }

    #[test]
    fn boxes_may_lie_in_each_other_as_deep_as_files_have_them() {
        for extra in [&[][..], &[0; 4], &[0; 8], &[0; 28], &[0; 78]] {
            of(&nested(20, extra)).unwrap();
            assert!(of(&nested(40, extra)).is_err());
        }
        // Any number beside each other, with frames between them.
        of(&[nested(3, &[]), b"\0\0\0\x18mdat\0\0\0\x08moov\0\0\0\x08moov".to_vec()]
            .concat()
            .repeat(99))
        .unwrap();
    }
}
