//! Pushing to real SFTP servers, and over lines and with settings that are not as they should be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../deliver_common/mod.rs"]
mod deliver_common;
mod existing;
mod lines;
mod logins;
#[path = "../operate_node/mod.rs"]
mod operate_node;
mod reads;
mod refusals;
mod server;

use std::os::unix::fs::PermissionsExt;

use holdfast::config::{SftpDestination, Verify};
use holdfast::deliver::sftp::{Limits, Sftp};
use holdfast::deliver::{Destination, FileToPush, PushError};

use self::deliver_common::line::{Line, Then};
use self::deliver_common::{MIB, bytes, file};
use self::server::{SECRET, Server};

/// For lines that stall. A push that should succeed is not made with this.
fn impatient() -> Limits {
    Limits { stall_ms_max: 1_000, connect_ms_max: 4_000, ..Limits::default() }
}

fn at_line(settings: SftpDestination, line: &Line) -> SftpDestination {
    SftpDestination { port: line.address.port(), ..settings }
}

async fn fails(sftp: &Sftp, file: &FileToPush) -> PushError {
    let error = sftp.push(file).await.expect_err("the push should fail");
    let said = format!("{error} {error:?} {sftp:?}");
    for secret in [SECRET, "PRIVATE KEY"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(error.sentence.starts_with("destination \"films\" (sftp "), "{said}");
    println!("{:?}: {}", error.fault, error.sentence);
    error
}

#[tokio::test]
async fn files_go_whole_and_again_and_anew() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let sftp = server.sftp(&server.settings());
    let name = "demo/ab/Bună ziua, 世界 🎬 & +100%=?#'\".mp4";
    for content in [bytes(1), bytes(1), bytes(70_001), bytes(9 * MIB + 5)] {
        let location = sftp.push(&file(dir.path(), name, &content)).await.unwrap();
        let (port, files) = (server.port, server.files());
        assert_eq!(location, format!("sftp://127.0.0.1:{port}{}/{name}", files.display()));
        assert!(server.content(name).unwrap() == content);
        assert_eq!(server.names("demo/ab").len(), 1, "something was left behind");
    }
}

#[tokio::test]
async fn what_is_there_already_is_not_sent_again() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let sftp = server.sftp(&at_line(server.settings(), &line));
    let file = file(dir.path(), "a.mp4", &bytes(20 * MIB));
    sftp.push(&file).await.unwrap();
    let once = line.carried();
    sftp.push(&file).await.unwrap();
    let again = line.carried() - once;
    assert!(again < MIB as u64, "{again} bytes were sent for what is there");
}

#[tokio::test]
async fn many_small_files_share_one_connection() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let sftp = server.sftp(&at_line(server.settings(), &line));
    let content = bytes(30_000);
    let template = file(dir.path(), "x", &content);
    for number in 0..1_000 {
        let name = format!("demo/{number}.mp4");
        sftp.push(&FileToPush { name, ..template.clone() }).await.unwrap();
    }
    assert_eq!(line.connections(), 1);
    assert_eq!(server.names("demo").len(), 1_000);
    assert!(server.content("demo/999.mp4").unwrap() == content);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_dead_one_replaced() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let settings = at_line(server.settings(), &line);
    let idle_ms_max = 500;
    let sftp = server.with_limits(&settings, Limits { idle_ms_max, ..Limits::default() });
    sftp.push(&file(dir.path(), "a.mp4", &bytes(10))).await.unwrap();
    for _ in 0..600 {
        if line.open() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(line.open(), 0, "an idle connection stays");

    let sftp = server.sftp(&settings);
    sftp.push(&file(dir.path(), "b.mp4", &bytes(11))).await.unwrap();
    line.cut_all().await;
    sftp.push(&file(dir.path(), "c.mp4", &bytes(12))).await.unwrap();
    assert_eq!(server.names(""), ["a.mp4", "b.mp4", "c.mp4"]);
}

#[tokio::test]
async fn modes_are_set_whatever_the_servers_umask_is() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let settings = SftpDestination {
        file_mode: Some("0666".into()),
        folder_mode: Some("770".into()),
        ..server.settings()
    };
    server.sftp(&settings).push(&file(dir.path(), "x/y/a.mp4", &bytes(10))).await.unwrap();
    let mode = |name: &str| {
        std::fs::metadata(server.files().join(name)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode("x"), mode("x/y"), mode("x/y/a.mp4")), (0o770, 0o770, 0o666));
}

#[tokio::test]
async fn a_path_may_begin_where_a_login_does() {
    let server = Server::with_password(&["password"]).await;
    let dir = tempfile::tempdir().unwrap();
    for (path, prefix) in [("files", "~/files/"), ("files/", "~/files/"), (".", "~/")] {
        let settings = SftpDestination { path: path.into(), ..server.password_settings() };
        let sftp = server.sftp(&settings);
        let location = sftp.push(&file(dir.path(), "a b.mp4", &bytes(10))).await.unwrap();
        assert_eq!(location, format!("sftp://127.0.0.1:{}/{prefix}a b.mp4", server.port));
        assert!(matches!(
            sftp.read(&location, None).await.unwrap(),
            holdfast::deliver::Reading::Whole { size: 10, .. }
        ));
    }
}

#[tokio::test]
async fn a_user_that_may_not_read_can_still_push() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let settings = SftpDestination { verify: Verify::Size, ..server.settings() };
    let sftp = server.sftp(&settings);
    for content in [bytes(10), bytes(5 * MIB)] {
        sftp.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
        assert!(server.content("a.mp4").unwrap() == content);
    }
    // What another push left is not trusted, since it cannot be looked at.
    std::fs::write(server.files().join(".b.mp4.part"), bytes(4 * MIB)).unwrap();
    let content = bytes(2 * MIB);
    sftp.push(&file(dir.path(), "b.mp4", &content)).await.unwrap();
    assert!(server.content("b.mp4").unwrap() == content);
}

/// Memory in bytes that this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[tokio::test]
async fn memory_does_not_grow_with_the_file() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let sftp = server.sftp(&server.settings());
    sftp.push(&file(dir.path(), "small", &bytes(10 * MIB))).await.unwrap();
    let before = resident();
    let path = dir.path().join("large");
    let length = 512 * MIB as u64;
    std::fs::File::create(&path).unwrap().set_len(length).unwrap();
    let large =
        FileToPush { path, name: "large".into(), bytes: length, ..file(dir.path(), "", b"x") };
    sftp.push(&large).await.unwrap();
    assert_eq!(std::fs::metadata(server.files().join("large")).unwrap().len(), length);
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "{grown} bytes more");
}
