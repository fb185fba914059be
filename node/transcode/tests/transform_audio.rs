//! What is wanted of a film's sound, heard through ffmpeg's ears.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{
    ALL, check_film, ffmpeg, ffprobe, packet_hashes, run_transform, shown, text, transformed,
};
use holdfast_core::job::{FailureKind, Report, Treatment};
use serde_json::json;

const RATE: usize = 48_000;

fn input(folder: &tempfile::TempDir, name: &str, source: &str, more: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    ffmpeg(&[&["-f", "lavfi", "-i", source], more, &[text(&path)]].concat());
    path
}

/// A file's sound as ffmpeg decodes it: frames of so many channels, at 48 kHz.
fn samples(file: &Path, channels: usize) -> Vec<Vec<f64>> {
    let count = channels.to_string();
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-i", text(file), "-map", "0:a", "-ac", &count, "-ar", "48000"])
        .args(["-f", "f32le", "-"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let all: Vec<f64> = out
        .stdout
        .chunks_exact(4)
        .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        .collect();
    all.chunks_exact(channels).map(<[f64]>::to_vec).collect()
}

fn channels(file: &Path) -> u64 {
    let json = ffprobe(file, &["-select_streams", "a", "-show_streams"]);
    json["streams"][0]["channels"].as_u64().unwrap_or(0)
}

/// How loud a tone is in one channel, between 1 s and 2 s (Goertzel).
fn tone(frames: &[Vec<f64>], channel: usize, hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (i, frame) in frames[RATE..2 * RATE].iter().enumerate() {
        let angle = std::f64::consts::TAU * hz * i as f64 / RATE as f64;
        re += frame[channel] * angle.cos();
        im += frame[channel] * angle.sin();
    }
    2.0 * re.hypot(im) / RATE as f64
}

/// Integrated loudness (LUFS) and true peak (dBTP) by ffmpeg.
fn loudness(file: &Path) -> (f64, f64) {
    let out = Command::new("ffmpeg")
        .args(["-hide_banner", "-i", text(file), "-map", "0:a", "-af", "ebur128=peak=true"])
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let summary = said.rsplit_once("Summary:").unwrap_or_else(|| panic!("{said}")).1;
    let value = |name: &str| {
        let rest = summary.split_once(name).unwrap_or_else(|| panic!("{summary}")).1;
        rest.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    (value("I:"), value("Peak:"))
}

#[test]
fn one_channel_and_two() {
    let scratch = tempfile::tempdir().unwrap();
    let stereo = "sine=f=500:d=3,volume=4[l];sine=f=900:d=3,volume=4[r];[l][r]join=inputs=2";
    let video =
        ["-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=3", "-c:v", "libx264", "-pix_fmt", "yuv420p"];
    let source = input(&scratch, "s.mp4", stereo, &[&video, &["-c:a", "aac"][..]].concat());
    let source = &source;
    let film = |wanted: &str| {
        let (made, folder) = transformed(source, json!({"audio": {"channels": wanted}}));
        let film = check_film(folder.path(), true, true);
        // The picture is not touched.
        assert_eq!(packet_hashes(source, "0:v"), packet_hashes(&film, "0:v"), "{wanted}");
        let frames = samples(&film, 2);
        (made.mp4.unwrap().audio, channels(&film), frames)
    };
    for wanted in ["keep", "stereo"] {
        let (treatment, count, frames) = film(wanted);
        assert_eq!((treatment, count), (Treatment::Remuxed, 2), "{wanted}");
        let (own, other) = (tone(&frames, 0, 500.0), tone(&frames, 0, 900.0));
        assert!(own > 0.4 && other < 0.01, "{own} {other}");
    }
    let (treatment, count, frames) = film("mono");
    assert_eq!((treatment, count), (Treatment::Converted, 1));
    let (low, high) = (tone(&frames, 0, 500.0), tone(&frames, 0, 900.0));
    assert!((low / high - 1.0).abs() < 0.1 && (0.15..0.45).contains(&low), "{low} {high}");
}

#[test]
fn one_channel_becomes_two_that_are_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let source = input(&scratch, "s.wav", "sine=f=500:d=3,volume=4", &["-ac", "1"]);
    for (wanted, count) in [("stereo", 2), ("keep", 1)] {
        let (_, folder) = transformed(&source, json!({"audio": {"channels": wanted}}));
        let film = check_film(folder.path(), false, true);
        assert_eq!(channels(&film), count as u64);
        let (before, after) = (samples(&source, 1), samples(&film, count));
        let own = tone(&before, 0, 500.0);
        for channel in 0..count {
            let made = tone(&after, channel, 500.0);
            assert!(own > 0.1 && (made / own - 1.0).abs() < 0.05, "{wanted} {made} {own}");
        }
    }
}

#[test]
fn six_channels_become_two() {
    let scratch = tempfile::tempdir().unwrap();
    // Front left, front right, centre, low, rear left, rear right.
    let tones: Vec<String> =
        (0..6).map(|i| format!("0.125*sin(2*PI*{}*t)", 400 + i * 300)).collect();
    let graph = format!("aevalsrc='{}':c=5.1:s=48000:d=3", tones.join("|"));
    for (name, codec) in [("s.wav", "pcm_s16le"), ("s.mkv", "libopus"), ("a.mkv", "ac3")] {
        let source = input(&scratch, name, &graph, &["-c:a", codec]);
        for wanted in ["keep", "stereo", "mono"] {
            let (_, folder) = transformed(&source, json!({"audio": {"channels": wanted}}));
            let film = check_film(folder.path(), false, true);
            let mono = wanted == "mono";
            assert_eq!(channels(&film), if mono { 1 } else { 2 }, "{name}");
            let frames = samples(&film, 2);
            let of = |channel, i: i32| tone(&frames, channel, f64::from(400 + i * 300));
            let said: Vec<_> = (0..6).map(|i| (of(0, i), of(1, i))).collect();
            // Centre and both fronts are there, the low effects are not.
            assert!(of(0, 2) > 0.01 && of(1, 2) > 0.01 && of(0, 0) > 0.01, "{name} {said:?}");
            assert!(of(0, 3) < 0.002 && of(1, 3) < 0.002, "{name} {said:?}");
            if !mono {
                // Left stays left, right stays right; the centre is in the middle, 3 dB down.
                assert!(of(1, 0) < 0.002 && of(0, 1) < 0.002, "{name} {said:?}");
                assert!(of(1, 4) < 0.002 && of(0, 5) < 0.002, "{name} {said:?}");
                assert!((of(0, 2) / of(1, 2) - 1.0).abs() < 0.05, "{name} {said:?}");
                let down = 20.0 * (of(0, 2) / of(0, 0)).log10();
                assert!((-4.0..-2.0).contains(&down), "{name}: centre {down} dB {said:?}");
            }
        }
    }
}

#[test]
fn no_sound_at_all() {
    let scratch = tempfile::tempdir().unwrap();
    let video = [
        "-f",
        "lavfi",
        "-i",
        "testsrc=s=64x64:r=10:d=1",
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
    ];
    let source = input(&scratch, "s.mp4", "sine=d=1", &video);
    let mute = json!({"audio": {"mute": true}});
    let (made, folder) = transformed(&source, mute.clone());
    let film = check_film(folder.path(), true, false);
    let mp4 = made.mp4.unwrap();
    assert_eq!((mp4.video, mp4.audio), (Treatment::Remuxed, Treatment::Absent));
    assert_eq!(packet_hashes(&source, "0:v"), packet_hashes(&film, "0:v"));
    assert!(made.remarks.is_empty(), "{:?}", made.remarks);
    // Sound that begins a second before the picture leaves no empty second behind.
    let late = scratch.path().join("late.mkv");
    let filters = ["-itsoffset", "1", "-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=1"];
    let sound = ["-f", "lavfi", "-i", "sine=d=4", "-c:v", "libvpx", "-c:a", "libopus", text(&late)];
    ffmpeg(&[&filters[..], &sound].concat());
    let (made, folder) =
        transformed(&late, json!({"audio": {"mute": true}, "filmstrip": {"vtt": true}}));
    let film = check_film(folder.path(), true, false);
    let (start, end) = shown(&film, "v");
    assert!(start.abs() < 0.01 && (end - 1.0).abs() < 0.05, "{start} {end}");
    assert!(made.mp4.unwrap().duration_ms <= 1050);
    assert_eq!(made.source.audio.unwrap().codec, "opus");
    let cues = std::fs::read_to_string(folder.path().join("filmstrip.vtt")).unwrap();
    let last = cues.lines().rfind(|l| l.contains("-->")).unwrap();
    assert!(last.contains("--> 00:00:01.0") || last.contains("--> 00:00:00.9"), "{last}");
    // Of sound alone nothing would be left, and a film with sound is not what was asked for.
    let alone = input(&scratch, "a.ogg", "sine=d=1", &["-c:a", "libopus"]);
    let out = tempfile::tempdir().unwrap();
    let Report::Failed(f) = run_transform(&alone, out.path(), &mute, None) else { panic!("made") };
    assert_eq!(f.kind, FailureKind::NoMedia);
    assert!(f.message.contains("audio.mute"), "{}", f.message);
    let _ = ALL;
}

#[test]
fn loudness_is_brought_to_one_value() {
    let scratch = tempfile::tempdir().unwrap();
    let r128 = json!({"audio": {"loudness": "r128"}});
    // A quiet voice-like noise; a loud and clipped one; quiet with cracks far above it.
    let quiet = "anoisesrc=d=6:c=pink:seed=1:a=0.5,tremolo=f=3:d=0.8,volume=-30dB";
    let loud = "anoisesrc=d=6:c=pink:seed=2:a=0.9,tremolo=f=3:d=0.8,volume=14dB";
    let cracks = "anoisesrc=d=6:c=pink:seed=3:a=0.4,volume=-14dB[n];\
        aevalsrc='0.9*sin(2*PI*300*t)*lt(mod(t,1),0.004)':d=6[c];[n][c]amix=normalize=0";
    for (name, source, more) in [
        ("quiet.webm", quiet, &["-c:a", "libopus", "-ac", "1"][..]),
        ("loud.ogg", loud, &["-c:a", "libvorbis", "-ac", "2"]),
        ("cracks.wav", cracks, &["-c:a", "pcm_s16le"]),
        ("quiet.m4a", quiet, &["-c:a", "aac", "-ac", "2", "-f", "mp4"]),
    ] {
        let recording = input(&scratch, name, source, more);
        let (made, folder) = transformed(&recording, r128.clone());
        let film = check_film(folder.path(), false, true);
        let (lufs, peak) = loudness(&film);
        let before = loudness(&recording);
        assert!((lufs + 16.0).abs() <= 0.5, "{name}: {lufs} LUFS, before {before:?}");
        assert!(peak <= -1.5, "{name}: {peak} dBTP, before {before:?}");
        assert_eq!(made.mp4.unwrap().audio, Treatment::Converted);
        // As long as it was, and no sample late.
        let (start, end) = shown(&film, "a");
        assert!(start.abs() < 0.001 && (end - 6.0).abs() < 0.03, "{name}: {start} {end}");
        assert_eq!(lag(&samples(&recording, 1), &samples(&film, 1)), 0, "{name}");
    }
}

/// By how many milliseconds one sound is later than another (at most 50), by correlation.
fn lag(a: &[Vec<f64>], b: &[Vec<f64>]) -> i64 {
    const STEP: i64 = RATE as i64 / 1000;
    let window = 2 * RATE as i64..4 * RATE as i64;
    let product = |shift: i64| -> f64 {
        window
            .clone()
            .step_by(3)
            .map(|i| a[i as usize][0] * b[(i + shift * STEP) as usize][0])
            .sum()
    };
    (-50..=50).max_by(|&x, &y| product(x).total_cmp(&product(y))).unwrap()
}

#[test]
fn what_has_no_loudness_is_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let r128 = json!({"audio": {"loudness": "r128"}});
    for (name, source) in [("silent.m4a", "anullsrc=d=2"), ("short.m4a", "sine=d=0.2")] {
        let recording = input(&scratch, name, source, &["-c:a", "aac", "-f", "mp4"]);
        let (made, folder) = transformed(&recording, r128.clone());
        let film = check_film(folder.path(), false, true);
        assert_eq!(packet_hashes(&recording, "0:a"), packet_hashes(&film, "0:a"), "{name}");
        assert!(
            made.remarks.iter().any(|r| r.contains("too short or too quiet")),
            "{:?}",
            made.remarks
        );
    }
    // What is right already is not encoded again.
    let right =
        input(&scratch, "r.m4a", "sine=d=3:f=1000,volume=5.05dB", &["-c:a", "aac", "-f", "mp4"]);
    let lufs = loudness(&right).0;
    let gain = format!("volume={}dB", -16.0 - lufs);
    let exact = scratch.path().join("e.mp4");
    ffmpeg(&["-i", text(&right), "-af", &gain, "-c:a", "aac", text(&exact)]);
    let (made, _folder) = transformed(&exact, r128);
    assert_eq!(made.mp4.unwrap().audio, Treatment::Remuxed, "{}", loudness(&exact).0);
}
