//! Each way to be deleted leaves one receipt.

use super::*;

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
