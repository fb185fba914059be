//! Recordings, and what ffmpeg says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::tools::{output, repo};

/// The recordings that every set of test media has.
pub const NAMES: [&str; 10] = [
    "audio.webm",
    "av1.webm",
    "avc1_opus.mp4",
    "avc3_opus.mp4",
    "h264.mkv",
    "reschange_avc1.mp4",
    "reschange_vp8.webm",
    "vp8.webm",
    "vp9.webm",
    "vp9_opus_default.mp4",
];

/// The folder with recordings that a real browser made: `HOLDFAST_TEST_MEDIA`, or `target/media`,
/// where `scripts/test` has it made.
///
/// # Errors
/// If there is none.
pub fn folder() -> Result<PathBuf> {
    let named = std::env::var_os("HOLDFAST_TEST_MEDIA").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| repo().join("target/media"));
    ensure!(
        folder.join("vp8.webm").exists(),
        "no recordings in {}: run scripts/test, or set HOLDFAST_TEST_MEDIA",
        folder.display()
    );
    Ok(folder)
}

/// One of [`NAMES`].
///
/// # Errors
/// If it is missing.
pub fn file(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    ensure!(path.exists(), "{} is missing", path.display());
    Ok(path)
}

/// Runs ffmpeg quietly.
///
/// # Errors
/// If it is missing or fails.
pub fn ffmpeg<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Vec<u8>> {
    let mut command = Command::new("ffmpeg");
    output(command.args(["-nostdin", "-v", "error", "-y"]).args(arguments))
}

/// What ffprobe says, as JSON; `what` are its arguments.
///
/// # Errors
/// If it is missing or fails.
pub fn ffprobe(path: &Path, what: &[&str]) -> Result<Value> {
    let mut command = Command::new("ffprobe");
    let text = output(command.args(["-v", "error", "-of", "json"]).args(what).arg(path))?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// Makes a small recording: `seconds` of a moving picture and a tone, VP8 and Opus in WebM.
///
/// # Errors
/// If ffmpeg fails.
pub fn small_webm(folder: &Path, seconds: f64) -> Result<Vec<u8>> {
    let path = folder.join(format!("small-{seconds}.webm"));
    let length = seconds.to_string();
    let to = path.display().to_string();
    ffmpeg([
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=160x120:rate=15",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000",
        "-t",
        &length,
        "-c:v",
        "libvpx",
        "-b:v",
        "200k",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-c:a",
        "libopus",
        "-b:a",
        "24k",
        &to,
    ])?;
    Ok(fs::read(path)?)
}

/// The same recording with bytes of its own: an EBML `Void` element behind it that players skip.
#[must_use]
pub fn salted(webm: &[u8], salt: u64) -> Vec<u8> {
    let mut bytes = webm.to_vec();
    bytes.extend_from_slice(&[0xec, 0x88]);
    bytes.extend_from_slice(&salt.to_be_bytes());
    bytes
}

/// Bytes that begin as a WebM recording and go on as noise: enough for a node that only takes them
/// in and passes them on.
#[must_use]
pub fn webm_noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = webm_head();
    let mut random = fastrand::Rng::with_seed(seed);
    let from = noise.len();
    noise.resize(bytes.max(from), 0);
    random.fill(&mut noise[from..]);
    noise
}

/// An EBML header with the document type `webm`, and the beginning of a segment of unknown size.
#[must_use]
pub fn webm_head() -> Vec<u8> {
    let mut head = vec![0x1a, 0x45, 0xdf, 0xa3, 0x9f];
    head.extend_from_slice(&[0x42, 0x86, 0x81, 1, 0x42, 0xf7, 0x81, 1, 0x42, 0xf2, 0x81, 4]);
    head.extend_from_slice(&[0x42, 0xf3, 0x81, 8, 0x42, 0x82, 0x84]);
    head.extend_from_slice(b"webm");
    head.extend_from_slice(&[0x42, 0x87, 0x81, 4, 0x42, 0x85, 0x81, 2]);
    head.extend_from_slice(&[
        0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);
    head
}

/// First and last instant of a file's streams, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// The earliest presentation time of any packet.
    pub first: f64,
    /// The latest end of any packet; its beginning where it does not say how long it is.
    pub last: f64,
}

