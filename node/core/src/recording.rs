//! A recording: its state, what can happen to it, and what follows.
//!
//! ```text
//! RECEIVING ─▶ STOPPED ─▶ SAVED (─▶ COPYING) ─▶ PROCESSING ─▶ DELIVERING ─▶ STORED | DELIVERED
//!     │           │                    └──────────────┴──────────────┴─ exhausted ─▶ FAILED
//!     └───────────┴─ never came back: recovered ─▶ SAVED
//! FAILED ─▶ PROCESSING | DELIVERING, for one attempt by hand
//! any state ─▶ GARBAGE | DELETED
//! ```
//!
//! Invariants: a recording has at most one file of each kind; `saved_at` is set from SAVED on; an
//! attempt runs only in the state of its step; a file is unlinked only after it was doomed, and a
//! doomed file is never reprieved; nothing is doomed under a legal hold. What ended (GARBAGE, DELETED)
//! stays ended. An event that no longer fits the state (a push that ends after
//! the recording was deleted) changes nothing, so events may come late or twice.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::attempts::{self, ATTEMPTS_MAX, Attempts, Failure, Fault, WINDOW};
use crate::job::{Outputs, SourceFacts};
use crate::names::{Container, RecordingId};
use crate::push_order::{self, Success};
use crate::retention::{self, Fate, Rule};

/// Where a recording stands in its life (rule 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its bytes are arriving.
    Receiving,
    /// Its last byte is durable; the person has not said yet whether to keep it.
    Stopped,
    /// Saved: from here on every attempt counts.
    Saved,
    /// Being copied to the node that processes it, or waiting for the next attempt.
    Copying,
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
    /// Deleted as a whole: by hand, over the API, with its account, by a lifecycle rule.
    Deleted,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 12] = [
        Self::Receiving,
        Self::Stopped,
        Self::Saved,
        Self::Copying,
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
            Self::Copying => "copying",
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Streamed over `wss` while it was recorded.
    Stream,
    /// Uploaded as a finished file.
    Upload,
}

/// The kinds of file a recording can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pushed {
    /// The destination's name.
    pub destination: String,
    /// When.
    pub at: Timestamp,
    /// Where there: a path or key, as the destination understands it.
    pub location: String,
    /// When it was deleted there again. Only our own storage is ever deleted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Timestamp>,
}

/// A committed intent to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doom {
    /// By which rule.
    pub rule: Rule,
    /// When it was decided.
    pub at: Timestamp,
}

/// What the account and the environment say now, not as it stood when the recording began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// When the account's trial or subscription expires, or did (rule 7).
    #[serde(default)]
    pub account_expires_at: Option<Timestamp>,
    /// After how many whole days the environment's lifecycle rule deletes it (rule 8).
    #[serde(default)]
    pub lifecycle_days: Option<u32>,
}

/// While there is one, no rule and nobody deletes anything of the recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LegalHold {
    /// Since when.
    pub at: Timestamp,
    /// Who set it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
}

/// Why a recording is garbage or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// By which rule.
    pub rule: Rule,
    /// Who asked for it; nothing where a rule alone decided.
    pub by: Option<String>,
    /// When.
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
    /// Which of them is our own storage (rule 9). What lies there goes with the recording.
    #[serde(default)]
    pub own: Option<String>,
    /// Another node processes it, and copies the raw file from this one first.
    #[serde(default)]
    pub copies: bool,
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

/// What can identify a person. It goes when the last file that we hold goes (rule 8); the title stays
/// with a recording that is stored elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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

/// Deleting files from our own storage: repeated for as long as it takes, at the waits of rule 2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// How often it failed.
    pub failed: u32,
    /// When it is tried again; at once where nothing is said.
    pub next_at: Option<Timestamp>,
    /// The last failure.
    pub error: Option<Failure>,
    /// Kinds of which no push was noted, deleted all the same: a push that was cut short may have
    /// got there.
    #[serde(default)]
    pub swept: Vec<FileKind>,
}

/// A file that our own storage has, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The destination's name.
    pub destination: String,
    /// Which file.
    pub kind: FileKind,
    /// Where it is there; nothing where no push was noted, so that its place follows from its name.
    pub location: Option<String>,
}

