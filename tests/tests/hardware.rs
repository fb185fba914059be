//! Whole nodes with hardware that a plugin for tests plays (`node/transcode/examples/fake_hardware.rs`):
//! proofs at the start, films made on devices, what becomes of one that fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{bin_dir, output_of};
use holdfast_tests::{Node, Settings, media, until};
use serde_json::Value;
use tempfile::TempDir;

const PARTS: &str = "vapostproc=good varenderD129postproc=good vavp8dec=good";

/// While a file of this name lies beside the transcoder, it crashes whatever it is told to work on, once it was
/// told: a second later.
const CRASH: &str = "crash";

/// A transcoder on a machine with these elements.
fn machine(elements: &str) -> Result<(TempDir, Settings)> {
    let folder = tempfile::tempdir()?;
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins)?;
    let plugin = bin_dir().join("examples/libfake_hardware.so");
    fs::copy(&plugin, plugins.join("libfake_hardware.so")).with_context(|| {
        format!("{}: cargo build -p holdfast-transcode --examples", plugin.display())
    })?;
    let program = folder.path().join("transcode");
    let script = format!(
        "#!/bin/sh\n[ ! -e {} ] || {{ sleep 1; kill -SEGV $$; }}\n\
         export GST_PLUGIN_PATH={} HOLDFAST_FAKE_HARDWARE='{elements} {PARTS}'\nexec {} \"$@\"\n",
        folder.path().join(CRASH).display(),
        plugins.display(),
        bin_dir().join("holdfast-transcode").display(),
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let settings = Settings::new().set("transcode.program", program.display().to_string());
    Ok((folder, settings))
}

async fn hardware(node: &Node) -> Result<Value> {
    let said = output_of(node.command(&["hardware", "--json"])).await?;
    Ok(serde_json::from_slice(&said)?)
}

/// What is known once everything is proven.
async fn proven(node: &Node) -> Result<Value> {
    until("the proofs to be done", async || {
        let said = hardware(node).await?;
        Ok((said["proving"] == false).then_some(said))
    })
    .await
}

fn chain<'a>(said: &'a Value, name: &str) -> Result<&'a Value> {
    let all = said["chains"].as_array().context("no chains")?;
    all.iter().find(|chain| chain["name"] == name).with_context(|| format!("no {name} in {said}"))
}

/// An option that only the x264 within fake encoders has; it writes all of them into its films.
const MARK: &[u8] = b" deadzone=19,11 ";

