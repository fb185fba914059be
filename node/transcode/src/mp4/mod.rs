//! Writes the .mp4: index first, in one pass over the disk.
//!
//! Why not `mp4mux`: it waits for ever on a pad without data, doubles the length of reordered
//! H.264 without decoding times, drops the rotation, and writes every byte twice to get the index
//! to the front. This writer needs none of that: room for the index is left at the front (its size
//! is known well enough from the scan), samples are appended as they come in either order, and
//! all times are worked out at the end, when every one is known.
//!
//! Layout: `ftyp`, `moov`, `free`, `mdat`. Should the room not do, the media data are moved up. Of a
//! recording that is still coming in nobody knows how long it will be: room is made whenever there is too
//! little, each time as much again, so that little is left to do at the end. The file system does that
//! where it can (ext4, xfs); else the data are copied, in all about once.
//! Decoding times are the showing times in rising order, so B-frames need no timestamper; what
//! has to come before zero (an encoder's lead-in, reordering) is cut off by an edit list.

mod boxes;
mod endless;
pub(crate) mod front;
pub(crate) mod reader;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use nix::fcntl::{FallocateFlags, fallocate};

use crate::aac;
use crate::error::Error;
use crate::watch::Activity;
pub(crate) use boxes::Format;
use boxes::{MOVIE_TIMESCALE, Tables};
pub(crate) use endless::without_length;

const CHUNK_BYTES_MAX: usize = 512 * 1024;
const CHUNK_NS_MAX: i64 = 1_000_000_000;
const VIDEO_TIMESCALE: u32 = 90_000;
/// Ticks from frame to frame where their distances are even.
const EVEN_TICKS: i64 = 1000;
const MDAT_HEAD: u64 = 16;
/// Room for the index of about a minute.
const GROWING_FRONT_BYTES: u64 = 64 * 1024;
/// What room grows by is a multiple of this, which is one of every file system's blocks.
const GROWTH_BYTES: u64 = 1 << 20;
/// AAC times within this distance of the count of samples are the container's rounding.
const ROUNDING_NS: i64 = 5_000_000;

/// A track's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrackId(usize);

#[derive(Debug, Clone, Copy)]
struct Sample {
    pts_ns: i64,
    bytes: u32,
    key: bool,
}

#[derive(Debug, Default)]
struct Track {
    format: Option<Format>,
    samples: Vec<Sample>,
    chunks: Vec<(u64, u32)>,
    pending: Vec<u8>,
    pending_samples: u32,
    pending_from_ns: i64,
    last_frame_ns: i64,
    start_ns: Option<i64>,
    end_ns: Option<i64>,
    until: Option<(i64, i64)>,
    even_mfps: Option<u32>,
}

/// An .mp4 being written.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    tracks: Vec<Track>,
    front_bytes: u64,
    media_bytes: u64,
    bytes_max: u64,
    grows: bool,
    activity: Arc<Activity>,
}

/// Room for the index of so many samples in so many chunks: up to 24 bytes for a sample of video, 20 for
/// a chunk.
fn index_bytes(samples: u64, chunks: u64) -> u64 {
    boxes::ftyp().len() as u64 + 2048 + samples * 24 + chunks * 20
}

impl Writer {
    /// Begins a file, with room for the index of so many samples over such a time.
    pub(crate) fn new(
        file: File,
        samples: u64,
        duration_ns: i64,
        bytes_max: u64,
        activity: Arc<Activity>,
    ) -> Self {
        // A chunk of each track for each second.
        let chunks = duration_ns.max(0) as u64 / CHUNK_NS_MAX as u64 * 2 + 64;
        let front_bytes = index_bytes(samples, chunks);
        let (tracks, grows) = (Vec::new(), false);
        Self { file, tracks, front_bytes, media_bytes: 0, bytes_max, grows, activity }
    }

    /// Begins a file of which nobody knows how long it will be.
    pub(crate) fn growing(file: File, bytes_max: u64, activity: Arc<Activity>) -> Self {
        let (tracks, front_bytes) = (Vec::new(), GROWING_FRONT_BYTES);
        Self { file, tracks, front_bytes, media_bytes: 0, bytes_max, grows: true, activity }
    }

