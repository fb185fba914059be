//! Pushing over lines that break, stall, dawdle and lose: the file ends up whole and once, or the
//! attempt fails in bounded time and the next goes on where it stopped.

use std::sync::Arc;

use holdfast::clock::Clock;
use holdfast::config::{DropboxDestination, Timetable};
use holdfast::deliver::bandwidth::Limiter;
use holdfast::deliver::dropbox::{Dropbox, Limits};
use holdfast::deliver::progress::Progress;
use holdfast::deliver::{Destination, FileToPush};
use holdfast_core::attempts::Fault as Whose;

use super::deliver_common::line::{Line, Then};
use super::deliver_common::{MIB, bytes, file};
use super::fake::{Fake, Fault};
use super::{at_line, dropbox, fails, impatient};

#[tokio::test]
async fn a_dropbox_that_is_down_or_unknown_is_the_networks() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let good = fake.settings(dir.path());
    let small = file(dir.path(), "a.mp4", &bytes(10));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let down = format!("https://localhost:{free}");
    for (settings, problem) in [
        (DropboxDestination { api_url: Some(down.clone()), ..good.clone() }, "Connection refused"),
        (DropboxDestination { content_url: Some(down), ..good.clone() }, "Connection refused"),
        (
            DropboxDestination {
                api_url: Some("https://no-such-host.invalid".into()),
                ..good.clone()
            },
            "cannot be resolved",
        ),
    ] {
        let error = fails(&dropbox(&settings), &small).await;
        assert_eq!(error.fault, Whose::Networks);
        assert!(error.sentence.contains(problem), "{error}");
    }
    let ip = format!("https://127.0.0.1:{}", fake.api_port);
    for (settings, problem) in [
        (DropboxDestination { api_url: Some(ip), ..good.clone() }, "certificate is not good"),
        (DropboxDestination { ca_file: None, ..good }, "name its authority's certificate"),
    ] {
        let error = fails(&dropbox(&settings), &small).await;
        assert_eq!(error.fault, Whose::Customers);
        assert!(error.sentence.contains(problem), "{error}");
        assert!(error.sentence.contains("check the node's clock"), "{error}");
    }
}

#[tokio::test]
async fn after_a_cut_the_next_push_goes_on_where_it_stopped() {
    for then in [Then::Reset, Then::Stall, Then::EndToUs, Then::EndToServer] {
        let fake = Fake::start().await;
        let dir = tempfile::tempdir().unwrap();
        let content = bytes(33 * MIB);
        let pushed = file(dir.path(), "demo/a.mp4", &content);
        let line = Line::to(fake.content_port, 25 * MIB as u64, then).await;
        let at_line = at_line(fake.settings(dir.path()), &line);
        let error = fails(&Dropbox::with_limits(&at_line, impatient()).unwrap(), &pushed).await;
        assert_eq!(error.fault, Whose::Networks, "{then:?}");
        assert!(fake.paths().is_empty(), "{then:?}: half a file appeared");
        line.mend();
        // What the fake notes of requests that were cut may come late.
        let before = line.carried();
        dropbox(&at_line).push(&pushed).await.unwrap();
        assert!(fake.content("/Recordings/demo/a.mp4").unwrap() == content, "{then:?}");
        let sent = line.carried() - before;
        println!("{then:?}: {sent} bytes were sent");
        assert!(sent <= (33 - 24 + 3 * 4 + 1) * MIB as u64, "{then:?}: {sent} bytes");
    }
}

