//! What other people's programs see and hear in a file.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::clip::mp4box;
use crate::common::{ffmpeg, ffprobe, pixels, text};

/// Samples a second that sound is compared at.
const RATE: usize = 4_000;

/// A film, as strict readers see it.
pub(crate) struct Film {
    /// What they have to say against it.
    pub(crate) complaints: String,
    /// Its streams' codecs.
    pub(crate) codecs: Vec<String>,
    /// Its length in seconds.
    pub(crate) length: f64,
    /// Its size before it is turned; zeros without pictures.
    pub(crate) size: (u64, u64),
    /// See [`times`].
    pub(crate) times: Vec<f64>,
}

/// Looks at a film with ffprobe and with GPAC's MP4Box.
pub(crate) fn film(film: &Path) -> Film {
    let probe = Command::new("ffprobe")
        .args(["-v", "warning", "-of", "json", "-show_entries"])
        .arg(
            "stream=codec_name,width,height:format=start_time,duration:\
             frame=media_type,best_effort_timestamp_time,width,height",
        )
        .arg(film)
        .output()
        .unwrap();
    let mut complaints = String::from_utf8_lossy(&probe.stderr).into_owned();
    let out = mp4box().args(["-info", text(film)]).output().unwrap();
    let info = [out.stdout, out.stderr].concat();
    let info = String::from_utf8_lossy(&info);
    if !out.status.success() || !info.contains("Computed Duration") {
        complaints += &info;
    }
    let is_bad = |line: &&str| {
        let low = line.to_lowercase();
        // Lines of its log begin with the part that speaks.
        line.starts_with('[')
            || ["error", "warning", "corrupt", "invalid"].iter().any(|w| low.contains(w))
    };
    complaints += &info.lines().filter(is_bad).collect::<Vec<_>>().join("\n");
    let json: Value = serde_json::from_slice(&probe.stdout).unwrap();
    let streams = json["streams"].as_array().unwrap();
    let size = |s: &Value| Some((s["width"].as_u64()?, s["height"].as_u64()?));
    let own = streams.iter().find_map(size);
    let frames = json["frames"].as_array().unwrap().iter().filter_map(size);
    for other in frames.filter(|frame| Some(*frame) != own) {
        complaints += &format!("a frame of {other:?}");
    }
    let bytes = std::fs::read(film).unwrap();
    let place = |name: &[u8]| bytes.windows(4).position(|w| w == name);
    if place(b"moov") > place(b"mdat") {
        complaints += "the index does not come first";
    }
    Film {
        complaints,
        codecs: streams.iter().map(|s| s["codec_name"].as_str().unwrap().to_owned()).collect(),
        length: number(&json["format"]["duration"]),
        size: own.unwrap_or_default(),
        times: frame_times(&json),
    }
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|v| v.parse().ok()).unwrap_or(0.0)
}

/// Times of the frames that are shown, in seconds from the file's start.
pub(crate) fn times(file: &Path) -> Vec<f64> {
    let entries = "frame=media_type,best_effort_timestamp_time:format=start_time";
    frame_times(&ffprobe(file, &["-select_streams", "v:0", "-show_entries", entries]))
}

fn frame_times(json: &Value) -> Vec<f64> {
    let start = number(&json["format"]["start_time"]);
    let frames = json["frames"].as_array().unwrap().iter().filter(|f| f["media_type"] == "video");
    frames.map(|f| number(&f["best_effort_timestamp_time"]) - start).collect()
}

