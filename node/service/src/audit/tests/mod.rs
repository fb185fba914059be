mod life;
mod receipts;

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
