//! A recording: its state, what can happen to it, and what follows.
//!
//! ```text
//! RECEIVING ─▶ STOPPED ─▶ SAVED ─▶ PROCESSING ─▶ DELIVERING ─▶ STORED | DELIVERED
//!     │           │          │          └──────────────┴─ exhausted ─▶ FAILED
//!     └───────────┴─ never came back: recovered ─▶ SAVED
//! any state ─▶ GARBAGE | DELETED
//! ```
//!
//! Invariants: a recording has at most one file of each kind; `saved_at` is set from SAVED on; an
//! attempt runs only in the state of its step; a file is unlinked only after it was doomed, and a
//! doomed file is never reprieved. An event that no longer fits the state (a push that ends after
//! the recording was deleted) changes nothing, so events may come late or twice.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attempts::{Attempts, Failure, Fault};
use crate::job::{Outputs, SourceFacts};
use crate::names::{Container, RecordingId};
use crate::push_order::{self, Success};
use crate::retention::{self, Fate, Rule};

/// Where a recording stands in its life (rule 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its bytes are arriving.
    Receiving,
    /// Its last byte is durable; the person has not said yet whether to keep it.
    Stopped,
    /// Saved: from here on every attempt counts.
    Saved,
    /// Being transcoded, or waiting for the next attempt.
    Processing,
    /// Being pushed, or waiting for the next attempt.
    Delivering,
    /// Pushed to every destination.
    Stored,
    /// Pushed to every destination, and nothing of it stays with us (store-nothing).
    Delivered,
    /// A step used up its attempts; files are kept for 28 days.
    Failed,
    /// Found in the vault, but the ledger knows nothing of it.
    Unknown,
    /// Invalid, or never completed.
    Garbage,
    /// Deleted by hand or over the API.
    Deleted,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 11] = [
        Self::Receiving,
        Self::Stopped,
        Self::Saved,
        Self::Processing,
        Self::Delivering,
        Self::Stored,
        Self::Delivered,
        Self::Failed,
        Self::Unknown,
        Self::Garbage,
        Self::Deleted,
    ];

    /// The word for it in the API and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Stopped => "stopped",
            Self::Saved => "saved",
            Self::Processing => "processing",
            Self::Delivering => "delivering",
            Self::Stored => "stored",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Garbage => "garbage",
            Self::Deleted => "deleted",
        }
    }
}

/// How it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Streamed over `wss` while it was recorded.
    Stream,
    /// Uploaded as a finished file.
    Upload,
}

/// The kinds of file a recording can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// The `.mp4`.
    Main,
    /// The original, untouched.
    Raw,
    /// The `.jpg` snapshot.
    Snapshot,
    /// The `.jpg` filmstrip.
    Filmstrip,
}

impl FileKind {
    /// The word for it in the API and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Raw => "raw",
            Self::Snapshot => "snapshot",
            Self::Filmstrip => "filmstrip",
        }
    }

    /// The kind that has this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        push_order::ORDER.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A file of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Which one.
    pub kind: FileKind,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: Option<String>,
    /// When processing made it; for the raw file, when processing was done with it.
    pub made_at: Timestamp,
    /// Where it was pushed to.
    pub pushed: Vec<Pushed>,
    /// The committed intent to delete it here.
    pub doomed: Option<Doom>,
    /// When it was deleted here.
    pub deleted_at: Option<Timestamp>,
}

impl File {
    /// Whether it lies in the vault and is to stay there for now.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.doomed.is_none() && self.deleted_at.is_none()
    }

    /// Whether a destination has it.
    #[must_use]
    pub fn is_pushed_to(&self, destination: &str) -> bool {
        self.pushed.iter().any(|pushed| pushed.destination == destination)
    }
}

/// A push of one file that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The destination's name.
    pub destination: String,
    /// When.
    pub at: Timestamp,
    /// Where there: a path or key, as the destination understands it.
    pub location: String,
}

/// A committed intent to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doom {
    /// By which rule.
    pub rule: Rule,
    /// When it was decided.
    pub at: Timestamp,
}

