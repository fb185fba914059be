//! Histories that are not right: the oracle has to say so, law by law. The core tells each up to the
//! point from which on it is made up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::recording::{Doom, Event, NewFile};
use holdfast_core::retention::Rule;
use holdfast_core::{due, step};

use super::*;
use crate::simulation::chance::Chance;
use crate::simulation::places;
use crate::simulation::regressions::{at, disk, ledger, recording};

/// What happens to one recording, as the oracle is told.
struct History {
    oracle: Oracle,
    rec: Recording,
    /// How much later than right the wall clock is, in seconds.
    off_by_s: i64,
}

fn start() -> Timestamp {
    at("2026-01-01T10:00:00Z")
}

fn hours(hours: i64) -> Timestamp {
    start() + SignedDuration::from_hours(hours)
}

fn seconds(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn failure(at: Timestamp) -> Failure {
    Failure { fault: Fault::Customers, sentence: "no".into(), at }
}

impl History {
    fn new(of: impl FnOnce(&mut Recording)) -> Self {
        let mut rec = recording(start());
        of(&mut rec);
        let mut history = Self { oracle: Oracle::default(), rec, off_by_s: 0 };
        history.tell(None, history.rec.clone(), Vec::new(), start());
        history
    }

    /// Saved, and nothing done for it yet.
    fn saved(of: impl FnOnce(&mut Recording)) -> Self {
        let mut history = Self::new(of);
        let stopped = Event::Stopped { bytes: 3, sha256: "raw".into(), container: None };
        history.happens(stopped, start());
        history.happens(Event::Saved, start());
        history
    }

    /// Transcoded as well.
    fn transcoded(of: impl FnOnce(&mut Recording)) -> Self {
        let mut history = Self::saved(of);
        history.happens(Event::Due(Lane::Process), seconds(1));
        let files = vec![NewFile { kind: FileKind::Main, bytes: 4, sha256: Some("main".into()) }];
        let remarks = Vec::new();
        history.happens(Event::Transcoded { media: None, files, remarks }, seconds(2));
        history
    }

    /// Every attempt to transcode it fails.
    fn exhausted() -> Self {
        let mut history = Self::saved(|_| {});
        while let Some(at) = due(&history.rec, Lane::Process) {
            history.happens(Event::Due(Lane::Process), at);
            history.happens(Event::TranscodeFailed(failure(at)), at);
        }
        assert_eq!(history.rec.state, State::Failed);
        history
    }

    /// As the core has it.
    fn happens(&mut self, event: Event, now: Timestamp) {
        let (after, _) = step(&self.rec, event.clone(), now);
        self.tell(Some(self.rec.clone()), after, vec![event], now);
    }

    /// As nobody should have it.
    fn is_made_up(&mut self, how: impl FnOnce(&mut Recording), events: Vec<Event>, now: Timestamp) {
        let mut after = self.rec.clone();
        how(&mut after);
        self.tell(Some(self.rec.clone()), after, events, now);
    }

    fn goes(&mut self, kind: FileKind, rule: Rule, now: Timestamp) {
        let doom = |rec: &mut Recording| {
            let file = rec.files.iter_mut().find(|file| file.kind == kind).unwrap();
            file.doomed = Some(Doom { rule, at: now });
        };
        self.is_made_up(doom, Vec::new(), now);
    }

    fn tell(
        &mut self,
        before: Option<Recording>,
        after: Recording,
        events: Vec<Event>,
        now: Timestamp,
    ) {
        let outside = Now {
            elapsed: now.duration_since(start()).unsigned_abs(),
            wall: now + SignedDuration::from_secs(self.off_by_s),
            is_vouched_for: true,
            troubled: None,
            clock_was_off: None,
        };
        self.rec = after.clone();
        self.oracle.note(Note { before, after, events, now }, outside);
    }
}

#[test]
fn an_honest_history_is_right() {
    let mut history = History::exhausted();
    let day_29 = at("2026-01-28T22:00:00Z");
    history.oracle.nothing_too_late(day_29 - SignedDuration::from_secs(1), &disk());
    history.happens(Event::Due(Lane::Expire), day_29);
    history.happens(Event::Due(Lane::Retain), day_29);
    history.happens(Event::FilesDeleted(vec![FileKind::Raw]), day_29);
    assert!(history.rec.is_gone());
    history.oracle.nothing_too_late(day_29, &disk());
}

#[test]
#[should_panic(expected = "goes by TranscodeFailed")]
fn twenty_seven_days_are_too_few() {
    History::exhausted().goes(FileKind::Raw, Rule::TranscodeFailed, at("2026-01-27T22:00:00Z"));
}

#[test]
#[should_panic(expected = "should be gone since")]
fn twenty_nine_days_are_too_many() {
    History::exhausted().oracle.nothing_too_late(at("2026-01-28T22:00:01Z"), &disk());
}

#[test]
#[should_panic(expected = "goes by Lifecycle")]
fn nothing_goes_by_its_lifecycle_within_75_hours() {
    let mut history = History::transcoded(|rec| {
        rec.policy.destinations.clear();
        rec.terms.lifecycle_days = Some(1);
    });
    assert_eq!(history.rec.state, State::Stored);
    history.goes(FileKind::Main, Rule::Lifecycle, hours(74));
}

#[test]
#[should_panic(expected = "goes under a legal hold")]
fn nothing_goes_under_a_hold() {
    let mut history = History::transcoded(|rec| rec.terms.lifecycle_days = Some(1));
    history.happens(Event::HoldSet { by: "x".into(), reason: "y".into() }, hours(1));
    history.goes(FileKind::Raw, Rule::Lifecycle, hours(500));
}

#[test]
#[should_panic(expected = "although the clock shows")]
fn nothing_goes_by_a_clock_that_runs_behind() {
    let mut history = History::exhausted();
    history.off_by_s = -40 * 86_400;
    history.happens(Event::Due(Lane::Expire), at("2026-02-01T00:00:00Z"));
}

#[test]
#[should_panic(expected = "the law says None")]
fn store_nothing_waits_for_the_last_destination() {
    let mut history = History::transcoded(|rec| {
        rec.policy.store_nothing = true;
        rec.policy.destinations.push("another".into());
    });
    history.happens(Event::Due(Lane::Deliver), seconds(3));
    let (destination, location) = ("theirs".to_owned(), "there".to_owned());
    history.happens(Event::FilePushed { destination, kind: FileKind::Main, location }, seconds(4));
    history.goes(FileKind::Main, Rule::StoreNothing, hours(1));
}

#[test]
#[should_panic(expected = "an attempt of Process after it was given up")]
fn there_is_no_fourteenth_attempt() {
    let begin = |rec: &mut Recording| rec.transcode.running = true;
    History::exhausted().is_made_up(begin, vec![Event::Due(Lane::Process)], hours(74));
}

#[test]
#[should_panic(expected = "attempt 2 came too soon")]
fn an_attempt_waits_its_time() {
    let mut history = History::saved(|_| {});
    history.happens(Event::Due(Lane::Process), seconds(1));
    history.happens(Event::TranscodeFailed(failure(seconds(2))), seconds(2));
    let begin = |rec: &mut Recording| rec.transcode.running = true;
    history.is_made_up(begin, vec![Event::Due(Lane::Process)], seconds(100));
}

#[test]
#[should_panic(expected = "should have begun at")]
fn an_attempt_comes_in_its_time() {
    History::saved(|_| {}).oracle.nothing_too_late(hours(1), &disk());
}

#[test]
#[should_panic(expected = "was given up before its time")]
fn nothing_is_given_up_early() {
    let mut history = History::saved(|_| {});
    history.happens(Event::Due(Lane::Process), seconds(1));
    let event = Event::TranscodeFailed(failure(seconds(2)));
    let give_up = |rec: &mut Recording| {
        rec.transcode.running = false;
        rec.transcode.exhausted = true;
    };
    history.is_made_up(give_up, vec![event], seconds(2));
}

#[test]
#[should_panic(expected = "came back from its end")]
fn what_has_ended_stays_so() {
    let mut history = History::saved(|_| {});
    history.happens(Event::DeleteRequested { by: "x".into() }, hours(1));
    history.is_made_up(|rec| rec.state = State::Saved, Vec::new(), hours(2));
}

#[test]
#[should_panic(expected = "was unlinked before that was committed")]
fn only_what_is_doomed_is_unlinked() {
    let history = History::saved(|_| {});
    let path = PathBuf::from(RECORDINGS).join(history.rec.id.to_string()).join("raw");
    history.oracle.removed(&path);
}

#[test]
#[should_panic(expected = "the Raw is gone")]
fn what_was_saved_is_there() {
    let history = History::saved(|_| {});
    history.oracle.agrees_with_the_world(history.rec.id, &disk(), &[], &BTreeMap::new());
}

/// A recording that was deleted, of which something is left; the oracle looks for it.
async fn leaves(of: impl FnOnce(&mut Recording), stores: &[Store]) {
    let mut history = History::saved(of);
    history.happens(Event::DeleteRequested { by: "x".into() }, hours(1));
    let disk = disk();
    let ledger = ledger(&disk, start());
    ledger.insert(history.rec.clone()).await.unwrap();
    history.oracle.nothing_is_left(&ledger, &disk, stores);
}

#[tokio::test]
#[should_panic(expected = "something of it is left")]
async fn what_was_deleted_goes_from_here() {
    leaves(|_| {}, &[]).await;
}

#[tokio::test]
#[should_panic(expected = "half-done in theirs")]
async fn nothing_is_left_half_done_anywhere() {
    let stores = places::stores(&disk(), &mut Chance::new(1));
    stores[1].leave_half_done("a film");
    leaves(|_| {}, &stores).await;
}

#[tokio::test]
#[should_panic(expected = "personal data outlived it")]
async fn the_person_is_forgotten_with_the_recording() {
    let mut history = History::saved(|_| {});
    history.happens(Event::DeleteRequested { by: "x".into() }, hours(1));
    history.rec.metadata.ip = Some("192.0.2.1".into());
    let disk = disk();
    let ledger = ledger(&disk, start());
    ledger.insert(history.rec.clone()).await.unwrap();
    history.oracle.nothing_is_left(&ledger, &disk, &[]);
}
