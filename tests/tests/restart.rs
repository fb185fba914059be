//! Stopping in an orderly way, starting again, and rebuilding the ledger from the vault.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use holdfast_tests::media::{file, small_webm, webm_noise};
use holdfast_tests::tools::{files_under, output_of, sha256, sha256_of, tools_dir};
use holdfast_tests::{Environment, Node, Settings, Stream, until};
use serde_json::Value;

fn settings() -> Settings {
    Settings::new()
        .environment(Environment::new("demo").set("push_raw", true))
        .environment(Environment::raw_only("raw"))
        .set("ingest.playback_ms", 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_loses_nothing_of_what_arrives_and_what_is_made() -> Result<()> {
    let mut node = Node::start(settings()).await?;
    let clip = fs::read(file("reschange_vp8.webm")?)?;
    let uploaded = node.upload("demo", clip.clone()).await?;
    let bytes = webm_noise(1, 400_000);
    let mut stream = Stream::start(&node.address()?, "raw").await?;
    stream.push(&bytes[..200_000], 50_000).await?;
    until("the transcoding to begin", async || {
        let recording = node.recording(&uploaded.id).await?;
        Ok((recording["state"] != "saved").then_some(()))
    })
    .await?;

    let status = node.stop().await?;
    ensure!(status.success(), "stopped with {status}");
    let told = stream.refusal().await?;
    ensure!(told.code() == 4503, "{told}");

    node.launch().await?;
    let mut stream = Stream::resume(&node.address()?, &stream.id, &stream.token).await?;
    ensure!(stream.acked == 200_000, "{}", stream.greeting);
    stream.record(&bytes, 50_000).await?;
    for (environment, id, bytes) in [("raw", &stream.id, &bytes), ("demo", &uploaded.id, &clip)] {
        let recording = node.wait_for(id, "stored").await?;
        let raw = node.delivered(environment, id, "_raw.webm");
        ensure!(sha256_of(&raw)? == sha256(bytes), "{recording}");
        node.gone_from_vault(id).await?;
    }
    Ok(())
}

fn ledger(node: &Node) -> Result<PathBuf> {
    let is_ledger = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.contains("ledger") || name.ends_with(".redb")
    };
    let all = files_under(&node.state())?;
    all.iter().find(|path| is_ledger(path)).cloned().with_context(|| format!("no ledger: {all:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_rebuilt_from_the_vault_alone() -> Result<()> {
    // No destination: the node is where these stay.
    let here = Environment::new("here").set("destinations", Vec::<String>::new());
    // What failed is tried again after two minutes: seconds, on this node's clock.
    let settings = settings()
        .environment(here)
        .set("ingest.reconnect_ms", 3_600_000)
        .program(tools_dir().join("holdfast-test-clock"))
        .variable("HOLDFAST_TEST_CLOCK_RATE", "20");
    let mut node = Node::start(settings).await?;
    let clip = small_webm(node.dir(), 1.0)?;
    let kept = node.upload("here", clip.clone()).await?;
    let before = node.wait_for(&kept.id, "stored").await?;
    let bytes = webm_noise(2, 300_000);
    let mut half = Stream::start(&node.address()?, "raw").await?;
    half.push(&bytes[..100_000], 50_000).await?;
    // Saved, and still to be delivered: the destination is not there.
    let away = node.dir().join("away");
    fs::rename(node.storage(), &away)?;
    let waiting = node.upload("demo", clip.clone()).await?;
    until("the push to fail", async || {
        let recording = node.recording(&waiting.id).await?;
        Ok((!recording["push"]["error"].is_null()).then_some(()))
    })
    .await?;
    node.stop().await?;
    fs::rename(away, node.storage())?;
    fs::remove_file(ledger(&node)?)?;

    let said = String::from_utf8(output_of(node.command(&["ledger", "rebuild"])).await?)?;
    ensure!(said.contains('3'), "it does not say how many it found: {said}");

    node.launch().await?;
    let known: Vec<String> = node
        .recordings()
        .await?
        .iter()
        .filter_map(|r| Some(r["id"].as_str()?.to_owned()))
        .collect();
    for id in [&kept.id, &half.id, &waiting.id] {
        ensure!(known.contains(id), "{id} is not among {known:?}");
    }
    until("what was saved to be delivered", async || {
        let recording = node.recording(&waiting.id).await?;
        Ok((recording["state"] == "stored").then_some(()))
    })
    .await?;
    ensure!(sha256_of(&node.delivered("demo", &waiting.id, "_raw.webm"))? == sha256(&clip));
    let after = node.wait_for(&kept.id, "stored").await?;
    for same in ["sha256", "bytes", "env_id", "name", "received_at", "saved_at", "source"] {
        ensure!(after[same] == before[same], "{same}: {} became {}", before[same], after[same]);
    }
    let film = node.get_file(&kept.id, "main").await?;
    ensure!(&film[4..8] == b"ftyp");
    let mut half = Stream::resume(&node.address()?, &half.id, &half.token).await?;
    ensure!(half.acked == 100_000, "{}", half.greeting);
    half.record(&bytes, 50_000).await?;
    node.wait_for(&half.id, "stored").await?;
    ensure!(sha256_of(&node.delivered("raw", &half.id, "_raw.webm"))? == sha256(&bytes));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_3_without_its_ledger_a_node_does_not_take_the_vault_for_garbage() -> Result<()> {
    let mut node = Node::start(settings()).await?;
    let bytes = webm_noise(3, 100_000);
    let mut stream = Stream::start(&node.address()?, "raw").await?;
    stream.push(&bytes, 50_000).await?;
    node.kill()?;
    let ledger = ledger(&node)?;
    let mut damaged = fs::read(&ledger)?;
    damaged.iter_mut().take(4_096).for_each(|byte| *byte = 0x5a);
    fs::write(&ledger, damaged)?;
    let held = node.in_vault(&stream.id)?;
    node.spawn()?;
    node.for_a_while(2_000).await;
    ensure!(node.in_vault(&stream.id)? == held, "files went while the ledger could not be read");
    ensure!(node.log().contains("ledger"), "the log does not speak of the ledger");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_slip_is_refused_with_its_line() -> Result<()> {
    let node = Node::lay_out(settings())?;
    let check = || node.command(&["check-config"]).output();
    ensure!(check()?.status.success(), "{:?}", check()?);
    let text = fs::read_to_string(node.config())?;
    let slip = format!("{text}\n[deliver]\npushs_max = 5\n");
    let line = slip.lines().count();
    fs::write(node.config(), slip)?;
    let refused = check()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success(), "taken: {said}");
    ensure!(said.contains(&format!("line {line}")) && said.contains("pushs_max"), "{said}");
    ensure!(said.contains("node.toml"), "which file? {said}");
    let run = node.command(&["run"]).output()?;
    ensure!(!run.status.success(), "it started all the same");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_on_a_plain_folder_is_called_unencrypted() -> Result<()> {
    let node = Node::start(settings()).await?;
    let said = String::from_utf8(output_of(node.command(&["status"])).await?)?;
    ensure!(said.to_lowercase().contains("unencrypted"), "{said}");
    let status = node.get("/status").await?;
    ensure!(status["vault"][0]["encrypted"] == Value::Bool(false), "{status}");
    Ok(())
}

/// Bytes and calls with which the node has written so far, sockets and pipes included.
fn written(node: &Node) -> Result<(u64, u64)> {
    let io = fs::read_to_string(format!("/proc/{}/io", node.pid()?))?;
    let number = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
        Ok::<u64, anyhow::Error>(line.trim().parse()?)
    };
    Ok((number("wchar:")?, number("syscw:")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_at_rest_writes_nothing() -> Result<()> {
    let here = Environment::raw_only("here").set("destinations", Vec::<String>::new());
    let node = Node::start(settings().environment(here)).await?;
    for environment in ["here", "demo"] {
        let uploaded = node.upload(environment, small_webm(node.dir(), 1.0)?).await?;
        node.wait_for(&uploaded.id, "stored").await?;
    }
    until("the node to come to rest", async || {
        let before = written(&node)?;
        node.for_a_while(2_000).await;
        let (bytes, calls) = written(&node)?;
        // Now and then a node looks whether there is something to do; that is no work.
        let busy = bytes - before.0 > 100_000 || calls - before.1 > 100;
        ensure!(!busy, "{} bytes in {} calls in two seconds", bytes - before.0, calls - before.1);
        Ok(Some(()))
    })
    .await
}
