//! The test recording of a self-test, done as any recording is: by the same child, in the same jail, on a
//! device first where one has room.

use std::fmt;
use std::path::PathBuf;

use holdfast_core::job::{Made, Outputs};
use holdfast_core::names::VolumeId;
use holdfast_core::transform::Transform;
use tokio_util::sync::CancellationToken;

use super::{TranscodeError, Transcoder};
use crate::vault::{Home, Trial, Vault, VaultError};

/// What a job is done for.
#[derive(Debug, Clone, Copy)]
pub(super) enum For {
    Recording(Home),
    /// The test recording, on this volume.
    Trial(VolumeId),
}

impl For {
    /// An empty folder for another try.
    pub(super) fn work_folder(self, vault: &Vault) -> Result<PathBuf, VaultError> {
        match self {
            Self::Recording(home) => vault.work_folder(home),
            Self::Trial(volume) => vault.trial_work(volume),
        }
    }
}

impl fmt::Display for For {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recording(home) => home.id.fmt(f),
            Self::Trial(_) => f.write_str("of the self-test"),
        }
    }
}

impl Transcoder {
    /// Has everything made of it that can be. It waits for no place among the jobs: a node that is busy
    /// has to answer, too.
    ///
    /// # Errors
    /// [`TranscodeError`]; [`TranscodeError::Cancelled`] once the child has ended.
    pub async fn try_out(
        &self,
        trial: &Trial,
        cancel: &CancellationToken,
    ) -> Result<Made, TranscodeError> {
        let all = Outputs { mp4: true, snapshot: true, filmstrip: true };
        let job = self.job(all, Transform::default(), String::new());
        let whose = (For::Trial(trial.volume), true);
        self.make(whose, job, (&trial.raw, &trial.work, None), cancel).await
    }
}
