//! Rules 7, 8 and 10: accounts, other deletions, clocks.

use super::*;

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

fn with_terms(mut life: Life, terms: Terms) -> Life {
    life.happen(Event::TermsChanged(terms));
    life
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
