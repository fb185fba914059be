mod turns;

use super::*;
use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::job::Outputs;
use holdfast_core::push_order::Success;
use holdfast_core::recording::{Metadata, Policy, Source};
use jiff::SignedDuration;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn recording(seed: u8, now: Timestamp) -> Recording {
    let policy = Policy {
        outputs: Outputs { mp4: true, snapshot: true, filmstrip: true },
        push_raw: false,
        destinations: vec!["folder".into()],
        own: None,
        copies: false,
        folder: "demo".into(),
        store_nothing: false,
        success: Success::Main,
        reconnect_ms: 300_000,
        playback_ms: 60_000,
        zone: "Europe/Bucharest".into(),
    };
    let id = RecordingId::new(u64::try_from(now.as_millisecond()).unwrap(), [seed; 10]);
    Recording::new(id, "demo".into(), Source::Stream, policy, Metadata::default(), now)
}

async fn saved(ledger: &Ledger, seed: u8, now: Timestamp) -> RecordingId {
    let new = recording(seed, now);
    let id = new.id;
    ledger.insert(new).await.unwrap();
    let stopped = Event::Stopped { bytes: 5, sha256: "x".into(), container: None };
    ledger.apply(id, stopped, now).await.unwrap();
    ledger.apply(id, Event::Saved, now).await.unwrap();
    id
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let now = at("2026-01-01T00:00:00Z");
    let ledger = Ledger::open(&path, now, Vec::new()).unwrap();
    let new = recording(1, now);
    let id = new.id;
    ledger.insert(new).await.unwrap();
    ledger.note_offsets(vec![(id, 77)], now).await.unwrap();
    drop(ledger);
    let later = now + SignedDuration::from_secs(9);
    let ledger = reopen(&path, later).await;
    let found = ledger.get(id).unwrap().unwrap();
    assert_eq!((found.bytes, found.attached), (77, false));
    assert_eq!(found.attached_changed_at, later);
    assert_eq!(
        ledger.next_due(Lane::Retain).unwrap(),
        Some(later + SignedDuration::from_secs(300))
    );
    assert_eq!(ledger.latest_instant().unwrap(), now);
}

/// The writer's thread closes the file a moment after the last handle is gone.
async fn reopen(path: &Path, now: Timestamp) -> Ledger {
    for _ in 0..500 {
        if let Ok(ledger) = Ledger::open(path, now, Vec::new()) {
            return ledger;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ledger::open(path, now, Vec::new()).unwrap()
}

#[tokio::test]
async fn work_is_claimed_once_and_comes_due_again_when_its_lease_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let now = at("2026-01-01T00:00:00Z");
    let ledger = Ledger::open(&path, now, Vec::new()).unwrap();
    let id = saved(&ledger, 1, now).await;
    let lease = now + SignedDuration::from_secs(30);
    let (claimed, effects) = ledger.claim(Lane::Process, now, lease).await.unwrap().unwrap();
    assert_eq!((claimed.id, effects), (id, vec![Effect::Transcode]));
    assert_eq!(ledger.claim(Lane::Process, now, lease).await.unwrap(), None);
    ledger.extend(id, Lane::Process, lease + SignedDuration::from_secs(30)).await.unwrap();
    assert_eq!(ledger.claim(Lane::Process, lease, lease).await.unwrap(), None);
    let late = lease + SignedDuration::from_secs(30);
    let (again, effects) = ledger
        .claim(Lane::Process, late, late + SignedDuration::from_secs(30))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(effects, vec![Effect::Transcode]);
    assert_eq!((again.transcode.made, again.transcode.interruptions), (1, 1));
    let failure = Failure { fault: Fault::Ours, sentence: "no".into(), at: late };
    let (failed, _) = ledger
        .settle(id, Lane::Process, vec![Event::TranscodeFailed(failure)], late)
        .await
        .unwrap();
    assert_eq!(failed.transcode.next_at, Some(late + SignedDuration::from_mins(2)));
    assert_eq!(ledger.next_due(Lane::Process).unwrap(), failed.transcode.next_at);
}

#[tokio::test]
async fn asking_for_work_that_is_not_there_commits_nothing_and_wakes_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let now = at("2026-01-01T00:00:00Z");
    let ledger = Ledger::open(&path, now, Vec::new()).unwrap();
    saved(&ledger, 1, now).await;
    let mut changes = ledger.changes();
    // An answer comes before its wake-up; the answer after it makes sure that it has come.
    assert_eq!(ledger.claim(Lane::Deliver, now, now).await.unwrap(), None);
    changes.mark_unchanged();
    assert_eq!(ledger.claim(Lane::Deliver, now, now).await.unwrap(), None);
    assert_eq!(ledger.claim(Lane::Deliver, now, now).await.unwrap(), None);
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test]
async fn a_restart_makes_interrupted_work_due_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let now = at("2026-01-01T00:00:00Z");
    let ledger = Ledger::open(&path, now, Vec::new()).unwrap();
    let id = saved(&ledger, 1, now).await;
    let lease = now + SignedDuration::from_hours(6);
    assert!(ledger.claim(Lane::Process, now, lease).await.unwrap().is_some());
    drop(ledger);
    let ledger = reopen(&path, now).await;
    let (again, effects) = ledger.claim(Lane::Process, now, lease).await.unwrap().unwrap();
    assert_eq!((again.id, again.transcode.made), (id, 1));
    assert_eq!(effects, vec![Effect::Transcode]);
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let now = at("2026-01-01T00:00:00Z");
    let ledger = Ledger::open(&path, now, Vec::new()).unwrap();
    let mut ids = Vec::new();
    for seed in 0..5_u8 {
        ids.push(saved(&ledger, seed, now + SignedDuration::from_secs(seed.into())).await);
    }
    ledger.apply(ids[2], Event::DeleteRequested { by: "someone".into() }, now).await.unwrap();
    let all = Filter::default();
    let (page, next) = ledger.list(&all, None, 3).unwrap();
    assert_eq!(page.iter().map(|r| r.id).collect::<Vec<_>>(), [ids[4], ids[3], ids[2]]);
    let (rest, end) = ledger.list(&all, next, 3).unwrap();
    assert_eq!(rest.iter().map(|r| r.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
    assert_eq!(end, None);
    let deleted = Filter { state: Some(State::Deleted), ..all };
    assert_eq!(ledger.list(&deleted, None, 3).unwrap().0.len(), 1);
    let counts = ledger.counts();
    assert_eq!(counts[store::place(State::Saved)], 4);
    assert_eq!(counts[store::place(State::Deleted)], 1);
}

#[tokio::test]
async fn a_ledger_of_version_1_becomes_one_of_today() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let now = at("2026-01-01T00:00:00Z");
    let mut old = recording(1, now);
    for event in [Event::Stopped { bytes: 5, sha256: "x".into(), container: None }, Event::Saved] {
        old = holdfast_core::step(&old, event, now).0;
    }
    {
        let database = Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        let bytes = serde_json::to_vec(&old).unwrap();
        write
            .open_table(schema::RECORDINGS)
            .unwrap()
            .insert(old.id.to_bytes(), bytes.as_slice())
            .unwrap();
        write.open_table(schema::META).unwrap().insert("schema", 1).unwrap();
        write.commit().unwrap();
    }
    let ledger = Ledger::open(&path, now, Vec::new()).unwrap();
    assert_eq!(ledger.get(old.id).unwrap().as_ref(), Some(&old));
    let (claimed, _) = ledger.claim(Lane::Process, now, now).await.unwrap().unwrap();
    assert_eq!(claimed.id, old.id);
    // What it was is there for the program that knows no other.
    let copy = Database::open(folder.path().join("ledger.redb.schema-1")).unwrap();
    let read = copy.begin_read().unwrap();
    assert_eq!(read.open_table(schema::META).unwrap().get("schema").unwrap().unwrap().value(), 1);
    assert!(read.open_table(schema::RECORDINGS).unwrap().get(old.id.to_bytes()).unwrap().is_some());
}

