//! What people do to a recording from a shell: ask why it is here, hold it, try again, fetch it.

use std::path::Path;
use std::sync::Arc;

use holdfast::deliver::worker::Deliverer;
use holdfast::{digest, queue};
use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::names::Container;
use holdfast_core::recording::{Event, FileKind, State, due};
use holdfast_core::retention::{Fate, fate};
use holdfast_core::{Effect, Lane, RecordingId};
use serde_json::Value;

use super::operate_node::{Home, MP4, RAW};
use super::receiver::until;
use super::{call, call_in, serve};

/// The row of a table that begins with this.
fn row<'a>(table: &'a str, first: &str) -> &'a str {
    let is_it = |line: &&str| line.split_whitespace().next() == Some(first);
    table.lines().find(is_it).unwrap_or_else(|| panic!("no row of {first}: {table}"))
}

fn state(home: &Home, id: RecordingId) -> State {
    home.node.ledger.get(id).unwrap().unwrap().state
}

/// One that was transcoded, and then could not be pushed: once, or for good.
async fn unpushed(home: &Home, seed: u8, for_good: bool) -> RecordingId {
    let id = home.transcoded(seed, "shelf", FileKind::Main).await;
    let mut at = home.node.clock.now();
    loop {
        home.node.ledger.apply(id, Event::Due(Lane::Deliver), at).await.unwrap();
        let failure = Failure { fault: Fault::Networks, sentence: "no route".into(), at };
        let failed = Event::PushEnded { failure: Some(failure) };
        home.node.ledger.apply(id, failed, at).await.unwrap();
        let rec = home.node.ledger.get(id).unwrap().unwrap();
        if rec.push.exhausted || !for_good {
            return id;
        }
        at = due(&rec, Lane::Deliver).unwrap();
    }
}

/// Asserts that the film of a recording lies at its destination, byte for byte.
async fn arrived(home: &Home, id: RecordingId) {
    until("the recording to be pushed", || (state(home, id) == State::Stored).then_some(())).await;
    let rec = home.node.ledger.get(id).unwrap().unwrap();
    let pushed = &rec.file(FileKind::Main).unwrap().pushed[0];
    assert_eq!(std::fs::read(&pushed.location).unwrap(), MP4);
    assert!(Path::new(&pushed.location).starts_with(home.shelf()), "{}", pushed.location);
    let tried = call(home, &["recordings", "attempts", &id.to_string()]).await.out;
    let last = tried.lines().last().unwrap();
    for words in ["by hand", "shelf", "main", "21 bytes of 21 bytes", pushed.location.as_str()] {
        assert!(last.contains(words), "{words}: {tried}");
    }
}

#[tokio::test]
async fn explain_says_of_each_file_when_it_goes_and_by_which_rule() {
    let home = Home::new();
    let failed = home.failed(1, "demo").await;
    let pushed = home.delivered(2, "shelf").await;
    home.retain(pushed).await;
    let kept = home.delivered(3, "demo").await;
    let _serving = serve(&home).await;
    let explain = async |id: RecordingId| {
        let said = call(&home, &["recordings", "explain", &id.to_string()]).await;
        assert_eq!(said.code, 0, "{}", said.err);
        said.out
    };

    let said = explain(failed).await;
    let rec = home.node.ledger.get(failed).unwrap().unwrap();
    let Fate::Until { at, .. } = fate(&rec, FileKind::Raw) else { panic!("nothing says when") };
    let at_plain = at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let raw = row(&said, "raw");
    assert!(raw.contains(&format!("  yes   {at_plain}  ")), "{said}");
    assert!(raw.ends_with("  rule 6 (28 days after transcoding failed)"), "{said}");
    assert!(row(&said, "next").ends_with(&format!("deleting, at {at_plain}")), "{said}");
    assert!(row(&said, "now").contains("it broke"), "{said}");
    let json = call(&home, &["recordings", "explain", &failed.to_string(), "--json"]).await.out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["files"][0]["goes"]["rule"], "transcode_failed");
    assert_eq!(json["files"][0]["goes"]["at"], at.to_string());

    let said = explain(pushed).await;
    for (file, rule) in [("main", "rule 5 ("), ("raw", "rule 3.1 (")] {
        let row = row(&said, file);
        assert!(row.contains("  no    2") && row.contains(rule), "{said}");
    }
    let main = explain(kept).await;
    assert!(row(&main, "main").contains("kept until someone deletes it"), "{main}");
    let nobody = "0193a7b2-6c1e-7d7e-8a3f-0123456789ab";
    assert_eq!(call(&home, &["recordings", "explain", nobody]).await.code, 3);
}

