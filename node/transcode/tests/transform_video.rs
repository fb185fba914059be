//! What is wanted of a film's picture, looked at through ffmpeg's eyes.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::{Path, PathBuf};

use common::{
    check_film, difference, ffmpeg, ffprobe, frame_sizes, likeness, media, packet_hashes, pixels,
    span, text, times, transformed,
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

/// Width and height that players show.
fn size(file: &Path) -> (u64, u64) {
    let streams = ffprobe(file, &["-select_streams", "v", "-show_streams"]);
    let s = &streams["streams"][0];
    (s["width"].as_u64().unwrap(), s["height"].as_u64().unwrap())
}

#[test]
fn all_eight_orientations() {
    let scratch = tempfile::tempdir().unwrap();
    let source = "testsrc=s=192x128:r=10:d=0.3";
    let upright = input(&scratch, "u.webm", source, VP8);
    let plain = input(&scratch, "p.mp4", source, H264);
    // Held sideways: players turn it by the matrix in the file.
    let held = scratch.path().join("held.mp4");
    common::held(&plain, &held);
    let turns = [(0, "null"), (90, "transpose=1"), (180, "hflip,vflip"), (270, "transpose=2")];
    for (recording, turn_count) in [(&upright, 4), (&held, 1)] {
        for (degrees, turn) in turns.iter().take(turn_count) {
            for (flip, mirror) in [("none", "null"), ("horizontal", "hflip"), ("vertical", "vflip")]
            {
                // Turned, mirroring the other way is one of the others again.
                if flip == "vertical" && *degrees != 0 {
                    continue;
                }
                let (made, folder) =
                    transformed(recording, json!({"video": {"rotate": degrees, "flip": flip}}));
                let name = format!("{} {degrees} {flip}", recording.display());
                // What ffmpeg makes of the recording, which it turns by its matrix itself.
                let want = format!("{turn},{mirror}");
                let film = folder.path().join("main.mp4");
                let seen = likeness(&film, recording, &want);
                assert!(seen > 0.95, "{name}: {seen}");
                let remuxed = recording == &held && flip == "none";
                let treatment = if remuxed { Treatment::Remuxed } else { Treatment::Converted };
                assert_eq!(made.mp4.unwrap().video, treatment, "{name}");
                let first = format!("{want},select=eq(n\\,0)");
                let reference = pixels(recording, &first, "rgb24");
                let snapshot = pixels(&folder.path().join("snapshot.jpg"), "null", "rgb24");
                let d = difference(&snapshot, &reference);
                assert!(d < 8.0, "{name}: snapshot {d}");
                let tall = made.filmstrip.unwrap().height;
                let tile = pixels(
                    &folder.path().join("filmstrip.jpg"),
                    &format!("format=rgb24,crop=160:{tall}:0:0"),
                    "rgb24",
                );
                let small = format!("{first},scale=160:{tall}");
                let d = difference(&tile, &pixels(recording, &small, "rgb24"));
                assert!(d < 12.0, "{name}: tile {d}");
            }
        }
    }
}

#[test]
fn turning_alone_takes_the_picture_over() {
    let scratch = tempfile::tempdir().unwrap();
    let source = input(&scratch, "s.mp4", "testsrc=s=192x128:r=10:d=1", H264);
    let (made, folder) = transformed(&source, json!({"video": {"rotate": 90}}));
    let film = check_film(folder.path(), true, false);
    assert_eq!(packet_hashes(&source, "0:v"), packet_hashes(&film, "0:v"));
    let mp4 = made.mp4.unwrap();
    assert_eq!((mp4.width, mp4.height), (128, 192));
    assert!(likeness(&film, &source, "transpose=1") > 0.99);
}

#[test]
fn fitted_into_limits() {
    let scratch = tempfile::tempdir().unwrap();
    let wide = input(&scratch, "w.webm", "testsrc=s=320x180:r=10:d=0.6", VP8);
    let odd = input(&scratch, "o.webm", "testsrc=s=321x181:r=10:d=0.6", VP8);
    // Pixels that are not square: shown as 384x288.
    let anamorphic = [&["-vf", "setsar=16/15"], H264].concat();
    let anamorphic = input(&scratch, "a.mp4", "testsrc=s=360x288:r=10:d=0.6", &anamorphic);
    for (recording, limits, want) in [
        (&wide, json!({"max_width": 160}), (160, 90)),
        (&wide, json!({"max_width": 200, "max_height": 90}), (160, 90)),
        (&wide, json!({"max_width": 100}), (100, 56)),
        (&wide, json!({"max_width": 1000, "max_height": 1000}), (320, 180)),
        (&odd, json!({"max_width": 160}), (160, 90)),
        (&odd, json!({"max_width": 640}), (320, 180)),
        (&anamorphic, json!({"max_width": 192}), (192, 144)),
    ] {
        let mut video = limits.clone();
        video["size"] = json!("fit");
        let (made, folder) = transformed(recording, json!({"video": video}));
        let film = check_film(folder.path(), true, false);
        assert_eq!(size(&film), want, "{limits}");
        let mp4 = made.mp4.unwrap();
        assert_eq!((u64::from(mp4.width), u64::from(mp4.height)), want);
        let seen = likeness(&film, recording, &format!("scale={}:{},setsar=1", want.0, want.1));
        assert!(seen > 0.93, "{} {limits}: {seen}", recording.display());
    }
}

#[test]
fn a_smaller_film_is_taken_over() {
    let scratch = tempfile::tempdir().unwrap();
    let source = input(&scratch, "s.mp4", "testsrc=s=320x180:r=10:d=1", H264);
    let fit = json!({"video": {"size": "fit", "max_width": 640, "max_height": 180}});
    let (made, folder) = transformed(&source, fit);
    assert_eq!(made.mp4.unwrap().video, Treatment::Remuxed);
    let film = check_film(folder.path(), true, false);
    assert_eq!(packet_hashes(&source, "0:v"), packet_hashes(&film, "0:v"));
}

#[test]
fn cut_about_the_middle() {
    let scratch = tempfile::tempdir().unwrap();
    let source = input(&scratch, "s.webm", "testsrc=s=320x180:r=10:d=0.6", VP8);
    for (aspect, max, want, filter) in [
        ("1:1", json!(null), (180, 180), "crop=180:180:70:0"),
        ("9:16", json!(64), (64, 114), "format=yuv444p,crop=100:180:110:0,scale=64:114"),
        ("100:10", json!(null), (320, 32), "crop=320:32:0:74"),
    ] {
        let video = json!({"size": "crop", "aspect": aspect, "max_width": max});
        let (made, folder) = transformed(&source, json!({"video": video}));
        let film = check_film(folder.path(), true, false);
        assert_eq!(size(&film), want, "{aspect}");
        let seen = likeness(&film, &source, filter);
        assert!(seen > 0.93, "{aspect}: {seen}");
        let snapshot = made.snapshot.unwrap();
        assert_eq!((u64::from(snapshot.width), u64::from(snapshot.height)), want);
    }
}

#[test]
fn sizes_that_change_in_the_middle() {
    let source = media("reschange_vp8.webm");
    let scratch = tempfile::tempdir().unwrap();
    let short = scratch.path().join("s.webm");
    ffmpeg(&["-i", text(&source), "-c", "copy", "-t", "7", text(&short)]);
    let sizes = frame_sizes(&short);
    assert!(sizes.len() > 1, "{sizes:?}");
    for (video, want) in [
        (json!({"size": "fit", "max_width": 320}), None),
        (json!({"size": "crop", "aspect": "1:1", "max_width": 200}), Some((200, 200))),
    ] {
        let (_, folder) = transformed(&short, json!({"video": video}));
        let film = check_film(folder.path(), true, true);
        let is = size(&film);
        assert!(is.0 <= 320 && want.is_none_or(|w| w == is), "{is:?}");
        let (before, after) = (span(&short, "v").unwrap(), span(&film, "v").unwrap());
        assert_eq!(before.packets, after.packets);
        // The last frame (its container says that its colours have full range), against what ffmpeg makes of the recording's last.
        let (w, h) = is;
        let filter = match want {
            Some(_) => "setparams=range=pc,crop='min(iw,ih)':'min(iw,ih)',scale=200:200".to_owned(),
            None => format!(
                "setparams=range=pc,scale={w}:{h}:force_original_aspect_ratio=decrease,pad={w}:{h}:(ow-iw)/2:(oh-ih)/2"
            ),
        };
        let last = |file: &Path, filter: &str| {
            let all = pixels(file, filter, "gray");
            all[all.len() - (w * h) as usize..].to_vec()
        };
        let d = difference(&last(&film, "null"), &last(&short, &filter));
        assert!(d < 6.0, "{video}: {d}");
    }
}

#[test]
fn a_size_smaller_than_what_was_cut_off() {
    let scratch = tempfile::tempdir().unwrap();
    let part = |name: &str, size: &str, start: &str| {
        let source = format!("testsrc=s={size}:r=10:d=0.5");
        let more = [H264, &["-bf", "0", "-muxdelay", "0", "-output_ts_offset", start]].concat();
        std::fs::read(input(&scratch, name, &source, &more)).unwrap()
    };
    // 875 columns are cut off the first, more than the second has.
    let both = [part("a.ts", "1280x720", "0"), part("b.ts", "320x180", "0.5")].concat();
    let source = scratch.path().join("s.ts");
    std::fs::write(&source, both).unwrap();
    let crop = json!({"size": "crop", "aspect": "9:16"});
    let (made, folder) = transformed(&source, json!({"video": crop}));
    let film = check_film(folder.path(), true, false);
    assert_eq!(size(&film), (404, 720));
    assert_eq!(times(&film).len(), 10, "{:?}", made.remarks);
    let last = pixels(&film, "select=eq(n\\,9)", "rgb24");
    let want = pixels(
        &scratch.path().join("b.ts"),
        "select=eq(n\\,4),crop=100:180:110:0,scale=404:720:flags=bilinear",
        "rgb24",
    );
    let d = difference(&last, &want);
    assert!(d < 8.0, "{d}");
}

#[test]
fn a_small_film_is_cut_without_borders() {
    let scratch = tempfile::tempdir().unwrap();
    for (from, aspect) in [("64x48", "9:16"), ("62x48", "1:1"), ("90x61", "4:3"), ("61x90", "9:16")]
    {
        let source = input(&scratch, "s.webm", &format!("color=white:s={from}:r=10:d=0.2"), VP8);
        let video = json!({"size": "crop", "aspect": aspect});
        let (_, folder) = transformed(&source, json!({"video": video}));
        let film = pixels(&check_film(folder.path(), true, false), "null", "gray");
        assert!(film.iter().all(|&p| p > 200), "{from} {aspect}");
    }
}

#[test]
fn quality_costs_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let noisy = "testsrc2=s=320x240:r=15:d=2,noise=alls=12:allf=t";
    let source = input(&scratch, "s.webm", noisy, VP8);
    let made = |quality: &str| {
        let (made, folder) = transformed(&source, json!({"video": {"quality": quality}}));
        let seen = likeness(&check_film(folder.path(), true, false), &source, "null");
        (made.mp4.unwrap().bytes as f64, seen)
    };
    let (small, standard, high) = (made("small"), made("standard"), made("high"));
    assert!(
        small.0 < standard.0 * 0.85 && standard.0 < high.0 * 0.85,
        "{small:?} {standard:?} {high:?}"
    );
    assert!(small.1 < standard.1 && standard.1 < high.1, "{small:?} {standard:?} {high:?}");
}

