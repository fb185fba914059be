//! A recording as the API shows it. `docs/api.md` is the contract; members are only ever added.

use holdfast_core::attempts::{ATTEMPTS_MAX, Attempts, Failure};
use holdfast_core::explain::explain;
use holdfast_core::job::SourceFacts;
use holdfast_core::names::Container;
use holdfast_core::recording::{
    File, FileKind, LegalHold, Metadata, Pushed, Recording, Source, State,
};
use holdfast_core::retention::{Fate, Rule, fate};
use holdfast_core::{RecordingId, push_order};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::deliver::transfers::TransferView;
use crate::vault::Vault;

/// A recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordingView {
    /// Identifies it.
    pub id: RecordingId,
    /// The environment it belongs to.
    pub env_id: String,
    /// The account that the environment belonged to.
    pub account_id: Option<String>,
    /// The volume that its files lie on.
    pub volume: Option<String>,
    /// Why its files cannot be had now, where their volume is away. They are not lost.
    pub unavailable: Option<String>,
    /// Its files' name at destinations, without ending.
    pub name: String,
    /// How it came in.
    pub source: Source,
    /// Where it stands.
    pub state: State,
    /// The client never came back, and the node closed it as far as its bytes reach.
    pub recovered: bool,
    /// When it began.
    pub received_at: Timestamp,
    /// When it was saved.
    pub saved_at: Option<Timestamp>,
    /// Durable bytes of the raw file.
    pub bytes: u64,
    /// SHA-256 of the raw file in hex, once it is whole.
    pub sha256: Option<String>,
    /// What its first bytes say it is.
    pub container: Option<Container>,
    /// What decoding it showed.
    pub media: Option<MediaView>,
    /// How far the running transcode has come, 0 to 1; nothing while none runs.
    pub progress: Option<f32>,
    /// How far it was transcoded while it comes in, in milliseconds, where it is.
    pub live_ms: Option<u64>,
    /// The transcode step.
    pub transcode: StepView,
    /// The push step: one counter over all destinations.
    pub push: StepView,
    /// Files that are being pushed at this moment.
    pub pushing: Vec<TransferView>,
    /// The legal hold, if there is one.
    pub hold: Option<LegalHold>,
    /// Its files, in the order in which they are pushed.
    pub files: Vec<FileView>,
    /// What can identify a person.
    pub metadata: Metadata,
    /// Sentences for people about what processing found.
    pub remarks: Vec<String>,
    /// What holds it now and what happens next.
    pub explain: String,
}

/// What decoding a recording showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MediaView {
    /// Length, in milliseconds.
    pub duration_ms: u64,
    /// Width for showing, in pixels; nothing without video.
    pub width: Option<u32>,
    /// Height for showing, in pixels; nothing without video.
    pub height: Option<u32>,
    /// Codec of the first video stream.
    pub video: Option<String>,
    /// Codec of the first audio stream.
    pub audio: Option<String>,
}

/// A step with its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Attempts started, the running one included.
    pub attempts: u8,
    /// The most there will be.
    pub attempts_max: u8,
    /// When the next one is due.
    pub next_at: Option<Timestamp>,
    /// What it waits for, where the last one was put off and cost no attempt.
    pub waits_for: Option<String>,
    /// The last failure.
    pub error: Option<Failure>,
}

/// A file of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileView {
    /// Which one.
    pub kind: FileKind,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes in hex, where it is known.
    pub sha256: Option<String>,
    /// Where to read it; nothing once neither this node nor a destination has it.
    pub url: Option<String>,
    /// Whether it lies in the vault and is to stay there for now.
    pub local: bool,
    /// When it will be deleted here, as far as that is known.
    pub delete_at: Option<Timestamp>,
    /// By which rule it will be deleted here.
    pub delete_by_rule: Option<Rule>,
    /// When it was deleted here.
    pub deleted_at: Option<Timestamp>,
    /// By which rule it was deleted here.
    pub deleted_by_rule: Option<Rule>,
    /// Where it was pushed to.
    pub pushed: Vec<Pushed>,
}

