//! Headers on plain files: what is written, read by cryptsetup, changed, damaged, backed up.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use holdfast_volume::backup::{self, Proof};
use holdfast_volume::config::{Config, Name};
use holdfast_volume::keys::{Purpose, RecoveryKey, Secret, SourceKind};
use holdfast_volume::luks::{Cipher, Kdf, Luks, restore};
use holdfast_volume::sealed;
use tempfile::TempDir;

/// As cheap as libcryptsetup takes.
const KDF: Kdf = Kdf { memory_kib: 64 };
/// AES, without integrity. Others cannot be made where the kernel has no device mapper.
const AES: (Cipher, bool) = (Cipher::Aes, false);
const IMAGE_BYTES: u64 = 24 << 20;

struct Disk {
    dir: TempDir,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("disk")).unwrap().set_len(IMAGE_BYTES).unwrap();
        Self { dir }
    }

    fn formatted(key: &Secret) -> (Self, Luks) {
        let disk = Self::new();
        let mut luks = Luks::format(&disk.path(), "holdfast-a", AES, KDF, key).unwrap();
        luks.name_slot(0, Purpose::Machine, Some(SourceKind::Credential)).unwrap();
        (disk, luks)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn load(&self) -> Luks {
        Luks::load(&self.path(), KDF).unwrap().unwrap()
    }

    fn damage(&self, at: u64, bytes: usize) {
        let disk = File::options().write(true).open(self.path()).unwrap();
        disk.write_all_at(&vec![0xa5; bytes], at).unwrap();
    }
}

fn key(fill: u8) -> Secret {
    Secret::copied(&[fill; 64])
}

