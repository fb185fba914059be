//! A client that others wrote: aioquic.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use holdfast_tests::Node;
use holdfast_tests::http::Uploaded;
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::{repo, sha256, tools_dir};
use serde_json::Value;
use tokio::process::Command;

use crate::settings;

#[tokio::test(flavor = "multi_thread")]
async fn aioquic_uploads_and_asks_what_became_of_it() -> Result<()> {
    let node = Node::start(settings().set("ingest.recording_bytes_max", 4 << 20)).await?;
    let python = tools_dir().join("venv/bin/python");
    let bytes = webm_noise(1, 3 << 20);
    let (file, large) = (node.dir().join("clip.webm"), node.dir().join("large.webm"));
    std::fs::write(&file, &bytes)?;
    std::fs::write(&large, webm_noise(2, 5 << 20))?;
    let ask = async |file: &std::path::Path| -> Result<Value> {
        let mut client = Command::new(&python);
        client.arg(repo().join("tests/http3/upload.py")).arg(node.port().to_string());
        client.arg(node.certificate()).arg(Node::upload_path("raw")).arg(file);
        let done = client.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let done = done.with_context(|| format!("{}: run scripts/test", python.display()))?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "aioquic ended with {}: {said}", done.status);
        Ok(serde_json::from_slice(&done.stdout)?)
    };
    let said = ask(&file).await?;
    ensure!(said["status"] == 201, "{said}");
    let uploaded = Uploaded::parse(said["body"].as_str().context("no body")?)?;
    ensure!(uploaded.sha256 == sha256(&bytes), "other bytes than were sent");
    // On the same connection, with the token.
    ensure!(said["then"]["status"] == 200, "{said}");
    let seen: Value = serde_json::from_str(said["then"]["body"].as_str().context("no body")?)?;
    ensure!(seen["id"] == uploaded.id.as_str(), "{seen}");

    let said = ask(&large).await?;
    ensure!(said["status"] == 413, "{said}");
    let problem: Value = serde_json::from_str(said["body"].as_str().context("no body")?)?;
    ensure!(problem["status"] == 413, "{problem}");
    Ok(())
}