/// What an environment wants done with a recording, as it stood when the recording began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Which files to make.
    pub outputs: Outputs,
    /// Whether the raw file is pushed beside the `.mp4`.
    pub push_raw: bool,
    /// Names of the destinations, in order.
    pub destinations: Vec<String>,
    /// Folder at the destinations.
    pub folder: String,
    /// Nothing is to stay with us once it is delivered.
    pub store_nothing: bool,
    /// When a destination's push counts as successful.
    pub success: Success,
    /// How long a client may take to come back, in milliseconds.
    pub reconnect_ms: u64,
    /// How long after SAVED the recorder can still play back the raw file, in milliseconds.
    pub playback_ms: u64,
    /// Time zone in which days are counted, such as `Europe/Bucharest`.
    pub zone: String,
}

/// What can identify a person. It goes when the last file goes (rule 8); the title stays with a
/// recording that is stored elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Address the recording came from.
    pub ip: Option<String>,
    /// The browser's or app's name for itself.
    pub user_agent: Option<String>,
    /// Page on which it was recorded.
    pub referrer: Option<String>,
    /// Name of the camera.
    pub camera: Option<String>,
    /// Name of the microphone.
    pub microphone: Option<String>,
    /// What the person or the client calls the recording.
    pub title: Option<String>,
}

/// Who else than the node's own people can reach a recording. Only digests are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// SHA-256, in hex, of the token with which its client comes back.
    pub token_sha256: String,
    /// SHA-256, in hex, of the secret in its playback address.
    pub playback_sha256: String,
}

/// Everything the node knows of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Identifies it.
    pub id: RecordingId,
    /// The environment it belongs to.
    pub env_id: String,
    /// Its files' name at destinations, without ending.
    pub name: String,
    /// How it came in.
    pub source: Source,
    /// Where it stands.
    pub state: State,
    /// When it began.
    pub received_at: Timestamp,
    /// When its last byte became durable.
    pub last_byte_at: Timestamp,
    /// When it was saved.
    pub saved_at: Option<Timestamp>,
    /// When it was moved to the node that processes it.
    pub moved_at: Option<Timestamp>,
    /// The client never came back, and the node closed it as far as its bytes reach.
    pub recovered: bool,
    /// Whether a client is connected, and since when that has been so.
    pub attached: bool,
    /// When `attached` last changed.
    pub attached_changed_at: Timestamp,
    /// Durable bytes of the raw file.
    pub bytes: u64,
    /// What its first bytes say it is.
    pub container: Option<Container>,
    /// What decoding it showed.
    pub media: Option<SourceFacts>,
    /// What the environment wants.
    pub policy: Policy,
    /// What can identify a person.
    pub metadata: Metadata,
    /// Who else can reach it.
    #[serde(default)]
    pub access: Access,
    /// The transcode step.
    pub transcode: Attempts,
    /// The push step: one counter over all destinations.
    pub push: Attempts,
    /// Its files.
    pub files: Vec<File>,
    /// Sentences for people about what processing found. At most 16.
    pub remarks: Vec<String>,
}

impl Recording {
    /// A recording whose first byte has yet to arrive.
    #[must_use]
    pub fn new(
        id: RecordingId,
        env_id: String,
        source: Source,
        policy: Policy,
        metadata: Metadata,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            env_id,
            name: id.to_string(),
            source,
            state: State::Receiving,
            received_at: now,
            last_byte_at: now,
            saved_at: None,
            moved_at: None,
            recovered: false,
            attached: true,
            attached_changed_at: now,
            bytes: 0,
            container: None,
            media: None,
            policy,
            metadata,
            access: Access::default(),
            transcode: Attempts::default(),
            push: Attempts::default(),
            files: vec![new_file(FileKind::Raw, 0, None, now)],
            remarks: Vec::new(),
        }
    }

    /// Its file of this kind, present or deleted.
    #[must_use]
    pub fn file(&self, kind: FileKind) -> Option<&File> {
        self.files.iter().find(|file| file.kind == kind)
    }

    fn file_mut(&mut self, kind: FileKind) -> Option<&mut File> {
        self.files.iter_mut().find(|file| file.kind == kind)
    }

    /// Whether a step is under way or waiting for its next attempt.
    #[must_use]
    pub fn is_in_progress(&self) -> bool {
        use State::{Delivering, Processing, Receiving, Saved, Stopped};
        matches!(self.state, Receiving | Stopped | Saved | Processing | Delivering)
    }

    /// The end of the reconnect window, while no client is connected and nothing is saved.
    #[must_use]
    pub fn reconnect_until(&self) -> Option<Timestamp> {
        let waits = matches!(self.state, State::Receiving | State::Stopped) && !self.attached;
        waits.then(|| match self.source {
            Source::Stream => retention::after(self.attached_changed_at, self.policy.reconnect_ms),
            Source::Upload => self.attached_changed_at,
        })
    }
}