/// A recording as the API shows it.
///
/// `files_base` is the address under which its files are served, without a slash at its end.
#[must_use]
pub fn view(
    rec: &Recording,
    progress: Option<f32>,
    pushing: Vec<TransferView>,
    now: Timestamp,
    files_base: &str,
) -> RecordingView {
    let files = push_order::ORDER.into_iter().filter_map(|kind| rec.file(kind));
    RecordingView {
        id: rec.id,
        env_id: rec.env_id.clone(),
        account_id: rec.account_id.clone(),
        volume: rec.volume.map(|id| id.to_string()),
        unavailable: None,
        name: rec.name.clone(),
        source: rec.source,
        state: rec.state,
        recovered: rec.recovered,
        received_at: rec.received_at,
        saved_at: rec.saved_at,
        bytes: rec.bytes,
        sha256: rec.file(FileKind::Raw).and_then(|raw| raw.sha256.clone()),
        container: rec.container,
        media: rec.media.as_ref().map(media_view),
        progress,
        live_ms: None,
        transcode: step_view(&rec.transcode),
        push: step_view(&rec.push),
        pushing,
        hold: rec.hold.clone(),
        files: files.map(|file| file_view(rec, file, now, files_base)).collect(),
        metadata: rec.metadata.clone(),
        remarks: rec.remarks.clone(),
        explain: explain(rec, now),
    }
}

/// The address under which the API serves the files of a recording.
#[must_use]
pub fn files_base(id: RecordingId) -> String {
    format!("/api/v1/recordings/{id}/files")
}

/// Whether a recording was deleted, or never was one: none of its files is handed out any more.
#[must_use]
pub fn is_deleted(rec: &Recording) -> bool {
    rec.is_ended()
}

pub(crate) fn media_view(facts: &SourceFacts) -> MediaView {
    let size = facts.video.as_ref().map(|video| match video.rotation {
        90 | 270 => (video.height, video.width),
        _ => (video.width, video.height),
    });
    MediaView {
        duration_ms: facts.duration_ms,
        width: size.map(|(width, _)| width),
        height: size.map(|(_, height)| height),
        video: facts.video.as_ref().map(|video| video.codec.clone()),
        audio: facts.audio.as_ref().map(|audio| audio.codec.clone()),
    }
}

fn step_view(step: &Attempts) -> StepView {
    StepView {
        attempts: step.made,
        attempts_max: ATTEMPTS_MAX,
        next_at: step.next_at,
        waits_for: step.waits_for.clone(),
        error: step.error.clone(),
    }
}

impl RecordingView {
    /// Says how far it was transcoded while it comes in, in milliseconds, where it is.
    #[must_use]
    pub fn live(mut self, live_ms: Option<u64>) -> Self {
        if let Some(ms) = live_ms.filter(|_| self.state == State::Receiving) {
            let (minutes, seconds) = (ms / 60_000, ms / 1000 % 60);
            self.explain +=
                &format!(" Being transcoded while it comes in, as far as {minutes}:{seconds:02}.");
        }
        Self { live_ms, ..self }
    }

    /// Says on which volume it lies, by name, and whether that is there. Looks at the disk.
    #[must_use]
    pub fn on(self, vault: &Vault, rec: &Recording) -> Self {
        let volume = rec.volume.map(|id| vault.name_of(id));
        let has_files = !is_deleted(rec) && rec.files.iter().any(File::is_local);
        let away = has_files.then(|| vault.folder(rec).err()).flatten();
        Self { volume, unavailable: away.map(|away| away.to_string()), ..self }
    }
}

fn file_view(rec: &Recording, file: &File, now: Timestamp, files_base: &str) -> FileView {
    let local = file.is_local() && !is_deleted(rec);
    let readable = !is_deleted(rec) && (local || !file.pushed.is_empty());
    let (delete_at, delete_by_rule) = match fate(rec, file.kind) {
        Fate::Until { at, rule } => (Some(at), Some(rule)),
        Fate::Now(rule) => (Some(now), Some(rule)),
        Fate::Gone | Fate::Kept(_) => (None, None),
    };
    let bytes = match (file.kind, rec.state) {
        (FileKind::Raw, State::Receiving) => rec.bytes,
        _ => file.bytes,
    };
    FileView {
        kind: file.kind,
        bytes,
        sha256: file.sha256.clone(),
        url: readable.then(|| format!("{files_base}/{}", file.kind.as_str())),
        local,
        delete_at,
        delete_by_rule,
        deleted_at: file.deleted_at,
        deleted_by_rule: file.deleted_at.and(file.doomed.as_ref()).map(|doom| doom.rule),
        pushed: file.pushed.clone(),
    }
}
