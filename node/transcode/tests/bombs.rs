//! Small files that ask for much: each ends with an answer, within its limits.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::PathBuf;

use common::{ALL, ffmpeg, media, run_with, text};
use holdfast_core::job::{FailureKind, Limits, Report};
use nix::sys::resource::{UsageWho, getrusage};

const MEMORY: u64 = 512 << 20;

/// What a file ends in. Whatever it is, it came as a report and within the limits.
fn outcome(name: &str, bytes: &[u8]) -> Result<Vec<String>, (FailureKind, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    std::fs::write(&path, bytes).unwrap();
    let out = tempfile::tempdir().unwrap();
    let limits = Limits {
        wall_ms_max: 60_000,
        // A busy machine makes pauses of its own.
        stall_ms_max: 20_000,
        memory_bytes_max: MEMORY,
        output_bytes_max: 256 << 20,
        ..Limits::default()
    };
    let report = run_with(&path, out.path(), ALL, limits);
    // The watch looks five times a second; what lies between is what it may be over.
    let largest = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() as u64 * 1024;
    assert!(largest < 2 * MEMORY, "{name}: {} MiB", largest >> 20);
    match report {
        Report::Done(made) => Ok(made.remarks),
        Report::Failed(f) => {
            assert_ne!(f.kind, FailureKind::Internal, "{name}: {}", f.message);
            Err((f.kind, f.message))
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
fn limit(name: &str, bytes: &[u8], why: &str) {
    match outcome(name, bytes) {
        Err((FailureKind::Limit, message)) if message.contains(why) => {}
        other => panic!("{name}: {other:?}"),
    }
}

/// What can be read of it becomes a film, or nothing can: no table that lies costs time or memory.
#[track_caller]
fn film_or_damaged(name: &str, bytes: &[u8]) {
    let end = outcome(name, bytes);
    assert!(matches!(end, Ok(_) | Err((FailureKind::Damaged, _))), "{name}: {end:?}");
}

/// A second of 160x120, made by ffmpeg.
fn clip(ending: &str, options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join(format!("clip.{ending}"));
    let picture = ["-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=1"];
    ffmpeg(&[&picture[..], options, &[text(&path)]].concat());
    std::fs::read(&path).unwrap()
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|w| w == what).unwrap()
}

/// An element of EBML with a length of eight bytes.
fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let mut size = (content.len() as u64).to_be_bytes();
    size[0] = 1;
    [id, &size, content].concat()
}

fn ebml() -> Vec<u8> {
    element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"matroska"))
}

const SEGMENT: &[u8] = &[0x18, 0x53, 0x80, 0x67];
const CLUSTER: &[u8] = &[0x1f, 0x43, 0xb6, 0x75];

/// One video track of this codec.
fn track(codec: &str, private: &[u8], width: u16, height: u16) -> Vec<u8> {
    let video = [element(&[0xb0], &width.to_be_bytes()), element(&[0xba], &height.to_be_bytes())];
    let mut entry = vec![
        element(&[0xd7], &[1]),
        element(&[0x73, 0xc5], &[1]),
        element(&[0x83], &[1]),
        element(&[0x86], codec.as_bytes()),
        element(&[0xe0], &video.concat()),
    ];
    if !private.is_empty() {
        entry.push(element(&[0x63, 0xa2], private));
    }
    element(&[0x16, 0x54, 0xae, 0x6b], &element(&[0xae], &entry.concat()))
}

/// Matroska with three times this key frame, 100 ms from each other.
fn matroska(codec: &str, private: &[u8], size: (u16, u16), frame: &[u8]) -> Vec<u8> {
    let mut cluster = element(&[0xe7], &[0]);
    for i in 0..3i16 {
        let time = (i * 100).to_be_bytes();
        cluster.extend(element(&[0xa3], &[&[0x81, time[0], time[1], 0x80], frame].concat()));
    }
    let content = [track(codec, private, size.0, size.1), element(CLUSTER, &cluster)].concat();
    [ebml(), element(SEGMENT, &content)].concat()
}

/// The bytes of a JPEG whose header says another size.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut jpeg = clip("jpg", &["-frames:v", "1", "-update", "1"]);
    let frame = find(&jpeg, &[0xff, 0xc0]);
    jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

