//! HTTP/3: what over https is true is true over QUIC. The clients are quinn with h3, aioquic, which shares no code
//! with the node, and frames by hand.

mod ends;
mod limits;
mod lines;
mod strangers;
mod uploads;

use anyhow::{Result, ensure};
use holdfast_tests::http3::Answer;
use holdfast_tests::{Environment, Node, Settings, until};
use serde_json::Value;

/// A node with HTTP/3 and the environment `raw`, which keeps what it was given.
fn settings() -> Settings {
    Settings::new()
        .environment(Environment::raw_only("raw"))
        .set("node.http3", true)
        .set("deliver.pushes_max", 0)
}

/// Waits until an upload has a folder.
async fn is_under_way(node: &Node) -> Result<()> {
    until("an upload to be under way", async || {
        Ok((!node.files_of_recordings()?.is_empty()).then_some(()))
    })
    .await
}

/// Checks that an answer is a problem document for this status.
fn problem(answer: &Answer, status: u16) -> Result<Value> {
    let text = answer.text();
    ensure!(answer.status == status, "expected {status}, got {}: {text}", answer.status);
    let kind = answer.headers.get("content-type").map(|it| it.to_str().map(str::to_owned));
    let kind = kind.transpose()?.unwrap_or_default();
    ensure!(kind.starts_with("application/problem+json"), "{kind}: {text}");
    Ok(serde_json::from_str(&text)?)
}
