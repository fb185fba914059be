//! Lines as phones have them.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use holdfast_tests::datagrams::Datagrams;
use holdfast_tests::http::Uploaded;
use holdfast_tests::http3::{Http3, answer, request};
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::sha256;
use holdfast_tests::{Node, until};
use http::Method;
use serde_json::Value;

use crate::{is_under_way, settings};

/// The address that a recording came from, as its folder says.
fn came_from(node: &Node, id: &str) -> Result<String> {
    let files = node.in_vault(id)?;
    let manifest = files.iter().find(|path| path.ends_with("manifest.json"));
    let text = std::fs::read(manifest.with_context(|| format!("{files:?}"))?)?;
    let manifest: Value = serde_json::from_slice(&text)?;
    let ip = &manifest["metadata"]["ip"];
    Ok(ip.as_str().with_context(|| manifest.to_string())?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_when_the_client_gets_another_address() -> Result<()> {
    let node = Node::start(settings()).await?;
    let client = Http3::to(&node).await?;
    let bytes = webm_noise(1, 12 << 20);
    let upload = || request(Method::PUT, &Node::upload_path("raw"));
    let mut exchange = client.begin(upload()?).await?;
    let mut pieces = bytes.chunks(1 << 20).map(Bytes::copy_from_slice);
    for piece in pieces.by_ref().take(3) {
        exchange.send_data(piece).await?;
    }
    is_under_way(&node).await?;
    client.move_to("127.0.0.2")?;
    for piece in pieces.by_ref().take(3) {
        exchange.send_data(piece).await?;
    }
    client.move_to("127.0.0.3")?;
    for piece in pieces {
        exchange.send_data(piece).await?;
    }
    exchange.finish().await?;
    let said = answer(&mut exchange).await?;
    ensure!(said.status == 201, "{}: {}", said.status, said.text());
    let uploaded = Uploaded::parse(&said.text())?;
    ensure!(uploaded.sha256 == sha256(&bytes), "other bytes than were sent");
    ensure!(came_from(&node, &uploaded.id)? == "127.0.0.1");

    // The same connection; each request has the address that its client has by then.
    let said = client.request(upload()?, &webm_noise(2, 50_000)).await?;
    ensure!(came_from(&node, &Uploaded::parse(&said.text())?.id)? == "127.0.0.3");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_a_line_that_loses_one_datagram_in_twenty_arrives_whole() -> Result<()> {
    let node = Node::start(settings()).await?;
    let line = Datagrams::before(node.port(), 5).await?;
    let client = until("a connection over the line", async || {
        Http3::connect(line.port(), &node.certificate()).await.map(Some)
    })
    .await?;
    let bytes = webm_noise(3, 8 << 20);
    let said = client.request(request(Method::PUT, &Node::upload_path("raw"))?, &bytes).await?;
    ensure!(said.status == 201, "{}: {}", said.status, said.text());
    ensure!(Uploaded::parse(&said.text())?.sha256 == sha256(&bytes), "other bytes than were sent");
    let (carried, lost) = (&line.count().carried, &line.count().lost);
    let (carried, lost) = (carried.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
    ensure!(lost > 100, "only {lost} datagrams were lost, {carried} carried");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_many_connections_has_to_prove_its_address_for_more() -> Result<()> {
    let node = Node::start(settings().set("node.connections_per_address_max", 40)).await?;
    let line = Datagrams::before(node.port(), 0).await?;
    let retries = || line.count().retries.load(Ordering::Relaxed);
    let mut clients = vec![Http3::connect(line.port(), &node.certificate()).await?];
    ensure!(retries() == 0, "the first has to prove its address");
    // A quarter of its share, and one over https at least is held.
    for _ in 0..14 {
        let client = Http3::connect(line.port(), &node.certificate()).await?;
        ensure!(client.get("/live").await?.status == 200);
        clients.push(client);
    }
    ensure!(retries() >= 4, "{} had to prove their address", retries());
    Ok(())
}
