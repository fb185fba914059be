//! Versions: a new one is tried and kept, one that does not work is left, a damaged slot is left, a power cut while
//! updating changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::output;
use reqwest::Method;

use crate::first::start;
use crate::machine::{flip, number, partition};
use crate::world::{BOARD, World, images, tools};

/// A stick with an update of this version.
fn update_stick(world: &World, image: &str) -> Result<PathBuf> {
    let folder = images()?.join(image);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|it| it.to_str()).context("a name")?.to_owned();
        let ends = |it: &str| name.ends_with(it);
        if ends(".root")
            || ends(".verity")
            || ends(".efi")
            || name == "SHA256SUMS"
            || name == "SHA256SUMS.gpg"
        {
            files.push((name, path));
        }
    }
    let files: Vec<(&str, &Path)> =
        files.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
    world.stick("HOLDFAST-UPDATE", "HF-UPDATE", 1200, &files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_tried_and_kept_and_one_that_does_not_work_is_left() -> Result<()> {
    tools()?;
    let world = World::flashed("one").await?;
    let (mut board, id) = start(&world).await?;
    board.off().await?;

    // The plug is pulled while an update is written: the version before starts, and the update is done again.
    let two = update_stick(&world, "two")?;
    board.start(&world.disk, &[&two])?;
    board.says(&["updating from 0.1.0 to 0.2.0"]).await?;
    board.cut();
    board.start(&world.disk, &[])?;
    board.says(&["version 0.1.0 is healthy"]).await?;
    board.off().await?;

    // The whole of it.
    board.start(&world.disk, &[&two])?;
    board.says(&["version 0.2.0 is installed"]).await?;
    board.says(&["version 0.2.0 works, and stays"]).await?;
    board.says(&["version 0.2.0 is healthy"]).await?;
    let seen = world.ask(&board, Method::GET, &format!("/api/v1/recordings/{id}")).await?;
    ensure!(seen["state"] == "stored", "{seen}");
    world.record(&board).await?;
    board.off().await?;

    // A slot with one bit flipped does not start: after three tries it is the other slot's turn.
    let (at, _) = partition(&world.disk, "holdfast_0.2.0")?;
    flip(&world.disk, at + 1024)?;
    board.start(&world.disk, &[])?;
    board.says(&["version 0.1.0 is healthy"]).await?;
    world.ask(&board, Method::GET, &format!("/api/v1/recordings/{id}")).await?;
    board.off().await?;

    // One whose node does not start: three tries, then the one before, and it is not installed a second time although
    // its stick is still there.
    let broken = update_stick(&world, "broken")?;
    board.start(&world.disk, &[&broken])?;
    board.says(&["version 0.3.0 is installed"]).await?;
    for _ in 0..3 {
        board.says(&["version 0.3.0 is on trial and not healthy: restarting"]).await?;
        board.listen_anew()?;
    }
    board.says(&["version 0.1.0 is healthy"]).await?;
    board.says(&["no update: 0.1.0 is the newest"]).await?;
    let seen = world.ask(&board, Method::GET, &format!("/api/v1/recordings/{id}")).await?;
    ensure!(seen["state"] == "stored", "{seen}");
    world.record(&board).await?;
    board.off().await
}

/// No shell and no waiting for a person, but another start.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_not_there_is_looked_for_again() -> Result<()> {
    tools()?;
    let world = World::flashed("one").await?;
    let slot = number(&world.disk, "holdfast_0.1.0")?.to_string();
    let id = "00000000-0000-0000-0000-000000000001";
    let mut command = Command::new("/sbin/sfdisk");
    output(command.args(["-q", "--no-reread", "--part-uuid"]).arg(&world.disk).args([&slot, id]))?;
    let mut board = world.board(BOARD)?;
    board.start(&world.disk, &[])?;
    // The first of them enrols the keys of Secure Boot and starts anew.
    let begins = "BdsDxe: starting";
    for _ in 0..3 {
        board.says(&[begins]).await?;
        board.listen_anew()?;
    }
    board.cut();
    Ok(())
}
