//! Holds, transactions, restarts, keys and the configuration file.

use super::*;

#[tokio::test]
async fn holds_and_requests_say_who_and_nothing_of_why() {
    let home = Home::new();
    let id = home.saved(1, policy()).await;
    let reason = PERSONAL[6].to_owned();
    home.event(id, Event::HoldLifted { by: "too early".into() }).await;
    home.event(id, Event::HoldSet { by: "the counsel".into(), reason }).await;
    home.event(id, Event::DeleteRequested { by: "in vain".into() }).await;
    home.event(id, Event::HoldLifted { by: "the judge".into() }).await;
    home.event(id, Event::RetryRequested { by: "the shop".into() }).await;
    let said: Vec<String> =
        home.entries().iter().map(|entry| format!("{} {}", entry["by"], entry["what"])).collect();
    let of = |by: &str, act: &str| {
        format!(r#""{by}" {{"act":"{act}","env_id":"demo","recording":"{id}"}}"#)
    };
    let expected = [of("the counsel", "hold_set"), of("the judge", "hold_lifted")];
    assert_eq!(said[..2], expected);
    assert!(said[2..].iter().all(|more| *more == of("the shop", "retry_requested")), "{said:?}");
}

/// Says no, once it is told to.
#[derive(Debug, Default)]
struct SaysNo(AtomicBool);

impl Observer for SaysNo {
    fn changed(&self, _write: &WriteTransaction, change: &Change<'_>) -> Result<(), LedgerError> {
        let is_deletion = matches!(change.events, [Event::FilesDeleted(_)]);
        if is_deletion && self.0.load(Ordering::Relaxed) {
            return Err(LedgerError::Write("no".into()));
        }
        Ok(())
    }
}

#[tokio::test]
async fn there_is_a_receipt_if_and_only_if_there_is_the_fact() {
    let no = Arc::new(SaysNo::default());
    let home = Home::watched(vec![Arc::clone(&no) as Arc<dyn Observer>]);
    let id = home.saved(1, policy()).await;
    home.event(id, Event::DeleteRequested { by: "x".into() }).await;
    home.event(id, Event::Due(Lane::Retain)).await;
    no.0.store(true, Ordering::Relaxed);
    let deleted = Event::FilesDeleted(vec![FileKind::Raw]);
    home.ledger.apply(id, deleted.clone(), home.now).await.unwrap_err();
    let file = |home: &Home| home.ledger.get(id).unwrap().unwrap().files[0].clone();
    assert!(file(&home).deleted_at.is_none());
    assert_eq!(home.of("files_deleted"), Vec::<Value>::new());
    no.0.store(false, Ordering::Relaxed);
    home.event(id, deleted).await;
    assert!(file(&home).deleted_at.is_some());
    assert_eq!(home.of("files_deleted").len(), 1);
}

#[tokio::test]
async fn nothing_in_the_log_identifies_a_person() {
    let home = Home::new();
    for seed in 1..=3 {
        let own = Policy { own: Some("far".into()), ..policy() };
        let id = home.pushed(seed, own).await;
        home.event(id, Event::HoldSet { by: "x".into(), reason: PERSONAL[6].into() }).await;
        home.event(id, Event::HoldLifted { by: "x".into() }).await;
        home.event(id, Event::DeleteRequested { by: "x".into() }).await;
        home.retain(id, 0).await;
        let destination = "far".into();
        home.event(id, Event::Withdrawn { destination, kind: FileKind::Main }).await;
    }
    let failed = home.saved(4, policy()).await;
    home.fail(failed, Lane::Process).await;
    home.retain(failed, 29).await;
    let text = export(&home.audit, &home.ledger);
    assert!(text.lines().count() > 15, "{text}");
    for personal in PERSONAL {
        assert!(!text.contains(personal), "{personal}");
    }
}

#[tokio::test]
async fn receipts_outlive_the_entry_and_the_node() {
    let home = Home::new();
    let id = home.saved(1, policy()).await;
    home.event(id, Event::DeleteRequested { by: "x".into() }).await;
    home.retain(id, 0).await;
    home.ledger.forget(id).await.unwrap();
    assert_eq!(home.ledger.get(id).unwrap(), None);
    let before = home.entries();
    assert_eq!(before.len(), 2);
    let Home { folder, audit, ledger, now } = home;
    drop(ledger);
    let ledger = reopen(folder.path(), &audit, now).await;
    assert_eq!(entries(&audit, &ledger), before);
    let appended = ledger.write({
        let audit = audit.clone();
        move |write| audit.append(write, now, "x", &Act::Exported)
    });
    appended.await.unwrap();
    assert_eq!(entries(&audit, &ledger).len(), 3);
}

#[tokio::test]
async fn a_key_that_was_replaced_is_said_so_and_both_together_check_the_log() {
    let Home { folder, audit, ledger, now } = Home::new();
    let text = format!("[vault]\npath = \"{}\"\n", folder.path().display());
    let config = Config::parse(&text, Path::new("x.toml")).unwrap();
    audit.note_start(&ledger, &config, now).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let new = audit_in(elsewhere.path());
    new.note_start(&ledger, &config, now).await.unwrap();
    let text = export(&new, &ledger);
    let acts: Vec<Value> = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["what"]["act"].clone())
        .collect();
    assert_eq!(acts, ["configured", "node_started", "key_replaced", "node_started"]);
    let check = |keys: &[&AuditLog]| {
        let keys = keys.iter().map(|log| log.public_key().clone()).collect();
        verify::verify(text.as_bytes(), verify::With { keys, known: None }).unwrap()
    };
    assert!(check(&[&audit, &new]).is_sound);
    let faults = check(&[&new]).faults;
    let said: Vec<_> = faults.iter().map(|fault| (fault.kind, fault.entry)).collect();
    let foreign = |seq| (verify::FaultKind::ForeignKey, Some(seq));
    assert_eq!(said, [foreign(1), foreign(2)]);
}

