//! Whatever is sent in: a typed answer, in time, and never an empty film called done.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::PathBuf;

use common::{ALL, check_film, fail, make, media, run_with, span};
use holdfast_core::job::{FailureKind, Limits, Report};

fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("recording");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Noise without a random source: the same in every run.
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed.max(1)), |&x| {
        let x = x ^ (x << 13);
        let x = x ^ (x >> 7);
        Some(x ^ (x << 17))
    })
}

#[test]
fn nothing_zeros_and_noise() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(fail(&file(&folder, b"")).0, FailureKind::NoMedia);
    assert_eq!(fail(&file(&folder, &[0; 100_000])).0, FailureKind::NoMedia);
    let random: Vec<u8> = noise(7).take(300_000).map(|x| x as u8).collect();
    assert_eq!(fail(&file(&folder, &random)).0, FailureKind::Unsupported);
    assert_eq!(fail(&file(&folder, b"\xff\xd8\xff\xe0\0\x10JFIF\0")).0, FailureKind::Unsupported);
}

#[test]
fn a_header_alone_has_no_media() {
    let folder = tempfile::tempdir().unwrap();
    let webm = std::fs::read(media("vp8.webm")).unwrap();
    let cluster = webm.windows(4).position(|w| w == [0x1f, 0x43, 0xb6, 0x75]).unwrap();
    for end in [cluster, cluster + 12] {
        assert_eq!(fail(&file(&folder, &webm[..end])).0, FailureKind::NoMedia);
    }
    let mp4 = std::fs::read(media("avc1_opus.mp4")).unwrap();
    let fragment = mp4.windows(4).position(|w| w == b"moof").unwrap() - 4;
    assert_eq!(fail(&file(&folder, &mp4[..fragment])).0, FailureKind::NoMedia);
}

#[test]
fn recordings_cut_anywhere_keep_their_whole_frames() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["vp8.webm", "h264.mkv", "avc1_opus.mp4", "vp9_opus_default.mp4", "av1.webm"] {
        let bytes = std::fs::read(media(name)).unwrap();
        let input = file(&folder, &bytes[..bytes.len() * 55 / 100]);
        let (made, out) = make(&input);
        let film = check_film(out.path(), true, true);
        let (have, want) = (span(&film, "v").unwrap(), span(&input, "v").unwrap());
        // ffprobe counts the frame that is cut through; a film must not hold it.
        assert!(want.packets - have.packets <= 1, "{name}: {have:?} of {want:?}");
        assert!(made.remarks.iter().any(|r| r.contains("cut off")), "{name}: {:?}", made.remarks);
    }
}

#[test]
fn corrupted_bytes_end_in_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, name) in
        [(1, "vp8.webm"), (2, "avc1_opus.mp4"), (3, "h264.mkv"), (4, "vp9_opus_default.mp4")]
    {
        let mut bytes = std::fs::read(media(name)).unwrap();
        let places = noise(seed).take(bytes.len() / 500);
        for place in places {
            let at = 3000 + (place >> 8) as usize % (bytes.len() - 3000);
            bytes[at] = place as u8;
        }
        let input = file(&folder, &bytes);
        let limits = Limits { stall_ms_max: 20_000, wall_ms_max: 180_000, ..Limits::default() };
        let out = tempfile::tempdir().unwrap();
        match run_with(&input, out.path(), ALL, limits) {
            Report::Done(made) => {
                let mp4 = made.mp4.unwrap();
                assert!(mp4.duration_ms > 0, "{name}");
                assert!(span(&out.path().join("main.mp4"), "v").unwrap().packets > 0, "{name}");
            }
            Report::Failed(f) => assert_ne!(f.kind, FailureKind::Internal, "{name}: {}", f.message),
            Report::Started(_) | Report::Progress { .. } => panic!("{name}: no last word"),
        }
    }
}

#[test]
fn a_frame_too_large_is_refused_before_it_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(media("vp8.webm")).unwrap();
    let frame = bytes.windows(3).position(|w| w == [0x9d, 0x01, 0x2a]).unwrap();
    bytes[frame + 3..frame + 7].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    let (kind, message) = fail(&file(&folder, &bytes));
    assert_eq!(kind, FailureKind::Limit);
    assert!(message.contains("16383x16383"), "{message}");
}

#[test]
fn limits_hold() {
    let out = tempfile::tempdir().unwrap();
    let small = Limits { output_bytes_max: 100_000, ..Limits::default() };
    let short = Limits { wall_ms_max: 300, ..Limits::default() };
    let lean = Limits { memory_bytes_max: 30 << 20, ..Limits::default() };
    for (limits, why) in [(small, "allowed"), (short, "longer than"), (lean, "memory")] {
        match run_with(&media("vp9.webm"), out.path(), ALL, limits) {
            Report::Failed(f) => {
                assert_eq!(f.kind, FailureKind::Limit, "{}", f.message);
                assert!(f.message.contains(why), "{}", f.message);
            }
            other => panic!("{other:?}"),
        }
    }
}
