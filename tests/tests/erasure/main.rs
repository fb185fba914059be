//! Deleting a recording makes its bytes unreadable, to whoever has the disk and the keys of later.
//!
//! Needs root (or `sudo`) for mounting, and a kernel that can encrypt folders.

mod attack;
mod life;
mod quota;
mod starts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::mount::Disk;
use holdfast_tests::tools::{output, output_of};
use holdfast_tests::{Environment, Node, Settings, media, until};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use attack::{add_key, key_of, occurrences};

/// Longer than any test.
const LONG_MS: i64 = 86_400_000;
/// Bytes of known plaintext that are looked for.
const PIECE_BYTES: usize = 48;
const PIECES: usize = 6;

/// A node whose recordings have keys, with an environment that keeps and one that delivers.
fn settings(disk: &Disk) -> Settings {
    let nowhere = toml::Value::Array(Vec::new());
    Settings::new()
        .environment(Environment::new("keep").set("destinations", nowhere.clone()))
        .environment(Environment::raw_only("raw").set("destinations", nowhere))
        .environment(Environment::new("deliver"))
        .vault(disk.path())
        .set("vault.erasure", "keys")
        .set("vault.erasure_epoch_ms", LONG_MS)
        .set("ingest.playback_ms", 0)
}

/// The entries of a node's audit log, after its export was checked.
async fn audit(node: &Node) -> Result<(Vec<Value>, Value)> {
    let log = node.dir().join("audit.ndjson");
    let path = log.to_str().context("a path that is text")?;
    let _ = fs::remove_file(&log);
    output_of(node.command(&["audit", "export", "--out", path])).await?;
    let mut verify = Command::new(holdfast_tests::tools::bin_dir().join("holdfast"));
    verify.args(["audit", "verify", path, "--json"]);
    let report = serde_json::from_slice(&output_of(verify).await?)?;
    let text = fs::read_to_string(&log)?;
    let entries = text.lines().skip(1).map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((entries, report))
}

async fn epoch_destroyed(node: &Node, epoch: u64) -> Result<Value> {
    until("an epoch to be destroyed", async || {
        let (entries, _) = audit(node).await?;
        let is_it = |entry: &&Value| {
            entry["what"]["act"] == "epoch_destroyed"
                && entry["what"]["epoch"].as_u64().is_some_and(|gone| gone >= epoch)
        };
        Ok(entries.iter().find(is_it).cloned())
    })
    .await
}

async fn delete(node: &Node, id: &str) -> Result<()> {
    node.api(Method::DELETE, &format!("/recordings/{id}"))?.send().await?.error_for_status()?;
    until("its folder to be gone", async || {
        Ok((!node.vault().join("recordings").join(id).exists()).then_some(()))
    })
    .await?;
    node.wait_for(id, "deleted").await.map(drop)
}

/// What somebody has who copies a volume that is not in use, and the state folder.
struct Images {
    dir: TempDir,
}

