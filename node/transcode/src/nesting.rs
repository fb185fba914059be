//! How deep the boxes of an .mp4 lie in each other.
//!
//! qtdemux of GStreamer 1.22 goes down into them by recursion and has no limit: a few hundred
//! kilobytes of boxes within boxes end it, and the process with it. So they are counted before.
//! What is a box is taken widely (anything that looks like one where a demuxer would look), which
//! real tables and settings do not: none of them is a box in a box in a box, thirty times over.
//!
//! Side by side in the file, not within another, boxes may have any name; one of size 0 goes on to
//! the file's end, and so does one that claims to go on beyond it: qtdemux takes them for that. Within
//! a box it goes by sizes that fit only, and ends at any other. (To take text there for a box that
//! goes on to the end would find a long enough sentence too deep.)

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use crate::error::Error;

/// Real files have some ten.
const DEPTH_MAX: usize = 32;
/// Most boxes. A day in fragments of a tenth of a second has some ten million.
const STEPS_MAX: usize = 20_000_000;
const WINDOW_BYTES: usize = 64 * 1024;
/// Where in a box another may begin: boxes with a version, tables of sample entries, sound and
/// picture entries, and QuickTime's older ones of sound.
const CHILDREN_AT: [u64; 7] = [8, 12, 16, 36, 52, 72, 86];

/// The first bytes of a box.
struct Head {
    /// As it says itself. 0: to the end of what it lies in.
    size: u64,
    /// Of these bytes, 8 or 16.
    length: u64,
    name: [u8; 4],
}

/// A box and where it ends.
struct Found {
    ends: u64,
    head: Head,
}

/// Part of a file, kept for the next look.
struct Window<'a> {
    file: &'a File,
    /// Nothing behind is read.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Bytes at a place, where the file has so many.
    fn bytes<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        let inside = |w: &Self| {
            let from = usize::try_from(at.checked_sub(w.start)?).ok()?;
            w.bytes.get(from..from.checked_add(N)?)?.try_into().ok()
        };
        inside(self).or_else(|| {
            let there = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            self.bytes.resize(there.min(WINDOW_BYTES), 0);
            let read = self.file.read_at(&mut self.bytes, at).unwrap_or(0);
            self.bytes.truncate(read);
            self.start = at;
            inside(self)
        })
    }

    fn head(&mut self, at: u64) -> Option<Head> {
        let [a, b, c, d, name @ ..] = self.bytes::<8>(at)?;
        let size = u64::from(u32::from_be_bytes([a, b, c, d]));
        if size != 1 {
            return Some(Head { size, length: 8, name });
        }
        let size = u64::from_be_bytes(self.bytes::<8>(at + 8)?);
        Some(Head { size, length: 16, name })
    }

    /// The box at a place within one that ends at `end`.
    fn inner(&mut self, at: u64, end: u64) -> Option<Found> {
        let head = self.head(at)?;
        let is_name = head.name.iter().all(|&c| (0x20..0x7f).contains(&c) || c == 0xa9);
        let ends = at.checked_add(head.size)?;
        (is_name && head.size >= head.length && ends <= end).then_some(Found { ends, head })
    }

    /// The box at a place in the file.
    fn outer(&mut self, at: u64, end: u64) -> Option<Found> {
        let head = self.head(at)?;
        let ends = match head.size {
            0 => end,
            size => at.saturating_add(size).min(end),
        };
        (head.size == 0 || head.size >= head.length).then_some(Found { ends, head })
    }
}

/// Refuses an .mp4 whose boxes lie too deep in each other, or are too many to tell.
pub(crate) fn check(file: &File, bytes: u64) -> Result<(), Error> {
    check_box(file, 0..bytes, 0).map(|_| ())
}

/// Does the same with a part of it that begins and ends where outermost boxes do, of which `steps` were
/// counted before; gives how many there are now.
pub(crate) fn check_box(file: &File, part: Range<u64>, steps: usize) -> Result<usize, Error> {
    let mut window = Window { file, end: part.end, start: 0, bytes: Vec::new() };
    let mut ends = vec![part.end];
    let mut at = part.start;
    for step in steps..STEPS_MAX {
        let Some(&end) = ends.last() else { return Ok(step) };
        let found = match ends.len() {
            _ if at >= end => None,
            1 => window.outer(at, end),
            _ => window.inner(at, end),
        };
        let Some(Found { ends: box_end, head }) = found else {
            // No further box in here.
            ends.pop();
            at = end;
            continue;
        };
        let leaf = matches!(&head.name, b"mdat" | b"free" | b"skip" | b"wide");
        let mut starts = CHILDREN_AT.iter().map(|offset| at + head.length - 8 + offset);
        let child = starts.find(|&s| !leaf && window.inner(s, box_end).is_some());
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
    Err(Error::Damaged(format!("The recording has more than {STEPS_MAX} boxes.")))
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

    #[test]
    fn boxes_of_any_size_are_passed_over_and_gone_into() {
        let deep = nested(40, &[]);
        let long = |name: &[u8; 4], size: u64| {
            [&1u32.to_be_bytes()[..], name, &size.to_be_bytes()].concat()
        };
        let short = |name: &[u8; 4], size: u32| [&size.to_be_bytes()[..], name].concat();
        let inside = 16 + deep.len() as u64;
        for before in [
            long(b"free", 16),
            // Gone into: by its own size, to the file's end, and beyond it.
            long(b"moov", inside),
            long(b"moov", u64::MAX),
            short(b"moov", 0),
            short(b"moov", u32::MAX),
            short(b"\0\x01\x02\xff", 8),
        ] {
            let ftyp = short(b"ftyp", 8);
            assert!(of(&[&ftyp[..], &before, &deep].concat()).is_err(), "{before:?}");
            of(&[&ftyp[..], &before, &nested(20, &[])].concat()).unwrap();
        }
        // Media to the end of the file is not looked into, and a sentence is no pile of boxes.
        of(&[short(b"mdat", 0), deep].concat()).unwrap();
        let text = b"It was a bright cold day in April, and the clocks. ".repeat(99);
        of(&[short(b"udta", 8 + text.len() as u32), text].concat()).unwrap();
    }
}
