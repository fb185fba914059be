//! Pushing to a Dropbox of the tests' own, as its specification has it, and over lines and with
//! settings that are not as they should be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod api;
#[path = "../deliver_common/mod.rs"]
mod deliver_common;
mod existing;
mod fake;
mod lines;
#[path = "../operate_node/mod.rs"]
mod operate_node;
mod patience;
mod reads;
mod refusals;
mod sessions;

use holdfast::config::DropboxDestination;
use holdfast::deliver::dropbox::{Dropbox, Limits};
use holdfast::deliver::{Destination, FileToPush, PushError};

use self::deliver_common::line::Line;
use self::deliver_common::{MIB, bytes, file};
use self::fake::{APP_SECRET, Fake, REFRESH_TOKEN};

/// Small parts, and short waits between quick retries.
fn limits() -> Limits {
    Limits { part_bytes: 4 * MIB as u64, hiccup_ms: 20, ..Limits::default() }
}

/// For lines that stall. A push that should succeed is not made with this.
fn impatient() -> Limits {
    Limits {
        stall_ms_max: 1_000,
        connect_ms_max: 1_000,
        finish_ms_max: 1_000,
        hiccups_max: 0,
        ..limits()
    }
}

fn at_line(settings: DropboxDestination, line: &Line) -> DropboxDestination {
    let content_url = Some(format!("https://localhost:{}", line.address.port()));
    DropboxDestination { content_url, ..settings }
}

fn dropbox(settings: &DropboxDestination) -> Dropbox {
    Dropbox::with_limits(settings, limits()).unwrap()
}

async fn fails(dropbox: &Dropbox, file: &FileToPush) -> PushError {
    let error = dropbox.push(file).await.expect_err("the push should fail");
    let said = format!("{error} {error:?} {dropbox:?}");
    for secret in [APP_SECRET, REFRESH_TOKEN, "sl.access", "Bearer"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(error.sentence.starts_with("destination \"box\" (dropbox): "), "{said}");
    println!("{:?}: {}", error.fault, error.sentence);
    error
}

#[tokio::test]
async fn files_go_whole_and_again_and_anew() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    let name = "demo/ab/Bună ziua, 世界 🎬 & +100%=?#'\".mp4";
    for content in [
        bytes(1),
        bytes(1),
        bytes(70_001),
        bytes(4 * MIB),
        bytes(4 * MIB + 1),
        bytes(12 * MIB),
        bytes(13 * MIB + 5),
    ] {
        let pushed = file(dir.path(), name, &content);
        let location = dropbox.push(&pushed).await.unwrap();
        assert_eq!(location, format!("dropbox:/Recordings/{name}"));
        assert!(fake.content(&format!("/Recordings/{name}")).unwrap() == content);
        assert_eq!(fake.paths().len(), 1, "something was left behind");
        assert_eq!(pushed.progress.bytes(), content.len() as u64);
    }
    assert_eq!(fake.kept().tokens_made, 1, "an access token is for many requests");
}

#[tokio::test]
async fn what_is_there_already_is_not_sent_again() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    let content = bytes(9 * MIB);
    dropbox.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
    let again = file(dir.path(), "a.mp4", &content);
    dropbox.push(&again).await.unwrap();
    assert_eq!(fake.received(), content.len());
    assert_eq!(again.progress.bytes(), content.len() as u64);
}

#[tokio::test]
async fn an_app_without_a_secret_and_a_teams_space_work() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = DropboxDestination {
        app_secret_file: None,
        directory: String::new(),
        mute: true,
        path_root: Some(fake::NAMESPACE.into()),
        ..fake.settings(dir.path())
    };
    fake.kept().is_pkce = true;
    let location = dropbox(&settings).push(&file(dir.path(), "a.mp4", b"x")).await.unwrap();
    assert_eq!(location, "dropbox:/a.mp4");
    assert_eq!(fake.kept().got.last().unwrap().argument["mute"], true);
}

#[tokio::test]
async fn every_request_says_the_hash_of_what_it_carries() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    dropbox.push(&file(dir.path(), "a.mp4", &bytes(9 * MIB))).await.unwrap();
    dropbox.push(&file(dir.path(), "b.mp4", &bytes(9))).await.unwrap();
    let kept = fake.kept();
    let carry: Vec<_> = kept.got.iter().filter(|got| got.bytes > 0).collect();
    assert_eq!(carry.len(), 4);
    assert!(carry.iter().all(|got| got.argument["content_hash"].is_string()));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_in_words() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let good = fake.settings(dir.path());
    let with = |change: &dyn Fn(&mut DropboxDestination)| {
        let mut settings = good.clone();
        change(&mut settings);
        settings
    };
    for (settings, problem) in [
        (with(&|s| s.app_key = String::new()), "app_key"),
        (with(&|s| s.app_key = "a b".into()), "app_key"),
        (with(&|s| s.directory = "a/../b".into()), "directory"),
        (with(&|s| s.directory = "a\\b".into()), "directory"),
        (with(&|s| s.directory = "/".into()), ""),
        (with(&|s| s.path_root = Some("a b".into())), "path_root"),
        (with(&|s| s.api_url = Some("http://localhost".into())), "api_url"),
        (with(&|s| s.content_url = Some("https://h/x?y".into())), "content_url"),
        (with(&|s| s.ca_file = s.refresh_token_file.clone()), "ca_file"),
    ] {
        match (Dropbox::new(&settings), problem) {
            (Ok(_), "") => {}
            (Ok(_), problem) => panic!("{problem} was taken"),
            (Err(error), problem) => {
                assert!(!problem.is_empty() && error.sentence.contains(problem), "{error}");
            }
        }
    }
}

/// Memory in bytes that this process has held at most.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[tokio::test]
async fn memory_does_not_grow_with_the_file() {
    let fake = Fake::start().await;
    fake.kept().keeps_hashes_only = true;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = Dropbox::new(&fake.settings(dir.path())).unwrap();
    dropbox.push(&file(dir.path(), "small", &bytes(20 * MIB))).await.unwrap();
    let before = resident();
    let path = dir.path().join("large");
    let length = 512 * MIB as u64;
    std::fs::File::create(&path).unwrap().set_len(length).unwrap();
    let large =
        FileToPush { path, name: "large".into(), bytes: length, ..file(dir.path(), "", b"x") };
    dropbox.push(&large).await.unwrap();
    assert_eq!(fake.received() as u64, length + 20 * MIB as u64);
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "{grown} bytes more");
}
