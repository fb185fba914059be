//! One job from its descriptors to its report: probe, plan, run, verify.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use holdfast_core::job::{AudioFacts, Job, MAIN_NAME, Made, Report, SourceFacts, VideoFacts};
use holdfast_core::transform::{Loudness, Transform};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::container::Container;
use crate::encoders::Wish;
use crate::error::Error;
use crate::growth::Growth;
use crate::loudness::Measured;
use crate::mp4::front;
use crate::pipeline::Written;
use crate::plan::{Plan, VideoPlan, plan};
use crate::probe::{Scan, probe};
use crate::source::Input;
use crate::verify::{MadeWith, Verified, verify};
use crate::watch::{Watch, ms};
use crate::watermark::Picture;
use crate::{live, pipeline, plan, watermark};

/// Most remarks of a job; see [`Made`].
pub(crate) const REMARKS_MAX: usize = 16;

/// The descriptors that come with a job.
pub(crate) struct Files {
    /// The recording.
    pub(crate) input: OwnedFd,
    /// The output folder.
    pub(crate) output: OwnedFd,
    /// The watermark's PNG, where there is one.
    pub(crate) watermark: Option<OwnedFd>,
}

/// Does a job and tells its last word; the error is for the log. `growth`: how far the recording has come,
/// where it is still coming in.
pub(crate) fn work(
    job: &Job,
    files: Files,
    growth: Option<&Arc<Growth>>,
    watch: &mut Watch<'_>,
) -> Result<(), Error> {
    let made = match growth {
        Some(growth) => live::make(job, files, growth, watch),
        None => make(job, files, watch),
    };
    match made {
        Ok(made) => watch.report(&Report::Done(made)),
        Err(Error::Abandoned) => Err(Error::Abandoned),
        Err(e) => {
            watch.report(&Report::Failed(e.failure()))?;
            Err(e)
        }
    }
}

fn make(job: &Job, files: Files, watch: &mut Watch<'_>) -> Result<Made, Error> {
    job.transform.check().map_err(|e| Error::Internal(format!("the job's transform: {e}")))?;
    let watermark = watermark(job, files.watermark)?;
    let input = Input::new(File::from(files.input))?;
    watch.expect(input.bytes, 0, 0);
    let mut scan = probe(&input, watch)?;
    let source = facts(&scan);
    if job.transform.audio.mute && scan.video.is_some() {
        // As if there had been none: a film begins and ends with its picture.
        scan.audio = None;
    }
    watch.expect(input.bytes, scan.duration_ns(), scan.pixels_per_s());
    let measured = measured(job, &input, &scan, watch)?;
    let plan = plan(&scan, job.outputs, &job.transform, measured)?;
    let wish = Wish { hardware: job.hardware.clone(), quality: job.transform.video.quality };
    let task = Task { job, wish, input, source, scan, watermark, output: files.output };
    let mut plan = plan;
    // At most three times: each takes less over than the one before.
    let made = loop {
        match task.attempt(&plan, watch) {
            Ok(made) => break made,
            Err(error) => plan = plan.instead(&error, &task.scan).ok_or(error)?,
        }
    };
    sync_folder(&task.output)?;
    Ok(made)
}

/// Reads the watermark, where the job says that there is one.
pub(crate) fn watermark(job: &Job, file: Option<OwnedFd>) -> Result<Option<Arc<Picture>>, Error> {
    match (&job.transform.watermark, file) {
        (Some(_), Some(file)) => Ok(Some(Arc::new(watermark::read(&File::from(file))?))),
        (Some(_), None) => Err(Error::Internal("no PNG came with the job's watermark".into())),
        (None, _) => Ok(None),
    }
}

/// The sound's loudness, where it matters.
fn measured(
    job: &Job,
    input: &Arc<Input>,
    scan: &Scan,
    watch: &mut Watch<'_>,
) -> Result<Option<Measured>, Error> {
    let want = &job.transform.audio;
    let asked = job.outputs.mp4 && want.loudness == Loudness::R128 && !want.mute;
    match scan.audio.as_ref().filter(|_| asked) {
        Some(a) => pipeline::measure(input, scan, a, plan::channels(a, want.channels), watch),
        None => Ok(None),
    }
}

/// One job, read and understood.
struct Task<'a> {
    job: &'a Job,
    wish: Wish,
    input: Arc<Input>,
    source: SourceFacts,
    scan: Scan,
    watermark: Option<Arc<Picture>>,
    output: OwnedFd,
}

