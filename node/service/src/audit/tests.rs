use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::job::Outputs;
use holdfast_core::names::Container;
use holdfast_core::push_order::Success;
use holdfast_core::recording::{Event, FileKind, Metadata, NewFile, Policy, Recording, Source};
use holdfast_core::recording::{State, Terms};
use holdfast_core::{Effect, Lane, RecordingId};
use jiff::SignedDuration;
use serde_json::Value;

use super::*;

/// What identifies a person in these tests; no line may hold any of it.
const PERSONAL: [&str; 8] = [
    "203.0.113.77",
    "Mozilla/5.0 (Nadia's telephone)",
    "https://shop.example/nadia",
    "Nadia's camera",
    "Nadia's microphone",
    "Nadia's birthday",
    "Nadia sues",
    "nadia.mp4",
];

/// A ledger with an audit log.
struct Home {
    folder: tempfile::TempDir,
    audit: AuditLog,
    ledger: Ledger,
    now: Timestamp,
}

fn audit_in(folder: &Path) -> AuditLog {
    AuditLog::new(&NodeKey::load_or_make(folder).unwrap()).unwrap()
}

fn policy() -> Policy {
    Policy {
        outputs: Outputs { mp4: true, snapshot: false, filmstrip: false },
        push_raw: false,
        destinations: vec!["far".into()],
        own: None,
        copies: false,
        folder: "demo".into(),
        store_nothing: false,
        success: Success::Main,
        reconnect_ms: 300_000,
        playback_ms: 60_000,
        zone: "Europe/Bucharest".into(),
    }
}

impl Home {
    fn new() -> Self {
        Self::watched(Vec::new())
    }

    /// With more observers, after the log's.
    fn watched(more: Vec<Arc<dyn Observer>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let audit = audit_in(folder.path());
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let observers = std::iter::once(audit.observer()).chain(more).collect();
        let ledger = Ledger::open(&path(folder.path()), now, observers).unwrap();
        Self { folder, audit, ledger, now }
    }

    /// One whose first byte has yet to arrive, with all that can identify a person.
    async fn began(&self, seed: u8, policy: Policy, source: Source) -> RecordingId {
        let ms = u64::try_from(self.now.as_millisecond()).unwrap();
        let id = RecordingId::new(ms, [seed; 10]);
        let of = |place: usize| Some(PERSONAL[place].to_owned());
        let metadata = Metadata {
            ip: of(0),
            user_agent: of(1),
            referrer: of(2),
            camera: of(3),
            microphone: of(4),
            title: of(5),
        };
        let rec = Recording::new(id, "demo".into(), source, policy, metadata, self.now);
        self.ledger.insert(rec).await.unwrap();
        id
    }

    async fn saved(&self, seed: u8, policy: Policy) -> RecordingId {
        let id = self.began(seed, policy, Source::Upload).await;
        let sha256 = format!("raw {seed}");
        self.event(id, Event::Stopped { bytes: 70, sha256, container: Some(Container::Webm) })
            .await;
        self.event(id, Event::Saved).await;
        id
    }

    async fn transcoded(&self, seed: u8, policy: Policy) -> RecordingId {
        let id = self.saved(seed, policy).await;
        self.event(id, Event::Due(Lane::Process)).await;
        let main =
            NewFile { kind: FileKind::Main, bytes: 40, sha256: Some(format!("main {seed}")) };
        self.event(id, Event::Transcoded { media: None, files: vec![main], remarks: Vec::new() })
            .await;
        id
    }

    async fn pushed(&self, seed: u8, policy: Policy) -> RecordingId {
        let destination = policy.destinations[0].clone();
        let id = self.transcoded(seed, policy).await;
        self.event(id, Event::Due(Lane::Deliver)).await;
        let location = PERSONAL[7].to_owned();
        self.event(id, Event::FilePushed { destination, kind: FileKind::Main, location }).await;
        self.event(id, Event::PushEnded { failure: None }).await;
        id
    }

    async fn event(&self, id: RecordingId, event: Event) -> Vec<Effect> {
        self.at(self.now, id, event).await
    }

    async fn at(&self, now: Timestamp, id: RecordingId, event: Event) -> Vec<Effect> {
        self.ledger.apply(id, event, now).await.unwrap().1
    }

    /// Deletes what is due by then, as the lanes do; answers which files.
    async fn retain(&self, id: RecordingId, days: i64) -> Vec<FileKind> {
        let now = self.now + SignedDuration::from_hours(24 * days);
        self.at(now, id, Event::Due(Lane::Expire)).await;
        for effect in self.at(now, id, Event::Due(Lane::Retain)).await {
            if let Effect::Delete { kinds, .. } = effect {
                self.at(now, id, Event::FilesDeleted(kinds.clone())).await;
                return kinds;
            }
        }
        Vec::new()
    }

