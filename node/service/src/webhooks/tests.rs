//! Days in the life of webhooks: a real node on a clock that the tests drive, and a real server.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::RecordingId;
use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::names::Container;
use holdfast_core::recording::{Event, Metadata, Recording, Source, State};
use holdfast_core::{Lane, step};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;

use super::message::Message;
use super::outbox::{LOGGED_TIME, Outbox, WAITING_MAX};
use super::schedule::WINDOW;
use super::{Delivery, DeliveryState, log, worker};
use crate::clock::{Clock, Hands};
use crate::config::Config;
use crate::node::Node;
use crate::settings::Kind;
use receiver::{Receiver, Reply, until};

mod failed;
#[path = "../../tests/webhooks/receiver.rs"]
mod receiver;

const HOOK: &str = "hook";
const IP: &str = "198.51.100.7";

struct Days {
    _dir: TempDir,
    hands: Hands,
    node: Arc<Node>,
    receiver: Receiver,
}

impl Days {
    async fn new() -> Self {
        let days = Self::without_worker().await;
        tokio::spawn(worker::run(Arc::clone(&days.node)));
        days
    }

    async fn without_worker() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_str().unwrap();
        for folder in ["state", "vault"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let text = format!(
            "[node]\nstate_path = \"{at}/state\"\n[vault]\npath = \"{at}/vault\"\nfree_bytes_min = 0\n\
             [notify]\nprivate_targets = true\nplain_http = true\n\
             [[environments]]\nid = \"demo\"\nhash = \"h\"\n"
        );
        let config = Config::parse(&text, dir.path()).unwrap();
        let hands = Hands::at(Timestamp::from_second(1_764_000_000).unwrap());
        let node = Node::open(config, Clock::driven(&hands)).unwrap();
        let days = Self { _dir: dir, hands, node, receiver: Receiver::start().await };
        days.make(json!({})).await;
        days
    }

    async fn make(&self, more: serde_json::Value) {
        let mut given = json!({
            "id": HOOK, "env_id": "demo", "url": self.receiver.url(),
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        });
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let given = given.as_object().unwrap().clone();
        self.node.settings.create(&self.node, "tests", Kind::Webhook, given).await.unwrap();
    }

    async fn change(&self, patch: serde_json::Value) {
        let patch = patch.as_object().unwrap().clone();
        let changing = self.node.settings.change(&self.node, "tests", Kind::Webhook, HOOK, patch);
        changing.await.unwrap();
    }

    fn now(&self) -> Timestamp {
        self.node.clock.now()
    }

    /// Time passes, and a commit wakes whoever waits for it.
    async fn pass(&self, time: SignedDuration) {
        self.hands.pass(Duration::try_from(time).unwrap());
        self.node.ledger.write(|_| Ok(())).await.unwrap();
    }

    /// A recording that its client left, five minutes after it did; answers with its id.
    async fn recovered(&self, seed: u8) -> RecordingId {
        let id = self.left(seed).await;
        self.apply(id, recovery()).await;
        id
    }

    /// The same before it is recovered.
    async fn left(&self, seed: u8) -> RecordingId {
        let began = self.now();
        let id = RecordingId::new(u64::try_from(began.as_millisecond()).unwrap(), [seed; 10]);
        let settings = &self.node.settings;
        let policy = settings.policy(&settings.environment("demo").unwrap());
        let metadata = Metadata { ip: Some(IP.into()), ..Metadata::default() };
        let rec = Recording::new(id, "demo".into(), Source::Stream, policy, metadata, began);
        self.node.ledger.insert(rec).await.unwrap();
        self.apply(id, Event::Detached).await;
        self.pass(SignedDuration::from_mins(5)).await;
        id
    }

    async fn apply(&self, id: RecordingId, event: Event) {
        self.node.ledger.apply(id, event, self.now()).await.unwrap();
    }

    fn deliveries(&self) -> Vec<Delivery> {
        self.node.webhooks.deliveries(&self.node, HOOK, None, 200).unwrap().0
    }

    fn waiting(&self) -> u64 {
        self.node.webhooks.health(&self.node, HOOK).unwrap().waiting
    }

    /// Lets time jump from attempt to attempt until nothing waits; the instants of all requests.
    async fn live_through(&self) {
        while self.waiting() > 0 {
            let due = self.deliveries().iter().filter_map(|one| one.next_at).min();
            let due = due.unwrap_or_else(|| self.now());
            let tried = |all: Vec<Delivery>| all.iter().map(|one| one.attempts).sum::<u32>();
            let (before, left) = (tried(self.deliveries()), self.waiting());
            self.pass(due.duration_since(self.now()).max(SignedDuration::ZERO)).await;
            until("the next attempt", || {
                (tried(self.deliveries()) > before || self.waiting() < left).then_some(())
            })
            .await;
        }
    }
}

