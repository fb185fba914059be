//! A legal hold against deletions that are on their way: over a real ledger and vault.

#![allow(missing_docs, clippy::unwrap_used)]

mod operate_node;

use std::sync::Arc;

use axum::http::StatusCode;
use holdfast::ingest::Streams;
use holdfast::queue::Work;
use holdfast::retain::Retainer;
use holdfast_core::recording::Recording;
use holdfast_core::{Effect, Lane, RecordingId};
use jiff::SignedDuration;
use operate_node::Home;
use tokio_util::sync::CancellationToken;

fn of(id: RecordingId, what: &str) -> String {
    format!("/api/v1/recordings/{id}{what}")
}

/// Takes the deletion that is due, as the worker does.
async fn claimed(home: &Home) -> Option<(Recording, Vec<Effect>)> {
    let now = home.node.clock.now();
    let lease = now + SignedDuration::from_secs(60);
    home.node.ledger.claim(Lane::Retain, now, lease).await.unwrap()
}

/// Carries it out, as the worker does.
async fn carry_out(home: &Home, (rec, effects): (Recording, Vec<Effect>)) {
    let retainer = Retainer::new(Arc::clone(&home.node), Streams::new());
    let id = rec.id;
    let events = retainer.work(rec, effects, CancellationToken::new()).await;
    home.node.settle(&home.node.ledger.clone(), id, Lane::Retain, events).await.unwrap();
}

async fn unlinked(home: &Home, id: RecordingId) -> Vec<bool> {
    let shown = home.ask("GET", &of(id, "")).await.json();
    let files = shown["files"].as_array().unwrap();
    files.iter().map(|file| !file["deleted_at"].is_null()).collect()
}

#[tokio::test]
async fn a_hold_that_comes_between_the_decision_and_the_unlinking_keeps_the_files() {
    let home = Home::new();
    let id = home.delivered(1, "shelf").await;
    let decided = claimed(&home).await.expect("what is delivered goes");
    assert!(matches!(decided.1.as_slice(), [Effect::Delete { .. }]), "{:?}", decided.1);

    let reason = r#"{"reason":"case 12/26"}"#;
    assert_eq!(home.tell("PUT", &of(id, "/hold"), reason).await.status, StatusCode::OK);
    carry_out(&home, decided).await;
    let vault = home.node.vault.clone();
    assert!(vault.is_here(id).unwrap());
    assert!(unlinked(&home, id).await.iter().all(|is| !is));
    assert!(claimed(&home).await.is_none(), "it is tried again under the hold");

    // Whoever asks for it is told what keeps it, and what happens next.
    let said = home.ask("GET", &of(id, "/explain")).await.json();
    assert!(said["sentence"].as_str().unwrap().contains("legal hold"), "{said}");
    let said = home.ask("GET", &of(id, "/files/raw")).await.is_problem(410);
    assert!(said["detail"].as_str().unwrap().contains("a legal hold keeps it"), "{said}");

    assert_eq!(home.ask("DELETE", &of(id, "/hold")).await.status, StatusCode::OK);
    let decided = claimed(&home).await.expect("what the hold put off happens now");
    carry_out(&home, decided).await;
    assert!(unlinked(&home, id).await.iter().all(|is| *is));
    assert!(!vault.is_here(id).unwrap());
}