/// Everything the node knows of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Identifies it.
    pub id: RecordingId,
    /// The environment it belongs to.
    pub env_id: String,
    /// The account that the environment belonged to when it began.
    #[serde(default)]
    pub account_id: Option<String>,
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
    /// What the account and the environment say now.
    #[serde(default)]
    pub terms: Terms,
    /// A legal hold, if there is one.
    #[serde(default)]
    pub hold: Option<LegalHold>,
    /// Why it is garbage or deleted, if it is.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// What can identify a person.
    pub metadata: Metadata,
    /// Who else can reach it.
    #[serde(default)]
    pub access: Access,
    /// The step that copies the raw file to the node that processes it.
    #[serde(default)]
    pub copy: Attempts,
    /// The transcode step.
    pub transcode: Attempts,
    /// The push step: one counter over all destinations.
    pub push: Attempts,
    /// Deleting it from our own storage, once it ended.
    #[serde(default)]
    pub withdrawal: Withdrawal,
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
            account_id: None,
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
            terms: Terms::default(),
            hold: None,
            ended: None,
            metadata,
            access: Access::default(),
            copy: Attempts::default(),
            transcode: Attempts::default(),
            push: Attempts::default(),
            withdrawal: Withdrawal::default(),
            files: vec![new_file(FileKind::Raw, 0, None, now)],
            remarks: Vec::new(),
        }
    }

    /// The latest instant at which anything that it notes has happened.
    #[must_use]
    pub fn latest_stamp(&self) -> Timestamp {
        let of_files = self.files.iter().flat_map(|file| {
            let pushed = file.pushed.iter().flat_map(|at| [Some(at.at), at.withdrawn_at]);
            let doomed = file.doomed.as_ref().map(|doom| doom.at);
            [Some(file.made_at), doomed, file.deleted_at].into_iter().chain(pushed)
        });
        let errors = [&self.copy.error, &self.transcode.error, &self.push.error];
        let errors = errors.into_iter().chain([&self.withdrawal.error]);
        let others = [
            Some(self.last_byte_at),
            Some(self.attached_changed_at),
            self.saved_at,
            self.moved_at,
            self.hold.as_ref().map(|hold| hold.at),
            self.ended.as_ref().map(|ended| ended.at),
        ];
        let errors = errors.map(|error| error.as_ref().map(|error| error.at));
        let all = of_files.chain(errors).chain(others).flatten();
        all.fold(self.received_at, Timestamp::max)
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
        use State::{Copying, Delivering, Processing, Receiving, Saved, Stopped};
        matches!(self.state, Receiving | Stopped | Saved | Copying | Processing | Delivering)
    }

    /// Whether it is garbage or deleted as a whole. There is no way back from there.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Garbage | State::Deleted)
    }

    /// Whether a step used up its attempts.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.copy.exhausted || self.transcode.exhausted || self.push.exhausted
    }

    /// Whether nothing of it is left with us: neither here nor in our own storage.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_nowhere() && self.to_withdraw().is_empty()
    }

    /// Whether no file of it is known to be with us.
    fn is_nowhere(&self) -> bool {
        self.files.iter().all(|file| file.deleted_at.is_some()) && self.owned().next().is_none()
    }

    /// What is still to be deleted from our own storage.
    #[must_use]
    pub fn to_withdraw(&self) -> Vec<Owned> {
        let (State::Deleted, None, Some(own)) = (self.state, &self.hold, &self.policy.own) else {
            return Vec::new();
        };
        let noted = self.owned().map(|(kind, pushed)| Owned {
            destination: own.clone(),
            kind,
            location: Some(pushed.location.clone()),
        });
        let is_noted = |kind| self.file(kind).is_some_and(|file| file.is_pushed_to(own));
        let maybe = push_order::ORDER.into_iter().filter(|kind| {
            self.saved_at.is_some()
                && push_order::is_enabled(&self.policy, *kind)
                && !is_noted(*kind)
                && !self.withdrawal.swept.contains(kind)
        });
        let maybe = maybe.map(|kind| Owned { destination: own.clone(), kind, location: None });
        noted.chain(maybe).collect()
    }

    /// What lies in our own storage.
    fn owned(&self) -> impl Iterator<Item = (FileKind, &Pushed)> {
        let own = self.policy.own.as_deref();
        self.files.iter().flat_map(move |file| {
            let here = file.pushed.iter().filter(move |pushed| {
                own == Some(pushed.destination.as_str()) && pushed.withdrawn_at.is_none()
            });
            here.map(|pushed| (file.kind, pushed))
        })
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
    /// Copying the raw file to the node that processes it.
    Copy,
    /// Transcoding.
    Process,
    /// Pushing.
    Deliver,
    /// Recovering, and carrying deletions out.
    Retain,
    /// Deciding what goes by a rule of time. Stands still while the clock is not to be trusted
    /// (rule 10).
    Expire,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 5] =
        [Self::Copy, Self::Process, Self::Deliver, Self::Retain, Self::Expire];
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
    /// Someone deletes it. Changes nothing under a legal hold.
    DeleteRequested {
        /// Who.
        by: String,
    },
    /// Someone puts it under a legal hold, or gives another reason for the one there is.
    HoldSet {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Someone lifts the legal hold.
    HoldLifted {
        /// Who.
        by: String,
    },
    /// Someone wants the step that waits tried now, or what failed for good tried once more.
    RetryRequested {
        /// Who.
        by: String,
    },
    /// The account's expiry or the environment's lifecycle rule is another one now.
    TermsChanged(Terms),
    /// The clock was wrong since an instant, and is right now: every stamp made since then moves.
    ClockStepped {
        /// The first wrong instant.
        since: Timestamp,
        /// By how much the clock moved.
        by: SignedDuration,
    },
    /// The node that processes it has its raw file, durably.
    Copied,
    /// The copying attempt failed.
    CopyFailed(Failure),
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
    /// The push attempt tried nothing that failed, and some destinations are not to be tried now.
    PushPutOff {
        /// When to try again.
        until: Timestamp,
        /// Why not now, in a sentence.
        waits_for: String,
    },
    /// These files are unlinked and their folder is fsynced.
    FilesDeleted(Vec<FileKind>),
    /// Our own storage has this file no more.
    Withdrawn {
        /// The destination's name.
        destination: String,
        /// Which file.
        kind: FileKind,
    },
    /// Our own storage did not delete everything.
    WithdrawFailed(Failure),
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Close the raw file as far as its bytes reach, and answer with [`Event::Recovered`].
    Recover,
    /// Copy the raw file, and answer with [`Event::Copied`] or [`Event::CopyFailed`].
    Copy,
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
    /// Delete these from our own storage, and answer with [`Event::Withdrawn`] for each and
    /// [`Event::WithdrawFailed`] at the first that fails.
    Withdraw(Vec<Owned>),
    /// Nothing is left of it, and has not been for long: its entry goes.
    Forget,
    /// Stop any work that runs for this recording; its outcome no longer matters.
    Cancel,
}

