//! What other people's programs see and hear in a file.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::clip::mp4box;
use crate::common::{ffprobe, pixels, text};

/// Samples a second that sound is compared at.
const RATE: usize = 8_000;

/// A film, as strict readers see it.
pub(crate) struct Film {
    /// What they have to say against it.
    pub(crate) complaints: String,
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
        .args(["-v", "warning", "-of", "json", "-show_format", "-show_streams", "-show_frames"])
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
    let size = streams.iter().find_map(|s| Some((s["width"].as_u64()?, s["height"].as_u64()?)));
    let length = number(&json["format"]["duration"]);
    Film { complaints, length, size: size.unwrap_or_default(), times: frame_times(&json) }
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
    let number = "settb=1/25,setpts=N,format=yuv420p,setparams=range=tv";
    let graph =
        format!("[0:v]{number}[is];[1:v]{filter},{number}[want];[is][want]ssim=stats_file=-");
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
/// (0.1 at most).
pub(crate) fn correlation(a: &[f64], b: &[f64]) -> (f64, f64) {
    let most = RATE as i64 / 10;
    let alike = |lag: i64| {
        let (mut both, mut first, mut second) = (0.0, 0.0, 0.0);
        for (i, x) in a.iter().enumerate() {
            let y = usize::try_from(i as i64 + lag).ok().and_then(|at| b.get(at)).unwrap_or(&0.0);
            both += x * y;
            first += x * x;
            second += y * y;
        }
        both / (first * second).sqrt().max(1e-9)
    };
    let (best, lag) = (-most..=most)
        .step_by(2)
        .map(|lag| (alike(lag), lag))
        .max_by(|x, y| x.0.total_cmp(&y.0))
        .unwrap();
    let near = (lag - 1..=lag + 1).map(|lag| (alike(lag), lag));
    let (best, lag) = near.fold((best, lag), |x, y| if y.0 > x.0 { y } else { x });
    (best, lag as f64 / RATE as f64)
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