impl Task<'_> {
    /// Where hardware encodes, whatever went wrong may be its fault: only software can tell.
    fn attempt(&self, plan: &Plan, watch: &mut Watch<'_>) -> Result<Made, Error> {
        let converts = matches!(plan.video, Some(VideoPlan::Convert { .. }));
        self.try_once(plan, watch).map_err(|e| match e {
            Error::Internal(what)
            | Error::Stalled(what)
            | Error::Length(what)
            | Error::Limit(what)
                if converts && self.wish.hardware.is_some() =>
            {
                Error::Hardware(what)
            }
            e => e,
        })
    }

    fn try_once(&self, plan: &Plan, watch: &mut Watch<'_>) -> Result<Made, Error> {
        let Self { input, scan, output, .. } = self;
        let mark = self.watermark.as_ref();
        let main = plan.mp4.then(|| create(output, MAIN_NAME)).transpose()?;
        let read_back = main.as_ref().map(File::try_clone).transpose();
        let read_back = read_back.map_err(Error::disk("cannot open the .mp4 again"))?;
        let moved = match &main {
            Some(file) => move_index(input, scan, plan, file, watch)?,
            None => false,
        };
        let outcome = if moved {
            pipeline::run(input, scan, &plan.pictures_only(), mark, None, &self.wish, watch)?
        } else {
            pipeline::run(input, scan, plan, mark, main, &self.wish, watch)?
        };
        let Written { snapshot, filmstrip, filmstrip_vtt, remarks: about_pictures } =
            outcome.pictures.write(&self.job.filmstrip_link, |name| create(output, name))?;
        let mut remarks = plan.remarks.clone();
        remarks.extend(outcome.remarks);
        remarks.extend(about_pictures);
        let mp4 = match read_back {
            Some(file) => {
                let with = MadeWith {
                    encoder: outcome.encoder,
                    decoder: outcome.decoder,
                    cut: outcome.cut,
                    lost: outcome.lost,
                };
                let Verified { mp4, remarks: more } = verify(&file, scan, plan, with)?;
                remarks.extend(more);
                Some(mp4)
            }
            None => None,
        };
        remarks.truncate(REMARKS_MAX);
        let source = self.source.clone();
        let is_damaged = outcome.cut || scan.cut;
        Ok(Made { source, mp4, snapshot, filmstrip, filmstrip_vtt, remarks, is_damaged })
    }
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
    if !plan.takes_all_over(scan) || scan.container != Some(Container::Quicktime) || in_band {
        return Ok(false);
    }
    let tracks = usize::from(plan.video.is_some()) + usize::from(plan.audio.is_some());
    let (bytes_max, duration_ns) = (watch.limits.output_bytes_max, scan.duration_ns());
    front::move_index(input, file, tracks, bytes_max, &mut || watch.tick(0, Some(duration_ns)))
}

/// Makes a file in the output folder.
pub(crate) fn create(folder: &OwnedFd, name: &str) -> Result<File, Error> {
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    openat(folder.as_fd(), name, flags, Mode::from_bits_truncate(0o640))
        .map(File::from)
        .map_err(|e| Error::disk(format!("cannot make {name}"))(e.into()))
}

/// Makes the output folder durable.
pub(crate) fn sync_folder(folder: &OwnedFd) -> Result<(), Error> {
    nix::unistd::fsync(folder.as_fd())
        .map_err(|e| Error::disk("cannot make the output folder durable")(e.into()))
}

/// A recording in the words of the contract.
pub(crate) fn facts(scan: &Scan) -> SourceFacts {
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
pub(crate) fn open_named(input: &str, output: &str, mark: Option<&str>) -> Result<Files, Error> {
    let open = |path: &str| File::open(path).map_err(Error::disk(format!("cannot open {path}")));
    let input = open(input)?;
    std::fs::create_dir_all(output).map_err(Error::disk(format!("cannot make {output}")))?;
    let watermark = mark.map(open).transpose()?.map(OwnedFd::from);
    Ok(Files { input: input.into(), output: open(output)?.into(), watermark })
}

/// Reads the transform that a developer named on the command line.
pub(crate) fn read_transform(path: &str) -> Result<Transform, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::disk(format!("cannot read {path}")))?;
    serde_json::from_str(&text).map_err(|e| Error::Internal(format!("{path}: {e}")))
}
