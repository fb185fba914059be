//! `holdfast transcode`: one file, by hand, without a node.

use std::fs::{self, File};
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use holdfast_core::job::{self, Job, Limits, Made, Outputs, Treatment};
use holdfast_core::names::at_destination;
use holdfast_core::recording::FileKind;
use holdfast_core::transform::Transform;
use serde_json::json;

use super::arguments::TranscodeFile;
use super::failure::Failure;
use super::input::{object, png};
use super::output::{print, print_json};
use super::words::Lines;
use crate::config;
use crate::transcode::{by_hand, program};

/// Width of the bar, in characters.
const BAR: u64 = 30;

/// What can be made: what the transcoder calls it, and which kind it is.
const MADE: [(&str, FileKind); 4] = [
    (job::MAIN_NAME, FileKind::Main),
    (job::SNAPSHOT_NAME, FileKind::Snapshot),
    (job::FILMSTRIP_NAME, FileKind::Filmstrip),
    (job::FILMSTRIP_VTT_NAME, FileKind::FilmstripVtt),
];

pub(super) fn act(asked: &TranscodeFile) -> anyhow::Result<()> {
    let (job, name) = (job(asked)?, name(&asked.file)?);
    let raw =
        File::open(&asked.file).with_context(|| format!("cannot read {}", asked.file.display()))?;
    if !raw.metadata().is_ok_and(|about| about.is_file()) {
        bail!(Failure::called_wrongly(format!("{} is no file", asked.file.display())));
    }
    fs::create_dir_all(&asked.out)
        .with_context(|| format!("cannot make {}", asked.out.display()))?;
    let there = MADE.map(|(_, kind)| asked.out.join(at_destination("", &name, kind, None)));
    if let Some(taken) = there.iter().find(|path| path.exists() && !asked.force) {
        bail!("{} is there already; --force replaces it", taken.display());
    }
    let work = Work::new(&asked.out)?;
    let settings = config::Transcode { program: asked.program.clone(), ..Default::default() };
    let mut bar = Bar { is_shown: !asked.json && std::io::stderr().is_terminal() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let show = |position, length| bar.show(position, length);
    let program = program(&settings);
    let made = runtime.block_on(async {
        // Whoever breaks it off is left with nothing half done.
        tokio::select! {
            made = by_hand::transcode(&program, job, &raw, &work.0, show) => Some(made),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    bar.end();
    let Some(made) = made else { bail!("broken off; nothing was made") };
    let made = made.with_context(|| asked.file.display().to_string())?;
    let mut files = Vec::new();
    for ((inside, _), outside) in MADE.iter().zip(there) {
        if work.0.join(inside).exists() {
            put(&work.0.join(inside), &outside)?;
            files.push(outside);
        }
    }
    if asked.json {
        return print_json(&json!({ "files": files, "made": made }));
    }
    print(&told(&made, &files))
}

fn job(asked: &TranscodeFile) -> anyhow::Result<Job> {
    let outputs = Outputs {
        mp4: !asked.no_mp4,
        snapshot: !asked.no_snapshot,
        filmstrip: !asked.no_filmstrip,
    };
    if !(outputs.mp4 || outputs.snapshot || outputs.filmstrip) {
        bail!(Failure::called_wrongly("nothing is to be made; leave one of --no-… out"));
    }
    let mut wanted = asked.transcoding.as_deref().map(object).transpose()?.unwrap_or_default();
    if let Some(path) = &asked.watermark {
        let mark = wanted.entry("watermark").or_insert_with(|| json!({}));
        mark["image"] = png(path)?.into();
    }
    let wanted: Transform = serde_json::from_value(wanted.into())
        .map_err(|error| Failure::called_wrongly(format!("--transcoding: {error}")))?;
    wanted.check().map_err(|what| Failure::called_wrongly(format!("--transcoding: {what}")))?;
    let name = name(&asked.file)?;
    Ok(Job {
        outputs,
        transform: wanted,
        filmstrip_link: at_destination("", &name, FileKind::Filmstrip, None),
        limits: Limits::default(),
        hardware: None,
        live: false,
    })
}

/// What the files are called: as the recording, without its ending.
fn name(file: &Path) -> anyhow::Result<String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.with_context(|| format!("{} has no name that is text", file.display()))?;
    Ok(stem.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a file of whoever asks, outside of any vault")]
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot make {}", to.display()))
}

fn told(made: &Made, files: &[PathBuf]) -> String {
    let mut lines = Lines::default();
    for file in files {
        lines.line("made", file.display());
    }
    if let Some(mp4) = &made.mp4 {
        let word = |treatment| match treatment {
            Treatment::Converted => "converted",
            Treatment::Remuxed => "taken over",
            Treatment::Absent => "none",
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds, for people")]
        let seconds = mp4.duration_ms as f64 / 1e3;
        lines.line("length", format!("{seconds:.1} s"));
        lines.line("picture", format!("{}x{}, {}", mp4.width, mp4.height, word(mp4.video)));
        lines.line("sound", word(mp4.audio));
    }
    for remark in &made.remarks {
        lines.line("remark", remark);
    }
    lines.0
}

/// A folder that goes with what is in it.
struct Work(PathBuf);

impl Work {
    fn new(beside: &Path) -> anyhow::Result<Self> {
        let path = beside.join(format!(".holdfast-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    #[expect(clippy::disallowed_methods, reason = "what this made, outside of any vault")]
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// How far it is, on the terminal.
struct Bar {
    is_shown: bool,
}

impl Bar {
    fn show(&mut self, position_ms: u64, length_ms: Option<u64>) {
        if !self.is_shown {
            return;
        }
        let length_ms = length_ms.unwrap_or(0).max(1);
        let done = (position_ms.min(length_ms) * BAR / length_ms).min(BAR);
        let (full, empty) = ("#".repeat(done as usize), "-".repeat((BAR - done) as usize));
        let percent = position_ms.min(length_ms) * 100 / length_ms;
        drop(write!(std::io::stderr(), "\r[{full}{empty}] {percent:3} %"));
    }

    fn end(&mut self) {
        if self.is_shown {
            drop(write!(std::io::stderr(), "\r{:width$}\r", "", width = BAR as usize + 8));
        }
    }
}
