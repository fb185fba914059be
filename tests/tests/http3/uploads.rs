//! Requests and their answers.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use holdfast_tests::Node;
use holdfast_tests::http::Uploaded;
use holdfast_tests::http3::{Http3, frame, head, quic, request};
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::sha256;
use http::Method;

use crate::settings;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_http3_is_kept_whole_and_https_says_that_there_is_http3() -> Result<()> {
    let node = Node::start(settings()).await?;
    let client = Http3::to(&node).await?;
    let bytes = webm_noise(1, 20 << 20);
    for method in [Method::PUT, Method::POST] {
        let answer = client.request(request(method, &Node::upload_path("raw"))?, &bytes).await?;
        ensure!(answer.status == 201, "{}: {}", answer.status, answer.text());
        ensure!(answer.headers.contains_key("location"), "{:?}", answer.headers);
        let uploaded = Uploaded::parse(&answer.text())?;
        ensure!(uploaded.sha256 == sha256(&bytes), "other bytes than were sent");
        // What was made of it is what any other client sees, and all of it comes back.
        let seen = node.recording(&uploaded.id).await?;
        ensure!(seen.to_string().contains(&uploaded.sha256), "{seen}");
        let path = format!("/api/v1/recordings/{}/files/raw", uploaded.id);
        let mut wanted = request(Method::GET, &path)?;
        let key = format!("Bearer {}", node.key()).parse()?;
        wanted.headers_mut().insert("authorization", key);
        let file = client.request(wanted, &[]).await?;
        ensure!(file.status == 200 && file.body == bytes, "{}", file.status);
        ensure!(file.headers["content-length"] == bytes.len().to_string().as_str());
    }
    let port = node.port();
    let said = node.request(Method::GET, "/live")?.send().await?;
    let alt_svc = said.headers().get("alt-svc").context("https does not name HTTP/3")?;
    ensure!(alt_svc.to_str()? == format!("h3=\":{port}\"; ma=86400"), "{alt_svc:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_there_is_no_http3_and_nobody_names_it() -> Result<()> {
    let node = Node::start(settings().set("node.http3", false)).await?;
    let said = node.request(Method::GET, "/live")?.send().await?;
    ensure!(said.headers().get("alt-svc").is_none(), "{:?}", said.headers());
    // The port is nobody's.
    std::net::UdpSocket::bind(("127.0.0.1", node.port()))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_https() -> Result<()> {
    let node = Node::start(settings()).await?;
    let client = Http3::to(&node).await?;
    let key = format!("Bearer {}", node.key());
    for (method, path, key) in [
        (Method::GET, "/", None),
        (Method::HEAD, "/", None),
        (Method::GET, "/live", None),
        (Method::GET, "/api/v1/recordings", None),
        (Method::GET, "/api/v1/recordings", Some("Bearer wrong")),
        (Method::GET, "/api/v1/recordings", Some(key.as_str())),
        (Method::GET, "/api/v1/nothing-here", Some(key.as_str())),
        (Method::DELETE, "/live", None),
        (Method::OPTIONS, "/api/v1/ingest/upload", None),
        // A web socket needs a connection of its own.
        (Method::GET, "/api/v1/ingest/stream", None),
    ] {
        let mut over_quic = request(method.clone(), path)?;
        let mut over_tcp = node.request(method.clone(), path)?;
        if let Some(key) = key {
            over_quic.headers_mut().insert("authorization", key.parse()?);
            over_tcp = over_tcp.header("authorization", key);
        }
        let here = client.request(over_quic, &[]).await.with_context(|| path.to_owned())?;
        let there = over_tcp.send().await?;
        ensure!(here.status == there.status(), "{path}: {} and {}", here.status, there.status());
        let mut without = there.headers().clone();
        without.remove("alt-svc");
        let names = |all: &http::HeaderMap| {
            let mut names: Vec<_> = all.keys().map(ToString::to_string).collect();
            names.sort();
            names.retain(|name| name != "connection" && name != "upgrade");
            names
        };
        ensure!(names(&here.headers) == names(&without), "{path}: {:?}, {without:?}", here.headers);
        for name in ["content-type", "content-security-policy", "x-content-type-options", "vary"] {
            let (here, there) = (here.headers.get(name), without.get(name));
            ensure!(here == there, "{path}: {name}: {here:?} and {there:?}");
        }
        ensure!(here.headers.contains_key("date"), "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_a_connection() -> Result<()> {
    let node = Node::start(settings()).await?;
    let client = Http3::to(&node).await?;
    let all = (0..40).map(|nr| {
        let client = &client;
        async move {
            let bytes = webm_noise(100 + nr, 300_000);
            let answer =
                client.request(request(Method::PUT, &Node::upload_path("raw"))?, &bytes).await?;
            ensure!(answer.status == 201, "{}: {}", answer.status, answer.text());
            ensure!(Uploaded::parse(&answer.text())?.sha256 == sha256(&bytes), "upload {nr}");
            Ok(())
        }
    });
    futures_util::future::try_join_all(all).await?;
    ensure!(node.recordings().await?.len() == 40);
    Ok(())
}

/// What h3 by itself takes for the end of a body is none: see `listen/http3/gate.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_end_of_a_stream_between_two_frames_is_the_end_of_an_upload() -> Result<()> {
    let node = Node::start(settings()).await?;
    let (_endpoint, quic) = quic(node.port(), &node.certificate()).await?;
    let bytes = webm_noise(2, 200_000);
    let head = head(&Node::upload_path("raw"))?;

    // Cut within a frame, as by a program that dies.
    let (mut up, mut down) = quic.open_bi().await?;
    up.write_all(&head).await?;
    up.write_all(&frame(0, &bytes)[..100_000]).await?;
    crate::is_under_way(&node).await?;
    up.finish()?;
    let answer = down.read_to_end(1 << 20).await?;
    ensure!(String::from_utf8_lossy(&answer).contains("ended early"), "{answer:?}");
    node.holds_no_recording().await?;

    // Frames without a byte, unknown frames, one byte for a frame, all in one upload.
    let (mut up, mut down) = quic.open_bi().await?;
    up.write_all(&head).await?;
    let (first, rest) = bytes.split_at(20_000);
    for byte in first {
        up.write_all(&[0, 0, 0, 1, *byte]).await?;
    }
    up.write_all(&frame(0x21, &[7; 5_000])).await?;
    up.write_chunk(Bytes::from(frame(0, rest))).await?;
    up.write_all(&frame(0, &[])).await?;
    up.finish()?;
    let answer = String::from_utf8_lossy(&down.read_to_end(1 << 20).await?).into_owned();
    ensure!(answer.contains(&sha256(&bytes)), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_not_as_long_as_it_said_leaves_nothing() -> Result<()> {
    let node = Node::start(settings()).await?;
    let client = Http3::to(&node).await?;
    let bytes = webm_noise(3, 200_000);
    for said in [bytes.len() + 1, bytes.len() - 1] {
        let mut upload = request(Method::PUT, &Node::upload_path("raw"))?;
        upload.headers_mut().insert("content-length", said.into());
        let answer = client.request(upload, &bytes).await?;
        ensure!(answer.status == 400, "{said}: {}: {}", answer.status, answer.text());
        node.holds_no_recording().await?;
    }
    let mut upload = request(Method::PUT, &Node::upload_path("raw"))?;
    upload.headers_mut().insert("content-length", "1e3".parse()?);
    ensure!(client.request(upload, &bytes).await.is_err(), "a length that is no number was taken");
    // A client that takes its upload back.
    let mut upload = client.begin(request(Method::PUT, &Node::upload_path("raw"))?).await?;
    upload.send_data(Bytes::copy_from_slice(&bytes)).await?;
    crate::is_under_way(&node).await?;
    upload.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
    node.holds_no_recording().await?;
    // One that goes away with its connection.
    let mut upload = client.begin(request(Method::PUT, &Node::upload_path("raw"))?).await?;
    upload.send_data(Bytes::copy_from_slice(&bytes)).await?;
    crate::is_under_way(&node).await?;
    client.quic.close(0_u32.into(), b"");
    node.holds_no_recording().await?;
    let all = node.recordings().await?;
    ensure!(all.iter().all(|recording| recording["state"] == "garbage"), "{all:?}");
    Ok(())
}
