//! Webhooks of a real node, sent to real servers: who hears of what, in which order, how often.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../operate_node/mod.rs"]
mod operate_node;
mod receiver;

mod api;
mod tls;
mod trouble;

use std::sync::Arc;

use holdfast::webhooks::sign::Signer;
use holdfast::webhooks::{Delivery, DeliveryState, worker};
use holdfast_core::RecordingId;
use holdfast_core::recording::FileKind;
use operate_node::Home;
use receiver::{Got, Receiver, Reply, until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// Lets webhooks reach the servers of these tests.
const HERE: &str = "\n[notify]\nprivate_targets = [\"127.0.0.0/8\"]\nplain_http = true\n";
const HOOKS: &str = "/api/v1/webhooks";

/// A home whose webhooks are delivered.
struct Delivering {
    home: Home,
    worker: JoinHandle<()>,
}

impl Delivering {
    fn new(more: &str) -> Self {
        Self::of(Home::with_more(&format!("{HERE}{more}")))
    }

    fn of(home: Home) -> Self {
        let worker = tokio::spawn(worker::run(Arc::clone(&home.node)));
        Self { home, worker }
    }

    /// The node's end, as a power cut has it, and its next start.
    async fn again(self) -> Self {
        self.worker.abort();
        let _ = self.worker.await;
        // What was being delivered is dropped by the runtime a moment later.
        until("the node to end", || (Arc::strong_count(&self.home.node) == 1).then_some(())).await;
        Self::of(self.home.again())
    }

    /// Makes a webhook; answers with its id and secret.
    async fn hook(&self, url: &str, env_id: &str, more: Value) -> (String, String) {
        let mut body = json!({ "url": url, "env_id": env_id });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.home.tell("POST", HOOKS, &body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let text = |member: &str| made.json()[member].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    async fn deliveries(&self, id: &str) -> Vec<Delivery> {
        let page = self.home.ask("GET", &format!("{HOOKS}/{id}/deliveries")).await.json();
        serde_json::from_value(page["deliveries"].clone()).unwrap()
    }

    /// Waits until the newest delivery of a webhook is as it should be.
    async fn newest(&self, id: &str, is: impl Fn(&Delivery) -> bool) -> Delivery {
        for _ in 0..6_000 {
            if let Some(newest) = self.deliveries(id).await.into_iter().next().filter(&is) {
                return newest;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("waited too long: {:?}", self.deliveries(id).await.first());
    }
}

fn is_tried(delivery: &Delivery) -> bool {
    delivery.attempts > 0
}

/// Asserts that both signatures are those that whoever has the secret expects.
fn assert_signed(got: &Got, url: &str, secret: &str, pipe_key: Option<&str>) {
    let secrets = [Zeroizing::new(secret.to_owned())];
    let signer = Signer::new(&secrets, pipe_key).unwrap();
    let at_s: i64 = got.header("webhook-timestamp").parse().unwrap();
    let expected = signer.standard(got.header("webhook-id"), at_s, &got.body);
    let signatures: Vec<&str> = got.header("webhook-signature").split(' ').collect();
    assert!(signatures.contains(&expected.as_str()), "{signatures:?}");
    let json = got.json().to_string();
    assert_eq!(got.header("x-pipe-signature"), signer.pipe(url, json.as_bytes()));
}

#[tokio::test]
async fn a_recordings_life_is_told_in_order_and_signed_twice() {
    let receiver = Receiver::start().await;
    let node = Delivering::new("");
    let (_, secret) = node.hook(&receiver.url(), "shelf", json!({ "pipe_key": "k" })).await;
    let id = node.home.delivered(1, "shelf").await;
    receiver.has(3).await;
    node.home.ask("DELETE", &format!("/api/v1/recordings/{id}")).await;
    node.home.retain(id).await;
    let got = receiver.has(4).await;
    let told = ["video_recorded", "video_converted", "video_copied_directory", "recording.deleted"];
    assert_eq!(receiver.events(id), told);
    for got in &got {
        assert_signed(got, &receiver.url(), &secret, Some("k"));
        assert_eq!(got.path, "/hooks?token=t");
        assert_eq!(got.header("content-type"), "application/json");
        let sent = got.json();
        assert_eq!((&sent["version"], &sent["type"]), (&json!("1.0"), &sent["event"]));
        assert_eq!(sent["data"]["env_id"], "shelf");
    }
    let recorded = &got[0].json()["data"];
    assert_eq!(recorded["sha256"], holdfast::digest::of(operate_node::RAW));
    assert_eq!(recorded["metadata"]["title"], "A \u{1b}[31mtitle");
    let copied = &got[2].json()["data"];
    assert_eq!(copied["destination"], "shelf");
    assert!(copied["location"].as_str().unwrap().ends_with("pushed.mp4"));
    let deleted = &got[3].json()["data"];
    assert_eq!((&deleted["rule"], &deleted["by"]), (&json!("requested"), &json!("tests")));
    assert!(deleted["metadata"].is_null() && deleted["name"].is_null(), "{deleted}");
    assert_eq!(deleted["files"][0]["sha256"], holdfast::digest::of(operate_node::MP4));
}

#[tokio::test]
async fn a_copy_in_a_bucket_is_called_by_its_kind() {
    let receiver = Receiver::start().await;
    let node = Delivering::new("");
    let chosen = json!({ "events": ["video_copied_s3", "video_copied_directory"] });
    node.hook(&receiver.url(), "store", chosen).await;
    let id = node.home.delivered(1, "store").await;
    let got = receiver.has(1).await;
    assert_eq!(receiver.events(id), ["video_copied_s3"]);
    let data = &got[0].json()["data"];
    assert_eq!(
        (&data["destination"], &data["location"]),
        (&json!("store"), &json!("s3://bucket/store/pushed.mp4"))
    );
}

#[tokio::test]
async fn video_converted_is_sent_where_an_mp4_is_made_and_not_where_mp4_is_off() {
    let receiver = Receiver::start().await;
    let node = Delivering::new("");
    for (seed, mp4, kind) in [(1, true, FileKind::Main), (2, false, FileKind::Snapshot)] {
        let env_id = format!("mp4-{mp4}");
        let environment = json!({ "id": env_id, "mp4": mp4, "filmstrip": false }).to_string();
        let made = node.home.tell("POST", "/api/v1/environments", &environment).await;
        assert_eq!(made.status, 201, "{}", made.text());
        node.hook(&receiver.url(), &env_id, json!({})).await;
        let id = node.home.transcoded(seed, &env_id, kind).await;
        // Events of a recording come in order: behind its deletion nothing is still to come.
        node.home.ask("DELETE", &format!("/api/v1/recordings/{id}")).await;
        node.home.retain(id).await;
        let (recorded, deleted) = ("video_recorded", "recording.deleted");
        until("its deletion to be told", || {
            receiver.events(id).iter().any(|event| event == deleted).then_some(())
        })
        .await;
        let told = match mp4 {
            true => vec![recorded, "video_converted", deleted],
            false => vec![recorded, deleted],
        };
        assert_eq!(receiver.events(id), told, "{env_id}");
    }
}

#[tokio::test]
async fn a_webhook_hears_of_its_environment_and_of_what_it_chose() {
    let receiver = Receiver::start().await;
    let node = Delivering::new("");
    let chosen = json!({ "events": ["video_converted"], "format": "form" });
    let (_, secret) = node.hook(&receiver.url(), "demo", chosen).await;
    let off = json!({ "enabled": false });
    let (off, _) = node.hook(&receiver.url(), "demo", off).await;
    node.home.delivered(1, "shelf").await;
    let mine = node.home.delivered(2, "demo").await;
    let got = receiver.has(1).await;
    assert_eq!(receiver.events(mine), ["video_converted"]);
    assert_eq!(got.len(), 1);
    // As a form: the body that is sent is signed, and for Pipe's the JSON in it.
    assert_eq!(got[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_signed(&got[0], &receiver.url(), &secret, None);
    assert!(node.deliveries(&off).await.is_empty());
}

#[tokio::test]
async fn the_next_event_of_a_recording_waits_until_the_one_before_is_through() {
    let receiver = Receiver::start().await;
    let node = Delivering::new("");
    let first = RecordingId::new(1_764_000_000_001, [1; 10]).to_string();
    let mut failures = 2;
    receiver.answers(move |got| {
        if got.recording() == first && failures > 0 {
            failures -= 1;
            return Reply::Status(500, "not now");
        }
        Reply::Status(204, "")
    });
    let (hook, _) = node.hook(&receiver.url(), "demo", json!({})).await;
    let failing = node.home.delivered(1, "demo").await;
    let other = node.home.delivered(2, "demo").await;
    until("the other one to be told", || (receiver.events(other).len() == 2).then_some(())).await;
    assert!(receiver.events(failing).iter().all(|event| event == "video_recorded"));
    // The first retry comes after five seconds, the second after five minutes: by hand that is now.
    let head = until("the first retry", || {
        let got = receiver.got();
        let tries: Vec<_> = got.iter().filter(|g| g.recording() == failing.to_string()).collect();
        (tries.len() == 2).then(|| tries[0].header("webhook-id").to_owned())
    });
    let head = head.await;
    node.newest(&hook, |_| true).await;
    let converted = node.deliveries(&hook).await;
    let waiting = converted.iter().find(|one| one.attempts == 0).unwrap();
    assert_eq!((waiting.event.as_str(), waiting.next_at), ("video_converted", None));
    let target = |id: &str| format!("{HOOKS}/{hook}/deliveries/{id}/redeliver");
    node.home.tell("POST", &target(&waiting.id), "{}").await.is_problem(409);
    until("the second failure to be noted", || {
        let found = node.home.node.webhooks.deliveries(&node.home.node, &hook, None, 50).unwrap().0;
        found.iter().any(|one| one.id == head && one.attempts == 2).then_some(())
    })
    .await;
    let sent = node.home.tell("POST", &target(&head), "{}").await;
    assert_eq!(sent.status, 202, "{}", sent.text());
    until("both", || (receiver.events(failing).len() == 4).then_some(())).await;
    let (recorded, converted) = ("video_recorded", "video_converted");
    assert_eq!(receiver.events(failing), [recorded, recorded, recorded, converted]);
    let ids: Vec<String> = receiver
        .got()
        .iter()
        .filter(|got| got.recording() == failing.to_string())
        .map(|got| got.header("webhook-id").to_owned())
        .collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
}

#[tokio::test]
async fn what_was_being_delivered_when_the_node_ended_is_delivered_again() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| Reply::Hang);
    let node = Delivering::new("");
    let (hook, secret) = node.hook(&receiver.url(), "demo", json!({})).await;
    let id = node.home.delivered(1, "demo").await;
    let hung = receiver.has(1).await;
    let node = node.again().await;
    receiver.answers(|_| Reply::Status(200, ""));
    let got = receiver.has(3).await;
    assert_eq!(receiver.events(id), ["video_recorded", "video_recorded", "video_converted"]);
    assert_eq!(got[1].header("webhook-id"), hung[0].header("webhook-id"));
    assert_signed(&got[2], &receiver.url(), &secret, None);
    let last = node.newest(&hook, |one| one.state == DeliveryState::Delivered).await;
    assert_eq!(
        (last.event.as_str(), last.attempts, last.status),
        ("video_converted", 1, Some(200))
    );
}