    /// Adds a track; its format is told with [`Writer::format`] before the end.
    pub(crate) fn track(&mut self) -> TrackId {
        self.tracks.push(Track::default());
        TrackId(self.tracks.len() - 1)
    }

    /// Tells what a track's samples are; the first word counts.
    pub(crate) fn format(&mut self, id: TrackId, format: Format) {
        self.tracks[id.0].format.get_or_insert(format);
    }

    /// Tells how long a track's last frame lasts, where its neighbours do not say.
    pub(crate) fn last_frame(&mut self, id: TrackId, ns: i64) {
        self.tracks[id.0].last_frame_ns = ns;
    }

    /// Tells where a track's content begins, where its first samples are lead-in.
    pub(crate) fn start(&mut self, id: TrackId, ns: i64) {
        self.tracks[id.0].start_ns = Some(ns);
    }

    /// Tells where a track's content ends, where its last sample is padded.
    pub(crate) fn end(&mut self, id: TrackId, ns: i64) {
        self.tracks[id.0].end_ns = Some(ns);
    }

    /// Tells that a track's last frame shows until a time, if that is at most `more_ns` longer than it
    /// would: those behind it were left out.
    pub(crate) fn until(&mut self, id: TrackId, ns: i64, more_ns: i64) {
        self.tracks[id.0].until = Some((ns, more_ns));
    }

    /// Tells that a track's frames are at even distances, so many in a thousand seconds, and until
    /// when the last one shows.
    pub(crate) fn even(&mut self, id: TrackId, mfps: u32, end_ns: i64) {
        let step_ns = 1_000_000_000_000 / i64::from(mfps.max(1));
        self.until(id, end_ns, step_ns);
        let track = &mut self.tracks[id.0];
        (track.even_mfps, track.end_ns) = (Some(mfps), Some(end_ns));
    }

    /// Samples of a track so far.
    pub(crate) fn samples(&self, id: TrackId) -> usize {
        self.tracks[id.0].samples.len()
    }

    /// Appends one sample, its parts in a row.
    pub(crate) fn push(
        &mut self,
        id: TrackId,
        parts: &[&[u8]],
        pts_ns: i64,
        key: bool,
    ) -> Result<(), Error> {
        let bytes: usize = parts.iter().map(|p| p.len()).sum();
        let track = &mut self.tracks[id.0];
        if track.pending.is_empty() {
            track.pending_from_ns = pts_ns;
        }
        parts.iter().for_each(|p| track.pending.extend_from_slice(p));
        track.pending_samples += 1;
        track.samples.push(Sample { pts_ns, bytes: bytes as u32, key });
        let long = (pts_ns - track.pending_from_ns).abs() >= CHUNK_NS_MAX;
        if long || track.pending.len() >= CHUNK_BYTES_MAX {
            self.flush(id.0)?;
        }
        Ok(())
    }

    fn flush(&mut self, track: usize) -> Result<(), Error> {
        let t = &mut self.tracks[track];
        if t.pending_samples == 0 {
            return Ok(());
        }
        let end = self.front_bytes + MDAT_HEAD + self.media_bytes + t.pending.len() as u64;
        if end > self.bytes_max {
            return Err(Error::Limit(format!(
                "The .mp4 would exceed the {} MiB allowed.",
                self.bytes_max >> 20
            )));
        }
        let at = self.front_bytes + MDAT_HEAD + self.media_bytes;
        self.file.write_all_at(&t.pending, at).map_err(Error::disk("cannot write the .mp4"))?;
        t.chunks.push((self.media_bytes, t.pending_samples));
        self.media_bytes += t.pending.len() as u64;
        let written = &self.activity.bytes_written;
        written.fetch_add(t.pending.len() as u64, std::sync::atomic::Ordering::Relaxed);
        t.pending.clear();
        t.pending_samples = 0;
        if self.grows {
            self.make_room().map_err(Error::disk("cannot make room in the .mp4"))?;
        }
        Ok(())
    }