#[tokio::test]
async fn a_changed_configuration_file_is_said_so_without_its_values() {
    let Home { folder, audit, ledger, now } = Home::new();
    let text = format!("[vault]\npath = \"{}\"\n", folder.path().display());
    let before = Config::parse(&text, Path::new("x.toml")).unwrap();
    let mut after = before.clone();
    after.ingest.reconnect_ms += 4_321;
    for config in [&before, &before, &after, &after] {
        audit.note_start(&ledger, config, now).await.unwrap();
    }
    let all = entries(&audit, &ledger);
    let configured: Vec<_> =
        all.iter().filter(|entry| entry["what"]["act"] == "configured").collect();
    let [first, changed] = &configured[..] else { panic!("{all:?}") };
    assert_eq!(first["what"]["change"], "created");
    assert_eq!(changed["what"]["change"], "changed");
    assert_eq!(changed["what"]["members"], serde_json::json!(["ingest"]));
    assert_eq!(changed["by"], "configuration file");
}

#[tokio::test]
async fn each_section_of_the_file_is_said_by_its_name() {
    let Home { folder, audit, ledger, now } = Home::new();
    let vault = format!("[vault]\npath = \"{}\"\n", folder.path().display());
    let note = async |more: &str| {
        let config = Config::parse(&format!("{vault}{more}"), Path::new("x.toml")).unwrap();
        audit.note_start(&ledger, &config, now).await.unwrap();
    };
    note("").await;
    let changes = [
        ("node", "[node]\nname = \"another\"\n"),
        ("vault", "free_bytes_min = 4321\n"),
        ("tls", "[tls]\nnames = [\"node.example\"]\n"),
        ("ingest", "[ingest]\nreconnect_ms = 4321\n"),
        ("transcode", "[transcode]\nlive = false\n"),
        ("deliver", "[deliver]\nplain_http = true\n"),
        ("operate", "[operate]\nrequests_burst = 4321\n"),
        ("notify", "[notify]\nprivate_targets = [\"10.1.0.0/16\"]\n"),
        ("notify", "[notify]\nplain_http = true\n"),
        ("notify", "[notify]\nca_file = \"/etc/holdfast/ca.pem\"\n"),
    ];
    for (_, change) in changes {
        // Changed, and changed back.
        note(change).await;
        note("").await;
    }
    let told: Vec<Value> = entries(&audit, &ledger)
        .into_iter()
        .filter(|entry| entry["what"]["act"] == "configured")
        .map(|entry| entry["what"]["members"].clone())
        .collect();
    let expected = changes.into_iter().flat_map(|(section, _)| [section; 2]);
    let expected: Vec<Value> = expected.map(|section| serde_json::json!([section])).collect();
    assert_eq!(told[1..], expected);
}

#[tokio::test]
async fn a_rebuild_with_another_key_says_so_and_takes_over_what_the_old_one_signed() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [before, after] = [&folders[0], &folders[1]].map(|folder| audit_in(folder.path()));
    let empty = || {
        let backend = redb::backends::InMemoryBackend::new();
        redb::Database::builder().create_with_backend(backend).unwrap()
    };
    let (old, new, now) = (empty(), empty(), Timestamp::UNIX_EPOCH);
    let write = old.begin_write().unwrap();
    before.append(&write, now, "x", &Act::Exported).unwrap();
    write.commit().unwrap();
    let write = new.begin_write().unwrap();
    let carried = after.carry_over(Some(&old), &write, now).unwrap();
    assert_eq!(carried, Carried { entries: 1, is_whole: true });
    write.commit().unwrap();
    let read = redb::ReadableDatabase::begin_read(&new).unwrap();
    let acts: Vec<Value> = chain::page(&read, 1, 9)
        .unwrap()
        .iter()
        .map(|row| serde_json::from_slice::<Value>(&row.line).unwrap()["what"]["act"].clone())
        .collect();
    assert_eq!(acts, ["exported", "key_replaced", "ledger_rebuilt"]);
}
