//! Watermark, snapshot, filmstrip and waveform: what is seen where.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{check_film, difference, ffmpeg, marked, pixels, run_transform, text, transformed};
use holdfast_core::job::{FailureKind, Report, Treatment};
use serde_json::json;

fn input(folder: &tempfile::TempDir, name: &str, source: &str, more: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    ffmpeg(&[&["-f", "lavfi", "-i", source], more, &[text(&path)]].concat());
    path
}

const VP8: &[&str] = &["-c:v", "libvpx", "-b:v", "1M", "-deadline", "realtime"];
/// With a picture and its size.
type Rgb = (Vec<u8>, usize);

fn first_frame(file: &Path, width: usize) -> Rgb {
    (pixels(file, "select=eq(n\\,0)", "rgb24"), width)
}

fn at((data, width): &Rgb, x: usize, y: usize) -> [u8; 3] {
    let i = (y * width + x) * 3;
    [data[i], data[i + 1], data[i + 2]]
}

fn is_near(a: [u8; 3], b: [u8; 3], by: u8) -> bool {
    a.iter().zip(&b).all(|(&a, &b)| a.abs_diff(b) <= by)
}

/// Left, top, right and bottom of what is more red than anything else.
fn red_box((data, width): &Rgb) -> Option<[usize; 4]> {
    let red = |i: &usize| {
        let p = &data[i * 3..i * 3 + 3];
        p[0] > 150 && p[1] < 100 && p[2] < 100
    };
    let found: Vec<(usize, usize)> =
        (0..data.len() / 3).filter(red).map(|i| (i % width, i / width)).collect();
    let (xs, ys) = (found.iter().map(|p| p.0), found.iter().map(|p| p.1));
    Some([xs.clone().min()?, ys.clone().min()?, xs.max()? + 1, ys.max()? + 1])
}

/// 80x40, red.
fn red_mark(folder: &tempfile::TempDir) -> PathBuf {
    input(folder, "red.png", "color=red:s=80x40,format=rgba", &["-frames:v", "1"])
}

#[test]
fn a_watermark_lies_where_it_is_wanted() {
    let scratch = tempfile::tempdir().unwrap();
    let mark = red_mark(&scratch);
    let source = input(&scratch, "s.webm", "color=gray:s=320x180:r=10:d=0.3", VP8);
    let near = |a: [usize; 4], b: [usize; 4]| a.iter().zip(b).all(|(&a, b)| a.abs_diff(b) <= 2);
    for (position, x, y) in [
        ("top-left", 10, 10),
        ("top", 120, 10),
        ("top-right", 230, 10),
        ("left", 10, 70),
        ("center", 120, 70),
        ("right", 230, 70),
        ("bottom-left", 10, 130),
        ("bottom", 120, 130),
        ("bottom-right", 230, 130),
    ] {
        let want = json!({"watermark": {"position": position, "margin": "10px", "width": "80px"}});
        let (_, folder) = marked(&source, &want, Some(&mark));
        let film = check_film(folder.path(), true, false);
        for file in [&film, &folder.path().join("snapshot.jpg")] {
            let seen = red_box(&first_frame(file, 320)).unwrap();
            assert!(near(seen, [x, y, x + 80, y + 40]), "{position} {file:?}: {seen:?}");
        }
        // A tile is half the size.
        let tile =
            pixels(&folder.path().join("filmstrip.jpg"), "format=rgb24,crop=160:90:0:0", "rgb24");
        let seen = red_box(&(tile, 160)).unwrap();
        assert!(near(seen, [x / 2, y / 2, x / 2 + 40, y / 2 + 20]), "{position}: {seen:?}");
    }
    // Shares: a quarter of 320 wide (never larger than it is), a tenth of 180 from the edge.
    for (width, margin, want) in
        [("12.5%", "10%", [18, 18, 58, 38]), ("100%", "0px", [0, 0, 80, 40])]
    {
        let want_json =
            json!({"watermark": {"position": "top-left", "margin": margin, "width": width}});
        let (_, folder) = marked(&source, &want_json, Some(&mark));
        let seen = red_box(&first_frame(&folder.path().join("main.mp4"), 320)).unwrap();
        assert!(near(seen, want), "{width}: {seen:?}");
    }
}