/// Kinds of work, each with workers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Transcoding.
    Process,
    /// Pushing.
    Deliver,
    /// Recovering and deleting.
    Retain,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 3] = [Self::Process, Self::Deliver, Self::Retain];
}

/// A file that processing made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Which one.
    pub kind: FileKind,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: Option<String>,
}

/// What can happen to a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A client connected (again).
    Attached,
    /// The client's connection ended.
    Detached,
    /// The whole recording is durable.
    Stopped {
        /// Its size in bytes.
        bytes: u64,
        /// SHA-256 of its bytes, in hex.
        sha256: String,
        /// What its first bytes say it is.
        container: Option<Container>,
    },
    /// The person, or the client for them, keeps it.
    Saved,
    /// The node closed it as far as its bytes reach, after [`Effect::Recover`].
    Recovered {
        /// Its size in bytes.
        bytes: u64,
        /// SHA-256 of its bytes, in hex.
        sha256: String,
        /// What its first bytes say it is; garbage where that is nothing.
        container: Option<Container>,
    },
    /// It is no recording, or its body never came to an end.
    Rejected,
    /// Someone deletes it.
    DeleteRequested,
    /// Its work in this lane is due.
    Due(Lane),
    /// The node itself ended while work in this lane ran.
    Interrupted(Lane),
    /// The transcoding attempt succeeded.
    Transcoded {
        /// What the recording turned out to be.
        media: Option<SourceFacts>,
        /// The files made.
        files: Vec<NewFile>,
        /// Sentences for people.
        remarks: Vec<String>,
    },
    /// The transcoding attempt failed.
    TranscodeFailed(Failure),
    /// A destination has a file, durably.
    FilePushed {
        /// The destination's name.
        destination: String,
        /// Which file.
        kind: FileKind,
        /// Where it is there.
        location: String,
    },
    /// The push attempt has given every pending file its turn.
    PushEnded {
        /// The failure to report, if any file failed.
        failure: Option<Failure>,
    },
    /// These files are unlinked and their folder is fsynced.
    FilesDeleted(Vec<FileKind>),
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Close the raw file as far as its bytes reach, and answer with [`Event::Recovered`].
    Recover,
    /// Transcode, and answer with [`Event::Transcoded`] or [`Event::TranscodeFailed`].
    Transcode,
    /// Push these in this order, and answer with [`Event::PushEnded`].
    Push(Vec<(String, FileKind)>),
    /// Unlink these, and answer with [`Event::FilesDeleted`].
    Delete {
        /// Which files.
        kinds: Vec<FileKind>,
        /// Nothing stays: the recording's whole folder goes.
        folder: bool,
    },
    /// Stop any work that runs for this recording; its outcome no longer matters.
    Cancel,
}

/// When work in a lane is due next, if ever. [`Timestamp::UNIX_EPOCH`] means at once.
#[must_use]
pub fn due(recording: &Recording, lane: Lane) -> Option<Timestamp> {
    match lane {
        Lane::Process => matches!(recording.state, State::Saved | State::Processing)
            .then_some(recording.transcode.next_at)?,
        Lane::Deliver => {
            (recording.state == State::Delivering).then_some(recording.push.next_at)?
        }
        Lane::Retain => {
            let deletions = recording.files.iter().filter_map(|file| {
                match retention::fate(recording, file.kind) {
                    Fate::Now(_) => Some(Timestamp::UNIX_EPOCH),
                    Fate::Until { at, .. } => Some(at),
                    Fate::Kept(_) | Fate::Gone => None,
                }
            });
            deletions.chain(recording.reconnect_until()).min()
        }
    }
}

/// The next instant at which something is to be done, if ever.
#[must_use]
pub fn next_deadline(recording: &Recording) -> Option<Timestamp> {
    Lane::ALL.into_iter().filter_map(|lane| due(recording, lane)).min()
}

/// What becomes of a recording when something happens to it, and what is to be done.
#[must_use]
pub fn step(recording: &Recording, event: Event, now: Timestamp) -> (Recording, Vec<Effect>) {
    let mut next = recording.clone();
    let effects = apply(&mut next, event, now);
    (next, effects)
}

