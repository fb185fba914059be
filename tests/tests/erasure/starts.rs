//! Where keys cannot be kept as promised, or are lost, the node does not start, and says what to do.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::mount::Disk;
use holdfast_tests::tools::output;
use holdfast_tests::{Node, media};

use super::settings;

async fn refuses(node: &mut Node, said: &str) -> Result<()> {
    ensure!(node.launch().await.is_err(), "it started");
    ensure!(node.log().contains(said), "it did not say {said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_cannot_encrypt_is_refused_until_it_is_told_to() -> Result<()> {
    let disk = Disk::new(32 << 20)?;
    let mut node = Node::lay_out(settings(&disk))?;
    refuses(&mut node, "tune2fs -O encrypt").await?;
    disk.unmounted(|image| {
        output(Command::new("/sbin/tune2fs").args(["-O", "encrypt"]).arg(image)).map(drop)
    })?;
    node.launch().await?;
    node.upload("raw", media::webm_noise(1, 1_000)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_on_no_disk_with_recordings_and_in_nothing_that_forgets() -> Result<()> {
    let disk = Disk::encrypting(32 << 20)?;
    let mut node = Node::lay_out(settings(&disk))?;
    let state = disk.path().join("state");
    fs::create_dir(&state)?;
    node.set("node.state_path", state.to_str().unwrap_or_default())?;
    refuses(&mut node, "whoever has an image of it would have both").await?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    node.set("node.state_path", memory.path().to_str().unwrap_or_default())?;
    refuses(&mut node, "on ext4 or XFS").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_state_folder_a_node_says_that_recordings_are_lost_and_begins_nothing()
-> Result<()> {
    let disk = Disk::encrypting(32 << 20)?;
    let mut node = Node::start(settings(&disk)).await?;
    let id = node.upload("raw", media::webm_noise(1, 1_000)).await?.id;
    node.wait_for(&id, "stored").await?;
    node.stop().await?;
    let (epochs, aside) = (node.state().join("erasure/epochs"), node.dir().join("epochs"));
    fs::copy(&epochs, &aside)?;
    fs::remove_file(&epochs)?;
    refuses(&mut node, "put the state folder back").await?;
    node.set("vault.erasure", "unlink")?;
    refuses(&mut node, "put the state folder back").await?;
    fs::copy(&aside, &epochs)?;
    // What has a key keeps it, whatever the setting; what is new gets none.
    node.launch().await?;
    ensure!(node.get_file(&id, "raw").await? == media::webm_noise(1, 1_000));
    let plain = node.upload("raw", media::webm_noise(2, 1_000)).await?.id;
    node.wait_for(&plain, "stored").await?;
    node.stop().await?;
    let folders = disk.path().join("recordings");
    disk.unmounted(|_| Ok(()))?;
    ensure!(folders.join(&plain).join("raw").exists() && !folders.join(&id).join("raw").exists());
    Ok(())
}
