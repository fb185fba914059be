//! Does to a recording what the node would do to it, as a random history tells.

use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::job::Outputs;
use holdfast_core::names::Container;
use holdfast_core::push_order::Success;
use holdfast_core::recording::{
    Effect, Event, FileKind, Lane, Metadata, NewFile, Owned, Policy, Recording, Source, State,
    Terms, due, step,
};
use holdfast_core::retention::{self, Fate};
use holdfast_core::{RecordingId, explain};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::law::{Law, ZONE};

/// More steps than this within one instant are a loop.
const STEPS_MAX: usize = 200;

/// What a history is about.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) policy: (Source, Policy),
    /// Whether it is a folder that the node found and knows nothing of (rule 3.3).
    pub(crate) is_unknown: bool,
    pub(crate) acts: Vec<Act>,
}

/// What happens.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Time passes, without the node looking.
    Sleep { s: i64 },
    /// Time passes until the recording was saved so many minutes ago, without the node looking.
    Age { min: i64 },
    /// Time passes, and the node does what is due, as these outcomes say.
    Work { s: i64, outcomes: Vec<Outcome> },
    /// The client connects or goes.
    Attach(bool),
    /// The whole recording is there.
    Stop,
    /// The person keeps it.
    Save,
    /// It is no recording after all.
    Reject,
    /// Someone deletes it.
    Delete,
    /// Someone sets a legal hold, or lifts it.
    Hold(bool),
    /// Someone wants it tried again.
    Retry,
    /// The account or the lifecycle rule changes.
    Terms { expires_in_days: Option<i64>, lifecycle_days: Option<u32> },
    /// A clock that was wrong for so long turns out to be off by so much.
    Clock { since_s: i64, by_s: i64 },
    /// Space is short on its volume.
    Room,
    /// Something comes late that belongs nowhere any more.
    Late(u8),
}

/// What comes of a piece of work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// The first half of it is done, and the rest fails.
    FailsLate,
    /// It fails from the start.
    Fails,
    /// The node ends in the middle.
    CutShort,
}

fn seconds() -> impl Strategy<Value = i64> {
    prop_oneof![0..120_i64, 60..7_200_i64, 3_600..100_000_i64, 86_400..2_592_000_i64]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        2 => Just(Outcome::Done),
        4 => Just(Outcome::Fails),
        4 => Just(Outcome::FailsLate),
        1 => Just(Outcome::CutShort),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let outcomes = || prop::collection::vec(outcome(), 0..20);
    prop_oneof![
        2 => seconds().prop_map(|s| Act::Sleep { s }),
        1 => (74 * 60..76 * 60_i64).prop_map(|min| Act::Age { min }),
        10 => (seconds(), outcomes()).prop_map(|(s, outcomes)| Act::Work { s, outcomes }),
        1 => any::<bool>().prop_map(Act::Attach),
        2 => Just(Act::Stop),
        3 => Just(Act::Save),
        1 => prop::bool::weighted(0.2).prop_map(|is| if is { Act::Reject } else { Act::Stop }),
        1 => prop::bool::weighted(0.4).prop_map(|is| if is { Act::Delete } else { Act::Save }),
        1 => any::<bool>().prop_map(Act::Hold),
        2 => Just(Act::Retry),
        1 => (prop::option::of(-40..60_i64), prop::option::of(0..60_u32)).prop_map(
            |(expires_in_days, lifecycle_days)| Act::Terms { expires_in_days, lifecycle_days }),
        1 => (0..400_000_i64, -300_000..90_000_000_i64)
            .prop_map(|(since_s, by_s)| Act::Clock { since_s, by_s }),
        1 => Just(Act::Room),
        1 => (0..6_u8).prop_map(Act::Late),
    ]
}

