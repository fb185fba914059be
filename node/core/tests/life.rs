//! The life of a recording, rule by rule, lived through without waiting.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

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

#[test]
fn rule_1_a_life_from_receiving_to_stored() {
    let mut life = Life::begin(Source::Upload, policy());
    assert_eq!(life.rec.state, State::Receiving);
    life.happen(Event::Stopped { bytes: 9, sha256: "00".into(), container: None });
    assert_eq!(life.rec.state, State::Stopped);
    life.happen(Event::Saved);
    assert_eq!((life.rec.state, life.rec.saved_at), (State::Saved, Some(start())));
    life.transcode();
    assert_eq!(life.rec.state, State::Delivering);
    life.push(&[]);
    assert_eq!(life.rec.state, State::Stored);
    life.rec.metadata.title = Some("A talk".into());
    assert_eq!(life.sweep().len(), 4);
    assert_eq!(life.rec.state, State::Stored);
    assert_eq!(next_deadline(&life.rec), None);
    let title_alone = Metadata { title: Some("A talk".into()), ..Metadata::default() };
    assert_eq!(life.rec.metadata, title_alone);
}

#[test]
fn rule_1_never_completed_is_garbage_at_once_for_an_upload() {
    let mut life = Life::begin(Source::Upload, policy());
    life.happen(Event::Detached);
    assert_eq!(life.sweep(), [FileKind::Raw]);
    assert_eq!(life.rec.state, State::Garbage);
}

#[test]
fn rule_2_each_step_has_thirteen_attempts_of_its_own() {
    let mut life = Life::saved(Source::Upload, policy());
    for made in 1..ATTEMPTS_MAX {
        life.due(Lane::Process);
        assert_eq!(life.rec.transcode.made, made);
        life.happen(Event::TranscodeFailed(life.failure()));
        assert_eq!(life.rec.state, State::Processing);
    }
    // The thirteenth, 74 h 02 min after SAVED, succeeds; pushing then has what is left of 75 h.
    life.transcode();
    assert_eq!(life.now, start() + SignedDuration::from_mins(74 * 60 + 2));
    assert_eq!(life.rec.push.made, 0);
    let all: Vec<(&str, FileKind)> = FILES.map(|kind| ("ours", kind)).into();
    while life.rec.state == State::Delivering {
        life.push(&all);
    }
    assert_eq!(life.rec.state, State::Failed);
    // 2 + 5 + 10 + 15 min fit in; the next 30 min do not.
    assert_eq!(life.rec.push.made, 5);
}

#[test]
fn rule_2_one_push_counter_over_all_destinations_and_only_what_is_missing() {
    let mut life = Life::processed(Source::Upload, policy());
    let first = life.push(&[("theirs", FileKind::Main), ("ours", FileKind::Snapshot)]);
    assert_eq!(first.len(), 6);
    assert_eq!(life.rec.push.made, 1);
    let second = life.push(&[("theirs", FileKind::Main)]);
    assert_eq!(second, [("ours".into(), FileKind::Snapshot), ("theirs".into(), FileKind::Main)]);
    assert_eq!(life.rec.push.made, 2);
    assert_eq!(life.push(&[]), [("theirs".into(), FileKind::Main)]);
    assert_eq!(life.rec.state, State::Stored);
}

#[test]
fn rule_2_the_customers_fault_follows_the_schedule_and_is_told_from_the_first_attempt() {
    let mut life = Life::processed(Source::Upload, policy());
    life.due(Lane::Deliver);
    let failure = Failure { fault: Fault::Customers, ..life.failure() };
    life.happen(Event::PushEnded { failure: Some(failure) });
    assert_eq!(life.rec.push.error.as_ref().map(|e| e.fault), Some(Fault::Customers));
    assert_eq!(life.rec.push.next_at, Some(start() + SignedDuration::from_mins(2)));
}

#[test]
fn rule_2_a_node_that_was_off_for_four_days_starts_no_attempt() {
    let mut life = Life::saved(Source::Upload, policy());
    life.now += SignedDuration::from_hours(96);
    assert_eq!(life.happen(Event::Due(Lane::Process)), []);
    assert_eq!(life.rec.state, State::Failed);
    assert!(life.rec.transcode.exhausted);
    assert!(matches!(life.fate(FileKind::Raw), Fate::Until { rule: Rule::TranscodeFailed, .. }));
}

