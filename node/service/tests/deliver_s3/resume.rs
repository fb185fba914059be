//! Pushes that are cut and go on: in another process, with parts that vanished, or never again.

use std::time::Duration;

use holdfast::config::{Checksum, Preset, S3Destination};
use holdfast::deliver::s3::S3;
use holdfast::deliver::{Destination, FileToPush};
use holdfast_core::attempts::Fault;

use super::deliver_common::line::{Line, Then};
use super::store::{Held, Store};
use super::{MIB, at_line, bytes, fails, file, quick};

const PART: usize = 5 * MIB;
/// What goes with the bytes: heads of requests, questions, answers.
const HEADS: u64 = MIB as u64 / 4;

/// Pushes until the line has carried that much, and is killed then: nothing of it goes on.
async fn cut(settings: &S3Destination, file: &FileToPush, port: u16, carried: usize) {
    let line = Line::to(port, carried as u64, Then::Stall).await;
    // Two at once: most of what was carried is then of parts that are whole.
    let settings = S3Destination { parts_at_once: 2, ..settings.clone() };
    let s3 = S3::with_limits(&at_line(settings, &line), quick()).unwrap();
    let arrived = async {
        while line.carried() + (64 << 10) < carried as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        result = s3.push(file) => panic!("{result:?}"),
        () = arrived => {}
    }
    drop(s3);
    line.cut_all().await;
}

/// The memo names the endpoint; to the store it is the same behind any line.
async fn as_if_at(file: &FileToPush, settings: &S3Destination) {
    let mut memo: serde_json::Value = file.memo.read().unwrap();
    memo["endpoint"] = settings.endpoint.clone().into();
    file.memo.write(&memo).await.unwrap();
}

/// How many parts the store has of the only upload.
async fn parts(held: &Held, file: &FileToPush) -> usize {
    let memo: serde_json::Value = file.memo.read().unwrap();
    held.parts(&file.name, memo["upload_id"].as_str().unwrap()).await.len()
}

#[tokio::test]
async fn a_push_that_was_cut_goes_on_in_another_process_where_it_stopped() {
    let store = Store::get().await;
    let held = store.make_bucket("resumed").await;
    let dir = tempfile::tempdir().unwrap();
    for (checksum, preset) in [
        (Checksum::Md5, Preset::Other),
        (Checksum::Crc32c, Preset::Aws),
        (Checksum::Sha256, Preset::Minio),
    ] {
        let content = bytes(9 * PART + 17);
        let name = format!("demo/{}.mp4", checksum.as_str());
        let file = file(dir.path(), &name, &content);
        let settings = S3Destination {
            checksum: Some(checksum),
            preset: Some(preset),
            ..store.settings("resumed")
        };
        cut(&settings, &file, store.port, 6 * PART).await;
        assert_eq!(held.uploads().await, [name.as_str()], "it is kept for the next push");
        let there = parts(&held, &file).await;
        assert!((2..=6).contains(&there), "{there} parts arrived");

        let line = Line::to(store.port, u64::MAX, Then::Good).await;
        let settings = at_line(settings, &line);
        as_if_at(&file, &settings).await;
        S3::new(&settings).unwrap().push(&file).await.unwrap();
        let most = content.len() - there * PART;
        let sent = line.carried();
        assert!(sent < most as u64 + HEADS, "{checksum:?}: {sent} bytes were sent, not {most}");
        assert!(held.read(&name).await.unwrap() == content);
        assert!(held.uploads().await.is_empty());
        assert_eq!(file.progress.bytes(), file.bytes, "what was sent twice counts once");
    }
}

#[tokio::test]
async fn parts_are_sent_several_at_once() {
    let store = Store::get().await;
    let held = store.make_bucket("at-once").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(8 * PART);
    for parts_at_once in [1, 6] {
        let file = file(dir.path(), &format!("{parts_at_once}.mp4"), &content);
        let line = Line::to(store.port, HEADS, Then::Stall).await;
        let settings = S3Destination { parts_at_once, ..store.settings("at-once") };
        let s3 = S3::new(&at_line(settings, &line)).unwrap();
        // While nothing gets through, each part that is under way has a connection of its own.
        let all_wait = async {
            while line.open() < u64::from(parts_at_once) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            line.mend();
        };
        let (pushed, ()) = tokio::join!(s3.push(&file), all_wait);
        pushed.unwrap();
        let most = u64::from(parts_at_once) + 2;
        assert!(line.connections() <= most, "{parts_at_once}: {}", line.connections());
        assert!(held.read(&file.name).await.unwrap() == content);
        assert_eq!(file.progress.bytes(), file.bytes);
    }
}