fn policy() -> impl Strategy<Value = (Source, Policy)> {
    let flags = prop::collection::vec(any::<bool>(), 9);
    (flags, 0..3_usize, prop::bool::weighted(0.1)).prop_map(|(flag, destinations, copies)| {
        let source = if flag[0] { Source::Stream } else { Source::Upload };
        let names = ["ours", "theirs"];
        let policy = Policy {
            outputs: Outputs { mp4: flag[1] || flag[2], snapshot: flag[3], filmstrip: flag[4] },
            push_raw: flag[5],
            destinations: names[..destinations].iter().map(|&name| name.into()).collect(),
            // Nothing is pushed to our own storage under store-nothing (rule 9).
            own: (destinations > 0 && flag[6] && !flag[7]).then(|| "ours".into()),
            copies,
            folder: "f".into(),
            store_nothing: destinations > 0 && flag[7],
            success: if flag[8] { Success::Main } else { Success::All },
            reconnect_ms: 300_000,
            playback_ms: 60_000,
            zone: ZONE.into(),
        };
        (source, policy)
    })
}

/// A random policy, and what happens to a recording under it.
pub(crate) fn history() -> impl Strategy<Value = History> {
    (policy(), prop::bool::weighted(0.05), prop::collection::vec(act(), 1..40))
        .prop_map(|(policy, is_unknown, acts)| History { policy, is_unknown, acts })
}

/// A recording, its clock, and the law that watches.
pub(crate) struct World {
    rec: Recording,
    now: Timestamp,
    law: Law,
    outcomes: Vec<Outcome>,
}

fn failure(now: Timestamp) -> Failure {
    Failure { fault: Fault::Networks, sentence: "down".into(), at: now }
}

fn running(rec: &Recording, lane: Lane) -> bool {
    match lane {
        Lane::Copy => rec.copy.running,
        Lane::Process => rec.transcode.running,
        Lane::Deliver => rec.push.running,
        Lane::Retain | Lane::Expire => false,
    }
}

impl World {
    pub(crate) fn new((source, policy): (Source, Policy), is_unknown: bool) -> Self {
        let now: Timestamp = "2026-01-01T10:00:00Z".parse().expect("a timestamp");
        let metadata = Metadata {
            ip: Some("192.0.2.1".into()),
            title: Some("a title".into()),
            ..Metadata::default()
        };
        let id = RecordingId::new(1, [1; 10]);
        let mut rec = Recording::new(id, "e".into(), source, policy.clone(), metadata, now);
        rec.bytes = 7;
        if is_unknown {
            rec = step(&rec, Event::Detached, now).0;
            rec.state = State::Unknown;
        }
        Self { rec, now, law: Law::new(policy, source, now), outcomes: Vec::new() }
    }

    pub(crate) fn act(&mut self, act: &Act) {
        let is_the_clients = matches!(act, Act::Attach(_) | Act::Stop | Act::Save | Act::Reject);
        if self.rec.state == State::Unknown && is_the_clients {
            return;
        }
        match act {
            Act::Sleep { s } => self.now += SignedDuration::from_secs(*s),
            Act::Age { min } => {
                let saved_at = self.rec.saved_at.unwrap_or(self.now);
                self.now = self.now.max(saved_at + SignedDuration::from_mins(*min));
            }
            Act::Work { s, outcomes } => {
                self.outcomes.clone_from(outcomes);
                self.work_until(self.now + SignedDuration::from_secs(*s));
            }
            Act::Attach(true) => _ = self.happen(Event::Attached),
            Act::Attach(false) => _ = self.happen(Event::Detached),
            Act::Stop => {
                self.law.byte(self.now);
                let container = Some(Container::Webm);
                self.happen(Event::Stopped { bytes: 7, sha256: "00".into(), container });
            }
            Act::Save => _ = self.happen(Event::Saved),
            Act::Reject => {
                // The door rejects; what is saved is past it.
                if self.rec.saved_at.is_none() {
                    self.law.reject();
                    self.happen(Event::Rejected);
                }
            }
            Act::Delete => {
                self.law.delete();
                self.happen(Event::DeleteRequested { by: "someone".into() });
            }
            Act::Hold(true) => {
                self.happen(Event::HoldSet { by: "counsel".into(), reason: "case 1".into() });
                self.law.held = self.rec.hold.is_some();
            }
            Act::Hold(false) => {
                self.happen(Event::HoldLifted { by: "counsel".into() });
                self.law.held = false;
            }
            Act::Retry => self.retry(),
            Act::Terms { expires_in_days, lifecycle_days } => {
                let in_days = |days: i64| self.now + SignedDuration::from_hours(24 * days);
                let terms = Terms {
                    account_expires_at: expires_in_days.map(in_days),
                    lifecycle_days: *lifecycle_days,
                };
                self.law.terms = terms;
                self.happen(Event::TermsChanged(terms));
            }
            Act::Room => _ = self.happen(Event::SpaceNeeded),
            Act::Clock { since_s, by_s } => self.clock_stepped(*since_s, *by_s),
            Act::Late(what) => self.late(*what),
        }
    }

