use std::io::Cursor;

use jiff::{SignedDuration, Timestamp};
use redb::{Database, ReadableDatabase};

use super::super::{Act, AuditLog, chain};
use super::*;
use crate::nodekey::NodeKey;

const ENTRIES: u64 = 8;

fn log() -> AuditLog {
    AuditLog::new(&NodeKey::load_or_make(tempfile::tempdir().unwrap().path()).unwrap()).unwrap()
}

fn start() -> Timestamp {
    "2026-11-24T00:00:00Z".parse().unwrap()
}

/// A ledger with entries of one log, a minute apart.
fn kept(log: &AuditLog, entries: u64) -> Database {
    let database =
        Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
    let write = database.begin_write().unwrap();
    for seq in 0..i64::try_from(entries).unwrap() {
        let now = start() + SignedDuration::from_mins(seq);
        log.append(&write, now, "someone", &Act::SignedIn { key: format!("k{seq}") }).unwrap();
    }
    write.commit().unwrap();
    database
}

fn export(
    log: &AuditLog,
    database: &Database,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Vec<String> {
    let read = database.begin_read().unwrap();
    let stretch = chain::stretch(&read, from, to).unwrap();
    let mut lines = vec![chain::head_line(&log.signer, &stretch, start()).unwrap()];
    let (mut from, last) = stretch.ends.map_or((1, 0), |(first, last)| (first, last.seq));
    loop {
        let page = chain::page(&read, from, last).unwrap();
        let Some(row) = page.last() else { break };
        from = row.seq + 1;
        lines.extend(page.into_iter().map(|row| row.line));
    }
    lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
}

fn whole(log: &AuditLog) -> Vec<String> {
    export(log, &kept(log, ENTRIES), None, None)
}

fn check(log: &AuditLog, lines: &[String]) -> Report {
    check_with(lines, With { keys: vec![log.public_key().clone()], known: None })
}

fn check_with(lines: &[String], with: With) -> Report {
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    verify(Cursor::new(text), with).unwrap()
}

/// Asserts that this one thing is wrong, with this entry.
fn assert_only(report: &Report, kind: FaultKind, entry: u64, said: &str) {
    let [fault] = &report.faults[..] else { panic!("{:#?}", report.faults) };
    assert_eq!((fault.kind, fault.entry), (kind, Some(entry)), "{fault:?}");
    assert!(fault.sentence.contains(said), "{fault:?}");
    assert!(!report.is_sound);
}

#[test]
fn a_sound_export_passes() {
    let log = log();
    let lines = whole(&log);
    let report = check(&log, &lines);
    assert_eq!(report.faults, []);
    assert!(report.is_sound && !report.key_was_believed);
    assert_eq!((report.entries, report.newest), (ENTRIES, Some(ENTRIES)));
    assert_eq!((report.first.unwrap().seq, report.first.unwrap().at), (1, start()));
    assert_eq!(report.last.unwrap().seq, ENTRIES);
    assert_eq!(report.keys, [log.public_key().id()]);
    let believed = check_with(&lines, With::default());
    assert!(believed.is_sound && believed.key_was_believed);
}

#[test]
fn a_changed_entry_is_named() {
    let log = log();
    for place in 1..=ENTRIES {
        let mut lines = whole(&log);
        let at = usize::try_from(place).unwrap();
        lines[at] = lines[at].replace("someone", "nobody");
        let said = format!("entry {place} was changed");
        assert_only(&check(&log, &lines), FaultKind::Changed, place, &said);
    }
}

#[test]
fn a_changed_entry_with_a_new_digest_is_named() {
    let log = log();
    let mut lines = whole(&log);
    let mut value: Value = serde_json::from_str(&lines[4]).unwrap();
    value["by"] = "nobody".into();
    let sig = value.as_object_mut().unwrap().remove("sig").unwrap();
    value.as_object_mut().unwrap().remove("hash");
    let body = super::super::canonical::canonical(&value).unwrap();
    value["hash"] = crate::digest::of(&body).into();
    value["sig"] = sig;
    lines[4] = value.to_string();
    assert_only(&check(&log, &lines), FaultKind::NotSigned, 4, "the key did not sign it");
}

#[test]
fn a_line_that_only_looks_the_same_is_named() {
    let log = log();
    for (from, to) in
        [(",\"by\"", ", \"by\""), ("someone", "some\\u006fne"), ("{", "{\"a\":1,\"a\":1,")]
    {
        let mut lines = whole(&log);
        lines[3] = lines[3].replacen(from, to, 1);
        assert_only(&check(&log, &lines), FaultKind::NotAnEntry, 3, "where entry 3 belongs");
    }
}

#[test]
fn a_dropped_entry_is_named() {
    let log = log();
    for place in 1..ENTRIES {
        let mut lines = whole(&log);
        lines.remove(usize::try_from(place).unwrap());
        let said = format!("entry {place} is missing before entry {}", place + 1);
        assert_only(&check(&log, &lines), FaultKind::Missing, place, &said);
    }
    let mut lines = whole(&log);
    lines.drain(3..6);
    let said = "entries 3 to 5 are missing before entry 6";
    assert_only(&check(&log, &lines), FaultKind::Missing, 3, said);
}

#[test]
fn a_cut_off_end_is_named() {
    let log = log();
    let mut lines = whole(&log);
    lines.pop();
    let said = "the end was cut off: entry 8 is missing";
    assert_only(&check(&log, &lines), FaultKind::Truncated, 8, said);
    lines.truncate(4);
    let said = "entries 4 to 8 are missing";
    assert_only(&check(&log, &lines), FaultKind::Truncated, 4, said);
    lines.truncate(1);
    assert_only(&check(&log, &lines), FaultKind::Truncated, 1, "entries 1 to 8 are missing");
    // In the middle of a line.
    let mut lines = whole(&log);
    lines[8].truncate(200);
    assert_only(&check(&log, &lines), FaultKind::NotAnEntry, 8, "line 9, where entry 8 belongs");
}

#[test]
fn a_cut_off_start_is_named() {
    let log = log();
    let mut lines = whole(&log);
    lines.remove(0);
    let report = check(&log, &lines);
    let [fault] = &report.faults[..] else { panic!("{:#?}", report.faults) };
    assert_eq!(fault.kind, FaultKind::NoHead);
    assert_eq!(check(&log, &[]).faults[0].kind, FaultKind::NoHead);
}

#[test]
fn reordered_entries_are_named() {
    let log = log();
    let mut lines = whole(&log);
    lines.swap(5, 6);
    let said = "entry 5 is out of place: it stands after entry 6";
    assert_only(&check(&log, &lines), FaultKind::Reordered, 5, said);
    let mut lines = whole(&log);
    lines.swap(7, 8);
    assert_only(&check(&log, &lines), FaultKind::Reordered, 7, "after entry 8");
    let mut lines = whole(&log);
    lines[1..].reverse();
    let kinds: Vec<_> = check(&log, &lines).faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::Reordered; 7]);
}