/// Bits in the order of a header.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(mut self, value: u32, count: u32) -> Self {
        self.0.extend((0..count).rev().map(|i| value >> i & 1 == 1));
        self
    }

    /// Exponential Golomb code.
    fn ue(self, value: u32) -> Self {
        let code = value + 1;
        let bits = 32 - code.leading_zeros();
        self.put(0, bits - 1).put(code, bits)
    }

    fn bytes(self) -> Vec<u8> {
        let byte = |c: &[bool]| c.iter().enumerate().map(|(i, b)| u8::from(*b) << (7 - i)).sum();
        self.put(1, 1).0.chunks(8).map(byte).collect()
    }
}

/// A sequence parameter set of H.264 with pictures of so many macroblocks a side.
fn avcc(macroblocks: u32) -> Vec<u8> {
    let sps = Bits::default().ue(0).ue(0).ue(2).ue(1).put(0, 1);
    let sps = sps.ue(macroblocks - 1).ue(macroblocks - 1).put(1, 1).put(1, 1).put(0, 2);
    let sps = [&[0x67, 66, 0, 62], sps.bytes().as_slice()].concat();
    let pps = [0x68, 0xce, 0x38, 0x80];
    let head = [1, 66, 0, 62, 0xff, 0xe1, 0, sps.len() as u8];
    [&head[..], &sps, &[1, 0, 4], &pps].concat()
}

#[test]
fn pictures_of_four_thousand_megapixels() {
    let all = 65535;
    limit("a header", &matroska("V_MJPEG", &[], (all, all), &jpeg(160, 120)), "65535x65535");
    // The container says one thing, the pictures another.
    let small = (160, 120);
    limit("JPEG", &matroska("V_MJPEG", &[], small, &jpeg(all, all)), "65535x65535");
    let vp8 = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 0, 0, 0, 0];
    limit("VP8", &matroska("V_VP8", &[], small, &vp8), "16383x16383");
    let key = Bits::default().put(0b10, 2).put(0, 2).put(0, 1).put(0, 1).put(1, 1).put(0, 1);
    let key = key.put(0x49_83_42, 24).put(2, 3).put(0, 1).put(0xffff, 16).put(0xffff, 16);
    // No filter, one tile, eight bytes of probabilities: a frame that a decoder would begin with.
    let key = key.put(0, 1).put(3, 2).put(0, 2).put(0, 9).put(0, 1).put(60, 8).put(0, 3);
    let vp9 = [key.put(0, 3).put(8, 16).bytes(), vec![0; 64]].concat();
    limit("VP9", &matroska("V_VP9", &[], small, &vp9), "65536x65536");
    let idr = [0, 0, 0, 5, 0x65, 0x88, 0x84, 0, 0x33];
    let h264 = matroska("V_MPEG4/ISO/AVC", &avcc(4096), small, &idr);
    limit("H.264", &h264, "65536x65536");
}

#[test]
fn pictures_that_are_no_recordings() {
    let png = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &[0, 0, 255, 255, 0, 0, 255, 255][..]].concat();
    for (name, bytes) in [("PNG", png), ("JPEG", jpeg(65535, 65535))] {
        assert_eq!(outcome(name, &bytes).unwrap_err().0, FailureKind::Unsupported);
    }
}

/// Matroska with `count` blocks of nothing, each so many milliseconds after the last.
fn nothings(count: usize, codec: &str, step_ms: usize) -> Vec<u8> {
    const IN_CLUSTER: usize = 30_000;
    let mut content = track(codec, &[], 160, 120);
    for first in (0..count).step_by(IN_CLUSTER) {
        let start = (first * step_ms) as u64;
        let mut cluster = element(&[0xe7], &start.to_be_bytes());
        for i in 0..IN_CLUSTER.min(count - first) {
            let time = ((i * step_ms) as i16).to_be_bytes();
            cluster.extend([0xa3, 0x84, 0x81, time[0], time[1], 0x80]);
        }
        content.extend(element(CLUSTER, &cluster));
    }
    [ebml(), element(SEGMENT, &content)].concat()
}