/// When work in a lane is due next, if ever. [`Timestamp::UNIX_EPOCH`] means at once.
#[must_use]
pub fn due(recording: &Recording, lane: Lane) -> Option<Timestamp> {
    match lane {
        Lane::Copy => (recording.state == State::Copying).then_some(recording.copy.next_at)?,
        Lane::Process => matches!(recording.state, State::Saved | State::Processing)
            .then_some(recording.transcode.next_at)?,
        // A push and its undoing never run at the same time.
        Lane::Deliver if recording.state == State::Delivering => recording.push.next_at,
        Lane::Deliver => (!recording.to_withdraw().is_empty())
            .then(|| recording.withdrawal.next_at.unwrap_or(Timestamp::UNIX_EPOCH)),
        Lane::Retain => deletions(recording, lane).chain(recording.reconnect_until()).min(),
        Lane::Expire => deletions(recording, lane)
            .chain(retention::ends_at(recording).map(|(at, _)| at))
            .chain(retention::forget_at(recording))
            .min(),
    }
}

/// When files go by what a lane decides. What is decided goes at once, whatever decided it.
fn deletions(recording: &Recording, lane: Lane) -> impl Iterator<Item = Timestamp> {
    recording.files.iter().filter_map(move |file| match retention::fate(recording, file.kind) {
        Fate::Now(_) => (lane == Lane::Retain).then_some(Timestamp::UNIX_EPOCH),
        Fate::Until { at, rule } => (lane_of(rule) == lane).then_some(at),
        Fate::Kept(_) | Fate::Gone => None,
    })
}