fn recovery() -> Event {
    Event::Recovered { bytes: 7, sha256: "5e".into(), container: Some(Container::Webm) }
}

#[tokio::test]
async fn what_was_recovered_and_what_fails_for_good_is_told() {
    let days = Days::new().await;
    let id = days.recovered(1).await;
    let got = days.receiver.has(2).await;
    assert_eq!(days.receiver.events(id), ["video_recorded", "recording.recovered"]);
    assert_eq!(got[0].json()["data"]["metadata"]["ip"], IP);
    assert_eq!(got[1].json()["data"]["recovered"], true);
    while days.node.ledger.get(id).unwrap().unwrap().state != State::Failed {
        days.apply(id, Event::Due(Lane::Process)).await;
        let (fault, sentence) = (Fault::Customers, "the decoder gave up".into());
        let failure = Failure { fault, sentence, at: days.now() };
        days.apply(id, Event::TranscodeFailed(failure)).await;
        days.pass(SignedDuration::from_hours(24)).await;
    }
    let failed = &days.receiver.has(3).await[2];
    assert_eq!(failed.event(), "recording.failed");
    let data = &failed.json()["data"];
    assert_eq!(
        (&data["step"], &data["error"]["fault"]),
        (&json!("transcode"), &json!("customers"))
    );
    assert!(!failed.json().to_string().contains(IP), "told once, with the first event");
}

#[tokio::test]
async fn after_ten_attempts_in_72_hours_it_is_given_up_and_the_next_has_its_turn() {
    let days = Days::new().await;
    days.receiver.answers(|_| Reply::Status(503, "later"));
    days.recovered(1).await;
    let happened = days.now();
    days.live_through().await;
    let all = days.deliveries();
    let (first, second) = (&all[1], &all[0]);
    assert_eq!(
        (first.event.as_str(), second.event.as_str()),
        ("video_recorded", "recording.recovered")
    );
    assert_eq!((first.state, first.attempts, first.status), (DeliveryState::Failed, 10, Some(503)));
    let waits: Vec<i64> =
        first.tries.windows(2).map(|two| two[1].at.duration_since(two[0].at).as_secs()).collect();
    for (wait, nominal) in waits.iter().zip([5, 300, 1_800, 7_200, 18_000, 36_000, 50_400]) {
        assert!((nominal * 8 / 10 - 1..=nominal).contains(wait), "{waits:?}");
    }
    // The second had to wait for the first; what was left of its 72 hours was its own.
    assert_eq!(second.state, DeliveryState::Failed);
    assert!(second.attempts >= 1 && second.tries[0].at >= first.tries[9].at, "{second:?}");
    assert!(all.iter().flat_map(|one| &one.tries).all(|one| one.at <= happened + WINDOW));
    // By hand it is tried once, however long ago that was.
    days.pass(SignedDuration::from_hours(100)).await;
    days.node.webhooks.redeliver(&days.node, HOOK, &first.id).await.unwrap();
    days.live_through().await;
    assert_eq!(
        (days.deliveries()[1].attempts, days.deliveries()[1].state),
        (11, DeliveryState::Failed)
    );
}

#[tokio::test]
async fn what_waits_for_a_webhook_that_is_off_has_72_hours() {
    let days = Days::new().await;
    days.receiver.answers(|_| Reply::Status(500, ""));
    days.recovered(1).await;
    until("a failure", || days.deliveries().iter().any(|one| one.attempts > 0).then_some(())).await;
    days.change(json!({ "enabled": false })).await;
    let sent = days.receiver.got().len();
    days.receiver.answers(|_| Reply::Status(200, ""));
    // Not told while it is off, also later.
    let unheard = days.recovered(2).await;
    days.pass(WINDOW - SignedDuration::from_mins(10)).await;
    assert_eq!(days.waiting(), 2);
    days.pass(SignedDuration::from_mins(10)).await;
    until("it to be given up", || (days.waiting() == 0).then_some(())).await;
    assert!(days.deliveries().iter().all(|one| one.state == DeliveryState::Failed));
    days.change(json!({ "enabled": true })).await;
    let heard = days.recovered(3).await;
    days.receiver.has(sent + 2).await;
    assert_eq!(days.receiver.events(heard).len(), 2);
    assert!(days.receiver.events(unheard).is_empty());
}

