//! Headers that are tortured: processes killed while they change key slots, writes that were torn, copies that
//! were damaged anywhere. Every time one key opens still, or the refusal changes nothing.
//!
//! `HOLDFAST_TEST_CUTS` says how often, 30 where it is not set; a failure prints the seed, which
//! `HOLDFAST_TEST_SEED` sets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast_volume::keys::{Purpose, Secret};
use holdfast_volume::luks::{Cipher, Kdf, Luks};
use tempfile::TempDir;

const KDF: Kdf = Kdf { memory_kib: 64 };
const IMAGE_BYTES: u64 = 24 << 20;
/// Bytes of each of the two copies, which lie one behind the other; then come the slots.
const COPY_BYTES: usize = 0x4000;
const SECTOR_BYTES: usize = 512;
/// What a child that changes slots is told its disk by.
const DISK: &str = "HOLDFAST_TEST_TORTURED_DISK";

/// Random numbers that a seed repeats (SplitMix64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let set = std::env::var("HOLDFAST_TEST_SEED").ok().and_then(|it| it.parse().ok());
        let seed = set.unwrap_or_else(|| getrandom::u64().unwrap());
        println!("HOLDFAST_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

fn cuts() -> usize {
    std::env::var("HOLDFAST_TEST_CUTS").ok().and_then(|it| it.parse().ok()).unwrap_or(30)
}

fn key(fill: u8) -> Secret {
    Secret::copied(&[fill; 64])
}

fn load(disk: &Path) -> Luks {
    Luks::load(disk, KDF).unwrap().unwrap()
}

/// A volume that key 1 opens.
fn formatted() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    File::create(&disk).unwrap().set_len(IMAGE_BYTES).unwrap();
    let mut luks = Luks::format(&disk, "holdfast-a", (Cipher::Aes, false), KDF, &key(1)).unwrap();
    luks.name_slot(0, Purpose::Machine, None).unwrap();
    (dir, disk)
}

/// Which of two keys open.
fn opening(disk: &Path) -> Vec<u8> {
    let mut luks = load(disk);
    assert_eq!(luks.is_ours(false), Ok(()));
    [1, 2].into_iter().filter(|it| luks.slot_of(&key(*it)).unwrap().is_some()).collect()
}

/// What the child does until it is killed.
fn change_slots(disk: &Path) {
    let mut luks = load(disk);
    println!("\nbegun");
    for _ in 0..100_000 {
        let (from, to) = if luks.slot_of(&key(1)).unwrap().is_some() { (1, 2) } else { (2, 1) };
        if luks.slot_of(&key(to)).unwrap().is_none() {
            luks.add_slot(&key(from), &key(to), Purpose::Machine, None).unwrap();
        }
        let old = luks.slot_of(&key(from)).unwrap().unwrap();
        luks.remove_slot(old).unwrap();
        let new = luks.slot_of(&key(to)).unwrap().unwrap();
        // Slots that a killed child had added, and not named yet.
        for slot in luks.slots().unwrap().into_iter().filter(|it| it.number != new) {
            luks.remove_slot(slot.number).unwrap();
        }
        println!("\nchanged");
    }
}

