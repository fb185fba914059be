//! Legal holds: nothing goes by any rule, nor by what a rule had decided on before.

use super::*;

fn held(mut life: Life) -> Life {
    life.happen(Event::HoldSet { by: "counsel".into(), reason: "case 1".into() });
    life
}

#[test]
fn a_hold_keeps_what_was_doomed_before_it_and_is_still_there() {
    let mut life = Life::processed(Source::Upload, policy());
    life.push(&[]);
    // Decided and committed, but its volume is away, or its disk refuses.
    let effects = life.happen(Event::Due(Lane::Retain));
    assert!(matches!(effects.as_slice(), [Effect::Delete { .. }]), "{effects:?}");
    assert!(life.rec.files.iter().all(|file| file.doomed.is_some()));

    let mut life = held(life);
    life.now += SignedDuration::from_hours(24 * 365);
    assert_eq!(due(&life.rec, Lane::Retain), None);
    assert_eq!(life.happen(Event::Due(Lane::Retain)), []);
    assert_eq!(life.sweep(), []);
    for file in &life.rec.files {
        assert_eq!(life.fate(file.kind), Fate::Kept(Hold::Legal), "{:?}", file.kind);
    }
    let said = explain(&life.rec, life.now);
    assert!(said.contains("kept by the legal hold"), "{said}");
    assert!(!said.contains("being deleted"), "{said}");

    life.happen(Event::HoldLifted { by: "counsel".into() });
    assert_eq!(life.sweep().len(), 4);
    assert_eq!(life.rec.metadata, Metadata::default());
}

/// The unlinking was under way when the hold came: it waited for it, and is told so.
#[test]
fn what_went_while_a_hold_was_set_is_noted_as_gone() {
    let mut life = Life::processed(Source::Upload, policy());
    life.push(&[]);
    let effects = life.happen(Event::Due(Lane::Retain));
    let [Effect::Delete { kinds, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    let mut life = held(life);
    life.happen(Event::FilesDeleted(kinds.clone()));
    assert!(life.rec.files.iter().all(|file| file.deleted_at.is_some()));
    assert_eq!(life.fate(FileKind::Main), Fate::Gone);
}

#[test]
fn under_a_hold_nothing_goes_by_hand_by_account_by_lifecycle_or_for_space() {
    let mut life = held(Life::processed(Source::Upload, policy()));
    life.push(&[]);
    let terms = Terms { account_expires_at: Some(start()), lifecycle_days: Some(0) };
    life.happen(Event::TermsChanged(terms));
    assert_eq!(life.happen(Event::DeleteRequested { by: "someone".into() }), []);
    life.happen(Event::SpaceNeeded);
    life.now += SignedDuration::from_hours(24 * 365);
    assert_eq!(life.sweep(), []);
    assert_eq!(life.rec.state, State::Stored);
    assert_eq!(next_deadline(&life.rec), None);
}