#[test]
fn millions_of_frames_of_nothing() {
    let many = 1_000_000;
    for (codec, step) in [("V_VP8", 0), ("V_VP8", 1), ("V_MJPEG", 1)] {
        limit(codec, &nothings(many, codec, step), "frames a second");
    }
    // Its parser lets nothing of that through.
    let (kind, _) = outcome("V_VP9", &nothings(many, "V_VP9", 1)).unwrap_err();
    assert_eq!(kind, FailureKind::NoMedia);
    // As many as a long recording has are answered with what they are.
    let (kind, _) = outcome("slow", &nothings(30_000, "V_VP8", 33)).unwrap_err();
    assert_ne!(kind, FailureKind::Limit);
}

#[test]
fn deeply_nested_elements() {
    let small = matroska("V_VP8", &[], (160, 120), &[]);
    let nest = |id: &[u8], depth: usize| {
        // Each names the rest of the file as its content.
        let mut bytes = Vec::new();
        let one = id.len() + 8;
        for i in (0..depth).rev() {
            let mut size = ((i * one) as u64).to_be_bytes();
            size[0] = 1;
            bytes.extend([id, &size].concat());
        }
        bytes
    };
    let depth = 200_000;
    // Segments, clusters, groups of blocks; then tags within tags, which are read by recursion.
    for id in [SEGMENT, CLUSTER, &[0xa0], &[0xae]] {
        let bytes = [small.clone(), nest(id, depth)].concat();
        assert!(outcome("nested", &bytes).is_err());
        let inside = [ebml(), element(SEGMENT, &nest(id, depth))].concat();
        assert!(outcome("nested inside", &inside).is_err());
    }
    let webm = std::fs::read(media("vp8.webm")).unwrap();
    let segment = find(&webm, SEGMENT);
    let content = segment + 12;
    let tags =
        element(&[0x12, 0x54, 0xc3, 0x67], &element(&[0x73, 0x73], &nest(&[0x67, 0xc8], depth)));
    let bytes = [&webm[..content], &tags, &webm[content..200_000]].concat();
    // Tags say nothing of pictures: the film is made without them.
    let remarks = outcome("nested tags", &bytes).unwrap();
    assert!(remarks.iter().any(|r| r.contains("cut off")), "{remarks:?}");
}

#[test]
fn deeply_nested_boxes() {
    let film = clip("mp4", &["-c:v", "libx264", "-movflags", "+faststart"]);
    let nest = |name: &[u8; 4], depth: u32| {
        let boxes = (1..=depth).rev().map(|i| [&(i * 8).to_be_bytes()[..], name].concat());
        boxes.collect::<Vec<_>>().concat()
    };
    let damaged = |what: &str, bytes: &[u8]| match outcome(what, bytes) {
        Err((FailureKind::Damaged, message)) if message.contains("deep in each other") => {}
        other => panic!("{what}: {other:?}"),
    };
    for name in [b"moov", b"trak", b"udta", b"meta", b"moof", b"edts"] {
        let nested = nest(name, 200_000);
        damaged("nested first", &[&film[..32], &nested, &film[32..]].concat());
        // Inside the index.
        let at = find(&film, b"moov") - 4;
        let mut inside = film.clone();
        let moov = u32::from_be_bytes(film[at..at + 4].try_into().unwrap()) + nested.len() as u32;
        inside[at..at + 4].copy_from_slice(&moov.to_be_bytes());
        inside.splice(at + 8..at + 8, nested);
        damaged("nested inside", &inside);
    }
    // Behind, and within, boxes of sizes that have a meaning of their own: 64 bits, to the end of
    // the file, beyond it.
    let nested = nest(b"moov", 200_000);
    let media = b"\0\0\0\x10mdatmdatmdat";
    for before in [
        &b"\0\0\0\x01free\0\0\0\0\0\0\0\x10"[..],
        b"\0\0\0\x08\0\x01\x02\x03",
        b"\0\0\0\x01moov\0\0\0\0\x7f\0\0\0",
        b"\0\0\0\0moov",
        b"\x7f\0\0\0moov",
    ] {
        let bytes = [&film[..32], media, before, &nested].concat();
        damaged(&format!("nested behind {before:?}"), &bytes);
    }
}

/// A box of an .mp4 with another number of entries in its table.
fn with_count(film: &[u8], name: &[u8; 4], skip: usize, count: u32) -> Vec<u8> {
    let mut bytes = film.to_vec();
    let at = find(film, name) + 8 + skip;
    bytes[at..at + 4].copy_from_slice(&count.to_be_bytes());
    bytes
}