/// Reads every packet of a file to see how long it is; what its header says is not asked.
///
/// # Errors
/// If ffprobe cannot read it or finds nothing.
pub fn extent(path: &Path) -> Result<Extent> {
    let what = ["-show_entries", "packet=codec_type,pts_time,duration_time"];
    let found = ffprobe(path, &what)?;
    let mut extent = Extent { first: f64::MAX, last: f64::MIN };
    for packet in found["packets"].as_array().context("no packets")? {
        let number = |name: &str| packet[name].as_str().and_then(|text| text.parse::<f64>().ok());
        let Some(begin) = number("pts_time") else { continue };
        extent.first = extent.first.min(begin);
        extent.last = extent.last.max(begin + number("duration_time").unwrap_or(0.0));
    }
    ensure!(extent.first < extent.last, "no packets with times in {}", path.display());
    Ok(extent)
}

/// The codecs of a file's streams: `("h264", "aac")`, empty where there is none.
///
/// # Errors
/// If ffprobe cannot read it.
pub fn codecs(path: &Path) -> Result<(String, String)> {
    let found = ffprobe(path, &["-show_entries", "stream=codec_type,codec_name"])?;
    let mut codecs = (String::new(), String::new());
    for stream in found["streams"].as_array().context("no streams")? {
        let name = stream["codec_name"].as_str().unwrap_or("?").to_owned();
        let slot = match stream["codec_type"].as_str() {
            Some("video") => &mut codecs.0,
            Some("audio") => &mut codecs.1,
            _ => continue,
        };
        ensure!(slot.is_empty(), "two streams of a kind in {}", path.display());
        *slot = name;
    }
    Ok(codecs)
}

/// The sizes of all frames, each once.
///
/// # Errors
/// If ffprobe cannot decode it.
pub fn sizes(path: &Path) -> Result<Vec<(u64, u64)>> {
    let what = ["-select_streams", "v:0", "-show_entries", "frame=width,height"];
    let found = ffprobe(path, &what)?;
    let mut sizes = Vec::new();
    for frame in found["frames"].as_array().context("no frames")? {
        let size = (
            frame["width"].as_u64().context("no width")?,
            frame["height"].as_u64().context("no height")?,
        );
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    Ok(sizes)
}

/// The types of an MP4's boxes, in order.
///
/// # Errors
/// If it has no such structure.
pub fn boxes(path: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(path)?;
    let mut boxes = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let head = bytes.get(at..at + 8).context("cut in a box's head")?;
        let (size, name) = head.split_at(4);
        boxes.push(String::from_utf8_lossy(name).into_owned());
        let size = match u32::from_be_bytes(size.try_into()?) {
            0 => bytes.len() - at,
            1 => {
                let large = bytes.get(at + 8..at + 16).context("cut in a box's head")?;
                u64::from_be_bytes(large.try_into()?).try_into()?
            }
            size => size.try_into()?,
        };
        if size < 8 {
            bail!("a box of {size} bytes in {}", path.display());
        }
        at += size;
    }
    ensure!(at == bytes.len(), "cut in a box: {boxes:?}");
    Ok(boxes)
}

/// How much a picture's brightness varies: the standard deviation over its pixels, of 255.
///
/// # Errors
/// If ffmpeg cannot decode it.
pub fn contrast(picture: &Path) -> Result<f64> {
    let path = picture.display().to_string();
    let pixels =
        ffmpeg(["-i", &path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"])?;
    ensure!(!pixels.is_empty(), "no picture in {path}");
    let n = pixels.len() as f64;
    let mean = pixels.iter().map(|pixel| f64::from(*pixel)).sum::<f64>() / n;
    let square = pixels.iter().map(|pixel| (f64::from(*pixel) - mean).powi(2)).sum::<f64>() / n;
    Ok(square.sqrt())
}
