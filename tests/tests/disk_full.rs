//! The disk runs full while recordings arrive: nothing acknowledged is lost, and it goes on by
//! itself when there is room.

use std::fs;

use anyhow::{Context, Result, ensure};
use holdfast_tests::http::problem;
use holdfast_tests::media::webm_noise;
use holdfast_tests::mount::Disk;
use holdfast_tests::tools::{sha256, sha256_of};
use holdfast_tests::{Environment, Node, Settings, Stream, StreamError, until};
use reqwest::Method;

const MIB: usize = 1 << 20;

async fn runs_full_and_goes_on(free_bytes_min: u64, left_bytes: u64) -> Result<()> {
    let disk = Disk::new(64 << 20)?;
    let settings = Settings::new()
        .environment(Environment::raw_only("raw"))
        .vault(disk.path())
        .set("vault.free_bytes_min", i64::try_from(free_bytes_min)?)
        .set("ingest.playback_ms", 0);
    let node = Node::start(settings).await?;
    let address = node.address()?;
    let saved = webm_noise(1, MIB);
    let saved_before = node.upload("raw", saved.clone()).await?;

    let bytes = webm_noise(2, 20 * MIB);
    let mut stream = Stream::start(&address, "raw").await?;
    stream.push(&bytes[..4 * MIB], MIB / 2).await?;
    let filler = disk.fill_to(left_bytes)?;
    let refused = stream.push(&bytes, MIB / 2).await.err().context("a full disk took 16 MiB")?;
    ensure!(refused.code() == 4507, "{refused}");
    let acked = stream.acked;
    ensure!(acked >= 4 << 20, "{acked}");
    let (id, token) = (stream.id.clone(), stream.token.clone());

    // Uploads are told as well, and leave nothing.
    let before = node.recordings().await?.len();
    let request =
        node.request(Method::PUT, &Node::upload_path("raw"))?.body(webm_noise(3, 8 * MIB));
    problem(request.send().await?, 507).await?;
    let listed = node.recordings().await?;
    let alive = |state: &serde_json::Value| state == "saved" || state == "receiving";
    ensure!(listed.iter().filter(|r| alive(&r["state"])).count() <= before, "{listed:?}");

    // Every byte that was acknowledged is there and right, while the disk is still full.
    let held = node.in_vault(&id)?;
    let raw = held.iter().find(|path| path.metadata().is_ok_and(|m| m.len() >= acked));
    let raw = fs::read(raw.with_context(|| format!("no file of {acked} bytes: {held:?}"))?)?;
    let held = usize::try_from(acked)?;
    ensure!(raw[..held] == bytes[..held], "acknowledged bytes are not those on disk");

    fs::remove_file(filler)?;
    let mut stream = until("the stream to be let in again", async || {
        match Stream::resume(&address, &id, &token).await {
            Ok(stream) => Ok(Some(stream)),
            Err(StreamError::Refused { code: 4507, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await?;
    ensure!(stream.acked >= acked, "{} acknowledged bytes are lost", acked - stream.acked);
    stream.record(&bytes, MIB / 2).await?;
    for (id, bytes) in [(&id, &bytes), (&saved_before.id, &saved)] {
        node.wait_for(id, "stored").await?;
        ensure!(sha256_of(&node.delivered("raw", id, "_raw.webm"))? == sha256(bytes), "{id}");
    }
    node.upload("raw", saved).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_configured_reserve_nothing_more_is_taken() -> Result<()> {
    runs_full_and_goes_on(16 << 20, 6 << 20).await
}

#[tokio::test(flavor = "multi_thread")]
async fn even_without_a_reserve_nothing_acknowledged_is_lost() -> Result<()> {
    runs_full_and_goes_on(0, 256 << 10).await
}
