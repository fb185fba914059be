//! Every instant at which the power can go while keys are made, taken over and erased.

mod disks;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdfast_core::RecordingId;
use jiff::Timestamp;

use super::store::{Found, Store};
use disks::{Disks, Files, TEARS};

const STATE: &str = "/state/erasure";

fn id(seed: u8) -> RecordingId {
    RecordingId::new(1, [seed; 10])
}

fn volumes() -> Vec<PathBuf> {
    ["/disk0/keys", "/disk1/keys"].map(PathBuf::from).to_vec()
}

fn home(seed: u8) -> PathBuf {
    volumes()[usize::from(seed % 2)].clone()
}

fn open(disks: &Disks) -> Store {
    Store::open(disks.ground(), Path::new(STATE), &volumes(), Timestamp::UNIX_EPOCH).unwrap()
}

fn key(store: &Store, seed: u8) -> Option<Vec<u8>> {
    match store.find(&home(seed), id(seed)).unwrap() {
        Found::Key(key) => Some(key.to_vec()),
        _ => None,
    }
}

/// What has to be true of a recording's key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    Living(Vec<u8>),
    /// It may live or not; it is being erased.
    Dying,
    Erased,
}

/// A life of a node, as far as the power lets it come; answers what has to be true afterwards.
fn live(disks: &Disks) -> BTreeMap<u8, Due> {
    let mut due = BTreeMap::new();
    let mut steps = || -> Result<(), super::ErasureError> {
        let now = Timestamp::UNIX_EPOCH;
        let all = volumes();
        let store = Store::open(disks.ground(), Path::new(STATE), &all, now)?;
        let mint = |due: &mut BTreeMap<u8, Due>, seed: u8| {
            store.mint(&home(seed), id(seed))?;
            let Found::Key(key) = store.find(&home(seed), id(seed))? else { panic!("no key") };
            due.insert(seed, Due::Living(key.to_vec()));
            Ok::<_, super::ErasureError>(())
        };
        let erase = |due: &mut BTreeMap<u8, Due>, seed: u8| {
            due.insert(seed, Due::Dying);
            store.erase(&home(seed), id(seed))?;
            due.insert(seed, Due::Erased);
            Ok::<_, super::ErasureError>(())
        };
        for seed in 1..=4 {
            mint(&mut due, seed)?;
        }
        erase(&mut due, 1)?;
        store.rotate(&all, now)?;
        mint(&mut due, 5)?;
        erase(&mut due, 2)?;
        store.rotate(&all, now)?;
        erase(&mut due, 5)?;
        store.rotate(&all, now)?;
        Ok(())
    };
    let _ = steps();
    due
}

fn check(store: &Store, due: &BTreeMap<u8, Due>, when: &str) {
    for (seed, due) in due {
        let found = key(store, *seed);
        match due {
            Due::Living(key) => assert_eq!(found.as_ref(), Some(key), "recording {seed}, {when}"),
            Due::Erased => assert_eq!(found, None, "recording {seed}, {when}"),
            Due::Dying => {}
        }
    }
}

#[test]
fn whenever_the_power_goes_every_living_key_opens_and_no_erased_one_does() {
    let whole = Disks::default();
    live(&whole);
    let changes = whole.changes();
    assert!(changes > 30, "{changes}");
    for after in 0..changes {
        for tear in TEARS {
            let disks = Disks::default();
            disks.cut_power_after(after, tear);
            let mut due = live(&disks);
            assert!(disks.is_off(), "the power went");
            disks.restart();
            let when = format!("after {after} changes, {tear:?}");
            let store = open(&disks);
            check(&store, &due, &when);
            // The deletion that was begun is repeated, and the rotation goes on.
            for (seed, due) in due.iter_mut().filter(|(_, due)| **due == Due::Dying) {
                store.erase(&home(*seed), id(*seed)).unwrap();
                *due = Due::Erased;
            }
            store.finish(&volumes()).unwrap();
            check(&store, &due, &when);
            assert!(!store.standing().1, "{when}: an old epoch is alive");
            store.rotate(&volumes(), Timestamp::UNIX_EPOCH).unwrap();
            check(&open(&disks), &due, &when);
        }
    }
}