#[tokio::test]
async fn parts_that_are_not_as_they_were_are_sent_again() {
    let store = Store::get().await;
    let held = store.make_bucket("vanished").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(7 * PART);
    let file = file(dir.path(), "a.mp4", &content);
    let settings = store.settings("vanished");
    cut(&settings, &file, store.port, 5 * PART).await;
    as_if_at(&file, &settings).await;
    let memo: serde_json::Value = file.memo.read().unwrap();
    let id = memo["upload_id"].as_str().unwrap().to_owned();
    let mut there = held.parts("a.mp4", &id).await;
    there.dedup();
    assert!(there.len() >= 2, "{there:?}");
    // One has other bytes, one is gone.
    held.put_part("a.mp4", &id, there[0], bytes(PART - 1)).await;
    store.remove_part("vanished", &id, there[1]).await;
    let gone = there.remove(1);
    assert!(!held.parts("a.mp4", &id).await.contains(&gone), "part {gone} is there still");
    S3::new(&settings).unwrap().push(&file).await.unwrap();
    assert!(held.read("a.mp4").await.unwrap() == content);
    assert!(held.uploads().await.is_empty());
}

/// A part that was under way when the node was killed arrives beside the same one sent again.
#[tokio::test]
async fn a_part_that_arrived_twice_is_not_sent_a_third_time() {
    let store = Store::get().await;
    let held = store.make_bucket("twice").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(7 * PART);
    let file = file(dir.path(), "a.mp4", &content);
    let settings = store.settings("twice");
    cut(&settings, &file, store.port, 5 * PART).await;
    let memo: serde_json::Value = file.memo.read().unwrap();
    let id = memo["upload_id"].as_str().unwrap();
    let there = held.parts("a.mp4", id).await;
    assert!(there.len() >= 2, "{there:?}");
    for number in &there {
        let at = (usize::from(*number) - 1) * PART;
        held.put_part("a.mp4", id, *number, content[at..at + PART].to_vec()).await;
    }
    // One more may have arrived since, of those that were under way.
    let listed = held.parts("a.mp4", id).await;
    let twice = |number: &u16| listed.iter().filter(|listed| *listed == number).count() == 2;
    assert!(there.iter().all(twice), "each version is listed: {there:?}, then {listed:?}");

    let line = Line::to(store.port, u64::MAX, Then::Good).await;
    let settings = at_line(settings, &line);
    as_if_at(&file, &settings).await;
    S3::new(&settings).unwrap().push(&file).await.unwrap();
    let most = content.len() - there.len() * PART;
    let sent = line.carried();
    assert!(sent < most as u64 + HEADS, "{sent} bytes were sent, not {most}");
    assert!(held.read("a.mp4").await.unwrap() == content);
}

#[tokio::test]
async fn an_upload_that_vanished_begins_anew_or_was_complete() {
    let store = Store::get().await;
    let held = store.make_bucket("gone").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(3 * PART);
    let file = file(dir.path(), "a.mp4", &content);
    let settings = store.settings("gone");
    cut(&settings, &file, store.port, 2 * PART).await;
    as_if_at(&file, &settings).await;
    let memo: serde_json::Value = file.memo.read().unwrap();
    let id = memo["upload_id"].as_str().unwrap();
    held.abort("a.mp4", id).await;
    let s3 = S3::new(&settings).unwrap();
    s3.push(&file).await.unwrap();
    assert!(held.read("a.mp4").await.unwrap() == content);

    // The node was killed after the store had put the parts together, and before it was noted.
    file.memo.write(&memo).await.unwrap();
    let line = Line::to(store.port, u64::MAX, Then::Good).await;
    let settings = at_line(settings, &line);
    as_if_at(&file, &settings).await;
    S3::new(&settings).unwrap().push(&file).await.unwrap();
    assert!(line.carried() < HEADS, "{} bytes were sent", line.carried());
}

