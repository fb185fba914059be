//! A node whose mounted share hangs, as when a file server is gone: every call to it blocks for ever. A
//! real process, a real share.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "../deliver_common/mod.rs"]
mod deliver_common;
#[path = "../deliver_kill/node.rs"]
#[allow(dead_code, reason = "a killed node's test needs all of it")]
mod node;
#[path = "../deliver_directory/share.rs"]
#[allow(dead_code, reason = "the destination's own tests need all of it")]
mod share;

use std::path::Path;
use std::time::Duration;

use holdfast::config::{Destination, DirectoryDestination, Existing, Limits};
use serde_json::Value;

use self::node::{Film, Node, sha256_of};
use self::share::Share;

const FILM_BYTES: u64 = 3 << 20;
/// Pushes at once.
const PUSHES_MAX: usize = 4;
/// Calls that hang, at most, before nothing new is begun.
const LEFT_MAX: usize = 4;

/// What is under way has 15 s to end, and threads 5.
const STOP_MAX: Duration = Duration::from_secs(60);

fn directory(name: &str, path: &Path) -> Destination {
    Destination::Directory(DirectoryDestination {
        name: name.into(),
        path: path.into(),
        mount_point: None,
        existing: Existing::Overwrite,
        limits: Limits::default(),
    })
}

/// What the last attempt said.
async fn said(node: &Node, id: &str) -> Option<String> {
    let tried = node.get(&format!("/recordings/{id}/attempts")).await?;
    let last = tried["attempts"].as_array()?.last()?;
    last["error"].as_str().map(String::from)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_hangs_holds_up_neither_the_others_nor_the_end_and_catches_up() {
    let share = Share::mount().await;
    let folder = tempfile::tempdir().unwrap();
    let destinations = [directory("share", &share.path()), directory("folder", folder.path())];
    let more = format!("[deliver]\npushes_max = {PUSHES_MAX}\n");
    let mut node = Node::laid_out_for(&destinations, &more);
    // Dropped before the node, whose process cannot end while it hangs.
    let share = share;
    node.start().await;
    let path = node.dir().join("film.webm");
    let film = Film::make(&path, FILM_BYTES);
    let first = node.upload(&path).await;
    node.stored(&first).await;

    share.hang();
    let mut ids = Vec::new();
    for _ in 0..3 * PUSHES_MAX {
        ids.push(node.upload(&path).await);
    }
    let error = node.until("an attempt to be given up", async |node| {
        for id in &ids {
            if let Some(error) = said(node, id).await {
                return Some(error);
            }
        }
        None
    });
    let error = error.await;
    assert!(
        error.contains("destination \"share\"") && error.contains("does not answer"),
        "{error}"
    );
    let other = node.upload_to("folder", &path).await;
    node.stored(&other).await;
    let health = node.until("the share to be known as down", async |node| {
        let shown = node.get("/destinations/share").await?;
        (shown["health"]["open"] == false).then(|| shown["health"].clone())
    });
    let health: Value = health.await;
    assert!(
        health["error"].to_string().contains("hang")
            || health["error"].to_string().contains("answer")
    );
    // What failed already is tried at once when a person asks for it, and there is no end to asking.
    node.until("a try to be refused", async |node| {
        for id in &ids {
            match said(node, id).await {
                Some(error) if error.contains("calls to it still hang") => return Some(()),
                Some(_) => node.retry(id).await,
                None => {}
            }
        }
        None
    })
    .await;
    let hang = node.threads("directory");
    println!("{hang} threads hang");
    assert!((1..PUSHES_MAX + LEFT_MAX).contains(&hang), "{hang} threads hang");

    let begun = tokio::time::Instant::now();
    let is_gone = node.stop().await;
    println!("it stopped within {:?}; its process is gone: {is_gone}", begun.elapsed());
    assert!(begun.elapsed() < STOP_MAX, "{:?}", begun.elapsed());
    node.start().await;
    let other = node.upload_to("folder", &path).await;
    node.stored(&other).await;

    share.go_on();
    for id in &ids {
        node.stored(id).await;
        let name = format!("raw/{id}_raw.webm");
        assert_eq!(sha256_of(&share.files().join(name)), film.sha256);
    }
    let parts = share::names(&share.files());
    assert_eq!(parts.len(), ids.len() + 1, "something was left behind: {parts:?}");
}
