//! How a recording is read: all of it, as it comes in, or only the parts that matter.
//!
//! Of a recording that comes in no byte is read that is not durable yet; whoever asks for one waits.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::growth::Growth;
use crate::layout::Layout;

/// How a recording is read.
#[derive(Debug)]
pub(crate) enum Feed {
    /// All of it, in any order, as the demuxer likes.
    Whole,
    /// As it comes in.
    Growing(Growing),
    /// These parts of it, one after the other.
    Parts(Mutex<VecDeque<Range<u64>>>),
    /// In any order, but for these parts of it: each looks like one box that means nothing.
    Skipping(Vec<Range<u64>>),
}

/// A recording that is read as it comes in: clusters from the front, fragments in any order.
#[derive(Debug)]
pub(crate) struct Growing {
    /// How far it has come.
    pub(crate) growth: Arc<Growth>,
    reading: Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    /// Everything before was read.
    at: u64,
    /// Where the part begins that what was read last belongs to.
    part: u64,
    layout: Layout,
}

/// No file reaches so far.
const PLACE_MAX: u64 = 1 << 62;

impl Growing {
    /// One laid out so, of which nothing was read.
    pub(crate) fn new(growth: &Arc<Growth>, layout: Layout) -> Self {
        let reading = Mutex::new(Reading { at: 0, part: 0, layout });
        Self { growth: Arc::clone(growth), reading }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the cluster or fragment begins that is being read.
    pub(crate) fn part(&self) -> u64 {
        self.reading().part
    }

    /// Whether it is read by place, as the demuxer likes.
    pub(crate) fn is_by_place(&self) -> bool {
        matches!(self.reading().layout, Layout::Fragments(_))
    }

    /// Does something with the parts of what was read.
    pub(crate) fn with_layout<T>(&self, what: impl FnOnce(&Layout) -> T) -> T {
        what(&self.reading().layout)
    }

    /// What to read next, at most so many bytes, all of one cluster; `None` at the end. Waits for it.
    fn next(&self, file: &File, most: u64) -> Option<Range<u64>> {
        let at = self.reading().at;
        let durable = self.growth.beyond(at)?;
        let mut reading = self.reading();
        let Reading { layout: Layout::Clusters(clusters), .. } = &mut *reading else { return None };
        clusters.walk(file, durable);
        let end = durable.min(at + most).min(clusters.after(at).unwrap_or(u64::MAX));
        let part = clusters.at(at);
        (reading.part, reading.at) = (part, end);
        Some(at..end)
    }

    /// How many bytes there are at a place, at most so many, which it waits for; `None` at the end.
    pub(crate) fn there(&self, file: &File, at: u64, most: u64) -> Option<u64> {
        // qtdemux looks for a table at the end, and takes an end that nobody knows for a number.
        if at > PLACE_MAX {
            return None;
        }
        let mut durable = self.growth.told().durable;
        loop {
            let mut reading = self.reading();
            let Reading { layout: Layout::Fragments(fragments), .. } = &mut *reading else {
                return None;
            };
            fragments.walk(file, durable);
            let there = fragments.shown().saturating_sub(at).min(most);
            let (part, is_refused) = (fragments.at(at), fragments.refused().is_some());
            reading.part = part;
            drop(reading);
            if there == most {
                return Some(there);
            }
            if is_refused {
                return None;
            }
            match self.growth.beyond(durable) {
                Some(more) => durable = more,
                None => return Some(there).filter(|&there| there > 0),
            }
        }
    }
}

impl Feed {
    /// What to read next, where the reader does not say; see [`Growing::next`].
    pub(crate) fn next(&self, file: &File, most: u64) -> Option<Range<u64>> {
        match self {
            Self::Whole | Self::Skipping(_) => None,
            Self::Growing(growing) => growing.next(file, most),
            Self::Parts(parts) => {
                let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
                let part = parts.front_mut()?;
                let next = part.start..part.end.min(part.start + most);
                part.start = next.end;
                if part.is_empty() {
                    parts.pop_front();
                }
                Some(next)
            }
        }
    }
}

/// Writes headers over what was read from a place in a file, so that each of these parts is one box.
pub(crate) fn skip(bytes: &mut [u8], from: u64, parts: &[Range<u64>]) {
    let until = from + bytes.len() as u64;
    let first = parts.partition_point(|part| part.end <= from);
    for part in parts[first..].iter().take_while(|part| part.start < until) {
        let size = (part.end - part.start).to_be_bytes();
        let head = [&1u32.to_be_bytes()[..], b"free", &size].concat();
        for (at, byte) in (part.start..).zip(head) {
            if (from..until).contains(&at) {
                bytes[(at - from) as usize] = byte;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_looks_like_one_box_wherever_it_is_read() {
        let bytes: Vec<u8> = (0..100).collect();
        let parts = [20..60, 60..80];
        let mut whole = bytes.clone();
        skip(&mut whole, 0, &parts);
        assert_eq!(whole[20..36], *b"\0\0\0\x01free\0\0\0\0\0\0\0\x28");
        assert_eq!(whole[60..76], *b"\0\0\0\x01free\0\0\0\0\0\0\0\x14");
        assert_eq!(
            (&whole[..20], &whole[36..60], &whole[76..]),
            (&bytes[..20], &bytes[36..60], &bytes[76..])
        );
        for from in 0..100 {
            for until in from..100 {
                let mut read = bytes[from..until].to_vec();
                skip(&mut read, from as u64, &parts);
                assert_eq!(read, whole[from..until], "{from}..{until}");
            }
        }
    }
}
