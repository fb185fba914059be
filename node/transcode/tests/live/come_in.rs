//! A recording that comes in, and what is expected of it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use holdfast_core::job::{FailureKind, Fed, Job, Limits, Made, Report, Treatment};
use holdfast_core::transform::Transform;
use nix::sys::socket::{MsgFlags, send};
use serde_json::{Value, json};

use crate::common::{
    ALL, Running, ffmpeg, ffprobe, job, likeness, make, packet_hashes, start, text, times,
};

pub(crate) fn live(transform: &Value) -> Job {
    let transform: Transform = serde_json::from_value(transform.clone()).unwrap();
    Job { live: true, transform, ..job(ALL, Limits::default()) }
}

/// A raw file as a node has it: what is not durable yet is there already, and wrong.
pub(crate) struct Growing {
    file: File,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) durable: usize,
}

impl Growing {
    pub(crate) fn new(folder: &Path, whole: &Path) -> Self {
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
    pub(crate) fn grow(&mut self, running: &Running, to: usize) {
        let to = to.min(self.bytes.len());
        self.file.write_all_at(&self.bytes[self.durable..to], self.durable as u64).unwrap();
        self.durable = to;
        Self::tell(running, Fed::Durable { bytes: to as u64 });
    }

    /// Up to there, in pieces of these sizes in turn.
    pub(crate) fn grow_until(&mut self, running: &Running, to: usize, pieces: &[usize]) {
        for piece in pieces.iter().cycle() {
            if self.durable >= to {
                return;
            }
            self.grow(running, self.durable + piece);
        }
    }

    pub(crate) fn grow_all(&mut self, running: &Running, pieces: &[usize]) {
        self.grow_until(running, self.bytes.len(), pieces);
    }

    pub(crate) fn end(&self, running: &Running) {
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

pub(crate) fn made(whole: &Path, pieces: &[usize]) -> (Made, tempfile::TempDir) {
    match come_in(whole, &live(&json!({})), pieces) {
        (Report::Done(made), folder) => (made, folder),
        (other, _) => panic!("{}: {other:?}", whole.display()),
    }
}

/// Why nothing came of it.
pub(crate) fn refused(whole: &Path, job: &Job) -> String {
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
pub(crate) fn same(whole: &Path, (as_it_came, live): (&Made, &Path), is_taken_over: bool) {
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
    let mp4 = afterwards.mp4.as_ref().unwrap();
    let kinds = [("v", mp4.video), ("a", mp4.audio)];
    for (stream, _) in kinds.into_iter().filter(|(_, treated)| *treated != Treatment::Absent) {
        let [a, b] = films.each_ref().map(|film| packets(film, stream));
        assert!(a.len() > 10, "{name}");
        if is_taken_over || stream == "a" {
            assert!(a == b, "{name}: the packets of {stream} have other times");
            let [a, b] = films.each_ref().map(|film| packet_hashes(film, stream));
            assert!(a == b, "{name}: the packets of {stream} are others");
        }
    }
    let read = |picture: &str| [live, usual].map(|folder| std::fs::read(folder.join(picture)).ok());
    for picture in ["snapshot.jpg", "filmstrip.jpg"] {
        let [a, b] = read(picture);
        let is_there = picture == "snapshot.jpg" || mp4.video != Treatment::Absent;
        assert!(a == b && a.is_some() == is_there, "{name}: another {picture}");
    }
    if mp4.video == Treatment::Absent {
        return;
    }
    assert!(times(&films[0]) == times(&films[1]), "{name}: other frames");
    if !is_taken_over {
        let like = likeness(&films[0], &films[1], "null");
        assert!(like > 0.99, "{name}: {like}");
    }
}

/// A film with frames and key frames at even distances, as ffmpeg makes it.
pub(crate) fn even(folder: &Path, seconds: u32, args: &[&str]) -> PathBuf {
    even_named(folder, "even.mkv", seconds, &[args, &["-c:a", "libopus"]].concat())
}

pub(crate) fn even_named(folder: &Path, name: &str, seconds: u32, args: &[&str]) -> PathBuf {
    let file = folder.join(name);
    let picture = format!("testsrc2=s=320x240:r=30:d={seconds}");
    let sound = format!("sine=f=500:r=48000:d={seconds}");
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    ffmpeg(&[&inputs, args, &[text(&file)]].concat());
    file
}