#[tokio::test]
async fn what_waits_survives_being_off_for_a_while() {
    let days = Days::new().await;
    days.receiver.answers(|_| Reply::Status(500, ""));
    let id = days.recovered(1).await;
    until("a failure", || days.deliveries().iter().any(|one| one.attempts > 0).then_some(())).await;
    days.change(json!({ "enabled": false })).await;
    days.receiver.answers(|_| Reply::Status(200, ""));
    days.pass(SignedDuration::from_hours(24)).await;
    days.change(json!({ "enabled": true })).await;
    until("both", || (days.waiting() == 0).then_some(())).await;
    assert!(days.deliveries().iter().all(|one| one.state == DeliveryState::Delivered));
    let (recorded, recovered) = ("video_recorded", "recording.recovered");
    assert_eq!(days.receiver.events(id), [recorded, recorded, recovered]);
}

#[tokio::test]
async fn a_full_backlog_is_said_and_holds_up_nothing() {
    let days = Days::new().await;
    days.change(json!({ "url": "http://127.0.0.1:1/" })).await;
    days.recovered(1).await;
    until("a failure", || days.deliveries().iter().any(|one| one.attempts > 0).then_some(())).await;
    let filling = days.node.ledger.write(|write| {
        let mut outbox = Outbox::open(write)?;
        let mut row = outbox.hook(HOOK)?.unwrap();
        row.waiting = WAITING_MAX - 1;
        outbox.put_hook(HOOK, &row)
    });
    filling.await.unwrap();
    let last = days.recovered(2).await;
    assert_eq!(days.node.ledger.get(last).unwrap().unwrap().state, State::Saved);
    let all = days.deliveries();
    let dropped = all.iter().find(|one| one.event == "recording.recovered").unwrap();
    assert_eq!((dropped.state, dropped.attempts), (DeliveryState::Failed, 0));
    assert!(dropped.error.as_ref().unwrap().contains("100000 others were waiting"));
    // It can still be sent by hand, once there is room.
    days.node.webhooks.redeliver(&days.node, HOOK, &dropped.id).await.unwrap();
}

#[tokio::test]
async fn what_ended_is_kept_for_30_days_and_ten_thousand_at_most() {
    let days = Days::new().await;
    days.recovered(1).await;
    days.receiver.has(2).await;
    until("both", || (days.waiting() == 0).then_some(())).await;
    days.pass(LOGGED_TIME - SignedDuration::from_mins(1)).await;
    assert_eq!(days.deliveries().len(), 2);
    days.pass(SignedDuration::from_mins(2)).await;
    until("the log to be pruned", || days.deliveries().is_empty().then_some(())).await;
    let now = days.now();
    let noting = days.node.ledger.write(move |write| {
        let mut outbox = Outbox::open(write)?;
        for _ in 0..10_050 {
            let mut message = Message::new("webhook.ping", None, json!({}), now);
            message.state = DeliveryState::Delivered;
            let key = outbox.reserve(HOOK, &mut message)?;
            outbox.note(HOOK, key, &mut message, now)?;
        }
        Ok(outbox.hook(HOOK)?.unwrap().logged)
    });
    assert_eq!(noting.await.unwrap(), 10_000);
}

#[tokio::test]
async fn a_webhook_that_is_deleted_leaves_nothing_and_a_new_one_inherits_nothing() {
    let days = Days::new().await;
    days.receiver.answers(|_| Reply::Status(500, ""));
    for seed in 1..=3 {
        days.recovered(seed).await;
    }
    assert_eq!(days.waiting(), 6);
    days.node.settings.delete(&days.node, "tests", Kind::Webhook, HOOK).await.unwrap();
    let is_clear = || {
        let read = |read: &_| Ok((log::has_orphans(read)?, log::ids(read)?));
        let (orphans, ids) = days.node.ledger.read(read).unwrap();
        (!orphans && ids.is_empty()).then_some(())
    };
    until("all of it to be cleared away", is_clear).await;
    days.receiver.answers(|_| Reply::Status(200, ""));
    days.make(json!({})).await;
    assert!(days.deliveries().is_empty() && days.waiting() == 0);
    let sent = days.receiver.got().len();
    days.pass(SignedDuration::from_hours(1)).await;
    let heard = days.recovered(4).await;
    days.receiver.has(sent + 2).await;
    assert_eq!(days.receiver.events(heard).len(), 2);
}