/// Uploads a film of 60 frames and waits until it is delivered; gives the recording. `on_hardware`: the
/// film has to be one of a fake encoder's, or none of its.
async fn film(node: &Node, folder: &Path, salt: u64, on_hardware: bool) -> Result<Value> {
    let webm = media::salted(&media::small_webm(folder, 4.0)?, salt);
    let uploaded = node.upload("demo", webm).await?;
    let recording = node.wait_for(&uploaded.id, "stored").await?;
    let film = node.delivered("demo", &uploaded.id, ".mp4");
    ensure!(media::codecs(&film)?.0 == "h264");
    let bytes = fs::read(&film)?;
    let is_marked = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    ensure!(is_marked(b" deadzone="), "x264's options are not in the film");
    ensure!(is_marked(MARK) == on_hardware, "on hardware: {}", !on_hardware);
    Ok(recording)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_uses_what_has_proven_itself() -> Result<()> {
    let (folder, settings) = machine("vah264enc=good varenderD129h264enc=garbage")?;
    let mut node = Node::start(settings).await?;
    let said = proven(&node).await?;
    let va = chain(&said, "va")?;
    ensure!(va["state"] == "proven" && va["device"] == "/dev/dri/renderD128", "{va}");
    let garbage = chain(&said, "va:renderD129")?;
    ensure!(garbage["state"] == "failed", "{garbage}");
    ensure!(garbage["why"].as_str().is_some_and(|why| why.contains("does not look like")));
    ensure!(chain(&said, "x264")?["state"] == "proven");
    let recording = film(&node, folder.path(), 1, true).await?;
    ensure!(!recording.to_string().contains("software"), "{recording}");
    ensure!(node.log().contains("proven to encode"));
    let table = String::from_utf8(output_of(node.command(&["hardware"])).await?)?;
    ensure!(table.contains("renderD128") && table.contains("NOT USED:"), "{table}");

    // What was proven is remembered; what failed is tried again.
    let before = va["proven_at"].clone();
    let failed_before = garbage["proven_at"].clone();
    node.stop().await?;
    node.launch().await?;
    let said = proven(&node).await?;
    ensure!(chain(&said, "va")?["proven_at"] == before, "it was proven anew");
    ensure!(chain(&said, "va:renderD129")?["proven_at"] != failed_before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_hardware_is_done_in_software_and_a_device_that_fails_is_set_aside()
-> Result<()> {
    // The clip of a proof has 30 frames; films fail later.
    let (folder, settings) = machine("vah264enc=crash:40")?;
    let node = Node::start(settings).await?;
    ensure!(chain(&proven(&node).await?, "va")?["state"] == "proven");
    for salt in 1..=2 {
        let recording = film(&node, folder.path(), salt, false).await?;
        let said = recording.to_string();
        ensure!(said.contains("This was done in software, because va failed"), "{said}");
        // It was one attempt.
        ensure!(recording["transcode"]["attempts"] == 1, "{recording}");
    }
    let said = hardware(&node).await?;
    let va = chain(&said, "va")?;
    ensure!(va["state"] == "aside" && va["aside_until"].is_string(), "{va}");
    let status = output_of(node.command(&["status"])).await?;
    ensure!(String::from_utf8(status)?.contains("SET ASIDE:"));
    ensure!(node.log().contains("set aside for 30 min"));
    let recording = film(&node, folder.path(), 3, false).await?;
    ensure!(!recording.to_string().contains("va failed"), "it was not asked again: {recording}");
    Ok(())
}

/// Two films in a row that failed set a device aside: it is not, and gets the next one too.
async fn va_is_not_blamed(node: &Node, errors: usize) -> Result<()> {
    let va = chain(&hardware(node).await?, "va")?.clone();
    ensure!(va["state"] == "proven", "{va}");
    let failed = node.log().matches("failed on hardware; done again in software").count();
    ensure!(failed == errors, "{failed} times on hardware");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_not_blamed_for_recordings_that_are_damaged() -> Result<()> {
    let (folder, settings) = machine("vah264enc=crash:40")?;
    let node = Node::start(settings).await?;
    ensure!(chain(&proven(&node).await?, "va")?["state"] == "proven");
    let whole = media::small_webm(folder.path(), 4.0)?;
    for salt in 1..=3 {
        let cut = media::salted(&whole[..whole.len() - 500], salt);
        let uploaded = node.upload("demo", cut).await?;
        let said = node.wait_for(&uploaded.id, "stored").await?.to_string();
        ensure!(said.contains("is cut off at") && said.contains("because va failed"), "{said}");
    }
    va_is_not_blamed(&node, 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_not_blamed_for_what_software_fails_at_too() -> Result<()> {
    let (folder, settings) = machine("vah264enc=good")?;
    let node = Node::start(settings).await?;
    ensure!(chain(&proven(&node).await?, "va")?["state"] == "proven");
    let webm = media::small_webm(folder.path(), 4.0)?;
    fs::write(folder.path().join(CRASH), "")?;
    for salt in 1..=3 {
        let uploaded = node.upload("demo", media::salted(&webm, salt)).await?;
        until("the attempt to fail", async || {
            let recording = node.recording(&uploaded.id).await?;
            Ok((!recording["transcode"]["error"].is_null()).then_some(()))
        })
        .await?;
    }
    va_is_not_blamed(&node, 3).await?;
    // Nor is it avoided: the next film is made on it.
    fs::remove_file(folder.path().join(CRASH))?;
    film(&node, folder.path(), 4, true).await.map(drop)
}
