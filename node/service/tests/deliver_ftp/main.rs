//! Pushing to real FTP servers, over TLS and without, and to lines and settings that are not as they
//! should be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../deliver_common/mod.rs"]
mod deliver_common;
mod existing;
mod lines;
mod refusals;
mod server;

use std::path::Path;

use futures_util::TryStreamExt;
use holdfast::config::FtpDestination;
use holdfast::deliver::ftp::{Ftp, Limits, Protection};
use holdfast::deliver::{Destination, FileToPush, PushError, Reading};
use holdfast_core::attempts::Fault;

use self::deliver_common::{MIB, bytes};
use self::server::{BOTH, Kind, PASSWORD, Server, Setup};

/// A file of the vault whose hash is known, to be pushed under a name.
fn file(dir: &Path, name: &str, bytes: &[u8]) -> FileToPush {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let sha256 = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    FileToPush { sha256: Some(sha256), ..deliver_common::file(dir, name, bytes) }
}

/// Patient with a busy machine, but not with hiccups.
fn quick() -> Limits {
    Limits { hiccup_ms: 10, ..Limits::default() }
}

/// For lines that stall. A push that should succeed is not made with this.
fn impatient() -> Limits {
    Limits { stall_ms_max: 1_000, connect_ms_max: 2_000, hiccups_max: 0, ..quick() }
}

async fn fails(ftp: &Ftp, file: &FileToPush) -> PushError {
    let error = ftp.push(file).await.expect_err("the push should fail");
    let said = format!("{error} {error:?} {ftp:?}");
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(error.sentence.starts_with("destination \"archive\" (ftp"), "{said}");
    println!("{:?}: {}", error.fault, error.sentence);
    error
}

async fn read(ftp: &Ftp, location: &str, range: Option<&str>) -> Vec<u8> {
    let pieces = match ftp.read(location, range).await.unwrap() {
        Reading::Whole { size, pieces } => (size, pieces),
        Reading::Part { part, pieces, .. } => (part.end - part.start, pieces),
        other => panic!("{other:?}"),
    };
    let read: Vec<_> = pieces.1.try_collect().await.unwrap();
    let read = read.concat();
    assert_eq!(read.len() as u64, pieces.0);
    read
}

#[tokio::test]
async fn a_file_goes_whole_and_again_and_anew_and_is_read_and_withdrawn() {
    for setup in BOTH.map(Setup::of).into_iter().chain(BOTH.map(Setup::plain)) {
        let server = Server::start(setup).await;
        let ftp = server.ftp();
        let dir = tempfile::tempdir().unwrap();
        for length in [1, 10_000, 3 * MIB + 7, 10_000] {
            let content = bytes(length);
            let file = file(dir.path(), "demo/2026/a.mp4", &content);
            let location = ftp.push(&file).await.unwrap();
            assert!(location.ends_with(&format!(":{}/up/demo/2026/a.mp4", server.port)));
            assert!(server.read("demo/2026/a.mp4").unwrap() == content);
            assert_eq!(server.names("demo/2026"), ["a.mp4"]);
            assert_eq!(ftp.push(&file).await.unwrap(), location);
            assert!(server.read("demo/2026/a.mp4").unwrap() == content);

            assert!(read(&ftp, &location, None).await == content);
            let part = read(&ftp, &location, Some("bytes=0-0")).await;
            assert_eq!(part, content[..1]);
            let part = read(&ftp, &location, Some("bytes=-99")).await;
            assert_eq!(part, content[length.saturating_sub(99)..]);
        }
        let location = format!("{}:{}/up/demo/2026/a.mp4", scheme(&server), server.port);
        let beyond = ftp.read(&location, Some("bytes=10000-")).await.unwrap();
        assert!(matches!(beyond, Reading::Beyond { size: Some(10_000) }), "{beyond:?}");
        for _ in 0..2 {
            ftp.withdraw("demo/2026/a.mp4", Some(&location)).await.unwrap();
            assert!(server.names("demo/2026").is_empty());
        }
        assert!(matches!(ftp.read(&location, None).await.unwrap(), Reading::Gone));
    }
}

#[tokio::test]
async fn a_thousand_files_in_a_row_go_over_a_few_logins() {
    for (kind, log, login) in
        [(Kind::Proftpd, "logins", "PASS (hidden)"), (Kind::Vsftpd, "vsftpd.log", "OK LOGIN")]
    {
        let server = Server::of(kind).await;
        let ftp = server.ftp();
        let dir = tempfile::tempdir().unwrap();
        for number in 0..1_000 {
            let file = file(dir.path(), &format!("many/{number}.jpg"), &bytes(1_000 + number));
            ftp.push(&file).await.unwrap();
        }
        assert_eq!(server.names("many").len(), 1_000);
        assert!(server.read("many/999.jpg").unwrap() == bytes(1_999));
        let log = std::fs::read_to_string(server.file(log)).unwrap();
        let logins = log.matches(login).count();
        assert!((1..20).contains(&logins), "{logins} logins");
    }
}

#[tokio::test]
async fn a_server_of_tls_1_3_alone_gets_any_number_of_files() {
    for more in ["", "TLSSessionTickets on\n"] {
        let setup = Setup { versions: "TLSv1.3", more, ..Setup::of(Kind::Proftpd) };
        let server = Server::start(setup).await;
        let ftp = server.ftp();
        let dir = tempfile::tempdir().unwrap();
        for number in 0..20 {
            let content = bytes(300_000 + number);
            // A part of it is there, so that two data connections are needed.
            server.put(&format!(".{number}.mp4.part"), &content[..200_000]);
            let file = file(dir.path(), &format!("{number}.mp4"), &content);
            ftp.push(&file).await.unwrap();
            assert!(server.read(&format!("{number}.mp4")).unwrap() == content);
        }
        assert_eq!(server.names("").len(), 20);
    }
}

