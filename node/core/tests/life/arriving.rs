//! Rules 3 and 4: raw files, garbage, what is unknown, what is made.

use super::*;

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
fn rule_3_1_a_raw_file_is_not_handed_over_before_it_is_copied() {
    let nothing = Outputs { mp4: false, snapshot: false, filmstrip: false };
    let policy = Policy { copies: true, outputs: nothing, ..policy() };
    let mut life = Life::saved(Source::Upload, policy);
    life.due(Lane::Copy);
    assert_eq!(life.fate(FileKind::Raw), Fate::Kept(Hold::Processing));
    assert_eq!(life.sweep(), []);
    life.happen(Event::Copied);
    assert_eq!(life.rec.state, State::Delivering);
    life.push(&[]);
    assert_eq!(life.sweep(), [FileKind::Raw]);
}

#[test]
fn rule_4_each_of_what_is_made_can_be_off() {
    let all = Outputs { mp4: true, snapshot: true, filmstrip: true };
    for (outputs, main, made) in [
        (
            Outputs { mp4: false, ..all },
            FileKind::Raw,
            vec![FileKind::Snapshot, FileKind::Filmstrip],
        ),
        (Outputs { snapshot: false, ..all }, FileKind::Main, vec![FileKind::Filmstrip]),
        (Outputs { filmstrip: false, ..all }, FileKind::Main, vec![FileKind::Snapshot]),
    ] {
        let destinations = vec!["theirs".into()];
        let mut life = Life::saved(Source::Upload, Policy { outputs, destinations, ..policy() });
        assert_eq!(life.due(Lane::Process), [Effect::Transcode]);
        let mp4 = outputs.mp4.then_some(FileKind::Main);
        let files = mp4.into_iter().chain(made.iter().copied());
        let files = files.map(|kind| NewFile { kind, bytes: 3, sha256: None }).collect();
        life.happen(Event::Transcoded { media: None, files, remarks: vec![] });
        let pushed: Vec<FileKind> = life.push(&[]).into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(pushed, [vec![main], made].concat(), "{outputs:?}");
        assert_eq!(life.rec.state, State::Stored);
    }
}