#[test]
fn tables_that_claim_billions_of_entries() {
    let film = clip("mp4", &["-c:v", "libx264", "-bf", "2", "-movflags", "+faststart"]);
    for count in [u32::MAX, 0x7fff_ffff, 0x1000_0000, 50_000_000] {
        for (name, skip) in
            [(b"stts", 0), (b"ctts", 0), (b"stsz", 4), (b"stsc", 0), (b"stco", 0), (b"stss", 0)]
        {
            film_or_damaged("a count", &with_count(&film, name, skip, count));
        }
        film_or_damaged("an edit list", &with_count(&film, b"elst", 0, count));
        // One entry of the table of times for all of them, and one size for all of them.
        film_or_damaged("a run", &with_count(&film, b"stts", 4, count));
        let sized = with_count(&with_count(&film, b"stsz", 0, 1), b"stsz", 4, count);
        film_or_damaged("one size", &with_count(&sized, b"stts", 4, count));
    }
}

#[test]
fn edit_lists_by_the_million() {
    let film = clip("mp4", &["-c:v", "libx264", "-movflags", "+faststart"]);
    let edit = [0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0];
    let edits = 1_000_000u32;
    let grown = edits * 12;
    let list = find(&film, b"elst");
    let mut bytes = film.clone();
    for name in [b"moov", b"trak", b"edts", b"elst"] {
        let at = find(&film, name) - 4;
        let size = u32::from_be_bytes(film[at..at + 4].try_into().unwrap()) + grown;
        bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    bytes[list + 8..list + 12].copy_from_slice(&(edits + 1).to_be_bytes());
    bytes.splice(list + 24..list + 24, edit.repeat(edits as usize));
    film_or_damaged("edits", &bytes);
}

#[test]
fn ogg_pages_without_anything() {
    let sound = clip("ogg", &["-f", "lavfi", "-i", "sine=d=1", "-map", "1:a", "-c:a", "libvorbis"]);
    let serial = &sound[14..18];
    let page = |n: u32| {
        let mut page =
            [b"OggS\0\0".as_slice(), &[0; 8], serial, &n.to_le_bytes(), &[0; 5]].concat();
        let sum = crc(&page);
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        page
    };
    let pages: Vec<u8> = (3..500_000).flat_map(page).collect();
    let second = 1 + find(&sound[1..], b"OggS");
    let third = second + 1 + find(&sound[second + 1..], b"OggS");
    // A film of the sound before them; or, where a demuxer comes to no sound, damaged.
    film_or_damaged("pages", &[&sound[..third], &pages].concat());
    // Each page begins a stream of its own.
    let begins = |n: u32| {
        let mut page = sound[..second].to_vec();
        page[14..18].copy_from_slice(&n.to_le_bytes());
        page[22..26].fill(0);
        let sum = crc(&page);
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        page
    };
    let streams: Vec<u8> = (0..50_000).flat_map(begins).collect();
    limit("streams", &streams, "memory");
}

/// The checksum of an Ogg page (RFC 3533).
fn crc(page: &[u8]) -> u32 {
    page.iter().fold(0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte) << 24, |s: u32, _| {
            if s >> 31 == 1 { s << 1 ^ 0x04c1_1db7 } else { s << 1 }
        })
    })
}

#[test]
fn a_film_of_a_thousand_tracks() {
    let tracks: Vec<u8> = (1..=2_000u16)
        .flat_map(|n| {
            let entry = [
                element(&[0xd7], &n.to_be_bytes()),
                element(&[0x73, 0xc5], &n.to_be_bytes()),
                element(&[0x83], &[1]),
                element(&[0x86], b"V_VP8"),
                element(&[0xe0], &[element(&[0xb0], &[160]), element(&[0xba], &[120])].concat()),
            ];
            element(&[0xae], &entry.concat())
        })
        .collect();
    let content = [
        element(&[0x16, 0x54, 0xae, 0x6b], &tracks),
        element(
            CLUSTER,
            &[element(&[0xe7], &[0]), element(&[0xa3], &[0x81, 0, 0, 0x80, 1])].concat(),
        ),
    ];
    let bytes = [ebml(), element(SEGMENT, &content.concat())].concat();
    // The first track's only frame is none.
    assert_eq!(outcome("tracks", &bytes).unwrap_err().0, FailureKind::Unsupported);
}