#[test]
fn a_watermarks_colours_and_how_much_is_seen_of_them() {
    let scratch = tempfile::tempdir().unwrap();
    // Red, green and blue; the lower half with half its alpha.
    let graph = "color=black:s=96x96,format=rgba,geq=r='255*lt(X,32)':g='255*between(X,32,63)':\
        b='255*gte(X,64)':a='if(lt(Y,48),255,128)'";
    let mark = input(&scratch, "m.png", graph, &["-frames:v", "1"]);
    // BT.601 and BT.709: the mark has to be in the film's own colours.
    let sd = input(&scratch, "sd.webm", "color=white:s=320x180:r=10:d=0.2", VP8);
    let tags = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"];
    let hd =
        [&["-vf", "scale=out_color_matrix=bt709,format=yuv420p", "-c:v", "libx264"][..], &tags]
            .concat();
    let hd = input(&scratch, "hd.mp4", "color=white:s=320x180:r=10:d=0.2", &hd);
    for source in [&sd, &hd] {
        for opacity in [1.0, 0.5] {
            let want = json!({"watermark":
                {"position": "top-left", "margin": "0px", "width": "96px", "opacity": opacity}});
            let (made, folder) = marked(source, &want, Some(&mark));
            assert_eq!(made.mp4.unwrap().video, Treatment::Converted);
            let frame = first_frame(&check_film(folder.path(), true, false), 320);
            for (i, colour) in
                [[255.0, 0.0, 0.0], [0.0, 255.0, 0.0], [0.0, 0.0, 255.0]].iter().enumerate()
            {
                for (y, alpha) in [(20, 1.0), (70, 128.0 / 255.0)] {
                    let seen = at(&frame, 16 + 32 * i, y);
                    let mixed = colour.map(|c: f64| {
                        (c * alpha * opacity + 255.0 * (1.0 - alpha * opacity)).round() as u8
                    });
                    assert!(
                        is_near(seen, mixed, 12),
                        "{source:?} {opacity} {i} {y}: {seen:?} not {mixed:?}"
                    );
                }
            }
            let beside = at(&frame, 200, 100);
            assert!(is_near(beside, [255; 3], 8), "{source:?}: {beside:?}");
        }
    }
}

#[test]
fn a_watermark_all_over() {
    let scratch = tempfile::tempdir().unwrap();
    let mark = red_mark(&scratch);
    let source = input(&scratch, "s.webm", "color=gray:s=320x180:r=10:d=0.3", VP8);
    let want = json!({"watermark": {"tiled": true, "margin": "20px", "width": "40px"}});
    let (_, folder) = marked(&source, &want, Some(&mark));
    let frame = first_frame(&check_film(folder.path(), true, false), 320);
    // Every 60 from 10 across, every 40 from 10 down.
    for row in 0..4 {
        for column in 0..5 {
            let (x, y) = (10 + column * 60 + 20, 10 + row * 40 + 10);
            assert!(at(&frame, x, y)[0] > 200, "{column} {row}: {:?}", at(&frame, x, y));
            assert!(is_near(at(&frame, x + 30, y), [128; 3], 12), "{:?}", at(&frame, x + 30, y));
        }
    }
}

#[test]
fn a_watermark_stands_upright_in_a_turned_film() {
    let scratch = tempfile::tempdir().unwrap();
    let mark = red_mark(&scratch);
    let plain = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];
    let flat = input(&scratch, "f.mp4", "color=gray:s=320x180:r=10:d=0.3", &plain);
    let held = scratch.path().join("held.mp4");
    common::held(&flat, &held);
    let want = json!({"watermark": {"position": "top-left", "margin": "10px", "width": "80px"}});
    let (made, folder) = marked(&held, &want, Some(&mark));
    let mp4 = made.mp4.unwrap();
    assert_eq!((mp4.width, mp4.height), (180, 320));
    for file in [check_film(folder.path(), true, false), folder.path().join("snapshot.jpg")] {
        let seen = red_box(&first_frame(&file, 180)).unwrap();
        let near = seen.iter().zip([10, 10, 90, 50]).all(|(&a, b)| a.abs_diff(b) <= 2);
        assert!(near, "{file:?} {seen:?}");
    }
}

