//! One file transcoded for whoever asks on the command line: the same child with the same contract and
//! jail as a node's, without a node.

use std::fs::File;
use std::path::Path;

use holdfast_core::job::{Job, Made, Report};

use super::child::{Child, Spawn, Start, check};
use super::{TranscodeError, in_memory};

/// Transcodes `raw` into `work`, an empty folder, which then has the files by the names that
/// [`holdfast_core::job`] gives them. `on_progress` is told positions and the length, in milliseconds.
///
/// # Errors
/// [`TranscodeError`]; what is in the folder is then worthless.
pub async fn transcode(
    program: &Path,
    mut job: Job,
    raw: &File,
    work: &Path,
    mut on_progress: impl FnMut(u64, Option<u64>),
) -> Result<Made, TranscodeError> {
    let image = job.transform.watermark.as_mut().map(|mark| std::mem::take(&mut mark.image));
    let watermark = image.map(|image| in_memory(&image)).transpose();
    let watermark = watermark.map_err(TranscodeError::Watermark)?;
    let start = Start::Spawn(Spawn { program, state_path: work });
    let mut child = start.start(&job, (raw, work, watermark.as_ref()))?;
    let made = listen(&mut child, &job, &mut on_progress).await;
    let ended = child.end().await;
    made.and_then(|made| ended.map(|()| made))
}

async fn listen(
    child: &mut Child,
    job: &Job,
    on_progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<Made, TranscodeError> {
    loop {
        match child.next().await? {
            Report::Started(confinement) => check(&confinement, job.limits.jail)?,
            Report::Progress { position_ms, duration_ms } => on_progress(position_ms, duration_ms),
            Report::Done(made) => return Ok(made),
            Report::Failed(failure) => return Err(TranscodeError::Failed(failure)),
        }
    }
}