/// How much the frames of a film look like a recording's behind filters, one by one (SSIM, 1: the same).
pub(crate) fn likeness(film: &Path, recording: &Path, filter: &str) -> Vec<f64> {
    let filtered = tempfile::NamedTempFile::with_suffix(".nut").unwrap();
    let mut recording = recording;
    if filter != "null" {
        // ffmpeg counts from the beginning where the size changes, so not in the same run.
        let (from, to) = (text(recording), text(filtered.path()));
        let codec = ["-vsync", "passthrough", "-c:v", "ffv1", "-an", to];
        ffmpeg(&[&["-i", from, "-vf", filter], &codec[..]].concat());
        recording = filtered.path();
    }
    let number = "settb=1/25,setpts=N,format=yuv420p,setparams=range=tv";
    let graph = format!("[0:v]{number}[is];[1:v]{number}[want];[is][want]ssim=stats_file=-");
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-i", text(film), "-i", text(recording), "-lavfi", &graph])
        .args(["-vsync", "passthrough", "-f", "null", "-"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let all = said.lines().filter_map(|line| line.split_once("All:"));
    all.map(|(_, rest)| rest.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

/// A file's sound in one channel, on the file's own line: what is missing is silence.
pub(crate) fn sound(file: &Path) -> Vec<f64> {
    let on_line = format!("aresample={RATE}:async=1:first_pts=0");
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-i", text(file), "-map", "0:a:0", "-af", &on_line, "-ac", "1"])
        .args(["-f", "f32le", "-"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let samples = out.stdout.chunks_exact(4);
    samples.map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
}

/// How alike two sounds are (1: the same but for loudness), and by how many seconds the second is late
/// (`reach_s` at most): of all half seconds, the least alike and the latest. Sound that is retimed is a little
/// late or early in parts.
pub(crate) fn correlation(a: &[f64], b: &[f64], reach_s: f64) -> (f64, f64) {
    const PART: usize = RATE / 2;
    let energy = |part: &[f64]| part.iter().map(|x| x * x).sum::<f64>();
    let loudest = a.chunks(PART).map(energy).fold(0.0, f64::max);
    let (mut least, mut latest) = (1.0, 0.0f64);
    for (i, part) in a.chunks(PART).enumerate().filter(|(_, part)| energy(part) > loudest / 100.0) {
        let (alike, lag) = best_lag(part, b, i * PART, (RATE as f64 * reach_s) as i64);
        least = f64::min(least, alike);
        latest = if lag.abs() > latest.abs() { lag } else { latest };
    }
    (least, latest)
}

/// The same of a part, which begins at `from` of its whole.
fn best_lag(part: &[f64], whole: &[f64], from: usize, most: i64) -> (f64, f64) {
    let alike = |lag: i64| {
        let begin = from as i64 + lag;
        // What lies before the beginning or behind the end is silence.
        let skipped = usize::try_from(-begin).unwrap_or(0);
        let rest = whole.get(usize::try_from(begin).unwrap_or(0)..).unwrap_or_default();
        let (mut both, mut first, mut second) = (0.0, 0.0, 0.0);
        part.iter().for_each(|x| first += x * x);
        for (x, y) in part.iter().skip(skipped).zip(rest) {
            both += x * y;
            second += y * y;
        }
        both / (first * second).sqrt().max(1e-9)
    };
    let best = (-most..=most)
        .step_by(2)
        .map(|lag| (alike(lag), lag))
        .max_by(|x, y| x.0.total_cmp(&y.0))
        .unwrap();
    let near = (best.1 - 1..=best.1 + 1).map(|lag| (alike(lag), lag));
    let (alike, lag) = near.fold(best, |x, y| if y.0 > x.0 { y } else { x });
    (alike, lag as f64 / RATE as f64)
}

/// When something begins: where it is above a limit after it was not for a third of a second.
fn begins(marks: impl Iterator<Item = (f64, bool)>) -> Vec<f64> {
    let (mut found, mut last) = (Vec::new(), f64::MIN);
    for (at, _) in marks.filter(|mark| mark.1) {
        if at - last > 0.3 {
            found.push(at);
        }
        last = at;
    }
    found
}

/// When beeps begin, in seconds.
pub(crate) fn beeps(sound: &[f64]) -> Vec<f64> {
    let loudest = sound.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let marks = sound.iter().enumerate();
    begins(marks.map(|(i, x)| (i as f64 / RATE as f64, x.abs() > 0.5 * loudest)))
}

/// When flashes begin, in seconds, in a file with frames at these times.
pub(crate) fn flashes(file: &Path, times: &[f64]) -> Vec<f64> {
    let grey = pixels(file, "scale=1:1:flags=area", "gray");
    assert_eq!(times.len(), grey.len(), "frames of {}", file.display());
    begins(times.iter().zip(grey).map(|(at, grey)| (*at, grey > 200)))
}
