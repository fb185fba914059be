//! What is wanted of a film's frame rate, looked at through ffmpeg's eyes.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::{Path, PathBuf};

use common::{
    check_film, ffmpeg, ffprobe, likeness, media, packet_hashes, pixels, shown, span, text, times,
    transformed,
};
use holdfast_core::job::Treatment;
use serde_json::json;

fn input(folder: &tempfile::TempDir, name: &str, source: &str, more: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    ffmpeg(&[&["-f", "lavfi", "-i", source], more, &[text(&path)]].concat());
    path
}

const VP8: &[&str] = &["-c:v", "libvpx", "-b:v", "4M", "-deadline", "realtime"];
const H264: &[&str] =
    &["-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-pix_fmt", "yuv420p"];

/// Distances of a stream's frames in ticks of its own clock.
fn distances(film: &Path) -> Vec<i64> {
    let json = ffprobe(film, &["-select_streams", "v:0", "-show_entries", "packet=pts"]);
    let packets = json["packets"].as_array().unwrap();
    let mut at: Vec<i64> = packets.iter().map(|p| p["pts"].as_i64().unwrap()).collect();
    at.sort_unstable();
    at.windows(2).map(|w| w[1] - w[0]).collect()
}

/// Times and brightness of frames, in showing order.
fn seen(file: &Path) -> Vec<(f64, u8)> {
    let grey = pixels(file, "scale=1:1:flags=area", "gray");
    let at = times(file);
    assert_eq!(at.len(), grey.len());
    at.into_iter().zip(grey).collect()
}

#[test]
fn frames_are_left_out_and_the_others_keep_their_times() {
    let scratch = tempfile::tempdir().unwrap();
    let source = input(
        &scratch,
        "s.mp4",
        "testsrc=s=160x120:r=60:d=3",
        &[&["-f", "lavfi", "-i", "sine=d=3", "-c:a", "aac", "-shortest"], H264].concat(),
    );
    for (max, count) in [(30, 90), (25, 75), (7, 21)] {
        let (made, folder) = transformed(&source, json!({"video": {"max_fps": max}}));
        let film = check_film(folder.path(), true, true);
        let (have, all) = (times(&film), times(&source));
        assert!(have.len().abs_diff(count) <= 1, "{max}: {}", have.len());
        let nearest = |t: f64| all.iter().map(|a| (a - t).abs()).fold(1.0, f64::min);
        assert!(have.iter().all(|&t| nearest(t) < 0.0011), "{have:?}");
        // The film is as long as before, and its sound is the same.
        let (_, end) = shown(&film, "v");
        assert!((end - 3.0).abs() < 0.03, "{max}: ends at {end}");
        let mp4 = made.mp4.unwrap();
        assert_eq!((mp4.video, mp4.audio), (Treatment::Converted, Treatment::Remuxed));
        // (What the edit list cuts at both ends may be gone.)
        let (all, have) = (packet_hashes(&source, "0:a"), packet_hashes(&film, "0:a"));
        assert!(
            all.windows(have.len()).any(|w| w == have) && all.len() - have.len() <= 2,
            "{} {}",
            all.len(),
            have.len()
        );
    }
    let (made, _folder) = transformed(&source, json!({"video": {"max_fps": 60}}));
    assert_eq!(made.mp4.unwrap().video, Treatment::Remuxed);
}

#[test]
fn even_distances_of_a_browsers_frames() {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("s.webm");
    // 10 to 560 ms between frames.
    ffmpeg(&["-i", text(&media("vp8.webm")), "-c", "copy", "-t", "4", text(&source)]);
    let small = json!({"size": "fit", "max_width": 160, "constant_fps": true, "max_fps": 25});
    let (made, folder) = transformed(&source, json!({"video": small}));
    let film = check_film(folder.path(), true, true);
    let steps = distances(&film);
    assert!(steps.iter().all(|&s| s == steps[0]), "{steps:?}");
    let (v_in, a_in) = (span(&source, "v").unwrap(), span(&source, "a").unwrap());
    let base = v_in.first.min(a_in.first);
    let (start, end) = shown(&film, "v");
    assert!((start - (v_in.first - base)).abs() < 0.04, "{start} {v_in:?}");
    assert!((end - (v_in.end - base)).abs() < 0.1, "{end} {v_in:?} {made:?}");
    let expected = ((v_in.end - v_in.first) * 25.0).round() as usize;
    assert!((steps.len() + 1).abs_diff(expected) <= 1, "{} {expected}", steps.len());
}

