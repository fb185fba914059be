//! The first start of a box with nobody there. The part of these tests that every change goes through.

use std::time::Instant;

use anyhow::{Result, ensure};
use reqwest::Method;

use crate::machine::Board;
use crate::world::{BOARD, HEALTHY, World, tools};

/// Starts a disk that was just flashed, and waits until the node is healthy and a recording is delivered.
pub(crate) async fn start(world: &World) -> Result<(Board, String)> {
    let mut board = world.board(BOARD)?;
    let begun = Instant::now();
    board.start(&world.disk, &[])?;
    // Said for docs/appliance.md, and judged by nobody.
    world.healthy(&board).await?;
    eprintln!("the first start took {} s until the node answered", begun.elapsed().as_secs());
    board.says(&[HEALTHY]).await?;
    let said = board.said()?;
    ensure!(said.contains("Custom Secure Boot keys successfully enrolled"), "{said}");
    let status = world.healthy(&board).await?;
    let volume = &status["vault"][0];
    ensure!(volume["encrypted"] == true && volume["name"] == "data0", "{status}");
    let id = world.record(&board).await?;
    eprintln!("and {} s until its first recording was delivered", begun.elapsed().as_secs());
    Ok((board, id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flashed_box_sets_itself_up_and_delivers_a_recording() -> Result<()> {
    tools()?;
    let world = World::flashed("one").await?;
    let (mut board, id) = start(&world).await?;
    world.recovery_key(&board.said()?)?;
    // What came of it lies on the ESP for the technician, and the secrets do not any more.
    board.off().await?;
    let outcome = world.on_esp("outcome.txt")?;
    ensure!(outcome.contains("the configuration from /efi was taken"), "{outcome}");
    for (name, _) in world.secrets() {
        ensure!(world.on_esp(&format!("secrets/{name}")).is_err(), "{name} lies on the ESP still");
    }

    // Again, by its TPM: ledger and configuration are there, and the recovery key is not shown a second time.
    let begun = Instant::now();
    board.start(&world.disk, &[])?;
    world.healthy(&board).await?;
    eprintln!("the second start took {} s until the node answered", begun.elapsed().as_secs());
    let seen = world.ask(&board, Method::GET, &format!("/api/v1/recordings/{id}")).await?;
    ensure!(seen["state"] == "stored", "{seen}");
    ensure!(world.recovery_key(&board.said()?).is_err(), "the recovery key was shown again");
    board.off().await
}
