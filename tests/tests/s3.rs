//! A recording is delivered to a real object store, also one that was down at first.

use std::fs;

use anyhow::{Context, Result, ensure};
use holdfast_tests::media::{file, small_webm, webm_noise};
use holdfast_tests::tools::{sha256, tools_dir};
use holdfast_tests::weed::Weed;
use holdfast_tests::{Environment, Node, Settings, until};
use serde_json::Value;

fn to_bucket(weed: &Weed) -> Settings {
    let environment = Environment::new("demo").set("destinations", vec!["bucket"]);
    let environment = environment.set("push_raw", true).set("folder", "clips/of today");
    let raw = Environment::raw_only("raw").set("destinations", vec!["bucket"]);
    Settings::new()
        .environment(environment)
        .environment(raw)
        .destination(weed.destination("bucket"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_recording_is_delivered_over_tls_with_an_authority_of_its_own() -> Result<()> {
    let mut weed = Weed::lay_out()?;
    weed.launch().await?;
    let node = Node::start(to_bucket(&weed)).await?;
    let source = fs::read(file("reschange_vp8.webm")?)?;
    let uploaded = node.upload("demo", source.clone()).await?;
    let recording = node.wait_for(&uploaded.id, "stored").await?;
    let id = &uploaded.id;
    let expected = [".jpg", ".mp4", "_filmstrip.jpg", "_raw.webm"];
    let expected = expected.map(|ending| format!("clips/of today/{id}{ending}"));
    ensure!(weed.names().await? == expected, "{:?}: {recording}", weed.names().await?);
    ensure!(weed.read(&expected[3]).await? == source, "the raw file has other bytes");
    let film = weed.read(&expected[1]).await?;
    ensure!(&film[4..8] == b"ftyp" && film.len() > 50_000);
    node.gone_from_vault(id).await?;

    // Larger than a part: it goes in pieces.
    let large = webm_noise(1, 17 << 20);
    let uploaded = node.upload("raw", large.clone()).await?;
    node.wait_for(&uploaded.id, "stored").await?;
    let name = format!("raw/{}_raw.webm", uploaded.id);
    ensure!(sha256(&weed.read(&name).await?) == sha256(&large));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_at_first_gets_it_when_it_is_up() -> Result<()> {
    let mut weed = Weed::lay_out()?;
    // The first retry is due after two minutes (rule 2); on this node's clock they pass in seconds.
    let settings = to_bucket(&weed)
        .program(tools_dir().join("holdfast-test-clock"))
        .variable("HOLDFAST_TEST_CLOCK_RATE", "20");
    let node = Node::start(settings).await?;
    let source = small_webm(node.dir(), 1.0)?;
    let uploaded = node.upload("demo", source.clone()).await?;
    let failed = until("the first push to fail", async || {
        let recording = node.recording(&uploaded.id).await?;
        Ok((!recording["push"]["error"].is_null()).then_some(recording))
    })
    .await?;
    ensure!(failed["state"] == "delivering", "{failed}");
    ensure!(failed["push"]["next_at"].is_string(), "{failed}");
    let said = failed["push"]["error"].to_string();
    ensure!(said.contains("bucket"), "the reason names no destination: {said}");
    ensure!(!node.in_vault(&uploaded.id)?.is_empty());

    weed.launch().await?;
    let stored = until("the recording to be delivered", async || {
        let recording = node.recording(&uploaded.id).await?;
        Ok((recording["state"] == "stored").then_some(recording))
    })
    .await?;
    let attempts = stored["push"]["attempts"].as_u64().context("no attempts")?;
    ensure!((2..=13).contains(&attempts), "{stored}");
    ensure!(stored["push"]["error"] == Value::Null, "{stored}");
    let name = format!("clips/of today/{}_raw.webm", uploaded.id);
    ensure!(weed.read(&name).await? == source);
    node.gone_from_vault(&uploaded.id).await
}