    /// Someone wants it tried again: what waits comes at once, what failed for good is tried once.
    fn retry(&mut self) {
        let before = self.rec.clone();
        self.happen(Event::RetryRequested { by: "someone".into() });
        for (lane, was, is) in [
            (Lane::Copy, &before.copy, &self.rec.copy),
            (Lane::Process, &before.transcode, &self.rec.transcode),
            (Lane::Deliver, &before.push, &self.rec.push),
        ] {
            if was != is {
                self.law.ask_again(lane);
            }
        }
    }

    /// Time that was stamped wrongly for a while is put right; `now` moves along.
    fn clock_stepped(&mut self, since_s: i64, by_s: i64) {
        let since = self.now - SignedDuration::from_secs(since_s);
        let by = SignedDuration::from_secs(by_s.max(-since_s));
        self.now += by;
        self.happen(Event::ClockStepped { since, by });
        self.law.shift(since, by);
    }

    /// What comes too late, or from nowhere, changes nothing that matters.
    fn late(&mut self, what: u8) {
        let lane = [Lane::Copy, Lane::Process, Lane::Deliver][usize::from(what % 3)];
        if running(&self.rec, lane) {
            return;
        }
        let before = self.rec.clone();
        let event = match what {
            0 => Event::Copied,
            1 => Event::Transcoded { media: None, files: vec![], remarks: vec![] },
            2 => Event::Interrupted(Lane::Deliver),
            3 => Event::CopyFailed(failure(self.now)),
            4 => Event::TranscodeFailed(failure(self.now)),
            _ => {
                let gone = self.rec.files.iter().filter(|file| file.deleted_at.is_some());
                Event::FilesDeleted(gone.map(|file| file.kind).collect())
            }
        };
        self.happen(event);
        assert_eq!(self.rec, before, "what came late changed something");
    }

    /// Steps the recording, with the law looking on.
    fn happen(&mut self, event: Event) -> Vec<Effect> {
        let before = self.rec.clone();
        let (rec, effects) = step(&before, event, self.now);
        self.rec = rec;
        if before.saved_at.is_none() && self.rec.saved_at.is_some() {
            self.law.recovered = self.rec.recovered;
            self.law.save(self.now);
        }
        if self.rec.state == State::Garbage && before.state != State::Garbage {
            self.law.reject();
        }
        for lane in [Lane::Copy, Lane::Process, Lane::Deliver] {
            let exhausted = |rec: &Recording| match lane {
                Lane::Copy => rec.copy.exhausted,
                Lane::Process => rec.transcode.exhausted,
                _ => rec.push.exhausted,
            };
            if exhausted(&self.rec) && !exhausted(&before) {
                self.law.give_up(lane);
            }
        }
        self.nothing_too_early(&before);
        assert!(
            before.is_ended() <= self.rec.is_ended(),
            "what had ended came back: {:?} -> {:?}",
            before.state,
            self.rec.state
        );
        effects
    }

