//! Recordings of all kinds that people send in, made with other people's tools, one row for each: what the
//! child makes of it is held against what other people's decoders see and hear in the recording itself.
//!
//! They all show the same three seconds, with a flash and a beep at the same moments, so sync is measured in
//! every row. `HOLDFAST_TEST_ROW=NAME` runs one row; with `--nocapture` it says what was measured.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

#[path = "../common/mod.rs"]
mod common;

mod audio_rows;
mod clip;
mod look;
mod mp4_rows;
mod old_rows;
mod times_rows;
mod webm_rows;

use std::path::Path;

use common::make;
use holdfast_core::job::{MAIN_NAME, Treatment};

use Treatment::{Absent, Converted, Remuxed};

/// Sound and picture apart, in seconds.
const SYNC: f64 = 0.040;

/// One recording, and what has to become of it.
#[derive(Clone, Copy)]
struct Row {
    /// The file's name.
    name: &'static str,
    /// Commands that make it: CLIP is the clip of [`clip`], OUT the recording, A and B files on the way.
    steps: &'static [&'static str],
    /// The codecs by our report; empty where there is none.
    codecs: (&'static str, &'static str),
    /// What is done to picture and sound.
    treated: (Treatment, Treatment),
    /// How long it is.
    seconds: f64,
    /// The film's size.
    size: (u64, u64),
    /// What is done to the recording's frames before they are compared with the film's.
    filter: &'static str,
    /// Flashes and beeps.
    events: usize,
    /// A word of each remark; there are no others.
    remarks: &'static [&'static str],
    /// Which of the recording's times other people's reader gets wrong, so that they are not compared.
    misread: Misread,
}

/// What ffmpeg gets wrong of a recording.
#[derive(Clone, Copy, PartialEq)]
enum Misread {
    Nothing,
    /// Times of frames: the film has 25 a second.
    Times,
    /// Times of sound, which it counts by samples only.
    Sound,
    /// The same, and it squeezes the sound to get back in step.
    Squeezed,
}

const PLAIN: Row = Row {
    name: "",
    steps: &[],
    codecs: ("h264", "aac"),
    treated: (Converted, Converted),
    seconds: 3.0,
    size: (256, 192),
    filter: "null",
    events: 3,
    remarks: &[],
    misread: Misread::Nothing,
};

const SOUND: Row = Row {
    codecs: ("", "aac"),
    treated: (Absent, Converted),
    remarks: &["sound only", "sound only"],
    ..PLAIN
};