#[test]
fn rule_2_the_nodes_own_end_costs_no_attempt() {
    let mut life = Life::saved(Source::Upload, policy());
    for _ in 0..INTERRUPTIONS_MAX {
        life.due(Lane::Process);
        life.happen(Event::Interrupted(Lane::Process));
    }
    assert_eq!(life.rec.transcode.made, 1);
    life.transcode();
    assert_eq!(life.rec.state, State::Delivering);
}

#[test]
fn rule_3_1_an_uploads_raw_file_goes_as_soon_as_processing_is_done_with_it() {
    let mut life = Life::saved(Source::Upload, policy());
    assert_eq!(life.fate(FileKind::Raw), Fate::Kept(Hold::Processing));
    life.transcode();
    assert_eq!(life.sweep(), [FileKind::Raw]);
    assert_eq!(life.fate(FileKind::Main), Fate::Kept(Hold::Pushing));
}

#[test]
fn rule_3_1_a_streams_raw_file_waits_for_playback() {
    let mut life = Life::processed(Source::Stream, policy());
    assert_eq!(life.sweep(), []);
    life.now = start() + SignedDuration::from_millis(59_999);
    assert_eq!(life.sweep(), []);
    life.now = start() + SignedDuration::from_mins(1);
    assert_eq!(life.sweep(), [FileKind::Raw]);
}

#[test]
fn rule_3_1_reconnect_and_resume_have_their_chance_then_recovery() {
    let mut life = Life::begin(Source::Stream, policy());
    life.rec.bytes = 9;
    life.now += SignedDuration::from_secs(10);
    life.happen(Event::Detached);
    life.now += SignedDuration::from_secs(299);
    assert_eq!(life.happen(Event::Due(Lane::Retain)), []);
    life.happen(Event::Attached);
    assert_eq!(due(&life.rec, Lane::Retain), None);
    life.happen(Event::Detached);
    life.now += SignedDuration::from_secs(300);
    assert_eq!(life.happen(Event::Due(Lane::Retain)), [Effect::Recover]);
    life.happen(recovered(9));
    assert_eq!((life.rec.state, life.rec.recovered), (State::Saved, true));
    assert_eq!(life.rec.saved_at, Some(life.now));
    // Nobody is there to play it back.
    life.transcode();
    assert_eq!(life.sweep(), [FileKind::Raw]);
}

#[test]
fn rule_3_1_a_client_that_comes_back_while_it_is_recovered_keeps_its_recording() {
    let mut life = Life::begin(Source::Stream, policy());
    life.rec.bytes = 9;
    life.happen(Event::Detached);
    assert_eq!(life.due(Lane::Retain), [Effect::Recover]);
    life.happen(Event::Attached);
    life.happen(recovered(9));
    assert_eq!((life.rec.state, life.rec.recovered), (State::Receiving, false));
}

#[test]
fn rule_3_1_a_recovery_that_is_out_of_date_changes_nothing() {
    let mut life = Life::begin(Source::Stream, policy());
    life.rec.bytes = 9;
    life.happen(Event::Detached);
    assert_eq!(life.due(Lane::Retain), [Effect::Recover]);
    // The client came back, brought more, and was lost again while the file was read.
    life.happen(Event::Attached);
    life.rec.bytes = 12;
    life.now += SignedDuration::from_secs(1);
    life.happen(Event::Detached);
    life.happen(recovered(9));
    assert_eq!(life.rec.state, State::Receiving);
    life.now += SignedDuration::from_secs(300);
    life.happen(recovered(9));
    assert_eq!(life.rec.state, State::Receiving);
    life.happen(recovered(12));
    assert_eq!((life.rec.state, life.rec.bytes), (State::Saved, 12));
}

#[test]
fn rule_3_2_what_is_no_recording_is_not_recovered() {
    let mut life = Life::begin(Source::Stream, policy());
    life.rec.bytes = 9;
    life.happen(Event::Detached);
    life.due(Lane::Retain);
    life.happen(Event::Recovered { bytes: 9, sha256: "00".into(), container: None });
    assert_eq!(life.rec.state, State::Garbage);
}

