//! Whose turn it is, asked of a real ledger.

use super::*;
use holdfast_core::recording::{FileKind, NewFile};
use redb::ReadableTableMetadata;

const HOUR_BYTES: u64 = 3600 * 250_000;

/// One that is saved, of an environment, with so many bytes.
fn due(seed: u32, env_id: &str, bytes: u64, saved_at: Timestamp) -> Recording {
    let like = recording(1, saved_at);
    let mut random = [0; 10];
    random[..4].copy_from_slice(&seed.to_be_bytes());
    let id = RecordingId::new(u64::try_from(saved_at.as_millisecond()).unwrap(), random);
    let (policy, metadata) = (like.policy, Metadata::default());
    let new = Recording::new(id, env_id.into(), Source::Stream, policy, metadata, saved_at);
    let stopped = Event::Stopped { bytes, sha256: "x".into(), container: None };
    let stopped = holdfast_core::step(&new, stopped, saved_at).0;
    holdfast_core::step(&stopped, Event::Saved, saved_at).0
}

/// All of them in few commits.
async fn insert_all(ledger: &Ledger, all: Vec<Recording>) {
    let tasks: Vec<_> = all
        .into_iter()
        .map(|each| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.insert(each).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn claim(ledger: &Ledger, now: Timestamp) -> Option<Recording> {
    let lease = now + SignedDuration::from_secs(60);
    Some(ledger.claim(Lane::Process, now, lease).await.unwrap()?.0)
}

fn open(folder: &tempfile::TempDir, now: Timestamp) -> Ledger {
    Ledger::open(&folder.path().join("ledger.redb"), now, Vec::new()).unwrap()
}

#[tokio::test]
async fn nobody_waits_behind_anothers_thousands() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let ledger = open(&folder, now);
    let later = now + SignedDuration::from_secs(60);
    let mut all: Vec<_> = (0..3_000).map(|i| due(i, "busy", 250_000, now)).collect();
    all.extend((3_000..3_003).map(|i| due(i, "small", 250_000, later)));
    insert_all(&ledger, all).await;
    let mut served = Vec::new();
    for _ in 0..6 {
        served.push(claim(&ledger, later).await.unwrap().env_id);
    }
    assert_eq!(served.iter().filter(|env_id| *env_id == "small").count(), 3, "{served:?}");
    assert_eq!(claim(&ledger, later).await.unwrap().env_id, "busy", "and no place stays empty");
}

#[tokio::test]
async fn turns_go_by_cost_between_customers_and_by_length_within_one() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let ledger = open(&folder, now);
    let minute = HOUR_BYTES / 60;
    let mut all: Vec<_> = (0..3).map(|i| due(i, "long", HOUR_BYTES, now)).collect();
    all.extend((10..100).map(|i| due(i, "short", minute, now)));
    all.push(due(200, "mixed", 3 * HOUR_BYTES, now));
    all.push(due(201, "mixed", minute, now + SignedDuration::from_secs(1800)));
    insert_all(&ledger, all).await;
    let at = now + SignedDuration::from_secs(1800);
    let mut first = Vec::new();
    for _ in 0..64 {
        first.push(claim(&ledger, at).await.unwrap());
    }
    // An hour of the one is worth sixty minutes of the other.
    let count = |env_id: &str| first.iter().filter(|r| r.env_id == env_id).count();
    assert_eq!((count("long"), count("mixed")), (1, 2));
    let mixed: Vec<u64> = first.iter().filter(|r| r.env_id == "mixed").map(|r| r.bytes).collect();
    assert_eq!(mixed, [minute, 3 * HOUR_BYTES], "the short one came later and was first");
}

#[tokio::test]
async fn everything_has_its_turn_however_much_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let ledger = open(&folder, now);
    let long = due(0, "one", HOUR_BYTES / 2, now);
    insert_all(&ledger, vec![long.clone()]).await;
    let minute = HOUR_BYTES / 60;
    // Two short ones come each minute and one is done: more than can be done.
    for i in 1..80 {
        let at = now + SignedDuration::from_mins(i64::from(i));
        insert_all(&ledger, vec![due(2 * i, "one", minute, at), due(2 * i + 1, "one", minute, at)])
            .await;
        let claimed = claim(&ledger, at).await.unwrap().id;
        if claimed == long.id {
            assert!(i >= 25, "there were shorter ones");
            return;
        }
        ledger.forget(claimed).await.unwrap();
    }
    panic!("it never had its turn");
}

