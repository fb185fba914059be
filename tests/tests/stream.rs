//! A recording that arrives while it is made: nothing acknowledged is lost, whatever the line does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_tests::http::member;
use holdfast_tests::media::{small_webm, webm_noise};
use holdfast_tests::proxy::{Line, Proxy};
use holdfast_tests::stream::{PROTOCOL, connect};
use holdfast_tests::tools::{sha256, sha256_of};
use holdfast_tests::{Environment, Node, Settings, Stream, StreamError, until};
use reqwest::Method;
use serde_json::{Value, json};

fn raw() -> Settings {
    Settings::new()
        .environment(Environment::raw_only("raw"))
        .set("ingest.playback_ms", 0)
        .set("ingest.reconnect_ms", 60_000)
}

async fn delivered_as_sent(node: &Node, id: &str, bytes: &[u8]) -> Result<Value> {
    let recording = node.wait_for(id, "stored").await?;
    let at = node.delivered("raw", id, "_raw.webm");
    ensure!(sha256_of(&at)? == sha256(bytes), "{} holds other bytes", at.display());
    ensure!(recording["bytes"] == bytes.len(), "{recording}");
    Ok(recording)
}

fn refused<T>(outcome: Result<T, StreamError>, code: u16) -> Result<Value> {
    match outcome {
        Ok(_) => anyhow::bail!("expected {code}, but it was taken"),
        Err(StreamError::Refused { code: got, problem }) if got == code => {
            ensure!(problem["status"] == code - 4000, "{problem}");
            for name in ["type", "title", "detail"] {
                member(&problem, name)?;
            }
            Ok(problem)
        }
        Err(error) => Err(error).context(format!("expected {code}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_acknowledged_stopped_saved_and_delivered_as_it_was_sent() -> Result<()> {
    let node = Node::start(raw()).await?;
    let bytes = webm_noise(1, 3_000_000);
    let mut stream = Stream::start(&node.address()?, "raw").await?;
    ensure!(stream.greeting["type"] == "started", "{}", stream.greeting);
    ensure!(stream.acked == 0 && stream.token.len() >= 20);
    stream.push(&bytes, 100_000).await?;
    let seen = node.recording(&stream.id).await?;
    ensure!(seen["state"] == "receiving" && seen["bytes"] == bytes.len(), "{seen}");
    ensure!(stream.stop(bytes.len()).await? == sha256(&bytes));
    stream.save().await?;
    let recording = delivered_as_sent(&node, &stream.id, &bytes).await?;
    ensure!(recording["recovered"] == false && recording["source"] == "stream", "{recording}");
    ensure!(
        recording["sha256"] == sha256(&bytes) && recording["container"] == "webm",
        "{recording}"
    );
    node.gone_from_vault(&stream.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_vault_already() -> Result<()> {
    let mut node = Node::start(raw()).await?;
    let bytes = webm_noise(2, 500_000);
    let mut stream = Stream::start(&node.address()?, "raw").await?;
    stream.push(&bytes, 10_000).await?;
    node.kill()?;
    let found = node.in_vault(&stream.id)?;
    let sizes = found.iter().map(|path| Ok(path.metadata()?.len())).collect::<Result<Vec<_>>>()?;
    ensure!(sizes.contains(&(bytes.len() as u64)), "{found:?} {sizes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_the_line_was_cut() -> Result<()> {
    let node = Node::start(raw()).await?;
    let proxy = Proxy::before(node.port()).await?;
    let address = node.address()?.at(proxy.port());
    let bytes = webm_noise(3, 4_000_000);
    let mut stream = Stream::start(&address, "raw").await?;
    let (id, token) = (stream.id.clone(), stream.token.clone());
    let mut cuts = 0;
    for share in 1..=8 {
        let so_far = &bytes[..bytes.len() * share / 8];
        // One more half chunk is under way when the line breaks.
        stream.push(so_far, 64 << 10).await?;
        if share == 8 {
            break;
        }
        let more = &bytes[so_far.len()..so_far.len() + 30_000];
        stream.chunk(so_far.len() as u64, more).await?;
        proxy.cut_once().await;
        let acked = stream.acked;
        stream = Stream::resume(&address, &id, &token).await?;
        ensure!(stream.greeting["type"] == "resumed", "{}", stream.greeting);
        ensure!(stream.greeting["state"] == "receiving", "{}", stream.greeting);
        ensure!(stream.acked >= acked, "{} bytes went lost", acked - stream.acked);
        cuts += 1;
    }
    ensure!(cuts == 7);
    ensure!(stream.stop(bytes.len()).await? == sha256(&bytes));
    stream.save().await?;
    delivered_as_sent(&node, &id, &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_between_stop_and_save_can_be_made_good() -> Result<()> {
    let node = Node::start(raw()).await?;
    let address = node.address()?;
    let bytes = webm_noise(4, 200_000);
    let mut stream = Stream::start(&address, "raw").await?;
    let (id, token) = (stream.id.clone(), stream.token.clone());
    stream.push(&bytes, 50_000).await?;
    stream.stop(bytes.len()).await?;
    drop(stream);
    let mut stream = Stream::resume(&address, &id, &token).await?;
    ensure!(stream.greeting["state"] == "stopped", "{}", stream.greeting);
    ensure!(stream.acked == bytes.len() as u64);
    stream.save().await?;
    drop(stream);
    let mut stream = Stream::resume(&address, &id, &token).await?;
    ensure!(stream.greeting["state"] == "saved", "{}", stream.greeting);
    stream.save().await?;
    delivered_as_sent(&node, &id, &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_stalls_and_crawls_changes_nothing() -> Result<()> {
    let node = Node::start(raw().set("ingest.stall_ms_max", 60_000)).await?;
    let proxy = Proxy::before(node.port()).await?;
    let address = node.address()?.at(proxy.port());
    let bytes = webm_noise(5, 600_000);
    let mut stream = Stream::start(&address, "raw").await?;
    proxy.make(Line::Slow { slice_bytes: 1_500, pause_ms: 1 });
    stream.push(&bytes[..300_000], 20_000).await?;
    proxy.make(Line::Stalled);
    stream.chunk(300_000, &bytes[300_000..400_000]).await?;
    node.for_a_while(1_500).await;
    proxy.make(Line::Whole);
    stream.acked_to(400_000).await?;
    stream.record(&bytes, 20_000).await?;
    delivered_as_sent(&node, &stream.id, &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_repeat_or_overlap_are_harmless_and_the_first_bytes_stand() -> Result<()> {
    let node = Node::start(raw()).await?;
    let bytes = webm_noise(6, 300_000);
    let other = vec![0xee; bytes.len()];
    let mut stream = Stream::start(&node.address()?, "raw").await?;
    stream.chunk(0, &bytes[..100_000]).await?;
    stream.chunk(0, &other[..100_000]).await?;
    stream.chunk(50_000, &other[50_000..90_000]).await?;
    let mut overlapping = other[60_000..100_000].to_vec();
    overlapping.extend_from_slice(&bytes[100_000..200_000]);
    stream.chunk(60_000, &overlapping).await?;
    stream.acked_to(200_000).await?;
    stream.chunk(0, &other[..150_000]).await?;
    stream.chunk(200_000, &bytes[200_000..]).await?;
    stream.acked_to(300_000).await?;
    ensure!(stream.stop(bytes.len()).await? == sha256(&bytes));
    stream.save().await?;
    delivered_as_sent(&node, &stream.id, &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_refused_and_says_where_to_go_on() -> Result<()> {
    let node = Node::start(raw()).await?;
    let address = node.address()?;
    let bytes = webm_noise(7, 100_000);
    let mut stream = Stream::start(&address, "raw").await?;
    stream.push(&bytes[..40_000], 20_000).await?;
    stream.chunk(40_001, &bytes[40_001..50_000]).await?;
    let problem = refused(Err::<(), _>(stream.refusal().await?), 4409)?;
    ensure!(problem["expected"] == 40_000, "{problem}");
    let mut stream = Stream::resume(&address, &stream.id, &stream.token).await?;
    ensure!(stream.acked == 40_000, "{}", stream.greeting);
    stream.record(&bytes, 20_000).await?;
    delivered_as_sent(&node, &stream.id, &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_takes_over_and_the_first_is_told() -> Result<()> {
    let node = Node::start(raw()).await?;
    let address = node.address()?;
    let bytes = webm_noise(8, 200_000);
    let mut first = Stream::start(&address, "raw").await?;
    first.push(&bytes[..100_000], 50_000).await?;
    let mut second = Stream::resume(&address, &first.id, &first.token).await?;
    ensure!(second.acked == 100_000, "{}", second.greeting);
    refused(Err::<(), _>(first.refusal().await?), 4409)?;
    second.record(&bytes, 50_000).await?;
    delivered_as_sent(&node, &second.id, &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused() -> Result<()> {
    let node = Node::start(raw()).await?;
    let address = node.address()?;
    let stream = Stream::start(&address, "raw").await?;
    refused(Stream::resume(&address, &stream.id, "not the token").await, 4401)?;
    let unknown = "0193a7b2-6c1e-7d7e-8a3f-0123456789ab";
    refused(Stream::resume(&address, unknown, &stream.token).await, 4404)?;
    let start = |id: &str, hash: &str| json!({ "type": "start", "env_id": id, "env_hash": hash });
    refused(Stream::open(&address, start("raw", "wrong"), String::new()).await, 4401)?;
    refused(Stream::open(&address, start("nobody", "raw-hash"), String::new()).await, 4401)?;
    refused(connect(&address, Some("holdfast.ingest.v999")).await, 4400)?;
    refused(connect(&address, None).await, 4400)?;
    refused(Stream::open(&address, json!({ "type": "hello" }), String::new()).await, 4400)?;
    drop(connect(&address, Some(&format!("other, {PROTOCOL}"))).await?);
    let all = node.recordings().await?;
    ensure!(all.len() == 1, "refused, and yet listed: {all:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_deletes_at_once() -> Result<()> {
    let node = Node::start(raw()).await?;
    let address = node.address()?;
    let bytes = webm_noise(9, 100_000);
    for stop in [false, true] {
        let mut stream = Stream::start(&address, "raw").await?;
        stream.push(&bytes, 50_000).await?;
        if stop {
            stream.stop(bytes.len()).await?;
        }
        stream.say(&json!({ "type": "discard" })).await?;
        stream.hear_of("discarded").await?;
        node.gone_from_vault(&stream.id).await?;
        let outcome = Stream::resume(&address, &stream.id, &stream.token).await;
        ensure!(outcome.is_err(), "a discarded recording was resumed");
    }
    ensure!(std::fs::read_dir(node.storage())?.count() == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_played_back_while_it_arrives() -> Result<()> {
    let node = Node::start(raw().set("ingest.playback_ms", 600_000)).await?;
    let bytes = webm_noise(10, 400_000);
    let mut stream = Stream::start(&node.address()?, "raw").await?;
    let path = member(&stream.greeting, "playback_url")?;
    stream.push(&bytes[..200_000], 50_000).await?;

    let whole = node.request(Method::GET, &path)?.send().await?;
    ensure!(whole.status() == 200 && whole.headers()["accept-ranges"] == "bytes", "{whole:?}");
    ensure!(whole.bytes().await? == bytes[..200_000]);
    let piece = |range: &'static str| {
        let request = node.request(Method::GET, &path)?.header("range", range);
        Ok::<_, anyhow::Error>(request.send())
    };
    let part = piece("bytes=1000-1999")?.await?;
    ensure!(part.status() == 206, "{part:?}");
    ensure!(part.headers()["content-range"].to_str()?.starts_with("bytes 1000-1999/"), "{part:?}");
    ensure!(part.bytes().await? == bytes[1_000..2_000]);
    ensure!(piece("bytes=199000-")?.await?.bytes().await? == bytes[199_000..200_000]);
    ensure!(piece("bytes=-500")?.await?.bytes().await? == bytes[199_500..200_000]);
    ensure!(piece("bytes=900000-")?.await?.status() == 416);

    stream.record(&bytes, 50_000).await?;
    node.wait_for(&stream.id, "stored").await?;
    let after = node.request(Method::GET, &path)?.send().await?;
    ensure!(after.bytes().await? == bytes, "playback has its chance after saving, too");
    let guess = node.request(Method::GET, "/api/v1/ingest/playback/guessed")?.send().await?;
    ensure!(guess.status() == 404 || guess.status() == 401, "{guess:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_the_token_can_see_what_became_of_it() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    let bytes = small_webm(node.dir(), 1.0)?;
    let mut stream = Stream::start(&node.address()?, "demo").await?;
    stream.record(&bytes, 10_000).await?;
    let path = format!("/api/v1/ingest/recordings/{}", stream.id);
    let shown = until("the status to say stored", async || {
        let request = node.request(Method::GET, &path)?.bearer_auth(&stream.token);
        let shown: Value = serde_json::from_str(&request.send().await?.text().await?)?;
        Ok((shown["state"] == "stored").then_some(shown))
    })
    .await?;
    let files = shown["files"].as_array().context("no files")?;
    let main = files.iter().find(|file| file["kind"] == "main").context("no main file")?;
    ensure!(member(main, "url")? == format!("{path}/files/main"), "{main}");
    let request = node.request(Method::GET, &member(main, "url")?)?.bearer_auth(&stream.token);
    let film = request.send().await?.error_for_status()?.bytes().await?;
    ensure!(film == std::fs::read(node.delivered("demo", &stream.id, ".mp4"))?);
    for wrong in ["", "wrong"] {
        let request = node.request(Method::GET, &path)?.bearer_auth(wrong);
        ensure!(request.send().await?.status() == 401);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_comes_back_has_its_recording_recovered() -> Result<()> {
    let node = Node::start(raw().set("ingest.reconnect_ms", 500)).await?;
    let address = node.address()?;
    let bytes = webm_noise(11, 150_000);
    let mut stream = Stream::start(&address, "raw").await?;
    stream.push(&bytes, 50_000).await?;
    let (id, token) = (stream.id.clone(), stream.token.clone());
    drop(stream);
    let recording = delivered_as_sent(&node, &id, &bytes).await?;
    ensure!(recording["recovered"] == true, "{recording}");
    let late = Stream::resume(&address, &id, &token).await?;
    ensure!(late.greeting["state"] == "saved", "{}", late.greeting);

    let empty = Stream::start(&address, "raw").await?;
    let id = empty.id.clone();
    drop(empty);
    until("a recording without a byte to be deleted", async || {
        let recording = node.recording(&id).await?;
        Ok((recording["state"] == "garbage").then_some(()))
    })
    .await?;
    node.gone_from_vault(&id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_beside_the_end_of_the_older_connection_keeps_the_recording() -> Result<()> {
    // Were the newer connection taken for gone, its recording would be recovered half-way.
    let node = Node::start(raw().set("ingest.reconnect_ms", 1_000)).await?;
    let address = node.address()?;
    let bytes = webm_noise(15, 400_000);
    let mut stream = Stream::start(&address, "raw").await?;
    for part in 1..=30_usize {
        stream.push(&bytes[..part * 10_000], 5_000).await?;
        // Bytes that are still to be made durable keep the older connection's end busy.
        let sent = part * 10_000;
        stream.chunk(sent as u64, &bytes[sent..sent + 5_000]).await?;
        let (id, token) = (stream.id.clone(), stream.token.clone());
        // The older one ends just when the newer one comes.
        let older = tokio::spawn(async move { drop(stream) });
        stream = Stream::resume(&address, &id, &token).await?;
        older.await?;
    }
    node.for_a_while(2_500).await;
    stream.record(&bytes, 10_000).await?;
    let recording = delivered_as_sent(&node, &stream.id, &bytes).await?;
    ensure!(recording["recovered"] == false, "{recording}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_silent_is_cut_off_and_may_resume() -> Result<()> {
    let node = Node::start(raw().set("ingest.stall_ms_max", 700)).await?;
    let address = node.address()?;
    let bytes = webm_noise(12, 90_000);
    let mut stream = Stream::start(&address, "raw").await?;
    stream.push(&bytes[..30_000], 30_000).await?;
    // Whoever reads answers the node's pings; this client does not even read.
    node.for_a_while(2_000).await;
    refused(Err::<(), _>(stream.refusal().await?), 4408)?;
    let mut stream = Stream::resume(&address, &stream.id, &stream.token).await?;
    ensure!(stream.acked == 30_000);
    stream.record(&bytes, 30_000).await?;
    delivered_as_sent(&node, &stream.id, &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_but_is_there_stays_connected() -> Result<()> {
    let node = Node::start(raw().set("ingest.stall_ms_max", 700)).await?;
    let bytes = webm_noise(14, 60_000);
    let mut stream = Stream::start(&node.address()?, "raw").await?;
    stream.push(&bytes[..30_000], 30_000).await?;
    let paused = tokio::time::timeout(Duration::from_secs(4), stream.refusal()).await;
    ensure!(paused.is_err(), "cut off while it was there: {paused:?}");
    stream.record(&bytes, 30_000).await?;
    delivered_as_sent(&node, &stream.id, &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_recording_or_too_large_is_refused() -> Result<()> {
    let node = Node::start(raw().set("ingest.recording_bytes_max", 100_000)).await?;
    let address = node.address()?;
    let mut stream = Stream::start(&address, "raw").await?;
    let sent = stream.chunk(0, &[b'x'; 5_000]).await;
    let refusal = if sent.is_err() { sent } else { Err(stream.refusal().await?) };
    refused(refusal, 4415)?;
    node.gone_from_vault(&stream.id).await?;

    let mut stream = Stream::start(&address, "raw").await?;
    let sent = stream.push(&webm_noise(13, 150_000), 10_000).await;
    refused(sent, 4413)?;
    Ok(())
}