    /// Doubles the room for the index where it is about to be too little.
    fn make_room(&mut self) -> io::Result<()> {
        let all = |count: fn(&Track) -> usize| self.tracks.iter().map(count).sum::<usize>() as u64;
        let need = index_bytes(all(|t| t.samples.len()), all(|t| t.chunks.len()) + 64);
        if need <= self.front_bytes {
            return Ok(());
        }
        let by = self.front_bytes.next_multiple_of(GROWTH_BYTES);
        // Nothing is at the front yet, so the hole may be made there.
        let flags = FallocateFlags::FALLOC_FL_INSERT_RANGE;
        let made = i64::try_from(by).is_ok_and(|by| fallocate(&self.file, flags, 0, by).is_ok());
        if !made {
            self.move_up(by)?;
        }
        self.front_bytes += by;
        Ok(())
    }

    /// Writes the index and makes the file durable.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        for i in 0..self.tracks.len() {
            self.flush(i)?;
        }
        let tables: Vec<Tables> = self
            .tracks
            .iter()
            .filter(|t| !t.samples.is_empty())
            .map(tables)
            .collect::<Result<_, _>>()?;
        self.write_index(&tables).map_err(Error::disk("cannot finish the .mp4"))
    }

    fn write_index(&mut self, tables: &[Tables]) -> io::Result<()> {
        let ftyp = boxes::ftyp();
        // Offsets may grow to 64 bits when the data move, so size the index for the worst case.
        let need = (ftyp.len() + boxes::moov(tables, u64::from(u32::MAX) * 2).len()) as u64 + 8;
        if need > self.front_bytes {
            self.move_up(need - self.front_bytes)?;
            self.front_bytes = need;
        }
        let moov = boxes::moov(tables, self.front_bytes + MDAT_HEAD);
        let free = self.front_bytes as usize - ftyp.len() - moov.len();
        let free = boxes::bx(*b"free", &[&vec![0; free - 8]]);
        let mdat =
            [b"\0\0\0\x01mdat".as_slice(), &(self.media_bytes + MDAT_HEAD).to_be_bytes()].concat();
        self.file.write_all_at(&[ftyp, moov, free, mdat].concat(), 0)?;
        let bytes = self.front_bytes + MDAT_HEAD + self.media_bytes;
        self.file.set_len(bytes)?;
        self.file.sync_all()
    }

    /// Moves the media data towards the end, last block first.
    fn move_up(&self, by: u64) -> io::Result<()> {
        let mut block = vec![0; 1 << 20];
        let from = self.front_bytes + MDAT_HEAD;
        let mut left = self.media_bytes;
        while left > 0 {
            let n = left.min(block.len() as u64);
            let at = from + left - n;
            self.file.read_exact_at(&mut block[..n as usize], at)?;
            self.file.write_all_at(&block[..n as usize], at + by)?;
            left -= n;
        }
        Ok(())
    }
}

fn ticks(ns: i64, timescale: u32) -> i64 {
    let scaled = i128::from(ns) * i128::from(timescale);
    let half = if scaled < 0 { -500_000_000 } else { 500_000_000 };
    ((scaled + half) / 1_000_000_000) as i64
}

