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
//! doomed file is never reprieved; nothing is doomed or unlinked under a legal hold. What ended (GARBAGE, DELETED)
//! stays ended. An event that no longer fits the state (a push that ends after
//! the recording was deleted) changes nothing, so events may come late or twice.

mod due;
mod event;
mod file;
mod push;
mod retain;
mod shift;
mod state;
mod step;
mod terms;
mod work;

pub use self::due::{due, next_deadline};
pub use self::event::{Effect, Event, Lane, NewFile};
pub use self::file::{Doom, File, Pushed};
pub use self::state::{FileKind, Source, State};
pub use self::step::step;
pub use self::terms::{Access, Ended, LegalHold, Metadata, Owned, Policy, Terms, Withdrawal};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::file::new_file;
use crate::attempts::Attempts;
use crate::job::SourceFacts;
use crate::names::{Container, RecordingId, VolumeId};
use crate::push_order;
use crate::retention;

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
    /// The volume that its files lie on, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeId>,
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
            volume: None,
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
