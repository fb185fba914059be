//! What transcoding costs, beside ffmpeg: the same files to the same three outputs, at the same x264 preset
//! and quality, in turn.
//!
//! ffmpeg gets what makes it fastest and right: `-vsync vfr`, without which it takes a browser's VP9 for
//! 1000 frames a second and doubles frames; and it takes H.264 over where the recording has it, as we do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{bin_dir, output};

use crate::process::{Cost, costs, cpu_seconds_of_children};

/// What to measure.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Folder with recordings.
    pub(crate) media: PathBuf,
    pub(crate) rounds: u32,
    /// How often 20 seconds are repeated for what is only moved over.
    pub(crate) repeats: u32,
    /// Nothing: all recordings, and `jobs`.
    pub(crate) only: Option<String>,
}

impl Plan {
    fn has(&self, what: &str) -> bool {
        self.only.as_ref().is_none_or(|only| what.contains(only))
    }
}

const PATIENCE: Duration = Duration::from_secs(600);
const RECORDINGS: [&str; 4] = ["vp8.webm", "vp9.webm", "av1.webm", "h264.mkv"];
const X264: [&str; 10] = [
    "-vsync", "vfr", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p",
];
const AAC: [&str; 6] = ["-c:a", "aac", "-b:a", "96k", "-movflags", "+faststart"];

/// A way to make the outputs: commands that run one after another.
type Way = Box<dyn Fn(&Path) -> Result<Vec<Command>>>;

/// Measures and prints tables.
pub(crate) fn measure(plan: &Plan) -> Result<()> {
    let dir = tempfile::tempdir()?;
    warm(dir.path())?;
    println!(
        "| recording | by | wall s | CPU s | peak MiB | film KiB | SSIM | VMAF | wall | CPU |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut encoded = Encoded::default();
    for name in RECORDINGS.into_iter().filter(|name| plan.has(name)) {
        let input = plan.media.join(name);
        compare(
            plan,
            dir.path(),
            &input,
            name,
            &[
                ("Holdfast", ours(dir.path(), &input, true)),
                ("ffmpeg, one command", one_command(&input)?),
                ("ffmpeg, three commands", three_commands(&input)?),
            ],
            &mut encoded,
        )?;
    }
    let long = [("long.mp4", "mp4"), ("long.mkv", "matroska")];
    for (name, container) in long.into_iter().filter(|(name, _)| plan.has(name)) {
        let input = dir.path().join(name);
        make_long(plan, &input, container)?;
        let called = format!("{name}, {} s of H.264 and AAC", seconds(&input)?.round());
        compare(
            plan,
            dir.path(),
            &input,
            &called,
            &[("Holdfast", ours(dir.path(), &input, false)), ("ffmpeg -c copy", copy(&input))],
            &mut encoded,
        )?;
    }
    encoded.print();
    if plan.has("jobs") { at_once(plan, dir.path()) } else { Ok(()) }
}

fn ffmpeg(input: &Path) -> Command {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-y", "-i"]).arg(input);
    ffmpeg
}

/// Length by reading it: a browser's WebM says none.
fn seconds(input: &Path) -> Result<f64> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0"]).arg(input);
    let text = String::from_utf8(output(&mut ffprobe)?)?;
    let times = text.lines().filter_map(|line| line.trim_end_matches(',').parse::<f64>().ok());
    Ok(times.fold(0.0, f64::max))
}

fn registry(dir: &Path) -> PathBuf {
    dir.join("registry.bin")
}

fn transcoder(dir: &Path) -> Command {
    let mut transcoder = Command::new(bin_dir().join("holdfast-transcode"));
    transcoder
        .env("GST_REGISTRY", registry(dir))
        .env("GST_REGISTRY_UPDATE", "no")
        .env("GST_REGISTRY_FORK", "no");
    transcoder
}

fn warm(dir: &Path) -> Result<()> {
    let mut warm = transcoder(dir);
    warm.env_remove("GST_REGISTRY_UPDATE").arg("--warm");
    output(&mut warm).map(drop)
}

fn ours(dir: &Path, input: &Path, pictures: bool) -> Way {
    let (dir, input) = (dir.to_owned(), input.to_owned());
    Box::new(move |out| {
        let mut command = transcoder(&dir);
        command.arg("--input").arg(&input).arg("--output").arg(out);
        if !pictures {
            command.args(["--no-snapshot", "--no-filmstrip"]);
        }
        Ok(vec![command])
    })
}

fn one_command(input: &Path) -> Result<Way> {
    let (input, tiles_per_s) = (input.to_owned(), 10.0 / seconds(input)?);
    Ok(Box::new(move |out| {
        let (film, graph) = match is_h264(&input) {
            true => ("0:v", "[0:v]split=2[a][b]"),
            false => ("[film]", "[0:v]split=3[film][a][b]"),
        };
        let graph = format!(
            "{graph};[a]select=eq(n\\,0)[snapshot];\
             [b]fps={tiles_per_s},scale=160:-2,tile=10x1[strip]"
        );
        let mut all = ffmpeg(&input);
        all.args(["-filter_complex", &graph, "-map", film, "-map", "0:a"]);
        all.args(video(&input)).args(AAC).arg(out.join("main.mp4"));
        all.args(["-map", "[snapshot]", "-frames:v", "1"]).arg(out.join("snapshot.jpg"));
        all.args(["-map", "[strip]", "-frames:v", "1"]).arg(out.join("filmstrip.jpg"));
        Ok(vec![all])
    }))
}

