//! Where the fragments of an .mp4 begin, found while it grows, and how far it may be shown to a demuxer.
//!
//! A fragment (`moof` and the `mdat` behind it, ISO/IEC 14496-12, 8.8) says itself when it is shown
//! (`tfdt`), so it can be read without those before it. What is no media data is shown only once all of it
//! is there and was found not to lie too deep in itself ([`nesting`]). Sizes are untrusted: every step moves
//! forward.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use crate::mp4::reader::{atoms, find, timescale, u32_at, u64_at};
use crate::nesting;

/// Most fragments of a file: some recorders begin one with each frame.
const FRAGMENTS_MAX: usize = 4 << 20;
/// Largest box that is looked into. That of a whole minute has some 100 KiB.
const BOX_BYTES_MAX: u64 = 64 << 20;

/// A track that the others are so far ahead of, in time and in fragments, has stopped.
const SILENT_NS: u64 = 10_000_000_000;
const SILENT_FRAGMENTS: usize = 8;

/// One of the tracks that the index names.
#[derive(Debug)]
struct Track {
    id: u32,
    /// Ticks a second.
    scale: u32,
    /// When its last fragment begins, and the number of that.
    last: Option<(u64, usize)>,
}

/// The fragments found so far.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// Where the next outermost box begins.
    next: u64,
    /// What lies before may be shown.
    shown: u64,
    starts: Vec<u64>,
    /// Behind the last media data.
    media: u64,
    /// The same of which all is there.
    whole: u64,
    has_index: bool,
    tracks: Vec<Track>,
    /// When the first fragment begins.
    first_ns: Option<u64>,
    /// A fragment does not say when it is shown.
    is_untimed: bool,
    /// Boxes so far, those within others too.
    boxes: usize,
    refused: Option<String>,
}

impl Fragments {
    /// Walks on through what may be read: the file's first `until` bytes.
    pub(crate) fn walk(&mut self, file: &File, until: u64) {
        while self.refused.is_none() && self.next < until {
            let mut head = [0; 16];
            let there = usize::try_from(until - self.next).unwrap_or(usize::MAX).min(head.len());
            let Ok(n) = file.read_at(&mut head[..there], self.next) else { break };
            let (size, length) = match (u32_at(&head[..n], 0), n) {
                // The rest of a header comes later.
                (_, 0..8) | (Some(1), 8..16) => break,
                (Some(1), _) => (u64_at(&head, 8).unwrap_or(0), 16),
                (size, _) => (u64::from(size.unwrap_or(0)), 8),
            };
            let name = [head[4], head[5], head[6], head[7]];
            match self.next.checked_add(size).filter(|_| size >= length) {
                None => self.refuse(format!("a box of {size} bytes at byte {}", self.next)),
                Some(end) if &name == b"mdat" && self.has_index => {
                    (self.whole, self.next, self.media) = (self.media, end, end);
                }
                Some(_) if &name == b"mdat" => self.refuse("its index does not come first".into()),
                Some(end) if size > BOX_BYTES_MAX => {
                    self.refuse(format!(
                        "a box of {} bytes at byte {}",
                        end - self.next,
                        self.next
                    ));
                }
                // It is looked into once all of it is there.
                Some(end) if end > until => break,
                Some(end) => self.look(file, &name, end),
            }
        }
        self.shown = self.shown.max(until.min(self.next));
        if self.media <= until {
            self.whole = self.media;
        }
    }

    fn refuse(&mut self, why: String) {
        self.refused = Some(why);
    }

    /// Looks into a box that is all there.
    fn look(&mut self, file: &File, name: &[u8; 4], end: u64) {
        match nesting::check_box(file, self.next..end, self.boxes) {
            Ok(boxes) => self.boxes = boxes,
            Err(e) => return self.refuse(e.to_string()),
        }
        if matches!(name, b"moov" | b"moof") {
            let mut body = vec![0; (end - self.next) as usize];
            if let Err(e) = file.read_exact_at(&mut body, self.next) {
                return self.refuse(e.to_string());
            }
            let body = body.get(8..).unwrap_or_default();
            match name {
                b"moof" => self.fragment(body),
                _ if self.has_index => {}
                _ => self.index(body),
            }
        }
        self.next = end;
    }