/// Which lane decides by a rule.
fn lane_of(rule: Rule) -> Lane {
    if rule.is_of_time() { Lane::Expire } else { Lane::Retain }
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
                    return end(rec, State::Garbage, Rule::Garbage, None, now);
                }
                close(rec, bytes, sha256, container, now);
                rec.recovered = true;
                save(rec, now);
            }
        }
        Event::Rejected => return end(rec, State::Garbage, Rule::Garbage, None, now),
        Event::DeleteRequested { by } => {
            if rec.hold.is_none() {
                return end(rec, State::Deleted, Rule::Requested, Some(by), now);
            }
        }
        Event::HoldSet { by, reason } => {
            if !rec.is_ended() {
                rec.hold = Some(LegalHold { at: now, by, reason });
            }
        }
        Event::HoldLifted { .. } => rec.hold = None,
        Event::RetryRequested { .. } => retry(rec, now),
        Event::TermsChanged(terms) => rec.terms = terms,
        Event::ClockStepped { since, by } => shift(rec, since, by),
        Event::Copied => copied(rec, now),
        Event::CopyFailed(failure) => copy_failed(rec, failure),
        Event::Due(lane) => return begin(rec, lane, now),
        Event::Interrupted(lane) => interrupt(rec, lane, now),
        Event::Transcoded { media, files, remarks } => transcoded(rec, media, files, remarks, now),
        Event::TranscodeFailed(failure) => transcode_failed(rec, failure),
        Event::FilePushed { destination, kind, location } => {
            if let Some(file) = rec.file_mut(kind).filter(|f| !f.is_pushed_to(&destination)) {
                file.pushed.push(Pushed { destination, at: now, location, withdrawn_at: None });
            }
        }
        Event::PushEnded { failure } => push_ended(rec, failure, now),
        Event::PushPutOff { until, waits_for } => put_off(rec, until, waits_for, now),
        Event::FilesDeleted(kinds) => deleted(rec, &kinds, now),
        Event::Withdrawn { destination, kind } => withdrawn(rec, &destination, kind, now),
        Event::WithdrawFailed(failure) => withdraw_failed(rec, failure),
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
    if rec.policy.copies {
        rec.state = State::Copying;
        rec.copy.schedule(now);
    } else {
        hand_over(rec, now);
    }
}

/// To processing, or past it where there is nothing to make.
fn hand_over(rec: &mut Recording, now: Timestamp) {
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
    if rec.saved_at.is_some_and(|saved_at| now > saved_at + WINDOW) {
        // Only an attempt by hand gets here so late; it is followed by one push.
        rec.push.schedule_by_hand(now);
    }
    if push_order::pending(rec).is_empty() {
        push_ended(rec, None, now);
    }
}

fn end(
    rec: &mut Recording,
    state: State,
    rule: Rule,
    by: Option<String>,
    now: Timestamp,
) -> Vec<Effect> {
    if rec.is_ended() {
        return Vec::new();
    }
    rec.state = state;
    rec.ended = Some(Ended { rule, by, at: now });
    rec.copy.running = false;
    rec.transcode.running = false;
    rec.push.running = false;
    clear_metadata(rec);
    vec![Effect::Cancel]
}

/// The step that waits is due now; what failed for good is tried once more.
fn retry(rec: &mut Recording, now: Timestamp) {
    if rec.is_ended() {
        return;
    }
    let raw_is_here = rec.file(FileKind::Raw).is_some_and(File::is_local);
    let pushes = !push_order::pending(rec).is_empty();
    let over = matches!(rec.state, State::Failed | State::Stored);
    match rec.state {
        State::Copying => hurry(&mut rec.copy, now),
        State::Saved | State::Processing => hurry(&mut rec.transcode, now),
        State::Delivering => hurry(&mut rec.push, now),
        State::Failed if rec.copy.exhausted && raw_is_here => {
            rec.state = State::Copying;
            rec.copy.schedule_by_hand(now);
        }
        State::Failed if rec.transcode.exhausted && raw_is_here => {
            rec.state = State::Processing;
            rec.transcode.schedule_by_hand(now);
        }
        _ if over && rec.push.exhausted && pushes => {
            rec.state = State::Delivering;
            rec.push.schedule_by_hand(now);
        }
        _ => {}
    }
}

