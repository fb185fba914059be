//! Pushing over lines that break, stall, alter and lose.

use std::time::Duration;

use holdfast::config::S3Destination;
use holdfast::deliver::Destination;
use holdfast::deliver::s3::{Limits, S3};
use holdfast_core::attempts::Fault;

use super::deliver_common::line::{Line, Then};
use super::store::Store;
use super::{MIB, at_line, bytes, fails, file, impatient, quick};

#[tokio::test]
async fn a_store_that_is_down_or_unknown_is_the_networks() {
    let store = Store::get().await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "demo/a.mp4", &bytes(10));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (endpoint, problem) in [
        (format!("http://{free}"), "connection refused"),
        ("http://no-such-host.invalid".into(), "cannot be resolved"),
    ] {
        let settings = S3Destination { endpoint, ..store.settings("down") };
        let error = fails(&S3::with_limits(&settings, quick()).unwrap(), &file).await;
        assert_eq!(error.fault, Fault::Networks);
        assert!(error.sentence.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn after_a_reset_the_next_push_leaves_the_whole_and_nothing_else() {
    let store = Store::get().await;
    let held = store.make_bucket("reset").await;
    let dir = tempfile::tempdir().unwrap();
    for (name, length, carried) in
        [("a.mp4", 20 * MIB, 9 * MIB), ("b.mp4", 4 * MIB, MIB), ("c.mp4", 20 * MIB, 50)]
    {
        let content = bytes(length);
        let file = file(dir.path(), name, &content);
        let line = Line::to(store.port, carried as u64, Then::Reset).await;
        let s3 = S3::with_limits(&at_line(store.settings("reset"), &line), quick()).unwrap();
        let error = fails(&s3, &file).await;
        assert_eq!(error.fault, Fault::Networks);
        assert_eq!(held.read(name).await, None, "half a file appeared");
        line.mend();
        s3.push(&file).await.unwrap();
        assert!(held.read(name).await.unwrap() == content);
        assert!(held.uploads().await.is_empty(), "an upload was left behind");
    }
}

#[tokio::test]
async fn one_broken_connection_is_a_hiccup() {
    let store = Store::get().await;
    let held = store.make_bucket("hiccup").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(20 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let line = Line::to(store.port, 7 * MIB as u64, Then::Reset).await;
    let limits = Limits { hiccups_max: 1_000, ..quick() };
    let s3 = S3::with_limits(&at_line(store.settings("hiccup"), &line), limits).unwrap();
    let mender = line.clone();
    let mend = async move {
        while mender.carried() < 6 * MIB as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        mender.mend();
    };
    let (pushed, ()) = tokio::join!(s3.push(&file), mend);
    pushed.unwrap();
    assert!(held.read("a.mp4").await.unwrap() == content);
    assert!(held.uploads().await.is_empty());
}

#[tokio::test]
async fn a_line_that_stalls_is_given_up() {
    let store = Store::get().await;
    let held = store.make_bucket("stall").await;
    let dir = tempfile::tempdir().unwrap();
    for (name, length, carried) in [("a.mp4", 20 * MIB, 9 * MIB), ("b.mp4", 4 * MIB, MIB)] {
        let content = bytes(length);
        let file = file(dir.path(), name, &content);
        let line = Line::to(store.port, carried as u64, Then::Stall).await;
        let settings = at_line(store.settings("stall"), &line);
        let s3 = S3::with_limits(&settings, impatient()).unwrap();
        let error = fails(&s3, &file).await;
        assert_eq!(error.fault, Fault::Networks);
        assert_eq!(held.read(name).await, None, "half a file appeared");
        line.mend();
        S3::new(&settings).unwrap().push(&file).await.unwrap();
        assert!(held.read(name).await.unwrap() == content);
        assert!(held.uploads().await.is_empty(), "an upload was left behind");
    }
}

#[tokio::test]
async fn a_store_that_falls_silent_is_given_up() {
    let store = Store::get().await;
    let held = store.make_bucket("silent").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(3 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let line = Line::to(store.port, 0, Then::Mute).await;
    let settings = at_line(store.settings("silent"), &line);
    let s3 = S3::with_limits(&settings, impatient()).unwrap();
    let error = fails(&s3, &file).await;
    assert_eq!(error.fault, Fault::Networks);
    assert!(error.sentence.contains("nothing moved for 1000 ms"), "{error}");
    line.mend();
    S3::new(&settings).unwrap().push(&file).await.unwrap();
    assert!(held.read("a.mp4").await.unwrap() == content);
}

#[tokio::test]
async fn a_lost_answer_to_the_last_request_does_no_harm() {
    let store = Store::get().await;
    let held = store.make_bucket("lost").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(11 * MIB);
    let line = Line::to(store.port, u64::MAX, Then::LoseCompletion).await;
    let s3 = S3::with_limits(&at_line(store.settings("lost"), &line), quick()).unwrap();
    s3.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
    assert!(!line.is(Then::LoseCompletion), "no answer was lost");
    assert!(held.read("a.mp4").await.unwrap() == content);
    assert!(held.uploads().await.is_empty());
}

#[tokio::test]
async fn a_byte_altered_on_the_way_is_noticed() {
    let store = Store::get().await;
    let held = store.make_bucket("altered").await;
    let dir = tempfile::tempdir().unwrap();
    for length in [4 * MIB, 11 * MIB] {
        let content = bytes(length);
        let file = file(dir.path(), "a.mp4", &content);
        let at = async |limits| {
            let line = Line::to(store.port, MIB as u64, Then::Flip).await;
            let settings = at_line(store.settings("altered"), &line);
            (S3::with_limits(&settings, limits).unwrap(), line)
        };
        let (s3, line) = at(Limits { hiccups_max: 0, ..quick() }).await;
        let error = fails(&s3, &file).await;
        assert_eq!(error.fault, Fault::Networks);
        assert!(error.sentence.contains("what arrived is not what was sent"), "{error}");
        assert!(!line.is(Then::Flip), "no byte was altered");

        let (s3, line) = at(quick()).await;
        s3.push(&file).await.unwrap();
        assert!(!line.is(Then::Flip), "no byte was altered");
        assert!(held.read("a.mp4").await.unwrap() == content);
        assert!(held.uploads().await.is_empty());
    }
}

#[tokio::test]
async fn over_tls_a_byte_altered_or_a_connection_cut_short_is_the_networks_and_no_certificates() {
    let store = Store::get().await;
    let held = store.make_bucket("altered-tls").await;
    let dir = tempfile::tempdir().unwrap();
    for (then, length) in [(Then::Flip, 4 * MIB), (Then::Flip, 11 * MIB), (Then::EndToUs, 4 * MIB)]
    {
        let content = bytes(length);
        let file = file(dir.path(), "a.mp4", &content);
        let at = async |limits| {
            let line = Line::to(store.tls_port, MIB as u64, then).await;
            let settings = S3Destination {
                endpoint: format!("https://{}", line.address),
                ca_file: Some(store.dir.join("ca.pem")),
                ..store.settings("altered-tls")
            };
            (S3::with_limits(&settings, limits).unwrap(), line)
        };
        let (s3, line) = at(Limits { hiccups_max: 0, ..quick() }).await;
        let error = fails(&s3, &file).await;
        assert_eq!(error.fault, Fault::Networks, "{then:?}");
        assert!(error.sentence.contains("the connection broke"), "{error}");
        assert!(!line.is(Then::Flip), "no byte was altered");
        line.mend();

        // So it is tried once more at once.
        let (s3, line) = at(quick()).await;
        if then == Then::Flip {
            s3.push(&file).await.unwrap();
            assert!(!line.is(Then::Flip), "no byte was altered");
            assert!(held.read("a.mp4").await.unwrap() == content);
        }
    }
    assert!(held.uploads().await.is_empty());
}