#[test]
fn high_dynamic_range_becomes_what_every_screen_shows() {
    let scratch = tempfile::tempdir().unwrap();
    let plain = scratch.path().join("plain.png");
    let bars = "testsrc=s=160x96:r=10:d=0.3";
    ffmpeg(&["-f", "lavfi", "-i", bars, "-frames:v", "1", text(&plain)]);
    let want = pixels(&plain, "null", "rgb24");
    // The same picture, its white as bright as paper, as phones write it: HEVC, 10 bits, BT.2020.
    // (zimg puts HLG's gamma on each colour alone instead of on their brightness, so its HLG is paler.)
    for (curve, most) in [("smpte2084", 32.0), ("arib-std-b67", 45.0)] {
        let convert = format!(
            "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p,zscale=min=709:tin=709:\
             pin=709:rin=tv:m=2020_ncl:t={curve}:p=2020:npl=203,format=yuv420p10le"
        );
        let codec =
            format!("log-level=0:colorprim=bt2020:transfer={curve}:colormatrix=bt2020nc:crf=10");
        let more = ["-vf", &convert, "-c:v", "libx265", "-x265-params", &codec];
        let recording = input(&scratch, &format!("{curve}.mp4"), bars, &more);
        let (made, folder) = transformed(&recording, json!({}));
        let film = check_film(folder.path(), true, false);
        assert_eq!(made.source.video.unwrap().codec, "h265");
        let streams = ffprobe(&film, &["-select_streams", "v", "-show_streams"]);
        let s = &streams["streams"][0];
        for (key, value) in [
            ("pix_fmt", "yuv420p"),
            ("color_space", "bt709"),
            ("color_transfer", "bt709"),
            ("color_primaries", "bt709"),
        ] {
            assert_eq!(s[key], value, "{curve} {key}");
        }
        // Nearly as it was before it was HDR; what is not brought down looks pale and dark.
        let first = "select=eq(n\\,0)";
        let untouched = difference(&pixels(&recording, first, "rgb24"), &want);
        for file in [&film, &folder.path().join("snapshot.jpg")] {
            let d = difference(&pixels(file, first, "rgb24"), &want);
            assert!(
                d < most && d < untouched * 0.7,
                "{curve} {file:?}: {d}, untouched {untouched}"
            );
        }
    }
}