    /// Each file that is doomed now was due by the law's own reckoning.
    fn nothing_too_early(&self, before: &Recording) {
        for file in &self.rec.files {
            let was = before.file(file.kind).and_then(|file| file.doomed.as_ref());
            let Some(doom) = file.doomed.as_ref().filter(|_| was.is_none()) else { continue };
            assert!(!self.law.held, "the {:?} was doomed under a legal hold", file.kind);
            // Committed with the whole recording: the rule was due then.
            let at = self.rec.ended.as_ref().map_or(self.now, |ended| ended.at);
            let earliest = self.law.earliest(before, file.kind, doom.rule);
            let ok = earliest.is_some_and(|earliest| earliest <= at.max(self.now));
            assert!(
                ok || self.rec.ended.as_ref().is_some_and(|ended| ended.rule == doom.rule),
                "the {:?} goes by {:?} at {}, the law says {earliest:?}",
                file.kind,
                doom.rule,
                self.now
            );
        }
        if let Some(ended) = self.rec.ended.as_ref().filter(|_| before.ended.is_none()) {
            let earliest = self.law.earliest(before, FileKind::Raw, ended.rule);
            assert!(
                earliest.is_some_and(|earliest| earliest <= self.now),
                "it ended by {:?} at {}, the law says {earliest:?}",
                ended.rule,
                self.now
            );
        }
    }

    /// Time passes up to an instant, and the node does what is due meanwhile.
    fn work_until(&mut self, until: Timestamp) {
        let mut steps = 0;
        loop {
            let next = Lane::ALL
                .into_iter()
                .filter_map(|lane| due(&self.rec, lane).map(|at| (at.max(self.now), lane)))
                .min_by_key(|(at, _)| *at);
            let late = until.max(self.now);
            let Some((at, lane)) = next.filter(|(at, _)| *at <= late) else { break };
            steps = if at > self.now { 0 } else { steps + 1 };
            assert!(steps < STEPS_MAX, "{lane:?} comes due again and again");
            self.now = at;
            let was_cut_short = running(&self.rec, lane);
            if was_cut_short {
                self.happen(Event::Interrupted(lane));
            }
            let still_runs = was_cut_short && running(&self.rec, lane);
            let effects = self.happen(Event::Due(lane));
            if effects.contains(&Effect::Forget) {
                assert!(self.rec.is_gone(), "an entry goes while something is left");
                break;
            }
            for effect in effects {
                self.carry_out(lane, effect, still_runs);
            }
        }
        self.now = self.now.max(until);
        self.nothing_too_late();
        // Whatever its state, there are words for it.
        let outlook = explain::outlook(&self.rec, self.now);
        assert!(!outlook.sentence.is_empty() && outlook.files.len() == self.rec.files.len());
    }

    fn outcome(&mut self) -> Outcome {
        self.outcomes.pop().unwrap_or(Outcome::Done)
    }

    fn carry_out(&mut self, lane: Lane, effect: Effect, was_cut_short: bool) {
        if matches!(effect, Effect::Copy | Effect::Transcode | Effect::Push(_)) {
            self.law.begin(lane, was_cut_short, self.now);
        }
        let outcome = self.outcome();
        if matches!(outcome, Outcome::CutShort) {
            // The lease of the claim ends; the work is due again.
            self.now += SignedDuration::from_secs(60);
            self.happen(Event::Interrupted(lane));
            return;
        }
        let fails = matches!(outcome, Outcome::Fails | Outcome::FailsLate);
        match effect {
            Effect::Copy if fails => self.failed(lane, Event::CopyFailed(failure(self.now))),
            Effect::Copy => {
                self.law.copied(self.now);
                self.happen(Event::Copied);
            }
            Effect::Transcode if fails => {
                self.failed(lane, Event::TranscodeFailed(failure(self.now)));
            }
            Effect::Transcode => self.transcoded(),
            Effect::Push(pending) => {
                let done = match outcome {
                    Outcome::Fails => 0,
                    Outcome::FailsLate => pending.len() / 2,
                    _ => pending.len(),
                };
                self.push(&pending[..done], fails);
            }
            Effect::Recover => {
                let container = (!fails).then_some(Container::Webm);
                self.happen(Event::Recovered { bytes: 7, sha256: "00".into(), container });
            }
            Effect::Delete { kinds, .. } => {
                assert!(!self.law.held, "{kinds:?} go under a legal hold");
                if fails {
                    // The disk says no; the claim's lease ends.
                    self.now += SignedDuration::from_secs(60);
                    return;
                }
                self.happen(Event::FilesDeleted(kinds.clone()));
                let once = self.rec.clone();
                self.happen(Event::FilesDeleted(kinds));
                assert_eq!(self.rec, once, "deleting twice changed something");
            }
            Effect::Withdraw(files) => self.withdraw(files, fails),
            Effect::Forget | Effect::Cancel => {}
        }
    }