    async fn fail(&self, id: RecordingId, lane: Lane) {
        for _ in 0..20 {
            let rec = self.ledger.get(id).unwrap().unwrap();
            if rec.state == State::Failed {
                return;
            }
            let due = holdfast_core::recording::due(&rec, lane).unwrap().max(self.now);
            self.at(due, id, Event::Due(lane)).await;
            let failure =
                Failure { fault: Fault::Customers, sentence: PERSONAL[7].into(), at: due };
            let event = match lane {
                Lane::Process => Event::TranscodeFailed(failure),
                _ => Event::PushEnded { failure: Some(failure) },
            };
            self.at(due, id, event).await;
        }
        panic!("it never fails for good");
    }

    /// Every entry, in order.
    fn entries(&self) -> Vec<Value> {
        entries(&self.audit, &self.ledger)
    }

    /// What was done, by entries of this kind.
    fn of(&self, act: &str) -> Vec<Value> {
        self.entries().into_iter().filter(|entry| entry["what"]["act"] == act).collect()
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("ledger.redb")
}

fn export(audit: &AuditLog, ledger: &Ledger) -> String {
    let stretch = audit.stretch(ledger, None, None).unwrap();
    let mut lines = audit.head_line(&stretch, Timestamp::UNIX_EPOCH).unwrap();
    let mut from = 1;
    while let Some((page, next)) = audit.page(ledger, &stretch, from).unwrap() {
        lines.extend(page);
        from = next;
    }
    String::from_utf8(lines).unwrap()
}

/// Every entry, after the export was verified.
fn entries(audit: &AuditLog, ledger: &Ledger) -> Vec<Value> {
    let text = export(audit, ledger);
    let with = verify::With { keys: vec![audit.public_key().clone()], known: None };
    let report = verify::verify(text.as_bytes(), with).unwrap();
    assert!(report.is_sound, "{:?}", report.faults);
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The writer's thread closes the file a moment after the last handle is gone.
async fn reopen(folder: &Path, audit: &AuditLog, now: Timestamp) -> Ledger {
    for _ in 0..1_000 {
        if let Ok(ledger) = Ledger::open(&path(folder), now, vec![audit.observer()]) {
            return ledger;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the ledger is not let go");
}

/// A recording of which files go by one rule, and what its receipt must say.
struct Case {
    id: RecordingId,
    days: i64,
    rule: &'static str,
    number: &'static str,
    by: &'static str,
    files: Value,
}

impl Case {
    /// Its receipt must be there once, and say this.
    async fn assert(self, home: &Home) {
        let before = home.of("files_deleted").len();
        assert!(!home.retain(self.id, self.days).await.is_empty(), "{}", self.rule);
        let receipts = home.of("files_deleted").split_off(before);
        let what = receipts.iter().find(|entry| entry["what"]["rule"] == self.rule).unwrap();
        assert_eq!(what["by"], self.by, "{what}");
        let expected = serde_json::json!({
            "act": "files_deleted",
            "recording": self.id,
            "env_id": "demo",
            "rule": self.rule,
            "rule_number": self.number,
            "files": self.files,
        });
        assert_eq!(what["what"], expected);
        // Once only, however often it is noted.
        let all = [FileKind::Raw, FileKind::Main];
        home.event(self.id, Event::FilesDeleted(all.to_vec())).await;
        let again = home.of("files_deleted").split_off(before);
        let once = again.iter().filter(|entry| entry["what"]["rule"] == self.rule).count();
        assert_eq!(once, 1, "{again:?}");
    }
}

fn raw(seed: u8) -> Value {
    serde_json::json!({ "kind": "raw", "bytes": 70, "sha256": format!("raw {seed}") })
}

fn main(seed: u8) -> Value {
    serde_json::json!({ "kind": "main", "bytes": 40, "sha256": format!("main {seed}") })
}

fn files(files: &[Value]) -> Value {
    Value::Array(files.to_vec())
}

#[tokio::test]
async fn what_goes_by_hand_or_by_what_was_done_has_its_receipt() {
    let home = Home::new();
    // 3.1 and 5 at once: one receipt for each rule.
    for (rule, number, files) in
        [("processed", "3.1", files(&[raw(1)])), ("pushed", "5", files(&[main(2)]))]
    {
        let seed = if rule == "processed" { 1 } else { 2 };
        let id = home.pushed(seed, policy()).await;
        Case { id, days: 0, rule, number, by: "node", files }.assert(&home).await;
    }
    let stores_nothing = Policy { store_nothing: true, ..policy() };
    let id = home.pushed(3, stores_nothing).await;
    let (rule, number) = ("store_nothing", "5");
    Case { id, days: 0, rule, number, by: "node", files: files(&[main(3)]) }.assert(&home).await;
    let id = home.transcoded(4, policy()).await;
    home.event(id, Event::DeleteRequested { by: "the shop".into() }).await;
    let all = files(&[main(4), raw(4)]);
    let (rule, number) = ("requested", "8");
    Case { id, days: 0, rule, number, by: "the shop", files: all }.assert(&home).await;
    let asked = home.of("deletion_requested");
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(
        (&asked["by"], &asked["what"]["recording"]),
        (&"the shop".into(), &id.to_string().into())
    );
}

#[tokio::test]
async fn what_goes_by_time_has_its_receipt() {
    let home = Home::new();
    let id = home.saved(1, policy()).await;
    home.fail(id, Lane::Process).await;
    let (rule, number, by) = ("transcode_failed", "6", "node");
    Case { id, days: 29, rule, number, by, files: files(&[raw(1)]) }.assert(&home).await;
    let id = home.transcoded(2, policy()).await;
    home.fail(id, Lane::Deliver).await;
    let (rule, number) = ("push_failed", "6");
    // The raw file went as soon as it was processed.
    home.retain(id, 1).await;
    Case { id, days: 29, rule, number, by, files: files(&[main(2)]) }.assert(&home).await;
    let kept_here = Policy { destinations: Vec::new(), ..policy() };
    for (seed, terms, rule, number) in [
        (
            3,
            Terms { account_expires_at: Some(home.now), lifecycle_days: None },
            "account_expired",
            "7",
        ),
        (4, Terms { account_expires_at: None, lifecycle_days: Some(10) }, "lifecycle", "8"),
    ] {
        let id = home.transcoded(seed, kept_here.clone()).await;
        home.event(id, Event::Due(Lane::Deliver)).await;
        home.event(id, Event::PushEnded { failure: None }).await;
        home.retain(id, 1).await;
        home.event(id, Event::TermsChanged(terms)).await;
        Case { id, days: 29, rule, number, by, files: files(&[main(seed)]) }.assert(&home).await;
    }
}

#[tokio::test]
async fn what_never_was_a_recording_has_its_receipt() {
    let home = Home::new();
    let gone = |bytes: Option<u64>| {
        files(&[serde_json::json!({ "kind": "raw", "bytes": bytes, "sha256": null })])
    };
    // An upload that broke off: nobody noted how much of it had come.
    let id = home.began(1, policy(), Source::Upload).await;
    home.event(id, Event::Rejected).await;
    let (rule, number, by) = ("garbage", "3.2", "node");
    Case { id, days: 0, rule, number, by, files: gone(None) }.assert(&home).await;
    // A stream: as much as was acknowledged.
    let id = home.began(2, policy(), Source::Stream).await;
    home.ledger.note_offsets(vec![(id, 33)], home.now).await.unwrap();
    home.event(id, Event::Rejected).await;
    Case { id, days: 0, rule, number, by, files: gone(Some(33)) }.assert(&home).await;
    // A folder that the ledger does not know.
    let ms = u64::try_from(home.now.as_millisecond()).unwrap();
    let id = RecordingId::new(ms, [3; 10]);
    let (of, metadata) = ("demo".into(), Metadata::default());
    let mut rec = Recording::new(id, of, Source::Upload, policy(), metadata, home.now);
    rec.state = State::Unknown;
    home.ledger.insert(rec).await.unwrap();
    let (rule, number) = ("unknown", "3.3");
    Case { id, days: 1, rule, number, by, files: gone(None) }.assert(&home).await;
}

#[tokio::test]
async fn what_goes_from_our_own_storage_has_its_receipt() {
    let home = Home::new();
    let own = Policy { own: Some("far".into()), push_raw: true, ..policy() };
    let id = home.pushed(1, own).await;
    home.event(id, Event::DeleteRequested { by: "the shop".into() }).await;
    home.retain(id, 0).await;
    let destination = || "far".to_owned();
    for _ in 0..2 {
        for kind in [FileKind::Main, FileKind::Raw] {
            home.event(id, Event::Withdrawn { destination: destination(), kind }).await;
        }
    }
    let receipts = home.of("withdrawn");
    let [noted, swept] = &receipts[..] else { panic!("{receipts:?}") };
    let expected = |noted: bool, file: Value| {
        serde_json::json!({
            "act": "withdrawn", "recording": id, "env_id": "demo", "rule": "requested",
            "rule_number": "8", "destination": "far", "noted": noted, "files": [file],
        })
    };
    assert_eq!(noted["what"], expected(true, main(1)));
    // It was never noted as pushed, and may have got there all the same.
    assert_eq!(swept["what"], expected(false, raw(1)));
    assert_eq!(noted["by"], "the shop");
}

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