#[test]
fn a_write_that_the_disk_lost_is_not_taken_for_durable_later() {
    let mut failed = 0;
    for after in 0..30 {
        for restarts in [false, true] {
            let disks = Disks::default();
            disks.fail_after(after);
            let due = live(&disks);
            // It may have written less often than that.
            failed += u32::from(disks.has_failed());
            // The program may end; what the disk lost can still be read until the power goes.
            let store = open(&disks);
            if !restarts {
                store.finish(&volumes()).unwrap();
            } else {
                drop(store);
                open(&disks).finish(&volumes()).unwrap();
            }
            disks.restart();
            let store = open(&disks);
            let living = due.iter().filter(|(_, due)| matches!(due, Due::Living(_)));
            let living = living.map(|(seed, due)| (*seed, due.clone())).collect();
            check(&store, &living, &format!("failure after {after}, restarts: {restarts}"));
        }
    }
    assert!(failed > 30, "{failed}");
}

#[test]
fn an_image_from_before_a_deletion_opens_with_the_keys_of_then_and_never_with_those_of_later() {
    let disks = Disks::default();
    let store = open(&disks);
    store.mint(&home(1), id(1)).unwrap();
    store.mint(&home(2), id(2)).unwrap();
    let (kept, lost) = (key(&store, 1).unwrap(), key(&store, 2).unwrap());
    let before = || [disks.image("/disk0"), disks.image("/state")];
    let [disk_before, state_before] = before();
    let with = |disk: &Files, state: &Files, seed| {
        let disks = Disks::of([disk.clone(), state.clone()]);
        // Whoever has the images needs no volumes that are whole.
        let store = Store::open(disks.ground(), Path::new(STATE), &[], Timestamp::UNIX_EPOCH);
        match store.unwrap().find(&home(seed), id(seed)).unwrap() {
            Found::Key(key) => Some(key.to_vec()),
            _ => None,
        }
    };
    assert_eq!(with(&disk_before, &state_before, 2).as_ref(), Some(&lost), "the test can tell");

    store.erase(&home(2), id(2)).unwrap();
    let [disk_after, state_meanwhile] = before();
    assert_eq!(with(&disk_after, &state_before, 2), None);
    assert_eq!(
        with(&disk_before, &state_meanwhile, 2).as_ref(),
        Some(&lost),
        "until the epoch ends"
    );
    let wrapped = &disk_before[&super::store::path_of(&home(2), id(2))][32..124];
    for (path, bytes) in &disk_after {
        assert!(!bytes.windows(wrapped.len()).any(|bytes| bytes == wrapped), "{path:?}");
    }

    let rotated = store.rotate(&volumes(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((rotated.epoch, rotated.destroyed), (2, 1));
    assert_eq!(store.graves().epoch_of(id(2)), Some(1));
    let [disk_after, state_after] = before();
    assert_eq!(with(&disk_before, &state_after, 2), None);
    assert_eq!(with(&disk_after, &state_before, 2), None);
    assert_eq!(key(&store, 1), Some(kept), "the others live on");
}

#[test]
fn an_epoch_stays_while_a_volume_that_has_keys_is_not_there() {
    let disks = Disks::default();
    let store = open(&disks);
    store.mint(&home(1), id(1)).unwrap();
    let one = &volumes()[..1];
    let refused = store.rotate(one, Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(refused.to_string().contains("not there"), "{refused}");
    // The same where its place is empty: nothing is mounted there.
    let gone = disks.image("/disk1");
    for path in gone.keys() {
        disks.change(|files| files.remove(path));
    }
    store.rotate(&volumes(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(store.destroyed(), 0);
    disks.change(|files| files.extend(gone));
    store.rotate(&volumes(), Timestamp::UNIX_EPOCH).unwrap();
    assert!(key(&store, 1).is_some());
}

#[test]
fn without_the_epochs_a_node_with_keys_does_not_begin_anew() {
    let disks = Disks::default();
    open(&disks).mint(&home(1), id(1)).unwrap();
    for damage in [true, false] {
        let path = Path::new(STATE).join("epochs");
        if damage {
            disks.change(|files| files.get_mut(&path).unwrap().fill(7));
        } else {
            disks.change(|files| files.remove(&path));
        }
        let opened =
            Store::open(disks.ground(), Path::new(STATE), &volumes(), Timestamp::UNIX_EPOCH);
        let refused = opened.unwrap_err().to_string();
        assert!(refused.contains("put the state folder back"), "{refused}");
    }
}

#[test]
fn a_bad_block_costs_one_of_two_copies_of_an_epoch_and_is_mended() {
    let disks = Disks::default();
    open(&disks).mint(&home(1), id(1)).unwrap();
    let path = Path::new(STATE).join("epochs");
    let area = 33 * 4_096;
    // The first epoch lies in the second area and in the last.
    for copy in [1, 3] {
        disks.change(|files| files.get_mut(&path).unwrap()[copy * area + 70_000] ^= 1);
        assert!(key(&open(&disks), 1).is_some(), "without copy {copy}");
    }
}
