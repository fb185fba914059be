//! Inputs made with other people's tools: remuxing, rotation, gaps, single streams.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::{Path, PathBuf};

use common::{
    ALL, brightness, check_film, ffmpeg, ffprobe, make, media, packet_hashes, run_with, shown,
    span, text,
};
use holdfast_core::job::{Limits, Outputs, Report, Treatment};

fn in_folder(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

/// Six seconds of H.264 with B-frames and AAC.
fn plain(path: &Path, more: &[&str]) {
    let inputs =
        ["-f", "lavfi", "-i", "testsrc=s=640x360:r=25:d=6", "-f", "lavfi", "-i", "sine=d=6"];
    let codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "25", "-c:a", "aac"];
    ffmpeg(&[&inputs, codecs.as_slice(), more, &[text(path)]].concat());
}

#[test]
fn rule_4_h264_and_aac_are_taken_over_bit_by_bit() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, more) in [
        ("whole.mp4", &[][..]),
        ("fragmented.mp4", &["-movflags", "frag_keyframe+empty_moov"]),
        ("front.mp4", &["-movflags", "faststart"]),
        ("film.mkv", &[]),
    ] {
        let input = in_folder(&scratch, name);
        plain(&input, more);
        let (made, folder) = make(&input);
        let film = check_film(folder.path(), true, true);
        let mp4 = made.mp4.unwrap();
        assert_eq!((mp4.video, mp4.audio), (Treatment::Remuxed, Treatment::Remuxed), "{name}");
        for stream in ["0:v", "0:a"] {
            assert_eq!(
                packet_hashes(&input, stream),
                packet_hashes(&film, stream),
                "{name} {stream}"
            );
        }
        let (v_in, v_out) = (span(&input, "v").unwrap(), span(&film, "v").unwrap());
        let (a_in, a_out) = (span(&input, "a").unwrap(), span(&film, "a").unwrap());
        // Film and sound keep their distance at both ends.
        assert!(((v_in.first - a_in.first) - (v_out.first - a_out.first)).abs() < 0.040, "{name}");
        assert!(((v_in.last - a_in.last) - (v_out.last - a_out.last)).abs() < 0.040, "{name}");
    }
}

#[test]
fn reordered_matroska_keeps_its_length() {
    let scratch = tempfile::tempdir().unwrap();
    let input = in_folder(&scratch, "b_frames.mkv");
    plain(&input, &["-an"]);
    let (made, folder) = make(&input);
    let film = check_film(folder.path(), true, false);
    let out = span(&film, "v").unwrap();
    assert_eq!(out.packets, 150);
    assert!((out.end - 6.0).abs() < 0.1, "{out:?}");
    assert!((made.mp4.unwrap().duration_ms as i64 - 6000).abs() < 100);
}

#[test]
fn rotation_is_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let (upright, input) = (in_folder(&scratch, "u.mp4"), in_folder(&scratch, "r.mp4"));
    plain(&upright, &[]);
    common::held(&upright, &input);
    let rotation = |file: &Path| {
        ffprobe(file, &["-select_streams", "v", "-show_streams"])["streams"][0]["side_data_list"][0]
            ["rotation"]
            .as_i64()
    };
    let (made, folder) = make(&input);
    let film = check_film(folder.path(), true, true);
    assert!(rotation(&input).is_some());
    assert_eq!(rotation(&input), rotation(&film));
    let mp4 = made.mp4.unwrap();
    assert_eq!((mp4.width, mp4.height), (360, 640));
    let snapshot = made.snapshot.unwrap();
    assert_eq!((snapshot.width, snapshot.height), (360, 640));
    // The tiles stand upright too.
    assert_eq!(made.filmstrip.unwrap().height, 284);
}

#[test]
fn video_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let input = in_folder(&scratch, "v.webm");
    ffmpeg(&["-i", text(&media("vp8.webm")), "-an", "-c", "copy", "-t", "5", text(&input)]);
    let (made, folder) = make(&input);
    check_film(folder.path(), true, false);
    assert_eq!(made.mp4.unwrap().audio, Treatment::Absent);
}