#[tokio::test]
async fn nobody_is_overlooked_however_many_customers_come_before() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let ledger = open(&folder, now);
    // Sixteen are looked at each time in tests; each of these has enough to do for many rounds.
    let mut all = Vec::new();
    for i in 0..40 {
        all.extend((0..9).map(|n| due(10 * i + n, &format!("c{i:02}"), 250_000, now)));
    }
    all.push(due(4_000, "zz", 250_000, now));
    insert_all(&ledger, all).await;
    let mut served = Vec::new();
    for _ in 0..120 {
        served.push(claim(&ledger, now).await.unwrap().env_id);
    }
    assert!(served.iter().any(|env_id| env_id == "zz"), "{served:?}");
    let count = |i: u32| served.iter().filter(|env_id| **env_id == format!("c{i:02}")).count();
    assert!((0..40).all(|i| (1..=6).contains(&count(i))), "{served:?}");
}

#[tokio::test]
async fn a_turn_that_comes_to_nothing_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let ledger = open(&folder, now);
    let mut all: Vec<_> = (0..4).map(|i| due(i, "away", HOUR_BYTES, now)).collect();
    all.extend((10..14).map(|i| due(i, "there", HOUR_BYTES, now)));
    insert_all(&ledger, all).await;
    for _ in 0..30 {
        let claimed = claim(&ledger, now).await.unwrap();
        if claimed.env_id == "there" {
            break;
        }
        // Its volume is away: it waits, and nobody worked.
        let until = now + SignedDuration::from_mins(5);
        let put_off = Event::TranscodePutOff { until, waits_for: "a volume".into() };
        ledger.settle(claimed.id, Lane::Process, vec![put_off], now).await.unwrap();
    }
    let later = now + SignedDuration::from_mins(5);
    let next: Vec<_> = [claim(&ledger, later).await, claim(&ledger, later).await]
        .into_iter()
        .map(|claimed| claimed.unwrap().env_id)
        .collect();
    assert!(next.contains(&"away".to_owned()), "it owes for what was not done: {next:?}");
}

#[tokio::test]
async fn rows_go_with_what_they_follow_from() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let ledger = open(&folder, now);
    let rows = |ledger: &Ledger| {
        ledger
            .read(|read| {
                Ok((
                    read.open_table(schema::TURNS)?.len()?,
                    read.open_table(schema::TURN_OF)?.len()?,
                ))
            })
            .unwrap()
    };
    insert_all(&ledger, (0..20).map(|i| due(i, "one", 5, now)).collect()).await;
    assert_eq!(rows(&ledger), (20, 20));
    let one = claim(&ledger, now).await.unwrap();
    assert_eq!(rows(&ledger), (20, 20), "its lease may end");
    let failed =
        Event::TranscodeFailed(Failure { fault: Fault::Ours, sentence: "x".into(), at: now });
    ledger.settle(one.id, Lane::Process, vec![failed], now).await.unwrap();
    assert_eq!(rows(&ledger), (20, 20), "it is tried again");
    let done = claim(&ledger, now).await.unwrap();
    assert_ne!(done.id, one.id);
    let files = vec![NewFile { kind: FileKind::Main, bytes: 5, sha256: None }];
    let made = Event::Transcoded { media: None, files, remarks: Vec::new() };
    ledger.settle(done.id, Lane::Process, vec![made], now).await.unwrap();
    assert_eq!(rows(&ledger), (19, 19), "it is done");
    ledger.forget(one.id).await.unwrap();
    assert_eq!(rows(&ledger), (18, 18));
}

#[tokio::test]
async fn a_ledger_of_version_3_learns_whose_turn_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let now = at("2026-01-01T00:00:00Z");
    let ledger = open(&folder, now);
    insert_all(&ledger, vec![due(1, "one", HOUR_BYTES, now), due(2, "one", 5, now)]).await;
    drop(ledger);
    let database = loop {
        if let Ok(database) = Database::create(&path) {
            break database;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let write = database.begin_write().unwrap();
    write.delete_table(schema::TURNS).unwrap();
    write.delete_table(schema::TURN_OF).unwrap();
    write.open_table(schema::META).unwrap().insert("schema", 3).unwrap();
    write.commit().unwrap();
    drop(database);
    let ledger = reopen(&path, now).await;
    assert_eq!(claim(&ledger, now).await.unwrap().bytes, 5, "the short one first");
}