    fn index(&mut self, moov: &[u8]) {
        if !atoms(moov).any(|(name, _)| &name == b"mvex") {
            return self.refuse("it is not written in fragments".into());
        }
        self.has_index = true;
        let traks = atoms(moov).filter(|(name, _)| name == b"trak");
        self.tracks = traks.filter_map(|(_, trak)| Track::read(trak)).collect();
    }

    fn fragment(&mut self, moof: &[u8]) {
        if self.starts.len() == FRAGMENTS_MAX {
            return self.refuse(format!("it has more than {FRAGMENTS_MAX} fragments"));
        }
        self.starts.push(self.next);
        let number = self.starts.len();
        for (_, traf) in atoms(moof).filter(|(name, _)| name == b"traf") {
            let time = find(traf, &[b"tfdt"]).and_then(|tfdt| versioned(tfdt, 4));
            self.is_untimed |= time.is_none();
            let id = find(traf, &[b"tfhd"]).and_then(|tfhd| u32_at(tfhd, 4));
            let mut tracks = self.tracks.iter_mut();
            if let Some(track) = tracks.find(|track| Some(track.id) == id) {
                let ns = u128::from(time.unwrap_or(0)) * 1_000_000_000 / u128::from(track.scale);
                let ns = u64::try_from(ns).unwrap_or(u64::MAX);
                track.last = Some((ns, number));
                self.first_ns.get_or_insert(ns);
            }
        }
        let newest = self.tracks.iter().filter_map(|track| track.last).map(|(ns, _)| ns).max();
        let is_late = |track: &Track| {
            let (ns, last) = track.last.unwrap_or((self.first_ns.unwrap_or(0), 0));
            newest.unwrap_or(0).saturating_sub(ns) > SILENT_NS && number - last > SILENT_FRAGMENTS
        };
        if self.tracks.iter().any(is_late) {
            // The demuxer would look for more of it until the end.
            self.refuse("one of its tracks stops, or does not come".into());
        }
    }

    /// Whether there was nothing yet of a track that is to come.
    pub(crate) fn misses_a_track(&self) -> bool {
        self.tracks.iter().any(|track| track.last.is_none())
    }

    /// Why it cannot be read while it comes in, where that is so.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// How much of the file may be shown to a demuxer.
    pub(crate) fn shown(&self) -> u64 {
        self.shown
    }

    /// Where the last fragment ends of which all is there; 0 before the first.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    /// Whether a file of so many bytes ends where a box does.
    pub(crate) fn ends_at(&self, bytes: u64) -> bool {
        self.refused.is_none() && self.next == bytes
    }

    /// The last fragment that begins at a place or before it; 0 before the first.
    pub(crate) fn at(&self, at: u64) -> u64 {
        let found = self.starts.partition_point(|&start| start <= at);
        found.checked_sub(1).map_or(0, |number| self.starts[number])
    }

    /// The first fragment that begins behind a place.
    fn after(&self, at: u64) -> Option<u64> {
        self.starts.get(self.starts.partition_point(|&start| start <= at)).copied()
    }

    /// What not to read of a file of `bytes` bytes for what lies in these fragments, each pair from one to
    /// another with both of them: runs of whole fragments, never the first.
    pub(crate) fn skipped(&self, pairs: &[(u64, u64)], bytes: u64) -> Vec<Range<u64>> {
        let Some(second) = self.starts.get(1).filter(|_| !self.is_untimed) else {
            return Vec::new();
        };
        let end = |at| self.after(at).unwrap_or(bytes);
        let mut wanted: Vec<_> =
            pairs.iter().map(|&(from, to)| self.at(from)..end(to.max(from))).collect();
        wanted.sort_unstable_by_key(|part| part.start);
        let mut skipped = Vec::new();
        let mut read = *second;
        for part in wanted {
            if part.start > read {
                skipped.push(read..part.start);
            }
            read = read.max(part.end);
        }
        if read < bytes {
            skipped.push(read..bytes);
        }
        skipped
    }
}