#[tokio::test]
async fn servers_are_reached_over_ipv6_and_without_extended_passive_mode() {
    let dir = tempfile::tempdir().unwrap();
    for kind in BOTH {
        let server = Server::start(Setup { host: "::1", ..Setup::of(kind) }).await;
        let content = bytes(100_000);
        let location = server.ftp().push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
        assert_eq!(location, format!("ftps://[::1]:{}/up/a.mp4", server.port));
        assert!(server.read("a.mp4").unwrap() == content);
    }
    // It answers another address than its own, as servers behind address translation do.
    for (kind, more) in [
        (Kind::Vsftpd, "pasv_address=192.0.2.1\ncmds_denied=EPSV\n"),
        (Kind::Proftpd, "MasqueradeAddress 192.0.2.1\n<Limit EPSV>\nDenyAll\n</Limit>\n"),
    ] {
        let server = Server::start(Setup { more, ..Setup::of(kind) }).await;
        let content = bytes(100_000);
        server.ftp().push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
        assert!(server.read("a.mp4").unwrap() == content);
    }
}

#[tokio::test]
async fn what_a_cut_push_left_is_gone_on_with_only_where_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(2 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let longer = bytes(3 * MIB);
    for setup in BOTH.map(Setup::of).into_iter().chain(BOTH.map(Setup::plain)) {
        let server = Server::start(setup).await;
        let ftp = server.ftp();
        for (left, what) in [
            (&content[..MIB], "the first half"),
            (&content[..], "all of it"),
            (&longer[..MIB], "the first half of another file"),
            (&longer[..], "more than all of it"),
            (&vec![0; MIB], "nothing but zeros"),
        ] {
            server.put(".a.mp4.part", left);
            ftp.push(&file).await.unwrap();
            assert!(server.read("a.mp4").unwrap() == content, "{what}");
            assert_eq!(server.names(""), ["a.mp4"], "{what}");
            std::fs::write(server.path("a.mp4"), b"older").unwrap();
        }
    }
}

#[tokio::test]
async fn what_the_end_does_not_show_the_checksum_does() {
    let server = Server::of(Kind::Proftpd).await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(2 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let mut left = content[..MIB].to_vec();
    left[1_000] ^= 1;
    server.put(".a.mp4.part", &left);
    let error = fails(&server.ftp(), &file).await;
    assert_eq!(error.fault, Fault::Networks);
    assert!(error.sentence.contains("other bytes"), "{error}");
    assert!(server.names("").is_empty(), "the bad part is still there");
    server.ftp().push(&file).await.unwrap();
    assert!(server.read("a.mp4").unwrap() == content);
}

#[tokio::test]
async fn servers_that_allow_less_get_the_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(MIB);
    let file = file(dir.path(), "a.mp4", &content);
    for (kind, more) in [
        (Kind::Vsftpd, "cmds_denied=SIZE\n"),
        (Kind::Vsftpd, "cmds_denied=REST\n"),
        (Kind::Vsftpd, "cmds_denied=REST,APPE\n"),
        (Kind::Vsftpd, "download_enable=NO\n"),
        (Kind::Vsftpd, "cmds_denied=FEAT,PWD,OPTS\n"),
        (Kind::Proftpd, "AllowStoreRestart off\n"),
        (Kind::Proftpd, "AllowOverwrite off\n"),
    ] {
        let server = Server::start(Setup { more, ..Setup::of(kind) }).await;
        let ftp = server.ftp();
        server.put(".a.mp4.part", &content[..MIB / 2]);
        server.put("a.mp4", b"older, and in the way");
        ftp.push(&file).await.unwrap_or_else(|error| panic!("{more}: {error}"));
        assert!(server.read("a.mp4").unwrap() == content, "{more}");
        assert_eq!(server.names(""), ["a.mp4"], "{more}");
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_at_once() {
    let server = Server::of(Kind::Vsftpd).await;
    let good = || server.settings();
    let ca_file = Some(server.file("password"));
    for (settings, protection, problem) in [
        (FtpDestination { host: String::new(), ..good() }, Protection::Tls, "host"),
        (FtpDestination { host: "ftp://h".into(), ..good() }, Protection::Tls, "host"),
        (FtpDestination { host: "u@h".into(), ..good() }, Protection::Tls, "host"),
        (FtpDestination { host: "a b".into(), ..good() }, Protection::Tls, "host"),
        (FtpDestination { port: 0, ..good() }, Protection::Tls, "port"),
        (FtpDestination { user: "a\r\nDELE x".into(), ..good() }, Protection::Tls, "user"),
        (FtpDestination { directory: "a/../b".into(), ..good() }, Protection::Tls, "directory"),
        (FtpDestination { directory: "a\nb".into(), ..good() }, Protection::Tls, "directory"),
        (FtpDestination { ca_file: ca_file.clone(), ..good() }, Protection::Tls, "ca_file"),
        (FtpDestination { ca_file, ..good() }, Protection::None, "ca_file"),
    ] {
        let error = Ftp::new(&settings, protection).expect_err(problem);
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains(problem), "{error}");
    }
    let ftp = server.ftp();
    for location in ["ftps://elsewhere/up/a", "ftp://127.0.0.1/up/a", "/a", ""] {
        let error = ftp.read(location, None).await.unwrap_err();
        assert_eq!(error.fault, Fault::Customers, "{location}");
    }
    let up = format!("ftps://127.0.0.1:{}/up/../a", server.port);
    assert!(ftp.read(&up, None).await.is_err());
}

fn scheme(server: &Server) -> &'static str {
    match server.protection() {
        Protection::Tls => "ftps://127.0.0.1",
        Protection::None => "ftp://127.0.0.1",
    }
}