impl Images {
    fn take(disk: &Disk, node: &Node) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-images-").tempdir()?;
        let copy = |from: &Path, name: &str| {
            output(
                Command::new("cp")
                    .args(["-a", "--sparse=always"])
                    .arg(from)
                    .arg(dir.path().join(name)),
            )
        };
        disk.unmounted(|image| copy(image, "disk"))?;
        copy(&node.state(), "state")?;
        Ok(Self { dir })
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

/// A recording's files as the volume itself shows them to whoever has their key.
fn files_of(volume: &Path, id: &str) -> Result<Vec<Vec<u8>>> {
    let folder = volume.join("recordings").join(id);
    let names = ["main.mp4", "snapshot.jpg", "filmstrip.jpg", "manifest.json"];
    names.iter().map(|name| fs::read(folder.join(name)).context(*name)).collect()
}

/// Different bytes that a piece has at least: zeros are on every disk.
const DIFFERENT_MIN: usize = 16;

/// Pieces of a file's plaintext, from all over it, that are in an image.
fn pieces_in(image: &Path, file: &[u8]) -> Result<Vec<Vec<u8>>> {
    let image = fs::read(image)?;
    let last = file.len().saturating_sub(PIECE_BYTES);
    let pieces =
        (0..PIECES).map(|at| last * at / (PIECES - 1)).map(|at| &file[at..at + PIECE_BYTES]);
    let told = pieces.filter(|piece| BTreeSet::from_iter(*piece).len() >= DIFFERENT_MIN);
    let told: Vec<_> = told.collect();
    ensure!(!told.is_empty(), "nothing to look for");
    Ok(told
        .into_iter()
        .filter(|p| !occurrences(&image, p).is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_unreadable_with_any_image_and_any_keys_that_are_not_of_one_time()
-> Result<()> {
    let disk = Disk::encrypting(24 << 20)?;
    let mut node = Node::start(settings(&disk)).await?;
    let film = media::small_webm(node.dir(), 2.0)?;
    let kept = node.upload("keep", media::salted(&film, 1)).await?.id;
    let lost = node.upload("keep", media::salted(&film, 2)).await?.id;
    for id in [&kept, &lost] {
        node.wait_for(id, "stored").await?;
    }
    // A file of the same disk that is not encrypted shows that looking for it finds something.
    let plain = media::webm_noise(9, 1 << 16);
    fs::write(disk.path().join("plain"), &plain)?;

    for id in [&kept, &lost] {
        until("its raw file to go", async || {
            let rec = node.recording(id).await?;
            let all = rec["files"].as_array().into_iter().flatten();
            let raw = { all }.find(|file| file["kind"] == "raw");
            Ok(raw.is_some_and(|raw| !raw["deleted_at"].is_null()).then_some(()))
        })
        .await?;
    }
    let (kept_files, mut lost_files) =
        (files_of(&node.vault(), &kept)?, files_of(&node.vault(), &lost)?);
    ensure!(node.get_file(&lost, "main").await? == lost_files[0], "the mount shows what it is");
    // The raw file went when the film was made; its bytes lie there still.
    lost_files.push(media::salted(&film, 2));
    node.stop().await?;
    let before = Images::take(&disk, &node)?;
    ensure!(pieces_in(&before.disk(), &plain)?.len() == PIECES, "what is not encrypted is found");
    for file in &lost_files {
        let found = pieces_in(&before.disk(), file)?;
        ensure!(found.is_empty(), "there is plaintext on the disk: {found:x?}");
    }
    ensure!(
        !disk.path().join("recordings").join(&lost).join("main.mp4").exists(),
        "readable without a key"
    );

    node.launch().await?;
    ensure!(node.get_file(&lost, "main").await? == lost_files[0], "after a restart");
    delete(&node, &lost).await?;
    let (entries, report) = audit(&node).await?;
    let receipts = entries.iter().filter(|entry| entry["what"]["recording"] == lost.as_str());
    let epochs: Vec<_> = receipts.filter_map(|entry| entry["what"]["key_epoch"].as_u64()).collect();
    ensure!(epochs == [1], "{entries:#?}");
    ensure!(
        report["erased_keys"]["receipts"] == 1 && report["erased_keys"]["ceased"] == 0,
        "{report}"
    );
    node.stop().await?;
    let meanwhile = Images::take(&disk, &node)?;

    node.set("vault.erasure_epoch_ms", 1_000)?;
    node.launch().await?;
    epoch_destroyed(&node, 1).await?;
    let (_, report) = audit(&node).await?;
    ensure!(report["is_sound"] == true && report["erased_keys"]["ceased"] == 1, "{report}");
    ensure!(node.get_file(&kept, "main").await? == kept_files[0], "the others live on");
    node.stop().await?;
    let after = Images::take(&disk, &node)?;

    // Of one time: this shows that what follows would find a key if there were one.
    let key =
        key_of(&before.disk(), &before.state(), &lost)?.context("no key before the deletion")?;
    let old = Disk::copy_of(&before.disk())?;
    add_key(&old.path(), &key)?;
    ensure!(files_of(&old.path(), &lost)? == lost_files[..lost_files.len() - 1]);
    ensure!(
        key_of(&before.disk(), &meanwhile.state(), &lost)? == Some(key),
        "until the epoch ends"
    );
    for (disk, state) in
        [(&before, &after), (&after, &before), (&meanwhile, &before), (&after, &after)]
    {
        ensure!(key_of(&disk.disk(), &state.state(), &lost)?.is_none(), "it can be read");
    }
    for images in [&meanwhile, &after] {
        for file in &lost_files {
            ensure!(pieces_in(&images.disk(), file)?.is_empty());
        }
    }
    let key = key_of(&after.disk(), &after.state(), &kept)?.context("no key of what was kept")?;
    let new = Disk::copy_of(&after.disk())?;
    add_key(&new.path(), &key)?;
    ensure!(files_of(&new.path(), &kept)?[0] == kept_files[0]);
    Ok(())
}