fn check_all(rows: &[Row]) {
    let one = std::env::var("HOLDFAST_TEST_ROW").ok();
    let mut failed = Vec::new();
    for row in rows.iter().filter(|row| one.as_ref().is_none_or(|name| name == row.name)) {
        let row = *row;
        let checked = std::panic::catch_unwind(|| check(row));
        if checked.is_err() {
            failed.push(row.name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}; what is wrong with them is above");
}

fn check(row: Row) {
    let folder = tempfile::tempdir().unwrap();
    let input = clip::run(row.steps, folder.path(), row.name);
    let (made, out) = make(&input);
    let name = row.name;
    let codec = |told: Option<String>| told.unwrap_or_default();
    let source = made.source;
    let codecs = (codec(source.video.map(|v| v.codec)), codec(source.audio.map(|a| a.codec)));
    assert_eq!((codecs.0.as_str(), codecs.1.as_str()), row.codecs, "{name}: codecs");
    let mp4 = made.mp4.unwrap();
    assert_eq!((mp4.video, mp4.audio), row.treated, "{name}: {:?}", made.remarks);
    let has = (!row.codecs.0.is_empty(), !row.codecs.1.is_empty());
    let film = out.path().join(MAIN_NAME);
    let all = made.remarks.len() == row.remarks.len()
        && made.remarks.iter().zip(row.remarks).all(|(said, word)| said.contains(word));
    assert!(all, "{name}: remarks {:?}", made.remarks);
    let seen = look::film(&film);
    let wanted = [(has.0, "h264"), (has.1, "aac")];
    assert_eq!(
        seen.codecs,
        wanted.iter().filter(|w| w.0).map(|w| w.1).collect::<Vec<_>>(),
        "{name}"
    );
    assert_eq!(seen.complaints, "", "{name}: complaints");
    assert!((seen.length - row.seconds).abs() < 0.1, "{name}: {} s long", seen.length);
    assert!(mp4.duration_ms.abs_diff((seen.length * 1000.0) as u64) < 40, "{name}: {mp4:?}");
    if has.0 {
        check_picture(row, &input, &film, &seen);
    }
    if has.1 {
        let beeps = check_sound(row, &input, &film);
        if has.0 && row.events > 0 {
            check_sync(row, &look::flashes(&film, &seen.times), &beeps);
        }
    }
}

/// The same frames at the same times, and they look the same.
fn check_picture(row: Row, input: &Path, film: &Path, seen: &look::Film) {
    let name = row.name;
    assert_eq!(seen.size, row.size, "{name}: size");
    let (before, after) = (look::times(input), &seen.times);
    assert_eq!(before.len(), after.len(), "{name}: frames");
    let even = (0..after.len()).map(|i| after[0] + i as f64 * 0.04).collect();
    let want = if row.misread == Misread::Times { even } else { before };
    let apart = want.iter().zip(after).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < SYNC, "{name}: a frame is {apart} s off\n{want:?}\n{after:?}");
    let alike = look::likeness(film, input, row.filter);
    let mean = alike.iter().sum::<f64>() / alike.len() as f64;
    let worst = alike.iter().copied().fold(f64::MAX, f64::min);
    println!("{name}: frames {apart:.4} s off, SSIM {mean:.4}, worst {worst:.4}");
    assert_eq!(alike.len(), after.len(), "{name}: frames compared");
    assert!(mean > 0.94 && worst > 0.92, "{name}: SSIM {mean}, worst {worst}");
}

/// The same sound at the same time; gives the film's beeps.
fn check_sound(row: Row, input: &Path, film: &Path) -> Vec<f64> {
    let name = row.name;
    let sound = look::sound(film);
    // What is stretched is a little late in one place and early in the next.
    let (least, reach_s) = match row.misread {
        Misread::Squeezed => (0.6, 0.4),
        Misread::Sound => (0.8, 0.1),
        Misread::Nothing | Misread::Times => (0.9, 0.1),
    };
    let (likeness, lag) = look::correlation(&look::sound(input), &sound, reach_s);
    println!("{name}: sound {likeness:.4} alike, {lag:.4} s late");
    assert!(likeness > least, "{name}: the sound is another ({likeness}, {lag} s late)");
    let is_misread = matches!(row.misread, Misread::Sound | Misread::Squeezed);
    let follows = lag.abs() < SYNC || is_misread;
    assert!(follows, "{name}: the sound is {lag} s late");
    look::beeps(&sound)
}

/// Each flash with its beep, at both ends.
fn check_sync(row: Row, flashes: &[f64], beeps: &[f64]) {
    let name = row.name;
    assert_eq!((flashes.len(), beeps.len()), (row.events, row.events), "{name}: flashes, beeps");
    let apart: Vec<f64> = flashes.iter().zip(beeps).map(|(flash, beep)| beep - flash).collect();
    println!("{name}: beeps after flashes by {apart:.4?}");
    assert!(apart.iter().all(|by| by.abs() < SYNC), "{name}: beeps after flashes by {apart:?}");
}

#[test]
fn webm_and_matroska() {
    check_all(webm_rows::WEBM);
}

#[test]
fn mp4_and_mov() {
    check_all(mp4_rows::MP4);
}

#[test]
fn containers_of_cameras_and_broadcasts() {
    check_all(old_rows::OLD);
}

#[test]
fn times_that_are_not_as_they_should_be() {
    check_all(times_rows::TIMES);
}

#[test]
fn sound_without_pictures() {
    check_all(audio_rows::AUDIO);
}
