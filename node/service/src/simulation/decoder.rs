//! What stands in for the transcoding child: it reads the whole raw file, makes files that follow from
//! its bytes, and crashes, gives up and hangs like the real one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_core::job::{
    self, Made, MadeMp4, MadePicture, Outputs, Report, SourceFacts, Treatment,
};
use holdfast_core::recording::FileKind;
use jiff::Timestamp;

use super::chance::Chance;
use super::disk::Disk;
use super::others;
use crate::clock::Clock;
use crate::digest;
use crate::transcode::TranscodeError;
use crate::vault::VaultFile;

/// The decoder. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    disk: Disk,
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// How many of a hundred jobs go wrong.
    fails_percent: u64,
    chance: Chance,
    started: Vec<Started>,
}

/// A job that was started.
#[derive(Debug, Clone)]
pub(super) struct Started {
    /// The recording's folder.
    pub(super) folder: String,
    /// What the raw file had.
    pub(super) raw: Vec<u8>,
    pub(super) at: Timestamp,
}

/// A job that runs.
pub(crate) struct Job {
    decoder: Decoder,
    outputs: Outputs,
    wants_vtt: bool,
    raw: Vec<u8>,
    work: PathBuf,
    /// Reports that come before its end.
    left: u64,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Done,
    Failed,
    Crashed,
    Hung,
}

/// The bytes of a file that is made of a raw one. One that is damaged makes nothing.
pub(super) fn made_of(raw: &[u8], kind: FileKind) -> Vec<u8> {
    format!("{} of {}", kind.as_str(), digest::of(raw)).into_bytes()
}

/// Whether a decoder can make anything of this.
pub(super) fn is_damaged(raw: &[u8]) -> bool {
    raw.windows(7).any(|word| word == b"damaged")
}

impl Decoder {
    pub(super) fn new(disk: &Disk, clock: &Clock, chance: Chance) -> Self {
        let inner = Inner { fails_percent: 0, chance, started: Vec::new() };
        Self { disk: disk.clone(), clock: clock.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_failing(&self, percent: u64) {
        self.inner().fails_percent = percent;
    }

    /// Jobs started since it was last asked.
    pub(super) fn take_started(&self) -> Vec<Started> {
        std::mem::take(&mut self.inner().started)
    }

    pub(crate) fn start(&self, job: &job::Job, raw: &VaultFile, work: &Path) -> Job {
        // A child whose raw file cannot be read finds nothing in it.
        let raw = digest::read_start(raw, u64::MAX).unwrap_or_default();
        let folder = work.parent().and_then(Path::file_name).unwrap_or_default();
        let folder = folder.to_string_lossy().into_owned();
        let at = self.clock.now();
        let mut inner = self.inner();
        if !self.disk.is_off() {
            inner.started.push(Started { folder, raw: raw.clone(), at });
        }
        let percent = inner.fails_percent;
        let end = match inner.chance.percent(percent) {
            true => [End::Failed, End::Crashed, End::Hung][inner.chance.index(3)],
            false if is_damaged(&raw) => End::Failed,
            false => End::Done,
        };
        let left = inner.chance.from(0, 4);
        let wants_vtt = job.transform.filmstrip.vtt;
        Job {
            decoder: self.clone(),
            outputs: job.outputs,
            wants_vtt,
            raw,
            work: work.into(),
            left,
            end,
        }
    }
}

impl Job {
    pub(crate) async fn next(&mut self) -> Result<Report, TranscodeError> {
        others().await;
        if let Some(less) = self.left.checked_sub(1) {
            self.left = less;
            if self.left == 2 {
                tokio::time::sleep(Duration::from_secs(25)).await;
            }
            return Ok(Report::Progress { position_ms: 1, duration_ms: Some(2) });
        }
        match self.end {
            End::Done => self.make(),
            End::Failed => Ok(Report::Failed(job::Failure {
                kind: job::FailureKind::Damaged,
                message: "there is nothing in it that can be decoded".into(),
            })),
            End::Crashed => Err(TranscodeError::Crashed { how: "signal: 11".into() }),
            End::Hung => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Err(TranscodeError::Overdue { what: "said nothing for 60 s".into() })
            }
        }
    }

    fn make(&self) -> Result<Report, TranscodeError> {
        let wanted = [
            (self.outputs.mp4, FileKind::Main, job::MAIN_NAME),
            (self.outputs.snapshot, FileKind::Snapshot, job::SNAPSHOT_NAME),
            (self.outputs.filmstrip, FileKind::Filmstrip, job::FILMSTRIP_NAME),
            (
                self.outputs.filmstrip && self.wants_vtt,
                FileKind::FilmstripVtt,
                job::FILMSTRIP_VTT_NAME,
            ),
        ];
        let mut sizes = [None; 4];
        for (size, (is_wanted, kind, name)) in sizes.iter_mut().zip(wanted) {
            if !is_wanted {
                continue;
            }
            let bytes = made_of(&self.raw, kind);
            if let Err(error) = self.decoder.disk.write(&self.work.join(name), &bytes) {
                let message = error.to_string();
                return Ok(Report::Failed(job::Failure { kind: job::FailureKind::Disk, message }));
            }
            *size = Some(bytes.len() as u64);
        }
        let [mp4, snapshot, filmstrip, filmstrip_vtt] = sizes;
        let picture = |bytes| MadePicture { bytes, width: 1, height: 1 };
        let source =
            SourceFacts { container: "webm".into(), video: None, audio: None, duration_ms: 1 };
        Ok(Report::Done(Made {
            source,
            mp4: mp4.map(|bytes| MadeMp4 {
                bytes,
                duration_ms: 1,
                video: Treatment::Remuxed,
                audio: Treatment::Absent,
                encoder: None,
                decoder: None,
                width: 1,
                height: 1,
            }),
            snapshot: snapshot.map(picture),
            filmstrip: filmstrip.map(picture),
            filmstrip_vtt,
            remarks: Vec::new(),
            is_damaged: false,
        }))
    }
}