#[test]
fn a_mirrored_recording_is_shown_as_it_was_meant() {
    let scratch = tempfile::tempdir().unwrap();
    let source = input(&scratch, "s.mp4", "testsrc=s=192x128:r=10:d=0.3", H264);
    let plain = std::fs::read(&source).unwrap();
    let tkhd = plain.windows(4).position(|w| w == b"tkhd").unwrap();
    // Version 0: the matrix comes 36 bytes behind the box's head and version.
    let matrix = tkhd + 4 + 40;
    let one = 0x1_0000i32;
    for ([a, b, c, d], filter) in [
        ([-one, 0, 0, one], "hflip"),
        ([one, 0, 0, -one], "vflip"),
        ([0, one, one, 0], "transpose=0"),
    ] {
        let mut bytes = plain.clone();
        for (i, value) in [a, b, 0, c, d, 0].into_iter().enumerate() {
            bytes[matrix + i * 4..][..4].copy_from_slice(&value.to_be_bytes());
        }
        let mirrored = scratch.path().join("m.mp4");
        std::fs::write(&mirrored, bytes).unwrap();
        let (made, folder) = transformed(&mirrored, json!({}));
        let film = check_film(folder.path(), true, false);
        let seen = likeness(&film, &source, filter);
        assert!(seen > 0.95, "{filter}: {seen}");
        assert_eq!(made.mp4.unwrap().video, Treatment::Converted);
        let snapshot = pixels(&folder.path().join("snapshot.jpg"), "null", "rgb24");
        let d =
            difference(&snapshot, &pixels(&source, &format!("{filter},select=eq(n\\,0)"), "rgb24"));
        assert!(d < 8.0, "{filter}: snapshot {d}");
    }
}
