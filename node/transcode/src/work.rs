//! One job from its descriptors to its report: probe, plan, run, verify.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use holdfast_core::job::{AudioFacts, Job, MAIN_NAME, Made, Report, SourceFacts, VideoFacts};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::container::Container;
use crate::error::Error;
use crate::mp4::front;
use crate::plan::{Plan, plan};
use crate::probe::{Scan, probe};
use crate::source::Input;
use crate::verify::{Verified, verify};
use crate::watch::{Watch, ms};
use crate::{jail, pipeline};

const REMARKS_MAX: usize = 16;

/// Does a job and tells its last word; the error is for the log.
pub(crate) fn work(
    job: &Job,
    input: OwnedFd,
    output: &OwnedFd,
    watch: &mut Watch<'_>,
) -> Result<(), Error> {
    match make(job, input, output, watch) {
        Ok(made) => watch.report(&Report::Done(made)),
        Err(Error::Abandoned) => Err(Error::Abandoned),
        Err(e) => {
            watch.report(&Report::Failed(e.failure()))?;
            Err(e)
        }
    }
}

fn make(job: &Job, input: OwnedFd, output: &OwnedFd, watch: &mut Watch<'_>) -> Result<Made, Error> {
    jail::limit_files(job.limits.output_bytes_max)?;
    let input = Input::new(File::from(input))?;
    let scan = probe(&input, watch)?;
    let plan = plan(&scan, job.outputs);
    let made = match attempt(&input, &scan, &plan, output, watch) {
        Err(e @ (Error::Internal(_) | Error::Damaged(_))) => match plan.converting(&scan) {
            Some(plan) => attempt(&input, &scan, &plan, output, watch),
            None => Err(e),
        },
        other => other,
    }?;
    sync_folder(output)?;
    Ok(made)
}

fn attempt(
    input: &Arc<Input>,
    scan: &Scan,
    plan: &Plan,
    output: &OwnedFd,
    watch: &mut Watch<'_>,
) -> Result<Made, Error> {
    let main = plan.mp4.then(|| create(output, MAIN_NAME)).transpose()?;
    let read_back = main.as_ref().map(File::try_clone).transpose();
    let read_back = read_back.map_err(Error::disk("cannot open the .mp4 again"))?;
    let moved = match &main {
        Some(file) => move_index(input, scan, plan, file, watch)?,
        None => false,
    };
    let outcome = if moved {
        pipeline::run(input, scan, &plan.pictures_only(), None, watch)?
    } else {
        pipeline::run(input, scan, plan, main, watch)?
    };
    let (snapshot, filmstrip) = outcome.pictures.write(|name| create(output, name))?;
    let mut remarks = plan.remarks.clone();
    remarks.extend(outcome.remarks);
    let mp4 = match read_back {
        Some(file) => {
            let Verified { mp4, remarks: more } =
                verify(&file, scan, plan, outcome.encoder, outcome.cut)?;
            remarks.extend(more);
            Some(mp4)
        }
        None => None,
    };
    remarks.truncate(REMARKS_MAX);
    Ok(Made { source: facts(scan), mp4, snapshot, filmstrip, filmstrip_vtt: None, remarks })
}

/// Takes a whole .mp4 over without a pipeline, where it is H.264 and AAC already.
fn move_index(
    input: &Arc<Input>,
    scan: &Scan,
    plan: &Plan,
    file: &File,
    watch: &mut Watch<'_>,
) -> Result<bool, Error> {
    let in_band = scan.video.as_ref().is_some_and(|v| v.sets_in_band);
    if !plan.takes_all_over() || scan.container != Some(Container::Quicktime) || in_band {
        return Ok(false);
    }
    let tracks = usize::from(plan.video.is_some()) + usize::from(plan.audio.is_some());
    let (bytes_max, duration_ns) = (watch.limits.output_bytes_max, scan.duration_ns());
    front::move_index(input, file, tracks, bytes_max, &mut || watch.tick(0, Some(duration_ns)))
}

fn create(folder: &OwnedFd, name: &str) -> Result<File, Error> {
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    openat(folder.as_fd(), name, flags, Mode::from_bits_truncate(0o640))
        .map(File::from)
        .map_err(|e| Error::disk(format!("cannot make {name}"))(e.into()))
}

fn sync_folder(folder: &OwnedFd) -> Result<(), Error> {
    nix::unistd::fsync(folder.as_fd())
        .map_err(|e| Error::disk("cannot make the output folder durable")(e.into()))
}

fn facts(scan: &Scan) -> SourceFacts {
    SourceFacts {
        container: scan.container.map_or("", |c| c.name()).to_owned(),
        video: scan.video.as_ref().map(|v| {
            let (width, height) = v.sizes.first().copied().unwrap_or((0, 0));
            VideoFacts { codec: v.codec.name.to_owned(), width, height, rotation: v.rotation }
        }),
        audio: scan.audio.as_ref().map(|a| AudioFacts {
            codec: a.codec.name.to_owned(),
            channels: a.channels.max(1),
            rate_hz: a.rate_hz,
        }),
        duration_ms: ms(scan.duration_ns()),
    }
}

/// Opens what a developer named on the command line.
pub(crate) fn open_named(input: &str, output: &str) -> Result<(OwnedFd, OwnedFd), Error> {
    let recording = File::open(input).map_err(Error::disk(format!("cannot open {input}")))?;
    std::fs::create_dir_all(output).map_err(Error::disk(format!("cannot make {output}")))?;
    let folder = File::open(output).map_err(Error::disk(format!("cannot open {output}")))?;
    Ok((recording.into(), folder.into()))
}
