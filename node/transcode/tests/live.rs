//! Recordings that are transcoded while they come in: what comes of them is what comes of the whole.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use common::{
    ALL, Running, ffmpeg, ffprobe, job, likeness, make, media, packet_hashes, start, text,
};
use holdfast_core::job::{FailureKind, Fed, Job, Limits, Made, Report};
use holdfast_core::transform::Transform;
use nix::sys::socket::{MsgFlags, send};
use serde_json::{Value, json};

fn live(transform: &Value) -> Job {
    let transform: Transform = serde_json::from_value(transform.clone()).unwrap();
    Job { live: true, transform, ..job(ALL, Limits::default()) }
}

/// A raw file as a node has it: what is not durable yet is there already, and wrong.
struct Growing {
    file: File,
    path: PathBuf,
    bytes: Vec<u8>,
    durable: usize,
}

impl Growing {
    fn new(folder: &Path, whole: &Path) -> Self {
        let (path, bytes) = (folder.join("raw"), std::fs::read(whole).unwrap());
        let file = File::create(&path).unwrap();
        let wrong: Vec<u8> = bytes.iter().map(|b| b ^ 0x5a).collect();
        file.write_all_at(&wrong, 0).unwrap();
        Self { file, path, bytes, durable: 0 }
    }

    fn tell(running: &Running, fed: Fed) {
        let packet = serde_json::to_vec(&fed).unwrap();
        // Refused where the child has given up already, which its last word says.
        let _ = send(running.socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL);
    }

    /// Makes the file right up to there, and says so.
    fn grow(&mut self, running: &Running, to: usize) {
        let to = to.min(self.bytes.len());
        self.file.write_all_at(&self.bytes[self.durable..to], self.durable as u64).unwrap();
        self.durable = to;
        Self::tell(running, Fed::Durable { bytes: to as u64 });
    }

    /// Up to there, in pieces of these sizes in turn.
    fn grow_until(&mut self, running: &Running, to: usize, pieces: &[usize]) {
        for piece in pieces.iter().cycle() {
            if self.durable >= to {
                return;
            }
            self.grow(running, self.durable + piece);
        }
    }

    fn grow_all(&mut self, running: &Running, pieces: &[usize]) {
        self.grow_until(running, self.bytes.len(), pieces);
    }

    fn end(&self, running: &Running) {
        Self::tell(running, Fed::Ended { bytes: self.durable as u64 });
    }
}

/// Has a recording transcoded as it comes in.
fn come_in(whole: &Path, job: &Job, pieces: &[usize]) -> (Report, tempfile::TempDir) {
    let (folder, raw) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut growing = Growing::new(raw.path(), whole);
    let running = start(&growing.path, folder.path(), job);
    // It is at work before the recording has ended, or has refused.
    let most = growing.bytes.len() * 3 / 4;
    growing.grow_until(&running, most, pieces);
    loop {
        match running.next().expect("a report") {
            Report::Started(_) | Report::Progress { position_ms: 0, .. } => {}
            Report::Progress { .. } => break,
            last => {
                assert!(running.next().is_none(), "a report after the last: {last:?}");
                return (last, folder);
            }
        }
    }
    growing.grow_all(&running, pieces);
    growing.end(&running);
    (running.finish(), folder)
}

fn made(whole: &Path, pieces: &[usize]) -> (Made, tempfile::TempDir) {
    match come_in(whole, &live(&json!({})), pieces) {
        (Report::Done(made), folder) => (made, folder),
        (other, _) => panic!("{}: {other:?}", whole.display()),
    }
}

/// Why nothing came of it.
fn refused(whole: &Path, job: &Job) -> String {
    match come_in(whole, job, &[50_000]) {
        (Report::Failed(failure), _) => {
            assert_eq!(failure.kind, FailureKind::NotLive, "{}", failure.message);
            failure.message
        }
        (other, _) => panic!("{}: {other:?}", whole.display()),
    }
}

/// A stream's packets without where they lie in the file.
fn packets(film: &Path, stream: &str) -> Vec<Value> {
    let entries = "packet=pts,dts,duration,flags";
    let json = ffprobe(film, &["-select_streams", stream, "-show_entries", entries]);
    json["packets"].as_array().unwrap().clone()
}

