//! Every recording of a real browser becomes a film that plays to its end, in sync.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::Path;
use std::process::Command;

use common::{brightness, check_film, make, media, shown, span, text};
use holdfast_core::job::Treatment;

/// Sound and picture begin and end where they do in the recording, to this many seconds.
const SYNC: f64 = 0.040;
/// The film's end against the recording's last frame.
const LENGTH: f64 = 0.100;

fn check(name: &str, video: Treatment) {
    let input = media(name);
    let (made, folder) = make(&input);
    let film = check_film(folder.path(), true, true);
    let mp4 = made.mp4.as_ref().unwrap();
    assert_eq!((mp4.video, mp4.audio), (video, Treatment::Converted));
    let (v_in, a_in) = (span(&input, "v").unwrap(), span(&input, "a").unwrap());
    let v_out = span(&film, "v").unwrap();
    // No frame lost, none doubled.
    assert_eq!(v_out.packets, v_in.packets, "frames");
    let base = v_in.first.min(a_in.first);
    assert!((v_out.first - (v_in.first - base)).abs() < SYNC, "{v_in:?} {v_out:?}");
    assert!((v_out.last - (v_in.last - base)).abs() < SYNC, "{v_in:?} {v_out:?}");
    assert!((v_out.end - (v_in.end - base)).abs() < LENGTH, "{v_in:?} {v_out:?}");
    // Opus packets are 60 ms; fragmented MP4 does not say how long the last one is.
    let a_end = a_in.last + 0.060 - base;
    let (a_start_out, a_end_out) = shown(&film, "a");
    assert!((a_start_out - (a_in.first - base)).abs() < SYNC, "sound begins at {a_start_out}");
    assert!((a_end_out - a_end).abs() < SYNC, "sound ends at {a_end_out}, not {a_end}");
    assert!((mp4.duration_ms as f64 / 1000.0 - a_end.max(v_in.end - base)).abs() < LENGTH);
    // Of those whose size changes, `transform_video.rs` has a look.
    if !name.starts_with("reschange") {
        let alike = first_second(&film, &input);
        assert!(alike > 0.9, "{name}: SSIM {alike}");
    }
    check_pictures(folder.path(), &made);
}

/// How much the first frames look like the recording's (SSIM, 1: the same).
fn first_second(film: &Path, recording: &Path) -> f64 {
    let frames = "trim=end_frame=24,settb=1/25,setpts=N,format=yuv420p";
    let graph = format!("[0:v]{frames}[is];[1:v]{frames}[want];[is][want]ssim");
    let args = ["-hide_banner", "-i", text(film), "-i", text(recording), "-lavfi", &graph];
    let out = Command::new("ffmpeg").args(args).args(["-f", "null", "-"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let all = said.rsplit_once("All:").unwrap_or_else(|| panic!("{said}")).1;
    all.split_whitespace().next().unwrap().parse().unwrap()
}

fn check_pictures(folder: &Path, made: &holdfast_core::job::Made) {
    let snapshot = made.snapshot.as_ref().unwrap();
    let v = made.source.video.as_ref().unwrap();
    assert_eq!((snapshot.width, snapshot.height), (v.width, v.height));
    let filmstrip = made.filmstrip.as_ref().unwrap();
    assert_eq!(filmstrip.width, 1600);
    assert_eq!(filmstrip.height, (160 * v.height).div_ceil(v.width));
    for name in ["snapshot.jpg", "filmstrip.jpg"] {
        let (_, spread) = brightness(&folder.join(name));
        assert!(spread > 8.0, "{name} is blank ({spread})");
    }
}

#[test]
fn vp8_webm() {
    check("vp8.webm", Treatment::Converted);
}

#[test]
fn vp9_webm() {
    check("vp9.webm", Treatment::Converted);
}

#[test]
fn av1_webm() {
    check("av1.webm", Treatment::Converted);
}

#[test]
fn h264_matroska_is_remuxed() {
    check("h264.mkv", Treatment::Remuxed);
}

#[test]
fn avc1_mp4_is_remuxed() {
    check("avc1_opus.mp4", Treatment::Remuxed);
}

#[test]
fn avc3_mp4_is_remuxed() {
    check("avc3_opus.mp4", Treatment::Remuxed);
}

#[test]
fn vp9_mp4() {
    check("vp9_opus_default.mp4", Treatment::Converted);
}

#[test]
fn vp8_of_changing_size() {
    check("reschange_vp8.webm", Treatment::Converted);
}

#[test]
fn h264_of_changing_size_is_converted() {
    check("reschange_avc1.mp4", Treatment::Converted);
}

#[test]
fn sound_alone() {
    let (made, folder) = make(&media("audio.webm"));
    let film = check_film(folder.path(), false, true);
    let (start, end) = shown(&film, "a");
    assert!(start.abs() < SYNC && (end - 12.0).abs() < SYNC, "{start} {end}");
    // Its waveform stands in for the snapshot.
    let snapshot = made.snapshot.unwrap();
    assert_eq!((snapshot.width, snapshot.height), (1280, 320));
    assert!(brightness(&folder.path().join("snapshot.jpg")).1 > 20.0);
    assert!(made.filmstrip.is_none() && !folder.path().join("filmstrip.jpg").exists());
    assert!(made.remarks.iter().any(|r| r.contains("sound only")), "{:?}", made.remarks);
}