#[tokio::test]
async fn a_ledger_that_is_too_new_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    {
        let database = Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(schema::META).unwrap().insert("schema", VERSION + 1).unwrap();
        write.commit().unwrap();
    }
    let said = Ledger::open(&path, Timestamp::UNIX_EPOCH, Vec::new()).unwrap_err().to_string();
    assert!(said.contains("use a newer program"), "{said}");
    assert!(said.contains("no copy of before"), "{said}");
    assert!(path.exists());
}

/// As a newer program does with a ledger of today.
fn migrate_to_the_next(path: &Path) {
    before::keep(path, VERSION).unwrap();
    let database = Database::create(path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(schema::META).unwrap().insert("schema", VERSION + 1).unwrap();
    write.commit().unwrap();
}

#[tokio::test]
async fn a_program_that_is_left_for_the_one_before_leaves_it_a_ledger_that_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let now = at("2026-01-01T00:00:00Z");
    let before = recording(1, now);
    let ledger = Ledger::open(&path, now, Vec::new()).unwrap();
    ledger.insert(before.clone()).await.unwrap();
    drop(ledger);
    wait_for_writer(&path).await;
    migrate_to_the_next(&path);
    let ledger = Ledger::open(&path, now, Vec::new()).unwrap();
    assert_eq!(ledger.get(before.id).unwrap().map(|it| it.id), Some(before.id));
    assert!(folder.path().join(format!("ledger.redb.newer-{}", VERSION + 1)).exists());
    // Once: the copy is the ledger now.
    assert!(!folder.path().join(format!("ledger.redb.schema-{VERSION}")).exists());
    drop(ledger);
    wait_for_writer(&path).await;

    // One that has been worked without for weeks is no help.
    migrate_to_the_next(&path);
    let copy = folder.path().join(format!("ledger.redb.schema-{VERSION}"));
    let weeks = std::time::Duration::from_secs(21 * 86_400);
    let file = std::fs::File::options().write(true).open(&copy).unwrap();
    file.set_modified(file.metadata().unwrap().modified().unwrap() - weeks).unwrap();
    let said = Ledger::open(&path, now, Vec::new()).unwrap_err().to_string();
    assert!(said.contains("7 days older"), "{said}");
    assert!(copy.exists() && path.exists());
}

/// The writer's thread has the file open until it has ended.
async fn wait_for_writer(path: &Path) {
    while matches!(Database::open(path), Err(redb::DatabaseError::DatabaseAlreadyOpen)) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