#[test]
fn a_success_without_an_mp4_is_a_failed_attempt() {
    let mut life = Life::saved(Source::Upload, policy());
    life.due(Lane::Process);
    life.happen(Event::Transcoded { media: None, files: vec![], remarks: vec![] });
    assert_eq!(life.rec.state, State::Processing);
    assert_eq!(life.fate(FileKind::Raw), Fate::Kept(Hold::Processing));
}

#[test]
fn rule_3_2_a_stream_without_a_byte_is_garbage_after_the_reconnect_window() {
    let mut life = Life::begin(Source::Stream, policy());
    life.happen(Event::Detached);
    life.due(Lane::Retain);
    assert_eq!(life.rec.state, State::Garbage);
}

#[test]
fn rule_3_3_unknown_is_kept_six_hours_after_its_last_byte() {
    let mut life = Life::begin(Source::Upload, policy());
    life.happen(Event::Detached);
    life.rec.state = State::Unknown;
    life.now = start() + SignedDuration::from_hours(6) - SignedDuration::from_millis(1);
    assert_eq!(life.sweep(), []);
    life.now = start() + SignedDuration::from_hours(6);
    assert_eq!(life.sweep(), [FileKind::Raw]);
    let raw = life.rec.file(FileKind::Raw).unwrap();
    assert_eq!(raw.doomed.as_ref().map(|doom| doom.rule), Some(Rule::Unknown));
}

#[test]
fn rule_4_with_nothing_to_make_the_raw_file_is_the_main_file() {
    let outputs = Outputs { mp4: false, snapshot: false, filmstrip: false };
    let mut life = Life::saved(Source::Upload, Policy { outputs, ..policy() });
    assert_eq!(life.rec.state, State::Delivering);
    let pushed = life.push(&[]);
    assert_eq!(pushed, [("ours".into(), FileKind::Raw), ("theirs".into(), FileKind::Raw)]);
    assert_eq!(life.rec.state, State::Stored);
    assert_eq!(life.sweep(), [FileKind::Raw]);
}

#[test]
fn rule_5_main_then_raw_then_snapshot_then_filmstrip() {
    let destinations = vec!["ours".into()];
    let mut life =
        Life::processed(Source::Upload, Policy { push_raw: true, destinations, ..policy() });
    let order: Vec<FileKind> = life.push(&[]).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(order, [FileKind::Main, FileKind::Raw, FileKind::Snapshot, FileKind::Filmstrip]);
}

#[test]
fn rule_5_store_nothing_deletes_all_once_the_main_file_is_up() {
    let policy = Policy {
        store_nothing: true,
        push_raw: true,
        destinations: vec!["theirs".into()],
        ..policy()
    };
    let mut life = Life::processed(Source::Upload, policy);
    life.push(&[("theirs", FileKind::Filmstrip)]);
    assert_eq!(life.rec.state, State::Delivered);
    assert_eq!(life.sweep().len(), 4);
    assert_eq!(life.rec.metadata, Metadata::default());
}

#[test]
fn rule_5_success_all_waits_for_every_file() {
    let destinations = vec!["theirs".into()];
    let policy = Policy { store_nothing: true, success: Success::All, destinations, ..policy() };
    let mut life = Life::processed(Source::Upload, policy);
    life.push(&[("theirs", FileKind::Filmstrip)]);
    assert_eq!(life.rec.state, State::Delivering);
    assert_eq!(life.sweep(), [FileKind::Raw]);
    life.push(&[]);
    assert_eq!(life.rec.state, State::Delivered);
}

#[test]
fn rule_5_without_the_main_file_nothing_counts() {
    let destinations = vec!["theirs".into()];
    let policy = Policy { store_nothing: true, destinations, ..policy() };
    let mut life = Life::processed(Source::Upload, policy);
    while life.rec.state == State::Delivering {
        life.push(&[("theirs", FileKind::Main)]);
    }
    assert_eq!(life.rec.state, State::Failed);
    assert!(matches!(life.fate(FileKind::Main), Fate::Until { rule: Rule::PushFailed, .. }));
}