#[test]
fn a_process_that_is_killed_while_it_changes_slots_leaves_a_volume_that_opens() {
    const OWN: &str = "a_process_that_is_killed_while_it_changes_slots_leaves_a_volume_that_opens";
    if let Some(disk) = std::env::var_os(DISK) {
        return change_slots(Path::new(&disk));
    }
    let (mut random, (_dir, disk)) = (Random::new(), formatted());
    let mut seen = [0; 2];
    for cut in 0..cuts() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", OWN, "--nocapture"])
            .env(DISK, &disk)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut hears = |word| said.any(|line| line.unwrap() == word);
        assert!(hears("begun"), "cut {cut}: the child did not begin");
        // On a busy machine a change takes longer than the wait below.
        for _ in 0..random.below(3) {
            assert!(hears("changed"), "cut {cut}: the child ended by itself");
        }
        std::thread::sleep(Duration::from_micros(random.below(120_000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let opens = opening(&disk);
        assert!(!opens.is_empty(), "cut {cut}: nothing opens it any more");
        opens.iter().for_each(|it| seen[usize::from(*it) - 1] += 1);
        let dump =
            Command::new("/usr/sbin/cryptsetup").arg("luksDump").arg(&disk).output().unwrap();
        assert!(dump.status.success(), "cut {cut}: cryptsetup cannot read it");
    }
    assert!(seen.iter().all(|it| *it > 0), "slots were not changed meanwhile: {seen:?}");
}

/// What stands on a disk if a change was cut off: sectors of the slots as they were or are, and one of the two
/// copies torn. libcryptsetup writes one after the other.
fn torn(before: &[u8], after: &[u8], random: &mut Random) -> Vec<u8> {
    let mut disk = before.to_vec();
    let take = |disk: &mut Vec<u8>, from: usize, to: usize| {
        disk[from..to].copy_from_slice(&after[from..to]);
    };
    let sectors = COPY_BYTES / SECTOR_BYTES;
    for sector in 2 * sectors..before.len() / SECTOR_BYTES {
        let at = sector * SECTOR_BYTES;
        let end = at + SECTOR_BYTES;
        if before[at..end] != after[at..end] && random.below(2) == 0 {
            take(&mut disk, at, end);
        }
    }
    let (first, is_second) = (random.below(2), random.below(2) == 1);
    if is_second {
        take(&mut disk, 0, COPY_BYTES);
    }
    let begin = if is_second { COPY_BYTES } else { 0 };
    for sector in first..sectors {
        if random.below(2) == 0 {
            let at = begin + sector * SECTOR_BYTES;
            take(&mut disk, at, at + SECTOR_BYTES);
        }
    }
    disk
}

#[test]
fn a_change_that_was_torn_anywhere_leaves_the_other_key_its_slot() {
    let (mut random, (_dir, disk)) = (Random::new(), formatted());
    let begin = fs::read(&disk).unwrap();
    load(&disk).add_slot(&key(1), &key(2), Purpose::Recovery, None).unwrap();
    let both = fs::read(&disk).unwrap();
    load(&disk).remove_slot(0).unwrap();
    let end = fs::read(&disk).unwrap();
    assert_eq!(opening(&disk), [2]);
    for (before, after, stays) in [(&begin, &both, 1), (&both, &end, 2)] {
        for cut in 0..cuts() {
            fs::write(&disk, torn(before, after, &mut random)).unwrap();
            let opens = opening(&disk);
            assert!(opens.contains(&stays), "cut {cut}: key {stays} opens it no more: {opens:?}");
        }
    }
}

#[test]
fn whatever_is_damaged_in_one_copy_is_mended_and_in_both_is_refused_unchanged() {
    let (mut random, (_dir, disk)) = (Random::new(), formatted());
    let whole = fs::read(&disk).unwrap();
    let damage = |random: &mut Random, copy: usize| {
        let at = random.below(COPY_BYTES);
        let bytes = 1 + random.below(COPY_BYTES - at);
        let file = File::options().write(true).open(&disk).unwrap();
        // Nothing of it stays as it was.
        let from = copy * COPY_BYTES + at;
        let spoiled: Vec<u8> = whole[from..from + bytes].iter().map(|byte| byte ^ 0x5a).collect();
        file.write_all_at(&spoiled, from as u64).unwrap();
    };
    for cut in 0..cuts() {
        let copy = random.below(2);
        damage(&mut random, copy);
        assert_eq!(opening(&disk), [1], "cut {cut}: copy {copy} was damaged");
        let mended = fs::read(&disk).unwrap();
        let from = copy * COPY_BYTES;
        let magic = &mended[from..from + 4];
        assert!(matches!(magic, b"LUKS" | b"SKUL"), "cut {cut}: copy {copy} was not mended");
        fs::write(&disk, &whole).unwrap();
    }
    for cut in 0..cuts() {
        damage(&mut random, 0);
        damage(&mut random, 1);
        let damaged = fs::read(&disk).unwrap();
        // Without both signatures it is no header to anybody.
        match Luks::load(&disk, KDF) {
            Err(refused) => assert_eq!(refused.code(), 9, "cut {cut}: {refused}"),
            Ok(found) => assert!(found.is_none(), "cut {cut}: a damaged header was believed"),
        }
        assert!(fs::read(&disk).unwrap() == damaged, "cut {cut}: the refusal changed the disk");
        fs::write(&disk, &whole).unwrap();
    }
}
