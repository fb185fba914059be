//! Pushing over lines that break, stall, dawdle and lose: the file ends up whole and once, or the
//! attempt fails in bounded time and the next goes on where it stopped.

use std::time::Duration;

use holdfast::config::SftpDestination;
use holdfast::deliver::Destination;
use holdfast::deliver::sftp::Limits;
use holdfast_core::attempts::Fault;

use super::deliver_common::line::{Line, Then};
use super::deliver_common::{MIB, bytes, file};
use super::server::Server;
use super::{at_line, fails, impatient};

/// What the library may have under way.
const WINDOW: u64 = 4 * MIB as u64;

#[tokio::test]
async fn a_server_that_is_down_or_unknown_is_the_networks() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "demo/a.mp4", &bytes(10));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (host, port, problem) in [
        ("127.0.0.1", free, "Connection refused"),
        ("no-such-host.invalid", 22, "cannot be resolved"),
    ] {
        let settings = SftpDestination { host: host.into(), port, ..server.settings() };
        let error = fails(&server.sftp(&settings), &file).await;
        assert_eq!(error.fault, Fault::Networks);
        assert!(error.sentence.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn after_a_cut_the_next_push_goes_on_where_it_stopped() {
    for then in [Then::Reset, Then::Stall, Then::EndToUs] {
        let server = Server::start("").await;
        let dir = tempfile::tempdir().unwrap();
        let content = bytes(40 * MIB);
        let file = file(dir.path(), "demo/a.mp4", &content);
        let line = Line::to(server.port, 30 * MIB as u64, then).await;
        let settings = at_line(server.settings(), &line);
        let error = fails(&server.with_limits(&settings, impatient()), &file).await;
        assert_eq!(error.fault, Fault::Networks, "{then:?}");
        assert_eq!(server.names("demo"), [".a.mp4.part"], "{then:?}: half a file appeared");
        line.mend();
        let before = line.carried();
        assert!(before >= 29 * MIB as u64, "{then:?}: it was cut at {before}");
        server.sftp(&settings).push(&file).await.unwrap();
        assert!(server.content("demo/a.mp4").unwrap() == content, "{then:?}");
        let (sent, left) = (line.carried() - before, content.len() as u64 - 29 * MIB as u64);
        println!("{then:?}: {left} bytes were left, {sent} were sent");
        assert!(sent < left + WINDOW + MIB as u64, "{then:?}: {sent} bytes for {left}");
        assert_eq!(server.names("demo"), ["a.mp4"], "{then:?}");
    }
}

#[tokio::test]
async fn a_push_that_is_cut_again_and_again_gets_on() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(24 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let mut sent = 0;
    for attempt in 1.. {
        assert!(attempt < 12, "it does not get on");
        let line = Line::to(server.port, 5 * MIB as u64, Then::Reset).await;
        let sftp = server.sftp(&at_line(server.settings(), &line));
        let result = sftp.push(&file).await;
        sent += line.carried();
        if result.is_ok() {
            break;
        }
    }
    assert!(server.content("a.mp4").unwrap() == content);
    assert!(sent < 48 * MIB as u64, "{sent} bytes");
}

#[tokio::test]
async fn what_lies_there_is_only_gone_on_with_if_it_is_ours() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let sftp = server.sftp(&at_line(server.settings(), &line));
    let content = bytes(12 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let with = |alter: &dyn Fn(&mut Vec<u8>)| {
        let mut part = content[..10 * MIB].to_vec();
        alter(&mut part);
        part
    };
    let whole = content.len() as u64;
    for (name, part, sent_max) in [
        ("a good beginning", with(&|_| {}), 3 * MIB as u64),
        ("a hole in the window", with(&|part| part[8 * MIB..8 * MIB + 9].fill(0)), 5 * MIB as u64),
        ("another end", with(&|part| part[9 * MIB..].fill(7)), 4 * MIB as u64),
        ("another beginning", with(&|part| part[100] ^= 1), whole + MIB as u64),
        ("another file", bytes(3 * MIB), whole + MIB as u64),
        ("more than there is", [content.clone(), vec![0]].concat(), whole + MIB as u64),
        ("all of it", content.clone(), MIB as u64),
    ] {
        std::fs::write(server.files().join(".a.mp4.part"), part).unwrap();
        let before = line.carried();
        sftp.push(&file).await.unwrap();
        let sent = line.carried() - before;
        assert!(server.content("a.mp4").unwrap() == content, "{name}");
        assert!(sent < sent_max, "{name}: {sent} bytes were sent");
        assert_eq!(server.names(""), ["a.mp4"], "{name}");
        std::process::Command::new("rm").arg(server.files().join("a.mp4")).status().unwrap();
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(3 * MIB));
    for (carried, then, problem) in [
        (0, Then::Stall, "did not let us in within 4000 ms"),
        (0, Then::Mute, "did not let us in within 4000 ms"),
        (MIB as u64, Then::Stall, "nothing moved for 1000 ms"),
    ] {
        let line = Line::to(server.port, carried, then).await;
        let settings = at_line(server.settings(), &line);
        let error = fails(&server.with_limits(&settings, impatient()), &file).await;
        assert_eq!(error.fault, Fault::Networks);
        assert!(error.sentence.contains(problem), "{error}");
        assert_eq!(server.content("a.mp4"), None);
    }
}

#[tokio::test]
async fn a_lost_answer_to_the_last_request_does_no_harm() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(11 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let sftp = server.sftp(&at_line(server.settings(), &line));
    let target = server.files().join("a.mp4");
    line.lose_answer_when(move || target.exists());
    let error = fails(&sftp, &file).await;
    assert_eq!(error.fault, Fault::Networks);
    assert!(line.has_lost(), "no answer was lost");
    let before = line.carried();
    sftp.push(&file).await.unwrap();
    let sent = line.carried() - before;
    assert!(sent < MIB as u64, "{sent} bytes were sent for what is there");
    assert!(server.content("a.mp4").unwrap() == content);
    assert_eq!(server.names(""), ["a.mp4"]);
}

#[tokio::test]
async fn a_pause_and_a_trickle_are_endured() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    for (name, length, carried, then) in [
        ("pause.mp4", 9 * MIB, 4 * MIB, Then::Pause),
        ("early.mp4", 9 * MIB, 500, Then::Pause),
        ("trickle.jpg", 20_000, 0, Then::Trickle),
    ] {
        let content = bytes(length);
        let line = Line::to(server.port, carried as u64, then).await;
        let sftp = server.sftp(&at_line(server.settings(), &line));
        sftp.push(&file(dir.path(), name, &content)).await.unwrap();
        assert!(server.content(name).unwrap() == content);
        assert_eq!(line.connections(), 1);
    }
}

#[tokio::test]
async fn a_byte_altered_on_the_way_ends_the_connection() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(9 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let line = Line::to(server.port, 5 * MIB as u64, Then::Flip).await;
    let sftp = server.sftp(&at_line(server.settings(), &line));
    let error = fails(&sftp, &file).await;
    assert_eq!(error.fault, Fault::Networks);
    sftp.push(&file).await.unwrap();
    assert!(server.content("a.mp4").unwrap() == content);
}

#[tokio::test]
async fn a_dropped_push_ends_its_connection() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(20 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    for carried in [0, 7 * MIB] {
        let line = Line::to(server.port, carried as u64, Then::Stall).await;
        let limits = Limits { connect_ms_max: 600_000, stall_ms_max: 600_000, ..Limits::default() };
        let sftp = server.with_limits(&at_line(server.settings(), &line), limits);
        let stands = async {
            while line.open() == 0 || line.carried() + 128 * 1024 < carried as u64 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        tokio::select! {
            result = sftp.push(&file) => panic!("{result:?}"),
            () = stands => {}
        }
        line.mend();
        for _ in 0..600 {
            if line.open() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(line.open(), 0, "the connection is still there");
        sftp.push(&file).await.unwrap();
        assert!(server.content("a.mp4").unwrap() == content);
        std::process::Command::new("rm").arg(server.files().join("a.mp4")).status().unwrap();
    }
}
