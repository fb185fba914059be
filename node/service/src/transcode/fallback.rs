//! Hardware first, then software, within one attempt.
//!
//! Software runs in a child of its own: threads of a driver that hangs cannot be trusted to end. What
//! failed on hardware counts against the device only once software has done the same job, and found nothing
//! wrong with the recording.

use holdfast_core::job::{FailureKind, Job, Made, Treatment};
use tokio_util::sync::CancellationToken;

use super::{For, Given, TranscodeError, Transcoder};
use crate::hardware::Taken;

/// Most remarks of a job; see [`Made`].
const REMARKS_MAX: usize = 16;

impl TranscodeError {
    /// Whether software may do better.
    fn may_be_hardware(&self) -> bool {
        match self {
            Self::Crashed { .. } | Self::Overdue { .. } => true,
            Self::Failed(failure) => matches!(
                failure.kind,
                FailureKind::Hardware
                    | FailureKind::Internal
                    | FailureKind::Limit
                    | FailureKind::Stalled
                    | FailureKind::Damaged
            ),
            _ => false,
        }
    }

    /// Whether it is the recording that is damaged, and no device.
    fn is_the_recordings(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.kind == FailureKind::Damaged)
    }
}

impl Transcoder {
    /// Does a job on a device with room, and in software where there is none or it fails.
    pub(super) async fn make(
        &self,
        (whose, is_first): (For, bool),
        mut job: Job,
        given: Given<'_>,
        cancel: &CancellationToken,
    ) -> Result<Made, TranscodeError> {
        // What did not come out once is left to software: a retry must not depend on finding out why.
        let taken = if is_first { self.node.hardware.take() } else { None };
        let Some(taken) = taken else {
            return self.run(whose, &job, given, cancel).await;
        };
        job.hardware = Some(taken.chain.clone());
        let error = match self.run(whose, &job, given, cancel).await {
            Ok(made) => {
                note_use(&taken, &made);
                return Ok(made);
            }
            Err(error) if error.may_be_hardware() => error,
            Err(error) => return Err(error),
        };
        let (chain, device) = (&taken.chain.name, taken.device());
        tracing::warn!(recording = %whose, chain, device, %error, "failed on hardware; done again in software");
        job.hardware = None;
        if cancel.is_cancelled() {
            return Err(TranscodeError::Cancelled);
        }
        // What the first child left is worthless.
        let (raw, _, watermark) = given;
        let work = self.node.with_vault(move |vault| whose.work_folder(vault)).await?;
        let made = self.run(whose, &job, (raw, &work, watermark), cancel).await?;
        Ok(self.after_software(&taken, &error, made))
    }

    /// Software did what hardware failed at: it is said, and held against the device unless the recording
    /// is what was damaged.
    fn after_software(&self, taken: &Taken, error: &TranscodeError, mut made: Made) -> Made {
        let (name, device) = (&taken.chain.name, taken.device());
        let why = error.to_string();
        made.remarks.truncate(REMARKS_MAX - 1);
        let why_not = why.trim_end_matches('.');
        made.remarks.push(format!("This was done in software, because {name} failed: {why_not}."));
        if error.is_the_recordings() || made.is_damaged {
            return made;
        }
        if let Some(span) = taken.failed(self.node.clock.boottime(), &why) {
            let minutes = span.as_secs() / 60;
            tracing::error!(device, %error, "fails too often and is set aside for {minutes} min");
        }
        made
    }
}

/// A job that only took streams over says nothing of a device.
fn note_use(taken: &Taken, made: &Made) {
    if made.mp4.as_ref().is_some_and(|mp4| mp4.video == Treatment::Converted) {
        taken.worked();
    }
}
