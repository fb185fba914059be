//! A vault that a real node has filled: recordings in every state that matters to who rescues them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use holdfast_tests::media::webm_noise;
use holdfast_tests::mount::Disk;
use holdfast_tests::tools::{output, sha256, sha256_of};
use holdfast_tests::{Environment, Node, Settings, Stream};
use reqwest::Method;

const VAULT_BYTES: u64 = 64 << 20;
/// Bytes of a recording: large enough that copying a few takes longer than noticing the first.
const RECORDING_BYTES: usize = 1_000_000;
/// How many recordings wait for their destination.
const WAITING: usize = 10;

/// A recording, and what its raw file is.
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) sha256: String,
}

/// An image of a vault, and what is on it.
pub(crate) struct Vault {
    pub(crate) disk: Disk,
    /// Their destination is not there.
    pub(crate) waiting: Vec<Known>,
    /// Its environment has no destination.
    pub(crate) kept: Known,
    /// Delivered, and under a legal hold.
    pub(crate) held: Known,
    /// Half of it had arrived.
    pub(crate) arriving: Known,
    /// Delivered, and its raw file is here still, for playback.
    pub(crate) delivered: String,
    /// Deleted by hand.
    pub(crate) deleted: String,
    /// One of those that wait, whose raw file the disk has changed since.
    pub(crate) changed: String,
    /// With a key of its own.
    pub(crate) keyed: String,
}

impl Vault {
    /// Runs a node until all of these are there. The kernel has to be able to encrypt folders.
    pub(crate) async fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let image = dir.path().join("image");
        File::create(&image)?.set_len(VAULT_BYTES)?;
        // As holdfast-volume makes it: LUKS2 there has sectors of 4096 bytes.
        let ext4 = ["-q", "-b", "4096", "-i", "131072", "-m", "0", "-O", "encrypt"];
        output(Command::new("/sbin/mkfs.ext4").args(ext4).arg(&image))?;
        let disk = Disk::copy_of(&image)?;
        let mut node = Node::start(settings(disk.path().as_path(), dir.path())).await?;

        let mut waiting = Vec::new();
        for number in 0..WAITING {
            waiting.push(uploaded(&node, "waiting", number as u64).await?);
        }
        for known in &waiting {
            node.wait_for(&known.id, "delivering").await?;
        }
        let kept = uploaded(&node, "keep", 50).await?;
        node.wait_for(&kept.id, "stored").await?;
        let deleted = uploaded(&node, "keep", 51).await?.id;
        node.wait_for(&deleted, "stored").await?;
        let gone = node.api(Method::DELETE, &format!("/recordings/{deleted}"))?.send().await?;
        gone.error_for_status()?;
        node.gone_from_vault(&deleted).await?;
        let delivered = streamed(&node, 52).await?.id;
        let held = streamed(&node, 53).await?;
        let hold = node.api(Method::PUT, &format!("/recordings/{}/hold", held.id))?;
        let hold = hold.header("content-type", "application/json").body(r#"{"reason":"a court"}"#);
        hold.send().await?.error_for_status()?;
        let bytes = webm_noise(54, RECORDING_BYTES / 2);
        let mut stream = Stream::start(&node.address()?, "raw").await?;
        stream.push(&bytes, 50_000).await?;
        stream.acked_to(bytes.len() as u64).await?;
        let arriving = Known { id: stream.id.clone(), sha256: sha256(&bytes) };
        node.stop().await?;

        node.set("vault.erasure", "keys")?;
        node.launch().await?;
        let keyed = uploaded(&node, "keep", 55).await?.id;
        node.wait_for(&keyed, "stored").await?;
        node.stop().await?;
        let last = waiting.last_mut().context("none waits")?;
        let changed = last.id.clone();
        let raw = disk.path().join("recordings").join(&changed).join("raw");
        File::options().write(true).open(&raw)?.write_all_at(b"changed", 5000)?;
        last.sha256 = sha256_of(&raw)?;
        Ok(Self { disk, waiting, kept, held, arriving, delivered, deleted, changed, keyed })
    }
}

fn settings(vault: &Path, dir: &Path) -> Settings {
    let mut absent = toml::Table::new();
    for (key, value) in [("kind", "directory"), ("name", "absent")] {
        absent.insert(key.into(), value.into());
    }
    let path = dir.join("not-there").to_string_lossy().into_owned();
    absent.insert("path".into(), path.into());
    Settings::new()
        .environment(Environment::raw_only("raw"))
        .environment(Environment::raw_only("waiting").set("destinations", vec!["absent"]))
        .environment(Environment::raw_only("keep").set("destinations", Vec::<String>::new()))
        .destination(absent)
        .vault(vault)
        .set("ingest.playback_ms", 86_400_000)
        .set("ingest.reconnect_ms", 86_400_000)
}

async fn uploaded(node: &Node, environment: &str, seed: u64) -> Result<Known> {
    let bytes = webm_noise(seed, RECORDING_BYTES);
    let sha256 = sha256(&bytes);
    Ok(Known { id: node.upload(environment, bytes).await?.id, sha256 })
}

async fn streamed(node: &Node, seed: u64) -> Result<Known> {
    let bytes = webm_noise(seed, RECORDING_BYTES);
    let mut stream = Stream::start(&node.address()?, "raw").await?;
    stream.record(&bytes, 100_000).await?;
    node.wait_for(&stream.id, "stored").await?;
    Ok(Known { id: stream.id.clone(), sha256: sha256(&bytes) })
}
