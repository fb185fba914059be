//! Rules 1 and 2: the way of a recording, and its attempts.

use super::*;

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
fn a_success_without_an_mp4_is_a_failed_attempt() {
    let mut life = Life::saved(Source::Upload, policy());
    life.due(Lane::Process);
    life.happen(Event::Transcoded { media: None, files: vec![], remarks: vec![] });
    assert_eq!(life.rec.state, State::Processing);
    assert_eq!(life.fate(FileKind::Raw), Fate::Kept(Hold::Processing));
}

fn copies() -> Policy {
    Policy { copies: true, ..policy() }
}

#[test]
fn rule_2_copying_has_thirteen_attempts_of_its_own() {
    let mut life = Life::saved(Source::Upload, copies());
    for made in 1..=ATTEMPTS_MAX {
        assert_eq!(life.rec.state, State::Copying);
        assert_eq!(life.due(Lane::Copy), [Effect::Copy]);
        assert_eq!(life.rec.copy.made, made);
        life.happen(Event::CopyFailed(life.failure()));
    }
    assert_eq!(life.now, start() + SignedDuration::from_mins(74 * 60 + 2));
    assert_eq!(life.rec.state, State::Failed);
    assert_eq!((life.rec.transcode.made, life.rec.push.made), (0, 0));
    assert!(matches!(life.fate(FileKind::Raw), Fate::Until { rule: Rule::TranscodeFailed, .. }));
}

#[test]
fn rule_2_what_copying_used_up_is_not_missing_from_transcoding() {
    let mut life = Life::saved(Source::Upload, copies());
    for _ in 0..4 {
        life.due(Lane::Copy);
        life.happen(Event::CopyFailed(life.failure()));
    }
    life.due(Lane::Copy);
    life.happen(Event::Copied);
    // 2 + 5 + 10 + 15 min later.
    let moved_at = start() + SignedDuration::from_mins(32);
    assert_eq!((life.rec.state, life.rec.moved_at), (State::Saved, Some(moved_at)));
    while life.rec.state != State::Failed {
        life.due(Lane::Process);
        life.happen(Event::TranscodeFailed(life.failure()));
    }
    // All thirteen fit in: the last is 74 h 34 min after SAVED.
    assert_eq!(life.rec.transcode.made, ATTEMPTS_MAX);
    assert_eq!(life.now, moved_at + SignedDuration::from_mins(74 * 60 + 2));
}
