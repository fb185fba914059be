//! Rules 5 and 6: what pushing comes to, and what failed.

use super::*;

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
fn without_a_destination_the_node_is_where_it_is_stored() {
    let mut life = Life::processed(Source::Upload, Policy { destinations: vec![], ..policy() });
    assert_eq!(life.rec.state, State::Stored);
    assert_eq!(life.sweep(), [FileKind::Raw]);
    assert_eq!(life.fate(FileKind::Main), Fate::Kept(Hold::StoredHere));
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
fn rule_6_a_copied_recordings_28_days_count_from_the_day_it_was_moved_where_that_is_later() {
    let mut life = Life::saved(Source::Upload, Policy { copies: true, ..policy() });
    // The eleventh attempt is 26 h 02 min after SAVED: on 2026-01-02, 14:02 local.
    for _ in 0..10 {
        life.due(Lane::Copy);
        life.happen(Event::CopyFailed(life.failure()));
    }
    life.due(Lane::Copy);
    life.happen(Event::Copied);
    assert_eq!(life.rec.moved_at, Some(at("2026-01-02T12:02:00Z")));
    while life.rec.state != State::Failed {
        life.due(Lane::Process);
        life.happen(Event::TranscodeFailed(life.failure()));
    }
    let expected = at("2026-01-29T22:00:00Z");
    assert_eq!(life.fate(FileKind::Raw), Fate::Until { at: expected, rule: Rule::TranscodeFailed });
    life.now = expected - SignedDuration::from_millis(1);
    assert_eq!(life.sweep(), []);
    life.now = expected;
    assert_eq!(life.sweep(), [FileKind::Raw]);
}