/// A first attempt that waits just comes at once; one that failed before is repeated by hand.
fn hurry(step: &mut Attempts, now: Timestamp) {
    if step.next_at.is_some() && !step.running {
        if step.made == 0 {
            step.next_at = Some(now);
        } else {
            step.schedule_by_hand(now);
        }
    }
}

fn shift(rec: &mut Recording, since: Timestamp, by: SignedDuration) {
    let moved = |at: &mut Timestamp| {
        if *at >= since {
            *at = at.checked_add(by).unwrap_or(*at);
        }
    };
    // What is still to come moves with the failure from which its wait counts.
    let retry = |next_at: &mut Option<Timestamp>, error: &mut Option<Failure>, failed: u8| {
        let counts_from = error.as_ref().zip(*next_at).filter(|(error, next_at)| {
            attempts::wait_after(failed).is_some_and(|wait| error.at + wait == *next_at)
        });
        if counts_from.is_none_or(|(error, _)| error.at >= since) {
            next_at.iter_mut().for_each(moved);
        }
        error.iter_mut().for_each(|error| moved(&mut error.at));
    };
    for step in [&mut rec.copy, &mut rec.transcode, &mut rec.push] {
        retry(&mut step.next_at, &mut step.error, step.made);
    }
    let failed = last_wait(rec.withdrawal.failed);
    retry(&mut rec.withdrawal.next_at, &mut rec.withdrawal.error, failed);
    for file in &mut rec.files {
        moved(&mut file.made_at);
        file.deleted_at.iter_mut().for_each(moved);
        file.doomed.iter_mut().for_each(|doom| moved(&mut doom.at));
        for pushed in &mut file.pushed {
            moved(&mut pushed.at);
            pushed.withdrawn_at.iter_mut().for_each(moved);
        }
    }
    moved(&mut rec.received_at);
    moved(&mut rec.last_byte_at);
    moved(&mut rec.attached_changed_at);
    rec.saved_at.iter_mut().for_each(moved);
    rec.moved_at.iter_mut().for_each(moved);
    rec.hold.iter_mut().for_each(|hold| moved(&mut hold.at));
    rec.ended.iter_mut().for_each(|ended| moved(&mut ended.at));
}

fn copied(rec: &mut Recording, now: Timestamp) {
    if rec.state == State::Copying && rec.copy.running {
        rec.copy.succeed();
        rec.moved_at = Some(now);
        hand_over(rec, now);
    }
}

fn copy_failed(rec: &mut Recording, failure: Failure) {
    if rec.state == State::Copying && rec.copy.running {
        let saved_at = rec.saved_at.unwrap_or(failure.at);
        rec.copy.fail(failure, saved_at);
        if rec.copy.exhausted {
            rec.state = State::Failed;
        }
    }
}

fn begin(rec: &mut Recording, lane: Lane, now: Timestamp) -> Vec<Effect> {
    if due(rec, lane).is_none_or(|at| at > now) {
        return Vec::new();
    }
    let saved_at = rec.saved_at.unwrap_or(now);
    match lane {
        Lane::Copy => {
            if rec.copy.begin(saved_at, now) {
                return vec![Effect::Copy];
            }
            rec.state = State::Failed;
            Vec::new()
        }
        Lane::Process => {
            if rec.transcode.begin(saved_at, now) {
                rec.state = State::Processing;
                return vec![Effect::Transcode];
            }
            rec.state = State::Failed;
            Vec::new()
        }
        Lane::Deliver if rec.state == State::Deleted => vec![Effect::Withdraw(rec.to_withdraw())],
        Lane::Deliver => {
            if rec.push.begin(saved_at, now) {
                return vec![Effect::Push(push_order::pending(rec))];
            }
            conclude(rec);
            Vec::new()
        }
        Lane::Retain => retain(rec, now),
        Lane::Expire => expire(rec, now),
    }
}

/// Decides by the rules of time; carrying it out is the lane [`Lane::Retain`]'s.
fn expire(rec: &mut Recording, now: Timestamp) -> Vec<Effect> {
    if let Some((_, rule)) = retention::ends_at(rec).filter(|(at, _)| *at <= now) {
        let runs = rec.copy.running || rec.transcode.running || rec.push.running;
        let effects = end(rec, State::Deleted, rule, None, now);
        return if runs { effects } else { Vec::new() };
    }
    doom(rec, now, Lane::Expire);
    let is_forgotten = retention::forget_at(rec).is_some_and(|at| at <= now);
    if is_forgotten { vec![Effect::Forget] } else { Vec::new() }
}

