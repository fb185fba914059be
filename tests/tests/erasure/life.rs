//! Everything that a recording goes through, with a key; and the node is killed while keys change.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_tests::http::problem;
use holdfast_tests::mount::Disk;
use holdfast_tests::tools::{output_of, sha256, sha256_of};
use holdfast_tests::{Environment, Node, Settings, Stream, media, until};
use reqwest::Method;

use super::{delete, epoch_destroyed, settings};

const KILLS: u64 = 12;
const RECORDINGS: u64 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_recorded_resumed_transcoded_and_delivered_as_without_keys() -> Result<()> {
    let disk = Disk::encrypting(64 << 20)?;
    let mut node = Node::start(settings(&disk).set("vault.erasure_epoch_ms", 1_000)).await?;
    let film = media::small_webm(node.dir(), 2.0)?;
    let mut stream = Stream::start(&node.address()?, "deliver").await?;
    let (id, token) = (stream.id.clone(), stream.token.clone());
    stream.push(&film[..film.len() / 2], film.len() / 4).await?;
    drop(stream);
    // The node is killed, and the kernel knows its keys still; then epochs pass.
    node.kill()?;
    node.launch().await?;
    epoch_destroyed(&node, 2).await?;
    let mut stream = Stream::resume(&node.address()?, &id, &token).await?;
    stream.record(&film, film.len() / 4).await?;
    node.wait_for(&id, "stored").await?;
    media::codecs(&node.delivered("deliver", &id, ".mp4"))?;
    // What is everywhere where it belongs is deleted here, and has a receipt that names its epoch.
    until("its folder to be gone", async || {
        Ok((!node.vault().join("recordings").join(&id).exists()).then_some(()))
    })
    .await?;
    until("its receipt", async || {
        let (entries, _) = super::audit(&node).await?;
        let of_it = |entry: &&serde_json::Value| {
            entry["what"]["recording"] == id.as_str() && entry["what"]["key_epoch"].is_u64()
        };
        Ok(entries.iter().any(|entry| of_it(&entry)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_epochs_change_loses_nothing() -> Result<()> {
    let disk = Disk::encrypting(64 << 20)?;
    let mut node = Node::start(settings(&disk).set("vault.erasure_epoch_ms", 1_000)).await?;
    let mut sums = Vec::new();
    for seed in 0..RECORDINGS {
        let bytes = media::webm_noise(seed, 40_000);
        sums.push((node.upload("raw", bytes.clone()).await?.id, sha256(&bytes)));
    }
    for (id, _) in &sums {
        node.wait_for(id, "stored").await?;
    }
    for kill in 0..KILLS {
        // Rotations follow each other by the second.
        tokio::time::sleep(Duration::from_millis(1_000 + fastrand::u64(0..1_200))).await;
        node.kill()?;
        node.launch().await?;
        if kill % 4 == 0 {
            let (id, _) = sums.pop().context("there are enough")?;
            delete(&node, &id).await?;
        }
        for (id, sum) in &sums {
            ensure!(sha256(&node.get_file(id, "raw").await?) == *sum, "{id} after kill {kill}");
        }
    }
    epoch_destroyed(&node, 5).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_made_anew_from_encrypted_folders_and_holds_are_kept() -> Result<()> {
    let disk = Disk::encrypting(64 << 20)?;
    let mut node = Node::start(settings(&disk)).await?;
    let bytes = media::webm_noise(1, 100_000);
    let id = node.upload("raw", bytes.clone()).await?.id;
    let other = node.upload("raw", media::webm_noise(2, 1_000)).await?.id;
    for id in [&id, &other] {
        node.wait_for(id, "stored").await?;
    }
    let hold = node.api(Method::PUT, &format!("/recordings/{id}/hold"))?;
    let hold = hold.header("content-type", "application/json").body(r#"{"reason":"a court"}"#);
    hold.send().await?.error_for_status()?;
    node.stop().await?;
    // A key that is not there makes nothing unknown: what it belongs to is left alone.
    let key = disk.path().join("keys").join(&other);
    let aside = node.dir().join("key");
    fs::copy(&key, &aside)?;
    fs::remove_file(&key)?;
    let said = output_of(node.command(&["ledger", "rebuild"])).await?;
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains(&other), "{said}");
    node.launch().await?;
    ensure!(node.recording(&id).await?["hold"].is_object(), "the hold is lost");
    ensure!(sha256(&node.get_file(&id, "raw").await?) == sha256(&bytes));
    ensure!(node.recording(&other).await.is_err() && node.log().contains("left alone"));
    ensure!(disk.path().join("recordings").join(&other).exists());
    node.stop().await?;
    fs::copy(&aside, &key)?;
    node.launch().await?;
    ensure!(sha256(&node.get_file(&other, "raw").await?) == sha256(&media::webm_noise(2, 1_000)));
    ensure!(sha256_of(&aside)? == sha256_of(&key)?, "its key was written to");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_is_ended_by_hand_and_the_evidence_says_how_they_stand() -> Result<()> {
    let disk = Disk::encrypting(64 << 20)?;
    let node = Node::start(settings(&disk)).await?;
    let before: serde_json::Value = node.get("/volumes").await?;
    ensure!(before["erasure"]["destroyed"] == 0, "{before}");
    let id = node.upload("raw", media::webm_noise(1, 40_000)).await?.id;
    node.wait_for(&id, "stored").await?;
    delete(&node, &id).await?;
    let ended = output_of(node.command(&["volumes", "end-epoch", "--json"])).await?;
    let ended: serde_json::Value = serde_json::from_slice(&ended)?;
    ensure!(ended["destroyed"].as_u64() >= Some(1) && ended["unfinished"] == false, "{ended}");
    let evidence = output_of(node.command(&["evidence"])).await?;
    let evidence: serde_json::Value = serde_json::from_slice(&evidence)?;
    ensure!(evidence["erasure"]["destroyed"] == ended["destroyed"], "{evidence}");
    let promises = evidence["promises"].as_array().context("promises")?;
    let erasure = promises.iter().find(|it| it["name"] == "erasure").context("the promise")?;
    ensure!(erasure["holds"] == true, "{erasure}");
    // Where recordings have no keys there is nothing to end.
    let plain = Node::start(Settings::new().environment(Environment::raw_only("raw"))).await?;
    let answer = plain.api(Method::POST, "/erasure/end-epoch")?.send().await?;
    problem(answer, 409).await?;
    Ok(())
}