fn three_commands(input: &Path) -> Result<Way> {
    let (input, tiles_per_s) = (input.to_owned(), 10.0 / seconds(input)?);
    Ok(Box::new(move |out| {
        let (mut film, mut snapshot, mut strip) = (ffmpeg(&input), ffmpeg(&input), ffmpeg(&input));
        film.args(video(&input)).args(AAC).arg(out.join("main.mp4"));
        snapshot.args(["-frames:v", "1"]).arg(out.join("snapshot.jpg"));
        let tiles = format!("fps={tiles_per_s},scale=160:-2,tile=10x1");
        strip.args(["-vf", &tiles, "-frames:v", "1"]).arg(out.join("filmstrip.jpg"));
        Ok(vec![film, snapshot, strip])
    }))
}

fn is_h264(input: &Path) -> bool {
    let name = input.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b"h264") || name.starts_with(b"long")
}

fn video(input: &Path) -> &'static [&'static str] {
    if is_h264(input) { &["-c:v", "copy"] } else { &X264 }
}

fn copy(input: &Path) -> Way {
    let input = input.to_owned();
    Box::new(move |out| {
        let mut copy = ffmpeg(&input);
        copy.args(["-c", "copy", "-movflags", "+faststart"]).arg(out.join("main.mp4"));
        Ok(vec![copy])
    })
}

/// A long film of H.264 and AAC, its index at the end.
fn make_long(plan: &Plan, to: &Path, container: &str) -> Result<()> {
    let (short, voice) = (to.with_file_name("short.mp4"), plan.media.join("vp8.webm"));
    // Thirty frames a second: repeated with times of their own, they get an index that contradicts itself.
    let mut make = ffmpeg(&voice);
    output(make.args(["-r", "30"]).args(&X264[2..]).arg("-an").arg(&short))?;
    // The sound in one go: AAC that is repeated has a lead-in each time, which overlaps.
    let (times, seconds) = ((plan.repeats - 1).to_string(), (plan.repeats * 19).to_string());
    let mut repeat = Command::new("ffmpeg");
    repeat.args(["-v", "error", "-nostdin", "-y", "-stream_loop", &times, "-i"]).arg(short);
    repeat.args(["-stream_loop", &times, "-i"]).arg(voice);
    repeat.args(["-map", "0:v", "-map", "1:a", "-c:v", "copy"]).args(&AAC[..4]);
    output(repeat.args(["-t", &seconds, "-f", container]).arg(to)).map(drop)
}