fn cryptsetup(arguments: &[&str], disk: &Disk, input: &[u8]) -> std::process::Output {
    use std::io::Write;
    let mut child = Command::new("/usr/sbin/cryptsetup")
        .args(arguments)
        .arg(disk.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn cryptsetup_reads_what_is_written_and_finds_what_is_promised() {
    let (disk, _) = Disk::formatted(&key(1));
    let dump = cryptsetup(&["luksDump", "--dump-json-metadata"], &disk, b"");
    let json: serde_json::Value = serde_json::from_slice(&dump.stdout).unwrap();
    assert_eq!(json["segments"]["0"]["encryption"], "aes-xts-plain64");
    assert_eq!(json["segments"]["0"]["sector_size"], 4096);
    let slot = &json["keyslots"]["0"];
    assert_eq!(slot["key_size"], 64);
    assert_eq!(slot["kdf"]["type"], "argon2id");
    assert_eq!((&slot["kdf"]["time"], &slot["kdf"]["memory"]), (&4.into(), &64.into()));
    let test = ["open", "--test-passphrase", "--key-file", "-"];
    assert!(cryptsetup(&test, &disk, key(1).bytes()).status.success());
    assert!(!cryptsetup(&test, &disk, key(2).bytes()).status.success());
}

#[test]
fn a_recovery_slot_is_one_that_cryptsetup_and_systemd_know() {
    let (disk, mut luks) = Disk::formatted(&key(1));
    let recovery = RecoveryKey::generate().unwrap();
    luks.add_slot(&key(1), &recovery.passphrase(), Purpose::Recovery, None).unwrap();
    let passphrase = recovery.passphrase();
    let test = ["open", "--test-passphrase", "--key-file", "-"];
    assert!(cryptsetup(&test, &disk, passphrase.bytes()).status.success());
    let list = Command::new("systemd-cryptenroll").arg(disk.path()).output().unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.lines().any(|line| line.split_whitespace().eq(["1", "recovery"])), "{list}");
}

#[test]
fn slots_are_listed_by_purpose_and_a_removed_one_opens_no_more() {
    let (disk, mut luks) = Disk::formatted(&key(1));
    luks.add_slot(&key(1), &key(2), Purpose::Site, None).unwrap();
    luks.add_slot(&key(2), &key(3), Purpose::Machine, Some(SourceKind::Stick)).unwrap();
    drop(luks);
    let mut luks = disk.load();
    let slots = luks.slots().unwrap();
    let purposes: Vec<_> = slots.iter().map(|it| (it.number, it.purpose, it.source)).collect();
    assert_eq!(
        purposes,
        [
            (0, Purpose::Machine, Some(SourceKind::Credential)),
            (1, Purpose::Site, None),
            (2, Purpose::Machine, Some(SourceKind::Stick)),
        ]
    );
    luks.remove_slot(0).unwrap();
    assert_eq!(luks.slot_of(&key(1)).unwrap(), None);
    assert_eq!(luks.slot_of(&key(3)).unwrap(), Some(2));
    assert_eq!(luks.numbers_in_use().unwrap(), [1, 2]);
    assert_eq!(luks.tokens().unwrap().len(), 2, "the removed slot's token is gone");
}

#[test]
fn a_header_is_ours_only_with_the_integrity_that_is_asked_for() {
    let (disk, _) = Disk::formatted(&key(1));
    assert_eq!(disk.load().is_ours(false), Ok(()));
    let refused = disk.load().is_ours(true).unwrap_err();
    assert!(refused.contains("integrity"), "{refused}");
}

#[test]
fn one_damaged_header_is_mended_from_the_other_and_two_are_refused() {
    let (disk, _) = Disk::formatted(&key(1));
    let whole = fs::read(disk.path()).unwrap();
    for at in [0, 0x4000] {
        disk.damage(at, 4096);
        assert_eq!(disk.load().slot_of(&key(1)).unwrap(), Some(0), "damaged at {at}");
        let now = fs::read(disk.path()).unwrap();
        let magic = now[at as usize..][..4].to_vec();
        assert!(matches!(&magic[..], b"LUKS" | b"SKUL"), "{at} was not mended");
    }
    // Signatures stay, what they sign does not.
    disk.damage(64, 400);
    disk.damage(0x4000 + 64, 400);
    let damaged = fs::read(disk.path()).unwrap();
    let refused = Luks::load(&disk.path(), KDF).err().unwrap();
    assert_eq!(refused.code(), 9);
    assert!(refused.to_string().contains("header restore"), "{refused}");
    assert!(fs::read(disk.path()).unwrap() == damaged, "a refusal changes nothing");
    assert_eq!(whole.len(), damaged.len());
}

#[test]
fn a_luks1_header_over_an_old_one_is_somebody_elses() {
    let (disk, _) = Disk::formatted(&key(1));
    let format =
        ["luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "-d", "-"];
    let made = cryptsetup(&format, &disk, key(2).bytes());
    assert!(made.status.success(), "{made:?}");
    // A copy of the old header, where LUKS1 has only unused slots.
    let file = File::options().write(true).open(disk.path()).unwrap();
    file.write_all_at(b"SKUL\xba\xbe\0\x02", 0x4000).unwrap();
    assert!(Luks::load(&disk.path(), KDF).unwrap().is_none());
}

#[test]
fn a_file_system_over_an_old_header_is_not_mended_away() {
    let (disk, _) = Disk::formatted(&key(1));
    let other = Disk::new();
    let made = Command::new("/usr/sbin/mkfs.ext4").args(["-q", "-F"]).arg(other.path()).status();
    assert!(made.unwrap().success());
    // The old header's copy, at 16 KiB, is whole.
    let front = fs::read(other.path()).unwrap()[..0x4000].to_vec();
    let file = File::options().write(true).open(disk.path()).unwrap();
    file.write_all_at(&front, 0).unwrap();
    let before = fs::read(disk.path()).unwrap();
    assert!(Luks::load(&disk.path(), KDF).is_err());
    assert!(fs::read(disk.path()).unwrap() == before, "the file system was overwritten");
}

#[test]
fn a_backup_brings_a_lost_header_back() {
    let (disk, mut luks) = Disk::formatted(&key(1));
    let file = disk.dir.path().join("backup");
    backup::write(&mut luks, &file).unwrap();
    drop(luks);
    disk.damage(0, 8 << 20);
    assert!(Luks::load(&disk.path(), KDF).unwrap().is_none());
    restore(&disk.path(), &file).unwrap();
    assert_eq!(disk.load().slot_of(&key(1)).unwrap(), Some(0));
}

#[test]
fn a_backup_of_another_volume_or_a_damaged_one_is_refused() {
    let (disk, mut luks) = Disk::formatted(&key(1));
    let (_other, mut other) = Disk::formatted(&key(1));
    let file = disk.dir.path().join("backup");
    backup::write(&mut luks, &file).unwrap();
    let uuid = luks.uuid().unwrap();
    assert!(backup::check(&file, KDF, Some(&uuid)).is_ok());
    let refused = backup::check(&file, KDF, Some(&other.uuid().unwrap())).err().unwrap();
    assert!(refused.code() == 9 && refused.to_string().contains("another volume"), "{refused}");
    for bytes in [0, 100, 20_000, 40_000, 15 << 20] {
        let cut = disk.dir.path().join("cut");
        fs::write(&cut, &fs::read(&file).unwrap()[..bytes]).unwrap();
        let refused = backup::check(&cut, KDF, Some(&uuid)).err().unwrap();
        assert_eq!(refused.code(), 9, "{bytes} bytes: {refused}");
    }
}

#[test]
fn an_encrypted_backup_opens_with_its_key_only_and_shows_nothing_of_what_is_in_it() {
    let (disk, mut luks) = Disk::formatted(&key(1));
    let (file, folder) = (disk.dir.path().join("sealed"), disk.dir.path());
    let backup_key = RecoveryKey::generate().unwrap();
    sealed::write(&mut luks, &file, &backup_key, folder).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["disk", "sealed"], "a plain copy stayed behind");
    assert!(sealed::is_sealed(&file) && !sealed::is_sealed(&disk.path()));
    let bytes = fs::read(&file).unwrap();
    let uuid = luks.uuid().unwrap();
    for part in [uuid.as_bytes(), b"LUKS", b"keyslots"] {
        assert!(!bytes.windows(part.len()).any(|it| it == part), "{part:?} shows");
    }
    drop(luks);
    disk.damage(0, 8 << 20);
    let opened = sealed::open(&file, &backup_key).unwrap();
    assert!(backup::check(&opened.path(), KDF, Some(&uuid)).is_ok());
    let refused = backup::check(&opened.path(), KDF, Some("another")).err().unwrap();
    assert!(refused.to_string().contains("another volume"), "{refused}");
    restore(&disk.path(), &opened.path()).unwrap();
    assert_eq!(disk.load().slot_of(&key(1)).unwrap(), Some(0));

    // It is refused with another key, cut off, longer, or changed anywhere.
    let other = RecoveryKey::generate().unwrap();
    let refused = sealed::open(&file, &other).err().unwrap();
    assert!(refused.code() == 9 && refused.to_string().contains("backup key"), "{refused}");
    let spoiled = disk.dir.path().join("spoiled");
    for length in [0, 10, 20, 60, bytes.len() - 1] {
        fs::write(&spoiled, &bytes[..length]).unwrap();
        assert_eq!(sealed::open(&spoiled, &backup_key).err().unwrap().code(), 9, "{length} bytes");
    }
    fs::write(&spoiled, [&bytes[..], b"x"].concat()).unwrap();
    assert_eq!(sealed::open(&spoiled, &backup_key).err().unwrap().code(), 9);
    for at in [3, 17, 23, 24, 55, 56, 1 << 20, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&spoiled, &changed).unwrap();
        assert_eq!(sealed::open(&spoiled, &backup_key).err().unwrap().code(), 9, "byte {at}");
    }
    // One that is there is not written over.
    let again = sealed::write(&mut disk.load(), &file, &backup_key, disk.dir.path());
    assert!(again.is_err() && fs::read(&file).unwrap() == bytes);
}

