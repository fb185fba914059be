//! Upload sessions: gone on with after whatever cut them, and begun anew where they are gone.

use std::time::Duration;

use holdfast::config::{DropboxDestination, Existing};
use holdfast::deliver::dropbox::{Dropbox, Limits};
use holdfast::deliver::{Destination, FileToPush};
use holdfast_core::attempts::Fault as Whose;

use super::deliver_common::line::{Line, Then};
use super::deliver_common::{MIB, bytes, file};
use super::fake::{Fake, Fault, SESSION_LIFE_S};
use super::{at_line, dropbox, fails, impatient, limits};

const APPEND: &str = "files/upload_session/append_v2";
const FINISH: &str = "files/upload_session/finish";
const START: &str = "files/upload_session/start";
const PART: usize = 4 * MIB;

fn with(settings: &DropboxDestination, limits: Limits) -> Dropbox {
    Dropbox::with_limits(settings, limits).unwrap()
}

/// One part after the other.
fn in_order() -> Limits {
    Limits { parts_parallel_max: 1, ..limits() }
}

/// Pushes until so many bytes went over the line, and then drops the push.
async fn dropped_after(dropbox: &Dropbox, file: &FileToPush, line: &Line, bytes: usize) {
    let stands = async {
        while line.carried() + 256 * 1024 < bytes as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    tokio::select! {
        result = dropbox.push(file) => panic!("{result:?}"),
        () = stands => {}
    }
}

#[tokio::test]
async fn a_dropped_push_is_gone_on_with_by_another_node_that_has_its_memo() {
    for limits in [limits(), in_order()] {
        let fake = Fake::start().await;
        let dir = tempfile::tempdir().unwrap();
        let content = bytes(41 * MIB);
        let pushed = file(dir.path(), "demo/a.mp4", &content);
        let line = Line::to(fake.content_port, 30 * MIB as u64, Then::Stall).await;
        let settings = fake.settings(dir.path());
        let first = with(&at_line(settings.clone(), &line), limits.clone());
        dropped_after(&first, &pushed, &line, 30 * MIB).await;
        drop(first);
        assert!(fake.paths().is_empty(), "half a file appeared");
        let there: usize =
            fake.kept().sessions.values().flat_map(|s| s.parts.values()).map(|p| p.length).sum();
        assert!(there >= 12 * MIB, "{there} bytes are there");

        // Another line, whose bytes are all of this push.
        let line = Line::to(fake.content_port, u64::MAX, Then::Good).await;
        let second = with(&at_line(settings, &line), limits.clone());
        second.push(&pushed).await.unwrap();
        assert!(fake.content("/Recordings/demo/a.mp4").unwrap() == content);
        let (sent, left) = (line.carried() as usize, content.len() - there);
        println!("{left} bytes were left, {sent} were sent");
        assert!(
            sent <= left + limits.parts_parallel_max * PART + MIB / 2,
            "{sent} bytes for {left}"
        );
        assert_eq!(fake.asked(START), 1);
        assert_eq!(pushed.progress.bytes(), content.len() as u64);
    }
}

#[tokio::test]
async fn what_a_session_has_is_not_sent_again_where_only_the_answer_was_lost() {
    for refuses_repeats in [false, true] {
        let fake = Fake::start().await;
        fake.kept().refuses_repeats = refuses_repeats;
        let dir = tempfile::tempdir().unwrap();
        let content = bytes(18 * MIB);
        let pushed = file(dir.path(), "a.mp4", &content);
        for (part, limits) in [(1, limits()), (2, in_order())] {
            let line = Line::to(fake.content_port, u64::MAX, Then::Good).await;
            let kept = fake.kept.clone();
            line.lose_answer_when(move || {
                kept.lock().unwrap().got.iter().filter(|got| got.route == APPEND).count() > part
            });
            let settings = at_line(fake.settings(dir.path()), &line);
            with(&settings, limits).push(&pushed).await.unwrap();
            assert!(line.has_lost(), "no answer was lost");
            assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
            fake.kept().files.clear();
            fake.kept().got.clear();
            pushed.memo.clear().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_sequential_session_goes_on_where_dropbox_says() {
    let fake = Fake::start().await;
    fake.kept().keeps_halves = true;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(19 * MIB + 7);
    let pushed = file(dir.path(), "a.mp4", &content);
    let settings = fake.settings(dir.path());
    let mut attempts = 0;
    loop {
        attempts += 1;
        assert!(attempts < 12, "it does not get on");
        let line = Line::to(fake.content_port, 5 * MIB as u64 + 1234, Then::Reset).await;
        let limits = Limits { hiccups_max: 0, ..in_order() };
        match with(&at_line(settings.clone(), &line), limits).push(&pushed).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.fault, Whose::Networks, "{error}"),
        }
    }
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    assert_eq!(fake.asked(START), 1);
    let odd = |got: &&super::fake::Got| {
        got.argument["cursor"]["offset"].as_u64().is_some_and(|at| !at.is_multiple_of(PART as u64))
    };
    let kept = fake.kept();
    assert!(kept.got.iter().filter(odd).any(|got| got.route == APPEND), "no half was gone on with");
}

#[tokio::test]
async fn an_offset_that_leads_back_is_followed() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(15 * MIB);
    let pushed = file(dir.path(), "a.mp4", &content);
    let settings = fake.settings(dir.path());
    let line = Line::to(fake.content_port, 13 * MIB as u64, Then::Stall).await;
    let first = with(&at_line(settings.clone(), &line), in_order());
    dropped_after(&first, &pushed, &line, 13 * MIB).await;
    // Dropbox has lost the newest part.
    let newest = |kept: &mut super::fake::Kept| {
        kept.sessions.values_mut().next().unwrap().parts.pop_last().map(|(at, _)| at)
    };
    assert_eq!(newest(&mut fake.kept()), Some(2 * PART));
    with(&settings, in_order()).push(&pushed).await.unwrap();
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    assert_eq!(fake.asked(START), 1);
}

#[tokio::test]
async fn a_session_that_is_old_or_gone_is_begun_anew() {
    let day_s = 24 * 3600;
    for age_s in [5 * day_s, 6 * day_s + 1, SESSION_LIFE_S + 1] {
        let fake = Fake::start().await;
        let dir = tempfile::tempdir().unwrap();
        let content = bytes(15 * MIB);
        let pushed = file(dir.path(), "a.mp4", &content);
        let settings = fake.settings(dir.path());
        let line = Line::to(fake.content_port, 13 * MIB as u64, Then::Stall).await;
        let first = dropbox(&at_line(settings.clone(), &line));
        dropped_after(&first, &pushed, &line, 13 * MIB).await;
        fake.kept().now_s += age_s;
        let before = fake.received();
        dropbox(&settings).push(&pushed).await.unwrap();
        assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
        let is_anew = fake.received() - before >= content.len();
        assert_eq!(is_anew, age_s > 6 * day_s, "after {age_s} s");
        assert_eq!(fake.asked(START), if is_anew { 2 } else { 1 });
    }
    // One that Dropbox forgets in the middle.
    for route in [APPEND, FINISH] {
        let fake = Fake::start().await;
        let dir = tempfile::tempdir().unwrap();
        let content = bytes(15 * MIB);
        fake.fault(route, Fault::ForgetSession);
        let dropbox = dropbox(&fake.settings(dir.path()));
        dropbox.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
        assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
        assert_eq!(fake.asked(START), 2);
    }
}

#[tokio::test]
async fn a_parallel_session_that_does_not_work_out_is_followed_by_a_sequential_one() {
    for (route, tags) in [
        (FINISH, r#"{".tag":"concurrent_session_missing_data"}"#),
        (FINISH, r#"{".tag":"concurrent_session_not_closed"}"#),
        (APPEND, r#"{".tag":"concurrent_session_invalid_data_size"}"#),
        (START, r#"{".tag":"concurrent_session_data_not_allowed"}"#),
        (
            FINISH,
            r#"{".tag":"lookup_failed","lookup_failed":{".tag":"incorrect_offset","correct_offset":7}}"#,
        ),
    ] {
        let fake = Fake::start().await;
        let dir = tempfile::tempdir().unwrap();
        let content = bytes(15 * MIB);
        let body = format!(r#"{{"error_summary":"x/..","error":{tags}}}"#);
        fake.fault(route, Fault::Answer(409, Vec::new(), body));
        let dropbox = dropbox(&fake.settings(dir.path()));
        dropbox.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
        assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
        let kept = fake.kept();
        let types: Vec<_> = kept.got.iter().filter(|got| got.route == START).collect();
        assert_eq!(types.len(), 2);
        assert_eq!(types[0].argument["session_type"], "concurrent");
        assert_eq!(types[1].argument["session_type"], "sequential");
    }
}

#[tokio::test]
async fn a_lost_answer_to_the_last_request_leaves_the_file_once() {
    for (after_commit, existing) in [
        ("not_found", Existing::Overwrite),
        ("closed", Existing::Overwrite),
        ("not_found", Existing::Rename),
        ("closed", Existing::Refuse),
    ] {
        let fake = Fake::start().await;
        fake.kept().after_commit = after_commit;
        let dir = tempfile::tempdir().unwrap();
        let content = bytes(9 * MIB);
        let settings = DropboxDestination { existing, ..fake.settings(dir.path()) };
        let path = if existing == Existing::Rename {
            fake.put("/Recordings/a.mp4", b"another's");
            "/Recordings/a (2).mp4"
        } else {
            "/Recordings/a.mp4"
        };
        // In the same push, and in the next one.
        for limits in [limits(), impatient()] {
            let pushed = file(dir.path(), "a.mp4", &content);
            let line = Line::to(fake.content_port, u64::MAX, Then::Good).await;
            let kept = fake.kept.clone();
            line.lose_answer_when(move || {
                kept.lock().unwrap().files.contains_key(&path.to_lowercase())
            });
            let is_patient = limits.hiccups_max > 0;
            let dropbox = with(&at_line(settings.clone(), &line), limits);
            if !is_patient {
                let error = fails(&dropbox, &pushed).await;
                assert_eq!(error.fault, Whose::Networks);
            }
            let before = fake.received();
            let location = dropbox.push(&pushed).await.unwrap();
            assert!(line.has_lost(), "no answer was lost");
            assert_eq!(location, format!("dropbox:{path}"), "{after_commit}");
            if !is_patient {
                assert_eq!(fake.received(), before, "it was sent again");
            }
            assert!(fake.content(path).unwrap() == content);
            let count = if existing == Existing::Rename { 2 } else { 1 };
            assert_eq!(fake.paths().len(), count, "{:?}", fake.paths());
            fake.kept().files.remove(&path.to_lowercase());
        }
    }
}

#[tokio::test]
async fn where_it_cannot_be_saved_its_data_need_not_be_sent_again() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(9 * MIB);
    let pushed = file(dir.path(), "a.mp4", &content);
    let dropbox = dropbox(&fake.settings(dir.path()));
    fake.kept().space_bytes = MIB;
    let error = fails(&dropbox, &pushed).await;
    assert_eq!(error.fault, Whose::Customers);
    assert!(error.sentence.contains("path/insufficient_space"), "{error}");
    assert!(error.sentence.contains("make room"), "{error}");
    fake.kept().space_bytes = 100 * MIB;
    dropbox.push(&pushed).await.unwrap();
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    assert_eq!(fake.received(), content.len());
}