fn apply(rec: &mut Recording, event: Event, now: Timestamp) -> Vec<Effect> {
    match event {
        Event::Attached => attach(rec, true, now),
        Event::Detached => attach(rec, false, now),
        Event::Stopped { bytes, sha256, container } => {
            if rec.state == State::Receiving {
                close(rec, bytes, sha256, container, now);
                rec.state = State::Stopped;
            }
        }
        Event::Saved => {
            if rec.state == State::Stopped {
                save(rec, now);
            }
        }
        Event::Recovered { bytes, sha256, container } => {
            // A client that came back meanwhile, or brought more, keeps its recording.
            let is_over = rec.reconnect_until().is_some_and(|until| until <= now);
            if is_over && bytes >= rec.bytes {
                if container.is_none() {
                    return end(rec, State::Garbage);
                }
                close(rec, bytes, sha256, container, now);
                rec.recovered = true;
                save(rec, now);
            }
        }
        Event::Rejected => return end(rec, State::Garbage),
        Event::DeleteRequested => return end(rec, State::Deleted),
        Event::Due(lane) => return begin(rec, lane, now),
        Event::Interrupted(lane) => interrupt(rec, lane, now),
        Event::Transcoded { media, files, remarks } => transcoded(rec, media, files, remarks, now),
        Event::TranscodeFailed(failure) => transcode_failed(rec, failure),
        Event::FilePushed { destination, kind, location } => {
            if let Some(file) = rec.file_mut(kind).filter(|f| !f.is_pushed_to(&destination)) {
                file.pushed.push(Pushed { destination, at: now, location });
            }
        }
        Event::PushEnded { failure } => push_ended(rec, failure, now),
        Event::FilesDeleted(kinds) => deleted(rec, &kinds, now),
    }
    Vec::new()
}

fn attach(rec: &mut Recording, attached: bool, now: Timestamp) {
    if rec.attached != attached {
        rec.attached = attached;
        rec.attached_changed_at = now;
    }
}

fn close(rec: &mut Recording, bytes: u64, sha256: String, kind: Option<Container>, now: Timestamp) {
    rec.bytes = bytes;
    rec.container = kind;
    rec.last_byte_at = rec.last_byte_at.max(now);
    if let Some(raw) = rec.file_mut(FileKind::Raw) {
        raw.bytes = bytes;
        raw.sha256 = Some(sha256);
    }
}

fn save(rec: &mut Recording, now: Timestamp) {
    rec.saved_at = Some(now);
    let outputs = rec.policy.outputs;
    if outputs.mp4 || outputs.snapshot || outputs.filmstrip {
        rec.state = State::Saved;
        rec.transcode.schedule(now);
    } else {
        processed(rec, now);
    }
}

fn processed(rec: &mut Recording, now: Timestamp) {
    if let Some(raw) = rec.file_mut(FileKind::Raw) {
        raw.made_at = now;
    }
    rec.state = State::Delivering;
    rec.push.schedule(now);
    if push_order::pending(rec).is_empty() {
        push_ended(rec, None, now);
    }
}

fn end(rec: &mut Recording, state: State) -> Vec<Effect> {
    if matches!(rec.state, State::Deleted | State::Garbage) {
        return Vec::new();
    }
    rec.state = state;
    rec.transcode.running = false;
    rec.push.running = false;
    vec![Effect::Cancel]
}

fn begin(rec: &mut Recording, lane: Lane, now: Timestamp) -> Vec<Effect> {
    if due(rec, lane).is_none_or(|at| at > now) {
        return Vec::new();
    }
    let saved_at = rec.saved_at.unwrap_or(now);
    match lane {
        Lane::Process => {
            if rec.transcode.begin(saved_at, now) {
                rec.state = State::Processing;
                return vec![Effect::Transcode];
            }
            rec.state = State::Failed;
            Vec::new()
        }
        Lane::Deliver => {
            if rec.push.begin(saved_at, now) {
                return vec![Effect::Push(push_order::pending(rec))];
            }
            conclude(rec);
            Vec::new()
        }
        Lane::Retain => retain(rec, now),
    }
}