#[test]
fn a_gap_in_the_sound_is_filled_and_sync_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let input = in_folder(&scratch, "gap.webm");
    // Packets between 5 s and 8 s are taken out; times stay.
    let drop = "noise=drop=gte(pts\\,5000)*lte(pts\\,8000)";
    let source = media("vp8.webm");
    ffmpeg(&["-i", text(&source), "-c", "copy", "-bsf:a", drop, text(&input)]);
    let (gap_in, full) = (span(&input, "a").unwrap(), span(&source, "a").unwrap());
    assert!(gap_in.packets < full.packets - 40, "the input has no gap: {gap_in:?}");
    let (made, folder) = make(&input);
    let film = check_film(folder.path(), true, true);
    let (_, end) = shown(&film, "a");
    assert!((end - (gap_in.last + 0.060)).abs() < 0.040, "sound ends at {end}");
    assert!(
        made.remarks.iter().any(|r| r.contains("Sound was missing in 1 place")),
        "{:?}",
        made.remarks
    );
}

#[test]
fn a_black_start_is_no_snapshot() {
    let scratch = tempfile::tempdir().unwrap();
    let input = in_folder(&scratch, "black.webm");
    let sources = "color=black:s=320x240:r=10:d=2[a];testsrc=s=320x240:r=10:d=2[b];[a][b]concat";
    ffmpeg(&["-filter_complex", sources, "-c:v", "libvpx", "-deadline", "realtime", text(&input)]);
    let (_, folder) = make(&input);
    let (_, spread) = brightness(&folder.path().join("snapshot.jpg"));
    assert!(spread > 20.0, "{spread}");
}

#[test]
fn colours_of_the_snapshot_are_those_of_the_film() {
    let scratch = tempfile::tempdir().unwrap();
    let input = in_folder(&scratch, "c.webm");
    let source = "testsrc2=s=320x240:r=10:d=1,format=yuv420p";
    ffmpeg(&["-f", "lavfi", "-i", source, "-c:v", "libvpx", "-b:v", "4M", text(&input)]);
    let (_, folder) = make(&input);
    let rgb = |file: &Path| {
        let out = std::process::Command::new("ffmpeg")
            .args(["-v", "error", "-i", text(file), "-frames:v", "1", "-pix_fmt", "rgb24"])
            .args(["-f", "rawvideo", "-"])
            .output()
            .unwrap();
        out.stdout
    };
    let (want, have) = (rgb(&input), rgb(&folder.path().join("snapshot.jpg")));
    assert_eq!(want.len(), have.len());
    let error: u64 = want.iter().zip(&have).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    let mean = error as f64 / want.len() as f64;
    assert!(mean < 6.0, "colours differ by {mean} on average");
}

#[test]
fn only_what_is_asked_for_is_made() {
    let outputs = Outputs { mp4: false, snapshot: true, filmstrip: false };
    let folder = tempfile::tempdir().unwrap();
    let report = run_with(&media("avc1_opus.mp4"), folder.path(), outputs, Limits::default());
    let Report::Done(made) = report else { panic!("{report:?}") };
    assert!(made.mp4.is_none() && made.snapshot.is_some() && made.filmstrip.is_none());
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["snapshot.jpg"]);
}

#[test]
fn a_short_picture_in_a_long_sound() {
    let scratch = tempfile::tempdir().unwrap();
    let input = in_folder(&scratch, "short.webm");
    let source = media("vp8.webm");
    let (short, long) = (in_folder(&scratch, "s.webm"), text(&source));
    ffmpeg(&["-i", long, "-an", "-c", "copy", "-t", "2", text(&short)]);
    ffmpeg(&[
        "-i",
        text(&short),
        "-i",
        long,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c",
        "copy",
        text(&input),
    ]);
    let (made, folder) = make(&input);
    check_film(folder.path(), true, true);
    assert!(made.mp4.unwrap().duration_ms > 19_000);
    let _ = ALL;
}