#[test]
fn rule_5_where_space_is_needed_what_every_destination_has_goes_before_the_push_ends() {
    let raw_too = Policy { push_raw: true, ..policy() };
    let mut life = Life::processed(Source::Stream, raw_too);
    let of = |life: &Life| -> Vec<(FileKind, Rule)> {
        let doomed =
            life.rec.files.iter().filter_map(|it| Some((it.kind, it.doomed.as_ref()?.rule)));
        doomed.collect()
    };
    life.happen(Event::SpaceNeeded);
    assert_eq!(of(&life), [], "nothing has been pushed");
    let failing = [("theirs", FileKind::Snapshot), ("ours", FileKind::Filmstrip)];
    life.push(&failing);
    assert_eq!(life.rec.state, State::Delivering);
    assert_eq!(life.sweep(), [], "by itself nothing goes before the push ends");

    // Neither under a legal hold,
    life.happen(Event::HoldSet { by: "counsel".into(), reason: "case 1".into() });
    life.happen(Event::SpaceNeeded);
    assert_eq!(of(&life), []);
    life.happen(Event::HoldLifted { by: "counsel".into() });
    // nor the raw file while it can be played,
    life.now = life.rec.saved_at.unwrap() + SignedDuration::from_secs(59);
    life.happen(Event::SpaceNeeded);
    assert_eq!(of(&life), [(FileKind::Main, Rule::SpaceNeeded)]);
    life.now = life.rec.saved_at.unwrap() + SignedDuration::from_secs(60);
    life.happen(Event::SpaceNeeded);
    let gone = [(FileKind::Raw, Rule::SpaceNeeded), (FileKind::Main, Rule::SpaceNeeded)];
    assert_eq!(of(&life), gone);
    // nor, ever, what one destination has not.
    assert_eq!(life.sweep(), [FileKind::Raw, FileKind::Main]);
    let left: Vec<_> = failing.iter().map(|(to, kind)| ((*to).to_owned(), *kind)).collect();
    let mut pushed = life.push(&[]);
    pushed.reverse();
    assert_eq!(pushed, left, "the next attempt pushes what is missing, and no more");
    assert_eq!(life.rec.state, State::Stored);
}

#[test]
fn rule_5_what_is_stored_here_alone_never_makes_room() {
    let kept = Policy { destinations: vec![], ..policy() };
    let mut life = Life::processed(Source::Upload, kept);
    life.happen(Event::SpaceNeeded);
    assert!(life.rec.files.iter().all(|it| it.doomed.is_none() || it.kind == FileKind::Raw));
    assert_eq!(life.fate(FileKind::Main), Fate::Kept(Hold::StoredHere));
}

#[test]
fn rule_6_a_failed_transcode_keeps_its_original_for_28_days_from_the_later_day() {
    let mut life = Life::saved(Source::Stream, policy());
    while life.rec.state != State::Failed {
        life.due(Lane::Process);
        life.happen(Event::TranscodeFailed(life.failure()));
    }
    // Saved on 2026-01-01 local: day 28 is 2026-01-28.
    let expected = at("2026-01-28T22:00:00Z");
    assert_eq!(life.fate(FileKind::Raw), Fate::Until { at: expected, rule: Rule::TranscodeFailed });
    life.rec.moved_at = Some(at("2026-01-02T23:00:00Z"));
    let expected = at("2026-01-30T22:00:00Z");
    assert_eq!(life.fate(FileKind::Raw), Fate::Until { at: expected, rule: Rule::TranscodeFailed });
    life.now = expected - SignedDuration::from_millis(1);
    assert_eq!(life.sweep(), []);
    life.now = expected;
    assert_eq!(life.sweep(), [FileKind::Raw]);
}