fn retain(rec: &mut Recording, now: Timestamp) -> Vec<Effect> {
    if rec.reconnect_until().is_some_and(|until| until <= now) {
        if rec.source == Source::Stream && rec.bytes > 0 {
            return vec![Effect::Recover];
        }
        rec.state = State::Garbage;
    }
    let kinds: Vec<(FileKind, Rule)> = rec
        .files
        .iter()
        .filter_map(|file| match retention::fate(rec, file.kind) {
            Fate::Now(rule) => Some((file.kind, rule)),
            Fate::Until { at, rule } if at <= now => Some((file.kind, rule)),
            _ => None,
        })
        .collect();
    for (kind, rule) in &kinds {
        if let Some(file) = rec.file_mut(*kind) {
            file.doomed.get_or_insert(Doom { rule: *rule, at: now });
        }
    }
    if kinds.is_empty() {
        return Vec::new();
    }
    let folder = rec.files.iter().all(|file| !file.is_local());
    vec![Effect::Delete { kinds: kinds.into_iter().map(|(kind, _)| kind).collect(), folder }]
}

fn interrupt(rec: &mut Recording, lane: Lane, now: Timestamp) {
    let saved_at = rec.saved_at.unwrap_or(now);
    match lane {
        Lane::Process if rec.state == State::Processing => {
            rec.transcode.interrupt(saved_at, now);
            if rec.transcode.exhausted {
                rec.state = State::Failed;
            }
        }
        Lane::Deliver if rec.state == State::Delivering => {
            rec.push.interrupt(saved_at, now);
            if rec.push.exhausted {
                conclude(rec);
            }
        }
        _ => {}
    }
}

fn transcoded(
    rec: &mut Recording,
    media: Option<SourceFacts>,
    files: Vec<NewFile>,
    remarks: Vec<String>,
    now: Timestamp,
) {
    if rec.state != State::Processing || !rec.transcode.running {
        return;
    }
    let has_main = files.iter().any(|file| file.kind == FileKind::Main && file.bytes > 0);
    if rec.policy.outputs.mp4 && !has_main {
        // The raw file would go next, and be the last of it.
        let sentence = "the transcoder reported success without an .mp4".into();
        return transcode_failed(rec, Failure { fault: Fault::Ours, sentence, at: now });
    }
    rec.transcode.succeed();
    rec.media = media;
    rec.remarks = remarks;
    for new in files {
        rec.files.retain(|file| file.kind != new.kind);
        rec.files.push(new_file(new.kind, new.bytes, new.sha256, now));
    }
    processed(rec, now);
}

fn transcode_failed(rec: &mut Recording, failure: Failure) {
    if rec.state != State::Processing || !rec.transcode.running {
        return;
    }
    let saved_at = rec.saved_at.unwrap_or(failure.at);
    rec.transcode.fail(failure, saved_at);
    if rec.transcode.exhausted {
        rec.state = State::Failed;
    }
}

fn push_ended(rec: &mut Recording, failure: Option<Failure>, now: Timestamp) {
    if rec.state != State::Delivering {
        return;
    }
    let pending = push_order::pending(rec);
    let nothing_stays = rec.policy.store_nothing && push_order::all_successful(rec);
    if pending.is_empty() || nothing_stays {
        rec.push.succeed();
        conclude(rec);
    } else {
        let failure = failure.unwrap_or_else(|| Failure {
            fault: Fault::Ours,
            sentence: format!("the push ended with {} files still to go", pending.len()),
            at: now,
        });
        let saved_at = rec.saved_at.unwrap_or(now);
        rec.push.fail(failure, saved_at);
        if rec.push.exhausted {
            conclude(rec);
        }
    }
}

fn conclude(rec: &mut Recording) {
    rec.state = match (push_order::all_successful(rec), rec.policy.store_nothing) {
        (false, _) => State::Failed,
        (true, true) => State::Delivered,
        (true, false) => State::Stored,
    };
}

fn deleted(rec: &mut Recording, kinds: &[FileKind], now: Timestamp) {
    for kind in kinds {
        if let Some(file) = rec.file_mut(*kind) {
            file.deleted_at.get_or_insert(now);
        }
    }
    if rec.files.iter().all(|file| file.deleted_at.is_some()) {
        // What is stored elsewhere keeps the name people know it by.
        let title = rec.metadata.title.take().filter(|_| rec.state == State::Stored);
        rec.metadata = Metadata { title, ..Metadata::default() };
    }
}

fn new_file(kind: FileKind, bytes: u64, sha256: Option<String>, made_at: Timestamp) -> File {
    File { kind, bytes, sha256, made_at, pushed: Vec::new(), doomed: None, deleted_at: None }
}