fn tables(t: &Track) -> Result<Tables, Error> {
    let format = t.format.clone();
    let format =
        format.ok_or_else(|| Error::Internal("a track of the .mp4 has no format".into()))?;
    let (timescale, step) = match &format {
        // Any rate that has a whole number of frames in a thousand seconds is exact in its own scale.
        Format::Avc { .. } => {
            (t.even_mfps.filter(|&mfps| mfps >= EVEN_TICKS as u32).unwrap_or(VIDEO_TIMESCALE), None)
        }
        Format::Aac { config, rate_hz, .. } => {
            (*rate_hz, Some(aac::config(config).map_or(1024, |c| c.frame)))
        }
    };
    let (shown, decoded) = match step {
        None if t.even_mfps == Some(timescale) => even_times(&t.samples, timescale),
        None => video_times(&t.samples, timescale),
        Some(step) => audio_times(&t.samples, timescale, step),
    };
    let first = shown.iter().copied().min().unwrap_or(0);
    let last = shown.iter().copied().max().unwrap_or(0);
    let tail = step.map_or_else(|| ticks(t.last_frame_ns, timescale).max(1), i64::from);
    let tail = t.until.map_or(tail, |(ns, more)| {
        (ticks(ns, timescale) - last).clamp(tail, tail + ticks(more, timescale))
    });
    let start = t.start_ns.map_or(0, |ns| ticks(ns, timescale)).max(first).max(0);
    let end = t.end_ns.map_or(last + tail, |ns| {
        ticks(ns, timescale).clamp(start + 1, (last + tail).max(start + 1))
    });
    let shift = decoded.iter().zip(&shown).map(|(d, s)| d - s).max().unwrap_or(0).max(0);
    let mut durations: Vec<u32> =
        decoded.windows(2).map(|w| u32::try_from(w[1] - w[0]).unwrap_or(u32::MAX)).collect();
    durations.push(u32::try_from(tail).unwrap_or(1));
    let offsets: Vec<u32> =
        shown.iter().zip(&decoded).map(|(s, d)| (s - d + shift) as u32).collect();
    let keys: Vec<u32> = (0u32..).zip(&t.samples).filter(|(_, s)| s.key).map(|(i, _)| i).collect();
    let movie =
        |v: i64| (i128::from(v) * i128::from(MOVIE_TIMESCALE) / i128::from(timescale)) as u64;
    Ok(Tables {
        format,
        timescale,
        durations,
        offsets: if offsets.iter().all(|&o| o == 0) { Vec::new() } else { offsets },
        sizes: t.samples.iter().map(|s| s.bytes).collect(),
        keys: (keys.len() < t.samples.len()).then_some(keys),
        chunks: t.chunks.clone(),
        media_start: (shift + start - first) as u64,
        delay: movie(start),
        shown: movie((end - start).max(1)),
    })
}

/// Showing and decoding times: all different, decoding times are the showing times sorted.
fn video_times(samples: &[Sample], timescale: u32) -> (Vec<i64>, Vec<i64>) {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|&i| samples[i].pts_ns);
    let mut shown = vec![0; samples.len()];
    let mut decoded = Vec::with_capacity(samples.len());
    for i in order {
        let t = ticks(samples[i].pts_ns, timescale);
        let t = decoded.last().map_or(t, |&last: &i64| t.max(last + 1));
        shown[i] = t;
        decoded.push(t);
    }
    (shown, decoded)
}

/// Showing and decoding times that are a thousand ticks apart, or a number of times that; their own
/// where that would move one by more than half of it.
fn even_times(samples: &[Sample], timescale: u32) -> (Vec<i64>, Vec<i64>) {
    let first = samples.iter().map(|s| s.pts_ns).min().unwrap_or(0);
    let at = |s: &Sample| {
        let number = (ticks(s.pts_ns - first, timescale) + EVEN_TICKS / 2) / EVEN_TICKS;
        Sample { pts_ns: number, ..*s }
    };
    let numbered: Vec<Sample> = samples.iter().map(at).collect();
    // In a scale of one tick each the times are the numbers themselves.
    let (mut shown, mut decoded) = video_times(&numbered, 1_000_000_000);
    let start = ticks(first, timescale);
    for t in shown.iter_mut().chain(&mut decoded) {
        *t = start + *t * EVEN_TICKS;
    }
    // One tick is what rounding both of them can differ by.
    let moved =
        |(s, &t): (&Sample, &i64)| (t - ticks(s.pts_ns, timescale)).abs() > EVEN_TICKS / 2 + 1;
    if samples.iter().zip(&shown).any(moved) {
        return video_times(samples, timescale);
    }
    (shown, decoded)
}

