//! Recordings in containers that browsers do not write but people send in.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::path::{Path, PathBuf};

use common::{check_film, fail, ffmpeg, make, packet_hashes, shown, span, text};
use holdfast_core::job::{FailureKind, Made, Treatment};

const SOUND: &[&str] = &["-f", "lavfi", "-i", "sine=d=5"];
const FILM: &[&str] =
    &["-f", "lavfi", "-i", "testsrc=s=320x240:r=25:d=5", "-f", "lavfi", "-i", "sine=d=5"];

fn made(folder: &tempfile::TempDir, name: &str, source: &[&str], more: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    ffmpeg(&[source, more, &[text(&path)]].concat());
    path
}

/// Five seconds of what was asked for, by the report and by ffprobe.
fn check(input: &Path, container: &str, video: Option<&str>, audio: &str) -> (Made, PathBuf) {
    let (made, folder) = make(input);
    let film = check_film(folder.path(), video.is_some(), true);
    let name = input.display();
    assert_eq!(made.source.container, container, "{name}");
    assert_eq!(made.source.video.as_ref().map(|v| v.codec.as_str()), video, "{name}");
    assert_eq!(made.source.audio.as_ref().map(|a| a.codec.as_str()), Some(audio), "{name}");
    let mp4 = made.mp4.as_ref().unwrap();
    assert!(mp4.duration_ms.abs_diff(5_000) < 100, "{name}: {} ms", mp4.duration_ms);
    let (start, end) = shown(&film, "a");
    assert!(start.abs() < 0.1 && (end - 5.0).abs() < 0.1, "{name}: sound {start} to {end}");
    if video.is_some() {
        let v = span(&film, "v").unwrap();
        assert_eq!(v.packets, 125, "{name}: {:?}", made.remarks);
        assert!(v.first.abs() < 0.1 && (v.end - 5.0).abs() < 0.1, "{name}: {v:?}");
        assert!(made.snapshot.is_some() && made.filmstrip.is_some(), "{name}");
    }
    // Keeps the film beside the recording; the output's own folder goes away here.
    let kept = input.with_extension("film.mp4");
    std::fs::copy(film, &kept).unwrap();
    (made, kept)
}

#[test]
fn wav() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, codec, told) in [
        ("s16.wav", "pcm_s16le", "pcm"),
        ("u8.wav", "pcm_u8", "pcm"),
        ("f32.wav", "pcm_f32le", "pcm"),
        ("alaw.wav", "pcm_alaw", "alaw"),
    ] {
        let input = made(&scratch, name, SOUND, &["-c:a", codec]);
        let (made, _) = check(&input, "wav", None, told);
        assert_eq!(made.mp4.unwrap().audio, Treatment::Converted);
    }
}

#[test]
fn a_cut_wav_keeps_what_there_is() {
    let scratch = tempfile::tempdir().unwrap();
    let input = made(&scratch, "cut.wav", SOUND, &["-c:a", "pcm_s16le"]);
    let bytes = std::fs::read(&input).unwrap();
    std::fs::write(&input, &bytes[..bytes.len() * 3 / 5]).unwrap();
    let (made, _folder) = make(&input);
    assert!(made.mp4.unwrap().duration_ms.abs_diff(3_000) < 100);
}

#[test]
fn mp3_with_and_without_tags() {
    let scratch = tempfile::tempdir().unwrap();
    let lame = ["-c:a", "libmp3lame"];
    let tagged = [&lame[..], &["-metadata", "title=A talk"]].concat();
    let plain = [&lame[..], &["-id3v2_version", "0", "-write_xing", "0"]].concat();
    check(&made(&scratch, "tagged.mp3", SOUND, &tagged), "mp3", None, "mp3");
    let plain = made(&scratch, "plain.mp3", SOUND, &plain);
    check(&plain, "mp3", None, "mp3");
    // A tag longer than anything the head shows: a cover with the mark of a frame in it.
    let cover = vec![0xff; 200 * 128];
    let mut bytes = b"ID3\x03\0\0\0\x01\x48\0".to_vec();
    bytes.extend(&cover);
    bytes.extend(std::fs::read(&plain).unwrap());
    let covered = scratch.path().join("covered.mp3");
    std::fs::write(&covered, bytes).unwrap();
    check(&covered, "mp3", None, "mp3");
}