    fn transcoded(&mut self) {
        let outputs = self.rec.policy.outputs;
        let kinds: Vec<FileKind> = [
            (FileKind::Main, outputs.mp4),
            (FileKind::Snapshot, outputs.snapshot),
            (FileKind::Filmstrip, outputs.filmstrip),
            // Some environments want it.
            (FileKind::FilmstripVtt, outputs.filmstrip && outputs.snapshot),
        ]
        .into_iter()
        .filter_map(|(kind, is_made)| is_made.then_some(kind))
        .collect();
        self.law.made(&kinds, self.now);
        let files = kinds.iter().map(|&kind| NewFile { kind, bytes: 3, sha256: None }).collect();
        self.happen(Event::Transcoded { media: None, files, remarks: vec![] });
    }

    /// These get there, and then the push ends.
    fn push(&mut self, done: &[(String, FileKind)], fails: bool) {
        for (destination, kind) in done {
            self.law.pushed(destination, *kind);
            let (destination, location) = (destination.clone(), "there".into());
            self.happen(Event::FilePushed { destination, kind: *kind, location });
        }
        let failure = fails.then(|| failure(self.now));
        if fails {
            self.failed(Lane::Deliver, Event::PushEnded { failure });
        } else {
            self.law.succeed(Lane::Deliver);
            self.happen(Event::PushEnded { failure });
        }
    }

    fn failed(&mut self, lane: Lane, event: Event) {
        self.law.fail(lane, self.now);
        self.happen(event);
    }

    fn withdraw(&mut self, files: Vec<Owned>, fails: bool) {
        for Owned { destination, kind, .. } in files {
            assert_eq!(
                Some(&destination),
                self.rec.policy.own.as_ref(),
                "only ours is deleted from"
            );
            if fails {
                self.happen(Event::WithdrawFailed(failure(self.now)));
                return;
            }
            self.happen(Event::Withdrawn { destination, kind });
        }
    }

    /// After the node has done what is due, nothing is left that the law wants gone.
    fn nothing_too_late(&self) {
        for file in self.rec.files.iter().filter(|file| file.deleted_at.is_none()) {
            let fate = retention::fate(&self.rec, file.kind);
            let latest = self.law.latest(&self.rec, file.kind);
            assert!(
                latest.is_none_or(|latest| latest > self.now),
                "the {:?} should be gone since {latest:?}, and its fate is {fate:?} in {:?}",
                file.kind,
                self.rec.state
            );
            let is_stuck = matches!(fate, Fate::Now(_));
            assert!(!is_stuck, "the {:?} is doomed and still here", file.kind);
        }
        if self.rec.is_gone() && self.rec.state != State::Stored {
            assert_eq!(self.rec.metadata, Metadata::default(), "personal data outlived the files");
        }
    }

    /// Whatever happened: with the hold lifted and the account closed, half a year later nothing is
    /// left and the entry may go.
    pub(crate) fn live_out(mut self) {
        self.outcomes.clear();
        self.act(&Act::Hold(false));
        self.work_until(self.now);
        if self.rec.attached && self.rec.saved_at.is_none() {
            self.act(&Act::Attach(false));
        }
        self.act(&Act::Terms { expires_in_days: Some(0), lifecycle_days: None });
        self.work_until(self.now + SignedDuration::from_hours(24 * 200));
        if self.rec.state != State::Stored {
            assert!(self.rec.is_gone(), "left over in {:?}: {:?}", self.rec.state, self.rec.files);
        }
    }
}