/// Times by the count of samples, as long as the container's times agree with it.
fn audio_times(samples: &[Sample], timescale: u32, step: u32) -> (Vec<i64>, Vec<i64>) {
    let rounding = ticks(ROUNDING_NS, timescale);
    let mut next: Option<i64> = None;
    let times: Vec<i64> = samples
        .iter()
        .map(|s| {
            let t = ticks(s.pts_ns, timescale);
            let t = next.map_or(t, |n| if (t - n).abs() <= rounding { n } else { t.max(n) });
            next = Some(t + i64::from(step));
            t
        })
        .collect();
    (times.clone(), times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: &[i64]) -> Vec<Sample> {
        ms.iter().map(|m| Sample { pts_ns: m * 1_000_000, bytes: 1, key: false }).collect()
    }

    #[test]
    fn reordered_frames_get_rising_decoding_times() {
        let (shown, decoded) = video_times(&at(&[0, 120, 40, 80, 160]), 1000);
        assert_eq!(shown, [0, 120, 40, 80, 160]);
        assert_eq!(decoded, [0, 40, 80, 120, 160]);
    }

    #[test]
    fn even_distances_are_exact_behind_rounding() {
        let (shown, decoded) = even_times(&at(&[7, 107, 40, 74, 140]), 30_000);
        assert_eq!(shown, [210, 3210, 1210, 2210, 4210]);
        assert_eq!(decoded, [210, 1210, 2210, 3210, 4210]);
    }

    #[test]
    fn nothing_is_moved_by_more_than_half_a_step() {
        // Steps of 16 and then of 17 ms: on average even, but counted they would be late.
        let ms: Vec<i64> = (0..400i64).map(|i| i * 16 + (i - 200).max(0)).collect();
        let (shown, decoded) = even_times(&at(&ms), 60_606);
        for (&t, ms) in shown.iter().zip(&ms) {
            assert!((t as f64 / 60.606 - *ms as f64).abs() <= 8.3, "{t} {ms}");
        }
        assert!(decoded.windows(2).all(|w| w[0] < w[1]));
    }

    /// An index that outgrows its room several times, in a file system that makes room and in one that
    /// does not (tmpfs).
    #[test]
    fn room_is_made_for_an_index_that_grows() {
        for folder in [std::env::temp_dir(), "/dev/shm".into()] {
            let mut file = tempfile::tempfile_in(folder).unwrap();
            let activity = Arc::new(Activity::default());
            let mut writer = Writer::growing(file.try_clone().unwrap(), 1 << 30, activity);
            let track = writer.track();
            let config = vec![0x11, 0x88];
            writer.format(track, Format::Aac { config, channels: 1, rate_hz: 48_000 });
            let begun = writer.front_bytes;
            let mut all = Vec::new();
            for i in 0..150_000i64 {
                let sample = i.to_be_bytes();
                all.extend_from_slice(&sample);
                writer.push(track, &[&sample], i * 1024 * 1_000_000 / 48, true).unwrap();
            }
            assert!(writer.front_bytes > begun * 16, "{}", writer.front_bytes);
            writer.finish().unwrap();
            let bytes = file.metadata().unwrap().len();
            let facts = reader::read(&file, bytes).unwrap();
            assert_eq!(facts.tracks[0].samples, 150_000);
            let mut media = Vec::new();
            io::Seek::seek(&mut file, io::SeekFrom::End(-(all.len() as i64))).unwrap();
            io::Read::read_to_end(&mut file, &mut media).unwrap();
            assert!(media == all, "other media data");
        }
    }

    #[test]
    fn equal_times_are_told_apart() {
        let (shown, decoded) = video_times(&at(&[5, 5, 5, 6]), 1000);
        assert_eq!(shown, [5, 6, 7, 8]);
        assert_eq!(decoded, shown);
    }

    #[test]
    fn audio_is_counted_and_real_gaps_stay() {
        let (t, _) = audio_times(&at(&[0, 21, 43, 64, 1000]), 48_000, 1024);
        assert_eq!(t, [0, 1024, 2048, 3072, 48_000]);
    }
}