#[test]
fn a_watermark_that_cannot_be_used_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let source = input(&scratch, "s.webm", "color=gray:s=64x64:r=10:d=0.2", VP8);
    let huge = input(&scratch, "huge.png", "color=red:s=4200x8", &["-frames:v", "1"]);
    let noise = scratch.path().join("noise.png");
    std::fs::write(&noise, vec![7; 1000]).unwrap();
    let large = scratch.path().join("large.png");
    std::fs::write(&large, vec![7; 300_000]).unwrap();
    let want = json!({"watermark": {}});
    for (file, kind, word) in [
        (Some(&huge), FailureKind::Limit, "4200x8"),
        (Some(&noise), FailureKind::Internal, "environment's watermark is no readable PNG"),
        (Some(&large), FailureKind::Limit, "256 KiB"),
        (None, FailureKind::Internal, "descriptors"),
    ] {
        let out = tempfile::tempdir().unwrap();
        let file = file.map(PathBuf::as_path);
        // Without its third descriptor a job is not taken at all: there is no report.
        if file.is_none() {
            let mut running = common::start_with(&source, out.path(), &job(&want), None);
            assert!(running.next().is_none());
            assert!(!running.child.wait().unwrap().success());
            continue;
        }
        match run_transform(&source, out.path(), &want, file) {
            Report::Failed(f) => {
                assert_eq!(f.kind, kind, "{}", f.message);
                assert!(f.message.contains(word), "{}", f.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tiny_tiles_reach_the_bottom() {
    let scratch = tempfile::tempdir().unwrap();
    let mark = input(&scratch, "m.png", "color=red:s=2x2,format=rgba", &["-frames:v", "1"]);
    let source = input(&scratch, "s.webm", "color=gray:s=320x240:r=10:d=0.2", VP8);
    for margin in ["0px", "4000px"] {
        let want = json!({"watermark": {"tiled": true, "margin": margin, "width": "2px"}});
        let (_, folder) = marked(&source, &want, Some(&mark));
        let film = check_film(folder.path(), true, false);
        let (data, _) = first_frame(&film, 320);
        let lower = &data[320 * 120 * 3..];
        let red = lower.chunks_exact(3).filter(|p| p[0] > p[2].saturating_add(20)).count();
        assert!(red > 0, "{margin}: nothing in the lower half");
    }
}

fn job(transform: &serde_json::Value) -> holdfast_core::job::Job {
    holdfast_core::job::Job {
        outputs: common::ALL,
        transform: serde_json::from_value(transform.clone()).unwrap(),
        filmstrip_link: String::new(),
        limits: holdfast_core::job::Limits::default(),
        hardware: None,
        live: false,
    }
}

/// Two seconds each of red, green and blue.
fn three_colours(folder: &tempfile::TempDir, name: &str, more: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    let source = "color=red:s=320x180:r=10:d=2[r];color=lime:s=320x180:r=10:d=2[g];\
        color=blue:s=320x180:r=10:d=2[b];[r][g][b]concat=n=3,format=yuv420p";
    ffmpeg(&[&["-filter_complex", source], more, &[text(&path)]].concat());
    path
}

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];

#[test]
fn a_snapshot_of_any_moment() {
    let scratch = tempfile::tempdir().unwrap();
    let h264 = ["-c:v", "libx264", "-g", "15", "-bf", "2"];
    // Taken over: only what is needed is decoded; and converted.
    for source in [three_colours(&scratch, "s.mp4", &h264), three_colours(&scratch, "s.webm", VP8)]
    {
        for (moment, colour) in [
            ("0s", RED),
            ("1.9s", RED),
            ("2.05s", GREEN),
            ("50%", GREEN),
            ("3.99s", GREEN),
            ("99.9%", BLUE),
            ("100%", BLUE),
            ("700s", BLUE),
        ] {
            let (made, folder) =
                transformed(&source, json!({"snapshot": {"at": moment, "max_width": 160}}));
            let snapshot = made.snapshot.unwrap();
            assert_eq!((snapshot.width, snapshot.height), (160, 90));
            let seen = at(&first_frame(&folder.path().join("snapshot.jpg"), 160), 80, 45);
            assert!(is_near(seen, colour, 12), "{source:?} {moment}: {seen:?}");
        }
    }
    let detailed = input(&scratch, "d.webm", "testsrc2=s=320x180:r=10:d=0.3", VP8);
    let bytes = |quality: u8| {
        let (made, _) = transformed(&detailed, json!({"snapshot": {"quality": quality}}));
        made.snapshot.unwrap().bytes
    };
    assert!(bytes(20) * 2 < bytes(95));
}

#[test]
fn small_pictures_have_no_borders() {
    let scratch = tempfile::tempdir().unwrap();
    let wide = input(&scratch, "w.webm", "color=white:s=320x180:r=10:d=0.2", VP8);
    let tall = input(&scratch, "t.webm", "color=white:s=90x160:r=10:d=0.2", VP8);
    let dark = |file: &Path| pixels(file, "null", "gray").iter().filter(|&&p| p < 200).count();
    for (width, size) in [(161, (161, 91)), (99, (99, 56)), (33, (33, 19))] {
        let (made, folder) = transformed(&wide, json!({"snapshot": {"max_width": width}}));
        let snapshot = made.snapshot.unwrap();
        assert_eq!((snapshot.width, snapshot.height), size);
        assert_eq!(dark(&folder.path().join("snapshot.jpg")), 0, "{width}");
    }
    let want = json!({"filmstrip": {"tiles": 2, "tile_width": 640}});
    let (made, folder) = transformed(&tall, want);
    let strip = made.filmstrip.unwrap();
    assert_eq!((strip.width, strip.height), (2 * 360, 640));
    assert_eq!(dark(&folder.path().join("filmstrip.jpg")), 0);
}

#[test]
fn a_filmstrip_in_rows_with_its_webvtt() {
    let scratch = tempfile::tempdir().unwrap();
    let source = three_colours(&scratch, "s.webm", VP8);
    let want = json!({"filmstrip": {"tiles": 6, "columns": 4, "tile_width": 64, "vtt": true}});
    let (made, folder) = transformed(&source, want);
    let strip = made.filmstrip.unwrap();
    assert_eq!((strip.width, strip.height), (256, 72));
    let picture = first_frame(&folder.path().join("filmstrip.jpg"), 256);
    for (i, colour) in [RED, RED, GREEN, GREEN, BLUE, BLUE].into_iter().enumerate() {
        let seen = at(&picture, i % 4 * 64 + 32, i / 4 * 36 + 18);
        assert!(is_near(seen, colour, 16), "{i}: {seen:?}");
    }
    assert!(is_near(at(&picture, 3 * 64, 60), [0; 3], 12), "what is left over is black");
    let text = std::fs::read_to_string(folder.path().join("filmstrip.vtt")).unwrap();
    assert_eq!(made.filmstrip_vtt, Some(text.len() as u64));
    let blocks: Vec<&str> = text.trim_end().split("\n\n").collect();
    assert_eq!(blocks[0], "WEBVTT");
    assert_eq!(blocks[1], "00:00:00.000 --> 00:00:01.000\na%20b.jpg#xywh=0,0,64,36");
    assert_eq!(blocks[6], "00:00:05.000 --> 00:00:06.000\na%20b.jpg#xywh=64,36,64,36");
    // Other people's reader agrees.
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=pts_time,duration_time", "-of", "csv=p=0"])
        .arg(folder.path().join("filmstrip.vtt"))
        .output()
        .unwrap();
    let cues = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(cues.lines().count(), 6, "{cues}");
    let (made, folder) = transformed(&source, json!({"filmstrip": {"interval_s": 4}}));
    assert_eq!(made.filmstrip.unwrap().width, 320);
    assert!(made.filmstrip_vtt.is_none() && !folder.path().join("filmstrip.vtt").exists());
}

#[test]
fn a_filmstrip_is_never_larger_than_can_be() {
    let scratch = tempfile::tempdir().unwrap();
    let more = ["-c:v", "libx264", "-g", "50", "-preset", "ultrafast"];
    let source = input(&scratch, "s.mp4", "testsrc=s=320x16:r=1:d=500", &more);
    let want = json!({"filmstrip": {"interval_s": 1, "columns": 400, "tile_width": 640}});
    let (made, folder) = transformed(&source, want);
    let strip = made.filmstrip.unwrap();
    assert_eq!((strip.width, strip.height), (102 * 640, 4 * 32));
    for word in ["500 tiles; the filmstrip has 400", "102 in a row"] {
        assert!(made.remarks.iter().any(|r| r.contains(word)), "{:?}", made.remarks);
    }
    // It can be read, and its last tile is one of the last frames.
    let tile =
        pixels(&folder.path().join("filmstrip.jpg"), "format=rgb24,crop=640:32:59520:96", "rgb24");
    let frame = pixels(&source, "select=eq(n\\,499),scale=640:32", "rgb24");
    let d = difference(&tile, &frame);
    assert!(d < 25.0, "{d}");
}

#[test]
fn sound_alone_is_drawn() {
    let scratch = tempfile::tempdir().unwrap();
    // Silence, then loud, then quiet.
    let graph = "aevalsrc='sin(2*PI*400*t)*(0.8*between(t,1,2)+0.04*gte(t,2))':d=3:s=48000";
    for (name, codec) in [("s.webm", "libopus"), ("s.m4a", "aac"), ("s.wav", "pcm_s16le")] {
        let source = input(&scratch, name, graph, &["-c:a", codec]);
        for (transform, width) in
            [(json!({}), 1280), (json!({"snapshot": {"max_width": 640}}), 640)]
        {
            let (made, folder) = transformed(&source, transform);
            check_film(folder.path(), false, true);
            let snapshot = made.snapshot.unwrap();
            assert_eq!((snapshot.width as usize, snapshot.height as usize), (width, width / 4));
            assert!(made.filmstrip.is_none());
            let picture = first_frame(&folder.path().join("snapshot.jpg"), width);
            // How much of a third of the picture is lit.
            let lit = |third: usize| {
                let from = third * width / 3 + width / 20;
                let columns = from..from + width / 5;
                let all = columns.len() * width / 4;
                let bright = columns
                    .flat_map(|x| (0..width / 4).map(move |y| (x, y)))
                    .filter(|&(x, y)| at(&picture, x, y)[2] > 110)
                    .count();
                bright as f64 / all as f64
            };
            let lit = [lit(0), lit(1), lit(2)];
            assert!(lit[0] < 0.06 && lit[1] > 0.35, "{name} {lit:?}");
            assert!(lit[2] > lit[0] && lit[2] < lit[1] / 2.0, "{name} {lit:?}");
        }
    }
}

#[test]
fn a_transform_from_the_command_line() {
    let scratch = tempfile::tempdir().unwrap();
    let source = input(&scratch, "s.webm", "color=gray:s=64x64:r=10:d=0.2", VP8);
    let mark = red_mark(&scratch);
    let run = |transform: &str| {
        let path = scratch.path().join("t.json");
        std::fs::write(&path, transform).unwrap();
        Command::new(env!("CARGO_BIN_EXE_holdfast-transcode"))
            .args(["--input", text(&source), "--output"])
            .arg(scratch.path().join("out"))
            .args(["--transform", text(&path), "--watermark", text(&mark)])
            .output()
            .unwrap()
    };
    let out = run(r#"{"watermark": {}, "video": {"size": "fit", "max_width": 32}}"#);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let seen = red_box(&first_frame(&scratch.path().join("out/main.mp4"), 32));
    assert!(seen.is_some());
    for (wrong, word) in
        [(r#"{"vidoe": {}}"#, "vidoe"), (r#"{"video": {"size": "fit"}}"#, "video.size")]
    {
        let out = run(wrong);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(word), "{said}");
    }
}