#[test]
fn an_entry_that_is_there_twice_is_named() {
    let log = log();
    for at in [4, 6, 9] {
        let mut lines = whole(&log);
        lines.insert(at, lines[3].clone());
        assert_only(&check(&log, &lines), FaultKind::Duplicated, 3, "entry 3 is there again");
    }
}

#[test]
fn an_entry_that_another_key_signed_is_named() {
    let (log, other) = (log(), log());
    let mut lines = whole(&log);
    lines[5].clone_from(&whole(&other)[5]);
    assert_only(&check(&log, &lines), FaultKind::ForeignKey, 5, "signed with another key");
    // One that says the right key, and is signed with the other.
    let (mine, foreign) = (log.public_key().id(), other.public_key().id());
    lines[5] = lines[5].replace(&foreign, &mine);
    assert_only(&check(&log, &lines), FaultKind::Changed, 5, "entry 5 was changed");
    // All of it, with a head to match.
    let report = check(&log, &whole(&other));
    assert_eq!(report.entries, 0);
    assert_eq!(report.faults.len() as u64, ENTRIES + 1);
    assert!(report.faults[0].sentence.contains(&foreign), "{:?}", report.faults[0]);
}

#[test]
fn an_inserted_entry_is_named() {
    let log = log();
    let mut lines = whole(&log);
    lines.insert(5, lines[5].replace("someone", "nobody"));
    assert_only(&check(&log, &lines), FaultKind::Changed, 5, "entry 5 was changed");
    let mut lines = whole(&log);
    lines.insert(5, "{}".into());
    assert_only(&check(&log, &lines), FaultKind::NotAnEntry, 5, "line 6");
    // Behind the end: entries that the head does not know.
    let longer = export(&log, &kept(&log, ENTRIES + 1), None, None);
    let mut lines = whole(&log);
    lines.push(longer.last().unwrap().clone());
    assert_only(&check(&log, &lines), FaultKind::Surplus, 9, "there is entry 9");
}

#[test]
fn two_histories_under_one_key_are_told_apart() {
    let log = log();
    let database = kept(&log, 0);
    let write = database.begin_write().unwrap();
    for seq in 0..ENTRIES {
        log.append(&write, start(), "else", &Act::SignedIn { key: format!("e{seq}") }).unwrap();
    }
    write.commit().unwrap();
    let other = export(&log, &database, None, None);
    let mut lines = whole(&log);
    lines.splice(5.., other[5..].iter().cloned());
    let kinds: Vec<_> =
        check(&log, &lines).faults.iter().map(|fault| (fault.kind, fault.entry)).collect();
    // Where they meet, and where the head names the end of the first.
    let expected = [(FaultKind::OtherHistory, Some(5)), (FaultKind::OtherHistory, Some(8))];
    assert_eq!(kinds, expected);
}