#[test]
fn the_kept_backup_is_for_root_alone_and_forgets_retired_keys() {
    use std::os::unix::fs::PermissionsExt;
    let (disk, mut luks) = Disk::formatted(&key(1));
    let folder = disk.dir.path().join("backups");
    let config = format!("header_backups = {folder:?}");
    let config = Config::parse(&config).unwrap();
    let name = Name::try_from("a".to_owned()).unwrap();
    backup::keep(&config, &name, &mut luks, Proof::OpensWith(&key(1))).unwrap();
    luks.add_slot(&key(1), &key(2), Purpose::Machine, None).unwrap();
    luks.remove_slot(0).unwrap();
    // A second name for the file's blocks shows what becomes of them.
    let blocks = disk.dir.path().join("blocks");
    let uuid = luks.uuid().unwrap();
    fs::hard_link(backup::path(&config, &name, &uuid), &blocks).unwrap();
    let kept = backup::keep(&config, &name, &mut luks, Proof::OpensWith(&key(2))).unwrap();
    assert!(fs::read(&blocks).unwrap().iter().all(|byte| *byte == 0), "the old blocks stay");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o177, 0);
    let mut luks = backup::check(&kept, KDF, None).unwrap();
    assert_eq!(luks.slot_of(&key(1)).unwrap(), None);
    assert!(luks.slot_of(&key(2)).unwrap().is_some());
    // What a power cut and a restoring leave goes with it.
    fs::copy(&kept, kept.with_extension("new")).unwrap();
    backup::keep_before(&config, &name, &mut disk.load()).unwrap();
    fs::copy(&kept, kept.with_extension("new")).unwrap();
    assert_eq!(backup::destroy(&config, &name, "another").unwrap(), 0);
    assert_eq!(backup::destroy(&config, &name, &uuid).unwrap(), 3);
    assert_eq!(backup::kept(&config, &name), []);
}

