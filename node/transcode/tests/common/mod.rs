//! Runs the child as the service does, over a socket pair with descriptors, and measures what it
//! made with ffprobe: other people's code.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses its part

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use holdfast_core::job::{FailureKind, Job, Limits, Made, Outputs, PACKET_BYTES_MAX, Report};
use holdfast_core::transform::Transform;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use serde_json::Value;

pub const ALL: Outputs = Outputs { mp4: true, snapshot: true, filmstrip: true };

/// One of the recordings made by a real browser.
pub fn media(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = match std::env::var_os("HOLDFAST_TEST_MEDIA") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => vec![workspace.join("tests/media"), workspace.join("../shared/media")],
    };
    let found = folders.iter().map(|f| f.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| {
        panic!(
            "the recording {name} is in none of {folders:?}: set HOLDFAST_TEST_MEDIA to the folder \
             with the browser recordings"
        )
    })
}

/// A child at work and our end of its socket.
pub struct Running {
    pub child: Child,
    pub socket: OwnedFd,
}

/// The list of GStreamer's plugins, made as the service makes it.
pub fn registry() -> &'static Path {
    static REGISTRY: LazyLock<PathBuf> = LazyLock::new(|| {
        let registry = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gstreamer-registry.bin");
        let mut warm = Command::new(env!("CARGO_BIN_EXE_holdfast-transcode"));
        let status = warm.arg("--warm").env("GST_REGISTRY", &registry).status().unwrap();
        assert!(status.success(), "the list of plugins cannot be made: {status}");
        registry
    });
    &REGISTRY
}

/// The program as the service starts it.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_holdfast-transcode"));
    program.env("GST_REGISTRY", registry()).env("GST_REGISTRY_UPDATE", "no");
    program
}

/// Starts a child and hands it a job.
pub fn start(input: &Path, folder: &Path, job: &Job) -> Running {
    start_as(program(), input, folder, job, None)
}

/// The same among these variables.
pub fn start_among(env: &[(&str, String)], input: &Path, folder: &Path, job: &Job) -> Running {
    let mut program = Command::new(env!("CARGO_BIN_EXE_holdfast-transcode"));
    program.envs(env.iter().map(|(name, value)| (name, value)));
    start_as(program, input, folder, job, None)
}

/// Starts a child and hands it a job, with a watermark where there is one.
pub fn start_with(input: &Path, folder: &Path, job: &Job, watermark: Option<&Path>) -> Running {
    start_as(program(), input, folder, job, watermark)
}

/// The same, where a child is started in a way of its own.
pub fn start_as(
    mut program: Command,
    input: &Path,
    folder: &Path,
    job: &Job,
    watermark: Option<&Path>,
) -> Running {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let child = program.stdin(Stdio::from(theirs)).spawn().unwrap();
    let (recording, folder) = (File::open(input).unwrap(), File::open(folder).unwrap());
    let packet = serde_json::to_vec(job).unwrap();
    let watermark = watermark.map(|path| File::open(path).unwrap());
    let descriptors: Vec<_> = [Some(&recording), Some(&folder), watermark.as_ref()]
        .into_iter()
        .flatten()
        .map(AsRawFd::as_raw_fd)
        .collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(&packet)], &rights, MsgFlags::empty(), None)
        .unwrap();
    Running { child, socket: ours }
}

impl Running {
    /// The next report; `None` at the end.
    pub fn next(&self) -> Option<Report> {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        let mut receive = || recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty());
        // Said once of a child that ended without hearing all; what it said itself is still there.
        let n = match receive() {
            Err(Errno::ECONNRESET) => receive(),
            received => received,
        };
        let n = n.unwrap();
        (n > 0).then(|| serde_json::from_slice(&packet[..n]).unwrap())
    }

    /// The last word.
    pub fn finish(mut self) -> Report {
        let mut last = None;
        while let Some(report) = self.next() {
            assert!(
                !matches!(last, Some(Report::Done(_) | Report::Failed(_))),
                "a report after the last: {report:?}"
            );
            last = Some(report);
        }
        let status = self.child.wait().unwrap();
        let last = last.expect("a report");
        assert_eq!(status.success(), matches!(last, Report::Done(_)), "{status} {last:?}");
        last
    }
}

/// A job without wishes of its own.
pub fn job(outputs: Outputs, limits: Limits) -> Job {
    Job {
        outputs,
        transform: Transform::default(),
        filmstrip_link: String::new(),
        limits,
        hardware: None,
        live: false,
    }
}