#[test]
fn a_head_that_was_changed_is_named() {
    let log = log();
    let mut lines = whole(&log);
    lines[0] = lines[0].replace("\"last\":8", "\"last\":7");
    lines.pop();
    let report = check(&log, &lines);
    assert_eq!(report.faults[0].kind, FaultKind::HeadChanged);
    let mut lines = whole(&log);
    lines.extend(whole(&log));
    assert_eq!(check(&log, &lines).faults[0].kind, FaultKind::OtherHead);
}

#[test]
fn a_part_of_the_log_passes_and_says_that_it_is_one() {
    let log = log();
    let database = kept(&log, ENTRIES);
    let minute = |n| Some(start() + SignedDuration::from_mins(n));
    for (from, to, first, last) in [
        (minute(2), None, 3, 8),
        (None, minute(2), 1, 2),
        (minute(2), minute(5), 3, 5),
        (Some(start() + SignedDuration::from_millis(60_001)), minute(3), 3, 3),
    ] {
        let report = check(&log, &export(&log, &database, from, to));
        assert_eq!(report.faults, []);
        let ends = (report.first.unwrap().seq, report.last.unwrap().seq, report.newest);
        assert_eq!(ends, (first, last, Some(8)));
    }
    let report = check(&log, &export(&log, &database, minute(5), minute(5)));
    assert!(report.is_sound && report.entries == 0);
    // A part that lost its start is not one that begins later.
    let mut lines = export(&log, &database, minute(2), None);
    lines.remove(1);
    assert_only(&check(&log, &lines), FaultKind::Missing, 3, "entry 3 is missing before entry 4");
}

#[test]
fn an_entry_known_from_before_must_be_there() {
    let log = log();
    let database = kept(&log, ENTRIES);
    let known = check(&log, &whole(&log)).last.unwrap().hash;
    let with = |known: &Hash| With {
        keys: vec![log.public_key().clone()],
        known: Some(crate::digest::hex(known)),
    };
    let from = Some(start() + SignedDuration::from_mins(4));
    let part = export(&log, &database, from, None);
    assert!(check_with(&part, with(&known)).is_sound);
    // The part begins right after this one.
    let before = check(&log, &export(&log, &database, None, from)).last.unwrap();
    assert_eq!(before.seq, 4);
    assert!(check_with(&part, with(&before.hash)).is_sound);
    // The node's key can sign another past, but not one with the same digests.
    let rewritten = kept(&log, 0);
    let write = rewritten.begin_write().unwrap();
    for _ in 0..=ENTRIES {
        log.append(&write, start(), "someone", &Act::Exported).unwrap();
    }
    write.commit().unwrap();
    let report = check_with(&export(&log, &rewritten, None, None), with(&known));
    let kinds: Vec<_> = report.faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::KnownNotFound]);
}

#[test]
fn a_clock_that_was_set_back_leaves_no_gap_in_a_part() {
    let log = log();
    let database = kept(&log, 4);
    let write = database.begin_write().unwrap();
    let earlier = start() - SignedDuration::from_hours(5);
    for _ in 0..2 {
        log.append(&write, earlier, "someone", &Act::Exported).unwrap();
    }
    log.append(&write, start() + SignedDuration::from_hours(1), "x", &Act::Exported).unwrap();
    write.commit().unwrap();
    let from = Some(start() + SignedDuration::from_mins(2));
    let report = check(&log, &export(&log, &database, from, None));
    assert!(report.is_sound, "{:?}", report.faults);
    assert_eq!((report.first.unwrap().seq, report.last.unwrap().seq), (3, 7));
}

#[test]
fn too_much_that_is_wrong_ends_the_check() {
    let log = log();
    let lines: Vec<String> = (0..5_000).map(|n| format!("nonsense {n}")).collect();
    let report = check(&log, &lines);
    assert!(report.gave_up && report.faults.len() == FAULTS_MAX);
    // Every other entry is missing.
    let lines = export(&log, &kept(&log, 2_100), None, None);
    let report = check(&log, &lines.into_iter().step_by(2).collect::<Vec<_>>());
    assert!(report.gave_up && report.faults.len() == FAULTS_MAX);
    assert!(report.faults.iter().all(|fault| fault.kind == FaultKind::Missing));
    let endless = io::repeat(b'x');
    let error = verify(io::BufReader::new(endless), With::default()).unwrap_err();
    assert!(error.to_string().contains("line 1 is longer"), "{error}");
}
