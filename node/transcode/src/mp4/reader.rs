//! Reads the index of an .mp4 back: box by box from the file, sharing nothing with the writer.
//!
//! Not GStreamer's demuxer: qtdemux leaves out a track that is much shorter than the film, which
//! a camera switched off early makes it, and reading a large film again costs as much as writing
//! it. Every sample's place is checked against the media data instead.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::geometry::Orientation;
use crate::h264;

const MOOV_BYTES_MAX: u64 = 1 << 30;
/// The same of a recording, where only its matrix is wanted.
const INPUT_MOOV_BYTES_MAX: u64 = 256 << 20;
const BOXES_MAX: usize = 1024;

/// One track as a player sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TrackFacts {
    /// `vide` or `soun`.
    pub(crate) handler: [u8; 4],
    /// Sample entry's type, such as `avc1`.
    pub(crate) codec: [u8; 4],
    /// Number of samples.
    pub(crate) samples: u64,
    /// Where it begins and ends in the film, in nanoseconds.
    pub(crate) start_ns: i64,
    /// See `start_ns`.
    pub(crate) end_ns: i64,
    /// Size for showing, before rotation.
    pub(crate) size: (u32, u32),
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Mp4Facts {
    /// Its tracks.
    pub(crate) tracks: Vec<TrackFacts>,
}

/// A box's type and content.
pub(crate) type Atom<'a> = ([u8; 4], &'a [u8]);

pub(crate) fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

pub(crate) fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32_at(b, at)?) << 32 | u64::from(u32_at(b, at + 4)?))
}

pub(crate) fn atoms(mut bytes: &[u8]) -> impl Iterator<Item = Atom<'_>> {
    std::iter::from_fn(move || {
        let size = u32_at(bytes, 0)? as usize;
        let name = [*bytes.get(4)?, *bytes.get(5)?, *bytes.get(6)?, *bytes.get(7)?];
        let body = bytes.get(8..size)?;
        bytes = &bytes[size..];
        Some((name, body))
    })
}

/// What lies in a box within boxes.
pub(crate) fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let Some((first, rest)) = path.split_first() else { return Some(bytes) };
    let inner = atoms(bytes).find(|(name, _)| name == *first)?.1;
    find(inner, rest)
}

/// Reads a finished file; what is wrong with it is told in a sentence.
pub(crate) fn read(file: &File, bytes: u64) -> Result<Mp4Facts, String> {
    let (mut at, mut moov, mut mdat) = (0, None, None);
    while at < bytes {
        let mut head = [0; 16];
        let n = 16.min((bytes - at) as usize);
        file.read_exact_at(&mut head[..n], at).map_err(|e| e.to_string())?;
        let size = match u32_at(&head, 0) {
            Some(1) => u64_at(&head, 8).unwrap_or(0),
            size => u64::from(size.unwrap_or(0)),
        };
        if size < 8 || size > bytes - at {
            return Err(format!("a box of {size} bytes at byte {at} of {bytes}"));
        }
        match &head[4..8] {
            b"moov" if size <= MOOV_BYTES_MAX => {
                let mut body = vec![0; size as usize - 8];
                file.read_exact_at(&mut body, at + 8).map_err(|e| e.to_string())?;
                moov = Some(body);
            }
            b"mdat" if moov.is_none() => return Err("the index does not come first".into()),
            b"mdat" => mdat = Some((at, at + size)),
            _ => {}
        }
        at += size;
    }
    let moov = moov.ok_or("it has no index")?;
    let mdat = mdat.ok_or("it has no media data")?;
    let movie_scale = find(&moov, &[b"mvhd"]).and_then(timescale).filter(|&t| t > 0);
    let movie_scale = movie_scale.ok_or("its header cannot be read")?;
    let traks = atoms(&moov).filter(|(name, _)| name == b"trak");
    let tracks = traks.map(|(_, b)| track(b, movie_scale, mdat, file)).collect::<Result<_, _>>()?;
    Ok(Mp4Facts { tracks })
}

