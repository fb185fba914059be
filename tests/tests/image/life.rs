//! A box from its first start on: set up by nobody, restarted, carried to another board, opened with its recovery key.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::tools::output;
use reqwest::Method;

use crate::first::start;
use crate::machine::partition;
use crate::world::{CLOSED, HEALTHY, OTHER_BOARD, World, tools};

#[tokio::test(flavor = "multi_thread")]
async fn a_box_sets_itself_up_and_opens_for_its_own_board_or_its_recovery_key_alone() -> Result<()>
{
    tools()?;
    let world = World::flashed("one").await?;

    let (mut board, first) = start(&world).await?;
    let recovery = world.recovery_key(&board.said()?)?;
    // The plug is pulled: what was acknowledged is there afterwards.
    board.cut();

    // Another board has another TPM.
    let mut other = world.board(OTHER_BOARD)?;
    other.start(&world.disk, &[])?;
    other.says(&[CLOSED]).await?;
    ensure!(world.ask(&other, Method::GET, "/api/v1/status").await.is_err(), "a node answers");
    other.cut();

    // With the recovery key on a stick it opens, and then by itself.
    let stick = world.stick("HOLDFAST-KEYS", "HF-KEYS", 40, &[("recovery.txt", &recovery)])?;
    other.start(&world.disk, &[&stick])?;
    world.healthy(&other).await?;
    let seen = world.ask(&other, Method::GET, &format!("/api/v1/recordings/{first}")).await?;
    ensure!(seen["state"] == "stored", "{seen}");
    other.off().await?;
    other.start(&world.disk, &[])?;
    world.healthy(&other).await?;
    let last = world.record(&other).await?;
    other.off().await?;

    // A reset that is ordered for another box is none.
    let before = luks_uuid(&world, "holdfast.data0")?;
    let order = world.reset_stick("HF-0000-0000")?;
    other.start(&world.disk, &[&order])?;
    other.says(&["and this box is HF-"]).await?;
    world.healthy(&other).await?;
    world.ask(&other, Method::GET, &format!("/api/v1/recordings/{last}")).await?;
    other.off().await?;

    // One for this box: nothing of before opens any more, and it sets itself up again with what is on the stick.
    let order = world.reset_stick(&world.serial()?)?;
    other.start(&world.disk, &[&order])?;
    other.says(&["factory reset: done"]).await?;
    other.says(&[HEALTHY]).await?;
    world.healthy(&other).await?;
    let gone = world.ask(&other, Method::GET, &format!("/api/v1/recordings/{last}")).await;
    ensure!(
        gone.is_err_and(|error| error.to_string().contains("404")),
        "the recording is there still"
    );
    ensure!(luks_uuid(&world, "holdfast.data0")? != before, "the same volume as before");
    let new = world.recovery_key(&other.said()?)?;
    let kept = world.record(&other).await?;
    other.off().await?;

    // On a board with another TPM the recovery key of before opens nothing of it, and the new one all. (Not by the
    // cryptsetup of whoever tests: the board's processor has no AES, and not every kernel has Adiantum.)
    board.start(&world.disk, &[&stick])?;
    board.says(&["the recovery key on the stick is not that of this disk"]).await?;
    ensure!(world.ask(&board, Method::GET, "/api/v1/status").await.is_err(), "a node answers");
    board.cut();
    let stick = world.stick("HOLDFAST-KEYS", "HF-KEYS", 40, &[("recovery.txt", &new)])?;
    board.start(&world.disk, &[&stick])?;
    world.healthy(&board).await?;
    let seen = world.ask(&board, Method::GET, &format!("/api/v1/recordings/{kept}")).await?;
    ensure!(seen["state"] == "stored", "{seen}");
    board.off().await
}

/// The beginning of a LUKS2 partition, as a file.
fn header(world: &World, name: &str) -> Result<PathBuf> {
    let (at, _) = partition(&world.disk, name)?;
    let file = world.file("header");
    let mut disk = File::open(&world.disk)?;
    disk.seek(SeekFrom::Start(at))?;
    std::io::copy(&mut disk.take(17 << 20), &mut File::create(&file)?)?;
    Ok(file)
}

fn luks_uuid(world: &World, name: &str) -> Result<String> {
    let said = output(Command::new("/sbin/cryptsetup").arg("luksUUID").arg(header(world, name)?))?;
    Ok(String::from_utf8(said)?)
}
