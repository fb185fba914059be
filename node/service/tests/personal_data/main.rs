//! The personal data switches, from end to end: a recorder brings all five in over a real line, and
//! what its environment does not store is nowhere.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../operate_node/mod.rs"]
mod operate_node;
#[path = "../webhooks/receiver.rs"]
mod receiver;
mod recorder;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use holdfast::ingest::{self, Ingest, Streams};
use holdfast::operate::api;
use holdfast::webhooks::worker;
use operate_node::{Home, KEY, send};
use receiver::Receiver;
use recorder::Recorder;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Lets webhooks reach the servers of these tests.
const HERE: &str = "\n[notify]\nprivate_targets = [\"127.0.0.0/8\"]\nplain_http = true\n";
/// The beginning of a WebM file, and a few bytes.
const RAW: &[u8] = b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm, and whatever follows it";

/// The switches, each with what the person of this number brings. No value is part of another.
fn person(number: u8) -> [(&'static str, String); 5] {
    [
        ("camera", format!("Lens of person {number}")),
        ("microphone", format!("Ears of person {number}")),
        ("referrer", format!("https://pages.example/person-{number}/")),
        ("user_agent", format!("Browser-of-person/{number}")),
        ("ip", format!("127.34.56.{number}")),
    ]
}

/// A node with its ways in and its API at an address, as the service has them.
async fn serve(home: &Home) -> SocketAddr {
    let (node, streams) = (&home.node, Streams::new());
    tokio::spawn(ingest::run_commits(Arc::clone(node), Arc::clone(&streams)));
    tokio::spawn(worker::run(Arc::clone(node)));
    let ingest = Ingest::new(Arc::clone(node), streams, TaskTracker::new());
    let router = ingest::router(ingest).merge(api::router(Arc::clone(node)));
    let router = api::with_fallbacks(router);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    address
}

/// Brings a recording in, as a browser does, with all that can identify this person.
async fn record(node: SocketAddr, env_id: &str, number: u8) -> String {
    let [camera, microphone, referrer, user_agent, ip] = person(number).map(|(_, value)| value);
    let from: Ipv4Addr = ip.parse().unwrap();
    let headers = [("user-agent", user_agent.as_str()), ("referer", referrer.as_str())];
    let mut recorder = Recorder::connect(node, from, &headers).await;
    let metadata = json!({ "camera": camera, "microphone": microphone, "name": "An interview" });
    let start = json!({ "type": "start", "env_id": env_id, "env_hash": "h", "metadata": metadata });
    recorder.say(&start).await;
    let started = recorder.hear("started").await;
    recorder.record(RAW).await;
    recorder.say(&json!({ "type": "stop", "size": RAW.len() })).await;
    recorder.hear("stopped").await;
    recorder.say(&json!({ "type": "save" })).await;
    recorder.hear("saved").await;
    started["recording_id"].as_str().unwrap().to_owned()
}

/// All that the API says of a recording, the small one of version 1 included.
async fn said(home: &Home, id: &str, env_id: &str, hook: &str) -> String {
    let mut said = String::new();
    for target in [
        format!("/api/v1/recordings/{id}"),
        format!("/api/v1/recordings/{id}/explain"),
        format!("/api/v1/recordings/{id}/attempts"),
        format!("/api/v1/recordings?env_id={env_id}"),
        format!("/api/v1/webhooks/{hook}/deliveries"),
        "/api/v1/status".to_owned(),
        "/api/v1/audit".to_owned(),
    ] {
        let answer = home.ask("GET", &target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        said.push_str(&answer.text());
    }
    for target in [format!("/video/{id}"), "/video/all".to_owned()] {
        let answer =
            send(&home.router(), "192.0.2.1", "GET", &target, &[("x-pipe-auth", KEY)]).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        said.push_str(&answer.text());
    }
    said
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Files below a folder that hold this text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if path.is_file() && has(&std::fs::read(&path).unwrap(), text) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn what_a_switch_leaves_out_is_not_in_the_api_the_vault_a_webhook_or_the_ledger() {
    let home = Home::with_more(HERE);
    let node = serve(&home).await;
    let receiver = Receiver::start().await;
    for (number, (off, _)) in (101..).zip(person(0)) {
        let env_id = format!("no-{off}");
        let environment = json!({ "id": env_id, "hash": "h", "personal_data": { off: false } });
        let hook = json!({ "id": env_id, "env_id": env_id, "url": receiver.url() });
        for (kind, body) in [("environments", environment), ("webhooks", hook)] {
            let made = home.tell("POST", &format!("/api/v1/{kind}"), &body.to_string()).await;
            assert_eq!(made.status, 201, "{}", made.text());
        }
        let id = record(node, &env_id, number).await;
        let got = receiver.has(usize::from(number) - 100).await.pop().unwrap();
        assert_eq!((got.event(), got.recording()), ("video_recorded".into(), id.clone()));
        let shown = home.ask("GET", &format!("/api/v1/recordings/{id}")).await.json();
        let said = said(&home, &id, &env_id, &env_id).await;
        for (name, value) in person(number) {
            let (api, told) = (&shown["metadata"][name], &got.json()["data"]["metadata"][name]);
            let files = holding(home.dir.path(), &value);
            let lies_in = |name: &str| files.iter().any(|file| file.ends_with(name));
            if name == off {
                assert_eq!((api, told), (&Value::Null, &Value::Null), "{name}");
                assert!(!said.contains(&value), "{name}: {said}");
                assert!(!has(&got.body, &value), "{name}: {}", got.json());
                assert!(files.is_empty(), "{name}: {files:?}");
            } else {
                assert_eq!((api, told), (&json!(value), &json!(value)), "{name}");
                assert!(lies_in("ledger.redb"), "{name}: {files:?}");
                assert!(lies_in(&format!("{id}/manifest.json")), "{name}: {files:?}");
                assert_eq!(files.len(), 2, "{name}: {files:?}");
            }
        }
    }
}
