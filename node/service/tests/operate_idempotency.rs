//! `Idempotency-Key`: what is sent twice is done once.

#![allow(missing_docs, clippy::unwrap_used)]

mod operate_node;

use axum::Router;
use axum::http::{StatusCode, header};
use holdfast_core::RecordingId;
use operate_node::{Answer, Home, KEY, send_body};

const KEYS: &str = "/api/v1/keys";
const BODY: &str = r#"{"name":"ci","scope":"read"}"#;

fn retry(id: RecordingId) -> String {
    format!("/api/v1/recordings/{id}/retry")
}

async fn post(router: &Router, target: &str, body: &str, key: &str) -> Answer {
    let bearer = format!("Bearer {KEY}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    send_body(router, "192.0.2.1", "POST", target, &headers, body.to_owned()).await
}

async fn count(home: &Home) -> usize {
    home.ask("GET", KEYS).await.json()["keys"].as_array().unwrap().len()
}

#[tokio::test]
async fn what_is_sent_again_is_done_once_and_answered_alike() {
    let home = Home::new();
    let first = post(&home.router(), KEYS, BODY, "\"one\"").await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.header("idempotent-replayed"), "");
    // By another router, as after a new start: it is the ledger that knows.
    let again = post(&home.router(), KEYS, BODY, "one").await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotent-replayed"), "true");
    for name in [header::LOCATION, header::CONTENT_TYPE, header::CACHE_CONTROL] {
        assert_eq!(again.header(&name), first.header(&name), "{name}");
    }
    assert_eq!(count(&home).await, 2);
    assert_eq!(post(&home.router(), KEYS, BODY, "two").await.status, StatusCode::CREATED);
    assert_eq!(count(&home).await, 3);
    // The new key is in the answer that is kept, and not to be read in the ledger.
    let secret = first.json()["key"].as_str().unwrap().rsplit_once('_').unwrap().1.to_owned();
    let bytes = std::fs::read(home.dir.path().join("state/ledger.redb")).unwrap();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_caller() {
    let home = Home::new();
    let router = home.router();
    assert_eq!(post(&router, KEYS, BODY, "one").await.status, StatusCode::CREATED);
    let other = BODY.replace("ci", "cd");
    let said = post(&router, KEYS, &other, "one").await.is_problem(422);
    assert_eq!(said["type"], "urn:holdfast:problem:idempotency-key-reused");
    post(&router, "/api/v1/accounts", BODY, "one").await.is_problem(422);
    post(&router, "/api/v1/keys?x=1", BODY, "one").await.is_problem(422);
    // Another caller's keys are their own.
    let manager = home.key("manage", &[]).await;
    let (target, account) = ("/api/v1/accounts", r#"{"id":"a","plan":"paid"}"#);
    let header = [("idempotency-key", "one")];
    let made = home.tell_with(&manager, "POST", target, account, &header).await;
    assert_eq!(made.status, StatusCode::CREATED);
    // And a scope is asked for before anything is answered again.
    home.tell_with(&manager, "POST", KEYS, BODY, &header).await.is_problem(403);
    for wrong in ["", "a b", &"x".repeat(256)] {
        post(&router, KEYS, BODY, wrong).await.is_problem(400);
    }
}

#[tokio::test]
async fn what_did_nothing_may_be_sent_again_with_the_same_key() {
    let home = Home::new();
    let router = home.router();
    let id = home.saved(1, "demo").await;
    let push = format!("/api/v1/recordings/{id}/push");
    for _ in 0..2 {
        let said = post(&router, &push, "", "one").await.is_problem(409);
        assert!(said["detail"].as_str().unwrap().contains("has failed for good"), "{said}");
    }
    let huge = format!(r#"{{"name":"{}","scope":"read"}}"#, "x".repeat(70_000));
    post(&router, KEYS, &huge, "two").await.is_problem(413);
    post(&router, KEYS, "{", "two").await.is_problem(400);
    assert_eq!(post(&router, KEYS, BODY, "two").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_is_being_done_is_not_begun_twice_and_goes_on_without_its_client() {
    let home = Home::new();
    let router = home.router();
    let id = home.failed(1, "demo").await;
    let target = retry(id);
    let lock = home.node.locks.lock(id).await;
    {
        let hangs_up = post(&router, &target, "", "one");
        let asks_again = async {
            // The first one is in the ledger, then waits for the lock.
            loop {
                let answer = post(&router, &target, "", "one").await;
                if answer.status == StatusCode::CONFLICT {
                    break answer;
                }
            }
        };
        tokio::select! {
            biased;
            _ = hangs_up => panic!("it was answered"),
            answer = asks_again => {
                let said = answer.is_problem(409);
                assert_eq!(said["type"], "urn:holdfast:problem:in-progress");
            }
        }
    }
    drop(lock);
    for _ in 0..1_000 {
        let answer = post(&router, &target, "", "one").await;
        if answer.status == StatusCode::OK {
            assert_eq!(answer.header("idempotent-replayed"), "true");
            assert_eq!(answer.json()["state"], "processing");
            return;
        }
        answer.is_problem(409);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("what came of it was not kept");
}