fn streams(film: &Path) -> Value {
    let mut json = ffprobe(film, &["-show_streams", "-show_format"]);
    json["format"] = json["format"]["duration"].clone();
    for stream in json["streams"].as_array_mut().unwrap() {
        // What differs from run to run, and what is guessed from the encoder's book-keeping.
        stream.as_object_mut().unwrap().remove("bit_rate");
        stream.as_object_mut().unwrap().remove("extradata_size");
        stream.as_object_mut().unwrap().remove("r_frame_rate");
    }
    json
}

/// Everything is the same, but for the bits of x264, which differ from run to run (and a little with the
/// rate that it is told for its book-keeping).
fn same(whole: &Path, (as_it_came, live): (&Made, &Path), is_taken_over: bool) {
    let name = whole.display();
    let (afterwards, folder) = make(whole);
    let usual = folder.path();
    let films = [live.join("main.mp4"), usual.join("main.mp4")];
    let without_bytes = |made: &Made| {
        let mut made = made.clone();
        made.mp4.as_mut().unwrap().bytes = 0;
        made
    };
    assert_eq!(without_bytes(as_it_came), without_bytes(&afterwards), "{name}");
    assert_eq!(streams(&films[0]), streams(&films[1]), "{name}");
    for stream in ["v", "a"] {
        let [a, b] = films.each_ref().map(|film| packets(film, stream));
        assert!(a.len() > 10, "{name}");
        if is_taken_over || stream == "a" {
            assert!(a == b, "{name}: the packets of {stream} have other times");
            let [a, b] = films.each_ref().map(|film| packet_hashes(film, stream));
            assert!(a == b, "{name}: the packets of {stream} are others");
        }
    }
    assert!(common::times(&films[0]) == common::times(&films[1]), "{name}: other frames");
    if !is_taken_over {
        let like = likeness(&films[0], &films[1], "null");
        assert!(like > 0.99, "{name}: {like}");
    }
    for picture in ["snapshot.jpg", "filmstrip.jpg"] {
        let [a, b] = [live, usual].map(|folder| std::fs::read(folder.join(picture)).unwrap());
        assert!(a == b, "{name}: another {picture}");
    }
}

/// A film with frames and key frames at even distances, as ffmpeg makes it.
fn even(folder: &Path, seconds: u32, args: &[&str]) -> PathBuf {
    let file = folder.join("even.mkv");
    let picture = format!("testsrc2=s=320x240:r=30:d={seconds}");
    let sound = format!("sine=f=500:r=48000:d={seconds}");
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    ffmpeg(&[&inputs, args, &["-c:a", "libopus", text(&file)]].concat());
    file
}

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
    let said = refused(&media("avc1_opus.mp4"), &live(&json!({})));
    assert!(said.contains("only WebM and Matroska"), "{said}");
    let said = refused(&media("audio.webm"), &live(&json!({})));
    assert!(said.contains("drawn"), "{said}");
    let vp8 = media("vp8.webm");
    let said = refused(&vp8, &live(&json!({"video": {"constant_fps": true}})));
    assert!(said.contains("video.constant_fps"), "{said}");
    let said = refused(&vp8, &live(&json!({"audio": {"loudness": "r128"}})));
    assert!(said.contains("audio.loudness"), "{said}");
}

#[test]
fn a_recording_that_is_cut_off_or_short_is_left_for_afterwards() {
    let (folder, raw) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut growing = Growing::new(raw.path(), &media("vp8.webm"));
    let end = growing.bytes.len() - 1000;
    growing.bytes.truncate(end);
    let running = start(&growing.path, folder.path(), &live(&json!({})));
    growing.grow_all(&running, &[100_000]);
    growing.end(&running);
    let Report::Failed(failure) = running.finish() else { panic!("it was made") };
    assert!(failure.message.contains("in the middle of a frame"), "{}", failure.message);
    growing.bytes.truncate(300_000);
    growing.durable = 0;
    let running = start(&growing.path, folder.path(), &live(&json!({})));
    growing.grow_all(&running, &[100_000]);
    growing.end(&running);
    let Report::Failed(failure) = running.finish() else { panic!("it was made") };
    assert_eq!(failure.kind, FailureKind::NotLive, "{}", failure.message);
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