#[tokio::test]
async fn a_dropbox_that_falls_silent_is_given_up() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = fake.settings(dir.path());
    for (route, length) in [
        ("oauth2/token", 10),
        ("files/upload", 10),
        ("files/get_metadata", 5 * MIB),
        ("files/upload_session/start", 5 * MIB),
        ("files/upload_session/append_v2", 5 * MIB),
        ("files/upload_session/finish", 5 * MIB),
    ] {
        let dropbox = Dropbox::with_limits(&settings, impatient()).unwrap();
        let pushed = file(dir.path(), "a.mp4", &bytes(length));
        fake.fault(route, Fault::Hang);
        let error = fails(&dropbox, &pushed).await;
        assert_eq!(error.fault, Whose::Networks);
        // The second is the kernel's word for it, where it could not even send.
        let is_silent = |words| error.sentence.contains(words);
        assert!(is_silent("nothing moved for 1000 ms") || is_silent("gone silent"), "{error}");
    }
    for then in [Then::Stall, Then::Mute] {
        let line = Line::to(fake.content_port, 0, then).await;
        let settings = at_line(settings.clone(), &line);
        // Less than what makes a standstill, so that it is known which of them ends it.
        let limits = Limits { connect_ms_max: 300, ..impatient() };
        let dropbox = Dropbox::with_limits(&settings, limits).unwrap();
        let error = fails(&dropbox, &file(dir.path(), "a.mp4", &bytes(10))).await;
        assert_eq!(error.fault, Whose::Networks);
        assert!(error.sentence.contains("cannot be reached"), "{error}");
    }
}

#[tokio::test]
async fn a_pause_a_delay_and_a_trickle_are_endured() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    for (name, length, carried, then) in [
        ("pause.mp4", 9 * MIB, 4 * MIB, Then::Pause),
        ("early.mp4", 9 * MIB, 500, Then::Pause),
        ("late.jpg", 20_000, 0, Then::Late),
        ("trickle.jpg", 20_000, 0, Then::Trickle),
    ] {
        let content = bytes(length);
        let line = Line::to(fake.content_port, carried as u64, then).await;
        let dropbox = dropbox(&at_line(fake.settings(dir.path()), &line));
        dropbox.push(&file(dir.path(), name, &content)).await.unwrap();
        assert!(fake.content(&format!("/Recordings/{name}")).unwrap() == content);
    }
}

#[tokio::test]
async fn parts_in_parallel_share_the_bandwidth_that_there_is() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    // Who waits for the line does not stand still.
    let dropbox = Dropbox::with_limits(&fake.settings(dir.path()), impatient()).unwrap();
    let content = bytes(9 * MIB);
    let timetable = Timetable::try_from(vec!["2 MiB/s".to_owned()]).unwrap();
    let limiter = Limiter::by_timetable(timetable, Clock::new(), jiff::tz::TimeZone::UTC);
    let progress = Progress::limited(vec![Arc::new(limiter)]);
    let pushed = FileToPush { progress, ..file(dir.path(), "a.mp4", &content) };
    let begun = tokio::time::Instant::now();
    dropbox.push(&pushed).await.unwrap();
    let took_ms = begun.elapsed().as_millis();
    assert!(took_ms >= 4_000, "{} bytes in {took_ms} ms", content.len());
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    assert_eq!(pushed.progress.bytes(), content.len() as u64);
}

#[tokio::test]
async fn a_byte_altered_on_the_way_ends_a_connection_but_not_the_push() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(9 * MIB);
    let line = Line::to(fake.content_port, 5 * MIB as u64, Then::Flip).await;
    let dropbox = dropbox(&at_line(fake.settings(dir.path()), &line));
    dropbox.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    assert!(line.is(Then::Good), "nothing was altered");
    // Where it is not tried again at once, it is the line that is to be checked, and no certificate.
    for then in [Then::Flip, Then::EndToUs] {
        let line = Line::to(fake.content_port, 5 * MIB as u64, then).await;
        let settings = at_line(fake.settings(dir.path()), &line);
        let once = Limits { hiccups_max: 0, ..Limits::default() };
        let dropbox = Dropbox::with_limits(&settings, once).unwrap();
        let error = fails(&dropbox, &file(dir.path(), "b.mp4", &content)).await;
        assert_eq!(error.fault, Whose::Networks, "{then:?}");
        assert!(error.sentence.contains("the connection broke"), "{error}");
    }
}