/// How the first video track of a recording is to be shown, by its own matrix; `None` where there is
/// none or it does more than turn and mirror.
pub(crate) fn orientation(file: &File, bytes: u64) -> Option<Orientation> {
    let mut at = 0;
    for _ in 0..BOXES_MAX {
        let mut head = [0; 16];
        let n = file.read_at(&mut head, at).ok()?;
        let size = match u32_at(&head[..n], 0)? {
            0 => bytes.checked_sub(at)?,
            1 => u64_at(&head[..n], 8)?,
            size => u64::from(size),
        };
        if head.get(4..8)? == b"moov" && (8..=INPUT_MOOV_BYTES_MAX).contains(&size) {
            let mut moov = vec![0; size as usize - 8];
            file.read_exact_at(&mut moov, at + 8).ok()?;
            let video = |trak: &&[u8]| {
                find(trak, &[b"mdia", b"hdlr"]).and_then(|h| h.get(8..12)) == Some(b"vide")
            };
            let mut traks = atoms(&moov).filter(|(name, _)| name == b"trak").map(|(_, body)| body);
            let tkhd = find(traks.find(video)?, &[b"tkhd"])?;
            return of_matrix(tkhd.get(tkhd.len().checked_sub(44)?..)?);
        }
        at = at.checked_add(size.max(8)).filter(|&at| at < bytes)?;
    }
    None
}

/// A matrix of ISO/IEC 14496-12, 6.2.2, by the signs of what turns and mirrors.
fn of_matrix(matrix: &[u8]) -> Option<Orientation> {
    let sign = |i: usize| u32_at(matrix, i * 4).map(|v| v.cast_signed().signum());
    let (degrees, mirrored) = match [sign(0)?, sign(1)?, sign(3)?, sign(4)?] {
        [1, 0, 0, 1] => (0, false),
        [0, 1, -1, 0] => (90, false),
        [-1, 0, 0, -1] => (180, false),
        [0, -1, 1, 0] => (270, false),
        [-1, 0, 0, 1] => (0, true),
        [0, 1, 1, 0] => (90, true),
        [1, 0, 0, -1] => (180, true),
        [0, -1, -1, 0] => (270, true),
        _ => return None,
    };
    Some(Orientation { degrees, mirrored })
}

fn track(
    trak: &[u8],
    movie_scale: u32,
    mdat: (u64, u64),
    file: &File,
) -> Result<TrackFacts, String> {
    let parse = || {
        let handler = find(trak, &[b"mdia", b"hdlr"])?.get(8..12)?.try_into().ok()?;
        let stbl = find(trak, &[b"mdia", b"minf", b"stbl"])?;
        let stsd = find(stbl, &[b"stsd"])?;
        let codec = stsd.get(12..16)?.try_into().ok()?;
        let tkhd = find(trak, &[b"tkhd"])?;
        let size = (u32_at(tkhd, tkhd.len() - 8)? >> 16, u32_at(tkhd, tkhd.len() - 4)? >> 16);
        let scale = u64::from(find(trak, &[b"mdia", b"mdhd"]).and_then(timescale)?.max(1));
        let ticks: u64 = rows(find(stbl, &[b"stts"])?, 4, 8).map(first_times_second).sum();
        let count: u64 =
            rows(find(stbl, &[b"stts"])?, 4, 8).map(|r| u64::from(u32_at(r, 0).unwrap_or(0))).sum();
        let to_ns = |v: u64, scale: u64| (u128::from(v) * 1_000_000_000 / u128::from(scale)) as i64;
        let (delay, shown, media) = edits(trak).unwrap_or((
            0,
            (u128::from(ticks) * u128::from(movie_scale) / u128::from(scale)) as u64,
            0,
        ));
        let start_ns = to_ns(delay, u64::from(movie_scale));
        let end_ns = start_ns + to_ns(shown, u64::from(movie_scale));
        // What the edit list promises must be there, to a tenth of a second. With reordered frames
        // showing times lie behind decoding times by the edit's start.
        let skipped = if find(stbl, &[b"ctts"]).is_some() { 0 } else { media };
        let there = to_ns(ticks.saturating_sub(skipped), scale) + 100_000_000 >= end_ns - start_ns;
        let facts = TrackFacts { handler, codec, samples: count, start_ns, end_ns, size };
        Some((facts, there, stbl, stsd))
    };
    let (facts, there, stbl, stsd) = parse().ok_or("a track cannot be read")?;
    if !there {
        return Err("a track is shorter than its edit list says".into());
    }
    let (samples, first) = places(stbl, mdat).ok_or("its samples lie outside of the media data")?;
    if samples != facts.samples || samples == 0 {
        return Err(format!("{} samples have a time, {samples} a place", facts.samples));
    }
    if &facts.codec == b"avc1" {
        first_frame(stsd, first, file).ok_or("its first frame is no H.264 key frame")?;
    }
    Ok(facts)
}

