//! Hundreds of damaged files through the real program, in its jail, by the contract: none crashes
//! it, none is over its limits, each ends in a typed answer.
//!
//! A file is made from its number alone. `HOLDFAST_TEST_DAMAGED` says how many there are (400
//! where it is not set); `HOLDFAST_TEST_DAMAGED_ONE` names one that failed: it is run alone and kept in
//! the folder that is printed.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{ALL, ffmpeg, job, media, program, start_as, text};
use holdfast_core::job::{FailureKind, Limits, Report};
use nix::sys::resource::{UsageWho, getrusage};

const COUNT: u64 = 400;
const MEMORY: u64 = 768 << 20;
/// Tracks in each clip made here: a second of sound and picture.
const PICTURE: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=1"];
const SOUND: [&str; 4] = ["-f", "lavfi", "-i", "sine=d=1"];

/// What becomes of a clip: its ending and ffmpeg's options.
const CLIPS: &[(&str, &str)] = &[
    ("mov", "-c:v libx264 -c:a aac"),
    ("whole.mp4", "-c:v libx264 -c:a aac -movflags +faststart"),
    ("parts.mp4", "-c:v libx264 -c:a libopus -movflags frag_keyframe+empty_moov -g 3"),
    ("h265.mp4", "-c:v libx265 -c:a aac -x265-params log-level=none"),
    ("mkv", "-c:v libx264 -c:a libvorbis"),
    ("vp8.webm", "-c:v libvpx -c:a libopus"),
    ("vp9.webm", "-c:v libvpx-vp9 -c:a libopus"),
    ("av1.webm", "-c:v libaom-av1 -cpu-used 8 -c:a libopus"),
    ("mpeg4.avi", "-c:v mpeg4 -c:a libmp3lame"),
    ("mjpeg.avi", "-c:v mjpeg -c:a pcm_s16le"),
    ("flv", "-c:v libx264 -c:a aac -ar 44100"),
    ("h264.ts", "-c:v libx264 -c:a aac"),
    ("mpeg2.ts", "-c:v mpeg2video -r 25 -c:a mp2"),
    ("mpg", "-c:v mpeg1video -r 25 -c:a mp2"),
    ("asf", "-c:v wmv2 -c:a wmav2"),
    ("ogg", "-vn -c:a libvorbis"),
    ("opus", "-vn -c:a libopus"),
    ("wav", "-vn -c:a pcm_s16le"),
    ("mp3", "-vn -c:a libmp3lame"),
    ("aac", "-vn -c:a aac -f adts"),
];

/// Recordings of browsers, of which the beginning is taken.
const RECORDINGS: &[(&str, usize)] = &[
    ("vp8.webm", 90_000),
    ("vp9.webm", 90_000),
    ("av1.webm", 60_000),
    ("h264.mkv", 90_000),
    ("avc1_opus.mp4", 90_000),
    ("vp9_opus_default.mp4", 90_000),
];

fn originals() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut all: Vec<Vec<u8>> = RECORDINGS
        .iter()
        .map(|(name, bytes)| {
            let mut recording = std::fs::read(media(name)).unwrap();
            recording.truncate(*bytes);
            recording
        })
        .collect();
    for (ending, options) in CLIPS {
        let path: PathBuf = folder.path().join(format!("clip.{ending}"));
        let options: Vec<&str> = options.split(' ').collect();
        let exact = ["-threads", "1", "-fflags", "+bitexact", "-flags", "+bitexact"];
        ffmpeg(&[&PICTURE, &SOUND, &options[..], &exact, &[text(&path)]].concat());
        all.push(std::fs::read(&path).unwrap());
    }
    all
}

/// Numbers that look like chance and are the same in every run.
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| {
            chance.next();
        });
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end.max(1)
    }

    /// A place, more often near the beginning, where headers are.
    fn place(&mut self, len: usize) -> usize {
        match self.below(12) {
            0 => self.below(len.min(64)),
            1..=5 => self.below(len.min(2_048)),
            _ => self.below(len),
        }
    }
}