#[test]
fn even_distances_show_the_same_at_the_same_time() {
    let scratch = tempfile::tempdir().unwrap();
    // Every third frame and a whole half second are missing.
    let uneven = "testsrc=s=160x120:r=30:d=3,select=mod(n\\,3)*not(between(n\\,30\\,45))";
    let source = input(&scratch, "s.webm", uneven, &[&["-vsync", "vfr"], VP8].concat());
    for (max, step) in [(Some(30), 1.0 / 30.0), (None, 0.0)] {
        let video = json!({"constant_fps": true, "max_fps": max});
        let (_, folder) = transformed(&source, json!({"video": video}));
        let film = check_film(folder.path(), true, false);
        let steps = distances(&film);
        assert!(steps.iter().all(|&s| s == steps[0]), "{steps:?}");
        let at = times(&film);
        if step > 0.0 {
            assert!((at[1] - at[0] - step).abs() < 1e-4, "{at:?}");
            // testsrc moves: a frame that is late by much looks different.
            let seen = likeness(&film, &source, "fps=30:start_time=0");
            assert!(seen > 0.96, "{seen}");
        }
        let (source_span, (_, end)) = (span(&source, "v").unwrap(), shown(&film, "v"));
        assert!((end - (source_span.end - source_span.first)).abs() < 0.1, "{end}");
    }
}

#[test]
fn even_h264_is_taken_over() {
    let scratch = tempfile::tempdir().unwrap();
    let more = [H264, &["-bf", "2"]].concat();
    let source = input(&scratch, "s.mp4", "testsrc=s=160x120:r=25:d=2", &more);
    let (made, folder) = transformed(&source, json!({"video": {"constant_fps": true}}));
    assert_eq!(made.mp4.unwrap().video, Treatment::Remuxed);
    let film = check_film(folder.path(), true, false);
    assert_eq!(packet_hashes(&source, "0:v"), packet_hashes(&film, "0:v"));
    let steps = distances(&film);
    assert!(steps.iter().all(|&s| s == steps[0]), "{steps:?}");
    // At another rate it is not.
    let video = json!({"constant_fps": true, "max_fps": 20});
    let (made, folder) = transformed(&source, json!({"video": video}));
    assert_eq!(made.mp4.unwrap().video, Treatment::Converted);
    assert_eq!(times(&folder.path().join("main.mp4")).len(), 40);
}

#[test]
fn steps_that_change_a_little_are_not_taken_for_even_ones() {
    let scratch = tempfile::tempdir().unwrap();
    // 16 ms from frame to frame, then 17: counted at their average, those in the middle would be 150 ms
    // late. The brightness tells a frame's number.
    let source = "color=black:s=32x32:r=60:d=10,geq=lum='16+mod(N*4,208)':cb=128:cr=128,\
        settb=1/1000,setpts='if(lt(N,300),N*16,4800+(N-300)*17)'";
    let more =
        ["-vsync", "passthrough", "-enc_time_base", "1/1000", "-video_track_timescale", "1000"];
    let more = [&more[..], H264].concat();
    let source = input(&scratch, "s.mp4", source, &more);
    let counts = |ms: i64| distances(&source).iter().filter(|&&s| s == ms).count();
    assert_eq!((counts(16), counts(17)), (300, 299));
    let (made, folder) = transformed(&source, json!({"video": {"constant_fps": true}}));
    let film = check_film(folder.path(), true, false);
    assert_eq!(made.mp4.unwrap().video, Treatment::Converted);
    let steps = distances(&film);
    assert!(steps.iter().all(|&s| s == steps[0]), "{steps:?}");
    let (before, after) = (seen(&source), seen(&film));
    for (t, grey) in after {
        // The frame that shows then or a step before or after.
        let near = before.iter().filter(|(at, _)| (at - t).abs() < 0.04);
        assert!(near.clone().any(|(_, g)| g.abs_diff(grey) <= 2), "{t} {grey} {near:?}");
    }
}

