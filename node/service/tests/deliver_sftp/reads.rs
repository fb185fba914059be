//! Reading again what was pushed.

use std::time::Duration;

use futures_util::StreamExt;
use holdfast::deliver::{Destination, Reading};
use holdfast_core::attempts::Fault;

use super::deliver_common::line::{Line, Then};
use super::deliver_common::{MIB, all, bytes, file};
use super::server::Server;
use super::{at_line, impatient};

#[tokio::test]
async fn a_file_is_read_whole_in_parts_and_not_beyond() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let sftp = server.sftp(&at_line(server.settings(), &line));
    let content = bytes(6 * MIB + 5);
    let size = content.len() as u64;
    let at = sftp.push(&file(dir.path(), "demo/ab c.mp4", &content)).await.unwrap();
    match sftp.read(&at, None).await.unwrap() {
        Reading::Whole { size: found, pieces } => {
            assert_eq!(found, size);
            assert!(all(pieces).await.unwrap() == content);
        }
        other => panic!("{other:?}"),
    }
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=5242879-5242881", 5_242_879..5_242_882),
        ("bytes=6291456-", 6_291_456..size),
        ("bytes=-3", size - 3..size),
        ("bytes=6291456-9223372036854775807", 6_291_456..size),
    ] {
        match sftp.read(&at, Some(range)).await.unwrap() {
            Reading::Part { part, size: found, pieces } => {
                assert_eq!((&part, found), (&expected, size), "{range}");
                let (start, end) = (expected.start as usize, expected.end as usize);
                assert!(all(pieces).await.unwrap() == content[start..end], "{range}");
            }
            other => panic!("{range}: {other:?}"),
        }
    }
    let beyond = sftp.read(&at, Some("bytes=6291461-")).await.unwrap();
    assert!(matches!(beyond, Reading::Beyond { size: Some(6_291_461) }), "{beyond:?}");
    let gone = sftp.read(&at.replace("ab c", "other"), None).await.unwrap();
    assert!(matches!(gone, Reading::Gone), "{gone:?}");
}

#[tokio::test]
async fn whoever_stops_reading_ends_the_connection() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let sftp = server.sftp(&at_line(server.settings(), &line));
    let at = sftp.push(&file(dir.path(), "a.mp4", &bytes(20 * MIB))).await.unwrap();
    let Reading::Whole { mut pieces, .. } = sftp.read(&at, None).await.unwrap() else {
        panic!("it is not whole")
    };
    pieces.next().await.unwrap().unwrap();
    drop(pieces);
    for _ in 0..600 {
        if line.open() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(line.open(), 0, "the connection is still there");
    let again = sftp.read(&at, Some("bytes=0-9")).await.unwrap();
    assert!(matches!(again, Reading::Part { .. }), "{again:?}");
}

#[tokio::test]
async fn a_server_that_falls_silent_in_the_middle_is_given_up() {
    let server = Server::start("").await;
    std::fs::write(server.files().join("a"), bytes(64 * MIB)).unwrap();
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let sftp = server.with_limits(&at_line(server.settings(), &line), impatient());
    let at = format!("sftp://127.0.0.1:{}{}/a", line.address.port(), server.files().display());
    let Reading::Whole { mut pieces, .. } = sftp.read(&at, None).await.unwrap() else {
        panic!("it is not whole")
    };
    pieces.next().await.unwrap().unwrap();
    // Whoever reads may take their time.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    pieces.next().await.unwrap().unwrap();
    line.fall_silent();
    let read = tokio::time::timeout(Duration::from_secs(30), all(pieces)).await;
    let error = read.expect("it is not given up").unwrap_err();
    assert_eq!(error.fault, Fault::Networks);
    assert!(error.sentence.contains("nothing moved for 1000 ms"), "{error}");
    let error = sftp.read(&at, None).await.unwrap_err();
    assert_eq!(error.fault, Fault::Networks, "{error}");
}