fn damage(bytes: &mut Vec<u8>, others: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.place(bytes.len());
    let run = 1 + chance.below(64);
    let end = bytes.len().min(at + run);
    match chance.below(9) {
        // Flipped bits, a few and many.
        0 => bytes[at] ^= 1 << chance.below(8),
        1 => (0..run).for_each(|_| {
            let at = chance.place(bytes.len());
            bytes[at] ^= 1 << chance.below(8);
        }),
        // A run of one byte, and of noise.
        2 => bytes[at..end].fill([0, 0xff, 0x7f, 0x80][chance.below(4)]),
        3 => bytes[at..end].iter_mut().for_each(|b| *b = chance.next() as u8),
        // A length or a count.
        4 => {
            let value = [0u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0x0100_0000][chance.below(6)];
            let word = if chance.below(2) == 0 { value.to_be_bytes() } else { value.to_le_bytes() };
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
        // Cut, with a hole, twice, with another's middle or end.
        5 => bytes.truncate(at.max(16)),
        6 => drop(bytes.drain(at..end)),
        7 => {
            let part = bytes[at..bytes.len().min(at + run * 16)].to_vec();
            bytes.splice(at..at, part);
        }
        _ => {
            let other = &others[chance.below(others.len())];
            bytes.truncate(at.max(16));
            bytes.extend(&other[chance.below(other.len())..]);
        }
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
}

fn file(seed: u64, originals: &[Vec<u8>]) -> Vec<u8> {
    let mut chance = Chance::of(seed);
    let mut bytes = originals[seed as usize % originals.len()].clone();
    for _ in 0..=chance.below(4) {
        damage(&mut bytes, originals, &mut chance);
    }
    bytes
}

/// Runs one; says what is wrong with how it ended.
fn run(path: &Path) -> Result<&'static str, String> {
    let out = tempfile::tempdir().unwrap();
    let limits = Limits {
        wall_ms_max: 60_000,
        stall_ms_max: 10_000,
        memory_bytes_max: MEMORY,
        output_bytes_max: 64 << 20,
        ..Limits::default()
    };
    let mut program = program();
    program.stderr(Stdio::null());
    let mut running = start_as(program, path, out.path(), &job(ALL, limits), None);
    let last = std::iter::from_fn(|| running.next()).last();
    let status = running.child.wait().unwrap();
    if let Some(signal) = status.signal() {
        return Err(format!("signal {signal}, after {last:?}"));
    }
    match last {
        Some(Report::Done(made)) => {
            let size = |name| std::fs::metadata(out.path().join(name)).map_or(0, |m| m.len());
            match made.mp4 {
                Some(mp4) if mp4.bytes > 0 && mp4.bytes == size("main.mp4") => Ok("a film"),
                other => Err(format!("done without a film: {other:?}")),
            }
        }
        Some(Report::Failed(f)) => match f.kind {
            FailureKind::Internal
            | FailureKind::Disk
            | FailureKind::Hardware
            | FailureKind::NotLive => Err(format!("{:?}: {}", f.kind, f.message)),
            FailureKind::Damaged => Ok("damaged"),
            FailureKind::NoMedia => Ok("no media"),
            FailureKind::Unsupported => Ok("unsupported"),
            FailureKind::Limit => Ok("a limit"),
            FailureKind::Stalled => Ok("stalled"),
        },
        other => Err(format!("no last word but {other:?}")),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|v| v.parse().unwrap_or_else(|e| panic!("{variable}: {e}")))
}

#[test]
fn each_damaged_file_ends_in_an_answer() {
    let originals = originals();
    let folder = tempfile::tempdir().unwrap();
    if let Some(seed) = number("HOLDFAST_TEST_DAMAGED_ONE") {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("damaged-{seed}"));
        std::fs::write(&path, file(seed, &originals)).unwrap();
        println!("{}: {:?}", path.display(), run(&path));
        run(&path).unwrap();
        return;
    }
    let count = number("HOLDFAST_TEST_DAMAGED").unwrap_or(COUNT);
    let (next, ends) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let path = folder.path().join(format!("recording-{worker}"));
            let (next, ends, originals) = (&next, &ends, &originals);
            scope.spawn(move || {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < count)
                {
                    std::fs::write(&path, file(seed, originals)).unwrap();
                    let end = run(&path).map_err(|e| format!("file {seed}: {e}"));
                    ends.lock().unwrap().push(end);
                }
            });
        }
    });
    let ends = ends.into_inner().unwrap();
    let wrong: Vec<&String> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    for what in ["a film", "damaged", "no media", "unsupported", "a limit", "stalled"] {
        let many = ends.iter().filter(|end| end.as_ref().is_ok_and(|e| *e == what)).count();
        println!("{many} times {what}");
    }
    assert_eq!(ends.len() as u64, count);
    assert!(wrong.is_empty(), "HOLDFAST_TEST_DAMAGED_ONE=… runs one of these alone: {wrong:#?}");
    // The watch looks five times a second; what lies between is what it may be over.
    let largest = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() as u64 * 1024;
    assert!(largest < MEMORY * 3 / 2, "{} MiB", largest >> 20);
}
