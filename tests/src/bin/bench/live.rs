//! How long after its end the film of a stream is there: transcoded while it came in, and afterwards.
//!
//! The recording is fed faster than it plays, but never further ahead of what is transcoded of it than a
//! few seconds: as fast as the encoder keeps up. Its last seconds come as they play, as from a camera. What
//! is transcoded afterwards is fed at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::output;
use holdfast_tests::{Environment, Node, Settings, Stream};
use serde_json::Value;

/// What to measure.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Folder with recordings.
    pub(crate) media: PathBuf,
    /// Lengths, in minutes.
    pub(crate) minutes: Vec<u64>,
    pub(crate) rounds: u32,
    /// Up to which length it is measured afterwards too, in minutes.
    pub(crate) afterwards: u64,
}

/// How far ahead of what was transcoded a recording is fed, in seconds.
const AHEAD_S: f64 = 6.0;
/// So much of it comes as it plays, in seconds.
const LAST_S: f64 = 8.0;
/// What is sent at once, as it plays and before, in seconds.
const CHUNK_S: f64 = 0.25;
const LARGE_CHUNK_S: f64 = 2.0;
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

struct Run {
    /// From `stop` to the film.
    wait: Duration,
    /// How many times as fast as it plays it was fed.
    rate: f64,
    film_bytes: u64,
    was_live: bool,
}

/// Measures and prints a table.
pub(crate) async fn measure(plan: &Plan) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let minute = make_minute(plan, dir.path())?;
    println!(
        "| minutes | transcoded | round | stop to .mp4, s | fed, times real time | raw MiB | film MiB |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: |");
    for &minutes in &plan.minutes {
        let bytes = fs::read(repeated(&minute, minutes, dir.path())?)?;
        for live in [true, false] {
            for round in 1..=plan.rounds {
                if !live && minutes > plan.afterwards {
                    continue;
                }
                let run = run(&bytes, minutes, live).await?;
                ensure!(run.was_live == live, "{minutes} min: it was not as it was to be");
                let how = if live { "while it came in" } else { "afterwards" };
                let (wait, mib) = (run.wait.as_secs_f64(), |b: u64| b >> 20);
                let (raw, film) = (mib(bytes.len() as u64), mib(run.film_bytes));
                println!(
                    "| {minutes} | {how} | {round} | {wait:.2} | {:.1} | {raw} | {film} |",
                    run.rate
                );
            }
        }
    }
    Ok(())
}

/// A minute of 1280x720 at 30 frames a second as browsers write it, of real footage.
fn make_minute(plan: &Plan, dir: &Path) -> Result<PathBuf> {
    let minute = dir.join("minute.webm");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-y", "-stream_loop", "3", "-i"]);
    ffmpeg.arg(plan.media.join("vp8.webm"));
    ffmpeg.args(["-t", "60", "-r", "30", "-s", "1280x720", "-c:v", "libvpx", "-b:v", "2500k"]);
    ffmpeg.args(["-deadline", "realtime", "-cpu-used", "8", "-g", "100", "-auto-alt-ref", "0"]);
    ffmpeg.args(["-c:a", "libopus", "-b:a", "48k"]).arg(&minute);
    output(&mut ffmpeg)?;
    Ok(minute)
}

fn repeated(minute: &Path, minutes: u64, dir: &Path) -> Result<PathBuf> {
    let whole = dir.join(format!("{minutes}.webm"));
    let times = (minutes - 1).to_string();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-y", "-stream_loop", &times, "-i"]).arg(minute);
    ffmpeg.args(["-c", "copy", "-f", "webm", "-live", "1"]).arg(&whole);
    output(&mut ffmpeg)?;
    Ok(whole)
}

async fn run(bytes: &[u8], minutes: u64, live: bool) -> Result<Run> {
    let here = Environment::new("here").set("destinations", Vec::<String>::new());
    let settings = Settings::new().environment(here).set("transcode.live", live);
    let node = Node::start(settings).await?;
    let mut stream = Stream::start(&node.address()?, "here").await?;
    let begun = Instant::now();
    #[expect(clippy::cast_precision_loss, reason = "a few hours")]
    let length_s = minutes as f64 * 60.0;
    if live {
        feed(&node, &mut stream, bytes, length_s).await?;
    } else {
        stream.push(bytes, 256 << 10).await?;
    }
    let rate = length_s / begun.elapsed().as_secs_f64();
    let stopped = Instant::now();
    stream.stop(bytes.len()).await?;
    stream.save().await?;
    let film_bytes = film(&node, &stream.id).await?;
    let wait = stopped.elapsed();
    let was_live = node.log().contains("what was made while it came in is taken over");
    Ok(Run { wait, rate, film_bytes, was_live })
}

/// Feeds a recording as the encoder keeps up.
async fn feed(node: &Node, stream: &mut Stream, bytes: &[u8], length_s: f64) -> Result<()> {
    let place = |s: f64| {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a file"
        )]
        let place = (bytes.len() as f64 * (s / length_s).clamp(0.0, 1.0)) as usize;
        place
    };
    let (mut at_s, mut done_s) = (0.0, 0.0);
    let mut every = tokio::time::interval(Duration::from_secs_f64(CHUNK_S));
    while at_s < length_s {
        let step_s = if at_s >= length_s - LAST_S { CHUNK_S } else { LARGE_CHUNK_S };
        if at_s >= length_s - LAST_S {
            every.tick().await;
        } else {
            while at_s > done_s + AHEAD_S {
                tokio::time::sleep(POLL * 5).await;
                let recording = node.recording(&stream.id).await?;
                let live_ms = &recording["live_ms"];
                ensure!(!live_ms.is_null(), "it is not transcoded: {}", node.log());
                #[expect(clippy::cast_precision_loss, reason = "a few hours")]
                let ms = live_ms.as_u64().context("no number")? as f64;
                done_s = ms / 1000.0;
            }
            every.reset();
        }
        at_s += step_s;
        stream.push(&bytes[..place(at_s)], 64 << 10).await?;
    }
    Ok(())
}

/// Waits for the film; its size in bytes.
async fn film(node: &Node, id: &str) -> Result<u64> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let recording = node.recording(id).await?;
        let files = recording["files"].as_array().context("no files")?;
        let is_film = |file: &&Value| file["kind"] == "main";
        if let Some(film) = files.iter().find(is_film) {
            return film["bytes"].as_u64().context("no size");
        }
        ensure!(recording["transcode"]["error"].is_null(), "{recording}");
        tokio::time::sleep(POLL).await;
    }
    anyhow::bail!("no film came")
}