/// Commits the intent to delete what a lane wants gone by now.
fn doom(rec: &mut Recording, now: Timestamp, lane: Lane) {
    let kinds: Vec<FileKind> = rec.files.iter().map(|file| file.kind).collect();
    for kind in kinds {
        let rule = match retention::fate(rec, kind) {
            Fate::Now(rule) if lane == Lane::Retain => rule,
            Fate::Until { at, rule } if at <= now && lane_of(rule) == lane => rule,
            _ => continue,
        };
        if let Some(file) = rec.file_mut(kind) {
            file.doomed.get_or_insert(Doom { rule, at: now });
        }
    }
}

fn retain(rec: &mut Recording, now: Timestamp) -> Vec<Effect> {
    if rec.reconnect_until().is_some_and(|until| until <= now) {
        if rec.source == Source::Stream && rec.bytes > 0 {
            return vec![Effect::Recover];
        }
        // Nothing runs for it yet that would have to be stopped.
        end(rec, State::Garbage, Rule::Garbage, None, now);
    }
    doom(rec, now, Lane::Retain);
    let doomed = |file: &&File| file.doomed.is_some() && file.deleted_at.is_none();
    let kinds: Vec<FileKind> = rec.files.iter().filter(doomed).map(|file| file.kind).collect();
    if !kinds.is_empty() {
        let folder = rec.files.iter().all(|file| !file.is_local());
        return vec![Effect::Delete { kinds, folder }];
    }
    Vec::new()
}

fn interrupt(rec: &mut Recording, lane: Lane, now: Timestamp) {
    let saved_at = rec.saved_at.unwrap_or(now);
    match lane {
        Lane::Copy if rec.state == State::Copying => {
            rec.copy.interrupt(saved_at, now);
            if rec.copy.exhausted {
                rec.state = State::Failed;
            }
        }
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

fn put_off(rec: &mut Recording, until: Timestamp, waits_for: String, now: Timestamp) {
    if rec.state == State::Delivering && !push_order::pending(rec).is_empty() {
        let saved_at = rec.saved_at.unwrap_or(now);
        rec.push.put_off(until.max(now), waits_for, saved_at);
    } else {
        push_ended(rec, None, now);
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
    clear_metadata(rec);
}

fn withdrawn(rec: &mut Recording, destination: &str, kind: FileKind, now: Timestamp) {
    if let Some(file) = rec.file_mut(kind) {
        for pushed in file.pushed.iter_mut().filter(|pushed| pushed.destination == destination) {
            pushed.withdrawn_at.get_or_insert(now);
        }
    }
    let mut swept = std::mem::take(&mut rec.withdrawal.swept);
    if !swept.contains(&kind) {
        swept.push(kind);
    }
    rec.withdrawal = Withdrawal { swept, ..Withdrawal::default() };
    clear_metadata(rec);
}

fn withdraw_failed(rec: &mut Recording, failure: Failure) {
    rec.withdrawal.failed = rec.withdrawal.failed.saturating_add(1);
    let wait = attempts::wait_after(last_wait(rec.withdrawal.failed));
    rec.withdrawal.next_at = wait.map(|wait| failure.at + wait);
    rec.withdrawal.error = Some(failure);
}

/// Which of rule 2's waits follows after so many failures of what is repeated for ever.
fn last_wait(failed: u32) -> u8 {
    let last = ATTEMPTS_MAX - 1;
    u8::try_from(failed).unwrap_or(last).min(last)
}

/// What can identify a person goes with the last file that we hold (rule 8).
fn clear_metadata(rec: &mut Recording) {
    if !rec.is_nowhere() {
        return;
    }
    // What is stored elsewhere keeps the name people know it by.
    let title = rec.metadata.title.take().filter(|_| rec.state == State::Stored);
    rec.metadata = Metadata { title, ..Metadata::default() };
}

fn new_file(kind: FileKind, bytes: u64, sha256: Option<String>, made_at: Timestamp) -> File {
    File { kind, bytes, sha256, made_at, pushed: Vec::new(), doomed: None, deleted_at: None }
}