#[test]
fn slow_recordings_at_even_distances() {
    let scratch = tempfile::tempdir().unwrap();
    for (step, count) in [("3", 12), ("30", 120)] {
        let source =
            format!("color=black:s=32x32:r=1/{step}:d={count},geq=lum='40+N*50':cb=128:cr=128");
        let name = format!("{step}.mp4");
        let source = input(&scratch, &name, &source, &[H264, &["-bf", "0"]].concat());
        let before = seen(&source);
        assert_eq!(before.len(), 4);
        let (made, folder) = transformed(&source, json!({"video": {"constant_fps": true}}));
        let film = check_film(folder.path(), true, false);
        assert_eq!(made.mp4.unwrap().video, Treatment::Converted);
        let steps = distances(&film);
        assert!(steps.iter().all(|&s| s == steps[0]), "{step} {steps:?}");
        let (start, end) = shown(&film, "v");
        let after = end - before[3].0;
        assert!(start.abs() < 0.1 && (0.0..=1.01).contains(&after), "{step}: {end}");
        // What shows at a time is what showed then, but for one step of a second.
        for (t, grey) in seen(&film) {
            let shows = |at: f64| before.iter().rfind(|(from, _)| *from <= at).map(|f| f.1);
            let near = [shows(t - 1.0), shows(t), shows(t + 1.0)];
            assert!(
                near.iter().flatten().any(|g| g.abs_diff(grey) <= 3),
                "{step} {t}: {grey} {near:?}"
            );
        }
    }
}

#[test]
fn even_h264_in_matroska_is_taken_over() {
    let scratch = tempfile::tempdir().unwrap();
    let more = [H264, &["-bf", "3"]].concat();
    let source = input(&scratch, "s.mkv", "testsrc=s=160x120:r=30:d=2", &more);
    let (made, folder) = transformed(&source, json!({"video": {"constant_fps": true}}));
    assert_eq!(made.mp4.unwrap().video, Treatment::Remuxed);
    let film = check_film(folder.path(), true, false);
    assert_eq!(packet_hashes(&source, "0:v"), packet_hashes(&film, "0:v"));
    let steps = distances(&film);
    assert!(steps.iter().all(|&s| s == steps[0]), "{steps:?}");
}

#[test]
fn a_frame_shows_until_the_next_one_comes() {
    let scratch = tempfile::tempdir().unwrap();
    // Screens that hardly change: one frame a second, among sixty.
    let slow = "color=black:s=32x32:r=1:d=3,geq=lum='40+N*70':cb=128:cr=128";
    for (name, codec) in [("s.webm", VP8), ("s.mp4", H264)] {
        let source = input(&scratch, name, slow, codec);
        let even = json!({"constant_fps": true, "max_fps": 60});
        let (_, folder) = transformed(&source, json!({"video": even}));
        let film = check_film(folder.path(), true, false);
        let steps = distances(&film);
        assert!(steps.iter().all(|&s| s == steps[0]), "{steps:?}");
        let (before, frames) = (seen(&source), seen(&film));
        assert_eq!(frames.len(), 180, "{name}");
        for (t, grey) in frames {
            let shows = |at: f64| before[at.floor().clamp(0.0, 2.0) as usize].1;
            let near = [shows(t - 0.017), shows(t + 0.017)];
            assert!(near.iter().any(|want| want.abs_diff(grey) <= 4), "{name} {t}: {grey}");
        }
    }
}