fn rows(table: &[u8], count_at: usize, row: usize) -> impl Iterator<Item = &[u8]> {
    let count = u32_at(table, count_at).unwrap_or(0) as usize;
    table.get(count_at + 4..).unwrap_or(&[]).chunks_exact(row).take(count)
}

fn first_times_second(row: &[u8]) -> u64 {
    u64::from(u32_at(row, 0).unwrap_or(0)) * u64::from(u32_at(row, 4).unwrap_or(0))
}

/// The timescale of an `mvhd` or `mdhd`, version 0 or 1.
pub(crate) fn timescale(head: &[u8]) -> Option<u32> {
    u32_at(head, if head.first() == Some(&1) { 20 } else { 12 })
}

/// Emptiness and length in the movie's timescale, start in the media's.
fn edits(trak: &[u8]) -> Option<(u64, u64, u64)> {
    let (mut delay, mut shown, mut media) = (0, 0, 0);
    let elst = find(trak, &[b"edts", b"elst"])?;
    {
        let long = elst.first() == Some(&1);
        for row in rows(elst, 4, if long { 20 } else { 12 }) {
            let (length, from) = if long {
                (u64_at(row, 0).unwrap_or(0), u64_at(row, 8).unwrap_or(0))
            } else {
                let from = u32_at(row, 4).unwrap_or(0);
                let from = if from == u32::MAX { u64::MAX } else { u64::from(from) };
                (u64::from(u32_at(row, 0).unwrap_or(0)), from)
            };
            if from == u64::MAX {
                delay += length;
            } else {
                shown += length;
                media = from;
            }
        }
    }
    Some((delay, shown, media))
}

/// Number of samples with a place in the media data, and the place of the first.
fn places(stbl: &[u8], mdat: (u64, u64)) -> Option<(u64, (u64, u32))> {
    let stsz = find(stbl, &[b"stsz"])?;
    let same = u32_at(stsz, 4).filter(|&s| s > 0);
    let equal = same.into_iter().flat_map(|s| (0..u32_at(stsz, 8).unwrap_or(0)).map(move |_| s));
    let listed = rows(stsz, 8, if same.is_some() { usize::MAX } else { 4 });
    let mut sizes = equal.chain(listed.map(|r| u32_at(r, 0).unwrap_or(0)));
    let offsets: Vec<u64> = match find(stbl, &[b"stco"]) {
        Some(t) => rows(t, 4, 4).map(|r| u64::from(u32_at(r, 0).unwrap_or(0))).collect(),
        None => rows(find(stbl, &[b"co64"])?, 4, 8).map(|r| u64_at(r, 0).unwrap_or(0)).collect(),
    };
    let runs: Vec<(u32, u32)> = rows(find(stbl, &[b"stsc"])?, 4, 12)
        .map(|r| (u32_at(r, 0).unwrap_or(0), u32_at(r, 4).unwrap_or(0)))
        .collect();
    let (mut count, mut first) = (0, None);
    for (i, &offset) in offsets.iter().enumerate() {
        let run = runs.partition_point(|r| r.0 as usize <= i + 1).checked_sub(1)?;
        let mut at = offset;
        for _ in 0..runs[run].1 {
            let size = sizes.next()?;
            first.get_or_insert((at, size));
            at += u64::from(size);
            count += 1;
        }
        if offset < mdat.0 + 8 || at > mdat.1 {
            return None;
        }
    }
    if sizes.next().is_some() { None } else { Some((count, first?)) }
}

/// Reads the first frame and finds a key picture in it, of the size that the header says.
fn first_frame(stsd: &[u8], (at, bytes): (u64, u32), file: &File) -> Option<()> {
    let entry = stsd.get(8 + 8 + 78..)?;
    let config = h264::avc_config(find(entry, &[b"avcC"])?)?;
    let size = config.size()?;
    let told = stsd.get(8 + 8 + 24..8 + 8 + 28)?;
    let told = [u16::from_be_bytes([told[0], told[1]]), u16::from_be_bytes([told[2], told[3]])];
    if told != [size.width as u16, size.height as u16] {
        return None;
    }
    let mut frame = vec![0; bytes as usize];
    file.read_exact_at(&mut frame, at).ok()?;
    // A recording may begin with a recovery point instead of an IDR picture.
    h264::nals(&frame, config.length_bytes).any(|n| matches!(n[0] & 31, 1 | 5)).then_some(())
}