#[test]
fn a_good_backup_is_never_replaced_by_a_header_whose_slots_are_damaged() {
    let (disk, mut luks) = Disk::formatted(&key(1));
    let config = format!("header_backups = {:?}", disk.dir.path().join("backups"));
    let config = Config::parse(&config).unwrap();
    let name = Name::try_from("a".to_owned()).unwrap();
    let kept = backup::keep(&config, &name, &mut luks, Proof::OpensWith(&key(1))).unwrap();
    let good = fs::read(&kept).unwrap();
    // The first slot's area begins at 32 KiB; both copies of the JSON stay whole.
    disk.damage(0x8000, 256 << 10);
    let mut damaged = disk.load();
    assert_eq!(damaged.slot_of(&key(1)).unwrap(), None);
    let refused = backup::keep(&config, &name, &mut damaged, Proof::OpensWith(&key(1)));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), 9, "{refused}");
    let before = backup::keep_before(&config, &name, &mut damaged).unwrap();
    assert!(fs::read(&kept).unwrap() == good, "the good backup was replaced");
    assert!(fs::read(&before).unwrap() != good);
    assert_eq!(fs::read_dir(&config.header_backups).unwrap().count(), 2, "one is half made");
    restore(&disk.path(), &kept).unwrap();
    assert_eq!(disk.load().slot_of(&key(1)).unwrap(), Some(0));
    // What a first restoring kept is not lost to a second.
    backup::keep_before(&config, &name, &mut disk.load()).unwrap();
    assert!(fs::read(&before).unwrap() != good);
    let confirmed = backup::keep(&config, &name, &mut disk.load(), Proof::Confirmed);
    assert_eq!(confirmed.unwrap(), kept);
}
