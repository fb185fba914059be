//! What is refused, and that it costs others nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use holdfast_tests::http3::{Http3, answer, header, quic, request};
use holdfast_tests::media::webm_noise;
use holdfast_tests::wait::PATIENCE;
use holdfast_tests::{Node, until};
use http::Method;

use crate::{problem, settings};

#[tokio::test(flavor = "multi_thread")]
async fn too_large_is_413_and_a_stalled_body_408() -> Result<()> {
    let limited =
        settings().set("ingest.recording_bytes_max", 200_000).set("ingest.stall_ms_max", 600);
    let node = Node::start(limited).await?;
    let client = Http3::to(&node).await?;
    let upload = || request(Method::PUT, &Node::upload_path("raw"));
    problem(&client.request(upload()?, &webm_noise(1, 30 << 20)).await?, 413)?;
    let mut said = upload()?;
    said.headers_mut().insert("content-length", 300_000.into());
    problem(&client.request(said, &webm_noise(2, 300_000)).await?, 413)?;
    node.holds_no_recording().await?;

    let mut stalled = client.begin(upload()?).await?;
    stalled.send_data(Bytes::from(webm_noise(3, 100_000))).await?;
    problem(&answer(&mut stalled).await?, 408)?;
    node.holds_no_recording().await?;
    // The connection is as good as before.
    let whole = client.request(upload()?, &webm_noise(4, 200_000)).await?;
    ensure!(whole.status == 201, "{}", whole.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_size_and_a_time() -> Result<()> {
    let node = Node::start(settings()).await?;
    let client = Http3::to(&node).await?;
    let mut large = request(Method::GET, "/live")?;
    for nr in 0..12 {
        let name = http::HeaderName::try_from(format!("x-filler-{nr}"))?;
        large.headers_mut().insert(name, "a".repeat(8_000).parse()?);
    }
    // A client that knows of the limit would not have sent it: it is told by SETTINGS.
    match client.request(large, &[]).await {
        Ok(answer) => ensure!(answer.status == 431, "{}", answer.status),
        Err(error) => ensure!(error.to_string().contains("too big"), "{error:#}"),
    }

    // One that says it sends half a gigabyte, and begins to. It is not kept until it is whole.
    let (_endpoint, quic) = quic(node.port(), &node.certificate()).await?;
    let (mut up, _down) = quic.open_bi().await?;
    up.write_all(&header(1, 1 << 29)).await?;
    let filler = vec![0; 1 << 16];
    let sent = async {
        for _ in 0..(1 << 29) / filler.len() {
            if up.write_all(&filler).await.is_err() {
                return Ok(());
            }
        }
        anyhow::bail!("a head of half a gigabyte was taken")
    };
    tokio::time::timeout(PATIENCE, sent).await.context("nobody refused it")??;

    // In single bytes.
    let (mut up, mut down) = quic.open_bi().await?;
    up.write_all(&header(1, 100_000)).await?;
    let trickle = async {
        while up.write_all(&[0]).await.is_ok() {
            // Else several go out in one packet.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let ended = async { drop(down.read_to_end(1 << 20).await) };
    tokio::time::timeout(PATIENCE, async { tokio::join!(trickle, ended) })
        .await
        .context("it may trickle for ever")?;

    // Never finished.
    let (mut up, mut down) = quic.open_bi().await?;
    up.write_all(&header(1, 100)).await?;
    up.write_all(&[0, 0]).await?;
    let ended = tokio::time::timeout(PATIENCE, down.read_to_end(1 << 20)).await;
    let said = ended.context("nobody ended it")?;
    ensure!(said.is_err() || said.is_ok_and(|said| said.is_empty()), "an answer to half a head");
    ensure!(client.get("/live").await?.status == 200);
    Ok(())
}

/// A frame that h3 would hold whole is limited within a body, too, and so is the control stream.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_wants_to_keep_is_not_kept() -> Result<()> {
    let node = Node::start(settings()).await?;
    let (_endpoint, line) = quic(node.port(), &node.certificate()).await?;
    let (mut up, mut down) = line.open_bi().await?;
    up.write_all(&holdfast_tests::http3::head(&Node::upload_path("raw"))?).await?;
    up.write_all(&holdfast_tests::http3::frame(0, &webm_noise(5, 50_000))).await?;
    up.write_all(&header(0x21, 1 << 29)).await?;
    let said = tokio::time::timeout(PATIENCE, down.read_to_end(1 << 20)).await??;
    ensure!(String::from_utf8_lossy(&said).contains("ended early"), "{said:?}");
    node.holds_no_recording().await?;

    let mut control = line.open_uni().await?;
    // A control stream, with empty settings; then a frame of an unknown type without an end.
    control.write_all(&[0, 4, 0]).await?;
    control.write_all(&header(0x21, 1 << 29)).await?;
    let filler = vec![0; 1 << 16];
    let flood = async { while control.write_all(&filler).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, flood).await.context("a control stream without an end")?;
    tokio::time::timeout(PATIENCE, line.closed()).await.context("the connection goes on")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_its_share_of_connections_over_both() -> Result<()> {
    const MOST: usize = 8;
    let limited = settings().set("node.connections_per_address_max", i64::try_from(MOST)?);
    let node = Node::start(limited).await?;
    let address = node.address()?;
    let mut over_tcp = Vec::new();
    for _ in 0..3 {
        over_tcp.push(address.connect().await?);
    }
    let mut over_quic = Vec::new();
    let refused = until("a connection to be refused", async || match Http3::to(&node).await {
        Ok(client) => {
            over_quic.push(client);
            Ok(None)
        }
        Err(error) => Ok(Some(error)),
    })
    .await?;
    ensure!(format!("{refused:#}").contains("refused"), "{refused:#}");
    let held = over_tcp.len() + over_quic.len();
    // The test's own client has one or two.
    ensure!(
        (MOST - 2..=MOST).contains(&held),
        "{} over TCP and {}",
        over_tcp.len(),
        over_quic.len()
    );
    ensure!(address.connect().await.is_err(), "TCP counts by itself");
    // Whoever goes leaves room, on either side.
    for client in over_quic.drain(..) {
        client.quic.close(0_u32.into(), b"");
    }
    until("there to be room again", async || address.connect().await.map(Some)).await?;
    drop(over_tcp);
    until("there to be room again", async || Http3::to(&node).await.map(Some)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_requests_ends_although_it_answers_pings() -> Result<()> {
    let node = Node::start(settings().set("node.idle_ms_max", 1_000)).await?;
    let client = Http3::to(&node).await?;
    ensure!(client.get("/live").await?.status == 200);
    let ended = tokio::time::timeout(PATIENCE, client.quic.closed()).await;
    let code = holdfast_tests::http3::closed_with(&ended.context("the connection stayed")?)?;
    ensure!(code == h3::error::Code::H3_NO_ERROR.value(), "{code:#x}");

    // An upload is a request that is under way, however quiet it is.
    let client = Http3::to(&node).await?;
    let mut upload = client.begin(request(Method::PUT, &Node::upload_path("raw"))?).await?;
    let bytes = webm_noise(6, 100_000);
    upload.send_data(Bytes::copy_from_slice(&bytes[..50_000])).await?;
    node.for_a_while(4_000).await;
    upload.send_data(Bytes::copy_from_slice(&bytes[50_000..])).await?;
    upload.finish().await?;
    let answer = answer(&mut upload).await?;
    ensure!(answer.status == 201, "{}", answer.text());
    Ok(())
}