#[tokio::test]
async fn what_is_held_stays_until_the_hold_is_lifted() {
    let home = Home::new();
    let recording = home.delivered(1, "shelf").await;
    let id = &recording.to_string();
    let _serving = serve(&home).await;
    let raw = ["recordings", "get", id, "--kind", "raw", "--to", "-"];
    assert_eq!(call(&home, &["recordings", "hold", id]).await.code, 2, "it wants a reason");
    let said = call(&home, &["recordings", "hold", id, "--reason", "case 12/26"]).await;
    assert_eq!(said.out, "held: nothing deletes it until the hold is lifted\n", "{}", said.err);
    let said = call(&home, &["recordings", "delete", id, "--yes"]).await;
    assert!(said.code == 1 && said.err.contains("lift it first"), "{}{}", said.code, said.err);
    home.retain(recording).await;
    assert_eq!(call(&home, &raw).await.out.as_bytes(), RAW);
    // The reason is somebody's own words: with the recording, and not in a log that forgets nothing.
    let said = call(&home, &["recordings", "explain", id]).await.out;
    assert!(said.contains("set by command line: case 12/26"), "{said}");
    let log = call(&home, &["audit", "export"]).await.out;
    assert!(log.contains("hold_set") && !log.contains("case 12/26"), "{log}");

    let lift = ["recordings", "lift", id];
    let said = call(&home, &lift).await;
    assert!(said.code == 2 && said.err.contains("--yes"), "{}{}", said.code, said.err);
    assert!(home.node.ledger.get(recording).unwrap().unwrap().hold.is_some());
    let said = call(&home, &[&lift[..], &["--yes"]].concat()).await;
    assert_eq!((said.code, said.out.as_str()), (0, "lifted\n"), "{}", said.err);
    home.retain(recording).await;
    let said = call(&home, &raw).await;
    assert!(said.code == 3 && said.err.contains("rule 3.1"), "{}{}", said.code, said.err);
    assert_eq!(call(&home, &["recordings", "delete", id, "--yes"]).await.out, "deleted\n");
    let said = call(&home, &["recordings", "hold", id, "--reason", "too late"]).await;
    assert!(said.code == 1 && said.err.contains("nothing left to hold"), "{}", said.err);
}

#[tokio::test]
async fn a_push_that_failed_is_made_when_it_is_asked_for() {
    let home = Home::new();
    let waits = unpushed(&home, 1, false).await;
    let over = unpushed(&home, 2, true).await;
    assert_eq!((state(&home, waits), state(&home, over)), (State::Delivering, State::Failed));
    let _serving = serve(&home).await;
    let act = async |verb: &str, id: RecordingId| {
        call(&home, &["recordings", verb, &id.to_string()]).await
    };
    let said = act("push", waits).await;
    assert!(said.code == 1 && said.err.contains("has failed for good"), "{}", said.err);
    let said = act("retry", waits).await;
    assert_eq!((said.code, said.out.as_str()), (0, "trying now\n"), "{}", said.err);
    let said = act("push", over).await;
    assert_eq!((said.code, said.out.as_str()), (0, "pushing now\n"), "{}", said.err);
    assert_eq!(state(&home, over), State::Delivering);

    let deliverer = Arc::new(Deliverer::new(Arc::clone(&home.node)));
    tokio::spawn(queue::run(Arc::clone(&home.node), home.node.ledger.clone(), deliverer));
    for id in [waits, over] {
        arrived(&home, id).await;
        let said = act("retry", id).await;
        assert!(said.code == 1 && said.err.contains("nothing of recording"), "{}", said.err);
    }
}

#[tokio::test]
async fn a_transcode_that_failed_for_good_is_tried_when_it_is_asked_for() {
    let home = Home::new();
    let id = home.failed(1, "demo").await;
    let _serving = serve(&home).await;
    let said = call(&home, &["recordings", "push", &id.to_string()]).await;
    assert!(said.code == 1 && said.err.contains("it is failed"), "{}", said.err);
    let said = call(&home, &["recordings", "retry", &id.to_string()]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "trying now\n"), "{}", said.err);
    let rec = home.node.ledger.get(id).unwrap().unwrap();
    assert_eq!(rec.state, State::Processing);
    assert!(due(&rec, Lane::Process).unwrap() <= home.node.clock.now());
    assert_eq!(home.apply(id, Event::Due(Lane::Process)).await, [Effect::Transcode]);
}

#[tokio::test]
async fn a_file_that_is_fetched_is_called_as_at_its_destinations() {
    let home = Home::new();
    let film = home.saved(1, "demo").await;
    home.apply(film, Event::Due(Lane::Process)).await;
    let made = home.node.with_vault(move |vault| {
        let work = vault.work_folder(film)?;
        std::fs::write(work.join("main.mp4"), MP4).unwrap();
        std::fs::write(work.join("filmstrip.vtt"), "WEBVTT\n").unwrap();
        vault.adopt(film, &[FileKind::Main, FileKind::FilmstripVtt])
    });
    let files = made.await.unwrap();
    home.apply(film, Event::Transcoded { media: None, files, remarks: Vec::new() }).await;
    // Where no film is made, the main file is the raw file, whatever it is.
    let stream = home.receiving(2, "plain").await;
    let (bytes, sha256) = (RAW.len() as u64, digest::of(RAW));
    let container = Some(Container::MpegTs);
    home.apply(stream, Event::Stopped { bytes, sha256, container }).await;
    home.apply(stream, Event::Saved).await;
    let _serving = serve(&home).await;
    for (id, kind, ending, content) in [
        (film, "main", ".mp4", MP4),
        (film, "raw", "_raw.webm", RAW),
        (film, "filmstrip_vtt", "_filmstrip.vtt", &b"WEBVTT\n"[..]),
        (stream, "main", "_raw.ts", RAW),
    ] {
        let folder = home.dir.path().join(format!("{id}-{kind}"));
        std::fs::create_dir(&folder).unwrap();
        let get = ["recordings", "get", &id.to_string(), "--kind", kind];
        let said = call_in(&folder, &home, &get).await;
        let name = format!("{id}{ending}");
        assert!(said.code == 0 && said.err.starts_with(&format!("{name}: ")), "{}", said.err);
        let inside = std::fs::read_dir(&folder).unwrap();
        let names: Vec<_> = inside.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [name.as_str()]);
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), content);
    }
    // What is not there leaves no file behind.
    let folder = home.dir.path().join("nothing");
    std::fs::create_dir(&folder).unwrap();
    let get = ["recordings", "get", &film.to_string(), "--kind", "snapshot"];
    assert_eq!(call_in(&folder, &home, &get).await.code, 3);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}
