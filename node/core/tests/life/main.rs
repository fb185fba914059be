//! The life of a recording, rule by rule, lived through without waiting.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod arriving;
mod attempts;
mod ends;
mod holds;
mod outcome;

use holdfast_core::RecordingId;
use holdfast_core::attempts::{ATTEMPTS_MAX, Failure, Fault, INTERRUPTIONS_MAX};
use holdfast_core::explain::explain;
use holdfast_core::happening::{Happening, happenings};
use holdfast_core::job::Outputs;
use holdfast_core::names::Container;
use holdfast_core::push_order::Success;
use holdfast_core::recording::{
    Effect, Event, FileKind, Lane, Metadata, NewFile, Policy, Recording, Source, State, Terms, due,
    next_deadline, step,
};
use holdfast_core::retention::{Fate, Hold, Rule, fate};
use jiff::{SignedDuration, Timestamp};

const FILES: [FileKind; 3] = [FileKind::Main, FileKind::Snapshot, FileKind::Filmstrip];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn start() -> Timestamp {
    at("2026-01-01T10:00:00Z")
}

fn policy() -> Policy {
    Policy {
        outputs: Outputs { mp4: true, snapshot: true, filmstrip: true },
        push_raw: false,
        destinations: vec!["ours".into(), "theirs".into()],
        own: None,
        copies: false,
        folder: "demo".into(),
        store_nothing: false,
        success: Success::Main,
        reconnect_ms: 300_000,
        playback_ms: 60_000,
        zone: "Europe/Bucharest".into(),
    }
}

/// A recording with the clock that it lives by.
struct Life {
    rec: Recording,
    now: Timestamp,
}

impl Life {
    fn begin(source: Source, policy: Policy) -> Self {
        let now = start();
        let id = RecordingId::new(1, [1; 10]);
        let metadata = Metadata { ip: Some("192.0.2.1".into()), ..Metadata::default() };
        Self { rec: Recording::new(id, "demo".into(), source, policy, metadata, now), now }
    }

    fn saved(source: Source, policy: Policy) -> Self {
        let mut life = Self::begin(source, policy);
        life.happen(Event::Stopped { bytes: 9, sha256: "00".into(), container: None });
        life.happen(Event::Saved);
        life
    }

    fn processed(source: Source, policy: Policy) -> Self {
        let mut life = Self::saved(source, policy);
        life.transcode();
        life
    }

    fn happen(&mut self, event: Event) -> Vec<Effect> {
        let (rec, effects) = step(&self.rec, event, self.now);
        self.rec = rec;
        effects
    }

    /// Waits until a lane is due, and begins its work.
    fn due(&mut self, lane: Lane) -> Vec<Effect> {
        if let Some(at) = due(&self.rec, lane) {
            self.now = self.now.max(at);
        }
        self.happen(Event::Due(lane))
    }

    fn transcode(&mut self) {
        assert_eq!(self.due(Lane::Process), [Effect::Transcode]);
        let new = |kind| NewFile { kind, bytes: 3, sha256: None };
        let files = FILES.map(new).into();
        self.happen(Event::Transcoded { media: None, files, remarks: vec![] });
    }

    /// One push attempt, in which these do not get through.
    fn push(&mut self, failing: &[(&str, FileKind)]) -> Vec<(String, FileKind)> {
        let effects = self.due(Lane::Deliver);
        let [Effect::Push(pending)] = effects.as_slice() else { panic!("{effects:?}") };
        let fails = |to: &str, kind| failing.iter().any(|(d, k)| *d == to && *k == kind);
        for (destination, kind) in pending {
            if !fails(destination, *kind) {
                let (destination, location) = (destination.clone(), "there".into());
                self.happen(Event::FilePushed { destination, kind: *kind, location });
            }
        }
        let failure = pending.iter().any(|(to, kind)| fails(to, *kind)).then(|| self.failure());
        self.happen(Event::PushEnded { failure });
        pending.clone()
    }

    fn failure(&self) -> Failure {
        Failure { fault: Fault::Networks, sentence: "refused".into(), at: self.now }
    }

    /// Deletes what is due now; answers what went.
    fn sweep(&mut self) -> Vec<FileKind> {
        self.happen(Event::Due(Lane::Expire));
        let effects = self.happen(Event::Due(Lane::Retain));
        let Some(Effect::Delete { kinds, .. }) = effects.first().cloned() else { return vec![] };
        self.happen(Event::FilesDeleted(kinds.clone()));
        kinds
    }

    fn fate(&self, kind: FileKind) -> Fate {
        fate(&self.rec, kind)
    }
}

fn recovered(bytes: u64) -> Event {
    Event::Recovered { bytes, sha256: "00".into(), container: Some(Container::Webm) }
}