#[tokio::test]
async fn what_no_push_comes_back_for_is_aborted() {
    let store = Store::get().await;
    let held = store.make_bucket("abandoned").await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(4 * PART));
    let settings = store.settings("abandoned");
    cut(&settings, &file, store.port, 2 * PART).await;
    as_if_at(&file, &settings).await;
    let memo = file.memo.read::<serde_json::Value>().unwrap().to_string();
    assert_eq!(held.uploads().await, ["a.mp4"]);

    store.make_bucket("abandoned-other").await;
    let other = S3::new(&store.settings("abandoned-other")).unwrap();
    other.abandon(memo.as_bytes()).await.unwrap();
    let down = S3Destination { endpoint: "http://127.0.0.1:1".into(), ..settings.clone() };
    let down_memo = memo.replace(&settings.endpoint, &down.endpoint);
    let error = S3::with_limits(&down, quick()).unwrap().abandon(down_memo.as_bytes()).await;
    assert_eq!(error.unwrap_err().fault, Fault::Networks);
    assert_eq!(held.uploads().await, ["a.mp4"]);

    let s3 = S3::new(&settings).unwrap();
    for memo in [memo.as_bytes(), memo.as_bytes(), b"not a memo"] {
        s3.abandon(memo).await.unwrap();
        assert!(held.uploads().await.is_empty(), "the upload is there still");
    }
    assert_eq!(held.read("a.mp4").await, None);
}

#[tokio::test]
async fn with_other_settings_an_upload_is_aborted_and_begun_anew() {
    let store = Store::get().await;
    let held = store.make_bucket("reset-settings").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(4 * PART);
    let file = file(dir.path(), "a.mp4", &content);
    let settings = store.settings("reset-settings");
    cut(&settings, &file, store.port, 2 * PART).await;
    as_if_at(&file, &settings).await;
    let prefix = "elsewhere/".to_owned();
    let changed = S3Destination { prefix, ..settings };
    S3::new(&changed).unwrap().push(&file).await.unwrap();
    assert!(held.read("elsewhere/a.mp4").await.unwrap() == content);
    assert_eq!(held.read("a.mp4").await, None);
    assert!(held.uploads().await.is_empty());
}

#[tokio::test]
async fn what_was_altered_at_the_store_is_not_taken_for_the_file() {
    let store = Store::get().await;
    let held = store.make_bucket("altered-parts").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(5 * PART);
    let file = file(dir.path(), "a.mp4", &content);
    let preset = Some(Preset::Aws);
    let settings = S3Destination { preset, parts_at_once: 1, ..store.settings("altered-parts") };
    cut(&settings, &file, store.port, 3 * PART).await;
    as_if_at(&file, &settings).await;
    let memo: serde_json::Value = file.memo.read().unwrap();
    let id = memo["upload_id"].as_str().unwrap();
    let there = held.parts("a.mp4", id).await;
    let mut other = bytes(PART);
    other[PART / 2] ^= 1;
    held.put_part("a.mp4", id, there[0], other).await;
    // Whether the list of parts or the whole's checksum tells, the file is right at the end.
    let s3 = S3::with_limits(&settings, quick()).unwrap();
    if s3.push(&file).await.is_err() {
        assert_eq!(held.read("a.mp4").await, None, "something else appeared");
        s3.push(&file).await.unwrap();
    }
    assert!(held.read("a.mp4").await.unwrap() == content);
    assert!(held.uploads().await.is_empty());
}

#[tokio::test]
async fn a_failed_push_keeps_its_parts_for_the_next() {
    let store = Store::get().await;
    let held = store.make_bucket("failed").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(8 * PART);
    let file = file(dir.path(), "a.mp4", &content);
    let line = Line::to(store.port, 5 * PART as u64, Then::Reset).await;
    let settings = at_line(store.settings("failed"), &line);
    let error = fails(&S3::with_limits(&settings, quick()).unwrap(), &file).await;
    assert_eq!(error.fault, Fault::Networks);
    let there = parts(&held, &file).await;
    assert!(there >= 1, "nothing was kept");
    line.mend();
    let before = line.carried();
    S3::new(&settings).unwrap().push(&file).await.unwrap();
    let sent = line.carried() - before;
    assert!(sent < (content.len() - there * PART) as u64 + HEADS, "{sent} bytes, {there} parts");
    assert!(held.read("a.mp4").await.unwrap() == content);
    assert_eq!(file.progress.bytes(), file.bytes);
}