/// Each way in turn, `rounds` times; the middle round of each.
fn compare(
    plan: &Plan,
    dir: &Path,
    input: &Path,
    called: &str,
    ways: &[(&str, Way)],
    encoded: &mut Encoded,
) -> Result<()> {
    let mut rounds: Vec<Vec<Cost>> = vec![Vec::new(); ways.len()];
    let mut films = vec![Film::default(); ways.len()];
    for _ in 0..plan.rounds {
        for (number, (_, way)) in ways.iter().enumerate() {
            let out = dir.join("out");
            fs::create_dir_all(&out)?;
            let mut sum = Cost { wall_s: 0.0, cpu_s: 0.0, peak_kib: 0 };
            for command in way(&out)? {
                let cost = costs(command, PATIENCE)?;
                sum.wall_s += cost.wall_s;
                sum.cpu_s += cost.cpu_s;
                sum.peak_kib = sum.peak_kib.max(cost.peak_kib);
            }
            rounds[number].push(sum);
            let film = out.join("main.mp4");
            if films[number].kib == 0 {
                let is_encoded = !is_h264(input);
                films[number] = Film::look(&film, input, is_encoded)?;
                encoded.note(called, ways[number].0, x264_options(&film)?);
            }
            fs::remove_dir_all(&out)?;
        }
    }
    let middle = |all: &[Cost]| {
        let of = |figure: fn(&Cost) -> f64| {
            let mut all: Vec<f64> = all.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        (of(|it| it.wall_s), of(|it| it.cpu_s), of(|it| it.peak_kib as f64 / 1024.0))
    };
    let first = middle(&rounds[0]);
    for (((by, _), all), Film { kib, ssim, vmaf }) in ways.iter().zip(&rounds).zip(&films) {
        let (wall, cpu, peak) = middle(all);
        println!(
            "| {called} | {by} | {wall:.2} | {cpu:.2} | {peak:.0} | {kib} | {ssim} | {vmaf} | {:.2} | {:.2} |",
            first.0 / wall,
            first.1 / cpu
        );
    }
    Ok(())
}

/// How good a film is.
#[derive(Debug, Clone, Default)]
struct Film {
    kib: u64,
    ssim: String,
    vmaf: String,
}

impl Film {
    /// Where nothing was encoded SSIM is enough: VMAF takes longer than all else, and would say the same.
    fn look(film: &Path, input: &Path, is_encoded: bool) -> Result<Self> {
        let ssim = alike("ffmpeg".as_ref(), film, input, "ssim", "All:")?;
        let kib = film.metadata()?.len() >> 10;
        if !is_encoded {
            return Ok(Self { kib, ssim, vmaf: "-".into() });
        }
        // Debian's ffmpeg has no libvmaf.
        let ffmpeg = holdfast_tests::tools::tools_dir().join("ffmpeg-vmaf");
        let vmaf = alike(&ffmpeg, film, input, "libvmaf=n_threads=2", "VMAF score: ")?;
        Ok(Self { kib, ssim, vmaf })
    }
}

/// How alike a film is to its recording by one of ffmpeg's filters, frame by frame at the same times.
fn alike(ffmpeg: &Path, film: &Path, input: &Path, filter: &str, says: &str) -> Result<String> {
    // A film says its colours where its recording did not; newer ffmpegs then convert one to the other's.
    let same = "settb=AVTB,setpts=PTS-STARTPTS,setparams=range=limited:color_primaries=bt709:\
                color_trc=bt709:colorspace=bt709";
    let graph = format!("[0:v]{same}[a];[1:v]{same}[b];[a][b]{filter}");
    let mut compare = Command::new(ffmpeg);
    compare.args(["-nostdin", "-hide_banner", "-i"]).arg(film).arg("-i").arg(input);
    let said = compare.args(["-lavfi", &graph, "-f", "null", "-"]).output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let all = said.rsplit_once(says).with_context(|| format!("no {filter}: {said}"))?.1;
    Ok(all.split_whitespace().next().unwrap_or_default().to_owned())
}

/// What x264 wrote into a film's stream of its options; nothing where it did not make it.
fn x264_options(film: &Path) -> Result<Option<BTreeMap<String, String>>> {
    let mut raw = ffmpeg(film);
    raw.args(["-map", "0:v", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-frames:v", "1"]);
    let stream = output(raw.args(["-f", "h264", "-"]))?;
    let text = String::from_utf8_lossy(&stream);
    let Some((_, options)) = text.split_once(" - options: ") else { return Ok(None) };
    let options = options.split('\0').next().unwrap_or_default();
    let pairs = options.split(' ').filter_map(|pair| pair.split_once('='));
    Ok(Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

type Options = BTreeMap<String, String>;

/// x264's options in each film, to say where they differ.
#[derive(Default)]
struct Encoded {
    /// By recording: who made the film, and how.
    films: Vec<(String, String, Options)>,
}

impl Encoded {
    fn note(&mut self, recording: &str, by: &str, options: Option<Options>) {
        if let Some(options) = options {
            self.films.push((recording.to_owned(), by.to_owned(), options));
        }
    }

    /// Says for each film which options differ from those of the first film of its recording.
    fn print(&self) {
        println!("\nx264's options, read from the films; where they differ:");
        for (recording, by, options) in &self.films {
            let first = self.films.iter().find(|(of, ..)| of == recording);
            let Some((_, first_by, first)) = first.filter(|(_, first, _)| first != by) else {
                continue;
            };
            let names = first.keys().chain(options.keys()).collect::<BTreeSet<_>>();
            let value = |of: &Options, name| of.get(name).cloned().unwrap_or("-".into());
            let differ = names.into_iter().filter(|name| first.get(*name) != options.get(*name));
            let differ: Vec<_> = differ
                .map(|name| format!("{name} {} and {}", value(first, name), value(options, name)))
                .collect();
            let differ = if differ.is_empty() { "nowhere".into() } else { differ.join(", ") };
            println!("{recording}, {first_by} and {by}: {differ} (of {})", options.len());
        }
    }
}

/// Four jobs at once beside four in a row, by CPU.
fn at_once(plan: &Plan, dir: &Path) -> Result<()> {
    let input = plan.media.join(RECORDINGS[0]);
    let job = |number: usize| -> Result<Command> {
        let out = dir.join(format!("job{number}"));
        fs::create_dir_all(&out)?;
        let mut all = ours(dir, &input, true)(&out)?;
        all.pop().context("a command")
    };
    let (before, begun) = (cpu_seconds_of_children()?, Instant::now());
    for number in 0..4 {
        output(&mut job(number)?)?;
    }
    let (row, row_s) = (cpu_seconds_of_children()? - before, begun.elapsed().as_secs_f64());
    let (before, begun) = (cpu_seconds_of_children()?, Instant::now());
    let mut running = (0..4)
        .map(|number| Ok(job(number)?.stdout(std::process::Stdio::null()).spawn()?))
        .collect::<Result<Vec<_>>>()?;
    for child in &mut running {
        ensure!(child.wait()?.success(), "a job failed");
    }
    let (once, once_s) = (cpu_seconds_of_children()? - before, begun.elapsed().as_secs_f64());
    println!(
        "\nfour jobs: in a row {row:.2} CPU s in {row_s:.2} s; at once {once:.2} CPU s in {once_s:.2} s: {:.2}",
        once / row
    );
    Ok(())
}