/// Runs a job to its end with limits of its own.
pub fn run_with(input: &Path, folder: &Path, outputs: Outputs, limits: Limits) -> Report {
    start(input, folder, &job(outputs, limits)).finish()
}

/// Runs a job that has to succeed; gives what it made, in a folder.
pub fn make(input: &Path) -> (Made, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    match run_with(input, folder.path(), ALL, Limits::default()) {
        Report::Done(made) => (made, folder),
        other => panic!("{}: {other:?}", input.display()),
    }
}

/// Runs a job that has to fail; gives the kind.
pub fn fail(input: &Path) -> (FailureKind, String) {
    let folder = tempfile::tempdir().unwrap();
    match run_with(input, folder.path(), ALL, Limits::default()) {
        Report::Failed(f) => (f.kind, f.message),
        other => panic!("{} did not fail: {other:?}", input.display()),
    }
}

/// Runs a tool; gives its standard output.
pub fn tool(name: &str, args: &[&str]) -> String {
    let out = Command::new(name).args(args).output().unwrap_or_else(|e| {
        panic!("{name} cannot be started ({e}): install the package ffmpeg for the tests")
    });
    assert!(out.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Runs ffmpeg to make an input.
pub fn ffmpeg(args: &[&str]) {
    tool("ffmpeg", &[&["-v", "error", "-y"], args].concat());
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn ffprobe(file: &Path, what: &[&str]) -> Value {
    let args = [&["-v", "quiet", "-of", "json"], what, &[text(file)]].concat();
    serde_json::from_str(&tool("ffprobe", &args)).unwrap()
}

/// A stream as ffprobe's packets show it, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub packets: usize,
    pub first: f64,
    pub last: f64,
    /// Last time plus that packet's duration.
    pub end: f64,
}

/// Measures a stream (`v` or `a`).
pub fn span(file: &Path, stream: &str) -> Option<Span> {
    let selected = format!("{stream}:0");
    let json = ffprobe(file, &["-select_streams", &selected, "-show_packets"]);
    let number = |p: &Value, key: &str| p[key].as_str().and_then(|v| v.parse::<f64>().ok());
    let packets = json["packets"].as_array()?;
    let times: Vec<(f64, f64)> = packets
        .iter()
        .filter_map(|p| Some((number(p, "pts_time")?, number(p, "duration_time").unwrap_or(0.0))))
        .collect();
    let first = times.iter().map(|t| t.0).reduce(f64::min)?;
    let (last, duration) = times.iter().copied().reduce(|a, b| if b.0 > a.0 { b } else { a })?;
    Some(Span { packets: times.len(), first, last, end: last + duration })
}

/// `start_time` and end of a stream as players take them from the edit list.
pub fn shown(file: &Path, stream: &str) -> (f64, f64) {
    let json = ffprobe(file, &["-select_streams", stream, "-show_streams"]);
    let s = &json["streams"][0];
    let number = |key: &str| s[key].as_str().and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0);
    (number("start_time"), number("start_time") + number("duration"))
}

/// Sizes of all decoded frames, without repetitions.
pub fn frame_sizes(file: &Path) -> Vec<(u64, u64)> {
    let json = ffprobe(file, &["-select_streams", "v:0", "-show_entries", "frame=width,height"]);
    let mut sizes: Vec<(u64, u64)> = json["frames"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|f| Some((f["width"].as_u64()?, f["height"].as_u64()?)))
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// What every finished .mp4 has to be.
pub fn check_film(folder: &Path, video: bool, audio: bool) -> PathBuf {
    let film = folder.join("main.mp4");
    let json = ffprobe(&film, &["-show_streams"]);
    let codecs: Vec<&str> = json["streams"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|s| s["codec_name"].as_str())
        .collect();
    let want: Vec<&str> =
        [video.then_some("h264"), audio.then_some("aac")].into_iter().flatten().collect();
    assert_eq!(codecs, want);
    let bytes = std::fs::read(&film).unwrap();
    let place = |name: &[u8]| bytes.windows(4).position(|w| w == name).unwrap();
    assert!(place(b"moov") < place(b"mdat"), "the index does not come first");
    if video {
        assert_eq!(frame_sizes(&film).len(), 1, "more than one size");
        // It decodes to its end without a complaint.
        let out = Command::new("ffmpeg")
            .args(["-v", "error", "-i", text(&film), "-vsync", "passthrough", "-map", "0:v"])
            .args(["-f", "rawvideo", "-y", "/dev/null"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    film
}

/// Mean and standard deviation of a picture's brightness.
pub fn brightness(picture: &Path) -> (f64, f64) {
    let raw = Command::new("ffmpeg")
        .args(["-v", "error", "-i", text(picture), "-vf", "scale=64:64", "-pix_fmt", "gray"])
        .args(["-f", "rawvideo", "-"])
        .output()
        .unwrap()
        .stdout;
    assert_eq!(raw.len(), 64 * 64);
    let mean = raw.iter().map(|&v| f64::from(v)).sum::<f64>() / raw.len() as f64;
    let var = raw.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / raw.len() as f64;
    (mean, var.sqrt())
}

/// Writes a film anew as if its camera had been held sideways: players turn it by 90 degrees. (ffmpeg's
/// words for that differ from version to version.)
pub fn held(film: &Path, to: &Path) {
    let mut bytes = std::fs::read(film).unwrap();
    let tkhd = bytes.windows(4).position(|w| w == b"tkhd").unwrap();
    // Version 0: the matrix comes 36 bytes behind the box's head and version.
    let matrix = tkhd + 4 + 40;
    for (i, value) in [0, 0x1_0000, 0, -0x1_0000, 0, 0i32].into_iter().enumerate() {
        bytes[matrix + i * 4..][..4].copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(to, bytes).unwrap();
}

/// Hashes of a stream's packets, in file order.
pub fn packet_hashes(file: &Path, stream: &str) -> Vec<String> {
    let out = tool(
        "ffmpeg",
        &["-v", "error", "-i", text(file), "-map", stream, "-c", "copy", "-f", "framemd5", "-"],
    );
    let lines = out.lines().filter(|l| !l.starts_with('#'));
    lines.filter_map(|l| l.rsplit(',').next().map(|h| h.trim().to_owned())).collect()
}

/// Runs a job with a transform to its end.
pub fn run_transform(
    input: &Path,
    folder: &Path,
    transform: &Value,
    watermark: Option<&Path>,
) -> Report {
    let job = Job {
        outputs: ALL,
        transform: serde_json::from_value(transform.clone()).unwrap(),
        filmstrip_link: "a b.jpg".to_owned(),
        limits: Limits::default(),
        hardware: None,
        live: false,
    };
    start_with(input, folder, &job, watermark).finish()
}

/// Runs a job with a transform that has to succeed; gives what it made, in a folder.
#[allow(clippy::needless_pass_by_value)] // tests write it where they call
pub fn transformed(input: &Path, transform: Value) -> (Made, tempfile::TempDir) {
    marked(input, &transform, None)
}

/// The same with a watermark.
pub fn marked(
    input: &Path,
    transform: &Value,
    watermark: Option<&Path>,
) -> (Made, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    match run_transform(input, folder.path(), transform, watermark) {
        Report::Done(made) => (made, folder),
        other => panic!("{} {transform}: {other:?}", input.display()),
    }
}

/// What ffmpeg shows of a file behind these filters, as bytes of a pixel format.
pub fn pixels(file: &Path, filters: &str, format: &str) -> Vec<u8> {
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-i", text(file), "-vf", filters, "-vsync", "passthrough"])
        .args(["-pix_fmt", format, "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// Mean difference of two rows of bytes, of 255.
pub fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len(), "different sizes");
    assert!(!a.is_empty(), "nothing to compare");
    let sum: u64 = a.iter().zip(b).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    sum as f64 / a.len() as f64
}

/// How much a file looks like another behind filters, frame by frame (SSIM, 1: the same).
pub fn likeness(file: &Path, other: &Path, filters: &str) -> f64 {
    let graph = format!("[1:v]{filters}[want];[0:v][want]ssim");
    let args =
        ["-hide_banner", "-i", text(file), "-i", text(other), "-lavfi", &graph, "-f", "null", "-"];
    let out = Command::new("ffmpeg").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let all = said.rsplit_once("All:").unwrap_or_else(|| panic!("{said}")).1;
    all.split_whitespace().next().unwrap().parse().unwrap()
}

/// Times of all frames, in seconds, rising.
pub fn times(file: &Path) -> Vec<f64> {
    let json = ffprobe(file, &["-select_streams", "v:0", "-show_entries", "packet=pts_time"]);
    let packets = json["packets"].as_array().unwrap();
    let mut times: Vec<f64> =
        packets.iter().map(|p| p["pts_time"].as_str().unwrap().parse().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    times
}
