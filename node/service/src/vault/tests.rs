use super::*;
use holdfast_core::job::Outputs;
use holdfast_core::push_order::Success;
use holdfast_core::recording::{Metadata, Policy, Source};
use jiff::Timestamp;

fn vault(name: &str) -> (PathBuf, Vault) {
    let path = std::env::temp_dir().join(format!("holdfast-vault-{}-{name}", std::process::id()));
    delete::remove_tree(&Disk::Machine, &path).unwrap();
    let vault = Vault::open(&path, 0).unwrap();
    (path, vault)
}

fn recording(seed: u8) -> Recording {
    let policy = Policy {
        outputs: Outputs { mp4: true, snapshot: true, filmstrip: true },
        push_raw: false,
        destinations: vec![],
        own: None,
        copies: false,
        folder: String::new(),
        store_nothing: false,
        success: Success::Main,
        reconnect_ms: 1,
        playback_ms: 1,
        zone: "Europe/Bucharest".into(),
    };
    let id = RecordingId::new(1, [seed; 10]);
    Recording::new(
        id,
        "demo".into(),
        Source::Upload,
        policy,
        Metadata::default(),
        Timestamp::UNIX_EPOCH,
    )
}

#[test]
fn a_folder_tells_everything_about_its_recording() {
    let (_, vault) = vault("manifest");
    let mut rec = recording(1);
    let raw = vault.create(&rec, 0).unwrap();
    raw.write_all_at(b"bytes", 0).unwrap();
    rec.recovered = true;
    rec.volume = vault.volumes()[0].id();
    vault.note(&rec).unwrap();
    let found = vault.manifests().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.as_ref().unwrap(), &rec);
    assert!(vault.create(&rec, 0).is_err(), "an id is used once");
}

#[test]
fn what_an_attempt_made_gets_its_name_and_the_rest_goes() {
    let (_, vault) = vault("adopt");
    let rec = recording(2);
    vault.create(&rec, 0).unwrap();
    let work = vault.work_folder(rec.id).unwrap();
    std::fs::write(work.join("main.mp4"), b"film").unwrap();
    std::fs::write(work.join("scratch"), b"x").unwrap();
    let files = vault.adopt(rec.id, &[FileKind::Main]).unwrap();
    assert_eq!((files[0].kind, files[0].bytes), (FileKind::Main, 4));
    assert_eq!(files[0].sha256.as_deref(), Some(digest::of(b"film").as_str()));
    assert!(vault.file(rec.id, FileKind::Main).unwrap().is_file());
    assert!(!work.exists());
    assert!(std::fs::read_dir(vault.work_folder(rec.id).unwrap()).unwrap().next().is_none());
}

#[test]
fn deleting_twice_is_harmless() {
    let (path, vault) = vault("delete");
    let rec = recording(3);
    vault.create(&rec, 0).unwrap();
    vault.work_folder(rec.id).unwrap();
    assert_eq!(vault.delete(rec.id, &[FileKind::Raw], false).unwrap(), Deletion::Deleted);
    assert_eq!(vault.delete(rec.id, &[FileKind::Raw], false).unwrap(), Deletion::AlreadyGone);
    assert!(vault.folder(rec.id).unwrap().is_dir());
    assert_eq!(vault.delete(rec.id, &[FileKind::Raw], true).unwrap(), Deletion::Deleted);
    assert_eq!(vault.delete(rec.id, &[FileKind::Raw], true).unwrap(), Deletion::AlreadyGone);
    assert!(std::fs::read_dir(path.join(RECORDINGS)).unwrap().next().is_none());
}

#[test]
fn a_whole_folder_goes_with_what_the_ledger_never_heard_of() {
    let (path, vault) = vault("leftovers");
    let rec = recording(5);
    vault.create(&rec, 0).unwrap();
    std::fs::write(
        vault.file(rec.id, FileKind::Main).unwrap(),
        b"renamed, then the node was killed",
    )
    .unwrap();
    assert_eq!(vault.delete(rec.id, &[FileKind::Raw], true).unwrap(), Deletion::Deleted);
    assert!(std::fs::read_dir(path.join(RECORDINGS)).unwrap().next().is_none());
}

#[test]
fn a_link_that_a_decoder_left_is_not_taken_for_its_work() {
    let (path, vault) = vault("link");
    let rec = recording(6);
    vault.create(&rec, 0).unwrap();
    let secret = path.join("secret");
    std::fs::write(&secret, b"key").unwrap();
    let work = vault.work_folder(rec.id).unwrap();
    std::os::unix::fs::symlink(&secret, work.join("main.mp4")).unwrap();
    assert!(vault.adopt(rec.id, &[FileKind::Main]).is_err());
    let work = vault.work_folder(rec.id).unwrap();
    std::fs::hard_link(&secret, work.join("main.mp4")).unwrap();
    assert!(vault.adopt(rec.id, &[FileKind::Main]).is_err());
}

#[test]
fn a_full_volume_takes_nothing_new() {
    let (path, _) = vault("full");
    let vault = Vault::open(&path, u64::MAX).unwrap();
    let refused = vault.create(&recording(4), 0).unwrap_err();
    assert!(refused.is_no_space(), "{refused}");
}

#[test]
fn a_file_is_cut_back_to_the_bytes_that_are_known_to_be_durable() {
    let (path, vault) = vault("cut-back");
    let new = recording(1);
    let raw = vault.create(&new, 0).unwrap();
    raw.write_all_at(b"durable, and what a power cut left", 0).unwrap();
    assert_eq!(vault.open_raw_at(new.id, 7).unwrap().bytes().unwrap(), 7);
    assert_eq!(std::fs::read(vault.file(new.id, FileKind::Raw).unwrap()).unwrap(), b"durable");
    // It is never made longer: what is missing is missing.
    assert_eq!(vault.open_raw_at(new.id, 9).unwrap().bytes().unwrap(), 7);
    delete::remove_tree(&Disk::Machine, &path).unwrap();
}