#[test]
fn rule_6_a_failed_push_keeps_only_what_is_missing_for_28_days_from_its_making() {
    let mut life = Life::processed(Source::Upload, policy());
    life.sweep();
    while life.rec.push.next_at.is_some() {
        life.push(&[("ours", FileKind::Filmstrip)]);
    }
    // Every main file is up, so the push counts; the filmstrip waits for a manual push.
    assert_eq!(life.rec.state, State::Stored);
    assert_eq!(life.sweep(), [FileKind::Main, FileKind::Snapshot]);
    let expected = at("2026-01-28T22:00:00Z");
    assert_eq!(
        life.fate(FileKind::Filmstrip),
        Fate::Until { at: expected, rule: Rule::PushFailed }
    );
    let said = explain(&life.rec, life.now);
    assert!(said.contains("The filmstrip: kept until 2026-01-29 00:00:00 EET by rule 6"), "{said}");
    assert!(said.contains("The .mp4 and snapshot: deleted here at "), "{said}");
}

#[test]
fn rule_8_deletion_by_hand_takes_files_and_personal_metadata_together() {
    let mut life = Life::processed(Source::Stream, policy());
    assert_eq!(life.happen(Event::DeleteRequested { by: "someone".into() }), [Effect::Cancel]);
    assert_eq!(life.rec.state, State::Deleted);
    let effects = life.happen(Event::Due(Lane::Retain));
    let [Effect::Delete { kinds, folder: true }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(kinds.len(), 4);
    life.happen(Event::FilesDeleted(kinds.clone()));
    assert_eq!(life.rec.metadata, Metadata::default());
    // Twice is harmless, and what comes late changes nothing.
    let before = life.rec.clone();
    life.happen(Event::DeleteRequested { by: "someone".into() });
    life.happen(Event::FilesDeleted(vec![FileKind::Raw]));
    life.happen(Event::PushEnded { failure: None });
    life.happen(Event::Transcoded { media: None, files: vec![], remarks: vec![] });
    assert_eq!(life.rec, before);
}

#[test]
fn contract_3_a_deletion_that_was_cut_short_is_due_again() {
    let mut life = Life::processed(Source::Upload, policy());
    let first = life.happen(Event::Due(Lane::Retain));
    assert_eq!(due(&life.rec, Lane::Retain), Some(Timestamp::UNIX_EPOCH));
    assert_eq!(life.happen(Event::Due(Lane::Retain)), first);
}

#[test]
fn without_a_destination_the_node_is_where_it_is_stored() {
    let mut life = Life::processed(Source::Upload, Policy { destinations: vec![], ..policy() });
    assert_eq!(life.rec.state, State::Stored);
    assert_eq!(life.sweep(), [FileKind::Raw]);
    assert_eq!(life.fate(FileKind::Main), Fate::Kept(Hold::StoredHere));
}

fn with_terms(mut life: Life, terms: Terms) -> Life {
    life.happen(Event::TermsChanged(terms));
    life
}

#[test]
fn a_destination_that_lacks_a_file_is_not_told_to_have_all_once_that_file_has_gone() {
    for (success, is_told) in [(Success::Main, true), (Success::All, false)] {
        let destinations = vec!["theirs".into()];
        let mut life =
            Life::processed(Source::Upload, Policy { success, destinations, ..policy() });
        let mut told = Vec::new();
        while life.rec.state == State::Delivering {
            let before = life.rec.clone();
            life.push(&[("theirs", FileKind::Snapshot)]);
            told.extend(happenings(Some(&before), &life.rec));
        }
        let copied = Happening::Copied { destination: "theirs".into() };
        assert_eq!(told.contains(&copied), is_told, "{success:?}: {told:?}");
        // Its 28 days are over.
        life.now += SignedDuration::from_hours(40 * 24);
        let before = life.rec.clone();
        assert!(life.sweep().contains(&FileKind::Snapshot));
        let told = happenings(Some(&before), &life.rec);
        assert!(!told.contains(&copied), "{success:?}: {told:?}");
    }
}

#[test]
fn rule_7_all_recordings_go_28_local_days_after_the_account_expired() {
    let expired = Some(at("2026-02-10T22:30:00Z"));
    let terms = Terms { account_expires_at: expired, lifecycle_days: None };
    let nowhere = Policy { destinations: vec![], ..policy() };
    let mut life = with_terms(Life::processed(Source::Upload, nowhere), terms);
    life.sweep();
    // 2026-02-11 00:30 in Bucharest is day 1.
    let goes = Fate::Until { at: at("2026-03-10T22:00:00Z"), rule: Rule::AccountExpired };
    assert_eq!(life.fate(FileKind::Main), goes);
    life.now = at("2026-03-10T21:59:59Z");
    assert_eq!(life.sweep(), []);
    // Renewed in time, nothing goes.
    let mut renewed = Life { rec: life.rec.clone(), now: life.now };
    renewed.happen(Event::TermsChanged(Terms::default()));
    renewed.now = at("2027-01-01T00:00:00Z");
    assert_eq!(renewed.sweep(), []);
    life.now = at("2026-03-10T22:00:00Z");
    assert_eq!(life.sweep(), FILES);
    assert_eq!(life.rec.state, State::Deleted);
    assert_eq!(life.rec.metadata, Metadata::default());
}

#[test]
fn rule_8_a_lifecycle_rule_waits_75_h_and_leaves_exhausted_recordings_to_rule_6() {
    let terms = Terms { account_expires_at: None, lifecycle_days: Some(1) };
    let nowhere = Policy { destinations: vec![], ..policy() };
    let life = with_terms(Life::processed(Source::Upload, nowhere.clone()), terms);
    let after_75_h =
        Fate::Until { at: start() + SignedDuration::from_hours(75), rule: Rule::Lifecycle };
    assert_eq!(life.fate(FileKind::Main), after_75_h);
    let thirty = Terms { lifecycle_days: Some(30), ..terms };
    let life = with_terms(Life::processed(Source::Upload, nowhere), thirty);
    let goes = Fate::Until { at: at("2026-01-31T10:00:00Z"), rule: Rule::Lifecycle };
    assert_eq!(life.fate(FileKind::Main), goes);
    // One whose pushes are exhausted is rule 6's.
    let mut life = with_terms(Life::processed(Source::Upload, policy()), terms);
    while life.rec.state == State::Delivering {
        life.push(&[("ours", FileKind::Main), ("theirs", FileKind::Main)]);
    }
    let goes = Fate::Until { at: at("2026-01-28T22:00:00Z"), rule: Rule::PushFailed };
    assert_eq!(life.fate(FileKind::Main), goes);
}

#[test]
fn rule_10_without_a_clock_only_rules_of_time_stand_still() {
    let mut life = Life::begin(Source::Upload, policy());
    life.rec.state = State::Unknown;
    life.now = start() + SignedDuration::from_hours(24 * 365);
    // The lane that runs whatever the clock says takes nothing by a rule of time.
    assert_eq!(life.happen(Event::Due(Lane::Retain)), []);
    assert_eq!(due(&life.rec, Lane::Retain), None);
    let mut life = Life::processed(Source::Upload, policy());
    life.happen(Event::DeleteRequested { by: "someone".into() });
    assert!(matches!(life.happen(Event::Due(Lane::Retain))[..], [Effect::Delete { .. }]));
}

#[test]
fn rule_10_stamps_of_a_wrong_clock_move_when_it_is_put_right() {
    let mut life = Life::saved(Source::Upload, policy());
    let by = SignedDuration::from_hours(24 * 365 * 6);
    life.now += by;
    life.happen(Event::ClockStepped { since: start(), by });
    assert_eq!(life.rec.saved_at, Some(start() + by));
    // It has all its attempts before it.
    assert_eq!(life.happen(Event::Due(Lane::Process)), [Effect::Transcode]);
}

#[test]
fn rule_10_a_retry_moves_only_with_the_failure_that_it_counts_from() {
    let mut life = Life::saved(Source::Upload, policy());
    life.happen(Event::Due(Lane::Process));
    life.happen(Event::TranscodeFailed(life.failure()));
    let due_at = life.now + SignedDuration::from_mins(2);
    let by = SignedDuration::from_hours(8);
    // It failed while the clock was right: it is due when it was to be due, wrong clock or not.
    let since = life.now + SignedDuration::from_secs(1);
    life.happen(Event::ClockStepped { since, by });
    assert_eq!(life.rec.transcode.next_at, Some(due_at));
    // It failed by the wrong clock: it still waits for as long as it was to wait.
    life.happen(Event::ClockStepped { since: life.now, by });
    assert_eq!(life.rec.transcode.next_at, Some(due_at + by));
}
