//! Further disks: a blank one becomes a volume, goes, comes back, and is erased with the box. Nothing else is touched. The
//! image is the one for debugging, which can say why something did not come.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use holdfast_tests::tools::{output, sha256};
use holdfast_tests::wait::until_within;
use reqwest::Method;
use serde_json::Value;

use crate::machine::{Board, START, partition};
use crate::world::{BOARD, HEALTHY, World, tools};

/// A disk that is nothing but a hole.
fn blank(world: &World, name: &str, bytes: u64) -> Result<std::path::PathBuf> {
    let path = world.file(name);
    File::create(&path)?.set_len(bytes)?;
    Ok(path)
}

/// What the node says of a volume.
async fn volume(world: &World, board: &Board, name: &str) -> Result<Value> {
    let status = world.ask(board, Method::GET, "/api/v1/status").await?;
    let all = status["vault"].as_array().context("no vault")?;
    all.iter()
        .find(|it| it["name"] == name)
        .cloned()
        .with_context(|| format!("no {name}: {status}"))
}

async fn volume_is(world: &World, board: &Board, name: &str, state: &str) -> Result<Value> {
    until_within(START, &format!("{name} to be {state}"), async || {
        let volume = volume(world, board, name).await?;
        ensure!(volume["state"] == state, "{volume}\n{}", board.said()?);
        Ok(Some(volume))
    })
    .await
}

async fn is_available(world: &World, board: &Board, id: &str, wanted: bool) -> Result<()> {
    until_within(START, &format!("{id} to be there: {wanted}"), async || {
        let seen = world.ask(board, Method::GET, &format!("/api/v1/recordings/{id}")).await?;
        ensure!(seen["unavailable"].is_null() == wanted, "{seen}");
        Ok(Some(()))
    })
    .await
}

/// UUID of the LUKS2 header in a disk's partition.
fn luks_uuid(world: &World, disk: &Path) -> Result<String> {
    let (at, _) = partition(disk, "holdfast.data1")?;
    let file = world.file("header-of-data1");
    let mut disk = File::open(disk)?;
    std::io::Seek::seek(&mut disk, std::io::SeekFrom::Start(at))?;
    std::io::copy(&mut disk.take(17 << 20), &mut File::create(&file)?)?;
    let said = output(std::process::Command::new("/sbin/cryptsetup").arg("luksUUID").arg(file))?;
    Ok(String::from_utf8(said)?.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_disk_becomes_a_volume_that_may_go_and_is_erased_with_the_box() -> Result<()> {
    tools()?;
    let further = "data_disks = [\"data1\"]\n";
    let used = "\n[[vault.volumes]]\nname = \"data1\"\npath = \"/srv/holdfast/data1\"\n";
    let world = World::flashed_with("debug", used, further).await?;
    // More room than the first has, so that recordings go there; one with something on it; one on USB.
    let disk = blank(&world, "second", 24 << 30)?;
    let taken = world.stick("SOMEBODYS", "PHOTOS", 1100, &[])?;
    let on_usb = blank(&world, "on-usb", 2 << 30)?;
    let before = sha256(&fs::read(&taken)?);

    let mut board = world.board(BOARD)?;
    board.has_in_bay(&taken);
    board.start(&world.disk, &[&on_usb])?;
    if let Err(error) = board.says(&[HEALTHY]).await {
        let why = board.shell("journalctl -b -u holdfast* -n 60 --no-pager -o cat").await?;
        bail!("{error:#}\n{why}");
    }
    board.says(&["data1: there is no blank disk for it"]).await?;
    ensure!(volume(&world, &board, "data1").await?["state"] == "away");

    board.plug("second", &disk, "scsi-hd")?;
    board.says(&["data1: encrypting the disk sd"]).await?;
    let ready = volume_is(&world, &board, "data1", "ready").await?;
    ensure!(ready["encrypted"] == true, "{ready}");
    let uuid = luks_uuid(&world, &disk)?;
    // Each has a recovery key, which was shown.
    until_within(START, "two recovery keys", async || {
        let is_key =
            |line: &&str| line.len() == 80 && line.chars().all(|c| "cbdefghijklnrtuv-".contains(c));
        let said = board.said()?;
        let keys: std::collections::BTreeSet<&str> =
            said.lines().map(str::trim).filter(is_key).collect();
        ensure!(keys.len() == 2, "{keys:?}");
        Ok(Some(()))
    })
    .await?;

    // What lies on it is not to be had while it is away, and the node goes on.
    let id = world.record(&board).await?;
    let seen = world.ask(&board, Method::GET, &format!("/api/v1/recordings/{id}")).await?;
    ensure!(seen["volume"] == "data1", "{seen}");
    board.unplug("second")?;
    volume_is(&world, &board, "data1", "away").await?;
    is_available(&world, &board, &id, false).await?;
    world.record(&board).await?;
    board.pull("second")?;
    board.plug("again", &disk, "scsi-hd")?;
    volume_is(&world, &board, "data1", "ready").await?;
    is_available(&world, &board, &id, true).await?;
    ensure!(luks_uuid(&world, &disk)? == uuid, "it was made anew");

    // A factory reset is of every disk in the box, and the same disk becomes a volume again.
    let order = world.reset_stick(&world.serial()?)?;
    board.listen_anew()?;
    board.plug("order", &order, "usb-storage")?;
    board.says(&["factory reset: done"]).await?;
    board.says(&[HEALTHY]).await?;
    volume_is(&world, &board, "data1", "ready").await?;
    ensure!(luks_uuid(&world, &disk)? != uuid, "the same volume as before");
    board.off().await?;

    ensure!(sha256(&fs::read(&taken)?) == before, "a disk with something on it was written to");
    let mut first = vec![0; 32 << 20];
    File::open(&on_usb)?.read_exact(&mut first)?;
    ensure!(first.iter().all(|byte| *byte == 0), "a disk on USB was written to");
    Ok(())
}
