//! Recordings that are transcoded while they come in: what comes of them is what comes of the whole.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

#[path = "../common/mod.rs"]
mod common;

mod come_in;
mod mp4;

use come_in::{Growing, even, live, made, refused, same};
use common::{media, start};
use holdfast_core::job::{FailureKind, Job, Limits, Report};
use serde_json::json;

#[test]
fn browser_recordings_come_out_as_afterwards() {
    for name in ["vp9.webm", "av1.webm", "h264.mkv"] {
        let whole = media(name);
        let (report, folder) = made(&whole, &[1, 4_096, 65_537, 300_001]);
        same(&whole, (&report, folder.path()), name == "h264.mkv");
    }
}

#[test]
fn a_recording_in_odd_pieces_comes_out_as_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let vp8 =
        ["-c:v", "libvpx", "-b:v", "1M", "-deadline", "realtime", "-cpu-used", "8", "-g", "90"];
    let whole = even(folder.path(), 40, &vp8);
    let (report, made) = made(&whole, &[997, 13, 70_001]);
    same(&whole, (&report, made.path()), false);
}

#[test]
fn sound_alone_comes_out_as_afterwards() {
    let whole = media("audio.webm");
    let (report, made) = made(&whole, &[4_097, 11]);
    same(&whole, (&report, made.path()), false);
}

#[test]
fn the_index_grows_with_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    // Many small frames: the index is larger than the room that it is begun with.
    let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-r", "30", "-g", "60"];
    let whole = even(folder.path(), 240, &x264);
    let (report, made) = made(&whole, &[100_000]);
    same(&whole, (&report, made.path()), true);
}

#[test]
fn what_its_beginning_does_not_tell_is_left_for_afterwards() {
    let said = refused(&media("reschange_vp8.webm"), &live(&json!({})));
    assert!(said.contains("the picture's size changes at 0:"), "{said}");
    let said = refused(&media("reschange_avc1.mp4"), &live(&json!({})));
    assert!(said.contains("is not what its beginning said"), "{said}");
    let vp8 = media("vp8.webm");
    let said = refused(&vp8, &live(&json!({"video": {"constant_fps": true}})));
    assert!(said.contains("video.constant_fps"), "{said}");
    let said = refused(&vp8, &live(&json!({"audio": {"loudness": "r128"}})));
    assert!(said.contains("audio.loudness"), "{said}");
}

#[test]
fn a_recording_that_is_cut_off_or_short_is_left_for_afterwards() {
    for name in ["vp8.webm", "avc1_opus.mp4"] {
        let (folder, raw) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut growing = Growing::new(raw.path(), &media(name));
        let end = growing.bytes.len() - 1000;
        growing.bytes.truncate(end);
        let running = start(&growing.path, folder.path(), &live(&json!({})));
        growing.grow_all(&running, &[100_000]);
        growing.end(&running);
        let Report::Failed(failure) = running.finish() else { panic!("{name} was made") };
        assert_eq!(failure.kind, FailureKind::NotLive, "{name}: {}", failure.message);
        assert!(failure.message.contains("in the middle of a"), "{name}: {}", failure.message);
        growing.bytes.truncate(300_000);
        growing.durable = 0;
        let running = start(&growing.path, folder.path(), &live(&json!({})));
        growing.grow_all(&running, &[100_000]);
        growing.end(&running);
        let Report::Failed(failure) = running.finish() else { panic!("{name} was made") };
        assert_eq!(failure.kind, FailureKind::NotLive, "{name}: {}", failure.message);
    }
}

#[test]
fn waiting_is_neither_standing_still_nor_taking_long() {
    let (folder, raw) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut growing = Growing::new(raw.path(), &media("vp8.webm"));
    let limits = Limits { stall_ms_max: 5_000, wall_ms_max: 120_000, ..Limits::default() };
    let job = Job { limits, ..live(&json!({})) };
    let running = start(&growing.path, folder.path(), &job);
    growing.grow(&running, 2_000_000);
    // It says that it lives, and not that it gets on.
    let (mut last, mut times) = (0, 0);
    while last == 0 || times < 8 {
        match running.next().unwrap() {
            Report::Progress { position_ms, duration_ms: None } => {
                times = if position_ms == last { times + 1 } else { 0 };
                last = position_ms;
            }
            Report::Started(_) => {}
            other => panic!("{other:?}"),
        }
    }
    growing.grow_all(&running, &[1_000_000]);
    growing.end(&running);
    assert!(matches!(running.finish(), Report::Done(_)));
}