#[tokio::test]
async fn personal_data_is_not_kept_for_what_waits() {
    let days = Days::new().await;
    days.receiver.answers(|_| Reply::Status(500, ""));
    let id = days.recovered(1).await;
    let got = days.receiver.has(1).await;
    assert_eq!(got[0].json()["data"]["metadata"]["ip"], IP);
    until("a failure", || days.deliveries().iter().any(|one| one.attempts > 0).then_some(())).await;
    let kept = days.node.ledger.read(|read| {
        let row = log::hook(read, HOOK)?.unwrap();
        let of = |number| log::message(read, row.number, number).map(Option::unwrap);
        Ok(format!("{}{}", of(0)?.payload, of(1)?.payload))
    });
    assert!(!kept.unwrap().contains(IP));
    // Once the recording is deleted and gone, what is still to be told tells nothing of the person.
    days.apply(id, Event::DeleteRequested { by: "tests".into() }).await;
    days.apply(id, Event::Due(Lane::Retain)).await;
    let kinds = vec![holdfast_core::recording::FileKind::Raw];
    days.apply(id, Event::FilesDeleted(kinds)).await;
    days.receiver.answers(|_| Reply::Status(200, ""));
    days.live_through().await;
    let events = days.receiver.events(id);
    assert_eq!(events.last().unwrap(), "recording.deleted");
    let told = days.receiver.got().split_off(events.len() - 3);
    assert!(told.iter().all(|got| !got.json().to_string().contains(IP)), "{told:?}");
}

#[tokio::test]
async fn the_old_secret_signs_for_24_hours() {
    let days = Days::new().await;
    days.node.settings.rotate(&days.node, "tests", HOOK).await.unwrap();
    let signatures = async |days: &Days| {
        days.node.webhooks.ping(&days.node, "tests", HOOK).await.unwrap();
        let got = days.receiver.got();
        got.last().unwrap().header("webhook-signature").split(' ').count()
    };
    days.pass(SignedDuration::from_hours(24) - SignedDuration::from_secs(1)).await;
    assert_eq!(signatures(&days).await, 2);
    days.pass(SignedDuration::from_secs(1)).await;
    assert_eq!(signatures(&days).await, 1);
}

#[tokio::test]
async fn what_is_taken_in_again_from_the_vault_is_not_told_again() {
    let days = Days::new().await;
    let known = days.recovered(1).await;
    days.receiver.has(2).await;
    let mut rec = days.node.ledger.get(known).unwrap().unwrap();
    rec.id = RecordingId::new(1_764_000_000_000, [9; 10]);
    let later = step(&rec, Event::Due(Lane::Process), days.now()).0;
    days.node.ledger.insert(later).await.unwrap();
    let next = days.recovered(2).await;
    days.receiver.has(4).await;
    assert_eq!(days.receiver.events(next).len(), 2);
    assert!(days.receiver.events(rec.id).is_empty());
}

#[tokio::test]
async fn what_is_committed_late_is_not_missed_however_often_it_was_looked_for() {
    let days = Days::without_worker().await;
    let mut worker = worker::Worker::new(Arc::clone(&days.node));
    worker.take_over().await.unwrap();
    let id = days.left(1).await;
    worker.round().await.unwrap();
    worker.round().await.unwrap();
    assert!(worker.running.is_empty(), "there is nothing to tell yet");
    // A transaction that touches the outbox, and is not committed until it may be.
    let (begin, begins) = std::sync::mpsc::channel::<()>();
    let (commit, commits) = std::sync::mpsc::channel::<()>();
    let (touched, is_touched) = tokio::sync::oneshot::channel::<()>();
    let ledger = days.node.ledger.clone();
    let first = ledger.write(move |_| {
        begins.recv().unwrap();
        Ok(())
    });
    let recovered = ledger.apply(id, recovery(), days.now());
    let last = ledger.write(move |_| {
        touched.send(()).unwrap();
        commits.recv().unwrap();
        Ok(())
    });
    let looking = async {
        begin.send(()).unwrap();
        is_touched.await.unwrap();
        for _ in 0..3 {
            worker.round().await.unwrap();
        }
        assert!(worker.running.is_empty(), "what is not committed is not told");
        commit.send(()).unwrap();
    };
    let (first, recovered, last, ()) = tokio::join!(first, recovered, last, looking);
    first.unwrap();
    recovered.unwrap();
    last.unwrap();
    worker.round().await.unwrap();
    assert!(!worker.running.is_empty(), "it waits until something else happens");
}
