//! What worlds found wrong with the node, each by itself.

use std::path::Path;

use holdfast_core::job::Outputs;
use holdfast_core::push_order::Success;
use holdfast_core::recording::{Event, Metadata, Policy, Recording, Source};
use holdfast_core::{Lane, RecordingId, step};
use jiff::{SignedDuration, Timestamp};

use super::chance::Chance;
use super::disk::Disk;
use super::places::{self, Places};
use super::receivers::Receivers;
use crate::audit::AuditLog;
use crate::clock::{Clock, Hands};
use crate::ledger::{Ledger, LedgerError, Place, from_vault};
use crate::node::Node;
use crate::nodekey::NodeKey;
use crate::vault::{self, Vault};

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn disk() -> Disk {
    let hands = Hands::at(at("2026-01-01T00:00:00Z"));
    Disk::new(Clock::driven(&hands), Chance::new(1))
}

fn vault(disk: &Disk) -> Vault {
    Vault::open_on(vault::Disk::Simulated(disk.clone()), Path::new("/vault"), 0).unwrap()
}

pub(super) fn recording(now: Timestamp) -> Recording {
    let policy = Policy {
        outputs: Outputs { mp4: true, snapshot: false, filmstrip: false },
        push_raw: false,
        destinations: vec!["theirs".into()],
        own: None,
        copies: false,
        folder: "demo".into(),
        store_nothing: false,
        success: Success::Main,
        reconnect_ms: 300_000,
        playback_ms: 60_000,
        zone: "Europe/Bucharest".into(),
    };
    let id = RecordingId::new(1, [7; 10]);
    Recording::new(id, "demo".into(), Source::Upload, policy, Metadata::default(), now)
}

pub(super) fn ledger(disk: &Disk, now: Timestamp) -> Ledger {
    Ledger::open_at(&Place::Simulated(disk.ledger()), |_, _| Ok(now), Vec::new()).unwrap()
}

#[test]
fn the_vault_outlives_a_power_cut_right_after_it_was_made() {
    let disk = disk();
    let made = vault(&disk);
    made.create(&recording(at("2026-01-01T00:00:00Z")), 1).unwrap();
    disk.restart();
    assert_eq!(vault(&disk).homes().unwrap().len(), 1);
}

#[tokio::test]
async fn a_ledger_that_could_not_be_opened_anew_is_opened_by_whoever_reads_next() {
    let (disk, now) = (disk(), at("2026-01-01T00:00:00Z"));
    let ledger = ledger(&disk, now);
    ledger.insert(recording(now)).await.unwrap();
    let id = recording(now).id;
    // The commit, and then opening it anew.
    disk.fail_syncs(0, 2);
    for _ in 0..2 {
        let failed = ledger.apply(id, Event::Detached, now).await;
        assert!(matches!(failed, Err(LedgerError::Write(_))), "{failed:?}");
    }
    assert!(disk.is_well(), "both syncs that were to fail have failed");
    assert!(ledger.get(id).unwrap().is_some());
}

#[tokio::test]
async fn a_ledger_made_anew_under_a_wrong_clock_knows_how_late_it_is_at_least() {
    let (disk, saved_at) = (disk(), at("2026-01-01T00:00:00Z"));
    let vault = vault(&disk);
    let new = recording(saved_at);
    vault.create(&new, 1).unwrap();
    let stopped = Event::Stopped { bytes: 1, sha256: "x".into(), container: None };
    let failed_at = saved_at + SignedDuration::from_hours(1);
    let saved = step(&step(&new, stopped, saved_at).0, Event::Saved, failed_at).0;
    vault.note(&saved).unwrap();
    let wrong = at("1975-01-01T00:00:00Z");
    let audit = AuditLog::new(&NodeKey::of(&[7; 32]).unwrap()).unwrap();
    from_vault(&vault, &Place::Simulated(disk.ledger()), (&audit, None), wrong).unwrap();
    let latest = ledger(&disk, wrong).latest_instant().unwrap();
    assert_eq!(latest, failed_at, "otherwise its stamps would move by fifty years");
}

#[tokio::test]
async fn a_hold_whose_lifting_was_not_committed_is_still_in_the_folder() {
    let (disk, now) = (disk(), at("2026-01-01T00:00:00Z"));
    let mut chance = Chance::new(1);
    let stores = places::stores(&disk, &mut chance);
    let receivers = Receivers::new(&disk, chance.split());
    let config = Places::new(now, &mut chance).config(&stores, &receivers);
    let clock = Clock::driven(&Hands::at(now));
    let (key, place) = (NodeKey::of(&[7; 32]).unwrap(), Place::Simulated(disk.ledger()));
    let node = Node::assemble(config, clock, vault(&disk), key, &place, Vec::new()).unwrap();
    let new = recording(now);
    let id = new.id;
    node.vault.create(&new, 1).unwrap();
    node.ledger.insert(new).await.unwrap();
    node.step(id, Event::HoldSet { by: "x".into(), reason: "y".into() }).await.unwrap();
    disk.fail_syncs(0, 1);
    node.step(id, Event::HoldLifted { by: "x".into() }).await.unwrap_err();
    let manifest = Path::new("/vault/recordings").join(id.to_string()).join("manifest.json");
    let noted = Recording::from_json(&disk.bytes_of(&manifest).unwrap()).unwrap();
    assert!(noted.hold.is_some(), "with its ledger the node would lose the hold");
    node.step(id, Event::HoldLifted { by: "x".into() }).await.unwrap();
    let noted = Recording::from_json(&disk.bytes_of(&manifest).unwrap()).unwrap();
    assert!(noted.hold.is_none());
}

#[tokio::test]
async fn what_was_claimed_is_recorded_so_that_a_clock_before_it_is_wrong() {
    let (disk, began) = (disk(), at("2026-01-01T00:00:00Z"));
    let ledger = ledger(&disk, began);
    let new = recording(began);
    let stopped = Event::Stopped { bytes: 1, sha256: "x".into(), container: None };
    let saved = step(&step(&new, stopped, began).0, Event::Saved, began).0;
    ledger.insert(saved).await.unwrap();
    let later = began + SignedDuration::from_hours(2);
    let lease_until = later + SignedDuration::from_mins(1);
    let claimed = ledger.claim(Lane::Process, later, lease_until).await.unwrap();
    assert!(claimed.is_some());
    assert_eq!(ledger.latest_instant().unwrap(), later);
}