#[test]
fn adts_is_taken_over() {
    let scratch = tempfile::tempdir().unwrap();
    let input = made(&scratch, "talk.aac", SOUND, &["-c:a", "aac"]);
    let (made, film) = check(&input, "adts", None, "aac");
    assert_eq!(made.mp4.unwrap().audio, Treatment::Remuxed);
    let raw = scratch.path().join("raw.mp4");
    ffmpeg(&["-i", text(&input), "-c", "copy", "-bsf:a", "aac_adtstoasc", text(&raw)]);
    assert_eq!(packet_hashes(&raw, "0:a"), packet_hashes(&film, "0:a"));
}

#[test]
fn windows_media() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, video, audio, told) in
        [("a.wmv", "wmv2", "wmav2", "wma2"), ("b.wmv", "wmv1", "wmav1", "wma1")]
    {
        let input = made(&scratch, name, FILM, &["-c:v", video, "-c:a", audio]);
        check(&input, "asf", Some(video), told);
    }
}

#[test]
fn program_streams() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, codec, format) in [("a.mpg", "mpeg2video", "vob"), ("b.mpg", "mpeg1video", "mpeg")] {
        let more = ["-c:v", codec, "-bf", "2", "-c:a", "mp2", "-f", format];
        check(&made(&scratch, name, FILM, &more), "mpegps", Some("mpeg2"), "mp2");
    }
}

#[test]
fn interlaced_pictures() {
    let scratch = tempfile::tempdir().unwrap();
    let more = ["-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-c:a", "mp2", "-f", "vob"];
    check(&made(&scratch, "i.mpg", FILM, &more), "mpegps", Some("mpeg2"), "mp2");
}

#[test]
fn a_codec_that_is_not_on_the_list_is_a_typed_failure() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, codec, format) in [
        ("a.mov", "svq1", "yuv410p"),
        ("b.avi", "msvideo1", "rgb555le"),
        ("c.mov", "qtrle", "rgb24"),
        ("d.mkv", "ffv1", "yuv420p"),
    ] {
        let alone = ["-an", "-c:v", codec, "-pix_fmt", format];
        let input = made(&scratch, name, FILM, &alone);
        let (kind, message) = fail(&input);
        assert_eq!(kind, FailureKind::Unsupported, "{codec}: {message}");
        assert!(message.contains("cannot read streams of the kind video/"), "{codec}: {message}");
        // Its sound is worth something without it.
        let with_sound = ["-c:v", codec, "-pix_fmt", format, "-c:a", "pcm_s16le"];
        let (made, _folder) = make(&made(&scratch, name, FILM, &with_sound));
        let said = made.remarks.iter().any(|it| it.contains("was left out"));
        assert!(said && made.source.video.is_none(), "{codec}: {:?}", made.remarks);
        assert!(made.mp4.unwrap().duration_ms > 1_000, "{codec}");
    }
}

#[test]
fn a_magic_number_before_noise_is_a_typed_failure() {
    let scratch = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = std::iter::successors(Some(7u64), |&x| {
        let x = x ^ (x << 13);
        let x = x ^ (x >> 7);
        Some(x ^ (x << 17))
    })
    .take(200_000)
    .map(|x| x as u8)
    .collect();
    for head in [
        &b"RIFF\x10\0\0\0WAVEfmt "[..],
        b"RIFX\x10\0\0\0WAVEfmt ",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c",
        b"\0\0\x01\xba",
        b"ID3\x03\0\0\0\0\0\0",
        b"ID3\x03\0\0\x7f\x7f\x7f\x7f",
        b"ID3\x03\0\0\0\0\0\0\xff\xf1",
    ] {
        let path = scratch.path().join("noise");
        std::fs::write(&path, [head, &noise].concat()).unwrap();
        let (kind, message) = fail(&path);
        let typed =
            [FailureKind::NoMedia, FailureKind::Unsupported, FailureKind::Damaged].contains(&kind);
        assert!(typed, "{head:02x?}: {kind:?} {message}");
    }
}
