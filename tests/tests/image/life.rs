//! A box from its first start on: set up by nobody, restarted, carried to another board, opened with its recovery key.

use std::fs;

use anyhow::{Result, ensure};
use reqwest::Method;

use crate::box_::{BOARD, CLOSED, HEALTHY, OTHER_BOARD, World, tools};

#[tokio::test(flavor = "multi_thread")]
async fn a_box_sets_itself_up_and_opens_for_its_own_board_or_its_recovery_key_alone() -> Result<()> {
    tools()?;
    let world = World::flashed("one").await?;

    // The first start, with nobody there.
    let mut board = world.board(BOARD)?;
    board.start(&world.disk, &[])?;
    board.says(&[HEALTHY]).await?;
    let said = board.said()?;
    ensure!(said.contains("Custom Secure Boot keys successfully enrolled"), "{said}");
    let recovery = world.recovery_key(&said)?;
    let health = world.healthy(&board).await?;
    eprintln!("healthy: {health}");
    let first = world.record(&board).await?;
    let evidence = world.ask(&board, Method::GET, "/api/v1/evidence").await?;
    ensure!(evidence.to_string().contains("luks2") || evidence.to_string().contains("LUKS2"), "{evidence}");
    board.off().await?;

    // Again, by its TPM. The configuration and the ledger are still there; a key is not shown twice.
    board.start(&world.disk, &[])?;
    world.healthy(&board).await?;
    let seen = world.ask(&board, Method::GET, &format!("/api/v1/recordings/{first}")).await?;
    ensure!(seen["state"] == "delivered", "{seen}");
    ensure!(world.recovery_key(&board.said()?).is_err(), "the recovery key was shown again");
    // The plug is pulled while a recording arrives, and what was acknowledged is there afterwards.
    board.cut();

    // Another board has another TPM.
    let mut other = world.board(OTHER_BOARD)?;
    other.start(&world.disk, &[])?;
    other.says(&[CLOSED]).await?;
    ensure!(world.ask(&other, Method::GET, "/api/v1/health").await.is_err(), "a node answers");
    other.cut();

    // With the recovery key on a stick it opens, and then by itself.
    fs::write(world.file("wrong.txt"), "cbdefghi\n")?;
    let stick = world.stick("HOLDFAST-KEYS", "HF-KEYS", 40, &[("recovery.txt", &recovery)])?;
    other.start(&world.disk, &[&stick])?;
    world.healthy(&other).await?;
    let seen = world.ask(&other, Method::GET, &format!("/api/v1/recordings/{first}")).await?;
    ensure!(seen["state"] == "delivered", "{seen}");
    other.off().await?;
    other.start(&world.disk, &[])?;
    world.healthy(&other).await?;
    world.record(&other).await?;
    other.off().await
}
