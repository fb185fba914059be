//! Nonsense, damage and surprises: each ends in an answer or a state that says what happened, and
//! the node lives on.

use std::fs;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::stream;
use holdfast_tests::http::{Uploaded, problem};
use holdfast_tests::media::{codecs, extent, ffmpeg, file, small_webm, webm_noise};
use holdfast_tests::{Node, Settings, until};
use reqwest::{Body, Method};
use serde_json::Value;

/// The node takes a good recording still.
async fn lives_on(node: &Node) -> Result<()> {
    let uploaded = node.upload("demo", small_webm(node.dir(), 1.0)?).await?;
    node.wait_for(&uploaded.id, "stored").await?;
    ensure!(
        codecs(&node.delivered("demo", &uploaded.id, ".mp4"))? == ("h264".into(), "aac".into())
    );
    Ok(())
}

/// Waits until a first attempt has ended, well or not.
async fn judged(node: &Node, uploaded: &Uploaded) -> Result<Value> {
    until("the recording to be judged", async || {
        let recording = node.recording(&uploaded.id).await?;
        let over = recording["state"] == "stored" || recording["state"] == "failed";
        Ok((over || !recording["transcode"]["error"].is_null()).then_some(recording))
    })
    .await
}

/// The failure is told in a sentence, the next attempt is due and the original is kept.
fn is_explained(node: &Node, uploaded: &Uploaded, recording: &Value) -> Result<()> {
    let said = recording["transcode"]["error"].to_string();
    ensure!(said.len() > 20, "no reason: {recording}");
    ensure!(recording["transcode"]["next_at"].is_string(), "no next attempt: {recording}");
    ensure!(recording["explain"].as_str().is_some_and(|text| text.len() > 20), "{recording}");
    ensure!(!node.in_vault(&uploaded.id)?.is_empty(), "the original is gone");
    ensure!(!node.delivered("demo", &uploaded.id, ".mp4").exists(), "half a film was delivered");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_and_random_bytes_are_refused() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    let mut noise = vec![0; 300_000];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    let path = Node::upload_path("demo");
    for (body, status) in [(Vec::new(), 400), (noise, 415), (b"\x1a".to_vec(), 415)] {
        let answer = node.request(Method::PUT, &path)?.body(body).send().await?;
        problem(answer, status).await?;
    }
    lives_on(&node).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_of_zeros_is_refused_and_not_stored() -> Result<()> {
    const PIECE: usize = 1 << 20;
    let node = Node::start(Settings::new()).await?;
    let zeros = Bytes::from(vec![0; PIECE]);
    let pieces = stream::iter((0..1_024).map(move |_| Ok::<_, std::io::Error>(zeros.clone())));
    let request = node.request(Method::PUT, &Node::upload_path("demo"))?;
    match request.body(Body::wrap_stream(pieces)).send().await {
        Ok(answer) => drop(problem(answer, 415).await?),
        // The node need not read what it refused: then its answer may be lost on the way.
        Err(error) => ensure!(error.is_request() || error.is_body(), "{error:?}"),
    }
    ensure!(node.recordings().await?.is_empty());
    lives_on(&node).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_cut_is_made_into_what_there_is_of_it() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    let whole = fs::read(file("vp8.webm")?)?;
    // In the middle of a cluster, wherever that is; a third of it keeps the test short.
    let cut = node.dir().join("cut.webm");
    fs::write(&cut, &whole[..whole.len() / 3 + 777])?;
    let there_is = extent(&cut)?;
    let uploaded = node.upload("demo", fs::read(&cut)?).await?;
    node.wait_for(&uploaded.id, "stored").await?;
    let film = extent(&node.delivered("demo", &uploaded.id, ".mp4"))?;
    let off = (film.last - film.first.max(0.0)) - (there_is.last - there_is.first);
    ensure!(off.abs() <= 0.25, "{film:?} of {there_is:?}");
    lives_on(&node).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_without_a_recording_fails_and_says_so() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    let whole = fs::read(file("vp8.webm")?)?;
    for body in [whole[..200].to_vec(), webm_noise(3, 200_000)] {
        let uploaded = node.upload("demo", body).await?;
        let recording = judged(&node, &uploaded).await?;
        is_explained(&node, &uploaded, &recording)?;
    }
    lives_on(&node).await
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_does_not_take_the_node_down() -> Result<()> {
    let node = Node::start(Settings::new().set("transcode.stall_ms_max", 10_000)).await?;
    let mut random = fastrand::Rng::with_seed(4);
    for name in ["reschange_vp8.webm", "reschange_avc1.mp4"] {
        let mut bytes = fs::read(file(name)?)?;
        for _ in 0..bytes.len() / 500 {
            let at = random.usize(4_000..bytes.len());
            bytes[at] = random.u8(..);
        }
        let uploaded = node.upload("demo", bytes).await?;
        let recording = judged(&node, &uploaded).await?;
        if recording["state"] == "stored" {
            ensure!(codecs(&node.delivered("demo", &uploaded.id, ".mp4"))?.0 == "h264");
        } else {
            is_explained(&node, &uploaded, &recording)?;
        }
    }
    lives_on(&node).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ending_is_not_believed() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    let form = reqwest::multipart::Form::new()
        .text("env_id", "demo")
        .text("env_hash", "demo-hash")
        .text("name", "holiday.avi");
    let part = reqwest::multipart::Part::bytes(small_webm(node.dir(), 1.0)?);
    let part = part.file_name("picture.jpeg").mime_str("image/jpeg")?;
    let request = node.request(Method::POST, "/api/v1/ingest/upload")?;
    let uploaded = Uploaded::read(request.multipart(form.part("file", part)).send().await?).await?;
    let recording = node.wait_for(&uploaded.id, "stored").await?;
    ensure!(recording["container"] == "webm", "{recording}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_alone_and_picture_alone_are_films_too() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    let picture = "testsrc2=size=176x144:rate=12";
    let sound = "sine=frequency=300:sample_rate=44100";
    for (name, source, codec, expected) in [
        ("sound.webm", sound, ["-c:a", "libopus"], ("", "aac")),
        ("sound.wav", sound, ["-c:a", "pcm_s16le"], ("", "aac")),
        ("sound.mp3", sound, ["-c:a", "libmp3lame"], ("", "aac")),
        ("picture.webm", picture, ["-c:v", "libvpx"], ("h264", "")),
        ("picture.mp4", picture, ["-c:v", "libx264"], ("h264", "")),
        ("picture.avi", picture, ["-c:v", "mpeg4"], ("h264", "")),
        ("picture.ts", picture, ["-c:v", "mpeg2video"], ("h264", "")),
    ] {
        let path = node.dir().join(name);
        let to = path.display().to_string();
        let input = ["-f", "lavfi", "-i", source, "-t", "2", "-pix_fmt", "yuv420p"];
        ffmpeg(input.into_iter().chain(codec).chain([to.as_str()]))?;
        let uploaded = node.upload("demo", fs::read(&path)?).await.context(name)?;
        node.wait_for(&uploaded.id, "stored").await.context(name)?;
        let film = node.delivered("demo", &uploaded.id, ".mp4");
        ensure!(codecs(&film)? == (expected.0.into(), expected.1.into()), "{name}");
        let length = extent(&film)?.last;
        ensure!((length - 2.0).abs() < 0.2, "{name}: {length} s");
        // Sound alone has its waveform for a snapshot, and no filmstrip.
        ensure!(node.delivered("demo", &uploaded.id, ".jpg").exists(), "{name}: no snapshot");
        let has_strip = node.delivered("demo", &uploaded.id, "_filmstrip.jpg").exists();
        ensure!(has_strip == (expected.0 == "h264"), "{name}: filmstrip {has_strip}");
    }
    Ok(())
}