impl Track {
    fn read(trak: &[u8]) -> Option<Self> {
        let tkhd = find(trak, &[b"tkhd"])?;
        let id = u32_at(tkhd, if tkhd.first() == Some(&1) { 20 } else { 12 })?;
        let scale = find(trak, &[b"mdia", b"mdhd"]).and_then(timescale)?;
        Some(Self { id, scale: scale.max(1), last: None })
    }
}

/// A number of four bytes, or of eight in version 1 of a box.
fn versioned(body: &[u8], at: usize) -> Option<u64> {
    if body.first() == Some(&1) { u64_at(body, at) } else { u32_at(body, at).map(u64::from) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], name, body].concat()
    }

    fn index() -> Vec<u8> {
        let moov = [boxed(b"mvhd", &[0; 100]), boxed(b"mvex", &boxed(b"trex", &[0; 24]))].concat();
        [boxed(b"ftyp", b"isom"), boxed(b"moov", &moov)].concat()
    }

    fn fragment(traf: &[u8], media: usize) -> Vec<u8> {
        let moof = [boxed(b"mfhd", &[0; 8]), boxed(b"traf", traf)].concat();
        [boxed(b"moof", &moof), boxed(b"mdat", &vec![7; media])].concat()
    }

    fn timed(media: usize) -> Vec<u8> {
        fragment(&[boxed(b"tfhd", &[0; 8]), boxed(b"tfdt", &[0; 8])].concat(), media)
    }

    fn walked(bytes: &[u8]) -> Fragments {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut fragments = Fragments::default();
        fragments.walk(&file, bytes.len() as u64);
        fragments
    }

    #[test]
    fn fragments_are_found_however_the_file_grows() {
        let long = [&1u32.to_be_bytes()[..], b"mdat", &26u64.to_be_bytes(), &[7; 10]].concat();
        let bytes =
            [index(), timed(5), timed(9), long, boxed(b"mfra", &boxed(b"mfro", &[0; 8]))].concat();
        let all = bytes.len() as u64;
        let at_once = walked(&bytes);
        let first = index().len() as u64;
        let second = first + timed(5).len() as u64;
        assert_eq!(at_once.starts, [first, second]);
        assert!(at_once.ends_at(all) && !at_once.ends_at(all - 1) && at_once.shown() == all);
        assert_eq!(at_once.whole(), second + timed(9).len() as u64 + 26);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let mut slowly = Fragments::default();
        for until in 0..=all {
            slowly.walk(&file, until);
            assert!(slowly.shown() <= until && slowly.whole() <= until, "{until}");
            // Of a box within which others lie nothing is shown before all of it is there.
            assert!(!(first + 1..first + 48).contains(&slowly.shown()), "{until}");
            assert_eq!(slowly.ends_at(all), until == all);
        }
        assert_eq!((slowly.starts, slowly.whole), (at_once.starts, at_once.whole));
        // Media data are shown as they come.
        let mut half = Fragments::default();
        half.walk(&file, second - 2);
        assert_eq!((half.shown(), half.whole()), (second - 2, 0));
        let mut more = Fragments::default();
        more.walk(&file, second + timed(9).len() as u64 - 2);
        assert_eq!(more.whole(), second);
    }

    #[test]
    fn a_box_that_is_not_all_there_hides_nothing_before_it() {
        let begun = boxed(b"moof", &[0; 40]);
        let fragments = walked(&[index(), timed(5), begun[..30].to_vec()].concat());
        let whole = (index().len() + timed(5).len()) as u64;
        assert_eq!((fragments.whole(), fragments.shown()), (whole, whole));
        assert!(!fragments.ends_at(whole + 30));
    }

    #[test]
    fn what_is_not_written_in_fragments_is_refused() {
        let media = boxed(b"mdat", &[7; 9]);
        let plain = boxed(b"moov", &boxed(b"mvhd", &[0; 100]));
        let endless = [&0u32.to_be_bytes()[..], b"mdat"].concat();
        let large = [&(65u32 << 20).to_be_bytes()[..], b"free"].concat();
        for (bytes, word) in [
            ([boxed(b"ftyp", b"isom"), media.clone(), plain.clone()].concat(), "come first"),
            ([boxed(b"ftyp", b"isom"), plain, media].concat(), "in fragments"),
            ([index(), endless].concat(), "a box of 0 bytes"),
            ([index(), large].concat(), "a box of 68157440 bytes"),
        ] {
            let fragments = walked(&bytes);
            assert!(fragments.refused().is_some_and(|why| why.contains(word)), "{fragments:?}");
            assert!(!fragments.ends_at(bytes.len() as u64));
        }
        let deep = (0..40).fold(Vec::new(), |inner, _| boxed(b"meta", &inner));
        let fragments = walked(&[index(), boxed(b"moof", &deep)].concat());
        assert!(fragments.refused().is_some_and(|why| why.contains("deep")), "{fragments:?}");
        assert_eq!(fragments.shown(), index().len() as u64);
    }

    #[test]
    fn a_track_that_stops_or_does_not_come_is_noticed() {
        let trak = |id: u8| {
            let tkhd = [&[0; 12][..], &[0, 0, 0, id], &[0; 68]].concat();
            // A thousand ticks a second.
            let mdhd = [&[0; 12][..], &[0, 0, 3, 0xe8], &[0; 8]].concat();
            boxed(
                b"trak",
                &[boxed(b"tkhd", &tkhd), boxed(b"mdia", &boxed(b"mdhd", &mdhd))].concat(),
            )
        };
        let moov = boxed(b"moov", &[trak(1), trak(2), boxed(b"mvex", &[])].concat());
        let of = |id: u8, ms: u32| {
            let tfdt = [&[0; 4][..], &ms.to_be_bytes()].concat();
            let tfhd = [0, 0, 0, 0, 0, 0, 0, id];
            fragment(&[boxed(b"tfhd", &tfhd), boxed(b"tfdt", &tfdt)].concat(), 5)
        };
        let file = |both: u32, alone: u32| {
            let mut bytes = moov.clone();
            (0..both).for_each(|i| bytes.extend([of(1, i * 2_000), of(2, i * 2_000)].concat()));
            (both..both + alone).for_each(|i| bytes.extend(of(1, i * 2_000)));
            walked(&bytes)
        };
        // What begins late is not silent for it.
        let late = (30..45).flat_map(|i| of(1, i * 500)).collect::<Vec<u8>>();
        assert!(walked(&[&moov[..], &late].concat()).refused().is_none());
        assert!(file(0, 5).misses_a_track() && file(0, 5).refused().is_none());
        assert!(file(0, 20).refused().is_some_and(|why| why.contains("tracks")));
        assert!(!file(1, 5).misses_a_track() && file(1, 5).refused().is_none());
        assert!(file(20, 0).refused().is_none() && file(20, 20).refused().is_some());
    }

    #[test]
    fn what_is_skipped_are_whole_fragments_but_the_first() {
        let starts = vec![10, 20, 30, 40, 50, 60];
        let of =
            |is_untimed| Fragments { starts: starts.clone(), is_untimed, ..Default::default() };
        let skipped = |pairs: &[(u64, u64)]| of(false).skipped(pairs, 70);
        assert_eq!((of(false).at(9), of(false).at(10), of(false).at(35)), (0, 10, 30));
        assert!(skipped(&[]).into_iter().eq(std::iter::once(20..70)));
        assert_eq!(skipped(&[(40, 50), (10, 10)]), [20..40, 60..70]);
        assert_eq!(skipped(&[(60, 70), (30, 30)]), [20..30, 40..60]);
        assert!(skipped(&[(0, 70)]).is_empty());
        // Where the end of a group is not known, or fragments do not say when they are.
        assert_eq!(skipped(&[(40, 0)]), [20..40, 50..70]);
        assert!(of(true).skipped(&[(40, 40)], 70).is_empty());
    }
}
